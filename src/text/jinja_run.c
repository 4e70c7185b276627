/* text/jinja_run: renders a parsed chat template.
 *
 * Bounded in steps, depth, memory and output; no access to anything outside the variables it was given.  There is no
 * clock: strftime_now is not defined, so that a prompt depends on its messages only.
 */
#define _GNU_SOURCE /* memmem */
#include "text/jinja.h"

#include <string.h>
#include <utf8proc.h>

typedef struct Scope {
  struct Scope *outer;
  Dict vars;
} Scope;

typedef enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } Flow;

typedef struct {
  Arena arena;
  Scope globals, *scope;
  long steps;
  size_t memory;
  int depth, line;
  Buf *out;
  Err *err;
} Run;

static bool bad(Run *r, const char *what, Str which) {
  return err_set(r->err, "chat template, line %d: %s '%.*s'", r->line, what, STR_FMT(which));
}

static const Value undefined = {V_UNDEFINED, {0}};

/* ---- memory ---- */

static void *take(Run *r, size_t n) {
  r->memory += n;
  if (r->memory > JINJA_MEMORY) {
    bad(r, "uses too much memory near", STR(""));
    return NULL;
  }
  return arena_alloc(&r->arena, n ? n : 1, 1, r->err);
}

static bool new_str(Run *r, Str s, Value *out) {
  char *p = take(r, s.n);
  if (!p) return false;
  if (s.n) memcpy(p, s.s, s.n);
  *out = value_str((Str){p, s.n});
  return true;
}

static bool new_list(Run *r, Value *out) {
  *out = (Value){V_LIST, {.list = take(r, sizeof(List))}};
  return out->u.list != NULL;
}

static bool new_dict(Run *r, ValueKind kind, Value *out) {
  *out = (Value){kind, {.dict = take(r, sizeof(Dict))}};
  return out->u.dict != NULL;
}

static bool push(Run *r, List *l, Value v) {
  r->memory += sizeof v;
  return list_put(&r->arena, l, v, r->err);
}

static bool put(Run *r, Dict *d, const char *key, Value v) { return dict_put(&r->arena, d, value_str(str_from(key)), v, r->err); }

/* Text of any value, in a buffer that the caller frees. */
static bool text_of(Run *r, Value v, Buf *b) { return value_print(v, b, r->err); }

/* ---- evaluation ---- */

static bool eval(Run *r, const Node *n, Value *out);
static bool call_macro(Run *r, const Node *macro, const Node *args, Value *out);
static bool run_list(Run *r, const Node *n, Flow *flow);

static bool lookup(const Run *r, Str name, Value *out) {
  for (const Scope *s = r->scope; s; s = s->outer) {
    const Value *v = dict_get(&s->vars, value_str(name));
    if (v) {
      *out = *v;
      return true;
    }
  }
  return false;
}

static bool is_builtin(Str name) {
  static const char *const all[] = {"range", "namespace", "raise_exception", "dict"};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (str_eq(name, str_from(all[i]))) return true;
  return false;
}

enum { MOST_ARGS = 8 };
typedef struct {
  Value v[MOST_ARGS];
  int n;
  Value keyword[MOST_ARGS];
  Str name[MOST_ARGS];
  int keywords;
} Args;

static bool eval_args(Run *r, const Node *first, Args *a) {
  *a = (Args){0};
  for (const Node *n = first; n; n = n->next) {
    if (a->n == MOST_ARGS || a->keywords == MOST_ARGS) return bad(r, "too many arguments near", n->name);
    if (n->keyword.n) a->name[a->keywords] = n->keyword;
    if (!eval(r, n, n->keyword.n ? &a->keyword[a->keywords] : &a->v[a->n])) return false;
    if (n->keyword.n) a->keywords++;
    else a->n++;
  }
  return true;
}

static const Value *arg(const Args *a, int i, const char *keyword) {
  if (i < a->n) return &a->v[i];
  for (int k = 0; keyword && k < a->keywords; k++)
    if (str_eq(a->name[k], str_from(keyword))) return &a->keyword[k];
  return NULL;
}

static bool str_arg(Run *r, const Args *a, int i, const char *of, Str *out) {
  const Value *v = arg(a, i, NULL);
  if (!v || v->kind != V_STR) return bad(r, "expected text as an argument of", str_from(of));
  *out = v->u.s;
  return true;
}

/* ---- characters of strings ---- */

static int char_bytes(Str s, size_t at) {
  unsigned char c = (unsigned char)s.s[at];
  int n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  return (size_t)n > s.n - at ? (int)(s.n - at) : n;
}

static int64_t str_chars(Str s) {
  int64_t n = 0;
  for (size_t i = 0; i < s.n; i += (size_t)char_bytes(s, i)) n++;
  return n;
}

static bool blank(char c) { return c == ' ' || (c >= 9 && c <= 13); }

static Str strip(Str s, const char *set, bool left, bool right) {
  while (left && s.n && (set ? strchr(set, *s.s) != NULL : blank(*s.s))) s.s++, s.n--;
  while (right && s.n && (set ? strchr(set, s.s[s.n - 1]) != NULL : blank(s.s[s.n - 1]))) s.n--;
  return s;
}

typedef enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITAL } Casing;

static bool recase(Run *r, Str s, Casing how, Value *out) {
  Buf b = {0};
  bool first = true, ok = true;
  for (size_t i = 0; ok && i < s.n;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s.s + i, (utf8proc_ssize_t)(s.n - i), &c);
    if (n < 1) n = 1, c = 0xFFFD;
    bool up = how == CASE_UPPER || (how != CASE_LOWER && first);
    utf8proc_int32_t mapped = up ? utf8proc_toupper(c) : utf8proc_tolower(c);
    bool letter = utf8proc_toupper(c) != utf8proc_tolower(c);
    first = how == CASE_TITLE ? !letter : false;
    utf8proc_uint8_t enc[4];
    ok = buf_put(&b, enc, (size_t)utf8proc_encode_char(mapped, enc), r->err);
    i += (size_t)n;
  }
  ok = ok && new_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

static const char *find(Str s, Str what) { return what.n ? memmem(s.s, s.n, what.s, what.n) : s.s; }

static bool replace(Run *r, Str s, Str from, Str to, int64_t most, Value *out) {
  if (from.n == 0) return bad(r, "cannot replace empty text in", s);
  Buf b = {0};
  bool ok = true;
  for (const char *p; ok && most != 0 && (p = find(s, from)); most--) {
    size_t n = (size_t)(p - s.s);
    ok = b.n + to.n <= JINJA_OUTPUT ? buf_put(&b, s.s, n, r->err) && buf_put(&b, to.s, to.n, r->err) : bad(r, "text too long in", STR("replace"));
    s = (Str){p + from.n, s.n - n - from.n};
  }
  ok = ok && buf_put(&b, s.s, s.n, r->err) && new_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

static bool split(Run *r, Str s, const Str *by, int64_t most, Value *out) {
  if (!new_list(r, out)) return false;
  if (by && by->n == 0) return bad(r, "empty separator in", STR("split"));
  for (;;) {
    if (!by) s = strip(s, NULL, true, false);
    if (!by && s.n == 0) return true;
    size_t n = s.n, step = 0;
    if (most != 0) {
      if (by) {
        const char *p = find(s, *by);
        if (p) n = (size_t)(p - s.s), step = by->n;
      } else {
        for (n = 0; n < s.n && !blank(s.s[n]);) n++;
        step = n < s.n;
      }
    }
    if (!push(r, out->u.list, value_str((Str){s.s, n}))) return false;
    if (step == 0) return true;
    s = (Str){s.s + n + step, s.n - n - step};
    most--;
  }
}

/* ---- methods ---- */

static bool str_method(Run *r, Str s, Str name, const Args *a, Value *out) {
  Str x, y;
  if (str_eq(name, STR("strip")) || str_eq(name, STR("lstrip")) || str_eq(name, STR("rstrip"))) {
    char set[64];
    if (a->n) {
      if (!str_arg(r, a, 0, "strip", &x)) return false;
      if (x.n >= sizeof set) return bad(r, "too many characters to strip:", x);
      memcpy(set, x.s, x.n);
      set[x.n] = 0;
    }
    *out = value_str(strip(s, a->n ? set : NULL, name.s[0] != 'r', name.s[0] != 'l'));
    return true;
  }
  if (str_eq(name, STR("startswith"))) return str_arg(r, a, 0, "startswith", &x) && (*out = value_bool(str_starts(s, x)), true);
  if (str_eq(name, STR("endswith"))) return str_arg(r, a, 0, "endswith", &x) && (*out = value_bool(str_ends(s, x)), true);
  if (str_eq(name, STR("upper"))) return recase(r, s, CASE_UPPER, out);
  if (str_eq(name, STR("lower"))) return recase(r, s, CASE_LOWER, out);
  if (str_eq(name, STR("title"))) return recase(r, s, CASE_TITLE, out);
  if (str_eq(name, STR("capitalize"))) return recase(r, s, CASE_CAPITAL, out);
  if (str_eq(name, STR("replace"))) {
    const Value *most = arg(a, 2, "count");
    return str_arg(r, a, 0, "replace", &x) && str_arg(r, a, 1, "replace", &y) &&
           replace(r, s, x, y, most && most->kind == V_INT ? most->u.i : -1, out);
  }
  if (str_eq(name, STR("split"))) {
    const Value *most = arg(a, 1, "maxsplit");
    if (a->n && !str_arg(r, a, 0, "split", &x)) return false;
    return split(r, s, a->n ? &x : NULL, most && most->kind == V_INT ? most->u.i : -1, out);
  }
  return bad(r, "unknown method of text:", name);
}

static bool pairs_of(Run *r, const Dict *d, Value *out) {
  if (!new_list(r, out)) return false;
  for (int i = 0; i < d->n; i++) {
    Value pair;
    if (!new_list(r, &pair) || !push(r, pair.u.list, d->key[i]) || !push(r, pair.u.list, d->value[i]) || !push(r, out->u.list, pair))
      return false;
  }
  return true;
}

static bool dict_method(Run *r, const Dict *d, Str name, const Args *a, Value *out) {
  if (str_eq(name, STR("items"))) return pairs_of(r, d, out);
  bool keys = str_eq(name, STR("keys"));
  if (keys || str_eq(name, STR("values"))) {
    if (!new_list(r, out)) return false;
    for (int i = 0; i < d->n; i++)
      if (!push(r, out->u.list, keys ? d->key[i] : d->value[i])) return false;
    return true;
  }
  if (str_eq(name, STR("get")) && a->n) {
    const Value *v = dict_get(d, a->v[0]);
    *out = v ? *v : a->n > 1 ? a->v[1] : (Value){V_NONE, {0}};
    return true;
  }
  return bad(r, "unknown method of a dictionary:", name);
}

/* ---- members ---- */

static bool member(Run *r, Value object, Value key, Value *out) {
  *out = undefined;
  if (object.kind == V_DICT || object.kind == V_NAMESPACE) {
    const Value *v = dict_get(object.u.dict, key);
    if (v) *out = *v;
    return true;
  }
  if (object.kind == V_UNDEFINED) return bad(r, "undefined value has no member", key.kind == V_STR ? key.u.s : STR("[]"));
  int64_t i = key.kind == V_INT ? key.u.i : -1;
  if (object.kind == V_LIST && key.kind == V_INT) {
    if (i < 0) i += object.u.list->n;
    if (i >= 0 && i < object.u.list->n) *out = object.u.list->item[i];
    return true;
  }
  if (object.kind == V_STR && key.kind == V_INT) {
    if (i < 0) i += str_chars(object.u.s);
    for (size_t at = 0; i >= 0 && at < object.u.s.n; at += (size_t)char_bytes(object.u.s, at))
      if (i-- == 0) *out = value_str((Str){object.u.s.s + at, (size_t)char_bytes(object.u.s, at)});
    return true;
  }
  return true;
}

static bool slice_bound(Run *r, const Node *n, int64_t fallback, int64_t length, int64_t step, int64_t *out) {
  *out = fallback;
  if (!n) return true;
  Value v;
  if (!eval(r, n, &v)) return false;
  if (v.kind != V_INT) return bad(r, "expected a whole number in a slice near", STR(":"));
  int64_t i = v.u.i < 0 ? v.u.i + length : v.u.i, low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
  *out = i < low ? low : i > high ? high : i;
  return true;
}

static bool slice(Run *r, const Node *n, Value *out) {
  Value object, s;
  int64_t step = 1, from, to;
  if (!eval(r, n->a, &object)) return false;
  if (object.kind != V_LIST && object.kind != V_STR) return bad(r, "only lists and text can be sliced near", STR(":"));
  if (n->d) {
    if (!eval(r, n->d, &s)) return false;
    if (s.kind != V_INT || s.u.i == 0) return bad(r, "expected a step other than 0 in a slice near", STR(":"));
    step = s.u.i;
  }
  int64_t length = object.kind == V_LIST ? object.u.list->n : str_chars(object.u.s);
  if (!slice_bound(r, n->b, step < 0 ? length - 1 : 0, length, step, &from) ||
      !slice_bound(r, n->c, step < 0 ? -1 : length, length, step, &to) || !new_list(r, out))
    return false;
  for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
    Value v;
    if (!member(r, object, value_int(i), &v) || !push(r, out->u.list, v)) return false;
  }
  if (object.kind == V_LIST) return true;
  Buf b = {0};
  bool ok = true;
  for (int i = 0; ok && i < out->u.list->n; i++) ok = buf_put(&b, out->u.list->item[i].u.s.s, out->u.list->item[i].u.s.n, r->err);
  ok = ok && new_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

/* ---- tests and filters ---- */

static bool run_test(Run *r, Value v, Str name, const Args *a, bool *out) {
  static const struct {
    const char *name;
    unsigned kinds; /* bits of ValueKind */
  } by_kind[] = {{"undefined", 1u << V_UNDEFINED}, {"none", 1u << V_NONE}, {"boolean", 1u << V_BOOL}, {"integer", 1u << V_INT},
                 {"float", 1u << V_FLOAT}, {"number", 1u << V_INT | 1u << V_FLOAT}, {"string", 1u << V_STR},
                 {"mapping", 1u << V_DICT}, {"sequence", 1u << V_LIST | 1u << V_STR | 1u << V_DICT},
                 {"iterable", 1u << V_LIST | 1u << V_STR | 1u << V_DICT}, {"callable", 1u << V_MACRO | 1u << V_BUILTIN}};
  for (size_t i = 0; i < sizeof by_kind / sizeof *by_kind; i++)
    if (str_eq(name, str_from(by_kind[i].name))) return *out = by_kind[i].kinds >> v.kind & 1, true;
  if (str_eq(name, STR("defined"))) return *out = v.kind != V_UNDEFINED, true;
  if (str_eq(name, STR("true"))) return *out = v.kind == V_BOOL && v.u.b, true;
  if (str_eq(name, STR("false"))) return *out = v.kind == V_BOOL && !v.u.b, true;
  if (str_eq(name, STR("odd")) && v.kind == V_INT) return *out = v.u.i % 2 != 0, true;
  if (str_eq(name, STR("even")) && v.kind == V_INT) return *out = v.u.i % 2 == 0, true;
  if ((str_eq(name, STR("equalto")) || str_eq(name, STR("eq"))) && a->n) return *out = value_equal(v, a->v[0]), true;
  if (str_eq(name, STR("ne")) && a->n) return *out = !value_equal(v, a->v[0]), true;
  return bad(r, "unknown test", name);
}

/* selectattr(name[, test[, value]]) and rejectattr */
static bool select_by(Run *r, Value v, const Args *a, bool keep, Value *out) {
  Str name = {0}, test = {0};
  if (v.kind != V_LIST || !str_arg(r, a, 0, "selectattr", &name) || !new_list(r, out)) return bad(r, "expected a list before", STR("selectattr"));
  if (a->n > 1 && !str_arg(r, a, 1, "selectattr", &test)) return false;
  Args rest = {.n = a->n > 2 ? 1 : 0};
  if (rest.n) rest.v[0] = a->v[2];
  for (int i = 0; i < v.u.list->n; i++) {
    Value x;
    bool yes;
    if (!member(r, v.u.list->item[i], value_str(name), &x)) return false;
    if (a->n > 1 ? !run_test(r, x, test, &rest, &yes) : (yes = value_true(x), false)) return false;
    if (yes == keep && !push(r, out->u.list, v.u.list->item[i])) return false;
  }
  return true;
}

static bool map_by(Run *r, Value v, const Args *a, Value *out);

static bool join(Run *r, Value v, const Args *a, Value *out) {
  Str by = STR("");
  Buf b = {0};
  if (v.kind != V_LIST) return bad(r, "expected a list before", STR("join"));
  if (a->n && !str_arg(r, a, 0, "join", &by)) return false;
  bool ok = true;
  for (int i = 0; ok && i < v.u.list->n; i++)
    ok = (i == 0 || buf_put(&b, by.s, by.n, r->err)) && text_of(r, v.u.list->item[i], &b) && (b.n <= JINJA_OUTPUT || bad(r, "text too long in", STR("join")));
  ok = ok && new_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

static bool length_of(Run *r, Value v, Value *out) {
  if (v.kind != V_STR && v.kind != V_LIST && v.kind != V_DICT) return bad(r, "value without a length before", STR("length"));
  *out = value_int(v.kind == V_STR ? str_chars(v.u.s) : v.kind == V_LIST ? v.u.list->n : v.u.dict->n);
  return true;
}

static bool to_json(Run *r, Value v, const Args *a, Value *out) {
  const Value *indent = arg(a, 0, "indent");
  Buf b = {0};
  if (indent && (indent->kind != V_INT || indent->u.i < 0 || indent->u.i > 16)) return bad(r, "expected an indent of 0 to 16 in", STR("tojson"));
  bool ok = value_json(v, indent ? (int)indent->u.i : -1, 0, &b, r->err) && new_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

static bool to_string(Run *r, Value v, Value *out) {
  Buf b = {0};
  bool ok = text_of(r, v, &b) && new_str(r, (Str){b.s ? b.s : "", b.n}, out);
  buf_free(&b);
  return ok;
}

static bool to_list(Run *r, Value v, Value *out) {
  if (v.kind == V_LIST) return *out = v, true;
  if (v.kind == V_DICT) return dict_method(r, v.u.dict, STR("keys"), &(Args){0}, out);
  if (v.kind != V_STR || !new_list(r, out)) return bad(r, "cannot iterate over the value before", STR("list"));
  for (size_t i = 0; i < v.u.s.n; i += (size_t)char_bytes(v.u.s, i))
    if (!push(r, out->u.list, value_str((Str){v.u.s.s + i, (size_t)char_bytes(v.u.s, i)}))) return false;
  return true;
}

static bool reversed(Run *r, Value v, Value *out) {
  Value l;
  if (!to_list(r, v, &l) || !new_list(r, out)) return false;
  for (int i = l.u.list->n - 1; i >= 0; i--)
    if (!push(r, out->u.list, l.u.list->item[i])) return false;
  return true;
}

static bool to_int(Value v, Value *out) {
  int64_t x = 0;
  if (v.kind == V_STR) {
    size_t i = v.u.s.n && (*v.u.s.s == '-' || *v.u.s.s == '+');
    for (; i < v.u.s.n && v.u.s.s[i] >= '0' && v.u.s.s[i] <= '9' && x < INT64_MAX / 10 - 1; i++) x = x * 10 + (v.u.s.s[i] - '0');
    if (v.u.s.n && *v.u.s.s == '-') x = -x;
  } else {
    x = v.kind == V_INT ? v.u.i : v.kind == V_BOOL ? v.u.b : v.kind == V_FLOAT ? (int64_t)v.u.f : 0;
  }
  *out = value_int(x);
  return true;
}

static bool run_filter(Run *r, Value v, Str name, const Args *a, Value *out) {
  if (str_eq(name, STR("default")) || str_eq(name, STR("d"))) {
    const Value *other = arg(a, 0, "default_value"), *falsy = arg(a, 1, "boolean");
    bool use = v.kind == V_UNDEFINED || (falsy && value_true(*falsy) && !value_true(v));
    if (use && !other) return new_str(r, STR(""), out);
    return *out = use ? *other : v, true;
  }
  if (str_eq(name, STR("tojson"))) return to_json(r, v, a, out);
  if (str_eq(name, STR("string"))) return to_string(r, v, out);
  if (str_eq(name, STR("length")) || str_eq(name, STR("count"))) return length_of(r, v, out);
  if (str_eq(name, STR("list"))) return to_list(r, v, out);
  if (str_eq(name, STR("reverse"))) return reversed(r, v, out);
  if (str_eq(name, STR("join"))) return join(r, v, a, out);
  if (str_eq(name, STR("int"))) return to_int(v, out);
  if (str_eq(name, STR("safe"))) return *out = v, true;
  if (str_eq(name, STR("first"))) return member(r, v, value_int(0), out);
  if (str_eq(name, STR("last"))) return member(r, v, value_int(-1), out);
  if (str_eq(name, STR("items")) && v.kind == V_DICT) return pairs_of(r, v.u.dict, out);
  if (str_eq(name, STR("selectattr"))) return select_by(r, v, a, true, out);
  if (str_eq(name, STR("rejectattr"))) return select_by(r, v, a, false, out);
  if (str_eq(name, STR("map"))) return map_by(r, v, a, out);
  static const char *const of_text[] = {"upper", "lower", "title", "capitalize", "replace"};
  bool trim = str_eq(name, STR("trim")), known = trim;
  for (size_t i = 0; i < sizeof of_text / sizeof *of_text; i++) known |= str_eq(name, str_from(of_text[i]));
  if (!known) return bad(r, "unknown filter", name);
  if (v.kind != V_STR) return bad(r, "expected text before filter", name);
  return str_method(r, v.u.s, trim ? STR("strip") : name, a, out);
}

/* map(attribute="x") or map("filter") */
static bool map_by(Run *r, Value v, const Args *a, Value *out) {
  const Value *attribute = arg(a, MOST_ARGS, "attribute");
  Str filter = STR("");
  if (v.kind != V_LIST || (!attribute && !str_arg(r, a, 0, "map", &filter)) || !new_list(r, out)) return bad(r, "expected a list before", STR("map"));
  for (int i = 0; i < v.u.list->n; i++) {
    Value x;
    if (!(attribute ? member(r, v.u.list->item[i], *attribute, &x) : run_filter(r, v.u.list->item[i], filter, &(Args){0}, &x)) ||
        !push(r, out->u.list, x))
      return false;
  }
  return true;
}

/* ---- calls ---- */

static bool make_range(Run *r, const Args *a, Value *out) {
  int64_t x[3] = {0, 0, 1};
  for (int i = 0; i < a->n && i < 3; i++) {
    if (a->v[i].kind != V_INT) return bad(r, "expected whole numbers in", STR("range"));
    x[a->n == 1 ? 1 : i] = a->v[i].u.i;
  }
  if (a->n < 1 || x[2] == 0 || !new_list(r, out)) return bad(r, "wrong arguments of", STR("range"));
  for (int64_t i = x[0]; x[2] > 0 ? i < x[1] : i > x[1]; i += x[2]) {
    if (out->u.list->n > 100000) return bad(r, "more than 100000 values in", STR("range"));
    if (!push(r, out->u.list, value_int(i))) return false;
  }
  return true;
}

static bool call_builtin(Run *r, Str name, const Args *a, Value *out) {
  if (str_eq(name, STR("range"))) return make_range(r, a, out);
  if (str_eq(name, STR("raise_exception"))) {
    Str s = a->n && a->v[0].kind == V_STR ? a->v[0].u.s : STR("");
    return err_set(r->err, "chat template: %.*s", STR_FMT(s));
  }
  if (!new_dict(r, str_eq(name, STR("namespace")) ? V_NAMESPACE : V_DICT, out)) return false;
  for (int i = 0; i < a->keywords; i++)
    if (!dict_put(&r->arena, out->u.dict, value_str(a->name[i]), a->keyword[i], r->err)) return false;
  return true;
}

static bool call(Run *r, const Node *n, Value *out) {
  Args a;
  Value callee;
  const Node *f = n->a;
  if (f->kind == X_MEMBER && f->b->kind == X_LITERAL && f->b->literal.kind == V_STR) {
    Value object;
    if (!eval(r, f->a, &object) || !eval_args(r, n->args, &a)) return false;
    Str method = f->b->literal.u.s;
    if (object.kind == V_STR) return str_method(r, object.u.s, method, &a, out);
    if (object.kind == V_DICT) return dict_method(r, object.u.dict, method, &a, out);
    return bad(r, "this value has no method", method);
  }
  if (f->kind != X_NAME) return bad(r, "cannot call this near", STR("("));
  if (lookup(r, f->name, &callee)) {
    if (callee.kind == V_MACRO) return call_macro(r, callee.u.macro, n->args, out);
    return bad(r, "not a function:", f->name);
  }
  if (!is_builtin(f->name)) return bad(r, "unknown function", f->name);
  return eval_args(r, n->args, &a) && call_builtin(r, f->name, &a, out);
}

static bool call_macro(Run *r, const Node *macro, const Node *args, Value *out) {
  Args a;
  if (!eval_args(r, args, &a)) return false;
  Scope inner = {&r->globals, {0}}, *outer = r->scope;
  int i = 0;
  for (const Node *p = macro->args; p; p = p->next, i++) {
    const Value *v = NULL;
    if (i < a.n) v = &a.v[i];
    for (int k = 0; k < a.keywords; k++)
      if (str_eq(a.name[k], p->name)) v = &a.keyword[k];
    Value fallback = undefined;
    if (!v && p->a && !eval(r, p->a, &fallback)) return false;
    if (!dict_put(&r->arena, &inner.vars, value_str(p->name), v ? *v : fallback, r->err)) return false;
  }
  Buf text = {0}, *written = r->out;

  Flow flow = FLOW_NEXT;
  r->scope = &inner;
  r->out = &text;
  bool ok = run_list(r, macro->body, &flow) && new_str(r, (Str){text.s ? text.s : "", text.n}, out);
  r->out = written;
  r->scope = outer;
  buf_free(&text);
  return ok;
}

/* ---- operators ---- */

static bool contains(Run *r, Value in, Value what, bool *out) {
  *out = false;
  if (in.kind == V_STR && what.kind == V_STR) return *out = find(in.u.s, what.u.s) != NULL, true;
  if (in.kind == V_DICT) return *out = dict_get(in.u.dict, what) != NULL, true;
  if (in.kind != V_LIST) return bad(r, "cannot look inside this value for", what.kind == V_STR ? what.u.s : STR("it"));
  for (int i = 0; i < in.u.list->n && !*out; i++) *out = value_equal(in.u.list->item[i], what);
  return true;
}

static bool concatenate(Run *r, Value a, Value b, Value *out) {
  Buf text = {0};
  bool ok = text_of(r, a, &text) && text_of(r, b, &text) && (text.n <= JINJA_OUTPUT || bad(r, "text too long near", STR("~"))) &&
            new_str(r, (Str){text.s ? text.s : "", text.n}, out);
  buf_free(&text);
  return ok;
}

static bool numeric(Run *r, Op op, Value a, Value b, Value *out) {
  bool whole = a.kind == V_INT && b.kind == V_INT;
  double x = a.kind == V_FLOAT ? a.u.f : (double)a.u.i, y = b.kind == V_FLOAT ? b.u.f : (double)b.u.i;
  int64_t i = whole ? a.u.i : 0, j = whole ? b.u.i : 1, k = 0;
  if ((op == OP_DIV || op == OP_FLOOR_DIV || op == OP_MOD) && y == 0) return bad(r, "division by zero near", STR("/"));
  if (op == OP_LT) return *out = value_bool(x < y), true;
  if (op == OP_GT) return *out = value_bool(x > y), true;
  if (op == OP_LE) return *out = value_bool(x <= y), true;
  if (op == OP_GE) return *out = value_bool(x >= y), true;
  if (whole && op != OP_DIV) {
    if ((op == OP_FLOOR_DIV || op == OP_MOD) && i == INT64_MIN) return bad(r, "number too large near", STR("//"));
    bool over = op == OP_ADD   ? __builtin_add_overflow(i, j, &k)
                : op == OP_SUB ? __builtin_sub_overflow(i, j, &k)
                : op == OP_MUL ? __builtin_mul_overflow(i, j, &k)
                               : false;
    if (op == OP_FLOOR_DIV) k = i / j - (i % j != 0 && (i < 0) != (j < 0));
    if (op == OP_MOD) k = (i % j + j) % j;
    if (over) return bad(r, "number too large near", STR("+"));
    return *out = value_int(k), true;
  }
  double f = op == OP_ADD ? x + y : op == OP_SUB ? x - y : op == OP_MUL ? x * y : op == OP_DIV ? x / y : 0;
  if (op == OP_FLOOR_DIV || op == OP_MOD) return bad(r, "whole numbers only for", STR("//"));
  *out = (Value){V_FLOAT, {.f = f}};
  return true;
}

static bool list_sum(Run *r, Value a, Value b, Value *out) {
  if (!new_list(r, out)) return false;
  for (int i = 0; i < a.u.list->n; i++)
    if (!push(r, out->u.list, a.u.list->item[i])) return false;
  for (int i = 0; i < b.u.list->n; i++)
    if (!push(r, out->u.list, b.u.list->item[i])) return false;
  return r->memory <= JINJA_MEMORY || bad(r, "uses too much memory near", STR("+"));
}

static int compare_text(Str a, Str b) {
  size_t n = a.n < b.n ? a.n : b.n;
  int c = n ? memcmp(a.s, b.s, n) : 0;
  return c ? c : (a.n > b.n) - (a.n < b.n);
}

static bool operate(Run *r, const Node *n, Value *out) {
  Value a, b;
  bool yes;
  if (!eval(r, n->a, &a)) return false;
  if (n->op == OP_AND || n->op == OP_OR) return value_true(a) == (n->op == OP_OR) ? (*out = a, true) : eval(r, n->b, out);
  if (!eval(r, n->b, &b)) return false;
  switch (n->op) {
    case OP_EQ: *out = value_bool(value_equal(a, b)); return true;
    case OP_NE: *out = value_bool(!value_equal(a, b)); return true;
    case OP_IN:
    case OP_NOT_IN: return contains(r, b, a, &yes) && (*out = value_bool(yes == (n->op == OP_IN)), true);
    case OP_CONCAT: return concatenate(r, a, b, out);
    default: break;
  }
  if ((a.kind == V_INT || a.kind == V_FLOAT) && (b.kind == V_INT || b.kind == V_FLOAT)) return numeric(r, n->op, a, b, out);
  if (a.kind == V_STR && b.kind == V_STR && n->op == OP_ADD) return concatenate(r, a, b, out);
  if (a.kind == V_LIST && b.kind == V_LIST && n->op == OP_ADD) return list_sum(r, a, b, out);
  if (a.kind == V_STR && b.kind == V_STR && (n->op == OP_LT || n->op == OP_GT || n->op == OP_LE || n->op == OP_GE)) {
    int c = compare_text(a.u.s, b.u.s);
    *out = value_bool(n->op == OP_LT ? c < 0 : n->op == OP_GT ? c > 0 : n->op == OP_LE ? c <= 0 : c >= 0);
    return true;
  }
  return bad(r, "operator does not fit its values near", a.kind == V_STR ? a.u.s : STR("?"));
}

static bool make_display(Run *r, const Node *n, Value *out) {
  if (n->kind == X_LIST ? !new_list(r, out) : !new_dict(r, V_DICT, out)) return false;
  for (const Node *a = n->args; a; a = a->next) {
    Value key, v;
    if (!eval(r, a, &key)) return false;
    if (n->kind == X_LIST) {
      if (!push(r, out->u.list, key)) return false;
      continue;
    }
    a = a->next;
    if (!eval(r, a, &v) || !dict_put(&r->arena, out->u.dict, key, v, r->err)) return false;
  }
  return true;
}

static bool eval_node(Run *r, const Node *n, Value *out) {
  Value a, b;
  Args args;
  bool yes;
  switch (n->kind) {
    case X_LITERAL: *out = n->literal; return true;
    case X_NAME:
      if (!lookup(r, n->name, out)) *out = is_builtin(n->name) ? (Value){V_BUILTIN, {0}} : undefined;
      return true;
    case X_LIST:
    case X_DICT: return make_display(r, n, out);
    case X_MEMBER: return eval(r, n->a, &a) && eval(r, n->b, &b) && member(r, a, b, out);
    case X_SLICE: return slice(r, n, out);
    case X_CALL: return call(r, n, out);
    case X_FILTER: return eval(r, n->a, &a) && eval_args(r, n->args, &args) && run_filter(r, a, n->name, &args, out);
    case X_TEST:
      return eval(r, n->a, &a) && eval_args(r, n->args, &args) && run_test(r, a, n->name, &args, &yes) &&
             (*out = value_bool(yes != n->flag), true);
    case X_NOT: return eval(r, n->a, &a) && (*out = value_bool(!value_true(a)), true);
    case X_NEGATE:
      if (!eval(r, n->a, &a)) return false;
      if (a.kind == V_INT && a.u.i != INT64_MIN) return *out = value_int(-a.u.i), true;
      if (a.kind == V_FLOAT) return *out = (Value){V_FLOAT, {.f = -a.u.f}}, true;
      return bad(r, "expected a number behind", STR("-"));
    case X_BINARY: return operate(r, n, out);
    case X_CHOICE:
      if (!eval(r, n->b, &a)) return false;
      if (value_true(a)) return eval(r, n->a, out);
      if (n->c) return eval(r, n->c, out);
      *out = undefined;
      return true;
    default: return bad(r, "not an expression", STR(""));
  }
}

static bool eval(Run *r, const Node *n, Value *out) {
  r->line = n->line;
  if (++r->steps > JINJA_STEPS) return bad(r, "takes too many steps near", n->name);
  if (++r->depth > 4 * JINJA_DEPTH) return bad(r, "nested too deeply near", n->name);
  bool ok = eval_node(r, n, out);
  r->depth--;
  return ok;
}

/* ---- statements ---- */



static bool write(Run *r, Str s) { return r->out->n + s.n <= JINJA_OUTPUT ? buf_put(r->out, s.s, s.n, r->err) : bad(r, "output too long near", s); }

/* The loop's variables: one name takes the item, several take its parts. */
static bool bind(Run *r, const Node *names, Value item) {
  if (!names->next) return dict_put(&r->arena, &r->scope->vars, value_str(names->name), item, r->err);
  if (item.kind != V_LIST) return bad(r, "cannot take apart the item for", names->name);
  int i = 0;
  for (const Node *n = names; n; n = n->next, i++) {
    if (i >= item.u.list->n) return bad(r, "too few parts for", n->name);
    if (!dict_put(&r->arena, &r->scope->vars, value_str(n->name), item.u.list->item[i], r->err)) return false;
  }
  return true;
}

static bool set_loop(Run *r, const List *l, int i, Value loop) {
  Dict *d = loop.u.dict;
  return put(r, d, "index", value_int(i + 1)) && put(r, d, "index0", value_int(i)) && put(r, d, "first", value_bool(i == 0)) &&
         put(r, d, "last", value_bool(i == l->n - 1)) && put(r, d, "length", value_int(l->n)) &&
         put(r, d, "revindex", value_int(l->n - i)) && put(r, d, "revindex0", value_int(l->n - 1 - i)) &&
         put(r, d, "previtem", i ? l->item[i - 1] : undefined) && put(r, d, "nextitem", i + 1 < l->n ? l->item[i + 1] : undefined);
}

/* The items that pass the loop's condition. */
static bool filter_items(Run *r, const Node *n, Value *items) {
  Value kept, yes;
  if (!n->b) return true;
  if (!new_list(r, &kept)) return false;
  for (int i = 0; i < items->u.list->n; i++) {
    if (!bind(r, n->args, items->u.list->item[i]) || !eval(r, n->b, &yes)) return false;
    if (value_true(yes) && !push(r, kept.u.list, items->u.list->item[i])) return false;
  }
  *items = kept;
  return true;
}

static bool run_for(Run *r, const Node *n, Flow *flow) {
  Value v, items, loop;
  if (!eval(r, n->a, &v) || !to_list(r, v, &items) || !new_dict(r, V_DICT, &loop)) return false;
  Scope inner = {r->scope, {0}}, *outer = r->scope;
  r->scope = &inner;
  bool ok = filter_items(r, n, &items);
  const List *l = items.u.list;
  Flow f = FLOW_NEXT;
  for (int i = 0; ok && i < l->n && f != FLOW_BREAK; i++) {
    inner.vars.n = 0; /* what an iteration sets is gone in the next */
    ok = set_loop(r, l, i, loop) && put(r, &inner.vars, "loop", loop) && bind(r, n->args, l->item[i]) && run_list(r, n->body, &f);
  }
  r->scope = outer;
  return ok && (l->n > 0 || run_list(r, n->other, flow));
}

static bool run_set(Run *r, const Node *n) {
  Value v, space;
  Buf text = {0}, *written = r->out;
  Flow flow = FLOW_NEXT;
  bool ok;
  if (n->kind == S_SET) {
    ok = eval(r, n->a, &v);
  } else {
    r->out = &text;
    ok = run_list(r, n->body, &flow) && new_str(r, (Str){text.s ? text.s : "", text.n}, &v);
    r->out = written;
    buf_free(&text);
  }
  if (!ok) return false;
  if (!n->keyword.n) return dict_put(&r->arena, &r->scope->vars, value_str(n->name), v, r->err);
  if (!lookup(r, n->name, &space) || space.kind != V_NAMESPACE) return bad(r, "not a namespace:", n->name);
  return dict_put(&r->arena, space.u.dict, value_str(n->keyword), v, r->err);
}

static bool run_one(Run *r, const Node *n, Flow *flow) {
  Value v;
  r->line = n->line;
  switch (n->kind) {
    case S_TEXT: return write(r, n->name);
    case S_OUTPUT: {
      if (!eval(r, n->a, &v)) return false;
      if (v.kind == V_STR) return write(r, v.u.s);
      return text_of(r, v, r->out) && write(r, STR(""));
    }
    case S_SET:
    case S_SET_BLOCK: return run_set(r, n);
    case S_IF: return eval(r, n->a, &v) && run_list(r, value_true(v) ? n->body : n->other, flow);
    case S_FOR: return run_for(r, n, flow);
    case S_MACRO: return dict_put(&r->arena, &r->scope->vars, value_str(n->name), (Value){V_MACRO, {.macro = n}}, r->err);
    case S_BREAK: *flow = FLOW_BREAK; return true;
    case S_CONTINUE: *flow = FLOW_CONTINUE; return true;
    default: return bad(r, "not a statement", STR(""));
  }
}

static bool run_list(Run *r, const Node *n, Flow *flow) {
  if (++r->depth > 4 * JINJA_DEPTH) return bad(r, "nested too deeply near", STR("{%"));
  *flow = FLOW_NEXT;
  bool ok = true;
  for (; ok && n && *flow == FLOW_NEXT; n = n->next)
    ok = (++r->steps <= JINJA_STEPS || bad(r, "takes too many steps near", STR("{%"))) && run_one(r, n, flow);
  r->depth--;
  return ok;
}

/* ---- the public face ---- */

ChatTemplate *template_new(Str source, Err *err) {
  ChatTemplate *t = mem_alloc(1, sizeof *t, err);
  if (!t) return NULL;
  t->source = arena_copy(&t->arena, source, err);
  if (t->source.s && jinja_parse(t, err)) return t;
  template_free(t);
  return NULL;
}

void template_free(ChatTemplate *t) {
  if (!t) return;
  arena_free(&t->arena);
  mem_free(t);
}

bool template_render_json(const ChatTemplate *t, Str json, Buf *out, Err *err) {
  Run r = {.out = out, .err = err};
  Flow flow;
  Value vars;
  r.scope = &r.globals;
  bool ok = value_of_json(&r.arena, json, &vars, err);
  if (ok && vars.kind != V_DICT) ok = err_set(err, "variables of the chat template: expected a JSON object");
  if (ok) r.globals.vars = *vars.u.dict;
  ok = ok && run_list(&r, t->body, &flow);
  arena_free(&r.arena);
  return ok;
}

bool template_render(const ChatTemplate *t, const ChatMessage *m, int n, bool add_generation_prompt, Str bos, Str eos, Buf *out,
                     Err *err) {
  Run r = {.out = out, .err = err};
  Flow flow;
  Value list, message;
  r.scope = &r.globals;
  bool ok = new_list(&r, &list);
  for (int i = 0; ok && i < n; i++)
    ok = new_dict(&r, V_DICT, &message) && put(&r, message.u.dict, "role", value_str(m[i].role)) &&
         put(&r, message.u.dict, "content", value_str(m[i].content)) && push(&r, list.u.list, message);
  ok = ok && put(&r, &r.globals.vars, "messages", list) && put(&r, &r.globals.vars, "bos_token", value_str(bos)) &&
       put(&r, &r.globals.vars, "eos_token", value_str(eos)) &&
       put(&r, &r.globals.vars, "add_generation_prompt", value_bool(add_generation_prompt)) && run_list(&r, t->body, &flow);
  arena_free(&r.arena);
  return ok;
}
