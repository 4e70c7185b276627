/* cmd/run: burin run X.chip -p TEXT */
#include "cmd/cmd.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

typedef struct {
  const char *prompt, *file, *system, *cache;
  int most, ctx, chunk;
  bool raw, specials, ids;
  MachineOptions machine;
  SamplingOptions sampling;
} RunOptions;

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
  (void)signal_number;
  interrupted = 1;
}

/* One user turn through the chip's template, or the text as it is. */
static bool make_prompt(const Runner *r, const RunOptions *o, Str text, Tokens *out, Err *err) {
  if (o->raw || r->chip.vocab.chat_template.n == 0) return tokenizer_encode(r->tokenizer, text, o->specials, true, out, err);
  ChatTemplate *t = template_new(r->chip.vocab.chat_template, err);
  ChatMessage m[2] = {{STR("system"), str_from(o->system)}, {STR("user"), text}};
  int skip = o->system ? 0 : 1;
  bool ok = t && chat_tokens(r, t, m + skip, 2 - skip, out, err);
  template_free(t);
  return ok;
}

/* A session that holds the first *same tokens of the prompt: those that the file of saved ones begins with, if there is one. */
static Session *open_session(const Runner *r, const RunOptions *o, const Tokens *prompt, int *same, Err *err) {
  *same = 0;
  if (!o->cache || access(o->cache, F_OK) != 0) return session_new(r->engine, o->ctx, err);
  uint64_t bytes;
  Session *s = session_load(r->engine, o->cache, o->ctx, &bytes, err);
  if (!s) return NULL;
  while (*same < session_position(s) && (size_t)*same + 1 < prompt->n && session_tokens(s)[*same] == prompt->id[*same]) ++*same;
  session_truncate(s, *same);
  return s;
}

/* The prompt's part of the session, where the file did not hold it. */
static bool save_prompt(const RunOptions *o, const Session *s, const Tokens *prompt, int same, Err *err) {
  uint64_t bytes = 0;
  fprintf(stderr, "prompt cache: %d of %zu tokens came from %s\n", same, prompt->n, o->cache);
  if ((size_t)same + 1 >= prompt->n && same > 0) return true;
  Session *part = session_fork(s, (int)prompt->n, err);
  bool ok = part && session_save(part, o->cache, &bytes, err);
  session_free(part);
  if (ok) fprintf(stderr, "prompt cache: %zu tokens, %.1f MB written\n", prompt->n, (double)bytes / 1e6);
  return ok;
}

static bool run(const char *path, const RunOptions *o, Err *err) {
  Runner r;
  SamplerSettings settings;
  Buf text = {0};
  Tokens prompt = {0};
  Session *s = NULL;
  Generation g;
  int same = 0;
  if (!sampling_settings(&o->sampling, &settings, err) || !runner_open(&r, path, &o->machine, err)) return false;
  bool ok = r.tokenizer || err_set(err, "%s: the model has no tokenizer", path);
  ok = ok && (o->prompt ? buf_put(&text, o->prompt, str_from(o->prompt).n, err)
                        : file_read_all(o->file ? o->file : "-", (size_t)64 << 20, &text, err));
  ok = ok && make_prompt(&r, o, (Str){text.s, text.n}, &prompt, err);
  if (ok && prompt.n == 0) ok = err_set(err, "the prompt is empty");
  ok = ok && (s = open_session(&r, o, &prompt, &same, err)) && session_sampler(s, &settings, o->sampling.seed, err);
  if (ok && o->ids) {
    tokenizer_free(r.tokenizer); /* without one, generation writes ids */
    r.tokenizer = NULL;
  }
  ok = ok && generate(&r, s, prompt.id + same, prompt.n - (size_t)same, o->most, o->chunk, &interrupted, write_stdout, NULL, &g, err);
  if (ok) {
    if (!o->ids) printf("\n");
    print_speed(&g);
    ok = !o->cache || save_prompt(o, s, &prompt, same, err);
  }
  session_free(s);
  tokens_free(&prompt);
  buf_free(&text);
  runner_close(&r);
  return ok;
}

int cmd_run(int argc, char **argv) {
  const char *path;
  RunOptions o = {.most = -1, .sampling = SAMPLING_DEFAULTS};
  const Option option[] = {
      {"prompt", 'p', OPT_TEXT, &o.prompt, "TEXT", "the prompt (default: standard input)"},
      {"file", 'f', OPT_TEXT, &o.file, "FILE", "read the prompt from a file; - is standard input"},
      {"system", 0, OPT_TEXT, &o.system, "TEXT", "system message"},
      {"raw", 0, OPT_FLAG, &o.raw, "", "continue the text as it is, without the model's chat template"},
      {"specials", 0, OPT_FLAG, &o.specials, "", "with --raw: names of control tokens in the prompt stand for those tokens"},
      {"predict", 'n', OPT_INT, &o.most, "N", "write at most N tokens (default: until the model stops)"},
      {"ctx", 'c', OPT_INT, &o.ctx, "N", "context in tokens (default: the chip's)"},
      {"chunk", 0, OPT_INT, &o.chunk, "N", "tokens of a prefill chunk (default 512); changes nothing but speed"},
      {"prompt-cache", 0, OPT_TEXT, &o.cache, "FILE", "keep the prompt's KV cache in a file: what the next prompt begins with is not computed again"},
      {"ids", 0, OPT_FLAG, &o.ids, "", "write token ids, one a line, instead of text"},
      SAMPLING_OPTIONS(o.sampling),
      MACHINE_OPTIONS(o.machine),
  };
  const Usage usage = {"run", "burin run X.chip -p TEXT [options]",
                       "Writes text from a prompt.  The text goes to standard output, speed to standard error.", option,
                       sizeof option / sizeof *option, 1, 0};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  if (o.prompt && o.file) {
    fprintf(stderr, "burin run: -p and -f exclude each other\n");
    return STATUS_USAGE;
  }
  signal(SIGINT, on_interrupt);
  Err err = {0};
  return run(path, &o, &err) ? STATUS_DONE : fail("run", &err);
}
