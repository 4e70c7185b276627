/* serve/regex: regular expressions as automata. */
#include "serve/pattern.h"

#include <string.h>

static Pattern *parse_alternatives(PatternParser *p);

static Pattern *parse_group(PatternParser *p) {
  if (pattern_more(p) && pattern_peek(p) == '?') {
    if (p->at + 1 < p->s.n && p->s.s[p->at + 1] == ':') p->at += 2;
    else return pattern_bad(p, "only groups (...) and (?:...) are supported");
  }
  Pattern *r = parse_alternatives(p);
  if (r && (!pattern_more(p) || pattern_peek(p) != ')')) return pattern_bad(p, "expected )");
  p->at++;
  return r;
}

static Pattern *parse_atom(PatternParser *p) {
  char c = pattern_peek(p);
  if (c == '(') return p->at++, parse_group(p);
  if (c == '[') return p->at++, pattern_class(p);
  if (strchr("*+?{", c)) return pattern_bad(p, "nothing to repeat");
  if (c == '^' || c == '$') return pattern_bad(p, "anchors stand at the ends of the whole expression only");
  Pattern *r = pattern_atom(p, P_SET);
  uint32_t one;
  if (!r) return NULL;
  if (c == '.') {
    p->at++;
    return pattern_add(p, &r->set, 0, '\n' - 1) && pattern_add(p, &r->set, '\n' + 1, LAST_CHAR) ? r : NULL;
  }
  if (c == '\\' ? (p->at++, !pattern_escape(p, &r->set, &one)) : !pattern_char(p, &one)) return NULL;
  return one == UINT32_MAX || pattern_add(p, &r->set, one, one) ? r : NULL;
}

static Pattern *parse_alternatives(PatternParser *p) {
  if (++p->depth > GRAMMAR_DEPTH) return pattern_bad(p, "groups are nested too deeply");
  Pattern *all = NULL;
  for (;;) {
    Pattern *one = pattern_make(p, P_EMPTY, NULL, NULL);
    while (one && pattern_more(p) && pattern_peek(p) != '|' && pattern_peek(p) != ')') {
      one = pattern_cat(p, one, pattern_repeats(p, parse_atom(p)));
    }
    if (!one) return NULL;
    all = all ? pattern_make(p, P_ALT, all, one) : one;
    if (!all || !pattern_more(p) || pattern_peek(p) != '|') break;
    p->at++;
  }
  p->depth--;
  return all;
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
  Str s = pattern;
  bool from_start = s.n && s.s[0] == '^', to_end = s.n > 1 && s.s[s.n - 1] == '$' && s.s[s.n - 2] != '\\';
  if ((from_start || to_end) && has_choice(s)) g_fail(g, "regular expression: put ( ) around the alternatives between the anchors of '%.*s'", STR_FMT(s));
  if (from_start) s = (Str){s.s + 1, s.n - 1};
  if (to_end) s.n--;
  PatternParser p = {.g = g, .what = "regular expression", .s = s, .lazy = true};
  Pattern *r = parse_alternatives(&p);
  if (r && pattern_more(&p)) r = pattern_bad(&p, "unmatched )");
  int node = 0;
  if (r) {
    if (search && !to_end) next = any_text(g, quoted, next);
    node = pattern_build(g, r, quoted, next);
    if (search && !from_start) node = any_text(g, quoted, node);
  }
  pattern_parser_free(&p);
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
