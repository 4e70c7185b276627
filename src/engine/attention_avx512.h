/* engine/attention_avx512: scores and value sums of one head whose dimension is a multiple of 64.  Included by ops_isa.c
 * where the flags allow it; the integers are those of the plain loops beside it.
 */
#include <immintrin.h>

/* Sums of the lanes of 16 vectors, in order. */
static inline __m512i sum_lanes_16(const __m512i a[16]) {
  __m512i t[8], u[4];
  for (int i = 0; i < 8; i++) t[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]), _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]));
  for (int i = 0; i < 4; i++) u[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(t[2 * i], t[2 * i + 1]), _mm512_unpackhi_epi64(t[2 * i], t[2 * i + 1]));
  __m512i v = _mm512_add_epi32(_mm512_shuffle_i32x4(u[0], u[1], 0x88), _mm512_shuffle_i32x4(u[0], u[1], 0xDD));
  __m512i w = _mm512_add_epi32(_mm512_shuffle_i32x4(u[2], u[3], 0x88), _mm512_shuffle_i32x4(u[2], u[3], 0xDD));
  return _mm512_add_epi32(_mm512_shuffle_i32x4(v, w, 0x88), _mm512_shuffle_i32x4(v, w, 0xDD));
}

static inline __m512i clamp_to_32(__m512i v) {
  return _mm512_max_epi64(_mm512_min_epi64(v, _mm512_set1_epi64(INT32_MAX)), _mm512_set1_epi64(-INT32_MAX));
}

/* score_of 8 dot products, lane by lane in 64 bits. */
static inline __m256i finish_scores(__m256i dot, __m256i factor, __m256i shift) {
  const __m512i zero = _mm512_setzero_si512(), one = _mm512_set1_epi64(1);
  __m512i s = _mm512_cvtepi32_epi64(shift), right = _mm512_max_epi64(s, zero);
  __m512i left = _mm512_min_epi64(_mm512_max_epi64(_mm512_sub_epi64(zero, s), zero), _mm512_set1_epi64(31));
  __m512i half = _mm512_srli_epi64(_mm512_sllv_epi64(one, right), 1);
  __m512i product = _mm512_mul_epi32(_mm512_cvtepi32_epi64(dot), _mm512_cvtepi32_epi64(factor));
  __m512i v = clamp_to_32(_mm512_srav_epi64(_mm512_add_epi64(product, half), right));
  return _mm512_cvtepi64_epi32(clamp_to_32(_mm512_sllv_epi64(v, left)));
}

/* Keys as k + 128 (unsigned) against q (signed): the surplus 128 * sum of q is the same for all keys. */
static int32_t score_all_wide(const int8_t *q, Step q_step, KvView kv, int n, int head_dim, int32_t *z) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  int32_t surplus = 0, top = -INT32_MAX;
  for (int i = 0; i < head_dim; i++) surplus += 128 * q[i];
  for (int j = 0; j < n; j += 16) {
    int count = n - j < 16 ? n - j : 16;
    __m512i sum[16];
    for (int k = 0; k < 16; k++) {
      const int8_t *key = kv.k + (size_t)(j + (k < count ? k : 0)) * kv.stride;
      sum[k] = _mm512_setzero_si512();
      for (int i = 0; i < head_dim; i += 64)
        sum[k] = _mm512_dpbusd_epi32(sum[k], _mm512_xor_si512(_mm512_loadu_si512(key + i), flip), _mm512_loadu_si512(q + i));
    }
    __m512i dot = _mm512_sub_epi32(sum_lanes_16(sum), _mm512_set1_epi32(surplus));
    __mmask16 used = (__mmask16)((1u << count) - 1);
    __m512i step = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(used, kv.k_step + j)); /* step_unpack */
    __m512i factor = _mm512_mullo_epi32(_mm512_and_si512(step, _mm512_set1_epi32(511)), _mm512_set1_epi32(q_step.u));
    __m512i shift = _mm512_sub_epi32(_mm512_set1_epi32(2 * FRAC - FRAC_LOGIT - q_step.e + 16), _mm512_srli_epi32(step, 9));
    __m256i low = finish_scores(_mm512_castsi512_si256(dot), _mm512_castsi512_si256(factor), _mm512_castsi512_si256(shift));
    __m256i high = finish_scores(_mm512_extracti64x4_epi64(dot, 1), _mm512_extracti64x4_epi64(factor, 1), _mm512_extracti64x4_epi64(shift, 1));
    __m512i score = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    _mm512_mask_storeu_epi32(z + j, used, score);
    int32_t most = _mm512_mask_reduce_max_epi32(used, score);
    top = most > top ? most : top;
  }
  return top;
}

/* acc[64] += w[j] * v[j][0..64) over n tokens, n at most 512; two tokens a step. */
static inline void add_values_64(const int32_t *w, const int8_t *v, size_t stride, int n, int64_t *acc) {
  __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  for (int j = 0; j < n; j += 2) {
    int32_t second = j + 1 < n ? w[j + 1] : 0;
    if ((w[j] | second) == 0) continue;
    __m512i pair = _mm512_set1_epi32((int32_t)((uint32_t)w[j] | (uint32_t)second << 16));
    const int8_t *a = v + (size_t)j * stride, *b = j + 1 < n ? a + stride : a;
    for (int h = 0; h < 2; h++) {
      __m512i x = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(a + 32 * h)));
      __m512i y = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(b + 32 * h)));
      sum[2 * h] = _mm512_dpwssd_epi32(sum[2 * h], _mm512_unpacklo_epi16(x, y), pair);
      sum[2 * h + 1] = _mm512_dpwssd_epi32(sum[2 * h + 1], _mm512_unpackhi_epi16(x, y), pair);
    }
  }
  int32_t part[64];
  for (int k = 0; k < 4; k++) _mm512_storeu_si512(part + 16 * k, sum[k]);
  for (int i = 0; i < 64; i++) /* undo the interleaving: 4 dimensions of each lane of 8 stand in the low vector, 4 in the high */
    acc[i] += part[i / 32 * 32 + i % 8 / 4 * 16 + i % 32 / 8 * 4 + i % 4];
}
