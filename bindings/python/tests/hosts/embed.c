/* A host that runs Python as often as it is told: embed <rounds> <code>. Each round is Py_Initialize, the code, and Py_FinalizeEx.
 *
 * Compiled with HOST_HAS_SELVEDGE it has loaded libselvedge before the first round, and uses the process's shared cache before, between
 * and after the rounds, when there is no Python. */
#include <Python.h>

#include <stdio.h>
#include <stdlib.h>

#ifdef HOST_HAS_SELVEDGE
#include <selvedge.h>

static int32_t job(void *arg, void **out_value) {
  (void)out_value;
  return *(int *)arg + 1;
}

static void must(selv_status status, const char *what) {
  char text[512];
  if (status >= 0) return;
  selv_last_error(text, sizeof text);
  fprintf(stderr, "%s: %s: %s\n", what, selv_status_name(status), text);
  exit(4);
}

/* On the shared cache, whatever is registered with it, for as often as it takes to come by workers that have been Python's. */
static void use_cache(const char *when) {
  selv_cache *cache;
  int number, round;
  must(selv_cache_default(&cache), "selv_cache_default");
  for (round = 0; round < 20; round++) {
    selv_outcome outcome;
    number = round;
    must(selv_cache_run(cache, job, &number, SELV_FOREVER, &outcome), "selv_cache_run");
    if (outcome.status != SELV_OK || outcome.code != round + 1) {
      fprintf(stderr, "%s: a job of the host ended with %s, code %d\n", when, selv_status_name(outcome.status), (int)outcome.code);
      exit(4);
    }
  }
  selv_cache_release(cache);
  printf("host: %s\n", when);
  fflush(stdout);
}
#else
static void use_cache(const char *when) { (void)when; }
#endif

int main(int argc, char **argv) {
  int round, rounds;
  if (argc != 3) return 2;
  rounds = atoi(argv[1]);
  use_cache("before");
  for (round = 1; round <= rounds; round++) {
    int failed;
    Py_Initialize();
    failed = PyRun_SimpleString(argv[2]);
    if (Py_FinalizeEx() != 0 || failed) {
      fprintf(stderr, "round %d failed\n", round);
      return 3;
    }
    printf("round %d\n", round);
    fflush(stdout);
    use_cache("after");
  }
  return 0;
}
