/* mono.c: an embedded Mono, running the same Crc.cs as CoreCLR. */
#include <selvedge/mono.h>

#include <stdio.h>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#include <mono/metadata/assembly.h>
#include <mono/metadata/debug-helpers.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "config.h"
#include "runtime.h"

static MonoDomain *domain;
/* Mono's unmanaged thunk: the method's own arguments, and where to put an exception. */
static uint32_t (*crc_of)(void *data, int64_t length, MonoException **exception);

static int start(void) {
  MonoAssembly *assembly;
  MonoClass *type;
  MonoMethod *method = NULL;
  void *thunk;
  /* Signals that are none of Mono's go on to the runtime that was there before. */
  mono_set_signal_chaining(1);
  domain = mono_jit_init("selvedge-demo");
  if (domain == NULL) {
    fprintf(stderr, "demo: Mono did not start\n");
    return -1;
  }
  assembly = mono_domain_assembly_open(domain, DEMO_MONO_ASSEMBLY);
  type = assembly != NULL ? mono_class_from_name(mono_assembly_get_image(assembly), "Selvedge.Demo", "Crc") : NULL;
  if (type != NULL) method = mono_class_get_method_from_name(type, "Of", 2);
  thunk = method != NULL ? mono_method_get_unmanaged_thunk(method) : NULL;
  if (thunk == NULL) {
    fprintf(stderr, "demo: no Crc.Of in " DEMO_MONO_ASSEMBLY "\n");
    return -1;
  }
  memcpy(&crc_of, &thunk, sizeof crc_of);
  return 0;
}

static selv_status add_hooks(selv_cache *cache, selv_hook **out_hook) { return selv_mono_register(cache, domain, NULL, out_hook); }

static selv_status remove_hooks(selv_hook *hook, uint64_t timeout_ns) { return selv_hook_unregister(hook, timeout_ns, NULL); }

static int crc(selv_hook *hook, const void *data, size_t length, uint32_t *out_crc) {
  MonoException *exception = NULL;
  (void)hook;
  *out_crc = crc_of((void *)(uintptr_t)data, (int64_t)length, &exception);
  if (exception != NULL) mono_print_unhandled_exception((MonoObject *)exception);
  return exception == NULL ? 0 : -1;
}

static int crc_by_itself(const void *data, size_t length, uint32_t *out_crc) {
  MonoThread *thread = mono_thread_attach(domain);
  int failed;
  if (thread == NULL) {
    fprintf(stderr, "demo: mono_thread_attach failed\n");
    return -1;
  }
  failed = crc(NULL, data, length, out_crc);
  mono_thread_detach(thread);
  /* As in the preset: without it the next collection waits for this thread for ever. */
  if (mono_thread_info_detach != NULL) mono_thread_info_detach();
  return failed;
}

static int stop(void) {
  mono_jit_cleanup(domain);
  return 0;
}

const runtime runtime_mono = {
  "mono", "Mono " DEMO_MONO, NULL, "mono_thread_attach and mono_thread_detach", "mono_jit_cleanup", 0,
  start, add_hooks, remove_hooks, crc, crc_by_itself, stop,
};
