/* wait_graph.c: who holds what and who waits for it, as text, as JSON that a strict reader takes and in which each fact can be looked up,
 * and as DOT; while nothing goes on and in a storm; with a writer that fails. */
#include "probe.h"
#include "waiters.h"

/* ---- a graph in memory ---- */

typedef struct text {
  char *data;
  size_t length, room;
  uint64_t calls;
  selv_status answer; /* what the writer says from its `after`th call on */
  uint64_t after;
} text;

static selv_status writes(void *arg, const char *data, size_t len) {
  text *t = (text *)arg;
  CHECK(t->answer == 0 || t->calls < t->after); /* once it has failed it is not called again */
  t->calls++;
  if (t->answer != 0 && t->calls >= t->after) return t->answer;
  if (t->length + len + 1 > t->room) {
    t->room = 2 * (t->length + len + 1);
    t->data = (char *)realloc(t->data, t->room);
    CHECK(t->data != NULL);
  }
  memcpy(t->data + t->length, data, len);
  t->length += len;
  t->data[t->length] = '\0';
  return SELV_OK;
}

static text graph(uint32_t format) {
  text t;
  memset(&t, 0, sizeof t);
  CHECK_OK(selv_wait_graph(format, writes, &t));
  CHECK(t.calls > 0 && t.length > 0);
  CHECK_EQ_U64(strlen(t.data), t.length); /* no NUL inside */
  return t;
}

/* ---- JSON, as RFC 8259 has it: the end of the value that begins at `at`, or NULL ---- */

static const char *blanks(const char *at) {
  while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') at++;
  return at;
}

static const char *string_end(const char *at) {
  if (*at++ != '"') return NULL;
  for (; *at != '"'; at++) {
    if ((unsigned char)*at < 0x20) return NULL; /* must be escaped; catches the end, too */
    if (*at != '\\') continue;
    at++;
    if (*at == 'u') {
      if (strspn(at + 1, "0123456789abcdefABCDEF") < 4) return NULL;
      at += 4;
    } else if (*at == '\0' || strchr("\"\\/bfnrt", *at) == NULL) {
      return NULL;
    }
  }
  return at + 1;
}

static const char *digits_end(const char *at) {
  size_t n = strspn(at, "0123456789");
  return n ? at + n : NULL;
}

static const char *number_end(const char *at) {
  if (*at == '-') at++;
  if (*at == '0' && at[1] >= '0' && at[1] <= '9') return NULL;
  at = digits_end(at);
  if (at && *at == '.') at = digits_end(at + 1);
  if (at && (*at == 'e' || *at == 'E')) at = digits_end(at + 1 + (at[1] == '+' || at[1] == '-'));
  return at;
}

static const char *value_end(const char *at) {
  char open = *at, close = open == '{' ? '}' : ']';
  if (open == '"') return string_end(at);
  if (open == '-' || (open >= '0' && open <= '9')) return number_end(at);
  if (strncmp(at, "true", 4) == 0 || strncmp(at, "null", 4) == 0) return at + 4;
  if (strncmp(at, "false", 5) == 0) return at + 5;
  if (open != '{' && open != '[') return NULL;
  at = blanks(at + 1);
  if (*at == close) return at + 1;
  for (;;) {
    if (open == '{') {
      at = string_end(at);
      if (at == NULL || *(at = blanks(at)) != ':') return NULL;
      at = blanks(at + 1);
    }
    at = value_end(at);
    if (at == NULL) return NULL;
    at = blanks(at);
    if (*at == close) return at + 1;
    if (*at != ',') return NULL;
    at = blanks(at + 1);
  }
}

static void is_json(const char *data) {
  const char *end = value_end(blanks(data));
  if (end == NULL || *blanks(end) != '\0') check_fail(__FILE__, __LINE__, "this is no JSON:\n%s", data);
}

/* The value of a member of the object at `at`, or NULL. */
static const char *member(const char *at, const char *name) {
  size_t length = strlen(name);
  if (at == NULL || *at != '{') return NULL;
  for (at = blanks(at + 1); *at != '}'; at = blanks(at + (*at == ','))) {
    int found = strncmp(at + 1, name, length) == 0 && at[1 + length] == '"';
    at = blanks(blanks(string_end(at)) + 1);
    if (found) return at;
    at = blanks(value_end(at));
  }
  return NULL;
}

/* The next element of the array at `array` after `at` (NULL: the first); NULL at the end. */
static const char *element(const char *array, const char *at) {
  if (array == NULL || *array != '[') return NULL;
  at = blanks(at == NULL ? array + 1 : value_end(at));
  if (*at == ',') at = blanks(at + 1);
  return *at == ']' ? NULL : at;
}

static int is(const char *value, const char *wanted) {
  return value != NULL && (size_t)(value_end(value) - value) == strlen(wanted) && strncmp(value, wanted, strlen(wanted)) == 0;
}

static int is_number(const char *value, uint64_t wanted) {
  char digits[24];
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)wanted);
  return is(value, digits);
}

/* The one element of an array whose member has this value. */
static const char *the_one(const char *array, const char *name, const char *value) {
  const char *at, *found = NULL;
  for (at = element(array, NULL); at != NULL; at = element(array, at))
    if (is(member(at, name), value)) {
      CHECK(found == NULL);
      found = at;
    }
  return found;
}

static const char *task_numbered(const char *json, selv_task t) {
  char digits[24];
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)t);
  return the_one(member(json, "tasks"), "id", digits);
}

static int holds(const char *task, const char *what) {
  const char *list = member(task, "holds"), *at;
  for (at = element(list, NULL); at != NULL; at = element(list, at))
    if (is(at, what)) return 1;
  return 0;
}

static const char *waiting_of(const char *object, selv_task t) {
  char digits[24];
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)t);
  return the_one(member(object, "waiting"), "task", digits);
}

#define FOUND(what) ((what) != NULL ? (void)0 : check_fail(__FILE__, __LINE__, "%s is not in:\n%s", #what, json.data))
#define HOLDS_TRUE(what) ((what) ? (void)0 : check_fail(__FILE__, __LINE__, "%s is not so in:\n%s", #what, json.data))

/* ---- a scene ---- */

#define LONG (3600 * UINT64_C(1000000000))

static struct {
  selv_lock *ledger, *archive;
  selv_limiter *desks;
  selv_condition *bell;
  selv_semaphore *tickets;
  selv_task clerk, reader, writer, guest, sleeper;
  waiter blocking, timed, asleep;
  op_probe async, ticket;
} scene;

static selv_status waits_for_a_desk(waiter *w) {
  return selv_limiter_acquire((selv_limiter *)w->object, w->task, w->timeout_ns);
}

/* The clerk holds the ledger and a desk; the reader (a thread) and the writer (an operation) want the ledger; the guest wants the
 * desk, for an hour at most; the reader holds the archive, which nobody wants; the sleeper waits for the bell, the writer also for a ticket. */
static void stage(void) {
  selv_limiter_options one = SELV_LIMITER_OPTIONS_INIT;
  selv_semaphore_options few = SELV_SEMAPHORE_OPTIONS_INIT;
  selv_completion completion;
  scene.ledger = lock_named("ledger", SELV_LOCK_STRICT_FIFO);
  scene.archive = lock_named("archive", 0);
  scene.bell = condition_on(scene.archive, "bell");
  one.name = "desks";
  one.total = 1;
  CHECK_OK(selv_limiter_new(&one, &scene.desks));
  few.name = "tickets";
  CHECK_OK(selv_semaphore_new(&few, &scene.tickets));
  scene.clerk = task_named("clerk");
  scene.reader = task_named("reader");
  scene.writer = task_named("writer");
  scene.guest = task_named("guest");
  scene.sleeper = task_named("sleeper");
  CHECK_OK(selv_lock_acquire(scene.ledger, scene.clerk, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(scene.desks, scene.clerk, SELV_FOREVER));
  waiter_init(&scene.asleep, waiter_condition, scene.bell, scene.sleeper);
  scene.asleep.other = scene.archive;
  waiter_go(&scene.asleep);
  UNTIL(condition_waiting(scene.bell) == 1);
  CHECK_OK(selv_lock_acquire(scene.archive, scene.reader, SELV_FOREVER));
  waiter_init(&scene.blocking, waiter_lock, scene.ledger, scene.reader);
  scene.blocking.then = waiter_unlock;
  waiter_go(&scene.blocking);
  UNTIL(lock_waiting(scene.ledger) == 1);
  op_probe_init(&scene.async);
  scene.async.then = op_probe_unlock;
  CHECK_STATUS(op_probe_lock(&scene.async, scene.ledger, scene.writer), SELV_PENDING);
  op_probe_init(&scene.ticket);
  completion = op_probe_completion(&scene.ticket);
  CHECK_STATUS(selv_semaphore_acquire_async(scene.tickets, scene.writer, 1, &completion, &scene.ticket.op), SELV_PENDING);
  waiter_init(&scene.timed, waits_for_a_desk, scene.desks, scene.guest);
  scene.timed.timeout_ns = LONG;
  waiter_go(&scene.timed);
  UNTIL(limiter_waiting(scene.desks) == 1);
}

static void strike(void) {
  CHECK_OK(selv_lock_release(scene.ledger, scene.clerk));
  WAITER_ENDED(&scene.blocking, SELV_OK);
  OP_GOT(&scene.async, 1, SELV_OK);
  CHECK_OK(selv_op_abandon(scene.ticket.op));
  CHECK_OK(selv_limiter_release(scene.desks, scene.clerk));
  WAITER_ENDED(&scene.timed, SELV_OK);
  CHECK_OK(selv_limiter_release(scene.desks, scene.guest));
  CHECK_OK(selv_condition_notify(scene.bell, scene.reader, 1));
  CHECK_OK(selv_lock_release(scene.archive, scene.reader));
  WAITER_ENDED(&scene.asleep, SELV_OK);
  CHECK_OK(selv_condition_free(scene.bell));
  CHECK_OK(selv_lock_free(scene.ledger));
  CHECK_OK(selv_lock_free(scene.archive));
  CHECK_OK(selv_limiter_free(scene.desks));
  CHECK_OK(selv_semaphore_free(scene.tickets));
  CHECK_OK(selv_task_exit(scene.clerk, NULL));
  CHECK_OK(selv_task_exit(scene.reader, NULL));
  CHECK_OK(selv_task_exit(scene.writer, NULL));
  CHECK_OK(selv_task_exit(scene.guest, NULL));
  CHECK_OK(selv_task_exit(scene.sleeper, NULL));
}

static void json_tells_it_all(void) {
  uint64_t staged, asked;
  const char *objects, *ledger, *desks, *bell, *clerk, *at;
  text json;
  stage();
  staged = check_now_ns();
  check_sleep_ms(5);
  json = graph(SELV_GRAPH_JSON);
  asked = check_now_ns();
  is_json(json.data);
  objects = member(blanks(json.data), "objects");
  FOUND(objects);

  ledger = the_one(objects, "name", "\"ledger\"");
  FOUND(ledger);
  HOLDS_TRUE(is(member(ledger, "kind"), "\"lock\""));
  HOLDS_TRUE(is_number(member(ledger, "owner"), scene.clerk));
  HOLDS_TRUE(is(member(ledger, "broken"), "false"));
  at = element(member(ledger, "waiting"), NULL); /* in the order of the queue */
  FOUND(at);
  HOLDS_TRUE(is_number(member(at, "task"), scene.reader));
  HOLDS_TRUE(is(member(at, "how"), "\"thread\""));
  HOLDS_TRUE(is(member(at, "timed"), "false"));
  FOUND(member(at, "for_ns"));
  HOLDS_TRUE(strtoull(member(at, "for_ns"), NULL, 10) >= 5 * CHECK_MS);
  HOLDS_TRUE(strtoull(member(at, "for_ns"), NULL, 10) <= asked - staged + check_patience_s() * UINT64_C(1000000000));
  at = element(member(ledger, "waiting"), at);
  FOUND(at);
  HOLDS_TRUE(is_number(member(at, "task"), scene.writer));
  HOLDS_TRUE(is(member(at, "how"), "\"operation\""));
  HOLDS_TRUE(element(member(ledger, "waiting"), at) == NULL);

  desks = the_one(objects, "name", "\"desks\"");
  FOUND(desks);
  HOLDS_TRUE(is(member(desks, "kind"), "\"limiter\""));
  at = element(member(desks, "owners"), NULL);
  FOUND(at);
  HOLDS_TRUE(is_number(at, scene.clerk));
  at = waiting_of(desks, scene.guest);
  FOUND(at);
  HOLDS_TRUE(is(member(at, "timed"), "true"));

  bell = the_one(objects, "name", "\"bell\"");
  FOUND(bell);
  HOLDS_TRUE(is(member(bell, "kind"), "\"condition\""));
  FOUND(waiting_of(bell, scene.sleeper));
  FOUND(waiting_of(the_one(objects, "name", "\"tickets\""), scene.writer));

  clerk = task_numbered(json.data, scene.clerk);
  FOUND(clerk);
  HOLDS_TRUE(is(member(clerk, "name"), "\"clerk\""));
  HOLDS_TRUE(is(member(clerk, "kind"), "\"host\""));
  HOLDS_TRUE(holds(clerk, "\"lock 'ledger'\""));
  HOLDS_TRUE(is(member(task_numbered(json.data, scene.reader), "name"), "\"reader\""));
  HOLDS_TRUE(is(member(task_numbered(json.data, scene.writer), "name"), "\"writer\""));
  free(json.data);
  strike();
  json = graph(SELV_GRAPH_JSON); /* and what is over is no longer in it */
  is_json(json.data);
  HOLDS_TRUE(strstr(json.data, "ledger") == NULL && strstr(json.data, "\"clerk\"") == NULL);
  free(json.data);
}

static void text_names_everyone(void) {
  static const char *const names[] = { "ledger", "desks", "bell", "tickets", "clerk", "reader", "writer", "guest", "sleeper" };
  size_t i;
  text plain;
  stage();
  plain = graph(SELV_GRAPH_TEXT);
  for (i = 0; i < sizeof names / sizeof *names; i++)
    if (strstr(plain.data, names[i]) == NULL) check_fail(__FILE__, __LINE__, "%s is not in:\n%s", names[i], plain.data);
  CHECK(plain.data[plain.length - 1] == '\n');
  free(plain.data);
  strike();
}

/* DOT: one digraph; every quoted string ends, every bracket closes, each edge has two ends. */
static void is_dot(const char *data) {
  int braces = 0, brackets = 0, quoted = 0;
  const char *at = blanks(data);
  if (strncmp(at, "digraph", 7) != 0) check_fail(__FILE__, __LINE__, "no digraph:\n%s", data);
  for (; *at; at++) {
    if (quoted) {
      if (*at == '\\' && at[1] != '\0') at++;
      else if (*at == '"') quoted = 0;
      else if (*at == '\n') check_fail(__FILE__, __LINE__, "a string that does not end on its line:\n%s", data);
      continue;
    }
    if (*at == '"') quoted = 1;
    braces += (*at == '{') - (*at == '}');
    brackets += (*at == '[') - (*at == ']');
    if (braces < 0 || brackets < 0 || brackets > 1) check_fail(__FILE__, __LINE__, "brackets do not match:\n%s", data);
  }
  if (quoted || braces != 0 || brackets != 0) check_fail(__FILE__, __LINE__, "something stays open:\n%s", data);
}

/* What waits at a channel waits for one thing or the other; an item in it is not a place in it; who has a token need not be a task. */
static void channels_and_borrowers(void) {
  selv_channel_options options = SELV_CHANNEL_OPTIONS_INIT;
  selv_limiter_options tokens = SELV_LIMITER_OPTIONS_INIT;
  selv_channel *full, *empty;
  selv_limiter *desks;
  op_probe p, q;
  selv_completion completion;
  selv_task t = task_named("porter"), u = task_named("porter");
  const char *at, *objects;
  char numbers[2][64];
  text json, plain, dot;
  options.capacity = 1;
  options.name = "full";
  CHECK_OK(selv_channel_new(&options, &full));
  options.name = "empty";
  CHECK_OK(selv_channel_new(&options, &empty));
  tokens.total = 1;
  CHECK_OK(selv_limiter_new(&tokens, &desks));
  CHECK_OK(selv_limiter_acquire_on_behalf_of(desks, t, 0x1267, 0));
  CHECK_OK(selv_channel_send_nowait(full, "x", 1));
  op_probe_init(&p);
  op_probe_init(&q);
  completion = op_probe_completion(&p);
  CHECK_STATUS(selv_channel_send_async(full, t, "y", 1, &completion, &p.op), SELV_PENDING);
  completion = op_probe_completion(&q);
  CHECK_STATUS(selv_channel_recv_async(empty, u, &completion, &q.op), SELV_PENDING);

  json = graph(SELV_GRAPH_JSON);
  is_json(json.data);
  objects = member(blanks(json.data), "objects");
  at = the_one(objects, "name", "\"full\"");
  HOLDS_TRUE(is_number(member(at, "queued"), 1));
  HOLDS_TRUE(is(member(at, "free"), "null"));
  HOLDS_TRUE(is(member(at, "closed"), "false"));
  HOLDS_TRUE(is(member(waiting_of(at, t), "to"), "\"send\""));
  at = the_one(objects, "name", "\"empty\"");
  HOLDS_TRUE(is_number(member(at, "queued"), 0));
  HOLDS_TRUE(is(member(waiting_of(at, u), "to"), "\"receive\""));
  at = the_one(objects, "kind", "\"limiter\"");
  HOLDS_TRUE(is_number(member(at, "free"), 0));
  HOLDS_TRUE(is(member(at, "queued"), "null"));
  HOLDS_TRUE(element(member(at, "owners"), NULL) == NULL);
  HOLDS_TRUE(is(element(member(at, "borrowers"), NULL), "\"0x1267\""));
  free(json.data);

  plain = graph(SELV_GRAPH_TEXT);
  dot = graph(SELV_GRAPH_DOT);
  is_dot(dot.data);
  snprintf(numbers[0], sizeof numbers[0], "task 'porter' (0x%llx) waits to send, by an operation", (unsigned long long)t);
  snprintf(numbers[1], sizeof numbers[1], "task 'porter' (0x%llx) waits to receive, by an operation", (unsigned long long)u);
  if (strstr(plain.data, numbers[0]) == NULL || strstr(plain.data, numbers[1]) == NULL || strstr(plain.data, "(1 queued)") == NULL)
    check_fail(__FILE__, __LINE__, "%s, %s or the item is not in:\n%s", numbers[0], numbers[1], plain.data);
  CHECK(strstr(dot.data, "waits to send") != NULL && strstr(dot.data, "waits to receive") != NULL);
  free(plain.data);
  free(dot.data);

  CHECK_OK(selv_channel_close(empty));
  CHECK_OK(selv_op_abandon(p.op));
  OP_GOT(&q, 1, SELV_E_CLOSED);
  json = graph(SELV_GRAPH_JSON);
  HOLDS_TRUE(is(member(the_one(member(blanks(json.data), "objects"), "name", "\"empty\""), "closed"), "true"));
  free(json.data);
  CHECK_OK(selv_limiter_release_on_behalf_of(desks, 0x1267));
  CHECK_OK(selv_limiter_free(desks));
  CHECK_OK(selv_channel_free(full));
  CHECK_OK(selv_channel_free(empty));
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_task_exit(u, NULL));
}

static void dot_draws_the_edges(void) {
  static const char *const names[] = { "ledger", "desks", "clerk", "reader", "writer", "guest" };
  size_t i;
  text dot;
  stage();
  dot = graph(SELV_GRAPH_DOT);
  is_dot(dot.data);
  for (i = 0; i < sizeof names / sizeof *names; i++)
    if (strstr(dot.data, names[i]) == NULL) check_fail(__FILE__, __LINE__, "%s is not in:\n%s", names[i], dot.data);
  CHECK(strstr(dot.data, "->") != NULL);
  free(dot.data);
  strike();
}

/* Names are the host's: no name may break the format that it is written in. */
static void names_that_need_care(void) {
  static const char *const names[] = { "say \"no\"", "back\\slash", "line\nbreak\ttab", "\x01\x1f", "</script>", "na\xc3\xafve \xe2\x82\xac",
                                       "}{][;->", "it's", "%s%n", "\\\"", "" };
  size_t i;
  for (i = 0; i < sizeof names / sizeof *names; i++) {
    selv_lock *l = lock_named(names[i], 0);
    selv_task owner = task_named(names[i]), t = task_named(names[i]);
    op_probe p;
    text json, dot, plain;
    op_probe_init(&p);
    CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    CHECK_STATUS(op_probe_lock(&p, l, t), SELV_PENDING);
    json = graph(SELV_GRAPH_JSON);
    is_json(json.data);
    FOUND(task_numbered(json.data, owner));
    if (i == 0) HOLDS_TRUE(is(member(task_numbered(json.data, owner), "name"), "\"say \\\"no\\\"\""));
    if (i == 1) HOLDS_TRUE(is(member(task_numbered(json.data, owner), "name"), "\"back\\\\slash\""));
    dot = graph(SELV_GRAPH_DOT);
    is_dot(dot.data);
    plain = graph(SELV_GRAPH_TEXT);
    { /* the lock, its waiter, the sum: a line each */
      const char *newline = plain.data;
      size_t lines = 0;
      while ((newline = strchr(newline, '\n')) != NULL) newline++, lines++;
      CHECK_EQ_U64(lines, 3);
    }
    free(json.data);
    free(dot.data);
    free(plain.data);
    CHECK_OK(selv_op_abandon(p.op));
    CHECK_OK(selv_lock_release(l, owner));
    CHECK_OK(selv_lock_free(l));
    CHECK_OK(selv_task_exit(owner, NULL));
    CHECK_OK(selv_task_exit(t, NULL));
  }
}

/* The kinds of tasks: a thread's own, a job's, the host's. */
static struct {
  selv_lock *lock;
  selv_task job, thread;
} kinds;

static int32_t a_job_waits(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  kinds.job = selv_task_current();
  CHECK_OK(selv_lock_acquire(kinds.lock, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_lock_release(kinds.lock, SELV_TASK_CURRENT));
  return 0;
}

static void *a_thread_waits(void *unused) {
  (void)unused;
  kinds.thread = selv_task_current();
  CHECK_OK(selv_lock_acquire(kinds.lock, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_lock_release(kinds.lock, SELV_TASK_CURRENT));
  return NULL;
}

static void kinds_of_tasks(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  selv_job *job = NULL;
  selv_outcome outcome;
  pthread_t thread;
  selv_task owner = task_named("owner");
  const char *lock;
  text json;
  kinds.lock = lock_named("three kinds", 0);
  CHECK_OK(selv_lock_acquire(kinds.lock, owner, SELV_FOREVER));
  options.fn = a_job_waits;
  options.name = "night run";
  CHECK_OK(selv_cache_submit(c, &options, &job));
  CHECK(pthread_create(&thread, NULL, a_thread_waits, NULL) == 0);
  UNTIL(lock_waiting(kinds.lock) == 2);
  json = graph(SELV_GRAPH_JSON);
  is_json(json.data);
  HOLDS_TRUE(is(member(task_numbered(json.data, owner), "kind"), "\"host\""));
  HOLDS_TRUE(is(member(task_numbered(json.data, kinds.job), "kind"), "\"job\""));
  HOLDS_TRUE(is(member(task_numbered(json.data, kinds.job), "name"), "\"night run\""));
  HOLDS_TRUE(is(member(task_numbered(json.data, kinds.thread), "kind"), "\"thread\""));
  lock = the_one(member(json.data, "objects"), "name", "\"three kinds\"");
  FOUND(waiting_of(lock, kinds.job));
  FOUND(waiting_of(lock, kinds.thread));
  free(json.data);
  CHECK_OK(selv_lock_release(kinds.lock, owner));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
  selv_job_release(job);
  CHECK_OK(selv_lock_free(kinds.lock));
  CHECK_OK(selv_task_exit(owner, NULL));
  probe_end(c);
}

/* ---- writers ---- */

static selv_status calls_back(void *arg, const char *data, size_t len) {
  selv_task t = task_named("called back");
  selv_lock *l = lock_named("from the writer", 0);
  text *inner = (text *)arg;
  CHECK(data != NULL && len > 0);
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  CHECK_STATUS(selv_lock_try_acquire(scene.ledger, t), SELV_E_WOULD_BLOCK);
  CHECK_EQ_U64(lock_waiting(scene.ledger), 2);
  inner->length = 0;
  CHECK_OK(selv_wait_graph(SELV_GRAPH_TEXT, writes, inner));
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(t, NULL));
  return SELV_OK;
}

static void writers(void) {
  uint32_t format;
  text t;
  stage();
  for (format = SELV_GRAPH_TEXT; format <= SELV_GRAPH_DOT; format++) {
    uint64_t half;
    int at_once;
    memset(&t, 0, sizeof t);
    CHECK_OK(selv_wait_graph(format, writes, &t));
    half = (t.calls + 1) / 2;
    for (at_once = 0; at_once < 2; at_once++) {
      t.calls = t.length = 0;
      t.answer = at_once ? SELV_E_IO : -4711; /* one of ours, or the writer's own */
      t.after = at_once ? 1 : half;
      CHECK_STATUS(selv_wait_graph(format, writes, &t), t.answer);
      CHECK_EQ_U64(t.calls, t.after);
    }
    t.calls = t.length = 0;
    t.answer = SELV_PENDING; /* anything but 0 stops */
    t.after = 1;
    CHECK_STATUS(selv_wait_graph(format, writes, &t), SELV_PENDING);
    CHECK_EQ_U64(t.calls, 1);
    CHECK_STATUS(selv_wait_graph(format, NULL, &t), SELV_E_NULL);
    free(t.data);
  }
  memset(&t, 0, sizeof t);
  CHECK_STATUS(selv_wait_graph(SELV_GRAPH_DOT + 1, writes, &t), SELV_E_INVAL);
  CHECK_STATUS(selv_wait_graph(UINT32_MAX, writes, &t), SELV_E_INVAL);
  CHECK_EQ_U64(t.calls, 0);
  CHECK_OK(selv_wait_graph(SELV_GRAPH_JSON, calls_back, &t)); /* no lock is held while it writes */
  free(t.data);
  strike();
}

/* ---- in a storm ---- */

static struct {
  selv_lock *lock[4];
  uint64_t turns;
  int stop;
} weather;

static void *rages(void *arg) {
  uint64_t seed = (uint64_t)(uintptr_t)arg * UINT64_C(2654435761) + 1;
  while (!__atomic_load_n(&weather.stop, __ATOMIC_ACQUIRE)) {
    selv_task t = task_named("raging \"task\"");
    selv_lock *first, *second;
    op_probe p;
    selv_status s;
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    first = weather.lock[(seed >> 33) % 3];
    second = weather.lock[3];
    op_probe_init(&p);
    s = selv_lock_acquire(first, t, CHECK_MS);
    if (s == SELV_E_BROKEN) s = selv_lock_repair(first, t);
    if (s == SELV_OK) {
      s = op_probe_lock(&p, second, t);
      if (s == SELV_PENDING) {
        CHECK_WAIT(&p.called, 1);
        s = p.last.status;
      }
      if (s == SELV_OK) CHECK_OK(selv_lock_release(second, t));
      if ((seed >> 40) % 4) CHECK_OK(selv_lock_release(first, t)); /* else it breaks */
    }
    CHECK_OK(selv_task_exit(t, NULL));
    __atomic_add_fetch(&weather.turns, 1, __ATOMIC_SEQ_CST);
  }
  return NULL;
}

static void while_everything_moves(void) {
  pthread_t thread[4];
  uint64_t round;
  uintptr_t i;
  for (i = 0; i < 4; i++) weather.lock[i] = lock_named("stormy", i % 2 ? SELV_LOCK_STRICT_FIFO : 0);
  for (i = 0; i < 4; i++) CHECK(pthread_create(&thread[i], NULL, rages, (void *)i) == 0);
  for (round = 0; round < check_scaled(200) || __atomic_load_n(&weather.turns, __ATOMIC_SEQ_CST) < check_scaled(1000); round++) {
    text t = graph((uint32_t)(round % 3));
    if (round % 3 == SELV_GRAPH_JSON) is_json(t.data);
    if (round % 3 == SELV_GRAPH_DOT) is_dot(t.data);
    free(t.data);
  }
  __atomic_store_n(&weather.stop, 1, __ATOMIC_RELEASE);
  for (i = 0; i < 4; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  for (i = 0; i < 4; i++) CHECK_OK(selv_lock_free(weather.lock[i]));
}

/* With nothing to tell, it is still well formed. */
static void an_empty_graph(void) {
  text t = graph(SELV_GRAPH_JSON);
  is_json(t.data);
  CHECK(member(blanks(t.data), "tasks") != NULL && member(blanks(t.data), "objects") != NULL);
  free(t.data);
  t = graph(SELV_GRAPH_DOT);
  is_dot(t.data);
  free(t.data);
  t = graph(SELV_GRAPH_TEXT);
  free(t.data);
}

int main(void) {
  CHECK_RUN(an_empty_graph);
  CHECK_RUN(json_tells_it_all);
  CHECK_RUN(channels_and_borrowers);
  CHECK_RUN(text_names_everyone);
  CHECK_RUN(dot_draws_the_edges);
  CHECK_RUN(names_that_need_care);
  CHECK_RUN(kinds_of_tasks);
  CHECK_RUN(writers);
  CHECK_RUN(while_everything_moves);
  return 0;
}
