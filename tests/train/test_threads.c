/* Two models train at once in two threads, a device each, to the bits that each has alone; and a callback
   stops a run on another thread's word. Under ThreadSanitizer (tools/test.sh threads) without a report. */
#include <pthread.h>
#include <stdatomic.h>

#include "convoy.h"
#include "support/run.h"

static char *folder;

static int open_folder(void **state) {
    (void)state;
    folder = test_folder_create();
    test_tiny_model(folder, "t.yaml",
                    "  optimizer: {SGD: {lr: 0.1, momentum: 0.9}}\n  batch_size: 16\n  epochs: 2\n");
    return 0;
}

static int close_folder(void **state) {
    (void)state;
    test_folder_remove(folder);
    return 0;
}

typedef struct job {
    const char *device, *file;
    convoy_status status;
    char message[256];
    convoy_train_result result;
    convoy_progress_callback *progress;
    void *context;
} job;

static convoy_status fill(void *context, const uint32_t *indices, size_t count, void *pixels,
                          int32_t *labels) {
    (void)context;
    for (size_t i = 0; i < count; i++) {
        labels[i] = (int32_t)(indices[i] % 10);
        for (uint32_t p = 0; p < 64; p++)
            ((uint8_t *)pixels)[i * 64 + p] = (uint8_t)(indices[i] * 7 + p * (1 + indices[i] % 10));
    }
    return CONVOY_OK;
}

/* All of the library that a program of two threads would use in each. */
static void *run(void *argument) {
    job *j = argument;
    convoy_device *device = NULL;
    convoy_model *model = NULL;
    convoy_dataset *set = NULL;
    const convoy_images images = {.count = 70, .channels = 1, .height = 8, .width = 8, .classes = 10};
    const convoy_train_options options = {.progress = j->progress, .context = j->context};
    convoy_status status = convoy_device_open(j->device, &device);
    if (!status)
        status = convoy_model_load(j->file, NULL, &model);
    if (!status)
        status = convoy_dataset_from_function(&images, fill, NULL, &set);
    if (!status)
        status = convoy_train(model, device, set, set, &options, &j->result);
    if (status)
        snprintf(j->message, sizeof j->message, "%s", convoy_error_message());
    convoy_dataset_free(set);
    convoy_model_free(model);
    convoy_device_close(device);
    j->status = status;
    return NULL;
}

static void run_both(job jobs[2]) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &jobs[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

static void together_as_alone(const char *first, const char *second) {
    const char *file = test_path(folder, "t.yaml");
    job together[2] = {{.device = first, .file = file}, {.device = second, .file = file}};
    run_both(together);
    for (int i = 0; i < 2; i++) {
        job alone = {.device = i ? second : first, .file = file};
        run(&alone);
        if (alone.status || together[i].status)
            fail_msg("%s: %s%s", alone.device, alone.message, together[i].message);
        assert_int_equal(alone.result.steps, 10);
        assert_true(alone.result.train_loss == together[i].result.train_loss);
        assert_true(alone.result.test_loss == together[i].result.test_loss);
    }
}

static void host_and_host(void **state) {
    (void)state;
    together_as_alone("host", "host");
}

static void driver_and_host(void **state) {
    (void)state;
    const char *name = getenv("CONVOY_TEST_DEVICE");
    together_as_alone(name ? name : "cpu", "host");
}

/* ---- a stop that another thread decides about ---- */

static atomic_int steps, enough;

static int look(void *context, const convoy_progress *p) {
    (void)context;
    atomic_store(&steps, (int)p->step);
    while (p->step == 3 && !atomic_load(&enough))
        ; /* so that the other one comes in time */
    return !atomic_load(&enough);
}

static void *decide(void *argument) {
    (void)argument;
    while (atomic_load(&steps) < 3)
        ;
    atomic_store(&enough, 1);
    return NULL;
}

static void a_thread_stops_anothers_run(void **state) {
    (void)state;
    job j = {.device = "host", .file = test_path(folder, "t.yaml"), .progress = look};
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, run, &j), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, decide, NULL), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(j.status, CONVOY_INTERRUPTED);
    assert_int_equal(j.result.steps, 3);
    assert_non_null(strstr(j.message, "stopped by the program after step 3"));
}

/* ---- a sink that several threads talk to ---- */

static int heard; /* not atomic: one thread calls it at a time */

static void listen(void *context, convoy_log_level level, const char *message) {
    (void)context, (void)level, (void)message;
    heard++;
}

static void the_sink_hears_one_thread_at_a_time(void **state) {
    (void)state;
    const char *file = test_path(folder, "t.yaml");
    job jobs[2] = {{.device = "no such device", .file = file}, {.device = "host", .file = file}};
    convoy_log_set_level(CONVOY_LOG_DEBUG);
    convoy_log_set_sink(listen, NULL);
    for (int i = 0; i < 3; i++)
        run_both(jobs);
    convoy_log_set_sink(NULL, NULL);
    assert_int_equal(jobs[0].status, CONVOY_DEVICE);
    assert_non_null(strstr(jobs[0].message, "no such device")); /* each thread has its own message */
    assert_int_equal(jobs[1].status, CONVOY_OK);
    const int then = heard;
    run_both(jobs);
    assert_int_equal(heard, then);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_host),
        cmocka_unit_test(driver_and_host),
        cmocka_unit_test(a_thread_stops_anothers_run),
        cmocka_unit_test(the_sink_hears_one_thread_at_a_time),
    };
    return cmocka_run_group_tests(tests, open_folder, close_folder);
}
