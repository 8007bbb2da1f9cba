/* jvm_python_locks_ring: a Java thread, an asyncio task and a C thread hold one lock each, and each wants the next one's. Whoever closes
 * the ring is refused with all names in the detail, whichever language it is of; the other two go on. When all want at once,
 * exactly one of them is refused. Before the ring closes, the wait graph shows who waits for what. */
#include "python_locks.h"

#include "jvm_locks.h"

static JNIEnv *java;

/* The ring: Python wants Java's lock, Java wants C's, C wants Python's. */
typedef struct ring {
  selv_lock *python_lock, *java_lock, *c_lock;
  jobject java_pair; /* a LocksPair, a local reference */
  pthread_t c_thread;
  check_tally c_go;
  pid_t c_asking;
  selv_status c_status;
  char c_detail[1024];
} ring;

enum { PYTHON, JAVA, C };

static void *c_pair(void *arg) {
  ring *r = (ring *)arg;
  selv_task t = task_named("c task");
  CHECK_OK(selv_lock_acquire(r->c_lock, t, SELV_FOREVER));
  lock_grant_note("c task", 0, 0);
  CHECK_WAIT(&r->c_go, 1);
  check_is_here(&r->c_asking);
  r->c_status = selv_lock_acquire(r->python_lock, t, SELV_FOREVER);
  if (r->c_status == SELV_OK)
    CHECK_OK(selv_lock_release(r->python_lock, t));
  else
    selv_last_error(r->c_detail, sizeof r->c_detail);
  CHECK_OK(selv_lock_release(r->c_lock, t));
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void ring_begin(ring *r) {
  jclass pairs = jvm_class(java, "selvedge/tests/LocksPair");
  jmethodID begin = J(java)->GetStaticMethodID(java, pairs, "begin", "(Ljava/lang/String;JJ)Lselvedge/tests/LocksPair;");
  memset(r, 0, sizeof *r);
  check_tally_init(&r->c_go);
  r->python_lock = lock_named("python lock", 0);
  r->java_lock = lock_named("java lock", 0);
  r->c_lock = lock_named("c lock", 0);
  JVM_NO_EXCEPTION(java);
  CHECK(J(java)->PushLocalFrame(java, 16) == 0);
  r->java_pair = J(java)->CallStaticObjectMethod(java, pairs, begin, J(java)->NewStringUTF(java, "java task"),
                                                 (jlong)(uintptr_t)r->java_lock, (jlong)(uintptr_t)r->c_lock);
  JVM_NO_EXCEPTION(java);
  CHECK(pthread_create(&r->c_thread, NULL, c_pair, r) == 0);
  py_give_lock("python_lock", r->python_lock);
  py_give_lock("java_lock", r->java_lock);
  PY_DO("go = asyncio.Event(); one = begin('python task', pair(python_lock, java_lock, go))");
  CHECK_WAIT(&lock_granted, 3);
  J(java)->DeleteGlobalRef(java, pairs);
}

/* Has one of them want the next lock. */
static void ring_go(ring *r, int who) {
  if (who == PYTHON) {
    PY_DO("set_event(go)");
  } else if (who == JAVA) {
    J(java)->CallVoidMethod(java, r->java_pair, J(java)->GetMethodID(java, J(java)->GetObjectClass(java, r->java_pair), "go", "()V"));
    JVM_NO_EXCEPTION(java);
  } else {
    check_tally_add(&r->c_go, 1);
  }
}

/* Waits until it waits for that lock and has looked for a ring: it will not be the one who finds it. */
static void ring_waits(ring *r, int who, const selv_lock *wanted) {
  UNTIL(lock_waiting(wanted) == 1);
  if (who == PYTHON)
    PY_DO("turn_of_the_loop()"); /* its operation has begun by then */
  else
    UNTIL(check_sleeps(who == JAVA ? &jvm_locks_asking : &r->c_asking));
}

/* What the three were refused with, "" for those who got both locks; all have ended. */
static void ring_end(ring *r, char refusals[3][1024]) {
  PyGILState_STATE gil;
  PyObject *refusal;
  jstring text = (jstring)J(java)->CallObjectMethod(
      java, r->java_pair, J(java)->GetMethodID(java, J(java)->GetObjectClass(java, r->java_pair), "refusal", "()Ljava/lang/String;"));
  JVM_NO_EXCEPTION(java);
  refusals[PYTHON][0] = refusals[JAVA][0] = refusals[C][0] = '\0';
  if (text != NULL) {
    const char *chars = J(java)->GetStringUTFChars(java, text, NULL);
    CHECK_EQ_U64((uint64_t)(int64_t)atoi(chars), (uint64_t)(int64_t)SELV_E_DEADLOCK);
    snprintf(refusals[JAVA], sizeof refusals[JAVA], "%s", chars);
    J(java)->ReleaseStringUTFChars(java, text, chars);
  }
  J(java)->PopLocalFrame(java, NULL);
  CHECK(pthread_join(r->c_thread, NULL) == 0);
  if (r->c_status != SELV_OK) {
    CHECK_STATUS(r->c_status, SELV_E_DEADLOCK);
    snprintf(refusals[C], sizeof refusals[C], "%s", r->c_detail);
  }
  gil = PyGILState_Ensure();
  PY_RUN("refusal = end(one)");
  CHECK_EQ_U64(PY_LONG("refusal is None or refusal[0] == 'SELV_E_DEADLOCK'"), 1);
  PY_RUN("text = '' if refusal is None else refusal[1]");
  refusal = PyDict_GetItemString(PyModule_GetDict(PyImport_AddModule("__main__")), "text");
  snprintf(refusals[PYTHON], sizeof refusals[PYTHON], "%s", PyUnicode_AsUTF8(refusal));
  PyGILState_Release(gil);
  CHECK_OK(selv_lock_free(r->python_lock));
  CHECK_OK(selv_lock_free(r->java_lock));
  CHECK_OK(selv_lock_free(r->c_lock));
  lock_grants_forget();
}

static void names_the_ring(const char *detail) {
  static const char *const names[] = { "'python task'", "'java task'", "'c task'", "'python lock'", "'java lock'", "'c lock'" };
  size_t i;
  for (i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strstr(detail, names[i]) == NULL) check_fail(__FILE__, __LINE__, "\"%s\" does not name %s", detail, names[i]);
}

/* The two before it in the ring wait already. `waits`: the graph's, as Python writes them. */
static void closed_by(int closer, const char *waits) {
  char refusals[3][1024], code[512];
  int first = (closer + 1) % 3, second = (closer + 2) % 3, i;
  selv_lock *wanted[3];
  ring r;
  ring_begin(&r);
  wanted[PYTHON] = r.java_lock;
  wanted[JAVA] = r.c_lock;
  wanted[C] = r.python_lock;
  ring_go(&r, first);
  ring_waits(&r, first, wanted[first]);
  ring_go(&r, second);
  ring_waits(&r, second, wanted[second]);
  snprintf(code, sizeof code, "graph_shows(('python task', 'java task', 'c task'), ('python lock', 'java lock', 'c lock'), %s)", waits);
  PY_DO(code);
  ring_go(&r, closer);
  ring_end(&r, refusals);
  for (i = 0; i < 3; i++)
    if (i == closer)
      names_the_ring(refusals[i]);
    else
      CHECK_STR(refusals[i], "");
}

#define PYTHON_WAITS "('python task', 'java lock', 'operation')"
#define JAVA_WAITS "('java task', 'c lock', 'thread')"
#define C_WAITS "('c task', 'python lock', 'thread')"

static void closed_by_c(void) { closed_by(C, "[" PYTHON_WAITS ", " JAVA_WAITS "]"); }
static void closed_by_java(void) { closed_by(JAVA, "[" PYTHON_WAITS ", " C_WAITS "]"); }
static void closed_by_python(void) { closed_by(PYTHON, "[" JAVA_WAITS ", " C_WAITS "]"); }

/* Whoever comes last is refused, and nobody else: never two, never none, which would be a hang. */
static void closed_by_whoever_comes_last(void) {
  uint64_t round, rounds = check_scaled(60), refused[3] = { 0, 0, 0 };
  for (round = 0; round < rounds; round++) {
    char refusals[3][1024];
    int i, count = 0;
    ring r;
    ring_begin(&r);
    for (i = 0; i < 3; i++) ring_go(&r, (int)((round + (uint64_t)i) % 3));
    ring_end(&r, refusals);
    for (i = 0; i < 3; i++) {
      if (refusals[i][0] == '\0') continue;
      names_the_ring(refusals[i]);
      refused[i]++;
      count++;
    }
    CHECK_EQ_U64(count, 1);
  }
  printf("refused: %llu Python, %llu Java, %llu C\n", (unsigned long long)refused[PYTHON], (unsigned long long)refused[JAVA],
         (unsigned long long)refused[C]);
}

int main(void) {
  PyThreadState *main_state;
  java = jvm_start(NULL);
  jvm_locks_start(java);
  py_locks_start("locks_asyncio.py");
  PY_RUN("start_loop()");
  main_state = PyEval_SaveThread();
  CHECK_RUN(closed_by_c);
  CHECK_RUN(closed_by_java);
  CHECK_RUN(closed_by_python);
  CHECK_RUN(closed_by_whoever_comes_last);
  PyEval_RestoreThread(main_state);
  PY_RUN("stop_loop()");
  PY_FINALIZE();
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  return 0;
}
