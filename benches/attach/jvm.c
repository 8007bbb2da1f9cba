/* One call of Math.abs in every job: on workers that the preset's hook keeps attached to the JVM, and with
 * AttachCurrentThreadAsDaemon and DetachCurrentThread around the call. */
#include <selvedge/jvm.h>

#include "attach.h"

static selv_hook *hook;
static JavaVM *vm;
static jclass math;
static jmethodID abs_method;

static int32_t call(JNIEnv *env) {
  jint result = (*env)->CallStaticIntMethod(env, math, abs_method, (jint)-7);
  return result == 7 ? 0 : 1;
}

static int32_t with_hooks(void *arg, void **out_value) {
  JNIEnv *env = selv_jvm_env(hook);
  (void)arg;
  (void)out_value;
  return env == NULL ? 1 : call(env);
}

static int32_t per_job(void *arg, void **out_value) {
  void *env = NULL;
  int32_t code;
  (void)arg;
  (void)out_value;
  if ((*vm)->AttachCurrentThreadAsDaemon(vm, &env, NULL) != JNI_OK) {
    return 1;
  }
  code = call(env);
  (*vm)->DetachCurrentThread(vm);
  return code;
}

int main(void) {
  JavaVMInitArgs args;
  selv_cache *bare, *hooked;
  JNIEnv *env;
  jclass local;
  void *out = NULL;
  must(selv_cache_new(NULL, &bare), "selv_cache_new");
  must(selv_cache_new(NULL, &hooked), "selv_cache_new");
  memset(&args, 0, sizeof args);
  args.version = JNI_VERSION_1_8;
  if (JNI_CreateJavaVM(&vm, &out, &args) != JNI_OK) {
    printf("error the JVM does not start\n");
    return 1;
  }
  env = out;
  local = (*env)->FindClass(env, "java/lang/Math");
  math = local == NULL ? NULL : (*env)->NewGlobalRef(env, local);
  abs_method = math == NULL ? NULL : (*env)->GetStaticMethodID(env, math, "abs", "(I)I");
  if (abs_method == NULL) {
    printf("error java.lang.Math.abs not found\n");
    return 1;
  }
  must(selv_jvm_register(hooked, vm, NULL, &hook), "selv_jvm_register");
  serve(bare, hooked, with_hooks, per_job);
  must(selv_cache_shutdown(bare, 0, SELV_FOREVER, NULL), "selv_cache_shutdown");
  must(selv_hook_unregister(hook, SELV_FOREVER, NULL), "selv_hook_unregister");
  selv_hook_release(hook);
  if ((*vm)->DestroyJavaVM(vm) != JNI_OK) {
    return 1;
  }
  must(selv_cache_shutdown(hooked, 0, SELV_FOREVER, NULL), "selv_cache_shutdown");
  selv_cache_release(hooked);
  selv_cache_release(bare);
  return 0;
}
