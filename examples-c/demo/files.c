/* files.c: walks a folder and reads files. */
#define _POSIX_C_SOURCE 200809L
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int files_add(file_list *list, const char *path, int error) {
  char *copy;
  if (list->count == list->room) {
    size_t room = list->room != 0 ? list->room * 2 : 1024;
    file *grown = (file *)realloc(list->at, room * sizeof *grown);
    if (grown == NULL) return ENOMEM;
    list->at = grown;
    list->room = room;
  }
  copy = (char *)malloc(strlen(path) + 1);
  if (copy == NULL) return ENOMEM;
  strcpy(copy, path);
  list->at[list->count].path = copy;
  list->at[list->count].error = error;
  list->count++;
  return 0;
}

void files_free(file_list *list) {
  size_t i;
  for (i = 0; i < list->count; i++) free(list->at[i].path);
  free(list->at);
  memset(list, 0, sizeof *list);
}

static char *join(const char *folder, const char *name) {
  size_t length = strlen(folder);
  char *path = (char *)malloc(length + strlen(name) + 2);
  if (path == NULL) return NULL;
  memcpy(path, folder, length);
  if (length == 0 || folder[length - 1] != '/') path[length++] = '/';
  strcpy(path + length, name);
  return path;
}

/* One entry of a folder. Folders go to `folders`, to be walked later: a deep tree must not use up the stack or the open files. */
static int sort_in(const char *path, file_list *folders, file_list *files, file_list *unreadable) {
  struct stat entry, target;
  if (lstat(path, &entry) != 0) return files_add(unreadable, path, errno);
  if (S_ISDIR(entry.st_mode)) return files_add(folders, path, 0);
  if (stat(path, &target) != 0) return files_add(unreadable, path, errno);
  if (S_ISDIR(target.st_mode)) return 0;
  if (!S_ISREG(target.st_mode)) return files_add(unreadable, path, FILE_NOT_REGULAR);
  return files_add(files, path, 0);
}

static int compare(const void *a, const void *b) { return strcmp(((const file *)a)->path, ((const file *)b)->path); }

int files_walk(const char *folder, file_list *files, file_list *unreadable) {
  file_list folders = { NULL, 0, 0 };
  int failed = files_add(&folders, folder, 0);
  size_t next;
  for (next = 0; next < folders.count && failed == 0; next++) {
    const char *here = folders.at[next].path; /* the text stays where it is when the list grows */
    struct dirent *entry;
    DIR *dir = opendir(here);
    if (dir == NULL) {
      failed = next == 0 ? errno : files_add(unreadable, here, errno);
      continue;
    }
    while (failed == 0 && (errno = 0, entry = readdir(dir)) != NULL) {
      char *path;
      if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
      path = join(here, entry->d_name);
      failed = path != NULL ? sort_in(path, &folders, files, unreadable) : ENOMEM;
      free(path);
    }
    if (failed == 0 && errno != 0) failed = files_add(unreadable, here, errno);
    closedir(dir);
  }
  files_free(&folders);
  if (files->count > 0) qsort(files->at, files->count, sizeof *files->at, compare);
  return failed;
}

int file_read(const char *path, size_t limit, content *out) {
  struct stat about;
  size_t room;
  int error = 0, fd;
  out->data = NULL;
  out->length = 0;
  /* NONBLOCK: what was a file may be a pipe by now, and nobody writes to it. */
  fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return errno;
  if (fstat(fd, &about) != 0) error = errno;
  else if (!S_ISREG(about.st_mode)) error = FILE_NOT_REGULAR;
  /* One more than the size tells the end of the file in the same go; a file that has grown makes the room grow. */
  room = error == 0 && about.st_size >= 0 && (uintmax_t)about.st_size < SIZE_MAX / 2 ? (size_t)about.st_size + 1 : 4096;
  if (room > limit) room = limit;
  if (error == 0 && (out->data = (unsigned char *)malloc(room > 0 ? room : 1)) == NULL) error = ENOMEM;
  while (error == 0 && out->length < limit) {
    ssize_t got;
    if (out->length == room) {
      unsigned char *grown = room < SIZE_MAX / 2 ? (unsigned char *)realloc(out->data, room * 2) : NULL;
      if (grown == NULL) {
        error = ENOMEM;
        break;
      }
      out->data = grown;
      room *= 2;
    }
    got = read(fd, out->data + out->length, (room < limit ? room : limit) - out->length);
    if (got == 0) break;
    if (got > 0) out->length += (size_t)got;
    else if (errno != EINTR) error = errno;
  }
  close(fd);
  if (error != 0) {
    free(out->data);
    out->data = NULL;
    out->length = 0;
  }
  return error;
}

const char *file_error_text(int error) {
  return error == FILE_NOT_REGULAR ? "a pipe, socket or device" : strerror(error);
}
