/* engine/dot_avx512: the dot product of bytes in fours, as instructions: gcc 12 spills around the intrinsic, these keep sums in
 * registers.
 */
#ifndef BURIN_ENGINE_DOT_AVX512_H
#define BURIN_ENGINE_DOT_AVX512_H

#include <immintrin.h>
#include <stdint.h>

/* sum (16 words) += unsigned_v (bytes) times signed_v, or times the same four signed bytes from memory. */
#define DOT(sum, unsigned_v, signed_v) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_v), "v"(signed_v))
#define DOT_QUAD(sum, unsigned_v, quad) __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(unsigned_v), "m"(*(const Quad *)(quad)))
/* a += the same four unsigned bytes from memory times signed_a, b times signed_b.  In one piece: gcc 12 reads such words far ahead and
 * spills them. */
#define DOT_PAIR(a, b, quad, signed_a, signed_b)                                         \
  do {                                                                                   \
    __m512i word;                                                                        \
    __asm__("vpbroadcastd %3, %2\n\tvpdpbusd %4, %2, %0\n\tvpdpbusd %5, %2, %1"          \
            : "+v"(a), "+v"(b), "=&v"(word) : "m"(*(const Quad *)(quad)), "v"(signed_a), "v"(signed_b)); \
  } while (0)
/* sum[4] += four vectors of unsigned bytes times the same four signed bytes from memory. */
#define DOT_KEYS(sum, key, quad)                                                                                                     \
  do {                                                                                                                               \
    __m512i word;                                                                                                                    \
    __asm__("vpbroadcastd %5, %4\n\tvpdpbusd %4, %6, %0\n\tvpdpbusd %4, %7, %1\n\tvpdpbusd %4, %8, %2\n\tvpdpbusd %4, %9, %3" \
            : "+v"(sum[0]), "+v"(sum[1]), "+v"(sum[2]), "+v"(sum[3]), "=&v"(word)                                                    \
            : "m"(*(const Quad *)(quad)), "v"(key[0]), "v"(key[1]), "v"(key[2]), "v"(key[3]));                                       \
  } while (0)
/* sum[4] += the same four unsigned bytes from memory, low and high ones, times two vectors x and y of signed bytes: low x, high x, low y, high y. */
#define DOT_WEIGHTS(sum, low, high, x, y)                                                                                            \
  do {                                                                                                                               \
    __m512i word, more;                                                                                                              \
    __asm__("vpbroadcastd %6, %4\n\tvpbroadcastd %7, %5\n\tvpdpbusd %8, %4, %0\n\tvpdpbusd %8, %5, %1\n\tvpdpbusd %9, %4, %2\n\tvpdpbusd %9, %5, %3" \
            : "+v"(sum[0]), "+v"(sum[1]), "+v"(sum[2]), "+v"(sum[3]), "=&v"(word), "=&v"(more)                                       \
            : "m"(*(const Quad *)(const void *)(low)), "m"(*(const Quad *)(const void *)(high)), "v"(x), "v"(y));                    \
  } while (0)

typedef struct {
  int8_t byte[4];
} Quad;

#endif
