/* engine/attention_avx2: the inner loops of attention with AVX2, and AVX-VNNI where there is any.  Included by attention.h; the integers
 * are those of attention_head in chip/arith.c.
 */
#include <immintrin.h>

/* sum += quads of unsigned bytes, at most 127, times signed ones; pairs of words times words. */
static inline __m256i dot_quads(__m256i sum, __m256i size, __m256i v) {
#ifdef __AVXVNNI__
  return _mm256_dpbusd_avx_epi32(sum, size, v);
#else
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(size, v), _mm256_set1_epi16(1)));
#endif
}

static inline __m256i dot_pairs(__m256i sum, __m256i x, __m256i w) {
#ifdef __AVXVNNI__
  return _mm256_dpwssd_avx_epi32(sum, x, w);
#else
  return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
#endif
}

/* 2^e, from e's bits. */
static inline __m256d power_of_two(__m256i e) { return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_add_epi64(e, _mm256_set1_epi64x(1023)), 52)); }

/* Steps of the keys of a block in units of 2^-16. */
typedef struct {
  __m256d step[4];
} BlockSteps;

static inline BlockSteps block_steps(const uint16_t *k_step) {
  BlockSteps s;
  for (int i = 0; i < 4; i++) {
    __m128i step = _mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)(k_step + 4 * i))); /* step_unpack */
    s.step[i] = _mm256_mul_pd(_mm256_cvtepi32_pd(_mm_and_si128(step, _mm_set1_epi32(511))), power_of_two(_mm256_cvtepu32_epi64(_mm_srli_epi32(step, 9))));
  }
  return s;
}

/* score_of 4 dot products in doubles, which are exact here: a product has at most 24 + 18 bits, and where it has a fraction, so has the
 * sum with 1/2; larger ones end at the clamp. */
static inline __m128i four_scores(__m128i dot, __m256d step, __m256d unit) {
  const __m256d most = _mm256_set1_pd(INT32_MAX), least = _mm256_set1_pd(-INT32_MAX);
  __m256d v = _mm256_add_pd(_mm256_mul_pd(_mm256_cvtepi32_pd(dot), _mm256_mul_pd(step, unit)), _mm256_set1_pd(0.5));
  return _mm256_cvttpd_epi32(_mm256_floor_pd(_mm256_max_pd(_mm256_min_pd(v, most), least)));
}

/* z[16] <- scores of a block of keys; most rises to the largest of the first n.  |q| times sign(q) k: pairs stay within
 * 2 * 127 * 127 < 2^15. */
static inline void score_block(const int8_t *k, const int8_t *q, size_t quads, Step q_step, const BlockSteps *k_step, int n, int32_t *z, int32_t *most) {
  __m256i a = _mm256_setzero_si256(), b = a;
  for (size_t i = 0; i < quads; i++) {
    int32_t word;
    memcpy(&word, q + 4 * i, 4);
    __m256i x = _mm256_set1_epi32(word), size = _mm256_abs_epi8(x);
    __m256i low = _mm256_loadu_si256((const __m256i *)(k + 64 * i)), high = _mm256_loadu_si256((const __m256i *)(k + 64 * i + 32));
    a = dot_quads(a, size, _mm256_sign_epi8(low, x));
    b = dot_quads(b, size, _mm256_sign_epi8(high, x));
  }
  const __m256d unit = _mm256_mul_pd(_mm256_set1_pd(q_step.u), power_of_two(_mm256_set1_epi64x(q_step.e - 16 - (2 * FRAC - FRAC_LOGIT))));
  const __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), least = _mm256_set1_epi32(-INT32_MAX);
  __m256i largest = least;
  for (int i = 0; i < 2; i++) {
    __m256i dot = i ? b : a;
    __m256i s = _mm256_setr_m128i(four_scores(_mm256_castsi256_si128(dot), k_step->step[2 * i], unit), four_scores(_mm256_extracti128_si256(dot, 1), k_step->step[2 * i + 1], unit));
    _mm256_storeu_si256((__m256i *)(z + 8 * i), s);
    __m256i used = _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8 * i), first);
    largest = _mm256_max_epi32(largest, _mm256_blendv_epi8(least, s, used));
  }
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
  *most = _mm_cvtsi128_si32(m) > *most ? _mm_cvtsi128_si32(m) : *most;
}

/* x / 2^s to nearest: (2 x >> s) + 1 >> 1.  A shift by 32 or more gives 0, as it should. */
static inline __m256i to_nearest(__m256i x, __m256i s) { return _mm256_srli_epi32(_mm256_add_epi32(_mm256_srlv_epi32(_mm256_add_epi32(x, x), s), _mm256_set1_epi32(1)), 1); }

/* aligned[n] <- softmax weights of at most a page, times the values' steps on the exponent `most`; returns the sum of the weights. */
static uint32_t weigh_scores(const int32_t *z, int n, int32_t top, const uint16_t *v_step, int most, int16_t aligned[KV_PAGE]) {
  const __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256i sum = _mm256_setzero_si256();
  for (int j = 0; j < n; j += 8) {
    __m256i d = _mm256_sub_epi32(_mm256_set1_epi32(top), _mm256_loadu_si256((const __m256i *)(z + j)));
    __m256i x = _mm256_and_si256(_mm256_srli_epi32(d, 10), _mm256_set1_epi32(63)), f = _mm256_and_si256(d, _mm256_set1_epi32(1023));
    __m256i y = _mm256_i32gather_epi32(exp2_table, x, 4), next = _mm256_i32gather_epi32(exp2_table + 1, x, 4);
    y = _mm256_sub_epi32(y, _mm256_srli_epi32(_mm256_madd_epi16(_mm256_sub_epi32(y, next), f), 10));
    __m256i w = _mm256_and_si256(to_nearest(y, _mm256_srli_epi32(d, 16)), _mm256_cmpgt_epi32(_mm256_set1_epi32(n - j), first));
    sum = _mm256_add_epi32(sum, w);
    __m256i step = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(v_step + j)));
    __m256i p = _mm256_madd_epi16(w, _mm256_and_si256(step, _mm256_set1_epi32(511)));
    p = to_nearest(p, _mm256_sub_epi32(_mm256_set1_epi32(9 + most), _mm256_srli_epi32(step, 9)));
    _mm_storeu_si128((__m128i *)(aligned + j), _mm_packus_epi32(_mm256_castsi256_si128(p), _mm256_extracti128_si256(p, 1)));
  }
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

/* Of `count` heads (a constant) and 4 or 8 (second: a constant) dimensions. */
static inline __attribute__((always_inline)) void add_quads(const int8_t *v, const int count, size_t quads, int n, size_t d, const bool second, int16_t w[HEADS][KV_PAGE], int64_t *acc) {
  __m256i sum[HEADS][2];
  for (int h = 0; h < count; h++) sum[h][0] = sum[h][1] = _mm256_setzero_si256();
  for (int j = 0; j < n; j += 4) { /* 4 dimensions of 4 values in 16 words */
    const int8_t *at = v + ((size_t)(j / 4) * quads + d) * 16;
    __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)at)), y = second ? _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(at + 16))) : x;
#pragma GCC unroll 4
    for (int h = 0; h < count; h++) {
      int64_t four;
      memcpy(&four, w[h] + j, 8);
      __m256i weights = _mm256_set1_epi64x(four);
      sum[h][0] = dot_pairs(sum[h][0], x, weights);
      if (second) sum[h][1] = dot_pairs(sum[h][1], y, weights);
    }
  }
  for (int h = 0; h < count; h++) { /* dimensions are pairs of words */
    __m256i all = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[h][0], sum[h][1]), 0xD8), *at = (__m256i *)(void *)(acc + ((size_t)h * quads + d) * 4);
    _mm256_storeu_si256(at, _mm256_add_epi64(_mm256_loadu_si256(at), _mm256_cvtepi32_epi64(_mm256_castsi256_si128(all))));
    if (second) _mm256_storeu_si256(at + 1, _mm256_add_epi64(_mm256_loadu_si256(at + 1), _mm256_cvtepi32_epi64(_mm256_extracti128_si256(all, 1))));
  }
}

static inline __attribute__((always_inline)) void add_heads(const int8_t *v, const int count, size_t quads, int n, int16_t w[HEADS][KV_PAGE], int64_t *acc) {
  size_t d = 0;
  for (; d + 2 <= quads; d += 2) add_quads(v, count, quads, n, d, true, w, acc);
  if (d < quads) add_quads(v, count, quads, n, d, false, w, acc);
}
