/* text.c: numbers and names as people read them. */
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *text_count(text *out, uint64_t number) {
  char digits[32];
  size_t length = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number), i, used = 0;
  for (i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0) out->of[used++] = ',';
    out->of[used++] = digits[i];
  }
  out->of[used] = '\0';
  return out->of;
}

const char *text_bytes(text *out, uint64_t bytes) {
  static const char *const units[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
  double amount = (double)bytes / 1000;
  size_t unit = 0;
  if (bytes < 1000) {
    snprintf(out->of, sizeof out->of, "%u bytes", (unsigned)bytes);
    return out->of;
  }
  /* 999.95 would be written as 1000.0. */
  while (amount >= 999.95 && unit + 1 < sizeof units / sizeof units[0]) {
    amount /= 1000;
    unit++;
  }
  snprintf(out->of, sizeof out->of, "%.1f %s", amount, units[unit]);
  return out->of;
}

const char *text_micros(text *out, double ns) {
  snprintf(out->of, sizeof out->of, ns < 9995 ? "%.2f us" : "%.1f us", ns / 1000);
  return out->of;
}

const char *text_millis(text *out, uint64_t ns) {
  snprintf(out->of, sizeof out->of, "%.1f ms", (double)ns / 1e6);
  return out->of;
}

const char *text_seconds(text *out, uint64_t ns) {
  snprintf(out->of, sizeof out->of, "%.2f s", (double)ns / 1e9);
  return out->of;
}

size_t text_utf8_length(const char *s) {
  const unsigned char *u = (const unsigned char *)s;
  size_t length, i;
  if (u[0] < 0x80) return 1;
  length = u[0] >= 0xC2 && u[0] <= 0xDF ? 2 : (u[0] & 0xF0) == 0xE0 ? 3 : u[0] >= 0xF0 && u[0] <= 0xF4 ? 4 : 0;
  for (i = 1; i < length; i++)
    if ((u[i] & 0xC0) != 0x80) return 0;
  /* Overlong forms, surrogates, and what lies past the last character. */
  if ((u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) || (u[0] == 0xF0 && u[1] < 0x90) ||
      (u[0] == 0xF4 && u[1] > 0x8F))
    return 0;
  return length;
}

const char *text_printable(char *out, size_t room, const char *name) {
  size_t used = 0;
  while (*name != '\0') {
    const unsigned char c = (unsigned char)*name;
    size_t length = text_utf8_length(name);
    /* U+0080 to U+009F are control characters too. */
    int plain = length > 0 && c >= 0x20 && c != 0x7F && !(c == 0xC2 && (unsigned char)name[1] < 0xA0);
    if (used + (plain ? length : 4) >= room) break;
    if (plain) {
      memcpy(out + used, name, length);
      used += length;
      name += length;
    } else {
      used += (size_t)snprintf(out + used, room - used, "\\x%02X", c);
      name++;
    }
  }
  out[used] = '\0';
  return out;
}
