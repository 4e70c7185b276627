/* engine/attention_avx512: attention over the pages of the KV cache.  Included by ops_isa.c where the flags allow it; the
 * integers are those of attention_head in chip/arith.c.
 */
#include "engine/dot_avx512.h"

#include <immintrin.h>

/* What a step of 1 is worth in units of 2^-16. */
static inline __m512d step_value(__m256i u, __m256i e) { return _mm512_scalef_pd(_mm512_cvtepi32_pd(u), _mm512_cvtepi32_pd(e)); }

/* score_of 8 dot products in doubles, which are exact here: a product has at most 24 + 18 bits, and where it has a fraction, so has
 * the sum with 1/2; larger ones end at the clamp. */
static inline __m256i finish_scores(__m256i dot, __m512d factor) {
  const __m512d half = _mm512_set1_pd(0.5), most = _mm512_set1_pd(INT32_MAX), least = _mm512_set1_pd(-INT32_MAX);
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

/* Scores of `count` heads (a constant where it is called) against the keys of a page.  Keys as k + 128 (unsigned) against q (signed):
 * the surplus 128 * sum of q is the same for all keys. */
static inline __attribute__((always_inline)) void score_heads(const int count, KvCell c, const int8_t *q, size_t apart, const Step *q_step, size_t quads, int n, const int8_t *next, int32_t *z,
                                                              size_t stride, int32_t *top) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  __m512i most[HEADS], start[HEADS];
  __m512d unit[HEADS];
  for (int h = 0; h < count; h++) {
    int32_t surplus = 0;
    for (size_t i = 0; i < 4 * quads; i++) surplus += 128 * q[(size_t)h * apart + i];
    start[h] = _mm512_set1_epi32(-surplus);
    unit[h] = score_unit(q_step[h]);
    most[h] = _mm512_set1_epi32(-INT32_MAX);
  }
  for (int at = 0; at < n; at += KV_BLOCK) {
    const int8_t *k = c.k + (size_t)at * quads * 4;
    if (next) fetch(next + (size_t)at * quads * 4, KV_BLOCK * quads * 4);
    __mmask16 used = (__mmask16)(n - at < KV_BLOCK ? (1u << (n - at)) - 1 : 0xFFFF);
    __m512i even[HEADS], odd[HEADS]; /* sums that take turns, so that none waits for the last */
    for (int h = 0; h < count; h++) even[h] = start[h], odd[h] = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 2 <= quads; i += 2) {
      __m512i k0 = _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i), flip), k1 = _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i + 64), flip);
#pragma GCC unroll 4
      for (int h = 0; h < count; h++) {
        DOT_QUAD(even[h], k0, q + (size_t)h * apart + 4 * i);
        DOT_QUAD(odd[h], k1, q + (size_t)h * apart + 4 * i + 4);
      }
    }
    if (i < quads) {
      __m512i k0 = _mm512_xor_si512(_mm512_loadu_si512(k + 64 * i), flip);
#pragma GCC unroll 4
      for (int h = 0; h < count; h++) DOT_QUAD(even[h], k0, q + (size_t)h * apart + 4 * i);
    }
    __m512i step = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(c.k_step + at))); /* step_unpack */
    __m512i u = _mm512_and_si512(step, _mm512_set1_epi32(511)), e = _mm512_srli_epi32(step, 9);
    __m512d low = step_value(_mm512_castsi512_si256(u), _mm512_castsi512_si256(e));
    __m512d high = step_value(_mm512_extracti64x4_epi64(u, 1), _mm512_extracti64x4_epi64(e, 1));
#pragma GCC unroll 4
    for (int h = 0; h < count; h++) {
      __m512i dot = _mm512_add_epi32(even[h], odd[h]);
      __m256i s0 = finish_scores(_mm512_castsi512_si256(dot), _mm512_mul_pd(low, unit[h]));
      __m256i s1 = finish_scores(_mm512_extracti64x4_epi64(dot, 1), _mm512_mul_pd(high, unit[h]));
      __m512i s = _mm512_inserti64x4(_mm512_castsi256_si512(s0), s1, 1);
      most[h] = _mm512_mask_max_epi32(most[h], used, most[h], s);
      _mm512_storeu_si512(z + (size_t)h * stride + at, s);
    }
  }
  for (int h = 0; h < count; h++) {
    int32_t t = _mm512_reduce_max_epi32(most[h]);
    top[h] = t > top[h] ? t : top[h];
  }
}

static void score_page(KvCell c, int heads, const int8_t *q, size_t apart, const Step *q_step, size_t quads, int n, const int8_t *next, int32_t *z, size_t stride, int32_t *top) {
  switch (heads) {
    case 4: score_heads(4, c, q, apart, q_step, quads, n, next, z, stride, top); break;
    case 3: score_heads(3, c, q, apart, q_step, quads, n, next, z, stride, top); break;
    case 2: score_heads(2, c, q, apart, q_step, quads, n, next, z, stride, top); break;
    default: score_heads(1, c, q, apart, q_step, quads, n, next, z, stride, top); break;
  }
}

/* exp2_table as numbers and what leads from each to the next: value << 16 | drop. */
typedef struct {
  __m512i part[4];
} DropTable;

static DropTable drop_table(void) {
  DropTable t;
  for (int i = 0; i < 4; i++) {
    __m512i v = _mm512_loadu_si512(exp2_table + 16 * i);
    t.part[i] = _mm512_or_si512(_mm512_slli_epi32(v, 16), _mm512_sub_epi32(v, _mm512_loadu_si512(exp2_table + 16 * i + 1)));
  }
  return t;
}

/* softmax_weight of 16 distances.  y / 2^i to nearest is (2 y >> i) + 1 >> 1; a shift by 32 or more gives 0, as it should. */
static inline __m512i weigh_block(const DropTable *t, __m512i d) {
  const __m512i one = _mm512_set1_epi32(1);
  __m512i x = _mm512_srli_epi32(d, 10), f = _mm512_and_si512(d, _mm512_set1_epi32(1023)); /* of x the low 6 bits are looked at */
  __mmask16 upper = _mm512_test_epi32_mask(d, _mm512_set1_epi32(1 << 15));
  __m512i v = _mm512_mask_blend_epi32(upper, _mm512_permutex2var_epi32(t->part[0], x, t->part[1]), _mm512_permutex2var_epi32(t->part[2], x, t->part[3]));
  __m512i y = _mm512_sub_epi32(_mm512_srli_epi32(v, 16), _mm512_srli_epi32(_mm512_madd_epi16(v, f), 10)); /* drop * f + value * 0 */
  y = _mm512_srlv_epi32(_mm512_add_epi32(y, y), _mm512_srli_epi32(d, 16));
  return _mm512_srli_epi32(_mm512_add_epi32(y, one), 1);
}

static inline __m512i sum_words(__m512i v) {
  return _mm512_add_epi64(_mm512_and_si512(v, _mm512_set1_epi64(UINT32_MAX)), _mm512_srli_epi64(v, 32));
}

/* z[n] <- softmax weights; those behind n, up to a block, 0.  Returns their sum. */
static uint64_t weigh(int32_t *z, int n, int32_t top) {
  enum { FLUSH = 1 << 16 }; /* positions: each of 16 sums has 2^12 weights below 2^15 */
  const DropTable table = drop_table();
  __m512i all = _mm512_setzero_si512(), most = _mm512_set1_epi32(top);
  for (int from = 0; from < n; from += FLUSH) {
    __m512i sum = _mm512_setzero_si512();
    for (int at = from; at < n && at < from + FLUSH; at += KV_BLOCK) {
      __mmask16 used = (__mmask16)(n - at < KV_BLOCK ? (1u << (n - at)) - 1 : 0xFFFF);
      __m512i w = _mm512_maskz_mov_epi32(used, weigh_block(&table, _mm512_sub_epi32(most, _mm512_loadu_si512(z + at))));
      _mm512_storeu_si512(z + at, w);
      sum = _mm512_add_epi32(sum, w);
    }
    all = _mm512_add_epi64(all, sum_words(sum));
  }
  return (uint64_t)_mm512_reduce_add_epi64(all);
}

enum { WEIGHTS = 2 * KV_PAGE }; /* bytes of a page's weights: by block 16 low bytes, 16 high ones */

/* bytes[heads] <- the weights times steps on the exponent `most`, below 2^15. */
static inline void align_page(int heads, const int32_t *w, size_t stride, const uint16_t *v_step, int n, int most, uint8_t bytes[][WEIGHTS]) {
  const __m512i one = _mm512_set1_epi32(1);
  const __m512i split = _mm512_castsi256_si512(_mm256_setr_epi8(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61));
  for (int at = 0; at < n; at += KV_BLOCK) {
    __m512i step = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(v_step + at)));
    __m512i s = _mm512_sub_epi32(_mm512_set1_epi32(9 + most), _mm512_srli_epi32(step, 9)), u = _mm512_and_si512(_mm512_add_epi32(step, step), _mm512_set1_epi32(1022));
    for (int h = 0; h < heads; h++) { /* to nearest, as in weigh_block */
      __m512i p = _mm512_srlv_epi32(_mm512_madd_epi16(_mm512_loadu_si512(w + (size_t)h * stride + at), u), s);
      p = _mm512_srli_epi32(_mm512_add_epi32(p, one), 1);
      _mm256_storeu_si256((__m256i *)(bytes[h] + 2 * at), _mm512_castsi512_si256(_mm512_permutexvar_epi8(split, p)));
    }
  }
}

/* A page's sums stay below 64 * 2^15 * 2^7 = 2^28. */
static inline __attribute__((always_inline)) void add_values(const int count, const int8_t *v, size_t quads, int n, const int8_t *next, uint8_t bytes[][WEIGHTS], int64_t *acc) {
  for (size_t d = 0; d < 4 * quads; d += 16) {
    unsigned dims = 4 * quads - d < 16 ? (unsigned)(4 * quads - d) : 16;
    __mmask16 used = (__mmask16)((1u << dims) - 1);
    __m512i a[HEADS], b[HEADS];
    for (int h = 0; h < count; h++) a[h] = b[h] = _mm512_setzero_si512();
    if (next) fetch(next + d * KV_PAGE, dims * KV_PAGE);
    for (int j = 0; j < n; j += 4) {
      __m512i x = _mm512_maskz_loadu_epi32(used, v + (size_t)(j / 4) * 16 * quads + 4 * d);
#pragma GCC unroll 4
      for (int h = 0; h < count; h++) {
        const uint8_t *at = bytes[h] + j / KV_BLOCK * 2 * KV_BLOCK + j % KV_BLOCK;
        DOT(a[h], four_bytes(at), x);
        DOT(b[h], four_bytes(at + KV_BLOCK), x);
      }
    }
    __mmask8 first = (__mmask8)used, second = (__mmask8)(used >> 8);
#pragma GCC unroll 4
    for (int h = 0; h < count; h++) {
      int64_t *at = acc + (size_t)h * 4 * quads + d;
      __m512i sum = _mm512_add_epi32(a[h], _mm512_slli_epi32(b[h], 8));
      __m512i x = _mm512_maskz_loadu_epi64(first, at), y = _mm512_maskz_loadu_epi64(second, at + 8);
      _mm512_mask_storeu_epi64(at, first, _mm512_add_epi64(x, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum))));
      _mm512_mask_storeu_epi64(at + 8, second, _mm512_add_epi64(y, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(sum, 1))));
    }
  }
}

static void values_page(KvCell c, int heads, size_t quads, int n, const int8_t *next, const int32_t *w, size_t stride, int most, int64_t *acc) {
  uint8_t bytes[HEADS][WEIGHTS];
  align_page(heads, w, stride, c.v_step, n, most, bytes);
  switch (heads) {
    case 4: add_values(4, c.v, quads, n, next, bytes, acc); break;
    case 3: add_values(3, c.v, quads, n, next, bytes, acc); break;
    case 2: add_values(2, c.v, quads, n, next, bytes, acc); break;
    default: add_values(1, c.v, quads, n, next, bytes, acc); break;
  }
}
