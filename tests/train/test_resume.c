/* A run that was stopped and resumed equals one that was not, bit for bit: weights, optimizer state, metrics.
 */
#include <jansson.h>

#include "base/file.h"
#include "convoy/train.h"
#include "model/model.h"
#include "support/run.h"
#include "train/checkpoint.h"

static const char adam[] =
    "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 20\n  epochs: 3\n  eval_every: 4\n";
static const char momentum[] =
    "  optimizer: {SGD: {lr: 0.1, momentum: 0.9, nesterov: true}}\n  batch_size: 24\n  epochs: 2\n";
static const char plain[] =
    "  optimizer: {SGD: {lr: 0.1}}\n  batch_size: 20\n  epochs: 2\n  shuffle: false\n";

static const char scheduled[] =
    "  optimizer: {SGD: {lr: 0.1, momentum: 0.9}}\n  batch_size: 20\n  epochs: 3\n  eval_every: 4\n"
    "  scheduler: {OneCycleLR: {max_lr: 0.2}}\n  ema: 0.8\n  clip_grad_norm: 1\n  label_smoothing: 0.1\n"
    "  class_weights: balanced\n  sampler: balanced\n"
    "  groups: [{match: \"*.bias\", weight_decay: 0.1, lr: 0.05}]\n  freeze: [\"1\"]\n  monitor: loss\n";

static const char pieces[] =
    "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 24\n  micro_batch: 7\n  epochs: 2\n"
    "  augment: [{RandomCrop: {padding: 1}}, RandomHorizontalFlip, {RandomRotation: {degrees: 15}}, "
    "RandAugment, CutMix]\n";

typedef struct fixture {
    char *folder;
    convoy_dataset *train, *test;
} fixture;

static convoy_dataset *open_set(const char *split, size_t limit) {
    convoy_dataset *set = NULL;
    const convoy_dataset_options options = {
        .channels = 1, .height = 8, .width = 8, .synthetic_images = limit};
    assert_ok(convoy_dataset_open("synthetic", split, &options, &set));
    return set;
}

static int open_fixture(void **state) {
    static fixture f;
    f.folder = test_folder_create();
    f.train = open_set("train", 200);
    f.test = open_set("test", 50);
    *state = &f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    convoy_dataset_free(f->train);
    convoy_dataset_free(f->test);
    test_folder_remove(f->folder);
    return 0;
}

/* One call of convoy_train, as one process would make it. */
static convoy_status train_on(convoy_device *device, const fixture *f, const char *recipe,
                              convoy_train_options options, convoy_train_result *result) {
    convoy_model *model = NULL;
    assert_ok(convoy_model_load(test_tiny_model(f->folder, "tiny.yaml", recipe), NULL, &model));
    options.seed = 3;
    convoy_status status = convoy_train(model, device, f->train, f->test, &options, result);
    convoy_model_free(model);
    return status;
}

static convoy_status train(const fixture *f, const char *recipe, convoy_train_options options) {
    return train_on(test_device(), f, recipe, options, NULL);
}

/* Stops after `steps` by max_steps, resumes, and compares with the whole. */
static void stop_and_resume(const fixture *f, const char *recipe, unsigned long long steps) {
    const char *whole = test_path(f->folder, "whole"), *parts = test_path(f->folder, "parts");
    assert_ok(train(f, recipe, (convoy_train_options){.out = whole}));
    assert_ok(train(f, recipe, (convoy_train_options){.out = parts, .max_steps = steps}));
    assert_ok(train(f, recipe, (convoy_train_options){.out = parts, .resume = 1}));
    test_same_run(whole, parts);
}

static void resumes_within_an_epoch(void **state) {
    stop_and_resume(*state, adam, 13);
}
static void resumes_at_an_evaluation(void **state) {
    stop_and_resume(*state, adam, 14);
}
static void resumes_at_an_epoch(void **state) {
    stop_and_resume(*state, adam, 10);
}
static void resumes_momentum_and_a_short_last_batch(void **state) {
    stop_and_resume(*state, momentum, 8); /* 8 of 9 batches: the ninth has 8 images */
}
static void resumes_without_optimizer_state(void **state) {
    stop_and_resume(*state, plain, 11);
}

static void resumes_augmented_batches_in_pieces(void **state) {
    stop_and_resume(*state, pieces, 8);
}

/* An interrupt that comes with the STEP event number `at`. */
typedef struct interruption {
    int at, seen, flag;
} interruption;

static int interrupt_at(void *context, const convoy_progress *p) {
    interruption *i = context;
    if (p->kind == CONVOY_PROGRESS_STEP && ++i->seen == i->at)
        i->flag = 1;
    return 1;
}

/* Interrupted at that step, then at the next one of the rest, and so on until it is done. */
static void interrupt_and_resume(const fixture *f, const char *recipe, int at) {
    const char *whole = test_path(f->folder, "whole"), *parts = test_path(f->folder, "parts");
    assert_ok(train(f, recipe, (convoy_train_options){.out = whole}));
    convoy_status status = CONVOY_INTERRUPTED;
    int runs = 0;
    for (; status == CONVOY_INTERRUPTED && runs < 60; runs++) {
        interruption i = {.at = at};
        status = train(f, recipe,
                       (convoy_train_options){.out = parts,
                                              .resume = runs > 0,
                                              .progress = interrupt_at,
                                              .context = &i,
                                              .interrupt = &i.flag});
        if (status == CONVOY_INTERRUPTED)
            assert_non_null(strstr(convoy_error_message(), "interrupted after step"));
    }
    assert_ok(status);
    assert_true(runs > 1);
    test_same_run(whole, parts);
}

static void resumes_after_interrupts(void **state) {
    interrupt_and_resume(*state, adam, 5);
}
static void resumes_after_interrupted_evaluations(void **state) {
    interrupt_and_resume(*state, adam, 4); /* steps 4, 8 and 10 are followed by an evaluation */
}
static void resumes_rates_after_interrupted_evaluations(void **state) {
    interrupt_and_resume(*state, scheduled, 4);
}
static void resumes_after_many_interrupts(void **state) {
    interrupt_and_resume(*state, adam, 1);
}

static void copy_file(const char *from, const char *to) {
    size_t size;
    char *data = test_read_text(from, &size);
    assert_ok(cvy_file_write(to, data, size));
    free(data);
}

static const char plateau[] = "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 20\n  epochs: 8\n"
                              "  scheduler: {ReduceLROnPlateau: {patience: 0, threshold: 0.2, factor: 0.5}}\n"
                              "  monitor: macro_f1\n  early_stopping: {patience: 2, min_delta: 0.02}\n";

/* The learning rates of all steps are in metrics.csv. */
static void resumes_all_that_a_recipe_asks_for(void **state) {
    const fixture *f = *state;
    stop_and_resume(f, scheduled, 13);
    convoy_train_options longer = {.out = test_path(f->folder, "parts"), .resume = 1, .epochs = 5};
    assert_fails(train(f, scheduled, longer), CONVOY_INVALID, "a schedule over 3, not 5");
}
static void resumes_what_waits_for_improvements(void **state) {
    const fixture *f = *state;
    const char *parts = test_path(f->folder, "parts");
    stop_and_resume(f, plateau, 45);
    char *metrics = test_read_text(test_path(parts, "metrics.csv"), NULL);
    assert_non_null(strstr(metrics, ",0.005\n")); /* reduced */
    free(metrics);
    assert_ok(train(f, plateau, (convoy_train_options){.out = parts, .resume = 1, .max_steps = 1000}));
}

/* The last column of each row of metrics.csv against torch's rate of the step that the second names. */
static void check_rates(const char *out, const json_t *given) {
    char *metrics = test_read_text(test_path(out, "metrics.csv"), NULL), *next = strchr(metrics, '\n') + 1;
    const json_t *rates = json_object_get(given, "rates");
    size_t step = 0;
    for (char *end; (end = strchr(next, '\n')); next = end + 1) {
        *end = '\0';
        step = strtoul(strchr(next, ',') + 1, NULL, 10);
        const double found = strtod(strrchr(next, ',') + 1, NULL),
                     expected = json_number_value(json_array_get(rates, step - 1));
        if (!(fabs(found - expected) <= 1e-6 * expected + 1e-15))
            fail_msg("%s, step %zu: rate %.9g, torch has %.9g",
                     json_string_value(json_object_get(given, "scheduler")), step, found, expected);
    }
    assert_int_equal(step, json_array_size(rates));
    free(metrics);
}

/* Each schedule of tests/model/schedules.json, in a run that was stopped once within an epoch. What
   ReduceLROnPlateau does follows from the losses of a run: resumes_what_waits_for_improvements. */
static void rates_across_a_resume_are_torchs(void **state) {
    const fixture *f = *state;
    const convoy_dataset_options few = {.channels = 1, .height = 8, .width = 8, .synthetic_images = 5};
    convoy_device *host = NULL;
    convoy_dataset *set = NULL;
    json_t *all = json_load_file(CONVOY_SOURCE_DIR "/tests/model/schedules.json", 0, NULL), *given;
    size_t i, checked = 0;
    assert_ok(convoy_device_open("host", &host));
    assert_ok(convoy_dataset_open("synthetic", "train", &few, &set));
    json_array_foreach(json_object_get(all, "cases"), i, given) {
        char yaml[1024], name[32];
        const char *scheduler = json_string_value(json_object_get(given, "scheduler"));
        if (strstr(scheduler, "Plateau"))
            continue;
        snprintf(name, sizeof name, "rates-%zu", i);
        snprintf(
            yaml, sizeof yaml,
            "input: [1, 8, 8]\nlayers: [Flatten, {Linear: {out_features: 10}}]\nrecipe:\n  batch_size: 1\n"
            "  eval_every: 1\n  epochs: 24\n  optimizer: %s\n  scheduler: %s\n",
            json_string_value(json_object_get(given, "optimizer")), scheduler);
        const char *out = test_path(f->folder, name);
        test_write_file(f->folder, "rates.yaml", yaml, strlen(yaml));
        for (int part = 0; part < 2; part++) {
            const convoy_train_options options = {
                .out = out, .max_steps = part ? 0 : 13 + 7 * i % 80, .resume = part};
            convoy_model *model = NULL;
            assert_ok(convoy_model_load(test_path(f->folder, "rates.yaml"), NULL, &model));
            assert_ok(convoy_train(model, host, set, set, &options, NULL));
            convoy_model_free(model);
        }
        check_rates(out, given);
        checked++;
    }
    assert_true(checked > 18);
    json_decref(all);
    convoy_dataset_free(set);
    convoy_device_close(host);
}

/* tests/train/run_of_0.1 was left by version 0.1 after 7 of 15 steps. */
static void resumes_a_run_of_an_older_version(void **state) {
    const fixture *f = *state;
    static const char *const names[] = {"checkpoint.safetensors", "metrics.csv", "model.yaml"};
    const char *out = test_path(f->folder, "older"), *from = CONVOY_SOURCE_DIR "/tests/train/run_of_0.1";
    convoy_device *host = NULL;
    convoy_model *model = NULL;
    convoy_dataset *sets[2] = {open_set("train", 100), open_set("test", 40)};
    convoy_train_result result = {0};
    const convoy_train_options options = {.out = out, .resume = 1};
    assert_ok(cvy_folder_create(out));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        copy_file(test_path(from, names[i]), test_path(out, names[i]));
    assert_ok(convoy_device_open("host", &host));
    assert_ok(convoy_model_load(test_path(out, "model.yaml"), NULL, &model));
    assert_ok(convoy_train(model, host, sets[0], sets[1], &options, &result));
    assert_true(result.steps == 15 && result.train_loss < 1);
    char *metrics = test_read_text(test_path(out, "metrics.csv"), NULL);
    assert_non_null(strstr(metrics, ",,,\n2,10,")); /* the row that was there, and the next */
    free(metrics);
    convoy_model_free(model);
    convoy_dataset_free(sets[0]);
    convoy_dataset_free(sets[1]);
    convoy_device_close(host);
}

/* Killed after it had gone beyond its checkpoint: files of a later moment lie beside an older checkpoint. */
static void resumes_from_an_older_checkpoint(void **state) {
    const fixture *f = *state;
    const char *whole = test_path(f->folder, "whole"), *parts = test_path(f->folder, "parts");
    assert_ok(train(f, adam, (convoy_train_options){.out = whole}));
    assert_ok(train(f, adam, (convoy_train_options){.out = parts, .max_steps = 7}));
    copy_file(test_path(parts, "checkpoint.safetensors"), test_path(f->folder, "older"));
    assert_ok(train(f, adam, (convoy_train_options){.out = parts, .resume = 1, .max_steps = 23}));
    copy_file(test_path(f->folder, "older"), test_path(parts, "checkpoint.safetensors"));
    assert_ok(train(f, adam, (convoy_train_options){.out = parts, .resume = 1}));
    test_same_run(whole, parts);
}

static void checkpoints_do_not_change_the_run(void **state) {
    const fixture *f = *state;
    const char *whole = test_path(f->folder, "whole"), *often = test_path(f->folder, "often");
    assert_ok(train(f, adam, (convoy_train_options){.out = whole}));
    assert_ok(train(f, adam, (convoy_train_options){.out = often, .checkpoint_every = 3}));
    test_same_run(whole, often);
}

static void goes_on_for_more_epochs(void **state) {
    const fixture *f = *state;
    const char *whole = test_path(f->folder, "whole"), *parts = test_path(f->folder, "parts");
    convoy_train_result result = {0};
    assert_ok(train(f, momentum, (convoy_train_options){.out = whole}));
    assert_ok(train(f, momentum, (convoy_train_options){.out = parts, .epochs = 1}));
    assert_ok(train(f, momentum, (convoy_train_options){.out = parts, .resume = 1}));
    test_same_run(whole, parts);
    assert_ok(
        train_on(test_device(), f, momentum, (convoy_train_options){.out = parts, .resume = 1}, &result));
    assert_true(result.epochs == 2 && result.images_per_second == 0); /* nothing was left to do */
    test_same_run(whole, parts);
}

static void resumes_on_another_device(void **state) {
    const fixture *f = *state;
    const char *parts = test_path(f->folder, "parts");
    convoy_device *host = NULL;
    convoy_train_result result = {0};
    assert_ok(convoy_device_open("host", &host));
    assert_ok(train(f, adam, (convoy_train_options){.out = parts, .max_steps = 13}));
    assert_ok(train_on(host, f, adam, (convoy_train_options){.out = parts, .resume = 1}, &result));
    assert_int_equal(result.steps, 30);
    convoy_device_close(host);
}

static void write_shade(const char *folder, int i) {
    char name[64];
    uint8_t pixels[64];
    memset(pixels, 8 * i, sizeof pixels);
    snprintf(name, sizeof name, "shades/train/%d/%02d.png", i % 2, i);
    test_write_png(folder, name, 8, 8, 0, 8, 0, pixels);
}

static convoy_status train_on_shades(const fixture *f, const char *out, int resume) {
    convoy_model *model = NULL;
    convoy_dataset *set = NULL;
    const convoy_dataset_options options = {.memory = 1}; /* decoded as they are needed */
    const char *path = test_write(f->folder, "shades.yaml",
                                  "input: [1, 8, 8]\nlayers:\n  - Flatten\n"
                                  "  - Linear: {out_features: 2}\n"
                                  "recipe: {batch_size: 4, epochs: 2, optimizer: {SGD: {lr: 0.1}}}\n");
    assert_ok(convoy_model_load(path, NULL, &model));
    assert_ok(convoy_dataset_open(test_path(f->folder, "shades"), "train", &options, &set));
    const convoy_train_options train_options = {.out = out, .resume = resume, .no_shuffle = 1};
    convoy_status status = convoy_train(model, test_device(), set, set, &train_options, NULL);
    convoy_dataset_free(set);
    convoy_model_free(model);
    return status;
}

/* A damaged image in the middle of an epoch: the steps before it are kept, and the run goes on to the same
   bits once it is mended. */
static void an_image_that_fails_takes_nothing(void **state) {
    const fixture *f = *state;
    const char *whole = test_path(f->folder, "whole"), *parts = test_path(f->folder, "parts");
    unsigned long long step;
    for (int i = 0; i < 24; i++)
        write_shade(f->folder, i);
    test_write_file(f->folder, "shades/test/0/0.png", "", 0);
    assert_ok(train_on_shades(f, whole, 0));
    test_write_file(f->folder, "shades/train/1/05.png", "x", 1);
    assert_fails(train_on_shades(f, parts, 0), CONVOY_INVALID, "the state of the step before is saved in");
    assert_ok(cvy_checkpoint_step(test_path(parts, "checkpoint.safetensors"), &step));
    assert_int_equal(step, 3); /* twelve images of class 0 come first, 05 is among the next four */
    write_shade(f->folder, 5);
    assert_ok(train_on_shades(f, parts, 1));
    test_same_run(whole, parts);
}

/* ---- checkpoints that do not belong, or are damaged ---- */

static void refuses_another_run(void **state) {
    const fixture *f = *state;
    const char *out = test_path(f->folder, "run");
    const char wider[] = "  optimizer: {Adam: {lr: 0.02}}\n  batch_size: 20\n  epochs: 3\n  eval_every: 4\n";
    assert_ok(train(f, adam, (convoy_train_options){.out = out, .max_steps = 3}));
    assert_fails(train(f, wider, (convoy_train_options){.out = out, .resume = 1}), CONVOY_INVALID,
                 "lr: 0.01");
    assert_fails(train(f, adam, (convoy_train_options){.out = out, .resume = 1, .batch_size = 10}),
                 CONVOY_INVALID, "batch size of 20");
    assert_fails(train(f, adam, (convoy_train_options){.out = out, .resume = 1, .micro_batch = 5}),
                 CONVOY_INVALID, "micro-batch of 20, not 5");
    assert_fails(train(f, adam, (convoy_train_options){.out = out, .resume = 1, .no_shuffle = 1}),
                 CONVOY_INVALID, "with shuffling");
    convoy_model *model = NULL;
    assert_ok(convoy_model_load(test_tiny_model(f->folder, "tiny.yaml", adam), NULL, &model));
    convoy_train_options options = {.out = out, .resume = 1, .seed = 4};
    assert_fails(convoy_train(model, test_device(), f->train, f->test, &options, NULL), CONVOY_INVALID,
                 "seed 3");
    options.seed = 3;
    convoy_dataset *fewer = open_set("train", 100);
    assert_fails(convoy_train(model, test_device(), fewer, f->test, &options, NULL), CONVOY_INVALID,
                 "training images");
    convoy_dataset_free(fewer);
    convoy_model_free(model);
}

/* Whatever byte is wrong, the answer is an error or a run; never a crash, and never another file. */
static void survives_damaged_checkpoints(void **state) {
    const fixture *f = *state;
    const char *out = test_path(f->folder, "run"), *path = test_path(out, "checkpoint.safetensors");
    size_t size;
    assert_ok(train(f, plain, (convoy_train_options){.out = out, .max_steps = 3}));
    char *good = test_read_text(path, &size);
    const convoy_train_options resume = {.out = out, .resume = 1, .max_steps = 3};
    assert_fails((cvy_file_write(path, "", 0), train(f, plain, resume)), CONVOY_INVALID, "checkpoint");
    for (size_t cut = 1; cut < size; cut += 1 + size / 7) {
        assert_ok(cvy_file_write(path, good, cut));
        assert_fails(train(f, plain, resume), CONVOY_INVALID, "checkpoint");
    }
    cvy_rng rng = cvy_rng_stream(1, CVY_RNG_SYNTHETIC, 0);
    for (int i = 0; i < 40; i++) {
        char *bad = malloc(size);
        memcpy(bad, good, size);
        bad[cvy_rng_below(&rng, 1200)] ^= (char)(1 + cvy_rng_below(&rng, 255));
        assert_ok(cvy_file_write(path, bad, size));
        free(bad);
        convoy_status status = train(f, plain, resume);
        if (status)
            assert_int_equal(status, CONVOY_INVALID);
    }
    for (size_t back = 1; back < 2500; back += 371) { /* one bit of a value: still a number */
        good[size - back] ^= 1;
        assert_ok(cvy_file_write(path, good, size));
        assert_fails(train(f, plain, resume), CONVOY_INVALID, "is damaged: its content has the digest");
        good[size - back] ^= 1;
    }
    assert_ok(cvy_file_write(path, good, size));
    assert_ok(train(f, plain, resume));
    free(good);
}

static void refuses_a_place_that_does_not_exist(void **state) {
    const fixture *f = *state;
    const char *out = test_path(f->folder, "run"), *path = test_path(out, "checkpoint.safetensors");
    const struct {
        const char *from, *to;
    } edits[] = {
        {"\"images\":\"60\"", "\"images\":\"61\""}, /* no batch begins there */
        {"\"epoch\":\"1\"", "\"epoch\":\"0\""},         {"\"step\":\"3\"", "\"step\":\"x\""},
        {"\"shuffle\":\"f", "\"shuffle\":\"F"},         {"\"loss_sum\":\"0x", "\"loss_sum\":\"zx"},
        {"convoy-checkpoint-2", "convoy-checkpoint-9"},
    };
    size_t size;
    assert_ok(train(f, plain, (convoy_train_options){.out = out, .max_steps = 3}));
    char *good = test_read_text(path, &size);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char *bad = malloc(size);
        memcpy(bad, good, size);
        char *place = memmem(bad, size, edits[i].from, strlen(edits[i].from));
        if (!place)
            fail_msg("the checkpoint has no %s", edits[i].from);
        memcpy(place, edits[i].to, strlen(edits[i].to));
        assert_ok(cvy_file_write(path, bad, size));
        free(bad);
        assert_fails(train(f, plain, (convoy_train_options){.out = out, .resume = 1}), CONVOY_INVALID,
                     "checkpoint");
    }
    free(good);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(resumes_within_an_epoch),
        TEST(resumes_all_that_a_recipe_asks_for),
        TEST(rates_across_a_resume_are_torchs),
        TEST(resumes_what_waits_for_improvements),
        TEST(resumes_a_run_of_an_older_version),
        TEST(resumes_at_an_evaluation),
        TEST(resumes_at_an_epoch),
        TEST(resumes_momentum_and_a_short_last_batch),
        TEST(resumes_without_optimizer_state),
        TEST(resumes_augmented_batches_in_pieces),
        TEST(resumes_after_interrupts),
        TEST(resumes_after_interrupted_evaluations),
        TEST(resumes_after_many_interrupts),
        TEST(resumes_rates_after_interrupted_evaluations),
        TEST(resumes_from_an_older_checkpoint),
        TEST(checkpoints_do_not_change_the_run),
        TEST(goes_on_for_more_epochs),
        TEST(resumes_on_another_device),
        TEST(refuses_another_run),
        TEST(an_image_that_fails_takes_nothing),
        TEST(survives_damaged_checkpoints),
        TEST(refuses_a_place_that_does_not_exist),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
