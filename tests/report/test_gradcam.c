/* Grad-CAM beside PyTorch's (tools/record_gradcam.py), on the device under test and on the host: batch-norms
   in evaluation, a residual branch, dropout that drops nothing. */
#include "support/test.h"

#include <jansson.h>

#include "data/files.h"
#include "model/model.h"
#include "report/gradcam.h"

#define DATA CONVOY_SOURCE_DIR "/tests/report/data"

static convoy_model *model;
static cvy_files *files;
static cvy_chunk image;

static int set_up(void **state) {
    const char *const path = DATA "/gradcam.png";
    const cvy_files_options options = {.channels = 3, .height = 12, .width = 12};
    (void)state;
    assert_ok(cvy_model_read(DATA "/gradcam.yaml", &(convoy_model_options){0}, &model));
    cvy_model_keep_apart(model);
    assert_ok(cvy_model_complete(model, 0));
    assert_ok(convoy_model_load_weights(model, DATA "/gradcam.safetensors"));
    assert_ok(cvy_files_open(&path, 1, &options, &files));
    assert_ok(cvy_files_next(files, &image));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    cvy_files_close(files);
    convoy_model_free(model);
    return 0;
}

static void compare(const json_t *row, const cvy_gradcam *g) {
    double largest = 0, sum = 0;
    const json_t *map = json_object_get(row, "map"), *outputs = json_object_get(row, "outputs");
    assert_int_equal(json_array_size(map), g->height);
    for (int y = 0; y < g->height; y++)
        for (int x = 0; x < g->width; x++)
            largest =
                fmax(largest, json_number_value(json_array_get(json_array_get(map, (size_t)y), (size_t)x)));
    assert_true(largest > 0);
    for (int y = 0; y < g->height; y++)
        for (int x = 0; x < g->width; x++) {
            const double expected =
                json_number_value(json_array_get(json_array_get(map, (size_t)y), (size_t)x));
            assert_true(fabs(g->map[y * g->width + x] - expected) <= 2e-5 * largest);
        }
    for (size_t c = 0; c < json_array_size(outputs); c++)
        sum += exp(json_number_value(json_array_get(outputs, c)));
    for (size_t c = 0; c < json_array_size(outputs); c++)
        assert_true(fabs(g->probabilities[c] - exp(json_number_value(json_array_get(outputs, c))) / sum) <
                    1e-5);
}

static void check_device(convoy_device *device) {
    json_t *rows = json_load_file(DATA "/gradcam.json", 0, NULL);
    const size_t stride = device == test_device() ? 5 : 1; /* each builds a network */
    assert_true(json_array_size(rows) == 18);
    for (size_t i = 0; i < json_array_size(rows); i += stride) {
        const json_t *row = json_array_get(rows, i);
        cvy_gradcam found;
        size_t layer;
        assert_ok(cvy_gradcam_find_layer(model, json_string_value(json_object_get(row, "layer")), &layer));
        assert_ok(cvy_gradcam_find(model, device, image.set, layer,
                                   (int)json_integer_value(json_object_get(row, "class")), &found));
        compare(row, &found);
        cvy_gradcam_free(&found);
    }
    json_decref(rows);
}

static void maps_are_pytorchs_on_the_host(void **state) {
    (void)state;
    convoy_device *host;
    assert_ok(convoy_device_open("host", &host));
    check_device(host);
    convoy_device_close(host);
}

static void maps_are_pytorchs_on_the_device(void **state) {
    (void)state;
    check_device(test_device());
}

static void layers_are_chosen_and_refused(void **state) {
    (void)state;
    cvy_gradcam found;
    size_t layer = cvy_gradcam_layer(model);
    assert_string_equal(convoy_model_layer(model, layer)->name, "5"); /* in front of the last pooling */
    assert_fails(cvy_gradcam_find_layer(model, "4.body.00", &layer), CONVOY_INVALID,
                 "did you mean `4.body.0`?");
    assert_fails(cvy_gradcam_find_layer(model, "9", &layer), CONVOY_INVALID, "gives 5 values, and no maps");
    assert_ok(cvy_gradcam_find_layer(model, "4", &layer)); /* the sum, which no layer computes */
    assert_fails(cvy_gradcam_find(model, test_device(), image.set, layer, 0, &found), CONVOY_INVALID,
                 "layer 4 gives nothing of its own");
    cvy_gradcam_free(&found);
}

static void fused_networks_are_not_watched(void **state) {
    (void)state;
    convoy_model *fused;
    cvy_gradcam found;
    assert_ok(convoy_model_load(DATA "/gradcam.yaml", NULL, &fused));
    assert_fails(cvy_gradcam_find(fused, test_device(), image.set, 0, 0, &found), CONVOY_INVALID,
                 "kept apart");
    cvy_gradcam_free(&found);
    convoy_model_free(fused);
}

/* What is there for training only is not looked at, and not in the way. */
static void heads_are_left_out(void **state) {
    (void)state;
    convoy_device *host;
    convoy_model *heads;
    cvy_gradcam found;
    size_t layer;
    float largest = 0;
    assert_ok(
        cvy_model_read(CONVOY_SOURCE_DIR "/tests/models/heads.yaml", &(convoy_model_options){0}, &heads));
    cvy_model_keep_apart(heads);
    assert_ok(cvy_model_complete(heads, 0));
    assert_ok(convoy_device_open("host", &host));
    assert_fails(cvy_gradcam_find_layer(heads, "5.1", &layer), CONVOY_INVALID, "part of an Auxiliary");
    assert_string_equal(convoy_model_layer(heads, 6)->name, "5.1");
    assert_fails(cvy_gradcam_find(heads, host, image.set, 6, 0, &found), CONVOY_INVALID,
                 "nothing of its own");
    cvy_gradcam_free(&found);
    assert_ok(cvy_gradcam_find_layer(heads, "4", &layer));
    assert_ok(cvy_gradcam_find(heads, host, image.set, layer, 0, &found));
    for (int i = 0; i < found.height * found.width; i++)
        largest = fmaxf(largest, found.map[i]);
    assert_true(largest > 0 && isfinite(largest));
    cvy_gradcam_free(&found);
    convoy_device_close(host);
    convoy_model_free(heads);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_are_pytorchs_on_the_host),
        cmocka_unit_test(maps_are_pytorchs_on_the_device),
        cmocka_unit_test(layers_are_chosen_and_refused),
        cmocka_unit_test(fused_networks_are_not_watched),
        cmocka_unit_test(heads_are_left_out),
    };
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    test_device_close();
    return failed;
}
