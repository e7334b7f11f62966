/* host/layers/pool2d.c and adaptive_max_pool2d.c: torch.nn's shapes and messages; forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shapes(void **state) {
    (void)state;
    test_layer_output("MaxPool2d", "{kernel_size: 2}", image, (cvy_dims){3, 5, 7});
    test_layer_output("MaxPool2d", "{kernel_size: 3, stride: 2, padding: 1}", image, (cvy_dims){3, 6, 7});
    test_layer_output("MaxPool2d", "{kernel_size: 3, stride: 1, dilation: 2}", image, (cvy_dims){3, 7, 10});
    test_layer_output("AvgPool2d", "{kernel_size: [2, 3], stride: 1}", image, (cvy_dims){3, 10, 12});
    test_layer_output("MaxPool2d", "{kernel_size: 3, stride: 2, ceil_mode: true}", image,
                      (cvy_dims){3, 5, 7});
    test_layer_output("MaxPool2d", "{kernel_size: 2, ceil_mode: true}", image, (cvy_dims){3, 6, 7});
    test_layer_output("AvgPool2d", "{kernel_size: 2, stride: 3, ceil_mode: true}", image,
                      (cvy_dims){3, 4, 5});
    test_layer_output("AdaptiveAvgPool2d", "{output_size: [2, 5]}", image, (cvy_dims){3, 2, 5});
    test_layer_output("AdaptiveAvgPool2d", "{output_size: 1}", image, (cvy_dims){3, 1, 1});
    test_layer_output("AdaptiveMaxPool2d", "{output_size: [2, 5]}", image, (cvy_dims){3, 2, 5});
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("MaxPool2d", "{kernel_size: 2, padding: 2}", image, &facts),
                 CONVOY_INVALID, "padding");
    assert_fails(test_layer_describe("MaxPool2d", "{kernel_size: 15}", image, &facts), CONVOY_INVALID, "15");
    assert_fails(test_layer_describe("AvgPool2d", "{kernel_size: 0}", image, &facts), CONVOY_INVALID,
                 "`kernel_size` must be");
    assert_fails(test_layer_describe("AdaptiveAvgPool2d", "{}", image, &facts), CONVOY_INVALID,
                 "`output_size` is missing");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "MaxPool2d: {kernel_size: 2}", false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}",
                    "MaxPool2d: {kernel_size: 3, stride: 1, padding: 1}", false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "AvgPool2d: {kernel_size: 2}", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "AvgPool2d: {kernel_size: 2}", false);
    test_layer_slopes(
        "Conv2d: {out_channels: 3, kernel_size: 1}",
        "AvgPool2d: {kernel_size: 3, stride: 2, padding: 1, ceil_mode: true, count_include_pad: false}",
        false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "AdaptiveAvgPool2d: {output_size: [3, 4]}",
                    false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "AdaptiveMaxPool2d: {output_size: [3, 4]}",
                    false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "AdaptiveAvgPool2d: {output_size: [3, 4]}",
                      false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
