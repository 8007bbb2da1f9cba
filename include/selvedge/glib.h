/* selvedge/glib.h: a selv_host_loop in a GMainContext: jobs delivered, completions told and calls run by a GLib main loop.
 *
 * One call, selv_glib_loop_new, makes a loop and the GSource that drains it, attached; one call, selv_glib_loop_end, ends both.
 * Inline C for C99 and C++11, compiled in the host's own unit with `pkg-config --cflags --libs glib-2.0` (GLib 2.36 or later);
 * libselvedge knows no GLib. What a function here finds wrong by itself (a NULL, a flag) leaves selv_last_error as it was:
 * selv_status_text says what there is to say.
 *
 *     GSource *source;
 *     selv_host_loop *loop;                                 the source's own: lives as long as the source
 *     selv_glib_loop_new(NULL, NULL, &loop, &source);       in the default context
 *     job.loop = loop;                                      `deliver` of this job runs in the main loop
 *     selv_cache_submit(cache, &job, NULL);
 *     g_main_loop_run(main_loop);
 *     selv_glib_loop_end(source);
 *
 * The source waits for the loop's fd (selv_host_loop_fd) and its dispatch does nothing but drain: whatever is queued runs in order,
 * on the thread that iterates the context, and the dispatch always returns a real gboolean to GLib, whatever the callbacks did.
 * g_main_depth() inside a callback is that of the main loop that dispatched the source. The thread-default context is left as the
 * host has set it, as for any source.
 *
 * Nested main loops. A loop is not drained inside a drain, and its fd is not readable there: a main loop that a queued callback
 * runs gets nothing from the queue, sleeps if it has nothing else to do, and what is queued meanwhile runs when the callback has
 * returned. A main loop that another source runs (a timeout, a button's signal) drains the queue as the outer one did. So nothing
 * that is queued ever begins inside something else that was queued.
 *
 * Threads. The loop's thread is the one that iterates the context, and the source keeps it so by itself: when another thread takes
 * the context over (g_main_context_acquire, g_main_loop_run, g_main_context_iteration), that thread is bound (selv_host_loop_bind)
 * before it first waits. Until then the loop's thread is the old one, at first the one that called selv_glib_loop_new; a
 * selv_host_loop_call made there is SELV_E_DEADLOCK, so make the loop on the thread that will iterate the context. While no thread
 * iterates it, the queue waits.
 * Nothing queued runs anywhere but in a dispatch of the source. g_main_context_invoke is not like that: if no thread owns the
 * context at the moment and it is the calling thread's default, the function runs on the calling thread.
 *
 * Early ends. Whoever destroys the source (g_source_destroy, the last g_main_context_unref, g_source_set_callback) closes the
 * loop on the destroying thread: drops run there, waiters get SELV_E_CLOSED, outcomes are told there. Destroyed while it is being
 * dispatched, the source closes the loop when that dispatch returns, and there. A loop that was closed, but not through its source,
 * is noticed by the source at the next iteration, and it takes itself out. While a guest lives the loop stays open, and
 * selv_glib_loop_end is refused; with its source destroyed nobody runs the guest any more, so abandon it (selv_guest_abandon) and
 * then end the loop.
 *
 * Fork. The child has a copy of the source and must not have the parent's work: there the source takes itself out of its context
 * when the context is iterated, and selv_glib_loop_end gives the memory back. Make a new loop in the child. */
#ifndef SELVEDGE_GLIB_H
#define SELVEDGE_GLIB_H

#include <glib.h>
#include <stddef.h>
#include <string.h>

#include <selvedge.h>

#if !GLIB_CHECK_VERSION(2, 36, 0)
#error "selvedge/glib.h needs GLib 2.36 or later"
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct selv_glib_options {
  uint32_t struct_size;
  uint32_t flags;     /* 0 */
  const char *name;   /* of the loop and of the source, in errors and debuggers; NULL: "glib" */
  int32_t priority;   /* of the source; 0: G_PRIORITY_DEFAULT. g_source_set_priority changes it later */
  uint32_t max_calls; /* one dispatch runs so many at most, then the other sources have their turn; 0: all that was queued when
                         it began */
} selv_glib_options;
#define SELV_GLIB_OPTIONS_INIT { sizeof(selv_glib_options), 0, NULL, 0, 0 }

typedef struct selv_glib_source_ {
  GSource source;
  selv_host_loop *loop; /* this handle goes with the source's last reference: a destroyed source may still be in use elsewhere */
  uint32_t max_calls;
  uint32_t is_draining; /* for the thread that owns the context */
} selv_glib_source_;

/* Once per iteration, on the thread that owns the context. Ready if there is nothing to wait for any more. */
static inline gboolean selv_glib_prepare_(GSource *source, gint *timeout) {
  selv_glib_source_ *s = (selv_glib_source_ *)source;
  selv_status status;
  *timeout = -1;
  if (s->is_draining) return FALSE;
  status = selv_host_loop_bind(s->loop);
  return status == SELV_E_CLOSED || status == SELV_E_FORKED;
}

static inline gboolean selv_glib_dispatch_(GSource *source, GSourceFunc callback, gpointer data) {
  selv_glib_source_ *s = (selv_glib_source_ *)source;
  selv_status status;
  (void)callback;
  (void)data;
  s->is_draining = 1;
  status = selv_host_loop_drain(s->loop, s->max_calls, NULL);
  /* A host that takes an iteration apart (g_main_context_check, _dispatch) may have prepared the source on another thread. */
  if (status == SELV_E_WRONG_THREAD) {
    selv_status bound = selv_host_loop_bind(s->loop);
    if (bound == SELV_OK) status = selv_host_loop_drain(s->loop, s->max_calls, NULL);
    if (bound == SELV_E_CLOSED) status = bound;
  }
  s->is_draining = 0;
  /* Any other refusal is a drain that the host runs by hand: the fd is not readable before it ends, so this does not spin. */
  return status == SELV_E_CLOSED || status == SELV_E_FORKED ? FALSE : TRUE;
}

static inline void selv_glib_finalize_(GSource *source) { selv_host_loop_release(((selv_glib_source_ *)source)->loop); }

/* The source has been destroyed, and its dispatch has returned if it was running: nobody would drain from now on. GLib calls this
 * as the finaliser of the source's callback data; there is no such call for the source itself. */
static inline void selv_glib_destroyed_(gpointer data) {
  selv_host_loop *loop = (selv_host_loop *)data;
  /* Another thread may be in its last prepare and bind itself in between; there is no second one. */
  while (selv_host_loop_close(loop) == SELV_E_WRONG_THREAD && selv_host_loop_bind(loop) == SELV_OK) {
  }
}

/* An older, shorter struct is completed with zeros; a longer one is taken if what we do not know is zero. */
static inline selv_status selv_glib_read_options_(selv_glib_options *known, const selv_glib_options *given) {
  const size_t smallest = offsetof(selv_glib_options, flags) + sizeof(uint32_t);
  const unsigned char *bytes = (const unsigned char *)given;
  size_t i;
  memset(known, 0, sizeof *known);
  if (given != NULL) {
    if (given->struct_size < smallest) return SELV_E_INVAL;
    /* A compiler that sees the caller's struct would warn of reading past it. */
    __asm__("" : "+r"(bytes));
    for (i = sizeof *known; i < given->struct_size; i++)
      if (bytes[i] != 0) return SELV_E_UNSUPPORTED;
    memcpy(known, given, given->struct_size < sizeof *known ? given->struct_size : sizeof *known);
  }
  if (known->flags != 0) return SELV_E_INVAL;
  if (known->name == NULL) known->name = "glib";
  return SELV_OK;
}

/* selv_glib_loop_new: makes a loop and the source that drains it in `context` (NULL: the default context;
 * g_main_context_get_thread_default() for the calling thread's). `opts` may be NULL: all defaults.
 *
 * `*out_source` is the caller's own reference: give it to selv_glib_loop_end. `*out_loop` is the source's own handle, valid until
 * then; who needs it longer takes selv_host_loop_retain. g_main_context_find_source_by_user_data(context, loop) finds the source.
 *
 * Threads:    the one that iterates the context, or will.
 * Blocks:     no.
 * Reentrancy: may be called from any callback.
 * Fork:       see the head of this file.
 * NULL:       out_loop or out_source: SELV_E_NULL.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_INVAL (a flag, struct_size too small); SELV_E_UNSUPPORTED (options newer than this header); and what
 * selv_host_loop_new returns. */
static inline selv_status selv_glib_loop_new(GMainContext *context, const selv_glib_options *opts, selv_host_loop **out_loop,
                                             GSource **out_source) {
  static GSourceFuncs funcs = { selv_glib_prepare_, NULL, selv_glib_dispatch_, selv_glib_finalize_, NULL, NULL };
  selv_host_loop_options loop_options = SELV_HOST_LOOP_OPTIONS_INIT;
  selv_glib_options options;
  selv_glib_source_ *s;
  selv_host_loop *loop = NULL;
  GSource *source;
  selv_status status;
  if (out_loop != NULL) *out_loop = NULL;
  if (out_source != NULL) *out_source = NULL;
  if (out_loop == NULL || out_source == NULL) return SELV_E_NULL;
  if ((status = selv_glib_read_options_(&options, opts)) != SELV_OK) return status;
  loop_options.name = options.name;
  if ((status = selv_host_loop_new(&loop_options, &loop)) != SELV_OK) return status;

  source = g_source_new(&funcs, sizeof *s);
  s = (selv_glib_source_ *)source;
  s->loop = loop;
  s->max_calls = options.max_calls;
  g_source_set_name(source, options.name);
  g_source_set_priority(source, options.priority);
  /* The loop itself sees to it that nothing is re-entered, and its fd is not readable during a drain. GLib's own way would be to
   * take the fd out of the poll set and to put it back, with a wake of the context each time. */
  g_source_set_can_recurse(source, TRUE);
  g_source_add_unix_fd(source, selv_host_loop_fd(loop), G_IO_IN);
  g_source_set_callback(source, NULL, loop, selv_glib_destroyed_);
  g_source_attach(source, context);
  *out_loop = loop;
  *out_source = source;
  return SELV_OK;
}

/* selv_glib_loop_end: closes the loop, destroys the source, and gives the caller's reference to the source back, and with the last
 * one the loop's handle. What is queued is dropped, refused or told here, as selv_host_loop_close says. On an error nothing has
 * changed, and the call may be repeated.
 *
 * Threads:    the one that iterates the context; any, if none does at the moment.
 * Blocks:     no.
 * Reentrancy: may be called from any callback, also from a queued one: it is the last one then.
 * Fork:       in the child it only gives the reference back.
 * NULL:       does nothing.
 *
 * SELV_OK, also if the source had been destroyed before; SELV_E_WRONG_THREAD (another thread iterates the context); SELV_E_BUSY (a
 * guest lives on the loop). */
static inline selv_status selv_glib_loop_end(GSource *source) {
  selv_host_loop *loop;
  GMainContext *context;
  selv_status status;
  if (source == NULL) return SELV_OK;
  if (!g_source_is_destroyed(source)) {
    loop = ((selv_glib_source_ *)source)->loop;
    context = g_source_get_context(source);
    if (g_main_context_acquire(context)) {
      status = selv_host_loop_close(loop);
      if (status == SELV_E_WRONG_THREAD) {
        /* Whoever may own the context may be the loop's thread. */
        selv_status bound = selv_host_loop_bind(loop);
        if (bound == SELV_OK) status = selv_host_loop_close(loop);
        if (bound == SELV_E_CLOSED) status = SELV_OK;
      }
      g_main_context_release(context);
    } else {
      status = selv_host_loop_close(loop);
    }
    if (status != SELV_OK && status != SELV_E_FORKED) return status;
    g_source_destroy(source);
  }
  g_source_unref(source);
  return SELV_OK;
}

#ifdef __cplusplus
}
#endif
#endif
