/* Where values that are not finite come from: the layer, the pass, and whether the reference makes them too.
   The forward pass of Linear layers is spoilt on the device alone, as a bad driver would. */
#include "convoy.h"
#include "data/dataset.h"
#include "ops/linear.h"
#include "support/run.h"
#include "train/trace.h"

static int spoil_at; /* the call that is spoilt from here on; 0: none */
static bool spoils_once;
static int calls;

convoy_status __real_cvy_linear_forward(cvy_linear *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                        cvy_buffer *y, cvy_buffer *workspace);
convoy_status __wrap_cvy_linear_forward(cvy_linear *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                        cvy_buffer *y, cvy_buffer *workspace);
convoy_status __wrap_cvy_linear_forward(cvy_linear *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                        cvy_buffer *y, cvy_buffer *workspace) {
    static const float nan_value = NAN;
    convoy_status status = __real_cvy_linear_forward(op, x, weight, bias, y, workspace);
    if (!status && !cvy_buffer_host(y) && spoil_at && ++calls >= spoil_at &&
        (!spoils_once || calls == spoil_at))
        status = cvy_buffer_write(y, 0, &nan_value, sizeof nan_value);
    return status;
}

typedef struct fixture {
    char *folder;
    convoy_dataset *set;
} fixture;

static int setup(void **state) {
    static fixture f;
    f.folder = test_folder_create();
    const convoy_dataset_options options = {
        .channels = 1, .height = 8, .width = 8, .synthetic_classes = 10, .synthetic_images = 64};
    assert_ok(convoy_dataset_open("synthetic", "train", &options, &f.set));
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    convoy_dataset_free(f->set);
    test_folder_remove(f->folder);
    return 0;
}

/* The message of a run that fails. */
static const char *fail_run(fixture *f, const char *name, const char *recipe, convoy_device *device) {
    convoy_model *model = NULL;
    const convoy_train_options options = {
        .size = sizeof options, .epochs = 4, .out = test_path(f->folder, name)};
    char file[64];
    snprintf(file, sizeof file, "%s.yaml", name);
    assert_ok(convoy_model_load(test_tiny_model(f->folder, file, recipe), NULL, &model));
    calls = 0;
    assert_int_equal(convoy_train(model, device, f->set, NULL, &options, NULL), CONVOY_FAILED);
    convoy_model_free(model);
    return convoy_error_message();
}

static void expect(const char *message, const char *part) {
    if (!strstr(message, part))
        fail_msg("\"%s\" is not in: %s", part, message);
}

/* In the middle of the second epoch: the run is done again from its checkpoint up to there. */
static void a_device_that_makes_nan_is_told(void **state) {
    spoil_at = 6;
    const char *message =
        fail_run(*state, "device", "  optimizer: {SGD: {lr: 0.01}}\n  batch_size: 16\n", test_device());
    spoil_at = 0;
    expect(message, "the loss became NaN or infinite in step 6 (epoch 2)");
    expect(message, "Traced: layer ");
    expect(message, "(Linear, ");
    expect(message, " makes the first NaN, in its forward pass, of inputs from ");
    expect(message, "stays finite with the host's reference");
}

static void what_does_not_come_again_is_told(void **state) {
    spoil_at = 6;
    spoils_once = true;
    const char *message =
        fail_run(*state, "once", "  optimizer: {SGD: {lr: 0.01}}\n  batch_size: 16\n", test_device());
    spoil_at = 0;
    spoils_once = false;
    expect(message, "the loss became NaN or infinite in step 6 (epoch 2)");
    expect(message,
           "Traced: done again, the step is finite: this device or its driver does not compute the same");
}

/* The logits are finite, and their distance is not. */
static void the_loss_itself_is_looked_at(void **state) {
    fixture *f = *state;
    convoy_model *model = NULL;
    convoy_device *host = NULL;
    convoy_network *network = NULL;
    cvy_training training = {0};
    cvy_text found = {0};
    assert_ok(convoy_device_open("host", &host));
    assert_ok(convoy_model_load(test_tiny_model(f->folder, "far.yaml", ""), NULL, &model));
    for (size_t i = 0; i < convoy_model_tensor_count(model); i++)
        if (strcmp(convoy_model_tensor(model, i)->name, "6.bias") == 0)
            for (int c = 0; c < 10; c++)
                convoy_model_tensor(model, i)->values[c] = c ? 3e38f : -3e38f;
    const cvy_network_options options = {.batch_size = 16, .training = true};
    assert_ok(cvy_network_create(model, host, &options, &network));
    assert_ok(cvy_training_create(network, host, 16, &training)); /* all labels are 0 */
    assert_ok(cvy_training_trace(&training, NULL, 16, 0, &found));
    expect(cvy_text_get(&found), "the loss makes the first infinity, of outputs from -3e+38 to 3e+38");
    cvy_text_free(&found);
    cvy_training_free(&training);
    convoy_network_close(network);
    convoy_model_free(model);
    convoy_device_close(host);
}

static void what_diverges_does_so_everywhere(void **state) {
    const char *recipe = "  optimizer: {SGD: {lr: 1e6, weight_decay: 1e6}}\n  batch_size: 16\n";
    convoy_device *host = NULL;
    expect(fail_run(*state, "diverged", recipe, test_device()),
           "the host's reference makes one of the same batch, too");
    assert_ok(convoy_device_open("host", &host));
    const char *message = fail_run(*state, "host", recipe, host);
    expect(message, "Traced: layer ");
    assert_null(strstr(message, "reference makes"));
    convoy_device_close(host);
}

/* What the optimizer left is told before a layer is blamed for it. */
static void parameters_are_looked_at_first(void **state) {
    fixture *f = *state;
    convoy_model *model = NULL;
    convoy_device *host = NULL;
    convoy_network *network = NULL;
    cvy_training training = {0};
    cvy_text found = {0};
    assert_ok(convoy_device_open("host", &host));
    assert_ok(convoy_model_load(test_tiny_model(f->folder, "first.yaml", ""), NULL, &model));
    for (size_t i = 0; i < convoy_model_tensor_count(model); i++)
        if (strcmp(convoy_model_tensor(model, i)->name, "1.weight") == 0)
            convoy_model_tensor(model, i)->values[1] = INFINITY;
    const cvy_network_options options = {.batch_size = 16, .training = true};
    assert_ok(cvy_network_create(model, host, &options, &network));
    assert_ok(cvy_training_create(network, host, 16, &training));
    assert_ok(cvy_training_trace(&training, NULL, 16, 0, &found));
    expect(cvy_text_get(&found), "1.weight holds infinity at value 1 before any layer runs");
    cvy_text_free(&found);
    cvy_training_free(&training);
    convoy_network_close(network);
    convoy_model_free(model);
    convoy_device_close(host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_that_makes_nan_is_told),
        cmocka_unit_test(what_diverges_does_so_everywhere),
        cmocka_unit_test(parameters_are_looked_at_first),
        cmocka_unit_test(the_loss_itself_is_looked_at),
        cmocka_unit_test(what_does_not_come_again_is_told),
    };
    const int failed = cmocka_run_group_tests_name("trace", tests, setup, teardown);
    test_device_close();
    return failed;
}
