/* engine/forward: the one forward pass.  Decode, prefill, batches and the cast's walk are all rows through it.
 *
 * A pass is a list of phases, one job of the thread pool.  Phases cut their work by rows of a matrix, by tokens or by heads.
 * With a single token there is nothing to cut in the quantising phases: each thread then makes the vector for itself inside
 * the next phase, which saves a phase.
 */
#include "engine/state.h"

#include <assert.h>
#include <string.h>

/* What attention in ranges of positions keeps between its phases.  Unit: row, key-value head, range. */
typedef struct {
  int32_t *z;          /* (rows, heads, stride) scores */
  size_t stride;
  int32_t *top;        /* (units, heads that share) */
  int *most;           /* (units) */
  uint64_t *den;       /* (units, heads that share) */
  int64_t *acc;        /* (units, heads that share, 4 quads) */
  size_t z_cap, units; /* room */
} Ranges;

/* What is attended to in one call: query heads of one row that share a key-value head, or one head of successive rows of a session. */
typedef struct {
  int row, rows, head, heads;
} Attended;

typedef struct Batch {
  int cap;           /* rows that the buffers hold */
  int32_t *h;        /* (n, dim) residual */
  int32_t *qkv;      /* (n, heads + 2 kv_heads, head_dim) */
  int8_t *q8;        /* (n, heads, head_dim) */
  Step *q_step;      /* (n, heads) */
  int32_t *att;      /* (n, heads, head_dim) */
  Attended *attended; /* (n heads), or fewer */
  int32_t *gate, *up;       /* (n, apart(ffn)) */
  int32_t *act;             /* (n, ffn) */
  int32_t *y;        /* (n, apart(dim)) output of o and down */
  int8_t *a;         /* (n, widest) quantised input of the next matrix */
  Scale *x;          /* (n) */
  int32_t *cos_sin;  /* (n, rotary_dims / 2, 2) */
  Ranges ranges;
} Batch;

typedef struct Phase Phase;

typedef struct {
  Engine *e;
  const ChipShape *s;
  const Kernels *k;
  Batch *b;
  const Row *row;
  int n;
  bool shared;       /* quantised vectors are made once for all threads */
  bool flip;         /* input phases also flip the bits for matmul */
  int from, to;      /* layers [from, to) run; before the first the rows are embedded, behind the last comes the head */
  const Phase *phase; /* that runs now */
  int layer;
  uint64_t number;   /* of the phase, ever: says which input a worker holds */
  double since;      /* the phase began, if profiled */
  int ranges;        /* of positions in attention; 1: done whole */
  int attended;      /* calls that it then takes */
  bool apart;        /* no two rows of a session: nothing but its own attention waits for a row's keys and values */
  int *head_row;     /* rows that want logits */
  int heads;         /* how many */
  int32_t *out;
} Pass;

/* ---- buffers ---- */

void forward_free(Batch *b) {
  if (!b) return;
  void *all[] = {b->h, b->qkv, b->q8, b->q_step, b->att, b->attended, b->gate, b->up, b->act, b->y, b->a, b->x, b->cos_sin,
                 b->ranges.z, b->ranges.top, b->ranges.most, b->ranges.den, b->ranges.acc};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  mem_free(b);
}

/* Vectors a power of two apart share few sets of a cache: an odd number of its lines. */
static size_t apart(size_t n) { return (n + 15) / 16 * 16 | 16; }

static bool batch_room(Engine *e, int n, Err *err) {
  if (e->batch && e->batch->cap >= n) return true;
  const ChipShape *s = &e->chip->shape;
  size_t rows = (size_t)n, q = (size_t)s->heads * (size_t)s->head_dim, kv = (size_t)s->kv_heads * (size_t)s->head_dim;
  Batch *b = mem_alloc(1, sizeof *b, err);
  if (!b) return false;
  b->cap = n;
  bool ok = (b->h = mem_alloc(rows * (size_t)s->dim, 4, err)) && (b->qkv = mem_alloc(rows * (q + 2 * kv), 4, err)) &&
            (b->q8 = mem_alloc(rows, q, err)) && (b->q_step = mem_alloc(rows * (size_t)s->heads, sizeof *b->q_step, err)) &&
            (b->att = mem_alloc(rows * q, 4, err)) && (b->attended = mem_alloc(rows * (size_t)s->heads, sizeof *b->attended, err)) &&
            (b->gate = mem_alloc(rows * apart((size_t)s->ffn), 4, err)) &&
            (b->up = mem_alloc(rows * apart((size_t)s->ffn), 4, err)) && (b->act = mem_alloc(rows * (size_t)s->ffn, 4, err)) &&
            (b->y = mem_alloc(rows * apart((size_t)s->dim), 4, err)) && (b->a = mem_alloc(rows, (size_t)e->widest, err)) &&
            (b->x = mem_alloc(rows, sizeof *b->x, err)) && (b->cos_sin = mem_alloc(rows, (size_t)s->rotary_dims * 4, err));
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

static void flip_bits(int8_t *a, size_t n, uint8_t flip) {
  for (size_t i = 0; i < n; i++) a[i] = (int8_t)(a[i] ^ flip);
}

static void make_one(const Pass *p, InputFn *fn, int row, int cols, int8_t *a, Scale *x, int32_t *scratch) {
  *x = fn(p, row, a, scratch);
  memset(a + cols, 0, (size_t)(padded(cols) - cols));
  if (p->flip && p->k->a_flip) flip_bits(a, (size_t)padded(cols), p->k->a_flip);
}

/* The share of a phase that one call does, and on which thread. */
typedef struct {
  int index, of, thread;
} Piece;

static Span span_in(int n, int unit, Piece c) { return c.of == 1 ? (Span){0, n} : span_of(n, unit, c.index, c.of); }

/* The phase that makes the inputs of all rows, where they are shared. */
static void make_shared(const Pass *p, InputFn *fn, int cols, Piece c) {
  Span r = span_in(p->n, 1, c);
  for (int i = r.from; i < r.to; i++)
    make_one(p, fn, i, cols, p->b->a + (size_t)i * (size_t)p->e->widest, &p->b->x[i], p->e->worker[c.thread].vector);
}

typedef struct {
  const int8_t *a;
  const Scale *x;
} Input;

static Input input_of(const Pass *p, InputFn *fn, int row, int cols, int t) {
  Worker *w = &p->e->worker[t];
  if (p->shared) return (Input){p->b->a, p->b->x};
  if (w->input != p->number) make_one(p, fn, row, cols, w->a, &w->x, w->vector);
  w->input = p->number;
  return (Input){w->a, &w->x};
}

static void matmul(const Pass *p, const Packed *m, Span rows, Input in, int n, int frac, int32_t *y, size_t y_stride, int t) {
  if (rows.from < rows.to)
    p->k->matmul(m, rows.from, rows.to, in.a, (size_t)p->e->widest, n, in.x, frac, y, y_stride, p->e->worker[t].unpacked);
}

/* ---- phases ---- */

/* What a row needs before its first layer: its angles. */
static void begin_row(const Pass *p, int row) {
  int dims = p->s->rotary_dims;
  int32_t *cos_sin = p->b->cos_sin + (size_t)row * (size_t)dims;
  for (int j = 0; j < dims / 2; j++) rotary_pair(p->e->chip, p->row[row].position, j, &cos_sin[2 * j], &cos_sin[2 * j + 1]);
}

static void phase_resume(const Pass *p, Piece c) {
  Span r = span_in(p->n, 1, c);
  for (int i = r.from; i < r.to; i++) begin_row(p, i);
}

static void phase_embed(const Pass *p, Piece c) {
  const Matrix *m = &p->e->chip->embed;
  int shift = -(m->exponent + FRAC);
  Span r = span_in(p->n, 1, c);
  for (int i = r.from; i < r.to; i++) {
    begin_row(p, i);
    int32_t *h = p->b->h + (size_t)i * (size_t)p->s->dim;
    int64_t scale = m->row_scale[p->row[i].token];
    for (int g = 0; g < m->groups; g++) {
      int8_t level[GROUP];
      matrix_group_levels(m, p->row[i].token, g, level);
      for (int k = g * GROUP; k < p->s->dim && k < (g + 1) * GROUP; k++) h[k] = rsr_sat(level[k - g * GROUP] * scale, shift);
    }
  }
}

static void phase_attn_norm(const Pass *p, Piece c) { make_shared(p, input_attn, p->s->dim, c); }

static int units_qkv(const Pass *p) {
  const Packed *m = p->e->layer[p->layer];
  return tiles_of(m[MAT_Q].rows) + tiles_of(m[MAT_K].rows) + tiles_of(m[MAT_V].rows);
}

/* The rows of three matrices as one range. */
static void phase_qkv(const Pass *p, Piece c) {
  const Packed *m = p->e->layer[p->layer];
  Input in = input_of(p, input_attn, 0, p->s->dim, c.thread);
  int tiles[3], before = 0;
  size_t stride = 0, at = 0;
  for (int i = 0; i < 3; i++) {
    tiles[i] = tiles_of(m[MAT_Q + i].rows);
    stride += (size_t)m[MAT_Q + i].rows;
  }
  Span mine = span_in(units_qkv(p), 1, c);
  for (int i = 0; i < 3; i++) {
    const Packed *w = &m[MAT_Q + i];
    int from = mine.from - before, to = mine.to - before;
    Span rows = {(from < 0 ? 0 : from > tiles[i] ? tiles[i] : from) * TILE, (to < 0 ? 0 : to > tiles[i] ? tiles[i] : to) * TILE};
    if (rows.to > w->rows) rows.to = w->rows;
    matmul(p, w, rows, in, p->n, FRAC, p->b->qkv + at, stride, c.thread);
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
  KvCells kv = session_cells(p->row[row].session, p->layer, u - s->heads);
  int position = p->row[row].position;
  int8_t k[1024], v[1024];
  Step k_step = p->k->quant8(head, s->head_dim, k), v_step = p->k->quant8(head + (size_t)s->kv_heads * hd, s->head_dim, v);
  kv_store(kv.page[position / KV_PAGE] + kv.offset, s->head_dim, position % KV_PAGE, k, k_step, v, v_step);
}

/* Heads that a row turns together: for each a call of its own would cost more than its work. */
static bool small_heads(const Pass *p) { return p->k->rotate_small && p->s->head_dim == SMALL_DIM && p->s->rotary_dims == SMALL_DIM; }

static void rotate_row(const Pass *p, int row) {
  enum { SOME = 16 };
  const ChipShape *s = p->s;
  const int32_t *cos_sin = p->b->cos_sin + (size_t)row * SMALL_DIM;
  int32_t *head = p->b->qkv + (size_t)row * (size_t)(s->heads + 2 * s->kv_heads) * SMALL_DIM;
  size_t at = (size_t)row * (size_t)s->heads;
  p->k->rotate_small(s, cos_sin, head, s->heads, p->b->q8 + at * SMALL_DIM, p->b->q_step + at);
  head += s->heads * SMALL_DIM;
  int position = p->row[row].position;
  for (int i = 0; i < s->kv_heads; i += SOME, head += SOME * SMALL_DIM) {
    int n = s->kv_heads - i < SOME ? s->kv_heads - i : SOME;
    int8_t k[SOME * SMALL_DIM], v[SOME * SMALL_DIM];
    Step k_step[SOME], v_step[SOME];
    p->k->rotate_small(s, cos_sin, head, n, k, k_step);
    p->k->rotate_small(s, NULL, head + s->kv_heads * SMALL_DIM, n, v, v_step);
    for (int u = 0; u < n; u++) {
      KvCells kv = session_cells(p->row[row].session, p->layer, i + u);
      kv_store(kv.page[position / KV_PAGE] + kv.offset, SMALL_DIM, position % KV_PAGE, k + u * SMALL_DIM, k_step[u], v + u * SMALL_DIM, v_step[u]);
    }
  }
}

static void rotate_here(const Pass *p, int row, int u) { rotate_unit(p, row, u, p->b->cos_sin + (size_t)row * (size_t)p->s->rotary_dims); }

static int group_of(const Pass *p) { return p->s->heads / p->s->kv_heads; }

static bool few_units(const Pass *p) { return p->n * p->s->kv_heads < 4 * pool_threads(p->e->pool); }

/* Query heads that meet their key-value head in one call: all that share it, unless that leaves threads without work. */
static int heads_together(const Pass *p) { return p->n * p->s->kv_heads < pool_threads(p->e->pool) && p->ranges == 1 ? 1 : group_of(p); }

/* Attention itself rotates what only it reads: a phase less. */
static bool rotates_inside(const Pass *p) { return p->apart && p->ranges == 1 && heads_together(p) == group_of(p) && !small_heads(p); }

static int units_rotate(const Pass *p) { return rotates_inside(p) ? 0 : small_heads(p) ? p->n : p->n * (p->s->heads + p->s->kv_heads); }

static void phase_rotate(const Pass *p, Piece c) {
  int units = small_heads(p) ? 1 : p->s->heads + p->s->kv_heads;
  Span r = span_in(p->n * units, 1, c);
  for (int i = r.from; i < r.to; i++)
    if (small_heads(p)) rotate_row(p, i);
    else rotate_here(p, i / units, i % units);
}

/* ---- attention: whole, or in ranges of positions where a few long timelines would leave threads without work ---- */

static KvCells cells_of(const Pass *p, int row, int head) { return session_cells(p->row[row].session, p->layer, head / group_of(p)); }

/* Rows from `row` on that are attended to in one call. */
static int rows_together(const Pass *p, int row) {
  int n = 1;
  if (!p->k->attend || p->s->head_dim % ATTEND_UNIT) return 1;
  while (n < ATTEND_ROWS && row + n < p->n && p->row[row + n].session == p->row[row].session) n++;
  return n > group_of(p) ? n : 1;
}

static void plan_attention(Pass *p) {
  int together = heads_together(p);
  p->attended = 0;
  for (int row = 0, rows; p->ranges == 1 && row < p->n; row += rows) {
    int heads = (rows = rows_together(p, row)) > 1 ? 1 : together;
    for (int h = 0; h < p->s->heads; h += heads) p->b->attended[p->attended++] = (Attended){row, rows, h, heads};
  }
}

static int units_attention(const Pass *p) { return p->attended; }

/* Asks for the first page of a timeline's head: of many sessions every one is cold. */
static void fetch_first(const Pass *p, Attended x) {
  KvCells kv = cells_of(p, x.row, x.head);
  KvCell c = kv_page_cell(&kv, 0);
  size_t n = (size_t)p->row[x.row].position + 1, bytes = (n < KV_PAGE ? n : KV_PAGE) * 4 * kv_quads(p->s->head_dim);
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(c.k + i, 0, 2);
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(c.v + i, 0, 2);
  __builtin_prefetch(c.k_step), __builtin_prefetch(c.v_step);
}

/* Later rows see more tokens: each piece takes some from everywhere. */
static void phase_attention(const Pass *p, Piece c) {
  Worker *w = &p->e->worker[c.thread];
  size_t heads = (size_t)p->s->heads, hd = (size_t)p->s->head_dim, stride = attention_stride(w->scores_cap);
  for (int u = c.index; u < p->attended; u += c.of) {
    Attended x = p->b->attended[u];
    size_t i = (size_t)x.row * heads + (size_t)x.head;
    int n = p->row[x.row].position + 1;
    if (p->apart && u + c.of < p->attended) fetch_first(p, p->b->attended[u + c.of]);
    if (rotates_inside(p)) {
      rotate_here(p, x.row, p->s->heads + x.head / x.heads);
      for (int h = 0; h < x.heads; h++) rotate_here(p, x.row, x.head + h);
    }
    KvCells kv = cells_of(p, x.row, x.head);
    if (x.rows > 1) {
      p->k->attend(&kv, p->b->q8 + i * hd, heads * hd, p->b->q_step + i, heads, x.rows, n, w->scores, w->sums, p->b->att + i * hd, heads * hd);
      continue;
    }
    if (p->k->attend_small && hd == SMALL_DIM) {
      p->k->attend_small(&kv, p->b->q8 + i * hd, p->b->q_step + i, x.heads, n, w->scores, stride, p->b->att + i * hd);
      continue;
    }
    int most = p->k->scores(&kv, p->b->q8 + i * hd, p->b->q_step + i, x.heads, 0, n, w->scores, stride, w->top);
    p->k->values(&kv, x.heads, 0, n, w->scores, stride, w->top, most, w->den, w->sums);
    p->k->finish(w->sums, w->den, most, x.heads, p->s->head_dim, p->b->att + i * hd);
  }
}

/* Unit u: a range of positions of a key-value head of a row. */
typedef struct {
  int row, first; /* query head */
  Span span;
  KvCells kv;
  int32_t *z;
} RangeUnit;

static RangeUnit range_unit(const Pass *p, int u) {
  int i = u / p->ranges * group_of(p), row = i / p->s->heads;
  return (RangeUnit){row, i, span_of(p->row[row].position + 1, KV_PAGE, u % p->ranges, p->ranges), cells_of(p, row, i % p->s->heads),
                     p->b->ranges.z + (size_t)i * p->b->ranges.stride};
}

static int units_ranges(const Pass *p) { return p->ranges > 1 ? p->n * p->s->kv_heads * p->ranges : 0; }

static void phase_scores(const Pass *p, Piece c) {
  const Ranges *b = &p->b->ranges;
  Span r = span_in(units_ranges(p), 1, c);
  for (int u = r.from; u < r.to; u++) {
    RangeUnit x = range_unit(p, u);
    b->most[u] = p->k->scores(&x.kv, p->b->q8 + (size_t)x.first * (size_t)p->s->head_dim, p->b->q_step + x.first, group_of(p), x.span.from,
                              x.span.to, x.z, b->stride, b->top + (size_t)(u * group_of(p)));
  }
}

/* The largest of all ranges of the head that range u belongs to. */
static int most_of_ranges(const Pass *p, int u, int32_t *top) {
  int first = u / p->ranges * p->ranges, group = group_of(p), most = 0;
  for (int h = 0; h < group; h++) top[h] = -INT32_MAX;
  for (int r = first; r < first + p->ranges; r++) {
    most = p->b->ranges.most[r] > most ? p->b->ranges.most[r] : most;
    for (int h = 0; h < group; h++) top[h] = p->b->ranges.top[r * group + h] > top[h] ? p->b->ranges.top[r * group + h] : top[h];
  }
  return most;
}

static void phase_values(const Pass *p, Piece c) {
  const Ranges *b = &p->b->ranges;
  Span r = span_in(units_ranges(p), 1, c);
  size_t group = (size_t)group_of(p), dims = 4 * kv_quads(p->s->head_dim);
  int32_t *top = p->e->worker[c.thread].top;
  for (int u = r.from; u < r.to; u++) {
    RangeUnit x = range_unit(p, u);
    int most = most_of_ranges(p, u, top);
    p->k->values(&x.kv, (int)group, x.span.from, x.span.to, x.z, b->stride, top, most, b->den + (size_t)u * group, b->acc + (size_t)u * group * dims);
  }
}

static int units_sums(const Pass *p) { return p->ranges > 1 ? p->n * p->s->kv_heads : 0; }

static void phase_sums(const Pass *p, Piece c) {
  const Ranges *b = &p->b->ranges;
  Span r = span_in(units_sums(p), 1, c);
  size_t group = (size_t)group_of(p), dims = 4 * kv_quads(p->s->head_dim);
  Worker *w = &p->e->worker[c.thread];
  for (int u = r.from; u < r.to; u++) {
    int most = most_of_ranges(p, u * p->ranges, w->top);
    memset(w->sums, 0, group * dims * sizeof *w->sums);
    memset(w->den, 0, group * sizeof *w->den);
    for (size_t k = (size_t)(u * p->ranges); k < (size_t)((u + 1) * p->ranges); k++) {
      for (size_t i = 0; i < group * dims; i++) w->sums[i] += b->acc[k * group * dims + i];
      for (size_t h = 0; h < group; h++) w->den[h] += b->den[k * group + h];
    }
    p->k->finish(w->sums, w->den, most, (int)group, p->s->head_dim, p->b->att + (size_t)u * group * (size_t)p->s->head_dim);
  }
}

static void phase_o_input(const Pass *p, Piece c) { make_shared(p, input_o, p->s->heads * p->s->head_dim, c); }

static int units_dim(const Pass *p) { return tiles_of(p->s->dim); }

/* h += W a for some rows. */
static void project_back(const Pass *p, const Packed *m, Input in, Piece c) {
  Span rows = span_in(m->rows, TILE, c);
  size_t dim = (size_t)p->s->dim, stride = apart(dim);
  matmul(p, m, rows, in, p->n, FRAC, p->b->y, stride, c.thread);
  for (int i = 0; i < p->n; i++)
    p->k->add(p->b->h + (size_t)i * dim + rows.from, p->b->y + (size_t)i * stride + rows.from, rows.to - rows.from);
}

static void phase_o(const Pass *p, Piece c) {
  Input in = input_of(p, input_o, 0, p->s->heads * p->s->head_dim, c.thread);
  project_back(p, &p->e->layer[p->layer][MAT_O], in, c);
}

static void phase_ffn_norm(const Pass *p, Piece c) { make_shared(p, input_ffn, p->s->dim, c); }

static int units_ffn(const Pass *p) { return p->s->ffn / BUTTERFLY; }

static void phase_gate_up(const Pass *p, Piece c) {
  const Packed *m = p->e->layer[p->layer];
  Input in = input_of(p, input_ffn, 0, p->s->dim, c.thread);
  Span rows = span_in(p->s->ffn, BUTTERFLY, c);
  size_t ffn = (size_t)p->s->ffn, stride = apart(ffn);
  matmul(p, &m[MAT_GATE], rows, in, p->n, FRAC, p->b->gate, stride, c.thread);
  matmul(p, &m[MAT_UP], rows, in, p->n, FRAC, p->b->up, stride, c.thread);
  for (int i = 0; i < p->n; i++) {
    size_t at = (size_t)i * stride + (size_t)rows.from;
    p->k->gate(p->b->gate + at, p->b->up + at, rows.to - rows.from, p->b->act + (size_t)i * ffn + (size_t)rows.from);
  }
}

static void phase_down_input(const Pass *p, Piece c) { make_shared(p, input_down, p->s->ffn, c); }

static void phase_down(const Pass *p, Piece c) {
  Input in = input_of(p, input_down, 0, p->s->ffn, c.thread);
  project_back(p, &p->e->layer[p->layer][MAT_DOWN], in, c);
}

static int units_heads(const Pass *p) { return p->heads; }

/* The rows that want logits move to the front of the shared input. */
static void phase_head_input(const Pass *p, Piece c) {
  Span r = span_in(p->heads, 1, c);
  for (int i = r.from; i < r.to; i++)
    make_one(p, input_attn, p->head_row[i], p->s->dim, p->b->a + (size_t)i * (size_t)p->e->widest, &p->b->x[i],
             p->e->worker[c.thread].vector);
}

static int units_head(const Pass *p) { return p->heads ? tiles_of(p->s->vocab) : 0; }

static void phase_head(const Pass *p, Piece c) {
  Input in = input_of(p, input_attn, 0, p->s->dim, c.thread);
  matmul(p, &p->e->head, span_in(p->e->head.rows, TILE, c), in, p->heads, FRAC_LOGIT, p->out, (size_t)p->s->vocab, c.thread);
}

static int units_rows(const Pass *p) { return p->n; }

struct Phase {
  const char *name;
  int (*units)(const Pass *p); /* that can be shared out */
  void (*run)(const Pass *p, Piece c);
  bool input;                  /* makes the input of a matrix: left out where every thread makes it for itself */
  int least;                   /* units that are worth a piece of their own */
};

static const Phase begin = {"embedding", units_rows, phase_embed, false, 1}, resume = {"angles", units_rows, phase_resume, false, 1};
/* In this order for every layer. */
static const Phase in_layer[] = {
    {"norm before q k v", units_rows, phase_attn_norm, true, 1},
    {"q k v", units_qkv, phase_qkv, false, 4},
    {"rotary", units_rotate, phase_rotate, false, 1},
    {"attention", units_attention, phase_attention, false, 1},
    {"scores", units_ranges, phase_scores, false, 1}, /* these three in place of attention, where it is done in ranges */
    {"values", units_ranges, phase_values, false, 1},
    {"sums of ranges", units_sums, phase_sums, false, 1},
    {"input of o", units_rows, phase_o_input, true, 1},
    {"o", units_dim, phase_o, false, 4},
    {"norm before gate up", units_rows, phase_ffn_norm, true, 1},
    {"gate up", units_ffn, phase_gate_up, false, 4},
    {"input of down", units_rows, phase_down_input, true, 1},
    {"down", units_dim, phase_down, false, 4},
};
enum { PHASES = sizeof in_layer / sizeof *in_layer, AFTER = 2 };
static const Phase after[AFTER] = {{"norm before head", units_heads, phase_head_input, true, 1}, {"head", units_head, phase_head, false, 4}};

_Static_assert(ENGINE_PHASES == 1 + PHASES + AFTER, "engine_phase_times names every phase");

/* ---- the pass as a job of the pool ---- */

/* Pieces of a thread: one that falls behind gives the rest of its own away.  Many small ones cost more than they save. */
enum { PIECES_MOST = 8, PIECES_LEAST = 2 };

static int cut(const Pass *p, const Phase *f) {
  int threads = pool_threads(p->e->pool), units = f->units(p), most = threads * PIECES_MOST, pieces = units / f->least;
  if (threads == 1) return units > 0;
  pieces -= pieces % threads; /* as many for each */
  if (pieces > most) pieces = most;
  if (pieces < threads * PIECES_LEAST) pieces = threads * PIECES_LEAST;
  if (pieces > POOL_PIECES) pieces = POOL_PIECES;
  return pieces < units ? pieces : units;
}

static int place_of(const Phase *f) {
  if (f == &begin || f == &resume) return 0;
  return (int)(f >= after && f < after + AFTER ? PHASES + 1 + (f - after) : 1 + (f - in_layer));
}

/* Wall time of the phase that has just ended. */
static void end_phase(Pass *p) {
  if (!p->e->profile) return;
  double now = now_seconds();
  if (p->phase) p->e->time[place_of(p->phase)].wait += now - p->since;
  p->since = now;
}

static int enter_phase(Pass *p, const Phase *f, int layer) {
  end_phase(p);
  p->phase = f;
  p->layer = layer;
  p->number = ++p->e->phases;
  return f->input && !p->shared ? 0 : cut(p, f);
}

/* Phases of the job: begin, those of the layers from..to-1, the two behind them. */
static int pass_pieces(void *arg, int i) {
  Pass *p = arg;
  int inside = (p->to - p->from) * PHASES;
  if (i == 0) return enter_phase(p, p->from == 0 ? &begin : &resume, p->from);
  if (i <= inside) return enter_phase(p, &in_layer[(i - 1) % PHASES], p->from + (i - 1) / PHASES);
  return enter_phase(p, &after[i - 1 - inside], p->to);
}

static void pass_run(void *arg, int i, int piece, int pieces, int thread) {
  const Pass *p = arg;
  (void)i;
  bool timed = p->e->profile && thread == 0;
  double start = timed ? now_seconds() : 0;
  p->phase->run(p, (Piece){piece, pieces, thread});
  if (timed) p->e->time[place_of(p->phase)].work += now_seconds() - start;
}

static void run_pass(Pass *p) {
  int after_layers = p->to < p->s->layers ? 0 : AFTER;
  PoolJob job = {1 + (p->to - p->from) * PHASES + after_layers, pass_pieces, pass_run};
  pool_job(p->e->pool, &job, p);
  end_phase(p);
}

void engine_profile(Engine *e, bool on) {
  e->profile = on;
  if (on) memset(e->time, 0, sizeof e->time);
}

void engine_phase_times(const Engine *e, PhaseTime out[ENGINE_PHASES]) {
  for (int i = 0; i < ENGINE_PHASES; i++) {
    out[i] = e->time[i];
    out[i].name = i == 0 ? begin.name : i <= PHASES ? in_layer[i - 1].name : after[i - 1 - PHASES].name;
    out[i].wait = out[i].wait > out[i].work ? out[i].wait - out[i].work : 0; /* it held wall time so far */
  }
}

static bool worker_room(Engine *e, int deepest, Err *err) {
  for (int t = 0; t < pool_threads(e->pool); t++) {
    Worker *w = &e->worker[t];
    if (w->scores_cap >= deepest) continue;
    int cap = deepest + deepest / 2 + 256;
    int group = e->chip->shape.heads / e->chip->shape.kv_heads, together = e->kernels->attend && group < ATTEND_ROWS ? ATTEND_ROWS : group;
    int32_t *z = mem_alloc((size_t)together * attention_stride(cap), 4, err);
    if (!z) return false;
    mem_free(w->scores);
    w->scores = z;
    w->scores_cap = cap;
  }
  return true;
}

enum { RANGE_LEAST = 256, RANGES_FROM = 1024 }; /* positions: of a range, and from which on there are any */

static int choose_ranges(const Pass *p, int deepest) {
  int threads = pool_threads(p->e->pool), units = p->n * p->s->kv_heads, most = deepest / RANGE_LEAST;
  if (threads == 1 || !few_units(p) || deepest < RANGES_FROM) return 1;
  int wanted = (8 * threads + units - 1) / units;
  return wanted < most ? wanted : most;
}

static bool ranges_room(Pass *p, int deepest, Err *err) {
  Ranges *b = &p->b->ranges;
  size_t rows = (size_t)(p->n * p->s->heads), group = (size_t)group_of(p), units = (size_t)units_ranges(p);
  if (p->ranges == 1) return true;
  if (rows * attention_stride(deepest) > b->z_cap) {
    size_t cap = rows * attention_stride(deepest + deepest / 2);
    mem_free(b->z);
    b->z_cap = 0;
    if (!(b->z = mem_alloc(cap, 4, err))) return false;
    b->z_cap = cap;
  }
  b->stride = attention_stride(deepest);
  if (units <= b->units) return true;
  void *old[] = {b->top, b->most, b->den, b->acc};
  for (size_t i = 0; i < sizeof old / sizeof *old; i++) mem_free(old[i]);
  b->units = 0;
  b->top = mem_alloc(units, group * sizeof *b->top, err);
  b->most = mem_alloc(units, sizeof *b->most, err);
  b->den = mem_alloc(units, group * sizeof *b->den, err);
  b->acc = mem_alloc(units, group * 4 * kv_quads(p->s->head_dim) * sizeof *b->acc, err);
  if (!b->top || !b->most || !b->den || !b->acc) return false;
  b->units = units;
  return true;
}

static bool prepare(Pass *p, Engine *e, const Row *row, int n, Err *err) {
  int deepest = 0;
  for (int i = 0; i < n; i++)
    if (row[i].position >= deepest) deepest = row[i].position + 1;
  *p = (Pass){.e = e, .s = &e->chip->shape, .k = e->kernels, .row = row, .n = n, .flip = true};
  if (!worker_room(e, deepest, err) || !batch_room(e, n, err)) return false;
  p->b = e->batch;
  p->ranges = choose_ranges(p, deepest);
  p->apart = true; /* rows of a session stand together */
  for (int i = 1; i < n; i++) p->apart = p->apart && row[i].session != row[i - 1].session;
  if (!ranges_room(p, deepest, err)) return false;
  plan_attention(p);
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
  run_pass(&p);
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
  for (int i = 0; ok && i < w->piece; i++) ok = (w->session[i] = session_new(e, length, err)) && session_room(w->session[i], length, err);
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

static void phase_flip(const Pass *p, Piece c) {
  size_t width = (size_t)p->e->widest;
  Span r = span_in(p->n, 1, c);
  phase_resume(p, c);
  if (p->k->a_flip && r.from < r.to) flip_bits(p->b->a + width * (size_t)r.from, width * (size_t)(r.to - r.from), p->k->a_flip);
}

static const Phase flip = {"flip", units_rows, phase_flip, false, 1};

static int alone_pieces(void *arg, int i) {
  Pass *p = arg;
  (void)i;
  return cut(p, p->phase);
}

static void run_alone(Pass *p, const Phase *phase) {
  static const PoolJob job = {1, alone_pieces, pass_run};
  p->phase = phase;
  pool_job(p->e->pool, &job, p);
}

enum { STOPS = 4 }; /* in a layer: phases that make an input */

/* From behind phase `from` of the layer (-1: from the tokens) to the next phase that makes an input, which is behind the last
 * layer the final norm.  Returns that phase. */
static int run_to_stop(Pass *p, int from) {
  run_alone(p, from < 0 ? &begin : &flip);
  do {
    if (++from == PHASES) from = 0, p->layer++;
    run_alone(p, &in_layer[from]);
  } while (!in_layer[from].input);
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
