/* What backward through a batch-norm needs whose statistics are constants. */
#include "common.clh"

kernel void keep(global const float *running_mean, global const float *running_var, float eps, uint channels,
                 global float *saved_mean, global float *saved_invstd) {
    uint channel = get_global_id(0);
    if (channel >= channels)
        return;
    saved_mean[channel] = running_mean[channel];
    saved_invstd[channel] = 1 / sqrt(running_var[channel] + eps);
}
