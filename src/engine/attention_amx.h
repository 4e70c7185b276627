/* engine/attention_amx: the products of attention in tile registers.  Included by kernel_amx.c.
 *
 * Pages lie as tiles are loaded: 16 keys are quads of dimensions by 16 positions, 16 dimensions of values quads of positions by 16
 * dimensions.  Registers 0 to 3 hold sums; then 4 holds queries (their quads in equal parts of at most 16) and 5 keys, or 5 and 6 weights
 * and 7 values.
 */
#include "engine/rows_avx512.h"

/* Quads of a register that holds queries: of equal parts. */
static int quads_of(int head_dim) {
  int all = head_dim / 4, quads = all < QUADS ? all : QUADS;
  while (all % quads) quads--;
  return quads;
}

static void begin_scores(Queries *q) {
  TileConfig c = {.palette = 1};
  q->part[0] = quads_of(q->kv->head_dim);
  for (int i = 0; i < 6; i++) c.bytes[i] = 64, c.rows[i] = (uint8_t)q->n;
  c.bytes[4] = (uint16_t)(4 * q->part[0]);
  c.rows[5] = (uint8_t)q->part[0];
  __asm__ volatile("ldtilecfg %0" ::"m"(c));
  FENCE();
  _tile_loadd(4, q->q, q->apart); /* for all pages, where there is one part */
}

static void dot_page(const Queries *q, const int8_t *k, int32_t dot[4][QUERIES][KV_BLOCK]) {
  const int quads = q->part[0], parts = q->kv->head_dim / 4 / quads;
  const size_t block = (size_t)q->kv->head_dim * KV_BLOCK;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int i = 0; i < parts; i++, k += quads * 64) {
    if (parts > 1) _tile_loadd(4, q->q + i * quads * 4, q->apart);
    _tile_loadd(5, k, 64);
    _tile_dpbssd(0, 4, 5);
    _tile_loadd(5, k + block, 64);
    _tile_dpbssd(1, 4, 5);
    _tile_loadd(5, k + 2 * block, 64);
    _tile_dpbssd(2, 4, 5);
    _tile_loadd(5, k + 3 * block, 64);
    _tile_dpbssd(3, 4, 5);
  }
  _tile_stored(0, dot[0], 64);
  _tile_stored(1, dot[1], 64);
  _tile_stored(2, dot[2], 64);
  _tile_stored(3, dot[3], 64);
}

static void begin_values(const Queries *q) {
  TileConfig c = {.palette = 1};
  for (int i = 0; i < 8; i++) c.bytes[i] = 64, c.rows[i] = (uint8_t)q->n;
  c.rows[7] = QUADS;
  __asm__ volatile("ldtilecfg %0" ::"m"(c));
}

static void add_dims(const Queries *q, const Weights *w, int page, int n, int d, int32_t sum[4][QUERIES][DIMS]) {
  const size_t apart = (size_t)q->kv->head_dim * 4;
  const bool second = d + DIMS < q->kv->head_dim;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int p = 0; p < n; p++) {
    const int8_t *v = kv_page_cell(q->kv, page + p).v + 4 * d;
    _tile_loadd(6, w->byte[p][0], KV_PAGE);
    _tile_loadd(5, w->byte[p][1], KV_PAGE);
    _tile_loadd(7, v, apart);
    _tile_dpbusd(0, 6, 7);
    _tile_dpbusd(1, 5, 7);
    if (!second) continue;
    _tile_loadd(7, v + 4 * DIMS, apart);
    _tile_dpbusd(2, 6, 7);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_stored(0, sum[0], 64);
  _tile_stored(1, sum[1], 64);
  _tile_stored(2, sum[2], 64);
  _tile_stored(3, sum[3], 64);
}

static void attend(const KvCells *kv, const int8_t *q, size_t q_apart, const Step *q_step, size_t step_apart, int rows, int n, int32_t *z, int64_t *acc, int32_t *out, size_t out_apart) {
  attend_rows(kv, q, q_apart, q_step, step_apart, rows, n, z, acc, out, out_apart);
  _tile_release();
}
