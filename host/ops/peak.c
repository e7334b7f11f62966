/* Measuring a device's peak with kernels/peak.cl. Work is doubled until it takes long enough to be timed. */
#include "ops/peak.h"

#include <stdio.h>

#include "base/file.h"
#include "ops/vector.h"

enum { CHAINS = 12, LAUNCHES = 64, REPEATS = 3 };
static const double long_enough = 0.015; /* seconds */

static convoy_status get(convoy_device *device, const char *function, cvy_kernel **kernel) {
    return cvy_kernel_build(device, "peak", function, CVY_OPTIONS({"VW", cvy_vector_width(device)}), kernel);
}

convoy_status cvy_peak_flops(convoy_device *device, size_t items, float factor, float shift, uint32_t rounds,
                             cvy_buffer *out) {
    cvy_kernel *kernel = NULL;
    convoy_status status = get(device, "peak_flops", &kernel);
    if (status)
        return status;
    size_t size = cvy_group_size(device, kernel, items);
    return CVY_LAUNCH(kernel, cvy_groups(size, items / size, 1, 1), cvy_buf(out), cvy_float(factor),
                      cvy_float(shift), cvy_uint(rounds));
}

convoy_status cvy_peak_stream(convoy_device *device, size_t count, float a, uint32_t rounds, cvy_buffer *x,
                              cvy_buffer *y) {
    cvy_kernel *kernel = NULL;
    convoy_status status = get(device, "peak_stream", &kernel);
    if (status)
        return status;
    size_t vectors = count / (size_t)cvy_vector_width(device);
    /* Few groups, so that the share of each is as large as the set allows: a small share, repeated, would
       stay in the nearest cache. */
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    size_t size = cvy_group_size(device, kernel, vectors);
    size_t groups = (size_t)traits->compute_units * (traits->cpu ? 1 : 8);
    return CVY_LAUNCH(kernel, cvy_groups(size, groups, 1, 1), cvy_buf(x), cvy_buf(y), cvy_float(a),
                      cvy_ulong(vectors), cvy_uint((uint32_t)((vectors + groups - 1) / groups)),
                      cvy_uint(rounds));
}

/* ---- Timing ---- */

/* What is timed: `rounds` of a kernel over `size` items or floats. */
typedef struct work {
    convoy_device *device;
    bool stream;
    size_t size;
    cvy_buffer *x, *y;
} work;

static convoy_status time_once(const work *w, uint32_t rounds, double *seconds) {
    double start = cvy_seconds();
    convoy_status status = w->stream ? cvy_peak_stream(w->device, w->size, 0.5f, rounds, w->x, w->y)
                                     : cvy_peak_flops(w->device, w->size, 0.5f, 1, rounds, w->y);
    if (!status)
        status = cvy_device_finish(w->device);
    *seconds = cvy_seconds() - start;
    return status;
}

/* Rounds a second, the best of a few runs. */
static convoy_status time_rounds(const work *w, double *rate) {
    uint32_t rounds = 1;
    double seconds = 0;
    *rate = 0;
    convoy_status status = time_once(w, rounds, &seconds); /* builds */
    if (!status)
        status = time_once(w, rounds, &seconds);
    while (!status && seconds < long_enough && rounds < UINT32_C(1) << 30) {
        rounds *= 2;
        status = time_once(w, rounds, &seconds);
    }
    for (int i = 0; i < REPEATS && !status; i++) {
        *rate = rounds / seconds > *rate ? rounds / seconds : *rate;
        status = time_once(w, rounds, &seconds);
    }
    return status;
}

static convoy_status measure_flops(convoy_device *device, cvy_peak *peak) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    size_t items = (size_t)traits->compute_units * (traits->cpu ? 8 : 4096);
    work w = {.device = device, .size = items};
    double rate = 0;
    convoy_status status = cvy_buffer_create(device, items * sizeof(float), "measuring the peak", &w.y);
    if (!status)
        status = time_rounds(&w, &rate);
    peak->flops = rate * 2 * CHAINS * (double)items * cvy_vector_width(device);
    cvy_buffer_free(w.y);
    return status;
}

static convoy_status measure_stream(convoy_device *device, size_t bytes, double *bandwidth) {
    work w = {.device = device, .stream = true, .size = bytes / 2 / sizeof(float)};
    double rate = 0;
    convoy_status status = cvy_buffer_create(device, bytes / 2, "measuring the bandwidth", &w.x);
    if (!status)
        status = cvy_buffer_create(device, bytes / 2, "measuring the bandwidth", &w.y);
    if (!status)
        status = time_rounds(&w, &rate);
    *bandwidth = rate * 3 * (double)(bytes / 2);
    cvy_buffer_free(w.x);
    cvy_buffer_free(w.y);
    return status;
}

/* Seconds of a small launch in a row of LAUNCHES, with a wait after each or one at the end. */
static convoy_status time_launches(convoy_device *device, bool wait_each, cvy_buffer *out, double *seconds) {
    convoy_status status = CONVOY_OK;
    double start = cvy_seconds();
    for (int i = 0; i < LAUNCHES && !status; i++) {
        status = cvy_peak_flops(device, 1, 0, 0, 0, out);
        if (!status && (wait_each || i == LAUNCHES - 1))
            status = cvy_device_finish(device);
    }
    *seconds = (cvy_seconds() - start) / LAUNCHES;
    return status;
}

static convoy_status measure_launches(convoy_device *device, cvy_peak *peak) {
    cvy_buffer *out = NULL;
    double launch = 0, both = 0;
    convoy_status status = cvy_buffer_create(device, 4096, "measuring launches", &out);
    for (int i = 0; i < REPEATS && !status; i++) {
        status = time_launches(device, false, out, &launch);
        if (!status)
            status = time_launches(device, true, out, &both);
        if (i == 0 || launch < peak->launch)
            peak->launch = launch;
        if (i == 0 || both - launch < peak->wait)
            peak->wait = both > launch ? both - launch : 0;
    }
    cvy_buffer_free(out);
    return status;
}

convoy_status cvy_peak_measure(convoy_device *device, cvy_peak *peak) {
    static const size_t sizes[CVY_PEAK_SETS] = {(size_t)1 << 20, (size_t)16 << 20, (size_t)256 << 20};
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    *peak = (cvy_peak){0};
    if (traits->host)
        return CONVOY_OK;
    convoy_status status = measure_flops(device, peak);
    for (int i = 0; i < CVY_PEAK_SETS && !status; i++) {
        size_t bytes = sizes[i];
        while (bytes > traits->memory / 8 || bytes / 2 > traits->max_allocation)
            bytes /= 2;
        peak->sets[i].bytes = (double)bytes;
        status = measure_stream(device, bytes, &peak->sets[i].bandwidth);
    }
    return !status ? measure_launches(device, peak) : status;
}

double cvy_peak_floor(const cvy_peak *peak, cvy_cost cost) {
    int set = 0;
    while (set + 1 < CVY_PEAK_SETS && peak->sets[set].bytes < cost.bytes)
        set++;
    double computing = peak->flops > 0 ? cost.flops / peak->flops : 0;
    double moving = peak->sets[set].bandwidth > 0 ? cost.bytes / peak->sets[set].bandwidth : 0;
    return computing > moving ? computing : moving;
}
