/* model/oracle: the plain float forward pass.  Short and obvious: it is what everything else is measured against.
 *
 * Source: Llama 2 (Touvron et al. 2023) and the reference implementation's order of operations.
 */
#include "model/float.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

struct Oracle {
  const Model *m;
  Pool *pool;
  FloatMatmul *matmul;
  double *frequency; /* (rotary_dims / 2) */
  int n;             /* tokens of this window */
  float *x, *h;      /* (n, dim) residual, normalised */
  float *q, *k, *v;  /* (n, heads or kv_heads, head_dim) */
  float *att;        /* (n, heads, head_dim) */
  float *gate, *up;  /* (n, ffn) */
};

static FloatMatmul *matmul_of(Isa isa) {
#if defined(__x86_64__)
  if (isa >= ISA_AVX512) return float_matmul_avx512;
  if (isa >= ISA_AVX2) return float_matmul_avx2;
#endif
  (void)isa;
  return float_matmul_scalar;
}

Oracle *oracle_new(const Model *m, Pool *pool, Err *err) {
  Oracle *o = mem_alloc(1, sizeof *o, err);
  if (!o) return NULL;
  *o = (Oracle){.m = m, .pool = pool, .matmul = matmul_of(isa_best())};
  o->frequency = mem_alloc((size_t)m->shape.rotary_dims / 2, sizeof(double), err);
  if (!o->frequency) {
    mem_free(o);
    return NULL;
  }
  model_rotary_frequencies(m, o->frequency);
  return o;
}

static void drop_buffers(Oracle *o) {
  float **all[] = {&o->x, &o->h, &o->q, &o->k, &o->v, &o->att, &o->gate, &o->up};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    mem_free(*all[i]);
    *all[i] = NULL;
  }
}

void oracle_free(Oracle *o) {
  if (!o) return;
  drop_buffers(o);
  mem_free(o->frequency);
  mem_free(o);
}

/* ---- out (n, rows) = x (n, cols) W^T, rows dequantised in blocks by the thread that uses them ---- */

enum { BLOCK = 32 };

typedef struct {
  const Oracle *o;
  const Tensor *w;
  const float *x;
  float *out;
  float *rows; /* (threads, BLOCK, cols) */
} MatmulJob;

static void matmul_run(void *arg, int t, int threads) {
  const MatmulJob *j = arg;
  float *rows = j->rows + (size_t)t * BLOCK * (size_t)j->w->cols;
  Span span = span_of((int)j->w->rows, BLOCK, t, threads);
  for (int r = span.from; r < span.to; r += BLOCK) {
    int count = span.to - r < BLOCK ? span.to - r : BLOCK;
    tensor_rows(j->w, r, count, rows);
    j->o->matmul(rows, count, (int)j->w->cols, j->x, j->o->n, j->out + r, (size_t)j->w->rows);
  }
}

static bool matmul(const Oracle *o, const Tensor *w, const float *x, float *out, Err *err) {
  MatmulJob j = {o, w, x, out, mem_alloc((size_t)pool_threads(o->pool) * BLOCK, (size_t)w->cols * sizeof(float), err)};
  if (!j.rows) return false;
  pool_run(o->pool, matmul_run, &j);
  mem_free(j.rows);
  return true;
}

/* ---- element-wise ---- */

static bool rms_norm(const Oracle *o, const Tensor *gain, Err *err) {
  int dim = o->m->shape.dim;
  float *g = mem_alloc((size_t)dim, sizeof *g, err);
  if (!g) return false;
  tensor_rows(gain, 0, 1, g);
  for (int t = 0; t < o->n; t++) {
    const float *x = o->x + (size_t)t * (size_t)dim;
    double sum = 0;
    for (int i = 0; i < dim; i++) sum += (double)x[i] * (double)x[i];
    float r = (float)(1 / sqrt(sum / dim + o->m->shape.eps));
    for (int i = 0; i < dim; i++) o->h[(size_t)t * (size_t)dim + (size_t)i] = x[i] * r * g[i];
  }
  mem_free(g);
  return true;
}

static void rotate(const Oracle *o, float *v, int heads) {
  const Shape *s = &o->m->shape;
  int half = s->rotary_dims / 2, step = s->pairs == PAIRS_ADJACENT ? 2 : 1, apart = s->pairs == PAIRS_ADJACENT ? 1 : half;
  for (int t = 0; t < o->n; t++)
    for (int i = 0; i < half; i++) {
      float c = (float)cos(t * o->frequency[i]), d = (float)sin(t * o->frequency[i]);
      for (int h = 0; h < heads; h++) {
        float *x = v + ((size_t)t * (size_t)heads + (size_t)h) * (size_t)s->head_dim + step * i, *y = x + apart, a = *x, b = *y;
        *x = a * c - b * d;
        *y = a * d + b * c;
      }
    }
}

static void attend_one(const Oracle *o, int t, int head, float *score) {
  const Shape *s = &o->m->shape;
  size_t hd = (size_t)s->head_dim, kv = (size_t)(head / (s->heads / s->kv_heads)), kvs = (size_t)s->kv_heads;
  const float *q = o->q + ((size_t)t * (size_t)s->heads + (size_t)head) * hd;
  float top = -INFINITY, sum = 0, *out = o->att + ((size_t)t * (size_t)s->heads + (size_t)head) * hd;
  for (int j = 0; j <= t; j++) {
    o->matmul(o->k + ((size_t)j * kvs + kv) * hd, 1, s->head_dim, q, 1, &score[j], 1);
    score[j] /= sqrtf((float)s->head_dim);
    if (score[j] > top) top = score[j];
  }
  memset(out, 0, hd * sizeof *out);
  for (int j = 0; j <= t; j++) {
    float p = expf(score[j] - top);
    const float *v = o->v + ((size_t)j * kvs + kv) * hd;
    sum += p;
    for (size_t i = 0; i < hd; i++) out[i] += p * v[i];
  }
  for (size_t i = 0; i < hd; i++) out[i] /= sum;
}

typedef struct {
  const Oracle *o;
  float *score; /* (threads, n) */
} AttendJob;

static void attend_run(void *arg, int t, int threads) {
  const AttendJob *j = arg;
  int heads = j->o->m->shape.heads;
  for (int i = t; i < j->o->n * heads; i += threads) attend_one(j->o, i / heads, i % heads, j->score + (size_t)t * (size_t)j->o->n);
}

static bool attend(const Oracle *o, Err *err) {
  AttendJob j = {o, mem_alloc((size_t)pool_threads(o->pool) * (size_t)o->n, sizeof(float), err)};
  if (!j.score) return false;
  pool_run(o->pool, attend_run, &j);
  mem_free(j.score);
  return true;
}

static void add(float *x, const float *y, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] += y[i];
}

/* ---- the pass ---- */

static bool layer(const Oracle *o, int l, Err *err) {
  const Shape *s = &o->m->shape;
  const Tensor *const *w = o->m->layer[l];
#define W(id) w[(id) - M_FIRST_OF_LAYER]
  if (!rms_norm(o, W(M_ATTN_NORM), err) || !matmul(o, W(M_Q), o->h, o->q, err) || !matmul(o, W(M_K), o->h, o->k, err) ||
      !matmul(o, W(M_V), o->h, o->v, err))
    return false;
  rotate(o, o->q, s->heads);
  rotate(o, o->k, s->kv_heads);
  if (!attend(o, err) || !matmul(o, W(M_O), o->att, o->h, err)) return false;
  add(o->x, o->h, (size_t)o->n * (size_t)s->dim);
  if (!rms_norm(o, W(M_FFN_NORM), err) || !matmul(o, W(M_GATE), o->h, o->gate, err) || !matmul(o, W(M_UP), o->h, o->up, err))
    return false;
  for (size_t i = 0; i < (size_t)o->n * (size_t)s->ffn; i++) o->gate[i] = o->gate[i] / (1 + expf(-o->gate[i])) * o->up[i];
  if (!matmul(o, W(M_DOWN), o->gate, o->h, err)) return false;
#undef W
  add(o->x, o->h, (size_t)o->n * (size_t)s->dim);
  return true;
}

static bool room(Oracle *o, int n, Err *err) {
  if (o->n == n) return true;
  drop_buffers(o);
  o->n = 0;
  const Shape *s = &o->m->shape;
  size_t dim = (size_t)s->dim, q = (size_t)s->heads * (size_t)s->head_dim, kv = (size_t)s->kv_heads * (size_t)s->head_dim;
  struct {
    float **p;
    size_t width;
  } all[] = {{&o->x, dim}, {&o->h, dim}, {&o->q, q}, {&o->k, kv}, {&o->v, kv}, {&o->att, q}, {&o->gate, (size_t)s->ffn}, {&o->up, (size_t)s->ffn}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (!(*all[i].p = mem_alloc((size_t)n * all[i].width, sizeof(float), err))) return false;
  o->n = n;
  return true;
}

bool oracle_window(Oracle *o, const int *tokens, int n, float *logits, Err *err) {
  const Shape *s = &o->m->shape;
  if (n < 1 || n > s->context) return err_set(err, "window: expected 1 to %d tokens, found %d", s->context, n);
  for (int t = 0; t < n; t++)
    if (tokens[t] < 0 || tokens[t] >= s->vocab)
      return err_set(err, "token %d: expected an id of 0 to %d, found %d", t, s->vocab - 1, tokens[t]);
  if (!room(o, n, err)) return false;
  for (int t = 0; t < n; t++) tensor_rows(o->m->tensor[M_EMBED], tokens[t], 1, o->x + (size_t)t * (size_t)s->dim);
  for (int l = 0; l < s->layers; l++)
    if (!layer(o, l, err)) return false;
  return rms_norm(o, o->m->tensor[M_OUT_NORM], err) && matmul(o, o->m->tensor[M_HEAD], o->h, logits, err);
}
