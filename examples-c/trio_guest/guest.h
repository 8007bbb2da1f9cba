/* guest.h: CPython with Trio in it. Functions that can fail print why and give -1. */
#ifndef GUEST_H
#define GUEST_H

#include <selvedge.h>

/* Starts Python, on the thread that will run the loop; from then on each worker of the cache is a thread of it, too. */
int guest_start(selv_cache *cache);

/* Begins guest.py, whose run of Trio lives in this loop's turns from then on. `done` is called in the last one of them. */
int guest_begin(selv_host_loop *loop, void (*done)(void));

/* After `done`: no worker is in Python any more, and Python ends. */
int guest_end(void);

#endif
