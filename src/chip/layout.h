/* chip/layout (private to chip): where things stand in a .chip file.  Documented in doc/chip-file.md. */
#ifndef BURIN_CHIP_LAYOUT_H
#define BURIN_CHIP_LAYOUT_H

#include "chip/chip.h"

#define CHIP_MAGIC "BURINCHP"

typedef enum { SEC_SHAPE = 1, SEC_ROTARY, SEC_VOCAB, SEC_PROVENANCE, SEC_GAINS, SEC_MATRIX = 16 /* + MatKind */ } SectionKind;

typedef struct {
  char magic[8];
  uint32_t format, arithmetic, sections, zero;
  uint64_t bytes; /* of the file */
  uint8_t hash[32];
} FileHead;

typedef struct {
  uint32_t kind;
  int32_t layer; /* -1 where the section belongs to no layer */
  uint64_t at, bytes, checksum;
  uint8_t sha256[32];
} Section;

typedef struct {
  uint32_t layers, dim, ffn, heads, kv_heads, head_dim, vocab, context, rotary_dims, pairs, root_dim, flags; /* flags: 1 kept */
  uint64_t eps;
} ShapeSection;

typedef struct {
  uint32_t kind, n, merges, flags; /* flags: 1 add_bos, 2 add_eos, 4 add_space_prefix */
  int32_t bos, eos, eot, unk;
  uint32_t pre_bytes, template_bytes, zero[2];
} VocabSection; /* then: u32 end[n], f32 score[n] (kind 2), u32 merge[merges][3], u8 type[n], pre, template, pieces */

typedef struct {
  int32_t exponent[GAINS];
  uint32_t zero[14];
} GainsSection; /* then: s16 attn[dim], s16 ffn[dim] */

typedef struct {
  uint32_t rows, cols, bits, levels, grouped;
  int32_t exponent;
  uint32_t zero[10];
  int8_t level[256];
} MatrixSection; /* then, each at a multiple of 64: row scales, weights */

_Static_assert(sizeof(FileHead) == 64 && sizeof(Section) == 64, "fixed by the format");
_Static_assert(sizeof(ShapeSection) == 56 && sizeof(VocabSection) == 48 && sizeof(MatrixSection) == 320 && sizeof(GainsSection) == 64, "fixed by the format");

static inline uint64_t align64(uint64_t n) { return (n + 63) & ~(uint64_t)63; }

typedef struct {
  uint64_t row_scale, weights, bytes; /* offsets within the section, and its size */
} MatrixLayout;

static inline size_t row_scale_bytes(const Matrix *m) { return 2 * (size_t)(m->grouped ? tiled_rows(m->rows) : m->rows); }

static inline MatrixLayout matrix_layout(const Matrix *m) {
  MatrixLayout l;
  l.row_scale = align64(sizeof(MatrixSection));
  l.weights = align64(l.row_scale + row_scale_bytes(m));
  l.bytes = l.weights + matrix_weight_bytes(m);
  return l;
}

/* Sections before the first matrix of layer l, and of a whole chip. */
static inline int sections_before(const ChipShape *s, int layer) { return 3 + layer * (MAT_PER_LAYER + s->kept); }
static inline int section_of(const ChipShape *s, int layer, MatKind kind) { return sections_before(s, layer) + s->kept + (int)kind; }
static inline int sections_in(const ChipShape *s) { return sections_before(s, s->layers) + 3; }

/* The chip's hash: over the arithmetic's version and, for every section but the provenance in order of the table, its
 * kind, layer, size and SHA-256. */
bool chip_hash_sections(const Section *s, int n, uint8_t out[32], Err *err);

#endif
