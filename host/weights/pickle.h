/* Pickles of torch.save, read by a machine that knows data only: it builds numbers, text, lists,
   dictionaries, and what stands for a tensor. No name in a file is ever looked up or called; one that is not
   of the few that state dicts need is refused. */
#ifndef CVY_WEIGHTS_PICKLE_H
#define CVY_WEIGHTS_PICKLE_H

#include "base/arena.h"
#include "base/status.h"

typedef enum cvy_pickled_kind {
    CVY_PICKLED_OTHER, /* None, a float, bytes: nothing that a state dict is made of */
    CVY_PICKLED_MARK,
    CVY_PICKLED_NUMBER, /* whole, or a truth value */
    CVY_PICKLED_TEXT,
    CVY_PICKLED_SEQUENCE,
    CVY_PICKLED_DICTIONARY, /* items: key, value, key, value */
    CVY_PICKLED_GLOBAL,     /* text: "module name" */
    CVY_PICKLED_STORAGE,    /* text: its key; items[0]: its type, a global; number: its elements */
    CVY_PICKLED_TENSOR      /* items: storage, offset, shape, strides */
} cvy_pickled_kind;

typedef struct cvy_pickled {
    cvy_pickled_kind kind;
    long long number;
    const char *text;
    struct cvy_pickled **items;
    size_t count;
} cvy_pickled;

/* Reads the pickle that `bytes` begin with, into the arena; *used receives its length, *storages a sequence
   of all storages in it, one more often where it is named more often. CONVOY_INVALID: cut short, damaged, or
   it asks for something that is not allowed, which the message names. */
convoy_status cvy_unpickle(cvy_arena *arena, const char *path, const char *bytes, size_t size, size_t *used,
                           cvy_pickled **value, cvy_pickled **storages);

#endif
