/* fork_host_loops.c: a loop of the parent is none of the child's: every function says so and none waits, its fd never tells the
 * child anything, and its handle can be given back. A loop that the child makes works. */
#include "fork_round.h"
#include "loops.h"
#include "probe.h"

static int32_t never(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_fail(__FILE__, __LINE__, "a function ran that must not run");
  return 0;
}

/* Everything that there is to ask of it. */
static void is_forked(selv_host_loop *l) {
  selv_cache *c = probe_cache(1, 0);
  selv_event *e = event_of(SELV_EVENT_RESETTABLE);
  selv_host_loop_stats stats = SELV_HOST_LOOP_STATS_INIT;
  selv_outcome outcome;
  selv_job_options job;
  selv_job *handle = (selv_job *)(uintptr_t)1;
  size_t accepted = 99;
  uint32_t ran = 99;
  op_probe op;
  probe p;
  CHECK_STATUS(selv_host_loop_call_soon(l, call_probe_never, NULL, call_probe_never, 0), SELV_E_FORKED);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK_STATUS(selv_host_loop_call_soon(l, call_probe_never, NULL, call_probe_never, SELV_CALL_IDEMPOTENT), SELV_E_FORKED);
  CHECK_STATUS(selv_host_loop_call(l, never, NULL, SELV_FOREVER, &outcome), SELV_E_FORKED);
  CHECK_STATUS(selv_host_loop_call(l, never, NULL, 0, NULL), SELV_E_FORKED);
  CHECK_STATUS(selv_host_loop_drain(l, 0, &ran), SELV_E_FORKED);
  CHECK_EQ_U64(ran, 0);
  CHECK_STATUS(selv_host_loop_bind(l), SELV_E_FORKED);
  CHECK_STATUS(selv_host_loop_close(l), SELV_E_FORKED);
  CHECK_STATUS(selv_host_loop_get_stats(l, &stats), SELV_E_FORKED);
  probe_init(&p);
  job = probe_job(probe_never, &p);
  job.loop = l;
  CHECK_STATUS(selv_cache_submit(c, &job, &handle), SELV_E_FORKED);
  CHECK(handle == NULL);
  CHECK_STATUS(selv_cache_submit_many(c, &job, 1, &accepted), SELV_E_FORKED);
  CHECK_EQ_U64(accepted, 0);
  CHECK_EQ_U64(check_tally_get(&p.delivered) + check_tally_get(&p.freed), 0);
  op_probe_init(&op);
  op.loop = l;
  CHECK_STATUS(op_event(&op, e, SELV_TASK_CURRENT), SELV_E_FORKED);
  CHECK_EQ_U64(event_stats(e).waiting, 0);
  CHECK_OK(selv_event_set(e));
  CHECK_STATUS(op_event(&op, e, SELV_TASK_CURRENT), SELV_E_FORKED); /* also if there is nothing to wait for */
  CHECK_EQ_U64(check_tally_get(&op.called), 0);
  CHECK_OK(selv_event_free(e));
  probe_end(c);
}

/* With its last handle the child's copy of the descriptor is gone, too. */
static void gives_it_back(host *h) {
  int fd = selv_host_loop_fd(h->loop);
  selv_host_loop_release(h->loop);
  if (h->form == HOST_FD) CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
}

static void a_loop_of_its_own(int form) {
  selv_cache *c = probe_cache(1, 0);
  selv_event *e = event_of(0);
  selv_job_options job;
  selv_outcome outcome;
  call_probe p;
  op_probe op;
  probe q;
  host h;
  host_start(&h, form);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  CHECK_WAIT(&p.ran, 1);
  probe_init(&q);
  CHECK_OK(selv_host_loop_call(h.loop, probe_run, &q, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 7);
  job = probe_job(probe_run, &q);
  job.loop = h.loop;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&q.freed, 1);
  CHECK(pthread_equal(q.deliverer, h.thread));
  op_probe_init(&op);
  op.loop = h.loop;
  CHECK_STATUS(op_event(&op, e, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_event_set(e));
  OP_GOT(&op, 1, SELV_OK);
  CHECK(pthread_equal(op.on, h.thread));
  host_stop(&h);
  CHECK_OK(selv_event_free(e));
  probe_end(c);
}

/* ---- the loop is idle, or has something queued ---- */

static void with_work(int form, uint64_t work) {
  call_probe p;
  pid_t child;
  host h;
  uint64_t i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  for (i = 0; i < work; i++) call_probe_soon(&p);
  child = forked();
  if (child == 0) {
    CHECK_EQ_U64(selv_host_loop_fd(h.loop) >= 0, form == HOST_FD);
    is_forked(h.loop);
    a_loop_of_its_own(HOST_WAKE);
    a_loop_of_its_own(HOST_FD);
    is_forked(h.loop); /* still */
    CHECK(selv_host_loop_retain(h.loop) == h.loop);
    selv_host_loop_release(h.loop);
    gives_it_back(&h); /* the last one closes nothing that is not the child's */
    CALL_COUNTS(&p, 0, 0);
    CHECK_EQ_U64(check_tally_get(&h.freed), 0);
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(host_is_due(&h), work != 0); /* nothing of that happened here */
  CHECK_EQ_U64(host_waiting(&h), work);
  CHECK_EQ_U64(host_drain(&h, 0), work);
  CHECK(!host_is_due(&h));
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  host_end(&h);
}

static void idle(int form) { with_work(form, 0); }
static void with_calls_queued(int form) { with_work(form, 3); }

/* Parent and child have the fd in common: what the child does with its handle takes no news from the parent. */
static void the_fd_in_the_child(void) {
  call_probe p;
  pid_t child;
  int go[2], answer[2];
  char byte = 0;
  host h;
  host_begin(&h, HOST_FD);
  call_probe_init(&p, &h);
  CHECK(pipe(go) == 0 && pipe(answer) == 0);
  child = forked();
  if (child == 0) {
    CHECK(write(answer[1], "1", 1) == 1);
    CHECK(read(go[0], &byte, 1) == 1);
    CHECK_STATUS(selv_host_loop_drain(h.loop, 0, NULL), SELV_E_FORKED);
    selv_host_loop_release(h.loop);
    CHECK(write(answer[1], "2", 1) == 1);
    _exit(0);
  }
  CHECK(read(answer[0], &byte, 1) == 1);
  call_probe_soon(&p);
  CHECK(write(go[1], "1", 1) == 1);
  CHECK(read(answer[0], &byte, 1) == 1);
  CHECK(host_is_due(&h)); /* whatever the child did with the handle */
  REAP(child);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  host_end(&h);
  CHECK(close(go[0]) == 0 && close(go[1]) == 0 && close(answer[0]) == 0 && close(answer[1]) == 0);
}

/* ---- closed before ---- */

static void closed_before(int form) {
  pid_t child;
  host h;
  host_begin(&h, form);
  host_close(&h);
  child = forked();
  if (child == 0) {
    selv_status status = selv_host_loop_call_soon(h.loop, call_probe_never, NULL, NULL, 0);
    CHECK_EITHER(status, SELV_E_FORKED, SELV_E_CLOSED); /* both are true */
    status = selv_host_loop_call(h.loop, never, NULL, SELV_FOREVER, NULL);
    CHECK_EITHER(status, SELV_E_FORKED, SELV_E_CLOSED);
    selv_host_loop_release(h.loop);
    _exit(0);
  }
  REAP(child);
  host_end(&h);
}

/* ---- inside a drain ---- */

static pid_t forked_inside;

static void forks(call_probe *p) {
  forked_inside = forked();
  if (forked_inside == 0) {
    CHECK_STATUS(selv_host_loop_drain(p->on->loop, 0, NULL), SELV_E_FORKED);
    CHECK_STATUS(selv_host_loop_close(p->on->loop), SELV_E_FORKED);
    CHECK_STATUS(selv_host_loop_bind(p->on->loop), SELV_E_FORKED);
    is_forked(p->on->loop);
    a_loop_of_its_own(p->on->form);
  }
}

/* The drain goes on in both; in the child it ends with what runs. */
static void inside_a_drained_call(int form) {
  call_probe p, behind;
  selv_status status;
  uint32_t ran = 99;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  p.then = forks;
  call_probe_soon(&p);
  call_probe_soon(&behind);
  status = selv_host_loop_drain(h.loop, 0, &ran);
  if (forked_inside == 0) {
    CHECK_EITHER(status, SELV_OK, SELV_E_FORKED);
    CALL_COUNTS(&p, 1, 0);
    CALL_COUNTS(&behind, 0, 0); /* the parent's to run */
    is_forked(h.loop);
    _exit(0);
  }
  REAP(forked_inside);
  CHECK_OK(status);
  CHECK_EQ_U64(ran, 2);
  CALL_COUNTS(&behind, 1, 0);
  host_end(&h);
}

/* The same in deliver: what is to be done after it is the parent's. */
static pid_t forked_in_deliver;

static void forks_in_deliver(void *arg, const selv_outcome *outcome) {
  probe_deliver(arg, outcome);
  forked_in_deliver = forked();
}

static void inside_deliver(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job;
  selv_status status;
  call_probe behind;
  probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&behind, &h);
  probe_init(&p);
  job = probe_job(probe_run, &p);
  job.deliver = forks_in_deliver;
  job.loop = h.loop;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  UNTIL(host_waiting(&h) == 1);
  call_probe_soon(&behind);
  status = selv_host_loop_drain(h.loop, 0, NULL);
  if (forked_in_deliver == 0) {
    CHECK_EITHER(status, SELV_OK, SELV_E_FORKED);
    CHECK_EQ_U64(check_tally_get(&p.freed), 0);
    CALL_COUNTS(&behind, 0, 0);
    is_forked(h.loop);
    _exit(0);
  }
  CHECK_OK(status);
  REAP(forked_in_deliver);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CALL_COUNTS(&behind, 1, 0);
  host_end(&h);
  probe_end(c);
}

/* And in a drop of a close. */
static pid_t forked_in_drop;
static void forks_in_drop(call_probe *p) {
  (void)p;
  forked_in_drop = forked();
}

static void inside_a_drop(int form) {
  call_probe p, behind;
  selv_status status;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  p.then_drop = forks_in_drop;
  call_probe_soon(&p);
  call_probe_soon(&behind);
  status = selv_host_loop_close(h.loop);
  if (forked_in_drop == 0) {
    CHECK_EITHER(status, SELV_OK, SELV_E_FORKED);
    CALL_COUNTS(&behind, 0, 0); /* the parent's to drop */
    _exit(0);
  }
  CHECK_OK(status);
  REAP(forked_in_drop);
  CALL_COUNTS(&behind, 0, 1);
  host_end(&h);
}

/* In a wake: the child comes back to a call that nobody answers there. */
static pid_t forked_in_wake;

static void forks_in_wake(void *wake_arg) {
  forked_in_wake = forked();
  if (forked_in_wake != 0) host_wake(wake_arg);
}

static void *calls_and_is_woken(void *arg) {
  selv_host_loop *l = (selv_host_loop *)arg;
  selv_status status = selv_host_loop_call(l, probe_run, NULL, SELV_FOREVER, NULL);
  if (forked_in_wake == 0) {
    CHECK_STATUS(status, SELV_E_FORKED);
    _exit(0);
  }
  CHECK_STATUS(status, SELV_E_CLOSED);
  return NULL;
}

static void inside_a_wake(void) {
  selv_host_loop_options options;
  pthread_t thread;
  host h;
  host_init(&h, HOST_WAKE);
  options = host_options(&h);
  options.wake = forks_in_wake;
  CHECK_OK(selv_host_loop_new(&options, &h.loop));
  h.thread = pthread_self();
  forked_in_wake = -1;
  CHECK(pthread_create(&thread, NULL, calls_and_is_woken, h.loop) == 0);
  CHECK_WAIT(&h.woken, 1);
  REAP(forked_in_wake);
  host_close(&h);
  CHECK(pthread_join(thread, NULL) == 0);
  host_end(&h);
}

/* ---- while other threads are in the middle of it ---- */

static uint64_t stop_queueing;

static void *queues_on_and_on(void *arg) {
  while (!__atomic_load_n(&stop_queueing, __ATOMIC_SEQ_CST)) {
    call_probe_soon((call_probe *)arg);
    CHECK_OK(call_probe_queue((call_probe *)arg, SELV_CALL_IDEMPOTENT));
    UNTIL(host_waiting(((call_probe *)arg)->on) < 50);
  }
  return NULL;
}

/* A lock of the loop that was held at the fork must not hang the child. */
static void while_others_queue_and_drain(int form) {
  uint64_t round, rounds = check_scaled(15);
  pthread_t threads[2];
  call_probe p;
  host h;
  int i;
  host_start(&h, form);
  call_probe_init(&p, &h);
  stop_queueing = 0;
  for (i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, queues_on_and_on, &p) == 0);
  for (round = 0; round < rounds; round++) {
    pid_t child;
    CHECK_WAIT(&p.ran, 10 * round);
    child = forked();
    if (child == 0) {
      is_forked(h.loop);
      a_loop_of_its_own(form);
      selv_host_loop_release(h.loop);
      _exit(0);
    }
    REAP(child);
  }
  __atomic_store_n(&stop_queueing, 1, __ATOMIC_SEQ_CST);
  for (i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  UNTIL(host_waiting(&h) == 0);
  host_stop(&h);
}

/* ---- what was under way to a loop ---- */

/* A job and an operation of the parent stay the parent's, and are told there. */
static void outcomes_and_completions(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_event *e = event_of(SELV_EVENT_RESETTABLE);
  selv_job_options job;
  selv_job *handle = NULL;
  pid_t child;
  op_probe op;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  op_probe_init(&op);
  op.loop = h.loop;
  job = probe_job(probe_run, &p);
  job.loop = h.loop;
  CHECK_OK(selv_cache_submit(c, &job, &handle));
  UNTIL(host_waiting(&h) == 1);
  CHECK_STATUS(op_event(&op, e, SELV_TASK_CURRENT), SELV_PENDING);
  child = forked();
  if (child == 0) {
    selv_outcome outcome;
    CHECK_STATUS(selv_job_wait(handle, SELV_FOREVER, &outcome), SELV_E_FORKED);
    CHECK_STATUS(selv_job_cancel(handle), SELV_E_FORKED);
    CHECK_OK(selv_event_set(e));
    CHECK_EQ_U64(check_tally_get(&op.called), 0);
    CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
    is_forked(h.loop);
    gives_it_back(&h); /* whatever was under way to it */
    CHECK_EQ_U64(check_tally_get(&op.called), 0);
    CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CHECK_OK(p.last.status);
  CHECK_OK(selv_event_set(e));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&op, 1, SELV_OK);
  selv_job_release(handle);
  host_end(&h);
  CHECK_OK(selv_event_free(e));
  probe_end(c);
}

int main(void) {
  HOST_RUN_BOTH(idle);
  HOST_RUN_BOTH(with_calls_queued);
  CHECK_RUN(the_fd_in_the_child);
  HOST_RUN_BOTH(closed_before);
  HOST_RUN_BOTH(inside_a_drained_call);
  HOST_RUN_BOTH(inside_deliver);
  HOST_RUN_BOTH(inside_a_drop);
  CHECK_RUN(inside_a_wake);
  HOST_RUN_BOTH(while_others_queue_and_drain);
  HOST_RUN_BOTH(outcomes_and_completions);
  return 0;
}
