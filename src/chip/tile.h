/* chip/tile: how a matrix stands in a chip, in memory as in the file, so that every kernel reads it as it is mapped.
 *
 * A tile is 32 rows, two halves of 16, and is read in order from its first byte to its last: a product is one stream of memory.
 * For every two groups of 64 columns come 64 bytes of group scales, [2][32], then their codes, 16 quads of 4 columns each: 64 bytes
 * of which byte 4 r + c is row r of the half, column 4 q + c.  Quads are packed in chunks, one of the first half and one of the
 * second in turn:
 *   2 bits  one vector of 64 bytes holds four quads, two bits each
 *   3 bits  three vectors hold eight: A = q0 | q1 << 3 | low 2 of q6 << 6, B = q2 | q3 << 3 | bit 2 of q6 << 6 | bit 2 of
 *           q7 << 7, C = q4 | q5 << 3 | low 2 of q7 << 6
 *   4 bits  one vector holds two, a nibble each
 *   6 bits  three vectors hold four: A = q0 | bits 0-1 of q3 << 6, B = q1 | bits 2-3 << 6, C = q2 | bits 4-5 << 6
 *   8 bits  one vector is one quad
 * Rows past the last one have scales and codes 0.
 */
#ifndef BURIN_CHIP_TILE_H
#define BURIN_CHIP_TILE_H

#include <stddef.h>
#include <stdint.h>

enum {
  GROUP = 64, /* columns that share a group scale */
  TILE = 32,  /* rows */
  HALF = 16,
  QUADS = GROUP / 4,
  VECTOR = 64,           /* bytes */
  TILE_SCALES = 2 * TILE /* bytes of the scales of two groups, before their codes */
};

/* A chunk is the fewest whole vectors that hold whole quads. */
static inline int chunk_quads(int bits) { return bits == 2 ? 4 : bits == 3 ? 8 : bits == 4 ? 2 : bits == 6 ? 4 : 1; }
static inline int chunk_bytes(int bits) { return chunk_quads(bits) * 8 * bits; }

/* Where things stand within a tile: the codes of group g (first half's first chunk), its 32 scales; and a tile's size. */
static inline size_t codes_bytes(int bits) { return TILE * 8 * (size_t)bits; } /* of one group */
static inline size_t group_at(int g, int bits) { return (size_t)(g / 2 + 1) * TILE_SCALES + (size_t)g * codes_bytes(bits); }
static inline size_t scales_at(int g, int bits) { return (size_t)(g / 2) * (TILE_SCALES + 2 * codes_bytes(bits)) + (size_t)(g % 2) * TILE; }
static inline size_t tile_bytes(int groups, int bits) { return group_at(groups - 1, bits) + codes_bytes(bits); }

static inline int tiles_of(int rows) { return (rows + TILE - 1) / TILE; }
static inline int tiled_rows(int rows) { return tiles_of(rows) * TILE; } /* in whole tiles */

#endif
