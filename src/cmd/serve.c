/* cmd/serve: burin serve X.chip */
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_CHIPS = 16 };

typedef struct {
  Runner runner[MOST_CHIPS];
  ServeChip chip[MOST_CHIPS];
  char name[MOST_CHIPS][128];
  int n;
} Chips;

/* What the chip's own hardware would do for one user: the plan's nominal speed in N6, on as few dies as it takes. */
static double hard_wired_tps(const Chip *c) {
  Err err = {0};
  RtlKnobs k;
  PlanInput in;
  double value[FACTS], out[OUTPUTS];
  int points;
  const Node *node = plan_node_of("N6", &err);
  if (!node || !rtl_knobs("n6", &c->shape, &k, &err)) return 0;
  k.context = c->shape.context < 2048 ? c->shape.context : 2048;
  if (!plan_input(&in, &c->shape, (PlanExperts){1, 1, NULL}, c, 0, &k, k.context / 2, node, &err)) return 0;
  for (int chips = plan_least_chips(&in, 858); chips <= 8; chips++) {
    Err no_fit = {0};
    if (!plan_search(&in, c, 0, AIM_SPEED, 858, 600, chips, NULL, 0, &points, &no_fit)) continue;
    plan_nominal(&in, value);
    plan_evaluate(&in, value, out);
    return out[O_TPS];
  }
  return 0;
}

/* NAME=PATH, or PATH: then the file's name without .chip or .gguf. */
static bool add_chip(Chips *s, const char *what, const MachineOptions *m, Err *err) {
  const char *equals = strchr(what, '='), *path = equals ? equals + 1 : what, *name = equals ? what : file_name(what);
  size_t n = equals ? (size_t)(equals - what) : strlen(name);
  if (!equals && n > 5 && (strcmp(name + n - 5, ".chip") == 0 || strcmp(name + n - 5, ".gguf") == 0)) n -= 5;
  if (s->n == MOST_CHIPS) return err_set(err, "more than %d chips", MOST_CHIPS);
  if (n == 0 || n >= sizeof s->name[0]) return err_set(err, "%s: expected a name of 1 to 127 bytes", what);
  memcpy(s->name[s->n], name, n);
  for (int i = 0; i < s->n; i++)
    if (strcmp(s->name[i], s->name[s->n]) == 0) return err_set(err, "two chips are called %s: name them with --alias NAME=FILE", s->name[i]);
  Runner *r = &s->runner[s->n];
  if (!runner_open(r, path, m, err)) return false;
  s->chip[s->n] = (ServeChip){s->name[s->n], &r->chip, r->engine, r->tokenizer, hard_wired_tps(&r->chip),
                              "burin plan, nominal facts, N6, half of a KV cache of at most 2,048 positions filled"};
  s->n++;
  if (!r->tokenizer) return err_set(err, "%s: the model has no tokenizer", path);
  return true;
}

static bool serve(const char *const *operand, const TextList *alias, const ServeOptions *o, const MachineOptions *m, Err *err) {
  Chips *s = mem_alloc(1, sizeof *s, err);
  if (!s) return false;
  bool ok = true;
  for (int i = 0; ok && i < MOST_CHIPS && operand[i]; i++) ok = add_chip(s, operand[i], m, err);
  for (int i = 0; ok && i < alias->n; i++) ok = add_chip(s, alias->text[i], m, err);
  if (ok && o->slots < 1) ok = err_set(err, "slots: expected 1 or more, found %d", o->slots);
  if (ok && (o->port < 0 || o->port > 65535)) ok = err_set(err, "port: expected 0 to 65535, found %d", o->port);
  if (ok && o->context < 0) ok = err_set(err, "ctx: expected 1 or more, found %d", o->context);
  struct stat folder;
  if (ok && o->slot_folder && (stat(o->slot_folder, &folder) != 0 || !S_ISDIR(folder.st_mode)))
    ok = err_set(err, "%s: expected a folder for slots", o->slot_folder);
  ok = ok && serve_run(s->chip, s->n, o, err);
  for (int i = 0; i < s->n; i++) runner_close(&s->runner[i]);
  mem_free(s);
  return ok;
}

int cmd_serve(int argc, char **argv) {
  const char *operand[MOST_CHIPS + 1] = {NULL};
  ServeOptions o = {.host = "127.0.0.1", .port = 8080, .slots = 32, .queue = 1024};
  TextList alias = {0};
  MachineOptions m = {0};
  const Option option[] = {
      {"host", 0, OPT_TEXT, &o.host, "ADDRESS", "address to listen at (default 127.0.0.1: this machine only)"},
      {"port", 0, OPT_INT, &o.port, "N", "port to listen at (default 8080; 0 takes a free one)"},
      {"alias", 0, OPT_LIST, &alias, "NAME=FILE", "one more chip, and how requests call it; may be given several times"},
      {"api-key-file", 0, OPT_TEXT, &o.key_file, "FILE", "API keys, one a line, of which requests must bring one; SIGHUP reads it again"},
      {"cors", 0, OPT_TEXT, &o.cors, "ORIGIN", "let pages of this origin (* for all) use the server (default: none)"},
      {"slots", 0, OPT_INT, &o.slots, "N", "replies that are written at a time (default 32)"},
      {"no-slots", 0, OPT_FLAG, &o.hide_slots, "", "do not tell at /slots what is being written"},
      {"slot-save-path", 0, OPT_TEXT, &o.slot_folder, "FOLDER", "let requests keep what slots hold in files of this folder (default: none)"},
      {"queue", 0, OPT_INT, &o.queue, "N", "replies that may wait before requests are turned away (default 1024)"},
      {"ctx", 'c', OPT_INT, &o.context, "N", "tokens of a prompt and its reply at most (default: the chip's context)"},
      MACHINE_OPTIONS(m),
  };
  const Usage usage = {"serve", "burin serve X.chip [options]",
                       "Answers over HTTP: OpenAI's API and Anthropic's messages at /v1, the published chip's at /generate and /api/chat, a chat page at /.", option,
                       sizeof option / sizeof *option, MOST_CHIPS, MOST_CHIPS};
  int status = options_parse(&usage, argc, argv, operand);
  if (status >= 0) return status;
  if (!operand[0] && !alias.n) {
    fprintf(stderr, "burin serve: an argument is missing\nusage: %s\n", usage.usage);
    return STATUS_USAGE;
  }
  Err err = {0};
  return serve(operand, &alias, &o, &m, &err) ? STATUS_DONE : fail("serve", &err);
}
