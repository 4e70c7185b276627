/* rtl/parts (private to rtl): what images and emit share. */
#ifndef BURIN_RTL_PARTS_H
#define BURIN_RTL_PARTS_H

#include "rtl/rtl.h"

/* Writes DIR/rom/NAME for every ROM of the design. */
bool rtl_images(const RtlDesign *d, const Chip *c, const char *dir, Err *err);

/* Index of a matrix' width among rtl_width_bits. */
int rtl_width_index(int bits);

/* The matrices in the order in which a token meets them. */
static inline int rtl_mats(const RtlDesign *d) { return d->shape.layers * MAT_PER_LAYER + 1; }
static inline MatKind rtl_kind(const RtlDesign *d, int i) { return i < d->shape.layers * MAT_PER_LAYER ? (MatKind)(i % MAT_PER_LAYER) : MAT_HEAD; }
static inline const Matrix *rtl_mat(const RtlDesign *d, const Chip *c, int i) {
  return rtl_kind(d, i) == MAT_HEAD ? &c->head : &c->layer[i / MAT_PER_LAYER][rtl_kind(d, i)];
}

/* The files of hw/, which the program carries (built by the Makefile). */
typedef struct {
  const char *name, *from, *to;
} RtlFile;
extern const RtlFile rtl_file[];
extern const int rtl_files;

#endif
