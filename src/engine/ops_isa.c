/* engine/ops_isa: the element-wise operations.  Compiled once for each instruction set (-DISA=name and its flags); the
 * loops are plain C that the compiler turns into that set's vector code.  Same integers as chip/arith.c.
 */
#include "engine/kernels.h"

#include <string.h>

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)
#define FN(name) JOIN(name, ISA)

#ifdef __AVX512VNNI__
#include "engine/vectors_avx512.h"
#else
static inline int32_t sat_shift15(int64_t x) {
  x = (x + (1 << 14)) >> 15;
  return sat32(x);
}

static uint32_t max_magnitude(const int32_t *v, int n) {
  uint32_t m = 0;
  for (int i = 0; i < n; i++) {
    uint32_t x = v[i] < 0 ? 0u - (uint32_t)v[i] : (uint32_t)v[i];
    m = x > m ? x : m;
  }
  return m;
}

static Step quantise(const int32_t *v, int n, uint32_t m, int8_t *a) {
  Step step = step_of(m);
  int32_t reciprocal = step_reciprocal(step);
  for (int i = 0; i < n; i++) a[i] = (int8_t)((to_15_bits(v[i], step.e) * reciprocal + (1 << 21)) >> 22);
  return step;
}

static void rotate_pairs(const int32_t *cos_sin, int32_t *head, int half, bool adjacent) {
  int step = adjacent ? 2 : 1, apart = adjacent ? 1 : half;
  for (int i = 0; i < half; i++) {
    int64_t x = head[step * i], y = head[step * i + apart], c = cos_sin[2 * i], d = cos_sin[2 * i + 1];
    head[step * i] = sat_shift15(x * c - y * d);
    head[step * i + apart] = sat_shift15(x * d + y * c);
  }
}
#endif

void FN(finish)(const int64_t *acc, const uint64_t *den, int most, int heads, int dims, int32_t *out) {
  for (int h = 0; h < heads; h++) attention_finish(acc + (size_t)h * 4 * kv_quads(dims), den[h], most, dims, out + (size_t)h * (size_t)dims);
}

Step FN(quant8)(const int32_t *v, int n, int8_t *a) { return quantise(v, n, max_magnitude(v, n), a); }

Scale FN(norm8)(const ChipShape *s, const Gain *gain, const int32_t *h, int8_t *a, int32_t *restrict v) {
  uint32_t m = max_magnitude(h, s->dim);
  for (int i = 0; gain && i < s->dim; i++) v[i] = sat32(((int64_t)h[i] * gain->g[i] + (1 << 13)) >> 14);
  Step step = gain ? FN(quant8)(v, s->dim, a) : quantise(h, s->dim, m, a);
  int shift = bit_length(m) - 15;
  if (shift < 0) shift = 0;
  uint64_t sum = s->eps >> 2 * shift;
  for (int at = 0; at < s->dim;) { /* squares below 2^30: 4 lanes of 32 bits are widened every step by the compiler */
    int end = at + 64 < s->dim ? at + 64 : s->dim;
    for (; at < end; at++) {
      int32_t x = to_15_bits(h[at], shift);
      sum += (uint64_t)((int64_t)x * x);
    }
  }
  if (sum == 0) sum = 1;
  uint64_t root = isqrt(sum << 16);
  return scale_of(((uint64_t)s->root_dim * (uint64_t)step.u << 32) / root, step.e - shift - 32 + (gain ? 14 + gain->exponent : 0));
}

void FN(rotary)(const ChipShape *s, const int32_t *cos_sin, int32_t *head) {
  rotate_pairs(cos_sin, head, s->rotary_dims / 2, s->pairs == CHIP_PAIRS_ADJACENT);
}

#ifdef __AVX512VNNI__
#include "engine/gate_avx512.h"

void FN(gate)(const int32_t *restrict g, const int32_t *restrict u, int n, int32_t *restrict act) {
  const WordTable table = word_table(sigmoid_table);
  for (int k = 0; k < n; k += 16) {
    __mmask16 used = (__mmask16)(n - k < 16 ? (1u << (n - k)) - 1 : 0xFFFF);
    __m512i x = gate_block(&table, _mm512_maskz_loadu_epi32(used, g + k), _mm512_maskz_loadu_epi32(used, u + k));
    _mm512_mask_storeu_epi32(act + k, used, x);
  }
}
#else
/* Elements [k, n). */
static void gate_rest(const int32_t *restrict g, const int32_t *restrict u, int k, int n, int32_t *restrict act) {
  for (; k < n; k++) {
    uint32_t x = g[k] < 0 ? 0u - (uint32_t)g[k] : (uint32_t)g[k], most = (16u << FRAC) - 1;
    x = x > most ? most : x;
    uint32_t i = x >> (FRAC - 2), t = x & ((1u << (FRAC - 2)) - 1);
    int32_t y = sigmoid_table[i] + (((sigmoid_table[i + 1] - sigmoid_table[i]) * (int32_t)t + (1 << (FRAC - 3))) >> (FRAC - 2));
    int32_t sigma = g[k] < 0 ? 32768 - y : y;
    int32_t silu = sat_shift15((int64_t)g[k] * sigma);
    act[k] = sat32(((int64_t)silu * u[k] + (1 << (FRAC - 1))) >> FRAC);
  }
}

#ifdef __AVX2__
#include "engine/gate_avx2.h"
#endif

void FN(gate)(const int32_t *restrict g, const int32_t *restrict u, int n, int32_t *restrict act) {
  int k = 0;
#ifdef __AVX2__
  for (; k + 8 <= n; k += 8)
    _mm256_storeu_si256((__m256i *)(act + k), gate_block(_mm256_loadu_si256((const __m256i *)(g + k)), _mm256_loadu_si256((const __m256i *)(u + k))));
#endif
  gate_rest(g, u, k, n, act);
}
#endif

Step FN(butterfly_quant8)(int32_t *act, int n, int8_t *a) {
  int over = bit_length(max_magnitude(act, n)) - 24;
  if (over > 0)
    for (int i = 0; i < n; i++) act[i] = ((act[i] >> (over - 1)) + 1) >> 1;
  else
    over = 0;
  for (int base = 0; base < n; base += BUTTERFLY) {
    int32_t *restrict p = act + base, t[BUTTERFLY];
    /* six equal passes: sums of neighbours to the lower half, differences to the upper; a radix-2 step of the transform
     * in a layout where every pass has the same access pattern */
    for (int pass = 0; pass < 3; pass++) {
      for (int i = 0; i < BUTTERFLY / 2; i++) t[i] = p[2 * i] + p[2 * i + 1], t[i + BUTTERFLY / 2] = p[2 * i] - p[2 * i + 1];
      for (int i = 0; i < BUTTERFLY / 2; i++) p[i] = t[2 * i] + t[2 * i + 1], p[i + BUTTERFLY / 2] = t[2 * i] - t[2 * i + 1];
    }
  }
  Step step = FN(quant8)(act, n, a);
  return (Step){step.u, step.e + over};
}

/* In 32 bits: where the sum has another sign than both, it is too large for them. */
void FN(add)(int32_t *restrict h, const int32_t *restrict y, int n) {
  for (int i = 0; i < n; i++) {
    int32_t sum = (int32_t)((uint32_t)h[i] + (uint32_t)y[i]), most = h[i] < 0 ? -INT32_MAX : INT32_MAX;
    sum = ((h[i] ^ sum) & (y[i] ^ sum)) < 0 ? most : sum;
    h[i] = sum < -INT32_MAX ? -INT32_MAX : sum;
  }
}

void FN(finish_row)(const int32_t *restrict acc, const uint16_t *restrict row_scale, int n, int exponent, Scale x, int frac,
                    int32_t *restrict y) {
  int s = -(exponent + x.E + 16 + frac);
  if (s < 1 || s > 62) {
    for (int i = 0; i < n; i++) y[i] = matrix_finish(acc[i], row_scale[i], exponent, x, frac);
    return;
  }
  int64_t half = (int64_t)1 << (s - 1);
  for (int i = 0; i < n; i++) {
    int32_t p = (int32_t)(((uint64_t)row_scale[i] * x.M + 32768) >> 16);
    int64_t v = ((int64_t)acc[i] * p + half) >> s;
    y[i] = sat32(v);
  }
}
