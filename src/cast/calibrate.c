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
  OwnMatrix o;
  if (!make_matrix(&o, f, layer, kind, draft_bits(f), NULL, isa, err)) return false;
  bool ok = engine_install(e, layer, kind, &o.m, err);
  own_matrix_free(&o);
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
  Engine *draft;
  const Vocab *vocab;
  uint8_t *banned;
  uint64_t seed;
  int *tokens, windows, length; /* tokens (windows, length) */
  Progress *progress;
  Session *session[SAMPLE_WINDOWS];
  int next[SAMPLE_WINDOWS], n;        /* of the windows that are sampled now */
} Sampling;

static void draw_run(void *arg, int t, int threads) {
  Sampling *d = arg;
  for (int i = t; i < d->n; i += threads) d->next[i] = session_sample(d->session[i], &(SampleEdit){.banned = d->banned});
}

/* Windows first .. first + n - 1.  Each has its own seed, so that it does not matter which are sampled together. */
static bool sample(Sampling *d, int first, Err *err) {
  SamplerSettings settings;
  int start[2], starts = start_tokens(d->vocab, start);
  bool ok = sampler_settings(&settings, 1, 0, 1, 0, 1, 0, 0, err);
  for (int i = 0; ok && i < d->n; i++) {
    ok = (d->session[i] = session_new(d->draft, d->length, err)) && session_sampler(d->session[i], &settings, d->seed + (uint64_t)(first + i), err);
    d->next[i] = start[(first + i) % starts];
  }
  for (int t = 0; ok && t < d->length; t++) {
    for (int i = 0; i < d->n; i++) d->tokens[(first + i) * d->length + t] = d->next[i];
    if (t + 1 == d->length) break;
    ok = sessions_step(d->session, d->next, d->n, err);
    if (ok) pool_run(engine_pool(d->draft), draw_run, d);
    progress_to(d->progress, 0.1 + 0.2 * (first + d->n * (double)t / d->length) / d->windows);
  }
  for (int i = 0; i < d->n; i++) {
    session_free(d->session[i]);
    d->session[i] = NULL;
  }
  return ok;
}

bool calibration_text(Engine *draft, const Chip *base, uint64_t seed, int *tokens, int windows, int length, Progress *progress, Err *err) {
  Sampling d = {.draft = draft, .vocab = &base->vocab, .banned = banned_tokens(&base->vocab, base->shape.vocab, err), .seed = seed,
                .tokens = tokens, .windows = windows, .length = length, .progress = progress};
  bool ok = d.banned != NULL;
  for (int first = 0; ok && first < windows; first += SAMPLE_WINDOWS) {
    d.n = windows - first < SAMPLE_WINDOWS ? windows - first : SAMPLE_WINDOWS;
    ok = sample(&d, first, err);
  }
  mem_free(d.banned);
  return ok;
}
