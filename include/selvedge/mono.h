/* selvedge/mono.h: workers of a cache as threads of an embedded Mono.
 *
 * One call, selv_mono_register, makes every worker attached: mono_thread_attach at its start, mono_thread_detach on the same
 * thread at its exit. Inline C for C99 and C++11, compiled in the host's own unit with `pkg-config --cflags --libs monosgen-2`
 * (Debian keeps the headers in libmono-2.0-dev); libselvedge knows no Mono.
 *
 * What happens on each worker:
 *   start   mono_thread_attach(domain), then into a "GC safe region" for the whole of its attached life. A thread that was
 *           attached before stays as it is, and attached when the hook leaves it.
 *   exit    out of the region, mono_thread_detach, and the thread's entry in Mono's list of threads is taken out, if it was us
 *           who attached.
 * The region and the entry are why this preset exists. With attach and detach alone, the first garbage collection hangs the
 * process, since it waits for a worker that sleeps in the cache (mono/mono#20283; seen with 6.8, also for a thread that
 * has detached but lives on). mono_jit_thread_attach enters the region but cannot be undone: its second use on one thread aborts.
 *
 * The host's duty:
 *   - Jobs call managed code through mono_runtime_invoke or an unmanaged thunk, and Mono's embedding functions, all of which
 *     leave the region for their time. Between such calls the collector runs beside the job: keep what must live from one to
 *     the next by mono_gchandle_new, not by a bare MonoObject pointer.
 *   - Pass an exception pointer to mono_runtime_invoke: without one, an exception that leaves managed code ends the process.
 *   - Shut down in this order: selv_hook_unregister and wait for SELV_OK; then mono_jit_cleanup, which waits for
 *     ever for a worker that is still attached. Mono starts once per process.
 *   - A Mono that lacks the three functions declared below is used with MONO_THREADS_SUSPEND=preemptive in the environment
 *     before mono_jit_init; else selv_mono_register answers SELV_E_UNSUPPORTED.
 *   - In a process with CoreCLR or a JVM too, start Mono first or call mono_set_signal_chaining(1): it takes SIGSEGV. */
#ifndef SELVEDGE_MONO_H
#define SELVEDGE_MONO_H

#include <stdlib.h>
#include <string.h>

/* Mono's own headers use unnamed structs and empty arrays; the host's -Wpedantic is about its code, not theirs. */
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#include <mono/jit/jit.h>
#include <mono/metadata/appdomain.h>
#include <mono/metadata/object.h>
#include <mono/metadata/threads.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include <selvedge.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct selv_mono_options {
  uint32_t struct_size;
  uint32_t flags;   /* SELV_HOOK_LAZY, _EAGER, _OPTIONAL, _RETIRE */
  const char *name; /* of the hook, in errors and traces; NULL: "mono" */
} selv_mono_options;
#define SELV_MONO_OPTIONS_INIT { sizeof(selv_mono_options), 0, NULL }

/* libmonosgen exports these three; the installed headers leave them out. */
extern void *mono_threads_enter_gc_safe_region_unbalanced(void **stack_mark) __attribute__((weak));
extern void mono_threads_exit_gc_safe_region_unbalanced(void *cookie, void **stack_mark) __attribute__((weak));
extern void mono_thread_info_detach(void) __attribute__((weak));

/* One attached worker. */
typedef struct selv_mono_slot_ {
  MonoThread *thread;
  uint32_t pin; /* the collector may move a thread object; this handle keeps it where `thread` says */
  int ours;
  void *cookie;
} selv_mono_slot_;

static inline int selv_mono_has_regions_(void) {
  return mono_threads_enter_gc_safe_region_unbalanced != NULL && mono_threads_exit_gc_safe_region_unbalanced != NULL &&
         mono_thread_info_detach != NULL;
}

static inline int32_t selv_mono_start_(void *user, const selv_worker *worker, void **slot) {
  selv_mono_slot_ *s = (selv_mono_slot_ *)calloc(1, sizeof *s);
  void *mark = NULL; /* Mono wants an address of the stack: it keeps what is between here and its own frame */
  (void)worker;
  if (s == NULL) return SELV_E_NOMEM;
  /* Only an attached thread has a current domain. */
  s->ours = mono_domain_get() == NULL;
  s->thread = s->ours ? mono_thread_attach((MonoDomain *)user) : mono_thread_current();
  if (s->thread == NULL) {
    free(s);
    return SELV_E_BROKEN;
  }
  s->pin = mono_gchandle_new((MonoObject *)s->thread, 1);
  /* An attached thread is taken to run managed code, and a collection waits until it says otherwise: here. */
  if (s->ours && selv_mono_has_regions_()) s->cookie = mono_threads_enter_gc_safe_region_unbalanced(&mark);
  *slot = s;
  return 0;
}

static inline void selv_mono_exit_(void *user, const selv_worker *worker, void *slot) {
  selv_mono_slot_ *s = (selv_mono_slot_ *)slot;
  void *mark = NULL;
  (void)user;
  (void)worker;
  if (s->ours && selv_mono_has_regions_()) mono_threads_exit_gc_safe_region_unbalanced(s->cookie, &mark);
  mono_gchandle_free(s->pin);
  if (s->ours) {
    mono_thread_detach(s->thread);
    /* The thread lives on in the cache. Left in Mono's list, in the state "running", it would stop the next collection. */
    if (selv_mono_has_regions_()) mono_thread_info_detach();
  }
  free(s);
}

/* selv_mono_register: registers the hooks above on `cache` for `domain` (NULL: the root domain). `opts` may be NULL: all
 * defaults. Unregistered and released as any hook; Mono must outlive the unregistering.
 *
 * Threads:    any, once Mono is initialised.
 * Blocks:     no.
 * Reentrancy: may be called from a hook, from a job and from managed code.
 * Fork:       Mono does not survive a fork; in the child the hook is disarmed and jobs that need it get SELV_E_FORKED.
 * NULL:       cache or out: SELV_E_NULL.
 * A worker that cannot be attached fails its job with SELV_E_HOOK_FAILED and code SELV_E_NOMEM or SELV_E_BROKEN.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_INVAL (a flag; no root domain: Mono is not initialised); SELV_E_UNSUPPORTED (options newer than
 * this header; a Mono without safe regions and without MONO_THREADS_SUSPEND=preemptive); and what selv_hook_register returns. */
static inline selv_status selv_mono_register(selv_cache *cache, MonoDomain *domain, const selv_mono_options *opts,
                                             selv_hook **out) {
  selv_mono_options o = SELV_MONO_OPTIONS_INIT;
  selv_hook_options hook = SELV_HOOK_OPTIONS_INIT;
  size_t i;
  if (out == NULL) return SELV_E_NULL;
  *out = NULL;
  if (cache == NULL) return SELV_E_NULL;
  if (opts != NULL) {
    if (opts->struct_size < 2 * sizeof(uint32_t)) return SELV_E_INVAL;
    for (i = sizeof o; i < opts->struct_size; i++)
      if (((const unsigned char *)opts)[i] != 0) return SELV_E_UNSUPPORTED;
    memcpy(&o, opts, opts->struct_size < sizeof o ? opts->struct_size : sizeof o);
  }
  if (o.flags & ~(SELV_HOOK_LAZY | SELV_HOOK_EAGER | SELV_HOOK_OPTIONAL | SELV_HOOK_RETIRE)) return SELV_E_INVAL;
  if (domain == NULL) domain = mono_get_root_domain();
  if (domain == NULL) return SELV_E_INVAL;
  if (!selv_mono_has_regions_()) {
    /* Better refused than hung at the first collection. */
    const char *suspend = getenv("MONO_THREADS_SUSPEND");
    if (suspend == NULL || strcmp(suspend, "preemptive") != 0) return SELV_E_UNSUPPORTED;
  }
  hook.flags = o.flags;
  hook.name = o.name != NULL ? o.name : "mono";
  hook.on_start = selv_mono_start_;
  hook.on_exit = selv_mono_exit_;
  hook.user = domain;
  return selv_hook_register(cache, &hook, out);
}

/* selv_mono_thread: the calling thread's MonoThread while `hook` is attached to it; NULL elsewhere. Pinned: the pointer stays
 * good until the hook leaves the thread. Never blocks, never fails. */
static inline MonoThread *selv_mono_thread(const selv_hook *hook) {
  const selv_mono_slot_ *s = (const selv_mono_slot_ *)selv_hook_slot(hook);
  return s != NULL ? s->thread : NULL;
}

#ifdef __cplusplus
}
#endif
#endif
