/* engine/engine: a chip bound to this machine: kernels, packed weights, threads. */
#include "engine/state.h"

#include <stdatomic.h>
#include <string.h>

static const Kernels *kernels_of(Isa isa) {
#if defined(__x86_64__)
  if (isa == ISA_AMX) return &kernels_amx;
  if (isa == ISA_AVX512) return &kernels_avx512;
  if (isa == ISA_AVXVNNI) return &kernels_avxvnni;
  if (isa == ISA_AVX2) return &kernels_avx2;
#elif defined(__aarch64__)
  if (isa == ISA_NEON) return &kernels_neon;
#endif
  (void)isa;
  return &kernels_scalar;
}

/* By what was measured (tokens/s, two CPUs): 4 KiB and 1 KiB on Sapphire Rapids, where one step alone, or the first at 1, 2, 6 or
 * 16 KiB, is 5 to 20 % slower; 12 KiB and 4 KiB on Zen 4 (doc/performance.md), which stands for
 * all of AMD's. */
static FetchAhead fetch_ahead(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_is("amd")) return (FetchAhead){.far = 12288, .near = 4096};
#endif
  return (FetchAhead){.far = 4096, .near = 1024};
}

/* ---- matrices ---- */

static void packed_free(Packed *p) {
  mem_free(p->own);
  mem_free(p->own_scale);
  mem_free(p->correction);
  *p = (Packed){0};
}

/* copy: the matrix may go. */
static bool packed_room(Packed *p, const Matrix *m, const Kernels *k, bool copy, Err *err) {
  *p = (Packed){.rows = m->rows, .cols = m->cols, .groups = m->groups, .bits = m->bits, .exponent = m->exponent,
                .tile_bytes = k->pack_tile ? k->tile_bytes(m) : tile_bytes(m->groups, m->bits), .tiles = m->weights, .row_scale = m->row_scale, .ahead = fetch_ahead()};
  packed_levels(p, m);
  size_t rows = (size_t)tiled_rows(m->rows), bytes = rows / TILE * p->tile_bytes;
  p->bytes = bytes + rows * (sizeof *p->row_scale + sizeof *p->correction);
  p->correction = mem_alloc(rows, sizeof *p->correction, err);
  bool ok = p->correction != NULL;
  if (ok && (copy || k->pack_tile)) p->tiles = p->own = mem_alloc(bytes, 1, err), ok = p->own != NULL;
  if (ok && copy) p->row_scale = p->own_scale = mem_alloc(rows, sizeof *p->own_scale, err), ok = p->own_scale != NULL;
  if (!ok) {
    packed_free(p);
    return false;
  }
  if (copy) memcpy(p->own_scale, m->row_scale, rows * sizeof *p->own_scale);
  if (copy && !k->pack_tile) memcpy(p->own, m->weights, bytes);
  return true;
}

typedef struct {
  const Kernels *k;
  const Matrix *m;
  Packed *p;
  atomic_bool bad;
} InstallJob;

/* Corrections, and the checks of matrix_check at the speed of a product. */
static bool install_tile(const InstallJob *j, int t) {
  if (!matrix_tile_in_range(j->m, t)) return false;
  if (j->k->pack_tile) j->k->pack_tile(j->m, j->p, t);
  RowSums sums;
  j->k->weigh(j->p, t, &sums);
  bool ok = true, corrects = j->k->a_flip && j->m->bits != j->k->signed_bits;
  for (int r = 0; r < TILE; r++) {
    if (t * TILE + r < j->m->rows) ok = ok && sums.magnitude[r] <= INT32_MAX / 127;
    j->p->correction[t * TILE + r] = corrects ? (int32_t)((uint32_t)sums.level[r] << 7) : 0;
  }
  return ok;
}

static void install_run(void *arg, int t, int threads) {
  InstallJob *j = arg;
  Span s = span_of(tiles_of(j->p->rows), 1, t, threads);
  for (int i = s.from; i < s.to; i++)
    if (!install_tile(j, i)) atomic_store(&j->bad, true);
}

static Packed *packed_slot(Engine *e, int layer, MatKind kind) { return kind == MAT_HEAD ? &e->head : &e->layer[layer][kind]; }

static bool install(Engine *e, int layer, MatKind kind, const Matrix *m, bool copy, Err *err) {
  Packed fresh, *slot = packed_slot(e, layer, kind);
  if (!packed_room(&fresh, m, e->kernels, copy, err)) return false;
  InstallJob j = {e->kernels, m, &fresh, false};
  pool_run(e->pool, install_run, &j);
  packed_free(slot);
  *slot = fresh;
  return !atomic_load(&j.bad) || (matrix_check(m, mat_name[kind], err), err_set(err, "matrix %s: found damaged", mat_name[kind]));
}

bool engine_install(Engine *e, int layer, MatKind kind, const Matrix *m, Err *err) { return install(e, layer, kind, m, true, err); }

void engine_uninstall(Engine *e, int layer, MatKind kind) { packed_free(packed_slot(e, layer, kind)); }

/* ---- life ---- */

static int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

static bool workers_new(Engine *e, Err *err) {
  const ChipShape *s = &e->chip->shape;
  int q = s->heads * s->head_dim, widest = s->dim > q ? s->dim : q;
  if (s->ffn > widest) widest = s->ffn;
  e->widest = round_up(widest, GROUP) | GROUP; /* an odd number of cache lines: vectors a power of two apart share few sets of a cache */
  e->workers = pool_threads(e->pool);
  e->worker = mem_alloc((size_t)e->workers, sizeof *e->worker, err);
  for (int t = 0; e->worker && t < e->workers; t++) {
    Worker *w = &e->worker[t];
    w->a = mem_alloc((size_t)e->widest, 1, err);
    w->vector = mem_alloc((size_t)e->widest, 4, err);
    w->top = mem_alloc((size_t)s->heads, sizeof *w->top, err);
    w->den = mem_alloc((size_t)s->heads, sizeof *w->den, err);
    w->sums = mem_alloc((size_t)(s->heads > ATTEND_ROWS ? s->heads : ATTEND_ROWS) * 4 * kv_quads(s->head_dim), sizeof *w->sums, err);
    w->unpacked = mem_alloc(scratch_bytes(e->kernels, e->widest), 1, err);
    if (!w->a || !w->vector || !w->top || !w->den || !w->sums || !w->unpacked) return false;
  }
  return e->worker != NULL;
}

Engine *engine_new_empty(const Chip *chip, const EngineOptions *options, Err *err) {
  Engine *e = mem_alloc(1, sizeof *e, err);
  if (!e) return NULL;
  e->chip = chip;
  e->isa = options->isa;
  e->kernels = kernels_of(options->isa);
  e->pool = pool_new(options->threads ? options->threads : cpu_count(), err);
  e->kv = kv_pool_new(kv_page_bytes(chip->shape.layers * chip->shape.kv_heads, chip->shape.head_dim), err);
  e->layer = e->pool && e->kv ? mem_alloc((size_t)chip->shape.layers, sizeof *e->layer, err) : NULL;
  if (e->layer && workers_new(e, err)) return e;
  engine_free(e);
  return NULL;
}

typedef struct {
  const Chip *chip;
  Err *err; /* one a thread */
} VerifyJob;

/* The contents of all but the embedding are checked as they are installed. */
static void verify_run(void *arg, int t, int threads) {
  VerifyJob *j = arg;
  for (int i = t; i < chip_matrices(j->chip) && !j->err[t].set; i += threads)
    chip_matrix(j->chip, i, NULL) == &j->chip->embed ? chip_verify(j->chip, i, &j->err[t]) : chip_verify_sum(j->chip, i, &j->err[t]);
}

static bool verify(Engine *e, Err *err) {
  int threads = pool_threads(e->pool);
  VerifyJob j = {e->chip, mem_alloc((size_t)threads, sizeof(Err), err)};
  if (!j.err) return false;
  pool_run(e->pool, verify_run, &j);
  for (int t = 0; t < threads; t++)
    if (j.err[t].set) err_set(err, "%s", j.err[t].text);
  mem_free(j.err);
  return !err->set;
}

static bool install_all(Engine *e, Err *err) {
  int n = chip_matrices(e->chip) - 1; /* all but the embedding */
  bool ok = true;
  for (int i = 0; ok && i < n; i++)
    ok = install(e, i / MAT_PER_LAYER, i == n - 1 ? MAT_HEAD : (MatKind)(i % MAT_PER_LAYER), chip_matrix(e->chip, i, NULL), false, err);
  return ok;
}

/* ---- how many threads: one a CPU or one a core, and for small models fewer ---- */

static const uint64_t SMALL_BYTES = 16 << 20;  /* of weights a token; above, fewer threads than cores do not win */
static const uint64_t LARGE_BYTES = 256 << 20; /* above, memory alone decides, which a thread a core asks enough of: a trial would only cost time */
static const double TRIAL_SECONDS = .02;       /* after which no further step is tried */
enum { TRIAL_STEPS = 16, TRIAL_ROUNDS = 3 };

/* Seconds of a decode step, the best of some rounds of a few; 0 with an error. */
static double trial(Engine *e, Err *err) {
  int context = e->chip->shape.context < TRIAL_STEPS ? e->chip->shape.context : TRIAL_STEPS, token = 0;
  Session *s = session_new(e, context, err);
  double best = 0, began = now_seconds(), now = began;
  for (int r = 0; s && !err->set && r < TRIAL_ROUNDS && now - began < TRIAL_SECONDS; r++) {
    session_truncate(s, 0);
    double start = now;
    int steps = 0;
    while (steps < context && now - began < TRIAL_SECONDS && session_extend(s, &token, 1, 0, NULL, err)) steps++, now = now_seconds();
    if (steps && (best == 0 || (now - start) / steps < best)) best = (now - start) / steps;
  }
  session_free(s);
  return err->set ? 0 : best;
}

/* The same with another number of threads, which stays where it is faster than `best`; *faster: whether. */
static bool try_threads(Engine *e, int threads, double *best, bool *faster, Err *err) {
  Pool *before = e->pool, *other = pool_new(threads, err);
  if (!other) return false;
  e->pool = other;
  double seconds = trial(e, err);
  *faster = !err->set && seconds < *best;
  if (*faster) *best = seconds;
  else e->pool = before;
  pool_free(*faster ? before : other);
  return !err->set;
}

static bool use_threads(Engine *e, int threads, Err *err) {
  Pool *p = pool_new(threads, err);
  if (!p) return false;
  pool_free(e->pool);
  e->pool = p;
  return true;
}

/* Nobody has said how many: measures.  Threads that share a core may help each other or not; those of small models wait for each other. */
static bool choose_threads(Engine *e, Err *err) {
  int cpus = pool_threads(e->pool), cores = cpu_core_count();
  uint64_t bytes = engine_bytes_per_token(e);
  bool small = bytes <= SMALL_BYTES, faster = true;
  if (cpus == 1 || (!small && cores >= cpus)) return true;
  if (bytes > LARGE_BYTES) return use_threads(e, cores, err);
  double best = trial(e, err);
  if (err->set || (cores < cpus && !try_threads(e, cores, &best, &faster, err))) return false;
  for (int n = (cores < cpus ? cores : cpus) / 2; small && n >= 1 && (faster || n * 2 == cores); n /= 2)
    if (!try_threads(e, n, &best, &faster, err)) return false;
  return true;
}

Engine *engine_new(const Chip *chip, const EngineOptions *options, Err *err) {
  Engine *e = engine_new_empty(chip, options, err);
  if (e && verify(e, err) && install_all(e, err) && (options->threads > 0 || choose_threads(e, err))) return e;
  engine_free(e);
  return NULL;
}

void engine_free(Engine *e) {
  if (!e) return;
  for (int l = 0; e->layer && l < e->chip->shape.layers; l++)
    for (int k = 0; k < MAT_PER_LAYER; k++) packed_free(&e->layer[l][k]);
  packed_free(&e->head);
  for (int t = 0; e->worker && t < e->workers; t++) {
    Worker *w = &e->worker[t];
    mem_free(w->a);
    mem_free(w->vector);
    mem_free(w->scores);
    mem_free(w->top);
    mem_free(w->den);
    mem_free(w->sums);
    mem_free(w->unpacked);
  }
  mem_free(e->worker);
  forward_free(e->batch);
  mem_free(e->appended.row);
  mem_free(e->appended.logits);
  mem_free(e->appended.holder);
  mem_free(e->guessed);
  mem_free(e->appended.hidden);
  mem_free(e->layer);
  kv_pool_free(e->kv);
  pool_free(e->pool);
  mem_free(e);
}

Isa engine_isa(const Engine *e) { return e->isa; }

int engine_threads(const Engine *e) { return pool_threads(e->pool); }

Pool *engine_pool(Engine *e) { return e->pool; }

uint64_t engine_bytes_per_token(const Engine *e) {
  uint64_t bytes = e->head.bytes;
  for (int l = 0; l < e->chip->shape.layers; l++)
    for (int k = 0; k < MAT_PER_LAYER; k++) bytes += e->layer[l][k].bytes;
  return bytes;
}

/* ---- read bandwidth ---- */

enum { PROBE_BYTES = 256 << 20, PROBE_ROUNDS = 3 };

typedef struct {
  const uint64_t *p;
  uint64_t sink[256];
} Probe;

static void probe_run(void *arg, int t, int threads) {
  Probe *probe = arg;
  Span s = span_of(PROBE_BYTES / 8, 4096, t, threads);
  uint64_t sum[8] = {0};
  for (int i = s.from; i + 8 <= s.to; i += 8)
    for (int k = 0; k < 8; k++) sum[k] ^= probe->p[i + k];
  for (int k = 0; k < 8; k++) probe->sink[t] ^= sum[k];
}

double engine_read_bandwidth(Pool *pool, Err *err) {
  Probe probe = {mem_alloc(PROBE_BYTES, 1, err), {0}};
  if (!probe.p) return 0;
  memset((void *)(uintptr_t)probe.p, 1, PROBE_BYTES);
  double best = 0;
  for (int i = 0; i < PROBE_ROUNDS; i++) {
    double start = now_seconds();
    pool_run(pool, probe_run, &probe);
    double rate = PROBE_BYTES / (now_seconds() - start);
    if (rate > best) best = rate;
  }
  mem_free((void *)(uintptr_t)probe.p);
  return best;
}
