/* Ops on a row of floats of any length: activations with their gradients, sum, product. Group g takes vectors
   g * block ... + block; the row's last vector may be part of one. Outputs may be inputs. */
#include "common.clh"

/* Runs BODY for each vector `at` of this work-item's share. */
#define FOR_EACH_VECTOR(BODY)                                                                                \
    ulong end = min((get_group_id(0) + 1) * (ulong)block, (count + VW - 1) / VW);                            \
    for (ulong at = get_group_id(0) * (ulong)block + get_local_id(0); at < end; at += get_local_size(0)) {   \
        BODY                                                                                                 \
    }

/* y = EXPRESSION of x */
#define ACTIVATION(NAME, EXPRESSION)                                                                         \
    kernel void NAME##_forward(global const float *from, global float *to, ulong count, uint block) {        \
        FOR_EACH_VECTOR(floatv x = load_part(from, at, count); store_part(EXPRESSION, at, to, count);)       \
    }

/* gx = EXPRESSION of y and gy */
#define GRADIENT(NAME, EXPRESSION)                                                                           \
    kernel void NAME##_backward(global const float *outputs, global const float *incoming, global float *to, \
                                ulong count, uint block) {                                                   \
        FOR_EACH_VECTOR(floatv y = load_part(outputs, at, count); floatv gy = load_part(incoming, at, count); \
                        store_part(EXPRESSION, at, to, count);)                                              \
    }

/* Written so that a NaN passes through. */
ACTIVATION(relu, select(x, (floatv)0, x <= 0))
GRADIENT(relu, select(gy, (floatv)0, y <= 0))

/* exp overflows to infinity for very negative x, and 1 / infinity is the right 0. */
ACTIVATION(sigmoid, 1 / (1 + exp(-x)))
GRADIENT(sigmoid, gy * (1 - y) * y)

ACTIVATION(tanh, tanh(x))
GRADIENT(tanh, gy * (1 - y * y))

/* A tanh(S x) with A = 1.7159, S = 2/3; its slope is A S (1 - tanh^2) = S (A - y^2 / A). */
ACTIVATION(scaled_tanh, 1.7159f * tanh(x * (2.0f / 3.0f)))
GRADIENT(scaled_tanh, gy * (2.0f / 3.0f) * (1.7159f - y * y * (1.0f / 1.7159f)))

kernel void add(global const float *a, global const float *b, global float *to, ulong count, uint block) {
    FOR_EACH_VECTOR(store_part(load_part(a, at, count) + load_part(b, at, count), at, to, count);)
}

kernel void multiply(global const float *a, global const float *b, global float *to, ulong count, uint block) {
    FOR_EACH_VECTOR(store_part(load_part(a, at, count) * load_part(b, at, count), at, to, count);)
}
