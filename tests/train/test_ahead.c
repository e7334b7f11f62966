/* A child process that builds the kernels of a step from its end on. */
#include <dirent.h>

#include "base/machine.h"
#include "network/inside.h"
#include "support/images.h"
#include "support/models.h"
#include "train/step.h"

/* With a line that is longer than a message. */
#define TEN_TIMES(text) text text text text text text text text text text
static const char model_text[] =
    "name: ahead\ninput: [2, 6, 6]\nlayers:\n"
    "  - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1}\n  - Sigmoid\n"
    "  - MaxPool2d: {kernel_size: 2}\n  - Flatten\n  - Linear: {out_features: 3}\n"
    "  - Sequential: {layers: [" TEN_TIMES(TEN_TIMES("Identity, ")) "Identity]}\n";

/* Files of that name in and below a folder. */
static size_t count_files(const char *folder, const char *ending) {
    size_t count = 0;
    DIR *entries = opendir(folder);
    for (const struct dirent *entry; entries && (entry = readdir(entries));) {
        char path[4096];
        const size_t length = strlen(entry->d_name), tail = strlen(ending);
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            count += count_files(path, ending);
        count += length > tail && !strcmp(entry->d_name + length - tail, ending);
    }
    if (entries)
        closedir(entries);
    return count;
}

static void test_child_builds_what_a_step_runs(void **state) {
    (void)state;
    const cvy_device_traits *traits = cvy_device_get_traits(test_device());
    if (!(traits->quirks & CVY_QUIRK_OWN_CACHE) || cvy_machine_cores() < 2)
        skip();
    convoy_model *model = test_model(model_text);
    convoy_network *network = NULL;
    cvy_training training;
    cvy_child_answer answer;
    const cvy_network_options options = {.batch_size = 16, .training = true};
    assert_ok(cvy_network_create(model, test_device(), &options, &network));
    assert_true(network->ahead_asked); /* nothing was in the driver's cache */
    assert_int_equal(cvy_child_hear(&network->ahead, &(cvy_child_patience){.limit = 120}, &answer),
                     CVY_CHILD_ANSWERED);
    assert_string_equal(answer.line, "built");
    const size_t built = count_files(getenv("POCL_CACHE_DIR"), ".so");
    assert_true(built >= 10);
    assert_ok(cvy_training_create(network, test_device(), 16, &training));
    assert_ok(cvy_training_step(&training, NULL, 16, 0));
    assert_ok(cvy_network_forward(network, 16, false, 0));
    assert_ok(cvy_device_finish(test_device()));
    assert_int_equal(count_files(getenv("POCL_CACHE_DIR"), ".so"), built);
    cvy_training_free(&training);
    convoy_network_close(network);
    convoy_model_free(model);
}

/* The first launch of each kernel, the last one first, and none before the end. */
static void test_rehearsal(void **state) {
    (void)state;
    if (cvy_device_get_traits(test_device())->host)
        skip();
    const float one[16] = {1}, two[16] = {2};
    cvy_elementwise add;
    cvy_buffer *x = test_buffer(test_device(), one, sizeof one),
               *y = test_buffer(test_device(), two, sizeof two),
               *sum = test_buffer(test_device(), NULL, sizeof one),
               *later = test_buffer(test_device(), one, sizeof one);
    assert_ok(cvy_elementwise_prepare(test_device(), CVY_ADD, CVY_IDENTITY, 16, &add));
    cvy_rehearsal_start(test_device());
    assert_ok(cvy_elementwise_run(&add, x, y, sum));
    assert_ok(cvy_elementwise_run(&add, x, y, later));
    float *values = test_read(later, 16);
    assert_true(values[0] == 1);
    free(values);
    assert_ok(cvy_rehearsal_end(test_device()));
    values = test_read(sum, 16);
    assert_true(values[0] == 3);
    free(values);
    values = test_read(later, 16);
    assert_true(values[0] == 1);
    free(values);
    cvy_buffer *all[] = {x, y, sum, later};
    for (size_t i = 0; i < 4; i++)
        cvy_buffer_free(all[i]);
}

int main(void) {
    /* A cache of this test's own, empty, and compilers that do not optimize. */
    char *cache = test_folder_create();
    setenv("POCL_CACHE_DIR", cache, 1);
    setenv("CONVOY_KERNEL_OPTIONS", "-cl-opt-disable", 1);
    unsetenv("CONVOY_BUILD_AHEAD");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_child_builds_what_a_step_runs),
                                       cmocka_unit_test(test_rehearsal)};
    const int failed = cmocka_run_group_tests_name("building ahead", tests, NULL, NULL);
    test_device_close();
    test_folder_remove(cache);
    return failed;
}
