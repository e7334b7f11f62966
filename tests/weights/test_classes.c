/* Names of classes survive a file whatever their bytes, and are compared by name. */
#include "weights/classes.h"

#include "support/run.h"

static const char *const odd[] = {"caf\xe9", "two\nlines", "\x1b]0;x\a", "\\xE9 \"q\"", "\xe4\xb8\xad", " ",
                                  ""};
enum { ODD = sizeof odd / sizeof *odd };

typedef struct fixture {
    char *folder;
    cvy_arena *arena;
} fixture;

static int set_up(void **state) {
    static fixture f;
    f = (fixture){test_folder_create(), cvy_arena_create()};
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    test_folder_remove(f->folder);
    cvy_arena_free(f->arena);
    return 0;
}

/* What comes back from a file with this metadata. */
static convoy_status read_back(const fixture *f, const char *text, cvy_classes *classes) {
    const char *path = test_path(f->folder, "w.safetensors");
    cvy_tensor_file *file;
    assert_ok(cvy_tensor_file_save(path, NULL, 0, (const char *const[]){"class_names", text, NULL}));
    assert_ok(cvy_tensor_file_load(path, &file));
    convoy_status status = cvy_classes_read(f->arena, file, path, classes);
    cvy_tensor_file_free(file);
    return status;
}

static void names_of_any_bytes_survive(void **state) {
    const cvy_classes written = {ODD, odd};
    cvy_classes read;
    char *text = cvy_classes_print(&written);
    for (const char *c = text; *c; c++)
        assert_true(*c >= ' ' && *c < 0x7f);
    assert_ok(read_back(*state, text, &read));
    free(text);
    assert_int_equal(read.count, ODD);
    for (int i = 0; i < ODD; i++)
        assert_string_equal(read.names[i], odd[i]);
}

static void numbers_and_older_files_are_read(void **state) {
    cvy_classes read;
    char *text = cvy_classes_print(&(cvy_classes){1000000, NULL});
    assert_string_equal(text, "1000000");
    assert_ok(read_back(*state, text, &read));
    free(text);
    assert_true(read.count == 1000000 && !read.names);
    assert_ok(read_back(*state, "b\na", &read));
    assert_true(read.count == 2 && !strcmp(read.names[0], "b") && !strcmp(read.names[1], "a"));
    assert_ok(read_back(*state, "0\n1\n2", &read));
    assert_true(read.count == 3 && !read.names);
}

static void damaged_and_ambiguous_lists_are_refused(void **state) {
    static const char *const bad[] = {"[", "[]", "[\"a\", 3]", "[\"a\", [0]]", "[\"a\", []]", "-2", "0"};
    cvy_classes read;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(read_back(*state, bad[i], &read), CONVOY_INVALID, "no sensible \"class_names\"");
    assert_fails(read_back(*state, "[\"a\",\"b\",\"a\"]", &read), CONVOY_INVALID,
                 "classes 0 and 2 are both called a");
    assert_fails(read_back(*state, "x\nx", &read), CONVOY_INVALID, "both called x");
}

static convoy_status match(const char *const *wanted, int wanted_count, const char *const *given,
                           int given_count, int *place) {
    return cvy_classes_match(&(cvy_classes){wanted_count, wanted}, "the weights",
                             &(cvy_classes){given_count, given}, "the set", place);
}

static void lists_are_matched_by_name(void **state) {
    (void)state;
    static const char *const a[] = {"ant", "bee", "cat"}, *const b[] = {"cat", "ant", "bee"},
                             *const c[] = {"ant", "bee", "dog"}, *const digits[] = {"0", "10", "2"};
    int place[4];
    assert_ok(match(a, 3, b, 3, place));
    assert_true(place[0] == 2 && place[1] == 0 && place[2] == 1);
    assert_fails(match(a, 3, c, 3, place), CONVOY_INVALID, "only in the weights: cat; only in the set: dog");
    assert_fails(match(a, 3, a, 2, place), CONVOY_INVALID, "only in the weights: cat");
    assert_fails(match((const char *const[]){"a\nb"}, 1, a, 1, place), CONVOY_INVALID,
                 "weights: a\\x0Ab; only");
    assert_fails(match(a, 2, a, 3, place), CONVOY_INVALID, "only in the set: cat");
    assert_fails(match(a, 3, NULL, 2, place), CONVOY_INVALID, "has 3 classes, but the set has 2");
    assert_ok(match(NULL, 3, NULL, 3, place));
    assert_true(place[0] == 0 && place[1] == 1 && place[2] == 2);
    assert_ok(match(NULL, 3, digits, 3, place)); /* not the numbers 0, 1 and 2: by position, and said */
    assert_true(place[0] == 0 && place[1] == 1 && place[2] == 2);
    assert_ok(match(NULL, 3, (const char *const[]){"2", "0", "1"}, 3, place));
    assert_true(place[0] == 2 && place[1] == 0 && place[2] == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_of_any_bytes_survive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_and_older_files_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_and_ambiguous_lists_are_refused, set_up, tear_down),
        cmocka_unit_test(lists_are_matched_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
