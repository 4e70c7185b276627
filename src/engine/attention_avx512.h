/* engine/attention_avx512: attention over the pages of the KV cache.  Included by attention.h; the integers
 * are those of attention_head in chip/arith.c.
 */
#include "engine/dot_avx512.h"

#define FENCE() (void)0
#include "engine/rows_avx512.h"

/* Scores of `count` heads (a constant where it is called) against the keys of a page.  Keys as k + 128 (unsigned) against q (signed):
 * the surplus 128 * sum of q is the same for all keys. */
static inline __attribute__((always_inline)) void score_heads(const int count, KvCell c, const int8_t *q, size_t apart, const Step *q_step, size_t quads, int n, const int8_t *next, int32_t *z,
                                                              size_t stride, int32_t *top) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  __m512i most[HEADS], start[HEADS];
  __m512d unit[HEADS];
  for (int h = 0; h < count; h++) {
    int32_t surplus = 0;
    for (size_t i = 0; i < 4 * quads; i++) surplus += 128 * q[(size_t)h * apart + i];
    start[h] = _mm512_set1_epi32(-surplus);
    unit[h] = score_unit(q_step[h]);
    most[h] = _mm512_set1_epi32(-INT32_MAX);
  }
  for (int at = 0; at < n; at += KV_BLOCK) {
    const int8_t *k = c.k + (size_t)at * quads * 4;
    if (next) fetch(next + (size_t)at * quads * 4, KV_BLOCK * quads * 4);
    __mmask16 used = (__mmask16)(n - at < KV_BLOCK ? (1u << (n - at)) - 1 : 0xFFFF);
    __m512i even[HEADS], odd[HEADS]; /* sums that take turns, so that none waits for the last */
    for (int h = 0; h < count; h++) even[h] = start[h], odd[h] = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 2 <= quads; i += 2) {
      __m512i k0 = _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i), flip), k1 = _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i + 64), flip);
#pragma GCC unroll 4
      for (int h = 0; h < count; h++) {
        DOT_QUAD(even[h], k0, q + (size_t)h * apart + 4 * i);
        DOT_QUAD(odd[h], k1, q + (size_t)h * apart + 4 * i + 4);
      }
    }
    if (i < quads) {
      __m512i k0 = _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i), flip);
#pragma GCC unroll 4
      for (int h = 0; h < count; h++) DOT_QUAD(even[h], k0, q + (size_t)h * apart + 4 * i);
    }
    __m512d low = key_steps(c.k_step + at), high = key_steps(c.k_step + at + 8);
#pragma GCC unroll 4
    for (int h = 0; h < count; h++) {
      __m512i s = sixteen_scores(_mm512_add_epi32(even[h], odd[h]), _mm512_mul_pd(low, unit[h]), _mm512_mul_pd(high, unit[h]), false);
      most[h] = _mm512_mask_max_epi32(most[h], used, most[h], s);
      _mm512_storeu_si512(z + (size_t)h * stride + at, s);
    }
  }
  for (int h = 0; h < count; h++) {
    int32_t t = _mm512_reduce_max_epi32(most[h]);
    top[h] = t > top[h] ? t : top[h];
  }
}

static void score_page(KvCell c, int heads, const int8_t *q, size_t apart, const Step *q_step, size_t quads, int n, const int8_t *next, int32_t *z, size_t stride, int32_t *top) {
  switch (heads) {
    case 4: score_heads(4, c, q, apart, q_step, quads, n, next, z, stride, top); break;
    case 3: score_heads(3, c, q, apart, q_step, quads, n, next, z, stride, top); break;
    case 2: score_heads(2, c, q, apart, q_step, quads, n, next, z, stride, top); break;
    default: score_heads(1, c, q, apart, q_step, quads, n, next, z, stride, top); break;
  }
}

/* ---- products of up to 16 queries: four at a time, whose sums stay in registers ---- */

enum { SOME = 4 };

static void begin_scores(Queries *q) {
  for (int i = 0; i < q->n; i++) {
    q->part[i] = 0; /* where sums begin: keys as k + 128, as above */
    for (int d = 0; d < q->kv->head_dim; d++) q->part[i] -= 128 * q->q[(size_t)i * q->apart + (size_t)d];
  }
}

static inline __attribute__((always_inline)) void dot_some(const Queries *q, const int8_t *k, const int count, int first, int32_t dot[4][QUERIES][KV_BLOCK]) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  const size_t quads = (size_t)q->kv->head_dim / 4;
  __m512i sum[SOME][4];
  for (int i = 0; i < count; i++)
    for (int b = 0; b < 4; b++) sum[i][b] = _mm512_set1_epi32(q->part[first + i]);
  for (size_t d = 0; d < quads; d++, k += 64) {
    __m512i key[4];
    for (size_t b = 0; b < 4; b++) key[b] = _mm512_xor_si512(_mm512_loadu_si512(k + b * quads * 64), flip);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) DOT_KEYS(sum[i], key, q->q + (size_t)(first + i) * q->apart + 4 * d);
  }
  for (int i = 0; i < count; i++)
    for (int b = 0; b < 4; b++) _mm512_store_si512(dot[b][first + i], sum[i][b]);
}

static void dot_page(const Queries *q, const int8_t *k, int32_t dot[4][QUERIES][KV_BLOCK]) {
  for (int i = 0; i < q->n; i += SOME) switch (q->n - i) {
      default: dot_some(q, k, 4, i, dot); break;
      case 3: dot_some(q, k, 3, i, dot); break;
      case 2: dot_some(q, k, 2, i, dot); break;
      case 1: dot_some(q, k, 1, i, dot); break;
    }
}

static void begin_values(const Queries *q) { (void)q; }

/* Dimensions of two vectors, of which some are used. */
static inline __attribute__((always_inline)) void add_some(const Queries *q, const Weights *w, int page, int n, int d, __mmask32 used, const int count, int first, int32_t sum[4][QUERIES][DIMS]) {
  const size_t apart = 16 * kv_quads(q->kv->head_dim);
  __m512i s[SOME][4];
  for (int i = 0; i < count; i++)
    for (int k = 0; k < 4; k++) s[i][k] = _mm512_setzero_si512();
  for (int p = 0; p < n; p++) {
    const int8_t *v = kv_page_cell(q->kv, page + p).v + 4 * d, *next = NULL; /* as much of a page of the next chunk */
    if (q->streams && first == 0 && page + p + STREAMED < pages_of(q)) next = kv_page_cell(q->kv, page + p + STREAMED).v + KV_PAGE * d;
    for (int j = 0; j < KV_PAGE; j += 4, v += apart) {
      if (next) fetch(next + 2 * DIMS * j, 4 * 2 * DIMS);
      __m512i x = _mm512_maskz_loadu_epi32((__mmask16)used, v), y = _mm512_maskz_loadu_epi32((__mmask16)(used >> 16), v + 4 * DIMS);
#pragma GCC unroll 4
      for (int i = 0; i < count; i++) DOT_WEIGHTS(s[i], w->byte[p][0][first + i] + j, w->byte[p][1][first + i] + j, x, y);
    }
  }
  for (int i = 0; i < count; i++)
    for (int k = 0; k < 4; k++) _mm512_store_si512(sum[k][first + i], s[i][k]);
}

static void add_dims(const Queries *q, const Weights *w, int page, int n, int d, int32_t sum[4][QUERIES][DIMS]) {
  int left = 4 * (int)kv_quads(q->kv->head_dim) - d;
  __mmask32 used = left < 2 * DIMS ? (1u << left) - 1 : ~0u;
  for (int i = 0; i < q->n; i += SOME) switch (q->n - i) {
      default: add_some(q, w, page, n, d, used, 4, i, sum); break;
      case 3: add_some(q, w, page, n, d, used, 3, i, sum); break;
      case 2: add_some(q, w, page, n, d, used, 2, i, sum); break;
      case 1: add_some(q, w, page, n, d, used, 1, i, sum); break;
    }
}

static void values(const KvCells *kv, int heads, int from, int to, const int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  int each[QUERIES];
  for (int i = 0; i < QUERIES; i++) each[i] = most;
  for (int h = 0; h < heads; h += QUERIES) {
    int some = heads - h < QUERIES ? heads - h : QUERIES;
    Queries q = {.kv = kv, .n = some, .to = to, .lines = lines_of(kv, some), .streams = true, .z_query = stride, .z_page = KV_PAGE};
    value_pages(&q, from, z + (size_t)h * stride, top + h, each, den + h, acc + (size_t)h * 4 * kv_quads(kv->head_dim));
  }
}
