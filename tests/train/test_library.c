/* What a program does with the library: sets of its own, a loop of its own, stops, and structs of another
   size. Where nothing else is asked, on the host, so that nothing is built. */
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "convoy.h"
#include "support/run.h"

enum { IMAGES = 60, TEST_IMAGES = 20, SIDE = 8, BYTES = SIDE * SIDE, CLASSES = 10 };

typedef struct fixture {
    char *folder;
    convoy_device *host;
    uint8_t bytes[(IMAGES + TEST_IMAGES) * BYTES]; /* the test images behind the others */
    int32_t labels[IMAGES + TEST_IMAGES];
    const char *model;
} fixture;

static int open_fixture(void **state) {
    static fixture f;
    f.folder = test_folder_create();
    assert_ok(convoy_device_open("host", &f.host));
    float *noise = test_random(sizeof f.bytes, 3);
    for (int i = 0; i < IMAGES + TEST_IMAGES; i++) {
        f.labels[i] = i % CLASSES;
        for (int p = 0; p < BYTES; p++)
            f.bytes[i * BYTES + p] =
                (uint8_t)(120 + 60 * (p % CLASSES == f.labels[i]) + 50 * noise[i * BYTES + p]);
    }
    free(noise);
    f.model = test_tiny_model(f.folder, "tiny.yaml",
                              "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 16\n  epochs: 3\n");
    *state = &f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    convoy_device_close(f->host);
    test_folder_remove(f->folder);
    return 0;
}

/* ---- sets ---- */

static convoy_images describe(const fixture *f, bool training) {
    const size_t first = training ? 0 : IMAGES;
    return (convoy_images){.size = sizeof(convoy_images),
                           .count = training ? IMAGES : TEST_IMAGES,
                           .channels = 1,
                           .height = SIDE,
                           .width = SIDE,
                           .pixels = f->bytes + first * BYTES,
                           .labels = f->labels + first,
                           .classes = CLASSES};
}

static convoy_dataset *from_memory(const fixture *f, bool training) {
    const convoy_images images = describe(f, training);
    convoy_dataset *set = NULL;
    assert_ok(convoy_dataset_from_memory(&images, &set));
    return set;
}

static const char *write_idx(const fixture *f) {
    uint8_t labels[IMAGES + TEST_IMAGES];
    for (int i = 0; i < IMAGES + TEST_IMAGES; i++)
        labels[i] = (uint8_t)f->labels[i];
    const uint32_t train[] = {IMAGES, SIDE, SIDE}, test[] = {TEST_IMAGES, SIDE, SIDE};
    test_write_idx(f->folder, "idx/train-images-idx3-ubyte", 3, train, f->bytes);
    test_write_idx(f->folder, "idx/train-labels-idx1-ubyte", 1, train, labels);
    test_write_idx(f->folder, "idx/t10k-images-idx3-ubyte", 3, test, f->bytes + IMAGES * BYTES);
    test_write_idx(f->folder, "idx/t10k-labels-idx1-ubyte", 1, test, labels + IMAGES);
    return test_path(f->folder, "idx");
}

typedef struct maker {
    const fixture *f;
    size_t first, calls, images, most;
    uint64_t seen; /* bit i: image i */
    size_t fail_at;
    bool floats, labels;
} maker;

static convoy_status make(void *context, const uint32_t *indices, size_t count, void *pixels,
                          int32_t *labels) {
    maker *m = context;
    m->images += count;
    m->most = count > m->most ? count : m->most;
    if (m->fail_at && ++m->calls == m->fail_at)
        return CONVOY_IO;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = m->f->bytes + (m->first + indices[i]) * BYTES;
        m->seen |= 1ull << indices[i];
        if (m->labels)
            labels[i] = m->f->labels[m->first + indices[i]];
        for (size_t p = 0; p < BYTES; p++)
            if (m->floats)
                ((float *)pixels)[i * BYTES + p] = (float)from[p] / 255;
            else
                ((uint8_t *)pixels)[i * BYTES + p] = from[p];
    }
    return CONVOY_OK;
}

static convoy_dataset *from_function(const fixture *f, bool training, maker *m) {
    convoy_images images = describe(f, training);
    convoy_dataset *set = NULL;
    images.pixels = NULL;
    images.pixel = m->floats ? CONVOY_PIXEL_FLOAT : CONVOY_PIXEL_BYTE;
    if (m->labels)
        images.labels = NULL;
    m->f = f;
    m->first = training ? 0 : IMAGES;
    assert_ok(convoy_dataset_from_function(&images, make, m, &set));
    return set;
}

static convoy_model *load(const fixture *f) {
    convoy_model *model = NULL;
    assert_ok(convoy_model_load(f->model, NULL, &model));
    return model;
}

/* The largest difference of two models' values. */
static double difference(const convoy_model *a, const convoy_model *b) {
    double most = 0;
    for (size_t t = 0; t < convoy_model_tensor_count(a); t++) {
        const convoy_tensor *x = convoy_model_tensor(a, t), *y = convoy_model_tensor(b, t);
        size_t count = 1;
        for (int d = 0; d < x->dimensions; d++)
            count *= x->shape[d];
        for (size_t i = 0; i < count; i++)
            most = fmax(most, fabs((double)x->values[i] - (double)y->values[i]));
    }
    return most;
}

static convoy_model *train_on(const fixture *f, convoy_device *device, convoy_dataset *train,
                              convoy_dataset *test, convoy_train_result *result) {
    convoy_model *model = load(f);
    assert_ok(convoy_train(model, device, train, test, NULL, result));
    return model;
}

/* On the device under test, whose kernels these sets go through, too. */
static void arrays_train_as_the_equal_files(void **state) {
    const fixture *f = *state;
    const char *idx = write_idx(f);
    convoy_train_result results[4] = {{0}};
    convoy_model *models[4];
    maker bytes[2] = {{.labels = true}, {.labels = true}}, floats[2] = {{.floats = true}, {.floats = true}};
    for (int way = 0; way < 4; way++) {
        convoy_dataset *sets[2];
        for (int s = 0; s < 2; s++)
            if (way == 0)
                assert_ok(convoy_dataset_open(idx, s ? "test" : "train", NULL, &sets[s]));
            else
                sets[s] =
                    way == 1 ? from_memory(f, !s) : from_function(f, !s, way == 2 ? &bytes[s] : &floats[s]);
        models[way] = train_on(f, test_device(), sets[0], sets[1], &results[way]);
        convoy_dataset_free(sets[0]);
        convoy_dataset_free(sets[1]);
    }
    for (int way = 1; way < 3; way++) {
        assert_true(difference(models[0], models[way]) == 0);
        assert_true(results[0].train_loss == results[way].train_loss);
        assert_true(results[0].test_loss == results[way].test_loss);
    }
    assert_true(fabs(results[0].train_loss - results[3].train_loss) < 1e-3 && results[3].train_loss > 0);
    assert_true(bytes[0].seen == (1ull << IMAGES) - 1 && bytes[0].images == 3 * IMAGES &&
                bytes[0].most == 16);
    for (int way = 0; way < 4; way++)
        convoy_model_free(models[way]);
}

static void classes_have_the_names_that_are_given(void **state) {
    const fixture *f = *state;
    const char *const names[] = {"n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"},
                      *const turned[] = {"n9", "n8", "n7", "n6", "n5", "n4", "n3", "n2", "n1", "n0"};
    convoy_images images = describe(f, true);
    convoy_dataset *set = NULL;
    images.class_names = names;
    assert_ok(convoy_dataset_from_memory(&images, &set));
    convoy_model *model = load(f);
    assert_string_equal(convoy_model_class_name(model, 3), "3");
    assert_ok(convoy_train(model, f->host, set, NULL, NULL, NULL));
    assert_string_equal(convoy_model_class_name(model, 3), "n3");
    convoy_dataset_free(set);
    /* The same images from a function that calls classes otherwise: answers are compared by name. */
    maker m = {.f = f, .labels = true};
    const convoy_evaluation *evaluation = NULL;
    images.pixels = images.labels = NULL;
    images.class_names = turned;
    assert_ok(convoy_dataset_from_function(&images, make, &m, &set));
    assert_ok(convoy_evaluate(model, f->host, set, 0, &evaluation));
    assert_int_equal(evaluation->classes[0]->support, IMAGES / CLASSES);
    assert_string_equal(evaluation->classes[0]->name, "n0");
    convoy_evaluation_free(evaluation);
    convoy_dataset_free(set);
    convoy_model_free(model);
}

static void borrowed_images_are_not_copied(void **state) {
    fixture *f = *state;
    convoy_images images = describe(f, true);
    convoy_dataset *sets[2];
    uint8_t image[BYTES];
    assert_ok(convoy_dataset_from_memory(&images, &sets[0]));
    images.borrow = 1;
    assert_ok(convoy_dataset_from_memory(&images, &sets[1]));
    const uint8_t before = f->bytes[0];
    f->bytes[0] = (uint8_t)(before ^ 1);
    for (int i = 0; i < 2; i++) {
        assert_ok(convoy_dataset_image(sets[i], 0, image));
        assert_int_equal(image[0], i ? before ^ 1 : before);
        convoy_dataset_free(sets[i]);
    }
    f->bytes[0] = before;
}

static void a_function_that_gives_up_ends_the_run(void **state) {
    const fixture *f = *state;
    maker m = {.fail_at = 3};
    convoy_dataset *set = from_function(f, true, &m);
    convoy_model *model = load(f);
    assert_fails(convoy_train(model, f->host, set, NULL, NULL, NULL), CONVOY_IO, "gave up (IO)");
    convoy_model_free(model);
    convoy_dataset_free(set);
}

static void wrong_images_are_refused(void **state) {
    const fixture *f = *state;
    const int32_t outside[IMAGES] = {[5] = 10};
    const float bad[2 * BYTES] = {[BYTES + 7] = NAN};
    const char *const twice[] = {"a", "a"};
    struct {
        convoy_images images;
        const char *message;
    } cases[8];
    for (size_t i = 0; i < 8; i++)
        cases[i].images = describe(f, true);
    cases[0].images.labels = outside, cases[0].message = "label 10 of image 5 is out of range";
    cases[1].images.count = 0, cases[1].message = "0 images cannot be a set";
    cases[2].images.channels = 5, cases[2].message = "5 channels";
    cases[3].images.width = 0, cases[3].message = "8 x 0 pixels";
    cases[4].images.pixels = NULL, cases[4].message = "images.pixels is NULL";
    cases[5].images.pixels = bad, cases[5].images.pixel = CONVOY_PIXEL_FLOAT, cases[5].images.count = 2;
    cases[5].message = "pixel 7 of image 1 is nan";
    cases[6].images.class_names = twice, cases[6].images.classes = 2, cases[6].images.labels = NULL;
    cases[6].images.labels = (const int32_t[IMAGES]){1}, cases[6].message = "both called a";
    cases[7].images.size = 4, cases[7].message = "the size of images is 4";
    for (size_t i = 0; i < 8; i++) {
        convoy_dataset *set = NULL;
        assert_fails(convoy_dataset_from_memory(&cases[i].images, &set), CONVOY_INVALID, cases[i].message);
        assert_non_null(strstr(convoy_error_message(), "convoy_dataset_from_memory"));
        assert_null(set);
    }
}

/* ---- a loop of one's own ---- */

static void own_loop(const fixture *f, convoy_model *model, const char *out, double rate) {
    convoy_dataset *train = from_memory(f, true), *test = from_memory(f, false);
    convoy_trainer *trainer = NULL;
    convoy_progress p = {.size = sizeof p};
    const convoy_train_options options = {.size = sizeof options, .out = out};
    assert_ok(convoy_trainer_open(model, f->host, train, test, &options, &trainer));
    assert_true(convoy_trainer_learning_rate(trainer) == 0.01);
    if (rate > 0)
        assert_ok(convoy_trainer_set_learning_rate(trainer, rate));
    for (int epoch = 1; epoch <= 3; epoch++) {
        for (int step = 1; step <= 4; step++) {
            assert_ok(convoy_trainer_step(trainer, &p));
            assert_int_equal(p.kind, step < 4 ? CONVOY_PROGRESS_STEP : CONVOY_PROGRESS_EPOCH);
            assert_true(p.epoch == epoch && p.step == (unsigned)(4 * (epoch - 1) + step));
            assert_int_equal(p.images_done, step < 4 ? 16 * step : IMAGES);
        }
        double loss, accuracy;
        assert_true(isfinite(p.train_loss) && isfinite(p.train_accuracy));
        assert_ok(convoy_trainer_evaluate(trainer, &loss, &accuracy));
        assert_true(isfinite(loss) && accuracy >= 0 && accuracy <= 1);
        if (out)
            assert_ok(convoy_trainer_save(trainer));
    }
    assert_ok(convoy_trainer_fetch(trainer));
    convoy_trainer_close(trainer);
    convoy_dataset_free(train);
    convoy_dataset_free(test);
}

static void own_loop_gives_the_bits_of_convoy_train(void **state) {
    const fixture *f = *state;
    const char *by_train = test_path(f->folder, "by_train"), *by_loop = test_path(f->folder, "by_loop");
    convoy_dataset *train = from_memory(f, true), *test = from_memory(f, false);
    convoy_model *a = load(f), *b = load(f), *c = load(f);
    const convoy_train_options options = {.size = sizeof options, .out = by_train};
    assert_ok(convoy_train(a, f->host, train, test, &options, NULL));
    own_loop(f, b, by_loop, 0);
    assert_true(difference(a, b) == 0);
    test_same_run(by_train, by_loop);
    own_loop(f, c, NULL, 0.02);
    assert_true(difference(a, c) > 1e-3);
    convoy_model_free(a);
    convoy_model_free(b);
    convoy_model_free(c);
    convoy_dataset_free(train);
    convoy_dataset_free(test);
}

/* Steps of one's own, then an epoch's rest by itself, in a folder from which convoy_train goes on. */
static void steps_epochs_and_runs_go_together(void **state) {
    const fixture *f = *state;
    const char *out = test_path(f->folder, "mixed"), *whole = test_path(f->folder, "whole");
    convoy_dataset *train = from_memory(f, true), *test = from_memory(f, false);
    convoy_model *a = load(f), *b = load(f);
    convoy_trainer *trainer = NULL;
    convoy_train_options options = {.size = sizeof options, .out = whole};
    assert_ok(convoy_train(a, f->host, train, test, &options, NULL));
    options.out = out;
    assert_ok(convoy_trainer_open(b, f->host, train, test, &options, &trainer));
    assert_ok(convoy_trainer_step(trainer, NULL));
    assert_ok(convoy_trainer_epoch(trainer));
    convoy_progress p = {0};
    assert_ok(convoy_trainer_progress(trainer, &p));
    assert_true(p.epoch == 1 && p.step == 4 && isfinite(p.test_loss));
    assert_ok(convoy_trainer_step(trainer, NULL));
    assert_ok(convoy_trainer_save(trainer));
    convoy_trainer_close(trainer);
    options.resume = 1;
    assert_ok(convoy_train(b, f->host, train, test, &options, NULL));
    assert_true(difference(a, b) == 0);
    test_same_run(whole, out);
    convoy_model_free(a);
    convoy_model_free(b);
    convoy_dataset_free(train);
    convoy_dataset_free(test);
}

static void a_diverged_trainer_is_not_gone_on_with(void **state) {
    const fixture *f = *state;
    convoy_dataset *train = from_memory(f, true);
    convoy_model *model = load(f);
    convoy_trainer *trainer = NULL;
    convoy_status status = CONVOY_OK;
    assert_ok(convoy_trainer_open(model, f->host, train, NULL, NULL, &trainer));
    assert_ok(convoy_trainer_set_learning_rate(trainer, 1e30));
    for (int i = 0; i < 12 && !status; i++)
        status = convoy_trainer_step(trainer, NULL);
    assert_int_equal(status, CONVOY_FAILED);
    assert_non_null(strstr(convoy_error_message(), "now 1e+30"));
    assert_fails(convoy_trainer_step(trainer, NULL), CONVOY_FAILED, "this trainer failed before");
    assert_fails(convoy_trainer_fetch(trainer), CONVOY_FAILED, "convoy_trainer_fetch");
    convoy_trainer_close(trainer);
    convoy_model_free(model);
    convoy_dataset_free(train);
}

/* ---- stops ---- */

static int stop_after_five(void *context, const convoy_progress *p) {
    int *steps = context;
    *steps += p->kind == CONVOY_PROGRESS_STEP;
    return p->step < 5;
}

static void a_callback_stops_the_run(void **state) {
    const fixture *f = *state;
    const char *out = test_path(f->folder, "stopped"), *whole = test_path(f->folder, "not_stopped");
    convoy_dataset *train = from_memory(f, true), *test = from_memory(f, false);
    convoy_model *a = load(f), *b = load(f);
    convoy_train_result result = {.size = sizeof result};
    int steps = 0;
    convoy_train_options options = {
        .size = sizeof options, .out = out, .progress = stop_after_five, .context = &steps};
    assert_fails(convoy_train(a, f->host, train, test, &options, &result), CONVOY_INTERRUPTED,
                 "stopped by the program after step 5");
    assert_true(result.steps == 5 && steps == 5);
    options.progress = NULL;
    options.resume = 1;
    assert_ok(convoy_train(a, f->host, train, test, &options, &result));
    options.resume = 0;
    options.out = whole;
    assert_ok(convoy_train(b, f->host, train, test, &options, NULL));
    assert_true(difference(a, b) == 0);
    test_same_run(out, whole);
    convoy_model_free(a);
    convoy_model_free(b);
    convoy_dataset_free(train);
    convoy_dataset_free(test);
}

/* ---- structs of another size ---- */

static void shorter_structs_are_served(void **state) {
    const fixture *f = *state;
    convoy_images images = describe(f, true);
    convoy_dataset *set = NULL;
    images.size = offsetof(convoy_images, borrow);
    images.borrow = 1;
    assert_ok(convoy_dataset_from_memory(&images, &set));
    const uint8_t before = f->bytes[0];
    uint8_t image[BYTES];
    ((fixture *)*state)->bytes[0] ^= 1;
    assert_ok(convoy_dataset_image(set, 0, image)); /* copied: `borrow` was beyond the struct */
    assert_int_equal(image[0], before);
    ((fixture *)*state)->bytes[0] ^= 1;

    convoy_model *model = load(f);
    volatile int now = 1;
    convoy_train_options options = {.size = offsetof(convoy_train_options, interrupt), .interrupt = &now};
    convoy_train_result result = {.size = offsetof(convoy_train_result, images_per_second),
                                  .images_per_second = -7};
    assert_ok(convoy_train(model, f->host, set, NULL, &options, &result));
    assert_true(result.images_per_second == -7 && result.seconds > 0 && result.epochs == 3);

    convoy_trainer *trainer = NULL;
    convoy_progress p = {.size = offsetof(convoy_progress, images_per_second), .images_per_second = -7};
    assert_ok(convoy_trainer_open(model, f->host, set, NULL, NULL, &trainer));
    assert_ok(convoy_trainer_step(trainer, &p));
    assert_true(p.images_per_second == -7 && p.step == 1);
    convoy_trainer_close(trainer);
    convoy_dataset_free(set);
    convoy_model_free(model);
}

/* A program that was compiled against a newer header. */
static void longer_structs_are_served_where_they_ask_for_nothing_new(void **state) {
    const fixture *f = *state;
    struct {
        convoy_train_options known;
        int unknown;
    } options = {.known = {.size = sizeof options, .epochs = 1}};
    convoy_model *model = load(f);
    convoy_dataset *set = from_memory(f, true);
    assert_ok(convoy_train(model, f->host, set, NULL, &options.known, NULL));
    options.unknown = 1;
    assert_fails(convoy_train(model, f->host, set, NULL, &options.known, NULL), CONVOY_INVALID,
                 "Link a newer libconvoy");
    convoy_dataset_free(set);
    convoy_model_free(model);
}

/* ---- silence ---- */

/* What is printed while `body` runs. */
static void hears_nothing(const fixture *f, void (*body)(const fixture *f)) {
    const char *path = test_path(f->folder, "printed");
    fflush(NULL);
    int file = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600), out = dup(1), err = dup(2);
    assert_true(file >= 0 && out >= 0 && err >= 0);
    dup2(file, 1);
    dup2(file, 2);
    body(f);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    close(file);
    char *printed = test_read_text(path, NULL);
    assert_string_equal(printed, "");
    free(printed);
}

static void much(const fixture *f) {
    convoy_device *device = NULL;
    convoy_model *model = load(f);
    convoy_dataset *set = from_memory(f, true);
    assert_ok(convoy_device_open("auto", &device));
    assert_ok(convoy_train(model, device, set, set, NULL, NULL));
    assert_int_equal(convoy_dataset_open("no such set", "train", NULL, &(convoy_dataset *){NULL}),
                     CONVOY_INVALID);
    convoy_model_free(model);
    convoy_dataset_free(set);
    convoy_device_close(device);
}

static void nothing_is_printed(void **state) {
    hears_nothing(*state, much);
}

static void the_version_is_the_headers(void **state) {
    (void)state;
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", CONVOY_VERSION_MAJOR, CONVOY_VERSION_MINOR, CONVOY_VERSION_PATCH);
    assert_string_equal(convoy_version(), text);
    assert_string_equal(CONVOY_VERSION, text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_train_as_the_equal_files),
        cmocka_unit_test(classes_have_the_names_that_are_given),
        cmocka_unit_test(borrowed_images_are_not_copied),
        cmocka_unit_test(a_function_that_gives_up_ends_the_run),
        cmocka_unit_test(wrong_images_are_refused),
        cmocka_unit_test(own_loop_gives_the_bits_of_convoy_train),
        cmocka_unit_test(steps_epochs_and_runs_go_together),
        cmocka_unit_test(a_diverged_trainer_is_not_gone_on_with),
        cmocka_unit_test(a_callback_stops_the_run),
        cmocka_unit_test(shorter_structs_are_served),
        cmocka_unit_test(longer_structs_are_served_where_they_ask_for_nothing_new),
        cmocka_unit_test(nothing_is_printed),
        cmocka_unit_test(the_version_is_the_headers),
    };
    int failed = cmocka_run_group_tests(tests, open_fixture, close_fixture);
    test_device_close();
    return failed;
}
