/* model/float_isa: the oracle's matrix product.  Compiled once for each instruction set; every sum runs over 16 fixed
 * lanes that are added in a fixed order, so that all of them give the same floats.
 */
#include "model/float.h"

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)

enum { LANES = 16, TOKENS = 8 };

static float total(const float *lane) {
  float s[8], t[4];
  for (int i = 0; i < 8; i++) s[i] = lane[i] + lane[i + 8];
  for (int i = 0; i < 4; i++) t[i] = s[i] + s[i + 4];
  return (t[0] + t[2]) + (t[1] + t[3]);
}

static void dots(const float *restrict w, const float *restrict x, int cols, int count, float *restrict out, size_t stride) {
  float acc[TOKENS][LANES] = {{0}};
  int c = 0;
  for (; c + LANES <= cols; c += LANES)
    for (int t = 0; t < count; t++)
      for (int i = 0; i < LANES; i++) acc[t][i] += w[c + i] * x[(size_t)t * (size_t)cols + (size_t)(c + i)];
  for (; c < cols; c++)
    for (int t = 0; t < count; t++) acc[t][c % LANES] += w[c] * x[(size_t)t * (size_t)cols + (size_t)c];
  for (int t = 0; t < count; t++) out[(size_t)t * stride] = total(acc[t]);
}

void JOIN(float_matmul, ISA)(const float *w, int rows, int cols, const float *x, int n, float *out, size_t stride) {
  for (int t = 0; t < n; t += TOKENS) {
    int count = n - t < TOKENS ? n - t : TOKENS;
    const float *xt = x + (size_t)t * (size_t)cols;
    float *o = out + (size_t)t * stride;
    for (int r = 0; r < rows; r++, w += cols) {
      if (count == TOKENS) dots(w, xt, cols, TOKENS, o + r, stride);
      else dots(w, xt, cols, count, o + r, stride);
    }
    w -= (size_t)rows * (size_t)cols;
  }
}
