/* cast/bits: how many bits each matrix gets. */
#include "cast/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int width[] = {2, 3, 4, 6, 8};
enum { WIDTHS = sizeof width / sizeof *width };

/* ---- what the user writes ---- */

static bool set_kind(CastOptions *o, Str name, int bits, Err *err) {
  bool all = str_eq(name, str_from("all")), found = all;
  for (int k = 0; k < MAT_KINDS; k++) {
    if (!all && !str_eq(name, str_from(mat_name[k]))) continue;
    if (k == MAT_EMBED && bits < 6 && !all) return err_set(err, "bits: the embedding takes 6 or 8, found %d", bits);
    o->bits[k] = k == MAT_EMBED && bits < 6 ? 6 : bits;
    found = true;
  }
  return found || err_set(err, "bits: expected all or one of q k v o gate up down head embed before '=', found '%.*s'", STR_FMT(name));
}

static bool set_item(CastOptions *o, Str item, bool first, Err *err) {
  const char *equal = memchr(item.s, '=', item.n);
  if (!equal) {
    char text[16], *end;
    if (!first) return err_set(err, "bits: '%.*s' without a name may only come first", STR_FMT(item));
    snprintf(text, sizeof text, "%.*s", STR_FMT(item));
    o->budget = strtod(text, &end);
    bool number = item.n > 0 && item.n < sizeof text && strspn(text, "0123456789.") == item.n && !*end;
    if (!number || !(o->budget >= 2 && o->budget <= 9)) return err_set(err, "bits: expected a number from 2 to 9, found '%.*s'", STR_FMT(item));
    o->bits[MAT_EMBED] = o->budget < 6 ? 6 : 8;
    return true;
  }
  Str name = {item.s, (size_t)(equal - item.s)}, number = {equal + 1, item.n - name.n - 1};
  for (int i = 0; i < WIDTHS; i++)
    if (number.n == 1 && number.s[0] == '0' + width[i]) return set_kind(o, name, width[i], err);
  return err_set(err, "bits: %.*s: expected 2, 3, 4, 6 or 8, found '%.*s'", STR_FMT(name), STR_FMT(number));
}

bool cast_parse_bits(CastOptions *o, const char *text, Err *err) {
  o->budget = 0;
  memset(o->bits, 0, sizeof o->bits);
  bool first = true;
  for (const char *p = text;; first = false) {
    size_t n = strcspn(p, ",");
    if (!set_item(o, (Str){p, n}, first, err)) return false;
    if (!p[n]) break;
    p += n + 1;
  }
  for (int k = 0; k < MAT_KINDS; k++)
    if (!o->bits[k] && o->budget == 0) return err_set(err, "bits: '%s' says nothing about %s: start with an average or with all=N", text, mat_name[k]);
  return true;
}

/* ---- spending a budget ---- */

double book_distortion(int bits) {
  static const double share[9] = {[2] = 0.112, [3] = 0.0292, [4] = 0.00711, [6] = 0.000543, [8] = 0.0000343};
  return share[bits];
}

static MatKind kind_of(const ChipShape *s, int i) { return i == s->layers * MAT_PER_LAYER ? MAT_HEAD : (MatKind)(i % MAT_PER_LAYER); }

/* Bits that a matrix takes in the chip: codes of whole groups, group scales, row scales. */
static double matrix_cost(const ChipShape *s, int i, int bits) {
  int rows, cols;
  chip_extent(s, kind_of(s, i), &rows, &cols);
  int groups = (cols + GROUP - 1) / GROUP;
  return (double)rows * (groups * (GROUP * (double)bits + GROUP_SCALE_BITS) + 16);
}

static int next_width(int bits) {
  for (int i = 0; i + 1 < WIDTHS; i++)
    if (width[i] == bits) return width[i + 1];
  return 0;
}

double allocate_bits(const ChipShape *s, const CastOptions *o, const double *loss, int *bits) {
  int n = s->layers * MAT_PER_LAYER + 1;
  double weights = 0, spent = 0, expected = 0;
  for (int i = 0; i < n; i++) {
    int rows, cols;
    chip_extent(s, kind_of(s, i), &rows, &cols);
    weights += (double)rows * cols;
    bits[i] = o->bits[kind_of(s, i)] ? o->bits[kind_of(s, i)] : width[0];
    spent += matrix_cost(s, i, bits[i]);
  }
  for (;;) {
    int best = -1;
    double most = 0;
    for (int i = 0; i < n; i++) {
      int next = o->bits[kind_of(s, i)] ? 0 : next_width(bits[i]);
      if (!next) continue;
      double cost = matrix_cost(s, i, next) - matrix_cost(s, i, bits[i]);
      double gain = loss[i] * (book_distortion(bits[i]) - book_distortion(next)) / cost;
      if (gain > most && spent + cost <= o->budget * weights) most = gain, best = i;
    }
    if (best < 0) break;
    spent -= matrix_cost(s, best, bits[best]);
    bits[best] = next_width(bits[best]);
    spent += matrix_cost(s, best, bits[best]);
  }
  for (int i = 0; i < n; i++) expected += loss[i] * book_distortion(bits[i]);
  return expected;
}
