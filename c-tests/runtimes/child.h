/* child.h: runs what ends the process (System.exit, Environment.Exit) in a child, and tells how it ended. Fork before any
 * runtime starts. */
#ifndef SELV_C_TESTS_CHILD_H
#define SELV_C_TESTS_CHILD_H

#include "../check.h"

#include <signal.h>
#include <sys/wait.h>

typedef struct child_end {
  int exited;       /* by itself, with `code`; else by `signal` */
  int code, signal;
  int hung;         /* it had to be killed after the patience of the tests */
  uint64_t took_ns;
} child_end;

static inline child_end child_run(void (*body)(void)) {
  child_end end;
  uint64_t begun = check_now_ns(), deadline = begun + check_patience_s() * UINT64_C(1000000000);
  int status = 0;
  pid_t pid, reaped;
  memset(&end, 0, sizeof end);
  fflush(NULL);
  pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    body();
    fprintf(stderr, "the child came back from what should have ended it\n");
    _exit(99);
  }
  while ((reaped = waitpid(pid, &status, WNOHANG)) == 0 && check_now_ns() < deadline) check_sleep_ms(5);
  if (reaped == 0) {
    end.hung = 1;
    kill(pid, SIGKILL);
    reaped = waitpid(pid, &status, 0);
  }
  CHECK(reaped == pid);
  end.took_ns = check_now_ns() - begun;
  end.exited = WIFEXITED(status);
  end.code = end.exited ? WEXITSTATUS(status) : 0;
  end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  return end;
}

/* It ended by itself, with this code, and in less than `within_ns`. */
static inline void child_ended(const char *file, int line, child_end end, int code, uint64_t within_ns) {
  if (end.hung) check_fail(file, line, "the child hung and was killed");
  if (!end.exited) check_fail(file, line, "the child died of signal %d", end.signal);
  if (end.code != code) check_fail(file, line, "the child exited with %d, expected %d", end.code, code);
  if (end.took_ns > within_ns)
    check_fail(file, line, "the child took %llu ms, expected at most %llu", (unsigned long long)(end.took_ns / CHECK_MS),
               (unsigned long long)(within_ns / CHECK_MS));
}
#define CHILD_ENDED(end, code, within_ns) child_ended(__FILE__, __LINE__, (end), (code), (within_ns))

#endif
