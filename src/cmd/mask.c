/* cmd/mask: burin mask X.chip -o X.oas; burin mask X.chip --check X.oas */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  const char *output, *check, *process, *layers, *lef, *spice, *svg, *png, *lyp, *shape;
  double bits;
  MaskKnobs knobs;
  int bank; /* -1: all */
  KnobOptions hardware;
  MachineOptions machine;
  bool json;
} MaskOptions;

static void print_area(const MaskFloor *f, bool json) {
  MaskArea a = mask_area(f);
  if (json) {
    json_t *o = json_pack("{s:s,s:s,s:i,s:i,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f}", "process", mask_process_name(f->process), "about", mask_process_about(f->process), "rows", f->rows, "columns", f->columns,
                          "banks", (json_int_t)f->banks, "bits", (json_int_t)a.bits, "bank_bits", (json_int_t)a.bank_bits, "cell_um2", a.cell_um2, "macro_um2", a.macro_um2, "array_mm2", a.array_mm2, "macro_mm2", a.macro_mm2, "die_mm2", a.die_mm2);
    json_t *roms = json_array();
    for (int i = 0; i < f->roms; i++)
      json_array_append_new(roms, json_pack("{s:s,s:I,s:I,s:I}", "name", f->rom[i].name, "words", (json_int_t)f->rom[i].words, "bits", (json_int_t)f->rom[i].bits, "banks",
                                            (json_int_t)(f->rom_bank[i + 1] - f->rom_bank[i])));
    json_object_set_new(o, "roms", roms);
    print_json(o);
    json_decref(o);
    return;
  }
  printf("process    %s: %s\nbanks      %llu of %d rows x %d columns, %d on one another\n", mask_process_name(f->process), mask_process_about(f->process), (unsigned long long)f->banks, f->rows,
         f->columns, f->high);
  for (int i = 0; i < f->roms; i++)
    printf("  %-12s %10llu words of %7llu bits: %7llu banks\n", f->rom[i].name, (unsigned long long)f->rom[i].words, (unsigned long long)f->rom[i].bits,
           (unsigned long long)(f->rom_bank[i + 1] - f->rom_bank[i]));
  printf("bits       %llu in the ROMs, %.1f %% of what the banks hold\narea       %.4f um2 a bit with straps, taps and edges; %.4f with decoder, drivers, precharge and sense (drawn)\n"
         "           %.3f mm2 of arrays, %.3f mm2 of banks, %.3f mm2 with the space between them\n",
         (unsigned long long)a.bits, 100 * (double)a.bits / (double)(f->rom_bank[f->roms] * (uint64_t)f->rows * (uint64_t)f->columns), a.cell_um2, a.macro_um2, a.array_mm2,
         a.macro_mm2, a.die_mm2);
}

static void print_report(const MaskReport *r, const char *path, bool json) {
  if (json) {
    json_t *o = json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "equal", (int)mask_report_clean(r), "vias", (json_int_t)r->vias, "nodes", (json_int_t)r->nodes, "missing", (json_int_t)r->missing,
                          "doubled", (json_int_t)r->doubled, "stray", (json_int_t)r->stray, "base_vias", (json_int_t)r->base, "base_wrong", (json_int_t)r->base_wrong, "bits", (json_int_t)r->bits,
                          "wrong", (json_int_t)r->wrong);
    json_t *texts = json_array();
    for (int i = 0; i < r->texts; i++) json_array_append_new(texts, json_string(r->text[i]));
    json_object_set_new(o, "differences", texts);
    print_json(o);
    json_decref(o);
    return;
  }
  printf("%s: %llu vias on %llu nodes", path, (unsigned long long)r->vias, (unsigned long long)r->nodes);
  if (r->base) printf(", %llu vias of the base", (unsigned long long)r->base);
  printf("\n%llu bits compared with the chip, %llu differ\n", (unsigned long long)r->bits, (unsigned long long)r->wrong);
  if (r->missing + r->doubled + r->stray + r->base_wrong)
    printf("vias: %llu nodes without, %llu twice, %llu where none belongs, %llu of the base wrong\n", (unsigned long long)r->missing, (unsigned long long)r->doubled,
           (unsigned long long)r->stray, (unsigned long long)r->base_wrong);
  for (int i = 0; i < r->texts; i++) printf("  %s\n", r->text[i]);
  printf(mask_report_clean(r) ? "the masks hold the chip\n" : "the masks do not hold the chip\n");
}

static bool check(const Chip *chip, const MaskOptions *o, Err *err) {
  MaskReport r;
  MaskSites *s = mask_sites_read(o->check, o->process, err);
  bool ok = s && mask_check(s, chip, &r, err);
  if (ok) print_report(&r, o->check, o->json);
  if (ok && !mask_report_clean(&r)) ok = err_set(err, "%s: the layout differs from the chip", o->check);
  mask_sites_free(s);
  return ok;
}

/* ---- pictures by KLayout ---- */

static const char picture_script[] =
    "view = RBA::LayoutView::new\n"
    "view.load_layout('bank.oas', false)\n"
    "view.load_layer_props('layers.lyp')\n"
    "view.max_hier\n"
    "view.set_config('grid-visible', 'false')\n"
    "view.set_config('background-color', '#ffffff')\n"
    "left, below = $left.to_f, $below.to_f\n"
    "bank = RBA::DBox::new(-left, -below, $width.to_f - left, $height.to_f - below)\n"
    "some = [bank.width, 36.0].min\n"
    "cells = [bank.width, 5.0].min\n"
    "{ 'bank' => bank, 'corner' => RBA::DBox::new(-some / 2, -below, some / 2, some * 0.6 - below), 'cells' => RBA::DBox::new(0.9, 0, 0.9 + cells, cells * 0.6) }.each do |name, box|\n"
    "  view.zoom_box(box)\n"
    "  view.save_image($out + '-' + name + '.png', 1500, 900)\n"
    "end\n";

/* Three pictures of a bank, NAME-bank.png, NAME-corner.png and NAME-cells.png, drawn by KLayout without a display. */
static bool pictures(const MaskFloor *f, uint64_t bank, const char *path, Err *err) {
  char dir[] = "/tmp/burin-mask-XXXXXX", file[4][64], full[4096], size[4][64], out[4200];
  static const char *const name[] = {"bank.oas", "layers.lyp", "draw.rb", "log.txt"};
  size_t n = strlen(path);
  if (n < 5 || strcmp(path + n - 4, ".png") != 0) return err_set(err, "png: expected a name that ends in .png, found '%s'", path);
  if (!mkdtemp(dir)) return err_set(err, "%s: %s", dir, strerror(errno));
  for (int i = 0; i < 4; i++) snprintf(file[i], sizeof file[i], "%s/%s", dir, name[i]);
  MaskFloor one = *f;
  MaskKnobs k = {f->rows, f->columns, (int64_t)bank, 1};
  bool ok = mask_floor(&one, f->process, &f->design, f->chip, &k, err) && mask_write(&one, file[0], MASK_ALL, 1, err) && mask_write_lyp(f->process, file[1], err);
  Writer *w = ok ? writer_open(file[2], err) : NULL;
  if (w) writer_put(w, picture_script, sizeof picture_script - 1);
  ok = w && writer_commit(w, err);
  if (ok && path[0] != '/') ok = getcwd(full, sizeof full) || err_set(err, "the working directory: %s", strerror(errno));
  if (path[0] == '/') full[0] = 0;
  const double um[] = {(double)one.macro_width * 1e-3, (double)one.macro_height * 1e-3, (double)one.left * 1e-3, (double)one.below * 1e-3};
  for (int i = 0; i < 4; i++) snprintf(size[i], sizeof size[i], "%s=%.3f", (const char *[]){"width", "height", "left", "below"}[i], um[i]);
  ok = ok && (snprintf(out, sizeof out, "out=%s%s%.*s", full, full[0] ? "/" : "", (int)n - 4, path) < (int)sizeof out || err_set(err, "%s: path too long", path));
  char *argv[] = {"klayout", "-zz", "-rd", size[0], "-rd", size[1], "-rd", size[2], "-rd", size[3], "-rd", out, "-r", "draw.rb", NULL};
  if (ok) setenv("QT_QPA_PLATFORM", "offscreen", 1); /* no display is needed */
  ok = ok && run_program(dir, argv, name[3], "for --png (Debian package klayout); --svg needs nothing", err);
  for (int i = 0; i < 4; i++) unlink(file[i]);
  rmdir(dir);
  return ok;
}

static bool draw(const Chip *chip, const MaskOptions *o, Err *err) {
  MaskFloor f;
  RtlDesign d;
  MaskLayers layers;
  MaskKnobs knobs = o->knobs;
  if (o->bank >= 0) knobs.first = o->bank, knobs.banks = 1;
  MaskProcess *p = mask_process_open(o->process ? o->process : "sky130", err);
  bool ok = p && mask_layers_of(o->layers, &layers, err) && knob_options(&o->hardware, &chip->shape, &d, err) && mask_floor(&f, p, &d, chip, &knobs, err);
  uint64_t bank = o->bank >= 0 ? (uint64_t)o->bank : 0;
  int threads = o->machine.threads > 0 ? o->machine.threads : cpu_count();
  ok = ok && (!o->output || mask_write(&f, o->output, layers, threads, err)) && (!o->lef || mask_write_lef(&f, o->lef, err)) &&
       (!o->spice || mask_write_spice(&f, bank, o->spice, err)) && (!o->svg || mask_write_svg(&f, bank, o->svg, err)) && (!o->png || pictures(&f, bank, o->png, err)) && (!o->lyp || mask_write_lyp(p, o->lyp, err));
  if (ok) print_area(&f, o->json);
  mask_process_free(p);
  return ok;
}

static bool open_chip(Chip *chip, const char *path, const MaskOptions *o, Err *err) {
  ChipShape s;
  if (!o->shape) return chip_open_any(chip, path, err) && chip_verify_all(chip, err);
  return chip_shape_of(o->shape, &s, err) && chip_synthetic(chip, &s, o->bits, 1, err);
}

int cmd_mask(int argc, char **argv) {
  const char *path;
  MaskOptions o = {.layers = "all", .bank = -1, .bits = 3.5};
  const Option option[] = {
      {"output", 'o', OPT_TEXT, &o.output, "FILE", "write the layout: OASIS, or GDSII where the name ends in .gds"},
      {"check", 0, OPT_TEXT, &o.check, "FILE", "read a layout back and compare every bit with the chip"},
      {"process", 0, OPT_TEXT, &o.process, "NAME", "sky130 (default), generic, or a description's file; --check: default the layout's"},
      {"layers", 0, OPT_TEXT, &o.layers, "WHICH", "all (default), base: all but the weights, or weights"},
      {"rows", 0, OPT_INT, &o.knobs.rows, "N", "words of a bank (default: the process's)"},
      {"columns", 0, OPT_INT, &o.knobs.columns, "N", "bits of a word in a bank (default: the process's)"},
      {"bank", 0, OPT_INT, &o.bank, "N", "only this bank, as a macro of its own"},
      {"lef", 0, OPT_TEXT, &o.lef, "FILE", "write a bank's abstract"},
      {"spice", 0, OPT_TEXT, &o.spice, "FILE", "write a bank's netlist (the first, or --bank)"},
      {"svg", 0, OPT_TEXT, &o.svg, "FILE", "draw the die, a bank and some cells"},
      {"png", 0, OPT_TEXT, &o.png, "FILE", "three pictures of a bank, FILE-bank.png, -corner.png, -cells.png, by KLayout"},
      {"lyp", 0, OPT_TEXT, &o.lyp, "FILE", "write layer properties for KLayout"},
      {"shape", 0, OPT_TEXT, &o.shape, "NAME", "random weights of a shape instead of a chip: llama-3.1-8b, ..."},
      {"bits", 0, OPT_FLOAT, &o.bits, "N", "their bits a weight (default 3.5)"},
      {"threads", 't', OPT_INT, &o.machine.threads, "N", "threads that draw (default: all CPUs)"},
      {"json", 0, OPT_FLAG, &o.json, "", "print JSON"},
      KNOB_OPTIONS(o.hardware),
  };
  const Usage usage = {"mask", "burin mask X.chip [-o X.oas] [--check X.oas] [options]", "Writes the mask ROM with the chip's weights as layout, or reads a layout back.", option,
                       sizeof option / sizeof *option, 1, 1};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  if ((path != NULL) == (o.shape != NULL) || (o.check && (o.output || o.lef || o.spice || o.svg || o.png || o.lyp || o.bank >= 0))) {
    fprintf(stderr, "burin mask: expected X.chip or --shape NAME; --check stands alone\n");
    return STATUS_USAGE;
  }
  Err err = {0};
  Chip chip = {0};
  bool ok = open_chip(&chip, path, &o, &err) && (o.check ? check : draw)(&chip, &o, &err);
  chip_close(&chip);
  return ok ? STATUS_DONE : fail("mask", &err);
}
