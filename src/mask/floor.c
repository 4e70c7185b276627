/* mask/floor: which bank holds which bits, where banks stand, and the states of their nodes. */
#include "mask/parts.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/* Columns of a part, and parts side by side. */
static int stride_of(const MaskFloor *f, const RtlRom *rom) {
  return rom->bits < (uint64_t)f->columns ? ((int)rom->bits + 7) / 8 * 8 : f->columns;
}

static uint64_t slices_of(const MaskFloor *f, const RtlRom *rom) { return ceil_div(rom->bits, (uint64_t)f->columns); }

static uint64_t words_of_bank(const MaskFloor *f, const RtlRom *rom) { return (uint64_t)f->rows * (uint64_t)(f->columns / stride_of(f, rom)); }

/* The die is about square: as many banks on one another as make it so. */
static int banks_high(const MaskFloor *f) {
  double h = sqrt((double)f->banks * (double)f->step_x / (double)f->step_y);
  return h < 1 ? 1 : (int)ceil(h);
}

void floor_lengths(MaskFloor *f) {
  const MaskProcess *p = f->process;
  f->bank_width = strap_x(p, straps_of(p, f->columns) - 1, f->columns) + p->strap_width;
  f->bank_height = f->rows / p->sub_rows * sub_step(p) - p->gap + 2 * (int64_t)p->edge;
  f->left = (int64_t)selects_of(f) * p->select + (int64_t)(1 + LINES) * p->gate + 3 * (int64_t)p->rail;
  f->below = p->below;
  f->macro_width = f->left + f->bank_width;
  f->macro_height = f->bank_height - 2 * (int64_t)p->edge + p->below + p->above;
  f->step_x = f->macro_width + p->between_x;
  int64_t y = f->macro_height + p->between_y;
  f->step_y = (y + p->pitch_y - 1) / p->pitch_y * p->pitch_y; /* all nodes of a column of the die lie on one lattice */
  if (!f->high) f->high = banks_high(f);
  if ((uint64_t)f->high > f->banks) f->high = (int)f->banks;
  f->wide = (int)ceil_div(f->banks, (uint64_t)f->high);
}

void bank_frame(const MaskFloor *f, PieceFn *fn, void *arg) {
  const MaskProcess *p = f->process;
  int subs = f->rows / p->sub_rows, straps = straps_of(p, f->columns);
  int64_t top = f->bank_height - 2 * (int64_t)p->edge;
  for (int c = 0; c < f->columns + straps; c++) {
    bool strap = c >= f->columns;
    int64_t x = strap ? strap_x(p, c - f->columns, f->columns) : column_x(p, c);
    for (int r = 0; strap && r < f->rows; r++)
      fn(arg, r % 2 ? PIECE_STRAP_ODD : PIECE_STRAP_EVEN, x, r / p->sub_rows * sub_step(p) + (int64_t)(r % p->sub_rows) * p->pitch_y);
    fn(arg, strap ? PIECE_STRAP_BOTTOM : PIECE_BOTTOM, x, 0);
    fn(arg, strap ? PIECE_STRAP_TOP : PIECE_TOP, x, top);
    for (int i = 1; i < subs; i++) fn(arg, strap ? PIECE_STRAP_GAP : PIECE_GAP, x, i * sub_step(p) - p->gap);
  }
  bank_periphery(f, fn, arg);
}

/* One group of eight rows: its gate, and a driver a row. */
static void decoder_group(const MaskFloor *f, int sub, int group, PieceFn *fn, void *arg) {
  const MaskProcess *p = f->process;
  int64_t y = sub * sub_step(p) + (int64_t)group * LINES * p->pitch_y;
  for (int i = 0; i < selects_of(f); i++) fn(arg, PIECE_SELECT, select_x(f, i), y);
  fn(arg, PIECE_PICK_GROUP, select_x(f, group), y);
  fn(arg, PIECE_PICK_SUB, select_x(f, groups_of(p) + sub), y);
  fn(arg, PIECE_GATE, group_x(f), y);
  fn(arg, PIECE_GROUP, group_x(f), y);
  for (int i = 0; i < LINES; i++) {
    fn(arg, PIECE_GATE, driver_x(f, i), y);
    fn(arg, PIECE_DRIVER, driver_x(f, i), y);
    fn(arg, PIECE_OUT, driver_x(f, i), y + (int64_t)i * p->pitch_y);
    for (int k = 0; k < i; k++) fn(arg, PIECE_WIRE, driver_x(f, i), y + (int64_t)k * p->pitch_y);
  }
  for (int i = 0; i < 3; i++) {
    fn(arg, PIECE_RAIL, rail_x(f, i), y);
    for (int k = 0; k < i * LINES / 2; k++) fn(arg, PIECE_RAIL_WIRE, rail_x(f, i), y + (int64_t)k * p->pitch_y);
  }
}

/* What the decoder has between sub-arrays, above the last and below the first: the four pieces that begin with `first`. */
static void decoder_row(const MaskFloor *f, int first, int64_t y, PieceFn *fn, void *arg) {
  for (int i = 0; i < selects_of(f); i++) fn(arg, first, select_x(f, i), y);
  fn(arg, first + 1, group_x(f), y);
  for (int i = 0; i < LINES; i++) {
    fn(arg, first + 1, driver_x(f, i), y);
    fn(arg, first + 2, driver_x(f, i), y);
  }
  for (int i = 0; i < 3; i++) fn(arg, first + 3, rail_x(f, i), y);
}

void bank_periphery(const MaskFloor *f, PieceFn *fn, void *arg) {
  const MaskProcess *p = f->process;
  int subs = f->rows / p->sub_rows;
  for (int s = 0; s < subs; s++) {
    for (int g = 0; g < groups_of(p); g++) decoder_group(f, s, g, fn, arg);
    if (s) decoder_row(f, PIECE_SELECT_GAP, s * sub_step(p) - p->gap, fn, arg);
  }
  decoder_row(f, PIECE_SELECT_TOP, f->bank_height - 2 * (int64_t)p->edge, fn, arg);
  decoder_row(f, PIECE_SELECT_BOTTOM, 0, fn, arg);
  for (int i = 0; i < selects_of(f); i++) fn(arg, PIECE_PIN_SELECT, select_x(f, i), 0);
  for (int i = 0; i < LINES; i++) fn(arg, PIECE_PIN_LINE, driver_x(f, i), 0);
  for (int piece = PIECE_PIN_PRECHARGE; piece <= PIECE_PIN_GROUND; piece++) fn(arg, piece, -f->left, 0);
  for (int c = 0; c < f->columns; c += 2)
    for (int i = 0; i < 3; i++) fn(arg, (int[]){PIECE_FOOT, PIECE_PIN_EVEN, PIECE_PIN_ODD}[i], column_x(p, c), 0);
  for (int i = 0; i < straps_of(p, f->columns); i++) fn(arg, PIECE_STRAP_FOOT, strap_x(p, i, f->columns), 0);
}

static bool pin(const MaskFloor *f, Piece piece, int64_t x, PinKind kind, PinFn *fn, void *arg, Err *err, const char *format, ...) __attribute__((format(printf, 8, 9)));
static bool pin(const MaskFloor *f, Piece piece, int64_t x, PinKind kind, PinFn *fn, void *arg, Err *err, const char *format, ...) {
  MaskBox b = f->process->box[f->process->first[piece]];
  char name[32];
  va_list ap;
  va_start(ap, format);
  vsnprintf(name, sizeof name, format, ap);
  va_end(ap);
  b.x0 += (int32_t)x;
  b.x1 += (int32_t)x;
  return fn(arg, name, kind, &b, err);
}

bool bank_pins(const MaskFloor *f, PinFn *fn, void *arg, Err *err) {
  const MaskProcess *p = f->process;
  bool ok = true;
  for (int i = 0; ok && i < LINES; i++) ok = pin(f, PIECE_PIN_LINE, driver_x(f, i), PIN_IN, fn, arg, err, "LINE[%d]", i);
  for (int i = 0; ok && i < groups_of(p); i++) ok = pin(f, PIECE_PIN_SELECT, select_x(f, i), PIN_IN, fn, arg, err, "GROUP[%d]", i);
  for (int i = groups_of(p); ok && i < selects_of(f); i++) ok = pin(f, PIECE_PIN_SELECT, select_x(f, i), PIN_IN, fn, arg, err, "SUB[%d]", i - groups_of(p));
  ok = ok && pin(f, PIECE_PIN_PRECHARGE, -f->left, PIN_IN, fn, arg, err, "PRE");
  for (int c = 0; ok && c < f->columns; c++)
    ok = pin(f, c % 2 ? PIECE_PIN_ODD : PIECE_PIN_EVEN, column_x(p, c / 2 * 2), PIN_OUT, fn, arg, err, "Q[%d]", c);
  return ok && pin(f, PIECE_PIN_POWER, -f->left, PIN_POWER, fn, arg, err, "VPWR") && pin(f, PIECE_PIN_GROUND, -f->left, PIN_GROUND, fn, arg, err, "VGND");
}

bool mask_floor(MaskFloor *f, const MaskProcess *p, const RtlDesign *d, const Chip *c, const MaskKnobs *k, Err *err) {
  *f = (MaskFloor){.process = p, .design = *d, .chip = c, .rows = k->rows ? k->rows : p->bank_rows, .columns = k->columns ? k->columns : p->bank_columns};
  if (f->rows < p->sub_rows || f->rows > 65536 || f->rows % p->sub_rows)
    return err_set(err, "rows: expected a multiple of %d up to 65536, found %d", p->sub_rows, f->rows);
  if (f->columns < 8 || f->columns > 65536 || f->columns % 8) return err_set(err, "columns: expected a multiple of 8 up to 65536, found %d", f->columns);
  f->roms = rtl_roms(d, c, f->rom);
  for (int i = 0; i < f->roms; i++)
    f->rom_bank[i + 1] = f->rom_bank[i] + ceil_div(f->rom[i].words, words_of_bank(f, &f->rom[i])) * slices_of(f, &f->rom[i]);
  uint64_t all = f->rom_bank[f->roms];
  if (k->first < 0 || k->banks < 0 || (uint64_t)k->first >= all || (uint64_t)k->banks > all - (uint64_t)k->first)
    return err_set(err, "banks: expected some of the %llu that this chip and these knobs fill, found %lld from bank %lld on", (unsigned long long)all, (long long)(k->banks ? k->banks : 1),
                   (long long)k->first);
  f->first = (uint64_t)k->first;
  f->banks = k->banks ? (uint64_t)k->banks : all - f->first;
  floor_lengths(f);
  if ((double)f->wide * (double)f->step_x > 2e9 || (double)f->high * (double)f->step_y > 2e9)
    return err_set(err, "the die would be more than 2 m wide: GDSII has no such coordinates");
  return true;
}

MaskArea mask_area(const MaskFloor *f) {
  double bits = (double)f->rows * f->columns, array = (double)f->bank_width * (double)f->bank_height * 1e-6, macro = (double)f->macro_width * (double)f->macro_height * 1e-6;
  MaskArea a = {.bank_bits = f->banks * (uint64_t)f->rows * (uint64_t)f->columns, .cell_um2 = array / bits, .macro_um2 = macro / bits};
  for (int i = 0; i < f->roms; i++) a.bits += f->rom[i].words * f->rom[i].bits;
  a.array_mm2 = array * (double)f->banks * 1e-6;
  a.macro_mm2 = macro * (double)f->banks * 1e-6;
  a.die_mm2 = (double)f->wide * (double)f->step_x * (double)f->high * (double)f->step_y * 1e-12;
  return a;
}

BankPlace bank_place(const MaskFloor *f, uint64_t bank) {
  int r = 0;
  while (bank >= f->rom_bank[r + 1]) r++;
  const RtlRom *rom = &f->rom[r];
  uint64_t slices = slices_of(f, rom), i = bank - f->rom_bank[r];
  int stride = stride_of(f, rom);
  return (BankPlace){rom, i / slices * words_of_bank(f, rom), i % slices * (uint64_t)f->columns, f->columns / stride, stride};
}

RtlPart bank_part(const MaskFloor *f, const BankPlace *b, int part) {
  uint64_t word = b->word + (uint64_t)part * (uint64_t)f->rows, bits = b->rom->bits - b->bit;
  if (word > b->rom->words) word = b->rom->words;
  uint64_t words = b->rom->words - word;
  return (RtlPart){word, words < (uint64_t)f->rows ? words : (uint64_t)f->rows, b->bit, bits < (uint64_t)b->stride ? bits : (uint64_t)b->stride};
}

/* ---- states ---- */

typedef struct {
  uint8_t *row; /* next one of the bank */
  size_t width;
} Rows;

static void take_row(void *arg, const uint8_t *word, size_t n) {
  Rows *r = arg;
  memcpy(r->row, word, n);
  r->row += r->width;
}

/* Bits to states of one sub-array: node 0 at ground, then a change at each 1.  Columns with most of their nodes on the bit line are
 * inverted. */
static void states_of(const MaskProcess *p, const uint8_t *bits, uint8_t *states, size_t width) {
  memset(states, 0, width);
  for (int r = 0; r < p->sub_rows; r++)
    for (size_t i = 0; i < width; i++) states[(size_t)(r + 1) * width + i] = states[(size_t)r * width + i] ^ bits[(size_t)r * width + i];
  for (size_t i = 0; i < width; i++) {
    uint8_t flip = 0;
    int on[8] = {0};
    for (int r = 0; r <= p->sub_rows; r++)
      for (int b = 0; b < 8; b++) on[b] += states[(size_t)r * width + i] >> b & 1;
    for (int b = 0; b < 8; b++) flip |= (uint8_t)((on[b] * 2 > p->sub_rows + 1) << b);
    if (!flip) continue;
    for (int r = 0; r <= p->sub_rows; r++) states[(size_t)r * width + i] ^= flip;
  }
}

bool bank_states(const MaskFloor *f, uint64_t bank, uint8_t *states, Err *err) {
  const MaskProcess *p = f->process;
  BankPlace at = bank_place(f, bank);
  size_t width = (size_t)f->columns / 8;
  uint8_t *bits = mem_alloc((size_t)f->rows, width, err);
  bool ok = bits != NULL;
  for (int i = 0; ok && i < at.parts; i++) {
    Rows rows = {bits + i * at.stride / 8, width};
    ok = rtl_rom_read(&f->design, f->chip, at.rom, bank_part(f, &at, i), take_row, &rows, err);
  }
  for (int i = 0; ok && i < f->rows / p->sub_rows; i++)
    states_of(p, bits + (size_t)i * (size_t)p->sub_rows * width, states + (size_t)i * (size_t)(p->sub_rows + 1) * width, width);
  mem_free(bits);
  return ok;
}
