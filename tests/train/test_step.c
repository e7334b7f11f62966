/* A step in pieces: gradients, figures and dropout's masks of a batch that is larger than the network. */
#include "support/models.h"
#include "train/step.h"

enum { IMAGES = 50, SIDE = 6, CLASSES = 5 };

static const char plain[] =
    "input: [1, 6, 6]\n"
    "layers: [{Conv2d: {out_channels: 4, kernel_size: 3}}, ReLU, {MaxPool2d: {kernel_size: 2}}, Flatten, "
    "{Linear: {out_features: 5}}]\n"
    "recipe: {optimizer: {SGD: {lr: 0.1, momentum: 0.9}}}\n";
static const char dropping[] = "input: [8, 1, 1]\n"
                               "layers: [{Dropout: {p: 0.5}}, Flatten, {Linear: {out_features: 5}}]\n"
                               "recipe: {optimizer: {SGD: {lr: 1}}}\n";

/* A model ready to be trained in batches of batch_size, `piece` images at a time. */
typedef struct subject {
    convoy_model *model;
    convoy_network *network;
    cvy_training training;
} subject;

static subject open_subject(const char *yaml, int batch_size, int piece) {
    subject s = {.model = test_model(yaml)};
    cvy_network_options options = {.batch_size = piece, .training = true, .seed = 9};
    assert_ok(convoy_model_initialise(s.model, 4));
    assert_ok(cvy_network_create(s.model, test_device(), &options, &s.network));
    assert_ok(cvy_training_create(s.network, test_device(), batch_size, &s.training));
    return s;
}

static void close_subject(subject *s) {
    cvy_training_free(&s->training);
    convoy_network_close(s->network);
    convoy_model_free(s->model);
}

static float *parameters(const subject *s) {
    return test_read(cvy_network_parameters(s->network), cvy_network_parameter_count(s->network));
}

static convoy_dataset *open_set(void) {
    convoy_dataset *set = NULL;
    const convoy_dataset_options options = {.channels = 1,
                                            .height = SIDE,
                                            .width = SIDE,
                                            .synthetic_images = IMAGES,
                                            .synthetic_classes = CLASSES};
    assert_ok(convoy_dataset_open("synthetic", "train", &options, &set));
    return set;
}

/* Two epochs; *loss is the mean over them. */
static float *train(const convoy_dataset *set, int batch_size, int piece, double *loss,
                    unsigned long long *correct) {
    subject s = open_subject(plain, batch_size, piece);
    cvy_loader_options options = {.batch_size = batch_size,
                                  .piece = piece,
                                  .pitch = cvy_network_pitch(s.network),
                                  .image = cvy_model_image(s.model),
                                  .shuffle = true,
                                  .device_budget = SIZE_MAX};
    cvy_loader *loader = NULL;
    assert_ok(cvy_loader_create(test_device(), set, &options, &loader));
    unsigned long long step = 0;
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        assert_ok(cvy_loader_start(loader, epoch, 0));
        for (int done = 0, n; done < IMAGES; done += n) {
            n = IMAGES - done < batch_size ? IMAGES - done : batch_size;
            assert_ok(cvy_training_step(&s.training, loader, n, step++));
            assert_ok(cvy_statistics_read(&s.training.statistics));
        }
    }
    assert_int_equal(s.training.statistics.images, 2 * IMAGES);
    *loss = cvy_statistics_loss(&s.training.statistics);
    *correct = s.training.statistics.correct;
    float *values = parameters(&s);
    cvy_loader_free(loader);
    close_subject(&s);
    return values;
}

static void pieces_add_up_to_the_batch(void **state) {
    (void)state;
    convoy_dataset *set = open_set();
    double whole_loss, loss;
    unsigned long long whole_correct, correct;
    float *expected = train(set, 20, 20, &whole_loss, &whole_correct);
    subject s = open_subject(plain, 20, 20);
    size_t count = cvy_network_parameter_count(s.network);
    float *initial = parameters(&s);
    assert_true(memcmp(initial, expected, count * sizeof(float)) != 0);
    close_subject(&s);
    const int pieces[] = {1, 7, 10, 16, 19};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        float *actual = train(set, 20, pieces[i], &loss, &correct);
        test_close("parameters", actual, expected, count, 1e-5);
        assert_true(fabs(loss - whole_loss) < 1e-5 * whole_loss);
        assert_int_equal(correct, whole_correct);
        free(actual);
    }
    free(initial);
    free(expected);
    convoy_dataset_free(set);
}

/* Parameters after one step over `n` ones of class 0, of which the network takes 16 at a time. */
static float *step_over_ones(int batch_size, int n, unsigned long long step, size_t *count) {
    subject s = open_subject(dropping, batch_size, 16);
    float ones[8 * 16];
    for (int i = 0; i < 8 * 16; i++)
        ones[i] = 1;
    assert_ok(cvy_buffer_write(cvy_network_input(s.network), 0, ones, sizeof ones));
    assert_ok(cvy_training_step(&s.training, NULL, n, step));
    float *values = parameters(&s);
    *count = cvy_network_parameter_count(s.network);
    close_subject(&s);
    return values;
}

/* Pieces 0 and 1 of a batch of two drop what steps 0 and 1 of whole batches drop: the step is their mean. */
static void pieces_drop_different_values(void **state) {
    (void)state;
    size_t count;
    float *both = step_over_ones(32, 32, 0, &count), *first = step_over_ones(16, 16, 0, &count);
    float *second = step_over_ones(16, 16, 1, &count), *late = step_over_ones(32, 16, 1, &count);
    float *third = step_over_ones(16, 16, 2, &count);
    assert_true(memcmp(first, second, count * sizeof(float)) != 0);
    test_close("the last batch, of one piece", late, third, count, 1e-6);
    for (size_t i = 0; i < count; i++)
        first[i] = (first[i] + second[i]) / 2;
    test_close("parameters", both, first, count, 1e-6);
    free(both);
    free(first);
    free(second);
    free(third);
    free(late);
}

/* A batch's loss is that of probabilities of two classes each, divided by its images, weights or not. */
static void mixed_targets_are_learned(void **state) {
    (void)state;
    char yaml[512];
    const float weights[CLASSES] = {0.5f, 2, 1, 3, 0.25f};
    snprintf(yaml, sizeof yaml, "%.*s, augment: [MixUp], label_smoothing: 0.1}\n",
             (int)(strrchr(plain, '}') - plain), plain);
    subject s = open_subject(yaml, 20, 20);
    convoy_dataset *set = open_set();
    cvy_training_free(&s.training);
    assert_ok(cvy_training_create_weighted(s.network, test_device(), 20, weights, &s.training));
    const size_t pitch = (size_t)cvy_network_pitch(s.network), count = CLASSES * pitch;
    const cvy_loader_options options = {.batch_size = 20,
                                        .pitch = (int)pitch,
                                        .image = cvy_model_image(s.model),
                                        .shuffle = true,
                                        .augment = &cvy_model_recipe(s.model)->augment,
                                        .device_budget = SIZE_MAX};
    cvy_loader *loader = NULL;
    double left;
    assert_ok(cvy_loader_create(test_device(), set, &options, &loader));
    assert_ok(cvy_loader_start(loader, 0, 0));
    const float scale = cvy_training_scale(&s.training, loader, 20, &left);
    assert_true(scale == 0.05f && left == 1);
    assert_ok(cvy_training_micro_batch(
        &s.training, loader,
        &(cvy_micro_batch){
            .n = 20, .scale = scale, .slot = cvy_statistics_next_slot(&s.training.statistics, 20)}));
    assert_ok(cvy_statistics_read(&s.training.statistics));
    assert_ok(cvy_network_forward(s.network, 20, true, 0));
    float *output = test_read(cvy_network_output(s.network), count), losses[64];
    int32_t labels[64], predictions[64];
    assert_ok(cvy_buffer_read(s.training.labels, 0, labels, pitch * sizeof *labels));
    const cvy_soft_targets targets = {0.1, weights, true, cvy_loader_mix(loader)->target};
    assert_true(targets.own > 0.02 && targets.own < 0.98);
    cvy_loss_soft_reference(&targets, CLASSES, (int)pitch, 20, output, labels, scale,
                            (cvy_loss_results){losses, predictions, NULL});
    double sum = 0;
    unsigned long long right = 0;
    for (int i = 0; i < 20; i++) {
        sum += losses[i];
        right += predictions[i] == labels[targets.own < 0.5 ? (i + 19) % 20 : i];
    }
    assert_true(fabs(cvy_statistics_loss(&s.training.statistics) - sum / 20) < 1e-5);
    assert_int_equal(s.training.statistics.correct, right);
    free(output);
    cvy_loader_free(loader);
    convoy_dataset_free(set);
    close_subject(&s);
}

/* ---- memory ---- */

/* What the plan leaves out: the labels of a batch, the ring of statistics, and a cache line for each of the
   buffers. */
static size_t beside_the_plan(int pitch) {
    return sizeof(int32_t) * (size_t)pitch +
           2 * sizeof(float) * CVY_STATISTICS_SLOTS * cvy_loss_parts(test_device(), pitch) + 16 * (size_t)64;
}

/* `before`: bytes in use before the network was made. */
static void assert_as_planned(const convoy_network *network, size_t before) {
    cvy_memory parts = cvy_network_memory(network);
    size_t planned = cvy_memory_total(&parts), used = cvy_device_get_counters(test_device()).bytes - before;
    if (used < planned || used > planned + beside_the_plan(cvy_network_pitch(network)))
        fail_msg("%zu bytes were planned, %zu are in use", planned, used);
}

/* Without a device, but for its traits, the plan is the same. */
static void assert_foreseen(const convoy_network *network, bool training) {
    const cvy_memory parts = cvy_network_memory(network),
                     foreseen =
                         cvy_model_memory(cvy_network_model(network), cvy_device_get_traits(test_device()),
                                          cvy_network_batch_size(network), training);
    assert_memory_equal(&foreseen, &parts, sizeof parts);
}

static void check_memory(const char *yaml, int batch_size, int piece) {
    size_t before = cvy_device_get_counters(test_device()).bytes;
    subject s = open_subject(yaml, batch_size, piece);
    assert_ok(cvy_training_step(&s.training, NULL, batch_size, 0));
    assert_as_planned(s.network, before);
    assert_foreseen(s.network, true);
    cvy_training_free(&s.training);
    convoy_network_close(s.network);
    assert_int_equal(cvy_device_get_counters(test_device()).bytes, before);

    cvy_network_options options = {.batch_size = piece};
    assert_ok(cvy_network_create(s.model, test_device(), &options, &s.network));
    assert_ok(cvy_network_forward(s.network, piece, false, 0));
    assert_as_planned(s.network, before);
    assert_foreseen(s.network, false);
    convoy_network_close(s.network);
    convoy_model_free(s.model);
}

static void memory_is_as_planned(void **state) {
    (void)state;
    static const char normalised[] =
        "input: [3, 13, 11]\n"
        "layers: [{Conv2d: {out_channels: 12, kernel_size: 5}}, BatchNorm2d, ReLU, {MaxPool2d: {kernel_size: "
        "2}}, {Conv2d: {out_channels: 20, kernel_size: 3, padding: 1}}, ReLU, Flatten, {Linear: "
        "{out_features: 30}}, ReLU, {Dropout: {p: 0.5}}, {Linear: {out_features: 7}}]\n"
        "recipe: {optimizer: {Adam: {lr: 0.001}}}\n";
    static const char partly_frozen[] =
        "input: [3, 13, 11]\n"
        "layers: [{Conv2d: {out_channels: 12, kernel_size: 5}}, BatchNorm2d, ReLU, {MaxPool2d: {kernel_size: "
        "2}}, {Conv2d: {out_channels: 20, kernel_size: 3, padding: 1}}, ReLU, Flatten, {Linear: "
        "{out_features: 30}}, ReLU, {Dropout: {p: 0.5}}, {Linear: {out_features: 7}}]\n"
        "recipe: {optimizer: {Adam: {lr: 0.001}}, freeze: [\"0\", \"1\", 7.bias], ema: 0.9, groups: [{match: "
        "\"10\", lr: 0.1}]}\n";
    check_memory(plain, 50, 50);
    check_memory(plain, 50, 17);
    check_memory(dropping, 33, 33);
    check_memory(normalised, 40, 40);
    check_memory(partly_frozen, 40, 40);
}

/* Nothing in an epoch waits for the device but the figures, be the set resident or streamed. */
static void an_epoch_waits_for_its_figures_only(void **state) {
    (void)state;
    convoy_dataset *set = open_set();
    for (int resident = 0; resident < 2; resident++) {
        subject s = open_subject(plain, 4, 4);
        cvy_loader_options options = {.batch_size = 4,
                                      .pitch = cvy_network_pitch(s.network),
                                      .image = cvy_model_image(s.model),
                                      .shuffle = true,
                                      .device_budget = resident ? SIZE_MAX : 0};
        cvy_loader *loader = NULL;
        assert_ok(cvy_loader_create(test_device(), set, &options, &loader));
        assert_int_equal(cvy_loader_resident(loader), resident);
        unsigned long long step = 0, waits = 0, reads = 0;
        for (uint32_t epoch = 0; epoch < 3; epoch++) {
            assert_ok(cvy_loader_start(loader, epoch, 0));
            for (int done = 0, n; done < IMAGES; done += n) {
                n = IMAGES - done < 4 ? IMAGES - done : 4;
                assert_ok(cvy_training_step(&s.training, loader, n, step++));
                if (!cvy_statistics_due(&s.training.statistics))
                    continue;
                assert_ok(cvy_statistics_read(&s.training.statistics));
                reads++;
            }
            if (epoch > 0) /* a resident set's order is written */
                assert_true(cvy_device_get_counters(test_device()).waits - waits <= reads + 1);
            waits = cvy_device_get_counters(test_device()).waits;
            reads = 0;
        }
        cvy_loader_free(loader);
        close_subject(&s);
    }
    convoy_dataset_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_add_up_to_the_batch),          cmocka_unit_test(pieces_drop_different_values),
        cmocka_unit_test(mixed_targets_are_learned),           cmocka_unit_test(memory_is_as_planned),
        cmocka_unit_test(an_epoch_waits_for_its_figures_only),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
