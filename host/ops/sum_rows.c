/* Sums of the rows of a matrix: the reference, and kernels/sum_rows.cl. */
#include "ops/sum_rows.h"
#include "base/integer.h"
#include "ops/vector.h"

enum {
    GPU_ITEMS = 64,     /* of a work-group, as the kernel has it */
    GPU_GROUPS = 32,    /* for each compute unit: work-items enough to wait for memory all at once */
    CPU_GROUPS = 4,     /* so that one slow core does not hold up the rest */
    LEAST_VECTORS = 4,  /* of a work-item, or the second step costs more than it gains */
    MOST_VECTORS = 4096 /* longer sums lose accuracy */
};

void cvy_sum_rows_reference(size_t rows, size_t length, const float *from, float *sums, bool accumulate) {
    for (size_t i = 0; i < rows; i++) {
        double sum = accumulate ? (double)sums[i] : 0;
        for (size_t j = 0; j < length; j++)
            sum += (double)from[i * length + j];
        sums[i] = (float)sum;
    }
}

void cvy_sum_rows_plan(const cvy_device_traits *traits, size_t rows, size_t length, cvy_sum_rows *op) {
    *op = (cvy_sum_rows){.rows = rows, .length = length};
    if (traits->host)
        return;
    const size_t vector = (size_t)cvy_pitch_width_of(traits, length), vectors = length / vector;
    const size_t items = traits->cpu ? 1 : GPU_ITEMS;
    const size_t groups = (size_t)traits->compute_units * (traits->cpu ? CPU_GROUPS : GPU_GROUPS);
    const size_t wanted = max_size(min_size(groups / rows, vectors / (items * LEAST_VECTORS)),
                                   vectors / (items * MOST_VECTORS));
    /* Whole vectors of strips, for the second step. */
    const size_t strips = wanted > 1 ? round_up(wanted, vector) : 1;
    *op = (cvy_sum_rows){.length = vectors,
                         .rows = rows,
                         .strips = strips,
                         .vector = vector,
                         .items = items,
                         .scratch = strips > 1 ? strips * rows : 0};
}

convoy_status cvy_sum_rows_prepare(convoy_device *device, cvy_sum_rows *op) {
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    return cvy_kernel_get_pitch(device, "sum_rows", "sum_rows", op->length * op->vector, &op->kernel);
}

/* Sums of rows of `length` vectors, in `strips` each. */
static convoy_status sum(const cvy_sum_rows *op, cvy_buffer *from, size_t offset, size_t length,
                         size_t strips, cvy_buffer *sums, size_t sums_offset, bool accumulate) {
    const cvy_grid grid = {{strips * op->items, op->rows, 1}, {op->items, 1, 1}};
    return CVY_LAUNCH(op->kernel, grid, cvy_buf(from), cvy_ulong(offset), cvy_ulong(length),
                      cvy_ulong(ceil_div_size(length, strips)), cvy_buf(sums), cvy_ulong(sums_offset),
                      cvy_int(accumulate));
}

convoy_status cvy_sum_rows_run(const cvy_sum_rows *op, cvy_buffer *gy, cvy_buffer *sums, bool accumulate,
                               cvy_buffer *workspace, size_t offset) {
    if (!sums)
        return CONVOY_OK;
    if (!op->kernel) {
        cvy_sum_rows_reference(op->rows, op->length, cvy_buffer_host(gy), cvy_buffer_host(sums), accumulate);
        return CONVOY_OK;
    }
    if (op->strips == 1)
        return sum(op, gy, 0, op->length, 1, sums, 0, accumulate);
    convoy_status status = sum(op, gy, 0, op->length, op->strips, workspace, offset, false);
    return status ? status : sum(op, workspace, offset, op->strips / op->vector, 1, sums, 0, accumulate);
}
