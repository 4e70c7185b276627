/* cmd/bench: burin bench X.chip, or --synthetic SHAPE */
#include "cmd/cmd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
  int prefill, decode, depth, batch, rounds;
  bool json, profile;
  const char *synthetic;
  double bits;
  MachineOptions machine;
} BenchOptions;

typedef struct {
  double open, prefill_tps, decode_tps, bandwidth; /* seconds; best of the rounds */
  PhaseTime prefill_time[ENGINE_PHASES], decode_time[ENGINE_PHASES];
} BenchResult;

typedef struct {
  const BenchOptions *o;
  Engine *engine;
  Session **session; /* (batch) */
  int *ids, *next;   /* tokens of a timeline; (batch) */
} Bench;

/* Token ids that depend on the position only; speed does not depend on which they are. */
static void fill(int *ids, int n, int vocab) {
  Pcg p = pcg_seed(7, 0);
  for (int i = 0; i < n; i++) ids[i] = (int)(pcg_next(&p) % (uint32_t)vocab);
}

static void profile_start(const Bench *b) { engine_profile(b->engine, b->o->profile); }

static void profile_end(const Bench *b, PhaseTime *out) {
  engine_phase_times(b->engine, out);
  engine_profile(b->engine, false);
}

/* Tokens before the clock starts, as llama-bench has them: caches hold what they can. */
enum { WARM_PREFILL = 16, WARM_DECODE = 4 };

static bool measure_prefill(const Bench *b, BenchResult *best, Err *err) {
  session_truncate(b->session[0], 0);
  int warm = b->o->prefill < WARM_PREFILL ? b->o->prefill : WARM_PREFILL;
  if (!session_extend(b->session[0], b->ids, warm, 0, NULL, err)) return false;
  session_truncate(b->session[0], 0);
  profile_start(b);
  double start = now_seconds();
  if (!session_extend(b->session[0], b->ids, b->o->prefill, 0, NULL, err)) return false;
  best->prefill_tps = fmax(best->prefill_tps, b->o->prefill / (now_seconds() - start));
  profile_end(b, best->prefill_time);
  return true;
}

/* Decode of n tokens at the depth. */
static bool steps(const Bench *b, int n, Err *err) {
  for (int i = 0; i < b->o->batch; i++) session_truncate(b->session[i], b->o->depth);
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < b->o->batch; k++) b->next[k] = b->ids[i];
    if (!sessions_step(b->session, b->next, b->o->batch, err)) return false;
  }
  return true;
}

static bool measure_decode(const Bench *b, BenchResult *best, Err *err) {
  const BenchOptions *o = b->o;
  for (int i = 0; i < o->batch; i++) { /* to the end, so that the pages of the KV cache are there */
    session_truncate(b->session[i], 0);
    if (!session_extend(b->session[i], b->ids, o->depth + o->decode, 0, NULL, err)) return false;
  }
  if (!steps(b, o->decode < WARM_DECODE ? o->decode : WARM_DECODE, err)) return false;
  profile_start(b);
  double start = now_seconds();
  if (!steps(b, o->decode, err)) return false;
  best->decode_tps = fmax(best->decode_tps, (double)o->decode * o->batch / (now_seconds() - start));
  profile_end(b, best->decode_time);
  return true;
}

static bool measure(const Bench *b, BenchResult *best, Err *err) {
  for (int i = 0; i < b->o->rounds; i++) {
    if (b->o->prefill > 0 && !measure_prefill(b, best, err)) return false;
    if (b->o->decode > 0 && !measure_decode(b, best, err)) return false;
    double w = engine_read_bandwidth(engine_pool(b->engine), err);
    if (!(w > 0)) return false;
    best->bandwidth = fmax(best->bandwidth, w);
  }
  return true;
}

static void print_phases(const char *what, const PhaseTime *t, int tokens) {
  double all = 0;
  for (int i = 0; i < ENGINE_PHASES; i++) all += t[i].work + t[i].wait;
  printf("%s, us a token of the last round (work, and waiting for the other threads):\n", what);
  for (int i = 0; i < ENGINE_PHASES; i++)
    if (t[i].work > 0)
      printf("  %-20s %9.2f %8.2f %5.1f %%\n", t[i].name, 1e6 * t[i].work / tokens, 1e6 * t[i].wait / tokens, 100 * (t[i].work + t[i].wait) / all);
}

static void report(const Bench *b, const BenchResult *r) {
  const BenchOptions *o = b->o;
  double bytes = (double)engine_bytes_per_token(b->engine), share = r->decode_tps / o->batch * bytes / r->bandwidth;
  if (o->json) {
    json_t *j = json_pack("{s:s, s:i, s:f, s:i, s:f, s:i, s:i, s:i, s:f, s:I, s:f, s:f}", "isa", isa_name(engine_isa(b->engine)), "threads",
                          engine_threads(b->engine), "open_seconds", r->open, "prefill_tokens", o->prefill, "prefill_tps", r->prefill_tps,
                          "decode_tokens", o->decode, "decode_depth", o->depth, "batch", o->batch, "decode_tps", r->decode_tps,
                          "bytes_per_token", (json_int_t)bytes, "read_gbps", r->bandwidth / 1e9, "bandwidth_share", share);
    print_json(j);
    json_decref(j);
    return;
  }
  printf("%s, %d threads; %.1f MB of weights a pass; opened in %.0f ms\n", isa_name(engine_isa(b->engine)), engine_threads(b->engine),
         bytes / 1e6, 1e3 * r->open);
  if (o->prefill > 0) printf("prefill %d: %.1f tokens/s\n", o->prefill, r->prefill_tps);
  if (o->decode > 0) {
    printf("decode %d at depth %d", o->decode, o->depth);
    if (o->batch > 1) printf(", %d sessions", o->batch);
    printf(": %.1f tokens/s; weights %.1f GB/s, %.0f %% of the %.1f GB/s that this machine reads\n", r->decode_tps,
           r->decode_tps / o->batch * bytes / 1e9, 100 * share, r->bandwidth / 1e9);
  }
  if (!o->profile) return;
  if (o->prefill > 0) print_phases("prefill", r->prefill_time, o->prefill);
  if (o->decode > 0) print_phases("decode", r->decode_time, o->decode * o->batch);
}

static bool bench(const char *path, const BenchOptions *o, Err *err) {
  Runner r;
  BenchResult best = {.open = now_seconds()};
  if (!(path ? runner_open(&r, path, &o->machine, err) : runner_open_synthetic(&r, o->synthetic, o->bits, &o->machine, err))) return false;
  best.open = now_seconds() - best.open;
  int most = o->prefill > o->depth + o->decode ? o->prefill : o->depth + o->decode;
  Bench b = {o, r.engine, mem_alloc((size_t)o->batch, sizeof(Session *), err), mem_alloc((size_t)most, sizeof(int), err),
             mem_alloc((size_t)o->batch, sizeof(int), err)};
  bool ok = b.session && b.ids && b.next;
  for (int i = 0; ok && i < o->batch; i++) ok = (b.session[i] = session_new(r.engine, most, err)) != NULL;
  if (ok) fill(b.ids, most, r.chip.shape.vocab);
  ok = ok && measure(&b, &best, err);
  if (ok) report(&b, &best);
  for (int i = 0; b.session && i < o->batch; i++) session_free(b.session[i]);
  mem_free(b.session);
  mem_free(b.ids);
  mem_free(b.next);
  runner_close(&r);
  return ok;
}

static int wrong_counts(const Usage *u, const char *what) {
  fprintf(stderr, "burin bench: %s\nusage: %s\n", what, u->usage);
  return STATUS_USAGE;
}

int cmd_bench(int argc, char **argv) {
  const char *path;
  BenchOptions o = {.prefill = 512, .decode = 128, .batch = 1, .rounds = 3, .bits = 4.25};
  const Option option[] = {
      {"prefill", 'p', OPT_INT, &o.prefill, "N", "tokens of the prefill test (default 512; 0: none)"},
      {"decode", 'n', OPT_INT, &o.decode, "N", "tokens of the decode test (default 128; 0: none)"},
      {"depth", 'd', OPT_INT, &o.depth, "N", "tokens in the context before decode starts (default 0)"},
      {"batch", 'b', OPT_INT, &o.batch, "N", "sessions that decode together (default 1)"},
      {"rounds", 'r', OPT_INT, &o.rounds, "N", "repeat N times and give the best (default 3)"},
      {"synthetic", 0, OPT_TEXT, &o.synthetic, "SHAPE", "random weights in place of a chip: llama-3.1-8b, ... or layers=N,dim=N,..."},
      {"bits", 0, OPT_FLOAT, &o.bits, "B", "bits a weight of --synthetic (default 4.25)"},
      {"profile", 0, OPT_FLAG, &o.profile, "", "also say where the time goes, phase by phase"},
      {"json", 0, OPT_FLAG, &o.json, "", "print JSON"},
      MACHINE_OPTIONS(o.machine),
  };
  const Usage usage = {"bench", "burin bench X.chip | --synthetic SHAPE [options]",
                       "Measures prefill and decode speed, beside the memory bandwidth that this machine reaches in the same run.", option,
                       sizeof option / sizeof *option, 1, 1};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  if (o.prefill < 0 || o.decode < 0 || o.depth < 0 || o.rounds < 1 || o.prefill + o.decode < 1) return wrong_counts(&usage, "expected positive counts");
  if (o.batch < 1 || o.batch > 4096) return wrong_counts(&usage, "--batch: expected 1 to 4096");
  if (!path == !o.synthetic) return wrong_counts(&usage, "expected a chip, or --synthetic and a shape");
  Err err = {0};
  return bench(path, &o, &err) ? STATUS_DONE : fail("bench", &err);
}
