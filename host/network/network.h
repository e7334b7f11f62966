/* A model made executable on one device for one batch size: its plan (buffers shared by lifetime), its
   prepared ops, and the walk forward and backward. train/ drives it; the public convoy_network_* calls are
   thin covers. */
#ifndef CVY_NETWORK_NETWORK_H
#define CVY_NETWORK_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/child.h"
#include "base/text.h"
#include "convoy/model.h"
#include "ops/variants.h"
#include "ops/verify.h"

typedef struct cvy_network_options {
    int batch_size;
    int whole_batch; /* images of a batch that is computed in pieces of batch_size; 0: it is not */
    bool training;   /* plans gradients; without it only forward in evaluation mode is possible */
    bool as_before;  /* with what was measured so far, as the run that this one resumes; no more tuning */
    bool shares;     /* batch-norms may take statistics of several networks: together.c */
    struct convoy_network *parameters_of; /* another network of the model, whose parameters this one has; it
                                             outlives this one. NULL: its own */
    bool last_first; /* opens the layers from the last one on: for who builds what another comes to last */
    uint64_t seed;   /* of dropout */
    const char
        *variant; /* "op=name[,op=name]" forces kernel variants, e.g. "conv2d=im2col_gemm"; NULL: choose */
    bool where_possible;     /* a variant that no layer can run here is not forced, with a warning */
    const cvy_sizes *beside; /* what the caller will make on the device beside the network; or NULL */
} cvy_network_options;

/* Plans everything and checks it against the device's memory before anything is allocated: CONVOY_MEMORY says
   what is needed, what the device has and which batch size would fit. Uploads the model's parameters. */
convoy_status cvy_network_create(convoy_model *model, convoy_device *device,
                                 const cvy_network_options *options, convoy_network **network);

/* What such a network chooses kernel variants for, each shape once; malloc'ed. */
convoy_status cvy_network_tasks(convoy_model *model, convoy_device *device,
                                const cvy_network_options *options, cvy_task **tasks, size_t *count);

convoy_model *cvy_network_model(const convoy_network *network);
int cvy_network_batch_size(const convoy_network *network);
int cvy_network_pitch(const convoy_network *network);

/* The variant that is forced on the op; NULL: none, or no layer can run it. */
const cvy_variant *cvy_network_forced(const convoy_network *network, const cvy_op *op);

/* The columns of the batch axis that such a network will have. */
int cvy_network_pitch_of(const cvy_device_traits *traits, int batch_size, bool training);

/* Bytes on the device, by what they hold. */
typedef struct cvy_memory {
    size_t parameters;           /* with statistics, fixed weights and masks */
    size_t gradients, optimizer; /* of training; train/ allocates the state of the recipe's optimizer */
    size_t activations;          /* of all layers, forward and backward, shared by lifetime */
    size_t workspace;            /* scratch that the kernels of all layers share */
    size_t data;                 /* beside it: images and labels on their way, figures on their way back */
} cvy_memory;
size_t cvy_memory_total(const cvy_memory *parts);
cvy_memory cvy_network_memory(const convoy_network *network);
/* The same before there is a network, or even a device, of these traits: as if nothing was measured or failed
   on it. Zeros where there can be no such network. */
cvy_memory cvy_model_memory(const convoy_model *model, const cvy_device_traits *traits, int batch_size,
                            bool training);

cvy_buffer *cvy_network_input(convoy_network *network);  /* [C][H][W][pitch], written by the loader */
cvy_buffer *cvy_network_output(convoy_network *network); /* [classes][pitch] */
cvy_buffer *cvy_network_output_gradient(convoy_network *network); /* written by the loss; training only */

/* An auxiliary head, in training: its output, whose loss counts so much, and the gradient that the loss
 * writes. */
typedef struct cvy_network_head {
    cvy_buffer *output, *gradient; /* [classes][pitch] */
    double weight;
} cvy_network_head;
/* How many there are; none in a network that only evaluates. */
size_t cvy_network_heads(const convoy_network *network, const cvy_network_head **heads);

/* A part of the parameters or of their gradients, in floats. */
typedef struct cvy_range {
    size_t offset, count;
} cvy_range;

/* `n` images (1..batch_size); `training` selects batch statistics and dropout; `step` keys dropout's masks.
 */
convoy_status cvy_network_forward(convoy_network *network, int n, bool training, uint32_t step);
/* After a training forward with the same n: fills the parameter gradients (or adds to them). */
convoy_status cvy_network_backward(convoy_network *network, int n, bool accumulate);

/* After how many actions of the backward pass the gradients of a range are what they will be. */
size_t cvy_network_gradients_ready(const convoy_network *network, cvy_range range);
/* From now on it is called behind every action of the backward pass with the number of those done. NULL:
   nobody is. */
typedef convoy_status cvy_backward_listener(void *context, size_t done);
void cvy_network_listen(convoy_network *network, cvy_backward_listener *listener, void *context);

/* ---- watch.c: what a layer gives, and how the output depends on it ---- */

/* Evaluation of `n` images such that cvy_network_watch_backward may follow; on the way the output of a layer
   (of convoy_model_layer) is copied to `activation` [C*H*W][pitch]. The network was made for training, and
   its model keeps its layers apart. CONVOY_INVALID: it did not, or the layer gives nothing of its own. */
convoy_status cvy_network_watch_forward(convoy_network *network, int n, size_t layer, float *activation);
/* From the gradient that the caller wrote into cvy_network_output_gradient (0 in the padding columns) to that
   of the layer's output. The gradients of parameters are of no use afterwards. CONVOY_INVALID: no layer
   before it is learnt, so that no gradient comes there. */
convoy_status cvy_network_watch_backward(convoy_network *network, int n, size_t layer, float *gradient);

/* All parameters that learn in one buffer, their gradients in another, element for element. */
cvy_buffer *cvy_network_parameters(convoy_network *network);
cvy_buffer *cvy_network_gradients(convoy_network *network);
size_t cvy_network_parameter_count(const convoy_network *network); /* floats, gaps for alignment included */
/* Where tensor `index` of convoy_model_tensor begins in those buffers, in floats, in the model's own order of
   values; SIZE_MAX when it is not trainable. Checkpoints keep the optimizer's state tensor by tensor with it,
   so that they do not depend on a device's alignment. */
size_t cvy_network_parameter_offset(const convoy_network *network, size_t index);
/* A parameter group's part of those buffers; of an empty one, count is 0. */
cvy_range cvy_network_group(const convoy_network *network, size_t group);
/* Where `state`, of so many, of such a tensor begins in the optimizer's [group][states][count of the group].
 */
size_t cvy_network_state_offset(const convoy_network *network, size_t index, int states, int state);

/* Host values of the model <-> device. */
convoy_status cvy_network_upload(convoy_network *network);
convoy_status cvy_network_download(convoy_network *network);

/* ---- moving.c: running statistics, moved by pieces of a batch apart from each other ---- */

/* A batch-norm moves its statistics by running = (1 - momentum) running + momentum new. From nothing, a piece
   leaves `momentum new`, which is all that is needed to move any others later, in any process. */
typedef struct cvy_moving {
    convoy_network *network;
    size_t begin, count; /* floats of the parameter buffer in which they lie */
    float *momentum;     /* [count]; 0: not one of them */
    float *nothing;      /* [count]: what a piece begins with */
    float *now;          /* [count]: the statistics */
    int64_t *tracked;    /* training forwards so far, of each step of the model */
} cvy_moving;

/* Of the values that the network has; `count` 0 where it has no statistics that move. */
convoy_status cvy_moving_create(convoy_network *network, cvy_moving *moving);
void cvy_moving_free(cvy_moving *moving); /* a zeroed one is allowed */
/* A piece begins; and what it left, moved [count]. */
convoy_status cvy_moving_begin(const cvy_moving *moving);
convoy_status cvy_moving_read(const cvy_moving *moving, float *moved);
/* Moves the statistics by what a piece left that was computed in so many training forwards. */
void cvy_moving_apply(cvy_moving *moving, const float *moved, int forwards);
/* Between batches the network has the statistics: from it; and into it, after so many training forwards of
   all pieces, whoever did them. */
convoy_status cvy_moving_fetch(cvy_moving *moving);
convoy_status cvy_moving_give(const cvy_moving *moving, int forwards);

/* ---- together.c: networks that have a piece of a batch each, and run side by side ---- */

/* Where batch-norms take the statistics of all pieces, whoever has the others: pairs
   [networks with images][channels][2] of this process's, to `joined` [channels][2] of all, which have *count
   values in a channel. `own`: how this process fares; where one does not, all fail with its words. */
typedef convoy_status cvy_meeting(void *context, convoy_status own, bool backward, const double *pairs,
                                  size_t channels, size_t pixels, double *joined, double *count);

/* Networks of one model, which share parameters, made with `shares`. */
typedef struct cvy_company {
    convoy_network *lead;      /* one of them, whose actions are walked even where none has images */
    convoy_network **networks; /* [count]: those that have images, */
    int *n;                    /* so many, */
    uint32_t *steps;           /* and what keys their dropout */
    size_t count;
    cvy_meeting *meeting;
    void *context;
    double *pairs, *joined; /* [count][channels][2], [channels][2], of cvy_company_channels */
    const cvy_moving *moving;
    float *moved; /* as cvy_moving_apply takes it, of one forward of all */
    bool told;    /* of a failure of this step, to all or by one */
} cvy_company;

/* Of the widest layer whose statistics are shared; 0: there is none. */
size_t cvy_company_channels(const convoy_network *lead);
/* Training forward and backward of all. With `own` nothing runs, and the next meeting hears of it. */
convoy_status cvy_company_forward(cvy_company *company, convoy_status own);
convoy_status cvy_company_backward(cvy_company *company, convoy_status own);

/* Which action of a network makes the first value that is not finite, in words. */
typedef struct cvy_trace {
    bool found;
    char text[480]; /* "layer 3 (Conv2d, direct_cpu) makes the first NaN, in its forward pass, of inputs from
                       0 to 9e37" */
} cvy_trace;
/* From now on every action of training is waited for, and looked at until something is found; NULL: no more.
 */
void cvy_network_watch(convoy_network *network, cvy_trace *trace);

/* A value that a network has just made. */
typedef struct cvy_seen {
    size_t step;         /* of the model */
    const char *pass;    /* "forward", "backward" */
    const char *layer;   /* "3" */
    const char *type;    /* "Conv2d" */
    const char *what;    /* "output" */
    const char *variant; /* of the layer's kernels; "": there is no choice */
    cvy_buffer *buffer;  /* which may be written, and is gone on with */
    size_t pitch, n;     /* rows of `pitch` floats, of which n count; 1 and 1: all do */
    double least;        /* a size of sums whose terms may cancel; 0: there are none */
} cvy_seen;
typedef convoy_status cvy_observer(void *context, const cvy_seen *seen);
/* From now on it is called behind every action with what that made. NULL: nobody is. */
void cvy_network_observe(convoy_network *network, cvy_observer *observer, void *context);

/* From now on a result of a forward or backward pass is computed once more by the host where the verifier
   says that it is its turn; NULL: none is. CONVOY_DEVICE: the device computed a wrong one, and no other
   variant was right. */
void cvy_network_verify(convoy_network *network, cvy_verifier *verifier);

/* One row per prepared op of each layer, for `bench`. */
typedef struct cvy_layer_timing {
    const char *name, *op, *variant;          /* owned by the network */
    bool measured;                            /* the variants were chosen by measurement */
    double forward_seconds, backward_seconds; /* of one batch, backward = data + weights */
    cvy_cost forward, backward;               /* of the same */
} cvy_layer_timing;
/* The variants that its layers run, a line each. */
void cvy_network_print_variants(const convoy_network *network, cvy_text *text);
/* Times each layer by itself, waiting after each, best of `repeats`; `wait`: the seconds that a wait costs
   are taken off. Rows are malloc'ed. Training networks only. */
convoy_status cvy_network_time_layers(convoy_network *network, int repeats, double wait,
                                      cvy_layer_timing **rows, size_t *count);

#endif
