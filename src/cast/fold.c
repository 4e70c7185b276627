/* cast/fold: from the model's matrices to the ones that stand in the chip, in exact real arithmetic the same function
 * (doc/arithmetic.md 1): gains into columns, rotation of the residual stream, rotation of values, the butterfly's inverse
 * into down, base-2 exponents into q.
 */
#include "cast/parts.h"

#include <math.h>
#include <string.h>

static int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

bool folding_new(Folding *f, const Model *m, uint64_t seed, bool keep, Pool *pool, Err *err) {
  const Shape *s = &m->shape;
  *f = (Folding){.model = m, .pool = pool};
  f->shape = (ChipShape){
      .layers = s->layers, .dim = s->dim, .ffn = round_up(s->ffn, BUTTERFLY), .heads = s->heads, .kv_heads = s->kv_heads,
      .head_dim = s->head_dim, .vocab = s->vocab, .context = s->context, .rotary_dims = s->rotary_dims,
      .pairs = s->pairs == PAIRS_ADJACENT ? CHIP_PAIRS_ADJACENT : CHIP_PAIRS_HALVES,
      .root_dim = (uint32_t)floor(sqrt((double)s->dim) * 256 + 0.5),
      .eps = (uint64_t)floor(s->eps * s->dim * (double)(1 << 2 * FRAC) + 0.5),
      .kept = keep,
  };
  if (keep) return true;
  return rotation_new(&f->residual, s->dim, seed, err) && rotation_new(&f->head, s->head_dim, seed + 1, err);
}

void folding_free(Folding *f) {
  rotation_free(&f->residual);
  rotation_free(&f->head);
}

static const struct {
  TensorId tensor, gain; /* gain: M_COUNT where no norm stands before the matrix */
} source[MAT_KINDS] = {
    [MAT_Q] = {M_Q, M_ATTN_NORM},       [MAT_K] = {M_K, M_ATTN_NORM},   [MAT_V] = {M_V, M_ATTN_NORM},
    [MAT_O] = {M_O, M_COUNT},           [MAT_GATE] = {M_GATE, M_FFN_NORM}, [MAT_UP] = {M_UP, M_FFN_NORM},
    [MAT_DOWN] = {M_DOWN, M_COUNT},     [MAT_HEAD] = {M_HEAD, M_OUT_NORM}, [MAT_EMBED] = {M_EMBED, M_COUNT},
};

typedef struct {
  const Folding *f;
  const Tensor *t;
  MatKind kind;
  const float *gain; /* (cols) or NULL */
  float *w;
  int cols;          /* of the chip */
  float *scratch;    /* (threads, scratch_each) */
  size_t scratch_each;
} FoldJob;

const Tensor *fold_source(const Folding *f, int layer, MatKind kind) {
  TensorId id = source[kind].tensor;
  return id < M_FIRST_OF_LAYER ? f->model->tensor[id] : model_layer_tensor(f->model, layer, id);
}

double fold_factor(const Folding *f, MatKind kind) { /* of q: scores become exponents of two */
  return kind == MAT_Q ? 1.4426950408889634 / sqrt((double)f->shape.head_dim) : 1;
}

static bool reads_residual(MatKind k) { return k != MAT_O && k != MAT_DOWN; }

/* One row: dequantise, gain, and the transforms that act along the row. */
static void fold_row(const FoldJob *j, int row, float *scratch) {
  const ChipShape *s = &j->f->shape;
  float *w = j->w + (size_t)row * (size_t)j->cols;
  memset(w, 0, (size_t)j->cols * sizeof *w);
  tensor_rows(j->t, row, 1, w);
  if (j->gain)
    for (int c = 0; c < j->cols; c++) w[c] *= j->gain[c];
  if (reads_residual(j->kind) && !s->kept) rotation_apply(&j->f->residual, w, 1, scratch);
  if (j->kind == MAT_O)
    for (int h = 0; h < s->heads; h++) rotation_apply(&j->f->head, w + h * s->head_dim, 1, scratch);
  if (j->kind == MAT_DOWN)
    for (int b = 0; b < j->cols; b += BUTTERFLY) {
      hadamard(w + b, BUTTERFLY, 1);
      for (int c = b; c < b + BUTTERFLY; c++) w[c] /= BUTTERFLY;
    }
  if (j->kind == MAT_Q) {
    float scale = (float)fold_factor(j->f, MAT_Q);
    for (int c = 0; c < j->cols; c++) w[c] *= scale;
  }
}

static void fold_rows_run(void *arg, int t, int threads) {
  const FoldJob *j = arg;
  Span span = span_of((int)j->t->rows, 8, t, threads);
  for (int r = span.from; r < span.to; r++) fold_row(j, r, j->scratch + (size_t)t * j->scratch_each);
}

enum { STRIP = 64 }; /* columns that are transformed together */

/* Transforms that act down the columns: Q^T before the residual stream, the values' rotation on v. */
static void fold_columns_run(void *arg, int t, int threads) {
  const FoldJob *j = arg;
  int rows = (int)j->t->rows, head_dim = j->f->shape.head_dim;
  float *strip = j->scratch + (size_t)t * j->scratch_each, *scratch = strip + (size_t)rows * STRIP;
  Span span = span_of(j->cols, STRIP, t, threads);
  for (int c = span.from; c < span.to; c += STRIP) {
    int n = span.to - c < STRIP ? span.to - c : STRIP;
    for (int r = 0; r < rows; r++) memcpy(strip + (size_t)r * (size_t)n, j->w + (size_t)r * (size_t)j->cols + (size_t)c, (size_t)n * sizeof *strip);
    if (j->kind != MAT_V) rotation_apply(&j->f->residual, strip, n, scratch);
    else
      for (int h = 0; h < rows; h += head_dim) rotation_apply(&j->f->head, strip + (size_t)h * (size_t)n, n, scratch);
    for (int r = 0; r < rows; r++) memcpy(j->w + (size_t)r * (size_t)j->cols + (size_t)c, strip + (size_t)r * (size_t)n, (size_t)n * sizeof *strip);
  }
}

bool fold_matrix(const Folding *f, int layer, MatKind kind, float *w, Err *err) {
  const Model *m = f->model;
  TensorId gain_id = source[kind].gain;
  const Tensor *t = fold_source(f, layer, kind);
  FoldJob j = {.f = f, .t = t, .kind = kind, .w = w, .cols = kind == MAT_DOWN ? f->shape.ffn : (int)t->cols};
  float *gain = NULL;
  if (gain_id != M_COUNT) {
    const Tensor *g = gain_id < M_FIRST_OF_LAYER ? m->tensor[gain_id] : model_layer_tensor(m, layer, gain_id);
    if (!(gain = mem_alloc((size_t)g->cols, sizeof *gain, err))) return false;
    tensor_rows(g, 0, 1, gain);
    j.gain = gain;
  }
  bool columns = kind == MAT_O || kind == MAT_DOWN || kind == MAT_V;
  j.scratch_each = (columns ? (size_t)t->rows * STRIP * 2 : 0) + (size_t)f->shape.dim + (size_t)f->shape.head_dim;
  j.scratch = mem_alloc((size_t)pool_threads(f->pool) * j.scratch_each, sizeof *j.scratch, err);
  bool ok = j.scratch != NULL;
  if (ok) {
    if (kind == MAT_GATE || kind == MAT_UP) /* rows that pad to whole butterflies */
      memset(w + (size_t)t->rows * (size_t)j.cols, 0, (size_t)(f->shape.ffn - t->rows) * (size_t)j.cols * sizeof *w);
    pool_run(f->pool, fold_rows_run, &j);
    if (columns) pool_run(f->pool, fold_columns_run, &j);
  }
  for (size_t i = 0; ok && i < (size_t)t->rows * (size_t)j.cols; i++)
    if (!(fabsf(w[i]) < 1e30f))
      ok = err_set(err, "%s: tensor '%.*s': row %zu holds a value that is not a finite number", m->file[0].path, STR_FMT(t->name),
                   i / (size_t)j.cols);
  mem_free(j.scratch);
  mem_free(gain);
  return ok;
}
