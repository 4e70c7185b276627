/* serve: chips over HTTP.
 *
 * Owns routes, the queue and the scheduler that batches requests, constrained output, and the chat page.  doc/http-api.md is its
 * chapter, /openapi.json its machine-readable form.
 * Refuses to change a token: what a request gets is what chip, prompt, settings and seed give, alone or beside others.
 */
#ifndef BURIN_SERVE_H
#define BURIN_SERVE_H

#include "engine/engine.h"
#include "text/text.h"

/* One chip that is served.  All of it must outlive serve_run. */
typedef struct {
  const char *name;          /* how requests call it */
  const Chip *chip;
  Engine *engine;
  const Tokenizer *tokenizer;
  double modelled_tps;       /* tokens/s of one user on the hard-wired chip, derived, not measured; 0: unknown */
  const char *modelled_how;  /* what that figure stands on */
} ServeChip;

typedef struct {
  const char *host;
  int port;                  /* 0: any; the line that says where it listens names it */
  const char *key_file;      /* one API key a line; NULL: no key is asked for */
  const char *cors;          /* origin to allow, "*" for all; NULL: none */
  int slots;                 /* replies made at a time, per chip */
  bool hide_slots;           /* /slots says nothing */
  const char *slot_folder;   /* where requests may keep what slots hold, by name; NULL: nowhere */
  int queue;                 /* requests that may wait */
  int context;               /* tokens of a request at most; 0: the chip's */
} ServeOptions;

/* Serves until SIGTERM or SIGINT, then ends what runs.  SIGHUP reads the keys again. */
bool serve_run(const ServeChip *chip, int chips, const ServeOptions *o, Err *err);

#endif
