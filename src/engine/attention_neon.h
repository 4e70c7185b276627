/* engine/attention_neon: the inner loops of attention with NEON and the dot product of bytes.  Included by attention.h; the integers are
 * those of attention_head in chip/arith.c.
 */
#include <arm_neon.h>

/* The same four bytes in every lane. */
static inline int8x16_t four(const int8_t *a) {
  int32_t word;
  memcpy(&word, a, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

/* 2^e, from e's bits. */
static inline float64x2_t power_of_two(int64x2_t e) { return vreinterpretq_f64_s64(vshlq_n_s64(vaddq_s64(e, vdupq_n_s64(1023)), 52)); }

/* Steps of the keys of a block in units of 2^-16. */
typedef struct {
  float64x2_t step[KV_BLOCK / 2];
} BlockSteps;

static inline BlockSteps block_steps(const uint16_t *k_step) {
  BlockSteps s;
  for (int i = 0; i < KV_BLOCK / 4; i++) {
    uint32x4_t step = vmovl_u16(vld1_u16(k_step + 4 * i)), u = vandq_u32(step, vdupq_n_u32(511)), e = vshrq_n_u32(step, 9); /* step_unpack */
    s.step[2 * i] = vmulq_f64(vcvtq_f64_u64(vmovl_u32(vget_low_u32(u))), power_of_two(vreinterpretq_s64_u64(vmovl_u32(vget_low_u32(e)))));
    s.step[2 * i + 1] = vmulq_f64(vcvtq_f64_u64(vmovl_high_u32(u)), power_of_two(vreinterpretq_s64_u64(vmovl_high_u32(e))));
  }
  return s;
}

/* score_of 2 dot products in doubles, which are exact here: a product has at most 24 + 18 bits, and where it has a fraction, so has the
 * sum with 1/2; larger ones end at the clamp. */
static inline int32x2_t two_scores(int32x2_t dot, float64x2_t factor) {
  float64x2_t v = vaddq_f64(vmulq_f64(vcvtq_f64_s64(vmovl_s32(dot)), factor), vdupq_n_f64(0.5));
  return vmovn_s64(vcvtmq_s64_f64(vmaxq_f64(vminq_f64(v, vdupq_n_f64(INT32_MAX)), vdupq_n_f64(-INT32_MAX))));
}

/* z[16] <- scores of a block of keys; most rises to the largest of the first n. */
static inline void score_block(const int8_t *k, const int8_t *q, size_t quads, Step q_step, const BlockSteps *k_step, int n, int32_t *z, int32_t *most) {
  int32x4_t dot[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
  for (size_t i = 0; i < quads; i++, k += 64) {
    int8x16_t x = four(q + 4 * i);
    for (int b = 0; b < 4; b++) dot[b] = vdotq_s32(dot[b], vld1q_s8(k + 16 * b), x);
  }
  const float64x2_t unit = vmulq_f64(vdupq_n_f64(q_step.u), power_of_two(vdupq_n_s64(q_step.e - 16 - (2 * FRAC - FRAC_LOGIT))));
  const int32x4_t first = {0, 1, 2, 3}, least = vdupq_n_s32(-INT32_MAX);
  int32x4_t largest = least;
  for (int b = 0; b < 4; b++) {
    int32x2_t low = two_scores(vget_low_s32(dot[b]), vmulq_f64(k_step->step[2 * b], unit)), high = two_scores(vget_high_s32(dot[b]), vmulq_f64(k_step->step[2 * b + 1], unit));
    int32x4_t s = vcombine_s32(low, high);
    vst1q_s32(z + 4 * b, s);
    largest = vmaxq_s32(largest, vbslq_s32(vcltq_s32(first, vdupq_n_s32(n - 4 * b)), s, least));
  }
  int32_t all = vmaxvq_s32(largest);
  *most = all > *most ? all : *most;
}

/* Of `count` heads (a constant) and 4 dimensions: weights as low and high bytes times values + 128, less 128 times the weights' sum. */
static inline __attribute__((always_inline)) void add_quad(const int8_t *v, const int count, size_t quads, int n, uint8_t w[HEADS][2][KV_PAGE], const int64_t *surplus, size_t apart, int64_t *acc) {
  uint32x4_t low[HEADS], high[HEADS];
  for (int h = 0; h < count; h++) low[h] = high[h] = vdupq_n_u32(0);
  for (int j = 0; j < n; j += 4, v += 16 * quads) { /* 4 dimensions of 4 values */
    uint8x16_t x = veorq_u8(vreinterpretq_u8_s8(vld1q_s8(v)), vdupq_n_u8(0x80));
#pragma GCC unroll 4
    for (int h = 0; h < count; h++) {
      low[h] = vdotq_u32(low[h], x, vreinterpretq_u8_s8(four((const int8_t *)w[h][0] + j)));
      high[h] = vdotq_u32(high[h], x, vreinterpretq_u8_s8(four((const int8_t *)w[h][1] + j)));
    }
  }
  for (int h = 0; h < count; h++)
    for (int half = 0; half < 2; half++) {
      uint32x2_t l = half ? vget_high_u32(low[h]) : vget_low_u32(low[h]), m = half ? vget_high_u32(high[h]) : vget_low_u32(high[h]);
      int64x2_t sum = vreinterpretq_s64_u64(vaddq_u64(vmovl_u32(l), vshll_n_u32(m, 8)));
      int64_t *at = acc + (size_t)h * apart + 2 * half;
      vst1q_s64(at, vaddq_s64(vld1q_s64(at), vsubq_s64(sum, vdupq_n_s64(surplus[h]))));
    }
}

static inline __attribute__((always_inline)) void add_heads(const int8_t *v, const int count, size_t quads, int n, int16_t w[HEADS][KV_PAGE], int64_t *acc) {
  uint8_t byte[HEADS][2][KV_PAGE];
  int64_t surplus[HEADS];
  for (int h = 0; h < count; h++) {
    surplus[h] = 0;
    for (int j = 0; j < n; j++) surplus[h] += 128 * w[h][j];
    for (int j = 0; j < KV_PAGE; j += 16) {
      uint8x16x2_t both = vld2q_u8((const uint8_t *)(w[h] + j));
      vst1q_u8(byte[h][0] + j, both.val[0]);
      vst1q_u8(byte[h][1] + j, both.val[1]);
    }
  }
  for (size_t d = 0; d < quads; d++) add_quad(v + 16 * d, count, quads, n, byte, surplus, 4 * quads, acc + 4 * d);
}
