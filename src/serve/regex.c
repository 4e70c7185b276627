/* serve/regex: regular expressions as automata. */
#include "serve/grammar.h"

#include <stdlib.h>
#include <string.h>

typedef enum { R_EMPTY, R_SET, R_CAT, R_ALT, R_REPEAT } RegexKind;

typedef struct Regex {
  RegexKind kind;
  CharSet set;
  struct Regex *a, *b;
  int least, most; /* -1: any number */
} Regex;

typedef struct {
  Grammar *g;
  Arena arena;
  Str s;
  size_t at;
  int depth;
  CharSet *made[4096]; /* sets to free */
  int sets;
} Parser;

enum { REGEX_REPEAT = 10000, LAST_CHAR = 0x10FFFF };

static Regex *bad(Parser *p, const char *what) {
  g_fail(p->g, "regular expression: %s at byte %zu of '%.*s'", what, p->at, STR_FMT(p->s));
  return NULL;
}

static Regex *make(Parser *p, RegexKind kind, Regex *a, Regex *b) {
  Regex *r = arena_alloc(&p->arena, 1, sizeof *r, p->g->err);
  if (r) *r = (Regex){.kind = kind, .a = a, .b = b};
  return r;
}

static Regex *make_set(Parser *p) {
  if (p->sets == sizeof p->made / sizeof *p->made) return bad(p, "too many characters");
  Regex *r = make(p, R_SET, NULL, NULL);
  if (r) p->made[p->sets++] = &r->set;
  return r;
}

static bool more(const Parser *p) { return p->at < p->s.n; }

static char peek(const Parser *p) { return p->s.s[p->at]; }

static bool add(Parser *p, CharSet *s, uint32_t low, uint32_t high) { return charset_add(s, low, high, p->g->err); }

static bool add_class(Parser *p, CharSet *s, char c) {
  switch (c) {
    case 'd': return add(p, s, '0', '9');
    case 'w': return add(p, s, '0', '9') && add(p, s, 'A', 'Z') && add(p, s, '_', '_') && add(p, s, 'a', 'z');
    default: return add(p, s, '\t', '\r') && add(p, s, ' ', ' ');
  }
}

static bool invert(Parser *p, CharSet *s) {
  CharSet out = {0};
  uint32_t from = 0;
  bool ok = true;
  for (int i = 0; ok && i < s->n; i++) {
    if (s->r[i].low > from) ok = add(p, &out, from, s->r[i].low - 1);
    from = s->r[i].high + 1;
  }
  if (ok && from <= LAST_CHAR) ok = add(p, &out, from, LAST_CHAR);
  mem_free(s->r);
  *s = out;
  return ok;
}

/* One character of the pattern itself. */
static bool take_char(Parser *p, uint32_t *c) {
  uint8_t first = (uint8_t)peek(p);
  int n = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
  if (n == 0 || p->at + (size_t)n > p->s.n) return bad(p, "invalid UTF-8") != NULL;
  *c = n == 1 ? first : first & (0x7Fu >> n);
  for (int i = 1; i < n; i++) *c = *c << 6 | ((uint8_t)p->s.s[p->at + (size_t)i] & 63);
  p->at += (size_t)n;
  return true;
}

static bool take_hex(Parser *p, int digits, uint32_t *c) {
  *c = 0;
  for (int i = 0; i < digits; i++, p->at++) {
    const char *all = "0123456789abcdef", *at = more(p) && peek(p) ? strchr(all, peek(p) | 32) : NULL;
    if (!at) return bad(p, "expected a hexadecimal digit") != NULL;
    *c = *c * 16 + (uint32_t)(at - all);
  }
  return true;
}

/* Behind a backslash: a class into *s (then *c is UINT32_MAX), or one character. */
static bool take_escape(Parser *p, CharSet *s, uint32_t *c) {
  if (!more(p)) return bad(p, "nothing after the backslash") != NULL;
  char e = peek(p);
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
    for (int i = 0; ok && i < inverse.n; i++) ok = add(p, s, inverse.r[i].low, inverse.r[i].high);
    mem_free(inverse.r);
    return ok;
  }
  if (simple) {
    p->at++;
    *c = (uint8_t)to[simple - from];
    return true;
  }
  if (e == 'x' || e == 'u') {
    p->at++;
    return take_hex(p, e == 'x' ? 2 : 4, c);
  }
  if ((e >= '0' && e <= '9') || (e >= 'A' && e <= 'Z') || (e >= 'a' && e <= 'z')) return bad(p, "this escape is not supported") != NULL;
  return take_char(p, c);
}

static Regex *parse_class(Parser *p) {
  Regex *r = make_set(p);
  bool inverse = more(p) && peek(p) == '^', first = true;
  if (!r) return NULL;
  p->at += inverse;
  for (;; first = false) {
    uint32_t low, high;
    if (!more(p)) return bad(p, "the class has no end");
    if (peek(p) == ']' && !first) break;
    if (peek(p) == '\\' ? (p->at++, !take_escape(p, &r->set, &low)) : !take_char(p, &low)) return NULL;
    if (low == UINT32_MAX) continue;
    high = low;
    if (p->at + 1 < p->s.n && peek(p) == '-' && p->s.s[p->at + 1] != ']') {
      p->at++;
      if (peek(p) == '\\' ? (p->at++, !take_escape(p, &r->set, &high)) : !take_char(p, &high)) return NULL;
      if (high == UINT32_MAX || high < low) return bad(p, "a range of the class is not in order");
    }
    if (!add(p, &r->set, low, high)) return NULL;
  }
  p->at++;
  return !inverse || invert(p, &r->set) ? r : NULL;
}

static Regex *parse_alternatives(Parser *p);

static Regex *parse_group(Parser *p) {
  if (more(p) && peek(p) == '?') {
    if (p->at + 1 < p->s.n && p->s.s[p->at + 1] == ':') p->at += 2;
    else return bad(p, "only groups (...) and (?:...) are supported");
  }
  Regex *r = parse_alternatives(p);
  if (r && (!more(p) || peek(p) != ')')) return bad(p, "expected )");
  p->at++;
  return r;
}

static Regex *parse_atom(Parser *p) {
  char c = peek(p);
  if (c == '(') return p->at++, parse_group(p);
  if (c == '[') return p->at++, parse_class(p);
  if (strchr("*+?{", c)) return bad(p, "nothing to repeat");
  if (c == '^' || c == '$') return bad(p, "anchors stand at the ends of the whole expression only");
  Regex *r = make_set(p);
  uint32_t one;
  if (!r) return NULL;
  if (c == '.') {
    p->at++;
    return add(p, &r->set, 0, '\n' - 1) && add(p, &r->set, '\n' + 1, LAST_CHAR) ? r : NULL;
  }
  if (c == '\\' ? (p->at++, !take_escape(p, &r->set, &one)) : !take_char(p, &one)) return NULL;
  return one == UINT32_MAX || add(p, &r->set, one, one) ? r : NULL;
}

static bool take_number(Parser *p, int *out) {
  if (!more(p) || peek(p) < '0' || peek(p) > '9') return false;
  for (*out = 0; more(p) && peek(p) >= '0' && peek(p) <= '9' && *out <= REGEX_REPEAT; p->at++) *out = *out * 10 + (peek(p) - '0');
  return true;
}

static Regex *parse_repeat(Parser *p) {
  Regex *r = parse_atom(p);
  while (r && more(p) && strchr("*+?{", peek(p))) {
    char c = peek(p);
    int least = c == '+', most = c == '?' ? 1 : -1;
    p->at++;
    if (c == '{') {
      if (!take_number(p, &least)) return bad(p, "expected a number of repetitions");
      most = least;
      if (more(p) && peek(p) == ',') {
        p->at++;
        if (!take_number(p, &most)) most = -1;
      }
      if (!more(p) || peek(p) != '}' || least > REGEX_REPEAT || most > REGEX_REPEAT || (most >= 0 && most < least))
        return bad(p, "expected {m}, {m,} or {m,n} with m <= n <= 10000");
      p->at++;
    }
    if (more(p) && peek(p) == '?') p->at++; /* lazy or not, the same texts match */
    Regex *outer = make(p, R_REPEAT, r, NULL);
    if (outer) outer->least = least, outer->most = most;
    r = outer;
  }
  return r;
}

static Regex *parse_alternatives(Parser *p) {
  if (++p->depth > GRAMMAR_DEPTH) return bad(p, "groups are nested too deeply");
  Regex *all = NULL;
  for (;;) {
    Regex *one = make(p, R_EMPTY, NULL, NULL);
    while (one && more(p) && peek(p) != '|' && peek(p) != ')') {
      Regex *next = parse_repeat(p);
      one = next ? one->kind == R_EMPTY ? next : make(p, R_CAT, one, next) : NULL;
    }
    if (!one) return NULL;
    all = all ? make(p, R_ALT, all, one) : one;
    if (!all || !more(p) || peek(p) != '|') break;
    p->at++;
  }
  p->depth--;
  return all;
}

static int build(Grammar *g, const Regex *r, bool quoted, int next) {
  if (g->err->set) return 0;
  switch (r->kind) {
    case R_EMPTY: return next;
    case R_SET: return g_set(g, &r->set, quoted, next);
    case R_CAT: return build(g, r->a, quoted, build(g, r->b, quoted, next));
    case R_ALT: return g_split(g, build(g, r->a, quoted, next), build(g, r->b, quoted, next));
    default: {
      int rule = g_rule(g), body = build(g, r->a, quoted, 0);
      if (g->err->set) return 0;
      g->rule[rule] = body;
      return g_repeat(g, rule, r->least, r->most, next);
    }
  }
}

/* Whether a | stands outside of all groups and classes. */
static bool has_choice(Str s) {
  int depth = 0;
  bool in_class = false;
  for (size_t i = 0; i < s.n; i++) {
    if (s.s[i] == '\\') i++;
    else if (in_class) in_class = s.s[i] != ']';
    else if (s.s[i] == '[') in_class = true;
    else if (s.s[i] == '(') depth++;
    else if (s.s[i] == ')') depth--;
    else if (s.s[i] == '|' && depth == 0) return true;
  }
  return false;
}

static int any_text(Grammar *g, bool quoted, int next) {
  CharRange all = {0, LAST_CHAR};
  int rule = g_rule(g), body = g_set(g, &(CharSet){&all, 1, 1}, quoted, 0);
  if (g->err->set) return 0;
  g->rule[rule] = body;
  return g_repeat(g, rule, 0, -1, next);
}

int g_regex(Grammar *g, Str pattern, bool quoted, bool search, int next) {
  Parser *p = mem_alloc(1, sizeof *p, g->err);
  if (!p) return 0;
  Str s = pattern;
  bool from_start = s.n && s.s[0] == '^', to_end = s.n > 1 && s.s[s.n - 1] == '$' && s.s[s.n - 2] != '\\';
  if ((from_start || to_end) && has_choice(s)) g_fail(g, "regular expression: put ( ) around the alternatives between the anchors of '%.*s'", STR_FMT(s));
  if (from_start) s = (Str){s.s + 1, s.n - 1};
  if (to_end) s.n--;
  *p = (Parser){.g = g, .s = s};
  Regex *r = parse_alternatives(p);
  if (r && more(p)) r = bad(p, "unmatched )");
  int node = 0;
  if (r) {
    if (search && !to_end) next = any_text(g, quoted, next);
    node = build(g, r, quoted, next);
    if (search && !from_start) node = any_text(g, quoted, node);
  }
  for (int i = 0; i < p->sets; i++) mem_free(p->made[i]->r);
  arena_free(&p->arena);
  mem_free(p);
  return node;
}

Grammar *grammar_of_regex(Str pattern, Err *err) {
  Grammar *g = grammar_new(err);
  if (!g) return NULL;
  g->start = g_regex(g, pattern, false, false, 0);
  if (!err->set) return g;
  grammar_free(g);
  return NULL;
}
