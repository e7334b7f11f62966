/* XXH3-128 over several pieces, as 32 hexadecimal digits: names for cache entries. */
#ifndef CVY_BASE_HASH_H
#define CVY_BASE_HASH_H

#include <stddef.h>

typedef struct cvy_hash cvy_hash;

cvy_hash *cvy_hash_create(void);
/* Adds a piece; its length is hashed too, so ("ab","c") and ("a","bc") differ. */
void cvy_hash_add(cvy_hash *hash, const void *data, size_t size);
void cvy_hash_add_text(cvy_hash *hash, const char *text);
/* Writes the digest and frees the hash. */
void cvy_hash_finish(cvy_hash *hash, char hex[33]);

#endif
