/* model: a trained model as its author shipped it.
 *
 * Owns containers (GGUF; safetensors will be a second), block types, and the table that says which tensors an
 * architecture has.  Gives a read-only Model over mapped files.  A file is hostile until proven otherwise: every count,
 * size and name is checked here, so that nobody behind this header has to.
 * Refuses what it does not know by name: an unknown block type, architecture or tensor is an error, never a guess.
 */
#ifndef BURIN_MODEL_H
#define BURIN_MODEL_H

#include "base/base.h"

/* ---- tensors ---- */

typedef enum {
  T_F32, T_F16, T_BF16, T_Q8_0, T_Q4_0, T_Q4_1, T_Q5_0, T_Q5_1, T_Q2_K, T_Q3_K, T_Q4_K, T_Q5_K, T_Q6_K, T_TQ1_0, T_TQ2_0,
  T_COUNT
} TensorType;

typedef struct {
  const char *name;
  uint32_t gguf;   /* its number in a GGUF file */
  int block, size; /* values and bytes of one block */
} TensorTypeInfo;

extern const TensorTypeInfo tensor_type[T_COUNT];

typedef struct {
  Str name;
  TensorType type;
  int64_t rows, cols;   /* a vector has one row; cols run fastest in memory */
  const uint8_t *data;  /* (rows, cols) in blocks along cols */
  uint64_t size;        /* bytes */
} Tensor;

/* out (count, cols) <- rows [first, first + count), in f32.  Exact except that f32 rounds products of block scales the
 * same way on every machine.  Cannot fail: the reader has checked the bounds. */
void tensor_rows(const Tensor *t, int64_t first, int64_t count, float *out);

/* ---- the model ---- */

typedef enum {
  M_EMBED, M_OUT_NORM, M_HEAD, M_ROPE_FACTORS,                          /* once */
  M_ATTN_NORM, M_Q, M_K, M_V, M_O, M_FFN_NORM, M_GATE, M_UP, M_DOWN,    /* once a layer */
  M_COUNT, M_FIRST_OF_LAYER = M_ATTN_NORM, M_PER_LAYER = M_COUNT - M_FIRST_OF_LAYER
} TensorId;

typedef enum { PAIRS_ADJACENT, PAIRS_HALVES } RotaryPairs; /* (2i, 2i+1), or (i, i + n/2) */

typedef struct {
  int layers, dim, ffn, heads, kv_heads, head_dim, vocab, context;
  int rotary_dims;       /* of head_dim */
  RotaryPairs pairs;
  double eps;            /* of RMSNorm */
  double rotary_base;
  double rotary_scale;   /* positions are multiplied by this (linear scaling); 1 where there is none */
} Shape;

typedef struct {
  Str arch, name, license;
  Shape shape;
  const Tensor *tensor[M_FIRST_OF_LAYER]; /* M_HEAD is the embedding where they are tied; M_ROPE_FACTORS may be NULL */
  const Tensor *(*layer)[M_PER_LAYER];    /* (layers) */
  bool tied;
  Vocab vocab;
  uint64_t parameters;
  uint8_t hash[32];      /* SHA-256 over the bytes of all its files in order; see model_hash */
  /* private below */
  Arena arena;
  FileMap *file;
  int files;
} Model;

/* Opens a GGUF file, or the first of a split set (NAME-00001-of-0000N.gguf; the others must lie beside it). */
bool model_open(Model *m, const char *path, Err *err);
void model_close(Model *m);

/* Fills m->hash.  Reads every byte of the files: about a second a gigabyte. */
bool model_hash(Model *m, Err *err);

/* True when the file starts like a GGUF file. */
bool model_is(const FileMap *file);

/* A tensor of one layer, and by the enumeration above. */
static inline const Tensor *model_layer_tensor(const Model *m, int layer, TensorId id) {
  return m->layer[layer][id - M_FIRST_OF_LAYER];
}

/* Frequencies of rotary embedding, radians a position: out[rotary_dims / 2]. */
void model_rotary_frequencies(const Model *m, double *out);

/* ---- the float oracle: the plain forward pass, for tests, calibration and evaluation only ----
 * Ordered IEEE arithmetic without contraction: the same values on every machine and at any number of threads.
 */
typedef struct Oracle Oracle;

Oracle *oracle_new(const Model *m, Pool *pool, Err *err);
/* Logits of every position of one window.  tokens[n]; logits (n, vocab), f32.  Memory: all layers dequantised one at a
 * time; n * (dim + 2 ffn) floats beside it. */
bool oracle_window(Oracle *o, const int *tokens, int n, float *logits, Err *err);
void oracle_free(Oracle *o);

#endif
