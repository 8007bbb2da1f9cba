/* interpreters_channel.c: channels that every interpreter of the process can hold.
 *
 * The process has one table of them, without Python objects. Each counts its handles, which are objects of one interpreter each, and the
 * references that are on their way: in the items of channels, and in results of jobs. With the last one it goes. An item is
 *
 *     kind (1 byte), number of channels that are on their way in it (4 bytes), their numbers (8 bytes each), data
 *
 * A channel in an item of its own is not counted, for only who holds it can receive it. */
#include "interpreters.h"

#if PY_VERSION_HEX >= 0x030C0000

typedef struct entry {
  uint64_t id;
  uint64_t references;
  selv_channel *channel;
  struct entry *next;
} entry;

#define BUCKETS 256u
#define HEAD_SIZE 5u
static entry *table[BUCKETS]; /* under the mutex */
static uint64_t last_id, in_table;

typedef struct Channel {
  PyObject_HEAD
  entry *entry;
} Channel;

static interpreters_state *state_of(PyObject *self) {
  return (interpreters_state *)selvpy_state_of_type(Py_TYPE(self), &interpreters_module);
}

/* ---- the table ---- */

/* NULL if there is none. */
static entry *take(uint64_t id) {
  entry *found;
  interpreters_lock();
  for (found = table[id % BUCKETS]; found != NULL && found->id != id; found = found->next) {}
  if (found != NULL) found->references++;
  interpreters_unlock();
  return found;
}

/* Entries that nobody has any more; what lies in them may hold further ones. */
static void give_back(uint64_t id);

static void release_ids_in(const unsigned char *item, size_t len, uint64_t own) {
  uint32_t count, i;
  uint64_t id;
  if (len < HEAD_SIZE) return;
  memcpy(&count, item + 1, sizeof count);
  for (i = 0; i < count; i++) {
    memcpy(&id, item + HEAD_SIZE + 8u * i, sizeof id);
    if (id != own) give_back(id);
  }
}

static void destroy(entry *gone) {
  void *item;
  size_t len;
  while (selv_channel_recv_nowait(gone->channel, &item, &len) == SELV_OK) {
    release_ids_in((const unsigned char *)item, len, gone->id);
    selv_bytes_free(item);
  }
  (void)selv_channel_free(gone->channel);
  free(gone);
}

static void drop(entry *held) {
  entry **link;
  interpreters_lock();
  if (--held->references != 0) {
    interpreters_unlock();
    return;
  }
  for (link = &table[held->id % BUCKETS]; *link != held; link = &(*link)->next) {}
  *link = held->next;
  in_table--;
  interpreters_unlock();
  destroy(held);
}

static void give_back(uint64_t id) {
  entry *found;
  interpreters_lock();
  for (found = table[id % BUCKETS]; found != NULL && found->id != id; found = found->next) {}
  interpreters_unlock();
  if (found != NULL) drop(found); /* the reference that is given back has kept it */
}

Py_ssize_t interpreters_count_channels(void) {
  Py_ssize_t count;
  interpreters_lock();
  count = (Py_ssize_t)in_table;
  interpreters_unlock();
  return count;
}

static PyObject *raise_gone(interpreters_state *state) {
  return selvpy_raise_named(state->errors, "ClosedResourceError",
                            "the channel has gone: its last handle was dropped before this one was made, or it is of another process");
}

/* Each id of a tuple; on a failure what was done is undone. */
static int each_id(interpreters_state *state, PyObject *ids, int retain, uint64_t own) {
  Py_ssize_t i;
  for (i = 0; i < PyTuple_GET_SIZE(ids); i++) {
    uint64_t id = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(ids, i));
    if (id == (uint64_t)-1 && PyErr_Occurred()) break;
    if (id == own) continue;
    if (!retain) give_back(id);
    else if (take(id) == NULL) {
      raise_gone(state);
      break;
    }
  }
  if (i == PyTuple_GET_SIZE(ids)) return 0;
  if (retain)
    while (i-- > 0) {
      uint64_t id = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(ids, i));
      if (id != own) give_back(id);
    }
  return -1;
}

static PyObject *change_channels(PyObject *module, PyObject *ids, int retain) {
  if (!PyTuple_Check(ids)) {
    PyErr_SetString(PyExc_TypeError, "a tuple of channel numbers is needed");
    return NULL;
  }
  if (each_id((interpreters_state *)PyModule_GetState(module), ids, retain, 0) != 0) return NULL;
  Py_RETURN_NONE;
}

PyObject *interpreters_retain_channels(PyObject *module, PyObject *ids) { return change_channels(module, ids, 1); }
PyObject *interpreters_release_channels(PyObject *module, PyObject *ids) { return change_channels(module, ids, 0); }

/* ---- handles ---- */

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *keywords[] = { "capacity", "name", NULL };
  interpreters_state *state = (interpreters_state *)selvpy_state_of_type(type, &interpreters_module);
  selv_channel_options options = SELV_CHANNEL_OPTIONS_INIT;
  PyObject *capacity = Py_None;
  selv_status status;
  entry *made;
  Channel *self;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$z:Channel", keywords, &capacity, &options.name)) return NULL;
  if (capacity != Py_None) {
    unsigned long long items;
    if (!PyLong_Check(capacity)) return PyErr_Format(PyExc_TypeError, "capacity must be an int or None, not %.100s", Py_TYPE(capacity)->tp_name);
    items = PyLong_AsUnsignedLongLong(capacity);
    if (items == (unsigned long long)-1 && PyErr_Occurred()) {
      PyErr_Clear();
      return PyErr_Format(PyExc_ValueError, "capacity must be at least 0, and a number of items that fits, not %R", capacity);
    }
    if (items == 0) options.flags = SELV_CHANNEL_RENDEZVOUS;
    options.capacity = items;
  }
  interpreters_fork_setup();
  self = (Channel *)type->tp_alloc(type, 0);
  made = self != NULL ? (entry *)calloc(1, sizeof *made) : NULL;
  if (made == NULL) {
    Py_XDECREF(self);
    return PyErr_NoMemory();
  }
  status = selv_channel_new(&options, &made->channel);
  if (status != SELV_OK) {
    free(made);
    Py_DECREF(self);
    return selvpy_raise(state->errors, status);
  }
  made->references = 1;
  interpreters_lock();
  made->id = ++last_id;
  made->next = table[made->id % BUCKETS];
  table[made->id % BUCKETS] = made;
  in_table++;
  interpreters_unlock();
  self->entry = made;
  return (PyObject *)self;
}

PyObject *interpreters_attach(PyObject *module, PyObject *args) {
  interpreters_state *state = (interpreters_state *)PyModule_GetState(module);
  unsigned long long id;
  PyObject *type;
  Channel *self;
  if (!PyArg_ParseTuple(args, "O!K:attach", &PyType_Type, &type, &id)) return NULL;
  if (!PyType_IsSubtype((PyTypeObject *)type, (PyTypeObject *)state->channel_type)) {
    PyErr_SetString(PyExc_TypeError, "attach needs a class of channels");
    return NULL;
  }
  self = (Channel *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
  if (self == NULL) return NULL;
  self->entry = take(id);
  if (self->entry != NULL) return (PyObject *)self;
  Py_DECREF(self);
  return raise_gone(state);
}

static void channel_dealloc(PyObject *op) {
  Channel *self = (Channel *)op;
  PyTypeObject *type = Py_TYPE(op);
  if (self->entry != NULL) drop(self->entry);
  type->tp_free(op);
  Py_DECREF(type);
}

/* ---- waiting ----
 *
 * In the main interpreter a wait is an operation whose callback posts a semaphore: that can be slept on with signals let through. In
 * others there are no signals, and the plain blocking form does; an interrupted job finds its wait cancelled. */
typedef struct wait {
  interpreters_waiter waiter;
  selv_status status;
  void *data;
  size_t len;
} wait;

static void completed(void *arg, const selv_completed *c) {
  wait *w = (wait *)arg;
  w->status = c->status;
  w->data = c->data;
  w->len = c->len;
  sem_post(&w->waiter.posted);
}

static void await_post(wait *w) {
  while (sem_wait(&w->waiter.posted) != 0) {}
}

/* 0: see w->status. -1: an exception is set, and the operation has not taken place. */
static int finish(interpreters_state *state, wait *w, selv_op op, uint64_t timeout_ns) {
  struct timespec deadline = interpreters_deadline(timeout_ns);
  int woken = interpreters_sleep(&w->waiter, timeout_ns, &deadline);
  selv_status status;
  PyObject *raised;
  if (woken == 1) return 0;
  if (woken == -2) {
    w->status = SELV_E_FORKED;
    selvpy_raise_named(state->errors, "ForkedError", "the wait belongs to the parent process");
    return -1;
  }
  raised = PyErr_GetRaisedException();
  Py_BEGIN_ALLOW_THREADS
  status = selv_op_cancel(op);
  await_post(w);
  Py_END_ALLOW_THREADS
  if (status == SELV_OK && woken == 0) w->status = SELV_E_TIMEDOUT;
  if (raised == NULL) return 0;
  if (w->status == SELV_OK) {
    /* It took place all the same: what was received must not be lost. The exception comes right behind. */
    (void)PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), (PyObject *)Py_TYPE(raised));
    Py_DECREF(raised);
    return 0;
  }
  PyErr_SetRaisedException(raised);
  return -1;
}

static PyObject *raise_status(interpreters_state *state, selv_status status) {
  if (status == SELV_E_CANCELLED && interpreters_raise_interrupt()) return NULL;
  if (status == SELV_E_TIMEDOUT) return selvpy_raise_named(state->errors, "TimedOutError", "the channel's time was over");
  return selvpy_raise(state->errors, status);
}

static int in_main(void) { return PyInterpreterState_Get() == PyInterpreterState_Main(); }

static selv_status send_item(interpreters_state *state, entry *to, const unsigned char *item, size_t len, uint64_t timeout_ns, int *raised) {
  selv_completion completion = { completed, NULL, NULL };
  selv_op op;
  selv_status status;
  wait w;
  *raised = 0;
  status = selv_channel_send_nowait(to->channel, item, len);
  if (status != SELV_E_WOULD_BLOCK || timeout_ns == 0) return status;
  if (!in_main()) {
    Py_BEGIN_ALLOW_THREADS
    status = selv_channel_send(to->channel, SELV_TASK_CURRENT, item, len, timeout_ns);
    Py_END_ALLOW_THREADS
    return status;
  }
  memset(&w, 0, sizeof w);
  sem_init(&w.waiter.posted, 0, 0);
  completion.arg = &w;
  status = selv_channel_send_async(to->channel, SELV_TASK_CURRENT, item, len, &completion, &op);
  if (status == SELV_PENDING) {
    *raised = finish(state, &w, op, timeout_ns) != 0;
    status = w.status;
  }
  sem_destroy(&w.waiter.posted);
  return status;
}

/* A receive in the main interpreter is told through a host loop that nobody else drains. Until then the item is the library's, and a signal
 * handler that raises can always leave the line: what had been handed over by then goes to the next receiver. As finish otherwise. */
static int await_item(interpreters_state *state, selv_host_loop *loop, wait *w, selv_op op, uint64_t timeout_ns) {
  uint64_t now = selvpy_now_ns(), until = timeout_ns >= UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
  long process = (long)getpid();
  int timed_out = 0;
  for (;;) {
    selvpy_sleep(loop, until);
    if (PyErr_CheckSignals() != 0) {
      (void)selv_op_abandon(op);
      w->status = SELV_E_CANCELLED;
      return -1;
    }
    if ((long)getpid() != process) {
      w->status = SELV_E_FORKED;
      selvpy_raise_named(state->errors, "ForkedError", "the wait belongs to the parent process");
      return -1;
    }
    if (selvpy_now_ns() >= until) {
      /* Too late means that it is in the loop's queue. */
      timed_out = selv_op_cancel(op) == SELV_OK;
      until = UINT64_MAX;
    }
    (void)selv_host_loop_drain(loop, 0, NULL);
    if (sem_trywait(&w->waiter.posted) == 0) break;
  }
  if (timed_out) w->status = SELV_E_TIMEDOUT;
  return 0;
}

static selv_status receive_item(interpreters_state *state, entry *from, void **item, size_t *len, uint64_t timeout_ns, int *raised) {
  selv_completion completion = { completed, NULL, NULL };
  selv_host_loop *loop;
  selv_op op;
  selv_status status;
  wait w;
  *raised = 0;
  status = selv_channel_recv_nowait(from->channel, item, len);
  if (status != SELV_E_WOULD_BLOCK || timeout_ns == 0) return status;
  if (!in_main()) {
    Py_BEGIN_ALLOW_THREADS
    status = selv_channel_recv(from->channel, SELV_TASK_CURRENT, timeout_ns, item, len);
    Py_END_ALLOW_THREADS
    return status;
  }
  status = selv_host_loop_new(NULL, &loop);
  if (status != SELV_OK) return status;
  memset(&w, 0, sizeof w);
  sem_init(&w.waiter.posted, 0, 0);
  completion.arg = &w;
  completion.loop = loop;
  status = selv_channel_recv_async(from->channel, SELV_TASK_CURRENT, &completion, &op);
  if (status == SELV_PENDING) {
    *raised = await_item(state, loop, &w, op, timeout_ns) != 0;
    status = w.status;
    *item = w.data;
    *len = w.len;
  }
  selv_host_loop_release(loop);
  sem_destroy(&w.waiter.posted);
  return status;
}

/* ---- methods ---- */

static PyObject *channel_send_item(PyObject *op, PyObject *args) {
  interpreters_state *state = state_of(op);
  Channel *self = (Channel *)op;
  unsigned char kind, *item;
  PyObject *ids, *timeout, *answer = NULL;
  Py_buffer data;
  uint32_t count;
  uint64_t timeout_ns;
  size_t head;
  Py_ssize_t i;
  int raised = 0;
  if (!PyArg_ParseTuple(args, "bO!y*O:send_item", &kind, &PyTuple_Type, &ids, &data, &timeout)) return NULL;
  count = (uint32_t)PyTuple_GET_SIZE(ids);
  head = HEAD_SIZE + 8u * count;
  item = (unsigned char *)malloc(head + (size_t)data.len);
  if (item == NULL) PyErr_NoMemory();
  else if (selvpy_timeout(timeout, "timeout", &timeout_ns) == 0 && each_id(state, ids, 1, self->entry->id) == 0) {
    selv_status status;
    item[0] = kind;
    memcpy(item + 1, &count, sizeof count);
    for (i = 0; i < (Py_ssize_t)count; i++) {
      uint64_t id = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(ids, i));
      memcpy(item + HEAD_SIZE + 8u * (size_t)i, &id, sizeof id);
    }
    if (data.len > 0) memcpy(item + head, data.buf, (size_t)data.len);
    status = send_item(state, self->entry, item, head + (size_t)data.len, timeout_ns, &raised);
    if (status == SELV_OK) {
      answer = Py_NewRef(Py_None);
    } else {
      if (!raised) raise_status(state, status);
      release_ids_in(item, head, self->entry->id);
    }
  }
  free(item);
  PyBuffer_Release(&data);
  return answer;
}

/* (kind, ids, data): the ids' references are the caller's now. */
static PyObject *split(const unsigned char *item, size_t len, uint64_t own) {
  uint32_t count, i;
  PyObject *ids;
  size_t head;
  memcpy(&count, item + 1, sizeof count);
  head = HEAD_SIZE + 8u * count;
  ids = PyList_New(0);
  for (i = 0; i < count && ids != NULL; i++) {
    uint64_t id;
    PyObject *number;
    memcpy(&id, item + HEAD_SIZE + 8u * i, sizeof id);
    if (id == own) continue;
    number = PyLong_FromUnsignedLongLong(id);
    if (number == NULL || PyList_Append(ids, number) != 0) Py_CLEAR(ids);
    Py_XDECREF(number);
  }
  if (ids == NULL) return NULL;
  Py_SETREF(ids, PyList_AsTuple(ids));
  return ids == NULL ? NULL : Py_BuildValue("iNy#", (int)item[0], ids, (const char *)item + head, (Py_ssize_t)(len - head));
}

static PyObject *channel_receive_item(PyObject *op, PyObject *timeout) {
  interpreters_state *state = state_of(op);
  Channel *self = (Channel *)op;
  void *item = NULL;
  size_t len = 0;
  uint64_t timeout_ns;
  selv_status status;
  PyObject *answer;
  int raised;
  if (selvpy_timeout(timeout, "timeout", &timeout_ns) != 0) return NULL;
  status = receive_item(state, self->entry, &item, &len, timeout_ns, &raised);
  if (status != SELV_OK) return raised ? NULL : raise_status(state, status);
  answer = split((const unsigned char *)item, len, self->entry->id);
  if (answer == NULL) release_ids_in((const unsigned char *)item, len, self->entry->id);
  selv_bytes_free(item);
  return answer;
}

static PyObject *channel_close(PyObject *op, PyObject *unused) {
  selv_status status;
  (void)unused;
  Py_BEGIN_ALLOW_THREADS
  status = selv_channel_close(((Channel *)op)->entry->channel);
  Py_END_ALLOW_THREADS
  if (status != SELV_OK) return selvpy_raise(state_of(op)->errors, status);
  Py_RETURN_NONE;
}

static PyObject *channel_stats(PyObject *op, PyObject *unused) {
  selv_channel_stats stats = SELV_CHANNEL_STATS_INIT;
  selv_status status = selv_channel_get_stats(((Channel *)op)->entry->channel, &stats);
  (void)unused;
  if (status != SELV_OK) return selvpy_raise(state_of(op)->errors, status);
  return Py_BuildValue("KKKKKN", (unsigned long long)stats.queued, (unsigned long long)stats.senders_waiting,
                       (unsigned long long)stats.receivers_waiting, (unsigned long long)stats.sent, (unsigned long long)stats.received,
                       PyBool_FromLong(stats.closed != 0));
}

static PyObject *channel_id(PyObject *op, void *closure) {
  (void)closure;
  return PyLong_FromUnsignedLongLong(((Channel *)op)->entry->id);
}

static PyMethodDef channel_methods[] = {
  { "send_item", channel_send_item, METH_VARARGS, "send_item(kind, ids, data, timeout)" },
  { "receive_item", channel_receive_item, METH_O, "receive_item(timeout) -> (kind, ids, data)" },
  { "close", channel_close, METH_NOARGS, "Ends sending; what is queued can still be received." },
  { "stats", channel_stats, METH_NOARGS, "The numbers of ChannelStats." },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef channel_getset[] = {
  { "id", channel_id, NULL, "The channel's number, the same in every interpreter of the process.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot channel_slots[] = {
  { Py_tp_new, (void *)channel_new },
  { Py_tp_dealloc, (void *)channel_dealloc },
  { Py_tp_methods, channel_methods },
  { Py_tp_getset, channel_getset },
  { 0, NULL },
};

PyType_Spec interpreters_channel_spec = {
  .name = "selvedge._interpreters.Channel",
  .basicsize = sizeof(Channel),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = channel_slots,
};
#else
typedef int interpreters_channel_needs_312;
#endif
