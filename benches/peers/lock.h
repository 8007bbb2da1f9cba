/* The face that a C or C++ lock shows to the harness: one short file per lock, one `bench_lock` in each. Its functions are
 * called through these pointers in the measured loop, as are Selvedge's own and those of the Rust crates. */
#ifndef BENCH_LOCK_H
#define BENCH_LOCK_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench_lock {
  /* A new lock that nobody holds, NULL when it cannot be made. */
  void *(*create)(void);
  void (*lock)(void *lock);
  void (*unlock)(void *lock);
  void (*destroy)(void *lock);
} bench_lock;

#ifdef __cplusplus
}
#endif
#endif
