/* uv_fork: a child process of a host with a host loop in its uv loop, and a guest. The child has neither: after uv_loop_fork it
 * takes the handle out of its uv loop, which does not spin meanwhile, and makes new ones; and the parent's go on as if nothing
 * had been. */
#include "child.h"
#include "uv_support.h"

static uv_loop_t uv, inner;
static uv_queue queue;
static uv_timer_t timer;
static uv_guest guest;
static pid_t parent;
static uint64_t ran, fired, child_ran;

static void only_in_parent(void *unused) {
  (void)unused;
  CHECK(getpid() == parent);
  ran++;
}

static void on_timer(uv_timer_t *t) {
  fired++;
  uv_close(UV_HANDLE(t), NULL);
}

static void in_child(void *arg) {
  CHECK(getpid() != parent);
  child_ran++;
  uv_queue_end((uv_queue *)arg);
}

static void guest_of_child_ended(uv_guest *g) {
  (void)g;
  uv_queue_end(&queue);
}

/* Its own loop, with work, and its own guest: the inner uv loop, on from where the parent had it. */
static void makes_new_ones(void) {
  uv_queue own;
  uv_queue_open(&own, &uv, 0, 0);
  CHECK_OK(selv_host_loop_call_soon(own.loop, in_child, &own, NULL, 0));
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(child_ran, 1);
  uv_queue_open(&queue, &uv, 0, 0);
  uv_guest_begin(&guest, &inner, queue.loop);
  guest.then = guest_of_child_ended;
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  uv_guest_ended(&guest, SELV_OK);
  CHECK_EQ_U64(fired, 1);
}

static void child(void) {
  uint64_t i;
  CHECK_UV(uv_loop_fork(&uv));
  CHECK_UV(uv_loop_fork(&inner));
  CHECK_STATUS(selv_host_loop_call_soon(queue.loop, only_in_parent, NULL, NULL, 0), SELV_E_FORKED);
  CHECK_STATUS(selv_guest_stop(guest.handle), SELV_E_FORKED);
  /* The parent's fd is readable here, too, and stays so: seen once, and never again. */
  for (i = 0; i < 10; i++) uv_run(&uv, UV_RUN_NOWAIT);
  CHECK(!uv_is_active(queue.handle));
  selv_guest_release(guest.handle);
  CHECK_OK(selv_uv_loop_end(queue.handle, uv_queue_closed, &queue));
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 1);
  CHECK_EQ_U64(guest.done, 0);
  makes_new_ones();
  uv_shut(&uv);
  uv_shut(&inner);
  _exit(0);
}

static void parents_guest_ended(uv_guest *g) {
  (void)g;
  uv_queue_end(&queue);
}

static void child_and_parent(void) {
  parent = getpid();
  uv_open(&uv);
  uv_open(&inner);
  uv_queue_open(&queue, &uv, 0, 0);
  CHECK_UV(uv_timer_init(&inner, &timer));
  CHECK_UV(uv_timer_start(&timer, on_timer, 50, 0));
  uv_guest_begin(&guest, &inner, queue.loop);
  guest.then = parents_guest_ended;
  CHECK_OK(selv_host_loop_call_soon(queue.loop, only_in_parent, NULL, NULL, 0));
  CHILD_ENDED(child_run(child), 0, check_patience_s() * UINT64_C(1000000000));
  CHECK_EQ_U64(ran, 0);
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(ran, 1);
  CHECK_EQ_U64(fired, 1);
  uv_guest_ended(&guest, SELV_OK);
  CHECK_EQ_U64(queue.closed, 1);
  uv_shut(&inner);
  uv_shut(&uv);
}

int main(void) {
  CHECK_RUN(child_and_parent);
  return 0;
}
