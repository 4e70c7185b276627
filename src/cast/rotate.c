/* cast/rotate: the orthogonal transforms that spread outliers over all channels.
 *
 * Only + - * / and sqrt, in a fixed order: the same matrix on every machine.
 * Sources: Hadamard matrices by Paley's two constructions (Paley 1933); rotations for quantisation: QuIP# (Tseng et al.
 * 2024), QuaRot (Ashkboos et al. 2024).
 */
#include "cast/parts.h"

#include <math.h>
#include <string.h>

static bool is_prime(int n) {
  if (n < 2) return false;
  for (int d = 2; d * d <= n; d++)
    if (n % d == 0) return false;
  return true;
}

/* Quadratic character of a modulo the prime q: 0, 1 or -1. */
static int character(int a, int q) {
  a = (a % q + q) % q;
  if (a == 0) return 0;
  int64_t r = 1, b = a;
  for (int e = (q - 1) / 2; e; e >>= 1, b = b * b % q)
    if (e & 1) r = r * b % q;
  return r == 1 ? 1 : -1;
}

/* The bordered matrix of Paley: 0 in the corner, 1 along the top, `side` down the side, the character inside. */
static int bordered(int i, int j, int q, int side) {
  if (i == 0) return j == 0 ? 0 : 1;
  if (j == 0) return side;
  return character(i - j, q);
}

/* Entry of a Hadamard matrix of order n by Paley I (n - 1 prime, 3 mod 4) or II (n / 2 - 1 prime, 1 mod 4). */
static bool has_paley(int n) {
  return (n % 4 == 0 && is_prime(n - 1)) || (n % 4 == 0 && is_prime(n / 2 - 1) && (n / 2 - 1) % 4 == 1);
}

static int paley(int n, int i, int j) {
  if (is_prime(n - 1)) return bordered(i, j, n - 1, -1) + (i == j); /* I + S, S skew */
  int s = bordered(i / 2, j / 2, n / 2 - 1, 1), a = i % 2, b = j % 2;
  if (s) return s * (a && b ? -1 : 1); /* S (x) [1 1; 1 -1] */
  return a == 0 && b == 0 ? 1 : -1;    /* I (x) [1 -1; -1 -1] */
}

/* Nearly normal: the sum of 12 even draws.  No library function that may differ from machine to machine. */
static double normal(Pcg *p) {
  double s = -6;
  for (int i = 0; i < 12; i++) s += (double)pcg_next(p) / 4294967296.0;
  return s;
}

/* Rows of a random orthogonal matrix by modified Gram-Schmidt, twice for accuracy. */
static bool random_orthogonal(float *out, int n, Pcg *random, Err *err) {
  double *q = mem_alloc((size_t)n * (size_t)n, sizeof *q, err);
  if (!q) return false;
  for (int i = 0; i < n; i++) {
    double *row = q + (size_t)i * (size_t)n;
    for (int c = 0; c < n; c++) row[c] = normal(random);
    for (int pass = 0; pass < 2; pass++)
      for (int k = 0; k < i; k++) {
        const double *other = q + (size_t)k * (size_t)n;
        double dot = 0;
        for (int c = 0; c < n; c++) dot += row[c] * other[c];
        for (int c = 0; c < n; c++) row[c] -= dot * other[c];
      }
    double norm = 0;
    for (int c = 0; c < n; c++) norm += row[c] * row[c];
    norm = 1 / sqrt(norm);
    for (int c = 0; c < n; c++) row[c] *= norm;
  }
  for (size_t i = 0; i < (size_t)n * (size_t)n; i++) out[i] = (float)q[i];
  mem_free(q);
  return true;
}

bool rotation_new(Rotation *r, int dim, uint64_t seed, Err *err) {
  *r = (Rotation){.dim = dim, .m = dim, .pow2 = 1};
  while (r->m % 2 == 0) r->m /= 2, r->pow2 *= 2;
  enum { LARGEST_MIX = 512 };
  for (int m = r->m * 4; r->m > 1 && m <= dim && m <= LARGEST_MIX && dim % m == 0; m *= 2)
    if (has_paley(m)) {
      r->m = m;
      r->pow2 = dim / m;
      break;
    }
  Pcg random = pcg_seed(seed, 1);
  r->sign = mem_alloc((size_t)dim, sizeof *r->sign, err);
  if (!r->sign) return false;
  for (int i = 0; i < dim; i++) r->sign[i] = pcg_next(&random) & 1 ? 1.0f : -1.0f;
  if (r->m == 1) return true;
  size_t m = (size_t)r->m;
  r->mix = mem_alloc(m * m, sizeof *r->mix, err);
  if (!r->mix) return false;
  if (!has_paley(r->m)) return random_orthogonal(r->mix, r->m, &random, err);
  float scale = (float)(1 / sqrt((double)r->m));
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < m; j++) r->mix[i * m + j] = (float)paley(r->m, (int)i, (int)j) * scale;
  return true;
}

void rotation_free(Rotation *r) {
  mem_free(r->sign);
  mem_free(r->mix);
  *r = (Rotation){0};
}

void hadamard(float *x, int n, int inner) {
  for (int h = 1; h < n; h *= 2)
    for (int i = 0; i < n; i += 2 * h)
      for (int j = i; j < i + h; j++) {
        float *restrict a = x + (size_t)j * (size_t)inner, *restrict b = a + (size_t)h * (size_t)inner;
        for (int c = 0; c < inner; c++) {
          float s = a[c] + b[c], d = a[c] - b[c];
          a[c] = s;
          b[c] = d;
        }
      }
}

void rotation_apply(const Rotation *r, float *x, int inner, float *scratch) {
  float scale = (float)(1 / sqrt((double)r->pow2));
  for (int i = 0; i < r->dim; i++) {
    float f = r->sign[i] * scale, *row = x + (size_t)i * (size_t)inner;
    for (int c = 0; c < inner; c++) row[c] *= f;
  }
  size_t block = (size_t)r->pow2 * (size_t)inner;
  for (int i = 0; i < r->m; i++) hadamard(x + (size_t)i * block, r->pow2, inner);
  if (!r->mix) return;
  memset(scratch, 0, (size_t)r->m * block * sizeof *scratch);
  for (int j = 0; j < r->m; j++) /* out[j] = sum over i of mix[i][j] x[i] */
    for (int i = 0; i < r->m; i++) {
      float f = r->mix[(size_t)i * (size_t)r->m + (size_t)j];
      const float *restrict from = x + (size_t)i * block;
      float *restrict to = scratch + (size_t)j * block;
      for (size_t c = 0; c < block; c++) to[c] += f * from[c];
    }
  memcpy(x, scratch, (size_t)r->m * block * sizeof *x);
}
