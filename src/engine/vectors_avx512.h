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

/* Eight pairs (x, y), a 64-bit lane each, of whose lower halves come 64-bit sums. */
typedef struct {
  __m512i x, y;
} Pairs;

static inline Pairs turned(Pairs p, __m512i cos_sin) {
  __m512i c = cos_sin, d = _mm512_srli_epi64(c, 32);
  return (Pairs){rotated(_mm512_sub_epi64(_mm512_mul_epi32(p.x, c), _mm512_mul_epi32(p.y, d))), rotated(_mm512_add_epi64(_mm512_mul_epi32(p.x, d), _mm512_mul_epi32(p.y, c)))};
}

/* Adjacent pairs are such lanes already, as cos and sin are. */
static inline __m512i turned_adjacent(__m512i v, __m512i cos_sin) {
  Pairs p = turned((Pairs){v, _mm512_srli_epi64(v, 32)}, cos_sin);
  return _mm512_mask_blend_epi32(0xAAAA, p.x, _mm512_slli_epi64(p.y, 32));
}

static void rotate_pairs(const int32_t *cos_sin, int32_t *head, int half, bool adjacent) {
  for (int i = 0; i < half; i += 8) {
    __mmask8 used = (__mmask8)(half - i < 8 ? (1u << (half - i)) - 1 : 0xFF);
    __m512i c = _mm512_maskz_loadu_epi64(used, cos_sin + 2 * i);
    if (adjacent) {
      _mm512_mask_storeu_epi64(head + 2 * i, used, turned_adjacent(_mm512_maskz_loadu_epi64(used, head + 2 * i), c));
      continue;
    }
    Pairs p = turned((Pairs){_mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(used, head + i)), _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(used, head + half + i))}, c);
    _mm512_mask_cvtepi64_storeu_epi32(head + i, used, p.x);
    _mm512_mask_cvtepi64_storeu_epi32(head + half + i, used, p.y);
  }
}

/* ---- heads of SMALL_DIM dimensions: two a vector ---- */

/* to_15_bits, an exponent each. */
static inline __m512i fifteen_bits(__m512i x, __m512i e) {
  const __m512i one = _mm512_set1_epi32(1);
  __m512i right = _mm512_srai_epi32(_mm512_add_epi32(_mm512_srav_epi32(x, _mm512_sub_epi32(e, one)), one), 1), left = _mm512_sllv_epi32(x, _mm512_sub_epi32(_mm512_setzero_si512(), e));
  return _mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(e, _mm512_setzero_si512()), left, right);
}

/* quant8 of two heads: steps in the lower 64 bits of each half.  2^22 / u in floats is exact in its whole part: u is at most 258, so
 * that the quotient lies 1 / 258 or more below the next whole number, and it is rounded to a multiple of 2^-9. */
static inline __m128i quantise_two(__m512i v, __m512i *step) {
  __m512i m = _mm512_abs_epi32(v);
  m = _mm512_max_epu32(m, _mm512_shuffle_epi32(m, _MM_PERM_CDAB));
  m = _mm512_max_epu32(m, _mm512_shuffle_epi32(m, _MM_PERM_BADC));
  m = _mm512_max_epu32(_mm512_max_epu32(m, _mm512_permutex_epi64(m, 0x4E)), _mm512_set1_epi32(1));
  __m512i e = _mm512_sub_epi32(_mm512_set1_epi32(17), _mm512_lzcnt_epi32(m));
  __m512i u = _mm512_add_epi32(_mm512_srli_epi32(fifteen_bits(m, e), 7), _mm512_set1_epi32(2));
  __m512i reciprocal = _mm512_cvttps_epi32(_mm512_div_ps(_mm512_set1_ps(1 << 22), _mm512_cvtepi32_ps(u)));
  __m512i x = _mm512_mullo_epi32(fifteen_bits(v, e), reciprocal);
  *step = _mm512_mask_blend_epi32(0xAAAA, u, e);
  return _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_add_epi32(x, _mm512_set1_epi32(1 << 21)), 22));
}

void rotate_small_avx512(const ChipShape *s, const int32_t *cos_sin, int32_t *head, int heads, int8_t *a, Step *step) {
  const __m512i apart = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15), together = _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  const bool adjacent = s->pairs == CHIP_PAIRS_ADJACENT;
  __m512i c = cos_sin ? _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)cos_sin)) : _mm512_setzero_si512(), both;
  for (int h = 0; h < heads; h += 2) {
    __mmask16 used = h + 1 < heads ? 0xFFFF : 0xFF;
    __m512i v = _mm512_maskz_loadu_epi32(used, head + h * SMALL_DIM);
    if (cos_sin) {
      v = adjacent ? turned_adjacent(v, c) : _mm512_permutexvar_epi32(together, turned_adjacent(_mm512_permutexvar_epi32(apart, v), c));
      _mm512_mask_storeu_epi32(head + h * SMALL_DIM, used, v);
    }
    __m128i bytes = quantise_two(v, &both);
    _mm_storel_epi64((__m128i *)(void *)(a + h * SMALL_DIM), bytes);
    _mm_storel_epi64((__m128i *)(void *)(step + h), _mm512_castsi512_si128(both));
    if (h + 1 == heads) break;
    _mm_storel_epi64((__m128i *)(void *)(a + (h + 1) * SMALL_DIM), _mm_unpackhi_epi64(bytes, bytes));
    _mm_storel_epi64((__m128i *)(void *)(step + h + 1), _mm512_extracti32x4_epi32(both, 2));
  }
}
