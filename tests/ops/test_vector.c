/* host/ops/vector.h: how work is cut up, and that each simple kernel file compiles alone. */
#include "ops/vector.h"

#include "ops/ops.h"

static void test_blocks_cover_every_vector_once(void **state) {
    (void)state;
    if (cvy_device_get_traits(device)->host)
        return;
    cvy_kernel *kernel = NULL;
    assert_ok(cvy_kernel_get_simple(device, "elementwise", "add", &kernel));
    const size_t counts[] = {1, 15, 16, 17, 4095, 100000, 5000000};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (size_t rows = 1; rows < 50; rows += 16) {
            cvy_blocks blocks = cvy_vector_blocks(device, kernel, counts[c], rows);
            size_t groups = blocks.grid.global[0] / blocks.grid.local[0];
            assert_int_equal(blocks.grid.global[0] % blocks.grid.local[0], 0);
            assert_int_equal(blocks.grid.global[1], rows);
            assert_true(groups * blocks.block >= counts[c] && (groups - 1) * blocks.block < counts[c]);
            assert_true(blocks.grid.local[0] <= 256);
        }
}

static void test_group_size_suits_the_pieces(void **state) {
    (void)state;
    if (cvy_device_get_traits(device)->host)
        return;
    cvy_kernel *kernel = NULL;
    assert_ok(cvy_kernel_get_simple(device, "elementwise", "add", &kernel));
    bool cpu = cvy_device_get_traits(device)->cpu;
    assert_int_equal(cvy_group_size(device, kernel, 1), cpu ? 1 : 64);
    assert_int_equal(cvy_group_size(device, kernel, 65), cpu ? 1 : 128);
    assert_int_equal(cvy_group_size(device, kernel, 1 << 20), cpu ? 1 : 256);
    assert_true(16 % cvy_vector_width(device) == 0);
}

static void test_files_compile_alone(void **state) {
    (void)state;
    const char *const kernels[][2] = {
        {"elementwise", "add"},       {"pool2d", "max_forward"}, {"batchnorm", "statistics"},
        {"dropout", "dropout"},       {"loss", "loss"},          {"lenet5", "rbf_forward"},
        {"resize", "resize_forward"}, {"gather", "gather"},      {"optimizer", "sgd"}};
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        cvy_kernel *kernel = NULL;
        assert_ok(cvy_kernel_get(test_device(), kernels[k][0], kernels[k][1], "", &kernel));
    }
}

int main(void) {
    const struct CMUnitTest vector[] = {
        cmocka_unit_test(test_blocks_cover_every_vector_once),
        cmocka_unit_test(test_group_size_suits_the_pieces),
    };
    const struct CMUnitTest files[] = {cmocka_unit_test(test_files_compile_alone)};
    return RUN_ON_DEVICES(vector), cmocka_run_group_tests_name("files", files, use_device, close_device);
}
