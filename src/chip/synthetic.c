/* chip/synthetic: a chip of random codes for a shape, in memory or as a file: what can be measured where no model is at hand. */
#include "chip/chip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes ---- */

typedef struct {
  const char *name;
  int layers, dim, ffn, heads, kv_heads, head_dim, vocab, context;
} NamedShape;

/* Source of each: config.json of the model's published weights; stories: Karpathy's llama2.c. */
static const NamedShape shapes[] = {
    {"stories-260k", 5, 64, 192, 8, 4, 8, 512, 512},
    {"stories-15m", 6, 288, 768, 6, 6, 48, 32000, 256},
    {"smollm2-135m", 30, 576, 1536, 9, 3, 64, 49152, 8192},
    {"llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128256, 131072},
    {"llama-3.2-3b", 28, 3072, 8192, 24, 8, 128, 128256, 131072},
    {"llama-3.1-8b", 32, 4096, 14336, 32, 8, 128, 128256, 131072},
    {"llama-3.1-70b", 80, 8192, 28672, 64, 8, 128, 128256, 131072},
    {"llama-3.1-405b", 126, 16384, 53248, 128, 8, 128, 128256, 131072},
};

static bool known_shape(const char *name, NamedShape *out, Err *err) {
  char names[256] = "";
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (strcmp(name, shapes[i].name) == 0) {
      *out = shapes[i];
      return true;
    }
    size_t n = strlen(names);
    snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", shapes[i].name);
  }
  return err_set(err, "shape '%s': expected %s, or layers=N,dim=N,ffn=N,heads=N,kv_heads=N,head_dim=N,vocab=N,context=N", name, names);
}

/* key=number, parted by commas; keys that are left out keep their value. */
static bool spelled_shape(const char *text, NamedShape *n, Err *err) {
  const struct {
    const char *key;
    int *value, most;
  } field[] = {{"layers", &n->layers, 1024},     {"dim", &n->dim, 65536},           {"ffn", &n->ffn, 262144},    {"heads", &n->heads, 1024},
               {"kv_heads", &n->kv_heads, 1024}, {"head_dim", &n->head_dim, 1024}, {"vocab", &n->vocab, 1 << 20}, {"context", &n->context, 1 << 20}};
  enum { FIELDS = sizeof field / sizeof *field };
  for (const char *p = text; *p;) {
    size_t key = strcspn(p, "="), i = 0;
    while (i < FIELDS && (strlen(field[i].key) != key || strncmp(p, field[i].key, key) != 0)) i++;
    char *end;
    long v = p[key] == '=' ? strtol(p + key + 1, &end, 10) : 0;
    if (i == FIELDS || p[key] != '=' || (*end && *end != ',')) return known_shape(text, n, err);
    if (v < 1 || v > field[i].most) return err_set(err, "shape: %s: expected 1 to %d, found %ld", field[i].key, field[i].most, v);
    *field[i].value = (int)v;
    p = *end ? end + 1 : end;
  }
  return true;
}

bool chip_shape_of(const char *name, ChipShape *s, Err *err) {
  NamedShape n = {"", 4, 256, 512, 4, 4, 64, 512, 2048};
  if (!(strchr(name, '=') ? spelled_shape(name, &n, err) : known_shape(name, &n, err))) return false;
  if (n.heads % n.kv_heads != 0) return err_set(err, "shape: expected heads that are a multiple of kv_heads, found %d and %d", n.heads, n.kv_heads);
  if (n.head_dim % 2 != 0) return err_set(err, "shape: expected an even head_dim, found %d", n.head_dim);
  *s = (ChipShape){.layers = n.layers, .dim = n.dim, .ffn = (n.ffn + BUTTERFLY - 1) / BUTTERFLY * BUTTERFLY, .heads = n.heads,
                   .kv_heads = n.kv_heads, .head_dim = n.head_dim, .vocab = n.vocab, .context = n.context, .rotary_dims = n.head_dim,
                   .pairs = CHIP_PAIRS_HALVES, .root_dim = (uint32_t)(sqrt((double)n.dim) * 256 + 0.5),
                   .eps = (uint64_t)(1e-5 * n.dim * (1 << 24) + 0.5)};
  return true;
}

/* ---- contents ---- */

static void fill(uint8_t *p, size_t n, Pcg *random) {
  for (size_t i = 0; i < n; i += 4) {
    uint32_t x = pcg_next(random);
    memcpy(p + i, &x, n - i < 4 ? n - i : 4);
  }
}

/* 8 bits have 255 levels; scales, which this may change too, come later. */
static void mend_codes(const Matrix *m, uint8_t *weights) {
  for (size_t i = 0, n = matrix_weight_bytes(m); m->bits == 8 && i < n; i++) weights[i] = weights[i] == 255 ? 0 : weights[i];
}

/* Columns and rows past the last ones are 0. */
static void clear_rest(const Matrix *m, uint8_t *weights) {
  int rows = m->grouped ? tiled_rows(m->rows) : m->rows;
  for (int r = 0; r < rows; r++)
    for (int c = r < m->rows ? m->cols : 0; c < m->groups * GROUP; c++) matrix_put_code(m, weights, r, c, 0);
  for (int r = m->rows; r < rows; r++)
    for (int g = 0; g < m->groups; g++) matrix_put_group_scale(m, weights, r, g, 0);
}

/* Group scales up to `most`, which keeps every row's accumulator within 32 bits. */
static bool random_matrix(Matrix *m, int rows, int cols, int bits, bool grouped, Pcg *random, Arena *a, Err *err) {
  *m = (Matrix){.rows = rows, .cols = cols, .groups = (cols + GROUP - 1) / GROUP, .bits = bits, .exponent = -30, .levels = bits == 8 ? 255 : 1 << bits, .grouped = grouped};
  int top = matrix_max_level(bits);
  for (int i = 0; i < m->levels; i++) m->level[i] = (int8_t)(-top + i * 2 * top / (m->levels - 1));
  int64_t widest = (int64_t)INT32_MAX / 127 / top / ((int64_t)m->groups * GROUP);
  int most = widest > MAX_GROUP_SCALE ? MAX_GROUP_SCALE : (int)widest;
  if (most < 1) return err_set(err, "shape: %d columns of %d bits overflow a 32-bit accumulator", cols, bits);
  uint16_t *row_scale = arena_alloc(a, (size_t)tiled_rows(rows), sizeof *row_scale, err);
  uint8_t *weights = arena_alloc(a, matrix_weight_bytes(m), 1, err);
  if (!row_scale || !weights) return false;
  fill(weights, matrix_weight_bytes(m), random);
  mend_codes(m, weights);
  for (int r = 0; r < rows; r++) {
    row_scale[r] = (uint16_t)(2048 + pcg_next(random) % 2048);
    for (int g = 0; grouped && g < m->groups; g++) matrix_put_group_scale(m, weights, r, g, 1 + (int)(pcg_next(random) % (uint32_t)most));
  }
  clear_rest(m, weights);
  m->row_scale = row_scale;
  m->weights = weights;
  return true;
}

/* Any cosines and sines do: those of the angle 0. */
static bool make_rotary(const ChipShape *s, const int16_t **rotary_high, const int16_t **rotary_low, Arena *a, Err *err) {
  size_t high = ((size_t)s->context + ROTARY_LOW - 1) / ROTARY_LOW * (size_t)s->rotary_dims;
  size_t low = ROTARY_LOW * (size_t)s->rotary_dims;
  int16_t *h = arena_alloc(a, high, sizeof *h, err), *l = arena_alloc(a, low, sizeof *l, err);
  if (!h || !l) return false;
  for (size_t i = 0; i < high; i += 2) h[i] = 32767;
  for (size_t i = 0; i < low; i += 2) l[i] = 32767;
  *rotary_high = h;
  *rotary_low = l;
  return true;
}

/* Widths of the two neighbours of `bits` in turn, so that the average of what was made so far stays nearest to it. */
typedef struct {
  double bits, spent, weights;
} Budget;

static int next_width(Budget *b, int rows, int cols) {
  static const int widths[] = {2, 3, 4, 6, 8};
  double n = (double)rows * cols, over = (double)(GROUP_SCALE_BITS * ((cols + GROUP - 1) / GROUP) + 16) / cols, least = INFINITY;
  int best = 0;
  for (int i = 0; i < 5; i++) {
    double off = fabs((b->spent + n * (widths[i] + over)) / (b->weights + n) - b->bits);
    if (off < least) least = off, best = widths[i];
  }
  b->spent += n * (best + over);
  b->weights += n;
  return best;
}

/* What the matrices of a chip are made from, one after the other: the embedding, layer by layer, the head. */
typedef struct {
  const ChipShape *shape;
  Pcg random;
  Budget budget;
} Maker;

static bool maker_begin(Maker *k, const ChipShape *s, double bits, uint64_t seed, Err *err) {
  *k = (Maker){s, pcg_seed(seed, 1), {bits, 0, 0}};
  return (bits >= 2 && bits <= 8.5) || err_set(err, "bits: expected 2 to 8.5 a weight, found %g", bits);
}

static bool make_matrix(Maker *k, MatKind kind, Matrix *m, Arena *a, Err *err) {
  int rows, cols;
  chip_extent(k->shape, kind, &rows, &cols);
  bool embed = kind == MAT_EMBED;
  return random_matrix(m, rows, cols, embed ? 6 : next_width(&k->budget, rows, cols), !embed, &k->random, a, err);
}

bool chip_synthetic(Chip *c, const ChipShape *s, double bits, uint64_t seed, Err *err) {
  Maker k;
  *c = (Chip){.shape = *s};
  if (!maker_begin(&k, s, bits, seed, err)) return false;
  c->layer = arena_alloc(&c->arena, (size_t)s->layers, sizeof *c->layer, err);
  bool ok = c->layer && make_rotary(s, &c->rotary_high, &c->rotary_low, &c->arena, err) && make_matrix(&k, MAT_EMBED, &c->embed, &c->arena, err);
  for (int i = 0; ok && i < s->layers * MAT_PER_LAYER; i++)
    ok = make_matrix(&k, (MatKind)(i % MAT_PER_LAYER), &c->layer[i / MAT_PER_LAYER][i % MAT_PER_LAYER], &c->arena, err);
  ok = ok && make_matrix(&k, MAT_HEAD, &c->head, &c->arena, err);
  if (!ok) chip_close(c);
  return ok;
}

/* Makes a matrix, writes it and gives its memory back. */
static bool pass_matrix(Maker *k, ChipWriter *w, int layer, MatKind kind, Err *err) {
  Arena a = {0};
  Matrix m;
  bool ok = make_matrix(k, kind, &m, &a, err) && chip_write_matrix(w, layer, kind, &m, err);
  arena_free(&a);
  return ok;
}

bool chip_synthetic_write(const char *path, const ChipShape *s, double bits, uint64_t seed, uint8_t hash[32], Err *err) {
  Maker k;
  Arena a = {0};
  Matrix embed;
  const int16_t *high, *low;
  const Vocab none = {.kind = VOCAB_NONE, .bos = -1, .eos = -1, .eot = -1, .unk = -1};
  char text[160];
  if (!maker_begin(&k, s, bits, seed, err)) return false;
  ChipWriter *w = chip_writer_open(path, s, err);
  bool ok = w && make_rotary(s, &high, &low, &a, err) && chip_write_rotary(w, high, low, err) && chip_write_vocab(w, &none, err) && make_matrix(&k, MAT_EMBED, &embed, &a, err);
  for (int i = 0; ok && i < s->layers * MAT_PER_LAYER; i++) ok = pass_matrix(&k, w, i / MAT_PER_LAYER, (MatKind)(i % MAT_PER_LAYER), err);
  ok = ok && pass_matrix(&k, w, -1, MAT_HEAD, err) && chip_write_matrix(w, -1, MAT_EMBED, &embed, err);
  snprintf(text, sizeof text, "{\"source\": {\"arch\": \"llama\", \"name\": \"random weights\"}, \"cast\": {\"bits\": %g, \"seed\": %llu}}", bits, (unsigned long long)seed);
  if (ok) ok = chip_writer_commit(w, str_from(text), hash, err);
  else chip_writer_abort(w);
  arena_free(&a);
  return ok;
}
