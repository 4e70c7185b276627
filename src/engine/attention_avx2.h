/* engine/attention_avx2: the two inner loops of attention with AVX2's multiplications.  Included by ops_isa.c. */
#include <immintrin.h>

/* dot[16] <- q . k of a block.  |q| times sign(q) k: pairs stay within 2 * 127 * 127 < 2^15. */
static inline void dot_block(const int8_t *k, const int8_t *q, size_t quads, int32_t dot[KV_BLOCK]) {
  const __m256i one = _mm256_set1_epi16(1);
  __m256i a = _mm256_setzero_si256(), b = a;
  for (size_t i = 0; i < quads; i++) {
    int32_t word;
    memcpy(&word, q + 4 * i, 4);
    __m256i x = _mm256_set1_epi32(word), most = _mm256_abs_epi8(x);
    __m256i low = _mm256_loadu_si256((const __m256i *)(k + 64 * i)), high = _mm256_loadu_si256((const __m256i *)(k + 64 * i + 32));
    a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(most, _mm256_sign_epi8(low, x)), one));
    b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_maddubs_epi16(most, _mm256_sign_epi8(high, x)), one));
  }
  _mm256_storeu_si256((__m256i *)dot, a);
  _mm256_storeu_si256((__m256i *)(dot + 8), b);
}

/* acc[4 quads] += weights of at most a page times its values. */
static inline void add_values(const int8_t *v, size_t quads, int n, const int16_t *w, int64_t *acc) {
  for (size_t d = 0; d < quads; d++) { /* 4 dimensions of 4 values in 16 words */
    __m256i sum = _mm256_setzero_si256();
    for (int j = 0; j < n; j += 4) {
      int64_t four;
      memcpy(&four, w + j, 8);
      __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(v + ((size_t)(j / 4) * quads + d) * 16)));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, _mm256_set1_epi64x(four)));
    }
    int32_t part[8];
    _mm256_storeu_si256((__m256i *)part, sum);
    for (size_t i = 0; i < 4; i++) acc[4 * d + i] += part[2 * i] + part[2 * i + 1];
  }
}
