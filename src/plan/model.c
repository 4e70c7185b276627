/* plan/model: from counts and facts to figures.  One formula a figure, each with its unit; plan_output says in words what it is. */
#include "plan/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const OutputName plan_output[OUTPUTS] = {
    [O_TPS] = {"tokens_per_second", "tokens/s", "clock over cycles of a token, one user; less where air cannot cool the power"},
    [O_CYCLES] = {"cycles_per_token", "cycles", "schedule of the emitted design at the position, and crossings of the die"},
    [O_CLOCK] = {"clock_hz", "Hz", "longest path of the synthesised modules, scaled by FO4, and a margin"},
    [O_DIE] = {"die_mm2", "mm2", "ROM, SRAM, gates, spares, ring"},
    [O_WATTS] = {"watts", "W", "energy of a token times tokens/s, and leakage; all chips"},
    [O_TOKENS_PER_JOULE] = {"tokens_per_joule", "tokens/J", "tokens/s over watts"},
    [O_CHIP_COST] = {"usd_per_chip", "$", "good die, package, test; all chips; without NRE"},
    [O_MTOK_COST] = {"usd_per_mtok", "$/Mtoken", "silicon, system, NRE, power, facility, operations over the tokens of a life"},
    [O_CYCLES_RTL] = {"cycles_rtl", "cycles", "rtl_cycles of a greedy token: exact, equal to simulation"},
    [O_CYCLES_EXPERTS] = {"cycles_experts", "cycles", "experts after a layer's first, and the router: phases of the schedule again; not in the RTL; 0 for dense models"},
    [O_CYCLES_WIRE] = {"cycles_wire", "cycles", "8 crossings of half a die in each layer, 4 more for each expert after the first; not in the RTL"},
    [O_PATH_NS] = {"path_ns", "ns", "longest path in osu018, grown to the design's widths"},
    [O_AREA_ROM] = {"rom_mm2", "mm2", "bits over bare density times array efficiency at the depth of a column, in which banks of all widths share bit lines; spares"},
    [O_AREA_SRAM] = {"sram_mm2", "mm2", "KV cache, and memories of vectors: residual, heads, scores, gate, logits"},
    [O_AREA_LANES] = {"lanes_mm2", "mm2", "gates of the structural lane, spares"},
    [O_AREA_PRODUCTS] = {"products_mm2", "mm2", "product lines, one copy for each group of lanes"},
    [O_AREA_VECTOR] = {"vector_mm2", "mm2", "embedding, residual, quantising, norms, heads, rotary, gate, butterfly, finish, sampler, control"},
    [O_AREA_ATTENTION] = {"attention_mm2", "mm2", "scores, softmax, values, outputs"},
    [O_AREA_RING] = {"ring_mm2", "mm2", "pads and power around the core"},
    [O_E_ROM] = {"rom_joules", "J/token", "bits of codes and scales read"},
    [O_E_LANES] = {"lanes_joules", "J/token", "select and 16-bit add for each weight, a multiply for each group"},
    [O_E_WIRES] = {"wires_joules", "J/token", "activations over the die, product lines over a group of lanes, codes to their lane"},
    [O_E_CLOCK] = {"clock_joules", "J/token", "clock tree of gates and SRAM of one die, over all cycles; ROM has no registers"},
    [O_E_ATTENTION] = {"attention_joules", "J/token", "KV cache read and multiplied"},
    [O_E_VECTOR] = {"vector_joules", "J/token", "multiplies of norms, quantising, gate, finish"},
    [O_E_LINK] = {"link_joules", "J/token", "residual from chip to chip"},
    [O_E_TOKEN] = {"dynamic_joules", "J/token", "sum of the seven, times the power margin"},
    [O_STATIC] = {"static_watts", "W", "leakage by area, all chips"},
    [O_DENSITY_W] = {"watts_per_mm2", "W/mm2", "watts over die area"},
    [O_IR_DROP] = {"ir_drop_volts", "V", "current density of the die times sheet resistance of the grid times bump pitch squared over 8"},
    [O_TRANSISTORS] = {"transistors", "1", "4 a gate, 1 a ROM bit, 6 an SRAM bit"},
    [O_DIES] = {"dies_per_wafer", "1", "pi d^2/4A - pi d/sqrt(2A)"},
    [O_YIELD] = {"yield", "1", "Murphy, without repair"},
    [O_YIELD_REPAIRED] = {"yield_repaired", "1", "Murphy on the area that spares do not mend"},
    [O_DIE_COST] = {"usd_per_die", "$", "wafer over good dies"},
    [O_MASKS] = {"mask_set_usd", "$", "base and weight masks"},
    [O_RESPIN] = {"respin_usd", "$", "weight masks alone, all chips: a new model of the same shape"},
    [O_NRE] = {"nre_usd", "$", "design and masks"},
    [O_SYSTEM_COST] = {"usd_per_system", "$", "chips, packages, their share of board and host"},
    [O_MTOK_SILICON] = {"mtok_silicon", "$/Mtoken", "chips and packages"},
    [O_MTOK_SYSTEM] = {"mtok_system", "$/Mtoken", "board, host, power supply"},
    [O_MTOK_NRE] = {"mtok_nre", "$/Mtoken", "design and masks over the volume"},
    [O_MTOK_POWER] = {"mtok_power", "$/Mtoken", "electricity with PUE"},
    [O_MTOK_FACILITY] = {"mtok_facility", "$/Mtoken", "facility, used 15 years"},
    [O_MTOK_OPERATIONS] = {"mtok_operations", "$/Mtoken", "maintenance"},
    [O_BREAK_EVEN] = {"break_even_tokens", "tokens", "NRE over what a token is cheaper than on a rented H100 in batches"},
};

enum { LINE_BITS = 16, CROSSINGS = 8, EXPERT_CROSSINGS = 4, ROUTED = 8, YEAR_HOURS = 8766, FACILITY_YEARS = 15 };

/* ---- gates ---- */

static const PlanModule *module_of(const char *name, const char *parameters) {
  for (int i = 0; i < plan_modules; i++)
    if (strcmp(plan_module[i].name, name) == 0 && (!parameters || strstr(plan_module[i].parameters, parameters))) return &plan_module[i];
  return NULL;
}

static double gates(const char *name, const char *parameters) { return module_of(name, parameters)->area_um2 * 100 / NAND2_AREA_UM2_X100; }

static double log2_ratio(double a, double b) { return a > b ? log2(a / b) : 0; }

/* Longest path in osu018, ns.  A lane's tree is not its longest path up to 64 taps (measured); beyond, and for vectors wider than
 * those that were synthesised, trees grow. */
static double path_ns(const PlanInput *in, double doubling) {
  const RtlKnobs *k = &in->design.knobs;
  const double grown[3] = {module_of("burin_lane_structural", "Taps 64")->path_ns + doubling * log2_ratio(k->taps, 64),
                           module_of("burin_score", NULL)->path_ns + doubling * log2_ratio(in->design.shape.head_dim, 16),
                           module_of("burin_max", NULL)->path_ns + doubling * log2_ratio(k->vec, 8)};
  double path = 0;
  for (int i = 0; i < plan_modules; i++)
    if (plan_module[i].path_ns > path) path = plan_module[i].path_ns;
  for (int i = 0; i < 3; i++)
    if (grown[i] > path) path = grown[i];
  return path;
}

static double lane_gates(const PlanInput *in) {
  double at8 = gates("burin_lane_structural", "Taps 8"), tap = (gates("burin_lane_structural", "Taps 64") - at8) / 56;
  return in->design.knobs.lanes * (at8 + tap * (in->design.knobs.taps - 8));
}

static double product_gates(const PlanInput *in) {
  double groups = ceil((double)in->design.knobs.lanes / in->group_lanes);
  return groups * in->design.knobs.taps / 8.0 * in->levels / 8.0 * gates("burin_products", NULL);
}

/* What burin_core holds beside bank and attention, once each; rows of what stands within these (maxima, steps, a division) are in
 * theirs. */
static double vector_gates(const PlanInput *in) {
  const ChipShape *s = &in->design.shape;
  double vec = in->design.knobs.vec, wide = fmax(vec, 64) / 64; /* the gate and its butterflies are 64 wide at least */
  double widest = fmax(fmax(s->dim, s->ffn), s->heads * s->head_dim);
  return vec / 8 * (gates("burin_quantise", NULL) + gates("burin_heads", NULL) + gates("burin_finish", NULL) + gates("burin_rotary", NULL) +
                    gates("burin_sampler", NULL) + gates("burin_residual", NULL) + gates("burin_embed", NULL)) +
         vec * gates("burin_silu", NULL) + wide * (gates("burin_gate", NULL) + 2 * gates("burin_butterfly", NULL)) +
         widest / 192 * gates("burin_activations", NULL) + gates("burin_root", NULL) + gates("burin_sequencer", NULL) + gates("burin_port", NULL) +
         gates("burin_sweep", NULL);
}

/* Scores and sums of values are as many multipliers, one for each position of a cycle; the rest of a unit (sums, division) is as
 * wide as its heads.  Around the units: outputs, as wide as vectors. */
static double attention_gates(const PlanInput *in) {
  const RtlKnobs *k = &in->design.knobs;
  double heads = k->heads * in->design.share, dims = in->design.shape.head_dim / 16.0, softmax = gates("burin_softmax", NULL);
  double position = 2 * gates("burin_score", NULL), rest = (gates("burin_attention_unit", NULL) - 4 * (position + softmax)) / 2; /* a unit of 2 heads, 2 positions */
  return heads * (k->scan * (position * dims + softmax) + rest * dims) + k->vec / 8.0 * gates("burin_attention", NULL);
}

/* ---- area ---- */

/* Array efficiency of ROM at a depth, along the four points of the compiler. */
static double efficiency(const double *n, double depth) {
  double x = log2(depth / 1024), low, slope = log2(n[N_EFFICIENCY_2048] / n[N_EFFICIENCY_1024]);
  if (x <= 0) return n[N_EFFICIENCY_1024] * pow(2, fmin(fmax(slope, 0), 0.6) * (x < -4 ? -4 : x)); /* where it falls there, it falls below too: periphery weighs ever more */
  if (x >= 3) return n[N_EFFICIENCY_8192];
  low = floor(x);
  double a = n[N_EFFICIENCY_1024 + (int)low], b = n[N_EFFICIENCY_1024 + (int)low + 1];
  return a + (b - a) * (x - low);
}

static void areas(const PlanInput *in, const double *n, const double *g, double *o) {
  double gate = g[G_TRANSISTORS_GATE] / (n[N_LOGIC] * 1e6 * g[G_UTILISATION]), spare = 1 + g[G_SPARE], rom = 0, chips = in->chips;
  const RtlKnobs *k = &in->design.knobs;
  for (int bit = 0; bit < 8; bit++) { /* banks of all widths are never read together: their rows share the bit lines of a column */
    double depth = 0;
    for (int w = 0; w < RTL_WIDTHS; w++) depth += rtl_width_bits[w] > bit ? (double)in->counts.code_words[w] : 0;
    if (depth > 0) rom += depth * k->lanes * k->taps / 1e6 / (n[N_ROM_BARE] * efficiency(n, depth / chips));
  }
  rom += (double)(in->counts.rom_bits - in->counts.code_rom_bits) / 1e6 / (n[N_ROM_BARE] * n[N_EFFICIENCY_4096]);
  o[O_AREA_ROM] = rom * spare / chips;
  o[O_AREA_SRAM] = (double)(in->counts.kv_bits + in->counts.ram_bits) * n[N_SRAM_CELL] * 1e-6 / g[G_SRAM_EFFICIENCY] / chips;
  o[O_AREA_LANES] = lane_gates(in) * gate * spare;
  o[O_AREA_PRODUCTS] = product_gates(in) * gate;
  o[O_AREA_VECTOR] = vector_gates(in) * gate;
  o[O_AREA_ATTENTION] = attention_gates(in) * gate;
  double core = 0;
  for (int i = O_AREA_ROM; i <= O_AREA_ATTENTION; i++) core += o[i];
  double side = sqrt(core) + 2 * g[G_IO_RING];
  o[O_DIE] = side * side;
  o[O_AREA_RING] = o[O_DIE] - core;
  double all_gates = lane_gates(in) + product_gates(in) + vector_gates(in) + attention_gates(in);
  o[O_TRANSISTORS] = chips * all_gates * g[G_TRANSISTORS_GATE] + (double)in->counts.rom_bits + 6 * (double)(in->counts.kv_bits + in->counts.ram_bits);
}

/* ---- speed and energy ---- */

static void energies(const PlanInput *in, const double *n, const double *g, double *o) {
  const ChipShape *s = &in->design.shape;
  const RtlKnobs *k = &in->design.knobs;
  double array = o[O_AREA_ROM] + o[O_AREA_LANES] + o[O_AREA_PRODUCTS], groups = ceil((double)k->lanes / in->group_lanes);
  double wire = n[N_WIRE_ENERGY] * 1e-12 * g[G_TOGGLE];
  /* a bus to every point of a grid of pitch p over an area A is A / p long */
  double over_die = array / sqrt(array / groups), in_group = o[O_AREA_LANES] / groups / sqrt(o[O_AREA_LANES] / k->lanes), to_lane = 0.38 * sqrt(array / groups);
  o[O_E_ROM] = in->code_bits * n[N_ROM_ENERGY] * 1e-12;
  o[O_E_LANES] = (in->weights * n[N_ADD_ENERGY] + in->weights / GROUP * n[N_MULTIPLY_ENERGY] * 4) * 1e-12; /* two halves of a 32-bit add: select, add */
  o[O_E_WIRES] = wire * (in->words * k->taps * 8 * over_die + in->lines * k->taps * LINE_BITS * in_group * groups + in->code_bits * to_lane);
  o[O_E_CLOCK] = n[N_CLOCK_ENERGY] * (o[O_DIE] - o[O_AREA_ROM] - o[O_AREA_RING]) * o[O_CYCLES];
  double cached = (double)s->layers * in->position * 2 * s->kv_heads * s->head_dim;
  o[O_E_ATTENTION] = cached * (8 * n[N_SRAM_ENERGY] + in->design.share * n[N_MULTIPLY_ENERGY]) * 1e-12;
  o[O_E_VECTOR] = (double)s->layers * (12.0 * s->dim + 10.0 * s->ffn * in->experts.active) * n[N_MULTIPLY_ENERGY] * 6 * 1e-12; /* a 16 by 24-bit multiply is about six of 8 by 8 */
  o[O_E_LINK] = (in->chips - 1) * (double)s->dim * 32 * g[G_LINK_ENERGY] * 1e-12;
  double sum = 0;
  for (int i = O_E_ROM; i <= O_E_LINK; i++) sum += o[i];
  o[O_E_TOKEN] = sum * g[G_POWER_MARGIN];
  o[O_STATIC] = in->chips * (n[N_LEAK_ROM] * o[O_AREA_ROM] + n[N_LEAK_SRAM] * o[O_AREA_SRAM] +
                             n[N_LEAK_LOGIC] * (o[O_AREA_LANES] + o[O_AREA_PRODUCTS] + o[O_AREA_VECTOR] + o[O_AREA_ATTENTION]));
}

/* The router is a matrix of as many rows as there are experts, then the largest are taken one by one (assumed: ROUTED cycles each). */
static double expert_cycles(const PlanInput *in) {
  const RtlDesign *d = &in->design;
  const RtlKnobs *k = &d->knobs;
  if (in->experts.stored == 1) return 0;
  RtlPhases p = rtl_phases(d, in->position, true, false);
  double words = ceil((double)in->experts.stored / k->lanes) * d->mat[MAT_GATE].words, of_o = (double)d->mat[MAT_O].words * d->mat[MAT_O].blocks;
  double router = words + (double)p.o - of_o + ROUTED * in->experts.active;
  return d->shape.layers * (router + (in->experts.active - 1) * (double)(p.gate_up + p.butterfly + p.down));
}

static void speed(const PlanInput *in, const double *n, const double *g, double *o) {
  o[O_PATH_NS] = path_ns(in, g[G_DOUBLING]);
  o[O_CLOCK] = 1e9 / (o[O_PATH_NS] * n[N_FO4] / g[G_FO4_180] * (1 + g[G_TIMING_MARGIN]));
  o[O_CYCLES_RTL] = (double)rtl_cycles(&in->design, in->position, true, false);
  double crossing = sqrt(o[O_DIE]) / 2 * n[N_WIRE_DELAY] * 1e-12 * o[O_CLOCK];
  o[O_CYCLES_EXPERTS] = expert_cycles(in);
  o[O_CYCLES_WIRE] = ((double)in->design.shape.layers * (CROSSINGS + EXPERT_CROSSINGS * (in->experts.active - 1)) + 2) * ceil(crossing);
  o[O_CYCLES] = o[O_CYCLES_RTL] + o[O_CYCLES_EXPERTS] + o[O_CYCLES_WIRE];
  energies(in, n, g, o);
  double seconds = o[O_CYCLES] / o[O_CLOCK] + (in->chips - 1) * g[G_LINK_LATENCY] * 1e-9;
  double limit = g[G_AIR_LIMIT] * o[O_DIE] * in->chips; /* of all dies; a token is in one of them at a time */
  o[O_TPS] = 1 / seconds;
  if (o[O_TPS] * o[O_E_TOKEN] + o[O_STATIC] > limit && limit > o[O_STATIC]) o[O_TPS] = (limit - o[O_STATIC]) / o[O_E_TOKEN];
  o[O_WATTS] = o[O_TPS] * o[O_E_TOKEN] + o[O_STATIC];
  o[O_TOKENS_PER_JOULE] = o[O_TPS] / o[O_WATTS];
  o[O_DENSITY_W] = o[O_WATTS] / o[O_DIE] / in->chips;
  double busy = in->chips > 1 ? (o[O_TPS] * o[O_E_TOKEN] + o[O_STATIC] / in->chips) / o[O_DIE] : o[O_DENSITY_W]; /* the die that has the token */
  o[O_IR_DROP] = busy * 1e-6 / g[G_SUPPLY] * g[G_GRID_SHEET] * g[G_BUMP_PITCH] * g[G_BUMP_PITCH] / 8;
}

/* ---- money ---- */

static const double PI = 3.14159265358979323846;

double murphy(double area_mm2, double defects_cm2) {
  double x = area_mm2 / 100 * defects_cm2;
  return x > 1e-9 ? pow((1 - exp(-x)) / x, 2) : 1;
}

double dies_of(double area, double diameter) {
  double n = PI * diameter * diameter / 4 / area - PI * diameter / sqrt(2 * area);
  return n > 1 ? n : 1;
}

static void money(const PlanInput *in, const double *n, const double *g, double *o) {
  double array = (o[O_AREA_ROM] + o[O_AREA_LANES] + o[O_AREA_SRAM]) / o[O_DIE];
  o[O_DIES] = dies_of(o[O_DIE], g[G_WAFER_DIAMETER]);
  o[O_YIELD] = murphy(o[O_DIE], n[N_DEFECTS]);
  o[O_YIELD_REPAIRED] = murphy(o[O_DIE] * (1 - array * g[G_REPAIRED]), n[N_DEFECTS]);
  o[O_DIE_COST] = n[N_WAFER] / (o[O_DIES] * o[O_YIELD_REPAIRED]);
  o[O_CHIP_COST] = in->chips * (o[O_DIE_COST] + g[G_PACKAGE]);
  o[O_SYSTEM_COST] = o[O_CHIP_COST] + in->chips * g[G_SYSTEM];
  o[O_RESPIN] = in->chips * g[G_WEIGHT_MASKS] * n[N_WEIGHT_MASK];
  o[O_MASKS] = n[N_MASKS] + (in->chips - 1) * g[G_WEIGHT_MASKS] * n[N_WEIGHT_MASK]; /* chips of one model share the base */
  o[O_NRE] = g[G_NRE_DESIGN] + o[O_MASKS];
  double hours = g[G_LIFE] * YEAR_HOURS, mtok = o[O_TPS] * 3600 * hours * g[G_UTILISED] / 1e6;
  double watts = (o[O_WATTS] - o[O_STATIC]) * g[G_UTILISED] + o[O_STATIC] + in->chips * g[G_SYSTEM_POWER];
  o[O_MTOK_SILICON] = o[O_CHIP_COST] / mtok;
  o[O_MTOK_SYSTEM] = in->chips * g[G_SYSTEM] / mtok;
  o[O_MTOK_NRE] = o[O_NRE] / g[G_VOLUME] / mtok;
  o[O_MTOK_POWER] = watts / 1000 * g[G_PUE] * hours * g[G_ENERGY_PRICE] / mtok;
  o[O_MTOK_FACILITY] = (o[O_WATTS] + in->chips * g[G_SYSTEM_POWER]) * g[G_FACILITY] * g[G_LIFE] / FACILITY_YEARS / mtok;
  o[O_MTOK_OPERATIONS] = o[O_SYSTEM_COST] * g[G_MAINTENANCE] * g[G_LIFE] / mtok;
  o[O_MTOK_COST] = 0;
  for (int i = O_MTOK_SILICON; i <= O_MTOK_OPERATIONS; i++) o[O_MTOK_COST] += o[i];
  double gpu = g[G_GPU_HOUR] / (plan_system[PLAN_H100].batch * 3600 / 1e6), saved = gpu - (o[O_MTOK_COST] - o[O_MTOK_NRE]);
  o[O_BREAK_EVEN] = saved > 0 ? o[O_NRE] / saved * 1e6 : INFINITY;
}

void plan_evaluate(const PlanInput *in, const double *value, double out[OUTPUTS]) {
  const double *n = value, *g = value + NODE_FACTS;
  areas(in, n, g, out);
  speed(in, n, g, out);
  money(in, n, g, out);
}

void plan_nominal(const PlanInput *in, double value[FACTS]) {
  for (int i = 0; i < FACTS; i++) value[i] = in->fact[i].nominal;
}

/* ---- ranges ---- */

/* Half of the draws fall below nominal, half above, each half in a triangle that is highest there: nominal is the median. */
static double draw(const Fact *f, Pcg *p) {
  double u = (pcg_next(p) + 0.5) / 2147483648.0; /* 0 .. 2 */
  return u < 1 ? f->low + (f->nominal - f->low) * sqrt(u) : f->high - (f->high - f->nominal) * sqrt(2 - u);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

void plan_bands(const PlanInput *in, uint64_t seed, Band band[OUTPUTS]) {
  static _Thread_local double all[OUTPUTS][PLAN_DRAWS];
  double value[FACTS], out[OUTPUTS];
  Pcg p = pcg_seed(seed, 3);
  for (int k = 0; k < PLAN_DRAWS; k++) {
    for (int i = 0; i < FACTS; i++) value[i] = draw(&in->fact[i], &p);
    for (int i = N_EFFICIENCY_1024; i <= N_EFFICIENCY_8192; i++) { /* one compiler or drawing: its four points move together */
      const Fact *f = &in->fact[i], *first = &in->fact[N_EFFICIENCY_1024];
      double at = value[N_EFFICIENCY_1024];
      if (i > N_EFFICIENCY_1024 && first->low < first->nominal && first->nominal < first->high)
        value[i] = at < first->nominal ? f->low + (f->nominal - f->low) * (at - first->low) / (first->nominal - first->low)
                                                    : f->nominal + (f->high - f->nominal) * (at - first->nominal) / (first->high - first->nominal);
    }
    plan_evaluate(in, value, out);
    for (int i = 0; i < OUTPUTS; i++) all[i][k] = out[i];
  }
  plan_nominal(in, value);
  plan_evaluate(in, value, out);
  for (int i = 0; i < OUTPUTS; i++) {
    qsort(all[i], PLAN_DRAWS, sizeof(double), by_value);
    band[i] = (Band){all[i][PLAN_DRAWS / 10], out[i], all[i][PLAN_DRAWS - 1 - PLAN_DRAWS / 10]};
  }
}

/* ---- input ---- */

/* Two neighbouring widths in turn, so that codes and scales come to `average` so far: shallow banks of other widths would waste area. */
static void mixed_widths(const ChipShape *s, double average, int mats, int *bits) {
  double spent = 0, weights = 0;
  for (int i = 0; i < mats; i++) {
    int rows, cols, w = 0;
    chip_extent(s, i == mats - 1 ? MAT_HEAD : (MatKind)(i % MAT_PER_LAYER), &rows, &cols);
    double n = (double)rows * cols, over = 6.0 / GROUP + 16.0 / cols;
    while (w < RTL_WIDTHS - 1 && rtl_width_bits[w + 1] + over <= average) w++;
    double low = rtl_width_bits[w], high = rtl_width_bits[w < RTL_WIDTHS - 1 ? w + 1 : w];
    bool up = fabs((spent + n * (high + over)) / (weights + n) - average) < fabs((spent + n * (low + over)) / (weights + n) - average);
    bits[i] = (int)(up ? high : low);
    spent += n * (bits[i] + over);
    weights += n;
  }
}

static bool of_experts(MatKind kind) { return kind == MAT_GATE || kind == MAT_UP || kind == MAT_DOWN; }

/* A matrix of the design, once more for each expert after the first. */
static void store_experts(PlanInput *in, const RtlExtent *x, int bits) {
  const RtlKnobs *k = &in->design.knobs;
  RtlCounts *c = &in->counts;
  uint64_t more = (uint64_t)in->experts.stored - 1, words = more * (uint64_t)x->blocks * (uint64_t)x->words, groups = k->taps > GROUP ? (uint64_t)(k->taps / GROUP) : 1;
  uint64_t code_bits = words * (uint64_t)k->lanes * (uint64_t)k->taps * (uint64_t)bits, scales = more * (uint64_t)x->blocks * (uint64_t)x->scale_words,
           row_scales = more * (uint64_t)x->row_words;
  for (int w = 0; w < RTL_WIDTHS; w++)
    if (rtl_width_bits[w] == bits) c->code_words[w] += words;
  c->scale_words += scales;
  c->row_scale_words += row_scales;
  c->code_rom_bits += code_bits;
  c->rom_bits += code_bits + scales * (uint64_t)k->lanes * groups * 6 + row_scales * (uint64_t)k->vec * 16;
}

bool plan_input(PlanInput *in, const ChipShape *s, PlanExperts experts, const Chip *chip, double average, const RtlKnobs *k, int position, const Node *node, Err *err) {
  *in = (PlanInput){.position = position, .chips = 1, .group_lanes = 128, .node = node, .experts = experts};
  if (experts.stored < 1 || experts.active < 1 || experts.active > experts.stored || experts.stored > 65536)
    return err_set(err, "experts: expected 1 to 65536 and as many or fewer active, found %d and %d", experts.stored, experts.active);
  if (!rtl_design(&in->design, s, k, err)) return false;
  if (position < 0 || position >= k->context) return err_set(err, "position: expected 0 to %d, found %d", k->context - 1, position);
  int mats = rtl_matrices(&in->design), rows, cols;
  int *bits = mem_alloc((size_t)mats, sizeof *bits, err);
  if (!bits) return false;
  if (chip) rtl_widths(&in->design, chip, bits);
  else mixed_widths(s, average, mats, bits);
  in->counts = rtl_counts_of(&in->design, bits, chip ? chip->embed.bits : 6);
  in->levels = 1 << in->counts.code_bits;
  for (int i = 0; i < mats; i++) {
    MatKind kind = i == mats - 1 ? MAT_HEAD : (MatKind)(i % MAT_PER_LAYER);
    const RtlExtent *x = &in->design.mat[kind];
    chip_extent(s, kind, &rows, &cols);
    double times = of_experts(kind) ? experts.active : 1;
    if (of_experts(kind)) store_experts(in, x, bits[i]);
    in->weights += times * rows * cols;
    in->stored += (of_experts(kind) ? (double)experts.stored : 1) * rows * cols;
    in->code_bits += times * ((double)rows * cols * (bits[i] + 6.0 / GROUP) + 16.0 * rows);
    in->words += times * x->blocks * x->words;
    in->lines += times * x->blocks * x->words * (1 << bits[i]);
  }
  mem_free(bits);
  for (int i = 0; i < FACTS; i++) in->fact[i] = *plan_fact(node, i);
  return true;
}

bool plan_set(PlanInput *in, const char *assignment, Err *err) {
  const char *equals = strrchr(assignment, '=');
  size_t n = equals ? (size_t)(equals - assignment) : 0;
  char *end;
  double v = equals ? strtod(equals + 1, &end) : 0;
  if (!equals || end == equals + 1 || *end || !isfinite(v)) return err_set(err, "set: expected 'fact=number', found '%s'", assignment);
  for (int i = 0; i < FACTS; i++) {
    Fact *f = &in->fact[i];
    if (strlen(f->name) != n || strncmp(f->name, assignment, n) != 0) continue;
    f->low = f->nominal = f->high = v;
    f->class = FACT_ASSUMED;
    f->source = "set on the command line";
    return true;
  }
  return err_set(err, "set: no fact is called '%.*s' (--facts lists them)", (int)n, assignment);
}

int plan_least_chips(const PlanInput *in, double die_limit) {
  const Fact *f = in->fact;
  double densest = f[N_ROM_BARE].nominal * fmax(f[N_EFFICIENCY_1024].nominal, f[N_EFFICIENCY_8192].nominal);
  return (int)ceil((double)in->counts.code_rom_bits / 1e6 / densest / fmin(die_limit, f[NODE_FACTS + G_RETICLE].nominal));
}

bool plan_fit(PlanInput *in, double die_limit, int most_chips, Err *err) {
  double value[FACTS], out[OUTPUTS], least = INFINITY;
  int best = 0;
  plan_nominal(in, value);
  if (die_limit > value[NODE_FACTS + G_RETICLE]) die_limit = value[NODE_FACTS + G_RETICLE];
  for (in->chips = plan_least_chips(in, die_limit); in->chips <= most_chips; in->chips++) {
    for (in->group_lanes = 32; in->group_lanes <= 1024; in->group_lanes *= 2) {
      plan_evaluate(in, value, out);
      if (out[O_DIE] <= die_limit && out[O_E_TOKEN] < least) least = out[O_E_TOKEN], best = in->group_lanes;
    }
    in->group_lanes = best;
    if (best) return true;
  }
  return err_set(err, "does not fit: %d chip%s of at most %.0f mm2 (try more chips, fewer lanes or taps, a smaller KV cache)", most_chips, most_chips > 1 ? "s" : "", die_limit);
}
