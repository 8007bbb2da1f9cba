/* tasks.h: the three tasks, each in its own language. Each has one lock, wants the next, moves its items when it holds both, and lets
 * go of both. Functions that can fail print why and give -1. */
#ifndef TASKS_H
#define TASKS_H

#include <selvedge.h>

/* C: the task of a job on the cache. Has the ledger when `begin` returns, and wants the prices when `close_ring` is called. */
int c_begin(selv_cache *cache);
void c_close_ring(void);
int c_end(void);

/* Java: a Java thread, whose task is its own. Has the stock, wants the ledger, and waits in the call. */
int java_begin(void);
int java_end(void);

/* Python: an asyncio coroutine with a task made for it. Has the prices, wants the stock, and waits for a future: its event
 * loop goes on. */
int python_begin(void);
int python_end(void);

#endif
