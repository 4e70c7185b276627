/* model/arch: what the keys and tensors of an architecture mean.  One table an architecture; the code below reads it.
 *
 * To add an architecture: add a table.  If it needs an operation that the integer definition does not have, the cast
 * must learn it first (doc/arithmetic.md).
 */
#include "model/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Symbolic extents of a tensor. */
typedef enum { ONE, DIM, FFN, QDIM, KVDIM, VOCAB, ROT2 } Extent;

typedef struct {
  const char *name; /* after "blk.N." for a tensor of a layer */
  Extent rows, cols;
  bool optional;
} TensorRule;

typedef struct {
  const char *arch;
  RotaryPairs pairs;
  TensorRule tensor[M_COUNT];
  const char *ignored[4]; /* tensors without meaning that old converters wrote, as endings of names */
} ArchTable;

static const ArchTable arch_table[] = {
    {"llama",
     PAIRS_ADJACENT, /* converters permute q and k of this architecture so that pairs are adjacent */
     {
         [M_EMBED] = {"token_embd.weight", VOCAB, DIM, false},
         [M_OUT_NORM] = {"output_norm.weight", ONE, DIM, false},
         [M_HEAD] = {"output.weight", VOCAB, DIM, true}, /* absent: tied to the embedding */
         [M_ROPE_FACTORS] = {"rope_freqs.weight", ONE, ROT2, true},
         [M_ATTN_NORM] = {"attn_norm.weight", ONE, DIM, false},
         [M_Q] = {"attn_q.weight", QDIM, DIM, false},
         [M_K] = {"attn_k.weight", KVDIM, DIM, false},
         [M_V] = {"attn_v.weight", KVDIM, DIM, false},
         [M_O] = {"attn_output.weight", DIM, QDIM, false},
         [M_FFN_NORM] = {"ffn_norm.weight", ONE, DIM, false},
         [M_GATE] = {"ffn_gate.weight", FFN, DIM, false},
         [M_UP] = {"ffn_up.weight", FFN, DIM, false},
         [M_DOWN] = {"ffn_down.weight", DIM, FFN, false},
     },
     {"attn_rot_embd", "attention.rotary_emb.inv_freq", NULL}},
};

static int64_t extent_of(const Shape *s, Extent e) {
  switch (e) {
    case ONE: return 1;
    case DIM: return s->dim;
    case FFN: return s->ffn;
    case QDIM: return (int64_t)s->heads * s->head_dim;
    case KVDIM: return (int64_t)s->kv_heads * s->head_dim;
    case VOCAB: return s->vocab;
    case ROT2: return s->rotary_dims / 2;
  }
  return 0;
}

/* ---- hyper-parameters ---- */

static bool require_int(const Gguf *g, Str arch, const char *key, int64_t low, int64_t high, int *out, Err *err) {
  char full[160];
  snprintf(full, sizeof full, "%.*s.%s", STR_FMT(arch), key);
  int64_t v = -1;
  if (!gguf_int(g, full, low, high, &v, err)) return false;
  if (v < 0) return err_set(err, "%s: key '%s' is missing", g->file->path, full);
  *out = (int)v;
  return true;
}

static const char *key_of(char *buf, size_t n, Str arch, const char *key) {
  snprintf(buf, n, "%.*s.%s", STR_FMT(arch), key);
  return buf;
}

static bool read_rotary(const Gguf *g, Str arch, Shape *s, Err *err) {
  char k[160];
  int64_t dims = s->head_dim;
  s->rotary_base = 10000;
  s->rotary_scale = 1;
  double factor = 1;
  Str scaling = STR("none");
  if (!gguf_int(g, key_of(k, sizeof k, arch, "rope.dimension_count"), 2, s->head_dim, &dims, err) ||
      !gguf_float(g, key_of(k, sizeof k, arch, "rope.freq_base"), &s->rotary_base, err) ||
      !gguf_float(g, key_of(k, sizeof k, arch, "rope.scale_linear"), &factor, err) ||
      !gguf_str(g, key_of(k, sizeof k, arch, "rope.scaling.type"), &scaling, err) ||
      !gguf_float(g, key_of(k, sizeof k, arch, "rope.scaling.factor"), &factor, err))
    return false;
  s->rotary_dims = (int)dims;
  if (dims % 2) return err_set(err, "%s: rope.dimension_count: expected an even number, found %lld", g->file->path, (long long)dims);
  if (!(s->rotary_base > 1 && s->rotary_base < 1e12))
    return err_set(err, "%s: rope.freq_base: expected 1 to 1e12, found %g", g->file->path, s->rotary_base);
  bool none = str_eq(scaling, STR("none"));
  if (!none && !str_eq(scaling, STR("linear")))
    return err_set(err, "%s: rope.scaling.type '%.*s' is not supported (expected none or linear)", g->file->path, STR_FMT(scaling));
  if (!(factor >= 1e-3 && factor <= 1e6))
    return err_set(err, "%s: rope.scaling.factor: expected 0.001 to 1e6, found %g", g->file->path, factor);
  if (!none || gguf_find(g, key_of(k, sizeof k, arch, "rope.scale_linear"))) s->rotary_scale = 1 / factor;
  return true;
}

static bool read_shape(const Gguf *g, Str arch, Shape *s, Err *err) {
  char k[160];
  if (!require_int(g, arch, "block_count", 1, 1000, &s->layers, err) ||
      !require_int(g, arch, "embedding_length", 2, 65536, &s->dim, err) ||
      !require_int(g, arch, "feed_forward_length", 1, 262144, &s->ffn, err) ||
      !require_int(g, arch, "attention.head_count", 1, 1024, &s->heads, err) ||
      !require_int(g, arch, "context_length", 1, 1 << 24, &s->context, err))
    return false;
  int64_t kv_heads = s->heads, experts = 0, head_dim = s->dim / s->heads, value_dim;
  if (!gguf_int(g, key_of(k, sizeof k, arch, "attention.head_count_kv"), 1, 1024, &kv_heads, err) ||
      !gguf_int(g, key_of(k, sizeof k, arch, "attention.key_length"), 1, 1024, &head_dim, err))
    return false;
  value_dim = head_dim;
  if (!gguf_int(g, key_of(k, sizeof k, arch, "attention.value_length"), 1, 1024, &value_dim, err) ||
      !gguf_int(g, key_of(k, sizeof k, arch, "expert_count"), 0, INT32_MAX, &experts, err))
    return false;
  if (experts) return err_set(err, "%s: a mixture of %lld experts is not supported", g->file->path, (long long)experts);
  if (value_dim != head_dim)
    return err_set(err, "%s: key_length %lld and value_length %lld differ: not supported", g->file->path,
                   (long long)head_dim, (long long)value_dim);
  s->kv_heads = (int)kv_heads;
  s->head_dim = (int)head_dim;
  if (s->heads % s->kv_heads)
    return err_set(err, "%s: head_count %d is not a multiple of head_count_kv %d", g->file->path, s->heads, s->kv_heads);
  if (s->head_dim % 2) return err_set(err, "%s: head dimension: expected an even number, found %d", g->file->path, s->head_dim);
  if (!gguf_find(g, key_of(k, sizeof k, arch, "attention.layer_norm_rms_epsilon")))
    return err_set(err, "%s: key '%s' is missing", g->file->path, k);
  if (!gguf_float(g, k, &s->eps, err)) return false;
  if (!(s->eps >= 0 && s->eps < 1)) return err_set(err, "%s: key '%s': expected 0 to 1, found %g", g->file->path, k, s->eps);
  return read_rotary(g, arch, s, err);
}

/* ---- tensors ---- */

static bool check_tensor(const Model *m, const Tensor *t, const TensorRule *rule, Err *err) {
  int64_t rows = extent_of(&m->shape, rule->rows), cols = extent_of(&m->shape, rule->cols);
  if (t->rows == rows && t->cols == cols) return true;
  return err_set(err, "%s: tensor '%.*s': expected %lld rows of %lld values, found %lld of %lld", m->file[0].path,
                 STR_FMT(t->name), (long long)rows, (long long)cols, (long long)t->rows, (long long)t->cols);
}

/* The slot in the model that a tensor's name stands for; NULL with *known set where it is known and has none. */
static const Tensor **slot_of(Model *m, const ArchTable *table, Str name, const TensorRule **rule, bool *known) {
  *known = false;
  int layer = -1;
  if (str_starts(name, STR("blk."))) {
    size_t i = 4;
    for (layer = 0; i < name.n && i < 10 && name.s[i] >= '0' && name.s[i] <= '9'; i++) layer = layer * 10 + (name.s[i] - '0');
    if (i == 4 || i >= name.n || name.s[i] != '.' || layer >= m->shape.layers) return NULL;
    name = (Str){name.s + i + 1, name.n - i - 1};
  }
  for (int i = 0; table->ignored[i]; i++) *known |= str_ends(name, str_from(table->ignored[i]));
  for (int id = layer < 0 ? 0 : M_FIRST_OF_LAYER, end = layer < 0 ? M_FIRST_OF_LAYER : M_COUNT; id < end; id++) {
    if (!table->tensor[id].name || !str_eq(name, str_from(table->tensor[id].name))) continue;
    *known = true;
    *rule = &table->tensor[id];
    return layer < 0 ? &m->tensor[id] : &m->layer[layer][id - M_FIRST_OF_LAYER];
  }
  return NULL;
}

static bool take_tensors(Model *m, const ArchTable *table, const Gguf *g, StrMap *seen, Err *err) {
  for (int i = 0; i < g->tensors; i++) {
    const Tensor *t = &g->tensor[i];
    const TensorRule *rule = NULL;
    bool known;
    const Tensor **slot = slot_of(m, table, t->name, &rule, &known);
    if (!known)
      return err_set(err, "%s: tensor '%.*s' is not part of architecture %s", g->file->path, STR_FMT(t->name), table->arch);
    if (!strmap_put(seen, t->name, i)) return err_set(err, "%s: tensor '%.*s' stands in two files", g->file->path, STR_FMT(t->name));
    if (!slot) continue;
    if (!check_tensor(m, t, rule, err)) return false;
    *slot = t;
    m->parameters += (uint64_t)t->rows * (uint64_t)t->cols;
  }
  return true;
}

static bool find_tensors(Model *m, const ArchTable *table, const Gguf *g, Err *err) {
  m->layer = arena_alloc(&m->arena, (size_t)m->shape.layers, sizeof *m->layer, err);
  StrMap seen = {0};
  size_t total = 0;
  for (int f = 0; f < m->files; f++) total += (size_t)g[f].tensors;
  bool ok = m->layer && strmap_init(&seen, total, err);
  for (int f = 0; ok && f < m->files; f++) ok = take_tensors(m, table, &g[f], &seen, err);
  strmap_free(&seen);
  for (int id = 0; ok && id < M_COUNT; id++) {
    const TensorRule *rule = &table->tensor[id];
    if (!rule->name || rule->optional) continue;
    for (int l = 0; ok && l < (id < M_FIRST_OF_LAYER ? 1 : m->shape.layers); l++) {
      if (id < M_FIRST_OF_LAYER ? m->tensor[id] : m->layer[l][id - M_FIRST_OF_LAYER]) continue;
      ok = id < M_FIRST_OF_LAYER ? err_set(err, "%s: tensor '%s' is missing", m->file[0].path, rule->name)
                                 : err_set(err, "%s: tensor 'blk.%d.%s' is missing", m->file[0].path, l, rule->name);
    }
  }
  if (ok && !m->tensor[M_HEAD]) {
    m->tensor[M_HEAD] = m->tensor[M_EMBED];
    m->tied = true;
  }
  return ok;
}

/* A weight that is not a number would only surface as nonsense text; the vectors are small enough to look at here. */
static bool check_rope_factors(const Model *m, Err *err) {
  const Tensor *t = m->tensor[M_ROPE_FACTORS];
  if (!t) return true;
  float f[1024];
  tensor_rows(t, 0, 1, f);
  for (int i = 0; i < t->cols; i++)
    if (!(f[i] > 1e-6f && f[i] < 1e6f))
      return err_set(err, "%s: tensor '%.*s': value %d: expected 1e-6 to 1e6, found %g", m->file[0].path, STR_FMT(t->name), i,
                     (double)f[i]);
  return true;
}

/* ---- vocabulary ---- */

static const Kv *array_of(const Gguf *g, const char *key, KvType type, const char *what, Err *err) {
  const Kv *kv = gguf_find(g, key);
  if (!kv) err_set(err, "%s: key '%s' is missing", g->file->path, key);
  else if (!kv->array || kv->type != type) {
    err_set(err, "%s:%zu: key '%s': expected an array of %s", g->file->path, kv->at, key, what);
    kv = NULL;
  }
  return kv;
}

static bool read_pieces(const Gguf *g, Vocab *v, Arena *arena, Err *err) {
  const Kv *tokens = array_of(g, "tokenizer.ggml.tokens", KV_STRING, "strings", err);
  if (!tokens) return false;
  if (tokens->count < 1) return err_set(err, "%s:%zu: tokenizer.ggml.tokens is empty", g->file->path, tokens->at);
  v->n = (int)tokens->count;
  v->piece = arena_alloc(arena, (size_t)v->n, sizeof *v->piece, err);
  v->type = arena_alloc(arena, (size_t)v->n, 1, err);
  if (!v->piece || !v->type) return false;
  Reader r = gguf_at(g, tokens, err);
  for (int i = 0; i < v->n; i++) v->piece[i] = gguf_read_str(&r);
  memset(v->type, PIECE_NORMAL, (size_t)v->n);
  if (gguf_find(g, "tokenizer.ggml.token_type") || v->kind == VOCAB_SPM) {
    const Kv *types = array_of(g, "tokenizer.ggml.token_type", KV_I32, "i32", err);
    if (!types) return false;
    r = gguf_at(g, types, err);
    if (types->count != tokens->count)
      return rd_fail(&r, r.at, "tokenizer.ggml.token_type: expected %d elements, found %llu", v->n, (unsigned long long)types->count);
    for (int i = 0; i < v->n; i++) {
      uint32_t t = rd_u32(&r);
      if (t < PIECE_NORMAL || t > PIECE_BYTE) return rd_fail(&r, r.at - 4, "type of token %d: expected 1 to 6, found %u", i, t);
      v->type[i] = (uint8_t)t;
    }
  }
  if (v->kind != VOCAB_SPM) return rd_ok(&r);
  const Kv *scores = array_of(g, "tokenizer.ggml.scores", KV_F32, "f32", err);
  if (!scores) return false;
  r = gguf_at(g, scores, err);
  if (scores->count != tokens->count)
    return rd_fail(&r, r.at, "tokenizer.ggml.scores: expected %d elements, found %llu", v->n, (unsigned long long)scores->count);
  v->score = arena_alloc(arena, (size_t)v->n, sizeof *v->score, err);
  for (int i = 0; v->score && i < v->n; i++) {
    v->score[i] = rd_f32(&r);
    if (isnan(v->score[i])) return rd_fail(&r, r.at - 4, "score of token %d: expected a number, found NaN", i);
  }
  return v->score != NULL;
}

/* Merges are pairs of pieces parted by the first space after their first byte; all three pieces must exist. */
static bool read_merges(const Gguf *g, Vocab *v, Arena *arena, Err *err) {
  const Kv *kv = array_of(g, "tokenizer.ggml.merges", KV_STRING, "strings", err);
  StrMap index = {0};
  if (!kv || !strmap_init(&index, (size_t)v->n, err)) return false;
  for (int i = 0; i < v->n; i++) strmap_put(&index, v->piece[i], i);
  v->merges = (int)kv->count;
  v->merge = arena_alloc(arena, (size_t)v->merges + 1, sizeof *v->merge, err);
  Reader r = gguf_at(g, kv, err);
  Buf joined = {0};
  bool ok = v->merge != NULL;
  for (int i = 0; ok && i < v->merges; i++) {
    size_t at = r.at;
    Str s = gguf_read_str(&r);
    const char *space = s.n > 1 ? memchr(s.s + 1, ' ', s.n - 1) : NULL;
    if (!space) {
      ok = rd_fail(&r, at, "merge %d: expected two pieces parted by a space, found '%.*s'", i, STR_FMT(s));
      break;
    }
    Str a = {s.s, (size_t)(space - s.s)}, b = {space + 1, s.n - a.n - 1};
    joined.n = 0;
    ok = buf_put(&joined, a.s, a.n, err) && buf_put(&joined, b.s, b.n, err);
    int32_t left = strmap_get(&index, a), right = strmap_get(&index, b), both = ok ? strmap_get(&index, (Str){joined.s, joined.n}) : -1;
    if (ok && (left < 0 || right < 0 || both < 0))
      ok = rd_fail(&r, at, "merge %d: '%.*s' names a piece that the vocabulary lacks", i, STR_FMT(s));
    v->merge[i][0] = (uint32_t)left;
    v->merge[i][1] = (uint32_t)right;
    v->merge[i][2] = (uint32_t)both;
  }
  buf_free(&joined);
  strmap_free(&index);
  return ok;
}

static bool read_special(const Gguf *g, Vocab *v, Err *err) {
  const struct {
    const char *key;
    int *out;
  } id[] = {{"tokenizer.ggml.bos_token_id", &v->bos},
            {"tokenizer.ggml.eos_token_id", &v->eos},
            {"tokenizer.ggml.eot_token_id", &v->eot},
            {"tokenizer.ggml.unknown_token_id", &v->unk}};
  for (size_t i = 0; i < sizeof id / sizeof *id; i++) {
    int64_t x = -1;
    if (!gguf_int(g, id[i].key, 0, v->n - 1, &x, err)) return false;
    *id[i].out = (int)x;
  }
  v->add_bos = v->kind == VOCAB_SPM || str_eq(v->pre, STR("llama-bpe"));
  v->add_space_prefix = v->kind == VOCAB_SPM;
  return gguf_bool(g, "tokenizer.ggml.add_bos_token", &v->add_bos, err) &&
         gguf_bool(g, "tokenizer.ggml.add_eos_token", &v->add_eos, err) &&
         gguf_bool(g, "tokenizer.ggml.add_space_prefix", &v->add_space_prefix, err) &&
         gguf_str(g, "tokenizer.chat_template", &v->chat_template, err);
}

static bool read_vocab(const Gguf *g, Vocab *v, Arena *arena, Err *err) {
  *v = (Vocab){.bos = -1, .eos = -1, .eot = -1, .unk = -1};
  Str kind = STR("none");
  v->pre = STR("default");
  if (!gguf_str(g, "tokenizer.ggml.model", &kind, err) || !gguf_str(g, "tokenizer.ggml.pre", &v->pre, err)) return false;
  if (str_eq(kind, STR("none")) || str_eq(kind, STR("no_vocab"))) return true;
  if (str_eq(kind, STR("gpt2"))) v->kind = VOCAB_BYTE_BPE;
  else if (str_eq(kind, STR("llama"))) v->kind = VOCAB_SPM;
  else return err_set(err, "%s: tokenizer model '%.*s' is not supported (expected gpt2 or llama)", g->file->path, STR_FMT(kind));
  return read_pieces(g, v, arena, err) && (v->kind != VOCAB_BYTE_BPE || read_merges(g, v, arena, err)) &&
         read_special(g, v, err);
}

/* ---- opening ---- */

static bool understand(Model *m, const Gguf *g, Err *err) {
  const char *path = m->file[0].path;
  m->name = m->license = STR("");
  if (!gguf_str(g, "general.architecture", &m->arch, err) || !gguf_str(g, "general.name", &m->name, err) ||
      !gguf_str(g, "general.license", &m->license, err))
    return false;
  if (!m->arch.s) return err_set(err, "%s: key 'general.architecture' is missing", path);
  const ArchTable *table = NULL;
  for (size_t i = 0; i < sizeof arch_table / sizeof *arch_table; i++)
    if (str_eq(m->arch, str_from(arch_table[i].arch))) table = &arch_table[i];
  if (!table) return err_set(err, "%s: architecture '%.*s' is not supported (expected llama)", path, STR_FMT(m->arch));
  if (!read_shape(g, m->arch, &m->shape, err) || !read_vocab(g, &m->vocab, &m->arena, err)) return false;
  m->shape.pairs = table->pairs;
  int64_t vocab = m->vocab.n; /* the tokenizer's count rules; the key serves models without a tokenizer */
  char key[160];
  if (!vocab && !gguf_int(g, key_of(key, sizeof key, m->arch, "vocab_size"), 1, 1 << 24, &vocab, err)) return false;
  if (!vocab) return err_set(err, "%s: neither a tokenizer nor key '%s' says the vocabulary's size", path, key);
  m->shape.vocab = (int)vocab;
  return find_tensors(m, table, g, err) && check_rope_factors(m, err);
}

/* NAME-00001-of-0000N.gguf: the path of part `part`; false where the name has not this form. */
static bool split_path(const char *path, int part, int count, char *out, size_t n) {
  size_t len = strlen(path);
  if (len < 20 || len >= n || strcmp(path + len - 5, ".gguf") != 0 || path[len - 20] != '-' || memcmp(path + len - 14, "-of-", 4) != 0)
    return false;
  memcpy(out, path, len - 19);
  return snprintf(out + len - 19, n - (len - 19), "%05d-of-%05d.gguf", part + 1, count) < (int)(n - (len - 19));
}

static bool open_parts(Model *m, Gguf **g, const char *path, Err *err) {
  int64_t count = 1, part = 0;
  if (!gguf_int(*g, "split.count", 1, 1000, &count, err) || !gguf_int(*g, "split.no", 0, 999, &part, err)) return false;
  if (count == 1) return true;
  char other[4096];
  if (part != 0) return err_set(err, "%s: this is part %lld of a split model: open the first part", path, (long long)part + 1);
  if (!split_path(path, 0, (int)count, other, sizeof other) || strcmp(path, other) != 0)
    return err_set(err, "%s: part 1 of %lld must be named NAME-00001-of-%05lld.gguf", path, (long long)count, (long long)count);
  FileMap *file = arena_alloc(&m->arena, (size_t)count, sizeof *file, err);
  Gguf *all = arena_alloc(&m->arena, (size_t)count, sizeof *all, err);
  if (!file || !all) return false;
  file[0] = m->file[0];
  all[0] = (*g)[0];
  all[0].file = &file[0];
  m->file = file;
  *g = all;
  for (int i = 1; i < (int)count; i++) {
    split_path(path, i, (int)count, other, sizeof other);
    if (!map_open(&file[i], other, err)) return false;
    m->files = i + 1;
    int64_t no = -1;
    if (!gguf_parse(&all[i], &file[i], &m->arena, err) || !gguf_int(&all[i], "split.no", 0, 999, &no, err)) return false;
    if (no != i) return err_set(err, "%s: split.no: expected %d, found %lld", other, i, (long long)no);
  }
  return true;
}

bool model_open(Model *m, const char *path, Err *err) {
  *m = (Model){0};
  m->file = arena_alloc(&m->arena, 1, sizeof *m->file, err);
  Gguf *g = arena_alloc(&m->arena, 1, sizeof *g, err);
  bool ok = m->file && g && map_open(m->file, path, err);
  if (ok) m->files = 1;
  ok = ok && gguf_parse(g, m->file, &m->arena, err) && open_parts(m, &g, path, err) && understand(m, g, err);
  for (int i = 0; g && i < (m->files ? m->files : 1); i++) gguf_close(&g[i]);
  if (!ok) model_close(m);
  return ok;
}

void model_close(Model *m) {
  for (int i = 0; i < m->files; i++) map_close(&m->file[i]);
  arena_free(&m->arena);
  *m = (Model){0};
}

bool model_hash(Model *m, Err *err) {
  if (m->files == 1) return sha256(m->file[0].p, m->file[0].n, m->hash, err);
  uint8_t *each = mem_alloc((size_t)m->files, 32, err);
  bool ok = each != NULL;
  for (int i = 0; ok && i < m->files; i++) ok = sha256(m->file[i].p, m->file[i].n, each + 32 * i, err);
  ok = ok && sha256(each, (size_t)m->files * 32, m->hash, err);
  mem_free(each);
  return ok;
}

bool model_is(const FileMap *file) { return file->n >= 4 && memcmp(file->p, "GGUF", 4) == 0; }

void model_rotary_frequencies(const Model *m, double *out) {
  const Shape *s = &m->shape;
  float factor[1024];
  if (m->tensor[M_ROPE_FACTORS]) tensor_rows(m->tensor[M_ROPE_FACTORS], 0, 1, factor);
  for (int i = 0; i < s->rotary_dims / 2; i++) {
    out[i] = pow(s->rotary_base, -2.0 * i / s->rotary_dims) * s->rotary_scale;
    if (m->tensor[M_ROPE_FACTORS]) out[i] /= (double)factor[i];
  }
}
