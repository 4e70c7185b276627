/* engine/kernel_avx512: the matrix product for AVX-512 with VNNI and VBMI.
 *
 * vpdpbusd wants one unsigned side: activations + 128, less 128 * (sum of scale * level) of the row, which wraps exactly.
 *
 * Memory: one stream, or the prefetcher of the hardware loses it (Zen 4: with scales apart a matrix of 2,048 columns came at 17 of
 * the 33 GB/s that a core reads linearly), and fetched by hand as fetch_weights says.
 */
#include "engine/dot_avx512.h"
#include "engine/attention.h"
#include "engine/tiles_avx512.h"

enum { TOKENS = 6, FEW = 4, FUSED = 8, PASSES = 4 };

static inline V four(const uint8_t *a) {
  int32_t word;
  memcpy(&word, a, 4);
  return _mm512_set1_epi32(word);
}

static inline __attribute__((always_inline)) void store_all(const MatmulJob *j, int token, int count, V acc[][2]) {
  for (int t = 0; t < count; t++)
    for (int h = 0; h < 2; h++) store_half(j, token + t, h, acc[t][h]);
}

/* `count` tokens (a constant where it is called, at most FEW): codes go from memory to registers to sums. */
static inline __attribute__((always_inline)) void tile_few(const MatmulJob *j, int bits, const int count, V table) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const FetchAhead ahead = j->p->ahead;
  const int quads = chunk_quads(bits), chains = count == 1 ? 2 : 1; /* sums that take turns, so that none waits for the last */
  V acc[FEW][2];
  for (int t = 0; t < count; t++) acc[t][0] = acc[t][1] = _mm512_setzero_si512();
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *a = j->a + g * GROUP, *w = tile + group_at(g, bits), *scale = tile + scales_at(g, bits);
    V sum[FEW][2][2];
    for (int t = 0; t < count; t++)
      for (int i = 0; i < 4; i++) sum[t][i / 2][i % 2] = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int q = 0; q < QUADS; q += quads, w += 2 * chunk_bytes(bits)) {
      V low[8], high[8];
      fetch_weights(ahead, w, 2 * (size_t)chunk_bytes(bits));
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
  store_all(j, 0, count, acc);
}

/* As tile_few, with the sums of a group in registers for up to FUSED tokens; those over groups stand in memory.  A quad is made of its
 * codes when its turn comes, and what is read of the activations meets both halves: of 64 bytes some CPUs load one a cycle, where
 * they multiply two.  Weights are asked for while groups of `fetched` are met. */
static inline __attribute__((always_inline)) void tile_more(const MatmulJob *j, int bits, const int count, V table, FetchAhead ahead, Span fetched) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const int quads = chunk_quads(bits);
  _Alignas(64) int32_t acc[2][FUSED][HALF] = {0};
  for (int g = 0; g < j->p->groups; g++) {
    const uint8_t *a = j->a + g * GROUP, *w = tile + group_at(g, bits);
    bool fetch = g >= fetched.from && g < fetched.to;
    V sum[2][FUSED];
    for (int t = 0; t < count; t++) sum[0][t] = sum[1][t] = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int q = 0; q < QUADS; q += quads, w += 2 * chunk_bytes(bits)) {
      V low[3], high[3];
      if (fetch) fetch_weights(ahead, w, 2 * (size_t)chunk_bytes(bits));
      load_codes(bits, w, low);
      load_codes(bits, w + chunk_bytes(bits), high);
#pragma GCC unroll 8
      for (int k = 0; k < quads; k++) {
        V l = quad_of(bits, low, k, table), h = quad_of(bits, high, k, table);
#pragma GCC unroll 8
        for (int t = 0; t < count; t++) DOT_PAIR(sum[0][t], sum[1][t], a + (size_t)t * j->a_stride + 4 * (q + k), l, h);
      }
    }
    for (int h = 0; h < 2; h++) {
      V s = scales_of(tile + scales_at(g, bits) + h * HALF);
#pragma GCC unroll 8
      for (int t = 0; t < count; t++)
        _mm512_store_si512(acc[h][t], _mm512_add_epi32(load(acc[h][t]), _mm512_mullo_epi32(sum[h][t], s)));
    }
  }
  for (int t = 0; t < count; t++)
    for (int h = 0; h < 2; h++) store_half(j, t, h, load(acc[h][t]));
}

/* As tile_few, of ones: levels against them, and them against magnitudes. */
static inline __attribute__((always_inline)) void weigh_tile(const Packed *p, int bits, const uint8_t *tile, V table, RowSums *out) {
  const FetchAhead ahead = p->ahead;
  const int quads = chunk_quads(bits);
  V level[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()}, magnitude[2] = {level[0], level[0]};
  for (int g = 0; g < p->groups; g++)
    for (int h = 0; h < 2; h++) {
      const uint8_t *w = tile + group_at(g, bits) + h * chunk_bytes(bits);
      V a = _mm512_setzero_si512(), b = a, s = scales_of(tile + scales_at(g, bits) + h * HALF);
#pragma GCC unroll 16
      for (int i = 0; i < QUADS; i += quads, w += 2 * chunk_bytes(bits)) {
        V q[8];
        fetch_weights(ahead, w, (size_t)chunk_bytes(bits));
        unpack(bits, w, table, q);
#pragma GCC unroll 8
        for (int k = 0; k < quads; k++) {
          V ones = _mm512_set1_epi8(1), used = _mm512_set1_epi32(quad_in_use(p->cols, g, i + k)), size = _mm512_abs_epi8(q[k]);
          DOT(a, ones, q[k]);
          DOT(b, size, used);
        }
      }
      level[h] = _mm512_add_epi32(level[h], _mm512_mullo_epi32(a, s));
      magnitude[h] = _mm512_add_epi32(magnitude[h], _mm512_mullo_epi32(b, s));
    }
  for (int h = 0; h < 2; h++) {
    _mm512_storeu_si512(out->level + h * HALF, level[h]);
    _mm512_storeu_si512(out->magnitude + h * HALF, magnitude[h]);
  }
}

void weigh_avx512(const Packed *p, int t, RowSums *out) {
  const uint8_t *tile = p->tiles + (size_t)t * p->tile_bytes;
  V table = table_of(p);
#define WEIGH(bits) \
  case bits: weigh_tile(p, bits, tile, table, out); break;
  FOR_WIDTHS(p->bits, WEIGH)
#undef WEIGH
}

static inline __attribute__((always_inline)) void tile_few_of(const MatmulJob *j, int bits, int n, V table) {
  switch (n) {
    case 4: tile_few(j, bits, 4, table); break;
    case 3: tile_few(j, bits, 3, table); break;
    case 2: tile_few(j, bits, 2, table); break;
    default: tile_few(j, bits, 1, table); break;
  }
}

/* FEW to FUSED tokens. */
static inline __attribute__((always_inline)) void tile_more_of(const MatmulJob *j, int bits, int n, V table, FetchAhead ahead, Span fetched) {
  switch (n) {
    case 8: tile_more(j, bits, 8, table, ahead, fetched); break;
    case 7: tile_more(j, bits, 7, table, ahead, fetched); break;
    case 6: tile_more(j, bits, 6, table, ahead, fetched); break;
    case 5: tile_more(j, bits, 5, table, ahead, fetched); break;
    default: tile_more(j, bits, FEW, table, ahead, fetched); break;
  }
}

/* Up to PASSES times as many.  Each pass asks for a part of the next tile, so that memory works through all of them. */
static inline __attribute__((always_inline)) void tile_passes(const MatmulJob *j, int bits, int n, V table) {
  int passes = (n + FUSED - 1) / FUSED;
  FetchAhead ahead = j->p->ahead;
  if (passes > 1) ahead.far = (int)j->p->tile_bytes;
  for (int i = 0; i < passes; i++) {
    Span s = span_of(n, 1, i, passes);
    MatmulJob part = job_from(j, s.from);
    tile_more_of(&part, bits, s.to - s.from, table, ahead, span_of(j->p->groups, 1, i, passes));
  }
}

/* The levels of one tile as bytes: [groups][16 quads][2 halves][64]. */
static inline __attribute__((always_inline)) void unpack_tile(const MatmulJob *j, int bits, V table, int8_t *out) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const FetchAhead ahead = j->p->ahead;
  const int quads = chunk_quads(bits);
  for (int g = 0; g < j->p->groups; g++)
    for (int h = 0; h < 2; h++) {
      const uint8_t *w = tile + group_at(g, bits) + h * chunk_bytes(bits);
      for (int c = 0; c < QUADS; c += quads, w += 2 * chunk_bytes(bits)) {
        V q[8];
        fetch_weights(ahead, w, (size_t)chunk_bytes(bits));
        unpack(bits, w, table, q);
        for (int k = 0; k < quads; k++) _mm512_store_si512(out + ((g * QUADS + c + k) * 2 + h) * 64, q[k]);
      }
    }
}

/* `count` tokens (a constant where it is called) against an unpacked tile. */
static inline __attribute__((always_inline)) void tile_many(const MatmulJob *j, int token, const int count, const int8_t *level, NextTile *next) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const uint8_t *a = j->a + (size_t)token * j->a_stride;
  V acc[TOKENS][2];
  for (int t = 0; t < count; t++) acc[t][0] = acc[t][1] = _mm512_setzero_si512();
  for (int g = 0; g < j->p->groups; g++) {
    V sum[TOKENS][2];
    for (int t = 0; t < count; t++) sum[t][0] = sum[t][1] = _mm512_setzero_si512();
    for (int k = 0; k < QUADS; k++, level += 128) {
      V w0 = load(level), w1 = load(level + 64);
      fetch_line(next);
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
  store_all(j, token, count, acc);
}

/* As few passes over the levels as can be, of about equal size. */
static void all_tokens(const MatmulJob *j, int n, const int8_t *level) {
  int passes = (n + TOKENS - 1) / TOKENS;
  NextTile next = next_tile(j->p, j->row);
  for (int i = 0; i < passes; i++) {
    Span s = span_of(n, 1, i, passes);
    switch (s.to - s.from) {
      case 6: tile_many(j, s.from, 6, level, &next); break;
      case 5: tile_many(j, s.from, 5, level, &next); break;
      case 4: tile_many(j, s.from, 4, level, &next); break;
      case 3: tile_many(j, s.from, 3, level, &next); break;
      case 2: tile_many(j, s.from, 2, level, &next); break;
      default: tile_many(j, s.from, 1, level, &next); break;
    }
  }
}

/* All rows of a job, each way in a function of its own: in one they are more than the compiler keeps in registers. */
#define ROWS(name, CASE)                                                             \
  static __attribute__((noinline)) void name(MatmulJob *j, int n, V table, int8_t *scratch) { \
    (void)scratch;                                                                   \
    for (; j->row < j->to; j->row += TILE) FOR_WIDTHS(j->p->bits, CASE)              \
  }
#define FEW_TOKENS(bits) case bits: tile_few_of(j, bits, n, table); break;
#define SOME_TOKENS(bits) case bits: tile_passes(j, bits, n, table); break;
#define MANY_TOKENS(bits) case bits: unpack_tile(j, bits, table, scratch), all_tokens(j, n, scratch); break;
ROWS(rows_few, FEW_TOKENS)
ROWS(rows_some, SOME_TOKENS)
ROWS(rows_many, MANY_TOKENS)

void matmul_avx512(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac, int32_t *y,
                   size_t y_stride, int8_t *scratch) {
  MatmulJob j = {p, from, to, (const uint8_t *)a, a_stride, x, frac, y, y_stride};
  if (n <= FEW) rows_few(&j, n, table_of(p), scratch);
  else if (n <= FUSED * PASSES) rows_some(&j, n, table_of(p), scratch);
  else rows_many(&j, n, table_of(p), scratch);
}

int scores_avx512(const KvCells *kv, const int8_t *q, const Step *q_step, int heads, int from, int to, int32_t *z, size_t stride, int32_t *top) {
  return scores(kv, q, q_step, heads, from, to, z, stride, top);
}

void values_avx512(const KvCells *kv, int heads, int from, int to, const int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  values(kv, heads, from, to, z, stride, top, most, den, acc);
}

#include "engine/small_avx512.h"

const Kernels kernels_avx512 = {
    .a_flip = 128, .weigh = weigh_avx512, .matmul = matmul_avx512,
    ATTENTION, .attend = attend_rows, SMALL(avx512), OPS(avx512),
};
