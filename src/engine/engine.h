/* engine: runs a Chip on this machine's CPU, exactly as doc/arithmetic.md says.
 *
 * Owns kernels, packed weights, KV caches, sessions and the sampling loop.  The tokens depend on chip, prompt and seed
 * only: not on instruction set, threads, chunk size, batch or what else runs.
 * Refuses to decide arithmetic: every formula is chip's; a kernel is only a faster way to the same integers.
 */
#ifndef BURIN_ENGINE_H
#define BURIN_ENGINE_H

#include "chip/chip.h"

typedef struct {
  Isa isa;
  int threads; /* 0: one a CPU, or fewer where that is measured to be faster */
} EngineOptions;

typedef struct Engine Engine;
typedef struct Session Session;

/* Starts the threads and checks every matrix's checksum and content.  Weights are read where the chip has them; the scalar kernels
 * make levels of them first.
 * The chip must outlive the engine. */
Engine *engine_new(const Chip *chip, const EngineOptions *options, Err *err);
void engine_free(Engine *e);
Isa engine_isa(const Engine *e);
int engine_threads(const Engine *e);
Pool *engine_pool(Engine *e);
/* Bytes of weights that one decode step reads. */
uint64_t engine_bytes_per_token(const Engine *e);

/* One timeline of tokens with room for `context` of them (0: the chip's limit). */
Session *session_new(Engine *e, int context, Err *err);
void session_free(Session *s);
int session_position(const Session *s);
int session_context(const Session *s);
void session_truncate(Session *s, int position); /* forgets the tokens from `position` on */
/* A new session that begins with the first `position` tokens of another.  They share the pages of the KV cache; a page is copied
 * when one of them writes to it. */
Session *session_fork(const Session *from, int position, Err *err);
const int *session_tokens(const Session *s); /* (position) what was appended */
/* Tokens and KV cache, to a file (engine/saved.c; it appears whole or not at all) and back; *bytes: the file's.  Loaded, a session of
 * the same chip goes on as the saved one would, on any machine; like a fork it has no logits yet.  A damaged file, one of another
 * chip, or more tokens than `context` (as session_new's) is an error. */
bool session_save(const Session *s, const char *path, uint64_t *bytes, Err *err);
Session *session_load(Engine *e, const char *path, int context, uint64_t *bytes, Err *err);

enum { PREFILL_CHUNK = 512 };

/* Appends n tokens in chunks of at most `chunk` (0: PREFILL_CHUNK).  On success the logits of the last one stand in
 * session_logits.  `all` (n, vocab) takes the logits of every token if given.  Checked before any work: ids within the
 * vocabulary, room in the context. */
bool session_extend(Session *s, const int *tokens, int n, int chunk, int32_t *all, Err *err);
/* Appends one token.  Where weights come from memory, tokens that are guessed to follow go through the same pass; those that then come
 * cost nothing.  Guesses change nothing but speed. */
bool session_append(Session *s, int token, Err *err);
/* One token for each of n different sessions of one engine; each gives what it would give alone. */
bool sessions_step(Session *const *s, const int *tokens, int n, Err *err);
/* The same with any number of tokens for each, in one pass: decode steps and chunks of prefill together. */
typedef struct {
  Session *session;
  const int *tokens; /* (n) */
  int n;
  bool logits;       /* of the last token are wanted */
  int32_t *hidden;   /* (n, dim) takes the residual behind the last layer, FRAC bits, or NULL */
} Append;
bool sessions_append(const Append *a, int n, Err *err);

/* Logits (vocab), 16 fraction bits, of the last token. */
const int32_t *session_logits(const Session *s);

bool session_sampler(Session *s, const SamplerSettings *settings, uint64_t seed, Err *err);
/* What a caller changes in the logits before the draw, behind the penalties. */
typedef struct {
  int token;
  int32_t bias; /* added, FRAC_LOGIT bits */
} LogitBias;
typedef struct {
  const LogitBias *bias; /* (biases) */
  int biases;
  const int *excluded;   /* (exclusions) tokens: few */
  int exclusions;
  const uint8_t *banned; /* (vocab) nonzero excludes a token, or NULL: many */
} SampleEdit;
/* The next token from the logits; penalties look at the last PENALTY_WINDOW tokens.  edit may be NULL.  Does not append it.
 * Sessions may be sampled by several threads at a time, each by one. */
enum { PENALTY_WINDOW = 64 };
int session_sample(Session *s, const SampleEdit *edit);

/* Tokens that the last session_sample drew from, and what chance it gave to the k-th of them (*token): derived from exact weights. */
int session_candidates(const Session *s);
double session_chance(const Session *s, int k, int *token);

/* ---- the cast's door: runs the layers over many windows with a stop before every matrix ---------------------------
 * At each stop the caller sees the quantised input of the matrices that come next (all tokens) and installs them before
 * it goes on.
 */
typedef struct {
  int layer;        /* chip's layers for the head */
  MatKind first;    /* MAT_Q (q k v), MAT_O, MAT_GATE (gate up), MAT_DOWN or MAT_HEAD */
  int tokens, cols;
  size_t stride;    /* bytes from one token's vector to the next */
  const int8_t *a;  /* (tokens, stride) */
  const int32_t *residual; /* (tokens, dim), FRAC bits */
  const Scale *scale; /* (tokens): a * M * 2^E is the input as a real number; see input_scale */
} EngineStop;
/* M * 2^E: a matrix gives y = w . (a * input_scale), whatever the scale came from. */
static inline double input_scale(Scale x) {
  double v = x.M;
  for (int e = x.E; e > 0; e--) v *= 2;
  for (int e = x.E; e < 0; e++) v /= 2;
  return v;
}

/* Runs the layers [from, to) for n tokens at the positions from 0 on: on the residual h (n, dim, FRAC bits), made from the tokens
 * where from is 0, replaced by the one behind the layers.  logits (n, vocab), wanted where not NULL: `to` is then the end. */
bool session_layers(Session *s, const int *tokens, int n, int from, int to, int32_t *h, int32_t *logits, Err *err);

/* An engine without matrices: they are installed as they are made. `shape` supplies tables, embedding and shape. */
Engine *engine_new_empty(const Chip *shape, const EngineOptions *options, Err *err);
bool engine_install(Engine *e, int layer, MatKind kind, const Matrix *m, Err *err); /* replaces; the matrix may go then */
void engine_uninstall(Engine *e, int layer, MatKind kind);
typedef struct Walk Walk;
/* tokens (windows, length) must outlive the walk.  Memory: (dim 4 + widest) bytes a token, and buffers for some windows. */
Walk *walk_new(Engine *e, const int *tokens, int windows, int length, Err *err);
void walk_free(Walk *w);
/* On to the next stop: MAT_Q, MAT_O, MAT_GATE, MAT_DOWN of every layer in turn, MAT_HEAD at the end.  What *at points to
 * stays until the next call. */
bool walk_next(Walk *w, EngineStop *at, Err *err);

/* ---- where the time of the passes goes ---- */
typedef struct {
  const char *name;
  double work, wait; /* seconds of the first thread: within the phase, and at the barrier behind it */
} PhaseTime;
enum { ENGINE_PHASES = 16 };
/* Starts counting from zero, or ends it.  Costs two readings of the clock a phase. */
void engine_profile(Engine *e, bool on);
/* Phases in the order of a pass; those that the passes left out have zeros. */
void engine_phase_times(const Engine *e, PhaseTime out[ENGINE_PHASES]);

/* ---- this machine's read bandwidth, for `bench` ---- */
double engine_read_bandwidth(Pool *pool, Err *err); /* bytes a second, all threads reading memory linearly */

#endif
