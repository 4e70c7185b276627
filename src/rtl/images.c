/* rtl/images: the contents of the ROMs, word by word; and as files for $readmemh, a word a line.
 *
 * Words lie in the order in which a token meets them: matrix after matrix, block of rows after block, word of columns after word.
 */
#include "rtl/parts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

int rtl_width_index(int bits) {
  for (int i = 0; i < RTL_WIDTHS; i++)
    if (rtl_width_bits[i] == bits) return i;
  return -1; /* not reached: the chip was checked */
}

/* ---- one word under construction ---- */

typedef struct {
  uint8_t *bytes; /* of the part that is wanted, little-endian */
  size_t n;
  RtlWordFn *fn;
  void *arg;
  uint64_t at, from, to; /* number of the next word; those that are wanted */
  uint64_t low, high;    /* bits of each that are wanted; low a multiple of 8 */
} Words;

/* value into bits [at, at + bits) of the word, which are zero; what lies outside the wanted part is dropped. */
static void put_field(Words *w, uint64_t at, int bits, uint32_t value) {
  assert(bits == 32 || value >> bits == 0);
  uint64_t v = value;
  if (at < w->low) {
    if (w->low - at >= 32) return;
    v >>= w->low - at;
    at = w->low;
  }
  if (at + 32 > w->high) {
    if (at >= w->high) return;
    v &= ((uint64_t)1 << (w->high - at)) - 1;
  }
  at -= w->low;
  v <<= at % 8;
  for (size_t i = (size_t)(at / 8); v; i++, v >>= 8) w->bytes[i] |= (uint8_t)v;
}

/* Fields of `bits` bits that have a part among the wanted ones: from to `to`. */
static uint64_t fields_from(const Words *w, int bits) { return w->low / (uint64_t)bits; }
static uint64_t fields_to(const Words *w, int bits, uint64_t fields) {
  uint64_t to = (w->high + (uint64_t)bits - 1) / (uint64_t)bits;
  return to < fields ? to : fields;
}

static void put_word(Words *w) {
  w->fn(w->arg, w->bytes, w->n);
  memset(w->bytes, 0, w->n);
  w->at++;
}

/* The part of the next n words that is wanted, counted from the first of them; the others are passed over. */
static bool wanted(Words *w, uint64_t n, uint64_t *from, uint64_t *to) {
  uint64_t end = w->at + n;
  *from = w->from > w->at ? w->from - w->at : 0;
  *to = w->to < end ? w->to - (w->to < w->at ? w->to : w->at) : n;
  bool some = *from < *to;
  w->at = some ? w->at + *from : end;
  return some;
}

static void passed(Words *w, uint64_t n, uint64_t to) { w->at += n - to; }

/* ---- codes ---- */

/* One word: the codes of the block's lanes for taps columns. */
static void codes_word(const RtlDesign *d, const Matrix *m, MatKind kind, int block, int word, Words *out) {
  const RtlKnobs *k = &d->knobs;
  uint64_t from = fields_from(out, m->bits), to = fields_to(out, m->bits, (uint64_t)k->lanes * (uint64_t)k->taps);
  for (uint64_t i = from; i < to;) { /* a lane, or the part of it that is wanted */
    int lane = (int)(i / (uint64_t)k->taps), t = (int)(i % (uint64_t)k->taps), row = block * k->lanes + lane, first = t;
    if (row >= m->rows) break;
    row = rtl_row(&d->shape, kind, row);
    uint8_t code[GROUP];
    for (; t < k->taps && i < to; t++, i++) {
      int col = word * k->taps + t;
      if (col >= m->cols) {
        i += (uint64_t)(k->taps - t);
        break;
      }
      if (t == first || col % GROUP == 0) matrix_group_codes(m, row, col / GROUP, code);
      put_field(out, i * (uint64_t)m->bits, m->bits, code[col % GROUP]);
    }
  }
  put_word(out);
}

static void codes(const RtlDesign *d, const Chip *c, int bits, Words *out) {
  for (int i = 0; i < rtl_mats(d); i++) {
    const Matrix *m = rtl_mat(d, c, i);
    const RtlExtent *x = &d->mat[rtl_kind(d, i)];
    uint64_t n = (uint64_t)x->blocks * (uint64_t)x->words, from, to;
    if (m->bits != bits || !wanted(out, n, &from, &to)) continue;
    for (uint64_t j = from; j < to; j++) codes_word(d, m, rtl_kind(d, i), (int)(j / (uint64_t)x->words), (int)(j % (uint64_t)x->words), out);
    passed(out, n, to);
  }
}

/* ---- scales and levels ---- */

static int groups_a_word(const RtlDesign *d) { return d->knobs.taps > GROUP ? d->knobs.taps / GROUP : 1; }

static void group_scales(const RtlDesign *d, const Chip *c, Words *out) {
  const RtlKnobs *k = &d->knobs;
  int groups = groups_a_word(d);
  for (int i = 0; i < rtl_mats(d); i++) {
    const Matrix *m = rtl_mat(d, c, i);
    const RtlExtent *x = &d->mat[rtl_kind(d, i)];
    uint64_t n = (uint64_t)x->blocks * (uint64_t)x->scale_words, from, to;
    if (!wanted(out, n, &from, &to)) continue;
    for (uint64_t w = from; w < to; w++) {
      int b = (int)(w / (uint64_t)x->scale_words), j = (int)(w % (uint64_t)x->scale_words);
      uint64_t last = fields_to(out, 6, (uint64_t)k->lanes * (uint64_t)groups);
      for (uint64_t f = fields_from(out, 6); f < last; f++) {
        int row = b * k->lanes + (int)(f / (uint64_t)groups), g = j * groups + (int)(f % (uint64_t)groups);
        if (row >= m->rows) break;
        if (g < m->groups) put_field(out, f * 6, 6, (uint32_t)matrix_group_scale(m, rtl_row(&d->shape, rtl_kind(d, i), row), g));
      }
      put_word(out);
    }
    passed(out, n, to);
  }
}

static void row_scales(const RtlDesign *d, const Chip *c, Words *out) {
  for (int i = 0; i < rtl_mats(d); i++) {
    const Matrix *m = rtl_mat(d, c, i);
    uint64_t n = (uint64_t)d->mat[rtl_kind(d, i)].row_words, from, to;
    if (!wanted(out, n, &from, &to)) continue;
    for (int w = (int)from; w < (int)to; w++) {
      for (int v = 0; v < d->knobs.vec && w * d->knobs.vec + v < m->rows; v++)
        put_field(out, (uint64_t)v * 16, 16, m->row_scale[rtl_row(&d->shape, rtl_kind(d, i), w * d->knobs.vec + v)]);
      put_word(out);
    }
    passed(out, n, to);
  }
}

static void levels(const RtlDesign *d, const Chip *c, Words *out) {
  for (int i = 0; i < rtl_mats(d); i++) {
    const Matrix *m = rtl_mat(d, c, i);
    uint64_t from, to;
    if (!wanted(out, 1, &from, &to)) continue;
    for (int l = 0; l < m->levels; l++) put_field(out, (uint64_t)l * 8, 8, (uint8_t)m->level[l]);
    put_word(out);
  }
}

/* ---- embedding and angles ---- */

static void embed_codes(const RtlDesign *d, const Chip *c, Words *out) {
  const Matrix *m = &c->embed;
  uint64_t words = (uint64_t)d->dim_words, from, to;
  int vec = d->knobs.vec;
  if (!wanted(out, (uint64_t)m->rows * words, &from, &to)) return;
  for (uint64_t w = from; w < to; w++) {
    for (int v = 0; v < vec; v++)
      put_field(out, (uint64_t)v * (uint64_t)m->bits, m->bits, (uint32_t)matrix_code(m, (int)(w / words), (int)(w % words) * vec + v));
    put_word(out);
  }
}

static void embed_scales(const Chip *c, Words *out) {
  uint64_t from, to;
  if (!wanted(out, (uint64_t)c->embed.rows, &from, &to)) return;
  for (uint64_t token = from; token < to; token++) {
    put_field(out, 0, 16, c->embed.row_scale[token]);
    put_word(out);
  }
}

static void angles(const RtlDesign *d, const int16_t *table, uint64_t words, Words *out) {
  int half = d->shape.rotary_dims / 2, pairs = d->chunk / 2;
  uint64_t from, to;
  if (!wanted(out, words, &from, &to)) return;
  for (uint64_t w = from; w < to; w++) {
    int part = (int)(w % (uint64_t)d->parts);
    for (int i = 0; i < pairs && part * pairs + i < half; i++) {
      const int16_t *cs = table + ((size_t)(w / (uint64_t)d->parts) * (size_t)half + (size_t)(part * pairs + i)) * 2;
      put_field(out, (uint64_t)i * 32, 16, (uint16_t)cs[0]);
      put_field(out, (uint64_t)i * 32 + 16, 16, (uint16_t)cs[1]);
    }
    put_word(out);
  }
}

/* ---- the ROMs ---- */

enum { ROM_GROUP_SCALES = RTL_WIDTHS, ROM_ROW_SCALES, ROM_LEVELS, ROM_EMBED_CODES, ROM_EMBED_SCALES, ROM_ROTARY_HIGH, ROM_ROTARY_LOW };

int rtl_roms(const RtlDesign *d, const Chip *c, RtlRom rom[RTL_ROMS]) {
  static const char *const codes_name[RTL_WIDTHS] = {"codes2", "codes3", "codes4", "codes6", "codes8"};
  const RtlKnobs *k = &d->knobs;
  RtlCounts n = rtl_counts(d, c);
  int roms = 0;
  for (int w = 0; w < RTL_WIDTHS; w++)
    if (n.code_words[w]) rom[roms++] = (RtlRom){codes_name[w], w, n.code_words[w], (uint64_t)k->lanes * (uint64_t)k->taps * (uint64_t)rtl_width_bits[w]};
  uint64_t high = (uint64_t)((k->context + ROTARY_LOW - 1) / ROTARY_LOW), parts = (uint64_t)d->parts, angle = (uint64_t)(d->chunk / 2) * 32;
  const RtlRom rest[] = {{"group_scales", ROM_GROUP_SCALES, n.scale_words, (uint64_t)k->lanes * (uint64_t)groups_a_word(d) * 6},
                         {"row_scales", ROM_ROW_SCALES, n.row_scale_words, (uint64_t)k->vec * 16},
                         {"levels", ROM_LEVELS, (uint64_t)rtl_mats(d), (uint64_t)8 << n.code_bits},
                         {"embed_codes", ROM_EMBED_CODES, (uint64_t)c->embed.rows * (uint64_t)d->dim_words, (uint64_t)k->vec * (uint64_t)c->embed.bits},
                         {"embed_scales", ROM_EMBED_SCALES, (uint64_t)c->embed.rows, 16},
                         {"rotary_high", ROM_ROTARY_HIGH, high * parts, angle},
                         {"rotary_low", ROM_ROTARY_LOW, ROTARY_LOW * parts, angle}};
  for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) rom[roms++] = rest[i];
  return roms;
}

bool rtl_rom_read(const RtlDesign *d, const Chip *c, const RtlRom *rom, RtlPart part, RtlWordFn *fn, void *arg, Err *err) {
  assert(part.word <= rom->words && part.words <= rom->words - part.word && part.bit % 8 == 0 && part.bit <= rom->bits && part.bits <= rom->bits - part.bit);
  Words w = {.n = (size_t)(part.bits + 7) / 8, .fn = fn, .arg = arg, .from = part.word, .to = part.word + part.words, .low = part.bit, .high = part.bit + part.bits};
  w.bytes = mem_alloc(w.n, 1, err);
  if (!w.bytes) return false;
  switch (rom->kind) {
    case ROM_GROUP_SCALES: group_scales(d, c, &w); break;
    case ROM_ROW_SCALES: row_scales(d, c, &w); break;
    case ROM_LEVELS: levels(d, c, &w); break;
    case ROM_EMBED_CODES: embed_codes(d, c, &w); break;
    case ROM_EMBED_SCALES: embed_scales(c, &w); break;
    case ROM_ROTARY_HIGH: angles(d, c->rotary_high, rom->words, &w); break;
    case ROM_ROTARY_LOW: angles(d, c->rotary_low, rom->words, &w); break;
    default: codes(d, c, rtl_width_bits[rom->kind], &w);
  }
  mem_free(w.bytes);
  return true;
}

/* ---- which number of the chip a bit is ---- */

static bool in_matrix(const Chip *c, const Matrix *m, int row, int col, const char *what, RtlOrigin *out) {
  if (row >= m->rows || col >= (m->cols ? m->cols : 1)) return false;
  for (int i = 0; i < chip_matrices(c); i++) {
    char name[32];
    if (chip_matrix(c, i, name) != m) continue;
    snprintf(out->text, sizeof out->text, "%s %s, row %d, %s %d", name, what, row, strcmp(what, "code") == 0 ? "column" : "group", col);
  }
  return true;
}

bool rtl_rom_origin(const RtlDesign *d, const Chip *c, const RtlRom *rom, uint64_t word, uint64_t bit, RtlOrigin *out) {
  const RtlKnobs *k = &d->knobs;
  bool scales = rom->kind == ROM_GROUP_SCALES;
  if (rom->kind == ROM_EMBED_CODES) {
    *out = (RtlOrigin){(int)bit / c->embed.bits * c->embed.bits, c->embed.bits, ""};
    return in_matrix(c, &c->embed, (int)(word / (uint64_t)d->dim_words), (int)(word % (uint64_t)d->dim_words) * k->vec + (int)bit / c->embed.bits, "code", out);
  }
  if (rom->kind > ROM_GROUP_SCALES) {
    *out = (RtlOrigin){(int)(bit / 8 * 8), rom->kind == ROM_LEVELS ? 8 : 16, ""};
    if (out->bits == 16) out->bit = (int)(bit / 16 * 16);
    snprintf(out->text, sizeof out->text, "%s, word %llu, number %d", rom->name, (unsigned long long)word, out->bit / out->bits);
    return true;
  }
  int bits = scales ? 6 : rtl_width_bits[rom->kind], taps = scales ? groups_a_word(d) : k->taps, lane = (int)(bit / (uint64_t)(bits * taps));
  *out = (RtlOrigin){(int)(bit / (uint64_t)bits) * bits, bits, ""};
  for (int i = 0; i < rtl_mats(d); i++) {
    const Matrix *m = rtl_mat(d, c, i);
    const RtlExtent *x = &d->mat[rtl_kind(d, i)];
    uint64_t words = (uint64_t)(scales ? x->scale_words : x->words), n = (uint64_t)x->blocks * words;
    if (!scales && m->bits != bits) continue;
    if (word >= n) {
      word -= n;
      continue;
    }
    int row = (int)(word / words) * k->lanes + lane, col = (int)(word % words) * taps + (int)(bit / (uint64_t)bits) % taps;
    if (row >= m->rows || (scales && col >= m->groups)) return false;
    return in_matrix(c, m, rtl_row(&d->shape, rtl_kind(d, i), row), col, scales ? "group scale" : "code", out);
  }
  return false;
}

/* ---- images: a word a line ---- */

typedef struct {
  Writer *w;
  char *text;
} Image;

static void image_word(void *arg, const uint8_t *word, size_t n) {
  static const char digit[] = "0123456789abcdef";
  Image *m = arg;
  for (size_t i = 0; i < n; i++) {
    uint8_t b = word[n - 1 - i];
    m->text[2 * i] = digit[b >> 4];
    m->text[2 * i + 1] = digit[b & 15];
  }
  m->text[2 * n] = '\n';
  writer_put(m->w, m->text, 2 * n + 1);
}

static bool write_image(const RtlDesign *d, const Chip *c, const char *dir, const RtlRom *rom, Err *err) {
  char path[4200];
  snprintf(path, sizeof path, "%s/rom/%s.hex", dir, rom->name);
  Image m = {.text = mem_alloc(2 * (size_t)((rom->bits + 7) / 8) + 1, 1, err)};
  if (m.text) m.w = writer_open(path, err);
  bool ok = m.w && rtl_rom_read(d, c, rom, (RtlPart){0, rom->words, 0, rom->bits}, image_word, &m, err);
  if (ok) ok = writer_commit(m.w, err);
  else writer_abort(m.w);
  mem_free(m.text);
  return ok;
}

bool rtl_images(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  RtlRom rom[RTL_ROMS];
  int n = rtl_roms(d, c, rom);
  for (int i = 0; i < n; i++)
    if (!write_image(d, c, dir, &rom[i], err)) return false;
  return true;
}
