/* Drivers that end or hang a process are set aside by name, with the reason, and the command goes on
   elsewhere or ends; a process of the library is told. The drivers are tests/device/fake_driver.c's, in
   folders of this test. */
#include "device/drivers.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "support/command.h"

#define FAKE CONVOY_BINARY_DIR "/fake_driver.so"
#define TINY CONVOY_SOURCE_DIR "/tests/models/tiny.yaml"
static char *folder; /* with the cache, and a folder of .icd files for each case */

/* Each has its own folder of drivers: fake.icd, which says `library`. */
static const char *make_drivers(const char *name, const char *library) {
    static char path[512], file[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(file, sizeof file, "%s/fake.icd", path);
    assert_ok(cvy_folder_create(path));
    assert_ok(cvy_file_write(file, library, strlen(library)));
    setenv("OCL_ICD_VENDORS", path, 1);
    return file;
}

static const char *reason_of(const test_output *output) {
    const json_t *list = json_object_get(output->json, "drivers_set_aside");
    assert_int_equal(json_array_size(list), 1);
    assert_non_null(
        strstr(json_string_value(json_object_get(json_array_get(list, 0), "driver")), "/fake.icd"));
    return json_string_value(json_object_get(json_array_get(list, 0), "reason"));
}

/* Which device `auto` takes. */
static const json_t *chosen_of(const test_output *output) {
    const json_t *list = json_object_get(output->json, "devices"), *device;
    size_t i;
    json_array_foreach(list, i, device) {
        if (json_is_true(json_object_get(device, "chosen")))
            return device;
    }
    fail_msg("no device is chosen: %s", output->err);
    return NULL;
}

static void one_that_computes_is_taken(void **state) {
    (void)state;
    make_drivers("good", FAKE);
    const test_output *r = RUN("devices", "--json");
    assert_int_equal(r->code, 0);
    assert_string_equal(json_string_value(json_object_get(chosen_of(r), "name")), "Fake GPU");
    assert_int_equal(json_array_size(json_object_get(r->json, "drivers_set_aside")), 0);
}

/* At once: no limit is waited for. */
static void those_that_end_the_process(void **state) {
    (void)state;
    static const struct {
        const char *mode, *library, *reason;
    } cases[] = {
        {"abort at load", FAKE, "ends its process in loading " FAKE ": signal 6 (Aborted)"},
        {"crash in clIcdGetPlatformIDsKHR", FAKE, "in clIcdGetPlatformIDsKHR: "},
        {"fail in clIcdGetPlatformIDsKHR", FAKE, "clIcdGetPlatformIDsKHR fails: CL_OUT_OF_HOST_MEMORY (-6)"},
        {"", "/nowhere/lib.so", "its library cannot be loaded: /nowhere/lib.so: cannot open"},
        {"", CONVOY_BINARY_DIR "/CMakeCache.txt", "its library cannot be loaded"},
        {"", "", "names no library"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[8];
        snprintf(name, sizeof name, "%zu", i);
        make_drivers(name, cases[i].library);
        setenv("FAKE_DRIVER", cases[i].mode, 1);
        const test_output *r = RUN("devices", "--json");
        assert_int_equal(r->code, 0);
        if (!strstr(reason_of(r), cases[i].reason))
            fail_msg("%s: %s", cases[i].mode, reason_of(r));
        assert_string_equal(json_string_value(json_object_get(chosen_of(r), "id")), "host");
        assert_null(strstr(json_string_value(json_object_get(chosen_of(r), "reason")), "install"));
    }
    setenv("FAKE_DRIVER", "abort at load", 1);
    make_drivers("0", FAKE);
    const test_output *r = RUN("devices");
    assert_non_null(strstr(r->out, "fake.icd is not used: ends its process in loading"));
    r = RUN("bench", TINY, "--device", "gpu", "--steps", "1");
    assert_int_equal(r->code, 3);
    assert_non_null(strstr(r->err, "no device matches"));
    assert_non_null(strstr(r->err, "is set aside: it ends its process in loading"));
    assert_null(strstr(r->err, "install"));
    unsetenv("FAKE_DRIVER");
}

/* Of two drivers one aborts; the other one's device is taken. */
static void the_others_are_used(void **state) {
    (void)state;
    size_t size = 0;
    char *module = NULL, bad[600];
    make_drivers("two", FAKE);
    snprintf(bad, sizeof bad, "%s/two/bad.so", folder);
    assert_ok(cvy_file_read(FAKE, 64 << 20, &module, &size));
    assert_ok(cvy_file_write(bad, module, size));
    assert_ok(cvy_file_write(test_path(folder, "two/another.icd"), bad, strlen(bad)));
    free(module);
    setenv("FAKE_DRIVER", "abort as bad.so", 1);
    for (int kept = 0; kept < 2; kept++) {
        const test_output *r =
            kept ? RUN("bench", TINY, "--device", "Fake", "--steps", "1") : RUN("devices", "--json");
        assert_non_null(strstr(r->err, "two/another.icd is set aside: it ends its process in loading"));
        if (kept)
            assert_non_null(strstr(r->err, "device: Fake GPU (0:0, Fake platform)"));
        else
            assert_string_equal(json_string_value(json_object_get(chosen_of(r), "name")), "Fake GPU");
    }
    unsetenv("FAKE_DRIVER");
}

/* One that fails in good order is no danger, and is told by its call. */
static void a_call_that_fails_is_named(void **state) {
    (void)state;
    make_drivers("failing", FAKE);
    setenv("FAKE_DRIVER", "fail in clGetDeviceIDs", 1);
    const test_output *r = RUN("bench", TINY, "--device", "gpu", "--steps", "1");
    unsetenv("FAKE_DRIVER");
    assert_int_equal(r->code, 3);
    assert_non_null(
        strstr(r->err, "clGetDeviceIDs of platform 0 (Fake platform) fails with CL_OUT_OF_HOST_MEMORY"));
    assert_null(strstr(r->err, "install one"));
}

/* The driver is loaded by nobody: an abort would end the command. */
static void the_host_asks_no_driver(void **state) {
    (void)state;
    make_drivers("0", FAKE);
    setenv("FAKE_DRIVER", "abort at load", 1);
    setenv("CONVOY_DRIVER_CHECK", "0", 1);
    assert_int_equal(RUN("devices")->code, -6);
    const test_output *r = RUN("bench", TINY, "--device", "host", "--steps", "1");
    unsetenv("CONVOY_DRIVER_CHECK");
    unsetenv("FAKE_DRIVER");
    assert_int_equal(r->code, 0);
}

static const char *log_of(const char *call) {
    char name[80];
    snprintf(name, sizeof name, "%s.log", call);
    return test_path(folder, name);
}

/* In each of these calls, which are all that a driver gets before it is used: all at once, each with two
   seconds for a step. The command goes on with the host. */
static const char *const calls[] = {"clIcdGetPlatformIDsKHR", "clGetDeviceIDs", "clBuildProgram", "clFinish"};
static const struct {
    const char *mode, *reason;
} ways[] = {{"hang in", "does not come back from %s"}, {"abort in", "in %s"}, {"crash in", "in %s"}};
enum { CALLS = sizeof calls / sizeof *calls, WAYS = sizeof ways / sizeof *ways };

/* `who`: whose folder of drivers it is, as answers are kept for each. */
static void begin_to_go_wrong(const char *who, const char *way, const char *call, char mode[64]) {
    char name[96];
    snprintf(mode, 64, "%s %s", way, call);
    snprintf(name, sizeof name, "%s %s", who, mode);
    make_drivers(name, FAKE);
    setenv("FAKE_DRIVER", mode, 1);
}

static void those_that_go_wrong_in_a_call(void **state) {
    (void)state;
    pid_t started[CALLS * WAYS];
    char mode[64], reason[64];
    for (int i = 0; i < CALLS * WAYS; i++) {
        setenv("CONVOY_DRIVER_CHECK", i < CALLS ? "2" : "60", 1);
        begin_to_go_wrong("command", ways[i / CALLS].mode, calls[i % CALLS], mode);
        started[i] = test_start(
            log_of(mode), (const char *const[]){"bench", TINY, "--device", "auto", "--steps", "1", NULL});
    }
    for (int i = 0; i < CALLS * WAYS; i++) {
        const int code = test_wait(started[i]);
        snprintf(mode, sizeof mode, "%s %s", ways[i / CALLS].mode, calls[i % CALLS]);
        snprintf(reason, sizeof reason, ways[i / CALLS].reason, calls[i % CALLS]);
        char *said = test_read_text(log_of(mode), NULL);
        if (code || !strstr(said, reason) || !strstr(said, "device: Host CPU") ||
            !strstr(said, i < CALLS       ? "within 2 s"
                          : i < 2 * CALLS ? "(Aborted)"
                                          : "(Segmentation fault)"))
            fail_msg("%s: exit code %d: %s", mode, code, said);
        free(said);
    }
    unsetenv("CONVOY_DRIVER_CHECK");
    /* It is remembered, but not for good. */
    begin_to_go_wrong("command", "hang in", "clFinish", mode);
    const test_output *r = RUN("bench", TINY, "--device", "gpu", "--steps", "1");
    assert_int_equal(r->code, 3);
    assert_non_null(strstr(r->err, "does not come back from clFinish"));
    assert_non_null(strstr(r->err, "`convoy devices` tries it again"));
    unsetenv("FAKE_DRIVER");
    assert_string_equal(json_string_value(json_object_get(chosen_of(RUN("devices", "--json")), "name")),
                        "Fake GPU");
}

/* One that hangs later, in the middle of the work: the command says so, and where. */
static void a_run_that_hangs_says_so(void **state) {
    (void)state;
    make_drivers("later", FAKE);
    setenv("FAKE_DRIVER", "hang in the second clBuildProgram", 1);
    setenv("CONVOY_WATCHDOG", "0.5", 1);
    const char *log = log_of("later");
    const pid_t process =
        test_start(log, (const char *const[]){"bench", TINY, "--device", "Fake", "--steps", "1", NULL});
    test_wait_for(process, log, "Fake GPU has not come back from clBuildProgram for ");
    char *said = test_read_text(log, NULL);
    assert_non_null(strstr(said, "the kernel launched last is simple:selfcheck"));
    free(said);
    kill(process, SIGKILL);
    test_wait(process);
    unsetenv("CONVOY_WATCHDOG");
    unsetenv("FAKE_DRIVER");
}

/* A process of the library opens "auto", with the environment that it has: 0, or what was wrong. */
static int open_in_library(const char *call) {
    convoy_device *device = NULL;
    const cvy_driver *aside;
    char *before = strdup(getenv("OCL_ICD_VENDORS"));
    if (convoy_device_open("auto", &device))
        return 1;
    if (strcmp(convoy_device_get_info(device)->id, "host") != 0)
        return 2;
    convoy_device_close(device);
    if (strcmp(getenv("OCL_ICD_VENDORS"), before) != 0)
        return 3;
    free(before);
    /* One that is listed well and cannot be opened is not set aside, but told by its device. */
    return cvy_drivers_aside(&aside) == 1 && !strstr(aside->reason, call) ? 4 : 0;
}

/* Its environment stays as it is, so that it must not call OpenCL at all. */
static void the_library_is_told(void **state) {
    (void)state;
    const cvy_driver *aside;
    char mode[64];
    for (int i = 0; i < CALLS * WAYS; i++) {
        setenv("CONVOY_DRIVER_CHECK", i < CALLS ? "1" : "60", 1);
        begin_to_go_wrong("library", ways[i / CALLS].mode, calls[i % CALLS], mode);
        const pid_t child = fork();
        if (child == 0)
            _exit(open_in_library(calls[i % CALLS]));
        int code = 0;
        assert_int_equal(waitpid(child, &code, 0), child);
        if (code)
            fail_msg("%s: %d", mode, code);
    }
    unsetenv("CONVOY_DRIVER_CHECK");
    make_drivers("library", FAKE);
    setenv("FAKE_DRIVER", "abort at load", 1);
    assert_int_equal(open_in_library("loading"), 0);
    unsetenv("FAKE_DRIVER");
    assert_int_equal(cvy_drivers_aside(&aside), 1);
    assert_non_null(strstr(aside->reason, "signal 6"));
}

/* An answer holds for its driver's file as it was. */
static void answers_are_kept_until_something_changes(void **state) {
    (void)state;
    cvy_driver_answer answer = {.verdict = CVY_DRIVER_GOOD, .reason = "a\tb\n"}, found;
    const char *library = test_path(folder, "library.so");
    assert_ok(cvy_file_write(library, "1", 1));
    cvy_driver_key((const char *const[]){"test", NULL}, answer.key);
    snprintf(answer.library, sizeof answer.library, "%s", library);
    assert_false(cvy_driver_recall(answer.key, &found));
    cvy_driver_remember(&answer);
    cvy_driver_remember(&answer);
    assert_true(cvy_driver_recall(answer.key, &found));
    assert_string_equal(found.reason, "a b ");
    assert_string_equal(found.library, library);
    assert_ok(cvy_file_write(library, "22", 2));
    assert_false(cvy_driver_recall(answer.key, &found));
    char other[33];
    setenv("POCL_DEVICES", "basic", 1);
    cvy_driver_key((const char *const[]){"test", NULL}, other);
    unsetenv("POCL_DEVICES");
    assert_string_not_equal(other, answer.key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_kept_until_something_changes),
        cmocka_unit_test(one_that_computes_is_taken),
        cmocka_unit_test(those_that_end_the_process),
        cmocka_unit_test(the_others_are_used),
        cmocka_unit_test(a_call_that_fails_is_named),
        cmocka_unit_test(the_host_asks_no_driver),
        cmocka_unit_test(those_that_go_wrong_in_a_call),
        cmocka_unit_test(a_run_that_hangs_says_so),
        cmocka_unit_test(the_library_is_told),
    };
    folder = test_folder_create();
    char *cache = cvy_path_join(folder, "cache");
    setenv("CONVOY_CACHE_DIR", cache, 1);
    setenv("CONVOY_DEVICE", "auto", 1);
    const int failed = cmocka_run_group_tests_name("drivers", tests, NULL, NULL);
    test_run_free();
    test_folder_remove(folder);
    free(cache);
    return failed;
}
