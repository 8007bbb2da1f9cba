/* lock_bad_input.c: every call on a lock with NULL, unknown flags, sizes of older and newer hosts, and completions that cannot work. Each is
 * refused by name, and changes nothing. */
#include "waiters.h"

static void options(void) {
  selv_lock_options o = SELV_LOCK_OPTIONS_INIT;
  struct {
    selv_lock_options known;
    uint64_t tail[2];
  } newer;
  selv_lock *l = (selv_lock *)&o;
  uint32_t bit;
  CHECK_STATUS(selv_lock_new(NULL, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_lock_new(&o, NULL), SELV_E_NULL);
  for (bit = 16; bit != 0; bit <<= 1) { /* every flag that there is not */
    l = (selv_lock *)&o;
    o.flags = bit | SELV_LOCK_ROBUST;
    CHECK_STATUS(selv_lock_new(&o, &l), SELV_E_INVAL);
    CHECK(l == NULL);
  }
  for (o.flags = 0; o.flags < 16; o.flags++) { /* and every mixture of those that there are */
    CHECK_OK(selv_lock_new(&o, &l));
    CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    CHECK_OK(selv_lock_free(l));
  }
  o.flags = 0;
  o.name = "\xff\xfe";
  CHECK_STATUS(selv_lock_new(&o, &l), SELV_E_INVAL);
  CHECK(l == NULL);
  o.name = "";
  CHECK_OK(selv_lock_new(&o, &l));
  CHECK_OK(selv_lock_free(l));
  o.struct_size = 0;
  CHECK_STATUS(selv_lock_new(&o, &l), SELV_E_INVAL);
  CHECK(l == NULL);
  o.struct_size = 3;
  CHECK_STATUS(selv_lock_new(&o, &l), SELV_E_INVAL);
  memset(&o, 0x5a, sizeof o); /* an older host's struct ends before the name, and before what somebody else keeps there */
  o.struct_size = offsetof(selv_lock_options, name);
  o.flags = SELV_LOCK_RECURSIVE;
  CHECK_OK(selv_lock_new(&o, &l));
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, 0));
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, 0));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_free(l));
  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  CHECK_OK(selv_lock_new(&newer.known, &l));
  CHECK_OK(selv_lock_free(l));
  newer.tail[1] = UINT64_C(1) << 56;
  CHECK_STATUS(selv_lock_new(&newer.known, &l), SELV_E_UNSUPPORTED);
  CHECK(l == NULL);
}

/* The name is copied. */
static void names(void) {
  char name[300];
  selv_task owner = task_named("owner"), other = task_named("other");
  selv_lock *l;
  memset(name, 'n', sizeof name);
  name[sizeof name - 1] = '\0';
  l = lock_named(name, 0); /* long, and kept or cut: but good */
  CHECK_OK(selv_lock_free(l));
  strcpy(name, "na\xc3\xafve");
  l = lock_named(name, 0);
  strcpy(name, "changed");
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_STATUS(selv_lock_try_acquire(l, other), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS("na\xc3\xafve");
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(other, NULL));
}

static void null_locks(void) {
  selv_lock_stats s = SELV_LOCK_STATS_INIT;
  selv_completion completion;
  selv_op op = 99;
  op_probe p;
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  CHECK_STATUS(selv_lock_try_acquire(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_lock_acquire(NULL, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_NULL);
  CHECK_STATUS(selv_lock_acquire_async(NULL, SELV_TASK_CURRENT, &completion, &op), SELV_E_NULL);
  CHECK_EQ_U64(op, 0);
  CHECK_STATUS(selv_lock_release(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_lock_repair(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_lock_make_consistent(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_lock_close(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_lock_get_stats(NULL, &s), SELV_E_NULL);
  CHECK_EQ_U64(selv_lock_owner(NULL), 0);
  CHECK_OK(selv_lock_free(NULL));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
}

/* A completion that could not be called is refused when it is given, free lock or not. */
static void completions(void) {
  selv_lock *l = lock_named("l", 0);
  selv_task owner = task_named("owner"), t = task_named("t");
  selv_completion completion;
  op_probe p;
  int held;
  op_probe_init(&p);
  for (held = 0; held < 2; held++) {
    selv_op op = 99;
    if (held) CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    CHECK_STATUS(selv_lock_acquire_async(l, t, NULL, &op), SELV_E_NULL);
    CHECK_EQ_U64(op, 0);
    completion = op_probe_completion(&p);
    completion.fn = NULL;
    op = 99;
    CHECK_STATUS(selv_lock_acquire_async(l, t, &completion, &op), SELV_E_NULL);
    CHECK_EQ_U64(op, 0);
    CHECK_EQ_U64(selv_lock_owner(l), held ? owner : 0);
    CHECK_EQ_U64(lock_waiting(l), 0);
  }
  /* The completion itself is copied: it may be a local variable of the caller's. */
  completion = op_probe_completion(&p);
  CHECK_STATUS(selv_lock_acquire_async(l, t, &completion, NULL), SELV_PENDING);
  memset(&completion, 0x5a, sizeof completion);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(t, NULL));
}

static void stats(void) {
  selv_lock *l = lock_named("l", 0);
  selv_lock_stats s;
  struct {
    selv_lock_stats known;
    uint64_t tail;
  } newer;
  unsigned char *bytes = (unsigned char *)&s;
  size_t i;
  CHECK_STATUS(selv_lock_get_stats(l, NULL), SELV_E_NULL);
  memset(&s, 0, sizeof s);
  CHECK_STATUS(selv_lock_get_stats(l, &s), SELV_E_INVAL);
  s.struct_size = 3;
  CHECK_STATUS(selv_lock_get_stats(l, &s), SELV_E_INVAL);
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  memset(&s, 0x5a, sizeof s);
  s.struct_size = offsetof(selv_lock_stats, waiting);
  CHECK_OK(selv_lock_get_stats(l, &s));
  CHECK_EQ_U64(s.struct_size, offsetof(selv_lock_stats, waiting));
  CHECK_EQ_U64(s.owner, selv_task_current());
  CHECK_EQ_U64(s.depth, 1);
  for (i = offsetof(selv_lock_stats, waiting); i < sizeof s; i++) CHECK_EQ_U64(bytes[i], 0x5a);
  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  newer.tail = 7;
  CHECK_OK(selv_lock_get_stats(l, &newer.known));
  CHECK_EQ_U64(newer.known.depth, 1);
  CHECK(newer.tail == 0 || newer.tail == 7);
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_free(l));
}

int main(void) {
  CHECK_RUN(options);
  CHECK_RUN(names);
  CHECK_RUN(null_locks);
  CHECK_RUN(completions);
  CHECK_RUN(stats);
  return 0;
}
