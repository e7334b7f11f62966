/* The helpers of parity.h. */
#include "support/parity.h"

enum { SEED = CVY_RECORD_SEED, SKETCH = 105, BUCKETS = 128 };

/* ---- The formulas ---- */

static double word_sign(uint32_t word) {
    return (word >> 7) & 1 ? -1 : 1;
}

void parity_set_batch(const parity_run *run, uint32_t index) {
    assert_ok(cvy_record_set_batch(&(cvy_record_batch){.pixels = run->pixels,
                                                       .pitch = (size_t)cvy_network_pitch(run->network),
                                                       .n = run->n,
                                                       .classes = run->classes,
                                                       .images = cvy_network_input(run->network),
                                                       .labels = run->training.labels},
                                   index));
}

/* ---- Distances ---- */

size_t parity_count(const convoy_tensor *tensor) {
    size_t count = 1;
    for (int i = 0; i < tensor->dimensions; i++)
        count *= tensor->shape[i];
    return count;
}

double parity_distance(json_t *row, const float *found, size_t count) {
    double sum = 0, sketch[BUCKETS] = {0};
    json_t *values = json_object_get(row, "values");
    if (values) {
        assert_int_equal(json_array_size(values), count);
        for (size_t i = 0; i < count; i++)
            sum += pow((double)found[i] - json_number_value(json_array_get(values, i)), 2);
    } else {
        values = json_object_get(row, "sketch");
        assert_int_equal(json_array_size(values), BUCKETS);
        cvy_rng rng =
            cvy_rng_stream(SEED, SKETCH, (uint32_t)json_integer_value(json_object_get(row, "stream")));
        for (size_t i = 0; i < count; i++) {
            uint32_t word = cvy_rng_u32(&rng);
            sketch[word % BUCKETS] += word_sign(word) * (double)found[i];
        }
        for (size_t i = 0; i < BUCKETS; i++)
            sum += pow(sketch[i] - json_number_value(json_array_get(values, i)), 2);
    }
    return sqrt(sum) / json_number_value(json_object_get(row, "norm"));
}

/* ---- The run ---- */

const parity_recipe parity_recipes[] = {
    {"lenet", "models/lenet.yaml"},
    {"mnist_cnn", "models/mnist_cnn.yaml"},
    {"digits_cnn", "models/digits_cnn.yaml"},
    {"monkeypox_bn", "tests/models/monkeypox_bn_48.yaml"},
    {"monkeypox_bn_deep", "tests/models/monkeypox_bn_deep_48.yaml"},
    {"lenet5", "models/lenet5.yaml"},
    {"alexnet", "tests/models/alexnet_67.yaml"},
    {"alexnet_imagenet", "tests/models/alexnet_imagenet_67.yaml"},
    {"blocks", "tests/models/blocks.yaml"},
    {"heads", "tests/models/heads.yaml"},
};
const size_t parity_recipe_count = sizeof parity_recipes / sizeof *parity_recipes;

static const char *model_of(const char *network) {
    for (size_t i = 0; i < parity_recipe_count; i++)
        if (strcmp(parity_recipes[i].network, network) == 0)
            return parity_recipes[i].model;
    fail_msg("there is no recipe %s", network);
    return NULL;
}

void parity_load(const char *network, parity_run *run) {
    char path[1024];
    json_error_t error;
    int shape[3];
    *run = (parity_run){0};
    snprintf(path, sizeof path, "%s/tests/train/parity/%s.json", CONVOY_SOURCE_DIR, network);
    run->record = json_load_file(path, 0, &error);
    if (!run->record)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    snprintf(path, sizeof path, "%s/%s", CONVOY_SOURCE_DIR, model_of(network));
    assert_ok(convoy_model_load(path, NULL, &run->model));
    assert_ok(cvy_record_set_tensors(run->record, run->model));
    run->classes = (int)json_integer_value(json_object_get(run->record, "classes"));
    convoy_model_input(run->model, shape);
    run->pixels = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2];
}

void parity_start(parity_run *run, convoy_device *device, bool training, const char *variant, int n) {
    run->n = n ? n : (int)json_integer_value(json_object_get(run->record, "batch_size"));
    cvy_network_options options = {.batch_size = run->n, .training = training, .variant = variant};
    assert_ok(cvy_network_create(run->model, device, &options, &run->network));
    if (training)
        assert_ok(cvy_training_create(run->network, device, run->n, &run->training));
}

void parity_stop(parity_run *run) {
    cvy_training_free(&run->training);
    convoy_network_close(run->network);
    run->network = NULL;
}

void parity_close(parity_run *run) {
    convoy_model_free(run->model);
    json_decref(run->record);
}

double parity_step(parity_run *run, uint32_t step) {
    parity_set_batch(run, step);
    assert_ok(cvy_training_step(&run->training, NULL, run->n, step));
    assert_ok(cvy_statistics_read(&run->training.statistics));
    return run->training.statistics.batch_loss;
}
