/* engine/kernel_avx512: the matrix product for AVX-512 with VNNI and VBMI.
 *
 * A tile is 32 rows, two halves of 16 (one zmm of 16 int32 sums each).  First the group scales, [groups][32] bytes padded
 * to 64; then for each group of 64 columns, for each half, 16 quads of 4 columns (byte 4 r + c of a quad is row r, column
 * 4 q + c), packed in place:
 *   2 bits  one vector holds four quads, two bits each
 *   3 bits  three vectors hold eight: A = q0 | q1 << 3 | low 2 of q6 << 6, B = q2 | q3 << 3 | bit 2 of q6 << 6 | bit 2 of
 *           q7 << 7, C = q4 | q5 << 3 | low 2 of q7 << 6
 *   4 bits  one vector holds two, a nibble each
 *   6 bits  three vectors hold four: A = q0 | bits 0-1 of q3 << 6, B = q1 | bits 2-3 << 6, C = q2 | bits 4-5 << 6
 *   8 bits  levels as they are
 * Levels come from a byte shuffle (vpshufb up to 4 bits, vpermb for 6): a non-uniform book costs what a uniform one does.
 * vpdpbusd wants one unsigned side: activations + 128, less 128 * (sum of scale * level) of the row, which wraps exactly.
 */
#include "engine/kernels.h"

#include <immintrin.h>
#include <string.h>

enum { TILE = 32, HALF = 16, QUADS = GROUP / 4, TOKENS = 6 };
typedef __m512i V;

static size_t scales_bytes(int groups) { return ((size_t)TILE * (size_t)groups + 63) & ~(size_t)63; }

static size_t tile_bytes(const Matrix *m) { return scales_bytes(m->groups) + (size_t)m->groups * TILE * 8 * (size_t)m->bits; }

/* Puts the code of quad q (0 .. 15) into its place among a half's vectors; `byte` is its lane. */
static inline __attribute__((always_inline)) void put_code(int bits, int q, int code, uint8_t *half, int byte) {
  switch (bits) {
    case 2: half[q / 4 * 64 + byte] |= (uint8_t)(code << (q % 4 * 2)); break;
    case 4: half[q / 2 * 64 + byte] |= (uint8_t)(code << (q % 2 * 4)); break;
    case 3: {
      uint8_t *v = half + q / 8 * 192 + byte;
      int k = q % 8;
      if (k < 6) v[k / 2 * 64] |= (uint8_t)(code << (k % 2 * 3));
      else v[(k - 6) * 128] |= (uint8_t)((code & 3) << 6), v[64] |= (uint8_t)((code >> 2) << k);
      break;
    }
    case 6: {
      uint8_t *v = half + q / 4 * 192 + byte;
      int k = q % 4;
      if (k < 3) v[k * 64] |= (uint8_t)code;
      else
        for (int i = 0; i < 3; i++) v[i * 64] |= (uint8_t)((code >> 2 * i & 3) << 6);
      break;
    }
    default: half[q * 64 + byte] = (uint8_t)code; break;
  }
}

static inline __attribute__((always_inline)) void put_group(int bits, const uint8_t *code, uint8_t *half, int row) {
  for (int i = 0; i < GROUP; i++) put_code(bits, i / 4, code[i], half, row * 4 + i % 4);
}

static void pack_tile(const Matrix *m, Packed *p, int t) {
  uint8_t *scale = p->tiles + (size_t)t * p->tile_bytes, *group = scale + scales_bytes(m->groups);
  size_t half_bytes = (size_t)HALF * 8 * (size_t)m->bits;
  for (int r = 0; r < TILE && t * TILE + r < m->rows; r++) {
    int row = t * TILE + r;
    int32_t weighted = 0;
    for (int g = 0; g < m->groups; g++) {
      int s = matrix_group_scale(m, row, g), sum = 0;
      uint8_t code[GROUP], *half = group + (size_t)g * 2 * half_bytes + (size_t)(r / HALF) * half_bytes;
      matrix_group_codes(m, row, g, code);
      for (int i = 0; i < GROUP; i++) sum += m->level[code[i]];
      scale[g * TILE + r] = (uint8_t)s;
      weighted += s * sum;
      switch (m->bits) {
        case 2: put_group(2, code, half, r % HALF); break;
        case 3: put_group(3, code, half, r % HALF); break;
        case 4: put_group(4, code, half, r % HALF); break;
        case 6: put_group(6, code, half, r % HALF); break;
        default:
          for (int i = 0; i < GROUP; i++) code[i] = (uint8_t)m->level[code[i]];
          put_group(8, code, half, r % HALF);
          break;
      }
    }
    p->correction[row] = (int32_t)((uint32_t)weighted << 7);
  }
}

/* ---- unpacking: the 16 quads of one half as level bytes ---- */

static inline V load(const void *p) { return _mm512_loadu_si512(p); }
static inline V both(V a, V b) { return _mm512_and_si512(a, b); }

#define SHIFTED(v, s) _mm512_srli_epi16(v, s)

static inline __attribute__((always_inline)) void unpack(int bits, const uint8_t *w, V table, V q[QUADS]) {
  if (bits == 2) {
    const V mask = _mm512_set1_epi8(3);
    for (int j = 0; j < 4; j++) {
      V v = load(w + 64 * j);
      q[4 * j] = _mm512_shuffle_epi8(table, both(v, mask));
      q[4 * j + 1] = _mm512_shuffle_epi8(table, both(SHIFTED(v, 2), mask));
      q[4 * j + 2] = _mm512_shuffle_epi8(table, both(SHIFTED(v, 4), mask));
      q[4 * j + 3] = _mm512_shuffle_epi8(table, both(SHIFTED(v, 6), mask));
    }
  } else if (bits == 3) {
    const V m7 = _mm512_set1_epi8(7), m3 = _mm512_set1_epi8(3), m4 = _mm512_set1_epi8(4);
    for (int j = 0; j < 2; j++) {
      V a = load(w + 192 * j), b = load(w + 192 * j + 64), c = load(w + 192 * j + 128), *o = q + 8 * j;
      o[0] = both(a, m7), o[1] = both(SHIFTED(a, 3), m7), o[2] = both(b, m7), o[3] = both(SHIFTED(b, 3), m7);
      o[4] = both(c, m7), o[5] = both(SHIFTED(c, 3), m7);
      o[6] = _mm512_or_si512(both(SHIFTED(a, 6), m3), both(SHIFTED(b, 4), m4));
      o[7] = _mm512_or_si512(both(SHIFTED(c, 6), m3), both(SHIFTED(b, 5), m4));
      for (int k = 0; k < 8; k++) o[k] = _mm512_shuffle_epi8(table, o[k]);
    }
  } else if (bits == 4) {
    const V mask = _mm512_set1_epi8(15);
    for (int j = 0; j < 8; j++) {
      V v = load(w + 64 * j);
      q[2 * j] = _mm512_shuffle_epi8(table, both(v, mask));
      q[2 * j + 1] = _mm512_shuffle_epi8(table, both(SHIFTED(v, 4), mask));
    }
  } else if (bits == 6) { /* vpermb looks at six bits of an index only */
    const V m0 = _mm512_set1_epi8(3), m1 = _mm512_set1_epi8(12), m2 = _mm512_set1_epi8(48);
    for (int j = 0; j < 4; j++) {
      V a = load(w + 192 * j), b = load(w + 192 * j + 64), c = load(w + 192 * j + 128), *o = q + 4 * j;
      V d = _mm512_or_si512(_mm512_or_si512(both(SHIFTED(a, 6), m0), both(SHIFTED(b, 4), m1)), both(SHIFTED(c, 2), m2));
      o[0] = _mm512_permutexvar_epi8(a, table), o[1] = _mm512_permutexvar_epi8(b, table);
      o[2] = _mm512_permutexvar_epi8(c, table), o[3] = _mm512_permutexvar_epi8(d, table);
    }
  } else {
    for (int j = 0; j < QUADS; j++) q[j] = load(w + 64 * j);
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

static V table_of(const Packed *p) {
  if (p->bits == 6) return load(p->level);
  return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p->level));
}

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

typedef struct {
  const Packed *p;
  int row, to;
  const uint8_t *a; /* activations + 128, (tokens, stride) */
  size_t a_stride;
  const Scale *x;
  int frac;
  int32_t *y;
  size_t y_stride;
} Job;

static inline void store_tile(const Job *j, int token, V acc[2]) {
  for (int h = 0; h < 2; h++) {
    int first = j->row + h * HALF, rows = j->to - first < HALF ? j->to - first : HALF;
    if (rows <= 0) return;
    V sum = _mm512_sub_epi32(acc[h], load(j->p->correction + first));
    finish(sum, j->p->row_scale + first, rows, j->p->exponent, j->x[token], j->frac, j->y + (size_t)token * j->y_stride + first);
  }
}

/* One token: codes go from memory to registers to sums. */
static inline __attribute__((always_inline)) void tile_one(const Job *j, int bits, V table) {
  const uint8_t *scale = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes, *w = scale + scales_bytes(j->p->groups);
  V acc[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *a = j->a + g * GROUP;
    for (int h = 0; h < 2; h++, w += HALF * 8 * bits) {
      for (int k = 0; k < HALF * 8 * bits; k += 64) _mm_prefetch((const char *)w + k + 3072, _MM_HINT_T0);
      V q[QUADS], s0 = _mm512_setzero_si512(), s1 = s0;
      unpack(bits, w, table, q);
      for (int k = 0; k < QUADS; k += 2) {
        DOT(s0, four(a + 4 * k), q[k]);
        DOT(s1, four(a + 4 * k + 4), q[k + 1]);
      }
      V sum = _mm512_mullo_epi32(_mm512_add_epi32(s0, s1), scales_of(scale + g * TILE + h * HALF));
      acc[h] = _mm512_add_epi32(acc[h], sum);
    }
  }
  store_tile(j, 0, acc);
}

/* The levels of one tile as bytes: [groups][16 quads][2 halves][64]. */
static inline __attribute__((always_inline)) void unpack_tile(const Job *j, int bits, V table, int8_t *out) {
  const uint8_t *w = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes + scales_bytes(j->p->groups);
  for (int g = 0; g < j->p->groups; g++)
    for (int h = 0; h < 2; h++, w += HALF * 8 * bits) {
      V q[QUADS];
      unpack(bits, w, table, q);
      for (int k = 0; k < QUADS; k++) _mm512_store_si512(out + ((g * QUADS + k) * 2 + h) * 64, q[k]);
    }
}

/* `count` tokens (a constant where it is called) against an unpacked tile. */
static inline __attribute__((always_inline)) void tile_many(const Job *j, int token, const int count, const int8_t *level) {
  const uint8_t *scale = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
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
    V s0 = scales_of(scale + g * TILE), s1 = scales_of(scale + g * TILE + HALF);
#pragma GCC unroll 6
    for (int t = 0; t < count; t++) {
      acc[t][0] = _mm512_add_epi32(acc[t][0], _mm512_mullo_epi32(sum[t][0], s0));
      acc[t][1] = _mm512_add_epi32(acc[t][1], _mm512_mullo_epi32(sum[t][1], s1));
    }
  }
  for (int t = 0; t < count; t++) store_tile(j, token + t, acc[t]);
}

static void all_tokens(const Job *j, int n, const int8_t *level) {
  int t = 0;
  for (; t + TOKENS <= n; t += TOKENS) tile_many(j, t, TOKENS, level);
  if (n - t >= 3) tile_many(j, t, 3, level), t += 3;
  for (; t < n; t++) tile_many(j, t, 1, level);
}

#define FOR_BITS(bits) \
  case bits:           \
    if (n == 1) tile_one(&j, bits, table); \
    else unpack_tile(&j, bits, table, scratch); \
    break;

static void matmul(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac,
                   int32_t *y, size_t y_stride, int8_t *scratch) {
  V table = table_of(p);
  Job j = {p, 0, to, (const uint8_t *)a, a_stride, x, frac, y, y_stride};
  for (int row = from; row < to; row += TILE) {
    j.row = row;
    switch (p->bits) {
      FOR_BITS(2)
      FOR_BITS(3)
      FOR_BITS(4)
      FOR_BITS(6)
      FOR_BITS(8)
    }
    if (n > 1) all_tokens(&j, n, scratch);
  }
}

const Kernels kernels_avx512 = {
    .tile = TILE, .needs_correction = true, .a_flip = 128, .tile_bytes = tile_bytes, .pack_tile = pack_tile, .matmul = matmul,
    .quant8 = quant8_avx512, .norm8 = norm8_avx512, .rotary = rotary_avx512, .attention = attention_avx512,
    .gate = gate_avx512, .butterfly_quant8 = butterfly_quant8_avx512, .add = add_avx512,
};
