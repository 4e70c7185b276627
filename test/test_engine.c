/* test/test_engine: every kernel of every instruction set gives the integers of chip/arith.c. */
#include "unit.h"

#include "engine/engine.h"
#include "engine/kernels.h"
#include "engine/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const Kernels *kernels[ISA_COUNT];
static Isa isa_of[ISA_COUNT];
static int isas;

static int find_isas(void **s) {
  (void)s;
  const Kernels *all[ISA_COUNT] = {
      [ISA_SCALAR] = &kernels_scalar,
#if defined(__x86_64__)
      [ISA_AVX2] = &kernels_avx2, [ISA_AVXVNNI] = &kernels_avxvnni, [ISA_AVX512] = &kernels_avx512, [ISA_AMX] = &kernels_amx,
#elif defined(__aarch64__)
      [ISA_NEON] = &kernels_neon,
#endif
  };
  for (size_t i = 0; i < ISA_COUNT; i++)
    if (isa_has((Isa)i)) kernels[isas] = all[i], isa_of[isas++] = (Isa)i;
  return 0;
}

/* A random strictly increasing book; an even one from 6 bits on. */
static void random_book(Pcg *p, Matrix *m) {
  int most = matrix_max_level(m->bits), at = -most, step = m->bits == 6 ? random_in(p, 1, 2) : 1;
  if (m->bits == 6) at = random_in(p, -most, most - 63 * step);
  for (int i = 0; i < m->levels; i++) {
    int slack = most - at - (m->levels - 1 - i);
    if (m->bits < 6) at += random_in(p, 0, slack < 3 ? slack : 3);
    m->level[i] = (int8_t)at;
    at += m->bits < 6 ? 1 : step;
  }
}

static Matrix random_matrix(Pcg *p, int rows, int cols, int bits, Arena *a) {
  Err e = {0};
  Matrix m = {.rows = rows, .cols = cols, .groups = (cols + GROUP - 1) / GROUP, .bits = bits, .exponent = random_in(p, -40, -8), .grouped = true};
  m.levels = bits == 8 ? 255 : 1 << bits;
  random_book(p, &m);
  uint16_t *rs = arena_alloc(a, (size_t)tiled_rows(rows), 2, &e);
  uint8_t *weights = arena_alloc(a, matrix_weight_bytes(&m), 1, &e);
  for (size_t i = 0; i < matrix_weight_bytes(&m); i++) weights[i] = bits == 8 ? (uint8_t)random_in(p, 0, 254) : (uint8_t)pcg_next(p);
  for (int r = 0; r < rows; r++) rs[r] = (uint16_t)pcg_next(p);
  for (int i = 0; i < tiled_rows(rows) * m.groups; i++) matrix_put_group_scale(&m, weights, i / m.groups, i % m.groups, random_in(p, 1, MAX_GROUP_SCALE));
  m.row_scale = rs;
  m.weights = weights;
  return m;
}

/* As the engine does; out: sums by row. */
static void pack(const Kernels *k, const Matrix *m, Packed *p, RowSums *out, Arena *a) {
  Err e = {0};
  size_t tiles = (size_t)tiles_of(m->rows);
  *p = (Packed){.rows = m->rows, .cols = m->cols, .groups = m->groups, .bits = m->bits, .exponent = m->exponent, .row_scale = m->row_scale, .tiles = m->weights,
                .tile_bytes = k->pack_tile ? k->tile_bytes(m) : tile_bytes(m->groups, m->bits)};
  packed_levels(p, m);
  if (k->pack_tile) p->tiles = p->own = arena_alloc(a, tiles, p->tile_bytes, &e);
  p->correction = arena_alloc(a, tiles * TILE, 4, &e);
  for (size_t t = 0; t < tiles; t++) {
    if (k->pack_tile) k->pack_tile(m, p, (int)t);
    k->weigh(p, (int)t, &out[t]);
    for (int r = 0; r < TILE; r++) p->correction[t * TILE + (size_t)r] = k->a_flip && m->bits != k->signed_bits ? (int32_t)((uint32_t)out[t].level[r] << 7) : 0;
  }
}

static void one_product(Pcg *p, int rows, int cols, int bits, int n) {
  Arena a = {0};
  Err e = {0};
  Matrix m = random_matrix(p, rows, cols, bits, &a);
  size_t width = (size_t)m.groups * GROUP, y_stride = (size_t)rows + 5;
  int8_t *x = arena_alloc(&a, (size_t)n, width, &e), *flipped = arena_alloc(&a, (size_t)n, width, &e);
  Scale *scale = arena_alloc(&a, (size_t)n, sizeof *scale, &e);
  int32_t *y = arena_alloc(&a, (size_t)n * y_stride, 4, &e);
  for (int t = 0; t < n; t++) {
    for (int c = 0; c < cols; c++) x[(size_t)t * width + (size_t)c] = (int8_t)(pcg_next(p) % 9 == 0 ? 127 : random_in(p, -127, 127));
    scale[t] = t % 3 ? (Scale){(uint32_t)random_in(p, 32768, 65535), random_in(p, -40, 10)} : plain_scale((Step){random_in(p, 130, 258), random_in(p, -14, 23)});
  }
  for (int i = 0; i < isas; i++) {
    const Kernels *k = kernels[i];
    Packed packed;
    RowSums *sums = arena_alloc(&a, (size_t)tiles_of(rows), sizeof *sums, &e);
    pack(k, &m, &packed, sums, &a);
    for (size_t c = 0; c < (size_t)n * width; c++) flipped[c] = (int8_t)(x[c] ^ k->a_flip);
    int8_t *scratch = arena_alloc(&a, scratch_bytes(k, (int)width), 1, &e);
    memset(y, 0x55, (size_t)n * y_stride * 4);
    int cut = rows / 2 / TILE * TILE; /* two parts, as two threads would */
    k->matmul(&packed, 0, cut, flipped, width, n, scale, 16, y, y_stride, scratch);
    k->matmul(&packed, cut, rows, flipped, width, n, scale, 16, y, y_stride, scratch);
    for (int t = 0; t < n; t++) {
      for (int r = 0; r < rows; r++) {
        int32_t expected = matrix_finish(matrix_row(&m, r, x + (size_t)t * width), m.row_scale[r], m.exponent, scale[t], 16);
        if (y[(size_t)t * y_stride + (size_t)r] != expected)
          fail_msg("%s: %d bits, %dx%d, token %d of %d, row %d: expected %d, found %d", isa_name(isa_of[i]), bits, rows, cols, t, n, r, expected,
                   y[(size_t)t * y_stride + (size_t)r]);
      }
      for (int r = rows; r < rows + 5; r++) assert_int_equal(y[(size_t)t * y_stride + (size_t)r], 0x55555555); /* nothing past the end */
    }
  }
  arena_free(&a);
}

static void products_are_equal(void **s) {
  (void)s;
  static const int widths[] = {2, 3, 4, 6, 8}, rows[] = {1, 15, 16, 33, 64, 100}, cols[] = {1, 63, 64, 65, 200, 576}, tokens[] = {1, 2, 4, 8, 6, 13, 17, 40, 32, 50};
  Pcg p = pcg_seed(1, 0);
  for (int w = 0; w < 5; w++)
    for (int r = 0; r < 6; r++)
      for (int c = 0; c < 6; c++) one_product(&p, rows[r], cols[c], widths[w], tokens[(2 * r + c) % 10]);
  for (int n = 1; n <= 49; n++) /* every way of parting few tokens, at two widths */
    for (int w = n % 5, i = 0; i < 2; i++) one_product(&p, 33, 200, widths[(w + i) % 5], n);
  one_product(&p, 37, 2300, 4, 61); /* more columns, more tokens than kernels take at a time */
  one_product(&p, 37, 130, 3, 531);
}

/* Sums of rows against their definition, and with matrix_tile_in_range the verdict of matrix_check. */
static void weighing_checks(void **s) {
  (void)s;
  static const int widths[] = {2, 3, 4, 6, 8};
  Pcg p = pcg_seed(5, 0);
  int found = 0;
  for (int round = 0; round < 200; round++) {
    Arena a = {0};
    Err e = {0};
    int bits = widths[round % 5], cols = round % 3 ? random_in(&p, 1, 400) : random_in(&p, 4000, 9000);
    Matrix m = random_matrix(&p, random_in(&p, 1, 70), cols, bits, &a);
    uint8_t *weights = (uint8_t *)(uintptr_t)m.weights;
    int row = random_in(&p, 0, m.rows - 1), g = random_in(&p, 0, m.groups - 1), tiles = tiles_of(m.rows);
    if (round % 8 == 5 && bits < 8) m.levels--;
    if (round % 4 == 1) matrix_put_group_scale(&m, weights, row, g, round % 8 == 1 ? 0 : random_in(&p, MAX_GROUP_SCALE, MAX_GROUP_SCALE + 2));
    if (round % 4 == 2) matrix_put_code(&m, weights, row, g * GROUP + random_in(&p, 0, GROUP - 1), 255); /* the last code, which 8 bits lack */
    for (int r = 0; round % 4 == 3 && r < tiled_rows(m.rows); r++) /* the largest magnitude everywhere, or near */
      for (int c = 0; c < m.groups * GROUP; c++) matrix_put_code(&m, weights, r, c, 0);
    bool good = matrix_check(&m, "m", &e), in_range = true;
    found += !good;
    for (int t = 0; t < tiles; t++) in_range = matrix_tile_in_range(&m, t) && in_range;
    RowSums *sums = arena_alloc(&a, (size_t)tiles, sizeof *sums, &e);
    for (int i = 0; i < isas; i++) {
      Packed packed;
      pack(kernels[i], &m, &packed, sums, &a);
      bool fits = in_range;
      for (int r = 0; in_range && r < m.rows; r++) {
        uint32_t level = 0, magnitude = 0;
        for (int c = 0; c < m.groups * GROUP; c++) {
          int l = m.level[matrix_code(&m, r, c)], scale = matrix_group_scale(&m, r, c / GROUP);
          level += (uint32_t)(scale * l), magnitude += c < cols ? (uint32_t)(scale * abs(l)) : 0;
        }
        assert_int_equal(sums[r / TILE].level[r % TILE], (int32_t)level);
        assert_int_equal(sums[r / TILE].magnitude[r % TILE], (int32_t)magnitude);
        fits = fits && magnitude <= INT32_MAX / 127;
      }
      assert_int_equal(fits, good);
    }
    arena_free(&a);
  }
  assert_in_range(found, 50, 150);
}

static void vectors_are_equal(void **s) {
  (void)s;
  Pcg p = pcg_seed(2, 0);
  enum { N = 640 };
  static int32_t v[N], u[N], w[N], w2[N];
  static int8_t a[N], b[N];
  static int16_t g[N];
  for (int round = 0; round < 3000; round++) {
    int n = random_in(&p, 1, N), shift = random_in(&p, 0, 31);
    for (int i = 0; i < n; i++) v[i] = wild(&p) >> shift, u[i] = wild(&p);
    ChipShape shape = {.dim = n, .root_dim = (uint32_t)random_in(&p, 256, 65535), .eps = pcg_next(&p) >> random_in(&p, 0, 31)};
    Step step = quant8(v, n, a);
    for (int i = 0; i < n; i++) g[i] = (int16_t)random_in(&p, -32768, 32767);
    Gain some = {g, random_in(&p, -64, 32)}, *gain = round & 1 ? &some : NULL;
    Scale x = norm8(&shape, gain, v, b, w);
    for (int i = 0; i < isas; i++) {
      static int8_t c[N];
      Step mine = kernels[i]->quant8(v, n, c);
      assert_true(mine.u == step.u && mine.e == step.e);
      assert_memory_equal(a, c, n);
      Scale y = kernels[i]->norm8(&shape, gain, v, c, w);
      assert_memory_equal(b, c, n);
      assert_true(x.M == y.M && x.E == y.E);
      kernels[i]->gate(v, u, n, w);
      for (int k = 0; k < n; k++) assert_int_equal(w[k], gate_one(v[k], u[k]));
      memcpy(w, v, sizeof w);
      kernels[i]->add(w, u, n);
      for (int k = 0; k < n; k++) assert_int_equal(w[k], sat32((int64_t)v[k] + u[k]));
      int blocks = n / 64 * 64;
      memcpy(w, v, sizeof w);
      memcpy(w2, v, sizeof w2);
      Step whole = butterfly_quant8(w, blocks, a);
      mine = kernels[i]->butterfly_quant8(w2, blocks, c);
      assert_true(mine.u == whole.u && mine.e == whole.e);
      assert_memory_equal(a, c, blocks);
      quant8(v, n, a);
    }
  }
}

static void rotations_are_equal(void **s) {
  (void)s;
  Pcg p = pcg_seed(3, 0);
  for (int round = 0; round < 2000; round++) {
    int half = random_in(&p, 1, 64), position = random_in(&p, 0, 4095);
    static int16_t high[64 * 64 * 2], low[64 * 64 * 2];
    for (int i = 0; i < 64 * 64 * 2; i++) high[i] = (int16_t)random_in(&p, -32767, 32767), low[i] = (int16_t)random_in(&p, -32767, 32767);
    Chip c = {.shape = {.rotary_dims = 2 * half, .pairs = round & 1 ? CHIP_PAIRS_HALVES : CHIP_PAIRS_ADJACENT, .context = 4096}, .rotary_high = high, .rotary_low = low};
    int32_t head[128], copy[128], cos_sin[128];
    for (int i = 0; i < 2 * half; i++) head[i] = wild(&p);
    for (int i = 0; i < half; i++) rotary_pair(&c, position, i, &cos_sin[2 * i], &cos_sin[2 * i + 1]);
    for (int i = 0; i < isas; i++) {
      int32_t mine[128];
      memcpy(mine, head, sizeof mine);
      memcpy(copy, head, sizeof copy);
      rotary_apply(&c, position, copy);
      kernels[i]->rotary(&c.shape, cos_sin, mine);
      assert_memory_equal(copy, mine, 8 * (size_t)half);
    }
  }
}

/* Heads of a row together: turned and quantised as each alone, or quantised only. */
static void small_heads_are_equal(void **s) {
  (void)s;
  Pcg p = pcg_seed(7, 0);
  enum { MOST = 11, N = MOST * SMALL_DIM };
  for (int round = 0; round < 5000; round++) {
    int heads = random_in(&p, 1, MOST), shift = random_in(&p, 0, 31);
    int32_t cos_sin[SMALL_DIM], head[N], want[N], mine[N];
    int8_t a[N], b[N];
    Step step[MOST], found[MOST];
    int16_t high[ROTARY_LOW * SMALL_DIM], low[ROTARY_LOW * SMALL_DIM];
    for (size_t i = 0; i < sizeof low / sizeof *low; i++) high[i] = (int16_t)random_in(&p, -32767, 32767), low[i] = (int16_t)random_in(&p, -32767, 32767);
    Chip c = {.shape = {.rotary_dims = SMALL_DIM, .pairs = round & 1 ? CHIP_PAIRS_HALVES : CHIP_PAIRS_ADJACENT, .context = 4096}, .rotary_high = high, .rotary_low = low};
    int position = random_in(&p, 0, ROTARY_LOW - 1);
    for (int i = 0; i < SMALL_DIM / 2; i++) rotary_pair(&c, position, i, &cos_sin[2 * i], &cos_sin[2 * i + 1]);
    for (int i = 0; i < N; i++) head[i] = i / SMALL_DIM % 5 == 4 ? 0 : wild(&p) >> shift;
    for (int turn = 0; turn < 2; turn++) {
      memcpy(want, head, sizeof want);
      for (int h = 0; h < heads; h++) {
        if (turn) rotary_apply(&c, position, want + h * SMALL_DIM);
        step[h] = quant8(want + h * SMALL_DIM, SMALL_DIM, a + h * SMALL_DIM);
      }
      for (int i = 0; i < isas; i++) {
        if (!kernels[i]->rotate_small) continue;
        memcpy(mine, head, sizeof mine);
        memset(b, 99, sizeof b);
        kernels[i]->rotate_small(&c.shape, turn ? cos_sin : NULL, mine, heads, b, found);
        assert_memory_equal(want, mine, sizeof want);
        assert_memory_equal(a, b, (size_t)heads * SMALL_DIM);
        for (int h = 0; h < heads; h++) assert_true(found[h].u == step[h].u && found[h].e == step[h].e);
        for (int k = heads * SMALL_DIM; k < N; k++) assert_int_equal(b[k], 99);
      }
    }
  }
}

enum { HEADS_MOST = 6, WIDEST = 1024 };

/* out (heads, head_dim) in `ranges` parts. */
static void attend(const Kernels *k, const KvCells *kv, int heads, const int8_t *q, const Step *q_step, int n, int ranges, int32_t *z, int32_t *out) {
  int32_t top[HEADS_MOST];
  size_t dims = 4 * kv_quads(kv->head_dim), hd = (size_t)kv->head_dim, stride = attention_stride(n), all = (size_t)heads;
  static int64_t acc[HEADS_MOST * WIDEST], sum[HEADS_MOST * WIDEST];
  uint64_t den[HEADS_MOST] = {0};
  int most = 0;
  memset(sum, 0, sizeof sum);
  for (int h = 0; h < heads; h++) top[h] = -INT32_MAX;
  for (int r = 0; r < ranges; r++) {
    Span s = span_of(n, KV_PAGE, r, ranges);
    int32_t t[HEADS_MOST];
    int e = k->scores(kv, q, q_step, heads, s.from, s.to, z, stride, t);
    most = e > most ? e : most;
    for (int h = 0; h < heads; h++) top[h] = t[h] > top[h] ? t[h] : top[h];
  }
  for (int r = 0; r < ranges; r++) {
    Span s = span_of(n, KV_PAGE, r, ranges);
    uint64_t d[HEADS_MOST];
    k->values(kv, heads, s.from, s.to, z, stride, top, most, d, acc);
    for (size_t i = 0; i < all * dims; i++) sum[i] += acc[i];
    for (int h = 0; h < heads; h++) den[h] += d[h];
  }
  k->finish(sum, den, most, heads, (int)hd, out);
}

static void attention_is_equal(void **s) {
  (void)s;
  Pcg p = pcg_seed(4, 0);
  enum { MOST = 1300, HD = 128 };
  static int8_t q[HEADS_MOST * WIDEST], k[MOST * HD], v[MOST * HD];
  static uint16_t k_step[MOST], v_step[MOST];
  static int32_t a[HEADS_MOST * WIDEST], b[HEADS_MOST * WIDEST], z[HEADS_MOST * (MOST + KV_PAGE)];
  for (int round = 0; round < 300; round++) {
    int hd = round % 2 ? SMALL_DIM : random_in(&p, 0, 2) ? 64 : random_in(&p, 1, 64) * 2, n = random_in(&p, 0, 3) ? random_in(&p, 1, 80) : random_in(&p, 500, MOST);
    int spread = random_in(&p, -14, 16), heads = random_in(&p, 1, HEADS_MOST);
    Step q_step[HEADS_MOST];
    for (int h = 0; h < heads; h++) q_step[h] = (Step){random_in(&p, 130, 258), random_in(&p, -14, 16)};
    for (int i = 0; i < heads * hd; i++) q[i] = (int8_t)random_in(&p, -127, 127);
    for (int j = 0; j < n; j++) {
      k_step[j] = step_pack((Step){random_in(&p, 130, 258), random_in(&p, -14, spread)});
      v_step[j] = step_pack((Step){random_in(&p, 130, 258), random_in(&p, -14, spread)});
    }
    for (int i = 0; i < n * hd; i++) k[i] = (int8_t)random_in(&p, -127, 127), v[i] = (int8_t)(i % 97 ? random_in(&p, -127, 127) : 127);
    if (round % 10 == 0) { /* the largest scores that steps can say: both clamps */
      hd = round % 20 ? SMALL_DIM : WIDEST;
      n = random_in(&p, 1, 80);
      for (int h = 0; h < heads; h++) q_step[h] = (Step){258, 16};
      for (int i = 0; i < heads * hd; i++) q[i] = (int8_t)(i / hd % 2 ? -127 : 127);
      for (int j = 0; j < n; j++) k_step[j] = step_pack((Step){random_in(&p, 130, 258), random_in(&p, 6, 16)});
      for (int i = 0; i < n * hd; i++) k[i] = (int8_t)(i / hd % 3 ? 127 : -127);
    }
    /* the same through pages, for all query heads at once, with rubbish behind the last position */
    enum { PAGES = (MOST + KV_PAGE - 1) / KV_PAGE };
    size_t offset = kv_cell_bytes(hd) * (size_t)random_in(&p, 0, 1);
    uint8_t *page[PAGES];
    for (int j = 0; j < PAGES; j++) {
      page[j] = aligned_alloc(64, 2 * kv_cell_bytes(WIDEST));
      memset(page[j], random_in(&p, 0, 255), 2 * kv_cell_bytes(WIDEST));
    }
    for (int j = 0; j < n; j++)
      kv_store(page[j / KV_PAGE] + offset, hd, j % KV_PAGE, k + j * hd, step_unpack(k_step[j]), v + j * hd, step_unpack(v_step[j]));
    for (int h = 0; h < heads; h++) attention_head(q + h * hd, q_step[h], (KvView){k, v, k_step, v_step, (size_t)hd}, n, hd, a + h * hd);
    for (int i = 0; i < isas; i++) {
      attend(kernels[i], &(KvCells){page, offset, hd}, heads, q, q_step, n, random_in(&p, 1, 5), z, b);
      assert_memory_equal(a, b, 4 * (size_t)(heads * hd));
      if (hd != SMALL_DIM || !kernels[i]->attend_small) continue;
      memset(b, 0, 4 * (size_t)(heads * hd));
      kernels[i]->attend_small(&(KvCells){page, offset, hd}, q, q_step, heads, n, z, attention_stride(n), b);
      assert_memory_equal(a, b, 4 * (size_t)(heads * hd));
    }
    for (int j = 0; j < PAGES; j++) free(page[j]);
  }
}

/* Successive positions together against each alone; queries and results of a row stand among those of other heads. */
static void attention_of_rows_is_equal(void **s) {
  (void)s;
  Pcg p = pcg_seed(5, 0);
  enum { MOST = 1300, HD = 256, APART = HD + 64, PAGES = (MOST + KV_PAGE - 1) / KV_PAGE };
  static int8_t q[ATTEND_ROWS * APART], k[MOST * HD], v[MOST * HD];
  static uint16_t k_step[MOST], v_step[MOST];
  static int32_t a[ATTEND_ROWS * HD], b[ATTEND_ROWS * APART], z[ATTEND_ROWS * (MOST + KV_PAGE)];
  static int64_t acc[ATTEND_ROWS * HD];
  int compared = 0;
  for (int round = 0; round < 200; round++) {
    int hd = random_in(&p, 0, 2) ? 64 : ATTEND_UNIT * random_in(&p, 1, HD / ATTEND_UNIT), rows = random_in(&p, 1, ATTEND_ROWS);
    int all = rows - 1 + (random_in(&p, 0, 3) ? random_in(&p, 1, 150) : random_in(&p, 500, MOST - ATTEND_ROWS)), spread = random_in(&p, -14, 16);
    bool extreme = round % 10 == 0; /* both clamps */
    Step q_step[ATTEND_ROWS][3];
    for (int i = 0; i < rows; i++) q_step[i][0] = extreme ? (Step){258, 16} : (Step){random_in(&p, 130, 258), random_in(&p, -14, 16)};
    for (int i = 0; i < ATTEND_ROWS * APART; i++) q[i] = (int8_t)(extreme ? (i / APART % 2 ? -127 : 127) : random_in(&p, -127, 127));
    for (int j = 0; j < all; j++) {
      k_step[j] = step_pack((Step){random_in(&p, 130, 258), extreme ? 16 : random_in(&p, -14, spread)});
      v_step[j] = step_pack((Step){random_in(&p, 130, 258), random_in(&p, -14, spread)});
    }
    for (int i = 0; i < all * hd; i++) k[i] = (int8_t)(extreme ? (i / hd % 3 ? 127 : -127) : random_in(&p, -127, 127)), v[i] = (int8_t)(i % 97 ? random_in(&p, -127, 127) : 127);
    uint8_t *page[PAGES];
    for (int j = 0; j < PAGES; j++) {
      page[j] = aligned_alloc(64, kv_cell_bytes(HD));
      memset(page[j], random_in(&p, 0, 255), kv_cell_bytes(HD));
    }
    for (int j = 0; j < all; j++) kv_store(page[j / KV_PAGE], hd, j % KV_PAGE, k + j * hd, step_unpack(k_step[j]), v + j * hd, step_unpack(v_step[j]));
    int n = all - rows + 1; /* that the first row sees */
    for (int i = 0; i < rows; i++) attention_head(q + i * APART, q_step[i][0], (KvView){k, v, k_step, v_step, (size_t)hd}, n + i, hd, a + i * hd);
    for (int i = 0; i < isas; i++) {
      if (!kernels[i]->attend) continue;
      kernels[i]->attend(&(KvCells){page, 0, hd}, q, APART, q_step[0], 3, rows, n, z, acc, b, APART);
      for (int r = 0; r < rows; r++) assert_memory_equal(a + r * hd, b + r * APART, 4 * (size_t)hd);
      compared++;
    }
    for (int j = 0; j < PAGES; j++) free(page[j]);
  }
  print_message("%d attentions of rows compared\n", compared);
}

/* ---- whole engines: a timeline gives the same logits however it is run ---- */

enum { LONG = 1400, TIMELINES = 3 };

static Engine *engine_of(const Chip *c, int threads) {
  Err err = {0};
  Engine *e = engine_new(c, &(EngineOptions){isa_best(), threads}, &err);
  if (!e) fail_msg("%s", err.text);
  return e;
}

static Session *grown(Engine *e, const int *ids, int n, int chunk) {
  Err err = {0};
  Session *s = session_new(e, LONG + 8, &err);
  assert_non_null(s);
  assert_true(session_extend(s, ids, n, chunk, NULL, &err));
  return s;
}

/* Attention in ranges (several threads, few rows, deep) against attention whole (one thread, large chunks). */
static void long_timelines(const char *name) {
  Err err = {0};
  ChipShape shape;
  Chip chip;
  assert_true(chip_shape_of(name, &shape, &err));
  assert_true(chip_synthetic(&chip, &shape, 4.5, 3, &err));
  int ids[LONG + 8];
  Pcg p = pcg_seed(8, 0);
  for (int i = 0; i < LONG + 8; i++) ids[i] = random_in(&p, 0, 199);
  Engine *one = engine_of(&chip, 1);
  int32_t expected[TIMELINES][8][200];
  int length[TIMELINES] = {LONG, 1030, 70};
  for (int t = 0; t < TIMELINES; t++) {
    Session *s = grown(one, ids + t, length[t], 512);
    for (int i = 0; i < 8 - t; i++) {
      assert_true(session_extend(s, ids + t + length[t] + i, 1, 0, NULL, &err));
      memcpy(expected[t][i], session_logits(s), sizeof expected[t][i]);
    }
    session_free(s);
  }
  for (int threads = 2; threads <= 3; threads++) {
    Engine *e = engine_of(&chip, threads);
    Session *s[TIMELINES];
    for (int t = 0; t < TIMELINES; t++) s[t] = grown(e, ids + t, length[t], 7 + 90 * t);
    for (int i = 0; i < 8 - TIMELINES + 1; i++) { /* deep and shallow together */
      int next[TIMELINES];
      for (int t = 0; t < TIMELINES; t++) next[t] = ids[t + length[t] + i];
      assert_true(sessions_step(s, next, TIMELINES, &err));
      for (int t = 0; t < TIMELINES; t++) assert_memory_equal(session_logits(s[t]), expected[t][i], sizeof expected[t][i]);
    }
    for (int t = 0; t < TIMELINES; t++) session_free(s[t]);
    engine_free(e);
  }
  engine_free(one);
  chip_close(&chip);
}

static void long_timelines_are_equal(void **state) {
  (void)state;
  long_timelines("layers=2,dim=96,ffn=128,heads=6,kv_heads=3,head_dim=20,vocab=200,context=2048");
  long_timelines("layers=2,dim=96,ffn=128,heads=6,kv_heads=3,head_dim=32,vocab=200,context=2048"); /* rows together */
}

/* Decode steps and chunks of prefill in one pass give what each gives alone; hidden states do not depend on the chunks. */
static void appends_together_equal_appends_alone(void **state) {
  (void)state;
  enum { N = 90 };
  Err err = {0};
  ChipShape shape;
  Chip chip;
  assert_true(chip_shape_of("layers=2,dim=64,ffn=128,heads=4,kv_heads=2,head_dim=16,vocab=200,context=256", &shape, &err));
  assert_true(chip_synthetic(&chip, &shape, 4, 5, &err));
  int ids[2 * N];
  Pcg p = pcg_seed(12, 0);
  for (int i = 0; i < 2 * N; i++) ids[i] = random_in(&p, 0, 199);
  Engine *e = engine_of(&chip, 2);
  Session *alone[2], *s[2];
  int32_t *hidden[2];
  for (int t = 0; t < 2; t++) {
    alone[t] = session_new(e, 0, &err);
    s[t] = session_new(e, 0, &err);
    hidden[t] = mem_alloc((size_t)N * (size_t)shape.dim, sizeof(int32_t), &err);
    assert_true(alone[t] && s[t] && hidden[t]);
    assert_true(session_extend(alone[t], ids + t * N, N, 0, NULL, &err));
  }
  assert_true(sessions_append(&(Append){alone[0], ids, 1, true, NULL}, 1, &err));
  session_truncate(alone[0], 0);
  assert_true(sessions_append(&(Append){alone[0], ids, N, true, hidden[0]}, 1, &err));
  for (int at = 0; at < N; at += 30) { /* the first token by token, the second in chunks, in one pass */
    for (int i = 0; i < 30; i++) {
      Append a[2] = {{s[0], ids + at + i, 1, true, hidden[1] + (size_t)(at + i) * (size_t)shape.dim}, {s[1], ids + N + at, 30, at == 60, NULL}};
      assert_true(sessions_append(a, i == 0 ? 2 : 1, &err));
    }
  }
  assert_memory_equal(hidden[0], hidden[1], (size_t)N * (size_t)shape.dim * sizeof(int32_t));
  for (int t = 0; t < 2; t++) assert_memory_equal(session_logits(s[t]), session_logits(alone[t]), (size_t)shape.vocab * 4);
  SamplerSettings greedy;
  assert_true(sampler_settings(&greedy, 0, 0, 1, 0, 1, 0, 0, &err) && session_sampler(s[0], &greedy, 1, &err));
  int best = session_sample(s[0], NULL);
  LogitBias away = {best, -INT32_MAX}, to = {best == 7 ? 8 : 7, INT32_MAX};
  assert_int_not_equal(session_sample(s[0], &(SampleEdit){.bias = &away, .biases = 1}), best);
  assert_int_equal(session_sample(s[0], &(SampleEdit){.bias = &to, .biases = 1}), to.token);
  int second = session_sample(s[0], &(SampleEdit){.excluded = &best, .exclusions = 1});
  assert_int_not_equal(second, best);
  /* a token twice, a bias that an exclusion takes back: and all logits stand as before */
  LogitBias twice[] = {{best, -INT32_MAX}, {best, INT32_MAX}, {second, 0}};
  assert_int_equal(session_sample(s[0], &(SampleEdit){.bias = twice, .biases = 3}), best);
  assert_int_equal(session_sample(s[0], &(SampleEdit){.bias = twice, .biases = 3, .excluded = &best, .exclusions = 1}), second);
  assert_memory_equal(session_logits(s[0]), session_logits(alone[0]), (size_t)shape.vocab * 4);
  assert_int_equal(session_sample(s[0], NULL), best);
  Append beyond = {s[0], ids, 2 * N, true, NULL};
  assert_false(sessions_append(&beyond, 1, &err));
  assert_int_equal(session_position(s[0]), N);
  assert_memory_equal(session_logits(s[0]), session_logits(alone[0]), (size_t)shape.vocab * 4);
  for (int t = 0; t < 2; t++) {
    session_free(alone[t]);
    session_free(s[t]);
    mem_free(hidden[t]);
  }
  engine_free(e);
  chip_close(&chip);
}

/* Forks share pages: what one writes, the others must not see. */
static void forks_are_apart(void **state) {
  (void)state;
  Err err = {0};
  ChipShape shape;
  Chip chip;
  assert_true(chip_shape_of("layers=2,dim=64,ffn=64,heads=4,kv_heads=2,head_dim=16,vocab=100,context=512", &shape, &err));
  assert_true(chip_synthetic(&chip, &shape, 4.5, 4, &err));
  Engine *e = engine_of(&chip, 2);
  int ids[300];
  Pcg p = pcg_seed(9, 0);
  for (int i = 0; i < 300; i++) ids[i] = random_in(&p, 0, 99);
  for (int shared = 0; shared <= 200; shared += 25) {
    Session *s = session_new(e, 512, &err), *fresh = session_new(e, 512, &err);
    assert_true(session_extend(s, ids, 200, 0, NULL, &err));
    Session *f = session_fork(s, shared, &err);
    assert_int_equal(session_position(f), shared);
    assert_true(session_extend(f, ids + 210, 50, 0, NULL, &err));
    if (shared) assert_true(session_extend(fresh, ids, shared, 0, NULL, &err));
    assert_true(session_extend(fresh, ids + 210, 50, 0, NULL, &err));
    assert_memory_equal(session_logits(f), session_logits(fresh), 400);
    assert_true(session_extend(s, ids + 200, 30, 0, NULL, &err)); /* into a page that the fork may have had */
    session_truncate(fresh, 0);
    assert_true(session_extend(fresh, ids, 230, 0, NULL, &err));
    assert_memory_equal(session_logits(s), session_logits(fresh), 400);
    session_free(s);
    session_free(f);
    session_free(fresh);
  }
  engine_free(e);
  chip_close(&chip);
}

/* A token at a time with work done ahead, and without: the same logits, through repeats, surprises, truncations and forks. */
static void guesses_change_nothing(void **s) {
  (void)s;
  Err err = {0};
  ChipShape shape;
  Chip chip;
  EngineOptions options = {isa_best(), 2};
  assert_true(chip_shape_of("layers=2,dim=1024,ffn=4096,heads=8,kv_heads=4,head_dim=128,vocab=4096,context=160", &shape, &err));
  assert_true(chip_synthetic(&chip, &shape, 8.4, 6, &err));
  Engine *e = engine_new(&chip, &options, &err);
  Session *a = session_new(e, 0, &err), *b = session_new(e, 0, &err), *old_a = NULL, *old_b = NULL;
  Pcg p = pcg_seed(8, 0);
  int came = 0, missed = 0;
  for (int i = 0; session_position(a) < 160; i++) {
    if (i == 60 || i == 61) session_truncate(a, 45), session_truncate(b, 45);
    if (i == 100) {
      old_a = a, old_b = b;
      a = session_fork(old_a, 82, &err), b = session_fork(old_b, 82, &err);
    }
    int at = session_position(a), token = i / 40 % 2 && random_in(&p, 0, 5) == 0 ? random_in(&p, 0, 4095) : at % 9 * 7;
    came += e->guesser == b && b->ahead.taken < b->ahead.n && b->ahead.token[b->ahead.taken] == token;
    missed += b->ahead.taken < b->ahead.n && b->ahead.token[b->ahead.taken] != token;
    assert_true(session_extend(a, &token, 1, 0, NULL, &err) && session_append(b, token, &err));
    assert_int_equal(session_position(b), session_position(a));
    assert_memory_equal(session_logits(b), session_logits(a), 4096 * sizeof(int32_t));
    assert_memory_equal(b->token, a->token, (size_t)session_position(a) * sizeof *a->token);
    if (i >= 100 && i % 3 == 0) { /* what they were forked from goes on */
      assert_true(session_extend(old_a, &token, 1, 0, NULL, &err) && session_append(old_b, token, &err));
      assert_memory_equal(session_logits(old_b), session_logits(old_a), 4096 * sizeof(int32_t));
    }
  }
  assert_true(came > 60 && missed > 5);
  int token = 1;
  Err full = {0}, beyond = {0};
  assert_false(session_append(b, token, &full));
  assert_non_null(strstr(full.text, "context exceeded"));
  token = 4096;
  session_truncate(b, 100);
  assert_false(session_append(b, token, &beyond));
  assert_non_null(strstr(beyond.text, "4096"));
  session_free(a);
  session_free(b);
  session_free(old_a);
  session_free(old_b);
  engine_free(e);
  chip_close(&chip);
}

static void put_file(const char *path, const char *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_true(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

/* A session that went through a file goes on as it would have; the file is the same whoever wrote it; a damaged one is refused. */
static void saved_sessions_go_on(void **state) {
  (void)state;
  Err err = {0};
  ChipShape shape;
  Chip chip;
  char path[] = "/tmp/burin-session-XXXXXX";
  int fd = mkstemp(path), ids[200];
  assert_true(fd >= 0);
  close(fd);
  assert_true(chip_shape_of("layers=2,dim=72,ffn=64,heads=4,kv_heads=2,head_dim=18,vocab=100,context=256", &shape, &err));
  assert_true(chip_synthetic(&chip, &shape, 4.5, 4, &err));
  Pcg p = pcg_seed(12, 0);
  for (int i = 0; i < 200; i++) ids[i] = random_in(&p, 0, 99);
  static const int length[] = {0, 1, 63, 64, 65, 128, 150};
  Buf first = {0}, again = {0};
  for (size_t k = 0; k < sizeof length / sizeof *length; k++) {
    int n = length[k];
    first.n = 0;
    for (int isa = 0; isa < ISA_COUNT; isa++) {
      uint64_t bytes = 0;
      if (!isa_has((Isa)isa)) continue;
      Engine *e = engine_new(&chip, &(EngineOptions){(Isa)isa, 1 + isa % 2}, &err);
      Session *s = session_new(e, 0, &err), *gone = session_new(e, 0, &err);
      assert_true(session_extend(gone, ids, 190, 0, NULL, &err)); /* whose pages the next one gets */
      session_free(gone);
      assert_true(n == 0 || session_extend(s, ids, n, 0, NULL, &err));
      assert_true(session_save(s, path, &bytes, &err));
      again.n = 0;
      assert_true(file_read_all(path, 1 << 24, &again, &err));
      assert_int_equal(again.n, bytes);
      if (!first.n) assert_true(buf_put(&first, again.s, again.n, &err));
      assert_int_equal(again.n, first.n);
      assert_memory_equal(again.s, first.s, first.n);
      Session *back = session_load(e, path, 0, &bytes, &err);
      assert_non_null(back);
      assert_int_equal(session_position(back), n);
      if (n) assert_memory_equal(session_tokens(back), ids, (size_t)n * sizeof *ids);
      assert_true(session_extend(s, ids + n, 40, 0, NULL, &err) && session_extend(back, ids + n, 40, 0, NULL, &err));
      assert_memory_equal(session_logits(back), session_logits(s), 400);
      session_free(back);
      session_free(s);
      engine_free(e);
    }
  }
  Engine *e = engine_of(&chip, 1);
  uint64_t bytes;
  Err small = {0};
  assert_null(session_load(e, path, 100, &bytes, &small));
  assert_non_null(strstr(small.text, "150 tokens"));
  for (size_t at = 0; at < first.n; at += at < 800 ? 1 : 97) { /* every byte of the head, and many behind it */
    Err damaged = {0};
    first.s[at] ^= 1 << at % 8;
    put_file(path, first.s, first.n);
    assert_null(session_load(e, path, 0, &bytes, &damaged));
    assert_true(damaged.set && strstr(damaged.text, path) == damaged.text);
    first.s[at] ^= 1 << at % 8;
  }
  for (size_t n = 0; n < first.n; n += n < 200 ? 7 : 999) {
    Err cut = {0};
    put_file(path, first.s, n);
    assert_null(session_load(e, path, 0, &bytes, &cut));
    assert_true(cut.set);
  }
  Err longer = {0};
  assert_true(buf_put(&first, "", 1, &err));
  put_file(path, first.s, first.n);
  assert_null(session_load(e, path, 0, &bytes, &longer));
  assert_non_null(strstr(longer.text, "end of the file"));
  buf_free(&first);
  buf_free(&again);
  engine_free(e);
  chip_close(&chip);
  unlink(path);
}

/* Checksums keep accidents out; what they do not, no kernel may meet: codes and steps that no arithmetic makes. */
static void saved_sessions_are_checked(void **state) {
  (void)state;
  Err err = {0};
  ChipShape shape;
  Chip chip;
  Buf b = {0};
  uint64_t bytes;
  char path[] = "/tmp/burin-session-XXXXXX";
  int fd = mkstemp(path), ids[] = {3, 99, 5};
  assert_true(fd >= 0);
  close(fd);
  assert_true(chip_shape_of("layers=1,dim=64,ffn=64,heads=4,kv_heads=2,head_dim=16,vocab=100,context=64", &shape, &err));
  assert_true(chip_synthetic(&chip, &shape, 4.5, 4, &err));
  Engine *e = engine_of(&chip, 1);
  Session *s = session_new(e, 0, &err);
  assert_true(session_extend(s, ids, 3, 0, NULL, &err) && session_save(s, path, &bytes, &err) && file_read_all(path, 1 << 20, &b, &err));
  size_t front = 64 + 3 * 4, page = front + 8, whole = kv_page_bytes(2, 16), codes = 2 * kv_part_bytes(16);
  const struct {
    size_t at;
    uint16_t value;
    const char *says;
  } bad[] = {{64 + 4, 100, "token"}, {page, 0x80, "-128"}, {page + codes / 2, 0x80, "-128"}, {page + codes, 0, "steps"}, {page + codes + 2 * KV_PAGE + 4, 0xFFFF, "steps"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Err refused = {0};
    uint16_t kept;
    memcpy(&kept, b.s + bad[i].at, 2);
    memcpy(b.s + bad[i].at, &bad[i].value, 2);
    uint64_t sum = checksum64(b.s, front), pages = checksum64(b.s + page, whole);
    memcpy(b.s + front, &sum, 8);
    memcpy(b.s + page + whole, &pages, 8);
    put_file(path, b.s, b.n);
    assert_null(session_load(e, path, 0, &bytes, &refused));
    assert_non_null(strstr(refused.text, bad[i].says));
    memcpy(b.s + bad[i].at, &kept, 2);
  }
  buf_free(&b);
  session_free(s);
  engine_free(e);
  chip_close(&chip);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(products_are_equal), cmocka_unit_test(weighing_checks), cmocka_unit_test(vectors_are_equal),
                                     cmocka_unit_test(rotations_are_equal), cmocka_unit_test(small_heads_are_equal), cmocka_unit_test(attention_is_equal), cmocka_unit_test(attention_of_rows_is_equal),
                                     cmocka_unit_test(long_timelines_are_equal), cmocka_unit_test(appends_together_equal_appends_alone), cmocka_unit_test(forks_are_apart), cmocka_unit_test(guesses_change_nothing), cmocka_unit_test(saved_sessions_go_on),
                                     cmocka_unit_test(saved_sessions_are_checked)};
  return cmocka_run_group_tests_name("engine", tests, find_isas, NULL);
}
