/* cast/keep: matrices that are ternary already, carried through code by code.
 *
 * Models trained with weights of -1, 0, 1 and one scale a row (BitNet b1.58 and its kin) would lose by any rotation or
 * rounding: the chip takes their codes as they stand, and the gains of the norms that would have gone into the columns.
 */
#include "cast/parts.h"

#include <math.h>
#include <string.h>

static const int8_t ternary[] = {-1, 0, 1};

static bool not_ternary(const Folding *f, const Tensor *t, int row, int col, double unit, double found, Err *err) {
  return err_set(err, "%s: tensor '%.*s': row %d, column %d: --keep expected 0 or +-%.9g, found %.9g", f->model->file[0].path,
                 STR_FMT(t->name), row, col, unit, found);
}

/* unit[rows] <- the magnitude of a row's weights that are not 0; w (rows, cols) of the source becomes -1, 0, 1. */
static bool take_signs(const Folding *f, const Tensor *t, float *w, float *unit, Err *err) {
  for (int r = 0; r < (int)t->rows; r++) {
    float *row = w + (size_t)r * (size_t)t->cols;
    unit[r] = 0;
    for (int c = 0; c < (int)t->cols; c++) {
      float x = fabsf(row[c]);
      if (!(x < INFINITY)) return not_ternary(f, t, r, c, (double)unit[r], (double)row[c], err);
      if (x == 0) continue;
      if (unit[r] == 0) unit[r] = x;
      if (x != unit[r]) return not_ternary(f, t, r, c, (double)unit[r], (double)row[c], err);
      row[c] = row[c] > 0 ? 1 : -1;
    }
  }
  return true;
}

/* Row scales of 16 bits, to nearest: exact for the scales of TQ blocks, which have 11, within 1/32 of the largest. */
static bool keep_scales(OwnMatrix *o, const float *unit, int rows, double factor, Err *err) {
  double most = 0;
  for (int r = 0; r < rows; r++) most = unit[r] * factor > most ? unit[r] * factor : most;
  int e = 0;
  if (most > 0) frexp(most, &e);
  o->m.exponent = e - 16;
  if (o->m.exponent < -96 || o->m.exponent > 32) return err_set(err, "weights of %g do not fit the chip's number format", most);
  for (int r = 0; r < o->m.rows; r++) {
    double x = r < rows ? floor(ldexp(unit[r] * factor, -o->m.exponent) + 0.5) : 1;
    o->row_scale[r] = (uint16_t)(x < 1 ? 1 : x > 65535 ? 65535 : x);
  }
  return true;
}

bool keep_matrix(const Folding *f, int layer, MatKind kind, OwnMatrix *o, Err *err) {
  const Tensor *t = fold_source(f, layer, kind);
  int rows, cols;
  chip_extent(&f->shape, kind, &rows, &cols);
  if (!own_matrix_new(o, rows, cols, 2, true, err)) return false;
  o->m.levels = 3;
  memcpy(o->m.level, ternary, sizeof ternary);
  memset(o->m.level + 3, 0, sizeof o->m.level - 3);
  for (int r = 0; r < rows; r++)
    for (int g = 0; g < o->m.groups; g++) matrix_put_group_scale(&o->m, o->weights, r, g, 1);
  float *w = mem_alloc((size_t)t->rows * (size_t)t->cols, sizeof *w, err), *unit = w ? mem_alloc((size_t)t->rows, sizeof *unit, err) : NULL;
  bool ok = unit != NULL;
  if (ok) tensor_rows(t, 0, t->rows, w);
  ok = ok && take_signs(f, t, w, unit, err) && keep_scales(o, unit, (int)t->rows, fold_factor(f, kind), err);
  for (int r = 0; ok && r < rows; r++)
    for (int c = 0; c < cols; c++) {
      bool inside = r < (int)t->rows && c < (int)t->cols;
      matrix_put_code(&o->m, o->weights, r, c, inside ? (int)w[(size_t)r * (size_t)t->cols + (size_t)c] + 1 : 1);
    }
  mem_free(w);
  mem_free(unit);
  if (!ok) own_matrix_free(o);
  return ok;
}

bool keep_gains(const Folding *f, int layer, GainKind kind, int16_t *g, int *exponent, Err *err) {
  const Tensor *t = model_layer_tensor(f->model, layer, kind == GAIN_ATTN ? M_ATTN_NORM : M_FFN_NORM);
  float *v = mem_alloc((size_t)t->cols, sizeof *v, err), most = 0;
  if (!v) return false;
  tensor_rows(t, 0, 1, v);
  bool ok = true;
  int e = 0;
  for (int c = 0; c < (int)t->cols; c++) most = fabsf(v[c]) > most ? fabsf(v[c]) : most, ok = ok && fabsf(v[c]) < 1e9f;
  if (most > 0) frexpf(most, &e);
  *exponent = e < -49 ? -64 : e - 15;
  for (int c = 0; ok && c < (int)t->cols; c++) {
    double x = floor(ldexp(v[c], -*exponent) + 0.5);
    g[c] = (int16_t)(x > 32767 ? 32767 : x < -32767 ? -32767 : x);
  }
  if (!ok) err_set(err, "%s: tensor '%.*s' holds a gain that is not a number below 1e9", f->model->file[0].path, STR_FMT(t->name));
  mem_free(v);
  return ok;
}
