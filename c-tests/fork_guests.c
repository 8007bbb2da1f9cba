/* fork_guests.c: guests in a fork child. Those of the parent belong to the parent: nothing of them is called in the child, whatever they
 * were doing, and every call about them says so. Loops and guests that the child makes work there. */
#include "guests.h"

#include <sys/wait.h>

static host h;
static pid_t parent;

static void reap(pid_t child) {
  int status = 0;
  CHECK(child > 0);
  CHECK(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    check_fail(__FILE__, __LINE__, "the child ended with status %#x", (unsigned)status);
}

static pid_t forked(void) {
  pid_t child;
  fflush(stdout);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) alarm((unsigned)check_patience_s() / 2 + 1);
  return child;
}

/* A guest of the child's own, on a loop of its own, with a worker of its own. */
static void a_guest_of_its_own(void) {
  host own;
  guest g;
  host_begin(&own, HOST_WAKE);
  guest_init(&g, &own);
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_post(&g));
  HOST_UNTIL(&own, g.ran == 1);
  CHECK_OK(guest_finish(&g));
  GUEST_ENDS(&g, SELV_OK);
  host_end(&own);
}

/* What the child may ask about the parent's guest, and is told. */
static void is_the_parents(guest *g) {
  selv_guest *fresh = (selv_guest *)(uintptr_t)1;
  uint64_t calls = check_tally_get(&g->prepares) + check_tally_get(&g->polls) + check_tally_get(&g->interrupts);
  CHECK_STATUS(guest_tell(g, selv_guest_interrupt), SELV_E_FORKED);
  CHECK_STATUS(guest_tell(g, selv_guest_stop), SELV_E_FORKED);
  CHECK_STATUS(guest_abandon(g, SELV_FOREVER), SELV_E_FORKED);
  CHECK_STATUS(selv_guest_start(&g->options, &fresh), SELV_E_FORKED);
  CHECK(fresh == NULL);
  CHECK_STATUS(selv_host_loop_drain(g->h->loop, 0, NULL), SELV_E_FORKED);
  CHECK_EQ_U64(check_tally_get(&g->prepares) + check_tally_get(&g->polls) + check_tally_get(&g->interrupts), calls);
  CHECK_EQ_U64(check_tally_get(&g->dones), 0);
}

/* ---- wherever the guest is, the thread of the loop forks between two drains ---- */

static void forks_at(const uint64_t *plan, const char *finds, uint64_t polls, uint64_t drains) {
  pid_t child;
  uint64_t i;
  guest g;
  host_begin(&h, HOST_FD);
  guest_init(&g, &h);
  g.plan = plan;
  g.finds = finds;
  guest_begin(&g);
  if (polls) GUEST_POLLS(&g, polls);
  for (i = 0; i < drains; i++) HOST_NEXT(&h);
  child = forked();
  if (child == 0) {
    is_the_parents(&g);
    a_guest_of_its_own();
    selv_guest_release(g.handle);
    selv_host_loop_release(h.loop);
    a_guest_of_its_own();
    CHECK_EQ_U64(check_tally_get(&g.dones), 0);
    _exit(0);
  }
  reap(child);
  CHECK_OK(guest_tell(&g, selv_guest_stop)); /* and the parent goes on */
  GUEST_ENDS(&g, SELV_E_CANCELLED);
  host_end(&h);
}

static const uint64_t sleeps[] = {SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE};

static void before_the_first_tick(void) { forks_at(sleeps, "", 0, 0); }
static void while_a_worker_polls(void) { forks_at(sleeps, "", 1, 0); }
static void while_events_wait(void) { forks_at(sleeps, "+", 0, 1); }
static void in_the_second_poll(void) { forks_at(sleeps, "-+-w", 2, 0); }

/* ---- a callback forks ---- */

static void forks_here(guest *g) {
  pid_t child = forked();
  if (child == 0) {
    CHECK_STATUS(selv_guest_stop(g->handle), SELV_E_FORKED);
    _exit(0);
  }
  reap(child);
}

/* The child returns from the callback: nothing more of the guest is called there. */
static void forks_and_returns(guest *g) {
  pid_t child = forked();
  (void)g;
  if (child != 0) reap(child);
}

/* The child of a worker has only that thread, which ends: so does the child. */
static void a_callback_forks(const char *place, const char *finds, void (*then)(guest *)) {
  guest g;
  parent = getpid();
  host_begin(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.plan = sleeps;
  g.finds = finds;
  g.place = place;
  g.then = then;
  guest_begin(&g);
  if (then == forks_and_returns) {
    int i;
    for (i = 0; i < 4 && !g.was_there; i++) {
      selv_status status;
      HOST_AWAITS(&h);
      status = selv_host_loop_drain(h.loop, 0, NULL);
      if (getpid() != parent) { /* the child, back from the drain that was going on */
        uint64_t calls = check_tally_get(&g.prepares) + check_tally_get(&g.polls0) + check_tally_get(&g.processes);
        is_the_parents(&g);
        CHECK(status == SELV_OK || status == SELV_E_FORKED);
        CHECK_EQ_U64(calls, 1 + (strcmp(place, "prepare") != 0) + (strcmp(place, "process") == 0));
        CHECK_EQ_U64(check_tally_get(&g.polls), 0);
        a_guest_of_its_own();
        _exit(0);
      }
    }
  } else
    HOST_UNTIL(&h, g.was_there);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  GUEST_ENDS(&g, SELV_E_CANCELLED);
  CHECK_EQ_U64((uint64_t)getpid(), (uint64_t)parent);
  host_end(&h);
}

static void a_callback_of_the_host_forks(void) {
  a_callback_forks("prepare", "", forks_here);
  a_callback_forks("poll(0)", "", forks_here);
  a_callback_forks("process", "+", forks_here);
}

static void the_child_returns_from_a_callback(void) {
  a_callback_forks("prepare", "", forks_and_returns);
  a_callback_forks("poll(0)", "", forks_and_returns);
  a_callback_forks("process", "+", forks_and_returns);
}

/* The child returns from discard: done is the parent's. */
static void the_child_returns_from_discard(void) {
  guest g;
  parent = getpid();
  host_begin(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.plan = sleeps;
  g.finds = "+";
  g.place = "discard";
  g.then = forks_and_returns;
  guest_begin(&g);
  HOST_NEXT(&h);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  HOST_AWAITS(&h);
  (void)selv_host_loop_drain(h.loop, 0, NULL);
  if (getpid() != parent) {
    is_the_parents(&g);
    a_guest_of_its_own();
    _exit(0);
  }
  CHECK_EQ_U64(check_tally_get(&g.dones), 1);
  CHECK_STATUS(g.why, SELV_E_CANCELLED);
  guest_free(&g);
  host_end(&h);
}

/* The child returns from interrupt, and from the call that it was made in. */
static void the_child_returns_from_interrupt(void) {
  guest g;
  parent = getpid();
  host_begin(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.plan = sleeps;
  g.place = "interrupt";
  g.then = forks_and_returns;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  (void)guest_tell(&g, selv_guest_stop);
  if (getpid() != parent) {
    is_the_parents(&g);
    a_guest_of_its_own();
    _exit(0);
  }
  GUEST_ENDS(&g, SELV_E_CANCELLED);
  host_end(&h);
}

/* The child returns from done, which is over there as well. */
static void the_child_returns_from_done(void) {
  static const uint64_t at_once[] = {SELV_GUEST_DONE};
  guest g;
  parent = getpid();
  host_begin(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.plan = at_once;
  g.place = "done";
  g.then = forks_and_returns;
  guest_begin(&g);
  HOST_AWAITS(&h);
  (void)selv_host_loop_drain(h.loop, 0, NULL);
  if (getpid() != parent) {
    CHECK_STATUS(guest_tell(&g, selv_guest_stop), SELV_E_FORKED);
    a_guest_of_its_own();
    selv_guest_release(g.handle);
    selv_host_loop_release(h.loop);
    _exit(0);
  }
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
}

static void the_poll_of_a_worker_forks(void) {
  guest g;
  host_begin(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.plan = sleeps;
  g.place = "poll";
  g.then = forks_here;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_tell(&g, selv_guest_interrupt));
  GUEST_POLLS(&g, 2);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  GUEST_ENDS(&g, SELV_E_CANCELLED);
  host_end(&h);
}

/* done forks; the child makes a loop and a guest of its own. */
static void lives_on(guest *g) {
  pid_t child = forked();
  (void)g;
  if (child == 0) {
    a_guest_of_its_own();
    _exit(0);
  }
  reap(child);
}

static void done_forks(void) {
  static const uint64_t at_once[] = {SELV_GUEST_DONE};
  guest g;
  host_begin(&h, HOST_FD);
  guest_init(&g, &h);
  g.plan = at_once;
  g.place = "done";
  g.then = lives_on;
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
}

int main(void) {
  CHECK_RUN(before_the_first_tick);
  CHECK_RUN(while_a_worker_polls);
  CHECK_RUN(while_events_wait);
  CHECK_RUN(in_the_second_poll);
  CHECK_RUN(a_callback_of_the_host_forks);
  CHECK_RUN(the_child_returns_from_a_callback);
  CHECK_RUN(the_child_returns_from_discard);
  CHECK_RUN(the_child_returns_from_interrupt);
  CHECK_RUN(the_child_returns_from_done);
  CHECK_RUN(the_poll_of_a_worker_forks);
  CHECK_RUN(done_forks);
  return 0;
}
