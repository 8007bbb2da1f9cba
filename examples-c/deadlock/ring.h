/* ring.h: what the three tasks share: three locks with the items that each guards, and one way to take them that says what happens. */
#ifndef RING_H
#define RING_H

#include <selvedge.h>

enum { PRICES, STOCK, LEDGER, RING_LOCKS };

#define RING_ITEMS 100 /* behind each lock at first */
#define RING_MOVED 10  /* by each task, from behind its first lock to behind its second */

typedef struct ring_lock {
  const char *name;
  selv_lock *lock;
  long items; /* only for who holds the lock */
} ring_lock;

extern ring_lock ring[RING_LOCKS];

int ring_make(void);
int ring_free(void);

/* One line on what `who` does, with the time since the start. */
void ring_say(const char *who, const char *does, const char *what);

/* Waits for the lock, and says so. Of a refusal, selv_last_error still tells the reason. */
selv_status ring_acquire(const char *who, int which, selv_task task);
selv_status ring_release(const char *who, int which, selv_task task);

/* The work, done by somebody who holds both. */
void ring_move(const char *who, int from, int to);

/* Prints what failed, with the thread's detail of its last failed call, and gives -1. */
int ring_complain(const char *what, selv_status status);

#endif
