/* convoy selftest: what is right passes, wrong values are told by their case, and a device that crashes or
   hangs in one case is asked for the next. The devices that go wrong are tests/device/fake_driver.c's. */
#include "selftest/selftest.h"

#include "convoy/version.h"
#include "ops/variants.h"
#include "support/command.h"

static char *folder;

static const cvy_selftest_part *part_of(const cvy_selftest_result *result, const char *name) {
    for (size_t i = 0; i < result->count; i++)
        if (strcmp(result->parts[i].name, name) == 0)
            return &result->parts[i];
    fail_msg("there is no part %s", name);
    return NULL;
}

static void told(void *context, const cvy_selftest_part *part) {
    (void)part;
    ++*(int *)context;
}

static cvy_selftest_result result;

static convoy_status run(const convoy_device_info *device, const char *only, double limit, int *heard) {
    const cvy_selftest_options options = {
        .level = CVY_SELFTEST_QUICK, .only = only, .limit = limit, .jobs = 2, .done = told, .context = heard};
    return cvy_selftest_run(device, &options, &result);
}

static void a_good_device_passes(void **state) {
    (void)state;
    int heard = 0;
    assert_ok(run(convoy_device_get_info(test_device()), "sums", 120, &heard));
    assert_int_equal(result.count, 1);
    assert_int_equal(heard, 1);
    assert_true(result.cases > 10 && result.passed == result.cases);
    assert_int_equal(part_of(&result, "sums")->failed, 0);
    assert_fails(run(convoy_device_get_info(test_device()), "sms", 120, &heard), CONVOY_INVALID,
                 "no part \"sms\"");
    if (strcmp(convoy_device_get_info(test_device())->type, "host") != 0)
        assert_fails(run(convoy_device_get_info(test_device()), "conv2d:reference", 120, &heard),
                     CONVOY_INVALID, "no case of part \"conv2d:reference\" runs on this device");
}

/* The host is the reference; what it is compared with is PyTorch. */
static void the_host_is_checked_against_pytorch(void **state) {
    (void)state;
    convoy_device *host = NULL;
    int heard = 0;
    assert_ok(convoy_device_open("host", &host));
    assert_ok(run(convoy_device_get_info(host), "train:lenet", 120, &heard));
    assert_int_equal(result.passed, 1);
    assert_true(result.error > 0 && result.error < 1e-6);
    convoy_device_close(host);
}

/* Each op with variants has its shapes, and each variant that runs here at all has cases in both kinds of
 * run. */
static void every_variant_has_cases(void **state) {
    (void)state;
    static cvy_selftest_job jobs[CVY_SELFTEST_PARTS];
    size_t count = 0, variants = 0;
    cvy_selftest_variants(test_device(), CVY_SELFTEST_FULL, jobs, &count);
    for (size_t i = 0; cvy_ops[i]; i++)
        for (size_t v = 0; cvy_ops[i]->variants[v]; v++)
            variants++;
    assert_int_equal(count, variants);
    for (size_t i = 0; i < count; i++)
        assert_true(jobs[i].cases > 20);
}

static void a_part_that_is_none_is_told_what_there_is(void **state) {
    (void)state;
    const test_output *r = RUN("selftest", "--device", "host", "--quick", "--part", "nope");
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "no part \"nope\"; it has: train:lenet, "));
}

/* ---- Devices that go wrong ---- */

static const test_output *run_fake(const char *mode, const char *limit) {
    setenv("OCL_ICD_VENDORS", test_path(folder, "fake.icd"), 1);
    setenv("FAKE_DRIVER", mode, 1);
    const test_output *output = RUN("selftest", "--device", "gpu", "--quick", "--part", "sums", "--limit",
                                    limit, "--submit", "--json", test_path(folder, "result.json"));
    unsetenv("FAKE_DRIVER");
    unsetenv("OCL_ICD_VENDORS");
    return output;
}

/* The first failure's reason, in the file. */
static char *reason_in_file(json_int_t *cases) {
    json_t *all = json_load_file(test_path(folder, "result.json"), 0, NULL);
    assert_non_null(all);
    test_keys(all,
              "schema convoy date device level cases passed worst_error seconds parts images_per_second");
    test_keys(json_object_get(all, "device"),
              "name platform vendor driver opencl_version type compute_units");
    const json_t *part = json_array_get(json_object_get(all, "parts"), 0);
    assert_string_equal(json_string_value(json_object_get(part, "name")), "sums");
    *cases = json_integer_value(json_object_get(part, "cases"));
    const json_t *failures = json_object_get(part, "failures");
    assert_int_equal(json_integer_value(json_object_get(all, "passed")), 0);
    char *reason = strdup(json_string_value(json_object_get(json_array_get(failures, 0), "reason")));
    json_decref(all);
    return reason;
}

static int check_file(const char *name) {
    char command[1024];
    snprintf(command, sizeof command, "python3 " CONVOY_SOURCE_DIR "/tools/matrix.py check %s >/dev/null",
             test_path(folder, name));
    return system(command);
}

/* The file is one of tests/matrix/, where nothing personal belongs. */
static void the_file_fits_the_matrix(void **state) {
    (void)state;
    assert_int_equal(run_fake("", "60")->code, 1);
    assert_int_equal(check_file("result.json"), 0);
    for (int i = 0; i < 3; i++) {
        json_t *all = json_load_file(test_path(folder, "result.json"), 0, NULL);
        if (i == 0)
            json_object_set_new(json_object_get(all, "device"), "name", json_string("/home/me/x"));
        else if (i == 1)
            json_object_set_new(all, "host", json_string("x"));
        else
            json_object_set_new(all, "passed", json_integer(3));
        assert_int_equal(json_dump_file(all, test_path(folder, "spoilt.json"), 0), 0);
        json_decref(all);
        assert_int_not_equal(check_file("spoilt.json"), 0);
    }
}

static json_t *row_of_table(const char *how, const char *file) {
    char command[1024];
    snprintf(command, sizeof command, "cd %s && python3 tools/matrix.py add %s %s >/dev/null", folder, how,
             file);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "%s/tests/matrix/fake_platform_fake_gpu_fake_gpu_%s.json", folder,
             convoy_version());
    json_t *row = json_load_file(command, 0, NULL);
    assert_non_null(row);
    return row;
}

/* What is timed on another day goes into the row that is there, and stays in it when it is tested again. */
static void rates_are_added_to_a_row(void **state) {
    (void)state;
    char command[1024];
    snprintf(command, sizeof command,
             "cd %s && mkdir -p tools tests/matrix && cp " CONVOY_SOURCE_DIR "/tools/matrix.py tools/ && "
             "cp " CONVOY_SOURCE_DIR "/tests/matrix/schema.json tests/matrix/",
             folder);
    assert_int_equal(system(command), 0);
    json_t *rates = json_load_file(test_path(folder, "result.json"), 0, NULL);
    json_object_set_new(rates, "images_per_second", json_pack("{s:f}", "alexnet", 1234.5));
    json_object_set_new(rates, "parts",
                        json_pack("[{s:s, s:i, s:i, s:f, s:[]}]", "name", "bench:alexnet", "cases", 1,
                                  "passed", 1, "worst_error", 0.0, "failures"));
    json_object_set_new(rates, "cases", json_integer(1));
    json_object_set_new(rates, "passed", json_integer(1));
    assert_int_equal(json_dump_file(rates, test_path(folder, "rates.json"), 0), 0);
    json_decref(rates);
    json_t *row = row_of_table("", "result.json");
    const json_int_t cases = json_integer_value(json_object_get(row, "cases"));
    json_decref(row);
    for (int again = 0; again < 2; again++) {
        row = again ? row_of_table("--without-rates", "result.json") : row_of_table("--rates", "rates.json");
        assert_int_equal(json_integer_value(json_object_get(row, "cases")), cases + 1);
        assert_int_equal(json_integer_value(json_object_get(row, "passed")), 1);
        json_decref(row);
        char *page = test_read_text(test_path(folder, "tests/matrix/README.md"), NULL);
        assert_non_null(strstr(page, "| Fake GPU (Fake platform) | Fake GPU | quick | **RED** 1 of "));
        assert_non_null(strstr(page, " | 1,234 | "));
        assert_non_null(strstr(page, "- **Fake GPU (Fake platform)**, `sums`: 0 of "));
        free(page);
    }
}

static void wrong_values_are_told(void **state) {
    (void)state;
    json_int_t cases;
    const test_output *r = run_fake("", "60");
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->out, ": result 1: wrong values: value 0 of 1 is "));
    assert_non_null(strstr(r->err, "result.json; nothing was sent."));
    assert_non_null(strstr(r->err, ".github/ISSUE_TEMPLATE/device_result.yml"));
    char *reason = reason_in_file(&cases);
    assert_true(cases > 10);
    assert_non_null(strstr(reason, "wrong values"));
    free(reason);
}

static void a_crash_is_one_case(void **state) {
    (void)state;
    json_int_t cases;
    const test_output *r = run_fake("crash in launches", "60");
    assert_int_equal(r->code, 1);
    char *reason = reason_in_file(&cases);
    assert_int_equal(cases, 4); /* then the part is given up */
    assert_non_null(strstr(reason, "ended the process: "));
    free(reason);
}

static void a_hang_ends(void **state) {
    (void)state;
    json_int_t cases;
    const test_output *r = run_fake("hang in launches", "1");
    assert_int_equal(r->code, 1);
    char *reason = reason_in_file(&cases);
    assert_string_equal(reason, "took more than 1 s");
    free(reason);
}

static void bad_usage_is_refused(void **state) {
    (void)state;
    const test_output *r = RUN("selftest", "--quick", "--full");
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "exclude each other"));
    r = RUN("selftest", "--device", "no such device", "--json", "x.json");
    assert_int_equal(r->code, 3);
    assert_string_equal(r->out, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_that_is_none_is_told_what_there_is),
        cmocka_unit_test(a_good_device_passes),
        cmocka_unit_test(the_host_is_checked_against_pytorch),
        cmocka_unit_test(every_variant_has_cases),
        cmocka_unit_test(bad_usage_is_refused),
        cmocka_unit_test(the_file_fits_the_matrix),
        cmocka_unit_test(rates_are_added_to_a_row),
        cmocka_unit_test(wrong_values_are_told),
        cmocka_unit_test(a_crash_is_one_case),
        cmocka_unit_test(a_hang_ends),
    };
    folder = test_folder_create();
    test_write(folder, "fake.icd", CONVOY_BINARY_DIR "/fake_driver.so");
    const int failed = cmocka_run_group_tests_name("selftest", tests, NULL, NULL);
    test_device_close();
    test_run_free();
    test_folder_remove(folder);
    return failed;
}
