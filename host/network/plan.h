/* The plan of a network for one batch size: which actions run forward and backward, on which memory. Memory
   is shared by lifetime: two tensors that are never alive at the same time may lie in the same place. No
   device is needed to plan. */
#ifndef CVY_NETWORK_PLAN_H
#define CVY_NETWORK_PLAN_H

#include "model/graph.h"

/* Where a tensor lies: `bytes` at `offset` in a block; block -1 where there is none. */
typedef struct cvy_place {
    int block;
    size_t offset, bytes;
} cvy_place;

/* A piece of memory and the time for which it is needed. Actions are numbered forward from 0, then one for
   the loss, then backward; `first` and `last` are inclusive, first > last where it is not used at all. */
typedef struct cvy_block {
    size_t bytes;
    int parent; /* while planning: the block that this one became part of, at parent_offset; -1 for none */
    size_t parent_offset;
    int first, last;
    int arena; /* result: where it lies */
    size_t offset;
} cvy_block;

typedef enum cvy_action_kind {
    CVY_DO_FORWARD,  /* a layer: x -> out */
    CVY_DO_BACKWARD, /* a layer: x, y, gy -> out (gx) */
    CVY_DO_ADD,      /* out = x + y */
    CVY_DO_COPY      /* out = x */
} cvy_action_kind;

/* Places that the action does not touch are empty: backward gets x and y only where the layer needs them. */
typedef struct cvy_action {
    cvy_action_kind kind;
    size_t step;
    bool input_gradient; /* CVY_DO_BACKWARD: `out` is wanted; else it is scratch, or empty */
    cvy_place x, y, gy, out;
    /* CVY_DO_FORWARD of a convolution with a folded batch-norm: evaluation writes here. */
    cvy_place folded_out;
    /* CVY_DO_FORWARD of a convolution that may pool: what the pooling writes. */
    cvy_place pooled, pool_indices;
    bool training_only;
} cvy_action;

typedef struct cvy_plan {
    cvy_arena *arena;
    int pitch;
    bool training;
    cvy_block *blocks;
    size_t block_count;
    cvy_action *forward, *backward;
    size_t forward_count, backward_count;
    cvy_place (*saved)[CVY_LAYER_SAVED]; /* [step] */
    cvy_place input, output, output_gradient;
    size_t *arena_bytes;
    size_t arena_count;
} cvy_plan;

/* `alignment` of every place, in bytes; no arena is larger than `max_allocation`: CONVOY_MEMORY names a
   tensor that is. The network's input and output keep their places for themselves. */
convoy_status cvy_plan_create(const convoy_model *model, int pitch, bool training, size_t alignment,
                              size_t max_allocation, cvy_plan **plan);
void cvy_plan_free(cvy_plan *plan); /* NULL is allowed */
size_t cvy_plan_bytes(const cvy_plan *plan);

/* Where a value lies for one batch: bytes of one value. */
size_t cvy_value_bytes(cvy_dims dims, int pitch);

/* The lifetimes of plan->blocks from its actions, and their packing into arenas; parts of cvy_plan_create. */
void cvy_plan_lifetimes(cvy_plan *plan);
convoy_status cvy_plan_pack(cvy_plan *plan, size_t alignment, size_t max_allocation);

#endif
