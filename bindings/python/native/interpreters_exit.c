/* interpreters_exit.c: the pools of the process, who waits for them, and the end of them all at the main interpreter's exit.
 *
 * CPython aborts a process that ends its main interpreter while another is left. So the exit callback shuts every pool down and waits,
 * without a time limit, until the last interpreter has ended. A signal handler that raises meanwhile (Ctrl-C) has the jobs that run
 * interrupted and the others cancelled, and the wait goes on; the second time the process ends as one that does not handle SIGINT. */
#include "interpreters.h"

#if PY_VERSION_HEX >= 0x030C0000
static interpreters_pool *pools; /* under the mutex, as everything here */
static int were_made;            /* interpreters, in this process */

void interpreters_pool_retain(interpreters_pool *pool) { __atomic_fetch_add(&pool->references, 1u, __ATOMIC_RELAXED); }

void interpreters_pool_release(interpreters_pool *pool) {
  interpreters_pool **link;
  int is_last;
  interpreters_lock(); /* who goes through the list may retain what is in it */
  is_last = __atomic_sub_fetch(&pool->references, 1u, __ATOMIC_ACQ_REL) == 0;
  if (is_last) {
    for (link = &pools; *link != NULL && *link != pool; link = &(*link)->next) {}
    if (*link != NULL) *link = pool->next;
  }
  interpreters_unlock();
  if (!is_last) return;
  selvpy_gate_release(pool->gate);
  free(pool->initializer);
  free(pool);
}

void interpreters_pool_add(interpreters_pool *pool) {
  interpreters_lock();
  were_made = 1;
  pool->next = pools;
  pools = pool;
  interpreters_unlock();
}

void interpreters_pool_busy(interpreters_pool *pool, int change) {
  interpreters_waiter *waiter;
  interpreters_lock();
  pool->busy += (uint32_t)change;
  if (pool->busy == 0)
    for (waiter = pool->waiters; waiter != NULL; waiter = waiter->next) sem_post(&waiter->posted);
  interpreters_unlock();
}

/* The child has the forking thread only. What its jobs and interpreters were is the parent's. */
void interpreters_pools_forked(void) {
  interpreters_pool *pool;
  for (pool = pools; pool != NULL; pool = pool->next) {
    pool->busy = 0;
    pool->created = pool->ended = 0;
    pool->workers = NULL;
    pool->waiters = NULL;
    pool->process = (long)getpid();
  }
}

int interpreters_pool_wait(interpreters_pool *pool, uint64_t timeout_ns) {
  struct timespec deadline = interpreters_deadline(timeout_ns);
  interpreters_waiter waiter, **link;
  int woken = 1, is_busy;
  sem_init(&waiter.posted, 0, 0);
  interpreters_lock();
  waiter.next = pool->waiters;
  pool->waiters = &waiter;
  is_busy = pool->busy != 0;
  interpreters_unlock();
  while (is_busy && woken == 1) {
    woken = interpreters_sleep(&waiter, timeout_ns, &deadline);
    interpreters_lock();
    is_busy = pool->busy != 0;
    interpreters_unlock();
  }
  interpreters_lock();
  for (link = &pool->waiters; *link != NULL && *link != &waiter; link = &(*link)->next) {}
  if (*link != NULL) *link = waiter.next;
  interpreters_unlock();
  sem_destroy(&waiter.posted);
  if (woken == -1) return 1;
  return is_busy ? SELV_E_TIMEDOUT : 0;
}

/* ---- the exit ---- */

typedef struct leaving {
  size_t count;
  interpreters_pool **pools;
  selv_cache **caches; /* NULL where the handle has gone: then the cache ends by itself */
} leaving;

static int collect(leaving *all) {
  interpreters_pool *pool;
  size_t count = 0;
  memset(all, 0, sizeof *all);
  interpreters_lock();
  for (pool = pools; pool != NULL; pool = pool->next) count++;
  all->pools = (interpreters_pool **)calloc(count + 1, sizeof(void *));
  all->caches = (selv_cache **)calloc(count + 1, sizeof(void *));
  if (all->pools != NULL && all->caches != NULL) {
    for (pool = pools; pool != NULL; pool = pool->next) {
      interpreters_pool_retain(pool);
      all->pools[all->count] = pool;
      all->caches[all->count] = selv_cache_retain(pool->cache);
      all->count++;
    }
  }
  interpreters_unlock();
  return all->pools != NULL && all->caches != NULL ? 0 : -1;
}

static void begin(const leaving *all, uint32_t flags) {
  size_t i;
  Py_BEGIN_ALLOW_THREADS
  for (i = 0; i < all->count; i++)
    if (all->caches[i] != NULL) (void)selv_cache_shutdown(all->caches[i], flags, 0, NULL);
  Py_END_ALLOW_THREADS
}

static void interrupt_all(const leaving *all) {
  size_t i;
  for (i = 0; i < all->count; i++) {
    interpreters_job *running[64];
    size_t count = 0, j;
    interpreters_worker *worker;
    interpreters_lock();
    for (worker = all->pools[i]->workers; worker != NULL && count < 64; worker = worker->next) {
      if (worker->current == NULL) continue;
      __atomic_fetch_add(&worker->current->references, 1u, __ATOMIC_RELAXED);
      running[count++] = worker->current;
    }
    interpreters_unlock();
    Py_BEGIN_ALLOW_THREADS
    for (j = 0; j < count; j++) {
      (void)interpreters_job_interrupt(running[j]);
      interpreters_job_drop(running[j]);
    }
    Py_END_ALLOW_THREADS
  }
}

static void flush(const char *stream) {
  PyObject *file = PySys_GetObject(stream);
  PyObject *result = file != NULL && file != Py_None ? PyObject_CallMethod(file, "flush", NULL) : NULL;
  Py_XDECREF(result);
  PyErr_Clear();
}

static void end_process(void) {
  struct sigaction standard;
  sigset_t only;
  PyErr_Clear();
  flush("stdout");
  flush("stderr");
  memset(&standard, 0, sizeof standard);
  standard.sa_handler = SIG_DFL;
  (void)sigaction(SIGINT, &standard, NULL);
  sigemptyset(&only);
  sigaddset(&only, SIGINT);
  (void)kill(getpid(), SIGINT);
  (void)pthread_sigmask(SIG_UNBLOCK, &only, NULL);
  _exit(128 + SIGINT);
}

PyObject *interpreters_at_exit(PyObject *module, PyObject *unused) {
  PyObject *raised = NULL;
  leaving all;
  size_t i;
  (void)module;
  (void)unused;
  if (collect(&all) != 0) all.count = 0;
  begin(&all, 0);
  for (i = 0; i < all.count; i++) {
    while (interpreters_pool_wait(all.pools[i], SELV_FOREVER) == 1) {
      if (raised != NULL) end_process();
      raised = PyErr_GetRaisedException();
      begin(&all, SELV_SHUTDOWN_CANCEL_QUEUED);
      interrupt_all(&all);
    }
  }
  for (i = 0; i < all.count; i++) {
    Py_BEGIN_ALLOW_THREADS
    if (all.caches[i] != NULL) (void)selv_cache_shutdown(all.caches[i], 0, SELV_FOREVER, NULL);
    selv_cache_release(all.caches[i]);
    interpreters_pool_release(all.pools[i]);
    Py_END_ALLOW_THREADS
  }
  free(all.pools);
  free(all.caches);
  if (were_made) interpreters_disown_keywords();
  if (raised != NULL) {
    PyErr_SetRaisedException(raised);
    return NULL;
  }
  Py_RETURN_NONE;
}
#else
typedef int interpreters_exit_needs_312;
#endif
