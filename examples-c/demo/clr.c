/* clr.c: CoreCLR, opened with dlopen from its folder. It has neither attach nor detach: a thread becomes managed by its first
 * managed call, and is let go of when it ends, so the preset's hook ends the workers when it is removed. */
#include <selvedge/coreclr.h>

#include <pthread.h>

#include "config.h"
#include "runtime.h"

static selv_coreclr_host host;
static selv_hook_start_fn on_start;
static uint32_t (*crc_of)(const void *data, int64_t length);

static int find(const char *method, void *out_function) {
  int32_t hresult;
  selv_status status = selv_coreclr_host_delegate(&host, "Crc", "Selvedge.Demo.Crc", method, out_function, &hresult);
  if (status == SELV_OK) return 0;
  fprintf(stderr, "demo: no Crc.%s in " DEMO_CLR_ASSEMBLY ": %s, hresult 0x%08x\n", method, selv_status_name(status),
          (unsigned)hresult);
  return -1;
}

static int start(void) {
  selv_coreclr_host_options options = SELV_CORECLR_HOST_OPTIONS_INIT;
  int32_t hresult;
  selv_status status;
  options.runtime_dir = DEMO_CLR_DIR;
  options.assemblies = DEMO_CLR_ASSEMBLY;
  /* It also sets COMPlus_EnableAlternateStackCheck=1, without which CoreCLR and a JVM in one process end in a crash. */
  status = selv_coreclr_host_start(&options, &host, &hresult);
  if (status != SELV_OK) {
    fprintf(stderr, "demo: the CoreCLR in " DEMO_CLR_DIR " did not start: %s, hresult 0x%08x\n", selv_status_name(status),
            (unsigned)hresult);
    return -1;
  }
  return find("Start", &on_start) == 0 ? find("Of", &crc_of) : -1;
}

static selv_status add_hooks(selv_cache *cache, selv_hook **out_hook) {
  selv_coreclr_options options = SELV_CORECLR_OPTIONS_INIT;
  options.on_start = on_start;
  return selv_coreclr_register(cache, &options, out_hook);
}

static selv_status remove_hooks(selv_hook *hook, uint64_t timeout_ns) { return selv_hook_unregister(hook, timeout_ns, NULL); }

static int crc(selv_hook *hook, const void *data, size_t length, uint32_t *out_crc) {
  (void)hook;
  *out_crc = crc_of(data, (int64_t)length);
  return 0;
}

typedef struct visit {
  const void *data;
  size_t length;
  uint32_t crc;
} visit;

static void *visit_clr(void *arg) {
  visit *v = (visit *)arg;
  v->crc = crc_of(v->data, (int64_t)v->length);
  return NULL;
}

static int crc_by_itself(const void *data, size_t length, uint32_t *out_crc) {
  visit v;
  pthread_t thread;
  int error;
  v.data = data;
  v.length = length;
  v.crc = 0;
  error = pthread_create(&thread, NULL, visit_clr, &v);
  if (error == 0) error = pthread_join(thread, NULL);
  if (error != 0) fprintf(stderr, "demo: a thread for CoreCLR: %s\n", strerror(error));
  *out_crc = v.crc;
  return error == 0 ? 0 : -1;
}

static int stop(void) {
  int32_t hresult;
  selv_status status = selv_coreclr_host_shutdown(&host, NULL, &hresult);
  return status == SELV_OK || hresult != 0 ? (int)hresult : (int)status;
}

const runtime runtime_clr = {
  "clr", "CoreCLR " DEMO_CLR, NULL, "a thread of its own, as CoreCLR lets go of a thread only at its end", "coreclr_shutdown", 1,
  start, add_hooks, remove_hooks, crc, crc_by_itself, stop,
};
