/* text/jinja_parse: from template source to a syntax tree.
 *
 * The language is the part of Jinja that chat templates use, with trim_blocks and lstrip_blocks on, as transformers
 * renders them.  What is outside it is an error with its line.
 */
#include "text/jinja.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef enum { K_END, K_NAME, K_STR, K_INT, K_FLOAT, K_SIGN, K_CLOSE } TokenKind; /* K_CLOSE: %} or }} */

typedef struct {
  TokenKind kind;
  Str text; /* a string's is unescaped */
} Token;

typedef struct {
  ChatTemplate *t;
  const char *s;
  size_t n, at;
  Token now;        /* look-ahead within a tag */
  int depth;
  bool trim_left;   /* the last tag closed with -%} */
  bool trim_line;   /* the last tag was a block: a newline behind it goes */
  Str stop;         /* the word of the tag that ended a statement list */
  Err *err;
} Parser;

static int line_of(const Parser *p) {
  int line = 1;
  for (size_t i = 0; i < p->at && i < p->n; i++) line += p->s[i] == '\n';
  return line;
}

static bool bad(const Parser *p, const char *what, Str found) {
  return err_set(p->err, "chat template, line %d: %s '%.*s'", line_of(p), what, STR_FMT(found));
}

static Node *node(Parser *p, NodeKind kind) {
  Node *n = arena_alloc(&p->t->arena, 1, sizeof *n, p->err);
  if (n) *n = (Node){.kind = kind, .line = line_of(p), .op = OP_NONE};
  return n;
}

static bool deeper(Parser *p) { return ++p->depth <= JINJA_DEPTH || bad(p, "nested too deeply at", STR("")); }

/* ---- tokens inside a tag ---- */

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static bool read_string(Parser *p, char quote) {
  size_t from = ++p->at;
  while (p->at < p->n && p->s[p->at] != quote) p->at += p->s[p->at] == '\\' ? 2 : 1;
  if (p->at >= p->n) return bad(p, "a string is not closed:", (Str){p->s + from - 1, 1});
  char *out = arena_alloc(&p->t->arena, p->at - from + 1, 1, p->err);
  size_t k = 0;
  if (!out) return false;
  for (size_t i = from; i < p->at; i++) {
    if (p->s[i] != '\\') {
      out[k++] = p->s[i];
      continue;
    }
    static const char code[] = "n\nt\tr\r\\\\'\'\"\"";
    const char *c = NULL;
    i++;
    for (const char *q = code; *q; q += 2)
      if (*q == p->s[i]) c = q;
    if (!c) return bad(p, "unknown escape in a string:", (Str){p->s + i - 1, 2});
    out[k++] = c[1];
  }
  p->at++;
  p->now = (Token){K_STR, {out, k}};
  return true;
}

/* A closing mark at the cursor: "%}", "-%}", "}}" or "-}}"; its length or 0. */
static size_t closing(const Parser *p) {
  size_t i = p->at + (p->at < p->n && p->s[p->at] == '-');
  return i + 1 < p->n && (p->s[i] == '%' || p->s[i] == '}') && p->s[i + 1] == '}' ? i + 2 - p->at : 0;
}

static bool advance(Parser *p) {
  static const char *const two[] = {"==", "!=", "<=", ">=", "//", "**"};
  while (p->at < p->n && is_blank(p->s[p->at])) p->at++;
  if (p->at >= p->n) {
    p->now = (Token){K_END, STR("")};
    return bad(p, "a tag is not closed", STR(""));
  }
  const char *s = p->s + p->at;
  if (*s == '"' || *s == '\'') return read_string(p, *s);
  size_t n = closing(p);
  TokenKind kind = K_CLOSE;
  if (n == 0 && is_word(*s)) {
    bool number = *s >= '0' && *s <= '9';
    while (p->at + n < p->n && is_word(s[n])) n++;
    kind = number ? K_INT : K_NAME;
    if (number && p->at + n + 1 < p->n && s[n] == '.' && s[n + 1] >= '0' && s[n + 1] <= '9') {
      for (n++; p->at + n < p->n && is_word(s[n]);) n++;
      kind = K_FLOAT;
    }
  } else if (n == 0) {
    kind = K_SIGN;
    n = 1;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
      if (p->at + 1 < p->n && memcmp(s, two[i], 2) == 0) n = 2;
    if (n == 1 && !strchr("+-*/%~<>=()[]{},.:|", *s)) return bad(p, "unexpected character", (Str){s, 1});
  }
  p->now = (Token){kind, {s, n}};
  p->at += n;
  return true;
}

static bool is(const Parser *p, const char *text) {
  return (p->now.kind == K_SIGN || p->now.kind == K_NAME) && str_eq(p->now.text, str_from(text));
}

/* Steps over `text` if it stands here. */
static bool accept(Parser *p, const char *text) { return is(p, text) && advance(p); }

static bool expect(Parser *p, const char *text) {
  if (is(p, text)) return advance(p);
  return err_set(p->err, "chat template, line %d: expected '%s', found '%.*s'", line_of(p), text, STR_FMT(p->now.text));
}

static bool take_name(Parser *p, Str *out) {
  if (p->now.kind != K_NAME) return bad(p, "expected a name, found", p->now.text);
  *out = p->now.text;
  return advance(p);
}

/* ---- expressions ---- */

static Node *expression(Parser *p);

/* Arguments up to ')': args linked by next, keyword set where given. */
static bool arguments(Parser *p, Node **first) {
  Node **tail = first;
  while (!p->err->set && !is(p, ")")) {
    Node *a = expression(p);
    if (!a) return false;
    if (a->kind == X_NAME && is(p, "=")) {
      Str keyword = a->name;
      if (!advance(p) || !(a = expression(p))) return false;
      Node *holder = node(p, X_CHOICE); /* a fresh node, so that `next` of a shared expression is never touched */
      if (!holder) return false;
      *holder = *a;
      holder->keyword = keyword;
      a = holder;
    }
    *tail = a;
    tail = &a->next;
    if (!accept(p, ",")) break;
  }
  return expect(p, ")");
}

static Node *list_display(Parser *p, const char *close) {
  Node *n = node(p, X_LIST), **tail = n ? &n->args : NULL;
  while (n && !p->err->set && !is(p, close)) {
    Node *a = expression(p);
    if (!a) return NULL;
    *tail = a;
    tail = &a->next;
    if (!accept(p, ",")) break;
  }
  return n && expect(p, close) ? n : NULL;
}

static Node *dict_display(Parser *p) {
  Node *n = node(p, X_DICT), **tail = n ? &n->args : NULL;
  while (n && !p->err->set && !is(p, "}")) {
    Node *key = expression(p);
    if (!key || !expect(p, ":")) return NULL;
    Node *value = expression(p);
    if (!value) return NULL;
    *tail = key;
    key->next = value;
    tail = &value->next;
    if (!accept(p, ",")) break;
  }
  if (!n) return NULL;
  /* "}}" may close a dict and the tag: the lexer has taken it as one mark */
  if (p->now.kind == K_CLOSE && p->now.text.n == 2 && p->now.text.s[0] == '}') {
    p->at--;
    p->now = (Token){K_SIGN, {p->s + p->at - 1, 1}};
  }
  return expect(p, "}") ? n : NULL;
}

static Node *number(Parser *p) {
  Node *n = node(p, X_LITERAL);
  char text[64];
  if (!n) return NULL;
  if (p->now.text.n >= sizeof text) return bad(p, "number too long:", p->now.text), NULL;
  memcpy(text, p->now.text.s, p->now.text.n);
  text[p->now.text.n] = 0;
  char *end;
  errno = 0;
  if (p->now.kind == K_INT) n->literal = value_int(strtoll(text, &end, 10));
  else n->literal = (Value){V_FLOAT, {.f = strtod(text, &end)}};
  if (*end || errno) return bad(p, "not a number:", p->now.text), NULL;
  return advance(p) ? n : NULL;
}

/* Adjacent strings are one string. */
static Node *string(Parser *p) {
  Node *n = node(p, X_LITERAL);
  Buf b = {0};
  bool ok = n != NULL;
  while (ok && p->now.kind == K_STR) ok = buf_put(&b, p->now.text.s, p->now.text.n, p->err) && advance(p);
  if (ok) n->literal = value_str(arena_copy(&p->t->arena, (Str){b.s, b.n}, p->err));
  ok = ok && n->literal.u.s.s;
  buf_free(&b);
  return ok ? n : NULL;
}

static Node *name(Parser *p) {
  static const struct {
    const char *name;
    Value v;
  } constant[] = {{"true", {V_BOOL, {.b = true}}}, {"True", {V_BOOL, {.b = true}}}, {"false", {V_BOOL, {.b = false}}},
                  {"False", {V_BOOL, {.b = false}}}, {"none", {V_NONE, {0}}}, {"None", {V_NONE, {0}}}};
  Node *n = node(p, X_NAME);
  if (!n) return NULL;
  n->name = p->now.text;
  for (size_t i = 0; i < sizeof constant / sizeof *constant; i++)
    if (str_eq(n->name, str_from(constant[i].name))) n->kind = X_LITERAL, n->literal = constant[i].v;
  return advance(p) ? n : NULL;
}

static Node *parenthesis(Parser *p) {
  Node *n = is(p, ")") ? node(p, X_LIST) : expression(p);
  if (n && is(p, ",")) { /* a tuple */
    Node *tuple = node(p, X_LIST), **tail;
    if (!tuple) return NULL;
    tuple->args = n;
    for (tail = &n->next; accept(p, ",") && !is(p, ")");) {
      Node *a = expression(p);
      if (!a) return NULL;
      *tail = a;
      tail = &a->next;
    }
    n = tuple;
  }
  return n && expect(p, ")") ? n : NULL;
}

static Node *primary(Parser *p) {
  if (p->now.kind == K_STR) return string(p);
  if (p->now.kind == K_INT || p->now.kind == K_FLOAT) return number(p);
  if (p->now.kind == K_NAME) return name(p);
  if (accept(p, "(")) return parenthesis(p);
  if (accept(p, "[")) return list_display(p, "]");
  if (accept(p, "{")) return dict_display(p);
  if (!p->err->set) bad(p, "expected an expression, found", p->now.text);
  return NULL;
}

/* a[b], or a[b:c:d] */
static Node *subscript(Parser *p, Node *object) {
  Node *n = node(p, X_MEMBER), *part[3] = {0};
  int parts = 0;
  if (!n) return NULL;
  for (;; parts++) {
    if (parts == 3) return bad(p, "too many ':' in a slice before", p->now.text), NULL;
    if (!is(p, ":") && !is(p, "]") && !(part[parts] = expression(p))) return NULL;
    if (!accept(p, ":")) break;
  }
  if (parts > 0) n->kind = X_SLICE;
  else if (!part[0]) return bad(p, "expected an index before", p->now.text), NULL;
  n->a = object;
  n->b = part[0];
  n->c = part[1];
  n->d = part[2];
  return !p->err->set && expect(p, "]") ? n : NULL;
}

static Node *postfix(Parser *p) {
  Node *n = primary(p);
  while (n && !p->err->set) {
    Node *up;
    if (accept(p, ".")) {
      if (!(up = node(p, X_MEMBER)) || !(up->b = node(p, X_LITERAL))) return NULL;
      Str key = {0};
      if (!take_name(p, &key)) return NULL;
      up->b->literal = value_str(key);
      up->a = n;
    } else if (accept(p, "[")) {
      up = subscript(p, n);
    } else if (accept(p, "(")) {
      if (!(up = node(p, X_CALL))) return NULL;
      up->a = n;
      if (!arguments(p, &up->args)) return NULL;
    } else {
      break;
    }
    n = up;
  }
  return p->err->set ? NULL : n;
}

static Node *unary(Parser *p);

static Node *filtered(Parser *p) {
  Node *n = postfix(p);
  while (n && accept(p, "|")) {
    Node *f = node(p, X_FILTER);
    if (!f || !take_name(p, &f->name)) return NULL;
    f->a = n;
    if (accept(p, "(") && !arguments(p, &f->args)) return NULL;
    n = f;
  }
  return p->err->set ? NULL : n;
}

/* a is [not] test, a is [not] test(argument) */
static Node *tested(Parser *p, Node *n) {
  while (n && accept(p, "is")) {
    Node *t = node(p, X_TEST);
    if (!t) return NULL;
    t->flag = accept(p, "not");
    if (!take_name(p, &t->name)) return NULL;
    t->a = n;
    if (accept(p, "(") && !arguments(p, &t->args)) return NULL;
    n = t;
  }
  return p->err->set ? NULL : n;
}

static Node *unary(Parser *p) {
  if (accept(p, "-")) {
    Node *n = node(p, X_NEGATE);
    return n && (n->a = unary(p)) ? n : NULL;
  }
  if (accept(p, "+")) return unary(p);
  return p->err->set ? NULL : tested(p, filtered(p));
}

static const struct {
  const char *text;
  Op op;
  int level;
} operators[] = {{"or", OP_OR, 0},      {"and", OP_AND, 1},    {"==", OP_EQ, 3},  {"!=", OP_NE, 3},  {"<", OP_LT, 3},
                 {">", OP_GT, 3},       {"<=", OP_LE, 3},      {">=", OP_GE, 3},  {"in", OP_IN, 3},  {"+", OP_ADD, 4},
                 {"-", OP_SUB, 4},      {"~", OP_CONCAT, 5},   {"*", OP_MUL, 6},  {"/", OP_DIV, 6},  {"//", OP_FLOOR_DIV, 6},
                 {"%", OP_MOD, 6}};
enum { LEVEL_NOT = 2, LEVEL_COMPARE = 3, LEVELS = 7 };

static Op operator_at(Parser *p, int level) {
  for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
    if (operators[i].level == level && is(p, operators[i].text)) return operators[i].op;
  return OP_NONE;
}

static Node *binary(Parser *p, int level) {
  if (level == LEVELS) return unary(p);
  if (level == LEVEL_NOT && accept(p, "not")) {
    Node *n = node(p, X_NOT);
    if (!n || !deeper(p) || !(n->a = binary(p, LEVEL_NOT))) return NULL;
    p->depth--;
    return n;
  }
  Node *n = binary(p, level + 1);
  for (Op op; n && !p->err->set;) {
    bool negated = level == LEVEL_COMPARE && is(p, "not"); /* "not in" */
    if (negated && (!advance(p) || !is(p, "in"))) return bad(p, "expected 'in' behind 'not', found", p->now.text), NULL;
    op = operator_at(p, level);
    if (op == OP_NONE) break;
    Node *up = node(p, X_BINARY);
    if (!up || !advance(p)) return NULL;
    up->op = negated ? OP_NOT_IN : op;
    up->a = n;
    if (!(up->b = binary(p, level + 1))) return NULL;
    n = up;
  }
  return p->err->set ? NULL : n;
}

/* a if b else c */
static Node *expression(Parser *p) {
  if (!deeper(p)) return NULL;
  Node *n = binary(p, 0);
  if (n && accept(p, "if")) {
    Node *choice = node(p, X_CHOICE);
    if (!choice) return NULL;
    choice->a = n;
    if (!(choice->b = binary(p, 0))) return NULL;
    if (accept(p, "else") && !(choice->c = expression(p))) return NULL;
    n = choice;
  }
  p->depth--;
  return p->err->set ? NULL : n;
}

/* ---- statements ---- */

static bool close_tag(Parser *p, bool block) {
  if (p->now.kind != K_CLOSE || (p->now.text.s[p->now.text.n - 2] == '%') != block)
    return bad(p, block ? "expected '%}', found" : "expected '}}', found", p->now.text);
  p->trim_left = p->now.text.s[0] == '-';
  p->trim_line = block;
  return true;
}

static Node *statements(Parser *p, const char *const *stops);

static bool body(Parser *p, Node **out, const char *const *stops) {
  if (!deeper(p)) return false;
  *out = statements(p, stops);
  p->depth--;
  return !p->err->set;
}

static Node *parse_if(Parser *p) {
  static const char *const stops[] = {"elif", "else", "endif", NULL}, *const end[] = {"endif", NULL};
  Node *n = node(p, S_IF);
  if (!n || !(n->a = expression(p)) || !close_tag(p, true) || !body(p, &n->body, stops)) return NULL;
  if (str_eq(p->stop, STR("elif"))) { /* the rest is an if of its own; it takes the endif */
    if (!deeper(p)) return NULL;
    n->other = parse_if(p);
    p->depth--;
    return n->other ? n : NULL;
  }
  if (str_eq(p->stop, STR("else")) && (!close_tag(p, true) || !body(p, &n->other, end))) return NULL;
  return close_tag(p, true) ? n : NULL;
}

static Node *parse_for(Parser *p) {
  static const char *const stops[] = {"else", "endfor", NULL}, *const end[] = {"endfor", NULL};
  Node *n = node(p, S_FOR), **tail = n ? &n->args : NULL;
  do { /* names of the loop's variables */
    if (!n || !(*tail = node(p, X_NAME)) || !take_name(p, &(*tail)->name)) return NULL;
    tail = &(*tail)->next;
  } while (accept(p, ","));
  if (p->err->set || !expect(p, "in") || !(n->a = binary(p, 0))) return NULL;
  if (accept(p, "if") && !(n->b = expression(p))) return NULL;
  if (p->err->set || !close_tag(p, true) || !body(p, &n->body, stops)) return NULL;
  if (str_eq(p->stop, STR("else")) && (!close_tag(p, true) || !body(p, &n->other, end))) return NULL;
  return close_tag(p, true) ? n : NULL;
}

static Node *parse_set(Parser *p) {
  static const char *const end[] = {"endset", NULL};
  Node *n = node(p, S_SET);
  if (!n || !take_name(p, &n->name)) return NULL;
  if (accept(p, ".") && !take_name(p, &n->keyword)) return NULL; /* an attribute of a namespace */
  if (p->err->set) return NULL;
  if (accept(p, "=")) return (n->a = expression(p)) && close_tag(p, true) ? n : NULL;
  n->kind = S_SET_BLOCK;
  return !p->err->set && close_tag(p, true) && body(p, &n->body, end) && close_tag(p, true) ? n : NULL;
}

static Node *parse_macro(Parser *p) {
  static const char *const end[] = {"endmacro", NULL};
  Node *n = node(p, S_MACRO), **tail = n ? &n->args : NULL;
  if (!n || !take_name(p, &n->name) || !expect(p, "(")) return NULL;
  while (!p->err->set && !is(p, ")")) { /* parameters: name, with the default in a */
    if (!(*tail = node(p, X_NAME)) || !take_name(p, &(*tail)->name)) return NULL;
    if (accept(p, "=") && !((*tail)->a = expression(p))) return NULL;
    tail = &(*tail)->next;
    if (!accept(p, ",")) break;
  }
  return expect(p, ")") && close_tag(p, true) && body(p, &n->body, end) && close_tag(p, true) ? n : NULL;
}

/* A block tag whose word is not one of `stops`. */
static Node *parse_block(Parser *p, Str word) {
  if (str_eq(word, STR("if"))) return parse_if(p);
  if (str_eq(word, STR("for"))) return parse_for(p);
  if (str_eq(word, STR("set"))) return parse_set(p);
  if (str_eq(word, STR("macro"))) return parse_macro(p);
  bool stops = str_eq(word, STR("break"));
  if (stops || str_eq(word, STR("continue"))) {
    Node *n = node(p, stops ? S_BREAK : S_CONTINUE);
    return n && close_tag(p, true) ? n : NULL;
  }
  bad(p, "unknown tag", word);
  return NULL;
}

/* Text up to the next tag, trimmed as the tags around it say; leaves the cursor on the tag. */
static Str text_until_tag(Parser *p) {
  size_t from = p->at, to;
  if (p->trim_left)
    while (from < p->n && is_blank(p->s[from])) from++;
  else if (p->trim_line && from < p->n && p->s[from] == '\n')
    from++;
  p->trim_left = p->trim_line = false;
  for (p->at = from; p->at < p->n; p->at++)
    if (p->s[p->at] == '{' && p->at + 1 < p->n && strchr("{%#", p->s[p->at + 1])) break;
  to = p->at;
  if (to < p->n && to + 2 < p->n && p->s[to + 2] == '-') {
    while (to > from && is_blank(p->s[to - 1])) to--;
  } else if (to < p->n && p->s[to + 1] != '{' && !(to + 2 < p->n && p->s[to + 2] == '+')) { /* lstrip_blocks */
    size_t i = to;
    while (i > from && (p->s[i - 1] == ' ' || p->s[i - 1] == '\t')) i--;
    if (i == 0 || p->s[i - 1] == '\n') to = i;
  }
  return (Str){p->s + from, to - from};
}

static bool skip_comment(Parser *p) {
  for (p->at += 2; p->at + 1 < p->n; p->at++)
    if (p->s[p->at] == '#' && p->s[p->at + 1] == '}') {
      p->trim_left = p->s[p->at - 1] == '-';
      p->trim_line = true;
      p->at += 2;
      return true;
    }
  return bad(p, "a comment is not closed", STR(""));
}

/* Statements up to a block tag whose word is in `stops` (NULL: the end of the source); that word is left in p->stop. */
static Node *statements(Parser *p, const char *const *stops) {
  Node *first = NULL, **tail = &first;
  while (!p->err->set) {
    Str text = text_until_tag(p);
    Node *n = NULL;
    if (text.n) {
      if (!(n = node(p, S_TEXT))) return NULL;
      n->name = text;
      *tail = n;
      tail = &n->next;
    }
    if (p->at >= p->n) {
      if (stops) bad(p, "the template ends where it needs", str_from(stops[0]));
      return first;
    }
    if (p->s[p->at + 1] == '#') {
      if (!skip_comment(p)) return NULL;
      continue;
    }
    bool block = p->s[p->at + 1] == '%';
    p->at += 2;
    if (p->at < p->n && (p->s[p->at] == '-' || p->s[p->at] == '+')) p->at++;
    if (!advance(p)) return NULL;
    if (block) {
      Str word;
      if (!take_name(p, &word)) return NULL;
      for (int i = 0; stops && stops[i]; i++)
        if (str_eq(word, str_from(stops[i]))) {
          p->stop = word;
          return first;
        }
      n = parse_block(p, word);
    } else if ((n = node(p, S_OUTPUT))) {
      if (!(n->a = expression(p)) || !close_tag(p, false)) return NULL;
    }
    if (!n) return NULL;
    *tail = n;
    tail = &n->next;
  }
  return NULL;
}

bool jinja_parse(ChatTemplate *t, Err *err) {
  Parser p = {.t = t, .s = t->source.s, .n = t->source.n, .err = err};
  if (p.n && p.s[p.n - 1] == '\n') p.n--; /* Jinja drops one newline at the end */
  t->body = statements(&p, NULL);
  return !err->set;
}
