/* engine/tiles_avx512: what the AVX-512 and AMX kernels share: unpacking tiles (chip/tile.h; a vector is one zmm, a half's sums are one
 * zmm of 16), and what makes sums into results.  Levels come from vpermb: a non-uniform book costs what a uniform one does.
 */
#ifndef BURIN_ENGINE_TILES_AVX512_H
#define BURIN_ENGINE_TILES_AVX512_H

#include "engine/kernels.h"

#include <immintrin.h>
#include <string.h>

typedef __m512i V;

/* ---- unpacking ---- */

static inline V load(const void *p) { return _mm512_loadu_si512(p); }
static inline V lookup(V table, V index) { return _mm512_permutexvar_epi8(index, table); }
/* Bits of a where the mask is 1, of b elsewhere. */
static inline V select_bits(V mask, V a, V b) { return _mm512_ternarylogic_epi64(mask, a, b, 0xCA); }

#define SHIFTED(v, s) _mm512_srli_epi16(v, s)

/* What unpack looks levels up in; 8 bits: level 0, to which codes are added. */
static inline V table_of(const Packed *p) { return p->bits == 8 ? _mm512_set1_epi8(p->level[0]) : load(p->level); }

/* Registers of codes that a chunk is. */
static inline __attribute__((always_inline)) void load_codes(int bits, const uint8_t *w, V c[3]) {
  for (int i = 0; i < chunk_bytes(bits) / 64; i++) c[i] = load(w + 64 * i);
}

/* Quad k of a chunk as level bytes.  vpermb looks at six bits of an index, and the table repeats itself: what stands above a
 * code need not be masked. */
static inline __attribute__((always_inline)) V quad_of(int bits, const V c[3], int k, V table) {
  const V low2 = _mm512_set1_epi8(3), low4 = _mm512_set1_epi8(15);
  if (bits == 2) return lookup(table, SHIFTED(c[0], 2 * k));
  if (bits == 4) return lookup(table, SHIFTED(c[0], 4 * k));
  if (bits == 8) return _mm512_add_epi8(c[0], table);
  if (bits == 3 && k < 6) return lookup(table, SHIFTED(c[k / 2], 3 * (k % 2)));
  if (bits == 3 && k == 6) return lookup(table, select_bits(low2, SHIFTED(c[0], 6), SHIFTED(c[1], 4)));
  if (bits == 3) return lookup(table, select_bits(low2, SHIFTED(c[2], 6), SHIFTED(c[1], 5)));
  if (k < 3) return lookup(table, c[k]);
  return lookup(table, select_bits(low4, select_bits(low2, SHIFTED(c[0], 6), SHIFTED(c[1], 4)), SHIFTED(c[2], 2)));
}

/* All quads of a chunk. */
static inline __attribute__((always_inline)) void unpack(int bits, const uint8_t *w, V table, V *q) {
  V c[3];
  load_codes(bits, w, c);
#pragma GCC unroll 8
  for (int k = 0; k < chunk_quads(bits); k++) q[k] = quad_of(bits, c, k, table);
}

static inline V scales_of(const uint8_t *s) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)s)); }

/* 16 sums -> y; the scalar formula lane by lane in 64 bits. */
static inline void finish(V acc, const uint16_t *row_scale, int rows, int exponent, Scale x, int frac, int32_t *y) {
  int s = -(exponent + x.E + 16 + frac);
  if (s < 1 || s > 62) {
    int32_t sums[HALF];
    _mm512_storeu_si512(sums, acc);
    finish_row_avx512(sums, row_scale, rows, exponent, x, frac, y);
    return;
  }
  const V round = _mm512_set1_epi64((int64_t)1 << (s - 1));
  V scale = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)row_scale)), m = _mm512_set1_epi64((int64_t)x.M);
  const V half = _mm512_set1_epi64(32768);
  V pe = _mm512_srli_epi64(_mm512_add_epi64(_mm512_mul_epu32(scale, m), half), 16);
  V po = _mm512_srli_epi64(_mm512_add_epi64(_mm512_mul_epu32(_mm512_srli_epi64(scale, 32), m), half), 16);
  __m128i count = _mm_cvtsi32_si128(s);
  V e = _mm512_sra_epi64(_mm512_add_epi64(_mm512_mul_epi32(acc, pe), round), count);
  V o = _mm512_sra_epi64(_mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(acc, 32), po), round), count);
  if (s < 17) { /* else a product, below 2^48, ends within 32 bits */
    const V top = _mm512_set1_epi64(INT32_MAX), low = _mm512_set1_epi64(-INT32_MAX);
    e = _mm512_max_epi64(_mm512_min_epi64(e, top), low);
    o = _mm512_max_epi64(_mm512_min_epi64(o, top), low);
  }
  V out = _mm512_mask_blend_epi32(0xAAAA, e, _mm512_slli_epi64(o, 32));
  _mm512_mask_storeu_epi32(y, (__mmask16)((1u << rows) - 1), out);
}

/* Rows of a half that the job has: at most 16; 0 or fewer where it ends before. */
static inline int rows_of(const MatmulJob *j, int half) {
  int left = j->to - (j->row + half * HALF);
  return left < HALF ? left : HALF;
}

static inline void store_half(const MatmulJob *j, int token, int half, V acc) {
  int first = j->row + half * HALF, rows = rows_of(j, half);
  if (rows <= 0) return;
  V sum = _mm512_sub_epi32(acc, load(j->p->correction + first));
  finish(sum, j->p->row_scale + first, rows, j->p->exponent, j->x[token], j->frac, j->y + (size_t)token * j->y_stride + first);
}

/* Of kernel_avx512.c, for AMX: the product for few tokens. */
void weigh_avx512(const Packed *p, int t, RowSums *out);
void matmul_avx512(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac, int32_t *y,
                   size_t y_stride, int8_t *scratch);
int scores_avx512(const KvCells *kv, const int8_t *q, const Step *q_step, int heads, int from, int to, int32_t *z, size_t stride, int32_t *top);
void values_avx512(const KvCells *kv, int heads, int from, int to, const int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc);

#endif
