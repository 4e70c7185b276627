/* text/merge: byte-pair merging, of bytes by rank and of characters by score.
 *
 * Symbols form a linked list; candidate pairs stand in a heap ordered by (rank or score, position).  A pair that one of
 * its symbols has left behind is recognised by its length and dropped when it surfaces.  O(n log n).
 */
#include "text/parts.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  int32_t id;           /* piece, or -1 */
  uint32_t from, n;     /* bytes; n = 0: merged into its neighbour */
  int32_t before, after;
} Symbol;

typedef struct {
  float score;          /* larger first */
  int32_t left;         /* then the leftmost */
  uint32_t n;           /* bytes of both together when the pair was seen */
  int32_t result;
} Pair;

typedef struct {
  const Tokenizer *t;
  const char *text;
  Symbol *symbol;
  int n;
  Pair *heap;
  int pairs;
} Merger;

static bool goes_before(const Pair *a, const Pair *b) { return a->score > b->score || (a->score == b->score && a->left < b->left); }

static void heap_push(Merger *m, Pair p) {
  int i = m->pairs++;
  for (int up = (i - 1) / 2; i > 0 && goes_before(&p, &m->heap[up]); i = up, up = (i - 1) / 2) m->heap[i] = m->heap[up];
  m->heap[i] = p;
}

static Pair heap_pop(Merger *m) {
  Pair top = m->heap[0], last = m->heap[--m->pairs];
  int i = 0;
  for (int down; (down = 2 * i + 1) < m->pairs; i = down) {
    if (down + 1 < m->pairs && goes_before(&m->heap[down + 1], &m->heap[down])) down++;
    if (!goes_before(&m->heap[down], &last)) break;
    m->heap[i] = m->heap[down];
  }
  m->heap[i] = last;
  return top;
}

static void consider(Merger *m, int left) {
  if (left < 0 || m->symbol[left].after < 0) return;
  const Symbol *a = &m->symbol[left], *b = &m->symbol[a->after];
  Pair p = {.left = left, .n = a->n + b->n};
  if (m->t->v->kind == VOCAB_SPM) {
    if (p.n > m->t->longest) return;
    p.result = strmap_get(&m->t->pieces, (Str){m->text + a->from, p.n});
    if (p.result < 0) return;
    p.score = m->t->v->score[p.result];
  } else {
    if (a->id < 0 || b->id < 0) return;
    const Merge *found = merge_find(m->t, (uint32_t)a->id, (uint32_t)b->id);
    if (!found) return;
    p.result = (int32_t)found->result;
    p.score = -(float)found->rank; /* ranks stay below 2^24: exact */
  }
  heap_push(m, p);
}

static void merge_all(Merger *m) {
  for (int i = 0; i + 1 < m->n; i++) consider(m, i);
  while (m->pairs) {
    Pair p = heap_pop(m);
    Symbol *a = &m->symbol[p.left];
    if (a->n == 0 || a->after < 0 || a->n + m->symbol[a->after].n != p.n) continue;
    Symbol *b = &m->symbol[a->after];
    a->n = p.n;
    a->id = p.result;
    b->n = 0;
    a->after = b->after;
    if (a->after >= 0) m->symbol[a->after].before = p.left;
    consider(m, a->before);
    consider(m, p.left);
  }
}

static bool merger_new(Merger *m, const Tokenizer *t, const char *text, size_t most, Err *err) {
  *m = (Merger){.t = t, .text = text};
  m->symbol = mem_alloc(most + 1, sizeof *m->symbol, err);
  m->heap = mem_alloc(3 * most + 1, sizeof *m->heap, err); /* n - 1 at first, two more for each of n - 1 merges */
  return m->symbol && m->heap;
}

static void merger_free(Merger *m) {
  mem_free(m->symbol);
  mem_free(m->heap);
}

static void add_symbol(Merger *m, int id, uint32_t from, uint32_t n) {
  m->symbol[m->n] = (Symbol){id, from, n, m->n - 1, -1};
  if (m->n) m->symbol[m->n - 1].after = m->n;
  m->n++;
}

/* ---- byte-level BPE ---- */

/* A word as the vocabulary spells it, if it is a piece. */
static int whole_word(const Tokenizer *t, const char *s, size_t n) {
  char spelled[512];
  size_t k = 0;
  if (n > sizeof spelled / 2) return -1;
  for (size_t i = 0; i < n; i++) k += (size_t)utf8_encode(byte_to_char((uint8_t)s[i]), spelled + k);
  return strmap_get(&t->pieces, (Str){spelled, k});
}

static bool encode_word(Merger *m, uint32_t from, uint32_t n, Tokens *out, Err *err) {
  const Tokenizer *t = m->t;
  if (t->pre->whole_words) {
    int id = whole_word(t, m->text + from, n);
    if (id >= 0) return tokens_put(out, id, err);
  }
  m->n = m->pairs = 0;
  for (uint32_t i = 0; i < n; i++) {
    int id = t->byte_piece[(uint8_t)m->text[from + i]];
    if (id >= 0) add_symbol(m, id, from + i, 1); /* a byte that the vocabulary lacks has no token: it is left out */
  }
  merge_all(m);
  for (int i = 0; i < m->n; i++)
    if (m->symbol[i].n && !tokens_put(out, m->symbol[i].id, err)) return false;
  return true;
}

static bool encode_words(Merger *m, const Chars *c, size_t from, size_t end, Tokens *out, Err *err) {
  while (from < end) {
    size_t to = m->t->pre->word(c, from, end);
    if (!encode_word(m, c->at[from], c->at[to] - c->at[from], out, err)) return false;
    from = to;
  }
  return true;
}

bool encode_byte_bpe(const Tokenizer *t, Str text, Tokens *out, Err *err) {
  Chars c;
  Merger m = {0};
  if (!chars_of(&c, text, t->pre->compose, err)) return false;
  bool ok = merger_new(&m, t, c.bytes.s, c.bytes.n, err);
  for (size_t from = 0; ok && from < c.n;) {
    size_t to = c.n;
    if (t->pre->digits_apart) {
      for (to = from; to < c.n && char_class(c.cp[to]) != CLASS_NUMBER;) to++;
      if (to == from) to++;
    }
    ok = encode_words(&m, &c, from, to, out, err);
    from = to;
  }
  merger_free(&m);
  chars_free(&c);
  return ok;
}

/* ---- SentencePiece ---- */

static bool spell_spm(const Tokenizer *t, Str text, Buf *out, Err *err) {
  if (t->v->add_space_prefix && !buf_put(out, "\xE2\x96\x81", 3, err)) return false;
  for (size_t i = 0; i < text.n; i++)
    if (!(text.s[i] == ' ' ? buf_put(out, "\xE2\x96\x81", 3, err) : buf_put(out, text.s + i, 1, err))) return false;
  return true;
}

static bool put_bytes(const Tokenizer *t, const char *s, size_t n, Tokens *out, Err *err) {
  for (size_t i = 0; i < n; i++) {
    int id = t->byte_piece[(uint8_t)s[i]];
    if (id < 0) id = t->v->unk;
    if (id < 0) return err_set(err, "the vocabulary has no token for byte 0x%02x", (uint8_t)s[i]);
    if (!tokens_put(out, id, err)) return false;
  }
  return true;
}

bool encode_spm(const Tokenizer *t, Str text, Tokens *out, Err *err) {
  Buf spelled = {0};
  Chars c = {0};
  Merger m = {0};
  bool ok = spell_spm(t, text, &spelled, err) && chars_of(&c, (Str){spelled.s, spelled.n}, false, err) &&
            merger_new(&m, t, c.bytes.s, c.n, err);
  if (ok) {
    for (size_t i = 0; i < c.n; i++) {
      uint32_t n = c.at[i + 1] - c.at[i];
      add_symbol(&m, strmap_get(&t->pieces, (Str){c.bytes.s + c.at[i], n}), c.at[i], n);
    }
    merge_all(&m);
  }
  for (int i = 0; ok && i < m.n; i++) {
    const Symbol *s = &m.symbol[i];
    if (s->n) ok = s->id >= 0 ? tokens_put(out, s->id, err) : put_bytes(t, m.text + s->from, s->n, out, err);
  }
  merger_free(&m);
  chars_free(&c);
  buf_free(&spelled);
  return ok;
}
