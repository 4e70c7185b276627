/* rtl/reference: a token through the chip's scalar arithmetic, keeping every vector that the machine makes on the way. */
#include "rtl/rtl.h"

#include <string.h>

const char *const rtl_vector_name[VECTORS] = {
    "embed", "attn_in", "attn_scale", "qkv",       "qkv8",    "attention",  "o_in",   "o_scale", "h_o",        "ffn_in", "ffn_scale",
    "gate",  "up",      "act",        "butterfly", "down_in", "down_scale", "h_down", "head_in", "head_scale", "logits"};

struct RtlReference {
  const RtlDesign *d;
  const Chip *c;
  int position;
  int32_t *h;          /* (dim) */
  int32_t *scratch;    /* (widest) */
  int8_t *a;           /* (widest, whole groups) */
  int8_t *k, *v;       /* (layers, context, kv heads, head_dim) */
  uint16_t *k_step, *v_step; /* (layers, kv heads, context) */
  int8_t *q8;          /* (heads, head_dim) */
  Step *q_step;        /* (heads) */
  int32_t *vector[VECTORS]; /* (layers, size) */
  int size[VECTORS];
  bool head;
};

static int widest(const ChipShape *s) {
  int n = s->dim > s->ffn ? s->dim : s->ffn;
  n = n > s->heads * s->head_dim ? n : s->heads * s->head_dim;
  return (n + GROUP - 1) / GROUP * GROUP;
}

static bool of_layer(RtlVector v) { return v != VEC_EMBED && v < VEC_HEAD_IN; }

RtlReference *rtl_reference_new(const RtlDesign *d, const Chip *c, Err *err) {
  const ChipShape *s = &d->shape;
  RtlReference *r = mem_alloc(1, sizeof *r, err);
  if (!r) return NULL;
  r->d = d;
  r->c = c;
  int q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim, wide = widest(s);
  const int size[VECTORS] = {[VEC_EMBED] = s->dim, [VEC_ATTN_IN] = s->dim, [VEC_ATTN_SCALE] = 2, [VEC_QKV] = q + 2 * kv, [VEC_QKV8] = q + 2 * kv,
                             [VEC_ATTENTION] = q, [VEC_O_IN] = q, [VEC_O_SCALE] = 2, [VEC_H_O] = s->dim, [VEC_FFN_IN] = s->dim,
                             [VEC_FFN_SCALE] = 2, [VEC_GATE] = s->ffn, [VEC_UP] = s->ffn, [VEC_ACT] = s->ffn, [VEC_BUTTERFLY] = s->ffn,
                             [VEC_DOWN_IN] = s->ffn, [VEC_DOWN_SCALE] = 2, [VEC_H_DOWN] = s->dim, [VEC_HEAD_IN] = s->dim, [VEC_HEAD_SCALE] = 2,
                             [VEC_LOGITS] = s->vocab};
  size_t cells = (size_t)s->layers * (size_t)d->knobs.context * (size_t)s->kv_heads;
  bool ok = (r->h = mem_alloc((size_t)s->dim, 4, err)) && (r->scratch = mem_alloc((size_t)wide, 4, err)) && (r->a = mem_alloc((size_t)wide, 1, err)) &&
            (r->k = mem_alloc(cells, (size_t)s->head_dim, err)) && (r->v = mem_alloc(cells, (size_t)s->head_dim, err)) &&
            (r->k_step = mem_alloc(cells, 2, err)) && (r->v_step = mem_alloc(cells, 2, err)) && (r->q8 = mem_alloc((size_t)q, 1, err)) &&
            (r->q_step = mem_alloc((size_t)s->heads, sizeof *r->q_step, err));
  for (RtlVector v = 0; ok && v < VECTORS; v++) {
    r->size[v] = size[v];
    ok = (r->vector[v] = mem_alloc((size_t)size[v] * (size_t)(of_layer(v) ? s->layers : 1), 4, err)) != NULL;
  }
  if (ok) return r;
  rtl_reference_free(r);
  return NULL;
}

void rtl_reference_free(RtlReference *r) {
  if (!r) return;
  void *all[] = {r->h, r->scratch, r->a, r->k, r->v, r->k_step, r->v_step, r->q8, r->q_step};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  for (int v = 0; v < VECTORS; v++) mem_free(r->vector[v]);
  mem_free(r);
}

void rtl_reference_clear(RtlReference *r) { r->position = 0; }

static int32_t *vector_of(const RtlReference *r, RtlVector v, int layer) {
  return r->vector[v] + (of_layer(v) ? (size_t)layer * (size_t)r->size[v] : 0);
}

static void keep(RtlReference *r, RtlVector v, int layer, const int32_t *x) { memcpy(vector_of(r, v, layer), x, (size_t)r->size[v] * 4); }

/* The input of a stage: r->a, padded with zeros. */
static void keep_input(RtlReference *r, RtlVector v, int layer, Scale x) {
  int32_t *to = vector_of(r, v, layer), *scale = vector_of(r, v + 1, layer);
  for (int i = 0; i < r->size[v]; i++) to[i] = r->a[i];
  for (int i = r->size[v]; i % GROUP != 0; i++) r->a[i] = 0;
  scale[0] = (int32_t)x.M;
  scale[1] = x.E;
}

/* y[rows] of a matrix. */
static void product(RtlReference *r, const Matrix *m, Scale x, int frac, int32_t *y) {
  for (int i = 0; i < m->rows; i++) y[i] = matrix_finish(matrix_row(m, i, r->a), m->row_scale[i], m->exponent, x, frac);
}

/* Rotates a head, and lays it in the order of the machine. */
static void rotate(const RtlReference *r, int32_t *head) {
  int32_t old[1024];
  rotary_apply(r->c, r->position, head);
  memcpy(old, head, (size_t)r->d->shape.head_dim * 4);
  for (int i = 0; i < r->d->shape.head_dim; i++) head[i] = old[rtl_row(&r->d->shape, MAT_Q, i)];
}

static void attend(RtlReference *r, int layer) {
  const ChipShape *s = &r->d->shape;
  size_t hd = (size_t)s->head_dim, context = (size_t)r->d->knobs.context;
  int32_t *qkv = vector_of(r, VEC_QKV, layer), *qkv8 = vector_of(r, VEC_QKV8, layer), *out = vector_of(r, VEC_ATTENTION, layer);
  for (int u = 0; u < s->heads + 2 * s->kv_heads; u++) {
    int32_t *head = qkv + (size_t)u * hd;
    int8_t a[1024];
    if (u < s->heads + s->kv_heads) rotate(r, head);
    Step step = quant8(head, s->head_dim, a);
    for (size_t i = 0; i < hd; i++) qkv8[(size_t)u * hd + i] = a[i];
    bool value = u >= s->heads + s->kv_heads;
    if (u < s->heads) {
      memcpy(r->q8 + (size_t)u * hd, a, hd);
      r->q_step[u] = step;
      continue;
    }
    size_t kv = (size_t)((u - s->heads) % s->kv_heads), cell = ((size_t)layer * (size_t)s->kv_heads + kv) * context + (size_t)r->position;
    memcpy((value ? r->v : r->k) + cell * hd, a, hd);
    (value ? r->v_step : r->k_step)[cell] = step_pack(step);
  }
  for (int i = 0; i < s->heads; i++) {
    size_t cell = ((size_t)layer * (size_t)s->kv_heads + (size_t)(i / r->d->share)) * context;
    KvView view = {r->k + cell * hd, r->v + cell * hd, r->k_step + cell, r->v_step + cell, hd};
    attention_head(r->q8 + (size_t)i * hd, r->q_step[i], view, r->position + 1, s->head_dim, out + (size_t)i * hd);
  }
}

static void add(RtlReference *r, RtlVector v, int layer, const int32_t *y) {
  for (int i = 0; i < r->d->shape.dim; i++) r->h[i] = sat32((int64_t)r->h[i] + y[i]);
  keep(r, v, layer, r->h);
}

static void layer_step(RtlReference *r, int l) {
  const ChipShape *s = &r->d->shape;
  const Matrix *m = r->c->layer[l];
  int32_t *qkv = vector_of(r, VEC_QKV, l), *gate = vector_of(r, VEC_GATE, l), *up = vector_of(r, VEC_UP, l), *act = vector_of(r, VEC_ACT, l);
  int q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
  Scale x = norm8(s, NULL, r->h, r->a, r->scratch);
  keep_input(r, VEC_ATTN_IN, l, x);
  product(r, &m[MAT_Q], x, FRAC, qkv);
  product(r, &m[MAT_K], x, FRAC, qkv + q);
  product(r, &m[MAT_V], x, FRAC, qkv + q + kv);
  attend(r, l);
  x = plain_scale(quant8(vector_of(r, VEC_ATTENTION, l), q, r->a));
  keep_input(r, VEC_O_IN, l, x);
  product(r, &m[MAT_O], x, FRAC, r->scratch);
  add(r, VEC_H_O, l, r->scratch);
  x = norm8(s, NULL, r->h, r->a, r->scratch);
  keep_input(r, VEC_FFN_IN, l, x);
  product(r, &m[MAT_GATE], x, FRAC, gate);
  product(r, &m[MAT_UP], x, FRAC, up);
  for (int i = 0; i < s->ffn; i++) act[i] = gate_one(gate[i], up[i]);
  memcpy(r->scratch, act, (size_t)s->ffn * 4);
  x = plain_scale(butterfly_quant8(r->scratch, s->ffn, r->a));
  keep(r, VEC_BUTTERFLY, l, r->scratch);
  keep_input(r, VEC_DOWN_IN, l, x);
  product(r, &m[MAT_DOWN], x, FRAC, r->scratch);
  add(r, VEC_H_DOWN, l, r->scratch);
}

void rtl_reference_step(RtlReference *r, int token, bool head) {
  const ChipShape *s = &r->d->shape;
  for (int i = 0; i < s->dim; i++) r->h[i] = embed_one(&r->c->embed, token, i);
  keep(r, VEC_EMBED, 0, r->h);
  for (int l = 0; l < s->layers; l++) layer_step(r, l);
  r->head = head;
  if (head) {
    Scale x = norm8(s, NULL, r->h, r->a, r->scratch);
    keep_input(r, VEC_HEAD_IN, 0, x);
    product(r, &r->c->head, x, FRAC_LOGIT, vector_of(r, VEC_LOGITS, 0));
  }
  r->position++;
}

const int32_t *rtl_reference_vector(const RtlReference *r, RtlVector v, int layer, int *n) {
  *n = v >= VEC_HEAD_IN && !r->head ? 0 : r->size[v];
  return vector_of(r, v, layer);
}
