/* Ways to train that a recipe asks for, 30 steps each against PyTorch (tools/record_recipes.py) by the
   yardstick of test_parity.c, through the public trainer, on the device under test and on the host. */
#include "convoy/train.h"
#include "model/model.h"
#include "support/parity.h"
#include "support/run.h"

typedef struct subject {
    json_t *record, *given; /* all, and the case */
    convoy_model *model;
    convoy_dataset *set;
    size_t batch, steps;
} subject;

static json_t *records(void) {
    json_error_t error;
    json_t *all = json_load_file(CONVOY_SOURCE_DIR "/tests/train/recipes.json", 0, &error);
    if (!all)
        fail_msg("recipes.json:%d: %s", error.line, error.text);
    return all;
}

static convoy_model *load_model(const char *folder, json_t *given) {
    cvy_text yaml = {0};
    convoy_model *model = NULL;
    json_t *line, *recipe = json_object_get(given, "recipe");
    size_t i;
    cvy_text_add(
        &yaml, "input: [1, 8, 8]\nlayers:\n  - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1}\n"
               "  - BatchNorm2d\n  - ReLU\n  - MaxPool2d: {kernel_size: 2}\n  - Flatten\n"
               "  - Linear: {out_features: 10}\nrecipe:\n  epochs: 1\n  batch_size: 20\n  shuffle: false\n");
    json_array_foreach(recipe, i, line) {
        cvy_text_add(&yaml, "  %s\n", json_string_value(line));
    }
    assert_ok(convoy_model_load(test_write(folder, "recipe.yaml", yaml.data), NULL, &model));
    cvy_text_free(&yaml);
    json_t *row;
    json_array_foreach(json_object_get(given, "tensors"), i, row) {
        const convoy_tensor *tensor = convoy_model_tensor(model, i);
        assert_string_equal(tensor->name, json_string_value(json_object_get(row, "name")));
        assert_ok(cvy_record_set_tensor(row, tensor));
    }
    return model;
}

/* The batches of all steps, one after the other. */
static convoy_dataset *make_set(const subject *s) {
    const size_t count = s->steps * s->batch, pixels = 64;
    float *images = malloc(count * pixels * sizeof *images);
    int32_t *labels = malloc(count * sizeof *labels);
    convoy_dataset *set = NULL;
    for (size_t step = 0; step < s->steps; step++)
        cvy_record_make_batch((uint32_t)step, s->batch, 10, pixels, images + step * s->batch * pixels,
                              labels + step * s->batch);
    assert_ok(convoy_dataset_from_memory(&(convoy_images){.count = count,
                                                          .channels = 1,
                                                          .height = 8,
                                                          .width = 8,
                                                          .pixel = CONVOY_PIXEL_FLOAT,
                                                          .pixels = images,
                                                          .labels = labels,
                                                          .classes = 10},
                                         &set));
    free(images);
    free(labels);
    return set;
}

static bool compare_tensors(const subject *s, const char *title) {
    bool failed = false;
    double worst = 0;
    const char *where = "";
    for (size_t i = 0; i < convoy_model_tensor_count(s->model); i++) {
        const convoy_tensor *tensor = convoy_model_tensor(s->model, i);
        json_t *row = json_array_get(json_object_get(s->given, "tensors"), i);
        if (!json_is_true(json_object_get(row, "compare")))
            continue;
        const double limit = cvy_record_allowed(json_number_value(json_object_get(row, "yardstick")));
        const double strays = parity_distance(row, tensor->values, parity_count(tensor));
        if (!(strays <= limit)) {
            print_error("%s: %s strays by %.2e; allowed is %.2e\n", title, tensor->name, strays, limit);
            failed = true;
        }
        if (strays / limit > worst) {
            worst = strays / limit;
            where = tensor->name;
        }
    }
    print_message("%s: the farthest tensor, %s, is at %.2f of what is allowed\n", title, where, worst);
    return !failed;
}

static bool run_case(const char *folder, json_t *given, convoy_device *device) {
    subject s = {.given = given, .batch = 20};
    json_t *losses = json_object_get(given, "losses");
    const double limit = cvy_record_allowed(json_number_value(json_object_get(given, "loss_yardstick")));
    char title[128];
    convoy_trainer *trainer = NULL;
    snprintf(title, sizeof title, "%s on %s", json_string_value(json_object_get(given, "name")),
             convoy_device_get_info(device)->type);
    s.steps = json_array_size(losses);
    s.model = load_model(folder, given);
    s.set = make_set(&s);
    const convoy_train_options options = {.keep_weights = 1};
    assert_ok(convoy_trainer_open(s.model, device, s.set, NULL, &options, &trainer));
    bool good = true;
    for (size_t step = 0; step < s.steps; step++) {
        convoy_progress p = {0};
        assert_ok(convoy_trainer_step(trainer, &p));
        assert_ok(convoy_trainer_fetch(trainer)); /* its figures arrive */
        if (step + 1 < s.steps)
            assert_ok(convoy_trainer_progress(trainer, &p));
        const double expected = json_number_value(json_array_get(losses, step));
        if (!(fabs(p.batch_loss - expected) <= limit * expected)) {
            print_error("%s: the loss of step %zu is %.9g, PyTorch's %.9g\n", title, step, p.batch_loss,
                        expected);
            good = false;
        }
    }
    good = compare_tensors(&s, title) && good;
    convoy_trainer_close(trainer);
    convoy_dataset_free(s.set);
    convoy_model_free(s.model);
    return good;
}

static void recipes_are_pytorchs(void **state) {
    char *folder = test_folder_create();
    json_t *all = records(), *given;
    convoy_device *host = NULL;
    bool good = true;
    size_t i;
    (void)state;
    json_array_foreach(json_object_get(all, "cases"), i, given) {
        good = run_case(folder, given, test_device()) && good;
    }
    test_device_close();
    assert_ok(convoy_device_open("host", &host));
    json_array_foreach(json_object_get(all, "cases"), i, given) {
        good = run_case(folder, given, host) && good;
    }
    assert_true(i >= 12 && good);
    convoy_device_close(host);
    json_decref(all);
    test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recipes_are_pytorchs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
