/* files.h: every file below a folder, and the content of one. */
#ifndef DEMO_FILES_H
#define DEMO_FILES_H

#include <stddef.h>
#include <stdint.h>

#define FILE_NOT_REGULAR (-1) /* in place of an errno: a device, pipe or socket */

typedef struct file {
  char *path;
  int error; /* 0, an errno, or FILE_NOT_REGULAR: found by the walk, or later by who read it */
} file;

typedef struct file_list {
  file *at;
  size_t count, room;
} file_list;

/* Every file below `folder`, in an order that does not depend on the file system. Symbolic links to files count as files, those
 * to folders are not followed. What cannot be a job (a folder that cannot be read, a pipe) goes to `unreadable`. 0, or an errno:
 * memory is out, or `folder` itself is none or cannot be read. */
int files_walk(const char *folder, file_list *files, file_list *unreadable);
int files_add(file_list *list, const char *path, int error);
void files_free(file_list *list);

typedef struct content {
  unsigned char *data; /* never NULL after success */
  size_t length;
} content;

/* The first `limit` bytes of a file; to be freed. 0, an errno, or FILE_NOT_REGULAR. */
int file_read(const char *path, size_t limit, content *out);

const char *file_error_text(int error);

#endif
