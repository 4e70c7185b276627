/* test/test_chip: the arithmetic against independent formulas, and the sampler. */
#include "unit.h"

#include "chip/chip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 i128;

static void tables_follow_their_formulas(void **s) {
  (void)s;
  for (int i = 0; i <= 64; i++) {
    assert_int_equal(exp2_table[i], (int)floor(32767 * exp2(-i / 64.0) + 0.5));
    assert_int_equal(exp2_table_30[i], (uint32_t)floor(((1 << 30) - 1) * exp2(-i / 64.0) + 0.5));
    assert_int_equal(sigmoid_table[i], (int)floor(32768 / (1 + exp(-i / 4.0)) + 0.5));
  }
}

/* floor(x / 2^s + 1/2), clamped, in wide integers */
static int32_t wide_shift(i128 x, int s) {
  i128 v = s >= 0 ? (s > 100 ? 0 : (s ? (2 * x + ((i128)1 << s)) >> (s + 1) : x)) : x * ((i128)1 << (-s > 60 ? 60 : -s));
  return v > INT32_MAX ? INT32_MAX : v < -INT32_MAX ? -INT32_MAX : (int32_t)v;
}

static void shifts_round_half_up_and_clamp(void **s) {
  (void)s;
  Pcg p = pcg_seed(1, 0);
  for (int i = 0; i < 200000; i++) {
    int64_t x = (int64_t)wild(&p) * (pcg_next(&p) % 3 ? 1 : 1 << pcg_next(&p) % 17);
    int shift = random_in(&p, -70, 90);
    assert_int_equal(rsr_sat(x, shift), wide_shift(x, shift));
  }
  assert_int_equal(rsr_sat(3, 1), 2);
  assert_int_equal(rsr_sat(-3, 1), -1);
  assert_int_equal(rsr_sat(1, -40), INT32_MAX);
  assert_int_equal(rsr_sat(-1, -40), -INT32_MAX);
  assert_int_equal(rsr_sat(0, -40), 0);
}

static void roots_are_floors(void **s) {
  (void)s;
  Pcg p = pcg_seed(2, 0);
  for (int i = 0; i < 100000; i++) {
    uint64_t x = ((uint64_t)pcg_next(&p) << 31 | pcg_next(&p)) >> pcg_next(&p) % 63, r = isqrt(x);
    assert_true(r * r <= x && (r + 1) * (r + 1) > x);
  }
}

static void scales_keep_sixteen_bits(void **s) {
  (void)s;
  Pcg p = pcg_seed(3, 0);
  for (int i = 0; i < 100000; i++) {
    uint64_t v = (((uint64_t)pcg_next(&p) << 30 | pcg_next(&p)) >> pcg_next(&p) % 60) + 1;
    Scale x = scale_of(v, -7);
    assert_true(x.M >= 32768 && x.M < 65536);
    assert_true(fabs(ldexp(x.M, x.E + 7) / (double)v - 1) <= 1.0 / 65536);
  }
  assert_int_equal(scale_of(131071, 0).M, 32768); /* rounds up to the next power of two */
}

static void quantised_vectors_use_their_range(void **s) {
  (void)s;
  Pcg p = pcg_seed(4, 0);
  int32_t v[96];
  int8_t a[96];
  for (int i = 0; i < 20000; i++) {
    int shift = random_in(&p, 0, 31);
    uint32_t top = 0;
    for (int k = 0; k < 96; k++) {
      v[k] = wild(&p) >> shift;
      if (v[k] == INT32_MIN) v[k] = -INT32_MAX;
      uint32_t m = (uint32_t)abs(v[k]);
      if (m > top) top = m;
    }
    Step step = quant8(v, 96, a);
    double unit = ldexp(step.u, step.e);
    int most = 0;
    for (int k = 0; k < 96; k++) {
      if (abs(a[k]) > most) most = abs(a[k]);
      assert_true(fabs(a[k] * unit - v[k]) <= unit * 0.51); /* half a step, and what 15 bits and the reciprocal lose */
    }
    assert_true(most <= 127 && (top == 0 || most >= 125));
  }
  memset(v, 0, sizeof v);
  Step step = quant8(v, 96, a);
  assert_true(step.u == 130 && step.e == -14 && a[0] == 0);
}

/* Every maximum that the step can tell apart, and its neighbours: the code stays within a byte, the packed step comes back. */
static void steps_never_exceed_a_byte(void **s) {
  (void)s;
  for (int bits = 1; bits <= 31; bits++)
    for (int top = 128; top < 256; top++)
      for (int d = -1; d <= 1; d++) {
        int64_t m = (bits >= 8 ? (int64_t)top << (bits - 8) : top >> (8 - bits)) + d;
        if (m < 1 || m > INT32_MAX) continue;
        int32_t v[2] = {(int32_t)m, (int32_t)-m};
        int8_t a[2];
        Step step = quant8(v, 2, a), back = step_unpack(step_pack(step));
        assert_true(a[0] >= 125 && a[0] <= 127 && a[1] <= -125 && a[1] >= -127);
        assert_true(back.u == step.u && back.e == step.e);
      }
}

static void norm_is_near_rms_norm(void **s) {
  (void)s;
  Pcg p = pcg_seed(5, 0);
  enum { D = 576 };
  ChipShape shape = {.dim = D, .root_dim = (uint32_t)floor(sqrt(D) * 256 + 0.5), .eps = (uint64_t)floor(1e-5 * D * (1 << 24) + 0.5)};
  int32_t h[D], v[D];
  int8_t a[D];
  int16_t g[D];
  for (int k = 0; k < D; k++) g[k] = (int16_t)random_in(&p, -32767, 32767);
  for (int i = 0; i < 2000; i++) {
    int shift = random_in(&p, 0, 22);
    double sum = 0, worst = 0, top = 0;
    for (int k = 0; k < D; k++) h[k] = ((int32_t)pcg_next(&p) >> shift) / 3, sum += ldexp(h[k], -12) * ldexp(h[k], -12);
    Gain gain = {g, random_in(&p, -20, 4)};
    bool gains = i & 1;
    Scale x = norm8(&shape, gains ? &gain : NULL, h, a, v);
    double rms = sqrt(sum / D + 1e-5);
    for (int k = 0; k < D; k++) {
      double y = ldexp(h[k], -12) / rms * (gains ? ldexp(g[k], gain.exponent) : 1), got = a[k] * ldexp(x.M, x.E);
      if (fabs(y - got) > worst) worst = fabs(y - got);
      if (fabs(y) > top) top = fabs(y);
    }
    assert_true(worst < top / (gains ? 165 : 240)); /* h of a few hundred units: their products with gains round too */
  }
  memset(h, 0, sizeof h);
  Scale x = norm8(&shape, NULL, h, a, v);
  assert_true(x.M >= 32768);
}

static Matrix empty_matrix(int rows, int cols, int bits, bool grouped, uint8_t **weights, Arena *a) {
  Err e = {0};
  Matrix m = {.rows = rows, .cols = cols, .groups = (cols + GROUP - 1) / GROUP, .bits = bits, .exponent = -20, .levels = bits == 8 ? 255 : 1 << bits, .grouped = grouped};
  for (int i = 0; i < m.levels; i++) m.level[i] = (int8_t)(i - m.levels / 2);
  m.row_scale = arena_alloc(a, (size_t)tiled_rows(rows), 2, &e);
  m.weights = *weights = arena_alloc(a, matrix_weight_bytes(&m), 1, &e);
  return m;
}

/* The code of one weight by the words of doc/chip-file.md, bit by bit. */
static int code_of_tiles(const Matrix *m, int row, int col) {
  static const int quads[9] = {[2] = 4, [3] = 8, [4] = 2, [6] = 4, [8] = 1}, vectors[9] = {[2] = 1, [3] = 3, [4] = 1, [6] = 3, [8] = 1};
  size_t tile = 0, group = 32u * 8u * (size_t)m->bits;
  for (int g = 0; g < m->groups; g++) tile += (g % 2 ? 0 : 64) + group;
  size_t at = (size_t)(row / 32) * tile + (size_t)(col / 128 + 1) * 64 + (size_t)(col / 64) * group;
  int q = col % 64 / 4, k = q % quads[m->bits], code = 0;
  at += (size_t)((q / quads[m->bits] * 2 + row % 32 / 16) * vectors[m->bits] * 64 + row % 16 * 4 + col % 4);
  const uint8_t *v = m->weights + at;
  for (int b = 0; b < m->bits; b++) {
    int vector = 0, bit = k * m->bits + b;
    if (m->bits == 3 && k < 6) vector = k / 2, bit = k % 2 * 3 + b;
    if (m->bits == 3 && k >= 6) vector = b == 2 ? 1 : (k - 6) * 2, bit = b == 2 ? k : 6 + b;
    if (m->bits == 6) vector = k < 3 ? k : b / 2, bit = k < 3 ? b : 6 + b % 2;
    code |= (v[vector * 64] >> bit & 1) << b;
  }
  return code;
}

static int code_of_string(const Matrix *m, int row, int col) {
  int code = 0;
  for (int b = 0; b < m->bits; b++) {
    size_t bit = ((size_t)row * (size_t)m->groups * 64 + (size_t)col) * (size_t)m->bits + (size_t)b;
    code |= (m->weights[bit / 8] >> bit % 8 & 1) << b;
  }
  return code;
}

/* What is written at random, over what stood there, reads back from where the document says, and nothing else changes. */
static void codes_stand_where_the_document_says(void **s) {
  (void)s;
  static const int widths[] = {2, 3, 4, 6, 8};
  enum { ROWS = 37, COLS = 130 };
  static uint8_t code[ROWS][COLS], scale[ROWS][3];
  Pcg p = pcg_seed(6, 0);
  for (int w = 0; w < 10; w++) {
    Arena a = {0};
    uint8_t *weights;
    Matrix m = empty_matrix(ROWS, COLS, widths[w / 2], w % 2, &weights, &a);
    for (size_t i = 0; i < matrix_weight_bytes(&m); i++) weights[i] = (uint8_t)pcg_next(&p);
    for (int i = 0; i < 4 * ROWS * COLS; i++) {
      int r = i < ROWS * COLS ? i / COLS : random_in(&p, 0, ROWS - 1), c = i < ROWS * COLS ? i % COLS : random_in(&p, 0, COLS - 1);
      matrix_put_code(&m, weights, r, c, code[r][c] = (uint8_t)random_in(&p, 0, m.levels - 1));
      if (m.grouped) matrix_put_group_scale(&m, weights, r, c / GROUP, scale[r][c / GROUP] = (uint8_t)random_in(&p, 1, MAX_GROUP_SCALE));
    }
    for (int r = 0; r < ROWS; r++)
      for (int c = 0; c < COLS; c++) {
        uint8_t group[GROUP];
        matrix_group_codes(&m, r, c / GROUP, group);
        assert_int_equal(m.grouped ? code_of_tiles(&m, r, c) : code_of_string(&m, r, c), code[r][c]);
        assert_int_equal(matrix_code(&m, r, c), code[r][c]);
        assert_int_equal(group[c % GROUP], code[r][c]);
        assert_int_equal(matrix_group_scale(&m, r, c / GROUP), m.grouped ? scale[r][c / GROUP] : 1);
      }
    arena_free(&a);
  }
}

/* Books of 6 and 8 bits: kernels make levels of codes without a table. */
static void wide_books_are_even(void **s) {
  (void)s;
  for (int bits = 6; bits <= 8; bits += 2)
    for (int step = 1; step <= 3; step++) {
      Matrix m = {.bits = bits, .levels = 40};
      for (int i = 0; i < m.levels; i++) m.level[i] = (int8_t)(step * i - 60);
      assert_int_equal(matrix_book_is_even(&m), step <= (bits == 6 ? 2 : 1));
      m.level[39]++;
      assert_false(matrix_book_is_even(&m));
    }
}

static void attention_is_near_softmax(void **s) {
  (void)s;
  Pcg p = pcg_seed(7, 0);
  enum { HD = 32, N = 50 };
  for (int round = 0; round < 300; round++) {
    int8_t q[HD], k[N][HD], v[N][HD];
    uint16_t k_step[N], v_step[N];
    double ku[N], vu[N];
    int32_t out[HD];
    Step q_step = {random_in(&p, 130, 258), random_in(&p, -5, -1)};
    for (int i = 0; i < HD; i++) q[i] = (int8_t)random_in(&p, -127, 127);
    for (int j = 0; j < N; j++) {
      Step a = {random_in(&p, 130, 258), random_in(&p, -5, -2)}, b = {random_in(&p, 130, 258), random_in(&p, -6, 0)};
      k_step[j] = step_pack(a), v_step[j] = step_pack(b);
      ku[j] = ldexp(a.u, a.e - 12), vu[j] = ldexp(b.u, b.e - 12);
      for (int i = 0; i < HD; i++) k[j][i] = (int8_t)random_in(&p, -127, 127), v[j][i] = (int8_t)random_in(&p, -127, 127);
    }
    attention_head(q, q_step, (KvView){k[0], v[0], k_step, v_step, HD}, N, HD, out);
    double z[N], top = -1e300, den = 0, most = 0;
    for (int j = 0; j < N; j++) {
      double dot = 0;
      for (int i = 0; i < HD; i++) dot += q[i] * ldexp(q_step.u, q_step.e - 12) * k[j][i] * ku[j];
      z[j] = dot;
      if (dot > top) top = dot;
      if (127 * vu[j] > most) most = 127 * vu[j];
    }
    for (int j = 0; j < N; j++) den += exp2(z[j] - top);
    for (int i = 0; i < HD; i++) {
      double o = 0;
      for (int j = 0; j < N; j++) o += exp2(z[j] - top) / den * v[j][i] * vu[j];
      assert_true(fabs(o - ldexp(out[i], -12)) < most * 0.002 + 0.001);
    }
  }
}

static void gate_is_near_silu(void **s) {
  (void)s;
  for (int g = -200000; g <= 200000; g += 37) {
    double x = ldexp(g, -12), u = 1.75, y = x / (1 + exp(-x)) * u;
    assert_true(fabs(ldexp(gate_one(g, (int32_t)(u * 4096)), -12) - y) < 0.02 + fabs(y) * 0.01);
  }
  assert_int_equal(gate_one(INT32_MAX, INT32_MAX), INT32_MAX); /* every clamp is reached */
  assert_int_equal(gate_one(INT32_MAX, -INT32_MAX), -INT32_MAX);
}

static void butterfly_is_a_hadamard_transform(void **s) {
  (void)s;
  Pcg p = pcg_seed(8, 0);
  for (int round = 0; round < 200; round++) {
    int32_t act[128], copy[128];
    int8_t a[128];
    int shift = random_in(&p, 0, 30);
    double top = 0;
    for (int i = 0; i < 128; i++) act[i] = copy[i] = wild(&p) >> shift;
    Step step = butterfly_quant8(act, 128, a);
    double y[128];
    for (int i = 0; i < 128; i++) {
      y[i] = 0;
      for (int j = 0; j < 64; j++) y[i] += (__builtin_popcount((unsigned)(i % 64 & j)) & 1 ? -1.0 : 1.0) * copy[i / 64 * 64 + j];
      if (fabs(y[i]) > top) top = fabs(y[i]);
    }
    for (int i = 0; i < 128; i++) assert_true(fabs(y[i] - a[i] * ldexp(step.u, step.e)) <= top / 240 + 32);
  }
}

/* ---- the sampler ---- */

enum { V = 1000 };

typedef struct {
  int index[V];
  uint32_t p[V];
  uint64_t key[V];
} Room;

static SamplerScratch scratch_of(Room *r) { return (SamplerScratch){.index = r->index, .p = r->p, .key = r->key}; }

static SamplerSettings settings(double t, int k, double top_p, double min_p) {
  SamplerSettings s;
  Err e = {0};
  assert_true(sampler_settings(&s, t, k, top_p, min_p, 1, 0, 0, &e));
  return s;
}

static void greedy_takes_the_first_largest(void **s) {
  (void)s;
  static Room room;
  SamplerScratch x = scratch_of(&room);
  int32_t z[V] = {0};
  Pcg p = pcg_seed(9, 0);
  z[400] = z[300] = 77;
  SamplerSettings g = settings(0, 0, 1, 0);
  assert_int_equal(sampler_draw(&g, z, V, &p, &x), 300);
}

static void draws_follow_the_softmax(void **s) {
  (void)s;
  static Room room;
  SamplerScratch x = scratch_of(&room);
  int32_t z[V];
  for (int i = 0; i < V; i++) z[i] = i < 4 ? -i * 65536 : -30 * 65536;
  SamplerSettings set = settings(2, 0, 1, 0);
  Pcg p = pcg_seed(10, 0);
  int count[V] = {0}, n = 100000;
  for (int i = 0; i < n; i++) count[sampler_draw(&set, z, V, &p, &x)]++;
  double den = 0;
  for (int i = 0; i < 4; i++) den += exp(-i / 2.0);
  for (int i = 0; i < 4; i++) assert_true(fabs((double)count[i] / n - exp(-i / 2.0) / den) < 0.006);
}

/* The plain rule of doc/arithmetic.md over all candidates, sorted in full. */
static int kept_by_rule(const SamplerSettings *set, const int32_t *z, const uint32_t *w, int *keep) {
  static int order[V];
  for (int i = 0; i < V; i++) order[i] = i;
  for (int i = 1; i < V; i++) /* insertion sort: largest first, lowest index first */
    for (int j = i; j > 0 && z[order[j]] > z[order[j - 1]]; j--) {
      int t = order[j];
      order[j] = order[j - 1];
      order[j - 1] = t;
    }
  int n = set->top_k && set->top_k < V ? set->top_k : V, k = 0;
  uint64_t total = 0, sum = 0;
  for (int i = 0; i < n; i++) total += w[order[i]];
  memset(keep, 0, V * sizeof *keep);
  for (; k < n && (k == 0 || sum << 16 < total * set->top_p); k++) {
    sum += w[order[k]];
    keep[order[k]] = (uint64_t)w[order[k]] << 16 >= (uint64_t)((1u << 30) - 1) * set->min_p;
  }
  return k;
}

/* floor(a b / 2^64), from halves. */
static uint64_t mul_high(uint64_t a, uint64_t b) {
  uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32, low = al * bl, m = ah * bl + (low >> 32), n = al * bh + (uint32_t)m;
  return ah * bh + (m >> 32) + (n >> 32);
}

static void draws_equal_the_rule(void **s) {
  (void)s;
  static Room room, plain;
  SamplerScratch x = scratch_of(&room), y = scratch_of(&plain);
  Pcg p = pcg_seed(11, 0);
  static int32_t z[V];
  static int keep[V];
  for (int round = 0; round < 120; round++) {
    for (int i = 0; i < V; i++) {
      z[i] = -random_in(&p, 0, 12 * 65536) / (round % 3 + 1);
      if (round % 4 == 3) z[i] = z[i] / 65536 * 65536; /* many that are equal */
      if (round % 8 == 5 && i % 3) z[i] = -INT32_MAX;  /* most are forbidden */
    }
    SamplerSettings set = settings(0.25 + round % 4, round % 2 ? random_in(&p, 1, round % 6 == 1 ? V - 1 : 60) : 0, round % 5 ? 0.1 + 0.17 * (round % 5) : 1, round % 7 ? 0 : 0.05);
    SamplerSettings all = settings(0.25 + round % 4, 0, 1, 0);
    sampler_draw(&all, z, V, &p, &y); /* leaves the weights in y.p */
    kept_by_rule(&set, z, y.p, keep);
    uint64_t total = 0;
    for (int i = 0; i < V; i++) total += keep[i] ? y.p[i] : 0;
    for (int i = 0; i < 300; i++) {
      Pcg same = p;
      uint64_t u = (uint64_t)pcg_next(&same) << 32, sum = 0;
      u |= pcg_next(&same);
      uint64_t r = mul_high(u, total);
      int want = 0;
      while ((sum += keep[want] ? y.p[want] : 0) <= r) want++;
      assert_int_equal(sampler_draw(&set, z, V, &p, &x), want);
    }
    assert_true(x.total == total); /* and what it says of the draw: no token but those kept weighs anything */
    for (int k = 0, n = x.candidates ? x.candidates : V; k < n; k++) {
      int i = x.candidates ? x.index[k] : k;
      assert_int_equal(x.p[i], keep[i] ? y.p[i] : 0);
      keep[i] = 0;
    }
    for (int i = 0; i < V; i++) assert_true(!keep[i] || !y.p[i]);
  }
}

static void penalties_lower_logits(void **s) {
  (void)s;
  SamplerSettings set;
  Err e = {0};
  assert_true(sampler_settings(&set, 1, 0, 1, 0, 2, 0.5, 0.25, &e));
  int32_t z[3] = {4 * 65536, -4 * 65536, 4 * 65536};
  uint16_t count[3] = {2, 1, 0};
  sampler_penalties(&set, z, count, 3);
  assert_int_equal(z[0], 2 * 65536 - 65536 - 16384);
  assert_int_equal(z[1], -8 * 65536 - 32768 - 16384);
  assert_int_equal(z[2], 4 * 65536);
}

static void settings_are_checked(void **s) {
  (void)s;
  SamplerSettings set;
  Err e = {0};
  assert_false(sampler_settings(&set, -1, 0, 1, 0, 1, 0, 0, &e));
  assert_non_null(strstr(e.text, "temperature"));
  Err e2 = {0};
  assert_false(sampler_settings(&set, 1, 0, 1.5, 0, 1, 0, 0, &e2));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tables_follow_their_formulas), cmocka_unit_test(shifts_round_half_up_and_clamp),
      cmocka_unit_test(roots_are_floors), cmocka_unit_test(scales_keep_sixteen_bits),
      cmocka_unit_test(steps_never_exceed_a_byte), cmocka_unit_test(quantised_vectors_use_their_range), cmocka_unit_test(norm_is_near_rms_norm),
      cmocka_unit_test(codes_stand_where_the_document_says), cmocka_unit_test(wide_books_are_even), cmocka_unit_test(attention_is_near_softmax), cmocka_unit_test(gate_is_near_silu),
      cmocka_unit_test(butterfly_is_a_hadamard_transform), cmocka_unit_test(greedy_takes_the_first_largest),
      cmocka_unit_test(draws_follow_the_softmax), cmocka_unit_test(draws_equal_the_rule),
      cmocka_unit_test(penalties_lower_logits), cmocka_unit_test(settings_are_checked),
  };
  return cmocka_run_group_tests_name("chip", tests, NULL, NULL);
}
