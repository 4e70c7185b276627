/* engine/kernel_avx512: the matrix product for AVX-512 with VNNI and VBMI.
 *
 * A tile is 32 rows, two halves of 16 (one zmm of 16 int32 sums each), and is read in order from its first byte to its last.
 * For every two groups of 64 columns come 64 bytes of group scales, [2][32], then their codes, 16 quads of 4 columns each
 * (byte 4 r + c of a quad is row r, column 4 q + c).  Quads are packed in chunks, one of the first half and one of the second in
 * turn:
 *   2 bits  one vector holds four quads, two bits each
 *   3 bits  three vectors hold eight: A = q0 | q1 << 3 | low 2 of q6 << 6, B = q2 | q3 << 3 | bit 2 of q6 << 6 | bit 2 of
 *           q7 << 7, C = q4 | q5 << 3 | low 2 of q7 << 6
 *   4 bits  one vector holds two, a nibble each
 *   6 bits  three vectors hold four: A = q0 | bits 0-1 of q3 << 6, B = q1 | bits 2-3 << 6, C = q2 | bits 4-5 << 6
 *   8 bits  levels as they are
 * Levels come from vpermb: a non-uniform book costs what a uniform one does.
 * vpdpbusd wants one unsigned side: activations + 128, less 128 * (sum of scale * level) of the row, which wraps exactly.
 *
 * Memory (measured on Zen 4, 31 of the 33 GB/s that a core reads linearly): one stream, or the prefetcher of the hardware loses
 * it: with scales apart a matrix of 2,048 columns came at 17 GB/s.  Prefetching by hand goes to L2 only; into L1 it takes the
 * few buffers that misses wait in.
 */
#include "engine/kernels.h"

#include <immintrin.h>
#include <string.h>

enum { TILE = 32, HALF = 16, QUADS = GROUP / 4, TOKENS = 6, FEW = 4, FUSED = 8, AHEAD = 1024 /* bytes to prefetch */ };
typedef __m512i V;

enum { SCALES = 2 * TILE }; /* bytes of the scales of two groups, before their codes */

static inline size_t codes_bytes(int bits) { return TILE * 8 * (size_t)bits; } /* of one group */

static inline size_t group_at(int g, int bits) { return (size_t)(g / 2 + 1) * SCALES + (size_t)g * codes_bytes(bits); }

static inline size_t scales_at(int g, int bits) { return (size_t)(g / 2) * (SCALES + 2 * codes_bytes(bits)) + (size_t)(g % 2) * TILE; }

static size_t tile_bytes(const Matrix *m) { return group_at(m->groups - 1, m->bits) + codes_bytes(m->bits); }

/* A chunk is the fewest whole vectors that hold whole quads. */
static inline int chunk_quads(int bits) { return bits == 2 ? 4 : bits == 3 ? 8 : bits == 4 ? 2 : bits == 6 ? 4 : 1; }
static inline int chunk_bytes(int bits) { return chunk_quads(bits) * 8 * bits; }

#include "engine/pack_avx512.h"

/* ---- unpacking ---- */

static inline V load(const void *p) { return _mm512_loadu_si512(p); }
static inline V lookup(V table, V index) { return _mm512_permutexvar_epi8(index, table); }
/* Bits of a where the mask is 1, of b elsewhere. */
static inline V select_bits(V mask, V a, V b) { return _mm512_ternarylogic_epi64(mask, a, b, 0xCA); }

#define SHIFTED(v, s) _mm512_srli_epi16(v, s)

/* The quads of a chunk as level bytes.  vpermb looks at six bits of an index, and the table repeats itself: what stands above a
 * code need not be masked. */
static inline __attribute__((always_inline)) void unpack(int bits, const uint8_t *w, V table, V *q) {
  V a = load(w);
  if (bits == 2) {
    for (int k = 0; k < 4; k++) q[k] = lookup(table, SHIFTED(a, 2 * k));
  } else if (bits == 3) {
    V b = load(w + 64), c = load(w + 128);
    const V low2 = _mm512_set1_epi8(3);
    q[0] = lookup(table, a), q[1] = lookup(table, SHIFTED(a, 3));
    q[2] = lookup(table, b), q[3] = lookup(table, SHIFTED(b, 3));
    q[4] = lookup(table, c), q[5] = lookup(table, SHIFTED(c, 3));
    q[6] = lookup(table, select_bits(low2, SHIFTED(a, 6), SHIFTED(b, 4)));
    q[7] = lookup(table, select_bits(low2, SHIFTED(c, 6), SHIFTED(b, 5)));
  } else if (bits == 4) {
    q[0] = lookup(table, a), q[1] = lookup(table, SHIFTED(a, 4));
  } else if (bits == 6) {
    V b = load(w + 64), c = load(w + 128);
    q[0] = lookup(table, a), q[1] = lookup(table, b), q[2] = lookup(table, c);
    V low = select_bits(_mm512_set1_epi8(3), SHIFTED(a, 6), SHIFTED(b, 4));
    q[3] = lookup(table, select_bits(_mm512_set1_epi8(15), low, SHIFTED(c, 2)));
  } else {
    q[0] = a;
  }
}

/* gcc 12 spills around the intrinsic; the instruction itself keeps the sums in registers. */
#define DOT(sum, unsigned_a, level) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_a), "v"(level))

static inline V four(const uint8_t *a) {
  int32_t word;
  memcpy(&word, a, 4);
  return _mm512_set1_epi32(word);
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
  const V round = _mm512_set1_epi64((int64_t)1 << (s - 1)), top = _mm512_set1_epi64(INT32_MAX), low = _mm512_set1_epi64(-INT32_MAX);
  V scale = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)row_scale)), m = _mm512_set1_epi64((int64_t)x.M);
  const V half = _mm512_set1_epi64(32768);
  V pe = _mm512_srli_epi64(_mm512_add_epi64(_mm512_mul_epu32(scale, m), half), 16);
  V po = _mm512_srli_epi64(_mm512_add_epi64(_mm512_mul_epu32(_mm512_srli_epi64(scale, 32), m), half), 16);
  __m128i count = _mm_cvtsi32_si128(s);
  V e = _mm512_sra_epi64(_mm512_add_epi64(_mm512_mul_epi32(acc, pe), round), count);
  V o = _mm512_sra_epi64(_mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(acc, 32), po), round), count);
  e = _mm512_max_epi64(_mm512_min_epi64(e, top), low);
  o = _mm512_max_epi64(_mm512_min_epi64(o, top), low);
  V out = _mm512_mask_blend_epi32(0xAAAA, e, _mm512_slli_epi64(o, 32));
  _mm512_mask_storeu_epi32(y, (__mmask16)((1u << rows) - 1), out);
}

static inline void store_tile(const MatmulJob *j, int token, V acc[2]) {
  for (int h = 0; h < 2; h++) {
    int first = j->row + h * HALF, rows = j->to - first < HALF ? j->to - first : HALF;
    if (rows <= 0) return;
    V sum = _mm512_sub_epi32(acc[h], load(j->p->correction + first));
    finish(sum, j->p->row_scale + first, rows, j->p->exponent, j->x[token], j->frac, j->y + (size_t)token * j->y_stride + first);
  }
}

/* `count` tokens (a constant where it is called, at most FEW): codes go from memory to registers to sums. */
static inline __attribute__((always_inline)) void tile_few(const MatmulJob *j, int bits, int token, const int count, V table) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes, *first = j->a + (size_t)token * j->a_stride;
  const int quads = chunk_quads(bits), chains = count == 1 ? 2 : 1; /* sums that take turns, so that none waits for the last */
  V acc[FEW][2];
  for (int t = 0; t < count; t++) acc[t][0] = acc[t][1] = _mm512_setzero_si512();
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *a = first + g * GROUP, *w = tile + group_at(g, bits), *scale = tile + scales_at(g, bits);
    V sum[FEW][2][2];
    for (int t = 0; t < count; t++)
      for (int i = 0; i < 4; i++) sum[t][i / 2][i % 2] = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int q = 0; q < QUADS; q += quads, w += 2 * chunk_bytes(bits)) {
      V low[8], high[8];
      for (int k = 0; k < 2 * chunk_bytes(bits); k += 64) _mm_prefetch((const char *)w + k + AHEAD, _MM_HINT_T2);
      unpack(bits, w, table, low);
      unpack(bits, w + chunk_bytes(bits), table, high);
#pragma GCC unroll 8
      for (int k = 0; k < quads; k++)
#pragma GCC unroll 4
        for (int t = 0; t < count; t++) {
          V x = four(a + (size_t)t * j->a_stride + 4 * (q + k));
          DOT(sum[t][0][(q + k) % chains], x, low[k]);
          DOT(sum[t][1][(q + k) % chains], x, high[k]);
        }
    }
    V s[2] = {scales_of(scale), scales_of(scale + HALF)};
    for (int t = 0; t < count; t++)
      for (int h = 0; h < 2; h++) {
        V all = chains == 2 ? _mm512_add_epi32(sum[t][h][0], sum[t][h][1]) : sum[t][h][0];
        acc[t][h] = _mm512_add_epi32(acc[t][h], _mm512_mullo_epi32(all, s[h]));
      }
  }
  for (int t = 0; t < count; t++) store_tile(j, token + t, acc[t]);
}

/* Up to FUSED tokens straight from the codes: unpacking them again costs less than writing levels down. */
static inline __attribute__((always_inline)) void tile_fused(const MatmulJob *j, int bits, int n, V table) {
  int passes = (n + FEW - 1) / FEW;
  for (int i = 0; i < passes; i++) {
    Span s = span_of(n, 1, i, passes);
    switch (s.to - s.from) {
      case 4: tile_few(j, bits, s.from, 4, table); break;
      case 3: tile_few(j, bits, s.from, 3, table); break;
      case 2: tile_few(j, bits, s.from, 2, table); break;
      default: tile_few(j, bits, s.from, 1, table); break;
    }
  }
}

/* The levels of one tile as bytes: [groups][16 quads][2 halves][64]. */
static inline __attribute__((always_inline)) void unpack_tile(const MatmulJob *j, int bits, V table, int8_t *out) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const int quads = chunk_quads(bits);
  for (int g = 0; g < j->p->groups; g++)
    for (int h = 0; h < 2; h++) {
      const uint8_t *w = tile + group_at(g, bits) + h * chunk_bytes(bits);
      for (int c = 0; c < QUADS; c += quads, w += 2 * chunk_bytes(bits)) {
        V q[8];
        unpack(bits, w, table, q);
        for (int k = 0; k < quads; k++) _mm512_store_si512(out + ((g * QUADS + c + k) * 2 + h) * 64, q[k]);
      }
    }
}

/* `count` tokens (a constant where it is called) against an unpacked tile. */
static inline __attribute__((always_inline)) void tile_many(const MatmulJob *j, int token, const int count, const int8_t *level) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const uint8_t *a = j->a + (size_t)token * j->a_stride;
  V acc[TOKENS][2];
  for (int t = 0; t < count; t++) acc[t][0] = acc[t][1] = _mm512_setzero_si512();
  for (int g = 0; g < j->p->groups; g++) {
    V sum[TOKENS][2];
    for (int t = 0; t < count; t++) sum[t][0] = sum[t][1] = _mm512_setzero_si512();
    for (int k = 0; k < QUADS; k++, level += 128) {
      V w0 = load(level), w1 = load(level + 64);
#pragma GCC unroll 6
      for (int t = 0; t < count; t++) {
        V x = four(a + (size_t)t * j->a_stride + g * GROUP + 4 * k);
        DOT(sum[t][0], x, w0);
        DOT(sum[t][1], x, w1);
      }
    }
    const uint8_t *scale = tile + scales_at(g, j->p->bits);
    V s0 = scales_of(scale), s1 = scales_of(scale + HALF);
#pragma GCC unroll 6
    for (int t = 0; t < count; t++) {
      acc[t][0] = _mm512_add_epi32(acc[t][0], _mm512_mullo_epi32(sum[t][0], s0));
      acc[t][1] = _mm512_add_epi32(acc[t][1], _mm512_mullo_epi32(sum[t][1], s1));
    }
  }
  for (int t = 0; t < count; t++) store_tile(j, token + t, acc[t]);
}

/* As few passes over the levels as can be, of about equal size. */
static void all_tokens(const MatmulJob *j, int n, const int8_t *level) {
  int passes = (n + TOKENS - 1) / TOKENS;
  for (int i = 0; i < passes; i++) {
    Span s = span_of(n, 1, i, passes);
    switch (s.to - s.from) {
      case 6: tile_many(j, s.from, 6, level); break;
      case 5: tile_many(j, s.from, 5, level); break;
      case 4: tile_many(j, s.from, 4, level); break;
      case 3: tile_many(j, s.from, 3, level); break;
      case 2: tile_many(j, s.from, 2, level); break;
      default: tile_many(j, s.from, 1, level); break;
    }
  }
}

#define FOR_BITS(bits) \
  case bits:           \
    if (n <= FUSED) tile_fused(&j, bits, n, table); \
    else unpack_tile(&j, bits, table, scratch); \
    break;

static void matmul(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac,
                   int32_t *y, size_t y_stride, int8_t *scratch) {
  V table = load(p->level);
  MatmulJob j = {p, 0, to, (const uint8_t *)a, a_stride, x, frac, y, y_stride};
  for (int row = from; row < to; row += TILE) {
    j.row = row;
    switch (p->bits) {
      FOR_BITS(2)
      FOR_BITS(3)
      FOR_BITS(4)
      FOR_BITS(6)
      FOR_BITS(8)
    }
    if (n > FUSED) all_tokens(&j, n, scratch);
  }
}

const Kernels kernels_avx512 = {
    .tile = TILE, .needs_correction = true, .checks = true, .a_flip = 128, .tile_bytes = tile_bytes, .pack_tile = pack_tile, .matmul = matmul,
    .quant8 = quant8_avx512, .norm8 = norm8_avx512, .rotary = rotary_avx512, .scores = scores_avx512, .values = values_avx512,
    .gate = gate_avx512, .butterfly_quant8 = butterfly_quant8_avx512, .add = add_avx512,
};
