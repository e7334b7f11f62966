/* What the command says and does about data as people have them. */
#include <png.h>

#include "base/file.h"
#include "support/command.h"

static char *folder;
static const char *model, *set;

/* 12 and 6 images, of which scikit-learn holds out 4 and rounding by class 3. */
static int setup(void **state) {
    (void)state;
    folder = test_folder_create();
    set = test_path(folder, "set");
    for (int i = 0; i < 18; i++) {
        uint8_t pixels[8 * 8];
        char name[32];
        memset(pixels, 13 * i, sizeof pixels);
        snprintf(name, sizeof name, "set/%c/%02d.png", i < 12 ? 'a' : 'b', i);
        test_write_png(folder, name, 8, 8, PNG_COLOR_TYPE_GRAY, 8, 0, pixels);
    }
    model = test_write(folder, "m.yaml",
                       "input: [1, 8, 8]\nlayers:\n  - Flatten\n  - Linear: {out_features: 2}\n"
                       "recipe: {batch_size: 4, epochs: 1, optimizer: {SGD: {lr: 0.01}}}\n");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    test_folder_remove(folder);
    return 0;
}

static void expect(const test_output *r, int code, const char *part) {
    if (r->code != code || !strstr(r->err, part))
        fail_msg("%d: %s\nexpected %d: %s", r->code, r->err, code, part);
}

static void the_split_that_is_read_is_said(void **state) {
    (void)state;
    const char *out = test_path(folder, "run"), *weights = test_path(folder, "run/last.safetensors");
    const test_output *r = RUN("train", model, "--data", set, "--out", out, "--device", "host");
    expect(r, 0, "14 training and 4 test images");
    expect(r, 0, "14 of 18 images are for training, the others are held out (test_fraction 0.2)");
    r = RUN("eval", model, "--data", set, "--weights", weights, "--split", "all", "--device", "host");
    expect(r, 0, "all 18 images are read");
    assert_non_null(strstr(r->out, "18 images: loss"));
}

/* A run of 0.1 does not know `test_split`: its split is the one that it began with. */
static void an_older_run_keeps_its_split(void **state) {
    (void)state;
    const char *out = test_path(folder, "run"), *own = test_path(folder, "run/model.yaml");
    char *text, *line;
    size_t size;
    expect(
        RUN("train", model, "--data", set, "--out", out, "--device", "host", "--set", "test_split=per_class"),
        0, "15 training and 3 test images");
    assert_ok(cvy_file_read(own, 1 << 20, &text, &size));
    line = strstr(text, "  test_split: per_class\n");
    assert_non_null(line);
    memmove(line, strchr(line, '\n') + 1, strlen(strchr(line, '\n')));
    assert_ok(cvy_file_write(own, text, strlen(text)));
    free(text);
    const char *weights = test_path(folder, "run/last.safetensors");
    expect(RUN("eval", own, "--weights", weights, "--device", "host"), 0, "3 of 18 images are held out");
    expect(RUN("train", model, "--data", set, "--out", out, "--resume", "--epochs", "2", "--device", "host"),
           0, "15 training and 3 test images");
    expect(RUN("eval", own, "--weights", weights, "--device", "host"), 0, "3 of 18 images are held out");
    expect(RUN("eval", model, "--data", set, "--weights", weights, "--device", "host"), 0,
           "4 of 18 images are held out");
}

/* What `val` means is what the data says, be it in folders or lists; a recipe's val_fraction is for others.
 */
static void validation_images_of_a_list_are_evaluated(void **state) {
    (void)state;
    const char *out = test_path(folder, "run"), *weights = test_path(folder, "run/last.safetensors");
    const char *list = test_write(folder, "three.csv",
                                  "path,label,split\nset/a/00.png,a,train\nset/a/01.png,a,train\n"
                                  "set/b/12.png,b,train\nset/b/13.png,b,train\nset/a/02.png,a,test\n"
                                  "set/a/03.png,a,val\nset/b/14.png,b,val\nset/b/15.png,b,val\n");
    expect(RUN("train", model, "--data", list, "--out", out, "--device", "host"), 0,
           "4 training, 3 validation and 1 test images");
    const test_output *r = RUN("eval", model, "--data", list, "--weights", weights, "--split", "val",
                               "--device", "host", "--set", "val_fraction=0.5");
    expect(r, 0, "");
    assert_non_null(strstr(r->out, "3 images: loss"));
}

static void photographs_are_read_as_the_options_say(void **state) {
    (void)state;
    const char *out = test_path(folder, "run");
    char *text;
    size_t size;
    test_write_file(folder, "set/a/00.png", "x", 1);
    test_write_file(folder, "set/b/17.png", "x", 1);
    const test_output *r = RUN("train", model, "--data", set, "--out", out, "--device", "host");
    expect(r, 2, "2 images cannot be read (--skip-damaged leaves them out)");
    expect(r, 2, "/set/a/00.png: not an image");
    r = RUN("train", model, "--data", set, "--out", out, "--device", "host", "--skip-damaged",
            "--fast-decode");
    expect(r, 0, "cannot be read and are left out");
    assert_ok(cvy_file_read(test_path(folder, "run/model.yaml"), 1 << 20, &text, &size));
    assert_non_null(strstr(text, "fast_decode: true"));
    assert_non_null(strstr(text, "skip_damaged: true"));
    assert_non_null(strstr(text, "exif_orientation: true"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_split_that_is_read_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_run_keeps_its_split, setup, teardown),
        cmocka_unit_test_setup_teardown(validation_images_of_a_list_are_evaluated, setup, teardown),
        cmocka_unit_test_setup_teardown(photographs_are_read_as_the_options_say, setup, teardown),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_run_free();
    return failed;
}
