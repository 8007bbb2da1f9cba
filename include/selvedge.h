/*
 * Selvedge: one thread cache for a process that holds several language runtimes, and hooks that each runtime registers to
 * run on every worker's start and exit.
 *
 * Conventions
 * - A function that can fail returns a selv_status: SELV_OK (0), or a negative number. selv_last_error() tells what was wrong.
 *   Results go to the trailing out pointers, which are zeroed on failure. Beside what its "Returns" lists, any may return
 *   SELV_E_PANIC. Statuses that no function here returns belong to the presets and to parts of the library yet to come.
 * - Times are nanoseconds: SELV_FOREVER waits for ever, 0 does not wait. In an option struct 0 means the default.
 * - Strings are UTF-8 and NUL-terminated, and are copied.
 * - An option struct begins with its size: start from its SELV_*_INIT. Older and newer structs are understood.
 * - Handles made by a _new, _register or _submit are given back with the _release of their type, by any thread.
 * - Callbacks must not throw or longjmp.
 * - Each function ends with: on which Threads it may be called; whether it Blocks; Reentrancy, that is, whether callbacks may call
 *   it; what it does after a Fork, in the child; which arguments may be NULL.
 *
 * This file is generated from the library's source. SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SELVEDGE_H
#define SELVEDGE_H

#include <stddef.h>
#include <stdint.h>

/**
 * The call did what it was asked to do.
 */
#define SELV_OK 0

/**
 * The operation was accepted and will complete later.
 */
#define SELV_PENDING 1

/**
 * The lock was acquired, but its last owner ended while holding it.
 */
#define SELV_OWNER_DIED 2

/**
 * An argument has a value that is not allowed.
 */
#define SELV_E_INVAL -1

/**
 * A pointer that must not be NULL is NULL.
 */
#define SELV_E_NULL -2

/**
 * There is not enough memory.
 */
#define SELV_E_NOMEM -3

/**
 * A thread could not be started.
 */
#define SELV_E_SPAWN -4

/**
 * The time given for the call has passed.
 */
#define SELV_E_TIMEDOUT -5

/**
 * The call would have to wait, and was told not to.
 */
#define SELV_E_WOULD_BLOCK -6

/**
 * The operation was cancelled before it took effect.
 */
#define SELV_E_CANCELLED -7

/**
 * The thread or task that was to finish this ended before it did.
 */
#define SELV_E_BROKEN -8

/**
 * The call would wait for itself.
 */
#define SELV_E_DEADLOCK -9

/**
 * The caller does not own what it tried to release.
 */
#define SELV_E_NOT_OWNER -10

/**
 * The handle names something that has ended.
 */
#define SELV_E_STALE -11

/**
 * The object has been closed or shut down.
 */
#define SELV_E_CLOSED -12

/**
 * The object is in use.
 */
#define SELV_E_BUSY -13

/**
 * A count would exceed its limit.
 */
#define SELV_E_OVERFLOW -14

/**
 * The same request is already held or pending.
 */
#define SELV_E_DUPLICATE -15

/**
 * A hook that the job needs failed, so the job did not run.
 */
#define SELV_E_HOOK_FAILED -16

/**
 * The library found a bug in itself; please report it.
 */
#define SELV_E_PANIC -17

/**
 * The call was made from inside itself.
 */
#define SELV_E_REENTRANT -18

/**
 * The call belongs on another thread.
 */
#define SELV_E_WRONG_THREAD -19

/**
 * The object belongs to the parent process.
 */
#define SELV_E_FORKED -20

/**
 * The combination asked for is not supported.
 */
#define SELV_E_UNSUPPORTED -21

/**
 * The state that the lock protected was given up for lost.
 */
#define SELV_E_NOT_RECOVERABLE -22

/**
 * What was to be prevented has already begun or happened.
 */
#define SELV_E_TOO_LATE -23

/**
 * A file could not be opened or written.
 */
#define SELV_E_IO -24

/**
 * As a timeout in nanoseconds: wait for as long as it takes.
 */
#define SELV_FOREVER 18446744073709551615ull

/**
 * As a timeout in an option struct, where 0 means "the default": do not wait.
 */
#define SELV_NO_WAIT 18446744073709551614ull

/**
 * The binary interface that this header describes.
 */
#define SELV_ABI_VERSION 0

/**
 * For `selv_cache_shutdown`: jobs that no worker has begun are delivered with SELV_E_CANCELLED, on the calling thread.
 */
#define SELV_SHUTDOWN_CANCEL_QUEUED 1

/**
 * Only for workers that get a job which names the hook (`selv_job_options.attach`).
 */
#define SELV_HOOK_LAZY 1

/**
 * Idle workers start it at once, not before their next job.
 */
#define SELV_HOOK_EAGER 2

/**
 * If it fails, jobs that did not name it run all the same.
 */
#define SELV_HOOK_OPTIONAL 4

/**
 * This runtime lets go of a thread only when the thread has ended (CoreCLR): unregistering ends the workers that have the hook
 * started, and "detached" means joined.
 */
#define SELV_HOOK_RETIRE 8

/**
 * The hook is good in a fork child (CPython, by `os.fork`); without it, it is disarmed there and never called.
 */
#define SELV_HOOK_FORK_KEEP 16

/**
 * `before_job` leaves a global interpreter lock held until `after_job`. One job can need only one such hook.
 */
#define SELV_HOOK_HOLDS_GIL 32

/**
 * A thread cache. Shared: `selv_cache_retain` and `selv_cache_release`.
 */
typedef struct selv_cache selv_cache;

/**
 * A registered hook set. Shared: `selv_hook_retain` and `selv_hook_release`.
 */
typedef struct selv_hook selv_hook;

/**
 * A handle to a submitted job: freed with `selv_job_release`, which does not touch the job itself.
 */
typedef struct selv_job selv_job;

/**
 * A thread as callbacks see it: a worker of a cache, or a host's own thread that has entered one. Valid as long as the thread is on
 * the cache.
 */
typedef struct selv_worker selv_worker;

/**
 * How a call ended: 0 is success, a positive number success with news, a negative one an error.
 * `selv_status_name` and `selv_status_text` put it in words; `selv_last_error` tells what exactly was wrong.
 */
typedef int32_t selv_status;

/**
 * A host's own way to start a worker thread: starts a thread that calls `entry(entry_arg)` once, and returns SELV_OK; or returns an
 * error, and then `entry` must never be called. It must not wait for the thread, nor call `entry` itself, and must return. Called on
 * the thread that submits a job, or on a worker. `name` is valid during the call; `stack_size` is that of the options.
 * `*out_handle` (NULL before) is given to `join`.
 */
typedef selv_status (*selv_spawn_fn)(void *data,
                                     void (*entry)(void *entry_arg),
                                     void *entry_arg,
                                     const char *name,
                                     size_t stack_size,
                                     void **out_handle);

/**
 * Waits for the end of a thread that the host's `spawn` started, and frees its handle. Called once for each, after `entry` has
 * done its work and is about to return; on any other thread that uses the cache. Must return.
 */
typedef void (*selv_join_fn)(void *data, void *handle);

/**
 * Options of a cache. Start from SELV_CACHE_OPTIONS_INIT; a zero is the default.
 */
typedef struct selv_cache_options {
  /**
   * sizeof(selv_cache_options)
   */
  uint32_t struct_size;
  /**
   * The most workers at a time; past it, jobs queue in order. 0: no bound, every job runs at once.
   */
  uint32_t max_workers;
  /**
   * UTF-8; workers are named "<name>-<number>". Its first 24 bytes count. NULL: "selv".
   */
  const char *name;
  /**
   * Nanoseconds after which an idle worker ends. 0: 10 s. SELV_NO_WAIT: at once. SELV_FOREVER: never.
   */
  uint64_t idle_timeout_ns;
  /**
   * Bytes of a worker's stack, raised to the system's minimum and rounded up to whole pages. 0: the C library's default.
   */
  size_t stack_size;
  /**
   * Nanoseconds that an idle worker looks for its next job before it sleeps, at most; one worker of the process does so at a
   * time, none on a single processor, and less when it was in vain. 0: 13 µs. SELV_NO_WAIT: none. At most 1 s.
   */
  uint64_t spin;
  /**
   * Starts the worker threads. NULL: the library does.
   */
  selv_spawn_fn spawn;
  /**
   * Joins them. May be NULL: then nobody waits for their very end. Without `spawn` it must be NULL.
   */
  selv_join_fn join;
  /**
   * Given to `spawn` and `join`.
   */
  void *spawn_data;
} selv_cache_options;

/**
 * What has happened in a cache. Set `struct_size`, as SELV_CACHE_STATS_INIT does. In a fork child everything counts from 0.
 */
typedef struct selv_cache_stats {
  /**
   * sizeof(selv_cache_stats)
   */
  uint32_t struct_size;
  uint32_t reserved;
  /**
   * Living workers: `idle + busy`.
   */
  uint64_t workers;
  /**
   * Workers that are ready for a job; one that is delivering is ready.
   */
  uint64_t idle;
  /**
   * Workers that run a job, start, or end.
   */
  uint64_t busy;
  /**
   * Workers started.
   */
  uint64_t started;
  /**
   * Workers that have left, with their hooks exited.
   */
  uint64_t exited;
  /**
   * Jobs accepted.
   */
  uint64_t jobs_accepted;
  /**
   * Jobs delivered, in whatever way; counted just before `deliver` is called.
   */
  uint64_t jobs_delivered;
  /**
   * Jobs that wait for a worker (with `max_workers`).
   */
  uint64_t jobs_queued;
  /**
   * Starts and befores of hooks that failed.
   */
  uint64_t hook_failures;
  /**
   * Threads that could not be started.
   */
  uint64_t spawn_failures;
  /**
   * The most workers at a time.
   */
  uint64_t peak_workers;
  /**
   * Threads that a runtime ended inside a callback, or that ended without `selv_thread_leave`.
   */
  uint64_t threads_lost;
  /**
   * The host's own threads between `selv_thread_enter` and `selv_thread_leave`.
   */
  uint64_t threads_entered;
} selv_cache_stats;

/**
 * The work of a job: runs on a worker, may block, returns a number of the host's own, and may store a result in `*out_value`
 * (which is NULL before). Must not throw or longjmp.
 */
typedef int32_t (*selv_job_fn)(void *arg, void **out_value);

/**
 * How a job ended, as its `deliver` and its waiters see it.
 */
typedef struct selv_outcome {
  /**
   * SELV_OK if `fn` ran. SELV_E_HOOK_FAILED: a hook that the job needs failed or was unregistered. SELV_E_CANCELLED: by
   * `selv_job_cancel` or a shutdown. SELV_E_BROKEN: a runtime ended the thread inside `fn` or a hook. SELV_E_SPAWN: accepted,
   * but the worker that was to run it could not be started. SELV_E_FORKED: it needs a hook of the parent process.
   */
  selv_status status;
  /**
   * What `fn` returned. With SELV_E_HOOK_FAILED the failing hook's own number; SELV_E_CLOSED if a hook was unregistered before
   * the job began. Else 0.
   */
  int32_t code;
  /**
   * What `fn` stored in `*out_value`; NULL if it did not run to its end.
   */
  void *value;
} selv_outcome;

/**
 * Hands a job's outcome on: called exactly once for each accepted job, on the worker that ran it; a cancelled job is delivered on the
 * thread that cancels it, and one for which no thread could be started on the thread that found that out. Must not block: the
 * worker may have been given its next job already. Must not throw or longjmp. `outcome` is valid during the call. When its
 * status is an error, `selv_last_error` tells why.
 */
typedef void (*selv_deliver_fn)(void *arg, const struct selv_outcome *outcome);

/**
 * Frees data that the host gave into the library's keeping. Called once, on whichever thread lets go of it last. Must not block, and must
 * return.
 */
typedef void (*selv_free_fn)(void *data);

/**
 * A job for `selv_cache_submit`. Start from SELV_JOB_OPTIONS_INIT and set `fn`.
 */
typedef struct selv_job_options {
  /**
   * sizeof(selv_job_options)
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t flags;
  /**
   * What to run. Required.
   */
  selv_job_fn fn;
  /**
   * Told of the outcome, after the hooks' `after_job`. NULL: nobody is.
   */
  selv_deliver_fn deliver;
  /**
   * Given to `fn`, `deliver` and `arg_free`.
   */
  void *arg;
  /**
   * Called with `arg` once, after `deliver`; not for a job that was refused. NULL: `arg` stays the host's.
   */
  selv_free_fn arg_free;
  /**
   * UTF-8; the name of the worker's OS thread while `fn` runs (its first 15 bytes) and of the job in a trace (47). NULL: none.
   */
  const char *name;
  /**
   * Which hooks the job needs. NULL: every hook that is registered when the job is accepted and is not SELV_HOOK_LAZY. Not NULL
   * with `attach_len` 0: none. Else exactly these. If one of them is unregistered before the job begins, the job is delivered
   * with SELV_E_HOOK_FAILED and the code SELV_E_CLOSED, and does not run; but for SELV_HOOK_OPTIONAL hooks that it did not name.
   */
  struct selv_hook *const *attach;
  /**
   * How many hooks `attach` has; 0 if it is NULL.
   */
  size_t attach_len;
} selv_job_options;

/**
 * Runs on a new worker before its first job, or on a living one before its next. Stores what the runtime needs in `*slot`
 * (NULL before). Returns 0, or a number of the host's own: then the job that needed the hook fails with it.
 */
typedef int32_t (*selv_hook_start_fn)(void *user, const struct selv_worker *w, void **slot);

/**
 * Runs on the worker when it ends, or when the hook is unregistered; in the reverse order of the starts that succeeded.
 */
typedef void (*selv_hook_exit_fn)(void *user, const struct selv_worker *w, void *slot);

/**
 * Runs before each job that needs the hook. Returns 0, or a number of the host's own: then the job does not run.
 */
typedef int32_t (*selv_hook_before_fn)(void *user, const struct selv_worker *w, void *slot);

/**
 * Runs after the job, whatever it did, in the reverse order of the befores that succeeded; before `deliver`.
 */
typedef void (*selv_hook_after_fn)(void *user, const struct selv_worker *w, void *slot);

/**
 * A set of callbacks for `selv_hook_register`, each of which may be NULL. Start from SELV_HOOK_OPTIONS_INIT.
 * They are called with no lock of the library held, and may call any function of it. They must not throw or longjmp; a
 * runtime that ends the thread inside one (`pthread_exit`) is survived, and counted in `threads_lost`.
 */
typedef struct selv_hook_options {
  /**
   * sizeof(selv_hook_options)
   */
  uint32_t struct_size;
  /**
   * SELV_HOOK_ flags.
   */
  uint32_t flags;
  /**
   * UTF-8, for errors and traces. NULL: "hook".
   */
  const char *name;
  selv_hook_start_fn on_start;
  selv_hook_exit_fn on_exit;
  selv_hook_before_fn before_job;
  selv_hook_after_fn after_job;
  /**
   * Given to every callback.
   */
  void *user;
  /**
   * Called with `user` once, when the hook is unregistered and the last thread has detached, on that thread or on the one that
   * unregisters; not if the registration failed.
   */
  selv_free_fn user_free;
} selv_hook_options;

/**
 * What has happened to a hook. Set `struct_size`, as SELV_HOOK_STATS_INIT does.
 */
typedef struct selv_hook_stats {
  /**
   * sizeof(selv_hook_stats)
   */
  uint32_t struct_size;
  uint32_t reserved;
  /**
   * Threads on which it is started now, or being started or exited; with SELV_HOOK_RETIRE also those yet to be joined.
   */
  uint64_t attached;
  /**
   * Successful starts.
   */
  uint64_t starts;
  /**
   * Exits; after unregistering, `starts == exits + lost`.
   */
  uint64_t exits;
  /**
   * Starts that failed.
   */
  uint64_t start_failures;
  /**
   * Jobs that needed the hook and ran.
   */
  uint64_t jobs;
  /**
   * Threads that ended without exiting it.
   */
  uint64_t lost;
} selv_hook_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The name of a status, such as "SELV_E_BROKEN"; "SELV_E_?" if the number is not one of the library's.
 * The string is static and is not freed.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback, and from a signal handler. Fork: works. NULL: never returned.
 */
const char *selv_status_name(selv_status s);

/**
 * What a status means, in one English sentence. The string is static and is not freed.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback, and from a signal handler. Fork: works. NULL: never returned.
 */
const char *selv_status_text(selv_status s);

/**
 * What exactly was wrong with this thread's last call that returned an error: which hook, which option, what was
 * expected. Inside `deliver`, when the outcome's status is an error: why the job did not run. Calls that succeed leave it
 * as it is.
 *
 * Writes at most `len` bytes to `buf`, the NUL included, as snprintf does, and returns the length of the whole text without its
 * NUL; 0 if nothing has failed on this thread.
 *
 * Threads: any; each has its own. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps its own.
 * NULL: `buf` may be NULL, then only the length is returned.
 */
size_t selv_last_error(char *buf,
                       size_t len);

/**
 * The version of the library that is loaded, such as "0.1.0". The string is static and is not freed.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: never returned.
 */
const char *selv_version(void);

/**
 * The number of the binary interface that the loaded library has. It is the number in the soname, and equals
 * `SELV_ABI_VERSION` of the header that a program should be compiled with.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: no pointers.
 */
uint32_t selv_abi_version(void);

/**
 * Makes a thread cache. It has no thread until it gets its first job.
 *
 * `opts` NULL: all defaults. `out` gets a handle with one reference, NULL on failure.
 *
 * Returns SELV_OK; SELV_E_NULL (`out`); SELV_E_INVAL (`struct_size`, a name that is not UTF-8, `join` without `spawn`);
 * SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: the cache works in a child, at once and with no workers. NULL:
 * `opts` may be NULL, `out` not.
 */
selv_status selv_cache_new(const struct selv_cache_options *opts,
                           struct selv_cache **out);

/**
 * The process's shared cache, with default options: one for all languages in the process. Made at the first call; never shut down.
 *
 * `out` gets a new reference, to be released like any other.
 *
 * Returns SELV_OK; SELV_E_NULL.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: the same cache works in a child. NULL: `out` must not be NULL.
 */
selv_status selv_cache_default(struct selv_cache **out);

/**
 * One more reference to a cache; gives `c` back.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
 */
struct selv_cache *selv_cache_retain(struct selv_cache *c);

/**
 * Gives a reference back. With the last one gone no job can come any more: those accepted finish and are delivered, the workers
 * exit their hooks and end by themselves, and then the `user_free` of hooks that are still registered is called, by the last of them.
 * Nobody waits for that, nor joins the last threads (a host's `join` is not called for them, and `user_free` of a
 * SELV_HOOK_RETIRE hook may come before the thread's very end); to wait, call `selv_cache_shutdown` before.
 *
 * Threads: any. Blocks: no, beyond `user_free`. Reentrancy: from any callback. Fork: works. NULL: does nothing.
 */
void selv_cache_release(struct selv_cache *c);

/**
 * Sets how long an idle worker stays, in nanoseconds, also for those that are idle now (they count from when they became
 * idle). 0 or SELV_NO_WAIT: it ends at once. SELV_FOREVER: it stays.
 *
 * Returns SELV_OK; SELV_E_NULL.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: `c` must not be NULL.
 */
selv_status selv_cache_set_idle_timeout(struct selv_cache *c,
                                        uint64_t ns);

/**
 * Lets idle workers go, those that have been idle for longest first, until `keep_idle` are left. They exit their hooks and end soon
 * after; nobody waits for it.
 *
 * Returns SELV_OK; SELV_E_NULL.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: `c` must not be NULL.
 */
selv_status selv_cache_trim(struct selv_cache *c,
                            uint32_t keep_idle);

/**
 * Shuts a cache down: new jobs are refused with SELV_E_CLOSED, accepted ones finish and are delivered, every worker exits its hooks
 * and ends, and is joined. It may be called again, and then goes on waiting. It frees nothing: release the handle after it.
 *
 * `flags`: 0, or SELV_SHUTDOWN_CANCEL_QUEUED. `out_remaining` (may be NULL) gets how many threads are left: 0 on success.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags; nothing changes); SELV_E_TIMEDOUT (threads are left, also with timeout 0; the
 * shutdown goes on by itself);
 * SELV_E_DEADLOCK (on the cache's own worker with a timeout above 0: nothing changes; with 0 it begins);
 * SELV_E_UNSUPPORTED (the default cache: use `selv_cache_trim`).
 *
 * Threads: any. Blocks: up to `timeout_ns` nanoseconds; 0 begins and returns. Reentrancy: from any callback, with timeout 0 on
 * workers. Fork: works in a child, which has no workers of the parent. NULL: `c` must not be NULL.
 */
selv_status selv_cache_shutdown(struct selv_cache *c,
                                uint32_t flags,
                                uint64_t timeout_ns,
                                uint32_t *out_remaining);

/**
 * What has happened in a cache so far.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: a child counts from 0. NULL: no argument may be NULL.
 */
selv_status selv_cache_get_stats(const struct selv_cache *c,
                                 struct selv_cache_stats *out);

/**
 * Runs `fn(arg, &value)` on a worker of the cache, at once if it has no bound, then `deliver(arg, &outcome)` on the same worker.
 * The worker lines up as idle before it delivers, so that a job submitted inside `deliver`, or in answer to it, finds this worker:
 * a sequence of jobs needs one thread. (This order, and the cache's other rules, are those of the thread cache in Trio.)
 * The fast path, when a worker is idle, allocates nothing.
 *
 * `deliver` and `name` may be NULL. `name`: see `selv_job_options`.
 *
 * Returns SELV_OK: `deliver` will be called exactly once. On any error it will not be called: SELV_E_NULL; SELV_E_INVAL (`name` is
 * not UTF-8); SELV_E_SPAWN (no worker is idle and no thread could be started); SELV_E_CLOSED (the cache is shut down).
 *
 * Threads: any. Blocks: no, beyond starting a thread. Reentrancy: from any callback. Fork: works in a child; jobs of the
 * parent stay the parent's. NULL: `c` and `fn` must not be NULL; `deliver`, `arg` and `name` may be.
 */
selv_status selv_start_thread_soon(struct selv_cache *c,
                                   selv_job_fn fn,
                                   selv_deliver_fn deliver,
                                   void *arg,
                                   const char *name);

/**
 * As `selv_start_thread_soon`, with everything that can be said of a job: which hooks it needs, who frees its argument, and a
 * handle to wait for it or cancel it. With `max_workers` set and reached, the job queues, in order.
 *
 * `out_job` may be NULL; else it gets a handle, to be freed with `selv_job_release`, or NULL on failure. It is written before the job can
 * run, so `deliver` may use it.
 *
 * Returns SELV_OK: the job will be delivered exactly once. On any error it will not be, and `arg` stays the host's: SELV_E_NULL
 * (`c`, `job`, `job->fn`, an element of `job->attach`, or `attach` with an `attach_len`);
 * SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8, a hook of another cache, two hooks with
 * SELV_HOOK_HOLDS_GIL); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know); SELV_E_SPAWN; SELV_E_CLOSED
 * (the cache is shut down, or a named hook unregistered); SELV_E_FORKED (a named hook belongs to the parent process).
 *
 * Threads: any. Blocks: no, beyond starting a thread. Reentrancy: from any callback. Fork: works in a child. NULL: `c`
 * and `job` must not be NULL.
 */
selv_status selv_cache_submit(struct selv_cache *c,
                              const struct selv_job_options *job,
                              struct selv_job **out_job);

/**
 * Submits `count` jobs in order, with fewer locks and wakes than one by one. All are checked before the first is accepted.
 * `jobs` is stepped through by `jobs[0].struct_size`; every one must have the same.
 *
 * `out_accepted` (may be NULL) gets how many were accepted, from the first on, also when the call fails: each of these
 * is delivered exactly once, the others never.
 *
 * Returns and rules: as `selv_cache_submit`; also SELV_E_INVAL for mixed sizes. `count` 0 is SELV_OK, whatever `jobs` is.
 *
 * Threads: any. Blocks: no, beyond starting threads. Reentrancy: from any callback. Fork: works in a child. NULL: `c`, and
 * `jobs` unless `count` is 0, must not be NULL.
 */
selv_status selv_cache_submit_many(struct selv_cache *c,
                                   const struct selv_job_options *jobs,
                                   size_t count,
                                   size_t *out_accepted);

/**
 * Runs `fn(arg, &value)` on a worker and waits for its end. The timeout covers the wait for its *start*: if no worker has begun it
 * by then, it is withdrawn and never runs; once begun, the call waits until it ends, however long.
 *
 * `out` gets the outcome: its status is SELV_OK if `fn` ran, else why not, and then `selv_last_error` tells more. When the call itself
 * fails, it is zeroed: look at the returned status first.
 *
 * Returns SELV_OK: look at `out->status`. SELV_E_NULL; SELV_E_TIMEDOUT (`fn` will never run); SELV_E_SPAWN; SELV_E_CLOSED;
 * SELV_E_DEADLOCK (called on a worker of a cache that is at its `max_workers`, none idle: it would wait for itself).
 *
 * Threads: any; a worker of an unbounded cache uses another worker. Blocks: yes. Reentrancy: from any callback, but not where
 * blocking is forbidden. Fork: works in a child. NULL: no argument but `arg` may be NULL.
 */
selv_status selv_cache_run(struct selv_cache *c,
                           selv_job_fn fn,
                           void *arg,
                           uint64_t timeout_ns,
                           struct selv_outcome *out);

/**
 * Waits until a job has been delivered: `deliver` and `arg_free` have returned. Any number of threads may wait, any number of
 * times.
 *
 * `out` (may be NULL) gets the outcome, zeroed when the call itself fails. If its status is an error, `selv_last_error` tells why.
 *
 * Returns SELV_OK (whatever the outcome is); SELV_E_NULL; SELV_E_TIMEDOUT (0 looks without waiting); SELV_E_DEADLOCK (inside the
 * job's own `fn` or `deliver`); SELV_E_FORKED (a job of the parent process).
 *
 * Threads: any. Blocks: up to `timeout_ns` nanoseconds, or SELV_FOREVER. Reentrancy: from any callback, but not where blocking is
 * forbidden. Fork: in a child, a job of the parent is SELV_E_FORKED. NULL: `j` must not be NULL.
 */
selv_status selv_job_wait(struct selv_job *j,
                          uint64_t timeout_ns,
                          struct selv_outcome *out);

/**
 * Cancels a job that no worker has begun: it is delivered with SELV_E_CANCELLED, on this thread, inside this call; `fn` never runs.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_TOO_LATE (it has begun, or has ended, or was cancelled before; nothing changes);
 * SELV_E_FORKED (a job of the parent process).
 *
 * Threads: any. Blocks: as long as `deliver` does. Reentrancy: from any callback. Fork: in a child, a job of the parent is
 * SELV_E_FORKED. NULL: `j` must not be NULL.
 */
selv_status selv_job_cancel(struct selv_job *j);

/**
 * Frees a handle. The job itself goes on, and is delivered.
 *
 * Threads: any, once. Blocks: no. Reentrancy: from any callback, the job's own `deliver` too. Fork: works in a child.
 * NULL: does nothing.
 */
void selv_job_release(struct selv_job *j);

/**
 * Registers a hook set with a cache. Workers that live already start it before their next job (SELV_HOOK_EAGER: idle ones at once);
 * new ones at their start, in the order of registration. A start that fails undoes the starts of the same go, in reverse; the
 * job that needed it is delivered with SELV_E_HOOK_FAILED and the hook's own number in `code`, and later jobs try again.
 *
 * `out` gets a handle with one reference, NULL on failure. Releasing it does not unregister.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, LAZY with EAGER, a name that is not UTF-8, `struct_size`,
 * a second hook that is SELV_HOOK_HOLDS_GIL and not LAZY); SELV_E_UNSUPPORTED (RETIRE on a cache whose own `spawn` comes without
 * `join`; a newer struct); SELV_E_CLOSED.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: a child has the SELV_HOOK_FORK_KEEP hooks, and may register others.
 * NULL: no argument may be NULL.
 */
selv_status selv_hook_register(struct selv_cache *c,
                               const struct selv_hook_options *opts,
                               struct selv_hook **out);

/**
 * Removes a hook set: no new starts from now on; idle workers exit it at once, busy ones when their job ends; a calling thread that
 * has entered the cache exits it here. When this returns SELV_OK, no callback of the hook runs or will run, every thread has
 * exited it, and `user_free` has been called: the runtime may be shut down on the next line. It may be called again, and then
 * goes on waiting; once done it is SELV_OK at once. It never frees the handle.
 *
 * Jobs that were accepted while the hook was registered, need it, and have not begun are not run any more: they are delivered with
 * SELV_E_HOOK_FAILED and the code SELV_E_CLOSED. To have them run, wait for them first.
 *
 * Do not hold what an exit callback needs (such as the GIL) while this waits.
 *
 * `out_attached` (may be NULL) gets how many threads have it still started: 0 on success.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_TIMEDOUT (threads have it still started, also with timeout 0; the removal goes on by itself, but
 * for SELV_HOOK_RETIRE, where ended threads are joined by the next call or the next worker that starts or ends);
 * SELV_E_DEADLOCK (with a timeout above 0 on a worker of the hook's own cache, or inside a hook's callback, where it would
 * wait for itself: nothing changes; with 0 the removal begins).
 *
 * Threads: any. Blocks: up to `timeout_ns` nanoseconds; 0 begins and returns. Reentrancy: from any callback, with timeout 0 on
 * workers and inside hooks' callbacks. Fork: in a child a disarmed hook is SELV_OK at once, and `user_free` is not called. NULL: `h` must not be NULL.
 */
selv_status selv_hook_unregister(struct selv_hook *h,
                                 uint64_t timeout_ns,
                                 uint32_t *out_attached);

/**
 * One more reference to a hook; gives `h` back.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
 */
struct selv_hook *selv_hook_retain(struct selv_hook *h);

/**
 * Gives a reference back. A hook that is still registered stays so, until its cache ends.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: does nothing.
 */
void selv_hook_release(struct selv_hook *h);

/**
 * What has happened to a hook so far.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: a child starts with nothing attached. NULL: no argument may be NULL.
 */
selv_status selv_hook_get_stats(const struct selv_hook *h,
                                struct selv_hook_stats *out);

/**
 * The slot that `on_start` filled on the calling thread (a JNIEnv*, a PyThreadState*, ...), from its success to the end of
 * `on_exit`; NULL on a thread where the hook is not started.
 *
 * Threads: any; each has its own. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps the slots of
 * SELV_HOOK_FORK_KEEP hooks. NULL: gives NULL.
 */
void *selv_hook_slot(const struct selv_hook *h);

/**
 * 1 if the hook is started on the calling thread, else 0.
 *
 * Threads: any; each has its own answer. Blocks: no. Reentrancy: from any callback. Fork: as `selv_hook_slot`. NULL: gives 0.
 */
int32_t selv_hook_is_attached(const struct selv_hook *h);

/**
 * The `user` pointer that the hook was registered with. After `user_free` has run it is the host's to know whether
 * anything is behind it.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
 */
void *selv_hook_user(const struct selv_hook *h);

/**
 * The record of the calling thread: as a worker, or as a thread that has entered a cache (the last one that it entered);
 * NULL on any other thread. It is valid as long as the thread is on the cache.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps its own. NULL: returned off the caches.
 */
const struct selv_worker *selv_worker_current(void);

/**
 * A number that no other worker of the process had or will have; at least 1. 0 for NULL.
 *
 * Threads: any, while the worker lives. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives 0.
 */
uint64_t selv_worker_id(const struct selv_worker *w);

/**
 * The worker's name: its cache's prefix and its number. The string is valid as long as the worker is on the cache. "" for NULL.
 *
 * Threads: any, while the worker lives. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives "".
 */
const char *selv_worker_name(const struct selv_worker *w);

/**
 * Starts hooks of a cache on the calling thread, one of the host's own, as if it were a worker: `selv_hook_slot` and
 * `selv_worker_current` work on it from now on. The thread runs no jobs. Calls nest and count: hooks that a nested call
 * adds stay started until the outermost `selv_thread_leave`. On a worker of the cache it starts what is missing, for the rest
 * of the worker's life.
 *
 * `hooks` NULL: every hook that is not SELV_HOOK_LAZY; not NULL with `count` 0: none; else exactly these.
 * A thread that ends without leaving is counted in `threads_lost`; its hooks are not called, and nobody waits for it.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (a hook of another cache; two that hold a global interpreter lock);
 * SELV_E_HOOK_FAILED (what had been started is exited again, and the thread is as it was); SELV_E_CLOSED; SELV_E_FORKED;
 * SELV_E_REENTRANT (inside a callback of a hook of this cache).
 *
 * Threads: any. Blocks: as long as the hooks do. Reentrancy: not from callbacks of hooks; else from any. Fork: the forking
 * thread stays entered in the child, with the SELV_HOOK_FORK_KEEP hooks. NULL: `c`, the elements of `hooks`, and `hooks` with a
 * `count` must not be NULL.
 */
selv_status selv_thread_enter(struct selv_cache *c,
                              struct selv_hook *const *hooks,
                              size_t count);

/**
 * Undoes one `selv_thread_enter`; the outermost one exits the hooks, the last started first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_NOT_OWNER (this thread has not entered the cache); SELV_E_REENTRANT (inside a callback of a
 * hook of this cache).
 *
 * Threads: the one that entered. Blocks: as long as the hooks' exits do. Reentrancy: not from callbacks of hooks; else from any.
 * Fork: the forking thread may leave in the child. NULL: `c` must not be NULL.
 */
selv_status selv_thread_leave(struct selv_cache *c);

/**
 * Starts to record what every worker of every cache does into a new file at `path`, as Chrome trace events, which
 * https://ui.perfetto.dev and chrome://tracing open: a lane per worker with its start, each hook call, each job by its name,
 * and its exit. Times are microseconds since this call. There is one trace in a process at a time.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`path` is not UTF-8); SELV_E_IO (the file cannot be made); SELV_E_BUSY (a trace
 * is being recorded).
 *
 * Threads: any. Blocks: while it makes the file. Reentrancy: from any callback. Fork: a child records nothing, and may start a
 * trace of its own. NULL: `path` must not be NULL.
 */
selv_status selv_trace_start(const char *path);

/**
 * Stops recording and completes the file. A file that was never completed, because the process ended, still opens.
 *
 * Returns SELV_OK; SELV_E_CLOSED (nothing is being recorded); SELV_E_IO (part of the trace could not be written).
 *
 * Threads: any. Blocks: while it writes what is buffered. Reentrancy: from any callback. Fork: a child did not start it, and gets
 * SELV_E_CLOSED. NULL: no pointers.
 */
selv_status selv_trace_stop(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus


/* Initialisers: every field in order. */
#define SELV_CACHE_OPTIONS_INIT { sizeof(selv_cache_options), 0, NULL, 0, 0, 0, NULL, NULL, NULL }
#define SELV_CACHE_STATS_INIT { sizeof(selv_cache_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define SELV_JOB_OPTIONS_INIT { sizeof(selv_job_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, 0 }
#define SELV_HOOK_OPTIONS_INIT { sizeof(selv_hook_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL }
#define SELV_HOOK_STATS_INIT { sizeof(selv_hook_stats), 0, 0, 0, 0, 0, 0, 0 }

#endif  /* SELVEDGE_H */
