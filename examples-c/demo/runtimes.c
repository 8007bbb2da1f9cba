/* runtimes.c: the list of runtimes, with a stand-in that tells the reason for each that was not there when the demo was built. */
#include "runtime.h"

#include <string.h>

#include "config.h"

#ifndef DEMO_PYTHON
const runtime runtime_python = { "python", "CPython", DEMO_PYTHON_ABSENT, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL };
#endif
#ifndef DEMO_JVM
const runtime runtime_jvm = { "jvm", "JVM", DEMO_JVM_ABSENT, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL };
#endif
#ifndef DEMO_CLR
const runtime runtime_clr = { "clr", "CoreCLR", DEMO_CLR_ABSENT, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL };
#endif
#ifndef DEMO_MONO
const runtime runtime_mono = { "mono", "Mono", DEMO_MONO_ABSENT, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL };
#endif

/* Mono first: it hands the signals it does not know to whoever was there before, the others would take its own from it.
 * CoreCLR second: its preset sets an environment variable, which is only safe while no other runtime's threads read any. */
const runtime *const runtimes[RUNTIMES_MAX] = { &runtime_mono, &runtime_clr, &runtime_jvm, &runtime_python };

const runtime *runtime_find(const char *key, size_t length) {
  size_t i;
  for (i = 0; i < RUNTIMES_MAX; i++)
    if (strlen(runtimes[i]->key) == length && strncmp(runtimes[i]->key, key, length) == 0) return runtimes[i];
  return NULL;
}
