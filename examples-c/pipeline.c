/* pipeline.c: jobs hand items on through a channel. It holds four at most, so that a fast producer waits for its consumers; and when it is
 * closed, what is still in it is received first.
 *     cc -std=c99 pipeline.c -o pipeline $(pkg-config --cflags --libs selvedge) && ./pipeline */
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>

#define ITEMS 1000
#define CONSUMERS 3

static selv_channel *numbers;

static int check(const char *what, selv_status expected, selv_status status) {
  if (status != expected) fprintf(stderr, "%s: %s\n", what, selv_status_text(status));
  return status == expected;
}

static int32_t produce(void *arg, void **out_value) {
  uint32_t i;
  int ok = 1;
  (void)arg;
  (void)out_value;
  /* The bytes are copied; the call waits while the channel is full. */
  for (i = 1; i <= ITEMS && ok; i++) ok = check("send", SELV_OK, selv_channel_send(numbers, SELV_TASK_CURRENT, &i, sizeof i, SELV_FOREVER));
  return !(ok & check("selv_channel_close", SELV_OK, selv_channel_close(numbers))); /* no more will come */
}

static int32_t consume(void *arg, void **out_value) {
  selv_status status;
  void *data;
  size_t len;
  (void)out_value;
  while ((status = selv_channel_recv(numbers, SELV_TASK_CURRENT, SELV_FOREVER, &data, &len)) == SELV_OK) {
    if (len == sizeof(uint32_t)) *(uint64_t *)arg += *(uint32_t *)data; /* as aligned as from malloc */
    selv_bytes_free(data);
  }
  return !check("recv", SELV_E_CLOSED, status); /* closed, and nothing is left in it */
}

int main(void) {
  selv_channel_options options = SELV_CHANNEL_OPTIONS_INIT;
  uint64_t sums[CONSUMERS] = { 0 }, sum = 0;
  selv_cache *cache;
  int i, ok;
  options.name = "numbers";
  options.capacity = 4;
  if (!check("selv_channel_new", SELV_OK, selv_channel_new(&options, &numbers))) return EXIT_FAILURE;
  if (!check("selv_cache_new", SELV_OK, selv_cache_new(NULL, &cache))) return EXIT_FAILURE;
  ok = check("produce", SELV_OK, selv_start_thread_soon(cache, produce, NULL, NULL, "produce"));
  for (i = 0; i < CONSUMERS; i++) ok &= check("consume", SELV_OK, selv_start_thread_soon(cache, consume, NULL, &sums[i], "consume"));
  ok &= check("selv_cache_shutdown", SELV_OK, selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  selv_cache_release(cache);
  for (i = 0; i < CONSUMERS; i++) sum += sums[i];
  printf("%d consumers have added up %llu\n", CONSUMERS, (unsigned long long)sum);
  ok &= check("selv_channel_free", SELV_OK, selv_channel_free(numbers));
  return ok && sum == (uint64_t)ITEMS * (ITEMS + 1) / 2 ? EXIT_SUCCESS : EXIT_FAILURE;
}
