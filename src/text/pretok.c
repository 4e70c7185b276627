/* text/pretok: how byte-level BPE cuts text into words before it merges.
 *
 * Each function is a published regular expression written out as code (Python's `regex` syntax above it).  They run in
 * linear time: every character is looked at a bounded number of times.
 */
#include "text/parts.h"

static CharClass class_at(const Chars *c, size_t i) { return char_class(c->cp[i]); }

static size_t run_of(const Chars *c, size_t i, size_t end, CharClass k) {
  while (i < end && class_at(c, i) == k) i++;
  return i;
}

static bool is_newline(uint32_t cp) { return cp == '\r' || cp == '\n'; }

/* \s+(?!\S)|\s+ : white space, less its last character where a word follows it */
static size_t spaces(const Chars *c, size_t from, size_t end) {
  size_t i = run_of(c, from, end, CLASS_SPACE);
  return i < end && i - from > 1 ? i - 1 : i;
}

/* 's|'t|'re|'ve|'m|'ll|'d ; 0 where none stands at `from` */
static size_t contraction(const Chars *c, size_t from, size_t end, bool any_case) {
  static const char *const suffix[] = {"s", "t", "re", "ve", "m", "ll", "d"};
  if (c->cp[from] != '\'') return 0;
  for (size_t k = 0; k < sizeof suffix / sizeof *suffix; k++) {
    size_t i = from + 1;
    const char *p = suffix[k];
    for (; *p && i < end; p++, i++)
      if (c->cp[i] != (uint32_t)*p && !(any_case && c->cp[i] == (uint32_t)(*p - 32))) break;
    if (!*p) return i;
  }
  return 0;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t word_gpt2(const Chars *c, size_t from, size_t end) {
  size_t i = contraction(c, from, end, false);
  if (i) return i;
  i = from + (c->cp[from] == ' ' && from + 1 < end);
  CharClass k = class_at(c, i);
  return k == CLASS_SPACE ? spaces(c, from, end) : run_of(c, i, end, k);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t word_llama3_or_qwen2(const Chars *c, size_t from, size_t end, size_t digits) {
  size_t i = contraction(c, from, end, true);
  if (i) return i;
  CharClass k = class_at(c, from);
  if (k == CLASS_LETTER) return run_of(c, from, end, CLASS_LETTER);
  if (k != CLASS_NUMBER && !is_newline(c->cp[from]) && from + 1 < end && class_at(c, from + 1) == CLASS_LETTER)
    return run_of(c, from + 1, end, CLASS_LETTER);
  if (k == CLASS_NUMBER) return run_of(c, from, end - from < digits ? end : from + digits, CLASS_NUMBER);
  i = from + (c->cp[from] == ' ' && from + 1 < end);
  if (class_at(c, i) == CLASS_OTHER) {
    i = run_of(c, i, end, CLASS_OTHER);
    while (i < end && is_newline(c->cp[i])) i++;
    return i;
  }
  size_t stop = run_of(c, from, end, CLASS_SPACE), line = 0;
  for (i = from; i < stop; i++)
    if (is_newline(c->cp[i])) line = i + 1;
  return line ? line : spaces(c, from, end);
}

static size_t word_llama3(const Chars *c, size_t from, size_t end) { return word_llama3_or_qwen2(c, from, end, 3); }

static size_t word_qwen2(const Chars *c, size_t from, size_t end) { return word_llama3_or_qwen2(c, from, end, 1); }

static const PreTokenizer table[] = {
    {{"llama-bpe", "llama3", "llama-v3"}, word_llama3, false, false, true},
    {{"smollm"}, word_gpt2, true, false, false},
    {{"gpt-2", "gpt2"}, word_gpt2, false, false, false},
    {{"qwen2"}, word_qwen2, false, true, false},
};

const PreTokenizer *pretokenizer_find(Str name) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    for (size_t k = 0; k < sizeof table[i].name / sizeof *table[i].name && table[i].name[k]; k++)
      if (str_eq(name, str_from(table[i].name[k]))) return &table[i];
  return NULL;
}
