/* finish.h: shuts the runtimes down, one after the other, while the cache lives on. */
#ifndef DEMO_FINISH_H
#define DEMO_FINISH_H

#include "use.h"

/* Fills in the rest of every use. After each shutdown the cache proves itself with a job in the runtimes that are left. How many
 * of these jobs went wrong; each has been told on stderr. */
int finish_runtimes(selv_cache *cache, use *uses, size_t use_count);

#endif
