/* check.h: the harness of the C tests: checks that say what they saw, waits that cannot hang silently, and a journal for order.
 * Every test is a program of its own; it exits 0 when all its checks held and 1, with file, line and reason, at the first that
 * did not. Valid as C99 and C++17. It knows nothing of hooks or jobs: those probes are in probe.h. */
#ifndef SELV_C_TESTS_CHECK_H
#define SELV_C_TESTS_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <selvedge.h>

#define CHECK_MS UINT64_C(1000000) /* nanoseconds in a millisecond */

/* _exit, not exit: other threads are alive, and a failed test must not depend on how the library takes a process exit. */
#if defined(__GNUC__)
__attribute__((noreturn, format(printf, 3, 4)))
#endif
static inline void check_fail(const char *file, int line, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "%s:%d: ", file, line);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  fflush(stdout);
  va_end(args);
  _exit(1);
}

static inline void check_status_is(const char *file, int line, const char *expression, selv_status seen, selv_status wanted) {
  char detail[512];
  if (seen == wanted) return;
  detail[0] = '\0';
  selv_last_error(detail, sizeof detail);
  check_fail(file, line, "%s gave %s (%d), expected %s; last error: %s", expression, selv_status_name(seen), (int)seen,
             selv_status_name(wanted), detail[0] ? detail : "(none)");
}

static inline void check_u64_is(const char *file, int line, const char *left, const char *right, uint64_t a, uint64_t b) {
  if (a != b)
    check_fail(file, line, "%s is %llu, %s is %llu: expected the same", left, (unsigned long long)a, right,
               (unsigned long long)b);
}

static inline void check_str_is(const char *file, int line, const char *expression, const char *seen, const char *wanted) {
  if (seen == NULL || strcmp(seen, wanted) != 0)
    check_fail(file, line, "%s is\n  \"%s\", expected\n  \"%s\"", expression, seen ? seen : "(null)", wanted);
}

#define CHECK(cond) ((cond) ? (void)0 : check_fail(__FILE__, __LINE__, "CHECK(%s) does not hold", #cond))
#define CHECK_OK(expr) check_status_is(__FILE__, __LINE__, #expr, (expr), SELV_OK)
#define CHECK_STATUS(expr, wanted) check_status_is(__FILE__, __LINE__, #expr, (expr), (wanted))
#define CHECK_EQ_U64(a, b) check_u64_is(__FILE__, __LINE__, #a, #b, (uint64_t)(a), (uint64_t)(b))
#define CHECK_STR(expr, wanted) check_str_is(__FILE__, __LINE__, #expr, (expr), (wanted))

/* The calling thread's detail of its last failed call must mention `part`: a hook's name, an option, what was expected. */
static inline void check_last_error_has(const char *file, int line, const char *part) {
  char detail[512];
  detail[0] = '\0';
  selv_last_error(detail, sizeof detail);
  if (strstr(detail, part) == NULL) check_fail(file, line, "selv_last_error is \"%s\": it does not mention \"%s\"", detail, part);
}
#define CHECK_LAST_ERROR_HAS(part) check_last_error_has(__FILE__, __LINE__, (part))

static inline uint64_t check_env_number(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* Storms take their length from here, so that one variable makes them long for a night or short for a sanitizer. */
static inline uint64_t check_scaled(uint64_t n) { return n * check_env_number("SELV_TEST_SCALE", 1); }

/* How long a wait may take before it is called a hang. Slow machines and sanitizers raise it; no test passes by it. */
static inline uint64_t check_patience_s(void) { return check_env_number("SELV_TEST_PATIENCE", 60); }

static inline uint64_t check_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static inline void check_sleep_ms(uint64_t ms) {
  struct timespec left;
  left.tv_sec = (time_t)(ms / 1000);
  left.tv_nsec = (long)(ms % 1000) * 1000000L;
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

/* For a state of the system that announces itself to nobody (a thread that has ended, a counter of the cache). Where the
 * event has a voice, wait on a tally. */
#define CHECK_EVENTUALLY(cond)                                                                                    \
  do {                                                                                                            \
    uint64_t check_deadline = check_now_ns() + check_patience_s() * UINT64_C(1000000000);                         \
    while (!(cond)) {                                                                                             \
      if (check_now_ns() > check_deadline) check_fail(__FILE__, __LINE__, "never came true: %s", #cond);          \
      check_sleep_ms(1);                                                                                          \
    }                                                                                                             \
  } while (0)

/* A count that one thread raises and another waits for. A gate is a tally that somebody waits to reach 1. */
typedef struct check_tally {
  pthread_mutex_t mutex;
  pthread_cond_t raised;
  uint64_t count;
} check_tally;
#define CHECK_TALLY_INIT { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 }

static inline void check_tally_init(check_tally *t) {
  pthread_mutex_init(&t->mutex, NULL);
  pthread_cond_init(&t->raised, NULL);
  t->count = 0;
}

static inline void check_tally_add(check_tally *t, uint64_t n) {
  pthread_mutex_lock(&t->mutex);
  t->count += n;
  pthread_cond_broadcast(&t->raised);
  pthread_mutex_unlock(&t->mutex);
}

static inline uint64_t check_tally_get(check_tally *t) {
  uint64_t count;
  pthread_mutex_lock(&t->mutex);
  count = t->count;
  pthread_mutex_unlock(&t->mutex);
  return count;
}

static inline void check_tally_wait_at(const char *file, int line, const char *name, check_tally *t, uint64_t wanted) {
  struct timespec deadline;
  int late = 0;
  uint64_t count;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += (time_t)check_patience_s();
  pthread_mutex_lock(&t->mutex);
  while (t->count < wanted && late == 0) late = pthread_cond_timedwait(&t->raised, &t->mutex, &deadline);
  count = t->count;
  pthread_mutex_unlock(&t->mutex);
  if (count < wanted)
    check_fail(file, line, "%s stayed at %llu, waited for %llu", name, (unsigned long long)count, (unsigned long long)wanted);
}
#define CHECK_WAIT(tally, n) check_tally_wait_at(__FILE__, __LINE__, #tally, (tally), (n))

/* What happened, in order, one word each: "A.start B.start job B.exit A.exit". */
typedef struct check_journal {
  pthread_mutex_t mutex;
  char text[4096];
} check_journal;
#define CHECK_JOURNAL_INIT { PTHREAD_MUTEX_INITIALIZER, { 0 } }

static inline void check_note(check_journal *j, const char *subject, const char *verb) {
  size_t used, room;
  int wrote;
  pthread_mutex_lock(&j->mutex);
  used = strlen(j->text);
  room = sizeof j->text - used;
  wrote = snprintf(j->text + used, room, "%s%s%s", used ? " " : "", subject, verb);
  pthread_mutex_unlock(&j->mutex);
  if (wrote < 0 || (size_t)wrote >= room) check_fail(__FILE__, __LINE__, "the journal is full");
}

static inline void check_journal_is(const char *file, int line, check_journal *j, const char *wanted) {
  char seen[sizeof j->text];
  pthread_mutex_lock(&j->mutex);
  memcpy(seen, j->text, sizeof seen);
  pthread_mutex_unlock(&j->mutex);
  check_str_is(file, line, "the journal", seen, wanted);
}
#define CHECK_JOURNAL(journal, wanted) check_journal_is(__FILE__, __LINE__, (journal), (wanted))

static inline void check_journal_clear(check_journal *j) {
  pthread_mutex_lock(&j->mutex);
  j->text[0] = '\0';
  pthread_mutex_unlock(&j->mutex);
}

/* Threads of this process, as the kernel counts them. */
static inline uint64_t check_threads(void) {
  uint64_t threads = 0;
  struct dirent *entry;
  DIR *tasks = opendir("/proc/self/task");
  if (tasks == NULL) check_fail(__FILE__, __LINE__, "cannot open /proc/self/task: %s", strerror(errno));
  while ((entry = readdir(tasks)) != NULL)
    if (entry->d_name[0] != '.') threads++;
  closedir(tasks);
  return threads;
}

/* Those that were there before the test began: its own, and a sanitizer's. Counted once and early, because threads of an earlier
 * part of the test may still be on their way out when a later part begins. */
static uint64_t check_threads_at_first;
__attribute__((constructor)) static void check_count_threads(void) { check_threads_at_first = check_threads(); }

/* The thread sanitizer starts a thread of its own together with the program's first one. */
#if defined(__SANITIZE_THREAD__)
#define CHECK_FOREIGN_THREADS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHECK_FOREIGN_THREADS 1
#endif
#endif
#ifndef CHECK_FOREIGN_THREADS
#define CHECK_FOREIGN_THREADS 0
#endif

/* Joined or ended, the kernel takes a moment to forget a thread. */
#define CHECK_THREADS_LEFT(n) CHECK_EVENTUALLY(check_threads() == check_threads_at_first + CHECK_FOREIGN_THREADS + (n))

/* Notes which thread this is, for check_sleeps on another one. */
static inline void check_is_here(pid_t *tid) { __atomic_store_n(tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE); }

/* Has the noted thread come to sleep in the kernel? Together with a counter that says that it is queued: it has done everything that
 * comes before its sleep. One that has only just lined up may still be looking for a ring, and so be the one who finds it. */
static inline int check_sleeps(const pid_t *tid) {
  pid_t noted = __atomic_load_n(tid, __ATOMIC_ACQUIRE);
  char path[64], line[256], *state;
  size_t got;
  FILE *file;
  if (noted == 0) return 0; /* it has not come so far */
  snprintf(path, sizeof path, "/proc/self/task/%ld/stat", (long)noted);
  file = fopen(path, "r");
  if (file == NULL) return 0; /* it has ended */
  got = fread(line, 1, sizeof line - 1, file);
  fclose(file);
  line[got] = '\0';
  state = strrchr(line, ')'); /* "<tid> (<name>) S ..." */
  return state != NULL && state[1] == ' ' && state[2] == 'S';
}

/* Names the part of the program that is running, so that the captured output tells how far it came. */
#define CHECK_RUN(test)        \
  do {                         \
    printf("%s\n", #test);     \
    fflush(stdout);            \
    test();                    \
  } while (0)

#endif
