/* engine/kernels (private to engine): what an instruction set must bring.
 *
 * A kernel file fills one Kernels.  Every function gives the integers of the scalar reference in chip/arith.c.
 */
#ifndef BURIN_ENGINE_KERNELS_H
#define BURIN_ENGINE_KERNELS_H

#include "engine/kv.h"

/* How far ahead of its use a stream of weights is asked for, bytes. */
typedef struct {
  int far, near; /* into L2, into L1 */
} FetchAhead;

/* A matrix as a kernel reads it: the chip's tiles, or what pack_tile made of them. */
typedef struct {
  int rows, cols, groups, bits, exponent;
  size_t tile_bytes;
  const uint8_t *tiles; /* (ceil(rows / TILE), tile_bytes) */
  uint8_t *own;         /* memory of tiles, where they are not the chip's */
  uint16_t *own_scale;  /* and of row_scale */
  int32_t *correction;  /* [whole tiles] what the kernel subtracts from a row's sum */
  const uint16_t *row_scale; /* [whole tiles] */
  int8_t level[256];    /* by code; those of fewer than 6 bits repeat */
  int step;             /* log2 of the distance of levels, from 6 bits on */
  FetchAhead ahead;
  size_t bytes;         /* of all of the above that one pass reads */
} Packed;

static inline void packed_levels(Packed *p, const Matrix *m) {
  for (int i = 0; i < 256; i++) p->level[i] = m->level[m->bits < 6 ? i & ((1 << m->bits) - 1) : i];
  p->step = m->bits == 6 && m->levels > 1 && m->level[1] - m->level[0] == 2;
}

/* Sums over the columns of a tile's rows: of scale * level, padding columns included, and of scale * |level| without them. */
typedef struct {
  int32_t level[TILE], magnitude[TILE];
} RowSums;

/* A group's quads of which padding columns are 0, the others 1, a byte each. */
static inline int32_t quad_in_use(int cols, int group, int quad) {
  int left = cols - group * GROUP - quad * 4;
  return left >= 4 ? 0x01010101 : left <= 0 ? 0 : 0x01010101 & ((1 << 8 * left) - 1);
}

enum { LINE = 64 };

/* Asks for what a stream of weights comes to later: into L2 first, where many misses may wait at a time, then into L1, whose few
 * buffers are then held for moments. */
static inline __attribute__((always_inline)) void fetch_weights(FetchAhead ahead, const uint8_t *w, size_t bytes) {
  for (size_t k = 0; k < bytes; k += LINE) {
    __builtin_prefetch(w + ahead.far + k, 0, 2);
    __builtin_prefetch(w + ahead.near + k, 0, 3);
  }
}

/* What many tokens are multiplied with comes next meanwhile, a line at a time: memory would rest, and then be waited for. */
typedef struct {
  const uint8_t *at, *end;
} NextTile;
static inline NextTile next_tile(const Packed *p, int row) {
  const uint8_t *tile = p->tiles + (size_t)(row / TILE + 1) * p->tile_bytes;
  return (NextTile){tile, tile + p->tile_bytes};
}
static inline __attribute__((always_inline)) void fetch_line(NextTile *n) {
  if (n->at >= n->end) return;
  __builtin_prefetch(n->at, 0, 2);
  n->at += LINE;
}

/* What stays the same over the tiles of one matmul; row and to: of the tile, and the end. */
typedef struct {
  const Packed *p;
  int row, to;
  const uint8_t *a; /* activations with a_flip, (tokens, stride) */
  size_t a_stride;
  const Scale *x;
  int frac;
  int32_t *y;
  size_t y_stride;
} MatmulJob;

/* The same of the tokens from `token` on. */
static inline MatmulJob job_from(const MatmulJob *j, int token) {
  MatmulJob part = *j;
  part.a += (size_t)token * j->a_stride;
  part.x += token;
  part.y += (size_t)token * j->y_stride;
  return part;
}

/* A case for every width of codes, so that it is a constant in what the case calls. */
#define FOR_WIDTHS(bits, CASE) \
  switch (bits) { CASE(2) CASE(3) CASE(4) CASE(6) CASE(8) }

static inline size_t attention_stride(int n) { return ((size_t)n + KV_PAGE - 1) / KV_PAGE * KV_PAGE; }
/* A head's output from its sums over all positions, dimension by dimension: doc/arithmetic.md 3. */
static inline void attention_finish(const int64_t *acc, uint64_t den, int most, int dims, int32_t *out) {
  int bits = bit_length(den), shift = bits + 6 - (most - 16);
  int64_t reciprocal = (int64_t)(((uint64_t)1 << (bits + 15)) / den);
  if (shift < 1 || shift > 62) {
    for (int i = 0; i < dims; i++) out[i] = rsr_sat(acc[i] * reciprocal, shift);
    return;
  }
  int64_t half = (int64_t)1 << (shift - 1);
  for (int i = 0; i < dims; i++) out[i] = sat32((acc[i] * reciprocal + half) >> shift); /* rsr_sat, as vectors can do it */
}

enum { ATTEND_ROWS = 16, ATTEND_UNIT = 16, SMALL_DIM = 8 };

typedef struct {
  uint8_t a_flip;       /* bits to flip in every activation byte before matmul: 128 makes s8 into u8 + 128; corrections undo it */
  int signed_bits;      /* levels of so many bits meet activations as they are, and need no correction; 0: none */
  /* Where the chip's tiles do not serve: bytes of one of its own, and its contents. */
  size_t (*tile_bytes)(const Matrix *m);
  void (*pack_tile)(const Matrix *m, Packed *p, int t);
  /* Sums of tile t. */
  void (*weigh)(const Packed *p, int t, RowSums *out);
  /* y[token * y_stride + row] = matrix_finish(...) for rows [from, to) (multiples of TILE, or the end) and n tokens.
   * a (n, a_stride) has groups * 64 readable values a token, zeros past cols. */
  void (*matmul)(const Packed *p, int from, int to, const int8_t *a, size_t a_stride, int n, const Scale *x, int frac,
                 int32_t *y, size_t y_stride, int8_t *scratch);
  size_t scratch; /* bytes of it; 0: a tile of levels, see scratch_bytes */

  Step (*quant8)(const int32_t *v, int n, int8_t *a);
  Scale (*norm8)(const ChipShape *s, const Gain *gain, const int32_t *h, int8_t *a, int32_t *v);
  void (*rotary)(const ChipShape *s, const int32_t *cos_sin /* [rotary_dims / 2][2] */, int32_t *head);
  /* Attention of query heads that share a key-value head over its positions [from, to), `from` a multiple of KV_PAGE: first
   * the scores, then, with the largest score and exponent of all positions, weights and values.  All sums are exact, so that
   * those of several ranges may be added.
   * q (heads, head_dim); z (heads, stride) by position, whole pages; top[heads] <- largest scores.  Returns the largest exponent (+ 16) of a
   * value's step. */
  int (*scores)(const KvCells *kv, const int8_t *q, const Step *q_step, int heads, int from, int to, int32_t *z, size_t stride, int32_t *top);
  /* den[heads], acc (heads, 4 quads) <- sums of weights, and of weights times values. */
  void (*values)(const KvCells *kv, int heads, int from, int to, const int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc);
  /* Attention of `rows` (at most ATTEND_ROWS) successive positions of one query head, of which the first sees `n` positions, where
   * head_dim is a multiple of ATTEND_UNIT.  NULL: row by row.
   * q, q_step and out: of the first row, the next ones so far apart; z: rows * attention_stride(n + rows); acc: rows * head_dim. */
  void (*attend)(const KvCells *kv, const int8_t *q, size_t q_apart, const Step *q_step, size_t step_apart, int rows, int n, int32_t *z, int64_t *acc, int32_t *out,
                 size_t out_apart);
  /* Heads of SMALL_DIM dimensions, all of them rotary, or NULL: they are as others.
   * Rotates `heads` of them, head (heads, SMALL_DIM), cos_sin NULL: does not, and quantises them: a (heads, SMALL_DIM), step[heads]. */
  void (*rotate_small)(const ChipShape *s, const int32_t *cos_sin, int32_t *head, int heads, int8_t *a, Step *step);
  /* Attention of query heads that share a key-value head over its n positions; z (heads, stride) as above, out (heads, SMALL_DIM). */
  void (*attend_small)(const KvCells *kv, const int8_t *q, const Step *q_step, int heads, int n, int32_t *z, size_t stride, int32_t *out);
  /* attention_finish of some heads: out (heads, dims) from acc (heads, 4 quads) and den[heads]. */
  void (*finish)(const int64_t *acc, const uint64_t *den, int most, int heads, int dims, int32_t *out);
  void (*gate)(const int32_t *g, const int32_t *u, int n, int32_t *act);
  Step (*butterfly_quant8)(int32_t *act, int n, int8_t *a);
  void (*add)(int32_t *h, const int32_t *y, int n); /* h = sat(h + y) */
} Kernels;

/* What matmul needs for a matrix of so many columns, whole groups. */
static inline size_t scratch_bytes(const Kernels *k, int columns) { return k->scratch ? k->scratch : (size_t)TILE * (size_t)columns; }

extern const Kernels kernels_scalar, kernels_avx2, kernels_avxvnni, kernels_avx512, kernels_amx, kernels_neon;

/* The element-wise operations, compiled once for each instruction set from ops_isa.c; their places in its Kernels. */
#define OPS(isa) \
  .finish = finish_##isa, .quant8 = quant8_##isa, .norm8 = norm8_##isa, .rotary = rotary_##isa, .gate = gate_##isa, .butterfly_quant8 = butterfly_quant8_##isa, .add = add_##isa
/* Those of engine/attention.h. */
#define ATTENTION .scores = scores, .values = values
/* Those for heads of SMALL_DIM dimensions. */
#define SMALL(isa) .rotate_small = rotate_small_##isa, .attend_small = attend_small_##isa
#define DECLARE_OPS(isa)                                                                                     \
  Step quant8_##isa(const int32_t *v, int n, int8_t *a);                                                     \
  Scale norm8_##isa(const ChipShape *s, const Gain *gain, const int32_t *h, int8_t *a, int32_t *v);          \
  void rotary_##isa(const ChipShape *s, const int32_t *cos_sin, int32_t *head);                              \
  void finish_##isa(const int64_t *acc, const uint64_t *den, int most, int heads, int dims, int32_t *out);    \
  void gate_##isa(const int32_t *g, const int32_t *u, int n, int32_t *act);                                  \
  Step butterfly_quant8_##isa(int32_t *act, int n, int8_t *a);                                               \
  void add_##isa(int32_t *h, const int32_t *y, int n);                                                       \
  void finish_row_##isa(const int32_t *acc, const uint16_t *row_scale, int n, int exponent, Scale x, int frac, int32_t *y);
DECLARE_OPS(scalar)
DECLARE_OPS(avx2)
DECLARE_OPS(avx512)
void rotate_small_avx512(const ChipShape *s, const int32_t *cos_sin, int32_t *head, int heads, int8_t *a, Step *step);
void attend_small_avx512(const KvCells *kv, const int8_t *q, const Step *q_step, int heads, int n, int32_t *z, size_t stride, int32_t *out);

#endif
