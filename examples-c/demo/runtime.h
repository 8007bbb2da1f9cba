/* runtime.h: what the demo asks of a language runtime. python.c, jvm.c, clr.c and mono.c each fill one in; the rest of the demo
 * knows nothing of any of them. */
#ifndef DEMO_RUNTIME_H
#define DEMO_RUNTIME_H

#include <selvedge.h>

#define RUNTIMES_MAX 4

typedef struct runtime {
  const char *key;       /* as in --runtimes */
  const char *name;      /* with its version, as people call it */
  const char *absent;    /* NULL, or why this build does not have it; then the rest is not filled in */
  const char *by_itself; /* what crc_by_itself does around the work, for the table */
  const char *stop_call; /* the function behind `stop`, for the table */
  int stop_answers;      /* 0: that function returns nothing, and to return at all is its success */

  /* On the main thread, once: 0, or -1 after telling why on stderr. */
  int (*start)(void);
  /* On the main thread: the runtime's hook set, on and off a cache, by its preset. */
  selv_status (*add_hooks)(selv_cache *cache, selv_hook **out_hook);
  selv_status (*remove_hooks)(selv_hook *hook, uint64_t timeout_ns);
  /* CRC-32, computed in the runtime's own language, in a job that needs `hook`. 0, or -1: the runtime has told why. */
  int (*crc)(selv_hook *hook, const void *data, size_t length, uint32_t *out_crc);
  /* The same on a thread with no hooks: attaches, computes, detaches. */
  int (*crc_by_itself)(const void *data, size_t length, uint32_t *out_crc);
  /* On the main thread, once, after the hooks are removed: shuts the runtime down; its own answer, 0 when all is well. */
  int (*stop)(void);
} runtime;

/* All that the demo knows, present or not, in the order in which they are to be started. */
extern const runtime *const runtimes[RUNTIMES_MAX];

/* The one that --runtimes calls `key` (of `length` bytes), or NULL. */
const runtime *runtime_find(const char *key, size_t length);

extern const runtime runtime_python, runtime_jvm, runtime_clr, runtime_mono;

#endif
