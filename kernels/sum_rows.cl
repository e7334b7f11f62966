/* Sums of the rows of a matrix, for the gradients of biases: in one step, or first of each row in strips, then of a
   row's strips. A work-group, of SUM_ITEMS at most and a power of 2, adds up one strip of one row in an order that is
   always the same: item i of n the vectors i, i + n, ..., so that neighbours read side by side, then the items' sums by
   halves. */
#include "common.clh"

#define SUM_ITEMS 64

/* Rows of `length` vectors begin at `offset` floats, a multiple of VW; strips are `share` vectors long, or fewer at the
   end. The sum of strip s of row r goes to (or is added to) sums[sums_offset + r * strips + s]. Groups: strips, rows.
 */
kernel void sum_rows(global const floatv *restrict rows, ulong offset, ulong length, ulong share,
                     global float *restrict sums, ulong sums_offset, int accumulate) {
    local float parts[SUM_ITEMS];
    const ulong item = get_local_id(0), items = get_local_size(0), strip = get_group_id(0), row = get_group_id(1);
    const ulong end = min((strip + 1) * share, length);
    floatv sum = (floatv)(0.0f);
    rows += offset / VW + row * length;
    for (ulong i = strip * share + item; i < end; i += items)
        sum += rows[i];
    parts[item] = sumv(sum);
    for (ulong left = items / 2; left > 0; left /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < left)
            parts[item] += parts[item + left];
    }
    if (item == 0) {
        sums += sums_offset + row * get_num_groups(0) + strip;
        *sums = accumulate ? *sums + parts[0] : parts[0];
    }
}
