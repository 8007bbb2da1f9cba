/* sync_channel.c: Channel. Objects are pickled on the way in and unpickled on the way out; bytes go as they are. */
#include "sync.h"

#define CHANNEL(self) ((selv_channel *)(self)->handle)

static selv_status send_block(sync_request *r, uint64_t ns) {
  return selv_channel_send(CHANNEL(r->object), r->task, r->data, r->len, ns);
}

static selv_status send_begin(const sync_request *r, const selv_completion *completion, selv_op *op) {
  return selv_channel_send_async(CHANNEL(r->object), r->task, r->data, r->len, completion, op);
}

static selv_status recv_block(sync_request *r, uint64_t ns) {
  return selv_channel_recv(CHANNEL(r->object), r->task, ns, &r->received, &r->received_len);
}

static selv_status recv_begin(const sync_request *r, const selv_completion *completion, selv_op *op) {
  return selv_channel_recv_async(CHANNEL(r->object), r->task, completion, op);
}

static const sync_wait_kind send_wait = { send_block, send_begin, 0, 0 };
static const sync_wait_kind recv_wait = { recv_block, recv_begin, 0, 0 };

#define NOT_WAITING UINT64_MAX - 1 /* as a timeout: WouldBlock instead of a wait */

static PyObject *timed_out(sync_object *self, const char *what) { return selvpy_raise_named(self->state->errors, "TimedOutError", what); }

/* ---- bytes ---- */

static int send_buffer(sync_object *self, const Py_buffer *data, PyObject *task, uint64_t ns) {
  selv_status status = selv_channel_send_nowait(CHANNEL(self), data->buf, (size_t)data->len);
  sync_request r;
  int sent;
  if (status == SELV_OK) return 0;
  if (status != SELV_E_WOULD_BLOCK || ns == NOT_WAITING) {
    SYNC_RAISE(self, status);
    return -1;
  }
  memset(&r, 0, sizeof r);
  r.kind = &send_wait;
  r.object = self;
  r.data = data->buf;
  r.len = (size_t)data->len;
  r.task = sync_task(self->state, task);
  sent = r.task == 0 ? -1 : sync_wait(&r, ns);
  if (sent == 0) timed_out(self, "the channel had no room in time");
  return sent == 1 ? 0 : -1;
}

static PyObject *receive(sync_object *self, PyObject *task, uint64_t ns) {
  sync_request r;
  selv_status status;
  PyObject *made;
  int received;
  memset(&r, 0, sizeof r);
  status = selv_channel_recv_nowait(CHANNEL(self), &r.received, &r.received_len);
  if (status != SELV_OK) {
    if (status != SELV_E_WOULD_BLOCK || ns == NOT_WAITING) return SYNC_RAISE(self, status);
    r.kind = &recv_wait;
    r.object = self;
    r.task = sync_task(self->state, task);
    received = r.task == 0 ? -1 : sync_wait(&r, ns);
    if (received == 0) timed_out(self, "the channel had nothing in time");
    if (received != 1) return NULL;
  }
  made = PyBytes_FromStringAndSize((const char *)r.received, (Py_ssize_t)r.received_len);
  selv_bytes_free(r.received);
  return made;
}

static PyObject *send_bytes(sync_object *self, PyObject *object, PyObject *task, uint64_t ns) {
  Py_buffer data;
  int failed;
  if (PyObject_GetBuffer(object, &data, PyBUF_SIMPLE) != 0) return NULL;
  failed = send_buffer(self, &data, task, ns);
  PyBuffer_Release(&data);
  if (failed) return NULL;
  Py_RETURN_NONE;
}

/* ---- objects ---- */

static int load_pickle(sync_state *state) {
  PyObject *pickle;
  if (state->loads != NULL) return 0;
  pickle = PyImport_ImportModule("pickle");
  if (pickle == NULL) return -1;
  Py_XSETREF(state->dumps, PyObject_GetAttrString(pickle, "dumps"));
  if (state->dumps != NULL) Py_XSETREF(state->loads, PyObject_GetAttrString(pickle, "loads"));
  Py_DECREF(pickle);
  return state->loads != NULL ? 0 : -1;
}

static PyObject *send_object(sync_object *self, PyObject *object, PyObject *task, uint64_t ns) {
  PyObject *data, *result;
  if (load_pickle(self->state) != 0) return NULL;
  data = PyObject_CallOneArg(self->state->dumps, object);
  if (data == NULL) return NULL;
  result = send_bytes(self, data, task, ns);
  Py_DECREF(data);
  return result;
}

static PyObject *receive_object(sync_object *self, PyObject *task, uint64_t ns) {
  PyObject *data, *object;
  if (load_pickle(self->state) != 0) return NULL;
  data = receive(self, task, ns);
  if (data == NULL) return NULL;
  object = PyObject_CallOneArg(self->state->loads, data);
  Py_DECREF(data);
  return object;
}

/* ---- methods ---- */

typedef PyObject *(*send_function)(sync_object *self, PyObject *object, PyObject *task, uint64_t ns);
typedef PyObject *(*receive_function)(sync_object *self, PyObject *task, uint64_t ns);

static PyObject *call_send(sync_object *self, const char *name, const char *const *names, send_function function, PyObject *const *args,
                           Py_ssize_t count, PyObject *keywords) {
  PyObject *values[3];
  uint64_t ns;
  if (sync_arguments(name, names, 2, args, count, keywords, values) != 0) return NULL;
  if (values[0] == NULL) {
    PyErr_Format(PyExc_TypeError, "%s() needs what to send", name);
    return NULL;
  }
  return selvpy_timeout(values[1], "timeout", &ns) != 0 ? NULL : function(self, values[0], values[2], ns);
}

static PyObject *call_receive(sync_object *self, const char *name, receive_function function, PyObject *const *args, Py_ssize_t count,
                              PyObject *keywords) {
  static const char *const names[] = { "timeout", "task", NULL };
  PyObject *values[2];
  uint64_t ns;
  if (sync_arguments(name, names, 1, args, count, keywords, values) != 0) return NULL;
  return selvpy_timeout(values[0], "timeout", &ns) != 0 ? NULL : function(self, values[1], ns);
}

static PyObject *channel_send(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "obj", "timeout", "task", NULL };
  return call_send(self, "send", names, send_object, args, count, keywords);
}

static PyObject *channel_send_bytes(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "data", "timeout", "task", NULL };
  return call_send(self, "send_bytes", names, send_bytes, args, count, keywords);
}

static PyObject *channel_recv(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  return call_receive(self, "recv", receive_object, args, count, keywords);
}

static PyObject *channel_recv_bytes(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  return call_receive(self, "recv_bytes", receive, args, count, keywords);
}

static PyObject *channel_send_nowait(sync_object *self, PyObject *object) { return send_object(self, object, NULL, NOT_WAITING); }
static PyObject *channel_send_bytes_nowait(sync_object *self, PyObject *data) { return send_bytes(self, data, NULL, NOT_WAITING); }

static PyObject *channel_recv_nowait(sync_object *self, PyObject *unused) {
  (void)unused;
  return receive_object(self, NULL, NOT_WAITING);
}

static PyObject *channel_recv_bytes_nowait(sync_object *self, PyObject *unused) {
  (void)unused;
  return receive(self, NULL, NOT_WAITING);
}

static PyObject *channel_send_bytes_async(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", "loop", "done", "data", NULL };
  PyObject *values[4], *made;
  sync_request r = { 0 };
  Py_buffer data;
  if (sync_arguments("send_bytes_async", names, 4, args, count, keywords, values) != 0) return NULL;
  if (values[3] == NULL) {
    PyErr_SetString(PyExc_TypeError, "send_bytes_async() needs data");
    return NULL;
  }
  if (PyObject_GetBuffer(values[3], &data, PyBUF_SIMPLE) != 0) return NULL;
  r.kind = &send_wait;
  r.object = self;
  r.data = data.buf;
  r.len = (size_t)data.len;
  made = sync_op_begin(&r, values[0], values[1], values[2], NULL);
  PyBuffer_Release(&data);
  return made;
}

static PyObject *channel_recv_bytes_async(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", "loop", "done", NULL };
  PyObject *values[3];
  sync_request r = { 0 };
  if (sync_arguments("recv_bytes_async", names, 3, args, count, keywords, values) != 0) return NULL;
  r.kind = &recv_wait;
  r.object = self;
  return sync_op_begin(&r, values[0], values[1], values[2], NULL);
}

static PyObject *channel_next(sync_object *self) {
  PyObject *item = receive_object(self, NULL, SELV_FOREVER), *closed, *type, *value, *traceback;
  if (item != NULL) return item;
  /* A look-up with an exception set clears it, up to 3.12. */
  PyErr_Fetch(&type, &value, &traceback);
  closed = PyObject_GetAttrString(self->state->errors, "ClosedResourceError");
  if (closed == NULL) PyErr_Clear();
  PyErr_Restore(type, value, traceback);
  /* Nothing more comes: the iteration ends. */
  if (closed != NULL && PyErr_ExceptionMatches(closed)) PyErr_Clear();
  Py_XDECREF(closed);
  return NULL;
}

static PyObject *channel_close(sync_object *self, PyObject *unused) {
  (void)unused;
  (void)selv_channel_close(CHANNEL(self));
  Py_RETURN_NONE;
}

static PyObject *channel_stats(sync_object *self, PyObject *unused) {
  static const char *const names[] = { "queued", "capacity", "senders_waiting", "receivers_waiting", "sent", "received",
                                       "timeouts", "cancelled", "closed", NULL };
  selv_channel_stats stats = SELV_CHANNEL_STATS_INIT;
  selv_status status = selv_channel_get_stats(CHANNEL(self), &stats);
  (void)unused;
  return sync_stats_dict(status, self->state, names, &stats);
}

/* ---- attributes ---- */

static selv_channel_stats stats_of(sync_object *self) {
  selv_channel_stats stats = SELV_CHANNEL_STATS_INIT;
  (void)selv_channel_get_stats(CHANNEL(self), &stats);
  return stats;
}

static PyObject *get_capacity(sync_object *self, void *unused) {
  uint64_t capacity = stats_of(self).capacity;
  (void)unused;
  if (capacity != 0 || self->shared->rendezvous) return PyLong_FromUnsignedLongLong(capacity);
  Py_RETURN_NONE;
}

static PyObject *get_closed(sync_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(stats_of(self).closed != 0);
}

static Py_ssize_t channel_length(sync_object *self) { return (Py_ssize_t)stats_of(self).queued; }

/* A channel without items is no less a channel. */
static int channel_bool(sync_object *self) {
  (void)self;
  return 1;
}

static PyObject *channel_repr(sync_object *self) {
  selv_channel_stats stats = stats_of(self);
  const char *name = self->shared->name;
  return PyUnicode_FromFormat("<sync.Channel%s%s%s at %p: queued=%llu%s>", name != NULL ? " '" : "", name != NULL ? name : "",
                              name != NULL ? "'" : "", (void *)self, (unsigned long long)stats.queued, stats.closed ? ", closed" : "");
}

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "capacity", "name", NULL };
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  selv_channel_options options = SELV_CHANNEL_OPTIONS_INIT;
  PyObject *capacity = Py_None, *name = Py_None;
  sync_object *self;
  selv_channel *channel;
  selv_status status;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:Channel", names, &capacity, &name)) return NULL;
  if (capacity != Py_None && !PyIndex_Check(capacity))
    return sync_native(state, capacity, type, "a number of items, None, or a channel of selvedge");
  if (sync_name(name, &options.name) != 0) return NULL;
  if (capacity != Py_None) {
    if (sync_number(capacity, "capacity", UINT64_MAX, &options.capacity) != 0) return NULL;
    if (options.capacity == 0) options.flags = SELV_CHANNEL_RENDEZVOUS;
  }
  status = selv_channel_new(&options, &channel);
  if (status != SELV_OK) return selvpy_raise(state->errors, status);
  self = sync_object_new(type, state, SYNC_CHANNEL, channel, options.name, NULL);
  if (self != NULL) self->shared->rendezvous = options.flags == SELV_CHANNEL_RENDEZVOUS;
  return (PyObject *)self;
}

static PyMethodDef channel_methods[] = {
  SYNC_METHOD("send", channel_send, SYNC_KEYWORDS,
              "send($self, /, obj, timeout=None, *, task=0)\n--\n\n"
              "Sends a pickled object, waiting for room. TimedOutError after `timeout` seconds;\n"
              "ClosedResourceError. On an error it was not sent. Blocks without the GIL."),
  SYNC_METHOD("recv", channel_recv, SYNC_KEYWORDS,
              "recv($self, /, timeout=None, *, task=0)\n--\n\n"
              "Receives the next object. TimedOutError after `timeout` seconds; ClosedResourceError when the\n"
              "channel is closed and empty. Blocks without the GIL. It unpickles: only for senders that one trusts."),
  SYNC_METHOD("send_nowait", channel_send_nowait, METH_O, "send_nowait($self, obj, /)\n--\n\nAs send(); WouldBlock instead of waiting."),
  SYNC_METHOD("recv_nowait", channel_recv_nowait, METH_NOARGS, "recv_nowait($self, /)\n--\n\nAs recv(); WouldBlock instead of waiting."),
  SYNC_METHOD("send_bytes", channel_send_bytes, SYNC_KEYWORDS,
              "send_bytes($self, /, data, timeout=None, *, task=0)\n--\n\nAs send(), of a copy of the bytes of any buffer."),
  SYNC_METHOD("recv_bytes", channel_recv_bytes, SYNC_KEYWORDS, "recv_bytes($self, /, timeout=None, *, task=0)\n--\n\nAs recv(), of bytes."),
  SYNC_METHOD("send_bytes_nowait", channel_send_bytes_nowait, METH_O,
              "send_bytes_nowait($self, data, /)\n--\n\nAs send_bytes(); WouldBlock instead of waiting."),
  SYNC_METHOD("recv_bytes_nowait", channel_recv_bytes_nowait, METH_NOARGS,
              "recv_bytes_nowait($self, /)\n--\n\nAs recv_bytes(); WouldBlock instead of waiting."),
  SYNC_METHOD("send_bytes_async", channel_send_bytes_async, SYNC_KEYWORDS,
              "send_bytes_async($self, /, task, loop, done, data)\n--\n\n"
              "As send_bytes(), with no thread; the bytes are copied now: see _sync.pyi."),
  SYNC_METHOD("recv_bytes_async", channel_recv_bytes_async, SYNC_KEYWORDS,
              "recv_bytes_async($self, /, task, loop, done)\n--\n\nAs recv_bytes(), with no thread; always an Op: see _sync.pyi."),
  SYNC_METHOD("close", channel_close, METH_NOARGS,
              "close($self, /)\n--\n\n"
              "Nothing is sent any more; what is queued can be received. Who waits gets ClosedResourceError. Does not block."),
  SYNC_METHOD("stats", channel_stats, METH_NOARGS,
              "stats($self, /)\n--\n\nHow it stands and what has happened to it: the fields of selv_channel_stats."),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef channel_getset[] = {
  { "capacity", (getter)get_capacity, NULL, PyDoc_STR("How many items it holds before a send waits; None: any number; 0: none."), NULL },
  { "closed", (getter)get_closed, NULL, PyDoc_STR("Whether it has been closed; there may be items left."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot channel_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("Channel(capacity=None, *, name=None)\n--\n\n"
                                 "A line of items from any senders to any receivers, of any threads, loops and interpreters.\n"
                                 "`capacity`: how many it holds before a send waits; None: any number; 0: none, each send waits\n"
                                 "for its receiver; or a face of a channel.") },
  { Py_tp_new, channel_new },
  { Py_tp_methods, channel_methods },
  { Py_tp_getset, channel_getset },
  { Py_tp_repr, channel_repr },
  { Py_tp_iter, PyObject_SelfIter },
  { Py_tp_iternext, channel_next },
  { Py_mp_length, channel_length },
  { Py_nb_bool, channel_bool },
  { 0, NULL },
};

PyType_Spec sync_channel_spec = {
  "selvedge.sync.Channel", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, channel_slots,
};
