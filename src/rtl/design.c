/* rtl/design: which knobs fit which shape, how matrices lie in the banks, and the cycles of a token. */
#include "rtl/rtl.h"

#include <string.h>

const int rtl_width_bits[RTL_WIDTHS] = {2, 3, 4, 6, 8};

static int ceil_div(int a, int b) { return (a + b - 1) / b; }
static int most(int a, int b) { return a > b ? a : b; }
static bool power_of_two(int n) { return n > 0 && (n & (n - 1)) == 0; }

/* ---- knobs ---- */

/* Every vector is a whole number of words; a word is part of a head or whole heads; a butterfly is part of a word or whole words. */
static bool vec_fits(const ChipShape *s, int vec) {
  return power_of_two(vec) && s->dim % vec == 0 && s->ffn % vec == 0 && s->kv_heads * s->head_dim % vec == 0 &&
         (s->head_dim % vec == 0 || vec % s->head_dim == 0) && vec >= 2;
}

static int vec_of(const ChipShape *s, int at_most) {
  int vec = 1;
  for (int v = 2; v <= at_most; v *= 2)
    if (vec_fits(s, v)) vec = v;
  return vec;
}

bool rtl_knobs(const char *size, const ChipShape *s, RtlKnobs *k, Err *err) {
  static const struct {
    const char *name;
    RtlKnobs k;
  } sizes[] = {
      {"tile", {.lanes = 16, .taps = 8, .vec = 8, .scan = 2, .heads = 1, .radix = 1}},
      {"sim", {.lanes = 64, .taps = 16, .vec = 16, .scan = 4, .heads = 1 << 10, .radix = 4}},
      {"n6", {.lanes = 4096, .taps = 512, .vec = 512, .scan = 64, .heads = 1 << 10, .radix = 4}},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    if (strcmp(size, sizes[i].name) != 0) continue;
    *k = sizes[i].k;
    k->vec = vec_of(s, k->vec);
    k->lanes = most(k->lanes, k->vec);
    k->heads = k->heads < s->kv_heads ? k->heads : s->kv_heads;
    while (k->heads * s->head_dim % k->vec != 0) k->heads++;
    k->context = s->context;
    return true;
  }
  return err_set(err, "size '%s': expected sim, tile or n6", size);
}

static bool check_knobs(const ChipShape *s, const RtlKnobs *k, Err *err) {
  if (!vec_fits(s, k->vec))
    return err_set(err, "vec %d: expected a power of two that divides dim %d, ffn %d and %d key-value elements, and divides or is a multiple of head_dim %d: at most %d",
                   k->vec, s->dim, s->ffn, s->kv_heads * s->head_dim, s->head_dim, vec_of(s, 1 << 20));
  if (k->lanes < k->vec || k->lanes % k->vec != 0) return err_set(err, "lanes %d: expected a multiple of vec %d", k->lanes, k->vec);
  if (!power_of_two(k->taps)) return err_set(err, "taps %d: expected a power of two", k->taps);
  if (!power_of_two(k->scan)) return err_set(err, "scan %d: expected a power of two", k->scan);
  if (k->heads < 1 || s->kv_heads % k->heads != 0 || k->heads * s->head_dim % k->vec != 0)
    return err_set(err, "heads %d: expected a divisor of %d key-value heads whose %d elements each make whole words of %d", k->heads, s->kv_heads,
                   s->head_dim, k->vec);
  if (k->radix != 1 && k->radix != 2 && k->radix != 4 && k->radix != 8) return err_set(err, "radix %d: expected 1, 2, 4 or 8", k->radix);
  if (k->context < 1 || k->context > s->context)
    return err_set(err, "ctx %d: expected 1 to %d, the chip's context", k->context, s->context);
  return true;
}

bool rtl_design(RtlDesign *d, const ChipShape *s, const RtlKnobs *k, Err *err) {
  if (s->kept)
    return err_set(err, "a chip made with --keep has gains in its norms and no butterfly: the hardware does not have that form yet");
  if (!check_knobs(s, k, err)) return false;
  *d = (RtlDesign){.shape = *s, .knobs = *k, .share = s->heads / s->kv_heads, .rounds = s->kv_heads / k->heads};
  d->chunk = k->vec < s->head_dim ? k->vec : s->head_dim;
  d->parts = s->head_dim / d->chunk;
  for (MatKind m = MAT_Q; m <= MAT_HEAD; m++) {
    RtlExtent *x = &d->mat[m];
    chip_extent(s, m, &x->rows, &x->cols);
    x->words = ceil_div(x->cols, k->taps);
    x->row_words = ceil_div(x->rows, k->vec);
    x->blocks = ceil_div(x->rows, k->lanes);
    x->scale_words = k->taps > GROUP ? x->words : ceil_div(x->cols, GROUP);
    if (x->row_words > 65535 || x->words > 65535)
      return err_set(err, "%s: %d words of %d rows or %d of %d columns: expected at most 65535 of each", mat_name[m], x->row_words, k->vec, x->words,
                     k->taps);
  }
  d->dim_words = s->dim / k->vec;
  d->q_words = s->heads * s->head_dim / k->vec;
  d->kv_words = s->kv_heads * s->head_dim / k->vec;
  d->ffn_words = s->ffn / k->vec;
  d->vocab_words = ceil_div(s->vocab, k->vec);
  return true;
}

int rtl_row(const ChipShape *s, MatKind kind, int row) {
  if ((kind != MAT_Q && kind != MAT_K) || s->pairs == CHIP_PAIRS_ADJACENT) return row;
  int head = row / s->head_dim, i = row % s->head_dim;
  return i < s->rotary_dims ? head * s->head_dim + i / 2 + i % 2 * (s->rotary_dims / 2) : row;
}

/* ---- cycles.  Each function says in which cycle a stage that began in cycle `go` lets the next one begin. ---- */

static const struct {
  MatKind first, last;
  bool norm; /* its input comes through a norm, whose scale takes root and division */
} stages[RTL_STAGES] = {[STAGE_QKV] = {MAT_Q, MAT_V, true},
                        [STAGE_O] = {MAT_O, MAT_O, false},
                        [STAGE_GATE_UP] = {MAT_GATE, MAT_UP, true},
                        [STAGE_DOWN] = {MAT_DOWN, MAT_DOWN, false},
                        [STAGE_HEAD] = {MAT_HEAD, MAT_HEAD, true}};

/* The sweep of a stage and its drain (hw/burin_quantise, burin_root, burin_sweep): the cycle in which the last word of rows is
 * drained.  word, where given, is called with the cycle of every one. */
typedef void DrainedFn(void *arg, uint64_t cycle);
static uint64_t sweep(const RtlDesign *d, RtlStage stage, uint64_t go, DrainedFn *drained, void *arg) {
  const RtlKnobs *k = &d->knobs;
  int cols = d->mat[stages[stage].first].cols, words = d->mat[stages[stage].first].words, vectors = cols / k->vec;
  int padded = k->taps > k->vec ? words * (k->taps / k->vec) : vectors;
  uint64_t ready = stages[stage].norm ? go + (uint64_t)(vectors + 8 + 32 / k->radix + ceil_div(18, k->radix)) : go;
  uint64_t next = go + 4 + (uint64_t)most(0, padded - words), last = 0, done = 0;
  bool held = false; /* a block is behind its last word and not drained yet, as far as this one knows */
  for (MatKind m = stages[stage].first; m <= stages[stage].last; m++)
    for (int b = 0; b < d->mat[m].blocks; b++) {
      int rows = most(0, d->mat[m].row_words - b * (k->lanes / k->vec));
      if (rows > k->lanes / k->vec) rows = k->lanes / k->vec;
      uint64_t issue = next + (uint64_t)words - 1;
      if (held) {
        uint64_t start = last + 6 > ready ? last + 6 : ready, free = done > start + 5 ? done - 5 : start;
        if (issue < free) issue = free;
      }
      last = issue;
      next = issue + 1;
      uint64_t start = last + 6 > ready ? last + 6 : ready;
      for (int i = 0; drained && i < rows; i++) drained(arg, start + (uint64_t)i);
      done = start + (uint64_t)rows - 1;
      held = true;
    }
  return done;
}

/* hw/burin_heads: words leave when their head is complete, one a cycle. */
typedef struct {
  int parts, n;
  uint64_t read;
} HeadsOut;

static void head_word(void *arg, uint64_t cycle) {
  HeadsOut *h = arg;
  if (++h->n % h->parts != 0) return;
  uint64_t complete = cycle + 6 + 2;
  for (int i = 0; i < h->parts; i++) h->read = h->read + 1 > complete ? h->read + 1 : complete;
}

static uint64_t after_qkv(const RtlDesign *d, uint64_t go) {
  HeadsOut h = {.parts = d->parts};
  sweep(d, STAGE_QKV, go, head_word, &h);
  return h.read + 5;
}

static uint64_t after_attention(const RtlDesign *d, int position, uint64_t go) {
  int rows = position / d->knobs.scan + 1;
  return go + 6 + (uint64_t)d->rounds * (uint64_t)(2 * rows + 13 + ceil_div(17, d->knobs.radix) + d->q_words / d->rounds);
}

static uint64_t after_butterfly(const RtlDesign *d, uint64_t go) {
  return go + 7 + (uint64_t)(d->shape.ffn / most(d->knobs.vec, BUTTERFLY));
}

static uint64_t after_head(const RtlDesign *d, uint64_t go, bool draw) {
  uint64_t done = sweep(d, STAGE_HEAD, go, NULL, NULL) + 4;
  return done + 1 + (draw ? 34 + 2 * (uint64_t)d->vocab_words + (uint64_t)d->knobs.vec : 1);
}

RtlPhases rtl_phases(const RtlDesign *d, int position, bool head, bool draw) {
  RtlPhases p = {0};
  p.embed = (uint64_t)d->dim_words + 6;
  p.qkv = after_qkv(d, 0);
  p.attention = after_attention(d, position, 0);
  p.o = sweep(d, STAGE_O, 0, NULL, NULL) + 7;
  p.gate_up = sweep(d, STAGE_GATE_UP, 0, NULL, NULL) + 14;
  p.butterfly = after_butterfly(d, 0);
  p.down = sweep(d, STAGE_DOWN, 0, NULL, NULL) + 7;
  p.head = head ? after_head(d, 0, draw) : 0;
  p.total = p.embed + (uint64_t)d->shape.layers * (p.qkv + p.attention + p.o + p.gate_up + p.butterfly + p.down) + p.head;
  for (MatKind m = MAT_Q; m < MAT_PER_LAYER; m++) p.sweep_layer += (uint64_t)d->mat[m].words * (uint64_t)d->mat[m].blocks;
  p.sweep_head = (uint64_t)d->mat[MAT_HEAD].words * (uint64_t)d->mat[MAT_HEAD].blocks;
  return p;
}

uint64_t rtl_cycles(const RtlDesign *d, int position, bool head, bool draw) { return rtl_phases(d, position, head, draw).total; }
