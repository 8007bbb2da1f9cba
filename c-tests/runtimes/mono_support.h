/* mono_support.h: a Mono for the tests. They need no assembly of their own: everything they call is in the core library. */
#ifndef SELV_C_TESTS_MONO_SUPPORT_H
#define SELV_C_TESTS_MONO_SUPPORT_H

#include "../probe.h"

#include <selvedge/mono.h>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#include <mono/metadata/mono-gc.h>
#include <mono/metadata/threads.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

static MonoDomain *mono;

static inline void mono_start(void) {
  mono = mono_jit_init("selvedge-test");
  CHECK(mono != NULL);
}

/* Workers stay for ever: a collection that waits for one of them must hang, and not be saved by its idle timeout. */
static inline selv_cache *mono_cache(uint32_t max_workers) { return probe_cache(max_workers, SELV_FOREVER); }

static inline MonoMethod *mono_method(const char *space, const char *type, const char *name, int arguments) {
  MonoClass *found = mono_class_from_name(mono_get_corlib(), space, type);
  MonoMethod *method;
  CHECK(found != NULL);
  method = mono_class_get_method_from_name(found, name, arguments);
  if (method == NULL) check_fail(__FILE__, __LINE__, "the core library has no %s.%s.%s", space, type, name);
  return method;
}

/* Calls a method; an exception that leaves it fails the test. */
static inline MonoObject *mono_call(MonoMethod *method, void *self, void **arguments) {
  MonoObject *exception = NULL, *result = mono_runtime_invoke(method, self, arguments, &exception);
  if (exception != NULL) check_fail(__FILE__, __LINE__, "%s threw", mono_method_get_name(method));
  return result;
}

/* Thread.CurrentThread.ManagedThreadId. */
static inline int mono_thread_id(void) {
  MonoObject *thread = mono_call(mono_method("System.Threading", "Thread", "get_CurrentThread", 0), NULL, NULL);
  MonoObject *id = mono_call(mono_method("System.Threading", "Thread", "get_ManagedThreadId", 0), thread, NULL);
  return *(int *)mono_object_unbox(id);
}

static inline selv_hook *mono_register(selv_cache *cache, uint32_t flags) {
  selv_mono_options options = SELV_MONO_OPTIONS_INIT;
  selv_hook *hook = NULL;
  options.flags = flags;
  CHECK_OK(selv_mono_register(cache, mono, &options, &hook));
  CHECK(hook != NULL);
  return hook;
}

static inline void mono_unregister(selv_hook *hook) {
  uint32_t attached = 99;
  selv_hook_stats stats;
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  stats = hook_probe_stats(hook);
  CHECK_EQ_U64(stats.attached, 0);
  CHECK_EQ_U64(stats.lost, 0);
  CHECK_EQ_U64(stats.starts, stats.exits);
}

#endif
