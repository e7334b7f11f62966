/* Model files that extend others: what they come to, and what is refused. */
#include "model/model.h"
#include "support/folder.h"
#include "support/models.h"
#include "support/run.h"

static const char base[] = "name: base\nparameters: {classes: 4, width: 3}\ninput: [1, 4, 4]\n"
                           "blocks: {wide: {layers: [{Linear: {out_features: $width}}]}}\n"
                           "layers: [Flatten, wide, {Linear: {out_features: $classes}}]\n"
                           "recipe: {optimizer: {SGD: {lr: 0.1, momentum: 0.9}}, epochs: 7, batch_size: 5}\n";

static convoy_model *load(const char *name, const char *text) {
    convoy_model *model = NULL;
    assert_ok(convoy_model_load(test_write(folder, name, text), NULL, &model));
    return model;
}

static void own_keys_stand(void **state) {
    (void)state;
    test_write(folder, "base.yaml", base);
    convoy_model *model = load("child.yaml", "extends: base.yaml\nparameters: {width: 6}\n"
                                             "recipe: {epochs: 2, scheduler: {StepLR: {step_size: 1}}}\n");
    const cvy_recipe *recipe = cvy_model_recipe(model);
    assert_string_equal(convoy_model_name(model), "child");
    assert_int_equal(convoy_model_classes(model), 4);
    assert_int_equal(convoy_model_tensor(model, 0)->shape[0], 6);
    assert_true(recipe->epochs == 2 && recipe->batch_size == 5 && recipe->optimizer.momentum == 0.9);
    assert_string_equal(recipe->schedule.type->name, "StepLR");
    /* What it says of itself needs no other file. */
    char *text = cvy_model_print(model);
    assert_null(strstr(text, "extends"));
    assert_non_null(strstr(text, "epochs: 2"));
    convoy_model_free(model);
    convoy_model_free(load("written.yaml", text));
    free(text);
}

/* Each relative to the file that says so; layers and blocks of one's own. */
static void chains_are_followed(void **state) {
    (void)state;
    test_write_file(folder, "a/base.yaml", base, strlen(base));
    static const char middle[] =
        "extends: ../a/base.yaml\nblocks: {wide: {layers: [{Linear: {out_features: 9}}]}}\n";
    test_write_file(folder, "b/middle.yaml", middle, strlen(middle));
    convoy_model *model = load("top.yaml", "extends: b/middle.yaml\nname: top\ninput: [2, 3, 3]\n");
    int input[3];
    convoy_model_input(model, input);
    assert_true(input[0] == 2 && input[1] == 3);
    assert_int_equal(convoy_model_tensor(model, 0)->shape[0], 9);
    assert_int_equal(convoy_model_tensor(model, 0)->shape[1], 18);
    assert_string_equal(convoy_model_name(model), "top");
    convoy_model_free(model);
    const char *const settings[] = {"width=8", "lr=0.5"};
    const convoy_model_options options = {.settings = settings, .setting_count = 2};
    assert_ok(convoy_model_load(test_path(folder, "a/base.yaml"), &options, &model));
    convoy_model_free(model);
}

static void refused(const char *text, const char *message) {
    convoy_model *model = NULL;
    assert_fails(convoy_model_load(test_write(folder, "bad.yaml", text), NULL, &model), CONVOY_INVALID,
                 message);
}

static void says_what_is_wrong(void **state) {
    (void)state;
    test_write(folder, "base.yaml", base);
    refused("extends: nowhere.yaml\n", "bad.yaml:1:10: extends: there is no model file `");
    refused("extends: [base.yaml]\n", "the path of another model file is expected");
    refused("extends: bad.yaml\n", "is extended by itself");
    refused("extends: base.yaml\nextend: x\n",
            "bad.yaml:2:1: model: unknown `extend`; did you mean `extends`?");
    test_write(folder, "list.yaml", "[1, 2]\n");
    refused("extends: list.yaml\n", "list.yaml:1:1: extends: this is no model file");
    test_write(folder, "wrong.yaml", "extends: base.yaml\nrecipe: {epochs: many}\n");
    refused("extends: wrong.yaml\n", "wrong.yaml:2:18: recipe: `epochs` must be a whole number");
    test_write(folder, "two.yaml", "extends: bad.yaml\n");
    refused("extends: two.yaml\n", "two.yaml:1:10: extends: `");
    char name[32], text[64];
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "deep%d.yaml", i);
        snprintf(text, sizeof text, "extends: deep%d.yaml\n", i + 1);
        test_write(folder, name, i < 9 ? text : base);
    }
    refused("extends: deep0.yaml\n", "more than 8 files extend one another");
    convoy_model_free(load("deep.yaml", "extends: deep3.yaml\n"));
}

/* Patterns of names: what they find, and what they do not. */
static void patterns_are_names(void **state) {
    (void)state;
    static const struct {
        const char *recipe, *message;
    } cases[] = {
        {"{freeze: [body, \"*.bias\"]}", NULL},
        {"{freeze: \"body.?.w*t\"}", NULL},
        {"{groups: [{match: \"*\", lr: 0.1}]}", NULL},
        {"{freeze: [bodi]}", "bad.yaml:3:19: freeze: no parameter is called `bodi`; did you mean `body`?"},
        {"{freeze: [\"7.*\"]}", "freeze: no parameter is called `7.*`"},
        {"{freeze: [\"*\"]}", "every parameter is frozen"},
        {"{freeze: {a: 1}}", "a list of patterns is expected"},
        {"{groups: [{match: tail, lr: -1}]}", "`lr` must be a number between 0"},
        {"{groups: [{match: tail, momentum: 0.5}]}",
         "groups: unknown `momentum`; known are: match, lr, weight_decay"},
        {"{groups: [{lr: 1}]}", "`match` is missing"},
        {"{groups: {match: tail}}", "a list of 1 to 63 is expected"},
        {"{groups: [{match: tial}]}", "did you mean `tail`?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        convoy_model *model = NULL;
        snprintf(text, sizeof text,
                 "input: [1, 2, 2]\nlayers: [Flatten, {Sequential: {name: body, layers: [{Linear: "
                 "{out_features: 3}}]}}, "
                 "{Linear: {name: tail, out_features: 2}}]\nrecipe: %s\n",
                 cases[i].recipe);
        const convoy_status status = convoy_model_load(test_write(folder, "bad.yaml", text), NULL, &model);
        if (cases[i].message && (!status || !strstr(convoy_error_message(), cases[i].message)))
            fail_msg("%s: %s", cases[i].recipe, status ? convoy_error_message() : "it was taken");
        if (!cases[i].message)
            assert_ok(status);
        convoy_model_free(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(own_keys_stand, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(chains_are_followed, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(says_what_is_wrong, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(patterns_are_names, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
