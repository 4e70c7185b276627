/* base/cpus: how many threads make sense: the CPUs that this process may run on, one of each core, and what its control groups grant. */
#define _GNU_SOURCE /* sched affinity */
#include "base/base.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first line of a file; false where there is none. */
static bool first_line(const char *path, char *out, int n) {
  FILE *f = fopen(path, "re");
  bool ok = f && fgets(out, n, f);
  if (f) fclose(f);
  return ok;
}

CpuList cpu_list(void) {
  CpuList all = {0};
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE && all.n < POOL_THREADS; cpu++)
      if (CPU_ISSET(cpu, &set)) all.cpu[all.n++] = cpu;
  if (all.n) return all;
  long n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than a cpu_set_t has */
  for (int cpu = 0; cpu < (n < 1 ? 1 : n) && all.n < POOL_THREADS; cpu++) all.cpu[all.n++] = cpu;
  return all;
}

/* Whether a list such as "0-3,8" has one of the first `n` CPUs. */
static bool has_one(const char *list, const int *cpu, int n) {
  for (char *end; *list; list = *end == ',' ? end + 1 : "") {
    long from = strtol(list, &end, 10), to = from;
    if (end == list) return false;
    if (*end == '-') to = strtol(end + 1, &end, 10);
    for (int i = 0; i < n; i++)
      if (cpu[i] >= from && cpu[i] <= to) return true;
  }
  return false;
}

CpuList cpu_cores(const CpuList *all, const char *root) {
  CpuList cores = {0};
  char path[256], siblings[256];
  for (int i = 0; i < all->n; i++) {
    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", root, all->cpu[i]);
    if (first_line(path, siblings, sizeof siblings) && has_one(siblings, cores.cpu, cores.n)) continue;
    cores.cpu[cores.n++] = all->cpu[i];
  }
  return cores;
}

/* Whole CPUs of a quota of microseconds a period, at least one; 0: none. */
static int whole_cpus(const char *quota, const char *period) {
  double q = strtod(quota, NULL), p = strtod(period, NULL);
  if (q <= 0 || p <= 0) return 0;
  return q <= p ? 1 : q >= p * POOL_THREADS ? 0 : (int)((q + p - 1) / p);
}

/* What the group at `path` grants: cgroup's second version, or the first. */
static int group_quota(const char *root, const char *path, bool second) {
  char file[1400], quota[64], period[64];
  snprintf(file, sizeof file, second ? "%s/sys/fs/cgroup%s/cpu.max" : "%s/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", root, path);
  if (!first_line(file, quota, sizeof quota)) return 0;
  if (second) return whole_cpus(quota, quota + strcspn(quota, " "));
  snprintf(file, sizeof file, "%s/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", root, path);
  return first_line(file, period, sizeof period) ? whole_cpus(quota, period) : 0;
}

static bool has_word(const char *list, const char *word) {
  size_t n = strlen(word);
  for (; *list; list += strcspn(list, ","), list += *list == ',')
    if (strcspn(list, ",") == n && memcmp(list, word, n) == 0) return true;
  return false;
}

/* A line of /proc/self/cgroup, "number:controllers:path": the least that the group and those above it grant. */
static int line_quota(const char *root, char *line) {
  char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!path) return 0;
  *controllers++ = *path++ = 0;
  path[strcspn(path, "\n")] = 0;
  bool second = *controllers == 0;
  if (!second && !has_word(controllers, "cpu")) return 0;
  int least = 0;
  for (char *end = path + strlen(path);; *end = 0) {
    int q = group_quota(root, strcmp(path, "/") == 0 ? "" : path, second);
    if (q && (!least || q < least)) least = q;
    if (!*path || !(end = strrchr(path, '/'))) return least;
  }
}

int cpu_quota(const char *root) {
  char line[1024];
  int least = 0;
  snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
  FILE *f = fopen(line, "re");
  while (f && fgets(line, sizeof line, f)) {
    int q = line_quota(root, line);
    if (q && (!least || q < least)) least = q;
  }
  if (f) fclose(f);
  return least;
}

static int granted(int n) {
  int quota = cpu_quota("");
  return quota && quota < n ? quota : n;
}

int cpu_count(void) { return granted(cpu_list().n); }

int cpu_core_count(void) {
  CpuList all = cpu_list();
  return granted(cpu_cores(&all, "").n);
}
