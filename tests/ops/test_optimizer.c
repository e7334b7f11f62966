/* host/ops/optimizer.h: five steps against PyTorch, and the kernels against the reference. */
#define REFERENCE_OPTIMIZERS
#include "ops/data/ops_reference.h"
#include "ops/ops.h"
#include "ops/optimizer.h"
#include "selftest/cases.h"

enum { COUNT = sizeof optimizer_start / sizeof *optimizer_start, STEPS = 5 };

static const struct {
    const char *title, *type, *settings; /* as in a recipe */
    const float *end;
    int states;
} cases[] = {
    {"sgd", "SGD", "{lr: 0.1}", sgd_end, 0},
    {"sgd_decay", "SGD", "{lr: 0.1, weight_decay: 0.05}", sgd_decay_end, 0},
    {"sgd_momentum", "SGD", "{lr: 0.1, momentum: 0.9, dampening: 0.3, weight_decay: 0.05}", sgd_momentum_end,
     1},
    {"sgd_nesterov", "SGD", "{lr: 0.1, momentum: 0.9, nesterov: true}", sgd_nesterov_end, 1},
    {"adam", "Adam", "{lr: 0.01}", adam_end, 2},
    {"adam_decay", "Adam", "{lr: 0.01, betas: [0.8, 0.99], eps: 1e-6, weight_decay: 0.1}", adam_decay_end, 2},
    {"adamw", "AdamW", "{lr: 0.01, weight_decay: 0.1}", adamw_end, 2},
};
enum { CASES = sizeof cases / sizeof *cases };

static convoy_status read_settings(const char *type, const char *settings, cvy_optimizer *optimizer) {
    cvy_arena *arena = cvy_arena_create();
    cvy_node *node = NULL;
    *optimizer = (cvy_optimizer){.type = cvy_optimizer_type_find(type)};
    assert_non_null(optimizer->type);
    assert_ok(cvy_node_parse(arena, "recipe", settings, strlen(settings), &node));
    convoy_status status = cvy_params_read(optimizer->type->params, optimizer, arena, type, node, NULL);
    cvy_arena_free(arena);
    return status ? status : optimizer->type->check ? optimizer->type->check(optimizer) : CONVOY_OK;
}

static cvy_optimizer optimizer_of(int c) {
    cvy_optimizer optimizer;
    assert_ok(read_settings(cases[c].type, cases[c].settings, &optimizer));
    return optimizer;
}

static void test_rows(void **state) {
    (void)state;
    for (const cvy_optimizer_type *type = cvy_optimizer_types; type->name; type++) {
        bool tested = false;
        for (int c = 0; c < CASES; c++)
            tested = tested || !strcmp(cases[c].type, type->name);
        assert_true(tested && type->state_count && type->reference && type->kernel && type->launch);
        for (const cvy_param *row = type->params; row->name; row++)
            assert_true(row->offset < sizeof(cvy_optimizer) && row->help && *row->help);
    }
    assert_non_null(cvy_optimizer_type_find(CVY_OPTIMIZER_DEFAULT));
    assert_null(cvy_optimizer_type_find("adam"));
}

static void test_settings_that_do_not_go_together(void **state) {
    (void)state;
    cvy_optimizer optimizer;
    assert_fails(read_settings("SGD", "{lr: 1, nesterov: true}", &optimizer), CONVOY_INVALID,
                 "a momentum above 0");
    assert_fails(read_settings("SGD", "{lr: 1, momentum: 0.9, dampening: 0.1, nesterov: true}", &optimizer),
                 CONVOY_INVALID, "no dampening");
    assert_fails(read_settings("AdamW", "{betas: [0.9, 1]}", &optimizer), CONVOY_INVALID, "two numbers");
}

static void test_states(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++) {
        const cvy_optimizer optimizer = optimizer_of(c);
        assert_int_equal(cvy_optimizer_states(&optimizer), cases[c].states);
        for (int i = 0; i < cases[c].states; i++)
            assert_non_null(optimizer.type->states[i]);
    }
}

static void test_recorded(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++) {
        const cvy_optimizer optimizer = optimizer_of(c);
        size_t floats = COUNT * (size_t)cvy_optimizer_states(&optimizer);
        float reference[COUNT], reference_state[2 * COUNT] = {0};
        memcpy(reference, optimizer_start, sizeof reference);
        cvy_buffer *parameters = upload(optimizer_start, COUNT), *moments = NULL;
        if (floats)
            moments = upload(reference_state, floats);
        cvy_update update;
        assert_ok(cvy_update_prepare(device, &optimizer, COUNT, &update));
        for (int step = 1; step <= STEPS; step++) {
            const float *g = optimizer_gradients + (step - 1) * COUNT;
            cvy_buffer *gradients = upload(g, COUNT);
            assert_ok(cvy_update_run(&update, (uint64_t)step, parameters, gradients, moments));
            cvy_optimizer_step_reference(&optimizer, (uint64_t)step, COUNT, reference, g, reference_state);
            cvy_buffer_free(gradients);
        }
        float *actual = download(parameters, COUNT);
        test_close(cases[c].title, reference, cases[c].end, COUNT, 5e-7);
        test_close(cases[c].title, actual, cases[c].end, COUNT, 1e-6);
        free(actual);
        cvy_buffer_free(moments);
    }
}

/* Counts around a vector and over one block; the state behind the first `count` floats lies unaligned. */
static void test_lengths(void **state) {
    (void)state;
    for (size_t l = 0; l < cvy_update_case_count; l += test_stride())
        for (int c = 0; c < CASES; c++) {
            const cvy_optimizer optimizer = optimizer_of(c);
            size_t count = cvy_update_cases[l], floats = count * (size_t)cvy_optimizer_states(&optimizer);
            float *p = test_random(count, 1), *g = test_random(count, 2), *s = test_random(floats, 3);
            for (size_t i = 0; i < floats; i++)
                s[i] = fabsf(s[i]);
            cvy_buffer *parameters = upload(p, count), *gradients = upload(g, count);
            cvy_buffer *moments = floats ? upload(s, floats) : NULL;
            cvy_update update;
            assert_ok(cvy_update_prepare(device, &optimizer, count, &update));
            assert_ok(cvy_update_run(&update, 7, parameters, gradients, moments));
            cvy_optimizer_step_reference(&optimizer, 7, count, p, g, s);
            float *actual = download(parameters, count);
            test_close(cases[c].title, actual, p, count, 1e-6);
            if (floats) {
                float *actual_state = download(moments, floats);
                test_close(cases[c].title, actual_state, s, floats, 1e-6);
                free(actual_state);
            }
            cvy_buffer_free(gradients);
            free(actual), free(p), free(g), free(s);
        }
}

int main(void) {
    const struct CMUnitTest optimizer[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_settings_that_do_not_go_together),
        cmocka_unit_test(test_states),  cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_lengths),
    };
    return RUN_ON_DEVICES(optimizer);
}
