/* The ring of batches that threads prepare ahead. */
#include <stdatomic.h>
#include <unistd.h>

#include "data/dataset.h"
#include "data/prefetch.h"
#include "support/test.h"

enum { IMAGES = 50, SIDE = 3, BYTES = SIDE * SIDE, BATCH = 8 };

static int32_t labels[IMAGES];
static atomic_int damaged = -1, made;

/* Slow in an order of its own, so that threads overtake each other. */
static convoy_status fetch(const convoy_dataset *dataset, size_t index, uint8_t *image) {
    (void)dataset;
    usleep((unsigned)(index * 7919 % 400));
    made++;
    if ((int)index == damaged || (int)index == damaged + 1)
        return cvy_fail(CONVOY_INVALID, "image-%zu.jpg: damaged", index);
    for (size_t i = 0; i < BYTES; i++)
        image[i] = (uint8_t)(index * 5 + i);
    return CONVOY_OK;
}

static convoy_dataset set = {.name = "slow",
                             .count = IMAGES,
                             .channels = 1,
                             .height = SIDE,
                             .width = SIDE,
                             .classes = 3,
                             .labels = labels,
                             .fetch = fetch};

static int setup(void **state) {
    (void)state;
    damaged = -10;
    for (int i = 0; i < IMAGES; i++)
        labels[i] = i % 3;
    return 0;
}

static cvy_prefetch *create(int threads) {
    cvy_prefetch *prefetch;
    assert_ok(cvy_prefetch_create(&set, BATCH, threads, &prefetch));
    return prefetch;
}

/* 49, 42, 35, ... : 7 is coprime to 50. */
static void fill_order(uint32_t order[IMAGES]) {
    for (uint32_t i = 0; i < IMAGES; i++)
        order[i] = (49 + 43 * i) % IMAGES;
}

static void expect_batch(cvy_prefetch *prefetch, const uint32_t *order, int n) {
    const uint8_t *images;
    const int32_t *classes;
    int got;
    assert_ok(cvy_prefetch_next(prefetch, &images, &classes, &got));
    assert_int_equal(got, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(classes[i], order[i] % 3);
        for (uint32_t b = 0; b < BYTES; b++)
            assert_int_equal(images[i * BYTES + (int)b], (uint8_t)(order[i] * 5 + b));
    }
}

static void batches_come_in_order_for_any_number_of_threads(void **state) {
    (void)state;
    uint32_t order[IMAGES];
    fill_order(order);
    for (int threads = 0; threads <= 5; threads++) {
        cvy_prefetch *prefetch = create(threads);
        for (int epoch = 0; epoch < 2; epoch++) {
            cvy_prefetch_start(prefetch, order, IMAGES, 0);
            for (int b = 0; b < IMAGES / BATCH; b++)
                expect_batch(prefetch, order + b * BATCH, BATCH);
            expect_batch(prefetch, order + 48, 2);
            expect_batch(prefetch, order, 0);
            expect_batch(prefetch, order, 0);
        }
        cvy_prefetch_free(prefetch);
    }
}

static void starting_again_in_mid_epoch(void **state) {
    (void)state;
    uint32_t order[IMAGES];
    fill_order(order);
    cvy_prefetch *prefetch = create(3);
    const uint8_t *images;
    const int32_t *classes;
    int n;
    assert_ok(cvy_prefetch_next(prefetch, &images, &classes, &n)); /* before the first start: nothing */
    assert_int_equal(n, 0);
    for (int first = 6; first >= 0; first--) {
        cvy_prefetch_start(prefetch, order, IMAGES, (size_t)first);
        expect_batch(prefetch, order + first * BATCH, first == 6 ? 2 : BATCH);
    }
    expect_batch(prefetch, order + BATCH, BATCH);
    cvy_prefetch_start(prefetch, order, IMAGES, 7); /* at the end: nothing is left */
    expect_batch(prefetch, order, 0);
    cvy_prefetch_start(prefetch, order, 16, 1); /* a shorter order */
    expect_batch(prefetch, order + BATCH, BATCH);
    expect_batch(prefetch, order, 0);
    cvy_prefetch_free(prefetch);
}

static void a_damaged_image_fails_its_own_batch(void **state) {
    (void)state;
    uint32_t order[IMAGES];
    for (uint32_t i = 0; i < IMAGES; i++)
        order[i] = i;
    for (int threads = 1; threads <= 4; threads++) {
        const uint8_t *images;
        const int32_t *classes;
        int n;
        damaged = 20; /* and 21, in the third batch */
        cvy_prefetch *prefetch = create(threads);
        cvy_prefetch_start(prefetch, order, IMAGES, 0);
        expect_batch(prefetch, order, BATCH);
        expect_batch(prefetch, order + BATCH, BATCH);
        assert_fails(cvy_prefetch_next(prefetch, &images, &classes, &n), CONVOY_INVALID,
                     "image-20.jpg: damaged");
        assert_int_equal(n, 0);
        expect_batch(prefetch, order + 3 * BATCH, BATCH);
        cvy_prefetch_free(prefetch);
    }
}

static void threads_stop_in_the_middle_of_their_work(void **state) {
    (void)state;
    uint32_t order[IMAGES];
    fill_order(order);
    for (int round = 0; round < 10; round++) {
        cvy_prefetch *prefetch = create(1 + round % 4);
        cvy_prefetch_start(prefetch, order, IMAGES, 0);
        usleep((unsigned)round * 200);
        cvy_prefetch_free(prefetch);
    }
    cvy_prefetch_free(create(2)); /* never started */
    cvy_prefetch_free(NULL);
}

/* No more than the ring holds is made ahead, and the batch being read is not written to. */
static void the_ring_is_bounded(void **state) {
    (void)state;
    uint32_t order[IMAGES];
    fill_order(order);
    cvy_prefetch *prefetch = create(2);
    made = 0;
    cvy_prefetch_start(prefetch, order, IMAGES, 0);
    expect_batch(prefetch, order, BATCH);
    for (int i = 0; i < 200 && made < 4 * BATCH; i++)
        usleep(1000);
    usleep(2000);
    assert_int_equal(made, 4 * BATCH);
    expect_batch(prefetch, order + BATCH, BATCH);
    cvy_prefetch_free(prefetch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(batches_come_in_order_for_any_number_of_threads, setup),
        cmocka_unit_test_setup(starting_again_in_mid_epoch, setup),
        cmocka_unit_test_setup(a_damaged_image_fails_its_own_batch, setup),
        cmocka_unit_test_setup(threads_stop_in_the_middle_of_their_work, setup),
        cmocka_unit_test_setup(the_ring_is_bounded, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
