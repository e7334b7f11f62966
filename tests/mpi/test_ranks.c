/* convoy train on several ranks of one machine, over every MPI that is here: the same bits for any number of
   them, and an end with a checkpoint when one of them fails. */
#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "model/model.h"
#include "support/command.h"

static char *folder;
static const char *model;

/* A program of the PATH. */
static bool is_there(const char *name) {
    char *path = strdup(getenv("PATH") ? getenv("PATH") : ""), *rest = path, *place;
    bool found = false;
    while (!found && (place = strsep(&rest, ":"))) {
        char *file = cvy_path_join(place, name);
        found = access(file, X_OK) == 0;
        free(file);
    }
    free(path);
    return found;
}

static bool has(const char *mpi) {
    char program[64], plugin[256];
    snprintf(program, sizeof program, "mpirun.%s", mpi);
    snprintf(plugin, sizeof plugin, CONVOY_BINARY_DIR "/convoy_%s.so", mpi);
    return is_there(program) && cvy_file_exists(plugin);
}

/* From here on `mpirun` is that of this MPI. */
static void use(const char *mpi) {
    static char path[16384];
    char script[128];
    const char *bin = test_path(folder, mpi);
    assert_ok(cvy_folder_create(bin));
    snprintf(script, sizeof script, "#!/bin/sh\nexec /usr/bin/mpirun.%s \"$@\"\n", mpi);
    assert_int_equal(chmod(test_write(bin, "mpirun", script), 0700), 0);
    if (!path[0])
        snprintf(path, sizeof path, "%s", getenv("PATH"));
    char *all = malloc(sizeof path + strlen(bin) + 2);
    sprintf(all, "%s:%s", bin, path);
    setenv("PATH", all, 1);
    free(all);
}

static int set_up(void **state) {
    char text[512];
    (void)state;
    folder = test_folder_create();
    model =
        test_tiny_model(folder, "tiny.yaml",
                        "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 20\n  epochs: 2\n  eval_every: 4\n"
                        "  augment: [{RandomCrop: {padding: 1}}, MixUp]\n  monitor: macro_f1\n");
    /* An MPI gives back neither all of its memory nor the libraries that took it, by which it could be told.
     */
    const char *options = getenv("ASAN_OPTIONS");
    snprintf(text, sizeof text, "%s:detect_leaks=0", options ? options : "");
    setenv("ASAN_OPTIONS", text, 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
    setenv("OMPI_MCA_odls_base_sigkill_timeout", "1", 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_run_free();
    test_folder_remove(folder);
    return 0;
}

/* 103 images in batches of 20: the last one has 3, of which a piece of 5 has all. */
#define SMALL "--limit-train", "103", "--limit-test", "37", "--no-pictures", "--val-fraction", "0.1"

static void train(const char *out, const char *devices, const char *more, const char *value) {
    const test_output *r = RUN("train", model, SMALL, "--out", test_path(folder, out), "--pieces", "4",
                               "--devices", devices, more, value);
    if (r->code)
        fail_msg("%s failed with %d: %s", out, r->code, r->err);
}

static void same_bits_for_any_number_of_ranks(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    use("openmpi");
    train("one", "host", NULL, NULL);
    setenv("CONVOY_BUCKET_MB", "0", 1); /* a bucket for each tensor: most go while backward still runs */
    train("two", "host,host", NULL, NULL);
    test_same_run(test_path(folder, "one"), test_path(folder, "two"));
    setenv("CONVOY_BUCKET_MB", "0.002", 1);
    train("three", "host,host,host", NULL, NULL);
    unsetenv("CONVOY_BUCKET_MB");
    test_same_run(test_path(folder, "one"), test_path(folder, "three"));
    train("four", "host,host,host,host", NULL, NULL);
    test_same_run(test_path(folder, "one"), test_path(folder, "four"));
}

static void the_same_over_mpich(void **state) {
    (void)state;
    if (!has("mpich"))
        skip();
    use("mpich");
    train("alone", "host", NULL, NULL);
    setenv("CONVOY_BUCKET_MB", "0", 1);
    train("mpich", "host,host", NULL, NULL);
    unsetenv("CONVOY_BUCKET_MB");
    test_same_run(test_path(folder, "alone"), test_path(folder, "mpich"));
}

/* Every batch-norm meets; the failure of one rank in between is everyone's. */
static void batch_norms_see_the_whole_batch(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    use("openmpi");
    train("together", "host", "--set", "sync_batch_norm=true");
    train("together-2", "host,host", "--set", "sync_batch_norm=true");
    test_same_run(test_path(folder, "together"), test_path(folder, "together-2"));
    train("together-3", "host,host,host", "--set", "sync_batch_norm=true");
    test_same_run(test_path(folder, "together"), test_path(folder, "together-3"));
    const test_output *r = RUN("train", model, SMALL, "--pieces", "2", "--micro-batch", "5", "--set",
                               "sync_batch_norm=true", "--device", "host");
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "a micro-batch of 5 images is a part of a piece of 10"));
}

static void another_number_of_ranks_goes_on(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    use("openmpi");
    train("begun", "host,host", "--max-steps", "7");
    /* Without --pieces: the run itself says how many. */
    const test_output *r = RUN("train", model, SMALL, "--out", test_path(folder, "begun"), "--resume",
                               "--devices", "host,host,host");
    if (r->code)
        fail_msg("resuming failed: %s", r->err);
    train("whole", "host", NULL, NULL);
    test_same_run(test_path(folder, "begun"), test_path(folder, "whole"));
    r = RUN("train", model, SMALL, "--out", test_path(folder, "begun"), "--resume", "--pieces", "2",
            "--device", "host");
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "a number of pieces of 4, not 2"));
}

/* The whole answer, which is printed once: losses are added up in the order of one rank, and outputs of all
   images come together for what takes them. */
static void an_evaluation_is_split_and_counts_are_exact(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    use("openmpi");
    const char *const devices[] = {"host", "host,host,host"};
    char *answers[2];
    train("weights", "host", "--max-steps", "3");
    for (int i = 0; i < 2; i++) {
        const test_output *r = RUN(
            "eval", model, "--weights", test_path(test_path(folder, "weights"), "last.safetensors"),
            "--split", "train", "--limit", "10007", "--batch-size", "64", "--json", "--devices", devices[i]);
        if (r->code)
            fail_msg("evaluating on %s failed: %s", devices[i], r->err);
        assert_int_equal(json_integer_value(json_object_get(r->json, "images")), 10007);
        answers[i] = strdup(r->out);
    }
    assert_string_equal(answers[0], answers[1]);
    for (int i = 0; i < 2; i++)
        free(answers[i]);
}

/* Bytes that rank 0 of two sent in so many steps. */
static unsigned long long bytes_in(const char *steps) {
    const test_output *r = RUN("train", model, SMALL, "--out", test_path(folder, steps), "--devices",
                               "host,host", "--max-steps", steps);
    const char *sent = strstr(r->err, "rank 0 sent ");
    assert_non_null(sent);
    return strtoull(sent + strlen("rank 0 sent "), NULL, 10);
}

/* Half of the gradients to the other rank, and the sum of the own half, as a ring would: 2 (R - 1) / R of
   them. Beside it the head of a message, and the figures and statistics of a piece. `bench` says the same of
   each step, and what it is made of. */
static void a_step_sends_what_a_ring_would(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    use("openmpi");
    const test_output *r = RUN("summary", model, "--json");
    const json_t *training = json_object_get(json_object_get(r->json, "memory"), "training");
    const long long gradients = json_integer_value(json_object_get(training, "gradients"));
    assert_true(gradients > 0);
    const long long step = (long long)(bytes_in("7") - bytes_in("6"));
    setenv("CONVOY_BUCKET_MB", "0", 1);
    r = RUN("bench", model, "--devices", "host,host", "--steps", "3", "--json");
    unsetenv("CONVOY_BUCKET_MB");
    if (r->code)
        fail_msg("bench on two ranks failed: %s", r->err);
    test_keys(r->json, "model device ranks pieces batch_size buckets train_images_per_second step_ms "
                       "step_without_overlap_ms compute_ms wire_ms handling_ms hidden_ms bytes_sent "
                       "bytes_of_gradients at");
    assert_int_equal(json_integer_value(json_object_get(r->json, "bytes_of_gradients")), gradients);
    assert_int_equal(json_integer_value(json_object_get(r->json, "bytes_sent")), step);
    assert_in_range(step - gradients, 520 + 16, 2048);
    assert_true(json_integer_value(json_object_get(r->json, "buckets")) > 1);
    const json_t *at = json_object_get(r->json, "at");
    const double compute = json_number_value(json_object_get(r->json, "compute_ms"));
    double before = 1e9;
    for (size_t i = 0; i < 3; i++) {
        const double ms = json_number_value(json_object_get(json_array_get(at, i), "step_ms"));
        assert_true(ms <= before && ms >= compute * (1 - 1e-9));
        before = ms;
    }
}

/* ---- faults ---- */

static bool is_rank(const char *process, const char *rank) {
    char path[64], text[65536];
    snprintf(path, sizeof path, "/proc/%s/environ", process);
    FILE *file = fopen(path, "re");
    const size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    bool found = false;
    if (file)
        fclose(file);
    text[size] = '\0';
    for (size_t at = 0; at < size; at += strlen(text + at) + 1)
        found |= strncmp(text + at, "OMPI_COMM_WORLD_RANK=", 21) == 0 && strcmp(text + at + 21, rank) == 0;
    return found;
}

/* The process that mpirun started as this rank. */
static pid_t find_rank(pid_t mpirun, const char *rank) {
    char path[64], *list, *rest;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)mpirun, (int)mpirun);
    rest = list = test_read_text(path, NULL);
    pid_t found = 0;
    for (const char *word; (word = strsep(&rest, " \n"));)
        if (*word && is_rank(word, rank))
            found = (pid_t)atoi(word);
    free(list);
    assert_true(found > 0);
    return found;
}

/* Starts two ranks for very long, and sends one of them a signal; what mpirun left with. */
static int disturb(const char *out, const char *err, const char *rank, int number) {
    const char *const arguments[] = {"train", model,      SMALL,    "--out",     out,         "--pieces",
                                     "4",     "--epochs", "100000", "--devices", "host,host", NULL};
    use("openmpi");
    pid_t mpirun = test_start(err, arguments);
    test_wait_for(mpirun, err, "epoch 2/100000  train loss");
    const double start = cvy_seconds();
    assert_int_equal(kill(find_rank(mpirun, rank), number), 0);
    const int code = test_wait(mpirun);
    assert_true(cvy_seconds() - start < 10);
    return code;
}

static void said(const char *err, const char *words) {
    char *text = test_read_text(err, NULL);
    if (!strstr(text, words))
        fail_msg("it does not say \"%s\": %s", words, text);
    free(text);
}

static unsigned long long step_of(const char *run) {
    cvy_tensor_file *file = NULL;
    assert_ok(cvy_tensor_file_load(test_path(run, "checkpoint.safetensors"), &file));
    unsigned long long step = strtoull(cvy_tensor_file_metadata(file, "step"), NULL, 10);
    cvy_tensor_file_free(file);
    return step;
}

static void goes_on_to_the_same_bits(const char *run, const char *whole) {
    char steps[32];
    snprintf(steps, sizeof steps, "%llu", step_of(run) + 3);
    const test_output *r = RUN("train", model, SMALL, "--out", run, "--resume", "--epochs", "100000",
                               "--max-steps", steps, "--device", "host");
    if (r->code)
        fail_msg("resuming failed: %s", r->err);
    r = RUN("train", model, SMALL, "--out", whole, "--pieces", "4", "--epochs", "100000", "--max-steps",
            steps, "--device", "host");
    assert_int_equal(r->code, 0);
    test_same_run(run, whole);
}

static void a_killed_rank_ends_all_with_a_checkpoint(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    const char *const ranks[] = {"1", "0"};
    for (int i = 0; i < 2; i++) {
        const char *run = test_path(folder, i ? "killed-0" : "killed-1"),
                   *err = test_path(folder, "killed.err");
        assert_int_not_equal(disturb(run, err, ranks[i], SIGKILL), 0);
        goes_on_to_the_same_bits(run, test_path(folder, i ? "killed-0-whole" : "killed-1-whole"));
    }
}

static void any_rank_may_be_asked_to_stop(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    const char *run = test_path(folder, "stopped"), *err = test_path(folder, "stopped.err");
    assert_int_equal(disturb(run, err, "1", SIGTERM), 130);
    said(err, "interrupted after step");
    said(err, "go on with: ");
    goes_on_to_the_same_bits(run, test_path(folder, "stopped-whole"));
}

static void a_rank_that_hangs_is_named(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    const char *run = test_path(folder, "hung"), *err = test_path(folder, "hung.err");
    setenv("CONVOY_RANK_LIMIT", "4", 1);
    assert_int_not_equal(disturb(run, err, "1", SIGSTOP), 0);
    unsetenv("CONVOY_RANK_LIMIT");
    said(err, "no answer from rank 1 (");
    said(err, "within 4 s");
    goes_on_to_the_same_bits(run, test_path(folder, "hung-whole"));
}

/* Rank 0 cannot write its checkpoint, while the other one is at the next step's sum already: it is told at
   once, not after a minute's silence. */
static void a_rank_that_fails_alone_is_heard(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    const char *run = test_path(folder, "broken"), *err = test_path(folder, "broken.err");
    const char *const arguments[] = {"train", model,      SMALL,    "--out",     run,         "--pieces",
                                     "4",     "--epochs", "100000", "--devices", "host,host", NULL};
    use("openmpi");
    pid_t mpirun = test_start(err, arguments);
    test_wait_for(mpirun, err, "epoch 2/100000  train loss");
    const double start = cvy_seconds();
    assert_int_equal(rename(run, test_path(folder, "broken-away")), 0);
    assert_int_not_equal(test_wait(mpirun), 0);
    assert_true(cvy_seconds() - start < 20);
    said(err, "rank 0 (");
    said(err, "broken");
}

/* ---- search on ranks ---- */

static const test_output *search(const char *out, const char *more, const char *value) {
    return RUN("search", model, "--grid", "lr=0.1,0.01,0.001", "--limit-train", "40", "--limit-test", "20",
               "--out", test_path(folder, out), more, value);
}

/* Ranks that a launcher starts are given trials; the table has a row of each, with the rank. What is there is
   not done again, by whatever runs the search. */
static void trials_are_given_to_ranks(void **state) {
    (void)state;
    const test_output *r = search("alone-search", "--device", "host");
    if (r->code)
        fail_msg("searching failed: %s", r->err);
    for (int i = 0; i < 2; i++) {
        const char *mpi = i ? "mpich" : "openmpi";
        char command[4096];
        if (!has(mpi))
            continue;
        const char *out = test_path(folder, i ? "search-mpich" : "search-openmpi"),
                   *err = test_path(folder, "search.err");
        snprintf(command, sizeof command,
                 "mpirun.%s -n 2 " CONVOY_BINARY_DIR "/convoy search %s --grid lr=0.1,0.01,0.001 "
                 "--limit-train 40 --limit-test 20 --out %s --devices host,host >%s 2>&1 </dev/null",
                 mpi, model, out, err);
        if (system(command) != 0)
            fail_msg("searching on ranks failed: %s", test_read_text(err, NULL));
        char *table = test_read_text(test_path(out, "search.csv"), NULL);
        assert_non_null(strstr(table, "\"rank 0 ("));
        assert_non_null(strstr(table, "\"rank 1 ("));
        free(table);
        for (const char *const *trial = (const char *const[]){"trial-001", "trial-002", "trial-003", NULL};
             *trial; trial++)
            test_same_run(test_path(out, *trial), test_path(test_path(folder, "alone-search"), *trial));
        assert_int_equal(system(command), 0); /* nothing is left to do */
        char *again = test_read_text(err, NULL);
        assert_null(strstr(again, "train loss"));
        free(again);
    }
}

/* A rank is killed, or the process that trains for it is stopped: all end, and no trial counts as done. */
static void ends_by(const char *how, const char *out) {
    char command[4096];
    const char *err = test_path(folder, "search-killed.err");
    snprintf(command, sizeof command,
             "mpirun.openmpi -n 2 sh -c 'if [ $OMPI_COMM_WORLD_RANK = 1 ]; then (sleep 3; %s $$) & fi; "
             "exec " CONVOY_BINARY_DIR
             "/convoy search %s --grid lr=0.1,0.01 --epochs 100000 --limit-train 40 "
             "--limit-test 20 --out %s --device host' >%s 2>&1 </dev/null",
             how, model, out, err);
    const double start = cvy_seconds();
    assert_int_not_equal(system(command), 0);
    assert_true(cvy_seconds() - start < 40);
    char *told = test_read_text(err, NULL);
    assert_null(strstr(told, "every trial failed"));
    free(told);
    char *table = test_read_text(test_path(out, "search.csv"), NULL);
    assert_null(strchr(table, '\n')[1] ? table : NULL);
    free(table);
}

static void a_search_outlives_a_killed_rank(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    ends_by("kill -9", test_path(folder, "search-killed"));
    if (is_there("pkill"))
        ends_by("pkill -TERM -x convoy -P", test_path(folder, "search-stopped"));
}

/* ---- ranks that are not alike ---- */

/* Two ranks, of which the second has an environment and options of its own; what they said is in `err`. */
static int train_apart(const char *out, const char *err, const char *environment, const char *option) {
    cvy_text command = {0};
    cvy_text_add(&command, "mpirun");
    for (int i = 0; i < 2; i++)
        cvy_text_add(&command,
                     "%s -n 1 env %s " CONVOY_BINARY_DIR
                     "/convoy train %s --device host --no-pictures --out %s "
                     "--limit-train 103 --limit-test 37 %s",
                     i ? " :" : "", i ? environment : "", model, out, i ? option : "");
    cvy_text_add(&command, " >%s 2>&1 </dev/null", err);
    const int code = system(cvy_text_get(&command));
    cvy_text_free(&command);
    return WEXITSTATUS(code);
}

/* A driver and the host round differently: to the tolerance that is printed. How fast they are decides who
   computes what, and not what comes out. */
static void unlike_devices_agree_to_rounding(void **state) {
    (void)state;
    const char *driver = getenv("CONVOY_TEST_DEVICE");
    if (!has("openmpi") || !driver || strcmp(driver, "host") == 0)
        skip();
    use("openmpi");
    cvy_text mixed = {0};
    cvy_text_add(&mixed, "host,%s", driver);
    const char *const devices[] = {"host", cvy_text_get(&mixed)};
    double loss[2];
    for (int i = 0; i < 2; i++) {
        const test_output *r = RUN("train", model, SMALL, "--out", test_path(folder, i ? "mixed" : "plain"),
                                   "--pieces", "8", "--devices", devices[i], "--json");
        if (r->code)
            fail_msg("training on %s failed: %s", devices[i], r->err);
        loss[i] = json_number_value(json_object_get(r->json, "train_loss"));
        assert_true((strstr(r->err, "may differ by 0.0001 of its norm") != NULL) == (i == 1));
    }
    cvy_text_free(&mixed);
    assert_true(loss[0] > 0 && fabs(loss[1] - loss[0]) <= 1e-4 * loss[0]);
}

static void what_differs_is_refused_by_name(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    const char *err = test_path(folder, "differs.err");
    const struct {
        const char *environment, *option, *words;
    } cases[] = {
        {"", "--limit-train 90", "another data set than rank 0"},
        {"", "--seed 3", "another settings"},
        {"", "--set label_smoothing=0.1", "another model or recipe than rank 0"},
        {"", "--data /nowhere/at/all", "rank 1"},
        {"CONVOY_BUCKET_MB=0.0048828125", "", "the same CONVOY_BUCKET_MB"}, /* as many, cut elsewhere */
    };
    use("openmpi");
    setenv("CONVOY_BUCKET_MB", "0.00390625", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *out = test_path(folder, "differs");
        assert_int_equal(train_apart(out, err, cases[i].environment, cases[i].option), 2);
        said(err, cases[i].words);
        assert_false(cvy_file_exists(test_path(out, "checkpoint.safetensors")));
    }
    unsetenv("CONVOY_BUCKET_MB");
}

static void a_launcher_that_is_absent_is_said(void **state) {
    (void)state;
    char *path = strdup(getenv("PATH"));
    setenv("PATH", folder, 1);
    const test_output *r = RUN("train", model, SMALL, "--devices", "host,host");
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "starts its ranks with mpirun, which cannot be run"));
    r = RUN("train", model, SMALL, "--devices", "host,host", "--device", "host");
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "give --device or --devices"));
    for (size_t i = 0; i < 3; i++) {
        r = RUN("train", model, SMALL, "--devices", (const char *const[]){"host,", ",host", "host,,host"}[i]);
        assert_int_equal(r->code, 2);
        assert_non_null(strstr(r->err, "a device is missing"));
    }
}

/* A batch-norm behind a pooling to one pixel: 43 images in batches of 20 and pieces of 5 end with 3; 41
 * with 1. */
static void a_batch_norm_of_one_value_is_refused(void **state) {
    (void)state;
    const char *file =
        test_write(folder, "lonely.yaml",
                   "name: lonely\ninput: [1, 8, 8]\nlayers:\n  - Conv2d: {out_channels: 3, "
                   "kernel_size: 8}\n  - BatchNorm2d\n  - Flatten\n  - Linear: {out_features: 10}\n"
                   "recipe: {data: synthetic, batch_size: 20, epochs: 1, optimizer: {SGD: {lr: "
                   "0.1}}}\n");
    const test_output *r = RUN("train", file, "--device", "host", "--pieces", "4", "--limit-train", "41",
                               "--limit-test", "10", "--out", test_path(folder, "lonely"));
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "would see one value of a channel"));
    r = RUN("train", file, "--device", "host", "--pieces", "4", "--limit-train", "43", "--limit-test", "10",
            "--no-pictures", "--out", test_path(folder, "lonely"));
    assert_int_equal(r->code, 0);
}

/* As many ranks as the machine has devices of the kind that `auto` takes. The launcher tells what it was
   asked for; PoCL shows two devices where it is told to. */
static void automatic_lists_have_every_device(void **state) {
    (void)state;
    const char *bin = test_path(folder, "said"), *path = getenv("PATH"), *pocl = getenv("OCL_ICD_VENDORS");
    if (!pocl || !strstr(pocl, "pocl"))
        skip();
    char *before = strdup(path), *all = malloc(strlen(path) + strlen(bin) + 2);
    assert_ok(cvy_folder_create(bin));
    assert_int_equal(chmod(test_write(bin, "mpirun", "#!/bin/sh\necho \"$1 $2\" >&2\nexit 7\n"), 0700), 0);
    sprintf(all, "%s:%s", bin, before);
    setenv("PATH", all, 1);
    setenv("POCL_DEVICES", "pthread pthread pthread", 1);
    const test_output *r = RUN("train", model, SMALL, "--devices", "auto");
    assert_int_equal(r->code, 7);
    assert_non_null(strstr(r->err, "-n 3\n"));
    unsetenv("POCL_DEVICES");
    setenv("PATH", before, 1);
    free(before);
    free(all);
}

/* Whose launcher does not say which of its machine's ranks it is. */
static void slurm_numbers_the_ranks_of_a_machine(void **state) {
    (void)state;
    if (!has("openmpi"))
        skip();
    const char *err = test_path(folder, "slurm.err");
    cvy_text command = {0};
    cvy_text_add(&command,
                 "mpirun.openmpi -n 2 env -u OMPI_COMM_WORLD_LOCAL_RANK SLURM_LOCALID=1 " CONVOY_BINARY_DIR
                 "/convoy train %s --limit-train 20 --limit-test 20 --out %s --devices host,nowhere >%s 2>&1",
                 model, test_path(folder, "slurm"), err);
    assert_int_equal(WEXITSTATUS(system(cvy_text_get(&command))), 3);
    cvy_text_free(&command);
    said(err, "nowhere");
}

/* One device of a list, or none: no MPI comes into the process, and no plugin. */
static void one_rank_loads_no_mpi(void **state) {
    (void)state;
    const char *run = test_path(folder, "single"), *err = test_path(folder, "single.err");
    const char *const arguments[] = {"train",    model,    SMALL,       "--out", run,
                                     "--epochs", "100000", "--devices", "host",  NULL};
    char maps[64];
    const pid_t process = test_start(err, arguments);
    test_wait_for(process, err, "epoch 2/100000  train loss");
    snprintf(maps, sizeof maps, "/proc/%d/maps", (int)process);
    char *text = test_read_text(maps, NULL);
    kill(process, SIGTERM);
    assert_int_equal(test_wait(process), 130);
    assert_non_null(strstr(text, "libc.so"));
    assert_null(strstr(text, "libmpi"));
    assert_null(strstr(text, "convoy_openmpi"));
    assert_null(strstr(text, "convoy_mpich"));
    free(text);
    char command[4096];
    const char *linked = test_path(folder, "linked");
    snprintf(command, sizeof command, "ldd " CONVOY_BINARY_DIR "/convoy >%s", linked);
    assert_int_equal(system(command), 0);
    text = test_read_text(linked, NULL);
    assert_non_null(strstr(text, "libc.so"));
    assert_null(strstr(text, "mpi"));
    free(text);
}

/* A driver's own memory of the host for the gradients on their way, which only a discrete GPU is given
 * unasked. */
static void pinned_memory_has_the_same_bits(void **state) {
    (void)state;
    const char *driver = getenv("CONVOY_TEST_DEVICE");
    if (!has("openmpi") || !driver || strcmp(driver, "host") == 0)
        skip();
    use("openmpi");
    cvy_text two = {0};
    cvy_text_add(&two, "%s,%s", driver, driver);
    const char *const runs[] = {"unpinned", "pinned"}, *const wishes[] = {"0", "1"};
    for (int i = 0; i < 2; i++) {
        setenv("CONVOY_PINNED", wishes[i], 1);
        const test_output *r = RUN("train", model, SMALL, "--out", test_path(folder, runs[i]), "--pieces",
                                   "4", "--devices", cvy_text_get(&two), "--max-steps", "6");
        if (r->code)
            fail_msg("%s failed: %s", runs[i], r->err);
    }
    unsetenv("CONVOY_PINNED");
    cvy_text_free(&two);
    test_same_run(test_path(folder, "unpinned"), test_path(folder, "pinned"));
}

/* It would train on the first device of the list, and say nothing of the others. */
static void a_rank_that_is_alone_is_refused(void **state) {
    (void)state;
    const char *mpi = has("mpich") ? "mpich" : "openmpi";
    if (!has(mpi))
        skip();
    const test_output *r = RUN("train", model, SMALL, "--devices", "host,host", "--mpi", mpi);
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "and not one of 2 ranks: leave out --mpi"));
    setenv("POCL_DEVICES", "pthread pthread",
           1); /* where nobody gave a list, one of two devices is no rank lost */
    r = RUN("train", model, SMALL, "--mpi", mpi, "--data", "/nowhere/at/all");
    unsetenv("POCL_DEVICES");
    assert_non_null(strstr(r->err, "/nowhere/at/all"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_for_any_number_of_ranks),
        cmocka_unit_test(the_same_over_mpich),
        cmocka_unit_test(batch_norms_see_the_whole_batch),
        cmocka_unit_test(another_number_of_ranks_goes_on),
        cmocka_unit_test(an_evaluation_is_split_and_counts_are_exact),
        cmocka_unit_test(a_step_sends_what_a_ring_would),
        cmocka_unit_test(a_killed_rank_ends_all_with_a_checkpoint),
        cmocka_unit_test(any_rank_may_be_asked_to_stop),
        cmocka_unit_test(a_rank_that_hangs_is_named),
        cmocka_unit_test(a_rank_that_fails_alone_is_heard),
        cmocka_unit_test(trials_are_given_to_ranks),
        cmocka_unit_test(a_search_outlives_a_killed_rank),
        cmocka_unit_test(unlike_devices_agree_to_rounding),
        cmocka_unit_test(what_differs_is_refused_by_name),
        cmocka_unit_test(a_launcher_that_is_absent_is_said),
        cmocka_unit_test(a_batch_norm_of_one_value_is_refused),
        cmocka_unit_test(slurm_numbers_the_ranks_of_a_machine),
        cmocka_unit_test(one_rank_loads_no_mpi),
        cmocka_unit_test(pinned_memory_has_the_same_bits),
        cmocka_unit_test(automatic_lists_have_every_device),
        cmocka_unit_test(a_rank_that_is_alone_is_refused),
    };
    if (!has("openmpi") && !has("mpich"))
        print_message("no MPI is installed, or no plugin built for it: most of this is skipped\n");
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
