/* engine/kernel_scalar: the matrix product in plain C.  A row's levels are looked up once and met by all tokens. */
#include "engine/attention.h"

#include <string.h>

/* A tile of its own: [TILE][groups] group scales padded to 64, then [TILE][groups * 64] levels as bytes. */
static size_t scales_bytes(int groups) { return ((size_t)TILE * (size_t)groups + 63) & ~(size_t)63; }

static size_t own_bytes(const Matrix *m) { return scales_bytes(m->groups) + (size_t)TILE * (size_t)m->groups * GROUP; }

static void pack_tile(const Matrix *m, Packed *p, int t) {
  uint8_t *scale = p->own + (size_t)t * p->tile_bytes;
  int8_t *level = (int8_t *)scale + scales_bytes(m->groups);
  for (int r = 0; r < TILE && t * TILE + r < m->rows; r++)
    for (int g = 0; g < m->groups; g++) {
      scale[r * m->groups + g] = (uint8_t)matrix_group_scale(m, t * TILE + r, g);
      matrix_group_levels(m, t * TILE + r, g, level + ((size_t)r * (size_t)m->groups + (size_t)g) * GROUP);
    }
}

static void weigh(const Packed *p, int t, RowSums *out) {
  const uint8_t *scale = p->tiles + (size_t)t * p->tile_bytes;
  const int8_t *level = (const int8_t *)scale + scales_bytes(p->groups);
  for (int r = 0; r < TILE; r++) {
    uint32_t sum = 0, magnitude = 0; /* hostile scales may wrap them */
    for (int g = 0; g < p->groups; g++, level += GROUP) {
      int32_t a = 0, b = 0;
      for (int i = 0; i < GROUP; i++) a += level[i];
      for (int i = 0; i < GROUP && g * GROUP + i < p->cols; i++) b += level[i] < 0 ? -level[i] : level[i];
      sum += (uint32_t)(scale[r * p->groups + g] * a), magnitude += (uint32_t)(scale[r * p->groups + g] * b);
    }
    out->level[r] = (int32_t)sum, out->magnitude[r] = (int32_t)magnitude;
  }
}

static int32_t row_sum(const uint8_t *restrict scale, const int8_t *restrict level, const int8_t *restrict a, int groups) {
  int32_t acc = 0;
  for (int g = 0; g < groups; g++, level += GROUP, a += GROUP) {
    int32_t sum = 0;
    for (int i = 0; i < GROUP; i++) sum += (int32_t)((int16_t)level[i] * (int16_t)a[i]);
    acc += scale[g] * sum;
  }
  return acc;
}

static void matmul(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac,
                   int32_t *y, size_t y_stride, int8_t *scratch) {
  (void)scratch;
  for (int r = from; r < to; r++) {
    const uint8_t *tile = p->tiles + (size_t)(r / TILE) * p->tile_bytes;
    const uint8_t *scale = tile + r % TILE * p->groups;
    const int8_t *level = (const int8_t *)tile + scales_bytes(p->groups) + (size_t)(r % TILE * p->groups) * GROUP;
    for (int t = 0; t < n; t++) {
      int32_t acc = row_sum(scale, level, a + (size_t)t * a_stride, p->groups);
      y[(size_t)t * y_stride + (size_t)r] = matrix_finish(acc, p->row_scale[r], p->exponent, x[t], frac);
    }
  }
}

const Kernels kernels_scalar = {
    .tile_bytes = own_bytes, .pack_tile = pack_tile, .weigh = weigh, .matmul = matmul,
    ATTENTION, OPS(scalar),
};
