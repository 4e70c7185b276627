/* cmd/bench: burin bench X.chip */
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
  int prefill, decode, depth, rounds;
  bool json;
  MachineOptions machine;
} BenchOptions;

typedef struct {
  double prefill_tps, decode_tps, bandwidth; /* best of the rounds */
} BenchResult;

/* Token ids that depend on the position only; speed does not depend on which they are. */
static void fill(int *ids, int n, int vocab) {
  Pcg p = pcg_seed(7, 0);
  for (int i = 0; i < n; i++) ids[i] = (int)(pcg_next(&p) % (uint32_t)vocab);
}

static bool one_round(const BenchOptions *o, Session *s, const int *ids, BenchResult *best, Err *err) {
  double start;
  if (o->prefill > 0) {
    session_truncate(s, 0);
    start = now_seconds();
    if (!session_extend(s, ids, o->prefill, 0, NULL, err)) return false;
    double tps = o->prefill / (now_seconds() - start);
    if (tps > best->prefill_tps) best->prefill_tps = tps;
  }
  if (o->decode > 0) {
    session_truncate(s, 0);
    if (o->depth > 0 && !session_extend(s, ids, o->depth, 0, NULL, err)) return false;
    start = now_seconds();
    for (int i = 0; i < o->decode; i++)
      if (!session_extend(s, ids + i, 1, 0, NULL, err)) return false;
    double tps = o->decode / (now_seconds() - start);
    if (tps > best->decode_tps) best->decode_tps = tps;
  }
  return true;
}

static void report(const Runner *r, const BenchOptions *o, const BenchResult *b) {
  double bytes = (double)engine_bytes_per_token(r->engine), share = b->decode_tps * bytes / b->bandwidth;
  if (!o->json) {
    printf("%s, %d threads; %.1f MB of weights a token\n", isa_name(engine_isa(r->engine)), engine_threads(r->engine), bytes / 1e6);
    printf("prefill %d: %.1f tokens/s\n", o->prefill, b->prefill_tps);
    printf("decode %d at depth %d: %.1f tokens/s = %.1f GB/s, %.0f %% of the %.1f GB/s that this machine reads\n", o->decode, o->depth,
           b->decode_tps, b->decode_tps * bytes / 1e9, 100 * share, b->bandwidth / 1e9);
    return;
  }
  json_t *j = json_pack("{s:s, s:i, s:i, s:f, s:i, s:i, s:f, s:I, s:f, s:f}", "isa", isa_name(engine_isa(r->engine)), "threads",
                        engine_threads(r->engine), "prefill_tokens", o->prefill, "prefill_tps", b->prefill_tps, "decode_tokens",
                        o->decode, "decode_depth", o->depth, "decode_tps", b->decode_tps, "bytes_per_token", (json_int_t)bytes,
                        "read_gbps", b->bandwidth / 1e9, "bandwidth_share", share);
  print_json(j);
  json_decref(j);
}

static bool bench(const char *path, const BenchOptions *o, Err *err) {
  Runner r;
  if (!runner_open(&r, path, &o->machine, err)) return false;
  int most = o->prefill > o->depth + o->decode ? o->prefill : o->depth + o->decode;
  Session *s = session_new(r.engine, most, err);
  int *ids = s ? mem_alloc((size_t)most, sizeof *ids, err) : NULL;
  bool ok = ids != NULL;
  BenchResult best = {0};
  if (ok) fill(ids, most, r.chip.shape.vocab);
  for (int i = 0; ok && i < o->rounds; i++) {
    ok = one_round(o, s, ids, &best, err);
    double b = ok ? engine_read_bandwidth(engine_pool(r.engine), err) : 0;
    if (b > best.bandwidth) best.bandwidth = b;
    ok = ok && b > 0;
  }
  if (ok) report(&r, o, &best);
  mem_free(ids);
  session_free(s);
  runner_close(&r);
  return ok;
}

int cmd_bench(int argc, char **argv) {
  const char *path;
  BenchOptions o = {.prefill = 512, .decode = 128, .rounds = 3};
  const Option option[] = {
      {"prefill", 'p', OPT_INT, &o.prefill, "N", "tokens of the prefill test (default 512; 0: none)"},
      {"decode", 'n', OPT_INT, &o.decode, "N", "tokens of the decode test (default 128; 0: none)"},
      {"depth", 'd', OPT_INT, &o.depth, "N", "tokens in the context before decode starts (default 0)"},
      {"rounds", 'r', OPT_INT, &o.rounds, "N", "repeat N times and give the best (default 3)"},
      {"json", 0, OPT_FLAG, &o.json, "", "print JSON"},
      MACHINE_OPTIONS(o.machine),
  };
  const Usage usage = {"bench", "burin bench X.chip [options]",
                       "Measures prefill and decode speed, beside the memory bandwidth that this machine reaches in the same run.", option,
                       sizeof option / sizeof *option, 1};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  if (o.prefill < 0 || o.decode < 0 || o.depth < 0 || o.rounds < 1 || o.prefill + o.decode < 1) {
    fprintf(stderr, "burin bench: expected positive counts\nusage: %s\n", usage.usage);
    return STATUS_USAGE;
  }
  Err err = {0};
  return bench(path, &o, &err) ? STATUS_DONE : fail("bench", &err);
}
