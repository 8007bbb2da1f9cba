/* graph.c: selv_wait_graph hands its text over in parts; any place that takes bytes will do. */
#include "graph.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ring.h"

static selv_status write_part(void *arg, const char *data, size_t len) {
  return fwrite(data, 1, len, (FILE *)arg) == len ? SELV_OK : SELV_E_IO;
}

int graph_print(void) {
  selv_status status;
  puts("");
  status = selv_wait_graph(SELV_GRAPH_TEXT, write_part, stdout);
  puts("");
  return status == SELV_OK ? 0 : ring_complain("selv_wait_graph", status);
}

int graph_write_dot(const char *path) {
  FILE *file = fopen(path, "w");
  selv_status status = file != NULL ? selv_wait_graph(SELV_GRAPH_DOT, write_part, file) : SELV_OK;
  if (file == NULL || fclose(file) != 0) {
    fprintf(stderr, "deadlock: %s: %s\n", path, strerror(errno));
    return -1;
  }
  return status == SELV_OK ? 0 : ring_complain("selv_wait_graph", status);
}
