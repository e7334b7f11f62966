/* Ops on a row of floats of any length: activations with their gradients, sum, product. Group g takes vectors
   g * block ... + block; the row's last vector may be part of one. Outputs may be inputs. */
#include "common.clh"
#include "activation.clh"
#include "blocks.clh"

/* y of x, and gx of y and gy. */
#define ACTIVATION_KERNELS(NAME, name, torch, help, forward, backward, reference_y, reference_gx)                      \
    kernel void name##_forward(global const float *from, global float *to, ulong count, uint block) {                  \
        FOR_EACH_VECTOR(floatv x = load_part(from, at, count); store_part(forward, at, to, count);)                    \
    }                                                                                                                  \
    kernel void name##_backward(global const float *outputs, global const float *incoming, global float *to,           \
                                ulong count, uint block) {                                                             \
        FOR_EACH_VECTOR(floatv y = load_part(outputs, at, count); floatv gy = load_part(incoming, at, count);          \
                        store_part(backward, at, to, count);)                                                          \
    }
CVY_ACTIVATIONS(ACTIVATION_KERNELS)

kernel void add(global const float *a, global const float *b, global float *to, ulong count, uint block) {
    FOR_EACH_VECTOR(store_part(load_part(a, at, count) + load_part(b, at, count), at, to, count);)
}

kernel void multiply(global const float *a, global const float *b, global float *to, ulong count, uint block) {
    FOR_EACH_VECTOR(store_part(load_part(a, at, count) * load_part(b, at, count), at, to, count);)
}
