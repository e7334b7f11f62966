/* host/ops/channels.h: the order of PyTorch's channel_shuffle, its inverse, and parts. */
#include "ops/channels.h"
#include "ops/ops.h"

static const cvy_channels_shape shape = {
    .pitch = 16, .channels = 6, .pixels = 5, .groups = 3, .first = 2, .count = 2};
enum { FLOATS = 5 * 16, ALL = 6 * FLOATS };

static void test_shuffle(void **state) {
    (void)state;
    static const size_t from[6] = {0, 2, 4, 1, 3, 5}; /* torch.nn.ChannelShuffle(3) of channels 0..5 */
    float *x = test_random(ALL, 1);
    cvy_buffer *in = upload(x, ALL), *out = garbage(ALL), *back = garbage(ALL);
    cvy_channels op;
    assert_ok(cvy_channel_shuffle_prepare(device, &shape, &op));
    assert_ok(cvy_channel_shuffle_run(&op, false, in, out));
    assert_ok(cvy_channel_shuffle_run(&op, true, out, back));
    float *y = download(out, ALL), *again = download(back, ALL);
    for (size_t c = 0; c < 6; c++)
        assert_memory_equal(y + c * FLOATS, x + from[c] * FLOATS, FLOATS * sizeof(float));
    assert_memory_equal(again, x, ALL * sizeof(float));
    cvy_buffer_free(in);
    free(x), free(y), free(again);
}

static void test_part(void **state) {
    (void)state;
    float *x = test_random(ALL, 1);
    cvy_buffer *in = upload(x, ALL), *out = garbage(2 * FLOATS), *back = garbage(ALL);
    cvy_channels op;
    assert_ok(cvy_channel_part_prepare(device, &shape, true, &op));
    assert_ok(cvy_channel_part_forward(&op, in, out));
    assert_ok(cvy_channel_part_backward(&op, out, back));
    float *y = download(out, 2 * FLOATS), *gx = download(back, ALL);
    assert_memory_equal(y, x + 2 * FLOATS, 2 * FLOATS * sizeof(float));
    for (size_t i = 0; i < ALL; i++)
        assert_true(gx[i] == (i / FLOATS / 2 == 1 ? x[i] : 0));
    cvy_buffer_free(in);
    free(x), free(y), free(gx);
}

int main(void) {
    const struct CMUnitTest channels[] = {cmocka_unit_test(test_shuffle), cmocka_unit_test(test_part)};
    return RUN_ON_DEVICES(channels);
}
