/* Stochastic depth: what each image is multiplied with, 0 or `scale`. See host/ops/stochastic_depth.h for the counter.
   A work-item draws for four images; with `batch`, its first word is that of all. */
#include "common.clh"

kernel void image_factors(global float *factors, int batch, float p, float scale, uint step, uint purpose,
                          uint seed_low, uint seed_high) {
    const uint four = get_global_id(0);
    uint4 words = philox((uint4)(0, batch ? 0 : four, step, purpose), (uint2)(seed_low, seed_high));
    if (batch)
        words = (uint4)(words.x);
    const float4 numbers = convert_float4(words >> 8) * (1.0f / 16777216.0f);
    vstore4(select((float4)(0.0f), (float4)(scale), numbers >= p), four, factors);
}
