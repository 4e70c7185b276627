/* cmd/cast: burin cast MODEL -o X.chip, or --synthetic SHAPE -o X.chip */
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Writing over a part of the model that is being read would lose it. */
static bool apart(const Model *m, const char *out, Err *err) {
  struct stat a, b;
  for (int i = 0; i < m->files; i++)
    if (stat(out, &a) == 0 && stat(m->file[i].path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
      return err_set(err, "%s: the chip would replace the model", out);
  return true;
}

/* The tokens of the calibration text, and the hash of its file. */
typedef struct {
  Buf file;
  Tokens tokens;
  char hash[72]; /* "sha256:" and 64 digits */
} CalibText;

static bool calib_open(CalibText *c, const Model *m, const char *path, CastOptions *o, Err *err) {
  Tokenizer *t = tokenizer_new(&m->vocab, err);
  uint8_t hash[32];
  bool ok = t && file_read_all(path, (size_t)1 << 30, &c->file, err) && sha256(c->file.s, c->file.n, hash, err) &&
            tokenizer_encode(t, (Str){c->file.s, c->file.n}, false, false, &c->tokens, err);
  tokenizer_free(t);
  if (!ok) return false;
  memcpy(c->hash, "sha256:", 7);
  hex_of(hash, 32, c->hash + 7);
  o->text = c->tokens.id;
  o->text_tokens = c->tokens.n;
  o->text_path = path;
  o->text_hash = c->hash;
  return true;
}

static void calib_close(CalibText *c) {
  tokens_free(&c->tokens);
  buf_free(&c->file);
}

static void print_estimate(const CastEstimate *e) {
  printf("%.3g weights; %d tokens of calibration text; %d threads\n", e->weights, e->tokens, e->threads);
  for (int i = 0; i < e->steps; i++) printf("%-30s %10.1f s\n", e->step[i].name, e->step[i].seconds);
  printf("%-30s %10.1f s = %.1f min\n", "total", e->seconds, e->seconds / 60);
  printf("memory beside the model        %10.2f GB\n", e->memory / 1e9);
  printf("derived: parts timed on the first layer, scaled by operation counts; nothing was written\n");
}

/* Options that contradict each other; NULL where none do. */
static const char *contradiction(const CastOptions *o, const char *calib) {
  for (int k = 0; o->keep && k < MAT_PER_LAYER; k++)
    if (o->bits[k] != 2) return "--keep keeps the layers' matrices: --bits may set head and embed only";
  if (o->fast && o->budget > 0) return "--fast measures nothing that an average could be spent by: give widths, such as --bits all=4,head=6";
  if (o->fast && calib) return "--fast does not calibrate: it takes no --calib";
  return NULL;
}

static bool estimate(const Model *m, const CastOptions *o, Err *err) {
  CastEstimate e;
  if (!cast_estimate(m, o, &e, err)) return false;
  print_estimate(&e);
  return true;
}

static bool cast(Model *m, const char *out, const CastOptions *o, Err *err) {
  CastReport report = {0};
  if (!apart(m, out, err) || !model_hash(m, err) || !cast_model(m, out, o, &report, err)) return false;
  fprintf(stderr, "cast %s in %.1f s\n", out, report.seconds);
  if (report.expected_loss > 0)
    fprintf(stderr, "rounding costs about %.3f nats a token (KL; derived from losses measured matrix by matrix: `burin eval` measures the whole)\n",
            report.expected_loss);
  if (report.saturated)
    fprintf(stderr, "warning: %llu residual values met the 32-bit limit on calibration text\n", (unsigned long long)report.saturated);
  printf("%s\n", report.hash);
  return true;
}

/* Random weights of a shape as a chip. */
static bool synthetic(const char *shape, const char *bits, const char *out, uint64_t seed, Err *err) {
  ChipShape s;
  char *end = NULL, hash[65];
  uint8_t h[32];
  double b = bits ? strtod(bits, &end) : 4.25;
  if (end && *end) return err_set(err, "bits: expected a number with --synthetic, found '%s'", bits);
  if (!chip_shape_of(shape, &s, err) || !chip_synthetic_write(out, &s, b, seed, h, err)) return false;
  hex_of(h, 32, hash);
  printf("%s\n", hash);
  return true;
}

int cmd_cast(int argc, char **argv) {
  const char *model_path, *shape = NULL, *out = NULL, *bits = NULL, *calib = NULL, *wrong;
  bool dry = false;
  MachineOptions machine = {0};
  CastOptions o = {.seed = 1};
  const Option option[] = {
      {"output", 'o', OPT_TEXT, &out, "FILE", "the chip file to write (required)"},
      {"bits", 'b', OPT_TEXT, &bits, "SPEC", "bits a weight on average, and widths by matrix: 3.5; 4.25,head=6; all=4,v=6 (default " CAST_DEFAULT_BITS "; fast: " CAST_FAST_BITS ")"},
      {"keep", 0, OPT_FLAG, &o.keep, "", "carry ternary weights through as they are (BitNet style); --bits says head and embed only"},
      {"dry-run", 0, OPT_FLAG, &dry, "", "estimate time and memory from the first layer; write nothing"},
      {"fast", 0, OPT_FLAG, &o.fast, "", "round to nearest, without calibration"},
      {"calib", 0, OPT_TEXT, &calib, "FILE", "text to calibrate with (default: the model samples its own)"},
      {"synthetic", 0, OPT_TEXT, &shape, "SHAPE", "random weights in place of a model, --bits N on average (default 4.25): llama-3.1-8b, ... or layers=N,dim=N,..."},
      {"seed", 0, OPT_U64, &o.seed, "N", "seed of rotation and calibration text (default 1)"},
      MACHINE_OPTIONS(machine),
  };
  const Usage usage = {"cast", "burin cast MODEL.gguf | --synthetic SHAPE -o X.chip [options]",
                       "Casts a model into a chip: one integer definition of the whole model.", option,
                       sizeof option / sizeof *option, 1, 1};
  int status = options_parse(&usage, argc, argv, &model_path);
  if (status >= 0) return status;
  wrong = !model_path == !shape                           ? "expected a model, or --synthetic and a shape"
          : shape && (o.keep || dry || o.fast || calib) ? "--synthetic takes --bits and --seed only"
          : !out && !dry                                ? "-o FILE is missing"
                                                        : NULL;
  if (wrong) {
    fprintf(stderr, "burin cast: %s\nusage: %s\n", wrong, usage.usage);
    return STATUS_USAGE;
  }
  Err err = {0};
  if (shape) return synthetic(shape, bits, out, o.seed, &err) ? STATUS_DONE : fail("cast", &err);
  EngineOptions engine;
  char kept[128];
  if (o.keep) snprintf(kept, sizeof kept, "%s%s%s", CAST_KEEP_BITS, bits ? "," : "", bits ? bits : ""), bits = kept;
  if (!bits) bits = o.fast ? CAST_FAST_BITS : CAST_DEFAULT_BITS;
  if (!cast_parse_bits(&o, bits, &err) || !machine_options(&machine, &engine, &err)) {
    fail("cast", &err);
    return STATUS_USAGE;
  }
  if ((wrong = contradiction(&o, calib))) {
    fprintf(stderr, "burin cast: %s\n", wrong);
    return STATUS_USAGE;
  }
  o.isa = engine.isa;
  o.threads = engine.threads;
  Model m;
  CalibText text = {0};
  if (!model_open(&m, model_path, &err)) return fail("cast", &err);
  bool ok = (!calib || calib_open(&text, &m, calib, &o, &err)) && (dry ? estimate(&m, &o, &err) : cast(&m, out, &o, &err));
  calib_close(&text);
  model_close(&m);
  return ok ? STATUS_DONE : fail("cast", &err);
}
