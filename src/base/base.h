/* base: what C lacks.  Errors, memory, string slices, bounded reading, safe writing, threads, CPU features.
 *
 * Owns nothing about models or chips.  Every other room may include this header; it includes none of theirs.
 */
#ifndef BURIN_BASE_H
#define BURIN_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- errors ---------------------------------------------------------------------------------------------------
 * A bug is an assert.  Bad input and I/O fill an Err and return false (or NULL); the first error wins.
 */
typedef struct {
  bool set;
  char text[800];
} Err;

/* Records the message unless one is there already.  Always returns false, so that `return err_set(...)` reads well. */
bool err_set(Err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- string slices: bytes with a length, not terminated ---------------------------------------------------------- */
typedef struct {
  const char *s;
  size_t n;
} Str;

#define STR(literal) ((Str){(literal), sizeof(literal) - 1})
#define STR_FMT(x) (int)((x).n > 200 ? 200 : (x).n), (x).s /* for "%.*s"; error messages never need more */

Str str_from(const char *terminated);
bool str_eq(Str a, Str b);
bool str_starts(Str s, Str prefix);
bool str_ends(Str s, Str suffix);

/* ---- memory -----------------------------------------------------------------------------------------------------
 * All of the program's memory comes from here: zeroed, aligned to 128 bytes, large blocks on huge pages.
 * NULL with an error when there is none (or count * size overflows).
 */
void *mem_alloc(size_t count, size_t size, Err *err);
void *mem_grow(void *p, size_t old_bytes, size_t new_bytes, Err *err); /* keeps content; p stays valid on failure */
void mem_free(void *p);

/* An arena: many allocations, one release.  A zeroed Arena is empty and ready. */
typedef struct ArenaBlock ArenaBlock;
typedef struct {
  ArenaBlock *last;
} Arena;

void *arena_alloc(Arena *a, size_t count, size_t size, Err *err);
Str arena_copy(Arena *a, Str s, Err *err); /* terminated by NUL as well; s.s is NULL on failure */
void arena_free(Arena *a);

/* A byte buffer that grows.  After a failed growth it holds what it held, and `err` of that call says so. */
typedef struct {
  char *s;
  size_t n, cap;
} Buf;

bool buf_put(Buf *b, const void *bytes, size_t n, Err *err);
bool buf_printf(Buf *b, Err *err, const char *format, ...) __attribute__((format(printf, 3, 4)));
void buf_free(Buf *b);

/* Fault injection for tests: after fault_arm(k) the k-th allocation or write from now fails, once. 0 disarms. */
void fault_arm(long k);
bool fault_hit(void);

/* ---- a map from strings to numbers, filled once ------------------------------------------------------------------- */
typedef struct {
  struct StrMapSlot *slot;
  size_t cap, n;
} StrMap;

bool strmap_init(StrMap *m, size_t expected, Err *err);
bool strmap_put(StrMap *m, Str key, int32_t value); /* false: the key is there already (the first value stays) */
int32_t strmap_get(const StrMap *m, Str key);       /* -1 where absent; values must be >= 0 */
void strmap_free(StrMap *m);

/* ---- files ---------------------------------------------------------------------------------------------------------- */

/* A whole file, mapped read-only.  The mapping outlives the descriptor. */
typedef struct {
  const uint8_t *p;
  size_t n;
  char *path;
} FileMap;

bool map_open(FileMap *m, const char *path, Err *err);
void map_close(FileMap *m);
/* Counts what was read of the file as memory of this process no more; reading it again brings it back. */
void map_forget(const FileMap *m);
/* Handlers for the signals that end the program: they remove the temporaries of open writers.  A mapped file that shrinks
 * raises SIGBUS: that one says so and exits with status 1. */
void guard_install(void);

bool file_read_all(const char *path, size_t limit, Buf *out, Err *err); /* "-" is standard input */

/* A bounded reader over memory.  The first error sticks; after it every read gives zeros. */
typedef struct {
  const uint8_t *p;
  size_t n, at;
  const char *name; /* the file, for messages */
  Err *err;
} Reader;

bool rd_ok(const Reader *r);
uint8_t rd_u8(Reader *r);
uint16_t rd_u16(Reader *r);
uint32_t rd_u32(Reader *r);
uint64_t rd_u64(Reader *r);
float rd_f32(Reader *r);
double rd_f64(Reader *r);
const uint8_t *rd_bytes(Reader *r, uint64_t n); /* NULL when fewer are left */
/* file:offset: what, expected, found.  `what` already says expected and found. */
bool rd_fail(Reader *r, size_t offset, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A file writer.  Bytes go to a temporary beside the target; writer_commit flushes, syncs and renames, and only then
 * does the target change.  The first error sticks and is reported by writer_commit. */
typedef struct Writer Writer;

Writer *writer_open(const char *path, Err *err);
void writer_put(Writer *w, const void *bytes, size_t n);
void writer_align(Writer *w, size_t alignment); /* pads with zeros */
uint64_t writer_tell(const Writer *w);
void writer_rewrite(Writer *w, uint64_t at, const void *bytes, size_t n); /* over bytes already put */
bool writer_commit(Writer *w, Err *err);                                 /* frees w, whatever happens */
void writer_abort(Writer *w);                                            /* frees w, removes the temporary */

/* The user's cache directory for burin: $BURIN_CACHE, else $XDG_CACHE_HOME/burin, else ~/.cache/burin.  Made if absent. */
bool cache_dir(char *out, size_t n, Err *err);

/* ---- digests ---------------------------------------------------------------------------------------------------------- */
bool sha256(const void *bytes, size_t n, uint8_t out[32], Err *err);
uint64_t checksum64(const void *bytes, size_t n); /* XXH3, 64 bits */
void hex_of(const uint8_t *bytes, size_t n, char *out /* 2 n + 1 */);

/* ---- instruction sets ------------------------------------------------------------------------------------------------- */
typedef enum { ISA_SCALAR, ISA_AVX2, ISA_AVXVNNI, ISA_AVX512, ISA_AMX, ISA_NEON, ISA_COUNT } Isa; /* of one kind of CPU, the faster the later */

bool isa_has(Isa isa);          /* whether this CPU and this build have it */
Isa isa_best(void);             /* the fastest that they have */
const char *isa_name(Isa isa);  /* scalar, avx2, avxvnni, avx512, amx, neon */
bool isa_parse(const char *name, Isa *out, Err *err); /* also fails where this CPU lacks it */

/* ---- threads ----------------------------------------------------------------------------------------------------------
 * A pool runs jobs on its threads, of which the caller is one.  A job is a row of phases; a phase is cut into pieces, and all
 * pieces of one are done before the next begins.  Each thread takes pieces from its own part of them, then from the parts of
 * threads that are behind.  Nobody waits for a thread that holds no piece: one that the system has taken off its CPU costs
 * the piece it holds, not the phase.
 */
typedef struct Pool Pool;
enum { POOL_THREADS = 256, POOL_PIECES = 4095 /* most of one phase */ };

typedef struct {
  int phases;
  int (*pieces)(void *arg, int phase); /* how many; 0: the phase is left out.  Called once, when all before it is done */
  void (*run)(void *arg, int phase, int piece, int pieces, int thread); /* thread: whose scratch to use */
} PoolJob;

Pool *pool_new(int threads, Err *err);
void pool_free(Pool *p);
int pool_threads(const Pool *p);
void pool_job(Pool *p, const PoolJob *job, void *arg);
/* A job of one phase with a piece for each thread. */
typedef void PoolFn(void *arg, int piece, int pieces);
void pool_run(Pool *p, PoolFn *fn, void *arg);

/* CPUs by their numbers. */
typedef struct {
  int n, cpu[POOL_THREADS];
} CpuList;
CpuList cpu_list(void);                                      /* on which this process may run */
CpuList cpu_cores(const CpuList *all, const char *root);     /* of them the first of each core; root: what stands before /sys ("") */
int cpu_quota(const char *root); /* whole CPUs that control groups grant this process, by root/proc and root/sys; 0: no limit */
int cpu_count(void);             /* CPUs that this process may run on, or as many as it is granted, if fewer */
int cpu_core_count(void);        /* the same of cores */

/* The part of 0..n that falls to one thread, cut at multiples of `unit`. */
typedef struct {
  int from, to;
} Span;
Span span_of(int n, int unit, int thread, int threads);

/* ---- time and progress -------------------------------------------------------------------------------------------------- */
double now_seconds(void);

/* A progress bar on standard error, on a terminal only, for work longer than a second. */
typedef struct {
  const char *what;
  double start, shown;
  bool drawn;
} Progress;

void progress_start(Progress *p, const char *what);
void progress_to(Progress *p, double fraction);
void progress_end(Progress *p);

/* ---- random numbers: PCG32 (XSH-RR 64/32; O'Neill 2014), the only generator in the program -------------------------- */
typedef struct {
  uint64_t state, inc;
} Pcg;

Pcg pcg_seed(uint64_t seed, uint64_t stream);
uint32_t pcg_next(Pcg *p);

/* ---- a vocabulary as plain data: the model reads it, the chip keeps it, text uses it ------------------------------------- */
typedef enum { VOCAB_NONE, VOCAB_BYTE_BPE, VOCAB_SPM } VocabKind;
typedef enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE } PieceType;

typedef struct {
  VocabKind kind;
  Str pre;                  /* pre-tokeniser of byte-level BPE: "llama-bpe", "smollm", "gpt-2", "qwen2" */
  int n;                    /* pieces */
  Str *piece;               /* [n] as the file spells them */
  float *score;             /* [n] SentencePiece scores; NULL for byte-level BPE */
  uint8_t *type;            /* [n] PieceType */
  int merges;               /* byte-level BPE: merges in order of rank */
  uint32_t (*merge)[3];     /* [merges] left, right, result: piece ids */
  int bos, eos, eot, unk;   /* -1 where the model has none */
  bool add_bos, add_eos, add_space_prefix;
  Str chat_template;        /* Jinja, as the file has it; empty where absent */
} Vocab;

#endif
