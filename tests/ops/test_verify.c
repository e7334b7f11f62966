/* host/ops/verify.h: whose turn it is, and what is noticed when a device and the host part. What --verify
   makes of a driver that computes wrong values stands in tests/faults/test_wrong.c. */
#include "ops/verify.h"

#include "ops/ops.h"

static cvy_verifier *verifier;

static int open_verifier(void **state) {
    use_device(state);
    assert_ok(convoy_device_verify(device, 1));
    assert_ok(cvy_verifier_create(device, &verifier));
    return 0;
}

static int close_verifier(void **state) {
    cvy_verifier_free(verifier);
    return close_device(state);
}

/* From the last result of a batch to its first; the first batch only counts them. */
static void results_take_turns(void **state) {
    (void)state;
    if (!verifier) /* the host computes with the references itself */
        skip();
    for (int batch = 0; batch < 8; batch++) {
        cvy_verifier_begin(verifier);
        for (int result = 0; result < 3; result++)
            assert_true(cvy_verifier_takes(verifier) == (batch > 0 && result == (9 - batch) % 3));
    }
}

/* Each of many groups of weights, as an update has them, is looked at, the last one too. */
static void every_part_is_compared(void **state) {
    (void)state;
    if (!verifier)
        skip();
    enum { PARTS = 200 };
    float values[PARTS] = {0};
    for (int wrong = -1; wrong < PARTS; wrong += 50) {
        cvy_buffer *buffer = upload(values, PARTS), *host;
        cvy_difference difference;
        bool found = true;
        cvy_verifier_start(verifier);
        assert_ok(cvy_verifier_copy(verifier, buffer, cvy_cut_whole(buffer), &host));
        for (size_t i = 0; i < PARTS; i++)
            cvy_verifier_expect(verifier, &(cvy_expected){.name = "weight",
                                                          .device = buffer,
                                                          .host = host,
                                                          .host_offset = i * sizeof(float),
                                                          .cut = {i * sizeof(float), 4, 4, 1},
                                                          .tolerance = 1e-4,
                                                          .least = 1});
        if (wrong >= 0)
            assert_ok(cvy_buffer_write(buffer, (size_t)wrong * sizeof(float), &(float){1}, sizeof(float)));
        assert_ok(cvy_verifier_compare(verifier, "a test", &found, &difference));
        assert_true(found == (wrong >= 0));
        cvy_buffer_free(buffer);
    }
}

static void more_than_there_is_room_for_is_no_success(void **state) {
    (void)state;
    if (!verifier)
        skip();
    float value = 0;
    cvy_buffer *buffer = upload(&value, 1), *host;
    cvy_difference difference;
    bool found;
    cvy_verifier_start(verifier);
    assert_ok(cvy_verifier_copy(verifier, buffer, cvy_cut_whole(buffer), &host));
    const cvy_expected expected = {
        .name = "value", .device = buffer, .host = host, .cut = cvy_cut_whole(buffer), .tolerance = 1e-4};
    for (int i = 0; i <= CVY_EXPECTED; i++)
        cvy_verifier_expect(verifier, &expected);
    assert_fails(cvy_verifier_compare(verifier, "a test", &found, &difference), CONVOY_FAILED,
                 "more operands than can be verified");
    cvy_verifier_start(verifier);
    assert_ok(cvy_verifier_compare(verifier, "a test", &found, &difference));
    cvy_buffer_free(buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_take_turns),
        cmocka_unit_test(every_part_is_compared),
        cmocka_unit_test(more_than_there_is_room_for_is_no_success),
    };
    return cmocka_run_group_tests(tests, open_verifier, close_verifier);
}
