/* metrics.csv: rows are appended, a torn one is dropped, and a resumed run goes on behind its checkpoint. */
#include "train/run_folder.h"

#include <sys/stat.h>

#include "base/file.h"
#include "support/run.h"
#include "support/test.h"

#define OLDER_HEADER                                                                                         \
    "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second\n"
#define HEADER                                                                                               \
    "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second,val_loss,"       \
    "val_accuracy,lr\n"

static char *parent;
static cvy_run_folder folder;

static int set_up(void **state) {
    (void)state;
    parent = test_folder_create();
    return cvy_run_folder_open(test_path(parent, "run"), &folder) ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    cvy_run_folder_close(&folder);
    test_folder_remove(parent);
    return 0;
}

static const char *metrics_path(void) {
    return test_path(test_path(parent, "run"), "metrics.csv");
}

static void assert_metrics(const char *expected) {
    char *text = test_read_text(metrics_path(), NULL);
    assert_string_equal(text, expected);
    free(text);
}

static void add(int epoch, unsigned long long step) {
    const convoy_progress progress = {.epoch = epoch,
                                      .step = step,
                                      .train_loss = 0.5,
                                      .train_accuracy = 0.75,
                                      .test_loss = NAN,
                                      .test_accuracy = NAN,
                                      .seconds = 2,
                                      .images_per_second = 100,
                                      .val_loss = 0.25,
                                      .val_accuracy = NAN,
                                      .learning_rate = 0.1};
    assert_ok(cvy_run_folder_add_metrics(&folder, &progress));
}

#define ROW(epoch, step) epoch "," step ",0.5,0.75,,,2.000,100.0,0.25,,0.1\n"

static void rows_are_appended(void **state) {
    (void)state;
    struct stat before, after;
    assert_ok(cvy_run_folder_start_metrics(&folder, false, 0));
    assert_metrics(HEADER);
    assert_int_equal(stat(metrics_path(), &before), 0);
    add(1, 10);
    add(2, 20);
    assert_int_equal(stat(metrics_path(), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino); /* it was not written anew */
    assert_metrics(HEADER ROW("1", "10") ROW("2", "20"));
}

/* However much of the last row came to the disk. */
static void a_torn_row_is_dropped(void **state) {
    (void)state;
    static const char torn[] = ROW("2", "20");
    for (size_t bytes = 1; bytes < sizeof torn - 1; bytes++) {
        assert_ok(cvy_run_folder_start_metrics(&folder, false, 0));
        add(1, 10);
        assert_ok(cvy_file_append(metrics_path(), torn, bytes));
        assert_ok(cvy_run_folder_start_metrics(&folder, true, 20));
        add(2, 20);
        assert_metrics(HEADER ROW("1", "10") ROW("2", "20"));
    }
}

static void rows_behind_the_checkpoint_are_dropped(void **state) {
    (void)state;
    assert_ok(cvy_run_folder_start_metrics(&folder, false, 0));
    add(1, 10);
    add(2, 20);
    add(3, 30);
    assert_ok(cvy_run_folder_start_metrics(&folder, true, 20));
    assert_metrics(HEADER ROW("1", "10") ROW("2", "20"));
}

/* What older versions wrote is kept; what they did not know is empty. */
static void an_older_table_is_continued(void **state) {
    (void)state;
    static const char older[] = OLDER_HEADER "1,10,0.5,0.75,,,2.000,100.0\n2,20,0.5,0.75,,,2.000,100.0\n3,3";
    assert_ok(cvy_file_write(metrics_path(), older, strlen(older)));
    assert_ok(cvy_run_folder_start_metrics(&folder, true, 15));
    add(2, 20);
    assert_metrics(HEADER "1,10,0.5,0.75,,,2.000,100.0,,,\n" ROW("2", "20"));
}

static void a_folder_belongs_to_one_run(void **state) {
    (void)state;
    cvy_run_folder second;
    assert_fails(cvy_run_folder_open(test_path(parent, "run"), &second), CONVOY_INVALID,
                 "another run is at work");
    cvy_run_folder_close(&folder);
    assert_ok(cvy_run_folder_open(test_path(parent, "run"), &second));
    cvy_run_folder_close(&second);
    char **names;
    size_t count;
    assert_ok(cvy_folder_list(test_path(parent, "run"), &names, &count));
    assert_int_equal(count, 0);
    cvy_names_free(names, count);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_folder_belongs_to_one_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_appended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_torn_row_is_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_older_table_is_continued, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_behind_the_checkpoint_are_dropped, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("run folder", tests, NULL, NULL);
}
