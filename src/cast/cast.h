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
  int bits[MAT_KINDS]; /* 2 3 4 6 8; the embedding 6 or 8 */
  bool fast;           /* round to nearest; no calibration */
  uint64_t seed;       /* of rotation and calibration text */
  int threads;         /* 0: one a CPU.  Neither threads nor isa change the result. */
  Isa isa;
} CastOptions;

/* `text`: "4", or "4,v=6,head=6": a width for all, then exceptions by kind.  Head and embedding default to 6, or 8 with 8. */
bool cast_parse_bits(CastOptions *o, const char *text, Err *err);

typedef struct {
  char hash[65];
  int calibration_tokens;
  uint64_t saturated; /* residual values that met their limit on calibration text: should be 0 */
  double seconds;
} CastReport;

/* Casts m and writes the .chip file.  model_hash must have been called on m. */
bool cast_model(const Model *m, const char *path, const CastOptions *options, CastReport *report, Err *err);

#endif
