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
/* sum += the same four unsigned bytes from memory times signed_v.  In one piece: gcc 12 reads such words far ahead and spills them. */
#define DOT_FOUR(sum, quad, signed_v)                                                    \
  do {                                                                                   \
    __m512i word;                                                                        \
    __asm__("vpbroadcastd %2, %1\n\tvpdpbusd %3, %1, %0" : "+v"(sum), "=&v"(word) : "m"(*(const Quad *)(quad)), "v"(signed_v)); \
  } while (0)

typedef struct {
  int8_t byte[4];
} Quad;

#endif
