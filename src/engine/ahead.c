/* engine/ahead: one token more, and work done ahead for those that followed the same words before.
 *
 * Where weights come from memory, a pass over a few tokens takes little longer than over one (135M: 4 tokens 1.4 times, 1B: 1.25
 * times).  Replies repeat themselves and their prompts; what followed the last words when they stood there before is guessed to
 * follow again.  Logits of guessed tokens are exact, and are used only when these tokens come: guesses change nothing but speed.
 */
#include "engine/state.h"

#include <string.h>

enum { FEW = 3 /* guesses, until all of them come */, ALIKE = 2 /* tokens that must be the same */, LOOK_BACK = 8192, PAUSE_MOST = 5 /* log2 of tokens */ };
static const uint64_t FROM_MEMORY = 32 << 20; /* bytes of weights a pass from which they are taken to come from memory */

/* What followed the last place that ended in ALIKE tokens as the session does with `token`, one more alike preferred. */
static int look_up(const Session *s, int token, int *out, int most) {
  const int *t = s->token;
  int end = s->position, first = end > LOOK_BACK ? end - LOOK_BACK : 0, found = -1, n;
  if (end < ALIKE) return 0;
  for (int i = end - 1; i > first; i--) {
    if (t[i] != token || t[i - 1] != t[end - 1]) continue;
    bool longer = i - 1 > first && t[i - 2] == t[end - 2];
    if (found < 0 || longer) found = i;
    if (longer) break;
  }
  if (found < 0) return 0;
  for (n = 0; n < most && found + 1 + n < end; n++) out[n] = t[found + 1 + n];
  return n;
}

/* Learns from the guesses before: more after those that all came, a pause after those of which none did. */
static int guesses_now(Ahead *a) {
  if (a->n > 0) {
    a->misses = a->taken ? 0 : a->misses < PAUSE_MOST ? a->misses + 1 : PAUSE_MOST;
    a->pause = a->taken ? 0 : 1 << a->misses;
    a->all_came = a->taken == a->n;
  }
  a->n = a->taken = 0;
  if (a->pause > 0) {
    a->pause--;
    return 0;
  }
  return a->all_came ? GUESSES : FEW;
}

/* The logits of the token that was guessed and has come. */
static void take(Session *s, int token) {
  size_t vocab = (size_t)s->engine->chip->shape.vocab;
  s->token[s->position++] = token;
  s->logits = memcpy(s->own, s->engine->guessed + (size_t)++s->ahead.taken * vocab, vocab * sizeof *s->own);
}

bool session_append(Session *s, int token, Err *err) {
  Ahead *a = &s->ahead;
  Engine *e = s->engine;
  size_t vocab = (size_t)e->chip->shape.vocab;
  if (e->guesser == s && a->taken < a->n && a->token[a->taken] == token) {
    take(s, token);
    return true;
  }
  int most = guesses_now(a), room = s->context - s->position - 1, n = 0;
  if (engine_bytes_per_token(e) >= FROM_MEMORY) n = look_up(s, token, a->token, most < room ? most : room);
  if (n <= 0) return session_extend(s, &token, 1, 0, NULL, err);
  if (!e->guessed && !(e->guessed = mem_alloc((1 + GUESSES) * vocab, sizeof *e->guessed, err))) return false;
  e->guesser = NULL;
  Row row[1 + GUESSES] = {{s, token, s->position, true}};
  for (int i = 0; i < n; i++) row[1 + i] = (Row){s, a->token[i], s->position + 1 + i, true};
  if (!session_check(s, &token, 1, err) || !session_room(s, 1 + n, err) || !forward(e, row, 1 + n, e->guessed, err)) return false;
  s->token[s->position++] = token;
  s->logits = memcpy(s->own, e->guessed, vocab * sizeof *s->own);
  e->guesser = s;
  a->n = n;
  return true;
}
