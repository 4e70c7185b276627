/* plan: what the chip of a shape would be: speed, area, power, yield, money.
 *
 * Owns the table of facts with their sources, the models that turn counts of the emitted design into figures, and the page that
 * shows them.  Counts (cycles, ROM bits, banks) come from rtl; gates from the synthesis of the modules.  Every figure is derived
 * and says from what; nothing is fitted but the fact that is called so.  doc/silicon-model.md is its chapter.
 */
#ifndef BURIN_PLAN_H
#define BURIN_PLAN_H

#include "rtl/rtl.h"

/* ---- facts ---- */
typedef enum { FACT_MEASURED, FACT_PUBLISHED, FACT_DERIVED, FACT_ASSUMED, FACT_FITTED } FactClass;
extern const char *const fact_class_name[5];

typedef struct {
  const char *name, *unit;
  double low, nominal, high;
  FactClass class;
  char confidence;    /* H primary source read, M reputable, L single secondary; - assumed */
  const char *source; /* with its year */
} Fact;

/* Facts that depend on the process. */
typedef enum {
  N_LOGIC, N_SRAM_CELL, N_ROM_BARE, N_FO4, N_ADD_ENERGY, N_MULTIPLY_ENERGY, N_ROM_ENERGY, N_SRAM_ENERGY, N_WIRE_ENERGY, N_WIRE_DELAY, N_CLOCK_ENERGY,
  N_LEAK_LOGIC, N_LEAK_ROM, N_LEAK_SRAM, N_WAFER, N_DEFECTS, N_MASKS, N_WEIGHT_MASK,
  N_EFFICIENCY_1024, N_EFFICIENCY_2048, N_EFFICIENCY_4096, N_EFFICIENCY_8192, NODE_FACTS
} NodeFact;
/* Facts that do not. */
typedef enum {
  G_SRAM_EFFICIENCY, G_UTILISATION, G_TRANSISTORS_GATE, G_FO4_180, G_DOUBLING, G_TIMING_MARGIN,
  G_TOGGLE, G_POWER_MARGIN, G_IO_RING, G_SPARE, G_REPAIRED, G_AIR_LIMIT, G_RETICLE, G_WAFER_DIAMETER, G_WEIGHT_MASKS, G_PACKAGE, G_SYSTEM, G_SYSTEM_POWER,
  G_NRE_DESIGN, G_GPU_HOUR, G_PUE, G_ENERGY_PRICE, G_FACILITY, G_MAINTENANCE, G_LIFE, G_UTILISED, G_VOLUME, G_LINK_LATENCY, G_LINK_ENERGY, G_BUMP_PITCH, G_GRID_SHEET, G_SUPPLY, G_MASK_WEEKS, G_FOUNDRY_WEEKS, G_ASSEMBLY_WEEKS, G_NEW_BASE_WEEKS,
  GENERAL_FACTS
} GeneralFact;
enum { FACTS = NODE_FACTS + GENERAL_FACTS };

typedef struct {
  const char *name;
  Fact fact[NODE_FACTS];
} Node;
extern const Node plan_node[];
extern const int plan_nodes;
extern const Fact plan_general[GENERAL_FACTS];
const Node *plan_node_of(const char *name, Err *err);
/* Fact number i of a node: its own first, then the general ones. */
const Fact *plan_fact(const Node *n, int i);

/* Systems of others, on Llama 3.1 8B. */
typedef struct {
  const char *name;
  double low, nominal, high; /* tokens/s of one user; 0: none published */
  double batch;              /* tokens/s of all users; 0: none published */
  double die_mm2, watts;     /* 0: not published */
  const char *source;
} PlanSystem;
enum { PLAN_H100 = 1 }; /* place of the H100 among them */
extern const PlanSystem plan_system[];
extern const int plan_systems;

/* Gates of a module as make synth found them (doc/synthesis.json): area / area of a NAND2 of the same library. */
typedef struct {
  const char *name, *parameters;
  double area_um2, path_ns;
} PlanModule;
extern const PlanModule plan_module[];
extern const int plan_modules;
enum { NAND2_AREA_UM2_X100 = 2400 };

/* ---- what is planned ---- */

/* Mixture of experts: `stored` feed-forward blocks of the shape's ffn in each layer, of which a token goes through `active`, one after
 * the other, and a router that chooses them.  1 and 1: a dense model.  The arithmetic and the RTL have no experts: derived only. */
typedef struct {
  int stored, active;
  const char *source; /* NULL: the user's own numbers */
} PlanExperts;
typedef struct {
  const char *name, *shape; /* as chip_shape_of reads it */
  PlanExperts experts;
} PlanMixture;
extern const PlanMixture plan_mixture[];
extern const int plan_mixtures;
const PlanMixture *plan_mixture_of(const char *name); /* NULL: none is called so */

typedef struct {
  RtlDesign design;
  RtlCounts counts;
  PlanExperts experts;
  double weights;    /* in matrices and head, that a token meets */
  double stored;     /* that the chips hold */
  double code_bits;  /* read for a token */
  double words;      /* of codes, swept for a token */
  double lines;      /* sum over the swept words of the levels of their matrix: product lines that change */
  int levels;        /* of the widest codebook */
  int position;      /* that speeds are for */
  int chips;         /* the model is spread over */
  int group_lanes;   /* that stand together in the middle of their ROM and share product lines */
  const Node *node;
  Fact fact[FACTS];  /* the node's, then the general ones; plan_set changes them */
} PlanInput;

/* bits: of each matrix in the order of rtl (rtl_mats), or NULL: mixed so that codes and scales come to `average`. */
bool plan_input(PlanInput *in, const ChipShape *s, PlanExperts experts, const Chip *chip, double average, const RtlKnobs *k, int position, const Node *node, Err *err);

/* "name=value": a fact without a band. */
bool plan_set(PlanInput *in, const char *assignment, Err *err);
/* Splits the model over as few chips as it takes, at most `most_chips` of at most die_limit mm2 (and a reticle); chooses how many
 * lanes share product lines, by energy.  After plan_input and plan_set. */
bool plan_fit(PlanInput *in, double die_limit, int most_chips, Err *err);

typedef enum {
  O_TPS, O_CYCLES, O_CLOCK, O_DIE, O_WATTS, O_TOKENS_PER_JOULE, O_CHIP_COST, O_MTOK_COST, /* the eight of --json */
  O_CYCLES_RTL, O_CYCLES_EXPERTS, O_CYCLES_WIRE, O_PATH_NS,
  O_AREA_ROM, O_AREA_SRAM, O_AREA_LANES, O_AREA_PRODUCTS, O_AREA_VECTOR, O_AREA_ATTENTION, O_AREA_RING, /* mm2 */
  O_E_ROM, O_E_LANES, O_E_WIRES, O_E_CLOCK, O_E_ATTENTION, O_E_VECTOR, O_E_LINK, O_E_TOKEN, O_STATIC,  /* J a token; W */
  O_DENSITY_W, O_IR_DROP, O_TRANSISTORS, O_DIES, O_YIELD, O_YIELD_REPAIRED, O_DIE_COST, O_MASKS, O_RESPIN, O_NRE, O_SYSTEM_COST,
  O_MTOK_SILICON, O_MTOK_SYSTEM, O_MTOK_NRE, O_MTOK_POWER, O_MTOK_FACILITY, O_MTOK_OPERATIONS, O_BREAK_EVEN,
  OUTPUTS
} Output;
typedef struct {
  const char *key, *unit, *how;
} OutputName;
extern const OutputName plan_output[OUTPUTS];

/* value: FACTS numbers, in the order of plan_fact. */
void plan_evaluate(const PlanInput *in, const double *value, double out[OUTPUTS]);
void plan_nominal(const PlanInput *in, double value[FACTS]);

typedef struct {
  double low, nominal, high; /* 10 %, with nominal facts, 90 % */
} Band;
/* Nominal, and the range over PLAN_DRAWS draws of all facts from their bands. */
enum { PLAN_DRAWS = 1000 };
void plan_bands(const PlanInput *in, uint64_t seed, Band out[OUTPUTS]);

/* Fewer chips than this cannot hold the ROM, whatever their size. */
int plan_least_chips(const PlanInput *in, double die_limit);

/* ---- search ---- */
typedef struct {
  RtlKnobs knobs;
  double out[OUTPUTS];
} PlanPoint;
typedef enum { AIM_SPEED, AIM_ENERGY, AIM_COST } PlanAim;
/* Knobs that are best by the aim with nominal facts, within die (mm2) and power (W) limits; points of the front of tokens/s against
 * tokens/J go to front (at most `most`), *n of them. */
bool plan_search(PlanInput *in, const Chip *chip, double average, PlanAim aim, double die_limit, double watt_limit, int most_chips, PlanPoint *front, int most,
                 int *n, Err *err);

/* ---- checks against what is published ---- */
typedef struct {
  const char *what, *unit, *source, *note;
  double predicted, low, high; /* the published band */
} PlanCheck;
enum { PLAN_CHECKS = 19 };
int plan_checks(PlanCheck out[PLAN_CHECKS], Err *err);

/* ---- the page ---- */
bool plan_page(const PlanInput *in, const char *title, const Band *band, const PlanPoint *front, int points, Buf *out, Err *err);

#endif
