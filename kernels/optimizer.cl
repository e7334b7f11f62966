/* Parameter updates over a row of `count` floats; group g takes vectors g * block ... + block. host/ops/optimizer.c
   passes learning rates with PyTorch's bias corrections already in them. */
#include "common.clh"

#define FIRST_VECTOR (get_group_id(0) * (ulong)block + get_local_id(0))
#define END_VECTOR min((get_group_id(0) + 1) * (ulong)block, (count + VW - 1) / VW)

/* torch.optim.SGD. velocity is not read where momentum is 0; `fresh` is 1 - dampening; in the `first_step` the velocity
   becomes the gradient. */
kernel void sgd(global float *parameters, global const float *gradients, global float *velocity, ulong count,
                uint block, float lr, float weight_decay, float momentum, float fresh, int nesterov, int first_step) {
    ulong end = END_VECTOR;
    for (ulong at = FIRST_VECTOR; at < end; at += get_local_size(0)) {
        floatv p = load_part(parameters, at, count);
        floatv g = fma((floatv)weight_decay, p, load_part(gradients, at, count));
        if (momentum != 0) {
            floatv v = first_step ? g : fma((floatv)momentum, load_part(velocity, at, count), fresh * g);
            store_part(v, at, velocity, count);
            g = nesterov ? fma((floatv)momentum, v, g) : v;
        }
        store_part(fma((floatv)-lr, g, p), at, parameters, count);
    }
}

/* torch.optim.Adam and AdamW. moments: first [count], second [count]. fresh1, fresh2: 1 - beta. `decay` scales the
   parameters first (AdamW; else 1), weight_decay enters the gradient (Adam; else 0). step_size is lr / (1 - beta1^t),
   correction is 1 / sqrt(1 - beta2^t). */
kernel void adam(global float *parameters, global const float *gradients, global float *moments, ulong count,
                 uint block, float step_size, float correction, float decay, float weight_decay, float beta1,
                 float fresh1, float beta2, float fresh2, float eps) {
    ulong end = END_VECTOR;
    global float *squares = moments + count;
    for (ulong at = FIRST_VECTOR; at < end; at += get_local_size(0)) {
        floatv p = load_part(parameters, at, count);
        floatv g = fma((floatv)weight_decay, p, load_part(gradients, at, count));
        floatv m = fma((floatv)beta1, load_part(moments, at, count), fresh1 * g);
        floatv v = fma((floatv)beta2, load_part(squares, at, count), fresh2 * g * g);
        store_part(m, at, moments, count);
        store_part(v, at, squares, count);
        store_part(fma((floatv)-step_size, m / fma(sqrt(v), (floatv)correction, (floatv)eps), p * decay), at,
                   parameters, count);
    }
}
