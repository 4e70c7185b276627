/* cmd/rtl: burin rtl X.chip -o DIR; burin rtl --shape NAME */
#include "cmd/cmd.h"

#include <stdio.h>

bool knob_options(const KnobOptions *o, const ChipShape *s, RtlDesign *d, Err *err) {
  RtlKnobs k;
  if (!rtl_knobs(o->size ? o->size : "sim", s, &k, err)) return false;
  const int *given = &o->knobs.lanes;
  int *knob = &k.lanes;
  _Static_assert(sizeof(RtlKnobs) == 7 * sizeof(int), "walked as numbers");
  for (int i = 0; i < 7; i++)
    if (given[i]) knob[i] = given[i];
  return rtl_design(d, s, &k, err);
}

static void add(json_t *o, const char *key, uint64_t v) { json_object_set_new(o, key, json_integer((json_int_t)v)); }

static void print_phases_json(const RtlDesign *d, int position) {
  RtlPhases p = rtl_phases(d, position, true, false);
  const RtlKnobs *k = &d->knobs;
  json_t *o = json_object();
  add(o, "position", (uint64_t)position);
  add(o, "embed", p.embed);
  add(o, "qkv", p.qkv);
  add(o, "attention", p.attention);
  add(o, "o", p.o);
  add(o, "gate_up", p.gate_up);
  add(o, "butterfly", p.butterfly);
  add(o, "down", p.down);
  add(o, "sweep_layer", p.sweep_layer);
  add(o, "chain_layer", p.qkv + p.attention + p.o + p.gate_up + p.butterfly + p.down - p.sweep_layer);
  add(o, "head", p.head);
  add(o, "cycles", p.total);
  json_object_set_new(o, "knobs", json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "lanes", k->lanes, "taps", k->taps, "vec", k->vec, "scan", k->scan, "heads",
                                            k->heads, "radix", k->radix, "ctx", k->context));
  print_json(o);
  json_decref(o);
}

static void print_phases(const RtlDesign *d, int position) {
  RtlPhases p = rtl_phases(d, position, true, false);
  const RtlKnobs *k = &d->knobs;
  uint64_t layer = p.qkv + p.attention + p.o + p.gate_up + p.butterfly + p.down;
  printf("lanes %d, taps %d, vec %d, scan %d, heads %d, radix %d, ctx %d; cycles at position %d (derived: the schedule of hw/)\n\n", k->lanes, k->taps,
         k->vec, k->scan, k->heads, k->radix, k->context, position);
  printf("embedding            %8llu\n", (unsigned long long)p.embed);
  printf("norm, q k v, rotary  %8llu  of a layer\nattention            %8llu\no                    %8llu\nnorm, gate, up       %8llu\n",
         (unsigned long long)p.qkv, (unsigned long long)p.attention, (unsigned long long)p.o, (unsigned long long)p.gate_up);
  printf("butterfly            %8llu\ndown                 %8llu\n", (unsigned long long)p.butterfly, (unsigned long long)p.down);
  printf("  a layer            %8llu  (sweep of weights %llu, chain %llu)\n", (unsigned long long)layer, (unsigned long long)p.sweep_layer,
         (unsigned long long)(layer - p.sweep_layer));
  printf("  %4d layers        %8llu\nnorm, head, largest  %8llu  (sweep %llu)\n", d->shape.layers, (unsigned long long)layer * (unsigned)d->shape.layers,
         (unsigned long long)p.head, (unsigned long long)p.sweep_head);
  printf("a token              %8llu  (%.0f tokens/s at 1 GHz)\n", (unsigned long long)p.total, 1e9 / (double)p.total);
}

static bool emit(const char *path, const char *dir, const KnobOptions *knobs, Err *err) {
  Chip chip;
  RtlDesign d;
  if (!chip_open_any(&chip, path, err)) return false;
  bool ok = knob_options(knobs, &chip.shape, &d, err) && chip_verify_all(&chip, err) && rtl_emit(&d, &chip, dir, err);
  if (ok) {
    RtlCounts n = rtl_counts(&d, &chip);
    fprintf(stderr, "wrote %s: %.1f Mbit of mask ROM, %.1f Mbit of KV cache, %llu cycles for the first token\n", dir, (double)n.rom_bits / 1e6,
            (double)n.kv_bits / 1e6, (unsigned long long)rtl_cycles(&d, 0, true, false));
  }
  chip_close(&chip);
  return ok;
}

static bool phases(const char *path, const char *shape, const KnobOptions *knobs, int position, bool json, Err *err) {
  Chip chip = {0};
  ChipShape s;
  RtlDesign d;
  if (shape ? !chip_shape_of(shape, &s, err) : !chip_open_any(&chip, path, err)) return false;
  bool ok = knob_options(knobs, shape ? &s : &chip.shape, &d, err);
  if (ok && (position < 0 || position >= d.knobs.context))
    ok = err_set(err, "position: expected 0 to %d, found %d", d.knobs.context - 1, position);
  if (ok) (json ? print_phases_json : print_phases)(&d, position);
  if (!shape) chip_close(&chip);
  return ok;
}

int cmd_rtl(int argc, char **argv) {
  const char *path, *dir = NULL, *shape = NULL;
  KnobOptions knobs = {0};
  int position = 0;
  bool json = false;
  const Option option[] = {
      {"output", 'o', OPT_TEXT, &dir, "DIR", "write the design there (default: print where a token's cycles go)"},
      {"shape", 0, OPT_TEXT, &shape, "NAME", "cycles of a shape instead of a chip: llama-3.1-8b, ..., or layers=N,dim=N,..."},
      {"position", 0, OPT_INT, &position, "N", "the position whose cycles are printed (default 0)"},
      {"json", 0, OPT_FLAG, &json, "", "print the cycles as JSON"},
      KNOB_OPTIONS(knobs),
  };
  const Usage usage = {"rtl", "burin rtl X.chip -o DIR [options]",
                       "Writes the hard-wired machine with the chip's weights as SystemVerilog, or prints the cycles of its schedule.", option,
                       sizeof option / sizeof *option, 1, 1};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  if ((path != NULL) == (shape != NULL) || (dir && shape)) {
    fprintf(stderr, "burin rtl: expected X.chip, or --shape NAME without -o\n");
    return STATUS_USAGE;
  }
  Err err = {0};
  bool ok = dir ? emit(path, dir, &knobs, &err) : phases(path, shape, &knobs, position, json, &err);
  return ok ? STATUS_DONE : fail("rtl", &err);
}
