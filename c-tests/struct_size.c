/* struct_size.c: hosts compiled against an older or a newer header. A shorter struct works and what lies behind it is not
 * read; a longer one works while its unknown tail is zero; getters write no further than they were told. */
#include "probe.h"

#define POISON 0x5a

/* The options as an older host has them: `size` bytes that count, then memory that belongs to somebody else. */
static void *cut(const void *options, size_t whole, uint32_t size, void *room) {
  memset(room, POISON, whole);
  memcpy(room, options, size);
  memcpy(room, &size, sizeof size);
  return room;
}

static void cache_options(void) {
  struct {
    selv_cache_options known;
    uint64_t tail[2];
  } newer;
  selv_cache_options base = SELV_CACHE_OPTIONS_INIT, room;
  selv_cache *c = NULL;
  probe p;
  selv_job_options job;
  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  CHECK_OK(selv_cache_new(&newer.known, &c));
  probe_end(c);
  newer.tail[1] = UINT64_C(1) << 56;
  CHECK_STATUS(selv_cache_new(&newer.known, &c), SELV_E_UNSUPPORTED);
  CHECK(c == NULL);

  base.max_workers = 1;
  CHECK_OK(selv_cache_new((selv_cache_options *)cut(&base, sizeof base, offsetof(selv_cache_options, name), &room), &c));
  probe_init(&p);
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(c, &job).status);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  probe_end(c);

  base.struct_size = 3; /* cannot even hold its own size */
  CHECK_STATUS(selv_cache_new(&base, &c), SELV_E_INVAL);
  base.struct_size = 0;
  CHECK_STATUS(selv_cache_new(&base, &c), SELV_E_INVAL);
}

static void job_options(void) {
  struct {
    selv_job_options known;
    uint64_t tail[2];
  } newer[2];
  selv_cache *c = probe_cache(0, 0);
  selv_job_options base, room;
  size_t accepted = 99;
  probe p;
  probe_init(&p);
  base = probe_job(probe_run, &p);
  memset(newer, 0, sizeof newer);
  newer[0].known = base;
  newer[0].known.struct_size = sizeof newer[0];
  newer[1] = newer[0];
  CHECK_OK(selv_cache_submit(c, &newer[0].known, NULL));
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(selv_cache_submit_many(c, &newer[0].known, 2, &accepted)); /* steps by the caller's size, not by its own */
  CHECK_EQ_U64(accepted, 2);
  CHECK_WAIT(&p.freed, 3);
  newer[1].tail[0] = 1;
  CHECK_STATUS(selv_cache_submit(c, &newer[1].known, NULL), SELV_E_UNSUPPORTED);
  CHECK_STATUS(selv_cache_submit_many(c, &newer[0].known, 2, &accepted), SELV_E_UNSUPPORTED);
  CHECK(accepted <= 1);
  CHECK_WAIT(&p.freed, 3 + accepted);

  CHECK_OK(selv_cache_submit(
      c, (selv_job_options *)cut(&base, sizeof base, offsetof(selv_job_options, attach), &room), NULL));
  CHECK_WAIT(&p.freed, 4 + accepted);
  /* Without arg_free, deliver or name: only what the job does. */
  CHECK_OK(selv_cache_submit(
      c, (selv_job_options *)cut(&base, sizeof base, offsetof(selv_job_options, arg_free), &room), NULL));
  CHECK_WAIT(&p.delivered, 5 + accepted);
  CHECK_EQ_U64(check_tally_get(&p.freed), 4 + accepted);
  base.struct_size = 0;
  CHECK_STATUS(selv_cache_submit(c, &base, NULL), SELV_E_INVAL);
  CHECK_STATUS(selv_cache_submit_many(c, &base, 1, &accepted), SELV_E_INVAL);
  probe_end(c);
}

static void hook_options(void) {
  struct {
    selv_hook_options known;
    uint64_t tail[2];
  } newer;
  selv_cache *c = probe_cache(0, 0);
  selv_hook_options base, room;
  selv_hook *hook = NULL;
  hook_probe h;
  hook_probe_init(&h, "sized", NULL);
  base = hook_probe_options(&h, 0);
  memset(&newer, 0, sizeof newer);
  newer.known = base;
  newer.known.struct_size = sizeof newer;
  CHECK_OK(selv_hook_register(c, &newer.known, &hook));
  hook_probe_remove(hook, &h);
  newer.tail[0] = 1;
  CHECK_STATUS(selv_hook_register(c, &newer.known, &hook), SELV_E_UNSUPPORTED);
  CHECK(hook == NULL);

  CHECK_OK(selv_hook_register(
      c, (selv_hook_options *)cut(&base, sizeof base, offsetof(selv_hook_options, before_job), &room), &hook));
  selv_hook_release(hook);
  base.struct_size = 0;
  CHECK_STATUS(selv_hook_register(c, &base, &hook), SELV_E_INVAL);
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  selv_cache_release(c);
}

/* Getters: an older host's shorter struct must not be written past its end. */
static void stats(void) {
  struct {
    selv_cache_stats known;
    uint64_t tail;
  } newer;
  struct {
    selv_hook_stats known;
    uint64_t tail;
  } newer_hook;
  selv_cache *c = probe_cache(0, 0);
  selv_cache_stats room;
  selv_hook_stats hook_room;
  selv_hook *hook;
  hook_probe h;
  unsigned char *bytes = (unsigned char *)&room;
  size_t i;
  hook_probe_init(&h, "counted", NULL);
  hook = hook_probe_register(c, &h, 0);
  probe_warm(c, 2);

  memset(&room, POISON, sizeof room);
  room.struct_size = offsetof(selv_cache_stats, busy);
  CHECK_OK(selv_cache_get_stats(c, &room));
  CHECK_EQ_U64(room.struct_size, offsetof(selv_cache_stats, busy));
  CHECK_EQ_U64(room.workers, 2);
  for (i = offsetof(selv_cache_stats, busy); i < sizeof room; i++) CHECK_EQ_U64(bytes[i], POISON);
  room.struct_size = 0;
  CHECK_STATUS(selv_cache_get_stats(c, &room), SELV_E_INVAL);
  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  CHECK_OK(selv_cache_get_stats(c, &newer.known));
  CHECK_EQ_U64(newer.known.workers, 2);
  CHECK_EQ_U64(newer.tail, 0);

  bytes = (unsigned char *)&hook_room;
  memset(&hook_room, POISON, sizeof hook_room);
  hook_room.struct_size = offsetof(selv_hook_stats, starts);
  CHECK_OK(selv_hook_get_stats(hook, &hook_room));
  CHECK_EQ_U64(hook_room.attached, 2);
  for (i = offsetof(selv_hook_stats, starts); i < sizeof hook_room; i++) CHECK_EQ_U64(bytes[i], POISON);
  hook_room.struct_size = 0;
  CHECK_STATUS(selv_hook_get_stats(hook, &hook_room), SELV_E_INVAL);
  memset(&newer_hook, 0, sizeof newer_hook);
  newer_hook.known.struct_size = sizeof newer_hook;
  CHECK_OK(selv_hook_get_stats(hook, &newer_hook.known));
  CHECK_EQ_U64(newer_hook.known.attached, 2);
  CHECK_EQ_U64(newer_hook.tail, 0);

  hook_probe_remove(hook, &h);
  probe_end(c);
}

int main(void) {
  CHECK_RUN(cache_options);
  CHECK_RUN(job_options);
  CHECK_RUN(hook_options);
  CHECK_RUN(stats);
  return 0;
}
