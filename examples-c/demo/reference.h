/* reference.h: CRC-32 in plain C, to hold against the runtimes: when one works alone, and where the right answer must be known. */
#ifndef DEMO_REFERENCE_H
#define DEMO_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

void reference_prepare(void); /* once, before any thread asks */
uint32_t reference_crc32(const void *data, size_t length);

#endif
