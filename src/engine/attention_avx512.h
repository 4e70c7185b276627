/* engine/attention_avx512: attention over the pages of the KV cache.  Included by ops_isa.c where the flags allow it; the
 * integers are those of attention_head in chip/arith.c.
 */
#include "engine/dot_avx512.h"
#include "engine/softmax_avx512.h"

/* score_of 8 dot products in doubles, which are exact here: a product has at most 24 + 18 bits, and where it has a fraction, so has
 * the sum with 1/2; larger ones end at the clamp. */
static inline __m256i finish_scores(__m256i dot, __m512d factor) {
  const __m512d half = _mm512_set1_pd(0.5), most = _mm512_set1_pd(INT32_MAX), least = _mm512_set1_pd(-INT32_MAX);
  __m512d v = _mm512_fmadd_pd(_mm512_cvtepi32_pd(dot), factor, half);
  v = _mm512_max_pd(_mm512_min_pd(v, most), least);
  return _mm512_cvt_roundpd_epi32(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

static inline __m512i four_bytes(const void *p) {
  int32_t word;
  memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}

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
      __m512i dot = _mm512_add_epi32(even[h], odd[h]);
      __m256i s0 = finish_scores(_mm512_castsi512_si256(dot), _mm512_mul_pd(low, unit[h]));
      __m256i s1 = finish_scores(_mm512_extracti64x4_epi64(dot, 1), _mm512_mul_pd(high, unit[h]));
      __m512i s = _mm512_inserti64x4(_mm512_castsi256_si512(s0), s1, 1);
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

/* A page's sums stay below 64 * 2^15 * 2^7 = 2^28. */
static inline __attribute__((always_inline)) void add_values(const int count, const int8_t *v, size_t quads, int n, const int8_t *next, uint8_t bytes[][2 * KV_PAGE], int64_t *acc) {
  for (size_t d = 0; d < 4 * quads; d += 16) {
    unsigned dims = 4 * quads - d < 16 ? (unsigned)(4 * quads - d) : 16;
    __mmask16 used = (__mmask16)((1u << dims) - 1);
    __m512i a[HEADS], b[HEADS];
    for (int h = 0; h < count; h++) a[h] = b[h] = _mm512_setzero_si512();
    if (next) fetch(next + d * KV_PAGE, dims * KV_PAGE);
    for (int j = 0; j < n; j += 4) {
      __m512i x = _mm512_maskz_loadu_epi32(used, v + (size_t)(j / 4) * 16 * quads + 4 * d);
#pragma GCC unroll 4
      for (int h = 0; h < count; h++) {
        DOT(a[h], four_bytes(bytes[h] + j), x);
        DOT(b[h], four_bytes(bytes[h] + KV_PAGE + j), x);
      }
    }
    __mmask8 first = (__mmask8)used, second = (__mmask8)(used >> 8);
#pragma GCC unroll 4
    for (int h = 0; h < count; h++) {
      int64_t *at = acc + (size_t)h * 4 * quads + d;
      __m512i sum = _mm512_add_epi32(a[h], _mm512_slli_epi32(b[h], 8));
      __m512i x = _mm512_maskz_loadu_epi64(first, at), y = _mm512_maskz_loadu_epi64(second, at + 8);
      _mm512_mask_storeu_epi64(at, first, _mm512_add_epi64(x, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum))));
      _mm512_mask_storeu_epi64(at + 8, second, _mm512_add_epi64(y, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(sum, 1))));
    }
  }
}

static void values_page(KvCell c, int heads, size_t quads, int n, const int8_t *next, int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  uint8_t bytes[HEADS][2 * KV_PAGE]; /* low, high */
  const WeightTable table = weight_table();
  const ValueSteps steps = value_steps(c.v_step);
  for (int h = 0; h < heads; h++)
    den[h] += (uint64_t)_mm512_reduce_add_epi32(weigh_page(&table, &steps, z + (size_t)h * stride, n, top[h], most, bytes[h], bytes[h] + KV_PAGE));
  switch (heads) {
    case 4: add_values(4, c.v, quads, n, next, bytes, acc); break;
    case 3: add_values(3, c.v, quads, n, next, bytes, acc); break;
    case 2: add_values(2, c.v, quads, n, next, bytes, acc); break;
    default: add_values(1, c.v, quads, n, next, bytes, acc); break;
  }
}
