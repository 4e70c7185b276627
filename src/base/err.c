/* base/err: the error record, string slices, hexadecimal. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

bool err_set(Err *err, const char *format, ...) {
  if (err && !err->set) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    err->set = true;
  }
  return false;
}

Str str_from(const char *terminated) { return (Str){terminated, terminated ? strlen(terminated) : 0}; }

bool str_eq(Str a, Str b) { return a.n == b.n && (a.n == 0 || memcmp(a.s, b.s, a.n) == 0); }

bool str_starts(Str s, Str prefix) { return s.n >= prefix.n && str_eq((Str){s.s, prefix.n}, prefix); }

bool str_ends(Str s, Str suffix) { return s.n >= suffix.n && str_eq((Str){s.s + (s.n - suffix.n), suffix.n}, suffix); }

void hex_of(const uint8_t *bytes, size_t n, char *out) {
  static const char digit[] = "0123456789abcdef";
  for (size_t i = 0; i < n; i++) {
    out[2 * i] = digit[bytes[i] >> 4];
    out[2 * i + 1] = digit[bytes[i] & 15];
  }
  out[2 * n] = 0;
}
