/* Arenas: a list of blocks, each filled from its beginning. A request that does not fit the newest block gets
   a new one of at least BLOCK_SIZE bytes. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/integer.h"
#include "base/machine.h"
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
    if (!arena)
        return;
    for (block *b = arena->newest; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    free(arena);
}

static block *add_block(cvy_arena *arena, size_t bytes) {
    size_t size = bytes > BLOCK_SIZE ? bytes : BLOCK_SIZE;
    block *b = bytes > cvy_machine_memory() ? NULL : calloc(1, sizeof(block) + size);
    if (!b)
        return NULL;
    b->size = size;
    b->next = arena->newest;
    arena->newest = b;
    return b;
}

void *cvy_arena_try(cvy_arena *arena, size_t bytes) {
    /* An empty request gets a place of its own too: its pointer is never NULL and never shared. */
    size_t rounded = round_up(bytes + (bytes == 0), alignof(max_align_t));
    block *b = arena->newest;
    if (!b || b->size - b->used < rounded)
        b = add_block(arena, rounded);
    if (!b)
        return NULL;
    void *place = b->bytes + b->used;
    b->used += rounded;
    return place;
}

void *cvy_arena_alloc(cvy_arena *arena, size_t bytes) {
    void *place = cvy_arena_try(arena, bytes);
    if (!place)
        cvy_abort_memory();
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
