/* host/layers/group_norm.c: GroupNorm and LayerNorm, their tensors, forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {6, 4, 5};
static const char front[] = "Conv2d: {out_channels: 6, kernel_size: 1}";

static void describes(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("GroupNorm", "{num_groups: 3, num_channels: 6}", image, &facts));
    test_layer_tensor(&facts, 0, "weight", 1, (const size_t[]){6});
    test_layer_tensor(&facts, 1, "bias", 1, (const size_t[]){6});
    assert_int_equal(facts.saved[0].column_bytes, 3 * sizeof(float));
    assert_ok(test_layer_describe("LayerNorm", "{bias: false}", image, &facts));
    assert_int_equal(facts.tensor_count, 1);
    assert_int_equal(facts.saved[0].column_bytes, 20 * sizeof(float));
    assert_ok(test_layer_describe("LayerNorm", "{elementwise_affine: false}", image, &facts));
    assert_int_equal(facts.tensor_count, 0);
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("GroupNorm", "{num_groups: 4}", image, &facts), CONVOY_INVALID,
                 "num_groups is 4, which does not divide the input's 6 channels");
    assert_fails(test_layer_describe("LayerNorm", "{normalized_shape: 7}", image, &facts), CONVOY_INVALID,
                 "normalized_shape is 7 but the input has 6 channels");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs(front, "GroupNorm: {num_groups: 2}", false);
    test_layer_slopes(front, "GroupNorm: {num_groups: 2, affine: false}", false);
    test_layer_runs(front, "LayerNorm: {eps: 0.000001}", false);
    test_layer_slopes(front, "LayerNorm: {bias: false}", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
