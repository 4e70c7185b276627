/* text/unicode: UTF-8, character classes, the alphabet of byte-level BPE.  Tables come from utf8proc. */
#include "text/parts.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int utf8_length(uint8_t b) { return b < 0x80 ? 1 : b < 0xC2 ? 0 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : b < 0xF5 ? 4 : 0; }

int utf8_decode(const uint8_t *s, size_t n, uint32_t *cp, bool *valid) {
  int len = utf8_length(s[0]);
  *cp = 0xFFFD;
  *valid = false;
  if (len == 0) return 1;
  if (len == 1) {
    *cp = s[0];
    *valid = true;
    return 1;
  }
  uint32_t x = s[0] & (0x7Fu >> len);
  for (int i = 1; i < len; i++) {
    uint8_t low = 0x80, high = 0xBF;
    if (i == 1) { /* overlong forms, surrogates, beyond U+10FFFF */
      if (s[0] == 0xE0) low = 0xA0;
      if (s[0] == 0xED) high = 0x9F;
      if (s[0] == 0xF0) low = 0x90;
      if (s[0] == 0xF4) high = 0x8F;
    }
    if ((size_t)i >= n || s[i] < low || s[i] > high) return i;
    x = x << 6 | (s[i] & 0x3F);
  }
  *cp = x;
  *valid = true;
  return len;
}

int utf8_encode(uint32_t cp, char out[4]) {
  if (cp < 0x80) {
    out[0] = (char)cp;
    return 1;
  }
  int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
  static const uint8_t mark[5] = {0, 0, 0xC0, 0xE0, 0xF0};
  for (int i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
  out[0] = (char)(mark[n] | cp);
  return n;
}

/* White_Space of the Unicode Character Database. */
static bool is_space(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

CharClass char_class(uint32_t cp) {
  if (is_space(cp)) return CLASS_SPACE;
  switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CLASS_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return CLASS_NUMBER;
    default: return CLASS_OTHER;
  }
}

static bool repair(Buf *out, Str text, Err *err) {
  const uint8_t *s = (const uint8_t *)text.s;
  size_t good = 0, i = 0;
  while (i < text.n) {
    uint32_t cp;
    bool valid;
    int n = utf8_decode(s + i, text.n - i, &cp, &valid);
    if (!valid) {
      if (!buf_put(out, text.s + good, i - good, err) || !buf_put(out, "\xEF\xBF\xBD", 3, err)) return false;
      good = i + (size_t)n;
    }
    i += (size_t)n;
  }
  return buf_put(out, text.s + good, text.n - good, err);
}

static bool normalise(Buf *b, Err *err) {
  utf8proc_uint8_t *out = NULL;
  utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)b->s, (utf8proc_ssize_t)b->n, &out, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (n < 0) return err_set(err, "cannot normalise text: %s", utf8proc_errmsg(n));
  b->n = 0;
  bool ok = buf_put(b, out, (size_t)n, err);
  free(out);
  return ok;
}

bool chars_of(Chars *c, Str text, bool compose, Err *err) {
  *c = (Chars){0};
  if (text.n > UINT32_MAX / 4) return err_set(err, "text: expected at most %u bytes, found %zu", UINT32_MAX / 4, text.n);
  bool ok = repair(&c->bytes, text, err) && (!compose || normalise(&c->bytes, err));
  if (ok) {
    c->cp = mem_alloc(c->bytes.n + 1, 4, err);
    c->at = mem_alloc(c->bytes.n + 1, 4, err);
    ok = c->cp && c->at;
  }
  for (size_t i = 0; ok && i < c->bytes.n;) {
    bool valid;
    c->at[c->n] = (uint32_t)i;
    i += (size_t)utf8_decode((const uint8_t *)c->bytes.s + i, c->bytes.n - i, &c->cp[c->n++], &valid);
  }
  if (ok) c->at[c->n] = (uint32_t)c->bytes.n;
  else chars_free(c);
  return ok;
}

void chars_free(Chars *c) {
  mem_free(c->cp);
  mem_free(c->at);
  buf_free(&c->bytes);
  *c = (Chars){0};
}

/* Printable bytes stand for themselves, the others for U+0100 and up in order (GPT-2's alphabet). */
static bool printable(int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; }

uint32_t byte_to_char(uint8_t b) {
  if (printable(b)) return b;
  uint32_t k = 256;
  for (int i = 0; i < b; i++) k += !printable(i);
  return k;
}

int char_to_byte(uint32_t cp) {
  if (cp < 256) return printable((int)cp) ? (int)cp : -1;
  for (int b = 0, k = 256; b < 256; b++)
    if (!printable(b) && (uint32_t)k++ == cp) return b;
  return -1;
}
