/* The further activation (CVY_FURTHER_ACTIVATIONS) that ACTIVATION is the number of: y of x, and gx of x or y and gy. a
 * and b are its parameters. Blocks as in elementwise.cl; outputs may be inputs. */
#ifndef ACTIVATION
#define ACTIVATION 5
#endif
#include "common.clh"
#include "activation.clh"
#include "blocks.clh"

kernel void activation_forward(global const float *from, global float *to, ulong count, uint block, float a, float b) {
    FOR_EACH_VECTOR(store_part(further_output(load_part(from, at, count), a, b), at, to, count);)
}

kernel void activation_backward(global const float *values, global const float *incoming, global float *to, ulong count,
                                uint block, float a, float b) {
    FOR_EACH_VECTOR(store_part(further_gradient(load_part(values, at, count), load_part(incoming, at, count), a, b), at,
                               to, count);)
}
