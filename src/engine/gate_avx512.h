/* engine/gate_avx512: the gate of 16 elements at once.  Included by ops_isa.c where the flags allow it; the integers are those of
 * gate_one in chip/arith.c.
 */
#include "engine/words_avx512.h"

/* (a * b + half) >> shift of the 8 even lanes, in 64-bit lanes. */
static inline __m512i product_64(__m512i a, __m512i b, int shift) {
  return _mm512_srai_epi64(_mm512_add_epi64(_mm512_mul_epi32(a, b), _mm512_set1_epi64((int64_t)1 << (shift - 1))), (unsigned)shift);
}

/* sat32 of g sigma u.  g sigma, sigma at most 1, is no larger than g. */
static inline __m512i gate_64(__m512i g, __m512i sigma, __m512i u) {
  __m512i p = product_64(product_64(g, sigma, 15), u, FRAC);
  return _mm512_max_epi64(_mm512_min_epi64(p, _mm512_set1_epi64(INT32_MAX)), _mm512_set1_epi64(-INT32_MAX));
}

static inline __m512i gate_block(const WordTable *table, __m512i g, __m512i u) {
  const __m512i low = _mm512_set1_epi32(65535);
  __m512i x = _mm512_min_epu32(_mm512_abs_epi32(g), _mm512_set1_epi32((16 << FRAC) - 1));
  __m512i i = _mm512_srli_epi32(x, FRAC - 2), t = _mm512_and_si512(x, _mm512_set1_epi32((1 << (FRAC - 2)) - 1));
  __m512i y = _mm512_and_si512(_mm512_permutex2var_epi16(table->value[0], i, table->value[1]), low);
  __m512i step = _mm512_and_si512(_mm512_permutex2var_epi16(table->step[0], i, table->step[1]), low);
  __m512i part = _mm512_add_epi32(_mm512_mullo_epi32(step, t), _mm512_set1_epi32(1 << (FRAC - 3)));
  y = _mm512_add_epi32(y, _mm512_srli_epi32(part, FRAC - 2));
  __m512i sigma = _mm512_mask_sub_epi32(y, _mm512_movepi32_mask(g), _mm512_set1_epi32(32768), y);
  __m512i even = gate_64(g, sigma, u), odd = gate_64(_mm512_srli_epi64(g, 32), _mm512_srli_epi64(sigma, 32), _mm512_srli_epi64(u, 32));
  return _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
}
