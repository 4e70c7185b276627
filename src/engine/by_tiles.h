/* engine/by_tiles: from the product of one tile to weigh and matmul, for sets that take some tokens straight from the codes and more
 * from unpacked levels, TOKENS at a time.
 *
 * Who includes it brings V (the bytes of a register), Book, book_of, unpack, SOME, tile_one, tile_some, tile_many, weigh_tile and more_tokens, and INLINE.
 */
#ifndef BURIN_ENGINE_BY_TILES_H
#define BURIN_ENGINE_BY_TILES_H

#include "engine/kernels.h"

#include <string.h>

/* All tokens against an unpacked tile: calls all_tokens. */
static void more_tokens(const MatmulJob *j, int n, const int8_t *level);

/* As few passes over the levels as can be, of about equal size; one half after the other, so that its levels stay in L1. */
INLINE void all_tokens(const MatmulJob *j, int bits, int n, const int8_t *level) {
  int passes = (n + TOKENS - 1) / TOKENS;
  NextTile next = next_tile(j->p, j->row);
  for (int i = 0; i < 2 * passes; i++) {
    Span s = span_of(n, 1, i % passes, passes);
    switch (s.to - s.from) {
      case 4: tile_many(j, bits, s.from, 4, level, i / passes, &next); break;
      case 3: tile_many(j, bits, s.from, 3, level, i / passes, &next); break;
      case 2: tile_many(j, bits, s.from, 2, level, i / passes, &next); break;
      default: tile_many(j, bits, s.from, 1, level, i / passes, &next); break;
    }
  }
}

/* The levels of one tile as bytes: [2 halves][groups][16 quads][64]. */
INLINE void unpack_tile(const MatmulJob *j, int bits, const Book *book, int8_t *out) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const int quads = chunk_quads(bits), registers = VECTOR / (int)sizeof(V);
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *w = tile + group_at(g, bits);
    for (int c = 0; c < QUADS; c += quads)
      for (int h = 0; h < 2; h++, w += chunk_bytes(bits)) {
        fetch_weights(j->p->ahead, w, (size_t)chunk_bytes(bits));
        for (int i = 0; i < registers; i++) {
          V q[8];
          unpack(bits, w + i * (int)sizeof(V), book, q);
          for (int k = 0; k < quads; k++) memcpy(out + ((h * j->p->groups + g) * QUADS + c + k) * VECTOR + i * (int)sizeof(V), &q[k], sizeof(V));
        }
      }
  }
}

static void weigh(const Packed *p, int t, RowSums *out) {
  const uint8_t *tile = p->tiles + (size_t)t * p->tile_bytes;
  Book book = book_of(p);
#define WEIGH(bits) \
  case bits: weigh_tile(p, bits, tile, &book, out); break;
  FOR_WIDTHS(p->bits, WEIGH)
#undef WEIGH
}

/* All rows of a job, each way in a function of its own: in one they are more than the compiler keeps in registers. */
#define ROWS(name, CASE)                                                                                     \
  static __attribute__((noinline)) void name(MatmulJob j, int n, const Book *book, int8_t *scratch) {        \
    (void)n, (void)scratch;                                                                                  \
    for (; j.row < j.to; j.row += TILE) FOR_WIDTHS(j.p->bits, CASE)                                          \
  }
#define ONE_TOKEN(bits) case bits: tile_one(&j, bits, book); break;
#define SOME_TOKENS(bits) case bits: tile_some(&j, bits, n, book); break;
#define MORE_TOKENS(bits) case bits: unpack_tile(&j, bits, book, scratch), more_tokens(&j, n, scratch); break;
ROWS(rows_one, ONE_TOKEN)
ROWS(rows_some, SOME_TOKENS)
ROWS(rows_more, MORE_TOKENS)

static void matmul(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac,
                   int32_t *y, size_t y_stride, int8_t *scratch) {
  Book book = book_of(p);
  (n == 1 ? rows_one : n <= SOME(p->bits) ? rows_some : rows_more)((MatmulJob){p, from, to, (const uint8_t *)a, a_stride, x, frac, y, y_stride}, n, &book, scratch);
}

#endif
