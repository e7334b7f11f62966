/* host/ops/loss.h: PyTorch's values, bad labels, ties, finite differences, kernels against the reference. */
#define REFERENCE_LOSSES
#define REFERENCE_MIXED
#include "ops/data/ops_reference.h"
#include "ops/loss.h"
#include "ops/ops.h"
#include "selftest/cases.h"

enum { SLOTS = 3, MOST_PARTS = 64, OFFSET = 7 };

/* One run of the op and everything that it left. */
typedef struct outcome {
    float *gradient, loss, right; /* sums over the images */
    int32_t predictions[OFFSET + 64];
} outcome;

/* Adds up the parts of slot 1; other slots are left alone. */
static void read_statistics(cvy_buffer *statistics, size_t parts, float sums[2]) {
    float pairs[SLOTS * MOST_PARTS][2];
    assert_ok(cvy_buffer_read(statistics, 0, pairs, SLOTS * parts * sizeof *pairs));
    sums[0] = sums[1] = 0;
    for (size_t i = 0; i < SLOTS * parts; i++)
        for (int k = 0; k < 2; k++) {
            assert_true(i / parts == 1 || pairs[i][k] == -7);
            sums[k] += i / parts == 1 ? pairs[i][k] : 0;
        }
}

static outcome run(cvy_loss kind, int classes, int pitch, int n, const float *output, const int32_t *labels,
                   float grad_scale) {
    outcome result;
    cvy_loss_op *op = NULL;
    size_t count = (size_t)classes * (size_t)pitch, parts = cvy_loss_parts(device, pitch);
    float marks[2 * SLOTS * MOST_PARTS], once[2], twice[2];
    assert_true(parts <= MOST_PARTS);
    for (size_t i = 0; i < 2 * SLOTS * parts; i++)
        marks[i] = -7;
    for (int i = 0; i < OFFSET + 64; i++)
        result.predictions[i] = -9;
    assert_ok(cvy_loss_create(device, kind, classes, pitch, &op));
    cvy_buffer *from = upload(output, count), *gradient = garbage(count),
               *statistics = upload(marks, 2 * SLOTS * parts);
    cvy_buffer *classes_of = test_buffer(device, labels, (size_t)pitch * sizeof(int32_t));
    cvy_buffer *predictions = test_buffer(device, result.predictions, sizeof result.predictions);
    cvy_loss_operands operands = {.n = n,
                                  .output = from,
                                  .labels = classes_of,
                                  .grad_scale = grad_scale,
                                  .gradient = gradient,
                                  .statistics = statistics,
                                  .slot = 1,
                                  .predictions = predictions,
                                  .prediction_offset = OFFSET};
    assert_ok(cvy_loss_run(op, &operands));
    read_statistics(statistics, parts, once);
    assert_ok(cvy_buffer_read(predictions, 0, result.predictions, sizeof result.predictions));
    operands.gradient = operands.predictions = NULL;
    operands.accumulate = true;
    assert_ok(cvy_loss_run(op, &operands));
    read_statistics(statistics, parts, twice);
    for (int k = 0; k < 2; k++)
        assert_true(twice[k] == 2 * once[k] || isnan(twice[k]));
    result.loss = once[0];
    result.right = once[1];
    operands.statistics = NULL; /* nothing wanted */
    assert_ok(cvy_loss_run(op, &operands));
    result.gradient = download(gradient, count);
    cvy_buffer_free(from);
    cvy_buffer_free(statistics);
    cvy_buffer_free(classes_of);
    cvy_buffer_free(predictions);
    cvy_loss_free(op);
    for (int i = 0; i < OFFSET + 64; i++)
        assert_true((i >= OFFSET && i < OFFSET + n) || result.predictions[i] == -9);
    return result;
}

static void check_recorded_loss(cvy_loss kind, const float *x, const float *losses, const float *gx) {
    int32_t labels[16] = {0};
    memcpy(labels, loss_labels, sizeof loss_labels);
    float *output = spread_rows(x, 7, 5, 16, 1e30f), own[16];
    int32_t predictions[16];
    double sum = 0;
    for (int i = 0; i < 5; i++)
        sum += losses[i];
    cvy_loss_reference(kind, 7, 16, 5, output, labels, 0.2f, (cvy_loss_results){own, predictions, NULL});
    check_special("losses", own, losses, 5, 1e-6);
    outcome result = run(kind, 7, 16, 5, output, labels, 0.2f);
    check_recorded("gradient", result.gradient, gx, 7, 5, 16, true, 3e-7);
    float expected = (float)sum;
    check_special("sum of losses", &result.loss, &expected, 1, 1e-6);
    assert_memory_equal(result.predictions + OFFSET, predictions, 5 * sizeof(int32_t));
    free(result.gradient);
    free(output);
}

static void test_recorded(void **state) {
    (void)state;
    check_recorded_loss(CVY_CROSS_ENTROPY, loss_x, loss_y, loss_gx);
    check_recorded_loss(CVY_RBF_MAP, map_x, map_y, map_gx);
}

static void check_against_reference(cvy_loss kind, int classes, int n, int pitch) {
    size_t count = (size_t)classes * (size_t)pitch;
    float *output = test_random(count, 1), *gradient = malloc(count * sizeof(float)), losses[64];
    int32_t labels[64], predictions[64];
    for (size_t i = 0; i < count; i++)
        output[i] *= 20;
    for (int i = 0; i < 64; i++)
        labels[i] = i * 7 % classes;
    cvy_loss_reference(kind, classes, pitch, n, output, labels, 1.0f / (float)n,
                       (cvy_loss_results){losses, predictions, gradient});
    double sum = 0, right = 0;
    for (int i = 0; i < n; i++) {
        sum += losses[i];
        right += predictions[i] == labels[i];
    }
    outcome result = run(kind, classes, pitch, n, output, labels, 1.0f / (float)n);
    test_close_columns("gradient", result.gradient, gradient, (size_t)classes, pitch, n, true, 1e-6);
    test_close("sum of losses", &result.loss, &(float){(float)sum}, 1, 2e-6);
    assert_true(result.right == right);
    assert_memory_equal(result.predictions + OFFSET, predictions, (size_t)n * sizeof(int32_t));
    free(output), free(gradient), free(result.gradient);
}

static void test_edges(void **state) {
    (void)state;
    for (size_t c = 0; c < cvy_loss_case_count; c += test_stride())
        for (size_t b = 0; b < BATCHES; b += test_stride()) {
            check_against_reference(CVY_CROSS_ENTROPY, cvy_loss_cases[c], batches[b][0], batches[b][1]);
            check_against_reference(CVY_RBF_MAP, cvy_loss_cases[c], batches[b][0], batches[b][1]);
        }
}

static void test_first_of_equals_wins(void **state) {
    (void)state;
    float output[3 * 16] = {0};
    int32_t labels[16] = {0};
    for (int i = 0; i < 16; i++) {
        output[i] = i == 2 ? NAN : 1;
        output[16 + i] = i == 1 ? 2 : i == 3 ? NAN : 1;
        output[32 + i] = 1;
    }
    outcome result = run(CVY_CROSS_ENTROPY, 3, 16, 16, output, labels, 1);
    assert_int_equal(result.predictions[OFFSET], 0);
    assert_int_equal(result.predictions[OFFSET + 1], 1);
    assert_int_equal(result.predictions[OFFSET + 2], 0);
    assert_int_equal(result.predictions[OFFSET + 3], 1);
    assert_true(isnan(result.loss));
    free(result.gradient);
}

/* ---- soft targets ---- */

static void soften(const cvy_soft_targets *targets, int classes, int n, int pitch) {
    const size_t count = (size_t)classes * (size_t)pitch, parts = cvy_loss_parts(device, pitch);
    float *output = test_random(count, 1), *expected = malloc(count * sizeof(float)), losses[64];
    float sums[2], right = 0;
    double sum = 0;
    int32_t labels[64], predictions[64];
    for (size_t i = 0; i < count; i++)
        output[i] *= 20;
    for (int i = 0; i < 64; i++)
        labels[i] = i * 7 % classes;
    cvy_loss_soft_reference(targets, classes, pitch, n, output, labels, 0.5f,
                            (cvy_loss_results){losses, predictions, expected});
    for (int i = 0; i < n; i++) {
        sum += losses[i];
        right += predictions[i] == labels[targets->mixed && targets->own < 0.5 ? (i + n - 1) % n : i];
    }
    cvy_loss_op *op = NULL;
    assert_ok(cvy_loss_create_soft(device, targets, classes, pitch, &op));
    float marks[2 * SLOTS * MOST_PARTS];
    for (size_t i = 0; i < 2 * SLOTS * parts; i++)
        marks[i] = -7;
    cvy_buffer *from = upload(output, count), *gradient = garbage(count),
               *statistics = upload(marks, 2 * SLOTS * parts);
    cvy_buffer *classes_of = test_buffer(device, labels, (size_t)pitch * sizeof(int32_t));
    assert_ok(cvy_loss_run(op, &(cvy_loss_operands){.n = n,
                                                    .output = from,
                                                    .labels = classes_of,
                                                    .grad_scale = 0.5f,
                                                    .own = targets->own,
                                                    .gradient = gradient,
                                                    .statistics = statistics,
                                                    .slot = 1}));
    read_statistics(statistics, parts, sums);
    float *actual = download(gradient, count);
    test_close_columns("gradient", actual, expected, (size_t)classes, pitch, n, true, 2e-6);
    test_close("sum of losses", &sums[0], &(float){(float)sum}, 1, 3e-6);
    assert_true(sums[1] == right);
    cvy_buffer_free(from);
    cvy_buffer_free(statistics);
    cvy_buffer_free(classes_of);
    cvy_loss_free(op);
    free(output), free(expected), free(actual);
}

static void test_soft_targets(void **state) {
    (void)state;
    const int classes[] = {1, 2, 10, 77};
    for (size_t c = 0; c < sizeof classes / sizeof *classes; c += test_stride()) {
        float *weights = test_random((size_t)classes[c], 5);
        for (int i = 0; i < classes[c]; i++)
            weights[i] = fabsf(weights[i]) * 3;
        for (size_t b = 0; b < 5; b += test_stride()) { /* small pitches are not for training */
            soften(&(cvy_soft_targets){.smoothing = 0.1, .weights = weights}, classes[c], batches[b][0],
                   batches[b][1]);
            soften(&(cvy_soft_targets){0.1, weights, true, b % 2 ? 0.3 : 0.8}, classes[c], batches[b][0],
                   batches[b][1]);
        }
        free(weights);
    }
}

/* Without smoothing and with weights of 1 it is the plain loss; and its gradient is one. */
static void test_soft_reference(void **state) {
    (void)state;
    float *output = test_random(5 * 16, 1), gradient[80], plain[80], losses[16], up[16], down[16];
    const float ones[5] = {1, 1, 1, 1, 1}, weights[5] = {0.5f, 2, 1, 0, 3};
    int32_t labels[16], predictions[16];
    for (int i = 0; i < 16; i++)
        labels[i] = i % 5;
    cvy_loss_reference(CVY_CROSS_ENTROPY, 5, 16, 12, output, labels, 1,
                       (cvy_loss_results){up, predictions, plain});
    cvy_loss_soft_reference(&(cvy_soft_targets){.weights = ones}, 5, 16, 12, output, labels, 1,
                            (cvy_loss_results){losses, predictions, gradient});
    test_close("losses", losses, up, 12, 1e-7);
    test_close("gradient", gradient, plain, 80, 1e-7);
    const cvy_soft_targets targets = {.smoothing = 0.3, .weights = weights};
    cvy_loss_soft_reference(&targets, 5, 16, 16, output, labels, 1,
                            (cvy_loss_results){losses, predictions, gradient});
    for (int at = 0; at < 80; at++) {
        const float value = output[at];
        output[at] = value + 1e-2f;
        cvy_loss_soft_reference(&targets, 5, 16, 16, output, labels, 1,
                                (cvy_loss_results){up, predictions, NULL});
        output[at] = value - 1e-2f;
        cvy_loss_soft_reference(&targets, 5, 16, 16, output, labels, 1,
                                (cvy_loss_results){down, predictions, NULL});
        output[at] = value;
        assert_true(fabs((up[at % 16] - down[at % 16]) / 2e-2 - gradient[at]) < 5e-4);
    }
    free(output);
}

/* Probabilities with smoothing and weights, as PyTorch computes them; a target is spoilt by either of its
 * classes. */
static void test_mixed_reference(void **state) {
    (void)state;
    const cvy_soft_targets targets = {0.1, mixed_weights, true, 0.3};
    float *output = spread_rows(mixed_x, 7, 5, 16, 1), losses[16], gradient[7 * 16];
    int32_t labels[16] = {0}, predictions[16];
    memcpy(labels, mixed_labels, sizeof mixed_labels);
    cvy_loss_soft_reference(&targets, 7, 16, 5, output, labels, 0.2f,
                            (cvy_loss_results){losses, predictions, gradient});
    check_special("losses", losses, mixed_y, 5, 1e-6);
    check_recorded("gradient", gradient, mixed_gx, 7, 5, 16, true, 3e-7);
    labels[4] = 7;
    cvy_loss_soft_reference(&targets, 7, 16, 5, output, labels, 0.2f,
                            (cvy_loss_results){losses, predictions, gradient});
    for (int i = 0; i < 5; i++)
        assert_true(isnan(losses[i]) == (i == 0 || i == 4));
    assert_true(gradient[0] == 0 && gradient[1] != 0);
    free(output);
}

/* The loss becomes NaN, the image's gradient 0; other images are not touched. */
static void test_bad_labels(void **state) {
    (void)state;
    const int32_t bad[] = {-1, 3, 1000000, INT32_MIN};
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        float *output = test_random(48, 1), losses[16], expected[48];
        int32_t labels[16] = {0}, predictions[16];
        labels[4] = bad[b];
        cvy_loss_reference(CVY_CROSS_ENTROPY, 3, 16, 6, output, labels, 1,
                           (cvy_loss_results){losses, predictions, expected});
        assert_true(isnan(losses[4]) && isfinite(losses[3]) && isfinite(losses[5]));
        outcome result = run(CVY_CROSS_ENTROPY, 3, 16, 6, output, labels, 1);
        assert_true(isnan(result.loss) && isfinite(result.right));
        assert_true(result.gradient[4] == 0 && result.gradient[5] != 0);
        test_close("gradient", result.gradient, expected, 48, 1e-6);
        free(output), free(result.gradient);
    }
}

static void test_finite_differences(void **state) {
    (void)state;
    for (int kind = CVY_CROSS_ENTROPY; kind <= CVY_RBF_MAP; kind++) {
        float *output = test_random(5 * 16, 1), gradient[80], losses[16], up[16], down[16];
        int32_t labels[16], predictions[16];
        for (int i = 0; i < 16; i++)
            labels[i] = i % 5;
        cvy_loss_reference(kind, 5, 16, 16, output, labels, 1,
                           (cvy_loss_results){losses, predictions, gradient});
        for (int at = 0; at < 80; at++) {
            float value = output[at];
            output[at] = value + 1e-2f;
            cvy_loss_reference(kind, 5, 16, 16, output, labels, 1, (cvy_loss_results){up, predictions, NULL});
            output[at] = value - 1e-2f;
            cvy_loss_reference(kind, 5, 16, 16, output, labels, 1,
                               (cvy_loss_results){down, predictions, NULL});
            output[at] = value;
            assert_true(fabs((up[at % 16] - down[at % 16]) / 2e-2 - gradient[at]) < 2e-4);
        }
        free(output);
    }
}

static void test_softmax(void **state) {
    (void)state;
    const size_t sizes[][2] = {{1, 16}, {7, 16}, {10, 48}, {300, 64}};
    float *recorded_x = spread_rows(loss_x, 7, 5, 16, 0), *recorded_gy = spread_rows(softmax_gy, 7, 5, 16, 0);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t classes = sizes[s][0], pitch = sizes[s][1], count = classes * pitch;
        bool recorded = classes == 7;
        float *x = recorded ? recorded_x : test_random(count, 1),
              *gy = recorded ? recorded_gy : test_random(count, 2);
        float *expected = malloc(count * sizeof(float));
        cvy_buffer *values = upload(x, count), *gradient = upload(gy, count);
        cvy_softmax op;
        assert_ok(cvy_softmax_prepare(device, classes, pitch, &op));
        assert_ok(cvy_softmax_forward(&op, values, values)); /* in place */
        assert_ok(cvy_softmax_backward(&op, values, gradient, gradient));
        float *y = download(values, count), *gx = download(gradient, count);
        cvy_softmax_forward_reference(classes, pitch, x, expected);
        test_close("softmax", y, expected, count, 1e-6);
        cvy_softmax_backward_reference(classes, pitch, expected, gy, expected);
        test_close("softmax gradient", gx, expected, count, 1e-6);
        if (recorded) {
            check_recorded("softmax", y, softmax_y, 7, 5, 16, false, 3e-7);
            check_recorded("softmax gradient", gx, softmax_gx, 7, 5, 16, true, 1e-6);
        }
        free(x), free(gy), free(expected), free(y), free(gx);
    }
}

int main(void) {
    const struct CMUnitTest loss[] = {
        cmocka_unit_test(test_recorded),        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_bad_labels),      cmocka_unit_test(test_first_of_equals_wins),
        cmocka_unit_test(test_softmax),         cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_soft_targets),    cmocka_unit_test(test_soft_reference),
        cmocka_unit_test(test_mixed_reference),
    };
    return RUN_ON_DEVICES(loss);
}
