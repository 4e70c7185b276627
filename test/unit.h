/* test/unit: what the unit tests share.  Includes cmocka with what it needs. */
#ifndef BURIN_TEST_UNIT_H
#define BURIN_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka comes last */
#include <cmocka.h>

#include "base/base.h"

static inline int random_in(Pcg *p, int low, int high) { return low + (int)(pcg_next(p) % (uint32_t)(high - low + 1)); }

/* Values of all magnitudes, limits included. */
static inline int32_t wild(Pcg *p) {
  uint32_t x = pcg_next(p), bits = pcg_next(p) % 32;
  if (x % 61 == 0) return x & 64 ? INT32_MAX : -INT32_MAX;
  int32_t v = bits ? (int32_t)(pcg_next(p) >> (32 - bits)) : 0;
  return x & 1 ? -v : v;
}

#endif
