/* engine/attention_avx512: attention over the pages of the KV cache.  Included by ops_isa.c where the flags allow it; the
 * integers are those of attention_head in chip/arith.c.
 */
#include "engine/words_avx512.h"

/* score_of 8 dot products in doubles, which are exact here: a product has at most 24 + 18 bits, and where it has a fraction, so has
 * the sum with 1/2; larger ones end at the clamp. */
static inline __m256i finish_scores(__m256i dot, __m256i u, __m256i e, __m512d q) {
  const __m512d half = _mm512_set1_pd(0.5), most = _mm512_set1_pd(INT32_MAX), least = _mm512_set1_pd(-INT32_MAX);
  __m512d factor = _mm512_mul_pd(_mm512_scalef_pd(_mm512_cvtepi32_pd(u), _mm512_cvtepi32_pd(e)), q);
  __m512d v = _mm512_fmadd_pd(_mm512_cvtepi32_pd(dot), factor, half);
  v = _mm512_max_pd(_mm512_min_pd(v, most), least);
  return _mm512_cvt_roundpd_epi32(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

/* What a unit of q . k is worth for a key's step of 1 * 2^-16. */
static __m512d score_unit(Step q) {
  return _mm512_scalef_pd(_mm512_set1_pd(q.u), _mm512_set1_pd(q.e - 16 - (2 * FRAC - FRAC_LOGIT)));
}

static inline __m512i four_bytes(const void *p) {
  int32_t word;
  memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}

/* Scores of 16 keys.  Keys as k + 128 (unsigned) against q (signed): the surplus 128 * sum of q is the same for all keys. */
static inline __m512i score_block(const int8_t *k, const uint16_t *k_step, const int8_t *q, size_t quads, __m512d unit, int32_t surplus) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  __m512i a = _mm512_set1_epi32(-surplus), b = _mm512_setzero_si512();
  size_t i = 0;
  for (; i + 2 <= quads; i += 2) {
    a = _mm512_dpbusd_epi32(a, _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i), flip), four_bytes(q + 4 * i));
    b = _mm512_dpbusd_epi32(b, _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i + 64), flip), four_bytes(q + 4 * i + 4));
  }
  if (i < quads) a = _mm512_dpbusd_epi32(a, _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i), flip), four_bytes(q + 4 * i));
  __m512i dot = _mm512_add_epi32(a, b), step = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)k_step)); /* step_unpack */
  __m512i u = _mm512_and_si512(step, _mm512_set1_epi32(511)), e = _mm512_srli_epi32(step, 9);
  __m256i low = finish_scores(_mm512_castsi512_si256(dot), _mm512_castsi512_si256(u), _mm512_castsi512_si256(e), unit);
  __m256i high = finish_scores(_mm512_extracti64x4_epi64(dot, 1), _mm512_extracti64x4_epi64(u, 1), _mm512_extracti64x4_epi64(e, 1), unit);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

static int32_t score_page(KvCell c, const int8_t *q, Step q_step, size_t quads, int n, int32_t *z) {
  __m512i top = _mm512_set1_epi32(-INT32_MAX);
  const __m512d unit = score_unit(q_step);
  int32_t surplus = 0;
  for (size_t i = 0; i < 4 * quads; i++) surplus += 128 * q[i];
  for (int at = 0; at < n; at += KV_BLOCK) {
    __mmask16 used = (__mmask16)(n - at < KV_BLOCK ? (1u << (n - at)) - 1 : 0xFFFF);
    __m512i s = score_block(c.k + (size_t)at * quads * 4, c.k_step + at, q, quads, unit, surplus);
    top = _mm512_mask_max_epi32(top, used, top, s);
    _mm512_storeu_si512(z + at, s);
  }
  return _mm512_reduce_max_epi32(top);
}

/* softmax_weight of 16 distances. */
static inline __m512i weigh_block(const WordTable *t, __m512i d) {
  const __m512i low = _mm512_set1_epi32(65535);
  __m512i i = _mm512_min_epu32(_mm512_srli_epi32(d, 16), _mm512_set1_epi32(31));
  __m512i x = _mm512_and_si512(_mm512_srli_epi32(d, 10), _mm512_set1_epi32(63)), f = _mm512_and_si512(d, _mm512_set1_epi32(1023));
  __m512i y = _mm512_and_si512(_mm512_permutex2var_epi16(t->value[0], x, t->value[1]), low);
  __m512i drop = _mm512_sub_epi32(_mm512_set1_epi32(0), _mm512_permutex2var_epi16(t->step[0], x, t->step[1]));
  drop = _mm512_and_si512(drop, low);
  y = _mm512_sub_epi32(y, _mm512_srli_epi32(_mm512_mullo_epi32(drop, f), 10));
  __m512i half = _mm512_srli_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(1), i), 1);
  return _mm512_srlv_epi32(_mm512_add_epi32(y, half), i);
}

/* z[n] <- softmax weights; those behind n, up to a block, 0.  Returns their sum. */
static uint64_t weigh(int32_t *z, int n, int32_t top) {
  const WordTable table = word_table(exp2_table);
  __m512i sum = _mm512_setzero_si512(), most = _mm512_set1_epi32(top);
  for (int at = 0; at < n; at += KV_BLOCK) {
    __mmask16 used = (__mmask16)(n - at < KV_BLOCK ? (1u << (n - at)) - 1 : 0xFFFF);
    __m512i w = _mm512_maskz_mov_epi32(used, weigh_block(&table, _mm512_sub_epi32(most, _mm512_loadu_si512(z + at))));
    _mm512_storeu_si512(z + at, w);
    sum = _mm512_add_epi64(sum, _mm512_add_epi64(_mm512_and_si512(w, _mm512_set1_epi64(65535)), _mm512_srli_epi64(w, 32)));
  }
  return (uint64_t)_mm512_reduce_add_epi64(sum);
}

/* low, high [n, up to a block] <- bytes of the weights times steps on the exponent `most`: w = low + 256 high, below 2^15. */
static inline void align_page(const int32_t *w, const uint16_t *v_step, int n, int most, uint8_t *low, uint8_t *high) {
  for (int at = 0; at < n; at += KV_BLOCK) {
    __m512i step = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(v_step + at)));
    __m512i s = _mm512_min_epu32(_mm512_sub_epi32(_mm512_set1_epi32(9 + most), _mm512_srli_epi32(step, 9)), _mm512_set1_epi32(25));
    __m512i p = _mm512_mullo_epi32(_mm512_loadu_si512(w + at), _mm512_and_si512(step, _mm512_set1_epi32(511)));
    p = _mm512_srlv_epi32(_mm512_add_epi32(p, _mm512_srli_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(1), s), 1)), s);
    _mm_storeu_si128((__m128i *)(low + at), _mm512_cvtepi32_epi8(p));
    _mm_storeu_si128((__m128i *)(high + at), _mm512_cvtepi32_epi8(_mm512_srli_epi32(p, 8)));
  }
}

/* A page's sums stay below 64 * 2^15 * 2^7 = 2^28. */
static void values_page(KvCell c, size_t quads, int n, const int32_t *w, int most, int64_t *acc) {
  uint8_t low[KV_PAGE], high[KV_PAGE];
  align_page(w, c.v_step, n, most, low, high);
  for (size_t d = 0; d < 4 * quads; d += 16) {
    unsigned dims = 4 * quads - d < 16 ? (unsigned)(4 * quads - d) : 16;
    __mmask16 used = (__mmask16)((1u << dims) - 1);
    __m512i a = _mm512_setzero_si512(), b = a;
    for (int j = 0; j < n; j += 4) {
      __m512i x = _mm512_maskz_loadu_epi32(used, c.v + (size_t)(j / 4) * 16 * quads + 4 * d);
      a = _mm512_dpbusd_epi32(a, four_bytes(low + j), x);
      b = _mm512_dpbusd_epi32(b, four_bytes(high + j), x);
    }
    a = _mm512_add_epi32(a, _mm512_slli_epi32(b, 8));
    __mmask8 first = (__mmask8)used, second = (__mmask8)(used >> 8);
    __m512i x = _mm512_maskz_loadu_epi64(first, acc + d), y = _mm512_maskz_loadu_epi64(second, acc + d + 8);
    _mm512_mask_storeu_epi64(acc + d, first, _mm512_add_epi64(x, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(a))));
    _mm512_mask_storeu_epi64(acc + d + 8, second, _mm512_add_epi64(y, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(a, 1))));
  }
}
