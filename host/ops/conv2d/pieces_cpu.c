/* Variant pieces_cpu: a few images on OpenCL devices that are CPUs, forward only. Each image is cut into
   pieces, so many that there are 16 in all, and these are convolved as the images of a batch are, by
   whichever variant is the best for that (kernels/conv2d/pieces_cpu.cl). A piece of the input is what a piece
   of the output needs of it: neighbours share what the kernel reaches. */
#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/variant.h"

enum { PIECES = 16, AXES = 2 };

/* A workspace: pieces of the input, those of the output, and what their convolution needs. */
typedef struct state {
    cvy_conv2d_shape shape, piece;
    int across; /* pieces along a row of an image */
    cvy_conv2d *op;
    cvy_kernel *cut, *join;
    size_t offsets[3], bytes[3];
} state;

static bool supports(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    return job->traits->cpu && !job->traits->host && job->pass == CVY_CONV2D_FORWARD && s->pitch < PIECES &&
           cvy_conv2d_inputs(s) <= INT32_MAX && cvy_conv2d_outputs(s) <= INT32_MAX;
}

/* Pieces along a row: as many as along a column, or twice as many. */
static int pieces_across(int pitch) {
    return pitch <= 2 ? 4 : 2;
}

static cvy_conv2d_shape piece_of(const cvy_conv2d_shape *s) {
    cvy_conv2d_shape piece = *s;
    const int across = pieces_across(s->pitch), down = PIECES / s->pitch / across;
    const int out[AXES] = {ceil_div(s->out_height, down), ceil_div(s->out_width, across)};
    int in[AXES];
    for (int a = 0; a < AXES; a++) {
        in[a] = (out[a] - 1) * s->stride[a] + (s->kernel[a] - 1) * s->dilation[a] + 1;
        piece.padding[a] = 0;
    }
    piece.pitch = PIECES;
    piece.in_height = in[0], piece.in_width = in[1];
    piece.out_height = out[0], piece.out_width = out[1];
    piece.pooling.kind = CVY_POOLING_NONE;
    return piece;
}

/* Measured against columns_cpu, whose loads of a row's next columns are not aligned: up to six times as fast
   where Winograd's tiles serve, a tenth faster at the least. Kernels of one pixel have no such loads, and
   depthwise ones too little to do for each value that is moved. */
static bool pays(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const cvy_conv2d_shape piece = piece_of(s);
    const double covered = (double)PIECES * piece.out_height * piece.out_width;
    return s->groups == 1 && s->kernel[0] * s->kernel[1] > 1 && s->out_channels >= 16 &&
           covered <= 1.5 * s->pitch * s->out_height * s->out_width;
}

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    state *p = prepared;
    const unsigned passes = 1u << CVY_CONV2D_FORWARD;
    p->shape = *(const cvy_conv2d_shape *)job->shape;
    p->piece = piece_of(&p->shape);
    p->across = pieces_across(p->shape.pitch);
    cvy_needs inner = {0};
    convoy_status status =
        job->describes ? cvy_conv2d_describe(job->traits, job->device, &p->piece, passes, NULL, &inner)
                       : cvy_conv2d_create(job->device, &p->piece, passes, NULL, &p->op);
    if (status)
        return status;
    p->bytes[0] = cvy_conv2d_inputs(&p->piece) * sizeof(float);
    p->bytes[1] = cvy_conv2d_outputs(&p->piece) * sizeof(float);
    p->bytes[2] = job->describes ? inner.workspace : cvy_conv2d_workspace(p->op);
    for (int i = 0; i < 3; i++) {
        p->offsets[i] = needs->workspace;
        needs->workspace += round_up(p->bytes[i], job->traits->view_alignment);
    }
    return job->describes
               ? CONVOY_OK
               : cvy_kernels_build(job->device, "conv2d/pieces_cpu", CVY_OPTIONS({"PITCH", p->shape.pitch}),
                                   CVY_KERNELS({"conv2d_cut", &p->cut}, {"conv2d_join", &p->join}));
}

static void release(void *prepared) {
    cvy_conv2d_free(((state *)prepared)->op);
}

static convoy_status cut(const state *p, cvy_buffer *x, cvy_buffer *pieces) {
    const cvy_conv2d_shape *s = &p->shape, *piece = &p->piece;
    return CVY_LAUNCH(p->cut, cvy_singles((size_t)s->in_channels, (size_t)piece->in_height, 1), cvy_buf(x),
                      cvy_buf(pieces), cvy_int(s->in_height), cvy_int(s->in_width), cvy_int(piece->in_width),
                      cvy_int(p->across), cvy_int(piece->out_height * s->stride[0]),
                      cvy_int(piece->out_width * s->stride[1]), cvy_int(s->padding[0]),
                      cvy_int(s->padding[1]));
}

static convoy_status join(const state *p, cvy_buffer *pieces, cvy_buffer *y) {
    const cvy_conv2d_shape *s = &p->shape;
    return CVY_LAUNCH(p->join, cvy_singles((size_t)s->out_channels, (size_t)s->out_height, 1),
                      cvy_buf(pieces), cvy_buf(y), cvy_int(p->piece.out_height), cvy_int(p->piece.out_width),
                      cvy_int(p->across), cvy_int(s->out_width));
}

static convoy_status run(void *prepared, const void *buffers) {
    const state *p = prepared;
    const cvy_conv2d_buffers *b = buffers;
    cvy_buffer *views[3] = {NULL};
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < 3 && !status; i++)
        if (p->bytes[i])
            status = cvy_buffer_view(b->workspace, p->offsets[i], p->bytes[i], &views[i]);
    if (!status)
        status = cut(p, b->in, views[0]);
    if (!status)
        status = cvy_conv2d_forward(p->op, views[0], b->weight, b->bias, views[1], NULL, NULL, views[2]);
    if (!status)
        status = join(p, views[1], b->out);
    for (int i = 0; i < 3; i++)
        cvy_buffer_free(views[i]);
    return status;
}

const cvy_variant cvy_conv2d_pieces_cpu = {.name = "pieces_cpu",
                                           .made_for = CVY_FOR_CPUS,
                                           .supports = supports,
                                           .pays = pays,
                                           .state_size = sizeof(state),
                                           .prepare = prepare,
                                           .run = run,
                                           .release = release};
