/* host_loop_bad_input.c: NULL, unknown flags, bad options and older and newer structs to every function of a host loop: answered
 * with a status, results zeroed, and the loop goes on working. */
#include "loops.h"

#define MARK ((selv_host_loop *)(uintptr_t)1) /* an out pointer must be zeroed over this */
#define POISON 0x5a

static int32_t never(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_fail(__FILE__, __LINE__, "a function ran that must not run");
  return 0;
}

static void woken(void *arg) { (void)arg; }
static void freed_too_early(void *arg) {
  (void)arg;
  check_fail(__FILE__, __LINE__, "freed what belongs to a loop that was not made");
}

static void no_pointers(void) {
  selv_host_loop_stats stats = SELV_HOST_LOOP_STATS_INIT;
  selv_outcome outcome = {SELV_E_PANIC, 99, &stats};
  uint32_t ran = 99;
  host h;
  CHECK_STATUS(selv_host_loop_new(NULL, NULL), SELV_E_NULL);
  CHECK(selv_host_loop_retain(NULL) == NULL);
  selv_host_loop_release(NULL);
  CHECK(selv_host_loop_fd(NULL) == -1);
  CHECK_STATUS(selv_host_loop_bind(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_host_loop_call_soon(NULL, call_probe_never, NULL, call_probe_never, 0), SELV_E_NULL);
  CHECK_STATUS(selv_host_loop_call(NULL, never, NULL, SELV_FOREVER, &outcome), SELV_E_NULL);
  CHECK(outcome.status == 0 && outcome.code == 0 && outcome.value == NULL);
  CHECK_STATUS(selv_host_loop_call(NULL, never, NULL, SELV_FOREVER, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_host_loop_drain(NULL, 0, &ran), SELV_E_NULL);
  CHECK_STATUS(selv_host_loop_drain(NULL, 0, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_host_loop_close(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_host_loop_get_stats(NULL, &stats), SELV_E_NULL);

  host_begin(&h, HOST_FD);
  CHECK_STATUS(selv_host_loop_call_soon(h.loop, NULL, NULL, call_probe_never, 0), SELV_E_NULL);
  CHECK_LAST_ERROR_HAS("fn");
  CHECK_STATUS(selv_host_loop_call(h.loop, NULL, NULL, SELV_FOREVER, &outcome), SELV_E_NULL);
  CHECK_STATUS(selv_host_loop_get_stats(h.loop, NULL), SELV_E_NULL);
  CHECK_EQ_U64(host_stats(&h).accepted, 0);
  CHECK(!host_is_due(&h));
  host_end(&h);
}

static void unknown_flags(int form) {
  static const uint32_t flags[] = {2, 0x80000000u, 3, UINT32_MAX};
  call_probe p;
  host h;
  size_t i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  for (i = 0; i < sizeof flags / sizeof *flags; i++) {
    CHECK_STATUS(selv_host_loop_call_soon(h.loop, call_probe_never, NULL, call_probe_never, flags[i]), SELV_E_INVAL);
    CHECK_LAST_ERROR_HAS("flag");
  }
  CHECK(!host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  host_end(&h);
}

static void refused(selv_host_loop_options *options, selv_status wanted, const char *part) {
  selv_host_loop *l = MARK;
  CHECK_STATUS(selv_host_loop_new(options, &l), wanted);
  CHECK(l == NULL);
  if (part) CHECK_LAST_ERROR_HAS(part);
}

static void bad_options(void) {
  selv_host_loop_options good = SELV_HOST_LOOP_OPTIONS_INIT, bad;
  good.wake = woken;
  good.wake_arg_free = freed_too_early;
  CHECK_STATUS(selv_host_loop_new(&good, NULL), SELV_E_NULL);
  bad = good;
  bad.struct_size = 0;
  refused(&bad, SELV_E_INVAL, "struct_size");
  bad.struct_size = 3;
  refused(&bad, SELV_E_INVAL, "struct_size");
  bad = good;
  bad.flags = 1;
  refused(&bad, SELV_E_INVAL, "flag");
  bad.flags = 0x80000000u;
  refused(&bad, SELV_E_INVAL, "flag");
  bad = good;
  bad.name = "\xff\xfe";
  refused(&bad, SELV_E_INVAL, "name");
  bad = good;
  bad.wake = NULL; /* whose argument would be freed? */
  refused(&bad, SELV_E_INVAL, "wake");
}

/* Options as an older host has them: what lies behind its struct is not read. */
static void older_options(void) {
  selv_host_loop_options whole = SELV_HOST_LOOP_OPTIONS_INIT, room;
  selv_host_loop *l = NULL;
  static const size_t sizes[] = {8, offsetof(selv_host_loop_options, wake), offsetof(selv_host_loop_options, wake_arg_free)};
  size_t i;
  int token = 0;
  whole.name = "older";
  whole.wake = woken;
  whole.wake_arg = &token;
  for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    memset(&room, POISON, sizeof room);
    memcpy(&room, &whole, sizes[i]);
    room.struct_size = (uint32_t)sizes[i];
    CHECK_OK(selv_host_loop_new(&room, &l));
    CHECK((selv_host_loop_fd(l) >= 0) == (sizes[i] <= offsetof(selv_host_loop_options, wake)));
    CHECK_OK(selv_host_loop_call_soon(l, woken, NULL, NULL, 0));
    CHECK_OK(selv_host_loop_drain(l, 0, NULL));
    CHECK_OK(selv_host_loop_close(l));
    selv_host_loop_release(l);
  }
}

static void newer_options(void) {
  struct {
    selv_host_loop_options known;
    uint64_t tail[2];
  } newer;
  selv_host_loop_options good = SELV_HOST_LOOP_OPTIONS_INIT;
  selv_host_loop *l = NULL;
  memset(&newer, 0, sizeof newer);
  newer.known = good;
  newer.known.struct_size = sizeof newer;
  CHECK_OK(selv_host_loop_new(&newer.known, &l));
  selv_host_loop_release(l);
  newer.tail[1] = 1;
  newer.known.wake = woken;
  newer.known.wake_arg_free = freed_too_early;
  refused(&newer.known, SELV_E_UNSUPPORTED, NULL);
}

/* Statistics for an older host are not written past the end of its struct; a newer one's tail is zeroed. */
static void stats_of_other_sizes(void) {
  struct {
    selv_host_loop_stats known;
    uint64_t tail;
  } newer;
  selv_host_loop_stats room;
  unsigned char *bytes = (unsigned char *)&room;
  uint32_t size;
  size_t at;
  call_probe p;
  host h;
  host_begin(&h, HOST_WAKE);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  call_probe_soon(&p);
  for (size = 8; size < sizeof room; size += 8) {
    memset(&room, POISON, sizeof room);
    room.struct_size = size;
    CHECK_OK(selv_host_loop_get_stats(h.loop, &room));
    CHECK_EQ_U64(room.struct_size, size);
    if (size >= 24) CHECK(room.waiting == 2 && room.accepted == 2);
    for (at = size; at < sizeof room; at++) CHECK_EQ_U64(bytes[at], POISON);
  }
  room.struct_size = 0;
  CHECK_STATUS(selv_host_loop_get_stats(h.loop, &room), SELV_E_INVAL);
  room.struct_size = 3;
  CHECK_STATUS(selv_host_loop_get_stats(h.loop, &room), SELV_E_INVAL);
  memset(&newer, POISON, sizeof newer);
  newer.known.struct_size = sizeof newer;
  CHECK_OK(selv_host_loop_get_stats(h.loop, &newer.known));
  CHECK_EQ_U64(newer.known.waiting, 2);
  CHECK_EQ_U64(newer.tail, 0);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  host_end(&h);
}

/* A loop without a name has a number in messages. */
static void without_a_name(void) {
  selv_host_loop *l = NULL;
  CHECK_OK(selv_host_loop_new(NULL, &l));
  CHECK_OK(selv_host_loop_close(l));
  CHECK_STATUS(selv_host_loop_call_soon(l, call_probe_never, NULL, NULL, 0), SELV_E_CLOSED);
  CHECK_LAST_ERROR_HAS("host loop ");
  selv_host_loop_release(l);
}

/* The name is copied. */
static void a_name_that_goes_away(void) {
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  selv_host_loop *l = NULL;
  char name[16] = "gone";
  options.name = name;
  CHECK_OK(selv_host_loop_new(&options, &l));
  memset(name, 'x', sizeof name);
  CHECK_OK(selv_host_loop_close(l));
  CHECK_STATUS(selv_host_loop_call_soon(l, call_probe_never, NULL, NULL, 0), SELV_E_CLOSED);
  CHECK_LAST_ERROR_HAS("gone");
  selv_host_loop_release(l);
}

int main(void) {
  CHECK_RUN(no_pointers);
  HOST_RUN_BOTH(unknown_flags);
  CHECK_RUN(bad_options);
  CHECK_RUN(older_options);
  CHECK_RUN(newer_options);
  CHECK_RUN(stats_of_other_sizes);
  CHECK_RUN(without_a_name);
  CHECK_RUN(a_name_that_goes_away);
  return 0;
}
