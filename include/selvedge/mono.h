/* selvedge/mono.h: workers of a cache as threads of an embedded Mono.
 *
 * One call, selv_mono_register, makes every worker attached: mono_thread_attach at its start, mono_thread_detach on the same
 * thread at its exit. Inline C for C99 and C++11, compiled in the host's own unit with `pkg-config --cflags --libs monosgen-2`
 * (Debian keeps the headers in libmono-2.0-dev); libselvedge knows no Mono.
 *
 * What happens on each worker:
 *   start   mono_thread_attach(domain), the thread is made a background thread, so that Mono's own end does not wait for it.
 *           A thread that was attached before stays as it is, and attached when the hook leaves it.
 *   exit    mono_thread_detach if it was us who attached.
 * A job calls managed code with mono_runtime_invoke or an unmanaged thunk; both leave the thread in a state in which the
 * collector need not wait for it, so workers that idle, or block in a job's native part, stop nobody.
 *
 * The host's duty:
 *   - Pass an exception pointer to mono_runtime_invoke: without one, an exception that leaves managed code ends the process.
 *   - Shut down in this order: selv_hook_unregister and wait for SELV_OK; then mono_jit_cleanup. Mono starts once per process.
 *   - Where stopping the world hangs (mono/mono#20283), set MONO_THREADS_SUSPEND=preemptive before mono_jit_init.
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

/* One attached worker. */
typedef struct selv_mono_slot_ {
  MonoThread *thread;
  uint32_t pin; /* the collector may move a thread object; this handle keeps it where `thread` says */
  int ours;
} selv_mono_slot_;

static inline int32_t selv_mono_start_(void *user, const selv_worker *worker, void **slot) {
  selv_mono_slot_ *s = (selv_mono_slot_ *)calloc(1, sizeof *s);
  (void)worker;
  if (s == NULL) return SELV_E_NOMEM;
  /* Only an attached thread has a current domain. */
  s->ours = mono_domain_get() == NULL;
  s->thread = mono_thread_attach((MonoDomain *)user);
  if (s->thread == NULL) {
    free(s);
    return SELV_E_BROKEN;
  }
  s->pin = mono_gchandle_new((MonoObject *)s->thread, 1);
  *slot = s;
  return 0;
}

static inline void selv_mono_exit_(void *user, const selv_worker *worker, void *slot) {
  selv_mono_slot_ *s = (selv_mono_slot_ *)slot;
  (void)user;
  (void)worker;
  mono_gchandle_free(s->pin);
  if (s->ours) mono_thread_detach(s->thread);
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
 * this header); and what selv_hook_register returns. */
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
