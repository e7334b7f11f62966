/* XXH3-128 as names for cache entries: fast and collision-free in practice, no defence against an adversary.
 */
#include "base/hash.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/status.h"

/* cvy_hash is XXH3_state_t under another name: the library's header stays out of ours. */

cvy_hash *cvy_hash_create(void) {
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        cvy_abort_memory();
    XXH3_128bits_reset(state);
    return (cvy_hash *)state;
}

void cvy_hash_add(cvy_hash *hash, const void *data, size_t size) {
    XXH3_state_t *state = (XXH3_state_t *)hash;
    unsigned char length[8]; /* little-endian, so that digests agree between machines */
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)size >> (8 * i));
    XXH3_128bits_update(state, length, sizeof length);
    if (size > 0)
        XXH3_128bits_update(state, data, size);
}

void cvy_hash_add_text(cvy_hash *hash, const char *text) {
    cvy_hash_add(hash, text, strlen(text));
}

void cvy_hash_finish(cvy_hash *hash, char hex[33]) {
    XXH3_state_t *state = (XXH3_state_t *)hash;
    XXH128_hash_t digest = XXH3_128bits_digest(state);
    snprintf(hex, 33, "%016llx%016llx", (unsigned long long)digest.high64, (unsigned long long)digest.low64);
    XXH3_freeState(state);
}
