/* Parameter tables: defaults, every type from YAML and from one text, messages, printing, help. */
#include "support/test.h"

#include "base/params.h"

typedef struct layer {
    int kernel_size[2], stretch[2], out_channels, in_channels, padding_mode;
    long long seed;
    double lr;
    bool bias, verbose;
    const char *name, *init;
    cvy_node *blocks;
} layer;

static const cvy_param table[] = {
    {"kernel_size", CVY_PAIR, offsetof(layer, kernel_size), NULL, 1, 64, NULL, "window"},
    {"out_channels", CVY_INT, offsetof(layer, out_channels), NULL, 1, 1e300, NULL, "number of filters"},
    {"in_channels", CVY_INT, offsetof(layer, in_channels), "0", 1, 1000, NULL, "inferred"},
    {"padding_mode", CVY_CHOICE, offsetof(layer, padding_mode), "reflect", 0, 0, "zeros|reflect|ref",
     "borders"},
    {"stretch", CVY_PAIR, offsetof(layer, stretch), "wide", 0, 1e300, "none|wide", "how it is stretched"},
    {"seed", CVY_SIZE, offsetof(layer, seed), "-1", 0, 0, NULL, "seed"},
    {"lr", CVY_FLOAT, offsetof(layer, lr), "0.1", 0, 1, NULL, "learning rate"},
    {"bias", CVY_BOOL, offsetof(layer, bias), "true", 0, 0, NULL, "adds a bias"},
    {"verbose", CVY_FLAG, offsetof(layer, verbose), NULL, 0, 0, NULL, "says more"},
    {"name", CVY_TEXT, offsetof(layer, name), "", 0, 0, NULL, "its name"},
    {"init", CVY_TEXT, offsetof(layer, init), "default", 0, 0, NULL, "initialisation"},
    {"blocks", CVY_NODE, offsetof(layer, blocks), "", 0, 0, NULL, "blocks"},
    CVY_PARAM_END,
};

static int open_arena(void **state) {
    *state = cvy_arena_create();
    return *state ? 0 : -1;
}

static int free_arena(void **state) {
    cvy_arena_free(*state);
    return 0;
}

static convoy_status read_yaml(cvy_arena *arena, const char *yaml, layer *out) {
    cvy_node *root;
    convoy_status status = cvy_node_parse(arena, "m.yaml", yaml, strlen(yaml), &root);
    return status ? status : cvy_params_read(table, out, arena, "Conv2d", root, NULL);
}

/* Sets one field as the command line does. */
static convoy_status set_text(cvy_arena *arena, layer *out, const char *key, const char *value) {
    return cvy_params_set(table, out, arena, "option", cvy_node_scalar(arena, "command line", key),
                          cvy_node_scalar(arena, "command line", value));
}

static void defaults_fill_every_field(void **state) {
    layer l;
    memset(&l, 0x55, sizeof l);
    assert_ok(cvy_params_defaults(table, &l, *state));
    assert_int_equal(l.kernel_size[0], 0);
    assert_int_equal(l.kernel_size[1], 0);
    assert_int_equal(l.out_channels, 0);
    assert_int_equal(l.in_channels, 0); /* outside its range: "not given" */
    assert_int_equal(l.padding_mode, 1);
    assert_true(l.seed == -1);
    assert_true(l.lr == 0.1);
    assert_true(l.bias);
    assert_false(l.verbose);
    assert_null(l.name);
    assert_string_equal(l.init, "default");
    assert_null(l.blocks);
}

static void a_bad_default_is_reported(void **state) {
    static const cvy_param bad[] = {{"n", CVY_INT, 0, "three", 0, 0, NULL, ""}, CVY_PARAM_END};
    int n;
    assert_fails(cvy_params_defaults(bad, &n, *state), CONVOY_FAILED, "`three` of `n`");
}

static void every_type_reads_from_yaml(void **state) {
    layer l;
    assert_ok(read_yaml(
        *state,
        "{kernel_size: [3, 5], out_channels: 6, in_channels: 3, padding_mode: ref, seed: 9000000000,\n"
        " lr: 1e-3, bias: No, verbose: true, name: c1, init: 'x y', blocks: [a, {b: 1}]}",
        &l));
    assert_int_equal(l.kernel_size[0], 3);
    assert_int_equal(l.kernel_size[1], 5);
    assert_int_equal(l.out_channels, 6);
    assert_int_equal(l.in_channels, 3);
    assert_int_equal(l.padding_mode, 2);
    assert_true(l.seed == 9000000000);
    assert_true(l.lr == 1e-3);
    assert_false(l.bias);
    assert_true(l.verbose);
    assert_string_equal(l.name, "c1");
    assert_string_equal(l.init, "x y");
    assert_int_equal(l.blocks->count, 2);
    assert_ok(read_yaml(*state, "kernel_size: 7\nout_channels: 2000000000\n", &l));
    assert_int_equal(l.kernel_size[0], 7);
    assert_int_equal(l.kernel_size[1], 7);
    assert_int_equal(l.out_channels, 2000000000);
}

static void every_type_reads_from_one_text(void **state) {
    static const char *const pairs[] = {"3,5", "3, 5", "[3,5]", " [ 3 , 5 ] "};
    layer l;
    assert_ok(cvy_params_defaults(table, &l, *state));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        l.kernel_size[0] = l.kernel_size[1] = 0;
        assert_ok(set_text(*state, &l, "kernel_size", pairs[i]));
        assert_int_equal(l.kernel_size[0], 3);
        assert_int_equal(l.kernel_size[1], 5);
    }
    assert_ok(set_text(*state, &l, "verbose", ""));
    assert_true(l.verbose);
    assert_ok(set_text(*state, &l, "verbose", "off"));
    assert_false(l.verbose);
    assert_ok(set_text(*state, &l, "name", "x"));
    assert_string_equal(l.name, "x");
    assert_ok(set_text(*state, &l, "name", "")); /* back to its default */
    assert_null(l.name);
    assert_ok(set_text(*state, &l, "blocks", "resnet"));
    assert_string_equal(l.blocks->text, "resnet");
    assert_ok(set_text(*state, &l, "blocks", ""));
    assert_null(l.blocks);
    assert_ok(set_text(*state, &l, "stretch", "wide"));
    assert_int_equal(l.stretch[0], -2);
    assert_int_equal(l.stretch[1], -2);
    assert_ok(set_text(*state, &l, "stretch", "[4, 0]"));
    assert_int_equal(l.stretch[0], 4);
    assert_fails(set_text(*state, &l, "stretch", "-2"), CONVOY_INVALID,
                 "at least 0, or none|wide, found `-2`");
    assert_fails(set_text(*state, &l, "epochs", "3"), CONVOY_INVALID,
                 "command line: option: unknown `epochs`");
    assert_fails(set_text(*state, &l, "lr", "2"), CONVOY_INVALID, "command line: option: `lr` must be");
}

static void messages_say_place_wanted_and_found(void **state) {
    static const struct {
        const char *yaml, *message;
    } cases[] = {
        {"a: 1", "m.yaml:1:1: Conv2d: unknown `a`; known are: kernel_size, out_channels, "},
        {"\n  kernal_size: 3", "m.yaml:2:3: Conv2d: unknown `kernal_size`; did you mean `kernel_size`?"},
        {"kernel_size: 0",
         "m.yaml:1:14: Conv2d: `kernel_size` must be a whole number, or two as [height, width], "
         "between 1 and 64, found `0`"},
        {"kernel_size: 65", "between 1 and 64, found `65`"},
        {"kernel_size: [3, 65]", "m.yaml:1:14: Conv2d: `kernel_size` must be a whole number, or two as "
                                 "[height, width], between 1 and 64, found `[3, 65]`"},
        {"kernel_size: [3]", "found `[3]`"},
        {"kernel_size: [3, 3, 3]", "found `[3, 3, 3]`"},
        {"kernel_size: [3, [3]]", "found `[3, [3]]`"},
        {"kernel_size: '3,'", "found `3,`"},
        {"kernel_size: '[3,4'", "found `[3,4`"},
        {"kernel_size: '3,4]'", "found `3,4]`"},
        {"kernel_size: {h: 3}", "takes a single value, found `{h: 3}`"},
        {"out_channels: 0", "must be a whole number of at least 1, found `0`"},
        {"out_channels: 3.0", "must be a whole number of at least 1, found `3.0`"},
        {"out_channels: 2147483648", "between 1 and 2147483647, found `2147483648`"},
        {"out_channels:", "must be a whole number of at least 1, found nothing"},
        {"out_channels: [3]", "takes a single value, found `[3]`"},
        {"in_channels: 0", "between 1 and 1000, found `0`"},
        {"seed: 9223372036854775808", "must be a whole number, found `9223372036854775808`"},
        {"lr: 1.5", "must be a number between 0 and 1, found `1.5`"},
        {"lr: -1e-9", "must be a number between 0 and 1, found `-1e-9`"},
        {"lr: nan", "found `nan`"},
        {"lr: 0,1", "found `0,1`"},
        {"bias: maybe", "must be true or false, found `maybe`"},
        {"bias:", "must be true or false, found nothing"},
        {"padding_mode: zero", "must be one of zeros, reflect, ref (did you mean `zeros`?), found `zero`"},
        {"padding_mode: circular", "must be one of zeros, reflect, ref, found `circular`"},
        {"padding_mode: zeros|reflect", "must be one of"},
        {"init: ''", "`init` must not be empty"},
        {"init: [a]", "takes a single value"},
        {"[kernel_size]", "m.yaml:1:1: Conv2d: expected {name: value, ...}, found a list"},
        {"kernel_size", "expected {name: value, ...}, found a single value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        layer l;
        assert_fails(read_yaml(*state, cases[i].yaml, &l), CONVOY_INVALID, cases[i].message);
    }
}

static void missing_ones_are_named_where_they_belong(void **state) {
    layer l;
    cvy_node *root;
    assert_fails(read_yaml(*state, "\n\n  {kernel_size: 3}", &l), CONVOY_INVALID,
                 "m.yaml:3:3: Conv2d: `out_channels` is missing");
    assert_fails(read_yaml(*state, "{lr: 1}", &l), CONVOY_INVALID,
                 "`kernel_size`, `out_channels` are missing");
    assert_ok(cvy_node_parse(*state, "m.yaml", "- Conv2d:\n", 10, &root));
    const cvy_node *key = root->items[0]->keys[0];
    assert_fails(cvy_params_read(table, &l, *state, "Conv2d", NULL, key), CONVOY_INVALID,
                 "m.yaml:1:3: Conv2d: `k");
    assert_fails(cvy_params_read(table, &l, *state, "Conv2d", root->items[0]->items[0], NULL), CONVOY_INVALID,
                 "m.yaml:1:10: Conv2d: `kernel_size`, `out_channels` are missing");
    assert_fails(cvy_params_read(table, &l, *state, "Conv2d", NULL, NULL), CONVOY_INVALID,
                 "Conv2d: `kernel_size`");
}

static void a_table_without_rows_takes_nothing(void **state) {
    static const cvy_param empty[] = {CVY_PARAM_END};
    cvy_node *root;
    char none;
    assert_ok(cvy_params_read(empty, &none, *state, "ReLU", NULL, NULL));
    assert_ok(cvy_node_parse(*state, "m.yaml", "{p: 1}", 6, &root));
    assert_fails(cvy_params_read(empty, &none, *state, "ReLU", root, NULL), CONVOY_INVALID,
                 "takes no parameters");
}

static void print_all(const layer *l, cvy_text *text) {
    for (const cvy_param *row = table; row->name; row++) {
        cvy_text_add(text, "%s%s: ", text->length ? ", " : "{", row->name);
        cvy_params_print(row, l, text);
    }
    cvy_text_add(text, "}");
}

static void printed_values_read_back(void **state) {
    layer l, again;
    cvy_text first = {0}, second = {0};
    assert_ok(
        read_yaml(*state,
                  "{kernel_size: [3, 5], out_channels: 6, in_channels: 1, seed: -5, lr: 0.3, bias: off, "
                  "name: 'a: b', blocks: {r: [$n, 'x, y']}}",
                  &l));
    print_all(&l, &first);
    assert_string_equal(
        first.data,
        "{kernel_size: [3, 5], out_channels: 6, in_channels: 1, padding_mode: reflect, "
        "stretch: wide, seed: -5, lr: "
        "0.3, bias: false, verbose: false, name: \"a: b\", init: default, blocks: {r: [$n, \"x, y\"]}}");
    assert_ok(read_yaml(*state, first.data, &again));
    print_all(&again, &second);
    assert_string_equal(first.data, second.data);
    cvy_text_free(&first);
    cvy_text_free(&second);

    assert_ok(read_yaml(*state, "{kernel_size: 3, out_channels: 1, in_channels: 1}", &l));
    print_all(&l, &first);
    assert_non_null(strstr(first.data, "{kernel_size: 3, "));
    assert_non_null(strstr(first.data, "name: \"\", init: default, blocks: \"\"}"));
    assert_ok(read_yaml(*state, first.data, &again));
    assert_null(again.name);
    assert_null(again.blocks);
    cvy_text_free(&first);
}

static void help_is_aligned(void **state) {
    (void)state;
    static const cvy_param options[] = {
        {"epochs", CVY_INT, 0, NULL, 0, 0, NULL, "passes over the data"},
        {"optimizer", CVY_CHOICE, 0, "sgd", 0, 0, "sgd|adam", "update rule"},
        {"json", CVY_FLAG, 0, NULL, 0, 0, NULL, "one object on stdout"},
        {"out", CVY_TEXT, 0, "", 0, 0, NULL, "run folder"},
        CVY_PARAM_END,
    };
    cvy_text text = {0};
    cvy_params_help(options, "--", &text);
    assert_string_equal(text.data, "  --epochs     integer   required     passes over the data\n"
                                   "  --optimizer  sgd|adam  default sgd  update rule\n"
                                   "  --json                              one object on stdout\n"
                                   "  --out        text                   run folder\n");
    cvy_text_free(&text);
}

#define WITH_ARENA(test) cmocka_unit_test_setup_teardown(test, open_arena, free_arena)

static void pairs_of_numbers(void **state) {
    static const cvy_param rows[] = {
        {.name = "betas", .type = CVY_NUMBERS, .fallback = "[0.9, 0.999]", .maximum = 1, .help = "decay"},
        CVY_PARAM_END};
    double betas[2];
    cvy_text text = {0};
    cvy_node *root;
    assert_ok(cvy_node_parse(*state, "m.yaml", "betas: [0.5, 1e-3]", 18, &root));
    assert_ok(cvy_params_read(rows, betas, *state, "Adam", NULL, NULL));
    assert_true(betas[0] == 0.9 && betas[1] == 0.999);
    assert_ok(cvy_params_read(rows, betas, *state, "Adam", root, NULL));
    assert_true(betas[0] == 0.5 && betas[1] == 1e-3);
    cvy_params_print(rows, betas, &text);
    assert_string_equal(cvy_text_get(&text), "[0.5, 0.001]");
    cvy_text_free(&text);
    const char *const bad[] = {"0.5", "[0.5]", "[0.5, 2]", "[0.5, x]", "[1, 0, 0]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(cvy_params_set(rows, betas, *state, "Adam", cvy_node_scalar(*state, "here", "betas"),
                                    cvy_node_scalar(*state, "here", bad[i])),
                     CONVOY_INVALID, "must be two numbers as [first, second], between 0 and 1");
}

static void ranges(void **state) {
    static const cvy_param rows[] = {
        {.name = "degrees", .type = CVY_RANGE, .minimum = -360, .maximum = 360, .help = "turned"},
        CVY_PARAM_END};
    double degrees[2];
    const char *const good[][2] = {{"15", "15"}, {"[-15, 30.5]", "[-15, 30.5]"}, {"[5, 5]", "[5, 5]"}};
    for (size_t i = 0; i < 3; i++) {
        cvy_text text = {0};
        char yaml[64];
        cvy_node *root;
        snprintf(yaml, sizeof yaml, "degrees: %s", good[i][0]);
        assert_ok(cvy_node_parse(*state, "m.yaml", yaml, strlen(yaml), &root));
        assert_ok(cvy_params_read(rows, degrees, *state, "Turn", root, NULL));
        cvy_params_print(rows, degrees, &text);
        assert_string_equal(cvy_text_get(&text), good[i][1]);
        cvy_text_free(&text);
    }
    const char *const bad[] = {"many", "400", "[0, 400]", "[2, 1]", "[1, 2, 3]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(cvy_params_set(rows, degrees, *state, "Turn", cvy_node_scalar(*state, "here", "degrees"),
                                    cvy_node_scalar(*state, "here", bad[i])),
                     CONVOY_INVALID, "must be a number, or two as [low, high], between -360 and 360");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_ARENA(defaults_fill_every_field),
        WITH_ARENA(a_bad_default_is_reported),
        WITH_ARENA(every_type_reads_from_yaml),
        WITH_ARENA(every_type_reads_from_one_text),
        WITH_ARENA(messages_say_place_wanted_and_found),
        WITH_ARENA(missing_ones_are_named_where_they_belong),
        WITH_ARENA(a_table_without_rows_takes_nothing),
        WITH_ARENA(printed_values_read_back),
        WITH_ARENA(pairs_of_numbers),
        WITH_ARENA(ranges),
        cmocka_unit_test(help_is_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
