/* Drivers that compute wrong values (wrong.c): `--verify 1` notices what changes a run, within one turn of
   its kernels. One buffer of one kernel is spoilt behind each of its launches.

   Some of them in each run; WRONG=training,evaluation in the environment tries every buffer of every kernel
   in both, of LeNet and of a network with batch-norm, and WRONG=selftest whether `convoy selftest --quick`
   notices those that change a training (tools/test.sh faults); "lenet training" is one of both. */
#include <unistd.h>

#include "base/file.h"
#include "support/command.h"

enum { BATCH = 16, LINE = 80, LINES = 256 };

static char *folder;
static const char *device, *list;

typedef struct subject {
    const char *name, *pass, *model;
    int batches; /* one more than there are results in a turn */
    bool evaluates, selftests;
} subject;

static int set_up(void **state) {
    (void)state;
    folder = test_folder_create();
    list = test_path(folder, "list");
    device = getenv("CONVOY_DEVICE") ? getenv("CONVOY_DEVICE") : getenv("CONVOY_TEST_DEVICE");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unsetenv("LD_PRELOAD");
    test_run_free();
    test_folder_remove(folder);
    return 0;
}

static void remove_folder(const char *name) {
    if (access(test_path(folder, name), F_OK) == 0)
        test_folder_remove(cvy_path_join(folder, name));
}

static const test_output *run(const subject *s, bool verify) {
    const char *out = test_path(folder, "run"), *weights = test_path(folder, "weights/last.safetensors");
    char images[16];
    snprintf(images, sizeof images, "%d", s->batches * BATCH);
    remove_folder("run");
    return s->evaluates
               ? RUN("eval", s->model, "-d", device, "--data", "synthetic", "--weights", weights, "--limit",
                     images, "--batch-size", "16", "--json", verify ? "--verify" : NULL, "1")
               : RUN("train", s->model, "-d", device, "--data", "synthetic", "--epochs", "1", "--limit-train",
                     images, "--limit-test", "160", "--batch-size", "16", "--out", out, "--no-pictures",
                     "--no-shuffle", verify ? "--verify" : NULL, "1");
}

/* What a run ends with: of training the weights, of evaluation the figures. malloc'ed; NULL: it fails. */
static char *result_of(const subject *s, const test_output *output, size_t *size) {
    if (output->code)
        return NULL;
    if (!s->evaluates)
        return test_read_text(test_path(folder, "run/last.safetensors"), size);
    *size = strlen(output->out);
    return strdup(output->out);
}

static void spoil(const char *kernel, const char *argument, const char *how) {
    setenv("WRONG_KERNEL", kernel, 1);
    setenv("WRONG_ARGUMENT", argument, 1);
    setenv("WRONG_HOW", how, 1);
}

static bool changes(const subject *s, const char *right, size_t right_size) {
    size_t size = 0;
    char *result = result_of(s, run(s, false), &size);
    const bool same = result && size == right_size && memcmp(result, right, size) == 0;
    free(result);
    return !same;
}

static bool is_noticed(const test_output *output) {
    return strstr(output->err, "computes wrong values") || strstr(output->err, "set aside");
}

/* A few parts tell most, the whole of it the rest. */
static bool selftest_notices(void) {
    static const char *const parts[] = {"train:lenet", "gather",           "loss",
                                        "optimizer",   "train:batch_norm", NULL};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const test_output *r = RUN("selftest", "-d", device, "--quick", parts[i] ? "--part" : NULL, parts[i]);
        if (r->code != 0 && r->code != 1)
            fail_msg("the self-test ends with %d: %s", r->code, r->err);
        if (r->code)
            return true;
    }
    return false;
}

typedef struct count {
    int changed, noticed, replaced; /* replaced: the run went on with another variant */
} count;

static void one(const subject *s, const char *line, const char *how, const char *right, size_t size,
                count *total) {
    char kernel[LINE], argument[8];
    if (sscanf(line, "%79s %7s", kernel, argument) != 2 || !strncmp(kernel, "selfcheck", 9))
        return;
    spoil(kernel, argument, how);
    if (!changes(s, right, size))
        return;
    total->changed++;
    const test_output *verified = s->selftests ? NULL : run(s, true);
    const bool noticed = verified ? is_noticed(verified) : selftest_notices();
    total->noticed += noticed;
    if (!verified) {
        if (!noticed)
            print_message("%s: not noticed by the self-test: %s of argument %s of %s\n", s->name, how,
                          argument, kernel);
        return;
    }
    total->replaced += verified->code == 0 && strstr(verified->err, "is repeated with variant");
    if (!noticed)
        print_message("%s, %s: not noticed: %s of argument %s of %s (exit code %d)\n", s->name, s->pass, how,
                      argument, kernel, verified->code);
    else if (verified->code != 0 && verified->code != 3)
        fail_msg("%s: %s of argument %s of %s ends with %d: %s", s->name, how, argument, kernel,
                 verified->code, verified->err);
}

/* A convolution that writes zeros gives way to another variant, and the run goes on. */
static bool is_replaced(const subject *s, const char *line) {
    char kernel[LINE], argument[8];
    if (sscanf(line, "%79s %7s", kernel, argument) != 2 || strncmp(kernel, "conv2d", 6) != 0)
        return false;
    spoil(kernel, argument, "zero");
    const test_output *verified = run(s, true);
    return verified->code == 0 && strstr(verified->err, "is repeated with variant");
}

/* Every buffer of the list, or those whose place in it is a multiple of `every`. */
static count all(const subject *s, int every) {
    static char lines[LINES][LINE];
    int found = 0;
    size_t size = 0;
    count total = {0, 0, 0};
    unlink(list);
    setenv("WRONG_LIST", list, 1);
    unsetenv("WRONG_KERNEL");
    char *right = result_of(s, run(s, false), &size);
    unsetenv("WRONG_LIST");
    if (!right)
        fail_msg("%s: a run without faults fails", s->name);
    assert_false(changes(s, right, size));
    FILE *file = fopen(list, "r");
    assert_non_null(file);
    while (found < LINES && fgets(lines[found], LINE, file))
        found++;
    fclose(file);
    for (int i = 0; i < found; i++) {
        bool again = false; /* a kernel built twice */
        for (int k = 0; k < i; k++)
            again |= strcmp(lines[k], lines[i]) == 0;
        if (again || i % every)
            continue;
        if (every == 1 || i % 2)
            one(s, lines[i], "zero", right, size, &total);
        if (every == 1 || i % 2 == 0)
            one(s, lines[i], "scale", right, size, &total);
    }
    for (int i = found - 1; i >= 0 && every > 1 && !total.replaced; i--)
        total.replaced += is_replaced(s, lines[i]);
    free(right);
    unsetenv("WRONG_KERNEL");
    print_message("%s, %s: %d of %d spoilt runs noticed\n", s->name, s->pass, total.noticed, total.changed);
    return total;
}

static void train_weights(const char *model) {
    const char *out = test_path(folder, "weights");
    remove_folder("weights");
    assert_int_equal(RUN("train", model, "-d", device, "--data", "synthetic", "--epochs", "2",
                         "--limit-train", "320", "--limit-test", "16", "--out", out, "--no-pictures")
                         ->code,
                     0);
}

/* Is it named in the list, by its network, its pass, or both? */
static bool is_wished(const subject *s, const char *wish) {
    char name[40], part[40];
    int length = 0;
    snprintf(name, sizeof name, "%s %s", s->name, s->pass);
    for (; sscanf(wish, "%39[^,]%n", part, &length) == 1; wish += length + (wish[length] == ','))
        if (strstr(name, part))
            return true;
    return false;
}

static void wrong_values_are_noticed(void **state) {
    (void)state;
    const char *wish = getenv("WRONG"), *tiny = test_tiny_model(folder, "tiny.yaml", "  optimizer: Adam\n");
    const subject subjects[] = {
        {"tiny", "training", tiny, 15, false, false},
        {"tiny", "evaluation", tiny, 9, true, false},
        {"tiny", "selftest", tiny, 15, false, true},
        {"lenet", "training", CONVOY_SOURCE_DIR "/models/lenet.yaml", 20, false, false},
        {"lenet", "evaluation", CONVOY_SOURCE_DIR "/models/lenet.yaml", 9, true, false},
        {"lenet", "selftest", CONVOY_SOURCE_DIR "/models/lenet.yaml", 20, false, true}};
    count sum = {0, 0, 0};
    bool verifies = false;
    if (!device || !strcmp(device, "host"))
        skip();
    for (size_t i = 0; i < (wish ? sizeof subjects / sizeof *subjects : 1); i++) {
        if (wish && !is_wished(&subjects[i], wish))
            continue;
        unsetenv("LD_PRELOAD");
        train_weights(subjects[i].model);
        setenv("LD_PRELOAD", CONVOY_BINARY_DIR "/libwrong.so", 1);
        const count found = all(&subjects[i], wish ? 1 : 9);
        verifies |= !subjects[i].selftests;
        sum.changed += found.changed;
        sum.noticed += found.noticed;
        sum.replaced += found.replaced;
    }
    print_message("%d of %d noticed; %d runs went on with another variant\n", sum.noticed, sum.changed,
                  sum.replaced);
    assert_true(sum.changed >= 3);
    assert_true(sum.replaced >= 1 || !verifies);
    assert_true(sum.noticed * 100 >= sum.changed * 95);
}

/* A kernel that spoils what it reads, and one of a layer that has no cases of its own. */
static void the_self_test_says_which(void **state) {
    (void)state;
    if (!device || !strcmp(device, "host"))
        skip();
    setenv("LD_PRELOAD", CONVOY_BINARY_DIR "/libwrong.so", 1);
    spoil("gather", "0", "scale");
    const test_output *r = RUN("selftest", "-d", device, "--quick", "--part", "gather");
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->out, "operand 1, which is only read, was changed"));
    spoil("gather", "6", "zero"); /* the op's own */
    assert_int_equal(RUN("selftest", "-d", device, "--quick", "--part", "gather")->code, 1);
    spoil("gather", "8", "zero"); /* labels */
    assert_int_equal(RUN("selftest", "-d", device, "--quick", "--part", "gather")->code, 1);
    spoil("conv2d_pack", "0", "scale");
    r = RUN("selftest", "-d", device, "--quick", "--part", "conv2d:direct_cpu");
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->out, "input 2, which is only read, was changed"));
    spoil("lrn_forward", "1", "scale");
    r = RUN("selftest", "-d", device, "--part", "layers:others");
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->out, "layer 3 (LocalResponseNorm), pass forward: the output is off by 0.0"));
    unsetenv("WRONG_KERNEL");
    r = RUN("selftest", "-d", device, "--part", "layers:others");
    assert_int_equal(r->code, 0);
    unsetenv("LD_PRELOAD");
}

/* The first row of `convoy diff` against the host, in which they part; NULL: in none. */
static const json_t *first_parted(const char *tiny, int code) {
    const test_output *r = RUN("diff", tiny, "--device", "host", "--device", device, "--json");
    if (r->code != code || !r->json)
        fail_msg("convoy diff ends with %d, not %d: %s", r->code, code, r->err);
    test_keys(r->json, "model devices tolerance first rows");
    assert_true(json_array_size(json_object_get(r->json, "rows")) > 10);
    return json_object_get(r->json, "first");
}

static void expect_pass(const char *tiny, const char *kernel, const char *argument, const char *pass) {
    spoil(kernel, argument, "scale");
    assert_string_equal(json_string_value(json_object_get(first_parted(tiny, 1), "pass")), pass);
    unsetenv("WRONG_KERNEL");
}

static void diff_names_where_devices_part(void **state) {
    (void)state;
    const char *tiny = test_tiny_model(folder, "diff.yaml", "  optimizer: Adam\n");
    if (!device || !strcmp(device, "host"))
        skip();
    setenv("LD_PRELOAD", CONVOY_BINARY_DIR "/libwrong.so", 1);
    assert_true(json_is_null(first_parted(tiny, 0)));
    expect_pass(tiny, "gather", "7", "data");
    expect_pass(tiny, "loss", "8", "loss");
    expect_pass(tiny, "adam", "0", "update");
    unsetenv("LD_PRELOAD");
    const test_output *r = RUN("diff", tiny, "--device", "host");
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "--device is given 1 times"));
}

/* What the host alone runs is forced there, and what no device here has is refused. */
static void diff_forces_a_variant_where_it_can(void **state) {
    (void)state;
    const char *tiny = test_tiny_model(folder, "forced.yaml", "  optimizer: Adam\n");
    const test_output *r =
        RUN("diff", tiny, "--device", "host", "--device", "host", "--variant", "conv2d=direct_cpu");
    assert_int_equal(r->code, 3);
    assert_non_null(
        strstr(r->err, "variant conv2d=direct_cpu runs no layer with batches of 16 on either device"));
    if (!device || !strcmp(device, "host"))
        skip();
    r = RUN("diff", tiny, "--device", device, "--device", "host", "--variant", "conv2d=reference", "--json");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->err, "variant conv2d=reference runs no layer on "));
    assert_null(strstr(r->err, "on Host CPU without OpenCL, which chooses by itself"));
}

int main(void) {
    if (!cvy_file_exists(CONVOY_BINARY_DIR "/libwrong.so"))
        return 77; /* sanitizers want to come first */
    const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_values_are_noticed),
                                       cmocka_unit_test(the_self_test_says_which),
                                       cmocka_unit_test(diff_names_where_devices_part),
                                       cmocka_unit_test(diff_forces_a_variant_where_it_can)};
    return cmocka_run_group_tests_name("wrong", tests, set_up, tear_down);
}
