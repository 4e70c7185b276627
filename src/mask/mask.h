/* mask: a Chip as layout, the mask ROM with the model's weights in it; and layout back to what it holds (doc/masks.md).
 *
 * Owns process descriptions (process/NAME.json), the array's geometry, the writers and readers of OASIS and GDSII.
 * Refuses to decide which bit stands where in a ROM: words and addresses are those of the emitted design (rtl_rom_read).
 */
#ifndef BURIN_MASK_H
#define BURIN_MASK_H

#include "rtl/rtl.h"

/* ---- processes: data ---- */

typedef struct MaskProcess MaskProcess;
/* A built-in name (sky130, generic) or a file.  An error names the file, the key and what was expected. */
MaskProcess *mask_process_open(const char *name, Err *err);
void mask_process_free(MaskProcess *p);
const char *mask_process_name(const MaskProcess *p);
/* One line: what it is, and how far its numbers can be trusted. */
const char *mask_process_about(const MaskProcess *p);

/* ---- the floor: where the ROMs' bits lie ----
 * A bank is `rows` word lines and `columns` bit lines.  The ROMs of the design, one after the other, are cut into banks.  A wide ROM
 * is cut into slices of `columns` bits; of a narrow one several stretches of `rows` words stand side by side, each in whole bytes.
 * Banks fill columns of the die from below.  What is left of a bank is 0.
 */
typedef struct {
  int rows, columns;       /* of a bank; 0: the process's */
  int64_t first, banks;    /* of the ROMs' banks; banks 0: all */
} MaskKnobs;

typedef struct {
  const MaskProcess *process;
  RtlDesign design;
  const Chip *chip;
  RtlRom rom[RTL_ROMS];
  int roms;
  uint64_t rom_bank[RTL_ROMS + 1]; /* number of each ROM's first bank; [roms]: banks of all */
  int rows, columns;
  uint64_t first, banks;           /* those that are drawn */
  int high, wide;                  /* banks in a column of the die; columns */
  int64_t bank_width, bank_height; /* nm: of the array */
  int64_t left, below, macro_width, macro_height, step_x, step_y; /* of the periphery beside and below it; of both; from bank to bank */
} MaskFloor;

bool mask_floor(MaskFloor *f, const MaskProcess *p, const RtlDesign *d, const Chip *c, const MaskKnobs *k, Err *err);

typedef struct {
  uint64_t bits, bank_bits; /* of the ROMs; that the banks could hold */
  double cell_um2, macro_um2; /* area of a bit: of the array over its rows and columns; with decoder, drivers, precharge and sense */
  double array_mm2, macro_mm2, die_mm2; /* of all arrays; all banks; with the space between them */
} MaskArea;
MaskArea mask_area(const MaskFloor *f);

/* ---- writing ---- */
typedef enum { MASK_ALL, MASK_BASE, MASK_WEIGHTS } MaskLayers;
bool mask_layers_of(const char *name, MaskLayers *out, Err *err);
/* OASIS, or GDSII where the path ends in .gds.  The same input gives the same bytes.  The base of two chips of one shape and one
 * set of widths is the same file.  threads: at least 1. */
bool mask_write(const MaskFloor *f, const char *path, MaskLayers layers, int threads, Err *err);
/* The abstract (LEF 5.8), the netlist (SPICE) and a drawing of one bank (SVG, three zooms). */
bool mask_write_lef(const MaskFloor *f, const char *path, Err *err);
bool mask_write_spice(const MaskFloor *f, uint64_t bank, const char *path, Err *err);
bool mask_write_svg(const MaskFloor *f, uint64_t bank, const char *path, Err *err);
/* Layer properties for KLayout. */
bool mask_write_lyp(const MaskProcess *p, const char *path, Err *err);

/* ---- reading: layout back to vias, without the writer's code ---- */

/* The programming vias of a layout, node by node. */
typedef struct MaskSites MaskSites;
/* process NULL: the one that the file names. */
MaskSites *mask_sites_read(const char *path, const char *process, Err *err);
void mask_sites_free(MaskSites *s);

/* A list of complaints, the first of which are kept as text. */
enum { MASK_COMPLAINTS = 10 };
typedef struct {
  uint64_t vias, nodes;             /* read, without the base's; that there are */
  uint64_t missing, doubled, stray; /* nodes with no via, with two; vias where none belongs or of another size */
  uint64_t base, base_wrong;        /* the base's vias of that layer; those that are missing or too many, where there is a base */
  uint64_t bits, wrong;             /* compared with the chip; those that differ */
  int texts;
  char text[MASK_COMPLAINTS][240];
} MaskReport;
/* Compares every bit of every ROM with the chip.  False on an error; a difference is not one: see mask_report_clean. */
bool mask_check(const MaskSites *s, const Chip *c, MaskReport *r, Err *err);
bool mask_report_clean(const MaskReport *r);

typedef struct {
  uint64_t nodes, nodes_changed, banks, banks_changed; /* of the weight layer */
  int layers, layers_changed;                          /* of the base */
  char changed[400];                                   /* their names */
} MaskDifference;
bool mask_diff(const char *a, const char *b, const char *process, MaskDifference *d, Err *err);
/* Whether a file begins like a layout. */
bool mask_is(const FileMap *file);

#endif
