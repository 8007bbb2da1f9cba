/* jvm_bad_options: what selv_jvm_register refuses, and that a refusal leaves nothing behind. */
#include "jvm_support.h"

int main(void) {
  JNIEnv *env = jvm_start("-Xcheck:jni");
  selv_cache *cache = probe_cache(0, 0);
  selv_jvm_options options = SELV_JVM_OPTIONS_INIT;
  selv_hook *hook = (selv_hook *)cache;
  struct longer {
    selv_jvm_options known;
    uint64_t unknown;
  } longer;
  jobject text = J(env)->NewStringUTF(env, "neither a group nor a loader");

#define REFUSED(expr, status)     \
  do {                            \
    hook = (selv_hook *)cache;    \
    CHECK_STATUS((expr), status); \
    CHECK(hook == NULL);          \
  } while (0)

  REFUSED(selv_jvm_register(NULL, jvm, NULL, &hook), SELV_E_NULL);
  REFUSED(selv_jvm_register(cache, NULL, NULL, &hook), SELV_E_NULL);
  CHECK_STATUS(selv_jvm_register(cache, jvm, NULL, NULL), SELV_E_NULL);

  options.flags = 1u << 30;
  REFUSED(selv_jvm_register(cache, jvm, &options, &hook), SELV_E_INVAL);
  options.flags = SELV_HOOK_FORK_KEEP; /* no JVM survives a fork */
  REFUSED(selv_jvm_register(cache, jvm, &options, &hook), SELV_E_INVAL);
  options.flags = 0;
  options.local_frame_capacity = -1;
  REFUSED(selv_jvm_register(cache, jvm, &options, &hook), SELV_E_INVAL);
  options.local_frame_capacity = 0;
  options.shutdown_timeout_ns = SELV_FOREVER;
  REFUSED(selv_jvm_register(cache, jvm, &options, &hook), SELV_E_INVAL);
  options.shutdown_timeout_ns = 0;
  options.group = text;
  REFUSED(selv_jvm_register(cache, jvm, &options, &hook), SELV_E_INVAL);
  options.group = NULL;
  options.class_loader = text;
  REFUSED(selv_jvm_register(cache, jvm, &options, &hook), SELV_E_INVAL);
  options.class_loader = NULL;
  options.struct_size = 0;
  REFUSED(selv_jvm_register(cache, jvm, &options, &hook), SELV_E_INVAL);

  /* A newer host's longer struct works as long as it asks for nothing that we do not know; so does an older one's. */
  memset(&longer, 0, sizeof longer);
  longer.known.struct_size = sizeof longer;
  longer.unknown = 1;
  REFUSED(selv_jvm_register(cache, jvm, &longer.known, &hook), SELV_E_UNSUPPORTED);
  longer.unknown = 0;
  CHECK_OK(selv_jvm_register(cache, jvm, &longer.known, &hook));
  jvm_unregister(hook);
  selv_hook_release(hook);
  options.struct_size = 2 * sizeof(uint32_t);
  options.local_frame_capacity = -1; /* past the end of what this host knows */
  CHECK_OK(selv_jvm_register(cache, jvm, &options, &hook));
  jvm_unregister(hook);
  selv_hook_release(hook);

  /* A pending exception is the caller's: refused, and still pending. */
  J(env)->ThrowNew(env, J(env)->FindClass(env, "java/lang/RuntimeException"), "mine");
  REFUSED(selv_jvm_register(cache, jvm, NULL, &hook), SELV_E_INVAL);
  CHECK(J(env)->ExceptionCheck(env));
  J(env)->ExceptionClear(env);

  probe_end(cache);

  /* What the library itself refuses comes through: a cache that has been shut down. */
  cache = probe_cache(0, 0);
  CHECK_OK(selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  {
    selv_jvm_options with_hook = SELV_JVM_OPTIONS_INIT;
    with_hook.flags = SELV_JVM_SHUTDOWN_HOOK;
    REFUSED(selv_jvm_register(cache, jvm, &with_hook, &hook), SELV_E_CLOSED);
  }
  selv_cache_release(cache);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  return 0;
}
