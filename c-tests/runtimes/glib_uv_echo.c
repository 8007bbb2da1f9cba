/* glib_uv_echo: a TCP server in libuv, the guest of a GLib main loop, answers ten thousand round trips of plain blocking
 * clients, byte for byte, while the main loop's own timer of 1 ms keeps ticking. How far its ticks are apart is reported, with
 * the guest and, for as long, without. The server then closes its handles, which ends the guest. */
#include "glib_uv_support.h"

enum { CLIENTS = 4, ROUND_TRIPS = 2500 };

/* ---- the main loop's own timer ---- */

enum { TICKS = 200000 };

typedef struct ticker {
  uint64_t last_ns, count;
  uint64_t *gaps_us;
} ticker;

static gboolean on_tick(gpointer arg) {
  ticker *t = (ticker *)arg;
  uint64_t now = check_now_ns();
  uv_check_home();
  if (t->count < TICKS) t->gaps_us[t->count++] = (now - t->last_ns) / 1000;
  t->last_ns = now;
  return G_SOURCE_CONTINUE;
}

static guint ticker_begin(ticker *t) {
  memset(t, 0, sizeof *t);
  t->gaps_us = (uint64_t *)calloc(TICKS, sizeof *t->gaps_us);
  CHECK(t->gaps_us != NULL);
  t->last_ns = check_now_ns();
  return g_timeout_add(1, on_tick, t);
}

static int by_number(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* It ticked all the time. How evenly is the machine's affair: only reported. */
static void ticker_end(ticker *t, guint id, const char *when, uint64_t took_ns) {
  uint64_t n = t->count;
  g_source_remove(id);
  CHECK(n >= 2 && n >= took_ns / (50 * CHECK_MS));
  qsort(t->gaps_us, n, sizeof *t->gaps_us, by_number);
  /* They are some 190 where the machine is otherwise idle: p95 is the tenth largest, p99 the second. */
  printf("report: a timer of 1 ms %s: %llu ticks, apart by: min %llu us, median %llu us, p95 %llu us, p99 %llu us, max %llu us\n", when,
         (unsigned long long)n, (unsigned long long)t->gaps_us[0], (unsigned long long)t->gaps_us[n / 2],
         (unsigned long long)t->gaps_us[n * 95 / 100], (unsigned long long)t->gaps_us[n * 99 / 100],
         (unsigned long long)t->gaps_us[n - 1]);
  CHECK(t->gaps_us[n / 2] < 50000);
  free(t->gaps_us);
}

/* ---- the guest ---- */

static void ten_thousand(void) {
  static uv_loop_t uv;
  selv_cache *cache = probe_cache(0, 0);
  check_tally finished = CHECK_TALLY_INIT;
  echo_client clients[CLIENTS];
  uv_guest guest;
  uv_echo echo;
  ticker ticks;
  uint64_t i, begun, took, longest = 0, round_trips = check_scaled(ROUND_TRIPS);
  guint id;
  uv_open(&uv);
  glib_open();
  uv_echo_begin(&echo, &uv, CLIENTS);
  glib_guest_begin(&guest, &uv, cache);
  id = ticker_begin(&ticks);
  begun = check_now_ns();
  echo_clients_begin(clients, CLIENTS, echo.port, round_trips, &finished);
  GLIB_UNTIL(guest.done);
  took = check_now_ns() - begun;
  ticker_end(&ticks, id, "with the guest", took);
  uv_guest_ended(&guest, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&finished), CLIENTS);
  echo_clients_join(clients, CLIENTS);
  CHECK_EQ_U64(echo.accepted, CLIENTS);
  CHECK_EQ_U64(echo.closed, CLIENTS);
  CHECK(echo.reads >= CLIENTS * round_trips && echo.bytes > 0);
  for (i = 0; i < CLIENTS; i++)
    if (clients[i].longest_ns > longest) longest = clients[i].longest_ns;
  printf("report: %llu round trips in %llu ms, the longest %llu us; %llu passes, %llu workers at most\n",
         (unsigned long long)(CLIENTS * round_trips), (unsigned long long)(took / CHECK_MS), (unsigned long long)(longest / 1000),
         (unsigned long long)glib_stats().ran, (unsigned long long)probe_stats(cache).peak_workers);
  CHECK_EQ_U64(probe_stats(cache).peak_workers, 1); /* one poll at a time */
  uv_shut(&uv);

  id = ticker_begin(&ticks);
  glib_run_ms((guint)(took / CHECK_MS) + 1);
  ticker_end(&ticks, id, "without the guest", took);
  glib_shut();
  probe_end(cache);
}

int main(void) {
  CHECK_RUN(ten_thousand);
  return 0;
}
