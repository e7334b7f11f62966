/* Devices: listing, selection, buffers, views, kernels, launches, profiling, and the errors each can give. */
#include "support/test.h"

#include "base/file.h"

static void test_list_ends_with_host_and_chooses_one(void **state) {
    (void)state;
    const convoy_device_info *const *list = NULL;
    size_t count = 0;
    int chosen = 0;
    assert_ok(convoy_device_list(&list, &count));
    assert_true(count >= 2);
    assert_string_equal(list[count - 1]->id, "host");
    for (size_t i = 0; i < count; i++) {
        chosen += list[i]->chosen;
        assert_true(list[i]->name[0] && list[i]->memory > 0 && list[i]->compute_units > 0);
        assert_true(strlen(list[i]->reason) > 0);
    }
    assert_int_equal(chosen, 1);
    convoy_device_list_free(list);
}

static void test_auto_takes_the_listed_choice(void **state) {
    (void)state;
    const convoy_device_info *const *list = NULL;
    size_t count = 0;
    convoy_device *device = NULL;
    assert_ok(convoy_device_list(&list, &count));
    assert_ok(convoy_device_open("auto", &device));
    for (size_t i = 0; i < count; i++)
        if (list[i]->chosen)
            assert_string_equal(list[i]->id, convoy_device_get_info(device)->id);
    convoy_device_close(device);
    convoy_device_list_free(list);
}

static void test_selection_by_id_name_and_type(void **state) {
    (void)state;
    const convoy_device_info *info = convoy_device_get_info(test_device());
    const char *selectors[] = {info->id, info->platform, info->name};
    for (size_t i = 0; i < sizeof selectors / sizeof selectors[0]; i++) {
        convoy_device *device = NULL;
        assert_ok(convoy_device_open(selectors[i], &device));
        assert_string_equal(convoy_device_get_info(device)->id, info->id);
        convoy_device_close(device);
    }
    convoy_device *device = NULL; /* another device of the type may rank higher */
    assert_ok(convoy_device_open(info->type, &device));
    assert_string_equal(convoy_device_get_info(device)->type, info->type);
    convoy_device_close(device);
}

static void test_environment_selects(void **state) {
    (void)state;
    convoy_device *device = NULL;
    const char *before = getenv("CONVOY_DEVICE");
    char *saved = before ? strdup(before) : NULL;
    setenv("CONVOY_DEVICE", "host", 1);
    assert_ok(convoy_device_open(NULL, &device));
    assert_string_equal(convoy_device_get_info(device)->type, "host");
    convoy_device_close(device);
    if (saved)
        setenv("CONVOY_DEVICE", saved, 1);
    else
        unsetenv("CONVOY_DEVICE");
    free(saved);
}

static void test_unmet_request_is_an_error(void **state) {
    (void)state;
    convoy_device *device = NULL;
    const char *const selectors[] = {"no-such-device", "99:0"};
    for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
        device = (convoy_device *)&device; /* whatever was there */
        assert_fails(convoy_device_open(selectors[i], &device), CONVOY_DEVICE, selectors[i]);
        assert_null(device);
    }
}

static void check_transfers(convoy_device *device) {
    size_t align = cvy_device_get_traits(device)->view_alignment, bytes = 3 * align;
    cvy_buffer *buffer = NULL, *view = NULL, *nothing = NULL;
    unsigned char *data = malloc(bytes), *back = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(i * 7 + 1);
    assert_ok(cvy_buffer_create(device, bytes, "test", &buffer));
    assert_ok(cvy_buffer_read(buffer, 0, back, bytes));
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(back[i], 0);
    assert_ok(cvy_buffer_write(buffer, 0, data, bytes));
    assert_ok(cvy_buffer_view(buffer, align, align, &view));
    assert_ok(cvy_buffer_read(view, 0, back, align));
    assert_memory_equal(back, data + align, align);
    assert_ok(cvy_buffer_copy(buffer, 2 * align, buffer, align, align / 2));
    memcpy(data + align, data + 2 * align, align / 2);
    assert_ok(cvy_buffer_read(buffer, 0, back, bytes));
    assert_memory_equal(back, data, bytes);
    assert_fails(cvy_buffer_view(buffer, 1, 4, &nothing), CONVOY_INVALID, "alignment");
    assert_fails(cvy_buffer_view(buffer, align, bytes, &nothing), CONVOY_INVALID, "does not lie");
    assert_fails(cvy_buffer_read(buffer, bytes, back, 1), CONVOY_INVALID, "do not lie");
    assert_fails(cvy_buffer_write(view, align - 1, back, 2), CONVOY_INVALID, "do not lie");
    cvy_buffer_free(view);
    cvy_buffer_free(buffer);
    assert_ok(cvy_buffer_create(device, 0, "nothing", &nothing));
    cvy_buffer_free(nothing);
    free(data);
    free(back);
}

static void test_transfers_and_views(void **state) {
    (void)state;
    size_t before = cvy_device_get_counters(test_device()).bytes;
    check_transfers(test_device());
    assert_int_equal(cvy_device_get_counters(test_device()).bytes, before);
}

static void test_transfers_and_views_on_host(void **state) {
    (void)state;
    convoy_device *host = NULL;
    cvy_kernel *kernel = NULL;
    assert_ok(convoy_device_open("host", &host));
    check_transfers(host);
    assert_fails(cvy_kernel_get(host, "selfcheck", "selfcheck", "", &kernel), CONVOY_DEVICE, "no kernels");
    convoy_device_close(host);
}

static void test_too_large_is_refused_before_allocating(void **state) {
    (void)state;
    cvy_buffer *buffer = NULL;
    const cvy_device_traits *traits = cvy_device_get_traits(test_device());
    assert_fails(cvy_buffer_create(test_device(), SIZE_MAX, "everything", &buffer), CONVOY_MEMORY,
                 "everything");
    assert_fails(cvy_buffer_create(test_device(), traits->max_allocation + 1, "a giant", &buffer),
                 CONVOY_MEMORY, "a giant needs");
    assert_null(buffer);
}

static void test_launch_rounds_up_and_counts(void **state) {
    (void)state;
    float values[77];
    cvy_kernel *kernel = NULL, *again = NULL;
    for (int i = 0; i < 77; i++)
        values[i] = (float)i;
    cvy_buffer *buffer = test_buffer(test_device(), values, sizeof values);
    assert_ok(cvy_kernel_get(test_device(), "selfcheck", "selfcheck", "", &kernel));
    assert_ok(cvy_kernel_get(test_device(), "selfcheck", "selfcheck", "", &again));
    assert_ptr_equal(kernel, again);
    unsigned long long before = cvy_device_get_counters(test_device()).launches;
    assert_ok(CVY_LAUNCH(kernel, cvy_items(77), cvy_buf(buffer), cvy_float(3), cvy_int(77)));
    assert_ok(CVY_LAUNCH(kernel, cvy_singles(77, 1, 1), cvy_buf(buffer), cvy_float(3), cvy_int(70)));
    assert_ok(CVY_LAUNCH(kernel, cvy_items(0), cvy_buf(buffer), cvy_float(3), cvy_int(0)));
    assert_int_equal(cvy_device_get_counters(test_device()).launches - before, 2);
    float *back = test_read(buffer, 77);
    for (int i = 0; i < 77; i++) {
        float once = 3.0f * (float)i + 1;
        assert_true(back[i] == (i < 70 ? 3 * once + 1 : once));
    }
    free(back);
    cvy_buffer_free(buffer);
}

/* Half as many steps again as the self-check takes. */
static void test_drivers_that_end_loops_are_known(void **state) {
    (void)state;
    cvy_kernel *kernel = NULL;
    cvy_buffer *buffer = test_buffer(test_device(), NULL, sizeof(uint32_t));
    uint32_t expected = 0, found = 0;
    for (int i = 0; i < 105000; i++)
        expected = expected * 1664525u + 1013904223u;
    assert_ok(cvy_kernel_get(test_device(), "selfcheck", "selfcheck_loop", "", &kernel));
    assert_ok(CVY_LAUNCH(kernel, cvy_singles(1, 1, 1), cvy_buf(buffer), cvy_uint(105000)));
    assert_ok(cvy_buffer_read(buffer, 0, &found, sizeof found));
    const cvy_device_traits *traits = cvy_device_get_traits(test_device());
    const bool ends_loops = traits->quirks & CVY_QUIRK_ENDS_LOOPS;
    assert_true((found == expected) != ends_loops);
    assert_false(ends_loops && traits->cpu);
    cvy_buffer_free(buffer);
}

static void test_wrong_arguments_are_named(void **state) {
    (void)state;
    cvy_kernel *kernel = NULL;
    cvy_buffer *buffer = test_buffer(test_device(), NULL, 64);
    assert_ok(cvy_kernel_get(test_device(), "selfcheck", "selfcheck", "", &kernel));
    assert_fails(CVY_LAUNCH(kernel, cvy_items(1), cvy_buf(buffer), cvy_float(3)), CONVOY_DEVICE,
                 "takes 3 arguments");
    assert_fails(CVY_LAUNCH(kernel, cvy_items(1), cvy_buf(buffer), cvy_ulong(3), cvy_int(1)), CONVOY_DEVICE,
                 "argument 1");
    assert_fails(cvy_kernel_get(test_device(), "selfcheck", "nothing", "", &kernel), CONVOY_DEVICE,
                 "CL_INVALID_KERNEL_NAME");
    assert_fails(cvy_kernel_get(test_device(), "nothing", "nothing", "", &kernel), CONVOY_DEVICE,
                 "nothing.cl");
    cvy_buffer_free(buffer);
}

static void test_failed_build_carries_the_log(void **state) {
    (void)state;
    char folder[] = "/tmp/convoy-kernels-XXXXXX";
    cvy_kernel *kernel = NULL;
    assert_non_null(mkdtemp(folder));
    char *path = cvy_path_join(folder, "broken.cl");
    const char *source = "__kernel void broken(__global float *x) { x[X] = undeclared_thing; }\n";
    assert_ok(cvy_file_write(path, source, strlen(source)));
    setenv("CONVOY_KERNEL_DIR", folder, 1);
    assert_fails(cvy_kernel_get(test_device(), "broken", "broken", "-DX=1", &kernel), CONVOY_DEVICE,
                 "undeclared_thing");
    setenv("CONVOY_KERNEL_OPTIONS", "-DFURTHER=2 -cl-opt-disable", 1);
    assert_fails(cvy_kernel_get(test_device(), "broken", "broken", "-DX=1", &kernel), CONVOY_DEVICE,
                 " -DX=1 -DFURTHER=2 -cl-opt-disable\"");
    unsetenv("CONVOY_KERNEL_OPTIONS");
    assert_fails(cvy_kernel_get(test_device(), "absent", "absent", "", &kernel), CONVOY_IO,
                 "CONVOY_KERNEL_DIR");
    unsetenv("CONVOY_KERNEL_DIR");
    remove(path);
    remove(folder);
    free(path);
}

/* Put by the linker in the place of OpenCL's. */
static int flushes;
int32_t __wrap_clFlush(void *queue);
int32_t __wrap_clFlush(void *queue) {
    flushes += queue != NULL;
    return 0;
}

/* Put there likewise: what two of OpenCL's calls say instead of their answers. */
static int32_t platforms_code, devices_code;
int32_t __real_clGetPlatformIDs(uint32_t room, void *list, uint32_t *count);
int32_t __real_clGetDeviceIDs(void *platform, uint64_t type, uint32_t room, void *list, uint32_t *count);
int32_t __wrap_clGetPlatformIDs(uint32_t room, void *list, uint32_t *count);
int32_t __wrap_clGetDeviceIDs(void *platform, uint64_t type, uint32_t room, void *list, uint32_t *count);
int32_t __wrap_clGetPlatformIDs(uint32_t room, void *list, uint32_t *count) {
    return platforms_code ? platforms_code : __real_clGetPlatformIDs(room, list, count);
}
int32_t __wrap_clGetDeviceIDs(void *platform, uint64_t type, uint32_t room, void *list, uint32_t *count) {
    return devices_code ? devices_code : __real_clGetDeviceIDs(platform, type, room, list, count);
}

/* A driver that is there and fails is told as such; one that has nothing to show is none. */
static void test_a_failing_driver_is_named(void **state) {
    (void)state;
    convoy_device *device = NULL;
    const convoy_device_info *const *list = NULL;
    size_t count = 0;
    for (int i = 0; i < 4; i++) {
        platforms_code = i == 0 ? -6 : i == 2 ? -1001 : 0;
        devices_code = i == 1 ? -6 : i == 3 ? -1 : 0;
        assert_fails(convoy_device_open("cpu", &device), CONVOY_DEVICE, "no device matches");
        const char *call = i ? "clGetDeviceIDs of platform 0 (" : "clGetPlatformIDs fails";
        const char *message = convoy_error_message();
        assert_int_equal(strstr(message, call) && strstr(message, "CL_OUT_OF_HOST_MEMORY (-6)"), i < 2);
        assert_ok(convoy_device_list(&list, &count));
        assert_int_equal(count, 1);
        assert_null(strstr(list[0]->reason, "install one")); /* there is one */
        const bool seen =
            strstr(list[0]->reason, "show no device") || strstr(list[0]->reason, "no driver shows");
        assert_int_equal(seen, i >= 2);
        convoy_device_list_free(list);
    }
    platforms_code = devices_code = 0;
}

static void test_long_queues_are_flushed_on_gpus(void **state) {
    (void)state;
    cvy_kernel *kernel = NULL;
    convoy_device *device = test_device();
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    const bool cpu = traits->cpu;
    cvy_buffer *buffer = test_buffer(device, NULL, 64);
    assert_ok(cvy_kernel_get(device, "selfcheck", "selfcheck", "", &kernel));
    for (int gpu = 0; gpu < 2; gpu++) {
        traits->cpu = !gpu;
        flushes = 0;
        for (int i = 0; i < 1024; i++)
            assert_ok(CVY_LAUNCH(kernel, cvy_items(16), cvy_buf(buffer), cvy_float(1), cvy_int(16)));
        assert_int_equal(flushes, gpu ? 4 : 0);
    }
    traits->cpu = cpu;
    cvy_buffer_free(buffer);
}

static void test_options_are_checked_by_name(void **state) {
    (void)state;
    char folder[] = "/tmp/convoy-kernels-XXXXXX";
    cvy_kernel *kernel = NULL, *same = NULL;
    assert_non_null(mkdtemp(folder));
    char *path = cvy_path_join(folder, "named.cl");
    const char *source = "/* ROWS */ // COLUMNS\n"
                         "__kernel void named(__global int *x) { x[WIDTH] = LONG_WIDTH; }\n";
    assert_ok(cvy_file_write(path, source, strlen(source)));
    setenv("CONVOY_KERNEL_DIR", folder, 1);
    assert_ok(cvy_kernel_build(test_device(), "named", "named", CVY_OPTIONS({"WIDTH", 3}, {"LONG_WIDTH", -1}),
                               &kernel));
    assert_ok(cvy_kernel_get(test_device(), "named", "named", "-DWIDTH=3 -DLONG_WIDTH=-1", &same));
    assert_ptr_equal(kernel, same);
    const char *const unknown[] = {"WIDT", "ROWS", "COLUMNS", "DTH", "NG_WIDTH"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char message[64];
        snprintf(message, sizeof message, "named.cl knows no option %s;", unknown[i]);
        assert_fails(cvy_kernel_build(test_device(), "named", "named",
                                      CVY_OPTIONS({"WIDTH", 3}, {"LONG_WIDTH", 1}, {unknown[i], 1}), &kernel),
                     CONVOY_DEVICE, message);
    }
    unsetenv("CONVOY_KERNEL_DIR");
    remove(path);
    remove(folder);
    free(path);
}

typedef struct observed {
    int calls;
    cvy_building last;
} observed;

static void observe(void *context, const cvy_building *building) {
    observed *seen = context;
    seen->calls++;
    seen->last = *building;
}

static void test_building_is_observed(void **state) {
    (void)state;
    char folder[] = "/tmp/convoy-kernels-XXXXXX";
    cvy_kernel *kernel = NULL;
    observed seen = {0};
    convoy_device *device = test_device();
    cvy_buffer *buffer = test_buffer(device, NULL, 64);
    assert_non_null(mkdtemp(folder));
    char *path = cvy_path_join(folder, "observed.cl");
    const char *source = "kernel void observed(global int *x) { x[0] = 1; }\n";
    assert_ok(cvy_file_write(path, source, strlen(source)));
    setenv("CONVOY_KERNEL_DIR", folder, 1);
    cvy_device_observe_building(device, observe, &seen);
    assert_ok(cvy_kernel_get(device, "observed", "observed", "", &kernel));
    assert_int_equal(seen.calls, 1);
    assert_string_equal(seen.last.file, "observed");
    const size_t all = seen.last.all;
    for (int i = 0; i < 2; i++) {
        assert_ok(cvy_kernel_get(device, "observed", "observed", "", &kernel));
        assert_ok(CVY_LAUNCH(kernel, cvy_items(1), cvy_buf(buffer)));
        assert_int_equal(seen.calls, 2);
        assert_int_equal(seen.last.all, all + 1);
        assert_true(seen.last.done < seen.last.all && seen.last.seconds > 0);
    }
    cvy_device_observe_building(device, NULL, NULL);
    unsetenv("CONVOY_KERNEL_DIR");
    remove(path);
    remove(folder);
    free(path);
    cvy_buffer_free(buffer);
}

static void test_profile_names_kernels(void **state) {
    (void)state;
    cvy_kernel *kernel = NULL;
    cvy_profile_row *rows = NULL;
    size_t count = 0;
    cvy_buffer *buffer = test_buffer(test_device(), NULL, 4096);
    assert_ok(cvy_kernel_get(test_device(), "selfcheck", "selfcheck", "", &kernel));
    assert_ok(cvy_profile_start(test_device()));
    for (int i = 0; i < 3; i++)
        assert_ok(CVY_LAUNCH(kernel, cvy_items(1024), cvy_buf(buffer), cvy_float(1), cvy_int(1024)));
    assert_ok(cvy_profile_stop(test_device(), &rows, &count));
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].kernel, "selfcheck:selfcheck");
    assert_int_equal(rows[0].launches, 3);
    assert_true(rows[0].seconds > 0);
    free(rows);
    float *values = test_read(buffer, 1024);
    assert_true(values[1023] == 3);
    free(values);
    cvy_buffer_free(buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_ends_with_host_and_chooses_one),
        cmocka_unit_test(test_auto_takes_the_listed_choice),
        cmocka_unit_test(test_selection_by_id_name_and_type),
        cmocka_unit_test(test_environment_selects),
        cmocka_unit_test(test_unmet_request_is_an_error),
        cmocka_unit_test(test_transfers_and_views),
        cmocka_unit_test(test_transfers_and_views_on_host),
        cmocka_unit_test(test_too_large_is_refused_before_allocating),
        cmocka_unit_test(test_launch_rounds_up_and_counts),
        cmocka_unit_test(test_drivers_that_end_loops_are_known),
        cmocka_unit_test(test_wrong_arguments_are_named),
        cmocka_unit_test(test_failed_build_carries_the_log),
        cmocka_unit_test(test_a_failing_driver_is_named),
        cmocka_unit_test(test_long_queues_are_flushed_on_gpus),
        cmocka_unit_test(test_options_are_checked_by_name),
        cmocka_unit_test(test_building_is_observed),
        cmocka_unit_test(test_profile_names_kernels),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
