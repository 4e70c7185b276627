/* engine/small_avx512: attention with heads of 8 dimensions, which the smallest models have: the values of eight positions are a
 * vector, and scores, weights and sums of a few heads stay in registers.  Included by kernel_avx512.c; the integers are those of
 * attention_head in chip/arith.c.
 */

/* acc (8 dimensions) += sums of even and odd fours of positions, times weights' low and high bytes. */
static inline __m512i fold_small(__m512i acc, __m512i low, __m512i high) {
  __m256i l = _mm256_add_epi32(_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1));
  __m256i h = _mm256_add_epi32(_mm512_castsi512_si256(high), _mm512_extracti64x4_epi64(high, 1));
  return _mm512_add_epi64(acc, _mm512_add_epi64(_mm512_cvtepi32_epi64(l), _mm512_slli_epi64(_mm512_cvtepi32_epi64(h), 8)));
}

/* attention_finish of 8 dimensions. */
static inline void finish_small(__m512i acc, uint64_t den, int most, int32_t *out) {
  int bits = bit_length(den), shift = bits + 6 - (most - 16);
  if (shift < 1 || shift > 62) {
    int64_t sum[SMALL_DIM];
    _mm512_storeu_si512(sum, acc);
    attention_finish(sum, den, most, SMALL_DIM, out);
    return;
  }
  __m512i reciprocal = _mm512_set1_epi64((int64_t)(((uint64_t)1 << (bits + 15)) / den)), half = _mm512_set1_epi64((int64_t)1 << (shift - 1));
  __m512i x = _mm512_sra_epi64(_mm512_add_epi64(_mm512_mullo_epi64(acc, reciprocal), half), _mm_cvtsi32_si128(shift));
  x = _mm512_max_epi64(_mm512_min_epi64(x, _mm512_set1_epi64(INT32_MAX)), _mm512_set1_epi64(-INT32_MAX));
  _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi64_epi32(x));
}

/* `count` heads (a constant where it is called). */
static inline __attribute__((always_inline)) void small_heads(const int count, const KvCells *kv, const int8_t *q, const Step *q_step, int n, int32_t *z, size_t stride, int32_t *out) {
  const __m512i flip = _mm512_set1_epi8((char)0x80), none = _mm512_setzero_si512();
  const int pages = (n + KV_PAGE - 1) / KV_PAGE;
  __m512i quad[HEADS][2], start[HEADS], most[HEADS], steps = none; /* start: keys as k + 128, as in attention_avx512.h */
  __m512d unit[HEADS];
#pragma GCC unroll 4
  for (int h = 0; h < count; h++) {
    __m512i surplus = none;
    for (int i = 0; i < 2; i++) {
      quad[h][i] = four((const uint8_t *)q + SMALL_DIM * h + 4 * i);
      DOT(surplus, flip, quad[h][i]);
    }
    start[h] = _mm512_sub_epi32(none, surplus);
    unit[h] = score_unit(q_step[h]);
    most[h] = _mm512_set1_epi32(-INT32_MAX);
  }
  for (int p = 0; p < pages; p++) {
    KvCell c = kv_page_cell(kv, p);
    int seen = used_of(n, p);
    steps = largest_steps(c.v_step, seen, steps);
    for (int at = 0; at < seen; at += KV_BLOCK) {
      __m512i k0 = _mm512_xor_si512(load(c.k + at * SMALL_DIM), flip), k1 = _mm512_xor_si512(load(c.k + at * SMALL_DIM + 64), flip);
      __m512d low = key_steps(c.k_step + at), high = key_steps(c.k_step + at + 8);
      __mmask16 used = (__mmask16)_bzhi_u32(0xFFFF, (unsigned)(seen - at));
#pragma GCC unroll 4
      for (int h = 0; h < count; h++) {
        __m512i dot = start[h];
        DOT(dot, k0, quad[h][0]);
        DOT(dot, k1, quad[h][1]);
        __m512i s = sixteen_scores(dot, _mm512_mul_pd(low, unit[h]), _mm512_mul_pd(high, unit[h]), false);
        most[h] = _mm512_mask_max_epi32(most[h], used, most[h], s);
        _mm512_storeu_si512(z + (size_t)h * stride + p * KV_PAGE + at, s);
      }
    }
  }
  const WeightTable table = weight_table();
  const int exponent = largest_word(steps) >> 9;
  const __m512i pair = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  __m512i acc[HEADS], low[HEADS], high[HEADS], sum[HEADS];
  int32_t top[HEADS];
  uint64_t den[HEADS];
#pragma GCC unroll 4
  for (int h = 0; h < count; h++) {
    top[h] = _mm512_reduce_max_epi32(most[h]);
    den[h] = 0;
    acc[h] = low[h] = high[h] = sum[h] = none;
  }
  for (int p = 0; p < pages; p++) {
    KvCell c = kv_page_cell(kv, p);
    const ValueSteps value = value_steps(c.v_step);
    PageWeights w[HEADS];
    int seen = used_of(n, p);
#pragma GCC unroll 4
    for (int h = 0; h < count; h++) {
      w[h] = page_weights(&table, &value, z + (size_t)h * stride + p * KV_PAGE, seen, top[h], exponent);
      sum[h] = _mm512_add_epi32(sum[h], w[h].sum);
    }
    for (int at = 0; at < seen; at += 8) {
      __m512i v = load(c.v + at * SMALL_DIM), which = _mm512_add_epi32(pair, _mm512_set1_epi32(at / 4));
#pragma GCC unroll 4
      for (int h = 0; h < count; h++) {
        DOT(low[h], _mm512_permutexvar_epi32(which, w[h].low), v);
        DOT(high[h], _mm512_permutexvar_epi32(which, w[h].high), v);
      }
    }
    if (p % CHUNK != CHUNK - 1 && p + 1 < pages) continue; /* as add_dims says: 32 bits are enough for so many pages */
#pragma GCC unroll 4
    for (int h = 0; h < count; h++) {
      acc[h] = fold_small(acc[h], low[h], high[h]);
      den[h] += (uint64_t)_mm512_reduce_add_epi32(sum[h]);
      low[h] = high[h] = sum[h] = none;
    }
  }
  for (int h = 0; h < count; h++) finish_small(acc[h], den[h], exponent, out + SMALL_DIM * h);
}

void attend_small_avx512(const KvCells *kv, const int8_t *q, const Step *q_step, int heads, int n, int32_t *z, size_t stride, int32_t *out) {
  for (int h = 0; h < heads; h += HEADS, q += HEADS * SMALL_DIM, q_step += HEADS, out += HEADS * SMALL_DIM) switch (heads - h) {
      default: small_heads(4, kv, q, q_step, n, z, stride, out); break;
      case 3: small_heads(3, kv, q, q_step, n, z, stride, out); break;
      case 2: small_heads(2, kv, q, q_step, n, z, stride, out); break;
      case 1: small_heads(1, kv, q, q_step, n, z, stride, out); break;
    }
}
