/* The ring of per-batch figures: sums, order, and the batch that went bad. */
#include "support/test.h"
#include "train/statistics.h"

static int open_ring(void **state) {
    static cvy_statistics statistics;
    assert_ok(cvy_statistics_create(test_device(), 2, &statistics));
    *state = &statistics;
    return 0;
}

static int close_ring(void **state) {
    cvy_statistics_free(*state);
    return 0;
}

/* What the loss op does on the device, in two parts. */
static void batch(cvy_statistics *s, int n, float loss_sum, float correct) {
    const float pairs[2][2] = {{loss_sum - 1, 0}, {1, correct}};
    size_t slot = cvy_statistics_next_slot(s, n);
    assert_ok(cvy_buffer_write(s->ring, slot * sizeof pairs, pairs, sizeof pairs));
}

static void adds_up_in_order(void **state) {
    cvy_statistics *s = *state;
    batch(s, 4, 8, 1);
    batch(s, 2, 1, 2);
    assert_ok(cvy_statistics_read(s));
    batch(s, 2, 3, 0);
    assert_ok(cvy_statistics_read(s));
    assert_true(s->images == 8 && s->correct == 3 && s->pending == 0);
    assert_true(cvy_statistics_loss(s) == 1.5 && cvy_statistics_accuracy(s) == 0.375 && s->batch_loss == 1.5);
    cvy_statistics_reset(s);
    assert_true(isnan(cvy_statistics_loss(s)) && isnan(cvy_statistics_accuracy(s)) && isnan(s->batch_loss));
    assert_true(cvy_statistics_rate(s) == 0);
}

static void names_the_first_bad_batch(void **state) {
    cvy_statistics *s = *state;
    batch(s, 4, 8, 1);
    batch(s, 4, 9, 1);
    assert_ok(cvy_statistics_read(s));
    assert_true(s->first_bad == 0);
    batch(s, 4, 10, 1);
    batch(s, 4, INFINITY, 0);
    batch(s, 4, NAN, 0);
    assert_ok(cvy_statistics_read(s));
    assert_int_equal(s->first_bad, 4);
    assert_int_equal(s->read, 5);
}

static void reads_before_the_ring_is_full(void **state) {
    cvy_statistics *s = *state;
    size_t most = 0;
    for (int i = 0; i < 1000; i++) {
        batch(s, 1, 1, 1);
        most = s->pending > most ? s->pending : most;
        if (cvy_statistics_due(s))
            assert_ok(cvy_statistics_read(s));
    }
    assert_ok(cvy_statistics_read(s));
    assert_true(most <= CVY_STATISTICS_SLOTS);
    assert_true(s->images == 1000 && s->correct == 1000 && s->loss_sum == 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(adds_up_in_order, open_ring, close_ring),
        cmocka_unit_test_setup_teardown(names_the_first_bad_batch, open_ring, close_ring),
        cmocka_unit_test_setup_teardown(reads_before_the_ring_is_full, open_ring, close_ring),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
