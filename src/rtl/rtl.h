/* rtl: a Chip as SystemVerilog: parameters, ROM images and a top level that bind the modules of hw/ (doc/hardware.md).
 *
 * Owns the geometry of the hard-wired machine (how a model's matrices lie in the banks) and the cycles of its schedule.
 * Refuses to decide arithmetic: every bit it writes is the chip's.
 */
#ifndef BURIN_RTL_H
#define BURIN_RTL_H

#include "chip/chip.h"

/* Sizes of the machine's parts. */
typedef struct {
  int lanes;   /* rows of a block, swept together; a multiple of vec */
  int taps;    /* columns that a lane takes in a cycle: a power of two */
  int vec;     /* elements a cycle outside the lanes: a power of two */
  int scan;    /* positions that attention reads in a cycle: a power of two */
  int heads;   /* key-value heads that attention works on at a time */
  int radix;   /* binary digits a cycle of root and division: 1, 2, 4 or 8 */
  int context; /* positions that the KV cache holds */
} RtlKnobs;

/* The largest sim, tile or n6 knobs that the shape allows.  An error names the sizes. */
bool rtl_knobs(const char *size, const ChipShape *s, RtlKnobs *k, Err *err);

enum { RTL_WIDTHS = 5, RTL_STAGES = 5 };
extern const int rtl_width_bits[RTL_WIDTHS]; /* 2 3 4 6 8 */
typedef enum { STAGE_QKV, STAGE_O, STAGE_GATE_UP, STAGE_DOWN, STAGE_HEAD } RtlStage;

/* How one matrix lies in the banks. */
typedef struct {
  int rows, cols;
  int words;     /* of taps columns, in a block */
  int row_words; /* of vec rows */
  int blocks;    /* of lanes rows */
  int scale_words; /* of group scales, in a block */
} RtlExtent;

/* A shape and knobs that fit each other. */
typedef struct {
  ChipShape shape;
  RtlKnobs knobs;
  RtlExtent mat[MAT_EMBED]; /* MAT_Q .. MAT_HEAD */
  int share, rounds, chunk, parts; /* query heads a key-value head; rounds of attention; elements and words of a head part */
  int dim_words, q_words, kv_words, ffn_words, vocab_words; /* vectors in words of vec */
} RtlDesign;

/* Checks that the knobs fit the shape.  An error names the knob, what it was and what is possible. */
bool rtl_design(RtlDesign *d, const ChipShape *s, const RtlKnobs *k, Err *err);

/* ---- cycles: the schedule of hw/, exact ---- */

/* Cycles of one token at a position (0 for the first), from the cycle behind the one that took it to its last, both counted.
 * A token that is answered (`head`) also goes through the head; one that is drawn (`draw`) takes the sampler's walk besides. */
uint64_t rtl_cycles(const RtlDesign *d, int position, bool head, bool draw);

/* Where they go.  sweep: cycles in which words of weights are read; the rest is the chain. */
typedef struct {
  uint64_t embed, qkv, attention, o, gate_up, butterfly, down; /* of one layer each, but embed */
  uint64_t head, total;
  uint64_t sweep_layer, sweep_head;
} RtlPhases;
RtlPhases rtl_phases(const RtlDesign *d, int position, bool head, bool draw);

/* ---- output ---- */

/* What the emitted design holds, in bits, and how deep its banks are. */
typedef struct {
  int code_bits; /* of the widest code */
  uint64_t code_words[RTL_WIDTHS];
  uint64_t scale_words, row_scale_words;
  uint64_t code_rom_bits; /* of the banks of codes */
  uint64_t rom_bits, kv_bits, ram_bits; /* masks; KV cache; memories of vectors (burin_ram) */
} RtlCounts;
RtlCounts rtl_counts(const RtlDesign *d, const Chip *c);
/* The same from the bits of each matrix alone, layer by layer and then the head. */
int rtl_matrices(const RtlDesign *d);
RtlCounts rtl_counts_of(const RtlDesign *d, const int *bits, int embed_bits);
void rtl_widths(const RtlDesign *d, const Chip *c, int *bits);

/* The ROMs of the emitted design, one after the other.  Word a of a ROM is its content at address a. */
enum { RTL_ROMS = RTL_WIDTHS + 7 };
typedef struct {
  const char *name; /* codes4, group_scales, ...: rom/NAME.hex of the emitted design */
  int kind;         /* private */
  uint64_t words, bits; /* bits of a word */
} RtlRom;
int rtl_roms(const RtlDesign *d, const Chip *c, RtlRom rom[RTL_ROMS]);
/* Calls fn with a part of a ROM, word by word in order: (bits + 7) / 8 bytes each, the part's first bit lowest; that one is a
 * multiple of 8.  Fails only without memory. */
typedef struct {
  uint64_t word, words, bit, bits;
} RtlPart;
typedef void RtlWordFn(void *arg, const uint8_t *word, size_t n);
bool rtl_rom_read(const RtlDesign *d, const Chip *c, const RtlRom *rom, RtlPart part, RtlWordFn *fn, void *arg, Err *err);
/* What the chip calls the number that a bit of a word belongs to; false for padding. */
typedef struct {
  int bit, bits; /* where it lies in the word */
  char text[96]; /* "layer 2 gate code, row 17, column 40" */
} RtlOrigin;
bool rtl_rom_origin(const RtlDesign *d, const Chip *c, const RtlRom *rom, uint64_t word, uint64_t bit, RtlOrigin *out);

/* Writes the design to a directory, which is made if it is not there: hw/, rom/, burin_chip.sv, burin.f, Makefile, burin.sdc,
 * README.md.  The chip must be whole and verified (chip_verify_all). */
bool rtl_emit(const RtlDesign *d, const Chip *c, const char *dir, Err *err);

/* ---- every intermediate vector of a token, as the chip's scalar arithmetic gives it ---- */

/* A vector that the machine makes, in the order of a token.  Scales are M and E. */
typedef enum {
  VEC_EMBED, VEC_ATTN_IN, VEC_ATTN_SCALE, VEC_QKV, VEC_QKV8, VEC_ATTENTION, VEC_O_IN, VEC_O_SCALE, VEC_H_O, VEC_FFN_IN, VEC_FFN_SCALE,
  VEC_GATE, VEC_UP, VEC_ACT, VEC_BUTTERFLY, VEC_DOWN_IN, VEC_DOWN_SCALE, VEC_H_DOWN, VEC_HEAD_IN, VEC_HEAD_SCALE, VEC_LOGITS, VECTORS
} RtlVector;
extern const char *const rtl_vector_name[VECTORS];

typedef struct RtlReference RtlReference;
RtlReference *rtl_reference_new(const RtlDesign *d, const Chip *c, Err *err);
void rtl_reference_free(RtlReference *r);
/* One token more, at the next position; `head` also makes the logits.  clear: a new context. */
void rtl_reference_clear(RtlReference *r);
void rtl_reference_step(RtlReference *r, int token, bool head);
/* A vector of the last token, its elements in the order of the machine (rtl_row); n 0 where it was not made. */
const int32_t *rtl_reference_vector(const RtlReference *r, RtlVector v, int layer, int *n);

/* Compares a trace of hw/tb/burin_trace.sv, line by line, with the reference.  The tokens come from `next`, which says each with its
 * context's beginning and whether it is answered, false when there are no more.  On a difference `where` names it; an empty text
 * says that every vector is equal. */
typedef struct {
  int token;
  bool clear, head;
} RtlStep;
typedef bool RtlNextFn(void *arg, RtlStep *out);
bool rtl_trace_check(RtlReference *r, const RtlDesign *d, const char *path, RtlNextFn *next, void *arg, char where[200], uint64_t *compared, Err *err);

/* The row of the chip's matrix that stands in a row of the bank: q and k are laid with the two elements of a rotary pair side
 * by side. */
int rtl_row(const ChipShape *s, MatKind kind, int row);

#endif
