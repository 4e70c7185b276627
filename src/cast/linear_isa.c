/* cast/linear_isa: the two dense products of the cast.  Compiled once for each instruction set; every sum runs in one
 * order that does not depend on it.
 */
#include "cast/parts.h"

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)

enum { PR = 4, PC = 16, OR = 4, OC = 32 };

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

void JOIN(add_outer, ISA)(double *c, size_t ldc, const float *x, const float *y, size_t stride, int m, int n, int t) {
  for (int i = 0; i < m; i += OR)
    for (int j = 0; j < n; j += OC) {
      int rows = m - i < OR ? m - i : OR, cols = n - j < OC ? n - j : OC;
      float acc[OR][OC] = {{0}};
      if (rows == OR && cols == OC) {
        for (int s = 0; s < t; s++)
          for (int r = 0; r < OR; r++)
            for (int q = 0; q < OC; q++) acc[r][q] += x[(size_t)s * stride + (size_t)(i + r)] * y[(size_t)s * stride + (size_t)(j + q)];
      } else {
        for (int s = 0; s < t; s++)
          for (int r = 0; r < rows; r++)
            for (int q = 0; q < cols; q++) acc[r][q] += x[(size_t)s * stride + (size_t)(i + r)] * y[(size_t)s * stride + (size_t)(j + q)];
      }
      for (int r = 0; r < rows; r++)
        for (int q = 0; q < cols; q++) c[(size_t)(i + r) * ldc + (size_t)(j + q)] += (double)acc[r][q];
    }
}
