/* rtl/emit: the files around the ROM images: top level, file list, Makefile, constraints, README. */
#include "rtl/parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int rtl_matrices(const RtlDesign *d) { return rtl_mats(d); }

/* Bits of matrix number i. */
typedef int WidthFn(const RtlDesign *d, const void *of, int i);

static RtlCounts counts(const RtlDesign *d, WidthFn *width, const void *of, int embed_bits) {
  const RtlKnobs *k = &d->knobs;
  RtlCounts n = {0};
  uint64_t groups = k->taps > GROUP ? (uint64_t)(k->taps / GROUP) : 1;
  for (int i = 0; i < rtl_mats(d); i++) {
    const RtlExtent *x = &d->mat[rtl_kind(d, i)];
    int bits = width(d, of, i);
    n.code_words[rtl_width_index(bits)] += (uint64_t)x->blocks * (uint64_t)x->words;
    n.scale_words += (uint64_t)x->blocks * (uint64_t)x->scale_words;
    n.row_scale_words += (uint64_t)x->row_words;
    if (bits > n.code_bits) n.code_bits = bits;
  }
  for (int w = 0; w < RTL_WIDTHS; w++) n.code_rom_bits += n.code_words[w] * (uint64_t)k->lanes * (uint64_t)k->taps * (uint64_t)rtl_width_bits[w];
  n.rom_bits = n.code_rom_bits + n.scale_words * (uint64_t)k->lanes * groups * 6 + n.row_scale_words * (uint64_t)k->vec * 16;
  n.rom_bits += (uint64_t)rtl_mats(d) * (1u << n.code_bits) * 8;
  n.rom_bits += (uint64_t)d->shape.vocab * ((uint64_t)d->shape.dim * (uint64_t)embed_bits + 16);
  n.rom_bits += (uint64_t)((k->context + ROTARY_LOW - 1) / ROTARY_LOW + ROTARY_LOW) * (uint64_t)d->shape.head_dim * 16;
  uint64_t rows = ((uint64_t)k->context + (uint64_t)k->scan - 1) / (uint64_t)k->scan;
  n.kv_bits = (uint64_t)d->shape.layers * (uint64_t)d->shape.kv_heads * rows * (uint64_t)k->scan * 2 * ((uint64_t)d->shape.head_dim * 8 + 16);
  /* words of 32 bits: residual; heads of q, k and v; outputs of attention; gate's rows and act; logits; scores of a round */
  uint64_t q = (uint64_t)(d->shape.heads * d->shape.head_dim), kv = (uint64_t)(d->shape.kv_heads * d->shape.head_dim);
  uint64_t logits = (uint64_t)d->vocab_words * (uint64_t)k->vec;
  n.ram_bits = 32 * ((uint64_t)d->shape.dim + q + 2 * kv + q + 2 * (uint64_t)d->shape.ffn + logits + (uint64_t)(k->heads * d->share) * rows * (uint64_t)k->scan);
  return n;
}

static int width_of_chip(const RtlDesign *d, const void *chip, int i) { return rtl_mat(d, chip, i)->bits; }

RtlCounts rtl_counts(const RtlDesign *d, const Chip *c) { return counts(d, width_of_chip, c, c->embed.bits); }

static int width_of_list(const RtlDesign *d, const void *bits, int i) { return (void)d, ((const int *)bits)[i]; }

RtlCounts rtl_counts_of(const RtlDesign *d, const int *bits, int embed_bits) { return counts(d, width_of_list, bits, embed_bits); }

void rtl_widths(const RtlDesign *d, const Chip *c, int *bits) {
  for (int i = 0; i < rtl_mats(d); i++) bits[i] = rtl_mat(d, c, i)->bits;
}

/* ---- files ---- */

static bool make_dir(const char *path, Err *err) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST) return true;
  return err_set(err, "%s: %s", path, strerror(errno));
}

/* A file that holds just this already is left alone, so that a simulation is built again only when it must be. */
static bool put_file(const char *dir, const char *name, const char *s, size_t n, Err *err) {
  char path[4200];
  Buf old = {0};
  Err ignored = {0};
  snprintf(path, sizeof path, "%s/%s", dir, name);
  bool same = file_read_all(path, n, &old, &ignored) && old.n == n && memcmp(old.s, s, n) == 0;
  buf_free(&old);
  if (same) return true;
  Writer *w = writer_open(path, err);
  if (!w) return false;
  writer_put(w, s, n);
  return writer_commit(w, err);
}

/* ---- the top level ---- */

/* A parameter of n fields of `bits` bits, the first in the lowest bits. */
typedef uint32_t FieldFn(const RtlDesign *d, const Chip *c, int i);

static bool put_packed(Buf *b, const RtlDesign *d, const Chip *c, const char *name, int n, int bits, FieldFn *field, Err *err) {
  bool ok = buf_printf(b, err, "      .%s({", name);
  for (int i = n - 1; ok && i >= 0; i--)
    ok = buf_printf(b, err, "%s%d'h%x%s", (n - 1 - i) % 16 == 0 ? "\n          " : "", bits, field(d, c, i), i ? ", " : "");
  return ok && buf_printf(b, err, "\n      }),\n");
}

static uint32_t width_field(const RtlDesign *d, const Chip *c, int i) { return (uint32_t)rtl_width_index(rtl_mat(d, c, i)->bits); }
static uint32_t exponent_field(const RtlDesign *d, const Chip *c, int i) { return (uint32_t)rtl_mat(d, c, i)->exponent & 255; }
static uint32_t depth_field(const RtlDesign *d, const Chip *c, int i) { return (uint32_t)rtl_counts(d, c).code_words[i]; }
static uint32_t level_field(const RtlDesign *d, const Chip *c, int i) {
  (void)d;
  return i < c->embed.levels ? (uint8_t)c->embed.level[i] : 0;
}

static bool put_parameters(Buf *b, const RtlDesign *d, const Chip *c, Err *err) {
  const ChipShape *s = &d->shape;
  const RtlKnobs *k = &d->knobs;
  RtlCounts n = rtl_counts(d, c);
  const struct {
    const char *name;
    uint64_t value;
  } number[] = {{"Layers", (uint64_t)s->layers},       {"Dim", (uint64_t)s->dim},         {"Ffn", (uint64_t)s->ffn},
                {"QHeads", (uint64_t)s->heads},        {"KvHeads", (uint64_t)s->kv_heads}, {"HeadDim", (uint64_t)s->head_dim},
                {"RotaryDims", (uint64_t)s->rotary_dims}, {"Vocab", (uint64_t)s->vocab},   {"Context", (uint64_t)k->context},
                {"Lanes", (uint64_t)k->lanes},         {"Taps", (uint64_t)k->taps},       {"Vec", (uint64_t)k->vec},
                {"Scan", (uint64_t)k->scan},           {"Units", (uint64_t)k->heads},     {"Radix", (uint64_t)k->radix},
                {"CodeBits", (uint64_t)n.code_bits},   {"ScaleWords", n.scale_words},     {"RowScaleWords", n.row_scale_words},
                {"EmbedBits", (uint64_t)c->embed.bits}};
  bool ok = true;
  for (size_t i = 0; ok && i < sizeof number / sizeof *number; i++)
    ok = buf_printf(b, err, "      .%s(%llu),\n", number[i].name, (unsigned long long)number[i].value);
  char hash[33];
  hex_of(c->hash, 16, hash);
  int shift = -(c->embed.exponent + FRAC);
  return ok && buf_printf(b, err, "      .RootDim(17'd%u),\n      .Eps(48'd%llu),\n      .Hash(128'h%s),\n", (unsigned)s->root_dim,
                          (unsigned long long)s->eps, hash) &&
         put_packed(b, d, c, "Width", rtl_mats(d), 3, width_field, err) && put_packed(b, d, c, "Exponent", rtl_mats(d), 8, exponent_field, err) &&
         put_packed(b, d, c, "CodeWords", RTL_WIDTHS, 32, depth_field, err) &&
         put_packed(b, d, c, "EmbedLevel", 1 << c->embed.bits, 8, level_field, err) &&
         buf_printf(b, err, "      .EmbedShift(%s10'sd%d)\n", shift < 0 ? "-" : "", shift < 0 ? -shift : shift);
}

static const char ports[] =
    "    input  logic        clk_i,\n    input  logic        rst_i,\n    input  logic [31:0] s_axis_tdata,\n    input  logic        s_axis_tvalid,\n"
    "    output logic        s_axis_tready,\n    input  logic        s_axis_tlast,\n    output logic [31:0] m_axis_tdata,\n"
    "    output logic        m_axis_tvalid,\n    input  logic        m_axis_tready,\n    output logic        m_axis_tlast,\n"
    "    input  logic        reg_write_i,\n    input  logic [ 3:0] reg_addr_i,\n    input  logic [31:0] reg_wdata_i,\n"
    "    output logic [31:0] reg_rdata_o,\n    output logic        token_done_o\n";

static const char connections[] =
    "      .clk_i,\n      .rst_i,\n      .s_axis_tdata,\n      .s_axis_tvalid,\n      .s_axis_tready,\n      .s_axis_tlast,\n      .m_axis_tdata,\n"
    "      .m_axis_tvalid,\n      .m_axis_tready,\n      .m_axis_tlast,\n      .reg_write_i,\n      .reg_addr_i,\n      .reg_wdata_i,\n"
    "      .reg_rdata_o,\n      .token_done_o\n";

static bool emit_top(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  Buf b = {0};
  char hash[65];
  chip_hash_text(c, hash);
  bool ok = buf_printf(&b, err, "// Chip %s: the machine of hw/burin_core.sv with this model's constants.  Written by burin rtl.\nmodule burin_chip (\n%s);\n  burin_core #(\n",
                       hash, ports) &&
            put_parameters(&b, d, c, err) && buf_printf(&b, err, "  ) u_core (\n%s  );\nendmodule\n", connections) &&
            put_file(dir, "burin_chip.sv", b.s, b.n, err);
  buf_free(&b);
  return ok;
}

/* ---- what builds it ---- */

static bool emit_list(const char *dir, Err *err) {
  Buf b = {0};
  bool ok = true;
  for (int pass = 0; pass < 2; pass++) /* packages first */
    for (int i = 0; ok && i < rtl_files; i++) {
      Str name = str_from(rtl_file[i].name);
      bool package = str_ends(name, STR("_pkg.sv")), design = str_ends(name, STR(".sv")) && !str_starts(name, STR("tb/"));
      if (design && package == (pass == 0)) ok = buf_printf(&b, err, "hw/%s\n", rtl_file[i].name);
    }
  ok = ok && buf_printf(&b, err, "burin_chip.sv\n") && put_file(dir, "burin.f", b.s, b.n, err);
  buf_free(&b);
  return ok;
}

static const char makefile[] =
    "# make          builds the simulation sim/Vburin_tb (Verilator 5)      make lint     verilator -Wall\n"
    "# make TRACE=1  also writes every intermediate vector (+trace=FILE)    make FST=1    also writes waves (+fst=FILE)\n"
    "# Run it here: sim/Vburin_tb +script=FILE; hw/tb/burin_tb.sv says what a script is.\n"
    "VERILATOR ?= verilator\n"
    "OPT ?= -O1\n"
    "FLAGS := --binary --timing -j 0 --top-module burin_tb --Mdir sim -Wno-fatal --x-assign fast --x-initial fast --noassert \\\n"
    "  -fno-const-bit-op-tree --unroll-count 16 --output-split 20000 -MAKEFLAGS \"OPT_FAST=$(OPT) OPT_SLOW=-O0\"\n"
    "SOURCES := -f burin.f hw/tb/burin_tb.sv\n"
    "ifdef TRACE\n"
    "SOURCES += hw/tb/burin_trace.sv\n"
    "endif\n"
    "ifdef FST\n"
    "FLAGS += --trace-fst\n"
    "endif\n\n"
    "sim/Vburin_tb: burin_chip.sv burin.f Makefile $(wildcard hw/*.sv hw/tb/*.sv)\n"
    "\t$(VERILATOR) $(FLAGS) $(SOURCES)\n\n"
    "lint:\n"
    "\t$(VERILATOR) --lint-only -Wall -f burin.f --top-module burin_chip\n\n"
    "clean:\n"
    "\trm -rf sim\n\n"
    ".PHONY: lint clean\n";

static bool emit_constraints(const char *dir, Err *err) {
  static const char text[] = "# One clock; everything else belongs to it.  1 GHz is what doc/hardware.md plans with in a 6 nm process.\n"
                             "create_clock -name clk -period 1.0 [get_ports clk_i]\n"
                             "set_input_delay 0.2 -clock clk [remove_from_collection [all_inputs] [get_ports clk_i]]\n"
                             "set_output_delay 0.2 -clock clk [all_outputs]\n";
  return put_file(dir, "burin.sdc", text, sizeof text - 1, err);
}

static bool emit_readme(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  const ChipShape *s = &d->shape;
  const RtlKnobs *k = &d->knobs;
  RtlCounts n = rtl_counts(d, c);
  RtlPhases first = rtl_phases(d, 0, true, false), last = rtl_phases(d, k->context - 1, true, false);
  char hash[65];
  chip_hash_text(c, hash);
  Buf b = {0};
  bool ok = buf_printf(&b, err, "# Chip %.16s as SystemVerilog\n\n", hash) &&
            buf_printf(&b, err, "Written by `burin rtl` from chip %s.\n\n", hash) &&
            buf_printf(&b, err, "Token ids in, token ids out: `burin_chip.sv` (AXI4-Stream ports, a register window: `hw/burin_port.sv`).\n"
                                "`make` builds a simulation with Verilator, `burin verify X.chip` compares one with the engine.\n\n"
                                "| | |\n|---|---|\n"
                                "| shape | %d layers, dim %d, ffn %d, %d heads of %d, %d key-value heads, vocabulary %d |\n",
                       s->layers, s->dim, s->ffn, s->heads, s->head_dim, s->kv_heads, s->vocab) &&
            buf_printf(&b, err, "| knobs | lanes %d, taps %d, vec %d, scan %d, heads %d, radix %d, ctx %d |\n", k->lanes, k->taps, k->vec, k->scan,
                       k->heads, k->radix, k->context) &&
            buf_printf(&b, err, "| mask ROM | %llu bits |\n| KV cache SRAM | %llu bits |\n| memories of vectors | %llu bits |\n", (unsigned long long)n.rom_bits,
                       (unsigned long long)n.kv_bits, (unsigned long long)n.ram_bits) &&
            buf_printf(&b, err, "| weights that select in a cycle | %d |\n| cycles a token, first position | %llu |\n| cycles a token, last position | %llu |\n\n",
                       k->lanes * k->taps, (unsigned long long)first.total, (unsigned long long)last.total) &&
            buf_printf(&b, err, "ROM images are in `rom/`, one word a line, in the order in which a token meets them; simulate in this directory.\n") &&
            put_file(dir, "README.md", b.s, b.n, err);
  buf_free(&b);
  return ok;
}

bool rtl_emit(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  static const char *const folder[] = {"", "/hw", "/hw/cells", "/hw/tb", "/rom"};
  bool ok = true;
  for (size_t i = 0; ok && i < sizeof folder / sizeof *folder; i++) {
    char path[4200];
    snprintf(path, sizeof path, "%s%s", dir, folder[i]);
    ok = make_dir(path, err);
  }
  for (int i = 0; ok && i < rtl_files; i++) {
    char name[128];
    snprintf(name, sizeof name, "hw/%s", rtl_file[i].name);
    ok = put_file(dir, name, rtl_file[i].from, (size_t)(rtl_file[i].to - rtl_file[i].from), err);
  }
  return ok && rtl_images(d, c, dir, err) && emit_list(dir, err) && put_file(dir, "Makefile", makefile, sizeof makefile - 1, err) &&
         emit_constraints(dir, err) && emit_readme(d, c, dir, err) && emit_top(d, c, dir, err);
}
