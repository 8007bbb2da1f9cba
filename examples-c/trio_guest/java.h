/* java.h: a JVM beside the others in the process. Functions that can fail print why and give -1. */
#ifndef JAVA_H
#define JAVA_H

#include <stddef.h>

#include <selvedge.h>

/* Starts the JVM; from then on each worker of the cache is a thread of it, from its start to its exit. */
int java_start(selv_cache *cache);

/* Has Java do its work, on the calling thread, which must be a worker. There is nothing to attach here. */
int java_quote(const char *item, char *out, size_t room);

/* No worker is a thread of the JVM any more. How often one was attached, how often detached, and how many Threads Java has seen. */
typedef struct java_threads {
  unsigned long attached, detached, seen;
} java_threads;
int java_let_go(java_threads *out);

/* Ends the JVM. */
int java_end(void);

#endif
