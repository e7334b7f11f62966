/* Files to predict: chunk by chunk, IDX files in their own size, what cannot be read told and left out. */
#include "data/files.h"

#include <png.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "support/run.h"

static char *folder;
static char refused[512];

static int setup(void **state) {
    (void)state;
    folder = test_folder_create();
    *refused = '\0';
    return 0;
}

static int teardown(void **state) {
    (void)state;
    test_folder_remove(folder);
    return 0;
}

static void refuse(void *context, const char *path, convoy_status status, const char *message) {
    (void)context;
    assert_int_equal(status, CONVOY_INVALID);
    assert_non_null(strstr(message, path));
    strcat(strcat(refused, strrchr(path, '/') + 1), " ");
}

static size_t ignored;

static void ignore(void *context, const char *path, convoy_status status, const char *message) {
    (void)context, (void)path, (void)status, (void)message;
    ignored++;
}

static const cvy_files_options options = {.channels = 3, .height = 4, .width = 4, .refuse = refuse};

/* "<name>:<first image>+<images> of <height>x<width>" of each chunk. */
static char *chunks_of(const char *const *paths, size_t count) {
    cvy_files *files;
    cvy_chunk chunk;
    cvy_text text = {0};
    assert_ok(cvy_files_open(paths, count, &options, &files));
    cvy_text_add(&text, "%zu:", cvy_files_count(files));
    while (true) {
        assert_ok(cvy_files_next(files, &chunk));
        if (!chunk.set)
            break;
        assert_int_equal(convoy_dataset_channels(chunk.set), 3);
        assert_int_equal(convoy_dataset_classes(chunk.set), 0);
        cvy_text_add(&text, " %s", strrchr(convoy_dataset_path(chunk.set, 0), '/') + 1);
        if (chunk.indexed)
            cvy_text_add(&text, "[%zu]", chunk.first);
        cvy_text_add(&text, "+%zu of %dx%d", convoy_dataset_count(chunk.set),
                     convoy_dataset_height(chunk.set), convoy_dataset_width(chunk.set));
    }
    cvy_files_close(files);
    return text.data;
}

static void expect_chunks(const char *const *paths, size_t count, const char *chunks) {
    char *found = chunks_of(paths, count);
    assert_string_equal(found, chunks);
    free(found);
}

static void write_images(void) {
    uint8_t data[2 * 4 * 5];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 6);
    test_write_png(folder, "in/a.png", 4, 4, PNG_COLOR_TYPE_GRAY, 8, 0, data);
    test_write_png(folder, "in/deep/c.png", 4, 8, PNG_COLOR_TYPE_GRAY, 8, 0, data);
    test_write_idx(folder, "b-idx3-ubyte.gz", 3, (uint32_t[]){2, 4, 5}, data);
    test_write_idx(folder, "one-idx3-ubyte", 3, (uint32_t[]){1, 5, 4}, data);
    test_write_file(folder, "in/notes.txt", "no image", 8);
    test_write_file(folder, "in/bad.png", "junk", 4);
}

static void every_kind_keeps_its_size(void **state) {
    (void)state;
    write_images();
    const char *const paths[] = {test_path(folder, "in"), test_path(folder, "b-idx3-ubyte.gz"),
                                 test_path(folder, "one-idx3-ubyte"), test_path(folder, "in/a.png")};
    expect_chunks(paths, 4,
                  "7: a.png+2 of 4x4 b-idx3-ubyte.gz[0]+2 of 4x5 one-idx3-ubyte+1 of 5x4 a.png+1 of 4x4");
    assert_string_equal(refused, "bad.png ");
}

static void long_idx_files_come_in_chunks(void **state) {
    (void)state;
    enum { IMAGES = 2500 };
    uint8_t *data = calloc(IMAGES, 1);
    assert_non_null(data);
    test_write_idx(folder, "long", 3, (uint32_t[]){IMAGES, 1, 1}, data);
    free(data);
    const char *const path = test_path(folder, "long");
    expect_chunks(&path, 1, "2500: long[0]+1024 of 1x1 long[1024]+1024 of 1x1 long[2048]+452 of 1x1");
}

static void what_cannot_be_read_is_left_out(void **state) {
    (void)state;
    write_images();
    size_t size;
    uint8_t *whole = test_read_file(folder, "b-idx3-ubyte.gz", &size);
    test_write_file(folder, "cut-idx3-ubyte.gz", whole, size - 12);
    free(whole);
    const char *const paths[] = {test_path(folder, "in/bad.png"), test_path(folder, "cut-idx3-ubyte.gz"),
                                 test_path(folder, "in/notes.txt"), test_path(folder, "in/deep")};
    expect_chunks(paths, 4, "5: c.png+1 of 4x4");
    assert_string_equal(refused, "bad.png cut-idx3-ubyte.gz notes.txt ");
}

/* A pipe is not waited for, a link followed, but not in a circle. */
static void pipes_and_links_among_images(void **state) {
    (void)state;
    write_images();
    const char *in = test_path(folder, "in");
    assert_int_equal(mkfifo(test_path(folder, "in/pipe.png"), 0600), 0);
    assert_int_equal(symlink("deep/c.png", test_path(folder, "in/link.png")), 0);
    assert_int_equal(symlink(".", test_path(folder, "in/here")), 0);
    assert_int_equal(symlink("..", test_path(folder, "in/deep/back")), 0);
    assert_int_equal(symlink("nowhere", test_path(folder, "in/lost.png")), 0);
    cvy_files *files;
    cvy_chunk chunk;
    const cvy_files_options silent = {.channels = 3, .height = 4, .width = 4, .refuse = ignore};
    assert_ok(cvy_files_open(&in, 1, &silent, &files));
    assert_ok(cvy_files_next(files, &chunk));
    bool linked = false;
    for (size_t i = 0; i < convoy_dataset_count(chunk.set); i++)
        linked = linked || strstr(convoy_dataset_path(chunk.set, i), "/link.png");
    assert_true(linked);
    assert_int_equal(ignored, cvy_files_count(files) - convoy_dataset_count(chunk.set));
    cvy_files_close(files);
}

static void folders_without_images_are_refused(void **state) {
    (void)state;
    test_write_file(folder, "empty/notes.txt", "no image", 8);
    const char *const path = test_path(folder, "empty");
    cvy_files *files;
    assert_fails(cvy_files_open(&path, 1, &options, &files), CONVOY_INVALID, "there are no images");
    assert_null(files);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_kind_keeps_its_size, setup, teardown),
        cmocka_unit_test_setup_teardown(long_idx_files_come_in_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(pipes_and_links_among_images, setup, teardown),
        cmocka_unit_test_setup_teardown(folders_without_images_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
