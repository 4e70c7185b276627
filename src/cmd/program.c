/* cmd/program: other programs, run and waited for. */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

bool run_program(const char *dir, char *const argv[], const char *out_name, const char *needed, Err *err) {
  char out[4200];
  snprintf(out, sizeof out, "%s/%s", dir, out_name);
  pid_t child = fork();
  if (child < 0) return err_set(err, "%s: %s", argv[0], strerror(errno));
  if (child == 0) {
    /* Verilator keeps wide values on the stack */
    struct rlimit stack = {RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_STACK, &stack) != 0 && getrlimit(RLIMIT_STACK, &stack) == 0) {
      stack.rlim_cur = stack.rlim_max;
      setrlimit(RLIMIT_STACK, &stack);
    }
    if (!freopen(out, "w", stdout) || dup2(1, 2) < 0 || chdir(dir) != 0) _exit(126);
    execvp(argv[0], argv);
    _exit(127);
  }
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return err_set(err, "%s: %s", argv[0], strerror(errno));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return err_set(err, "%s: not found; it is needed %s", argv[0], needed);
  Buf log = {0};
  Err ignored = {0};
  if (!file_read_all(out, (size_t)64 << 20, &log, &ignored)) return err_set(err, "%s failed in %s", argv[0], dir);
  size_t from = log.n > 500 ? log.n - 500 : 0;
  err_set(err, "%s failed in %s; its output ends:\n%.*s", argv[0], dir, (int)(log.n - from), log.s + from);
  buf_free(&log);
  return false;
}
