/* The command `convoy`: what its parts share. A command is a row in main.c's table and a cmd_x.c with its
   options table and its run function. This floor alone prints and exits: results go to stdout, or as one JSON
   object with --json; everything for people to read on the way goes to stderr. */
#ifndef CVY_CLI_CLI_H
#define CVY_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/params.h"
#include "base/text.h"
#include "base/threads.h"
#include "convoy.h"
#include "network/network.h"

/* Every command's options begin with these. */
typedef struct cli_common {
    bool json, help;
    const char *device;
    int precision;                  /* convoy_precision */
    int verify;                     /* convoy_device_verify */
    bool fast_decode, skip_damaged; /* scratch: settings */
    const char *set, *variant;      /* scratch: may be given several times, collected in cli_call */
} cli_common;

#define CLI_ROW_JSON                                                                                         \
    { "json", CVY_FLAG, offsetof(cli_common, json), "", 0, 0, NULL, "print one JSON object on stdout" }
#define CLI_ROW_HELP                                                                                         \
    { "help", CVY_FLAG, offsetof(cli_common, help), "", 0, 0, NULL, "show this text" }
#define CLI_ROW_DEVICE                                                                                       \
    {                                                                                                        \
        "device", CVY_TEXT, offsetof(cli_common, device), "", 0, 0, NULL,                                    \
            "auto, gpu, cpu, host, P:D or part of a name; default: $CONVOY_DEVICE, else auto"                \
    }
#define CLI_ROW_PRECISION                                                                                    \
    {                                                                                                        \
        "precision", CVY_CHOICE, offsetof(cli_common, precision), "float32", 0, 0, "float32|tf32|bf16",      \
            "round the factors of convolutions for tensor cores (NVIDIA); sums are float32"                  \
    }
#define CLI_ROW_VERIFY                                                                                       \
    {                                                                                                        \
        "verify", CVY_INT, offsetof(cli_common, verify), "", 1, 1 << 30, NULL,                               \
            "in every N-th batch the host computes one kernel's result once more before it is used"          \
    }
#define CLI_ROW_FAST_DECODE                                                                                  \
    {                                                                                                        \
        "fast-decode", CVY_FLAG, offsetof(cli_common, fast_decode), "", 0, 0, NULL,                          \
            "decode large JPEG images at a part of their size: faster, not quite the same pixels"            \
    }
#define CLI_ROW_SKIP_DAMAGED                                                                                 \
    {                                                                                                        \
        "skip-damaged", CVY_FLAG, offsetof(cli_common, skip_damaged), "", 0, 0, NULL,                        \
            "leave out photographs that cannot be read; they are named and counted"                          \
    }
#define CLI_ROW_SET                                                                                          \
    {                                                                                                        \
        "set", CVY_TEXT, offsetof(cli_common, set), "", 0, 0, NULL,                                          \
            "key=value of the recipe or a parameter of the model; may be repeated"                           \
    }
#define CLI_ROW_VARIANT                                                                                      \
    {                                                                                                        \
        "variant", CVY_TEXT, offsetof(cli_common, variant), "", 0, 0, NULL,                                  \
            "op=name forces a kernel variant, as conv2d=im2col_gemm; may be repeated"                        \
    }

#define CLI_DATA_TEXT                                                                                        \
    "a folder, a list of pictures (CSV), a known set as fashion-mnist, or synthetic; default: the recipe's"

typedef struct cli_call cli_call;

typedef struct cli_command {
    const char *name, *operands, *summary; /* "train", "MODEL", one line */
    int operands_min, operands_max;        /* -1: any number */
    const cvy_param *params;
    size_t options_size;
    bool recipe; /* --help lists the recipe's keys */
    convoy_status (*run)(cli_call *call);
} cli_command;

extern const cli_command *const cli_commands[]; /* ends with NULL */

/* One invocation. */
struct cli_call {
    const cli_command *command;
    cvy_arena *arena;
    void *options; /* the command's struct, which begins with cli_common */
    const char **operands;
    size_t operand_count;
    const char **settings; /* "key=value", of --set and of options that stand for one */
    size_t setting_count;
    const char *variants; /* "op=name,op=name" or NULL */
    const char **axes;    /* of --grid and --range, the option's name in front: "grid lr=0.1,0.01" */
    size_t axis_count;
    const char **devices; /* each --device */
    size_t device_count;
    uint64_t given; /* bit i: row i of the table was on the command line */
    int argc;
    char **argv;    /* as main got it */
    json_t *result; /* with --json: what goes to stdout */
};

static inline cli_common *cli_common_of(const cli_call *call) {
    return call->options;
}

/* ---- arguments.c ---- */

/* Fills the call from the arguments after the command's name. */
convoy_status cli_parse(cli_call *call, int count, char **arguments);
/* Was this option on the command line? For those of which 0 is a value like others. */
bool cli_given(const cli_call *call, const char *name);
void cli_add_setting(cli_call *call, const char *key, const char *value);
void cli_print_help(const cli_command *command, FILE *out);

/* ---- setup.c ---- */

typedef struct cli_data_request {
    const char *data; /* NULL: the recipe's */
    size_t limit_train, limit_test;
    double test_fraction; /* 0: the recipe's */
    bool train, test;     /* which splits */
    bool evaluation; /* training images as evaluation and prediction see them, not as augmentation does */
    bool all;        /* of the images, in place of the test split */
    const char *run; /* the folder of the run that goes on, or NULL */
    bool validation; /* val/, where there is one, in place of the test split */
    convoy_dataset **judge; /* NULL, or the validation set beside both: a folder of its own, or a part of the
                               training images; stays NULL where there is none */
} cli_data_request;

/* The model of the first operand with the call's settings and the data for it; a model that leaves its
   outputs to the data ($classes) gets as many as there are classes. What is not asked for is NULL. */
convoy_status cli_load(const cli_call *call, const cli_data_request *request, convoy_model **model,
                       convoy_dataset **train, convoy_dataset **test);
/* Images as the model wants them. */
convoy_dataset_options cli_dataset_options(const convoy_model *model);
struct cvy_files_options cli_files_options(const convoy_model *model);
/* CONVOY_INVALID when there is no such file: a wrong name on the command line is bad usage, not a failed
 * disk. */
convoy_status cli_check_file(const cli_call *call, const char *what, const char *path);
/* Before work starts: can the file of this option be written, and is it none that the command line names to
   be read? CONVOY_IO, CONVOY_INVALID. `path` NULL: nothing is to be written. */
convoy_status cli_check_output(const cli_call *call, const char *option, const char *path);
/* The same of one file that is to be read, and of a set's images and list, which a recipe may name. */
convoy_status cli_check_apart(const cli_call *call, const char *option, const char *path, const char *input);
convoy_status cli_check_images(const cli_call *call, const char *option, const char *path,
                               const convoy_dataset *set);
/* Could a run's folder be made there, and is it no other command's, which would have left a file `foreign`?
   `path` NULL: its place is chosen. */
convoy_status cli_check_folder(const cli_call *call, const char *path, const char *foreign);
/* The model alone. `classes` 0: the file's own. */
convoy_status cli_load_model(const cli_call *call, int classes, convoy_model **model);
/* The same, with every layer by itself. */
convoy_status cli_load_layers(const cli_call *call, int classes, convoy_model **model);

/* Opens the device that was asked for, and says which and why. */
convoy_status cli_open_device(const cli_call *call, convoy_device **device);
convoy_status cli_open_selected(const cli_call *call, const char *selector, convoy_device **device);
/* After `status` on *device: under `auto`, when the device failed or was too small, closes it, opens the next
   one and returns true. */
bool cli_fall_back(const cli_call *call, convoy_status status, convoy_device **device);

/* ---- runs.c ---- */

/* runs/<name>-<date>-<n>, made; in the arena. */
convoy_status cli_new_run_folder(cli_call *call, const char *name, const char **out);
/* A flag that Ctrl-C and a terminal that goes away set; a second time they end the process. */
const volatile int *cli_catch_signals(void);

/* ---- output.c ---- */

/* Another process speaks for this one: no notes, no warnings. */
extern bool cli_quiet;
/* In front of every note: what this process is to the one that speaks for all; NULL: it is that one. */
extern const char *cli_prefix;
/* A line for people, on stderr; what no screen should get is escaped. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Text from outside: as it is where it is UTF-8, else with the other bytes as \xE9. */
json_t *cli_string(const char *text);
/* As a screen may have it, on one line; in the arena. */
const char *cli_visible(cvy_arena *arena, const char *text);
/* null for NaN and infinity. */
json_t *cli_number(double value);
json_t *cli_numbers(const int *values, size_t count);
/* "12.3 MiB" */
const char *cli_bytes(double bytes, char text[32]);
/* "1,234,567" */
const char *cli_thousands(unsigned long long value, char text[32]);

/* What training and evaluation need of a device's memory; on a real one with what Convoy's buffers held at
   most. */
typedef struct cli_memory {
    cvy_memory training, evaluation;
    bool on_device;
    size_t training_measured, evaluation_measured; /* bytes */
} cli_memory;
/* {"training": {"parameters": bytes, ...}, "evaluation": {...}} */
json_t *cli_memory_json(const cli_memory *memory);
void cli_print_memory(const cli_memory *memory);

/* ---- progress.c ---- */

typedef struct cli_progress {
    bool terminal;
    bool drawn;               /* a bar is on the screen */
    double drawn_at, line_at; /* cvy_seconds() of the last bar and the last plain line */
    double built_at;          /* cvy_building's seconds of the last line about building */
    int epoch;                /* whose first event was seen */
    double epoch_start;       /* cvy_seconds() */
    size_t epoch_from;        /* images done then */
} cli_progress;

/* `terminal`: stderr is one. */
void cli_progress_start(cli_progress *progress, bool terminal);
/* A convoy_train_options.progress; `context` is a cli_progress. */
int cli_progress_event(void *context, const convoy_progress *event);
/* A cvy_device_observe_building's: what a cold start waits for; `context` is a cli_progress. */
void cli_progress_building(void *context, const cvy_building *building);
/* Removes the bar. */
void cli_progress_end(cli_progress *progress);
/* A convoy_log_sink that does not tear the bar; `context` is a cli_progress, or NULL: there is none. */
void cli_progress_log(void *context, convoy_log_level level, const char *message);
/* Writes the bar's line, at most `columns` wide. */
void cli_progress_bar(cvy_text *text, const convoy_progress *event, double elapsed, double remaining,
                      int columns);

/* ---- curves.c ---- */

/* Both pictures, of loss and accuracy, from a run's metrics.csv; nothing with fewer than two epochs. */
void cli_curves_of_run(cvy_text *text, const char *metrics);

/* ---- pictures.c ---- */

/* The curves and events of a run that trains; {0}: none. */
typedef struct cli_pictures {
    char *metrics, *path, *events; /* from which file to which */
    bool draws, started;
    unsigned long long step; /* of the last row that became events */
    double start;            /* of the run, in seconds since 1970 */
    cvy_threads thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted, ending; /* under the lock */
    char *failure,
        *events_failure; /* of the latest picture and of events, or NULL; the thread's while it runs */
} cli_pictures;

/* `at`: where the run begins or goes on. */
void cli_pictures_start(cli_pictures *pictures, const char *folder, bool draws, bool events,
                        const convoy_progress *at);
/* There is something new. Does not wait for it. */
void cli_pictures_want(cli_pictures *pictures);
/* Makes what is not made yet, and says what went wrong. */
void cli_pictures_end(cli_pictures *pictures);

/* ---- cmd_report.c ---- */

struct cvy_answers;

typedef struct cli_report {
    const char *const *folders; /* of runs */
    size_t count;
    const struct cvy_trials *search; /* of which the one folder is the best run; NULL: of none */
    const char *out;                 /* the page; NULL: none */
    const cli_data_request *request; /* what the weights answer to; NULL: nothing is evaluated */
    bool pictures;                   /* answers.png into the folders; curves.png too, where there is none */
} cli_report;

/* Writes a page and pictures. *device: where to evaluate; NULL: it is opened where it is needed, and the
   caller's to close. `result`: receives the JSON object, or NULL. `answers`: what the first run's weights
   answered, in the arena, or NULL; NULL stands in it where nothing was evaluated. */
convoy_status cli_report_write(const cli_call *call, const cli_report *report, convoy_device **device,
                               json_t **result, const struct cvy_answers **answers);
/* Accuracy, precision, recall and F1 on one line; NULL: nothing. */
void cli_print_answers(const struct cvy_answers *answers, FILE *to);

/* ---- the commands ---- */

extern const cli_command cli_devices, cli_summary, cli_train, cli_search, cli_eval, cli_predict, cli_bench,
    cli_tune, cli_show, cli_report_command, cli_explain, cli_selftest, cli_convert, cli_diff;

#endif
