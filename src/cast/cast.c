/* cast/cast: the pipeline.  Tables and vocabulary; calibration text; then layer by layer: statistics of the inputs that the
 * layers already cast produce, rounding, writing.
 */
#include "cast/parts.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the cast as it runs ---- */

typedef struct {
  const Model *model;
  const CastOptions *o;
  CastReport *report;
  Folding f;
  Pool *pool;
  Chip base;          /* shape, rotary tables, vocabulary, embedding: what an engine needs beside matrices */
  OwnMatrix embed;
  int16_t *rotary_high, *rotary_low;
  Gain (*gain)[GAINS]; /* (layers), of a kept model; their values in gain_values */
  int16_t *gain_values;
  ChipWriter *out;
  int *bits;          /* (matrices) by number, as in parts.h */
  Engine *engine;     /* of the walk: the chip as cast so far */
  Progress progress;
} Cast;

static int16_t q15(double x) {
  double v = floor(x * 32768 + 0.5);
  return (int16_t)(v > 32767 ? 32767 : v < -32767 ? -32767 : v);
}

static bool make_rotary(Cast *c, Err *err) {
  int half = c->f.shape.rotary_dims / 2, high = (c->f.shape.context + ROTARY_LOW - 1) / ROTARY_LOW;
  double *frequency = mem_alloc((size_t)half, sizeof *frequency, err);
  c->rotary_high = mem_alloc((size_t)high * (size_t)half, 4, err);
  c->rotary_low = mem_alloc(ROTARY_LOW * (size_t)half, 4, err);
  bool ok = frequency && c->rotary_high && c->rotary_low;
  if (ok) {
    model_rotary_frequencies(c->model, frequency);
    for (int p = 0; p < high; p++)
      for (int i = 0; i < half; i++) {
        c->rotary_high[(p * half + i) * 2] = q15(cos((double)p * ROTARY_LOW * frequency[i]));
        c->rotary_high[(p * half + i) * 2 + 1] = q15(sin((double)p * ROTARY_LOW * frequency[i]));
      }
    for (int p = 0; p < ROTARY_LOW; p++)
      for (int i = 0; i < half; i++) {
        c->rotary_low[(p * half + i) * 2] = q15(cos(p * frequency[i]));
        c->rotary_low[(p * half + i) * 2 + 1] = q15(sin(p * frequency[i]));
      }
  }
  mem_free(frequency);
  return ok;
}

static bool make_gains(Cast *c, Err *err) {
  size_t layers = (size_t)c->f.shape.layers, dim = (size_t)c->f.shape.dim;
  c->gain = mem_alloc(layers, sizeof *c->gain, err);
  c->gain_values = mem_alloc(layers * GAINS, dim * sizeof *c->gain_values, err);
  bool ok = c->gain && c->gain_values;
  for (size_t i = 0; ok && i < layers * GAINS; i++) {
    Gain *gain = &c->gain[i / GAINS][i % GAINS];
    gain->g = c->gain_values + i * dim;
    ok = keep_gains(&c->f, (int)(i / GAINS), (GainKind)(i % GAINS), c->gain_values + i * dim, &gain->exponent, err);
  }
  return ok;
}

static bool make_embedding(Cast *c, Err *err) {
  int rows = c->f.shape.vocab, cols = c->f.shape.dim;
  float *w = mem_alloc((size_t)rows * (size_t)cols, sizeof *w, err);
  bool ok = w && fold_matrix(&c->f, -1, MAT_EMBED, w, err) &&
            own_matrix_new(&c->embed, rows, cols, c->o->bits[MAT_EMBED], false, err) &&
            quantise_embedding(&c->embed, w, c->pool, err);
  mem_free(w);
  return ok;
}

/* Folds, rounds and writes one matrix; installs it into the engine of the walk where there is one. */
static bool cast_matrix(Cast *c, int layer, MatKind kind, const Factor *factor, Err *err) {
  int bits = c->bits[(kind == MAT_HEAD ? c->f.shape.layers : layer) * MAT_PER_LAYER + (kind == MAT_HEAD ? 0 : (int)kind)];
  OwnMatrix o;
  if (!make_matrix(&o, &c->f, layer, kind, bits, factor, c->o->isa, err)) return false;
  bool ok = chip_write_matrix(c->out, layer, kind, &o.m, err) &&
            (!c->engine || kind == MAT_HEAD || engine_install(c->engine, layer, kind, &o.m, err));
  own_matrix_free(&o);
  return ok;
}

/* What stands before the matrices of a layer. */
static bool begin_layer(Cast *c, int layer, Err *err) { return !c->gain || chip_write_gains(c->out, layer, c->gain[layer], err); }

static bool cast_fast(Cast *c, Err *err) {
  for (int l = 0; l < c->f.shape.layers; l++) {
    if (!begin_layer(c, l, err)) return false;
    for (int k = 0; k < MAT_PER_LAYER; k++)
      if (!cast_matrix(c, l, (MatKind)k, NULL, err)) return false;
    progress_to(&c->progress, (l + 1.0) / (c->f.shape.layers + 4));
  }
  return cast_matrix(c, -1, MAT_HEAD, NULL, err);
}

static void count_saturated(Cast *c, const EngineStop *at) {
  size_t n = (size_t)at->tokens * (size_t)c->f.shape.dim;
  for (size_t i = 0; i < n; i++) c->report->saturated += at->residual[i] == INT32_MAX || at->residual[i] == -INT32_MAX;
}

/* The matrices that read one input share its statistics. */
static bool cast_stop(Cast *c, const EngineStop *at, Err *err) {
  Factor factor = {0};
  bool keep = is_kept(&c->f, at->first); /* nothing is rounded */
  count_saturated(c, at);
  if (at->first == MAT_Q && !begin_layer(c, at->layer, err)) return false;
  if (!keep && !factor_at(&factor, at, c->pool, c->o->isa, err)) return false;
  bool ok = true;
  for (int k = 0; ok && k < matrices_at(at->first); k++)
    ok = cast_matrix(c, at->first == MAT_HEAD ? -1 : at->layer, (MatKind)((int)at->first + k), &factor, err);
  factor_free(&factor);
  return ok;
}

static bool walk_layers(Cast *c, Walk *walk, Err *err) {
  EngineStop at;
  do {
    if (!walk_next(walk, &at, err) || !cast_stop(c, &at, err)) return false;
    if (at.first == MAT_Q && at.layer > 0)
      for (int k = 0; k < MAT_PER_LAYER; k++) engine_uninstall(c->engine, at.layer - 1, (MatKind)k);
    progress_to(&c->progress, 0.5 + 0.5 * (at.layer + (at.first >= MAT_GATE ? 0.5 : 0)) / (c->f.shape.layers + 2));
  } while (at.first != MAT_HEAD);
  return true;
}

/* Text, given or from the draft, and the widths that the draft's measured losses suggest. */
static bool calibrate(Cast *c, int *tokens, int windows, int length, Err *err) {
  int matrices = c->f.shape.layers * MAT_PER_LAYER + 1;
  const Chip *base = &c->base;
  if (c->o->text && !given_text(c->o, &base->vocab, base->shape.vocab, tokens, windows, length, err)) return false;
  if (c->o->text && c->o->budget == 0) return true; /* nothing to draw, nothing to measure */
  double *loss = mem_alloc((size_t)matrices, sizeof *loss, err);
  Engine *draft = loss ? draft_new(&c->f, base, c->o, &c->progress, err) : NULL;
  bool ok = draft && (c->o->text || calibration_text(draft, base, c->o->seed, tokens, windows, length, &c->progress, err));
  if (ok && c->o->budget > 0) {
    ok = measure_losses(&c->f, draft, c->o, tokens, windows, length, loss, &c->progress, err);
    if (ok) c->report->expected_loss = allocate_bits(&c->f.shape, c->o, loss, c->bits);
  }
  engine_free(draft);
  mem_free(loss);
  return ok;
}

static bool cast_calibrated(Cast *c, Err *err) {
  int length = CALIB_LENGTH < c->f.shape.context ? CALIB_LENGTH : c->f.shape.context;
  int windows = calib_windows(&c->f.shape, c->o, length), *tokens = mem_alloc((size_t)windows * (size_t)length, sizeof *tokens, err);
  EngineOptions options = {c->o->isa, c->o->threads};
  Walk *walk = NULL;
  c->report->calibration_tokens = windows * length;
  bool ok = tokens && calibrate(c, tokens, windows, length, err) && (c->engine = engine_new_empty(&c->base, &options, err)) &&
            (walk = walk_new(c->engine, tokens, windows, length, err)) && walk_layers(c, walk, err);
  walk_free(walk);
  mem_free(tokens);
  return ok;
}

/* ---- provenance ---- */

static char *provenance(const Cast *c, Err *err) {
  char hash[65], name[256];
  hex_of(c->model->hash, 32, hash);
  snprintf(name, sizeof name, "%.*s", STR_FMT(c->model->name));
  json_t *bits = json_object();
  if (c->o->budget > 0) json_object_set_new(bits, "budget", json_real(c->o->budget));
  for (int k = 0; k < MAT_KINDS; k++)
    if (c->o->bits[k]) json_object_set_new(bits, mat_name[k], json_integer(c->o->bits[k]));
  json_t *root = json_pack(
      "{s:{s:s, s:s%, s:s%, s:s%}, s:{s:o, s:s, s:I}, s:i, s:{s:i, s:s, s:I}}", "source", "sha256", hash, "arch", c->model->arch.s,
      c->model->arch.n, "name", c->model->name.s, c->model->name.n, "license", c->model->license.s, c->model->license.n, "cast",
      "bits", bits, "rounding", c->o->keep ? "kept" : c->o->fast ? "nearest" : "gptq", "seed", (json_int_t)c->o->seed, "arithmetic", CHIP_ARITHMETIC,
      "calibration", "tokens", c->report->calibration_tokens, "text", c->o->fast ? "none" : c->o->text ? c->o->text_hash : "sampled", "saturated", (json_int_t)c->report->saturated);
  char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
  json_decref(root);
  if (!text) err_set(err, "the model's name, architecture or license is not valid UTF-8");
  return text;
}

/* ---- the whole ---- */

static bool run(Cast *c, const char *path, Err *err) {
  if (!folding_new(&c->f, c->model, c->o->seed, c->o->keep, c->pool, err) || !make_rotary(c, err) || !make_embedding(c, err)) return false;
  if (c->o->keep && !make_gains(c, err)) return false;
  c->base = (Chip){.shape = c->f.shape, .embed = c->embed.m, .vocab = c->model->vocab, .gain = c->gain,
                   .rotary_high = c->rotary_high, .rotary_low = c->rotary_low};
  int matrices = c->f.shape.layers * MAT_PER_LAYER + 1;
  if (!(c->bits = mem_alloc((size_t)matrices, sizeof *c->bits, err))) return false;
  for (int i = 0; i < matrices; i++) c->bits[i] = c->o->bits[i == matrices - 1 ? MAT_HEAD : i % MAT_PER_LAYER];
  c->out = chip_writer_open(path, &c->f.shape, err);
  bool ok = c->out && chip_write_rotary(c->out, c->rotary_high, c->rotary_low, err) &&
            chip_write_vocab(c->out, &c->model->vocab, err) && (c->o->fast ? cast_fast(c, err) : cast_calibrated(c, err)) &&
            chip_write_matrix(c->out, -1, MAT_EMBED, &c->embed.m, err);
  char *text = ok ? provenance(c, err) : NULL;
  if (!text) return false;
  uint8_t hash[32];
  ok = chip_writer_commit(c->out, str_from(text), hash, err);
  c->out = NULL;
  free(text);
  if (ok) hex_of(hash, 32, c->report->hash);
  return ok;
}

bool cast_model(const Model *m, const char *path, const CastOptions *options, CastReport *report, Err *err) {
  *report = (CastReport){0};
  Cast c = {.model = m, .o = options, .report = report};
  double start = now_seconds();
  progress_start(&c.progress, "cast");
  c.pool = pool_new(options->threads ? options->threads : cpu_count(), err);
  bool ok = c.pool && run(&c, path, err);
  progress_end(&c.progress);
  chip_writer_abort(c.out);
  engine_free(c.engine);
  own_matrix_free(&c.embed);
  mem_free(c.bits);
  mem_free(c.rotary_high);
  mem_free(c.rotary_low);
  mem_free(c.gain);
  mem_free(c.gain_values);
  folding_free(&c.f);
  pool_free(c.pool);
  report->seconds = now_seconds() - start;
  return ok;
}
