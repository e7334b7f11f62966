/* convoy tune: the table, what it keeps, and that a bad variant is set aside and hurts nobody. Bad ones come
   from a sabotaged copy of the kernels. */
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/text.h"
#include "support/command.h"
#include "support/images.h"

static char *folder, *kernels, *cache;
static const char *model;

/* A folder's files, and those of its subfolders. */
static void copy_folder(const char *from, const char *to) {
    char **names = NULL;
    size_t count = 0, size;
    assert_ok(cvy_folder_create(to));
    assert_ok(cvy_folder_list(from, &names, &count));
    for (size_t i = 0; i < count; i++) {
        char *source = cvy_path_join(from, names[i]), *copy = cvy_path_join(to, names[i]);
        if (strchr(names[i], '.')) {
            char *text = test_read_text(source, &size);
            assert_ok(cvy_file_write(copy, text, size));
            free(text);
        } else {
            copy_folder(source, copy);
        }
        free(source);
        free(copy);
    }
    cvy_names_free(names, count);
}

/* The kernels as they are. */
static void copy_kernels(void) {
    copy_folder(CONVOY_SOURCE_DIR "/kernels", kernels);
}

/* Puts `text` behind the first `{` after `where`. */
static void sabotage(const char *name, const char *where, const char *text) {
    char *source = test_read_text(test_path(kernels, name), NULL);
    char *place = strstr(source, where), *brace = place ? strchr(place, '{') : NULL;
    cvy_text changed = {0};
    if (!brace)
        fail_msg("%s has no %s", name, where);
    cvy_text_add(&changed, "%.*s%s%s", (int)(brace + 1 - source), source, text, brace + 1);
    test_write(kernels, name, changed.data);
    cvy_text_free(&changed);
    free(source);
}

static int set_up(void **state) {
    (void)state;
    folder = test_folder_create();
    kernels = cvy_path_join(folder, "kernels");
    cache = cvy_path_join(folder, "cache");
    copy_kernels();
    unsetenv("CONVOY_TUNE");
    setenv("CONVOY_CACHE_DIR", cache, 1);
    setenv("CONVOY_KERNEL_DIR", kernels, 1);
    model =
        test_write(folder, "one.yaml",
                   "name: one\ninput: [3, 9, 7]\nlayers:\n"
                   "  - BatchNorm2d\n" /* so that the convolution has all three passes */
                   "  - Conv2d: {out_channels: 5, kernel_size: 3, padding: 1}\n"
                   "  - Flatten\n  - Linear: {out_features: 10}\n"
                   "recipe: {data: synthetic, optimizer: {SGD: {lr: 0.01}}, batch_size: 16, epochs: 1}\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_run_free();
    free(kernels);
    free(cache);
    test_folder_remove(folder);
    return 0;
}

static const json_t *variant_of(const json_t *shape, const char *name) {
    size_t i;
    json_t *variant;
    json_array_foreach(json_object_get(shape, "variants"), i,
                       variant) if (strcmp(json_string_value(json_object_get(variant, "variant")), name) ==
                                    0) return variant;
    return NULL;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* The answer for one pass of the convolution; the run's result must be kept by the caller. */
static const json_t *shape_of(const test_output *r, const char *pass) {
    size_t i;
    json_t *shape;
    if (r->code)
        fail_msg("exit code %d: %s", r->code, r->err);
    json_array_foreach(json_object_get(r->json, "shapes"), i,
                       shape) if (strcmp(text_of(shape, "pass"), pass) == 0) return shape;
    fail_msg("no shape of %s: %s", pass, r->out);
    return NULL;
}

static const test_output *tune(void) {
    return RUN("tune", model, "--seconds", "0.001", "--limit", "20", "--json");
}

/* Exactly this variant of this pass was set aside, for a reason that has `part` in it. */
static void assert_aside(const test_output *r, const char *pass, const char *name, const char *part) {
    size_t i, k;
    json_t *shape, *variant;
    const json_t *bad = variant_of(shape_of(r, pass), name);
    assert_non_null(bad);
    assert_string_equal(text_of(bad, "outcome"), "set aside");
    if (!strstr(text_of(bad, "reason"), part))
        fail_msg("the reason lacks \"%s\": %s", part, text_of(bad, "reason"));
    json_array_foreach(json_object_get(r->json, "shapes"), i, shape)
        json_array_foreach(json_object_get(shape, "variants"), k,
                           variant) if ((strcmp(text_of(shape, "pass"), pass) != 0 ||
                                         strcmp(text_of(variant, "variant"), name) != 0) &&
                                        strcmp(text_of(variant, "outcome"), "set aside") == 0)
            fail_msg("%s %s was set aside too: %s", text_of(shape, "pass"), text_of(variant, "variant"),
                     text_of(variant, "reason"));
    assert_string_not_equal(text_of(shape_of(r, pass), "winner"), name);
    assert_string_not_equal(text_of(shape_of(r, pass), "winner"), "");
}

static void assert_trains(void) {
    const char *run = test_path(folder, "run");
    const test_output *r = RUN("train", model, "--out", run, "--limit-train", "64", "--limit-test", "16");
    if (r->code)
        fail_msg("training fails: %s", r->err);
    char *command = NULL;
    assert_true(asprintf(&command, "rm -rf '%s'", run) > 0);
    assert_int_equal(system(command), 0);
    free(command);
}

static void keeps_the_fastest(void **state) {
    (void)state;
    const test_output *r = tune();
    const json_t *forward = shape_of(r, "forward");
    test_keys(r->json, "device shapes");
    test_keys(forward, "op pass shape winner variants");
    char *winner = strdup(text_of(forward, "winner"));
    const json_t *best = variant_of(forward, winner);
    test_keys(best, "variant outcome ms gflops reason");
    assert_true(json_number_value(json_object_get(best, "ms")) > 0);
    if (strcmp(getenv("CONVOY_DEVICE"), "cpu") == 0)
        assert_string_equal(text_of(variant_of(shape_of(r, "product"), "clblast"), "outcome"),
                            "not for this device");
    r = RUN("bench", model, "--steps", "1", "--json");
    const json_t *layer = json_array_get(json_object_get(r->json, "layers"), 1);
    assert_true(json_is_true(json_object_get(layer, "measured")));
    if (strncmp(text_of(layer, "variant"), winner, strlen(winner)) != 0)
        fail_msg("bench ran %s, tune chose %s", text_of(layer, "variant"), winner);
    r = RUN("bench", model, "--steps", "1");
    assert_non_null(strstr(r->out, "choice by measurement"));
    r = RUN("tune", "--list", "--json");
    assert_true(json_array_size(json_object_get(r->json, "known")) >= 4);
    r = RUN("tune", "--forget", "--list");
    assert_non_null(strstr(r->out, "0 answers are known"));
    free(winner);
}

static void wrong_values(void **state) {
    (void)state;
    sabotage("conv2d/im2col_gemm.cl", "conv2d_col2im(", " if (get_global_id(1) == 3) return;");
    assert_aside(tune(), "backward_data", "im2col_gemm", "wrong values");
    assert_trains();
    const test_output *r = RUN("bench", model, "--steps", "1", "--variant", "conv2d=im2col_gemm");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->err, "is forced, though it was set aside"));
    copy_kernels();
}

static void does_not_build(void **state) {
    (void)state;
    sabotage("conv2d/direct_cpu_weights.cl", "conv2d_weights(", " this is no C;");
    assert_aside(tune(), "backward_weights", "direct_cpu", "could not build");
    assert_trains();
    copy_kernels();
}

/* Without any tuning before: the run itself finds out, says so, and leaves nothing behind for later runs. */
static void a_run_goes_on_without_it(void **state) {
    (void)state;
    sabotage("conv2d/winograd1d_cpu.cl", "conv2d_winograd1d_weights(", " this is no C either;");
    assert_trains();
    const test_output *r = RUN("bench", model, "--steps", "1");
    assert_non_null(strstr(r->err, "set aside on "));
    assert_non_null(strstr(r->err, "for this run"));
    r = RUN("tune", "--list");
    assert_null(strstr(r->out, "set aside"));
    copy_kernels();
}

/* What stopped the forward pass's im2col_gemm by a limit. On a busy machine the building in front of what
   hangs takes longer than any limit that a test likes to wait for: the limit grows until the stage is
   reached. */
static void assert_hangs(const char *option, const char *stage) {
    for (int limit = 2; limit <= 128; limit *= 4) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", limit);
        assert_int_equal(RUN("tune", "--forget")->code, 0);
        const test_output *r = RUN("tune", model, "--seconds", "0.001", option, seconds, "--json");
        const json_t *bad = variant_of(shape_of(r, "forward"), "im2col_gemm");
        assert_string_equal(text_of(bad, "outcome"), "set aside");
        if (strstr(text_of(bad, "reason"), stage))
            return;
    }
    fail_msg("no limit of %s reached '%s'", option, stage);
}

static void hangs(void **state) {
    (void)state;
    sabotage("conv2d/im2col_gemm.cl", "conv2d_im2col(", " volatile int turn = 0; while (!turn) ;");
    assert_hangs("--build-limit", "it hung: the first run");
    assert_trains();
    copy_kernels();
}

/* The values of the check hang, and those come after the first run. */
static void hangs_later(void **state) {
    (void)state;
    char *text = NULL;
    cvy_rng rng = cvy_rng_stream(0, CVY_RNG_SYNTHETIC, 0);
    assert_true(asprintf(&text, " volatile int turn = x->x != %af; while (!turn) ;",
                         (double)(2 * cvy_rng_uniform(&rng) - 1)) > 0);
    sabotage("conv2d/im2col_gemm.cl", "conv2d_im2col(", text);
    assert_hangs("--limit", "it hung: running it on a small shape");
    copy_kernels();
    free(text);
}

/* Ctrl-C in the middle of a hang: exit code 130, the file is whole, and no process stays behind. */
static void ctrl_c(void **state) {
    (void)state;
    sabotage("conv2d/im2col_gemm.cl", "conv2d_im2col(", " volatile int turns = 0; while (!turns) ;");
    const char *err = test_path(folder, "err");
    const char *const arguments[] = {"tune", model, "--seconds", "0.001", NULL};
    setenv("CONVOY_LOG", "debug", 1);
    pid_t process = test_start(err, arguments);
    unsetenv("CONVOY_LOG");
    test_wait_for(process, err, "measuring im2col_gemm");
    assert_int_equal(kill(process, SIGINT), 0);
    assert_int_equal(test_wait(process), 130);
    const test_output *r = RUN("tune", "--list", "--json");
    assert_int_equal(r->code, 0);
    copy_kernels();
}

static void two_at_once(void **state) {
    (void)state;
    const char *const arguments[] = {"tune", model, "--seconds", "0.001", NULL};
    assert_int_equal(RUN("tune", "--forget")->code, 0);
    pid_t first = test_start(test_path(folder, "err1"), arguments);
    pid_t second = test_start(test_path(folder, "err2"), arguments);
    assert_int_equal(test_wait(first), 0);
    assert_int_equal(test_wait(second), 0);
    const test_output *r = RUN("tune", "--list", "--json");
    size_t i, best = 0;
    json_t *known;
    json_array_foreach(json_object_get(r->json, "known"), i, known) best +=
        strcmp(text_of(known, "verdict"), "best") == 0;
    assert_int_equal(best, 6); /* three passes of each */
}

static void usage(void **state) {
    (void)state;
    const test_output *r = RUN("tune");
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "missing argument"));
    setenv("CONVOY_DEVICE", "host", 1);
    r = RUN("tune", model);
    assert_int_equal(r->code, 3);
    unsetenv("CONVOY_DEVICE");
    r = RUN("--help");
    assert_non_null(strstr(r->out, "tune MODEL..."));
    assert_null(strstr(r->out, "measure-variants"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_fastest),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(does_not_build),
        cmocka_unit_test(a_run_goes_on_without_it),
        cmocka_unit_test(hangs),
        cmocka_unit_test(hangs_later),
        cmocka_unit_test(ctrl_c),
        cmocka_unit_test(two_at_once),
        cmocka_unit_test(usage),
    };
    return cmocka_run_group_tests_name("tune", tests, set_up, tear_down);
}
