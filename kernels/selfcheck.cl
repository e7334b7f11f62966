/* The first thing that a device computes: values[i] = factor * values[i] + 1. */
kernel void selfcheck(global float *values, float factor, int count) {
    int i = get_global_id(0);
    if (i < count)
        values[i] = factor * values[i] + 1.0f;
}

/* word[0] = the `steps`-th of a sequence that takes a loop to come to: do long loops run to their end? */
kernel void selfcheck_loop(global uint *word, uint steps) {
    uint value = 0;
    for (uint step = 0; step < steps; step++)
        value = value * 1664525u + 1013904223u;
    if (get_global_id(0) == 0)
        word[0] = value;
}
