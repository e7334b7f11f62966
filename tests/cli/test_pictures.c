/* The commands that draw: show, report, explain. On the host device, whose results are the same everywhere.
 */
#include <unistd.h>

#include "base/file.h"
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(show_draws_what_the_network_sees),
        cmocka_unit_test(show_chooses_by_seed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
