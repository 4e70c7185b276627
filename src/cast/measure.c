/* cast/measure: what rounding a matrix costs, measured on the draft.
 *
 * Each matrix in turn is rounded to 2 bits, with feedback, while all others stay as they are in the draft; the loss is half
 * the variance of the change of the logits under the draft's own distribution: the Kullback-Leibler divergence to second
 * order.  Errors of different matrices are independent, so that losses add, and each grows with the book's distortion.
 */
#include "cast/parts.h"

#include <string.h>

enum { PROBE_BITS = 2, PROBE_WINDOWS = 4, PROBE_LENGTH = 96 };

int measure_tokens(int length) { return PROBE_WINDOWS * (length < PROBE_LENGTH ? length : PROBE_LENGTH); }

typedef struct {
  const Folding *f;
  const CastOptions *o;
  Engine *draft;
  Session *session;
  int32_t *h, *now;     /* (windows, length, dim) residual of the draft before layer `layer`; (length, dim) of a changed pass */
  int layer;
  const int *tokens;
  int stride, length, windows;
  int32_t *z, *changed; /* (windows, length, vocab) logits of the draft; (length, vocab) of one window */
  float *p;             /* (windows, length, vocab) the draft's distribution */
  double *variance;     /* (length) */
  int window;
} Probe;

static void distribution_run(void *arg, int t, int threads) {
  const Probe *m = arg;
  size_t vocab = (size_t)m->f->shape.vocab;
  for (int i = t; i < m->windows * m->length; i += threads) {
    const int32_t *z = m->z + (size_t)i * vocab;
    float *p = m->p + (size_t)i * vocab, sum = 0;
    int64_t top = z[0];
    for (size_t v = 1; v < vocab; v++) top = z[v] > top ? z[v] : top;
    for (size_t v = 0; v < vocab; v++) {
      int64_t d = ((top - z[v]) * 94548) >> 16; /* log2 e in 16 bits: nats to base-2 exponents */
      sum += p[v] = (float)softmax_weight((uint32_t)(d < (31 << 16) ? d : 31 << 16));
    }
    for (size_t v = 0; v < vocab; v++) p[v] /= sum;
  }
}

static void variance_run(void *arg, int t, int threads) {
  const Probe *m = arg;
  size_t vocab = (size_t)m->f->shape.vocab;
  for (int i = t; i < m->length; i += threads) {
    size_t at = (size_t)(m->window * m->length + i) * vocab;
    const int32_t *z = m->z + at, *changed = m->changed + (size_t)i * vocab;
    double first = 0, second = 0;
    for (size_t v = 0; v < vocab; v++) {
      double d = ((double)changed[v] - z[v]) * (1.0 / (1 << FRAC_LOGIT));
      first += (double)m->p[at + v] * d;
      second += (double)m->p[at + v] * d * d;
    }
    m->variance[i] = second - first * first;
  }
}

static size_t residual_of(const Probe *m, int window) { return (size_t)window * (size_t)m->length * (size_t)m->f->shape.dim; }

static const int *tokens_of(const Probe *m, int window) { return m->tokens + (size_t)window * (size_t)m->stride; }

/* Logits from layer `layer` on: what stands before it does not change. */
static bool run_window(Probe *m, int window, int32_t *out, Err *err) {
  memcpy(m->now, m->h + residual_of(m, window), residual_of(m, 1) * sizeof *m->now);
  return session_layers(m->session, tokens_of(m, window), m->length, m->layer, m->f->shape.layers, m->now, out, err);
}

/* The residuals on to the next layer, with the draft's own matrices. */
static bool step_layer(Probe *m, Err *err) {
  for (int w = 0; w < m->windows; w++)
    if (!session_layers(m->session, tokens_of(m, w), m->length, m->layer, m->layer + 1, m->h + residual_of(m, w), NULL, err)) return false;
  m->layer++;
  return true;
}

static bool probe_loss(Probe *m, double *loss, Err *err) {
  *loss = 0;
  for (m->window = 0; m->window < m->windows; m->window++) {
    if (!run_window(m, m->window, m->changed, err)) return false;
    pool_run(m->f->pool, variance_run, m);
    for (int i = 0; i < m->length; i++) *loss += m->variance[i] / (2 * m->windows * m->length);
  }
  return true;
}

static bool install(Probe *m, int layer, MatKind kind, int bits, float *w, const Factor *factor, int rows, int cols, Err *err) {
  OwnMatrix o = {0};
  bool ok = own_matrix_new(&o, rows, cols, bits, true, err) && quantise(&o, w, factor, m->f->pool, m->o->isa, err) &&
            engine_install(m->draft, layer, kind, &o.m, err);
  own_matrix_free(&o);
  return ok;
}

/* Any change, however small, draws all roundings of activations behind it anew.  That adds a loss which is not the
 * matrix's own; it depends on the layer only, and is measured by a change that is next to nothing: the draft's width with feedback. */
static bool probe_matrix(Probe *m, int layer, MatKind kind, const Factor *factor, double *noise, double *loss, Err *err) {
  int rows, cols, draft = draft_bits(m->f);
  chip_extent(&m->f->shape, kind, &rows, &cols);
  float *w = mem_alloc((size_t)rows * (size_t)cols, sizeof *w, err);
  bool ok = w && fold_matrix(m->f, layer, kind, w, err);
  if (kind == MAT_Q) ok = ok && install(m, layer, kind, draft, w, factor, rows, cols, err) && probe_loss(m, noise, err);
  if (kind == MAT_HEAD) *noise = 0;
  ok = ok && install(m, layer, kind, PROBE_BITS, w, factor, rows, cols, err) && probe_loss(m, loss, err) &&
       install(m, layer, kind, draft, w, NULL, rows, cols, err);
  *loss = (*loss - *noise > *loss / 8 ? *loss - *noise : *loss / 8) / book_distortion(PROBE_BITS);
  mem_free(w);
  return ok;
}

static bool probe_all(Probe *m, Walk *walk, double *loss, Progress *progress, Err *err) {
  int layers = m->f->shape.layers;
  double noise = 0;
  for (int i = 0; i <= layers * MAT_PER_LAYER;) {
    EngineStop at;
    Factor factor;
    if (i > 0 && i % MAT_PER_LAYER == 0 && !step_layer(m, err)) return false;
    if (!walk_next(walk, &at, err) || !factor_at(&factor, &at, m->f->pool, m->o->isa, err)) return false;
    bool ok = true;
    for (int k = 0; ok && k < matrices_at(at.first); k++, i++)
      ok = probe_matrix(m, at.first == MAT_HEAD ? -1 : at.layer, (MatKind)((int)at.first + k), &factor, &noise, &loss[i], err);
    factor_free(&factor);
    if (!ok) return false;
    progress_to(progress, 0.3 + 0.2 * i / (layers * MAT_PER_LAYER + 1));
  }
  return true;
}

bool measure_losses(const Folding *f, Engine *draft, const CastOptions *o, const int *tokens, int windows, int length, double *loss,
                    Progress *progress, Err *err) {
  size_t vocab = (size_t)f->shape.vocab;
  Probe m = {.f = f, .o = o, .draft = draft, .tokens = tokens, .stride = length};
  m.length = length < PROBE_LENGTH ? length : PROBE_LENGTH;
  m.windows = windows < PROBE_WINDOWS ? windows : PROBE_WINDOWS;
  size_t cells = (size_t)m.windows * (size_t)m.length * vocab;
  m.z = mem_alloc(cells, sizeof *m.z, err);
  m.p = mem_alloc(cells, sizeof *m.p, err);
  m.changed = mem_alloc((size_t)m.length, vocab * sizeof *m.changed, err);
  m.h = mem_alloc((size_t)m.windows, residual_of(&m, 1) * sizeof *m.h, err);
  m.now = mem_alloc(residual_of(&m, 1), sizeof *m.now, err);
  m.variance = mem_alloc((size_t)m.length, sizeof *m.variance, err);
  m.session = session_new(draft, m.length, err);
  Walk *walk = walk_new(draft, tokens + (size_t)m.windows * (size_t)length, MEASURE_WINDOWS, length, err);
  bool ok = m.z && m.p && m.changed && m.h && m.now && m.variance && m.session && walk;
  for (int i = 0; ok && i < m.windows; i++) ok = run_window(&m, i, m.z + (size_t)i * (size_t)m.length * vocab, err);
  if (ok) pool_run(f->pool, distribution_run, &m);
  ok = ok && probe_all(&m, walk, loss, progress, err);
  walk_free(walk);
  session_free(m.session);
  void *all[] = {m.z, m.p, m.changed, m.h, m.now, m.variance};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  return ok;
}
