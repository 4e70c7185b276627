/* cmd/chat: burin chat X.chip
 *
 * One session over the whole conversation: a turn prefills only what is new.  Ctrl-C ends a reply, not the program.
 */
#include "cmd/cmd.h"
#include "cmd/lines.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  const char *system;
  int ctx;
  MachineOptions machine;
  SamplingOptions sampling;
} ChatOptions;

enum { MOST_MESSAGES = 4096 };

typedef struct {
  const ChatOptions *o;
  Runner r;
  ChatTemplate *template;
  Session *session;
  Tokens fed;                 /* tokens that the session holds */
  Arena arena;
  ChatMessage message[MOST_MESSAGES];
  int messages;
  Buf reply;
  Generation last;
  long total_tokens;
} Chat;

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
  (void)signal_number;
  interrupted = 1;
}

/* ---- conversation ---- */

static bool add_message(Chat *c, const char *role, Str content, Err *err) {
  if (c->messages == MOST_MESSAGES) return err_set(err, "more than %d messages: /reset starts anew", MOST_MESSAGES);
  Str copy = arena_copy(&c->arena, content, err);
  if (!copy.s) return false;
  c->message[c->messages++] = (ChatMessage){str_from(role), copy};
  return true;
}

static bool reset(Chat *c, Err *err) {
  c->messages = 0;
  c->fed.n = 0;
  session_truncate(c->session, 0);
  return !c->o->system || add_message(c, "system", str_from(c->o->system), err);
}

static void write_reply(void *arg, const char *s, size_t n) {
  Chat *c = arg;
  Err ignored = {0};
  buf_put(&c->reply, s, n, &ignored); /* without it the next turn prefills this reply anew */
  write_stdout(NULL, s, n);
}

/* Answers the messages so far.  What the session already holds of them is not computed again. */
static bool answer(Chat *c, Err *err) {
  Tokens t = {0};
  bool ok = chat_tokens(&c->r, c->template, c->message, c->messages, &t, err);
  size_t same = 0;
  while (ok && same < c->fed.n && same + 1 < t.n && c->fed.id[same] == t.id[same]) same++;
  if (ok) {
    session_truncate(c->session, (int)same);
    c->reply.n = 0;
    interrupted = 0;
    ok = generate(&c->r, c->session, t.id + same, t.n - same, -1, 0, &interrupted, write_reply, c, &c->last, err);
    printf("%s\n", ok && interrupted ? " [stopped]" : "");
    interrupted = 0;
  }
  if (ok) {
    c->total_tokens += c->last.decode_tokens;
    ok = add_message(c, "assistant", (Str){c->reply.s ? c->reply.s : "", c->reply.n}, err);
  }
  c->fed.n = 0; /* the reply's own tokens may differ from its text's: only the prompt is known to match */
  for (size_t i = 0; ok && i < t.n; i++) ok = tokens_put(&c->fed, t.id[i], err);
  tokens_free(&t);
  return ok;
}

/* ---- slash commands ---- */

static bool save(const Chat *c, const char *path, Err *err) {
  if (!*path) return err_set(err, "/save needs a file name");
  Writer *w = writer_open(path, err);
  if (!w) return false;
  for (int i = 0; i < c->messages; i++) {
    writer_put(w, c->message[i].role.s, c->message[i].role.n);
    writer_put(w, ":\n", 2);
    writer_put(w, c->message[i].content.s, c->message[i].content.n);
    writer_put(w, "\n\n", 2);
  }
  return writer_commit(w, err);
}

static bool slash(Chat *c, char *line, bool *quit, Err *err) {
  char *rest = line + strcspn(line, " ");
  if (*rest) *rest++ = 0;
  if (strcmp(line, "/help") == 0) {
    printf("/system TEXT  set the system message and start anew\n/reset        forget the conversation\n"
           "/save FILE    write the conversation to a file\n/stats        speed of the last reply\n/quit         leave (as Ctrl-D)\n"
           "A line that ends in \\ goes on in the next.  Ctrl-C stops a reply.\n");
  } else if (strcmp(line, "/reset") == 0) {
    if (!reset(c, err)) return false;
    printf("forgotten\n");
  } else if (strcmp(line, "/system") == 0) {
    Str text = arena_copy(&c->arena, str_from(rest), err);
    if (!text.s || !reset(c, err)) return false;
    c->messages = 0;
    return !text.n || add_message(c, "system", text, err);
  } else if (strcmp(line, "/save") == 0) {
    if (!save(c, rest, err)) return false;
    printf("saved %s\n", rest);
  } else if (strcmp(line, "/stats") == 0) {
    print_speed(&c->last);
    fprintf(stderr, "%ld tokens written in all; %d of %d in the context\n", c->total_tokens, session_position(c->session), session_context(c->session));
  } else if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0) {
    *quit = true;
  } else {
    return err_set(err, "unknown command %s: /help lists them", line);
  }
  return true;
}

static bool talk(Chat *c, Err *err) {
  Buf line = {0};
  Lines *l = lines_open(err);
  bool quit = false;
  while (l && !quit && lines_read(l, &interrupted, &line, err)) {
    Err e = {0};
    if (line.n == 0) continue;
    bool done = line.s[0] == '/' ? slash(c, line.s, &quit, &e) : add_message(c, "user", (Str){line.s, line.n}, &e) && answer(c, &e);
    if (!done) { /* a turn that failed is taken back; the conversation goes on */
      fprintf(stderr, "burin chat: %s\n", e.text);
      if (line.s[0] != '/' && c->messages && str_eq(c->message[c->messages - 1].role, STR("user"))) c->messages--;
    }
  }
  lines_close(l);
  buf_free(&line);
  return !err->set;
}

static bool chat(const char *path, const ChatOptions *o, Err *err) {
  SamplerSettings settings;
  Chat *c = mem_alloc(1, sizeof *c, err);
  if (!c) return false;
  c->o = o;
  bool ok = sampling_settings(&o->sampling, &settings, err) && runner_open(&c->r, path, &o->machine, err);
  if (ok && !c->r.tokenizer) ok = err_set(err, "%s: the model has no tokenizer", path);
  if (ok && c->r.chip.vocab.chat_template.n) ok = (c->template = template_new(c->r.chip.vocab.chat_template, err)) != NULL;
  if (ok && !c->template) fprintf(stderr, "this model has no chat template: text is continued as it is\n");
  ok = ok && (c->session = session_new(c->r.engine, o->ctx, err)) && session_sampler(c->session, &settings, o->sampling.seed, err) &&
       reset(c, err);
  if (ok && isatty(0)) fprintf(stderr, "/help explains, Ctrl-D leaves\n");
  ok = ok && talk(c, err);
  session_free(c->session);
  template_free(c->template);
  runner_close(&c->r);
  tokens_free(&c->fed);
  buf_free(&c->reply);
  arena_free(&c->arena);
  mem_free(c);
  return ok;
}

int cmd_chat(int argc, char **argv) {
  const char *path;
  ChatOptions o = {.sampling = SAMPLING_DEFAULTS};
  const Option option[] = {
      {"system", 0, OPT_TEXT, &o.system, "TEXT", "system message"},
      {"ctx", 'c', OPT_INT, &o.ctx, "N", "context in tokens (default: the chip's)"},
      SAMPLING_OPTIONS(o.sampling),
      MACHINE_OPTIONS(o.machine),
  };
  const Usage usage = {"chat", "burin chat X.chip [options]", "Talks to a chip in the terminal.", option, sizeof option / sizeof *option, 1, 0};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  struct sigaction sa = {.sa_handler = on_interrupt}; /* no SA_RESTART: a read at the prompt ends */
  sigaction(SIGINT, &sa, NULL);
  Err err = {0};
  return chat(path, &o, &err) ? STATUS_DONE : fail("chat", &err);
}
