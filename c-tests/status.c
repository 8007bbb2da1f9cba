/* status.c: every status has its own name and sentence, unknown ones are answered too; version; the last error's detail. */
#include "probe.h"

static void every_status_has_a_name_and_a_sentence(void) {
  static const struct {
    selv_status status;
    const char *name;
  } known[] = {
      {SELV_OK, "SELV_OK"},
      {SELV_PENDING, "SELV_PENDING"},
      {SELV_OWNER_DIED, "SELV_OWNER_DIED"},
      {SELV_E_INVAL, "SELV_E_INVAL"},
      {SELV_E_NULL, "SELV_E_NULL"},
      {SELV_E_NOMEM, "SELV_E_NOMEM"},
      {SELV_E_SPAWN, "SELV_E_SPAWN"},
      {SELV_E_TIMEDOUT, "SELV_E_TIMEDOUT"},
      {SELV_E_WOULD_BLOCK, "SELV_E_WOULD_BLOCK"},
      {SELV_E_CANCELLED, "SELV_E_CANCELLED"},
      {SELV_E_BROKEN, "SELV_E_BROKEN"},
      {SELV_E_DEADLOCK, "SELV_E_DEADLOCK"},
      {SELV_E_NOT_OWNER, "SELV_E_NOT_OWNER"},
      {SELV_E_STALE, "SELV_E_STALE"},
      {SELV_E_CLOSED, "SELV_E_CLOSED"},
      {SELV_E_BUSY, "SELV_E_BUSY"},
      {SELV_E_OVERFLOW, "SELV_E_OVERFLOW"},
      {SELV_E_DUPLICATE, "SELV_E_DUPLICATE"},
      {SELV_E_HOOK_FAILED, "SELV_E_HOOK_FAILED"},
      {SELV_E_PANIC, "SELV_E_PANIC"},
      {SELV_E_REENTRANT, "SELV_E_REENTRANT"},
      {SELV_E_WRONG_THREAD, "SELV_E_WRONG_THREAD"},
      {SELV_E_FORKED, "SELV_E_FORKED"},
      {SELV_E_UNSUPPORTED, "SELV_E_UNSUPPORTED"},
      {SELV_E_NOT_RECOVERABLE, "SELV_E_NOT_RECOVERABLE"},
      {SELV_E_TOO_LATE, "SELV_E_TOO_LATE"},
      {SELV_E_IO, "SELV_E_IO"},
  };
  size_t i, j;
  for (i = 0; i < sizeof known / sizeof known[0]; i++) {
    const char *text = selv_status_text(known[i].status);
    CHECK_STR(selv_status_name(known[i].status), known[i].name);
    CHECK(text != NULL && strlen(text) > 8);
    CHECK(text[0] >= 'A' && text[0] <= 'Z' && text[strlen(text) - 1] == '.');
    CHECK(strcmp(text, selv_status_text(12345)) != 0);
    for (j = 0; j < i; j++) {
      CHECK(known[i].status != known[j].status);
      CHECK(strcmp(text, selv_status_text(known[j].status)) != 0);
    }
  }
}

static void an_unknown_status_is_answered(void) {
  CHECK_STR(selv_status_name(12345), "SELV_E_?");
  CHECK_STR(selv_status_name(-12345), "SELV_E_?");
  CHECK_STR(selv_status_name(INT32_MIN), "SELV_E_?");
  CHECK_STR(selv_status_name(INT32_MAX), "SELV_E_?");
  CHECK(selv_status_text(-12345) != NULL && strlen(selv_status_text(-12345)) > 8);
}

static void the_version_is_told(void) {
  unsigned major, minor, patch;
  CHECK(sscanf(selv_version(), "%u.%u.%u", &major, &minor, &patch) == 3);
  CHECK_EQ_U64(selv_abi_version(), 0);
}

static void the_last_error_behaves_as_snprintf(void) {
  char whole[512], part[8], untouched[4] = {'a', 'b', 'c', 'd'};
  size_t len;
  CHECK_STATUS(selv_cache_new(NULL, NULL), SELV_E_NULL);
  len = selv_last_error(NULL, 0);
  CHECK(len > 0 && len < sizeof whole);
  CHECK_EQ_U64(selv_last_error(whole, sizeof whole), len);
  CHECK_EQ_U64(strlen(whole), len);
  memset(part, 'x', sizeof part);
  CHECK_EQ_U64(selv_last_error(part, sizeof part), len);
  CHECK(memcmp(part, whole, sizeof part - 1) == 0 && part[sizeof part - 1] == '\0');
  CHECK_EQ_U64(selv_last_error(untouched, 0), len);
  CHECK(memcmp(untouched, "abcd", 4) == 0);
  CHECK_EQ_U64(selv_last_error(untouched, 1), len);
  CHECK(untouched[0] == '\0' && untouched[1] == 'b');
  CHECK_EQ_U64(selv_last_error(NULL, 100), len);
}

static void *without_an_error(void *arg) {
  char detail[64] = "stale";
  (void)arg;
  CHECK_EQ_U64(selv_last_error(detail, sizeof detail), 0);
  CHECK_STR(detail, "");
  return NULL;
}

static void the_last_error_belongs_to_its_thread(void) {
  pthread_t other;
  CHECK_STATUS(selv_cache_new(NULL, NULL), SELV_E_NULL);
  CHECK(pthread_create(&other, NULL, without_an_error, NULL) == 0);
  CHECK(pthread_join(other, NULL) == 0);
  CHECK(selv_last_error(NULL, 0) > 0);
}

int main(void) {
  CHECK_RUN(every_status_has_a_name_and_a_sentence);
  CHECK_RUN(an_unknown_status_is_answered);
  CHECK_RUN(the_version_is_told);
  CHECK_RUN(the_last_error_behaves_as_snprintf);
  CHECK_RUN(the_last_error_belongs_to_its_thread);
  return 0;
}
