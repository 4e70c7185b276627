/* engine/tiles_avx2: the matrix product for AVX2, and with AVX-VNNI's dot product where the file that includes this is compiled for it.
 *
 * A tile is 16 rows, two halves of 8 (one ymm of 8 int32 sums each), and is read in order.  For every two groups of 64 columns come
 * 32 bytes of group scales, [2][16], then their codes, 16 quads of 4 columns each (byte 4 r + c of a quad is row r, column
 * 4 q + c).  Quads are packed in chunks, one of the first half and one of the second in turn:
 *   2 bits  one vector holds four quads, two bits each
 *   3 bits  three vectors hold eight: A = q0 | q1 << 3 | low 2 of q6 << 6, B = q2 | q3 << 3 | bit 2 of q6 << 6 | bit 2 of
 *           q7 << 7, C = q4 | q5 << 3 | low 2 of q7 << 6
 *   4 bits  one vector holds two, a nibble each
 *   6, 8    levels as bytes
 * Levels come from vpshufb, whose table repeats itself for codes of fewer than 4 bits.
 * The dot products want one unsigned side: activations + 128, less 128 * (sum of scale * level) of the row.  vpmaddubsw: with levels
 * of at most 31 the 16-bit sums of two quads stay below 4 * 255 * 31 < 2^15; wider levels meet |a| with a's sign instead:
 * 2 * 127 * 127 < 2^15.
 */
#ifndef BURIN_ENGINE_TILES_AVX2_H
#define BURIN_ENGINE_TILES_AVX2_H

#include "engine/kernels.h"

#include <immintrin.h>
#include <string.h>

enum { TILE = 16, HALF = 8, QUADS = GROUP / 4, TOKENS = 4, SCALES = 2 * TILE /* bytes, before two groups */ };
typedef __m256i V;

#define INLINE static inline __attribute__((always_inline))

/* Bits that a code takes in a tile. */
INLINE int stored_bits(int bits) { return bits <= 4 ? bits : 8; }
INLINE size_t codes_bytes(int bits) { return TILE * 8 * (size_t)stored_bits(bits); } /* of one group */
INLINE size_t group_at(int g, int bits) { return (size_t)(g / 2 + 1) * SCALES + (size_t)g * codes_bytes(bits); }
INLINE size_t scales_at(int g, int bits) { return (size_t)(g / 2) * (SCALES + 2 * codes_bytes(bits)) + (size_t)(g % 2) * TILE; }
INLINE int chunk_quads(int bits) { return bits == 2 ? 4 : bits == 3 ? 8 : bits == 4 ? 2 : 1; }
INLINE int chunk_bytes(int bits) { return chunk_quads(bits) * 4 * stored_bits(bits); }

/* Whether the dot product takes levels of this width as they are, against activations + 128. */
INLINE bool unsigned_side(int bits) {
#if defined(__AVXVNNI__)
  return (void)bits, true;
#else
  return bits <= 4;
#endif
}

static size_t tile_bytes(const Matrix *m) { return group_at(m->groups - 1, m->bits) + codes_bytes(m->bits); }

/* ---- packing ---- */

/* Puts the code of quad q (0 .. 15) into its place among a half's chunks; `byte` is its lane. */
INLINE void put_code(int bits, int q, int code, uint8_t *half, int byte) {
  uint8_t *v = half + q / chunk_quads(bits) * 2 * chunk_bytes(bits) + byte;
  int k = q % chunk_quads(bits);
  if (bits == 2 || bits == 4) v[0] |= (uint8_t)(code << k * bits);
  else if (bits != 3) v[0] = (uint8_t)code;
  else if (k < 6) v[k / 2 * 32] |= (uint8_t)(code << (k % 2 * 3));
  else v[(k - 6) * 64] |= (uint8_t)((code & 3) << 6), v[32] |= (uint8_t)((code >> 2) << k);
}

INLINE void put_group(int bits, const uint8_t *code, uint8_t *half, int row) {
  for (int i = 0; i < GROUP; i++) put_code(bits, i / 4, code[i], half, row * 4 + i % 4);
}

static bool pack_tile(const Matrix *m, Packed *p, int t) {
  uint8_t *tile = p->tiles + (size_t)t * p->tile_bytes;
  for (int r = 0; r < TILE && t * TILE + r < m->rows; r++) {
    int row = t * TILE + r;
    int32_t weighted = 0;
    for (int g = 0; g < m->groups; g++) {
      int s = matrix_group_scale(m, row, g), sum = 0;
      uint8_t code[GROUP], *half = tile + group_at(g, m->bits) + (size_t)(r / HALF) * (size_t)chunk_bytes(m->bits);
      matrix_group_codes(m, row, g, code);
      for (int i = 0; i < GROUP; i++) sum += m->level[code[i]];
      tile[scales_at(g, m->bits) + (size_t)r] = (uint8_t)s;
      weighted += s * sum;
      for (int i = 0; m->bits > 4 && i < GROUP; i++) code[i] = (uint8_t)m->level[code[i]];
      switch (m->bits) {
        case 2: put_group(2, code, half, r % HALF); break;
        case 3: put_group(3, code, half, r % HALF); break;
        case 4: put_group(4, code, half, r % HALF); break;
        default: put_group(8, code, half, r % HALF); break;
      }
    }
    p->correction[row] = unsigned_side(m->bits) ? (int32_t)((uint32_t)weighted << 7) : 0;
  }
  return true;
}

/* ---- unpacking ---- */

INLINE V load(const void *p) { return _mm256_loadu_si256((const V *)p); }
/* Bit 7 of an index would give 0; the bits above a code that remain choose among equals. */
INLINE V lookup(V table, V index) { return _mm256_shuffle_epi8(table, _mm256_and_si256(index, _mm256_set1_epi8(15))); }
#define SHIFTED(v, s) _mm256_srli_epi16(v, s)

/* The quads of a chunk as level bytes. */
INLINE void unpack(int bits, const uint8_t *w, V table, V *q) {
  V a = load(w);
  if (bits == 2) {
    for (int k = 0; k < 4; k++) q[k] = lookup(table, SHIFTED(a, 2 * k));
  } else if (bits == 3) {
    V b = load(w + 32), c = load(w + 64);
    const V low2 = _mm256_set1_epi8(3), bit2 = _mm256_set1_epi8(4);
    q[0] = lookup(table, a), q[1] = lookup(table, SHIFTED(a, 3));
    q[2] = lookup(table, b), q[3] = lookup(table, SHIFTED(b, 3));
    q[4] = lookup(table, c), q[5] = lookup(table, SHIFTED(c, 3));
    q[6] = lookup(table, _mm256_or_si256(_mm256_and_si256(SHIFTED(a, 6), low2), _mm256_and_si256(SHIFTED(b, 4), bit2)));
    q[7] = lookup(table, _mm256_or_si256(_mm256_and_si256(SHIFTED(c, 6), low2), _mm256_and_si256(SHIFTED(b, 5), bit2)));
  } else if (bits == 4) {
    q[0] = lookup(table, a), q[1] = lookup(table, SHIFTED(a, 4));
  } else {
    q[0] = a;
  }
}

/* ---- products ---- */

INLINE V four(const uint8_t *a) {
  int32_t word;
  memcpy(&word, a, 4);
  return _mm256_set1_epi32(word);
}

/* sum += products of two quads with the activations (+ 128) before them. */
#if defined(__AVXVNNI__)
INLINE V add_pair(V sum, int bits, V x0, V level0, V x1, V level1) {
  (void)bits;
  return _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(sum, x0, level0), x1, level1);
}
#else
INLINE V add_pair(V sum, int bits, V x0, V level0, V x1, V level1) {
  const V one = _mm256_set1_epi16(1), flip = _mm256_set1_epi8((char)0x80);
  if (bits <= 4) {
    V pairs = _mm256_add_epi16(_mm256_maddubs_epi16(x0, level0), _mm256_maddubs_epi16(x1, level1));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, one));
  }
  V a0 = _mm256_xor_si256(x0, flip), a1 = _mm256_xor_si256(x1, flip);
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(a0), _mm256_sign_epi8(level0, a0)), one));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(a1), _mm256_sign_epi8(level1, a1)), one));
}
#endif

INLINE V scaled(V sum, const uint8_t *scale) { return _mm256_mullo_epi32(sum, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)scale))); }

static void store_tile(const MatmulJob *j, int token, const V acc[2]) {
  for (int h = 0; h < 2; h++) {
    int first = j->row + h * HALF, rows = j->to - first < HALF ? j->to - first : HALF;
    if (rows <= 0) return;
    int32_t sums[HALF];
    _mm256_storeu_si256((V *)sums, _mm256_sub_epi32(acc[h], load(j->p->correction + first)));
    finish_row_avx2(sums, j->p->row_scale + first, rows, j->p->exponent, j->x[token], j->frac, j->y + (size_t)token * j->y_stride + first);
  }
}

/* One token: codes go from memory to registers to sums. */
INLINE void tile_one(const MatmulJob *j, int bits, V table) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const int quads = chunk_quads(bits) < 2 ? 2 : chunk_quads(bits), chunks = quads / chunk_quads(bits);
  V acc[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *a = j->a + g * GROUP, *w = tile + group_at(g, bits), *scale = tile + scales_at(g, bits);
    V sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 8
    for (int q = 0; q < QUADS; q += quads) {
      V level[2][8];
      for (int c = 0; c < chunks; c++)
        for (int h = 0; h < 2; h++, w += chunk_bytes(bits)) {
          fetch_weights(w, (size_t)chunk_bytes(bits));
          unpack(bits, w, table, level[h] + c * chunk_quads(bits));
        }
#pragma GCC unroll 4
      for (int k = 0; k < quads; k += 2)
        for (int h = 0; h < 2; h++) sum[h] = add_pair(sum[h], bits, four(a + 4 * (q + k)), level[h][k], four(a + 4 * (q + k) + 4), level[h][k + 1]);
    }
    for (int h = 0; h < 2; h++) acc[h] = _mm256_add_epi32(acc[h], scaled(sum[h], scale + h * HALF));
  }
  store_tile(j, 0, acc);
}

/* The levels of one tile as bytes: [groups][16 quads][2 halves][32]. */
INLINE void unpack_tile(const MatmulJob *j, int bits, V table, int8_t *out) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const int quads = chunk_quads(bits);
  for (int g = 0; g < j->p->groups; g++)
    for (int h = 0; h < 2; h++) {
      const uint8_t *w = tile + group_at(g, bits) + h * chunk_bytes(bits);
      for (int c = 0; c < QUADS; c += quads, w += 2 * chunk_bytes(bits)) {
        V q[8];
        fetch_weights(w, (size_t)chunk_bytes(bits));
        unpack(bits, w, table, q);
        for (int k = 0; k < quads; k++) _mm256_storeu_si256((V *)(out + ((g * QUADS + c + k) * 2 + h) * 32), q[k]);
      }
    }
}

/* `count` tokens (a constant where it is called) against an unpacked tile. */
INLINE void tile_many(const MatmulJob *j, int bits, int token, const int count, const int8_t *level) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const uint8_t *a = j->a + (size_t)token * j->a_stride;
  V acc[TOKENS][2];
  for (int t = 0; t < count; t++) acc[t][0] = acc[t][1] = _mm256_setzero_si256();
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *scale = tile + scales_at(g, j->p->bits);
    V sum[TOKENS][2];
    for (int t = 0; t < count; t++) sum[t][0] = sum[t][1] = _mm256_setzero_si256();
    for (int k = 0; k < QUADS; k += 2, level += 128) {
#pragma GCC unroll 4
      for (int t = 0; t < count; t++) {
        const uint8_t *at = a + (size_t)t * j->a_stride + g * GROUP + 4 * k;
        V x0 = four(at), x1 = four(at + 4);
        for (int h = 0; h < 2; h++) sum[t][h] = add_pair(sum[t][h], bits, x0, load(level + 32 * h), x1, load(level + 64 + 32 * h));
      }
    }
    for (int t = 0; t < count; t++)
      for (int h = 0; h < 2; h++) acc[t][h] = _mm256_add_epi32(acc[t][h], scaled(sum[t][h], scale + h * HALF));
  }
  for (int t = 0; t < count; t++) store_tile(j, token + t, acc[t]);
}

/* As few passes over the levels as can be, of about equal size. */
INLINE void all_tokens(const MatmulJob *j, int bits, int n, const int8_t *level) {
  int passes = (n + TOKENS - 1) / TOKENS;
  for (int i = 0; i < passes; i++) {
    Span s = span_of(n, 1, i, passes);
    switch (s.to - s.from) {
      case 4: tile_many(j, bits, s.from, 4, level); break;
      case 3: tile_many(j, bits, s.from, 3, level); break;
      case 2: tile_many(j, bits, s.from, 2, level); break;
      default: tile_many(j, bits, s.from, 1, level); break;
    }
  }
}

/* Levels of up to 31, and wider ones. */
static void all_narrow(const MatmulJob *j, int n, const int8_t *level) { all_tokens(j, 4, n, level); }
static void all_wide(const MatmulJob *j, int n, const int8_t *level) { all_tokens(j, 8, n, level); }

#define FOR_BITS(bits) \
  case bits:           \
    if (n == 1) tile_one(&j, bits, table); \
    else unpack_tile(&j, bits, table, scratch); \
    break;

static void matmul(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac,
                   int32_t *y, size_t y_stride, int8_t *scratch) {
  V table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p->level));
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
    if (n > 1) (p->bits <= 4 ? all_narrow : all_wide)(&j, n, scratch);
  }
}

#endif
