/* host/ops/peak.h: the kernels compute what they are meant to, and a measurement is complete. */
#include "ops/ops.h"
#include "ops/peak.h"
#include "ops/vector.h"

static void chains_are_computed(void **state) {
    (void)state;
    size_t items = 256;
    double width = cvy_vector_width(device);
    cvy_buffer *out = garbage(items);
    assert_ok(cvy_peak_flops(device, items, 0.5f, 1, 2, out));
    float *values = download(out, items);
    for (size_t i = 0; i < items; i++) /* twice v/2 + 1: v/4 + 1.5, over v = i ... i + 11 */
        assert_true(fabs(values[i] - width * (12 * (double)i + 66) / 4 - width * 18) <= 1e-5 * values[i]);
    free(values);
}

static void streams_are_computed(void **state) {
    (void)state;
    size_t count = 5008;
    float *x = test_random(count, 1), *y = test_random(count, 2);
    cvy_buffer *from = upload(x, count), *to = upload(y, count);
    assert_ok(cvy_peak_stream(device, count, 0.25f, 3, from, to));
    for (size_t i = 0; i < count; i++)
        y[i] += 0.75f * x[i];
    float *actual = download(to, count);
    test_close("y", actual, y, count, 1e-6);
    cvy_buffer_free(from);
    free(actual);
    free(x);
    free(y);
}

static void a_measurement_is_complete(void **state) {
    (void)state;
    cvy_peak peak;
    if (test_quick())
        skip();
    assert_ok(cvy_peak_measure(device, &peak));
    assert_true(peak.flops > 0 && isfinite(peak.flops) && peak.launch > 0 && peak.wait >= 0);
    for (int i = 0; i < CVY_PEAK_SETS; i++)
        assert_true(peak.sets[i].bandwidth > 0 && peak.sets[i].bytes > 0);
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    assert_ok(cvy_peak_measure(host, &peak));
    assert_true(peak.flops == 0 && cvy_peak_floor(&peak, (cvy_cost){1e9, 1e9}) == 0);
    convoy_device_close(host);
}

static void the_floor_is_the_slower_part(void **state) {
    (void)state;
    const cvy_peak peak = {.flops = 100, .sets = {{10, 40}, {100, 20}, {1000, 10}}};
    assert_true(cvy_peak_floor(&peak, (cvy_cost){1000, 10}) == 10);
    assert_true(cvy_peak_floor(&peak, (cvy_cost){0, 10}) == 0.25);
    assert_true(cvy_peak_floor(&peak, (cvy_cost){0, 11}) == 0.55);
    assert_true(cvy_peak_floor(&peak, (cvy_cost){0, 5000}) == 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_are_computed),
        cmocka_unit_test(streams_are_computed),
        cmocka_unit_test(a_measurement_is_complete),
        cmocka_unit_test(the_floor_is_the_slower_part),
    };
    return cmocka_run_group_tests(tests, use_device, close_device),
           cmocka_run_group_tests(tests, use_as_gpu, close_device);
}
