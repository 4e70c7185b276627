/* Vectors for the unit testbenches of hw/tb/unit: hardware NAME prints lines of two hexadecimal numbers, input and expected output,
 * made by the chip's scalar arithmetic.  hardware rom FILE-NAME prints what a testbench's ROM holds. */
#include "chip/chip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Pcg rng;

/* ---- numbers of many bits ---- */

typedef struct {
  uint8_t bit[1 << 15];
  int n;
} Bits;

static void put(Bits *b, int64_t value, int bits) {
  for (int i = 0; i < bits; i++) b->bit[b->n++] = (uint8_t)(value >> i & 1);
}

static void print(const Bits *b) {
  for (int d = (b->n + 3) / 4 - 1; d >= 0; d--) {
    int x = 0;
    for (int i = 3; i >= 0; i--) x = 2 * x + (4 * d + i < b->n ? b->bit[4 * d + i] : 0);
    putchar("0123456789abcdef"[x]);
  }
}

static void line(const Bits *in, const Bits *out) {
  print(in);
  putchar(' ');
  print(out);
  putchar('\n');
}

/* Of any magnitude below 2^bits; sometimes the ends. */
static int32_t any(int bits) {
  uint32_t x = pcg_next(&rng), kind = pcg_next(&rng) % 16;
  int32_t most = (int32_t)((1u << (bits - 1)) - 1);
  if (kind == 0) return most;
  if (kind == 1) return -most;
  if (kind == 2) return 0;
  return (int32_t)x >> (32 - bits) >> pcg_next(&rng) % (uint32_t)bits;
}

static Step any_step(void) { return (Step){130 + (int)(pcg_next(&rng) % 129), -14 + (int)(pcg_next(&rng) % 31)}; }

static uint32_t magnitude_of(const int32_t *v, int n) {
  uint32_t m = 0;
  for (int i = 0; i < n; i++)
    if ((uint32_t)abs(v[i]) > m) m = (uint32_t)abs(v[i]);
  return m;
}

/* ---- one function a testbench ---- */

static void vec_step(Bits *in, Bits *out) {
  uint32_t m = (uint32_t)abs(any(32));
  Step s = step_of(m);
  put(in, m, 32);
  put(out, step_reciprocal(s), 15);
  put(out, s.e, 7);
  put(out, s.u, 9);
}

static void vec_max(Bits *in, Bits *out) {
  int32_t v[8];
  int bits = 2 + (int)(pcg_next(&rng) % 31);
  for (int i = 0; i < 8; i++) put(in, v[i] = any(bits), 32);
  put(out, magnitude_of(v, 8), 32);
}

static void vec_divide(Bits *in, Bits *out) {
  uint64_t d = pcg_next(&rng) | 1u << 31, n = pcg_next(&rng);
  if (pcg_next(&rng) % 8 == 0) d = pcg_next(&rng) % 2 ? 1u << 31 : UINT32_MAX;
  put(in, (int64_t)n, 32);
  put(in, (int64_t)d, 32);
  put(out, (int64_t)((n << 16) / d), 17);
}

static void vec_root(Bits *in, Bits *out) {
  uint64_t sum = ((uint64_t)pcg_next(&rng) << 32 | pcg_next(&rng)) >> (18 + pcg_next(&rng) % 46);
  Step step = any_step();
  int shift = step.e > 0 ? step.e : 0;
  uint64_t radicand = sum + ((uint64_t)96637 >> 2 * shift);
  Scale x = scale_of(((uint64_t)6144 * (uint64_t)step.u << 32) / isqrt((radicand ? radicand : 1) << 16), step.e - shift - 32);
  put(in, (int64_t)sum, 48);
  put(in, step.u, 9);
  put(in, step.e, 7);
  put(out, x.E, 10);
  put(out, x.M, 16);
}

static void vec_quantise(Bits *in, Bits *out) {
  int32_t v[24];
  int8_t a[24];
  int bits = 2 + (int)(pcg_next(&rng) % 31);
  for (int i = 0; i < 24; i++) v[i] = any(bits);
  put(in, magnitude_of(v, 24), 32);
  for (int i = 0; i < 24; i++) put(in, v[i], 32);
  Step s = quant8(v, 24, a);
  int64_t sum = 0;
  for (int i = 0; i < 24; i++) {
    int64_t x = rsr(v[i], s.e > 0 ? s.e : 0);
    sum += x * x;
    put(out, a[i], 8);
  }
  put(out, 0, 64);
  put(out, s.e, 7);
  put(out, s.u, 9);
  put(out, sum, 48);
}

static void vec_lane(Bits *in, Bits *out) {
  int32_t acc = 0;
  int8_t level[8];
  for (int i = 0; i < 8; i++) put(in, level[i] = (int8_t)(any(8) % 32), 8);
  for (int w = 0; w < 2; w++) {
    int32_t sum = 0;
    int8_t a[64];
    for (int i = 0; i < 64; i++) put(in, a[i] = (int8_t)any(8), 8);
    for (int i = 0; i < 64; i++) {
      uint32_t code = pcg_next(&rng) % 8;
      put(in, code, 3);
      sum += level[code] * a[i];
    }
    int scale = 1 + (int)(pcg_next(&rng) % MAX_GROUP_SCALE);
    put(in, scale, 6);
    acc += scale * sum;
  }
  put(out, acc, 32);
}

static void vec_score(Bits *in, Bits *out) {
  int8_t q[16], k[16];
  int32_t dot = 0;
  for (int i = 0; i < 16; i++) put(in, q[i] = (int8_t)any(8), 8);
  for (int i = 0; i < 16; i++) put(in, k[i] = (int8_t)any(8), 8);
  for (int i = 0; i < 16; i++) dot += q[i] * k[i];
  Step a = any_step(), b = any_step();
  put(in, a.u, 9), put(in, a.e, 7), put(in, b.u, 9), put(in, b.e, 7);
  put(out, score_of(dot, a, b), 32);
}

static void vec_softmax(Bits *in, Bits *out) {
  int32_t max = any(32), below = (int32_t)(pcg_next(&rng) >> (11 + pcg_next(&rng) % 20));
  if (pcg_next(&rng) % 16 == 0) below = (int32_t)(pcg_next(&rng) >> 1);
  int64_t z = (int64_t)max - below;
  if (z < -INT32_MAX) z = -INT32_MAX;
  Step v = any_step();
  int most = v.e + (int)(pcg_next(&rng) % 12);
  int32_t p = softmax_weight((uint32_t)(max - z));
  put(in, z, 32), put(in, max, 32), put(in, v.u, 9), put(in, v.e, 7), put(in, most, 7);
  put(out, rsr(p * v.u, 9 + most - v.e), 15);
  put(out, p, 15);
}

/* The transform alone: without the scaling and quantising around it, values stay below 2^24. */
static void hadamard(int32_t *v) {
  int8_t a[64];
  butterfly_quant8(v, 64, a);
}

static void vec_butterfly(Bits *in, Bits *out) {
  int32_t v[64];
  for (int i = 0; i < 64; i++) put(in, v[i] = any(25), 32);
  hadamard(v);
  for (int i = 0; i < 64; i++) put(out, v[i], 32);
}

static void vec_gate(Bits *in, Bits *out) {
  int32_t g[64], u[64], act[64];
  int bits = 4 + (int)(pcg_next(&rng) % 29);
  for (int i = 0; i < 64; i++) put(in, g[i] = any(bits), 32);
  for (int i = 0; i < 64; i++) put(in, u[i] = any(bits), 32);
  for (int i = 0; i < 64; i++) act[i] = gate_one(g[i], u[i]);
  int over = bit_length(magnitude_of(act, 64)) - 24;
  hadamard(act);
  for (int i = 0; i < 64; i++) put(out, act[i], 32);
  put(out, over > 0 ? over : 0, 7);
}

static int16_t angle_table(bool high, int position, int i, int sine) {
  double angle = (high ? 64 : 1) * position * pow(0.01, i / 3.0), x = floor(32768 * (sine ? sin(angle) : cos(angle)) + 0.5);
  return (int16_t)(x > 32767 ? 32767 : x);
}

static void vec_rotary(Bits *in, Bits *out) {
  static int16_t high[2][3][2], low[64][3][2];
  for (int p = 0; p < 64; p++)
    for (int i = 0; i < 6; i++) {
      if (p < 2) high[p][i / 2][i % 2] = angle_table(true, p, i / 2, i % 2);
      low[p][i / 2][i % 2] = angle_table(false, p, i / 2, i % 2);
    }
  Chip c = {.shape = {.rotary_dims = 6, .head_dim = 8, .pairs = CHIP_PAIRS_ADJACENT}, .rotary_high = &high[0][0][0], .rotary_low = &low[0][0][0]};
  int32_t v[8];
  for (int i = 0; i < 8; i++) put(in, v[i] = any(32), 32);
  int position = (int)(pcg_next(&rng) % 128);
  put(in, position, 7);
  rotary_apply(&c, position, v);
  for (int i = 0; i < 8; i++) put(out, v[i], 32);
}

enum { ROWS = 256 }; /* words of four row scales in finish's ROM */
static uint32_t row_scale(int i) { return (uint32_t)(i * 40503 + 977) & 65535; }

static void vec_finish(Bits *in, Bits *out) {
  static int word;
  Scale x = {pcg_next(&rng) % 2 ? 32768 + pcg_next(&rng) % 32768 : (130 + pcg_next(&rng) % 129) << 8, -40 + (int)(pcg_next(&rng) % 60)};
  for (int i = 0; i < 4; i++) {
    int32_t acc = any(32);
    put(in, acc, 32);
    put(out, matrix_finish(acc, row_scale(word * 4 + i), -13, x, FRAC), 32);
  }
  put(in, x.M, 17), put(in, x.E, 10);
  word++;
}

static void vec_sampler(Bits *in, Bits *out) {
  int32_t z[64];
  int index[64];
  uint32_t p[64];
  uint64_t key[64];
  SamplerSettings s = {.inv_temperature = pcg_next(&rng) % 4 ? 1 + pcg_next(&rng) % 20000 : 0, .top_p = 65536, .min_p = pcg_next(&rng) % 3 ? 0 : pcg_next(&rng) % 65537,
                       .repeat_q16 = 65536};
  if (pcg_next(&rng) % 8 == 0) s.inv_temperature = 1u << 22;
  int bits = 8 + (int)(pcg_next(&rng) % 24);
  uint64_t seed = (uint64_t)pcg_next(&rng) << 32 | pcg_next(&rng);
  for (int i = 0; i < 64; i++) put(in, z[i] = any(bits), 32);
  put(in, (int64_t)seed, 64);
  put(in, s.inv_temperature, 23);
  put(in, s.min_p, 17);
  Pcg random = pcg_seed(seed, 0);
  SamplerScratch scratch = {index, p, key};
  put(out, sampler_draw(&s, z, 60, &random, &scratch), 6);
}

static void vec_heads(Bits *in, Bits *out) {
  for (int h = 0; h < 4; h++) {
    int32_t v[8];
    int8_t a[8];
    int bits = 2 + (int)(pcg_next(&rng) % 31);
    for (int i = 0; i < 8; i++) put(in, v[i] = any(bits), 32);
    Step s = quant8(v, 8, a);
    for (int w = 0; w < 2; w++) {
      for (int i = 0; i < 4; i++) put(out, a[4 * w + i], 8);
      put(out, s.u, 9), put(out, s.e, 7);
    }
  }
}

/* ---- ROMs ---- */

static void rom(const char *name) {
  if (strcmp(name, "rows.hex") == 0)
    for (int w = 0; w < ROWS; w++) {
      Bits b = {.n = 0};
      for (int i = 0; i < 4; i++) put(&b, row_scale(w * 4 + i), 16);
      print(&b);
      putchar('\n');
    }
  bool high = strcmp(name, "high.hex") == 0;
  if (high || strcmp(name, "low.hex") == 0)
    for (int p = 0; p < (high ? 2 : 64); p++) {
      Bits b = {.n = 0};
      for (int i = 0; i < 6; i++) put(&b, angle_table(high, p, i / 2, i % 2), 16);
      put(&b, 0, 32);
      print(&b);
      putchar('\n');
    }
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*make)(Bits *in, Bits *out);
    int vectors;
  } bench[] = {{"step", vec_step, 3000},       {"max", vec_max, 1000},         {"divide", vec_divide, 1000},       {"root", vec_root, 2000},
               {"quantise", vec_quantise, 1000}, {"lane", vec_lane, 1000},       {"lane_structural", vec_lane, 1000}, {"score", vec_score, 2000},         {"softmax", vec_softmax, 4000},
               {"butterfly", vec_butterfly, 300}, {"gate", vec_gate, 300},        {"rotary", vec_rotary, 1000},       {"finish", vec_finish, ROWS},
               {"sampler", vec_sampler, 500},    {"heads", vec_heads, 1000}};
  rng = pcg_seed(20, 26);
  if (argc == 3 && strcmp(argv[1], "rom") == 0) {
    rom(argv[2]);
    return 0;
  }
  for (size_t i = 0; argc == 2 && i < sizeof bench / sizeof *bench; i++) {
    if (strcmp(argv[1], "list") == 0) puts(bench[i].name);
    if (strcmp(argv[1], bench[i].name) != 0) continue;
    for (int k = 0; k < bench[i].vectors; k++) {
      Bits in = {.n = 0}, out = {.n = 0};
      bench[i].make(&in, &out);
      line(&in, &out);
    }
    return 0;
  }
  return argc == 2 && strcmp(argv[1], "list") == 0 ? 0 : 2;
}
