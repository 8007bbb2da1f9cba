/* glib_destroy_race: a thread destroys the source while the main loop's thread is preparing it, and both want to be the loop's thread. The
 * calls of the preset are held up here, so that they come in the one order that would leave the loop open with nobody to drain it. */
#include "../check.h"

static check_tally is_preparing = CHECK_TALLY_INIT, is_destroying = CHECK_TALLY_INIT, has_prepared = CHECK_TALLY_INIT;
static int is_armed;
static pthread_t main_thread;

static selv_status held_bind(selv_host_loop *loop) {
  selv_status status;
  if (!pthread_equal(pthread_self(), main_thread) || !is_armed) return selv_host_loop_bind(loop);
  check_tally_add(&is_preparing, 1);
  CHECK_WAIT(&is_destroying, 1);
  status = selv_host_loop_bind(loop);
  is_armed = 0;
  check_tally_add(&has_prepared, 1);
  return status;
}

static check_tally closes = CHECK_TALLY_INIT, refusals = CHECK_TALLY_INIT;

static selv_status held_close(selv_host_loop *loop) {
  selv_status status;
  if (!pthread_equal(pthread_self(), main_thread) && check_tally_get(&closes) == 0) {
    check_tally_add(&is_destroying, 1);
    CHECK_WAIT(&has_prepared, 1);
  }
  status = selv_host_loop_close(loop);
  check_tally_add(&closes, 1);
  check_tally_add(&refusals, status == SELV_E_WRONG_THREAD);
  return status;
}

#define selv_host_loop_bind held_bind
#define selv_host_loop_close held_close
#include "glib_support.h"

static rig r;

static void *destroys(void *arg) {
  CHECK_WAIT(&is_preparing, 1);
  g_source_destroy(r.source);
  CHECK_EQ_U64(check_tally_get(&closes), 2);
  CHECK_EQ_U64(check_tally_get(&refusals), 1);
  (void)arg;
  return NULL;
}

static void both_at_once(void) {
  pthread_t thread;
  rig_start(&r, NULL);
  is_armed = 1;
  thread = rig_thread(destroys, NULL);
  g_main_context_iteration(r.context, FALSE);
  rig_join(thread);
  CHECK_STATUS(selv_host_loop_call_soon(r.loop, rig_quit_soon, r.main, NULL, 0), SELV_E_CLOSED);
  rig_end(&r);
}

int main(void) {
  main_thread = pthread_self();
  CHECK_RUN(both_at_once);
  return 0;
}
