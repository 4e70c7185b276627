/* cast/factor: Hessians of a matrix's inputs, and the inverse root that GPTQ's error feedback needs.
 *
 * H = R R^T with R upper triangular (Cholesky from the last column), U = R^-1, so that H^-1 = U^T U.  Blocked, in double.
 */
#include "cast/parts.h"

#include <math.h>
#include <string.h>

enum { NB = 64, CHUNK = 512, STEP = 128 };

const CastKernels *cast_kernels(Isa isa) {
  static const CastKernels scalar = {round_rows_scalar, add_product_scalar, add_outer_scalar};
#if defined(__x86_64__)
  static const CastKernels avx2 = {round_rows_avx2, add_product_avx2, add_outer_avx2};
  static const CastKernels avx512 = {round_rows_avx512, add_product_avx512, add_outer_avx512};
  if (isa >= ISA_AVX512) return &avx512;
  if (isa >= ISA_AVX2) return &avx2;
#endif
  (void)isa;
  return &scalar;
}

/* ---- Hessian ---- */

typedef struct {
  const CastKernels *k;
  double *h;
  int n, panels, from, to; /* tokens [from, to) */
  const EngineStop *at;
  float *x; /* (panels, CHUNK, PANEL): contiguous for the product, zeros behind column n */
} HessianJob;

static void panels_run(void *arg, int t, int threads) {
  const HessianJob *j = arg;
  Span tokens = span_of(j->to - j->from, 1, t, threads);
  for (int i = tokens.from; i < tokens.to; i++) {
    const int8_t *a = j->at->a + (size_t)(j->from + i) * j->at->stride;
    float s = (float)input_scale(j->at->scale[j->from + i]);
    for (int c = 0; c < j->n; c++) j->x[((size_t)(c / PANEL) * CHUNK + (size_t)i) * PANEL + (size_t)(c % PANEL)] = (float)a[c] * s;
  }
}

static void outer_run(void *arg, int t, int threads) {
  const HessianJob *j = arg;
  for (int p = t; p < j->panels; p += threads)
    for (int q = p; q < j->panels; q++)
      for (int s = 0; s < j->to - j->from; s += STEP) {
        int count = j->to - j->from - s < STEP ? j->to - j->from - s : STEP, row = p * PANEL, col = q * PANEL;
        const float *x = j->x + ((size_t)p * CHUNK + (size_t)s) * PANEL, *y = j->x + ((size_t)q * CHUNK + (size_t)s) * PANEL;
        j->k->add_outer(j->h + (size_t)row * (size_t)j->n + (size_t)col, (size_t)j->n, x, y, j->n - row < PANEL ? j->n - row : PANEL,
                        j->n - col < PANEL ? j->n - col : PANEL, count);
      }
}

bool hessian_add(double *h, int n, const EngineStop *at, Pool *pool, Isa isa, Err *err) {
  int panels = (n + PANEL - 1) / PANEL;
  HessianJob j = {cast_kernels(isa), h, n, panels, 0, 0, at, mem_alloc(CHUNK, (size_t)panels * PANEL * sizeof(float), err)};
  if (!j.x) return false;
  for (; j.from < at->tokens; j.from += CHUNK) {
    j.to = at->tokens - j.from < CHUNK ? at->tokens : j.from + CHUNK;
    pool_run(pool, panels_run, &j);
    pool_run(pool, outer_run, &j);
  }
  mem_free(j.x);
  return true;
}

/* ---- R ---- */

typedef struct {
  const CastKernels *k;
  Pool *pool;
  double *h;   /* (n, n): H above, R in its place block by block, then U */
  int n, b0, b1;
  double *panel; /* (NB, n) */
  float *u;
} FactorJob;

#define AT(i, c) h[(size_t)(i) * n + (size_t)(c)]

static bool factor_diagonal(const FactorJob *j) {
  double *h = j->h;
  size_t n = (size_t)j->n;
  for (int c = j->b1 - 1; c >= j->b0; c--) {
    if (!(AT(c, c) > 0)) return false;
    double root = sqrt(AT(c, c));
    AT(c, c) = root;
    for (int i = j->b0; i < c; i++) AT(i, c) /= root;
    for (int i = j->b0; i < c; i++)
      for (int l = i; l < c; l++) AT(i, l) -= AT(i, c) * AT(l, c);
  }
  return true;
}

static void solve_run(void *arg, int t, int threads) {
  const FactorJob *j = arg;
  double *h = j->h;
  size_t n = (size_t)j->n;
  Span rows = span_of(j->b0, 8, t, threads);
  for (int i = rows.from; i < rows.to; i++)
    for (int c = j->b1 - 1; c >= j->b0; c--) {
      double s = AT(i, c);
      for (int k = c + 1; k < j->b1; k++) s -= AT(i, k) * AT(c, k);
      s /= AT(c, c);
      AT(i, c) = s;
      j->panel[(size_t)(c - j->b0) * n + (size_t)i] = s;
    }
}

static void subtract_run(void *arg, int t, int threads) {
  const FactorJob *j = arg;
  double *h = j->h;
  size_t n = (size_t)j->n;
  for (int b = t; b * NB < j->b0; b += threads) {
    int i = b * NB;
    j->k->add_product(&AT(i, i), n, &AT(i, j->b0), n, j->panel + i, n, NB, j->b0 - i, j->b1 - j->b0, -1);
  }
}

/* ---- U = R^-1, block rows from the bottom ---- */

static void invert_run(void *arg, int t, int threads) {
  const FactorJob *j = arg;
  double *h = j->h;
  size_t n = (size_t)j->n;
  int size = j->b1 - j->b0;
  for (int b = j->b1 / NB + t; b * NB < j->n; b += threads) { /* columns behind the block: panel <- - R U */
    int c = b * NB, cols = j->n - c < NB ? j->n - c : NB, end = c + cols;
    double *out = j->panel + c;
    for (int i = 0; i < size; i++) memset(out + (size_t)i * n, 0, (size_t)cols * sizeof *out);
    j->k->add_product(out, n, &AT(j->b0, j->b1), n, &AT(j->b1, c), n, size, cols, end - j->b1, -1);
    for (int i = size - 1; i >= 0; i--)
      for (int x = 0; x < cols; x++) {
        double s = out[(size_t)i * n + (size_t)x];
        for (int k = i + 1; k < size; k++) s -= AT(j->b0 + i, j->b0 + k) * out[(size_t)k * n + (size_t)x];
        out[(size_t)i * n + (size_t)x] = s / AT(j->b0 + i, j->b0 + i);
      }
  }
}

/* The diagonal block itself, and the panel back into its place. */
static void invert_diagonal(const FactorJob *j) {
  double *h = j->h, inverse[NB][NB] = {{0}};
  size_t n = (size_t)j->n;
  int size = j->b1 - j->b0;
  for (int c = 0; c < size; c++)
    for (int i = c; i >= 0; i--) {
      double s = i == c ? 1 : 0;
      for (int k = i + 1; k <= c; k++) s -= AT(j->b0 + i, j->b0 + k) * inverse[k][c];
      inverse[i][c] = s / AT(j->b0 + i, j->b0 + i);
    }
  for (int i = 0; i < size; i++) {
    for (int c = 0; c < size; c++) AT(j->b0 + i, j->b0 + c) = inverse[i][c];
    memcpy(&AT(j->b0 + i, j->b1), j->panel + (size_t)i * n + (size_t)j->b1, (size_t)(j->n - j->b1) * sizeof *h);
  }
}

static void transpose_run(void *arg, int t, int threads) {
  const FactorJob *j = arg;
  const double *h = j->h;
  size_t n = (size_t)j->n;
  Span rows = span_of(j->n, 8, t, threads);
  for (int r = rows.from; r < rows.to; r++)
    for (int c = 0; c <= r; c++) j->u[(size_t)r * n + (size_t)c] = (float)AT(c, r);
}

static bool run_factor(FactorJob *j) {
  double *h = j->h;
  size_t n = (size_t)j->n;
  int blocks = (j->n + NB - 1) / NB;
  for (int b = blocks - 1; b >= 0; b--) {
    j->b0 = b * NB;
    j->b1 = j->n - j->b0 < NB ? j->n : j->b0 + NB;
    if (!factor_diagonal(j)) return false;
    pool_run(j->pool, solve_run, j);
    pool_run(j->pool, subtract_run, j);
  }
  for (int i = 0; i < j->n; i++) memset(&AT(i, 0), 0, (size_t)i * sizeof *h);
  for (int b = blocks - 1; b >= 0; b--) {
    j->b0 = b * NB;
    j->b1 = j->n - j->b0 < NB ? j->n : j->b0 + NB;
    pool_run(j->pool, invert_run, j);
    invert_diagonal(j);
  }
  pool_run(j->pool, transpose_run, j);
  return true;
}

bool factor_new(Factor *f, double *h, int n, double damping, Pool *pool, Isa isa, Err *err) {
  size_t size = (size_t)n;
  *f = (Factor){n, mem_alloc(size * size, sizeof(float), err)};
  FactorJob j = {.k = cast_kernels(isa), .pool = pool, .h = h, .n = n, .panel = mem_alloc(NB, size * sizeof(double), err), .u = f->u};
  bool ok = f->u && j.panel;
  double mean = 0;
  for (size_t i = 0; ok && i < size; i++) mean += h[i * size + i] / n;
  if (ok && !(mean > 0)) mean = 1; /* no input ever: any rounding is as good */
  for (size_t i = 0; ok && i < size; i++) h[i * size + i] += damping * mean;
  if (ok && !run_factor(&j)) ok = err_set(err, "calibration: the Hessian of %d inputs is not positive definite", n);
  mem_free(j.panel);
  if (!ok) factor_free(f);
  return ok;
}

void factor_free(Factor *f) {
  mem_free(f->u);
  *f = (Factor){0};
}

int matrices_at(MatKind first) { return first == MAT_Q ? 3 : first == MAT_GATE ? 2 : 1; }

bool factor_at(Factor *f, const EngineStop *at, Pool *pool, Isa isa, Err *err) {
  static const double DAMPING = 0.01; /* of the mean of H's diagonal; GPTQ's value */
  size_t n = (size_t)at->cols;
  double *h = mem_alloc(n * n, sizeof *h, err);
  bool ok = h && hessian_add(h, at->cols, at, pool, isa, err) && factor_new(f, h, at->cols, DAMPING, pool, isa, err);
  mem_free(h);
  return ok;
}
