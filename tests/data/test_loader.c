/* Batches on the device: the same bits whether the set is resident or streamed, and whatever the threads. */
#include "data/loader_bench.h"

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
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failures;
}
