/* host/layers/conv2d.c: torch.nn's shapes, tensors, costs and messages; forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shapes(void **state) {
    (void)state;
    test_layer_output("Conv2d", "{out_channels: 5, kernel_size: 3}", image, (cvy_dims){5, 9, 12});
    test_layer_output("Conv2d", "{out_channels: 5, kernel_size: [3, 5], stride: [2, 3], padding: [1, 2]}",
                      image, (cvy_dims){5, 6, 5});
    test_layer_output("Conv2d", "{out_channels: 6, kernel_size: 3, dilation: 2, groups: 3}", image,
                      (cvy_dims){6, 7, 10});
    test_layer_output("Conv2d", "{out_channels: 2, kernel_size: [1, 7], padding: same}", image,
                      (cvy_dims){2, 11, 14});
    test_layer_output("Conv2d", "{out_channels: 2, kernel_size: [3, 2], dilation: [3, 2], padding: same}",
                      image, (cvy_dims){2, 11, 14});
    test_layer_output("Conv2d", "{out_channels: 2, kernel_size: [1, 7], padding: valid}", image,
                      (cvy_dims){2, 11, 8});
}

static void tensors(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(
        test_layer_describe("Conv2d", "{out_channels: 6, kernel_size: [3, 5], groups: 3}", image, &facts));
    test_layer_tensor(&facts, 0, "weight", 4, (const size_t[]){6, 1, 3, 5});
    test_layer_tensor(&facts, 1, "bias", 1, (const size_t[]){6});
    assert_int_equal(facts.tensors[0].fan_in, 15);
    assert_int_equal(facts.tensors[0].fan_out, 90);
    assert_ok(test_layer_describe("Conv2d", "{out_channels: 6, kernel_size: 1, bias: false}", image, &facts));
    assert_int_equal(facts.tensor_count, 1);
}

static void channel_linear(void **state) {
    (void)state;
    cvy_layer_facts facts;
    test_layer_output("ChannelLinear", "{out_features: 5}", image, (cvy_dims){5, 11, 14});
    assert_ok(test_layer_describe("ChannelLinear", "{out_features: 5, in_features: 3}", image, &facts));
    test_layer_tensor(&facts, 0, "weight", 2, (const size_t[]){5, 3});
    test_layer_tensor(&facts, 1, "bias", 1, (const size_t[]){5});
    assert_int_equal(facts.tensors[0].fan_in, 3);
    assert_fails(test_layer_describe("ChannelLinear", "{out_features: 5, in_features: 4}", image, &facts),
                 CONVOY_INVALID, "in_features is 4 but the input has 3 channels");
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "ChannelLinear: {out_features: 2}", false);
}

static void connection_tables_mask_weights(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("Conv2d", "{out_channels: 2, kernel_size: 2, connections: [[0, 2], [1]]}",
                                  image, &facts));
    const float expected[2][3] = {{1, 0, 1}, {0, 1, 0}};
    for (size_t o = 0; o < 2; o++)
        for (size_t i = 0; i < 3; i++)
            for (size_t k = 0; k < 4; k++)
                assert_true(facts.tensors[0].mask[(o * 3 + i) * 4 + k] == expected[o][i]);
    assert_int_equal(facts.tensors[0].row_fans[0], 8);
    assert_int_equal(facts.tensors[0].row_fans[1], 4);
    assert_int_equal(facts.absent, 12);
    assert_int_equal(facts.multiply_adds, 12 * 10 * 13);
    assert_int_equal(facts.connections, 14 * 10 * 13);
}

static void costs(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("Conv2d", "{out_channels: 4, kernel_size: 3, padding: 1}", image, &facts));
    assert_int_equal(facts.multiply_adds, 4 * 3 * 9 * 11 * 14);
    assert_int_equal(facts.connections, 4 * (3 * 9 + 1) * 11 * 14);
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(
        test_layer_describe("Conv2d", "{out_channels: 2, kernel_size: 3, padding: smae}", image, &facts),
        CONVOY_INVALID, "or same|valid, found `smae`");
    assert_fails(test_layer_describe("Conv2d", "{out_channels: 2, kernel_size: 3, stride: 2, padding: same}",
                                     image, &facts),
                 CONVOY_INVALID, "for a stride of 1, and here it is 2");
    assert_fails(
        test_layer_describe("Conv2d", "{out_channels: 2, kernel_size: [3, 4], padding: same}", image, &facts),
        CONVOY_INVALID, "a kernel_size of 4 would need");
    assert_fails(test_layer_describe("Conv2d", "{out_channels: 2, kernel_size: 12}", image, &facts),
                 CONVOY_INVALID, "12");
    assert_fails(test_layer_describe("Conv2d", "{out_channels: 4, kernel_size: 3, groups: 2}", image, &facts),
                 CONVOY_INVALID, "groups");
    assert_fails(
        test_layer_describe("Conv2d", "{out_channels: 4, kernel_size: 3, in_channels: 1}", image, &facts),
        CONVOY_INVALID, "in_channels is 1 but the input has 3 channels");
    assert_fails(test_layer_describe("Conv2d", "{kernel_size: 3}", image, &facts), CONVOY_INVALID,
                 "`out_channels` is missing");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}",
                    "Conv2d: {out_channels: 2, kernel_size: 3, padding: 1}", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}",
                      "Conv2d: {out_channels: 2, kernel_size: 3, padding: 1}", false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}",
                    "Conv2d: {out_channels: 3, kernel_size: [3, 2], stride: [1, 2], groups: 3, bias: false}",
                    false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(tensors),
        cmocka_unit_test(connection_tables_mask_weights),
        cmocka_unit_test(costs),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
        cmocka_unit_test(channel_linear),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
