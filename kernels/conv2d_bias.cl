/* Sums of the rows of a matrix, for the bias gradient of a convolution: first of each channel of gy in strips, then of a
   channel's strips. A work-group of ITEMS adds up one strip of one row in an order that is always the same: item i the
   vectors i, i + ITEMS, ..., so that neighbours read side by side, then the items' sums by halves. */
#ifndef ITEMS
#define ITEMS 64 /* a power of 2; 1 on CPUs */
#endif

#include "common.clh"

/* Rows of `length` vectors begin at `offset` floats, a multiple of VW; strips are `share` vectors long, or fewer at the
   end. The sum of strip s of row r goes to (or is added to) sums[sums_offset + r * strips + s]. Groups: strips, rows. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
conv2d_sum_rows(global const floatv *restrict rows, ulong offset, ulong length, ulong share, global float *restrict sums,
                ulong sums_offset, int accumulate) {
    local float parts[ITEMS];
    const ulong item = get_local_id(0), strip = get_group_id(0), row = get_group_id(1);
    const ulong end = min((strip + 1) * share, length);
    floatv sum = (floatv)(0.0f);
    rows += offset / VW + row * length;
    for (ulong i = strip * share + item; i < end; i += ITEMS)
        sum += rows[i];
    parts[item] = sumv(sum);
    for (uint left = ITEMS / 2; left > 0; left /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < left)
            parts[item] += parts[item + left];
    }
    if (item == 0) {
        sums += sums_offset + row * get_num_groups(0) + strip;
        *sums = accumulate ? *sums + parts[0] : parts[0];
    }
}
