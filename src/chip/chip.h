/* chip: the integer definition of a model.
 *
 * Owns the Chip object, its file format (doc/chip-file.md), the fixed-point arithmetic as plain scalar functions
 * (doc/arithmetic.md) and the one accessor for a weight's code.  Everything after the cast takes a `const Chip *`.
 * Refuses to decide anything: a Chip is what the cast made it.
 */
#ifndef BURIN_CHIP_H
#define BURIN_CHIP_H

#include "base/base.h"
#include "chip/fixed.h"
#include "chip/tile.h"

enum {
  CHIP_FORMAT = 3,     /* of the file */
  CHIP_ARITHMETIC = 2, /* of the formulas */
  GROUP_SCALE_BITS = 6, /* that a group scale takes in a ROM */
  MAX_GROUP_SCALE = 63,
  FRAC = 12,           /* fraction bits of residual, q, k, v, attention output, gate, up, act */
  FRAC_LOGIT = 16,     /* of logits and of attention scores (base-2 exponents) */
  BUTTERFLY = 64,      /* width of the Hadamard before down */
  ROTARY_LOW = 64,     /* positions in the low table */
};

/* ---- matrices ---- */

typedef enum { MAT_Q, MAT_K, MAT_V, MAT_O, MAT_GATE, MAT_UP, MAT_DOWN, MAT_PER_LAYER, MAT_HEAD = MAT_PER_LAYER, MAT_EMBED, MAT_KINDS } MatKind;

extern const char *const mat_name[MAT_KINDS]; /* q k v o gate up down head embed */

/* w[r][c] = level[code(r,c)] * group_scale[r][c / 64] * row_scale[r] * 2^exponent; the embedding has no group scales (1).
 * Columns past `cols` in the last group hold code 0 and meet zero activations. */
typedef struct {
  int rows, cols, groups; /* groups = ceil(cols / 64) */
  int bits;               /* 2 3 4 6 8 */
  int exponent;           /* -96 .. 32 */
  int levels;             /* codes in use, at most 2^bits */
  bool grouped;           /* has group scales: all but the embedding */
  int8_t level[256];      /* [levels] strictly increasing; evenly spaced from 6 bits on, by 1 or (6 bits) by 2 */
  const uint16_t *row_scale; /* [rows]; of a grouped matrix [tiled_rows(rows)], 0 past the last */
  const uint8_t *weights; /* grouped: tiles (chip/tile.h) of group scales 1..MAX_GROUP_SCALE and codes.  Otherwise, since single rows
                           * are read, [rows][groups][8 * bits]: 64 codes as one string of bits, first code first, low bit first */
} Matrix;

size_t matrix_weight_bytes(const Matrix *m); /* of m->weights */

/* One weight's code and its group's scale: what every reader but the kernels goes through. */
int matrix_code(const Matrix *m, int row, int col);
int matrix_group_scale(const Matrix *m, int row, int group);
/* The 64 codes of one group of one row at once, and their levels (0 for a code that the book lacks). */
void matrix_group_codes(const Matrix *m, int row, int group, uint8_t out[GROUP]);
void matrix_group_levels(const Matrix *m, int row, int group, int8_t out[GROUP]);
/* The writers: weights is the memory behind m->weights.  Threads may write different rows. */
void matrix_put_code(const Matrix *m, uint8_t *weights, int row, int col, int code);
void matrix_put_group_scale(const Matrix *m, uint8_t *weights, int row, int group, int s);

int matrix_max_level(int bits);       /* 31, 63 or 127 */
bool matrix_book_is_even(const Matrix *m); /* as the widths from 6 bits on must be */
/* Whether tile t's group scales are in range and its codes in the book: the quick part of matrix_check. */
bool matrix_tile_in_range(const Matrix *m, int t);
/* Every code in use, every scale in range, and every row's accumulator within int32 (doc/arithmetic.md 2). */
bool matrix_check(const Matrix *m, const char *name, Err *err);

/* ---- the chip ---- */

typedef enum { CHIP_PAIRS_ADJACENT, CHIP_PAIRS_HALVES } ChipPairs;

typedef struct {
  int layers, dim, ffn, heads, kv_heads, head_dim, vocab, context; /* ffn is a multiple of 64 */
  int rotary_dims;
  ChipPairs pairs;
  uint32_t root_dim; /* round(sqrt(dim) * 2^8) */
  uint64_t eps;      /* round(eps * dim * 2^24) */
  bool kept;         /* codes of the layers' matrices are the source's: norms have gains, and no butterfly stands before down */
} ChipShape;

/* The gains of one norm: g[c] * 2^exponent. */
typedef struct {
  const int16_t *g; /* (dim) */
  int exponent;     /* -64 .. 32 */
} Gain;
typedef enum { GAIN_ATTN, GAIN_FFN, GAINS } GainKind;

/* Rows and columns that a shape gives to a matrix. */
void chip_extent(const ChipShape *s, MatKind kind, int *rows, int *cols);

typedef struct {
  ChipShape shape;
  Matrix embed, head;
  Matrix (*layer)[MAT_PER_LAYER]; /* (layers) */
  Gain (*gain)[GAINS];            /* (layers); NULL unless shape.kept */
  const int16_t *rotary_high;     /* (ceil(context / 64), rotary_dims / 2, 2): cos, sin of the angle at position 64 p, Q15 */
  const int16_t *rotary_low;      /* (64, rotary_dims / 2, 2): at position p */
  Vocab vocab;
  Str provenance; /* JSON: source, options, measured quality; not part of the hash */
  uint8_t hash[32];
  uint64_t bytes; /* of the file */
  /* private below */
  Arena arena;
  FileMap file;
  int sections;
} Chip;

/* Maps a .chip file.  Checks its structure and the checksums of everything but the matrices' contents; those are
 * checked by chip_verify, which the engine calls for every matrix as it reads it anyway. */
bool chip_open(Chip *c, const char *path, Err *err);
void chip_close(Chip *c);
bool chip_is(const FileMap *file);
/* Checksum and content of matrix number i of chip_matrices(), in 0 .. chip_matrices() - 1: layer by layer, then head, embed. */
int chip_matrices(const Chip *c);
const Matrix *chip_matrix(const Chip *c, int i, char name[32]);
bool chip_verify(const Chip *c, int i, Err *err);
bool chip_verify_sum(const Chip *c, int i, Err *err); /* the checksum alone */
bool chip_verify_all(const Chip *c, Err *err); /* keeps at most a matrix of a file in memory */

/* A chip of random codes in memory, for measuring: no vocabulary, no file, hash 0.  Widths are mixed so that codes, group and row
 * scales come to `bits` a weight.  bits within 2 to 8.5; the group scales keep every accumulator within int32. */
bool chip_synthetic(Chip *c, const ChipShape *s, double bits, uint64_t seed, Err *err);
/* The same chip as a file; at most its embedding and a matrix are in memory.  hash as chip_writer_commit. */
bool chip_synthetic_write(const char *path, const ChipShape *s, double bits, uint64_t seed, uint8_t hash[32], Err *err);
/* The shape behind a name (llama-3.1-8b, ...) or behind layers=N,dim=N,...; an error lists the names. */
bool chip_shape_of(const char *name, ChipShape *s, Err *err);

/* The chip's hash as 64 hexadecimal digits. */
void chip_hash_text(const Chip *c, char out[65]);

/* Bits read for one token over weights in them: codes, group scales and row scales of all matrices and the head (the
 * embedding row is one row: left out). */
double chip_bits_per_weight(const Chip *c);
uint64_t chip_bits_per_token(const Chip *c);
uint64_t chip_weights(const Chip *c); /* of all matrices, embedding included */

/* ---- writing: sections stream to the file as the cast makes them ---- */
typedef struct ChipWriter ChipWriter;

ChipWriter *chip_writer_open(const char *path, const ChipShape *shape, Err *err);
bool chip_write_rotary(ChipWriter *w, const int16_t *high, const int16_t *low, Err *err);
bool chip_write_vocab(ChipWriter *w, const Vocab *v, Err *err);
bool chip_write_gains(ChipWriter *w, int layer, const Gain gain[GAINS], Err *err); /* before the layer's matrices, where shape.kept */
bool chip_write_matrix(ChipWriter *w, int layer, MatKind kind, const Matrix *m, Err *err); /* layer -1: head, embed */
/* Writes the provenance, fills hash, commits the file and frees w, whatever happens. */
bool chip_writer_commit(ChipWriter *w, Str provenance, uint8_t hash[32], Err *err);
void chip_writer_abort(ChipWriter *w);
/* Writes the file of an open chip anew, with another provenance: it appears whole or not at all.  The hash stays, and so does
 * what c maps. */
bool chip_replace_provenance(const Chip *c, Str provenance, Err *err);

/* ---- the arithmetic (doc/arithmetic.md 3), scalar and plain: the reference of every faster form ---- */

extern const int32_t exp2_table[65];    /* floor(32767 * 2^(-i/64) + 1/2) */
extern const uint32_t exp2_table_30[65]; /* floor((2^30 - 1) * 2^(-i/64) + 1/2) */
extern const int32_t sigmoid_table[65]; /* floor(32768 / (1 + exp(-i/4)) + 1/2) */

/* What one unit of an 8-bit vector is worth: u * 2^e in the units of the vector it was made from. */
typedef struct {
  int32_t u; /* 130 .. 258 */
  int e;     /* -14 .. 16; up to 23 behind the butterfly */
} Step;

/* x * 2^-e to nearest, where e is a step's and |x| at most the maximum that the step was made for: |result| <= 2^15. */
static inline int32_t to_15_bits(int32_t x, int e) {
  return e > 0 ? ((x >> (e - 1)) + 1) >> 1 : (int32_t)((uint32_t)x << -e);
}
/* The step for vectors whose largest magnitude is max < 2^31. */
Step step_of(uint32_t max);
/* floor(2^22 / u): products with 15 bits stay below 2^30 */
static inline int32_t step_reciprocal(Step s) { return (1 << 22) / s.u; }
/* Steps of keys and values in the cache. */
static inline uint16_t step_pack(Step s) { return (uint16_t)((s.e + 16) << 9 | s.u); }
static inline Step step_unpack(uint16_t p) { return (Step){p & 511, (p >> 9) - 16}; }

/* a[n] <- v[n] / step in -127..127; returns the step. */
Step quant8(const int32_t *v, int n, int8_t *a);

/* RMS norm: a[dim] as quant8 of h, or of h times the gains (gain NULL: none); v[dim] is scratch.  The returned scale turns a
 * matrix accumulator into units of the norm's output. */
Scale norm8(const ChipShape *s, const Gain *gain, const int32_t *h, int8_t *a, int32_t *v);

/* acc = sum over groups of S * (sum of level * a); exact in int32 by the cast's check.  a[groups * 64], zeros past cols. */
int32_t matrix_row(const Matrix *m, int row, const int8_t *a);

/* y of a matrix in frac fraction bits.  x is the scale of norm8, or plain_scale for a vector that was only quantised. */
int32_t matrix_finish(int32_t acc, uint32_t row_scale, int exponent, Scale x, int frac);

/* The scale of a vector in units of 2^-FRAC that was quantised with a step: exact; M may stand a little above its usual range. */
static inline Scale plain_scale(Step s) { return (Scale){(uint32_t)s.u << 8, s.e - FRAC - 8}; }

/* cos and sin of pair i at position p, Q15. */
void rotary_pair(const Chip *c, int position, int i, int32_t *cos_q15, int32_t *sin_q15);
/* Rotates the first rotary_dims of one head in place. */
void rotary_apply(const Chip *c, int position, int32_t *head);

/* 16-fraction-bit score of one key: dot = q . k. */
int32_t score_of(int32_t dot, Step q, Step k);
/* 15-bit weight of a token whose score lies d below the largest. */
int32_t softmax_weight(uint32_t d);
/* One query head over n tokens: q8[head_dim] and its step; k8, v8 with a stride in bytes, and their packed steps.
 * out[head_dim] in FRAC bits. */
typedef struct {
  const int8_t *k, *v;
  const uint16_t *k_step, *v_step;
  size_t stride;
} KvView;
void attention_head(const int8_t *q, Step q_step, KvView kv, int n, int head_dim, int32_t *out);

/* silu(g) * u in FRAC bits. */
int32_t gate_one(int32_t g, int32_t u);
/* The butterfly of every block of 64, then quant8; act is overwritten. */
Step butterfly_quant8(int32_t *act, int n, int8_t *a);

/* Element of an embedding row, FRAC bits. */
int32_t embed_one(const Matrix *m, int token, int col);

/* ---- the sampler ---- */
typedef struct {
  uint32_t inv_temperature;  /* round(2^12 / T), 1 .. 2^22; 0: greedy */
  int top_k;                 /* 0: all */
  uint32_t top_p, min_p;     /* Q16; top_p 65536: all; min_p 0: none */
  uint32_t repeat_q16;       /* round(2^16 * repetition penalty); 65536: none */
  uint32_t repeat_inverse_q16; /* round(2^16 / repetition penalty) */
  int32_t frequency_q16, presence_q16; /* OpenAI's penalties in logits, Q16 */
} SamplerSettings;

typedef struct {
  int *index;      /* [vocab] candidates */
  uint32_t *p;     /* [vocab] weights of candidates, by token */
  uint64_t *key;   /* [vocab] scratch of the order */
  int candidates;  /* of the last draw: so many of index; 0: all tokens */
  uint64_t total;  /* of their weights */
} SamplerScratch;

/* Settings from the numbers that people write.  Errors name the option and its range. */
bool sampler_settings(SamplerSettings *s, double temperature, int top_k, double top_p, double min_p, double repeat,
                      double frequency, double presence, Err *err);
/* Whether any penalty is set. */
bool sampler_penalises(const SamplerSettings *s);
/* Applies the penalties to z[vocab] in place; count[vocab] says how often each token occurred. */
void sampler_penalties(const SamplerSettings *s, int32_t *z, const uint16_t *count, int vocab);
/* The next token.  Greedy takes the largest logit, lowest index; otherwise two outputs of the generator are drawn. */
int sampler_draw(const SamplerSettings *s, const int32_t *z, int vocab, Pcg *random, SamplerScratch *scratch);

#endif
