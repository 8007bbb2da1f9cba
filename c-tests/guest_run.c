/* guest_run.c: real guests through thousands of ticks: timers, input through a pipe, work from other threads; two of them on one loop
 * that talk to each other; a host that drains one call at a time, and has calls of its own. */
#include "guests.h"

static uint64_t many(void) { return check_scaled(2000); }

/* ---- timers ---- */

static void sets_the_next(guest *g) {
  uint64_t now = check_now_ns();
  if (g->fired >= many())
    guest_finish_here(g);
  else if (g->fired % 2) { /* two more, for one that is over: and one for two */
    guest_deadline_add(g, now + g->fired * 7919 % 200000);
    if (g->deadline_count < 8) guest_deadline_add(g, now + g->fired * 104729 % 300000);
  }
}

static void timers(int form) {
  host h;
  guest g;
  host_begin(&h, form);
  guest_init(&g, &h);
  g.on_deadline = sets_the_next;
  guest_deadline_add(&g, check_now_ns());
  guest_deadline_add(&g, check_now_ns() + CHECK_MS);
  guest_begin(&g);
  HOST_UNTIL(&h, check_tally_get(&g.dones) == 1);
  CHECK(g.fired >= many());
  CHECK(check_tally_get(&g.polls) > 0);
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
}

/* ---- input ---- */

typedef struct echo {
  guest g;
  int back[2];
  uint64_t rounds;
} echo;

static void sends_it_back(guest *g, const char *data, size_t len) {
  echo *e = (echo *)g->user;
  CHECK(write(e->back[1], data, len) == (ssize_t)len);
}

static void *asks(void *arg) {
  echo *e = (echo *)arg;
  uint64_t i;
  for (i = 0; i < e->rounds; i++) {
    char question = (char)(i * 31), answer = (char)~question;
    guest_feed(&e->g, &question, 1);
    CHECK(read(e->back[0], &answer, 1) == 1);
    CHECK(answer == question);
    if (i % 64 == 0) CHECK_OK(guest_post(&e->g)); /* and work from this thread meanwhile */
  }
  CHECK_OK(guest_finish(&e->g));
  return NULL;
}

static void a_pipe(int form) {
  host h;
  echo e;
  pthread_t client;
  memset(&e, 0, sizeof e);
  host_begin(&h, form);
  guest_init(&e.g, &h);
  e.rounds = many();
  CHECK(pipe(e.back) == 0);
  e.g.user = &e;
  e.g.on_input = sends_it_back;
  guest_begin(&e.g);
  CHECK(pthread_create(&client, NULL, asks, &e) == 0);
  HOST_UNTIL(&h, check_tally_get(&e.g.dones) == 1);
  CHECK(pthread_join(client, NULL) == 0);
  CHECK_EQ_U64(e.g.input, e.rounds);
  CHECK_EQ_U64(e.g.processed, e.g.polled);
  GUEST_ENDS(&e.g, SELV_OK);
  close(e.back[0]);
  close(e.back[1]);
  host_end(&h);
}

/* ---- two guests ---- */

static void passes_on(guest *g, const char *data, size_t len) {
  guest *other = (guest *)g->user;
  if (g->input >= many()) {
    guest_finish_here(g);
    if (other->finish) return; /* that one is done, or about to be */
    CHECK_OK(guest_finish(other));
  } else
    guest_feed(other, data, len);
}

static void two_guests(int form, uint32_t max_calls) {
  host h;
  guest a, b;
  host_begin(&h, form);
  guest_init(&a, &h);
  guest_init(&b, &h);
  a.on_input = b.on_input = passes_on;
  a.user = &b;
  b.user = &a;
  guest_begin(&a);
  guest_begin(&b);
  CHECK_EQ_U64(host_stats(&h).guests, 2);
  guest_feed(&a, "x", 1);
  while (check_tally_get(&a.dones) + check_tally_get(&b.dones) < 2) {
    HOST_AWAITS(&h);
    CHECK(host_drain(&h, max_calls) <= (max_calls ? max_calls : 2)); /* a guest has at most one tick queued */
  }
  CHECK(a.input >= many() || b.input >= many());
  CHECK(a.input + b.input >= 2 * many() - 1);
  GUEST_ENDS(&a, SELV_OK);
  GUEST_ENDS(&b, SELV_OK);
  host_has_nothing(&h);
  host_end(&h);
}

static void two_guests_talk(int form) { two_guests(form, 0); }
static void two_guests_talk_one_call_at_a_time(int form) { two_guests(form, 1); }

/* ---- a guest that is always busy does not keep the host from its own calls ---- */

static selv_status is_busy(guest *g, uint64_t *out_ns) {
  *out_ns = check_tally_get(&g->prepares) < many() ? 0 : SELV_GUEST_DONE;
  return SELV_OK;
}

static void again(call_probe *p) {
  if (check_tally_get(&p->ran) + 1 < many()) call_probe_soon(p);
}

static void a_busy_guest_and_a_busy_host(int form) {
  host h;
  guest g;
  call_probe p;
  uint64_t drains = 0;
  host_begin(&h, form);
  guest_init(&g, &h);
  call_probe_init(&p, &h);
  p.then = again;
  g.on_prepare = is_busy;
  guest_begin(&g);
  call_probe_soon(&p);
  while (check_tally_get(&g.dones) == 0) {
    CHECK_EQ_U64(HOST_NEXT(&h), 2);
    drains++;
    CHECK_EQ_U64(check_tally_get(&g.prepares), drains);
    CHECK_EQ_U64(check_tally_get(&p.ran), drains);
  }
  CHECK_EQ_U64(check_tally_get(&g.polls), 0);
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
}

/* ---- a host whose loop is a thread of its own ---- */

static void begins(void *arg) { guest_begin((guest *)arg); }

static void the_host_is_another_thread(int form) {
  host h;
  guest g;
  uint64_t i;
  host_start(&h, form);
  guest_init(&g, &h);
  host_do(&h, begins, &g);
  for (i = 0; i < many(); i++) {
    CHECK_OK(guest_post(&g));
    if (i % 16 == 0) guest_feed(&g, "x", 1);
  }
  CHECK_OK(guest_finish(&g));
  CHECK_WAIT(&g.dones, 1);
  CHECK_OK(g.why);
  CHECK_EQ_U64(g.ran, many());
  host_stop(&h);
  guest_free(&g);
}

int main(void) {
  HOST_RUN_BOTH(timers);
  HOST_RUN_BOTH(a_pipe);
  HOST_RUN_BOTH(two_guests_talk);
  HOST_RUN_BOTH(two_guests_talk_one_call_at_a_time);
  HOST_RUN_BOTH(a_busy_guest_and_a_busy_host);
  HOST_RUN_BOTH(the_host_is_another_thread);
  return 0;
}
