/* convoy bench MODEL: images per second of training steps (forward, loss, backward, optimizer) and of
   evaluation, on random images that are already on the device: the step alone, without loader. Medians over
   windows after a warm-up; then each layer by itself, and what the device reaches at most. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/status.h"
#include "cli/bench.h"
#include "device/device.h"
#include "model/model.h"
#include "train/handshake.h"

typedef struct options {
    cli_common common;
    int batch_size, micro_batch, steps, repeats, mpi;
    const char *devices;
    double seconds;
    bool no_layers, kernels;
} options;

static const cvy_param params[] = {
    {"batch-size", CVY_INT, offsetof(options, batch_size), "", 1, 1 << 20, NULL,
     "images per step; default: the recipe's"},
    {"micro-batch", CVY_INT, offsetof(options, micro_batch), "", 1, 1 << 20, NULL,
     "compute a batch in pieces of so many images, to save memory: gradients add up, batch-norm sees a piece "
     "at a time; default: the recipe's"},
    {"steps", CVY_INT, offsetof(options, steps), "", 1, 1 << 30, NULL,
     "training steps to time, instead of --seconds"},
    {"seconds", CVY_FLOAT, offsetof(options, seconds), "6", 0.01, 86400, NULL,
     "time for training steps; evaluation takes half of it"},
    {"repeats", CVY_INT, offsetof(options, repeats), "5", 1, 1000, NULL,
     "runs of each layer, of which the best counts"},
    {"kernels", CVY_FLAG, offsetof(options, kernels), "", 0, 0, NULL,
     "profile each launch: time and launches a step of every kernel"},
    {"no-layers", CVY_FLAG, offsetof(options, no_layers), "", 0, 0, NULL, "leave out the layers"},
    CLI_ROW_DEVICE,
    CLI_ROW_DEVICES,
    CLI_ROW_MPI,
    CLI_ROW_PRECISION,
    CLI_ROW_SET,
    CLI_ROW_VARIANT,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

enum { WARM_UP = 3, WINDOWS = 8, WINDOWS_MIN = 3, WINDOWS_LIMIT = 256 };

/* ---- preparing ---- */

static convoy_status fill_input(const bench *b) {
    cvy_buffer *input = cvy_network_input(b->network);
    size_t bytes = cvy_buffer_bytes(input);
    float *values = malloc(bytes ? bytes : 1);
    if (!values)
        return cvy_fail_memory("random images", bytes);
    cvy_rng rng = cvy_rng_stream(0, CVY_RNG_SYNTHETIC, 0);
    int pitch = cvy_network_pitch(b->network);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        values[i] = (int)(i % (size_t)pitch) < cvy_network_batch_size(b->network) ? cvy_rng_uniform(&rng) : 0;
    convoy_status status = cvy_buffer_write(input, 0, values, bytes);
    free(values);
    return status;
}

static convoy_status fill_labels(bench *b) {
    int classes = convoy_model_classes(cvy_network_model(b->network)), pitch = cvy_network_pitch(b->network);
    int32_t *values = calloc((size_t)pitch, sizeof *values);
    if (!values)
        return cvy_fail_memory("random labels", (size_t)pitch * sizeof *values);
    cvy_rng rng = cvy_rng_stream(0, CVY_RNG_SYNTHETIC, 1);
    for (int i = 0; i < b->micro_batch; i++)
        values[i] = (int32_t)cvy_rng_below(&rng, (uint32_t)classes);
    convoy_status status = cvy_buffer_write(b->training.labels, 0, values, (size_t)pitch * sizeof *values);
    free(values);
    return status;
}

convoy_status bench_prepare(bench *b, convoy_model *model, bool training, const char *variant) {
    cvy_sizes beside = {0}; /* the images lie in the network's input */
    const cvy_network_options options = {
        .batch_size = b->micro_batch, .training = training, .variant = variant, .beside = &beside};
    if (training)
        cvy_training_sizes(
            b->device, cvy_network_pitch_of(cvy_device_get_traits(b->device), b->micro_batch, true), &beside);
    convoy_status status = cvy_network_create_on_ranks(b->ranks, model, b->device, &options, &b->network);
    if (!status)
        status = fill_input(b);
    if (!status && training)
        status = cvy_training_create(b->network, b->device, b->batch_size, &b->training);
    if (!status && training)
        status = fill_labels(b);
    return status;
}

void bench_release(bench *b) {
    cvy_training_free(&b->training);
    convoy_network_close(b->network);
    *b = (bench){
        .device = b->device, .ranks = b->ranks, .batch_size = b->batch_size, .micro_batch = b->micro_batch};
}

/* ---- one step ---- */

static convoy_status train_step(bench *b) {
    b->training.statistics.pending = 0; /* nobody reads the losses of random labels */
    return cvy_training_step(&b->training, NULL, b->batch_size, b->step++);
}

static convoy_status eval_step(bench *b) {
    convoy_status status = CONVOY_OK;
    for (int done = 0, n; done < b->batch_size && !status; done += n) {
        n = b->batch_size - done < b->micro_batch ? b->batch_size - done : b->micro_batch;
        status = cvy_network_forward(b->network, n, false, 0);
    }
    return status;
}

/* ---- timing ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static convoy_status time_window(bench *b, convoy_status (*step)(bench *), size_t steps, double *seconds) {
    convoy_status status = CONVOY_OK;
    double start = cvy_seconds();
    for (size_t i = 0; i < steps && !status; i++)
        status = step(b);
    if (!status)
        status = cvy_device_finish(b->device);
    *seconds = cvy_seconds() - start;
    return status;
}

/* Images per second: the median over about 8 windows, either of `seconds` in all or of `total` steps in all.
 */
static convoy_status time_steps(bench *b, convoy_status (*step)(bench *), size_t total, double seconds,
                                double *rate) {
    double rates[WINDOWS_LIMIT], taken, spent = 0;
    size_t windows = 0, steps = total ? (total + WINDOWS - 1) / WINDOWS : 1, done = 0;
    convoy_status status = time_window(b, step, WARM_UP - 1, &taken);
    if (!status)
        status = time_window(b, step, 1, &taken);
    while (!status && windows < WINDOWS_LIMIT &&
           (total ? done < total : windows < WINDOWS_MIN || spent < seconds)) {
        if (!total)
            steps = taken > 0 && seconds / WINDOWS > taken ? (size_t)(seconds / WINDOWS / taken) : 1;
        status = time_window(b, step, steps, &taken);
        rates[windows++] = (double)steps * b->batch_size / taken;
        spent += taken;
        taken /= (double)steps;
        done += steps;
    }
    if (status)
        return status;
    qsort(rates, windows, sizeof *rates, by_value);
    *rate = windows % 2 ? rates[windows / 2] : (rates[windows / 2 - 1] + rates[windows / 2]) / 2;
    return CONVOY_OK;
}

static convoy_status profile(bench *b, bench_figures *f) {
    convoy_status status = cvy_profile_start(b->device);
    for (int i = 0; i < BENCH_PROFILED && !status; i++)
        status = train_step(b);
    return status ? status : cvy_profile_stop(b->device, &f->kernels, &f->kernel_count);
}

/* ---- the parts of a step ---- */

static convoy_status loss_alone(bench *b) {
    return cvy_training_loss(&b->training, b->micro_batch, 1, 0, false);
}

static convoy_status optimizer_alone(bench *b) {
    return cvy_training_update(&b->training, b->step++);
}

/* The best of `repeats`, without the wait. */
static convoy_status time_alone(bench *b, convoy_status (*run)(bench *), int repeats, double wait,
                                double *seconds) {
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < repeats && !status; i++) {
        double taken;
        status = time_window(b, run, 1, &taken);
        taken = taken > 2 * wait ? taken - wait : taken / 2;
        if (i == 0 || taken < *seconds)
            *seconds = taken;
    }
    return status;
}

/* The loss reads the output and writes its gradient; the optimizer reads parameters, gradients and state, and
   writes all but the gradients. */
static void cost_of_parts(const bench *b, bench_figures *f) {
    double outputs = (double)cvy_buffer_bytes(cvy_network_output(b->network));
    double parameters = (double)cvy_network_parameter_count(b->network);
    int states = cvy_optimizer_states(&b->training.recipe->optimizer);
    f->loss = (cvy_cost){outputs, 2 * outputs};
    f->optimizer = (cvy_cost){parameters * (2 + 5 * states), parameters * sizeof(float) * (3 + 2 * states)};
}

/* The last variant with an option of those that ran the layer. */
static void find_option(const bench *b, const cvy_layer_timing *layer, bench_figures *f) {
    for (size_t i = 0; cvy_ops[i]; i++)
        for (const cvy_variant *const *v = cvy_ops[i]->variants; *v; v++)
            if ((*v)->option && strstr(layer->variant, (*v)->name)) {
                f->with_option = *v;
                f->option = (*v)->option->current(b->device);
            }
}

static convoy_status measure_parts(bench *b, const cli_call *call, bench_figures *f) {
    int repeats = ((const options *)call->options)->repeats;
    convoy_status status = cvy_peak_measure(b->device, &f->peak);
    double wait = f->peak.wait;
    if (!status)
        status = time_alone(b, loss_alone, repeats, wait, &f->loss_seconds);
    if (!status)
        status = time_alone(b, optimizer_alone, repeats, wait, &f->optimizer_seconds);
    if (!status)
        status = cvy_network_time_layers(b->network, repeats, wait, &f->layers, &f->layer_count);
    cost_of_parts(b, f);
    for (size_t i = 0; i < f->layer_count; i++) { /* the rows outlive the network that owns their strings */
        f->layers[i].name = cvy_arena_strdup(call->arena, f->layers[i].name);
        f->layers[i].op = cvy_arena_strdup(call->arena, f->layers[i].op);
        f->layers[i].variant = cvy_arena_strdup(call->arena, f->layers[i].variant);
        find_option(b, &f->layers[i], f);
    }
    return status;
}

static convoy_status measure_training(bench *b, convoy_model *model, const cli_call *call, bench_figures *f) {
    const options *o = call->options;
    convoy_status status = bench_prepare(b, model, true, call->variants);
    if (!status)
        status = time_steps(b, train_step, (size_t)o->steps, o->seconds, &f->train);
    cvy_device_counters before = cvy_device_get_counters(b->device);
    if (!status)
        status = train_step(b);
    if (status)
        return status;
    f->launches = cvy_device_get_counters(b->device).launches - before.launches;
    f->waits = cvy_device_get_counters(b->device).waits - before.waits;
    f->memory.training = cvy_network_memory(b->network);
    f->memory.training_measured = cvy_device_get_counters(b->device).peak_bytes;
    if (o->kernels)
        status = profile(b, f);
    return status || o->no_layers ? status : measure_parts(b, call, f);
}

/* Everything is allocated once, so that what is there in the end was the most. */
static convoy_status measure_evaluation(bench *b, convoy_model *model, const cli_call *call,
                                        bench_figures *f) {
    const options *o = call->options;
    convoy_status status = bench_prepare(b, model, false, call->variants);
    if (!status)
        status = time_steps(b, eval_step, (size_t)o->steps, o->seconds / 2, &f->eval);
    if (status)
        return status;
    f->memory.evaluation = cvy_network_memory(b->network);
    f->memory.evaluation_measured = cvy_device_get_counters(b->device).bytes;
    f->memory.on_device = true;
    return CONVOY_OK;
}

static convoy_status bench_alone(cli_call *call, convoy_model *model, bench *b) {
    const options *o = call->options;
    bench_figures f = {0};
    convoy_status status;
    do
        status = measure_training(b, model, call, &f);
    while (bench_release(b), status && f.train == 0 && cli_fall_back(call, status, &b->device));
    if (!status)
        status = measure_evaluation(b, model, call, &f);
    if (!status) {
        f.model = convoy_model_name(model);
        f.device = convoy_device_get_info(b->device)->name;
        f.batch_size = b->batch_size;
        f.micro_batch = b->micro_batch;
    }
    if (!status && o->common.json)
        call->result = bench_json(&f);
    else if (!status)
        bench_print(&f);
    free(f.layers);
    free(f.kernels);
    return status;
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    bench b = {0};
    convoy_status status = cli_ranks_join(call, o->mpi, o->devices);
    if (!status)
        status = cli_load_model(call, 0, &model);
    if (!status)
        status = cli_open_device(call, &b.device);
    if (!status)
        status = cli_ranks_name(convoy_device_get_info(b.device)->name);
    if (!status) {
        const cvy_recipe *recipe = cvy_model_recipe(model);
        b.batch_size = o->batch_size ? o->batch_size : recipe->batch_size;
        b.micro_batch = o->micro_batch ? o->micro_batch : recipe->micro_batch;
        if (b.micro_batch == 0 || b.micro_batch > b.batch_size)
            b.micro_batch = b.batch_size;
        status = cvy_ranks(cli_ranks()) > 1
                     ? bench_on_ranks(call, model, &b, o->steps ? (size_t)o->steps : 0, o->seconds)
                     : bench_alone(call, model, &b);
    }
    status = cli_ranks_leave(status);
    bench_release(&b);
    convoy_model_free(model);
    convoy_device_close(b.device);
    return status;
}

const cli_command cli_bench = {
    "bench",
    "MODEL",
    "Time training steps, evaluation and each layer, on random images.\nThey are compared with what the "
    "device "
    "reaches at most: `peak` is the least time that a layer's operations or its\nmemory traffic need, over "
    "the time "
    "taken. It may exceed 100 %, as Winograd's convolutions need fewer operations\nthan are counted.",
    1,
    1,
    params,
    sizeof(options),
    false,
    run};
