/* engine/rows_avx512: attention of up to 16 queries at a time: one head at successive positions, or, from scores on, query heads of one
 * position that share a key-value head.  What AVX-512 and AMX share; the integers are those of attention_head in chip/arith.c.
 *
 * Who includes it brings the products: begin_scores, dot_page, begin_values, add_dims, and FENCE() where the compiler does not see them.
 */
#include "engine/softmax_avx512.h"

#include <string.h>

enum { QUERIES = ATTEND_ROWS, CHUNK = 16 /* pages whose weights stand in L1 */, STREAMED = 4 /* where values come from memory */, DIMS = 16 /* of values, in a vector */, FETCH_AHEAD = 4 /* pages */ };

typedef struct {
  const KvCells *kv;
  int n;         /* queries */
  const int8_t *q;
  size_t apart;  /* of two queries */
  const Step *step;
  size_t step_apart;
  int to, later; /* query i sees the positions before to + i * later */
  int lines;     /* of a page's keys or values, to be fetched a query */
  bool streams;  /* values come from memory: those of the next chunk are asked for meanwhile */
  size_t z_query, z_page; /* from a query's scores to the next one's, from a page's to the next one's */
  int32_t part[QUERIES]; /* what begin_scores tells dot_page */
} Queries;

static int pages_of(const Queries *q) { return (q->to + (q->n - 1) * q->later + KV_PAGE - 1) / KV_PAGE; }

/* Pages whose weights are made before their values are added. */
static int chunk_of(const Queries *q) { return q->streams ? STREAMED : CHUNK; }

/* Positions of a page that query i sees: 0 to KV_PAGE. */
static int seen_of(const Queries *q, int i, int page) {
  int n = q->to + i * q->later - page * KV_PAGE;
  return n < 0 ? 0 : n > KV_PAGE ? KV_PAGE : n;
}

/* Where the scores of query i with a page stand. */
static inline size_t scores_at(const Queries *q, int page, int i) { return (size_t)page * q->z_page + (size_t)i * q->z_query; }

static int lines_of(const KvCells *kv, int queries) { return (4 * (int)kv_quads(kv->head_dim) + queries - 1) / queries; }

/* Query i's share of a page's keys or values: many lines at once wait for each other. */
static inline void fetch_part(const Queries *q, const int8_t *p, int i) {
  int dims = 4 * (int)kv_quads(q->kv->head_dim), from = i * q->lines, to = from + q->lines < dims ? from + q->lines : dims;
  for (int k = from; k < to; k++) __builtin_prefetch(p + k * KV_PAGE, 0, 2);
}

typedef struct {
  _Alignas(64) uint8_t byte[CHUNK][2][QUERIES][KV_PAGE]; /* low, high */
} Weights;

static void begin_scores(Queries *q);
/* dot [4 blocks][queries][16 positions] <- q . k of a page. */
static void dot_page(const Queries *q, const int8_t *k, int32_t dot[4][QUERIES][KV_BLOCK]);
static void begin_values(const Queries *q);
/* sum [2][low, high][queries][DIMS] <- weights of n pages times 16 or 32 dimensions of their values from d on.
 * A sum of 16 pages stays below 16 * 64 * 255 * 127 = 2^25. */
static void add_dims(const Queries *q, const Weights *w, int page, int n, int d, int32_t sum[4][QUERIES][DIMS]);

/* ---- scores ---- */

/* Scores of one query with a page; returns the largest 16 of `most` and those that are seen. */
static inline __attribute__((always_inline)) __m512i score_row(const int32_t *dot, __m512d key[4][2], __m512d unit, int seen, const bool bounded, __m512i most, int32_t *z) {
#pragma GCC unroll 4
  for (int b = 0; b < 4; b++, dot += QUERIES * KV_BLOCK) {
    __m512i s = sixteen_scores(_mm512_load_si512(dot), _mm512_mul_pd(key[b][0], unit), _mm512_mul_pd(key[b][1], unit), bounded);
    most = _mm512_mask_max_epi32(most, (__mmask16)_bzhi_u32(0xFFFF, seen > b * KV_BLOCK ? (unsigned)(seen - b * KV_BLOCK) : 0), most, s);
    _mm512_storeu_si512(z + b * KV_BLOCK, s);
  }
  return most;
}

/* The largest of the first `seen` packed steps and of `most`. */
static inline __m512i largest_steps(const uint16_t *step, int seen, __m512i most) {
  uint64_t used = _bzhi_u64(~UINT64_C(0), (unsigned)seen);
  __m512i low = _mm512_maskz_loadu_epi16((__mmask32)used, step), high = _mm512_maskz_loadu_epi16((__mmask32)(used >> 32), step + 32);
  return _mm512_max_epu16(most, _mm512_max_epu16(low, high));
}

static int largest_word(__m512i v) {
  __m256i a = _mm256_max_epu16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i b = _mm_max_epu16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  return 65535 - (_mm_extract_epi16(_mm_minpos_epu16(_mm_xor_si128(b, _mm_set1_epi16(-1))), 0) & 65535);
}

/* What scores of a query are made with, and what comes of them. */
typedef struct {
  __m512d unit;
  double bound; /* of a score, for a key's step of 1 * 2^-16 */
  __m512i top;
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

static void finish_page(const Queries *q, int page, int32_t dot[4][QUERIES][KV_BLOCK], ScoreRow *row, int32_t *z) {
  KvCell c = kv_page_cell(q->kv, page), next = kv_page_cell(q->kv, page + FETCH_AHEAD < pages_of(q) ? page + FETCH_AHEAD : page);
  __m512d key[4][2], largest = _mm512_setzero_pd();
  for (int b = 0; b < 8; b++) {
    key[b / 2][b % 2] = key_steps(c.k_step + 8 * b);
    largest = _mm512_max_pd(largest, key[b / 2][b % 2]);
  }
  double most = _mm512_reduce_max_pd(largest);
  for (int i = 0; i < q->n; i++) {
    int seen = seen_of(q, i, page);
    int32_t *at = z + scores_at(q, page, i);
    fetch_part(q, next.k, i);
    if (row[i].bound * most < INT32_MAX - 1) row[i].top = score_row(dot[0][i], key, row[i].unit, seen, true, row[i].top, at);
    else row[i].top = score_row(dot[0][i], key, row[i].unit, seen, false, row[i].top, at);
  }
}

/* top[n], most[n]: as in Kernels.scores, a query each. */
static void score_pages(Queries *q, int32_t *z, int32_t *top, int *most) {
  _Alignas(64) int32_t dot[2][4][QUERIES][KV_BLOCK]; /* in turn: a page is multiplied, the one before finished */
  ScoreRow row[QUERIES];
  const int pages = pages_of(q);
  __m512i steps = _mm512_setzero_si512();
  int whole = 0; /* pages that all queries see whole */
  score_setup(q, row);
  begin_scores(q);
  for (int p = 0; p <= pages; p++) {
    if (p < pages) {
      KvCell c = kv_page_cell(q->kv, p);
      dot_page(q, c.k, dot[p % 2]);
      if (seen_of(q, 0, p) == KV_PAGE) steps = largest_steps(c.v_step, KV_PAGE, steps), whole = p + 1;
    }
    FENCE();
    if (p > 0) finish_page(q, p - 1, dot[(p - 1) % 2], row, z);
    FENCE();
  }
  for (int i = 0; i < q->n; i++) {
    __m512i all = steps;
    for (int p = whole; p < pages; p++) all = largest_steps(kv_page_cell(q->kv, p).v_step, seen_of(q, i, p), all);
    most[i] = largest_word(all) >> 9;
    top[i] = _mm512_reduce_max_epi32(row[i].top);
  }
}

/* ---- values ---- */

static void put_dims(const Queries *q, int d, int32_t sum[4][QUERIES][DIMS], int64_t *acc) {
  const int dims = 4 * (int)kv_quads(q->kv->head_dim);
  for (int i = 0; i < q->n; i++)
    for (int e = 0; e < 2 * DIMS && d + e < dims; e += 8) {
      int64_t *at = acc + i * dims + d + e;
      __mmask8 used = (__mmask8)(dims - d - e < 8 ? (1u << (dims - d - e)) - 1 : 0xFF);
      const int32_t *low = &sum[e / DIMS * 2][i][e % DIMS], *high = &sum[e / DIMS * 2 + 1][i][e % DIMS];
      __m512i x = _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm256_load_si256((const __m256i *)low)), _mm512_slli_epi64(_mm512_cvtepi32_epi64(_mm256_load_si256((const __m256i *)high)), 8));
      _mm512_mask_storeu_epi64(at, used, _mm512_add_epi64(_mm512_maskz_loadu_epi64(used, at), x));
    }
}

/* den[n], acc (n, 4 quads): as in Kernels.values. */
static void value_pages(const Queries *q, int from, const int32_t *z, const int32_t *top, const int *most, uint64_t *den, int64_t *acc) {
  Weights w;
  const WeightTable table = weight_table();
  const int pages = pages_of(q), chunk = chunk_of(q), dims = 4 * (int)kv_quads(q->kv->head_dim);
  _Alignas(64) int32_t add[4][QUERIES][DIMS];
  begin_values(q);
  memset(den, 0, (size_t)q->n * sizeof *den);
  memset(acc, 0, (size_t)(q->n * dims) * sizeof *acc);
  for (int page = from / KV_PAGE; page < pages; page += chunk) {
    int n = pages - page < chunk ? pages - page : chunk;
    __m512i sum[QUERIES];
    for (int i = 0; i < q->n; i++) sum[i] = _mm512_setzero_si512();
    for (int p = 0; p < n; p++) {
      KvCell c = kv_page_cell(q->kv, page + p);
      const ValueSteps steps = value_steps(c.v_step);
      for (int i = 0; i < q->n; i++) {
        if (!q->streams || page == from / KV_PAGE) fetch_part(q, c.v, i);
        PageWeights x = page_weights(&table, &steps, z + scores_at(q, page + p, i), seen_of(q, i, page + p), top[i], most[i]);
        sum[i] = _mm512_add_epi32(sum[i], x.sum);
        _mm512_store_si512(w.byte[p][0][i], x.low);
        _mm512_store_si512(w.byte[p][1][i], x.high);
      }
    }
    for (int i = 0; i < q->n; i++) den[i] += (uint64_t)_mm512_reduce_add_epi32(sum[i]);
    FENCE();
    for (int d = 0; d < dims; d += 2 * DIMS) {
      add_dims(q, &w, page, n, d, add);
      FENCE();
      put_dims(q, d, add, acc);
    }
  }
}

/* As Kernels.attend. */
static void attend_rows(const KvCells *kv, const int8_t *q, size_t q_apart, const Step *q_step, size_t step_apart, int rows, int n, int32_t *z, int64_t *acc, int32_t *out, size_t out_apart) {
  Queries all = {.kv = kv, .n = rows, .q = q, .apart = q_apart, .step = q_step, .step_apart = step_apart, .to = n, .later = 1, .lines = lines_of(kv, rows),
                 .z_query = KV_PAGE, .z_page = (size_t)rows * KV_PAGE};
  int32_t top[QUERIES];
  int most[QUERIES];
  uint64_t den[QUERIES];
  score_pages(&all, z, top, most);
  value_pages(&all, 0, z, top, most, den, acc);
  for (int i = 0; i < rows; i++) attention_finish(acc + i * kv->head_dim, den[i], most[i], kv->head_dim, out + (size_t)i * out_apart);
}
