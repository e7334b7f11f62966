/* Messages: per thread, stable, cut in the middle; names and exit codes. */
#include "support/test.h"

#include <errno.h>
#include <pthread.h>

static void names_and_exit_codes(void **state) {
    (void)state;
    assert_string_equal(convoy_status_name(CONVOY_OK), "OK");
    assert_string_equal(convoy_status_name(CONVOY_INVALID), "INVALID");
    assert_string_equal(convoy_status_name((convoy_status)99), "UNKNOWN");
    assert_int_equal(convoy_status_exit_code(CONVOY_OK), 0);
    assert_int_equal(convoy_status_exit_code(CONVOY_FAILED), 1);
    assert_int_equal(convoy_status_exit_code(CONVOY_IO), 1);
    assert_int_equal(convoy_status_exit_code(CONVOY_INVALID), 2);
    assert_int_equal(convoy_status_exit_code(CONVOY_DEVICE), 3);
    assert_int_equal(convoy_status_exit_code(CONVOY_MEMORY), 4);
    assert_int_equal(convoy_status_exit_code(CONVOY_INTERRUPTED), 130);
    assert_int_equal(convoy_status_exit_code((convoy_status)99), 1);
}

static void fail_sets_the_message_and_keeps_errno(void **state) {
    (void)state;
    errno = ENOSPC;
    assert_int_equal(cvy_fail(CONVOY_IO, "%s: %d", "file", 7), CONVOY_IO);
    assert_int_equal(errno, ENOSPC);
    assert_string_equal(convoy_error_message(), "file: 7");
}

static void fail_in_puts_the_place_in_front(void **state) {
    (void)state;
    cvy_fail(CONVOY_INVALID, "too large");
    assert_int_equal(cvy_fail_in(CONVOY_INVALID, "layer %d", 3), CONVOY_INVALID);
    assert_string_equal(convoy_error_message(), "layer 3: too large");
}

static void arguments_may_be_the_present_message(void **state) {
    (void)state;
    cvy_fail(CONVOY_FAILED, "inner");
    cvy_fail(CONVOY_FAILED, "outer (%s, %s)", convoy_error_message(), convoy_error_message());
    assert_string_equal(convoy_error_message(), "outer (inner, inner)");
}

static void the_message_never_moves(void **state) {
    (void)state;
    cvy_fail(CONVOY_FAILED, "short");
    const char *before = convoy_error_message();
    cvy_fail(CONVOY_FAILED, "%5000d", 1);
    assert_ptr_equal(convoy_error_message(), before);
}

static void long_messages_lose_their_middle(void **state) {
    (void)state;
    size_t length = 200000;
    char *log = malloc(length + 1);
    assert_non_null(log);
    memset(log, 'x', length);
    log[length] = '\0';
    cvy_fail(CONVOY_DEVICE, "first line\n%s\nlast line", log);
    const char *message = convoy_error_message();
    assert_true(strlen(message) <= 64 * 1024);
    assert_true(strlen(message) > 60 * 1024);
    assert_memory_equal(message, "first line\n", 11);
    assert_string_equal(message + strlen(message) - 10, "\nlast line");
    const char *mark = strstr(message, "[... ");
    assert_non_null(mark);
    unsigned long left_out = strtoul(mark + 5, NULL, 10);
    size_t mark_length = strcspn(mark, "]") + 3; /* "]" and the two newlines around */
    assert_int_equal(strlen(message) - mark_length + left_out, length + 21);
    free(log);
}

static void cutting_keeps_characters_whole(void **state) {
    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        size_t count = 60000; /* euro signs, three bytes each */
        char *log = malloc(3 * count + 4);
        assert_non_null(log);
        memset(log, 'a', shift);
        for (size_t i = 0; i < count; i++)
            memcpy(log + shift + 3 * i, "\xE2\x82\xAC", 3);
        log[shift + 3 * count] = '\0';
        cvy_fail(CONVOY_DEVICE, "%s", log);
        free(log);
        const char *message = convoy_error_message();
        const char *mark = strstr(message, "\n[... ");
        assert_non_null(mark);
        assert_int_equal((size_t)(mark - message - (ptrdiff_t)shift) % 3, 0);
        assert_int_equal((unsigned char)strstr(mark, "...]\n")[5], 0xE2);
    }
}

static void memory_failures_name_what_did_not_fit(void **state) {
    (void)state;
    assert_int_equal(cvy_fail_memory("the dataset", 3ull << 40), CONVOY_MEMORY);
    assert_non_null(strstr(convoy_error_message(), "the dataset"));
    assert_non_null(strstr(convoy_error_message(), "3298534883328"));
}

static void *fail_elsewhere(void *context) {
    const char **seen = context;
    seen[0] = convoy_error_message()[0] ? "not empty" : "empty";
    cvy_fail(CONVOY_FAILED, "from the thread");
    seen[1] = strcmp(convoy_error_message(), "from the thread") == 0 ? "own" : "other";
    return NULL;
}

static void each_thread_has_its_message(void **state) {
    (void)state;
    const char *seen[2] = {NULL, NULL};
    pthread_t thread;
    cvy_fail(CONVOY_FAILED, "from main");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(seen[0], "empty");
    assert_string_equal(seen[1], "own");
    assert_string_equal(convoy_error_message(), "from main");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_exit_codes),
        cmocka_unit_test(fail_sets_the_message_and_keeps_errno),
        cmocka_unit_test(fail_in_puts_the_place_in_front),
        cmocka_unit_test(arguments_may_be_the_present_message),
        cmocka_unit_test(the_message_never_moves),
        cmocka_unit_test(long_messages_lose_their_middle),
        cmocka_unit_test(cutting_keeps_characters_whole),
        cmocka_unit_test(memory_failures_name_what_did_not_fit),
        cmocka_unit_test(each_thread_has_its_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
