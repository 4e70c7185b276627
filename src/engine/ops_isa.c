/* engine/ops_isa: the element-wise operations.  Compiled once for each instruction set (-DISA=name and its flags); the
 * loops are plain C that the compiler turns into that set's vector code.  Same integers as chip/arith.c.
 */
#include "engine/kernels.h"

#include <string.h>

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)
#define FN(name) JOIN(name, ISA)

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

static inline int32_t sat_shift15(int64_t x) {
  x = (x + (1 << 14)) >> 15;
  return sat32(x);
}

void FN(rotary)(const ChipShape *s, const int32_t *cos_sin, int32_t *head) {
  int half = s->rotary_dims / 2, step = s->pairs == CHIP_PAIRS_ADJACENT ? 2 : 1, apart = s->pairs == CHIP_PAIRS_ADJACENT ? 1 : half;
  for (int i = 0; i < half; i++) {
    int64_t x = head[step * i], y = head[step * i + apart], c = cos_sin[2 * i], d = cos_sin[2 * i + 1];
    head[step * i] = sat_shift15(x * c - y * d);
    head[step * i + apart] = sat_shift15(x * d + y * c);
  }
}

static inline int32_t dot8(const int8_t *restrict a, const int8_t *restrict b, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; i++) sum += (int32_t)((int16_t)a[i] * (int16_t)b[i]);
  return sum;
}

#ifdef __AVX512VNNI__
#include "engine/attention_avx512.h"
#endif

/* z[n] <- scores; returns the largest */
static int32_t score_all(const int8_t *q, Step q_step, KvView kv, int n, int head_dim, int32_t *z) {
#ifdef __AVX512VNNI__
  if (head_dim % 64 == 0) return score_all_wide(q, q_step, kv, n, head_dim, z);
#endif
  int32_t top = -INT32_MAX;
  for (int j = 0; j < n; j++) {
    const int8_t *k = kv.k + (size_t)j * kv.stride;
    int32_t dot = head_dim == 64 ? dot8(q, k, 64) : dot8(q, k, head_dim);
    z[j] = score_of(dot, q_step, step_unpack(kv.k_step[j]));
    top = z[j] > top ? z[j] : top;
  }
  return top;
}

/* z[n] <- softmax weights; returns their sum */
static uint64_t weigh_all(int32_t *z, int n, int32_t top) {
  uint64_t sum = 0;
  for (int at = 0; at < n;) {
    uint32_t part = 0; /* 4096 weights below 2^15 stay below 2^27 */
    int end = at + 4096 < n ? at + 4096 : n;
    for (; at < end; at++) {
      uint32_t d = (uint32_t)top - (uint32_t)z[at], i = d >> 16, x = (d & 65535) >> 10, t = d & 1023;
      int32_t y = exp2_table[x] - (((exp2_table[x] - exp2_table[x + 1]) * (int32_t)t) >> 10);
      i = i > 31 ? 31 : i; /* 31 and more give 0 */
      z[at] = (int32_t)(((uint32_t)y + ((1u << i) >> 1)) >> i);
      part += (uint32_t)z[at];
    }
    sum += part;
  }
  return sum;
}

/* w[n] <- weights times steps of the values, on the largest exponent of a step, which is returned */
static int align_weights(int32_t *w, KvView kv, int n) {
  int most = 0; /* packed steps: e + 16 in the upper bits */
  for (int j = 0; j < n; j++) {
    int e = kv.v_step[j] >> 9;
    most = e > most ? e : most;
  }
  for (int j = 0; j < n; j++) {
    int s = 9 + most - (kv.v_step[j] >> 9);
    s = s > 25 ? 25 : s; /* products have 24 bits: 25 gives 0, as more would */
    w[j] = (w[j] * (kv.v_step[j] & 511) + ((1 << s) >> 1)) >> s;
  }
  return most - 16;
}

static inline void add_values(const int32_t *w, KvView kv, int n, int head_dim, int64_t *acc) {
  for (int at = 0; at < n; at += 512) { /* 512 products below 2^22 fit 32 bits */
    int end = at + 512 < n ? at + 512 : n;
#ifdef __AVX512VNNI__
    if (head_dim % 64 == 0) {
      for (int i = 0; i < head_dim; i += 64) add_values_64(w + at, kv.v + (size_t)at * kv.stride + i, kv.stride, end - at, acc + i);
      continue;
    }
#endif
    int32_t part[1024];
    memset(part, 0, (size_t)head_dim * sizeof *part);
    for (int j = at; j < end; j++) {
      if (w[j] == 0) continue;
      const int8_t *restrict v = kv.v + (size_t)j * kv.stride;
      for (int i = 0; i < head_dim; i++) part[i] += w[j] * v[i];
    }
    for (int i = 0; i < head_dim; i++) acc[i] += part[i];
  }
}

void FN(attention)(const int8_t *q, Step q_step, KvView kv, int n, int head_dim, int32_t *out, int32_t *z) {
  int32_t top = score_all(q, q_step, kv, n, head_dim, z);
  uint64_t den = weigh_all(z, n, top);
  int most = align_weights(z, kv, n);
  int64_t acc[1024];
  memset(acc, 0, (size_t)head_dim * sizeof *acc);
  if (head_dim == 64) add_values(z, kv, n, 64, acc);
  else add_values(z, kv, n, head_dim, acc);
  int bits = bit_length(den);
  int64_t reciprocal = (int64_t)(((uint64_t)1 << (bits + 15)) / den);
  for (int i = 0; i < head_dim; i++) out[i] = rsr_sat(acc[i] * reciprocal, bits + 6 - most);
}

void FN(gate)(const int32_t *restrict g, const int32_t *restrict u, int n, int32_t *restrict act) {
  for (int k = 0; k < n; k++) {
    uint32_t x = g[k] < 0 ? 0u - (uint32_t)g[k] : (uint32_t)g[k], most = (16u << FRAC) - 1;
    x = x > most ? most : x;
    uint32_t i = x >> (FRAC - 2), t = x & ((1u << (FRAC - 2)) - 1);
    int32_t y = sigmoid_table[i] + (((sigmoid_table[i + 1] - sigmoid_table[i]) * (int32_t)t + (1 << (FRAC - 3))) >> (FRAC - 2));
    int32_t sigma = g[k] < 0 ? 32768 - y : y;
    int32_t silu = sat_shift15((int64_t)g[k] * sigma);
    act[k] = sat32(((int64_t)silu * u[k] + (1 << (FRAC - 1))) >> FRAC);
  }
}

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

void FN(add)(int32_t *restrict h, const int32_t *restrict y, int n) {
  for (int i = 0; i < n; i++) h[i] = sat32((int64_t)h[i] + y[i]);
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
