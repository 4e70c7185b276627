/* mask/sites: the programming vias of a layout, sorted to the nodes they stand on; and what follows: comparison with a chip, and of
 * two layouts.  Starts from flat boxes, whatever cells they came through. */
#include "mask/parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the file says of itself; the rest comes from its geometry. */
typedef struct {
  char process[64];
  int rows, columns, high;
  uint64_t first, banks;
  RtlKnobs knobs;
} MaskLabel;

/* Places of the base's own vias of the programming layer in a bank. */
typedef struct {
  uint64_t *key; /* place + 1; 0: free */
  uint32_t *index;
  size_t slots;
  uint32_t n;
} BaseVias;

struct MaskSites {
  MaskProcess *p;
  MaskLabel label;
  MaskFloor f;      /* lengths only: no chip */
  int nodes, width; /* of a bank: nodes of a column, bytes of a row of nodes */
  uint8_t *on[2];   /* [wide][width][high][nodes]: a via ties the node to ground, to the bit line; eight columns a byte */
  size_t stack;     /* bytes that lie above one another: high * nodes */
  int *node_at;     /* by y / pitch in a column of the die: its node, all banks counted, or -1 */
  int64_t lattice;  /* their number */
  BaseVias base;
  uint8_t *base_on; /* a bit for each via of the base in each bank */
  /* what the last placement was: the next one is mostly above it */
  const FlatBox *last; /* a small cell's boxes, */
  int last_states;     /* the states of eight nodes that they make; -1: they are something else */
  int64_t last_x;
  size_t last_stack;   /* where its nodes begin; SIZE_MAX: no eight columns begin there */
  size_t last_nodes;   /* how many nodes of that column of the die are drawn */
  MaskReport r;
};

static void complain(MaskReport *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(MaskReport *r, const char *format, ...) {
  if (r->texts == MASK_COMPLAINTS) return;
  va_list ap;
  va_start(ap, format);
  vsnprintf(r->text[r->texts++], sizeof r->text[0], format, ap);
  va_end(ap);
}

/* ---- the base's vias ---- */

static uint64_t place_key(int64_t x, int64_t y) { return ((uint64_t)(x + (1 << 30)) << 32 | (uint64_t)(y + (1 << 30))) + 1; }

static size_t slot_of(const BaseVias *b, uint64_t key) {
  size_t i = (size_t)(key * 0x9E3779B97F4A7C15u >> 20) & (b->slots - 1);
  while (b->key[i] && b->key[i] != key) i = (i + 1) & (b->slots - 1);
  return i;
}

static void count_base(void *arg, int piece, int64_t x, int64_t y) {
  MaskSites *s = arg;
  for (int i = s->p->first[piece]; i < s->p->first[piece + 1]; i++) {
    const MaskBox *b = &s->p->box[i];
    if (b->layer != s->p->program) continue;
    if (s->base.key) {
      size_t at = slot_of(&s->base, place_key(x + (b->x0 + b->x1) / 2, y + (b->y0 + b->y1) / 2));
      if (s->base.key[at]) continue;
      s->base.key[at] = place_key(x + (b->x0 + b->x1) / 2, y + (b->y0 + b->y1) / 2);
      s->base.index[at] = s->base.n;
    }
    s->base.n++;
  }
}

static bool base_vias(MaskSites *s, Err *err) {
  BaseVias *b = &s->base;
  bank_frame(&s->f, count_base, s);
  for (b->slots = 16; b->slots < (size_t)b->n * 2; b->slots *= 2) {}
  b->index = mem_alloc(b->slots, sizeof *b->index, err);
  b->key = mem_alloc(b->slots, sizeof *b->key, err);
  if (!b->index || !b->key) return false;
  b->n = 0;
  bank_frame(&s->f, count_base, s);
  s->base_on = mem_alloc((size_t)((s->f.banks * b->n + 7) / 8) + 1, 1, err);
  return s->base_on != NULL;
}

/* ---- vias to nodes ---- */

/* The bank that holds a point, and the point in it. */
static bool bank_of(const MaskSites *s, int64_t x, int64_t y, uint64_t *bank, int64_t *u, int64_t *v) {
  const MaskFloor *f = &s->f;
  x += f->left;
  y += s->p->below;
  if (x < 0 || y < 0) return false;
  int64_t i = x / f->step_x, j = y / f->step_y;
  if (i >= f->wide || j >= f->high) return false;
  *bank = (uint64_t)i * (uint64_t)f->high + (uint64_t)j;
  *u = x - i * f->step_x - f->left;
  *v = y - j * f->step_y - s->p->below;
  return *bank < f->banks;
}

/* The column whose frame holds x, and x in it; -1. */
static int column_of(const MaskSites *s, int64_t x, int64_t *rest) {
  const MaskProcess *p = s->p;
  int64_t segment = p->strap_width + (int64_t)p->strap_every * p->pitch_x, i = x / segment;
  x -= i * segment + p->strap_width;
  if (x < 0) return -1;
  int64_t c = x / p->pitch_x + i * p->strap_every;
  *rest = x % p->pitch_x;
  return c < s->f.columns ? (int)c : -1;
}

/* The node at a height, counted from the lowest of its column of the die; -1. */
static int node_of(const MaskSites *s, int64_t y) {
  int64_t i = y / s->p->pitch_y;
  return y < 0 || i >= s->lattice || i * s->p->pitch_y != y ? -1 : s->node_at[i];
}

/* The nodes of a bank: byte c of node i is at [c * stack + i]. */
static uint8_t *bank_on(const MaskSites *s, int state, uint64_t bank) {
  uint64_t high = (uint64_t)s->f.high;
  return s->on[state] + (size_t)(bank / high) * (size_t)s->width * s->stack + (size_t)(bank % high) * (size_t)s->nodes;
}

static void stray(MaskSites *s, const FlatBox *b, int64_t x, int64_t y, const char *why) {
  s->r.stray++;
  complain(&s->r, "%s: a via of %lld x %lld nm at (%.3f, %.3f) um", why, (long long)(b->x1 - b->x0), (long long)(b->y1 - b->y0), (double)(b->x0 + x) * 1e-3, (double)(b->y0 + y) * 1e-3);
}

static void one_via(MaskSites *s, const FlatBox *b, int64_t dx, int64_t dy) {
  const MaskProcess *p = s->p;
  uint64_t bank;
  int64_t x = (b->x0 + b->x1) / 2 + dx, y = (b->y0 + b->y1) / 2 + dy, u, v, rest = 0;
  if (b->x1 - b->x0 != p->size || b->y1 - b->y0 != p->size) {
    stray(s, b, dx, dy, "wrong size");
    return;
  }
  if (!bank_of(s, x, y, &bank, &u, &v)) {
    stray(s, b, dx, dy, "outside all banks");
    return;
  }
  int node = node_of(s, v), column = column_of(s, u, &rest); /* v: within a bank */
  if (node >= 0 && column >= 0 && (rest == p->site[0] || rest == p->site[1])) {
    uint8_t *at = bank_on(s, rest == p->site[1], bank) + (size_t)(column / 8) * s->stack + node, bit = (uint8_t)(1 << column % 8);
    s->r.vias++;
    if (*at & bit) {
      s->r.doubled++;
      complain(&s->r, "two vias on one place: bank %llu, node %d, column %d at (%.3f, %.3f) um", (unsigned long long)(s->f.first + bank), node, column, (double)x * 1e-3, (double)y * 1e-3);
    }
    *at |= bit;
    return;
  }
  size_t slot = slot_of(&s->base, place_key(u, v));
  if (!s->base.key[slot]) {
    stray(s, b, dx, dy, "no node there");
    return;
  }
  uint64_t i = bank * s->base.n + s->base.index[slot];
  s->r.base++;
  if (s->base_on[i / 8] >> i % 8 & 1) s->r.base_wrong++, complain(&s->r, "two base vias at (%.3f, %.3f) um", (double)x * 1e-3, (double)y * 1e-3);
  s->base_on[i / 8] |= (uint8_t)(1 << i % 8);
}

/* The states of eight neighbouring nodes, where the boxes are just their vias; else -1.  Frame: the first column's. */
static int eight_of(const MaskProcess *p, const FlatBox *box, int n) {
  int states = 0, h = p->size / 2, seen = 0;
  if (n != 8) return -1;
  for (int i = 0; i < 8; i++) {
    const FlatBox *b = &box[i];
    int64_t x = b->x0 + h;
    if (b->y0 != -h || b->y1 != h || b->x1 - b->x0 != p->size || x < 0 || x >= 8 * (int64_t)p->pitch_x) return -1;
    int c = (int)(x / p->pitch_x);
    if (seen >> c & 1 || (x % p->pitch_x != p->site[0] && x % p->pitch_x != p->site[1])) return -1;
    seen |= 1 << c;
    states |= (x % p->pitch_x == p->site[1]) << c;
  }
  return states;
}

/* Which eight columns begin at x. */
static void column_at(MaskSites *s, int64_t x) {
  int64_t rest = 0, i = x / s->f.step_x;
  int c = x < 0 || i >= s->f.wide ? -1 : column_of(s, x - i * s->f.step_x, &rest);
  bool whole = c >= 0 && !rest && c % 8 == 0 && c + 8 <= s->f.columns;
  uint64_t left = whole ? s->f.banks - (uint64_t)i * (uint64_t)s->f.high : 0;
  s->last_x = x;
  s->last_stack = whole ? ((size_t)i * (size_t)s->width + (size_t)(c / 8)) * s->stack : SIZE_MAX;
  s->last_nodes = (size_t)(left < (uint64_t)s->f.high ? left : (uint64_t)s->f.high) * (size_t)s->nodes;
}

static bool eight_vias(MaskSites *s, int states, int64_t x, int64_t y) {
  if (x != s->last_x) column_at(s, x);
  int node = node_of(s, y);
  if (node < 0 || s->last_stack == SIZE_MAX || (size_t)node >= s->last_nodes) return false;
  uint8_t *ground = s->on[0] + s->last_stack + node, *bit = s->on[1] + s->last_stack + node;
  if (*bit | *ground) return false; /* one by one, so that complaints say where */
  *bit = (uint8_t)states;
  *ground = (uint8_t)~states;
  s->r.vias += 8;
  return true;
}

static bool take_boxes(void *arg, const FlatBox *box, int n, int64_t x, int64_t y) {
  MaskSites *s = arg;
  if (n == 8) {
    if (box != s->last) s->last = box, s->last_states = eight_of(s->p, box, n);
    if (s->last_states >= 0 && eight_vias(s, s->last_states, x, y)) return true;
  } else {
    s->last = NULL;
  }
  for (int i = 0; i < n; i++) one_via(s, &box[i], x, y);
  if (s->r.stray + s->r.doubled + s->r.base_wrong <= s->r.nodes + 1000000) return true;
  complain(&s->r, "more vias than the banks have places: the rest was not read");
  return false;
}

/* Nodes with no via, or with one to each line. */
static void count_nodes(MaskSites *s) {
  for (uint64_t b = 0; b < s->f.banks; b++)
    for (int c = 0; c < s->width; c++)
      for (int i = 0; i < s->nodes; i++) {
        uint8_t on = bank_on(s, 1, b)[(size_t)c * s->stack + (size_t)i], ground = bank_on(s, 0, b)[(size_t)c * s->stack + (size_t)i];
        if ((on ^ ground) == 255) continue;
        for (int k = 0; k < 8; k++) {
          if ((on ^ ground) >> k & 1) continue;
          bool none = !(on >> k & 1);
          (*(none ? &s->r.missing : &s->r.doubled))++;
          complain(&s->r, "%s: bank %llu, node %d, column %d at (%.3f, %.3f) um", none ? "no via" : "a via to each line", (unsigned long long)(s->f.first + b), i, 8 * c + k,
                   (double)(bank_x(&s->f, b) + column_x(s->p, 8 * c + k)) * 1e-3, (double)(bank_y(&s->f, b) + node_y(s->p, i)) * 1e-3);
        }
      }
  if (s->r.base && s->r.base < s->f.banks * s->base.n) {
    s->r.base_wrong += s->f.banks * s->base.n - s->r.base;
    complain(&s->r, "%llu of the base's vias are missing", (unsigned long long)(s->f.banks * s->base.n - s->r.base));
  }
}

/* ---- reading ---- */

static bool read_label(const char *text, const char *path, MaskLabel *l, Err *err) {
  long long first, banks;
  RtlKnobs *k = &l->knobs;
  int n = sscanf(text, "burin mask 2; process %63[^; ]; rows %d; columns %d; first %lld; banks %lld; high %d; lanes %d; taps %d; vec %d; scan %d; heads %d; radix %d; ctx %d",
                 l->process, &l->rows, &l->columns, &first, &banks, &l->high, &k->lanes, &k->taps, &k->vec, &k->scan, &k->heads, &k->radix, &k->context);
  if (n != 13 || l->rows < 1 || l->rows > 65536 || l->columns < 8 || l->columns > 65536 || l->columns % 8 || first < 0 || banks < 1 || banks > 1LL << 40 || l->high < 1 || l->high > banks)
    return err_set(err, "%s: expected the text that burin mask writes, found '%.200s'", path, text);
  l->first = (uint64_t)first;
  l->banks = (uint64_t)banks;
  return true;
}

static bool prepare(MaskSites *s, const char *path, Err *err) {
  const MaskProcess *p = s->p;
  const MaskLabel *l = &s->label;
  if (l->rows % p->sub_rows) return err_set(err, "%s: expected rows that are a multiple of %d, found %d", path, p->sub_rows, l->rows);
  s->f = (MaskFloor){.process = p, .rows = l->rows, .columns = l->columns, .first = l->first, .banks = l->banks, .high = l->high};
  floor_lengths(&s->f);
  s->nodes = nodes_of(p, l->rows);
  s->width = l->columns / 8;
  s->r.nodes = l->banks * (uint64_t)s->nodes * (uint64_t)l->columns;
  s->lattice = s->f.high * s->f.step_y / p->pitch_y + 1;
  s->last_x = -1;
  s->last_stack = SIZE_MAX;
  s->stack = (size_t)l->high * (size_t)s->nodes;
  s->node_at = mem_alloc((size_t)s->lattice, sizeof *s->node_at, err);
  for (int i = 0; i < 2; i++) s->on[i] = mem_alloc((size_t)s->f.wide * (size_t)s->width, s->stack, err);
  if (!s->node_at || !s->on[0] || !s->on[1]) return false;
  for (int64_t i = 0; i < s->lattice; i++) s->node_at[i] = -1;
  for (int b = 0; b < l->high; b++)
    for (int i = 0; i < s->nodes; i++) s->node_at[(bank_y(&s->f, (uint64_t)b) + node_y(p, i)) / p->pitch_y] = b * s->nodes + i;
  return base_vias(s, err);
}

static MaskSites *sites_of(Layout *l, const char *process, Err *err) {
  char text[1024];
  MaskSites *s = mem_alloc(1, sizeof *s, err);
  bool ok = s && layout_text(l, "burin mask ", text, sizeof text, err) && read_label(text, l->file.path, &s->label, err);
  if (ok) s->p = mask_process_open(process ? process : s->label.process, err);
  ok = ok && s->p && prepare(s, l->file.path, err) &&
       layout_boxes(l, s->p->layer[s->p->program].gds, s->p->layer[s->p->program].datatype, take_boxes, s, err);
  if (ok) count_nodes(s);
  if (ok) return s;
  mask_sites_free(s);
  return NULL;
}

MaskSites *mask_sites_read(const char *path, const char *process, Err *err) {
  Layout l;
  if (!layout_open(&l, path, err)) return NULL;
  MaskSites *s = sites_of(&l, process, err);
  layout_close(&l);
  return s;
}

void mask_sites_free(MaskSites *s) {
  if (!s) return;
  for (int i = 0; i < 2; i++) mem_free(s->on[i]);
  mem_free(s->node_at);
  mem_free(s->base.key);
  mem_free(s->base.index);
  mem_free(s->base_on);
  mask_process_free(s->p);
  mem_free(s);
}

/* ---- against a chip ---- */

typedef struct {
  const MaskSites *s;
  const MaskFloor *f;
  MaskReport *r;
  uint64_t bank; /* among those drawn */
  const uint8_t *on; /* its nodes on the bit line */
  BankPlace at;
  RtlPart part;
  int row, column; /* next one; first of the part */
} Compare;

/* 1 where the nodes on both sides of a word line are on different lines. */
static uint8_t bits_at(const Compare *c, int row, int byte) {
  const MaskProcess *p = c->s->p;
  int node = row / p->sub_rows * (p->sub_rows + 1) + row % p->sub_rows;
  const uint8_t *on = c->on + (size_t)byte * c->s->stack + node;
  return on[0] ^ on[1];
}

static void bit_differs(const Compare *c, int column, bool mask) {
  RtlOrigin o;
  uint64_t word = c->part.word + (uint64_t)c->row, bit = c->part.bit + (uint64_t)column;
  bool named = (uint64_t)column < c->part.bits && (uint64_t)c->row < c->part.words && rtl_rom_origin(&c->f->design, c->f->chip, c->at.rom, word, bit, &o);
  c->r->wrong++;
  complain(c->r, "%s word %llu bit %llu (%s): %d in the mask, %d in the chip; bank %llu, row %d, column %d", c->at.rom->name, (unsigned long long)word, (unsigned long long)bit,
           named ? o.text : "padding", mask, !mask, (unsigned long long)(c->f->first + c->bank), c->row, c->column + column);
}

static void compare_row(void *arg, const uint8_t *word, size_t n) {
  Compare *c = arg;
  for (int i = 0; i < c->at.stride / 8; i++) {
    uint8_t want = (size_t)i < n ? word[i] : 0, found = bits_at(c, c->row, c->column / 8 + i), differ = want ^ found;
    for (; differ; differ &= (uint8_t)(differ - 1)) bit_differs(c, 8 * i + __builtin_ctz(differ), found >> __builtin_ctz(differ) & 1);
  }
  c->r->bits += (uint64_t)c->at.stride;
  c->row++;
}

static bool compare_bank(const MaskSites *s, const MaskFloor *f, uint64_t bank, MaskReport *r, Err *err) {
  Compare c = {.s = s, .f = f, .r = r, .bank = bank, .on = bank_on(s, 1, bank), .at = bank_place(f, f->first + bank)};
  for (int i = 0; i < c.at.parts; i++) {
    c.part = bank_part(f, &c.at, i);
    c.column = i * c.at.stride;
    c.row = 0;
    if (!rtl_rom_read(&f->design, f->chip, c.at.rom, c.part, compare_row, &c, err)) return false;
    while (c.row < f->rows) compare_row(&c, NULL, 0);
  }
  c.column = c.at.parts * c.at.stride; /* what is left of the bank */
  c.at.stride = f->columns - c.column;
  c.part.words = c.part.bits = 0;
  for (c.row = 0; c.row < f->rows;) compare_row(&c, NULL, 0);
  return true;
}

bool mask_check(const MaskSites *s, const Chip *chip, MaskReport *r, Err *err) {
  MaskFloor f;
  RtlDesign d;
  const MaskLabel *l = &s->label;
  MaskKnobs k = {l->rows, l->columns, (int64_t)l->first, (int64_t)l->banks};
  if (!rtl_design(&d, &chip->shape, &l->knobs, err) || !mask_floor(&f, s->p, &d, chip, &k, err)) return false;
  if (f.high != l->high) return err_set(err, "the layout has %d banks on one another; the chip's would have %d", l->high, f.high);
  *r = s->r;
  for (uint64_t b = 0; b < f.banks; b++)
    if (!compare_bank(s, &f, b, r, err)) return false;
  return true;
}

bool mask_report_clean(const MaskReport *r) {
  return !r->missing && !r->doubled && !r->stray && !r->base_wrong && !r->wrong && r->vias == r->nodes && r->bits;
}

/* ---- two layouts ---- */

static void diff_nodes(const MaskSites *a, const MaskSites *b, MaskDifference *d) {
  d->nodes = a->r.nodes;
  d->banks = a->f.banks;
  for (uint64_t k = 0; k < a->f.banks; k++) {
    uint64_t before = d->nodes_changed;
    for (int c = 0; c < a->width; c++)
      for (int i = 0; i < a->nodes; i++) {
        size_t at = (size_t)c * a->stack + (size_t)i;
        int changed = 0;
        for (int state = 0; state < 2; state++) changed |= bank_on(a, state, k)[at] ^ bank_on(b, state, k)[at];
        d->nodes_changed += (uint64_t)__builtin_popcount((unsigned)changed);
      }
    d->banks_changed += d->nodes_changed != before;
  }
}

static bool same_label(const MaskSites *a, const MaskSites *b) {
  const MaskLabel *x = &a->label, *y = &b->label;
  return strcmp(x->process, y->process) == 0 && x->rows == y->rows && x->columns == y->columns && x->high == y->high && x->first == y->first && x->banks == y->banks &&
         memcmp(&x->knobs, &y->knobs, sizeof x->knobs) == 0;
}

static bool diff_layouts(Layout *a, Layout *b, const char *process, MaskDifference *d, Err *err) {
  MaskSites *s = sites_of(a, process, err), *t = s ? sites_of(b, process, err) : NULL;
  bool ok = s && t;
  if (ok && !same_label(s, t)) ok = err_set(err, "%s and %s differ in process, banks or knobs: there is no base in common", a->file.path, b->file.path);
  if (ok) {
    diff_nodes(s, t, d);
    size_t bytes = (size_t)((s->f.banks * s->base.n + 7) / 8);
    const MaskProcess *p = s->p;
    for (int i = 0; ok && i < p->layers; i++) {
      uint64_t x = 0, y = 0;
      bool same;
      if (i == p->program) same = memcmp(s->base_on, t->base_on, bytes) == 0;
      else ok = layout_digest(a, p->layer[i].gds, p->layer[i].datatype, &x, err) && layout_digest(b, p->layer[i].gds, p->layer[i].datatype, &y, err), same = x == y;
      d->layers++;
      if (same) continue;
      size_t at = strlen(d->changed);
      snprintf(d->changed + at, sizeof d->changed - at, "%s%s", at ? ", " : "", p->layer[i].name);
      d->layers_changed++;
    }
  }
  mask_sites_free(s);
  mask_sites_free(t);
  return ok;
}

bool mask_diff(const char *a, const char *b, const char *process, MaskDifference *d, Err *err) {
  Layout l[2];
  memset(l, 0, sizeof l);
  *d = (MaskDifference){0};
  bool ok = layout_open(&l[0], a, err) && layout_open(&l[1], b, err) && diff_layouts(&l[0], &l[1], process, d, err);
  layout_close(&l[0]);
  layout_close(&l[1]);
  return ok;
}
