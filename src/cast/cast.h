/* cast: Model -> Chip.  One function from a float model to the integers of doc/arithmetic.md.
 *
 * Owns what the cast decides: rotation, calibration, codebooks, scales, rounding, bits of each matrix.  It streams layer by
 * layer, so that memory stays near one layer beside the mapped model.  The same model and options give the same bytes on
 * every machine: ordered IEEE arithmetic, integers from the engine, one seeded generator.
 */
#ifndef BURIN_CAST_H
#define BURIN_CAST_H

#include "chip/chip.h"
#include "model/model.h"

typedef struct {
  double budget;       /* bits a weight, codes and scales, over all that is read for a token; 0: every kind has its width */
  int bits[MAT_KINDS]; /* 2 3 4 6 8, the embedding 6 or 8; 0: the cast spends the budget by measured loss */
  bool fast;           /* round to nearest; no calibration */
  bool keep;           /* the layers' matrices are ternary: their codes are carried through; bits says head and embed only */
  uint64_t seed;       /* of rotation and calibration text */
  const int *text;     /* tokens of calibration text; NULL: the model samples its own */
  size_t text_tokens;  /* windows are spread evenly over them */
  const char *text_path, *text_hash; /* of the file they came from: for errors; "sha256:..." for the provenance */
  int threads;         /* 0: one a CPU.  Neither threads nor isa change the result. */
  Isa isa;
} CastOptions;

/* `text`: "4.25", a budget; "4.25,v=6,head=6", with widths by kind fixed; "all=4,v=6", widths only.  The embedding, of which
 * a token reads one row, has 6 bits, or 8 with budgets from 6 on. */
#define CAST_DEFAULT_BITS "4.5"
#define CAST_FAST_BITS "all=4,head=6" /* without calibration nothing is measured that a budget could be spent by */
#define CAST_KEEP_BITS "all=2,head=8,embed=8"
bool cast_parse_bits(CastOptions *o, const char *text, Err *err);

typedef struct {
  char hash[65];
  int calibration_tokens;
  double expected_loss; /* nats a token, from the measured losses of the matrices; 0 where none were measured */
  uint64_t saturated; /* residual values that met their limit on calibration text: should be 0 */
  double seconds;
} CastReport;

/* Casts m and writes the .chip file.  model_hash must have been called on m. */
bool cast_model(const Model *m, const char *path, const CastOptions *options, CastReport *report, Err *err);

/* What the cast of m would cost on this machine: parts timed on its first layer, scaled by operation counts (derived). */
typedef struct {
  const char *name;
  double seconds;
} EstimateStep;
typedef struct {
  EstimateStep step[8];
  int steps, threads, tokens; /* tokens of calibration text */
  double seconds, weights;
  double memory;              /* bytes beside the mapped model, of the largest part; derived */
} CastEstimate;
bool cast_estimate(const Model *m, const CastOptions *options, CastEstimate *e, Err *err);

#endif
