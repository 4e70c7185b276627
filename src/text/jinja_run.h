/* text/jinja_run (private to text): one render, shared by its two halves: jinja_run.c walks the tree, jinja_lib.c is what
 * templates may call.
 */
#ifndef BURIN_TEXT_JINJA_RUN_H
#define BURIN_TEXT_JINJA_RUN_H

#include "text/jinja.h"

typedef struct Scope {
  struct Scope *outer;
  Dict vars;
} Scope;

typedef struct {
  Arena arena;
  Scope globals, *scope;
  long steps;
  size_t memory;
  int depth, line;
  Buf *out;
  Err *err;
} Run;

enum { MOST_ARGS = 8 };
typedef struct {
  Value v[MOST_ARGS];
  int n;
  Value keyword[MOST_ARGS];
  Str name[MOST_ARGS];
  int keywords;
} Args;

/* An error with the line that is being rendered; always false. */
bool rt_bad(Run *r, const char *what, Str which);

/* Values in the render's memory, which is counted. */
void *rt_take(Run *r, size_t n);
bool rt_str(Run *r, Str s, Value *out);
bool rt_list(Run *r, Value *out);
bool rt_dict(Run *r, ValueKind kind, Value *out);
bool rt_push(Run *r, List *l, Value v);
bool rt_put(Run *r, Dict *d, const char *key, Value v);
bool rt_text(Run *r, Value v, Buf *b); /* text of any value */

/* Argument i or of that name; NULL where it was not given. */
const Value *rt_arg(const Args *a, int i, const char *keyword);
bool rt_str_arg(Run *r, const Args *a, int i, const char *of, Str *out);

int rt_char_bytes(Str s, size_t at);
int64_t rt_chars(Str s);
const char *rt_find(Str s, Str what);

bool rt_member(Run *r, Value object, Value key, Value *out);
bool rt_str_method(Run *r, Str s, Str name, const Args *a, Value *out);
bool rt_dict_method(Run *r, const Dict *d, Str name, const Args *a, Value *out);
bool rt_test(Run *r, Value v, Str name, const Args *a, bool *out);
bool rt_filter(Run *r, Value v, Str name, const Args *a, Value *out);
bool rt_to_list(Run *r, Value v, Value *out);

#endif
