/* nsync: nsync_mu, for which all zero is a lock that nobody holds. */
#include "lock.h"

#include <nsync.h>
#include <stdlib.h>

/* A line of its own, as every lock here has. */
static void *create(void) {
  nsync_mu *mu = aligned_alloc(128, 128);
  if (mu != NULL) nsync_mu_init(mu);
  return mu;
}

static void lock(void *mu) { nsync_mu_lock(mu); }

static void unlock(void *mu) { nsync_mu_unlock(mu); }

const bench_lock bench_lock_nsync = {create, lock, unlock, free};
