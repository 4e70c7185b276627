/* cmd/eval: burin eval X.chip --text F [--ref MODEL]
 *
 * Perplexity as llama.cpp's tool counts it: consecutive windows of `ctx` tokens, each begun with the start token where the
 * model wants one, scored over the second half.  Against the source model: mean and 99 % Kullback-Leibler divergence and
 * agreement of the likeliest token, over the same positions.
 */
#include "cmd/cmd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int ctx, from, vocab; /* positions [from, ctx - 1) of a window are scored */
  int *window;          /* (ctx) */
  const int32_t *z;     /* (ctx, vocab) of the chip, 16 fraction bits; NULL without one */
  const float *ref;     /* (ctx, vocab) of the source model; NULL without one */
  double *nll, *ref_nll, *kl; /* (scored so far + ctx) */
  uint8_t *same;
  size_t scored;
} Score;

static double value(const void *row, bool is_float, int i) {
  return is_float ? (double)((const float *)row)[i] : ((const int32_t *)row)[i] / 65536.0;
}

Softmax softmax_of(const void *row, bool is_float, int n) {
  Softmax s = {-INFINITY, 0, 0};
  for (int i = 0; i < n; i++)
    if (value(row, is_float, i) > s.top) s.top = value(row, is_float, i), s.best = i;
  for (int i = 0; i < n; i++) s.log_sum += exp(value(row, is_float, i) - s.top);
  s.log_sum = log(s.log_sum);
  return s;
}

static void score_run(void *arg, int t, int threads) {
  Score *s = arg;
  for (int p = s->from + t; p + 1 < s->ctx; p += threads) {
    size_t at = s->scored + (size_t)(p - s->from), row = (size_t)p * (size_t)s->vocab;
    int next = s->window[p + 1];
    Softmax a = {0}, b = {0};
    if (s->z) {
      a = softmax_of(s->z + row, false, s->vocab);
      s->nll[at] = a.log_sum + a.top - s->z[row + (size_t)next] / 65536.0;
    }
    if (s->ref) {
      b = softmax_of(s->ref + row, true, s->vocab);
      s->ref_nll[at] = b.log_sum + b.top - (double)s->ref[row + (size_t)next];
    }
    if (!s->z || !s->ref) continue;
    double kl = 0;
    for (int i = 0; i < s->vocab; i++) {
      double lp = (double)s->ref[row + (size_t)i] - b.top - b.log_sum, lq = s->z[row + (size_t)i] / 65536.0 - a.top - a.log_sum;
      kl += exp(lp) * (lp - lq);
    }
    s->kl[at] = kl;
    s->same[at] = a.best == b.best;
  }
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double mean(const double *v, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += v[i];
  return sum / (double)n;
}

typedef struct {
  Session *session; /* NULL: only the reference runs */
  Oracle *oracle;   /* NULL: only the chip runs */
  Pool *pool;
  int bos;          /* -1: windows begin with text */
} Subjects;

static bool run_windows(Score *s, const Subjects *u, const int *ids, int windows, Err *err) {
  size_t cells = (size_t)s->ctx * (size_t)s->vocab, most = (size_t)windows * (size_t)s->ctx;
  int32_t *z = u->session ? mem_alloc(cells, 4, err) : NULL;
  float *ref = u->oracle ? mem_alloc(cells, 4, err) : NULL;
  s->window = mem_alloc((size_t)s->ctx, sizeof *s->window, err);
  s->nll = mem_alloc(most, sizeof(double), err);
  s->ref_nll = mem_alloc(most, sizeof(double), err);
  s->kl = mem_alloc(most, sizeof(double), err);
  s->same = mem_alloc(most, 1, err);
  s->z = z;
  s->ref = ref;
  bool ok = !err->set;
  Progress progress;
  progress_start(&progress, "eval");
  for (int w = 0; ok && w < windows; w++) {
    memcpy(s->window, ids + (size_t)w * (size_t)s->ctx, (size_t)s->ctx * sizeof *ids);
    if (u->bos >= 0) s->window[0] = u->bos;
    if (z) {
      session_truncate(u->session, 0);
      ok = session_extend(u->session, s->window, s->ctx, 0, z, err);
    }
    if (ok && ref) ok = oracle_window(u->oracle, s->window, s->ctx, ref, err);
    if (ok) pool_run(u->pool, score_run, s);
    s->scored += (size_t)(s->ctx - 1 - s->from);
    progress_to(&progress, (w + 1.0) / windows);
  }
  progress_end(&progress);
  mem_free(z);
  mem_free(ref);
  return ok;
}

static json_t *report(Score *s, const Chip *chip, bool json) {
  bool has_chip = chip != NULL, has_ref = s->ref != NULL;
  double same = 0, nll = mean(s->nll, s->scored), ref_nll = mean(s->ref_nll, s->scored), kl = mean(s->kl, s->scored);
  double spread = 0, kl_spread = 0;
  for (size_t i = 0; i < s->scored; i++) {
    same += s->same[i];
    spread += (s->nll[i] - nll) * (s->nll[i] - nll);
    kl_spread += (s->kl[i] - kl) * (s->kl[i] - kl);
  }
  double error = sqrt(spread) / (double)s->scored * exp(nll), kl_error = sqrt(kl_spread) / (double)s->scored;
  qsort(s->kl, s->scored, sizeof *s->kl, by_value);
  double p99 = s->kl[(size_t)((double)(s->scored - 1) * 0.99)];
  json_t *o = json_object();
  json_object_set_new(o, "tokens", json_integer((json_int_t)s->scored));
  json_object_set_new(o, "ppl", has_chip ? json_real(exp(nll)) : json_null());
  json_object_set_new(o, "ref_ppl", has_ref ? json_real(exp(ref_nll)) : json_null());
  json_object_set_new(o, "kl_mean", has_chip && has_ref ? json_real(kl) : json_null());
  json_object_set_new(o, "kl_error", has_chip && has_ref ? json_real(kl_error) : json_null());
  json_object_set_new(o, "kl_p99", has_chip && has_ref ? json_real(p99) : json_null());
  json_object_set_new(o, "top1", has_chip && has_ref ? json_real(same / (double)s->scored) : json_null());
  json_object_set_new(o, "bits_per_weight", has_chip ? json_real(chip_bits_per_weight(chip)) : json_null());
  if (json) {
    print_json(o);
    return o;
  }
  printf("tokens      %zu\n", s->scored);
  if (has_chip) printf("perplexity  %.4f +- %.4f at %.3f bits a weight\n", exp(nll), error, chip_bits_per_weight(chip));
  if (has_ref) printf("source      %.4f\n", exp(ref_nll));
  if (has_chip && has_ref) printf("KL          %.5f +- %.5f nats a token, 99 %%: %.4f; same top token: %.2f %%\n", kl, kl_error, p99, 100 * same / (double)s->scored);
  return o;
}

typedef struct {
  const char *text, *ref, *tasks;
  int ctx, chunks, from;
  bool json, record, model_only;
  MachineOptions machine;
} EvalOptions;

/* Prints, and keeps the result in the chip where that is wanted: with what it was measured on. */
static bool finish(Score *s, const Runner *r, Model *ref, const EvalOptions *o, Err *err) {
  json_t *result = report(s, o->model_only ? NULL : &r->chip, o->json);
  char hash[65];
  bool ok = !o->record || (file_hash_text(o->text, hash, err) && (!o->ref || model_hash(ref, err)));
  if (ok && o->record) {
    json_object_set_new(result, "text", json_string(file_name(o->text)));
    json_object_set_new(result, "sha256", json_string(hash));
    json_object_set_new(result, "ctx", json_integer(s->ctx));
    json_object_set_new(result, "score_from", json_integer(s->from));
    if (o->ref) hex_of(ref->hash, 32, hash);
    json_object_set_new(result, "ref_sha256", o->ref ? json_string(hash) : json_null());
    ok = record_result(&r->chip, result, err);
  }
  json_decref(result);
  return ok;
}

static bool evaluate(const char *path, const EvalOptions *o, Err *err) {
  Runner r = {0};
  Model m = {0};
  Score s = {.ctx = o->ctx, .from = o->from >= 0 ? o->from : o->ctx / 2};
  Subjects u = {0};
  Buf text = {0};
  Tokens ids = {0};
  Tokenizer *own = NULL;
  EngineOptions e;
  Pool *pool = NULL;
  bool ok = machine_options(&o->machine, &e, err) && (o->model_only || runner_open(&r, path, &o->machine, err));
  const char *ref = o->model_only ? path : o->ref;
  if (ok && ref) ok = model_open(&m, ref, err);
  if (ok && o->model_only) ok = (pool = pool_new(e.threads ? e.threads : cpu_count(), err)) && (own = tokenizer_new(&m.vocab, err));
  if (ok) {
    u.pool = pool ? pool : engine_pool(r.engine);
    s.vocab = o->model_only ? m.shape.vocab : r.chip.shape.vocab;
    const Vocab *v = o->model_only ? &m.vocab : &r.chip.vocab;
    u.bos = v->add_bos ? v->bos : -1;
    if (ref && m.shape.vocab != s.vocab) ok = err_set(err, "%s: expected a vocabulary of %d, found %d", ref, s.vocab, m.shape.vocab);
    if (s.from < 0 || s.from > s.ctx - 2) ok = err_set(err, "score-from: expected 0 to %d, found %d", s.ctx - 2, s.from);
  }
  if (ok && !own && !r.tokenizer) ok = err_set(err, "%s: the model has no tokenizer", path);
  ok = ok && file_read_all(o->text, (size_t)1 << 30, &text, err) &&
       tokenizer_encode(own ? own : r.tokenizer, (Str){text.s, text.n}, false, true, &ids, err);
  int windows = ok ? (int)(ids.n / (size_t)o->ctx) : 0;
  if (o->chunks > 0 && windows > o->chunks) windows = o->chunks;
  if (ok && windows < 1) ok = err_set(err, "%s: expected at least %d tokens, found %zu", o->text, o->ctx, ids.n);
  if (ok && !o->model_only) ok = (u.session = session_new(r.engine, o->ctx, err)) != NULL;
  if (ok && ref) ok = (u.oracle = oracle_new(&m, u.pool, err)) != NULL;
  ok = ok && run_windows(&s, &u, ids.id, windows, err);
  ok = ok && finish(&s, &r, &m, o, err);
  void *all[] = {s.window, s.nll, s.ref_nll, s.kl, s.same};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  tokens_free(&ids);
  buf_free(&text);
  oracle_free(u.oracle);
  session_free(u.session);
  tokenizer_free(own);
  pool_free(pool);
  model_close(&m);
  runner_close(&r);
  return ok;
}

static bool run_tasks(const char *path, const EvalOptions *o, Err *err) {
  Runner r = {0};
  bool ok = runner_open(&r, path, &o->machine, err) && eval_tasks(&r, o->tasks, o->chunks, o->json, o->record, err);
  runner_close(&r);
  return ok;
}

int cmd_eval(int argc, char **argv) {
  const char *path;
  EvalOptions o = {.ctx = 512, .from = -1};
  const Option option[] = {
      {"text", 'f', OPT_TEXT, &o.text, "FILE", "text to score"},
      {"tasks", 0, OPT_TEXT, &o.tasks, "FILE", "multiple choice instead, one JSON object a line: ARC, HellaSwag, LAMBADA"},
      {"ref", 0, OPT_TEXT, &o.ref, "MODEL", "the source model: adds divergence and agreement"},
      {"model-only", 0, OPT_FLAG, &o.model_only, "", "score a model file in float instead of a chip"},
      {"ctx", 'c', OPT_INT, &o.ctx, "N", "tokens of a window (default 512)"},
      {"chunks", 0, OPT_INT, &o.chunks, "N", "only the first N windows, or tasks"},
      {"score-from", 0, OPT_INT, &o.from, "N", "first position of a window that counts (default: half of it)"},
      {"record", 0, OPT_FLAG, &o.record, "", "keep the result in the chip's provenance; its hash stays"},
      {"json", 0, OPT_FLAG, &o.json, "", "print JSON"},
      MACHINE_OPTIONS(o.machine),
  };
  const Usage usage = {"eval", "burin eval X.chip --text FILE [--ref MODEL] [options], or burin eval X.chip --tasks FILE.jsonl",
                       "Measures perplexity, and the distance between a chip and its source model.", option,
                       sizeof option / sizeof *option, 1, 0};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  if (!o.text == !o.tasks || o.ctx < 4 || (o.tasks && (o.ref || o.model_only)) || (o.record && o.model_only)) {
    const char *what = o.ctx < 4             ? "--ctx: expected 4 or more"
                       : !o.text == !o.tasks ? "one of --text FILE and --tasks FILE is needed"
                       : !o.tasks            ? "--record keeps a chip's result: without --model-only"
                                             : "--tasks scores a chip: without --ref and --model-only";
    fprintf(stderr, "burin eval: %s\nusage: %s\n", what, usage.usage);
    return STATUS_USAGE;
  }
  Err err = {0};
  if (o.tasks) return run_tasks(path, &o, &err) ? STATUS_DONE : fail("eval", &err);
  return evaluate(path, &o, &err) ? STATUS_DONE : fail("eval", &err);
}
