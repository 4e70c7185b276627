/* serve/stream (private to serve): a job while tokens are made for it, seen by the scheduler's thread alone. */
#ifndef BURIN_SERVE_STREAM_H
#define BURIN_SERVE_STREAM_H

#include "serve/job.h"

typedef struct {
  TokenProb prob;
  size_t end;          /* offset of its text's end in the whole reply */
} WaitingProb;

typedef struct {
  Job *job;
  Session *session;
  bool decoding;       /* the prompt is in; `next` goes in with the next step */
  int written;         /* tokens of the reply */
  bool sampled;        /* next is new: its text is not written yet */
  int next;
  TokenProb prob;      /* of next */
  int state;           /* of the matcher */
  bool constrained;    /* the matcher holds */
  const uint8_t *banned;
  bool goes_on;        /* the next token may not end the reply */
  Buf opening;         /* bytes in which the matcher's trigger is looked for */
  Detok detok;
  Buf held;            /* text that may yet become a stop string */
  size_t released;     /* bytes of the reply given out */
  size_t told;         /* of them, bytes that stand with a token in out_prob */
  WaitingProb *waiting; /* (waits) */
  size_t waits, wait_cap;
  double *sum;         /* (dim) of an embedding */
  Buf out;             /* to be given out with this step */
  TokenProb *out_prob;
  size_t out_probs, out_cap;
  Finish finish;
  Err err;
} Stream;

bool stream_open(Stream *s, Job *j, const ServeChip *c, Err *err);
/* Frees all but the session, which the caller takes or frees. */
void stream_close(Stream *s);
/* Masks of what the next token may be. */
void stream_prepare(Stream *s);
/* Draws the next token from the session's logits.  ends[n]: all tokens that end a reply.  Streams may do so in parallel. */
void stream_sample(Stream *s, int vocab, const int *ends, int n);
/* Turns the drawn token into text, and finds out whether the reply ends. */
void stream_write(Stream *s, const ServeChip *c);
/* The hidden states of n tokens, added to the embedding's sum. */
void stream_hidden(Stream *s, const int32_t *hidden, int n, int dim);

#endif
