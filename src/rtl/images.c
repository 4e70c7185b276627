/* rtl/images: the contents of the ROMs, a word a line, for $readmemh.
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

/* ---- a ROM file: one word under construction ---- */

typedef struct {
  Writer *w;
  uint8_t *bytes; /* of the word, little-endian */
  char *text;
  size_t n;
} Image;

static bool image_open(Image *m, const char *dir, const char *name, uint64_t bits, Err *err) {
  char path[4200];
  snprintf(path, sizeof path, "%s/rom/%s.hex", dir, name);
  *m = (Image){.n = (size_t)(bits + 7) / 8};
  if ((m->bytes = mem_alloc(m->n, 1, err)) && (m->text = mem_alloc(2 * m->n + 1, 1, err)) && (m->w = writer_open(path, err))) return true;
  mem_free(m->text);
  mem_free(m->bytes);
  return false;
}

/* value into bits [at, at + bits) of the word, which are zero. */
static void image_field(Image *m, uint64_t at, int bits, uint32_t value) {
  assert(bits == 32 || value >> bits == 0);
  uint64_t v = (uint64_t)value << at % 8;
  for (size_t i = (size_t)(at / 8); v; i++, v >>= 8) m->bytes[i] |= (uint8_t)v;
}

static void image_word(Image *m) {
  static const char digit[] = "0123456789abcdef";
  for (size_t i = 0; i < m->n; i++) {
    uint8_t b = m->bytes[m->n - 1 - i];
    m->text[2 * i] = digit[b >> 4];
    m->text[2 * i + 1] = digit[b & 15];
  }
  m->text[2 * m->n] = '\n';
  writer_put(m->w, m->text, 2 * m->n + 1);
  memset(m->bytes, 0, m->n);
}

static bool image_close(Image *m, Err *err) {
  bool ok = writer_commit(m->w, err);
  mem_free(m->text);
  mem_free(m->bytes);
  return ok;
}

/* ---- codes ---- */

/* One word: the codes of the block's lanes for taps columns. */
static void codes_word(const RtlDesign *d, const Matrix *m, MatKind kind, int block, int word, Image *out) {
  const RtlKnobs *k = &d->knobs;
  for (int lane = 0; lane < k->lanes; lane++) {
    int row = block * k->lanes + lane;
    if (row >= m->rows) break;
    row = rtl_row(&d->shape, kind, row);
    uint8_t code[GROUP];
    for (int t = 0; t < k->taps; t++) {
      int col = word * k->taps + t;
      if (col >= m->cols) break;
      if (t == 0 || col % GROUP == 0) matrix_group_codes(m, row, col / GROUP, code);
      image_field(out, ((uint64_t)lane * (uint64_t)k->taps + (uint64_t)t) * (uint64_t)m->bits, m->bits, code[col % GROUP]);
    }
  }
  image_word(out);
}

static bool write_codes(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  const RtlKnobs *k = &d->knobs;
  RtlCounts counts = rtl_counts(d, c);
  for (int w = 0; w < RTL_WIDTHS; w++) {
    if (!counts.code_words[w]) continue;
    Image out;
    char name[32];
    snprintf(name, sizeof name, "codes%d", rtl_width_bits[w]);
    if (!image_open(&out, dir, name, (uint64_t)k->lanes * (uint64_t)k->taps * (uint64_t)rtl_width_bits[w], err)) return false;
    for (int i = 0; i < rtl_mats(d); i++) {
      const Matrix *m = rtl_mat(d, c, i);
      const RtlExtent *x = &d->mat[rtl_kind(d, i)];
      if (m->bits != rtl_width_bits[w]) continue;
      for (int b = 0; b < x->blocks; b++)
        for (int j = 0; j < x->words; j++) codes_word(d, m, rtl_kind(d, i), b, j, &out);
    }
    if (!image_close(&out, err)) return false;
  }
  return true;
}

/* ---- scales and levels ---- */

static bool write_group_scales(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  const RtlKnobs *k = &d->knobs;
  int groups = k->taps > GROUP ? k->taps / GROUP : 1;
  Image out;
  if (!image_open(&out, dir, "group_scales", (uint64_t)k->lanes * (uint64_t)groups * 6, err)) return false;
  for (int i = 0; i < rtl_mats(d); i++) {
    const Matrix *m = rtl_mat(d, c, i);
    const RtlExtent *x = &d->mat[rtl_kind(d, i)];
    for (int b = 0; b < x->blocks; b++)
      for (int j = 0; j < x->scale_words; j++) {
        for (int lane = 0; lane < k->lanes && b * k->lanes + lane < m->rows; lane++)
          for (int g = 0; g < groups && j * groups + g < m->groups; g++)
            image_field(&out, ((uint64_t)lane * (uint64_t)groups + (uint64_t)g) * 6, 6,
                        (uint32_t)matrix_group_scale(m, rtl_row(&d->shape, rtl_kind(d, i), b * k->lanes + lane), j * groups + g));
        image_word(&out);
      }
  }
  return image_close(&out, err);
}

static bool write_row_scales(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  Image out;
  if (!image_open(&out, dir, "row_scales", (uint64_t)d->knobs.vec * 16, err)) return false;
  for (int i = 0; i < rtl_mats(d); i++) {
    const Matrix *m = rtl_mat(d, c, i);
    for (int w = 0; w < d->mat[rtl_kind(d, i)].row_words; w++) {
      for (int v = 0; v < d->knobs.vec && w * d->knobs.vec + v < m->rows; v++)
        image_field(&out, (uint64_t)v * 16, 16, m->row_scale[rtl_row(&d->shape, rtl_kind(d, i), w * d->knobs.vec + v)]);
      image_word(&out);
    }
  }
  return image_close(&out, err);
}

static bool write_levels(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  int codes = 1 << rtl_counts(d, c).code_bits;
  Image out;
  if (!image_open(&out, dir, "levels", (uint64_t)codes * 8, err)) return false;
  for (int i = 0; i < rtl_mats(d); i++) {
    const Matrix *m = rtl_mat(d, c, i);
    for (int l = 0; l < m->levels; l++) image_field(&out, (uint64_t)l * 8, 8, (uint8_t)m->level[l]);
    image_word(&out);
  }
  return image_close(&out, err);
}

/* ---- embedding and angles ---- */

static bool write_embedding(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  const Matrix *m = &c->embed;
  int vec = d->knobs.vec;
  Image codes, rows;
  if (!image_open(&codes, dir, "embed_codes", (uint64_t)vec * (uint64_t)m->bits, err)) return false;
  for (int token = 0; token < m->rows; token++)
    for (int w = 0; w < d->dim_words; w++) {
      for (int v = 0; v < vec; v++) image_field(&codes, (uint64_t)v * (uint64_t)m->bits, m->bits, (uint32_t)matrix_code(m, token, w * vec + v));
      image_word(&codes);
    }
  if (!image_close(&codes, err) || !image_open(&rows, dir, "embed_scales", 16, err)) return false;
  for (int token = 0; token < m->rows; token++) {
    image_field(&rows, 0, 16, m->row_scale[token]);
    image_word(&rows);
  }
  return image_close(&rows, err);
}

static bool write_angles(const RtlDesign *d, const char *dir, const char *name, const int16_t *table, int positions, Err *err) {
  int half = d->shape.rotary_dims / 2, pairs = d->chunk / 2;
  Image out;
  if (!image_open(&out, dir, name, (uint64_t)pairs * 32, err)) return false;
  for (int p = 0; p < positions; p++)
    for (int part = 0; part < d->parts; part++) {
      for (int i = 0; i < pairs && part * pairs + i < half; i++) {
        const int16_t *cs = table + ((size_t)p * (size_t)half + (size_t)(part * pairs + i)) * 2;
        image_field(&out, (uint64_t)i * 32, 16, (uint16_t)cs[0]);
        image_field(&out, (uint64_t)i * 32 + 16, 16, (uint16_t)cs[1]);
      }
      image_word(&out);
    }
  return image_close(&out, err);
}

bool rtl_images(const RtlDesign *d, const Chip *c, const char *dir, Err *err) {
  return write_codes(d, c, dir, err) && write_group_scales(d, c, dir, err) && write_row_scales(d, c, dir, err) && write_levels(d, c, dir, err) &&
         write_embedding(d, c, dir, err) &&
         write_angles(d, dir, "rotary_high", c->rotary_high, (d->knobs.context + ROTARY_LOW - 1) / ROTARY_LOW, err) &&
         write_angles(d, dir, "rotary_low", c->rotary_low, ROTARY_LOW, err);
}
