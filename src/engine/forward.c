/* engine/forward: the one forward pass.  Decode, prefill, batches and the cast's walk are all rows through it.
 *
 * A pass is a list of phases.  Every phase runs on all threads, with a barrier behind it; phases cut their work by rows
 * of a matrix, by tokens or by heads.  With a single token there is nothing to cut in the quantising phases: each thread
 * then makes the vector for itself inside the next phase, which saves a barrier.
 */
#include "engine/state.h"

#include <assert.h>
#include <string.h>

typedef struct Batch {
  int cap;           /* rows that the buffers hold */
  int32_t *h;        /* (n, dim) residual */
  int32_t *qkv;      /* (n, heads + 2 kv_heads, head_dim) */
  int8_t *q8;        /* (n, heads, head_dim) */
  Step *q_step;      /* (n, heads) */
  int32_t *att;      /* (n, heads, head_dim) */
  int32_t *gate, *up, *act; /* (n, ffn) */
  int32_t *y;        /* (n, dim) output of o and down */
  int8_t *a;         /* (n, widest) quantised input of the next matrix */
  Scale *x;          /* (n) */
} Batch;

typedef struct {
  Engine *e;
  const ChipShape *s;
  const Kernels *k;
  Batch *b;
  const Row *row;
  int n;
  bool shared;       /* quantised vectors are made once for all threads */
  bool flip;         /* input phases also flip the bits for matmul */
  int layer, from, to; /* layers [from, to) run; before the first the rows are embedded, behind the last comes the head */
  int *head_row;     /* rows that want logits */
  int heads;         /* how many */
  int32_t *out;
} Pass;

/* ---- buffers ---- */

void forward_free(Batch *b) {
  if (!b) return;
  void *all[] = {b->h, b->qkv, b->q8, b->q_step, b->att, b->gate, b->up, b->act, b->y, b->a, b->x};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  mem_free(b);
}

static bool batch_room(Engine *e, int n, Err *err) {
  if (e->batch && e->batch->cap >= n) return true;
  const ChipShape *s = &e->chip->shape;
  size_t rows = (size_t)n, q = (size_t)s->heads * (size_t)s->head_dim, kv = (size_t)s->kv_heads * (size_t)s->head_dim;
  Batch *b = mem_alloc(1, sizeof *b, err);
  if (!b) return false;
  b->cap = n;
  bool ok = (b->h = mem_alloc(rows * (size_t)s->dim, 4, err)) && (b->qkv = mem_alloc(rows * (q + 2 * kv), 4, err)) &&
            (b->q8 = mem_alloc(rows, q, err)) && (b->q_step = mem_alloc(rows * (size_t)s->heads, sizeof *b->q_step, err)) &&
            (b->att = mem_alloc(rows * q, 4, err)) && (b->gate = mem_alloc(rows * (size_t)s->ffn, 4, err)) &&
            (b->up = mem_alloc(rows * (size_t)s->ffn, 4, err)) && (b->act = mem_alloc(rows * (size_t)s->ffn, 4, err)) &&
            (b->y = mem_alloc(rows * (size_t)s->dim, 4, err)) && (b->a = mem_alloc(rows, (size_t)e->widest, err)) &&
            (b->x = mem_alloc(rows, sizeof *b->x, err));
  if (!ok) {
    forward_free(b);
    return false;
  }
  forward_free(e->batch);
  e->batch = b;
  return true;
}

/* ---- inputs of matrices ---- */

typedef Scale InputFn(const Pass *p, int row, int8_t *a, int32_t *scratch);

/* Behind the last layer the final norm, whose gains stand in the head. */
static Scale norm_with(const Pass *p, GainKind kind, int row, int8_t *a, int32_t *scratch) {
  const Chip *c = p->e->chip;
  const Gain *gain = c->gain && p->layer < p->s->layers ? &c->gain[p->layer][kind] : NULL;
  return p->k->norm8(p->s, gain, p->b->h + (size_t)row * (size_t)p->s->dim, a, scratch);
}

static Scale input_attn(const Pass *p, int row, int8_t *a, int32_t *scratch) { return norm_with(p, GAIN_ATTN, row, a, scratch); }

static Scale input_ffn(const Pass *p, int row, int8_t *a, int32_t *scratch) { return norm_with(p, GAIN_FFN, row, a, scratch); }

static Scale input_o(const Pass *p, int row, int8_t *a, int32_t *scratch) {
  (void)scratch;
  int n = p->s->heads * p->s->head_dim;
  return plain_scale(p->k->quant8(p->b->att + (size_t)row * (size_t)n, n, a));
}

static Scale input_down(const Pass *p, int row, int8_t *a, int32_t *scratch) {
  if (p->s->kept) return plain_scale(p->k->quant8(p->b->act + (size_t)row * (size_t)p->s->ffn, p->s->ffn, a));
  memcpy(scratch, p->b->act + (size_t)row * (size_t)p->s->ffn, (size_t)p->s->ffn * 4);
  return plain_scale(p->k->butterfly_quant8(scratch, p->s->ffn, a));
}

static int padded(int n) { return (n + GROUP - 1) / GROUP * GROUP; }

static void make_one(const Pass *p, InputFn *fn, int row, int cols, int8_t *a, Scale *x, int32_t *scratch) {
  *x = fn(p, row, a, scratch);
  memset(a + cols, 0, (size_t)(padded(cols) - cols));
  if (p->flip && p->k->a_flip)
    for (int i = 0; i < padded(cols); i++) a[i] = (int8_t)(a[i] ^ p->k->a_flip);
}

/* The phase that makes the inputs of all rows, where they are shared. */
static void make_shared(const Pass *p, InputFn *fn, int cols, int t, int threads) {
  if (!p->shared) return;
  Span r = span_of(p->n, 1, t, threads);
  for (int i = r.from; i < r.to; i++)
    make_one(p, fn, i, cols, p->b->a + (size_t)i * (size_t)p->e->widest, &p->b->x[i], p->e->worker[t].vector);
}

typedef struct {
  const int8_t *a;
  const Scale *x;
} Input;

static Input input_of(const Pass *p, InputFn *fn, int row, int cols, int t) {
  Worker *w = &p->e->worker[t];
  if (p->shared) return (Input){p->b->a, p->b->x};
  make_one(p, fn, row, cols, w->a, &w->x, w->vector);
  return (Input){w->a, &w->x};
}

static void matmul(const Pass *p, const Packed *m, Span rows, Input in, int n, int frac, int32_t *y, size_t y_stride, int t) {
  if (rows.from < rows.to)
    p->k->matmul(m, rows.from, rows.to, in.a, (size_t)p->e->widest, n, in.x, frac, y, y_stride, p->e->worker[t].unpacked);
}

/* ---- phases ---- */

static void phase_embed(const Pass *p, int t, int threads) {
  const Matrix *m = &p->e->chip->embed;
  int shift = -(m->exponent + FRAC);
  Span r = span_of(p->n, 1, t, threads);
  for (int i = r.from; i < r.to; i++) {
    int32_t *h = p->b->h + (size_t)i * (size_t)p->s->dim;
    int64_t scale = m->row_scale[p->row[i].token];
    for (int g = 0; g < m->groups; g++) {
      int8_t level[GROUP];
      matrix_group_levels(m, p->row[i].token, g, level);
      for (int c = g * GROUP; c < p->s->dim && c < (g + 1) * GROUP; c++) h[c] = rsr_sat(level[c - g * GROUP] * scale, shift);
    }
  }
}

static void phase_attn_norm(const Pass *p, int t, int threads) { make_shared(p, input_attn, p->s->dim, t, threads); }

/* The rows of several matrices as one range, cut into one part a thread. */
static void phase_qkv(const Pass *p, int t, int threads) {
  const Packed *m = p->e->layer[p->layer];
  Input in = input_of(p, input_attn, 0, p->s->dim, t);
  int tile = p->k->tile, tiles[3], total = 0, before = 0;
  size_t stride = 0, at = 0;
  for (int i = 0; i < 3; i++) {
    tiles[i] = (m[MAT_Q + i].rows + tile - 1) / tile;
    total += tiles[i];
    stride += (size_t)m[MAT_Q + i].rows;
  }
  Span mine = span_of(total, 1, t, threads);
  for (int i = 0; i < 3; i++) {
    const Packed *w = &m[MAT_Q + i];
    int from = mine.from - before, to = mine.to - before;
    Span rows = {(from < 0 ? 0 : from > tiles[i] ? tiles[i] : from) * tile, (to < 0 ? 0 : to > tiles[i] ? tiles[i] : to) * tile};
    if (rows.to > w->rows) rows.to = w->rows;
    matmul(p, w, rows, in, p->n, FRAC, p->b->qkv + at, stride, t);
    before += tiles[i];
    at += (size_t)w->rows;
  }
}

/* Rotates and quantises q, k and v; k and v go into the cache.  Unit u of a row is a query head or a key-value head. */
static void rotate_unit(const Pass *p, int row, int u, const int32_t *cos_sin) {
  const ChipShape *s = p->s;
  size_t hd = (size_t)s->head_dim;
  int32_t *head = p->b->qkv + ((size_t)row * (size_t)(s->heads + 2 * s->kv_heads) + (size_t)u) * hd;
  p->k->rotary(s, cos_sin, head);
  if (u < s->heads) {
    size_t at = (size_t)row * (size_t)s->heads + (size_t)u;
    p->b->q_step[at] = p->k->quant8(head, s->head_dim, p->b->q8 + at * hd);
    return;
  }
  KvHead kv = session_kv(p->row[row].session, p->layer, u - s->heads);
  size_t position = (size_t)p->row[row].position;
  kv.k_step[position] = step_pack(p->k->quant8(head, s->head_dim, kv.k + position * hd));
  kv.v_step[position] = step_pack(p->k->quant8(head + (size_t)s->kv_heads * hd, s->head_dim, kv.v + position * hd));
}

static void phase_rotate(const Pass *p, int t, int threads) {
  int units = p->s->heads + p->s->kv_heads, half = p->s->rotary_dims / 2;
  int32_t *cos_sin = p->e->worker[t].cos_sin;
  bool by_row = p->n >= threads;
  for (int i = 0; i < p->n; i++) {
    if (by_row && i % threads != t) continue;
    for (int j = 0; j < half; j++) rotary_pair(p->e->chip, p->row[i].position, j, &cos_sin[2 * j], &cos_sin[2 * j + 1]);
    for (int u = by_row ? 0 : t; u < units; u += by_row ? 1 : threads) rotate_unit(p, i, u, cos_sin);
  }
}

static void phase_attention(const Pass *p, int t, int threads) {
  const ChipShape *s = p->s;
  size_t hd = (size_t)s->head_dim;
  for (int i = t; i < p->n * s->heads; i += threads) {
    int row = i / s->heads, head = i % s->heads;
    KvHead kv = session_kv(p->row[row].session, p->layer, head / (s->heads / s->kv_heads));
    p->k->attention(p->b->q8 + (size_t)i * hd, p->b->q_step[i], (KvView){kv.k, kv.v, kv.k_step, kv.v_step, hd}, p->row[row].position + 1,
                    s->head_dim, p->b->att + (size_t)i * hd, p->e->worker[t].scores);
  }
}

static void phase_o_input(const Pass *p, int t, int threads) {
  make_shared(p, input_o, p->s->heads * p->s->head_dim, t, threads);
}

/* h += W a for the rows of one thread. */
static void project_back(const Pass *p, const Packed *m, Input in, int t, int threads) {
  Span rows = span_of(m->rows, p->k->tile, t, threads);
  size_t dim = (size_t)p->s->dim;
  matmul(p, m, rows, in, p->n, FRAC, p->b->y, dim, t);
  for (int i = 0; i < p->n; i++)
    p->k->add(p->b->h + (size_t)i * dim + rows.from, p->b->y + (size_t)i * dim + rows.from, rows.to - rows.from);
}

static void phase_o(const Pass *p, int t, int threads) {
  Input in = input_of(p, input_o, 0, p->s->heads * p->s->head_dim, t);
  project_back(p, &p->e->layer[p->layer][MAT_O], in, t, threads);
}

static void phase_ffn_norm(const Pass *p, int t, int threads) { make_shared(p, input_ffn, p->s->dim, t, threads); }

static void phase_gate_up(const Pass *p, int t, int threads) {
  const Packed *m = p->e->layer[p->layer];
  Input in = input_of(p, input_ffn, 0, p->s->dim, t);
  Span rows = span_of(p->s->ffn, BUTTERFLY, t, threads);
  size_t ffn = (size_t)p->s->ffn;
  matmul(p, &m[MAT_GATE], rows, in, p->n, FRAC, p->b->gate, ffn, t);
  matmul(p, &m[MAT_UP], rows, in, p->n, FRAC, p->b->up, ffn, t);
  for (int i = 0; i < p->n; i++) {
    size_t at = (size_t)i * ffn + (size_t)rows.from;
    p->k->gate(p->b->gate + at, p->b->up + at, rows.to - rows.from, p->b->act + at);
  }
}

static void phase_down_input(const Pass *p, int t, int threads) { make_shared(p, input_down, p->s->ffn, t, threads); }

static void phase_down(const Pass *p, int t, int threads) {
  Input in = input_of(p, input_down, 0, p->s->ffn, t);
  project_back(p, &p->e->layer[p->layer][MAT_DOWN], in, t, threads);
}

/* The rows that want logits move to the front of the shared input. */
static void phase_head_input(const Pass *p, int t, int threads) {
  if (!p->shared) return;
  Span r = span_of(p->heads, 1, t, threads);
  for (int i = r.from; i < r.to; i++)
    make_one(p, input_attn, p->head_row[i], p->s->dim, p->b->a + (size_t)i * (size_t)p->e->widest, &p->b->x[i],
             p->e->worker[t].vector);
}

static void phase_head(const Pass *p, int t, int threads) {
  if (p->heads == 0) return;
  Input in = input_of(p, input_attn, 0, p->s->dim, t);
  matmul(p, &p->e->head, span_of(p->e->head.rows, p->k->tile, t, threads), in, p->heads, FRAC_LOGIT, p->out, (size_t)p->s->vocab, t);
}

typedef void Phase(const Pass *p, int t, int threads);

/* In this order for every layer. */
static Phase *const layer_phase[] = {phase_attn_norm, phase_qkv,       phase_rotate, phase_attention,  phase_o_input,
                                     phase_o,         phase_ffn_norm, phase_gate_up, phase_down_input, phase_down};
enum { PHASES = sizeof layer_phase / sizeof *layer_phase };

static bool makes_input(Phase *f) {
  return f == phase_attn_norm || f == phase_o_input || f == phase_ffn_norm || f == phase_down_input;
}

static void run_all(void *arg, int t, int threads) {
  Pass p = *(const Pass *)arg;
  if (p.from == 0) {
    phase_embed(&p, t, threads);
    pool_barrier(p.e->pool);
  }
  for (p.layer = p.from; p.layer < p.to; p.layer++)
    for (int i = 0; i < PHASES; i++) {
      if (!p.shared && makes_input(layer_phase[i])) continue;
      layer_phase[i](&p, t, threads);
      pool_barrier(p.e->pool);
    }
  if (p.to < p.s->layers) return;
  if (p.shared) {
    phase_head_input(&p, t, threads);
    pool_barrier(p.e->pool);
  }
  phase_head(&p, t, threads);
}

static bool prepare(Pass *p, Engine *e, const Row *row, int n, Err *err) {
  int deepest = 0;
  for (int i = 0; i < n; i++)
    if (row[i].position >= deepest) deepest = row[i].position + 1;
  for (int t = 0; t < pool_threads(e->pool); t++) {
    Worker *w = &e->worker[t];
    if (w->scores_cap >= deepest) continue;
    int cap = deepest + deepest / 2 + 256;
    int32_t *z = mem_alloc((size_t)cap + 16, 4, err);
    if (!z) return false;
    mem_free(w->scores);
    w->scores = z;
    w->scores_cap = cap;
  }
  *p = (Pass){.e = e, .s = &e->chip->shape, .k = e->kernels, .row = row, .n = n, .flip = true};
  if (!batch_room(e, n, err)) return false;
  p->b = e->batch;
  p->head_row = mem_alloc((size_t)n, sizeof *p->head_row, err);
  if (!p->head_row) return false;
  for (int i = 0; i < n; i++)
    if (row[i].logits) p->head_row[p->heads++] = i;
  return true;
}

bool forward_layers(Engine *e, const Row *row, int n, int from, int to, int32_t *h, int32_t *out, Err *err) {
  Pass p;
  if (!prepare(&p, e, row, n, err)) return false;
  size_t bytes = (size_t)n * (size_t)p.s->dim * sizeof *h;
  p.shared = n > 1;
  p.out = out;
  p.from = from;
  p.to = to;
  if (from > 0) memcpy(p.b->h, h, bytes);
  pool_run(e->pool, run_all, &p);
  if (h) memcpy(h, p.b->h, bytes);
  mem_free(p.head_row);
  return true;
}

bool forward(Engine *e, const Row *row, int n, int32_t *out, Err *err) {
  return forward_layers(e, row, n, 0, e->chip->shape.layers, NULL, out, err);
}

/* ---- the cast's walk: from stop to stop ----
 *
 * Only residual, quantised input and its scales live for all tokens; the other buffers and the KV cache of one layer are
 * shared by pieces of whole windows, one piece after another.
 */
enum { PIECE_TOKENS = 2048 };

struct Walk {
  Engine *e;
  int windows, length, piece; /* windows of a piece */
  const int *token;           /* (windows, length) */
  int stop;                   /* STOPS a layer, then the head; -1 before the first */
  int phase;                  /* of the layer, that made the input; -1 before the first */
  int32_t *h;                 /* (tokens, dim) */
  int8_t *a;                  /* (tokens, widest) */
  Scale *x;                   /* (tokens) */
  Session **session;          /* (piece) */
  Row *row;                   /* (piece * length) */
};

Walk *walk_new(Engine *e, const int *tokens, int windows, int length, Err *err) {
  Walk *w = mem_alloc(1, sizeof *w, err);
  if (!w) return NULL;
  int piece = PIECE_TOKENS / length > 1 ? PIECE_TOKENS / length : 1;
  size_t n = (size_t)windows * (size_t)length;
  *w = (Walk){.e = e, .windows = windows, .length = length, .piece = piece < windows ? piece : windows, .token = tokens, .stop = -1, .phase = -1};
  w->h = mem_alloc(n * (size_t)e->chip->shape.dim, sizeof *w->h, err);
  w->a = mem_alloc(n, (size_t)e->widest, err);
  w->x = mem_alloc(n, sizeof *w->x, err);
  w->session = mem_alloc((size_t)w->piece, sizeof(Session *), err);
  w->row = mem_alloc((size_t)w->piece * (size_t)length, sizeof *w->row, err);
  bool ok = w->h && w->a && w->x && w->session && w->row;
  for (int i = 0; ok && i < w->piece; i++) ok = (w->session[i] = session_new(e, length, err)) != NULL;
  if (ok) return w;
  walk_free(w);
  return NULL;
}

void walk_free(Walk *w) {
  if (!w) return;
  for (int i = 0; w->session && i < w->piece; i++) session_free(w->session[i]);
  void *all[] = {w->h, w->a, w->x, w->session, w->row};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  mem_free(w);
}

static void phase_flip(const Pass *p, int t, int threads) {
  size_t width = (size_t)p->e->widest;
  Span r = span_of(p->n, 1, t, threads);
  if (!p->k->a_flip) return;
  for (size_t i = width * (size_t)r.from; i < width * (size_t)r.to; i++) p->b->a[i] = (int8_t)(p->b->a[i] ^ p->k->a_flip);
}

typedef struct {
  const Pass *p;
  Phase *phase;
} Single;

static void run_single(void *arg, int t, int threads) {
  const Single *s = arg;
  s->phase(s->p, t, threads);
}

static void run_phase(const Pass *p, Phase *phase) { pool_run(p->e->pool, run_single, &(Single){p, phase}); }

enum { STOPS = 4 }; /* in a layer: phases that make an input */

/* From behind phase `from` of the layer (-1: from the tokens) to the next phase that makes an input, which is behind the last
 * layer the final norm.  Returns that phase. */
static int run_to_stop(Pass *p, int from) {
  run_phase(p, from < 0 ? phase_embed : phase_flip);
  do {
    if (++from == PHASES) from = 0, p->layer++;
    run_phase(p, layer_phase[from]);
  } while (!makes_input(layer_phase[from]));
  return from;
}

static bool walk_piece(Walk *w, int first, int windows, int *phase, Err *err) {
  Pass p;
  int n = windows * w->length;
  for (int i = 0; i < n; i++)
    w->row[i] = (Row){w->session[i / w->length], w->token[first * w->length + i], i % w->length, false};
  if (!prepare(&p, w->e, w->row, n, err)) return false;
  size_t at = (size_t)first * (size_t)w->length;
  Batch view = *w->e->batch;
  view.h = w->h + at * (size_t)p.s->dim;
  view.a = w->a + at * (size_t)w->e->widest;
  view.x = w->x + at;
  p.b = &view;
  p.shared = true;
  p.flip = false;
  p.layer = w->stop < 0 ? 0 : w->stop / STOPS;
  *phase = run_to_stop(&p, w->phase);
  mem_free(p.head_row);
  return true;
}

bool walk_next(Walk *w, EngineStop *at, Err *err) {
  static const MatKind first[STOPS] = {MAT_Q, MAT_O, MAT_GATE, MAT_DOWN};
  const ChipShape *s = &w->e->chip->shape;
  assert(w->stop < s->layers * STOPS);
  int phase = w->phase;
  for (int i = 0; i < w->windows; i += w->piece)
    if (!walk_piece(w, i, w->windows - i < w->piece ? w->windows - i : w->piece, &phase, err)) return false;
  w->phase = phase;
  w->stop++;
  MatKind kind = w->stop == s->layers * STOPS ? MAT_HEAD : first[w->stop % STOPS];
  int rows, cols;
  chip_extent(s, kind, &rows, &cols);
  *at = (EngineStop){w->stop / STOPS, kind, w->windows * w->length, cols, (size_t)w->e->widest, w->a, w->h, w->x};
  return true;
}
