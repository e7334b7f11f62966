/* Training as a whole: learning, reports, files, failures. Tiny networks on synthetic images. */
#include "base/file.h"
#include "convoy/train.h"
#include "model/model.h"
#include "support/run.h"

typedef struct fixture {
    char *folder;
    convoy_dataset *train, *test;
} fixture;

static convoy_dataset *open_set(const char *split, size_t limit, int classes) {
    convoy_dataset *set = NULL;
    const convoy_dataset_options options = {
        .channels = 1, .height = 8, .width = 8, .synthetic_images = limit, .synthetic_classes = classes};
    assert_ok(convoy_dataset_open("synthetic", split, &options, &set));
    return set;
}

static int open_fixture(void **state) {
    static fixture f;
    f.folder = test_folder_create();
    f.train = open_set("train", 200, 0);
    f.test = open_set("test", 50, 0);
    *state = &f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    convoy_dataset_free(f->train);
    convoy_dataset_free(f->test);
    test_folder_remove(f->folder);
    return 0;
}

static convoy_model *load(const char *path) {
    convoy_model *model = NULL;
    assert_ok(convoy_model_load(path, NULL, &model));
    return model;
}

static convoy_model *tiny(const fixture *f, const char *recipe) {
    return load(test_tiny_model(f->folder, "tiny.yaml", recipe));
}

/* ---- what a run gives ---- */

static void learns_and_agrees_with_evaluation(void **state) {
    const fixture *f = *state;
    convoy_model *model = tiny(f, "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 24\n  epochs: 15\n");
    convoy_train_result result = {0};
    const convoy_evaluation *evaluation = NULL;
    assert_ok(convoy_train(model, test_device(), f->train, f->test, NULL, &result));
    assert_int_equal(result.epochs, 15);
    assert_int_equal(result.steps, 15 * 9); /* 200 images in batches of 24: the last has 8 */
    assert_true(result.train_loss < 1.5 && result.test_accuracy > 0.5);
    assert_true(result.best_test_accuracy >= result.test_accuracy && result.best_epoch >= 1);
    assert_true(result.images_per_second > 0 && result.seconds > 0);
    assert_ok(convoy_evaluate(model, test_device(), f->test, 0, &evaluation));
    assert_int_equal(evaluation->images, 50);
    assert_true(fabs(evaluation->loss - result.test_loss) < 1e-5);
    assert_true(evaluation->accuracy == result.test_accuracy);
    unsigned long long right = 0, all = 0;
    for (int c = 0; c < evaluation->class_count; c++) {
        right += evaluation->confusion[c * evaluation->class_count + c];
        all += evaluation->classes[c]->support;
        assert_non_null(evaluation->classes[c]->name);
    }
    assert_true(all == 50 && (double)right / 50 == evaluation->accuracy);
    convoy_evaluation_free(evaluation);
    convoy_model_free(model);
}

typedef struct events {
    int start, step, report, test, epoch;
    size_t reported[16];
    unsigned long long last_step;
    bool in_order;
} events;

static int count_event(void *context, const convoy_progress *p) {
    events *e = context;
    e->in_order = e->in_order && p->step >= e->last_step && p->images_total == 200;
    e->last_step = p->step;
    switch (p->kind) {
    case CONVOY_PROGRESS_START:
        e->start++;
        break;
    case CONVOY_PROGRESS_STEP:
        e->step++;
        break;
    case CONVOY_PROGRESS_REPORT:
        assert_true(isfinite(p->train_loss) && isfinite(p->batch_loss));
        e->reported[e->report++ % 16] = p->images_done;
        break;
    case CONVOY_PROGRESS_TEST:
        assert_true(isfinite(p->test_loss));
        e->test++;
        break;
    case CONVOY_PROGRESS_EPOCH:
        assert_true(p->images_done == 200 && isfinite(p->test_accuracy));
        e->epoch++;
        break;
    }
    return 1;
}

static void reports_as_the_recipe_says(void **state) {
    const fixture *f = *state;
    convoy_model *model = tiny(f, "  optimizer: {SGD: {lr: 0.1}}\n  batch_size: 20\n  epochs: 2\n"
                                  "  reports_per_epoch: 5\n  eval_every: 4\n");
    events e = {.in_order = true};
    const convoy_train_options options = {.progress = count_event, .context = &e};
    assert_ok(convoy_train(model, test_device(), f->train, f->test, &options, NULL));
    assert_true(e.in_order);
    assert_int_equal(e.start, 1);
    assert_int_equal(e.step, 20);
    assert_int_equal(e.report, 10);
    const size_t expected[5] = {40, 80, 120, 160, 200};
    assert_memory_equal(e.reported, expected, sizeof expected);
    assert_int_equal(e.test, 4); /* after batches 4 and 8 of both epochs */
    assert_int_equal(e.epoch, 2);
    convoy_model_free(model);
}

static void writes_the_run_folder(void **state) {
    const fixture *f = *state;
    convoy_model *model =
        tiny(f, "  optimizer: {SGD: {lr: 0.1, momentum: 0.9}}\n  batch_size: 20\n  epochs: 2\n"
                "  eval_every: 4\n");
    const char *out = test_path(f->folder, "a/run");
    convoy_train_options options = {.out = out};
    assert_ok(cvy_folder_create(out));
    test_write(out, "last.safetensors.123-0.tmp", "left by a killed run");
    assert_ok(convoy_train(model, test_device(), f->train, f->test, &options, NULL));
    char *metrics = test_read_text(test_path(out, "metrics.csv"), NULL);
    const char *header =
        "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second,"
        "val_loss,val_accuracy,lr\n";
    assert_memory_equal(metrics, header, strlen(header));
    int rows = -1;
    for (const char *c = metrics; *c; c++)
        rows += *c == '\n';
    assert_int_equal(rows, 6); /* steps 4, 8 and 10 of each epoch */
    assert_non_null(strstr(metrics, "\n1,10,"));
    assert_non_null(strstr(metrics, "\n2,20,"));
    free(metrics);
    assert_false(cvy_file_exists(test_path(out, "last.safetensors.123-0.tmp")));
    convoy_model *again = load(test_path(out, "model.yaml"));
    assert_ok(convoy_model_load_weights(again, test_path(out, "best.safetensors")));
    assert_ok(convoy_model_load_weights(again, test_path(out, "last.safetensors")));
    for (size_t t = 0; t < convoy_model_tensor_count(model); t++) {
        convoy_tensor a = *convoy_model_tensor(model, t), b = *convoy_model_tensor(again, t);
        assert_memory_equal(a.values, b.values, a.shape[0] * sizeof(float));
    }
    cvy_tensor_file *file = NULL;
    assert_ok(cvy_tensor_file_load(test_path(out, "last.safetensors"), &file));
    assert_string_equal(cvy_tensor_file_metadata(file, "class_names"), "10"); /* numbers only */
    assert_non_null(cvy_tensor_file_metadata(file, "image"));
    cvy_tensor_file_free(file);
    assert_fails(convoy_train(model, test_device(), f->train, f->test, &options, NULL), CONVOY_INVALID,
                 "already holds a run of 20 steps");
    convoy_model_free(again);
    convoy_model_free(model);
}

static void starts_from_given_weights(void **state) {
    const fixture *f = *state;
    convoy_model *model = tiny(f, "  optimizer: {SGD: {lr: 0}}\n  batch_size: 50\n  epochs: 1\n");
    convoy_train_result fresh = {0}, kept = {0}, from_file = {0};
    convoy_train_options options = {.seed = 1};
    const char *weights = test_path(f->folder, "w.safetensors");
    assert_ok(convoy_train(model, test_device(), f->train, f->test, &options, &fresh));
    assert_ok(convoy_model_initialise(model, 7));
    assert_ok(convoy_model_save_weights(model, weights));
    options.keep_weights = 1;
    assert_ok(convoy_train(model, test_device(), f->train, f->test, &options, &kept));
    options.keep_weights = 0;
    options.init = weights;
    assert_ok(convoy_train(model, test_device(), f->train, f->test, &options, &from_file));
    assert_true(kept.train_loss == from_file.train_loss && kept.test_loss == from_file.test_loss);
    assert_true(kept.train_loss != fresh.train_loss);
    convoy_model_free(model);
}

static void trains_without_a_test_set(void **state) {
    const fixture *f = *state;
    convoy_model *model =
        tiny(f, "  optimizer: {SGD: {lr: 0.1}}\n  batch_size: 50\n  epochs: 1\n  eval_every: 1\n");
    convoy_train_result result = {0};
    const char *out = test_path(f->folder, "run");
    const convoy_train_options options = {.out = out};
    assert_ok(convoy_train(model, test_device(), f->train, NULL, &options, &result));
    assert_true(isnan(result.test_accuracy) && isnan(result.best_test_accuracy) && result.best_epoch == 0);
    assert_false(cvy_file_exists(test_path(out, "best.safetensors")));
    char *metrics = test_read_text(test_path(out, "metrics.csv"), NULL);
    assert_non_null(strstr(metrics, ",,,")); /* no test figures */
    free(metrics);
    convoy_model_free(model);
}

/* ---- what goes wrong ---- */

static void a_diverged_run_keeps_its_last_good_state(void **state) {
    const fixture *f = *state;
    convoy_model *model =
        tiny(f, "  optimizer: {SGD: {lr: 1e6, weight_decay: 1e6}}\n  batch_size: 20\n  epochs: 3\n");
    const char *out = test_path(f->folder, "run");
    convoy_train_options options = {.out = out};
    convoy_train_result result = {0};
    assert_fails(convoy_train(model, test_device(), f->train, f->test, &options, &result), CONVOY_FAILED,
                 "Lower the learning");
    assert_non_null(strstr(convoy_error_message(), "step"));
    cvy_tensor_file *file = NULL;
    assert_ok(cvy_tensor_file_load(test_path(out, "checkpoint.safetensors"), &file));
    for (size_t t = 0; t < cvy_tensor_file_count(file); t++) {
        cvy_named_tensor tensor = cvy_tensor_file_get(file, t);
        for (size_t i = 0; strcmp(tensor.dtype, "F32") == 0 && i < tensor.bytes / sizeof(float); i++)
            assert_true(isfinite(((const float *)tensor.data)[i]));
    }
    cvy_tensor_file_free(file);
    convoy_model_free(model);
}

static void refuses_data_that_does_not_fit(void **state) {
    const fixture *f = *state;
    convoy_model *model = tiny(f, "  optimizer: {SGD: {lr: 0.1}}\n");
    convoy_dataset *seven = open_set("train", 20, 7);
    assert_fails(convoy_train(model, test_device(), seven, NULL, NULL, NULL), CONVOY_INVALID, "7 classes");
    assert_fails(convoy_train(model, test_device(), f->train, seven, NULL, NULL), CONVOY_INVALID,
                 "7 classes");
    const convoy_evaluation *evaluation = NULL;
    assert_fails(convoy_evaluate(model, test_device(), seven, 0, &evaluation), CONVOY_INVALID, "10 outputs");
    assert_null(evaluation);
    convoy_dataset_free(seven);
    convoy_model_free(model);
}

static void refuses_options_that_contradict(void **state) {
    const fixture *f = *state;
    convoy_model *model = tiny(f, "  optimizer: {SGD: {lr: 0.1}}\n");
    const struct {
        convoy_train_options options;
        const char *message;
    } cases[] = {
        {{.resume = 1}, "needs the folder"},
        {{.resume = 1, .out = test_path(f->folder, "nothing-here")}, "cannot resume"},
        {{.resume = 1, .out = f->folder, .keep_weights = 1}, "leave out the initial weights"},
        {{.init = "w", .keep_weights = 1}, "not from both"},
        {{.init_strict = 1}, "need a file of them"},
        {{.epochs = -1}, "at least 1"},
        {{.batch_size = -3}, "at least 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(convoy_train(model, test_device(), f->train, NULL, &cases[i].options, NULL),
                     CONVOY_INVALID, cases[i].message);
    assert_false(cvy_folder_exists(test_path(f->folder, "nothing-here")));
    convoy_model_free(model);
}

static void says_which_batch_would_fit(void **state) {
    const fixture *f = *state;
    convoy_dataset *set = NULL;
    const convoy_dataset_options large = {.channels = 1, .height = 256, .width = 256, .synthetic_images = 4};
    convoy_model *model = load(test_write(f->folder, "large.yaml",
                                          "name: large\ninput: [1, 256, 256]\nlayers:\n"
                                          "  - Conv2d: {out_channels: 8, kernel_size: 3}\n  - Flatten\n"
                                          "  - Linear: {out_features: 10}\n"
                                          "recipe: {optimizer: {SGD: {lr: 0.1}}}\n"));
    assert_ok(convoy_dataset_open("synthetic", "train", &large, &set));
    const convoy_train_options options = {.batch_size = 1 << 20}; /* some 2 TB */
    assert_fails(convoy_train(model, test_device(), set, NULL, &options, NULL), CONVOY_MEMORY, "batch");
    convoy_dataset_free(set);
    convoy_model_free(model);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(learns_and_agrees_with_evaluation),
        TEST(reports_as_the_recipe_says),
        TEST(writes_the_run_folder),
        TEST(starts_from_given_weights),
        TEST(trains_without_a_test_set),
        TEST(a_diverged_run_keeps_its_last_good_state),
        TEST(refuses_data_that_does_not_fit),
        TEST(refuses_options_that_contradict),
        TEST(says_which_batch_would_fit),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
