/* Weights of a model to a file and back, and files that do not fit: all that is wrong in one message, nothing
 * changed. */
#include <math.h>
#include <unistd.h>

#include "base/log.h"
#include "model/graph.h"
#include "support/models.h"

static const char path[] = "model-weights.safetensors";
static const char yaml[] =
    "input: [1, 4, 4]\n"
    "layers:\n"
    "  - Conv2d: {out_channels: 2, kernel_size: 1}\n"
    "  - BatchNorm2d\n"
    "  - Conv2d: {out_channels: 2, kernel_size: 1, connections: [[0], [1]], bias: false}\n"
    "  - Flatten\n"
    "  - Linear: {out_features: 3}\n";

static void weights_come_back(void **state) {
    (void)state;
    convoy_model *a = test_model(yaml), *b = test_model(yaml);
    assert_ok(convoy_model_initialise(a, 99));
    a->batches_tracked[1] = 12345678901;
    convoy_model_tensor(a, 4)->values[1] = 0.5f; /* a running mean */
    assert_memory_not_equal(a->data, b->data, a->data_count * sizeof(float));
    assert_ok(convoy_model_save_weights(a, path));
    assert_ok(convoy_model_load_weights(b, path));
    assert_memory_equal(a->data, b->data, a->data_count * sizeof(float));
    assert_true(b->batches_tracked[1] == 12345678901);
    cvy_tensor_file *file;
    assert_ok(cvy_tensor_file_load(path, &file));
    cvy_named_tensor counter = cvy_tensor_file_find(file, "1.num_batches_tracked");
    assert_string_equal(counter.dtype, "I64");
    assert_int_equal(counter.dimensions, 0);
    assert_string_equal(cvy_tensor_file_metadata(file, "format"), "pt");
    cvy_tensor_file_free(file);
    unlink(path);
    convoy_model_free(a);
    convoy_model_free(b);
}

static void classes_and_image_travel_along(void **state) {
    (void)state;
    static const char *const names[] = {"c", "b", "a"};
    convoy_model *model = test_model(yaml), *again = test_model(yaml);
    cvy_tensor_file *file;
    cvy_model_set_classes(model, &(cvy_classes){3, names});
    assert_ok(convoy_model_save_weights(model, path));
    assert_ok(cvy_tensor_file_load(path, &file));
    assert_string_equal(cvy_tensor_file_metadata(file, "class_names"), "[\"c\",\"b\",\"a\"]");
    assert_non_null(cvy_tensor_file_metadata(file, "image"));
    cvy_tensor_file_free(file);
    assert_ok(convoy_model_load_weights(again, path));
    assert_string_equal(cvy_model_classes(again).names[2], "a");
    unlink(path);
    convoy_model_free(model);
    convoy_model_free(again);
}

/* Saves the state of `model` after `change`, and loads it into the model again. */
static convoy_status load_changed(convoy_model *model, void (*change)(cvy_named_tensor *, size_t *)) {
    cvy_named_tensor *tensors;
    size_t count;
    assert_ok(cvy_model_state(model, &tensors, &count));
    change(tensors, &count);
    assert_ok(cvy_tensor_file_save(path, tensors, count, NULL));
    free(tensors);
    convoy_status status = convoy_model_load_weights(model, path);
    unlink(path);
    return status;
}

static void drop_counter(cvy_named_tensor *tensors, size_t *count) {
    for (size_t i = 0; i < *count; i++)
        if (strcmp(tensors[i].dtype, "I64") == 0)
            tensors[i] = tensors[--*count];
}

static void files_without_counters_load(void **state) {
    (void)state;
    convoy_model *model = test_model(yaml);
    model->batches_tracked[1] = 5;
    assert_ok(load_changed(model, drop_counter));
    assert_true(model->batches_tracked[1] == 0);
    convoy_model_free(model);
}

static float others[64];

static void spoil(cvy_named_tensor *tensors, size_t *count) {
    tensors[0].name = "O.weight"; /* 0.weight is missing, O.weight unknown */
    tensors[1] = (cvy_named_tensor){"0.bias", "F32", {3, 1, 1, 1}, 1, others, 12, NULL};
    tensors[2] = (cvy_named_tensor){"1.weight", "I16", {2, 1, 1, 1}, 1, others, 4, NULL};
    for (size_t i = 0; i < *count; i++)
        if (strcmp(tensors[i].name, "2.weight") == 0)
            tensors[i].data = others; /* all connections */
}

static void everything_wrong_is_listed(void **state) {
    (void)state;
    for (size_t i = 0; i < 64; i++)
        others[i] = 3;
    convoy_model *model = test_model(yaml);
    float *kept = malloc(model->data_count * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, model->data, model->data_count * sizeof *kept);
    assert_fails(load_changed(model, spoil), CONVOY_INVALID, "5 tensors are wrong");
    const char *const lines[] = {"\n  missing 0.weight; is it the file's O.weight?", "\n  unknown O.weight",
                                 "\n  mismatched 0.bias: F32 [3] instead of F32 [2]",
                                 "\n  mismatched 1.weight: I16 [2] instead of F32 [2]",
                                 "\n  not 0 where the connection table has no connection: 2.weight"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_non_null(strstr(convoy_error_message(), lines[i]));
    assert_memory_equal(kept, model->data, model->data_count * sizeof *kept);
    free(kept);
    convoy_model_free(model);
}

/* A checkpoint holds other tensors beside the model's. */
static void states_are_found_by_prefix(void **state) {
    (void)state;
    convoy_model *a = test_model(yaml), *b = test_model(yaml);
    assert_ok(convoy_model_initialise(a, 4));
    cvy_named_tensor *tensors, list[32];
    char names[32][64];
    size_t count;
    cvy_tensor_file *file;
    assert_ok(cvy_model_state(a, &tensors, &count));
    for (size_t i = 0; i < count; i++) {
        list[i] = tensors[i];
        snprintf(names[i], sizeof names[i], "model.%s", tensors[i].name);
        list[i].name = names[i];
    }
    list[count] = (cvy_named_tensor){"optimizer", "F32", {1, 1, 1, 1}, 1, others, 4, NULL};
    assert_ok(cvy_tensor_file_save(path, list, count + 1, NULL));
    assert_ok(cvy_tensor_file_load(path, &file));
    assert_fails(cvy_model_set_state(b, file, path, ""), CONVOY_INVALID, "unknown optimizer");
    assert_ok(cvy_model_set_state(b, file, path, "model."));
    assert_memory_equal(a->data, b->data, a->data_count * sizeof(float));
    cvy_tensor_file_free(file);
    unlink(path);
    free(tensors);
    convoy_model_free(a);
    convoy_model_free(b);
}

/* Older versions put .body. into the name of a named layer. */
static void older_names_load(void **state) {
    (void)state;
    static const char with_names[] = "input: [1, 2, 2]\n"
                                     "layers:\n"
                                     "  - Residual: {name: r, body: [{BatchNorm2d: {name: bn}}]}\n";
    float values[4] = {3, 4, 5, 6};
    int64_t batches = 7;
    convoy_model *model = test_model(with_names);
    const cvy_named_tensor older[] = {{.name = "r.body.bn.weight",
                                       .dtype = "F32",
                                       .shape = {1, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = &values[0],
                                       .bytes = 4},
                                      {.name = "r.body.bn.bias",
                                       .dtype = "F32",
                                       .shape = {1, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = &values[1],
                                       .bytes = 4},
                                      {.name = "r.body.bn.running_mean",
                                       .dtype = "F32",
                                       .shape = {1, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = &values[2],
                                       .bytes = 4},
                                      {.name = "r.body.bn.running_var",
                                       .dtype = "F32",
                                       .shape = {1, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = &values[3],
                                       .bytes = 4},
                                      {.name = "r.body.bn.num_batches_tracked",
                                       .dtype = "I64",
                                       .shape = {1, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = &batches,
                                       .bytes = 8}};
    assert_string_equal(convoy_model_tensor(model, 0)->name, "r.bn.weight");
    assert_ok(cvy_tensor_file_save(path, older, 5, NULL));
    assert_ok(convoy_model_load_weights(model, path));
    assert_memory_equal(model->data, values, sizeof values);
    assert_true(model->batches_tracked[0] == 7);
    unlink(path);
    convoy_model_free(model);
}

/* As a DataParallel model saves halves. */
static void prefixes_and_other_floats_load(void **state) {
    (void)state;
    uint16_t halves[4] = {0x3c00, 0xc500, 0x0001, 0x8000}, bf16[2] = {0x3fc0, 0xc020};
    double wide[2] = {0.1, -4};
    int64_t batches[1] = {9};
    convoy_model *model =
        test_model("input: [2, 2, 2]\nlayers:\n  - Conv2d: {out_channels: 2, kernel_size: 1}\n"
                   "  - BatchNorm2d: {affine: false}\n");
    const cvy_named_tensor given[] = {{.name = "module.0.weight",
                                       .dtype = "F16",
                                       .shape = {2, 2, 1, 1},
                                       .dimensions = 4,
                                       .data = halves,
                                       .bytes = 8},
                                      {.name = "module.0.bias",
                                       .dtype = "F64",
                                       .shape = {2, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = wide,
                                       .bytes = 16},
                                      {.name = "module.1.running_mean",
                                       .dtype = "BF16",
                                       .shape = {2, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = bf16,
                                       .bytes = 4},
                                      {.name = "module.1.running_var",
                                       .dtype = "BF16",
                                       .shape = {2, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = bf16,
                                       .bytes = 4},
                                      {.name = "module.1.num_batches_tracked",
                                       .dtype = "I64",
                                       .shape = {1, 1, 1, 1},
                                       .dimensions = 1,
                                       .data = batches,
                                       .bytes = 8}};
    const float expected[] = {1, -5, 0x1p-24f, -0.0f, 0.1f, -4, 1.5f, -2.5f};
    assert_ok(cvy_tensor_file_save(path, given, 5, NULL));
    assert_ok(convoy_model_load_weights(model, path));
    assert_memory_equal(model->data, expected, sizeof expected);
    assert_true(model->batches_tracked[1] == 9);
    unlink(path);
    convoy_model_free(model);
}

static char said[4096];

static void listen(void *context, convoy_log_level level, const char *message) {
    (void)context, (void)level;
    snprintf(said, sizeof said, "%s", message);
}

static convoy_status take(convoy_model *model, cvy_weights_use use) {
    cvy_tensor_file *file;
    assert_ok(cvy_tensor_file_load(path, &file));
    *said = 0;
    convoy_log_set_sink(listen, NULL);
    convoy_status status = cvy_model_take_weights(model, file, path, use);
    convoy_log_set_sink(NULL, NULL);
    cvy_tensor_file_free(file);
    return status;
}

/* A beginning keeps what fits, says what does not, and touches nothing else. */
static void a_beginning_keeps_what_fits(void **state) {
    (void)state;
    static const char other[] = "input: [1, 4, 4]\n"
                                "layers:\n"
                                "  - Conv2d: {out_channels: 2, kernel_size: 1}\n"
                                "  - Flatten\n"
                                "  - Linear: {name: fc, out_features: %d}\n";
    char two[256], three[256];
    snprintf(two, sizeof two, other, 2);
    snprintf(three, sizeof three, other, 3);
    convoy_model *a = test_model(two), *b = test_model(three), *none = test_model(yaml);
    static const char *const names[] = {"x", "y"};
    assert_ok(convoy_model_initialise(a, 5));
    cvy_model_set_classes(a, &(cvy_classes){2, names});
    assert_ok(convoy_model_initialise(b, 6));
    float head = convoy_model_tensor(b, 2)->values[0];
    assert_ok(convoy_model_save_weights(a, path));
    assert_fails(take(b, CVY_WEIGHTS_BEGIN), CONVOY_INVALID, "2 classes");
    assert_ok(take(b, CVY_WEIGHTS_KEEP));
    assert_memory_equal(convoy_model_tensor(a, 0)->values, convoy_model_tensor(b, 0)->values,
                        2 * sizeof(float));
    assert_true(convoy_model_tensor(b, 2)->values[0] == head);
    assert_int_equal(cvy_model_classes(b).count, 0);
    assert_non_null(strstr(said, "2 of the 4 tensors"));
    assert_non_null(strstr(said, "mismatched fc.weight: F32 [2, 32] instead of F32 [3, 32]"));
    convoy_model_tensor(a, 0)->values[0] = NAN;
    assert_ok(convoy_model_save_weights(a, path));
    assert_fails(take(b, CVY_WEIGHTS_KEEP), CONVOY_INVALID, "not finite");
    const cvy_named_tensor stranger = {
        .name = "s", .dtype = "F32", .shape = {1, 1, 1, 1}, .dimensions = 1, .data = &head, .bytes = 4};
    assert_ok(cvy_tensor_file_save(path, &stranger, 1, NULL));
    assert_fails(take(none, CVY_WEIGHTS_KEEP), CONVOY_INVALID, "does not fit any tensor of the model");
    unlink(path);
    convoy_model_free(a);
    convoy_model_free(b);
    convoy_model_free(none);
}

/* Files without the heads of training are enough to answer with, and only for that. */
static void heads_may_be_missing_to_answer(void **state) {
    (void)state;
    static const char body[] =
        "input: [1, 4, 4]\nlayers:\n  - Conv2d: {out_channels: 2, kernel_size: 1}\n%s  - "
        "Flatten\n  - Linear: {name: fc, out_features: 3}\n";
    char with[512], without[512];
    snprintf(
        with, sizeof with, body,
        "  - Auxiliary: {name: aux, weight: 1, layers: [Flatten, {Linear: {name: fc, out_features: 3}}]}\n");
    snprintf(without, sizeof without, body, "");
    convoy_model *a = test_model(without), *b = test_model(with);
    assert_ok(convoy_model_initialise(a, 5));
    assert_ok(convoy_model_initialise(b, 6));
    const float head = convoy_model_tensor(b, 2)->values[0];
    assert_string_equal(convoy_model_tensor(b, 2)->name, "aux.fc.weight");
    assert_ok(convoy_model_save_weights(a, path));
    assert_fails(take(b, CVY_WEIGHTS_BEGIN), CONVOY_INVALID, "missing aux.fc.weight");
    assert_ok(take(b, CVY_WEIGHTS_ALL));
    assert_memory_equal(convoy_model_tensor(b, 4)->values, convoy_model_tensor(a, 2)->values,
                        96 * sizeof(float));
    assert_true(head != 0 && convoy_model_tensor(b, 2)->values[0] == head);
    unlink(path);
    convoy_model_free(a);
    convoy_model_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_come_back),
        cmocka_unit_test(classes_and_image_travel_along),
        cmocka_unit_test(files_without_counters_load),
        cmocka_unit_test(everything_wrong_is_listed),
        cmocka_unit_test(states_are_found_by_prefix),
        cmocka_unit_test(older_names_load),
        cmocka_unit_test(a_beginning_keeps_what_fits),
        cmocka_unit_test(prefixes_and_other_floats_load),
        cmocka_unit_test(heads_may_be_missing_to_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
