/* cast/estimate: what a cast would cost, from parts of it timed on this machine.
 *
 * The first layer of the model is folded, rounded to nearest and run for real; its statistics, factors and roundings are
 * timed on a part of their rows, columns and tokens and scaled by their operation counts.  Nothing is written.
 */
#include "cast/parts.h"

#include <math.h>
#include <string.h>

enum { PIECE = 8, SOME_TOKENS = 512, SOME_COLS = 1024, MORE_COLS = 2048, STAND_IN_VOCAB = 256 };

typedef struct {
  const Model *model;
  const CastOptions *o;
  Folding f;
  Chip one;          /* the model's shape with one layer and a small vocabulary */
  OwnMatrix embed;
  int16_t *rotary;
  Engine *engine;
  int *tokens;       /* (PIECE, length) */
  int length;
  double nearest;    /* seconds to fold and round layer 0 to nearest, and to pack it */
  double forward;    /* seconds a token and layer */
  double product;    /* of statistics: seconds a token and pair of columns */
  double factor;     /* seconds a cubed column */
  double column, pair; /* of rounding: seconds a row for each column, and for each pair of columns */
  double draw;       /* seconds to sample a token */
} Trial;

static bool stand_in(Trial *t, Err *err) {
  ChipShape *s = &t->one.shape;
  *s = t->f.shape;
  s->layers = 1;
  s->vocab = STAND_IN_VOCAB;
  s->context = t->length;
  s->kept = false;
  t->rotary = mem_alloc((size_t)(t->length + 2 * ROTARY_LOW), (size_t)s->rotary_dims * sizeof *t->rotary, err);
  t->tokens = mem_alloc(PIECE, (size_t)t->length * sizeof *t->tokens, err);
  if (!t->rotary || !t->tokens || !own_matrix_new(&t->embed, STAND_IN_VOCAB, s->dim, 8, false, err)) return false;
  Pcg random = pcg_seed(1, 0);
  for (int r = 0; r < STAND_IN_VOCAB; r++) {
    t->embed.row_scale[r] = 1;
    for (int c = 0; c < s->dim; c++) matrix_put_code(&t->embed.m, t->embed.weights, r, c, (int)(pcg_next(&random) % 255));
  }
  t->embed.m.exponent = -6;
  t->one.embed = t->embed.m;
  t->one.rotary_high = t->one.rotary_low = t->rotary;
  for (int i = 0; i < PIECE * t->length; i++) t->tokens[i] = (int)(pcg_next(&random) % STAND_IN_VOCAB);
  EngineOptions options = {t->o->isa, t->o->threads};
  return (t->engine = engine_new_empty(&t->one, &options, err)) != NULL;
}

static bool time_nearest(Trial *t, Err *err) {
  double start = now_seconds();
  for (int k = 0; k < MAT_PER_LAYER; k++)
    if (!draft_matrix(t->engine, &t->f, 0, (MatKind)k, t->o->isa, err)) return false;
  t->nearest = now_seconds() - start;
  return true;
}

/* The columns that are timed: all, or the first of them. */
static int some(int n, int most) { return n < most ? n : most; }

static bool time_statistics(Trial *t, const EngineStop *whole, Err *err) {
  EngineStop at = *whole;
  at.cols = some(at.cols, MORE_COLS);
  at.tokens = some(at.tokens, SOME_TOKENS);
  size_t n = (size_t)at.cols;
  double *h = mem_alloc(n * n, sizeof *h, err);
  if (!h) return false;
  double start = now_seconds();
  bool ok = hessian_add(h, at.cols, &at, t->f.pool, t->o->isa, err);
  t->product = (now_seconds() - start) / at.tokens / (double)n / (double)n;
  Factor f = {0};
  start = now_seconds();
  ok = ok && factor_new(&f, h, at.cols, 0.01, t->f.pool, t->o->isa, err);
  t->factor = (now_seconds() - start) / (double)n / (double)n / (double)n;
  factor_free(&f);
  mem_free(h);
  return ok;
}

/* Rounds a few rows of `cols` columns with a factor of that size. */
static bool time_rows(const Trial *t, int cols, double *seconds, Err *err) {
  int rows = ROUND_LANES * pool_threads(t->f.pool);
  size_t n = (size_t)cols;
  Factor f = {cols, mem_alloc(n * n, sizeof *f.u, err)};
  float *w = mem_alloc((size_t)rows, n * sizeof *w, err);
  OwnMatrix o = {0};
  bool ok = f.u && w && own_matrix_new(&o, rows, cols, 4, true, err);
  Pcg random = pcg_seed(2, 0);
  for (size_t i = 0; ok && i < n; i++) f.u[i * n + i] = 1;
  for (size_t i = 0; ok && i < (size_t)rows * n; i++) w[i] = (float)(int32_t)pcg_next(&random) * 0x1p-36f;
  double start = now_seconds();
  ok = ok && quantise(&o, w, &f, t->f.pool, t->o->isa, err);
  *seconds = (now_seconds() - start) / rows;
  own_matrix_free(&o);
  mem_free(w);
  factor_free(&f);
  return ok;
}

static bool time_rounding(Trial *t, Err *err) {
  double a, b, m = SOME_COLS, n = MORE_COLS;
  if (!time_rows(t, SOME_COLS, &a, err) || !time_rows(t, MORE_COLS, &b, err)) return false;
  t->pair = fmax((b / n - a / m) / (n - m), 0);
  t->column = fmax(a / m - t->pair * m, 0);
  return true;
}

static bool walk_layer(Trial *t, bool statistics, double *seconds, Err *err) {
  Walk *walk = walk_new(t->engine, t->tokens, PIECE, t->length, err);
  bool ok = walk != NULL;
  *seconds = 0;
  for (EngineStop at = {0}; ok && at.first != MAT_HEAD;) {
    double start = now_seconds();
    ok = walk_next(walk, &at, err);
    *seconds += now_seconds() - start;
    if (ok && statistics && at.first == MAT_DOWN) ok = time_statistics(t, &at, err);
  }
  walk_free(walk);
  return ok;
}

/* The shortest of three: the first meets fresh memory, and others may hold a core. */
static bool time_walk(Trial *t, Err *err) {
  double least = INFINITY;
  for (int i = 0; i < 3; i++) {
    double seconds;
    if (!walk_layer(t, i == 0, &seconds, err)) return false;
    least = seconds < least ? seconds : least;
  }
  t->forward = least / PIECE / t->length;
  return true;
}

static bool time_draw(Trial *t, Err *err) {
  size_t n = (size_t)t->f.shape.vocab;
  SamplerSettings set;
  int32_t *z = mem_alloc(n, sizeof *z, err);
  SamplerScratch s = {.index = mem_alloc(n, sizeof *s.index, err), .p = mem_alloc(n, sizeof *s.p, err), .key = mem_alloc(n, sizeof *s.key, err)};
  bool ok = z && s.index && s.p && s.key && sampler_settings(&set, 1, 0, 1, 0, 1, 0, 0, err);
  Pcg random = pcg_seed(3, 0);
  for (size_t i = 0; ok && i < n; i++) z[i] = (int32_t)pcg_next(&random) >> 11;
  double start = now_seconds();
  enum { DRAWS = 16 };
  for (int i = 0; ok && i < DRAWS; i++) sampler_draw(&set, z, (int)n, &random, &s);
  t->draw = (now_seconds() - start) / DRAWS;
  void *all[] = {z, s.index, s.p, s.key};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  return ok;
}

/* ---- from the parts to the whole ---- */

typedef struct {
  double weights, rounding, statistics, factors; /* of a layer: count, and seconds */
} Layer;

static Layer layer_of(const Trial *t, double tokens) {
  static const MatKind input[] = {MAT_Q, MAT_O, MAT_GATE, MAT_DOWN};
  Layer l = {0};
  int rows, cols;
  for (int k = 0; k < MAT_PER_LAYER; k++) {
    chip_extent(&t->f.shape, (MatKind)k, &rows, &cols);
    l.weights += (double)rows * cols;
    l.rounding += rows * (t->column * cols + t->pair * cols * cols);
  }
  for (int k = 0; k < 4; k++) {
    chip_extent(&t->f.shape, input[k], &rows, &cols);
    l.statistics += tokens * t->product * cols * cols;
    l.factors += t->factor * cols * cols * (double)cols;
  }
  return l;
}

static void add_step(CastEstimate *e, const char *name, double seconds) {
  e->step[e->steps++] = (EstimateStep){name, seconds};
  e->seconds += seconds;
}

static void sum_up(const Trial *t, CastEstimate *e) {
  const ChipShape *s = &t->f.shape;
  const CastOptions *o = t->o;
  int windows = calib_windows(s, o, t->length), rows, cols;
  double tokens = (double)windows * t->length, layers = s->layers;
  Layer l = layer_of(t, tokens);
  chip_extent(s, MAT_HEAD, &rows, &cols);
  double head = (double)rows * cols, share = layers + head / l.weights; /* of passes with logits, in layers */
  double head_rounding = rows * (t->column * cols + t->pair * cols * cols), rounded = o->keep ? 0 : layers;
  double head_statistics = tokens * t->product * cols * cols, head_factor = t->factor * cols * cols * (double)cols;
  bool measure = o->budget > 0, draft = !o->text || measure;
  e->weights = layers * l.weights + 2 * head;
  e->tokens = o->fast ? 0 : (int)tokens;
  if (o->fast || draft) add_step(e, o->fast ? "rounding to nearest" : "draft", t->nearest * share);
  if (!o->fast && !o->text) add_step(e, "calibration text", tokens * (t->forward * share + t->draw));
  if (!o->fast && measure) {
    Layer few = layer_of(t, MEASURE_WINDOWS * t->length);
    double passes = layers * (MAT_PER_LAYER + 1) + 1, each = measure_tokens(t->length) * t->forward * (share - layers / 2); /* from the changed layer on */
    add_step(e, "losses: passes", passes * each + MEASURE_WINDOWS * t->length * t->forward * layers);
    add_step(e, "losses: statistics, rounding", layers * (few.statistics + few.factors + few.rounding) + head_rounding + t->nearest * share);
  }
  if (!o->fast) {
    add_step(e, "statistics", rounded * l.statistics + head_statistics);
    add_step(e, "factors", rounded * l.factors + head_factor);
    add_step(e, "rounding", rounded * l.rounding + head_rounding);
    add_step(e, "inputs of the layers", tokens * t->forward * layers);
  }
}

/* The larger of the phases: a matrix as floats with its statistics and the walk's tokens; or the draft with the sessions that
 * write text, or with the logits that measure. */
static void sum_memory(const Trial *t, CastEstimate *e) {
  const ChipShape *s = &t->f.shape;
  double widest = s->ffn > s->dim ? s->ffn : s->dim, head = (double)s->vocab * s->dim, up = (double)s->ffn * s->dim;
  double embed = head * t->o->bits[MAT_EMBED] / 8, matrix = 4 * (head > up ? head : up);
  double walk = 12 * widest * widest + (double)e->tokens * (4 * s->dim + widest) + 2048.0 * (12 * s->ffn + 16 * s->dim);
  double cache = (double)s->layers * 2 * s->kv_heads * t->length * (s->head_dim + 2);
  double sessions = SAMPLE_WINDOWS * (cache + 22.0 * s->vocab), measure = 8.0 * measure_tokens(t->length) * s->vocab;
  double draft = (e->weights - head) * draft_bits(&t->f) / 8;
  if (t->o->text) sessions = 0;
  if (t->o->budget > 0) measure += matrix + walk;
  else measure = 0;
  draft = sessions + measure == 0 ? 0 : draft + (sessions > measure ? sessions : measure);
  e->memory = embed + (t->o->fast ? matrix : draft > matrix + walk ? draft : matrix + walk);
}

bool cast_estimate(const Model *m, const CastOptions *options, CastEstimate *e, Err *err) {
  *e = (CastEstimate){0};
  Trial t = {.model = m, .o = options, .length = CALIB_LENGTH < m->shape.context ? CALIB_LENGTH : m->shape.context};
  Pool *pool = pool_new(options->threads ? options->threads : cpu_count(), err);
  bool ok = pool && folding_new(&t.f, m, options->seed, options->keep, pool, err) && stand_in(&t, err) && time_nearest(&t, err) &&
            time_walk(&t, err) && time_rounding(&t, err) && time_draw(&t, err);
  if (ok) {
    e->threads = pool_threads(pool);
    sum_up(&t, e);
    sum_memory(&t, e);
  }
  engine_free(t.engine);
  own_matrix_free(&t.embed);
  mem_free(t.rotary);
  mem_free(t.tokens);
  folding_free(&t.f);
  pool_free(pool);
  return ok;
}
