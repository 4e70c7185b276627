/* chip/file: opens a .chip file and checks it.  A file is hostile until proven otherwise. */
#include "chip/layout.h"

#include <stdio.h>
#include <string.h>

/* ---- opening ---- */

typedef struct {
  Chip *c;
  const Section *section;
  const char *path;
  Err *err;
} Opening;

static bool bad(const Opening *o, uint64_t at, const char *what, uint64_t expected, uint64_t found) {
  return err_set(o->err, "%s:%llu: %s: expected %llu, found %llu", o->path, (unsigned long long)at, what,
                 (unsigned long long)expected, (unsigned long long)found);
}

static bool in_range(const Opening *o, uint64_t at, const char *what, int64_t low, int64_t high, int64_t found) {
  if (found >= low && found <= high) return true;
  return err_set(o->err, "%s:%llu: %s: expected %lld to %lld, found %lld", o->path, (unsigned long long)at, what, (long long)low,
                 (long long)high, (long long)found);
}

static const uint8_t *section_bytes(const Opening *o, const Section *s) { return o->c->file.p + s->at; }

static bool check_sum(const Opening *o, const Section *s, const char *what) {
  uint64_t found = checksum64(section_bytes(o, s), s->bytes);
  if (found == s->checksum) return true;
  return err_set(o->err, "%s:%llu: checksum of the %s: expected %016llx, found %016llx", o->path, (unsigned long long)s->at, what,
                 (unsigned long long)s->checksum, (unsigned long long)found);
}

static bool other_version(const Opening *o, int at, const char *of, unsigned expected, unsigned found) {
  return err_set(o->err, "%s:%d: version of the %s: expected %u, found %u: %s", o->path, at, of, expected, found,
                 found < expected ? "cast the model again" : "made by a newer burin");
}

static bool check_table(Opening *o) {
  const FileMap *f = &o->c->file;
  FileHead head;
  if (f->n < sizeof head) return bad(o, 0, "size of the file, at least", sizeof head, f->n);
  memcpy(&head, f->p, sizeof head);
  if (memcmp(head.magic, CHIP_MAGIC, 8) != 0) return err_set(o->err, "%s:0: expected the magic '%s'", o->path, CHIP_MAGIC);
  if (head.format != CHIP_FORMAT) return other_version(o, 8, "chip format", CHIP_FORMAT, head.format);
  if (head.arithmetic != CHIP_ARITHMETIC) return other_version(o, 12, "arithmetic", CHIP_ARITHMETIC, head.arithmetic);
  if (head.bytes != f->n) return bad(o, 24, "size of the file", head.bytes, f->n);
  if (!in_range(o, 16, "number of sections", 4, 10000, head.sections) || head.zero) return bad(o, 20, "reserved word", 0, head.zero);
  uint64_t end = sizeof head + (uint64_t)head.sections * sizeof(Section);
  if (end > f->n) return bad(o, 16, "size of the file, at least", end, f->n);
  o->section = (const Section *)(const void *)(f->p + sizeof head);
  o->c->sections = (int)head.sections;
  for (int i = 0; i < o->c->sections; i++) {
    const Section *s = &o->section[i];
    uint64_t at = sizeof head + (uint64_t)i * sizeof *s;
    if (s->at != align64(end)) return bad(o, at + 8, "offset of a section", align64(end), s->at);
    if (s->bytes > f->n || s->at > f->n - s->bytes) return bad(o, at + 16, "size of a section, at most", f->n - s->at, s->bytes);
    end = s->at + s->bytes;
  }
  if (end != f->n) return bad(o, end, "end of the last section", f->n, end);
  uint8_t hash[32];
  if (!chip_hash_sections(o->section, o->c->sections, hash, o->err)) return false;
  if (memcmp(hash, head.hash, 32) != 0) return err_set(o->err, "%s:32: the hash does not match the table of sections", o->path);
  memcpy(o->c->hash, hash, 32);
  return true;
}

static bool expect(const Opening *o, int i, uint32_t kind, int layer) {
  if (i >= o->c->sections) return bad(o, 16, "number of sections, more than", (uint64_t)i, (uint64_t)o->c->sections);
  const Section *s = &o->section[i];
  uint64_t at = sizeof(FileHead) + (uint64_t)i * sizeof *s;
  if (s->kind != kind) return bad(o, at, "kind of a section", kind, s->kind);
  if (s->layer != layer) return bad(o, at + 4, "layer of a section", (uint64_t)(int64_t)layer, (uint64_t)(int64_t)s->layer);
  return true;
}

static bool open_shape(Opening *o) {
  if (!expect(o, 0, SEC_SHAPE, -1)) return false;
  const Section *s = &o->section[0];
  ShapeSection f;
  if (s->bytes != sizeof f) return bad(o, s->at, "size of the shape", sizeof f, s->bytes);
  memcpy(&f, section_bytes(o, s), sizeof f);
  if (!check_sum(o, s, "shape")) return false;
  uint64_t at = s->at;
  if (!in_range(o, at, "layers", 1, 1000, f.layers) || !in_range(o, at + 4, "dim", 2, 65536, f.dim) ||
      !in_range(o, at + 8, "ffn", BUTTERFLY, 262144 + BUTTERFLY, f.ffn) || !in_range(o, at + 12, "heads", 1, 1024, f.heads) ||
      !in_range(o, at + 16, "kv_heads", 1, f.heads, f.kv_heads) || !in_range(o, at + 20, "head_dim", 2, 1024, f.head_dim) ||
      !in_range(o, at + 24, "vocab", 1, 1 << 24, f.vocab) || !in_range(o, at + 28, "context", 1, 1 << 24, f.context) ||
      !in_range(o, at + 32, "rotary_dims", 2, f.head_dim, f.rotary_dims) || !in_range(o, at + 36, "pairs", 0, 1, f.pairs) ||
      !in_range(o, at + 40, "root_dim", 1, 65536, f.root_dim) || !in_range(o, at + 44, "flags", 0, 1, f.flags) || !in_range(o, at + 48, "eps", 0, (int64_t)1 << 40, (int64_t)f.eps))
    return false;
  if (f.ffn % BUTTERFLY) return bad(o, at + 8, "remainder of ffn by 64", 0, f.ffn % BUTTERFLY);
  if (f.heads % f.kv_heads) return bad(o, at + 16, "remainder of heads by kv_heads", 0, f.heads % f.kv_heads);
  if (f.rotary_dims % 2) return bad(o, at + 32, "remainder of rotary_dims by 2", 0, 1);
  o->c->shape = (ChipShape){(int)f.layers, (int)f.dim, (int)f.ffn, (int)f.heads, (int)f.kv_heads, (int)f.head_dim, (int)f.vocab,
                            (int)f.context, (int)f.rotary_dims, (ChipPairs)f.pairs, f.root_dim, f.eps, f.flags & 1};
  return true;
}

static bool open_rotary(Opening *o) {
  if (!expect(o, 1, SEC_ROTARY, -1)) return false;
  const Section *s = &o->section[1];
  size_t row = (size_t)o->c->shape.rotary_dims * 2;
  size_t positions = ROTARY_LOW + (size_t)((o->c->shape.context + ROTARY_LOW - 1) / ROTARY_LOW);
  if (s->bytes != positions * row) return bad(o, s->at, "size of the rotary tables", positions * row, s->bytes);
  o->c->rotary_low = (const int16_t *)(const void *)section_bytes(o, s);
  o->c->rotary_high = o->c->rotary_low + ROTARY_LOW * (size_t)o->c->shape.rotary_dims;
  return check_sum(o, s, "rotary tables");
}

static bool take_pieces(Opening *o, Vocab *v, const uint32_t *end, const char *bytes, size_t n) {
  v->piece = arena_alloc(&o->c->arena, (size_t)v->n + 1, sizeof *v->piece, o->err);
  if (!v->piece) return false;
  uint32_t at = 0;
  for (int i = 0; i < v->n; i++) {
    if (end[i] < at || end[i] > n) return err_set(o->err, "%s: vocabulary: piece %d lies outside its section", o->path, i);
    v->piece[i] = (Str){bytes + at, end[i] - at};
    at = end[i];
  }
  return at == n || err_set(o->err, "%s: vocabulary: %zu bytes of pieces, %u used", o->path, n, at);
}

static bool open_vocab(Opening *o) {
  if (!expect(o, 2, SEC_VOCAB, -1)) return false;
  const Section *s = &o->section[2];
  VocabSection f;
  if (s->bytes < sizeof f) return bad(o, s->at, "size of the vocabulary, at least", sizeof f, s->bytes);
  memcpy(&f, section_bytes(o, s), sizeof f);
  if (!check_sum(o, s, "vocabulary") || !in_range(o, s->at, "kind of vocabulary", VOCAB_NONE, VOCAB_SPM, f.kind)) return false;
  if (f.kind == VOCAB_NONE ? f.n != 0 : f.n != (uint32_t)o->c->shape.vocab)
    return bad(o, s->at + 4, "number of pieces", (uint64_t)o->c->shape.vocab, f.n);
  uint64_t n = f.n, fixed = sizeof f + n * 4 + (f.kind == VOCAB_SPM ? n * 4 : 0) + (uint64_t)f.merges * 12 + n + f.pre_bytes + f.template_bytes;
  if (fixed > s->bytes) return bad(o, s->at, "size of the vocabulary, at least", fixed, s->bytes);
  const uint8_t *p = section_bytes(o, s) + sizeof f;
  Vocab *v = &o->c->vocab;
  *v = (Vocab){.kind = (VocabKind)f.kind, .n = (int)f.n, .merges = (int)f.merges, .bos = f.bos, .eos = f.eos, .eot = f.eot,
               .unk = f.unk, .add_bos = f.flags & 1, .add_eos = f.flags >> 1 & 1, .add_space_prefix = f.flags >> 2 & 1};
  const uint32_t *end = (const uint32_t *)(const void *)p;
  p += n * 4;
  if (f.kind == VOCAB_SPM) v->score = (float *)(uintptr_t)p, p += n * 4;
  v->merge = (uint32_t(*)[3])(uintptr_t)p, p += (uint64_t)f.merges * 12;
  v->type = (uint8_t *)(uintptr_t)p, p += n;
  v->pre = (Str){(const char *)p, f.pre_bytes}, p += f.pre_bytes;
  v->chat_template = (Str){(const char *)p, f.template_bytes}, p += f.template_bytes;
  for (int i = 0; i < v->merges; i++)
    for (int k = 0; k < 3; k++)
      if (v->merge[i][k] >= f.n) return bad(o, s->at, "piece of a merge, less than", f.n, v->merge[i][k]);
  for (int i = 0; i < v->n; i++)
    if (!in_range(o, s->at, "type of a piece", PIECE_NORMAL, PIECE_BYTE, v->type[i])) return false;
  int id[4] = {f.bos, f.eos, f.eot, f.unk};
  for (int i = 0; i < 4; i++)
    if (!in_range(o, s->at + 16 + 4 * (uint64_t)i, "special token", -1, (int64_t)n - 1, id[i])) return false;
  return take_pieces(o, v, end, (const char *)p, s->bytes - fixed);
}

static bool open_matrix(Opening *o, int index, MatKind kind, int layer, Matrix *m) {
  if (!expect(o, index, SEC_MATRIX + (uint32_t)kind, layer)) return false;
  const Section *s = &o->section[index];
  MatrixSection f;
  if (s->bytes < sizeof f) return bad(o, s->at, "size of a matrix, at least", sizeof f, s->bytes);
  memcpy(&f, section_bytes(o, s), sizeof f);
  int rows, cols;
  chip_extent(&o->c->shape, kind, &rows, &cols);
  if (f.rows != (uint32_t)rows) return bad(o, s->at, "rows of a matrix", (uint64_t)rows, f.rows);
  if (f.cols != (uint32_t)cols) return bad(o, s->at + 4, "columns of a matrix", (uint64_t)cols, f.cols);
  if (f.bits != 2 && f.bits != 3 && f.bits != 4 && f.bits != 6 && f.bits != 8)
    return err_set(o->err, "%s:%llu: bits of a matrix: expected 2, 3, 4, 6 or 8, found %u", o->path, (unsigned long long)s->at + 8, f.bits);
  if (!in_range(o, s->at + 12, "levels of a matrix", 1, 1 << f.bits, f.levels) || !in_range(o, s->at + 20, "exponent of a matrix", -96, 32, f.exponent))
    return false;
  if (f.grouped != (kind != MAT_EMBED)) return bad(o, s->at + 16, "group scales of a matrix", kind != MAT_EMBED, f.grouped);
  int most = matrix_max_level((int)f.bits);
  for (uint32_t i = 0; i < f.levels; i++)
    if (!in_range(o, s->at + 64 + i, "level of a codebook", i ? f.level[i - 1] + 1 : -most, most, f.level[i])) return false;
  *m = (Matrix){.rows = rows, .cols = cols, .groups = (cols + GROUP - 1) / GROUP, .bits = (int)f.bits, .exponent = f.exponent, .levels = (int)f.levels, .grouped = f.grouped};
  memcpy(m->level, f.level, f.levels);
  if (f.bits >= 6 && !matrix_book_is_even(m))
    return err_set(o->err, "%s:%llu: levels of a codebook of %u bits: expected evenly spaced ones", o->path, (unsigned long long)s->at + 64, f.bits);
  MatrixLayout l = matrix_layout(m);
  if (s->bytes != l.bytes) return bad(o, s->at, "size of a matrix", l.bytes, s->bytes);
  m->row_scale = (const uint16_t *)(const void *)(section_bytes(o, s) + l.row_scale);
  m->weights = section_bytes(o, s) + l.weights;
  return true;
}

static bool open_gains(Opening *o, int layer, Gain gain[GAINS]) {
  int index = sections_before(&o->c->shape, layer);
  if (!expect(o, index, SEC_GAINS, layer)) return false;
  const Section *s = &o->section[index];
  size_t dim = (size_t)o->c->shape.dim;
  GainsSection f;
  if (s->bytes != sizeof f + GAINS * 2 * dim) return bad(o, s->at, "size of the gains", sizeof f + GAINS * 2 * dim, s->bytes);
  memcpy(&f, section_bytes(o, s), sizeof f);
  for (int i = 0; i < GAINS; i++) {
    if (!in_range(o, s->at + 4 * (uint64_t)i, "exponent of gains", -64, 32, f.exponent[i])) return false;
    gain[i] = (Gain){(const int16_t *)(const void *)(section_bytes(o, s) + sizeof f) + (size_t)i * dim, f.exponent[i]};
  }
  return check_sum(o, s, "gains");
}

static bool open_matrices(Opening *o) {
  Chip *c = o->c;
  const ChipShape *s = &c->shape;
  c->layer = arena_alloc(&c->arena, (size_t)s->layers, sizeof *c->layer, o->err);
  if (!c->layer) return false;
  if (s->kept && !(c->gain = arena_alloc(&c->arena, (size_t)s->layers, sizeof *c->gain, o->err))) return false;
  for (int l = 0; l < s->layers; l++) {
    if (s->kept && !open_gains(o, l, c->gain[l])) return false;
    for (int k = 0; k < MAT_PER_LAYER; k++)
      if (!open_matrix(o, section_of(s, l, (MatKind)k), (MatKind)k, l, &c->layer[l][k])) return false;
  }
  int at = sections_before(s, s->layers);
  return open_matrix(o, at, MAT_HEAD, -1, &c->head) && open_matrix(o, at + 1, MAT_EMBED, -1, &c->embed);
}

static bool open_provenance(Opening *o) {
  int at = sections_in(&o->c->shape) - 1;
  if (!expect(o, at, SEC_PROVENANCE, -1)) return false;
  if (o->c->sections != at + 1) return bad(o, 16, "number of sections", (uint64_t)at + 1, (uint64_t)o->c->sections);
  o->c->provenance = (Str){(const char *)section_bytes(o, &o->section[at]), o->section[at].bytes};
  return check_sum(o, &o->section[at], "provenance");
}

bool chip_open(Chip *c, const char *path, Err *err) {
  *c = (Chip){0};
  Opening o = {c, NULL, path, err};
  bool ok = map_open(&c->file, path, err) && check_table(&o) && open_shape(&o) && open_rotary(&o) && open_vocab(&o) &&
            open_matrices(&o) && open_provenance(&o);
  c->bytes = c->file.n;
  if (!ok) chip_close(c);
  return ok;
}

void chip_close(Chip *c) {
  map_close(&c->file);
  arena_free(&c->arena);
  *c = (Chip){0};
}

bool chip_is(const FileMap *file) { return file->n >= 8 && memcmp(file->p, CHIP_MAGIC, 8) == 0; }

/* ---- whole-chip questions ---- */

void chip_extent(const ChipShape *s, MatKind kind, int *rows, int *cols) {
  int q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
  int r[MAT_KINDS] = {q, kv, kv, s->dim, s->ffn, s->ffn, s->dim, s->vocab, s->vocab};
  int c[MAT_KINDS] = {s->dim, s->dim, s->dim, q, s->dim, s->dim, s->ffn, s->dim, s->dim};
  *rows = r[kind];
  *cols = c[kind];
}

int chip_matrices(const Chip *c) { return c->shape.layers * MAT_PER_LAYER + 2; }

const Matrix *chip_matrix(const Chip *c, int i, char name[32]) {
  int layers = c->shape.layers * MAT_PER_LAYER;
  if (i < layers) {
    if (name) snprintf(name, 32, "%s of layer %d", mat_name[i % MAT_PER_LAYER], i / MAT_PER_LAYER);
    return &c->layer[i / MAT_PER_LAYER][i % MAT_PER_LAYER];
  }
  if (name) snprintf(name, 32, "%s", mat_name[i == layers ? MAT_HEAD : MAT_EMBED]);
  return i == layers ? &c->head : &c->embed;
}

bool chip_verify_sum(const Chip *c, int i, Err *err) {
  if (!c->file.p) return true; /* synthetic */
  char name[32];
  Opening o = {(Chip *)(uintptr_t)c, (const Section *)(const void *)(c->file.p + sizeof(FileHead)), c->file.path, err};
  int layers = c->shape.layers, layer = i / MAT_PER_LAYER;
  int at = layer < layers ? section_of(&c->shape, layer, (MatKind)(i % MAT_PER_LAYER)) : sections_before(&c->shape, layers) + i - layers * MAT_PER_LAYER;
  chip_matrix(c, i, name);
  return check_sum(&o, &o.section[at], name);
}

bool chip_verify(const Chip *c, int i, Err *err) {
  char name[32];
  const Matrix *m = chip_matrix(c, i, name);
  return chip_verify_sum(c, i, err) && matrix_check(m, name, err);
}

bool chip_verify_all(const Chip *c, Err *err) {
  for (int i = 0; i < chip_matrices(c); i++) {
    if (!chip_verify(c, i, err)) return false;
    map_forget(&c->file);
  }
  return true;
}

void chip_hash_text(const Chip *c, char out[65]) { hex_of(c->hash, 32, out); }

uint64_t chip_bits_per_token(const Chip *c) {
  uint64_t bits = 0;
  for (int i = 0; i < chip_matrices(c) - 1; i++) { /* all but the embedding */
    const Matrix *m = chip_matrix(c, i, NULL);
    bits += (uint64_t)m->rows * ((uint64_t)m->groups * (uint64_t)(GROUP * m->bits + GROUP_SCALE_BITS) + 16);
  }
  return bits;
}

uint64_t chip_weights(const Chip *c) {
  uint64_t n = 0;
  for (int i = 0; i < chip_matrices(c); i++) {
    const Matrix *m = chip_matrix(c, i, NULL);
    n += (uint64_t)m->rows * (uint64_t)m->cols;
  }
  return n;
}

double chip_bits_per_weight(const Chip *c) {
  uint64_t weights = chip_weights(c) - (uint64_t)c->embed.rows * (uint64_t)c->embed.cols;
  return (double)chip_bits_per_token(c) / (double)weights;
}
