/* The parsers, each given bytes as it would get them from a file or a command line. */
#include "fuzz/targets.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/given.h"
#include "base/log.h"
#include "base/node.h"
#include "base/text.h"
#include "convoy.h"
#include "data/idx.h"
#include "data/image.h"
#include "data/list_rows.h"
#include "device/opencl.h"
#include "ops/choice.h"
#include "report/history.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"
#include "weights/format.h"
#include "weights/pickle.h"

/* The command's main function (host/cli/main.c), renamed by the build. */
int convoy_main(int argc, char **argv);

static char folder[PATH_MAX];

static void hear_nothing(void *context, convoy_log_level level, const char *message) {
    (void)context;
    (void)level;
    (void)message;
}

bool fuzz_begin(void) {
    convoy_log_set_sink(hear_nothing, NULL);
    const char *where = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/convoy-fuzz-XXXXXX", where && *where ? where : "/tmp");
    return mkdtemp(folder) && setenv("CONVOY_CACHE_DIR", folder, 1) == 0;
}

void fuzz_end(void) {
    static const char *const left[] = {"input", "data_batch_1.bin", "metrics.csv", "tuning.txt",
                                       "tuning.lock"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        char *path = cvy_path_join(folder, left[i]);
        unlink(path);
        free(path);
    }
    rmdir(folder);
}

/* The path of a file with these bytes; valid until the next call. */
static const char *write_input(const char *name, const uint8_t *data, size_t size) {
    static char *path;
    free(path);
    path = cvy_path_join(folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || (size && fwrite(data, 1, size, file) != size) || fclose(file) != 0)
        abort();
    return path;
}

static void run_model(const uint8_t *data, size_t size) {
    convoy_model *model = NULL;
    const convoy_model_options options = {.classes = 10};
    if (!convoy_model_load(write_input("input", data, size), &options, &model))
        convoy_model_free(model);
}

/* What was read is printed, and what is printed is read again. */
static void run_node(const uint8_t *data, size_t size) {
    cvy_arena *arena = cvy_arena_create();
    cvy_node *root = NULL, *again = NULL;
    cvy_text text = {0};
    if (arena && !cvy_node_parse(arena, "input", (const char *)data, size, &root) && root) {
        cvy_node_print(root, &text);
        if (cvy_node_parse(arena, "again", cvy_text_get(&text), text.length, &again)) {
            fprintf(stderr, "printed nodes are not read: %s\n%s\n", convoy_error_message(),
                    cvy_text_get(&text));
            abort();
        }
    }
    cvy_text_free(&text);
    cvy_arena_free(arena);
}

/* Of all formats, told apart by content. */
static void run_weights(const uint8_t *data, size_t size) {
    cvy_tensor_file *file = NULL;
    if (cvy_tensor_file_load(write_input("input", data, size), &file))
        return;
    cvy_tensor_file_to_float(file);
    cvy_tensor_file_free(file);
}

/* The unpickler alone, in memory: no file, no archive and no checksum stands before it. */
static void run_pickle(const uint8_t *data, size_t size) {
    cvy_arena *arena = cvy_arena_create();
    cvy_pickled *value = NULL, *storages = NULL;
    size_t used = 0;
    if (arena && !cvy_unpickle(arena, "input", (const char *)data, size, &used, &value, &storages) &&
        (!value || !storages || !used || used > size))
        abort();
    cvy_arena_free(arena);
}

/* What torch.save wrote before PyTorch 1.6, in memory: pickles, then numbers. */
static void run_legacy(const uint8_t *data, size_t size) {
    cvy_tensor_file *file = calloc(1, sizeof *file);
    if (!file || !(file->bytes = malloc(size + 1)))
        abort();
    memcpy(file->bytes, data, size);
    file->bytes[size] = '\0';
    file->size = size;
    if (size > 1 && memcmp(data, "PK", 2) != 0 && !cvy_pth_load("input", file))
        cvy_tensor_file_to_float(file);
    cvy_tensor_file_free(file);
}

static void run_checkpoint(const uint8_t *data, size_t size) {
    cvy_tensor_file *file = NULL;
    unsigned long long step = 0;
    const char *path = write_input("input", data, size);
    if (!cvy_checkpoint_open(path, &file))
        cvy_tensor_file_free(file);
    cvy_checkpoint_step(path, &step);
}

static void run_idx(const uint8_t *data, size_t size) {
    const char *path = write_input("input", data, size);
    for (int dimensions = 1; dimensions <= 3; dimensions++) {
        cvy_idx idx = {0};
        if (!cvy_idx_read(path, dimensions, 0, &idx))
            free(idx.data);
        if (!cvy_npz_read(path, dimensions, 0, &idx))
            free(idx.data);
    }
}

static void run_list(const uint8_t *data, size_t size) {
    cvy_arena *arena = cvy_arena_create();
    cvy_rows rows = {0};
    if (arena)
        cvy_rows_read(write_input("input", data, size), CVY_NO_SPLIT, arena, &rows);
    free(rows.rows);
    cvy_arena_free(arena);
}

static void run_cifar(const uint8_t *data, size_t size) {
    convoy_dataset *set = NULL;
    write_input("data_batch_1.bin", data, size);
    if (!convoy_dataset_open(folder, "train", NULL, &set))
        convoy_dataset_free(set);
    write_input("data_batch_1.bin", NULL, 0);
}

static void run_image(const uint8_t *data, size_t size) {
    static uint8_t out[3 * 8 * 8];
    cvy_pixels pixels = {0};
    const cvy_wanted wanted = {.channels = 3, .height = 8, .width = 8},
                     smaller = {.channels = 3, .height = 1, .width = 1, .most_pixels = 64};
    if (!cvy_image_decode("input", data, size, smaller, &pixels))
        free(pixels.data);
    if (!cvy_image_decode("input", data, size, wanted, &pixels))
        cvy_image_bring(&pixels, &(cvy_fitting){.channels = 3, .height = 8, .width = 8}, out);
    free(pixels.data);
}

/* A device that needs no driver, as far as its store of choices goes. */
static void run_tuning(const uint8_t *data, size_t size) {
    convoy_device *device = calloc(1, sizeof *device);
    size_t count = 0;
    if (!device)
        abort();
    cvy_object_open(device);
    write_input("tuning.txt", data, size);
    cvy_choice_list(device, &count);
    cvy_choice_keep(device, &(cvy_choice){CVY_BEST, "conv2d", "forward", "1,2", "direct_cpu", 1, "", NULL},
                    1);
    if (!cvy_choice_find(device, &(cvy_key){"conv2d", "forward", "1,2"}) && !getenv("CONVOY_TUNE"))
        abort(); /* what was kept is known, whatever the file was */
    convoy_device_close(device);
}

static void run_metrics(const uint8_t *data, size_t size) {
    cvy_run_folder run = {.path = folder, .lock = -1};
    cvy_arena *arena = cvy_arena_create();
    cvy_history history;
    cvy_history_read(arena, write_input("metrics.csv", data, size), &history);
    cvy_arena_free(arena);
    cvy_run_folder_start_metrics(&run, true, 3);
}

/* What the command says of all this concerns nobody. */
static void run_quietly(int argc, char **argv) {
    int kept[2];
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        kept[i] = dup(i + 1);
        dup2(nowhere, i + 1);
    }
    convoy_main(argc, argv);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        dup2(kept[i], i + 1);
        close(kept[i]);
    }
    close(nowhere);
}

/* Words with NULs or line ends between. --help comes last, so that nothing runs. */
static void run_command_line(const uint8_t *data, size_t size) {
    char words[1024], *argv[66] = {(char *)"convoy"};
    int argc = 1;
    if (size == 0 || size >= sizeof words)
        return;
    memcpy(words, data, size);
    words[size] = '\0';
    for (char *word = words; word < words + size && argc < 64; word += strlen(word) + 1) {
        word[strcspn(word, "\n")] = '\0';
        argv[argc++] = word;
    }
    argv[argc++] = (char *)"--help";
    run_quietly(argc, argv);
}

const fuzz_target fuzz_targets[] = {
    {"model", run_model},
    {"node", run_node},
    {"weights", run_weights},
    {"pickle", run_pickle},
    {"legacy", run_legacy},
    {"idx", run_idx},
    {"list", run_list},
    {"cifar", run_cifar},
    {"image", run_image},
    {"tuning", run_tuning},
    {"metrics", run_metrics},
    {"checkpoint", run_checkpoint},
    {"command", run_command_line},
    {NULL, NULL},
};

const fuzz_target *fuzz_find(const char *name) {
    for (const fuzz_target *target = fuzz_targets; target->name; target++)
        if (name && strcmp(target->name, name) == 0)
            return target;
    return NULL;
}
