/* YAML to nodes: structure and places, every refusal with file:line:column, and printing that reads back. */
#include "support/test.h"

#include <unistd.h>

#include "base/file.h"
#include "base/node.h"

static int open_arena(void **state) {
    *state = cvy_arena_create();
    return *state ? 0 : -1;
}

static int free_arena(void **state) {
    cvy_arena_free(*state);
    return 0;
}

static convoy_status parse(cvy_arena *arena, const char *text, cvy_node **root) {
    return cvy_node_parse(arena, "m.yaml", text, strlen(text), root);
}

static void assert_place(const cvy_node *node, int line, int column) {
    assert_non_null(node);
    assert_int_equal(node->line, line);
    assert_int_equal(node->column, column);
}

static void a_model_becomes_a_tree(void **state) {
    cvy_node *root;
    assert_ok(parse(*state,
                    "# a comment\n"
                    "name: lenet\n"
                    "input: [1, 28, 28]\n"
                    "layers:\n"
                    "  - Conv2d: {out_channels: 6, kernel_size: 5}\n"
                    "  - Flatten:\n"
                    "  - 'it''s: \"quoted\"'\n",
                    &root));
    assert_int_equal(root->kind, CVY_MAPPING);
    assert_int_equal(root->count, 3);
    assert_string_equal(root->file, "m.yaml");
    assert_place(root, 2, 1);
    assert_string_equal(root->keys[1]->text, "input");
    const cvy_node *input = cvy_node_get(root, "input");
    assert_int_equal(input->kind, CVY_SEQUENCE);
    assert_int_equal(input->count, 3);
    assert_string_equal(input->items[2]->text, "28");
    assert_place(input->items[2], 3, 16);
    const cvy_node *layers = cvy_node_get(root, "layers");
    assert_int_equal(layers->count, 3);
    const cvy_node *conv = cvy_node_get(layers->items[0], "Conv2d");
    assert_place(conv, 5, 13);
    assert_string_equal(cvy_node_get(conv, "kernel_size")->text, "5");
    assert_place(conv->keys[1], 5, 31);
    const cvy_node *flatten = cvy_node_get(layers->items[1], "Flatten");
    assert_int_equal(flatten->kind, CVY_SCALAR);
    assert_string_equal(flatten->text, "");
    assert_string_equal(layers->items[2]->text, "it's: \"quoted\"");
    assert_null(cvy_node_get(root, "layer"));
    assert_null(cvy_node_get(input, "name"));
}

static void long_lists_and_mappings_are_whole(void **state) {
    cvy_text text = {0};
    cvy_node *root;
    for (int i = 0; i < 1000; i++)
        cvy_text_add(&text, "k%d: %d\n", i, i * i);
    cvy_text_add(&text, "list: [");
    for (int i = 0; i < 1000; i++)
        cvy_text_add(&text, "%d,", i);
    cvy_text_add(&text, "]\n");
    assert_ok(parse(*state, text.data, &root));
    cvy_text_free(&text);
    assert_int_equal(root->count, 1001);
    assert_string_equal(cvy_node_get(root, "k999")->text, "998001");
    assert_place(root->keys[999], 1000, 1);
    assert_int_equal(cvy_node_get(root, "list")->count, 1000);
    assert_string_equal(cvy_node_get(root, "list")->items[512]->text, "512");
}

static void refusals_name_the_place(void **state) {
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "m.yaml:1:1: the file holds no YAML document"},
        {"# only a comment\n", "m.yaml:1:1: the file holds no"},
        {"a: [1, 2\n", "m.yaml:2:1: did not find expected ',' or ']'"},
        {"a: 1\n b: 2\n", "m.yaml:2:3: mapping values are not allowed"},
        {"a:\n\t- 1\n", "m.yaml:2:1: found character that cannot start any token"},
        {"a: 1\nb: 2\n\na: 3\n", "m.yaml:4:1: the key `a` was already given in line 1, column 1"},
        {"{x: {a: 1, b: 2, a: 3}}", "m.yaml:1:18: the key `a`"},
        {"a: &x 1\n", "m.yaml:1:4: anchors"},
        {"a: &x [1]\n", "m.yaml:1:4: anchors"},
        {"&x a: 1\n", "m.yaml:1:1: anchors"},
        {"a: *x\n", "m.yaml:1:4: aliases"},
        {"a: !!int 1\n", "m.yaml:1:4: tags"},
        {"a: !!binary Y2F\n", "m.yaml:1:4: what follows !!binary is no base64"},
        {"a: !!binary AGE=\n", "m.yaml:1:4: a text must not contain the character NUL"},
        {"a: !!binary [b]\n", "m.yaml:1:4: tags"},
        {"a: !t {b: 1}\n", "m.yaml:1:4: tags"},
        {"a: !t [b]\n", "m.yaml:1:4: tags"},
        {"? [a]\n: 1\n", "m.yaml:1:3: a key must be a plain word"},
        {"? {a: 1}\n: 1\n", "m.yaml:1:3: a key must be a plain word"},
        {"a: 1\n---\nb: 2\n", "m.yaml:2:1: a second document"},
        {"a: \"\\0\"\n", "m.yaml:1:4: a text must not contain the character NUL"},
        {"a: 1\n\xC3\xA9: \xFF\n", "m.yaml:2:4: not valid YAML text"},
        {"a: 1\nb: \x01\n", "m.yaml:2:4: not valid YAML text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_node *root = NULL;
        assert_fails(parse(*state, cases[i].text, &root), CONVOY_INVALID, cases[i].message);
        assert_null(root);
    }
}

/* `depth` nested lists. */
static convoy_status parse_nested(cvy_arena *arena, int depth) {
    cvy_text text = {0};
    cvy_node *root;
    for (int i = 0; i < depth; i++)
        cvy_text_add(&text, "[");
    for (int i = 0; i < depth; i++)
        cvy_text_add(&text, "]");
    convoy_status status = parse(arena, text.data, &root);
    cvy_text_free(&text);
    return status;
}

static void depth_is_bounded(void **state) {
    assert_ok(parse_nested(*state, 64));
    assert_fails(parse_nested(*state, 65), CONVOY_INVALID, "m.yaml:1:65: nested more than 64");
    assert_fails(parse_nested(*state, 100000), CONVOY_INVALID, "m.yaml:1:65: nested more than 64");
}

static void size_is_bounded(void **state) {
    enum { LIMIT = 1024 * 1024 };
    char *text = malloc(LIMIT + 1);
    assert_non_null(text);
    memset(text, 'x', LIMIT + 1);
    cvy_node *root;
    assert_ok(cvy_node_parse(*state, "m.yaml", text, LIMIT, &root));
    assert_int_equal(strlen(root->text), LIMIT);
    assert_fails(cvy_node_parse(*state, "m.yaml", text, LIMIT + 1, &root), CONVOY_INVALID, "1048576");
    free(text);
}

static void load_reads_a_file(void **state) {
    char path[] = "/tmp/convoy-node-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    cvy_node *root;
    assert_ok(cvy_file_write(path, "a: {b: 1}\n", 10));
    assert_ok(cvy_node_load(*state, path, &root));
    assert_string_equal(root->file, path);
    assert_string_equal(cvy_node_get(cvy_node_get(root, "a"), "b")->text, "1");
    assert_ok(cvy_file_write(path, "a: {b: 1\n", 9));
    assert_fails(cvy_node_load(*state, path, &root), CONVOY_INVALID, path);
    unlink(path);
    assert_fails(cvy_node_load(*state, path, &root), CONVOY_IO, path);
    assert_null(root);
}

static void nodes_of_the_program_have_no_line(void **state) {
    char text[] = "0.1";
    const cvy_node *node = cvy_node_scalar(*state, "command line", text);
    text[0] = '9';
    assert_string_equal(node->text, "0.1");
    assert_fails(cvy_node_fail(node, "%s is %d", "lr", 7), CONVOY_INVALID, "command line: lr is 7");
    assert_string_equal(convoy_error_message(), "command line: lr is 7");
}

static void assert_equal_trees(const cvy_node *a, const cvy_node *b) {
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->count, b->count);
    assert_string_equal(a->text, b->text);
    for (size_t i = 0; i < a->count; i++) {
        if (a->kind == CVY_MAPPING)
            assert_string_equal(a->keys[i]->text, b->keys[i]->text);
        assert_equal_trees(a->items[i], b->items[i]);
    }
}

static void printing_reads_back(void **state) {
    cvy_node *root, *again;
    assert_ok(
        parse(*state,
              "a: [1, -2.5e-3, .5, {}, [], '']\n"
              "'b: c': {x: \"line\\nnext\\ttab\\x07 \\\\ \\\"q\\\"\", y: '# no comment', z: '- no item'}\n"
              "path: /tmp/a-b@c.yaml\n"
              "odd: ['[x]', '{x}', 'a, b', '&x', '*x', '!x', '%x', '@x', '`x', '~', '?', '-', ' x ', "
              "\"\xC3\xA9\"]\n"
              "dashes: ['---', '...', '-x', 'x-', '$name', '=', '<<', '|', '>']\n",
              &root));
    cvy_text text = {0};
    cvy_node_print(root, &text);
    convoy_status status = parse(*state, text.data, &again);
    bool starts = strncmp(text.data, "{a: [1, -2.5e-3, .5, {}, [], \"\"], \"b: c\": {x: ", 46) == 0;
    cvy_text_free(&text);
    assert_ok(status);
    assert_true(starts);
    assert_equal_trees(root, again);
}

/* What no YAML file may hold, and what its escapes cannot say: bytes that are no UTF-8. */
static void bytes_that_are_no_text_read_back(void **state) {
    static const char *const odd[] = {"caf\xe9",      "\xff",          "a\xc2\x80z",
                                      "\xef\xbf\xbf", "\xef\xbb\xbfx", "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        cvy_text text = {0};
        cvy_node *again;
        cvy_text_add(&text, "{");
        cvy_node_print_text(odd[i], &text);
        cvy_text_add(&text, ": [");
        cvy_node_print_text(odd[i], &text);
        cvy_text_add(&text, "]}");
        convoy_status status = parse(*state, text.data, &again);
        cvy_text_free(&text);
        assert_ok(status);
        assert_string_equal(again->keys[0]->text, odd[i]);
        assert_string_equal(again->items[0]->items[0]->text, odd[i]);
    }
    cvy_text text = {0}; /* as YAML's other readers know it */
    cvy_node_print_text("caf\xe9", &text);
    const bool same = strcmp(cvy_text_get(&text), "!!binary Y2Fm6Q==") == 0;
    cvy_text_free(&text);
    assert_true(same);
}

#define WITH_ARENA(test) cmocka_unit_test_setup_teardown(test, open_arena, free_arena)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_ARENA(a_model_becomes_a_tree),
        WITH_ARENA(long_lists_and_mappings_are_whole),
        WITH_ARENA(refusals_name_the_place),
        WITH_ARENA(depth_is_bounded),
        WITH_ARENA(size_is_bounded),
        WITH_ARENA(load_reads_a_file),
        WITH_ARENA(nodes_of_the_program_have_no_line),
        WITH_ARENA(printing_reads_back),
        WITH_ARENA(bytes_that_are_no_text_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
