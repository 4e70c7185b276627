/* engine/session: one timeline of tokens: its KV cache, its logits, its sampler. */
#include "engine/state.h"

#include <assert.h>
#include <string.h>

KvCells session_cells(const Session *s, int layer, int kv_head) {
  const ChipShape *c = &s->engine->chip->shape;
  return (KvCells){s->page, (size_t)(layer * c->kv_heads + kv_head) * kv_cell_bytes(c->head_dim), c->head_dim};
}

static int pages_of(int positions) { return (positions + KV_PAGE - 1) / KV_PAGE; }

bool session_room(Session *s, int n, Err *err) {
  const ChipShape *c = &s->engine->chip->shape;
  int first = s->position / KV_PAGE;
  if (first < s->pages && kv_page_is_shared(s->engine->kv, s->page[first])) {
    uint8_t *own = kv_page_new(s->engine->kv, err);
    if (!own) return false;
    memcpy(own, s->page[first], kv_page_bytes(c->layers * c->kv_heads, c->head_dim));
    kv_page_drop(s->engine->kv, s->page[first]);
    s->page[first] = own;
  }
  while (s->pages < pages_of(s->position + n)) {
    if (!(s->page[s->pages] = kv_page_new(s->engine->kv, err))) return false;
    s->pages++;
  }
  return true;
}

Session *session_new(Engine *e, int context, Err *err) {
  const ChipShape *shape = &e->chip->shape;
  if (context == 0) context = shape->context;
  if (context < 1 || context > shape->context) {
    err_set(err, "context: expected 1 to %d, found %d", shape->context, context);
    return NULL;
  }
  Session *s = mem_alloc(1, sizeof *s, err);
  if (!s) return NULL;
  size_t vocab = (size_t)shape->vocab;
  s->engine = e;
  s->context = context;
  s->page = mem_alloc((size_t)pages_of(context), sizeof *s->page, err);
  s->logits = s->own = mem_alloc(vocab, 4, err);
  s->token = mem_alloc((size_t)context, sizeof *s->token, err);
  if (!s->page || !s->logits || !s->token) {
    session_free(s);
    return NULL;
  }
  return s;
}

void session_free(Session *s) {
  if (!s) return;
  if (s->page) session_truncate(s, 0);
  if (s->engine->guesser == s) s->engine->guesser = NULL;
  for (size_t i = 0; i < s->engine->appended.held; i++)
    if (s->engine->appended.holder[i] == s) s->engine->appended.holder[i] = NULL;
  void *all[] = {s->page, s->own, s->token, s->scratch.index, s->scratch.p, s->scratch.key, s->count, s->adjusted};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  mem_free(s);
}

int session_position(const Session *s) { return s->position; }

int session_context(const Session *s) { return s->context; }

const int *session_tokens(const Session *s) { return s->token; }

void session_truncate(Session *s, int position) {
  assert(position >= 0 && position <= s->position);
  s->position = position;
  s->ahead.n = 0;
  while (s->pages > pages_of(position)) kv_page_drop(s->engine->kv, s->page[--s->pages]);
}

Session *session_fork(const Session *from, int position, Err *err) {
  assert(position >= 0 && position <= from->position);
  Session *s = session_new(from->engine, from->context, err);
  if (!s) return NULL;
  for (; s->pages < pages_of(position); s->pages++) {
    s->page[s->pages] = from->page[s->pages];
    kv_page_share(s->engine->kv, s->page[s->pages]);
  }
  memcpy(s->token, from->token, (size_t)position * sizeof *s->token);
  s->position = position;
  return s;
}

const int32_t *session_logits(const Session *s) { return s->logits; }

bool session_check(const Session *s, const int *tokens, int n, Err *err) {
  int vocab = s->engine->chip->shape.vocab;
  if (n < 1) return err_set(err, "no tokens: expected at least one");
  if (n > s->context - s->position)
    return err_set(err, "context exceeded: %d tokens after %d, but the context holds %d", n, s->position, s->context);
  for (int i = 0; i < n; i++)
    if (tokens[i] < 0 || tokens[i] >= vocab)
      return err_set(err, "token %d: expected an id of 0 to %d, found %d", i, vocab - 1, tokens[i]);
  return true;
}

bool session_extend(Session *s, const int *tokens, int n, int chunk, int32_t *all, Err *err) {
  if (!session_check(s, tokens, n, err) || !session_room(s, n, err)) return false;
  if (chunk <= 0) chunk = PREFILL_CHUNK;
  s->ahead.n = 0;
  size_t vocab = (size_t)s->engine->chip->shape.vocab;
  Row *row = mem_alloc((size_t)(chunk < n ? chunk : n), sizeof *row, err);
  if (!row) return false;
  bool ok = true;
  for (int at = 0; ok && at < n; at += chunk) {
    int k = n - at < chunk ? n - at : chunk;
    for (int i = 0; i < k; i++) row[i] = (Row){s, tokens[at + i], s->position + i, all || at + i == n - 1};
    ok = forward(s->engine, row, k, all ? all + (size_t)at * vocab : s->own, err);
    if (!ok) break;
    s->logits = s->own;
    memcpy(s->token + s->position, tokens + at, (size_t)k * sizeof *tokens);
    s->position += k;
  }
  if (ok && all) memcpy(s->own, all + (size_t)(n - 1) * vocab, vocab * 4);
  mem_free(row);
  return ok;
}

bool session_layers(Session *s, const int *tokens, int n, int from, int to, int32_t *h, int32_t *logits, Err *err) {
  session_truncate(s, 0);
  assert(from >= 0 && to <= s->engine->chip->shape.layers && (!logits || to == s->engine->chip->shape.layers));
  if (!session_check(s, tokens, n, err) || !session_room(s, n, err)) return false;
  Row *row = mem_alloc((size_t)n, sizeof *row, err);
  if (!row) return false;
  for (int i = 0; i < n; i++) row[i] = (Row){s, tokens[i], i, logits != NULL};
  bool ok = forward_layers(s->engine, row, n, from, to, h, logits, err);
  mem_free(row);
  return ok;
}

/* Sessions whose logits the coming pass writes over take theirs away; those that it gives others need not. */
static void keep_logits(Engine *e, bool all) {
  struct Appended *b = &e->appended;
  size_t vocab = (size_t)e->chip->shape.vocab;
  for (size_t i = 0; i < b->held; i++) {
    Session *s = b->holder[i];
    if (!s || s->logits != b->logits + i * vocab || (s->appended && !all)) continue;
    memcpy(s->own, s->logits, vocab * sizeof *s->own);
    s->logits = s->own;
  }
}

/* Rows, logits and residuals of one pass over several sessions; kept by the engine and grown on demand. */
static bool appended_room(Engine *e, size_t rows, size_t logits, size_t hidden, Err *err) {
  struct Appended *b = &e->appended;
  keep_logits(e, logits > b->logits_cap);
  if (rows > b->rows) {
    mem_free(b->row);
    b->row = mem_alloc(rows, sizeof *b->row, err);
    b->rows = b->row ? rows : 0;
  }
  if (logits > b->logits_cap) {
    mem_free(b->logits);
    mem_free(b->holder);
    b->held = 0;
    b->logits = mem_alloc(logits, sizeof *b->logits, err);
    b->holder = mem_alloc(logits / (size_t)e->chip->shape.vocab, sizeof *b->holder, err);
    b->logits_cap = b->logits && b->holder ? logits : 0;
  }
  if (hidden > b->hidden_cap) {
    mem_free(b->hidden);
    b->hidden = mem_alloc(hidden, sizeof *b->hidden, err);
    b->hidden_cap = b->hidden ? hidden : 0;
  }
  return rows <= b->rows && logits <= b->logits_cap && hidden <= b->hidden_cap;
}

/* What the pass made, to the sessions. */
static void hand_out(struct Appended *b, const Append *a, int n, const int32_t *hidden, size_t vocab, size_t dim) {
  b->held = 0;
  for (int i = 0; i < n; i++) {
    Session *s = a[i].session;
    if (a[i].hidden) memcpy(a[i].hidden, hidden, (size_t)a[i].n * dim * sizeof *hidden);
    if (hidden) hidden += (size_t)a[i].n * dim;
    s->logits = a[i].logits ? b->logits + b->held * vocab : s->own;
    if (a[i].logits) b->holder[b->held++] = s;
    s->ahead.n = 0;
    memcpy(s->token + s->position, a[i].tokens, (size_t)a[i].n * sizeof *a[i].tokens);
    s->position += a[i].n;
  }
}

static bool append(Engine *e, const Append *a, int n, Err *err) {
  size_t vocab = (size_t)e->chip->shape.vocab, dim = (size_t)e->chip->shape.dim, rows = 0, wanted = 0;
  bool hidden = false;
  for (int i = 0; i < n; i++) {
    assert(a[i].session->engine == e);
    if (!session_check(a[i].session, a[i].tokens, a[i].n, err) || !session_room(a[i].session, a[i].n, err)) return false;
    rows += (size_t)a[i].n;
    wanted += a[i].logits;
    hidden |= a[i].hidden != NULL;
  }
  if (!appended_room(e, rows, wanted * vocab, hidden ? rows * dim : 0, err)) return false;
  struct Appended *b = &e->appended;
  Row *row = b->row;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < a[i].n; k++)
      *row++ = (Row){a[i].session, a[i].tokens[k], a[i].session->position + k, a[i].logits && k == a[i].n - 1};
  if (!forward_layers(e, b->row, (int)rows, 0, e->chip->shape.layers, hidden ? b->hidden : NULL, b->logits, err)) return false;
  hand_out(b, a, n, hidden ? b->hidden : NULL, vocab, dim);
  return true;
}

bool sessions_append(const Append *a, int n, Err *err) {
  if (n < 1) return err_set(err, "no sessions: expected at least one");
  for (int i = 0; i < n; i++) a[i].session->appended = true;
  bool ok = append(a[0].session->engine, a, n, err);
  for (int i = 0; i < n; i++) a[i].session->appended = false;
  return ok;
}

bool sessions_step(Session *const *s, const int *tokens, int n, Err *err) {
  if (n == 1) return session_extend(s[0], tokens, 1, 0, NULL, err);
  Append *a = n > 0 ? mem_alloc((size_t)n, sizeof *a, err) : NULL;
  if (!a) return err_set(err, "no sessions: expected at least one");
  for (int i = 0; i < n; i++) a[i] = (Append){s[i], tokens + i, 1, true, NULL};
  bool ok = sessions_append(a, n, err);
  mem_free(a);
  return ok;
}

/* ---- sampling ---- */

bool session_sampler(Session *s, const SamplerSettings *settings, uint64_t seed, Err *err) {
  size_t vocab = (size_t)s->engine->chip->shape.vocab;
  s->settings = *settings;
  s->random = pcg_seed(seed, 0);
  if (s->adjusted) return true;
  s->scratch = (SamplerScratch){.index = mem_alloc(vocab, sizeof(int), err), .p = mem_alloc(vocab, 4, err), .key = mem_alloc(vocab, 8, err)};
  s->count = mem_alloc(vocab, sizeof *s->count, err);
  s->adjusted = mem_alloc(vocab, 4, err);
  return s->scratch.index && s->scratch.p && s->scratch.key && s->count && s->adjusted;
}

/* Changes a token's logit; what it was goes to the front of *kept, if any. */
static void change(int32_t *z, int token, int32_t to, int32_t **kept) {
  if (kept) *(*kept)++ = z[token];
  z[token] = to;
}

static void change_some(int32_t *z, const SampleEdit *edit, int32_t **kept) {
  for (int i = 0; i < edit->biases; i++) change(z, edit->bias[i].token, sat32((int64_t)z[edit->bias[i].token] + edit->bias[i].bias), kept);
  for (int i = 0; i < edit->exclusions; i++) change(z, edit->excluded[i], -INT32_MAX, kept);
}

/* A few logits are changed where they stand, and back: a copy of all takes as long as the draw. */
static int sample_changed(Session *s, const SampleEdit *edit) {
  int vocab = s->engine->chip->shape.vocab;
  int32_t *z = s->logits, *kept = s->adjusted;
  change_some(z, edit, &kept);
  int token = sampler_draw(&s->settings, z, vocab, &s->random, &s->scratch);
  for (int i = edit->exclusions; i-- > 0;) z[edit->excluded[i]] = *--kept;
  for (int i = edit->biases; i-- > 0;) z[edit->bias[i].token] = *--kept;
  return token;
}

int session_sample(Session *s, const SampleEdit *edit) {
  static const SampleEdit none = {0};
  int vocab = s->engine->chip->shape.vocab, from = s->position > PENALTY_WINDOW ? s->position - PENALTY_WINDOW : 0;
  assert(s->adjusted); /* session_sampler came first */
  if (!edit) edit = &none;
  if (!sampler_penalises(&s->settings) && !edit->banned && edit->biases + edit->exclusions <= vocab) return sample_changed(s, edit);
  memcpy(s->adjusted, s->logits, (size_t)vocab * 4);
  for (int i = from; i < s->position; i++) s->count[s->token[i]]++;
  sampler_penalties(&s->settings, s->adjusted, s->count, vocab);
  for (int i = from; i < s->position; i++) s->count[s->token[i]] = 0;
  change_some(s->adjusted, edit, NULL);
  if (edit->banned)
    for (int i = 0; i < vocab; i++) s->adjusted[i] = edit->banned[i] ? -INT32_MAX : s->adjusted[i]; /* without a branch: vectors */
  return sampler_draw(&s->settings, s->adjusted, vocab, &s->random, &s->scratch);
}

int session_candidates(const Session *s) { return s->scratch.candidates ? s->scratch.candidates : s->engine->chip->shape.vocab; }

double session_chance(const Session *s, int k, int *token) {
  const SamplerScratch *d = &s->scratch;
  *token = d->candidates ? d->index[k] : k;
  return (double)d->p[*token] / (double)d->total;
}
