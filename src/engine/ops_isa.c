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

/* ---- attention, page by page: an instruction set brings score_page, and values_page or value_pages ---- */

enum { HEADS = 4 /* that meet a page together, at most */, AHEAD = 2 /* pages to fetch */ };

/* The hardware does not know where the next page lies.  Asked for piece by piece: many lines at once wait for each other. */
static inline void fetch(const int8_t *p, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
}

#ifdef __AVX512VNNI__
#include "engine/attention_avx512.h"
#else
#ifdef __AVX2__
#include "engine/attention_avx2.h"
#else
/* dot[16] <- q . k of a block. */
static inline void dot_block(const int8_t *restrict k, const int8_t *restrict q, size_t quads, int32_t dot[restrict KV_BLOCK]) {
  memset(dot, 0, KV_BLOCK * sizeof *dot);
  for (size_t i = 0; i < quads; i++)
    for (size_t j = 0; j < KV_BLOCK; j++)
      for (size_t d = 0; d < 4; d++) dot[j] += (int32_t)((int16_t)k[64 * i + 4 * j + d] * (int16_t)q[4 * i + d]);
}

/* acc[4 quads] += weights of at most a page times its values. */
static inline void add_values(const int8_t *restrict v, size_t quads, int n, const int16_t *restrict w, int64_t *restrict acc) {
  for (size_t d = 0; d < 4 * quads; d++) {
    int32_t sum = 0;
    for (size_t j = 0; j < (size_t)n; j++) sum += w[j] * v[j / 4 * 16 * quads + 4 * d + j % 4];
    acc[d] += sum;
  }
}
#endif

/* z (heads, stride) <- scores of the first n positions of a page; top[heads] rises to the largest.  q (heads, apart) has zeros behind
 * the last dimension.  next: keys that come next, or NULL. */
static void score_page(KvCell c, int heads, const int8_t *q, size_t apart, const Step *q_step, size_t quads, int n, const int8_t *next, int32_t *z, size_t stride, int32_t *top) {
  int32_t dot[KV_BLOCK];
  if (next) fetch(next, KV_PAGE * 4 * quads);
  for (int h = 0; h < heads; h++, q += apart, z += stride)
    for (int at = 0; at < n; at += KV_BLOCK) {
      dot_block(c.k + (size_t)at * quads * 4, q, quads, dot);
      for (int i = 0; i < KV_BLOCK && at + i < n; i++) {
        z[at + i] = score_of(dot[i], q_step[h], step_unpack(c.k_step[at + i]));
        top[h] = z[at + i] > top[h] ? z[at + i] : top[h];
      }
    }
}

/* z[n] <- softmax weights of at most a page; returns their sum. */
static uint32_t weigh(int32_t *z, int n, int32_t top) {
  uint32_t sum = 0;
  for (int at = 0; at < n; at++) {
    uint32_t d = (uint32_t)top - (uint32_t)z[at], i = d >> 16, x = (d & 65535) >> 10, t = d & 1023;
    int32_t y = exp2_table[x] - (((exp2_table[x] - exp2_table[x + 1]) * (int32_t)t) >> 10);
    i = i > 31 ? 31 : i; /* 31 and more give 0 */
    z[at] = (int32_t)(((uint32_t)y + ((1u << i) >> 1)) >> i);
    sum += (uint32_t)z[at];
  }
  return sum;
}

/* The weights of n positions of a page from their scores z (heads, stride): den[heads] += their sums; acc (heads, 4 quads) += (weights
 * times the values' steps on the exponent `most`, + 16) times values.  z up to the page's end may be read and written. */
static void values_page(KvCell c, int heads, size_t quads, int n, const int8_t *next, int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  int16_t aligned[KV_PAGE];
  if (next) fetch(next, KV_PAGE * 4 * quads);
  for (int h = 0; h < heads; h++, z += stride, acc += 4 * quads) {
    den[h] += weigh(z, n, top[h]);
    for (int j = 0; j < n; j++) {
      int s = 9 + most - (c.v_step[j] >> 9);
      s = s > 25 ? 25 : s; /* products have 24 bits: 25 gives 0, as more would */
      aligned[j] = (int16_t)((z[j] * (c.v_step[j] & 511) + ((1 << s) >> 1)) >> s);
    }
    for (int j = n; j % 4; j++) aligned[j] = 0;
    add_values(c.v, quads, n, aligned, acc);
  }
}
#endif

static KvCell cell_of(const KvCells *kv, int page) { return kv_cell(kv->page[page] + kv->offset, kv->head_dim); }

static int used_of(int n, int page) { return n - page * KV_PAGE < KV_PAGE ? n - page * KV_PAGE : KV_PAGE; }

int FN(scores)(const KvCells *kv, const int8_t *q, const Step *q_step, int heads, int from, int to, int32_t *z, size_t stride, int32_t *top) {
  size_t quads = kv_quads(kv->head_dim), hd = (size_t)kv->head_dim;
  int8_t padded[HEADS][1024];
  int most = 0; /* the exponent of a step stands in its upper bits */
  for (int h = 0; h < heads; h++) top[h] = -INT32_MAX;
  for (int p = from / KV_PAGE; p * KV_PAGE < to; p++) {
    KvCell c = cell_of(kv, p);
    int n = used_of(to, p);
    const int8_t *next = (p + AHEAD) * KV_PAGE < to ? cell_of(kv, p + AHEAD).k : NULL;
    for (int h = 0; h < heads; h += HEADS) {
      int some = heads - h < HEADS ? heads - h : HEADS;
      const int8_t *at = q + (size_t)h * hd;
      for (int i = 0; hd % 4 && i < some; i++) memset(padded[i] + hd, 0, 4 * quads - hd), memcpy(padded[i], at + (size_t)i * hd, hd);
      score_page(c, some, hd % 4 ? padded[0] : at, hd % 4 ? sizeof padded[0] : hd, q_step + h, quads, n, h ? NULL : next, z + (size_t)h * stride + (size_t)p * KV_PAGE, stride, top + h);
    }
    for (int i = 0; i < n; i++) most = c.v_step[i] > most ? c.v_step[i] : most;
  }
  return most >> 9;
}

#ifdef __AVX512VNNI__
void FN(values)(const KvCells *kv, int heads, int from, int to, int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  int each[QUERIES];
  for (int i = 0; i < QUERIES; i++) each[i] = most;
  for (int h = 0; h < heads; h += QUERIES) {
    int some = heads - h < QUERIES ? heads - h : QUERIES;
    Queries q = {.kv = kv, .n = some, .to = to, .lines = lines_of(kv, some), .z_query = stride, .z_page = KV_PAGE};
    value_pages(&q, from, z + (size_t)h * stride, top + h, each, den + h, acc + (size_t)h * 4 * kv_quads(kv->head_dim));
  }
}

void FN(attend)(const KvCells *kv, const int8_t *q, size_t q_apart, const Step *q_step, size_t step_apart, int rows, int n, int32_t *z, int64_t *acc, int32_t *out, size_t out_apart) {
  attend_rows(kv, q, q_apart, q_step, step_apart, rows, n, z, acc, out, out_apart);
}
#else
void FN(values)(const KvCells *kv, int heads, int from, int to, int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  size_t quads = kv_quads(kv->head_dim);
  memset(acc, 0, (size_t)heads * 4 * quads * sizeof *acc);
  memset(den, 0, (size_t)heads * sizeof *den);
  for (int p = from / KV_PAGE; p * KV_PAGE < to; p++) {
    const int8_t *next = (p + AHEAD) * KV_PAGE < to ? cell_of(kv, p + AHEAD).v : NULL;
    for (int h = 0; h < heads; h += HEADS)
      values_page(cell_of(kv, p), heads - h < HEADS ? heads - h : HEADS, quads, used_of(to, p), h ? NULL : next, z + (size_t)h * stride + (size_t)p * KV_PAGE, stride, top + h, most,
                  den + h, acc + (size_t)h * 4 * quads);
  }
}
#endif

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
