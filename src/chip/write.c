/* chip/write: writes a .chip file section by section, and the hash that names it. */
#include "chip/layout.h"

#include <assert.h>
#include <string.h>

bool chip_hash_sections(const Section *s, int n, uint8_t out[32], Err *err) {
  enum { ENTRY = 48 };
  uint8_t *bytes = mem_alloc((size_t)n + 1, ENTRY, err);
  if (!bytes) return false;
  uint32_t arithmetic = CHIP_ARITHMETIC;
  memcpy(bytes, &arithmetic, 4);
  size_t at = 4;
  for (int i = 0; i < n; i++) {
    if (s[i].kind == SEC_PROVENANCE) continue;
    memcpy(bytes + at, &s[i].kind, 4);
    memcpy(bytes + at + 4, &s[i].layer, 4);
    memcpy(bytes + at + 8, &s[i].bytes, 8);
    memcpy(bytes + at + 16, s[i].sha256, 32);
    at += ENTRY;
  }
  bool ok = sha256(bytes, at, out, err);
  mem_free(bytes);
  return ok;
}

struct ChipWriter {
  Writer *out;
  ChipShape shape;
  Section *section;
  int n, capacity;
};

static bool put_section(ChipWriter *w, uint32_t kind, int layer, const void *bytes, size_t n, Err *err) {
  assert(w->n < w->capacity);
  writer_align(w->out, 64);
  Section *s = &w->section[w->n];
  *s = (Section){.kind = kind, .layer = layer, .at = writer_tell(w->out), .bytes = n, .checksum = checksum64(bytes, n)};
  if (!sha256(bytes, n, s->sha256, err)) return false;
  writer_put(w->out, bytes, n);
  w->n++;
  return true;
}

ChipWriter *chip_writer_open(const char *path, const ChipShape *shape, Err *err) {
  ChipWriter *w = mem_alloc(1, sizeof *w, err);
  if (!w) return NULL;
  w->shape = *shape;
  w->capacity = sections_in(shape);
  w->section = mem_alloc((size_t)w->capacity, sizeof *w->section, err);
  w->out = w->section ? writer_open(path, err) : NULL;
  ShapeSection s = {
      .layers = (uint32_t)shape->layers, .dim = (uint32_t)shape->dim, .ffn = (uint32_t)shape->ffn,
      .heads = (uint32_t)shape->heads, .kv_heads = (uint32_t)shape->kv_heads, .head_dim = (uint32_t)shape->head_dim,
      .vocab = (uint32_t)shape->vocab, .context = (uint32_t)shape->context, .rotary_dims = (uint32_t)shape->rotary_dims,
      .pairs = (uint32_t)shape->pairs, .root_dim = shape->root_dim, .flags = shape->kept, .eps = shape->eps,
  };
  bool ok = w->out != NULL;
  if (ok) { /* the head and the table are written at the end; their room is kept here */
    FileHead head = {0};
    writer_put(w->out, &head, sizeof head);
    writer_put(w->out, w->section, (size_t)w->capacity * sizeof *w->section);
    ok = put_section(w, SEC_SHAPE, -1, &s, sizeof s, err);
  }
  if (ok) return w;
  chip_writer_abort(w);
  return NULL;
}

bool chip_write_rotary(ChipWriter *w, const int16_t *high, const int16_t *low, Err *err) {
  size_t row = (size_t)w->shape.rotary_dims * 2; /* bytes of one position */
  size_t n_low = ROTARY_LOW * row, n_high = (size_t)((w->shape.context + ROTARY_LOW - 1) / ROTARY_LOW) * row;
  uint8_t *bytes = mem_alloc(n_low + n_high, 1, err);
  if (!bytes) return false;
  memcpy(bytes, low, n_low);
  memcpy(bytes + n_low, high, n_high);
  bool ok = put_section(w, SEC_ROTARY, -1, bytes, n_low + n_high, err);
  mem_free(bytes);
  return ok;
}

static bool put_piece_table(Buf *b, const Vocab *v, Err *err) {
  uint32_t end = 0;
  bool ok = true;
  for (int i = 0; ok && i < v->n; i++) {
    if (v->piece[i].n > UINT32_MAX - end) return err_set(err, "the vocabulary's pieces exceed 4 GiB");
    end += (uint32_t)v->piece[i].n;
    ok = buf_put(b, &end, 4, err);
  }
  return ok;
}

bool chip_write_vocab(ChipWriter *w, const Vocab *v, Err *err) {
  Buf b = {0};
  VocabSection head = {
      .kind = v->kind, .n = (uint32_t)v->n, .merges = (uint32_t)v->merges,
      .flags = (v->add_bos ? 1u : 0u) | (v->add_eos ? 2u : 0u) | (v->add_space_prefix ? 4u : 0u),
      .bos = v->bos, .eos = v->eos, .eot = v->eot, .unk = v->unk,
      .pre_bytes = (uint32_t)v->pre.n, .template_bytes = (uint32_t)v->chat_template.n,
  };
  bool ok = buf_put(&b, &head, sizeof head, err) && put_piece_table(&b, v, err);
  if (ok && v->kind == VOCAB_SPM) ok = buf_put(&b, v->score, (size_t)v->n * 4, err);
  ok = ok && (v->merges == 0 || buf_put(&b, v->merge, (size_t)v->merges * 12, err)) &&
       (v->n == 0 || buf_put(&b, v->type, (size_t)v->n, err)) && buf_put(&b, v->pre.s, v->pre.n, err) &&
       buf_put(&b, v->chat_template.s, v->chat_template.n, err);
  for (int i = 0; ok && i < v->n; i++) ok = buf_put(&b, v->piece[i].s, v->piece[i].n, err);
  ok = ok && put_section(w, SEC_VOCAB, -1, b.s, b.n, err);
  buf_free(&b);
  return ok;
}

bool chip_write_gains(ChipWriter *w, int layer, const Gain gain[GAINS], Err *err) {
  size_t dim = (size_t)w->shape.dim, n = sizeof(GainsSection) + GAINS * 2 * dim;
  GainsSection head = {.exponent = {gain[0].exponent, gain[1].exponent}};
  uint8_t *bytes = mem_alloc(n, 1, err);
  if (!bytes) return false;
  memcpy(bytes, &head, sizeof head);
  for (int i = 0; i < GAINS; i++) memcpy(bytes + sizeof head + (size_t)i * 2 * dim, gain[i].g, 2 * dim);
  bool ok = put_section(w, SEC_GAINS, layer, bytes, n, err);
  mem_free(bytes);
  return ok;
}

bool chip_write_matrix(ChipWriter *w, int layer, MatKind kind, const Matrix *m, Err *err) {
  MatrixLayout l = matrix_layout(m);
  uint8_t *bytes = mem_alloc(l.bytes, 1, err);
  if (!bytes) return false;
  MatrixSection head = {.rows = (uint32_t)m->rows, .cols = (uint32_t)m->cols, .bits = (uint32_t)m->bits,
                        .levels = (uint32_t)m->levels, .grouped = m->grouped, .exponent = m->exponent};
  memcpy(head.level, m->level, sizeof head.level);
  memcpy(bytes, &head, sizeof head);
  memcpy(bytes + l.row_scale, m->row_scale, row_scale_bytes(m));
  memcpy(bytes + l.weights, m->weights, matrix_weight_bytes(m));
  bool ok = put_section(w, SEC_MATRIX + (uint32_t)kind, layer, bytes, l.bytes, err);
  mem_free(bytes);
  return ok;
}

bool chip_writer_commit(ChipWriter *w, Str provenance, uint8_t hash[32], Err *err) {
  bool ok = put_section(w, SEC_PROVENANCE, -1, provenance.s, provenance.n, err) &&
            chip_hash_sections(w->section, w->n, hash, err);
  assert(!ok || w->n == w->capacity); /* a chip has all its sections */
  if (ok) {
    FileHead head = {.format = CHIP_FORMAT, .arithmetic = CHIP_ARITHMETIC, .sections = (uint32_t)w->n,
                     .bytes = writer_tell(w->out)};
    memcpy(head.magic, CHIP_MAGIC, 8);
    memcpy(head.hash, hash, 32);
    writer_rewrite(w->out, 0, &head, sizeof head);
    writer_rewrite(w->out, sizeof head, w->section, (size_t)w->n * sizeof *w->section);
    ok = writer_commit(w->out, err);
    w->out = NULL;
  }
  chip_writer_abort(w);
  return ok;
}

void chip_writer_abort(ChipWriter *w) {
  if (!w) return;
  writer_abort(w->out);
  mem_free(w->section);
  mem_free(w);
}

bool chip_replace_provenance(const Chip *c, Str provenance, Err *err) {
  FileHead head;
  size_t table = (size_t)c->sections * sizeof(Section);
  Section *section = mem_alloc((size_t)c->sections, sizeof *section, err);
  if (!section) return false;
  memcpy(&head, c->file.p, sizeof head);
  memcpy(section, c->file.p + sizeof head, table);
  Section *last = &section[c->sections - 1];
  assert(last->kind == SEC_PROVENANCE);
  last->bytes = provenance.n;
  last->checksum = checksum64(provenance.s, provenance.n);
  head.bytes = last->at + provenance.n;
  Writer *w = sha256(provenance.s, provenance.n, last->sha256, err) ? writer_open(c->file.path, err) : NULL;
  if (w) {
    writer_put(w, &head, sizeof head);
    writer_put(w, section, table);
    writer_put(w, c->file.p + sizeof head + table, last->at - sizeof head - table);
    writer_put(w, provenance.s, provenance.n);
  }
  mem_free(section);
  return w && writer_commit(w, err);
}
