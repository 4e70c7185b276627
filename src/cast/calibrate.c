/* cast/calibrate: text that the model writes itself.
 *
 * A draft chip of 8-bit weights (4-bit for large models, to stay within the memory that the cast promises), rounded to
 * nearest, samples windows at temperature 1 from every start token that the vocabulary offers, in one batch.  No data is
 * needed, and the text is the same on every machine.
 */
#include "cast/parts.h"

static const uint64_t LARGE = 2000000000; /* parameters */

enum { FEWEST_WINDOWS = 36, MOST_WINDOWS = 144 };

int calib_windows(const ChipShape *s, const CastOptions *o, int length) {
  int n = 24 * (s->ffn > s->dim ? s->ffn : s->dim) / CALIB_LENGTH, most = MOST_WINDOWS;
  if (o->text && o->text_tokens / (size_t)length < MOST_WINDOWS) most = (int)(o->text_tokens / (size_t)length);
  n = n > most ? most : n;
  return n < FEWEST_WINDOWS ? FEWEST_WINDOWS : n;
}

int draft_bits(const Folding *f) { return f->model->parameters > LARGE ? 4 : 8; }

bool draft_matrix(Engine *e, const Folding *f, int layer, MatKind kind, Isa isa, Err *err) {
  int rows, cols;
  OwnMatrix o;
  if (f->shape.kept && kind != MAT_HEAD) {
    if (!keep_matrix(f, layer, kind, &o, err)) return false;
    bool kept = engine_install(e, layer, kind, &o.m, err);
    own_matrix_free(&o);
    return kept;
  }
  chip_extent(&f->shape, kind, &rows, &cols);
  float *w = mem_alloc((size_t)rows * (size_t)cols, sizeof *w, err);
  bool ok = w && fold_matrix(f, layer, kind, w, err) && own_matrix_new(&o, rows, cols, draft_bits(f), true, err);
  if (ok) {
    ok = quantise(&o, w, NULL, f->pool, isa, err) && engine_install(e, layer, kind, &o.m, err);
    own_matrix_free(&o);
  }
  mem_free(w);
  return ok;
}

Engine *draft_new(const Folding *f, const Chip *base, const CastOptions *o, Progress *progress, Err *err) {
  EngineOptions options = {o->isa, o->threads};
  Engine *e = engine_new_empty(base, &options, err);
  bool ok = e != NULL;
  for (int l = 0; ok && l < f->shape.layers; l++) {
    for (int k = 0; ok && k < MAT_PER_LAYER; k++) ok = draft_matrix(e, f, l, (MatKind)k, o->isa, err);
    progress_to(progress, 0.1 * (l + 1) / f->shape.layers);
  }
  if (ok && draft_matrix(e, f, -1, MAT_HEAD, o->isa, err)) return e;
  engine_free(e);
  return NULL;
}

bool given_text(const CastOptions *o, const Vocab *v, int vocab, int *tokens, int windows, int length, Err *err) {
  size_t need = (size_t)windows * (size_t)length;
  if (o->text_tokens < need) return err_set(err, "%s: expected at least %zu tokens of calibration text, found %zu", o->text_path, need, o->text_tokens);
  size_t apart = windows > 1 ? (o->text_tokens - (size_t)length) / (size_t)(windows - 1) : 0; /* at least `length` */
  for (int w = 0; w < windows; w++) {
    const int *from = o->text + apart * (size_t)w;
    for (int i = 0; i < length; i++) {
      int token = i == 0 && v->add_bos && v->bos >= 0 ? v->bos : from[i];
      if (token < 0 || token >= vocab) return err_set(err, "%s: expected tokens of 0 to %d, found %d", o->text_path, vocab - 1, token);
      tokens[w * length + i] = token;
    }
  }
  return true;
}

/* Tokens that calibration text must not hold: they are marks, not text. */
static uint8_t *banned_tokens(const Vocab *v, int vocab, Err *err) {
  uint8_t *banned = mem_alloc((size_t)vocab, 1, err);
  int left = vocab;
  for (int i = 0; banned && i < v->n; i++)
    if (v->type[i] == PIECE_CONTROL || v->type[i] == PIECE_UNKNOWN || v->type[i] == PIECE_UNUSED) banned[i] = 1, left--;
  for (int i = 0; banned && left == 0 && i < vocab; i++) banned[i] = 0;
  return banned;
}

/* Tokens that text starts with: the beginning of a sequence, and what parts documents. */
static int start_tokens(const Vocab *v, int out[2]) {
  static const char *const name[] = {"<|endoftext|>", "<|end_of_text|>", "</s>"};
  int n = 0;
  if (v->bos >= 0) out[n++] = v->bos;
  for (size_t k = 0; k < sizeof name / sizeof *name && n < 2; k++)
    for (int i = 0; i < v->n && n < 2; i++)
      if (str_eq(v->piece[i], str_from(name[k])) && (n == 0 || out[0] != i)) out[n++] = i;
  if (n == 0) out[n++] = v->eos >= 0 ? v->eos : 0;
  return n;
}

typedef struct {
  Session **session;
  int n, *next;
  const uint8_t *banned;
} Draw;

static void draw_run(void *arg, int t, int threads) {
  Draw *d = arg;
  for (int i = t; i < d->n; i += threads) d->next[i] = session_sample(d->session[i], d->banned);
}

static bool sample(Engine *draft, Session **s, int n, const Vocab *v, const uint8_t *banned, uint64_t seed, int *tokens, int length,
                   Progress *progress, Err *err) {
  SamplerSettings settings;
  int start[2], starts = start_tokens(v, start), *next = mem_alloc((size_t)n, sizeof *next, err);
  bool ok = next && sampler_settings(&settings, 1, 0, 1, 0, 1, 0, 0, err);
  for (int i = 0; ok && i < n; i++) {
    ok = session_sampler(s[i], &settings, seed + (uint64_t)i, err);
    next[i] = start[i % starts];
  }
  for (int t = 0; ok && t < length; t++) {
    for (int i = 0; i < n; i++) tokens[i * length + t] = next[i];
    if (t + 1 == length) break;
    ok = sessions_step(s, next, n, err);
    if (ok) pool_run(engine_pool(draft), draw_run, &(Draw){s, n, next, banned});
    progress_to(progress, 0.1 + 0.2 * t / length);
  }
  mem_free(next);
  return ok;
}

bool calibration_text(Engine *draft, const Chip *base, uint64_t seed, int *tokens, int windows, int length, Progress *progress, Err *err) {
  Session **s = mem_alloc((size_t)windows, sizeof *s, err);
  uint8_t *banned = banned_tokens(&base->vocab, base->shape.vocab, err);
  bool ok = s && banned;
  for (int i = 0; ok && i < windows; i++) ok = (s[i] = session_new(draft, length, err)) != NULL;
  ok = ok && sample(draft, s, windows, &base->vocab, banned, seed, tokens, length, progress, err);
  for (int i = 0; s && i < windows; i++) session_free(s[i]);
  mem_free(s);
  mem_free(banned);
  return ok;
}
