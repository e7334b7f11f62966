/* Made-up images: learnable, and the same on every machine, for benchmarks, tests and first steps without
   data. Each class has a pattern of coarse blocks; an image is its class's pattern, shifted by up to one
   block and mixed with noise. Integers only, so that no compiler or processor changes a byte. */
#include <stdlib.h>

#include "base/rng.h"
#include "data/dataset.h"

enum {
    GRID = 8, /* blocks per side of a pattern */
    MOST_SHIFT = 1,
    SIDE = GRID + MOST_SHIFT,
    DEFAULT_SIZE = 28,
    /* RNG steps: patterns are shared by both splits, which never share an image. */
    PATTERN_STEP = 0,
    TRAIN_STEP = 1,
};

/* Test images count from the middle of the step's range. */
static const uint32_t test_step = 0x80000000u;

/* The value of a block of a class's pattern: one word of the counter-based generator, so no table is needed.
 */
static uint32_t pattern(uint64_t seed, int class, int channel, uint32_t row, uint32_t column) {
    const uint32_t counter[4] = {((uint32_t)channel * SIDE + row) * SIDE + column, (uint32_t) class,
                                 PATTERN_STEP, CVY_RNG_SYNTHETIC};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[4];
    cvy_philox(counter, key, words);
    return words[0] >> 24;
}

static void fill_patterns(const convoy_dataset *dataset, int class, int channel,
                          uint32_t values[SIDE][SIDE]) {
    for (uint32_t row = 0; row < SIDE; row++)
        for (uint32_t column = 0; column < SIDE; column++)
            values[row][column] = pattern(dataset->seed, class, channel, row, column);
}

static convoy_status make(const convoy_dataset *dataset, size_t index, uint8_t *image, uint32_t first_step) {
    cvy_rng rng = cvy_rng_stream(dataset->seed, CVY_RNG_SYNTHETIC, first_step + (uint32_t)index);
    uint32_t down = cvy_rng_below(&rng, MOST_SHIFT + 1), right = cvy_rng_below(&rng, MOST_SHIFT + 1);
    const int label = dataset->labels[index], class = dataset->patterns ? dataset->patterns[label] : label;
    uint32_t noise = 0;
    int left = 0;
    for (int c = 0; c < dataset->channels; c++) {
        uint32_t values[SIDE][SIDE];
        fill_patterns(dataset, class, c, values);
        for (int y = 0; y < dataset->height; y++) {
            const uint32_t *row = values[(uint32_t)y * GRID / (uint32_t)dataset->height + down] + right;
            for (int x = 0; x < dataset->width; x++) {
                if (left-- == 0) {
                    noise = cvy_rng_u32(&rng);
                    left = 3;
                }
                *image++ =
                    (uint8_t)((row[(uint32_t)x * GRID / (uint32_t)dataset->width] + (noise & 255)) / 2);
                noise >>= 8;
            }
        }
    }
    return CONVOY_OK;
}

static convoy_status fetch_train(const convoy_dataset *dataset, size_t index, uint8_t *image) {
    return make(dataset, index, image, TRAIN_STEP);
}

static convoy_status fetch_test(const convoy_dataset *dataset, size_t index, uint8_t *image) {
    return make(dataset, index, image, test_step);
}

convoy_status cvy_synthetic_open(const cvy_dataset_request *request, convoy_dataset *dataset) {
    const convoy_dataset_options *options = &request->options;
    size_t count = options->synthetic_images ? options->synthetic_images : request->training ? 1024 : 256;
    int classes = options->synthetic_classes ? options->synthetic_classes : 10;
    if (classes < 2 || classes > 1000000)
        return cvy_fail(CONVOY_INVALID, "synthetic data: %d classes are out of range (2 to 1000000)",
                        classes);
    if (count >= test_step)
        return cvy_fail(CONVOY_INVALID, "synthetic data: %zu images are too many", count);
    dataset->channels = options->channels ? options->channels : 1;
    dataset->height = options->height ? options->height : DEFAULT_SIZE;
    dataset->width = options->width ? options->width : DEFAULT_SIZE;
    dataset->seed = options->seed;
    dataset->fetch = request->training ? fetch_train : fetch_test;
    cvy_dataset_number_classes(dataset, classes);
    convoy_status status = cvy_dataset_reserve_labels(dataset, count);
    if (status)
        return status;
    /* A constant ratio of classes however short the set; mixed, so that it also trains without shuffling. */
    cvy_rng rng =
        cvy_rng_stream(options->seed, CVY_RNG_SYNTHETIC, request->training ? UINT32_MAX : UINT32_MAX - 1);
    for (size_t i = 0; i < count; i++)
        dataset->labels[i] = (int32_t)(i % (size_t)classes);
    for (size_t i = count; i > 1; i--) {
        uint32_t other = cvy_rng_below(&rng, (uint32_t)i);
        int32_t last = dataset->labels[i - 1];
        dataset->labels[i - 1] = dataset->labels[other];
        dataset->labels[other] = last;
    }
    if (options->limit && count > options->limit)
        dataset->count = options->limit;
    return cvy_dataset_keep(dataset, options->memory, options->threads, false);
}
