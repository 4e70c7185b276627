/* engine/attention: attention page by page over the KV cache: the scores and values of a Kernels.  Included by the kernel files; with
 * AVX-512 attention_avx512.h brings score_page and the values, with AVX2 attention_avx2.h what goes on within a page, with NEON
 * attention_neon.h all of that but the weights.
 */
#ifndef BURIN_ENGINE_ATTENTION_H
#define BURIN_ENGINE_ATTENTION_H

#include "engine/kernels.h"

enum { HEADS = 4 /* that meet a page together, at most */, AHEAD = 2 /* pages to fetch */ };

/* The hardware does not know where the next page lies.  Asked for piece by piece: many lines at once wait for each other. */
static inline void fetch(const void *p, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)p + i, 0, 2);
}

#ifdef __AVX512VNNI__
#include "engine/attention_avx512.h"
#else
#if defined(__AVX2__)
#include "engine/attention_avx2.h"
#elif defined(__ARM_FEATURE_DOTPROD)
#include "engine/attention_neon.h"
#else
#define PAGE_LOOPS_IN_C
typedef const uint16_t *BlockSteps; /* of the keys of a block */
static inline BlockSteps block_steps(const uint16_t *k_step) { return k_step; }

/* z[16] <- scores of a block of keys; most rises to the largest of the first n. */
static inline void score_block(const int8_t *restrict k, const int8_t *restrict q, size_t quads, Step q_step, const BlockSteps *k_step, int n, int32_t *restrict z, int32_t *most) {
  int32_t dot[KV_BLOCK] = {0};
  for (size_t i = 0; i < quads; i++)
    for (size_t j = 0; j < KV_BLOCK; j++)
      for (size_t d = 0; d < 4; d++) dot[j] += (int32_t)((int16_t)k[64 * i + 4 * j + d] * (int16_t)q[4 * i + d]);
  for (int i = 0; i < KV_BLOCK && i < n; i++) {
    z[i] = score_of(dot[i], q_step, step_unpack((*k_step)[i]));
    *most = z[i] > *most ? z[i] : *most;
  }
}

/* acc (heads, 4 quads) += weights of at most a page times its values. */
static inline void add_values(const int8_t *restrict v, int heads, size_t quads, int n, int16_t w[HEADS][KV_PAGE], int64_t *restrict acc) {
  for (int h = 0; h < heads; h++)
    for (size_t d = 0; d < 4 * quads; d++) {
      int32_t sum = 0;
      for (size_t j = 0; j < (size_t)n; j++) sum += w[h][j] * v[j / 4 * 16 * quads + 4 * d + j % 4];
      acc[(size_t)h * 4 * quads + d] += sum;
    }
}
#endif

#ifndef PAGE_LOOPS_IN_C
/* acc (heads, 4 quads) += weights of at most a page times its values. */
static void add_values(const int8_t *v, int heads, size_t quads, int n, int16_t w[HEADS][KV_PAGE], int64_t *acc) {
  switch (heads) {
    case 4: add_heads(v, 4, quads, n, w, acc); break;
    case 3: add_heads(v, 3, quads, n, w, acc); break;
    case 2: add_heads(v, 2, quads, n, w, acc); break;
    default: add_heads(v, 1, quads, n, w, acc); break;
  }
}
#endif

#ifndef __AVX2__
/* aligned[n] <- softmax weights of at most a page, times the values' steps on the exponent `most`; returns the sum of the weights. */
static uint32_t weigh_scores(const int32_t *z, int n, int32_t top, const uint16_t *v_step, int most, int16_t aligned[KV_PAGE]) {
  uint32_t sum = 0;
  for (int j = 0; j < n; j++) {
    uint32_t d = (uint32_t)top - (uint32_t)z[j], i = d >> 16, x = (d & 65535) >> 10, t = d & 1023;
    int32_t y = exp2_table[x] - (((exp2_table[x] - exp2_table[x + 1]) * (int32_t)t) >> 10), s = 9 + most - (v_step[j] >> 9);
    i = i > 31 ? 31 : i; /* 31 and more give 0 */
    s = s > 25 ? 25 : s; /* products have 24 bits: 25 gives 0, as more would */
    uint32_t w = ((uint32_t)y + ((1u << i) >> 1)) >> i;
    sum += w;
    aligned[j] = (int16_t)(((int32_t)w * (v_step[j] & 511) + ((1 << s) >> 1)) >> s);
  }
  return sum;
}
#endif

/* z (heads, stride) <- scores of the first n positions of a page; top[heads] rises to the largest.  q (heads, apart) has zeros behind
 * the last dimension.  next: keys that come next, or NULL. */
static void score_page(KvCell c, int heads, const int8_t *q, size_t apart, const Step *q_step, size_t quads, int n, const int8_t *next, int32_t *z, size_t stride, int32_t *top) {
  if (next) fetch(next, KV_PAGE * 4 * quads);
  for (int at = 0; at < n; at += KV_BLOCK) {
    BlockSteps k_step = block_steps(c.k_step + at);
    for (int h = 0; h < heads; h++)
      score_block(c.k + (size_t)at * quads * 4, q + (size_t)h * apart, quads, q_step[h], &k_step, n - at, z + (size_t)h * stride + at, &top[h]);
  }
}

/* The weights of n positions of a page from their scores z (heads, stride): den[heads] += their sums; acc (heads, 4 quads) += (weights
 * times the values' steps on the exponent `most`, + 16) times values.  z up to the page's end may be read. */
static void values_page(KvCell c, int heads, size_t quads, int n, const int8_t *next, const int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  int16_t aligned[HEADS][KV_PAGE];
  if (next) fetch(next, KV_PAGE * 4 * quads);
  for (int h = 0; h < heads; h++) {
    den[h] += weigh_scores(z + (size_t)h * stride, n, top[h], c.v_step, most, aligned[h]);
    for (int j = n; j % 4; j++) aligned[h][j] = 0;
  }
  add_values(c.v, heads, quads, n, aligned, acc);
}
#endif

static int used_of(int n, int page) { return n - page * KV_PAGE < KV_PAGE ? n - page * KV_PAGE : KV_PAGE; }

static int scores(const KvCells *kv, const int8_t *q, const Step *q_step, int heads, int from, int to, int32_t *z, size_t stride, int32_t *top) {
  size_t quads = kv_quads(kv->head_dim), hd = (size_t)kv->head_dim;
  int8_t padded[HEADS][1024];
  int most = 0; /* the exponent of a step stands in its upper bits */
  for (int h = 0; h < heads; h++) top[h] = -INT32_MAX;
  for (int p = from / KV_PAGE; p * KV_PAGE < to; p++) {
    KvCell c = kv_page_cell(kv, p);
    int n = used_of(to, p);
    const int8_t *next = NULL;
    if ((p + AHEAD) * KV_PAGE < to) {
      KvCell later = kv_page_cell(kv, p + AHEAD);
      next = later.k;
      fetch(later.k_step, 2 * KV_PAGE * sizeof *later.k_step); /* and v_step */
    }
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

#ifndef __AVX512VNNI__
static void values(const KvCells *kv, int heads, int from, int to, const int32_t *z, size_t stride, const int32_t *top, int most, uint64_t *den, int64_t *acc) {
  size_t quads = kv_quads(kv->head_dim);
  memset(acc, 0, (size_t)heads * 4 * quads * sizeof *acc);
  memset(den, 0, (size_t)heads * sizeof *den);
  for (int p = from / KV_PAGE; p * KV_PAGE < to; p++) {
    const int8_t *next = (p + AHEAD) * KV_PAGE < to ? kv_page_cell(kv, p + AHEAD).v : NULL;
    for (int h = 0; h < heads; h += HEADS)
      values_page(kv_page_cell(kv, p), heads - h < HEADS ? heads - h : HEADS, quads, used_of(to, p), h ? NULL : next, z + (size_t)h * stride + (size_t)p * KV_PAGE, stride, top + h, most,
                  den + h, acc + (size_t)h * 4 * quads);
  }
}
#endif

#endif
