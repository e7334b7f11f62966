/* Classes by name, not by position: sets whose classes come in another order, have other names, or are more.
 */
#include "base/log.h"
#include "convoy/train.h"
#include "data/dataset.h"
#include "model/model.h"
#include "support/run.h"

static char *folder;
static char said[4096]; /* the last message of the log */
static const char *const names[] = {"ant", "bee", "cat"}, *const turned[] = {"cat", "ant", "bee"};

static void listen(void *context, convoy_log_level level, const char *message) {
    (void)context;
    if (level == CONVOY_LOG_WARNING)
        snprintf(said, sizeof said, "%s", message);
}

/* Six images of one shade for each class. */
static const char *write_set(const char *name, const char *const *classes, int count) {
    for (int c = 0; c < count; c++)
        for (int i = 0; i < 6; i++) {
            char file[64];
            uint8_t pixels[64];
            memset(pixels, 20 + 100 * c + i, sizeof pixels);
            snprintf(file, sizeof file, "%s/%s/%d.png", name, classes[c], i);
            test_write_png(folder, file, 8, 8, 0, 8, 0, pixels);
        }
    return test_path(folder, name);
}

static convoy_dataset *open_set(const char *data, const char *split, const char *const *order) {
    convoy_dataset *set = NULL;
    assert_ok(convoy_dataset_open(data, split, NULL, &set));
    if (order)
        assert_ok(cvy_dataset_order_classes(set, &(cvy_classes){3, order}, "the test"));
    return set;
}

static convoy_model *load(int outputs, const char *lr) {
    char text[256];
    convoy_model *model = NULL;
    snprintf(
        text, sizeof text,
        "input: [1, 8, 8]\nlayers:\n  - AvgPool2d: {kernel_size: 8}\n  - Flatten\n"
        "  - Linear: {out_features: %d}\nrecipe: {batch_size: 6, epochs: 60, optimizer: {Adam: {lr: %s}}}\n",
        outputs, lr);
    assert_ok(convoy_model_load(test_write(folder, "shade.yaml", text), NULL, &model));
    return model;
}

/* Weights that tell the three shades apart. */
static const char *train(const char *data, const char *const *order, convoy_train_options options) {
    const char *out = options.out = test_path(folder, "run");
    convoy_dataset *set = open_set(data, "train", order), *test = open_set(data, "test", order);
    convoy_model *model = load(3, "0.3");
    assert_ok(convoy_train(model, test_device(), set, test, &options, NULL));
    convoy_model_free(model);
    convoy_dataset_free(set);
    convoy_dataset_free(test);
    return test_path(out, "last.safetensors");
}

static int set_up(void **state) {
    (void)state;
    folder = test_folder_create();
    *said = '\0';
    convoy_log_set_sink(listen, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    convoy_log_set_sink(NULL, NULL);
    test_folder_remove(folder);
    return 0;
}

static void evaluation_follows_the_names(void **state) {
    (void)state;
    const char *data = write_set("data", names, 3), *weights = train(data, NULL, (convoy_train_options){0});
    for (int other = 0; other < 2; other++) {
        convoy_dataset *set = open_set(data, "train", other ? turned : NULL);
        convoy_model *model = load(3, "0.3");
        const convoy_evaluation *e = NULL;
        assert_ok(convoy_model_load_weights(model, weights));
        assert_ok(convoy_evaluate(model, test_device(), set, 0, &e));
        assert_true(e->accuracy == 1);
        for (int c = 0; c < 3; c++)
            assert_string_equal(e->classes[c]->name, names[c]);
        convoy_evaluation_free(e);
        convoy_dataset_free(set);
        convoy_model_free(model);
    }
}

static void evaluation_refuses_other_classes(void **state) {
    (void)state;
    static const char *const others[] = {"ant", "bee", "dog"};
    const char *weights = train(write_set("data", names, 3), NULL, (convoy_train_options){0});
    convoy_dataset *set = open_set(write_set("others", others, 3), "test", NULL);
    convoy_model *model = load(3, "0.3"), *two = load(2, "0.3");
    const convoy_evaluation *e = NULL;
    assert_ok(convoy_model_load_weights(model, weights));
    assert_fails(convoy_evaluate(model, test_device(), set, 0, &e), CONVOY_INVALID,
                 "only in the weights: cat; only in others: dog");
    assert_fails(convoy_model_load_weights(two, weights), CONVOY_INVALID,
                 "3 classes (ant, bee, cat), but model shade has 2 outputs");
    convoy_model_free(model);
    convoy_model_free(two);
    convoy_dataset_free(set);
}

/* Fine-tuning begins right where the first training ended, whatever the order of the set's classes; weights
   of other classes are a beginning that is told about. */
static void fine_tuning_follows_the_names(void **state) {
    (void)state;
    static const char *const others[] = {"ant", "bee", "dog"};
    const char *data = write_set("data", names, 3), *other = write_set("others", others, 3);
    const convoy_train_options options = {.init = train(data, NULL, (convoy_train_options){0}), .epochs = 1};
    for (int i = 0; i < 2; i++) {
        convoy_dataset *set = open_set(i ? other : data, "train", i ? NULL : turned);
        convoy_model *model = load(3, "1e-9");
        convoy_train_result result = {0};
        assert_ok(convoy_train(model, test_device(), set, NULL, &options, &result));
        assert_true(result.train_accuracy == 1);
        assert_string_equal(convoy_dataset_class_name(set, 2), i ? "dog" : "cat");
        assert_true(!*said == !i);
        assert_non_null(strstr(said, i ? "only in others: dog. Every output begins" : ""));
        convoy_dataset_free(set);
        convoy_model_free(model);
    }
}

static void resuming_follows_the_names(void **state) {
    (void)state;
    static const char *const others[] = {"ant", "bee", "dog"};
    const char *data = write_set("data", names, 3), *other = write_set("others", others, 3);
    train(data, NULL, (convoy_train_options){.epochs = 1});
    train(data, turned, (convoy_train_options){.epochs = 60, .resume = 1});
    convoy_dataset *set = open_set(other, "train", NULL);
    convoy_model *model = load(3, "0.3");
    const convoy_train_options options = {.out = test_path(folder, "run"), .resume = 1, .epochs = 70};
    assert_fails(convoy_train(model, test_device(), set, NULL, &options, NULL), CONVOY_INVALID,
                 "only in others: dog");
    convoy_dataset_free(set);
    set = open_set(data, "test", NULL);
    const convoy_evaluation *e = NULL;
    assert_ok(convoy_model_load_weights(model, test_path(folder, "run/last.safetensors")));
    assert_ok(convoy_evaluate(model, test_device(), set, 0, &e));
    assert_true(e->accuracy == 1);
    convoy_evaluation_free(e);
    convoy_dataset_free(set);
    convoy_model_free(model);
}

/* A border or a normalisation that the weights never saw makes answers that look right. */
static void images_are_made_as_the_weights_saw_them(void **state) {
    (void)state;
    const char *data = write_set("data", names, 3), *weights = train(data, NULL, (convoy_train_options){0});
    const char *path = test_path(folder, "shade.yaml");
    const char *const settings[] = {"mean=0.5"};
    convoy_model *model = NULL;
    assert_ok(
        convoy_model_load(path, &(convoy_model_options){.settings = settings, .setting_count = 1}, &model));
    assert_fails(convoy_model_load_weights(model, weights), CONVOY_INVALID,
                 "saw images of mean [0.0], but model shade makes them with [0.5]");
    convoy_model_free(model);
    const char *const other[] = {"resize=letterbox"};
    assert_ok(
        convoy_model_load(path, &(convoy_model_options){.settings = other, .setting_count = 1}, &model));
    assert_fails(
        convoy_model_load_weights(model, weights), CONVOY_INVALID,
        "saw images of resize \"short side, centre\", but model shade makes them with \"letterbox\"");
    convoy_model_free(model);
    assert_ok(
        convoy_model_load(path, &(convoy_model_options){.settings = settings, .setting_count = 1}, &model));
    convoy_dataset *set = open_set(data, "train", NULL);
    const convoy_train_options options = {.init = weights, .epochs = 1};
    assert_ok(convoy_train(model, test_device(), set, NULL, &options, NULL));
    assert_non_null(strstr(said, "saw images of mean"));
    convoy_dataset_free(set);
    convoy_model_free(model);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(evaluation_follows_the_names),
        TEST(evaluation_refuses_other_classes),
        TEST(fine_tuning_follows_the_names),
        TEST(resuming_follows_the_names),
        TEST(images_are_made_as_the_weights_saw_them),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
