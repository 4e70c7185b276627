/* engine/kernel_amx: the matrix product of many tokens for AMX, over the tiles of a chip; few tokens go to kernel_avx512.c.
 *
 * A tile register holds 16 tokens x 64 columns, or 64 columns x 16 rows in quads, which is how tiles unpack.  For many tokens scales
 * of groups are folded into the weights, scale * level = 256 hi + lo, so that sums stay in registers over all groups: two products for each,
 * hi signed, lo unsigned.  256 * (sum of hi) + (sum of lo) wraps exactly, as the sum itself does.  Activations are unsigned as for
 * vpdpbusd: a + 128, less the correction.
 *
 * gcc 12's intrinsics of tiles say nothing to the compiler of the memory that they read and write: hence the fences.
 */
#include "engine/tiles_avx512.h"

enum { TOKENS = 16 /* of a register */, LEAST = 5 /* tokens that AMX is worth */, PARTS = 3 /* of so many tokens at a time, without folding */, PART = TOKENS * 64 };
enum { LARGE = 32, SMALL = 12 /* groups, at most */, SLICE = 512 /* tokens */, FOLDED = SMALL * 4 * PART /* bytes */, SCRATCH = FOLDED + SLICE * TILE * 4 /* with the sums */ };

#define FENCE() __asm__ volatile("" ::: "memory")

/* ---- registers ---- */

typedef struct {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} TileConfig;
_Static_assert(sizeof(TileConfig) == 64, "as ldtilecfg reads it");

/* Rows of the registers: of sums (0 to 5) and activations (6) `tokens`, of weights (7) 16. */
static void configure_narrow(int tokens) {
  TileConfig c = {.palette = 1};
  for (int i = 0; i < 8; i++) c.bytes[i] = 64, c.rows[i] = (uint8_t)(i < 7 ? tokens : HALF);
  __asm__ volatile("ldtilecfg %0" ::"m"(c));
}

/* Of sums (0, 1) and activations (4) `first`, of those of more tokens (2, 3; 5) `second`, of weights (6, 7) 16. */
static void configure_wide(int first, int second) {
  TileConfig c = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    bool of_second = i == 2 || i == 3 || i == 5;
    c.bytes[i] = of_second && second <= 0 ? 0 : 64;
    c.rows[i] = (uint8_t)(i > 5 ? HALF : !of_second ? first : second > 0 ? second : 0);
  }
  __asm__ volatile("ldtilecfg %0" ::"m"(c));
}

/* ---- weights with their scales ---- */

/* One half of a group: 16 quads of hi bytes, then 16 of lo.  w: its first chunk. */
static inline __attribute__((always_inline)) void fold_half(int bits, FetchAhead ahead, const uint8_t *w, const uint8_t *scale, V table, uint8_t *out) {
  const V low = _mm512_set1_epi16(0x00FF), spread = _mm512_set_epi32(0x0F0F0F0F, 0x0E0E0E0E, 0x0D0D0D0D, 0x0C0C0C0C, 0x0B0B0B0B, 0x0A0A0A0A, 0x09090909, 0x08080808, 0x07070707,
                                                                     0x06060606, 0x05050505, 0x04040404, 0x03030303, 0x02020202, 0x01010101, 0);
  const V s = _mm512_permutexvar_epi8(spread, _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)scale)));
  const V even = _mm512_and_si512(s, low), odd = _mm512_andnot_si512(low, s);
  const int quads = chunk_quads(bits);
#pragma GCC unroll 16
  for (int c = 0; c < QUADS; c += quads, w += 2 * chunk_bytes(bits)) {
    V q[8];
    fetch_weights(ahead, w, (size_t)chunk_bytes(bits));
    unpack(bits, w, table, q);
#pragma GCC unroll 8
    for (int k = 0; k < quads; k++) { /* 16-bit products of even and of odd columns, then their bytes in order */
      V e = _mm512_maddubs_epi16(even, q[k]), o = _mm512_maddubs_epi16(odd, q[k]);
      _mm512_store_si512(out + (c + k) * 64, select_bits(low, _mm512_srli_epi16(e, 8), o));
      _mm512_store_si512(out + PART + (c + k) * 64, select_bits(low, e, _mm512_slli_epi16(o, 8)));
    }
  }
}

static inline __attribute__((always_inline)) void fold_group(const MatmulJob *j, int bits, int g, V table, uint8_t *out) {
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  for (int h = 0; h < 2; h++) fold_half(bits, j->p->ahead, tile + group_at(g, bits) + h * chunk_bytes(bits), tile + scales_at(g, bits) + h * HALF, table, out + h * 2 * PART);
}

/* Groups [from, to) of the job's tile: [groups][2 halves][hi, lo][16 quads][64]. */
static void fold(const MatmulJob *j, int from, int to, V table, uint8_t *out) {
#define FOLD(bits) \
  case bits:       \
    for (int g = from; g < to; g++, out += 4 * PART) fold_group(j, bits, g, table, out); \
    break;
  FOR_WIDTHS(j->p->bits, FOLD)
#undef FOLD
}

static inline V joined(const int32_t *hi, const int32_t *lo) { return _mm512_add_epi32(_mm512_slli_epi32(load(hi), 8), load(lo)); }

/* ---- few tokens: levels as they are, sums of a group scaled outside ---- */

/* One group: [2 halves][16 quads][64]. */
static inline __attribute__((always_inline)) void level_group(const MatmulJob *j, int bits, int g, V table, uint8_t *out) {
  const uint8_t *w = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes + group_at(g, bits);
  const FetchAhead ahead = j->p->ahead;
  const int quads = chunk_quads(bits);
#pragma GCC unroll 16
  for (int c = 0; c < QUADS; c += quads)
    for (int h = 0; h < 2; h++, w += chunk_bytes(bits)) {
      V q[8];
      fetch_weights(ahead, w, (size_t)chunk_bytes(bits));
      unpack(bits, w, table, q);
#pragma GCC unroll 8
      for (int k = 0; k < quads; k++) _mm512_store_si512(out + h * PART + (c + k) * 64, q[k]);
    }
}

/* A tile's 32 rows against `parts` (a constant) times `tokens` of n tokens; the last part ends with the last token.  In turn a group
 * is unpacked, the one before multiplied, the one before that scaled: what was stored is read when it is in the cache. */
static inline __attribute__((always_inline)) void tile_narrow(const MatmulJob *j, int bits, int n, const int parts, int tokens, V table) {
  _Alignas(64) uint8_t level[2][2 * PART];
  _Alignas(64) int32_t sum[2][PARTS][2][TOKENS][HALF], acc[PARTS][2][TOKENS][HALF];
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes, *a[PARTS];
  const int groups = j->p->groups, last = n - tokens;
  for (int i = 0; i < parts; i++) {
    a[i] = j->a + (size_t)(i + 1 < parts ? i * tokens : last) * j->a_stride;
    for (int h = 0; h < 2; h++) memset(acc[i][h], 0, (size_t)tokens * sizeof acc[i][h][0]);
  }
  for (int g = -1; g <= groups; g++) {
    if (g + 1 < groups) level_group(j, bits, g + 1, table, level[(g + 1) % 2]);
    FENCE();
    if (g >= 0 && g < groups) {
      const uint8_t *low = level[g % 2], *high = low + PART;
      int32_t(*out)[2][TOKENS][HALF] = sum[g % 2];
      _tile_zero(0);
      _tile_zero(1);
      _tile_loadd(6, a[0] + g * GROUP, j->a_stride);
      _tile_loadd(7, low, 64);
      _tile_dpbusd(0, 6, 7);
      _tile_loadd(7, high, 64);
      _tile_dpbusd(1, 6, 7);
      if (parts > 1) {
        _tile_zero(2);
        _tile_zero(3);
        _tile_loadd(6, a[1] + g * GROUP, j->a_stride);
        _tile_dpbusd(3, 6, 7);
        _tile_loadd(7, low, 64);
        _tile_dpbusd(2, 6, 7);
      }
      if (parts > 2) {
        _tile_zero(4);
        _tile_zero(5);
        _tile_loadd(6, a[2] + g * GROUP, j->a_stride);
        _tile_dpbusd(4, 6, 7);
        _tile_loadd(7, high, 64);
        _tile_dpbusd(5, 6, 7);
      }
      _tile_stored(0, out[0][0], 64);
      _tile_stored(1, out[0][1], 64);
      if (parts > 1) {
        _tile_stored(2, out[1][0], 64);
        _tile_stored(3, out[1][1], 64);
      }
      if (parts > 2) {
        _tile_stored(4, out[2][0], 64);
        _tile_stored(5, out[2][1], 64);
      }
    }
    FENCE();
    if (g < 1) continue;
    for (int h = 0; h < 2; h++) {
      V s = scales_of(tile + scales_at(g - 1, bits) + h * HALF);
      for (int i = 0; i < parts; i++)
#pragma GCC unroll 4
        for (int t = 0; t < tokens; t++)
          _mm512_store_si512(acc[i][h][t], _mm512_add_epi32(load(acc[i][h][t]), _mm512_mullo_epi32(load(sum[(g - 1) % 2][i][h][t]), s)));
    }
  }
  for (int i = 0; i < parts; i++)
    for (int t = 0; t < tokens; t++)
      for (int h = 0; h < 2; h++) store_half(j, (i + 1 < parts ? i * tokens : last) + t, h, load(acc[i][h][t]));
}

enum { EIGHT = 8 };

/* The same for up to 8 tokens, whose sums stay in registers.  sum: scratch; what it holds for tokens that are not there is not used. */
static inline __attribute__((always_inline)) void tile_eight(const MatmulJob *j, int bits, int n, V table, int32_t sum[2][2][EIGHT][HALF]) {
  _Alignas(64) uint8_t level[2][2 * PART];
  const uint8_t *tile = j->p->tiles + (size_t)(j->row / TILE) * j->p->tile_bytes;
  const int groups = j->p->groups;
  V acc[2][EIGHT];
  for (int h = 0; h < 2; h++)
    for (int t = 0; t < EIGHT; t++) acc[h][t] = _mm512_setzero_si512();
  for (int g = -1; g <= groups; g++) {
    if (g + 1 < groups) level_group(j, bits, g + 1, table, level[(g + 1) % 2]);
    FENCE();
    if (g >= 0 && g < groups) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_loadd(6, j->a + g * GROUP, j->a_stride);
      _tile_loadd(7, level[g % 2], 64);
      _tile_dpbusd(0, 6, 7);
      _tile_loadd(7, level[g % 2] + PART, 64);
      _tile_dpbusd(1, 6, 7);
      _tile_stored(0, sum[g % 2][0], 64);
      _tile_stored(1, sum[g % 2][1], 64);
    }
    FENCE();
    if (g < 1) continue;
    for (int h = 0; h < 2; h++) {
      V s = scales_of(tile + scales_at(g - 1, bits) + h * HALF);
#pragma GCC unroll 8
      for (int t = 0; t < EIGHT; t++) acc[h][t] = _mm512_add_epi32(acc[h][t], _mm512_mullo_epi32(load(sum[(g - 1) % 2][h][t]), s));
    }
  }
  for (int t = 0; t < n; t++)
    for (int h = 0; h < 2; h++) store_half(j, t, h, acc[h][t]);
}

static inline __attribute__((always_inline)) void narrow_bits(MatmulJob *j, int bits, int from, int n, V table) {
  int parts = (n + TOKENS - 1) / TOKENS, tokens = (n + parts - 1) / parts;
  _Alignas(64) int32_t sum[2][2][EIGHT][HALF] = {0};
  configure_narrow(tokens);
  for (j->row = from; j->row < j->to; j->row += TILE) {
    if (n <= EIGHT) tile_eight(j, bits, n, table, sum);
    else if (parts == 1) tile_narrow(j, bits, n, 1, tokens, table);
    else if (parts == 2) tile_narrow(j, bits, n, 2, tokens, table);
    else tile_narrow(j, bits, n, 3, tokens, table);
  }
}

static void narrow(MatmulJob *j, int from, int n, V table) {
#define NARROW(bits) \
  case bits: narrow_bits(j, bits, from, n, table); break;
  FOR_WIDTHS(j->p->bits, NARROW)
#undef NARROW
}

/* ---- more: weights of one tile are folded once for all tokens of a slice ----
 *
 * Columns in two levels of blocks: of a large one the activations of a slice stay in L2 while rows pass by, and sums of the ones
 * before stand in y; of a small one the folded weights stay in L1, about, while tokens pass by, and sums stand in `sum`. */

typedef struct {
  const MatmulJob *j;
  int from, to, last;         /* groups of the small block; end of the large one */
  bool first;                 /* small block of its large one */
  const uint8_t *folded;      /* of the small block */
  int32_t (*sum)[2][HALF];    /* by token of the slice */
} Wide;

/* Sums of up to 16 tokens and 16 rows of a small block, on top of the others. */
static inline void put_sums(const Wide *w, int slice, int token, int n, int half, int32_t hi[][HALF], int32_t lo[][HALF]) {
  const MatmulJob *j = w->j;
  int first = j->row + half * HALF, rows = rows_of(j, half);
  __mmask16 mask = (__mmask16)((1u << rows) - 1);
  for (int t = 0; t < n; t++) {
    int32_t *sum = w->sum[token + t][half], *y = j->y + (size_t)(slice + token + t) * j->y_stride + first;
    V all = joined(hi[t], lo[t]);
    if (!w->first) all = _mm512_add_epi32(all, load(sum));
    else if (w->from > 0) all = _mm512_add_epi32(all, _mm512_maskz_loadu_epi32(mask, y));
    if (w->to == j->p->groups) store_half(j, slice + token + t, half, all);
    else if (w->to == w->last) _mm512_mask_storeu_epi32(y, mask, all);
    else _mm512_store_si512(sum, all);
  }
}

/* Tokens of one or two registers (second: a constant), one half of a tile. */
static inline __attribute__((always_inline)) void wide_block(const Wide *w, int slice, int token, int n, const bool second, int half) {
  _Alignas(64) int32_t sum[4][TOKENS][HALF];
  const MatmulJob *j = w->j;
  const uint8_t *a = j->a + (size_t)(slice + token) * j->a_stride, *b = w->folded + half * 2 * PART;
  _tile_zero(0);
  _tile_zero(1);
  if (second) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int g = w->from; g < w->to; g++, b += 4 * PART) {
    _tile_loadd(4, a + g * GROUP, j->a_stride);
    _tile_loadd(6, b, 64);
    _tile_loadd(7, b + PART, 64);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbuud(1, 4, 7);
    if (!second) continue;
    _tile_loadd(5, a + TOKENS * j->a_stride + g * GROUP, j->a_stride);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbuud(3, 5, 7);
  }
  _tile_stored(0, sum[0], 64);
  _tile_stored(1, sum[1], 64);
  if (second) {
    _tile_stored(2, sum[2], 64);
    _tile_stored(3, sum[3], 64);
  }
  FENCE();
  put_sums(w, slice, token, n < TOKENS ? n : TOKENS, half, sum[0], sum[1]);
  if (second) put_sums(w, slice, token + TOKENS, n - TOKENS, half, sum[2], sum[3]);
}

/* All tokens of a slice against one small block of a tile. */
static void wide_tokens(const Wide *w, int slice, int n) {
  int configured = 0;
  FENCE();
  for (int t = 0; t < n; t += 2 * TOKENS) {
    int some = n - t < 2 * TOKENS ? n - t : 2 * TOKENS;
    if (some != configured) configure_wide(some < TOKENS ? some : TOKENS, some - TOKENS);
    configured = some;
    for (int h = 0; h < 2 && rows_of(w->j, h) > 0; h++) {
      if (some > TOKENS) wide_block(w, slice, t, some, true, h);
      else wide_block(w, slice, t, some, false, h);
    }
  }
}

static void wide(MatmulJob *j, int from, int slice, int n, V table, uint8_t *scratch) {
  int groups = j->p->groups;
  for (int large = 0; large < groups; large += LARGE)
    for (j->row = from; j->row < j->to; j->row += TILE) {
      Wide w = {.j = j, .last = groups - large < LARGE ? groups : large + LARGE, .folded = scratch, .sum = (int32_t(*)[2][HALF])(void *)(scratch + FOLDED)};
      int left = w.last - large, blocks = (left + SMALL - 1) / SMALL, small = (left + blocks - 1) / blocks; /* of about the same size */
      for (w.from = large; w.from < w.last; w.from = w.to) {
        w.to = w.last - w.from < small ? w.last : w.from + small;
        w.first = w.from == large;
        fold(j, w.from, w.to, table, scratch);
        wide_tokens(&w, slice, n);
      }
    }
}

static void matmul(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac, int32_t *y, size_t y_stride, int8_t *scratch) {
  V table = table_of(p);
  MatmulJob j = {p, from, to, (const uint8_t *)a, a_stride, x, frac, y, y_stride};
  if (n < LEAST) {
    matmul_avx512(p, from, to, a, a_stride, n, x, frac, y, y_stride, scratch);
    return;
  }
  if (n <= PARTS * TOKENS) narrow(&j, from, n, table);
  for (int slice = 0; n > PARTS * TOKENS && slice < n; slice += SLICE) wide(&j, from, slice, n - slice < SLICE ? n - slice : SLICE, table, (uint8_t *)scratch);
  _tile_release();
}

#include "engine/attention_amx.h"

const Kernels kernels_amx = {
    .a_flip = 128, .weigh = weigh_avx512, .matmul = matmul, .scratch = SCRATCH,
    .scores = scores_avx512, .values = values_avx512, .attend = attend, SMALL(avx512), OPS(avx512),
};
