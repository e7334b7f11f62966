/* Networks end to end: a device against the host, gradients against finite differences, and what a network
 * refuses. */
#include "network/inside.h"
#include "ops/conv2d/conv2d.h"
#include "ops/loss.h"
#include "support/images.h"
#include "support/models.h"

static convoy_device *host;

/* What one training step computes: outputs and the gradients of all trainable tensors, one after the other.
 */
typedef struct result {
    float *output, *gradients;
    size_t output_count, gradient_count;
} result;

static void free_result(result *r) {
    free(r->output);
    free(r->gradients);
}

static convoy_network *open_training(convoy_model *model, convoy_device *device, int batch) {
    convoy_network *network = NULL;
    assert_ok(cvy_network_create(
        model, device, &(cvy_network_options){.batch_size = batch, .training = true, .seed = 7}, &network));
    return network;
}

/* Uniform columns 0..n-1; the padding columns are 0, as the loader and the loss leave them. */
static float *columns(size_t rows, int pitch, int n, uint32_t seed) {
    float *values = test_random(rows * (size_t)pitch, seed);
    for (size_t r = 0; r < rows; r++)
        for (int i = n; i < pitch; i++)
            values[r * (size_t)pitch + (size_t)i] = 0;
    return values;
}

static void write_columns(cvy_buffer *buffer, size_t rows, int pitch, int n, uint32_t seed) {
    float *values = columns(rows, pitch, n, seed);
    assert_ok(cvy_buffer_write(buffer, 0, values, rows * (size_t)pitch * sizeof *values));
    free(values);
}

static float *read_gradients(convoy_network *network, size_t *count) {
    const convoy_model *model = network->model;
    float *all = test_read(network->gradients, network->layout.learnt),
          *packed = malloc(model->data_count * sizeof *packed);
    assert_non_null(packed);
    *count = 0;
    for (size_t t = 0; t < model->tensor_count; t++) {
        if (model->tensors[t].about->role != CVY_TRAINABLE)
            continue;
        memcpy(packed + *count, all + network->tensors[t].offset, model->tensors[t].count * sizeof *packed);
        *count += model->tensors[t].count;
    }
    free(all);
    return packed;
}

/* A training forward of random images and a backward of a random gradient. */
static result run(convoy_model *model, convoy_device *device, int batch, int n) {
    convoy_network *network = open_training(model, device, batch);
    size_t out = (size_t)convoy_model_classes(model);
    result r = {.output_count = out * (size_t)network->pitch};
    write_columns(network->input, cvy_dims_count(model->input), network->pitch, n, 11);
    assert_ok(cvy_network_forward(network, n, true, 3));
    r.output = test_read(network->output, r.output_count);
    write_columns(network->output_gradient, out, network->pitch, n, 12);
    assert_ok(cvy_network_backward(network, n, false));
    r.gradients = read_gradients(network, &r.gradient_count);
    assert_ok(cvy_network_download(network));
    convoy_network_close(network);
    return r;
}

/* One of everything: convolutions with groups, strides and a connection table, all poolings, both norms'
   branches, residual sums with and without a layer in the shortcut, concat with an identity branch, dropout.
 */
static const char everything[] =
    "input: [2, 12, 12]\n"
    "layers:\n"
    "  - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1, connections: [[0], [1], [0, 1], [1]]}\n"
    "  - BatchNorm2d\n"
    "  - ReLU\n"
    "  - Residual:\n"
    "      body:\n"
    "        - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1, groups: 2, bias: false}\n"
    "        - BatchNorm2d: {affine: false}\n"
    "      shortcut: []\n"
    "  - Tanh\n"
    "  - Concat:\n"
    "      - []\n"
    "      - - Conv2d: {out_channels: 3, kernel_size: 1}\n"
    "        - Sigmoid\n"
    "      - - MaxPool2d: {kernel_size: 3, stride: 1, padding: 1}\n"
    "  - Residual:\n"
    "      body:\n"
    "        - Conv2d: {out_channels: 5, kernel_size: 3, stride: 2, padding: 1}\n"
    "        - ScaledTanh\n"
    "      shortcut:\n"
    "        - AvgPool2d: {kernel_size: 2}\n"
    "        - Conv2d: {out_channels: 5, kernel_size: 1}\n"
    "  - Product: [[], [{AdaptiveAvgPool2d: {output_size: 1}}, {Conv2d: {out_channels: 5, kernel_size: 1}}, "
    "Sigmoid]]\n"
    "  - Dropout: {p: 0.3}\n"
    "  - Subsample2d\n"
    "  - Upsample: {size: [5, 4]}\n"
    "  - AdaptiveAvgPool2d: {output_size: [2, 2]}\n"
    "  - Flatten\n"
    "  - Linear: {out_features: 84}\n"
    "  - ScaledTanh\n"
    "  - EuclideanRBF\n"
    "  - Softmax\n";

static void device_agrees_with_host(void **state) {
    (void)state;
    const int sizes[][2] = {{5, 5}, {33, 20}};
    for (size_t i = 0; i < 2; i++) {
        convoy_model *a = test_model(everything), *b = test_model(everything);
        result device = run(a, test_device(), sizes[i][0], sizes[i][1]),
               plain = run(b, host, sizes[i][0], sizes[i][1]);
        int pitch = (sizes[i][0] + 15) / 16 * 16;
        test_close_columns("output", device.output, plain.output, 10, pitch, sizes[i][1], false, 1e-5);
        /* the squared distances before the softmax are around 100: their rounding is what is allowed for */
        test_close("gradients", device.gradients, plain.gradients, plain.gradient_count, 5e-4);
        test_close("values, running statistics among them", a->data, b->data, a->data_count, 1e-5);
        free_result(&device);
        free_result(&plain);
        convoy_model_free(a);
        convoy_model_free(b);
    }
}

/* The weighted sum of the outputs that run()'s gradient is the derivative of. */
static double objective(convoy_network *network, int n) {
    size_t out = (size_t)convoy_model_classes(network->model), pitch = (size_t)network->pitch;
    float *gy = columns(out, network->pitch, n, 12);
    assert_ok(cvy_network_upload(network));
    assert_ok(cvy_network_forward(network, n, true, 3));
    float *y = test_read(network->output, out * pitch);
    double sum = 0;
    for (size_t r = 0; r < out; r++)
        for (int i = 0; i < n; i++)
            sum += (double)y[r * pitch + (size_t)i] * (double)gy[r * pitch + (size_t)i];
    free(gy);
    free(y);
    return sum;
}

/* Central differences over some values of each tensor of a model without kinks. */
static void check_differences(const char *yaml, int n, double tolerance) {
    convoy_model *model = test_model(yaml);
    result r = run(model, host, n, n);
    convoy_network *network = open_training(model, host, n);
    write_columns(network->input, cvy_dims_count(model->input), network->pitch, n, 11);
    const double h = 1.0 / 128;
    const float *gradient = r.gradients;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const cvy_model_tensor *tensor = &model->tensors[t];
        if (tensor->about->role != CVY_TRAINABLE)
            continue;
        for (size_t i = 0; i < tensor->count; i += 1 + tensor->count / 5) {
            float *value = model->data + tensor->offset + i, kept = *value;
            *value = (float)(kept + h);
            double above = objective(network, n);
            *value = (float)(kept - h);
            double below = objective(network, n), difference = (above - below) / (2 * h);
            *value = kept;
            if (tensor->about->mask && tensor->about->mask[i] == 0)
                difference = 0;
            if (!(fabs(difference - (double)gradient[i]) <= tolerance * (1 + fabs(difference))))
                fail_msg("%s[%zu]: gradient %g, difference quotient %g", tensor->name, i, (double)gradient[i],
                         difference);
        }
        gradient += tensor->count;
    }
    convoy_network_close(network);
    free_result(&r);
    convoy_model_free(model);
}

static void gradients_of_a_residual_network(void **state) {
    (void)state;
    check_differences(
        "input: [2, 6, 6]\n"
        "layers:\n"
        "  - Conv2d: {out_channels: 3, kernel_size: 3, padding: 1}\n"
        "  - Residual: {body: [Tanh, {Conv2d: {out_channels: 3, kernel_size: 3, padding: 1}}, Sigmoid]}\n"
        "  - Residual: {body: [{Conv2d: {out_channels: 3, kernel_size: 1}}, BatchNorm2d],\n"
        "               shortcut: [{Conv2d: {out_channels: 3, kernel_size: 1}}, BatchNorm2d]}\n"
        "  - AvgPool2d: {kernel_size: 2}\n"
        "  - Flatten\n"
        "  - Linear: {out_features: 4}\n",
        5, 5e-3);
}

/* A gate for each map, one for each value, and a square, whose factors are one value. */
static void gradients_of_a_gated_network(void **state) {
    (void)state;
    check_differences("input: [2, 6, 6]\n"
                      "layers:\n"
                      "  - Conv2d: {out_channels: 3, kernel_size: 3, padding: 1}\n"
                      "  - Product: [[Tanh], [{AdaptiveAvgPool2d: {output_size: 1}}, {Conv2d: {out_channels: "
                      "3, kernel_size: 1}}, Sigmoid]]\n"
                      "  - Product: [[], [{Conv2d: {out_channels: 3, kernel_size: 1}}]]\n"
                      "  - Product: [[], []]\n"
                      "  - Flatten\n"
                      "  - Linear: {out_features: 4}\n",
                      5, 5e-3);
}

/* Everything hangs on the input of the concat: its gradient is a sum of four, in nested branches. */
static void gradients_of_a_dense_network(void **state) {
    (void)state;
    check_differences("input: [1, 5, 5]\n"
                      "layers:\n"
                      "  - Conv2d: {out_channels: 2, kernel_size: 2, connections: [[0], [0]]}\n"
                      "  - Concat: [[], [], [Sigmoid, {Conv2d: {out_channels: 1, kernel_size: 1}}],\n"
                      "             [{Residual: {body: [Tanh], shortcut: []}}, Identity]]\n"
                      "  - Concat: [[], [{Conv2d: {out_channels: 2, kernel_size: 3, padding: 1}}, Tanh]]\n"
                      "  - AvgPool2d: {kernel_size: 2}\n"
                      "  - Flatten\n"
                      "  - Linear: {out_features: 3}\n",
                      3, 5e-3);
}

static void gradients_of_lenet5s_layers(void **state) {
    (void)state;
    check_differences("input: [2, 8, 8]\n"
                      "layers:\n"
                      "  - Conv2d: {out_channels: 3, kernel_size: 3, connections: [[0], [1], [0, 1]]}\n"
                      "  - Subsample2d\n"
                      "  - ScaledTanh\n"
                      "  - Flatten\n"
                      "  - Linear: {out_features: 84}\n"
                      "  - ScaledTanh\n"
                      "  - EuclideanRBF\n"
                      "recipe: {init: lecun}\n",
                      3, 5e-3);
}

/* A ReLU in front of a MaxPool2d runs behind it; a Concat of one branch in between keeps the order of the
 * file. */
static void pooling_before_relu_changes_no_bit(void **state) {
    (void)state;
    const char *const between[] = {"", "  - Concat: [[Identity]]\n", "  - Concat: [[]]\n"};
    result results[3];
    for (size_t i = 0; i < 3; i++) {
        char yaml[512];
        snprintf(yaml, sizeof yaml,
                 "input: [2, 9, 9]\nlayers:\n  - Conv2d: {name: c, out_channels: 4, kernel_size: 3}\n  - "
                 "ReLU: {name: r}\n%s"
                 "  - MaxPool2d: {name: p, kernel_size: 3, stride: 2, padding: 1}\n"
                 "  - Conv2d: {name: d, out_channels: 2, kernel_size: 2}\n  - ReLU\n",
                 between[i]);
        convoy_model *model = test_model(yaml);
        assert_string_equal(model->steps[1].name, i == 0 ? "p" : "r");
        assert_string_equal(convoy_model_layer(model, 1)->name, "r");
        assert_int_equal(convoy_model_layer(model, 1)->output[1], 7);
        results[i] = run(model, host, 5, 5);
        convoy_model_free(model);
    }
    for (size_t i = 1; i < 3; i++) {
        assert_memory_equal(results[0].output, results[i].output, results[0].output_count * sizeof(float));
        assert_memory_equal(results[0].gradients, results[i].gradients,
                            results[0].gradient_count * sizeof(float));
    }
    for (size_t i = 0; i < 3; i++)
        free_result(&results[i]);
}

/* Layers that take the activation behind them in all their surroundings; the Identities keep the two apart.
 */
static const char fusible[] =
    "input: [2, 12, 12]\n"
    "layers:\n"
    "  - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1}\n"
    "  - Identity\n"
    "  - ReLU\n"
    "  - Conv2d: {out_channels: 6, kernel_size: 3, bias: false, groups: 2}\n"
    "  - Identity\n"
    "  - BatchNorm2d\n"
    "  - Identity\n"
    "  - ReLU\n"
    "  - Residual:\n"
    "      body:\n"
    "        - BatchNorm2d\n"
    "        - Identity\n"
    "        - ReLU\n"
    "        - Conv2d: {out_channels: 6, kernel_size: 1}\n"
    "        - Identity\n"
    "        - BatchNorm2d: {affine: false}\n"
    "      shortcut:\n"
    "        - Conv2d: {out_channels: 6, kernel_size: 1}\n"
    "        - Identity\n"
    "        - Tanh\n"
    "  - MaxPool2d: {kernel_size: 3, stride: 2}\n"
    "  - Identity\n"
    "  - ReLU\n"
    "  - Concat:\n"
    "      - []\n"
    "      - - Conv2d: {out_channels: 2, kernel_size: 3, padding: 1}\n"
    "        - Identity\n"
    "        - ReLU\n"
    "        - Identity\n"
    "        - MaxPool2d: {kernel_size: 2, stride: 1, padding: 1}\n"
    "        - Conv2d: {out_channels: 2, kernel_size: 2, bias: false}\n"
    "        - Identity\n"
    "        - BatchNorm2d: {track_running_stats: false}\n"
    "      - - Conv2d: {out_channels: 3, kernel_size: 1, connections: [[0], [1, 2], [5]]}\n"
    "        - Identity\n"
    "        - BatchNorm2d\n"
    "        - Identity\n"
    "        - SiLU\n"
    "  - Flatten\n"
    "  - Linear: {out_features: 9}\n"
    "  - Identity\n"
    "  - Sigmoid\n"
    "  - Linear: {out_features: 5}\n";

static convoy_model *fusible_model(bool fused) {
    cvy_text yaml = {0};
    for (const char *line = fusible; *line;) {
        int length = (int)(strchr(line, '\n') + 1 - line);
        const char *identity = strstr(line, "Identity");
        if (!fused || !identity || identity >= line + length)
            cvy_text_add(&yaml, "%.*s", length, line);
        line += length;
    }
    convoy_model *model = test_model(yaml.data);
    cvy_text_free(&yaml);
    return model;
}

static size_t count_fused(const convoy_model *model) {
    size_t count = 0;
    for (size_t s = 0; s < model->step_count; s++)
        count += model->steps[s].fused + model->steps[s].folded;
    return count;
}

/* Outputs, gradients, running statistics, and what the trained networks say in evaluation. */
static void fusion_changes_nothing_but_rounding(void **state) {
    (void)state;
    enum { N = 5, FEATURES = 2 * 12 * 12 };
    convoy_device *devices[] = {host, test_device()};
    float *images = test_random(N * FEATURES, 9), answers[2][2][N * 5];
    for (size_t d = 0; d < 2; d++) {
        result results[2];
        for (int fused = 0; fused < 2; fused++) {
            convoy_model *model = fusible_model(fused);
            assert_int_equal(count_fused(model), fused ? 11 : 0);
            results[fused] = run(model, devices[d], N, N); /* leaves its running statistics in the model */
            for (int training = 0; training < 2; training++) {
                cvy_network_options options = {.batch_size = N, .training = training};
                convoy_network *network = NULL;
                assert_ok(cvy_network_create(model, devices[d], &options, &network));
                assert_ok(convoy_network_predict(network, images, N, answers[fused][training]));
                convoy_network_close(network);
            }
            convoy_model_free(model);
        }
        test_close("output", results[1].output, results[0].output, results[0].output_count, 1e-5);
        test_close("gradients", results[1].gradients, results[0].gradients, results[0].gradient_count, 1e-4);
        for (int training = 0; training < 2; training++)
            test_close("evaluation", answers[1][training], answers[0][training], N * 5, 1e-5);
        free_result(&results[0]);
        free_result(&results[1]);
    }
    free(images);
}

/* Two backward passes that accumulate give twice the gradient. */
static void gradients_accumulate(void **state) {
    (void)state;
    convoy_model *model = test_model(everything);
    convoy_network *network = open_training(model, test_device(), 5);
    size_t count;
    float *once = NULL, *twice;
    for (int pass = 0; pass < 2; pass++) {
        write_columns(network->input, cvy_dims_count(model->input), network->pitch, 5, 11);
        assert_ok(cvy_network_forward(network, 5, true, 3));
        write_columns(network->output_gradient, 10, network->pitch, 5, 12);
        assert_ok(cvy_network_backward(network, 5, pass == 1));
        if (pass == 0)
            once = read_gradients(network, &count);
    }
    twice = read_gradients(network, &count);
    for (size_t i = 0; i < count; i++)
        once[i] *= 2;
    test_close("accumulated", twice, once, count, 1e-6);
    free(once);
    free(twice);
    convoy_network_close(network);
    convoy_model_free(model);
}

/* What a listener to the backward pass finds as soon as it is said to be ready. */
typedef struct heard {
    convoy_network *network;
    float *values; /* of the gradients */
    size_t calls;
} heard;

static convoy_status hear_backward(void *context, size_t done) {
    heard *h = context;
    const convoy_model *model = h->network->model;
    assert_int_equal(done, ++h->calls);
    float *now = test_read(h->network->gradients, h->network->layout.learnt);
    for (size_t t = 0; t < model->tensor_count; t++) {
        const cvy_range range = {h->network->tensors[t].offset, model->tensors[t].count};
        if (model->tensors[t].about->role == CVY_TRAINABLE &&
            cvy_network_gradients_ready(h->network, range) == done)
            memcpy(h->values + range.offset, now + range.offset, range.count * sizeof *now);
    }
    free(now);
    return CONVOY_OK;
}

static void gradients_are_ready_when_it_is_said(void **state) {
    (void)state;
    convoy_model *model = test_model(everything);
    convoy_network *network = open_training(model, test_device(), 5);
    const cvy_range all = {0, network->layout.learnt},
                    last = {network->tensors[model->tensor_count - 1].offset, 1};
    heard h = {network, calloc(all.count, sizeof(float)), 0};
    write_columns(network->input, cvy_dims_count(model->input), network->pitch, 5, 11);
    assert_ok(cvy_network_forward(network, 5, true, 3));
    write_columns(network->output_gradient, 10, network->pitch, 5, 12);
    cvy_network_listen(network, hear_backward, &h);
    assert_ok(cvy_network_backward(network, 5, false));
    assert_int_equal(h.calls, network->plan->backward.count);
    assert_int_equal(cvy_network_gradients_ready(network, all), h.calls); /* the first layer's */
    assert_true(cvy_network_gradients_ready(network, last) < h.calls / 2);
    cvy_network_listen(network, NULL, NULL);
    float *now = test_read(network->gradients, all.count);
    test_close("gradients", h.values, now, all.count, 0);
    free(now);
    free(h.values);
    convoy_network_close(network);
    convoy_model_free(model);
}

/* Padding columns hold garbage that never reaches an answer: the same image alone, in a full batch, and
   predicted by a network for inference. */
static void answers_do_not_depend_on_the_batch(void **state) {
    (void)state;
    convoy_model *model = test_model(everything);
    enum { COUNT = 21, FEATURES = 2 * 12 * 12 };
    float *images = test_random(COUNT * FEATURES, 5), many[COUNT * 10], single[10];
    convoy_network *wide, *narrow;
    assert_ok(convoy_network_open(model, test_device(), 16, &wide));
    assert_ok(convoy_network_predict(wide, images, COUNT, many));
    for (int batch = 1; batch <= 8; batch += batch < 4 ? 1 : 4) {
        assert_ok(convoy_network_open(model, test_device(), batch, &narrow));
        assert_true(batch == 3 || narrow->pitch == batch || !cvy_device_get_traits(test_device())->cpu);
        for (size_t i = 0; i < COUNT; i++) {
            assert_ok(convoy_network_predict(narrow, images + i * FEATURES, 1, single));
            test_close("one image", single, many + i * 10, 10, 1e-6);
        }
        float *few = malloc(COUNT * 10 * sizeof *few);
        assert_ok(convoy_network_predict(narrow, images, COUNT, few));
        test_close("a few images", few, many, COUNT * 10, 1e-6);
        free(few);
        convoy_network_close(narrow);
    }
    free(images);
    convoy_network_close(wide);
    convoy_model_free(model);
}

/* A training network evaluates as one that was made for inference. */
static void training_networks_evaluate(void **state) {
    (void)state;
    convoy_model *model = test_model(everything);
    convoy_network *training = open_training(model, test_device(), 5), *inference;
    float images[5 * 2 * 12 * 12], a[50], b[50], *values = test_random(5 * 2 * 12 * 12, 9);
    memcpy(images, values, sizeof images);
    free(values);
    write_columns(training->input, cvy_dims_count(model->input), training->pitch, 5, 11);
    assert_ok(cvy_network_forward(training, 5, true, 0));
    assert_ok(cvy_network_download(training));
    assert_ok(convoy_network_open(model, test_device(), 5, &inference));
    assert_ok(convoy_network_predict(training, images, 5, a));
    assert_ok(convoy_network_predict(inference, images, 5, b));
    test_close("evaluation", a, b, 50, 1e-6);
    convoy_network_close(inference);
    convoy_network_close(training);
    convoy_model_free(model);
}

static void absent_connections_stay_zero(void **state) {
    (void)state;
    convoy_model *model = test_model(everything);
    convoy_network *network = open_training(model, test_device(), 5);
    write_columns(network->input, cvy_dims_count(model->input), network->pitch, 5, 11);
    assert_ok(cvy_network_forward(network, 5, true, 3));
    write_columns(network->output_gradient, 10, network->pitch, 5, 12);
    assert_ok(cvy_network_backward(network, 5, false));
    size_t count;
    float *gradients = read_gradients(network, &count);
    const cvy_layer_tensor *about = model->tensors[0].about;
    bool some = false;
    for (size_t i = 0; i < model->tensors[0].count; i++) {
        some = some || gradients[i] != 0;
        if (about->mask[i] == 0) {
            assert_true(gradients[i] == 0);
            assert_true(model->data[i] == 0);
        }
    }
    assert_true(some);
    free(gradients);
    convoy_network_close(network);
    convoy_model_free(model);
}

static void batches_are_counted(void **state) {
    (void)state;
    convoy_model *model =
        test_model("input: [1, 2, 2]\nlayers: [BatchNorm2d, Flatten, {Linear: {out_features: 2}}]\n");
    convoy_network *network = open_training(model, host, 4);
    for (uint32_t i = 0; i < 3; i++)
        assert_ok(cvy_network_forward(network, 4, true, i));
    assert_ok(cvy_network_forward(network, 4, false, 0));
    assert_ok(cvy_network_download(network));
    assert_int_equal(model->batches_tracked[0], 3);
    convoy_network_close(network);
    convoy_model_free(model);
}

static void bad_calls_are_refused(void **state) {
    (void)state;
    convoy_model *model = test_model("input: [1, 2, 2]\nlayers: [Flatten, {Linear: {out_features: 2}}]\n");
    convoy_network *network = NULL;
    cvy_network_options options = {.batch_size = 4};
    assert_ok(cvy_network_create(model, host, &options, &network));
    assert_fails(cvy_network_forward(network, 5, false, 0), CONVOY_INVALID, "5 images");
    assert_fails(cvy_network_forward(network, 4, true, 0), CONVOY_INVALID, "inference");
    assert_fails(cvy_network_backward(network, 4, false), CONVOY_INVALID, "training forward");
    convoy_network_close(network);
    options.batch_size = 0;
    assert_fails(cvy_network_create(model, host, &options, &network), CONVOY_INVALID, "batch of 0");
    options.batch_size = 4;
    options.variant = "conv2d=nothing";
    assert_fails(cvy_network_create(model, host, &options, &network), CONVOY_INVALID,
                 "no such variant; conv2d has: ");
    options.variant = "pool=x";
    assert_fails(cvy_network_create(model, host, &options, &network), CONVOY_INVALID, "`pool=x`");
    options.variant = "conv2d";
    assert_fails(cvy_network_create(model, host, &options, &network), CONVOY_INVALID, "op=name");
    assert_null(network);
    convoy_model_free(model);
}

/* Layers that the variant cannot run take another; where it can run none, there is no network. */
static void forced_variants_serve_where_they_run(void **state) {
    (void)state;
    static const char *const models[] = {
        "input: [1, 9, 9]\nlayers: [{Conv2d: {out_channels: 2, kernel_size: 3, stride: 2}},"
        " {Conv2d: {out_channels: 2, kernel_size: 3}}, Flatten, {Linear: {out_features: 2}}]\n",
        "input: [1, 9, 9]\nlayers: [{Conv2d: {out_channels: 2, kernel_size: 3, stride: 2}}, Flatten]\n"};
    convoy_network *network = NULL;
    cvy_network_options options = {.batch_size = 4, .training = true, .variant = "conv2d=winograd_gpu"};
    convoy_model *model = test_model(models[0]);
    assert_ok(cvy_network_create(model, test_device(), &options, &network));
    assert_null(cvy_forced_name(&network->steps[0].setup.forced, &cvy_conv2d_op));
    assert_string_equal(cvy_forced_name(&network->steps[1].setup.forced, &cvy_conv2d_op), "winograd_gpu");
    convoy_network_close(network);
    options.variant = "gemm=vector_cpu"; /* for a few columns: not for training */
    assert_fails(cvy_network_create(model, test_device(), &options, &network), CONVOY_DEVICE,
                 "gemm=vector_cpu runs no layer");
    convoy_model_free(model);
    model = test_model(models[1]);
    options.variant = "conv2d=winograd_gpu";
    assert_fails(cvy_network_create(model, test_device(), &options, &network), CONVOY_DEVICE,
                 "with batches of 4");
    convoy_model_free(model);
}

static void too_large_names_a_batch_that_fits(void **state) {
    (void)state;
    convoy_model *model =
        test_model("input: [4, 1000, 1000]\nlayers: [{Conv2d: {out_channels: 8, kernel_size: 3}}, Tanh]\n");
    size_t memory = cvy_device_get_traits(host)->memory, piece = cvy_device_get_traits(host)->max_allocation;
    cvy_network_options options = {.batch_size = 1 << 20, .training = true};
    convoy_network *network = NULL;
    assert_fails(cvy_network_create(model, host, &options, &network), CONVOY_MEMORY, "a batch size of ");
    int batch = atoi(strstr(convoy_error_message(), "a batch size of ") + 16);
    assert_int_equal(batch, atoi(strstr(convoy_error_message(), "a micro-batch of ") + 17));
    assert_true(batch >= 16 && batch % 16 == 0);
    const cvy_device_traits *traits = cvy_device_get_traits(host);
    cvy_memory fits = cvy_model_memory(model, traits, batch, true),
               more = cvy_model_memory(model, traits, batch + 16, true);
    assert_true(cvy_memory_total(&fits) <= memory + (1 << 20));
    assert_true(cvy_memory_total(&more) > memory || (size_t)(batch + 16) * 8 * 998 * 998 * 4 > piece);
    convoy_model_free(model);
}

static size_t bytes_of(convoy_model *model, convoy_device *device, int batch) {
    const cvy_network_options options = {.batch_size = batch, .training = true};
    convoy_network *network = NULL;
    assert_ok(cvy_network_begin(model, cvy_device_get_traits(device), device, &options, &network));
    assert_ok(cvy_network_describe(network));
    const cvy_memory parts = cvy_network_memory(network);
    convoy_network_close(network);
    return cvy_memory_total(&parts);
}

/* To the byte, though scratch does not grow with the batch. */
static void the_batch_that_fits_is_exact(void **state) {
    (void)state;
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    const size_t kept = traits->memory;
    const cvy_network_options options = {.batch_size = 128, .training = true};
    convoy_model *model = test_model("input: [32, 4, 4]\nlayers: [{Conv2d: {out_channels: 64, kernel_size: "
                                     "3}}, Flatten, {Linear: {out_features: 2}}]\n");
    for (size_t missing = 0; missing < 2; missing++) {
        convoy_network *network = NULL;
        traits->memory = bytes_of(model, test_device(), 48) - missing;
        const convoy_status status = cvy_network_create(model, test_device(), &options, &network);
        traits->memory = kept;
        assert_int_equal(status, CONVOY_MEMORY);
        assert_non_null(
            strstr(convoy_error_message(), missing ? "a batch size of 32 " : "a batch size of 48 "));
    }
    convoy_model_free(model);
}

/* A variant that was described as pooling and then does not build: another one runs, in memory planned for
 * it. */
static void a_variant_that_fails_is_planned_around(void **state) {
    (void)state;
    if (!cvy_device_get_traits(test_device())->cpu)
        skip();
    char *folder = test_folder_create();
    setenv("CONVOY_CACHE_DIR", folder, 1); /* what is set aside is kept in it */
    convoy_device *device = NULL;          /* one that has built nothing yet */
    const char *selector = getenv("CONVOY_TEST_DEVICE");
    assert_ok(convoy_device_open(selector ? selector : "cpu", &device));
    convoy_model *model = test_model(
        "input: [3, 14, 14]\nlayers: [{Conv2d: {out_channels: 7, kernel_size: 3, dilation: 2}}, ReLU,"
        " {MaxPool2d: {kernel_size: 2}}, Flatten, {Linear: {out_features: 3}}]\n");
    const cvy_network_options options = {.batch_size = 16, .training = true};
    convoy_network *network = NULL;
    assert_ok(cvy_network_begin(model, cvy_device_get_traits(device), device, &options, &network));
    assert_ok(cvy_network_describe(network));
    const cvy_needs before = network->steps[0].setup.needs;
    assert_true(before.fuses);
    convoy_network_close(network);
    setenv("CONVOY_KERNEL_OPTIONS", "-Dconv2d_rows_pooled=1", 1); /* a function that direct_cpu alone has */
    network = open_training(model, device, 16);
    test_build_plainly(NULL);
    const cvy_needs after = network->steps[0].setup.needs;
    const cvy_memory parts = cvy_network_memory(network);
    assert_false(after.fuses);
    assert_true(after.workspace > before.workspace && parts.workspace >= after.workspace);
    assert_int_equal(cvy_device_get_counters(device).bytes + parts.optimizer, cvy_memory_total(&parts));
    convoy_network_close(network);
    result expected = run(model, host, 16, 16), actual = run(model, device, 16, 16);
    test_close("output", actual.output, expected.output, expected.output_count, 1e-5);
    test_close("gradients", actual.gradients, expected.gradients, expected.gradient_count, 1e-5);
    free_result(&expected);
    free_result(&actual);
    convoy_model_free(model);
    convoy_device_close(device);
    unsetenv("CONVOY_CACHE_DIR");
    test_folder_remove(folder);
}

static void layers_are_timed(void **state) {
    (void)state;
    convoy_model *model = test_model(everything);
    convoy_network *network = open_training(model, test_device(), 5);
    cvy_layer_timing *rows;
    size_t count;
    assert_ok(cvy_network_time_layers(network, 2, 0, &rows, &count));
    assert_int_equal(count, convoy_model_layer_count(model) - 1); /* all but Flatten */
    assert_string_equal(rows[0].name, "0");
    assert_string_equal(rows[0].op, "conv2d");
    assert_true(rows[0].forward.flops > 0 && rows[0].backward.bytes > 0 && rows[0].forward_seconds > 0 &&
                rows[0].backward_seconds > 0);
    free(rows);
    convoy_network_close(network);
    convoy_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_agrees_with_host),
        cmocka_unit_test(gradients_of_a_residual_network),
        cmocka_unit_test(gradients_of_a_gated_network),
        cmocka_unit_test(gradients_of_a_dense_network),
        cmocka_unit_test(gradients_of_lenet5s_layers),
        cmocka_unit_test(pooling_before_relu_changes_no_bit),
        cmocka_unit_test(fusion_changes_nothing_but_rounding),
        cmocka_unit_test(gradients_accumulate),
        cmocka_unit_test(gradients_are_ready_when_it_is_said),
        cmocka_unit_test(answers_do_not_depend_on_the_batch),
        cmocka_unit_test(training_networks_evaluate),
        cmocka_unit_test(absent_connections_stay_zero),
        cmocka_unit_test(batches_are_counted),
        cmocka_unit_test(bad_calls_are_refused),
        cmocka_unit_test(forced_variants_serve_where_they_run),
        cmocka_unit_test(too_large_names_a_batch_that_fits),
        cmocka_unit_test(the_batch_that_fits_is_exact),
        cmocka_unit_test(a_variant_that_fails_is_planned_around),
        cmocka_unit_test(layers_are_timed),
    };
    if (convoy_device_open("host", &host))
        return 1;
    int failed = cmocka_run_group_tests(tests, test_build_plainly, NULL);
    convoy_device_close(host);
    test_device_close();
    return failed;
}
