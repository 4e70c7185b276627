/* Vectors for the unit testbenches of hw/tb/unit: hardware NAME prints lines of two hexadecimal numbers, input and expected output,
 * made by the chip's scalar arithmetic.  hardware rom FILE-NAME prints what a testbench's ROM holds. */
#include "chip/chip.h"

#include <assert.h>
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

static void vec_silu(Bits *in, Bits *out) {
  int32_t g = any(2 + (int)(pcg_next(&rng) % 31)), u = any(32);
  put(in, g, 32), put(in, u, 32);
  put(out, gate_one(g, u), 32);
}

static void vec_ram(Bits *in, Bits *out) {
  static uint32_t word[4];
  static unsigned n; /* the first vectors write every word */
  uint32_t a = n < 4 ? n : pcg_next(&rng) % 4, b = n < 4 ? a : pcg_next(&rng) % 4, read = n++ < 4 ? a : pcg_next(&rng) % 4;
  uint32_t first = pcg_next(&rng), second = pcg_next(&rng);
  put(in, first, 32), put(in, second, 32), put(in, a, 2), put(in, b, 2), put(in, read, 2);
  word[a] = first;
  put(out, word[read], 32);
  word[b] = second;
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
  SamplerScratch scratch = {.index = index, .p = p, .key = key};
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

/* ---- memories and marks: what they hold and in which order it goes ---- */

static void vec_residual(Bits *in, Bits *out) {
  int32_t h[12];
  for (int i = 0; i < 12; i++) put(in, h[i] = any(32), 32);
  for (int i = 0; i < 12; i++) {
    int32_t y = any(32);
    put(in, y, 32);
    put(out, h[i] = sat32((int64_t)h[i] + y), 32);
  }
  put(out, magnitude_of(h, 12), 32);
}

static void vec_activations(Bits *in, Bits *out) {
  int a[64], wide = (int)(pcg_next(&rng) % 4), narrow = (int)(pcg_next(&rng) % 16);
  for (int i = 0; i < 64; i++) put(in, a[i] = any(8), 8);
  put(in, wide, 2), put(in, narrow, 4);
  for (int i = 0; i < 16; i++) put(out, a[16 * wide + i], 8);
  for (int i = 0; i < 4; i++) put(out, a[4 * narrow + i], 8);
}

static void vec_kv(Bits *in, Bits *out) {
  static struct {
    uint32_t k[2], v[2], k_step, v_step;
  } row[4];
  static int written;
  int at = written < 4 ? written : (int)(pcg_next(&rng) % 4), rows = ++written < 4 ? written : 4;
  for (int i = 0; i < 2; i++) put(in, row[at].k[i] = pcg_next(&rng), 32);
  for (int i = 0; i < 2; i++) put(in, row[at].v[i] = pcg_next(&rng), 32);
  put(in, row[at].k_step = pcg_next(&rng) & 65535, 16), put(in, row[at].v_step = pcg_next(&rng) & 65535, 16);
  int k = (int)(pcg_next(&rng) % (uint32_t)rows), v = (int)(pcg_next(&rng) % (uint32_t)rows), s = (int)(pcg_next(&rng) % (uint32_t)rows);
  put(in, at, 2), put(in, k, 2), put(in, v, 2), put(in, s, 2);
  for (int i = 0; i < 2; i++) put(out, row[k].k[i], 32);
  for (int i = 0; i < 2; i++) put(out, row[v].v[i], 32);
  put(out, row[s].k_step, 16), put(out, row[s].v_step, 16);
}

static void vec_port(Bits *in, Bits *out) {
  static uint32_t reg[7];
  static const uint32_t hash[4] = {0x76543210, 0xfedcba98, 0x89abcdef, 0x01234567};
  uint32_t write = pcg_next(&rng) % 4 != 0, addr = pcg_next(&rng) % 16, data = pcg_next(&rng), position = pcg_next(&rng), cycles = pcg_next(&rng);
  put(in, write, 1), put(in, addr, 4), put(in, data, 32), put(in, position, 32), put(in, cycles, 32);
  if (write && addr < 7) reg[addr] = addr == 3 ? data & ((1 << 23) - 1) : addr == 4 ? data & ((1 << 17) - 1) : data;
  uint32_t read = addr == 0 || addr == 7 ? 0 : addr < 7 ? reg[addr] : addr == 8 ? position : addr == 9 ? cycles : addr == 10 ? 512 : addr == 11 ? 300 : hash[addr - 12];
  put(out, write && addr == 0 && data % 2, 1), put(out, reg[1], 32), put(out, reg[2] >> 31, 1), put(out, reg[2], 31), put(out, reg[3], 23), put(out, reg[4], 17);
  put(out, write && addr == 6, 1), put(out, reg[5], 32), put(out, reg[6], 32), put(out, read, 32);
}

/* The order in which a stage's words go: matrix by matrix, block of rows by block, column by column. */
static void vec_sweep(Bits *in, Bits *out) {
  static const int words[] = {6, 4, 4, 2, 4, 4, 8, 2}, rows[] = {3, 2, 2, 1, 4, 4, 3, 7}, first[] = {0, 3, 4, 6, 7, 8};
  int stage = (int)(pcg_next(&rng) % 5);
  Bits drains = {.n = 0};
  put(in, stage, 3), put(in, pcg_next(&rng) % 64, 6);
  for (int m = first[stage]; m < first[stage + 1]; m++)
    for (int row = 0; row < rows[m]; row += 2) {
      int block = rows[m] - row < 2 ? rows[m] - row : 2;
      bool block_last = row + block == rows[m];
      for (int w = 0; w < words[m]; w++) {
        put(out, w == words[m] - 1 && block_last, 1), put(out, w % 2 == 1, 1), put(out, w % 2 == 0, 1), put(out, w < 2, 1), put(out, w, 4);
      }
      for (int i = 0; i < block; i++) {
        bool last = i == block - 1 && block_last;
        put(&drains, last && m == first[stage + 1] - 1, 1), put(&drains, last, 1), put(&drains, m, 3), put(&drains, row + i, 4), put(&drains, i, 1);
      }
    }
  while (out->n < 24 * 8) put(out, 0, 1);
  for (int i = 0; i < 8 * 10; i++) put(out, i < drains.n ? drains.bit[i] : 0, 1);
}

/* ---- weights ---- */

enum { EMBED_ROWS = 64, EMBED_COLS = 8, BANK_ROWS = 8, BANK_COLS = 128 };

/* Matrices that stand in ROMs: 0 and 1 of the bank, 2 the embedding. */
static const Matrix *rom_matrix(int which) {
  static uint8_t weights[3][8192];
  static uint16_t rows[EMBED_ROWS];
  static Matrix all[3];
  static const int8_t level[8] = {-31, -17, -9, -2, 3, 8, 19, 31};
  Matrix *m = &all[which];
  if (m->rows) return m;
  Pcg own = pcg_seed(77, (uint64_t)which);
  bool embed = which == 2;
  *m = (Matrix){.rows = embed ? EMBED_ROWS : BANK_ROWS, .cols = embed ? EMBED_COLS : BANK_COLS, .groups = embed ? 1 : 2, .bits = which == 1 ? 4 : 3, .exponent = -13,
                .levels = which == 1 ? 16 : 8, .grouped = !embed, .row_scale = rows, .weights = weights[which]};
  assert(matrix_weight_bytes(m) <= sizeof weights[which]);
  for (int i = 0; i < m->levels; i++) m->level[i] = embed ? level[i] : (int8_t)(i * 15 - (which == 1 ? 127 : 50));
  for (size_t i = 0; i < sizeof weights[which]; i++) weights[which][i] = (uint8_t)pcg_next(&own);
  for (int r = 0; embed && r < EMBED_ROWS; r++) rows[r] = (uint16_t)pcg_next(&own);
  for (int r = 0; !embed && r < BANK_ROWS; r++)
    for (int g = 0; g < 2; g++) matrix_put_group_scale(m, weights[which], r, g, 1 + (int)(pcg_next(&own) % MAX_GROUP_SCALE));
  return m;
}

static void vec_embed(Bits *in, Bits *out) {
  int token = (int)(pcg_next(&rng) % EMBED_ROWS);
  put(in, token, 6);
  for (int c = 0; c < EMBED_COLS; c++) put(out, embed_one(rom_matrix(2), token, c), 32);
}

static void vec_bank(Bits *in, Bits *out) {
  int8_t a[BANK_COLS];
  for (int c = 0; c < BANK_COLS; c++) put(in, a[c] = (int8_t)any(8), 8);
  for (int k = 0; k < 2; k++)
    for (int r = 0; r < BANK_ROWS; r++) {
      const Matrix *m = rom_matrix(k);
      int32_t acc = 0;
      for (int g = 0; g < 2; g++) {
        int32_t sum = 0;
        for (int c = 64 * g; c < 64 * g + 64; c++) sum += m->level[matrix_code(m, r, c)] * a[c];
        acc += matrix_group_scale(m, r, g) * sum;
      }
      put(out, acc, 32);
    }
}

static void vec_attention(Bits *in, Bits *out) {
  static int8_t k[8][16], v[8][16];
  static uint16_t k_step[8], v_step[8];
  static int count;
  int position = count++ % 8;
  int8_t q[2][16];
  Step step[4];
  for (int w = 0; w < 4; w++) {
    int8_t *x = w < 2 ? q[w] : w == 2 ? k[position] : v[position];
    for (int i = 0; i < 16; i++) put(in, x[i] = (int8_t)any(8), 8);
    step[w] = any_step();
    put(in, step[w].u, 9), put(in, step[w].e, 7);
  }
  put(in, position, 3);
  k_step[position] = step_pack(step[2]), v_step[position] = step_pack(step[3]);
  int32_t o[32];
  for (int h = 0; h < 2; h++) attention_head(q[h], step[h], (KvView){k[0], v[0], k_step, v_step, 16}, position + 1, 16, o + 16 * h);
  for (int i = 0; i < 32; i++) put(out, o[i], 32);
  put(out, magnitude_of(o, 32), 32);
}

/* ---- ROMs ---- */

static void rom_word(Bits *b) {
  print(b);
  putchar('\n');
  b->n = 0;
}

/* Codes, levels and scales as the bank and the embedding read them. */
static void weight_rom(const char *name) {
  Bits b = {.n = 0};
  const Matrix *m = rom_matrix(strcmp(name, "bank_codes4.hex") == 0 ? 1 : 0), *e = rom_matrix(2);
  if (strncmp(name, "bank_codes", 10) == 0)
    for (int w = 0; w < BANK_COLS / 8; w++, rom_word(&b))
      for (int r = 0; r < BANK_ROWS; r++)
        for (int t = 0; t < 8; t++) put(&b, matrix_code(m, r, w * 8 + t), m->bits);
  for (int k = 0; k < 2; k++) {
    m = rom_matrix(k);
    if (strcmp(name, "bank_levels.hex") == 0) {
      for (int i = 0; i < 16; i++) put(&b, m->level[i], 8);
      rom_word(&b);
    }
    for (int g = 0; strcmp(name, "bank_scales.hex") == 0 && g < 2; g++, rom_word(&b))
      for (int r = 0; r < BANK_ROWS; r++) put(&b, matrix_group_scale(m, r, g), 6);
  }
  for (int r = 0; r < EMBED_ROWS; r++) {
    for (int c = 0; strcmp(name, "embed_codes.hex") == 0 && c < EMBED_COLS; c++) {
      put(&b, matrix_code(e, r, c), 3);
      if (c % 4 == 3) rom_word(&b);
    }
    if (strcmp(name, "embed_rows.hex") == 0) put(&b, e->row_scale[r], 16), rom_word(&b);
  }
}

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
               {"butterfly", vec_butterfly, 300}, {"silu", vec_silu, 4000},        {"gate", vec_gate, 300},        {"rotary", vec_rotary, 1000},       {"finish", vec_finish, ROWS},
               {"sampler", vec_sampler, 500},    {"heads", vec_heads, 1000},
               {"residual", vec_residual, 1000}, {"activations", vec_activations, 500}, {"kv", vec_kv, 1000}, {"ram", vec_ram, 1000}, {"port", vec_port, 3000}, {"sweep", vec_sweep, 500},
               {"embed", vec_embed, 300},       {"bank", vec_bank, 300},         {"attention", vec_attention, 2000}};
  rng = pcg_seed(20, 26);
  if (argc == 3 && strcmp(argv[1], "rom") == 0) {
    rom(argv[2]);
    weight_rom(argv[2]);
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
