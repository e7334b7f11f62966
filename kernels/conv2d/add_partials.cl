/* gweight and gbias (or null) (+)= the sum over splits of partial [splits][weights + biases]: the second stage of
   weight gradients, the same for all shapes. */
kernel void conv2d_add_partials(global const float *restrict partial, global float *restrict gweight,
                                global float *restrict gbias, ulong weights, ulong biases, int splits, int accumulate) {
    const ulong i = get_global_id(0), stride = weights + biases;
    if (i >= stride || (i >= weights && !gbias))
        return;
    global float *total = i < weights ? gweight + i : gbias + (i - weights);
    float sum = accumulate ? *total : 0.0f;
    for (int split = 0; split < splits; split++)
        sum += partial[split * stride + i];
    *total = sum;
}
