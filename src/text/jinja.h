/* text/jinja (private to text): the syntax tree and the values of chat templates. */
#ifndef BURIN_TEXT_JINJA_H
#define BURIN_TEXT_JINJA_H

#include "text/text.h"

/* ---- syntax ---- */

typedef enum {
  /* expressions */
  X_LITERAL, X_NAME, X_LIST, X_DICT, X_MEMBER, X_SLICE, X_CALL, X_FILTER, X_TEST, X_NOT, X_NEGATE, X_BINARY, X_CHOICE,
  /* statements */
  S_TEXT, S_OUTPUT, S_SET, S_SET_BLOCK, S_IF, S_FOR, S_MACRO, S_BREAK, S_CONTINUE
} NodeKind;

typedef enum { OP_OR, OP_AND, OP_EQ, OP_NE, OP_LT, OP_GT, OP_LE, OP_GE, OP_IN, OP_NOT_IN, OP_ADD, OP_SUB, OP_CONCAT, OP_MUL,
               OP_DIV, OP_FLOOR_DIV, OP_MOD, OP_NONE } Op;

typedef enum { V_UNDEFINED, V_NONE, V_BOOL, V_INT, V_FLOAT, V_STR, V_LIST, V_DICT, V_NAMESPACE, V_MACRO, V_BUILTIN } ValueKind;

typedef struct Value Value;
typedef struct Node Node;

typedef struct {
  Value *item;
  int n, cap;
} List;

typedef struct {
  Value *key, *value; /* in order of insertion */
  int n, cap;
} Dict;

struct Value {
  ValueKind kind;
  union {
    bool b;
    int64_t i;
    double f;
    Str s;
    List *list;
    Dict *dict;
    const Node *macro;
  } u;
};

/* One shape for all nodes: what a, b, c, list and body mean is said at each kind in parse.c. */
struct Node {
  NodeKind kind;
  int line;
  Op op;
  bool flag;
  Str name;
  Value literal;
  Node *a, *b, *c, *d;
  Node *args;       /* first of a list linked by next: items, arguments, keys and values in turn */
  Str keyword;      /* of an argument */
  Node *body, *other; /* statement lists */
  Node *next;
};

struct ChatTemplate {
  Arena arena;
  Str source;
  Node *body;
};

enum { JINJA_DEPTH = 120, JINJA_STEPS = 20000000, JINJA_OUTPUT = 64 << 20, JINJA_MEMORY = 256 << 20 };

bool jinja_parse(ChatTemplate *t, Err *err);

/* ---- values: arena-backed, made during one render ---- */
bool list_put(Arena *a, List *l, Value v, Err *err);
bool dict_put(Arena *a, Dict *d, Value key, Value v, Err *err);
const Value *dict_get(const Dict *d, Value key);
bool value_true(Value v);
bool value_equal(Value a, Value b);
/* Text of a value as `{{ v }}` prints it. */
bool value_print(Value v, Buf *out, Err *err);
/* JSON as Python's json.dumps(ensure_ascii=False, indent=indent) writes it; indent < 0: on one line. */
bool value_json(Value v, int indent, int level, Buf *out, Err *err);
bool value_of_json(Arena *a, Str json, Value *out, Err *err);

static inline Value value_str(Str s) { return (Value){V_STR, {.s = s}}; }
static inline Value value_bool(bool b) { return (Value){V_BOOL, {.b = b}}; }
static inline Value value_int(int64_t i) { return (Value){V_INT, {.i = i}}; }

#endif
