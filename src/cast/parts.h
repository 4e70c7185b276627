/* cast/parts (private to cast): the steps of the cast. */
#ifndef BURIN_CAST_PARTS_H
#define BURIN_CAST_PARTS_H

#include "cast/cast.h"
#include "engine/engine.h"

/* ---- rotation: Q = diag(sign) (O (x) H), O of order m, H the normalised Hadamard of order 2^k, m 2^k = dim ---- */
typedef struct {
  int dim, m, pow2;
  float *sign;  /* (dim) */
  float *mix;   /* (m, m) orthogonal; NULL for m = 1 */
} Rotation;

bool rotation_new(Rotation *r, int dim, uint64_t seed, Err *err);
void rotation_free(Rotation *r);
/* x (dim, inner) <- Q^T x, in place; with inner = 1 that is the row vector x times Q.  scratch (dim, inner). */
void rotation_apply(const Rotation *r, float *x, int inner, float *scratch);
/* Normalised orthogonal transform of blocks of `n` values: Hadamard where n is a power of two, else the one of a Rotation. */
void hadamard(float *x, int n, int inner); /* n a power of two, unnormalised; x (n, inner) */

/* ---- folding: the float matrix that stands in the chip's place, row-major (rows, cols) of the chip ---- */
typedef struct {
  const Model *model;
  ChipShape shape;
  Rotation residual, head; /* of the residual stream; of the values of one head */
  Pool *pool;
} Folding;

/* keep: the layers' matrices stay as they are (keep_matrix); embedding and head are not rotated. */
bool folding_new(Folding *f, const Model *m, uint64_t seed, bool keep, Pool *pool, Err *err);
void folding_free(Folding *f);
/* w (rows, cols) <- matrix `kind` of layer `layer`. */
bool fold_matrix(const Folding *f, int layer, MatKind kind, float *w, Err *err);
/* The matrices whose codes stay as they are in the source. */
static inline bool is_kept(const Folding *f, MatKind kind) { return f->shape.kept && kind < MAT_PER_LAYER; }
/* The tensor behind a matrix, and the factor on all its weights. */
const Tensor *fold_source(const Folding *f, int layer, MatKind kind);
double fold_factor(const Folding *f, MatKind kind);

/* ---- rounding ---- */
typedef struct {
  Matrix m;
  uint16_t *row_scale;
  uint8_t *weights;
} OwnMatrix; /* a Matrix with the memory behind it */

bool own_matrix_new(OwnMatrix *o, int rows, int cols, int bits, bool grouped, Err *err);
void own_matrix_free(OwnMatrix *o);

/* ---- ternary sources ---- */
/* o <- the source's own codes: levels -1, 0, 1, group scales 1.  A weight that is not 0 or its row's one magnitude is an error. */
bool keep_matrix(const Folding *f, int layer, MatKind kind, OwnMatrix *o, Err *err);
/* g[dim] * 2^exponent <- gains of a norm, 15 bits and a sign. */
bool keep_gains(const Folding *f, int layer, GainKind kind, int16_t *g, int *exponent, Err *err);

/* The inverse root of a Hessian, as GPTQ uses it: u (n, n), u[j][k] for k <= j is U[k][j] of H^-1 = U^T U. */
typedef struct {
  int n;
  float *u;
} Factor;

/* h (n, n) symmetric, upper triangle given; destroyed. */
bool factor_new(Factor *f, double *h, int n, double damping, Pool *pool, Isa isa, Err *err);
void factor_free(Factor *f);

/* Rounds w (rows, cols of the matrix) into o.  factor NULL: round to nearest with an even weight on all columns. */
bool quantise(OwnMatrix *o, float *w, const Factor *factor, Pool *pool, Isa isa, Err *err);
/* o <- matrix `kind` of layer `layer` as it stands in the chip: kept, or folded and rounded to `bits`. */
bool make_matrix(OwnMatrix *o, const Folding *f, int layer, MatKind kind, int bits, const Factor *factor, Isa isa, Err *err);
bool quantise_embedding(OwnMatrix *o, const float *w, Pool *pool, Err *err);

/* h (n, n), upper triangle, += sum over tokens of x x^T for the inputs at a stop. */
bool hessian_add(double *h, int n, const EngineStop *at, Pool *pool, Isa isa, Err *err);
/* The factor of the inputs at a stop, and how many matrices read that input. */
bool factor_at(Factor *f, const EngineStop *at, Pool *pool, Isa isa, Err *err);
int matrices_at(MatKind first);

/* ---- calibration ---- */
enum { CALIB_LENGTH = 256, MEASURE_WINDOWS = 24, SAMPLE_WINDOWS = 72 /* drawn at once: sessions are large */ };
/* Windows of calibration text: 24 tokens for each input of the widest matrix, within 36 to 144 windows and what a given text holds. */
int calib_windows(const ChipShape *s, const CastOptions *o, int length);
/* The draft: an engine with all matrices of draft_bits, rounded to nearest.  base: shape, tables, embedding. */
int draft_bits(const Folding *f);
bool draft_matrix(Engine *e, const Folding *f, int layer, MatKind kind, Isa isa, Err *err); /* installs one of them */
Engine *draft_new(const Folding *f, const Chip *base, const CastOptions *o, Progress *progress, Err *err);
/* Windows of the given text, spread evenly, each begun with the start token where the model wants one. */
bool given_text(const CastOptions *o, const Vocab *v, int vocab, int *tokens, int windows, int length, Err *err);
/* Text that the draft writes: tokens (windows, length). */
bool calibration_text(Engine *draft, const Chip *base, uint64_t seed, int *tokens, int windows, int length, Progress *progress, Err *err);

/* ---- bits ----
 * Matrices are numbered layer by layer in the order of MatKind, the head last. */
/* loss (matrices) <- nats a token that a matrix costs for a squared error as large as the matrix itself: times
 * book_distortion, what it costs at those bits.  Leaves the draft as it was. */
bool measure_losses(const Folding *f, Engine *draft, const CastOptions *o, const int *tokens, int windows, int length, double *loss,
                    Progress *progress, Err *err);
/* Tokens of one pass that measures. */
int measure_tokens(int length);
/* Mean squared error of a width's book on normal values, groups of 64 with their best scale, over their variance; measured
 * on 230,000 values by tools/books.py. */
double book_distortion(int bits);
/* bits (matrices) <- the widths of least expected loss within o->budget bits a weight, o->bits where they are set.  Returns the
 * expected loss in nats a token. */
double allocate_bits(const ChipShape *s, const CastOptions *o, const double *loss, int *bits);

/* ---- kernels, compiled once for each instruction set from cast/linear_isa.c and cast/round_isa.c ---- */
typedef struct {
  int levels;
  float level[256], middle[256]; /* middle[i] between level i and i + 1 */
  bool uniform;
  float step;
} Book;

typedef struct {
  int rows, cols, groups; /* at most ROUND_LANES rows */
  const Book *book;
  int candidates;
  float lowest;           /* smallest candidate, as a share of the range that fits the largest weight */
  const float *u;         /* Factor.u or NULL */
  float *w;               /* (groups * 64, ROUND_LANES) weights of the rows; destroyed */
  float *error;           /* (64, ROUND_LANES) scratch */
  float unit[16];         /* row scale as a float */
  uint8_t *scale;         /* (groups, ROUND_LANES) */
  uint8_t *code;          /* (groups * 64, ROUND_LANES) */
} RoundJob;
enum { ROUND_LANES = 16, PANEL = 32 };

#define DECLARE_CAST(isa)                                                                                                  \
  void round_rows_##isa(RoundJob *j);                                                                                      \
  /* c (m rows of stride ldc, n) += sign * a (m, k of stride lda) b (k, n of stride ldb) */                                \
  void add_product_##isa(double *c, size_t ldc, const double *a, size_t lda, const double *b, size_t ldb, int m, int n,    \
                         int k, double sign);                                                                              \
  /* c (m, n) += x^T y over t tokens: x, y (t, PANEL), m and n at most PANEL; sums of a call are float, c is double */      \
  void add_outer_##isa(double *c, size_t ldc, const float *x, const float *y, int m, int n, int t);
DECLARE_CAST(scalar)
DECLARE_CAST(avx2)
DECLARE_CAST(avx512)

typedef struct {
  void (*round_rows)(RoundJob *j);
  void (*add_product)(double *c, size_t ldc, const double *a, size_t lda, const double *b, size_t ldb, int m, int n, int k, double sign);
  void (*add_outer)(double *c, size_t ldc, const float *x, const float *y, int m, int n, int t);
} CastKernels;
const CastKernels *cast_kernels(Isa isa);

#endif
