/* host/layers/batch_norm2d.c: torch.nn's shapes, tensors and messages; forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shape_stays(void **state) {
    (void)state;
    test_layer_output("BatchNorm2d", "{}", image, (cvy_dims){3, 11, 14});
}

static void tensors(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("BatchNorm2d", "{}", image, &facts));
    const char *const names[] = {"weight", "bias", "running_mean", "running_var"};
    assert_int_equal(facts.tensor_count, 4);
    for (int i = 0; i < 4; i++) {
        test_layer_tensor(&facts, i, names[i], 1, (const size_t[]){3});
        assert_int_equal(facts.tensors[i].role, i < 2 ? CVY_TRAINABLE : CVY_STATISTIC);
    }
    assert_true(facts.counts_batches);
    assert_ok(
        test_layer_describe("BatchNorm2d", "{affine: false, track_running_stats: false}", image, &facts));
    assert_true(facts.tensor_count == 0 && !facts.counts_batches);
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("BatchNorm2d", "{num_features: 4}", image, &facts), CONVOY_INVALID,
                 "num_features is 4 but the input has 3 channels");
    assert_fails(test_layer_describe("BatchNorm2d", "{momentum: 2}", image, &facts), CONVOY_INVALID,
                 "`momentum` must be a number between 0 and 1");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "BatchNorm2d", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "BatchNorm2d", false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "BatchNorm2d: {affine: false}", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_stays),
        cmocka_unit_test(tensors),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
