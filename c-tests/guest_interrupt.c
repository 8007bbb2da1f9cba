/* guest_interrupt.c: after selv_guest_interrupt the guest's prepare is called again soon, from wherever it is asked for and whatever the
 * guest is doing. Here a guest that is not called again sleeps for ever. */
#include "guests.h"
#include "probe.h"

static host h;

static void begin(guest *g) {
  host_begin(&h, HOST_FD);
  guest_init(g, &h);
}

/* It sleeps for ever, by now or soon; tell it to end, and see that it does. */
static void ends(guest *g) {
  CHECK_OK(guest_finish(g));
  HOST_UNTIL(&h, check_tally_get(&g->dones) == 1);
  CHECK_STATUS(guest_tell(g, selv_guest_interrupt), SELV_E_TOO_LATE);
  GUEST_ENDS(g, SELV_OK);
  host_has_nothing(&h);
  host_end(&h);
}

static void before_the_first_tick(void) {
  guest g;
  begin(&g);
  guest_begin(&g);
  CHECK_OK(guest_post(&g));
  CHECK_OK(guest_tell(&g, selv_guest_interrupt));
  CHECK_EQ_U64(check_tally_get(&g.prepares), 0); /* not inside the call */
  HOST_NEXT(&h);
  CHECK_EQ_U64(g.ran, 1);
  ends(&g);
}

static void *posts(void *arg) {
  CHECK_OK(guest_post((guest *)arg));
  return NULL;
}

static void posted_by_another_thread(guest *g) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, posts, g) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void while_a_worker_polls(void) {
  guest g;
  uint64_t i;
  begin(&g);
  guest_begin(&g);
  for (i = 1; i <= 10; i++) {
    GUEST_POLLS(&g, i);
    if (i % 2) posted_by_another_thread(&g);
    else CHECK_OK(guest_post(&g));
    HOST_UNTIL(&h, g.ran == i);
  }
  ends(&g);
}

/* A poll that is told returns once; many that tell it at one time make no storm of ticks. */
static void many_at_once_are_one(void) {
  guest g;
  int i;
  begin(&g);
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  for (i = 0; i < 1000; i++) CHECK_OK(guest_post(&g));
  HOST_UNTIL(&h, g.ran == 1000);
  ends(&g);
  CHECK(check_tally_get(&g.prepares) <= 4);
}

/* ---- from inside its callbacks ---- */

static void posts_itself(guest *g) { CHECK_OK(guest_post(g)); }

/* The work that is posted in `place` is seen with nobody's help. */
static void inside(const char *place, const char *finds, void (*then)(guest *)) {
  guest g;
  begin(&g);
  g.finds = finds;
  g.place = place;
  g.then = then;
  guest_begin(&g);
  HOST_UNTIL(&h, g.ran == 1);
  ends(&g);
}

/* prepare counts what was posted before it: when it posts itself, the one after it must come. */
static selv_status posts_after_it_has_run(guest *g, uint64_t *out_ns) {
  selv_status status = guest_loop_prepare(g, out_ns);
  if (g->posted == 0) CHECK_OK(guest_post(g));
  return status;
}

static void inside_prepare(void) {
  guest g;
  begin(&g);
  g.on_prepare = posts_after_it_has_run;
  guest_begin(&g);
  HOST_UNTIL(&h, g.ran == 1);
  ends(&g);
}

static void inside_the_poll_of_the_host(void) {
  inside("poll(0)", "", posts_itself);
  inside("poll(0)", "-", posts_itself);
  inside("poll(0)", "+", posts_itself);
  inside("poll(0)", "", posted_by_another_thread);
}

static void inside_the_poll_of_a_worker(void) {
  inside("poll", "", posts_itself);
  inside("poll", "", posted_by_another_thread);
  inside("poll", "--", posts_itself);
  inside("poll", "-+", posts_itself);
}

static void inside_process(void) {
  inside("process", "+", posts_itself);
  inside("process", "-+", posted_by_another_thread);
}

static void inside_interrupt(void) {
  guest g;
  begin(&g);
  g.place = "interrupt";
  g.then = posts_itself;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_post(&g));
  CHECK(g.was_there);
  HOST_UNTIL(&h, g.ran == 2);
  ends(&g);
}

static void is_too_late(guest *g) { CHECK_STATUS(guest_tell(g, selv_guest_interrupt), SELV_E_TOO_LATE); }

static void *is_too_late_elsewhere(void *arg) {
  is_too_late((guest *)arg);
  return NULL;
}

static void is_too_late_for_everybody(guest *g) {
  pthread_t thread;
  is_too_late(g);
  CHECK(pthread_create(&thread, NULL, is_too_late_elsewhere, g) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void inside_done(void) {
  guest g;
  begin(&g);
  g.place = "done";
  g.then = is_too_late_for_everybody;
  guest_begin(&g);
  ends(&g);
  CHECK(g.was_there);
}

/* ---- before a worker has begun the poll ---- */

/* The cache has one worker, and that one is busy: the poll waits in line. The tick does not. */
static void while_the_poll_waits_for_a_worker(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold;
  probe busy;
  guest g;
  uint64_t i;
  probe_init(&busy);
  hold = probe_job(probe_hold, &busy);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  begin(&g);
  g.options.cache = c;
  guest_begin(&g);
  for (i = 1; i <= 10; i++) {
    HOST_UNTIL(&h, g.for_workers >= i);
    CHECK_OK(guest_post(&g));
    HOST_UNTIL(&h, g.ran == i);
  }
  CHECK_EQ_U64(check_tally_get(&g.polls), 0);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 1);
  CHECK_WAIT(&g.polls, 1); /* the last of them, as ever */
  ends(&g);
  probe_end(c);
}

int main(void) {
  CHECK_RUN(before_the_first_tick);
  CHECK_RUN(while_a_worker_polls);
  CHECK_RUN(many_at_once_are_one);
  CHECK_RUN(inside_prepare);
  CHECK_RUN(inside_the_poll_of_the_host);
  CHECK_RUN(inside_the_poll_of_a_worker);
  CHECK_RUN(inside_process);
  CHECK_RUN(inside_interrupt);
  CHECK_RUN(inside_done);
  CHECK_RUN(while_the_poll_waits_for_a_worker);
  return 0;
}
