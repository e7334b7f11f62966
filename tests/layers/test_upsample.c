/* host/layers/upsample.c: shapes and messages; forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shape(void **state) {
    (void)state;
    test_layer_output("Upsample", "{size: [22, 9]}", image, (cvy_dims){3, 22, 9});
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("Upsample", "{}", image, &facts), CONVOY_INVALID, "`size` is missing");
    assert_fails(test_layer_describe("Upsample", "{size: 3, mode: nearest}", image, &facts), CONVOY_INVALID,
                 "`mode` must be one of bilinear");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "Upsample: {size: [5, 7]}", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "Upsample: {size: [5, 7]}", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
