/* Philox4x32-10 and the sequential reader over one of its streams. */
#include "base/rng.h"

#include <assert.h>
#include <math.h>

void cvy_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c0;
        uint64_t product1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

cvy_rng cvy_rng_stream(uint64_t seed, uint32_t purpose, uint32_t step) {
    return (cvy_rng){.seed = seed, .step = step, .purpose = purpose, .used = 4};
}

uint32_t cvy_rng_u32(cvy_rng *rng) {
    if (rng->used == 4) {
        const uint32_t counter[4] = {(uint32_t)rng->block, (uint32_t)(rng->block >> 32), rng->step,
                                     rng->purpose};
        const uint32_t key[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
        cvy_philox(counter, key, rng->words);
        rng->block++;
        rng->used = 0;
    }
    return rng->words[rng->used++];
}

uint32_t cvy_rng_below(cvy_rng *rng, uint32_t bound) {
    assert(bound > 0);
    /* Lemire, "Fast random integer generation in an interval" (2019): the high half of word * bound is
       uniform once the 2^32 mod bound smallest low halves are drawn again. */
    const uint32_t redraw_below = (uint32_t)(-bound) % bound;
    uint64_t product;
    do {
        product = (uint64_t)cvy_rng_u32(rng) * bound;
    } while ((uint32_t)product < redraw_below);
    return (uint32_t)(product >> 32);
}

float cvy_rng_uniform(cvy_rng *rng) {
    return (float)(cvy_rng_u32(rng) >> 8) * (1.0f / 16777216.0f);
}

float cvy_rng_normal(cvy_rng *rng) {
    /* Two words a number, always: a reader's position is a plain multiple of what was drawn. */
    double radius_word = ((double)cvy_rng_u32(rng) + 1.0) * 0x1p-32; /* (0, 1]: log is finite */
    double angle_word = (double)cvy_rng_u32(rng) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(radius_word)) * cos(6.283185307179586 * angle_word));
}

void cvy_rng_shuffle(cvy_rng *rng, uint32_t *indices, size_t count) {
    assert(count <= UINT32_MAX);
    for (size_t i = 0; i < count; i++)
        indices[i] = (uint32_t)i;
    for (size_t i = count; i > 1; i--) {
        uint32_t other = cvy_rng_below(rng, (uint32_t)i);
        uint32_t last = indices[i - 1];
        indices[i - 1] = indices[other];
        indices[other] = last;
    }
}
