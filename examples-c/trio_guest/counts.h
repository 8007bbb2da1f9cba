/* counts.h: who ran where: a line for each thing that happens, and a table at the end. */
#ifndef COUNTS_H
#define COUNTS_H

#include <selvedge.h>

/* One line, with the time since the start and the thread that it was said on. */
void counts_say(const char *format, ...);

/* Something of this kind has run on the calling thread. */
enum { COUNTS_TIMER, COUNTS_TURN, COUNTS_POLL, COUNTS_JAVA, COUNTS_KINDS };
void counts_add(int kind);

/* The table: a line for each thread that ran something. */
void counts_print(void);

/* How many of this kind have run, on the main thread or on all the workers together. */
enum { COUNTS_MAIN, COUNTS_WORKERS };
unsigned long counts_of(int kind, int where);

/* Prints what failed, with the thread's detail of its last failed call, and gives -1. */
int counts_complain(const char *what, selv_status status);

#endif
