/* fibres.c: fibres, coroutines of one's own (POSIX contexts that take turns on one thread), fetch pages over two connections, which a
 * semaphore counts. Each fibre has a task, entered at each switch, so that SELV_TASK_CURRENT is right in all that it calls. main waits for
 * all pages by a latch, built of a parking lot: it breaks if a fibre ends without its page, instead of waiting for ever; Ctrl-C ends the
 * wait, too.
 *     cc -std=c99 -pthread fibres.c -o fibres $(pkg-config --cflags --libs selvedge) && ./fibres */
#define _XOPEN_SOURCE 700
#include <poll.h>
#include <pthread.h>
#include <selvedge.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGES 5
#define CONNECTIONS 2
#define STACK 65536

/* What must not fail here. */
static void must(const char *what, selv_status status) {
  char detail[256] = "";
  if (status >= 0) return;
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "%s: %s: %s\n", what, selv_status_name(status), detail);
  exit(EXIT_FAILURE);
}

/* ---- a latch: who waits goes when all have arrived ---- */

typedef struct latch {
  selv_parking_lot *lot;
  int expected; /* of the fibres' thread; if arrivals came from several, a lock would protect it */
} latch;

/* If the task exits before it has arrived, the latch breaks. */
static void latch_expect(latch *l, selv_task task) {
  must("add_breaker", selv_parking_lot_add_breaker(l->lot, task));
  l->expected++;
}

static void latch_arrive(latch *l) {
  must("remove_breaker", selv_parking_lot_remove_breaker(l->lot, SELV_TASK_CURRENT));
  if (--l->expected == 0) must("close", selv_parking_lot_close(l->lot));
}

/* Closed and broken are for good: who parks afterwards is told so at once, and nothing is missed between a look and a park. */
static selv_status latch_wait(latch *l) {
  selv_status status = selv_parking_lot_park(l->lot, SELV_TASK_CURRENT, SELV_FOREVER);
  return status == SELV_E_CLOSED ? SELV_OK : status;
}

/* ---- fibres ---- */

typedef struct fibre {
  ucontext_t context;
  void *stack;
  selv_task task;
  selv_status result; /* of what it waited for */
  int number, has_ended;
} fibre;

static fibre fibres[PAGES];
static fibre *running;
static ucontext_t hub; /* the thread itself, from where all switches go */
static selv_host_loop *loop;

static void go_to(fibre *f) {
  running = f;
  must("enter", selv_task_enter(f->task, NULL));
  if (swapcontext(&hub, &f->context) != 0) abort();
  must("leave", selv_task_enter(0, NULL));
  if (f->has_ended) must("exit", selv_task_exit(f->task, NULL));
}

static void to_the_hub(fibre *f) {
  if (swapcontext(&f->context, &hub) != 0) abort();
}

static void its_turn(void *arg) { go_to((fibre *)arg); }

static void completed(void *arg, const selv_completed *c) {
  fibre *f = (fibre *)arg;
  f->result = c->status;
  go_to(f);
}

/* The others run until the operation that has just been begun is over. */
static selv_status outcome(fibre *f, selv_status begun) {
  if (begun != SELV_PENDING) return begun;
  to_the_hub(f);
  return f->result;
}

static void let_others_run(fibre *f) {
  must("call_soon", selv_host_loop_call_soon(loop, its_turn, f, NULL, 0));
  to_the_hub(f);
}

/* ---- what they do ---- */

static latch pages;
static selv_semaphore *connections;
static selv_event *answer; /* of a server that never gives one */
static int missing, silent, open_now, open_at_most;

static int fetch(fibre *f) {
  selv_completion completion = { completed, NULL, NULL };
  selv_status status;
  int piece;
  completion.arg = f;
  completion.loop = loop;
  status = outcome(f, selv_semaphore_acquire_async(connections, SELV_TASK_CURRENT, 1, &completion, NULL));
  if (status < 0) return 0;
  if (++open_now > open_at_most) open_at_most = open_now;
  for (piece = 0; piece < 3; piece++) let_others_run(f);
  if (f->number == silent) {
    if (kill(getpid(), SIGINT) != 0) abort(); /* you would press Ctrl-C */
    status = outcome(f, selv_event_wait_async(answer, SELV_TASK_CURRENT, &completion, NULL));
  }
  open_now--;
  /* On every path: nobody owns a permit. (A limiter's token would come back by itself when the task exits.) */
  must("release", selv_semaphore_release(connections, 1));
  return status >= 0 && f->number != missing;
}

static void body(void) {
  fibre *f = running;
  if (fetch(f)) latch_arrive(&pages);
  f->has_ended = 1; /* with its page or without */
}

static void *run_fibres(void *arg) {
  struct pollfd woken = { -1, POLLIN, 0 };
  int i, living;
  (void)arg;
  must("bind", selv_host_loop_bind(loop));
  woken.fd = selv_host_loop_fd(loop);
  for (i = 0; i < PAGES; i++) go_to(&fibres[i]);
  do {
    if (poll(&woken, 1, -1) > 0) must("drain", selv_host_loop_drain(loop, 0, NULL));
    for (i = living = 0; i < PAGES; i++) living += !fibres[i].has_ended;
  } while (living > 0);
  must("close", selv_host_loop_close(loop));
  return NULL;
}

/* Those that wait are told SELV_E_CLOSED, and so are those that would wait later: they all come to their end. */
static void give_up(void) {
  must("close", selv_semaphore_close(connections));
  must("close", selv_event_close(answer));
}

/* ---- main ---- */

/* Not in a signal handler, where hardly anything may be called: on a thread that waits for the signal. */
static void *wait_for_ctrl_c(void *arg) {
  sigset_t ctrl_c;
  int signal;
  sigemptyset(&ctrl_c);
  sigaddset(&ctrl_c, SIGINT);
  while (sigwait(&ctrl_c, &signal) == 0) must("interrupt", selv_task_interrupt(*(selv_task *)arg));
  return NULL;
}

static void start_fibre(int i) {
  char name[16];
  fibre *f = &fibres[i];
  f->number = i + 1;
  f->has_ended = 0;
  snprintf(name, sizeof name, "page %d", f->number);
  must("task", selv_task_new(name, &f->task));
  latch_expect(&pages, f->task);
  f->stack = malloc(STACK);
  if (f->stack == NULL || getcontext(&f->context) != 0) abort();
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = STACK;
  f->context.uc_link = &hub; /* where it goes in the end */
  makecontext(&f->context, body, 0);
}

static int fetch_all(const char *what, int without_end, int without_answer, selv_status expected) {
  selv_parking_lot_options lot = SELV_PARKING_LOT_OPTIONS_INIT;
  selv_semaphore_options permits = SELV_SEMAPHORE_OPTIONS_INIT;
  selv_status status;
  char detail[256] = "";
  pthread_t thread;
  int i;
  missing = without_end;
  silent = without_answer;
  open_at_most = 0;
  lot.name = "pages";
  permits.name = "connections";
  permits.initial = permits.max = CONNECTIONS;
  must("lot", selv_parking_lot_new(&lot, &pages.lot));
  must("semaphore", selv_semaphore_new(&permits, &connections));
  must("event", selv_event_new(NULL, &answer));
  must("loop", selv_host_loop_new(NULL, &loop));
  pages.expected = 0;
  for (i = 0; i < PAGES; i++) start_fibre(i);
  if (pthread_create(&thread, NULL, run_fibres, NULL) != 0) abort();
  status = latch_wait(&pages);
  if (status < 0) selv_last_error(detail, sizeof detail);
  if (status == SELV_E_CANCELLED) give_up();
  pthread_join(thread, NULL);
  printf("%-14s %s%s%s\n", what, selv_status_name(status), status < 0 ? ": " : "", detail);
  for (i = 0; i < PAGES; i++) free(fibres[i].stack);
  selv_host_loop_release(loop);
  must("event", selv_event_free(answer));
  must("semaphore", selv_semaphore_free(connections));
  must("lot", selv_parking_lot_free(pages.lot));
  return status == expected && open_now == 0 && open_at_most == CONNECTIONS;
}

int main(void) {
  selv_task main_task = selv_task_current();
  pthread_t interrupts;
  sigset_t ctrl_c;
  int ok;
  sigemptyset(&ctrl_c);
  sigaddset(&ctrl_c, SIGINT);
  if (pthread_sigmask(SIG_BLOCK, &ctrl_c, NULL) != 0) return EXIT_FAILURE; /* threads that are started from now on have it so */
  if (pthread_create(&interrupts, NULL, wait_for_ctrl_c, &main_task) != 0) return EXIT_FAILURE;
  pthread_detach(interrupts); /* it ends with the process */
  ok = fetch_all("all is well:", 0, 0, SELV_OK);
  ok &= fetch_all("no page 3:", 3, 0, SELV_E_BROKEN);
  ok &= fetch_all("no answer:", 0, 4, SELV_E_CANCELLED);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
