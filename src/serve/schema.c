/* serve/schema: JSON schemas as automata.
 *
 * Keywords: type (also a list), properties, required, additionalProperties, items, minItems, maxItems, enum, const, anyOf, allOf of one, $ref to #, #/$defs/.. and #/definitions/.., pattern, format, minLength, maxLength,
 * minimum, maximum, exclusiveMinimum, exclusiveMaximum (of integers; of numbers only minimum 0), multipleOf 1.  Annotations are
 * skipped.  Everything else is an error: what is written always satisfies the schema.
 * Properties are written in the schema's order; ones that are not listed are never written.
 */
#include "serve/grammar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  Grammar *g;
  const json_t *root;
  int value, object, array, number, integer, space, character; /* rules; -1: not made yet */
  const json_t *ref[256]; /* schemas that are rules */
  int ref_rule[256];
  int refs, depth;
} Maker;

static int schema(Maker *m, const json_t *s, int next);

static int text(Maker *m, const char *s, int next) { return g_text(m->g, str_from(s), next); }

static int set_rule(Maker *m, int rule, int body) {
  if (!m->g->err->set) m->g->rule[rule] = body;
  return rule;
}

static int regex_rule(Maker *m, int *rule, const char *pattern) {
  if (*rule < 0) {
    *rule = g_rule(m->g);
    set_rule(m, *rule, g_regex(m->g, str_from(pattern), false, false, 0));
  }
  return *rule;
}

/* White space between parts: none, one blank, or a line break with its indent. */
static int space(Maker *m, int next) { return g_call(m->g, regex_rule(m, &m->space, "( |\\n[ \\t]{0,32})?"), next); }

static int character(Maker *m) {
  return regex_rule(m, &m->character,
                    "[^\"\\\\\\x00-\\x1f]|\\\\([\"\\\\/bfnrt]|u([0-9a-cA-Ce-fE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}|"
                    "[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}))");
}

static int string(Maker *m, int least, int most, int next) {
  return text(m, "\"", g_repeat(m->g, character(m), least, most, text(m, "\"", next)));
}

/* Numbers that every reader can hold: at most 15 digits before the point, 15 behind it, exponents to 99. */
static int integer(Maker *m, int next) { return g_call(m->g, regex_rule(m, &m->integer, "-?(0|[1-9][0-9]{0,14})"), next); }
static int number(Maker *m, int next) {
  return g_call(m->g, regex_rule(m, &m->number, "-?(0|[1-9][0-9]{0,14})(\\.[0-9]{1,15})?([eE][+-]?[1-9][0-9]?)?"), next);
}

/* ---- any JSON ---- */

/* open item ("," item)* close, or open close; `item` is a rule. */
static int list(Maker *m, const char *open, const char *close, int item, int next) {
  int end = space(m, text(m, close, next)), rule = g_rule(m->g);
  set_rule(m, rule, text(m, ",", space(m, g_call(m->g, item, 0))));
  int items = g_call(m->g, item, g_repeat(m->g, rule, 0, -1, end));
  return text(m, open, g_split(m->g, space(m, items), end));
}

static int value(Maker *m, int next);

static int any_array(Maker *m, int next) {
  if (m->array < 0) {
    int item = g_rule(m->g);
    m->array = g_rule(m->g);
    set_rule(m, item, value(m, 0));
    set_rule(m, m->array, list(m, "[", "]", item, 0));
  }
  return g_call(m->g, m->array, next);
}

static int any_object(Maker *m, int next) {
  if (m->object < 0) {
    int member = g_rule(m->g);
    m->object = g_rule(m->g);
    set_rule(m, member, string(m, 0, -1, text(m, ":", space(m, value(m, 0)))));
    set_rule(m, m->object, list(m, "{", "}", member, 0));
  }
  return g_call(m->g, m->object, next);
}

static int value(Maker *m, int next) {
  if (m->value < 0) {
    m->value = g_rule(m->g);
    int body = g_split(m->g, string(m, 0, -1, 0), number(m, 0));
    body = g_split(m->g, any_object(m, 0), g_split(m->g, any_array(m, 0), body));
    body = g_split(m->g, text(m, "true", 0), g_split(m->g, text(m, "false", 0), g_split(m->g, text(m, "null", 0), body)));
    set_rule(m, m->value, body);
  }
  return g_call(m->g, m->value, next);
}

/* ---- whole numbers within bounds ---- */

/* A digit string of the length of low and high, low <= it <= high. */
static int digits_between(Maker *m, const char *low, const char *high, int next) {
  if (m->g->err->set || !*low) return next;
  if (strspn(low, "0") == strlen(low) && strspn(high, "9") == strlen(high))
    return g_bytes(m->g, '0', '9', digits_between(m, low + 1, high + 1, next));
  if (*low == *high) return g_bytes(m->g, (uint8_t)*low, (uint8_t)*low, digits_between(m, low + 1, high + 1, next));
  char from[32], to[32];
  size_t n = strlen(low);
  memset(from, '0', n), memset(to, '9', n);
  from[n] = to[n] = 0;
  const char *zeros = from + 1, *nines = to + 1;
  int node = g_split(m->g, g_bytes(m->g, (uint8_t)*low, (uint8_t)*low, digits_between(m, low + 1, nines, next)),
                     g_bytes(m->g, (uint8_t)*high, (uint8_t)*high, digits_between(m, zeros, high + 1, next)));
  if (*high - *low < 2) return node;
  return g_split(m->g, g_bytes(m->g, (uint8_t)(*low + 1), (uint8_t)(*high - 1), digits_between(m, zeros, nines, next)), node);
}

static const json_int_t LARGEST = 999999999999999;

static char *decimal(json_int_t v, char out[32]) {
  char *p = out + 31;
  *p = 0;
  do *--p = (char)('0' + v % 10);
  while ((v /= 10) > 0);
  return p;
}

/* low <= high, both not negative */
static int not_negative(Maker *m, json_int_t low, json_int_t high, int next) {
  int node = -1;
  for (json_int_t from = 0, to = 9; from <= high && !m->g->err->set; from = to + 1, to = to * 10 + 9) {
    char a[32], b[32];
    json_int_t l = from < low ? low : from, h = to < high ? to : high;
    if (l > h) continue;
    int one = digits_between(m, decimal(l, a), decimal(h, b), next);
    node = node < 0 ? one : g_split(m->g, one, node);
  }
  return node;
}

/* Tightens *v by a bound of the schema; the whole number that is nearest inside counts. */
static bool bound(Maker *m, const json_t *s, const char *key, bool lower, bool exclusive, json_int_t *v) {
  const json_t *b = json_object_get(s, key);
  if (!b) return true;
  double x = json_number_value(b), whole = lower ? ceil(x) : floor(x);
  if (!json_is_number(b) || fabs(x) > 1e15) return g_fail(m->g, "schema: %s: expected a number within 10^15", key) != 0;
  if (exclusive && whole == x) whole += lower ? 1 : -1;
  if (lower ? whole > (double)*v : whole < (double)*v) *v = (json_int_t)whole;
  return true;
}

static int bounded_integer(Maker *m, const json_t *s, int next) {
  json_int_t low = -LARGEST, high = LARGEST;
  if (!bound(m, s, "minimum", true, false, &low) || !bound(m, s, "maximum", false, false, &high) ||
      !bound(m, s, "exclusiveMinimum", true, true, &low) || !bound(m, s, "exclusiveMaximum", false, true, &high))
    return 0;
  if (low == -LARGEST && high == LARGEST) return integer(m, next);
  if (low > high) return g_fail(m->g, "schema: no integer lies between minimum and maximum");
  int node = high >= 0 ? not_negative(m, low > 0 ? low : 0, high, next) : -1;
  if (low >= 0) return node;
  int minus = text(m, "-", not_negative(m, high < 0 ? -high : 1, -low, next));
  return node < 0 ? minus : g_split(m->g, minus, node);
}

static int bounded_number(Maker *m, const json_t *s, int next) {
  const json_t *low = json_object_get(s, "minimum");
  if (json_object_get(s, "maximum") || json_object_get(s, "exclusiveMinimum") || json_object_get(s, "exclusiveMaximum") ||
      (low && json_number_value(low) != 0))
    return g_fail(m->g, "schema: bounds of numbers are supported for integers only (and minimum 0)");
  if (!low) return number(m, next);
  return g_regex(m->g, STR("(0|[1-9][0-9]{0,14})(\\.[0-9]{1,15})?([eE][+-]?[1-9][0-9]?)?"), false, false, next);
}

/* ---- strings ---- */

static const char *format_pattern(const char *name) {
  static const char *const format[][2] = {
      {"date-time", "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"},
      {"date", "[0-9]{4}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"},
      {"time", "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"},
      {"duration", "P([0-9]{1,6}W|[0-9]{1,6}D(T[0-9]{1,6}H)?|T([0-9]{1,6}H([0-9]{1,6}M([0-9]{1,6}S)?)?|[0-9]{1,6}M([0-9]{1,6}S)?|[0-9]{1,6}S))"},
      {"email", "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,3}@([a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\\.){1,3}[a-z]{2,12}"},
      {"hostname", "([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.){0,3}[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"},
      {"ipv4", "((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"},
      {"ipv6", "([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"},
      {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
  };
  for (size_t i = 0; i < sizeof format / sizeof *format; i++)
    if (strcmp(name, format[i][0]) == 0) return format[i][1];
  return NULL;
}

/* A count between 0 and 10000; -1 where it is absent. */
static int count_of(Maker *m, const json_t *s, const char *key) {
  const json_t *v = json_object_get(s, key);
  if (!v) return -1;
  json_int_t n = json_integer_value(v);
  if (json_is_integer(v) && n >= 0 && n <= 10000) return (int)n;
  return g_fail(m->g, "schema: %s: expected a whole number of 0 to 10000", key);
}

static bool counts(Maker *m, const json_t *s, const char *low, const char *high, int *least, int *most) {
  *least = count_of(m, s, low);
  *most = count_of(m, s, high);
  if (*least < 0) *least = 0;
  if (*most >= 0 && *most < *least) return g_fail(m->g, "schema: %s is less than %s", high, low) != 0;
  return !m->g->err->set;
}

static int bounded_string(Maker *m, const json_t *s, int next) {
  const json_t *pattern = json_object_get(s, "pattern"), *format = json_object_get(s, "format");
  int least, most;
  if (!counts(m, s, "minLength", "maxLength", &least, &most)) return 0;
  if ((pattern != NULL) + (format != NULL) + (least > 0 || most >= 0) > 1)
    return g_fail(m->g, "schema: pattern, format and lengths of one string cannot be combined");
  if (pattern) {
    if (!json_is_string(pattern)) return g_fail(m->g, "schema: pattern: expected a string");
    Str p = {json_string_value(pattern), json_string_length(pattern)};
    return text(m, "\"", g_regex(m->g, p, true, true, text(m, "\"", next)));
  }
  if (format) {
    const char *p = json_is_string(format) ? format_pattern(json_string_value(format)) : NULL;
    if (!p) return g_fail(m->g, "schema: format '%s' is not supported", json_is_string(format) ? json_string_value(format) : "?");
    return text(m, "\"", g_regex(m->g, str_from(p), true, false, text(m, "\"", next)));
  }
  return string(m, least, most, next);
}

/* ---- arrays and objects ---- */

static int rule_of(Maker *m, const json_t *s) {
  int rule = g_rule(m->g);
  return set_rule(m, rule, schema(m, s, 0));
}

static int bounded_array(Maker *m, const json_t *s, int next) {
  const json_t *items = json_object_get(s, "items");
  int least, most;
  if (!counts(m, s, "minItems", "maxItems", &least, &most)) return 0;
  if (!items && least == 0 && most < 0) return any_array(m, next);
  int end = space(m, text(m, "]", next)), item, rule;
  if (most == 0) return text(m, "[", end);
  if (items) {
    item = rule_of(m, items);
  } else {
    item = g_rule(m->g);
    set_rule(m, item, value(m, 0));
  }
  rule = g_rule(m->g);
  set_rule(m, rule, text(m, ",", space(m, g_call(m->g, item, 0))));
  int some = space(m, g_call(m->g, item, g_repeat(m->g, rule, least > 0 ? least - 1 : 0, most > 0 ? most - 1 : -1, end)));
  return text(m, "[", least > 0 ? some : g_split(m->g, some, end));
}

static bool is_required(const json_t *required, const char *key) {
  size_t i;
  const json_t *v;
  json_array_foreach(required, i, v) if (json_is_string(v) && strcmp(json_string_value(v), key) == 0) return true;
  return false;
}

/* A JSON value written exactly so. */
static int literal(Maker *m, const json_t *v, int next) {
  char *s = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
  if (!s) return g_fail(m->g, "out of memory");
  int node = text(m, s, next);
  free(s);
  return node;
}

static int key_and_value(Maker *m, const char *key, const json_t *s, int next) {
  json_t *name = json_string(key);
  int node = literal(m, name, text(m, ":", space(m, schema(m, s, next))));
  json_decref(name);
  return node;
}

static int bounded_object(Maker *m, const json_t *s, int next) {
  json_t *properties = json_object_get(s, "properties"), *extra = json_object_get(s, "additionalProperties");
  const json_t *required = json_object_get(s, "required"), *v;
  size_t i, n = json_object_size(properties);
  if ((properties && !json_is_object(properties)) || (required && !json_is_array(required)) ||
      (extra && !json_is_object(extra) && !json_is_boolean(extra)))
    return g_fail(m->g, "schema: expected an object of properties, an array of required names, a boolean or a schema of additionalProperties");
  json_array_foreach(required, i, v) if (!json_is_string(v) || !json_object_get(properties, json_string_value(v)))
      return g_fail(m->g, "schema: required names '%s', which is not among the properties", json_is_string(v) ? json_string_value(v) : "?");
  if (n == 0 && !json_is_false(extra)) {
    if (!json_is_object(extra)) return any_object(m, next);
    int member = g_rule(m->g);
    set_rule(m, member, string(m, 0, -1, text(m, ":", space(m, schema(m, extra, 0)))));
    return list(m, "{", "}", member, next);
  }
  int end = space(m, text(m, "}", next)), first = end, later = end; /* before any member, and behind one */
  const char **key = mem_alloc(n + 1, sizeof *key, m->g->err), *k;
  if (!key) return 0;
  i = 0;
  json_object_foreach(properties, k, v) key[i++] = k;
  while (i-- > 0 && !m->g->err->set) {
    int rule = g_rule(m->g);
    set_rule(m, rule, key_and_value(m, key[i], json_object_get(properties, key[i]), 0));
    int is_first = space(m, g_call(m->g, rule, later)), is_later = text(m, ",", space(m, g_call(m->g, rule, later)));
    bool must = is_required(required, key[i]);
    first = must ? is_first : g_split(m->g, is_first, first);
    later = must ? is_later : g_split(m->g, is_later, later);
  }
  mem_free(key);
  return text(m, "{", first);
}

/* ---- a schema ---- */

static const char *const keyword[] = {"type",      "properties", "required",  "additionalProperties", "items",    "minItems", "maxItems",
                                      "enum",      "const",      "anyOf",     "allOf",                "$ref",     "pattern",  "format",
                                      "minLength", "maxLength",  "minimum",   "maximum",              "multipleOf", "exclusiveMinimum",
                                      "exclusiveMaximum", "$defs", "definitions",
                                      /* annotations */
                                      "title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated", "readOnly",
                                      "writeOnly"};

static bool keywords_known(Maker *m, json_t *s) {
  const char *k;
  json_t *v;
  json_object_foreach(s, k, v) {
    size_t i = 0;
    while (i < sizeof keyword / sizeof *keyword && strcmp(keyword[i], k) != 0) i++;
    if (i == sizeof keyword / sizeof *keyword) {
      g_fail(m->g, "schema: the keyword '%s' is not supported", k);
      return false;
    }
  }
  return true;
}

static int of_type(Maker *m, const json_t *s, const char *type, int next) {
  const json_t *multiple = json_object_get(s, "multipleOf");
  if (strcmp(type, "object") == 0) return bounded_object(m, s, next);
  if (strcmp(type, "array") == 0) return bounded_array(m, s, next);
  if (strcmp(type, "string") == 0) return bounded_string(m, s, next);
  if (strcmp(type, "boolean") == 0) return g_split(m->g, text(m, "true", next), text(m, "false", next));
  if (strcmp(type, "null") == 0) return text(m, "null", next);
  bool whole = strcmp(type, "integer") == 0;
  if (!whole && strcmp(type, "number") != 0) return g_fail(m->g, "schema: unknown type '%s'", type);
  if (multiple && !(whole && json_number_value(multiple) == 1)) return g_fail(m->g, "schema: multipleOf is not supported");
  return whole ? bounded_integer(m, s, next) : bounded_number(m, s, next);
}

static int reference(Maker *m, const json_t *ref, int next) {
  const char *path = json_is_string(ref) ? json_string_value(ref) : "";
  const json_t *to = NULL;
  if (strcmp(path, "#") == 0) to = m->root;
  else if (strncmp(path, "#/$defs/", 8) == 0) to = json_object_get(json_object_get(m->root, "$defs"), path + 8);
  else if (strncmp(path, "#/definitions/", 14) == 0) to = json_object_get(json_object_get(m->root, "definitions"), path + 14);
  if (!to) return g_fail(m->g, "schema: $ref '%s' leads nowhere (expected # or #/$defs/NAME)", path);
  for (int i = 0; i < m->refs; i++)
    if (m->ref[i] == to) return g_call(m->g, m->ref_rule[i], next);
  if (m->refs == 256) return g_fail(m->g, "schema: more than 256 definitions");
  int rule = g_rule(m->g);
  m->ref[m->refs] = to;
  m->ref_rule[m->refs++] = rule;
  set_rule(m, rule, schema(m, to, 0));
  return g_call(m->g, rule, next);
}

/* One of the members of an array: schemas, or values where `literals`. */
static int one_of(Maker *m, const json_t *choices, bool literals, const char *what, int next) {
  size_t i = json_array_size(choices);
  if (i == 0) return g_fail(m->g, "schema: %s: expected a list that is not empty", what);
  int node = -1;
  while (i-- > 0 && !m->g->err->set) {
    const json_t *c = json_array_get(choices, i);
    int one = literals ? literal(m, c, next) : schema(m, c, next);
    node = node < 0 ? one : g_split(m->g, one, node);
  }
  return node < 0 ? 0 : node;
}

/* Keywords that say everything about a value stand alone (but for annotations and definitions). */
static bool stands_alone(Maker *m, json_t *s, const char *key) {
  for (size_t i = 0; strcmp(keyword[i], "$defs") != 0; i++)
    if (json_object_get(s, keyword[i]) && strcmp(keyword[i], key) != 0 && strcmp(keyword[i], "type") != 0)
      return g_fail(m->g, "schema: %s beside %s is not supported", keyword[i], key) != 0;
  return true;
}

static bool has_type(const json_t *type, const json_t *v) {
  static const char *const name[] = {"object", "array", "string", "integer", "number", "boolean", "boolean", "null"};
  if (!type) return true;
  if (json_is_array(type)) {
    size_t i;
    const json_t *t;
    json_array_foreach(type, i, t) if (has_type(t, v)) return true;
    return false;
  }
  const char *t = json_is_string(type) ? json_string_value(type) : "";
  return strcmp(t, name[json_typeof(v)]) == 0 || (json_is_integer(v) && strcmp(t, "number") == 0);
}

/* The values of an enum or const that have the type beside it. */
static int values(Maker *m, json_t *s, const json_t *all, const char *key, int next) {
  json_t *fit = json_array();
  size_t i;
  json_t *v;
  json_array_foreach(all, i, v) if (has_type(json_object_get(s, "type"), v)) json_array_append(fit, v);
  int node = one_of(m, fit, true, key, next);
  json_decref(fit);
  return node;
}

static int shape(Maker *m, json_t *s, int next) {
  static const char *const alone[] = {"$ref", "const", "enum", "anyOf", "allOf"};
  const json_t *type = json_object_get(s, "type"), *v = NULL;
  size_t which = 0;
  while (which < 5 && !(v = json_object_get(s, alone[which]))) which++;
  if (which < 5 && !stands_alone(m, s, alone[which])) return 0;
  if (which < 5 && type && (which == 0 || which > 2)) return g_fail(m->g, "schema: type beside %s is not supported", alone[which]);
  switch (which) {
    case 0: return reference(m, v, next);
    case 1: {
      json_t *one = json_pack("[O]", v);
      int node = values(m, s, one, "const", next);
      json_decref(one);
      return node;
    }
    case 2: return values(m, s, v, "enum", next);
    case 3: return one_of(m, v, false, "anyOf", next);
    case 4:
      if (json_array_size(v) != 1) return g_fail(m->g, "schema: allOf is supported with one member only");
      return schema(m, json_array_get(v, 0), next);
    default: break;
  }
  if (json_is_array(type)) {
    int node = -1;
    for (size_t i = json_array_size(type); i-- > 0;) {
      const json_t *t = json_array_get(type, i);
      int one = of_type(m, s, json_is_string(t) ? json_string_value(t) : "", next);
      node = node < 0 ? one : g_split(m->g, one, node);
    }
    return node < 0 ? g_fail(m->g, "schema: type: expected at least one") : node;
  }
  if (type) return of_type(m, s, json_is_string(type) ? json_string_value(type) : "", next);
  if (json_object_get(s, "properties") || json_object_get(s, "additionalProperties")) return bounded_object(m, s, next);
  if (json_object_get(s, "items")) return bounded_array(m, s, next);
  for (size_t i = 0; strcmp(keyword[i], "$defs") != 0; i++)
    if (json_object_get(s, keyword[i])) return g_fail(m->g, "schema: %s without a type", keyword[i]);
  return value(m, next);
}

static int schema(Maker *m, const json_t *s, int next) {
  if (m->g->err->set) return 0;
  if (json_is_true(s)) return value(m, next);
  if (!json_is_object(s)) return g_fail(m->g, "schema: expected an object");
  if (++m->depth > GRAMMAR_DEPTH) return g_fail(m->g, "schema: nested more than %d deep", GRAMMAR_DEPTH);
  json_t *copy = json_incref((json_t *)(uintptr_t)s); /* jansson iterates over what it may change */
  int node = keywords_known(m, copy) ? shape(m, copy, next) : 0;
  json_decref(copy);
  m->depth--;
  return node;
}

static Maker maker(Grammar *g, const json_t *root) {
  return (Maker){.g = g, .root = root, .value = -1, .object = -1, .array = -1, .number = -1, .integer = -1, .space = -1, .character = -1};
}

static Grammar *finish(Grammar *g, int start, Err *err) {
  g->start = start;
  if (!err->set) return g;
  grammar_free(g);
  return NULL;
}

Grammar *grammar_of_schema(const json_t *s, Err *err) {
  Grammar *g = grammar_new(err);
  if (!g) return NULL;
  Maker m = maker(g, s);
  return finish(g, schema(&m, s, 0), err);
}

Grammar *grammar_of_json(Err *err) {
  Grammar *g = grammar_new(err);
  if (!g) return NULL;
  Maker m = maker(g, NULL);
  return finish(g, any_object(&m, 0), err);
}

/* ---- calls of functions ---- */

const ToolFrame tool_frame[2] = {
    {"<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>"},
    {"{\"name\": \"", "\", \"parameters\": ", "}"},
};

static bool supported(const json_t *s) {
  Err ignored = {0};
  Grammar *g = grammar_of_schema(s, &ignored);
  grammar_free(g);
  return g != NULL;
}

Grammar *grammar_of_tools(const json_t *functions, ToolFormat format, bool many, Err *err) {
  Grammar *g = grammar_new(err);
  if (!g) return NULL;
  Maker m = maker(g, NULL);
  const ToolFrame *f = &tool_frame[format];
  int call = g_rule(g), body = -1;
  for (size_t i = json_array_size(functions); i-- > 0 && !err->set;) {
    const json_t *one = json_array_get(functions, i), *parameters = json_object_get(one, "parameters");
    int end = text(&m, f->close, 0);
    m.root = parameters;
    m.refs = 0;
    int arguments = parameters && !json_is_null(parameters) && (json_is_true(json_object_get(one, "strict")) || supported(parameters))
                        ? schema(&m, parameters, end)
                        : any_object(&m, end); /* what OpenAI does not enforce without "strict" may be any object */
    int start = text(&m, f->open, text(&m, json_string_value(json_object_get(one, "name")), text(&m, f->middle, arguments)));
    body = body < 0 ? start : g_split(g, start, body);
  }
  if (body < 0) g_fail(g, "no function to call");
  set_rule(&m, call, body);
  int again = g_rule(g);
  set_rule(&m, again, text(&m, format == TOOLS_LLAMA3 ? "; " : "\n", g_call(g, call, 0)));
  return finish(g, g_call(g, call, many ? g_repeat(g, again, 0, -1, 0) : 0), err);
}
