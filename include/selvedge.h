/*
 * Selvedge, for a process that holds several language runtimes: one thread cache, with hooks that each runtime registers to run
 * on every worker's start and exit; tasks, with locks and other primitives that tasks of any runtime share, and that break
 * instead of hanging; and host loops, the way into the event loops of the host, with guests: event loops that live inside another.
 *
 * Conventions
 * - A function that can fail returns a selv_status: SELV_OK (0); a positive number, which is success with news (SELV_PENDING,
 *   SELV_OWNER_DIED); or a negative number, an error. Where there can be news, test for < 0. selv_last_error(buf, len) tells what
 *   was wrong. Results go to the trailing out pointers, which are zeroed on failure unless the function says otherwise; but structs
 *   that begin with their size may stay as they were. Beside what its "Returns" lists, any may return SELV_E_PANIC. Statuses that no
 *   function here returns belong to the presets.
 * - Times are nanoseconds: SELV_FOREVER waits for ever, 0 does not wait. In an option struct 0 means the default.
 * - Strings are UTF-8 and NUL-terminated, and are copied.
 * - An option struct begins with its size: start from its SELV_*_INIT. Older and newer structs are understood.
 * - Handles that are shared (cache, hook, job, host loop, guest) are given back with the _release of their type. Locks and the other
 *   primitives have one handle each, which ends with their _free; that refuses with SELV_E_BUSY while they are in use. Both by any
 *   thread. That a handle has been given back, or is of another type, is not noticed.
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
 * The lock was acquired, but its last owner ended while holding it: `selv_last_error` tells which lock, and who that was.
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
 * The task or thread that held this, or was to finish it, ended before it did.
 */
#define SELV_E_BROKEN -8

/**
 * The call would wait for itself, directly or through others.
 */
#define SELV_E_DEADLOCK -9

/**
 * The caller does not own what the call is about.
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
 * As a task argument: the calling thread's current task.
 */
#define SELV_TASK_CURRENT 18446744073709551615ull

/**
 * Of a task's report: it held this lock, which is broken now.
 */
#define SELV_REPORT_LOCK_BROKEN 1

/**
 * Of a task's report: it held this SELV_LOCK_ROBUST lock, whose next owner is told SELV_OWNER_DIED.
 */
#define SELV_REPORT_LOCK_HANDED_ON 2

/**
 * Of a task's report: it waited for this, and the wait was cancelled.
 */
#define SELV_REPORT_WAIT_CANCELLED 3

/**
 * Of a task's report: an operation was granted this, and its callback had not begun; the grant went to the next.
 */
#define SELV_REPORT_GRANT_PASSED_ON 4

/**
 * Of a task's report: it had a token of this limiter, which was returned.
 */
#define SELV_REPORT_TOKEN_RETURNED 5

/**
 * Of a task's report: it was a breaker of this parking lot, which is broken now.
 */
#define SELV_REPORT_LOT_BROKEN 6

/**
 * For `selv_host_loop_call_soon`: if the same `fn` with the same `arg` waits already, that one stands for both.
 */
#define SELV_CALL_IDEMPOTENT 1

/**
 * From a guest's `prepare`: it has nothing left to do, and the run ends.
 */
#define SELV_GUEST_DONE (UINT64_MAX - 2)

/**
 * Of a lock: it is handed to those in line strictly in order. Slower under contention: each hand-over wakes a thread.
 */
#define SELV_LOCK_STRICT_FIFO 1

/**
 * Of a lock: its owner may acquire it again, and releases it as often.
 */
#define SELV_LOCK_RECURSIVE 2

/**
 * Of a lock: when its owner exits, the next one gets it with SELV_OWNER_DIED, as with POSIX's robust mutexes.
 */
#define SELV_LOCK_ROBUST 4

/**
 * Of a lock: waits with a timeout count for deadlock, too.
 */
#define SELV_LOCK_TIMED_EDGES 8

/**
 * Of an event: it can be cleared.
 */
#define SELV_EVENT_RESETTABLE 1

/**
 * Of a channel: it has no buffer, and a send waits for its receiver.
 */
#define SELV_CHANNEL_RENDEZVOUS 1

/**
 * Of `selv_wait_graph`: lines for people; objects that are neither held, waited for nor broken are only counted.
 */
#define SELV_GRAPH_TEXT 0

/**
 * Of `selv_wait_graph`: one JSON object with `tasks` and `objects`, all of them.
 */
#define SELV_GRAPH_JSON 1

/**
 * Of `selv_wait_graph`: a digraph for Graphviz; an edge goes from who waits to what, and from what is held to who holds it.
 */
#define SELV_GRAPH_DOT 2

/**
 * A thread cache. Shared: `selv_cache_retain` and `selv_cache_release`.
 */
typedef struct selv_cache selv_cache;

/**
 * A line of items, each some bytes, from any number of senders to any number of receivers. Ends with `selv_channel_free`.
 */
typedef struct selv_channel selv_channel;

/**
 * Waits for a change of what a lock protects, letting go of the lock meanwhile. Ends with `selv_condition_free`, before its
 * lock.
 */
typedef struct selv_condition selv_condition;

/**
 * Something that has happened, or has not yet; any number may wait for it. Ends with `selv_event_free`.
 */
typedef struct selv_event selv_event;

/**
 * A run of a guest. Shared: `selv_guest_retain` and `selv_guest_release`.
 */
typedef struct selv_guest selv_guest;

/**
 * A registered hook set. Shared: `selv_hook_retain` and `selv_hook_release`.
 */
typedef struct selv_hook selv_hook;

/**
 * A queue into an event loop that the host runs. Shared: `selv_host_loop_retain` and `selv_host_loop_release`.
 */
typedef struct selv_host_loop selv_host_loop;

/**
 * A handle to a submitted job: freed with `selv_job_release`, which does not touch the job itself.
 */
typedef struct selv_job selv_job;

/**
 * A number of tokens, at most one for each borrower; a task that exits returns its token. Ends with `selv_limiter_free`.
 */
typedef struct selv_limiter selv_limiter;

/**
 * A lock that belongs to a task. If its owner exits while holding it, it breaks: everybody who waits or comes later is told so,
 * instead of waiting for ever. See `selv_lock_acquire` and `selv_lock_repair`. Ends with `selv_lock_free`.
 */
typedef struct selv_lock selv_lock;

/**
 * A line of waiters, from which other primitives are made: who came first is let go first, by number. Ends with
 * `selv_parking_lot_free`.
 */
typedef struct selv_parking_lot selv_parking_lot;

/**
 * A number of permits, which nobody owns: one task may acquire and another release, and a task that exits releases none (for
 * that, see selv_limiter). Ends with `selv_semaphore_free`.
 */
typedef struct selv_semaphore selv_semaphore;

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
   * but the worker that was to run it could not be started. SELV_E_TIMEDOUT, SELV_E_CLOSED: it had no token of its limiter in
   * time, or the limiter was closed. SELV_E_FORKED: it needs a hook of the parent process.
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
 * Hands a job's outcome on: called exactly once for each accepted job, on the worker that ran it (or in a host
 * loop, see `selv_job_options`); a cancelled job is delivered on
 * the thread that cancels it, and one for which no thread could be started on the thread that found that out. Must not block: the
 * worker may have been given its next job already. Must not throw or longjmp. `outcome` is valid during the call. When its status is
 * an error, `selv_last_error` tells why.
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
   * UTF-8; the name of the worker's OS thread while `fn` runs (its first 15 bytes; "" is an empty name) and of the job in
   * a trace (47). NULL: none.
   */
  const char *name;
  /**
   * Which hooks the job needs. NULL: every hook that is not SELV_HOOK_LAZY and is registered when the job is accepted or before
   * it begins. Not NULL with `attach_len` 0: none. Else exactly these. If one of them is unregistered before the job begins, the
   * job is delivered with SELV_E_HOOK_FAILED and the code SELV_E_CLOSED, and does not run; but for SELV_HOOK_OPTIONAL hooks that
   * it did not name.
   */
  struct selv_hook *const *attach;
  /**
   * How many hooks `attach` has; 0 if it is NULL.
   */
  size_t attach_len;
  /**
   * The job begins when its task has a token of this limiter. Until then it takes no thread; it can be cancelled, and a shutdown
   * waits for it or cancels it, as if it were queued. The token belongs to the job's task (`fn` would get SELV_E_DUPLICATE for
   * another one), and comes back when the job has ended, before `deliver`, however it ends. NULL: none. The limiter lives at least
   * until then.
   */
  struct selv_limiter *limiter;
  /**
   * How long the job waits for its token; 0: SELV_FOREVER. When that has passed it is delivered with SELV_E_TIMEDOUT.
   * SELV_NO_WAIT: if no token is free, `selv_cache_submit` answers SELV_E_WOULD_BLOCK.
   */
  uint64_t limiter_timeout_ns;
  /**
   * Where the job is delivered: `deliver` and then `arg_free` are called by a drain of this host loop, in the order of its
   * queue, also if the job was cancelled. For the cache the job is over when it has been queued there. If the loop has been
   * closed by then, `deliver` is told SELV_E_CLOSED, with code and value kept, on the finishing (or closing) thread: it can only
   * clean up. The loop is not kept open. NULL: on the worker.
   */
  struct selv_host_loop *loop;
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

/**
 * A task: whatever the host says owns things: a thread, a coroutine, a greenlet, a request. A number, never used again; 0 is none.
 *
 * Every thread has a task of its own, and every job one that exits when the job ends; both are made when they are first asked for.
 * Others are made with `selv_task_new`. The host makes one task's calls one after the other, those in callbacks of its operations
 * included, and `selv_task_exit` last.
 *
 * As an argument: SELV_TASK_CURRENT stands for `selv_task_current()`. 0, or a number that was never a task's, gives SELV_E_INVAL; a
 * task that has exited SELV_E_STALE; one of the parent process, in a fork child, SELV_E_FORKED; SELV_TASK_CURRENT SELV_E_NOMEM, if it is
 * yet to be made and there are 16,777,152 tasks. Tasks that were made or last entered
 * by the thread that forked live on in the child, as that thread does.
 *
 * In messages and in the wait graph a task is called by its name, or else by its number in hexadecimal.
 */
typedef uint64_t selv_task;

/**
 * Told one item of a task's report: `what` is one of SELV_REPORT_*, `name` the object's, "" if it has none, valid during the call. Must
 * not throw or longjmp.
 */
typedef void (*selv_report_fn)(void *arg, uint32_t what, const char *name);

/**
 * What a task had in hand when it exited. Start from SELV_TASK_REPORT_INIT, and set `each` if the names matter.
 */
typedef struct selv_task_report {
  /**
   * sizeof(selv_task_report)
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * In: called for each item, on the calling thread, when the exit is done and the callbacks of the operations that it completed
   * have returned. NULL: only the counts are wanted.
   */
  selv_report_fn each;
  /**
   * In: given to `each`.
   */
  void *arg;
  /**
   * Locks that are broken now.
   */
  uint64_t locks_broken;
  /**
   * SELV_LOCK_ROBUST locks that the next owner gets with SELV_OWNER_DIED.
   */
  uint64_t locks_handed_on;
  /**
   * Waits and operations that were cancelled.
   */
  uint64_t waits_cancelled;
  /**
   * Grants to operations whose callback had not begun, which went to the next.
   */
  uint64_t grants_passed_on;
  /**
   * Tokens that went back to their limiters.
   */
  uint64_t tokens_returned;
  /**
   * Parking lots that are broken now.
   */
  uint64_t lots_broken;
} selv_task_report;

/**
 * An asynchronous operation: a number, never used again; 0 is none. It may be cancelled at any time, also when it is long over.
 *
 * A function that begins one (`_async`) answers SELV_OK (or SELV_OWNER_DIED) if it was satisfied at once: then there is no callback, and
 * `*out_op` is 0. SELV_PENDING: the callback will be called exactly once, not inside this call. An error: never; SELV_E_NOMEM among
 * them, when there are 16,777,152 operations already. `*out_op` is written before a callback can run; `out_op` may be NULL, and then the
 * operation can be neither cancelled nor abandoned.
 *
 * An operation has no timeout: a host that wants one cancels it by a timer of its own. `selv_task_interrupt` does not end it.
 * `completion` is copied; what its `arg` points to must live until the callback has returned, or `selv_op_abandon` has answered SELV_OK.
 * SELV_TASK_CURRENT is looked up in the call that begins it; in the callback it stands for the task of the thread that this runs on,
 * mostly another one. A callback that releases what was granted names the task that it was granted to: ask `selv_task_current` before,
 * and keep the number in what `arg` points to.
 */
typedef uint64_t selv_op;

/**
 * Has the host call `selv_host_loop_drain` soon, on the loop's thread: posts to its event loop, writes to a pipe, sets a flag. Called
 * on any thread, the loop's own and one that is ending included, with no lock of the library held. Two calls can overlap, when one is
 * still on its way back. It must return, must not wait for the loop's thread, and must call no function of this loop.
 */
typedef void (*selv_wake_fn)(void *wake_arg);

/**
 * Options of a host loop. Start from SELV_HOST_LOOP_OPTIONS_INIT; a zero is the default.
 */
typedef struct selv_host_loop_options {
  /**
   * sizeof(selv_host_loop_options)
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t flags;
  /**
   * UTF-8; what the loop is called in messages. NULL: it has a number there.
   */
  const char *name;
  /**
   * Called once each time that the queue begins to fill, and at the end of a drain that leaves something. NULL: the host polls
   * `selv_host_loop_fd` instead.
   */
  selv_wake_fn wake;
  /**
   * Given to `wake`.
   */
  void *wake_arg;
  /**
   * Called with `wake_arg` once, by the close, when `wake` neither runs nor will. Not called if `selv_host_loop_new` fails, nor in a
   * fork child. NULL: nothing is.
   */
  selv_free_fn wake_arg_free;
} selv_host_loop_options;

/**
 * What a host loop is to run, or to drop instead. It may call any function; but a nested drain of the same loop runs nothing.
 */
typedef void (*selv_call_fn)(void *arg);

/**
 * What has happened to a host loop so far, and how it stands. What was accepted has been run, has been dropped, or waits.
 */
typedef struct selv_host_loop_stats {
  /**
   * sizeof(selv_host_loop_stats); set it before the call, as SELV_HOST_LOOP_STATS_INIT does.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Queued now.
   */
  uint64_t waiting;
  /**
   * Calls, outcomes of jobs, completions of operations and turns of guests that were ever queued.
   */
  uint64_t accepted;
  /**
   * Of these, how many a drain has begun to run.
   */
  uint64_t ran;
  /**
   * Idempotent calls that one stands for which waited already; these were not queued.
   */
  uint64_t merged;
  /**
   * Of those accepted, how many the close dropped, or were over before their turn: a call that timed out, an abandoned operation.
   */
  uint64_t dropped;
  /**
   * Times that the host was told that something waits.
   */
  uint64_t wakes;
  /**
   * Drains that were not refused.
   */
  uint64_t drains;
  /**
   * Guests that live now.
   */
  uint64_t guests;
  /**
   * 1 if it is closed.
   */
  uint64_t closed;
} selv_host_loop_stats;

/**
 * Starts a thread for one poll of a guest: has `fn(arg, &value)` and then `deliver(arg, &outcome)` called, once each, on a thread that
 * may block, and returns SELV_OK; or returns an error, and the run ends with that. It has the meaning of `selv_start_thread_soon`, and
 * may wrap it: register the thread somewhere first, start one of its own, count. If `fn` cannot be run after all, `deliver` gets an
 * outcome whose status says why, and the run ends with that. The outcome of one that ran is SELV_OK, what `fn` returned, and NULL.
 * `fn` blocks, so it is not for the host's thread. Calls that come late, or twice, or after a refusal, do nothing. After an interrupt,
 * `fn` may do nothing, or be kept for the next poll. Called on the host's thread. `name` is valid during the call.
 */
typedef selv_status (*selv_start_soon_fn)(void *start_arg,
                                          selv_job_fn fn,
                                          selv_deliver_fn deliver,
                                          void *arg,
                                          const char *name);

/**
 * A guest, and where it is to live. Start from SELV_GUEST_OPTIONS_INIT. `prepare`, `process`, `discard` and `done` are called on the
 * host loop's thread, by its drains, and all of them must return. But for `interrupt`, no function is called while another one runs,
 * so they need no lock between them. A negative status of one ends the run, and `done` is told it.
 *
 * One tick is: `process`, if there was a poll; `prepare`; `poll` with timeout 0. If that brought events, or `prepare` said 0, or an
 * interrupt came, the next tick is queued. Else a thread is asked for and calls `poll` with the time that `prepare` gave; when that
 * returns, the next tick is queued. So there is never a poll beside another or beside a `process`, and no thread while there is work.
 * (The order is that of the guest mode of Trio.)
 */
typedef struct selv_guest_options {
  /**
   * sizeof(selv_guest_options)
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t flags;
  /**
   * The loop that the guest lives in. Required. The guest keeps it open.
   */
  struct selv_host_loop *host;
  /**
   * Whose workers poll, with the hooks of that cache, if `start_soon` is NULL. The guest has a reference of its own until `done` has
   * returned. A guest that sleeps takes one worker, which holds up a shutdown of that cache; with `max_workers` it waits in line for
   * one, and is late by as much: it wants a cache of its own, or one without a bound. NULL: the default cache.
   */
  struct selv_cache *cache;
  /**
   * Starts the threads that poll. NULL: the cache does.
   */
  selv_start_soon_fn start_soon;
  /**
   * Given to `start_soon`.
   */
  void *start_arg;
  /**
   * Given to the functions below.
   */
  void *guest;
  /**
   * Runs what is ready, and stores in `*out_ns` (0 before) the nanoseconds to the next deadline; 0 or SELV_NO_WAIT: again at once;
   * SELV_FOREVER: there is none; SELV_GUEST_DONE. Required.
   */
  selv_status (*prepare)(void *guest, uint64_t *out_ns);
  /**
   * Waits for events, up to `timeout_ns` nanoseconds; may store them in `*out_events` (NULL before: there are none). With timeout 0
   * on the host's thread, else on another; the time counts from this call. With an error, `discard` gets what it stored. Required.
   */
  selv_status (*poll)(void *guest, uint64_t timeout_ns, void **out_events);
  /**
   * Takes what a poll brought; NULL if the time passed, if it was interrupted, maybe by an interrupt that was meant for the poll
   * before it, or if `prepare` wanted none. Not called after a `poll` with timeout 0 that a longer one follows. Required.
   */
  selv_status (*process)(void *guest, void *events);
  /**
   * Frees events that were polled and will not be processed, since the run ends. NULL: nothing is to be freed.
   */
  void (*discard)(void *guest, void *events);
  /**
   * Makes a `poll` that runs on another thread, or is about to begin there, return early. Called on any thread, maybe by several at
   * once, never when `done` has begun; must not block, nor drain the host loop. Required.
   */
  void (*interrupt)(void *guest);
  /**
   * The run is over: called exactly once, as the last. `why`: SELV_OK (SELV_GUEST_DONE), SELV_E_CANCELLED (`selv_guest_stop`; or a
   * poll that was still in line when its cache was shut down with SELV_SHUTDOWN_CANCEL_QUEUED), SELV_E_CLOSED
   * (`selv_guest_abandon`; or the cache had been shut down before), SELV_E_BROKEN (a thread ended inside a callback, or `start_soon`
   * delivered without running), or the error of a callback or of `start_soon`; `selv_last_error` tells which. It may close the host
   * loop and start another guest. Required.
   */
  void (*done)(void *guest, selv_status why);
  /**
   * UTF-8; what the guest is called in messages, and the name of the polling jobs. NULL: "guest", with a number in messages.
   */
  const char *name;
} selv_guest_options;

/**
 * Options of `selv_lock_new`. Start from SELV_LOCK_OPTIONS_INIT.
 */
typedef struct selv_lock_options {
  /**
   * sizeof(selv_lock_options)
   */
  uint32_t struct_size;
  /**
   * SELV_LOCK_STRICT_FIFO, _RECURSIVE, _ROBUST, _TIMED_EDGES, or 0.
   */
  uint32_t flags;
  /**
   * UTF-8; what the lock is called in messages and in the wait graph. NULL: it has a number there.
   */
  const char *name;
} selv_lock_options;

/**
 * What has happened to a lock so far, and how it stands.
 */
typedef struct selv_lock_stats {
  /**
   * sizeof(selv_lock_stats); set it before the call, as SELV_LOCK_STATS_INIT does.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * The selv_task that holds it, or 0.
   */
  uint64_t owner;
  /**
   * How often its owner has acquired it; 0: it is free.
   */
  uint64_t depth;
  /**
   * Threads and operations in line for it now.
   */
  uint64_t waiting;
  /**
   * How often anybody has had to wait, for it or for a condition of it.
   */
  uint64_t waits;
  /**
   * Times it was handed to the first in line, instead of left to the fastest.
   */
  uint64_t handed_over;
  /**
   * Waits for it that ended with SELV_E_TIMEDOUT.
   */
  uint64_t timeouts;
  /**
   * Waits for it that were cancelled or abandoned, or whose task exited.
   */
  uint64_t cancelled;
  /**
   * Waits that were refused with SELV_E_DEADLOCK.
   */
  uint64_t deadlocks;
  /**
   * Times that its owner exited while holding it.
   */
  uint64_t breaks;
  /**
   * 1 if it is broken, or not recoverable.
   */
  uint64_t broken;
  /**
   * 1 if it is closed.
   */
  uint64_t closed;
} selv_lock_stats;

/**
 * What the callback of an operation is told. Valid during the callback.
 */
typedef struct selv_completed {
  /**
   * sizeof(selv_completed)
   */
  uint32_t struct_size;
  /**
   * SELV_OK or SELV_OWNER_DIED: what was asked for is the task's now. Else an error: see the function that began the operation;
   * `selv_last_error` tells why.
   */
  selv_status status;
  /**
   * Grows by one with each waiter of the same object that is completed, blocking or not: the order of grants can be rebuilt from
   * it. 0 if there was no wait.
   */
  uint64_t ticket;
  /**
   * The operation's number, which means nothing any more.
   */
  uint64_t op;
  /**
   * Of a condition: 1 if the task holds the lock.
   */
  int32_t holds_lock;
  /**
   * Of a channel: the bytes received, the callback's to free with `selv_bytes_free`, whether it wants them or not; else NULL.
   */
  void *data;
  /**
   * How many bytes `data` has.
   */
  size_t len;
} selv_completed;

/**
 * Told how an operation ended. Runs on the thread that ended it (by a release, a set, a send, a cancel, a close, a task's exit), or, if
 * the completion has a loop, in a drain of that, with no lock of the library held, after the callbacks of what ended before; callbacks
 * never nest on a thread: what one of them completes is called when it has returned. Where no such call can run it, a worker of the
 * default cache does: on a thread that is just ending, and, without a loop, for `selv_channel_recv_async` and `selv_condition_wait_async`
 * when they are satisfied at once; if no thread can be started, this one does after all. It may call any function, and free the object
 * that it waited for; while it blocks, the callbacks behind it wait. When `c->status` is an error, `selv_last_error` tells why. Must
 * return.
 */
typedef void (*selv_complete_fn)(void *arg, const struct selv_completed *c);

/**
 * Whom to tell of an operation's end.
 */
typedef struct selv_completion {
  /**
   * Required.
   */
  selv_complete_fn fn;
  /**
   * Given to `fn`.
   */
  void *arg;
  /**
   * Where: `fn` is called by a drain of this host loop, in the order of its queue, as if by `selv_host_loop_call_soon`. If the loop has
   * been closed by then, `fn` is told SELV_E_CLOSED on the completing (or closing) thread, and what was granted has gone to the next
   * (what was sent or received by a channel before may stay so): it can only clean up. The loop is not kept open. NULL: on the
   * completing thread.
   */
  struct selv_host_loop *loop;
} selv_completion;

/**
 * Options of `selv_condition_new`. Start from SELV_CONDITION_OPTIONS_INIT.
 */
typedef struct selv_condition_options {
  /**
   * sizeof(selv_condition_options)
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t flags;
  /**
   * UTF-8; what the condition is called in messages and in the wait graph. NULL: it has a number there.
   */
  const char *name;
  /**
   * The lock that protects what is waited for. Required; it lives at least as long as the condition.
   */
  struct selv_lock *lock;
} selv_condition_options;

/**
 * What has happened to a condition so far, and how it stands.
 */
typedef struct selv_condition_stats {
  /**
   * sizeof(selv_condition_stats); set it before the call, as SELV_CONDITION_STATS_INIT does.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Threads and operations that wait to be notified now.
   */
  uint64_t waiting;
  /**
   * Waits so far.
   */
  uint64_t waits;
  /**
   * Waiters that were notified.
   */
  uint64_t notified;
  /**
   * Waits that ended with SELV_E_TIMEDOUT.
   */
  uint64_t timeouts;
  /**
   * Waits that were cancelled or abandoned, or whose task exited.
   */
  uint64_t cancelled;
} selv_condition_stats;

/**
 * Options of `selv_semaphore_new`. Start from SELV_SEMAPHORE_OPTIONS_INIT.
 */
typedef struct selv_semaphore_options {
  /**
   * sizeof(selv_semaphore_options)
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t flags;
  /**
   * UTF-8; what the semaphore is called in messages and in the wait graph. NULL: it has a number there.
   */
  const char *name;
  /**
   * Permits that are free at first.
   */
  uint64_t initial;
  /**
   * Permits that can be free at most, up to 2^62 - 1; 0: so many.
   */
  uint64_t max;
} selv_semaphore_options;

/**
 * What has happened to a semaphore so far, and how it stands.
 */
typedef struct selv_semaphore_stats {
  /**
   * sizeof(selv_semaphore_stats); set it before the call, as SELV_SEMAPHORE_STATS_INIT does.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Permits that are free now.
   */
  uint64_t permits;
  /**
   * Permits that can be free.
   */
  uint64_t max;
  /**
   * Threads and operations in line now.
   */
  uint64_t waiting;
  /**
   * Waits so far.
   */
  uint64_t waits;
  /**
   * Waits that ended with SELV_E_TIMEDOUT.
   */
  uint64_t timeouts;
  /**
   * Waits that were cancelled or abandoned, or whose task exited.
   */
  uint64_t cancelled;
  /**
   * 1 if it is closed.
   */
  uint64_t closed;
} selv_semaphore_stats;

/**
 * Options of `selv_limiter_new`. Start from SELV_LIMITER_OPTIONS_INIT.
 */
typedef struct selv_limiter_options {
  /**
   * sizeof(selv_limiter_options)
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t flags;
  /**
   * UTF-8; what the limiter is called in messages and in the wait graph. NULL: it has a number there.
   */
  const char *name;
  /**
   * How many tokens there are. Required: at least 1.
   */
  uint64_t total;
} selv_limiter_options;

/**
 * What has happened to a limiter so far, and how it stands.
 */
typedef struct selv_limiter_stats {
  /**
   * sizeof(selv_limiter_stats); set it before the call, as SELV_LIMITER_STATS_INIT does.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * How many tokens there are.
   */
  uint64_t total;
  /**
   * Tokens that are out; can be above `total` after that was lowered.
   */
  uint64_t borrowed;
  /**
   * Threads and operations in line now.
   */
  uint64_t waiting;
  /**
   * Waits so far.
   */
  uint64_t waits;
  /**
   * Waits that ended with SELV_E_TIMEDOUT.
   */
  uint64_t timeouts;
  /**
   * Waits that were cancelled or abandoned, or whose task exited.
   */
  uint64_t cancelled;
  /**
   * 1 if it is closed.
   */
  uint64_t closed;
} selv_limiter_stats;

/**
 * Options of `selv_event_new`. Start from SELV_EVENT_OPTIONS_INIT.
 */
typedef struct selv_event_options {
  /**
   * sizeof(selv_event_options)
   */
  uint32_t struct_size;
  /**
   * SELV_EVENT_RESETTABLE, or 0.
   */
  uint32_t flags;
  /**
   * UTF-8; what the event is called in messages and in the wait graph. NULL: it has a number there.
   */
  const char *name;
} selv_event_options;

/**
 * What has happened to an event so far, and how it stands.
 */
typedef struct selv_event_stats {
  /**
   * sizeof(selv_event_stats); set it before the call, as SELV_EVENT_STATS_INIT does.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * 1 if it is set.
   */
  uint64_t is_set;
  /**
   * Threads and operations that wait now.
   */
  uint64_t waiting;
  /**
   * Waits so far.
   */
  uint64_t waits;
  /**
   * Waits that ended with SELV_E_TIMEDOUT.
   */
  uint64_t timeouts;
  /**
   * Waits that were cancelled or abandoned, or whose task exited.
   */
  uint64_t cancelled;
  /**
   * 1 if it is closed.
   */
  uint64_t closed;
} selv_event_stats;

/**
 * Options of `selv_parking_lot_new`. Start from SELV_PARKING_LOT_OPTIONS_INIT.
 */
typedef struct selv_parking_lot_options {
  /**
   * sizeof(selv_parking_lot_options)
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t flags;
  /**
   * UTF-8; what the parking lot is called in messages and in the wait graph. NULL: it has a number there.
   */
  const char *name;
} selv_parking_lot_options;

/**
 * What has happened to a parking lot so far, and how it stands.
 */
typedef struct selv_parking_lot_stats {
  /**
   * sizeof(selv_parking_lot_stats); set it before the call, as SELV_PARKING_LOT_STATS_INIT does.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Threads and operations that are parked now.
   */
  uint64_t waiting;
  /**
   * Parks so far.
   */
  uint64_t waits;
  /**
   * Waiters that were unparked.
   */
  uint64_t unparked;
  /**
   * Parks that ended with SELV_E_TIMEDOUT.
   */
  uint64_t timeouts;
  /**
   * Parks that were cancelled or abandoned, or whose task exited.
   */
  uint64_t cancelled;
  /**
   * Tasks whose exit would break it.
   */
  uint64_t breakers;
  /**
   * 1 if it is broken.
   */
  uint64_t broken;
  /**
   * 1 if it is closed.
   */
  uint64_t closed;
} selv_parking_lot_stats;

/**
 * Options of `selv_channel_new`. Start from SELV_CHANNEL_OPTIONS_INIT.
 */
typedef struct selv_channel_options {
  /**
   * sizeof(selv_channel_options)
   */
  uint32_t struct_size;
  /**
   * SELV_CHANNEL_RENDEZVOUS, or 0.
   */
  uint32_t flags;
  /**
   * UTF-8; what the channel is called in messages and in the wait graph. NULL: it has a number there.
   */
  const char *name;
  /**
   * How many items it holds before a send waits; 0: any number.
   */
  uint64_t capacity;
} selv_channel_options;

/**
 * What has happened to a channel so far, and how it stands.
 */
typedef struct selv_channel_stats {
  /**
   * sizeof(selv_channel_stats); set it before the call, as SELV_CHANNEL_STATS_INIT does.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Items that were sent and not received.
   */
  uint64_t queued;
  /**
   * How many it holds; 0: any number, or none (SELV_CHANNEL_RENDEZVOUS).
   */
  uint64_t capacity;
  /**
   * Threads and operations that wait to send now.
   */
  uint64_t senders_waiting;
  /**
   * Threads and operations that wait to receive now.
   */
  uint64_t receivers_waiting;
  /**
   * Items sent so far.
   */
  uint64_t sent;
  /**
   * Items received so far.
   */
  uint64_t received;
  /**
   * Waits that ended with SELV_E_TIMEDOUT.
   */
  uint64_t timeouts;
  /**
   * Waits that were cancelled or abandoned, or whose task exited.
   */
  uint64_t cancelled;
  /**
   * 1 if it is closed.
   */
  uint64_t closed;
} selv_channel_stats;

/**
 * Writes `len` bytes of UTF-8 (with no NUL) somewhere. Anything but 0 ends the writing, and is returned to the caller. Must not
 * throw or longjmp.
 */
typedef int32_t (*selv_write_fn)(void *arg, const char *data, size_t len);

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
 * as it is. So do the inline functions of the headers in selvedge/ for what they find wrong themselves, without calling the library
 * (an argument that is NULL, a flag, memory): there, `selv_status_text` is all there is.
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
 * Shuts a cache down: new jobs are refused with SELV_E_CLOSED, accepted ones finish and are delivered (or queued on their host loop, whose
 * drain is not waited for), every worker exits its hooks and ends, and is joined. A guest that sleeps on a worker is waited for, too: stop
 * it first. It may be called again, and then goes on waiting. It frees nothing: release the handle after it.
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
 * (the cache is shut down, a named hook unregistered, the limiter or the loop closed); SELV_E_WOULD_BLOCK (SELV_NO_WAIT, and no token of
 * the limiter is free); SELV_E_NOMEM; SELV_E_FORKED (a named hook or the loop belongs to the
 * parent process).
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
 * job's own `fn` or `deliver`; or, unless 0 was given, on the thread of the host loop that is to deliver it); SELV_E_FORKED (a job
 * of the parent process).
 *
 * Threads: any. Blocks: up to `timeout_ns` nanoseconds, or SELV_FOREVER. Reentrancy: from any callback, but not where blocking is
 * forbidden. Fork: in a child, a job of the parent is SELV_E_FORKED. NULL: `j` must not be NULL.
 */
selv_status selv_job_wait(struct selv_job *j,
                          uint64_t timeout_ns,
                          struct selv_outcome *out);

/**
 * Cancels a job that no worker has begun: it is delivered with SELV_E_CANCELLED, on this thread, inside this call, or, if it has a loop,
 * queued there; `fn` never runs.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_TOO_LATE (it has begun, or has ended, or was cancelled before; nothing changes);
 * SELV_E_FORKED (a job of the parent process).
 *
 * Threads: any. Blocks: as long as a `deliver` that runs here. Reentrancy: from any callback. Fork: in a child, a job of the parent is
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
 * workers and inside hooks' callbacks. Fork: in a child a disarmed hook is SELV_OK at once, and `user_free` is not called. NULL:
 * `h` must not be NULL.
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

/**
 * Makes a task. `name` (UTF-8, its first 47 bytes are kept) is what messages and the wait graph call it; NULL: its number.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`name` is not UTF-8); SELV_E_NOMEM (there are 16,777,152 of them).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `name` may be NULL, `out` must not be.
 */
selv_status selv_task_new(const char *name,
                          selv_task *out);

/**
 * Calls a task `name` (UTF-8, its first 47 bytes are kept) in messages and in the wait graph from now on; NULL: its number. Also for a
 * thread's own task, which is called as the operating system calls the thread when the task is made, and for a job's, which is called as
 * the job or else as its worker.
 *
 * Returns SELV_OK; SELV_E_INVAL (`name` is not UTF-8; `t` was never a task); SELV_E_STALE; SELV_E_FORKED.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child for the child's tasks. NULL: `name` may be NULL.
 */
selv_status selv_task_set_name(selv_task t,
                               const char *name);

/**
 * Ends a task. In this order: what it waits for is cancelled; what an operation of it was granted, and its callback has not begun,
 * goes to the next; the locks that it holds are broken, or with SELV_LOCK_ROBUST handed on; its limiter tokens are returned, and the
 * parking lots that it is a breaker of break. With nothing in hand that costs some 50 nanoseconds; if it holds locks, a look at
 * every object of the process.
 *
 * `out` may be NULL; else it gets the counts, and `out->each` is called for each item.
 *
 * Returns SELV_OK; SELV_E_INVAL (0, never a task, a thread's or a job's own task: those exit with their thread or job;
 * `struct_size`; then the task lives on); SELV_E_STALE (it has exited before); SELV_E_FORKED.
 *
 * Threads: any, but after all other calls of this task. Blocks: no; callbacks of operations that it completes run here. Reentrancy:
 * from any callback. Fork: works in a child for the child's tasks. NULL: `out` may be NULL.
 */
selv_status selv_task_exit(selv_task t,
                           struct selv_task_report *out);

/**
 * The task that the calling thread acts for: the one that it entered last; else, inside a job (its `fn`, `before_job` and
 * `after_job`), the job's; else the thread's own, also in `deliver`, which comes after the exit of the job's task. When an entered
 * task has exited, it stays the answer, and is SELV_E_STALE, until the thread enters another one, or 0. 0 only in the very end of a
 * thread, or when there is no memory.
 *
 * Threads: any; each has its own. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps its own. NULL: no
 * pointers.
 */
selv_task selv_task_current(void);

/**
 * Has the task's blocking wait return SELV_E_CANCELLED: for Ctrl-C, or Java's Thread.interrupt. If it is not blocked, or its wait is
 * granted at this moment, its next call that has to wait returns so; calls that do not wait (tries, a timeout of 0, operations)
 * neither return so nor use the interruption up. Several before that are one. A condition's waiter has its lock back first.
 *
 * Returns SELV_OK; SELV_E_INVAL; SELV_E_STALE; SELV_E_FORKED.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback, but not from a signal handler. Fork: works in a child for the child's
 * tasks. NULL: no pointers.
 */
selv_status selv_task_interrupt(selv_task t);

/**
 * Makes `t` the current task of the calling thread, as when a coroutine or greenlet is switched to; 0 goes back to the job's or
 * the thread's own. `out_previous` (may be NULL) gets what was entered before, 0 for nothing, to be entered again at the switch
 * back. The end of a job leaves whatever was entered in it.
 *
 * Returns SELV_OK; SELV_E_INVAL; SELV_E_STALE; SELV_E_FORKED; then nothing has changed.
 *
 * Threads: any; a task is to be current on one at a time. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps it.
 * NULL: `out_previous` may be NULL.
 */
selv_status selv_task_enter(selv_task t,
                            selv_task *out_previous);

/**
 * Has an operation end with SELV_E_CANCELLED: its callback is called, once, on this thread, or in a drain of its loop. A condition's
 * waiter has its lock back first: if another task holds the lock, the callback comes when that lets go, on that thread; until then a
 * second cancel is SELV_E_TOO_LATE, and an abandon leaves the lock to the next.
 *
 * Returns SELV_OK; SELV_E_TOO_LATE (it has been granted, or has ended otherwise: its callback has been or is being called);
 * SELV_E_INVAL (never an operation).
 *
 * Threads: any. Blocks: no; callbacks run here. Reentrancy: from any callback. Fork: the parent's operations do not exist in a
 * child: SELV_E_TOO_LATE. NULL: no pointers.
 */
selv_status selv_op_cancel(selv_op op);

/**
 * Ends an operation without its callback: when this returns SELV_OK, the callback will never be called, and what was granted meanwhile has
 * gone to the next in line. That is so until the callback begins, also while it waits in the queue of its loop.
 *
 * Returns SELV_OK; SELV_E_TOO_LATE (its callback has begun, or it was ended before); SELV_E_INVAL (never an operation).
 *
 * Threads: any. Blocks: no; callbacks of others run here. Reentrancy: from any callback. Fork: as `selv_op_cancel`. NULL: no pointers.
 */
selv_status selv_op_abandon(selv_op op);

/**
 * Makes a queue into an event loop of the host's, whose thread is the calling one until `selv_host_loop_bind` says otherwise. The host
 * runs what is queued with `selv_host_loop_drain`, on that thread, each time it has been told that something is: by `opts->wake`, or,
 * if that is NULL, by `selv_host_loop_fd`.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `wake_arg_free` without `wake`, `struct_size`, a name that is not UTF-8);
 * SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know); SELV_E_NOMEM (no file descriptor is left).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults, with a file
 * descriptor; `out` must not be.
 */
selv_status selv_host_loop_new(const struct selv_host_loop_options *opts,
                               struct selv_host_loop **out);

/**
 * One more reference to the loop; gives `l` back.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
 */
struct selv_host_loop *selv_host_loop_retain(struct selv_host_loop *l);

/**
 * Gives a reference back. With the last one gone a loop that is open is closed, as by `selv_host_loop_close`, but on the calling
 * thread, whichever that is. A living guest has a reference of its own.
 *
 * Threads: any. Blocks: as `selv_host_loop_close`, if it was the last one. Reentrancy: from any callback but `wake`. Fork: in a child
 * it gives the descriptor back, and nothing is dropped or called. NULL: does nothing.
 */
void selv_host_loop_release(struct selv_host_loop *l);

/**
 * A file descriptor that is readable while something waits and no drain runs, for poll, epoll, a GSource, a uv_poll. The drain resets
 * it: the host only polls it, level-triggered or edge-triggered, and neither reads nor closes it. It stays open until the last handle
 * is released; after a close it is not readable. -1, which is no error: the loop has a `wake`.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: in a child it must not be polled. NULL: gives -1.
 */
int selv_host_loop_fd(const struct selv_host_loop *l);

/**
 * Makes the calling thread the loop's: from now on it, and no other, drains and closes. For a host whose event loop moves to another
 * thread, or whose thread has ended, even inside a drain: what that had not begun is for the next one. If that thread may have been
 * told that something waits, and not have come to it, `wake` is called again, here, and the descriptor becomes readable anew.
 *
 * Returns SELV_OK; SELV_E_BUSY (a drain runs on another, living thread); SELV_E_REENTRANT (inside a drain of this loop);
 * SELV_E_CLOSED; SELV_E_FORKED (the loop belongs to the parent process); SELV_E_NULL.
 *
 * Threads: any; the host sees to it that the thread before it does not drain any more. Blocks: no; `wake` runs here. Reentrancy: not
 * from what the loop runs. Fork: SELV_E_FORKED in a child. NULL: `l` must not be NULL.
 */
selv_status selv_host_loop_bind(struct selv_host_loop *l);

/**
 * Has the loop run `fn(arg)`, on its own thread, in a drain to come, in the order in which calls were accepted; what was written
 * before the call is seen by `fn`. If the loop is closed before, `drop(arg)` is called instead, on the closing thread. One of the two
 * happens, exactly once.
 *
 * With SELV_CALL_IDEMPOTENT a call is not queued if one with the same `fn` and `arg` and this flag waits already: that one, in its
 * place, stands for both, and `drop` of the second is not called. A call that has begun to run waits no more.
 *
 * Returns SELV_OK; SELV_E_CLOSED (neither will be called); SELV_E_NULL; SELV_E_INVAL (unknown flags); SELV_E_FORKED (the loop belongs
 * to the parent process).
 *
 * Threads: any; not from a signal handler. Blocks: no; `wake` runs here. Reentrancy: from any callback but `wake`. Fork: SELV_E_FORKED
 * in a child. NULL: `l` and `fn` must not be NULL; `arg` and `drop` may be.
 */
selv_status selv_host_loop_call_soon(struct selv_host_loop *l,
                                     selv_call_fn fn,
                                     void *arg,
                                     selv_call_fn drop,
                                     uint32_t flags);

/**
 * Has the loop run `fn(arg, &value)` on its own thread, and waits for its end. The timeout covers the wait for its *beginning*: if no
 * drain has begun it by then, it never runs; once begun, the call waits until it ends, however long.
 *
 * `out` gets what `fn` returned and stored; when the call fails, it is zeroed.
 *
 * Returns SELV_OK (it has run); SELV_E_TIMEDOUT (it will never run); SELV_E_CLOSED (the loop was closed before it began);
 * SELV_E_DEADLOCK (called on the own thread of an open loop: it would wait for itself); SELV_E_BROKEN (the loop's thread ended inside `fn`);
 * SELV_E_NULL; SELV_E_FORKED (the loop belongs to the parent process).
 *
 * A loop whose thread has ended, or does not drain, begins nothing: the call then waits for its timeout, or for a thread that is bound
 * to the loop. This wait is in no wait graph: a ring through it, with a lock that the caller holds and the loop's thread waits for, or
 * a job that it waits for in `selv_job_wait` and that makes this call, is not refused. There, give a timeout.
 *
 * Threads: any but the loop's own. Blocks: up to `timeout_ns` until `fn` begins, then until it has ended; `selv_task_interrupt` does
 * not end it. Reentrancy: from any callback that may block. Fork: SELV_E_FORKED in a child. NULL: `l` and `fn` must not be NULL; `arg`
 * and `out` may be.
 */
selv_status selv_host_loop_call(struct selv_host_loop *l,
                                selv_job_fn fn,
                                void *arg,
                                uint64_t timeout_ns,
                                struct selv_outcome *out);

/**
 * Runs what is queued now, in order: at most `max_calls` of it; 0 is no bound. What these calls queue is for a later drain, so a call
 * that queues itself again does not keep the host's loop from its other work. If something is left at the end, the host is told again,
 * once.
 *
 * It is never re-entered: called by something that it runs, for instance through a main loop nested there, it runs nothing. Meanwhile
 * the host is not told of anything, so such a nested loop is not kept busy, either.
 *
 * `out_ran` gets how many have run; 0 on an error. A loop that is closed by what it runs gives SELV_OK, with what has run until then.
 *
 * Returns SELV_OK, also if nothing waited; SELV_E_WRONG_THREAD (see `selv_host_loop_bind`); SELV_E_REENTRANT (inside a drain of this
 * loop, or its `wake`); SELV_E_CLOSED; SELV_E_NULL; SELV_E_FORKED (the loop belongs to the parent process).
 *
 * Threads: the loop's own. Blocks: no, beyond what it runs. Reentrancy: from any callback; from what this very loop runs it is
 * SELV_E_REENTRANT. Fork: SELV_E_FORKED in a child. NULL: `l` must not be NULL; `out_ran` may be.
 */
selv_status selv_host_loop_drain(struct selv_host_loop *l,
                                 uint32_t max_calls,
                                 uint32_t *out_ran);

/**
 * Closes the loop: nothing is accepted any more. What waits is dropped, here, in order: `drop` of the calls; who waits in
 * `selv_host_loop_call` gets SELV_E_CLOSED; outcomes of jobs and completions of operations are told with SELV_E_CLOSED. What has begun
 * ends as always. When it returns, `wake` does not run and never will. The handles stay valid until they are released.
 *
 * Returns SELV_OK, also if it was closed before; SELV_E_BUSY (a guest lives: see `selv_guest_stop`, `selv_guest_abandon`);
 * SELV_E_WRONG_THREAD (see `selv_host_loop_bind`); SELV_E_REENTRANT (inside `wake`); SELV_E_NULL; SELV_E_FORKED (the loop belongs to
 * the parent process).
 *
 * Threads: the loop's own. Blocks: while another thread is inside `wake`. Reentrancy: from any callback but `wake`, also from what the
 * loop runs or drops. Fork: SELV_E_FORKED in a child. NULL: `l` must not be NULL.
 */
selv_status selv_host_loop_close(struct selv_host_loop *l);

/**
 * How a host loop stands. Set `out->struct_size` first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`); SELV_E_FORKED (the loop belongs to the parent process).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: SELV_E_FORKED in a child. NULL: no argument may be NULL.
 */
selv_status selv_host_loop_get_stats(const struct selv_host_loop *l,
                                     struct selv_host_loop_stats *out);

/**
 * Starts a guest: an event loop whose waiting is done on a worker thread, and all the rest on the thread of the host's own loop,
 * between the host's other work. The first tick comes with the next drain; nothing of the guest is called here.
 *
 * `out` gets a handle for `selv_guest_interrupt`, `_stop` and `_abandon`, to be freed with `selv_guest_release`, at any time: the run
 * goes on. It is written before a callback can run.
 *
 * Returns SELV_OK: `done` will be called exactly once. On any error it will not be: SELV_E_NULL (a required field); SELV_E_INVAL
 * (unknown flags, `struct_size`, a name that is not UTF-8); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not
 * know); SELV_E_WRONG_THREAD; SELV_E_CLOSED (the loop); SELV_E_FORKED (the loop belongs to the parent process).
 *
 * Threads: the host loop's own. Blocks: no. Reentrancy: from any callback on that thread, also `done`. Fork: SELV_E_FORKED in a child.
 * NULL: no argument may be NULL, nor a field that is said to be required.
 */
selv_status selv_guest_start(const struct selv_guest_options *opts,
                             struct selv_guest **out);

/**
 * One more reference to the guest's handle; gives `g` back.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
 */
struct selv_guest *selv_guest_retain(struct selv_guest *g);

/**
 * Gives a reference back. The run goes on, if it is not over.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback, also `done`. Fork: works; nothing of a guest is called in a child, not even
 * `done`. NULL: does nothing.
 */
void selv_guest_release(struct selv_guest *g);

/**
 * Has `prepare` called again soon: something has come up that the guest's own poll does not see. If a poll sleeps, the guest's
 * `interrupt` is called, here; if one is about to begin, it does not. Work that was there before this call is seen by a `prepare` that
 * begins after it.
 *
 * Returns SELV_OK; SELV_E_TOO_LATE (`done` has been called, or is about to be); SELV_E_NULL; SELV_E_FORKED (the guest belongs to the
 * parent process).
 *
 * Threads: any; not from a signal handler. Blocks: no; `interrupt` runs here. Reentrancy: from any callback. Fork: SELV_E_FORKED in a
 * child. NULL: `g` must not be NULL.
 */
selv_status selv_guest_interrupt(struct selv_guest *g);

/**
 * Ends the run: a poll is interrupted, and the next drain of the host loop discards what was polled and calls `done` with
 * SELV_E_CANCELLED. From inside a callback of the guest, that is the last one before these. A poll that does not heed `interrupt`
 * holds the end up. After a `selv_guest_abandon` that timed out nothing comes of it: only another one ends the run.
 *
 * Returns SELV_OK, also if the end was on its way; SELV_E_TOO_LATE (`done` has been called, or is about to be); SELV_E_NULL;
 * SELV_E_FORKED (the guest belongs to the parent process).
 *
 * Threads: any; not from a signal handler. Blocks: no; `interrupt` runs here. Reentrancy: from any callback. Fork: SELV_E_FORKED in a
 * child. NULL: `g` must not be NULL.
 */
selv_status selv_guest_stop(struct selv_guest *g);

/**
 * Ends the run without the host loop, which nobody drains any more: interrupts the poll, waits for up to `timeout_ns` nanoseconds
 * until it has returned, discards what was polled, and calls `done` with SELV_E_CLOSED, on this thread, before it returns SELV_OK. No
 * poll is running then. After SELV_E_TOO_LATE `done` may still be running on the host's thread.
 *
 * Returns SELV_OK; SELV_E_TIMEDOUT (the poll, or a callback on the host's thread, has not returned; nothing more is called until a
 * later call of this function ends the run); SELV_E_TOO_LATE (`done` has been called, or is about to be); SELV_E_REENTRANT (inside a
 * callback of this guest); SELV_E_NULL; SELV_E_FORKED (the guest belongs to the parent process).
 *
 * Threads: any. Blocks: up to `timeout_ns`; SELV_FOREVER for ever, 0 not at all. Reentrancy: from any callback that may block and is
 * none of this guest's. Fork: SELV_E_FORKED in a child. NULL: `g` must not be NULL.
 */
selv_status selv_guest_abandon(struct selv_guest *g,
                               uint64_t timeout_ns);

/**
 * What starts a guest's threads if it has no `start_soon`: `selv_start_thread_soon` in the form of a selv_start_soon_fn, for a host's
 * own one to end in. `cache` is a selv_cache; NULL: the default cache.
 *
 * Returns what `selv_start_thread_soon` returns.
 *
 * Threads: any. Blocks: no, beyond starting a thread. Reentrancy: from any callback. Fork: works in a child. NULL: `fn` must not be
 * NULL; everything else may be.
 */
selv_status selv_start_soon_on_cache(void *cache,
                                     selv_job_fn fn,
                                     selv_deliver_fn deliver,
                                     void *arg,
                                     const char *name);

/**
 * Makes a lock.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8); SELV_E_UNSUPPORTED (a newer
 * struct that uses what this version does not know).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults; `out`
 * must not be.
 */
selv_status selv_lock_new(const struct selv_lock_options *opts,
                          struct selv_lock **out);

/**
 * Ends a lock that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
 *
 * Returns SELV_OK; SELV_E_BUSY (it is held by a living task, somebody waits, or a condition uses it; a broken lock can be freed).
 *
 * Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
 * their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
 * other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
 */
selv_status selv_lock_free(struct selv_lock *l);

/**
 * Closes a lock: everybody in line for it or for a condition of it gets SELV_E_CLOSED, and so does every later acquire. Its owner
 * keeps it and may release it.
 *
 * Returns SELV_OK, also if it was closed before; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `l` must not be NULL.
 */
selv_status selv_lock_close(struct selv_lock *l);

/**
 * How a lock stands. Set `out->struct_size` first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: no
 * argument may be NULL.
 */
selv_status selv_lock_get_stats(const struct selv_lock *l,
                                struct selv_lock_stats *out);

/**
 * Takes the lock if it can be had at once. On a SELV_LOCK_RECURSIVE lock that the task holds, it is held once more.
 *
 * Returns SELV_OK; SELV_OWNER_DIED (a SELV_LOCK_ROBUST lock whose last owner exited while holding it: it is held now, see
 * `selv_lock_make_consistent`); SELV_E_WOULD_BLOCK (another task holds it); SELV_E_DEADLOCK (the task has it already, and it is not
 * SELV_LOCK_RECURSIVE); SELV_E_BROKEN (its owner exited while holding it: see `selv_lock_repair`; `selv_last_error` names both);
 * SELV_E_NOT_RECOVERABLE; SELV_E_CLOSED; SELV_E_FORKED (a thread of the parent process held it at the fork); SELV_E_OVERFLOW (it is held
 * 2^32 - 1 times); SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NULL.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; see SELV_E_FORKED. NULL: `l` must not be NULL.
 */
selv_status selv_lock_try_acquire(struct selv_lock *l,
                                  selv_task task);

/**
 * Takes the lock, waiting for it for up to `timeout_ns` nanoseconds. A free lock is had with one atomic operation.
 *
 * The lock belongs to `task`, not to the thread: another thread may release it for the same task. By default a lock that is released
 * goes to whoever is fastest, and about every half millisecond of contention to who waits longest; with SELV_LOCK_STRICT_FIFO always
 * to who waits longest. (The default is the eventual fairness of the parking_lot crate, and WebKit's locks before it.)
 *
 * A wait without a timeout that would close a ring of tasks, each of which waits for a lock or an only limiter token that the next
 * one has, is refused, and the others go on: `selv_last_error` spells the ring. A ring that closes later, since a condition's waiter
 * comes to want its lock back, or a task has got one of two things that it waited for, is found then. Waits with a timeout are not
 * looked at, unless the lock is SELV_LOCK_TIMED_EDGES, and do not count in rings; nor does a task that waits for several things at
 * once.
 *
 * On an error the task does not hold the lock, unless it did before. A closed lock is SELV_E_CLOSED even if it is broken.
 *
 * Returns SELV_OK; SELV_OWNER_DIED (a SELV_LOCK_ROBUST lock whose last owner exited while holding it: it is held now, see
 * `selv_lock_make_consistent`); SELV_E_TIMEDOUT (also with 0, if another task holds it); SELV_E_DEADLOCK (the task has it already, and
 * it is not SELV_LOCK_RECURSIVE; or the wait would close a ring); SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited);
 * SELV_E_BROKEN (its owner exited while holding it: see `selv_lock_repair`; `selv_last_error` names both); SELV_E_NOT_RECOVERABLE;
 * SELV_E_CLOSED; SELV_E_FORKED (a thread of the parent process held it at the fork); SELV_E_OVERFLOW (it is held 2^32 - 1 times);
 * SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NULL.
 *
 * Threads: any. Blocks: up to `timeout_ns`; SELV_FOREVER for ever, 0 not at all. Reentrancy: from any callback that may block. Fork:
 * works in a child; see SELV_E_FORKED. NULL: `l` must not be NULL.
 */
selv_status selv_lock_acquire(struct selv_lock *l,
                              selv_task task,
                              uint64_t timeout_ns);

/**
 * Takes the lock for `task`, or stands in line for it with no thread. An operation that is first in line is always handed the lock.
 * Its callback gets SELV_OK or SELV_OWNER_DIED (the task holds the lock), or SELV_E_BROKEN, SELV_E_NOT_RECOVERABLE, SELV_E_CLOSED,
 * SELV_E_CANCELLED, or SELV_E_DEADLOCK (a ring closed while it was in line).
 *
 * Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_OWNER_DIED; and the errors of `selv_lock_acquire` but SELV_E_TIMEDOUT;
 * SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; see SELV_E_FORKED. NULL: `l`, `completion` and
 * `completion->fn` must not be NULL; `out_op` may be.
 */
selv_status selv_lock_acquire_async(struct selv_lock *l,
                                    selv_task task,
                                    const struct selv_completion *completion,
                                    selv_op *out_op);

/**
 * Gives the lock back. A SELV_LOCK_ROBUST lock that was acquired with SELV_OWNER_DIED and not made consistent is not recoverable
 * from then on.
 *
 * Returns SELV_OK; SELV_E_NOT_OWNER (the task does not hold it: nothing changes); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED
 * or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: in a child, the
 * tasks that live on release what they hold. NULL: `l` must not be NULL.
 */
selv_status selv_lock_release(struct selv_lock *l,
                              selv_task task);

/**
 * The task that holds the lock; 0 if nobody does, or it is broken. It may have changed when this returns, unless it is the caller's own.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: in a child it may be a task of the parent process. NULL: gives 0.
 */
selv_task selv_lock_owner(const struct selv_lock *l);

/**
 * Takes a broken lock for `task` and makes it whole: to be done by who has put right what the lock protects, or is going to. Of
 * several that try, one gets SELV_OK, and the others SELV_E_INVAL: they acquire it as usual then. In a fork child it also takes a
 * lock that a thread of the parent process held.
 *
 * Returns SELV_OK (the task holds it); SELV_E_INVAL (it is not broken; a SELV_LOCK_ROBUST lock is acquired instead);
 * SELV_E_NOT_RECOVERABLE; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `l` must not be NULL.
 */
selv_status selv_lock_repair(struct selv_lock *l,
                             selv_task task);

/**
 * Declares what a SELV_LOCK_ROBUST lock protects to be in order again, after it was acquired with SELV_OWNER_DIED. If it is released
 * without this, it is not recoverable: everybody gets SELV_E_NOT_RECOVERABLE for ever.
 *
 * Returns SELV_OK; SELV_E_NOT_OWNER; SELV_E_INVAL (it was acquired in order); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or
 * SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `l` must not be NULL.
 */
selv_status selv_lock_make_consistent(struct selv_lock *l,
                                      selv_task task);

/**
 * Makes a condition.
 *
 * Returns SELV_OK; SELV_E_NULL (`opts`, `opts->lock`, `out`); SELV_E_INVAL (unknown flags, `struct_size`, a name that is not
 * UTF-8); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` and `out` must not be NULL.
 */
selv_status selv_condition_new(const struct selv_condition_options *opts,
                               struct selv_condition **out);

/**
 * Ends a condition that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
 *
 * Returns SELV_OK; SELV_E_BUSY (somebody waits to be notified).
 *
 * Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
 * their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
 * other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
 */
selv_status selv_condition_free(struct selv_condition *c);

/**
 * Closes a condition: everybody who waits for it comes back with SELV_E_CLOSED, holding the lock, and nobody waits any more.
 *
 * Returns SELV_OK, also if it was closed before; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `c` must not be NULL.
 */
selv_status selv_condition_close(struct selv_condition *c);

/**
 * How a condition stands. Set `out->struct_size` first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: no
 * argument may be NULL.
 */
selv_status selv_condition_get_stats(const struct selv_condition *c,
                                     struct selv_condition_stats *out);

/**
 * Lets go of the lock, waits to be notified, and has the lock back when it returns. A SELV_LOCK_RECURSIVE lock is let go of wholly,
 * and held as often as before afterwards. As with every condition, look again at what is waited for: it can have changed back
 * meanwhile.
 *
 * The timeout covers the wait to be notified. A timeout or a `selv_task_interrupt` also has the lock back first, however long that
 * takes. `out_holds_lock` (may be NULL) is written in every case: 1 if the task holds the lock when this returns, else 0.
 *
 * Returns SELV_OK (notified, holding the lock); SELV_OWNER_DIED (the same, of a SELV_LOCK_ROBUST lock whose last owner exited while
 * holding it); SELV_E_TIMEDOUT, SELV_E_CANCELLED, SELV_E_CLOSED of the condition (holding the lock); SELV_E_BROKEN,
 * SELV_E_NOT_RECOVERABLE, SELV_E_CLOSED of the lock, SELV_E_CANCELLED because the task exited, SELV_E_DEADLOCK (having the lock back
 * would close a ring): not holding it. At once, holding it if it was held: SELV_E_NOT_OWNER (the task does not hold the lock);
 * SELV_E_CLOSED (the condition or its lock was closed); SELV_E_INVAL (the lock was acquired with SELV_OWNER_DIED, and is to be made
 * consistent first); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: up to `timeout_ns`, and for the lock. Reentrancy: from any callback that may block. Fork: works in a child,
 * where nobody of the parent waits. NULL: `c` must not be NULL; `out_holds_lock` may be.
 */
selv_status selv_condition_wait(struct selv_condition *c,
                                selv_task task,
                                uint64_t timeout_ns,
                                int32_t *out_holds_lock);

/**
 * As `selv_condition_wait`, with no thread: lets go of the lock now, and the callback tells how the wait ended, with `holds_lock`.
 * It always comes; if the wait is over at once, on a worker of the default cache.
 *
 * Returns SELV_PENDING; else the lock is held as before: SELV_E_NOT_OWNER (the task does not hold the lock); SELV_E_CLOSED (the
 * condition or its lock was closed); SELV_E_INVAL (the lock was acquired with SELV_OWNER_DIED, and is to be made consistent first);
 * SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and
 * SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no; callbacks of others, which get the lock, run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `c`, `completion` and `completion->fn` must not be NULL; `out_op` may be.
 */
selv_status selv_condition_wait_async(struct selv_condition *c,
                                      selv_task task,
                                      const struct selv_completion *completion,
                                      selv_op *out_op);

/**
 * Notifies up to `n` waiters, who waits longest first. They go in line for the lock, which the caller holds, and each wakes when it
 * has it.
 *
 * Returns SELV_OK, also if nobody waits; SELV_E_NOT_OWNER (the task does not hold the lock); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE,
 * SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `c` must
 * not be NULL.
 */
selv_status selv_condition_notify(struct selv_condition *c,
                                  selv_task task,
                                  uint64_t n);

/**
 * Notifies everybody who waits, as `selv_condition_notify`.
 *
 * Returns SELV_OK; SELV_E_NOT_OWNER; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `c` must
 * not be NULL.
 */
selv_status selv_condition_notify_all(struct selv_condition *c,
                                      selv_task task);

/**
 * Makes a semaphore.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8; `initial` above `max`, or
 * `max` above 2^62 - 1); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults; `out`
 * must not be.
 */
selv_status selv_semaphore_new(const struct selv_semaphore_options *opts,
                               struct selv_semaphore **out);

/**
 * Ends a semaphore that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
 *
 * Returns SELV_OK; SELV_E_BUSY (somebody waits).
 *
 * Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
 * their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
 * other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
 */
selv_status selv_semaphore_free(struct selv_semaphore *s);

/**
 * Closes a semaphore: everybody in line gets SELV_E_CLOSED, and so does every later acquire. Permits can still be released.
 *
 * Returns SELV_OK, also if it was closed before; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, which begins with the permits that were free at the fork. NULL: `s` must not be NULL.
 */
selv_status selv_semaphore_close(struct selv_semaphore *s);

/**
 * How a semaphore stands. Set `out->struct_size` first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, which begins with the permits that were free at
 * the fork. NULL: no argument may be NULL.
 */
selv_status selv_semaphore_get_stats(const struct selv_semaphore *s,
                                     struct selv_semaphore_stats *out);

/**
 * Takes `n` permits if so many are free and nobody is in line.
 *
 * Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_CLOSED; SELV_E_INVAL (`n` is 0 or above the semaphore's max); SELV_E_NULL.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, which begins with the permits that were free at
 * the fork. NULL: `s` must not be NULL.
 */
selv_status selv_semaphore_try_acquire(struct selv_semaphore *s,
                                       uint64_t n);

/**
 * Takes `n` permits, waiting in line for up to `timeout_ns` nanoseconds. Who is first in line is served first, also if it wants more
 * than those behind it. `task` is who waits; it does not own the permits.
 *
 * Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_CLOSED; SELV_E_INVAL (`n` is 0
 * or above the semaphore's max); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, which begins with
 * the permits that were free at the fork. NULL: `s` must not be NULL.
 */
selv_status selv_semaphore_acquire(struct selv_semaphore *s,
                                   selv_task task,
                                   uint64_t n,
                                   uint64_t timeout_ns);

/**
 * As `selv_semaphore_acquire`, with no thread. The callback gets SELV_OK (with the permits), SELV_E_CLOSED or SELV_E_CANCELLED.
 *
 * Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_CLOSED; SELV_E_INVAL (`n` is 0 or above the semaphore's max);
 * SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and
 * SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, which begins with the permits that were free at
 * the fork. NULL: `s`, `completion` and `completion->fn` must not be NULL; `out_op` may be.
 */
selv_status selv_semaphore_acquire_async(struct selv_semaphore *s,
                                         selv_task task,
                                         uint64_t n,
                                         const struct selv_completion *completion,
                                         selv_op *out_op);

/**
 * Gives `n` permits back, or makes them: whoever releases need not have acquired. They go to those in line first.
 *
 * Returns SELV_OK; SELV_E_OVERFLOW (more than max would be free: nothing changes); SELV_E_INVAL (`n` is 0); SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, which begins with the permits that were free at the fork. NULL: `s` must not be NULL.
 */
selv_status selv_semaphore_release(struct selv_semaphore *s,
                                   uint64_t n);

/**
 * Makes a limiter.
 *
 * Returns SELV_OK; SELV_E_NULL (`opts`, `out`); SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8; `total` is 0);
 * SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` and `out` must not be NULL.
 */
selv_status selv_limiter_new(const struct selv_limiter_options *opts,
                             struct selv_limiter **out);

/**
 * Ends a limiter that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
 *
 * Returns SELV_OK; SELV_E_BUSY (a token is borrowed, or somebody waits).
 *
 * Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
 * their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
 * other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
 */
selv_status selv_limiter_free(struct selv_limiter *l);

/**
 * Closes a limiter: everybody in line gets SELV_E_CLOSED, and so does every later acquire. Tokens can still be returned.
 *
 * Returns SELV_OK, also if it was closed before; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child; tokens of tasks of the parent process are free there. NULL: `l` must not be NULL.
 */
selv_status selv_limiter_close(struct selv_limiter *l);

/**
 * How a limiter stands. Set `out->struct_size` first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
 * there. NULL: no argument may be NULL.
 */
selv_status selv_limiter_get_stats(const struct selv_limiter *l,
                                   struct selv_limiter_stats *out);

/**
 * Takes a token for a task, if one is free and nobody is in line.
 *
 * Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_DUPLICATE (the borrower has a token, or is in line for one); SELV_E_CLOSED; SELV_E_NULL;
 * SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
 * there. NULL: `l` must not be NULL.
 */
selv_status selv_limiter_try_acquire(struct selv_limiter *l,
                                     selv_task borrower);

/**
 * Takes a token for a task, waiting in line for up to `timeout_ns` nanoseconds. A token that comes free goes to who is first in line
 * at that moment. A task that exits returns its token.
 *
 * Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_DUPLICATE (the borrower has a
 * token, or is in line for one); SELV_E_DEADLOCK (of a limiter whose total is 1: see `selv_lock_acquire`); SELV_E_CLOSED; SELV_E_NULL;
 * SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child; tokens of tasks of
 * the parent process are free there. NULL: `l` must not be NULL.
 */
selv_status selv_limiter_acquire(struct selv_limiter *l,
                                 selv_task borrower,
                                 uint64_t timeout_ns);

/**
 * As `selv_limiter_acquire`, with no thread. The callback gets SELV_OK (with the token), SELV_E_CLOSED, SELV_E_CANCELLED, or
 * SELV_E_DEADLOCK (a ring closed while it was in line).
 *
 * Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_DUPLICATE (the borrower has a token, or is in line for one);
 * SELV_E_DEADLOCK; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see
 * selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
 * there. NULL: `l`, `completion` and `completion->fn` must not be NULL; `out_op` may be.
 */
selv_status selv_limiter_acquire_async(struct selv_limiter *l,
                                       selv_task borrower,
                                       const struct selv_completion *completion,
                                       selv_op *out_op);

/**
 * Returns a task's token. It goes to who is first in line.
 *
 * Returns SELV_OK; SELV_E_NOT_OWNER (the task has no token); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the
 * task).
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child; tokens of tasks of the parent process are free there. NULL: `l` must not be NULL.
 */
selv_status selv_limiter_release(struct selv_limiter *l,
                                 selv_task borrower);

/**
 * Changes how many tokens there are. More: those in line get them. Fewer than are borrowed: tokens come back without going out
 * again, until it fits. 0: nobody gets a token.
 *
 * Returns SELV_OK; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child; tokens of tasks of the parent process are free there. NULL: `l` must not be NULL.
 */
selv_status selv_limiter_set_total(struct selv_limiter *l,
                                   uint64_t total);

/**
 * Takes a token for a borrower that is no task, if one is free and nobody is in line. Borrowers of this kind are any number that
 * means something to the host, apart from tasks; their tokens are returned by `selv_limiter_release_on_behalf_of` only.
 *
 * Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_DUPLICATE (the borrower has a token, or is in line for one); SELV_E_CLOSED;
 * SELV_E_NULL.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
 * there. NULL: `l` must not be NULL.
 */
selv_status selv_limiter_try_acquire_on_behalf_of(struct selv_limiter *l,
                                                  uint64_t borrower);

/**
 * As `selv_limiter_acquire`, for a borrower that is no task; `waiter` is the task that waits. Borrowers of this kind are any number
 * that means something to the host, apart from tasks; their tokens are returned by `selv_limiter_release_on_behalf_of` only.
 *
 * Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED; SELV_E_DUPLICATE (the borrower has a token, or is in line for one);
 * SELV_E_DEADLOCK; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child; tokens of tasks of
 * the parent process are free there. NULL: `l` must not be NULL.
 */
selv_status selv_limiter_acquire_on_behalf_of(struct selv_limiter *l,
                                              selv_task waiter,
                                              uint64_t borrower,
                                              uint64_t timeout_ns);

/**
 * As `selv_limiter_acquire_async`, for a borrower that is no task; `waiter` is the task that waits. Borrowers of this kind are any
 * number that means something to the host, apart from tasks; their tokens are returned by `selv_limiter_release_on_behalf_of` only.
 *
 * Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_DUPLICATE (the borrower has a token, or is in line for one);
 * SELV_E_DEADLOCK; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see
 * selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
 * there. NULL: `l`, `completion` and `completion->fn` must not be NULL; `out_op` may be.
 */
selv_status selv_limiter_acquire_on_behalf_of_async(struct selv_limiter *l,
                                                    selv_task waiter,
                                                    uint64_t borrower,
                                                    const struct selv_completion *completion,
                                                    selv_op *out_op);

/**
 * Returns the token of a borrower that is no task.
 *
 * Returns SELV_OK; SELV_E_NOT_OWNER (the borrower has no token); SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child; tokens of tasks of the parent process are free there. NULL: `l` must not be NULL.
 */
selv_status selv_limiter_release_on_behalf_of(struct selv_limiter *l,
                                              uint64_t borrower);

/**
 * Makes an event.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8); SELV_E_UNSUPPORTED (a newer
 * struct that uses what this version does not know).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults; `out`
 * must not be.
 */
selv_status selv_event_new(const struct selv_event_options *opts,
                           struct selv_event **out);

/**
 * Ends an event that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
 *
 * Returns SELV_OK; SELV_E_BUSY (somebody waits).
 *
 * Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
 * their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
 * other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
 */
selv_status selv_event_free(struct selv_event *e);

/**
 * Closes an event: everybody who waits gets SELV_E_CLOSED, and it is neither set nor cleared any more. If it is set, later waits
 * still succeed.
 *
 * Returns SELV_OK, also if it was closed before; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `e` must not be NULL.
 */
selv_status selv_event_close(struct selv_event *e);

/**
 * How an event stands. Set `out->struct_size` first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: no
 * argument may be NULL.
 */
selv_status selv_event_get_stats(const struct selv_event *e,
                                 struct selv_event_stats *out);

/**
 * Sets the event: everybody who waits goes, and later waits return at once.
 *
 * Returns SELV_OK, also if it was set; SELV_E_CLOSED; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `e` must not be NULL.
 */
selv_status selv_event_set(struct selv_event *e);

/**
 * Clears the event. Those who were waiting when it was set have gone all the same.
 *
 * Returns SELV_OK; SELV_E_UNSUPPORTED (it is not SELV_EVENT_RESETTABLE); SELV_E_CLOSED; SELV_E_NULL.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `e` must
 * not be NULL.
 */
selv_status selv_event_clear(struct selv_event *e);

/**
 * 1 if the event is set, else 0. What was done before it was set is seen by who sees it set.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: gives 0.
 */
int32_t selv_event_is_set(const struct selv_event *e);

/**
 * Waits until the event is set, for up to `timeout_ns` nanoseconds.
 *
 * Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_CLOSED; SELV_E_NULL;
 * SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, where nobody of
 * the parent waits. NULL: `e` must not be NULL.
 */
selv_status selv_event_wait(struct selv_event *e,
                            selv_task task,
                            uint64_t timeout_ns);

/**
 * As `selv_event_wait`, with no thread. The callback gets SELV_OK, SELV_E_CLOSED or SELV_E_CANCELLED.
 *
 * Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or
 * SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `e`,
 * `completion` and `completion->fn` must not be NULL; `out_op` may be.
 */
selv_status selv_event_wait_async(struct selv_event *e,
                                  selv_task task,
                                  const struct selv_completion *completion,
                                  selv_op *out_op);

/**
 * Makes a parking lot.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8); SELV_E_UNSUPPORTED (a newer
 * struct that uses what this version does not know).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults; `out`
 * must not be.
 */
selv_status selv_parking_lot_new(const struct selv_parking_lot_options *opts,
                                 struct selv_parking_lot **out);

/**
 * Ends a parking lot that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
 *
 * Returns SELV_OK; SELV_E_BUSY (somebody is parked).
 *
 * Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
 * their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
 * other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
 */
selv_status selv_parking_lot_free(struct selv_parking_lot *p);

/**
 * Closes a parking lot: everybody parked gets SELV_E_CLOSED, and nobody parks any more.
 *
 * Returns SELV_OK, also if it was closed before; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `p` must not be NULL.
 */
selv_status selv_parking_lot_close(struct selv_parking_lot *p);

/**
 * How a parking lot stands. Set `out->struct_size` first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: no
 * argument may be NULL.
 */
selv_status selv_parking_lot_get_stats(const struct selv_parking_lot *p,
                                       struct selv_parking_lot_stats *out);

/**
 * Waits to be unparked, for up to `timeout_ns` nanoseconds. An unpark that comes between a look at something and this call is missed:
 * `selv_parking_lot_park_async` can be begun while the caller holds the lock of what it has looked at. A break and a close are for good,
 * and are missed by nobody. (The semantics of parking lots are Trio's.)
 *
 * Returns SELV_OK; SELV_E_TIMEDOUT (always, with 0, if it is neither broken nor closed); SELV_E_CANCELLED (`selv_task_interrupt`, or the
 * task exited); SELV_E_BROKEN (it is broken: `selv_last_error` says by whom); SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE,
 * SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, where nobody of
 * the parent waits. NULL: `p` must not be NULL.
 */
selv_status selv_parking_lot_park(struct selv_parking_lot *p,
                                  selv_task task,
                                  uint64_t timeout_ns);

/**
 * As `selv_parking_lot_park`, with no thread. The callback gets SELV_OK, SELV_E_BROKEN, SELV_E_CLOSED or SELV_E_CANCELLED.
 *
 * Returns SELV_PENDING and `*out_op`: see selv_op; SELV_E_BROKEN (it is broken: `selv_last_error` says by whom); SELV_E_CLOSED;
 * SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and
 * SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `p`,
 * `completion` and `completion->fn` must not be NULL; `out_op` may be.
 */
selv_status selv_parking_lot_park_async(struct selv_parking_lot *p,
                                        selv_task task,
                                        const struct selv_completion *completion,
                                        selv_op *out_op);

/**
 * Lets up to `n` go, who is parked longest first. `out_count` (may be NULL) gets how many there were: 0 in a broken or closed lot,
 * where nobody is parked.
 *
 * Returns SELV_OK; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `p` must not be NULL; `out_count` may be.
 */
selv_status selv_parking_lot_unpark(struct selv_parking_lot *p,
                                    uint64_t n,
                                    uint64_t *out_count);

/**
 * Moves up to `n`, who is parked longest first, to the end of another lot, in the same order. If that one is broken or closed, they
 * are told so. `out_count` (may be NULL) gets how many there were. Moving to the same lot is SELV_E_INVAL.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `p` and `to` must not be NULL; `out_count` may be.
 */
selv_status selv_parking_lot_repark(struct selv_parking_lot *p,
                                    struct selv_parking_lot *to,
                                    uint64_t n,
                                    uint64_t *out_count);

/**
 * Breaks the lot: everybody parked gets SELV_E_BROKEN, and so does everybody who parks later. `by` is the task that messages name. A
 * broken lot stays so: make another one.
 *
 * Returns SELV_OK, also if it was broken; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, where nobody of the parent waits. NULL: `p` must not be NULL.
 */
selv_status selv_parking_lot_break(struct selv_parking_lot *p,
                                   selv_task by);

/**
 * Has the lot, which may be broken already, break if the task exits. For whoever is to unpark others, so that they do not wait for one
 * that has exited. To be taken back as often as it is done.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; breakers of the parent process are none there.
 * NULL: `p` must not be NULL.
 */
selv_status selv_parking_lot_add_breaker(struct selv_parking_lot *p,
                                         selv_task task);

/**
 * Takes one `selv_parking_lot_add_breaker` of the task back.
 *
 * Returns SELV_OK; SELV_E_NOT_OWNER (the task is no breaker of this lot); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or
 * SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; breakers of the parent process are none there.
 * NULL: `p` must not be NULL.
 */
selv_status selv_parking_lot_remove_breaker(struct selv_parking_lot *p,
                                            selv_task task);

/**
 * Makes a channel.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8; a capacity with
 * SELV_CHANNEL_RENDEZVOUS); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults; `out`
 * must not be.
 */
selv_status selv_channel_new(const struct selv_channel_options *opts,
                             struct selv_channel **out);

/**
 * Ends a channel that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before. Items in it are freed.
 *
 * Returns SELV_OK; SELV_E_BUSY (somebody waits to send or to receive).
 *
 * Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
 * their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
 * other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
 */
selv_status selv_channel_free(struct selv_channel *ch);

/**
 * Closes a channel: nothing is sent any more, and what is queued can still be received. Senders in line get SELV_E_CLOSED, their
 * items unsent, and so do receivers in line.
 *
 * Returns SELV_OK, also if it was closed before; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, which has its own copy of the queued items, unless another thread was just using the channel at the fork: then it is empty.
 * NULL: `ch` must not be NULL.
 */
selv_status selv_channel_close(struct selv_channel *ch);

/**
 * How a channel stands. Set `out->struct_size` first.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, which has its own copy of the queued items,
 * unless another thread was just using the channel at the fork: then it is empty. NULL: no argument may be NULL.
 */
selv_status selv_channel_get_stats(const struct selv_channel *ch,
                                   struct selv_channel_stats *out);

/**
 * Sends a copy of `len` bytes if there is room, or a receiver in line.
 *
 * Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_CLOSED; SELV_E_INVAL (`len` is above PTRDIFF_MAX); SELV_E_NOMEM; SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, which has its own copy of the queued items, unless another thread was just using the channel at the fork: then it is empty.
 * NULL: `ch` must not be NULL; `data` may be NULL if `len` is 0.
 */
selv_status selv_channel_send_nowait(struct selv_channel *ch,
                                     const void *data,
                                     size_t len);

/**
 * Sends a copy of `len` bytes, waiting in line for room (of a SELV_CHANNEL_RENDEZVOUS channel: for a receiver) for up to
 * `timeout_ns` nanoseconds. On any error the item was not sent.
 *
 * Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_CLOSED; SELV_E_INVAL (`len` is
 * above PTRDIFF_MAX); SELV_E_NOMEM; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, which has its own
 * copy of the queued items, unless another thread was just using the channel at the fork: then it is empty. NULL: `ch` must not be
 * NULL; `data` may be NULL if `len` is 0.
 */
selv_status selv_channel_send(struct selv_channel *ch,
                              selv_task task,
                              const void *data,
                              size_t len,
                              uint64_t timeout_ns);

/**
 * As `selv_channel_send`, with no thread; the bytes are copied now. The callback gets SELV_OK (sent), SELV_E_CLOSED or
 * SELV_E_CANCELLED (not sent).
 *
 * Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_CLOSED; SELV_E_INVAL (`len` is above PTRDIFF_MAX); SELV_E_NOMEM;
 * SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and
 * SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no; callbacks of others run here. Reentrancy: from any callback. Fork: works in a child, which has its own
 * copy of the queued items, unless another thread was just using the channel at the fork: then it is empty. NULL: `ch`, `completion`
 * and `completion->fn` must not be NULL; `out_op` may be; `data` may be NULL if `len` is 0.
 */
selv_status selv_channel_send_async(struct selv_channel *ch,
                                    selv_task task,
                                    const void *data,
                                    size_t len,
                                    const struct selv_completion *completion,
                                    selv_op *out_op);

/**
 * Receives the next item, if there is one. `*out_data` gets `*out_len` bytes, to be freed with `selv_bytes_free`; NULL and 0 on an
 * error. An item without bytes has an address, too.
 *
 * Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_CLOSED (and nothing is left in it); SELV_E_NULL.
 *
 * Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
 * child, which has its own copy of the queued items, unless another thread was just using the channel at the fork: then it is empty.
 * NULL: no argument may be NULL.
 */
selv_status selv_channel_recv_nowait(struct selv_channel *ch,
                                     void **out_data,
                                     size_t *out_len);

/**
 * Receives the next item, waiting in line for up to `timeout_ns` nanoseconds. `*out_data` gets `*out_len` bytes, to be freed with
 * `selv_bytes_free`; NULL and 0 on an error. A wait that ends without an item has not taken one.
 *
 * Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_CLOSED (and nothing is left in
 * it); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
 *
 * Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, which has its own
 * copy of the queued items, unless another thread was just using the channel at the fork: then it is empty. NULL: no argument may be
 * NULL.
 */
selv_status selv_channel_recv(struct selv_channel *ch,
                              selv_task task,
                              uint64_t timeout_ns,
                              void **out_data,
                              size_t *out_len);

/**
 * As `selv_channel_recv`, with no thread; always with a callback; if an item is there already, it runs on a worker of the default
 * cache. It gets SELV_OK with `data` and `len`, and owns the bytes: it frees them with `selv_bytes_free`. Or SELV_E_CLOSED or
 * SELV_E_CANCELLED.
 *
 * Returns SELV_PENDING; SELV_E_CLOSED (and nothing is left in it); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or
 * SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
 *
 * Threads: any. Blocks: no; callbacks of others run here. Reentrancy: from any callback. Fork: works in a child, which has its own
 * copy of the queued items, unless another thread was just using the channel at the fork: then it is empty. NULL: `ch`, `completion`
 * and `completion->fn` must not be NULL; `out_op` may be.
 */
selv_status selv_channel_recv_async(struct selv_channel *ch,
                                    selv_task task,
                                    const struct selv_completion *completion,
                                    selv_op *out_op);

/**
 * Frees bytes that were received from a channel. (They come from the C library's malloc, so its free does, too.)
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: does nothing.
 */
void selv_bytes_free(void *data);

/**
 * Writes the whole picture of the process: tasks, what they hold, what they wait for and how long, through one or several calls of
 * `write(arg, data, len)` on this thread, with pieces of any length, and no lock of the library held. Each object is looked at in a
 * moment of its own, and nothing is stopped: what has stood for a while is right.
 *
 * Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown format); what `write` returned if that was not 0.
 *
 * Threads: any. Blocks: no. Reentrancy: from any callback; `write` may call any function. Fork: works in a child, where nobody of
 * the parent waits. NULL: `write` must not be NULL; `arg` may be.
 */
selv_status selv_wait_graph(uint32_t format,
                            selv_write_fn write,
                            void *arg);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus


/* Initialisers: every field in order. */
#define SELV_CACHE_OPTIONS_INIT { sizeof(selv_cache_options), 0, NULL, 0, 0, 0, NULL, NULL, NULL }
#define SELV_CACHE_STATS_INIT { sizeof(selv_cache_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define SELV_JOB_OPTIONS_INIT { sizeof(selv_job_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL }
#define SELV_HOOK_OPTIONS_INIT { sizeof(selv_hook_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL }
#define SELV_HOOK_STATS_INIT { sizeof(selv_hook_stats), 0, 0, 0, 0, 0, 0, 0 }
#define SELV_TASK_REPORT_INIT { sizeof(selv_task_report), 0, NULL, NULL, 0, 0, 0, 0, 0, 0 }
#define SELV_HOST_LOOP_OPTIONS_INIT { sizeof(selv_host_loop_options), 0, NULL, NULL, NULL, NULL }
#define SELV_HOST_LOOP_STATS_INIT { sizeof(selv_host_loop_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define SELV_GUEST_OPTIONS_INIT { sizeof(selv_guest_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }
#define SELV_LOCK_OPTIONS_INIT { sizeof(selv_lock_options), 0, NULL }
#define SELV_LOCK_STATS_INIT { sizeof(selv_lock_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define SELV_CONDITION_OPTIONS_INIT { sizeof(selv_condition_options), 0, NULL, NULL }
#define SELV_CONDITION_STATS_INIT { sizeof(selv_condition_stats), 0, 0, 0, 0, 0, 0 }
#define SELV_SEMAPHORE_OPTIONS_INIT { sizeof(selv_semaphore_options), 0, NULL, 0, 0 }
#define SELV_SEMAPHORE_STATS_INIT { sizeof(selv_semaphore_stats), 0, 0, 0, 0, 0, 0, 0, 0 }
#define SELV_LIMITER_OPTIONS_INIT { sizeof(selv_limiter_options), 0, NULL, 0 }
#define SELV_LIMITER_STATS_INIT { sizeof(selv_limiter_stats), 0, 0, 0, 0, 0, 0, 0, 0 }
#define SELV_EVENT_OPTIONS_INIT { sizeof(selv_event_options), 0, NULL }
#define SELV_EVENT_STATS_INIT { sizeof(selv_event_stats), 0, 0, 0, 0, 0, 0, 0 }
#define SELV_PARKING_LOT_OPTIONS_INIT { sizeof(selv_parking_lot_options), 0, NULL }
#define SELV_PARKING_LOT_STATS_INIT { sizeof(selv_parking_lot_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define SELV_CHANNEL_OPTIONS_INIT { sizeof(selv_channel_options), 0, NULL, 0 }
#define SELV_CHANNEL_STATS_INIT { sizeof(selv_channel_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

#endif  /* SELVEDGE_H */
