/* What a layer type is. A row of the table in layers.c says the type's name as in torch.nn, its parameters,
   what it does to a shape and which tensors it owns (`describe`, without any device), and how it runs
   (`setup`, `forward`, `backward`, `release`). Layers never mention OpenCL; the network owns buffers,
   names and order. */
#ifndef CVY_LAYERS_LAYER_H
#define CVY_LAYERS_LAYER_H

#include "base/integer.h"
#include "base/node.h"
#include "base/params.h"
#include "base/text.h"
#include "ops/batchnorm.h"
#include "ops/elementwise.h"
#include "ops/pool2d.h"
#include "ops/variants.h"

/* One image (or feature map stack): channels x height x width. A vector has height and width 1. */
typedef struct cvy_dims {
    int channels, height, width;
} cvy_dims;

static inline size_t cvy_dims_count(cvy_dims dims) {
    return mul_size(mul_size((size_t)dims.channels, (size_t)dims.height), (size_t)dims.width);
}

/* Values that a model may compute for one image, and parameters that it may have: far more than any device
   holds, and few enough that bytes of a whole batch of them cannot overflow. */
static const size_t cvy_most_values = (size_t)1 << 36;

enum { CVY_LAYER_TENSORS = 4, CVY_LAYER_SAVED = 2, CVY_LAYER_TASKS = 3 };

typedef enum cvy_tensor_role {
    CVY_TRAINABLE, /* has a gradient */
    CVY_STATISTIC, /* written by a training forward: running mean and variance */
    CVY_FIXED      /* given by design */
} cvy_tensor_role;

/* How a new tensor gets its values; the recipe's `init` decides for the first. */
typedef enum cvy_init_kind {
    CVY_INIT_WEIGHT,
    CVY_INIT_BIAS,
    CVY_INIT_ONES,
    CVY_INIT_ZEROS,
    CVY_INIT_VALUES
} cvy_init_kind;

/* A tensor of the state dict that belongs to a layer. */
typedef struct cvy_layer_tensor {
    const char *name; /* "weight", "running_mean" */
    size_t shape[4];
    int dimensions;
    cvy_tensor_role role;
    cvy_init_kind init;
    size_t fan_in, fan_out; /* for CVY_INIT_WEIGHT and CVY_INIT_BIAS */
    const size_t *row_fans; /* fan_in of each row of the first dimension where they differ, or NULL */
    const float *values;    /* CVY_INIT_VALUES */
    const float *mask; /* 1 where a connection exists, 0 where not: those values stay 0. NULL: all exist */
} cvy_layer_tensor;

/* A buffer that carries something from forward to backward (pool indices, batch statistics):
   bytes + column_bytes * pitch. */
typedef struct cvy_layer_saved {
    size_t bytes, column_bytes;
    bool inference; /* needed by forward even when no backward follows */
    bool indices;   /* bytes, not floats */
} cvy_layer_saved;

struct cvy_layer_run;
/* Fills run->folding's copies of a convolution's weight and bias such that it does the layer's work in
   evaluation too. */
typedef convoy_status cvy_layer_fold(void *state, const struct cvy_layer_run *run);

/* Where a layer stands in a model. */
typedef struct cvy_layer_site {
    const struct cvy_layer_type *type;
    const void *config;
    cvy_dims input;
    cvy_arena *arena; /* of what the facts point at */
} cvy_layer_site;

/* What `describe` finds out. */
typedef struct cvy_layer_facts {
    cvy_dims output;
    cvy_layer_tensor tensors[CVY_LAYER_TENSORS]; /* in the state dict's order */
    int tensor_count;
    cvy_layer_saved saved[CVY_LAYER_SAVED];
    int saved_count;
    bool counts_batches;  /* has num_batches_tracked */
    float momentum;       /* weight of a batch in its CVY_STATISTIC tensors */
    size_t pooled_values; /* of one image and channel that training takes statistics over; 0: it takes none */
    bool alias;           /* the output is the input's memory: nothing runs */
    bool forward_in_place;  /* y may be x */
    bool backward_in_place; /* gx may be gy */
    bool backward_needs_x, backward_needs_y;
    bool backward_writes_gx;   /* even where nobody wants it: the network gives it room */
    cvy_activation activation; /* what the layer itself is; CVY_IDENTITY: no activation */
    /* Bit set of 1 << cvy_activation: what forward can apply to its output (setup->activation). */
    unsigned takes_activation;
    cvy_pooling pooling; /* that the layer itself is, activation left out */
    bool takes_pooling;  /* forward may be able to do the work of such a layer behind it (setup->pooling) */
    bool takes_fold; /* tensors 0 and 1 are a weight, a row for each channel of the output, and its bias */
    cvy_layer_fold *fold; /* NULL: evaluation is not just a scale and a shift of each channel */
    bool takes_gradient;  /* backward then starts from the gradient behind the activation, not before it */
    /* Bit set of 1 << cvy_activation: what backward can carry gx through, from behind an activation that the
       layer before applied to x to the front of it (setup->input_activation; needs x). */
    unsigned takes_input_activation;
    unsigned long long multiply_adds; /* for one image */
    unsigned long long connections;   /* LeNet-5's way of counting: multiply-adds and biases */
    unsigned long long absent;        /* weights that a connection table leaves out */
} cvy_layer_facts;

/* Where a layer is prepared for a device. */
typedef struct cvy_layer_setup {
    const cvy_device_traits *traits;
    convoy_device *device; /* of these traits; may be NULL for `needs` and `tasks` */
    const struct cvy_layer_type *type;
    const void *config;
    cvy_dims input, output;
    int pitch;
    cvy_activation activation;       /* to apply to the output; one of facts.takes_activation */
    cvy_activation input_activation; /* that backward takes gx through; one of takes_input_activation */
    cvy_pooling pooling;             /* of the layer behind this one, which takes_pooling */
    bool training;                   /* backward will run */
    bool input_gradient;             /* and must produce gx */
    bool frozen;                     /* training, too, takes the statistics that are there */
    bool only_folds;                 /* nothing but facts.fold will run */
    bool shares;                     /* `give` and `take` will run */
    uint64_t seed;
    uint32_t index;    /* position of the layer, for random streams */
    cvy_forced forced; /* variants */
    cvy_needs needs;   /* result; fuses: forward does the pooling */
} cvy_layer_setup;

/* What one forward or backward call works on. */
typedef struct cvy_layer_run {
    int n;
    bool training;   /* batch statistics and dropout; backward: of a forward with them */
    bool accumulate; /* parameter gradients are added */
    uint32_t step;
    cvy_buffer *x, *y, *gy;
    cvy_buffer *gx;                           /* NULL: not wanted */
    cvy_buffer *tensors[CVY_LAYER_TENSORS];   /* by the order of facts.tensors */
    cvy_buffer *gradients[CVY_LAYER_TENSORS]; /* NULL where not trainable */
    cvy_buffer *masks[CVY_LAYER_TENSORS];     /* NULL where all connections exist */
    cvy_buffer *saved[CVY_LAYER_SAVED];       /* NULL where not kept */
    cvy_buffer *workspace;
    cvy_buffer *pooled, *pool_indices; /* where setup->needs.fuses; y is NULL then if only these are wanted */
    cvy_folding folding;               /* of facts.fold */
} cvy_layer_run;

/* For `bench`: which op with which variant, and what it costs (forward and backward of one batch). */
typedef struct cvy_layer_report {
    const char *op;
    cvy_text variant;
    bool measured; /* all of its variants were chosen by measurement */
    cvy_cost cost;
    cvy_cost forward; /* the part of it that forward has */
} cvy_layer_report;

/* A part of a layer: some channels of the output, and those of the input that they are made of. */
typedef struct cvy_layer_part {
    int first, count, input_first, input_count;
} cvy_layer_part;

typedef struct cvy_layer_type {
    const char *name; /* as in torch.nn */
    const char *help;
    int kind;           /* which one, of layers that share their functions */
    bool may_be_blocks; /* with `name: ""` its tensors are the block's own: block.layer_scale */
    const cvy_param *params;
    size_t config_size, state_size;
    /* Checks the configuration against the input and fills `facts` (zeroed before). A plain CONVOY_INVALID
       message is completed by the caller with file, layer and shapes. */
    convoy_status (*describe)(const cvy_layer_site *site, cvy_layer_facts *facts);
    /* The rest is NULL for aliases; needs, setup, release and report may be NULL elsewhere too. */
    /* Fills in setup->needs, without building anything. NULL: nothing is needed. */
    convoy_status (*needs)(cvy_layer_setup *setup);
    /* `state` is zeroed before setup; release is called after setup even when setup failed. The needs become
       others where a variant failed since they were asked for. */
    convoy_status (*setup)(void *state, cvy_layer_setup *setup);
    void (*release)(void *state);
    convoy_status (*forward)(void *state, const cvy_layer_run *run);
    convoy_status (*backward)(void *state, const cvy_layer_run *run);
    /* Of a layer that takes statistics of a batch, where setup->shares: in place of a training forward or
       backward, what this network's images add to the statistics, [channels][2], and the rest of the call
       with those of all networks that have a piece of the batch, `count` values in a channel. NULL: it takes
       none. */
    convoy_status (*give)(void *state, const cvy_layer_run *run, bool backward, double *pairs);
    convoy_status (*take)(void *state, const cvy_layer_run *run, bool backward, const double *pairs,
                          double count);
    void (*report)(const void *state, const cvy_layer_setup *setup, cvy_layer_report *report);
    /* What `setup` will have to choose variants for; how many. NULL: nothing. */
    int (*tasks)(const cvy_layer_setup *setup, cvy_task tasks[CVY_LAYER_TASKS]);
    /* Of a layer whose tensors have a row for each channel of the output: fills in the part from its `first`
       and `count` on, which may become fewer, and the configuration of a layer that computes it alone. NULL:
       it cannot be divided, or is cheap. */
    void (*divide)(const cvy_layer_setup *setup, cvy_layer_part *part, void *config);
} cvy_layer_type;

/* Every layer type; ends with NULL. */
extern const cvy_layer_type *const cvy_layer_types[];
/* NULL when there is none of that name. */
const cvy_layer_type *cvy_layer_type_find(const char *name);

/* ---- Helpers ---- */

/* "1x28x28", or "400" for a vector; in one of eight static per-thread buffers. */
const char *cvy_dims_text(cvy_dims dims);
/* Checks a size that the file may leave out (0) against what the input has. */
convoy_status cvy_layer_check_given(const char *parameter, int given, int found, const char *what);
/* The passes that will run: bits 0 forward, 1 backward-data, 2 backward-weights, as the ops number them. */
unsigned cvy_layer_passes(const cvy_layer_setup *setup);
/* Linear, EuclideanRBF and Softmax want a vector. */
convoy_status cvy_layer_want_vector(const char *type, cvy_dims input);
/* Appends a tensor; `shape` has `dimensions` entries. Returns it for further settings. */
cvy_layer_tensor *cvy_layer_add_tensor(cvy_layer_facts *facts, const char *name, cvy_tensor_role role,
                                       cvy_init_kind init, int dimensions, const size_t *shape);
/* One pass of an op with variants, for a report. */
typedef struct cvy_layer_pass {
    const char *variant;
    cvy_origin origin;
    cvy_cost cost;
} cvy_layer_pass;
/* The sum of the passes, the first of which is forward: "direct_cpu", or "direct_cpu/im2col_gemm/direct_cpu"
   where their variants differ. */
void cvy_layer_report_passes(cvy_layer_report *report, const cvy_layer_pass *passes, int count);

#endif
