/* The first thing that a device computes: values[i] = factor * values[i] + 1. */
__kernel void selfcheck(__global float *values, float factor, int count) {
    int i = get_global_id(0);
    if (i < count)
        values[i] = factor * values[i] + 1.0f;
}
