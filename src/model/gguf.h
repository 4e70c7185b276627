/* model/gguf (private to model): the GGUF container, parsed and checked; no meaning attached to keys or tensors. */
#ifndef BURIN_MODEL_GGUF_H
#define BURIN_MODEL_GGUF_H

#include "model/model.h"

typedef enum {
  KV_U8, KV_I8, KV_U16, KV_I16, KV_U32, KV_I32, KV_F32, KV_BOOL, KV_STRING, KV_ARRAY, KV_U64, KV_I64, KV_F64, KV_TYPES
} KvType;

typedef struct {
  Str key;
  KvType type;     /* of the value, or of the elements when count is given */
  bool array;
  uint64_t count;  /* elements of an array, else 1 */
  size_t at;       /* offset of the value or of the first element in its file */
} Kv;

typedef struct {
  const FileMap *file;
  Kv *kv;
  int kvs;
  StrMap key_index;    /* key -> kv */
  Tensor *tensor;      /* data pointers filled in */
  int tensors;
  StrMap tensor_index; /* name -> tensor */
} Gguf;

/* Everything it points to lives in the mapped file or in the arena.  The maps need gguf_close. */
bool gguf_parse(Gguf *g, const FileMap *file, Arena *arena, Err *err);
void gguf_close(Gguf *g);

const Kv *gguf_find(const Gguf *g, const char *key);
/* Typed access; the key may be absent: then *out keeps its value and the result is true.  A wrong type is an error. */
bool gguf_int(const Gguf *g, const char *key, int64_t low, int64_t high, int64_t *out, Err *err);
bool gguf_float(const Gguf *g, const char *key, double *out, Err *err);
bool gguf_bool(const Gguf *g, const char *key, bool *out, Err *err);
bool gguf_str(const Gguf *g, const char *key, Str *out, Err *err);
Reader gguf_at(const Gguf *g, const Kv *kv, Err *err); /* a reader on the value's bytes */
Str gguf_read_str(Reader *r);                          /* one length-prefixed string */

#endif
