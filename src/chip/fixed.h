/* chip/fixed: the integer operations that every formula of doc/arithmetic.md is made of.  Nothing else in the project
 * rounds.  All are exact and total; the ranges in the comments are what callers keep.
 */
#ifndef BURIN_CHIP_FIXED_H
#define BURIN_CHIP_FIXED_H

#include <math.h>
#include <stdint.h>

/* Bit length of x; 0 for 0. */
static inline int bit_length(uint64_t x) { return x ? 64 - __builtin_clzll(x) : 0; }

/* Clamp to +-(2^31 - 1). */
static inline int32_t sat32(int64_t x) { return x > INT32_MAX ? INT32_MAX : x < -INT32_MAX ? -INT32_MAX : (int32_t)x; }

/* x * 2^-s rounded to nearest, halves up; s >= 0, |x| < 2^62. */
static inline int64_t rsr(int64_t x, int s) { return s == 0 ? x : s > 62 ? 0 : (x + ((int64_t)1 << (s - 1))) >> s; }

/* The same for any s, clamped: negative s multiplies. */
static inline int32_t rsr_sat(int64_t x, int s) {
  if (s >= 0) return sat32(rsr(x, s));
  return sat32((int64_t)sat32(x) * ((int64_t)1 << (s < -31 ? 31 : -s)));
}

/* floor(sqrt(x)), x < 2^63.  A double's root is off by less than 2^-20, so that only its whole part may be off by 1. */
static inline uint64_t isqrt(uint64_t x) {
  uint64_t root = (uint64_t)sqrt((double)x);
  if (root * root > x) return root - 1;
  return (root + 1) * (root + 1) <= x ? root + 1 : root;
}

/* A positive scale M * 2^E with M in [2^15, 2^16). */
typedef struct {
  uint32_t M;
  int E;
} Scale;

/* v * 2^e as a Scale; v in 1 .. 2^62. */
static inline Scale scale_of(uint64_t v, int e) {
  int s = bit_length(v) - 16;
  uint64_t m = s >= 0 ? (uint64_t)rsr((int64_t)v, s) : v << -s;
  if (m == 65536) {
    m = 32768;
    s++;
  }
  return (Scale){(uint32_t)m, e + s};
}

#endif
