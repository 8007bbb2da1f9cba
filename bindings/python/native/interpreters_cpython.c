/* interpreters_cpython.c: two places where CPython 3.12 and 3.13 do not get along with sub-interpreters by themselves.
 *
 * Fork. In a child, os.fork has CPython delete every interpreter but the main one, which it does without a thread state: the child is
 * killed (3.12.1: segmentation fault; 3.13.0: "PyThreadState_Get: the function must be called with the GIL held"). So a handler
 * that runs in the child before that takes them out of CPython's list. They have no thread there any more, and some may have been in
 * the middle of anything: all that is right is to leave them alone. Where the list is, is learned in the parent, from what 3.13
 * publishes for debuggers and from what the public functions say; if these do not agree in the child nothing is touched.
 *
 * Keywords. A C function with keyword arguments that Argument Clinic made keeps the tuple of their names in a static table, made at its
 * first call. Up to 3.12.3 that is an object of the interpreter that calls it first, and Py_FinalizeEx frees it as one of the main
 * interpreter's: the process aborts at its exit. So at exit these tuples are given up instead; they are small, and few. */
#include "interpreters.h"

#if PY_VERSION_HEX >= 0x030C0000
#include <dlfcn.h>

static void **list_head;   /* CPython's pointer to the newest interpreter */
static size_t next_offset; /* from an interpreter's record to its pointer to the next */

static void **next_of(PyInterpreterState *interp) { return (void **)((char *)interp + next_offset); }

static void learn(void) {
  char *runtime = (char *)dlsym(RTLD_DEFAULT, "_PyRuntime");
  if (runtime == NULL) return;
#if PY_VERSION_HEX >= 0x030D0000
  {
    /* "xdebugpy", the version, free threading; of the runtime: size, finalizing, head; of an interpreter: size, id, next. */
    const uint64_t *offsets = (const uint64_t *)(void *)runtime;
    if (memcmp(runtime, "xdebugpy", 8) != 0 || (offsets[1] >> 16) != (PY_VERSION_HEX >> 16)) return;
    list_head = (void **)(void *)(runtime + offsets[5]);
    next_offset = (size_t)offsets[8];
  }
#else
  {
    /* An interpreter begins with its next; the runtime keeps the newest and the main one side by side, in its first few fields. */
    void **words = (void **)(void *)runtime;
    size_t i;
    for (i = 0; i < 64 && list_head == NULL; i++)
      if (words[i] == (void *)PyInterpreterState_Head() && words[i + 1] == (void *)PyInterpreterState_Main()) list_head = &words[i];
  }
#endif
}

static void forget_others(void) {
  PyInterpreterState *main_interp = PyInterpreterState_Main(), *interp;
  if (list_head == NULL || main_interp == NULL || *list_head != (void *)PyInterpreterState_Head()) return;
  for (interp = PyInterpreterState_Head(); interp != NULL; interp = PyInterpreterState_Next(interp))
    if (*next_of(interp) != (void *)PyInterpreterState_Next(interp)) return;
  *next_of(main_interp) = NULL;
  *list_head = (void *)main_interp;
}

static void forked_child(void) {
  forget_others();
  interpreters_pools_forked();
  interpreters_unlock();
}

static void fork_setup(void) {
  learn();
  (void)pthread_atfork(interpreters_lock, interpreters_unlock, forked_child);
}

void interpreters_fork_setup(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, fork_setup);
}

void interpreters_disown_keywords(void) {
#if PY_VERSION_HEX < 0x030D0000
  /* What is parsed first with a table puts that in front of the list of all tables. Ours is, so the others are behind it. */
  static const char *const keywords[] = { "selvedge", NULL };
  static struct _PyArg_Parser ours;
  PyObject *args, *kwargs, *value = NULL;
  struct _PyArg_Parser *table;
  if (Py_Version >= 0x030C0400) return;
  args = PyTuple_New(0);
  kwargs = PyDict_New();
  memset(&ours, 0, sizeof ours);
  ours.format = "|$O:selvedge";
  ours.keywords = keywords;
  if (args != NULL && kwargs != NULL && PyDict_SetItemString(kwargs, "selvedge", Py_None) == 0 &&
      _PyArg_ParseTupleAndKeywordsFast(args, kwargs, &ours, &value)) {
    for (table = ours.next; table != NULL; table = table->next)
      if (table->initialized == 1) table->initialized = -1; /* "the names are not the table's to free" */
  }
  PyErr_Clear();
  Py_XDECREF(args);
  Py_XDECREF(kwargs);
#endif
}
#else
typedef int interpreters_cpython_needs_312;
#endif
