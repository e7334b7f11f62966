/* Monitors, early stopping, validation and the test set at the end, on the host: what the curves in
 * metrics.csv say. */
#include "base/file.h"
#include "convoy/train.h"
#include "data/dataset.h"
#include "model/model.h"
#include "support/run.h"

enum { ROWS = 64, FIELDS = 11, TEST_LOSS = 4, TEST_ACCURACY, VAL_LOSS = 8, VAL_ACCURACY, RATE };

typedef struct fixture {
    char *folder;
    convoy_device *host;
    convoy_dataset *train, *validation, *test;
} fixture;

static convoy_dataset *open_set(const char *split, size_t limit) {
    convoy_dataset *set = NULL;
    const convoy_dataset_options options = {
        .channels = 1, .height = 8, .width = 8, .synthetic_images = limit, .synthetic_classes = 5};
    assert_ok(convoy_dataset_open("synthetic", split, &options, &set));
    return set;
}

static int open_fixture(void **state) {
    static fixture f;
    f.folder = test_folder_create();
    assert_ok(convoy_device_open("host", &f.host));
    f.train = open_set("train", 150);
    f.test = open_set("test", 60);
    assert_ok(convoy_dataset_split(f.train, 0.3, 1, &f.validation));
    *state = &f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    convoy_dataset_free(f->train);
    convoy_dataset_free(f->validation);
    convoy_dataset_free(f->test);
    convoy_device_close(f->host);
    test_folder_remove(f->folder);
    return 0;
}

static convoy_model *load(const fixture *f, const char *recipe) {
    char text[1024];
    convoy_model *model = NULL;
    snprintf(
        text, sizeof text,
        "input: [1, 8, 8]\nlayers: [Flatten, {Linear: {out_features: 5}}]\nrecipe:\n  batch_size: 15\n%s",
        recipe);
    assert_ok(convoy_model_load(test_write(f->folder, "judge.yaml", text), NULL, &model));
    return model;
}

/* A high rate, so that the curves go up and down. */
#define NOISY "  optimizer: {SGD: {lr: 0.7, momentum: 0.9}}\n"

/* The numbers of metrics.csv; empty fields are NaN. */
static size_t read_rows(const char *folder, double rows[ROWS][FIELDS]) {
    char *text = test_read_text(test_path(folder, "metrics.csv"), NULL);
    size_t count = 0;
    for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        char *at = line;
        assert_true(count < ROWS);
        for (int i = 0; i < FIELDS; i++) {
            char *end;
            rows[count][i] = strtod(at, &end);
            if (end == at)
                rows[count][i] = NAN;
            assert_true(*end == (i < FIELDS - 1 ? ',' : '\n'));
            at = end + 1;
        }
        count++;
    }
    free(text);
    return count;
}

static convoy_status train(const fixture *f, const char *recipe, convoy_train_options options,
                           convoy_train_result *result) {
    convoy_model *model = load(f, recipe);
    const convoy_status status = convoy_train(model, f->host, f->train, f->test, &options, result);
    convoy_model_free(model);
    return status;
}

/* The epoch that is best in a column, up to one, from 1. */
static int best_of(double rows[ROWS][FIELDS], size_t count, int column, bool least) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (least ? rows[i][column] < rows[best][column] : rows[i][column] > rows[best][column])
            best = i;
    return (int)best + 1;
}

static void best_is_what_the_monitor_says(void **state) {
    const fixture *f = *state;
    double rows[ROWS][FIELDS];
    convoy_train_result result = {0};
    const char *accuracy = test_path(f->folder, "accuracy"), *loss = test_path(f->folder, "loss");
    assert_ok(train(f, NOISY "  epochs: 12\n", (convoy_train_options){.out = accuracy}, &result));
    assert_int_equal(result.best_epoch, best_of(rows, read_rows(accuracy, rows), TEST_ACCURACY, false));
    assert_true(isnan(result.val_loss) && isnan(rows[0][VAL_LOSS]) && isnan(result.best_val_accuracy));
    assert_ok(
        train(f, NOISY "  epochs: 12\n  monitor: loss\n", (convoy_train_options){.out = loss}, &result));
    assert_int_equal(result.best_epoch, best_of(rows, read_rows(loss, rows), TEST_LOSS, true));
    assert_true(result.best_test_accuracy == rows[result.best_epoch - 1][TEST_ACCURACY]);
    assert_true(rows[11][RATE] == 0.7);
}

/* Where patience ends by the curve: the epoch, from 1. */
static size_t end_of(double rows[ROWS][FIELDS], size_t count, int column, bool least, double delta,
                     int patience) {
    double best = NAN;
    int waiting = 0;
    for (size_t i = 0; i < count; i++) {
        const double value = rows[i][column];
        if (isnan(best) || (least ? value < best - delta : value > best + delta)) {
            best = value;
            waiting = 0;
        } else if (++waiting == patience) {
            return i + 1;
        }
    }
    return 0;
}

static void stops_where_the_curve_says(void **state) {
    const fixture *f = *state;
    double rows[ROWS][FIELDS];
    convoy_train_result result = {0};
    static const char free_run[] = NOISY "  epochs: 40\n  monitor: loss\n";
    static const char stopping[] =
        NOISY "  epochs: 40\n  monitor: loss\n  early_stopping: {patience: 3, min_delta: 0.01}\n";
    const char *whole = test_path(f->folder, "whole"), *stopped = test_path(f->folder, "stopped"),
               *parts = test_path(f->folder, "parts");
    assert_ok(train(f, free_run, (convoy_train_options){.out = whole}, NULL));
    const size_t expected = end_of(rows, read_rows(whole, rows), TEST_LOSS, true, 0.01, 3);
    assert_in_range(expected, 5, 39);
    assert_ok(train(f, stopping, (convoy_train_options){.out = stopped}, &result));
    assert_int_equal(result.epochs, expected);
    assert_int_equal(read_rows(stopped, rows), expected);
    /* One epoch before the end, and in it. */
    const unsigned long long steps = result.steps;
    assert_ok(train(f, stopping, (convoy_train_options){.out = parts, .max_steps = steps - 10}, NULL));
    assert_ok(
        train(f, stopping, (convoy_train_options){.out = parts, .resume = 1, .max_steps = steps - 1}, NULL));
    assert_ok(train(f, stopping, (convoy_train_options){.out = parts, .resume = 1}, &result));
    assert_int_equal(result.epochs, expected);
    test_same_run(stopped, parts);
    /* It has ended. */
    assert_ok(train(f, stopping, (convoy_train_options){.out = parts, .resume = 1}, &result));
    assert_int_equal(result.steps, steps);
}

/* What each monitor is after 1, 2, ... epochs: by runs of that length, evaluated. */
static void find_curve(const fixture *f, const char *recipe, int monitor, double *curve, int epochs) {
    for (int e = 0; e < epochs; e++) {
        const convoy_evaluation *found = NULL;
        convoy_model *model = load(f, recipe);
        const convoy_train_options options = {.epochs = e + 1};
        assert_ok(convoy_train(model, f->host, f->train, f->test, &options, NULL));
        assert_ok(convoy_evaluate(model, f->host, f->test, 0, &found));
        const double of[] = {found->accuracy, found->loss, found->macro_f1, found->balanced_accuracy};
        curve[e] = of[monitor];
        convoy_evaluation_free(found);
        convoy_model_free(model);
    }
}

/* Best and end by each of the monitors, in one piece and in three. */
static void each_monitor_across_a_resume(void **state) {
    const fixture *f = *state;
    enum { EPOCHS = 12, PATIENCE = 2, STEPS = 10 };
    static const char *const monitors[] = {"accuracy", "loss", "macro_f1", "balanced_accuracy"};
    int ended = 0;
    for (int m = 0; m < 4; m++) {
        char recipe[256];
        double curve[EPOCHS];
        convoy_train_result whole = {0}, parts = {0};
        snprintf(recipe, sizeof recipe, NOISY "  epochs: %d\n  monitor: %s\n", EPOCHS, monitors[m]);
        find_curve(f, recipe, m, curve, EPOCHS);
        int best = 0, end = EPOCHS;
        for (int e = 1; e < end; e++)
            if (m == 1 ? curve[e] < curve[best] : curve[e] > curve[best])
                best = e;
            else if (e - best == PATIENCE)
                end = e + 1;
        ended += end < EPOCHS;
        snprintf(recipe + strlen(recipe), sizeof recipe - strlen(recipe),
                 "  early_stopping: {patience: %d}\n", PATIENCE);
        const char *a = test_path(f->folder, monitors[m]), *b = test_path(a, "parts");
        assert_ok(train(f, recipe, (convoy_train_options){.out = a}, &whole));
        const unsigned long long last = whole.steps;
        assert_ok(train(f, recipe, (convoy_train_options){.out = b, .max_steps = STEPS + 3}, NULL));
        assert_ok(
            train(f, recipe, (convoy_train_options){.out = b, .resume = 1, .max_steps = last - 4}, NULL));
        assert_ok(train(f, recipe, (convoy_train_options){.out = b, .resume = 1}, &parts));
        if (whole.epochs != end || whole.best_epoch != best + 1 || parts.epochs != end ||
            parts.best_epoch != best + 1)
            fail_msg("%s: ends at %d with the best at %d, resumed at %d and %d; the curve says %d and %d",
                     monitors[m], whole.epochs, whole.best_epoch, parts.epochs, parts.best_epoch, end,
                     best + 1);
        test_same_run(a, b);
    }
    assert_true(ended >= 2); /* or patience was not tried */
}

/* A test set that counts how often its images are asked for. */
static convoy_status count_images(void *context, const uint32_t *indices, size_t count, void *pixels,
                                  int32_t *labels) {
    uint8_t *to = pixels;
    *(size_t *)context += count;
    for (size_t i = 0; i < count; i++) {
        labels[i] = (int32_t)(indices[i] % 5);
        for (size_t p = 0; p < 64; p++)
            to[i * 64 + p] = (uint8_t)(indices[i] * 31 + p * 7);
    }
    return CONVOY_OK;
}

static void the_test_set_is_for_the_end(void **state) {
    const fixture *f = *state;
    double rows[ROWS][FIELDS];
    size_t asked = 0;
    convoy_dataset *counted = NULL;
    convoy_train_result result = {0};
    const convoy_evaluation *e = NULL;
    const char *out = test_path(f->folder, "run");
    const convoy_images images = {.count = 60, .channels = 1, .height = 8, .width = 8, .classes = 5};
    assert_ok(convoy_dataset_from_function(&images, count_images, &asked, &counted));
    convoy_model *model = load(f, NOISY "  epochs: 12\n  ema: 0.5\n");
    const convoy_train_options options = {.out = out, .validation = f->validation};
    assert_ok(convoy_train(model, f->host, f->train, counted, &options, &result));
    assert_int_equal(asked, 60);
    assert_int_equal(read_rows(out, rows), 12);
    for (int i = 0; i < 12; i++) {
        assert_true(isfinite(rows[i][VAL_LOSS]) && isfinite(rows[i][VAL_ACCURACY]));
        assert_int_equal(isfinite(rows[i][TEST_LOSS]) && isfinite(rows[i][TEST_ACCURACY]), i == 11);
    }
    assert_int_equal(result.best_epoch, best_of(rows, 12, VAL_ACCURACY, false));
    assert_true(result.best_epoch < 12); /* or the next lines prove nothing */
    assert_true(result.best_val_accuracy == rows[result.best_epoch - 1][VAL_ACCURACY]);
    assert_true(isnan(result.best_test_accuracy) && result.val_loss == rows[11][VAL_LOSS]);
    /* The test's figures are those of the best weights; the model has the last ones. */
    assert_ok(convoy_evaluate(model, f->host, f->validation, 0, &e));
    assert_true(fabs(e->loss - result.val_loss) < 1e-6);
    convoy_evaluation_free(e);
    assert_ok(convoy_model_load_weights(model, test_path(out, "best.safetensors")));
    assert_ok(convoy_evaluate(model, f->host, counted, 0, &e));
    assert_true(fabs(e->loss - result.test_loss) < 1e-6 && e->accuracy == result.test_accuracy);
    assert_true(rows[11][TEST_LOSS] == result.test_loss);
    convoy_evaluation_free(e);
    convoy_dataset_free(counted);
    convoy_model_free(model);
}

/* ---- sets ---- */

static void a_part_has_its_share_of_each_class(void **state) {
    const fixture *f = *state;
    size_t images[2][5] = {{0}};
    const convoy_dataset *const sets[2] = {f->train, f->validation};
    convoy_dataset *whole = open_set("train", 150), *again = NULL, *rest = open_set("train", 150),
                   *none = NULL;
    size_t before[5] = {0};
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < convoy_dataset_count(sets[i]); k++)
            images[i][convoy_dataset_label(sets[i], k)]++;
    for (size_t k = 0; k < 150; k++)
        before[convoy_dataset_label(whole, k)]++;
    for (int c = 0; c < 5; c++) {
        assert_int_equal(images[0][c] + images[1][c], before[c]);
        assert_int_equal(images[1][c], (size_t)((double)before[c] * 0.3 + 0.5));
    }
    /* The same images again by the same seed, others by another; none is in both. */
    assert_ok(convoy_dataset_split(whole, 0.3, 1, &again));
    uint8_t a[64], b[64];
    for (size_t k = 0; k < convoy_dataset_count(again); k++) {
        assert_ok(convoy_dataset_image(again, k, a));
        assert_ok(convoy_dataset_image(f->validation, k, b));
        assert_memory_equal(a, b, sizeof a);
        for (size_t t = 0; t < convoy_dataset_count(f->train); t++) {
            assert_ok(convoy_dataset_image(f->train, t, b));
            assert_true(memcmp(a, b, sizeof a) != 0);
        }
    }
    convoy_dataset_free(again);
    assert_ok(convoy_dataset_split(rest, 0.3, 2, &again));
    size_t same = 0;
    for (size_t k = 0; k < convoy_dataset_count(again); k++) {
        assert_ok(convoy_dataset_image(again, k, a));
        assert_ok(convoy_dataset_image(f->validation, k, b));
        same += memcmp(a, b, sizeof a) == 0;
    }
    assert_true(same < convoy_dataset_count(again));
    assert_fails(convoy_dataset_split(rest, 0.001, 2, &none), CONVOY_INVALID, "is empty");
    assert_null(none);
    convoy_dataset_free(again);
    convoy_dataset_free(rest);
    convoy_dataset_free(whole);
}

/* Each image is in one fold. */
static void folds_make_up_the_set(void **state) {
    size_t counts[5] = {0}, all = 0;
    (void)state;
    for (int fold = 0; fold < 4; fold++) {
        convoy_dataset *set = open_set("train", 90), *part = NULL;
        assert_ok(cvy_dataset_fold(set, fold, 4, 5, &part));
        assert_int_equal(convoy_dataset_count(set) + convoy_dataset_count(part), 90);
        assert_in_range(convoy_dataset_count(part), 20, 26);
        all += convoy_dataset_count(part);
        for (size_t i = 0; i < convoy_dataset_count(part); i++)
            counts[convoy_dataset_label(part, i)]++;
        convoy_dataset_free(part);
        convoy_dataset_free(set);
    }
    convoy_dataset *whole = open_set("train", 90);
    assert_int_equal(all, 90);
    for (size_t i = 0; i < 90; i++)
        counts[convoy_dataset_label(whole, i)]--;
    for (int c = 0; c < 5; c++)
        assert_int_equal(counts[c], 0);
    convoy_dataset_free(whole);
}

/* ---- what the sets cannot give ---- */

static void says_what_does_not_fit(void **state) {
    const fixture *f = *state;
    static const struct {
        const char *recipe, *message;
    } cases[] = {
        {"  class_weights: [1, 2, 3, 4, 5, 6]\n",
         "judge.yaml:5:34: class_weights: a weight for class 5, but there are "
         "only 5 classes"},
        {"  class_weights: [1, 2]\n", "class_weights: 2 weights for 5 classes; class 2 has none"},
        {"  class_weights: {cat: 2}\n", "judge.yaml:5:19: class_weights: the data have no class `cat`"},
        {"  class_weights: {0: -2}\n", "a weight is a number from 0 on, found `-2`"},
        {"  class_weights: {0: 1e38}\n", "judge.yaml:5:22: class_weights: 1e38 is too large to be added up"},
        {"  class_weights: {0: 1e-40}\n", "1e-40 is too small"},
        {"  class_weights: {0: 0, 1: 0, 2: 0, 3: 0, 4: 0}\n", "all are 0"},
        {"  class_weights: fair\n", "`balanced`, a list of weights"},
        {"  sampler: balanced\n  shuffle: false\n", "cannot keep the set's own order"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(train(f, cases[i].recipe, (convoy_train_options){0}, NULL), CONVOY_INVALID,
                     cases[i].message);
    convoy_model *model = load(f, "  early_stopping: {patience: 3}\n");
    assert_fails(convoy_train(model, f->host, f->train, NULL, NULL, NULL), CONVOY_INVALID,
                 "needs a validation or test");
    convoy_model_free(model);
    model = load(f, "  scheduler: ReduceLROnPlateau\n");
    assert_fails(convoy_train(model, f->host, f->train, NULL, NULL, NULL), CONVOY_INVALID,
                 "needs a validation or test");
    convoy_model_free(model);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(best_is_what_the_monitor_says), TEST(stops_where_the_curve_says),
        TEST(the_test_set_is_for_the_end),   TEST(each_monitor_across_a_resume),
        TEST(says_what_does_not_fit),        TEST(a_part_has_its_share_of_each_class),
        TEST(folds_make_up_the_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
