/* cast/linear_isa: the two dense products of the cast.  Compiled once for each instruction set; every sum runs in one
 * order that does not depend on it.
 */
#include "cast/parts.h"

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)

enum { PR = 4, PC = 16, OR = 8 };

void JOIN(add_product, ISA)(double *c, size_t ldc, const double *a, size_t lda, const double *b, size_t ldb, int m, int n, int k,
                            double sign) {
  for (int i = 0; i < m; i += PR)
    for (int j = 0; j < n; j += PC) {
      int rows = m - i < PR ? m - i : PR, cols = n - j < PC ? n - j : PC;
      double acc[PR][PC] = {{0}};
      if (rows == PR && cols == PC) {
        for (int x = 0; x < k; x++)
          for (int r = 0; r < PR; r++)
            for (int q = 0; q < PC; q++) acc[r][q] += a[(size_t)(i + r) * lda + (size_t)x] * b[(size_t)x * ldb + (size_t)(j + q)];
      } else {
        for (int x = 0; x < k; x++)
          for (int r = 0; r < rows; r++)
            for (int q = 0; q < cols; q++) acc[r][q] += a[(size_t)(i + r) * lda + (size_t)x] * b[(size_t)x * ldb + (size_t)(j + q)];
      }
      for (int r = 0; r < rows; r++)
        for (int q = 0; q < cols; q++) c[(size_t)(i + r) * ldc + (size_t)(j + q)] += sign * acc[r][q];
    }
}

/* A panel is PANEL columns of a chunk of tokens, token by token. */
void JOIN(add_outer, ISA)(double *c, size_t ldc, const float *restrict x, const float *restrict y, int m, int n, int t) {
  for (int i = 0; i < m; i += OR) {
    float acc[OR][PANEL] = {{0}};
    for (int s = 0; s < t; s++)
      for (int r = 0; r < OR; r++)
        for (int q = 0; q < PANEL; q++) acc[r][q] += x[s * PANEL + i + r] * y[s * PANEL + q];
    for (int r = 0; r < OR && i + r < m; r++)
      for (int q = 0; q < n; q++) c[(size_t)(i + r) * ldc + (size_t)q] += (double)acc[r][q];
  }
}
