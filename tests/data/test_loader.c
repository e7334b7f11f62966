/* Batches on the device: the same bits whether the set is resident or streamed, and whatever the threads. */
#include <unistd.h>

#include <png.h>

#include "base/file.h"
#include "convoy/log.h"
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

static convoy_dataset *open_set(size_t memory) {
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

static cvy_loader_options default_options(way way) {
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

static bench open_bench(const convoy_dataset *set, const cvy_loader_options *options) {
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

static void close_bench(bench *bench) {
    cvy_loader_free(bench->loader);
    cvy_buffer_free(bench->input);
    cvy_buffer_free(bench->labels);
}

/* All images of a set, as files of them would be brought to the model's size; malloc'ed. */
static uint8_t *bring_all(const convoy_dataset *set, const cvy_image_spec *image) {
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
static void expect_batch(bench *bench, const convoy_dataset *set, const cvy_loader_options *options, int n) {
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

static void batches_are_the_sets_images(void **state) {
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        convoy_dataset *set = open_set(0);
        cvy_loader_options options = default_options(ways[w]);
        bench bench = open_bench(set, &options);
        assert_int_equal(cvy_loader_resident(bench.loader), ways[w].budget > 0);
        assert_int_equal(cvy_loader_batches(bench.loader), BATCHES);
        assert_ok(cvy_loader_start(bench.loader, 0, 0));
        bool seen[IMAGES] = {false};
        for (int b = 0; b < BATCHES; b++) {
            int n = b == BATCHES - 1 ? IMAGES % BATCH : BATCH;
            expect_batch(&bench, set, &options, n);
            for (int i = 0; i < n; i++) {
                assert_false(seen[cvy_loader_indices(bench.loader)[i]]);
                seen[cvy_loader_indices(bench.loader)[i]] = true;
            }
        }
        int n;
        assert_ok(cvy_loader_next(bench.loader, bench.input, bench.labels, &n));
        assert_int_equal(n, 0);
        close_bench(&bench);
        convoy_dataset_free(set);
    }
}

/* 22 images in batches of 8, 3 at a time: no piece reaches into the next batch, and the order is the same. */
static void batches_come_in_pieces(void **state) {
    (void)state;
    const int pieces[] = {3, 3, 2, 3, 3, 2, 3, 3};
    convoy_dataset *set = open_set(0);
    for (int w = 0; w < WAYS; w++) {
        cvy_loader_options options = default_options(ways[w]);
        bench whole = open_bench(set, &options);
        options.piece = 3;
        bench bench = open_bench(set, &options);
        int n;
        assert_int_equal(cvy_loader_batches(bench.loader), BATCHES);
        assert_ok(cvy_loader_start(bench.loader, 2, 0));
        assert_ok(cvy_loader_start(whole.loader, 2, 0));
        for (int p = 0, done = 0; p < (int)(sizeof pieces / sizeof *pieces); p++) {
            if (p % 3 == 0) {
                assert_ok(cvy_loader_next(whole.loader, whole.input, whole.labels, &n));
                done = 0;
            }
            expect_batch(&bench, set, &options, pieces[p]);
            for (int i = 0; i < pieces[p]; i++)
                assert_int_equal(cvy_loader_indices(bench.loader)[i],
                                 cvy_loader_indices(whole.loader)[done++]);
        }
        assert_ok(cvy_loader_next(bench.loader, bench.input, bench.labels, &n));
        assert_int_equal(n, 0);
        assert_ok(cvy_loader_start(bench.loader, 2, 1)); /* in the middle of an epoch */
        expect_batch(&bench, set, &options, 3);
        assert_ok(cvy_loader_start(bench.loader, 2, 2)); /* and in the middle of a batch */
        expect_batch(&bench, set, &options, 3);
        close_bench(&bench);
        close_bench(&whole);
    }
    convoy_dataset_free(set);
}

static void resizing_and_a_border(void **state) {
    (void)state;
    convoy_dataset *set = open_set(0);
    for (int w = 0; w < WAYS; w++) {
        cvy_loader_options options = default_options(ways[w]);
        options.image.height = 9;
        options.image.width = 11;
        options.image.border = 2;
        for (int mode = CVY_SHORT_SIDE; mode <= CVY_LETTERBOX; mode++) {
            options.image.resize = (cvy_resize_mode)mode;
            bench bench = open_bench(set, &options);
            assert_ok(cvy_loader_start(bench.loader, 1, 2));
            expect_batch(&bench, set, &options, IMAGES % BATCH);
            close_bench(&bench);
        }
    }
    convoy_dataset_free(set);
}

/* What the list draws for these images in this epoch, whichever batch they come in. */
static void expect_augmented(bench *bench, const convoy_dataset *set, const cvy_loader_options *options,
                             uint32_t epoch, int n) {
    int got;
    int32_t labels[PITCH], *words;
    cvy_augment_shape shape;
    const cvy_image_spec *image = &options->image;
    const cvy_gather_shape gather = {
        .pitch = options->pitch, .in_height = image->height, .in_width = image->width, .image = *image};
    const size_t size = CHANNELS * (size_t)image->height * (size_t)image->width;
    uint8_t *images = bring_all(set, image);
    assert_ok(cvy_loader_next(bench->loader, bench->input, bench->labels, &got));
    assert_int_equal(got, n);
    assert_ok(cvy_augment_describe(&gather, options->augment, NULL, &shape));
    words = calloc(cvy_look_words(&shape) * PITCH, sizeof *words);
    const uint32_t *indices = cvy_loader_indices(bench->loader);
    for (int i = 0; i < n; i++) {
        cvy_look look;
        cvy_transforms_draw(options->augment, options->seed, epoch, indices[i], image->height, image->width,
                            image, &look);
        cvy_look_pack(&shape, &look, words, PITCH, (size_t)i);
    }
    float *expected = calloc(bench->values, sizeof *expected),
          *actual = test_read(bench->input, bench->values);
    float *means = calloc(IMAGES * CHANNELS, sizeof *means);
    for (size_t i = 0; i < IMAGES; i++)
        cvy_augment_means(&gather, images + i * size, image->height, image->width, means + i * CHANNELS);
    cvy_augment_reference(&shape, n,
                          &(cvy_augment_source){.images = images,
                                                .all_labels = set->labels,
                                                .indices = indices,
                                                .means = means,
                                                .looks = words,
                                                .room = PITCH},
                          expected, labels);
    free(means);
    free(images);
    const cvy_tone_shape steps = cvy_augment_steps(&shape);
    if (steps.steps)
        cvy_tone_reference(&steps, n, words + cvy_look_step_word(&shape) * PITCH, PITCH, expected);
    /* The mean of an image that was resized is that of its pixels before they became bytes. */
    test_close("input", actual, expected, bench->values, image->height == set->height ? 1e-5 : 2e-3);
    free(words);
    free(expected);
    free(actual);
}

/* Over more batches than are drawn at once, from the beginning of an epoch and from its middle. */
static void batches_are_augmented(void **state) {
    (void)state;
    cvy_transform list[] = {{.type = &cvy_transform_types[0], .p = 0.5},
                            {.type = &cvy_transform_types[2], .size = {HEIGHT, WIDTH}, .padding = 1},
                            {.type = &cvy_transform_types[6],
                             .brightness = {0, NAN},
                             .contrast = {0.5, 1.5},
                             .saturation = {0, NAN},
                             .hue = {0, NAN}}};
    const cvy_transforms augment = {list, 3};
    convoy_dataset *set = open_set(0);
    for (int w = 0; w < WAYS; w++) {
        cvy_loader_options options = default_options(ways[w]);
        options.augment = &augment;
        options.batch_size = 1;
        bench bench = open_bench(set, &options);
        for (uint32_t epoch = 1; epoch < 3; epoch++) {
            const size_t position = epoch == 1 ? 0 : 3;
            assert_ok(cvy_loader_start(bench.loader, epoch, position));
            for (size_t b = position; b < IMAGES; b++)
                expect_augmented(&bench, set, &options, epoch, 1);
        }
        close_bench(&bench);
        options.batch_size = BATCH;
        options.piece = 3;
        bench = open_bench(set, &options);
        assert_ok(cvy_loader_start(bench.loader, 1, 1));
        expect_augmented(&bench, set, &options, 1, 3);
        expect_augmented(&bench, set, &options, 1, 3);
        expect_augmented(&bench, set, &options, 1, 2);
        close_bench(&bench);
        /* What is brought to another size first. */
        options.image.height = list[1].size[0] = 9;
        options.image.width = list[1].size[1] = 11;
        bench = open_bench(set, &options);
        assert_ok(cvy_loader_start(bench.loader, 1, 1));
        expect_augmented(&bench, set, &options, 1, 3);
        expect_augmented(&bench, set, &options, 1, 3);
        close_bench(&bench);
        list[1].size[0] = HEIGHT;
        list[1].size[1] = WIDTH;
    }
    convoy_dataset_free(set);
}

/* Steps on bytes follow the sampling. */
static void batches_take_steps(void **state) {
    (void)state;
    cvy_transform list[] = {
        {.type = cvy_transform_type_find("RandomHorizontalFlip"), .p = 0.5},
        {.type = cvy_transform_type_find("RandAugment"),
         .num_ops = 3,
         .magnitude = 9,
         .num_magnitude_bins = 31},
        {.type = cvy_transform_type_find("RandomErasing"), .p = 1, .scale = {0.1, 0.2}, .ratio = {0.5, 2}}};
    const cvy_transforms augment = {list, 3};
    convoy_dataset *set = open_set(0);
    for (int w = 0; w < WAYS - 1; w++) {
        cvy_loader_options options = default_options(ways[w]);
        options.augment = &augment;
        options.piece = 5;
        bench bench = open_bench(set, &options);
        assert_ok(cvy_loader_start(bench.loader, 4, 0));
        for (int b = 0; b < 4; b++)
            expect_augmented(&bench, set, &options, 4, b % 2 ? 3 : 5);
        close_bench(&bench);
    }
    convoy_dataset_free(set);
}

/* Images are mixed with those that they come with, whole batches and parts of them alike; what is drawn is a
   function of where these begin in the epoch. */
static void batches_are_mixed(void **state) {
    (void)state;
    cvy_transform list[] = {{.alpha = 1}};
    const cvy_transforms augment = {list, 1};
    const int starts[2][8] = {{0, 8, 16}, {0, 3, 6, 8, 11, 14, 16, 19}},
              sizes[2][8] = {{8, 8, 6}, {3, 3, 2, 3, 3, 2, 3, 3}};
    convoy_dataset *set = open_set(0);
    for (int w = 0; w < WAYS; w++)
        for (int p = 0; p < 2; p++) {
            cvy_loader_options options = default_options(ways[w]);
            options.augment = &augment;
            options.image.border = w;
            options.piece = p ? 3 : 0;
            list[0].type = cvy_transform_type_find(w == 1 ? "CutMix" : "MixUp");
            bench bench = open_bench(set, &options);
            assert_ok(cvy_loader_start(bench.loader, 2, 1)); /* the second batch of the epoch */
            for (int i = p ? 3 : 1; i < (p ? 8 : 3); i++) {
                cvy_mix mix;
                expect_batch(&bench, set, &options, sizes[p][i]);
                cvy_transforms_draw_mix(&augment, options.seed, 2, (size_t)starts[p][i], &options.image,
                                        &mix);
                assert_memory_equal(&mix, cvy_loader_mix(bench.loader), sizeof mix);
            }
            close_bench(&bench);
        }
    convoy_dataset_free(set);
}

static char heard[512];
static void listen(void *context, convoy_log_level level, const char *message) {
    (void)context, (void)level;
    snprintf(heard, sizeof heard, "%s", message);
}

static void flips_of_digits_are_warned_of(void **state) {
    (void)state;
    cvy_transform list[] = {{.type = &cvy_transform_types[2], .size = {HEIGHT, WIDTH}, .padding = 1},
                            {.type = &cvy_transform_types[1], .p = 0.5}};
    const cvy_transforms augment = {list, 2}, crop = {list, 1};
    const char *clothes[] = {"0", "1", "2", "bag"};
    convoy_dataset *set = open_set(0);
    cvy_loader_options options = default_options(ways[0]);
    convoy_log_set_sink(listen, NULL);
    for (int i = 0; i < 3; i++) {
        options.augment = i == 1 ? &crop : &augment;
        if (i == 2)
            set->class_names = clothes;
        heard[0] = '\0';
        bench bench = open_bench(set, &options);
        close_bench(&bench);
        if (i == 0)
            assert_non_null(
                strstr(heard, "0 to 3, look like digits or letters, of which RandomVerticalFlip"));
        else
            assert_string_equal(heard, "");
    }
    convoy_log_set_sink(NULL, NULL);
    convoy_dataset_free(set);
}

/* The whole epoch's inputs, one after the other; malloc'ed. */
static float *run_epoch(const convoy_dataset *set, const cvy_loader_options *options, uint32_t epoch,
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

static void every_way_gives_the_same_bits(void **state) {
    (void)state;
    convoy_dataset *kept = open_set(0), *made_anew = open_set(1);
    size_t count, same;
    cvy_loader_options options = default_options(ways[0]);
    float *first = run_epoch(kept, &options, 4, 0, &count);
    for (int w = 1; w < WAYS; w++)
        for (int s = 0; s < 2; s++) {
            options = default_options(ways[w]);
            float *other = run_epoch(s ? made_anew : kept, &options, 4, 0, &same);
            assert_int_equal(same, count);
            assert_memory_equal(first, other, count * sizeof *first);
            free(other);
        }
    free(first);
    convoy_dataset_free(kept);
    convoy_dataset_free(made_anew);
}

static void an_epoch_resumes_at_any_batch(void **state) {
    (void)state;
    convoy_dataset *set = open_set(0);
    for (int w = 0; w < WAYS; w++) {
        size_t count, rest;
        cvy_loader_options options = default_options(ways[w]);
        float *whole = run_epoch(set, &options, 7, 0, &count);
        for (size_t position = 0; position <= BATCHES; position++) {
            float *part = run_epoch(set, &options, 7, position, &rest);
            assert_int_equal(rest, count / BATCHES * (BATCHES - position));
            assert_memory_equal(part, whole + count - rest, rest * sizeof *part);
            free(part);
        }
        free(whole);
    }
    convoy_dataset_free(set);
}

/* Epochs that are left at any batch, whole ones among them: uploads under way when one ends spoil no other.
 */
static void epochs_begin_while_others_are_under_way(void **state) {
    (void)state;
    convoy_dataset *set = open_set(0);
    for (int w = 0; w < WAYS; w++) {
        cvy_loader_options options = default_options(ways[w]);
        options.piece = 3;
        bench bench = open_bench(set, &options);
        for (uint32_t epoch = 0; epoch < 24; epoch++) {
            int n;
            assert_ok(cvy_loader_start(bench.loader, epoch, epoch % 2));
            for (uint32_t piece = 0; piece < epoch % 9; piece++)
                assert_ok(cvy_loader_next(bench.loader, bench.input, bench.labels, &n));
            if (epoch % 9 < 4)
                expect_batch(&bench, set, &options, epoch % 9 == 2 ? 2 : 3);
        }
        close_bench(&bench);
    }
    convoy_dataset_free(set);
}

static void the_order_is_of_seed_and_epoch(void **state) {
    (void)state;
    convoy_dataset *set = open_set(0);
    uint32_t orders[4][BATCH];
    const struct {
        uint64_t seed;
        uint32_t epoch;
    } cases[4] = {{3, 0}, {3, 1}, {4, 0}, {3, 0}};
    for (int i = 0; i < 4; i++) {
        cvy_loader_options options = default_options(ways[i % WAYS]);
        options.seed = cases[i].seed;
        bench bench = open_bench(set, &options);
        int n;
        assert_ok(cvy_loader_start(bench.loader, 9, 0)); /* what ran before has no influence */
        assert_ok(cvy_loader_start(bench.loader, cases[i].epoch, 0));
        assert_ok(cvy_loader_next(bench.loader, bench.input, bench.labels, &n));
        memcpy(orders[i], cvy_loader_indices(bench.loader), sizeof orders[i]);
        close_bench(&bench);
    }
    assert_memory_not_equal(orders[0], orders[1], sizeof orders[0]);
    assert_memory_not_equal(orders[0], orders[2], sizeof orders[0]);
    assert_memory_equal(orders[0], orders[3], sizeof orders[0]);
    convoy_dataset_free(set);
}

/* A part of each batch has the bits that it has in all of it; the last batch, of 6, has nothing of places 6
 * and 7. */
static void a_share_is_a_part_of_each_batch(void **state) {
    (void)state;
    const int shares[][2] = {{0, 3}, {3, 4}, {6, 2}};
    convoy_dataset *set = open_set(SIZE_MAX);
    for (size_t w = 0; w < WAYS; w++)
        for (size_t s = 0; s < sizeof shares / sizeof *shares; s++) {
            const int first = shares[s][0], share = shares[s][1];
            cvy_loader_options options = default_options(ways[w]);
            bench whole = open_bench(set, &options);
            options.first = first;
            options.share = share;
            bench part = open_bench(set, &options);
            for (uint32_t epoch = 0; epoch < 2; epoch++) {
                assert_ok(cvy_loader_start(whole.loader, epoch, epoch));
                assert_ok(cvy_loader_start(part.loader, epoch, epoch));
                for (int batch = (int)epoch; batch < BATCHES; batch++) {
                    const int n = batch + 1 < BATCHES ? BATCH : IMAGES % BATCH;
                    const int wanted = n > first ? (n < first + share ? n - first : share) : 0;
                    int got;
                    assert_ok(cvy_loader_skip(part.loader, first < n ? first : n));
                    for (int done = 0; done < wanted; done += got) { /* two at a time */
                        assert_ok(cvy_loader_next_of(part.loader, wanted - done < 2 ? 1 : 2, part.input,
                                                     part.labels, &got));
                        if (done == 0)
                            assert_ok(cvy_loader_skip(whole.loader, first));
                        int same;
                        assert_ok(cvy_loader_next_of(whole.loader, got, whole.input, whole.labels, &same));
                        assert_int_equal(got, same);
                        float *a = test_read(part.input, part.values),
                              *b = test_read(whole.input, whole.values);
                        assert_memory_equal(a, b, part.values * sizeof(float));
                        free(a);
                        free(b);
                        assert_memory_equal(cvy_loader_indices(part.loader), cvy_loader_indices(whole.loader),
                                            (size_t)got * sizeof(uint32_t));
                    }
                    assert_ok(cvy_loader_skip(part.loader, n - first - wanted));
                    assert_ok(cvy_loader_skip(whole.loader, wanted ? n - first - wanted : n));
                }
                int none;
                assert_ok(cvy_loader_next(part.loader, part.input, part.labels, &none));
                assert_int_equal(none, 0);
            }
            assert_ok(cvy_loader_start(part.loader, 0, 0));
            if (first)
                assert_fails(cvy_loader_next_of(part.loader, 1, part.input, part.labels, &(int){0}),
                             CONVOY_FAILED, "not to be wanted");
            close_bench(&part);
            close_bench(&whole);
        }
    convoy_dataset_free(set);
}

typedef struct asked {
    unsigned images[IMAGES];
} asked;

static convoy_status fill_and_count(void *context, const uint32_t *indices, size_t count, void *pixels,
                                    int32_t *labels) {
    (void)labels;
    for (size_t i = 0; i < count; i++)
        ((asked *)context)->images[indices[i]]++;
    memset(pixels, 1, count * CHANNELS * HEIGHT * WIDTH);
    return CONVOY_OK;
}

/* Of a streamed set no image is made that this rank does not compute. */
static void nobody_makes_the_other_images(void **state) {
    (void)state;
    asked seen = {{0}};
    static const int32_t labels[IMAGES] = {0, 1};
    const convoy_images images = {.size = sizeof images,
                                  .labels = labels,
                                  .count = IMAGES,
                                  .channels = CHANNELS,
                                  .height = HEIGHT,
                                  .width = WIDTH,
                                  .classes = 2};
    convoy_dataset *set;
    assert_ok(convoy_dataset_from_function(&images, fill_and_count, &seen, &set));
    cvy_loader_options options = default_options((way){0, 1});
    options.first = 3;
    options.share = 4;
    bench part = open_bench(set, &options);
    unsigned given[IMAGES] = {0};
    assert_ok(cvy_loader_start(part.loader, 0, 0));
    for (int batch = 0; batch < BATCHES; batch++) {
        const int n = batch + 1 < BATCHES ? BATCH : IMAGES % BATCH, wanted = n < 7 ? n - 3 : 4;
        int got;
        assert_ok(cvy_loader_skip(part.loader, 3));
        assert_ok(cvy_loader_next_of(part.loader, wanted, part.input, part.labels, &got));
        for (int i = 0; i < got; i++)
            given[cvy_loader_indices(part.loader)[i]]++;
        assert_ok(cvy_loader_skip(part.loader, n - 3 - wanted));
    }
    close_bench(&part);
    assert_memory_equal(seen.images, given, sizeof given);
    convoy_dataset_free(set);
}

static void without_shuffle(void **state) {
    (void)state;
    convoy_dataset *set = open_set(0);
    for (int w = 0; w < WAYS; w++) {
        cvy_loader_options options = default_options(ways[w]);
        options.shuffle = false;
        bench bench = open_bench(set, &options);
        assert_ok(cvy_loader_start(bench.loader, 0, 0));
        for (uint32_t b = 0; b < BATCHES; b++) {
            uint32_t n = b < BATCHES - 1 ? BATCH : IMAGES % BATCH;
            expect_batch(&bench, set, &options, (int)n);
            for (uint32_t i = 0; i < n; i++)
                assert_int_equal(cvy_loader_indices(bench.loader)[i], b * BATCH + i);
        }
        int n;
        assert_ok(cvy_loader_next(bench.loader, bench.input, bench.labels, &n));
        assert_int_equal(n, 0);
        close_bench(&bench);
    }
    convoy_dataset_free(set);
}

static void budgets_decide_what_is_resident(void **state) {
    (void)state;
    convoy_dataset *set = open_set(0), *made_anew = open_set(1);
    size_t bytes = cvy_buffer_footprint(IMAGES * CHANNELS * HEIGHT * WIDTH) +
                   2 * cvy_buffer_footprint(IMAGES * sizeof(int32_t)); /* images, labels, order */
    const struct {
        const convoy_dataset *set;
        size_t budget;
        bool resident;
    } cases[] = {{set, bytes, true}, {set, bytes - 1, false}, {made_anew, SIZE_MAX, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_loader_options options = default_options((way){cases[i].budget, 1});
        bench bench = open_bench(cases[i].set, &options);
        assert_int_equal(cvy_loader_resident(bench.loader), cases[i].resident);
        close_bench(&bench);
    }
    convoy_dataset_free(set);
    convoy_dataset_free(made_anew);
}

static void bad_options_are_refused(void **state) {
    (void)state;
    convoy_dataset *set = open_set(0);
    cvy_loader *loader;
    cvy_loader_options options = default_options(ways[0]);
    options.batch_size = 0;
    assert_fails(cvy_loader_create(test_device(), set, &options, &loader), CONVOY_INVALID,
                 "a batch of 0 images");
    options.batch_size = PITCH + 1;
    assert_fails(cvy_loader_create(test_device(), set, &options, &loader), CONVOY_INVALID,
                 "17 at once in a pitch of 16");
    options = default_options(ways[0]);
    options.image.std[1] = -1;
    assert_fails(cvy_loader_create(test_device(), set, &options, &loader), CONVOY_INVALID,
                 "channel 1 cannot be normalised");
    options.image.channels = 1;
    assert_fails(cvy_loader_create(test_device(), set, &options, &loader), CONVOY_INVALID,
                 "synthetic has 3 channels, not 1");
    assert_null(loader);
    options = default_options(ways[0]);
    assert_ok(cvy_loader_create(test_device(), set, &options, &loader));
    assert_fails(cvy_loader_start(loader, 0, 4), CONVOY_INVALID,
                 "an epoch of 3 batches cannot begin at batch 4");
    cvy_loader_free(loader);
    cvy_loader_free(NULL);
    convoy_dataset_free(set);
}

/* Wide, high and square ones, of which a random crop sees all and an evaluation the centre. */
static void photographs_are_kept_whole(void **state) {
    (void)state;
    static const int sizes[3][2] = {{20, 30}, {44, 22}, {26, 80}},
                     extents[3][2] = {{12, 18}, {24, 12}, {12, 24}};
    char *folder = test_folder_create();
    float *noise = test_random(44 * 80, 3);
    uint8_t data[44 * 80];
    for (int i = 0; i < 3; i++) {
        for (int p = 0; p < sizes[i][0] * sizes[i][1]; p++)
            data[p] = (uint8_t)(100 + (int)(20 * noise[p]) + 40 * i);
        char name[32];
        snprintf(name, sizeof name, "train/%c/0.png", 'a' + i);
        test_write_png(folder, name, sizes[i][0], sizes[i][1], PNG_COLOR_TYPE_GRAY, 8, 0, data);
        snprintf(name, sizeof name, "test/%c/0.png", 'a' + i);
        test_write_png(folder, name, sizes[i][0], sizes[i][1], PNG_COLOR_TYPE_GRAY, 8, 0, data);
    }
    convoy_dataset_options wanted = {.channels = 1, .height = 10, .width = 10, .short_side = 12};
    convoy_dataset *cropped, *whole;
    assert_ok(convoy_dataset_open(folder, "train", &wanted, &cropped));
    wanted.whole = 1;
    assert_ok(convoy_dataset_open(folder, "train", &wanted, &whole));
    assert_int_equal(whole->height, 24);
    assert_int_equal(whole->width, 24);
    assert_memory_equal(whole->extents, extents, sizeof extents);
    cvy_loader_options options = {.batch_size = 3,
                                  .pitch = 16,
                                  .image = {1, 10, 10, 0, {0}, {1}, CVY_SHORT_SIDE, 0},
                                  .device_budget = SIZE_MAX};
    size_t count;
    float *centre = run_epoch(cropped, &options, 1, 0, &count),
          *same = run_epoch(whole, &options, 1, 0, &count);
    test_close("the centre", same, centre, count, 1.01 / 255);
    free(centre), free(same);
    cvy_transform crop = {.type = &cvy_transform_types[2], .size = {10, 10}}, list[2] = {crop};
    list[1] = (cvy_transform){
        .type = &cvy_transform_types[6], .brightness = {0, NAN}, .saturation = {0, NAN}, .hue = {0, NAN}};
    const cvy_transforms augment = {list, 2};
    options.augment = &augment;
    for (uint32_t epoch = 0; epoch < 2;
         epoch++) { /* contrast 0: the mean of what the image shows, without zeros */
        float *grey = run_epoch(whole, &options, epoch, 0, &count);
        for (size_t i = 0; i < 3; i++)
            assert_true(fabs((double)grey[i] * 255 - 100 - 40 * (double)i) < 4);
        free(grey);
    }
    const cvy_transforms crops = {&crop, 1};
    double darkest = 1;
    options.augment = &crops;
    for (uint32_t epoch = 0; epoch < 10; epoch++) { /* no crop sees what is beside a photograph */
        float *y = run_epoch(whole, &options, epoch, 0, &count);
        for (size_t i = 0; i < count; i++)
            darkest = i % 16 < 3 && (double)y[i] < darkest ? (double)y[i] : darkest;
        free(y);
    }
    assert_true(darkest > 75.0 / 255);
    free(noise);
    convoy_dataset_free(cropped);
    convoy_dataset_free(whole);
    test_folder_remove(folder);
}

/* A validation set sees the centres that an evaluation sees, and what is left keeps its own sizes; in memory
   and streamed. */
static void photographs_of_a_part_are_whole(void **state) {
    (void)state;
    static const int sizes[4][2] = {{20, 30}, {44, 22}, {26, 52}, {13, 13}};
    char *folder = test_folder_create();
    float *noise = test_random(44 * 80, 3);
    uint8_t data[44 * 80];
    for (int i = 0; i < 8; i++) {
        const int *size = sizes[i % 4];
        for (int p = 0; p < size[0] * size[1]; p++)
            data[p] = (uint8_t)(80 + (int)(20 * noise[p]) + 20 * i);
        char name[32];
        snprintf(name, sizeof name, "train/%c/%d.png", 'a' + i / 4, i % 4);
        test_write_png(folder, name, size[0], size[1], PNG_COLOR_TYPE_GRAY, 8, 0, data);
    }
    test_write_png(folder, "test/a/0.png", 13, 13, PNG_COLOR_TYPE_GRAY, 8, 0, data);
    const cvy_loader_options options = {.batch_size = 4,
                                        .pitch = 16,
                                        .image = {1, 10, 10, 0, {0}, {1}, CVY_SHORT_SIDE, 0},
                                        .device_budget = SIZE_MAX};
    for (int streamed = 0; streamed < 2; streamed++) {
        convoy_dataset *sets[2], *parts[2];
        for (int whole = 0; whole < 2; whole++) {
            const convoy_dataset_options wanted = {.channels = 1,
                                                   .height = 10,
                                                   .width = 10,
                                                   .short_side = 12,
                                                   .whole = whole,
                                                   .memory = streamed ? 1 : 0};
            assert_ok(convoy_dataset_open(folder, "train", &wanted, &sets[whole]));
            assert_ok(convoy_dataset_split(sets[whole], 0.5, 1, &parts[whole]));
            assert_int_equal(convoy_dataset_count(parts[whole]), 4);
        }
        for (int part = 0; part < 2; part++) {
            size_t count;
            float *centre = run_epoch(part ? parts[0] : sets[0], &options, 1, 0, &count),
                  *same = run_epoch(part ? parts[1] : sets[1], &options, 1, 0, &count);
            test_close("the centre", same, centre, count, 1.01 / 255);
            free(centre), free(same);
        }
        for (int whole = 0; whole < 2; whole++) {
            convoy_dataset_free(sets[whole]);
            convoy_dataset_free(parts[whole]);
        }
    }
    free(noise);
    test_folder_remove(folder);
}

/* A photograph that went bad after the set was opened: its batch fails, by name, and the next one is fine. */
static void a_damaged_photograph_is_named(void **state) {
    (void)state;
    char *folder = test_folder_create();
    uint8_t data[16];
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < 10; i++) {
            char name[32];
            snprintf(name, sizeof name, "%c/%d.png", 'a' + c, i);
            memset(data, 10 * c + i, sizeof data);
            test_write_png(folder, name, 4, 4, PNG_COLOR_TYPE_GRAY, 8, 0, data);
        }
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", &(convoy_dataset_options){.memory = 1}, &set));
    assert_int_equal(convoy_dataset_count(set), 16);
    assert_int_equal(truncate(convoy_dataset_path(set, 9), 20), 0);
    cvy_loader_options options = {
        .batch_size = 4, .pitch = 16, .image = {1, 4, 4, 0, {0}, {1}, CVY_SHORT_SIDE, 0}, .threads = 2};
    bench bench = open_bench(set, &options);
    assert_ok(cvy_loader_start(bench.loader, 0, 0));
    for (int b = 0; b < 4; b++) {
        int n;
        if (b != 2) {
            assert_ok(cvy_loader_next(bench.loader, bench.input, bench.labels, &n));
            assert_int_equal(n, 4);
            continue;
        }
        assert_fails(cvy_loader_next(bench.loader, bench.input, bench.labels, &n), CONVOY_INVALID,
                     convoy_dataset_path(set, 9));
        assert_int_equal(n, 0);
    }
    close_bench(&bench);
    convoy_dataset_free(set);
    test_folder_remove(folder);
}

/* ---- a balanced sampler, and weights of classes ---- */

enum { FEW = 100, EPOCHS = 10 };

/* 90 images of class 0, 8 of class 1, none of class 2, 2 of class 3. */
static convoy_dataset *unbalanced_set(void) {
    convoy_dataset *set = NULL;
    uint8_t *pixels = calloc(FEW, CHANNELS * HEIGHT * WIDTH);
    int32_t labels[FEW];
    for (int i = 0; i < FEW; i++)
        labels[i] = i % 50 == 7 ? 3 : i % 12 == 5 ? 1 : 0;
    assert_ok(convoy_dataset_from_memory(&(convoy_images){.count = FEW,
                                                          .channels = CHANNELS,
                                                          .height = HEIGHT,
                                                          .width = WIDTH,
                                                          .pixels = pixels,
                                                          .labels = labels,
                                                          .classes = 4},
                                         &set));
    free(pixels);
    return set;
}

/* The classes of an epoch's images, counted; the sum over its batches of what they weigh. */
static double count_epoch(bench *b, const convoy_dataset *set, uint32_t epoch, size_t counts[4],
                          uint32_t order[FEW]) {
    static const float weights[] = {1, 2.5f, 100, 7};
    double said = 0, found = 0;
    size_t done = 0;
    assert_ok(cvy_loader_start(b->loader, epoch, 0));
    for (int n = 1; n > 0;) {
        said += cvy_loader_next_weight(b->loader, weights);
        assert_ok(cvy_loader_next(b->loader, b->input, b->labels, &n));
        for (int i = 0; i < n; i++) {
            const uint32_t index = cvy_loader_indices(b->loader)[i];
            const int class = convoy_dataset_label(set, index);
            order[done++] = index;
            counts[class]++;
            found += (double)weights[class];
        }
    }
    assert_int_equal(done, FEW);
    assert_true(fabs(said - found) < 1e-6);
    return said;
}

static void balanced_draws_take_all_classes_alike(void **state) {
    (void)state;
    convoy_dataset *set = unbalanced_set();
    cvy_loader_options options = default_options(ways[0]);
    size_t counts[4] = {0}, once[4] = {0};
    uint32_t first[FEW], order[FEW];
    bool taken[FEW] = {false};
    options.balanced = true;
    bench b = open_bench(set, &options);
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        count_epoch(&b, set, epoch, counts, order);
        for (int i = 0; i < FEW; i++)
            taken[order[i]] = true;
        if (epoch == 0)
            memcpy(first, order, sizeof order);
        else
            assert_memory_not_equal(first, order, sizeof order);
    }
    for (int c = 0; c < 4; c++) /* of 1000 a third each, within five deviations */
        assert_in_range(counts[c], c == 2 ? 0 : 333 - 75, c == 2 ? 0 : 333 + 75);
    for (int i = 0; i < FEW; i++) /* no image of the rare classes is forgotten */
        assert_true(taken[i] || convoy_dataset_label(set, (size_t)i) == 0);
    count_epoch(&b, set, 0, once, order);
    assert_memory_equal(first, order, sizeof order);
    close_bench(&b);
    /* Shuffled, each comes once. */
    options.balanced = false;
    b = open_bench(set, &options);
    memset(counts, 0, sizeof counts);
    count_epoch(&b, set, 0, counts, order);
    size_t images[4] = {0};
    for (size_t i = 0; i < FEW; i++)
        images[convoy_dataset_label(set, i)]++;
    assert_memory_equal(counts, images, sizeof counts);
    close_bench(&b);
    convoy_dataset_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_the_sets_images),
        cmocka_unit_test(batches_come_in_pieces),
        cmocka_unit_test(resizing_and_a_border),
        cmocka_unit_test(batches_are_augmented),
        cmocka_unit_test(batches_take_steps),
        cmocka_unit_test(batches_are_mixed),
        cmocka_unit_test(flips_of_digits_are_warned_of),
        cmocka_unit_test(every_way_gives_the_same_bits),
        cmocka_unit_test(an_epoch_resumes_at_any_batch),
        cmocka_unit_test(epochs_begin_while_others_are_under_way),
        cmocka_unit_test(the_order_is_of_seed_and_epoch),
        cmocka_unit_test(a_share_is_a_part_of_each_batch),
        cmocka_unit_test(nobody_makes_the_other_images),
        cmocka_unit_test(without_shuffle),
        cmocka_unit_test(balanced_draws_take_all_classes_alike),
        cmocka_unit_test(budgets_decide_what_is_resident),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(photographs_are_kept_whole),
        cmocka_unit_test(photographs_of_a_part_are_whole),
        cmocka_unit_test(a_damaged_photograph_is_named),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failures;
}
