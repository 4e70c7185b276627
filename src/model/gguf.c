/* model/gguf: the GGUF container, versions 2 and 3.
 *
 * Source: ggml's specification (docs/gguf.md).  Limits beyond it keep a hostile file from costing memory or time:
 * strings of 64 MiB, arrays of 16 M elements, names under 64 bytes, 4 dimensions, alignment of at most 1 MiB.
 */
#include "model/gguf.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t MAX_STRING = 64u << 20, MAX_ARRAY = 16u << 20, MAX_ALIGNMENT = 1u << 20, MAX_KVS = 1u << 16,
                      MAX_TENSORS = 1u << 20, MAX_DIM = INT32_MAX;
enum { MAX_NAME = 63, MAX_DIMS = 4 };

static const int kv_size[KV_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const kv_name[KV_TYPES] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                              "bool", "string", "array", "u64", "i64", "f64"};

Str gguf_read_str(Reader *r) {
  size_t at = r->at;
  uint64_t n = rd_u64(r);
  if (rd_ok(r) && n > MAX_STRING)
    rd_fail(r, at, "string length: expected at most %llu, found %llu", (unsigned long long)MAX_STRING,
            (unsigned long long)n);
  const uint8_t *p = rd_bytes(r, n);
  return p ? (Str){(const char *)p, (size_t)n} : (Str){"", 0};
}

static KvType read_type(Reader *r) {
  size_t at = r->at;
  uint32_t t = rd_u32(r);
  if (rd_ok(r) && t >= KV_TYPES) rd_fail(r, at, "value type: expected 0 to %d, found %u", KV_TYPES - 1, t);
  return rd_ok(r) ? (KvType)t : KV_U8;
}

static void read_kv(Reader *r, Kv *kv) {
  size_t at = r->at;
  *kv = (Kv){.key = gguf_read_str(r), .count = 1};
  if (rd_ok(r) && (kv->key.n == 0 || kv->key.n > 65535))
    rd_fail(r, at, "key length: expected 1 to 65535, found %zu", kv->key.n);
  kv->type = read_type(r);
  if (kv->type == KV_ARRAY) {
    kv->array = true;
    size_t type_at = r->at;
    kv->type = read_type(r);
    if (rd_ok(r) && kv->type == KV_ARRAY) rd_fail(r, type_at, "key '%.*s': arrays of arrays are not supported", STR_FMT(kv->key));
    size_t count_at = r->at;
    kv->count = rd_u64(r);
    if (rd_ok(r) && kv->count > MAX_ARRAY)
      rd_fail(r, count_at, "key '%.*s': expected an array of at most %llu elements, found %llu", STR_FMT(kv->key),
              (unsigned long long)MAX_ARRAY, (unsigned long long)kv->count);
  }
  kv->at = r->at;
  if (kv->type == KV_STRING)
    for (uint64_t i = 0; i < kv->count && rd_ok(r); i++) gguf_read_str(r);
  else if (rd_ok(r))
    rd_bytes(r, kv->count * (uint64_t)kv_size[kv->type]);
}

static const TensorTypeInfo *find_type(uint32_t number) {
  for (int i = 0; i < T_COUNT; i++)
    if (tensor_type[i].gguf == number) return &tensor_type[i];
  return NULL;
}

/* Names of the types that ggml has and burin does not read, for the error message. */
static const char *foreign_type(uint32_t number) {
  static const char *const name[] = {
      [4] = "Q4_2", [5] = "Q4_3", [9] = "Q8_1", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
      [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S", [23] = "IQ4_XS", [24] = "I8", [25] = "I16",
      [26] = "I32", [27] = "I64", [28] = "F64", [29] = "IQ1_M", [31] = "Q4_0_4_4", [32] = "Q4_0_4_8",
      [33] = "Q4_0_8_8", [34] = "TQ1_0", [35] = "TQ2_0", [39] = "MXFP4"};
  return number < sizeof name / sizeof *name && name[number] ? name[number] : "unknown";
}

/* Leaves the offset within the data section in t->data, as a number, until the section's start is known. */
static void read_tensor(Reader *r, Tensor *t, uint64_t alignment) {
  size_t at = r->at;
  *t = (Tensor){.name = gguf_read_str(r)};
  if (rd_ok(r) && (t->name.n == 0 || t->name.n > MAX_NAME))
    rd_fail(r, at, "length of a tensor's name: expected 1 to %d, found %zu", MAX_NAME, t->name.n);
  size_t dims_at = r->at;
  uint32_t dims = rd_u32(r);
  if (rd_ok(r) && (dims < 1 || dims > MAX_DIMS))
    rd_fail(r, dims_at, "tensor '%.*s': expected 1 to %d dimensions, found %u", STR_FMT(t->name), MAX_DIMS, dims);
  uint64_t ne[MAX_DIMS] = {1, 1, 1, 1}, values = 1;
  for (uint32_t d = 0; d < dims && rd_ok(r); d++) {
    size_t ne_at = r->at;
    ne[d] = rd_u64(r);
    if (rd_ok(r) && (ne[d] < 1 || ne[d] > MAX_DIM))
      rd_fail(r, ne_at, "tensor '%.*s': dimension %u: expected 1 to %llu, found %llu", STR_FMT(t->name), d,
              (unsigned long long)MAX_DIM, (unsigned long long)ne[d]);
    else if (rd_ok(r) && (__builtin_mul_overflow(values, ne[d], &values) || values > INT64_MAX / 8))
      rd_fail(r, ne_at, "tensor '%.*s': the product of its dimensions is too large", STR_FMT(t->name));
  }
  size_t type_at = r->at;
  uint32_t number = rd_u32(r);
  size_t offset_at = r->at;
  uint64_t offset = rd_u64(r);
  if (!rd_ok(r)) return;
  const TensorTypeInfo *type = find_type(number);
  if (!type) {
    rd_fail(r, type_at, "tensor '%.*s': block type %u (%s) is not supported", STR_FMT(t->name), number, foreign_type(number));
    return;
  }
  t->type = (TensorType)(type - tensor_type);
  t->cols = (int64_t)ne[0];
  t->rows = (int64_t)(values / ne[0]);
  if (ne[0] % (uint64_t)type->block) {
    rd_fail(r, dims_at, "tensor '%.*s': %s needs rows of a multiple of %d values, found %llu", STR_FMT(t->name), type->name,
            type->block, (unsigned long long)ne[0]);
    return;
  }
  t->size = values / (uint64_t)type->block * (uint64_t)type->size;
  if (offset % alignment) {
    rd_fail(r, offset_at, "tensor '%.*s': expected an offset that is a multiple of %llu, found %llu", STR_FMT(t->name),
            (unsigned long long)alignment, (unsigned long long)offset);
    return;
  }
  t->data = (const uint8_t *)(uintptr_t)offset;
}

static int by_data(const void *a, const void *b) {
  const uint8_t *x = (*(const Tensor *const *)a)->data, *y = (*(const Tensor *const *)b)->data;
  return x < y ? -1 : x > y;
}

/* Offsets become pointers; every tensor lies inside the file and none overlaps another. */
static bool place_tensors(Gguf *g, Reader *r, uint64_t alignment, Arena *arena) {
  uint64_t start = (r->at + alignment - 1) / alignment * alignment;
  const Tensor **order = arena_alloc(arena, (size_t)g->tensors + 1, sizeof *order, r->err);
  if (!order) return false;
  for (int i = 0; i < g->tensors; i++) {
    Tensor *t = &g->tensor[i];
    uint64_t offset = (uint64_t)(uintptr_t)t->data;
    if (start > r->n || offset > r->n - start || t->size > r->n - start - offset)
      return rd_fail(r, r->at, "tensor '%.*s': expected %llu bytes at offset %llu of the data, found a file of %zu bytes",
                     STR_FMT(t->name), (unsigned long long)t->size, (unsigned long long)offset, r->n);
    t->data = r->p + start + offset;
    order[i] = t;
  }
  qsort(order, (size_t)g->tensors, sizeof *order, by_data);
  for (int i = 1; i < g->tensors; i++)
    if (order[i - 1]->data + order[i - 1]->size > order[i]->data)
      return rd_fail(r, (size_t)(order[i]->data - r->p), "tensor '%.*s' overlaps tensor '%.*s'", STR_FMT(order[i]->name),
                     STR_FMT(order[i - 1]->name));
  return true;
}

static bool read_kvs(Gguf *g, Reader *r, uint64_t n, Arena *arena) {
  g->kv = arena_alloc(arena, (size_t)n + 1, sizeof *g->kv, r->err);
  if (!g->kv || !strmap_init(&g->key_index, (size_t)n, r->err)) return false;
  for (; g->kvs < (int)n && rd_ok(r); g->kvs++) {
    size_t at = r->at;
    Kv *kv = &g->kv[g->kvs];
    read_kv(r, kv);
    if (rd_ok(r) && !strmap_put(&g->key_index, kv->key, g->kvs)) rd_fail(r, at, "key '%.*s' stands twice", STR_FMT(kv->key));
  }
  return rd_ok(r);
}

static bool read_tensors(Gguf *g, Reader *r, uint64_t n, uint64_t alignment, Arena *arena) {
  g->tensor = arena_alloc(arena, (size_t)n + 1, sizeof *g->tensor, r->err);
  if (!g->tensor || !strmap_init(&g->tensor_index, (size_t)n, r->err)) return false;
  for (; g->tensors < (int)n && rd_ok(r); g->tensors++) {
    size_t at = r->at;
    Tensor *t = &g->tensor[g->tensors];
    read_tensor(r, t, alignment);
    if (rd_ok(r) && !strmap_put(&g->tensor_index, t->name, g->tensors))
      rd_fail(r, at, "tensor '%.*s' stands twice", STR_FMT(t->name));
  }
  return rd_ok(r) && place_tensors(g, r, alignment, arena);
}

bool gguf_parse(Gguf *g, const FileMap *file, Arena *arena, Err *err) {
  *g = (Gguf){.file = file};
  Reader r = {file->p, file->n, 0, file->path, err};
  uint32_t magic = rd_u32(&r), version = rd_u32(&r);
  if (rd_ok(&r) && magic != 0x46554747) return rd_fail(&r, 0, "expected the magic 'GGUF', found 0x%08x", magic);
  if (rd_ok(&r) && (version < 2 || version > 3)) return rd_fail(&r, 4, "GGUF version: expected 2 or 3, found %u", version);
  uint64_t tensors = rd_u64(&r), kvs = rd_u64(&r);
  /* the smallest tensor entry takes 33 bytes and the smallest key 14, so a count can be checked before memory is taken */
  if (rd_ok(&r) && (tensors > MAX_TENSORS || tensors > r.n / 33))
    return rd_fail(&r, 8, "number of tensors: expected at most %llu, found %llu",
                   (unsigned long long)(r.n / 33 < MAX_TENSORS ? r.n / 33 : MAX_TENSORS), (unsigned long long)tensors);
  if (rd_ok(&r) && (kvs > MAX_KVS || kvs > r.n / 13))
    return rd_fail(&r, 16, "number of keys: expected at most %llu, found %llu",
                   (unsigned long long)(r.n / 13 < MAX_KVS ? r.n / 13 : MAX_KVS), (unsigned long long)kvs);
  if (!rd_ok(&r) || !read_kvs(g, &r, kvs, arena)) return false;
  int64_t alignment = 32;
  if (!gguf_int(g, "general.alignment", 1, (int64_t)MAX_ALIGNMENT, &alignment, err)) return false;
  if (alignment & (alignment - 1))
    return rd_fail(&r, gguf_find(g, "general.alignment")->at, "general.alignment: expected a power of two, found %lld",
                   (long long)alignment);
  return read_tensors(g, &r, tensors, (uint64_t)alignment, arena);
}

void gguf_close(Gguf *g) {
  strmap_free(&g->key_index);
  strmap_free(&g->tensor_index);
}

/* ---- typed access ---- */

const Kv *gguf_find(const Gguf *g, const char *key) {
  int i = strmap_get(&g->key_index, str_from(key));
  return i < 0 ? NULL : &g->kv[i];
}

Reader gguf_at(const Gguf *g, const Kv *kv, Err *err) {
  return (Reader){g->file->p, g->file->n, kv->at, g->file->path, err};
}

static bool wrong_type(const Gguf *g, const Kv *kv, const char *expected, Err *err) {
  return err_set(err, "%s:%zu: key '%.*s': expected %s, found %s%s", g->file->path, kv->at, STR_FMT(kv->key), expected,
                 kv->array ? "an array of " : "", kv_name[kv->type]);
}

static bool read_int(Reader *r, KvType type, int64_t *out) {
  switch (type) {
    case KV_U8: *out = rd_u8(r); return true;
    case KV_I8: *out = (int8_t)rd_u8(r); return true;
    case KV_U16: *out = rd_u16(r); return true;
    case KV_I16: *out = (int16_t)rd_u16(r); return true;
    case KV_U32: *out = rd_u32(r); return true;
    case KV_I32: *out = (int32_t)rd_u32(r); return true;
    case KV_U64:
    case KV_I64: {
      uint64_t v = rd_u64(r);
      *out = type == KV_U64 && v > INT64_MAX ? INT64_MAX : (int64_t)v;
      return true;
    }
    default: return false;
  }
}

/* An array stands for a number when all its elements are equal (some converters write one value a layer). */
bool gguf_int(const Gguf *g, const char *key, int64_t low, int64_t high, int64_t *out, Err *err) {
  const Kv *kv = gguf_find(g, key);
  if (!kv) return true;
  Reader r = gguf_at(g, kv, err);
  int64_t v = 0;
  for (uint64_t i = 0; i < kv->count; i++) {
    int64_t x;
    if (!read_int(&r, kv->type, &x)) return wrong_type(g, kv, "an integer", err);
    if (i && x != v) return rd_fail(&r, kv->at, "key '%s': values that differ from layer to layer are not supported", key);
    v = x;
  }
  if (kv->count == 0) return wrong_type(g, kv, "an integer", err);
  if (v < low || v > high)
    return rd_fail(&r, kv->at, "key '%s': expected %lld to %lld, found %lld", key, (long long)low, (long long)high,
                   (long long)v);
  *out = v;
  return true;
}

bool gguf_float(const Gguf *g, const char *key, double *out, Err *err) {
  const Kv *kv = gguf_find(g, key);
  if (!kv) return true;
  if (kv->array || (kv->type != KV_F32 && kv->type != KV_F64)) return wrong_type(g, kv, "a float", err);
  Reader r = gguf_at(g, kv, err);
  *out = kv->type == KV_F32 ? (double)rd_f32(&r) : rd_f64(&r);
  return true;
}

bool gguf_bool(const Gguf *g, const char *key, bool *out, Err *err) {
  const Kv *kv = gguf_find(g, key);
  if (!kv) return true;
  if (kv->array || kv->type != KV_BOOL) return wrong_type(g, kv, "a bool", err);
  Reader r = gguf_at(g, kv, err);
  *out = rd_u8(&r) != 0;
  return true;
}

bool gguf_str(const Gguf *g, const char *key, Str *out, Err *err) {
  const Kv *kv = gguf_find(g, key);
  if (!kv) return true;
  if (kv->array || kv->type != KV_STRING) return wrong_type(g, kv, "a string", err);
  Reader r = gguf_at(g, kv, err);
  *out = gguf_read_str(&r);
  return true;
}
