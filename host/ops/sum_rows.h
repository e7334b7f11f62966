/* Sums of the rows of a matrix in one or two steps of fixed order: the gradients of biases, where no other
   kernel meets every element of gy anyway. */
#ifndef CVY_OPS_SUM_ROWS_H
#define CVY_OPS_SUM_ROWS_H

#include "ops/op.h"

void cvy_sum_rows_reference(size_t rows, size_t length, const float *from, float *sums, bool accumulate);

typedef struct cvy_sum_rows {
    cvy_kernel *kernel;   /* NULL on the host, where length is in floats and no scratch is needed */
    size_t vector, items; /* floats of a vector; work-items of a group */
    size_t rows, length;  /* length: vectors of a row */
    size_t strips;        /* that a row is summed in; 1: in a single step */
    size_t scratch;       /* floats that run needs of the workspace */
} cvy_sum_rows;

/* Fills in all but the kernel. `length`: floats of a row, a multiple of 16 or a power of 2 below it. */
void cvy_sum_rows_plan(const cvy_device_traits *traits, size_t rows, size_t length, cvy_sum_rows *op);
convoy_status cvy_sum_rows_prepare(convoy_device *device, cvy_sum_rows *op); /* a planned one */
/* sums (+)= the sums of gy's rows; does nothing where sums is NULL. `offset`: where the scratch starts in the
   workspace, in floats, a multiple of 16. */
convoy_status cvy_sum_rows_run(const cvy_sum_rows *op, cvy_buffer *gy, cvy_buffer *sums, bool accumulate,
                               cvy_buffer *workspace, size_t offset);

#endif
