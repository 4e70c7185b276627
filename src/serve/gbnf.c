/* serve/gbnf: grammars as llama.cpp writes them: name ::= alternatives, one rule a line, the rule root is the whole reply. */
#include "serve/pattern.h"

#include <string.h>

enum { MOST_RULES = 4096 };

typedef struct {
  Str name;
  Pattern *body; /* NULL: not defined yet */
  bool nullable;
  uint8_t visit; /* 1: on the path, 2: done */
} Rule;

typedef struct {
  PatternParser p;
  Rule rule[MOST_RULES];
  int rules;
} Gbnf;

static Pattern *parse_alternatives(Gbnf *b, bool nested);

static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'; }

/* Spaces and comments; line ends where they do not end the rule. */
static void skip(PatternParser *p, bool lines) {
  for (; pattern_more(p); p->at++) {
    if (pattern_peek(p) == '#')
      while (pattern_more(p) && pattern_peek(p) != '\n' && pattern_peek(p) != '\r') p->at++;
    if (!pattern_more(p) || !strchr(lines ? " \t\r\n" : " \t", pattern_peek(p))) return;
  }
}

static Str take_name(PatternParser *p) {
  size_t from = p->at;
  while (pattern_more(p) && is_name(pattern_peek(p))) p->at++;
  return (Str){p->s.s + from, p->at - from};
}

/* The number of a rule, which may be defined later; -1 with an error. */
static int rule_of(Gbnf *b, Str name) {
  for (int i = 0; i < b->rules; i++)
    if (b->rule[i].name.n == name.n && memcmp(b->rule[i].name.s, name.s, name.n) == 0) return i;
  if (b->rules == MOST_RULES) return pattern_bad(&b->p, "too many rules"), -1;
  b->rule[b->rules] = (Rule){.name = name};
  g_rule(b->p.g); /* ours and the grammar's have the same numbers */
  return b->p.g->err->set ? -1 : b->rules++;
}

static Pattern *parse_text(Gbnf *b) {
  PatternParser *p = &b->p;
  Pattern *r = pattern_atom(p, P_TEXT);
  const char *end = memchr(p->s.s + p->at, '\n', p->s.n - p->at); /* a text ends on its line; bytes never grow */
  size_t most = end ? (size_t)(end - (p->s.s + p->at)) : p->s.n - p->at;
  char *out = r ? arena_alloc(&p->arena, most + 4, 1, p->g->err) : NULL;
  if (!out) return NULL;
  r->text.s = out;
  for (;;) {
    uint32_t c;
    CharSet none = {0};
    if (!pattern_more(p) || pattern_peek(p) == '\n') return pattern_bad(p, "the text has no closing quote");
    if (pattern_peek(p) == '"') break;
    if (pattern_peek(p) != '\\') {
      if (!pattern_char(p, &c)) return NULL;
    } else {
      p->at++;
      bool ok = pattern_escape(p, &none, &c);
      mem_free(none.r);
      if (!ok) return NULL;
    }
    if (c == UINT32_MAX || (c >= 0xD800 && c < 0xE000)) return pattern_bad(p, "only characters can stand in a text");
    r->text.n += (size_t)g_utf8(c, (uint8_t *)out + r->text.n);
  }
  p->at++;
  return r;
}

static Pattern *parse_atom(Gbnf *b) {
  PatternParser *p = &b->p;
  char c = pattern_peek(p);
  Pattern *r;
  if (is_name(c)) {
    r = pattern_atom(p, P_CALL);
    if (r && (r->rule = rule_of(b, take_name(p))) < 0) r = NULL;
    return r;
  }
  p->at++;
  switch (c) {
    case '"': return parse_text(b);
    case '[': return pattern_class(p);
    case '.': return (r = pattern_atom(p, P_SET)) && pattern_add(p, &r->set, 0, LAST_CHAR) ? r : NULL;
    case '(':
      r = parse_alternatives(b, true);
      if (!r) return NULL;
      if (!pattern_more(p) || pattern_peek(p) != ')') return pattern_bad(p, "expected )");
      p->at++;
      return r;
    default: p->at--; return pattern_bad(p, "expected a name, \"text\", [class], ( or .");
  }
}

static Pattern *parse_alternatives(Gbnf *b, bool nested) {
  PatternParser *p = &b->p;
  Pattern *all = NULL;
  if (++p->depth > GRAMMAR_DEPTH) return pattern_bad(p, "groups are nested too deeply");
  for (;;) {
    Pattern *one = pattern_make(p, P_EMPTY, NULL, NULL);
    for (skip(p, true); one && pattern_more(p) && !strchr("|)\r\n", pattern_peek(p)); skip(p, nested)) {
      Pattern *atom = parse_atom(b);
      skip(p, nested);
      one = pattern_cat(p, one, pattern_repeats(p, atom));
    }
    all = all && one ? pattern_make(p, P_ALT, all, one) : one;
    if (!all || !pattern_more(p) || pattern_peek(p) != '|') break;
    p->at++;
  }
  p->depth--;
  return all;
}

static bool parse_rule(Gbnf *b) {
  PatternParser *p = &b->p;
  Str name = take_name(p);
  if (!name.n) return pattern_bad(p, "expected the name of a rule") != NULL;
  int rule = rule_of(b, name);
  if (rule < 0) return false;
  skip(p, false);
  if (p->s.n - p->at < 3 || memcmp(p->s.s + p->at, "::=", 3) != 0) return pattern_bad(p, "expected ::=") != NULL;
  if (b->rule[rule].body) return pattern_bad(p, "the rule is defined twice") != NULL;
  p->at += 3;
  b->rule[rule].body = parse_alternatives(b, false);
  if (b->rule[rule].body && pattern_more(p) && !strchr("\r\n", pattern_peek(p))) return pattern_bad(p, "unmatched )") != NULL;
  return b->rule[rule].body != NULL;
}

static bool nullable(const Gbnf *b, const Pattern *r) {
  switch (r->kind) {
    case P_EMPTY: return true;
    case P_SET: return false;
    case P_TEXT: return r->text.n == 0;
    case P_CAT: return nullable(b, r->a) && nullable(b, r->b);
    case P_ALT: return nullable(b, r->a) || nullable(b, r->b);
    case P_REPEAT: return r->least == 0 || nullable(b, r->a);
    default: return b->rule[r->rule].nullable;
  }
}

/* Whether a rule can come back to itself without a character: the automaton would have no end. */
static bool left_recursive(Gbnf *b, const Pattern *r) {
  switch (r->kind) {
    case P_CAT: return left_recursive(b, r->a) || (nullable(b, r->a) && left_recursive(b, r->b));
    case P_ALT: return left_recursive(b, r->a) || left_recursive(b, r->b);
    case P_REPEAT: return left_recursive(b, r->a);
    case P_CALL: break;
    default: return false;
  }
  Rule *rule = &b->rule[r->rule];
  if (rule->visit) return rule->visit == 1;
  rule->visit = 1;
  if (left_recursive(b, rule->body)) return true;
  rule->visit = 2;
  return false;
}

static bool check_rules(Gbnf *b, int *root) {
  PatternParser *p = &b->p;
  *root = -1;
  for (int i = 0; i < b->rules; i++) {
    if (b->rule[i].name.n == 4 && memcmp(b->rule[i].name.s, "root", 4) == 0) *root = i;
    if (!b->rule[i].body) return g_fail(p->g, "grammar: the rule '%.*s' is not defined", STR_FMT(b->rule[i].name)) != 0;
  }
  if (*root < 0) return g_fail(p->g, "grammar: the rule 'root' is not defined") != 0;
  for (bool more = true; more;) {
    more = false;
    for (int i = 0; i < b->rules; i++)
      if (!b->rule[i].nullable && nullable(b, b->rule[i].body)) b->rule[i].nullable = more = true;
  }
  for (int i = 0; i < b->rules; i++)
    if (left_recursive(b, &(Pattern){.kind = P_CALL, .rule = i}))
      return g_fail(p->g, "grammar: the rule '%.*s' begins with itself", STR_FMT(b->rule[i].name)) != 0;
  return true;
}

Grammar *grammar_of_gbnf(Str text, Err *err) {
  Grammar *g = grammar_new(err);
  Gbnf *b = g ? mem_alloc(1, sizeof *b, err) : NULL;
  int root;
  if (b) {
    b->p = (PatternParser){.g = g, .what = "grammar", .s = text};
    bool ok = true;
    for (skip(&b->p, true); ok && pattern_more(&b->p); skip(&b->p, true)) ok = parse_rule(b);
    ok = ok && check_rules(b, &root);
    for (int i = 0; ok && i < b->rules; i++) {
      int body = pattern_build(g, b->rule[i].body, false, 0);
      if (!err->set) g->rule[i] = body;
    }
    if (ok) g->start = g_call(g, root, 0);
    pattern_parser_free(&b->p);
    mem_free(b);
  }
  if (!err->set) return g;
  grammar_free(g);
  return NULL;
}
