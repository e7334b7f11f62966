/* Gradient of a fully connected layer's bias: gbias[row] (+)= the sum of gy's row over the batch. A work-item sums
   `rows` rows of gy [out][pitch]; padding columns hold zeros. */
#include "common.clh"

__kernel void linear_bias_gradient(__global const float *gy, __global float *gbias, ulong out_features, uint pitch,
                                   uint rows, int accumulate) {
    const ulong first = get_global_id(0) * rows, last = min(out_features, first + rows);
    for (ulong i = first; i < last; i++) {
        __global const float *row = gy + i * pitch;
        floatv lanes = 0.0f;
        uint j = 0;
        for (; j + VW <= pitch; j += VW)
            lanes += vloadv(0, row + j);
        float sum = sumv(lanes);
        for (; j < pitch; j++)
            sum += row[j];
        gbias[i] = accumulate ? gbias[i] + sum : sum;
    }
}
