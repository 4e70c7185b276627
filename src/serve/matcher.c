/* serve/matcher: a grammar made deterministic as far as it is used, and the masks of tokens that fit.
 *
 * A stack is a node and the stack to return to; equal stacks have one number.  A state is the set of stacks that wait for a
 * byte (and whether the text may end there); equal sets have one number.  Transitions and masks are filled when first asked for.
 */
#include "serve/grammar.h"

#include <stdlib.h>
#include <string.h>

/* ---- the vocabulary as a trie in preorder ---- */

typedef struct {
  int skip;      /* the next node that is not below this one */
  int token;     /* that ends here, -1; more of the same bytes in next_same */
  uint16_t depth;
  uint8_t byte;
} TrieItem;

struct TokenTrie {
  int vocab, n, deepest;
  TrieItem *item;
  int *next_same;  /* (vocab) another token of the same bytes, -1 */
  uint8_t *stops;  /* (vocab) tokens that end a reply */
};

typedef struct {
  const char *s;
  size_t n;
  int id;
} TokenText;

static int by_bytes(const void *a, const void *b) {
  const TokenText *x = a, *y = b;
  int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
  return c ? c : x->n != y->n ? (x->n < y->n ? -1 : 1) : x->id - y->id;
}

static void fill_trie(TokenTrie *t, const TokenText *text, int n) {
  int path[65536];
  size_t deep = 0;
  for (int i = 0; i < n; i++) {
    const TokenText *x = &text[i], *before = i ? &text[i - 1] : NULL;
    size_t same = 0;
    while (before && same < x->n && same < before->n && x->s[same] == before->s[same]) same++;
    if (before && same == x->n && same == before->n) {
      t->next_same[x->id] = t->item[path[same - 1]].token;
      t->item[path[same - 1]].token = x->id;
      continue;
    }
    while (deep > same) t->item[path[--deep]].skip = t->n;
    for (; deep < x->n; deep++) {
      path[deep] = t->n;
      t->item[t->n++] = (TrieItem){0, -1, (uint16_t)deep, (uint8_t)x->s[deep]};
    }
    t->item[path[deep - 1]].token = x->id;
    if ((int)deep > t->deepest) t->deepest = (int)deep;
  }
  while (deep > 0) t->item[path[--deep]].skip = t->n;
}

TokenTrie *token_trie_new(const Tokenizer *tok, int vocab, Err *err) {
  TokenTrie *t = mem_alloc(1, sizeof *t, err);
  TokenText *text = mem_alloc((size_t)vocab, sizeof *text, err);
  size_t *from = mem_alloc((size_t)vocab + 1, sizeof *from, err);
  Buf all = {0};
  bool ok = t && text && from;
  for (int i = 0; ok && i < vocab; i++) {
    ok = tokenizer_bytes(tok, i, false, &all, err);
    if (ok && all.n - from[i] > 65535) ok = err_set(err, "token %d: expected at most 65535 bytes, found %zu", i, all.n - from[i]);
    from[i + 1] = all.n;
  }
  if (ok) {
    t->vocab = vocab;
    t->item = mem_alloc(all.n + 1, sizeof *t->item, err);
    t->next_same = mem_alloc((size_t)vocab, sizeof *t->next_same, err);
    t->stops = mem_alloc((size_t)vocab, 1, err);
    ok = t->item && t->next_same && t->stops;
  }
  int n = 0;
  for (int i = 0; ok && i < vocab; i++) {
    t->next_same[i] = -1;
    t->stops[i] = tokenizer_stops(tok, i);
    if (from[i + 1] > from[i] && !t->stops[i]) text[n++] = (TokenText){all.s + from[i], from[i + 1] - from[i], i};
  }
  if (ok) {
    qsort(text, (size_t)n, sizeof *text, by_bytes);
    fill_trie(t, text, n);
  }
  buf_free(&all);
  mem_free(text);
  mem_free(from);
  if (ok) return t;
  token_trie_free(t);
  return NULL;
}

void token_trie_free(TokenTrie *t) {
  if (!t) return;
  mem_free(t->item);
  mem_free(t->next_same);
  mem_free(t->stops);
  mem_free(t);
}

/* ---- stacks and states ---- */

enum { STATES = 1 << 18, STACKS = 1 << 22, STACK_DEPTH = 4 * GRAMMAR_DEPTH, MASK_BYTES = 64 << 20 };

typedef struct {
  int node, parent; /* parent 0: nothing to return to */
  int depth;
} Stack;

typedef struct {
  int from, n;    /* stacks in `member` */
  bool end;
  int *next;      /* (256) state, MATCHER_DEAD, or UNKNOWN */
  uint8_t *banned;
  int fit;
} State;

enum { UNKNOWN = -3 };

struct Matcher {
  Grammar *g;
  const TokenTrie *trie;
  Stack *stack; /* from 1 on */
  int stacks, stack_cap;
  int *stack_slot; /* hash table of stacks, 0: free */
  int stack_slots;
  int *seen;    /* (stack_cap) round in which a stack was last met */
  int round;
  State *state;
  int states, state_cap;
  int *state_slot; /* hash table of states, number + 1 */
  int state_slots;
  int *member;
  size_t members, member_cap;
  int *work, *set; /* (stack_cap) */
  int set_n;
  bool set_end;
  int *walk;    /* (deepest + 1) states along the trie */
  size_t mask_bytes;
};

/* Twice the room for what the pointer at p points to, where n fills it. */
static bool grow(void *p, int *cap, int n, size_t size, Err *err) {
  void *at;
  if (n < *cap) return true;
  memcpy(&at, p, sizeof at);
  void *q = mem_grow(at, (size_t)*cap * size, 2 * (size_t)*cap * size, err);
  if (q) memcpy(p, &q, sizeof q);
  return q != NULL;
}

static uint32_t stack_hash(int node, int parent) {
  uint32_t h = ((uint32_t)node * 0x9E3779B1u) ^ ((uint32_t)parent * 0x85EBCA77u);
  return h ^ h >> 15;
}

static bool grow_stacks(Matcher *m, Err *err) {
  if (m->stacks < m->stack_cap) return true;
  if (m->stacks >= STACKS) return err_set(err, "the grammar has too many ways to go on");
  int cap = m->stack_cap;
  if (!grow(&m->stack, &cap, m->stacks, sizeof *m->stack, err) || !grow(&m->seen, &cap, m->stacks, sizeof *m->seen, err) ||
      !grow(&m->work, &cap, m->stacks, sizeof *m->work, err) || !grow(&m->set, &cap, m->stacks, sizeof *m->set, err))
    return false;
  int *slot = mem_alloc((size_t)cap * 8, sizeof *slot, err);
  if (!slot) return false;
  m->stack_cap = 2 * cap;
  mem_free(m->stack_slot);
  m->stack_slot = slot;
  m->stack_slots = cap * 8;
  for (int i = 1; i < m->stacks; i++) {
    uint32_t h = stack_hash(m->stack[i].node, m->stack[i].parent) & (uint32_t)(m->stack_slots - 1);
    while (slot[h]) h = (h + 1) & (uint32_t)(m->stack_slots - 1);
    slot[h] = i;
  }
  return true;
}

/* The number of a stack; 0 where it would be too deep (such texts are cut off); -1 with an error. */
static int stack_of(Matcher *m, int node, int parent, Err *err) {
  uint32_t mask = (uint32_t)(m->stack_slots - 1), h = stack_hash(node, parent) & mask;
  for (; m->stack_slot[h]; h = (h + 1) & mask) {
    Stack *s = &m->stack[m->stack_slot[h]];
    if (s->node == node && s->parent == parent) return m->stack_slot[h];
  }
  int depth = m->stack[parent].depth + 1;
  if (depth > STACK_DEPTH) return 0;
  m->stack_slot[h] = m->stacks;
  m->stack[m->stacks] = (Stack){node, parent, depth};
  m->seen[m->stacks] = 0;
  m->stacks++;
  return grow_stacks(m, err) ? m->stacks - 1 : -1;
}

/* Adds a stack to the set that is being made: on to every place that waits for a byte. */
static bool close_over(Matcher *m, int node, int parent, Err *err) {
  int n = 0;
  for (int first = stack_of(m, node, parent, err);;) {
    if (first < 0) return false;
    if (first > 0 && m->seen[first] != m->round) {
      m->seen[first] = m->round;
      m->work[n++] = first;
    }
    if (n == 0) return true;
    Stack s = m->stack[m->work[--n]];
    const GrammarNode *g = &m->g->node[s.node];
    first = 0;
    if (g->kind == G_BYTES) {
      m->set[m->set_n++] = m->work[n];
    } else if (g->kind == G_SPLIT) {
      int other = stack_of(m, g->b, s.parent, err);
      if (other < 0) return false;
      if (other > 0 && m->seen[other] != m->round) {
        m->seen[other] = m->round;
        m->work[n++] = other;
      }
      first = stack_of(m, g->a, s.parent, err);
    } else if (g->kind == G_CALL) {
      int parent_of = g->a == 0 ? s.parent : stack_of(m, g->a, s.parent, err); /* a call at the end returns to our caller */
      if (parent_of < 0) return false;
      if (parent_of > 0 || g->a == 0) first = stack_of(m, m->g->rule[g->b], parent_of, err);
    } else if (s.parent == 0) {
      m->set_end = true;
    } else {
      first = stack_of(m, m->stack[s.parent].node, m->stack[s.parent].parent, err);
    }
  }
}

static int by_number(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static uint32_t set_hash(const int *set, int n, bool end) {
  uint32_t h = end ? 7 : 3;
  for (int i = 0; i < n; i++) h = (h ^ (uint32_t)set[i]) * 0x9E3779B1u, h ^= h >> 15;
  return h;
}

static bool grow_states(Matcher *m, Err *err) {
  if (m->states < m->state_cap) return true;
  if (m->states >= STATES) return err_set(err, "the grammar has too many states");
  int cap = m->state_cap;
  if (!grow(&m->state, &cap, m->states, sizeof *m->state, err)) return false;
  int *slot = mem_alloc((size_t)cap * 8, sizeof *slot, err);
  if (!slot) return false;
  m->state_cap = 2 * cap;
  mem_free(m->state_slot);
  m->state_slot = slot;
  m->state_slots = cap * 8;
  for (int i = 0; i < m->states; i++) {
    uint32_t h = set_hash(m->member + m->state[i].from, m->state[i].n, m->state[i].end) & (uint32_t)(m->state_slots - 1);
    while (slot[h]) h = (h + 1) & (uint32_t)(m->state_slots - 1);
    slot[h] = i + 1;
  }
  return true;
}

/* The state of the set that was made; -2 with an error. */
static int state_of(Matcher *m, Err *err) {
  if (m->set_n == 0 && !m->set_end) return MATCHER_DEAD;
  qsort(m->set, (size_t)m->set_n, sizeof *m->set, by_number);
  uint32_t mask = (uint32_t)(m->state_slots - 1), h = set_hash(m->set, m->set_n, m->set_end) & mask;
  for (; m->state_slot[h]; h = (h + 1) & mask) {
    const State *s = &m->state[m->state_slot[h] - 1];
    if (s->n == m->set_n && s->end == m->set_end && memcmp(m->member + s->from, m->set, (size_t)s->n * sizeof *m->set) == 0)
      return m->state_slot[h] - 1;
  }
  size_t want = m->members + (size_t)m->set_n;
  if (want > INT32_MAX) return err_set(err, "the grammar has too many states"), -2;
  if (want > m->member_cap) {
    int *p = mem_grow(m->member, m->members * sizeof *p, 2 * want * sizeof *p, err);
    if (!p) return -2;
    m->member = p;
    m->member_cap = 2 * want;
  }
  memcpy(m->member + m->members, m->set, (size_t)m->set_n * sizeof *m->set);
  m->state[m->states] = (State){.from = (int)m->members, .n = m->set_n, .end = m->set_end};
  m->members = want;
  m->state_slot[h] = ++m->states;
  return grow_states(m, err) ? m->states - 1 : -2;
}

static void set_begin(Matcher *m) {
  m->round++;
  m->set_n = 0;
  m->set_end = false;
}

Matcher *matcher_new(Grammar *g, const TokenTrie *trie, Err *err) {
  Matcher *m = g ? mem_alloc(1, sizeof *m, err) : NULL;
  if (!m) {
    grammar_free(g);
    return NULL;
  }
  m->g = g;
  m->trie = trie;
  m->stack_cap = m->state_cap = 64;
  m->stack_slots = m->state_slots = 4 * 64;
  m->stacks = 1;
  m->stack = mem_alloc((size_t)m->stack_cap, sizeof *m->stack, err);
  m->seen = mem_alloc((size_t)m->stack_cap, sizeof *m->seen, err);
  m->work = mem_alloc((size_t)m->stack_cap, sizeof *m->work, err);
  m->set = mem_alloc((size_t)m->stack_cap, sizeof *m->set, err);
  m->stack_slot = mem_alloc((size_t)m->stack_slots, sizeof *m->stack_slot, err);
  m->state = mem_alloc((size_t)m->state_cap, sizeof *m->state, err);
  m->state_slot = mem_alloc((size_t)m->state_slots, sizeof *m->state_slot, err);
  m->walk = mem_alloc((size_t)trie->deepest + 1, sizeof *m->walk, err);
  bool ok = m->stack && m->seen && m->work && m->set && m->stack_slot && m->state && m->state_slot && m->walk;
  if (ok) {
    set_begin(m);
    ok = close_over(m, g->start, 0, err);
    int start = ok ? state_of(m, err) : MATCHER_DEAD;
    if (ok && start == MATCHER_DEAD) ok = err_set(err, "the grammar allows no text at all");
    ok = ok && start == MATCHER_START;
  }
  if (ok) return m;
  matcher_free(m);
  return NULL;
}

void matcher_free(Matcher *m) {
  if (!m) return;
  for (int i = 0; m->state && i < m->states; i++) {
    mem_free(m->state[i].next);
    mem_free(m->state[i].banned);
  }
  void *all[] = {m->stack, m->seen, m->work, m->set, m->stack_slot, m->state, m->state_slot, m->walk, m->member};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  grammar_free(m->g);
  mem_free(m);
}

size_t matcher_states(const Matcher *m) { return (size_t)m->states; }

bool matcher_may_end(const Matcher *m, int state) { return state >= 0 && m->state[state].end; }

bool matcher_complete(const Matcher *m, int state) { return matcher_may_end(m, state) && m->state[state].n == 0; }

static int step(Matcher *m, int state, uint8_t byte, Err *err) {
  if (!m->state[state].next) {
    int *next = mem_alloc(256, sizeof *next, err);
    if (!next) return -2;
    for (int i = 0; i < 256; i++) next[i] = UNKNOWN;
    m->state[state].next = next;
  }
  int known = m->state[state].next[byte];
  if (known != UNKNOWN) return known;
  set_begin(m);
  for (int i = 0; i < m->state[state].n; i++) {
    Stack s = m->stack[m->member[m->state[state].from + i]];
    const GrammarNode *g = &m->g->node[s.node];
    if (byte >= g->low && byte <= g->high && !close_over(m, g->a, s.parent, err)) return -2;
  }
  int next = state_of(m, err);
  if (next >= MATCHER_DEAD) m->state[state].next[byte] = next;
  return next;
}

int matcher_feed(Matcher *m, int state, const char *s, size_t n, Err *err) {
  for (size_t i = 0; i < n && state >= 0; i++) state = step(m, state, (uint8_t)s[i], err);
  return state;
}

void matcher_trim(Matcher *m) {
  if (m->mask_bytes < MASK_BYTES) return;
  for (int i = 0; i < m->states; i++) {
    mem_free(m->state[i].banned);
    m->state[i].banned = NULL;
  }
  m->mask_bytes = 0;
}

const uint8_t *matcher_banned(Matcher *m, int state, int *fit, Err *err) {
  const TokenTrie *t = m->trie;
  if (m->state[state].banned) {
    *fit = m->state[state].fit;
    return m->state[state].banned;
  }
  uint8_t *banned = mem_alloc((size_t)t->vocab, 1, err);
  if (!banned) return NULL;
  memset(banned, 1, (size_t)t->vocab);
  *fit = 0;
  m->walk[0] = state;
  for (int i = 0; i < t->n;) {
    const TrieItem *x = &t->item[i];
    int from = m->walk[x->depth], *next = m->state[from].next;
    int to = next && next[x->byte] != UNKNOWN ? next[x->byte] : step(m, from, x->byte, err);
    if (to == -2) {
      mem_free(banned);
      return NULL;
    }
    if (to < 0) {
      i = x->skip;
      continue;
    }
    m->walk[x->depth + 1] = to;
    for (int id = x->token; id >= 0; id = t->next_same[id]) banned[id] = 0, ++*fit;
    i++;
  }
  if (m->state[state].end)
    for (int i = 0; i < t->vocab; i++)
      if (t->stops[i]) banned[i] = 0, ++*fit;
  m->mask_bytes += (size_t)t->vocab;
  m->state[state].banned = banned;
  m->state[state].fit = *fit;
  return banned;
}
