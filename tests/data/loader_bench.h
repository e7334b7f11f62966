/* What the tests of loaders share: a small set, and a loader of it with its buffers. */
#ifndef CVY_TESTS_LOADER_BENCH_H
#define CVY_TESTS_LOADER_BENCH_H

#include "data/dataset.h"
#include "data/image.h"
#include "data/loader.h"
#include "ops/gather.h"
#include "support/images.h"
#include "support/test.h"

enum { IMAGES = 22, CHANNELS = 3, HEIGHT = 6, WIDTH = 5, BATCH = 8, PITCH = 16, BATCHES = 3 };

/* Resident sets and 1 or 3 threads must not differ. */
typedef struct way {
    size_t budget;
    int threads;
} way;
static const way ways[] = {{SIZE_MAX, 1}, {0, 1}, {0, 3}};
enum { WAYS = sizeof ways / sizeof *ways };

static inline convoy_dataset *open_set(size_t memory) {
    convoy_dataset *set;
    convoy_dataset_options options = {.channels = CHANNELS,
                                      .height = HEIGHT,
                                      .width = WIDTH,
                                      .memory = memory,
                                      .synthetic_images = IMAGES,
                                      .synthetic_classes = 4};
    assert_ok(convoy_dataset_open("synthetic", "train", &options, &set));
    return set;
}

static inline cvy_loader_options default_options(way way) {
    return (cvy_loader_options){
        .batch_size = BATCH,
        .pitch = PITCH,
        .image = {CHANNELS, HEIGHT, WIDTH, 0, {0.5f, 0.4f, 0.3f}, {0.2f, 0.3f, 0.4f}, CVY_SHORT_SIDE, 0},
        .shuffle = true,
        .seed = 3,
        .device_budget = way.budget,
        .threads = way.threads};
}

/* One loader with its buffers. */
typedef struct bench {
    cvy_loader *loader;
    cvy_buffer *input, *labels;
    size_t values; /* floats in the input */
} bench;

static inline bench open_bench(const convoy_dataset *set, const cvy_loader_options *options) {
    bench bench;
    const cvy_image_spec *image = &options->image;
    bench.values = (size_t)image->channels * (size_t)(image->height + 2 * image->border) *
                   (size_t)(image->width + 2 * image->border) * (size_t)options->pitch;
    assert_ok(cvy_loader_create(test_device(), set, options, &bench.loader));
    assert_ok(cvy_buffer_create(test_device(), bench.values * sizeof(float), "input", &bench.input));
    assert_ok(
        cvy_buffer_create(test_device(), (size_t)options->pitch * sizeof(int32_t), "labels", &bench.labels));
    return bench;
}

static inline void close_bench(bench *bench) {
    cvy_loader_free(bench->loader);
    cvy_buffer_free(bench->input);
    cvy_buffer_free(bench->labels);
}

/* All images of a set, as files of them would be brought to the model's size; malloc'ed. */
static inline uint8_t *bring_all(const convoy_dataset *set, const cvy_image_spec *image) {
    const cvy_fitting fitting = {1,     image->height, image->width, image->resize, image->short_side,
                                 false, false};
    const size_t bytes = cvy_dataset_image_bytes(set), planes = (size_t)set->channels,
                 made = (size_t)image->height * (size_t)image->width;
    uint8_t *one = malloc(bytes), *all = malloc(set->count * planes * made);
    for (size_t i = 0; i < set->count; i++) {
        assert_ok(convoy_dataset_image(set, i, one));
        for (size_t c = 0; c < planes; c++) {
            const cvy_pixels plane = {.channels = 1,
                                      .height = set->height,
                                      .width = set->width,
                                      .data = one + c * (bytes / planes)};
            assert_ok(cvy_image_bring(&plane, &fitting, all + (i * planes + c) * made));
        }
    }
    free(one);
    return all;
}

/* What the reference makes of the images that the loader says it took. */
static inline void expect_batch(bench *bench, const convoy_dataset *set, const cvy_loader_options *options,
                                int n) {
    int got;
    assert_ok(cvy_loader_next(bench->loader, bench->input, bench->labels, &got));
    assert_int_equal(got, n);
    uint8_t *images = bring_all(set, &options->image);
    cvy_gather_shape shape = {.pitch = options->pitch,
                              .in_height = options->image.height,
                              .in_width = options->image.width,
                              .image = options->image};
    float *expected = calloc(bench->values, sizeof *expected),
          *actual = test_read(bench->input, bench->values);
    int32_t expected_labels[PITCH], labels[PITCH];
    cvy_gather_reference(&shape, n, images, set->labels, cvy_loader_indices(bench->loader), expected,
                         expected_labels);
    if (cvy_loader_mix(bench->loader))
        cvy_mix_reference(&options->image, options->pitch, n, cvy_loader_mix(bench->loader), expected);
    test_close("input", actual, expected, bench->values, 1e-6);
    assert_ok(cvy_buffer_read(bench->labels, 0, labels, (size_t)options->pitch * sizeof *labels));
    assert_memory_equal(labels, expected_labels, (size_t)options->pitch * sizeof *labels);
    free(images);
    free(expected);
    free(actual);
}

/* The whole epoch's inputs, one after the other; malloc'ed. */
static inline float *run_epoch(const convoy_dataset *set, const cvy_loader_options *options, uint32_t epoch,
                               size_t position, size_t *count) {
    bench bench = open_bench(set, options);
    size_t batches = cvy_loader_batches(bench.loader) - position;
    float *all = malloc((batches ? batches : 1) * bench.values * sizeof *all);
    assert_ok(cvy_loader_start(bench.loader, epoch, position));
    for (size_t b = 0; b < batches; b++) {
        int n;
        assert_ok(cvy_loader_next(bench.loader, bench.input, bench.labels, &n));
        assert_int_not_equal(n, 0);
        assert_ok(cvy_buffer_read(bench.input, 0, all + b * bench.values, bench.values * sizeof *all));
    }
    *count = batches * bench.values;
    close_bench(&bench);
    return all;
}

#endif
