/* work.h: the work itself: every file is a job, and so many of them are in flight at a time. */
#ifndef DEMO_WORK_H
#define DEMO_WORK_H

#include "files.h"
#include "use.h"

/* Outcome code, beside errno and FILE_NOT_REGULAR: the runtime of this use failed, and has told why. */
#define CHECK_FAILED(use) (-2 - (int32_t)(use))
#define CHECK_FAILED_USE(code) ((size_t)(-2 - (code)))

/* One file, and how its job ended. */
typedef struct check {
  const file *file;
  uint64_t bytes;
  uint32_t crc[RUNTIMES_MAX]; /* in the order of the uses; with one use, [1] is what C says */
  selv_status status;         /* of the outcome */
  int32_t code;
  unsigned delivered; /* how often: once is right */
} check;

typedef struct work_result {
  check *checks; /* the first `submitted` of them were jobs */
  size_t submitted;
  selv_status refused; /* of the submit that ended the work early */
  int interrupted;     /* the signal that did, or 0 */
  uint64_t elapsed_ns;
} work_result;

/* Files agree if every two neighbours of `crc` do. */
size_t work_digests(size_t uses);

/* Returns when every accepted job has been delivered. 0, or -1: memory is out. */
int work_run(selv_cache *cache, const use *uses, size_t use_count, const file_list *files, size_t in_flight, work_result *out);
void work_free(work_result *result);

#endif
