/* Ctrl-C, kill -9 at any instant, and a full disk: the run goes on from its last good state, to the same
 * bits. */
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "model/model.h"
#include "support/command.h"

static char *folder;
static const char *model;

static int set_up(void **state) {
    (void)state;
    folder = test_folder_create();
    model = test_tiny_model(folder, "tiny.yaml",
                            "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 20\n  epochs: 100000\n"
                            "  eval_every: 7\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_run_free();
    test_folder_remove(folder);
    return 0;
}

#define SMALL "--limit-train", "200", "--limit-test", "50"

static unsigned long long step_of(const char *run) {
    cvy_tensor_file *file = NULL;
    assert_ok(cvy_tensor_file_load(test_path(run, "checkpoint.safetensors"), &file));
    unsigned long long step = strtoull(cvy_tensor_file_metadata(file, "step"), NULL, 10);
    cvy_tensor_file_free(file);
    return step;
}

/* Resumes up to 13 steps beyond its checkpoint, and compares with a run of that length that was never
 * stopped. */
static void goes_on_to_the_same_bits(const char *file, const char *run, const char *whole) {
    char steps[32];
    snprintf(steps, sizeof steps, "%llu", step_of(run) + 13);
    const test_output *r = RUN("train", file, SMALL, "--out", run, "--resume", "--max-steps", steps);
    if (r->code)
        fail_msg("resuming failed: %s", r->err);
    r = RUN("train", file, SMALL, "--out", whole, "--max-steps", steps);
    if (r->code)
        fail_msg("the run without a stop failed: %s", r->err);
    test_same_run(run, whole);
}

static void ctrl_c_saves_and_says_how_to_resume(void **state) {
    (void)state;
    const char *run = test_path(folder, "int"), *err = test_path(folder, "int.err");
    const char *const arguments[] = {"train", model, SMALL, "--out", run, NULL};
    pid_t process = test_start(err, arguments);
    test_wait_for(process, err, "epoch 1/100000  140/200");
    assert_int_equal(kill(process, SIGINT), 0);
    assert_int_equal(test_wait(process), 130);
    char *told = test_read_text(err, NULL);
    if (!strstr(told, "go on with: ") || !strstr(told, " --resume\n") ||
        !strstr(told, "interrupted after step"))
        fail_msg("it does not say how to resume: %s", told);
    free(told);
    goes_on_to_the_same_bits(model, run, test_path(folder, "int-whole"));
}

static void terminate_saves_too(void **state) {
    (void)state;
    const int signals[] = {SIGTERM, SIGHUP};
    for (int i = 0; i < 2; i++) {
        const char *run = test_path(folder, i ? "hang-up" : "term"), *err = test_path(folder, "term.err");
        const char *const arguments[] = {"train", model, SMALL, "--out", run, NULL};
        pid_t process = test_start(err, arguments);
        test_wait_for(process, err, "epoch 1/100000  train loss");
        assert_int_equal(kill(process, signals[i]), 0);
        assert_int_equal(test_wait(process), 130);
        assert_true(step_of(run) >= 10);
    }
}

/* Other instants in every run, unless $CONVOY_TEST_SEED asks for those of an earlier one. */
static uint64_t seed(void) {
    const char *wish = getenv("CONVOY_TEST_SEED");
    const uint64_t chosen = wish ? strtoull(wish, NULL, 10) : (uint64_t)getpid();
    print_message("CONVOY_TEST_SEED=%llu\n", (unsigned long long)chosen);
    return chosen;
}

/* Starts `run`, or goes on with it, and kills it: half of the time while it trains, else at any instant from
   its start on. */
static void start_and_kill(const char *run, cvy_rng *rng) {
    const char *err = test_path(folder, "kill.err");
    const bool begun = cvy_file_exists(test_path(run, "checkpoint.safetensors"));
    const char *const arguments[] = {"train",
                                     model,
                                     SMALL,
                                     "--out",
                                     run,
                                     "--no-pictures",
                                     "--checkpoint-every",
                                     "3",
                                     begun ? "--resume" : NULL,
                                     NULL};
    const unsigned long long before = begun ? step_of(run) : 0;
    const pid_t process = test_start(err, arguments);
    if (cvy_rng_below(rng, 2))
        test_wait_for(process, err, "train loss");
    const struct timespec pause = {0, (long)cvy_rng_below(rng, 150000000)};
    nanosleep(&pause, NULL);
    assert_int_equal(kill(process, SIGKILL), 0);
    const int code = test_wait(process);
    if (code != -SIGKILL)
        fail_msg("the run ended by itself with %d: %s", code, test_read_text(err, NULL));
    if (begun || cvy_file_exists(test_path(run, "checkpoint.safetensors")))
        assert_true(step_of(run) >= before);
}

/* What has the mark in its environment: the command and its children. */
static int count_processes(const char *mark) {
    DIR *processes = opendir("/proc");
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(processes));) {
        char path[64], environment[8192];
        snprintf(path, sizeof path, "/proc/%.20s/environ", entry->d_name);
        FILE *file = atol(entry->d_name) > 0 && atol(entry->d_name) != getpid() ? fopen(path, "r") : NULL;
        if (!file)
            continue;
        const size_t size = fread(environment, 1, sizeof environment, file);
        count += memmem(environment, size, mark, strlen(mark)) != NULL;
        fclose(file);
    }
    closedir(processes);
    return count;
}

static void nothing_is_left_over(const char *run, const char *mark) {
    char **names;
    size_t count;
    assert_ok(cvy_folder_list(run, &names, &count));
    for (size_t i = 0; i < count; i++)
        if (strstr(names[i], ".tmp"))
            fail_msg("%s is left over in %s", names[i], run);
    cvy_names_free(names, count);
    int left = 1;
    for (int i = 0; i < 50 && (left = count_processes(mark)) > 0; i++)
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    assert_int_equal(left, 0);
}

/* A dozen kills; KILLS=1000 in the environment makes so many, a hundred to a run (tools/test.sh kills). */
static void a_kill_at_any_instant_leaves_a_good_state(void **state) {
    (void)state;
    const char *wish = getenv("KILLS");
    const int kills = wish ? atoi(wish) : 12;
    cvy_rng rng = cvy_rng_stream(seed(), CVY_RNG_SYNTHETIC, 0);
    setenv("CONVOY_TEST_MARK", folder, 1);
    for (int done = 0; done < kills;) {
        const char *run = test_path(folder, "kill"), *whole = test_path(folder, "kill-whole");
        do
            start_and_kill(run, &rng);
        while (++done < kills && done % 100);
        if (cvy_file_exists(test_path(run, "checkpoint.safetensors")))
            goes_on_to_the_same_bits(model, run, whole);
        nothing_is_left_over(run, folder);
        if (wish)
            print_message("%d kills\n", done);
        test_folder_remove(strdup(run));
        test_folder_remove(strdup(whole));
    }
    unsetenv("CONVOY_TEST_MARK");
}

/* A limit on the size of files (2 or 4 MB, as the shell counts) stands for a disk that fills up: weights
   of 2.4 MB and a checkpoint of 7.3 MB do not fit, the driver's own files do. */
static void a_full_disk_keeps_the_last_checkpoint(void **state) {
    (void)state;
    const char *run = test_path(folder, "full");
    const char *wide =
        test_write(folder, "wide.yaml",
                   "name: wide\ninput: [1, 8, 8]\nlayers:\n  - Flatten\n"
                   "  - Linear: {out_features: 8192}\n  - ReLU\n  - Linear: {out_features: 10}\n"
                   "recipe: {data: synthetic, optimizer: {Adam: {lr: 0.001}}, batch_size: 20}\n");
    assert_int_equal(RUN("train", wide, SMALL, "--out", run, "--max-steps", "5")->code, 0);
    char *command = NULL;
    assert_true(asprintf(&command,
                         "ulimit -f 4096; '%s/convoy' train '%s' --limit-train 200 "
                         "--limit-test 50 --out '%s' "
                         "--resume --max-steps 9 >'%s/full.out' 2>&1; test $? = 1",
                         CONVOY_BINARY_DIR, wide, run, folder) > 0);
    int code = system(command);
    free(command);
    char *said = test_read_text(test_path(folder, "full.out"), NULL);
    if (code != 0 || !strstr(said, "safetensors"))
        fail_msg("a full disk did not end in exit code 1: %s", said);
    free(said);
    assert_int_equal(step_of(run), 5);
    char **names;
    size_t count;
    assert_ok(cvy_folder_list(run, &names, &count));
    for (size_t i = 0; i < count; i++)
        assert_null(strstr(names[i], ".tmp"));
    cvy_names_free(names, count);
    goes_on_to_the_same_bits(wide, run, test_path(folder, "full-whole"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ctrl_c_saves_and_says_how_to_resume),
        cmocka_unit_test(terminate_saves_too),
        cmocka_unit_test(a_kill_at_any_instant_leaves_a_good_state),
        cmocka_unit_test(a_full_disk_keeps_the_last_checkpoint),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
