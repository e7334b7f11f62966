/* The figures of `convoy bench` as a table and as JSON, and what follows from them: how much of the device's
   peak each pass of a layer reaches, and what a step consists of. */
#include <string.h>

#include "cli/bench.h"

/* One pass of a layer, or several together. */
typedef struct pass {
    double seconds, floor;
    cvy_cost cost;
} pass;

static pass pass_of(const bench_figures *f, double seconds, cvy_cost cost) {
    return (pass){seconds, cvy_peak_floor(&f->peak, cost), cost};
}

static pass forward(const bench_figures *f, const cvy_layer_timing *layer) {
    return pass_of(f, layer->forward_seconds, layer->forward);
}

static pass backward(const bench_figures *f, const cvy_layer_timing *layer) {
    return pass_of(f, layer->backward_seconds, layer->backward);
}

static pass add(pass a, pass b) {
    return (pass){
        a.seconds + b.seconds, a.floor + b.floor, {a.cost.flops + b.cost.flops, a.cost.bytes + b.cost.bytes}};
}

static double rate(double amount, double seconds) {
    return seconds > 0 ? amount / seconds / 1e9 : 0;
}

/* The floor's part of the time, 0 to 1, or more where an algorithm saves operations. */
static double share(pass p) {
    return p.seconds > 0 ? p.floor / p.seconds : 0;
}

/* What a training step consists of, in seconds. */
typedef struct budget {
    double step, floor, layers, loss, optimizer, rest;
} budget;

static budget budget_of(const bench_figures *f) {
    int pieces = (f->batch_size + f->micro_batch - 1) / f->micro_batch;
    budget b = {.step = f->batch_size / f->train,
                .loss = f->loss_seconds * pieces,
                .optimizer = f->optimizer_seconds};
    pass all = pass_of(f, 0, f->loss);
    for (size_t i = 0; i < f->layer_count; i++)
        all = add(all, add(forward(f, &f->layers[i]), backward(f, &f->layers[i])));
    b.layers = all.seconds * pieces;
    b.floor = all.floor * pieces + cvy_peak_floor(&f->peak, f->optimizer);
    b.rest = b.step - b.layers - b.loss - b.optimizer;
    return b;
}

/* ---- JSON ---- */

static void set(json_t *object, const char *key, double value) {
    json_object_set_new(object, key, cli_number(value));
}

static json_t *layer_json(const bench_figures *f, const cvy_layer_timing *layer) {
    pass ahead = forward(f, layer), back = backward(f, layer), both = add(ahead, back);
    json_t *row = json_pack("{s:s, s:s, s:s, s:b}", "name", layer->name, "op", layer->op, "variant",
                            layer->variant, "measured", layer->measured);
    set(row, "forward_ms", 1e3 * ahead.seconds);
    set(row, "backward_ms", 1e3 * back.seconds);
    set(row, "gflops", rate(both.cost.flops, both.seconds));
    set(row, "forward_gflops", rate(ahead.cost.flops, ahead.seconds));
    set(row, "backward_gflops", rate(back.cost.flops, back.seconds));
    set(row, "forward_gbytes", rate(ahead.cost.bytes, ahead.seconds));
    set(row, "backward_gbytes", rate(back.cost.bytes, back.seconds));
    set(row, "forward_peak", share(ahead));
    set(row, "backward_peak", share(back));
    return row;
}

static json_t *peak_json(const bench_figures *f) {
    json_t *peak = json_object(), *sets = json_array();
    for (int i = 0; i < CVY_PEAK_SETS; i++) {
        json_t *one = json_object();
        set(one, "bytes", f->peak.sets[i].bytes);
        set(one, "gbytes", f->peak.sets[i].bandwidth / 1e9);
        json_array_append_new(sets, one);
    }
    set(peak, "gflops", f->peak.flops / 1e9);
    json_object_set_new(peak, "streams", sets);
    set(peak, "launch_us", 1e6 * f->peak.launch);
    set(peak, "wait_us", 1e6 * f->peak.wait);
    return peak;
}

static json_t *step_json(const bench_figures *f) {
    budget b = budget_of(f);
    json_t *step = json_object();
    set(step, "ms", 1e3 * b.step);
    set(step, "floor_ms", 1e3 * b.floor);
    set(step, "layers_ms", 1e3 * b.layers);
    set(step, "loss_ms", 1e3 * b.loss);
    set(step, "optimizer_ms", 1e3 * b.optimizer);
    set(step, "rest_ms", 1e3 * b.rest);
    return step;
}

static json_t *kernels_json(const bench_figures *f) {
    json_t *rows = json_array();
    for (size_t i = 0; i < f->kernel_count; i++) {
        json_t *row = json_pack("{s:s}", "kernel", f->kernels[i].kernel);
        set(row, "launches", (double)f->kernels[i].launches / BENCH_PROFILED);
        set(row, "ms", 1e3 * f->kernels[i].seconds / BENCH_PROFILED);
        json_array_append_new(rows, row);
    }
    return rows;
}

json_t *bench_json(const bench_figures *f) {
    json_t *layers = json_array();
    for (size_t i = 0; i < f->layer_count; i++)
        json_array_append_new(layers, layer_json(f, &f->layers[i]));
    json_t *result = json_pack(
        "{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:o, s:o}", "model", f->model, "device", f->device,
        "batch_size", f->batch_size, "micro_batch", f->micro_batch, "launches", (json_int_t)f->launches,
        "waits", (json_int_t)f->waits, "memory_planned_bytes",
        (json_int_t)cvy_memory_total(&f->memory.training), "memory_peak_bytes",
        (json_int_t)f->memory.training_measured, "memory", cli_memory_json(&f->memory), "layers", layers);
    set(result, "train_images_per_second", f->train);
    set(result, "eval_images_per_second", f->eval);
    if (f->layer_count) {
        json_object_set_new(result, "peak", peak_json(f));
        json_object_set_new(result, "step", step_json(f));
    }
    if (f->with_option) {
        char key[64];
        snprintf(key, sizeof key, "%s_parameters", f->with_option->name);
        json_object_set_new(result, key, json_string(f->option));
    }
    if (f->kernels)
        json_object_set_new(result, "kernels", kernels_json(f));
    return result;
}

/* ---- the table ---- */

static void print_pass(pass p) {
    printf(" %9.3f %7.1f %6.1f", 1e3 * p.seconds, rate(p.cost.flops, p.seconds),
           rate(p.cost.bytes, p.seconds));
    if (p.floor > 0 && p.seconds > 0)
        printf(" %5.0f%%", 100 * share(p));
    else
        printf(" %6s", "");
}

static void print_layers(const bench_figures *f) {
    bool measured = false;
    printf("%-16s %-11s %-39s %9s %7s %6s %6s %9s %7s %6s %6s\n", "layer", "op", "variant", "forward ms",
           "GFLOP/s", "GB/s", "peak", "back ms", "GFLOP/s", "GB/s", "peak");
    for (size_t i = 0; i < f->layer_count; i++) {
        const cvy_layer_timing *layer = &f->layers[i];
        measured = measured || layer->measured;
        printf("%-16s %-11s %c%-38s ", layer->name, layer->op, layer->measured ? '*' : ' ', layer->variant);
        print_pass(forward(f, layer));
        print_pass(backward(f, layer));
        printf("\n");
    }
    if (measured)
        printf("* is a choice by measurement (`convoy tune`)\n");
    if (f->with_option)
        printf("%s runs with its parameters \"%s\" (`convoy tune --list` shows all that were measured)\n",
               f->with_option->name, f->option);
}

static void print_peak(const bench_figures *f) {
    if (f->peak.flops <= 0)
        return;
    char size[32];
    printf("peak        %12.1f GFLOP/s", f->peak.flops / 1e9);
    for (int i = 0; i < CVY_PEAK_SETS; i++)
        printf(", %.1f GB/s in %s", f->peak.sets[i].bandwidth / 1e9, cli_bytes(f->peak.sets[i].bytes, size));
    printf("; a launch %.1f us, a wait %.1f us\n", 1e6 * f->peak.launch, 1e6 * f->peak.wait);
}

static void print_budget(const bench_figures *f) {
    budget b = budget_of(f);
    if (b.floor > 0)
        printf("a step of %.3f ms has a floor of %.3f ms (%.0f %%)\n", 1e3 * b.step, 1e3 * b.floor,
               100 * b.floor / b.step);
    printf("alone: layers %.3f ms, loss %.3f ms, optimizer %.3f ms; the step takes %+.3f ms: %llu launches "
           "cost %.3f ms\n",
           1e3 * b.layers, 1e3 * b.loss, 1e3 * b.optimizer, 1e3 * b.rest, f->launches,
           1e3 * f->peak.launch * (double)f->launches);
}

static void print_kernels(const bench_figures *f) {
    printf("%-48s %15s %11s\n", "kernel", "launches a step", "ms a step");
    for (size_t i = 0; i < f->kernel_count; i++)
        printf("%-48s %15.1f %11.3f\n", f->kernels[i].kernel, (double)f->kernels[i].launches / BENCH_PROFILED,
               1e3 * f->kernels[i].seconds / BENCH_PROFILED);
}

void bench_print(const bench_figures *f) {
    printf("%s on %s, batches of %d", f->model, f->device, f->batch_size);
    if (f->micro_batch < f->batch_size)
        printf(" in pieces of %d", f->micro_batch);
    printf("\ntraining    %12.1f images/s  (%.3f ms a step, %llu launches, %llu waits)\n", f->train,
           1e3 * f->batch_size / f->train, f->launches, f->waits);
    printf("evaluation  %12.1f images/s  (%.3f ms a batch)\n", f->eval, 1e3 * f->batch_size / f->eval);
    print_peak(f);
    cli_print_memory(&f->memory);
    if (f->layer_count) {
        print_layers(f);
        print_budget(f);
    }
    if (f->kernels)
        print_kernels(f);
}
