/* Every command end to end, on tiny models: human output on the right stream, and the exact keys of --json.
 */
#include <unistd.h>

#include "base/file.h"
#include "convoy/model.h"
#include "report/canvas.h"
#include "support/command.h"

static char *folder;      /* of this program */
static const char *model; /* tiny.yaml */
static const char *run;   /* of `convoy train`, made by the group's setup */
static const char *weights;

static int set_up(void **state) {
    (void)state;
    setenv("CONVOY_DEVICE", "host", 1);
    folder = test_folder_create();
    model = test_tiny_model(folder, "tiny.yaml",
                            "  optimizer: {Adam: {lr: 0.01}}\n  batch_size: 20\n  epochs: 3\n"
                            "  reports_per_epoch: 2\n  eval_every: 8\n");
    run = test_path(folder, "run");
    weights = test_path(run, "best.safetensors");
    const test_output *r =
        RUN("train", model, "--limit-train", "200", "--limit-test", "50", "--out", run, "--epochs", "15");
    if (r->code)
        fail_msg("training failed: %s", r->err);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_run_free();
    test_folder_remove(folder);
    return 0;
}

static const json_t *json_of(const test_output *r) {
    if (r->code)
        fail_msg("exit code %d: %s", r->code, r->err);
    if (!r->json)
        fail_msg("stdout is not one JSON object: %s", r->out);
    return r->json;
}

static bool is_fraction(const json_t *value) {
    return json_is_number(value) && json_number_value(value) >= 0 && json_number_value(value) <= 1;
}

static void help_and_version(void **state) {
    (void)state;
    const test_output *r = RUN("--help");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "predict MODEL FILE..."));
    assert_string_equal(r->err, "");
    r = RUN("--version");
    assert_int_equal(r->code, 0);
    assert_memory_equal(r->out, "convoy 0.", 9);
    const char *const commands[] = {"devices", "summary", "train",   "eval",     "predict", "bench",  "tune",
                                    "show",    "report",  "explain", "selftest", "convert", "search", "diff"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        r = RUN(commands[i], "--help");
        assert_int_equal(r->code, 0);
        assert_non_null(strstr(r->out, "--json"));
        assert_string_equal(r->err, "");
    }
    r = RUN("train", "--help");
    assert_non_null(strstr(r->out, "reports_per_epoch")); /* a key of the recipe */
}

static void devices(void **state) {
    (void)state;
    const test_output *r = RUN("devices");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "host"));
    assert_string_equal(r->err, "");
    const json_t *json = json_of(RUN("devices", "--json")), *list = json_object_get(json, "devices");
    test_keys(json, "devices drivers_set_aside");
    assert_true(json_array_size(list) >= 1);
    int chosen = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *device = json_array_get(list, i);
        test_keys(device,
                  "id name platform vendor type compute_units memory max_allocation driver opencl_version "
                  "score chosen reason avoided");
        chosen += json_is_true(json_object_get(device, "chosen"));
    }
    assert_int_equal(chosen, 1);
}

static void summary(void **state) {
    (void)state;
    const test_output *r = RUN("summary", model);
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "Conv2d"));
    const json_t *json = json_of(RUN("summary", model, "--json"));
    test_keys(json, "model input layers parameters multiply_adds batch_size micro_batch memory_bytes memory");
    assert_string_equal(json_string_value(json_object_get(json, "model")), "tiny");
    const json_t *layers = json_object_get(json, "layers"), *first = json_array_get(layers, 0);
    assert_int_equal(json_array_size(layers), 7);
    test_keys(first, "name type output parameters multiply_adds connections");
    assert_int_equal(json_integer_value(json_object_get(first, "parameters")), 4 * 9 + 4);
    assert_int_equal(json_integer_value(json_object_get(first, "multiply_adds")), 64 * 4 * 9);
    assert_int_equal(json_integer_value(json_object_get(json, "parameters")), 40 + 8 + 650);
    const json_t *memory = json_object_get(json, "memory");
    const json_t *training = json_object_get(memory, "training");
    test_keys(memory, "training evaluation");
    test_keys(training, "parameters gradients optimizer activations workspace total");
    const json_int_t bytes = json_integer_value(json_object_get(json, "memory_bytes"));
    assert_true(bytes > json_integer_value(json_object_get(json_object_get(memory, "evaluation"), "total")));
    assert_int_equal(bytes, json_integer_value(json_object_get(training, "total")));
    json = json_of(RUN("summary", model, "--batch-size", "64", "--micro-batch", "16", "--json"));
    assert_int_equal(json_integer_value(json_object_get(json, "micro_batch")), 16);
    assert_true(json_integer_value(json_object_get(json, "memory_bytes")) < bytes);
}

static void train_tells_people(void **state) {
    (void)state;
    const char *out = test_path(folder, "told");
    const test_output *r = RUN("train", model, "--limit-train", "200", "--limit-test", "50", "--out", out,
                               "--device", "auto", "--epochs", "2");
    if (r->code)
        fail_msg("exit code %d: %s", r->code, r->err);
    assert_non_null(strstr(r->out, "\nloss "));
    assert_non_null(strstr(r->out, ", train acc "));
    assert_non_null(strstr(r->out, ", test acc "));
    assert_non_null(strstr(r->out, " examples/sec on "));
    assert_non_null(strstr(r->out, "loss over epochs 1..2"));
    assert_non_null(strstr(r->out, "accuracy over epochs 1..2"));
    assert_non_null(strstr(r->err, "device: "));
    assert_non_null(strstr(r->err, "auto: "));
    assert_non_null(strstr(r->err, "epoch 1/2  100/200 (50%)  train loss "));
    assert_non_null(strstr(r->err, "epoch 2/2  160/200 (80%)  loss "));
    assert_non_null(strstr(r->err, "test accuracy "));
    assert_non_null(strstr(r->err, "epoch 2/2  train loss "));
    const char *rate = strstr(r->err, " images/s; ");
    int minutes, seconds;
    assert_true(rate && sscanf(rate, " images/s; %d min %d sec", &minutes, &seconds) == 2 && seconds < 60);
    assert_null(strchr(r->err, '\r')); /* no bar where there is no terminal */
}

static void train_answers_in_json(void **state) {
    (void)state;
    const char *out = test_path(folder, "json");
    const json_t *json =
        json_of(RUN("train", model, "--limit-train", "200", "--limit-test", "50", "--out", out, "--json",
                    "--lr=0.02", "--optimizer", "AdamW", "--batch_size", "40", "--set", "eps=1e-7",
                    "--no-shuffle", "--seed", "5", "--eval-every", "0"));
    test_keys(
        json,
        "model device epochs steps train_loss train_accuracy test_loss test_accuracy best_test_accuracy "
        "best_epoch seconds images_per_second out val_loss val_accuracy best_val_accuracy lr");
    assert_int_equal(json_integer_value(json_object_get(json, "steps")), 15);
    assert_int_equal(json_integer_value(json_object_get(json, "epochs")), 3);
    assert_true(is_fraction(json_object_get(json, "train_accuracy")));
    assert_true(is_fraction(json_object_get(json, "test_accuracy")));
    assert_string_equal(json_string_value(json_object_get(json, "out")), out);
    char *resolved = test_read_text(test_path(out, "model.yaml"), NULL);
    const char *const lines[] = {"lr: 0.02",   "AdamW",          "batch_size: 40",
                                 "eps: 1e-07", "shuffle: false", "eval_every: 0"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(resolved, lines[i]))
            fail_msg("model.yaml lacks `%s`:\n%s", lines[i], resolved);
    free(resolved);
    assert_int_equal(cvy_file_exists(test_path(out, "curves.png")), cvy_canvas_check() == CONVOY_OK);
    json = json_of(RUN("train", model, "--limit-train", "40", "--limit-test", "50", "--out",
                       test_path(folder, "init"), "--json", "--init", weights, "--lr", "0", "--epochs", "1",
                       "--no-pictures"));
    assert_false(cvy_file_exists(test_path(test_path(folder, "init"), "curves.png")));
    assert_true(json_number_value(json_object_get(json, "test_accuracy")) >
                0.3); /* it went on from those weights */
}

static void train_names_its_own_folder(void **state) {
    (void)state;
    char *here = getcwd(NULL, 0);
    assert_int_equal(chdir(folder), 0);
    for (int i = 1; i <= 2; i++) {
        const json_t *json = json_of(
            RUN("train", model, "--limit-train", "40", "--limit-test", "50", "--max-steps", "1", "--json"));
        const char *out = json_string_value(json_object_get(json, "out"));
        assert_memory_equal(out, "runs/tiny-", 10);
        assert_int_equal(out[strlen(out) - 1], '0' + i);
        assert_true(cvy_file_exists(test_path(out, "checkpoint.safetensors")));
    }
    assert_int_equal(chdir(here), 0);
    free(here);
}

static void eval(void **state) {
    (void)state;
    const test_output *r = RUN("eval", model, "--weights", weights, "--limit", "50");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "precision"));
    assert_non_null(strstr(r->out, "confusion matrix"));
    const json_t *json = json_of(RUN("eval", model, "--weights", weights, "--limit", "50", "--json"));
    test_keys(json,
              "model device images loss accuracy classes confusion top5_accuracy balanced_accuracy "
              "macro_precision macro_recall macro_f1 weighted_precision weighted_recall weighted_f1 roc_auc");
    assert_int_equal(json_integer_value(json_object_get(json, "images")), 50);
    const json_t *classes = json_object_get(json, "classes"), *confusion = json_object_get(json, "confusion");
    assert_int_equal(json_array_size(classes), 10);
    json_int_t images = 0, right = 0, support = 0;
    for (size_t c = 0; c < 10; c++) {
        test_keys(json_array_get(classes, c), "name precision recall f1 support roc_auc");
        support += json_integer_value(json_object_get(json_array_get(classes, c), "support"));
        for (size_t a = 0; a < 10; a++)
            images += json_integer_value(json_array_get(json_array_get(confusion, c), a));
        right += json_integer_value(json_array_get(json_array_get(confusion, c), c));
    }
    assert_true(images == 50 && support == 50);
    double accuracy = json_number_value(json_object_get(json, "accuracy"));
    assert_true(fabs(accuracy - (double)right / 50) < 1e-9 && accuracy > 0.3);
    json = json_of(RUN("eval", model, "--weights", weights, "--split", "train", "--limit", "70", "--json"));
    assert_int_equal(json_integer_value(json_object_get(json, "images")), 70);
    r = RUN("eval", model, "--weights", weights, "--limit", "2", "--device", "host", "--logits", "/dev/full");
    assert_true(r->code == 1 && strstr(r->err, "convoy eval: --logits: cannot write '/dev/full'") &&
                !strstr(r->err, "device:")); /* before work starts */
}

/* Each command that writes one. What is wrong with it is told before anything is loaded, and files that are
   read stay as they are. */
static void outputs_are_checked_first(void **state) {
    (void)state;
    const char *image = test_path(folder, "one.png"), *kept = test_path(folder, "kept.safetensors");
    const uint8_t pixels[64] = {0};
    size_t size, after;
    char *before = test_read_text(weights, &size);
    test_write_png(folder, "one.png", 8, 8, 0, 8, 0, pixels);
    test_write_file(folder, "kept.safetensors", before, size);
    assert_ok(cvy_folder_create(test_path(folder, "a-run")));
    test_write_file(folder, "a-run/model.yaml", "name: x\n", 8);
    const char *list = test_write(folder, "kept.csv",
                                  "path,label,split\none.png,a,train\none.png,b,train\none.png,a,test\n");
    const char *two = test_write(folder, "two.yaml",
                                 "input: [1, 8, 8]\nlayers: [Flatten, {Linear: {out_features: 2}}]\n"
                                 "recipe: {data: synthetic, optimizer: {SGD: {lr: 0.1}}}\n");
    char from[256];
    snprintf(from, sizeof from, "data=%s", list);
    const char *run = test_path(folder, "a-run"), *of_run = test_path(folder, "a-run/model.yaml"),
               *no = test_path(folder, "no/such/file"), *below = test_path(folder, "one.png/run");
    const struct {
        const char *arguments[9], *message;
    } cases[] = {
        {{"eval", model, "--weights", kept, "--logits", kept}, "--logits "},
        {{"eval", model, "--weights", kept, "--logits", model}, "--logits "},
        {{"eval", model, "--weights", kept, "--logits", no}, "--logits: cannot create"},
        {{"show", two, "--set", from, "--out", list}, "--out "},
        {{"eval", two, "--weights", kept, "--set", from, "--logits", list}, "--logits "},
        {{"explain", model, image, "--weights", kept, "--out", kept}, "--out "},
        {{"explain", model, image, "--weights", kept, "--out", image}, "--out "},
        {{"show", model, "--out", model}, "--out "},
        {{"show", model, "--out", no}, "--out: cannot create"},
        {{"convert", kept, kept}, "TO "},
        {{"report", run, "--out", of_run}, "--out "},
        {{"report", run, "--out", no}, "--out: cannot create"},
        {{"selftest", "--json", no}, "--json: cannot create"},
        {{"train", model, "--out", below}, "--out: cannot create folder"},
        {{"search", model, "--grid", "lr=1,2", "--out", below}, "--out: cannot create folder"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_output *r = test_run(cases[i].arguments);
        const bool overwrites = cases[i].message[strlen(cases[i].message) - 1] == ' ';
        if (strstr(r->err, "without cairo"))
            continue;
        if (r->code == 0 || strstr(r->err, "device:") || !strstr(r->err, cases[i].message) ||
            (overwrites && !strstr(r->err, "which is to be read: name another file")))
            fail_msg("%s: %d, %s", *cases[i].arguments, r->code, r->err);
    }
    char *now = test_read_text(kept, &after);
    assert_true(after == size && memcmp(before, now, size) == 0);
    free(before);
    free(now);
}

/* Three class folders of 8x8 images: dark, grey and bright. */
static const char *write_class_folders(void) {
    static const char *const names[] = {"bright", "dark", "grey"};
    static const uint8_t levels[] = {230, 20, 128};
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 8; i++) {
            char name[64];
            uint8_t pixels[64];
            for (int p = 0; p < 64; p++)
                pixels[p] = (uint8_t)(levels[c] + (p * 7 + i * 5) % 20);
            snprintf(name, sizeof name, "shades/%s/%s/%d.png", i < 6 ? "train" : "test", names[c], i);
            test_write_png(folder, name, 8, 8, 0, 8, 0, pixels);
        }
    return test_path(folder, "shades");
}

static void outputs_follow_the_data(void **state) {
    (void)state;
    const char *data = write_class_folders(), *out = test_path(folder, "shades-run");
    const char *open = test_write(folder, "open.yaml",
                                  "name: open\ninput: [1, 8, 8]\nparameters: {classes: }\nlayers:\n"
                                  "  - AvgPool2d: {kernel_size: 4}\n  - Flatten\n"
                                  "  - Linear: {out_features: $classes}\n"
                                  "recipe:\n  optimizer: {Adam: {lr: 0.2}}\n  batch_size: 6\n  epochs: 60\n");
    const char *image = test_path(folder, "shades/test/grey/7.png"), *w = test_path(out, "last.safetensors");
    json_of(RUN("train", open, "--data", data, "--out", out, "--json"));
    const json_t *json = json_of(RUN("eval", open, "--data", data, "--weights", w, "--json"));
    assert_int_equal(json_array_size(json_object_get(json, "classes")), 3);
    assert_true(json_number_value(json_object_get(json, "accuracy")) == 1);
    json = json_of(RUN("predict", open, "--weights", w, image, "--json", "--top", "1"));
    const json_t *top = json_object_get(json_array_get(json_object_get(json, "predictions"), 0), "top");
    assert_int_equal(json_array_size(top), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(top, 0), "name")), "grey");
    const test_output *r = RUN("predict", open, "--weights", w, image, "--logits", "--data", data);
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "grey.png") || strstr(r->out, "7.png: grey "));
    assert_non_null(strstr(r->out, "  outputs "));
}

/* A folder for it, or a part of the training images; the test set for the end. */
static void training_is_judged_by_a_validation_set(void **state) {
    (void)state;
    static const char *const splits[] = {"train", "test", "valid"};
    const char *data = test_path(folder, "judged"), *open = test_path(folder, "open.yaml");
    uint8_t pixels[64] = {0};
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < 12; i++) {
            char file[64];
            snprintf(file, sizeof file, "judged/%s/%d/%02d.png", splits[s], i % 2, i);
            memset(pixels, 100 * (i % 2) + i, sizeof pixels);
            test_write_png(folder, file, 8, 8, 0, 8, 0, pixels);
        }
    const char *const out[] = {test_path(folder, "judged-1"), test_path(folder, "judged-2")};
#define TRAIN "train", open, "--device", "host", "--epochs", "2", "--data"
    const test_output *r = RUN(TRAIN, data, "--out", out[0], "--json");
    assert_non_null(strstr(r->err, "valid/ judges the training, test/ is left for its end"));
    assert_non_null(strstr(r->err, "12 training, 12 validation and 12 test images"));
    assert_true(is_fraction(json_object_get(r->json, "val_accuracy")));
    assert_true(is_fraction(json_object_get(r->json, "test_accuracy")));
    assert_true(json_is_null(json_object_get(r->json, "best_test_accuracy")));
    char *metrics = test_read_text(test_path(out[0], "metrics.csv"), NULL);
    assert_non_null(strstr(strstr(metrics, "\n1,"), ",,,")); /* no test figures in the first row */
    free(metrics);
    r = RUN(TRAIN, data, "--val-fraction", "0.3");
    assert_true(r->code == 2 && strstr(r->err, "has validation images: leave out --val-fraction"));
    data = test_path(folder, "shades");
    r = RUN(TRAIN, data, "--val-fraction", "0.3", "--out", out[1], "--json");
    assert_non_null(strstr(r->err, " validation and "));
    assert_true(is_fraction(json_object_get(r->json, "val_accuracy")));
    /* What the run called validation and training is evaluated as such. */
    const double judged = json_real_value(json_object_get(r->json, "val_loss"));
    const char *own = test_path(out[1], "model.yaml"), *w = test_path(out[1], "last.safetensors");
    const json_t *json =
        json_of(RUN("eval", own, "--weights", w, "--split", "val", "--device", "host", "--json"));
    assert_true(fabs(json_real_value(json_object_get(json, "loss")) - judged) < 1e-6);
    const json_int_t part = json_integer_value(json_object_get(json, "images"));
    json = json_of(RUN("eval", own, "--weights", w, "--split", "train", "--device", "host", "--json"));
    const json_int_t rest = json_integer_value(json_object_get(json, "images"));
    json = json_of(RUN("eval", own, "--weights", w, "--split", "train", "--device", "host", "--json", "--set",
                       "val_fraction=0"));
    assert_int_equal(json_integer_value(json_object_get(json, "images")), part + rest);
    r = RUN("eval", own, "--weights", w, "--split", "val", "--limit", "2");
    assert_true(r->code == 2 && strstr(r->err, "leave out --limit"));
    r = RUN(TRAIN, data, "--val-fraction", "0.001");
    assert_true(r->code == 2 &&
                strstr(r->err, "convoy train: --val-fraction (val_fraction: 0.001): a part of") &&
                strstr(r->err, "is empty: each class gives its part, rounded; take a larger one"));
    r = RUN(TRAIN, data, "--set", "scheduler=StepRL");
    assert_true(r->code == 2 &&
                strstr(r->err, "setting scheduler: unknown scheduler `StepRL`; did you mean `StepLR`?"));
#undef TRAIN
}

/* Names that are no UTF-8 lose no answer. */
static void names_of_any_bytes_are_answered(void **state) {
    (void)state;
    static const char *const names[] = {"caf\xe9", "\x1b[2J", "two\nlines\x7f"};
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 3; i++) {
            char file[64];
            uint8_t pixels[64];
            memset(pixels, 80 * c + i, sizeof pixels);
            snprintf(file, sizeof file, "odd\xe9_names/%s/%d.png", names[c], i);
            test_write_png(folder, file, 8, 8, 0, 8, 0, pixels);
        }
    const char *data = test_path(folder, "odd\xe9_names"), *out = test_path(folder, "odd-names-run"),
               *open = test_path(folder, "open.yaml"), *w = test_path(out, "last.safetensors"),
               *image = test_path(data, "caf\xe9/0.png");
    json_of(RUN("train", open, "--data", data, "--out", out, "--epochs", "1", "--json"));
    const json_t *json = json_of(RUN("predict", open, "--weights", w, image, "--json"));
    assert_int_equal(json_array_size(json_object_get(json, "predictions")), 1);
    const test_output *r = RUN("eval", open, "--weights", w, "--data", data, "--json");
    assert_null(strchr(r->out, '\x7f'));
    const json_t *classes = json_object_get(json_of(r), "classes");
    assert_string_equal(json_string_value(json_object_get(json_array_get(classes, 0), "name")), "\x1b[2J");
    assert_string_equal(json_string_value(json_object_get(json_array_get(classes, 1), "name")), "caf\\xE9");
    assert_string_equal(json_string_value(json_object_get(json_array_get(classes, 2), "name")),
                        "two\nlines\x7f");
    /* The run's own model file says where the data are. */
    r = RUN("eval", test_path(out, "model.yaml"), "--weights", w);
    assert_int_equal(r->code, 0);
    assert_null(strchr(r->out, '\x1b'));
    assert_non_null(strstr(r->out, "two\\x0Alines"));
}

static void predict(void **state) {
    (void)state;
    uint8_t pixels[3 * 64];
    for (int i = 0; i < 3 * 64; i++)
        pixels[i] = (uint8_t)(i * 37);
    test_write_png(folder, "a.png", 8, 8, 0, 8, 0, pixels);
    test_write_jpeg(folder, "b.jpg", 8, 8, 1, 0, pixels);
    test_write_idx(folder, "c-images", 3, (const uint32_t[]){3, 8, 8}, pixels);
    const char *a = test_path(folder, "a.png"), *b = test_path(folder, "b.jpg"),
               *c = test_path(folder, "c-images");
    const json_t *json =
        json_of(RUN("predict", model, "--weights", weights, a, b, c, "--top", "4", "--json"));
    test_keys(json, "predictions");
    const json_t *list = json_object_get(json, "predictions");
    assert_int_equal(json_array_size(list), 5);
    for (size_t i = 0; i < 5; i++) {
        const json_t *one = json_array_get(list, i), *top = json_object_get(one, "top");
        test_keys(one, "file top logits");
        assert_int_equal(json_array_size(top), 4);
        assert_int_equal(json_array_size(json_object_get(one, "logits")), 10);
        double before = 1;
        for (size_t k = 0; k < 4; k++) {
            const json_t *answer = json_array_get(top, k);
            test_keys(answer, "class name probability");
            double p = json_number_value(json_object_get(answer, "probability"));
            assert_true(p >= 0 && p <= before);
            before = p;
            size_t class = (size_t)json_integer_value(json_object_get(answer, "class"));
            assert_true(json_array_get(json_object_get(one, "logits"), class) != NULL);
        }
    }
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "file")), a);
    const char *third = json_string_value(json_object_get(json_array_get(list, 4), "file"));
    assert_string_equal(third + strlen(third) - 3, "[2]");
    /* The PNG and the first image of the IDX file hold the same pixels. */
    assert_true(json_equal(json_object_get(json_array_get(list, 0), "logits"),
                           json_object_get(json_array_get(list, 2), "logits")));
    const test_output *r = RUN("predict", model, "--weights", weights, a);
    assert_int_equal(r->code, 0);
    assert_memory_equal(r->out, a, strlen(a));
    assert_null(strstr(r->out, "outputs"));
}

/* Does a prediction have the answers of an evaluation? */
static void expect_confusion(const json_t *predictions, const uint8_t *labels, const json_t *confusion) {
    json_int_t counts[10][10] = {{0}};
    for (size_t i = 0; i < json_array_size(predictions); i++) {
        const json_t *top = json_object_get(json_array_get(predictions, i), "top");
        counts[labels[i]][json_integer_value(json_object_get(json_array_get(top, 0), "class"))]++;
    }
    for (size_t c = 0; c < 10; c++)
        for (size_t answer = 0; answer < 10; answer++)
            assert_int_equal(json_integer_value(json_array_get(json_array_get(confusion, c), answer)),
                             counts[c][answer]);
}

/* An IDX file of another size than the model's: as many right answers as in the evaluation of the same set,
   and the same outputs whatever stands beside it. */
static void predict_sees_what_eval_sees(void **state) {
    (void)state;
    enum { IMAGES = 300, BYTES = 13 * 11 };
    uint8_t *pixels = malloc(IMAGES * BYTES), labels[IMAGES];
    for (size_t i = 0; i < IMAGES; i++) {
        labels[i] = (uint8_t)(i * 7 % 10);
        for (size_t p = 0; p < BYTES; p++)
            pixels[i * BYTES + p] = (uint8_t)((i * BYTES + p) * 2654435761u >> 24);
    }
    const char *const splits[] = {"train", "t10k"};
    for (int s = 0; s < 2; s++) {
        char name[64];
        snprintf(name, sizeof name, "odd/%s-images-idx3-ubyte", splits[s]);
        test_write_idx(folder, name, 3, (const uint32_t[]){IMAGES, 13, 11}, pixels);
        snprintf(name, sizeof name, "odd/%s-labels-idx1-ubyte", splits[s]);
        test_write_idx(folder, name, 1, (const uint32_t[]){IMAGES}, labels);
    }
    free(pixels);
    const char *data = test_path(folder, "odd"), *out = test_path(folder, "odd-run"),
               *w = test_path(out, "last.safetensors"),
               *images = test_path(folder, "odd/t10k-images-idx3-ubyte");
    json_of(RUN("train", model, "--data", data, "--out", out, "--epochs", "5", "--json"));
    const json_t *json = json_of(RUN("eval", model, "--data", data, "--weights", w, "--json"));
    json_t *confusion = json_incref(json_object_get(json, "confusion"));
    json = json_of(RUN("predict", model, "--weights", w, images, "--json"));
    expect_confusion(json_object_get(json, "predictions"), labels, confusion);
    json_decref(confusion);
    json_t *alone = json_incref(json_array_get(json_object_get(json, "predictions"), 299));
    json = json_of(RUN("predict", model, "--weights", w, test_path(folder, "a.png"), images, "--json"));
    assert_true(json_equal(alone, json_array_get(json_object_get(json, "predictions"), 300)));
    json_decref(alone);
}

/* Training photographs are cut to what prediction sees of them, whatever training would draw. */
static void an_evaluation_augments_nothing(void **state) {
    (void)state;
    uint8_t pixels[8 * 13];
    for (int i = 0; i < 9; i++) {
        char file[64];
        for (int p = 0; p < 8 * 13; p++)
            pixels[p] = (uint8_t)((uint32_t)(i * 8 * 13 + p) * 2654435761u >> 24);
        snprintf(file, sizeof file, "photographs/%c/%d.png", 'a' + i / 3, i % 3);
        test_write_png(folder, file, 13, 8, 0, 8, 0, pixels);
    }
    const char *data = test_path(folder, "photographs"), *out = test_path(folder, "photographs-run"),
               *open = test_path(folder, "open.yaml"), *w = test_path(out, "last.safetensors");
    json_of(RUN("train", open, "--data", data, "--out", out, "--epochs", "1", "--json"));
    double losses[2];
    for (int i = 0; i < 2; i++)
        losses[i] = json_real_value(json_object_get(
            json_of(RUN("eval", open, "--data", data, "--weights", w, "--split", "train", "--json", "--set",
                        i ? "augment=[{RandomCrop: {padding: 2}}]" : "augment=[]")),
            "loss"));
    assert_true(losses[0] > 0 && losses[0] == losses[1]);
}

/* Of so many classes the matrix were millions of zeros. */
static void a_confusion_of_many_classes_is_short(void **state) {
    (void)state;
    enum { CLASSES = 1001, IMAGES = 10 };
    const char *many = test_write(folder, "many.yaml",
                                  "name: many\ninput: [1, 8, 8]\nlayers:\n  - Flatten\n"
                                  "  - Linear: {out_features: 1001}\n"
                                  "recipe: {data: synthetic, optimizer: {SGD: {lr: 0.1}}, batch_size: 20}\n"),
               *out = test_path(folder, "many-run"), *w = test_path(out, "last.safetensors");
    json_of(RUN("train", many, "--limit-train", "20", "--limit-test", "10", "--epochs", "1", "--out", out,
                "--json"));
    const json_t *json = json_of(RUN("eval", many, "--weights", w, "--limit", "10", "--json")), *entry;
    size_t at;
    long long images = 0, right = 0;
    json_array_foreach(json_object_get(json, "confusion"), at, entry) {
        assert_int_equal(json_array_size(entry), 3);
        const long long found = json_integer_value(json_array_get(entry, 2)),
                        class = json_integer_value(json_array_get(entry, 0));
        assert_true(found > 0 && class < CLASSES);
        images += found;
        right += class == json_integer_value(json_array_get(entry, 1)) ? found : 0;
    }
    assert_int_equal(images, IMAGES);
    assert_true(fabs(json_real_value(json_object_get(json, "accuracy")) - (double)right / IMAGES) < 1e-9);
    assert_int_equal(json_array_size(json_object_get(json, "classes")), CLASSES);
}

static void predict_answers_what_it_can(void **state) {
    (void)state;
    const char *bad = test_path(folder, "mixed/bad.png");
    test_write_file(folder, "mixed/bad.png", "junk", 4);
    const uint8_t pixels[64] = {7};
    test_write_png(folder, "mixed/a.png", 8, 8, 0, 8, 0, pixels);
    test_write_png(folder, "mixed/z/b.png", 8, 8, 0, 8, 0, pixels);
    const test_output *r = RUN("predict", model, "--weights", weights, test_path(folder, "mixed"));
    assert_int_equal(r->code, 2);
    assert_non_null(strstr(r->out, "mixed/a.png: "));
    assert_non_null(strstr(r->out, "mixed/z/b.png: "));
    assert_non_null(strstr(r->err, bad));
    assert_non_null(strstr(r->err, "1 file or image without an answer, 2 with one"));
    r = RUN("predict", model, "--weights", weights, test_path(folder, "mixed"), "--json");
    assert_int_equal(r->code, 2);
    test_keys(r->json, "predictions failed");
    assert_int_equal(json_array_size(json_object_get(r->json, "predictions")), 2);
    const json_t *failed = json_array_get(json_object_get(r->json, "failed"), 0);
    test_keys(failed, "file message");
    assert_string_equal(json_string_value(json_object_get(failed, "file")), bad);
}

/* Numbers that are none, in the weights or in what they lead to, are no answer. */
static void what_is_not_finite_is_no_answer(void **state) {
    (void)state;
    convoy_model *loaded;
    assert_ok(convoy_model_load(model, NULL, &loaded));
    assert_ok(convoy_model_load_weights(loaded, weights));
    const char *spoilt = test_path(folder, "spoilt.safetensors"), *image = test_path(folder, "a.png");
    const float values[] = {NAN, INFINITY, 3e38f};
    const convoy_tensor last = *convoy_model_tensor(loaded, convoy_model_tensor_count(loaded) - 2);
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < last.shape[1]; k++)
            last.values[3 * last.shape[1] + k] = values[i];
        assert_ok(convoy_model_save_weights(loaded, spoilt));
        const test_output *r = RUN("predict", model, "--weights", spoilt, image);
        assert_int_equal(r->code, i < 2 ? 2 : 1);
        assert_string_equal(r->out, "");
        assert_non_null(strstr(r->err, i < 2 ? "not finite: value " : "output 3 of the network is inf"));
        r = RUN("eval", model, "--weights", spoilt, "--limit", "20");
        assert_int_equal(r->code, i < 2 ? 2 : 1);
        assert_string_equal(r->out, "");
        assert_non_null(strstr(r->err, i < 2 ? "not finite: value " : "NaN or infinite"));
    }
    /* -infinity for a class that is not the image's, as one of the two is not, leaves the loss finite. */
    for (size_t class = 3; class < 5; class ++) {
        assert_ok(convoy_model_load_weights(loaded, weights));
        for (size_t k = 0; k < last.shape[1]; k++)
            last.values[class * last.shape[1] + k] = -3e38f;
        assert_ok(convoy_model_save_weights(loaded, spoilt));
        const test_output *r = RUN("eval", model, "--weights", spoilt, "--limit", "1");
        assert_int_equal(r->code, 1);
        assert_string_equal(r->out, "");
        assert_true(strstr(r->err, "of an image is infinite") || strstr(r->err, "NaN or infinite"));
    }
    convoy_model_free(loaded);
}

/* Of OpenCL's kernels; what the other commands say depends on no device, and the host compiles nothing. */
static void bench(void **state) {
    const char *device = getenv("CONVOY_TEST_DEVICE");
    setenv("CONVOY_DEVICE", device ? device : "cpu", 1);
    (void)state;
    const test_output *r = RUN("bench", model, "--steps", "8");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "training"));
    assert_non_null(strstr(r->out, "launches"));
    const json_t *json = json_of(RUN("bench", model, "--seconds", "0.05", "--batch-size", "5", "--json"));
    test_keys(json,
              "model device batch_size micro_batch train_images_per_second eval_images_per_second launches "
              "waits memory_planned_bytes memory_peak_bytes memory peak step layers");
    test_keys(json_object_get(json_object_get(json, "memory"), "training"),
              "parameters gradients optimizer activations workspace data total measured");
    const json_int_t planned = json_integer_value(json_object_get(json, "memory_planned_bytes"));
    const json_int_t peak = json_integer_value(json_object_get(json, "memory_peak_bytes"));
    assert_true(planned > 0);
    assert_int_equal(peak, planned);
    assert_int_equal(json_integer_value(json_object_get(json, "batch_size")), 5);
    assert_true(json_number_value(json_object_get(json, "train_images_per_second")) > 0);
    assert_true(json_number_value(json_object_get(json, "eval_images_per_second")) > 0);
    const json_t *layers = json_object_get(json, "layers");
    assert_true(json_array_size(layers) >= 5);
    test_keys(json_array_get(layers, 0),
              "name op variant measured forward_ms backward_ms gflops forward_gflops backward_gflops "
              "forward_gbytes backward_gbytes forward_peak backward_peak");
    test_keys(json_object_get(json, "peak"), "gflops streams launch_us wait_us");
    test_keys(json_object_get(json, "step"), "ms floor_ms layers_ms loss_ms optimizer_ms rest_ms");
    json = json_of(RUN("bench", model, "--steps", "1", "--variant", "conv2d=im2col_gemm", "--json"));
    const char *variant =
        json_string_value(json_object_get(json_array_get(json_object_get(json, "layers"), 0), "variant"));
    assert_non_null(strstr(variant, "im2col_gemm"));
    assert_null(json_object_get(json, "clblast_parameters"));
    json = json_of(RUN("bench", model, "--steps", "1", "--variant", "gemm=clblast", "--json"));
    assert_string_equal(json_string_value(json_object_get(json, "clblast_parameters")), "default");
    json = json_of(RUN("bench", model, "--steps", "1", "--no-layers", "--kernels", "--json"));
    const json_t *kernel = json_array_get(json_object_get(json, "kernels"), 0);
    test_keys(kernel, "kernel launches ms");
    assert_true(json_number_value(json_object_get(kernel, "launches")) >= 1);
    assert_true(json_number_value(json_object_get(kernel, "ms")) > 0);
    setenv("CONVOY_DEVICE", "host", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version),
        cmocka_unit_test(devices),
        cmocka_unit_test(summary),
        cmocka_unit_test(train_tells_people),
        cmocka_unit_test(train_answers_in_json),
        cmocka_unit_test(train_names_its_own_folder),
        cmocka_unit_test(eval),
        cmocka_unit_test(outputs_are_checked_first),
        cmocka_unit_test(outputs_follow_the_data),
        cmocka_unit_test(training_is_judged_by_a_validation_set),
        cmocka_unit_test(names_of_any_bytes_are_answered),
        cmocka_unit_test(predict),
        cmocka_unit_test(predict_sees_what_eval_sees),
        cmocka_unit_test(an_evaluation_augments_nothing),
        cmocka_unit_test(a_confusion_of_many_classes_is_short),
        cmocka_unit_test(predict_answers_what_it_can),
        cmocka_unit_test(what_is_not_finite_is_no_answer),
        cmocka_unit_test(bench),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
