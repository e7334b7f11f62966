/* What follows from the answers of the process that measures: which variant wins, what is kept and set aside,
   what the next start asks for. The process is this program, and answers as a script says. */
#include "tune/tune.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "network/network.h"
#include "ops/conv2d/conv2d.h"
#include "ops/gemm/variant.h"
#include "support/images.h"
#include "support/models.h"
#include "support/run.h"
#include "support/test.h"
#include "tune/measure.h"

/* ---- The process that measures ---- */

/* Words of TEST_SCRIPT: "name=answer" or "shape/name=answer"; the first that fits counts. Answers:
   milliseconds, no_build, wrong, crash, hang; of several with commas between, one for each time that it is
   asked, the last one for all further times. TEST_ASKED is the file that all requests are appended to. */
static void write_asked(const char *line) {
    FILE *file = fopen(getenv("TEST_ASKED"), "a");
    if (file) {
        fprintf(file, "%s\n", line);
        fclose(file);
    }
}

static void say(const char *text) {
    if (send(0, text, strlen(text), MSG_NOSIGNAL) < 0)
        _exit(1);
}

/* How often TEST_ASKED has this line. */
static int times_asked(const char *line) {
    char read[256];
    int times = 0;
    FILE *file = fopen(getenv("TEST_ASKED"), "r");
    while (file && fgets(read, sizeof read, file))
        times += strncmp(read, line, strlen(line)) == 0 && read[strlen(line)] == '\n';
    if (file)
        fclose(file);
    return times;
}

static char *answer_to(const char *shape, const char *variant) {
    static char script[4096];
    char both[256];
    snprintf(script, sizeof script, "%s", getenv("TEST_SCRIPT"));
    snprintf(both, sizeof both, "%s/%s", shape, variant);
    char *rest = script, *word;
    while ((word = strsep(&rest, " "))) {
        char *name = strsep(&word, "=");
        if (strcmp(name, variant) == 0 || strcmp(name, both) == 0)
            return word;
    }
    return strcpy(script, "hang");
}

static void answer(char *request) {
    char *fields[5] = {NULL}, *rest = request, text[128];
    for (int i = 0; i < 5; i++)
        fields[i] = strsep(&rest, "\t");
    snprintf(text, sizeof text, "%s %s", fields[2], fields[3]);
    write_asked(text);
    char *answers = answer_to(fields[2], fields[3]), *answer = strsep(&answers, ",");
    for (int times = times_asked(text); answers && times > 1; times--)
        answer = strsep(&answers, ",");
    if (strcmp(answer, "crash") == 0)
        _exit(1);
    if (strcmp(answer, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(answer, "no_build") == 0) {
        snprintf(text, sizeof text, "failed\t%d\tcould not build\n", (int)CONVOY_DEVICE);
        say(text);
        return;
    }
    snprintf(text, sizeof text, "done\t%d\ndone\t%d\n", (int)CVY_STAGE_BUILD, (int)CVY_STAGE_FIRST);
    say(text);
    if (strcmp(answer, "wrong") == 0) {
        snprintf(text, sizeof text, "failed\t%d\twrong values\n", (int)CONVOY_FAILED);
        say(text);
        return;
    }
    snprintf(text, sizeof text, "best\t%.0f\n", 1e6 * atof(answer));
    say(text);
}

static int measure(void) {
    char line[1024];
    size_t used = 0;
    signal(SIGTERM, SIG_DFL);
    write_asked("start");
    say("ready\n");
    for (;;) {
        const ssize_t got = recv(0, line + used, sizeof line - used - 1, 0);
        if (got <= 0)
            return 0;
        used += (size_t)got;
        line[used] = '\0';
        char *end = strchr(line, '\n');
        if (end) {
            *end = '\0';
            used = 0;
            answer(line);
        }
    }
}

/* ---- The side that asks ---- */

static char *folder, *asked, *known;
static char self[512];
static cvy_tuned results[8];
static convoy_device *device;

/* Nothing is known; the device is what drivers of GPUs show, as far as variants go. */
static int set_up(void **state) {
    (void)state;
    const char *selector = getenv("CONVOY_TEST_DEVICE");
    remove(known);
    remove(asked);
    assert_ok(convoy_device_open(selector ? selector : "cpu", &device));
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    traits->cpu = false;
    traits->vector_width = 1;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    convoy_device_close(device);
    return 0;
}

/* The next start of a program on the same device. */
static void start_again(void) {
    tear_down(NULL);
    char *kept = cvy_file_exists(known) ? test_read_text(known, NULL) : strdup("");
    set_up(NULL);
    assert_ok(cvy_file_write(known, kept, strlen(kept)));
    free(kept);
}

static void assert_asked(const char *expected) {
    char *text = cvy_file_exists(asked) ? test_read_text(asked, NULL) : strdup("");
    assert_string_equal(text, expected);
    free(text);
    remove(asked);
}

static cvy_task product(size_t m, size_t n, size_t k, int uses) {
    cvy_task task = cvy_task_of(&cvy_gemm_op, &(cvy_gemm_shape){.m = m, .n = n, .k = k}, 0);
    task.option_of = &cvy_gemm_clblast;
    task.uses = uses;
    return task;
}

static cvy_task convolution(int channels) {
    cvy_conv2d_shape shape = {.pitch = 128,
                              .in_channels = channels,
                              .in_height = 14,
                              .in_width = 14,
                              .out_channels = channels,
                              .kernel = {3, 3},
                              .stride = {1, 1},
                              .padding = {1, 1},
                              .dilation = {1, 1},
                              .groups = 1};
    assert_ok(cvy_conv2d_infer(&shape));
    return cvy_task_of(&cvy_conv2d_op, &shape, CVY_CONV2D_FORWARD);
}

static convoy_status tune(const char *script, const cvy_task *tasks, size_t count, double limit) {
    setenv("TEST_SCRIPT", script, 1);
    return cvy_tune(device, tasks, count,
                    &(cvy_tune_options){.seconds = 0.001, .limit = limit, .build_limit = limit}, results);
}

static const cvy_key parameters = {.op = "gemm", .pass = "clblast", .shape = "*"};

static const char *found_for(const cvy_task *task) {
    const cvy_key key = cvy_task_key(task);
    return cvy_choice_find(device, &key);
}

static const char *aside_for(const cvy_task *task, const char *variant) {
    const cvy_key key = cvy_task_key(task);
    return cvy_choice_aside(device, &key, variant);
}

static const char *best_set(void) {
    const char *best = cvy_choice_find(device, &parameters);
    return best ? best : "";
}

/* What one product likes best loses where the network's other products, and how often it runs each, outweigh
   it. Sets are outside, products inside, and CLBlast's own set has a process to itself. */
static void sets_by_their_sum(void **state) {
    (void)state;
    const cvy_task tasks[] = {convolution(7), product(5, 6, 7, 1), product(8, 9, 10, 3)};
    assert_ok(tune("tile_gpu=1 im2col_gemm=2 winograd_gpu=3 default=5 nn,5,6,7/local_128=1 "
                   "nn,8,9,10/local_128=6 nn,5,6,7/local_64=7 nn,8,9,10/local_64=4 plain_64=5 plain_128=5 "
                   "tiles_64=5",
                   tasks, 3, 60));
    char *text = test_read_text(asked, NULL), *sets = strstr(text, "start\nnn,5,6,7 default");
    assert_non_null(sets);
    assert_string_equal(sets,
                        "start\nnn,5,6,7 default\nnn,8,9,10 default\n"
                        "nn,5,6,7 local_128\nnn,8,9,10 local_128\nnn,5,6,7 local_64\nnn,8,9,10 local_64\n"
                        "nn,5,6,7 plain_64\nnn,8,9,10 plain_64\nnn,5,6,7 plain_128\nnn,8,9,10 plain_128\n"
                        "nn,5,6,7 tiles_64\nnn,8,9,10 tiles_64\n");
    free(text);
    assert_string_equal(best_set(), "local_64"); /* 7 + 3 * 4 < 1 + 3 * 6 < 5 + 3 * 5 */
    assert_string_equal(results[1].variants[results[1].winner].name, "local_64");
    assert_string_equal(results[2].variants[results[2].winner].name, "local_64");
    assert_string_equal(found_for(&tasks[0]), "tile_gpu");
}

/* A set that fails in any way, for one product or for all, twice, is out for good; the others are compared.
 */
static void bad_sets(void **state) {
    (void)state;
    const cvy_task tasks[] = {product(5, 6, 7, 1), product(8, 9, 10, 1)};
    assert_ok(tune("default=crash local_128=no_build local_64=9 nn,8,9,10/plain_64=wrong plain_64=1 "
                   "plain_128=hang tiles_64=8",
                   tasks, 2, 1));
    assert_string_equal(best_set(), "tiles_64");
    static const char *const bad[] = {"default", "local_128", "plain_64", "plain_128"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(cvy_choice_aside(device, &parameters, bad[i]));
    start_again();
    remove(asked);
    assert_ok(tune("local_64=9 tiles_64=10", tasks, 2, 1));
    assert_asked("start\nnn,5,6,7 local_64\nnn,8,9,10 local_64\nnn,5,6,7 tiles_64\nnn,8,9,10 tiles_64\n");
    assert_string_equal(best_set(), "local_64");
    assert_ok(tune("local_64=wrong tiles_64=crash", tasks, 2, 1));
    assert_string_equal(best_set(), ""); /* none is left, and it is no failure */
}

/* What fails once and then passes is measured like the others; each second try has a process of its own. */
static void passing_failures(void **state) {
    (void)state;
    const cvy_task tasks[] = {convolution(7)};
    const char *shape = cvy_task_key(&tasks[0]).shape;
    char text[512];
    assert_ok(tune("tile_gpu=crash,1 im2col_gemm=no_build,3 winograd_gpu=wrong,4", tasks, 1, 60));
    cvy_text expected = {0};
    static const char *const names[] = {"tile_gpu", "winograd_gpu", "im2col_gemm"};
    for (size_t i = 0; i < 3; i++)
        assert_null(aside_for(&tasks[0], names[i]));
    for (size_t i = 0; i < results[0].count; i++)
        assert_int_equal(results[0].variants[i].outcome, CVY_OUTCOME_TIMED);
    cvy_text_add(&expected, "start\n");
    for (size_t i = 0; i < results[0].count; i++)
        cvy_text_add(&expected, "%s %s\nstart\n%s %s\n", shape, results[0].variants[i].name, shape,
                     results[0].variants[i].name);
    snprintf(text, sizeof text, "%s", expected.data);
    cvy_text_free(&expected);
    assert_asked(text);
    assert_string_equal(found_for(&tasks[0]), "tile_gpu");
}

/* ---- Automatic tuning ---- */

static convoy_status tune_briefly(const char *script, const cvy_task *tasks, size_t count, double give_up) {
    setenv("TEST_SCRIPT", script, 1);
    return cvy_tune(device, tasks, count,
                    &(cvy_tune_options){.seconds = 0.001,
                                        .limit = 60,
                                        .build_limit = 60,
                                        .deadline = cvy_seconds() + 1,
                                        .likely = 2,
                                        .give_up = give_up},
                    results);
}

/* What the first start measured, the second one does not ask for again; what the first one was stopped in is
   tried until it has cost too much. */
static void goes_on(void **state) {
    (void)state;
    const cvy_task tasks[] = {convolution(7), convolution(9)};
    char expected[512];
    assert_ok(tune_briefly("tile_gpu=2 im2col_gemm=hang", tasks, 2, 10));
    snprintf(expected, sizeof expected, "start\n%s tile_gpu\n%s im2col_gemm\n", cvy_task_key(&tasks[0]).shape,
             cvy_task_key(&tasks[0]).shape);
    assert_asked(expected);
    assert_null(found_for(&tasks[0]));
    start_again();
    assert_ok(tune_briefly("tile_gpu=2 im2col_gemm=1", tasks, 2, 10));
    snprintf(expected, sizeof expected, "start\n%s im2col_gemm\n%s tile_gpu\n%s im2col_gemm\n",
             cvy_task_key(&tasks[0]).shape, cvy_task_key(&tasks[1]).shape, cvy_task_key(&tasks[1]).shape);
    assert_asked(expected);
    assert_string_equal(found_for(&tasks[0]), "im2col_gemm");
    assert_string_equal(found_for(&tasks[1]), "im2col_gemm");
}

static void gives_up(void **state) {
    (void)state;
    const cvy_task tasks[] = {convolution(7)};
    assert_ok(tune_briefly("tile_gpu=2 im2col_gemm=hang", tasks, 1, 0.1));
    assert_null(found_for(&tasks[0]));
    start_again();
    assert_ok(tune_briefly("", tasks, 1, 0.1));
    assert_asked(""); /* nothing is left to measure, and the one that was measured is the best */
    assert_string_equal(found_for(&tasks[0]), "tile_gpu");
    assert_null(aside_for(&tasks[0], "im2col_gemm"));
}

/* Where there is no time for a second try, the failure holds for this run alone, and nothing that was chosen
   without the variant is kept. */
static void one_failure_and_no_time(void **state) {
    (void)state;
    const cvy_task tasks[] = {convolution(7)};
    assert_ok(tune_briefly("tile_gpu=wrong,hang im2col_gemm=2", tasks, 1, 10));
    assert_string_equal(aside_for(&tasks[0], "tile_gpu"), "wrong values");
    assert_null(found_for(&tasks[0]));
    start_again();
    assert_null(aside_for(&tasks[0], "tile_gpu"));
    assert_ok(tune_briefly("tile_gpu=1 im2col_gemm=2", tasks, 1, 10));
    assert_string_equal(found_for(&tasks[0]), "tile_gpu");
}

/* A set that there was no time for keeps none that is better than CLBlast's own from serving. */
static void half_of_the_sets(void **state) {
    (void)state;
    const cvy_task tasks[] = {product(5, 6, 7, 1)};
    assert_ok(tune_briefly("default=3 local_128=2 local_64=hang", tasks, 1, 10));
    assert_string_equal(best_set(), "local_128");
    start_again();
    assert_ok(tune_briefly("local_64=1 plain_64=9 plain_128=9 tiles_64=9", tasks, 1, 10));
    assert_asked("start\nnn,5,6,7 local_64\nnn,5,6,7 plain_64\nnn,5,6,7 plain_128\nnn,5,6,7 tiles_64\n");
    assert_string_equal(best_set(), "local_64");
}

/* All variants answer. */
static void set_equal_script(void) {
    cvy_text script = {0};
    for (const cvy_variant *const *v = cvy_conv2d_op.variants; *v; v++)
        cvy_text_add(&script, "%s=1 ", (*v)->name);
    for (const char *const *name = cvy_gemm_clblast.option->names; *name; name++)
        cvy_text_add(&script, "%s=1 ", *name);
    setenv("TEST_SCRIPT", script.data, 1);
    cvy_text_free(&script);
}

/* What is asked for a convolution: the two variants that the heuristics prefer. */
static void add_two(cvy_text *expected, const cvy_task *task) {
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const size_t count = cvy_task_candidates(device, task, candidates);
    int found = 0;
    for (size_t i = 0; i < count && found < 2; i++)
        if (candidates[i].fit == CVY_FIT_LIKELY) {
            cvy_text_add(expected, "%s %s\n", cvy_task_key(task).shape, candidates[i].name);
            found++;
        }
    assert_int_equal(found, 2);
}

/* The largest part of a step first, several uses of a shape together; what is too small not at all. */
static void largest_first(void **state) {
    (void)state;
    cvy_task tasks[] = {convolution(7), convolution(200), convolution(260), product(4096, 128, 9216, 1)};
    cvy_text expected = {0};
    tasks[1].uses = 3;
    cvy_text_add(&expected, "start\n");
    add_two(&expected, &tasks[1]);
    add_two(&expected, &tasks[2]);
    cvy_text_add(&expected, "start\n");
    for (const char *const *name = cvy_gemm_clblast.option->names; *name; name++)
        cvy_text_add(&expected, "%s %s\n", cvy_task_key(&tasks[3]).shape, *name);
    set_equal_script();
    setenv("CONVOY_TUNE", "60", 1);
    cvy_tune_automatically(device, tasks, 4);
    assert_asked(expected.data);
    assert_string_equal(best_set(), "default");
    cvy_tune_automatically(device, tasks, 4);
    assert_asked("");
    unsetenv("CONVOY_TUNE");
    cvy_text_free(&expected);
}

/* Another network's products may have another best set, which needs no measuring when it comes back. */
static void networks_take_turns(void **state) {
    (void)state;
    const cvy_task one = product(4096, 128, 9216, 1), other = product(4096, 256, 9216, 1);
    setenv("CONVOY_TUNE", "60", 1);
    setenv("TEST_SCRIPT",
           "nn,4096,128,9216/local_64=1 nn,4096,256,9216/plain_64=1 default=3 local_128=3 "
           "local_64=3 plain_64=3 plain_128=3 tiles_64=3",
           1);
    cvy_tune_automatically(device, &one, 1);
    assert_string_equal(best_set(), "local_64");
    cvy_tune_automatically(device, &other, 1);
    assert_string_equal(best_set(), "plain_64");
    start_again();
    cvy_tune_automatically(device, &one, 1);
    assert_string_equal(best_set(), "local_64");
    assert_asked("");
    unsetenv("CONVOY_TUNE");
}

/* ---- What a network asks for ---- */

/* Tasks of choosing a variant of gemm, or CLBlast's parameters. */
static size_t tasks_of(convoy_model *model, const char *variant, bool parameters_of, int *uses) {
    cvy_task *tasks = NULL;
    size_t count = 0, found = 0;
    const cvy_network_options options = {.batch_size = 16, .training = true, .variant = variant};
    assert_ok(cvy_network_tasks(model, device, &options, &tasks, &count));
    *uses = 0;
    for (size_t i = 0; i < count; i++)
        if (tasks[i].op == &cvy_gemm_op && !!tasks[i].option_of == parameters_of) {
            found++;
            *uses += tasks[i].uses;
        }
    free(tasks);
    return found;
}

/* The products of all passes, each shape once with its uses, where CLBlast runs them: on GPUs, and elsewhere
   where it is forced. */
static void products_of_a_network(void **state) {
    (void)state;
    convoy_model *model = test_model("name: three\ninput: [48, 1, 1]\nlayers:\n  - Flatten\n"
                                     "  - Linear: {out_features: 48}\n  - Linear: {out_features: 48}\n"
                                     "  - Linear: {out_features: 10}\n");
    int uses;
    assert_int_equal(tasks_of(model, NULL, true, &uses), 6); /* of 48 -> 48 and of 48 -> 10 */
    assert_int_equal(uses, 8);                               /* the first layer's input needs no gradient */
    assert_int_equal(tasks_of(model, NULL, false, &uses), 6);
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    traits->cpu = true;
    assert_int_equal(tasks_of(model, NULL, true, &uses), 0);
    assert_int_equal(tasks_of(model, "gemm=clblast", true, &uses), 6);
    assert_int_equal(tasks_of(model, "gemm=clblast", false, &uses), 0);
    convoy_model_free(model);
}

/* A network that is opened measures what is new in it; one that resumes a run computes as that did. */
static void opening_a_network(void **state) {
    (void)state;
    convoy_model *model = test_model("name: one\ninput: [64, 16, 16]\nlayers:\n"
                                     "  - Conv2d: {out_channels: 64, kernel_size: 3, padding: 1}\n");
    convoy_network *network = NULL;
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    traits->cpu = true;
    traits->vector_width = 16;
    set_equal_script();
    setenv("CONVOY_TUNE", "60", 1);
    cvy_network_options options = {.batch_size = 128, .as_before = true};
    assert_ok(cvy_network_create(model, device, &options, &network));
    assert_asked("");
    convoy_network_close(network);
    options.as_before = false;
    assert_ok(cvy_network_create(model, device, &options, &network));
    convoy_network_close(network);
    cvy_task task;
    cvy_text expected = {0};
    assert_true(cvy_task_read(&(cvy_key){"conv2d", "forward", "128,64,16,16,64,3,3,1,1,1,1,1,1,1"}, &task));
    cvy_text_add(&expected, "start\n");
    add_two(&expected, &task);
    assert_asked(expected.data);
    cvy_text_free(&expected);
    assert_ok(cvy_network_create(model, device, &options, &network));
    convoy_network_close(network);
    assert_asked("");
    unsetenv("CONVOY_TUNE");
    convoy_model_free(model);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "measure-variants") == 0)
        return measure();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sets_by_their_sum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_sets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passing_failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_failure_and_no_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gives_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_of_the_sets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(largest_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(networks_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(products_of_a_network, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opening_a_network, set_up, tear_down),
    };
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return 1;
    setenv("CONVOY_HELPER", self, 1);
    setenv("CONVOY_DRIVER_CHECK", "0", 1); /* this helper knows nothing of drivers */
    folder = test_folder_create();
    asked = cvy_path_join(folder, "asked");
    known = cvy_path_join(folder, "tuning.txt");
    setenv("TEST_ASKED", asked, 1);
    setenv("CONVOY_CACHE_DIR", folder, 1);
    unsetenv("CONVOY_TUNE");
    const int failed = cmocka_run_group_tests_name("tune", tests, NULL, NULL);
    free(asked);
    free(known);
    test_folder_remove(folder);
    return failed;
}
