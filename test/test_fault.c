/* test/test_fault: the k-th allocation or write fails, from a model file to a token.  Every failure is an error that says
 * so; nothing half-written stays; nothing leaks (the sanitized run looks).
 */
#include "unit.h"

#include "cast/cast.h"
#include "engine/engine.h"
#include "mask/mask.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char model_path[] = "models/tiny.gguf";

static bool cast_to(const char *path, bool fast, const char *bits, Err *e) {
  Model m;
  CastOptions o = {.fast = fast, .seed = 1, .threads = 2, .isa = isa_best()};
  CastReport report;
  if (!cast_parse_bits(&o, bits, e) || !model_open(&m, model_path, e)) return false;
  bool ok = model_hash(&m, e) && cast_model(&m, path, &o, &report, e);
  model_close(&m);
  return ok;
}

static bool write_tokens(const char *path, int out[8], Err *e) {
  Chip c;
  if (!chip_open(&c, path, e)) return false;
  EngineOptions options = {isa_best(), 2};
  SamplerSettings set;
  Engine *engine = engine_new(&c, &options, e);
  Tokenizer *t = engine ? tokenizer_new(&c.vocab, e) : NULL;
  Session *s = t ? session_new(engine, 64, e) : NULL;
  Tokens ids = {0};
  bool ok = s && sampler_settings(&set, 1, 0, 1, 0, 1, 0, 0, e) && session_sampler(s, &set, 3, e) &&
            tokenizer_encode(t, STR("Once upon a time"), false, true, &ids, e) && session_extend(s, ids.id, (int)ids.n, 5, NULL, e);
  for (int i = 0; ok && i < 8; i++) {
    out[i] = session_sample(s, NULL);
    ok = session_extend(s, &out[i], 1, 0, NULL, e);
  }
  tokens_free(&ids);
  session_free(s);
  tokenizer_free(t);
  engine_free(engine);
  chip_close(&c);
  return ok;
}

static const char small_shape[] = "layers=2,dim=100,ffn=128,heads=4,kv_heads=2,head_dim=16,vocab=300,context=100";

/* Random weights as a file, where there are no bits to cast to. */
static bool write_chip(const char *path, bool fast, const char *bits, Err *e) {
  ChipShape shape;
  uint8_t hash[32];
  return bits ? cast_to(path, fast, bits, e) : chip_shape_of(small_shape, &shape, e) && chip_synthetic_write(path, &shape, 4.5, 9, hash, e);
}

static void check_cast(bool fast, const char *bits, long first) {
  char dir[] = "/tmp/burin-fault-XXXXXX", path[64], command[128];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/x.chip", dir);
  bool done = false;
  for (long k = first; !done && k < 100000; k += 1 + k / 12) {
    Err e = {0};
    fault_arm(k);
    done = write_chip(path, fast, bits, &e);
    fault_arm(0);
    if (done == e.set) fail_msg("k = %ld: done %d, error '%s'", k, done, e.text);
    assert_int_equal(access(path, F_OK) == 0, done);
    snprintf(command, sizeof command, "test $(ls -A %s | wc -l) = %d", dir, done);
    assert_int_equal(system(command), 0);
  }
  assert_true(done);
  unlink(path);
  rmdir(dir);
}

static void fast_casts_fail_cleanly(void **s) {
  (void)s;
  check_cast(true, "all=4", 1);
}

static void calibrated_casts_fail_cleanly(void **s) {
  (void)s;
  check_cast(false, "4.25", 200);
}

static void synthetic_chips_fail_cleanly(void **s) {
  (void)s;
  check_cast(true, NULL, 1);
}

/* In memory and as a file. */
static void synthetic_chips_are_equal(void **s) {
  (void)s;
  char path[] = "/tmp/burin-fault-XXXXXX";
  int fd = mkstemp(path);
  Err e = {0};
  ChipShape shape;
  Chip a, b;
  assert_true(fd >= 0);
  close(fd);
  assert_true(write_chip(path, true, NULL, &e) && chip_open(&b, path, &e) && chip_verify_all(&b, &e));
  assert_true(chip_shape_of(small_shape, &shape, &e) && chip_synthetic(&a, &shape, 4.5, 9, &e));
  for (int i = 0; i < chip_matrices(&a); i++) {
    const Matrix *x = chip_matrix(&a, i, NULL), *y = chip_matrix(&b, i, NULL);
    assert_true(x->rows == y->rows && x->cols == y->cols && x->bits == y->bits && x->exponent == y->exponent && x->levels == y->levels);
    assert_memory_equal(x->level, y->level, sizeof x->level);
    assert_memory_equal(x->row_scale, y->row_scale, (size_t)x->rows * sizeof *x->row_scale);
    assert_memory_equal(x->weights, y->weights, matrix_weight_bytes(x));
  }
  assert_int_equal(b.vocab.kind, VOCAB_NONE);
  chip_close(&a);
  chip_close(&b);
  unlink(path);
}

static bool replace(const char *path, Str provenance, Err *e) {
  Chip c;
  if (!chip_open(&c, path, e)) return false;
  bool ok = chip_replace_provenance(&c, provenance, e);
  chip_close(&c);
  return ok;
}

/* A chip gets a new provenance or stays what it was, byte by byte; its hash stays. */
static void provenance_is_replaced_or_kept(void **s) {
  (void)s;
  char path[] = "/tmp/burin-fault-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  Err e = {0};
  Buf before = {0}, after = {0};
  Chip c;
  assert_true(cast_to(path, true, "all=4", &e) && file_read_all(path, 1 << 24, &before, &e));
  bool done = false;
  for (long k = 1; !done && k < 1000; k++) {
    Err f = {0};
    fault_arm(k);
    done = replace(path, STR("{\"quality\": []}"), &f);
    fault_arm(0);
    if (done == f.set) fail_msg("k = %ld: done %d, error '%s'", k, done, f.text);
    after.n = 0;
    assert_true(file_read_all(path, 1 << 24, &after, &e));
    if (!done) assert_true(after.n == before.n && memcmp(after.s, before.s, after.n) == 0);
  }
  assert_true(done && chip_open(&c, path, &e) && chip_verify_all(&c, &e));
  assert_true(str_eq(c.provenance, STR("{\"quality\": []}")) && memcmp(c.hash, before.s + 32, 32) == 0);
  chip_close(&c);
  buf_free(&before);
  buf_free(&after);
  unlink(path);
}

static void runs_fail_cleanly(void **s) {
  (void)s;
  char path[] = "/tmp/burin-fault-XXXXXX";
  int fd = mkstemp(path), sound[8], out[8];
  assert_true(fd >= 0);
  close(fd);
  Err e = {0};
  assert_true(cast_to(path, true, "all=4", &e) && write_tokens(path, sound, &e));
  bool done = false;
  for (long k = 1; !done && k < 100000; k++) {
    Err f = {0};
    fault_arm(k);
    done = write_tokens(path, out, &f);
    fault_arm(0);
    if (done == f.set) fail_msg("k = %ld: done %d, error '%s'", k, done, f.text);
  }
  assert_true(done);
  assert_memory_equal(sound, out, sizeof out);
  unlink(path);
}

/* Three tokens in a session, to a file and back. */
static bool save_and_load(const Chip *c, const char *path, Err *e) {
  static const int ids[] = {3, 1, 4};
  uint64_t bytes;
  Engine *engine = engine_new(c, &(EngineOptions){ISA_SCALAR, 1}, e);
  Session *s = engine ? session_new(engine, 0, e) : NULL, *back = NULL;
  bool ok = s && session_extend(s, ids, 3, 0, NULL, e) && session_save(s, path, &bytes, e) && (back = session_load(engine, path, 0, &bytes, e));
  if (ok) assert_int_equal(session_position(back), 3);
  session_free(back);
  session_free(s);
  engine_free(engine);
  return ok;
}

/* The file stays as it was until it is a whole other one. */
static void sessions_are_saved_or_not(void **state) {
  (void)state;
  Err e = {0};
  ChipShape shape;
  Chip c;
  char path[] = "/tmp/burin-fault-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  assert_true(chip_shape_of(small_shape, &shape, &e) && chip_synthetic(&c, &shape, 4.5, 9, &e));
  bool done = false, whole = false;
  for (long k = 1; !done && k < 1000; k++) {
    Err f = {0};
    Buf b = {0};
    fault_arm(k);
    done = save_and_load(&c, path, &f);
    fault_arm(0);
    if (done == f.set) fail_msg("k = %ld: done %d, error '%s'", k, done, f.text);
    assert_true(file_read_all(path, 1 << 24, &b, &e));
    assert_true(b.n == 0 ? !whole && !done : b.n > 100 && memcmp(b.s, "BURINSES", 8) == 0);
    whole |= b.n > 0;
    buf_free(&b);
  }
  assert_true(done && whole);
  chip_close(&c);
  unlink(path);
}

static bool draw_and_read(const char *chip, const char *layout, Err *e) {
  Chip c;
  RtlKnobs k;
  RtlDesign d;
  MaskFloor f;
  MaskReport r;
  MaskKnobs bank = {.rows = 64, .columns = 64, .first = 3, .banks = 3};
  if (!chip_open(&c, chip, e)) return false;
  MaskProcess *p = mask_process_open("sky130", e);
  MaskSites *s = NULL;
  bool ok = p && rtl_knobs("sim", &c.shape, &k, e) && rtl_design(&d, &c.shape, &k, e) && mask_floor(&f, p, &d, &c, &bank, e) && mask_write(&f, layout, MASK_ALL, 2, e) &&
            (s = mask_sites_read(layout, NULL, e)) && mask_check(s, &c, &r, e);
  if (ok) assert_true(mask_report_clean(&r));
  mask_sites_free(s);
  mask_process_free(p);
  chip_close(&c);
  return ok;
}

/* A layout is whole or not there. */
static void masks_fail_cleanly(void **s) {
  (void)s;
  char dir[] = "/tmp/burin-fault-XXXXXX", chip[64], layout[64], command[128];
  assert_non_null(mkdtemp(dir));
  Err e = {0};
  snprintf(chip, sizeof chip, "%s/x.chip", dir);
  assert_true(cast_to(chip, true, "all=4", &e));
  for (int gds = 0; gds < 2; gds++) {
    bool done = false;
    snprintf(layout, sizeof layout, "%s/x.%s", dir, gds ? "gds" : "oas");
    for (long k = 1; !done && k < 100000; k++) {
      Err f = {0};
      unlink(layout);
      fault_arm(k);
      done = draw_and_read(chip, layout, &f);
      fault_arm(0);
      if (done == f.set) fail_msg("k = %ld: done %d, error '%s'", k, done, f.text);
      snprintf(command, sizeof command, "test $(ls -A %s | grep -c tmp) = 0", dir);
      assert_int_equal(system(command), 0);
    }
    assert_true(done);
    unlink(layout);
  }
  unlink(chip);
  rmdir(dir);
}

/* Batches, chunks and lone runs give the same logits. */
static void batches_equal_lone_runs(void **s) {
  (void)s;
  enum { N = 5, LENGTH = 40 };
  char path[] = "/tmp/burin-batch-XXXXXX";
  close(mkstemp(path));
  Err e = {0};
  Chip c;
  EngineOptions options = {isa_best(), 2};
  assert_true(cast_to(path, true, "all=4", &e) && chip_open(&c, path, &e));
  Engine *engine = engine_new(&c, &options, &e);
  size_t vocab = (size_t)c.shape.vocab;
  Session *lone[N], *many[N];
  int token[N][LENGTH];
  Pcg p = pcg_seed(8, 0);
  for (int i = 0; i < N; i++) {
    lone[i] = session_new(engine, LENGTH, &e);
    many[i] = session_new(engine, LENGTH, &e);
    for (int k = 0; k < LENGTH; k++) token[i][k] = random_in(&p, 0, (int)vocab - 1);
    assert_true(session_extend(many[i], token[i], i + 1, 2, NULL, &e)); /* sessions of different depth */
    assert_true(session_extend(lone[i], token[i], LENGTH - 5, 7 * i + 1, NULL, &e));
  }
  for (int k = 0; k < LENGTH; k++) {
    Session *live[N];
    int next[N], n = 0;
    for (int i = 0; i < N; i++)
      if (session_position(many[i]) < LENGTH - 5) live[n] = many[i], next[n++] = token[i][session_position(many[i])];
    if (n) assert_true(sessions_step(live, next, n, &e));
  }
  for (int i = 0; i < N; i++) assert_memory_equal(session_logits(lone[i]), session_logits(many[i]), vocab * 4);
  session_truncate(many[0], 3); /* forgetting and going on is as if it had never been */
  assert_true(session_extend(many[0], token[0] + 3, LENGTH - 8, 4, NULL, &e));
  assert_memory_equal(session_logits(lone[0]), session_logits(many[0]), vocab * 4);
  assert_false(session_extend(many[0], token[0], LENGTH, 0, NULL, &e)); /* too long: said before work */
  assert_non_null(strstr(e.text, "context exceeded"));
  assert_int_equal(session_position(many[0]), LENGTH - 5);
  for (int i = 0; i < N; i++) session_free(lone[i]), session_free(many[i]);
  engine_free(engine);
  chip_close(&c);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fast_casts_fail_cleanly), cmocka_unit_test(calibrated_casts_fail_cleanly), cmocka_unit_test(synthetic_chips_fail_cleanly), cmocka_unit_test(synthetic_chips_are_equal),
                                     cmocka_unit_test(provenance_is_replaced_or_kept), cmocka_unit_test(runs_fail_cleanly), cmocka_unit_test(sessions_are_saved_or_not), cmocka_unit_test(masks_fail_cleanly), cmocka_unit_test(batches_equal_lone_runs)};
  return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
