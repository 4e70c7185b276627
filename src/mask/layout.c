/* mask/layout: a layout that was read: cells, their elements, and the flat view of one layer. */
#include "mask/parts.h"

#include <stdio.h>
#include <string.h>

static const uint8_t oasis_magic[13] = "%SEMI-OASIS\r\n";
static const uint8_t gds_magic[4] = {0, 6, 0, 2};

static bool starts(const FileMap *f, const uint8_t *magic, size_t n) { return f->n >= n && memcmp(f->p, magic, n) == 0; }

bool mask_is(const FileMap *f) { return starts(f, oasis_magic, sizeof oasis_magic) || starts(f, gds_magic, sizeof gds_magic); }

/* ---- cells ---- */

int layout_new_cell(Layout *l, Str name, Err *err) {
  if ((size_t)l->cells == l->cell_cap) {
    size_t cap = l->cell_cap ? 2 * l->cell_cap : 1024;
    LayoutCell *grown = mem_grow(l->cell, l->cell_cap * sizeof *l->cell, cap * sizeof *l->cell, err);
    if (!grown) return -1;
    l->cell = grown;
    l->cell_cap = cap;
  }
  l->cell[l->cells] = (LayoutCell){.name = name};
  return l->cells++;
}

/* Room for a name more: the map is filled anew, twice as large. */
static bool more_names(Layout *l, Err *err) {
  if (l->by_name.cap && l->by_name.n < l->by_name.cap / 4) return true;
  StrMap bigger;
  if (!strmap_init(&bigger, l->by_name.n * 4 + 64, err)) return false;
  for (int i = 0; i < l->cells; i++)
    if (l->cell[i].name.s) strmap_put(&bigger, l->cell[i].name, i);
  strmap_free(&l->by_name);
  l->by_name = bigger;
  return true;
}

int layout_cell_of(Layout *l, Str name, Err *err) {
  int i = l->by_name.cap ? strmap_get(&l->by_name, name) : -1;
  if (i >= 0) return i;
  i = layout_new_cell(l, name, err);
  if (i < 0 || !more_names(l, err)) return -1;
  strmap_put(&l->by_name, name, i);
  return i;
}

static bool find_top(Layout *l, Err *err) {
  l->top = -1;
  for (int i = 0; i < l->cells; i++) {
    const LayoutCell *c = &l->cell[i];
    if (c->placed && !c->defined) return err_set(err, "%s: cell '%.*s' is placed and not in the file", l->file.path, STR_FMT(c->name));
    if (!c->defined || c->placed) continue;
    if (l->top >= 0)
      return err_set(err, "%s:%llu: expected one top cell, found '%.*s' and '%.*s'", l->file.path, (unsigned long long)c->at, STR_FMT(l->cell[l->top].name), STR_FMT(c->name));
    l->top = i;
  }
  return l->top >= 0 || err_set(err, "%s: expected a top cell, found none", l->file.path);
}

bool layout_open(Layout *l, const char *path, Err *err) {
  *l = (Layout){.flat_gds = -1};
  if (!map_open(&l->file, path, err)) return false;
  bool oasis = starts(&l->file, oasis_magic, sizeof oasis_magic);
  l->format = oasis ? FORMAT_OASIS : FORMAT_GDS;
  bool ok = oasis || starts(&l->file, gds_magic, sizeof gds_magic) || err_set(err, "%s:0: neither OASIS (magic '%%SEMI-OASIS') nor GDSII (a header record)", path);
  ok = ok && (oasis ? oasis_scan : gds_scan)(l, err) && find_top(l, err);
  if (!ok) layout_close(l);
  return ok;
}

bool layout_elements(const Layout *l, int cell, ElementFn *fn, void *arg, Err *err) {
  return (l->format == FORMAT_OASIS ? oasis_elements : gds_elements)(l, cell, fn, arg, err) && !err->set;
}

/* ---- places ---- */

void places_start(Places *p, const Repeat *r) { *p = (Places){.r = r, .p = r->p, .i = -1}; }

static uint64_t step_number(Places *p) {
  uint64_t v = 0;
  for (int s = 0; p->p < p->r->end; s += 7) {
    uint8_t b = *p->p++;
    v |= (uint64_t)(b & 127) << (s & 63);
    if (b < 128) break;
  }
  return v;
}

/* A step in two dimensions: one of eight directions, or two numbers. */
static void step_delta(Places *p) {
  uint64_t v = step_number(p);
  if (v & 1) {
    int64_t dx = (int64_t)(v >> 2);
    uint64_t w = step_number(p);
    int64_t dy = (int64_t)(w >> 1);
    p->x += (v & 2 ? -dx : dx) * p->r->grid;
    p->y += (w & 1 ? -dy : dy) * p->r->grid;
  } else {
    int64_t d = (int64_t)(v >> 4) * p->r->grid;
    p->x += oasis_direction[v >> 1 & 7][0] * d;
    p->y += oasis_direction[v >> 1 & 7][1] * d;
  }
}

bool places_next(Places *p, int64_t *x, int64_t *y) {
  const Repeat *r = p->r;
  if (r->steps) {
    if (++p->i > r->steps) return false;
    if (p->i > 0) {
      if (r->type >= 10) step_delta(p);
      else if (r->type >= 6) p->y += (int64_t)step_number(p) * r->grid;
      else p->x += (int64_t)step_number(p) * r->grid;
    }
    *x = p->x;
    *y = p->y;
    return true;
  }
  if (++p->i == r->n) p->i = 0, p->j++;
  if (p->j == r->m) return false;
  *x = p->i * r->nx + p->j * r->mx;
  *y = p->i * r->ny + p->j * r->my;
  return true;
}

/* ---- orientations: bit 2 flips about the x axis, then bits 0 and 1 turn ---- */

static void turned(int o, int64_t x, int64_t y, int64_t *u, int64_t *v) {
  if (o & 4) y = -y;
  switch (o & 3) {
    case 0: *u = x, *v = y; break;
    case 1: *u = -y, *v = x; break;
    case 2: *u = -x, *v = -y; break;
    default: *u = y, *v = -x;
  }
}

/* First `inner`, then `outer`. */
static int both_turns(int outer, int inner) {
  int turns = outer & 4 ? (outer & 3) - (inner & 3) : (outer & 3) + (inner & 3);
  return ((outer ^ inner) & 4) | (turns & 3);
}

static FlatBox turned_box(int o, const Element *e) {
  FlatBox a, b;
  turned(o, e->x0, e->y0, &a.x0, &a.y0);
  turned(o, e->x1, e->y1, &a.x1, &a.y1);
  b.x0 = a.x0 < a.x1 ? a.x0 : a.x1;
  b.x1 = a.x0 < a.x1 ? a.x1 : a.x0;
  b.y0 = a.y0 < a.y1 ? a.y0 : a.y1;
  b.y1 = a.y0 < a.y1 ? a.y1 : a.y0;
  return b;
}

static int orient_of(const Element *e) { return e->turns | (e->flip ? 4 : 0); }

/* ---- one layer, flat ---- */

enum { FLAT_MOST = 4096, DEEPEST = 200 };

typedef struct Flat {
  bool done, large; /* large: walked, not kept */
  FlatBox *box;
  int n;
} Flat;

typedef struct {
  Layout *l;
  BoxesFn *fn;
  void *arg;
  Err *err;
  Flat *into; /* instead of fn: what is gathered */
  int orient, depth;
  int64_t x, y;
  bool ended;
} Walk;

static bool walk_cell(Walk *w, int cell);

static bool give(Walk *w, const FlatBox *box, int n, int64_t x, int64_t y) {
  if (!w->into) return (w->ended = !w->fn(w->arg, box, n, x, y)) == false;
  if (w->into->n + n > FLAT_MOST) {
    w->into->large = true;
    return false;
  }
  for (int i = 0; i < n; i++) w->into->box[w->into->n++] = (FlatBox){box[i].x0 + x, box[i].y0 + y, box[i].x1 + x, box[i].y1 + y};
  return true;
}

/* A small cell's boxes at one orientation, or large. */
static Flat *flat_of(Walk *w, int cell, int orient) {
  Flat *f = &w->l->flat[8 * cell + orient];
  if (f->done || w->err->set) return w->err->set ? NULL : f;
  if (w->depth > DEEPEST || w->l->cell[cell].open) {
    err_set(w->err, "%s:%llu: cell '%.*s' contains itself, or cells are nested more than %d deep", w->l->file.path, (unsigned long long)w->l->cell[cell].at,
            STR_FMT(w->l->cell[cell].name), DEEPEST);
    return NULL;
  }
  FlatBox *box = mem_alloc(FLAT_MOST, sizeof *box, w->err);
  if (!box) return NULL;
  f->box = box;
  w->l->cell[cell].open = true;
  Walk inner = {.l = w->l, .err = w->err, .into = f, .orient = orient, .depth = w->depth + 1};
  walk_cell(&inner, cell);
  w->l->cell[cell].open = false;
  f->box = f->large || !f->n ? NULL : arena_alloc(&w->l->arena, (size_t)f->n, sizeof *box, w->err);
  if (f->box) memcpy(f->box, box, (size_t)f->n * sizeof *box);
  mem_free(box);
  f->done = true;
  return w->err->set ? NULL : f;
}

static bool walk_element(void *arg, const Element *e) {
  Walk *w = arg;
  Layout *l = w->l;
  if (e->kind == ELEMENT_TEXT || (e->kind != ELEMENT_PLACE && (e->gds != l->flat_gds || e->datatype != l->flat_datatype))) return true;
  if (e->kind == ELEMENT_OTHER) return err_set(w->err, "%s: layer %d/%d has a shape that is no box", l->file.path, e->gds, e->datatype);
  int orient = e->kind == ELEMENT_PLACE ? both_turns(w->orient, orient_of(e)) : 0;
  Flat *f = e->kind == ELEMENT_PLACE ? flat_of(w, e->cell, orient) : NULL;
  if (e->kind == ELEMENT_PLACE && (!f || (!f->large && !f->n))) return f != NULL;
  FlatBox box = e->kind == ELEMENT_BOX ? turned_box(w->orient, e) : (FlatBox){0};
  int64_t x, y, u, v, ox = 0, oy = 0;
  if (e->kind == ELEMENT_PLACE) turned(w->orient, e->x0, e->y0, &ox, &oy);
  Places p;
  places_start(&p, &e->repeat);
  while (places_next(&p, &x, &y)) {
    turned(w->orient, x, y, &u, &v);
    u += w->x + ox;
    v += w->y + oy;
    if (!f) {
      if (!give(w, &box, 1, u, v)) return false;
    } else if (!f->large) {
      if (!give(w, f->box, f->n, u, v)) return false;
    } else if (w->into) {
      w->into->large = true;
      return false;
    } else {
      Walk inner = *w;
      inner.orient = orient;
      inner.depth++;
      inner.x = u;
      inner.y = v;
      if (!walk_cell(&inner, e->cell)) return w->ended = inner.ended, false;
    }
  }
  return true;
}

/* False where the walk was ended or failed. */
static bool walk_cell(Walk *w, int cell) { return layout_elements(w->l, cell, walk_element, w, w->err) && !w->ended && !(w->into && w->into->large); }

bool layout_boxes(Layout *l, int gds, int datatype, BoxesFn *fn, void *arg, Err *err) {
  mem_free(l->flat);
  l->flat = mem_alloc((size_t)l->cells * 8, sizeof *l->flat, err);
  if (!l->flat) return false;
  l->flat_gds = gds;
  l->flat_datatype = datatype;
  Walk w = {.l = l, .fn = fn, .arg = arg, .err = err};
  Flat *top = flat_of(&w, l->top, 0);
  if (!top) return false;
  if (!top->large) fn(arg, top->box, top->n, 0, 0);
  else walk_cell(&w, l->top);
  return !err->set;
}

void layout_close(Layout *l) {
  mem_free(l->flat);
  mem_free(l->cell);
  mem_free(l->cell_of);
  mem_free(l->text_of);
  strmap_free(&l->by_name);
  arena_free(&l->arena);
  map_close(&l->file);
  *l = (Layout){0};
}

/* ---- texts ---- */

typedef struct {
  Str start;
  char *out;
  size_t n;
  bool found;
} Find;

static bool find_text(void *arg, const Element *e) {
  Find *f = arg;
  if (e->kind != ELEMENT_TEXT || !str_starts(e->text, f->start)) return true;
  snprintf(f->out, f->n, "%.*s", (int)(e->text.n > 1000 ? 1000 : e->text.n), e->text.s);
  f->found = true;
  return false;
}

bool layout_text(const Layout *l, const char *start, char *out, size_t n, Err *err) {
  Find f = {str_from(start), out, n, false};
  layout_elements(l, l->top, find_text, &f, err);
  if (err->set) return false;
  return f.found || err_set(err, "%s: expected a text '%s...' in the top cell: burin mask writes it; found none", l->file.path, start);
}

/* ---- digests ---- */

typedef struct {
  const Layout *l;
  int gds, datatype;
  uint64_t *digest, sum; /* [cells] */
  uint8_t *state;        /* 0 new, 1 open, 2 done */
  int depth;
  int64_t places;        /* that were met */
  Err *err;
} Digest;
enum { PLACES_MOST = 1 << 28 };

static bool digest_cell(Digest *d, int cell);

static bool digest_element(void *arg, const Element *e) {
  Digest *d = arg;
  int64_t v[5] = {e->kind, e->x0, e->y0, e->x1, e->y1};
  if (e->kind == ELEMENT_TEXT || (e->kind != ELEMENT_PLACE && (e->gds != d->gds || e->datatype != d->datatype))) return true;
  if (e->kind == ELEMENT_PLACE) {
    if (!digest_cell(d, e->cell)) return false;
    if (!d->digest[e->cell]) return true;
    v[3] = (int64_t)d->digest[e->cell];
    v[4] = orient_of(e);
  }
  Places p;
  int64_t x, y;
  places_start(&p, &e->repeat);
  while (places_next(&p, &x, &y)) { /* each place by itself: writers gather them into repetitions as they like */
    if (++d->places > PLACES_MOST) return err_set(d->err, "%s: expected at most %lld shapes and placements in the definitions of its cells, found more", d->l->file.path, (long long)PLACES_MOST);
    int64_t at[7] = {v[0], v[1] + x, v[2] + y, v[3], v[4], 0, 0};
    if (e->kind != ELEMENT_PLACE) at[3] += x, at[4] += y;
    d->sum += checksum64(at, sizeof at); /* in any order */
  }
  return true;
}

static bool digest_cell(Digest *d, int cell) {
  if (d->state[cell] == 2) return true;
  if (d->state[cell] == 1 || d->depth > DEEPEST) return err_set(d->err, "%s: cell '%.*s' contains itself", d->l->file.path, STR_FMT(d->l->cell[cell].name));
  d->state[cell] = 1;
  uint64_t outer = d->sum;
  d->sum = 0;
  d->depth++;
  bool ok = layout_elements(d->l, cell, digest_element, d, d->err);
  d->depth--;
  d->digest[cell] = d->sum;
  d->sum = outer;
  d->state[cell] = 2;
  return ok;
}

bool layout_digest(const Layout *l, int gds, int datatype, uint64_t *out, Err *err) {
  Digest d = {.l = l, .gds = gds, .datatype = datatype, .err = err};
  d.digest = mem_alloc((size_t)l->cells, sizeof *d.digest, err);
  d.state = mem_alloc((size_t)l->cells, 1, err);
  bool ok = d.digest && d.state && digest_cell(&d, l->top);
  if (ok) *out = d.digest[l->top];
  mem_free(d.digest);
  mem_free(d.state);
  return ok;
}
