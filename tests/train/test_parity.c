/* Fifty training steps of every recipe against PyTorch. tests/train/parity/ holds what tools/record_parity.py
   recorded: the losses of a float64 run, and for each tensor how it ended and how far PyTorch's own float32
   run strayed from that. Convoy may stray at most four times as far, with a floor of 1e-6. That script
   describes the formulas by which both sides make the same weights, images and labels. */
#include <jansson.h>

#include "convoy/model.h"
#include "support/test.h"
#include "train/step.h"

enum { SEED = 7, WEIGHT = 101, IMAGE = 102, TEMPLATE = 103, LABEL = 104, SKETCH = 105, BUCKETS = 128 };

typedef struct parity_case {
    const char *network, *model; /* model: path in the source tree */
    const char
        *variant;       /* Winograd trades accuracy for speed, so convolutions are always forced to another */
    const char *device; /* NULL: the device under test */
    bool quick;         /* part of the short run, too */
} parity_case;

typedef struct parity_run {
    json_t *record;
    convoy_model *model;
    convoy_device *device, *own_device;
    convoy_network *network;
    cvy_training training;
    int n, classes;
    size_t pixels;
} parity_run;

/* ---- The formulas ---- */

static double word_sign(uint32_t word) {
    return (word >> 7) & 1 ? -1 : 1;
}

static void set_tensor(json_t *row, const convoy_tensor *tensor) {
    size_t count = 1;
    assert_int_equal(json_array_size(json_object_get(row, "shape")), tensor->dimensions);
    for (int i = 0; i < tensor->dimensions; i++) {
        assert_int_equal(json_integer_value(json_array_get(json_object_get(row, "shape"), (size_t)i)),
                         tensor->shape[i]);
        count *= tensor->shape[i];
    }
    cvy_rng rng = cvy_rng_stream(SEED, WEIGHT, (uint32_t)json_integer_value(json_object_get(row, "stream")));
    float centre = (float)json_number_value(json_object_get(row, "centre"));
    float bound = (float)json_number_value(json_object_get(row, "bound"));
    bool signs = json_is_true(json_object_get(row, "signs"));
    for (size_t i = 0; i < count; i++) {
        float offset = (2 * cvy_rng_uniform(&rng) - 1) * bound;
        if (signs)
            offset = offset < 0 ? -1 : 1;
        /* Initialisation leaves a weight at 0 only where a connection table has no connection. */
        if (tensor->dimensions != 4 || tensor->values[i] != 0)
            tensor->values[i] = centre + offset;
    }
}

/* Writes one batch as the loader would: images [C][H][W][pitch], labels [pitch]. */
static void set_batch(const parity_run *run, uint32_t index) {
    size_t pitch = (size_t)cvy_network_pitch(run->network);
    float *images = calloc(run->pixels * pitch, sizeof(float));
    int32_t *labels = calloc(pitch, sizeof(int32_t));
    assert_non_null(images);
    assert_non_null(labels);
    cvy_rng label_rng = cvy_rng_stream(SEED, LABEL, index), image_rng = cvy_rng_stream(SEED, IMAGE, index);
    for (size_t i = 0; i < (size_t)run->n; i++) {
        labels[i] = (int32_t)(cvy_rng_u32(&label_rng) % (uint32_t)run->classes);
        cvy_rng template_rng = cvy_rng_stream(SEED, TEMPLATE, (uint32_t)labels[i]);
        for (size_t p = 0; p < run->pixels; p++) {
            float sum = cvy_rng_uniform(&image_rng) + cvy_rng_uniform(&template_rng);
            images[p * pitch + i] = sum * 0.5f;
        }
    }
    assert_ok(
        cvy_buffer_write(cvy_network_input(run->network), 0, images, run->pixels * pitch * sizeof(float)));
    assert_ok(cvy_buffer_write(run->training.labels, 0, labels, pitch * sizeof(int32_t)));
    free(images);
    free(labels);
}

/* ---- The distance of a tensor from the float64 run, relative to that run's norm ---- */

static double distance(json_t *row, const convoy_tensor *tensor) {
    size_t count = 1;
    for (int i = 0; i < tensor->dimensions; i++)
        count *= tensor->shape[i];
    double sum = 0, sketch[BUCKETS] = {0};
    json_t *values = json_object_get(row, "values");
    if (values) {
        assert_int_equal(json_array_size(values), count);
        for (size_t i = 0; i < count; i++)
            sum += pow((double)tensor->values[i] - json_number_value(json_array_get(values, i)), 2);
    } else {
        values = json_object_get(row, "sketch");
        assert_int_equal(json_array_size(values), BUCKETS);
        cvy_rng rng =
            cvy_rng_stream(SEED, SKETCH, (uint32_t)json_integer_value(json_object_get(row, "stream")));
        for (size_t i = 0; i < count; i++) {
            uint32_t word = cvy_rng_u32(&rng);
            sketch[word % BUCKETS] += word_sign(word) * (double)tensor->values[i];
        }
        for (size_t i = 0; i < BUCKETS; i++)
            sum += pow(sketch[i] - json_number_value(json_array_get(values, i)), 2);
    }
    return sqrt(sum) / json_number_value(json_object_get(row, "norm"));
}

/* ---- The run ---- */

static json_t *find_row(const parity_run *run, const char *name) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(run->record, "tensors"), i, row) {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return row;
    }
    return NULL;
}

static void open_run(const parity_case *given, parity_run *run) {
    char path[1024];
    json_error_t error;
    snprintf(path, sizeof path, "%s/tests/train/parity/%s.json", CONVOY_SOURCE_DIR, given->network);
    run->record = json_load_file(path, 0, &error);
    if (!run->record)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    snprintf(path, sizeof path, "%s/%s", CONVOY_SOURCE_DIR, given->model);
    assert_ok(convoy_model_load(path, NULL, &run->model));
    size_t set = 0;
    for (size_t i = 0; i < convoy_model_tensor_count(run->model); i++) {
        convoy_tensor tensor = convoy_model_tensor(run->model, i);
        json_t *row = find_row(run, tensor.name);
        if (row) {
            set_tensor(row, &tensor);
            set++;
        } else if (tensor.trainable) {
            fail_msg("%s: the record lacks %s", given->network, tensor.name);
        }
    }
    assert_int_equal(set, json_array_size(json_object_get(run->record, "tensors")));

    if (given->device)
        assert_ok(convoy_device_open(given->device, &run->own_device));
    run->device = given->device ? run->own_device : test_device();
    run->n = (int)json_integer_value(json_object_get(run->record, "batch_size"));
    run->classes = (int)json_integer_value(json_object_get(run->record, "classes"));
    int shape[3];
    convoy_model_input(run->model, shape);
    run->pixels = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2];
    cvy_network_options options = {.batch_size = run->n, .training = true, .variant = given->variant};
    assert_ok(cvy_network_create(run->model, run->device, &options, &run->network));

    assert_ok(cvy_training_create(run->network, run->device, run->n, &run->training));
}

static void close_run(parity_run *run) {
    cvy_training_free(&run->training);
    convoy_network_close(run->network);
    convoy_model_free(run->model);
    convoy_device_close(run->own_device);
    json_decref(run->record);
}

static double train_step(parity_run *run, uint32_t step) {
    set_batch(run, step);
    assert_ok(cvy_training_step(&run->training, NULL, run->n, step));
    assert_ok(cvy_statistics_read(&run->training.statistics));
    return run->training.statistics.batch_loss;
}

static double allowed(double yardstick) {
    return fmax(4 * yardstick, 1e-6);
}

static void compare_tensors(const parity_run *run, const char *title) {
    double worst = 0;
    bool failed = false;
    const char *where = "";
    assert_ok(cvy_network_download(run->network));
    for (size_t i = 0; i < convoy_model_tensor_count(run->model); i++) {
        convoy_tensor tensor = convoy_model_tensor(run->model, i);
        json_t *row = find_row(run, tensor.name);
        /* A bias in front of a batch-norm is left out: its gradient is nothing but rounding. */
        if (!row || !json_is_true(json_object_get(row, "compare")))
            continue;
        double limit = allowed(json_number_value(json_object_get(row, "yardstick")));
        double strays = distance(row, &tensor);
        if (strays / limit > worst) {
            worst = strays / limit;
            where = tensor.name;
        }
        if (!(strays <= limit)) { /* NaN, too */
            print_error("%s: %s strays from PyTorch's float64 run by %.2e; allowed is %.2e\n", title,
                        tensor.name, strays, limit);
            failed = true;
        }
    }
    print_message("%s: the farthest tensor, %s, is at %.2f of what is allowed\n", title, where, worst);
    assert_false(failed);
}

static void test_parity(void **state) {
    const parity_case *given = *state;
    char title[128];
    if (!given->device && given->variant && strstr(given->variant, "_cpu") &&
        !cvy_device_get_traits(test_device())->cpu)
        skip();
    snprintf(title, sizeof title, "%s %s %s", given->network, given->device ? given->device : "",
             given->variant ? given->variant : "");
    parity_run run = {0};
    open_run(given, &run);
    json_t *losses = json_object_get(run.record, "losses");
    double limit = allowed(json_number_value(json_object_get(run.record, "loss_yardstick")));
    for (size_t step = 0; step < json_array_size(losses); step++) {
        double expected = json_number_value(json_array_get(losses, step));
        double loss = train_step(&run, (uint32_t)step);
        if (!(fabs(loss - expected) <= limit * expected))
            fail_msg("%s: the loss of step %zu is %.9g, PyTorch's %.9g", title, step, loss, expected);
    }
    compare_tensors(&run, title);
    close_run(&run);
}

static const parity_case cases[] = {
    {"lenet", "models/lenet.yaml", "conv2d=direct_cpu", NULL, true},
    {"lenet", "models/lenet.yaml", "conv2d=im2col_gemm", NULL, false},
    {"lenet", "models/lenet.yaml", NULL, "host", false},
    {"mnist_cnn", "models/mnist_cnn.yaml", "conv2d=direct_cpu", NULL, false},
    {"mnist_cnn", "models/mnist_cnn.yaml", "conv2d=im2col_gemm", NULL, true},
    {"mnist_cnn", "models/mnist_cnn.yaml", NULL, "host", false},
    {"digits_cnn", "models/digits_cnn.yaml", "conv2d=direct_cpu", NULL, false},
    {"digits_cnn", "models/digits_cnn.yaml", "conv2d=im2col_gemm", NULL, false},
    {"monkeypox_bn", "tests/models/monkeypox_bn_48.yaml", "conv2d=direct_cpu", NULL, true},
    {"monkeypox_bn", "tests/models/monkeypox_bn_48.yaml", "conv2d=im2col_gemm", NULL, false},
    {"monkeypox_bn", "tests/models/monkeypox_bn_48.yaml", "conv2d=tile_gpu", NULL, false},
    {"monkeypox_bn_deep", "tests/models/monkeypox_bn_deep_48.yaml", "conv2d=direct_cpu", NULL, false},
    {"monkeypox_bn_deep", "tests/models/monkeypox_bn_deep_48.yaml", "conv2d=im2col_gemm", NULL, false},
    {"lenet5", "models/lenet5.yaml", "conv2d=direct_cpu", NULL, false},
    {"lenet5", "models/lenet5.yaml", "conv2d=im2col_gemm", NULL, true},
    {"lenet5", "models/lenet5.yaml", NULL, "host", false},
    {"alexnet", "tests/models/alexnet_67.yaml", "conv2d=direct_cpu", NULL, false},
    {"alexnet_imagenet", "tests/models/alexnet_imagenet_67.yaml", "conv2d=im2col_gemm", NULL, false},
};

int main(void) {
    enum { COUNT = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[COUNT];
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++)
        if (cases[i].quick || !getenv("CONVOY_TEST_QUICK"))
            tests[count++] =
                (struct CMUnitTest){cases[i].network, test_parity, NULL, NULL, (void *)&cases[i]};
    int failed = _cmocka_run_group_tests("parity", tests, count, NULL, NULL);
    test_device_close();
    return failed;
}
