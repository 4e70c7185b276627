/* mask/draw: the layout: pieces, sub-arrays, banks, the weights of each column of the die, and the file around them. */
#include "mask/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

const Lattice once = {1, 1, 0, 0};

/* Cells by number: pieces, what is put together from them, the 256 rows of eight nodes, a column of weights each. */
enum { CELL_SUB = PIECES, CELL_BANK, CELL_BASE, CELL_CHIP, CELL_EIGHT, CELL_WEIGHTS = CELL_EIGHT + 256 };

typedef struct {
  const MaskFloor *f;
  const MaskProcess *p;
  MaskLayers layers;
  Format format;
  char (*name)[32];
  int cells, threads;
  Writer *w;
  uint32_t crc;
  Pen *pen; /* of each thread */
  Err *error;
  bool (*used)[256]; /* of each thread: patterns that stand somewhere */
  int next; /* first column of the die of this round */
} Draw;

static bool name_cells(Draw *d, Err *err) {
  d->cells = CELL_WEIGHTS + d->f->wide;
  d->name = mem_alloc((size_t)d->cells, sizeof *d->name, err);
  if (!d->name) return false;
  for (int i = 0; i < PIECES; i++) snprintf(d->name[i], 32, "%s", piece_name[i]);
  snprintf(d->name[CELL_SUB], 32, "subarray");
  snprintf(d->name[CELL_BANK], 32, "bank");
  snprintf(d->name[CELL_BASE], 32, "base");
  snprintf(d->name[CELL_CHIP], 32, "chip");
  for (int i = 0; i < 256; i++) snprintf(d->name[CELL_EIGHT + i], 32, "nodes_%02x", (unsigned)i);
  for (int i = 0; i < d->f->wide; i++) snprintf(d->name[CELL_WEIGHTS + i], 32, "weights_%d", i);
  if (d->f->rows == d->p->sub_rows) {
    d->name[PIECE_GAP][0] = d->name[PIECE_STRAP_GAP][0] = 0;
    for (int i = PIECE_SELECT_GAP; i <= PIECE_RAIL_GAP; i++) d->name[i][0] = 0;
  }
  for (int i = 0; i < d->cells; i++) /* cells that are not drawn have no name */
    if (i != CELL_CHIP && (i < CELL_CHIP ? d->layers == MASK_WEIGHTS : d->layers == MASK_BASE)) d->name[i][0] = 0;
  return true;
}

/* ---- base ---- */

static void draw_pieces(Draw *d, Pen *pen) {
  for (int i = 0; i < PIECES; i++) {
    if (!d->name[i][0]) continue;
    pen_cell(pen, i);
    for (int b = d->p->first[i]; b < d->p->first[i + 1]; b++) pen_box(pen, &d->p->box[b], once);
    pen_end(pen);
  }
}

/* A piece at every column, one segment between straps at a time. */
static void columns_of(Draw *d, Pen *pen, int piece, int64_t y, int ny) {
  const MaskProcess *p = d->p;
  for (int c = 0; c < d->f->columns; c += p->strap_every) {
    int n = d->f->columns - c < p->strap_every ? d->f->columns - c : p->strap_every;
    pen_place(pen, piece, column_x(p, c), y, (Lattice){n, ny, p->pitch_x, p->pitch_y});
  }
}

static void straps(Draw *d, Pen *pen, int piece, int64_t y, int ny) {
  const MaskProcess *p = d->p;
  int n = straps_of(p, d->f->columns);
  for (int i = 0; i < n; i++) pen_place(pen, piece, strap_x(p, i, d->f->columns), y, (Lattice){1, ny, 0, 2 * p->pitch_y});
}

static void place_piece(void *arg, int piece, int64_t x, int64_t y) { pen_place(arg, piece, x, y, once); }

static bool label_pin(void *arg, const char *name, PinKind kind, const MaskBox *b, Err *err) {
  Pen *pen = arg;
  (void)kind;
  (void)err;
  pen_text(pen, pen->p->label[b->layer], (b->x0 + b->x1) / 2, (b->y0 + b->y1) / 2, name);
  return true;
}

static void draw_bank(Draw *d, Pen *pen) {
  const MaskProcess *p = d->p;
  const MaskFloor *f = d->f;
  int subs = f->rows / p->sub_rows;
  int64_t top = f->bank_height - 2 * (int64_t)p->edge;
  pen_cell(pen, CELL_SUB);
  columns_of(d, pen, PIECE_BIT, 0, p->sub_rows);
  columns_of(d, pen, PIECE_NODE, 0, p->sub_rows + 1);
  straps(d, pen, PIECE_STRAP_EVEN, 0, p->sub_rows / 2);
  straps(d, pen, PIECE_STRAP_ODD, p->pitch_y, p->sub_rows / 2);
  pen_end(pen);
  pen_cell(pen, CELL_BANK);
  pen_place(pen, CELL_SUB, 0, 0, (Lattice){1, subs, 0, sub_step(p)});
  columns_of(d, pen, PIECE_BOTTOM, 0, 1);
  columns_of(d, pen, PIECE_TOP, top, 1);
  straps(d, pen, PIECE_STRAP_BOTTOM, 0, 1);
  straps(d, pen, PIECE_STRAP_TOP, top, 1);
  for (int i = 1; i < subs; i++) {
    columns_of(d, pen, PIECE_GAP, i * sub_step(p) - p->gap, 1);
    straps(d, pen, PIECE_STRAP_GAP, i * sub_step(p) - p->gap, 1);
  }
  bank_periphery(f, place_piece, pen);
  pen_box(pen, &(MaskBox){p->boundary, (int32_t)-f->left, -p->below, (int32_t)f->bank_width, (int32_t)(top + p->above)}, once);
  bank_pins(f, label_pin, pen, &pen->err);
  pen_end(pen);
}

static void draw_base(Draw *d, Pen *pen) {
  const MaskFloor *f = d->f;
  int full = (int)(f->banks / (uint64_t)f->high), rest = (int)(f->banks % (uint64_t)f->high);
  pen_cell(pen, CELL_BASE);
  if (full) pen_place(pen, CELL_BANK, 0, 0, (Lattice){full, f->high, f->step_x, f->step_y});
  if (rest) pen_place(pen, CELL_BANK, full * f->step_x, 0, (Lattice){1, rest, 0, f->step_y});
  pen_end(pen);
}

static void draw_chip(Draw *d, Pen *pen) {
  const MaskFloor *f = d->f;
  const RtlKnobs *k = &f->design.knobs;
  char text[400], hash[65];
  pen_cell(pen, CELL_CHIP);
  if (d->layers != MASK_WEIGHTS) pen_place(pen, CELL_BASE, 0, 0, once);
  for (int i = 0; d->layers != MASK_BASE && i < f->wide; i++) pen_place(pen, CELL_WEIGHTS + i, i * f->step_x, 0, once);
  snprintf(text, sizeof text, "burin mask 2; process %s; rows %d; columns %d; first %llu; banks %llu; high %d; lanes %d; taps %d; vec %d; scan %d; heads %d; radix %d; ctx %d",
           d->p->name, f->rows, f->columns, (unsigned long long)f->first, (unsigned long long)f->banks, f->high, k->lanes, k->taps, k->vec, k->scan, k->heads, k->radix,
           k->context);
  pen_text(pen, d->p->text, -d->f->left, -d->f->below - 2 * (int64_t)d->p->edge, text);
  if (d->layers != MASK_BASE) { /* the base of two chips is the same file */
    chip_hash_text(f->chip, hash);
    snprintf(text, sizeof text, "chip %s", hash);
    pen_text(pen, d->p->text, -d->f->left, -d->f->below - 4 * (int64_t)d->p->edge, text);
  }
  pen_end(pen);
}

/* ---- weights ---- */

/* Those that stand somewhere. */
static void draw_eights(Draw *d, Pen *pen) {
  const MaskProcess *p = d->p;
  for (int i = 0; i < 256; i++) {
    bool used = false;
    for (int t = 0; t < d->threads; t++) used = used || d->used[t][i];
    if (!used) {
      d->name[CELL_EIGHT + i][0] = 0;
      continue;
    }
    pen_cell(pen, CELL_EIGHT + i);
    for (int b = 0; b < 8; b++) {
      int32_t x = b * p->pitch_x + p->site[i >> b & 1], h = p->size / 2;
      pen_box(pen, &(MaskBox){p->program, x - h, -h, x + h, h}, once);
    }
    pen_end(pen);
  }
}

static int64_t common(int64_t a, int64_t b) { return b ? common(b, a % b) : a; }

/* The rows of nodes of a column of the die. */
typedef struct {
  int n;
  int32_t *y, *order; /* heights from below; the same by pattern: scratch */
  int32_t grid;       /* that all heights are whole steps of */
} Rows;

/* One column of eights: for each of the 256 patterns, in order, the heights at which it stands. */
static void draw_stack(Pen *pen, bool used[256], int64_t x, const uint8_t *pattern, const Rows *r) {
  int start[257] = {0}, at[256];
  for (int i = 0; i < r->n; i++) start[pattern[i] + 1]++;
  for (int i = 0; i < 256; i++) start[i + 1] += start[i];
  memcpy(at, start, sizeof at);
  for (int i = 0; i < r->n; i++) r->order[at[pattern[i]]++] = r->y[i];
  for (int i = 0; i < 256; i++)
    if (start[i] < start[i + 1]) {
      pen_stack(pen, CELL_EIGHT + i, x, r->order + start[i], start[i + 1] - start[i], r->grid);
      used[i] = true;
    }
}

enum { FORGET = 32 }; /* banks after which what they read of the chip's file is given back: a word's bits stand all over it */
enum { TOGETHER = 64 }; /* bytes of a row that are turned into columns at a time: a cache line */

static bool draw_weights(Draw *d, int thread, int column, Err *err) {
  Pen *pen = &d->pen[thread];
  const MaskFloor *f = d->f;
  uint64_t first = (uint64_t)column * (uint64_t)f->high, banks = f->banks - first < (uint64_t)f->high ? f->banks - first : (uint64_t)f->high;
  int nodes = nodes_of(d->p, f->rows), n = nodes * (int)banks, width = f->columns / 8;
  uint8_t *states = mem_alloc((size_t)n, (size_t)width, err), *turned = mem_alloc((size_t)n, TOGETHER, err);
  Rows rows = {n, mem_alloc((size_t)n, sizeof *rows.y, err), mem_alloc((size_t)n, sizeof *rows.order, err), (int32_t)common(common(d->p->pitch_y, d->p->gap), f->step_y)};
  bool ok = states && turned && rows.y && rows.order;
  for (uint64_t b = 0; ok && b < banks; b++) {
    ok = bank_states(f, f->first + first + b, states + (size_t)b * (size_t)nodes * (size_t)width, err);
    if (b % FORGET == FORGET - 1) map_forget(&f->chip->file);
    for (int i = 0; ok && i < nodes; i++) rows.y[(int)b * nodes + i] = (int32_t)((int64_t)b * f->step_y + node_y(d->p, i));
  }
  if (ok) pen_cell(pen, CELL_WEIGHTS + column);
  for (int from = 0; ok && from < width; from += TOGETHER) {
    int some = width - from < TOGETHER ? width - from : TOGETHER;
    for (int i = 0; i < n; i++)
      for (int j = 0; j < some; j++) turned[(size_t)j * (size_t)n + (size_t)i] = states[(size_t)i * (size_t)width + (size_t)(from + j)];
    for (int j = 0; j < some; j++) draw_stack(pen, d->used[thread], column_x(d->p, (from + j) * 8), turned + (size_t)j * (size_t)n, &rows);
  }
  if (ok) pen_end(pen);
  mem_free(states);
  mem_free(turned);
  mem_free(rows.y);
  mem_free(rows.order);
  return ok;
}

/* ---- the file ---- */

static void put(Draw *d, const Buf *b) {
  for (size_t at = 0; at < b->n;) { /* zlib's lengths are of 32 bits */
    size_t n = b->n - at < 1 << 30 ? b->n - at : 1 << 30;
    d->crc = (uint32_t)crc32(d->crc, (const Bytef *)b->s + at, (uInt)n);
    at += n;
  }
  writer_put(d->w, b->s, b->n);
}

static bool put_pen(Draw *d, Pen *pen, Err *err) {
  if (pen_failed(pen, err)) return false;
  put(d, &pen->out);
  pen->out.n = 0;
  return true;
}

static void weights_piece(void *arg, int piece, int pieces, int thread) {
  Draw *d = arg;
  (void)pieces;
  (void)thread;
  if (d->next + piece < d->f->wide) draw_weights(d, piece, d->next + piece, &d->error[piece]);
}

static void weights_run(void *arg, int phase, int piece, int pieces, int thread) {
  (void)phase;
  weights_piece(arg, piece, pieces, thread);
}

static int weights_pieces(void *arg, int phase) {
  (void)phase;
  return ((const Draw *)arg)->threads;
}

/* As many columns of the die at a time as there are threads, written in order. */
static bool put_weights(Draw *d, Err *err) {
  static const PoolJob job = {1, weights_pieces, weights_run};
  Pool *pool = pool_new(d->threads, err);
  if (!pool) return false;
  bool ok = true;
  Progress bar;
  progress_start(&bar, "drawing");
  for (d->next = 0; ok && d->next < d->f->wide; d->next += d->threads) {
    pool_job(pool, &job, d);
    for (int i = 0; ok && i < d->threads && d->next + i < d->f->wide; i++) {
      if (d->error[i].set) ok = err_set(err, "%s", d->error[i].text);
      else ok = put_pen(d, &d->pen[i], err);
    }
    progress_to(&bar, (double)(d->next + d->threads) / d->f->wide);
  }
  progress_end(&bar);
  pool_free(pool);
  return ok;
}

static bool put_all(Draw *d, Err *err) {
  Buf around = {0};
  Pen *pen = &d->pen[0];
  bool ok = layout_head(d->format, &around, err);
  if (ok) put(d, &around);
  if (ok && d->layers != MASK_WEIGHTS) {
    draw_pieces(d, pen);
    draw_bank(d, pen);
    draw_base(d, pen);
  }
  ok = ok && put_pen(d, pen, err) && (d->layers == MASK_BASE || put_weights(d, err));
  if (ok && d->layers != MASK_BASE) draw_eights(d, pen);
  if (ok) draw_chip(d, pen);
  around.n = 0;
  ok = ok && put_pen(d, pen, err) && layout_names(d->format, d->p, d->name, d->cells, &around, err);
  if (ok) put(d, &around);
  around.n = 0;
  ok = ok && layout_foot(d->format, d->crc, &around, err);
  if (ok) writer_put(d->w, around.s, around.n);
  buf_free(&around);
  return ok;
}

bool mask_layers_of(const char *name, MaskLayers *out, Err *err) {
  static const char *const names[] = {"all", "base", "weights"};
  for (int i = 0; i < 3; i++)
    if (strcmp(name, names[i]) == 0) {
      *out = (MaskLayers)i;
      return true;
    }
  return err_set(err, "layers: expected all, base or weights, found '%s'", name);
}

bool mask_write(const MaskFloor *f, const char *path, MaskLayers layers, int threads, Err *err) {
  size_t n = strlen(path);
  Draw d = {.f = f, .p = f->process, .layers = layers, .threads = threads < f->wide ? threads : f->wide};
  d.format = n > 4 && (strcmp(path + n - 4, ".gds") == 0 || strcmp(path + n - 4, ".GDS") == 0) ? FORMAT_GDS : FORMAT_OASIS;
  d.pen = mem_alloc((size_t)d.threads, sizeof *d.pen, err);
  d.error = mem_alloc((size_t)d.threads, sizeof *d.error, err);
  d.used = mem_alloc((size_t)d.threads, sizeof *d.used, err);
  bool ok = d.pen && d.error && d.used && name_cells(&d, err);
  for (int i = 0; ok && i < d.threads; i++) pen_open(&d.pen[i], d.format, d.p, d.name);
  if (ok) d.w = writer_open(path, err);
  ok = ok && d.w && put_all(&d, err);
  if (ok) ok = writer_commit(d.w, err);
  else writer_abort(d.w);
  for (int i = 0; d.pen && i < d.threads; i++) pen_close(&d.pen[i]);
  mem_free(d.pen);
  mem_free(d.error);
  mem_free(d.used);
  mem_free(d.name);
  return ok;
}
