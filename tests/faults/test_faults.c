/* The n-th call fails (faults.c), for n over a run: no crash, a message, nothing lost. A failed run leaves
   what can be gone on from, to the bits of a run in which nothing failed; one that ends well in spite of it
   has those bits, or has said what it did instead.

   And one that does not come back is told of, whichever it is.

   Twelve calls of each kind; FAULTS=300 in the environment tries so many (tools/test.sh faults). */
#include <unistd.h>

#include "base/file.h"
#include "support/command.h"

static char *folder;
static const char *model, *device, *note;

static int set_up(void **state) {
    (void)state;
    folder = test_folder_create();
    model = test_tiny_model(folder, "tiny.yaml",
                            "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 20\n  epochs: 2\n");
    note = test_path(folder, "note");
    device = getenv("CONVOY_DEVICE") ? getenv("CONVOY_DEVICE") : getenv("CONVOY_TEST_DEVICE");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_run_free();
    test_folder_remove(folder);
    return 0;
}

static const test_output *train(const char *on, const char *run, bool resumes) {
    return RUN("train", model, "-d", on, "--limit-train", "40", "--limit-test", "20", "--out", run,
               resumes ? "--resume" : "--no-pictures", "--no-pictures");
}

/* The same with call `n` failing; how many calls there were, and which one failed in `name` [64]. */
static const test_output *train_failing(const char *kind, long n, const char *on, const char *run,
                                        bool resumes, long *calls, char *name) {
    char number[24];
    snprintf(number, sizeof number, "%ld", n);
    unlink(note);
    setenv("FAULT_KIND", kind, 1);
    setenv("FAULT_CALL", number, 1);
    setenv("FAULT_NOTE", note, 1);
    setenv("LD_PRELOAD", CONVOY_BINARY_DIR "/libfaults.so", 1);
    const test_output *output = train(on, run, resumes);
    unsetenv("LD_PRELOAD");
    *calls = 0;
    *name = '\0';
    if (cvy_file_exists(note)) { /* what ends at once writes none */
        char *told = test_read_text(note, NULL);
        sscanf(told, "%ld %63s", calls, name);
        free(told);
    }
    return output;
}

static void check_ending(const test_output *r, const char *kind, long n, const char *name) {
    if (r->code < 0 || r->code > 4)
        fail_msg("%s call %ld (%s) fails, and the command ends with %d: %s", kind, n, name, r->code, r->err);
    if (r->code && !strstr(r->err, "error") && !strstr(r->err, "memory"))
        fail_msg("%s call %ld (%s) fails, exit code %d, and nothing is said: %s", kind, n, name, r->code,
                 r->err);
}

static bool said_what_it_did(const test_output *r) {
    return strstr(r->err, "warning") || strstr(r->err, "falling back");
}

static bool same_weights(const char *a, const char *b) {
    size_t sizes[2];
    char *texts[2];
    for (int i = 0; i < 2; i++) {
        char *file = cvy_path_join(i ? b : a, "last.safetensors");
        texts[i] = test_read_text(file, &sizes[i]);
        free(file);
    }
    const bool same = sizes[0] == sizes[1] && memcmp(texts[0], texts[1], sizes[0]) == 0;
    free(texts[0]);
    free(texts[1]);
    return same;
}

static void one_fault(const char *kind, long n, const char *on, const char *whole) {
    char name[64];
    long calls;
    char *run = cvy_path_join(folder, "run"), *checkpoint = cvy_path_join(run, "checkpoint.safetensors");
    const test_output *r = train_failing(kind, n, on, run, false, &calls, name);
    check_ending(r, kind, n, name);
    bool told = said_what_it_did(r);
    if (r->code) {
        r = train(on, run, cvy_file_exists(checkpoint));
        if (r->code)
            fail_msg("after the failure of %s call %ld (%s) the run does not go on: %s", kind, n, name,
                     r->err);
        told = said_what_it_did(r);
    }
    if (!same_weights(run, whole) && !told)
        fail_msg("%s call %ld (%s) failed, and the bits changed in silence", kind, n, name);
    free(checkpoint);
    test_folder_remove(run);
}

static void check_kind(const char *kind, const char *on) {
    const char *wish = getenv("FAULTS"), *whole = test_path(folder, kind);
    const long wanted = wish ? atol(wish) : 12;
    long calls;
    char name[64];
    const test_output *r = train_failing(kind, 0, on, whole, false, &calls, name);
    if (r->code)
        fail_msg("a run without faults failed: %s", r->err);
    assert_true(calls > 12);
    for (long i = 0; i < wanted && i < calls; i++) {
        const long n = wanted >= calls ? i + 1 : 1 + i * calls / wanted + (i % 2 ? calls / wanted / 2 : 0);
        one_fault(kind, n, on, whole);
    }
}

static void allocations(void **state) {
    (void)state;
    check_kind("memory", "host");
}

static void system_calls(void **state) {
    (void)state;
    check_kind("system", "host");
}

static void opencl_calls(void **state) {
    (void)state;
    if (!device || !strcmp(device, "host"))
        skip();
    check_kind("opencl", device);
}

/* Of those in which drivers may wait or work, all that a training has; and in the middle of it. */
static void calls_that_hang_are_told(void **state) {
    (void)state;
    static const char *const at_all[] = {"clGetPlatformIDs",
                                         "clGetDeviceIDs",
                                         "clCreateContext",
                                         "clCreateBuffer",
                                         "clEnqueueFillBuffer",
                                         "clBuildProgram",
                                         "clCreateKernel",
                                         "clEnqueueMarkerWithWaitList",
                                         "clEnqueueBarrierWithWaitList",
                                         "clFlush",
                                         "clReleaseKernel",
                                         "clReleaseProgram",
                                         "clReleaseCommandQueue",
                                         "clReleaseContext"};
    static const char *const training[] = {"clEnqueueNDRangeKernel",
                                           "clEnqueueReadBuffer",
                                           "clEnqueueWriteBuffer",
                                           "clEnqueueCopyBuffer",
                                           "clFinish",
                                           "clWaitForEvents",
                                           "clReleaseMemObject"};
    char wanted[96];
    if (!device || !strcmp(device, "host"))
        skip();
    setenv("FAULT_KIND", "hang", 1);
    setenv("FAULT_CALL", "60", 1);
    setenv("CONVOY_WATCHDOG", "0.04", 1);
    setenv("LD_PRELOAD", CONVOY_BINARY_DIR "/libfaults.so", 1);
    const test_output *r = RUN("train", model, "-d", device, "--limit-train", "40", "--limit-test", "20",
                               "--out", test_path(folder, "hangs"), "--no-pictures", "--pieces", "2", "--set",
                               "augment=[RandomHorizontalFlip: {}]");
    unsetenv("LD_PRELOAD");
    unsetenv("CONVOY_WATCHDOG");
    unsetenv("FAULT_KIND");
    assert_int_equal(r->code, 0);
    for (size_t i = 0; i < sizeof at_all / sizeof *at_all; i++) {
        snprintf(wanted, sizeof wanted, " has not come back from %s ", at_all[i]);
        if (!strstr(r->err, wanted))
            fail_msg("%s may hang without a word: %s", at_all[i], r->err);
    }
    for (size_t i = 0; i < sizeof training / sizeof *training; i++) {
        snprintf(wanted, sizeof wanted, " has not come back from %s for ", training[i]);
        const char *line = strstr(r->err, wanted), *last = NULL;
        for (; line; line = strstr(line + 1, wanted)) {
            last = strstr(line, "; the kernel launched last is ");
            if (last && last < strchr(line, '\n') && !strstr(last, "is simple:selfcheck"))
                break;
        }
        if (!line)
            fail_msg("%s may hang in a training, and no kernel is named: %s", training[i], r->err);
    }
}

int main(void) {
    if (!cvy_file_exists(CONVOY_BINARY_DIR "/libfaults.so"))
        return 77; /* sanitizers want to come first */
    const struct CMUnitTest tests[] = {cmocka_unit_test(allocations), cmocka_unit_test(system_calls),
                                       cmocka_unit_test(opencl_calls),
                                       cmocka_unit_test(calls_that_hang_are_told)};
    return cmocka_run_group_tests_name("faults", tests, set_up, tear_down);
}
