/* The growing buffer, words, and numbers that do not depend on the locale. */
#include "support/test.h"

#include <locale.h>
#include <unistd.h>

#include "base/text.h"

static void buffer_grows(void **state) {
    (void)state;
    cvy_text text = {0};
    assert_string_equal(cvy_text_get(&text), "");
    cvy_text_add(&text, "%s", "");
    assert_non_null(text.data);
    assert_string_equal(text.data, "");
    for (int i = 0; i < 1000; i++)
        cvy_text_add(&text, "%03d,", i);
    assert_int_equal(text.length, 4000);
    assert_int_equal(strlen(text.data), 4000);
    assert_memory_equal(text.data, "000,001,", 8);
    assert_string_equal(text.data + 3992, "998,999,");
    cvy_text_free(&text);
    assert_null(text.data);
    assert_int_equal(text.length, 0);
    cvy_text_free(&text);
}

static void assert_number(double value, const char *expected) {
    cvy_text text = {0};
    cvy_text_add_number(&text, value);
    assert_string_equal(cvy_text_get(&text), expected);
    cvy_text_free(&text);
}

static void numbers_print_short_and_exact(void **state) {
    (void)state;
    assert_number(0.1, "0.1");
    assert_number(3, "3");
    assert_number(-0.001, "-0.001");
    assert_number(1e-8, "1e-08");
    assert_number(1e300, "1e+300");
    assert_number(0.1 + 0.2, "0.30000000000000004");
    assert_number(1.0 / 3.0, "0.3333333333333333");
}

static const char *const names[] = {"in_channels", "out_channels", "kernel_size", "stride", "padding", "p"};

static const char *nearest(const char *word) {
    return cvy_text_nearest(word, names, sizeof names / sizeof *names);
}

static void what_no_screen_should_get_is_escaped(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"plain caf\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x90\x88",
         "plain caf\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x90\x88"},
        {"\x1b]0;x\a", "\\x1B]0;x\\x07"},
        {"caf\xE9", "caf\\xE9"},
        {"\xC2\x9B"
         "2J",
         "\\xC2\\x9B2J"}, /* a control character of two bytes */
        {"a\xE2\x80\xAE"
         "b",
         "a\\xE2\\x80\\xAE"
         "b"},                                                   /* writes from right to left */
        {"\xC0\xAF \xED\xA0\x80", "\\xC0\\xAF \\xED\\xA0\\x80"}, /* too long a form, half a pair */
        {"\xE4\xB8", "\\xE4\\xB8"},
        {"\x7F\r", "\\x7F\\x0D"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_text text = {0};
        cvy_text_add_visible(&text, cases[i][0], false);
        assert_string_equal(cvy_text_get(&text), cases[i][1]);
        cvy_text_free(&text);
    }
    cvy_text text = {0};
    cvy_text_add_visible(&text, "a\n\tb", true);
    cvy_text_add_visible(&text, "a\n\tb", false);
    assert_string_equal(cvy_text_get(&text), "a\n\tba\\x0A\\x09b");
    cvy_text_free(&text);
    cvy_text_add_visible_json(&text, "{\n  \"\xE2\x80\xAE caf\xC3\xA9\": \"\x7F\xC2\x9B\"\n}");
    assert_string_equal(cvy_text_get(&text), "{\n  \"\\u202E caf\xC3\xA9\": \"\\u007F\\u009B\"\n}");
    cvy_text_free(&text);
}

/* The vectors of RFC 4648, and what is none. */
static void base64_goes_both_ways(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xfb\xff\xfe", "+//+"}};
    static const char *const bad[] = {"Z",     "Zg",       "Zg=", "Zg===", "Zm9vY",
                                      "Zm 9v", "Zg==Zg==", "=",   "====",  "Zm9v-"};
    char bytes[16];
    size_t size;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        cvy_text text = {0};
        cvy_text_add_base64(&text, pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(cvy_text_get(&text), pairs[i][1]);
        cvy_text_free(&text);
        assert_true(cvy_text_from_base64(pairs[i][1], bytes, &size));
        assert_int_equal(size, strlen(pairs[i][0]));
        assert_memory_equal(bytes, pairs[i][0], size);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(cvy_text_from_base64(bad[i], bytes, &size));
}

static void misspellings_find_their_word(void **state) {
    (void)state;
    assert_string_equal(nearest("kernal_size"), "kernel_size");
    assert_string_equal(nearest("kernel-size"), "kernel_size");
    assert_string_equal(nearest("KERNEL_SIZE"), "kernel_size");
    assert_string_equal(nearest("kernelsize"), "kernel_size");
    assert_string_equal(nearest("kernel_szie"), "kernel_size");
    assert_string_equal(nearest("kernel"), "kernel_size");
    assert_string_equal(nearest("strides"), "stride");
    assert_string_equal(nearest("pad"), "padding");
    assert_string_equal(nearest("out_chanels"), "out_channels");
    assert_string_equal(nearest("in_channel"), "in_channels");
}

static void other_words_find_nothing(void **state) {
    (void)state;
    char long_word[100];
    memset(long_word, 'k', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    assert_null(nearest("momentum"));
    assert_null(nearest("k"));
    assert_null(nearest(""));
    assert_null(nearest(long_word));
    assert_null(cvy_text_nearest("stride", names, 0));
}

static void a_swap_is_nearer_than_two_changes(void **state) {
    (void)state;
    const char *const words[] = {"momemtxm", "momentum"};
    assert_string_equal(cvy_text_nearest("momnetum", words, 2), "momentum");
    const char *const first[] = {"beta1", "beta2"};
    assert_string_equal(cvy_text_nearest("beta3", first, 2), "beta1"); /* of equals the first */
}

static void contains_ignores_case(void **state) {
    (void)state;
    assert_true(cvy_text_contains("NVIDIA H200", "nvidia"));
    assert_true(cvy_text_contains("pthread-AMD EPYC", "epyc"));
    assert_true(cvy_text_contains("aab", "AB"));
    assert_true(cvy_text_contains("x", ""));
    assert_true(cvy_text_contains("", ""));
    assert_false(cvy_text_contains("", "a"));
    assert_false(cvy_text_contains("gpu", "gpus"));
}

static void whole_numbers_parse_whole(void **state) {
    (void)state;
    long long value;
    assert_true(cvy_text_to_long("-9223372036854775808", &value));
    assert_true(value == INT64_MIN);
    assert_true(cvy_text_to_long("+7", &value));
    assert_int_equal(value, 7);
    assert_true(cvy_text_to_long("010", &value));
    assert_int_equal(value, 10);
    static const char *const bad[] = {"",  " 1",  "1 ",  "1.0", "0x10", "9223372036854775808",
                                      "-", "+-1", "1e3", "one"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        value = 42;
        assert_false(cvy_text_to_long(bad[i], &value));
        assert_int_equal(value, 42);
    }
}

static void decimals_parse_whole(void **state) {
    (void)state;
    double value;
    assert_true(cvy_text_to_double("1e-3", &value));
    assert_true(value == 1e-3);
    assert_true(cvy_text_to_double("-.5", &value));
    assert_true(value == -0.5);
    assert_true(cvy_text_to_double("3", &value));
    assert_true(value == 3.0);
    assert_true(cvy_text_to_double("1e-400", &value)); /* the nearest number is 0 */
    assert_true(value == 0.0);
    static const char *const bad[] = {"",      " 1",     "1 ", "1,5", "0x1p3", "inf",   "nan",
                                      "1e999", "-1e999", "e",  "1e",  "-",     "1.2.3", "1-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        value = 42.0;
        assert_false(cvy_text_to_double(bad[i], &value));
        assert_true(value == 42.0);
    }
}

/* A locale with a decimal comma: one that is installed, else one made from the system's sources. */
static bool enter_comma_locale(const char *folder) {
    static const char *const candidates[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "es_ES.UTF-8", "ru_RU.UTF-8"};
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
        if (setlocale(LC_ALL, candidates[i]))
            return true;
    char command[256];
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
    if (system(command) != 0)
        return false;
    setenv("LOCPATH", folder, 1);
    return setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
}

static void the_locale_changes_nothing(void **state) {
    (void)state;
    char folder[] = "/tmp/convoy-locale-XXXXXX", shown[16], command[64];
    assert_non_null(mkdtemp(folder));
    bool entered = enter_comma_locale(folder);
    double value = 0;
    cvy_text text = {0};
    snprintf(shown, sizeof shown, "%.1f", 0.5);
    bool parsed = cvy_text_to_double("0.25", &value);
    bool comma = cvy_text_to_double("0,25", &(double){0});
    cvy_text_add(&text, "%.2f ", 1.5);
    cvy_text_add_number(&text, 0.125);
    setlocale(LC_ALL, "C");
    snprintf(command, sizeof command, "rm -rf %s", folder);
    int removed = system(command);
    bool same = strcmp(cvy_text_get(&text), "1.50 0.125") == 0;
    cvy_text_free(&text);
    if (!entered)
        skip();
    assert_string_equal(shown, "0,5"); /* the locale was really in force */
    assert_true(parsed && value == 0.25);
    assert_false(comma);
    assert_true(same);
    assert_int_equal(removed, 0);
}

static void rows_are_cut(void **state) {
    (void)state;
    static const struct {
        const char *line;
        size_t count;
        const char *fields[4];
    } cases[] = {
        {"", 1, {""}},
        {"a,,b", 3, {"a", "", "b"}},
        {"a,", 2, {"a", ""}},
        {"\"a,\"\"b\"\"\",c", 2, {"a,\"b\"", "c"}},
        {"\"\",x", 2, {"", "x"}},
        {"\"open, end", 1, {"open, end"}},
        {"1,2,3,4,5", 4, {"1", "2", "3", "4"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[64], *fields[4];
        snprintf(line, sizeof line, "%s", cases[i].line);
        assert_int_equal(cvy_text_split_row(line, fields, 4), cases[i].count);
        for (size_t f = 0; f < cases[i].count; f++)
            assert_string_equal(fields[f], cases[i].fields[f]);
    }
    static const char *const written[] = {"plain", "with, comma", "\"quoted\"", ""};
    cvy_text line = {0};
    char *fields[4];
    for (size_t f = 0; f < 4; f++) {
        cvy_text_add(&line, f ? "," : "");
        cvy_text_add_field(&line, written[f]);
    }
    assert_string_equal(cvy_text_get(&line), "plain,\"with, comma\",\"\"\"quoted\"\"\",");
    assert_int_equal(cvy_text_split_row(line.data, fields, 4), 4);
    for (size_t f = 0; f < 4; f++)
        assert_string_equal(fields[f], written[f]);
    cvy_text_free(&line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_grows),
        cmocka_unit_test(numbers_print_short_and_exact),
        cmocka_unit_test(what_no_screen_should_get_is_escaped),
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(misspellings_find_their_word),
        cmocka_unit_test(other_words_find_nothing),
        cmocka_unit_test(a_swap_is_nearer_than_two_changes),
        cmocka_unit_test(contains_ignores_case),
        cmocka_unit_test(whole_numbers_parse_whole),
        cmocka_unit_test(decimals_parse_whole),
        cmocka_unit_test(the_locale_changes_nothing),
        cmocka_unit_test(rows_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
