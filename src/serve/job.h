/* serve/job (private to serve): one reply that the scheduler makes, and the scheduler.
 *
 * A job is filled by the HTTP thread, given away by scheduler_add, and belongs to the scheduler until it is `done`.  What it
 * has made so far is taken by job_take; nothing else of it may be touched meanwhile but `cancelled`.
 */
#ifndef BURIN_SERVE_JOB_H
#define BURIN_SERVE_JOB_H

#include "serve/grammar.h"
#include "serve/serve.h"

#include <stdatomic.h>

enum { MOST_STOPS = 16, MOST_LOGPROBS = 20 };

typedef enum { FINISH_NONE, FINISH_STOP, FINISH_STOP_STRING, FINISH_LENGTH, FINISH_CANCELLED, FINISH_ERROR } Finish;

/* A token as it was written; where logprobs are asked for, with natural logarithms of probabilities before temperature and penalties,
 * or of the chances of the draw. */
typedef struct {
  int token;
  size_t bytes;            /* of the text that it is given out with; 0 where the text comes with a later one */
  float logprob;
  int tops;
  struct {
    int token;
    float logprob;
  } top[MOST_LOGPROBS];
} TokenProb;

typedef struct {
  double queued, began, first, ended; /* now_seconds; 0: not yet */
  int prompt, cached, written;        /* tokens: of the prompt, of them found in the cache, made */
  int slot;                           /* of the chip's, from began on */
} JobCounts;

/* Texts and embeddings take part in the passes.  The others keep what a slot's last reply left behind in a file, bring it back, or
 * forget it; they wait for the slot, and no pass runs meanwhile. */
typedef enum { JOB_TEXT, JOB_EMBED, JOB_SAVE, JOB_RESTORE, JOB_ERASE } JobKind;

typedef struct Job Job;
struct Job {
  /* ---- the request ---- */
  JobKind kind;
  int chip;                /* which of the server's */
  int slot;                /* of the chip's that it wants; -1: any */
  char *path;              /* JOB_SAVE, JOB_RESTORE: the file; owned */
  uint64_t client;         /* who asks: turns are taken between them */
  Tokens prompt;
  int most, least;         /* tokens to write; end tokens are excluded before `least` */
  bool ignore_end;
  SamplerSettings settings;
  uint64_t seed;
  LogitBias *bias;
  int biases;
  char *stop[MOST_STOPS];
  int stops;
  int logprobs;            /* -1: none, else so many alternatives */
  bool chances;            /* they are those of the draw */
  bool ids;                /* tokens are told, with or without probabilities */
  Matcher *matcher;        /* what the text must be; NULL: anything */
  const char *trigger;     /* the matcher holds from these bytes on; NULL: from the start */
  bool trigger_anywhere;   /* not at the start of the reply only */
  atomic_bool cancelled;
  void *owner;             /* of the HTTP side */
  int index;               /* among the owner's */
  /* ---- made so far; under the scheduler's lock ---- */
  Buf text;
  TokenProb *prob;
  size_t probs;
  float *vector;           /* (dim) of an embedding: the mean direction of the hidden states */
  int slot_tokens;         /* saved, restored or erased */
  uint64_t file_bytes;     /* of the file */
  JobCounts counts;
  Finish finish;
  int stopped_by;          /* FINISH_STOP_STRING: which */
  Err err;
  bool ready, done;
  Job *next_ready, *next;  /* lists */
};

/* What job_take hands over; the caller frees the text and the list. */
typedef struct {
  Buf text;
  TokenProb *prob;
  size_t probs;
  JobCounts counts;
  Finish finish;           /* FINISH_NONE: more follows */
} Made;

Job *job_new(Err *err);
void job_free(Job *j);

typedef struct Scheduler Scheduler;

/* wake(arg): called by the scheduler's thread when jobs have something to take; urgent: one has ended or begun. */
Scheduler *scheduler_new(const ServeChip *chip, int chips, int slots, int queue, void (*wake)(void *arg, bool urgent), void *arg,
                         Err *err);
void scheduler_free(Scheduler *s); /* cancels what is there and waits for the thread */
/* False where the queue is full; the job stays the caller's then. */
bool scheduler_add(Scheduler *s, Job *const *jobs, int n);
/* The next job with something to take, which is taken; NULL where there is none. */
Job *scheduler_next(Scheduler *s, Made *out);

/* Figures for /metrics and /health; counters since the start. */
typedef struct {
  int queued, running, cached_sessions;
  uint64_t requests, cancelled, failed, prompt_tokens, cached_tokens, written_tokens, steps, step_rows;
  double prefill_seconds, decode_seconds, busy_seconds;
} SchedulerCounts;
SchedulerCounts scheduler_counts(Scheduler *s);

/* One place of a chip for a reply. */
typedef struct {
  bool taken;
  JobCounts counts;        /* of the reply */
  int most;                /* tokens that it may write */
} SlotState;
/* Slot `slot` (below the scheduler's) of a chip.  A reply keeps its slot while it is written. */
SlotState scheduler_slot(Scheduler *s, int chip, int slot);

#endif
