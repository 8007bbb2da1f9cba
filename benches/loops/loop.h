/* The face that an event loop shows to the harness: a short file per loop, a `bench_loop` for each way of calling it. Its functions
 * are called through these pointers in the measured code, Selvedge's as well as the others'. A call that fails ends the program. */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*bench_fn)(void *arg);

typedef struct bench_loop {
  /* A new loop. The calling thread is the one that runs it and destroys it. */
  void *(*create)(void);
  /* Sleeps and runs callbacks until one of them has called end(loop). */
  void (*run)(void *loop);
  void (*end)(void *loop);
  /* Has fn(arg) run once by the loop. From any thread. */
  void (*call_soon)(void *loop, bench_fn fn, void *arg);
  /* The same on the loop's own thread, where some loops have a cheaper way. NULL: the loop runs fn at once there. */
  void (*call_soon_here)(void *loop, bench_fn fn, void *arg);
  /* Has fn(arg) run by the loop and waits for its end. From another thread. NULL: there is no such way, or another row shows it. */
  void (*call)(void *loop, bench_fn fn, void *arg);
  /* On the loop's own thread: work(arg) runs on a thread of a pool, then done(arg) in the loop. NULL: as for call. */
  void (*submit)(void *loop, bench_fn work, bench_fn done, void *arg);
  /* Nothing is queued and no job runs any more. */
  void (*destroy)(void *loop);
} bench_loop;

#ifdef __cplusplus
}
#endif
#endif
