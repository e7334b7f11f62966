/* The tables of a run and of a search, and their pictures: what is read, where ticks stand, and that the
   picture is the one that was kept. */
#include "support/images.h"
#include "support/run.h"
#include "support/test.h"

#include <unistd.h>

#include "base/file.h"
#include "convoy/data.h"
#include "report/curves.h"
#include "report/trials.h"

#define DATA CONVOY_SOURCE_DIR "/tests/report/data"

static char *folder;
static cvy_arena *arena;

static int set_up(void **state) {
    (void)state;
    folder = test_folder_create();
    arena = cvy_arena_create();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_folder_remove(folder);
    cvy_arena_free(arena);
    return 0;
}

static const char *write_table(const char *text) {
    test_write_file(folder, "metrics.csv", text, strlen(text));
    return test_path(folder, "metrics.csv");
}

static void tables_are_read_by_name(void **state) {
    (void)state;
    cvy_history h;
    assert_ok(cvy_history_read(arena,
                               write_table("epoch,step,test_accuracy,train_loss,lr\n"
                                           "1,5,,2.5,0.1\n"
                                           "1,10,0.5,2,0.1\n"
                                           "torn,1\n"
                                           "0,3,0.5,2,0.1\n"
                                           "2,15,0.5,abc,0.1\n"
                                           "2,20,0.75,inf,0.05\n"
                                           "3,2"),
                               &h));
    assert_int_equal(h.rows, 3);
    assert_int_equal(h.damaged, 4);
    assert_null(cvy_history_column(&h, "test_loss"));
    const double *accuracy = cvy_history_column(&h, "test_accuracy"),
                 *loss = cvy_history_column(&h, "train_loss");
    assert_true(isnan(accuracy[0]));
    assert_true(accuracy[1] == 0.5 && accuracy[2] == 0.75);
    assert_true(loss[0] == 2.5 && isinf(loss[2]));
    assert_true(h.epoch[0] == 0.5 && h.epoch[1] == 1 && h.epoch[2] == 2);
}

static void other_files_are_refused(void **state) {
    (void)state;
    cvy_history h;
    assert_fails(cvy_history_read(arena, write_table(""), &h), CONVOY_INVALID, "is no table of a run");
    assert_fails(cvy_history_read(arena, write_table("a,b,c\n1,2,3\n"), &h), CONVOY_INVALID, "begins with a");
    assert_fails(cvy_history_read(arena, test_path(folder, "absent.csv"), &h), CONVOY_IO, "absent.csv");
    assert_ok(cvy_history_read(arena, write_table("epoch,step,train_loss"), &h));
    assert_int_equal(h.rows, 0);
    assert_null(cvy_history_column(&h, "train_loss"));
}

/* 1, 2 or 5 times a power of ten, all of them inside, neither too many nor too few. */
static void ticks_are_round(void **state) {
    (void)state;
    float *random = test_random(2000, 1);
    for (int i = 0; i < 1000; i++) {
        const double low = (double)random[2 * i] * pow(10, i % 9 - 4),
                     high = low + fabs((double)random[2 * i + 1]) * pow(10, i % 7 - 3) + 1e-6;
        const int most = 2 + i % 9;
        const cvy_ticks t = cvy_round_ticks(low, high, most);
        const double power = pow(10, floor(log10(t.step) + 1e-9)), lead = t.step / power;
        assert_true(fabs(lead - 1) < 1e-6 || fabs(lead - 2) < 1e-6 || fabs(lead - 5) < 1e-6);
        assert_true(t.count >= (most >= 4) && t.count <= most);
        assert_true(t.first >= low - t.step * 1e-6);
        assert_true(t.first + (t.count - 1) * t.step <= high + t.step * 1e-6);
        assert_true(most < 6 || t.count >= 2);
        assert_true(fabs(t.first / t.step - round(t.first / t.step)) < 1e-6);
    }
    free(random);
    assert_int_equal(cvy_round_ticks(3, 3, 5).count, 1);
}

enum { WIDTH = 320, CURVES = 120, SEARCH = 182, MOST = 200 }; /* heights, in the pictures' proportions */

static void keep(const uint8_t *planes, int height, const char *path) {
    cvy_canvas *canvas;
    const int pixels = WIDTH * height;
    uint8_t *rgba = malloc(4 * (size_t)pixels);
    for (int i = 0; i < pixels; i++)
        for (int c = 0; c < 4; c++)
            rgba[4 * i + c] = c == 3 ? 255 : planes[c * pixels + i];
    assert_ok(cvy_canvas_create(CVY_PNG, WIDTH, height, 1, &canvas));
    cvy_canvas_pixels(canvas, (cvy_box){0, 0, WIDTH, height}, rgba, WIDTH, height, false);
    assert_ok(cvy_canvas_save(canvas, path));
    free(rgba);
}

/* The picture by its blocks of 4 x 4 dots, in which another machine's letters differ little, and lines that
   are where they belong not at all. With CONVOY_KEEP_PICTURES set it is kept. */
static void compare_with_kept(const char *path, const char *kept, int height) {
    static uint8_t found[3 * WIDTH * MOST], expected[3 * WIDTH * MOST];
    double sum = 0;
    int worst = 0;
    assert_ok(convoy_image_load(path, 3, height, WIDTH, found));
    if (getenv("CONVOY_KEEP_PICTURES"))
        keep(found, height, kept);
    assert_ok(convoy_image_load(kept, 3, height, WIDTH, expected));
    for (int i = 0; i < 3 * WIDTH * height; i++) {
        const int difference = abs(found[i] - expected[i]);
        sum += difference;
        worst = difference > worst ? difference : worst;
    }
    if (worst > 110 || sum / (3 * WIDTH * height) > 1.5)
        fail_msg("%s differs from %s: by %d of 255 at worst and %.2f on average", path, kept, worst,
                 sum / (3 * WIDTH * height));
}

static void curves_look_as_kept(void **state) {
    (void)state;
    if (cvy_canvas_check() != CONVOY_OK)
        skip();
    const char *picture = test_path(folder, "curves.png");
    assert_ok(cvy_curves_save(DATA "/metrics.csv", picture));
    compare_with_kept(picture, DATA "/curves.png", CURVES);
}

#define SEARCH_HEADER                                                                                        \
    "trial,rung,fold,epochs,value,best_epoch,train_loss,train_accuracy,seconds,lr,optimizer,folder\n"

static void write_search(const char *text) {
    test_write_file(folder, "search.csv", text, strlen(text));
}

/* The last rung of each trial, mean of its folds; the best first. */
static void searches_are_read(void **state) {
    (void)state;
    cvy_trials t;
    assert_true(cvy_trials_are_in(DATA "/search"));
    assert_ok(cvy_trials_read(arena, DATA "/search", &t));
    static const size_t order[] = {3, 4, 6, 1, 2, 5};
    assert_int_equal(t.count, 6);
    assert_int_equal(t.axes, 2);
    assert_int_equal(t.rung_count, 8);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(t.trials[i].number, order[i]);
    assert_true(t.trials[0].value == 0.86 && t.trials[0].epochs == 6 && isnan(t.trials[5].value));
    assert_string_equal(t.trials[1].settings[1], "{Adam: {betas: [0.9, 0.99]}}");
    assert_string_equal(t.trials[0].folder, DATA "/search/trial-003");
    assert_string_equal(t.trials[0].device, "A device");
    assert_string_equal(t.monitor, "accuracy");
    assert_int_equal(cvy_trials_panels(&t), 4);
    assert_string_equal(cvy_trials_title(arena, &t, 0), "accuracy by lr");
    assert_string_equal(cvy_trials_title(arena, &t, 2), "accuracy over epochs");
    assert_string_equal(cvy_trials_title(arena, &t, 3), "accuracy by lr and optimizer");

    write_search(SEARCH_HEADER "2,1,2,3,0.5,1,1,1,1,0.1,SGD,x/trial-002/fold-2\n"
                               "2,1,1,3,0.25,1,1,1,1,0.1,SGD,x/trial-002/fold-1\n"
                               "1,1,1,3,0.5,1,1,1,1,0.2,Adam,x/trial-001/fold-1\n"
                               "one,1,1,3,0.5,1,1,1,1,0.2,Adam,x\n1,1,1\n1,1,2,3,0.4");
    test_write_file(folder, "trial-001/fold-1/model.yaml", "recipe: {monitor: loss}\n", 24);
    assert_ok(cvy_trials_read(arena, folder, &t));
    assert_int_equal(t.count, 2);
    assert_int_equal(t.damaged, 3);
    assert_true(t.least && strcmp(t.monitor, "loss") == 0);
    assert_true(t.trials[0].number == 2 && t.trials[0].value == 0.375 && !t.trials[0].device);
    assert_string_equal(t.trials[0].folder, test_path(folder, "trial-002/fold-1"));
    assert_int_equal(cvy_trials_panels(&t), 2); /* two trials are no grid */

    write_search("epoch,step\n1,2\n");
    assert_fails(cvy_trials_read(arena, folder, &t), CONVOY_INVALID, "search.csv is no table of a search");
    write_search("");
    assert_fails(cvy_trials_read(arena, folder, &t), CONVOY_INVALID, "is no table of a search");
    write_search(SEARCH_HEADER);
    assert_ok(cvy_trials_read(arena, folder, &t));
    assert_int_equal(t.count, 0);
    assert_fails(cvy_trials_read(arena, "/no/such", &t), CONVOY_IO, "/no/such/search.csv");
}

static void a_search_looks_as_kept(void **state) {
    (void)state;
    size_t size;
    if (cvy_canvas_check() != CONVOY_OK)
        skip();
    char *table = test_read_text(DATA "/search/search.csv", &size);
    write_search(table);
    free(table);
    assert_ok(cvy_trials_save(folder));
    compare_with_kept(test_path(folder, "search.png"), DATA "/search.png", SEARCH);
    write_search(SEARCH_HEADER "1,1,1,3,,1,1,1,1,nan,,x\n2,1,1,3,inf,1,1,1,1,,,x\n");
    assert_ok(cvy_trials_save(folder)); /* numbers that no search should have */
    write_search("no table");
    assert_fails(cvy_trials_save(folder), CONVOY_INVALID, "no table of a search");
}

/* Numbers that no run should have are drawn as far as they can be. */
static void strange_numbers_are_drawn(void **state) {
    (void)state;
    if (cvy_canvas_check() != CONVOY_OK)
        skip();
    const char *const tables[] = {
        "epoch,step,train_loss,train_accuracy\n", "epoch,step,train_loss,train_accuracy\n1,1,,\n",
        "epoch,step,train_loss,train_accuracy,lr\n1,1,1e308,0.5,0\n2,2,-1e308,0.5,1\n",
        "epoch,step,train_loss,train_accuracy,lr\n1,1,3,0.5,1e-300\n2,2,3,0.5,1e300\n",
        "epoch,step,train_loss,train_accuracy,lr\n1,1,inf,7,-1\n9,2,5e-324,-7,inf\n"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        uint8_t pixels[3 * 16 * 6];
        const char *picture = test_path(folder, "strange.png");
        assert_ok(cvy_curves_save(write_table(tables[i]), picture));
        assert_ok(convoy_image_load(picture, 3, 6, 16, pixels));
        assert_int_equal(unlink(picture), 0);
    }
    assert_fails(cvy_curves_save(write_table("no table"), test_path(folder, "none.png")), CONVOY_INVALID,
                 "no table of a run");
    assert_false(cvy_file_exists(test_path(folder, "none.png")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_read_by_name),   cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(ticks_are_round),           cmocka_unit_test(curves_look_as_kept),
        cmocka_unit_test(searches_are_read),         cmocka_unit_test(a_search_looks_as_kept),
        cmocka_unit_test(strange_numbers_are_drawn),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
