/* reference.c: CRC-32 (IEEE 802.3, reflected), a byte at a time. */
#include "reference.h"

static uint32_t table[256];

void reference_prepare(void) {
  uint32_t i;
  for (i = 0; i < 256; i++) {
    uint32_t c = i;
    int bit;
    for (bit = 0; bit < 8; bit++) c = (c & 1) != 0 ? UINT32_C(0xEDB88320) ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
}

uint32_t reference_crc32(const void *data, size_t length) {
  const unsigned char *p = (const unsigned char *)data, *end = p + length;
  uint32_t crc = UINT32_C(0xFFFFFFFF);
  while (p < end) crc = table[(crc ^ *p++) & 0xFF] ^ (crc >> 8);
  return ~crc;
}
