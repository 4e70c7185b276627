/* serve/grammar (private to serve): what a reply may be, byte by byte.
 *
 * A grammar is a set of rules over bytes; a rule's body is a nondeterministic automaton whose edges may call rules, so that
 * nested JSON and recursive schemas fit.  It is built from its end backwards: every builder takes the node that comes next and
 * gives the node to begin with.  Errors stick (g->err); builders go on with harmless values.
 */
#ifndef BURIN_SERVE_GRAMMAR_H
#define BURIN_SERVE_GRAMMAR_H

#include "text/text.h"

#include <jansson.h>

typedef enum { G_RETURN, G_BYTES, G_SPLIT, G_CALL } GrammarKind;

typedef struct {
  uint8_t kind, low, high; /* G_BYTES: low..high, then a */
  int a, b;                /* G_SPLIT: a or b.  G_CALL: rule b, then a */
} GrammarNode;

typedef struct {
  GrammarNode *node; /* node 0 is the only G_RETURN */
  int nodes, node_cap;
  int *rule;         /* first node of each */
  int rules, rule_cap;
  int start;
  Err *err;          /* only while it is built */
} Grammar;

enum { GRAMMAR_NODES = 400000, GRAMMAR_DEPTH = 64 /* nesting of schemas and of regular expressions */ };

/* ---- made from what requests carry; NULL with an error where it cannot be done exactly ---- */

/* A regular expression over characters that must match the whole reply: literals, classes, groups, | * + ? {m,n}, escapes
 * \d \w \s \n \t \r \f \v \xHH \uHHHH.  No references, no assertions within. */
Grammar *grammar_of_regex(Str pattern, Err *err);
/* A grammar in llama.cpp's notation (GBNF); its rule root is the whole reply.  No left recursion, no token ids. */
Grammar *grammar_of_gbnf(Str text, Err *err);
/* JSON that satisfies a schema (see serve/schema.c for the keywords); others are errors, never ignored. */
Grammar *grammar_of_schema(const json_t *schema, Err *err);
/* Any JSON object. */
Grammar *grammar_of_json(Err *err);

/* How a model writes a call: a template's own way. */
typedef enum { TOOLS_HERMES, TOOLS_LLAMA3 } ToolFormat;
/* Calls of the functions (array of {"name", "parameters"}), one, or where `many` one or more. */
Grammar *grammar_of_tools(const json_t *functions, ToolFormat format, bool many, Err *err);
/* What comes before the name and between name and arguments of a call, and behind them. */
typedef struct {
  const char *open, *middle, *close;
} ToolFrame;
extern const ToolFrame tool_frame[2];

void grammar_free(Grammar *g);

/* ---- builders ---- */
typedef struct {
  uint32_t low, high;
} CharRange;

typedef struct {
  CharRange *r; /* sorted, apart from each other */
  int n, cap;
} CharSet;

Grammar *grammar_new(Err *err);
int g_bytes(Grammar *g, uint8_t low, uint8_t high, int next);
int g_split(Grammar *g, int a, int b);
int g_text(Grammar *g, Str s, int next);
int g_call(Grammar *g, int rule, int next);
int g_rule(Grammar *g); /* its first node is set later */
int g_utf8(uint32_t c, uint8_t out[4]); /* the bytes of a character: 1 to 4 */
/* One character of a set, as UTF-8; within a JSON string (`quoted`) as its shortest escape where it needs one. */
int g_set(Grammar *g, const CharSet *set, bool quoted, int next);
/* `rule` from `least` to `most` times (-1: any number). */
int g_repeat(Grammar *g, int rule, int least, int most, int next);
/* A regular expression.  `search`: it may match anywhere unless ^ and $ say otherwise. */
int g_regex(Grammar *g, Str pattern, bool quoted, bool search, int next);
bool charset_add(CharSet *s, uint32_t low, uint32_t high, Err *err);
/* -1 with an error, unless one stands already. */
int g_fail(Grammar *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- a grammar over a vocabulary ----
 * The automaton is made deterministic as far as it is used; masks of tokens are kept for the states that were visited.
 */
typedef struct TokenTrie TokenTrie;
TokenTrie *token_trie_new(const Tokenizer *t, int vocab, Err *err);
void token_trie_free(TokenTrie *t);

typedef struct Matcher Matcher;
/* Takes the grammar over, whatever happens.  Used by one thread at a time. */
Matcher *matcher_new(Grammar *g, const TokenTrie *trie, Err *err);
void matcher_free(Matcher *m);
size_t matcher_states(const Matcher *m);
enum { MATCHER_DEAD = -1, MATCHER_START = 0 };
/* The state behind some bytes; MATCHER_DEAD where they do not fit. -2 with an error where memory or limits end. */
int matcher_feed(Matcher *m, int state, const char *s, size_t n, Err *err);
bool matcher_may_end(const Matcher *m, int state);
bool matcher_complete(const Matcher *m, int state); /* it must end */
/* (vocab) nonzero for tokens that do not fit; NULL with an error.  Valid until matcher_trim.  *fit: how many do. */
const uint8_t *matcher_banned(Matcher *m, int state, int *fit, Err *err);
/* Masks that were kept go where they take too much; they are made again when they are asked for. */
void matcher_trim(Matcher *m);

#endif
