/* text/tokenizer: the tokenizer as a whole: indexes over a vocabulary, special tokens, detokenisation. */
#include "text/parts.h"

#include <string.h>

bool tokens_put(Tokens *t, int id, Err *err) {
  if (t->n == t->cap) {
    size_t cap = t->cap ? 2 * t->cap : 64;
    int *p = mem_grow(t->id, t->n * sizeof *p, cap * sizeof *p, err);
    if (!p) return false;
    t->id = p;
    t->cap = cap;
  }
  t->id[t->n++] = id;
  return true;
}

void tokens_free(Tokens *t) {
  mem_free(t->id);
  *t = (Tokens){0};
}

/* ---- merges ---- */

static size_t merge_slot(uint32_t left, uint32_t right, size_t cap) {
  uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
  return (size_t)(h >> 32) & (cap - 1);
}

const Merge *merge_find(const Tokenizer *t, uint32_t left, uint32_t right) {
  for (size_t i = merge_slot(left, right, t->merge_cap); t->merge[i].rank != UINT32_MAX; i = (i + 1) & (t->merge_cap - 1))
    if (t->merge[i].left == left && t->merge[i].right == right) return &t->merge[i];
  return NULL;
}

static bool index_merges(Tokenizer *t, Err *err) {
  const Vocab *v = t->v;
  if (v->merges >= 1 << 24) return err_set(err, "merges: expected fewer than %d, found %d", 1 << 24, v->merges);
  t->merge_cap = 16;
  while (t->merge_cap < 2 * (size_t)v->merges) t->merge_cap *= 2;
  t->merge = mem_alloc(t->merge_cap, sizeof *t->merge, err);
  if (!t->merge) return false;
  for (size_t i = 0; i < t->merge_cap; i++) t->merge[i].rank = UINT32_MAX;
  for (int k = 0; k < v->merges; k++) {
    if (merge_find(t, v->merge[k][0], v->merge[k][1])) continue; /* the first of equal merges has the better rank */
    size_t i = merge_slot(v->merge[k][0], v->merge[k][1], t->merge_cap);
    while (t->merge[i].rank != UINT32_MAX) i = (i + 1) & (t->merge_cap - 1);
    t->merge[i] = (Merge){v->merge[k][0], v->merge[k][1], (uint32_t)k, v->merge[k][2]};
  }
  return true;
}

/* ---- pieces of bytes ---- */

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

/* The byte of a piece "<0x41>", or -1. */
static int byte_of_piece(Str p) {
  if (p.n != 6 || memcmp(p.s, "<0x", 3) != 0 || p.s[5] != '>') return -1;
  int high = hex_digit(p.s[3]), low = hex_digit(p.s[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool index_bytes(Tokenizer *t, Err *err) {
  const Vocab *v = t->v;
  for (int b = 0; b < 256; b++) t->byte_piece[b] = -1;
  if (v->kind == VOCAB_BYTE_BPE) {
    for (int b = 0; b < 256; b++) {
      char c[4];
      t->byte_piece[b] = strmap_get(&t->pieces, (Str){c, (size_t)utf8_encode(byte_to_char((uint8_t)b), c)});
    }
    return true;
  }
  for (int i = 0; i < v->n; i++) {
    if (v->type[i] != PIECE_BYTE) continue;
    int b = byte_of_piece(v->piece[i]);
    if (b < 0) return err_set(err, "token %d: expected a byte piece like <0x41>, found '%.*s'", i, STR_FMT(v->piece[i]));
    t->byte_piece[b] = i;
  }
  return true;
}

/* ---- special tokens: a trie over their names ---- */

struct TrieNode {
  int child, sibling; /* 0: none (the root is nobody's child) */
  int id;             /* piece that ends here, -1 */
  char c;
};

static int trie_child(const Tokenizer *t, int node, char c) {
  for (int k = t->trie[node].child; k; k = t->trie[k].sibling)
    if (t->trie[k].c == c) return k;
  return 0;
}

static bool is_special(uint8_t type) { return type == PIECE_CONTROL || type == PIECE_USER || type == PIECE_UNKNOWN; }

static bool index_specials(Tokenizer *t, Err *err) {
  const Vocab *v = t->v;
  size_t most = 1;
  for (int i = 0; i < v->n; i++)
    if (is_special(v->type[i])) most += v->piece[i].n;
  if (most > INT32_MAX) return err_set(err, "names of special tokens: expected less than 2 GiB");
  t->trie = mem_alloc(most, sizeof *t->trie, err);
  if (!t->trie) return false;
  t->trie[0].id = -1;
  t->trie_n = 1;
  for (int i = 0; i < v->n; i++) {
    if (!is_special(v->type[i]) || v->piece[i].n == 0) continue;
    int node = 0;
    for (size_t k = 0; k < v->piece[i].n; k++) {
      int next = trie_child(t, node, v->piece[i].s[k]);
      if (!next) {
        next = t->trie_n++;
        t->trie[next] = (struct TrieNode){0, t->trie[node].child, -1, v->piece[i].s[k]};
        t->trie[node].child = next;
      }
      node = next;
    }
    if (t->trie[node].id < 0) t->trie[node].id = i;
  }
  return true;
}

/* The longest special token at s; control tokens count only with `specials`. */
static int special_at(const Tokenizer *t, const char *s, size_t n, bool specials) {
  int best = -1;
  for (size_t i = 0, node = 0; i < n; i++) {
    node = (size_t)trie_child(t, (int)node, s[i]);
    if (!node) break;
    int id = t->trie[node].id;
    if (id >= 0 && (specials || t->v->type[id] == PIECE_USER)) best = id;
  }
  return best;
}

static bool index_stops(Tokenizer *t, Err *err) {
  static const char *const name[] = {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
                                     "<|end_of_text|>", "<EOT>", "</s>"};
  const Vocab *v = t->v;
  t->stops = mem_alloc((size_t)v->n + 1, 1, err);
  if (!t->stops) return false;
  for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
    int id = strmap_get(&t->pieces, str_from(name[i]));
    if (id >= 0 && (v->type[id] == PIECE_CONTROL || v->type[id] == PIECE_USER)) t->stops[id] = 1;
  }
  if (v->eos >= 0) t->stops[v->eos] = 1;
  if (v->eot >= 0) t->stops[v->eot] = 1;
  return true;
}

/* ---- life ---- */

Tokenizer *tokenizer_new(const Vocab *v, Err *err) {
  if (v->kind == VOCAB_NONE) {
    err_set(err, "the model has no tokenizer: it takes and gives token ids only");
    return NULL;
  }
  const PreTokenizer *pre = v->kind == VOCAB_BYTE_BPE ? pretokenizer_find(v->pre) : NULL;
  if (v->kind == VOCAB_BYTE_BPE && !pre) {
    err_set(err, "pre-tokenizer '%.*s' is not supported (expected llama-bpe, smollm, gpt-2 or qwen2)", STR_FMT(v->pre));
    return NULL;
  }
  Tokenizer *t = mem_alloc(1, sizeof *t, err);
  if (!t) return NULL;
  t->v = v;
  t->pre = pre;
  bool ok = strmap_init(&t->pieces, (size_t)v->n, err);
  for (int i = 0; ok && i < v->n; i++) {
    strmap_put(&t->pieces, v->piece[i], i); /* of equal pieces the first counts */
    if (v->piece[i].n > t->longest) t->longest = v->piece[i].n;
  }
  ok = ok && index_merges(t, err) && index_bytes(t, err) && index_specials(t, err) && index_stops(t, err);
  if (ok) return t;
  tokenizer_free(t);
  return NULL;
}

void tokenizer_free(Tokenizer *t) {
  if (!t) return;
  strmap_free(&t->pieces);
  mem_free(t->merge);
  mem_free(t->trie);
  mem_free(t->stops);
  mem_free(t);
}

bool tokenizer_stops(const Tokenizer *t, int id) { return id >= 0 && id < t->v->n && t->stops[id]; }

/* ---- encoding ---- */

static bool encode_plain(const Tokenizer *t, Str s, Tokens *out, Err *err) {
  if (s.n == 0) return true;
  return t->v->kind == VOCAB_SPM ? encode_spm(t, s, out, err) : encode_byte_bpe(t, s, out, err);
}

bool tokenizer_encode(const Tokenizer *t, Str text, bool specials, bool bos, Tokens *out, Err *err) {
  if (bos && t->v->add_bos && t->v->bos >= 0 && !tokens_put(out, t->v->bos, err)) return false;
  size_t from = 0, i = 0;
  while (i < text.n) {
    int id = special_at(t, text.s + i, text.n - i, specials);
    if (id < 0) {
      i++;
      continue;
    }
    if (!encode_plain(t, (Str){text.s + from, i - from}, out, err) || !tokens_put(out, id, err)) return false;
    i += t->v->piece[id].n;
    from = i;
  }
  return encode_plain(t, (Str){text.s + from, text.n - from}, out, err);
}

bool tokenizer_encode_chat(const Tokenizer *t, Str rendered, Tokens *out, Err *err) {
  Str bos = t->v->bos >= 0 ? t->v->piece[t->v->bos] : STR("");
  return tokenizer_encode(t, rendered, true, !(bos.n && str_starts(rendered, bos)), out, err);
}

/* ---- detokenisation ---- */

/* Takes one byte; writes characters as they become complete. */
static bool detok_byte(Detok *d, uint8_t b, Buf *out, Err *err) {
  if (d->raw) return buf_put(out, &b, 1, err);
  d->hold[d->held++] = b;
  for (;;) {
    uint32_t cp;
    bool valid;
    if (d->held == 0) return true;
    int n = utf8_decode(d->hold, (size_t)d->held, &cp, &valid);
    if (!valid && n == d->held && utf8_length(d->hold[0]) > d->held) return true; /* may still become a character */
    if (!(valid ? buf_put(out, d->hold, (size_t)n, err) : buf_put(out, "\xEF\xBF\xBD", 3, err))) return false;
    d->held -= n;
    memmove(d->hold, d->hold + n, (size_t)d->held);
  }
}

static bool detok_text(Detok *d, const char *s, size_t n, Buf *out, Err *err) {
  for (size_t i = 0; i < n; i++)
    if (!detok_byte(d, (uint8_t)s[i], out, err)) return false;
  return true;
}

static bool detok_spm(Detok *d, Str piece, Buf *out, Err *err) {
  for (size_t i = 0; i < piece.n; d->strip_space = false) {
    if (piece.n - i >= 3 && memcmp(piece.s + i, "\xE2\x96\x81", 3) == 0) {
      if (!d->strip_space && !detok_byte(d, ' ', out, err)) return false;
      i += 3;
    } else if (!detok_byte(d, (uint8_t)piece.s[i++], out, err)) {
      return false;
    }
  }
  return true;
}

static bool detok_byte_bpe(Detok *d, Str piece, Buf *out, Err *err) {
  for (size_t i = 0; i < piece.n;) {
    uint32_t cp;
    bool valid;
    int n = utf8_decode((const uint8_t *)piece.s + i, piece.n - i, &cp, &valid), b = valid ? char_to_byte(cp) : -1;
    if (!(b >= 0 ? detok_byte(d, (uint8_t)b, out, err) : detok_text(d, piece.s + i, (size_t)n, out, err))) return false;
    i += (size_t)n;
  }
  return true;
}

bool detok_put(const Tokenizer *t, Detok *d, int id, Buf *out, Err *err) {
  const Vocab *v = t->v;
  if (id < 0 || id >= v->n) return err_set(err, "token: expected an id of 0 to %d, found %d", v->n - 1, id);
  Str piece = v->piece[id];
  if (v->type[id] != PIECE_NORMAL && v->type[id] != PIECE_UNUSED) d->strip_space = false;
  switch ((PieceType)v->type[id]) {
    case PIECE_CONTROL:
    case PIECE_UNKNOWN: return !d->specials || detok_text(d, piece.s, piece.n, out, err);
    case PIECE_USER: return detok_text(d, piece.s, piece.n, out, err);
    case PIECE_BYTE: return detok_byte(d, (uint8_t)byte_of_piece(piece), out, err);
    default: return v->kind == VOCAB_SPM ? detok_spm(d, piece, out, err) : detok_byte_bpe(d, piece, out, err);
  }
}

bool tokenizer_bytes(const Tokenizer *t, int id, bool specials, Buf *out, Err *err) {
  Detok d = {.raw = true, .specials = specials};
  return detok_put(t, &d, id, out, err);
}

bool detok_end(Detok *d, Buf *out, Err *err) {
  bool any = d->held > 0;
  d->held = 0;
  return !any || buf_put(out, "\xEF\xBF\xBD", 3, err);
}
