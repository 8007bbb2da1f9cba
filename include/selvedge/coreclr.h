/* selvedge/coreclr.h: workers of a cache as managed threads of a CoreCLR, and the start of a CoreCLR from a C host.
 *
 * Three parts, each usable without the others:
 *   selv_coreclr_prepare_environment   what must be set before CoreCLR starts in a process that also holds a JVM
 *   selv_coreclr_host_start, _delegate, _shutdown   CoreCLR from a folder, by dlopen, with nothing to link
 *   selv_coreclr_register              the hook set
 *
 * Inline C for C99 and C++11. Needs no header of .NET. Linux: link with -ldl on a glibc older than 2.34.
 *
 * CoreCLR has neither attach nor detach. The first managed call on a native thread makes it a managed background thread, and
 * it is let go of when the thread itself ends. Hence:
 *   - `on_start` is a managed function. It is called first thing on every worker, so that the price of becoming managed and
 *     of the first compilation is paid there and not in a job; most are empty.
 *   - The hook carries SELV_HOOK_RETIRE: unregistering ends the workers that were attached, and SELV_OK means that they are
 *     joined. Jobs that come meanwhile run on new workers.
 *
 * The host's duty:
 *   - Managed functions that C calls catch everything and return a code: an exception that leaves one kills the process.
 *     Delegates made by Marshal.GetFunctionPointerForDelegate are kept alive (a static field) until unregistering returned
 *     SELV_OK; so is a GCHandle passed as `user`, which user_free may free.
 *   - Shut down in this order: selv_hook_unregister and wait for SELV_OK; then selv_coreclr_host_shutdown. After that no
 *     delegate may be called, on any thread. CoreCLR starts once per process and is never unloaded.
 *   - Where .NET itself may end the process (Environment.Exit, the end of a managed Main), subscribe to
 *     AppDomain.ProcessExit in managed code and call selv_hook_unregister there with a finite timeout (5 s is usual): the job
 *     that called Environment.Exit waits for the handler, so the handler must not wait for that job for ever.
 *   - With a current .NET, start it by hostfxr (hostfxr_initialize_for_runtime_config, then
 *     load_assembly_and_get_function_pointer) and mark the four functions [UnmanagedCallersOnly]; their pointers go into the
 *     options below just the same, and selv_coreclr_host_start is not needed. selv_coreclr_prepare_environment still is. */
#ifndef SELVEDGE_CORECLR_H
#define SELVEDGE_CORECLR_H

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <selvedge.h>

#ifdef __cplusplus
extern "C" {
#else
/* A strict -std=c99 hides it although every POSIX C library has it. */
extern int setenv(const char *name, const char *value, int overwrite);
#endif

/* ---- Before the start ---------------------------------------------------------------------------------------------- */

#define SELV_CORECLR_ENV_KEPT 0 /* the variable was set already, to whatever the host wants; left alone */
#define SELV_CORECLR_ENV_SET 1  /* it was not, and is now */

/* selv_coreclr_prepare_environment: sets COMPlus_EnableAlternateStackCheck=1 unless that variable has a value.
 * With a JVM in the process, in whatever order the two start, SIGSEGV is handled on an alternate stack; CoreCLR needs to be told
 * to look where it stands, or a NullReferenceException may end the process with "stack smashing detected".
 * selv_coreclr_host_start does it by itself; hosts that start .NET in another way call it first.
 *
 * Threads: setenv is not safe against a getenv on another thread: call it before other threads run.
 * Blocks, Reentrancy, Fork: nothing of note.
 * SELV_CORECLR_ENV_KEPT, SELV_CORECLR_ENV_SET, or SELV_E_NOMEM. */
static inline selv_status selv_coreclr_prepare_environment(void) {
  if (getenv("COMPlus_EnableAlternateStackCheck") != NULL) return SELV_CORECLR_ENV_KEPT;
  return setenv("COMPlus_EnableAlternateStackCheck", "1", 0) == 0 ? SELV_CORECLR_ENV_SET : SELV_E_NOMEM;
}

/* ---- A CoreCLR for a C host ---------------------------------------------------------------------------------------- */

typedef struct selv_coreclr_host_options {
  uint32_t struct_size;
  uint32_t flags;           /* 0 */
  const char *runtime_dir;  /* absolute path of the folder with libcoreclr.so and System.Private.CoreLib.dll; required */
  const char *assemblies;   /* more assemblies that may be loaded by name: paths of .dll files, ':' between; NULL: none */
  const char *name;         /* of the application domain; NULL: "selvedge" */
  const char *const *keys;  /* further runtime properties, after (and so over) ours; NULL: none. Ours are */
  const char *const *values; /* TRUSTED_PLATFORM_ASSEMBLIES, NATIVE_DLL_SEARCH_DIRECTORIES and, because a C host seldom */
  size_t count;             /* brings ICU, System.Globalization.Invariant=true */
} selv_coreclr_host_options;
#define SELV_CORECLR_HOST_OPTIONS_INIT { sizeof(selv_coreclr_host_options), 0, NULL, NULL, NULL, NULL, NULL, 0 }

/* A started CoreCLR. Plain data; copies are the same CoreCLR. */
typedef struct selv_coreclr_host {
  void *handle;
  unsigned int domain;
  int (*create_delegate)(void *handle, unsigned int domain, const char *assembly, const char *type, const char *method, void **out);
  int (*shutdown)(void *handle, unsigned int domain, int *exit_code);
} selv_coreclr_host;
#define SELV_CORECLR_HOST_INIT { NULL, 0, NULL, NULL }

/* ISO C has no conversion from an object pointer to a function pointer; POSIX promises that the bits are good. */
static inline int selv_coreclr_symbol_(void *library, const char *name, void *function) {
  void *address = dlsym(library, name);
  memcpy(function, &address, sizeof address);
  return address != NULL;
}

/* `list` gets ":path/name" appended; grows as needed. 0, or -1 when memory is out. */
static inline int selv_coreclr_append_(char **list, size_t *used, size_t *room, const char *path, const char *name) {
  size_t more = strlen(path) + strlen(name) + 3;
  if (*used + more > *room) {
    char *grown = (char *)realloc(*list, (*used + more) * 2);
    if (grown == NULL) return -1;
    *list = grown;
    *room = (*used + more) * 2;
  }
  *used += (size_t)snprintf(*list + *used, *room - *used, "%s%s%s%s", *used ? ":" : "", path, *name ? "/" : "", name);
  return 0;
}

/* All assemblies of the runtime, then the host's. The caller frees it; NULL with *status set on failure. */
static inline char *selv_coreclr_trusted_(const selv_coreclr_host_options *o, selv_status *status) {
  char *list = NULL;
  size_t used = 0, room = 0;
  int failed = 0;
  struct dirent *entry;
  DIR *dir = opendir(o->runtime_dir);
  if (dir == NULL) {
    *status = SELV_E_IO;
    return NULL;
  }
  while (!failed && (entry = readdir(dir)) != NULL) {
    size_t length = strlen(entry->d_name);
    if (length > 4 && strcmp(entry->d_name + length - 4, ".dll") == 0)
      failed = selv_coreclr_append_(&list, &used, &room, o->runtime_dir, entry->d_name);
  }
  closedir(dir);
  if (!failed && o->assemblies != NULL && *o->assemblies != '\0')
    failed = selv_coreclr_append_(&list, &used, &room, o->assemblies, "");
  if (failed) {
    free(list);
    *status = SELV_E_NOMEM;
    return NULL;
  }
  if (list == NULL) *status = SELV_E_IO;
  return list;
}

/* selv_coreclr_host_start: starts the CoreCLR of `opts->runtime_dir` in this process. `*out_hresult` (may be NULL) gets
 * CoreCLR's own answer, 0 if it was not asked; 0x80004005 and its like are explained in corerror.h of .NET.
 *
 * Threads:    once per process, on any thread, before others read the environment (see selv_coreclr_prepare_environment).
 * Blocks:     for the start, some tens of milliseconds.
 * Reentrancy: not from a hook.
 * Fork:       CoreCLR does not survive a fork: start it in the process that uses it.
 * NULL:       opts, opts->runtime_dir or out: SELV_E_NULL.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_INVAL (a flag; count without keys and values); SELV_E_UNSUPPORTED (options newer than this header;
 * a libcoreclr.so without the hosting functions); SELV_E_IO (no such folder, no assemblies in it, no libcoreclr.so that can be
 * loaded: dlerror() has the reason); SELV_E_NOMEM; SELV_E_HOOK_FAILED (CoreCLR refused: *out_hresult). */
static inline selv_status selv_coreclr_host_start(const selv_coreclr_host_options *opts, selv_coreclr_host *out,
                                                  int32_t *out_hresult) {
  typedef int (*initialize_fn)(const char *, const char *, int, const char **, const char **, void **, unsigned int *);
  const selv_coreclr_host none = SELV_CORECLR_HOST_INIT;
  selv_coreclr_host_options o = SELV_CORECLR_HOST_OPTIONS_INIT;
  initialize_fn initialize;
  selv_coreclr_host host = SELV_CORECLR_HOST_INIT;
  selv_status status = SELV_OK;
  const char **keys, **values;
  char *trusted, *path;
  void *library = NULL;
  size_t length, i;
  int hresult;
  if (out_hresult != NULL) *out_hresult = 0;
  if (out == NULL) return SELV_E_NULL;
  *out = none;
  if (opts == NULL) return SELV_E_NULL;
  if (opts->struct_size < 2 * sizeof(uint32_t)) return SELV_E_INVAL;
  for (i = sizeof o; i < opts->struct_size; i++)
    if (((const unsigned char *)opts)[i] != 0) return SELV_E_UNSUPPORTED;
  memcpy(&o, opts, opts->struct_size < sizeof o ? opts->struct_size : sizeof o);
  if (o.runtime_dir == NULL) return SELV_E_NULL;
  if (o.flags != 0 || (o.count != 0 && (o.keys == NULL || o.values == NULL))) return SELV_E_INVAL;

  if (selv_coreclr_prepare_environment() < 0) return SELV_E_NOMEM;
  if ((trusted = selv_coreclr_trusted_(&o, &status)) == NULL) return status;
  length = strlen(o.runtime_dir) + sizeof "/libcoreclr.so";
  path = (char *)malloc(length);
  keys = (const char **)malloc((o.count + 3) * sizeof *keys);
  values = (const char **)malloc((o.count + 3) * sizeof *values);
  if (path == NULL || keys == NULL || values == NULL) {
    status = SELV_E_NOMEM;
  } else {
    snprintf(path, length, "%s/libcoreclr.so", o.runtime_dir);
    /* Never closed: its threads and signal handlers stay until the process ends. */
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
      status = SELV_E_IO;
    else if (!selv_coreclr_symbol_(library, "coreclr_initialize", &initialize) ||
             !selv_coreclr_symbol_(library, "coreclr_create_delegate", &host.create_delegate) ||
             !selv_coreclr_symbol_(library, "coreclr_shutdown_2", &host.shutdown))
      status = SELV_E_UNSUPPORTED;
  }
  if (status == SELV_OK) {
    keys[0] = "TRUSTED_PLATFORM_ASSEMBLIES";
    values[0] = trusted;
    keys[1] = "NATIVE_DLL_SEARCH_DIRECTORIES";
    values[1] = o.runtime_dir;
    keys[2] = "System.Globalization.Invariant";
    values[2] = "true";
    for (i = 0; i < o.count; i++) {
      keys[3 + i] = o.keys[i];
      values[3 + i] = o.values[i];
    }
    hresult = initialize("/proc/self/exe", o.name != NULL ? o.name : "selvedge", (int)(o.count + 3), keys, values, &host.handle,
                         &host.domain);
    if (out_hresult != NULL) *out_hresult = hresult;
    if (hresult < 0)
      status = SELV_E_HOOK_FAILED;
    else
      *out = host;
  }
  free(trusted);
  free(path);
  free((void *)keys);
  free((void *)values);
  return status;
}

/* selv_coreclr_host_delegate: a C function pointer for the static managed method `type`.`method` of `assembly` (its name, with
 * no ".dll"), stored into the function pointer that `out_function` points at. The method has one signature and takes and
 * returns plain data (integers, IntPtr, pointers). It stays valid until selv_coreclr_host_shutdown.
 *
 * Threads:    any; the calling thread becomes managed.
 * Blocks:     while the assembly loads.
 * Reentrancy, Fork: as selv_coreclr_host_start.
 * NULL:       any of the arguments but out_hresult: SELV_E_NULL.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_CLOSED (the host is not started, or shut down); SELV_E_INVAL (no such assembly, type or method,
 * or one whose signature cannot be called from C: *out_hresult tells, 0x80070002 is "file not found"). */
static inline selv_status selv_coreclr_host_delegate(const selv_coreclr_host *host, const char *assembly, const char *type,
                                                     const char *method, void *out_function, int32_t *out_hresult) {
  void *address = NULL;
  int hresult;
  if (out_hresult != NULL) *out_hresult = 0;
  if (out_function == NULL) return SELV_E_NULL;
  memcpy(out_function, &address, sizeof address);
  if (host == NULL || assembly == NULL || type == NULL || method == NULL) return SELV_E_NULL;
  if (host->create_delegate == NULL) return SELV_E_CLOSED;
  hresult = host->create_delegate(host->handle, host->domain, assembly, type, method, &address);
  if (out_hresult != NULL) *out_hresult = hresult;
  if (hresult < 0 || address == NULL) return SELV_E_INVAL;
  memcpy(out_function, &address, sizeof address);
  return SELV_OK;
}

/* selv_coreclr_host_shutdown: ends CoreCLR. Every hook of it must have been unregistered with SELV_OK. `*out_exit_code` (may be
 * NULL) gets Environment.ExitCode, `*out_hresult` (may be NULL) CoreCLR's answer. The same `host` again: SELV_E_CLOSED.
 *
 * Threads:    any that is no worker with managed frames on its stack.
 * Blocks:     for finalisers and ProcessExit handlers.
 * Reentrancy: not from managed code.
 * Fork:       as selv_coreclr_host_start.
 * NULL:       host: SELV_E_NULL.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_CLOSED; SELV_E_HOOK_FAILED (CoreCLR refused: *out_hresult). */
static inline selv_status selv_coreclr_host_shutdown(selv_coreclr_host *host, int *out_exit_code, int32_t *out_hresult) {
  const selv_coreclr_host none = SELV_CORECLR_HOST_INIT;
  int exit_code = 0, hresult;
  if (out_exit_code != NULL) *out_exit_code = 0;
  if (out_hresult != NULL) *out_hresult = 0;
  if (host == NULL) return SELV_E_NULL;
  if (host->shutdown == NULL) return SELV_E_CLOSED;
  hresult = host->shutdown(host->handle, host->domain, &exit_code);
  *host = none;
  if (out_exit_code != NULL) *out_exit_code = exit_code;
  if (out_hresult != NULL) *out_hresult = hresult;
  return hresult < 0 ? SELV_E_HOOK_FAILED : SELV_OK;
}

/* ---- The hook set -------------------------------------------------------------------------------------------------- */

/* The callbacks are managed functions (delegates, or UnmanagedCallersOnly) with the signatures of selvedge.h, in C#
 *     delegate int  Start (IntPtr user, IntPtr worker, IntPtr slot);   // slot: where to write one IntPtr, or leave it
 *     delegate void Exit  (IntPtr user, IntPtr worker, IntPtr slot);   // slot: the value written
 *     delegate int  Before(IntPtr user, IntPtr worker, IntPtr slot);
 *     delegate void After (IntPtr user, IntPtr worker, IntPtr slot);
 * Start and Before answer 0, or a code of their own, which fails the job: SELV_E_HOOK_FAILED with that code. */
typedef struct selv_coreclr_options {
  uint32_t struct_size;
  uint32_t flags;                 /* SELV_HOOK_LAZY, _EAGER, _OPTIONAL; _RETIRE is always on */
  const char *name;               /* of the hook, in errors and traces; NULL: "coreclr" */
  selv_hook_start_fn on_start;    /* required: it is what makes the worker managed */
  selv_hook_exit_fn on_exit;      /* may be NULL, as may the next two */
  selv_hook_before_fn before_job;
  selv_hook_after_fn after_job;
  void *user;                     /* handed to all four */
  selv_free_fn user_free;         /* once, after the last worker has let go; native, or managed while CoreCLR still runs */
} selv_coreclr_options;
#define SELV_CORECLR_OPTIONS_INIT { sizeof(selv_coreclr_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

/* selv_coreclr_register: registers the managed functions of `opts` on `cache`. Unregistered and released as any hook; since
 * detaching means that the threads end, selv_hook_unregister from one of these workers cannot finish there (SELV_E_DEADLOCK).
 *
 * Threads:    any.
 * Blocks:     no.
 * Reentrancy: may be called from a hook, from a job and from managed code.
 * Fork:       CoreCLR does not survive a fork; in the child the hook is disarmed and jobs that need it get SELV_E_FORKED.
 * NULL:       cache, opts, opts->on_start or out: SELV_E_NULL.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_INVAL (a flag); SELV_E_UNSUPPORTED (options newer than this header; a cache whose `spawn` has
 * no `join`); and what selv_hook_register returns. */
static inline selv_status selv_coreclr_register(selv_cache *cache, const selv_coreclr_options *opts, selv_hook **out) {
  selv_coreclr_options o = SELV_CORECLR_OPTIONS_INIT;
  selv_hook_options hook = SELV_HOOK_OPTIONS_INIT;
  size_t i;
  if (out == NULL) return SELV_E_NULL;
  *out = NULL;
  if (cache == NULL || opts == NULL) return SELV_E_NULL;
  if (opts->struct_size < 2 * sizeof(uint32_t)) return SELV_E_INVAL;
  for (i = sizeof o; i < opts->struct_size; i++)
    if (((const unsigned char *)opts)[i] != 0) return SELV_E_UNSUPPORTED;
  memcpy(&o, opts, opts->struct_size < sizeof o ? opts->struct_size : sizeof o);
  if (o.on_start == NULL) return SELV_E_NULL;
  if (o.flags & ~(SELV_HOOK_LAZY | SELV_HOOK_EAGER | SELV_HOOK_OPTIONAL | SELV_HOOK_RETIRE)) return SELV_E_INVAL;
  hook.flags = o.flags | SELV_HOOK_RETIRE;
  hook.name = o.name != NULL ? o.name : "coreclr";
  hook.on_start = o.on_start;
  hook.on_exit = o.on_exit;
  hook.before_job = o.before_job;
  hook.after_job = o.after_job;
  hook.user = o.user;
  hook.user_free = o.user_free;
  return selv_hook_register(cache, &hook, out);
}

#ifdef __cplusplus
}
#endif
#endif
