/* Batch normalisation: kernels/batchnorm.cl, which reads x once for the statistics and once
   to normalise, and x and gy twice backward. */
#include "ops/batchnorm.h"

#include <stdlib.h>

#include "base/integer.h"
#include "ops/vector.h"

/* ---- How a device handles the channels ---- */

/* A CPU reads again what its cache holds: channels in blocks are handled that many bytes at a time; whole
   ones, of which each core has its own, may have twice as many together, as they are read again backwards. */
enum { CACHED_BYTES = 8 << 20 };

/* Larger outputs are written past the cache, which would not hold them until they are read. */
enum { STREAMED_BYTES = 24 << 20 };

/* Known without a kernel. */
typedef struct scheme {
    bool whole;            /* a work-item takes a channel, else blocks of it */
    int channels_together; /* in blocks: channels that are read again while a cache still holds them */
    size_t group_size;     /* items of a work-group of the kernels that sum, if these allow it */
} scheme;

/* How the summing kernels walk through a channel: see the head of kernels/batchnorm.cl. */
typedef struct walk {
    int columns, lanes;
    uint32_t stride, steps, block, blocks, across;
} walk;

static size_t units_of(const cvy_device_traits *traits) {
    return traits->compute_units > 0 ? (size_t)traits->compute_units : 1;
}

/* Every core gets the same number of channels, or so many that the difference does not count. */
static bool takes_whole_channels(const cvy_device_traits *traits, const cvy_batchnorm_shape *shape) {
    const size_t units = units_of(traits), channels = (size_t)shape->channels;
    return traits->cpu && (channels % units == 0 || channels >= 8 * units) &&
           cvy_batchnorm_at(shape, 1) * sizeof(float) * units <= 2 * CACHED_BYTES;
}

static scheme scheme_of(const cvy_device_traits *traits, const cvy_batchnorm_shape *shape) {
    const size_t channel_bytes = cvy_batchnorm_at(shape, 1) * sizeof(float);
    scheme s = {.whole = takes_whole_channels(traits, shape) && !shape->shared,
                .channels_together = shape->channels,
                .group_size = traits->cpu ? 1 : 256};
    while (s.group_size > 1 && s.group_size > traits->max_work_group)
        s.group_size /= 2;
    if (traits->cpu && !shape->shared && channel_bytes * (size_t)shape->channels > CACHED_BYTES)
        s.channels_together = channel_bytes < CACHED_BYTES ? (int)(CACHED_BYTES / channel_bytes) : 1;
    return s;
}

/* `items`: of a work-group. Blocks do not depend on it. */
static walk plan_walk(const cvy_device_traits *traits, const cvy_batchnorm_shape *shape, const scheme *s,
                      size_t items, int n) {
    const int width = cvy_pitch_width_of(traits, (size_t)shape->pitch);
    walk w = {.columns = 1, .lanes = width, .stride = (uint32_t)width, .across = 1};
    size_t steps = cvy_batchnorm_pixels(shape) * (size_t)(shape->pitch / width);
    if (n < shape->pitch) {
        w.columns = (n + width - 1) / width;
        w.lanes = n - (w.columns - 1) * width;
        w.stride = (uint32_t)shape->pitch;
        steps = cvy_batchnorm_pixels(shape);
        while ((int)w.across < w.columns && 2 * w.across <= items)
            w.across *= 2;
    }
    /* Several blocks for each core or compute unit, of 4 to 128 KiB on a CPU and 8 vectors or more for each
       item on a GPU; at most 1024 in a channel, which each work-group of the next kernel goes through. */
    size_t shortest = traits->cpu ? 1024 / (size_t)width : 8 * s->group_size;
    size_t longest = traits->cpu ? 32768 / (size_t)width : 64 * s->group_size;
    size_t block = steps * (size_t)w.columns * (size_t)s->channels_together / (8 * units_of(traits));
    block = (block < shortest ? shortest : block > longest ? longest : block) / (size_t)w.columns;
    block = block < steps / 1024 + 1 ? steps / 1024 + 1 : block;
    w.steps = (uint32_t)steps;
    w.block = (uint32_t)block;
    w.blocks = (uint32_t)((steps + block - 1) / block);
    return w;
}

/* Behind the partials: a pair of each channel, of this piece; at the beginning, of all. */
static size_t shared_floats(const cvy_batchnorm_shape *shape) {
    return 2 * (size_t)shape->channels;
}

size_t cvy_batchnorm_workspace(const cvy_device_traits *traits, const cvy_batchnorm_shape *shape) {
    const scheme s = scheme_of(traits, shape);
    size_t blocks = 0;
    for (int n = 1; n <= shape->pitch && !traits->host && !s.whole; n++) {
        const walk w = plan_walk(traits, shape, &s, s.group_size, n);
        blocks = max_size(blocks, w.blocks);
    }
    return ((size_t)shape->channels * 3 * blocks + (shape->shared ? shared_floats(shape) : 0)) *
           sizeof(float);
}

/* ---- Prepared op ---- */

struct cvy_batchnorm {
    convoy_device *device;
    cvy_batchnorm_shape shape;
    bool host;
    scheme scheme;
    size_t group_size;
    cvy_kernel *statistics, *normalise_batch, *normalise_channel, *normalise;
    cvy_kernel *gradient_sums, *gradient, *gradient_channel;
    cvy_kernel *keep;           /* of a frozen or shared one */
    cvy_kernel *moments, *sums; /* of a shared one */
    size_t pairs;               /* where they leave theirs in the workspace, in floats */
};

static walk walk_of(const cvy_batchnorm *op, int n) {
    return plan_walk(cvy_device_get_traits(op->device), &op->shape, &op->scheme, op->group_size, n);
}

/* The largest power of two that divides a channel: normalise, which does not tell images apart, goes through
   it with vectors of up to that many floats. */
static size_t channel_unit(const cvy_batchnorm *op) {
    const size_t floats = cvy_batchnorm_at(&op->shape, 1);
    return floats & (~floats + 1);
}

/* For a further activation in a program of its own. */
static convoy_status get_kernel(const cvy_batchnorm *op, const char *function, size_t pitch,
                                cvy_kernel **kernel) {
    if (op->shape.activation < CVY_FIRST_FURTHER)
        return cvy_kernel_get_pitch(op->device, "batchnorm", function, pitch, kernel);
    return cvy_kernel_build(
        op->device, "batchnorm", function,
        CVY_OPTIONS({"VW", cvy_pitch_width(op->device, pitch)}, {"ACTIVATION", op->shape.activation}),
        kernel);
}

static convoy_status build(cvy_batchnorm *op) {
    const struct {
        const char *name;
        cvy_kernel **kernel;
    } kernels[] = {{"statistics", &op->statistics},
                   {"normalise_batch", &op->normalise_batch},
                   {"normalise_channel", &op->normalise_channel},
                   {"normalise", &op->normalise},
                   {"gradient_sums", &op->gradient_sums},
                   {"gradient", &op->gradient},
                   {"gradient_channel", &op->gradient_channel}};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        const bool normalises = kernels[i].kernel == &op->normalise;
        convoy_status status = get_kernel(
            op, kernels[i].name, normalises ? channel_unit(op) : (size_t)op->shape.pitch, kernels[i].kernel);
        if (status)
            return status;
    }
    convoy_status status = CONVOY_OK;
    if (op->shape.frozen || op->shape.shared)
        status = cvy_kernel_get_simple(op->device, "batchnorm_frozen", "keep", &op->keep);
    if (!status && op->shape.shared)
        status = cvy_kernel_get_simple(op->device, "batchnorm_shared", "moments", &op->moments);
    if (!status && op->shape.shared)
        status = cvy_kernel_get_simple(op->device, "batchnorm_shared", "sums", &op->sums);
    return status;
}

convoy_status cvy_batchnorm_create(convoy_device *device, const cvy_batchnorm_shape *shape,
                                   cvy_batchnorm **op) {
    if (shape->channels < 1 || shape->height < 1 || shape->width < 1)
        return cvy_fail(CONVOY_INVALID, "batch normalisation needs an input of at least 1x1x1, not %dx%dx%d",
                        shape->channels, shape->height, shape->width);
    if (cvy_batchnorm_at(shape, 1) > INT32_MAX)
        return cvy_fail(
            CONVOY_INVALID,
            "batch normalisation of %dx%d pixels and %d images: over 2^31 values in a channel; use a "
            "smaller batch",
            shape->height, shape->width, shape->pitch);
    cvy_batchnorm made = {.device = device, .shape = *shape, .host = cvy_device_get_traits(device)->host};
    if (!made.host) {
        convoy_status status = build(&made);
        if (status)
            return status;
        made.scheme = scheme_of(cvy_device_get_traits(device), shape);
        made.pairs = cvy_batchnorm_workspace(cvy_device_get_traits(device), shape) / sizeof(float) -
                     (shape->shared ? shared_floats(shape) : 0);
        made.group_size = min_size(made.scheme.group_size, cvy_group_size(device, made.statistics, 256));
    }
    *op = malloc(sizeof **op);
    if (!*op)
        return cvy_fail_memory("a batch normalisation op", sizeof **op);
    **op = made;
    return CONVOY_OK;
}

void cvy_batchnorm_free(cvy_batchnorm *op) {
    free(op);
}

const char *cvy_batchnorm_variant(const cvy_batchnorm *op) {
    return op->host ? "reference" : op->scheme.whole ? "channels" : "blocks";
}

/* Forward reads x and writes y; backward reads x and gy and writes gx. A channel that no cache holds is read
   twice, but that is not what must be. */
cvy_cost cvy_batchnorm_cost(const cvy_batchnorm *op, bool backward) {
    double count = (double)cvy_batchnorm_at(&op->shape, op->shape.channels);
    return backward ? (cvy_cost){10 * count, 3 * 4 * count} : (cvy_cost){5 * count, 2 * 4 * count};
}

static float *host_or_null(const cvy_buffer *buffer) {
    return cvy_buffer_host(buffer);
}

static cvy_batchnorm_values host_values(const cvy_batchnorm_buffers *b) {
    return (cvy_batchnorm_values){.x = host_or_null(b->x),
                                  .gy = host_or_null(b->gy),
                                  .weight = host_or_null(b->weight),
                                  .bias = host_or_null(b->bias),
                                  .y = host_or_null(b->y),
                                  .gx = host_or_null(b->gx),
                                  .running_mean = host_or_null(b->running_mean),
                                  .running_var = host_or_null(b->running_var),
                                  .saved_mean = host_or_null(b->saved_mean),
                                  .saved_invstd = host_or_null(b->saved_invstd),
                                  .gweight = host_or_null(b->gweight),
                                  .gbias = host_or_null(b->gbias)};
}

static convoy_status check_count(const cvy_batchnorm *op, int n) {
    if ((size_t)n * cvy_batchnorm_pixels(&op->shape) > 1)
        return CONVOY_OK;
    return cvy_fail(
        CONVOY_INVALID,
        "batch normalisation in training has %d image of %dx%d: more than one value per channel is needed; "
        "use another batch size",
        n, op->shape.height, op->shape.width);
}

static cvy_grid channel_grid(const cvy_batchnorm *op) {
    return cvy_groups(1, (size_t)op->shape.channels, 1, 1);
}

/* Vectors of a channel, and how a kernel that works on each by itself is spread over `channels` of them. */
static cvy_blocks channel_blocks(const cvy_batchnorm *op, cvy_kernel *kernel, int width, int channels,
                                 uint32_t *vectors) {
    *vectors = (uint32_t)(cvy_batchnorm_at(&op->shape, 1) / (size_t)width);
    return cvy_vector_blocks(op->device, kernel, *vectors, (size_t)channels);
}

/* Partials of channels first..end-1. */
static convoy_status launch_statistics(cvy_batchnorm *op, const walk *w, int first, int end,
                                       const cvy_batchnorm_buffers *b) {
    return CVY_LAUNCH(op->statistics, cvy_groups(op->group_size, w->blocks, (size_t)(end - first), 1),
                      cvy_buf(b->x), cvy_ulong(cvy_batchnorm_at(&op->shape, 1)), cvy_int(first),
                      cvy_int(w->columns), cvy_int(w->lanes), cvy_uint(w->stride), cvy_uint(w->steps),
                      cvy_uint(w->block), cvy_uint(w->across), cvy_buf(b->workspace),
                      cvy_local(3 * sizeof(float) * op->group_size));
}

/* Statistics and normalisation of channels first..end-1, in blocks. */
static convoy_status launch_forward(cvy_batchnorm *op, const walk *w, int first, int end,
                                    const cvy_batchnorm_buffers *b) {
    const cvy_batchnorm_shape *shape = &op->shape;
    uint32_t vectors = 0;
    convoy_status status = launch_statistics(op, w, first, end, b);
    if (status)
        return status;
    int width = cvy_pitch_width(op->device, (size_t)shape->pitch);
    cvy_blocks blocks = channel_blocks(op, op->normalise_batch, width, end - first, &vectors);
    return CVY_LAUNCH(op->normalise_batch, blocks.grid, cvy_buf(b->x), cvy_ulong(cvy_batchnorm_at(shape, 1)),
                      cvy_buf(b->workspace), cvy_uint(w->blocks), cvy_float(shape->eps),
                      cvy_float(shape->momentum), cvy_buf(b->weight), cvy_buf(b->bias), cvy_buf(b->y),
                      cvy_int(shape->activation != CVY_IDENTITY), cvy_buf(b->running_mean),
                      cvy_buf(b->running_var), cvy_buf(b->saved_mean), cvy_buf(b->saved_invstd),
                      cvy_uint(vectors), cvy_int(first), cvy_uint(blocks.block),
                      cvy_local(2 * sizeof(float) * blocks.grid.local[0]));
}

convoy_status cvy_batchnorm_forward_training(cvy_batchnorm *op, int n, const cvy_batchnorm_buffers *b) {
    const cvy_batchnorm_shape *shape = &op->shape;
    convoy_status status = check_count(op, n);
    if (status)
        return status;
    if (op->host) {
        const cvy_batchnorm_values v = host_values(b);
        cvy_batchnorm_forward_training_reference(shape, n, &v);
        return CONVOY_OK;
    }
    walk w = walk_of(op, n);
    if (op->scheme.whole)
        return CVY_LAUNCH(op->normalise_channel, channel_grid(op), cvy_buf(b->x),
                          cvy_ulong(cvy_batchnorm_at(shape, 1)), cvy_int(w.columns), cvy_int(w.lanes),
                          cvy_uint(w.stride), cvy_uint(w.steps), cvy_uint(w.block), cvy_float(shape->eps),
                          cvy_float(shape->momentum), cvy_buf(b->weight), cvy_buf(b->bias), cvy_buf(b->y),
                          cvy_int(shape->activation != CVY_IDENTITY), cvy_buf(b->running_mean),
                          cvy_buf(b->running_var), cvy_buf(b->saved_mean), cvy_buf(b->saved_invstd),
                          cvy_int(cvy_batchnorm_at(shape, shape->channels) * sizeof(float) > STREAMED_BYTES));
    for (int first = 0, end; first < shape->channels && !status; first = end) {
        end = min_int(first + op->scheme.channels_together, shape->channels);
        status = launch_forward(op, &w, first, end, b);
    }
    return status;
}

convoy_status cvy_batchnorm_forward_eval(cvy_batchnorm *op, const cvy_batchnorm_buffers *b) {
    if (op->host) {
        const cvy_batchnorm_values v = host_values(b);
        cvy_batchnorm_forward_eval_reference(&op->shape, &v);
        return CONVOY_OK;
    }
    uint32_t vectors = 0;
    int width = cvy_pitch_width(op->device, channel_unit(op));
    cvy_blocks blocks = channel_blocks(op, op->normalise, width, op->shape.channels, &vectors);
    return CVY_LAUNCH(op->normalise, blocks.grid, cvy_buf(b->x), cvy_buf(b->running_mean),
                      cvy_buf(b->running_var), cvy_float(op->shape.eps), cvy_buf(b->weight), cvy_buf(b->bias),
                      cvy_buf(b->y), cvy_int(op->shape.activation != CVY_IDENTITY), cvy_uint(vectors),
                      cvy_uint(blocks.block));
}

convoy_status cvy_batchnorm_forward_frozen(cvy_batchnorm *op, const cvy_batchnorm_buffers *b) {
    convoy_status status = cvy_batchnorm_forward_eval(op, b);
    if (status || !b->saved_mean)
        return status;
    if (op->host) {
        const cvy_batchnorm_values v = host_values(b);
        cvy_batchnorm_keep_reference(&op->shape, &v);
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->keep, cvy_items((size_t)op->shape.channels), cvy_buf(b->running_mean),
                      cvy_buf(b->running_var), cvy_float(op->shape.eps),
                      cvy_uint((uint32_t)op->shape.channels), cvy_buf(b->saved_mean),
                      cvy_buf(b->saved_invstd));
}

convoy_status cvy_fold_prepare(convoy_device *device, int channels, float eps, cvy_fold *op) {
    *op = (cvy_fold){.channels = channels, .eps = eps};
    return cvy_device_get_traits(device)->host
               ? CONVOY_OK
               : cvy_kernel_get_simple(device, "batchnorm", "fold", &op->kernel);
}

convoy_status cvy_fold_run(const cvy_fold *op, const cvy_folding *of, const cvy_batchnorm_buffers *b) {
    size_t row = cvy_buffer_bytes(of->folded_weight) / sizeof(float) / (size_t)op->channels;
    if (!op->kernel) {
        const cvy_batchnorm_values v = host_values(b);
        const cvy_folding_values values = {cvy_buffer_host(of->weight), host_or_null(of->bias),
                                           cvy_buffer_host(of->folded_weight),
                                           cvy_buffer_host(of->folded_bias)};
        cvy_fold_reference(op, row, &values, &v);
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->kernel, cvy_items3(row, (size_t)op->channels, 1), cvy_buf(of->weight),
                      cvy_buf(of->bias), cvy_buf(b->weight), cvy_buf(b->bias), cvy_buf(b->running_mean),
                      cvy_buf(b->running_var), cvy_float(op->eps), cvy_ulong(row), cvy_buf(of->folded_weight),
                      cvy_buf(of->folded_bias));
}

/* Partials of channels first..end-1. */
static convoy_status launch_sums(cvy_batchnorm *op, const walk *w, int first, int end,
                                 const cvy_batchnorm_buffers *b) {
    return CVY_LAUNCH(op->gradient_sums, cvy_groups(op->group_size, w->blocks, (size_t)(end - first), 1),
                      cvy_buf(b->x), cvy_buf(b->gy), cvy_buf(b->saved_mean), cvy_buf(b->saved_invstd),
                      cvy_buf(b->weight), cvy_buf(b->bias), cvy_int(op->shape.activation != CVY_IDENTITY),
                      cvy_ulong(cvy_batchnorm_at(&op->shape, 1)), cvy_int(first), cvy_int(w->columns),
                      cvy_int(w->lanes), cvy_uint(w->stride), cvy_uint(w->steps), cvy_uint(w->block),
                      cvy_uint(w->across), cvy_buf(b->workspace),
                      cvy_local(2 * sizeof(float) * op->group_size));
}

/* From the partials of so many blocks, which are sums over `count` values. */
static convoy_status launch_gradient(cvy_batchnorm *op, uint32_t partial_blocks, double count, int n,
                                     int first, int end, bool accumulate, const cvy_batchnorm_buffers *b) {
    const cvy_batchnorm_shape *shape = &op->shape;
    uint32_t vectors = 0;
    int width = cvy_pitch_width(op->device, (size_t)shape->pitch);
    cvy_blocks blocks = channel_blocks(op, op->gradient, width, end - first, &vectors);
    return CVY_LAUNCH(op->gradient, blocks.grid, cvy_buf(b->x), cvy_buf(b->gy), cvy_buf(b->saved_mean),
                      cvy_buf(b->saved_invstd), cvy_buf(b->weight), cvy_buf(b->bias),
                      cvy_int(shape->activation != CVY_IDENTITY), cvy_buf(b->workspace),
                      cvy_uint(partial_blocks), cvy_float((float)count), cvy_buf(b->gx), cvy_buf(b->gweight),
                      cvy_buf(b->gbias), cvy_int(accumulate), cvy_uint(vectors), cvy_int(first),
                      cvy_int(shape->pitch / width), cvy_int(n), cvy_uint(blocks.block),
                      cvy_local(2 * sizeof(float) * blocks.grid.local[0]));
}

/* Sums and gradient of channels first..end-1, in blocks. */
static convoy_status launch_backward(cvy_batchnorm *op, const walk *w, int n, int first, int end,
                                     bool accumulate, const cvy_batchnorm_buffers *b) {
    const convoy_status status = launch_sums(op, w, first, end, b);
    return status ? status
                  : launch_gradient(op, w->blocks, cvy_batchnorm_count(&op->shape, n), n, first, end,
                                    accumulate, b);
}

convoy_status cvy_batchnorm_backward(cvy_batchnorm *op, int n, bool accumulate,
                                     const cvy_batchnorm_buffers *b) {
    if (op->host) {
        const cvy_batchnorm_values v = host_values(b);
        cvy_batchnorm_backward_reference(&op->shape, n, accumulate, &v);
        return CONVOY_OK;
    }
    const cvy_batchnorm_shape *shape = &op->shape;
    convoy_status status = CONVOY_OK;
    walk w = walk_of(op, n);
    if (op->scheme.whole)
        return CVY_LAUNCH(
            op->gradient_channel, channel_grid(op), cvy_buf(b->x), cvy_buf(b->gy), cvy_buf(b->saved_mean),
            cvy_buf(b->saved_invstd), cvy_buf(b->weight), cvy_buf(b->bias),
            cvy_int(shape->activation != CVY_IDENTITY), cvy_ulong(cvy_batchnorm_at(shape, 1)),
            cvy_int(w.columns), cvy_int(w.lanes), cvy_uint(w.stride), cvy_uint(w.steps), cvy_uint(w.block),
            cvy_float((float)cvy_batchnorm_count(shape, n)), cvy_buf(b->gx), cvy_buf(b->gweight),
            cvy_buf(b->gbias), cvy_int(accumulate),
            cvy_int(shape->pitch / cvy_pitch_width(op->device, (size_t)shape->pitch)), cvy_int(n));
    int together = op->scheme.channels_together > 1 ? op->scheme.channels_together / 2
                                                    : 1; /* two tensors in the cache */
    for (int first = 0, end; first < shape->channels && !status; first = end) {
        end = min_int(first + together, shape->channels);
        status = launch_backward(op, &w, n, first, end, accumulate, b);
    }
    return status;
}

/* ---- Statistics of several pieces ---- */

static convoy_status read_pairs(const cvy_batchnorm *op, const cvy_batchnorm_buffers *b, double *pairs) {
    const size_t count = shared_floats(&op->shape);
    float *values = malloc(count * sizeof *values);
    convoy_status status =
        values ? cvy_buffer_read(b->workspace, op->pairs * sizeof *values, values, count * sizeof *values)
               : cvy_fail_memory("statistics", count * sizeof *values);
    for (size_t i = 0; i < count && !status; i++)
        pairs[i] = (double)values[i];
    free(values);
    return status;
}

/* The first of each pair into one buffer, the second into another (NULL: interleaved, into the first). */
static convoy_status write_pairs(size_t channels, const double *pairs, double divisor, cvy_buffer *first,
                                 cvy_buffer *second) {
    float *values = malloc(2 * channels * sizeof *values);
    if (!values)
        return cvy_fail_memory("statistics", 2 * channels * sizeof *values);
    for (size_t c = 0; c < channels; c++) {
        values[second ? c : 2 * c] = (float)pairs[2 * c];
        values[second ? channels + c : 2 * c + 1] = (float)(pairs[2 * c + 1] / divisor);
    }
    convoy_status status = cvy_buffer_write(first, 0, values, (second ? 1 : 2) * channels * sizeof *values);
    if (!status && second)
        status = cvy_buffer_write(second, 0, values + channels, channels * sizeof *values);
    free(values);
    return status;
}

convoy_status cvy_batchnorm_moments(cvy_batchnorm *op, int n, const cvy_batchnorm_buffers *b, double *pairs) {
    const cvy_batchnorm_shape *shape = &op->shape;
    if (op->host) {
        cvy_batchnorm_moments_reference(shape, n, cvy_buffer_host(b->x), pairs);
        return CONVOY_OK;
    }
    const walk w = walk_of(op, n);
    convoy_status status = launch_statistics(op, &w, 0, shape->channels, b);
    if (!status)
        status = CVY_LAUNCH(op->moments, cvy_items((size_t)shape->channels), cvy_buf(b->x),
                            cvy_ulong(cvy_batchnorm_at(shape, 1)), cvy_uint(w.blocks),
                            cvy_uint((uint32_t)shape->channels), cvy_ulong(op->pairs), cvy_buf(b->workspace));
    return status ? status : read_pairs(op, b, pairs);
}

/* As with constants, which stand where backward wants them. */
convoy_status cvy_batchnorm_forward_shared(cvy_batchnorm *op, const double *moments, double count,
                                           const cvy_batchnorm_buffers *b) {
    cvy_batchnorm_buffers given = *b;
    given.running_mean = b->saved_mean;
    given.running_var = b->saved_invstd;
    convoy_status status =
        write_pairs((size_t)op->shape.channels, moments, count, b->saved_mean, b->saved_invstd);
    return status ? status : cvy_batchnorm_forward_frozen(op, &given);
}

convoy_status cvy_batchnorm_sums(cvy_batchnorm *op, int n, bool accumulate, const cvy_batchnorm_buffers *b,
                                 double *pairs) {
    const cvy_batchnorm_shape *shape = &op->shape;
    if (op->host) {
        const cvy_batchnorm_values v = host_values(b);
        cvy_batchnorm_sums_reference(shape, n, accumulate, &v, pairs);
        return CONVOY_OK;
    }
    const walk w = walk_of(op, n);
    convoy_status status = launch_sums(op, &w, 0, shape->channels, b);
    if (!status)
        status =
            CVY_LAUNCH(op->sums, cvy_items((size_t)shape->channels), cvy_buf(b->saved_invstd),
                       cvy_uint(w.blocks), cvy_uint((uint32_t)shape->channels), cvy_int(accumulate),
                       cvy_ulong(op->pairs), cvy_buf(b->workspace), cvy_buf(b->gweight), cvy_buf(b->gbias));
    return status ? status : read_pairs(op, b, pairs);
}

convoy_status cvy_batchnorm_backward_shared(cvy_batchnorm *op, int n, const double *sums, double count,
                                            const cvy_batchnorm_buffers *b) {
    cvy_batchnorm_buffers given = *b;
    given.gweight = given.gbias = NULL; /* they are there: of this piece */
    if (op->host) {
        const cvy_batchnorm_values v = host_values(b);
        cvy_batchnorm_gradient_reference(&op->shape, n, sums, count, &v);
        return CONVOY_OK;
    }
    convoy_status status = write_pairs((size_t)op->shape.channels, sums, 1, b->workspace, NULL);
    return status ? status : launch_gradient(op, 1, count, n, 0, op->shape.channels, false, &given);
}
