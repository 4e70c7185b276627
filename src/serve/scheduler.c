/* serve/scheduler: which tokens of which replies go through the engine next.
 *
 * One thread calls all engines.  A step of a chip is one pass: the next token of every reply that is being written and a chunk
 * of prompts that wait, as long as the pass then takes about twice the time it took without: no stream stalls longer.  Sessions
 * that have ended are kept, and requests that begin like them, or like one that runs, share their KV pages.
 */
#include "serve/stream.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CACHED_MOST = 64, WORTH_SHARING = 16, CHUNK_LEAST = 16, CHUNK_FIRST = 32 };
static const double CACHE_BYTES = 512 << 20; /* of KV cache in sessions that have ended */

typedef struct {
  Session *session;
  uint64_t used;
} Cached;

typedef struct {
  const ServeChip *chip;
  Stream **stream;          /* (slots), in order of arrival */
  int streams;
  Cached cached[CACHED_MOST]; /* (cached_n) */
  int cached_n;
  Tokens *held;             /* (slots) what the session of a slot's last reply held */
  size_t cached_tokens, cached_limit;
  uint64_t clock;
  int *end, ends;           /* [ends] tokens that end a reply */
  Append *append;           /* (slots) */
  int32_t *hidden;          /* (PREFILL_CHUNK, dim) of an embedding's chunk */
  double decode_step, prefill_token; /* seconds, running means; 0: not known */
} Lane;

struct Scheduler {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t work;
  bool started, stop;
  Lane *lane;               /* (lanes), one a chip */
  int lanes, slots, queue_limit;
  Job **slot;               /* (lanes, slots) which job has it; NULL: none */
  Job *queue, **queue_end;
  Job *ready, **ready_end;
  void (*wake)(void *arg, bool urgent);
  void *arg;
  bool urgent, any_ready;   /* of this step */
  SchedulerCounts counts;
};

Job *job_new(Err *err) {
  Job *j = mem_alloc(1, sizeof *j, err);
  if (j) j->logprobs = j->slot = -1;
  return j;
}

void job_free(Job *j) {
  if (!j) return;
  tokens_free(&j->prompt);
  for (int i = 0; i < j->stops; i++) mem_free(j->stop[i]);
  mem_free(j->bias);
  buf_free(&j->text);
  mem_free(j->prob);
  mem_free(j->vector);
  mem_free(j->path);
  mem_free(j);
}

/* ---- what is handed to the HTTP side ---- */

static void make_ready(Scheduler *s, Job *j, bool urgent) {
  s->any_ready = true;
  s->urgent |= urgent;
  if (j->ready) return;
  j->ready = true;
  j->next_ready = NULL;
  *s->ready_end = j;
  s->ready_end = &j->next_ready;
}

static void finish_job(Scheduler *s, Job *j, Finish finish) {
  j->finish = finish;
  j->done = true;
  j->counts.ended = now_seconds();
  s->counts.cancelled += finish == FINISH_CANCELLED;
  s->counts.failed += finish == FINISH_ERROR;
  make_ready(s, j, true);
}

Job *scheduler_next(Scheduler *s, Made *out) {
  pthread_mutex_lock(&s->lock);
  Job *j = s->ready;
  if (j) {
    s->ready = j->next_ready;
    if (!s->ready) s->ready_end = &s->ready;
    j->ready = false;
    *out = (Made){j->text, j->prob, j->probs, j->counts, j->done ? j->finish : FINISH_NONE};
    j->text = (Buf){0};
    j->prob = NULL;
    j->probs = 0;
  }
  pthread_mutex_unlock(&s->lock);
  return j;
}

bool scheduler_add(Scheduler *s, Job *const *jobs, int n) {
  pthread_mutex_lock(&s->lock);
  bool room = s->counts.queued + n <= s->queue_limit && !s->stop;
  double now = now_seconds();
  for (int i = 0; room && i < n; i++) {
    jobs[i]->counts.queued = now;
    jobs[i]->counts.prompt = (int)jobs[i]->prompt.n;
    jobs[i]->next = NULL;
    *s->queue_end = jobs[i];
    s->queue_end = &jobs[i]->next;
    s->counts.queued++;
    s->counts.requests++;
  }
  pthread_cond_signal(&s->work);
  pthread_mutex_unlock(&s->lock);
  return room;
}

SchedulerCounts scheduler_counts(Scheduler *s) {
  pthread_mutex_lock(&s->lock);
  SchedulerCounts c = s->counts;
  pthread_mutex_unlock(&s->lock);
  return c;
}

/* Under the lock. */
static bool slot_is_free(const Scheduler *s, int lane, int slot) { return !s->slot[lane * s->slots + slot]; }

/* The slot that a job asks for, which is free, or the first that is.  Under the lock. */
static void take_slot(Scheduler *s, int lane, Job *j) {
  int slot = j->slot < 0 ? 0 : j->slot;
  while (!slot_is_free(s, lane, slot)) slot++;
  s->slot[lane * s->slots + slot] = j;
  j->counts.slot = slot;
}

static void leave_slot(Scheduler *s, const Job *j) { s->slot[j->chip * s->slots + j->counts.slot] = NULL; }

SlotState scheduler_slot(Scheduler *s, int chip, int slot) {
  SlotState state = {0};
  pthread_mutex_lock(&s->lock);
  const Job *j = s->slot[chip * s->slots + slot];
  if (j) state = (SlotState){true, j->counts, j->most};
  pthread_mutex_unlock(&s->lock);
  return state;
}

/* ---- sessions that are kept ---- */

/* Tokens of a prompt or a session, which owns them. */
typedef struct {
  const int *id;
  size_t n;
} Timeline;
static Timeline of_tokens(const Tokens *t) { return (Timeline){t->id, t->n}; }
/* NULL: of a stream that has none yet. */
static Timeline of_session(const Session *s) { return s ? (Timeline){session_tokens(s), (size_t)session_position(s)} : (Timeline){0}; }

static size_t common(Timeline a, Timeline b) {
  size_t n = a.n < b.n ? a.n : b.n, i = 0;
  while (i < n && a.id[i] == b.id[i]) i++;
  return i;
}

static void drop_cached(Lane *l, int i) {
  l->cached_tokens -= (size_t)session_position(l->cached[i].session);
  session_free(l->cached[i].session);
  l->cached[i] = l->cached[--l->cached_n];
}

static void drop_oldest(Lane *l) {
  int oldest = 0;
  for (int i = 1; i < l->cached_n; i++)
    if (l->cached[i].used < l->cached[oldest].used) oldest = i;
  drop_cached(l, oldest);
}

static void keep_session(Lane *l, Session *session) {
  Timeline held = of_session(session);
  bool covered = held.n < WORTH_SHARING || held.n > l->cached_limit;
  for (int i = l->cached_n - 1; i >= 0 && !covered; i--) {
    Timeline other = of_session(l->cached[i].session);
    size_t same = common(held, other);
    if (same == held.n) covered = true;                /* another one begins with all of it */
    else if (same == other.n) drop_cached(l, i);       /* it begins with all of another one */
  }
  if (covered) {
    session_free(session);
    return;
  }
  while (l->cached_n == CACHED_MOST || l->cached_tokens + held.n > l->cached_limit) drop_oldest(l);
  l->cached[l->cached_n++] = (Cached){session, ++l->clock};
  l->cached_tokens += held.n;
}

/* The kept session that begins most like `t`, *same tokens of it; NULL: none. */
static Cached *best_cached(Lane *l, Timeline t, size_t *same) {
  Cached *best = NULL;
  *same = 0;
  for (int i = 0; i < l->cached_n; i++) {
    size_t n = common(t, of_session(l->cached[i].session));
    if (n > *same) *same = n, best = &l->cached[i];
  }
  return best;
}

/* The session that begins most like a prompt; *wait: one that is being filled will soon begin still more like it. */
static Session *best_start(Lane *l, const Tokens *prompt, size_t *same, bool *wait) {
  Timeline wanted = of_tokens(prompt);
  Cached *hit = best_cached(l, wanted, same);
  Session *best = hit ? hit->session : NULL;
  size_t soon = 0;
  for (int i = 0; i < l->streams; i++) {
    Stream *x = l->stream[i];
    size_t n = common(wanted, of_session(x->session)), later = x->decoding || x->job->kind == JOB_EMBED ? 0 : common(wanted, of_tokens(&x->job->prompt));
    if (n > *same) *same = n, best = x->session, hit = NULL;
    if (later > soon) soon = later;
  }
  if (*same >= prompt->n) *same = prompt->n - 1; /* the last token gives the logits */
  *wait = soon >= *same + WORTH_SHARING;
  if (hit && !*wait) hit->used = ++l->clock;
  return *same >= WORTH_SHARING ? best : NULL;
}

/* ---- what slots hold, in files ---- */

/* The slot holds what the session does; nothing where memory lacks. */
static bool note_held(Lane *l, int slot, const Session *session, Err *err) {
  Tokens *held = &l->held[slot];
  Timeline t = of_session(session);
  held->n = 0;
  for (size_t i = 0; i < t.n; i++)
    if (!tokens_put(held, t.id[i], err)) {
      held->n = 0;
      return false;
    }
  return true;
}

static bool save_slot(Lane *l, Job *j, Err *err) {
  size_t n;
  Cached *kept = best_cached(l, of_tokens(&l->held[j->slot]), &n);
  if (!kept || n < l->held[j->slot].n) return err_set(err, "the slot holds nothing: expected one whose reply has ended, of %d tokens or more, and is still kept", WORTH_SHARING);
  Session *part = session_fork(kept->session, (int)n, err);
  bool ok = part && session_save(part, j->path, &j->file_bytes, err);
  session_free(part);
  j->slot_tokens = (int)n;
  return ok;
}

static bool restore_slot(Lane *l, Job *j, Err *err) {
  Session *session = session_load(l->chip->engine, j->path, 0, &j->file_bytes, err);
  if (!session) return false;
  j->slot_tokens = session_position(session);
  bool ok = note_held(l, j->slot, session, err);
  keep_session(l, session);
  return ok;
}

/* A session that goes on with another slot's words stays. */
static bool erase_slot(Lane *l, Job *j) {
  Tokens *held = &l->held[j->slot];
  size_t n;
  Cached *kept = best_cached(l, of_tokens(held), &n);
  if (kept && n == held->n && n == (size_t)session_position(kept->session)) drop_cached(l, (int)(kept - l->cached));
  j->slot_tokens = (int)held->n;
  held->n = 0;
  return true;
}

static void run_slot_job(Scheduler *s, Lane *l, Job *j) {
  Err err = {0};
  bool ok = j->kind == JOB_SAVE ? save_slot(l, j, &err) : j->kind == JOB_RESTORE ? restore_slot(l, j, &err) : erase_slot(l, j);
  pthread_mutex_lock(&s->lock);
  j->err = err;
  finish_job(s, j, ok ? FINISH_STOP : FINISH_ERROR);
  pthread_mutex_unlock(&s->lock);
}

/* ---- from the queue to a slot ---- */

static int running_of(const Lane *l, uint64_t client) {
  int n = 0;
  for (int i = 0; i < l->streams; i++) n += l->stream[i]->job->client == client;
  return n;
}

/* Takes the job whose turn it is: of the client that has the fewest running, the one that came first.  Cancelled ones go. */
static Job *take_job(Scheduler *s, int lane) {
  Lane *l = &s->lane[lane];
  Job **best = NULL;
  int fewest = INT32_MAX;
  for (Job **p = &s->queue; *p;) {
    Job *j = *p;
    bool wait = false;
    size_t same;
    if (atomic_load(&j->cancelled)) {
      *p = j->next;
      if (!*p) s->queue_end = p;
      s->counts.queued--;
      finish_job(s, j, FINISH_CANCELLED);
      continue;
    }
    bool fits = j->chip == lane && (j->slot < 0 ? l->streams < s->slots : slot_is_free(s, lane, j->slot));
    if (fits && j->kind == JOB_TEXT) best_start(l, &j->prompt, &same, &wait);
    int running = fits && !wait ? running_of(l, j->client) : INT32_MAX;
    if (running < fewest) fewest = running, best = p;
    p = &j->next;
  }
  if (!best) return NULL;
  Job *j = *best;
  *best = j->next;
  if (!*best) s->queue_end = best;
  s->counts.queued--;
  return j;
}

static bool open_session(Lane *l, Stream *x, Err *err) {
  const Job *j = x->job;
  size_t same = 0;
  bool wait;
  Session *from = j->kind == JOB_EMBED ? NULL : best_start(l, &j->prompt, &same, &wait);
  x->session = from ? session_fork(from, (int)same, err) : session_new(l->chip->engine, 0, err);
  return x->session != NULL;
}

/* The stream goes; its job is handed back, and its session is kept where it may serve others. */
static void close_stream(Scheduler *s, Lane *l, Stream *x, Finish finish) {
  for (int i = 0; i < l->streams; i++)
    if (l->stream[i] == x) {
      memmove(l->stream + i, l->stream + i + 1, (size_t)(l->streams - i - 1) * sizeof *l->stream);
      l->streams--;
      break;
    }
  if (x->session && x->job->kind != JOB_EMBED && finish != FINISH_ERROR) {
    Err none = {0}; /* it costs the slot its memory, not the reply */
    note_held(l, x->job->counts.slot, x->session, &none);
    keep_session(l, x->session);
  } else {
    session_free(x->session);
  }
  pthread_mutex_lock(&s->lock);
  x->job->err = x->err;
  s->counts.running--;
  leave_slot(s, x->job);
  finish_job(s, x->job, finish);
  pthread_mutex_unlock(&s->lock);
  stream_close(x);
  mem_free(x);
}

static void admit(Scheduler *s, int lane) {
  Lane *l = &s->lane[lane];
  for (;;) {
    pthread_mutex_lock(&s->lock);
    Job *j = s->queue ? take_job(s, lane) : NULL;
    bool stream = j && (j->kind == JOB_TEXT || j->kind == JOB_EMBED);
    if (j) j->counts.began = now_seconds();
    if (stream) {
      s->counts.running++;
      take_slot(s, lane, j);
    }
    pthread_mutex_unlock(&s->lock);
    if (!j) return;
    if (!stream) {
      run_slot_job(s, l, j);
      continue;
    }
    Err err = {0};
    Stream *x = mem_alloc(1, sizeof *x, &err);
    if (!x) {
      pthread_mutex_lock(&s->lock);
      j->err = err;
      s->counts.running--;
      leave_slot(s, j);
      finish_job(s, j, FINISH_ERROR);
      pthread_mutex_unlock(&s->lock);
      continue;
    }
    x->job = j;
    l->stream[l->streams++] = x;
    if (!open_session(l, x, &err) || !stream_open(x, j, l->chip, &err)) {
      x->err = err;
      close_stream(s, l, x, FINISH_ERROR);
      continue;
    }
    pthread_mutex_lock(&s->lock);
    j->counts.cached = session_position(x->session);
    s->counts.prompt_tokens += j->prompt.n;
    s->counts.cached_tokens += (uint64_t)j->counts.cached;
    pthread_mutex_unlock(&s->lock);
  }
}

/* ---- a step ---- */

static int chunk_budget(const Lane *l, int decoding) {
  if (!decoding) return PREFILL_CHUNK;
  if (l->prefill_token <= 0 || l->decode_step <= 0) return CHUNK_FIRST;
  double n = l->decode_step / l->prefill_token;
  return n < CHUNK_LEAST ? CHUNK_LEAST : n > PREFILL_CHUNK ? PREFILL_CHUNK : (int)n;
}

/* Fills l->append; *chunk: tokens of prompts among them. */
static int plan_step(Lane *l, int *chunk) {
  int n = 0, decoding = 0;
  for (int i = 0; i < l->streams; i++) {
    Stream *x = l->stream[i];
    if (!x->decoding) continue;
    l->append[n++] = (Append){x->session, &x->next, 1, true, NULL};
    decoding++;
  }
  int budget = chunk_budget(l, decoding);
  *chunk = 0;
  bool embeds = false;
  for (int i = 0; i < l->streams && budget > 0; i++) {
    Stream *x = l->stream[i];
    if (x->decoding || (x->job->kind == JOB_EMBED && embeds)) continue;
    int in = session_position(x->session), left = (int)x->job->prompt.n - in, k = left < budget ? left : budget;
    bool last = k == left;
    embeds |= x->job->kind == JOB_EMBED;
    l->append[n++] = (Append){x->session, x->job->prompt.id + in, k, last && x->job->kind != JOB_EMBED, x->job->kind == JOB_EMBED ? l->hidden : NULL};
    budget -= k;
    *chunk += k;
  }
  return n;
}

static void note_time(Lane *l, int decoding, int chunk, double seconds) {
  double *mean = chunk ? &l->prefill_token : &l->decode_step, now = seconds;
  if (chunk) now = (seconds - (decoding ? l->decode_step : 0)) / chunk;
  if (now <= 0) return;
  *mean = *mean > 0 ? *mean + (now - *mean) / 8 : now;
}

static Stream *stream_of(const Lane *l, const Session *session) {
  for (int i = 0; i < l->streams; i++)
    if (l->stream[i]->session == session) return l->stream[i];
  return NULL;
}

/* After the pass: sessions hold more; those that have new logits are to be sampled. */
static void note_appended(Lane *l, int n) {
  for (int i = 0; i < n; i++) {
    const Append *a = &l->append[i];
    Stream *x = stream_of(l, a->session);
    if (a->hidden) stream_hidden(x, a->hidden, a->n, l->chip->chip->shape.dim);
    if (x->job->kind == JOB_EMBED && (size_t)session_position(x->session) == x->job->prompt.n) x->finish = FINISH_STOP;
    if (x->err.set) x->finish = FINISH_ERROR;
    if (a->logits) x->decoding = true;
    x->sampled = false;
    if (a->logits && !x->finish) stream_prepare(x);
  }
}

static void sample_some(void *arg, int piece, int pieces) {
  const Lane *l = arg;
  for (int i = piece; i < l->streams; i += pieces)
    if (l->stream[i]->decoding && !l->stream[i]->finish) stream_sample(l->stream[i], l->chip->chip->shape.vocab, l->end, l->ends);
}

static void sample(Lane *l) {
  if (l->streams > 1) pool_run(engine_pool(l->chip->engine), sample_some, l);
  else sample_some(l, 0, 1);
  for (int i = 0; i < l->streams; i++)
    if (l->stream[i]->sampled) stream_write(l->stream[i], l->chip);
}

static bool job_vector(Stream *x, int dim) {
  double square = 0;
  x->job->vector = mem_alloc((size_t)dim, sizeof(float), &x->err);
  if (!x->job->vector) return false;
  for (int k = 0; k < dim; k++) square += x->sum[k] * x->sum[k];
  for (int k = 0; k < dim; k++) x->job->vector[k] = (float)(square > 0 ? x->sum[k] / sqrt(square) : 0);
  return true;
}

/* What the step has made goes to the jobs. */
static void publish(Scheduler *s, Lane *l) {
  pthread_mutex_lock(&s->lock);
  double now = now_seconds();
  for (int i = 0; i < l->streams; i++) {
    Stream *x = l->stream[i];
    Job *j = x->job;
    j->counts.written = x->written;
    if (!x->out.n && !x->out_probs) continue;
    bool first = j->counts.first == 0;
    if (first) j->counts.first = now;
    if (!buf_put(&j->text, x->out.s, x->out.n, &x->err)) x->finish = FINISH_ERROR;
    if (x->out_probs) {
      size_t n = j->probs + x->out_probs;
      TokenProb *p = mem_grow(j->prob, j->probs * sizeof *p, n * sizeof *p, &x->err);
      if (p) {
        memcpy(p + j->probs, x->out_prob, x->out_probs * sizeof *p);
        j->prob = p;
        j->probs = n;
      } else {
        x->finish = FINISH_ERROR;
      }
    }
    x->out.n = 0;
    x->out_probs = 0;
    make_ready(s, j, first);
  }
  pthread_mutex_unlock(&s->lock);
  for (int i = l->streams - 1; i >= 0; i--) {
    Stream *x = l->stream[i];
    if (!x->finish) continue;
    if (x->job->kind == JOB_EMBED && x->finish == FINISH_STOP && !job_vector(x, l->chip->chip->shape.dim)) x->finish = FINISH_ERROR;
    close_stream(s, l, x, x->finish);
  }
}

static void cancel_streams(Scheduler *s, Lane *l) {
  for (int i = l->streams - 1; i >= 0; i--)
    if (atomic_load(&l->stream[i]->job->cancelled)) close_stream(s, l, l->stream[i], FINISH_CANCELLED);
}

/* False where the chip has nothing to do. */
static bool step(Scheduler *s, int lane) {
  Lane *l = &s->lane[lane];
  Err err = {0};
  int chunk;
  cancel_streams(s, l);
  admit(s, lane);
  if (l->streams == 0) return false;
  double start = now_seconds();
  int n = plan_step(l, &chunk), rows = 0;
  for (int i = 0; i < n; i++) rows += l->append[i].n;
  bool alone = n == 1 && chunk == 0; /* has room for guesses */
  bool ok = alone ? session_append(l->append[0].session, *l->append[0].tokens, &err) : sessions_append(l->append, n, &err);
  double seconds = now_seconds() - start;
  if (ok) {
    note_time(l, rows - chunk, chunk, seconds);
    note_appended(l, n);
    sample(l);
  }
  for (int i = 0; !ok && i < n; i++) { /* out of memory: sessions that hold pages for nothing go first */
    Stream *x = stream_of(l, l->append[i].session);
    x->finish = FINISH_ERROR;
    x->err = err;
  }
  while (!ok && l->cached_n) drop_cached(l, 0);
  for (int i = 0; i < l->streams; i++)
    if (l->stream[i]->job->matcher) matcher_trim(l->stream[i]->job->matcher);
  pthread_mutex_lock(&s->lock);
  s->counts.steps++;
  s->counts.step_rows += (uint64_t)rows;
  s->counts.written_tokens += (uint64_t)(rows - chunk);
  *(chunk ? &s->counts.prefill_seconds : &s->counts.decode_seconds) += seconds;
  s->counts.busy_seconds += now_seconds() - start;
  s->counts.cached_sessions = l->cached_n;
  pthread_mutex_unlock(&s->lock);
  publish(s, l);
  return true;
}

static void *loop(void *arg) {
  Scheduler *s = arg;
  for (;;) {
    bool busy = false;
    s->any_ready = s->urgent = false;
    for (int i = 0; i < s->lanes; i++) busy |= step(s, i);
    if (s->any_ready) s->wake(s->arg, s->urgent);
    if (busy) continue;
    pthread_mutex_lock(&s->lock);
    while (!s->queue && !s->stop) pthread_cond_wait(&s->work, &s->lock);
    bool end = s->stop && !s->queue;
    pthread_mutex_unlock(&s->lock);
    if (end) return NULL;
  }
}

/* ---- life ---- */

static bool open_lane(Lane *l, const ServeChip *c, int slots, Err *err) {
  const ChipShape *shape = &c->chip->shape;
  double token_bytes = (double)shape->layers * shape->kv_heads * (2.0 * shape->head_dim + 4);
  l->chip = c;
  l->cached_limit = (size_t)(CACHE_BYTES / token_bytes);
  l->stream = mem_alloc((size_t)slots, sizeof(Stream *), err);
  l->append = mem_alloc((size_t)slots, sizeof *l->append, err);
  l->held = mem_alloc((size_t)slots, sizeof *l->held, err);
  l->end = mem_alloc((size_t)shape->vocab, sizeof *l->end, err);
  l->hidden = mem_alloc(PREFILL_CHUNK * (size_t)shape->dim, sizeof *l->hidden, err);
  for (int i = 0; l->end && i < shape->vocab; i++)
    if (tokenizer_stops(c->tokenizer, i)) l->end[l->ends++] = i;
  return l->stream && l->append && l->held && l->end && l->hidden;
}

Scheduler *scheduler_new(const ServeChip *chip, int chips, int slots, int queue, void (*wake)(void *arg, bool urgent), void *arg,
                         Err *err) {
  Scheduler *s = mem_alloc(1, sizeof *s, err);
  if (!s) return NULL;
  *s = (Scheduler){.lanes = chips, .slots = slots, .queue_limit = queue, .wake = wake, .arg = arg};
  s->queue_end = &s->queue;
  s->ready_end = &s->ready;
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->work, NULL);
  s->slot = mem_alloc((size_t)chips * (size_t)slots, sizeof(Job *), err);
  bool ok = s->slot && (s->lane = mem_alloc((size_t)chips, sizeof *s->lane, err)) != NULL;
  for (int i = 0; ok && i < chips; i++) ok = open_lane(&s->lane[i], &chip[i], slots, err);
  if (ok && !(s->started = pthread_create(&s->thread, NULL, loop, s) == 0)) ok = err_set(err, "cannot start a thread");
  if (ok) return s;
  scheduler_free(s);
  return NULL;
}

void scheduler_free(Scheduler *s) {
  if (!s) return;
  if (s->started) {
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
  }
  for (int i = 0; s->lane && i < s->lanes; i++) {
    Lane *l = &s->lane[i];
    while (l->cached_n) drop_cached(l, 0);
    for (int k = 0; l->held && k < s->slots; k++) tokens_free(&l->held[k]);
    void *all[] = {l->stream, l->append, l->held, l->end, l->hidden};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) mem_free(all[k]);
  }
  mem_free(s->lane);
  mem_free(s->slot);
  pthread_mutex_destroy(&s->lock);
  pthread_cond_destroy(&s->work);
  mem_free(s);
}
