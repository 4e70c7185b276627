/* cmd/info: burin info FILE */
#include "cmd/cmd.h"

#include <stdio.h>

static json_t *text_of(Str s) {
  json_t *j = json_stringn(s.s ? s.s : "", s.n);
  return j ? j : json_string("(not UTF-8)");
}

typedef struct {
  const char *kind;
  Str arch, name;
  char hash[65];
  uint64_t parameters;
  int layers, context;
  double bits;
} Common;

static json_t *common_json(const Common *c) {
  json_t *o = json_object();
  json_object_set_new(o, "kind", json_string(c->kind));
  json_object_set_new(o, "arch", text_of(c->arch));
  json_object_set_new(o, "name", text_of(c->name));
  json_object_set_new(o, "hash", json_string(c->hash));
  json_object_set_new(o, "params", json_integer((json_int_t)c->parameters));
  json_object_set_new(o, "layers", json_integer(c->layers));
  json_object_set_new(o, "ctx", json_integer(c->context));
  json_object_set_new(o, "bits_per_weight", json_real(c->bits));
  return o;
}

static void common_print(const Common *c) {
  printf("kind             %s\narchitecture     %.*s\nname             %.*s\nhash             %s\n", c->kind, STR_FMT(c->arch),
         STR_FMT(c->name), c->hash);
  printf("parameters       %.1f M\nlayers           %d\ncontext          %d tokens\n", (double)c->parameters / 1e6, c->layers,
         c->context);
}

static void shape_print(int dim, int ffn, int heads, int kv_heads, int head_dim, int vocab) {
  printf("shape            dim %d, ffn %d, heads %d of %d, kv heads %d, vocabulary %d\n", dim, ffn, heads, head_dim, kv_heads, vocab);
}

/* ---- models ---- */

static void count_types(const Model *m, uint64_t values[T_COUNT], uint64_t *bytes) {
  for (int id = 0; id < M_COUNT; id++)
    for (int l = 0; l < (id < M_FIRST_OF_LAYER ? 1 : m->shape.layers); l++) {
      const Tensor *t = id < M_FIRST_OF_LAYER ? m->tensor[id] : model_layer_tensor(m, l, (TensorId)id);
      if (!t || (id == M_HEAD && m->tied)) continue;
      values[t->type] += (uint64_t)t->rows * (uint64_t)t->cols;
      *bytes += t->size;
    }
}

static bool info_model(const char *path, bool json, Err *err) {
  Model m;
  if (!model_open(&m, path, err)) return false;
  bool ok = model_hash(&m, err);
  if (ok) {
    uint64_t values[T_COUNT] = {0}, bytes = 0;
    count_types(&m, values, &bytes);
    Common c = {"model", m.arch, m.name, "", m.parameters, m.shape.layers, m.shape.context, 8.0 * (double)bytes / (double)m.parameters};
    hex_of(m.hash, 32, c.hash);
    if (json) {
      json_t *o = common_json(&c);
      json_object_set_new(o, "arithmetic", json_null());
      print_json(o);
      json_decref(o);
    } else {
      common_print(&c);
      shape_print(m.shape.dim, m.shape.ffn, m.shape.heads, m.shape.kv_heads, m.shape.head_dim, m.shape.vocab);
      printf("bits a weight    %.3f (all tensors)\ntypes           ", c.bits);
      for (int t = 0; t < T_COUNT; t++)
        if (values[t]) printf(" %s %.1f %%", tensor_type[t].name, 100.0 * (double)values[t] / (double)m.parameters);
      printf("\ntokenizer        %s, chat template %s\n",
             m.vocab.kind == VOCAB_SPM ? "SentencePiece BPE" : m.vocab.kind == VOCAB_BYTE_BPE ? "byte-level BPE" : "none",
             m.vocab.chat_template.n ? "yes" : "no");
    }
  }
  model_close(&m);
  return ok;
}

/* ---- chips ---- */

/* Of the codes of one kind, on average over the layers. */
static double kind_bits(const Chip *c, int kind) {
  if (kind >= MAT_PER_LAYER) return kind == MAT_HEAD ? c->head.bits : c->embed.bits;
  double sum = 0;
  for (int l = 0; l < c->shape.layers; l++) sum += c->layer[l][kind].bits;
  return sum / c->shape.layers;
}

static json_t *bits_json(const Chip *c) {
  json_t *o = json_object();
  for (int k = 0; k < MAT_KINDS; k++)
    json_object_set_new(o, mat_name[k], json_real(kind_bits(c, k)));
  return o;
}

static bool info_chip(const char *path, bool json, Err *err) {
  Chip chip;
  if (!chip_open(&chip, path, err)) return false;
  bool ok = chip_verify_all(&chip, err);
  if (ok) {
    json_error_t e;
    json_t *p = json_loadb(chip.provenance.s, chip.provenance.n, 0, &e), *source = json_object_get(p, "source");
    const char *arch = json_string_value(json_object_get(source, "arch")), *name = json_string_value(json_object_get(source, "name"));
    Common c = {"chip", str_from(arch ? arch : "unknown"), str_from(name ? name : ""), "", chip_weights(&chip), chip.shape.layers,
                chip.shape.context, chip_bits_per_weight(&chip)};
    chip_hash_text(&chip, c.hash);
    if (json) {
      json_t *o = common_json(&c);
      json_object_set_new(o, "arithmetic", json_integer(CHIP_ARITHMETIC));
      json_object_set_new(o, "bytes", json_integer((json_int_t)chip.bytes));
      json_object_set_new(o, "bytes_per_token", json_integer((json_int_t)(chip_bits_per_token(&chip) / 8)));
      json_object_set_new(o, "bits", bits_json(&chip));
      if (p) json_object_set(o, "provenance", p);
      print_json(o);
      json_decref(o);
    } else {
      common_print(&c);
      const ChipShape *s = &chip.shape;
      shape_print(s->dim, s->ffn, s->heads, s->kv_heads, s->head_dim, s->vocab);
      printf("arithmetic       version %d\nbits a weight    %.3f (%.1f MB read for a token)\n", CHIP_ARITHMETIC, c.bits,
             (double)chip_bits_per_token(&chip) / 8e6);
      printf("bits            ");
      for (int k = 0; k < MAT_KINDS; k++)
        printf(" %s %.3g", mat_name[k], kind_bits(&chip, k));
      printf("\nfile             %.1f MB\nprovenance       %.*s\n", (double)chip.bytes / 1e6, (int)chip.provenance.n, chip.provenance.s);
    }
    json_decref(p);
  }
  chip_close(&chip);
  return ok;
}

int cmd_info(int argc, char **argv) {
  const char *path;
  bool json = false;
  const Option option[] = {{"json", 0, OPT_FLAG, &json, "", "print JSON"}};
  const Usage usage = {"info", "burin info FILE [--json]", "Says what a model or chip file holds, after checking all of it.", option, 1, 1, 0};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  Err err = {0};
  FileMap f;
  if (!map_open(&f, path, &err)) return fail("info", &err);
  bool is_model = model_is(&f), is_chip = chip_is(&f);
  map_close(&f);
  if (!is_model && !is_chip) err_set(&err, "%s:0: neither a chip (magic 'BURINCHP') nor a model (magic 'GGUF')", path);
  bool ok = is_model ? info_model(path, json, &err) : is_chip && info_chip(path, json, &err);
  return ok ? STATUS_DONE : fail("info", &err);
}
