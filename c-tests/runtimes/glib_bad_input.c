/* glib_bad_input: what selv_glib_loop_new and selv_glib_loop_end refuse, and that a refusal leaves nothing behind. */
#include "glib_support.h"

static rig r;

static selv_status asked_with(const selv_glib_options *options) {
  selv_host_loop *loop = (selv_host_loop *)8;
  GSource *source = (GSource *)8;
  selv_status status = selv_glib_loop_new(r.context, options, &loop, &source);
  if (status != SELV_OK) CHECK(loop == NULL && source == NULL);
  if (status == SELV_OK) CHECK_OK(selv_glib_loop_end(source));
  return status;
}

static void nulls(void) {
  selv_host_loop *loop = (selv_host_loop *)8;
  GSource *source = (GSource *)8;
  CHECK_STATUS(selv_host_loop_bind(NULL), SELV_E_NULL); /* the last failure that the library itself has told of */
  CHECK_STATUS(selv_glib_loop_new(r.context, NULL, NULL, &source), SELV_E_NULL);
  CHECK(source == NULL);
  CHECK_STATUS(selv_glib_loop_new(r.context, NULL, &loop, NULL), SELV_E_NULL);
  CHECK(loop == NULL);
  CHECK_OK(selv_glib_loop_end(NULL));
  CHECK_OK(asked_with(NULL));
}

static void options(void) {
  struct {
    selv_glib_options known;
    uint64_t unknown;
  } longer = { SELV_GLIB_OPTIONS_INIT, 0 };
  selv_glib_options o = SELV_GLIB_OPTIONS_INIT;
  CHECK_OK(asked_with(&o));
  o.flags = 1;
  CHECK_STATUS(asked_with(&o), SELV_E_INVAL);
  o.flags = 0;
  o.struct_size = 4;
  CHECK_STATUS(asked_with(&o), SELV_E_INVAL);
  o.struct_size = 8;
  CHECK_OK(asked_with(&o));
  longer.known.struct_size = sizeof longer;
  CHECK_OK(asked_with(&longer.known));
  longer.unknown = 1;
  CHECK_STATUS(asked_with(&longer.known), SELV_E_UNSUPPORTED);
  CHECK_LAST_ERROR_HAS("loop is NULL");
}

/* NULL is the default context, whoever's thread-default another one is. */
static void default_context(void) {
  selv_host_loop *loop;
  GSource *source;
  g_main_context_push_thread_default(r.context);
  CHECK_OK(selv_glib_loop_new(NULL, NULL, &loop, &source));
  CHECK(g_source_get_context(source) == g_main_context_default());
  CHECK_OK(selv_glib_loop_end(source));
  g_main_context_pop_thread_default(r.context);
}

/* Ended twice the same reference would be given back twice; a second reference may be. */
static void two_references(void) {
  selv_host_loop *loop;
  GSource *source;
  CHECK_OK(selv_glib_loop_new(r.context, NULL, &loop, &source));
  g_source_ref(source);
  CHECK_OK(selv_glib_loop_end(source));
  CHECK_STATUS(selv_host_loop_call_soon(loop, rig_quit_soon, r.main, NULL, 0), SELV_E_CLOSED);
  CHECK_OK(selv_glib_loop_end(source));
}

int main(void) {
  rig_context(&r);
  CHECK_RUN(nulls);
  CHECK_RUN(options);
  CHECK_RUN(default_context);
  CHECK_RUN(two_references);
  rig_context_end(&r);
  return 0;
}
