/* engine/kernel_neon: the matrix product for ARM with the dot product of bytes (DotProd, ARMv8.2 and later).
 *
 * Tiles are those of chip/tile.h: a half's vector of 64 bytes is four registers of 4 rows each, whose sums are one register.  sdot
 * takes both sides signed: activations as they are, no corrections.
 */
#include "engine/attention.h"

enum { PART = 4 /* rows of a register */, PARTS = TILE / PART, TOKENS = 4 };

typedef int8x16_t V;

#define INLINE static inline __attribute__((always_inline))

/* ---- unpacking ---- */

/* Levels of 16 codes; or, from 6 bits on, level 0, and log2 of the distance of levels. */
typedef struct {
  int8x16_t table;
  int8x16_t step;
} Book;

static Book book_of(const Packed *p) { return (Book){p->bits < 6 ? vld1q_s8(p->level) : vdupq_n_s8(p->level[0]), vdupq_n_s8((int8_t)p->step)}; }

/* The bits above a code that remain choose among equals: tables of fewer than 16 levels repeat themselves. */
INLINE int8x16_t lookup(const Book *b, uint8x16_t index) { return vqtbl1q_s8(b->table, vandq_u8(index, vdupq_n_u8(15))); }
INLINE int8x16_t even_level(const Book *b, uint8x16_t code) { return vaddq_s8(b->table, vreinterpretq_s8_u8(vshlq_u8(code, b->step))); }
INLINE uint8x16_t masked(uint8x16_t v, int bits) { return vandq_u8(v, vdupq_n_u8((uint8_t)bits)); }

/* The quads of a chunk as level bytes, 4 rows of them. */
INLINE void unpack(int bits, const uint8_t *w, const Book *book, int8x16_t *q) {
  uint8x16_t a = vld1q_u8(w);
  if (bits == 2) {
    q[0] = lookup(book, a), q[1] = lookup(book, vshrq_n_u8(a, 2)), q[2] = lookup(book, vshrq_n_u8(a, 4)), q[3] = lookup(book, vshrq_n_u8(a, 6));
  } else if (bits == 3) {
    uint8x16_t b = vld1q_u8(w + VECTOR), c = vld1q_u8(w + 2 * VECTOR);
    q[0] = lookup(book, a), q[1] = lookup(book, vshrq_n_u8(a, 3));
    q[2] = lookup(book, b), q[3] = lookup(book, vshrq_n_u8(b, 3));
    q[4] = lookup(book, c), q[5] = lookup(book, vshrq_n_u8(c, 3));
    q[6] = lookup(book, vorrq_u8(vshrq_n_u8(a, 6), masked(vshrq_n_u8(b, 4), 4)));
    q[7] = lookup(book, vorrq_u8(vshrq_n_u8(c, 6), masked(vshrq_n_u8(b, 5), 4)));
  } else if (bits == 4) {
    q[0] = lookup(book, a), q[1] = lookup(book, vshrq_n_u8(a, 4));
  } else if (bits == 6) {
    uint8x16_t b = vld1q_u8(w + VECTOR), c = vld1q_u8(w + 2 * VECTOR);
    uint8x16_t rest = vorrq_u8(vorrq_u8(vshrq_n_u8(a, 6), masked(vshrq_n_u8(b, 4), 12)), masked(vshrq_n_u8(c, 2), 48));
    q[0] = even_level(book, masked(a, 63)), q[1] = even_level(book, masked(b, 63)), q[2] = even_level(book, masked(c, 63)), q[3] = even_level(book, rest);
  } else {
    q[0] = vaddq_s8(book->table, vreinterpretq_s8_u8(a));
  }
}

/* ---- products ---- */

INLINE int32x4_t scaled(int32x4_t acc, int32x4_t sum, const uint8_t *scale) {
  uint32_t word;
  memcpy(&word, scale, 4);
  uint16x8_t wide = vmovl_u8(vcreate_u8(word));
  return vmlaq_s32(acc, sum, vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide))));
}

/* Sums of `parts` parts of the tile from part `first` on. */
static void store_parts(const MatmulJob *j, int token, int first, int parts, const int32x4_t *acc) {
  int row = j->row + first * PART, rows = j->to - row < parts * PART ? j->to - row : parts * PART;
  if (rows <= 0) return;
  int32_t sums[TILE];
  for (int i = 0; i < parts; i++) vst1q_s32(sums + i * PART, acc[i]);
  finish_row_scalar(sums, j->p->row_scale + row, rows, j->p->exponent, j->x[token], j->frac, j->y + (size_t)token * j->y_stride + row);
}

/* One token: codes go from memory to registers to sums. */
INLINE void tile_one(const MatmulJob *j, int bits, const Book *book) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const FetchAhead ahead = j->p->ahead;
  const int quads = chunk_quads(bits);
  int32x4_t acc[PARTS];
  for (int i = 0; i < PARTS; i++) acc[i] = vdupq_n_s32(0);
  for (int g = 0; g < j->p->groups; g++) {
    const int8_t *a = (const int8_t *)j->a + g * GROUP;
    const uint8_t *w = tile + group_at(g, bits), *scale = tile + scales_at(g, bits);
    int32x4_t sum[PARTS];
    for (int i = 0; i < PARTS; i++) sum[i] = vdupq_n_s32(0);
#pragma GCC unroll 4
    for (int q = 0; q < QUADS; q += quads) {
      int8x16_t x[8];
#pragma GCC unroll 8
      for (int k = 0; k < quads; k++) x[k] = four(a + 4 * (q + k));
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++, w += chunk_bytes(bits)) {
        fetch_weights(ahead, w, (size_t)chunk_bytes(bits));
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
          int8x16_t level[8];
          unpack(bits, w + VECTOR / 4 * i, book, level);
#pragma GCC unroll 8
          for (int k = 0; k < quads; k++) sum[4 * h + i] = vdotq_s32(sum[4 * h + i], level[k], x[k]);
        }
      }
    }
    for (int i = 0; i < PARTS; i++) acc[i] = scaled(acc[i], sum[i], scale + i * PART);
  }
  store_parts(j, 0, 0, PARTS, acc);
}

/* `count` tokens (a constant where it is called) against the levels of half a tile. */
INLINE void tile_many(const MatmulJob *j, int bits, int token, const int count, const int8_t *levels, int half, NextTile *next) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const int8_t *a = (const int8_t *)j->a + (size_t)token * j->a_stride, *level = levels + (size_t)(half * j->p->groups) * QUADS * VECTOR;
  int32x4_t acc[TOKENS][4];
  for (int t = 0; t < count; t++)
    for (int i = 0; i < 4; i++) acc[t][i] = vdupq_n_s32(0);
  for (int g = 0; g < j->p->groups; g++, a += GROUP) {
    const uint8_t *scale = tile + scales_at(g, bits) + half * HALF;
    int32x4_t sum[TOKENS][4];
    for (int t = 0; t < count; t++)
      for (int i = 0; i < 4; i++) sum[t][i] = vdupq_n_s32(0);
    for (int k = 0; k < QUADS; k++, level += VECTOR) {
      fetch_line(next);
      int8x16_t w[4] = {vld1q_s8(level), vld1q_s8(level + 16), vld1q_s8(level + 32), vld1q_s8(level + 48)};
#pragma GCC unroll 4
      for (int t = 0; t < count; t++) {
        int8x16_t x = four(a + (size_t)t * j->a_stride + 4 * k);
        for (int i = 0; i < 4; i++) sum[t][i] = vdotq_s32(sum[t][i], w[i], x);
      }
    }
    for (int t = 0; t < count; t++)
      for (int i = 0; i < 4; i++) acc[t][i] = scaled(acc[t][i], sum[t][i], scale + i * PART);
  }
  for (int t = 0; t < count; t++) store_parts(j, token + t, 4 * half, 4, acc[t]);
}

/* Sums over ones: levels, and magnitudes of the columns in use. */
INLINE void weigh_tile(const Packed *p, int bits, const uint8_t *tile, const Book *book, RowSums *out) {
  const int quads = chunk_quads(bits);
  int32x4_t level[PARTS], magnitude[PARTS];
  for (int i = 0; i < PARTS; i++) level[i] = magnitude[i] = vdupq_n_s32(0);
  for (int g = 0; g < p->groups; g++)
    for (int i = 0; i < PARTS; i++) {
      const uint8_t *w = tile + group_at(g, bits) + i / 4 * chunk_bytes(bits) + VECTOR / 4 * (i % 4), *scale = tile + scales_at(g, bits) + i * PART;
      int32x4_t a = vdupq_n_s32(0);
      uint32x4_t b = vdupq_n_u32(0);
      for (int c = 0; c < QUADS; c += quads, w += 2 * chunk_bytes(bits)) {
        int8x16_t q[8];
        unpack(bits, w, book, q);
        for (int k = 0; k < quads; k++) {
          a = vdotq_s32(a, q[k], vdupq_n_s8(1));
          b = vdotq_u32(b, vreinterpretq_u8_s8(vabsq_s8(q[k])), vreinterpretq_u8_s32(vdupq_n_s32(quad_in_use(p->cols, g, c + k))));
        }
      }
      level[i] = scaled(level[i], a, scale);
      magnitude[i] = scaled(magnitude[i], vreinterpretq_s32_u32(b), scale);
    }
  for (int i = 0; i < PARTS; i++) {
    vst1q_s32(out->level + i * PART, level[i]);
    vst1q_s32(out->magnitude + i * PART, magnitude[i]);
  }
}

#define SOME(bits) 1
#define tile_some(j, bits, n, book) tile_one(j, bits, book)

#include "engine/by_tiles.h"

static void more_tokens(const MatmulJob *j, int n, const int8_t *level) { all_tokens(j, j->p->bits, n, level); }

const Kernels kernels_neon = {
    .weigh = weigh, .matmul = matmul,
    ATTENTION, OPS(scalar) /* plain C, of which every compiler for this CPU makes NEON */,
};
