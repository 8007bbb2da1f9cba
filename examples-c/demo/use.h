/* use.h: one runtime of this run: its hook set on the main cache, and what was measured of it. */
#ifndef DEMO_USE_H
#define DEMO_USE_H

#include "runtime.h"

typedef struct use {
  const runtime *runtime;
  selv_hook *hook;
  selv_hook_stats stats;   /* after its hooks were removed; `jobs` is that of the work alone */
  double hooks_ns, by_itself_ns; /* cost per job on the sample; 0: not measured */
  selv_status removed;     /* how removing the hooks ended */
  int answer;              /* of the runtime's own shutdown */
  uint64_t remove_ns, stop_ns;
} use;

/* What a runtime's CRC of "123456789" must be. */
#define CHECK_TEXT "123456789"
#define CHECK_CRC UINT32_C(0xCBF43926)

#endif
