/* Arenas: zeroed, aligned, disjoint memory; copies of strings. */
#include "support/test.h"

#include <signal.h>
#include <stdalign.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"

static int open_arena(void **state) {
    *state = cvy_arena_create();
    return *state ? 0 : -1;
}

static int free_arena(void **state) {
    cvy_arena_free(*state);
    return 0;
}

static void memory_is_zeroed_aligned_and_disjoint(void **state) {
    enum { COUNT = 300 };
    unsigned char *places[COUNT];
    for (size_t i = 0; i < COUNT; i++) { /* grows past several blocks */
        size_t size = i * 7 % 200;
        places[i] = cvy_arena_alloc(*state, size);
        assert_int_equal((uintptr_t)places[i] % alignof(max_align_t), 0);
        for (size_t k = 0; k < size; k++)
            assert_int_equal(places[i][k], 0);
        memset(places[i], (int)(i & 255), size);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t k = 0; k < i * 7 % 200; k++)
            assert_int_equal(places[i][k], i & 255);
}

static void large_requests_get_their_own_block(void **state) {
    unsigned char *small = cvy_arena_alloc(*state, 10);
    unsigned char *large = cvy_arena_alloc(*state, 1000000);
    memset(large, 255, 1000000);
    assert_int_equal(small[9], 0);
    assert_int_equal(large[999999], 255);
}

static void empty_requests_have_their_own_place(void **state) {
    void *a = cvy_arena_alloc(*state, 0), *b = cvy_arena_alloc(*state, 0);
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
}

static void strings_are_copied(void **state) {
    char word[] = "kernel_size";
    char *all = cvy_arena_strdup(*state, word), *part = cvy_arena_strndup(*state, word, 6);
    char *beyond = cvy_arena_strndup(*state, word, 100), *none = cvy_arena_strdup(*state, "");
    word[0] = 'x';
    assert_string_equal(all, "kernel_size");
    assert_string_equal(part, "kernel");
    assert_string_equal(beyond, "kernel_size");
    assert_string_equal(none, "");
    assert_string_equal(cvy_arena_printf(*state, "%s.%d", all, 3), "kernel_size.3");
    char *wide = cvy_arena_printf(*state, "%20000d", 5);
    assert_int_equal(strlen(wide), 20000);
    assert_int_equal(wide[19999], '5');
}

static void impossible_requests_end_the_process(void **state) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        cvy_arena_alloc(*state, SIZE_MAX - 8);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void end_with_seven(void) {
    _exit(7);
}

static void who_asked_for_it_hears_of_refused_memory(void **state) {
    int status;
    assert_null(cvy_arena_try(*state, SIZE_MAX));
    assert_null(cvy_arena_try(*state, SIZE_MAX / 4));
    assert_non_null(cvy_arena_try(*state, 1));
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        cvy_set_memory_handler(end_with_seven);
        cvy_arena_alloc(*state, SIZE_MAX / 4);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void freeing_nothing_is_allowed(void **state) {
    (void)state;
    cvy_arena_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_is_zeroed_aligned_and_disjoint, open_arena, free_arena),
        cmocka_unit_test_setup_teardown(large_requests_get_their_own_block, open_arena, free_arena),
        cmocka_unit_test_setup_teardown(empty_requests_have_their_own_place, open_arena, free_arena),
        cmocka_unit_test_setup_teardown(strings_are_copied, open_arena, free_arena),
        cmocka_unit_test_setup_teardown(impossible_requests_end_the_process, open_arena, free_arena),
        cmocka_unit_test_setup_teardown(who_asked_for_it_hears_of_refused_memory, open_arena, free_arena),
        cmocka_unit_test(freeing_nothing_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
