/* cmd/verify: burin verify X.chip: the hardware in simulation against the engine, token by token and cycle by cycle. */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  const char *shape, *prompt, *file, *dir, *fst;
  double bits, temperature, min_p;
  uint64_t seed;
  int most;
  bool ids, as_is, trace, json;
  KnobOptions knobs;
  MachineOptions machine;
} VerifyOptions;

/* What one prompt gives. */
typedef struct {
  Tokens prompt;
  int *token; /* (most) of the engine */
  int n;      /* how many */
} Answer;

typedef struct {
  const VerifyOptions *o;
  Runner r;
  RtlDesign design;
  SamplerSettings settings;
  Answer *answer;
  int answers;
  char dir[4096];
  /* results */
  long tokens;                   /* compared */
  uint64_t cycles, predicted;    /* of all tokens that were worked on */
  uint64_t compared;             /* elements of vectors */
  char first_difference[200];
} Verify;

/* ---- what the engine says ---- */

/* Numbers parted by spaces. */
static bool read_ids(Str text, int vocab, Tokens *out, Err *err) {
  for (size_t at = 0; at < text.n;) {
    if (text.s[at] == ' ') {
      at++;
      continue;
    }
    size_t digits = 0;
    long id = 0;
    for (; at + digits < text.n && digits < 9 && text.s[at + digits] >= '0' && text.s[at + digits] <= '9'; digits++) id = 10 * id + text.s[at + digits] - '0';
    if (digits == 0 || id >= vocab) return err_set(err, "prompt: expected token ids below %d parted by spaces, found '%.*s'", vocab, STR_FMT(text));
    if (!tokens_put(out, (int)id, err)) return false;
    at += digits;
  }
  return true;
}

static bool read_prompt(const Verify *v, Str prompt, Tokens *out, Err *err) {
  if (v->o->ids) return read_ids(prompt, v->r.chip.shape.vocab, out, err);
  if (!v->r.tokenizer) return err_set(err, "the model has no tokenizer: --ids takes a prompt of token ids");
  return tokenizer_encode(v->r.tokenizer, prompt, false, true, out, err);
}

static bool answer_of(Verify *v, Str prompt, Answer *a, Err *err) {
  int context = v->design.knobs.context;
  if (!read_prompt(v, prompt, &a->prompt, err)) return false;
  if (a->prompt.n == 0) return err_set(err, "the prompt is empty");
  if (a->prompt.n > (size_t)context) return err_set(err, "the prompt has %zu tokens: expected at most %d, the context", a->prompt.n, context);
  Session *s = session_new(v->r.engine, context, err);
  a->token = mem_alloc((size_t)v->o->most, sizeof *a->token, err);
  bool ok = s && a->token && session_sampler(s, &v->settings, v->o->seed, err) && session_extend(s, a->prompt.id, (int)a->prompt.n, 0, NULL, err);
  while (ok && a->n < v->o->most) {
    a->token[a->n++] = session_sample(s, NULL);
    if (session_position(s) == context) break;
    if (a->n < v->o->most) ok = session_extend(s, &a->token[a->n - 1], 1, 0, NULL, err);
  }
  session_free(s);
  return ok;
}

static bool answers(Verify *v, Err *err) {
  Buf text = {0};
  bool ok = v->o->file ? file_read_all(v->o->file, 1 << 20, &text, err) : buf_put(&text, v->o->prompt, strlen(v->o->prompt), err);
  int lines = 1;
  for (size_t i = 0; ok && i < text.n; i++) lines += v->o->file && text.s[i] == '\n';
  ok = ok && (v->answer = mem_alloc((size_t)lines, sizeof *v->answer, err));
  for (size_t at = 0; ok && at < text.n;) {
    const char *end = v->o->file ? memchr(text.s + at, '\n', text.n - at) : NULL;
    size_t n = end ? (size_t)(end - text.s) - at : text.n - at;
    if (n) ok = answer_of(v, (Str){text.s + at, n}, &v->answer[v->answers++], err);
    at += n + 1;
  }
  if (ok && v->answers == 0) ok = err_set(err, "no prompt");
  buf_free(&text);
  return ok;
}

/* ---- the simulation ---- */

static bool write_script(const Verify *v, Err *err) {
  char path[4200];
  snprintf(path, sizeof path, "%s/script.txt", v->dir);
  Writer *w = writer_open(path, err);
  if (!w) return false;
  char line[200];
#define PUT(...) writer_put(w, line, (size_t)snprintf(line, sizeof line, __VA_ARGS__))
  for (int i = 0; i < v->answers; i++) {
    const Answer *a = &v->answer[i];
    PUT("0 0 1\n0 1 %d\n0 3 %u\n0 4 %u\n", v->o->most, v->settings.inv_temperature, v->settings.min_p);
    PUT("0 5 %u\n0 6 %u\n", (unsigned)(v->o->seed & UINT32_MAX), (unsigned)(v->o->seed >> 32));
    for (size_t t = 0; t < a->prompt.n; t++) PUT("1 %d %d\n", a->prompt.id[t], t + 1 == a->prompt.n);
    PUT("2 0 0\n");
  }
#undef PUT
  return writer_commit(w, err);
}

static bool simulate(Verify *v, Err *err) {
  char trace[8] = "", fst[4200] = "";
  if (v->o->fst) {
    bool absolute = v->o->fst[0] == '/';
    char here[2048] = "";
    if (!absolute && !getcwd(here, sizeof here)) return err_set(err, "the current directory: %s", strerror(errno));
    snprintf(fst, sizeof fst, "+fst=%s%s%s", here, absolute ? "" : "/", v->o->fst);
  }
  if (v->o->trace) snprintf(trace, sizeof trace, "TRACE=1");
  char *make[] = {"make", "-s", v->o->trace ? trace : "-s", v->o->fst ? "FST=1" : "-s", NULL};
  char *sim[] = {"./sim/Vburin_tb", "+script=script.txt", v->o->trace ? "+trace=trace.txt" : "+none", v->o->fst ? fst : "+none", NULL};
  if ((!v->o->as_is && !rtl_emit(&v->design, &v->r.chip, v->dir, err)) || !write_script(v, err)) return false;
  double start = now_seconds();
  if (!run_program(v->dir, make, "make.log", "to simulate (Debian packages verilator, make, g++)", err)) return false;
  fprintf(stderr, "built the simulation in %.1f s\n", now_seconds() - start);
  start = now_seconds();
  if (!run_program(v->dir, sim, "sim.log", "to simulate (Debian packages verilator, make, g++)", err)) return false;
  fprintf(stderr, "simulated in %.1f s\n", now_seconds() - start);
  return true;
}

/* ---- comparison ---- */

/* The next number behind `key` in the simulation's output; false at its end. */
static bool next_number(const char **p, const char *key, long *out) {
  const char *at = strstr(*p, key);
  if (!at) return false;
  *out = strtol(at + strlen(key), NULL, 10);
  *p = at + strlen(key);
  return true;
}

static void differ(Verify *v, const char *format, int answer, int at, long simulated, long expected) {
  if (v->first_difference[0]) return;
  snprintf(v->first_difference, sizeof v->first_difference, format, answer, at, simulated, expected);
}

static void compare(Verify *v, const char *log) {
  const char *token = log, *cycles = log;
  long x;
  for (int i = 0; i < v->answers; i++) {
    const Answer *a = &v->answer[i];
    int worked = (int)a->prompt.n + a->n - 1;
    for (int t = 0; t < a->n; t++, v->tokens++) {
      if (!next_number(&token, "token ", &x)) x = -1;
      if (x != a->token[t]) differ(v, "prompt %d, token %d: simulation %ld, engine %ld", i, t, x, a->token[t]);
    }
    for (int p = 0; p < worked; p++) {
      long expected = (long)rtl_cycles(&v->design, p, p + 1 >= (int)a->prompt.n, v->settings.inv_temperature != 0);
      if (!next_number(&cycles, "cycles ", &x)) x = -1;
      if (x != expected) differ(v, "prompt %d, position %d: simulation takes %ld cycles, the schedule %ld", i, p, x, expected);
      v->cycles += (uint64_t)(x > 0 ? x : 0);
      v->predicted += (uint64_t)expected;
    }
  }
  if (next_number(&token, "token ", &x) && !v->first_difference[0])
    snprintf(v->first_difference, sizeof v->first_difference, "the simulation writes token %ld after the last that the engine writes", x);
}

/* The tokens that the machine works on, in order. */
typedef struct {
  const Verify *v;
  int answer, at;
} Steps;

static bool next_step(void *arg, RtlStep *out) {
  Steps *s = arg;
  if (s->answer == s->v->answers) return false;
  const Answer *a = &s->v->answer[s->answer];
  int prompt = (int)a->prompt.n;
  *out = (RtlStep){s->at < prompt ? a->prompt.id[s->at] : a->token[s->at - prompt], s->at == 0, s->at + 1 >= prompt};
  if (++s->at == prompt + a->n - 1) {
    s->answer++;
    s->at = 0;
  }
  return true;
}

static bool compare_trace(Verify *v, Err *err) {
  char path[4200], where[200];
  Steps steps = {v, 0, 0};
  snprintf(path, sizeof path, "%s/trace.txt", v->dir);
  RtlReference *r = rtl_reference_new(&v->design, &v->r.chip, err);
  bool ok = r && rtl_trace_check(r, &v->design, path, next_step, &steps, where, &v->compared, err);
  rtl_reference_free(r);
  if (ok && where[0]) snprintf(v->first_difference, sizeof v->first_difference, "%s", where);
  return ok;
}

static void report(const Verify *v) {
  bool equal = !v->first_difference[0];
  if (v->o->json) {
    json_t *o = json_object();
    json_object_set_new(o, "tokens", json_integer(v->tokens));
    json_object_set_new(o, "equal", json_boolean(equal));
    json_object_set_new(o, "first_difference", equal ? json_null() : json_string(v->first_difference));
    json_object_set_new(o, "cycles", json_integer((json_int_t)v->cycles));
    json_object_set_new(o, "predicted_cycles", json_integer((json_int_t)v->predicted));
    print_json(o);
    json_decref(o);
    return;
  }
  if (equal) {
    printf("equal: %ld tokens, %llu cycles as the schedule says", v->tokens, (unsigned long long)v->cycles);
    if (v->o->trace) printf(", %llu elements of intermediate vectors", (unsigned long long)v->compared);
    printf("\n");
  }
  else
    printf("different: %s\n", v->first_difference);
}

/* With an open runner. */
static bool verify_runner(Verify *v, Err *err) {
  const VerifyOptions *o = v->o;
  if (!knob_options(&o->knobs, &v->r.chip.shape, &v->design, err) || !answers(v, err)) return false;
  if (o->dir) {
    snprintf(v->dir, sizeof v->dir, "%s", o->dir);
  } else {
    const char *tmp = getenv("TMPDIR");
    snprintf(v->dir, sizeof v->dir, "%s/burin-verify-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(v->dir)) return err_set(err, "%s: %s", v->dir, strerror(errno));
    fprintf(stderr, "the design is in %s\n", v->dir);
  }
  if (!simulate(v, err)) return false;
  char log_path[4200];
  Buf log = {0};
  snprintf(log_path, sizeof log_path, "%s/sim.log", v->dir);
  if (!file_read_all(log_path, (size_t)1 << 30, &log, err) || !buf_put(&log, "", 1, err)) return false;
  if (o->trace && !compare_trace(v, err)) return false; /* first, since it says more */
  compare(v, log.s);
  report(v);
  buf_free(&log);
  return !v->first_difference[0] || err_set(err, "the hardware differs from the engine: %s", v->first_difference);
}

static bool verify(Verify *v, const char *path, Err *err) {
  const VerifyOptions *o = v->o;
  if (!sampler_settings(&v->settings, o->temperature, 0, 1, o->min_p, 1, 0, 0, err)) return false;
  if (!(o->shape ? runner_open_synthetic(&v->r, o->shape, o->bits, &o->machine, err) : runner_open(&v->r, path, &o->machine, err))) return false;
  bool ok = verify_runner(v, err);
  runner_close(&v->r);
  return ok;
}

int cmd_verify(int argc, char **argv) {
  const char *path;
  VerifyOptions o = {.prompt = "Once upon a time", .most = 32, .bits = 4.25};
  const Option option[] = {
      {"shape", 0, OPT_TEXT, &o.shape, "NAME", "random weights of a shape instead of a chip: as burin rtl; implies --ids"},
      {"bits", 'b', OPT_FLOAT, &o.bits, "B", "bits a weight with --shape (default 4.25)"},
      {"prompt", 'p', OPT_TEXT, &o.prompt, "TEXT", "continue this text (default: Once upon a time)"},
      {"file", 'f', OPT_TEXT, &o.file, "FILE", "prompts, one a line; each begins a new context"},
      {"ids", 0, OPT_FLAG, &o.ids, "", "prompts are token ids, parted by spaces"},
      {"predict", 'n', OPT_INT, &o.most, "N", "write N tokens behind each prompt (default 32)"},
      {"temperature", 0, OPT_FLOAT, &o.temperature, "T", "sampling temperature (default 0: greedy)"},
      {"min-p", 0, OPT_FLOAT, &o.min_p, "P", "drop tokens less likely than P times the likeliest"},
      {"seed", 0, OPT_U64, &o.seed, "N", "seed of the sampler"},
      {"dir", 0, OPT_TEXT, &o.dir, "DIR", "write and build the design there, and build again only what changed (default: a new folder)"},
      {"as-is", 0, OPT_FLAG, &o.as_is, "", "simulate what stands in --dir, written by burin rtl or verify before, and do not write it anew"},
      {"trace", 0, OPT_FLAG, &o.trace, "", "compare every intermediate vector too"},
      {"fst", 0, OPT_TEXT, &o.fst, "FILE", "write waves"},
      {"json", 0, OPT_FLAG, &o.json, "", "print JSON"},
      KNOB_OPTIONS(o.knobs),
      MACHINE_OPTIONS(o.machine),
  };
  const Usage usage = {"verify", "burin verify X.chip [options]",
                       "Builds a simulation of the hardware (Verilator) and compares its tokens and cycles with the engine and the schedule.",
                       option, sizeof option / sizeof *option, 1, 1};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  if ((path != NULL) == (o.shape != NULL)) {
    fprintf(stderr, "burin verify: expected X.chip or --shape NAME\n");
    return STATUS_USAGE;
  }
  if (o.as_is && !o.dir) {
    fprintf(stderr, "burin verify: --as-is needs --dir\n");
    return STATUS_USAGE;
  }
  if (o.most < 1) {
    fprintf(stderr, "burin verify: predict: expected 1 or more, found %d\n", o.most);
    return STATUS_USAGE;
  }
  Err err = {0};
  Verify v = {.o = &o};
  bool ok = verify(&v, path, &err);
  for (int i = 0; i < v.answers; i++) {
    tokens_free(&v.answer[i].prompt);
    mem_free(v.answer[i].token);
  }
  mem_free(v.answer);
  return ok ? STATUS_DONE : fail("verify", &err);
}
