/* convoy search: grids, draws, halving, folds; a search that was killed goes on, and nothing is done twice.
 * On the host. */
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "support/command.h"

enum { ROWS = 64 };

static char *folder;
static const char *model;

/* Numbers of a row of search.csv: trial, rung, fold, epochs, value. */
typedef struct row {
    double fields[5];
    char rest[256]; /* the settings and the folder */
} row;

static int set_up(void **state) {
    (void)state;
    folder = test_folder_create();
    model = test_write(
        folder, "tiny.yaml",
        "input: [1, 8, 8]\nlayers: [Flatten, {Linear: {out_features: 4}}]\nrecipe:\n  data: synthetic\n"
        "  optimizer: {SGD: {lr: 0.1}}\n  batch_size: 20\n  epochs: 4\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_run_free();
    test_folder_remove(folder);
    return 0;
}

#define SEARCH "search", model, "--device", "host", "--limit-train", "60", "--limit-test", "40", "--out"

static size_t read_rows(const char *out, row rows[ROWS]) {
    char *text = test_read_text(test_path(out, "search.csv"), NULL);
    size_t count = 0;
    for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        char *at = line;
        assert_true(count < ROWS);
        for (int i = 0; i < 9; i++) {
            char *end;
            const double value = strtod(at, &end);
            if (i < 5)
                rows[count].fields[i] = end == at ? NAN : value;
            assert_int_equal(*end, ',');
            at = end + 1;
        }
        snprintf(rows[count].rest, sizeof rows->rest, "%.*s", (int)strcspn(at, "\n"), at);
        count++;
    }
    free(text);
    return count;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void a_grid_is_tried_once(void **state) {
    (void)state;
    const char *out = test_path(folder, "grid");
    row rows[ROWS];
    const test_output *r = RUN(SEARCH, out, "--grid", "lr=0.3,0.0", "--grid", "batch_size=20,30",
                               "--val-fraction", "0.3", "--json");
    assert_int_equal(r->code, 0);
    test_keys(r->json, "model device monitor trials best");
    const json_t *trials = json_object_get(r->json, "trials"), *best = json_object_get(r->json, "best");
    assert_int_equal(json_array_size(trials), 4);
    test_keys(best, "trial settings epochs value out");
    assert_string_equal(json_string_value(json_object_get(json_object_get(best, "settings"), "lr")), "0.3");
    assert_true(number(best, "value") > number(json_array_get(trials, 3), "value"));
    assert_true(
        cvy_file_exists(test_path(json_string_value(json_object_get(best, "out")), "best.safetensors")));
    assert_int_equal(read_rows(out, rows), 4);
    assert_non_null(strstr(rows[1].rest, "0.3,30,"));
    assert_non_null(strstr(rows[2].rest, "0.0,20,"));
    /* A trial is what train does with its settings. */
    const double value = rows[1].fields[4];
    r = RUN("train", model, "--device", "host", "--limit-train", "60", "--limit-test", "40", "--val-fraction",
            "0.3", "--lr", "0.3", "--batch-size", "30", "--out", test_path(folder, "same"), "--json");
    assert_true(fabs(number(r->json, "best_val_accuracy") - value) < 1e-9);
    char *before = test_read_text(test_path(out, "search.csv"), NULL);
    r = RUN(SEARCH, out, "--grid", "lr=0.3,0.0", "--grid", "batch_size=20,30", "--val-fraction", "0.3",
            "--json");
    char *after = test_read_text(test_path(out, "search.csv"), NULL);
    assert_true(r->code == 0 && !strstr(r->err, "epoch 1/"));
    assert_string_equal(before, after);
    free(before);
    free(after);
    r = RUN(SEARCH, out, "--grid", "lr=0.3,0.1");
    assert_true(r->code == 2 && strstr(r->err, "holds another search"));
}

static void a_killed_search_goes_on(void **state) {
    (void)state;
    const char *whole = test_path(folder, "whole"), *out = test_path(folder, "killed"),
               *err = test_path(folder, "killed.err");
    row a[ROWS], b[ROWS];
#define TRIALS                                                                                               \
    "--limit-train", "2500", "--epochs", "12", "--grid", "lr=0.1,0.01,0.001", "--grid", "momentum=0,0.9"
    const char *const arguments[] = {"search", model, "--device", "host", TRIALS, "--out", out, NULL};
    const pid_t process = test_start(err, arguments);
    test_wait_for(process, err, "[2/6]");
    kill(process, SIGKILL);
    assert_int_equal(test_wait(process), -SIGKILL);
    const size_t done = read_rows(out, a);
    assert_in_range(done, 2, 5);
    assert_ok(cvy_file_append(test_path(out, "search.csv"), "6,1,1,12,0.", 11)); /* a row that was torn */
    assert_int_equal(RUN("search", model, "--device", "host", TRIALS, "--out", out)->code, 0);
    assert_int_equal(RUN("search", model, "--device", "host", TRIALS, "--out", whole)->code, 0);
#undef TRIALS
    assert_int_equal(read_rows(out, a), 6);
    assert_int_equal(read_rows(whole, b), 6);
    for (int i = 0; i < 6; i++) {
        assert_true(a[i].fields[0] == i + 1);
        assert_memory_equal(a[i].fields, b[i].fields, sizeof a->fields);
    }
}

static void a_third_goes_on(void **state) {
    (void)state;
    const char *out = test_path(folder, "halving");
    row rows[ROWS];
    const test_output *r =
        RUN(SEARCH, out, "--random", "6", "--range", "lr=log:1e-4:1", "--grid", "momentum=0,0.5", "--range",
            "batch_size=integer:10:20", "--halving", "--epochs", "9", "--json");
    assert_int_equal(r->code, 0);
    assert_int_equal(read_rows(out, rows), 6 + 2 + 1);
    const double epochs[] = {1, 3, 9};
    double best = -1;
    int first = 0;
    for (int i = 0; i < 9; i++) {
        const int rung = i < 6 ? 0 : i < 8 ? 1 : 2;
        assert_true(rows[i].fields[1] == rung + 1 && rows[i].fields[3] == epochs[rung]);
        if (rung == 0 && rows[i].fields[4] > best) {
            best = rows[i].fields[4];
            first = i + 1;
        }
    }
    assert_true(rows[6].fields[0] == first); /* the best of the first rung goes first into the second */
    assert_true(number(json_object_get(r->json, "best"), "trial") == rows[8].fields[0]);
    assert_true(number(json_object_get(r->json, "best"), "epochs") == 9);
    for (int i = 0; i < 6; i++) { /* drawn from where they should be */
        double lr, size;
        char momentum[8];
        assert_int_equal(sscanf(rows[i].rest, "%lf,%7[^,],%lf,", &lr, momentum, &size), 3);
        assert_true(lr >= 1e-4 && lr <= 1 && size >= 10 && size <= 20 && size == floor(size));
        assert_true(strcmp(momentum, "0") == 0 || strcmp(momentum, "0.5") == 0);
    }
}

static void folds_are_averaged(void **state) {
    (void)state;
    const char *out = test_path(folder, "folds");
    row rows[ROWS];
    const test_output *r =
        RUN(SEARCH, out, "--grid", "lr=0.2,0.02", "--folds", "3", "--set", "monitor=loss", "--json");
    assert_int_equal(r->code, 0);
    assert_int_equal(read_rows(out, rows), 6);
    double means[2] = {0, 0};
    for (int i = 0; i < 6; i++) {
        assert_true(rows[i].fields[2] == i % 3 + 1);
        assert_non_null(strstr(rows[i].rest, i % 3 == 1 ? "/fold-2" : "/fold-"));
        means[i / 3] += rows[i].fields[4] / 3;
    }
    const json_t *best = json_object_get(r->json, "best");
    assert_true(fabs(number(best, "value") - fmin(means[0], means[1])) < 1e-9);
    assert_true(number(best, "trial") == (means[0] <= means[1] ? 1 : 2));
}

static void failing_trials_are_passed_over(void **state) {
    (void)state;
    row rows[ROWS];
    const char *out = test_path(folder, "failing");
    const test_output *r =
        RUN(SEARCH, out, "--grid", "lr=1e6,0.1", "--set", "weight_decay=1e6", "--epochs", "40");
    assert_int_equal(r->code, 1); /* none is left */
    assert_non_null(strstr(r->err, "every trial failed"));
    r = RUN(SEARCH, test_path(folder, "mixed"), "--grid", "weight_decay=1e6,0", "--set", "lr=1e4", "--epochs",
            "40", "--set", "momentum=0");
    assert_int_equal(read_rows(test_path(folder, "mixed"), rows), 2);
    assert_true(r->code == 0 && isnan(rows[0].fields[4]) && isfinite(rows[1].fields[4]));
    assert_non_null(strstr(r->err, "trial 1 failed: the loss became NaN"));
}

/* SGD has no lr of its own, but the search gives it one. */
static void keys_that_need_each_other(void **state) {
    (void)state;
    const char *const optimizers[] = {"optimizer=SGD,Adam", "optimizer=Adam,SGD"};
    for (int i = 0; i < 2; i++) {
        const test_output *r = RUN(SEARCH, test_path(folder, optimizers[i]), "--random", "2", "--epochs", "1",
                                   "--grid", optimizers[i], "--range", "lr=log:1e-2:1");
        if (r->code)
            fail_msg("%s", r->err);
    }
}

static void says_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *options[4], *message;
    } cases[] = {
        {{NULL}, "what is to be tried?"},
        {{"--grid", "lrr=0.1"},
         "--grid lrr=0.1: setting `lrr`: neither a key of the recipe nor a parameter of the "
         "model; did you mean `lr`?"},
        {{"--grid", "lr=0.1,x"}, "--grid lr=0.1,x: setting lr: SGD: `lr` must be a number"},
        {{"--grid", "optimizer=SGD,Adam"}, "setting optimizer: SGD: `lr` is missing"},
        {{"--grid", "lr"}, "expected key=value,value"},
        {{"--grid", "lr=1,,2"}, "a value is empty"},
        {{"--range", "lr=log:1e-3:1"}, "say how often with --random N"},
        {{"--random", "3", "--range", "lr=log:0:1"}, "begins above 0"},
        {{"--random", "3", "--range", "lr=1:0"}, "expected key=log:LOW:HIGH"},
        {{"--grid", "lr=1", "--grid", "lr=2"}, "this key was given before"},
        {{"--grid", "scheduler=OneCycleLR,StepLR"}, "`max_lr` is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *arguments[16] = {"search", model, "--device", "host", "--out", test_path(folder, "none")};
        for (int k = 0; k < 4; k++)
            arguments[6 + k] = cases[i].options[k];
        const test_output *r = test_run(arguments);
        if (r->code != 2 || !strstr(r->err, cases[i].message))
            fail_msg("`%s`: %d, %s", cases[i].message, r->code, r->err);
    }
    assert_false(cvy_folder_exists(test_path(folder, "none")));
    const test_output *r = RUN(SEARCH, test_path(folder, "none"), "--grid", "lr=1,2", "--halving", "--set",
                               "scheduler=CosineAnnealingLR");
    assert_true(r->code == 2 && strstr(r->err, "give it T_max or total_steps"));
    r = RUN(SEARCH, test_path(folder, "none"), "--grid", "lr=1,2", "--folds", "3", "--val-fraction", "0.2");
    assert_true(r->code == 2 && strstr(r->err, "leave out --val-fraction"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grid_is_tried_once),      cmocka_unit_test(a_killed_search_goes_on),
        cmocka_unit_test(a_third_goes_on),           cmocka_unit_test(folds_are_averaged),
        cmocka_unit_test(says_what_is_wrong),        cmocka_unit_test(failing_trials_are_passed_over),
        cmocka_unit_test(keys_that_need_each_other),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
