/* Sizes that no size_t can say are the largest one, never a small one. */
#include "base/integer.h"

#include "support/test.h"

static void sizes_saturate(void **state) {
    (void)state;
    const size_t half = SIZE_MAX / 2 + 1;
    assert_int_equal(mul_size(3, 5), 15);
    assert_int_equal(add_size(3, 5), 8);
    assert_true(mul_size(half, 2) == SIZE_MAX && mul_size(half, 0) == 0);
    assert_true(add_size(half, half) == SIZE_MAX && add_size(SIZE_MAX, 1) == SIZE_MAX);
    assert_int_equal(ceil_div_size(7, 4), 2);
    assert_true(ceil_div_size(SIZE_MAX, 2) == half);
    assert_int_equal(round_up(9, 8), 16);
    assert_true(round_up(SIZE_MAX - 3, 16) == SIZE_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes_saturate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
