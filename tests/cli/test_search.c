/* convoy search: grids, draws, halving, folds; a search that was killed goes on, and nothing is done twice.
 * On the host. */
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "report/canvas.h"
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
    const char *out = test_path(folder, "grid\x1b[31m");
    row rows[ROWS];
    const test_output *r = RUN(SEARCH, out, "--grid", "lr=0.3,0.0", "--grid", "batch_size=20,30",
                               "--val-fraction", "0.3", "--json");
    assert_int_equal(r->code, 0);
    test_keys(r->json, "model device monitor trials best test");
    assert_true(strstr(r->err, "grid\\x1B[31m/trial-00") && !strchr(r->err, '\x1b'));
    const json_t *trials = json_object_get(r->json, "trials"), *best = json_object_get(r->json, "best");
    assert_int_equal(json_array_size(trials), 4);
    test_keys(best, "trial settings epochs value out");
    assert_string_equal(json_string_value(json_object_get(json_object_get(best, "settings"), "lr")), "0.3");
    assert_true(number(best, "value") > number(json_array_get(trials, 3), "value"));
    assert_true(
        cvy_file_exists(test_path(json_string_value(json_object_get(best, "out")), "best.safetensors")));
    assert_int_equal(read_rows(out, rows), 4);
    assert_non_null(strstr(rows[1].rest, "0.3,30,"));
    assert_non_null(strstr(rows[1].rest, "/trial-002,Host CPU without OpenCL"));
    assert_non_null(strstr(rows[2].rest, "0.0,20,"));
    /* The test images, which the trials left alone, are answered by the best. */
    const json_t *test = json_object_get(r->json, "test");
    char run[256];
    snprintf(run, sizeof run, "%s", json_string_value(json_object_get(best, "out")));
    const double accuracy = number(test, "accuracy"), precision = number(test, "macro_precision");
    test_keys(test, "images accuracy macro_precision macro_recall macro_f1");
    assert_true(number(test, "images") == 40 && strstr(r->err, "best weights on 40 test images: accuracy "));
    r = RUN("eval", test_path(run, "model.yaml"), "--device", "host", "--limit", "40", "--weights",
            test_path(run, "best.safetensors"), "--json");
    assert_true(fabs(number(r->json, "accuracy") - accuracy) < 1e-9);
    assert_true(fabs(number(r->json, "macro_precision") - precision) < 1e-9);
    /* A trial is what train does with its settings. */
    const double value = rows[1].fields[4];
    r = RUN("train", model, "--device", "host", "--limit-train", "60", "--limit-test", "40", "--val-fraction",
            "0.3", "--lr", "0.3", "--batch-size", "30", "--out", test_path(folder, "same"), "--json");
    assert_true(fabs(number(r->json, "best_val_accuracy") - value) < 1e-9);
    char *before = test_read_text(test_path(out, "search.csv"), NULL);
    r = RUN(SEARCH, out, "--grid", "lr=0.3,0.0", "--grid", "batch_size=20,30", "--val-fraction", "0.3",
            "--json", cvy_canvas_check() ? NULL : "--report");
    char *after = test_read_text(test_path(out, "search.csv"), NULL);
    assert_true(r->code == 0 && !strstr(r->err, "epoch 1/"));
    assert_string_equal(before, after);
    free(before);
    free(after);
    if (cvy_canvas_check() == CONVOY_OK) { /* its picture, and its page: the best run's, behind the table */
        assert_true(cvy_file_exists(test_path(out, "search.png")));
        assert_true(cvy_file_exists(test_path(run, "curves.png")) &&
                    cvy_file_exists(test_path(run, "answers.png")));
        assert_non_null(strstr(r->err, "the report is "));
        char *whole = test_read_text(test_path(out, "report.html"), NULL);
        assert_true(strstr(whole, "<h2>Search</h2>") && strstr(whole, "<h2>Images and answers</h2>"));
        free(whole);
        r = RUN("report", out, "--json", "--no-eval");
        assert_int_equal(r->code, 0);
        assert_string_equal(json_string_value(json_object_get(r->json, "out")),
                            test_path(out, "report.html"));
        char *page = test_read_text(test_path(out, "report.html"), NULL);
        static const char *const parts[] = {
            "<h2>Search</h2>",        "4 trials, the best first, by the highest accuracy",
            "alt=\"accuracy by lr\"", "alt=\"accuracy by lr and batch_size\"",
            "<th>batch_size</th>",    "<h2>Curves</h2>"};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            if (!strstr(page, parts[i]))
                fail_msg("the page lacks %s", parts[i]);
        free(page);
    }
    r = RUN(SEARCH, out, "--grid", "lr=0.3,0.1");
    assert_true(r->code == 2 && strstr(r->err, "holds another search"));
    r = RUN(SEARCH, run, "--grid", "lr=0.3,0.1");
    assert_true(r->code == 2 && strstr(r->err, "as its metrics.csv says"));
    r = RUN("train", model, "--device", "host", "--out", out);
    assert_true(r->code == 2 && strstr(r->err, "as its search.txt says"));
}

/* By trial, rung and fold: with several devices they end in any order. */
static int by_place(const void *a, const void *b) {
    const double *x = ((const row *)a)->fields, *y = ((const row *)b)->fields;
    for (int i = 0; i < 3; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* The same trainings, each once, with the same results; the order may be another. */
static void assert_same_table(const char *out, const char *other, size_t count) {
    row a[ROWS], b[ROWS];
    assert_int_equal(read_rows(out, a), count);
    assert_int_equal(read_rows(other, b), count);
    qsort(a, count, sizeof *a, by_place);
    qsort(b, count, sizeof *b, by_place);
    for (size_t i = 0; i < count; i++)
        if (memcmp(a[i].fields, b[i].fields, sizeof a->fields) != 0)
            fail_msg("trial %g, rung %g, fold %g: %.9g and %.9g", a[i].fields[0], a[i].fields[1],
                     a[i].fields[2], a[i].fields[4], b[i].fields[4]);
}

#define TRIALS                                                                                               \
    "--limit-train", "2500", "--epochs", "12", "--grid", "lr=0.1,0.01,0.001", "--grid", "momentum=0,0.9"

/* What nobody disturbed; made once. */
static const char *whole_search(void) {
    const char *whole = test_path(folder, "whole");
    if (!cvy_file_exists(test_path(whole, "search.csv")))
        assert_int_equal(RUN("search", model, "--device", "host", TRIALS, "--out", whole)->code, 0);
    return whole;
}

static pid_t start_search(const char *out, const char *err, const char *option, const char *devices) {
    const char *const arguments[] = {"search", model, option, devices, TRIALS, "--out", out, NULL};
    const pid_t process = test_start(err, arguments);
    test_wait_for(process, err, "[2/6]");
    return process;
}

static void goes_on(const char *out, const char *option, const char *devices) {
    const test_output *r = RUN("search", model, option, devices, TRIALS, "--out", out);
    if (r->code)
        fail_msg("going on failed: %s", r->err);
    assert_same_table(out, whole_search(), 6);
}

static void a_killed_search_goes_on(void **state) {
    (void)state;
    static const char *const options[][2] = {{"--device", "host"}, {"--devices", "host,host,host"}};
    for (int several = 0; several < 2; several++) {
        const char *out = test_path(folder, several ? "killed-many" : "killed"),
                   *err = test_path(folder, "killed.err");
        row rows[ROWS];
        const pid_t process = start_search(out, err, options[several][0], options[several][1]);
        kill(process, SIGKILL);
        assert_int_equal(test_wait(process), -SIGKILL);
        assert_in_range(read_rows(out, rows), 2, 5);
        char *before = test_read_text(test_path(out, "search.csv"), NULL);
        assert_ok(cvy_file_append(test_path(out, "search.csv"), "6,1,1,12,0.", 11)); /* a row that was torn */
        goes_on(out, options[several][0], options[several][1]);
        char *after = test_read_text(test_path(out, "search.csv"), NULL);
        assert_memory_equal(before, after, strlen(before)); /* nothing was done twice */
        free(before);
        free(after);
    }
}

/* Those that trained have ended with a state of theirs when the one that searches ends. Where the signal
   meets it between two trials nothing was under way: so a third one must have begun. */
static void ctrl_c_ends_all_and_saves(void **state) {
    (void)state;
    const char *out = test_path(folder, "stopped"), *err = test_path(folder, "stopped.err");
    row rows[ROWS];
    const pid_t process = start_search(out, err, "--devices", "host,host");
    test_wait_for(process, err, "trial 3 on host: epoch ");
    kill(process, SIGINT);
    assert_int_equal(test_wait(process), 130);
    char *told = test_read_text(err, NULL);
    if (!strstr(told, "each trial that was under way has saved") ||
        !strstr(told, "go on by the same command with --out"))
        fail_msg("it does not say how to go on: %s", told);
    assert_in_range(read_rows(out, rows), 2, 5);
    for (int trial = 1; trial <= 6; trial++) {
        char begun[64], name[64];
        snprintf(begun, sizeof begun, "trial %d on host: epoch ", trial);
        snprintf(name, sizeof name, "stopped/trial-00%d/checkpoint.safetensors", trial);
        if (strstr(told, begun) && !cvy_file_exists(test_path(folder, name)))
            fail_msg("trial %d has saved nothing: %s", trial, told);
    }
    free(told);
    goes_on(out, "--device", "host"); /* on fewer devices too */
}

/* Of the process itself; 0: it has none. */
static pid_t child_of(pid_t process) {
    char path[64];
    long child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", process, process);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%ld", &child) != 1)
        child = 0;
    if (file)
        fclose(file);
    return (pid_t)child;
}

static void a_child_that_dies_is_named(void **state) {
    (void)state;
    const char *out = test_path(folder, "died"), *err = test_path(folder, "died.err");
    const pid_t process = start_search(out, err, "--devices", "host,host"), child = child_of(process);
    if (child > 0)
        kill(child, SIGKILL);
    const int code = test_wait(process);
    if (child <= 0)
        skip(); /* a kernel that tells of no children */
    char *told = test_read_text(err, NULL);
    if (code != 1 || !strstr(told, " on host: its process ended with signal 9"))
        fail_msg("%d: %s", code, told);
    free(told);
    goes_on(out, "--devices", "host,host");
}
#undef TRIALS

/* Rungs and folds wait for each other as on one device. */
static void several_devices_find_the_same(void **state) {
    (void)state;
    static const char *const kinds[][2] = {{"--halving", "--epochs=9"}, {"--folds=3", "--epochs=2"}};
    static const size_t rows[] = {5 + 2 + 1, 15};
    for (int k = 0; k < 2; k++) {
        const char *one = test_path(folder, k ? "one-folds" : "one-halving"),
                   *two = test_path(folder, k ? "two-folds" : "two-halving");
#define DRAWS "--random", "5", "--range", "lr=log:1e-3:1", kinds[k][0], kinds[k][1], "--json"
        const test_output *r = RUN(SEARCH, one, DRAWS);
        assert_int_equal(r->code, 0);
        const double best = number(json_object_get(r->json, "best"), "trial");
        r = RUN("search", model, "--limit-train", "60", "--limit-test", "40", "--devices", "host,host",
                "--out", two, DRAWS);
#undef DRAWS
        if (r->code)
            fail_msg("%s", r->err);
        assert_true(number(json_object_get(r->json, "best"), "trial") == best);
        assert_string_equal(json_string_value(json_object_get(r->json, "device")),
                            "Host CPU without OpenCL, Host CPU without OpenCL");
        assert_non_null(strstr(r->err, k ? ", fold 3 on host: epoch 2/2" : " on host: epoch 9/9"));
        assert_non_null(strstr(r->err, "  on Host CPU without OpenCL\n"));
        for (const char *at = r->err; (at = strstr(at, "device: ")); at++) /* of what answers, too */
            assert_int_equal(strncmp(at, "device: Host CPU", 16), 0);
        assert_same_table(one, two, rows[k]);
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
        {{"--grid", "lr=1", "--devices", "host,"}, "give --device or --devices"},
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
    r = RUN(SEARCH, test_path(folder, "empty"), "--grid", "lr=1,2", "--folds", "100", "--limit-train", "8");
    assert_false(cvy_file_exists(test_path(folder, "empty/trial-001/fold-1/metrics.csv"))); /* at the start */
    if (r->code != 2 || !strstr(r->err, "--folds 100: a part of the 8 training images") ||
        !strstr(r->err, "take fewer"))
        fail_msg("%d: %s", r->code, r->err);
    r = RUN("search", model, "--devices", "host,,host", "--grid", "lr=1,2");
    assert_true(r->code == 2 && strstr(r->err, "--devices `host,,host`: a device is missing"));
    r = RUN("search", model, "--devices", "host,none such", "--grid", "lr=1,2", "--out",
            test_path(folder, "none"));
    if (r->code != 3 || !strstr(r->err, "none such: no device matches"))
        fail_msg("%d: %s", r->code, r->err);
}

/* PoCL shows two devices where it is told to; each gets a trial, and has too few images for it. */
static void automatic_lists_have_every_device(void **state) {
    (void)state;
    const char *pocl = getenv("OCL_ICD_VENDORS");
    if (!pocl || !strstr(pocl, "pocl"))
        skip();
    setenv("POCL_DEVICES", "pthread pthread", 1);
    const test_output *r = RUN("search", model, "--devices", "auto", "--grid", "lr=1,2", "--folds", "100",
                               "--limit-train", "8", "--out", test_path(folder, "auto"));
    unsetenv("POCL_DEVICES");
    if (r->code != 2 || !strstr(r->err, "0:0") || !strstr(r->err, "0:1"))
        fail_msg("%d: %s", r->code, r->err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grid_is_tried_once),
        cmocka_unit_test(a_killed_search_goes_on),
        cmocka_unit_test(ctrl_c_ends_all_and_saves),
        cmocka_unit_test(a_child_that_dies_is_named),
        cmocka_unit_test(several_devices_find_the_same),
        cmocka_unit_test(automatic_lists_have_every_device),
        cmocka_unit_test(a_third_goes_on),
        cmocka_unit_test(folds_are_averaged),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(failing_trials_are_passed_over),
        cmocka_unit_test(keys_that_need_each_other),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
