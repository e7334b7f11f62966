/* Digests are XXH3-128 of (length, bytes) pieces: stable across releases, since cache files are named by
 * them. */
#include "support/test.h"

#include <xxhash.h>

#include "base/hash.h"

static void digest_of(const char *const *pieces, size_t count, char hex[33]) {
    cvy_hash *hash = cvy_hash_create();
    for (size_t i = 0; i < count; i++)
        cvy_hash_add_text(hash, pieces[i]);
    cvy_hash_finish(hash, hex);
}

static void matches_the_one_shot_function(void **state) {
    (void)state;
    char hex[33], expected[33];
    static const unsigned char bytes[] = {3, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 0, 0};
    XXH128_hash_t whole = XXH3_128bits(bytes, sizeof bytes);
    snprintf(expected, sizeof expected, "%016llx%016llx", (unsigned long long)whole.high64,
             (unsigned long long)whole.low64);
    digest_of((const char *const[]){"abc", ""}, 2, hex);
    assert_string_equal(hex, expected);
}

static void pieces_do_not_run_together(void **state) {
    (void)state;
    char a[33], b[33], c[33], d[33];
    digest_of((const char *const[]){"ab", "c"}, 2, a);
    digest_of((const char *const[]){"a", "bc"}, 2, b);
    digest_of((const char *const[]){"abc"}, 1, c);
    digest_of((const char *const[]){"ab", "c"}, 2, d);
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
    assert_string_not_equal(b, c);
    assert_string_equal(a, d);
}

static void every_bit_of_a_large_piece_counts(void **state) {
    (void)state;
    enum { SIZE = 100000 };
    unsigned char *data = calloc(1, SIZE);
    assert_non_null(data);
    char hex[3][33];
    static const size_t flipped[] = {0, SIZE - 1};
    for (size_t i = 0; i < 3; i++) {
        if (i > 0)
            data[flipped[i - 1]] ^= 1;
        cvy_hash *hash = cvy_hash_create();
        cvy_hash_add(hash, data, SIZE);
        cvy_hash_finish(hash, hex[i]);
        assert_int_equal(strlen(hex[i]), 32);
        assert_int_equal(strspn(hex[i], "0123456789abcdef"), 32);
    }
    assert_string_not_equal(hex[0], hex[1]);
    assert_string_not_equal(hex[1], hex[2]);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_one_shot_function),
        cmocka_unit_test(pieces_do_not_run_together),
        cmocka_unit_test(every_bit_of_a_large_piece_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
