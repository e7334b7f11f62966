/* How a loader looks at images: augmentation, and photographs that are kept whole. */
#include <unistd.h>

#include <png.h>

#include "base/file.h"
#include "convoy/log.h"
#include "data/loader_bench.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_augmented),
        cmocka_unit_test(batches_take_steps),
        cmocka_unit_test(batches_are_mixed),
        cmocka_unit_test(flips_of_digits_are_warned_of),
        cmocka_unit_test(photographs_are_kept_whole),
        cmocka_unit_test(photographs_of_a_part_are_whole),
        cmocka_unit_test(a_damaged_photograph_is_named),
    };
    const int failures = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failures;
}
