/* Arenas: a list of blocks, each filled from its beginning. A request that does not fit the newest block gets
   a new one of at least BLOCK_SIZE bytes. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/text.h"

enum { BLOCK_SIZE = 8192 };

typedef struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char bytes[]; /* zero beyond `used` */
} block;

struct cvy_arena {
    block *newest;
};

cvy_arena *cvy_arena_create(void) {
    return calloc(1, sizeof(cvy_arena));
}

void cvy_arena_free(cvy_arena *arena) {
    if (!arena) {
        return;
    }
    for (block *b = arena->newest; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    free(arena);
}

static block *add_block(cvy_arena *arena, size_t bytes) {
    size_t size = bytes > BLOCK_SIZE ? bytes : BLOCK_SIZE;
    if (size > SIZE_MAX - sizeof(block)) {
        cvy_abort_memory();
    }
    block *b = calloc(1, sizeof(block) + size);
    if (!b) {
        cvy_abort_memory();
    }
    b->size = size;
    b->next = arena->newest;
    arena->newest = b;
    return b;
}

void *cvy_arena_alloc(cvy_arena *arena, size_t bytes) {
    const size_t alignment = alignof(max_align_t);
    if (bytes > SIZE_MAX / 2) {
        cvy_abort_memory();
    }
    /* An empty request gets a place of its own too: its pointer is never NULL and never shared. */
    size_t rounded = (bytes + (bytes == 0) + alignment - 1) / alignment * alignment;
    block *b = arena->newest;
    if (!b || b->size - b->used < rounded) {
        b = add_block(arena, rounded);
    }
    void *place = b->bytes + b->used;
    b->used += rounded;
    return place;
}

char *cvy_arena_strndup(cvy_arena *arena, const char *text, size_t length) {
    size_t present = strnlen(text, length);
    char *copy = cvy_arena_alloc(arena, present + 1);
    memcpy(copy, text, present);
    return copy;
}

char *cvy_arena_strdup(cvy_arena *arena, const char *text) {
    return cvy_arena_strndup(arena, text, strlen(text));
}

char *cvy_arena_printf(cvy_arena *arena, const char *format, ...) {
    cvy_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    cvy_text_add_list(&text, format, arguments);
    va_end(arguments);
    char *copy = cvy_arena_strndup(arena, cvy_text_get(&text), text.length);
    cvy_text_free(&text);
    return copy;
}
