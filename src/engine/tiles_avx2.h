/* engine/tiles_avx2: the matrix product for AVX2, and with AVX-VNNI's dot product where the file that includes this is compiled for it.
 *
 * Tiles are those of chip/tile.h: a half's vector of 64 bytes is two ymm, of 8 rows each, whose sums are one ymm.  Levels come from
 * vpshufb, whose table repeats itself for codes of fewer than 4 bits; wider books are even.
 * The dot products want one unsigned side: activations + 128, less 128 * (sum of scale * level) of the row.  vpmaddubsw: with levels
 * of at most 31 the 16-bit sums of two quads stay below 4 * 255 * 31 < 2^15, with at most 63 those of one, 2 * 255 * 63; levels of
 * 8 bits meet |a| with a's sign instead: 2 * 127 * 127 < 2^15.
 */
#ifndef BURIN_ENGINE_TILES_AVX2_H
#define BURIN_ENGINE_TILES_AVX2_H

#include "engine/kernels.h"

#include <immintrin.h>
#include <string.h>

enum { PART = 8 /* rows of a ymm */, PARTS = TILE / PART, TOKENS = 4 };
typedef __m256i V;

#define INLINE static inline __attribute__((always_inline))

/* ---- unpacking ---- */

INLINE V load(const void *p) { return _mm256_loadu_si256((const V *)p); }

/* Levels of 16 codes twice; or, from 6 bits on, level 0, and log2 of the distance of levels. */
typedef struct {
  V table;
  __m128i step;
} Book;

static Book book_of(const Packed *p) {
  V table = p->bits < 6 ? _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p->level)) : _mm256_set1_epi8(p->level[0]);
  return (Book){table, _mm_cvtsi32_si128(p->step)};
}

/* Bit 7 of an index would give 0; the bits above a code that remain choose among equals. */
INLINE V lookup(const Book *b, V index) { return _mm256_shuffle_epi8(b->table, _mm256_and_si256(index, _mm256_set1_epi8(15))); }
INLINE V even_level(const Book *b, V code) { return _mm256_add_epi8(b->table, _mm256_sll_epi16(code, b->step)); }
INLINE V masked(V v, int bits) { return _mm256_and_si256(v, _mm256_set1_epi8((char)bits)); }
#define SHIFTED(v, s) _mm256_srli_epi16(v, s)

/* Registers of codes that a chunk is, 8 rows of them. */
INLINE void load_codes(int bits, const uint8_t *w, V c[3]) {
  for (int i = 0; i < chunk_bytes(bits) / VECTOR; i++) c[i] = load(w + VECTOR * i);
}

/* Quad k of a chunk as level bytes. */
INLINE V quad_of(int bits, const V c[3], int k, const Book *book) {
  if (bits == 2) return lookup(book, SHIFTED(c[0], 2 * k));
  if (bits == 4) return lookup(book, SHIFTED(c[0], 4 * k));
  if (bits == 8) return _mm256_add_epi8(book->table, c[0]);
  if (bits == 3 && k < 6) return lookup(book, SHIFTED(c[k / 2], 3 * (k % 2)));
  if (bits == 3 && k == 6) return lookup(book, _mm256_or_si256(masked(SHIFTED(c[0], 6), 3), masked(SHIFTED(c[1], 4), 4)));
  if (bits == 3) return lookup(book, _mm256_or_si256(masked(SHIFTED(c[2], 6), 3), masked(SHIFTED(c[1], 5), 4)));
  if (k < 3) return even_level(book, masked(c[k], 63));
  return even_level(book, _mm256_or_si256(_mm256_or_si256(masked(SHIFTED(c[0], 6), 3), masked(SHIFTED(c[1], 4), 12)), masked(SHIFTED(c[2], 2), 48)));
}

/* All quads of a chunk. */
INLINE void unpack(int bits, const uint8_t *w, const Book *book, V *q) {
  V c[3];
  load_codes(bits, w, c);
#pragma GCC unroll 8
  for (int k = 0; k < chunk_quads(bits); k++) q[k] = quad_of(bits, c, k, book);
}

/* ---- products ---- */

INLINE V four(const uint8_t *a) {
  int32_t word;
  memcpy(&word, a, 4);
  return _mm256_set1_epi32(word);
}

/* sum + the products of bytes, in fours, of which any two add up to less than 2^15. */
INLINE V add_products(V sum, V u, V s) { return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1))); }

/* sum += products of one quad, and of two, with the activations (+ 128) before them. */
#if defined(__AVXVNNI__)
enum { SIGNED_BITS = 0 };

INLINE V add_quad(V sum, int bits, V x, V level) { return (void)bits, _mm256_dpbusd_avx_epi32(sum, x, level); }

INLINE V add_pair(V sum, int bits, V x0, V level0, V x1, V level1) { return add_quad(add_quad(sum, bits, x0, level0), bits, x1, level1); }
#else
enum { SIGNED_BITS = 8 };

INLINE V add_quad(V sum, int bits, V x, V level) {
  if (bits < SIGNED_BITS) return add_products(sum, x, level);
  V a = _mm256_xor_si256(x, _mm256_set1_epi8((char)0x80));
  return add_products(sum, _mm256_abs_epi8(a), _mm256_sign_epi8(level, a));
}

INLINE V add_pair(V sum, int bits, V x0, V level0, V x1, V level1) {
  if (bits > 4) return add_quad(add_quad(sum, bits, x0, level0), bits, x1, level1);
  V pairs = _mm256_add_epi16(_mm256_maddubs_epi16(x0, level0), _mm256_maddubs_epi16(x1, level1));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#endif

INLINE V scaled(V sum, const uint8_t *scale) { return _mm256_mullo_epi32(sum, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)scale))); }

/* Sums of the rows of part `part` of the tile. */
static void store_part(const MatmulJob *j, int token, int part, V acc) {
  int first = j->row + part * PART, rows = j->to - first < PART ? j->to - first : PART;
  if (rows <= 0) return;
  int32_t sums[PART];
  _mm256_storeu_si256((V *)sums, _mm256_sub_epi32(acc, load(j->p->correction + first)));
  finish_row_avx2(sums, j->p->row_scale + first, rows, j->p->exponent, j->x[token], j->frac, j->y + (size_t)token * j->y_stride + first);
}

/* One token: codes go from memory to registers to sums. */
INLINE void tile_one(const MatmulJob *j, int bits, const Book *book) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const FetchAhead ahead = j->p->ahead;
  const int quads = chunk_quads(bits);
  V acc[PARTS];
  for (int i = 0; i < PARTS; i++) acc[i] = _mm256_setzero_si256();
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *a = j->a + g * GROUP, *w = tile + group_at(g, bits), *scale = tile + scales_at(g, bits);
    V sum[PARTS];
    for (int i = 0; i < PARTS; i++) sum[i] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int q = 0; q < QUADS; q += quads)
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++, w += chunk_bytes(bits)) {
        fetch_weights(ahead, w, (size_t)chunk_bytes(bits));
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
          V level[8];
          unpack(bits, w + VECTOR / 2 * i, book, level);
          if (quads == 1) sum[2 * h + i] = add_quad(sum[2 * h + i], bits, four(a + 4 * q), level[0]);
#pragma GCC unroll 4
          for (int k = 0; k + 2 <= quads; k += 2)
            sum[2 * h + i] = add_pair(sum[2 * h + i], bits, four(a + 4 * (q + k)), level[k], four(a + 4 * (q + k) + 4), level[k + 1]);
        }
      }
    for (int i = 0; i < PARTS; i++) acc[i] = _mm256_add_epi32(acc[i], scaled(sum[i], scale + i * PART));
  }
  for (int i = 0; i < PARTS; i++) store_part(j, 0, i, acc[i]);
}

/* `count` tokens (a constant where it is called) straight from the codes, 8 rows at a time, whose sums stay in registers within a group. */
INLINE void tile_few(const MatmulJob *j, int bits, const int count, const Book *book, FetchAhead ahead, Span fetched) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const int quads = chunk_quads(bits);
  _Alignas(32) int32_t acc[PARTS][TOKENS][PART] = {0};
  for (int g = 0; g < j->p->groups; g++)
#pragma GCC unroll 1
    for (int i = 0; i < PARTS; i++) {
      const uint8_t *w = tile + group_at(g, bits) + i / 2 * chunk_bytes(bits) + VECTOR / 2 * (i % 2);
      bool fetch = i % 2 == 0 && g >= fetched.from && g < fetched.to;
      V sum[TOKENS];
      for (int t = 0; t < count; t++) sum[t] = _mm256_setzero_si256();
#pragma GCC unroll 1
      for (int q = 0; q < QUADS; q += quads, w += 2 * chunk_bytes(bits)) {
        const uint8_t *a = j->a + g * GROUP + 4 * q;
        V c[3];
        if (fetch) fetch_weights(ahead, w, (size_t)chunk_bytes(bits));
        load_codes(bits, w, c);
        V level = quad_of(bits, c, 0, book);
        for (int t = 0; t < count && quads == 1; t++) sum[t] = add_quad(sum[t], bits, four(a + (size_t)t * j->a_stride), level);
#pragma GCC unroll 4
        for (int k = 0; k + 2 <= quads; k += 2) {
          V l0 = quad_of(bits, c, k, book), l1 = quad_of(bits, c, k + 1, book);
#pragma GCC unroll 4
          for (int t = 0; t < count; t++) {
            const uint8_t *at = a + (size_t)t * j->a_stride + 4 * k;
            sum[t] = add_pair(sum[t], bits, four(at), l0, four(at + 4), l1);
          }
        }
      }
      for (int t = 0; t < count; t++) {
        V *to = (V *)(void *)acc[i][t];
        *to = _mm256_add_epi32(*to, scaled(sum[t], tile + scales_at(g, bits) + i * PART));
      }
    }
  for (int i = 0; i < PARTS; i++)
    for (int t = 0; t < count; t++) store_part(j, t, i, load(acc[i][t]));
}

/* `count` tokens (a constant where it is called) against the levels of half a tile. */
INLINE void tile_many(const MatmulJob *j, int bits, int token, const int count, const int8_t *levels, int half, NextTile *next) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const uint8_t *a = j->a + (size_t)token * j->a_stride;
  const V *level = (const V *)(const void *)levels + (size_t)(half * j->p->groups) * QUADS * 2;
  V acc[TOKENS][2];
  for (int t = 0; t < count; t++) acc[t][0] = acc[t][1] = _mm256_setzero_si256();
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *scale = tile + scales_at(g, j->p->bits) + half * HALF;
    V sum[TOKENS][2];
    for (int t = 0; t < count; t++) sum[t][0] = sum[t][1] = _mm256_setzero_si256();
    for (int k = 0; k < QUADS; k += 2, level += 4) {
      fetch_line(next);
#pragma GCC unroll 4
      for (int t = 0; t < count; t++) {
        const uint8_t *at = a + (size_t)t * j->a_stride + g * GROUP + 4 * k;
        V x0 = four(at), x1 = four(at + 4);
        for (int i = 0; i < 2; i++) sum[t][i] = add_pair(sum[t][i], bits, x0, level[i], x1, level[2 + i]);
      }
    }
    for (int t = 0; t < count; t++)
      for (int i = 0; i < 2; i++) acc[t][i] = _mm256_add_epi32(acc[t][i], scaled(sum[t][i], scale + i * PART));
  }
  for (int t = 0; t < count; t++)
    for (int i = 0; i < 2; i++) store_part(j, token + t, 2 * half + i, acc[t][i]);
}

/* Sums over ones: levels, and magnitudes of the columns in use. */
INLINE void weigh_tile(const Packed *p, int bits, const uint8_t *tile, const Book *book, RowSums *out) {
  const int quads = chunk_quads(bits);
  V level[PARTS], magnitude[PARTS];
  for (int i = 0; i < PARTS; i++) level[i] = magnitude[i] = _mm256_setzero_si256();
  for (int g = 0; g < p->groups; g++)
    for (int i = 0; i < PARTS; i++) {
      const uint8_t *w = tile + group_at(g, bits) + i / 2 * chunk_bytes(bits) + VECTOR / 2 * (i % 2), *scale = tile + scales_at(g, bits) + i * PART;
      V a = _mm256_setzero_si256(), b = a;
      for (int c = 0; c < QUADS; c += quads, w += 2 * chunk_bytes(bits)) {
        V q[8];
        unpack(bits, w, book, q);
        for (int k = 0; k < quads; k++) {
          a = add_products(a, _mm256_set1_epi8(1), q[k]);
          b = add_products(b, _mm256_abs_epi8(q[k]), _mm256_set1_epi32(quad_in_use(p->cols, g, c + k)));
        }
      }
      level[i] = _mm256_add_epi32(level[i], scaled(a, scale));
      magnitude[i] = _mm256_add_epi32(magnitude[i], scaled(b, scale));
    }
  for (int i = 0; i < PARTS; i++) {
    _mm256_storeu_si256((V *)(out->level + i * PART), level[i]);
    _mm256_storeu_si256((V *)(out->magnitude + i * PART), magnitude[i]);
  }
}

/* Most tokens straight from the codes: further ones cost less from levels, and 8 bits need no unpacking. */
#define SOME(bits) ((bits) == 8 ? 4 : 8)

/* Two to SOME tokens, TOKENS a pass.  Each pass asks for a part of the next tile. */
INLINE void tile_some(const MatmulJob *j, int bits, int n, const Book *book) {
  int passes = (n + TOKENS - 1) / TOKENS;
  FetchAhead ahead = j->p->ahead;
  if (passes > 1) ahead.far = (int)j->p->tile_bytes;
  for (int i = 0; i < passes; i++) {
    Span s = span_of(n, 1, i, passes), fetched = span_of(j->p->groups, 1, i, passes);
    MatmulJob part = job_from(j, s.from);
    if (s.to - s.from == 4) tile_few(&part, bits, 4, book, ahead, fetched);
    else if (s.to - s.from == 3) tile_few(&part, bits, 3, book, ahead, fetched);
    else tile_few(&part, bits, 2, book, ahead, fetched);
  }
}

#include "engine/by_tiles.h"

/* By what the dot product makes of the width. */
static void all_4(const MatmulJob *j, int n, const int8_t *level) { all_tokens(j, 4, n, level); }
static void all_6(const MatmulJob *j, int n, const int8_t *level) { all_tokens(j, 6, n, level); }
static void all_8(const MatmulJob *j, int n, const int8_t *level) { all_tokens(j, 8, n, level); }
static void more_tokens(const MatmulJob *j, int n, const int8_t *level) { (j->p->bits <= 4 ? all_4 : j->p->bits == 6 ? all_6 : all_8)(j, n, level); }

#endif
