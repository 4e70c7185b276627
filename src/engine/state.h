/* engine/state (private to engine): the objects behind the public handles. */
#ifndef BURIN_ENGINE_STATE_H
#define BURIN_ENGINE_STATE_H

#include "engine/engine.h"
#include "engine/kernels.h"

/* What one thread needs for itself. */
typedef struct {
  int8_t *a;          /* one quantised vector */
  Scale x;
  uint64_t input;     /* number of the phase that it was made for */
  int32_t *vector;    /* one vector of the widest kind */
  int32_t *scores;    /* (queries of one call, attention_stride(scores_cap)) */
  int scores_cap;
  int32_t *top;       /* (query heads) */
  uint64_t *den;      /* (query heads) */
  int64_t *sums;      /* (queries of one call, 4 quads) */
  int8_t *unpacked;   /* scratch of a product */
} Worker;

typedef struct {
  Session *session;
  int token, position;
  bool logits;          /* wanted */
} Row;

/* Buffers of sessions_append.  Logits stay where the pass wrote them until another one writes: megabytes where sessions are many. */
struct Appended {
  Row *row;
  size_t rows;
  int32_t *logits, *hidden; /* (logits_cap / vocab, vocab), (rows, dim) */
  size_t logits_cap, hidden_cap;
  Session **holder;         /* (held) whose logits a row is, or NULL */
  size_t held;
};

struct Engine {
  const Chip *chip;
  const Kernels *kernels;
  Isa isa;
  Pool *pool;
  Worker *worker;                    /* (workers) */
  int workers;                       /* at least as many as threads */
  Packed (*layer)[MAT_PER_LAYER];    /* (layers) */
  Packed head;
  int widest;                        /* values of the longest vector, rounded up to whole groups */
  struct Batch *batch;               /* buffers of the forward pass, grown on demand */
  struct Appended appended;
  int32_t *guessed;                  /* (1 + GUESSES, vocab) logits of the last pass with guesses: behind its token, behind each guess */
  const Session *guesser;            /* whose they are */
  KvPool *kv;
  uint64_t phases;                   /* begun so far */
  bool profile;
  PhaseTime time[ENGINE_PHASES];
};

/* Tokens whose work is done already, should they come: engine/ahead.c. */
enum { GUESSES = 7 };
typedef struct {
  int token[GUESSES], n, taken; /* their logits: the engine's, until another session guesses */
  int pause, misses; /* tokens to wait; passes in a row of which no guess came, at most PAUSE_MOST */
  bool all_came;
} Ahead;

struct Session {
  Engine *engine;
  int context, position;
  uint8_t **page;       /* (ceil(context / KV_PAGE)) of the KV cache; those in use come first */
  int pages;            /* in use */
  int32_t *own;         /* (vocab) room for its logits */
  int32_t *logits;      /* there, or in a row of the engine's */
  bool appended;        /* by the pass that is to come */
  int *token;           /* (context) what was appended */
  Ahead ahead;
  SamplerSettings settings;
  Pcg random;
  SamplerScratch scratch;
  uint16_t *count;      /* (vocab) occurrences within the penalty window */
  int32_t *adjusted;    /* (vocab) logits after penalties and bans */
};

/* One pass over `n` rows; logits of the rows that want them go to out, one after another (vocab apart).
 * All rows of one session are consecutive and in order of position. */
bool forward(Engine *e, const Row *row, int n, int32_t *out, Err *err);
/* The same for the layers [from, to) alone: on the residual h (n, dim) where from > 0, which then holds the residual behind them
 * (h may be NULL where from is 0).  Logits only where `to` is the end. */
bool forward_layers(Engine *e, const Row *row, int n, int from, int to, int32_t *h, int32_t *out, Err *err);
void forward_free(struct Batch *b);

/* n tokens within the vocabulary and the context? */
bool session_check(const Session *s, const int *tokens, int n, Err *err);
/* Pages of its own for the n positions behind the last one.  A page that others share is copied. */
bool session_room(Session *s, int n, Err *err);
/* One head of a session's cache. */
KvCells session_cells(const Session *s, int layer, int kv_head);

#endif
