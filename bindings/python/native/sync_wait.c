/* sync_wait.c: blocking waits.
 *
 * Only Python's main thread handles signals, so only there must a wait be one that a signal ends. There it is an operation whose completion
 * goes into a host loop of the main thread's own, which nobody else drains: while it waits for the loop's descriptor, signals come through,
 * and an exception from a handler can always abandon the operation in time: what it was granted meanwhile goes to the next, and nothing
 * is lost. Every other thread blocks in the library, where a lock's wait costs less.
 *
 * The library looks for rings only through waits that have no timeout, but an operation has none. So that a main thread's wait with a timeout is
 * no part of a ring either, it waits for two things: the other one is an event that is never set. */
#include "sync.h"

#include <unistd.h>

/* Whether the calling thread is the one that handles signals. Exported by all versions, declared by some. */
extern int _PyOS_IsMainThread(void);

static void on_told(void *arg, const selv_completed *c) {
  sync_request *r = (sync_request *)arg;
  PyObject *type, *value, *traceback;
  r->told = 1;
  r->status = c->status;
  r->holds_lock = c->holds_lock;
  r->received = c->data;
  r->received_len = c->len;
  if (c->status >= 0) return;
  /* The main thread drains with the GIL, maybe with a signal's exception in hand. */
  PyErr_Fetch(&type, &value, &traceback);
  r->error = selvpy_error(r->object->state->errors, c->status);
  PyErr_Restore(type, value, traceback);
}

static void on_never(void *arg, const selv_completed *c) {
  (void)arg;
  (void)c;
}

static selv_host_loop *new_loop(sync_state *state) {
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  selv_host_loop *loop = NULL;
  selv_status status;
  options.name = "waits of Python's main thread";
  status = selv_host_loop_new(&options, &loop);
  if (status != SELV_OK) selvpy_raise(state->errors, status);
  return loop;
}

/* A loop for one wait: the main thread's own, unless a wait further out uses it, whose handler this one runs in. The own one is made anew in a
 * fork child, where it may have been in use by a main thread that does not exist there. NULL with an exception set. */
static selv_host_loop *borrow_loop(sync_state *state) {
  long process = (long)getpid();
  unsigned long self = PyThread_get_thread_ident();
  if (state->main_loop_user == self) return new_loop(state);
  if (state->main_loop != NULL && state->main_loop_process != process) {
    selv_host_loop_release(state->main_loop);
    state->main_loop = NULL;
  }
  if (state->main_loop == NULL) {
    state->main_loop = new_loop(state);
    state->main_loop_process = process;
  }
  state->main_loop_user = state->main_loop != NULL ? self : 0;
  return state->main_loop;
}

static void return_loop(sync_state *state, selv_host_loop *loop) {
  if (loop == state->main_loop) state->main_loop_user = 0;
  else selv_host_loop_release(loop);
}

/* Has the wait end because of a handler's exception. A wait that ends with a lock in hand is cancelled, which takes until the lock is there; a
 * second exception does not wait for that. True if it is over. */
static int interrupt(const sync_request *r, selv_op op, int again) {
  if (r->kind->has_lock && !again) {
    (void)selv_op_cancel(op);
    return 0;
  }
  /* Never too late: its callback is called by our own drain only. */
  (void)selv_op_abandon(op);
  return 1;
}

static int told(sync_request *r, int timed_out) {
  if (r->status >= 0) return 1;
  if (timed_out && r->status == SELV_E_CANCELLED) {
    Py_CLEAR(r->error);
    return 0;
  }
  if (r->error != NULL) PyErr_SetObject((PyObject *)Py_TYPE(r->error), r->error);
  Py_CLEAR(r->error);
  return -1;
}

/* The operation `op` of the main thread has begun. As sync_wait. */
static int wait_for_told(sync_request *r, selv_host_loop *loop, selv_op op, uint64_t ns) {
  uint64_t now = selvpy_now_ns(), until = ns >= UINT64_MAX - now ? UINT64_MAX : now + ns;
  long process = (long)getpid();
  PyObject *type = NULL, *value = NULL, *traceback = NULL;
  int timed_out = 0;
  for (;;) {
    selvpy_sleep(loop, until);
    /* Before the drain: a signal that comes together with the grant finds it still in the queue, where abandoning passes it on. Seen only after
     * this call has returned, it would take what was granted out of everybody's hands. */
    if (PyErr_CheckSignals() != 0) {
      int again = type != NULL;
      Py_CLEAR(type);
      Py_CLEAR(value);
      Py_CLEAR(traceback);
      PyErr_Fetch(&type, &value, &traceback);
      if (interrupt(r, op, again)) break;
      until = UINT64_MAX;
    }
    if ((long)getpid() != process) {
      /* A handler has forked, and this is the child: nobody will tell us here. */
      if (type != NULL) PyErr_Restore(type, value, traceback);
      else selvpy_raise_named(r->object->state->errors, "ForkedError", "the wait belongs to the parent process");
      return -1;
    }
    if (selvpy_now_ns() >= until) {
      /* Too late means that it has been granted, and the next drain tells. */
      timed_out = selv_op_cancel(op) == SELV_OK;
      until = UINT64_MAX;
    }
    (void)selv_host_loop_drain(loop, 0, NULL);
    if (r->told) break;
  }
  if (type == NULL) return told(r, timed_out);
  /* A condition that was notified meanwhile: the notification is for the next. */
  if (r->told && r->status == SELV_OK && r->holds_lock) (void)selv_condition_notify((selv_condition *)r->object->handle, r->task, 1);
  Py_CLEAR(r->error);
  PyErr_Restore(type, value, traceback);
  return -1;
}

/* The event that is never set, as a second thing to wait for. 0, or -1 with an exception set. */
static int begin_never(sync_state *state, selv_task task, selv_host_loop *loop, selv_op *op) {
  selv_completion completion = { on_never, NULL, NULL };
  selv_event_options options = SELV_EVENT_OPTIONS_INIT;
  selv_status status = SELV_OK;
  completion.loop = loop;
  options.name = "a timeout";
  if (state->never == NULL) status = selv_event_new(&options, &state->never);
  if (status == SELV_OK) status = selv_event_wait_async(state->never, task, &completion, op);
  if (status >= 0) return 0;
  selvpy_raise(state->errors, status);
  return -1;
}

static int wait_as_main(sync_request *r, uint64_t ns) {
  sync_state *state = r->object->state;
  selv_completion completion = { on_told, r, NULL };
  selv_host_loop *loop = borrow_loop(state);
  selv_op op = 0, never = 0;
  int result = -1;
  if (loop == NULL) return -1;
  completion.loop = loop;
  if (!r->kind->can_ring || ns == SELV_FOREVER || r->object->shared->timed_deadlock || begin_never(state, r->task, loop, &never) == 0) {
    r->status = r->kind->begin(r, &completion, &op);
    if (r->status == SELV_PENDING) result = wait_for_told(r, loop, op, ns);
    else if (r->status >= 0) result = 1;
    else selvpy_raise(state->errors, r->status);
  }
  if (never != 0) (void)selv_op_abandon(never);
  return_loop(state, loop);
  return result;
}

int sync_wait(sync_request *r, uint64_t ns) {
  sync_state *state = r->object->state;
  r->told = 0;
  r->error = NULL;
  r->holds_lock = 0;
  r->received = NULL;
  r->received_len = 0;
  /* What ends with a lock in hand waits for that, however short the time is. */
  const int waits = ns != 0 || r->kind->has_lock;
  if (waits && state->handles_signals && _PyOS_IsMainThread()) return wait_as_main(r, ns);
  if (!waits) {
    r->status = r->kind->block(r, 0);
  } else {
    Py_BEGIN_ALLOW_THREADS
    r->status = r->kind->block(r, ns);
    Py_END_ALLOW_THREADS
  }
  if (r->status >= 0) return 1;
  if (r->status == SELV_E_TIMEDOUT) return 0;
  selvpy_raise(state->errors, r->status);
  return -1;
}

PyObject *sync_wait_bool(sync_request *r, uint64_t ns) {
  int result = sync_wait(r, ns);
  return result < 0 ? NULL : PyBool_FromLong(result);
}
