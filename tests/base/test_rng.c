/* Philox4x32-10 against the published vectors; the reader's distributions, independence and reproducibility.
 */
#include "support/test.h"

#include "base/rng.h"

/* kat_vectors of Random123 (Salmon et al.), "philox4x32 10". */
static void philox_gives_the_published_vectors(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        cvy_philox(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

static void the_reader_walks_the_blocks(void **state) {
    (void)state;
    cvy_rng rng = cvy_rng_stream(0x1122334455667788u, 7, 9);
    for (uint32_t block = 0; block < 3; block++) {
        uint32_t expected[4];
        cvy_philox((const uint32_t[]){block, 0, 9, 7}, (const uint32_t[]){0x55667788, 0x11223344}, expected);
        for (int i = 0; i < 4; i++)
            assert_int_equal(cvy_rng_u32(&rng), expected[i]);
    }
    rng = cvy_rng_stream(1, 2, 3);
    rng.block = 0xffffffffu; /* the next block carries into the high word */
    for (int i = 0; i < 4; i++)
        cvy_rng_u32(&rng);
    uint32_t expected[4];
    cvy_philox((const uint32_t[]){0, 1, 3, 2}, (const uint32_t[]){1, 0}, expected);
    assert_int_equal(cvy_rng_u32(&rng), expected[0]);
}

static void streams_differ(void **state) {
    (void)state;
    cvy_rng base = cvy_rng_stream(1, 1, 1),
            others[] = {cvy_rng_stream(2, 1, 1), cvy_rng_stream(1ull << 32 | 1, 1, 1),
                        cvy_rng_stream(1, 2, 1), cvy_rng_stream(1, 1, 2)};
    uint32_t first = cvy_rng_u32(&base);
    for (size_t i = 0; i < 4; i++)
        assert_int_not_equal(cvy_rng_u32(&others[i]), first);
}

static void below_is_uniform(void **state) {
    (void)state;
    cvy_rng rng = cvy_rng_stream(5, 1, 0);
    int counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint32_t value = cvy_rng_below(&rng, 7);
        assert_true(value < 7);
        counts[value]++;
    }
    double chi_squared = 0; /* 6 degrees of freedom: above 30 with probability 4e-5, and the seed is fixed */
    for (int i = 0; i < 7; i++)
        chi_squared += (counts[i] - 10000.0) * (counts[i] - 10000.0) / 10000.0;
    assert_true(chi_squared < 30);
    for (int i = 0; i < 100; i++)
        assert_int_equal(cvy_rng_below(&rng, 1), 0);
}

/* With 3 * 2^30 taken as plain `word % bound`, the lowest third would come up half of the time. */
static void below_has_no_modulo_bias(void **state) {
    (void)state;
    cvy_rng rng = cvy_rng_stream(6, 1, 0);
    const uint32_t bound = 3u << 30;
    int low = 0;
    for (int i = 0; i < 30000; i++)
        low += cvy_rng_below(&rng, bound) < bound / 3;
    assert_in_range(low, 9500, 10500);
}

static void uniform_covers_zero_to_one(void **state) {
    (void)state;
    cvy_rng rng = cvy_rng_stream(7, 1, 0);
    double sum = 0, squares = 0;
    const int count = 100000;
    for (int i = 0; i < count; i++) {
        float value = cvy_rng_uniform(&rng);
        assert_true(value >= 0.0f && value < 1.0f);
        sum += value;
        squares += (double)value * value;
    }
    assert_true(fabs(sum / count - 0.5) < 0.005);
    assert_true(fabs(squares / count - 1.0 / 3.0) < 0.005);
}

static void normal_has_its_moments(void **state) {
    (void)state;
    cvy_rng rng = cvy_rng_stream(8, 1, 0);
    double sum = 0, squares = 0, fourth = 0;
    const int count = 100000;
    for (int i = 0; i < count; i++) {
        double value = cvy_rng_normal(&rng);
        assert_true(isfinite(value));
        sum += value;
        squares += value * value;
        fourth += value * value * value * value;
    }
    assert_true(fabs(sum / count) < 0.015);
    assert_true(fabs(squares / count - 1.0) < 0.02);
    assert_true(fabs(fourth / count - 3.0) < 0.15);
}

static void shuffle_is_a_repeatable_permutation(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    uint32_t first[COUNT], again[COUNT], other[COUNT];
    bool seen[COUNT] = {false};
    cvy_rng a = cvy_rng_stream(9, CVY_RNG_SHUFFLE, 4), b = a, c = cvy_rng_stream(9, CVY_RNG_SHUFFLE, 5);
    cvy_rng_shuffle(&a, first, COUNT);
    cvy_rng_shuffle(&b, again, COUNT);
    cvy_rng_shuffle(&c, other, COUNT);
    int in_place = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(first[i] < COUNT && !seen[first[i]]);
        seen[first[i]] = true;
        in_place += first[i] == i;
    }
    assert_true(in_place < 10); /* one is expected */
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
    cvy_rng_shuffle(&a, first, 0);
    cvy_rng_shuffle(&a, first, 1);
    assert_int_equal(first[0], 0);
}

static void shuffle_reaches_every_order_alike(void **state) {
    (void)state;
    int counts[27] = {0};
    cvy_rng rng = cvy_rng_stream(10, CVY_RNG_SHUFFLE, 0);
    for (int i = 0; i < 12000; i++) {
        uint32_t order[3];
        cvy_rng_shuffle(&rng, order, 3);
        counts[order[0] * 9 + order[1] * 3 + order[2]]++;
    }
    static const int orders[] = {5, 7, 11, 15, 19, 21}; /* 012 021 102 120 201 210 in base 3 */
    for (int i = 0; i < 6; i++)
        assert_in_range(counts[orders[i]], 1800, 2200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(the_reader_walks_the_blocks),
        cmocka_unit_test(streams_differ),
        cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(below_has_no_modulo_bias),
        cmocka_unit_test(uniform_covers_zero_to_one),
        cmocka_unit_test(normal_has_its_moments),
        cmocka_unit_test(shuffle_is_a_repeatable_permutation),
        cmocka_unit_test(shuffle_reaches_every_order_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
