/* Pieces of a batch on one rank: the tree, the figures, running statistics, batches that do not divide. */
#include "support/models.h"
#include "train/step.h"

enum { IMAGES = 50, BATCH = 20, SIDE = 6 };

static const char yaml[] =
    "input: [1, 6, 6]\n"
    "layers: [{Conv2d: {out_channels: 4, kernel_size: 3}}, {BatchNorm2d: {momentum: 0.3}}, ReLU, "
    "{MaxPool2d: {kernel_size: 2}}, Flatten, {Dropout: {p: 0.4}}, {Linear: {out_features: 5}}]\n"
    "recipe: {optimizer: {SGD: {lr: 0.1, momentum: 0.9}}}\n";

/* ---- the tree ---- */

/* Values whose sum depends on the order. */
static float leaf(unsigned i) {
    return ldexpf(1, (int)(i * 11 % 25)) / 3 + (float)i / 7;
}

static void a_tree_has_one_sum_whoever_has_its_leaves(void **state) {
    (void)state;
    const float expected = ((leaf(0) + leaf(1)) + (leaf(2) + leaf(3))) + ((leaf(4) + leaf(5)) + leaf(6));
    float other = 0;
    for (unsigned i = 0; i < 7; i++)
        other += leaf(i);
    assert_true(other != expected); /* else the test says nothing */
    for (unsigned a = 0; a <= 7; a++)
        for (unsigned b = a; b <= 7; b++) {
            const unsigned ends[] = {0, a, b, 7};
            cvy_span spans[3 * CVY_SPANS];
            float rows[3 * CVY_SPANS];
            int count = 0;
            for (int part = 0; part < 3; part++)
                count += cvy_spans_of(ends[part], ends[part + 1], spans + count);
            for (int i = 0; i < count; i++) { /* what each part adds up by itself */
                cvy_span single[8];
                float leaves[8];
                for (unsigned l = 0; l < spans[i].count; l++) {
                    single[l] = (cvy_span){l, 1};
                    leaves[l] = leaf(spans[i].first + l);
                }
                cvy_spans_sum(single, (int)spans[i].count, leaves, 1);
                rows[i] = leaves[0];
            }
            cvy_spans_sum(spans, count, rows, 1);
            assert_true(rows[0] == expected);
        }
}

static void subtrees_are_as_large_as_they_can_be(void **state) {
    (void)state;
    cvy_span spans[CVY_SPANS];
    assert_int_equal(cvy_spans_of(0, 8, spans), 1);
    assert_int_equal(cvy_spans_of(3, 9, spans), 3);
    const cvy_span expected[] = {{3, 1}, {4, 4}, {8, 1}};
    assert_memory_equal(spans, expected, sizeof expected);
    assert_int_equal(cvy_spans_of(5, 5, spans), 0);
}

static void ranks_are_rounded_up(void **state) {
    (void)state;
    assert_int_equal(cvy_pieces_wanted(0, 1), 1);
    assert_int_equal(cvy_pieces_wanted(0, 3), 4);
    assert_int_equal(cvy_pieces_wanted(0, 4), 4);
    assert_int_equal(cvy_pieces_wanted(6, 4), 6);
    assert_int_equal(cvy_pieces_images(20, 8), 3);
    /* 20 in pieces of 3, micro-batches of 2: 2 and 1; a last batch of 10: 3, 3, 3 and 1. */
    assert_int_equal(cvy_pieces_least(50, 20, 3, 2), 1);
    assert_int_equal(cvy_pieces_least(50, 20, 5, 5), 5);
    assert_int_equal(cvy_pieces_least(43, 20, 5, 5), 3);
    assert_int_equal(cvy_pieces_least(9, 20, 5, 5), 4);
    assert_int_equal(cvy_pieces_least(40, 20, 7, 7), 6);
}

static void pieces_are_dealt_out_by_speed(void **state) {
    (void)state;
    const struct {
        double seconds[3];
        unsigned count, first[4];
        double slowest;
    } cases[] = {
        {{1, 1, 1}, 6, {0, 2, 4, 6}, 2},     {{1, 3, 1}, 7, {0, 3, 4, 7}, 3},
        {{1, 100, 1}, 4, {0, 2, 3, 4}, 100}, {{0.5, 0.25, 1}, 14, {0, 4, 12, 14}, 2},
        {{1, 1, 1}, 2, {0, 1, 2, 2}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned first[4];
        assert_true(cvy_pieces_deal(cases[i].seconds, 3, cases[i].count, first) == cases[i].slowest);
        assert_memory_equal(first, cases[i].first, sizeof first);
    }
    assert_int_equal(cvy_pieces_wanted_unlike(0, 3, 256), 32);
    assert_int_equal(cvy_pieces_wanted_unlike(0, 3, 20), 8);
    assert_int_equal(cvy_pieces_wanted_unlike(6, 3, 256), 6);
}

/* ---- training ---- */

typedef struct outcome {
    float *values; /* of the model, statistics included */
    size_t count;
    long long tracked;
    double loss;
    unsigned long long correct;
} outcome;

static outcome train_model(const char *text, bool together, const convoy_dataset *set, int piece,
                           unsigned pieces, int epochs) {
    convoy_model *model = test_model(text);
    convoy_network *network = NULL;
    cvy_training training;
    cvy_pieces cut = {0};
    cvy_loader *loader = NULL;
    cvy_network_options options = {.batch_size = piece, .training = true, .shares = together, .seed = 9};
    assert_ok(convoy_model_initialise(model, 4));
    assert_ok(cvy_network_create(model, test_device(), &options, &network));
    assert_ok(cvy_training_create(network, test_device(), BATCH, &training));
    if (pieces) {
        assert_ok(cvy_pieces_create(network, test_device(), NULL, pieces, BATCH, false, &cut));
        training.pieces = &cut;
        if (together)
            assert_ok(cvy_pieces_join(&cut, &training, &options));
    }
    const cvy_loader_options about = {.batch_size = BATCH,
                                      .piece = piece,
                                      .pitch = cvy_network_pitch(network),
                                      .image = cvy_model_image(model),
                                      .shuffle = true,
                                      .device_budget = SIZE_MAX};
    assert_ok(cvy_loader_create(test_device(), set, &about, &loader));
    unsigned long long step = 0;
    for (int epoch = 0; epoch < epochs; epoch++) {
        assert_ok(cvy_loader_start(loader, (uint32_t)epoch, 0));
        for (int done = 0, n; done < IMAGES; done += n) {
            n = IMAGES - done < BATCH ? IMAGES - done : BATCH;
            assert_ok(cvy_training_step(&training, loader, n, step++));
            assert_ok(cvy_statistics_read(&training.statistics));
        }
    }
    assert_int_equal(training.statistics.images, epochs * IMAGES);
    assert_ok(cvy_network_download(network));
    outcome o = {.loss = cvy_statistics_loss(&training.statistics), .correct = training.statistics.correct};
    cvy_named_tensor *tensors = NULL;
    size_t tensor_count = 0;
    assert_ok(cvy_model_state(model, &tensors, &tensor_count));
    o.values = calloc(4096, sizeof *o.values);
    for (size_t i = 0; i < tensor_count; i++)
        if (strcmp(tensors[i].dtype, "F32") == 0) {
            memcpy(o.values + o.count, tensors[i].data, tensors[i].bytes);
            o.count += tensors[i].bytes / sizeof(float);
        } else {
            o.tracked = *(const int64_t *)tensors[i].data;
        }
    free(tensors);
    cvy_loader_free(loader);
    cvy_training_free(&training);
    cvy_pieces_free(&cut);
    convoy_network_close(network);
    convoy_model_free(model);
    return o;
}

static outcome train(const convoy_dataset *set, int piece, unsigned pieces, int epochs) {
    return train_model(yaml, false, set, piece, pieces, epochs);
}

/* Micro-batches of the same images have the same gradients, masks and statistics, added up one after the
   other, and moved by the kernel. */
static void pieces_are_micro_batches_in_another_order(void **state) {
    (void)state;
    convoy_dataset *set = NULL;
    const convoy_dataset_options options = {
        .channels = 1, .height = SIDE, .width = SIDE, .synthetic_images = IMAGES, .synthetic_classes = 5};
    assert_ok(convoy_dataset_open("synthetic", "train", &options, &set));
    const struct {
        unsigned pieces;
        int images;
    } cases[] = {{1, 20}, {2, 10}, {4, 5}, {10, 2}, {3, 7}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outcome expected = train(set, cases[i].images, 0, 2),
                actual = train(set, cases[i].images, cases[i].pieces, 2);
        assert_int_equal(actual.count, expected.count);
        test_close("values", actual.values, expected.values, expected.count, 2e-5);
        assert_int_equal(actual.tracked, expected.tracked);
        assert_true(actual.tracked > 0);
        assert_true(fabs(actual.loss - expected.loss) < 1e-5 * expected.loss);
        assert_int_equal(actual.correct, expected.correct);
        free(expected.values);
        free(actual.values);
    }
    convoy_dataset_free(set);
}

/* Twice the forwards in a piece: what a piece leaves is moved by both. */
static void pieces_have_micro_batches(void **state) {
    (void)state;
    convoy_dataset *set = NULL;
    const convoy_dataset_options options = {
        .channels = 1, .height = SIDE, .width = SIDE, .synthetic_images = IMAGES, .synthetic_classes = 5};
    assert_ok(convoy_dataset_open("synthetic", "train", &options, &set));
    outcome expected = train(set, 5, 0, 2), actual = train(set, 5, 2, 2);
    test_close("values", actual.values, expected.values, expected.count, 2e-5);
    assert_int_equal(actual.tracked, expected.tracked);
    free(expected.values);
    free(actual.values);
    convoy_dataset_free(set);
}

/* Without dropout, which draws by piece: statistics of all pieces are those of the batch. That includes a
   last batch of 10, of which the last pieces have nothing, and pieces of one image. */
static void pieces_share_statistics(void **state) {
    (void)state;
    static const char both[] =
        "input: [1, 6, 6]\n"
        "layers: [{Conv2d: {out_channels: 4, kernel_size: 3}}, {BatchNorm2d: {momentum: 0.3}}, ReLU, "
        "{Conv2d: {out_channels: 6, kernel_size: 4}}, {BatchNorm2d: {affine: false}}, Flatten, "
        "{Linear: {out_features: 5}}]\n"
        "recipe: {optimizer: {SGD: {lr: 0.1, momentum: 0.9}}}\n";
    convoy_dataset *set = NULL;
    const convoy_dataset_options options = {
        .channels = 1, .height = SIDE, .width = SIDE, .synthetic_images = IMAGES, .synthetic_classes = 5};
    assert_ok(convoy_dataset_open("synthetic", "train", &options, &set));
    outcome expected = train_model(both, false, set, BATCH, 0, 2);
    const unsigned cases[] = {1, 4, 3, 20};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outcome actual = train_model(both, true, set, cvy_pieces_images(BATCH, cases[i]), cases[i], 2);
        test_close("values", actual.values, expected.values, expected.count, 5e-5);
        assert_int_equal(actual.tracked, expected.tracked);
        assert_true(fabs(actual.loss - expected.loss) < 1e-5 * expected.loss);
        free(actual.values);
    }
    outcome apart = train_model(both, false, set, 5, 4, 2); /* which is another run */
    assert_true(fabs(apart.loss - expected.loss) > 1e-3 * expected.loss);
    free(apart.values);
    free(expected.values);
    convoy_dataset_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_has_one_sum_whoever_has_its_leaves),
        cmocka_unit_test(subtrees_are_as_large_as_they_can_be),
        cmocka_unit_test(ranks_are_rounded_up),
        cmocka_unit_test(pieces_are_dealt_out_by_speed),
        cmocka_unit_test(pieces_are_micro_batches_in_another_order),
        cmocka_unit_test(pieces_have_micro_batches),
        cmocka_unit_test(pieces_share_statistics),
    };
    setenv("CONVOY_TEST_DEVICE", "host", 1); /* no kernel is meant */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
