/* text.h: numbers and names as people read them. Every function writes into the caller's buffer and gives it back. */
#ifndef DEMO_TEXT_H
#define DEMO_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct text {
  char of[64];
} text;

const char *text_count(text *out, uint64_t number);   /* 8,358 */
const char *text_bytes(text *out, uint64_t bytes);    /* 12.3 MB */
const char *text_micros(text *out, double ns);        /* 1.25 us */
const char *text_millis(text *out, uint64_t ns);      /* 12.3 ms */
const char *text_seconds(text *out, uint64_t ns);     /* 2.31 s */

/* A file's name for the terminal: what is no UTF-8, and control characters, as \xNN. Never cuts one in two. */
const char *text_printable(char *out, size_t room, const char *name);

/* The length in bytes of the well-formed UTF-8 character at `s`, or 0. */
size_t text_utf8_length(const char *s);

#endif
