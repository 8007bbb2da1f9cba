/* guest_tick.c: what a guest is called for, in which order, for every way in which a tick can go. A tick is one call of the host's loop;
 * the bar stands before each. */
#include "guests.h"

static check_journal journal = CHECK_JOURNAL_INIT;

/* Plays the script to its end, and compares. */
static void plays(int form, const uint64_t *plan, const char *finds, const char *wanted) {
  host h;
  guest g;
  check_journal_clear(&journal);
  host_begin(&h, form);
  guest_init(&g, &h);
  g.journal = &journal;
  g.plan = plan;
  g.finds = finds;
  guest_begin(&g);
  CHECK_JOURNAL(&journal, ""); /* the first tick is only queued */
  GUEST_PLAYS(&g, SELV_OK);
  host_has_nothing(&h);
  CHECK_JOURNAL(&journal, wanted);
  host_end(&h);
}

#define PLAYS(finds, wanted, ...)                                   \
  do {                                                              \
    static const uint64_t plan[] = {__VA_ARGS__, SELV_GUEST_DONE}; \
    plays(form, plan, finds, wanted);                                     \
  } while (0)

static void done_at_once(int form) {
  static const uint64_t plan[] = {SELV_GUEST_DONE};
  plays(form, plan, "", "| prepare done(SELV_OK)");
}

static void work_is_ready(int form) {
  PLAYS("-", "| prepare poll0 | process prepare done(SELV_OK)", 0);
  PLAYS("--", "| prepare poll0 | process prepare poll0 | process prepare done(SELV_OK)", 0, 0);
  PLAYS("-", "| prepare poll0 | process prepare done(SELV_OK)", SELV_NO_WAIT);
  PLAYS("-+-", "| prepare poll0 | process prepare poll0+ | process+ prepare poll0 | process prepare done(SELV_OK)", SELV_NO_WAIT, SELV_NO_WAIT, 0);
}

static void work_is_ready_and_events_are_there(int form) {
  PLAYS("+-+", "| prepare poll0+ | process+ prepare poll0 | process prepare poll0+ | process+ prepare done(SELV_OK)", 0, 0, 0);
}

static void a_deadline(int form) {
  PLAYS("-w", "| prepare poll0 poll | process prepare done(SELV_OK)", 2 * CHECK_MS);
  PLAYS("--", "| prepare poll0 poll | process prepare done(SELV_OK)", 1);
}

static void events_before_a_worker_is_asked(int form) {
  PLAYS("+", "| prepare poll0+ | process+ prepare done(SELV_OK)", SELV_FOREVER);
  PLAYS("++", "| prepare poll0+ | process+ prepare poll0+ | process+ prepare done(SELV_OK)", 1, CHECK_MS);
}

static void events_on_a_worker(int form) {
  PLAYS("-+", "| prepare poll0 poll+ | process+ prepare done(SELV_OK)", SELV_FOREVER);
  PLAYS("-+-+", "| prepare poll0 poll+ | process+ prepare poll0 poll+ | process+ prepare done(SELV_OK)", 1, SELV_FOREVER);
}

/* The largest times that are none of the special ones are times. */
static void any_time(int form) {
  PLAYS("-+-+-+",
        "| prepare poll0 poll+ | process+ prepare poll0 poll+ | process+ prepare poll0 poll+ | process+ prepare done(SELV_OK)",
        UINT64_MAX - 3, UINT64_C(1) << 63, UINT64_C(1000000001));
}

static void all_in_one(int form) {
  PLAYS("-" "+" "-+" "-" "--" "+",
        "| prepare poll0 | process prepare poll0+ | process+ prepare poll0 poll+ | process+ prepare poll0 "
        "| process prepare poll0 poll | process prepare poll0+ | process+ prepare done(SELV_OK)",
        0, SELV_FOREVER, SELV_FOREVER, 0, 1, CHECK_MS);
}

/* A deadline that is far away, and somebody has something to be done now. */
static void an_interrupt(uint64_t ns) {
  const uint64_t plan[] = {ns, SELV_GUEST_DONE};
  host h;
  guest g;
  check_journal_clear(&journal);
  host_begin(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.journal = &journal;
  g.notes_interrupts = 1;
  g.plan = plan;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_tell(&g, selv_guest_interrupt));
  GUEST_ENDS(&g, SELV_OK);
  CHECK_JOURNAL(&journal, "prepare poll0 interrupt poll process prepare done(SELV_OK)");
  host_end(&h);
}

static void an_interrupt_of_an_endless_poll(void) { an_interrupt(SELV_FOREVER); }
static void an_interrupt_of_a_long_poll(void) { an_interrupt(UINT64_C(3600000000000)); }

/* What becomes ready while the guest runs is seen by the poll with no time to wait, before a thread is asked for. */
static void no_thread_is_asked_for_while_there_is_something_to_do(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache_stats stats = SELV_CACHE_STATS_INIT;
  static const uint64_t plan[] = {0, SELV_FOREVER, 0, 0, CHECK_MS, SELV_GUEST_DONE};
  selv_cache *c = NULL;
  host h;
  guest g;
  CHECK_OK(selv_cache_new(&options, &c));
  host_begin(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.options.cache = c;
  g.plan = plan;
  g.finds = "-+-++";
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_OK);
  CHECK_OK(selv_cache_get_stats(c, &stats));
  CHECK_EQ_U64(stats.started, 0);
  CHECK_EQ_U64(stats.jobs_accepted, 0);
  selv_cache_release(c);
  host_end(&h);
}

int main(void) {
  HOST_RUN_BOTH(done_at_once);
  HOST_RUN_BOTH(work_is_ready);
  HOST_RUN_BOTH(work_is_ready_and_events_are_there);
  HOST_RUN_BOTH(a_deadline);
  HOST_RUN_BOTH(events_before_a_worker_is_asked);
  HOST_RUN_BOTH(events_on_a_worker);
  HOST_RUN_BOTH(any_time);
  HOST_RUN_BOTH(all_in_one);
  CHECK_RUN(an_interrupt_of_an_endless_poll);
  CHECK_RUN(an_interrupt_of_a_long_poll);
  CHECK_RUN(no_thread_is_asked_for_while_there_is_something_to_do);
  return 0;
}
