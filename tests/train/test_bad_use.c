/* Every public function called with NULL, sizes that cannot be, and in the wrong order: an error that names
   it, never a crash. What was closed is told from what is open where the library was built for that. */
#include "convoy.h"
#include "support/run.h"

typedef struct fixture {
    char *folder;
    convoy_device *device;
    convoy_model *model;
    convoy_dataset *set;
} fixture;

static const uint8_t pixels[4 * 64];
static const int32_t labels[4] = {0, 1, 2, 9};

static int open_fixture(void **state) {
    static fixture f;
    f.folder = test_folder_create();
    const convoy_images images = {
        .count = 4, .channels = 1, .height = 8, .width = 8, .pixels = pixels, .labels = labels};
    assert_ok(convoy_device_open("host", &f.device));
    assert_ok(convoy_model_load(test_tiny_model(f.folder, "t.yaml", "  batch_size: 2\n"), NULL, &f.model));
    assert_ok(convoy_dataset_from_memory(&images, &f.set));
    *state = &f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    convoy_dataset_free(f->set);
    convoy_model_free(f->model);
    convoy_device_close(f->device);
    test_folder_remove(f->folder);
    return 0;
}

/* An earlier test's message must not pass for this one's. */
static void forget(void) {
    cvy_fail(CONVOY_FAILED, "nothing");
}

#define REFUSES(function, ...)                                                                               \
    do {                                                                                                     \
        forget();                                                                                            \
        assert_fails(function(__VA_ARGS__), CONVOY_INVALID, #function);                                      \
    } while (0)
/* One that returns no status. */
#define TELLS(function, ...)                                                                                 \
    do {                                                                                                     \
        forget();                                                                                            \
        (void)function(__VA_ARGS__);                                                                         \
        assert_non_null(strstr(convoy_error_message(), #function));                                          \
    } while (0)
#define GIVES_NOTHING(function, ...)                                                                         \
    do {                                                                                                     \
        TELLS(function, __VA_ARGS__);                                                                        \
        assert_true(!function(__VA_ARGS__));                                                                 \
    } while (0)

static void devices(void **state) {
    const fixture *f = *state;
    const convoy_device_info *const *list;
    size_t count;
    REFUSES(convoy_device_list, NULL, &count);
    REFUSES(convoy_device_list, &list, NULL);
    REFUSES(convoy_device_open, "host", NULL);
    GIVES_NOTHING(convoy_device_get_info, NULL);
    REFUSES(convoy_device_set_precision, NULL, CONVOY_FLOAT32);
    REFUSES(convoy_device_set_precision, f->device, (convoy_precision)77);
    REFUSES(convoy_device_verify, NULL, 1);
    REFUSES(convoy_device_verify, f->device, -1);
    convoy_device_list_free(NULL);
    convoy_device_close(NULL);
}

static void models(void **state) {
    const fixture *f = *state;
    convoy_model *model;
    int shape[3] = {7, 7, 7};
    convoy_model_options odd = {.size = 3}, missing = {.setting_count = 1};
    REFUSES(convoy_model_load, NULL, NULL, &model);
    REFUSES(convoy_model_load, "x.yaml", NULL, NULL);
    REFUSES(convoy_model_load, "x.yaml", &odd, &model);
    REFUSES(convoy_model_load, "x.yaml", &missing, &model);
    TELLS(convoy_model_name, NULL);
    TELLS(convoy_model_input, NULL, shape);
    assert_int_equal(shape[0], 0);
    TELLS(convoy_model_input, f->model, NULL);
    TELLS(convoy_model_image, NULL, shape);
    TELLS(convoy_model_image, f->model, NULL);
    GIVES_NOTHING(convoy_model_classes, NULL);
    TELLS(convoy_model_class_name, NULL, 0);
    assert_string_equal(convoy_model_class_name(f->model, -1), "");
    assert_string_equal(convoy_model_class_name(f->model, 10), "");
    GIVES_NOTHING(convoy_model_layer_count, NULL);
    GIVES_NOTHING(convoy_model_layer, NULL, 0);
    assert_null(convoy_model_layer(f->model, 1000));
    GIVES_NOTHING(convoy_model_tensor_count, NULL);
    GIVES_NOTHING(convoy_model_tensor, NULL, 0);
    assert_null(convoy_model_tensor(f->model, 1000));
    REFUSES(convoy_model_initialise, NULL, 1);
    REFUSES(convoy_model_load_weights, NULL, "x");
    REFUSES(convoy_model_load_weights, f->model, NULL);
    REFUSES(convoy_model_save_weights, NULL, "x");
    REFUSES(convoy_model_save_weights, f->model, NULL);
    convoy_model_free(NULL);
}

static void networks_and_predictors(void **state) {
    const fixture *f = *state;
    convoy_network *network;
    convoy_predictor *predictor;
    float image[64] = {0}, outputs[10];
    const convoy_picture picture = {.pixels = pixels, .channels = 1, .height = 8, .width = 8},
                         odd = {.size = 5}, *const none[] = {NULL}, *const wrong[] = {&odd};
    REFUSES(convoy_network_open, NULL, f->device, 1, &network);
    REFUSES(convoy_network_open, f->model, NULL, 1, &network);
    REFUSES(convoy_network_open, f->model, f->device, 1, NULL);
    forget();
    assert_fails(convoy_network_open(f->model, f->device, 0, &network), CONVOY_INVALID,
                 "a batch of 0 images");
    assert_ok(convoy_network_open(f->model, f->device, 1, &network));
    REFUSES(convoy_network_predict, NULL, image, 1, outputs);
    REFUSES(convoy_network_predict, network, NULL, 1, outputs);
    REFUSES(convoy_network_predict, network, image, 1, NULL);
    convoy_network_close(network);
    convoy_network_close(NULL);
    REFUSES(convoy_predictor_open, NULL, f->device, 1, &predictor);
    REFUSES(convoy_predictor_open, f->model, NULL, 1, &predictor);
    REFUSES(convoy_predictor_open, f->model, f->device, 1, NULL);
    REFUSES(convoy_predictor_open, f->model, f->device, -1, &predictor);
    assert_ok(convoy_predictor_open(f->model, f->device, 1, &predictor));
    REFUSES(convoy_predictor_run, NULL, none, 1, outputs, NULL);
    REFUSES(convoy_predictor_run, predictor, NULL, 1, outputs, NULL);
    REFUSES(convoy_predictor_run, predictor, none, 1, outputs, NULL);
    REFUSES(convoy_predictor_run, predictor, wrong, 1, outputs, NULL);
    convoy_predictor_close(predictor);
    convoy_predictor_close(NULL);
    REFUSES(convoy_model_prepare, NULL, &picture, image);
    REFUSES(convoy_model_prepare, f->model, NULL, image);
    REFUSES(convoy_model_prepare, f->model, &picture, NULL);
}

static convoy_status fill(void *context, const uint32_t *indices, size_t count, void *to, int32_t *classes) {
    (void)context, (void)indices, (void)count, (void)to, (void)classes;
    return CONVOY_OK;
}

static void datasets(void **state) {
    const fixture *f = *state;
    convoy_dataset *set;
    uint8_t image[64];
    const convoy_images good = {.count = 4, .channels = 1, .height = 8, .width = 8, .pixels = pixels};
    const convoy_dataset_options odd = {.size = 1 << 20};
    REFUSES(convoy_dataset_open, NULL, "train", NULL, &set);
    REFUSES(convoy_dataset_open, "synthetic", NULL, NULL, &set);
    REFUSES(convoy_dataset_open, "synthetic", "train", &odd, &set);
    REFUSES(convoy_dataset_open, "synthetic", "train", NULL, NULL);
    REFUSES(convoy_dataset_from_memory, NULL, &set);
    REFUSES(convoy_dataset_from_memory, &good, NULL);
    REFUSES(convoy_dataset_from_function, NULL, fill, NULL, &set);
    REFUSES(convoy_dataset_from_function, &good, fill, NULL, &set); /* it has pixels */
    REFUSES(convoy_dataset_from_function, &good, NULL, NULL, &set);
    REFUSES(convoy_dataset_from_function, &good, fill, NULL, NULL);
    TELLS(convoy_dataset_name, NULL);
    GIVES_NOTHING(convoy_dataset_count, NULL);
    GIVES_NOTHING(convoy_dataset_channels, NULL);
    GIVES_NOTHING(convoy_dataset_height, NULL);
    GIVES_NOTHING(convoy_dataset_width, NULL);
    GIVES_NOTHING(convoy_dataset_classes, NULL);
    TELLS(convoy_dataset_class_name, NULL, 0);
    assert_string_equal(convoy_dataset_class_name(f->set, -1), "?");
    TELLS(convoy_dataset_label, NULL, 0);
    assert_int_equal(convoy_dataset_label(f->set, 99), -1);
    TELLS(convoy_dataset_path, NULL, 0);
    REFUSES(convoy_dataset_image, NULL, 0, image);
    REFUSES(convoy_dataset_image, f->set, 0, NULL);
    REFUSES(convoy_dataset_image, f->set, 4, image);
    REFUSES(convoy_dataset_split, NULL, 0.5, 1, &set);
    REFUSES(convoy_dataset_split, f->set, 0.5, 1, NULL);
    REFUSES(convoy_dataset_split, f->set, 0, 1, &set);
    REFUSES(convoy_dataset_split, f->set, NAN, 1, &set);
    REFUSES(convoy_image_load, NULL, 1, 8, 8, image);
    REFUSES(convoy_image_load, "x.png", 1, 8, 8, NULL);
    REFUSES(convoy_image_load, "x.png", 2, 8, 8, image);
    convoy_dataset_free(NULL);
}

static void training(void **state) {
    const fixture *f = *state;
    convoy_trainer *t;
    const convoy_evaluation *e;
    convoy_train_options odd = {.size = 7}, one = {.max_steps = 1};
    convoy_train_result result = {.size = 9};
    convoy_progress progress = {.size = 9};
    REFUSES(convoy_train, NULL, f->device, f->set, NULL, NULL, NULL);
    REFUSES(convoy_train, f->model, NULL, f->set, NULL, NULL, NULL);
    REFUSES(convoy_train, f->model, f->device, NULL, NULL, NULL, NULL);
    REFUSES(convoy_train, f->model, f->device, f->set, NULL, &odd, NULL);
    result.size = 5000;
    REFUSES(convoy_train, f->model, f->device, f->set, NULL, NULL, &result);
    REFUSES(convoy_trainer_open, NULL, f->device, f->set, NULL, NULL, &t);
    REFUSES(convoy_trainer_open, f->model, NULL, f->set, NULL, NULL, &t);
    REFUSES(convoy_trainer_open, f->model, f->device, NULL, NULL, NULL, &t);
    REFUSES(convoy_trainer_open, f->model, f->device, f->set, NULL, NULL, NULL);
    REFUSES(convoy_trainer_open, f->model, f->device, f->set, NULL, &odd, &t);
    REFUSES(convoy_trainer_step, NULL, NULL);
    REFUSES(convoy_trainer_epoch, NULL);
    REFUSES(convoy_trainer_evaluate, NULL, NULL, NULL);
    GIVES_NOTHING(convoy_trainer_learning_rate, NULL);
    REFUSES(convoy_trainer_set_learning_rate, NULL, 0.1);
    REFUSES(convoy_trainer_progress, NULL, &progress);
    REFUSES(convoy_trainer_fetch, NULL);
    REFUSES(convoy_trainer_save, NULL);
    assert_ok(convoy_trainer_open(f->model, f->device, f->set, NULL, &one, &t));
    progress.size = 5000;
    REFUSES(convoy_trainer_step, t, &progress);
    REFUSES(convoy_trainer_progress, t, &progress);
    REFUSES(convoy_trainer_progress, t, NULL);
    REFUSES(convoy_trainer_evaluate, t, NULL, NULL); /* no test set */
    REFUSES(convoy_trainer_save, t);                 /* no folder */
    REFUSES(convoy_trainer_set_learning_rate, t, -1);
    REFUSES(convoy_trainer_set_learning_rate, t, NAN);
    assert_ok(convoy_trainer_epoch(t));
    REFUSES(convoy_trainer_epoch, t); /* max_steps are done */
    convoy_trainer_close(t);
    convoy_trainer_close(NULL);
    REFUSES(convoy_evaluate, NULL, f->device, f->set, 0, &e);
    REFUSES(convoy_evaluate, f->model, NULL, f->set, 0, &e);
    REFUSES(convoy_evaluate, f->model, f->device, NULL, 0, &e);
    REFUSES(convoy_evaluate, f->model, f->device, f->set, 0, NULL);
    convoy_evaluation_free(NULL);
}

/* ---- closed objects: all of them first, so that nothing new lies at the address of one ---- */

#ifdef CVY_CHECK_OBJECTS

typedef struct closed {
    convoy_device *device;
    convoy_model *model;
    convoy_dataset *set;
    convoy_network *network;
    convoy_predictor *predictor;
    convoy_trainer *trainer;
    const convoy_evaluation *evaluation;
} closed;

static closed close_all(const fixture *f) {
    const convoy_train_options one = {.max_steps = 1};
    const convoy_images images = {
        .count = 4, .channels = 1, .height = 8, .width = 8, .pixels = pixels, .labels = labels};
    closed c;
    assert_ok(convoy_device_open("host", &c.device));
    assert_ok(convoy_model_load(test_path(f->folder, "t.yaml"), NULL, &c.model));
    assert_ok(convoy_dataset_from_memory(&images, &c.set));
    assert_ok(convoy_network_open(f->model, f->device, 1, &c.network));
    assert_ok(convoy_predictor_open(f->model, f->device, 1, &c.predictor));
    assert_ok(convoy_trainer_open(f->model, f->device, f->set, NULL, &one, &c.trainer));
    assert_ok(convoy_evaluate(f->model, f->device, f->set, 0, &c.evaluation));
    convoy_evaluation_free(c.evaluation);
    convoy_trainer_close(c.trainer);
    convoy_predictor_close(c.predictor);
    convoy_network_close(c.network);
    convoy_dataset_free(c.set);
    convoy_model_free(c.model);
    convoy_device_close(c.device);
    return c;
}

static void closed_once_more(const closed *c) {
    TELLS(convoy_evaluation_free, c->evaluation);
    TELLS(convoy_trainer_close, c->trainer);
    TELLS(convoy_predictor_close, c->predictor);
    TELLS(convoy_network_close, c->network);
    TELLS(convoy_dataset_free, c->set);
    TELLS(convoy_model_free, c->model);
    TELLS(convoy_device_close, c->device);
}

static void closed_models_and_devices(const fixture *f, const closed *c) {
    int shape[3];
    float image[64], outputs[10];
    convoy_network *network;
    convoy_predictor *predictor;
    const convoy_picture picture = {.pixels = pixels, .channels = 1, .height = 8, .width = 8},
                         *const pictures[] = {&picture};
    REFUSES(convoy_device_set_precision, c->device, CONVOY_FLOAT32);
    REFUSES(convoy_device_verify, c->device, 1);
    GIVES_NOTHING(convoy_device_get_info, c->device);
    TELLS(convoy_model_name, c->model);
    TELLS(convoy_model_input, c->model, shape);
    TELLS(convoy_model_image, c->model, shape);
    GIVES_NOTHING(convoy_model_classes, c->model);
    TELLS(convoy_model_class_name, c->model, 0);
    GIVES_NOTHING(convoy_model_layer_count, c->model);
    GIVES_NOTHING(convoy_model_layer, c->model, 0);
    GIVES_NOTHING(convoy_model_tensor_count, c->model);
    GIVES_NOTHING(convoy_model_tensor, c->model, 0);
    REFUSES(convoy_model_initialise, c->model, 1);
    REFUSES(convoy_model_load_weights, c->model, "x");
    REFUSES(convoy_model_save_weights, c->model, "x");
    REFUSES(convoy_model_prepare, c->model, &picture, image);
    REFUSES(convoy_network_open, c->model, f->device, 1, &network);
    REFUSES(convoy_network_open, f->model, c->device, 1, &network);
    REFUSES(convoy_network_predict, c->network, image, 1, outputs);
    REFUSES(convoy_predictor_open, c->model, f->device, 1, &predictor);
    REFUSES(convoy_predictor_open, f->model, c->device, 1, &predictor);
    REFUSES(convoy_predictor_run, c->predictor, pictures, 1, outputs, NULL);
}

static void closed_sets(const closed *c) {
    uint8_t image[64];
    convoy_dataset *part;
    TELLS(convoy_dataset_name, c->set);
    GIVES_NOTHING(convoy_dataset_count, c->set);
    GIVES_NOTHING(convoy_dataset_channels, c->set);
    GIVES_NOTHING(convoy_dataset_height, c->set);
    GIVES_NOTHING(convoy_dataset_width, c->set);
    GIVES_NOTHING(convoy_dataset_classes, c->set);
    TELLS(convoy_dataset_class_name, c->set, 0);
    TELLS(convoy_dataset_label, c->set, 0);
    TELLS(convoy_dataset_path, c->set, 0);
    REFUSES(convoy_dataset_image, c->set, 0, image);
    REFUSES(convoy_dataset_split, c->set, 0.5, 1, &part);
}

static void closed_training(const fixture *f, const closed *c) {
    convoy_progress progress = {.size = sizeof progress};
    convoy_trainer *trainer;
    const convoy_evaluation *evaluation;
    REFUSES(convoy_train, c->model, f->device, f->set, NULL, NULL, NULL);
    REFUSES(convoy_train, f->model, c->device, f->set, NULL, NULL, NULL);
    REFUSES(convoy_train, f->model, f->device, c->set, NULL, NULL, NULL);
    REFUSES(convoy_train, f->model, f->device, f->set, c->set, NULL, NULL);
    REFUSES(convoy_trainer_open, c->model, f->device, f->set, NULL, NULL, &trainer);
    REFUSES(convoy_trainer_open, f->model, c->device, f->set, NULL, NULL, &trainer);
    REFUSES(convoy_trainer_open, f->model, f->device, c->set, NULL, NULL, &trainer);
    REFUSES(convoy_trainer_open, f->model, f->device, f->set, c->set, NULL, &trainer);
    REFUSES(convoy_trainer_step, c->trainer, NULL);
    REFUSES(convoy_trainer_epoch, c->trainer);
    REFUSES(convoy_trainer_evaluate, c->trainer, NULL, NULL);
    GIVES_NOTHING(convoy_trainer_learning_rate, c->trainer);
    REFUSES(convoy_trainer_set_learning_rate, c->trainer, 0.1);
    REFUSES(convoy_trainer_progress, c->trainer, &progress);
    REFUSES(convoy_trainer_fetch, c->trainer);
    REFUSES(convoy_trainer_save, c->trainer);
    REFUSES(convoy_evaluate, c->model, f->device, f->set, 0, &evaluation);
    REFUSES(convoy_evaluate, f->model, c->device, f->set, 0, &evaluation);
    REFUSES(convoy_evaluate, f->model, f->device, c->set, 0, &evaluation);
}

static void closed_objects(void **state) {
    const fixture *f = *state;
    const closed c = close_all(f);
    closed_once_more(&c);
    closed_models_and_devices(f, &c);
    closed_sets(&c);
    closed_training(f, &c);
}

#else

static void closed_objects(void **state) {
    (void)state;
    skip();
}

#endif

/* Functions that take nothing that could be wrong, and values that no enumeration has. */
static void what_takes_anything(void **state) {
    (void)state;
    convoy_log_set_sink(NULL, NULL);
    convoy_log_set_level((convoy_log_level)99);
    convoy_log_set_level(CONVOY_LOG_INFO);
    assert_string_equal(convoy_status_name((convoy_status)99), "UNKNOWN");
    assert_true(convoy_status_exit_code((convoy_status)99) != 0);
    assert_non_null(convoy_error_message());
    assert_non_null(convoy_version());
}

/* A new function is not forgotten here. */
static void every_public_function_is_called(void **state) {
    (void)state;
    char *own = test_read_text(CONVOY_SOURCE_DIR "/tests/train/test_bad_use.c", NULL),
         *symbols = test_read_text(CONVOY_SOURCE_DIR "/tests/symbols.txt", NULL);
    int count = 0;
    for (char *line = strtok(symbols, "\n"); line; line = strtok(NULL, "\n")) {
        char call[2][80];
        if (strncmp(line, "convoy_", 7) != 0)
            continue;
        snprintf(call[0], sizeof call[0], "%s(", line);
        snprintf(call[1], sizeof call[1], "(%s, ", line);
        if (!strstr(own, call[0]) && !strstr(own, call[1]))
            fail_msg("%s is not called with anything bad", line);
        count++;
    }
    assert_true(count > 50);
    free(own);
    free(symbols);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices),
        cmocka_unit_test(models),
        cmocka_unit_test(networks_and_predictors),
        cmocka_unit_test(datasets),
        cmocka_unit_test(training),
        cmocka_unit_test(closed_objects),
        cmocka_unit_test(what_takes_anything),
        cmocka_unit_test(every_public_function_is_called),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
