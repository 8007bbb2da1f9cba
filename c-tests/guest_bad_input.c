/* guest_bad_input.c: what selv_guest_start refuses: the wrong thread, a loop that is closed, callbacks that are missing, flags and
 * sizes that nobody knows; and NULL to every function of guests. What was refused is called for nothing. */
#include "guests.h"

#define MARK ((selv_guest *)(uintptr_t)1) /* an out pointer must be zeroed over this */

static host h;
static guest g;

static void refused_at(const char *file, int line, const selv_guest_options *options, selv_status wanted, const char *part) {
  selv_guest *handle = MARK;
  check_status_is(file, line, "selv_guest_start", selv_guest_start(options, &handle), wanted);
  if (part) check_last_error_has(file, line, part);
  if (handle != NULL) check_fail(file, line, "the handle was not zeroed");
  CHECK_EQ_U64(host_stats(&h).guests, 0);
  CHECK_EQ_U64(host_stats(&h).accepted, 0);
}
#define REFUSED(options, wanted, part) refused_at(__FILE__, __LINE__, (options), (wanted), (part))

static void begin(void) {
  host_begin(&h, HOST_FD);
  guest_init(&g, &h);
}

/* Nothing was called, and the guest can be started after all. */
static void end(void) {
  static const uint64_t at_once[] = {SELV_GUEST_DONE};
  host_has_nothing(&h);
  CHECK_EQ_U64(check_tally_get(&g.prepares) + check_tally_get(&g.interrupts) + check_tally_get(&g.dones), 0);
  g.plan = at_once;
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
}

#define WITHOUT(field)                       \
  do {                                       \
    selv_guest_options options = g.options;  \
    options.field = NULL;                    \
    REFUSED(&options, SELV_E_NULL, #field);  \
  } while (0)

static void required_fields(void) {
  begin();
  REFUSED(NULL, SELV_E_NULL, NULL);
  CHECK_STATUS(selv_guest_start(&g.options, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_guest_start(NULL, NULL), SELV_E_NULL);
  WITHOUT(host);
  WITHOUT(prepare);
  WITHOUT(poll);
  WITHOUT(process);
  WITHOUT(interrupt);
  WITHOUT(done);
  end();
}

/* The guest's own pointer is opaque: NULL is as good as any. */
static int dones;
static selv_status null_prepare(void *arg, uint64_t *out_ns) {
  CHECK(arg == NULL);
  *out_ns = SELV_GUEST_DONE;
  return SELV_OK;
}
static selv_status null_poll(void *arg, uint64_t timeout_ns, void **out_events) {
  (void)arg;
  (void)timeout_ns;
  (void)out_events;
  return SELV_OK;
}
static selv_status null_process(void *arg, void *events) {
  (void)arg;
  (void)events;
  return SELV_OK;
}
static void null_interrupt(void *arg) { CHECK(arg == NULL); }
static void null_done(void *arg, selv_status why) {
  CHECK(arg == NULL);
  CHECK_OK(why);
  dones++;
}

static void optional_fields(void) {
  selv_guest_options options = SELV_GUEST_OPTIONS_INIT;
  selv_guest *handle = NULL;
  host_begin(&h, HOST_WAKE);
  options.host = h.loop;
  options.prepare = null_prepare;
  options.poll = null_poll;
  options.process = null_process;
  options.interrupt = null_interrupt;
  options.done = null_done;
  CHECK_OK(selv_guest_start(&options, &handle));
  HOST_UNTIL(&h, dones == 1);
  selv_guest_release(handle);
  host_end(&h);
}

static void flags_and_name(void) {
  selv_guest_options options;
  uint32_t bit;
  begin();
  for (bit = 0; bit < 32; bit++) {
    options = g.options;
    options.flags = UINT32_C(1) << bit;
    REFUSED(&options, SELV_E_INVAL, "flag");
  }
  options = g.options;
  options.name = "\xff\xfe";
  REFUSED(&options, SELV_E_INVAL, "name");
  end();
}

static void sizes(void) {
  struct {
    selv_guest_options known;
    uint64_t tail[2];
  } newer;
  selv_guest_options older;
  begin();
  memset(&newer, 0, sizeof newer);
  newer.known = g.options;
  newer.known.struct_size = sizeof newer;
  newer.tail[1] = UINT64_C(1) << 56;
  REFUSED(&newer.known, SELV_E_UNSUPPORTED, NULL);
  older = g.options;
  older.struct_size = 0;
  REFUSED(&older, SELV_E_INVAL, "struct_size");
  older.struct_size = 3;
  REFUSED(&older, SELV_E_INVAL, "struct_size");
  older.struct_size = offsetof(selv_guest_options, done); /* so old that it has no done: a callback that is missing */
  REFUSED(&older, SELV_E_NULL, "done");
  end();

  begin(); /* the newer one with a tail that says nothing */
  newer.known = g.options;
  newer.known.struct_size = sizeof newer;
  newer.tail[1] = 0;
  CHECK_OK(selv_guest_start(&newer.known, &g.handle));
  CHECK_OK(guest_finish(&g));
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);

  begin(); /* the older one had no name; what lies there is not read */
  older = g.options;
  older.struct_size = offsetof(selv_guest_options, name);
  memset((char *)&older + older.struct_size, 0x5a, sizeof older - older.struct_size);
  CHECK_OK(selv_guest_start(&older, &g.handle));
  CHECK_OK(guest_finish(&g));
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
}

static void *starts_from_elsewhere(void *unused) {
  (void)unused;
  REFUSED(&g.options, SELV_E_WRONG_THREAD, "thread");
  return NULL;
}

static void the_wrong_thread(void) {
  pthread_t thread;
  begin();
  CHECK(pthread_create(&thread, NULL, starts_from_elsewhere, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  end();
}

static void a_closed_loop(void) {
  begin();
  CHECK_OK(selv_host_loop_close(h.loop));
  REFUSED(&g.options, SELV_E_CLOSED, NULL);
  CHECK_EQ_U64(check_tally_get(&g.dones), 0);
  guest_free(&g);
  host_end(&h);
}

static void starts_here(call_probe *p) { guest_begin((guest *)p->object); }

/* A call that the loop runs is on the loop's thread. */
static void in_a_call_of_the_loop(void) {
  static const uint64_t at_once[] = {SELV_GUEST_DONE};
  call_probe p;
  begin();
  g.plan = at_once;
  call_probe_init(&p, &h);
  p.then = starts_here;
  p.object = &g;
  call_probe_soon(&p);
  CHECK_EQ_U64(HOST_NEXT(&h), 1);
  CHECK_EQ_U64(check_tally_get(&g.prepares), 0); /* in a later drain */
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
}

static void no_guest(void) {
  CHECK_STATUS(selv_guest_interrupt(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_guest_stop(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_guest_abandon(NULL, 0), SELV_E_NULL);
  CHECK_STATUS(selv_guest_abandon(NULL, SELV_FOREVER), SELV_E_NULL);
  CHECK(selv_guest_retain(NULL) == NULL);
  selv_guest_release(NULL);
}

int main(void) {
  CHECK_RUN(required_fields);
  CHECK_RUN(optional_fields);
  CHECK_RUN(flags_and_name);
  CHECK_RUN(sizes);
  CHECK_RUN(the_wrong_thread);
  CHECK_RUN(a_closed_loop);
  CHECK_RUN(in_a_call_of_the_loop);
  CHECK_RUN(no_guest);
  return 0;
}
