/* The plan of a network for one batch size: which actions run forward and backward, on which memory. Memory
   is shared by lifetime: two tensors that are never alive at the same time may lie in the same place. No
   device is needed to plan. */
#ifndef CVY_NETWORK_PLAN_H
#define CVY_NETWORK_PLAN_H

#include "model/graph.h"

/* Where a tensor lies: `bytes` at `offset` in a block; block 0 is nowhere. */
typedef struct cvy_place {
    int block;
    size_t offset, bytes;
} cvy_place;

/* A piece of memory and the time for which it is needed, in the time of the actions; `first` and `last` are
   inclusive, first > last where it is not used at all. */
typedef struct cvy_block {
    size_t bytes;
    int parent; /* while planning: the block that this one became part of, at parent_offset; 0 for none */
    size_t parent_offset;
    int first, last;
    int arena; /* result: where it lies */
    size_t offset;
} cvy_block;

typedef enum cvy_action_kind {
    CVY_DO_FORWARD,  /* a layer: x -> out */
    CVY_DO_POOLED,   /* a convolution that pools: x -> pooled, pool_indices, and out */
    CVY_DO_FOLD,     /* the weights of a convolution and the batch-norm behind it -> what it saves */
    CVY_DO_FOLDED,   /* the convolution with those: x -> out, the batch-norm's */
    CVY_DO_BACKWARD, /* a layer: x, y, gy -> out (gx) */
    CVY_DO_ADD,      /* out = x + y */
    CVY_DO_PRODUCT,  /* out = x * y, y being a value for each map where it has one pixel */
    CVY_DO_SUMS,     /* out = the sums of x * y over the pixels of each map, where out has one */
    CVY_DO_COPY      /* out = x */
} cvy_action_kind;

/* Places that the action does not touch are empty: backward gets x and y only where the layer needs them. */
typedef struct cvy_action {
    cvy_action_kind kind;
    size_t step;
    int time;            /* forward from 0, then the loss, then backward */
    bool training;       /* as training does it, else as evaluation */
    bool input_gradient; /* CVY_DO_BACKWARD: `out` is wanted; else it is scratch, or empty */
    cvy_place x, y, gy, out;
    cvy_place pooled, pool_indices; /* CVY_DO_POOLED */
} cvy_action;

typedef struct cvy_actions {
    cvy_action *list;
    size_t count;
} cvy_actions;

/* A plan for training has all three lists, for it evaluates too: forward in the same memory at the same time.
   One for inference has only `evaluate`. */
typedef struct cvy_plan {
    cvy_arena *arena;
    int pitch;
    bool training;
    size_t alignment; /* of every place, in bytes */
    int loss, end;    /* the time of the loss, which writes the gradient of the output; that after all */
    cvy_block *blocks;
    size_t block_count;
    cvy_actions train, evaluate, backward;
    cvy_place (*saved)[CVY_LAYER_SAVED]; /* [step] */
    cvy_place input, output, output_gradient;
    struct {
        cvy_place output, gradient;
    } * auxiliaries; /* of the model's heads, in training */
    size_t auxiliary_count;
    size_t *arena_bytes;
    size_t arena_count;
} cvy_plan;

/* What runs, without a place in memory yet. The network's input and output keep theirs for themselves. */
convoy_status cvy_plan_create(const convoy_model *model, int pitch, bool training, size_t alignment,
                              cvy_plan **plan);
void cvy_plan_free(cvy_plan *plan);          /* NULL is allowed */
size_t cvy_plan_bytes(const cvy_plan *plan); /* once it is packed */

/* Where a value lies for one batch: bytes of one value. */
size_t cvy_value_bytes(cvy_dims dims, int pitch);

/* The convolution `step` pools: it gets all that the pooling behind it was to do, which runs no more. */
void cvy_plan_pool(cvy_plan *plan, const convoy_model *model, size_t step);

/* The last part of planning: finds the lifetimes of the blocks (plan.c) and packs them into arenas by them
   (pack.c). No arena is larger than `max_allocation`: CONVOY_MEMORY names a tensor that is. */
void cvy_plan_settle(cvy_plan *plan);
convoy_status cvy_plan_pack(cvy_plan *plan, size_t max_allocation);

#endif
