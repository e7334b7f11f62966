/* Everything that can go wrong on a command line: exit codes, messages on stderr, and errors as JSON on
 * stdout. */
#include <unistd.h>

#include "base/file.h"
#include "support/command.h"
#include "weights/weights.h"

static char *folder;
static const char *model;

static int set_up(void **state) {
    (void)state;
    folder = test_folder_create();
    model = test_tiny_model(folder, "tiny.yaml",
                            "  optimizer: {SGD: {lr: 0.1}}\n  batch_size: 20\n  epochs: 1\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_run_free();
    test_folder_remove(folder);
    return 0;
}

/* The command ends with `code`, says `part` on stderr, and nothing on stdout. */
static void expect(const test_output *r, int code, const char *part) {
    if (r->code != code)
        fail_msg("exit code %d instead of %d: %s", r->code, code, r->err);
    if (!strstr(r->err, part))
        fail_msg("the message lacks \"%s\": %s", part, r->err);
    assert_string_equal(r->out, "");
}

static void usage(void **state) {
    (void)state;
    const test_output *r = RUN("trian", model);
    expect(r, 2, "did you mean `train`?");
    expect(RUN("xyzzy"), 2, "unknown command `xyzzy`");
    expect(test_run((const char *const[]){NULL}), 2, "Usage:");
    expect(RUN("train", model, "--ephocs", "3"), 2, "did you mean --epochs?");
    expect(RUN("train", model, "--zzz"), 2, "unknown option --zzz");
    expect(RUN("train", model, "-q"), 2, "unknown option -q");
    expect(RUN("train", model, "--epochs"), 2, "--epochs needs a value");
    expect(RUN("selftest", "--json", "--quick"), 2, "--json needs a value (write the result to this file");
    expect(RUN("train", model, "--out", "--resume"), 2, "--out needs a value");
    expect(RUN("train", model, "--init="), 2, "the value of --init= is empty (weights to start from");
    expect(RUN("train", model, "--lr", ""), 2, "the value of --lr is empty");
    expect(RUN("train", model, "--epochs", "many"), 2, "found `many`");
    expect(RUN("train", model, "--epochs", "0"), 2, "found `0`");
    expect(RUN("train", model, "--epochs=-4"), 2, "found `-4`");
    expect(RUN("train", model, "--json=yes"), 2, "takes no value");
    expect(RUN("train", model, "--devices", "host,"), 2, "a device is missing");
    expect(RUN("train", model, "--set", "lr"), 2, "key=value");
    expect(RUN("train", model, "--set", "data="), 2,
           "setting data: nothing is behind the `=`: give it a folder");
    expect(RUN("train", model, "--set", "optimizer="), 2,
           "nothing is behind the `=`: give it one name with its");
    expect(RUN("train", model, "--set", "momentun=1"), 2, "did you mean `momentum`?");
    expect(RUN("train", model, "--lr", "fast"), 2, "fast");
    expect(RUN("train", model, "--optimizer", "Adm"), 2, "did you mean `Adam`?");
    expect(RUN("train", model, "--variant", "conv2d=nonsense", "--out", test_path(folder, "v")), 2,
           "nonsense");
    expect(RUN("train"), 2, "missing argument");
    expect(RUN("train", model, "another"), 2, "unexpected argument `another`");
    expect(RUN("train", model, "--resume"), 2, "--resume needs --out");
    expect(RUN("eval", model), 2, "--weights is missing");
    expect(RUN("eval", model, "--split", "tset"), 2, "did you mean `test`?");
    expect(RUN("predict", model, "--weights", "w"), 2, "missing argument");
    expect(RUN("summary", model, "--classes", "5"), 2, "has no effect");
}

static void bad_models(void **state) {
    (void)state;
    expect(RUN("summary", test_path(folder, "absent.yaml")), 2, "no model file");
    expect(RUN("summary", test_write(folder, "syntax.yaml", "name: [")), 2, "syntax.yaml:");
    expect(
        RUN("summary", test_write(folder, "layer.yaml", "name: a\ninput: [1, 8, 8]\nlayers:\n  - Conv3d\n")),
        2, "layer.yaml:4:5");
    expect(RUN("train", test_write(folder, "recipe.yaml",
                                   "name: a\ninput: [1, 8, 8]\nlayers:\n  - Flatten\nrecipe: {epoch: 3}\n")),
           2, "did you mean `epochs`?");
    expect(RUN("train", test_write(folder, "nodata.yaml",
                                   "name: a\ninput: [1, 8, 8]\nlayers:\n  - Flatten\n"
                                   "  - Linear: {out_features: 3}\n"
                                   "recipe: {optimizer: {SGD: {lr: 1}}}\n")),
           2, "names no data");
}

/* What a file says reaches no screen as it stands. */
static void escapes(void **state) {
    (void)state;
    static const char flatten[] = "input: [1, 8, 8]\nlayers: [Flatten, {Linear: {out_features: 2}}]\n";
    const test_output *r =
        RUN("summary", test_write(folder, "e.yaml", "input: [1, 8, 8]\nlayers: [\"\\e]0;x\\a\"]\n"));
    expect(r, 2, "unknown layer `\\x1B]0;x\\x07`");
    assert_null(strchr(r->err, '\x1b'));
    char text[256];
    snprintf(text, sizeof text, "name: \"\\e]0;x\\a\"\n%s", flatten);
    r = RUN("summary", test_write(folder, "n.yaml", text));
    assert_int_equal(r->code, 0);
    assert_null(strchr(r->out, '\x1b'));
    assert_non_null(strstr(r->out, "\\x1B]0;x\\x07: input"));
    r = RUN("eval", model, "--weights", "caf\xe9", "--json");
    assert_non_null(
        strstr(json_string_value(json_object_get(json_object_get(r->json, "error"), "message")), "caf\\xE9"));
}

static void bad_data(void **state) {
    (void)state;
    const uint8_t pixels[4 * 64] = {0}, labels[4] = {0, 1, 2, 3};
    expect(RUN("train", model, "--data", test_path(folder, "absent")), 2, "absent");
    test_write(folder, "file", "not a folder");
    expect(RUN("train", model, "--data", test_path(folder, "file")), 2, "file");
    const char *const names[] = {"train", "t10k"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "idx/%s-images-idx3-ubyte", names[i]);
        test_write_idx(folder, name, 3, (const uint32_t[]){4, 8, 8}, pixels);
        snprintf(name, sizeof name, "idx/%s-labels-idx1-ubyte", names[i]);
        test_write_idx(folder, name, 1, (const uint32_t[]){4}, labels);
    }
    const char *seven = test_write(folder, "seven.yaml",
                                   "name: seven\ninput: [1, 8, 8]\nlayers:\n  - Flatten\n"
                                   "  - Linear: {out_features: 7}\nrecipe: {optimizer: {SGD: {lr: 1}}}\n");
    expect(RUN("train", seven, "--data", test_path(folder, "idx"), "--out", test_path(folder, "never")), 2,
           "7 outputs");
    assert_false(cvy_folder_exists(test_path(folder, "never")));
}

static void bad_weights(void **state) {
    (void)state;
    const char *garbage = test_write(folder, "garbage.safetensors", "these are no weights at all");
    expect(RUN("eval", model, "--weights", test_path(folder, "absent.safetensors")), 2, "no weights file");
    expect(RUN("eval", model, "--weights", garbage), 2, "garbage.safetensors");
    expect(RUN("train", model, "--init", garbage, "--out", test_path(folder, "init")), 2,
           "garbage.safetensors");
    expect(RUN("predict", model, "--weights", garbage, model), 2, "garbage.safetensors");
    const char *run = test_path(folder, "run");
    assert_int_equal(RUN("train", model, "--max-steps", "1", "--out", run)->code, 0);
    const char *weights = test_path(run, "last.safetensors");
    expect(RUN("predict", model, "--weights", weights, test_path(folder, "absent.png")), 2, "no image file");
    expect(RUN("predict", model, "--weights", weights, garbage), 2, "garbage.safetensors");
    const char *other = test_write(folder, "other.yaml",
                                   "name: other\ninput: [1, 8, 8]\nlayers:\n  - Flatten\n"
                                   "  - Linear: {out_features: 10}\nrecipe: {data: synthetic}\n");
    expect(RUN("eval", other, "--weights", weights), 2, "weight");
}

static void devices(void **state) {
    (void)state;
    expect(RUN("train", model, "--device", "no such thing"), 3, "no such thing");
    expect(RUN("bench", model, "-d", "77:0"), 3, "77:0");
    /* About a terabyte. */
    expect(RUN("train", CONVOY_SOURCE_DIR "/models/lenet.yaml", "--batch-size", "1000000", "--data",
               "synthetic", "--limit-train", "20", "--device", "cpu", "--out", test_path(folder, "m")),
           4, "would fit");
}

static void failed_runs(void **state) {
    (void)state;
    const char *diverged = test_path(folder, "diverged");
    expect(RUN("train", model, "--optimizer", "{SGD: {lr: 1e6, weight_decay: 1e6}}", "--out", diverged), 1,
           "Lower the learning rate");
    test_write(folder, "plain-file", "x");
    expect(RUN("train", model, "--out", test_path(folder, "plain-file/run")), 1, "plain-file");
    const char *taken = test_path(folder, "taken");
    assert_int_equal(RUN("train", model, "--max-steps", "1", "--out", taken)->code, 0);
    expect(RUN("train", model, "--out", taken), 2, "already holds a run");
    expect(RUN("train", model, "--out", taken, "--resume", "--seed", "9"), 2, "seed 0");
    expect(RUN("train", model, "--out", test_path(folder, "empty"), "--resume"), 2, "cannot resume");
    /* Figures further apart than any number says still make a picture. */
    test_write(taken, "metrics.csv",
               "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second\n"
               "1,1,1e308,0.5,-1e308,0.5,0.1,1.0\n2,1,-1e308,0.5,5e-324,0.5,0.1,1.0\n");
    const test_output *r = RUN("train", model, "--out", taken, "--resume", "--max-steps", "1");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "  1e+308 |"));
}

static void conversions(void **state) {
    (void)state;
    char *source = strdup(test_path(folder, "from.safetensors")),
         *to = strdup(test_path(folder, "to.safetensors"));
    float value = 3.5f;
    cvy_tensor_file *file;
    assert_ok(cvy_tensor_file_save(
        source, &(cvy_named_tensor){"w", "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL}, 1,
        (const char *const[]){"class_names", "[\"a\"]", NULL}));
    const test_output *r = RUN("convert", source, to, "--dtype", "bf16", "--json");
    assert_int_equal(r->code, 0);
    test_keys(r->json, "from to tensors bytes");
    assert_int_equal(json_integer_value(json_object_get(r->json, "bytes")), 2);
    assert_ok(cvy_tensor_file_load(to, &file));
    assert_string_equal(cvy_tensor_file_find(file, "w").dtype, "BF16");
    assert_string_equal(cvy_tensor_file_metadata(file, "class_names"), "[\"a\"]");
    cvy_tensor_file_free(file);
    /* Wide numbers that a type makes infinite, and what is none: no file. */
    const struct {
        float value;
        const char *dtype, *said;
    } bad[] = {{NAN, "keep", "value 0 of w is NaN or infinite as F32"},
               {-INFINITY, "f16", "infinite as F16"},
               {3.4e38f, "bf16", "infinite as BF16"}};
    assert_int_equal(unlink(to), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        value = bad[i].value;
        assert_ok(cvy_tensor_file_save(
            source, &(cvy_named_tensor){"w", "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL}, 1, NULL));
        expect(RUN("convert", source, to, "--dtype", bad[i].dtype), 2, bad[i].said);
        assert_false(cvy_file_exists(to));
    }
    expect(RUN("convert", source), 2, "missing argument");
    expect(RUN("convert", source, test_path(folder, "to.bin")), 2, "to.bin` ends neither with");
    expect(RUN("convert", test_path(folder, "none.pth"), to), 2, "there is no weights file");
    free(source);
    free(to);
}

static void errors_as_json(void **state) {
    (void)state;
    const struct {
        const char *arguments[8], *status;
        int code;
    } cases[] = {
        {{"trian", "--json", NULL}, "INVALID", 2},
        {{"train", "absent.yaml", "--json", NULL}, "INVALID", 2},
        {{"devices", "--jsno", "--json", NULL}, "INVALID", 2},
        {{"bench", model, "--json", "--device", "nonsense", NULL}, "DEVICE", 3},
        {{"train", model, "--json", "--out", test_path(folder, "plain/run"), NULL}, "IO", 1},
    };
    test_write(folder, "plain", "x");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_output *r = test_run(cases[i].arguments);
        assert_int_equal(r->code, cases[i].code);
        if (!r->json)
            fail_msg("stdout is not one JSON object: %s", r->out);
        test_keys(r->json, "error");
        const json_t *error = json_object_get(r->json, "error");
        test_keys(error, "status exit_code message");
        assert_string_equal(json_string_value(json_object_get(error, "status")), cases[i].status);
        assert_int_equal(json_integer_value(json_object_get(error, "exit_code")), cases[i].code);
        const char *message = json_string_value(json_object_get(error, "message"));
        assert_non_null(strstr(r->err, message));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage),       cmocka_unit_test(bad_models),     cmocka_unit_test(bad_data),
        cmocka_unit_test(escapes),     cmocka_unit_test(bad_weights),    cmocka_unit_test(devices),
        cmocka_unit_test(failed_runs), cmocka_unit_test(errors_as_json), cmocka_unit_test(conversions),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
