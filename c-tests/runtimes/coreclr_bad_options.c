/* coreclr_bad_options: what the CoreCLR preset refuses, and that a refusal leaves nothing behind. */
#include "coreclr_support.h"

static int32_t never_start(void *user, const selv_worker *w, void **slot) {
  (void)user;
  (void)w;
  (void)slot;
  check_fail(__FILE__, __LINE__, "a hook ran that was never registered");
  return 0;
}

static selv_status spawn_never(void *data, void (*entry)(void *), void *entry_arg, const char *name, size_t stack_size,
                               void **out_handle) {
  (void)data;
  (void)entry;
  (void)entry_arg;
  (void)name;
  (void)stack_size;
  (void)out_handle;
  return SELV_E_SPAWN;
}

static void environment(void) {
  const char *name = "COMPlus_EnableAlternateStackCheck";
  CHECK(unsetenv(name) == 0);
  CHECK_EQ_U64(selv_coreclr_prepare_environment(), SELV_CORECLR_ENV_SET);
  CHECK_STR(getenv(name), "1");
  CHECK_EQ_U64(selv_coreclr_prepare_environment(), SELV_CORECLR_ENV_KEPT);
  CHECK(setenv(name, "0", 1) == 0);
  CHECK_EQ_U64(selv_coreclr_prepare_environment(), SELV_CORECLR_ENV_KEPT);
  CHECK_STR(getenv(name), "0");
  CHECK(unsetenv(name) == 0);
}

static void registering(void) {
  selv_cache *cache = probe_cache(0, 0);
  selv_coreclr_options options = SELV_CORECLR_OPTIONS_INIT;
  selv_cache_options cache_options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *no_join = NULL;
  selv_hook *hook = NULL;
  struct longer {
    selv_coreclr_options known;
    uint64_t unknown;
  } longer;
  options.on_start = never_start;
  CHECK_STATUS(selv_coreclr_register(NULL, &options, &hook), SELV_E_NULL);
  CHECK_STATUS(selv_coreclr_register(cache, NULL, &hook), SELV_E_NULL);
  CHECK_STATUS(selv_coreclr_register(cache, &options, NULL), SELV_E_NULL);
  options.on_start = NULL;
  CHECK_STATUS(selv_coreclr_register(cache, &options, &hook), SELV_E_NULL);
  options.on_start = never_start;
  options.flags = 1u << 30;
  CHECK_STATUS(selv_coreclr_register(cache, &options, &hook), SELV_E_INVAL);
  options.flags = SELV_HOOK_FORK_KEEP;
  CHECK_STATUS(selv_coreclr_register(cache, &options, &hook), SELV_E_INVAL);
  options.flags = 0;
  options.struct_size = 3;
  CHECK_STATUS(selv_coreclr_register(cache, &options, &hook), SELV_E_INVAL);
  memset(&longer, 0, sizeof longer);
  longer.known.struct_size = sizeof longer;
  longer.known.on_start = never_start;
  longer.unknown = 1;
  CHECK_STATUS(selv_coreclr_register(cache, &longer.known, &hook), SELV_E_UNSUPPORTED);
  CHECK(hook == NULL);
  longer.unknown = 0;
  CHECK_OK(selv_coreclr_register(cache, &longer.known, &hook));
  CHECK_OK(selv_hook_unregister(hook, 0, NULL));
  selv_hook_release(hook);

  /* Letting go of a thread means joining it, which this cache has no means to do. */
  cache_options.spawn = spawn_never;
  CHECK_OK(selv_cache_new(&cache_options, &no_join));
  options.struct_size = sizeof options;
  CHECK_STATUS(selv_coreclr_register(no_join, &options, &hook), SELV_E_UNSUPPORTED);
  CHECK(hook == NULL);
  CHECK_OK(selv_cache_shutdown(no_join, 0, SELV_FOREVER, NULL));
  selv_cache_release(no_join);
  probe_end(cache);
}

static void hosting(void) {
  selv_coreclr_host_options options = SELV_CORECLR_HOST_OPTIONS_INIT;
  selv_coreclr_host host = SELV_CORECLR_HOST_INIT;
  clr_number_fn function = clr_probe.starts;
  char folder[] = "/tmp/selv-no-runtime-XXXXXX";
  int32_t hresult = 99;
  CHECK_STATUS(selv_coreclr_host_start(NULL, &host, &hresult), SELV_E_NULL);
  CHECK_EQ_U64(hresult, 0);
  CHECK_STATUS(selv_coreclr_host_start(&options, &host, NULL), SELV_E_NULL); /* no runtime_dir */
  CHECK_STATUS(selv_coreclr_host_start(&options, NULL, NULL), SELV_E_NULL);
  options.runtime_dir = "/nowhere/at/all";
  CHECK_STATUS(selv_coreclr_host_start(&options, &host, NULL), SELV_E_IO);
  CHECK(mkdtemp(folder) != NULL);
  options.runtime_dir = folder;
  CHECK_STATUS(selv_coreclr_host_start(&options, &host, NULL), SELV_E_IO);
  CHECK(rmdir(folder) == 0);
  options.flags = 1;
  CHECK_STATUS(selv_coreclr_host_start(&options, &host, NULL), SELV_E_INVAL);
  options.flags = 0;
  options.count = 1;
  CHECK_STATUS(selv_coreclr_host_start(&options, &host, NULL), SELV_E_INVAL);
  CHECK_STATUS(selv_coreclr_host_delegate(&host, "a", "b", "c", &function, NULL), SELV_E_CLOSED);
  CHECK(function == NULL);
  CHECK_STATUS(selv_coreclr_host_shutdown(&host, NULL, NULL), SELV_E_CLOSED);
  CHECK_STATUS(selv_coreclr_host_shutdown(NULL, NULL, NULL), SELV_E_NULL);

  clr_start();
  CHECK_STR(getenv("COMPlus_EnableAlternateStackCheck"), "1");
  CHECK_STATUS(selv_coreclr_host_delegate(&clr, "NoSuchAssembly", "b", "c", &function, &hresult), SELV_E_INVAL);
  CHECK((uint32_t)hresult == 0x80070002u);
  CHECK_STATUS(selv_coreclr_host_delegate(&clr, "System.Private.CoreLib", "No.Such.Type", "c", &function, &hresult), SELV_E_INVAL);
  CHECK(hresult < 0);
  CHECK_STATUS(selv_coreclr_host_delegate(&clr, NULL, "b", "c", &function, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_coreclr_host_delegate(&clr, "a", "b", "c", NULL, NULL), SELV_E_NULL);
  clr_end();
}

int main(void) {
  clr_must_exist();
  puts("environment");
  environment();
  puts("registering");
  registering();
  puts("hosting");
  hosting();
  return 0;
}
