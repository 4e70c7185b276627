/* engine/words_avx512: a table of 65 numbers as 64 words and what leads from each to the next, for vpermi2w. */
#ifndef BURIN_ENGINE_WORDS_AVX512_H
#define BURIN_ENGINE_WORDS_AVX512_H

#include <immintrin.h>
#include <stdint.h>

typedef struct {
  __m512i value[2], step[2];
} WordTable;

/* Low words of 32 numbers. */
static inline __m512i low_words(__m512i a, __m512i b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(a)), _mm512_cvtepi32_epi16(b), 1);
}

static inline WordTable word_table(const int32_t table[65]) {
  WordTable t;
  for (int i = 0; i < 2; i++) {
    __m512i a = _mm512_loadu_si512(table + 32 * i), b = _mm512_loadu_si512(table + 32 * i + 16);
    t.value[i] = low_words(a, b);
    t.step[i] = low_words(_mm512_sub_epi32(_mm512_loadu_si512(table + 32 * i + 1), a), _mm512_sub_epi32(_mm512_loadu_si512(table + 32 * i + 17), b));
  }
  return t;
}

#endif
