/* An arena owns structs and strings that live and die together: many allocations, one free. */
#ifndef CVY_BASE_ARENA_H
#define CVY_BASE_ARENA_H

#include <stddef.h>

typedef struct cvy_arena cvy_arena;

/* NULL when memory is out. */
cvy_arena *cvy_arena_create(void);
/* Frees everything that came from the arena. NULL is allowed. */
void cvy_arena_free(cvy_arena *arena);

/* Zeroed memory, aligned for any type, whose size comes from outside; NULL when memory is out. */
void *cvy_arena_try(cvy_arena *arena, size_t bytes);
/* Zeroed memory, aligned for any type. Aborts the process when memory is out: what lives in arenas is a few
   kilobytes of names and shapes; tensors and files never do. */
void *cvy_arena_alloc(cvy_arena *arena, size_t bytes);
char *cvy_arena_strdup(cvy_arena *arena, const char *text);
char *cvy_arena_strndup(cvy_arena *arena, const char *text, size_t length);
char *cvy_arena_printf(cvy_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
