/* mask/gds: reads GDSII: finds the structures of a file and gives their elements.  Knows nothing of the writer. */
#include "mask/parts.h"

#include <string.h>

enum {
  HEADER = 0x00, BGNLIB = 0x01, LIBNAME = 0x02, UNITS = 0x03, ENDLIB = 0x04, BGNSTR = 0x05, STRNAME = 0x06, ENDSTR = 0x07, BOUNDARY = 0x08, PATH = 0x09, SREF = 0x0a, AREF = 0x0b,
  TEXT = 0x0c, LAYER = 0x0d, DATATYPE = 0x0e, XY = 0x10, ENDEL = 0x11, SNAME = 0x12, COLROW = 0x13, TEXTTYPE = 0x16, STRING = 0x19, STRANS = 0x1a, MAG = 0x1b, ANGLE = 0x1c,
  NODE = 0x15, BOX = 0x2d, BOXTYPE = 0x2e
};

typedef struct {
  int kind;
  const uint8_t *p;
  size_t n, at;
} Record;

static int two(const uint8_t *p) { return p[0] << 8 | p[1]; }
static int64_t four(const uint8_t *p) { return (int32_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]); }

static bool next(Reader *r, Record *out) {
  size_t at = r->at;
  const uint8_t *head = rd_bytes(r, 4);
  if (!head) return false;
  int n = two(head);
  if (n < 4 || n % 2) return rd_fail(r, at, "expected a record of an even length of at least 4, found %d", n);
  const uint8_t *p = rd_bytes(r, (uint64_t)n - 4);
  if (!p) return false;
  *out = (Record){head[2], p, (size_t)n - 4, at};
  return true;
}

/* A text of a record: a byte of 0 may fill it up. */
static Str text_of(const Record *rec) {
  size_t n = rec->n;
  while (n && !rec->p[n - 1]) n--;
  return (Str){(const char *)rec->p, n};
}

static bool need(Reader *r, const Record *rec, const char *what, size_t n) {
  return rec->n >= n || rd_fail(r, rec->at, "%s: expected at least %zu bytes, found %zu", what, n, rec->n);
}

/* 8-byte real: sign, exponent of 16 with an excess of 64, 56 bits of fraction. */
static double real(const uint8_t *p) {
  double m = 0;
  for (int i = 7; i >= 1; i--) m = (m + p[i]) / 256;
  for (int e = (p[0] & 127) - 64; e > 0; e--) m *= 16;
  for (int e = (p[0] & 127) - 64; e < 0; e++) m /= 16;
  return p[0] & 128 ? -m : m;
}

bool gds_scan(Layout *l, Err *err) {
  Reader r = {l->file.p, l->file.n, 0, l->file.path, err};
  Record rec = {0};
  int open = -1;
  while (next(&r, &rec)) {
    if (rec.kind == ENDLIB) return open < 0 || rd_fail(&r, rec.at, "expected the end of a structure, found the end of the library");
    if (rec.kind == UNITS && need(&r, &rec, "UNITS", 16) && (real(rec.p + 8) < .999e-9 || real(rec.p + 8) > 1.001e-9))
      return rd_fail(&r, rec.at, "UNITS: expected a database unit of 1e-9 m, found %g", real(rec.p + 8));
    if (rec.kind == STRNAME) {
      open = layout_cell_of(l, text_of(&rec), err);
      if (open < 0) return false;
      if (l->cell[open].defined) return rd_fail(&r, rec.at, "structure '%.*s': expected one definition, found a second", STR_FMT(l->cell[open].name));
      l->cell[open].defined = true;
      l->cell[open].at = rec.at;
      l->cell[open].p = r.p + r.at;
    } else if (rec.kind == SNAME) {
      int placed = layout_cell_of(l, text_of(&rec), err);
      if (placed < 0) return false;
      l->cell[placed].placed = true;
    } else if (rec.kind == ENDSTR) {
      if (open < 0) return rd_fail(&r, rec.at, "expected a structure before its end");
      l->cell[open].n = (size_t)(r.p + rec.at - l->cell[open].p);
      open = -1;
    }
  }
  return false; /* the reader said why: the file ends before ENDLIB */
}

/* ---- elements ---- */

typedef struct {
  int kind;
  Element e;
  const uint8_t *xy;
  size_t points;
  int columns, rows;
  bool scaled;
} Open;

static bool box_of(const Open *o, Element *e) {
  int64_t x[5], y[5];
  if (o->points != 5) return false;
  for (int i = 0; i < 5; i++) x[i] = four(o->xy + 8 * i), y[i] = four(o->xy + 8 * i + 4);
  e->x0 = e->x1 = x[0];
  e->y0 = e->y1 = y[0];
  for (int i = 1; i < 4; i++) {
    if (x[i] < e->x0) e->x0 = x[i];
    if (x[i] > e->x1) e->x1 = x[i];
    if (y[i] < e->y0) e->y0 = y[i];
    if (y[i] > e->y1) e->y1 = y[i];
  }
  bool corners = x[4] == x[0] && y[4] == y[0];
  for (int i = 0; i < 4; i++) corners = corners && (x[i] == e->x0 || x[i] == e->x1) && (y[i] == e->y0 || y[i] == e->y1) && (x[i] == x[i + 1]) != (y[i] == y[i + 1]);
  return corners;
}

static bool finish(Reader *r, Open *o, const Record *rec) {
  Element *e = &o->e;
  size_t want = o->kind == AREF ? 3 : 1;
  if (!o->xy || o->points < want) return rd_fail(r, rec->at, "expected an element with at least %zu points, found %zu", want, o->points);
  e->repeat = (Repeat){.n = 1, .m = 1};
  if (o->kind == BOUNDARY || o->kind == BOX) {
    e->kind = box_of(o, e) ? ELEMENT_BOX : ELEMENT_OTHER;
  } else if (o->kind == SREF || o->kind == AREF) {
    e->kind = ELEMENT_PLACE;
    if (o->scaled) return rd_fail(r, rec->at, "expected a placement with quarter turns and no scale");
  } else {
    e->kind = o->kind == TEXT ? ELEMENT_TEXT : ELEMENT_OTHER;
  }
  if (e->kind != ELEMENT_BOX) e->x0 = four(o->xy), e->y0 = four(o->xy + 4);
  if (o->kind == AREF) {
    Repeat *t = &e->repeat;
    if (o->columns < 1 || o->rows < 1) return rd_fail(r, rec->at, "expected an array of at least 1 by 1, found %d by %d", o->columns, o->rows);
    t->n = o->columns;
    t->m = o->rows;
    t->nx = (four(o->xy + 8) - e->x0) / o->columns;
    t->ny = (four(o->xy + 12) - e->y0) / o->columns;
    t->mx = (four(o->xy + 16) - e->x0) / o->rows;
    t->my = (four(o->xy + 20) - e->y0) / o->rows;
  }
  return true;
}

/* One record of an element. */
static bool part(const Layout *l, Reader *r, Open *o, const Record *rec) {
  switch (rec->kind) {
    case LAYER: if (need(r, rec, "LAYER", 2)) o->e.gds = two(rec->p); break;
    case DATATYPE: case TEXTTYPE: case BOXTYPE: if (need(r, rec, "DATATYPE", 2)) o->e.datatype = two(rec->p); break;
    case XY:
      o->xy = rec->p;
      o->points = rec->n / 8;
      break;
    case SNAME: o->e.cell = strmap_get(&l->by_name, text_of(rec)); break;
    case COLROW: if (need(r, rec, "COLROW", 4)) o->columns = two(rec->p), o->rows = two(rec->p + 2); break;
    case STRING: o->e.text = text_of(rec); break;
    case STRANS: if (need(r, rec, "STRANS", 2)) o->e.flip = rec->p[0] & 0x80; break;
    case MAG: if (need(r, rec, "MAG", 8)) o->scaled = o->scaled || real(rec->p) != 1; break;
    case ANGLE:
      if (!need(r, rec, "ANGLE", 8)) break;
      o->e.turns = (int)(real(rec->p) / 90) & 3;
      o->scaled = o->scaled || real(rec->p) / 90 != (int)(real(rec->p) / 90);
      break;
    default: break; /* properties and what has no part in where things stand */
  }
  return rd_ok(r);
}

bool gds_elements(const Layout *l, int cell, ElementFn *fn, void *arg, Err *err) {
  const LayoutCell *c = &l->cell[cell];
  Reader r = {l->file.p, (size_t)(c->p - l->file.p) + c->n, (size_t)(c->p - l->file.p), l->file.path, err};
  Record rec = {0};
  Open o = {0};
  while (r.at < r.n) {
    if (!next(&r, &rec)) return false;
    switch (rec.kind) {
      case BOUNDARY: case PATH: case SREF: case AREF: case TEXT: case NODE: case BOX:
        if (o.kind) return rd_fail(&r, rec.at, "expected the end of an element, found another");
        o = (Open){.kind = rec.kind, .e.cell = -1};
        break;
      case ENDEL:
        if (!o.kind) return rd_fail(&r, rec.at, "expected an element before its end");
        if (!finish(&r, &o, &rec)) return false;
        if (o.e.kind == ELEMENT_PLACE && o.e.cell < 0) return rd_fail(&r, rec.at, "expected a placement with a name");
        if (!fn(arg, &o.e)) return true;
        o.kind = 0;
        break;
      default:
        if (o.kind && !part(l, &r, &o, &rec)) return false;
    }
  }
  return true;
}
