/* text/jinja_lib: what templates may call: methods, tests and filters; the memory of a render.
 *
 * Names and meanings are Jinja's and Python's, as far as chat templates use them.
 */
#define _GNU_SOURCE /* memmem */
#include "text/jinja_run.h"

#include <string.h>
#include <utf8proc.h>

static const Value undefined = {V_UNDEFINED, {0}};

bool rt_bad(Run *r, const char *what, Str which) {
  return err_set(r->err, "chat template, line %d: %s '%.*s'", r->line, what, STR_FMT(which));
}

/* ---- memory ---- */

void *rt_take(Run *r, size_t n) {
  r->memory += n;
  if (r->memory > JINJA_MEMORY) {
    rt_bad(r, "uses too much memory near", STR(""));
    return NULL;
  }
  return arena_alloc(&r->arena, n ? n : 1, 1, r->err);
}

bool rt_str(Run *r, Str s, Value *out) {
  char *p = rt_take(r, s.n);
  if (!p) return false;
  if (s.n) memcpy(p, s.s, s.n);
  *out = value_str((Str){p, s.n});
  return true;
}

bool rt_list(Run *r, Value *out) {
  *out = (Value){V_LIST, {.list = rt_take(r, sizeof(List))}};
  return out->u.list != NULL;
}

bool rt_dict(Run *r, ValueKind kind, Value *out) {
  *out = (Value){kind, {.dict = rt_take(r, sizeof(Dict))}};
  return out->u.dict != NULL;
}

bool rt_push(Run *r, List *l, Value v) {
  r->memory += sizeof v;
  return list_put(&r->arena, l, v, r->err);
}

bool rt_put(Run *r, Dict *d, const char *key, Value v) { return dict_put(&r->arena, d, value_str(str_from(key)), v, r->err); }

/* Text of any value, in a buffer that the caller frees. */
bool rt_text(Run *r, Value v, Buf *b) { return value_print(v, b, r->err); }

const Value *rt_arg(const Args *a, int i, const char *keyword) {
  if (i < a->n) return &a->v[i];
  for (int k = 0; keyword && k < a->keywords; k++)
    if (str_eq(a->name[k], str_from(keyword))) return &a->keyword[k];
  return NULL;
}

bool rt_str_arg(Run *r, const Args *a, int i, const char *of, Str *out) {
  const Value *v = rt_arg(a, i, NULL);
  if (!v || v->kind != V_STR) return rt_bad(r, "expected text as an argument of", str_from(of));
  *out = v->u.s;
  return true;
}

/* ---- characters of strings ---- */

int rt_char_bytes(Str s, size_t at) {
  unsigned char c = (unsigned char)s.s[at];
  int n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  return (size_t)n > s.n - at ? (int)(s.n - at) : n;
}

int64_t rt_chars(Str s) {
  int64_t n = 0;
  for (size_t i = 0; i < s.n; i += (size_t)rt_char_bytes(s, i)) n++;
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
  ok = ok && rt_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

const char *rt_find(Str s, Str what) { return what.n ? memmem(s.s, s.n, what.s, what.n) : s.s; }

static bool replace(Run *r, Str s, Str from, Str to, int64_t most, Value *out) {
  if (from.n == 0) return rt_bad(r, "cannot replace empty text in", s);
  Buf b = {0};
  bool ok = true;
  for (const char *p; ok && most != 0 && (p = rt_find(s, from)); most--) {
    size_t n = (size_t)(p - s.s);
    ok = b.n + to.n <= JINJA_OUTPUT ? buf_put(&b, s.s, n, r->err) && buf_put(&b, to.s, to.n, r->err) : rt_bad(r, "text too long in", STR("replace"));
    s = (Str){p + from.n, s.n - n - from.n};
  }
  ok = ok && buf_put(&b, s.s, s.n, r->err) && rt_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

static bool split(Run *r, Str s, const Str *by, int64_t most, Value *out) {
  if (!rt_list(r, out)) return false;
  if (by && by->n == 0) return rt_bad(r, "empty separator in", STR("split"));
  for (;;) {
    if (!by) s = strip(s, NULL, true, false);
    if (!by && s.n == 0) return true;
    size_t n = s.n, step = 0;
    if (most != 0) {
      if (by) {
        const char *p = rt_find(s, *by);
        if (p) n = (size_t)(p - s.s), step = by->n;
      } else {
        for (n = 0; n < s.n && !blank(s.s[n]);) n++;
        step = n < s.n;
      }
    }
    if (!rt_push(r, out->u.list, value_str((Str){s.s, n}))) return false;
    if (step == 0) return true;
    s = (Str){s.s + n + step, s.n - n - step};
    most--;
  }
}

/* ---- methods ---- */

bool rt_str_method(Run *r, Str s, Str name, const Args *a, Value *out) {
  Str x, y;
  if (str_eq(name, STR("strip")) || str_eq(name, STR("lstrip")) || str_eq(name, STR("rstrip"))) {
    char set[64];
    if (a->n) {
      if (!rt_str_arg(r, a, 0, "strip", &x)) return false;
      if (x.n >= sizeof set) return rt_bad(r, "too many characters to strip:", x);
      memcpy(set, x.s, x.n);
      set[x.n] = 0;
    }
    *out = value_str(strip(s, a->n ? set : NULL, name.s[0] != 'r', name.s[0] != 'l'));
    return true;
  }
  if (str_eq(name, STR("startswith"))) return rt_str_arg(r, a, 0, "startswith", &x) && (*out = value_bool(str_starts(s, x)), true);
  if (str_eq(name, STR("endswith"))) return rt_str_arg(r, a, 0, "endswith", &x) && (*out = value_bool(str_ends(s, x)), true);
  if (str_eq(name, STR("upper"))) return recase(r, s, CASE_UPPER, out);
  if (str_eq(name, STR("lower"))) return recase(r, s, CASE_LOWER, out);
  if (str_eq(name, STR("title"))) return recase(r, s, CASE_TITLE, out);
  if (str_eq(name, STR("capitalize"))) return recase(r, s, CASE_CAPITAL, out);
  if (str_eq(name, STR("replace"))) {
    const Value *most = rt_arg(a, 2, "count");
    return rt_str_arg(r, a, 0, "replace", &x) && rt_str_arg(r, a, 1, "replace", &y) &&
           replace(r, s, x, y, most && most->kind == V_INT ? most->u.i : -1, out);
  }
  if (str_eq(name, STR("split"))) {
    const Value *most = rt_arg(a, 1, "maxsplit");
    if (a->n && !rt_str_arg(r, a, 0, "split", &x)) return false;
    return split(r, s, a->n ? &x : NULL, most && most->kind == V_INT ? most->u.i : -1, out);
  }
  return rt_bad(r, "unknown method of text:", name);
}

static bool pairs_of(Run *r, const Dict *d, Value *out) {
  if (!rt_list(r, out)) return false;
  for (int i = 0; i < d->n; i++) {
    Value pair;
    if (!rt_list(r, &pair) || !rt_push(r, pair.u.list, d->key[i]) || !rt_push(r, pair.u.list, d->value[i]) || !rt_push(r, out->u.list, pair))
      return false;
  }
  return true;
}

bool rt_dict_method(Run *r, const Dict *d, Str name, const Args *a, Value *out) {
  if (str_eq(name, STR("items"))) return pairs_of(r, d, out);
  bool keys = str_eq(name, STR("keys"));
  if (keys || str_eq(name, STR("values"))) {
    if (!rt_list(r, out)) return false;
    for (int i = 0; i < d->n; i++)
      if (!rt_push(r, out->u.list, keys ? d->key[i] : d->value[i])) return false;
    return true;
  }
  if (str_eq(name, STR("get")) && a->n) {
    const Value *v = dict_get(d, a->v[0]);
    *out = v ? *v : a->n > 1 ? a->v[1] : (Value){V_NONE, {0}};
    return true;
  }
  return rt_bad(r, "unknown method of a dictionary:", name);
}

/* ---- members ---- */

bool rt_member(Run *r, Value object, Value key, Value *out) {
  *out = undefined;
  if (object.kind == V_DICT || object.kind == V_NAMESPACE) {
    const Value *v = dict_get(object.u.dict, key);
    if (v) *out = *v;
    return true;
  }
  if (object.kind == V_UNDEFINED) return rt_bad(r, "undefined value has no member", key.kind == V_STR ? key.u.s : STR("[]"));
  int64_t i = key.kind == V_INT ? key.u.i : -1;
  if (object.kind == V_LIST && key.kind == V_INT) {
    if (i < 0) i += object.u.list->n;
    if (i >= 0 && i < object.u.list->n) *out = object.u.list->item[i];
    return true;
  }
  if (object.kind == V_STR && key.kind == V_INT) {
    if (i < 0) i += rt_chars(object.u.s);
    for (size_t at = 0; i >= 0 && at < object.u.s.n; at += (size_t)rt_char_bytes(object.u.s, at))
      if (i-- == 0) *out = value_str((Str){object.u.s.s + at, (size_t)rt_char_bytes(object.u.s, at)});
    return true;
  }
  return true;
}
/* ---- tests and filters ---- */

bool rt_test(Run *r, Value v, Str name, const Args *a, bool *out) {
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
  return rt_bad(r, "unknown test", name);
}

/* selectattr(name[, test[, value]]) and rejectattr */
static bool select_by(Run *r, Value v, const Args *a, bool keep, Value *out) {
  Str name = {0}, test = {0};
  if (v.kind != V_LIST || !rt_str_arg(r, a, 0, "selectattr", &name) || !rt_list(r, out)) return rt_bad(r, "expected a list before", STR("selectattr"));
  if (a->n > 1 && !rt_str_arg(r, a, 1, "selectattr", &test)) return false;
  Args rest = {.n = a->n > 2 ? 1 : 0};
  if (rest.n) rest.v[0] = a->v[2];
  for (int i = 0; i < v.u.list->n; i++) {
    Value x;
    bool yes;
    if (!rt_member(r, v.u.list->item[i], value_str(name), &x)) return false;
    if (a->n > 1 ? !rt_test(r, x, test, &rest, &yes) : (yes = value_true(x), false)) return false;
    if (yes == keep && !rt_push(r, out->u.list, v.u.list->item[i])) return false;
  }
  return true;
}

static bool map_by(Run *r, Value v, const Args *a, Value *out);

static bool join(Run *r, Value v, const Args *a, Value *out) {
  Str by = STR("");
  Buf b = {0};
  if (v.kind != V_LIST) return rt_bad(r, "expected a list before", STR("join"));
  if (a->n && !rt_str_arg(r, a, 0, "join", &by)) return false;
  bool ok = true;
  for (int i = 0; ok && i < v.u.list->n; i++)
    ok = (i == 0 || buf_put(&b, by.s, by.n, r->err)) && rt_text(r, v.u.list->item[i], &b) && (b.n <= JINJA_OUTPUT || rt_bad(r, "text too long in", STR("join")));
  ok = ok && rt_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

static bool length_of(Run *r, Value v, Value *out) {
  if (v.kind != V_STR && v.kind != V_LIST && v.kind != V_DICT) return rt_bad(r, "value without a length before", STR("length"));
  *out = value_int(v.kind == V_STR ? rt_chars(v.u.s) : v.kind == V_LIST ? v.u.list->n : v.u.dict->n);
  return true;
}

static bool to_json(Run *r, Value v, const Args *a, Value *out) {
  const Value *indent = rt_arg(a, 0, "indent");
  Buf b = {0};
  if (indent && (indent->kind != V_INT || indent->u.i < 0 || indent->u.i > 16)) return rt_bad(r, "expected an indent of 0 to 16 in", STR("tojson"));
  bool ok = value_json(v, indent ? (int)indent->u.i : -1, 0, &b, r->err) && rt_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

static bool to_string(Run *r, Value v, Value *out) {
  Buf b = {0};
  bool ok = rt_text(r, v, &b) && rt_str(r, (Str){b.s ? b.s : "", b.n}, out);
  buf_free(&b);
  return ok;
}

bool rt_to_list(Run *r, Value v, Value *out) {
  if (v.kind == V_LIST) return *out = v, true;
  if (v.kind == V_DICT) return rt_dict_method(r, v.u.dict, STR("keys"), &(Args){0}, out);
  if (v.kind != V_STR || !rt_list(r, out)) return rt_bad(r, "cannot iterate over the value before", STR("list"));
  for (size_t i = 0; i < v.u.s.n; i += (size_t)rt_char_bytes(v.u.s, i))
    if (!rt_push(r, out->u.list, value_str((Str){v.u.s.s + i, (size_t)rt_char_bytes(v.u.s, i)}))) return false;
  return true;
}

static bool reversed(Run *r, Value v, Value *out) {
  Value l;
  if (!rt_to_list(r, v, &l) || !rt_list(r, out)) return false;
  for (int i = l.u.list->n - 1; i >= 0; i--)
    if (!rt_push(r, out->u.list, l.u.list->item[i])) return false;
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

bool rt_filter(Run *r, Value v, Str name, const Args *a, Value *out) {
  if (str_eq(name, STR("default")) || str_eq(name, STR("d"))) {
    const Value *other = rt_arg(a, 0, "default_value"), *falsy = rt_arg(a, 1, "boolean");
    bool use = v.kind == V_UNDEFINED || (falsy && value_true(*falsy) && !value_true(v));
    if (use && !other) return rt_str(r, STR(""), out);
    return *out = use ? *other : v, true;
  }
  if (str_eq(name, STR("tojson"))) return to_json(r, v, a, out);
  if (str_eq(name, STR("string"))) return to_string(r, v, out);
  if (str_eq(name, STR("length")) || str_eq(name, STR("count"))) return length_of(r, v, out);
  if (str_eq(name, STR("list"))) return rt_to_list(r, v, out);
  if (str_eq(name, STR("reverse"))) return reversed(r, v, out);
  if (str_eq(name, STR("join"))) return join(r, v, a, out);
  if (str_eq(name, STR("int"))) return to_int(v, out);
  if (str_eq(name, STR("safe"))) return *out = v, true;
  if (str_eq(name, STR("first"))) return rt_member(r, v, value_int(0), out);
  if (str_eq(name, STR("last"))) return rt_member(r, v, value_int(-1), out);
  if (str_eq(name, STR("items")) && v.kind == V_DICT) return pairs_of(r, v.u.dict, out);
  if (str_eq(name, STR("selectattr"))) return select_by(r, v, a, true, out);
  if (str_eq(name, STR("rejectattr"))) return select_by(r, v, a, false, out);
  if (str_eq(name, STR("map"))) return map_by(r, v, a, out);
  static const char *const of_text[] = {"upper", "lower", "title", "capitalize", "replace"};
  bool trim = str_eq(name, STR("trim")), known = trim;
  for (size_t i = 0; i < sizeof of_text / sizeof *of_text; i++) known |= str_eq(name, str_from(of_text[i]));
  if (!known) return rt_bad(r, "unknown filter", name);
  if (v.kind != V_STR) return rt_bad(r, "expected text before filter", name);
  return rt_str_method(r, v.u.s, trim ? STR("strip") : name, a, out);
}

/* map(attribute="x") or map("filter") */
static bool map_by(Run *r, Value v, const Args *a, Value *out) {
  const Value *attribute = rt_arg(a, MOST_ARGS, "attribute");
  Str filter = STR("");
  if (v.kind != V_LIST || (!attribute && !rt_str_arg(r, a, 0, "map", &filter)) || !rt_list(r, out)) return rt_bad(r, "expected a list before", STR("map"));
  for (int i = 0; i < v.u.list->n; i++) {
    Value x;
    if (!(attribute ? rt_member(r, v.u.list->item[i], *attribute, &x) : rt_filter(r, v.u.list->item[i], filter, &(Args){0}, &x)) ||
        !rt_push(r, out->u.list, x))
      return false;
  }
  return true;
}
