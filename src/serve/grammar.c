/* serve/grammar: automata over bytes and how they are put together. */
#include "serve/grammar.h"

#include <stdio.h>
#include <string.h>

Grammar *grammar_new(Err *err) {
  Grammar *g = mem_alloc(1, sizeof *g, err);
  if (!g) return NULL;
  g->err = err;
  g->node_cap = 256;
  g->node = mem_alloc((size_t)g->node_cap, sizeof *g->node, err);
  if (!g->node) {
    mem_free(g);
    return NULL;
  }
  g->nodes = 1;
  return g;
}

void grammar_free(Grammar *g) {
  if (!g) return;
  mem_free(g->node);
  mem_free(g->rule);
  mem_free(g);
}

int g_fail(Grammar *g, const char *format, ...) {
  char text[400];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  err_set(g->err, "%s", text);
  return 0;
}

static int put(Grammar *g, GrammarNode node) {
  if (g->err->set) return 0;
  if (g->nodes == GRAMMAR_NODES) return g_fail(g, "the grammar is too large: more than %d nodes", GRAMMAR_NODES);
  if (g->nodes == g->node_cap) {
    size_t old = (size_t)g->node_cap * sizeof *g->node;
    GrammarNode *p = mem_grow(g->node, old, 2 * old, g->err);
    if (!p) return 0;
    g->node = p;
    g->node_cap *= 2;
  }
  g->node[g->nodes] = node;
  return g->nodes++;
}

int g_bytes(Grammar *g, uint8_t low, uint8_t high, int next) { return put(g, (GrammarNode){G_BYTES, low, high, next, 0}); }

int g_split(Grammar *g, int a, int b) { return a == b ? a : put(g, (GrammarNode){G_SPLIT, 0, 0, a, b}); }

int g_call(Grammar *g, int rule, int next) { return put(g, (GrammarNode){G_CALL, 0, 0, next, rule}); }

int g_text(Grammar *g, Str s, int next) {
  for (size_t i = s.n; i-- > 0;) next = g_bytes(g, (uint8_t)s.s[i], (uint8_t)s.s[i], next);
  return next;
}

int g_rule(Grammar *g) {
  if (g->err->set) return 0;
  if (g->rules == g->rule_cap) {
    size_t cap = g->rule_cap ? 2 * (size_t)g->rule_cap : 64;
    int *p = mem_grow(g->rule, (size_t)g->rules * sizeof *p, cap * sizeof *p, g->err);
    if (!p) return 0;
    g->rule = p;
    g->rule_cap = (int)cap;
  }
  g->rule[g->rules] = 0;
  return g->rules++;
}

int g_repeat(Grammar *g, int rule, int least, int most, int next) {
  if (most < 0) {
    int loop = put(g, (GrammarNode){G_SPLIT, 0, 0, 0, next});
    int body = g_call(g, rule, loop);
    if (!g->err->set) g->node[loop].a = body;
    next = loop;
  }
  int end = next; /* an optional one that is left out leaves out all that follow */
  for (int i = least; i < most && !g->err->set; i++) next = g_split(g, g_call(g, rule, next), end);
  for (int i = 0; i < least && !g->err->set; i++) next = g_call(g, rule, next);
  return next;
}

/* ---- characters ---- */

bool charset_add(CharSet *s, uint32_t low, uint32_t high, Err *err) {
  int i = 0, j;
  while (i < s->n && s->r[i].high + 1 < low) i++;
  for (j = i; j < s->n && s->r[j].low <= high + 1; j++) {
    if (s->r[j].low < low) low = s->r[j].low;
    if (s->r[j].high > high) high = s->r[j].high;
  }
  if (i == j && s->n == s->cap) {
    size_t cap = s->cap ? 2 * (size_t)s->cap : 16;
    CharRange *p = mem_grow(s->r, (size_t)s->n * sizeof *p, cap * sizeof *p, err);
    if (!p) return false;
    s->r = p;
    s->cap = (int)cap;
  }
  if (s->n > j) memmove(s->r + i + 1, s->r + j, (size_t)(s->n - j) * sizeof *s->r);
  s->n += 1 - (j - i);
  s->r[i] = (CharRange){low, high};
  return true;
}

int g_utf8(uint32_t c, uint8_t out[4]) {
  int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const uint8_t lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
  for (int i = n - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 63));
  out[0] = (uint8_t)(lead[n] | c);
  return n;
}

/* Characters low..high, all of the same length, as byte ranges: cut where a continuation byte would have to wrap. */
static int same_length(Grammar *g, uint32_t low, uint32_t high, int next) {
  uint8_t a[4], b[4];
  int n = g_utf8(low, a);
  for (int i = 1; i < n; i++) {
    uint32_t mask = (1u << (6 * i)) - 1;
    if ((low & ~mask) == (high & ~mask)) break; /* only the last i bytes differ */
    if (low & mask) return g_split(g, same_length(g, low, low | mask, next), same_length(g, (low | mask) + 1, high, next));
    if ((high & mask) != mask) return g_split(g, same_length(g, low, (high & ~mask) - 1, next), same_length(g, high & ~mask, high, next));
  }
  g_utf8(high, b);
  for (int i = n - 1; i >= 0; i--) next = g_bytes(g, a[i], b[i], next);
  return next;
}

static int utf8_range(Grammar *g, uint32_t low, uint32_t high, int next) {
  static const uint32_t last[] = {0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF, 0x10FFFF}; /* the fourth is surrogates: no characters */
  int node = -1;
  for (int i = 0; i < 6; i++) {
    uint32_t from = i ? last[i - 1] + 1 : 0, to = last[i];
    if (from < low) from = low;
    if (to > high) to = high;
    if (from > to || i == 3) continue;
    int one = same_length(g, from, to, next);
    node = node < 0 ? one : g_split(g, one, node);
  }
  return node;
}

static int escaped(Grammar *g, uint32_t c, int next) {
  static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
  const char *at = c ? strchr(plain, (int)c) : NULL;
  char text[8];
  int n = at ? snprintf(text, sizeof text, "\\%c", letter[at - plain]) : snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
  return g_text(g, (Str){text, (size_t)n}, next);
}

int g_set(Grammar *g, const CharSet *set, bool quoted, int next) {
  int node = -1;
  for (int i = 0; i < set->n; i++) {
    uint32_t low = set->r[i].low, high = set->r[i].high;
    while (low <= high && !g->err->set) {
      uint32_t to = high;
      int one;
      if (quoted && (low < 32 || low == '"' || low == '\\')) {
        to = low;
        one = escaped(g, low, next);
      } else {
        if (quoted && low < '"' && to >= '"') to = '"' - 1;
        else if (quoted && low < '\\' && to >= '\\') to = '\\' - 1;
        one = utf8_range(g, low, to, next);
      }
      if (one >= 0) node = node < 0 ? one : g_split(g, one, node);
      low = to + 1;
    }
  }
  return node < 0 ? g_fail(g, "a character class matches nothing") : node;
}
