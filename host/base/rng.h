/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
   SC11). A number is a function of (seed, purpose, step, element): no state to save, the same on every thread
   and device. kernels/common.clh holds the same function for device code. */
#ifndef CVY_BASE_RNG_H
#define CVY_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a stream is for; part of the counter, so that streams never overlap. Layer streams add the layer's
   index: purpose = CVY_RNG_LAYER + index. */
enum {
    CVY_RNG_SHUFFLE = 1,
    CVY_RNG_SYNTHETIC = 2,
    CVY_RNG_AUGMENT = 3,
    CVY_RNG_SPLIT = 4,
    CVY_RNG_MIX = 5,
    CVY_RNG_SAMPLER = 16,
    CVY_RNG_VALIDATION = 17,
    CVY_RNG_SEARCH = 18,
    CVY_RNG_INIT = 1024,
    CVY_RNG_LAYER = 65536
};

/* The raw block function: 4 words of counter, 2 words of key (the seed: low, high) -> 4 random words. */
void cvy_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A sequential reader over one stream: counter = {block low, block high, step, purpose}. */
typedef struct cvy_rng {
    uint64_t seed, block;
    uint32_t step, purpose;
    uint32_t words[4];
    int used;
} cvy_rng;

cvy_rng cvy_rng_stream(uint64_t seed, uint32_t purpose, uint32_t step);
uint32_t cvy_rng_u32(cvy_rng *rng);
/* Uniform in [0, bound), without modulo bias. bound > 0. */
uint32_t cvy_rng_below(cvy_rng *rng, uint32_t bound);
/* Uniform in [0, 1), 24 bits. */
float cvy_rng_uniform(cvy_rng *rng);
/* Standard normal (Box-Muller). */
float cvy_rng_normal(cvy_rng *rng);
/* A permutation of 0..count-1 (Fisher-Yates). */
void cvy_rng_shuffle(cvy_rng *rng, uint32_t *indices, size_t count);

#endif
