/* Stochastic depth: what each image is multiplied with, 0 or `scale`. See host/ops/stochastic_depth.h for the counter.
 */
#include "common.clh"

kernel void image_factors(global float *factors, int batch, float p, float scale, uint step, uint purpose,
                          uint seed_low, uint seed_high) {
    const uint image = batch ? 0 : get_global_id(0);
    const uint4 words = philox((uint4)(0, image / 4, step, purpose), (uint2)(seed_low, seed_high));
    const uint word = image % 4 == 0 ? words.x : image % 4 == 1 ? words.y : image % 4 == 2 ? words.z : words.w;
    factors[get_global_id(0)] = uniform01(word) >= p ? scale : 0;
}
