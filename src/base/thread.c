/* base/thread: the thread pool, its barrier, CPU features, time, progress, random numbers. */
#define _GNU_SOURCE /* sched affinity, syscall */
#include "base/base.h"

#include <assert.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- waiting: spin a bounded time (a barrier between running threads takes 0.1 us), then sleep in the kernel ---- */
enum { SPINS = 4000 };

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

typedef struct {
  _Alignas(128) _Atomic uint32_t value;
  _Atomic int sleepers;
} Signal;

static void signal_wait(Signal *s, uint32_t seen) {
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load_explicit(&s->value, memory_order_acquire) != seen) return;
    relax();
  }
  atomic_fetch_add(&s->sleepers, 1);
  while (atomic_load(&s->value) == seen)
    syscall(SYS_futex, &s->value, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
  atomic_fetch_sub(&s->sleepers, 1);
}

static void signal_next(Signal *s) {
  atomic_fetch_add(&s->value, 1);
  if (atomic_load(&s->sleepers))
    syscall(SYS_futex, &s->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

enum { MAX_THREADS = 256 };

struct Pool {
  int threads;
  Signal start, passed; /* a new job; a barrier passed */
  _Alignas(128) atomic_int waiting;
  PoolFn *fn;
  void *arg;
  bool quit;
  int made;
  pthread_t id[MAX_THREADS];
};

typedef struct {
  Pool *pool;
  int thread;
} Worker;

void pool_barrier(Pool *p) {
  if (p->threads == 1) return;
  uint32_t seen = atomic_load_explicit(&p->passed.value, memory_order_relaxed);
  if (atomic_fetch_add_explicit(&p->waiting, 1, memory_order_acq_rel) == p->threads - 1) {
    atomic_store_explicit(&p->waiting, 0, memory_order_relaxed);
    signal_next(&p->passed);
  } else {
    signal_wait(&p->passed, seen);
  }
}

static void *worker_main(void *arg) {
  Worker w = *(Worker *)arg;
  mem_free(arg);
  for (uint32_t seen = 0;; seen++) {
    signal_wait(&w.pool->start, seen);
    if (w.pool->quit) return NULL;
    w.pool->fn(w.pool->arg, w.thread, w.pool->threads);
    pool_barrier(w.pool);
  }
}

Pool *pool_new(int threads, Err *err) {
  if (threads < 1 || threads > MAX_THREADS) {
    err_set(err, "threads: expected 1 to %d, found %d", MAX_THREADS, threads);
    return NULL;
  }
  Pool *p = mem_alloc(1, sizeof *p, err);
  if (!p) return NULL;
  p->threads = threads;
  for (int t = 1; t < threads; t++) {
    Worker *w = mem_alloc(1, sizeof *w, err);
    if (w) *w = (Worker){p, t};
    int rc = w ? pthread_create(&p->id[t], NULL, worker_main, w) : -1;
    if (rc != 0) {
      if (w) err_set(err, "cannot start thread %d of %d: %s", t + 1, threads, strerror(rc));
      mem_free(w);
      pool_free(p);
      return NULL;
    }
    p->made++;
  }
  return p;
}

void pool_free(Pool *p) {
  if (!p) return;
  p->quit = true;
  signal_next(&p->start);
  for (int t = 1; t <= p->made; t++) pthread_join(p->id[t], NULL);
  mem_free(p);
}

int pool_threads(const Pool *p) { return p->threads; }

void pool_run(Pool *p, PoolFn *fn, void *arg) {
  p->fn = fn;
  p->arg = arg;
  if (p->threads > 1) signal_next(&p->start);
  fn(arg, 0, p->threads);
  pool_barrier(p);
}

int cpu_count(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    int n = CPU_COUNT(&set);
    return n > MAX_THREADS ? MAX_THREADS : n;
  }
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

Span span_of(int n, int unit, int thread, int threads) {
  assert(n >= 0 && unit > 0);
  long units = ((long)n + unit - 1) / unit;
  long from = units * thread / threads * unit, to = units * (thread + 1) / threads * unit;
  return (Span){(int)(from < n ? from : n), (int)(to < n ? to : n)};
}

/* ---- instruction sets ---- */

Isa isa_best(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi"))
    return ISA_AVX512;
  if (__builtin_cpu_supports("avx2")) return ISA_AVX2;
#endif
  return ISA_SCALAR;
}

const char *isa_name(Isa isa) {
  static const char *const name[ISA_COUNT] = {"scalar", "avx2", "avx512"};
  return name[isa];
}

bool isa_parse(const char *name, Isa *out, Err *err) {
  for (int i = 0; i < ISA_COUNT; i++) {
    if (strcmp(name, isa_name((Isa)i)) != 0) continue;
    if ((Isa)i > isa_best())
      return err_set(err, "instruction set %s: this CPU has none wider than %s", name, isa_name(isa_best()));
    *out = (Isa)i;
    return true;
  }
  return err_set(err, "instruction set: expected scalar, avx2 or avx512, found '%s'", name);
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
