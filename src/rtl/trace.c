/* rtl/trace: the trace of a simulation against the reference. */
#include "rtl/rtl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int element_bits(RtlVector v) {
  return v == VEC_ATTN_IN || v == VEC_QKV8 || v == VEC_O_IN || v == VEC_FFN_IN || v == VEC_DOWN_IN || v == VEC_HEAD_IN ? 8 : 32;
}

static RtlVector vector_named(const char *name) {
  RtlVector v = 0;
  while (v < VECTORS && strcmp(rtl_vector_name[v], name) != 0) v++;
  return v;
}

/* Element i of a word in hexadecimal, whose last element comes first. */
static int32_t element(const char *hex, size_t digits, int bits, size_t i) {
  char text[9] = {0};
  size_t n = (size_t)bits / 4;
  memcpy(text, hex + digits - (i + 1) * n, n);
  uint32_t x = (uint32_t)strtoul(text, NULL, 16);
  return bits == 8 ? (int8_t)x : (int32_t)x;
}

typedef struct {
  RtlReference *r;
  char *where;
  uint64_t compared;
  int tokens;               /* begun */
  int seen[VECTORS];        /* elements of the vector in this layer */
} Check;

static bool compare_word(Check *k, RtlVector v, int layer, int word, const char *hex) {
  size_t digits = strlen(hex), per = digits * 4 / (size_t)element_bits(v);
  int n;
  const int32_t *expected = rtl_reference_vector(k->r, v, v == VEC_EMBED || v >= VEC_HEAD_IN ? 0 : layer, &n);
  for (size_t i = 0; i < per; i++) {
    int at = word * (int)per + (int)i;
    int32_t found = element(hex, digits, element_bits(v), i), want = at < n ? expected[at] : 0;
    if (v == VEC_LOGITS && at >= n) continue; /* rows behind the vocabulary, which the sampler leaves out */
    if (found != want) {
      snprintf(k->where, 200, "token %d, layer %d, %s, element %d: simulation %d, reference %d", k->tokens - 1, layer, rtl_vector_name[v], at, found, want);
      return false;
    }
    k->compared++;
  }
  k->seen[v] += (int)per;
  return true;
}

/* At a token's end every vector must have come. */
static bool all_seen(Check *k, int layers) {
  for (RtlVector v = 0; v < VECTORS; v++) {
    int n, times = v == VEC_EMBED || v >= VEC_HEAD_IN ? 1 : layers;
    rtl_reference_vector(k->r, v, 0, &n);
    if (k->tokens == 0 || k->seen[v] >= n * times) continue;
    snprintf(k->where, 200, "token %d, %s: %d elements in the simulation, %d in the reference", k->tokens - 1, rtl_vector_name[v], k->seen[v], n * times);
    return false;
  }
  memset(k->seen, 0, sizeof k->seen);
  return true;
}

static bool check_line(Check *k, const RtlDesign *d, char *line, RtlNextFn *next, void *arg) {
  char name[16];
  int layer, word, at;
  RtlStep step;
  if (sscanf(line, "%15s %d %d %n", name, &layer, &word, &at) < 3) return true;
  if (strcmp(name, "token") == 0) {
    if (!all_seen(k, d->shape.layers)) return false;
    if (!next(arg, &step)) {
      snprintf(k->where, 200, "the simulation works on more than %d tokens", k->tokens);
      return false;
    }
    if (step.clear) rtl_reference_clear(k->r);
    rtl_reference_step(k->r, step.token, step.head);
    k->tokens++;
    return true;
  }
  line[strcspn(line, "\r\n")] = 0;
  RtlVector v = vector_named(name);
  if (v < VECTORS && k->tokens > 0) return compare_word(k, v, layer, word, line + at);
  snprintf(k->where, 200, "a line of the trace begins '%.15s'", name);
  return false;
}

bool rtl_trace_check(RtlReference *r, const RtlDesign *d, const char *path, RtlNextFn *next, void *arg, char where[200], uint64_t *compared, Err *err) {
  FILE *f = fopen(path, "r");
  if (!f) return err_set(err, "%s: %s", path, strerror(errno));
  Check k = {.r = r, .where = where};
  char *line = NULL;
  size_t cap = 0;
  RtlStep more;
  where[0] = 0;
  while (!where[0] && getline(&line, &cap, f) > 0) check_line(&k, d, line, next, arg);
  if (!where[0] && all_seen(&k, d->shape.layers) && next(arg, &more))
    snprintf(where, 200, "the simulation stops after %d tokens", k.tokens);
  *compared = k.compared;
  free(line);
  fclose(f);
  return true;
}
