/* engine/gate_avx2: the gate of 8 elements at once.  Included by ops_isa.c; the integers are those of gate_one in chip/arith.c. */
#include <immintrin.h>

/* sat32((a * b + half) >> shift) of the 4 even lanes, in 64-bit lanes.  There is no arithmetic shift of 64 bits: 2^62 is added
 * before and what it becomes is taken off after. */
static inline __m256i product_64(__m256i a, __m256i b, int shift) {
  const __m256i most = _mm256_set1_epi64x(INT32_MAX), least = _mm256_set1_epi64x(-INT32_MAX);
  __m256i p = _mm256_add_epi64(_mm256_mul_epi32(a, b), _mm256_set1_epi64x(((int64_t)1 << 62) + ((int64_t)1 << (shift - 1))));
  p = _mm256_sub_epi64(_mm256_srli_epi64(p, shift), _mm256_set1_epi64x((int64_t)1 << (62 - shift)));
  p = _mm256_blendv_epi8(p, most, _mm256_cmpgt_epi64(p, most));
  return _mm256_blendv_epi8(p, least, _mm256_cmpgt_epi64(least, p));
}

static inline __m256i gate_block(__m256i g, __m256i u) {
  __m256i x = _mm256_min_epu32(_mm256_abs_epi32(g), _mm256_set1_epi32((16 << FRAC) - 1));
  __m256i i = _mm256_srli_epi32(x, FRAC - 2), t = _mm256_and_si256(x, _mm256_set1_epi32((1 << (FRAC - 2)) - 1));
  __m256i y = _mm256_i32gather_epi32(sigmoid_table, i, 4), step = _mm256_sub_epi32(_mm256_i32gather_epi32(sigmoid_table + 1, i, 4), y);
  __m256i part = _mm256_add_epi32(_mm256_mullo_epi32(step, t), _mm256_set1_epi32(1 << (FRAC - 3)));
  y = _mm256_add_epi32(y, _mm256_srli_epi32(part, FRAC - 2));
  __m256i negative = _mm256_srai_epi32(g, 31);
  __m256i sigma = _mm256_blendv_epi8(y, _mm256_sub_epi32(_mm256_set1_epi32(32768), y), negative);
  __m256i even = product_64(product_64(g, sigma, 15), u, FRAC);
  __m256i odd = product_64(product_64(_mm256_srli_epi64(g, 32), _mm256_srli_epi64(sigma, 32), 15), _mm256_srli_epi64(u, 32), FRAC);
  return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
