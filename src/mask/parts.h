/* mask/parts (private to mask): processes, pens, and the flat view of a layout that was read. */
#ifndef BURIN_MASK_PARTS_H
#define BURIN_MASK_PARTS_H

#include "mask/mask.h"

/* ---- process ---- */

/* What a bank is put together from.  Frames: x from the left edge of a column, strap, select line, gate or rail; y from a node, or
 * from the lower node of a row, gap or group of eight rows. */
typedef enum {
  PIECE_BIT, PIECE_NODE, PIECE_BOTTOM, PIECE_TOP, PIECE_GAP,                                /* of a column */
  PIECE_STRAP_EVEN, PIECE_STRAP_ODD, PIECE_STRAP_BOTTOM, PIECE_STRAP_TOP, PIECE_STRAP_GAP,  /* of a strap */
  PIECE_FOOT, PIECE_STRAP_FOOT,                                                             /* precharge and sense: of two columns, of a strap */
  PIECE_SELECT, PIECE_PICK_GROUP, PIECE_PICK_SUB,                                           /* a select line beside a group; a group's tap of it */
  PIECE_GATE, PIECE_GROUP, PIECE_DRIVER,                                                    /* NAND and inverter; what makes it a group's, a row's */
  PIECE_OUT, PIECE_WIRE, PIECE_RAIL, PIECE_RAIL_WIRE,                                       /* a row's way to the array; wells' taps between gates */
  PIECE_SELECT_GAP, PIECE_GATE_GAP, PIECE_DRIVER_GAP, PIECE_RAIL_GAP,
  PIECE_SELECT_TOP, PIECE_GATE_TOP, PIECE_DRIVER_TOP, PIECE_RAIL_TOP,
  PIECE_SELECT_BOTTOM, PIECE_GATE_BOTTOM, PIECE_DRIVER_BOTTOM, PIECE_RAIL_BOTTOM,
  PIECE_PIN_LINE, PIECE_PIN_SELECT, PIECE_PIN_EVEN, PIECE_PIN_ODD, PIECE_PIN_PRECHARGE, PIECE_PIN_POWER, PIECE_PIN_GROUND, /* one box each */
  PIECES
} Piece;
extern const char *const piece_name[PIECES];

typedef struct {
  char name[32], colour[16];
  int gds, datatype;
  bool hidden; /* in drawings */
} MaskLayer;

typedef struct {
  int layer; /* number among the process's */
  int32_t x0, y0, x1, y1;
} MaskBox;

enum { MOST_LAYERS = 64, MOST_BOXES = 1024, STRAP_MOST = 4096, LINES = 8 /* rows of a group */ };

struct MaskProcess {
  char name[64], about[600], source[400], class[32];
  MaskLayer layer[MOST_LAYERS];
  int layers;
  MaskBox box[MOST_BOXES];
  int first[PIECES + 1];       /* boxes of piece i: first[i] to first[i + 1] */
  int32_t pitch_x, pitch_y, gap, edge;
  int sub_rows;                /* word lines between two rows of taps */
  int strap_every;
  int32_t strap_width;
  int program;                 /* layer */
  int32_t size, site[2];       /* of a via; x of its centre at ground, at the bit line */
  int bank_rows, bank_columns;
  int32_t between_x, between_y; /* space between banks */
  int label[MOST_LAYERS], boundary, text; /* layers: of the texts of each layer (-1: none), of a bank's outline, of remarks */
  char model[64]; /* a bit's transistor */
  double width_um, length_um;
  int32_t below, above, select, gate, rail; /* of the periphery: from the first and last node to the macro's edge; widths of its pieces */
  char nmos[64], pmos[64];
  double gate_length_um, nand_um, driver_um, precharge_um, sense_p_um, sense_n_um;
};

typedef struct {
  const char *name, *from, *to;
} MaskFile;
extern const MaskFile mask_file[]; /* process/, which the program carries (built by the Makefile) */
extern const int mask_files;

/* ---- the array's lattice ---- */
static inline int64_t column_x(const MaskProcess *p, int column) {
  return (int64_t)p->strap_width * (1 + column / p->strap_every) + (int64_t)column * p->pitch_x;
}
static inline int straps_of(const MaskProcess *p, int columns) { return 1 + (columns + p->strap_every - 1) / p->strap_every; }
static inline int64_t strap_x(const MaskProcess *p, int strap, int columns) {
  int column = strap * p->strap_every < columns ? strap * p->strap_every : columns;
  return (int64_t)p->strap_width * strap + (int64_t)column * p->pitch_x;
}
static inline int64_t sub_step(const MaskProcess *p) { return (int64_t)p->sub_rows * p->pitch_y + p->gap; }
static inline int nodes_of(const MaskProcess *p, int rows) { return rows / p->sub_rows * (p->sub_rows + 1); } /* of a column of a bank */
static inline int64_t node_y(const MaskProcess *p, int node) {
  return node / (p->sub_rows + 1) * sub_step(p) + (int64_t)(node % (p->sub_rows + 1)) * p->pitch_y;
}

/* ---- the periphery: row decoder and drivers left of the array, precharge and sense below ---- */
static inline int groups_of(const MaskProcess *p) { return p->sub_rows / LINES; } /* of a sub-array */
static inline int selects_of(const MaskFloor *f) { return groups_of(f->process) + f->rows / f->process->sub_rows; }
static inline int64_t select_x(const MaskFloor *f, int i) { return (int64_t)i * f->process->select - f->left; }
static inline int64_t group_x(const MaskFloor *f) { return select_x(f, selects_of(f)); }
static inline int64_t driver_x(const MaskFloor *f, int line) {
  return group_x(f) + (int64_t)(1 + line) * f->process->gate + (int64_t)(1 + line / (LINES / 2)) * f->process->rail;
}
/* Rails: behind the group's gate, behind four drivers, behind all. */
static inline int64_t rail_x(const MaskFloor *f, int i) { return group_x(f) + (int64_t)(1 + i * LINES / 2) * f->process->gate + (int64_t)i * f->process->rail; }

/* What follows from process, rows, columns, banks and high: all lengths, and wide. */
void floor_lengths(MaskFloor *f);
/* Where the first node of the i-th bank that is drawn stands. */
static inline int64_t bank_x(const MaskFloor *f, uint64_t i) { return (int64_t)(i / (uint64_t)f->high) * f->step_x; }
static inline int64_t bank_y(const MaskFloor *f, uint64_t i) { return (int64_t)(i % (uint64_t)f->high) * f->step_y; }

/* Every piece of a bank but bits and nodes, with its place: fn(arg, piece, x, y); those of its periphery, pins among them. */
typedef void PieceFn(void *arg, int piece, int64_t x, int64_t y);
void bank_frame(const MaskFloor *f, PieceFn *fn, void *arg);
void bank_periphery(const MaskFloor *f, PieceFn *fn, void *arg);
/* Every pin: its name, its box in the bank, and what it is. */
typedef enum { PIN_IN, PIN_OUT, PIN_POWER, PIN_GROUND } PinKind;
typedef bool PinFn(void *arg, const char *name, PinKind kind, const MaskBox *box, Err *err);
bool bank_pins(const MaskFloor *f, PinFn *fn, void *arg, Err *err);

/* ---- contents of a bank ---- */

/* The states of all nodes of a bank, [nodes_of(rows)][columns / 8] bytes: a bit is set where the node is on the bit line.  Two
 * neighbours that differ store 1.  A column's states may be inverted, so that fewer nodes are on the bit line: which changes no bit. */
bool bank_states(const MaskFloor *f, uint64_t bank, uint8_t *states, Err *err);
/* What a bank holds: `parts` stretches of up to rows words side by side, `stride` columns each; of every word the bits from `bit` on. */
typedef struct {
  const RtlRom *rom;
  uint64_t word, bit; /* the first */
  int parts, stride;
} BankPlace;
BankPlace bank_place(const MaskFloor *f, uint64_t bank);
/* One of its parts, which may be empty. */
RtlPart bank_part(const MaskFloor *f, const BankPlace *b, int part);

/* ---- pens: one traversal, two formats ---- */
typedef enum { FORMAT_OASIS, FORMAT_GDS } Format;

/* Repetition on a lattice; nx and ny at least 1. */
typedef struct {
  int nx, ny;
  int64_t dx, dy;
} Lattice;
extern const Lattice once;

/* Draws one cell after the other into memory.  Cells are numbers; pen_names says their names. */
typedef struct {
  Format format;
  const MaskProcess *p;
  char (*name)[32]; /* of all cells */
  Buf out;
  Err err; /* sticky */
  size_t content; /* where the open cell's content begins */
  Buf squeezed;
  unsigned known; /* OASIS: which modal variables have a value */
  int64_t place_x;
} Pen;

void pen_open(Pen *pen, Format format, const MaskProcess *p, char (*name)[32]);
void pen_cell(Pen *pen, int cell);
void pen_box(Pen *pen, const MaskBox *b, Lattice at);
void pen_place(Pen *pen, int cell, int64_t x, int64_t y, Lattice at);
/* The same cell at (x, y[0]), (x, y[1]), ...; y strictly increasing, in whole steps of `grid`. */
void pen_stack(Pen *pen, int cell, int64_t x, const int32_t *y, int n, int32_t grid);
void pen_text(Pen *pen, int layer, int64_t x, int64_t y, const char *s);
void pen_end(Pen *pen); /* of the cell */
bool pen_failed(const Pen *pen, Err *err);
void pen_close(Pen *pen);

/* The file around the cells: what comes before them, their names, and the end.  A cell without a name is not in the file.  crc: over
 * all bytes so far. */
bool layout_head(Format format, Buf *out, Err *err);
bool layout_names(Format format, const MaskProcess *p, char (*name)[32], int cells, Buf *out, Err *err);
bool layout_foot(Format format, uint32_t crc, Buf *out, Err *err);

/* ---- layouts that were read ---- */

/* One element of a cell: a box, a placement, a text, or a shape that is no box.  Lengths are the file's units. */
typedef enum { ELEMENT_BOX, ELEMENT_PLACE, ELEMENT_TEXT, ELEMENT_OTHER } ElementKind;

/* Where an element stands: its own place and n m - 1 others on a lattice, or the places that follow from steps. */
typedef struct {
  int64_t n, m, nx, ny, mx, my; /* n times the first vector, m times the second; at least 1 each */
  int64_t steps;                /* more places; 0 where n and m say all */
  const uint8_t *p, *end;       /* OASIS: the steps, of repetition type 4 to 7, 10, 11 */
  int type;
  int64_t grid;
} Repeat;

typedef struct {
  ElementKind kind;
  int gds, datatype;      /* of a box, text or other shape */
  int64_t x0, y0, x1, y1; /* of a box; x0, y0: of a placement or text */
  int cell, turns;        /* of a placement: quarter turns anticlockwise, */
  bool flip;              /* after a flip about the x axis */
  Str text;
  Repeat repeat;
} Element;

/* False ends the walk. */
typedef bool ElementFn(void *arg, const Element *e);

typedef struct {
  const Repeat *r;
  const uint8_t *p;
  int64_t i, j, x, y;
} Places;
/* Offsets of an element's places, the first of them (0, 0); false when there are no more. */
void places_start(Places *p, const Repeat *r);
bool places_next(Places *p, int64_t *x, int64_t *y);

typedef struct {
  Str name;
  const uint8_t *p; /* its records; inflated where the file had them deflated */
  size_t n;
  uint64_t at;      /* of its beginning in the file, for messages */
  bool defined, placed, open; /* placed: by the scan */
} LayoutCell;

typedef struct {
  int64_t x0, y0, x1, y1;
} FlatBox;

typedef struct {
  FileMap file;
  Format format;
  Arena arena;
  LayoutCell *cell;
  int cells, top;
  size_t cell_cap;
  StrMap by_name;
  int *cell_of; /* OASIS: cell and text by reference number; -1: none */
  Str *text_of;
  size_t cell_refs, text_refs;
  struct Flat *flat; /* [8 cells]: small cells of one layer by orientation, resolved once */
  int flat_gds, flat_datatype;
} Layout;

/* Reads OASIS or GDSII.  An error names file, offset, expected and found. */
bool layout_open(Layout *l, const char *path, Err *err);
void layout_close(Layout *l);
bool layout_elements(const Layout *l, int cell, ElementFn *fn, void *arg, Err *err);
/* Every box of one layer in the top cell, all cells below resolved: n boxes at a time (the same list for each place of a small
 * cell), moved by x, y.  A shape there that is no box is an error.  fn returns false to end the walk. */
typedef bool BoxesFn(void *arg, const FlatBox *box, int n, int64_t x, int64_t y);
bool layout_boxes(Layout *l, int gds, int datatype, BoxesFn *fn, void *arg, Err *err);
/* The first text in the top cell that begins with `start`. */
bool layout_text(const Layout *l, const char *start, char *out, size_t n, Err *err);
/* A number that two layouts share when their boxes of a layer are the same in the same cells. */
bool layout_digest(const Layout *l, int gds, int datatype, uint64_t *out, Err *err);

/* The eight directions of OASIS' displacements. */
extern const int8_t oasis_direction[8][2];

/* The two formats: finding cells, and giving a cell's elements. */
bool oasis_scan(Layout *l, Err *err), gds_scan(Layout *l, Err *err);
bool oasis_elements(const Layout *l, int cell, ElementFn *fn, void *arg, Err *err);
bool gds_elements(const Layout *l, int cell, ElementFn *fn, void *arg, Err *err);
int layout_new_cell(Layout *l, Str name, Err *err);  /* its number; -1 with an error */
int layout_cell_of(Layout *l, Str name, Err *err);   /* the one with that name, made where it is new */

#endif
