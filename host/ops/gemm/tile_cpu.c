/* The gemm variant "tile_cpu": kernels/gemm/tile_cpu.cl, and how C is cut into work-items. The cut is chosen
   by a cost model in CPU cycles, so it is a function of the shape and the device alone. */
#include <math.h>

#include "base/integer.h"
#include "ops/gemm/variant.h"

/* Register tile, and blocks that are packed at a time; the macros of the kernel. */
typedef struct tiling {
    size_t vector, rows, small_rows, columns; /* VW, MR, MS, NR */
    size_t row_block, column_block, depth;    /* MB, NB, KC */
} tiling;

static size_t packed_bytes(const tiling *t) {
    size_t b_panels = t->column_block / t->columns;
    return sizeof(float) *
           (b_panels * (t->depth * t->columns + t->vector) + t->row_block * (t->depth + t->vector));
}

/* 32 vector registers (AVX-512) hold 12 x 2 sums, 16 (AVX2, NEON's 32 of half the size too) 6 x 2. A block of
   B of 256 KB leaves most of a second-level cache to A and C; drivers with little local memory get smaller
   blocks. */
static tiling choose_tiling(const cvy_device_traits *traits) {
    size_t vector = traits->vector_width >= 16 ? 16 : traits->vector_width >= 8 ? 8 : 4;
    tiling t = {.vector = vector,
                .rows = vector == 16 ? 12 : 6,
                .small_rows = vector == 16 ? 4 : 3,
                .columns = 2 * vector,
                .row_block = 48,
                .column_block = 256,
                .depth = 256};
    while (packed_bytes(&t) > traits->local_memory && t.depth > vector)
        if (t.column_block > t.columns)
            t.column_block /= 2;
        else if (t.row_block > t.rows)
            t.row_block = t.row_block == 48 ? 24 : t.rows;
        else
            t.depth /= 2;
    return t;
}

/* Rows whose distance is a multiple of 4 KB fall into the same set of the first-level cache (64 sets of 64
   bytes), which has fewer ways than the tile has rows. */
static bool rows_collide(const cvy_gemm_shape *s) {
    return !s->transpose_a && s->lda % 1024 == 0;
}

/* A that is stored [k][m] is read in place where a second-level cache holds all of it, so that a small
   network builds one program less. */
static bool is_packed(const cvy_gemm_shape *s) {
    return s->transpose_a && (s->m * s->k > 64 << 10 || s->lda % 1024 == 0);
}

/* Cycles for one part of the cut on all cores: products, packing, C's traffic, and the launch of a work-item.
   The factors are of an AVX-512 core; only their ratios matter. */
static double cost(const cvy_gemm_shape *s, const tiling *t, const cvy_device_traits *traits,
                   const cvy_gemm_cut *cut) {
    double rows = (double)cut->rows, columns = (double)cut->columns, depth = (double)cut->depth;
    double padded_rows = (double)(ceil_div_size(cut->rows, t->small_rows) * t->small_rows);
    double vectors = (double)ceil_div_size(cut->columns, t->vector), vector = (double)t->vector;
    double column_blocks = (double)ceil_div_size(cut->columns, t->column_block);
    double depth_blocks = (double)ceil_div_size(cut->depth, t->depth);
    double products = padded_rows * vectors * depth;
    /* An A that no cache holds comes from memory each time; transposed, its rows of k are cut by the item's
       edges, past which the hardware prefetches in vain. */
    double read_a = s->m * s->k * sizeof(float) > (size_t)8 << 20 ? 12.0 : 1.5;
    double rows_read = s->transpose_a ? rows + 128 : rows;
    double pack_a = rows_read * depth * column_blocks * (read_a + (s->transpose_a ? 3.0 : 0.0)) / vector;
    double pack_b = depth * columns * (s->transpose_b ? 8.0 : 3.0) / vector;
    double store = rows * columns * depth_blocks * 2.0 / vector;
    double item = products + pack_a + pack_b + store + 3000;
    double items = (double)(cut->row_items * cut->column_items * cut->parts);
    double cores = traits->compute_units > 0 ? traits->compute_units : 1;
    /* Cores are never equally fast: about a quarter of an item is waited for at the end. */
    double total = item * (ceil(items / cores) + 0.25);
    if (cut->parts > 1)
        total =
            1.1 * total + 10000 + (double)cut->parts * (double)s->m * (double)s->n * 12.0 / vector / cores;
    return total;
}

/* The next number of pieces to try: every one at first, then in steps of a quarter. */
static size_t more(size_t pieces) {
    return pieces + (pieces < 4 ? 1 : pieces / 4);
}

/* Partial sums of a split k take at most this much workspace. */
static const size_t parts_limit = (size_t)64 << 20;

static cvy_gemm_cut choose_cut(const cvy_gemm_shape *s, const tiling *t, const cvy_device_traits *traits,
                               size_t room) {
    /* Whole cache lines of a transposed A, where there is enough of it. */
    size_t row_unit = s->transpose_a && s->m >= 4 * t->row_block ? t->row_block : t->rows;
    size_t row_panels = ceil_div_size(s->m, row_unit), column_panels = ceil_div_size(s->n, t->columns);
    size_t depth_blocks = ceil_div_size(s->k, t->depth);
    size_t most_parts = min_size(depth_blocks, min_size(parts_limit, room) / sizeof(float) / s->n / s->m);
    cvy_gemm_cut best = {0};
    double best_cost = INFINITY;
    for (size_t x = 1; x <= row_panels; x = more(x))
        for (size_t y = 1; y <= column_panels; y = more(y))
            for (size_t z = 1; z == 1 || z <= most_parts; z = more(z)) {
                cvy_gemm_cut cut = {.rows = ceil_div_size(row_panels, x) * row_unit,
                                    .columns = ceil_div_size(column_panels, y) * t->columns,
                                    .depth = ceil_div_size(depth_blocks, z) * t->depth};
                cut.row_items = ceil_div_size(s->m, cut.rows);
                cut.column_items = ceil_div_size(s->n, cut.columns);
                cut.parts = ceil_div_size(s->k, cut.depth);
                cvy_gemm_cut clipped = cut;
                clipped.rows = min_size(cut.rows, s->m);
                clipped.columns = min_size(cut.columns, s->n);
                clipped.depth = min_size(cut.depth, s->k);
                double cycles = cost(s, t, traits, &clipped);
                if (cycles < best_cost) {
                    best_cost = cycles;
                    best = cut;
                }
            }
    return best;
}

static bool supports(const cvy_job *job) {
    return job->traits->cpu;
}

typedef struct state {
    cvy_gemm_shape shape;
    cvy_gemm_cut cut;
    bool activates;
    cvy_kernel *tile, *sum;
} state;

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    state *p = prepared;
    const cvy_gemm_shape *s = &p->shape;
    const tiling t = choose_tiling(job->traits);
    p->shape = *(const cvy_gemm_shape *)job->shape;
    p->cut = choose_cut(s, &t, job->traits, job->room);
    p->activates = needs->fuses =
        p->cut.parts == 1 && s->n % t.vector == 0 && s->activation < CVY_FIRST_FURTHER;
    if (p->cut.parts > 1)
        needs->workspace = p->cut.parts * s->m * s->n * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    convoy_status status =
        cvy_kernel_build(job->device, "gemm/tile_cpu", "gemm_tile",
                         CVY_OPTIONS({"VW", t.vector}, {"MR", t.rows}, {"MS", t.small_rows},
                                     {"MB", t.row_block}, {"NB", t.column_block}, {"KC", t.depth},
                                     {"PACK_A", is_packed(s)}, {"COPY_A", rows_collide(s)}),
                         &p->tile);
    return status ? status : cvy_kernel_get_simple(job->device, "gemm/sum", "gemm_sum", &p->sum);
}

static convoy_status run(void *prepared, const void *given) {
    const state *p = prepared;
    const cvy_gemm_operands *operands = given;
    const cvy_gemm_shape *s = &p->shape;
    const cvy_gemm_cut *cut = &p->cut;
    bool split = cut->parts > 1;
    convoy_status status = CVY_LAUNCH(
        p->tile, cvy_singles(cut->row_items, cut->column_items, cut->parts), cvy_buf(operands->a),
        cvy_ulong(operands->a_offset), cvy_ulong(s->transpose_a ? 1 : s->lda),
        cvy_ulong(s->transpose_a ? s->lda : 1), cvy_buf(operands->b), cvy_ulong(operands->b_offset),
        cvy_ulong(s->ldb), cvy_buf(split ? operands->workspace : operands->c),
        cvy_ulong(split ? 0 : operands->c_offset), cvy_ulong(split ? s->n : s->ldc),
        cvy_buf(split ? NULL : operands->bias), cvy_ulong(s->m), cvy_ulong(s->n), cvy_ulong(s->k),
        cvy_ulong(cut->rows), cvy_ulong(cut->columns), cvy_ulong(cut->depth), cvy_int(s->transpose_b),
        cvy_int(!split && operands->accumulate), cvy_int(p->activates ? (int)s->activation : CVY_IDENTITY),
        cvy_int(p->activates ? (int)s->gradient_of : CVY_IDENTITY),
        cvy_buf(p->activates ? operands->made : NULL));
    if (!status && split)
        status = cvy_gemm_add_parts(p->sum, s, operands, operands->workspace, cut->parts);
    return status;
}

const cvy_variant cvy_gemm_tile_cpu = {.name = "tile_cpu",
                                       .made_for = CVY_FOR_CPUS,
                                       .supports = supports,
                                       .state_size = sizeof(state),
                                       .prepare = prepare,
                                       .run = run};
