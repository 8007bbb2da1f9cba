/* sample.h: measures what a job costs whose worker is attached already, and one that attaches and detaches by itself. */
#ifndef DEMO_SAMPLE_H
#define DEMO_SAMPLE_H

#include "files.h"
#include "use.h"

#define SAMPLE_FILES 64
#define SAMPLE_BYTES 512 /* of each file: little enough that the edges of a job show */

/* Fills in hooks_ns and by_itself_ns of every use. 0, or -1 after telling why on stderr. */
int sample_run(use *uses, size_t use_count, const file_list *files, size_t jobs);

#endif
