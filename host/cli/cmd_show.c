/* convoy show MODEL: a batch as the network sees it, read back from the device. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/cli.h"
#include "model/model.h"
#include "report/tiles.h"
#include "train/evaluator.h"

typedef struct options {
    cli_common common;
    const char *data, *out;
    int split, count;
    long long seed;
    double test_fraction;
} options;

static const cvy_param params[] = {
    {"data", CVY_TEXT, offsetof(options, data), "", 0, 0, NULL, CLI_DATA_TEXT},
    {"out", CVY_TEXT, offsetof(options, out), "grid.png", 0, 0, NULL, "the picture, a PNG"},
    {"split", CVY_CHOICE, offsetof(options, split), "train", 0, 0, "train|test|val|all",
     "which images: train as training sees them, the others as evaluation does"},
    {"count", CVY_INT, offsetof(options, count), "32", 1, 400, NULL, "how many images"},
    {"seed", CVY_SIZE, offsetof(options, seed), "0", 0, 9e18, NULL,
     "of their choice, as of a run's first epoch"},
    {"test-fraction", CVY_FLOAT, offsetof(options, test_fraction), "", 0.001, 0.999, NULL,
     "of a folder without train/ and test/; default: the recipe's"},
    CLI_ROW_DEVICE,
    CLI_ROW_FAST_DECODE,
    CLI_ROW_SKIP_DAMAGED,
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

/* A batch on its way from the set to the picture. */
typedef struct batch {
    int n;
    size_t pitch, pixels; /* of a plane */
    cvy_image_spec image;
    cvy_loader *loader;
    cvy_buffer *input, *labels;
    float *planes;  /* [channels][height][width][pitch] */
    int32_t *truth; /* [pitch] */
    uint8_t *rgba;
} batch;

static void free_batch(batch *b) {
    cvy_loader_free(b->loader);
    cvy_buffer_free(b->input);
    cvy_buffer_free(b->labels);
    free(b->planes);
    free(b->truth);
    free(b->rgba);
}

/* As training makes its first batch. */
static convoy_status load_batch(const convoy_model *model, convoy_device *device, const convoy_dataset *set,
                                const options *o, batch *b) {
    const cvy_image_spec image = b->image = cvy_model_image(model);
    const int wanted =
        (size_t)o->count < convoy_dataset_count(set) ? o->count : (int)convoy_dataset_count(set);
    const int pitch = cvy_network_pitch_of(cvy_device_get_traits(device), wanted, true);
    b->pitch = (size_t)pitch;
    b->pixels = (size_t)(image.height + 2 * image.border) * (size_t)(image.width + 2 * image.border);
    const size_t values = b->pixels * (size_t)image.channels * b->pitch;
    /* Evaluation augments nothing. */
    const cvy_feed_options feed = {.piece = wanted,
                                   .batch_size = wanted,
                                   .pitch = pitch,
                                   .shuffle = true,
                                   .seed = (uint64_t)o->seed,
                                   .augment = o->split == 0 ? &cvy_model_recipe(model)->augment : NULL};
    convoy_status status = cvy_feed_open(model, device, set, &feed, &b->loader);
    if (!status)
        status = cvy_buffer_create(device, values * sizeof(float), "a batch of images", &b->input);
    if (!status)
        status = cvy_size_create(device, &cvy_loader_labels, b->pitch, &b->labels);
    b->planes = malloc(values * sizeof *b->planes);
    b->truth = malloc(b->pitch * sizeof *b->truth);
    b->rgba = malloc((size_t)wanted * b->pixels * 4);
    if (!status && (!b->planes || !b->truth || !b->rgba))
        status = cvy_fail_memory("a batch of images", values * sizeof *b->planes);
    if (!status)
        status = cvy_loader_start(b->loader, 1, 0);
    if (!status)
        status = cvy_loader_next(b->loader, b->input, b->labels, &b->n);
    if (!status)
        status = cvy_buffer_read(b->input, 0, b->planes, values * sizeof *b->planes);
    return status ? status : cvy_buffer_read(b->labels, 0, b->truth, b->pitch * sizeof *b->truth);
}

static const char *class_of(const convoy_dataset *set, const batch *b, int i) {
    return b->truth[i] < convoy_dataset_classes(set) ? convoy_dataset_class_name(set, b->truth[i]) : NULL;
}

static convoy_status draw(cli_call *call, const convoy_model *model, const convoy_dataset *set, batch *b) {
    static const char *const splits[] = {"training", "test", "validation", "all"};
    const options *o = call->options;
    cvy_tile *tiles = cvy_arena_alloc(call->arena, (size_t)b->n * sizeof *tiles);
    cvy_canvas *canvas = NULL;
    const int width = b->image.width + 2 * b->image.border, height = b->image.height + 2 * b->image.border;
    for (int i = 0; i < b->n; i++) {
        uint8_t *rgba = b->rgba + (size_t)i * b->pixels * 4;
        cvy_pixels_of_input(&b->image, b->planes + i, b->pitch, rgba);
        tiles[i] = (cvy_tile){rgba, width, height, class_of(set, b, i), NULL, false};
    }
    const cvy_tiles grid = {
        .title = cvy_arena_printf(call->arena, "%s: %s images of %s as the network sees them",
                                  convoy_model_name(model), splits[o->split], convoy_dataset_name(set)),
        .tiles = tiles,
        .count = (size_t)b->n,
        .tile = 128,
        .width = 1236,
        .font = 14,
        .theme = &cvy_light};
    convoy_status status = cvy_tiles_create(CVY_PNG, &grid, &canvas);
    return status ? status : cvy_canvas_save(canvas, o->out);
}

static json_t *result_json(const convoy_model *model, const convoy_dataset *set, const batch *b,
                           const char *out) {
    json_t *images = json_array();
    const uint32_t *indices = cvy_loader_indices(b->loader);
    for (int i = 0; i < b->n; i++) {
        const char *name = class_of(set, b, i);
        json_array_append_new(images,
                              json_pack("{s:I, s:i, s:o}", "index", (json_int_t)indices[i], "class",
                                        (int)b->truth[i], "name", name ? cli_string(name) : json_null()));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "model", cli_string(convoy_model_name(model)), "data",
                     cli_string(convoy_dataset_name(set)), "images", images, "out", cli_string(out));
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    convoy_device *device = NULL;
    convoy_dataset *set = NULL;
    batch b = {0};
    const bool training = o->split == 0;
    cli_data_request request = {.data = o->data,
                                .test_fraction = o->test_fraction,
                                .train = training,
                                .test = !training,
                                .validation = o->split == 2,
                                .all = o->split == 3,
                                .evaluation = !training};
    convoy_status status = cvy_canvas_check();
    if (!status)
        status = cli_check_output(call, "--out", o->out);
    if (!status)
        status = cli_load(call, &request, &model, training ? &set : NULL, training ? NULL : &set);
    if (!status)
        status = cli_check_images(call, "--out", o->out, set);
    if (!status)
        status = cli_open_device(call, &device);
    if (!status)
        status = load_batch(model, device, set, o, &b);
    if (!status)
        status = draw(call, model, set, &b);
    if (!status && o->common.json)
        call->result = result_json(model, set, &b, o->out);
    else if (!status)
        printf("%d images: %s\n", b.n, cli_visible(call->arena, o->out));
    free_batch(&b);
    convoy_dataset_free(set);
    convoy_model_free(model);
    convoy_device_close(device);
    return status;
}

const cli_command cli_show = {
    "show", "MODEL", "Draw a batch of images as the network sees it.", 1, 1, params, sizeof(options),
    false,  run};
