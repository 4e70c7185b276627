/* serve/stream: from logits to text: masks, probabilities, stop strings, ends. */
#include "serve/stream.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool stream_open(Stream *s, Job *j, const ServeChip *c, Err *err) {
  s->job = j;
  s->constrained = j->matcher && !j->trigger;
  s->state = MATCHER_START;
  if (j->kind == JOB_EMBED) return (s->sum = mem_alloc((size_t)c->chip->shape.dim, sizeof *s->sum, err)) != NULL;
  return session_sampler(s->session, &j->settings, j->seed, err);
}

void stream_close(Stream *s) {
  buf_free(&s->opening);
  buf_free(&s->held);
  buf_free(&s->out);
  mem_free(s->waiting);
  mem_free(s->out_prob);
  mem_free(s->sum);
}

static void stream_fail(Stream *s, const Err *err) {
  s->finish = FINISH_ERROR;
  if (!s->err.set) s->err = *err;
}

void stream_prepare(Stream *s) {
  Err err = {0};
  int fit;
  s->banned = NULL;
  if (s->constrained) {
    s->banned = matcher_banned(s->job->matcher, s->state, &fit, &err);
    if (s->banned && fit == 0) err_set(&err, "no token of this model's vocabulary continues what the request asks for");
    if (err.set) stream_fail(s, &err);
  }
  s->goes_on = !s->constrained && (s->job->ignore_end || s->written < s->job->least);
}

/* ---- probabilities ---- */

static float logprob_of(int32_t z, int32_t top, double log_sum) { return (float)((double)((int64_t)z - top) / (1 << FRAC_LOGIT) - log_sum); }

static void probabilities(Stream *s, int vocab) {
  const int32_t *z = session_logits(s->session);
  TokenProb *p = &s->prob;
  int32_t top = z[0];
  double sum = 0;
  for (int i = 1; i < vocab; i++)
    if (z[i] > top) top = z[i];
  for (int i = 0; i < vocab; i++) sum += exp((double)((int64_t)z[i] - top) / (1 << FRAC_LOGIT));
  double log_sum = log(sum);
  int want = s->job->logprobs < vocab ? s->job->logprobs : vocab, best[MOST_LOGPROBS];
  p->tops = 0;
  for (int i = 0; i < vocab && want; i++) {
    if (p->tops == want && z[i] <= z[best[want - 1]]) continue;
    int k = p->tops < want ? p->tops++ : want - 1;
    for (; k > 0 && z[best[k - 1]] < z[i]; k--) best[k] = best[k - 1];
    best[k] = i;
  }
  for (int k = 0; k < p->tops; k++) {
    p->top[k].token = best[k];
    p->top[k].logprob = logprob_of(z[best[k]], top, log_sum);
  }
  p->token = s->next;
  p->logprob = logprob_of(z[s->next], top, log_sum);
}

/* Tokens in the order of their chances in the draw, then the likeliest of those that it could not draw. */
static void chances(Stream *s, int vocab) {
  probabilities(s, vocab);
  TokenProb *p = &s->prob, before = *p;
  double chance[MOST_LOGPROBS] = {0};
  int n = 0;
  for (int i = 0; i < session_candidates(s->session); i++) {
    int token, k;
    double c = session_chance(s->session, i, &token);
    if (token == s->next) p->logprob = (float)log(c);
    if (c <= 0 || before.tops == 0 || (n == before.tops && c <= chance[n - 1])) continue;
    for (k = n < before.tops ? n++ : n - 1; k > 0 && chance[k - 1] < c; k--) p->top[k] = p->top[k - 1], chance[k] = chance[k - 1];
    p->top[k].token = token;
    chance[k] = c;
  }
  for (int i = 0; i < n; i++) p->top[i].logprob = (float)log(chance[i]);
  for (int i = 0, drawn = n; i < before.tops && n < before.tops; i++) {
    int k = 0;
    while (k < drawn && p->top[k].token != before.top[i].token) k++;
    if (k < drawn) continue;
    p->top[n].token = before.top[i].token;
    p->top[n++].logprob = -INFINITY;
  }
}

void stream_sample(Stream *s, int vocab, const int *ends, int n) {
  SampleEdit edit = {s->job->bias, s->job->biases, ends, s->goes_on ? n : 0, s->banned};
  s->next = session_sample(s->session, &edit);
  s->sampled = true;
  if (s->job->logprobs >= 0) (s->job->chances ? chances : probabilities)(s, vocab);
  else s->prob.token = s->next;
}

/* ---- text ---- */

static bool put_prob(TokenProb **list, size_t *n, size_t *cap, const TokenProb *p, Err *err) {
  if (*n == *cap) {
    size_t more = *cap ? 2 * *cap : 16;
    TokenProb *q = mem_grow(*list, *n * sizeof *q, more * sizeof *q, err);
    if (!q) return false;
    *list = q;
    *cap = more;
  }
  (*list)[(*n)++] = *p;
  return true;
}

static bool wait_prob(Stream *s, Err *err) {
  if (s->waits == s->wait_cap) {
    size_t more = s->wait_cap ? 2 * s->wait_cap : 16;
    WaitingProb *q = mem_grow(s->waiting, s->waits * sizeof *q, more * sizeof *q, err);
    if (!q) return false;
    s->waiting = q;
    s->wait_cap = more;
  }
  s->waiting[s->waits++] = (WaitingProb){s->prob, s->released + s->held.n};
  return true;
}

/* Gives out the first n held bytes, and the probabilities of tokens that lie in what is given out; of all where `all`. */
static bool release(Stream *s, size_t n, bool all, Err *err) {
  if (n) {
    if (!buf_put(&s->out, s->held.s, n, err)) return false;
    memmove(s->held.s, s->held.s + n, s->held.n - n);
    s->held.n -= n;
    s->released += n;
  }
  size_t k = 0;
  for (; k < s->waits && (all || s->waiting[k].end <= s->released); k++) {
    size_t end = s->waiting[k].end < s->released ? s->waiting[k].end : s->released;
    s->waiting[k].prob.bytes = end - s->told;
    s->told = end;
    if (!put_prob(&s->out_prob, &s->out_probs, &s->out_cap, &s->waiting[k].prob, err)) return false;
  }
  s->told = s->released; /* what went out ahead of its token stands with none */
  if (k) memmove(s->waiting, s->waiting + k, (s->waits - k) * sizeof *s->waiting);
  s->waits -= k;
  return true;
}

/* Where the first stop string begins in the held text (*found, and which), else where text begins that may become one. */
static size_t stop_in(const Stream *s, bool *found, int *which) {
  size_t first = s->held.n;
  *found = false;
  for (int k = 0; k < s->job->stops; k++) {
    const char *stop = s->job->stop[k];
    size_t n = strlen(stop);
    for (size_t i = 0; i < first || (!*found && i < s->held.n); i++) {
      size_t left = s->held.n - i;
      if (memcmp(s->held.s + i, stop, left < n ? left : n) != 0) continue;
      if (left >= n) {
        *found = true;
        *which = k;
        first = i;
        break;
      }
      if (!*found && i < first) first = i;
    }
  }
  return first;
}

/* Bytes of the new token through the matcher, or through the search for what sets it to work. */
static bool match(Stream *s, const Tokenizer *t, Err *err) {
  Job *j = s->job;
  Buf bytes = {0};
  if (!j->matcher) return true;
  bool ok = tokenizer_bytes(t, s->next, false, s->constrained ? &bytes : &s->opening, err);
  if (ok && s->constrained) {
    s->state = matcher_feed(j->matcher, s->state, bytes.s, bytes.n, err);
    if (s->state == MATCHER_DEAD) ok = err_set(err, "a token does not fit the grammar that allowed it");
    ok = ok && s->state >= 0;
  } else if (ok) {
    size_t n = strlen(j->trigger), i = 0;
    while (!j->trigger_anywhere && i < s->opening.n && strchr(" \n\r\t", s->opening.s[i])) i++;
    for (; i + n <= s->opening.n; i++) {
      if (memcmp(s->opening.s + i, j->trigger, n) == 0) {
        s->state = matcher_feed(j->matcher, MATCHER_START, s->opening.s + i, s->opening.n - i, err);
        s->constrained = s->state >= 0; /* what has gone astray already stays plain text */
        ok = s->state != -2;
        break;
      }
      if (!j->trigger_anywhere) break;
    }
    if (s->opening.n > 4 * n) { /* what a trigger may still begin in */
      memmove(s->opening.s, s->opening.s + s->opening.n - (n - 1), n - 1);
      s->opening.n = n - 1;
    }
  }
  buf_free(&bytes);
  return ok;
}

static bool write_token(Stream *s, const ServeChip *c, Err *err) {
  Job *j = s->job;
  bool found = false;
  if (tokenizer_stops(c->tokenizer, s->next)) {
    s->finish = FINISH_STOP;
  } else {
    s->written++;
    if (!match(s, c->tokenizer, err) || !detok_put(c->tokenizer, &s->detok, s->next, &s->held, err)) return false;
    if ((j->logprobs >= 0 || j->ids) && !wait_prob(s, err)) return false;
    if (s->constrained && matcher_complete(j->matcher, s->state)) s->finish = FINISH_STOP;
    else if (s->written == j->most || session_position(s->session) >= session_context(s->session)) s->finish = FINISH_LENGTH;
  }
  size_t safe = stop_in(s, &found, &j->stopped_by);
  if (found) {
    s->finish = FINISH_STOP_STRING;
    s->held.n = safe;
    return release(s, safe, false, err);
  }
  if (!s->finish) return release(s, safe, false, err);
  return detok_end(&s->detok, &s->held, err) && release(s, s->held.n, true, err);
}

void stream_write(Stream *s, const ServeChip *c) {
  Err err = {0};
  s->sampled = false;
  if (!write_token(s, c, &err)) stream_fail(s, &err);
}

void stream_hidden(Stream *s, const int32_t *hidden, int n, int dim) {
  for (int i = 0; i < n; i++, hidden += dim) {
    double square = 0;
    for (int k = 0; k < dim; k++) square += (double)hidden[k] * hidden[k];
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (int k = 0; k < dim; k++) s->sum[k] += hidden[k] * scale;
  }
}
