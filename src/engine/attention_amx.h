/* engine/attention_amx: attention of up to 16 queries at a time in tile registers: one head at successive positions, or, from scores on, query
 * heads of one position that share a key-value head.  Included by kernel_amx.c; the integers are those of attention_head in chip/arith.c.
 *
 * Pages lie as tiles are loaded: 16 keys are quads of dimensions by 16 positions, 16 dimensions of values quads of positions by 16
 * dimensions.  Registers 0 to 3 hold sums; then 4 holds queries (their quads in equal parts of at most 16) and 5 keys, or 5 and 6 weights
 * and 7 values.
 */
#include "engine/softmax_avx512.h"

enum { CHUNK = 16 /* pages whose weights stand in L1 */, DIMS = 16 /* of values, in a register */, AHEAD = 4 /* pages to fetch */ };

typedef struct {
  const KvCells *kv;
  int n;         /* queries */
  const int8_t *q;
  size_t apart;  /* of two queries */
  const Step *step;
  size_t step_apart;
  int to, later; /* query i sees the positions before to + i * later */
  int quads;     /* of a register */
  int lines;     /* of a page's keys or values, to be fetched a query */
  size_t z_query, z_page; /* from a query's scores to the next one's, from a page's to the next one's */
} Queries;

static int quads_of(int head_dim) {
  int all = head_dim / 4, quads = all < QUADS ? all : QUADS;
  while (all % quads) quads--;
  return quads;
}

static int lines_of(const KvCells *kv, int queries) { return (kv->head_dim + queries - 1) / queries; }

static void configure_scores(const Queries *q) {
  TileConfig c = {.palette = 1};
  for (int i = 0; i < 6; i++) c.bytes[i] = 64, c.rows[i] = (uint8_t)q->n;
  c.bytes[4] = (uint16_t)(4 * q->quads);
  c.rows[5] = (uint8_t)q->quads;
  __asm__ volatile("ldtilecfg %0" ::"m"(c));
}

static void configure_values(const Queries *q) {
  TileConfig c = {.palette = 1};
  for (int i = 0; i < 8; i++) c.bytes[i] = 64, c.rows[i] = (uint8_t)q->n;
  c.rows[7] = QUADS;
  __asm__ volatile("ldtilecfg %0" ::"m"(c));
}

static KvCell page_of(const Queries *q, int page) { return kv_cell(q->kv->page[page] + q->kv->offset, q->kv->head_dim); }

static int pages_of(const Queries *q) { return (q->to + (q->n - 1) * q->later + KV_PAGE - 1) / KV_PAGE; }

/* Positions of a page that query i sees: 0 to KV_PAGE. */
static int seen_of(const Queries *q, int i, int page) {
  int n = q->to + i * q->later - page * KV_PAGE;
  return n < 0 ? 0 : n > KV_PAGE ? KV_PAGE : n;
}

static inline int32_t *scores_at(const Queries *q, int32_t *z, int page, int i) { return z + (size_t)page * q->z_page + (size_t)i * q->z_query; }

/* Query i's share of a page's keys or values: many lines at once wait for each other. */
static inline void fetch_part(const Queries *q, const int8_t *p, int i) {
  int from = i * q->lines, to = from + q->lines < q->kv->head_dim ? from + q->lines : q->kv->head_dim;
  for (int k = from; k < to; k++) __builtin_prefetch(p + k * KV_PAGE, 0, 2);
}

/* ---- scores ---- */

/* dot [4 blocks][queries][16 positions] <- q . k of a page. */
static void dot_page(const Queries *q, const int8_t *k, int32_t dot[4][TOKENS][KV_BLOCK]) {
  const int parts = q->kv->head_dim / 4 / q->quads;
  const size_t block = (size_t)q->kv->head_dim * KV_BLOCK;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int i = 0; i < parts; i++, k += q->quads * 64) {
    if (parts > 1) _tile_loadd(4, q->q + i * q->quads * 4, q->apart);
    _tile_loadd(5, k, 64);
    _tile_dpbssd(0, 4, 5);
    _tile_loadd(5, k + block, 64);
    _tile_dpbssd(1, 4, 5);
    _tile_loadd(5, k + 2 * block, 64);
    _tile_dpbssd(2, 4, 5);
    _tile_loadd(5, k + 3 * block, 64);
    _tile_dpbssd(3, 4, 5);
  }
  _tile_stored(0, dot[0], 64);
  _tile_stored(1, dot[1], 64);
  _tile_stored(2, dot[2], 64);
  _tile_stored(3, dot[3], 64);
}

/* score_of 8 dot products: exact in doubles, which hold 24 + 18 bits.  bounded: none reaches the clamps. */
static inline __attribute__((always_inline)) __m256i eight_scores(const int32_t *dot, __m512d factor, const bool bounded) {
  __m512d v = _mm512_fmadd_pd(_mm512_cvtepi32_pd(_mm256_loadu_si256((const __m256i *)dot)), factor, _mm512_set1_pd(0.5));
  if (!bounded) v = _mm512_max_pd(_mm512_min_pd(v, _mm512_set1_pd(INT32_MAX)), _mm512_set1_pd(-INT32_MAX));
  return _mm512_cvt_roundpd_epi32(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

/* Scores of one query with a page; returns the largest 16 of `most` and those that are seen. */
static inline __attribute__((always_inline)) V score_row(const int32_t *dot, __m512d key[4][2], __m512d unit, int seen, const bool bounded, V most, int32_t *z) {
#pragma GCC unroll 4
  for (int b = 0; b < 4; b++, dot += TOKENS * KV_BLOCK) {
    __m256i low = eight_scores(dot, _mm512_mul_pd(key[b][0], unit), bounded), high = eight_scores(dot + 8, _mm512_mul_pd(key[b][1], unit), bounded);
    V s = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    most = _mm512_mask_max_epi32(most, (__mmask16)_bzhi_u32(0xFFFF, seen > b * KV_BLOCK ? (unsigned)(seen - b * KV_BLOCK) : 0), most, s);
    _mm512_storeu_si512(z + b * KV_BLOCK, s);
  }
  return most;
}

/* The largest of the first `seen` packed steps and of `most`. */
static inline V largest_steps(const uint16_t *step, int seen, V most) {
  uint64_t used = _bzhi_u64(~UINT64_C(0), (unsigned)seen);
  V low = _mm512_maskz_loadu_epi16((__mmask32)used, step), high = _mm512_maskz_loadu_epi16((__mmask32)(used >> 32), step + 32);
  return _mm512_max_epu16(most, _mm512_max_epu16(low, high));
}

static int largest_word(V v) {
  __m256i a = _mm256_max_epu16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i b = _mm_max_epu16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  return 65535 - (_mm_extract_epi16(_mm_minpos_epu16(_mm_xor_si128(b, _mm_set1_epi16(-1))), 0) & 65535);
}

/* What scores of a query are made with, and what comes of them. */
typedef struct {
  __m512d unit;
  double bound; /* of a score, for a key's step of 1 * 2^-16 */
  V top;
} ScoreRow;

static void score_setup(const Queries *q, ScoreRow *row) {
  for (int i = 0; i < q->n; i++) {
    const int8_t *v = q->q + (size_t)i * q->apart;
    __m128i sum = _mm_setzero_si128();
    for (int d = 0; d < q->kv->head_dim; d += 16) sum = _mm_add_epi64(sum, _mm_sad_epu8(_mm_abs_epi8(_mm_loadu_si128((const __m128i *)(v + d))), _mm_setzero_si128()));
    Step step = q->step[(size_t)i * q->step_apart];
    row[i].unit = score_unit(step);
    row[i].bound = 127.0 * (double)(_mm_extract_epi64(sum, 0) + _mm_extract_epi64(sum, 1)) * _mm512_cvtsd_f64(row[i].unit);
    row[i].top = _mm512_set1_epi32(-INT32_MAX);
  }
}

static void finish_scores(const Queries *q, int page, int32_t dot[4][TOKENS][KV_BLOCK], ScoreRow *row, int32_t *z) {
  KvCell c = page_of(q, page), next = page_of(q, page + AHEAD < pages_of(q) ? page + AHEAD : page);
  __m512d key[4][2], largest = _mm512_setzero_pd();
  for (int b = 0; b < 8; b++) {
    key[b / 2][b % 2] = key_steps(c.k_step + 8 * b);
    largest = _mm512_max_pd(largest, key[b / 2][b % 2]);
  }
  double most = _mm512_reduce_max_pd(largest);
  for (int i = 0; i < q->n; i++) {
    int seen = seen_of(q, i, page);
    int32_t *at = scores_at(q, z, page, i);
    fetch_part(q, next.k, i);
    if (row[i].bound * most < INT32_MAX - 1) row[i].top = score_row(dot[0][i], key, row[i].unit, seen, true, row[i].top, at);
    else row[i].top = score_row(dot[0][i], key, row[i].unit, seen, false, row[i].top, at);
  }
}

/* top[n], most[n]: as in Kernels.scores, a query each. */
static void score_pages(const Queries *q, int32_t *z, int32_t *top, int *most) {
  _Alignas(64) int32_t dot[2][4][TOKENS][KV_BLOCK]; /* in turn: a page is multiplied, the one before finished */
  ScoreRow row[TOKENS];
  const int pages = pages_of(q);
  V steps = _mm512_setzero_si512();
  int whole = 0; /* pages that all queries see whole */
  score_setup(q, row);
  configure_scores(q);
  FENCE();
  _tile_loadd(4, q->q, q->apart);
  for (int p = 0; p <= pages; p++) {
    if (p < pages) {
      KvCell c = page_of(q, p);
      dot_page(q, c.k, dot[p % 2]);
      if (seen_of(q, 0, p) == KV_PAGE) steps = largest_steps(c.v_step, KV_PAGE, steps), whole = p + 1;
    }
    FENCE();
    if (p > 0) finish_scores(q, p - 1, dot[(p - 1) % 2], row, z);
    FENCE();
  }
  for (int i = 0; i < q->n; i++) {
    V all = steps;
    for (int p = whole; p < pages; p++) all = largest_steps(page_of(q, p).v_step, seen_of(q, i, p), all);
    most[i] = largest_word(all) >> 9;
    top[i] = _mm512_reduce_max_epi32(row[i].top);
  }
}

/* ---- values ---- */

typedef struct {
  _Alignas(64) uint8_t byte[CHUNK][2][TOKENS][KV_PAGE]; /* low, high */
} Weights;

/* acc (queries, head_dim) += weights of some pages times 16 or 32 (second: a constant) dimensions of their values.
 * A sum of 16 pages stays below 16 * 64 * 255 * 127 = 2^25. */
static inline __attribute__((always_inline)) void add_dims(const Queries *q, const Weights *w, int page, int n, int d, const bool second, int64_t *acc) {
  _Alignas(64) int32_t sum[4][TOKENS][DIMS];
  const size_t apart = (size_t)q->kv->head_dim * 4;
  _tile_zero(0);
  _tile_zero(1);
  if (second) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int p = 0; p < n; p++) {
    const int8_t *v = page_of(q, page + p).v + 4 * d;
    _tile_loadd(6, w->byte[p][0], KV_PAGE);
    _tile_loadd(7, v, apart);
    _tile_dpbusd(0, 6, 7);
    if (second) {
      _tile_loadd(5, w->byte[p][1], KV_PAGE);
      _tile_dpbusd(1, 5, 7);
      _tile_loadd(7, v + 4 * DIMS, apart);
      _tile_dpbusd(2, 6, 7);
      _tile_dpbusd(3, 5, 7);
    } else {
      _tile_loadd(6, w->byte[p][1], KV_PAGE);
      _tile_dpbusd(1, 6, 7);
    }
  }
  _tile_stored(0, sum[0], 64);
  _tile_stored(1, sum[1], 64);
  if (second) {
    _tile_stored(2, sum[2], 64);
    _tile_stored(3, sum[3], 64);
  }
  FENCE();
  for (int i = 0; i < q->n; i++)
    for (int k = 0; k < (second ? 2 : 1); k++)
      for (int e = 0; e < DIMS; e += 8) {
        int64_t *at = acc + i * q->kv->head_dim + d + k * DIMS + e;
        V low = _mm512_cvtepi32_epi64(_mm256_load_si256((const __m256i *)&sum[2 * k][i][e])), high = _mm512_cvtepi32_epi64(_mm256_load_si256((const __m256i *)&sum[2 * k + 1][i][e]));
        _mm512_storeu_si512(at, _mm512_add_epi64(load(at), _mm512_add_epi64(low, _mm512_slli_epi64(high, 8))));
      }
}

/* den[n], acc (n, head_dim): as in Kernels.values. */
static void value_pages(const Queries *q, int from, int32_t *z, const int32_t *top, const int *most, uint64_t *den, int64_t *acc) {
  Weights w;
  const WeightTable table = weight_table();
  const int pages = pages_of(q), hd = q->kv->head_dim;
  configure_values(q);
  memset(den, 0, (size_t)q->n * sizeof *den);
  memset(acc, 0, (size_t)(q->n * hd) * sizeof *acc);
  for (int page = from / KV_PAGE; page < pages; page += CHUNK) {
    int n = pages - page < CHUNK ? pages - page : CHUNK;
    V sum[TOKENS];
    for (int i = 0; i < q->n; i++) sum[i] = _mm512_setzero_si512();
    for (int p = 0; p < n; p++) {
      KvCell c = page_of(q, page + p);
      const ValueSteps steps = value_steps(c.v_step);
      for (int i = 0; i < q->n; i++) {
        fetch_part(q, c.v, i);
        sum[i] = _mm512_add_epi32(sum[i], weigh_page(&table, &steps, scores_at(q, z, page + p, i), seen_of(q, i, page + p), top[i], most[i], w.byte[p][0][i], w.byte[p][1][i]));
      }
    }
    for (int i = 0; i < q->n; i++) den[i] += (uint64_t)_mm512_reduce_add_epi32(sum[i]);
    FENCE();
    int d = 0;
    for (; d + 2 * DIMS <= hd; d += 2 * DIMS) add_dims(q, &w, page, n, d, true, acc);
    if (d < hd) add_dims(q, &w, page, n, d, false, acc);
    FENCE();
  }
}

/* ---- what Kernels has ---- */

enum { ATTEND_UNIT = 16 /* dimensions */, ATTEND_HEADS = 2 /* that tile registers are worth */ };

static void values(const KvCells *kv, int heads, int from, int to, int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  if (kv->head_dim % ATTEND_UNIT || heads < ATTEND_HEADS) {
    values_avx512(kv, heads, from, to, z, stride, top, most, den, acc);
    return;
  }
  int each[TOKENS];
  for (int i = 0; i < TOKENS; i++) each[i] = most;
  for (int h = 0; h < heads; h += TOKENS) {
    int some = heads - h < TOKENS ? heads - h : TOKENS;
    Queries q = {.kv = kv, .n = some, .to = to, .lines = lines_of(kv, some), .z_query = stride, .z_page = KV_PAGE};
    value_pages(&q, from, z + (size_t)h * stride, top + h, each, den + h, acc + h * kv->head_dim);
  }
  _tile_release();
}

static void attend(const KvCells *kv, const int8_t *q, size_t q_apart, const Step *q_step, size_t step_apart, int rows, int n, int32_t *z, int64_t *acc, int32_t *out, size_t out_apart) {
  Queries all = {kv, rows, q, q_apart, q_step, step_apart, n, 1, quads_of(kv->head_dim), lines_of(kv, rows), KV_PAGE, (size_t)rows * KV_PAGE};
  int32_t top[TOKENS];
  int most[TOKENS];
  uint64_t den[TOKENS];
  score_pages(&all, z, top, most);
  value_pages(&all, 0, z, top, most, den, acc);
  _tile_release();
  for (int i = 0; i < rows; i++) attention_finish(acc + i * kv->head_dim, den[i], most[i], kv->head_dim, out + (size_t)i * out_apart);
}
