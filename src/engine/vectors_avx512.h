/* engine/vectors_avx512: short vectors without scalar rests: masks in their place.  Included by ops_isa.c; the integers are those of
 * chip/arith.c.
 */
#include <immintrin.h>

static inline __mmask16 first_lanes(int n) { return (__mmask16)(n < 16 ? (1u << n) - 1 : 0xFFFF); }

static uint32_t max_magnitude(const int32_t *v, int n) {
  __m512i most = _mm512_setzero_si512();
  for (int i = 0; i < n; i += 16) most = _mm512_max_epu32(most, _mm512_abs_epi32(_mm512_maskz_loadu_epi32(first_lanes(n - i), v + i)));
  return _mm512_reduce_max_epu32(most);
}

static Step quantise(const int32_t *v, int n, uint32_t m, int8_t *a) {
  Step step = step_of(m);
  const __m512i r = _mm512_set1_epi32(step_reciprocal(step)), half = _mm512_set1_epi32(1 << 21), one = _mm512_set1_epi32(1);
  const __m128i right = _mm_cvtsi32_si128(step.e - 1), left = _mm_cvtsi32_si128(-step.e);
  for (int i = 0; i < n; i += 16) {
    __mmask16 used = first_lanes(n - i);
    __m512i x = _mm512_maskz_loadu_epi32(used, v + i);
    x = step.e > 0 ? _mm512_srai_epi32(_mm512_add_epi32(_mm512_sra_epi32(x, right), one), 1) : _mm512_sll_epi32(x, left);
    x = _mm512_srai_epi32(_mm512_add_epi32(_mm512_mullo_epi32(x, r), half), 22);
    _mm512_mask_cvtepi32_storeu_epi8(a + i, used, x);
  }
  return step;
}

static inline __m512i rotated(__m512i p) { /* sat_shift15 */
  p = _mm512_srai_epi64(_mm512_add_epi64(p, _mm512_set1_epi64(1 << 14)), 15);
  return _mm512_max_epi64(_mm512_min_epi64(p, _mm512_set1_epi64(INT32_MAX)), _mm512_set1_epi64(-INT32_MAX));
}

/* Eight pairs: a 64-bit lane each.  Adjacent pairs are such lanes already, as cos and sin are. */
static void rotate_pairs(const int32_t *cos_sin, int32_t *head, int half, bool adjacent) {
  for (int i = 0; i < half; i += 8) {
    __mmask8 used = (__mmask8)(half - i < 8 ? (1u << (half - i)) - 1 : 0xFF);
    __m512i c = _mm512_maskz_loadu_epi64(used, cos_sin + 2 * i), d = _mm512_srli_epi64(c, 32), x, y;
    if (adjacent) {
      x = _mm512_maskz_loadu_epi64(used, head + 2 * i);
      y = _mm512_srli_epi64(x, 32);
    } else {
      x = _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(used, head + i));
      y = _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(used, head + half + i));
    }
    __m512i u = rotated(_mm512_sub_epi64(_mm512_mul_epi32(x, c), _mm512_mul_epi32(y, d)));
    __m512i v = rotated(_mm512_add_epi64(_mm512_mul_epi32(x, d), _mm512_mul_epi32(y, c)));
    if (adjacent) {
      _mm512_mask_storeu_epi64(head + 2 * i, used, _mm512_mask_blend_epi32(0xAAAA, u, _mm512_slli_epi64(v, 32)));
    } else {
      _mm512_mask_cvtepi64_storeu_epi32(head + i, used, u);
      _mm512_mask_cvtepi64_storeu_epi32(head + half + i, used, v);
    }
  }
}
