/* host/ops/optimizer.h: five steps against PyTorch, and the kernels against the reference. */
#define REFERENCE_OPTIMIZERS
#include "ops/data/ops_reference.h"
#include "ops/ops.h"
#include "ops/optimizer.h"

enum { COUNT = sizeof optimizer_start / sizeof *optimizer_start, STEPS = 5 };

static const struct {
    const char *name;
    cvy_optimizer optimizer;
    const float *end;
} cases[] = {
    {"sgd", {.kind = CVY_SGD, .lr = 0.1}, sgd_end},
    {"sgd_decay", {.kind = CVY_SGD, .lr = 0.1, .weight_decay = 0.05}, sgd_decay_end},
    {"sgd_momentum",
     {.kind = CVY_SGD, .lr = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.05},
     sgd_momentum_end},
    {"sgd_nesterov", {.kind = CVY_SGD, .lr = 0.1, .momentum = 0.9, .nesterov = true}, sgd_nesterov_end},
    {"adam", {.kind = CVY_ADAM, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, adam_end},
    {"adam_decay",
     {.kind = CVY_ADAM, .lr = 0.01, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1},
     adam_decay_end},
    {"adamw",
     {.kind = CVY_ADAMW, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1},
     adamw_end},
};
enum { CASES = sizeof cases / sizeof *cases };

static void test_states(void **state) {
    (void)state;
    const int expected[CASES] = {0, 0, 1, 1, 2, 2, 2};
    for (int c = 0; c < CASES; c++)
        assert_int_equal(cvy_optimizer_states(&cases[c].optimizer), expected[c]);
}

static void test_recorded(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++) {
        size_t floats = COUNT * (size_t)cvy_optimizer_states(&cases[c].optimizer);
        float reference[COUNT], reference_state[2 * COUNT] = {0};
        memcpy(reference, optimizer_start, sizeof reference);
        cvy_buffer *parameters = upload(optimizer_start, COUNT), *moments = NULL;
        if (floats)
            moments = upload(reference_state, floats);
        for (int step = 1; step <= STEPS; step++) {
            const float *g = optimizer_gradients + (step - 1) * COUNT;
            cvy_buffer *gradients = upload(g, COUNT);
            assert_ok(cvy_optimizer_step(device, &cases[c].optimizer, (uint64_t)step, COUNT, parameters,
                                         gradients, moments));
            cvy_optimizer_step_reference(&cases[c].optimizer, (uint64_t)step, COUNT, reference, g,
                                         reference_state);
            cvy_buffer_free(gradients);
        }
        float *actual = download(parameters, COUNT);
        test_close(cases[c].name, reference, cases[c].end, COUNT, 5e-7);
        test_close(cases[c].name, actual, cases[c].end, COUNT, 1e-6);
        free(actual);
        cvy_buffer_free(moments);
    }
}

/* Counts around a vector and over one block; the state behind the first `count` floats lies unaligned. */
static void test_lengths(void **state) {
    (void)state;
    const size_t lengths[] = {1, 5, 16, 31, 1000, 40003};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l += test_stride())
        for (int c = 0; c < CASES; c++) {
            size_t count = lengths[l], floats = count * (size_t)cvy_optimizer_states(&cases[c].optimizer);
            float *p = test_random(count, 1), *g = test_random(count, 2), *s = test_random(floats, 3);
            for (size_t i = 0; i < floats; i++)
                s[i] = fabsf(s[i]);
            cvy_buffer *parameters = upload(p, count), *gradients = upload(g, count);
            cvy_buffer *moments = floats ? upload(s, floats) : NULL;
            assert_ok(
                cvy_optimizer_step(device, &cases[c].optimizer, 7, count, parameters, gradients, moments));
            cvy_optimizer_step_reference(&cases[c].optimizer, 7, count, p, g, s);
            float *actual = download(parameters, count);
            test_close(cases[c].name, actual, p, count, 1e-6);
            if (floats) {
                float *actual_state = download(moments, floats);
                test_close(cases[c].name, actual_state, s, floats, 1e-6);
                free(actual_state);
            }
            cvy_buffer_free(gradients);
            free(actual), free(p), free(g), free(s);
        }
}

int main(void) {
    const struct CMUnitTest optimizer[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_lengths),
    };
    return RUN_ON_DEVICES(optimizer);
}
