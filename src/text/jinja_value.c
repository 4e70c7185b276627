/* text/jinja_value: the values of chat templates: lists, dictionaries, printing, JSON. */
#include "text/jinja.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void *grow(Arena *a, const void *old, int n, int cap, size_t size, Err *err) {
  void *p = arena_alloc(a, (size_t)cap, size, err);
  if (p && n) memcpy(p, old, (size_t)n * size);
  return p;
}

bool list_put(Arena *a, List *l, Value v, Err *err) {
  if (l->n == l->cap) {
    int cap = l->cap ? 2 * l->cap : 8;
    Value *p = grow(a, l->item, l->n, cap, sizeof *p, err);
    if (!p) return false;
    l->item = p;
    l->cap = cap;
  }
  l->item[l->n++] = v;
  return true;
}

bool dict_put(Arena *a, Dict *d, Value key, Value v, Err *err) {
  for (int i = 0; i < d->n; i++)
    if (value_equal(d->key[i], key)) {
      d->value[i] = v;
      return true;
    }
  if (d->n == d->cap) {
    int cap = d->cap ? 2 * d->cap : 8;
    Value *k = grow(a, d->key, d->n, cap, sizeof *k, err), *x = grow(a, d->value, d->n, cap, sizeof *x, err);
    if (!k || !x) return false;
    d->key = k;
    d->value = x;
    d->cap = cap;
  }
  d->key[d->n] = key;
  d->value[d->n++] = v;
  return true;
}

const Value *dict_get(const Dict *d, Value key) {
  for (int i = 0; i < d->n; i++)
    if (value_equal(d->key[i], key)) return &d->value[i];
  return NULL;
}

bool value_true(Value v) {
  switch (v.kind) {
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return v.u.b;
    case V_INT: return v.u.i != 0;
    case V_FLOAT: return v.u.f != 0;
    case V_STR: return v.u.s.n > 0;
    case V_LIST: return v.u.list->n > 0;
    case V_DICT: return v.u.dict->n > 0;
    default: return true;
  }
}

static bool is_number(Value v) { return v.kind == V_BOOL || v.kind == V_INT || v.kind == V_FLOAT; }

static double number_of(Value v) { return v.kind == V_FLOAT ? v.u.f : v.kind == V_INT ? (double)v.u.i : v.u.b; }

bool value_equal(Value a, Value b) {
  if (is_number(a) && is_number(b)) return number_of(a) == number_of(b);
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case V_UNDEFINED:
    case V_NONE: return true;
    case V_STR: return str_eq(a.u.s, b.u.s);
    case V_LIST:
      if (a.u.list->n != b.u.list->n) return false;
      for (int i = 0; i < a.u.list->n; i++)
        if (!value_equal(a.u.list->item[i], b.u.list->item[i])) return false;
      return true;
    default: return a.u.dict == b.u.dict;
  }
}

/* The shortest digits that read back as the same number, with ".0" for whole ones. */
static bool print_float(double f, Buf *out, Err *err) {
  char text[40];
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, f);
    double back;
    if (sscanf(text, "%lf", &back) == 1 && back == f) break;
  }
  if (!strpbrk(text, ".eni")) strcat(text, ".0");
  return buf_put(out, text, strlen(text), err);
}

bool value_print(Value v, Buf *out, Err *err) {
  switch (v.kind) {
    case V_UNDEFINED: return true;
    case V_NONE: return buf_put(out, "None", 4, err);
    case V_BOOL: return v.u.b ? buf_put(out, "True", 4, err) : buf_put(out, "False", 5, err);
    case V_INT: return buf_printf(out, err, "%lld", (long long)v.u.i);
    case V_FLOAT: return print_float(v.u.f, out, err);
    case V_STR: return buf_put(out, v.u.s.s, v.u.s.n, err);
    case V_LIST:
    case V_DICT: return value_json(v, -1, 0, out, err);
    default: return err_set(err, "chat template: a function cannot be printed");
  }
}

/* ---- JSON ---- */

static bool json_text(Str s, Buf *out, Err *err) {
  bool ok = buf_put(out, "\"", 1, err);
  for (size_t i = 0; ok && i < s.n; i++) {
    unsigned char c = (unsigned char)s.s[i];
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    const char *short_form = NULL;
    for (const char *q = named; *q; q += 2)
      if ((unsigned char)*q == c) short_form = q + 1;
    if (short_form) ok = buf_printf(out, err, "\\%c", *short_form);
    else if (c < 32) ok = buf_printf(out, err, "\\u%04x", c);
    else ok = buf_put(out, &s.s[i], 1, err);
  }
  return ok && buf_put(out, "\"", 1, err);
}

static bool new_line(int indent, int level, Buf *out, Err *err) {
  return indent < 0 || buf_printf(out, err, "\n%*s", indent * level, "");
}

bool value_json(Value v, int indent, int level, Buf *out, Err *err) {
  bool list = v.kind == V_LIST;
  if (level > JINJA_DEPTH) return err_set(err, "chat template: a value is nested too deeply");
  switch (v.kind) {
    case V_UNDEFINED: return err_set(err, "chat template: an undefined value has no JSON");
    case V_NONE: return buf_put(out, "null", 4, err);
    case V_BOOL: return v.u.b ? buf_put(out, "true", 4, err) : buf_put(out, "false", 5, err);
    case V_STR: return json_text(v.u.s, out, err);
    case V_LIST:
    case V_DICT: {
      int n = list ? v.u.list->n : v.u.dict->n;
      bool ok = buf_put(out, list ? "[" : "{", 1, err);
      for (int i = 0; ok && i < n; i++) {
        ok = (i == 0 || buf_put(out, indent < 0 ? ", " : ",", indent < 0 ? 2 : 1, err)) && new_line(indent, level + 1, out, err);
        if (ok && !list) {
          if (v.u.dict->key[i].kind != V_STR) return err_set(err, "chat template: a key of a JSON object must be text");
          ok = json_text(v.u.dict->key[i].u.s, out, err) && buf_put(out, ": ", 2, err);
        }
        ok = ok && value_json(list ? v.u.list->item[i] : v.u.dict->value[i], indent, level + 1, out, err);
      }
      return ok && (n == 0 || new_line(indent, level, out, err)) && buf_put(out, list ? "]" : "}", 1, err);
    }
    case V_INT:
    case V_FLOAT: return value_print(v, out, err);
    default: return err_set(err, "chat template: a function has no JSON");
  }
}

static bool of_json(Arena *a, const json_t *j, Value *out, int depth, Err *err) {
  if (depth > JINJA_DEPTH) return err_set(err, "chat template: its variables are nested too deeply");
  switch (json_typeof(j)) {
    case JSON_NULL: *out = (Value){V_NONE, {0}}; return true;
    case JSON_TRUE:
    case JSON_FALSE: *out = value_bool(json_is_true(j)); return true;
    case JSON_INTEGER: *out = value_int(json_integer_value(j)); return true;
    case JSON_REAL: *out = (Value){V_FLOAT, {.f = json_real_value(j)}}; return true;
    case JSON_STRING: *out = value_str(arena_copy(a, (Str){json_string_value(j), json_string_length(j)}, err)); return out->u.s.s != NULL;
    case JSON_ARRAY: {
      *out = (Value){V_LIST, {.list = arena_alloc(a, 1, sizeof(List), err)}};
      bool ok = out->u.list != NULL;
      for (size_t i = 0; ok && i < json_array_size(j); i++) {
        Value v;
        ok = of_json(a, json_array_get(j, i), &v, depth + 1, err) && list_put(a, out->u.list, v, err);
      }
      return ok;
    }
    default: {
      *out = (Value){V_DICT, {.dict = arena_alloc(a, 1, sizeof(Dict), err)}};
      bool ok = out->u.dict != NULL;
      json_t *object = (json_t *)(uintptr_t)j;
      for (void *it = json_object_iter(object); ok && it; it = json_object_iter_next(object, it)) {
        Value v;
        Str key = arena_copy(a, str_from(json_object_iter_key(it)), err);
        ok = key.s && of_json(a, json_object_iter_value(it), &v, depth + 1, err) && dict_put(a, out->u.dict, value_str(key), v, err);
      }
      return ok;
    }
  }
}

bool value_of_json(Arena *a, Str json, Value *out, Err *err) {
  json_error_t e;
  json_t *j = json_loadb(json.s, json.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
  if (!j) return err_set(err, "variables of the chat template: line %d: %s", e.line, e.text);
  bool ok = of_json(a, j, out, 0, err);
  json_decref(j);
  return ok;
}
