/* Ctrl-C, kill -9 at any instant, and a full disk: the run goes on from its last good state, to the same
 * bits. */
#include <signal.h>
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

static void a_kill_at_any_instant_leaves_a_good_state(void **state) {
    (void)state;
    const char *run = test_path(folder, "kill"), *err = test_path(folder, "kill.err");
    const char *const first[] = {"train", model, SMALL, "--out", run, "--checkpoint-every", "3", NULL};
    const char *const again[] = {"train", model,      SMALL, "--out", run, "--checkpoint-every",
                                 "3",     "--resume", NULL};
    cvy_rng rng = cvy_rng_stream(seed(), CVY_RNG_SYNTHETIC, 0);
    unsigned long long before = 0;
    for (int i = 0; i < 4; i++) {
        pid_t process = test_start(err, i ? again : first);
        test_wait_for(process, err, "train loss");
        const struct timespec pause = {0, (long)cvy_rng_below(&rng, 150000000)};
        nanosleep(&pause, NULL);
        assert_int_equal(kill(process, SIGKILL), 0);
        assert_int_equal(test_wait(process), -SIGKILL);
        unsigned long long step = step_of(run);
        assert_true(step >= before);
        before = step;
    }
    goes_on_to_the_same_bits(model, run, test_path(folder, "kill-whole"));
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
