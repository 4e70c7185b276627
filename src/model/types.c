/* model/types: the block types of GGUF and how a row of blocks becomes f32.
 *
 * Layouts: ggml's published block formats (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and the ggml
 * headers); all little-endian.  The decoders below are written from those layouts.
 */
#include "model/model.h"

#include <string.h>

const TensorTypeInfo tensor_type[T_COUNT] = {
    [T_F32] = {"F32", 0, 1, 4},        [T_F16] = {"F16", 1, 1, 2},        [T_BF16] = {"BF16", 30, 1, 2},
    [T_Q8_0] = {"Q8_0", 8, 32, 34},    [T_Q4_0] = {"Q4_0", 2, 32, 18},    [T_Q4_1] = {"Q4_1", 3, 32, 20},
    [T_Q5_0] = {"Q5_0", 6, 32, 22},    [T_Q5_1] = {"Q5_1", 7, 32, 24},    [T_Q2_K] = {"Q2_K", 10, 256, 84},
    [T_Q3_K] = {"Q3_K", 11, 256, 110}, [T_Q4_K] = {"Q4_K", 12, 256, 144}, [T_Q5_K] = {"Q5_K", 13, 256, 176},
    [T_Q6_K] = {"Q6_K", 14, 256, 210}, [T_TQ1_0] = {"TQ1_0", 34, 256, 54}, [T_TQ2_0] = {"TQ2_0", 35, 256, 66},
};

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | (uint32_t)u16_at(p + 2) << 16; }

static float f32_of_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}

static float f16_at(const uint8_t *p) {
  uint32_t h = u16_at(p), sign = (h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
  if (e == 31) return f32_of_bits(sign | 0x7f800000 | m << 13);
  if (e) return f32_of_bits(sign | (e + 112) << 23 | m << 13);
  float tiny = (float)m * 0x1p-24f;
  return sign ? -tiny : tiny;
}

static void block_q4_0(const uint8_t *b, float *y) {
  float d = f16_at(b);
  for (int i = 0; i < 16; i++) {
    y[i] = d * (float)((b[2 + i] & 15) - 8);
    y[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
  }
}

static void block_q4_1(const uint8_t *b, float *y) {
  float d = f16_at(b), m = f16_at(b + 2);
  for (int i = 0; i < 16; i++) {
    y[i] = d * (float)(b[4 + i] & 15) + m;
    y[i + 16] = d * (float)(b[4 + i] >> 4) + m;
  }
}

static void block_q5_0(const uint8_t *b, float *y) {
  float d = f16_at(b);
  uint32_t high = u32_at(b + 2);
  for (int i = 0; i < 16; i++) {
    y[i] = d * (float)((int)((b[6 + i] & 15) | (high >> i & 1) << 4) - 16);
    y[i + 16] = d * (float)((int)((uint32_t)(b[6 + i] >> 4) | (high >> (i + 16) & 1) << 4) - 16);
  }
}

static void block_q5_1(const uint8_t *b, float *y) {
  float d = f16_at(b), m = f16_at(b + 2);
  uint32_t high = u32_at(b + 4);
  for (int i = 0; i < 16; i++) {
    y[i] = d * (float)((b[8 + i] & 15) | (high >> i & 1) << 4) + m;
    y[i + 16] = d * (float)((uint32_t)(b[8 + i] >> 4) | (high >> (i + 16) & 1) << 4) + m;
  }
}

static void block_q8_0(const uint8_t *b, float *y) {
  float d = f16_at(b);
  for (int i = 0; i < 32; i++) y[i] = d * (float)(int8_t)b[2 + i];
}

/* scales[16] (4-bit scale, 4-bit minimum), codes[64] of 2 bits, d, dmin */
static void block_q2_k(const uint8_t *b, float *y) {
  float d = f16_at(b + 80), dmin = f16_at(b + 82);
  for (int i = 0; i < 256; i++) {
    int half = i / 128, shift = i % 128 / 32 * 2, code = b[16 + half * 32 + i % 32] >> shift & 3, s = b[i / 16];
    y[i] = d * (float)(s & 15) * (float)code - dmin * (float)(s >> 4);
  }
}

/* high bits [32], low codes[64] of 2 bits, scales[12] of 6 bits, d */
static void block_q3_k(const uint8_t *b, float *y) {
  const uint8_t *high = b, *low = b + 32, *packed = b + 96;
  float d = f16_at(b + 108);
  int scale[16];
  for (int j = 0; j < 16; j++) {
    int nibble = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
    scale[j] = (nibble | (packed[8 + j % 4] >> (j / 4 * 2) & 3) << 4) - 32;
  }
  for (int i = 0; i < 256; i++) {
    int half = i / 128, quarter = i % 128 / 32, code = low[half * 32 + i % 32] >> (quarter * 2) & 3;
    int present = high[i % 32] >> (half * 4 + quarter) & 1;
    y[i] = d * (float)scale[i / 16] * (float)(code - (present ? 0 : 4));
  }
}

/* 6-bit scale and minimum number j of the 12 packed bytes of Q4_K and Q5_K */
static void scale_min_k(const uint8_t *q, int j, int *scale, int *min) {
  if (j < 4) {
    *scale = q[j] & 63;
    *min = q[j + 4] & 63;
  } else {
    *scale = (q[j + 4] & 15) | (q[j - 4] >> 6) << 4;
    *min = q[j + 4] >> 4 | (q[j] >> 6) << 4;
  }
}

static void block_q4_k(const uint8_t *b, float *y) {
  float d = f16_at(b), dmin = f16_at(b + 2);
  for (int j = 0; j < 8; j++) {
    int scale, min;
    scale_min_k(b + 4, j, &scale, &min);
    float s = d * (float)scale, m = dmin * (float)min;
    for (int i = 0; i < 32; i++) y[j * 32 + i] = s * (float)(b[16 + j / 2 * 32 + i] >> (j % 2 * 4) & 15) - m;
  }
}

static void block_q5_k(const uint8_t *b, float *y) {
  float d = f16_at(b), dmin = f16_at(b + 2);
  for (int j = 0; j < 8; j++) {
    int scale, min;
    scale_min_k(b + 4, j, &scale, &min);
    float s = d * (float)scale, m = dmin * (float)min;
    for (int i = 0; i < 32; i++) {
      int code = (b[48 + j / 2 * 32 + i] >> (j % 2 * 4) & 15) | (b[16 + i] >> j & 1) << 4;
      y[j * 32 + i] = s * (float)code - m;
    }
  }
}

/* low[128] of 4 bits, high[64] of 2 bits, scales[16] s8, d */
static void block_q6_k(const uint8_t *b, float *y) {
  float d = f16_at(b + 208);
  for (int i = 0; i < 256; i++) {
    int half = i / 128, quarter = i % 128 / 32, l = i % 32;
    int low = b[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
    int code = (low | (b[128 + half * 32 + l] >> (quarter * 2) & 3) << 4) - 32;
    y[i] = d * (float)(int8_t)b[192 + i / 16] * (float)code;
  }
}

/* Digit n of five in base 3 that a byte holds as the fraction byte / 256, rounded up, of 243. */
static int trit(uint8_t byte, int n) {
  static const uint8_t power[5] = {1, 3, 9, 27, 81};
  return (uint8_t)(byte * power[n]) * 3 >> 8;
}

/* 32 bytes of five digits, 16 bytes of five, 4 bytes of four, d; digits 0 1 2 are -1 0 1 */
static void block_tq1_0(const uint8_t *b, float *y) {
  float d = f16_at(b + 52);
  for (int i = 0; i < 160; i++) y[i] = d * (float)(trit(b[i % 32], i / 32) - 1);
  for (int i = 0; i < 80; i++) y[160 + i] = d * (float)(trit(b[32 + i % 16], i / 16) - 1);
  for (int i = 0; i < 16; i++) y[240 + i] = d * (float)(trit(b[48 + i % 4], i / 4) - 1);
}

/* codes[64] of 2 bits, d; codes 0 1 2 are -1 0 1 */
static void block_tq2_0(const uint8_t *b, float *y) {
  float d = f16_at(b + 64);
  for (int i = 0; i < 256; i++) y[i] = d * (float)((b[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1);
}

static void row_to_f32(TensorType type, const uint8_t *p, int64_t n, float *y) {
  static void (*const block[T_COUNT])(const uint8_t *, float *) = {
      [T_Q8_0] = block_q8_0, [T_Q4_0] = block_q4_0, [T_Q4_1] = block_q4_1, [T_Q5_0] = block_q5_0,
      [T_Q5_1] = block_q5_1, [T_Q2_K] = block_q2_k, [T_Q3_K] = block_q3_k, [T_Q4_K] = block_q4_k,
      [T_Q5_K] = block_q5_k, [T_Q6_K] = block_q6_k, [T_TQ1_0] = block_tq1_0, [T_TQ2_0] = block_tq2_0,
  };
  if (type == T_F32)
    memcpy(y, p, (size_t)n * 4);
  else if (type == T_F16)
    for (int64_t i = 0; i < n; i++) y[i] = f16_at(p + 2 * i);
  else if (type == T_BF16)
    for (int64_t i = 0; i < n; i++) y[i] = f32_of_bits((uint32_t)u16_at(p + 2 * i) << 16);
  else
    for (int64_t i = 0; i < n; i += tensor_type[type].block, p += tensor_type[type].size) block[type](p, y + i);
}

void tensor_rows(const Tensor *t, int64_t first, int64_t count, float *out) {
  int64_t row_bytes = t->cols / tensor_type[t->type].block * tensor_type[t->type].size;
  for (int64_t r = 0; r < count; r++)
    row_to_f32(t->type, t->data + (first + r) * row_bytes, t->cols, out + r * t->cols);
}
