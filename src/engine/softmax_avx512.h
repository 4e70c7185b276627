/* engine/softmax_avx512: what attention of AVX-512 and AMX shares: steps of keys and values as vectors, and weights from scores.  The
 * integers are those of attention_head in chip/arith.c.
 */
#ifndef BURIN_ENGINE_SOFTMAX_AVX512_H
#define BURIN_ENGINE_SOFTMAX_AVX512_H

#include "engine/kernels.h"

#include <immintrin.h>

/* ---- scores ---- */

/* 8 packed steps in units of 2^-16. */
static inline __m512d key_steps(const uint16_t *k_step) {
  __m256i step = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)k_step)); /* step_unpack */
  __m256i u = _mm256_and_si256(step, _mm256_set1_epi32(511)), e = _mm256_srli_epi32(step, 9);
  return _mm512_scalef_pd(_mm512_cvtepi32_pd(u), _mm512_cvtepi32_pd(e));
}

/* What a unit of q . k is worth for a key's step of 1 * 2^-16. */
static inline __m512d score_unit(Step q) {
  return _mm512_scalef_pd(_mm512_set1_pd(q.u), _mm512_set1_pd(q.e - 16 - (2 * FRAC - FRAC_LOGIT)));
}

/* score_of 8 dot products in doubles, which are exact here: a product has at most 24 + 18 bits, and where it has a fraction, so has
 * the sum with 1/2; larger ones end at the clamp.  bounded: none does. */
static inline __attribute__((always_inline)) __m256i eight_scores(__m256i dot, __m512d factor, const bool bounded) {
  __m512d v = _mm512_fmadd_pd(_mm512_cvtepi32_pd(dot), factor, _mm512_set1_pd(0.5));
  if (!bounded) v = _mm512_max_pd(_mm512_min_pd(v, _mm512_set1_pd(INT32_MAX)), _mm512_set1_pd(-INT32_MAX));
  return _mm512_cvt_roundpd_epi32(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

static inline __attribute__((always_inline)) __m512i sixteen_scores(__m512i dot, __m512d low, __m512d high, const bool bounded) {
  __m256i s = eight_scores(_mm512_castsi512_si256(dot), low, bounded), t = eight_scores(_mm512_extracti64x4_epi64(dot, 1), high, bounded);
  return _mm512_inserti64x4(_mm512_castsi256_si512(s), t, 1);
}

/* ---- weights: 64 positions at a time, as words ----
 *
 * Two vectors of words hold a page: its blocks 0 and 2 by turns, and 1 and 3, which is how two vectors of 32 bits become one. */

typedef struct {
  __m512i word[2];
} PageWords;

static inline __m512i by_turns(__m512i even, __m512i odd) { return _mm512_mask_blend_epi16(0xAAAAAAAA, even, odd); }

/* exp2_table and what leads from each entry to the next, times 64. */
typedef struct {
  __m512i value[2], drop[2];
} WeightTable;

static inline __m512i words_of(const int32_t *v) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_loadu_si512(v))), _mm512_cvtepi32_epi16(_mm512_loadu_si512(v + 16)), 1);
}

static inline WeightTable weight_table(void) {
  WeightTable t;
  for (int i = 0; i < 2; i++) {
    t.value[i] = words_of(exp2_table + 32 * i);
    t.drop[i] = _mm512_slli_epi16(_mm512_sub_epi16(t.value[i], words_of(exp2_table + 32 * i + 1)), 6);
  }
  return t;
}

/* The steps of a page's values: u * 2^7 and exponents (+ 16). */
typedef struct {
  PageWords u, e;
} ValueSteps;

static inline ValueSteps value_steps(const uint16_t *v_step) {
  ValueSteps s;
  for (int i = 0; i < 2; i++) {
    __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(v_step + 16 * i))), high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(v_step + 16 * i + 32)));
    __m512i step = by_turns(low, _mm512_slli_epi32(high, 16));
    s.u.word[i] = _mm512_slli_epi16(step, 7); /* of 16 bits the lower 9 stay */
    s.e.word[i] = _mm512_srli_epi16(step, 9);
  }
  return s;
}

/* softmax_weight of 32 distances, in two halves.  y / 2^i to nearest is (2 y >> i) + 1 >> 1; a shift by 16 or more gives 0, as it should. */
static inline __m512i weigh_words(const WeightTable *t, __m512i low, __m512i high, __mmask32 used) {
  __m512i x = _mm512_srli_epi16(low, 10), f = _mm512_and_si512(low, _mm512_set1_epi16(1023));
  __m512i y = _mm512_sub_epi16(_mm512_permutex2var_epi16(t->value[0], x, t->value[1]), _mm512_mulhi_epu16(_mm512_permutex2var_epi16(t->drop[0], x, t->drop[1]), f));
  return _mm512_maskz_avg_epu16(used, _mm512_srlv_epi16(_mm512_add_epi16(y, y), high), _mm512_setzero_si512());
}

/* The weights of a page's positions: 16 sums of them, each at most 2^17, and, times the values' steps, below 2^15, as low and high bytes. */
typedef struct {
  __m512i sum, low, high;
} PageWeights;

/* Those of the first n positions, on the exponent `most` (+ 16); 0 for the others. */
static inline PageWeights page_weights(const WeightTable *t, const ValueSteps *s, const int32_t *z, int n, int32_t top, int most) {
  const __m512i largest = _mm512_set1_epi32(top), exponent = _mm512_set1_epi16((short)most), one = _mm512_set1_epi16(1), byte = _mm512_set1_epi16(0xFF);
  const __m512i position = _mm512_add_epi16(_mm512_set1_epi32(32 << 16), _mm512_mullo_epi32(_mm512_set1_epi32(0x10001), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
  __m512i w[2], sum = _mm512_setzero_si512();
  for (int i = 0; i < 2; i++) {
    __m512i a = _mm512_sub_epi32(largest, _mm512_loadu_si512(z + 16 * i)), b = _mm512_sub_epi32(largest, _mm512_loadu_si512(z + 16 * i + 32));
    __mmask32 used = _mm512_cmplt_epi16_mask(position, _mm512_set1_epi16((short)(n - 16 * i)));
    __m512i p = weigh_words(t, by_turns(a, _mm512_slli_epi32(b, 16)), by_turns(_mm512_srli_epi32(a, 16), b), used);
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(p, one));
    /* p u / 2^8, then to nearest, as above */
    w[i] = _mm512_avg_epu16(_mm512_srlv_epi16(_mm512_mulhi_epu16(_mm512_add_epi16(p, p), s->u.word[i]), _mm512_sub_epi16(exponent, s->e.word[i])), _mm512_setzero_si512());
  }
  const __m512i row = _mm512_setr_epi32(0x0C080400, 0x1C181410, 0x2C282420, 0x3C383430, 0x0D090501, 0x1D191511, 0x2D292521, 0x3D393531, 0x0E0A0602, 0x1E1A1612, 0x2E2A2622, 0x3E3A3632,
                                        0x0F0B0703, 0x1F1B1713, 0x2F2B2723, 0x3F3B3733); /* byte j is byte 4 (j % 16) + j / 16 */
  __m512i low = _mm512_or_si512(_mm512_and_si512(w[0], byte), _mm512_slli_epi16(w[1], 8)), high = _mm512_or_si512(_mm512_srli_epi16(w[0], 8), _mm512_andnot_si512(byte, w[1]));
  return (PageWeights){sum, _mm512_permutexvar_epi8(row, low), _mm512_permutexvar_epi8(row, high)};
}

#endif
