/* model/float (private to model): the oracle's matrix product for each instruction set. */
#ifndef BURIN_MODEL_FLOAT_H
#define BURIN_MODEL_FLOAT_H

#include <stddef.h>

/* out[t * stride + r] = sum over c of w[r][c] * x[t][c]; w (rows, cols), x (n, cols). */
typedef void FloatMatmul(const float *w, int rows, int cols, const float *x, int n, float *out, size_t stride);
FloatMatmul float_matmul_scalar, float_matmul_avx2, float_matmul_avx512;

#endif
