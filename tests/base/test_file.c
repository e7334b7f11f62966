/* Whole reads; atomic writes that survive a full disk and a kill; folders and paths. */
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

/* The working folder of one test; tests use relative paths in it. */
static int enter_folder(void **state) {
    char *folder = strdup("/tmp/convoy-file-XXXXXX");
    *state = folder;
    return folder && mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state) {
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    int result = chdir("/") == 0 ? system(command) : -1;
    free(*state);
    return result;
}

static void assert_content(const char *path, const char *expected) {
    char *data;
    size_t size;
    assert_ok(cvy_file_read(path, 1 << 20, &data, &size));
    assert_int_equal(size, strlen(expected));
    assert_string_equal(data, expected);
    free(data);
}

/* The names in the working folder, separated by blanks. */
static void assert_names(const char *expected) {
    char **names;
    size_t count;
    cvy_text all = {0};
    assert_ok(cvy_folder_list(".", &names, &count));
    for (size_t i = 0; i < count; i++)
        cvy_text_add(&all, "%s%s", i ? " " : "", names[i]);
    cvy_names_free(names, count);
    assert_string_equal(cvy_text_get(&all), expected);
    cvy_text_free(&all);
}

/* ---- reading ---- */

static void reads_what_was_written(void **state) {
    (void)state;
    static const char bytes[] = "a\0b\nc";
    char *data;
    size_t size;
    assert_ok(cvy_file_write("f", bytes, sizeof bytes - 1));
    assert_ok(cvy_file_read("f", 5, &data, &size)); /* exactly the limit */
    assert_int_equal(size, 5);
    assert_memory_equal(data, bytes, sizeof bytes); /* with the NUL behind it */
    free(data);
    assert_ok(cvy_file_write("empty", NULL, 0));
    assert_content("empty", "");
}

static void refuses_what_it_cannot_read(void **state) {
    (void)state;
    char *data;
    size_t size;
    assert_fails(cvy_file_read("missing", 10, &data, &size), CONVOY_IO, "'missing': No such file");
    assert_fails(cvy_file_read(".", 10, &data, &size), CONVOY_IO, "folder");
    assert_ok(cvy_file_write("f", "123456", 6));
    assert_fails(cvy_file_read("f", 5, &data, &size), CONVOY_INVALID, "6 bytes");
    assert_fails(cvy_file_read("/dev/zero", 100000, &data, &size), CONVOY_INVALID, "100000");
}

static void reads_files_without_a_size(void **state) {
    (void)state;
    char *data;
    size_t size;
    assert_ok(cvy_file_read("/proc/self/status", 1 << 20, &data, &size));
    assert_true(size > 100);
    assert_memory_equal(data, "Name:", 5);
    free(data);
}

/* What is kept in a cache is believed: nobody else's file, no pipe, nothing that everybody may write to. */
static void own_files_are_told_from_others(void **state) {
    (void)state;
    char *data;
    size_t size;
    assert_ok(cvy_file_write("mine", "kept", 4));
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(symlink("mine", "link"), 0);
    assert_ok(cvy_file_read_own("link", 10, &data, &size));
    assert_string_equal(data, "kept");
    free(data);
    assert_fails(cvy_file_read_own("pipe", 10, &data, &size), CONVOY_INVALID, "is not read");
    assert_fails(cvy_file_read_own("mine", 3, &data, &size), CONVOY_INVALID, "4 bytes");
    assert_fails(cvy_file_read_own("none", 3, &data, &size), CONVOY_IO, "none");
    assert_int_equal(chmod("mine", 0666), 0);
    assert_fails(cvy_file_read_own("mine", 10, &data, &size), CONVOY_INVALID, "is not read");
    assert_int_equal(chmod("mine", 0644), 0);
    if (chown("mine", 12345, (gid_t)-1) == 0) /* only root may give files away */
        assert_fails(cvy_file_read_own("mine", 10, &data, &size), CONVOY_INVALID, "of this user");
}

static void ignore_signal(int number) {
    (void)number;
}

static void signals_do_not_cut_a_read_short(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = ignore_signal}, before; /* no SA_RESTART: calls return EINTR */
    sigaction(SIGUSR1, &action, &before);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    pid_t parent = getpid(), child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 20; i++) { /* while the parent waits in open() */
            kill(parent, SIGUSR1);
            usleep(500);
        }
        int fd = open("pipe", O_WRONLY);
        for (int i = 0; i < 20; i++) { /* while the parent waits in read() */
            kill(parent, SIGUSR1);
            usleep(500);
            if (write(fd, "x", 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    char *data;
    size_t size;
    convoy_status status = cvy_file_read("pipe", 100, &data, &size);
    int child_status;
    while (waitpid(child, &child_status, 0) < 0 && errno == EINTR) {
    }
    sigaction(SIGUSR1, &before, NULL);
    assert_ok(status);
    assert_int_equal(child_status, 0);
    assert_int_equal(size, 20);
    free(data);
}

/* ---- writing ---- */

static void nothing_shows_before_commit(void **state) {
    (void)state;
    cvy_writer *writer;
    assert_ok(cvy_file_write("f", "old", 3));
    assert_ok(cvy_writer_open("f", &writer));
    assert_ok(cvy_writer_write(writer, "ne", 2));
    assert_ok(cvy_writer_write(writer, "w", 1));
    assert_content("f", "old");
    assert_ok(cvy_writer_commit(writer));
    assert_content("f", "new");
    assert_names("f");
}

static void abandon_leaves_the_old_file(void **state) {
    (void)state;
    cvy_writer *writer;
    assert_ok(cvy_file_write("f", "old", 3));
    assert_ok(cvy_writer_open("f", &writer));
    assert_ok(cvy_writer_write(writer, "new", 3));
    cvy_writer_abandon(writer);
    cvy_writer_abandon(NULL);
    assert_content("f", "old");
    assert_names("f");
}

static void large_and_small_pieces_keep_their_order(void **state) {
    (void)state;
    enum { SIZE = 300000 };
    char *sent = malloc(SIZE), *data;
    assert_non_null(sent);
    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (char)(i * 31 + i / 256);
    cvy_writer *writer;
    assert_ok(cvy_writer_open("f", &writer));
    size_t done = 0;
    static const size_t pieces[] = {1, 65535, 1, 0, 65536, 65537, 7, 100000};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        assert_ok(cvy_writer_write(writer, sent + done, pieces[i]));
        done += pieces[i];
    }
    assert_ok(cvy_writer_write(writer, sent + done, SIZE - done));
    assert_ok(cvy_writer_commit(writer));
    size_t size;
    assert_ok(cvy_file_read("f", SIZE, &data, &size));
    assert_int_equal(size, SIZE);
    assert_memory_equal(data, sent, SIZE);
    free(data);
    free(sent);
}

/* A disk that takes no more than `bytes`: the kernel's limit on the size of files. */
static void limit_file_size(rlim_t bytes) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_fails_and_leaves_no_litter(void **state) {
    (void)state;
    enum { SIZE = 200000 };
    char *data = calloc(1, SIZE);
    assert_non_null(data);
    signal(SIGXFSZ, SIG_IGN);
    assert_ok(cvy_file_write("f", "old", 3));
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit_file_size(100000);
    convoy_status whole = cvy_file_write("f", data, SIZE); /* fails in write */
    char message[200];
    snprintf(message, sizeof message, "%s", convoy_error_message());
    cvy_writer *writer;
    convoy_status opened = cvy_writer_open("f", &writer);
    convoy_status first = cvy_writer_write(writer, data, SIZE), second = cvy_writer_write(writer, data, 1);
    convoy_status late = cvy_writer_commit(writer); /* must not bring half a file into place */
    limit_file_size(100);
    convoy_status buffered = cvy_file_write("f", data, 1000); /* fails in commit's flush */
    limit_file_size(before.rlim_cur);
    signal(SIGXFSZ, SIG_DFL);
    free(data);
    assert_int_equal(whole, CONVOY_IO);
    assert_non_null(strstr(message, "cannot write 'f'"));
    assert_int_equal(opened, CONVOY_OK);
    assert_int_equal(first, CONVOY_IO);
    assert_int_equal(second, CONVOY_IO);
    assert_int_equal(late, CONVOY_IO);
    assert_int_equal(buffered, CONVOY_IO);
    assert_content("f", "old");
    assert_names("f");
}

static void appends(void **state) {
    (void)state;
    assert_ok(cvy_file_append("f", "one\n", 4));
    assert_ok(cvy_file_append("f", "two\n", 4));
    assert_content("f", "one\ntwo\n");
    assert_names("f");
    assert_fails(cvy_file_append("no/f", "x", 1), CONVOY_IO, "no/f");
    assert_fails(cvy_file_append(".", "x", 1), CONVOY_IO, "'.'");
}

static void appending_to_a_full_disk_changes_nothing(void **state) {
    (void)state;
    struct rlimit before;
    signal(SIGXFSZ, SIG_IGN);
    assert_ok(cvy_file_append("f", "one\n", 4));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit_file_size(6); /* two of the next four bytes fit */
    const convoy_status status = cvy_file_append("f", "two\n", 4);
    limit_file_size(before.rlim_cur);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, CONVOY_IO);
    assert_content("f", "one\n");
    assert_ok(cvy_file_append("f", "two\n", 4));
    assert_content("f", "one\ntwo\n");
}

static void a_kill_leaves_the_old_file(void **state) {
    (void)state;
    assert_ok(cvy_file_write("f", "old", 3));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        cvy_writer *writer;
        static char data[100000];
        if (cvy_writer_open("f", &writer) || cvy_writer_write(writer, data, sizeof data))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_content("f", "old");
    assert_ok(cvy_file_write("f", "new", 3)); /* the leftover is in nobody's way */
    assert_content("f", "new");
}

static void a_leftover_of_the_same_name_is_passed_over(void **state) {
    (void)state;
    char name[64];
    for (int n = 0; n < 100; n++) { /* serials up to here are taken */
        snprintf(name, sizeof name, "g.%ld-%d.tmp", (long)getpid(), n);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    assert_ok(cvy_file_write("g", "new", 3));
    assert_content("g", "new");
}

static void two_writers_do_not_mix(void **state) {
    (void)state;
    cvy_writer *a, *b;
    assert_ok(cvy_writer_open("f", &a));
    assert_ok(cvy_writer_open("f", &b));
    assert_ok(cvy_writer_write(a, "aaaa", 4));
    assert_ok(cvy_writer_write(b, "bb", 2));
    assert_ok(cvy_writer_commit(b));
    assert_content("f", "bb");
    assert_ok(cvy_writer_commit(a));
    assert_content("f", "aaaa");
    assert_names("f");
}

static void links_and_modes_are_kept(void **state) {
    (void)state;
    struct stat info;
    assert_ok(cvy_file_write("target", "old", 3));
    assert_int_equal(chmod("target", 0600), 0);
    assert_int_equal(symlink("target", "link"), 0);
    assert_ok(cvy_file_write("link", "new", 3));
    assert_content("target", "new");
    assert_int_equal(lstat("link", &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat("target", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void only_files_are_replaced(void **state) {
    (void)state;
    cvy_writer *writer;
    assert_fails(cvy_writer_open("/dev/null", &writer), CONVOY_IO, "not a regular file");
    assert_null(writer);
    assert_fails(cvy_writer_open(".", &writer), CONVOY_IO, "folder");
    assert_fails(cvy_writer_open("no/such/f", &writer), CONVOY_IO, "No such file");
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_fails(cvy_writer_open("dangling", &writer), CONVOY_IO, "symbolic link");
}

/* ---- folders and paths ---- */

static void folders_are_made_with_their_parents(void **state) {
    char path[128];
    assert_ok(cvy_folder_create("a/b/c"));
    assert_ok(cvy_folder_create("a/b/c"));
    assert_ok(cvy_folder_create("a//b/d/"));
    snprintf(path, sizeof path, "%s/x/y", (char *)*state);
    assert_ok(cvy_folder_create(path));
    assert_true(cvy_folder_exists("a/b/c"));
    assert_true(cvy_folder_exists("a/b/d"));
    assert_true(cvy_folder_exists("x/y"));
    assert_ok(cvy_file_write("a/f", "", 0));
    assert_fails(cvy_folder_create("a/f"), CONVOY_IO, "a file has that name");
    assert_fails(cvy_folder_create("a/f/g"), CONVOY_IO, "a/f");
    assert_false(cvy_folder_exists("a/f"));
    assert_true(cvy_file_exists("a/f"));
    assert_false(cvy_file_exists("a/b"));
    assert_false(cvy_file_exists("nothing"));
}

/* Asked before work starts; nothing is left behind. */
static void outputs_are_tried(void **state) {
    (void)state;
    char **names;
    size_t count;
    assert_ok(cvy_folder_create("out"));
    assert_ok(cvy_file_check_output("out/new"));
    assert_ok(cvy_file_write("out/old", "kept", 4));
    assert_ok(cvy_file_check_output("out/old"));
    assert_fails(cvy_file_check_output("out"), CONVOY_IO, "it is a folder");
    assert_fails(cvy_file_check_output("out/no/new"), CONVOY_IO, "No such file");
    assert_ok(cvy_folder_check("out/a/b/"));
    assert_ok(cvy_folder_check("a-new-one"));
    assert_ok(cvy_folder_check("/"));
    assert_fails(cvy_folder_check("out/old/a/b"), CONVOY_IO, "'out/old' is no folder");
    assert_fails(cvy_folder_check("out/old"), CONVOY_IO, "'out/old' is no folder");
    assert_ok(cvy_folder_list("out", &names, &count));
    assert_int_equal(count, 1);
    cvy_names_free(names, count);
    assert_int_equal(link("out/old", "out/twin"), 0);
    assert_true(cvy_file_same("out/old", "out/../out/old"));
    assert_true(cvy_file_same("out/old", "out/twin"));
    assert_false(cvy_file_same("out/old", "out/new"));
    assert_false(cvy_file_same("out/new", "out/new")); /* it is not there */
}

static void listing_is_sorted_and_complete(void **state) {
    (void)state;
    char name[16], **names;
    size_t count;
    for (int i = 0; i < 150; i++) {
        snprintf(name, sizeof name, "n%03d", (i * 71) % 150);
        assert_ok(cvy_folder_create(name));
    }
    assert_ok(cvy_file_write("B", "", 0));
    assert_ok(cvy_folder_list(".", &names, &count));
    assert_int_equal(count, 151);
    assert_string_equal(names[0], "B"); /* bytewise: capitals first */
    assert_string_equal(names[1], "n000");
    assert_string_equal(names[150], "n149");
    cvy_names_free(names, count);
    assert_ok(cvy_folder_list("n000", &names, &count));
    assert_int_equal(count, 0);
    cvy_names_free(names, count);
    assert_fails(cvy_folder_list("missing", &names, &count), CONVOY_IO, "missing");
}

static void assert_join(const char *folder, const char *name, const char *expected) {
    char *path = cvy_path_join(folder, name);
    assert_string_equal(path, expected);
    free(path);
}

static void paths_join_with_one_slash(void **state) {
    (void)state;
    assert_join("a", "b", "a/b");
    assert_join("a/", "b", "a/b");
    assert_join("/", "b", "/b");
    assert_join("", "b", "b");
}

static void assert_cache(const char *own, const char *xdg, const char *home, const char *expected) {
    own ? setenv("CONVOY_CACHE_DIR", own, 1) : unsetenv("CONVOY_CACHE_DIR");
    xdg ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    char *folder = cvy_cache_folder();
    if (expected) {
        assert_non_null(folder);
        assert_string_equal(folder, expected);
    } else {
        assert_null(folder);
    }
    free(folder);
}

static void cache_folder_follows_the_environment(void **state) {
    (void)state;
    assert_cache("/own", "/xdg", "/home/me", "/own");
    assert_cache("", "/xdg", "/home/me", "/xdg/convoy");
    assert_cache(NULL, "relative", "/home/me", "/home/me/.cache/convoy");
    assert_cache(NULL, NULL, "/home/me", "/home/me/.cache/convoy");
    assert_cache(NULL, NULL, NULL, NULL);
}

static void the_clock_goes_forward(void **state) {
    (void)state;
    double first = cvy_seconds();
    usleep(2000);
    assert_true(cvy_seconds() - first >= 0.002);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(reads_what_was_written),
        IN_FOLDER(appends),
        IN_FOLDER(appending_to_a_full_disk_changes_nothing),
        IN_FOLDER(refuses_what_it_cannot_read),
        IN_FOLDER(reads_files_without_a_size),
        IN_FOLDER(own_files_are_told_from_others),
        IN_FOLDER(signals_do_not_cut_a_read_short),
        IN_FOLDER(nothing_shows_before_commit),
        IN_FOLDER(abandon_leaves_the_old_file),
        IN_FOLDER(large_and_small_pieces_keep_their_order),
        IN_FOLDER(a_full_disk_fails_and_leaves_no_litter),
        IN_FOLDER(a_kill_leaves_the_old_file),
        IN_FOLDER(a_leftover_of_the_same_name_is_passed_over),
        IN_FOLDER(two_writers_do_not_mix),
        IN_FOLDER(links_and_modes_are_kept),
        IN_FOLDER(only_files_are_replaced),
        IN_FOLDER(folders_are_made_with_their_parents),
        IN_FOLDER(listing_is_sorted_and_complete),
        IN_FOLDER(outputs_are_tried),
        cmocka_unit_test(paths_join_with_one_slash),
        cmocka_unit_test(cache_folder_follows_the_environment),
        cmocka_unit_test(the_clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
