/* serve/pattern: what the notations of patterns share: trees, characters, classes, repetitions, automata. */
#include "serve/pattern.h"

#include <string.h>

void pattern_parser_free(PatternParser *p) {
  for (Pattern *s = p->set; s; s = s->set_before) mem_free(s->set.r);
  arena_free(&p->arena);
}

Pattern *pattern_bad(PatternParser *p, const char *problem) {
  g_fail(p->g, "%s: %s at byte %zu of '%.*s'", p->what, problem, p->at, STR_FMT(p->s));
  return NULL;
}

Pattern *pattern_make(PatternParser *p, PatternKind kind, Pattern *a, Pattern *b) {
  Pattern *r = arena_alloc(&p->arena, 1, sizeof *r, p->g->err);
  if (r) *r = (Pattern){.kind = kind, .a = a, .b = b};
  return r;
}

Pattern *pattern_atom(PatternParser *p, PatternKind kind) {
  if (++p->atoms > PATTERN_ATOMS) return pattern_bad(p, "too long");
  Pattern *r = pattern_make(p, kind, NULL, NULL);
  if (r && kind == P_SET) r->set_before = p->set, p->set = r;
  return r;
}

Pattern *pattern_cat(PatternParser *p, Pattern *a, Pattern *b) {
  if (!a || !b) return NULL;
  return a->kind == P_EMPTY ? b : b->kind == P_EMPTY ? a : pattern_make(p, P_CAT, a, b);
}

bool pattern_add(PatternParser *p, CharSet *s, uint32_t low, uint32_t high) { return charset_add(s, low, high, p->g->err); }

static bool add_class(PatternParser *p, CharSet *s, char c) {
  switch (c) {
    case 'd': return pattern_add(p, s, '0', '9');
    case 'w': return pattern_add(p, s, '0', '9') && pattern_add(p, s, 'A', 'Z') && pattern_add(p, s, '_', '_') && pattern_add(p, s, 'a', 'z');
    default: return pattern_add(p, s, '\t', '\r') && pattern_add(p, s, ' ', ' ');
  }
}

static bool invert(PatternParser *p, CharSet *s) {
  CharSet out = {0};
  uint32_t from = 0;
  bool ok = true;
  for (int i = 0; ok && i < s->n; i++) {
    if (s->r[i].low > from) ok = pattern_add(p, &out, from, s->r[i].low - 1);
    from = s->r[i].high + 1;
  }
  if (ok && from <= LAST_CHAR) ok = pattern_add(p, &out, from, LAST_CHAR);
  mem_free(s->r);
  *s = out;
  return ok;
}

/* One character of the pattern itself. */
bool pattern_char(PatternParser *p, uint32_t *c) {
  uint8_t first = (uint8_t)pattern_peek(p);
  int n = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
  if (n == 0 || p->at + (size_t)n > p->s.n) return pattern_bad(p, "invalid UTF-8") != NULL;
  *c = n == 1 ? first : first & (0x7Fu >> n);
  for (int i = 1; i < n; i++) *c = *c << 6 | ((uint8_t)p->s.s[p->at + (size_t)i] & 63);
  p->at += (size_t)n;
  return true;
}

static bool take_hex(PatternParser *p, int digits, uint32_t *c) {
  *c = 0;
  for (int i = 0; i < digits; i++, p->at++) {
    const char *all = "0123456789abcdef", *at = pattern_more(p) && pattern_peek(p) ? strchr(all, pattern_peek(p) | 32) : NULL;
    if (!at) return pattern_bad(p, "expected a hexadecimal digit") != NULL;
    *c = *c * 16 + (uint32_t)(at - all);
  }
  return *c <= LAST_CHAR || pattern_bad(p, "there is no such character");
}

/* Behind a backslash: a class into *s (then *c is UINT32_MAX), or one character. */
bool pattern_escape(PatternParser *p, CharSet *s, uint32_t *c) {
  if (!pattern_more(p)) return pattern_bad(p, "nothing after the backslash") != NULL;
  char e = pattern_peek(p);
  static const char from[] = "nrtfv0", to[] = "\n\r\t\f\v\0";
  const char *simple = strchr(from, e);
  CharSet inverse = {0};
  if (strchr("dws", e)) {
    p->at++;
    *c = UINT32_MAX;
    return add_class(p, s, e);
  }
  if (strchr("DWS", e)) {
    p->at++;
    *c = UINT32_MAX;
    bool ok = add_class(p, &inverse, (char)(e | 32)) && invert(p, &inverse);
    for (int i = 0; ok && i < inverse.n; i++) ok = pattern_add(p, s, inverse.r[i].low, inverse.r[i].high);
    mem_free(inverse.r);
    return ok;
  }
  if (simple) {
    p->at++;
    *c = (uint8_t)to[simple - from];
    return true;
  }
  if (e == 'x' || e == 'u' || e == 'U') {
    p->at++;
    return take_hex(p, e == 'x' ? 2 : e == 'u' ? 4 : 8, c);
  }
  if ((e >= '0' && e <= '9') || (e >= 'A' && e <= 'Z') || (e >= 'a' && e <= 'z')) return pattern_bad(p, "this escape is not supported") != NULL;
  return pattern_char(p, c);
}

Pattern *pattern_class(PatternParser *p) {
  Pattern *r = pattern_atom(p, P_SET);
  bool inverse = pattern_more(p) && pattern_peek(p) == '^', first = true;
  if (!r) return NULL;
  p->at += inverse;
  for (;; first = false) {
    uint32_t low, high;
    if (!pattern_more(p)) return pattern_bad(p, "the class has no end");
    if (pattern_peek(p) == ']' && !first) break;
    if (pattern_peek(p) == '\\' ? (p->at++, !pattern_escape(p, &r->set, &low)) : !pattern_char(p, &low)) return NULL;
    if (low == UINT32_MAX) continue;
    high = low;
    if (p->at + 1 < p->s.n && pattern_peek(p) == '-' && p->s.s[p->at + 1] != ']') {
      p->at++;
      if (pattern_peek(p) == '\\' ? (p->at++, !pattern_escape(p, &r->set, &high)) : !pattern_char(p, &high)) return NULL;
      if (high == UINT32_MAX || high < low) return pattern_bad(p, "a range of the class is not in order");
    }
    if (!pattern_add(p, &r->set, low, high)) return NULL;
  }
  p->at++;
  return !inverse || invert(p, &r->set) ? r : NULL;
}

static bool take_number(PatternParser *p, int *out) {
  if (!pattern_more(p) || pattern_peek(p) < '0' || pattern_peek(p) > '9') return false;
  for (*out = 0; pattern_more(p) && pattern_peek(p) >= '0' && pattern_peek(p) <= '9' && *out <= PATTERN_REPEAT; p->at++) *out = *out * 10 + (pattern_peek(p) - '0');
  return true;
}

Pattern *pattern_repeats(PatternParser *p, Pattern *r) {
  while (r && pattern_more(p) && strchr("*+?{", pattern_peek(p))) {
    char c = pattern_peek(p);
    int least = c == '+', most = c == '?' ? 1 : -1;
    p->at++;
    if (c == '{') {
      if (!take_number(p, &least)) return pattern_bad(p, "expected a number of repetitions");
      most = least;
      if (pattern_more(p) && pattern_peek(p) == ',') {
        p->at++;
        if (!take_number(p, &most)) most = -1;
      }
      if (!pattern_more(p) || pattern_peek(p) != '}' || least > PATTERN_REPEAT || most > PATTERN_REPEAT || (most >= 0 && most < least))
        return pattern_bad(p, "expected {m}, {m,} or {m,n} with m <= n <= 10000");
      p->at++;
    }
    if (p->lazy && pattern_more(p) && pattern_peek(p) == '?') p->at++; /* lazy or not, the same texts match */
    Pattern *outer = pattern_make(p, P_REPEAT, r, NULL);
    if (outer) outer->least = least, outer->most = most;
    r = outer;
  }
  return r;
}

int pattern_build(Grammar *g, const Pattern *r, bool quoted, int next) {
  if (g->err->set) return 0;
  switch (r->kind) {
    case P_EMPTY: return next;
    case P_TEXT: return g_text(g, r->text, next);
    case P_CALL: return g_call(g, r->rule, next);
    case P_SET: return g_set(g, &r->set, quoted, next);
    case P_CAT: return pattern_build(g, r->a, quoted, pattern_build(g, r->b, quoted, next));
    case P_ALT: return g_split(g, pattern_build(g, r->a, quoted, next), pattern_build(g, r->b, quoted, next));
    default: {
      int rule = g_rule(g), body = pattern_build(g, r->a, quoted, 0);
      if (g->err->set) return 0;
      g->rule[rule] = body;
      return g_repeat(g, rule, r->least, r->most, next);
    }
  }
}
