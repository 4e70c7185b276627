/* test/test_base: errors, memory, readers, writers, threads, random numbers. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void first_error_wins(void **s) {
  (void)s;
  Err e = {0};
  assert_false(err_set(&e, "first %d", 1));
  assert_false(err_set(&e, "second"));
  assert_string_equal(e.text, "first 1");
}

static void arena_gives_aligned_zeros(void **s) {
  (void)s;
  Arena a = {0};
  Err e = {0};
  for (int i = 1; i < 2000; i += 37) {
    char *p = arena_alloc(&a, (size_t)i, 13, &e);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (int k = 0; k < i * 13; k++) assert_int_equal(p[k], 0);
    memset(p, 255, (size_t)i * 13);
  }
  assert_null(arena_alloc(&a, SIZE_MAX / 2, 3, &e));
  assert_true(e.set);
  arena_free(&a);
}

static void buffers_and_arenas_survive_failed_allocations(void **s) {
  (void)s;
  for (long k = 1; k < 20; k++) {
    Err e = {0};
    Buf b = {0};
    Arena a = {0};
    fault_arm(k);
    bool ok = true;
    size_t kept = 0;
    for (int i = 0; ok && i < 3000; i++) {
      ok = buf_printf(&b, &e, "%d,", i) && arena_alloc(&a, 100, 1, &e);
      if (ok) kept = b.n;
    }
    fault_arm(0);
    assert_int_equal(ok, !e.set);
    assert_true(b.n >= kept);
    if (kept) assert_int_equal(b.s[0], '0');
    buf_free(&b);
    arena_free(&a);
  }
}

static void string_map_finds_what_was_put(void **s) {
  (void)s;
  StrMap m;
  Err e = {0};
  static char key[3000][8];
  assert_true(strmap_init(&m, 3000, &e));
  for (int i = 0; i < 3000; i++) {
    snprintf(key[i], 8, "k%d", i * 7);
    assert_true(strmap_put(&m, str_from(key[i]), i));
    assert_false(strmap_put(&m, str_from(key[i]), 9));
  }
  for (int i = 0; i < 3000; i++) assert_int_equal(strmap_get(&m, str_from(key[i])), i);
  assert_int_equal(strmap_get(&m, STR("k1")), -1);
  assert_true(strmap_put(&m, STR(""), 5));
  assert_int_equal(strmap_get(&m, STR("")), 5);
  strmap_free(&m);
}

static void reader_stops_at_the_end(void **s) {
  (void)s;
  static const uint8_t bytes[7] = {1, 2, 3, 4, 5, 6, 7};
  Err e = {0};
  Reader r = {bytes, 7, 0, "file", &e};
  assert_int_equal(rd_u32(&r), 0x04030201);
  assert_int_equal(rd_u16(&r), 0x0605);
  assert_int_equal(rd_u32(&r), 0);
  assert_string_equal(e.text, "file:6: file too short: expected 4 more bytes, found 1");
  assert_int_equal(rd_u8(&r), 0); /* the error sticks */
  Err e2 = {0};
  Reader r2 = {bytes, 7, 3, "file", &e2};
  assert_null(rd_bytes(&r2, UINT64_MAX));
}

static int files_in(const char *dir) {
  char command[300];
  snprintf(command, sizeof command, "ls -A %s | wc -l", dir);
  FILE *f = popen(command, "r");
  int n = -1;
  assert_int_equal(fscanf(f, "%d", &n), 1);
  pclose(f);
  return n;
}

/* For every k: the k-th write fails, the old file stays whole, no temporary is left. */
static void writer_is_all_or_nothing(void **s) {
  (void)s;
  char dir[] = "/tmp/burin-test-XXXXXX", path[64];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/out", dir);
  FILE *f = fopen(path, "w");
  fputs("old", f);
  fclose(f);
  bool done = false;
  for (long k = 1; !done && k < 100; k++) {
    Err e = {0};
    fault_arm(k);
    Writer *w = writer_open(path, &e);
    if (w) {
      for (int i = 0; i < 50000; i++) writer_put(w, "0123456789", 10);
      writer_rewrite(w, 3, "xyz", 3);
      done = writer_commit(w, &e);
    }
    fault_arm(0);
    assert_int_equal(done, !e.set);
    assert_int_equal(files_in(dir), 1);
    char head[16] = {0};
    f = fopen(path, "r");
    assert_true(fread(head, 1, 10, f) >= 3);
    fclose(f);
    assert_string_equal(head, done ? "012xyz6789" : "old");
  }
  assert_true(done);
  unlink(path);
  rmdir(dir);
}

static void count_up(void *arg, int t, int threads) {
  int *count = arg;
  for (int i = 0; i < threads; i++) __atomic_add_fetch(&count[i], t + 1, __ATOMIC_SEQ_CST);
}

static void nap(long us) { nanosleep(&(struct timespec){0, us * 1000}, NULL); }

/* Phase i has i % 7 pieces; each must find all of the phases before it done and itself not begun. */
typedef struct {
  int done[40][8], inside[8], bad;
} Ledger;

static int ledger_pieces(void *arg, int phase) {
  (void)arg;
  return phase % 7;
}

static void ledger_run(void *arg, int phase, int piece, int pieces, int thread) {
  Ledger *l = arg;
  int bad = pieces != phase % 7 || __atomic_add_fetch(&l->inside[thread], 1, __ATOMIC_SEQ_CST) != 1;
  for (int i = 0; i < phase; i++)
    for (int k = 0; k < i % 7; k++) bad += l->done[i][k] != 1;
  l->done[phase][piece]++;
  if (phase % 5 == 0 && piece == 0) nap(200); /* others must not run ahead */
  __atomic_sub_fetch(&l->inside[thread], 1, __ATOMIC_SEQ_CST);
  if (bad) __atomic_store_n(&l->bad, 1, __ATOMIC_SEQ_CST);
}

static void pool_runs_every_piece_once_and_in_order(void **s) {
  (void)s;
  static const PoolJob job = {40, ledger_pieces, ledger_run};
  Err e = {0};
  for (int n = 1; n <= 5; n++) {
    Pool *p = pool_new(n, &e);
    assert_non_null(p);
    int count[8] = {0};
    for (int i = 0; i < 200; i++) pool_run(p, count_up, count);
    for (int i = 0; i < n; i++) assert_int_equal(count[i], 200 * n * (n + 1) / 2);
    for (int round = 0; round < 50; round++) {
      Ledger l = {0};
      pool_job(p, &job, &l);
      assert_int_equal(l.bad, 0);
      for (int i = 0; i < 40; i++)
        for (int k = 0; k < 8; k++) assert_int_equal(l.done[i][k], k < i % 7);
      if (round % 10 == 9) nap(2000); /* workers go to sleep and must wake */
    }
    pool_free(p);
  }
  assert_null(pool_new(0, &e));
}

/* Phases of a piece or two, which a thread can end before the one that set them up has told the others. */
static int tiny_pieces(void *arg, int phase) {
  (void)arg;
  return 1 + phase % 2;
}

static void tiny_run(void *arg, int phase, int piece, int pieces, int thread) {
  (void)phase, (void)piece, (void)pieces, (void)thread;
  __atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
}

static void pool_ends_every_job(void **s) {
  (void)s;
  static const PoolJob job = {3, tiny_pieces, tiny_run};
  Err e = {0};
  for (int n = 2; n <= 8; n += 3) { /* more threads than CPUs: the system stops them anywhere */
    Pool *p = pool_new(n, &e);
    int count = 0;
    assert_non_null(p);
    for (int round = 0; round < 20000; round++) pool_job(p, &job, &count);
    assert_int_equal(count, 20000 * 4);
    pool_free(p);
  }
}

static void spans_cover_without_overlap(void **s) {
  (void)s;
  for (int n = 0; n < 200; n += 7)
    for (int unit = 1; unit < 40; unit += 5)
      for (int threads = 1; threads < 6; threads++) {
        int at = 0;
        for (int t = 0; t < threads; t++) {
          Span x = span_of(n, unit, t, threads);
          assert_int_equal(x.from, at);
          assert_true(x.to == n || x.to % unit == 0);
          at = x.to;
        }
        assert_int_equal(at, n);
      }
}

/* The published first outputs of PCG32 for seed 42, stream 54. */
static void pcg_is_pcg(void **s) {
  (void)s;
  static const uint32_t expected[] = {0xa15c02b7, 0x7b47f409, 0xba1d3330, 0x83d2f293, 0xbfa4784b, 0xcbed606e};
  Pcg p = pcg_seed(42, 54);
  for (int i = 0; i < 6; i++) assert_int_equal(pcg_next(&p), expected[i]);
}

static void sha256_is_sha256(void **s) {
  (void)s;
  uint8_t d[32];
  char hex[65];
  Err e = {0};
  assert_true(sha256("abc", 3, d, &e));
  hex_of(d, 32, hex);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void put_line(const char *root, const char *path, const char *line) {
  char name[512];
  snprintf(name, sizeof name, "%s/%s", root, path);
  for (char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(name, 0777);
    *slash = '/';
  }
  FILE *f = fopen(name, "w");
  assert_non_null(f);
  assert_true(fputs(line, f) >= 0 && fclose(f) == 0);
}

static void remove_tree(const char *root) {
  char command[600];
  snprintf(command, sizeof command, "rm -r '%s'", root);
  assert_int_equal(system(command), 0);
}

/* One CPU a core of those at hand, however siblings are numbered; where nothing is known every CPU counts. */
static void cores_are_counted_once(void **s) {
  (void)s;
  char root[] = "/tmp/burin-cpus-XXXXXX", path[128], line[64];
  assert_non_null(mkdtemp(root));
  CpuList all = {8, {0, 1, 2, 3, 4, 5, 6, 7}};
  assert_int_equal(cpu_cores(&all, root).n, 8);
  for (int i = 0; i < 8; i++) { /* as servers number them: i and i + 4 */
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
    snprintf(line, sizeof line, "%d,%d\n", i % 4, i % 4 + 4);
    put_line(root, path, line);
  }
  CpuList cores = cpu_cores(&all, root), some = {3, {1, 4, 5}};
  assert_int_equal(cores.n, 4);
  for (int i = 0; i < 4; i++) assert_int_equal(cores.cpu[i], i);
  cores = cpu_cores(&some, root);
  assert_true(cores.n == 2 && cores.cpu[0] == 1 && cores.cpu[1] == 4); /* 5 shares the core of 1; 4 stands alone here */
  for (int i = 0; i < 8; i++) { /* as desktops do: pairs, and four cores of one thread */
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
    snprintf(line, sizeof line, i < 4 ? "%d-%d\n" : "%d\n", i < 4 ? i / 2 * 2 : i, i / 2 * 2 + 1);
    put_line(root, path, line);
  }
  cores = cpu_cores(&all, root);
  assert_int_equal(cores.n, 6);
  assert_int_equal(cores.cpu[1], 2);
  remove_tree(root);
}

/* The least of a group and those above it, in both versions of control groups; no number is no limit. */
static void quotas_are_found(void **s) {
  (void)s;
  char root[] = "/tmp/burin-cpus-XXXXXX";
  assert_non_null(mkdtemp(root));
  assert_int_equal(cpu_quota(root), 0);
  put_line(root, "proc/self/cgroup", "0::/a/b\n");
  put_line(root, "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  assert_int_equal(cpu_quota(root), 0);
  put_line(root, "sys/fs/cgroup/a/cpu.max", "250000 100000\n");
  assert_int_equal(cpu_quota(root), 3);
  put_line(root, "sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
  assert_int_equal(cpu_quota(root), 1);
  put_line(root, "sys/fs/cgroup/a/b/cpu.max", "nonsense\n");
  assert_int_equal(cpu_quota(root), 3);
  put_line(root, "proc/self/cgroup", "9:name=systemd:/x\n8:cpuset:/y\n4:cpu,cpuacct:/z\nbroken\n0::/\n");
  assert_int_equal(cpu_quota(root), 0);
  put_line(root, "sys/fs/cgroup/cpu/z/cpu.cfs_quota_us", "-1\n");
  put_line(root, "sys/fs/cgroup/cpu/z/cpu.cfs_period_us", "100000\n");
  assert_int_equal(cpu_quota(root), 0);
  put_line(root, "sys/fs/cgroup/cpu/z/cpu.cfs_quota_us", "400000\n");
  assert_int_equal(cpu_quota(root), 4);
  put_line(root, "sys/fs/cgroup/cpu.max", "200000 100000\n"); /* a container's own root */
  assert_int_equal(cpu_quota(root), 2);
  assert_true(cpu_core_count() >= 1 && cpu_core_count() <= cpu_count() && cpu_count() <= cpu_list().n);
  remove_tree(root);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(first_error_wins), cmocka_unit_test(arena_gives_aligned_zeros),
      cmocka_unit_test(buffers_and_arenas_survive_failed_allocations), cmocka_unit_test(string_map_finds_what_was_put),
      cmocka_unit_test(reader_stops_at_the_end), cmocka_unit_test(writer_is_all_or_nothing), cmocka_unit_test(pool_runs_every_piece_once_and_in_order),
      cmocka_unit_test(pool_ends_every_job),
      cmocka_unit_test(spans_cover_without_overlap), cmocka_unit_test(pcg_is_pcg), cmocka_unit_test(sha256_is_sha256),
      cmocka_unit_test(cores_are_counted_once), cmocka_unit_test(quotas_are_found),
  };
  return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
