/* text/parts (private to text): characters, pre-tokenisers, merging. */
#ifndef BURIN_TEXT_PARTS_H
#define BURIN_TEXT_PARTS_H

#include "text/text.h"

/* ---- characters ---- */

/* Decodes one character at s (n > 0 bytes left) into *cp; returns its length.  Invalid bytes give U+FFFD and the length
 * of their maximal subpart (Unicode 15, 3.9; what WHATWG decoders do). *valid tells the two apart. */
int utf8_decode(const uint8_t *s, size_t n, uint32_t *cp, bool *valid);
int utf8_encode(uint32_t cp, char out[4]);
/* Bytes of a character that begins with this byte; 0 where none does. */
int utf8_length(uint8_t first);

typedef enum { CLASS_OTHER, CLASS_LETTER, CLASS_NUMBER, CLASS_SPACE } CharClass;
CharClass char_class(uint32_t cp);

/* Text as characters, each with the offset of its first byte. */
typedef struct {
  uint32_t *cp;  /* [n] */
  uint32_t *at;  /* [n + 1] offsets into bytes */
  size_t n;
  Buf bytes;     /* valid UTF-8 */
} Chars;

/* compose: normalise to NFC first */
bool chars_of(Chars *c, Str text, bool compose, Err *err);
void chars_free(Chars *c);

/* ---- pre-tokenisers of byte-level BPE ---- */
typedef size_t SplitFn(const Chars *c, size_t from, size_t end); /* end of the word that starts at `from` */
typedef struct {
  const char *name[4];
  SplitFn *word;
  bool digits_apart;  /* every number character is cut out before words are looked for */
  bool compose;       /* NFC */
  bool whole_words;   /* a word that is a piece is taken whole, whatever the merges say */
} PreTokenizer;
const PreTokenizer *pretokenizer_find(Str name);

/* ---- the tokenizer ---- */
typedef struct {
  uint32_t left, right, rank, result;
} Merge;

struct Tokenizer {
  const Vocab *v;
  const PreTokenizer *pre;
  StrMap pieces;
  int byte_piece[256];   /* id of a byte's piece, -1 where absent */
  Merge *merge;          /* open addressing by (left, right); rank UINT32_MAX: free */
  size_t merge_cap;
  size_t longest;        /* bytes of the longest piece */
  struct TrieNode *trie; /* control and user pieces */
  int trie_n;
  uint8_t *stops;        /* [n] */
};

/* The printable character that stands for a byte in byte-level vocabularies, and back (-1: none). */
uint32_t byte_to_char(uint8_t b);
int char_to_byte(uint32_t cp);

const Merge *merge_find(const Tokenizer *t, uint32_t left, uint32_t right);
bool encode_byte_bpe(const Tokenizer *t, Str text, Tokens *out, Err *err);
bool encode_spm(const Tokenizer *t, Str text, Tokens *out, Err *err);

#endif
