/* serve/pattern (private to serve): patterns over characters, as regular expressions and GBNF grammars are read into.
 *
 * A parser reads its notation into a tree in an arena; pattern_build makes the automaton, from its end backwards.  Errors stick
 * (the grammar's err) and say where; parsing functions give NULL or false then.
 */
#ifndef BURIN_SERVE_PATTERN_H
#define BURIN_SERVE_PATTERN_H

#include "serve/grammar.h"

typedef enum { P_EMPTY, P_SET, P_TEXT, P_CAT, P_ALT, P_REPEAT, P_CALL } PatternKind;

typedef struct Pattern {
  PatternKind kind;
  CharSet set;
  Str text;
  struct Pattern *a, *b;
  int least, most;         /* -1: any number */
  int rule;                /* P_CALL: of the grammar */
  struct Pattern *set_before; /* all sets of a parser, to be freed */
} Pattern;

typedef struct {
  Grammar *g;
  const char *what; /* how errors call the notation */
  Arena arena;
  Str s;
  size_t at;
  int depth, atoms;
  bool lazy;        /* a ? behind a repetition changes nothing */
  Pattern *set;     /* the last made */
} PatternParser;

enum { PATTERN_REPEAT = 10000, PATTERN_ATOMS = 8192, LAST_CHAR = 0x10FFFF };

void pattern_parser_free(PatternParser *p);
Pattern *pattern_bad(PatternParser *p, const char *problem); /* NULL, with an error */
static inline bool pattern_more(const PatternParser *p) { return p->at < p->s.n; }
static inline char pattern_peek(const PatternParser *p) { return p->s.s[p->at]; }
Pattern *pattern_make(PatternParser *p, PatternKind kind, Pattern *a, Pattern *b);
Pattern *pattern_atom(PatternParser *p, PatternKind kind); /* P_SET (empty), P_TEXT or P_CALL */
Pattern *pattern_cat(PatternParser *p, Pattern *a, Pattern *b); /* either may be P_EMPTY; NULL where one is NULL */
bool pattern_add(PatternParser *p, CharSet *s, uint32_t low, uint32_t high);
/* One character of the pattern itself; behind a backslash: a class into *s (then *c is UINT32_MAX) or one character; behind [ a
 * whole class. */
bool pattern_char(PatternParser *p, uint32_t *c);
bool pattern_escape(PatternParser *p, CharSet *s, uint32_t *c);
Pattern *pattern_class(PatternParser *p);
/* r and the * + ? {m} {m,} {m,n} that follow it. */
Pattern *pattern_repeats(PatternParser *p, Pattern *r);
int pattern_build(Grammar *g, const Pattern *r, bool quoted, int next);

#endif
