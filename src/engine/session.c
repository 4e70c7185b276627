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
    memcpy(own, s->page[first], (size_t)c->layers * (size_t)c->kv_heads * kv_cell_bytes(c->head_dim));
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
  s->logits = mem_alloc(vocab, 4, err);
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
  void *all[] = {s->page, s->logits, s->token, s->scratch.index, s->scratch.p, s->scratch.key, s->count, s->adjusted};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  mem_free(s);
}

int session_position(const Session *s) { return s->position; }

int session_context(const Session *s) { return s->context; }

void session_truncate(Session *s, int position) {
  assert(position >= 0 && position <= s->position);
  s->position = position;
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

static bool check_tokens(const Session *s, const int *tokens, int n, Err *err) {
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
  if (!check_tokens(s, tokens, n, err) || !session_room(s, n, err)) return false;
  if (chunk <= 0) chunk = PREFILL_CHUNK;
  size_t vocab = (size_t)s->engine->chip->shape.vocab;
  Row *row = mem_alloc((size_t)(chunk < n ? chunk : n), sizeof *row, err);
  if (!row) return false;
  bool ok = true;
  for (int at = 0; ok && at < n; at += chunk) {
    int k = n - at < chunk ? n - at : chunk;
    for (int i = 0; i < k; i++) row[i] = (Row){s, tokens[at + i], s->position + i, all || at + i == n - 1};
    ok = forward(s->engine, row, k, all ? all + (size_t)at * vocab : s->logits, err);
    if (!ok) break;
    memcpy(s->token + s->position, tokens + at, (size_t)k * sizeof *tokens);
    s->position += k;
  }
  if (ok && all) memcpy(s->logits, all + (size_t)(n - 1) * vocab, vocab * 4);
  mem_free(row);
  return ok;
}

bool session_layers(Session *s, const int *tokens, int n, int from, int to, int32_t *h, int32_t *logits, Err *err) {
  session_truncate(s, 0);
  assert(from >= 0 && to <= s->engine->chip->shape.layers && (!logits || to == s->engine->chip->shape.layers));
  if (!check_tokens(s, tokens, n, err) || !session_room(s, n, err)) return false;
  Row *row = mem_alloc((size_t)n, sizeof *row, err);
  if (!row) return false;
  for (int i = 0; i < n; i++) row[i] = (Row){s, tokens[i], i, logits != NULL};
  bool ok = forward_layers(s->engine, row, n, from, to, h, logits, err);
  mem_free(row);
  return ok;
}

bool sessions_step(Session *const *s, const int *tokens, int n, Err *err) {
  if (n < 1) return err_set(err, "no sessions: expected at least one");
  size_t vocab = (size_t)s[0]->engine->chip->shape.vocab;
  Row *row = mem_alloc((size_t)n, sizeof *row, err);
  int32_t *out = n > 1 ? mem_alloc((size_t)n * vocab, 4, err) : s[0]->logits;
  bool ok = row && out;
  for (int i = 0; ok && i < n; i++) {
    assert(s[i]->engine == s[0]->engine);
    ok = check_tokens(s[i], tokens + i, 1, err) && session_room(s[i], 1, err);
    row[i] = (Row){s[i], tokens[i], s[i]->position, true};
  }
  ok = ok && forward(s[0]->engine, row, n, out, err);
  for (int i = 0; ok && i < n; i++) {
    if (n > 1) memcpy(s[i]->logits, out + (size_t)i * vocab, vocab * 4);
    s[i]->token[s[i]->position++] = tokens[i];
  }
  if (n > 1) mem_free(out);
  mem_free(row);
  return ok;
}

/* ---- sampling ---- */

bool session_sampler(Session *s, const SamplerSettings *settings, uint64_t seed, Err *err) {
  size_t vocab = (size_t)s->engine->chip->shape.vocab;
  s->settings = *settings;
  s->random = pcg_seed(seed, 0);
  if (s->adjusted) return true;
  s->scratch = (SamplerScratch){mem_alloc(vocab, sizeof(int), err), mem_alloc(vocab, 4, err), mem_alloc(vocab, 8, err)};
  s->count = mem_alloc(vocab, sizeof *s->count, err);
  s->adjusted = mem_alloc(vocab, 4, err);
  return s->scratch.index && s->scratch.p && s->scratch.key && s->count && s->adjusted;
}

int session_sample(Session *s, const uint8_t *banned) {
  int vocab = s->engine->chip->shape.vocab, from = s->position > PENALTY_WINDOW ? s->position - PENALTY_WINDOW : 0;
  assert(s->adjusted); /* session_sampler came first */
  memcpy(s->adjusted, s->logits, (size_t)vocab * 4);
  for (int i = from; i < s->position; i++) s->count[s->token[i]]++;
  sampler_penalties(&s->settings, s->adjusted, s->count, vocab);
  for (int i = from; i < s->position; i++) s->count[s->token[i]] = 0;
  if (banned)
    for (int i = 0; i < vocab; i++)
      if (banned[i]) s->adjusted[i] = -INT32_MAX;
  return sampler_draw(&s->settings, s->adjusted, vocab, &s->random, &s->scratch);
}
