/* base/pool: threads that share the pieces of a job.
 *
 * The pieces of the running phase that a thread has not begun stand in one word, its claim: [tag | next | end].  Whoever
 * moves `next` on by compare-and-swap owns that piece, and by owning it keeps the phase, and all that belongs to it, from
 * ending.  A late thread that still looks at an old phase can do no harm: its swap fails, since every phase has another tag.
 * The thread that ends the last piece of a phase sets up the next one.  From its last claim on others may take, end and even
 * follow up the phase: all that it does after is to count the stage up, which is harmless at any time.
 */
#define _GNU_SOURCE /* thread affinity, syscall */
#include "base/base.h"

#include <assert.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 20000 }; /* of some 20 ns each, then sleep: a phase between running threads passes in less than 1 us */

typedef struct {
  _Alignas(128) _Atomic uint64_t word; /* tag 40 bits, next 12, end 12 */
} Claim;

struct Pool {
  int threads, made;
  atomic_bool quit;
  pthread_t id[POOL_THREADS];
  /* What a waiting thread reads first stands on one cache line. */
  _Alignas(128) _Atomic uint32_t stage; /* counts: what a thread has seen may have changed */
  _Atomic int sleepers;
  atomic_bool ended;                    /* the job */
  /* of the job and its phase: written while no piece exists, read by owners of pieces */
  int phase, pieces;
  const PoolJob *job;
  void *arg;
  uint64_t tag;
  _Alignas(128) _Atomic int left;       /* pieces that are not known to be done */
  Claim claim[POOL_THREADS];
};

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb"); /* tens of cycles, as pause; yield is one */
#endif
}

/* ---- stages ---- */

static void wait_for_change(Pool *p, uint32_t seen) {
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load_explicit(&p->stage, memory_order_acquire) != seen) return;
    relax();
  }
  atomic_fetch_add(&p->sleepers, 1);
  while (atomic_load(&p->stage) == seen) syscall(SYS_futex, &p->stage, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
  atomic_fetch_sub(&p->sleepers, 1);
}

static void next_stage(Pool *p) {
  atomic_fetch_add(&p->stage, 1);
  if (atomic_load(&p->sleepers)) syscall(SYS_futex, &p->stage, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* To the next phase that has pieces, or to the end of the job. */
static void advance(Pool *p) {
  int pieces = 0;
  while (++p->phase < p->job->phases && (pieces = p->job->pieces(p->arg, p->phase)) == 0) continue;
  if (pieces == 0) {
    atomic_store(&p->ended, true);
    next_stage(p);
    return;
  }
  assert(pieces > 0 && pieces <= POOL_PIECES);
  p->pieces = pieces;
  p->tag++;
  atomic_store_explicit(&p->left, pieces, memory_order_relaxed);
  for (int t = 0; t < p->threads; t++) {
    Span s = span_of(pieces, 1, t, p->threads);
    atomic_store_explicit(&p->claim[t].word, p->tag << 24 | (uint64_t)s.from << 12 | (uint64_t)s.to, memory_order_release);
  }
  next_stage(p);
}

/* A piece of thread `of`, or -1. */
static int take(Pool *p, int of) {
  uint64_t w = atomic_load_explicit(&p->claim[of].word, memory_order_relaxed);
  while ((w >> 12 & 4095) < (w & 4095))
    if (atomic_compare_exchange_weak_explicit(&p->claim[of].word, &w, w + (1 << 12), memory_order_acquire, memory_order_relaxed))
      return (int)(w >> 12 & 4095);
  return -1;
}

/* Does what pieces there are; false where there were none.  Says so once for all of them: `left` is every thread's. */
static bool work(Pool *p, int thread) {
  int done = 0;
  for (int i = 0; i < p->threads; i++) {
    int of = thread + i < p->threads ? thread + i : thread + i - p->threads;
    for (int piece; (piece = take(p, of)) >= 0; done++) p->job->run(p->arg, p->phase, piece, p->pieces, thread);
  }
  if (done > 0 && atomic_fetch_sub_explicit(&p->left, done, memory_order_acq_rel) == done) advance(p);
  return done > 0;
}

/* ---- threads ---- */

typedef struct {
  Pool *pool;
  int thread;
} Worker;

static void *worker_main(void *arg) {
  Worker w = *(Worker *)arg;
  mem_free(arg);
  for (;;) {
    uint32_t seen = atomic_load_explicit(&w.pool->stage, memory_order_acquire);
    if (w.pool->quit) return NULL;
    if (!work(w.pool, w.thread)) wait_for_change(w.pool, seen);
  }
}

/* Where the pool has a thread for each CPU or core, all but the caller's stay on theirs: those of a process that is granted fewer would
 * meet others' there.  A hint: failure costs speed only. */
static CpuList places(int threads) {
  CpuList all = cpu_list(), none = {0};
  if (threads == 1 || cpu_count() != all.n) return none;
  if (threads == all.n) return all;
  all = cpu_cores(&all, "");
  return threads == all.n ? all : none;
}

static void pin(const CpuList *places, pthread_t id, int thread) {
  cpu_set_t one;
  if (!places->n) return;
  CPU_ZERO(&one);
  CPU_SET(places->cpu[thread], &one);
  pthread_setaffinity_np(id, sizeof one, &one);
}

Pool *pool_new(int threads, Err *err) {
  if (threads < 1 || threads > POOL_THREADS) {
    err_set(err, "threads: expected 1 to %d, found %d", POOL_THREADS, threads);
    return NULL;
  }
  Pool *p = mem_alloc(1, sizeof *p, err);
  if (!p) return NULL;
  p->threads = threads;
  CpuList where = places(threads);
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
    pin(&where, p->id[t], t);
    p->made++;
  }
  return p;
}

void pool_free(Pool *p) {
  if (!p) return;
  p->quit = true;
  next_stage(p);
  for (int t = 1; t <= p->made; t++) pthread_join(p->id[t], NULL);
  mem_free(p);
}

int pool_threads(const Pool *p) { return p->threads; }

void pool_job(Pool *p, const PoolJob *job, void *arg) {
  if (p->threads == 1) {
    for (int i = 0; i < job->phases; i++)
      for (int k = 0, n = job->pieces(arg, i); k < n; k++) job->run(arg, i, k, n, 0);
    return;
  }
  p->job = job;
  p->arg = arg;
  p->phase = -1;
  atomic_store(&p->ended, false);
  advance(p);
  for (;;) {
    uint32_t seen = atomic_load_explicit(&p->stage, memory_order_acquire);
    if (atomic_load(&p->ended)) return;
    if (!work(p, 0)) wait_for_change(p, seen);
  }
}

typedef struct {
  PoolFn *fn;
  void *arg;
  int threads;
} Run;

static int run_pieces(void *arg, int phase) {
  (void)phase;
  return ((Run *)arg)->threads;
}

static void run_piece(void *arg, int phase, int piece, int pieces, int thread) {
  (void)phase, (void)thread;
  ((Run *)arg)->fn(((Run *)arg)->arg, piece, pieces);
}

void pool_run(Pool *p, PoolFn *fn, void *arg) {
  static const PoolJob job = {1, run_pieces, run_piece};
  pool_job(p, &job, &(Run){fn, arg, p->threads});
}
