/* Times the convolutions of the tutorials' networks: milliseconds and GFLOP/s of each pass, best of several
   runs. usage: bench_conv [DEVICE [VARIANT [LAYER]]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "convoy/device.h"
#include "device/device.h"
#include "ops/conv2d/conv2d.h"

typedef struct layer {
    const char *name;
    int batch, in, size, out, kernel, stride, padding;
} layer;

static const layer layers[] = {
    {"lenet.0", 256, 1, 28, 6, 5, 1, 2},         {"lenet.3", 256, 6, 14, 16, 5, 1, 0},
    {"mnist_cnn.0", 64, 1, 28, 8, 3, 1, 1},      {"mnist_cnn.3", 64, 8, 14, 16, 3, 1, 1},
    {"digits_cnn.0", 64, 1, 28, 16, 5, 1, 2},    {"digits_cnn.3", 64, 16, 14, 32, 5, 1, 2},
    {"digits_cnn.5", 64, 32, 14, 32, 5, 1, 2},   {"digits_cnn.8", 64, 32, 7, 64, 5, 1, 2},
    {"monkeypox.0", 32, 3, 224, 12, 5, 1, 0},    {"monkeypox.3", 32, 12, 220, 12, 5, 1, 0},
    {"monkeypox.7", 32, 12, 108, 24, 5, 1, 0},   {"monkeypox.10", 32, 24, 104, 24, 5, 1, 0},
    {"monkeypox.14", 32, 24, 50, 48, 5, 1, 0},   {"alexnet.0", 128, 1, 224, 96, 11, 4, 1},
    {"alexnet.3", 128, 96, 26, 256, 5, 1, 2},    {"alexnet.6", 128, 256, 12, 384, 3, 1, 1},
    {"alexnet.8", 128, 384, 12, 384, 3, 1, 1},   {"alexnet.10", 128, 384, 12, 256, 3, 1, 1},
    {"resnet.3x3s2", 32, 64, 56, 128, 3, 2, 1},  {"resnet.1x1", 32, 64, 56, 256, 1, 1, 0},
    {"resnet.1x1s2", 32, 256, 56, 512, 1, 2, 0}, {"densenet.1x1", 32, 512, 28, 128, 1, 1, 0},
    {"densenet.3x3", 32, 128, 28, 32, 3, 1, 1}};

static cvy_buffer *filled(convoy_device *device, size_t count) {
    cvy_buffer *buffer = NULL;
    float *values = malloc((count ? count : 1) * sizeof *values);
    unsigned state = 1;
    for (size_t i = 0; values && i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) / 8388608.0f - 1;
    }
    if (!values || cvy_buffer_create(device, count * sizeof *values, "bench", &buffer) ||
        (count && cvy_buffer_write(buffer, 0, values, count * sizeof *values))) {
        fprintf(stderr, "%s\n", convoy_error_message());
        exit(1);
    }
    free(values);
    return buffer;
}

static cvy_buffer *buffers[8];

static convoy_status run(cvy_conv2d *op, int pass) {
    cvy_buffer *x = buffers[0], *w = buffers[1], *b = buffers[2], *y = buffers[3], *gx = buffers[4],
               *gw = buffers[5], *gb = buffers[6], *scratch = buffers[7];
    if (pass == CVY_CONV2D_FORWARD)
        return cvy_conv2d_forward(op, x, w, b, y, NULL, NULL, scratch);
    if (pass == CVY_CONV2D_BACKWARD_DATA)
        return cvy_conv2d_backward_data(op, y, w, gx, scratch);
    return cvy_conv2d_backward_weights(op, x, y, gw, gb, false, scratch);
}

static convoy_status measure(convoy_device *device, const layer *l, const char *variant) {
    cvy_conv2d_shape s = {.pitch = l->batch,
                          .in_channels = l->in,
                          .in_height = l->size,
                          .in_width = l->size,
                          .out_channels = l->out,
                          .kernel = {l->kernel, l->kernel},
                          .stride = {l->stride, l->stride},
                          .padding = {l->padding, l->padding},
                          .dilation = {1, 1},
                          .groups = 1};
    cvy_conv2d *op = NULL;
    convoy_status status = cvy_conv2d_infer(&s);
    const double start = cvy_seconds();
    if (!status)
        status = cvy_conv2d_create(device, &s, 7, variant, &op);
    if (status)
        return status;
    const double built = cvy_seconds() - start;
    const size_t inputs = (size_t)s.in_channels * (size_t)s.in_height * (size_t)s.in_width * (size_t)s.pitch;
    const size_t outputs =
        (size_t)s.out_channels * (size_t)s.out_height * (size_t)s.out_width * (size_t)s.pitch;
    const size_t weights = (size_t)s.out_channels * (size_t)s.in_channels * (size_t)(l->kernel * l->kernel);
    const size_t counts[8] = {
        inputs, weights, (size_t)s.out_channels, outputs,
        inputs, weights, (size_t)s.out_channels, cvy_conv2d_workspace(op) / sizeof(float) + 1};
    for (int i = 0; i < 8; i++)
        buffers[i] = filled(device, counts[i]);
    printf("%-13s %-11s", l->name, cvy_conv2d_variant(op, CVY_CONV2D_FORWARD));
    for (int pass = 0; pass < 3 && !status; pass++) {
        double best = 1e9;
        const double until = cvy_seconds() + 0.4;
        for (int i = 0; (i < 3 || cvy_seconds() < until) && !status; i++) {
            const double from = cvy_seconds();
            status = run(op, pass);
            if (!status)
                status = cvy_device_finish(device);
            const double seconds = cvy_seconds() - from;
            best = seconds < best ? seconds : best;
        }
        const cvy_cost cost = cvy_conv2d_cost(op, (cvy_conv2d_pass)pass);
        printf("  %8.3f ms %7.1f", best * 1e3, cost.flops / best / 1e9);
    }
    printf("  workspace %.1f MB, built in %.2f s\n", (double)cvy_conv2d_workspace(op) / 1e6, built);
    fflush(stdout);
    for (int i = 0; i < 8; i++)
        cvy_buffer_free(buffers[i]);
    cvy_conv2d_free(op);
    return status;
}

int main(int argc, char **argv) {
    convoy_device *device = NULL;
    convoy_status status = convoy_device_open(argc > 1 ? argv[1] : NULL, &device);
    if (!status)
        printf("%-13s %-11s  %19s  %19s  %19s   (GFLOP/s)\n", "layer", "variant", "forward", "backward-data",
               "backward-weights");
    for (size_t i = 0; i < sizeof layers / sizeof *layers && !status; i++)
        if (argc < 4 || strstr(layers[i].name, argv[3]))
            status = measure(device, &layers[i], argc > 2 && *argv[2] ? argv[2] : NULL);
    if (status)
        fprintf(stderr, "%s\n", convoy_error_message());
    convoy_device_close(device);
    return convoy_status_exit_code(status);
}
