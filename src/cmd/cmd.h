/* cmd: the commands.  One file each; main.c is the table.  Only this room prints and exits.
 *
 * Machine-readable output goes to standard output, everything else to standard error.
 * Exit status: 0 done, 1 the work failed, 2 wrong use.
 */
#ifndef BURIN_CMD_H
#define BURIN_CMD_H

#include "base/base.h"
#include "cast/cast.h"
#include "chip/chip.h"
#include "engine/engine.h"
#include "mask/mask.h"
#include "model/model.h"
#include "plan/plan.h"
#include "rtl/rtl.h"
#include "serve/serve.h"
#include "text/text.h"

#include <jansson.h>

#define BURIN_VERSION "0.1.0"

enum { STATUS_DONE = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

typedef int CommandFn(int argc, char **argv); /* argv[0] is the command's name */
CommandFn cmd_bench, cmd_cast, cmd_chat, cmd_diff, cmd_eval, cmd_info, cmd_mask, cmd_plan, cmd_rtl, cmd_run, cmd_serve, cmd_verify;

/* ---- options: one table a command says names, types, defaults and help ---- */
typedef enum { OPT_FLAG, OPT_INT, OPT_U64, OPT_FLOAT, OPT_TEXT, OPT_LIST } OptionType;

enum { MOST_TEXTS = 16 };
typedef struct {
  const char *text[MOST_TEXTS];
  int n;
} TextList;

typedef struct {
  const char *name;  /* without dashes */
  char letter;       /* 0: none */
  OptionType type;
  void *out;         /* bool, int, uint64_t, double, const char * or TextList (given several times); holds the default */
  const char *value; /* how help calls the argument */
  const char *help;
} Option;

typedef struct {
  const char *command, *usage, *about; /* "burin cast MODEL -o X.chip" */
  const Option *option;
  int options;
  int operands;                        /* exactly this many, */
  int optional;                        /* but this many may lack: NULL */
} Usage;

/* Parses argv; operands go to out.  Returns -1 to go on, else the exit status (help printed, or wrong use said). */
int options_parse(const Usage *u, int argc, char **argv, const char **operand);

/* Prints the error as "burin command: text" and returns STATUS_FAILED. */
int fail(const char *command, const Err *err);

/* ---- what commands share ---- */

typedef struct {
  const char *isa;
  int threads;
} MachineOptions;
#define MACHINE_OPTIONS(m)                                                                                             \
  {"isa", 0, OPT_TEXT, &(m).isa, "NAME", "instruction set: scalar, avx2, avxvnni, avx512, amx or neon (default: the fastest here)"},   \
  {"threads", 't', OPT_INT, &(m).threads, "N", "threads (default: one a CPU, or fewer where that is measured to be faster)"}
bool machine_options(const MachineOptions *m, EngineOptions *out, Err *err);

typedef struct {
  double temperature, top_p, min_p, repeat, frequency, presence;
  int top_k;
  uint64_t seed;
} SamplingOptions;
#define SAMPLING_DEFAULTS {.temperature = 0.8, .top_p = 0.95, .top_k = 40, .repeat = 1}
#define SAMPLING_OPTIONS(s)                                                                                            \
  {"temperature", 0, OPT_FLOAT, &(s).temperature, "T", "sampling temperature; 0 is greedy"},                           \
  {"top-k", 0, OPT_INT, &(s).top_k, "K", "keep the K likeliest tokens; 0 keeps all"},                                  \
  {"top-p", 0, OPT_FLOAT, &(s).top_p, "P", "keep the likeliest tokens that make up P"},                                \
  {"min-p", 0, OPT_FLOAT, &(s).min_p, "P", "drop tokens less likely than P times the likeliest"},                      \
  {"repeat-penalty", 0, OPT_FLOAT, &(s).repeat, "X", "divide logits of the last 64 tokens by X"},                      \
  {"frequency-penalty", 0, OPT_FLOAT, &(s).frequency, "X", "subtract X for each occurrence among them"},               \
  {"presence-penalty", 0, OPT_FLOAT, &(s).presence, "X", "subtract X from each that occurs"},                          \
  {"seed", 0, OPT_U64, &(s).seed, "N", "seed of the sampler"}
bool sampling_settings(const SamplingOptions *s, SamplerSettings *out, Err *err);

/* A chip ready to run: opened, packed, with its tokenizer (NULL where the model has none). */
typedef struct {
  Chip chip;
  Engine *engine;
  Tokenizer *tokenizer;
} Runner;

/* path: a .chip file, or a model file, which is cast with default options into the cache first. */
bool runner_open(Runner *r, const char *path, const MachineOptions *m, Err *err);
void runner_close(Runner *r);
/* The same for random weights: shape as chip_shape_of reads it, bits a weight. */
bool runner_open_synthetic(Runner *r, const char *shape, double bits, const MachineOptions *m, Err *err);
bool chip_open_any(Chip *chip, const char *path, Err *err);

/* The tokens of `n` messages through the chip's template (NULL: joined by line breaks), with the mark that starts a reply.
 * Either the template or the tokenizer puts the start token, never both. */
bool chat_tokens(const Runner *r, const ChatTemplate *t, const ChatMessage *m, int n, Tokens *out, Err *err);

typedef struct {
  int prefill_tokens, decode_tokens;
  double prefill_seconds, decode_seconds;
  bool stopped; /* by a stop token, not by a limit */
} Generation;

/* Feeds the prompt and streams up to `most` tokens (-1: to the end of the context) to `write` as text.  *cancel ends it. */
typedef void WriteFn(void *arg, const char *s, size_t n);
bool generate(const Runner *r, Session *s, const int *prompt, size_t n, int most, int chunk, const volatile int *cancel,
              WriteFn *write, void *arg, Generation *g, Err *err);
void write_stdout(void *arg, const char *s, size_t n);
void print_speed(const Generation *g);

/* ---- the hardware ---- */
typedef struct {
  const char *size;
  RtlKnobs knobs; /* 0: the size's */
} KnobOptions;
#define KNOB_OPTIONS(o)                                                                                                \
  {"size", 0, OPT_TEXT, &(o).size, "NAME", "sim (default), tile or n6: the sizes that the knobs below change"},        \
  {"lanes", 0, OPT_INT, &(o).knobs.lanes, "N", "rows swept together"},                                                 \
  {"taps", 0, OPT_INT, &(o).knobs.taps, "N", "columns that a lane takes in a cycle"},                                  \
  {"vec", 0, OPT_INT, &(o).knobs.vec, "N", "elements a cycle outside the lanes"},                                      \
  {"scan", 0, OPT_INT, &(o).knobs.scan, "N", "positions that attention reads in a cycle"},                             \
  {"heads", 0, OPT_INT, &(o).knobs.heads, "N", "key-value heads that attention works on at a time"},                   \
  {"radix", 0, OPT_INT, &(o).knobs.radix, "N", "binary digits a cycle of root and division"},                          \
  {"ctx", 'c', OPT_INT, &(o).knobs.context, "N", "positions of the KV cache (default: the chip's context)"}
bool knob_options(const KnobOptions *o, const ChipShape *s, RtlDesign *d, Err *err);

/* Runs a program in a directory; its output goes to the file out_name there.  An error carries the end of that, or says what the
 * program is needed for where it is not installed. */
bool run_program(const char *dir, char *const argv[], const char *out_name, const char *needed, Err *err);

/* ---- eval ---- */
typedef struct {
  double top, log_sum; /* log p(i) = value(i) - top - log_sum */
  int best;
} Softmax;
/* Of n logits: f32, or s32 with 16 fraction bits. */
Softmax softmax_of(const void *row, bool is_float, int n);
/* Scores the tasks of a JSONL file (src/cmd/tasks.c says which), the first `most` of them (0: all), and prints.
 * `record`: keeps the result in the chip. */
bool eval_tasks(const Runner *r, const char *path, int most, bool json, bool record, Err *err);

/* ---- results ---- */
/* The last part of a path. */
const char *file_name(const char *path);
void print_json(json_t *o);
/* SHA-256 of a file as 64 digits. */
bool file_hash_text(const char *path, char out[65], Err *err);
/* Adds the result to the list "quality" of the chip's provenance, in place of an older one on the same text or tasks.  The
 * chip's hash stays; the file is replaced whole. */
bool record_result(const Chip *c, json_t *result, Err *err);

#endif
