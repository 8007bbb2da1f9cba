/* coreclr_support.h: a CoreCLR for the tests, and the managed class Probe as C function pointers. */
#ifndef SELV_C_TESTS_CORECLR_SUPPORT_H
#define SELV_C_TESTS_CORECLR_SUPPORT_H

#include "../probe.h"

#include <selvedge/coreclr.h>

static selv_coreclr_host clr;

typedef int (*clr_number_fn)(void);
static struct clr_probe {
  selv_hook_start_fn start, start_failing;
  selv_hook_exit_fn exit;
  selv_hook_before_fn before;
  selv_hook_after_fn after;
  clr_number_fn starts, exits, befores, afters, started_here, thread_id, is_background, wait_for_gate, open_gate;
  int (*catch_null_reference)(int rounds);
  int (*collect)(int objects);
  uint32_t (*crc32)(const void *data, int length);
  void *(*start_pointer)(void);
  int (*call_at_process_exit)(int (*function)(void *arg), void *arg);
  int (*exit_process)(int code);
} clr_probe;

/* 77, the exit code of a test that cannot run here. */
static inline void clr_must_exist(void) {
  if (getenv("SELV_CORECLR_DIR") == NULL || getenv("SELV_CLR_ASSEMBLY") == NULL) {
    puts("SELV_CORECLR_DIR and SELV_CLR_ASSEMBLY are not set: no CoreCLR, or no compiled Probe.cs");
    exit(77);
  }
}

/* The file's name without folder and ".dll" is the assembly's name. */
static inline void clr_find(const char *method, void *out_function) {
  const char *path = getenv("SELV_CLR_ASSEMBLY"), *slash = strrchr(path, '/');
  char name[256], *dot;
  int32_t hresult = 0;
  selv_status status;
  snprintf(name, sizeof name, "%s", slash != NULL ? slash + 1 : path);
  if ((dot = strstr(name, ".dll")) != NULL) *dot = '\0';
  status = selv_coreclr_host_delegate(&clr, name, "Selvedge.Tests.Probe", method, out_function, &hresult);
  if (status != SELV_OK)
    check_fail(__FILE__, __LINE__, "no %s in %s: %s, hresult %#x", method, path, selv_status_name(status), (unsigned)hresult);
}

static inline void clr_start(void) {
  selv_coreclr_host_options options = SELV_CORECLR_HOST_OPTIONS_INIT;
  int32_t hresult = 0;
  selv_status status;
  clr_must_exist();
  options.runtime_dir = getenv("SELV_CORECLR_DIR");
  options.assemblies = getenv("SELV_CLR_ASSEMBLY");
  status = selv_coreclr_host_start(&options, &clr, &hresult);
  if (status != SELV_OK)
    check_fail(__FILE__, __LINE__, "CoreCLR did not start: %s, hresult %#x", selv_status_name(status), (unsigned)hresult);
  clr_find("Start", &clr_probe.start);
  clr_find("StartFailing", &clr_probe.start_failing);
  clr_find("Exit", &clr_probe.exit);
  clr_find("Before", &clr_probe.before);
  clr_find("After", &clr_probe.after);
  clr_find("Starts", &clr_probe.starts);
  clr_find("Exits", &clr_probe.exits);
  clr_find("Befores", &clr_probe.befores);
  clr_find("Afters", &clr_probe.afters);
  clr_find("StartedHere", &clr_probe.started_here);
  clr_find("ThreadId", &clr_probe.thread_id);
  clr_find("IsBackground", &clr_probe.is_background);
  clr_find("WaitForGate", &clr_probe.wait_for_gate);
  clr_find("OpenGate", &clr_probe.open_gate);
  clr_find("CatchNullReference", &clr_probe.catch_null_reference);
  clr_find("Collect", &clr_probe.collect);
  clr_find("Crc32", &clr_probe.crc32);
  clr_find("StartPointer", &clr_probe.start_pointer);
  clr_find("CallAtProcessExit", &clr_probe.call_at_process_exit);
  clr_find("ExitProcess", &clr_probe.exit_process);
}

/* The four managed hooks of Probe. */
static inline selv_coreclr_options clr_options(uint32_t flags) {
  selv_coreclr_options options = SELV_CORECLR_OPTIONS_INIT;
  options.flags = flags;
  options.on_start = clr_probe.start;
  options.on_exit = clr_probe.exit;
  options.before_job = clr_probe.before;
  options.after_job = clr_probe.after;
  return options;
}

static inline selv_hook *clr_register(selv_cache *cache, uint32_t flags) {
  selv_coreclr_options options = clr_options(flags);
  selv_hook *hook = NULL;
  CHECK_OK(selv_coreclr_register(cache, &options, &hook));
  CHECK(hook != NULL);
  return hook;
}

/* Unregisters with no limit of time: every managed start has had its managed exit, on its own thread. */
static inline void clr_unregister(selv_hook *hook) {
  uint32_t attached = 99;
  selv_hook_stats stats;
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  stats = hook_probe_stats(hook);
  CHECK_EQ_U64(stats.attached, 0);
  CHECK_EQ_U64(stats.lost, 0);
  CHECK_EQ_U64(stats.starts, stats.exits);
}

/* Threads of this process that are workers, as the kernel names them. CoreCLR has threads of its own, which come and go. */
static inline uint64_t clr_worker_threads(void) {
  uint64_t workers = 0;
  struct dirent *entry;
  DIR *tasks = opendir("/proc/self/task");
  CHECK(tasks != NULL);
  while ((entry = readdir(tasks)) != NULL) {
    char path[300], name[32] = "";
    FILE *comm;
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
    if (entry->d_name[0] == '.' || (comm = fopen(path, "r")) == NULL) continue;
    if (fgets(name, sizeof name, comm) != NULL && strncmp(name, "selv-", 5) == 0) workers++;
    fclose(comm);
  }
  closedir(tasks);
  return workers;
}

/* Ends CoreCLR, which must find nothing wrong. */
static inline void clr_end(void) {
  int exit_code = 99;
  int32_t hresult = 99;
  CHECK_OK(selv_coreclr_host_shutdown(&clr, &exit_code, &hresult));
  CHECK_EQ_U64(hresult, 0);
  CHECK_EQ_U64(exit_code, 0);
}

#endif
