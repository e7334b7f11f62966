/* Transfers on a queue of their own: in order with the launches that they are told to be in order with. */
#include "device/device.h"
#include "support/test.h"

enum { COUNT = 10000, ROUNDS = 50, STORES = 2 };

/* Two buffers in turn, each copied from right after its upload: every round finds its own values. */
static void buffers_in_turn_keep_each_rounds_values(void **state) {
    (void)state;
    cvy_buffer *stores[STORES], *all;
    cvy_transfer *transfers[STORES];
    size_t bytes = COUNT * sizeof(int32_t);
    int32_t *values[STORES], *found = malloc(ROUNDS * bytes);
    for (int s = 0; s < STORES; s++) {
        values[s] = malloc(bytes);
        assert_ok(cvy_buffer_create(test_device(), bytes, "a store", &stores[s]));
        assert_ok(cvy_transfer_create(test_device(), &transfers[s]));
        assert_ok(cvy_transfer_after_launches(transfers[s])); /* new memory is cleared by a launch */
    }
    assert_ok(cvy_buffer_create(test_device(), ROUNDS * bytes, "what was seen", &all));
    unsigned long long waits = cvy_device_get_counters(test_device()).waits;
    for (int round = 0; round < ROUNDS; round++) {
        int s = round % STORES;
        assert_ok(cvy_transfer_finish(transfers[s]));
        for (int i = 0; i < COUNT; i++)
            values[s][i] = round * COUNT + i;
        assert_ok(cvy_transfer_start(transfers[s], stores[s], 0, values[s], bytes / 2));
        assert_ok(
            cvy_transfer_start(transfers[s], stores[s], bytes / 2, values[s] + COUNT / 2, bytes - bytes / 2));
        assert_ok(cvy_transfer_before_launches(transfers[s]));
        assert_ok(cvy_buffer_copy(stores[s], 0, all, (size_t)round * bytes, bytes));
        assert_ok(cvy_transfer_after_launches(transfers[s]));
    }
    assert_int_equal(cvy_device_get_counters(test_device()).waits, waits);
    assert_ok(cvy_buffer_read(all, 0, found, ROUNDS * bytes));
    for (int i = 0; i < ROUNDS * COUNT; i++)
        assert_int_equal(found[i], i);
    for (int s = 0; s < STORES; s++) {
        cvy_transfer_free(transfers[s]);
        cvy_buffer_free(stores[s]);
        free(values[s]);
    }
    cvy_buffer_free(all);
    free(found);
}

/* What a launch makes is fetched, while the next launch already makes something else elsewhere. */
static void a_fetch_waits_for_what_was_launched(void **state) {
    (void)state;
    cvy_buffer *from, *to[2];
    cvy_transfer *transfer;
    const size_t bytes = COUNT * sizeof(int32_t);
    int32_t *values = malloc(bytes), *found = calloc(COUNT, sizeof *found);
    assert_ok(cvy_buffer_create(test_device(), bytes, "values", &from));
    assert_ok(cvy_transfer_create(test_device(), &transfer));
    for (int i = 0; i < 2; i++)
        assert_ok(cvy_buffer_create(test_device(), bytes, "a copy", &to[i]));
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < COUNT; i++)
            values[i] = round * COUNT + i;
        assert_ok(cvy_buffer_write(from, 0, values, bytes));
        assert_ok(cvy_buffer_copy(from, 0, to[0], 0, bytes));
        assert_ok(cvy_transfer_after_launches(transfer));
        assert_ok(cvy_transfer_fetch(transfer, to[0], 0, found, bytes));
        assert_ok(cvy_buffer_copy(from, 0, to[1], 0, bytes));
        assert_ok(cvy_transfer_finish(transfer));
        assert_memory_equal(found, values, bytes);
    }
    assert_fails(cvy_transfer_fetch(transfer, from, bytes, found, 4), CONVOY_INVALID,
                 "do not lie in a buffer");
    cvy_transfer_free(transfer);
    for (int i = 0; i < 2; i++)
        cvy_buffer_free(to[i]);
    cvy_buffer_free(from);
    free(values);
    free(found);
}

static void ranges_are_checked_and_nothing_is_fine(void **state) {
    (void)state;
    cvy_buffer *buffer;
    cvy_transfer *transfer;
    int32_t value = 7, found = 0;
    assert_ok(cvy_buffer_create(test_device(), sizeof value, "a value", &buffer));
    assert_ok(cvy_transfer_create(test_device(), &transfer));
    assert_ok(cvy_transfer_finish(transfer));
    assert_ok(cvy_transfer_before_launches(transfer));
    assert_ok(cvy_transfer_start(transfer, buffer, 0, NULL, 0));
    assert_fails(cvy_transfer_start(transfer, buffer, 2, &value, sizeof value), CONVOY_INVALID,
                 "4 bytes at 2 do not lie in a buffer of 4");
    assert_ok(cvy_transfer_after_launches(transfer));
    assert_ok(cvy_transfer_start(transfer, buffer, 0, &value, sizeof value));
    cvy_transfer_free(transfer); /* waits for it */
    assert_ok(cvy_buffer_read(buffer, 0, &found, sizeof found));
    assert_int_equal(found, 7);
    cvy_transfer_free(NULL);
    cvy_buffer_free(buffer);
}

/* Mapped or plain, it begins as zeros, and what goes to the device and back is the same. */
static void pinned_memory_is_memory(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    const char *const wishes[] = {"0", "1"};
    for (int i = 0; i < 2; i++) {
        cvy_pinned *pinned = NULL;
        cvy_transfer *transfer = NULL;
        cvy_buffer *buffer = NULL;
        setenv("CONVOY_PINNED", wishes[i], 1);
        assert_ok(cvy_pinned_create(test_device(), COUNT * sizeof(float), "a test", &pinned));
        unsetenv("CONVOY_PINNED");
        assert_int_equal(cvy_pinned_is_mapped(pinned), i == 1 && !cvy_device_get_traits(test_device())->host);
        assert_ok(cvy_transfer_create(test_device(), &transfer));
        assert_ok(cvy_buffer_create(test_device(), COUNT * sizeof(float), "a test", &buffer));
        float *values = cvy_pinned_host(pinned), back[COUNT];
        for (int k = 0; k < COUNT; k++) {
            assert_true(values[k] == 0);
            values[k] = (float)k;
        }
        assert_ok(cvy_transfer_start(transfer, buffer, 0, values, COUNT * sizeof(float)));
        assert_ok(cvy_transfer_finish(transfer));
        assert_ok(cvy_buffer_read(buffer, 0, back, sizeof back));
        assert_memory_equal(back, values, sizeof back);
        memset(values, 0, COUNT * sizeof *values);
        assert_ok(cvy_transfer_fetch(transfer, buffer, 0, values, COUNT * sizeof(float)));
        assert_ok(cvy_transfer_finish(transfer));
        assert_memory_equal(back, values, sizeof back);
        cvy_transfer_free(transfer);
        cvy_buffer_free(buffer);
        cvy_pinned_free(pinned);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pinned_memory_is_memory),
        cmocka_unit_test(buffers_in_turn_keep_each_rounds_values),
        cmocka_unit_test(a_fetch_waits_for_what_was_launched),
        cmocka_unit_test(ranges_are_checked_and_nothing_is_fine),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failures;
}
