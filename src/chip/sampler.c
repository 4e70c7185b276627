/* chip/sampler: from logits to a token, in integers (doc/arithmetic.md 3, sampler). */
#include "chip/chip.h"

#include <math.h>
#include <stdlib.h>

__extension__ typedef unsigned __int128 u128;

static bool in_range(const char *what, double v, double low, double high, Err *err) {
  if (v >= low && v <= high) return true;
  return err_set(err, "%s: expected %g to %g, found %g", what, low, high, v);
}

bool sampler_settings(SamplerSettings *s, double temperature, int top_k, double top_p, double min_p, double repeat,
                      double frequency, double presence, Err *err) {
  if ((temperature != 0 && !in_range("temperature", temperature, 0.001, 100, err)) ||
      !in_range("top-k", top_k, 0, INT32_MAX, err) || !in_range("top-p", top_p, 0, 1, err) ||
      !in_range("min-p", min_p, 0, 1, err) || !in_range("repeat penalty", repeat, 0.1, 10, err) ||
      !in_range("frequency penalty", frequency, -100, 100, err) || !in_range("presence penalty", presence, -100, 100, err))
    return false;
  *s = (SamplerSettings){
      .inv_temperature = temperature == 0 ? 0 : (uint32_t)floor(4096 / temperature + 0.5),
      .top_k = top_k,
      .top_p = (uint32_t)floor(top_p * 65536 + 0.5),
      .min_p = (uint32_t)floor(min_p * 65536 + 0.5),
      .repeat_q16 = (uint32_t)floor(repeat * 65536 + 0.5),
      .repeat_inverse_q16 = (uint32_t)floor(65536 / repeat + 0.5),
      .frequency_q16 = (int32_t)floor(frequency * 65536 + 0.5),
      .presence_q16 = (int32_t)floor(presence * 65536 + 0.5),
  };
  return true;
}

bool sampler_penalises(const SamplerSettings *s) { return s->repeat_q16 != 65536 || s->frequency_q16 || s->presence_q16; }

void sampler_penalties(const SamplerSettings *s, int32_t *z, const uint16_t *count, int vocab) {
  if (!sampler_penalises(s)) return;
  for (int i = 0; i < vocab; i++) {
    if (!count[i]) continue;
    int32_t x = rsr_sat((int64_t)z[i] * (z[i] > 0 ? s->repeat_inverse_q16 : s->repeat_q16), 16);
    z[i] = sat32((int64_t)x - (int64_t)s->frequency_q16 * count[i] - s->presence_q16);
  }
}

/* Probability before normalising, at most 2^30 - 1; *octave is the whole part of its distance in powers of two. */
static uint32_t weight_of(uint32_t d, uint32_t inv_temperature, int *octave) {
  if (d > (1u << 24) - 1) d = (1u << 24) - 1;
  /* 24 + 22 + 17 bits: the product fits 64 for every temperature that settings allow */
  uint64_t e = ((uint64_t)d * inv_temperature * 94548) >> 28; /* 94548 = round(2^16 log2 e) */
  uint64_t i = e >> 16;
  if (i > 30) {
    *octave = 31;
    return 0;
  }
  uint32_t x = (uint32_t)(e & 65535) >> 10, t = (uint32_t)e & 1023;
  uint64_t step = (uint64_t)(exp2_table_30[x] - exp2_table_30[x + 1]) * t >> 10;
  *octave = (int)i;
  return (uint32_t)rsr((int64_t)(exp2_table_30[x] - step), (int)i);
}

static int by_key(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static int by_index(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* The first of the largest. */
static int argmax(const int32_t *z, int vocab) {
  int32_t most = z[0];
  int i = 0;
  for (int k = 1; k < vocab; k++) most = z[k] > most ? z[k] : most;
  while (z[i] != most) i++;
  return i;
}

/* A token's place in the order of candidates: z descending, index ascending. */
static uint64_t key_of(const int32_t *z, int32_t top, int i) { return (uint64_t)((int64_t)top - z[i]) << 32 | (uint32_t)i; }

/* Moves the key at place `at` of a heap of n (largest first) down to where it belongs. */
static void sift(uint64_t *key, int n, int at) {
  uint64_t x = key[at];
  for (int child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && key[child + 1] > key[child]) child++;
    if (key[child] <= x) break;
    key[at] = key[child];
  }
  key[at] = x;
}

/* The first k candidates, in order, into s->index with their weights in s->p; returns how many have one.  Most of the
 * vocabulary is only compared with the worst of those found so far. */
static int first_candidates(const SamplerSettings *set, const int32_t *z, int vocab, int32_t top, SamplerScratch *s) {
  enum { BLOCK = 64 };
  int k = set->top_k, n = 0;
  uint64_t *key = s->key;
  for (int i = 0; i < k; i++) key[i] = key_of(z, top, i);
  for (int i = k / 2; i-- > 0;) sift(key, k, i);
  for (int from = k; from < vocab; from += BLOCK) {
    int to = vocab - from < BLOCK ? vocab : from + BLOCK, any = 0;
    int32_t worst = z[(uint32_t)key[0]];
    for (int i = from; i < to; i++) any |= z[i] > worst;
    for (int i = from; any && i < to; i++)
      if (key_of(z, top, i) < key[0]) key[0] = key_of(z, top, i), sift(key, k, 0);
  }
  qsort(key, (size_t)k, sizeof *key, by_key);
  for (; n < k; n++) {
    int i = s->index[n] = (int)(uint32_t)key[n], octave;
    s->p[i] = weight_of((uint32_t)(key[n] >> 32), set->inv_temperature, &octave);
    if (!s->p[i]) break;
  }
  return n;
}

/* Candidates of the first octaves in order (z descending, index ascending); returns how many. */
static int sorted_candidates(const int32_t *z, int vocab, int32_t top, int last_octave, uint32_t inv_temperature,
                             SamplerScratch *s) {
  int n = 0;
  for (int i = 0; i < vocab; i++) {
    int octave;
    if (s->p[i] == 0) continue;
    weight_of((uint32_t)((int64_t)top - z[i]), inv_temperature, &octave);
    if (octave <= last_octave) s->key[n++] = key_of(z, top, i);
  }
  qsort(s->key, (size_t)n, sizeof *s->key, by_key);
  for (int i = 0; i < n; i++) s->index[i] = (int)(uint32_t)s->key[i];
  return n;
}

/* Weights of all tokens into s->p; enough candidates for top-p, in order, into s->index; returns how many. */
static int likely_candidates(const SamplerSettings *set, const int32_t *z, int vocab, int32_t top, SamplerScratch *s, uint64_t *total) {
  uint64_t mass[32] = {0}, sum = 0;
  int octave, last = 0;
  for (int i = 0; i < vocab; i++) {
    s->p[i] = weight_of((uint32_t)((int64_t)top - z[i]), set->inv_temperature, &octave);
    mass[octave] += s->p[i];
    *total += s->p[i];
  }
  for (; last < 31; last++) /* the first octave at which enough is seen */
    if ((sum += mass[last]) << 16 >= *total * set->top_p) break;
  return sorted_candidates(z, vocab, top, last, set->inv_temperature, s);
}

/* The candidates that top-k and top-p leave, in order of index. */
static int cut(const SamplerSettings *set, const int32_t *z, int vocab, int32_t top, SamplerScratch *s) {
  uint64_t total = 0, sum = 0;
  int n, keep = 0;
  if (set->top_k > 0 && set->top_k < vocab) {
    n = first_candidates(set, z, vocab, top, s);
    for (int i = 0; i < n; i++) total += s->p[s->index[i]];
  } else {
    n = likely_candidates(set, z, vocab, top, s, &total);
  }
  for (; keep < n && (keep == 0 || sum << 16 < total * set->top_p); keep++) sum += s->p[s->index[keep]];
  qsort(s->index, (size_t)keep, sizeof *s->index, by_index);
  return keep;
}

int sampler_draw(const SamplerSettings *set, const int32_t *z, int vocab, Pcg *random, SamplerScratch *s) {
  int best = argmax(z, vocab), octave;
  if (!set->inv_temperature) {
    s->index[0] = best, s->p[best] = 1;
    s->candidates = 1, s->total = 1;
    return best;
  }
  uint64_t total = 0, floor_p = (uint64_t)((1u << 30) - 1) * set->min_p;
  bool all = (set->top_k == 0 || set->top_k >= vocab) && set->top_p >= 65536;
  int n = all ? vocab : cut(set, z, vocab, z[best], s);
  for (int k = 0; k < n; k++) {
    int i = all ? k : s->index[k];
    if (all) s->p[i] = weight_of((uint32_t)((int64_t)z[best] - z[i]), set->inv_temperature, &octave);
    if ((uint64_t)s->p[i] << 16 < floor_p) s->p[i] = 0;
    total += s->p[i];
  }
  s->candidates = all ? 0 : n;
  s->total = total;
  uint64_t x = (uint64_t)pcg_next(random) << 32;
  x |= pcg_next(random);
  uint64_t r = (uint64_t)((u128)x * total >> 64), sum = 0;
  for (int k = 0; k < n; k++) {
    int i = all ? k : s->index[k];
    sum += s->p[i];
    if (sum > r) return i;
  }
  return best; /* not reached: r < total */
}
