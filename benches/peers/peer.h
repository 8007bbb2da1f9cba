/* The face that a C or C++ thread pool shows to the harness: one short file per pool, one `bench_peer` in each. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*bench_fn)(void *arg);

typedef struct bench_peer {
  /* A new pool. `threads` is the size of a fixed pool, 0 asks for one that grows without a bound; `idle_ns` is how long an
   * idle thread may live, 0 for the pool's default. NULL when it cannot be made. */
  void *(*create)(uint32_t threads, uint64_t idle_ns);
  /* Runs fn(arg) once, on a thread of the pool. */
  void (*submit)(void *pool, bench_fn fn, void *arg);
  /* NULL, or: the pool belongs to an event loop. submit_split, used in place of submit, runs work(arg) on a thread of the pool
   * and then done(arg) on the calling thread, in its loop, which drive runs until nothing that it submitted is left. */
  void (*submit_split)(void *pool, bench_fn work, bench_fn done, void *arg);
  void (*drive)(void *pool);
  /* Ends the pool's threads where the pool can. Nothing is submitted any more. */
  void (*destroy)(void *pool);
} bench_peer;

#ifdef __cplusplus
}
#endif
#endif
