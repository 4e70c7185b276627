/* mask/pen: writes OASIS (SEMI P39) and GDSII, a cell at a time.
 *
 * OASIS: names by number, each cell's content in one deflated block (Huffman codes only: what repeats is already said by
 * repetitions), a CRC at the end.  GDSII: an SREF for each place of a stack.  Neither has a date.
 */
#include "mask/parts.h"

#include <string.h>
#include <zlib.h>

enum { KNOWN_PLACE_X = 1 };

static void bytes(Pen *pen, const void *p, size_t n) {
  if (!pen->err.set) buf_put(&pen->out, p, n, &pen->err);
}

/* ---- OASIS ---- */

enum {
  OAS_START = 1, OAS_END = 2, OAS_CELLNAME = 4, OAS_LAYERNAME = 11, OAS_CELL = 13, OAS_PLACEMENT = 17, OAS_TEXT = 19, OAS_RECTANGLE = 20, OAS_CBLOCK = 34,
  END_BYTES = 256
};

static size_t number_at(uint8_t *p, uint64_t v) {
  size_t n = 0;
  for (; v > 127; v >>= 7) p[n++] = (uint8_t)(v & 127) | 128;
  p[n++] = (uint8_t)v;
  return n;
}

static void number(Pen *pen, uint64_t v) {
  uint8_t b[10];
  bytes(pen, b, number_at(b, v));
}

static void whole(Pen *pen, int64_t v) { number(pen, v < 0 ? (uint64_t)-v << 1 | 1 : (uint64_t)v << 1); }

static void lattice(Pen *pen, Lattice at) {
  if (at.nx > 1 && at.ny > 1) {
    number(pen, 1);
    number(pen, (uint64_t)at.nx - 2);
    number(pen, (uint64_t)at.ny - 2);
    number(pen, (uint64_t)at.dx);
    number(pen, (uint64_t)at.dy);
  } else {
    bool across = at.nx > 1;
    number(pen, across ? 2 : 3);
    number(pen, (uint64_t)(across ? at.nx : at.ny) - 2);
    number(pen, (uint64_t)(across ? at.dx : at.dy));
  }
}

static bool repeats(Lattice at) { return at.nx > 1 || at.ny > 1; }

static void oasis_box(Pen *pen, int layer, const MaskBox *b, Lattice at) {
  const MaskLayer *l = &pen->p->layer[layer];
  number(pen, OAS_RECTANGLE);
  number(pen, repeats(at) ? 0x7f : 0x7b);
  number(pen, (uint64_t)l->gds);
  number(pen, (uint64_t)l->datatype);
  number(pen, (uint64_t)(b->x1 - b->x0));
  number(pen, (uint64_t)(b->y1 - b->y0));
  whole(pen, b->x0);
  whole(pen, b->y0);
  if (repeats(at)) lattice(pen, at);
}

/* Up to the repetition. */
static void oasis_placement(Pen *pen, int cell, int64_t x, int64_t y, bool repeated) {
  bool same = pen->known & KNOWN_PLACE_X && pen->place_x == x;
  number(pen, OAS_PLACEMENT);
  bytes(pen, &(uint8_t){(uint8_t)(0xd0 | (same ? 0 : 0x20) | (repeated ? 8 : 0))}, 1);
  number(pen, (uint64_t)cell);
  if (!same) whole(pen, x);
  whole(pen, y);
  pen->known |= KNOWN_PLACE_X;
  pen->place_x = x;
}

static void oasis_stack(Pen *pen, int cell, int64_t x, const int32_t *y, int n, int32_t grid) {
  oasis_placement(pen, cell, x, y[0], n > 1);
  if (n == 1) return;
  number(pen, 7);
  number(pen, (uint64_t)n - 2);
  number(pen, (uint64_t)grid);
  uint8_t some[512];
  size_t k = 0;
  for (int i = 1; i < n; i++) {
    k += number_at(some + k, (uint64_t)((y[i] - y[i - 1]) / grid));
    if (k > sizeof some - 10) bytes(pen, some, k), k = 0;
  }
  bytes(pen, some, k);
}

static void oasis_text(Pen *pen, int layer, int64_t x, int64_t y, const char *s) {
  const MaskLayer *l = &pen->p->layer[layer];
  number(pen, OAS_TEXT);
  number(pen, 0x5b);
  number(pen, strlen(s));
  bytes(pen, s, strlen(s));
  number(pen, (uint64_t)l->gds);
  number(pen, (uint64_t)l->datatype);
  whole(pen, x);
  whole(pen, y);
}

/* The open cell's content, deflated. */
static bool squeeze(Pen *pen) {
  size_t n = pen->out.n - pen->content;
  if (n < 64 || n > UINT32_MAX / 2) return true;
  uLong most = compressBound((uLong)n) + 64;
  if (pen->squeezed.cap < most) {
    char *grown = mem_grow(pen->squeezed.s, pen->squeezed.cap, most, &pen->err);
    if (!grown) return false;
    pen->squeezed.s = grown;
    pen->squeezed.cap = most;
  }
  z_stream z = {0};
  if (deflateInit2(&z, 6, Z_DEFLATED, -15, 9, Z_HUFFMAN_ONLY) != Z_OK) return err_set(&pen->err, "zlib: out of memory");
  z.next_in = (Bytef *)pen->out.s + pen->content;
  z.avail_in = (uInt)n;
  z.next_out = (Bytef *)pen->squeezed.s;
  z.avail_out = (uInt)most;
  int status = deflate(&z, Z_FINISH);
  size_t small = z.total_out;
  deflateEnd(&z);
  if (status != Z_STREAM_END) return err_set(&pen->err, "zlib: deflate: status %d", status);
  if (small + 12 >= n) return true;
  pen->out.n = pen->content;
  number(pen, OAS_CBLOCK);
  number(pen, 0);
  number(pen, n);
  number(pen, small);
  bytes(pen, pen->squeezed.s, small);
  return true;
}

/* ---- GDSII ---- */

enum {
  GDS_HEADER = 0x0002, GDS_BGNLIB = 0x0102, GDS_LIBNAME = 0x0206, GDS_UNITS = 0x0305, GDS_ENDLIB = 0x0400, GDS_BGNSTR = 0x0502, GDS_STRNAME = 0x0606, GDS_ENDSTR = 0x0700,
  GDS_BOUNDARY = 0x0800, GDS_SREF = 0x0a00, GDS_AREF = 0x0b00, GDS_TEXT = 0x0c00, GDS_LAYER = 0x0d02, GDS_DATATYPE = 0x0e02, GDS_XY = 0x1003, GDS_ENDEL = 0x1100,
  GDS_SNAME = 0x1206, GDS_COLROW = 0x1302, GDS_TEXTTYPE = 0x1602, GDS_STRING = 0x1906
};

static void two(Pen *pen, int v) { bytes(pen, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2); }
static void four(Pen *pen, int64_t v) { bytes(pen, (uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}, 4); }

static void record(Pen *pen, int kind, size_t n) {
  two(pen, (int)n + 4);
  two(pen, kind);
}

static void record_text(Pen *pen, int kind, const char *s) {
  size_t n = strlen(s), even = n + n % 2;
  record(pen, kind, even);
  bytes(pen, s, n);
  if (even > n) bytes(pen, "", 1);
}

static void record_number(Pen *pen, int kind, int v) {
  record(pen, kind, 2);
  two(pen, v);
}

static void gds_box(Pen *pen, int layer, const MaskBox *b, Lattice at) {
  const MaskLayer *l = &pen->p->layer[layer];
  for (int j = 0; j < at.ny; j++)
    for (int i = 0; i < at.nx; i++) {
      int64_t x0 = b->x0 + i * at.dx, x1 = b->x1 + i * at.dx, y0 = b->y0 + j * at.dy, y1 = b->y1 + j * at.dy;
      record(pen, GDS_BOUNDARY, 0);
      record_number(pen, GDS_LAYER, l->gds);
      record_number(pen, GDS_DATATYPE, l->datatype);
      record(pen, GDS_XY, 40);
      for (int k = 0; k < 5; k++) {
        four(pen, k == 2 || k == 3 ? x1 : x0);
        four(pen, k == 1 || k == 2 ? y1 : y0);
      }
      record(pen, GDS_ENDEL, 0);
    }
}

static void gds_place(Pen *pen, int cell, int64_t x, int64_t y, Lattice at) {
  bool array = repeats(at);
  record(pen, array ? GDS_AREF : GDS_SREF, 0);
  record_text(pen, GDS_SNAME, pen->name[cell]);
  if (array) {
    record(pen, GDS_COLROW, 4);
    two(pen, at.nx);
    two(pen, at.ny);
  }
  record(pen, GDS_XY, array ? 24 : 8);
  four(pen, x);
  four(pen, y);
  if (array) {
    four(pen, x + at.nx * at.dx);
    four(pen, y);
    four(pen, x);
    four(pen, y + at.ny * at.dy);
  }
  record(pen, GDS_ENDEL, 0);
}

static void gds_text(Pen *pen, int layer, int64_t x, int64_t y, const char *s) {
  const MaskLayer *l = &pen->p->layer[layer];
  record(pen, GDS_TEXT, 0);
  record_number(pen, GDS_LAYER, l->gds);
  record_number(pen, GDS_TEXTTYPE, l->datatype);
  record(pen, GDS_XY, 8);
  four(pen, x);
  four(pen, y);
  record_text(pen, GDS_STRING, s);
  record(pen, GDS_ENDEL, 0);
}

/* ---- both ---- */

void pen_open(Pen *pen, Format format, const MaskProcess *p, char (*name)[32]) { *pen = (Pen){.format = format, .p = p, .name = name}; }

void pen_cell(Pen *pen, int cell) {
  if (pen->format == FORMAT_OASIS) {
    number(pen, OAS_CELL);
    number(pen, (uint64_t)cell);
  } else {
    record(pen, GDS_BGNSTR, 24);
    for (int i = 0; i < 12; i++) two(pen, 0);
    record_text(pen, GDS_STRNAME, pen->name[cell]);
  }
  pen->known = 0;
  pen->content = pen->out.n;
}

void pen_box(Pen *pen, const MaskBox *b, Lattice at) { (pen->format == FORMAT_OASIS ? oasis_box : gds_box)(pen, b->layer, b, at); }

void pen_place(Pen *pen, int cell, int64_t x, int64_t y, Lattice at) {
  if (pen->format == FORMAT_GDS) {
    gds_place(pen, cell, x, y, at);
    return;
  }
  oasis_placement(pen, cell, x, y, repeats(at));
  if (repeats(at)) lattice(pen, at);
}

void pen_stack(Pen *pen, int cell, int64_t x, const int32_t *y, int n, int32_t grid) {
  if (pen->format == FORMAT_OASIS) oasis_stack(pen, cell, x, y, n, grid);
  else
    for (int i = 0; i < n; i++) gds_place(pen, cell, x, y[i], once);
}

void pen_text(Pen *pen, int layer, int64_t x, int64_t y, const char *s) { (pen->format == FORMAT_OASIS ? oasis_text : gds_text)(pen, layer, x, y, s); }

void pen_end(Pen *pen) {
  if (pen->format == FORMAT_GDS) record(pen, GDS_ENDSTR, 0);
  else if (!pen->err.set) squeeze(pen);
}

bool pen_failed(const Pen *pen, Err *err) {
  if (pen->err.set) err_set(err, "%s", pen->err.text);
  return pen->err.set;
}

void pen_close(Pen *pen) {
  buf_free(&pen->out);
  buf_free(&pen->squeezed);
}

bool layout_head(Format format, Buf *out, Err *err) {
  Pen pen = {.format = format, .out = *out};
  if (format == FORMAT_OASIS) {
    bytes(&pen, "%SEMI-OASIS\r\n", 13);
    number(&pen, OAS_START);
    number(&pen, 3);
    bytes(&pen, "1.0", 3);
    number(&pen, 0); /* a real that is a whole number: 1000 units a micrometre */
    number(&pen, 1000);
    for (int i = 0; i < 13; i++) number(&pen, 0); /* tables stand here, and there are none */
  } else {
    record_number(&pen, GDS_HEADER, 600);
    record(&pen, GDS_BGNLIB, 24);
    for (int i = 0; i < 12; i++) two(&pen, 0);
    record_text(&pen, GDS_LIBNAME, "burin");
    record(&pen, GDS_UNITS, 16); /* 1e-3 and 1e-9, excess-64 base-16 */
    bytes(&pen, (uint8_t[]){0x3e, 0x41, 0x89, 0x37, 0x4b, 0xc6, 0xa7, 0xf0, 0x39, 0x44, 0xb8, 0x2f, 0xa0, 0x9b, 0x5a, 0x54}, 16);
  }
  *out = pen.out;
  return !pen_failed(&pen, err);
}

bool layout_names(Format format, const MaskProcess *p, char (*name)[32], int cells, Buf *out, Err *err) {
  Pen pen = {.format = format, .out = *out};
  for (int i = 0; format == FORMAT_OASIS && i < cells; i++) {
    if (!name[i][0]) continue;
    number(&pen, OAS_CELLNAME);
    number(&pen, strlen(name[i]));
    bytes(&pen, name[i], strlen(name[i]));
    number(&pen, (uint64_t)i);
  }
  for (int i = 0; format == FORMAT_OASIS && i < p->layers; i++) {
    const MaskLayer *l = &p->layer[i];
    number(&pen, OAS_LAYERNAME);
    number(&pen, strlen(l->name));
    bytes(&pen, l->name, strlen(l->name));
    number(&pen, 3);
    number(&pen, (uint64_t)l->gds);
    number(&pen, 3);
    number(&pen, (uint64_t)l->datatype);
  }
  *out = pen.out;
  return !pen_failed(&pen, err);
}

bool layout_foot(Format format, uint32_t crc, Buf *out, Err *err) {
  Pen pen = {.format = format, .out = *out};
  if (format == FORMAT_OASIS) {
    uint8_t end[END_BYTES] = {OAS_END};
    size_t n = 1 + number_at(end + 1, END_BYTES - 8); /* padding: what is left of the record's 256 bytes */
    n += END_BYTES - 8;
    end[n++] = 1; /* CRC32 of all bytes up to here */
    crc = (uint32_t)crc32(crc, end, (uInt)n);
    for (int i = 0; i < 4; i++) end[n++] = (uint8_t)(crc >> 8 * i);
    bytes(&pen, end, n);
  } else {
    record(&pen, GDS_ENDLIB, 0);
  }
  *out = pen.out;
  return !pen_failed(&pen, err);
}
