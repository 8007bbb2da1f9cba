/* GLib: g_idle_add and g_main_context_invoke_full into a GMainLoop on the default context; GThreadPool with g_idle_add, and GTask. */
#include "loop.h"

#include <gio/gio.h>

typedef struct bound {
  bench_fn fn;
  void *arg;
} bound;

static gboolean run_bound(gpointer data) {
  bound b = *(bound *)data;
  g_free(data);
  b.fn(b.arg);
  return G_SOURCE_REMOVE;
}

static bound *bind(bench_fn fn, void *arg) {
  bound *b = g_new(bound, 1);
  b->fn = fn;
  b->arg = arg;
  return b;
}

static void *create(void) { return g_main_loop_new(NULL, FALSE); }

static void run(void *loop) { g_main_loop_run(loop); }

static void end(void *loop) { g_main_loop_quit(loop); }

static void idle(void *loop, bench_fn fn, void *arg) {
  (void)loop;
  g_idle_add(run_bound, bind(fn, arg));
}

static void invoke(void *loop, bench_fn fn, void *arg) {
  (void)loop;
  g_main_context_invoke_full(NULL, G_PRIORITY_DEFAULT, run_bound, bind(fn, arg), NULL);
}

typedef struct blocking_call {
  bench_fn fn;
  void *arg;
  GMutex mutex;
  GCond ran;
  gboolean has_run;
} blocking_call;

static gboolean run_and_signal(gpointer data) {
  blocking_call *c = data;
  c->fn(c->arg);
  g_mutex_lock(&c->mutex);
  c->has_run = TRUE;
  g_cond_signal(&c->ran);
  g_mutex_unlock(&c->mutex);
  return G_SOURCE_REMOVE;
}

static void invoke_and_wait(void *loop, bench_fn fn, void *arg) {
  blocking_call c;
  (void)loop;
  c.fn = fn;
  c.arg = arg;
  c.has_run = FALSE;
  g_mutex_init(&c.mutex);
  g_cond_init(&c.ran);
  g_main_context_invoke_full(NULL, G_PRIORITY_DEFAULT, run_and_signal, &c, NULL);
  g_mutex_lock(&c.mutex);
  while (!c.has_run) {
    g_cond_wait(&c.ran, &c.mutex);
  }
  g_mutex_unlock(&c.mutex);
  g_cond_clear(&c.ran);
  g_mutex_clear(&c.mutex);
}

typedef struct job {
  bench_fn work;
  bench_fn done;
  void *arg;
} job;

static job *make_job(bench_fn work, bench_fn done, void *arg) {
  job *j = g_new(job, 1);
  j->work = work;
  j->done = done;
  j->arg = arg;
  return j;
}

static void task_work(GTask *task, gpointer source, gpointer data, GCancellable *cancellable) {
  job *j = data;
  (void)source;
  (void)cancellable;
  j->work(j->arg);
  g_task_return_boolean(task, TRUE);
}

static void task_done(GObject *source, GAsyncResult *result, gpointer data) {
  job *j = g_task_get_task_data(G_TASK(result));
  (void)source;
  (void)data;
  j->done(j->arg);
}

static void submit_task(void *loop, bench_fn work, bench_fn done, void *arg) {
  GTask *task = g_task_new(NULL, NULL, task_done, NULL);
  (void)loop;
  g_task_set_task_data(task, make_job(work, done, arg), g_free);
  g_task_run_in_thread(task, task_work);
  g_object_unref(task);
}

/* One pool for the process, as libuv's and GTask's are. */
static void pool_work(gpointer data, gpointer user) {
  job *j = data;
  (void)user;
  j->work(j->arg);
  g_idle_add(run_bound, bind(j->done, j->arg));
  g_free(j);
}

static void submit_to_pool(void *loop, bench_fn work, bench_fn done, void *arg) {
  static GThreadPool *pool;
  (void)loop;
  if (pool == NULL) {
    pool = g_thread_pool_new(pool_work, NULL, (gint)g_get_num_processors(), FALSE, NULL);
  }
  g_thread_pool_push(pool, make_job(work, done, arg), NULL);
}

static void destroy(void *loop) { g_main_loop_unref(loop); }

const bench_loop bench_loop_glib_idle = {create, run, end, idle, idle, NULL, submit_to_pool, destroy};
const bench_loop bench_loop_glib_invoke = {create, run, end, invoke, NULL, invoke_and_wait, submit_task, destroy};
