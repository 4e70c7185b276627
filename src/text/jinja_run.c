/* text/jinja_run: renders a parsed chat template.
 *
 * Bounded in steps, depth, memory and output; no access to anything outside the variables it was given.  There is no
 * clock: strftime_now is not defined, so that a prompt depends on its messages only.
 */
#include "text/jinja_run.h"

#include <string.h>

typedef enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } Flow;

static const Value undefined = {V_UNDEFINED, {0}};

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

static bool eval_args(Run *r, const Node *first, Args *a) {
  *a = (Args){0};
  for (const Node *n = first; n; n = n->next) {
    if (a->n == MOST_ARGS || a->keywords == MOST_ARGS) return rt_bad(r, "too many arguments near", n->name);
    if (n->keyword.n) a->name[a->keywords] = n->keyword;
    if (!eval(r, n, n->keyword.n ? &a->keyword[a->keywords] : &a->v[a->n])) return false;
    if (n->keyword.n) a->keywords++;
    else a->n++;
  }
  return true;
}

/* ---- slices ---- */

static bool slice_bound(Run *r, const Node *n, int64_t fallback, int64_t length, int64_t step, int64_t *out) {
  *out = fallback;
  if (!n) return true;
  Value v;
  if (!eval(r, n, &v)) return false;
  if (v.kind != V_INT) return rt_bad(r, "expected a whole number in a slice near", STR(":"));
  int64_t i = v.u.i < 0 ? v.u.i + length : v.u.i, low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
  *out = i < low ? low : i > high ? high : i;
  return true;
}

static bool slice(Run *r, const Node *n, Value *out) {
  Value object, s;
  int64_t step = 1, from, to;
  if (!eval(r, n->a, &object)) return false;
  if (object.kind != V_LIST && object.kind != V_STR) return rt_bad(r, "only lists and text can be sliced near", STR(":"));
  if (n->d) {
    if (!eval(r, n->d, &s)) return false;
    if (s.kind != V_INT || s.u.i == 0) return rt_bad(r, "expected a step other than 0 in a slice near", STR(":"));
    step = s.u.i;
  }
  int64_t length = object.kind == V_LIST ? object.u.list->n : rt_chars(object.u.s);
  if (!slice_bound(r, n->b, step < 0 ? length - 1 : 0, length, step, &from) ||
      !slice_bound(r, n->c, step < 0 ? -1 : length, length, step, &to) || !rt_list(r, out))
    return false;
  for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
    Value v;
    if (!rt_member(r, object, value_int(i), &v) || !rt_push(r, out->u.list, v)) return false;
  }
  if (object.kind == V_LIST) return true;
  Buf b = {0};
  bool ok = true;
  for (int i = 0; ok && i < out->u.list->n; i++) ok = buf_put(&b, out->u.list->item[i].u.s.s, out->u.list->item[i].u.s.n, r->err);
  ok = ok && rt_str(r, (Str){b.s, b.n}, out);
  buf_free(&b);
  return ok;
}

/* ---- calls ---- */

static bool make_range(Run *r, const Args *a, Value *out) {
  int64_t x[3] = {0, 0, 1};
  for (int i = 0; i < a->n && i < 3; i++) {
    if (a->v[i].kind != V_INT) return rt_bad(r, "expected whole numbers in", STR("range"));
    x[a->n == 1 ? 1 : i] = a->v[i].u.i;
  }
  if (a->n < 1 || x[2] == 0 || !rt_list(r, out)) return rt_bad(r, "wrong arguments of", STR("range"));
  for (int64_t i = x[0]; x[2] > 0 ? i < x[1] : i > x[1]; i += x[2]) {
    if (out->u.list->n > 100000) return rt_bad(r, "more than 100000 values in", STR("range"));
    if (!rt_push(r, out->u.list, value_int(i))) return false;
  }
  return true;
}

static bool call_builtin(Run *r, Str name, const Args *a, Value *out) {
  if (str_eq(name, STR("range"))) return make_range(r, a, out);
  if (str_eq(name, STR("raise_exception"))) {
    Str s = a->n && a->v[0].kind == V_STR ? a->v[0].u.s : STR("");
    return err_set(r->err, "chat template: %.*s", STR_FMT(s));
  }
  if (!rt_dict(r, str_eq(name, STR("namespace")) ? V_NAMESPACE : V_DICT, out)) return false;
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
    if (object.kind == V_STR) return rt_str_method(r, object.u.s, method, &a, out);
    if (object.kind == V_DICT) return rt_dict_method(r, object.u.dict, method, &a, out);
    return rt_bad(r, "this value has no method", method);
  }
  if (f->kind != X_NAME) return rt_bad(r, "cannot call this near", STR("("));
  if (lookup(r, f->name, &callee)) {
    if (callee.kind == V_MACRO) return call_macro(r, callee.u.macro, n->args, out);
    return rt_bad(r, "not a function:", f->name);
  }
  if (!is_builtin(f->name)) return rt_bad(r, "unknown function", f->name);
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
  bool ok = run_list(r, macro->body, &flow) && rt_str(r, (Str){text.s ? text.s : "", text.n}, out);
  r->out = written;
  r->scope = outer;
  buf_free(&text);
  return ok;
}

/* ---- operators ---- */

static bool contains(Run *r, Value in, Value what, bool *out) {
  *out = false;
  if (in.kind == V_STR && what.kind == V_STR) return *out = rt_find(in.u.s, what.u.s) != NULL, true;
  if (in.kind == V_DICT) return *out = dict_get(in.u.dict, what) != NULL, true;
  if (in.kind != V_LIST) return rt_bad(r, "cannot look inside this value for", what.kind == V_STR ? what.u.s : STR("it"));
  for (int i = 0; i < in.u.list->n && !*out; i++) *out = value_equal(in.u.list->item[i], what);
  return true;
}

static bool concatenate(Run *r, Value a, Value b, Value *out) {
  Buf text = {0};
  bool ok = rt_text(r, a, &text) && rt_text(r, b, &text) && (text.n <= JINJA_OUTPUT || rt_bad(r, "text too long near", STR("~"))) &&
            rt_str(r, (Str){text.s ? text.s : "", text.n}, out);
  buf_free(&text);
  return ok;
}

static bool numeric(Run *r, Op op, Value a, Value b, Value *out) {
  bool whole = a.kind == V_INT && b.kind == V_INT;
  double x = a.kind == V_FLOAT ? a.u.f : (double)a.u.i, y = b.kind == V_FLOAT ? b.u.f : (double)b.u.i;
  int64_t i = whole ? a.u.i : 0, j = whole ? b.u.i : 1, k = 0;
  if ((op == OP_DIV || op == OP_FLOOR_DIV || op == OP_MOD) && y == 0) return rt_bad(r, "division by zero near", STR("/"));
  if (op == OP_LT) return *out = value_bool(x < y), true;
  if (op == OP_GT) return *out = value_bool(x > y), true;
  if (op == OP_LE) return *out = value_bool(x <= y), true;
  if (op == OP_GE) return *out = value_bool(x >= y), true;
  if (whole && op != OP_DIV) {
    if ((op == OP_FLOOR_DIV || op == OP_MOD) && i == INT64_MIN) return rt_bad(r, "number too large near", STR("//"));
    bool over = op == OP_ADD   ? __builtin_add_overflow(i, j, &k)
                : op == OP_SUB ? __builtin_sub_overflow(i, j, &k)
                : op == OP_MUL ? __builtin_mul_overflow(i, j, &k)
                               : false;
    if (op == OP_FLOOR_DIV) k = i / j - (i % j != 0 && (i < 0) != (j < 0));
    if (op == OP_MOD) k = (i % j + j) % j;
    if (over) return rt_bad(r, "number too large near", STR("+"));
    return *out = value_int(k), true;
  }
  double f = op == OP_ADD ? x + y : op == OP_SUB ? x - y : op == OP_MUL ? x * y : op == OP_DIV ? x / y : 0;
  if (op == OP_FLOOR_DIV || op == OP_MOD) return rt_bad(r, "whole numbers only for", STR("//"));
  *out = (Value){V_FLOAT, {.f = f}};
  return true;
}

static bool list_sum(Run *r, Value a, Value b, Value *out) {
  if (!rt_list(r, out)) return false;
  for (int i = 0; i < a.u.list->n; i++)
    if (!rt_push(r, out->u.list, a.u.list->item[i])) return false;
  for (int i = 0; i < b.u.list->n; i++)
    if (!rt_push(r, out->u.list, b.u.list->item[i])) return false;
  return r->memory <= JINJA_MEMORY || rt_bad(r, "uses too much memory near", STR("+"));
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
  return rt_bad(r, "operator does not fit its values near", a.kind == V_STR ? a.u.s : STR("?"));
}

static bool make_display(Run *r, const Node *n, Value *out) {
  if (n->kind == X_LIST ? !rt_list(r, out) : !rt_dict(r, V_DICT, out)) return false;
  for (const Node *a = n->args; a; a = a->next) {
    Value key, v;
    if (!eval(r, a, &key)) return false;
    if (n->kind == X_LIST) {
      if (!rt_push(r, out->u.list, key)) return false;
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
    case X_MEMBER: return eval(r, n->a, &a) && eval(r, n->b, &b) && rt_member(r, a, b, out);
    case X_SLICE: return slice(r, n, out);
    case X_CALL: return call(r, n, out);
    case X_FILTER: return eval(r, n->a, &a) && eval_args(r, n->args, &args) && rt_filter(r, a, n->name, &args, out);
    case X_TEST:
      return eval(r, n->a, &a) && eval_args(r, n->args, &args) && rt_test(r, a, n->name, &args, &yes) &&
             (*out = value_bool(yes != n->flag), true);
    case X_NOT: return eval(r, n->a, &a) && (*out = value_bool(!value_true(a)), true);
    case X_NEGATE:
      if (!eval(r, n->a, &a)) return false;
      if (a.kind == V_INT && a.u.i != INT64_MIN) return *out = value_int(-a.u.i), true;
      if (a.kind == V_FLOAT) return *out = (Value){V_FLOAT, {.f = -a.u.f}}, true;
      return rt_bad(r, "expected a number behind", STR("-"));
    case X_BINARY: return operate(r, n, out);
    case X_CHOICE:
      if (!eval(r, n->b, &a)) return false;
      if (value_true(a)) return eval(r, n->a, out);
      if (n->c) return eval(r, n->c, out);
      *out = undefined;
      return true;
    default: return rt_bad(r, "not an expression", STR(""));
  }
}

static bool eval(Run *r, const Node *n, Value *out) {
  r->line = n->line;
  if (++r->steps > JINJA_STEPS) return rt_bad(r, "takes too many steps near", n->name);
  if (++r->depth > 4 * JINJA_DEPTH) return rt_bad(r, "nested too deeply near", n->name);
  bool ok = eval_node(r, n, out);
  r->depth--;
  return ok;
}

/* ---- statements ---- */



static bool write(Run *r, Str s) { return r->out->n + s.n <= JINJA_OUTPUT ? buf_put(r->out, s.s, s.n, r->err) : rt_bad(r, "output too long near", s); }

/* The loop's variables: one name takes the item, several take its parts. */
static bool bind(Run *r, const Node *names, Value item) {
  if (!names->next) return dict_put(&r->arena, &r->scope->vars, value_str(names->name), item, r->err);
  if (item.kind != V_LIST) return rt_bad(r, "cannot take apart the item for", names->name);
  int i = 0;
  for (const Node *n = names; n; n = n->next, i++) {
    if (i >= item.u.list->n) return rt_bad(r, "too few parts for", n->name);
    if (!dict_put(&r->arena, &r->scope->vars, value_str(n->name), item.u.list->item[i], r->err)) return false;
  }
  return true;
}

static bool set_loop(Run *r, const List *l, int i, Value loop) {
  Dict *d = loop.u.dict;
  return rt_put(r, d, "index", value_int(i + 1)) && rt_put(r, d, "index0", value_int(i)) && rt_put(r, d, "first", value_bool(i == 0)) &&
         rt_put(r, d, "last", value_bool(i == l->n - 1)) && rt_put(r, d, "length", value_int(l->n)) &&
         rt_put(r, d, "revindex", value_int(l->n - i)) && rt_put(r, d, "revindex0", value_int(l->n - 1 - i)) &&
         rt_put(r, d, "previtem", i ? l->item[i - 1] : undefined) && rt_put(r, d, "nextitem", i + 1 < l->n ? l->item[i + 1] : undefined);
}

/* The items that pass the loop's condition. */
static bool filter_items(Run *r, const Node *n, Value *items) {
  Value kept, yes;
  if (!n->b) return true;
  if (!rt_list(r, &kept)) return false;
  for (int i = 0; i < items->u.list->n; i++) {
    if (!bind(r, n->args, items->u.list->item[i]) || !eval(r, n->b, &yes)) return false;
    if (value_true(yes) && !rt_push(r, kept.u.list, items->u.list->item[i])) return false;
  }
  *items = kept;
  return true;
}

static bool run_for(Run *r, const Node *n, Flow *flow) {
  Value v, items, loop;
  if (!eval(r, n->a, &v) || !rt_to_list(r, v, &items) || !rt_dict(r, V_DICT, &loop)) return false;
  Scope inner = {r->scope, {0}}, *outer = r->scope;
  r->scope = &inner;
  bool ok = filter_items(r, n, &items);
  const List *l = items.u.list;
  Flow f = FLOW_NEXT;
  for (int i = 0; ok && i < l->n && f != FLOW_BREAK; i++) {
    inner.vars.n = 0; /* what an iteration sets is gone in the next */
    ok = set_loop(r, l, i, loop) && rt_put(r, &inner.vars, "loop", loop) && bind(r, n->args, l->item[i]) && run_list(r, n->body, &f);
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
    ok = run_list(r, n->body, &flow) && rt_str(r, (Str){text.s ? text.s : "", text.n}, &v);
    r->out = written;
    buf_free(&text);
  }
  if (!ok) return false;
  if (!n->keyword.n) return dict_put(&r->arena, &r->scope->vars, value_str(n->name), v, r->err);
  if (!lookup(r, n->name, &space) || space.kind != V_NAMESPACE) return rt_bad(r, "not a namespace:", n->name);
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
      return rt_text(r, v, r->out) && write(r, STR(""));
    }
    case S_SET:
    case S_SET_BLOCK: return run_set(r, n);
    case S_IF: return eval(r, n->a, &v) && run_list(r, value_true(v) ? n->body : n->other, flow);
    case S_FOR: return run_for(r, n, flow);
    case S_MACRO: return dict_put(&r->arena, &r->scope->vars, value_str(n->name), (Value){V_MACRO, {.macro = n}}, r->err);
    case S_BREAK: *flow = FLOW_BREAK; return true;
    case S_CONTINUE: *flow = FLOW_CONTINUE; return true;
    default: return rt_bad(r, "not a statement", STR(""));
  }
}

static bool run_list(Run *r, const Node *n, Flow *flow) {
  if (++r->depth > 4 * JINJA_DEPTH) return rt_bad(r, "nested too deeply near", STR("{%"));
  *flow = FLOW_NEXT;
  bool ok = true;
  for (; ok && n && *flow == FLOW_NEXT; n = n->next)
    ok = (++r->steps <= JINJA_STEPS || rt_bad(r, "takes too many steps near", STR("{%"))) && run_one(r, n, flow);
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
  bool ok = rt_list(&r, &list);
  for (int i = 0; ok && i < n; i++)
    ok = rt_dict(&r, V_DICT, &message) && rt_put(&r, message.u.dict, "role", value_str(m[i].role)) &&
         rt_put(&r, message.u.dict, "content", value_str(m[i].content)) && rt_push(&r, list.u.list, message);
  ok = ok && rt_put(&r, &r.globals.vars, "messages", list) && rt_put(&r, &r.globals.vars, "bos_token", value_str(bos)) &&
       rt_put(&r, &r.globals.vars, "eos_token", value_str(eos)) &&
       rt_put(&r, &r.globals.vars, "add_generation_prompt", value_bool(add_generation_prompt)) && run_list(&r, t->body, &flow);
  arena_free(&r.arena);
  return ok;
}
