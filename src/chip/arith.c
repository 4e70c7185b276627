/* chip/arith: the arithmetic of doc/arithmetic.md, section 3, one function a formula, in plain scalar C.
 *
 * This is the reference.  Faster forms (engine kernels, RTL) are compared with it bit for bit; none is allowed to differ.
 */
#include "chip/chip.h"

#include <assert.h>
#include <string.h>

static uint32_t magnitude(int32_t x) { return x < 0 ? 0u - (uint32_t)x : (uint32_t)x; }

static uint32_t max_magnitude(const int32_t *v, int n) {
  uint32_t m = 0;
  for (int i = 0; i < n; i++)
    if (magnitude(v[i]) > m) m = magnitude(v[i]);
  return m;
}

Step step_of(uint32_t max) {
  if (max == 0) max = 1;
  int e = bit_length(max) - 15;
  return (Step){(to_15_bits((int32_t)max, e) >> 7) + 2, e};
}

Step quant8(const int32_t *v, int n, int8_t *a) {
  Step step = step_of(max_magnitude(v, n));
  int32_t reciprocal = step_reciprocal(step);
  for (int i = 0; i < n; i++) a[i] = (int8_t)rsr((int64_t)to_15_bits(v[i], step.e) * reciprocal, 22);
  return step;
}

Scale norm8(const ChipShape *s, const Gain *gain, const int32_t *h, int8_t *a, int32_t *v) {
  for (int i = 0; gain && i < s->dim; i++) v[i] = rsr_sat((int64_t)h[i] * gain->g[i], 14);
  Step step = quant8(gain ? v : h, s->dim, a);
  int shift = bit_length(max_magnitude(h, s->dim)) - 15;
  if (shift < 0) shift = 0;
  uint64_t sum = s->eps >> 2 * shift;
  for (int i = 0; i < s->dim; i++) {
    int64_t x = rsr(h[i], shift);
    sum += (uint64_t)(x * x);
  }
  if (sum == 0) sum = 1;
  uint64_t root = isqrt(sum << 16); /* 2^8 sqrt(sum) */
  return scale_of(((uint64_t)s->root_dim * (uint64_t)step.u << 32) / root, step.e - shift - 32 + (gain ? 14 + gain->exponent : 0));
}

int32_t matrix_row(const Matrix *m, int row, const int8_t *a) {
  int32_t acc = 0;
  for (int g = 0; g < m->groups; g++) {
    int8_t level[GROUP];
    matrix_group_levels(m, row, g, level);
    int32_t sum = 0;
    for (int i = 0; i < GROUP; i++) sum += level[i] * a[g * GROUP + i];
    acc += matrix_group_scale(m, row, g) * sum;
  }
  return acc;
}

int32_t matrix_finish(int32_t acc, uint32_t row_scale, int exponent, Scale x, int frac) {
  int64_t p = (int64_t)(((uint64_t)row_scale * x.M + 32768) >> 16);
  return rsr_sat(acc * p, -(exponent + x.E + 16 + frac));
}

static int32_t clamp_q15(int64_t x) { return x > 32767 ? 32767 : x < -32767 ? -32767 : (int32_t)x; }

void rotary_pair(const Chip *c, int position, int i, int32_t *cos_q15, int32_t *sin_q15) {
  int half = c->shape.rotary_dims / 2;
  const int16_t *high = c->rotary_high + ((size_t)(position / ROTARY_LOW) * (size_t)half + (size_t)i) * 2;
  const int16_t *low = c->rotary_low + ((size_t)(position % ROTARY_LOW) * (size_t)half + (size_t)i) * 2;
  *cos_q15 = clamp_q15(rsr((int64_t)high[0] * low[0] - (int64_t)high[1] * low[1], 15));
  *sin_q15 = clamp_q15(rsr((int64_t)high[1] * low[0] + (int64_t)high[0] * low[1], 15));
}

void rotary_apply(const Chip *c, int position, int32_t *head) {
  int half = c->shape.rotary_dims / 2;
  for (int i = 0; i < half; i++) {
    int32_t *x = c->shape.pairs == CHIP_PAIRS_ADJACENT ? head + 2 * i : head + i;
    int32_t *y = c->shape.pairs == CHIP_PAIRS_ADJACENT ? x + 1 : x + half;
    int32_t cos_q15, sin_q15;
    rotary_pair(c, position, i, &cos_q15, &sin_q15);
    int64_t a = *x, b = *y;
    *x = rsr_sat(a * cos_q15 - b * sin_q15, 15);
    *y = rsr_sat(a * sin_q15 + b * cos_q15, 15);
  }
}

int32_t score_of(int32_t dot, Step q, Step k) { return rsr_sat((int64_t)dot * (q.u * k.u), 2 * FRAC - FRAC_LOGIT - q.e - k.e); }

int32_t softmax_weight(uint32_t d) {
  uint32_t i = d >> 16, x = (d & 65535) >> 10, t = d & 1023;
  if (i > 30) return 0;
  int32_t y = exp2_table[x] - (((exp2_table[x] - exp2_table[x + 1]) * (int32_t)t) >> 10);
  return (int32_t)rsr(y, (int)i);
}

static int32_t dot8(const int8_t *a, const int8_t *b, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

void attention_head(const int8_t *q, Step q_step, KvView kv, int n, int head_dim, int32_t *out) {
  int32_t top = -INT32_MAX;
  int most = step_unpack(kv.v_step[0]).e;
  for (int j = 0; j < n; j++) {
    int32_t z = score_of(dot8(q, kv.k + (size_t)j * kv.stride, head_dim), q_step, step_unpack(kv.k_step[j]));
    if (z > top) top = z;
    int e = step_unpack(kv.v_step[j]).e;
    if (e > most) most = e;
  }
  int64_t acc[1024] = {0};
  assert(head_dim <= 1024);
  uint64_t den = 0;
  for (int j = 0; j < n; j++) {
    int32_t z = score_of(dot8(q, kv.k + (size_t)j * kv.stride, head_dim), q_step, step_unpack(kv.k_step[j]));
    int32_t p = softmax_weight((uint32_t)((int64_t)top - z));
    den += (uint64_t)p;
    Step step = step_unpack(kv.v_step[j]);
    int64_t w = rsr(p * step.u, 9 + most - step.e);
    const int8_t *v = kv.v + (size_t)j * kv.stride;
    for (int i = 0; i < head_dim; i++) acc[i] += w * v[i];
  }
  int bits = bit_length(den);
  int64_t reciprocal = (int64_t)(((uint64_t)1 << (bits + 15)) / den);
  for (int i = 0; i < head_dim; i++) out[i] = rsr_sat(acc[i] * reciprocal, bits + 6 - most);
}

int32_t gate_one(int32_t g, int32_t u) {
  uint32_t x = magnitude(g), most = (16u << FRAC) - 1;
  if (x > most) x = most;
  uint32_t i = x >> (FRAC - 2), t = x & ((1u << (FRAC - 2)) - 1);
  int32_t y = sigmoid_table[i] + (int32_t)rsr((int64_t)(sigmoid_table[i + 1] - sigmoid_table[i]) * t, FRAC - 2);
  int32_t sigma = g < 0 ? 32768 - y : y;
  int32_t silu = rsr_sat((int64_t)g * sigma, 15);
  return rsr_sat((int64_t)silu * u, FRAC);
}

Step butterfly_quant8(int32_t *act, int n, int8_t *a) {
  int over = bit_length(max_magnitude(act, n)) - 24; /* 64 values of at most 2^24 add up to at most 2^30 */
  if (over < 0) over = 0;
  for (int i = 0; i < n; i++) act[i] = (int32_t)rsr(act[i], over);
  for (int base = 0; base < n; base += BUTTERFLY)
    for (int h = 1; h < BUTTERFLY; h *= 2)
      for (int i = base; i < base + BUTTERFLY; i += 2 * h)
        for (int j = i; j < i + h; j++) {
          int32_t x = act[j], y = act[j + h];
          act[j] = x + y;
          act[j + h] = x - y;
        }
  Step step = quant8(act, n, a);
  return (Step){step.u, step.e + over};
}

int32_t embed_one(const Matrix *m, int token, int col) {
  int32_t level = m->level[matrix_code(m, token, col)];
  return rsr_sat((int64_t)level * m->row_scale[token], -(m->exponent + FRAC));
}
