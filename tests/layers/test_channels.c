/* host/layers/channels.c: parts and order of channels, forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {6, 4, 5};
static const char front[] = "Conv2d: {out_channels: 6, kernel_size: 1}";

static void describes(void **state) {
    (void)state;
    test_layer_output("ChannelShuffle", "{groups: 3}", image, image);
    test_layer_output("ChannelSplit", "{part: 1}", image, (cvy_dims){3, 4, 5});
    test_layer_output("ChannelSplit", "{parts: 3, part: 0}", image, (cvy_dims){2, 4, 5});
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("ChannelShuffle", "{groups: 4}", image, &facts), CONVOY_INVALID,
                 "groups is 4, which does not divide the input's 6 channels");
    assert_fails(test_layer_describe("ChannelSplit", "{part: 2}", image, &facts), CONVOY_INVALID,
                 "part 2 of 2");
    assert_fails(test_layer_describe("ChannelSplit", "{parts: 4, part: 0}", image, &facts), CONVOY_INVALID,
                 "parts is 4");
}

static void computes(void **state) {
    (void)state;
    static const char halves[] = "Concat: [[{ChannelSplit: {part: 1}}, Tanh], [{ChannelSplit: {part: 0}}]]";
    test_layer_runs(front, "ChannelShuffle: {groups: 2}", false);
    test_layer_slopes(front, "ChannelShuffle: {groups: 2}", false);
    test_layer_runs(front, halves, false);
    test_layer_slopes(front, halves, false);
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
