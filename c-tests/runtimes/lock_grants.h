/* lock_grants.h: who was granted the lock, in order, whatever runtime it came from, and that nobody had it together with somebody
 * else. Each notes itself while it holds the lock, with the ticket and the completing thread if it waited by a completion. */
#ifndef SELV_C_TESTS_LOCK_GRANTS_H
#define SELV_C_TESTS_LOCK_GRANTS_H

#include "../waiters.h"

#define LOCK_GRANTS_MAX 64

typedef struct lock_grant {
  char name[48];
  uint64_t ticket;     /* 0: it waited in a blocking call */
  uint64_t runs_on;    /* pthread_self of the thread that it runs on */
  uint64_t granted_on; /* pthread_self of the thread that completed it; 0 for a blocking call */
} lock_grant;

static lock_grant lock_grants[LOCK_GRANTS_MAX];
static check_tally lock_granted = CHECK_TALLY_INIT;

static inline void lock_grant_note(const char *name, uint64_t ticket, uint64_t granted_on) {
  lock_grant *grant;
  pthread_mutex_lock(&lock_granted.mutex);
  CHECK(lock_granted.count < LOCK_GRANTS_MAX);
  grant = &lock_grants[lock_granted.count++];
  snprintf(grant->name, sizeof grant->name, "%s", name);
  grant->ticket = ticket;
  grant->runs_on = (uint64_t)(uintptr_t)pthread_self();
  grant->granted_on = granted_on;
  pthread_cond_broadcast(&lock_granted.raised);
  pthread_mutex_unlock(&lock_granted.mutex);
}

static inline void lock_grants_forget(void) {
  pthread_mutex_lock(&lock_granted.mutex);
  memset(lock_grants, 0, sizeof lock_grants);
  lock_granted.count = 0;
  pthread_mutex_unlock(&lock_granted.mutex);
}

/* ---- the section that one lock guards in a storm ---- */

static uint64_t lock_section_inside, lock_section_turns; /* neither of them atomic: the lock is what orders them */

static inline void lock_section_enter(void) {
  CHECK_EQ_U64(lock_section_inside, 0);
  lock_section_inside = 1;
  lock_section_turns++;
}

static inline void lock_section_leave(void) {
  CHECK_EQ_U64(lock_section_inside, 1);
  lock_section_inside = 0;
}

#endif
