/* The commands that draw: show, report, explain. On the host device, whose results are the same everywhere.
 */
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "convoy/data.h"
#include "report/canvas.h"
#include "support/command.h"

static char *folder;
static const char *model;

static int set_up(void **state) {
    (void)state;
    setenv("CONVOY_DEVICE", "host", 1);
    folder = test_folder_create();
    model = test_tiny_model(folder, "tiny.yaml",
                            "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 20\n  epochs: 2\n  mean: [0.2]\n"
                            "  std: [0.5]\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_run_free();
    test_folder_remove(folder);
    return 0;
}

static const json_t *json_of(const test_output *r) {
    if (r->code)
        fail_msg("exit code %d: %s", r->code, r->err);
    assert_non_null(r->json);
    return r->json;
}

/* Every picture says so, where it cannot be drawn. */
static bool built_without_pictures(const test_output *r) {
    if (cvy_canvas_check() == CONVOY_OK)
        return false;
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "without cairo"));
    return true;
}

/* ---- show ---- */

/* 8 x 8 pixels are squares of 20 in a tile: their middles, in the tile of the first image. */
static void show_draws_what_the_network_sees(void **state) {
    (void)state;
    enum { SIDE = 20, WIDTH = 3 * 160 + 2 * 14 + 2 * 21 };
    static uint8_t picture[WIDTH * 252];
    uint8_t image[64];
    const char *out = test_path(folder, "grid.png");
    const test_output *r =
        RUN("show", model, "--count", "3", "--seed", "4", "--split", "test", "--out", out, "--json");
    if (built_without_pictures(r))
        skip();
    const json_t *json = json_of(r), *images = json_object_get(json, "images");
    test_keys(json, "model data images out");
    assert_int_equal(json_array_size(images), 3);
    const json_t *first = json_array_get(images, 0);
    const size_t index = (size_t)json_integer_value(json_object_get(first, "index"));
    convoy_dataset *set;
    const convoy_dataset_options options = {.channels = 1, .height = 8, .width = 8, .synthetic_classes = 10};
    assert_ok(convoy_dataset_open("synthetic", "test", &options, &set));
    assert_int_equal(json_integer_value(json_object_get(first, "class")), convoy_dataset_label(set, index));
    assert_ok(convoy_dataset_image(set, index, image));
    assert_ok(convoy_image_load(out, 1, 252, WIDTH, picture));
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) {
            const int at = (21 + 30 + SIDE * y + SIDE / 2) * WIDTH + 21 + SIDE * x + SIDE / 2;
            assert_true(abs(picture[at] - image[8 * y + x]) <= 1);
        }
    convoy_dataset_free(set);
}

static void show_chooses_by_seed(void **state) {
    (void)state;
    const char *out = test_path(folder, "seeds.png");
    const test_output *r = RUN("show", model, "--count", "5", "--out", out, "--json");
    if (built_without_pictures(r))
        skip();
    json_t *first = json_deep_copy(json_object_get(json_of(r), "images"));
    assert_true(
        json_equal(first, json_object_get(json_of(RUN("show", model, "--count", "5", "--out", out, "--json")),
                                          "images")));
    assert_false(json_equal(first, json_object_get(json_of(RUN("show", model, "--count", "5", "--out", out,
                                                               "--json", "--seed", "1")),
                                                   "images")));
    json_decref(first);
    r = RUN("show", model, "--out", test_path(folder, "no/such/folder.png"));
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->err, "folder.png"));
}

/* ---- report ---- */

/* Tags that close in their order, no script, no address but data:, every picture a whole PNG or SVG. */
static const char page_checker[] =
    "import base64, html.parser, re, sys\n"
    "import xml.etree.ElementTree as tree\n"
    "VOID = {'meta', 'link', 'br', 'img', 'source'}\n"
    "class Checker(html.parser.HTMLParser):\n"
    "    stack, pictures, text = [], 0, ''\n"
    "    def handle_starttag(self, tag, attributes):\n"
    "        assert tag not in ('script', 'iframe', 'object', 'b1'), tag\n"
    "        for name, value in attributes:\n"
    "            assert not name.startswith('on'), name\n"
    "            if name in ('src', 'srcset', 'href'):\n"
    "                assert value.startswith('data:'), value[:40]\n"
    "                self.check(value)\n"
    "        if tag not in VOID:\n"
    "            self.stack.append(tag)\n"
    "    def handle_endtag(self, tag):\n"
    "        assert self.stack and self.stack.pop() == tag, tag\n"
    "    def handle_data(self, data):\n"
    "        self.text += data\n"
    "    def check(self, value):\n"
    "        if value == 'data:,':\n"
    "            return\n"
    "        kind, data = re.fullmatch('data:([a-z/+]+);base64,(.*)', value).groups()\n"
    "        data = base64.b64decode(data, validate=True)\n"
    "        self.pictures += 1\n"
    "        if kind == 'image/png':\n"
    "            assert data[:8] == b'\\x89PNG\\r\\n\\x1a\\n' and b'IEND' in data[-12:]\n"
    "        else:\n"
    "            assert tree.fromstring(data).tag.endswith('svg')\n"
    "text = open(sys.argv[1], encoding='utf-8', errors='strict').read()\n"
    "page = Checker()\n"
    "page.feed(text)\n"
    "page.close()\n"
    "assert not page.stack, page.stack\n"
    "assert not any(ord(c) < 32 and c not in '\\n\\t' for c in text)\n"
    "assert page.pictures >= int(sys.argv[2]), page.pictures\n"
    "for part in sys.argv[3:]:\n"
    "    assert part in page.text, part\n";

/* The page is sound, has `pictures` at least, and says each of the parts. */
static void check_page(const char *page, int pictures, const char *const *parts) {
    const char *checker = test_write(folder, "check.py", page_checker);
    cvy_text command = {0};
    cvy_text_add(&command, "python3 '%s' '%s' %d", checker, page, pictures);
    for (; *parts; parts++)
        cvy_text_add(&command, " '%s'", *parts);
    cvy_text_add(&command, " 2>'%s'", test_path(folder, "wrong"));
    if (system(cvy_text_get(&command)) != 0)
        fail_msg("%s: %s", page, test_read_text(test_path(folder, "wrong"), NULL));
    cvy_text_free(&command);
}
#define CHECK_PAGE(page, pictures, ...) check_page(page, pictures, (const char *const[]){__VA_ARGS__, NULL})

static const char *train(const char *name, const char *what, const char *data) {
    const char *out = test_path(folder, name);
    const test_output *r =
        RUN("train", what, "--limit-train", "60", "--limit-test", "40", "--out", out, "--data", data);
    if (r->code)
        fail_msg("training failed: %s", r->err);
    return out;
}

static bool python(void) {
    return system("python3 -c '' 2>/dev/null") == 0;
}

static void a_page_has_everything(void **state) {
    (void)state;
    const char *out = train("run", model, "synthetic"), *page = test_path(out, "report.html");
    const test_output *r = RUN("report", out, "--json", "--limit", "50");
    if (built_without_pictures(r) || !python())
        skip();
    const json_t *json = json_of(r), *runs = json_object_get(json, "runs"), *first = json_array_get(runs, 0);
    test_keys(json, "out runs");
    test_keys(first, "folder model images accuracy notes");
    assert_string_equal(json_string_value(json_object_get(json, "out")), page);
    assert_int_equal(json_integer_value(json_object_get(first, "images")), 50);
    assert_int_equal(json_array_size(json_object_get(first, "notes")), 0);
    const double accuracy = json_number_value(json_object_get(first, "accuracy"));
    /* curves (2), ROC and precision, filters, each for two themes */
    CHECK_PAGE(page, 10, "Curves", "Classes", "Confusion", "Each class against the rest",
               "Filters of the first layer", "kernel_size: 3", "convoy train", "Host CPU without OpenCL",
               "precision");
    const char *weights = test_path(out, "best.safetensors");
    json = json_of(RUN("eval", model, "--weights", weights, "--limit", "50", "--json"));
    assert_true(fabs(json_number_value(json_object_get(json, "accuracy")) - accuracy) < 1e-9);
}

/* 40 tiles of 160 pixels in rows of 7, two lines below each: the left edge of those that are answered wrongly
   is vermillion. */
static void check_answers(const char *picture, const char *weights) {
    enum { WIDTH = 7 * 174 - 14 + 2 * 21, HEIGHT = 1330 };
    static uint8_t pixels[3 * HEIGHT * WIDTH];
    const char *table = test_path(folder, "logits.csv");
    const test_output *r = RUN("eval", model, "--limit", "40", "--weights", weights, "--logits", table);
    if (r->code)
        fail_msg("%s", r->err);
    assert_ok(convoy_image_load(picture, 3, HEIGHT, WIDTH, pixels));
    char *text = test_read_text(table, NULL), *line = text;
    int wrong = 0;
    for (int i = 0; i < 40; i++) {
        line = strchr(line, '\n') + 1;
        char *at = strchr(line, ',') + 1;
        const long truth = strtol(at, &at, 10);
        double best = -INFINITY;
        long answer = 0;
        for (long c = 0; *at == ','; c++) {
            const double value = strtod(at + 1, &at);
            if (value > best) {
                best = value;
                answer = c;
            }
        }
        const int x = 21 + 174 * (i % 7), y = (int)(21 + 30.8 + 211.8 * (i / 7) + 80), place = y * WIDTH + x;
        const bool framed = pixels[place] == 0xd5 && pixels[HEIGHT * WIDTH + place] == 0x5e;
        if (framed != (answer != truth))
            fail_msg("image %d of class %ld is answered by %ld, and %s", i, truth, answer,
                     framed ? "framed" : "not framed");
        wrong += answer != truth;
    }
    assert_in_range(wrong, 1, 39);
    free(text);
}

static void several_runs_are_compared(void **state) {
    (void)state;
    const char *a = test_path(folder, "run"), *b = test_path(folder, "again/run"),
               *page = test_path(folder, "compared.html");
    const test_output *r = RUN("train", model, "--limit-train", "60", "--limit-test", "40", "--out", b,
                               "--lr", "0.5", "--report");
    if (built_without_pictures(r) || !python())
        skip();
    assert_int_equal(r->code, 0);
    CHECK_PAGE(test_path(b, "report.html"), 10, "Curves", "Classes", "--lr 0.5", "evaluated on",
               "Images and answers");
    assert_non_null(strstr(r->out, "best weights on 40 test images: accuracy "));
    check_answers(test_path(b, "answers.png"), test_path(b, "best.safetensors"));
    assert_int_equal(RUN("report", a, b, "--out", page, "--no-eval")->code, 0);
    CHECK_PAGE(page, 12, "2 runs compared", "What differs", "optimizer.Adam.lr", "0.01", "0.5",
               "best test accuracy", b); /* of the same name: told apart by their paths */
    char *text = test_read_text(page, NULL);
    assert_null(strstr(text, "<td>optimizer.Adam.eps</td>")); /* the same in both */
    free(text);
}

/* More classes than a table or a chart has room for, by another loss: a dot for each pair, and the worst
 * curves. */
static void many_classes_are_drawn_as_dots(void **state) {
    (void)state;
    const char *many = test_write(folder, "many.yaml",
                                  "name: many\ninput: [3, 8, 6]\nlayers:\n"
                                  "  - Conv2d: {out_channels: 70, kernel_size: 3}\n  - Flatten\n"
                                  "  - Linear: {out_features: 30}\nrecipe: {epochs: 1, batch_size: 20}\n");
    const char *out = train("many", many, "synthetic"), *page = test_path(out, "report.html");
    const test_output *r = RUN("report", out);
    if (built_without_pictures(r) || !python())
        skip();
    assert_int_equal(r->code, 0);
    CHECK_PAGE(page, 12, "from the top left", "The 6 classes with the smallest ROC area",
               "64 of 70, 3 \xc3\x97 3");
}

/* Validation chooses the best, the learning rate has a chart of its own. */
static void tables_with_validation_are_shown(void **state) {
    (void)state;
    const char *page = test_path(folder, "validation.html");
    const test_output *r = RUN("report", CONVOY_SOURCE_DIR "/tests/report/data", "--out", page);
    if (built_without_pictures(r) || !python())
        skip();
    assert_int_equal(r->code, 0);
    CHECK_PAGE(page, 6, "92.08 %", "best validation accuracy", "91.08 %", "test accuracy at the end");
}

/* What a folder may be called, and a page must not run. */
static void names_are_only_text(void **state) {
    (void)state;
    static const char *const classes[] = {"<script>alert(1)<b1>", "\"><img src=x onerror=alert(1)>",
                                          "a&lt;'b\\", "\xff\xfe not utf8", "bell\a\x1b[31m\n"};
    uint8_t pixels[64];
    const char *data = test_path(folder, "hostile");
    for (int c = 0; c < 5; c++)
        for (int i = 0; i < 8; i++) {
            char name[128];
            snprintf(name, sizeof name, "%s/%s/%d.png", i < 5 ? "train" : "test", classes[c], i);
            memset(pixels, 40 * c + i, sizeof pixels);
            test_write_png(data, name, 8, 8, 0, 8, 0, pixels);
        }
    const char *hostile = test_write(folder, "hostile.yaml",
                                     "name: \"<script>x</script>\"\ninput: [1, 8, 8]\nlayers:\n  - Flatten\n"
                                     "  - Linear: {out_features: 5}\nrecipe: {epochs: 1, batch_size: 5}\n");
    const char *out = train("a<b1>&\"'", hostile, data), *page = test_path(folder, "hostile.html");
    const test_output *r = RUN("report", out, "--out", page);
    if (built_without_pictures(r) || !python())
        skip();
    assert_int_equal(r->code, 0);
    assert_string_equal(r->err + strlen(r->err) - 1, "\n");
    CHECK_PAGE(page, 9, "<script>alert(1)<b1>", "\"><img src=x onerror=alert(1)>", "a&lt;",
               "\\xFF\\xFE not utf8", "bell\\x07\\x1B[31m", "Most confidently wrong", "<script>x</script>");
}

/* What is missing is said on the page; what is no run is refused. */
static void damaged_runs(void **state) {
    (void)state;
    const char *run = test_path(folder, "run"), *bad = test_path(folder, "bad"),
               *page = test_path(folder, "bad.html");
    assert_ok(cvy_folder_create(bad));
    const test_output *r = RUN("report", bad);
    if (built_without_pictures(r) || !python())
        skip();
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "is no run folder"));
    r = RUN("report", test_path(folder, "absent"));
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "there is no run folder"));

    char *table = test_read_text(test_path(run, "metrics.csv"), NULL),
         *recipe = test_read_text(test_path(run, "model.yaml"), NULL);
    test_write(bad, "metrics.csv", "epoch,step,train_loss\n1,2,\n9,torn");
    assert_int_equal(RUN("report", bad, "--out", page)->code, 0);
    CHECK_PAGE(page, 0, "There are no weights", "1 damaged line is left out");
    test_write(bad, "metrics.csv", "\x89PNG\r\n");
    test_write(bad, "model.yaml", "name: [");
    assert_int_equal(RUN("report", bad, "--out", page)->code, 0);
    CHECK_PAGE(page, 0, "is no table of a run", "model.yaml:");
    test_write(bad, "metrics.csv", table);
    test_write(bad, "model.yaml", recipe);
    test_write(bad, "best.safetensors", "none");
    assert_int_equal(RUN("report", bad, "--out", page)->code, 0);
    CHECK_PAGE(page, 4, "Nothing was evaluated", "best.safetensors", "Curves");
    assert_int_equal(RUN("report", run, "--out", page, "--data", "/no/such/data")->code, 0);
    CHECK_PAGE(page, 4, "Nothing was evaluated", "/no/such/data");
    assert_int_equal(RUN("report", run, "--out", test_path(folder, "no/folder/x.html"), "--no-eval")->code,
                     1);
    free(table);
    free(recipe);
}

/* ---- train ---- */

static size_t count_events(const char *run, size_t *bytes) {
    char **names;
    size_t count, events = 0;
    *bytes = 0;
    assert_ok(cvy_folder_list(run, &names, &count));
    for (size_t i = 0; i < count; i++)
        if (strncmp(names[i], "events.out.tfevents.", 20) == 0) {
            size_t size;
            free(test_read_text(test_path(run, names[i]), &size));
            *bytes += size;
            events++;
        }
    cvy_names_free(names, count);
    return events;
}

/* Each row once, whether the run is made at once or goes on: the second file begins with two records more. */
static void events_are_written_once(void **state) {
    (void)state;
    const char *whole = test_path(folder, "whole"), *halves = test_path(folder, "halves");
    size_t of_whole, of_halves;
    const char *arguments[] = {"train", model, "--limit-train", "60", "--limit-test", "40", "--tensorboard",
                               "--out", whole, "--no-pictures", NULL, NULL,           NULL, NULL};
    assert_int_equal(test_run(arguments)->code, 0);
    assert_int_equal(count_events(whole, &of_whole), 1);
    arguments[8] = halves;
    arguments[10] = "--max-steps";
    arguments[11] = "3";
    assert_int_equal(test_run(arguments)->code, 0);
    arguments[11] = "6";
    arguments[12] = "--resume";
    assert_int_equal(test_run(arguments)->code, 0);
    assert_int_equal(count_events(halves, &of_halves), 2);
    assert_int_equal(of_halves, of_whole + (16 + 9 + 15) + (16 + 9 + 2 + 4));
    char *text = test_read_text(test_path(halves, "run.yaml"), NULL);
    assert_non_null(strstr(text, "--max-steps 3")); /* of its beginning */
    free(text);
}

static void a_picture_that_fails_is_a_warning(void **state) {
    (void)state;
    const char *out = test_path(folder, "blocked");
    assert_ok(cvy_folder_create(test_path(out, "curves.png/x")));
    const test_output *r = RUN("train", model, "--limit-train", "60", "--limit-test", "40", "--out", out);
    assert_int_equal(r->code, 0);
    if (cvy_canvas_check() == CONVOY_OK)
        assert_non_null(strstr(r->err, "warning: the run has no new curves.png: "));
}

/* ---- explain ---- */

#define DATA CONVOY_SOURCE_DIR "/tests/report/data"

static void explain_answers_in_json(void **state) {
    (void)state;
    const char *out = test_path(folder, "explain.png");
    uint8_t pixels[3 * 7 * 12];
    const test_output *r =
        RUN("explain", DATA "/gradcam.yaml", DATA "/gradcam.png", "--weights", DATA "/gradcam.safetensors",
            "--class", "3", "--layer", "2", "--out", out, "--json");
    if (built_without_pictures(r))
        skip();
    const json_t *json = json_of(r), *rows = json_object_get(json, "gradcam");
    test_keys(json, "model file class name probability layer maps gradcam out");
    assert_int_equal(json_integer_value(json_object_get(json, "class")), 3);
    assert_int_equal(json_array_size(rows), 12);
    assert_ok(convoy_image_load(out, 3, 7, 12, pixels));
    json_t *cases = json_load_file(DATA "/gradcam.json", 0, NULL), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "layer")), "2") != 0 ||
            json_integer_value(json_object_get(row, "class")) != 3)
            continue;
        const json_t *map = json_object_get(row, "map");
        for (size_t y = 0; y < 12; y++)
            for (size_t x = 0; x < 12; x++)
                assert_true(fabs(json_number_value(json_array_get(json_array_get(map, y), x)) -
                                 json_number_value(json_array_get(json_array_get(rows, y), x))) < 1e-6);
    }
    json_decref(cases);
}

static void explain_refuses(void **state) {
    (void)state;
    static const struct {
        const char *option, *value, *message;
    } cases[] = {{"--class", "cat", "there is no class `cat` among the 5"},
                 {"--class", "5", "there is no class `5`"},
                 {"--layer", "4.body.9", "has no layer `4.body.9`"},
                 {"--layer", "7", "and no maps"},
                 {"--weights", "/no/such/file", "there is no weights file"},
                 {"--out", "/no/such/folder/x.png", "/no/such/folder"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_output *r = RUN("explain", DATA "/gradcam.yaml", DATA "/gradcam.png", "--weights",
                                   DATA "/gradcam.safetensors", "--out", test_path(folder, "x.png"),
                                   cases[i].option, cases[i].value);
        if (built_without_pictures(r))
            skip();
        assert_int_equal(r->code, i == 5 ? 1 : 2);
        if (!strstr(r->err, cases[i].message))
            fail_msg("%s lacks %s", r->err, cases[i].message);
    }
    const test_output *r = RUN("explain", DATA "/gradcam.yaml", DATA "/gradcam.yaml", "--weights",
                               DATA "/gradcam.safetensors", "--out", test_path(folder, "x.png"));
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->err, "gradcam.yaml"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(show_draws_what_the_network_sees),
        cmocka_unit_test(show_chooses_by_seed),
        cmocka_unit_test(a_page_has_everything),
        cmocka_unit_test(several_runs_are_compared),
        cmocka_unit_test(many_classes_are_drawn_as_dots),
        cmocka_unit_test(tables_with_validation_are_shown),
        cmocka_unit_test(names_are_only_text),
        cmocka_unit_test(damaged_runs),
        cmocka_unit_test(events_are_written_once),
        cmocka_unit_test(a_picture_that_fails_is_a_warning),
        cmocka_unit_test(explain_answers_in_json),
        cmocka_unit_test(explain_refuses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
