/* The same picture through the library, through `convoy predict` on its PNG, and through `convoy eval
   --logits` on a folder of it: one way to resize, crop, convert and normalise, whoever asks. And what else
   takes a command in the test's own process. */
#include <fcntl.h>
#include <unistd.h>

#include "convoy.h"
#include "data/image.h"
#include "ops/known_bad.h"
#include "support/command.h"
#include "support/images.h"
#include "train/evaluator.h"

enum { HEIGHT = 480, WIDTH = 640, CLASSES = 10 };

typedef struct fixture {
    char *folder;
    const char *model, *weights;
    uint8_t *pixels[2]; /* grey, RGB: rows of pixels */
} fixture;

static int open_fixture(void **state) {
    static fixture f;
    convoy_model *model = NULL;
    f.folder = test_folder_create();
    for (int rgb = 0; rgb < 2; rgb++) {
        const size_t count = (size_t)HEIGHT * WIDTH * (rgb ? 3 : 1);
        float *noise = test_random(count, 5 + (uint32_t)rgb);
        uint8_t *pixels = f.pixels[rgb] = malloc(count);
        for (size_t i = 0; i < count; i++)
            pixels[i] = (uint8_t)(110 + 70 * ((i / 40 + i / (40 * WIDTH)) % 2) + 60 * noise[i]);
        free(noise);
        test_write_png(f.folder, rgb ? "set/test/a/rgb.png" : "set/test/b/grey.png", HEIGHT, WIDTH,
                       rgb ? 2 : 0, 8, 0, pixels);
    }
    for (char class = 'a'; class < 'a' + CLASSES; class ++) {
        char name[32];
        for (int test = class < 'c' ? 0 : 1; test >= 0; test--) {
            snprintf(name, sizeof name, "set/%s/%c/grey.png", test ? "test" : "train", class);
            test_write_png(f.folder, name, HEIGHT, WIDTH, 0, 8, 0, f.pixels[0]);
        }
    }
    f.model =
        test_write(f.folder, "m.yaml",
                   "input: [3, 34, 44]\nlayers:\n  - Conv2d: {out_channels: 4, kernel_size: 3}\n  - ReLU\n"
                   "  - MaxPool2d: {kernel_size: 4}\n  - Flatten\n  - Linear: {out_features: 10}\n"
                   "recipe: {border: 2, mean: [0.4, 0.5, 0.6], std: 0.25, batch_size: 4}\n");
    assert_ok(convoy_model_load(f.model, NULL, &model));
    f.weights = test_path(f.folder, "w.safetensors");
    assert_ok(convoy_model_save_weights(model, f.weights));
    convoy_model_free(model);
    *state = &f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    free(f->pixels[0]);
    free(f->pixels[1]);
    test_folder_remove(f->folder);
    return 0;
}

static convoy_model *load(const fixture *f) {
    convoy_model *model = NULL;
    assert_ok(convoy_model_load(f->model, NULL, &model));
    assert_ok(convoy_model_load_weights(model, f->weights));
    return model;
}

static convoy_picture picture_of(const fixture *f, int rgb) {
    return (convoy_picture){.size = sizeof(convoy_picture),
                            .pixels = f->pixels[rgb],
                            .channels = rgb ? 3 : 1,
                            .height = HEIGHT,
                            .width = WIDTH};
}

/* The line of a CSV file that has `file` in it: the numbers behind its second comma. */
static void read_row(const char *table, const char *file, double *logits) {
    const char *row = strstr(table, file), *at = row ? strchr(strchr(row, ',') + 1, ',') : NULL;
    for (int c = 0; c < CLASSES; c++) {
        assert_non_null(at);
        logits[c] = strtod(at + 1, (char **)&at);
    }
}

static void three_ways_give_one_answer(void **state) {
    const fixture *f = *state;
    convoy_model *model = load(f);
    convoy_predictor *predictor = NULL;
    convoy_picture grey = picture_of(f, 0), rgb = picture_of(f, 1);
    const convoy_picture *pictures[] = {&grey, &rgb, &grey, &rgb, &rgb}; /* more than a batch */
    const char *files[] = {test_path(f->folder, "set/test/b/grey.png"),
                           test_path(f->folder, "set/test/a/rgb.png")};
    float logits[5][CLASSES];
    double p[5][CLASSES], by_eval[CLASSES];
    assert_ok(convoy_predictor_open(model, test_device(), 0, &predictor));
    assert_ok(convoy_predictor_run(predictor, pictures, 5, logits[0], p[0]));
    assert_memory_equal(logits[0], logits[2], sizeof logits[0]);
    assert_memory_equal(logits[1], logits[4], sizeof logits[1]);

    const char *table_path = test_path(f->folder, "logits.csv");
    const test_output *r = RUN("eval", f->model, "--weights", f->weights, "--data",
                               test_path(f->folder, "set"), "--batch-size", "4", "--logits", table_path);
    assert_int_equal(r->code, 0);
    char *table = test_read_text(table_path, NULL);
    assert_memory_equal(table, "file,class,a,b,c,", 17);
    r = RUN("predict", f->model, "--weights", f->weights, "--batch-size", "4", "--json", files[0], files[1]);
    assert_int_equal(r->code, 0);
    for (int i = 0; i < 2; i++) {
        const json_t *answer = json_array_get(json_object_get(r->json, "predictions"), (size_t)i);
        read_row(table, files[i], by_eval);
        double sum = 0;
        for (int c = 0; c < CLASSES; c++) {
            const double asked =
                json_number_value(json_array_get(json_object_get(answer, "logits"), (size_t)c));
            assert_true(fabs(asked - (double)logits[i][c]) <= 1e-6);
            assert_true(fabs(by_eval[c] - (double)logits[i][c]) <= 1e-6);
            sum += p[i][c];
        }
        assert_true(fabs(sum - 1) < 1e-12);
        const json_t *top = json_array_get(json_object_get(answer, "top"), 0);
        const json_int_t best = json_integer_value(json_object_get(top, "class"));
        assert_true(fabs(p[i][best] - json_number_value(json_object_get(top, "probability"))) < 1e-6);
    }
    free(table);
    convoy_predictor_close(predictor);
    convoy_model_free(model);
}

/* ---- what lies in the network's input ---- */

enum { MOST = 32 };

/* Every image that a network was given while `heard` was listening. */
static struct heard {
    float *inputs[MOST];
    size_t values; /* of each */
    int count, launches;
} * heard;

convoy_status __real_cvy_network_forward(convoy_network *network, int n, bool training, uint32_t step);
convoy_status __wrap_cvy_network_forward(convoy_network *network, int n, bool training, uint32_t step);
convoy_status __wrap_cvy_network_forward(convoy_network *network, int n, bool training, uint32_t step) {
    if (heard) {
        const size_t pitch = (size_t)cvy_network_pitch(network),
                     values = cvy_buffer_bytes(cvy_network_input(network)) / sizeof(float) / pitch;
        float *columns = test_read(cvy_network_input(network), values * pitch);
        assert_true(heard->count + n <= MOST);
        for (size_t i = 0; i < (size_t)n; i++) {
            float *input = heard->inputs[heard->count++] = malloc(values * sizeof *input);
            for (size_t v = 0; v < values; v++)
                input[v] = columns[v * pitch + i];
        }
        heard->values = values;
        heard->launches++;
        free(columns);
    }
    return __real_cvy_network_forward(network, n, training, step);
}

static void end_listening(void) {
    for (int i = 0; heard && i < heard->count; i++)
        free(heard->inputs[i]);
    free(heard);
    heard = NULL;
}

static void listen(void) {
    end_listening();
    heard = calloc(1, sizeof *heard);
}

/* Image `index` of what was heard is this one. */
static void heard_is(int index, const float *expected) {
    assert_true(index < heard->count);
    assert_memory_equal(heard->inputs[index], expected, heard->values * sizeof *expected);
}

int convoy_main(int argc, char **argv);

/* A command in this process; its results go to the file. */
static void command_to(const char *out, const char *const *words) {
    char *argv[16] = {(char *)(uintptr_t) "convoy"};
    int argc = 1;
    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    fflush(NULL);
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC), kept[2] = {dup(1), dup(2)};
    const int file = open(out, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    dup2(file, 1);
    dup2(nowhere, 2);
    listen();
    const int code = convoy_main(argc, argv);
    fflush(NULL);
    dup2(kept[0], 1);
    dup2(kept[1], 2);
    close(kept[0]);
    close(kept[1]);
    close(nowhere);
    close(file);
    assert_int_equal(code, 0);
}

static void command(const char *const *words) {
    command_to("/dev/null", words);
}

/* What the network gets of pictures in memory; the caller frees each. */
static void hear_pictures(convoy_model *model, convoy_device *device, const convoy_picture *const *pictures,
                          size_t count, float **inputs) {
    convoy_predictor *predictor = NULL;
    listen();
    assert_ok(convoy_predictor_open(model, device, 0, &predictor));
    assert_ok(convoy_predictor_run(predictor, pictures, count, NULL, NULL));
    convoy_predictor_close(predictor);
    assert_int_equal(heard->count, count);
    for (size_t i = 0; i < count; i++)
        inputs[i] =
            memcpy(malloc(heard->values * sizeof(float)), heard->inputs[i], heard->values * sizeof(float));
}

/* Evaluates a set of two images in memory, [channels][height][width] each. */
static void evaluate_memory(convoy_model *model, convoy_device *device, const uint8_t *planes, int channels,
                            int height, int width) {
    const int32_t labels[2] = {0, 1};
    const convoy_images images = {.count = 2,
                                  .channels = channels,
                                  .height = height,
                                  .width = width,
                                  .pixels = planes,
                                  .labels = labels,
                                  .classes = CLASSES};
    convoy_dataset *set = NULL;
    const convoy_evaluation *evaluation = NULL;
    assert_ok(convoy_dataset_from_memory(&images, &set));
    listen();
    assert_ok(convoy_evaluate(model, device, set, 0, &evaluation));
    assert_int_equal(heard->count, 2);
    convoy_evaluation_free(evaluation);
    convoy_dataset_free(set);
}

static void inputs_are_equal(const fixture *f, const char *device) {
    enum { PLANE = HEIGHT * WIDTH };
    convoy_device *opened = NULL;
    convoy_model *model = load(f);
    convoy_picture rgb = picture_of(f, 1), grey = picture_of(f, 0);
    float *expected[2];
    assert_ok(convoy_device_open(device, &opened));
    hear_pictures(model, opened, (const convoy_picture *const[]){&rgb, &grey}, 2, expected);
    assert_true(memcmp(expected[0], expected[1], heard->values * sizeof(float)) != 0);

    uint8_t *planes = malloc(6 * (size_t)PLANE);
    for (size_t p = 0; p < PLANE; p++)
        for (size_t c = 0; c < 3; c++) {
            planes[c * PLANE + p] = f->pixels[1][3 * p + c];
            planes[(3 + c) * PLANE + p] = f->pixels[0][p];
        }
    evaluate_memory(model, opened, planes, 3, HEIGHT, WIDTH);
    heard_is(0, expected[0]);
    heard_is(1, expected[1]);
    free(planes);
    convoy_model_free(model);
    convoy_device_close(opened);

    const char *const files[] = {test_path(f->folder, "set/test/a/rgb.png"),
                                 test_path(f->folder, "set/test/b/grey.png")};
    command((const char *[]){"predict", f->model, "--weights", f->weights, "--device", device, files[0],
                             files[1], NULL});
    assert_int_equal(heard->count, 2);
    heard_is(0, expected[0]);
    heard_is(1, expected[1]);

    command((const char *[]){"eval", f->model, "--weights", f->weights, "--device", device, "--data",
                             test_path(f->folder, "set"), "--logits", test_path(f->folder, "device.csv"),
                             NULL});
    /* In the set's order, and once: a/rgb.png, and grey.png of all other classes. */
    assert_true(heard->count == CLASSES && heard->launches == 3);
    for (int i = 0; i < CLASSES; i++)
        heard_is(i, expected[i > 0]);
    free(expected[0]);
    free(expected[1]);
    end_listening();
}

static void networks_are_given_the_same_bits(void **state) {
    inputs_are_equal(*state, "host");
    if (!cvy_device_get_traits(test_device())->host)
        inputs_are_equal(*state, convoy_device_get_info(test_device())->id);
}

/* A recipe that resizes what has the model's size already, before it is cropped: whoever brings it. */
static void the_models_size_is_resized_all_the_same(void **state) {
    const fixture *f = *state;
    enum { SIDE = 12 };
    const uint32_t sizes[] = {2, SIDE, SIDE};
    const char *yaml =
                   test_write(f->folder, "crop.yaml",
                              "input: [1, 12, 12]\nlayers:\n  - Flatten\n  - Linear: {out_features: 10}\n"
                              "recipe: {resize: {short_side: 19}, mean: 0.5, std: 0.25, batch_size: 4}\n"),
               *weights = test_path(f->folder, "crop.safetensors");
    convoy_device *host = NULL;
    convoy_model *model = NULL;
    float *expected[2];
    convoy_picture picture = picture_of(f, 0), other;
    picture.height = picture.width = SIDE;
    other = picture;
    other.pixels += SIDE * SIDE;
    assert_ok(convoy_device_open("host", &host));
    assert_ok(convoy_model_load(yaml, NULL, &model));
    assert_ok(convoy_model_save_weights(model, weights));
    hear_pictures(model, host, (const convoy_picture *const[]){&picture, &other}, 2, expected);
    assert_true(expected[0][0] != (float)((picture.pixels[0] / 255.0 - 0.5) / 0.25));
    evaluate_memory(model, host, picture.pixels, 1, SIDE, SIDE);
    heard_is(0, expected[0]);
    heard_is(1, expected[1]);
    test_write_idx(f->folder, "both-idx3-ubyte", 3, sizes, picture.pixels);
    test_write_png(f->folder, "one.png", SIDE, SIDE, 0, 8, 0, picture.pixels);
    command((const char *[]){"predict", yaml, "--weights", weights, "--device", "host",
                             test_path(f->folder, "both-idx3-ubyte"), test_path(f->folder, "one.png"), NULL});
    assert_int_equal(heard->count, 3);
    heard_is(0, expected[0]);
    heard_is(1, expected[1]);
    heard_is(2, expected[0]);
    free(expected[0]);
    free(expected[1]);
    end_listening();
    convoy_model_free(model);
    convoy_device_close(host);
}

/* What the network gets: the pixels of the file that a set decodes, bit by bit, with border and
 * normalisation. */
static void inputs_are_those_of_a_set(void **state) {
    const fixture *f = *state;
    convoy_model *model = load(f);
    convoy_dataset *set = NULL;
    int image[3];
    convoy_model_image(model, image);
    const convoy_dataset_options wanted = {.channels = image[0], .height = image[1], .width = image[2]};
    assert_ok(convoy_dataset_open(test_path(f->folder, "set"), "test", &wanted, &set));
    const size_t inner = (size_t)image[0] * (size_t)image[1] * (size_t)image[2];
    uint8_t *bytes = malloc(inner);
    float *input = malloc(3 * 34 * 44 * sizeof *input);
    for (int rgb = 0; rgb < 2; rgb++) {
        const convoy_picture picture = picture_of(f, rgb);
        assert_ok(convoy_dataset_image(set, rgb ? 0 : 1, bytes));
        assert_ok(convoy_model_prepare(model, &picture, input));
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < 34; y++)
                for (int x = 0; x < 44; x++) {
                    const bool inside = y >= 2 && y < 32 && x >= 2 && x < 42;
                    const double mean = (float)(0.4 + 0.1 * c),
                                 byte = inside ? bytes[(c * 30 + y - 2) * 40 + x - 2] : 0;
                    assert_true(input[(c * 34 + y) * 44 + x] == (float)((byte / 255 - mean) / (float)0.25));
                }
    }
    free(bytes);
    free(input);
    convoy_dataset_free(set);
    convoy_model_free(model);
}

static void rows_may_be_padded(void **state) {
    const fixture *f = *state;
    convoy_model *model = load(f);
    enum { ROW = WIDTH * 3 + 13 };
    uint8_t *padded = malloc((size_t)HEIGHT * ROW);
    memset(padded, 0xAA, (size_t)HEIGHT * ROW);
    for (size_t y = 0; y < HEIGHT; y++)
        memcpy(padded + y * ROW, f->pixels[1] + y * WIDTH * 3, WIDTH * 3);
    convoy_picture plain = picture_of(f, 1), wide = plain;
    wide.pixels = padded;
    wide.row_bytes = ROW;
    float a[3 * 34 * 44], b[3 * 34 * 44];
    assert_ok(convoy_model_prepare(model, &plain, a));
    assert_ok(convoy_model_prepare(model, &wide, b));
    assert_memory_equal(a, b, sizeof a);
    wide.row_bytes = WIDTH * 3 - 1;
    assert_fails(convoy_model_prepare(model, &wide, b), CONVOY_INVALID,
                 "convoy_model_prepare: picture 0: row_bytes");
    free(padded);
    convoy_model_free(model);
}

static void impossible_pictures_are_named(void **state) {
    const fixture *f = *state;
    convoy_model *model = load(f);
    convoy_predictor *predictor = NULL;
    assert_ok(convoy_predictor_open(model, test_device(), 1, &predictor));
    const convoy_picture good = picture_of(f, 0);
    for (int i = 0; i < 4; i++) {
        convoy_picture bad = good;
        if (i == 0)
            bad.channels = 2;
        if (i == 1)
            bad.height = 0;
        if (i == 2)
            bad.pixels = NULL;
        if (i == 3)
            bad.height = bad.width = 1 << 20;
        const convoy_picture *pictures[] = {&good, &bad};
        float logits[2 * CLASSES];
        assert_fails(convoy_predictor_run(predictor, pictures, 2, logits, NULL), CONVOY_INVALID,
                     "convoy_predictor_run: picture 1 of");
    }
    convoy_predictor_close(predictor);
    convoy_model_free(model);
}

/* Of a list that was built in: here one with the host's matrix product. */
static void devices_name_what_is_avoided(void **state) {
    const fixture *f = *state;
    const char *out = test_path(f->folder, "devices");
    cvy_known_bad_use("[{\"platform\": \"Convoy\", \"op\": \"gemm\", \"variant\": \"reference\", "
                      "\"reason\": \"1 of 2 cases\"}]");
    command_to(out, (const char *const[]){"devices", NULL});
    cvy_known_bad_use("no list");
    char *said = test_read_text(out, NULL);
    const char *host = strstr(said, "Host CPU without OpenCL");
    assert_non_null(host);
    assert_non_null(strstr(host, "warning: gemm's variant reference is avoided: 1 of 2 cases\n"));
    free(said);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_ways_give_one_answer),
        cmocka_unit_test(networks_are_given_the_same_bits),
        cmocka_unit_test(the_models_size_is_resized_all_the_same),
        cmocka_unit_test(inputs_are_those_of_a_set),
        cmocka_unit_test(rows_may_be_padded),
        cmocka_unit_test(impossible_pictures_are_named),
        cmocka_unit_test(devices_name_what_is_avoided),
    };
    int failed = cmocka_run_group_tests(tests, open_fixture, close_fixture);
    test_device_close();
    test_run_free();
    return failed;
}
