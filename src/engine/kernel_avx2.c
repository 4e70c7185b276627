/* engine/kernel_avx2: the matrix product for AVX2.
 *
 * A tile is 16 rows, two halves of 8 (one ymm of 8 int32 sums each).  First the group scales, [groups][16] bytes padded
 * to 64; then for each group of 64 columns, for each half, 16 quads of 4 columns: byte 4 r + c of a quad is row r, column
 * 4 q + c.  Matrices of at most 4 bits keep codes, two quads a vector (low and high nibbles), and look levels up by a
 * byte shuffle; wider ones keep levels as bytes.
 * |a| times sign(a) level: pairs stay within 2 * 127 * 127 < 2^15, so the 16-bit sums of vpmaddubsw are exact.
 */
#include "engine/kernels.h"

#include <immintrin.h>
#include <string.h>

enum { TILE = 16, HALF = 8, QUADS = GROUP / 4 };

static size_t scales_bytes(int groups) { return ((size_t)TILE * (size_t)groups + 63) & ~(size_t)63; }

static bool nibbles(int bits) { return bits <= 4; }

static size_t group_bytes(int bits) { return nibbles(bits) ? TILE * GROUP / 2 : TILE * GROUP; }

static size_t tile_bytes(const Matrix *m) { return scales_bytes(m->groups) + (size_t)m->groups * group_bytes(m->bits); }

static bool pack_tile(const Matrix *m, Packed *p, int t) {
  uint8_t *scale = p->tiles + (size_t)t * p->tile_bytes, *group = scale + scales_bytes(m->groups);
  for (int g = 0; g < m->groups; g++, group += group_bytes(m->bits))
    for (int r = 0; r < TILE && t * TILE + r < m->rows; r++) {
      int row = t * TILE + r;
      uint8_t code[GROUP];
      matrix_group_codes(m, row, g, code);
      scale[g * TILE + r] = (uint8_t)matrix_group_scale(m, row, g);
      for (int i = 0; i < GROUP; i++) {
        int quad = i / 4, at = r % HALF * 4 + i % 4;
        if (nibbles(m->bits)) group[r / HALF * (QUADS / 2 * 32) + quad / 2 * 32 + at] |= (uint8_t)(code[i] << (quad % 2 * 4));
        else group[r / HALF * (QUADS * 32) + quad * 32 + at] = (uint8_t)m->level[code[i]];
      }
    }
  return true;
}

static inline __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* Levels of one half of one group as bytes, 16 quads of 32. */
static inline void unpack_half(const Packed *p, const uint8_t *codes, __m256i table, int8_t *out) {
  if (!nibbles(p->bits)) {
    memcpy(out, codes, QUADS * 32);
    return;
  }
  const __m256i low = _mm256_set1_epi8(15);
  for (int j = 0; j < QUADS / 2; j++) {
    __m256i v = load(codes + j * 32);
    _mm256_storeu_si256((__m256i *)(out + 64 * j), _mm256_shuffle_epi8(table, _mm256_and_si256(v, low)));
    _mm256_storeu_si256((__m256i *)(out + 64 * j + 32), _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
  }
}

static inline __m256i quad_products(__m256i level, const int8_t *a) {
  int32_t word;
  memcpy(&word, a, 4);
  __m256i x = _mm256_set1_epi32(word);
  return _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(level, x));
}

/* Sum of level * a over one group for 8 rows. */
static inline __m256i group_sum(const int8_t *level, const int8_t *a, int bits) {
  const __m256i one = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  if (bits <= 4) { /* four sums of at most 2 * 31 * 127 fit 16 bits */
    for (int q = 0; q < QUADS; q += 4) {
      __m256i s = quad_products(load(level + q * 32), a + 4 * q);
      for (int k = 1; k < 4; k++) s = _mm256_add_epi16(s, quad_products(load(level + (q + k) * 32), a + 4 * (q + k)));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(s, one));
    }
  } else {
    for (int q = 0; q < QUADS; q++) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(quad_products(load(level + q * 32), a + 4 * q), one));
  }
  return sum;
}

/* The same straight from packed codes: one token meets each weight once, so that unpacking to memory would not pay. */
static inline __m256i group_sum_packed(const uint8_t *codes, const int8_t *a, __m256i table) {
  const __m256i one = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
  __m256i sum = _mm256_setzero_si256();
  for (int j = 0; j < QUADS / 2; j += 2) {
    __m256i s = _mm256_setzero_si256();
    for (int k = j; k < j + 2; k++) {
      __m256i v = load(codes + k * 32);
      s = _mm256_add_epi16(s, quad_products(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)), a + 8 * k));
      s = _mm256_add_epi16(s, quad_products(_mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)), a + 8 * k + 4));
    }
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(s, one));
  }
  return sum;
}

typedef struct {
  const Packed *p;
  const uint8_t *scale, *codes; /* of the tile; codes of the half in its first group */
  int half, first, rows;        /* rows [first, first + rows) */
  const int8_t *a;
  size_t a_stride;
  const Scale *x;
  int frac;
  int32_t *y;
  size_t y_stride;
} Half;

static inline void add_group(const Half *h, int g, __m256i sum, __m256i *acc) {
  __m256i s = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(h->scale + g * TILE + h->half * HALF)));
  *acc = _mm256_add_epi32(*acc, _mm256_mullo_epi32(sum, s));
}

static void finish_half(const Half *h, int token, __m256i acc) {
  int32_t sums[HALF];
  _mm256_storeu_si256((__m256i *)sums, acc);
  finish_row_avx2(sums, h->p->row_scale + h->first, h->rows, h->p->exponent, h->x[token], h->frac, h->y + (size_t)token * h->y_stride + h->first);
}

static void half_one(const Half *h, __m256i table) {
  size_t step = group_bytes(h->p->bits);
  __m256i acc = _mm256_setzero_si256();
  for (int g = 0; g < h->p->groups; g++) {
    const uint8_t *codes = h->codes + (size_t)g * step;
    const int8_t *a = h->a + g * GROUP;
    _mm_prefetch((const char *)codes + 4 * step, _MM_HINT_T0);
    __m256i sum = nibbles(h->p->bits) ? group_sum_packed(codes, a, table) : group_sum((const int8_t *)codes, a, h->p->bits);
    add_group(h, g, sum, &acc);
  }
  finish_half(h, 0, acc);
}

static void half_many(const Half *h, __m256i table, int n, int8_t *level) {
  size_t step = group_bytes(h->p->bits);
  for (int g = 0; g < h->p->groups; g++) unpack_half(h->p, h->codes + (size_t)g * step, table, level + g * QUADS * 32);
  for (int t = 0; t < n; t++) {
    __m256i acc = _mm256_setzero_si256();
    for (int g = 0; g < h->p->groups; g++)
      add_group(h, g, group_sum(level + g * QUADS * 32, h->a + (size_t)t * h->a_stride + g * GROUP, h->p->bits), &acc);
    finish_half(h, t, acc);
  }
}

static void matmul(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac,
                   int32_t *y, size_t y_stride, int8_t *scratch) {
  __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p->level));
  for (int row = from; row < to; row += TILE) {
    const uint8_t *scale = p->tiles + (size_t)(row / TILE) * p->tile_bytes, *codes = scale + scales_bytes(p->groups);
    for (int half = 0; half < TILE / HALF; half++) {
      int first = row + half * HALF, rows = to - first < HALF ? to - first : HALF;
      if (rows <= 0) break;
      Half h = {p, scale, codes + (size_t)half * group_bytes(p->bits) / 2, half, first, rows, a, a_stride, x, frac, y, y_stride};
      if (n == 1) half_one(&h, table);
      else half_many(&h, table, n, scratch);
    }
  }
}

const Kernels kernels_avx2 = {
    .tile = TILE, .needs_correction = false, .tile_bytes = tile_bytes, .pack_tile = pack_tile, .matmul = matmul,
    .quant8 = quant8_avx2, .norm8 = norm8_avx2, .rotary = rotary_avx2, .scores = scores_avx2, .values = values_avx2,
    .gate = gate_avx2, .butterfly_quant8 = butterfly_quant8_avx2, .add = add_avx2,
};
