/* test/test_cast: rotations are orthogonal, factors invert, rounding obeys its bounds and beats rounding to nearest. */
#include "unit.h"

#include "cast/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float normal(Pcg *p) {
  float s = -6;
  for (int i = 0; i < 12; i++) s += (float)pcg_next(p) / 4294967296.0f;
  return s;
}

static void rotations_are_orthogonal(void **s) {
  (void)s;
  static const int dims[] = {2, 3, 6, 16, 64, 72, 80, 96, 100, 128, 192, 288, 320, 576, 896, 1001};
  for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
    Err e = {0};
    Rotation r;
    int n = dims[i];
    assert_true(rotation_new(&r, n, 9, &e));
    assert_int_equal(r.m * r.pow2, n);
    float *x = mem_alloc((size_t)n * (size_t)n, 4, &e), *scratch = mem_alloc((size_t)n * (size_t)n, 4, &e);
    for (int k = 0; k < n; k++) x[k * n + k] = 1;
    rotation_apply(&r, x, n, scratch); /* Q^T */
    for (int a = 0; a < n; a += 1 + n / 40)
      for (int b = 0; b < n; b += 1 + n / 37) {
        double dot = 0;
        for (int k = 0; k < n; k++) dot += (double)x[a * n + k] * (double)x[b * n + k];
        assert_true(fabs(dot - (a == b)) < 1e-4);
      }
    float *row = mem_alloc((size_t)n, 4, &e); /* a row vector times Q is the same operation with inner = 1 */
    row[n / 2] = 1;
    rotation_apply(&r, row, 1, scratch);
    for (int k = 0; k < n; k++) assert_true(fabsf(row[k] - x[k * n + n / 2]) < 1e-5f);
    mem_free(x);
    mem_free(scratch);
    mem_free(row);
    rotation_free(&r);
  }
}

static void factors_invert(void **s) {
  (void)s;
  Pcg p = pcg_seed(3, 0);
  static const int sizes[] = {1, 5, 64, 65, 130, 200};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    Err e = {0};
    int n = sizes[i];
    size_t nn = (size_t)n * (size_t)n;
    Pool *pool = pool_new(2, &e);
    double *h = mem_alloc(nn, 8, &e), *full = mem_alloc(nn, 8, &e);
    float *x = mem_alloc(nn * 3, 4, &e);
    for (size_t k = 0; k < nn * 3; k++) x[k] = normal(&p);
    for (int a = 0; a < n; a++)
      for (int b = 0; b < n; b++) {
        double sum = 0;
        for (int t = 0; t < 3 * n; t++) sum += (double)x[t * n + a] * (double)x[t * n + b];
        h[a * n + b] = full[a * n + b] = sum;
      }
    double mean = 0;
    for (int k = 0; k < n; k++) mean += full[k * n + k] / n;
    for (int k = 0; k < n; k++) full[k * n + k] += 0.01 * mean;
    Factor f;
    assert_true(factor_new(&f, h, n, 0.01, pool, isa_best(), &e));
    for (int a = 0; a < n; a += 1 + n / 30) /* (U^T U) H = 1 */
      for (int b = 0; b < n; b += 1 + n / 29) {
        double sum = 0;
        for (int c = 0; c < n; c++) {
          double inverse = 0;
          for (int k = 0; k <= (a < c ? a : c); k++) inverse += (double)f.u[a * n + k] * (double)f.u[c * n + k];
          sum += inverse * full[c * n + b];
        }
        assert_true(fabs(sum - (a == b)) < 2e-3);
      }
    factor_free(&f);
    mem_free(h);
    mem_free(full);
    mem_free(x);
    pool_free(pool);
  }
}

typedef struct {
  float *w, *copy;
  double *h;
  Pool *pool;
} Problem;

enum { ROWS = 37, COLS = 200 };

/* Weights and the Hessian of correlated inputs. */
static Problem problem(Pcg *p) {
  Err e = {0};
  Problem q = {mem_alloc(ROWS * COLS, 4, &e), mem_alloc(ROWS * COLS, 4, &e), mem_alloc(COLS * COLS, 8, &e), pool_new(2, &e)};
  for (int i = 0; i < ROWS * COLS; i++) q.w[i] = q.copy[i] = normal(p) * 0.05f;
  for (int t = 0; t < 400; t++) {
    double x[COLS], common = (double)normal(p);
    for (int c = 0; c < COLS; c++) x[c] = (double)normal(p) + common * (c % 5);
    for (int a = 0; a < COLS; a++)
      for (int b = 0; b < COLS; b++) q.h[a * COLS + b] += x[a] * x[b];
  }
  return q;
}

static void problem_free(Problem *q) {
  mem_free(q->w);
  mem_free(q->copy);
  mem_free(q->h);
  pool_free(q->pool);
}

/* trace((W - Q) H (W - Q)^T): the error of the matrix's output */
static double output_error(const OwnMatrix *o, const Problem *q, const double *h) {
  double total = 0;
  for (int r = 0; r < ROWS; r++) {
    double d[COLS];
    for (int c = 0; c < COLS; c++)
      d[c] = (double)q->copy[r * COLS + c] - ldexp((double)o->m.level[matrix_code(&o->m, r, c)] * matrix_group_scale(&o->m, r, c / GROUP) * o->row_scale[r], o->m.exponent);
    for (int a = 0; a < COLS; a++)
      for (int b = 0; b < COLS; b++) total += d[a] * h[a * COLS + b] * d[b];
  }
  return total;
}

static void feedback_beats_nearest(void **s) {
  (void)s;
  static const int widths[] = {2, 3, 4, 6, 8};
  Pcg p = pcg_seed(4, 0);
  Err e = {0};
  Problem q = problem(&p);
  double *h = mem_alloc(COLS * COLS, 8, &e);
  Factor f;
  memcpy(h, q.h, COLS * COLS * 8);
  assert_true(factor_new(&f, h, COLS, 0.01, q.pool, isa_best(), &e));
  double before = INFINITY;
  for (int i = 0; i < 5; i++) {
    OwnMatrix near, fed;
    assert_true(own_matrix_new(&near, ROWS, COLS, widths[i], true, &e) && own_matrix_new(&fed, ROWS, COLS, widths[i], true, &e));
    assert_true(quantise(&near, q.w, NULL, q.pool, isa_best(), &e) && quantise(&fed, q.w, &f, q.pool, isa_best(), &e));
    assert_true(matrix_check(&near.m, "near", &e) && matrix_check(&fed.m, "fed", &e));
    double a = output_error(&near, &q, q.h), b = output_error(&fed, &q, q.h);
    assert_true(b < a * 0.8 && b < before);
    before = b;
    own_matrix_free(&near);
    own_matrix_free(&fed);
  }
  factor_free(&f);
  mem_free(h);
  problem_free(&q);
}

/* Rows that would overflow int32 get narrower group scales; the check of the chip then holds. */
static void wide_rows_are_narrowed(void **s) {
  (void)s;
  Err e = {0};
  enum { WIDE = 16384 };
  Pool *pool = pool_new(2, &e);
  float *w = mem_alloc(3 * WIDE, 4, &e);
  for (int i = 0; i < 3 * WIDE; i++) w[i] = i % 2 ? 1.0f : -1.0f; /* every weight at the end of the range */
  static const int widths[] = {3, 4, 6, 8};
  for (int i = 0; i < 4; i++) {
    OwnMatrix o;
    assert_true(own_matrix_new(&o, 3, WIDE, widths[i], true, &e));
    assert_true(quantise(&o, w, NULL, pool, isa_best(), &e));
    assert_true(matrix_check(&o.m, "wide", &e));
    own_matrix_free(&o);
  }
  mem_free(w);
  pool_free(pool);
}

static void kernels_of_the_cast_are_equal(void **s) {
  (void)s;
  Pcg p = pcg_seed(5, 0);
  Err e = {0};
  Problem q = problem(&p);
  uint64_t first = 0;
  for (int isa = 0; isa < ISA_COUNT; isa++) {
    if (!isa_has((Isa)isa)) continue;
    double *h = mem_alloc(COLS * COLS, 8, &e);
    memcpy(h, q.h, COLS * COLS * 8);
    Factor f;
    OwnMatrix o;
    assert_true(factor_new(&f, h, COLS, 0.01, q.pool, (Isa)isa, &e) && own_matrix_new(&o, ROWS, COLS, 4, true, &e) &&
                quantise(&o, q.w, &f, q.pool, (Isa)isa, &e));
    uint64_t sum = checksum64(o.weights, matrix_weight_bytes(&o.m)) ^ checksum64(f.u, COLS * COLS * 4);
    if (isa == 0) first = sum;
    assert_true(sum == first);
    own_matrix_free(&o);
    factor_free(&f);
    mem_free(h);
  }
  problem_free(&q);
}

static void widths_are_parsed(void **s) {
  (void)s;
  static const char *const wrong[] = {"", "1.9", "9.5", "nan", "4e0", "4,", "44", "4,v", "v=4,3", "v=4", "4,x=3", "4,embed=4", "4,v=9", "all=5", "-4", "4.0.0", "0x4"};
  CastOptions o = {0};
  Err e = {0};
  assert_true(cast_parse_bits(&o, "all=3,v=4,head=8", &e));
  assert_int_equal(o.bits[MAT_Q], 3);
  assert_int_equal(o.bits[MAT_V], 4);
  assert_int_equal(o.bits[MAT_HEAD], 8);
  assert_int_equal(o.bits[MAT_EMBED], 6);
  assert_true(o.budget == 0);
  assert_true(cast_parse_bits(&o, "3.25,v=4", &e) && o.budget == 3.25);
  assert_int_equal(o.bits[MAT_Q], 0);
  assert_int_equal(o.bits[MAT_V], 4);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    Err x = {0};
    assert_false(cast_parse_bits(&o, wrong[i], &x));
    assert_true(x.set);
  }
}

static void budgets_are_spent_well(void **s) {
  (void)s;
  enum { LAYERS = 3, N = LAYERS * MAT_PER_LAYER + 1 };
  ChipShape shape = {.layers = LAYERS, .dim = 128, .ffn = 256, .heads = 4, .kv_heads = 2, .head_dim = 32, .vocab = 500};
  double loss[N], before = INFINITY;
  for (int i = 0; i < N; i++) loss[i] = 1 + i % 5;
  for (double budget = 2; budget <= 8.5; budget += 0.25) {
    CastOptions o = {.budget = budget, .bits = {[MAT_V] = 4}};
    int bits[N], rows, cols;
    double expected = allocate_bits(&shape, &o, loss, bits), spent = 0, weights = 0;
    assert_true(expected <= before);
    before = expected;
    for (int i = 0; i < N; i++) {
      MatKind kind = i == N - 1 ? MAT_HEAD : (MatKind)(i % MAT_PER_LAYER);
      chip_extent(&shape, kind, &rows, &cols);
      spent += rows * ((cols + GROUP - 1) / GROUP * (GROUP * bits[i] + 6.0) + 16); /* what the chip's ROMs will store */
      weights += (double)rows * cols;
      assert_true(kind != MAT_V || bits[i] == 4);
      for (int k = 0; k < i; k++) /* same kind, larger loss: no fewer bits */
        if (kind != MAT_HEAD && k % MAT_PER_LAYER == (int)kind && loss[k] > loss[i]) assert_true(bits[k] >= bits[i]);
    }
    assert_true(spent <= budget * weights || budget < 2.5);
    if (budget >= 3 && budget <= 8) assert_true(spent > (budget - 0.3) * weights);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(rotations_are_orthogonal), cmocka_unit_test(factors_invert), cmocka_unit_test(feedback_beats_nearest),
                                     cmocka_unit_test(wide_rows_are_narrowed), cmocka_unit_test(kernels_of_the_cast_are_equal),
                                     cmocka_unit_test(widths_are_parsed), cmocka_unit_test(budgets_are_spent_well)};
  return cmocka_run_group_tests_name("cast", tests, NULL, NULL);
}
