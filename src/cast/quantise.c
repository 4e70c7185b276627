/* cast/quantise: from a float matrix to codes and scales. */
#include "cast/parts.h"

#include <math.h>
#include <string.h>

/* ---- codebooks ---- */

/* Non-uniform books are within .3 % of the least squared error on normal values that tools/books.py --search finds, and of small
 * numbers: the product lines of smaller multiples need fewer adders.  Both signs. */
static const int8_t book2[] = {-7, -2, 2, 7}, book3[] = {-18, -11, -6, -2, 2, 6, 11, 18},
                    book4[] = {-21, -16, -12, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 12, 16, 21};

static void set_book(Matrix *m) {
  m->levels = m->bits == 8 ? 255 : 1 << m->bits;
  const int8_t *fitted = m->bits == 2 ? book2 : m->bits == 3 ? book3 : m->bits == 4 ? book4 : NULL;
  for (int i = 0; i < m->levels; i++)
    m->level[i] = (int8_t)(fitted ? fitted[i] : m->bits == 6 ? 2 * i - 63 : i - 127);
}

static Book book_of(const Matrix *m) {
  Book b = {.levels = m->levels, .uniform = m->bits >= 6, .step = m->bits == 6 ? 2 : 1};
  for (int i = 0; i < m->levels; i++) b.level[i] = m->level[i];
  for (int i = 0; i + 1 < m->levels; i++) b.middle[i] = (b.level[i] + b.level[i + 1]) / 2;
  return b;
}

/* ---- memory ---- */

bool own_matrix_new(OwnMatrix *o, int rows, int cols, int bits, bool grouped, Err *err) {
  *o = (OwnMatrix){.m = {.rows = rows, .cols = cols, .groups = (cols + GROUP - 1) / GROUP, .bits = bits, .grouped = grouped}};
  set_book(&o->m);
  o->row_scale = mem_alloc((size_t)tiled_rows(rows), sizeof *o->row_scale, err);
  o->weights = mem_alloc(matrix_weight_bytes(&o->m), 1, err);
  if (!o->row_scale || !o->weights) {
    own_matrix_free(o);
    return false;
  }
  o->m.row_scale = o->row_scale;
  o->m.weights = o->weights;
  return true;
}

void own_matrix_free(OwnMatrix *o) {
  mem_free(o->row_scale);
  mem_free(o->weights);
  *o = (OwnMatrix){0};
}

/* ---- row scales ---- */

static float row_reach(const float *w, int cols) {
  float big = 0;
  for (int c = 0; c < cols; c++) big = fabsf(w[c]) > big ? fabsf(w[c]) : big;
  return big > 1e-30f ? big : 1e-30f;
}

enum { ROOM = 4095 }; /* largest row scale at first: rows that may overflow can be widened sixteenfold */

/* Exponent and 16-bit row scales such that the largest weight of a row is level `reach` at the largest group scale. */
static bool set_row_scales(OwnMatrix *o, const float *w, int reach, int max_scale, Err *err) {
  Matrix *m = &o->m;
  float most = 0;
  for (int r = 0; r < m->rows; r++) {
    float x = row_reach(w + (size_t)r * (size_t)m->cols, m->cols);
    if (x > most) most = x;
  }
  double unit = (double)most / reach / max_scale;
  int e;
  frexp(unit / ROOM, &e); /* 2^e > unit / ROOM */
  if (ldexp(1, e - 1) >= unit / ROOM) e--;
  m->exponent = e < -96 ? -96 : e;
  if (e > 32) return err_set(err, "weights of up to %g are too large for the chip's number format", (double)most);
  for (int r = 0; r < m->rows; r++) {
    double x = ceil((double)row_reach(w + (size_t)r * (size_t)m->cols, m->cols) / reach / max_scale / ldexp(1, m->exponent));
    o->row_scale[r] = (uint16_t)(x < 1 ? 1 : x > 65535 ? 65535 : x);
  }
  return true;
}

/* ---- rounding, 16 rows a job ---- */

typedef struct {
  OwnMatrix *o;
  const float *w;
  const Factor *factor;
  const CastKernels *k;
  Book book;
  RoundJob *job; /* (threads) with scratch */
  Err *err;      /* (threads) */
} QuantiseJob;

/* True where the row's accumulator cannot overflow (doc/arithmetic.md 2). */
static bool row_fits(const RoundJob *j, int lane) {
  int64_t sum = 0;
  for (int g = 0; g < j->groups; g++) {
    int64_t part = 0;
    for (int k = 0; k < GROUP && g * GROUP + k < j->cols; k++)
      part += (int64_t)fabsf(j->book->level[j->code[(g * GROUP + k) * ROUND_LANES + lane]]);
    sum += part * j->scale[g * ROUND_LANES + lane];
  }
  return 127 * sum <= INT32_MAX;
}

static void round_block(const QuantiseJob *q, RoundJob *j, int first) {
  const Matrix *m = &q->o->m;
  j->rows = m->rows - first < ROUND_LANES ? m->rows - first : ROUND_LANES;
  memset(j->w, 0, (size_t)m->groups * GROUP * ROUND_LANES * sizeof *j->w);
  for (int i = 0; i < j->rows; i++)
    for (int c = 0; c < m->cols; c++) j->w[c * ROUND_LANES + i] = q->w[(size_t)(first + i) * (size_t)m->cols + (size_t)c];
  for (int i = 0; i < ROUND_LANES; i++)
    j->unit[i] = (float)ldexp(i < j->rows ? q->o->row_scale[first + i] : 1, m->exponent);
  q->k->round_rows(j);
}

static void quantise_run(void *arg, int t, int threads) {
  QuantiseJob *q = arg;
  OwnMatrix *o = q->o;
  RoundJob *j = &q->job[t];
  for (int b = t; b * ROUND_LANES < o->m.rows; b += threads) {
    int first = b * ROUND_LANES;
    bool again;
    do { /* a row that may overflow is rounded anew with a wider row scale, hence narrower group scales */
      round_block(q, j, first);
      again = false;
      for (int i = 0; i < j->rows; i++) {
        if (row_fits(j, i)) continue;
        if (o->row_scale[first + i] > 52428) {
          err_set(&q->err[t], "row %d overflows its accumulator at any scale", first + i);
          return;
        }
        o->row_scale[first + i] = (uint16_t)(o->row_scale[first + i] * 5 / 4 + 1);
        again = true;
      }
    } while (again);
    for (int i = 0; i < j->rows; i++) {
      for (int g = 0; g < o->m.groups; g++) matrix_put_group_scale(&o->m, o->weights, first + i, g, j->scale[g * ROUND_LANES + i]);
      for (int c = 0; c < o->m.cols; c++) matrix_put_code(&o->m, o->weights, first + i, c, j->code[c * ROUND_LANES + i]);
    }
  }
}

static bool round_job_new(RoundJob *j, const QuantiseJob *q, Err *err) {
  const Matrix *m = &q->o->m;
  static const float lowest[9] = {0, 0, .35f, .5f, .6f, 0, .8f, 0, .8f};
  size_t cols = (size_t)m->groups * GROUP;
  *j = (RoundJob){.cols = m->cols, .groups = m->groups, .book = &q->book, .candidates = m->bits <= 4 ? 16 : 8, .lowest = lowest[m->bits],
                  .u = q->factor ? q->factor->u : NULL};
  j->w = mem_alloc(cols * ROUND_LANES, sizeof *j->w, err);
  j->error = mem_alloc(GROUP * ROUND_LANES, sizeof *j->error, err);
  j->scale = mem_alloc((size_t)m->groups * ROUND_LANES, 1, err);
  j->code = mem_alloc(cols * ROUND_LANES, 1, err);
  return j->w && j->error && j->scale && j->code;
}

bool quantise(OwnMatrix *o, float *w, const Factor *factor, Pool *pool, Isa isa, Err *err) {
  int threads = pool_threads(pool);
  QuantiseJob q = {o, w, factor, cast_kernels(isa), book_of(&o->m), mem_alloc((size_t)threads, sizeof(RoundJob), err),
                   mem_alloc((size_t)threads, sizeof(Err), err)};
  bool ok = q.job && q.err;
  for (int t = 0; ok && t < threads; t++) ok = round_job_new(&q.job[t], &q, err);
  ok = ok && set_row_scales(o, w, o->m.level[o->m.levels - 1], MAX_GROUP_SCALE, err);
  if (ok) {
    pool_run(pool, quantise_run, &q);
    for (int t = 0; t < threads; t++)
      if (q.err[t].set) ok = err_set(err, "%s", q.err[t].text);
  }
  for (int t = 0; q.job && t < threads; t++) {
    mem_free(q.job[t].w);
    mem_free(q.job[t].error);
    mem_free(q.job[t].scale);
    mem_free(q.job[t].code);
  }
  mem_free(q.job);
  mem_free(q.err);
  return ok;
}

bool make_matrix(OwnMatrix *o, const Folding *f, int layer, MatKind kind, int bits, const Factor *factor, Isa isa, Err *err) {
  if (is_kept(f, kind)) return keep_matrix(f, layer, kind, o, err);
  int rows, cols;
  chip_extent(&f->shape, kind, &rows, &cols);
  *o = (OwnMatrix){0};
  float *w = mem_alloc((size_t)rows * (size_t)cols, sizeof *w, err);
  bool ok = w && fold_matrix(f, layer, kind, w, err) && own_matrix_new(o, rows, cols, bits, true, err) &&
            quantise(o, w, factor, f->pool, isa, err);
  mem_free(w);
  if (!ok) own_matrix_free(o);
  return ok;
}

/* ---- the embedding: a row scale only, chosen for the least squared error ---- */

typedef struct {
  OwnMatrix *o;
  const float *w;
} EmbedJob;

static int nearest_code(const Matrix *m, float y) {
  float t = (y - (float)m->level[0]) / (float)(m->level[1] - m->level[0]);
  int c = t < 0 ? 0 : (int)(t + 0.5f);
  return c < m->levels ? c : m->levels - 1;
}

static float row_error(const Matrix *m, const float *w, float unit) {
  float sum = 0;
  for (int c = 0; c < m->cols; c++) {
    float d = w[c] - (float)m->level[nearest_code(m, w[c] / unit)] * unit;
    sum += d * d;
  }
  return sum;
}

static void embed_run(void *arg, int t, int threads) {
  EmbedJob *j = arg;
  Matrix *m = &j->o->m;
  Span span = span_of(m->rows, 1, t, threads);
  for (int r = span.from; r < span.to; r++) {
    const float *w = j->w + (size_t)r * (size_t)m->cols;
    int widest = j->o->row_scale[r], best = widest;
    float least = INFINITY;
    for (int k = 0; k < 8; k++) { /* from 60 % of the widest scale up */
      int s = widest - widest * k / 20;
      float e = s > 0 ? row_error(m, w, (float)ldexp(s, m->exponent)) : INFINITY;
      if (e < least) least = e, best = s;
    }
    j->o->row_scale[r] = (uint16_t)best;
    float unit = (float)ldexp(best, m->exponent);
    for (int c = 0; c < m->cols; c++) matrix_put_code(m, j->o->weights, r, c, nearest_code(m, w[c] / unit));
  }
}

bool quantise_embedding(OwnMatrix *o, const float *w, Pool *pool, Err *err) {
  if (o->m.bits != 6 && o->m.bits != 8) return err_set(err, "bits of the embedding: expected 6 or 8, found %d", o->m.bits);
  if (!set_row_scales(o, w, o->m.level[o->m.levels - 1], 1, err)) return false;
  EmbedJob j = {o, w};
  pool_run(pool, embed_run, &j);
  return true;
}
