/* The plan of a training's memory is complete: what is in use while a network trains and evaluates itself is
   what was planned, to the byte. With exactly as much memory as that training runs, and with less it does not
   begin. */
#include "convoy/train.h"
#include "data/dataset.h"
#include "network/network.h"
#include "support/run.h"
#include "train/evaluator.h"

typedef struct memory_case {
    const char *model; /* in models/ */
    int batch, micro_batch;
    const char *device; /* NULL: the device under test */
    bool augmented;
} memory_case;

enum { TRAIN = 100, TEST = 70 };

static convoy_dataset *open_set(const convoy_model *model, const char *split, size_t images) {
    int input[3];
    convoy_dataset *set = NULL;
    convoy_model_input(model, input);
    const int border = cvy_model_recipe(model)->border;
    const convoy_dataset_options options = {.channels = input[0],
                                            .height = input[1] - 2 * border,
                                            .width = input[2] - 2 * border,
                                            .synthetic_images = images,
                                            .synthetic_classes = convoy_model_classes(model)};
    assert_ok(convoy_dataset_open("synthetic", split, &options, &set));
    return set;
}

typedef struct watch {
    const convoy_device *device;
    size_t bytes; /* in use at most */
} watch;

static int look(void *context, const convoy_progress *progress) {
    watch *w = context;
    const size_t bytes = cvy_device_get_counters(w->device).bytes;
    (void)progress;
    if (bytes > w->bytes)
        w->bytes = bytes;
    return 1;
}

typedef struct memory_run {
    convoy_device *device;
    convoy_model *model;
    convoy_dataset *train, *test;
    convoy_train_options options;
    watch watch;
} memory_run;

/* Bytes in use at most with so much memory. */
static size_t used_with(memory_run *run, size_t memory) {
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(run->device);
    const size_t kept = traits->memory;
    run->watch = (watch){.device = run->device};
    traits->memory = memory;
    const convoy_status status =
        convoy_train(run->model, run->device, run->train, run->test, &run->options, NULL);
    traits->memory = kept;
    assert_ok(status);
    return run->watch.bytes;
}

/* Two buffers of a batch each, in place of the whole set. */
static size_t streamed(const memory_run *run, const convoy_dataset *set, int batch) {
    const size_t image = cvy_dataset_image_bytes(set), all = convoy_dataset_count(set);
    const size_t resident = cvy_buffer_footprint(all * image) + 2 * cvy_buffer_footprint(4 * all);
    const size_t stream =
        2 * cvy_buffer_footprint((size_t)batch * image) + 3 * cvy_buffer_footprint(4 * (size_t)batch);
    assert_true(stream < resident);
    (void)run;
    return resident - stream;
}

static void plan_is_complete(void **state) {
    const memory_case *given = *state;
    memory_run run = {.options = {.batch_size = given->batch,
                                  .micro_batch = given->micro_batch,
                                  .max_steps = 3,
                                  .progress = look,
                                  .context = &run.watch}};
    char path[1024];
    convoy_device *own = NULL;
    if (given->device)
        assert_ok(convoy_device_open(given->device, &own));
    run.device = own ? own : test_device();
    snprintf(path, sizeof path, "%s/models/%s.yaml", CONVOY_SOURCE_DIR, given->model);
    const char *const settings[] = {
        "augment=[{RandomCrop: {padding: 2}}, RandomHorizontalFlip, TrivialAugmentWide]"};
    const convoy_model_options options = {.settings = settings, .setting_count = given->augmented};
    assert_ok(convoy_model_load(path, &options, &run.model));
    run.train = open_set(run.model, "train", TRAIN);
    run.test = open_set(run.model, "test", TEST);
    const int piece = given->micro_batch ? given->micro_batch : given->batch;

    const size_t resident = used_with(&run, cvy_device_get_traits(run.device)->memory);
    const size_t least = resident - streamed(&run, run.train, given->batch) - streamed(&run, run.test, piece);
    assert_int_equal(used_with(&run, least), least);

    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(run.device);
    const size_t kept = traits->memory;
    traits->memory = least - 1;
    const convoy_status status = convoy_train(run.model, run.device, run.train, run.test, &run.options, NULL);
    traits->memory = kept;
    assert_int_equal(status, CONVOY_MEMORY);
    if (!strstr(convoy_error_message(), "with batches of"))
        fail_msg("it was not the plan that noticed: %s", convoy_error_message());
    convoy_dataset_free(run.train);
    convoy_dataset_free(run.test);
    convoy_model_free(run.model);
    convoy_device_close(own);
}

static const memory_case cases[] = {
    {"lenet", 20, 0, NULL, false},       {"lenet", 40, 16, NULL, true},
    {"lenet", 20, 0, "host", true},      {"lenet5", 10, 0, NULL, false},
    {"resnet_mini", 16, 0, NULL, false}, {"densenet_mini", 16, 0, NULL, false},
};

int main(void) {
    enum { COUNT = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        tests[i] = (struct CMUnitTest){cases[i].model, plan_is_complete, NULL, NULL, (void *)&cases[i]};
    const size_t count = test_quick() ? 2 : COUNT;
    int failed = _cmocka_run_group_tests("memory", tests, count, test_build_plainly, NULL);
    test_device_close();
    return failed;
}
