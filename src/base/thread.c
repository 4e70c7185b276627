/* base/thread: parts of work, features of CPUs, time, progress, random numbers. */
#define _GNU_SOURCE /* syscall */
#include "base/base.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

Span span_of(int n, int unit, int thread, int threads) {
  assert(n >= 0 && unit > 0);
  long units = ((long)n + unit - 1) / unit;
  long from = units * thread / threads * unit, to = units * (thread + 1) / threads * unit;
  return (Span){(int)(from < n ? from : n), (int)(to < n ? to : n)};
}

/* ---- instruction sets ---- */

#if defined(__x86_64__)
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"); }

static bool has_avxvnni(void) {
  unsigned a, b, c, d;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 4 & 1;
}

static bool has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
}

/* The CPU's word, and the system's leave for the whole process to use tiles, which it must be asked for. */
static bool has_amx(void) {
  enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM; their number among the CPU's states */
  unsigned a, b, c, d;
  return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 24 & 1 && d >> 25 & 1 && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
#endif

bool isa_has(Isa isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  switch (isa) {
    case ISA_AVX2: return has_avx2();
    case ISA_AVXVNNI: return has_avxvnni();
    case ISA_AVX512: return has_avx512();
    case ISA_AMX: return has_amx();
    default: break;
  }
#elif defined(__aarch64__)
  if (isa == ISA_NEON) return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; /* the dot product of bytes; the rest of NEON every such CPU has */
#endif
  return isa == ISA_SCALAR;
}

Isa isa_best(void) {
  int i = ISA_COUNT - 1;
  while (!isa_has((Isa)i)) i--;
  return (Isa)i;
}

const char *isa_name(Isa isa) {
  static const char *const name[ISA_COUNT] = {"scalar", "avx2", "avxvnni", "avx512", "amx", "neon"};
  return name[isa];
}

bool isa_parse(const char *name, Isa *out, Err *err) {
  for (int i = 0; i < ISA_COUNT; i++) {
    if (strcmp(name, isa_name((Isa)i)) != 0) continue;
    if (!isa_has((Isa)i)) return err_set(err, "instruction set %s: this CPU lacks it; the best it has is %s", name, isa_name(isa_best()));
    *out = (Isa)i;
    return true;
  }
  return err_set(err, "instruction set: expected scalar, avx2, avxvnni, avx512, amx or neon, found '%s'", name);
}

/* ---- time and progress ---- */

double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_start(Progress *p, const char *what) { *p = (Progress){what, now_seconds(), now_seconds(), false}; }

void progress_to(Progress *p, double fraction) {
  double now = now_seconds();
  if (!isatty(2) || now - p->start < 1 || now - p->shown < 0.1) return;
  enum { WIDTH = 32 };
  char bar[WIDTH + 1];
  fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
  for (int i = 0; i < WIDTH; i++) bar[i] = i < (int)(fraction * WIDTH) ? '#' : '.';
  bar[WIDTH] = 0;
  double left = fraction > 0 ? (now - p->start) * (1 - fraction) / fraction : 0;
  fprintf(stderr, "\r%s [%s] %3d %%  %.0f s left \033[K", p->what, bar, (int)(fraction * 100), left);
  fflush(stderr);
  p->shown = now;
  p->drawn = true;
}

void progress_end(Progress *p) {
  if (p->drawn) fprintf(stderr, "\r\033[K");
  p->drawn = false;
}

/* ---- PCG32 ---- */

uint32_t pcg_next(Pcg *p) {
  uint64_t old = p->state;
  p->state = old * 6364136223846793005ULL + p->inc;
  uint32_t x = (uint32_t)(((old >> 18) ^ old) >> 27), rot = (uint32_t)(old >> 59);
  return (x >> rot) | (x << ((32 - rot) & 31));
}

Pcg pcg_seed(uint64_t seed, uint64_t stream) {
  Pcg p = {0, stream << 1 | 1};
  pcg_next(&p);
  p.state += seed;
  pcg_next(&p);
  return p;
}
