/* conv2d's variants for GPUs, every pass, against the host reference, on whatever device is at hand. */
#include "device/opencl.h"
#include "support/conv2d.h"

static void test_variants(void **state) {
    (void)state;
    conv_check_variants(true);
}

/* What tile_gpu chooses depends on the device too. Together these reach all its tiles, with channels and
   columns that are no multiples of them and more work than one work-group's. */
static void tile_gpu_adapts(void **state) {
    (void)state;
    static const struct {
        size_t max_work_group, local_memory;
        conv_case shape;
    } cases[] = {
        {256, 32 << 10, {"125 channels", 60, 14, 125, 1, 4, 5, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}},
        {256, 32 << 10, {"one pixel", 33, 2, 128, 1, 3, 3, {3, 3}, {1, 1}, {0, 0}, {1, 1}, CVY_IDENTITY}},
        {256,
         32 << 10,
         {"64 channels, one pixel", 40, 3, 64, 1, 3, 3, {3, 3}, {1, 1}, {0, 0}, {1, 1}, CVY_TANH}},
        {256,
         32 << 10,
         {"96 channels, few pixels", 48, 16, 95, 1, 2, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}},
        {128, 32 << 10, {"96 channels", 33, 17, 96, 1, 7, 6, {3, 2}, {2, 1}, {1, 1}, {1, 1}, CVY_IDENTITY}},
        {256, 32 << 10, {"two groups of 60", 40, 24, 120, 2, 4, 9, {1, 3}, {1, 2}, {0, 2}, {1, 2}, CVY_RELU}},
        {256, 32 << 10, {"45 channels", 16, 66, 45, 1, 5, 5, {2, 2}, {1, 1}, {0, 1}, {1, 1}, CVY_SIGMOID}},
        {64, 16 << 10, {"small work-groups", 100, 64, 28, 1, 4, 3, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}},
        {256, 32 << 10, {"16 channels", 128, 14, 15, 1, 5, 4, {3, 3}, {2, 2}, {1, 1}, {1, 1}, CVY_IDENTITY}},
        {256, 8 << 10, {"little local memory", 16, 3, 31, 1, 6, 6, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}},
        {256, 32 << 10, {"11 channels", 250, 4, 11, 1, 5, 5, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_IDENTITY}},
    };
    convoy_device *device = test_device();
    const cvy_device_traits real = device->traits;
    device->traits.compute_units = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        device->traits.max_work_group = cases[i].max_work_group;
        device->traits.local_memory = cases[i].local_memory;
        assert_true(conv_skipped(&cases[i].shape, "tile_gpu") ||
                    conv_check_case(&cases[i].shape, "tile_gpu"));
    }
    device->traits = real;
}

/* The tensor cores' fragments, on a device that emulates them: TF32 and BF16, tiles of all sizes. */
static void test_mma(void **state) {
    (void)state;
    static const struct {
        conv_case shape;
        size_t max_work_group;
    } tests[] = {
        {{"130 channels", 16, 2, 130, 1, 2, 2, {2, 2}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}, 256},
        {{"70 channels, stride 2", 16, 20, 70, 1, 5, 3, {3, 2}, {2, 1}, {1, 1}, {1, 1}, CVY_IDENTITY}, 128},
        {{"two groups of 20", 20, 10, 40, 2, 2, 5, {1, 3}, {1, 2}, {0, 2}, {1, 2}, CVY_IDENTITY}, 64},
        {{"3 channels", 5, 3, 6, 1, 4, 3, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_IDENTITY}, 64}};
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    const cvy_device_traits kept = *traits;
    traits->tensor_cores = CVY_TENSOR_EMULATED;
    traits->compute_units = 1;
    for (int precision = CONVOY_TF32; precision <= CONVOY_BF16; precision++)
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i += (size_t)precision) {
            if (i == 0 && test_quick()) /* a minute under Oclgrind, of the largest tile */
                continue;
            traits->max_work_group = tests[i].max_work_group;
            assert_ok(convoy_device_set_precision(test_device(), (convoy_precision)precision));
            assert_true(conv_skipped(&tests[i].shape, "mma_nvidia") ||
                        conv_check_case(&tests[i].shape, "mma_nvidia"));
        }
    *traits = kept;
}

static void test_precision(void **state) {
    (void)state;
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    assert_ok(convoy_device_set_precision(host, CONVOY_FLOAT32));
    assert_fails(convoy_device_set_precision(host, CONVOY_BF16), CONVOY_DEVICE, "bf16");
    assert_fails(convoy_device_set_precision(host, CONVOY_TF32), CONVOY_DEVICE, "compute capability");
    assert_fails(convoy_device_set_precision(host, (convoy_precision)7), CONVOY_INVALID, "precision");
    convoy_device_close(host);
}

/* Variants that work in chunks need several where the device allows only small buffers. */
static void test_chunks(void **state) {
    (void)state;
    static const conv_case chunked[] = {
        {"3x3 in chunks of whole tiles", 17, 9, 13, 1, 12, 12, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
        {"3x3 in chunks", 33, 5, 14, 1, 13, 15, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
        {"5x5 in chunks", 16, 7, 10, 1, 11, 10, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_IDENTITY}};
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    const size_t kept = traits->max_allocation;
    size_t checked = 0;
    const char *const variants[] = {"winograd_gpu", "im2col_gemm"};
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < sizeof chunked / sizeof *chunked; i++) {
            traits->max_allocation = 4 << 20;
            checked += !conv_skipped(&chunked[i], variants[v]) && conv_check_case(&chunked[i], variants[v]);
            traits->max_allocation = kept;
        }
    assert_true(checked || test_quick());
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_variants), cmocka_unit_test(tile_gpu_adapts),
                                       cmocka_unit_test(test_chunks), cmocka_unit_test(test_mma),
                                       cmocka_unit_test(test_precision)};
    const int failed = cmocka_run_group_tests_name("conv2d on GPUs", tests, test_build_plainly, NULL);
    test_device_close();
    return failed;
}
