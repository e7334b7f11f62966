/* The helpers of run.h. */
#include "support/run.h"

#include "base/file.h"
#include "model/model.h"

const char *test_path(const char *folder, const char *name) {
    static char paths[512][512];
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (size_t i = 0; i < 512; i++)
        if (!*paths[i] || strcmp(paths[i], path) == 0)
            return strcpy(paths[i], path);
    fail_msg("too many paths in one test program");
    return NULL;
}

const char *test_write(const char *folder, const char *name, const char *text) {
    const char *path = test_path(folder, name);
    assert_ok(cvy_file_write(path, text, strlen(text)));
    return path;
}

const char *test_tiny_model(const char *folder, const char *name, const char *recipe) {
    char text[4096];
    snprintf(text, sizeof text,
             "name: tiny\n"
             "input: [1, 8, 8]\n"
             "layers:\n"
             "  - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1}\n"
             "  - BatchNorm2d\n"
             "  - ReLU\n"
             "  - MaxPool2d: {kernel_size: 2}\n"
             "  - Flatten\n"
             "  - Dropout: {p: 0.25}\n"
             "  - Linear: {out_features: 10}\n"
             "recipe:\n"
             "  data: synthetic\n"
             "%s",
             recipe);
    return test_write(folder, name, text);
}

char *test_read_text(const char *path, size_t *size) {
    char *data = NULL;
    size_t bytes;
    assert_ok(cvy_file_read(path, (size_t)1 << 30, &data, &bytes));
    if (size)
        *size = bytes;
    return data;
}

void test_same_file(const char *a, const char *b) {
    size_t size_a, size_b;
    char *data_a = test_read_text(a, &size_a), *data_b = test_read_text(b, &size_b);
    if (size_a != size_b || memcmp(data_a, data_b, size_a) != 0)
        fail_msg("%s (%zu bytes) and %s (%zu bytes) differ", a, size_a, b, size_b);
    free(data_a);
    free(data_b);
}

/* Leaves the seventh and eighth field of every line empty. */
static void cut_times(char *text) {
    char *out = text;
    int commas = 0;
    for (const char *c = text; *c; c++) {
        commas = *c == '\n' ? 0 : commas + (*c == ',');
        if ((commas != 6 && commas != 7) || *c == ',')
            *out++ = *c;
    }
    *out = '\0';
}

void test_same_metrics(const char *a, const char *b) {
    char *text_a = test_read_text(a, NULL), *text_b = test_read_text(b, NULL);
    cut_times(text_a);
    cut_times(text_b);
    assert_string_equal(text_a, text_b);
    free(text_a);
    free(text_b);
}

void test_same_run(const char *a, const char *b) {
    cvy_tensor_file *files[2];
    assert_ok(cvy_tensor_file_load(test_path(a, "checkpoint.safetensors"), &files[0]));
    assert_ok(cvy_tensor_file_load(test_path(b, "checkpoint.safetensors"), &files[1]));
    assert_int_equal(cvy_tensor_file_count(files[0]), cvy_tensor_file_count(files[1]));
    for (size_t i = 0; i < cvy_tensor_file_count(files[0]); i++) {
        cvy_named_tensor x = cvy_tensor_file_get(files[0], i), y = cvy_tensor_file_find(files[1], x.name);
        assert_non_null(y.data);
        assert_int_equal(x.bytes, y.bytes);
        if (memcmp(x.data, y.data, x.bytes) != 0)
            fail_msg("tensor %s of %s and %s differs", x.name, a, b);
    }
    const char *scalars[] = {"epoch",      "step",      "images",          "best_accuracy",
                             "best_epoch", "test_loss", "epoch_train_loss"};
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        assert_string_equal(cvy_tensor_file_metadata(files[0], scalars[i]),
                            cvy_tensor_file_metadata(files[1], scalars[i]));
    cvy_tensor_file_free(files[0]);
    cvy_tensor_file_free(files[1]);
    test_same_file(test_path(a, "last.safetensors"), test_path(b, "last.safetensors"));
    test_same_file(test_path(a, "best.safetensors"), test_path(b, "best.safetensors"));
    test_same_file(test_path(a, "model.yaml"), test_path(b, "model.yaml"));
    test_same_metrics(test_path(a, "metrics.csv"), test_path(b, "metrics.csv"));
}
