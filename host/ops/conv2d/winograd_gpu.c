/* Variant winograd_gpu: F(4x4, 3x3), and F(4x4, 5x5) or F(2x2, 5x5), whichever costs less, in three stages
   (kernels/conv2d/winograd_gpu.cl): transform a chunk of tiles, one batched matrix product, transform back.
   Here: when it pays, the tiles, the chunks, the launches. */
#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/variant.h"
#include "ops/gemm/batched.h"
#include "ops/sum_rows.h"

enum {
    CHUNK_BYTES = 128 << 20, /* of transformed tiles: products enough to fill a large device */
    PARTS_BYTES = 64 << 20,  /* of the weight gradient's partial sums */
    LONGEST_SUM = 512,       /* columns of a part, where PARTS_BYTES allow it: longer sums lose accuracy */
    ALIGNMENT = 64           /* floats; of the matrices in the workspace */
};

typedef struct state {
    cvy_conv2d_pass pass;
    size_t edge, products; /* of a tile: 6 or 8, and its square */
    size_t in, out;        /* channels of what is convolved and of the result: gy and gx in backward-data */
    size_t in_pitch, out_pitch; /* the same, rounded up to rows of a matrix */
    size_t tiles, chunk;        /* of all images at once; chunk: in all chunks but the last */
    size_t pitch;
    size_t parts, depth; /* of the product: of backward-weights several, of `depth` columns */
    cvy_kernel *weights, *input, *output;  /* forward, backward-data; `input` in backward-weights too */
    cvy_kernel *gradient_tiles, *gradient; /* backward-weights */
    cvy_gemm_batched product;
    cvy_sum_rows bias;
    /* Floats into the workspace: transformed weights or the parts of their gradient, tiles of the input, and
       products (or tiles of gy); behind them the scratch of the bias gradient. */
    size_t v_offset, products_offset, bias_offset;
} state;

static bool supports(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const bool unit_steps =
        s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == 1 && s->dilation[1] == 1;
    const bool size = s->kernel[0] == s->kernel[1] && (s->kernel[0] == 3 || s->kernel[0] == 5);
    return cvy_gemm_batched_supports(job->traits) && cvy_conv2d_has_many_images(s) && unit_steps && size &&
           s->groups == 1;
}

/* The tiles of a pass cover gx in backward-data, else y (or gy). */
static size_t count_tiles(const cvy_conv2d_shape *c, size_t edge) {
    const size_t step = edge + 1 - (size_t)c->kernel[0];
    return ceil_div_size((size_t)c->out_height, step) * ceil_div_size((size_t)c->out_width, step);
}

/* Estimated time of a pass for each image, in multiply-adds: the products, channels rounded up to what their
   kernel computes, and the transformed tiles and weights, which pass through memory twice. A byte costs as
   much time as BALANCE multiply-adds: large GPUs do 20 to 40 flops per byte of memory traffic (H100 20, RTX
   3060 36, RX 580 24), integrated ones 10 to 20, of which a product reaches about 70%. */
static double cost_of(const cvy_conv2d_shape *c, int pass, size_t edge) {
    enum { BALANCE = 8, LEAST_TILE = 64, STEP = 8 }; /* of the products, in channels */
    const size_t in = (size_t)c->in_channels, out = (size_t)c->out_channels;
    const size_t depth = round_up(in, pass == CVY_CONV2D_BACKWARD_WEIGHTS ? LEAST_TILE : STEP);
    const double tiles = (double)count_tiles(c, edge);
    const double products = tiles * (double)(depth * round_up(out, LEAST_TILE));
    const double moved = tiles * (double)(in + out) + (double)(in * out) / c->pitch;
    return (double)(edge * edge) * (products + BALANCE * 2 * sizeof(float) * moved);
}

/* A 5x5 kernel needs half of the time on the larger tiles, unless the image is small and fills them badly; a
   3x3 kernel would lose more accuracy than it gains speed. */
static size_t choose_edge(const cvy_conv2d_shape *c, int pass) {
    return c->kernel[0] == 5 && cost_of(c, pass, 8) < cost_of(c, pass, 6) ? 8 : 6;
}

/* Against tile_gpu, whose tensors alone pass through memory, and do in either variant. So a 3x3 kernel on
   whole tiles pays from 64 channels on both sides or somewhat fewer, a 5x5 kernel from about 40. */
static bool pays(const cvy_job *job) {
    const cvy_conv2d_shape c = cvy_conv2d_correlation(job);
    const double pixels = (double)c.out_height * c.out_width;
    const double direct = pixels * c.in_channels * c.out_channels * c.kernel[0] * c.kernel[1];
    return cost_of(&c, job->pass, choose_edge(&c, job->pass)) < direct;
}

/* ---- Preparing ---- */

/* The product of a chunk of `tiles`. */
static cvy_gemm_batched_shape product_of(const state *p, size_t tiles) {
    const bool gradient = p->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    const size_t columns = tiles * p->pitch;
    return (cvy_gemm_batched_shape){.batch = p->products,
                                    .m = p->out,
                                    .n = gradient ? p->in : columns,
                                    .k = gradient ? columns : p->in,
                                    .depth = p->depth,
                                    .transpose_a = !gradient,
                                    .transpose_b = gradient};
}

/* Chunks of about equal size that fit CHUNK_BYTES and a quarter of the largest allocation; at least one tile.
 */
static size_t choose_chunk(const state *p, const cvy_device_traits *traits) {
    const size_t allowed =
        traits->max_allocation / 4 < CHUNK_BYTES ? traits->max_allocation / 4 : CHUNK_BYTES;
    const size_t tile = p->products * (p->in + p->out) * p->pitch * sizeof(float);
    const size_t most = allowed / tile ? allowed / tile : 1;
    return ceil_div_size(p->tiles, ceil_div_size(p->tiles, most));
}

static void choose_parts(state *p) {
    p->parts = 1;
    p->depth = round_up(p->in, 8);
    if (p->pass != CVY_CONV2D_BACKWARD_WEIGHTS)
        return;
    const size_t columns = p->chunk * p->pitch;
    const size_t most = PARTS_BYTES / (p->products * p->out * p->in_pitch * sizeof(float));
    p->parts = (columns + LONGEST_SUM - 1) / LONGEST_SUM;
    if (p->parts > most)
        p->parts = most ? most : 1;
    p->depth = round_up((columns + p->parts - 1) / p->parts, 8);
}

static void plan(const cvy_job *job, const cvy_conv2d_shape *c, state *p) {
    const bool gradient = job->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    p->pass = (cvy_conv2d_pass)job->pass;
    p->edge = choose_edge(c, job->pass);
    p->products = p->edge * p->edge;
    p->in = (size_t)c->in_channels;
    p->out = (size_t)c->out_channels;
    p->in_pitch = round_up(p->in, 4);
    p->out_pitch = round_up(p->out, 4);
    p->pitch = (size_t)c->pitch;
    p->tiles = count_tiles(c, p->edge);
    p->chunk = choose_chunk(p, job->traits);
    choose_parts(p);
    const size_t columns = p->chunk * p->pitch;
    p->v_offset = round_up(p->products * (gradient ? p->parts * p->out * p->in_pitch : p->in * p->out_pitch),
                           ALIGNMENT);
    p->products_offset = p->v_offset + round_up(p->products * p->in * columns, ALIGNMENT);
    p->bias_offset = p->products_offset + round_up(p->products * p->out * columns, ALIGNMENT);
    if (gradient)
        cvy_sum_rows_plan(job->traits, p->out, cvy_conv2d_outputs(c) / p->out, &p->bias);
}

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    const cvy_conv2d_shape c = cvy_conv2d_correlation(job);
    state *p = prepared;
    plan(job, &c, p);
    needs->workspace = (p->bias_offset + p->bias.scratch) * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    const cvy_gemm_batched_shape product = product_of(p, p->chunk);
    convoy_status status = cvy_gemm_batched_prepare(job->device, &product, &p->product);
    if (!status)
        status = cvy_kernels_build(
            job->device, "conv2d/winograd_gpu",
            CVY_OPTIONS({"PITCH", c.pitch}, {"T", (int)p->edge}, {"K", c.kernel[0]}, {"IN_C", c.in_channels},
                        {"OUT_C", c.out_channels}, {"IN_H", c.in_height}, {"IN_W", c.in_width},
                        {"OUT_H", c.out_height}, {"OUT_W", c.out_width}, {"PAD_H", c.padding[0]},
                        {"PAD_W", c.padding[1]}, {"TRANSPOSED", p->pass == CVY_CONV2D_BACKWARD_DATA},
                        {"ACTIVATION", c.activation}),
            CVY_KERNELS({"conv2d_winograd_gpu_weights", &p->weights},
                        {"conv2d_winograd_gpu_input", &p->input}, {"conv2d_winograd_gpu_output", &p->output},
                        {"conv2d_winograd_gpu_gradient_tiles", &p->gradient_tiles},
                        {"conv2d_winograd_gpu_gradient", &p->gradient}));
    return status || p->pass != CVY_CONV2D_BACKWARD_WEIGHTS ? status
                                                            : cvy_sum_rows_prepare(job->device, &p->bias);
}

/* ---- Running ---- */

static convoy_status transform(const state *p, cvy_kernel *kernel, size_t channels, cvy_buffer *from,
                               cvy_buffer *workspace, size_t offset, size_t first, size_t tiles) {
    return CVY_LAUNCH(kernel, cvy_items3(tiles * p->pitch, channels, 1), cvy_buf(from), cvy_buf(workspace),
                      cvy_ulong(offset), cvy_uint((uint32_t)first), cvy_uint((uint32_t)(tiles * p->pitch)));
}

static convoy_status convolve_chunk(const state *p, const cvy_conv2d_buffers *b, size_t first, size_t tiles) {
    const size_t columns = tiles * p->pitch;
    const cvy_gemm_batched_shape product = product_of(p, tiles);
    convoy_status status = transform(p, p->input, p->in, b->in, b->workspace, p->v_offset, first, tiles);
    if (!status)
        status = cvy_gemm_batched_run(
            &p->product, &product, 1, (cvy_matrices){b->workspace, 0, p->in * p->out_pitch, p->out_pitch},
            (cvy_matrices){b->workspace, p->v_offset, p->in * columns, columns},
            (cvy_matrices){b->workspace, p->products_offset, p->out * columns, columns}, NULL, false);
    return status ? status
                  : CVY_LAUNCH(p->output, cvy_items3(columns, p->out, 1), cvy_buf(b->workspace),
                               cvy_buf(b->bias), cvy_buf(b->out), cvy_ulong(p->products_offset),
                               cvy_uint((uint32_t)first), cvy_uint((uint32_t)columns));
}

static convoy_status gradient_chunk(const state *p, const cvy_conv2d_buffers *b, size_t first, size_t tiles) {
    const size_t columns = tiles * p->pitch;
    const cvy_gemm_batched_shape product = product_of(p, tiles);
    convoy_status status = transform(p, p->input, p->in, b->in, b->workspace, p->v_offset, first, tiles);
    if (!status)
        status =
            transform(p, p->gradient_tiles, p->out, b->gy, b->workspace, p->products_offset, first, tiles);
    return status ? status
                  : cvy_gemm_batched_run(
                        &p->product, &product, p->parts,
                        (cvy_matrices){b->workspace, p->products_offset, p->out * columns, columns},
                        (cvy_matrices){b->workspace, p->v_offset, p->in * columns, columns},
                        (cvy_matrices){b->workspace, 0, p->out * p->in_pitch, p->in_pitch}, NULL, first > 0);
}

static convoy_status run(void *prepared, const void *buffers) {
    const state *p = prepared;
    const cvy_conv2d_buffers *b = buffers;
    const bool gradient = p->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    convoy_status status = CONVOY_OK;
    if (!gradient)
        status = CVY_LAUNCH(p->weights, cvy_items3(p->out_pitch, p->in, 1), cvy_buf(b->weight),
                            cvy_buf(b->workspace));
    for (size_t first = 0; first < p->tiles && !status; first += p->chunk) {
        const size_t left = p->tiles - first, tiles = left < p->chunk ? left : p->chunk;
        status = gradient ? gradient_chunk(p, b, first, tiles) : convolve_chunk(p, b, first, tiles);
    }
    if (status || !gradient)
        return status;
    status = CVY_LAUNCH(p->gradient, cvy_items3(p->in, p->out, 1), cvy_buf(b->workspace), cvy_buf(b->out),
                        cvy_ulong(0), cvy_int((int)p->parts), cvy_int(b->accumulate));
    return status ? status
                  : cvy_sum_rows_run(&p->bias, b->gy, b->gbias, b->accumulate, b->workspace, p->bias_offset);
}

const cvy_variant cvy_conv2d_winograd_gpu = {.name = "winograd_gpu",
                                             .made_for = CVY_FOR_GPUS,
                                             .supports = supports,
                                             .pays = pays,
                                             .state_size = sizeof(state),
                                             .prepare = prepare,
                                             .run = run};
