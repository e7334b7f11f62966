/* Learning-rate schedules against torch.optim.lr_scheduler, step by step (tools/record_schedules.py), and
 * what is refused. */
#include <jansson.h>

#include "model/model.h"
#include "support/models.h"

static const char network[] = "input: [1, 2, 2]\nlayers: [Flatten, {Linear: {out_features: 3}}]\n";

static convoy_status load(const char *recipe, convoy_model **model) {
    char yaml[2048];
    snprintf(yaml, sizeof yaml, "%srecipe:\n%s", network, recipe);
    return test_model_load("schedule.yaml", yaml, NULL, model);
}

static json_t *records(void) {
    json_error_t error;
    json_t *all = json_load_file(CONVOY_SOURCE_DIR "/tests/model/schedules.json", 0, &error);
    if (!all)
        fail_msg("schedules.json:%d: %s", error.line, error.text);
    return all;
}

static double number(json_t *list, size_t index) {
    return json_number_value(json_array_get(list, index));
}

static bool near(double found, double expected) {
    return fabs(found - expected) <= 1e-6 * fabs(expected) + 1e-15;
}

/* `again`: as the run folder's model.yaml has it, which says the same. */
static void check_case(json_t *all, json_t *given, const char *yaml, bool again) {
    convoy_model *model = NULL;
    assert_ok(test_model_load("schedule.yaml", yaml, NULL, &model));
    const cvy_recipe *recipe = cvy_model_recipe(model);
    const char *title = json_string_value(json_object_get(given, "scheduler"));
    const unsigned long long steps = (unsigned long long)json_integer_value(json_object_get(all, "steps"));
    json_t *rates = json_object_get(given, "rates"), *momenta = json_object_get(given, "momenta");
    cvy_plateau plateau = {0};
    for (unsigned long long step = 0; step < json_array_size(rates); step++) {
        const cvy_moment at = {step / steps, step, json_array_size(rates) / steps, json_array_size(rates),
                               plateau.reductions};
        cvy_optimizer now;
        cvy_schedule_apply(&recipe->schedule, &at, &recipe->optimizer, &now);
        const double momentum = strcmp(now.type->name, "SGD") == 0 ? now.momentum : now.betas[0];
        if (!near(now.lr, number(rates, step)) || !near(momentum, number(momenta, step)))
            fail_msg("%s, step %llu: rate %.9g and momentum %.9g, torch has %.9g and %.9g", title, step,
                     now.lr, momentum, number(rates, step), number(momenta, step));
        if (step % steps == steps - 1)
            cvy_plateau_note(&recipe->schedule, number(json_object_get(all, "metrics"), step / steps),
                             &plateau);
    }
    char *printed = cvy_model_print(model);
    if (!again)
        check_case(all, given, printed, true);
    free(printed);
    convoy_model_free(model);
}

static void each_rate_is_torchs(void **state) {
    (void)state;
    json_t *all = records(), *given;
    size_t i;
    json_array_foreach(json_object_get(all, "cases"), i, given) {
        char yaml[2048];
        snprintf(yaml, sizeof yaml, "%srecipe:\n  optimizer: %s\n  scheduler: %s\n", network,
                 json_string_value(json_object_get(given, "optimizer")),
                 json_string_value(json_object_get(given, "scheduler")));
        check_case(all, given, yaml, false);
    }
    assert_true(i > 20);
    json_decref(all);
}

/* What torch wants to be told, and follows from the run here. */
static void ends_with_the_run_by_default(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"CosineAnnealingLR", "{CosineAnnealingLR: {T_max: 12}}"},
        {"{OneCycleLR: {max_lr: 0.5}}", "{OneCycleLR: {max_lr: 0.5, total_steps: 84}}"},
        {"{SequentialLR: {schedulers: [LinearLR, CosineAnnealingLR], milestones: [5]}}",
         "{SequentialLR: {schedulers: [LinearLR, {CosineAnnealingLR: {T_max: 7}}], milestones: [5]}}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        convoy_model *models[2];
        for (int k = 0; k < 2; k++) {
            char recipe[512];
            snprintf(recipe, sizeof recipe, "  optimizer: {SGD: {lr: 0.3}}\n  scheduler: %s\n", pairs[i][k]);
            assert_ok(load(recipe, &models[k]));
            assert_int_equal(cvy_schedule_follows_length(&cvy_model_recipe(models[k])->schedule), k == 0);
        }
        for (unsigned long long step = 0; step < 84; step++) {
            const cvy_moment at = {step / 7, step, 12, 84, 0};
            cvy_optimizer now[2];
            for (int k = 0; k < 2; k++)
                cvy_schedule_apply(&cvy_model_recipe(models[k])->schedule, &at,
                                   &cvy_model_recipe(models[k])->optimizer, &now[k]);
            assert_true(now[0].lr == now[1].lr);
        }
        convoy_model_free(models[0]);
        convoy_model_free(models[1]);
    }
}

static void says_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *scheduler, *message;
    } cases[] = {
        {"{StepLr: {step_size: 3}}",
         "schedule.yaml:4:15: unknown scheduler `StepLr`; did you mean `StepLR`?"},
        {"{Warmup: {steps: 3}}", "unknown scheduler `Warmup`; known are: StepLR, MultiStepLR"},
        {"StepLR", "StepLR: `step_size` is missing"},
        {"{StepLR: {step_size: 0}}", "`step_size` must be a whole number between 1 and"},
        {"{StepLR: {step: 3}}", "did you mean `step_size`?"},
        {"{MultiStepLR: {milestones: [5, 5]}}",
         "schedule.yaml:4:45: MultiStepLR: milestones are whole numbers from 1 to 1073741824, each larger "
         "than the one before; found `5`"},
        {"{MultiStepLR: {milestones: 5}}", "a list of whole numbers"},
        {"[{LinearLR: {}}]", "a scheduler is one name with its arguments"},
        {"{SequentialLR: {schedulers: [LinearLR], milestones: [3]}}",
         "one more than there are milestones (1), found 1"},
        {"{SequentialLR: {schedulers: [LinearLR, {SequentialLR: {schedulers: [LinearLR, ConstantLR], "
         "milestones: "
         "[3]}}], milestones: [3]}}",
         "schedule.yaml:4:53: a SequentialLR can be the first scheduler of another one only"},
        {"{SequentialLR: {schedulers: [LinearLR, ReduceLROnPlateau], milestones: [3]}}",
         "cannot have a ReduceLROn"},
        {"{SequentialLR: {schedulers: [LinearLR, {OneCycleLR: {max_lr: 1}}], milestones: [3]}}",
         "cannot have a OneCycleLR"},
        {"{SequentialLR: {schedulers: [LinearLR, {StepLR: {step_size: 2, by: step}}], milestones: [3]}}",
         "give `by` to it, not to StepLR"},
        {"{ReduceLROnPlateau: {monitor: accuracy}}", "of its monitor more is better: write mode: max"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char recipe[512];
        convoy_model *model = NULL;
        snprintf(recipe, sizeof recipe, "  scheduler: %s\n", cases[i].scheduler);
        assert_fails(load(recipe, &model), CONVOY_INVALID, cases[i].message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rate_is_torchs),
        cmocka_unit_test(ends_with_the_run_by_default),
        cmocka_unit_test(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
