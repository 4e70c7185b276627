/* mask/oasis: reads OASIS (SEMI P39): finds the cells of a file and gives their elements.  Knows nothing of the writer. */
#include "mask/parts.h"

#include <string.h>
#include <zlib.h>

const int8_t oasis_direction[8][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}, {1, 1}, {-1, 1}, {-1, -1}, {1, -1}};

/* A reader of records.  Modal variables begin anew with each cell. */
typedef struct {
  const Layout *l; /* NULL while cells are found */
  Layout *table;   /* where names go while cells are found */
  Reader r;
  ElementFn *fn;
  void *arg;
  bool relative, ended;
  int64_t x, y, place_x, place_y, text_x, text_y, w, h;
  int layer, datatype, text_layer, text_type, cell;
  Str text;
  Repeat repeat;
  uint64_t next_cell, next_text; /* names without a number */
} Oasis;

static uint64_t number(Oasis *o) {
  uint64_t v = 0;
  size_t start = o->r.at;
  for (int s = 0;; s += 7) {
    uint8_t b = rd_u8(&o->r);
    if (!rd_ok(&o->r)) return 0;
    if (s > 63 || (s == 63 && (b & 126))) {
      rd_fail(&o->r, start, "expected a number of at most 64 bits, found a longer one");
      return 0;
    }
    v |= (uint64_t)(b & 127) << s;
    if (b < 128) return v;
  }
}

/* What is multiplied and added below must not overflow: the file's units go to 2^40, a kilometre. */
static int64_t bounded(Oasis *o, uint64_t v, size_t at) {
  if (v >> 40) rd_fail(&o->r, at, "expected a length below 2^40 units, found %llu", (unsigned long long)v);
  return rd_ok(&o->r) ? (int64_t)v : 0;
}

static int64_t length(Oasis *o) {
  size_t at = o->r.at;
  return bounded(o, number(o), at);
}

static int64_t whole(Oasis *o) {
  size_t at = o->r.at;
  uint64_t v = number(o);
  int64_t m = bounded(o, v >> 1, at);
  return v & 1 ? -m : m;
}

static int small(Oasis *o, const char *what, uint64_t most) {
  size_t at = o->r.at;
  uint64_t v = number(o);
  if (v > most) rd_fail(&o->r, at, "%s: expected at most %llu, found %llu", what, (unsigned long long)most, (unsigned long long)v);
  return rd_ok(&o->r) ? (int)v : 0;
}

static Str string(Oasis *o) {
  uint64_t n = number(o);
  const uint8_t *p = rd_bytes(&o->r, n);
  return p ? (Str){(const char *)p, (size_t)n} : (Str){"", 0};
}

static void real(Oasis *o) {
  size_t at = o->r.at;
  uint64_t kind = number(o);
  if (kind <= 3) number(o);
  else if (kind <= 5) number(o), number(o);
  else if (kind == 6) rd_f32(&o->r);
  else if (kind == 7) rd_f64(&o->r);
  else rd_fail(&o->r, at, "expected a real of type 0 to 7, found type %llu", (unsigned long long)kind);
}

/* A displacement: one of eight directions, or two numbers. */
static void delta(Oasis *o, int64_t *x, int64_t *y) {
  size_t at = o->r.at;
  uint64_t v = number(o);
  if (v & 1) {
    *x = bounded(o, v >> 2, at);
    if (v & 2) *x = -*x;
    *y = whole(o);
  } else {
    int64_t d = bounded(o, v >> 4, at);
    *x = oasis_direction[v >> 1 & 7][0] * d;
    *y = oasis_direction[v >> 1 & 7][1] * d;
  }
}

/* ---- repetitions ---- */

static int64_t count(Oasis *o, int more) {
  size_t at = o->r.at;
  uint64_t v = number(o);
  if (v >> 32) rd_fail(&o->r, at, "repetition: expected fewer than 2^32 places, found %llu", (unsigned long long)v);
  return rd_ok(&o->r) ? (int64_t)v + more : 1;
}

/* Past n numbers, each below 2^40: most of a file is such lists. */
static void pass_lengths(Oasis *o, int64_t n) {
  const uint8_t *p = o->r.p + o->r.at, *end = o->r.p + o->r.n;
  int bytes = 0;
  for (; n && p < end && rd_ok(&o->r); p++) {
    if (++bytes == 6 && *p > 31) rd_fail(&o->r, (size_t)(p - o->r.p), "expected a length below 2^40 units, found a longer one");
    if (*p < 128) bytes = 0, n--;
  }
  o->r.at = (size_t)(p - o->r.p);
  if (n && rd_ok(&o->r)) rd_u8(&o->r); /* says that the file is too short */
}

static void steps(Oasis *o, Repeat *r, int type) {
  r->type = type;
  r->steps = count(o, 1);
  r->grid = type == 5 || type == 7 || type == 11 ? length(o) : 1;
  r->p = o->r.p + o->r.at;
  if (type < 10) pass_lengths(o, r->steps);
  for (int64_t i = 0; type >= 10 && i < r->steps && rd_ok(&o->r); i++) {
    int64_t x, y;
    delta(o, &x, &y);
  }
  r->end = o->r.p + o->r.at;
}

static void repetition(Oasis *o) {
  size_t at = o->r.at;
  uint64_t type = number(o);
  if (type == 0) {
    if (!o->repeat.n) rd_fail(&o->r, at, "repetition: expected an earlier one in this cell to use again, found none");
    return;
  }
  Repeat r = {.n = 1, .m = 1};
  switch (type) {
    case 1:
      r.n = count(o, 2), r.m = count(o, 2);
      r.nx = length(o), r.my = length(o);
      break;
    case 2: r.n = count(o, 2), r.nx = length(o); break;
    case 3: r.n = count(o, 2), r.ny = length(o); break;
    case 8:
      r.n = count(o, 2), r.m = count(o, 2);
      delta(o, &r.nx, &r.ny);
      delta(o, &r.mx, &r.my);
      break;
    case 9:
      r.n = count(o, 2);
      delta(o, &r.nx, &r.ny);
      break;
    case 4: case 5: case 6: case 7: case 10: case 11: steps(o, &r, (int)type); break;
    default: rd_fail(&o->r, at, "repetition: expected type 0 to 11, found %llu", (unsigned long long)type);
  }
  if (rd_ok(&o->r)) o->repeat = r;
}

static Repeat repeat_if(Oasis *o, bool flag) {
  if (!flag) return (Repeat){.n = 1, .m = 1};
  repetition(o);
  return o->repeat;
}

static void coordinate(Oasis *o, bool given, int64_t *modal) {
  if (!given) return;
  int64_t v = whole(o);
  *modal = o->relative ? *modal + v : v;
  if (*modal >> 41 != 0 && *modal >> 41 != -1) rd_fail(&o->r, o->r.at, "expected a coordinate within 2^41 units");
}

static void give(Oasis *o, const Element *e) {
  if (rd_ok(&o->r) && o->fn && !o->fn(o->arg, e)) o->ended = true;
}

/* ---- records of a cell ---- */

static void layer_and_type(Oasis *o, unsigned info) {
  if (info & 1) o->layer = small(o, "layer", 65535);
  if (info & 2) o->datatype = small(o, "datatype", 65535);
}

/* The cell behind a reference number, made where it is new. */
static int cell_numbered(Oasis *o, uint64_t n, size_t at) {
  const Layout *l = o->table ? o->table : o->l;
  Err *err = o->r.err;
  if (n > l->file.n) rd_fail(&o->r, at, "expected a reference number below the file's size, found %llu", (unsigned long long)n);
  if (!rd_ok(&o->r)) return 0;
  if (!o->table) return l->cell_of[n];
  Layout *t = o->table;
  if (n >= t->cell_refs) {
    size_t cap = t->cell_refs ? t->cell_refs : 1024;
    while (cap <= n) cap *= 2;
    int *grown = mem_grow(t->cell_of, t->cell_refs * sizeof *grown, cap * sizeof *grown, err);
    if (!grown) return 0;
    for (size_t i = t->cell_refs; i < cap; i++) grown[i] = -1;
    t->cell_of = grown;
    t->cell_refs = cap;
  }
  if (t->cell_of[n] < 0) t->cell_of[n] = layout_new_cell(t, (Str){0}, err);
  return t->cell_of[n] < 0 ? 0 : t->cell_of[n];
}

static int cell_ref(Oasis *o, bool by_number) {
  size_t at = o->r.at;
  if (by_number) return cell_numbered(o, number(o), at);
  Str name = string(o);
  if (!rd_ok(&o->r)) return 0;
  int c = o->table ? layout_cell_of(o->table, name, o->r.err) : strmap_get(&o->l->by_name, name);
  return c < 0 ? 0 : c;
}

static void placement(Oasis *o, bool scaled) {
  size_t start = o->r.at;
  unsigned info = rd_u8(&o->r);
  if (info & 0x80) o->cell = cell_ref(o, info & 0x40);
  if (o->table && o->cell >= 0 && rd_ok(&o->r)) o->table->cell[o->cell].placed = true;
  else if (o->cell < 0) rd_fail(&o->r, start, "placement: expected a cell, found none and no earlier one");
  Element e = {.kind = ELEMENT_PLACE, .cell = o->cell, .turns = info >> 1 & 3, .flip = info & 1};
  if (scaled) {
    e.turns = 0;
    if (info & 6) rd_fail(&o->r, start, "placement: expected quarter turns without a scale, found a scale or an angle");
  }
  coordinate(o, info & 0x20, &o->place_x);
  coordinate(o, info & 0x10, &o->place_y);
  e.repeat = repeat_if(o, info & 8);
  e.x0 = o->place_x;
  e.y0 = o->place_y;
  give(o, &e);
}

static void text(Oasis *o) {
  size_t start = o->r.at;
  unsigned info = rd_u8(&o->r);
  if (info & 0x40) {
    if (info & 0x20) {
      uint64_t n = number(o);
      o->text = o->l && n < o->l->text_refs ? o->l->text_of[n] : (Str){"", 0};
    } else {
      o->text = string(o);
    }
  } else if (!o->text.s) {
    rd_fail(&o->r, start, "text: expected a string, found none and no earlier one");
  }
  if (info & 1) o->text_layer = small(o, "text layer", 65535);
  if (info & 2) o->text_type = small(o, "text type", 65535);
  coordinate(o, info & 0x10, &o->text_x);
  coordinate(o, info & 8, &o->text_y);
  Element e = {.kind = ELEMENT_TEXT, .gds = o->text_layer, .datatype = o->text_type, .x0 = o->text_x, .y0 = o->text_y, .text = o->text, .repeat = repeat_if(o, info & 4)};
  give(o, &e);
}

static void rectangle(Oasis *o) {
  unsigned info = rd_u8(&o->r);
  layer_and_type(o, info);
  if (info & 0x40) o->w = length(o);
  if (info & 0x80) o->h = o->w;
  if (info & 0x20) o->h = length(o);
  coordinate(o, info & 0x10, &o->x);
  coordinate(o, info & 8, &o->y);
  Element e = {.kind = ELEMENT_BOX, .gds = o->layer, .datatype = o->datatype, .x0 = o->x, .y0 = o->y, .x1 = o->x + o->w, .y1 = o->y + o->h, .repeat = repeat_if(o, info & 4)};
  give(o, &e);
}

/* A list of points; its bounding box, and whether it is one. */
static bool points(Oasis *o, int64_t box[4], bool closed) {
  size_t at = o->r.at;
  uint64_t type = number(o), n = number(o);
  int64_t x = 0, y = 0, px[4] = {0}, py[4] = {0}, sx = 0, sy = 0;
  if (type > 5) rd_fail(&o->r, at, "points: expected type 0 to 5, found %llu", (unsigned long long)type);
  memset(box, 0, 4 * sizeof *box);
  for (uint64_t i = 0; i < n && rd_ok(&o->r); i++) {
    int64_t dx = 0, dy = 0;
    if (type <= 1) {
      if ((i + type) % 2 == 0) dx = whole(o);
      else dy = whole(o);
    } else if (type <= 3) {
      uint64_t v = number(o);
      int bits = type == 2 ? 2 : 3;
      int64_t d = bounded(o, v >> bits, at);
      dx = oasis_direction[v & ((1u << bits) - 1)][0] * d;
      dy = oasis_direction[v & ((1u << bits) - 1)][1] * d;
    } else {
      delta(o, &dx, &dy);
      if (type == 5) dx = sx += dx, dy = sy += dy;
    }
    x += dx;
    y += dy;
    if (x >> 42 != 0 && x >> 42 != -1) rd_fail(&o->r, at, "points: expected coordinates within 2^42 units");
    if (y >> 42 != 0 && y >> 42 != -1) rd_fail(&o->r, at, "points: expected coordinates within 2^42 units");
    if (i < 3) px[i + 1] = x, py[i + 1] = y;
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x > box[2]) box[2] = x;
    if (y > box[3]) box[3] = y;
  }
  if (!closed) return false;
  if (type <= 1 && n == 2) { /* the fourth corner is left out */
    px[3] = type == 0 ? 0 : px[2];
    py[3] = type == 0 ? py[2] : 0;
    n = 3;
  }
  bool corners = n == 3;
  for (int i = 0; i < 4; i++) corners = corners && (px[i] == box[0] || px[i] == box[2]) && (py[i] == box[1] || py[i] == box[3]) && (px[i] == px[(i + 1) % 4]) != (py[i] == py[(i + 1) % 4]);
  return corners;
}

static void polygon(Oasis *o) {
  unsigned info = rd_u8(&o->r);
  layer_and_type(o, info);
  int64_t box[4];
  size_t at = o->r.at;
  if (!(info & 0x20)) {
    rd_fail(&o->r, at, "polygon: expected its own list of points, found none");
    return;
  }
  bool corners = points(o, box, true);
  coordinate(o, info & 0x10, &o->x);
  coordinate(o, info & 8, &o->y);
  Element e = {.kind = corners ? ELEMENT_BOX : ELEMENT_OTHER, .gds = o->layer, .datatype = o->datatype, .x0 = o->x + box[0], .y0 = o->y + box[1], .x1 = o->x + box[2], .y1 = o->y + box[3],
               .repeat = repeat_if(o, info & 4)};
  give(o, &e);
}

/* Shapes that are no boxes: read past, and given as such. */
static void other(Oasis *o, int id) {
  unsigned info = rd_u8(&o->r);
  int64_t box[4];
  bool path = id == 22, circle = id == 27;
  layer_and_type(o, info);
  if (path) {
    if (info & 0x40) length(o);
    if (info & 0x80) {
      uint64_t ends = number(o);
      if ((ends >> 2 & 3) == 3) whole(o);
      if ((ends & 3) == 3) whole(o);
    }
    if (info & 0x20) points(o, box, false);
  } else if (circle) {
    if (info & 0x20) length(o);
  } else {
    if (id == 26 && info & 0x80) number(o);
    if (info & 0x40) length(o);
    if (info & 0x20) length(o);
    if (id == 23) whole(o), whole(o);
    if (id == 24 || id == 25) whole(o);
  }
  coordinate(o, info & 0x10, &o->x);
  coordinate(o, info & 8, &o->y);
  Element e = {.kind = ELEMENT_OTHER, .gds = o->layer, .datatype = o->datatype, .x0 = o->x, .y0 = o->y, .x1 = o->x, .y1 = o->y, .repeat = repeat_if(o, info & 4)};
  give(o, &e);
}

static void property_value(Oasis *o) {
  size_t at = o->r.at;
  unsigned kind = rd_u8(&o->r);
  if (kind <= 7) {
    o->r.at--;
    real(o);
  } else if (kind == 8 || (kind >= 13 && kind <= 15)) {
    number(o);
  } else if (kind == 9) {
    whole(o);
  } else if (kind <= 12) {
    string(o);
  } else {
    rd_fail(&o->r, at, "property: expected a value of type 0 to 15, found %u", kind);
  }
}

static void property(Oasis *o) {
  unsigned info = rd_u8(&o->r);
  if (info & 4) {
    if (info & 2) number(o);
    else string(o);
  }
  if (info & 8) return;
  uint64_t n = info >> 4 == 15 ? number(o) : info >> 4;
  for (uint64_t i = 0; i < n && rd_ok(&o->r); i++) property_value(o);
}

/* A record that may stand in a cell; false where `id` is none. */
static bool cell_record(Oasis *o, uint64_t id) {
  switch (id) {
    case 0: return true;
    case 15: o->relative = false; return true;
    case 16: o->relative = true; return true;
    case 17: placement(o, false); return true;
    case 18: placement(o, true); return true;
    case 19: text(o); return true;
    case 20: rectangle(o); return true;
    case 21: polygon(o); return true;
    case 22: case 23: case 24: case 25: case 26: case 27: other(o, (int)id); return true;
    case 28: property(o); return true;
    case 29: return true;
    case 32: number(o), string(o); return true;
    default: return false;
  }
}

static void cell_begins(Oasis *o) {
  o->relative = false;
  o->x = o->y = o->place_x = o->place_y = o->text_x = o->text_y = o->w = o->h = 0;
  o->layer = o->datatype = o->text_layer = o->text_type = 0;
  o->cell = -1;
  o->text = (Str){0};
  o->repeat = (Repeat){0};
}

bool oasis_elements(const Layout *l, int cell, ElementFn *fn, void *arg, Err *err) {
  const LayoutCell *c = &l->cell[cell];
  Oasis o = {.l = l, .fn = fn, .arg = arg, .r = {c->p, c->n, 0, l->file.path, err}};
  cell_begins(&o);
  while (o.r.at < o.r.n && !o.ended && rd_ok(&o.r)) cell_record(&o, number(&o));
  return !err->set;
}

/* ---- finding the cells ---- */

typedef struct {
  Oasis o;
  Reader file; /* the file, while o.r reads a deflated block */
  bool deflated;
  int open;             /* cell; -1 */
  const uint8_t *from;  /* of its records that were passed and not kept yet */
  bool end;
} Scan;

/* What was passed of the open cell, up to `to`.  Mostly all of it is one piece, which is not copied. */
static void keep(Scan *s, Layout *l, const uint8_t *to) {
  if (s->open < 0 || to == s->from) return;
  LayoutCell *c = &l->cell[s->open];
  size_t n = (size_t)(to - s->from);
  if (!c->n) {
    c->p = s->from;
    c->n = n;
    return;
  }
  uint8_t *p = arena_alloc(&l->arena, c->n + n, 1, s->o.r.err);
  if (!p) return;
  memcpy(p, c->p, c->n);
  memcpy(p + c->n, s->from, n);
  c->p = p;
  c->n += n;
}

static void block(Scan *s, Layout *l, size_t at) {
  Oasis *o = &s->o;
  uint64_t kind = number(o), plain = number(o), small_n = number(o);
  if (s->deflated) rd_fail(&o->r, at, "expected no deflated block within another");
  if (kind != 0) rd_fail(&o->r, at, "expected a block deflated by method 0, found %llu", (unsigned long long)kind);
  const uint8_t *p = rd_bytes(&o->r, small_n);
  if (!p) return;
  if (plain / 1100 > small_n || plain > SIZE_MAX / 2) { /* deflate's best is 1 to 1032 */
    rd_fail(&o->r, at, "deflated block: %llu bytes cannot become %llu", (unsigned long long)small_n, (unsigned long long)plain);
    return;
  }
  uint8_t *out = arena_alloc(&l->arena, plain ? (size_t)plain : 1, 1, o->r.err);
  z_stream z = {0};
  if (!out) return;
  if (inflateInit2(&z, -15) != Z_OK) {
    err_set(o->r.err, "zlib: out of memory");
    return;
  }
  z.next_in = (Bytef *)(uintptr_t)p;
  z.next_out = out;
  uint64_t in_left = small_n, out_left = plain;
  int status = Z_OK;
  while (status == Z_OK) { /* zlib's lengths are of 32 bits */
    uInt in = in_left > 1 << 30 ? 1 << 30 : (uInt)in_left, room = out_left > 1 << 30 ? 1 << 30 : (uInt)out_left;
    z.avail_in = in;
    z.avail_out = room;
    status = inflate(&z, Z_NO_FLUSH);
    in_left -= in - z.avail_in;
    out_left -= room - z.avail_out;
    if (status == Z_OK && in == z.avail_in && room == z.avail_out) break;
  }
  inflateEnd(&z);
  if (status != Z_STREAM_END || out_left) {
    rd_fail(&o->r, at, "deflated block: expected %llu bytes, found %llu%s", (unsigned long long)plain, (unsigned long long)(plain - out_left), status < 0 ? " and damaged data" : "");
    return;
  }
  s->file = o->r;
  s->deflated = true;
  o->r = (Reader){out, (size_t)plain, 0, o->r.name, o->r.err};
  s->from = out;
}

static void name_cell(Oasis *o, Layout *l, bool numbered) {
  Str name = string(o);
  size_t at = o->r.at;
  int c = numbered ? cell_ref(o, true) : cell_numbered(o, o->next_cell++, at); /* numbers count up */
  if (!rd_ok(&o->r)) return;
  if (strmap_get(&l->by_name, name) >= 0) rd_fail(&o->r, at, "expected cell '%.*s' to be named once", STR_FMT(name));
  else l->cell[c].name = name;
}

static void name_text(Oasis *o, Layout *l, bool numbered) {
  Str name = string(o);
  size_t at = o->r.at;
  uint64_t n = numbered ? number(o) : o->next_text++;
  if (n > l->file.n) rd_fail(&o->r, at, "expected a reference number below the file's size, found %llu", (unsigned long long)n);
  if (!rd_ok(&o->r)) return;
  if (n >= l->text_refs) {
    size_t cap = l->text_refs ? l->text_refs : 64;
    while (cap <= n) cap *= 2;
    Str *grown = mem_grow(l->text_of, l->text_refs * sizeof *grown, cap * sizeof *grown, o->r.err);
    if (!grown) return;
    l->text_of = grown;
    l->text_refs = cap;
  }
  l->text_of[n] = name;
}

static void layer_name(Oasis *o) {
  string(o);
  for (int i = 0; i < 2; i++) {
    uint64_t type = number(o);
    if (type > 0) number(o);
    if (type == 4) number(o);
  }
}

static void cell_opens(Scan *s, Layout *l, bool by_number, size_t at) {
  int c = cell_ref(&s->o, by_number);
  if (!rd_ok(&s->o.r)) return;
  if (l->cell[c].defined) {
    rd_fail(&s->o.r, at, "cell '%.*s': expected one definition, found a second", STR_FMT(l->cell[c].name));
    return;
  }
  l->cell[c].defined = true;
  l->cell[c].at = s->deflated ? s->file.at : at;
  s->open = c;
  cell_begins(&s->o);
  s->from = s->o.r.p + s->o.r.at;
}

/* The end of the file: 256 bytes, of which the last may be a CRC32 or a sum over all before them. */
static void ends(Scan *s, Layout *l, size_t at) {
  Oasis *o = &s->o;
  s->end = true;
  if (s->deflated || l->file.n - at != 256) {
    rd_fail(&o->r, at, "expected the end record to be the file's last 256 bytes, found %zu", l->file.n - at);
    return;
  }
  const uint8_t *tail = l->file.p + l->file.n - 5;
  if (tail[0] != 1) return;
  uint32_t crc = 0, want = (uint32_t)tail[1] | (uint32_t)tail[2] << 8 | (uint32_t)tail[3] << 16 | (uint32_t)tail[4] << 24;
  for (size_t i = 0; i < l->file.n - 4;) {
    size_t n = l->file.n - 4 - i < 1 << 30 ? l->file.n - 4 - i : 1 << 30;
    crc = (uint32_t)crc32(crc, l->file.p + i, (uInt)n);
    i += n;
  }
  if (crc != want) rd_fail(&o->r, l->file.n - 4, "CRC32: expected %08x, found %08x: the file is damaged", want, crc);
}

static void file_record(Scan *s, Layout *l, uint64_t id, size_t at) {
  Oasis *o = &s->o;
  if (id >= 1 && id <= 14 && s->open >= 0) { /* these end a cell */
    keep(s, l, o->r.p + at);
    s->open = -1;
  }
  switch (id) {
    case 0: break;
    case 1:
      string(o);
      real(o);
      if (number(o) == 0)
        for (int i = 0; i < 12; i++) number(o);
      break;
    case 2: ends(s, l, at); break;
    case 3: case 4: name_cell(o, l, id == 4); break;
    case 5: case 6: name_text(o, l, id == 6); break;
    case 7: case 8: case 9: case 10:
      string(o);
      if (id % 2 == 0) number(o);
      break;
    case 11: case 12: layer_name(o); break;
    case 13: case 14: cell_opens(s, l, id == 13, at); break;
    case 28: property(o); break;
    case 29: break;
    case 30: case 31:
      number(o), string(o);
      if (id == 31) number(o);
      break;
    default: rd_fail(&o->r, at, "expected a record that may stand outside a cell, found record %llu", (unsigned long long)id);
  }
}

bool oasis_scan(Layout *l, Err *err) {
  Scan s = {.open = -1};
  Oasis *o = &s.o;
  o->table = l;
  o->r = (Reader){l->file.p, l->file.n, 13, l->file.path, err};
  while (!s.end && rd_ok(&o->r)) {
    if (s.deflated && o->r.at == o->r.n) {
      keep(&s, l, o->r.p + o->r.at);
      o->r = s.file;
      s.deflated = false;
      s.from = o->r.p + o->r.at;
      continue;
    }
    size_t at = o->r.at;
    uint64_t id = number(o);
    if (!rd_ok(&o->r)) break;
    if (id == 34) {
      keep(&s, l, o->r.p + at);
      block(&s, l, at);
    } else if (s.open < 0 || !cell_record(o, id)) {
      file_record(&s, l, id, at);
    }
  }
  for (int i = 0; i < l->cells && !err->set; i++)
    if (!l->cell[i].name.s) l->cell[i].name = STR("(without a name)");
  return !err->set;
}
