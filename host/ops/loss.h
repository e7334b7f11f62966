/* Losses over the network's output [classes][pitch], with the gradient in the same pass, and softmax. */
#ifndef CVY_OPS_LOSS_H
#define CVY_OPS_LOSS_H

#include "ops/vector.h"

/* The losses, one row each: ROW(NAME, name, sign, rejection) is the cross-entropy of z = sign * output, with
   one more class at z = -1 that is never right where `rejection`; the answer is the class of the largest z.
   CrossEntropyLoss: torch.nn's, log-softmax and negative log-likelihood.
   RBFLoss: LeCun et al. 1998, equation 9, over squared distances y: y_t + log(exp(-j) + sum_i exp(-y_i)), j
   = 1. */
#define CVY_LOSSES(ROW)                                                                                      \
    ROW(CROSS_ENTROPY, CrossEntropyLoss, 1, false)                                                           \
    ROW(RBF_MAP, RBFLoss, -1, true)

#define CVY_ROW(NAME, name, sign, rejection) CVY_##NAME,
typedef enum cvy_loss { CVY_LOSSES(CVY_ROW) CVY_LOSS_COUNT } cvy_loss;
#undef CVY_ROW

/* "CrossEntropyLoss|RBFLoss": in the order of cvy_loss. */
#define CVY_LOSS_NAME(NAME, name, sign, rejection) "|" #name
#define CVY_LOSS_NAMES (&CVY_LOSSES(CVY_LOSS_NAME)[1])

/* Whether the answer is the smallest output, not the largest. */
bool cvy_loss_answer_is_smallest(cvy_loss kind);

/* Per image: losses[n], predictions[n] (class), and gradient[classes][pitch] = d loss / d output *
   grad_scale, 0 in the padding columns, or NULL. */
typedef struct cvy_loss_results {
    float *losses;
    int32_t *predictions;
    float *gradient;
} cvy_loss_results;
/* labels [n]; a label outside 0..classes-1 gives loss NaN. */
void cvy_loss_reference(cvy_loss kind, int classes, int pitch, int n, const float *output,
                        const int32_t *labels, float grad_scale, cvy_loss_results results);

/* torch.nn.CrossEntropyLoss's label_smoothing and weight. */
typedef struct cvy_soft_targets {
    double smoothing;
    const float *weights; /* [classes] */
    bool mixed;           /* images are mixed with the ones before them, the first with the last (mix.h), */
    double own;           /* and have this share of their targets */
} cvy_soft_targets;
/* The same for these; losses are weighted, and not yet divided by the sum of the images' weights. */
void cvy_loss_soft_reference(const cvy_soft_targets *targets, int classes, int pitch, int n,
                             const float *output, const int32_t *labels, float grad_scale,
                             cvy_loss_results results);

typedef struct cvy_loss_op cvy_loss_op;
/* A cross-entropy for training. It writes no predictions. */
convoy_status cvy_loss_create_soft(convoy_device *device, const cvy_soft_targets *targets, int classes,
                                   int pitch, cvy_loss_op **op);
convoy_status cvy_loss_create(convoy_device *device, cvy_loss kind, int classes, int pitch, cvy_loss_op **op);
void cvy_loss_free(cvy_loss_op *op);
/* How many pairs make up a slot of the statistics: each work-group leaves one, so that no second launch has
   to add them up. */
size_t cvy_loss_parts(const convoy_device *device, int pitch);

typedef struct cvy_loss_operands {
    int n;                /* images */
    cvy_buffer *output;   /* [classes][pitch] */
    cvy_buffer *labels;   /* int32 [pitch] */
    float grad_scale;     /* 1/n for the mean over a batch */
    double own;           /* where targets are mixed: an image's share of its own; an answer is right that is
                             the class of the larger share */
    cvy_buffer *gradient; /* [classes][pitch], or NULL */
    /* Float pairs [slot][cvy_loss_parts()], or NULL; those of `slot` become {sum of losses, number of correct
       answers} of a part of the n images each, which `accumulate` adds to what is there. */
    cvy_buffer *statistics;
    size_t slot;
    bool accumulate;
    cvy_buffer *predictions; /* int32, or NULL; n classes are written from `prediction_offset` on */
    size_t prediction_offset;
} cvy_loss_operands;
convoy_status cvy_loss_run(cvy_loss_op *op, const cvy_loss_operands *operands);

/* Softmax over `classes` rows, per column: y [classes][pitch]. In place is allowed. */
void cvy_softmax_forward_reference(size_t classes, size_t pitch, const float *x, float *y);
void cvy_softmax_backward_reference(size_t classes, size_t pitch, const float *y, const float *gy, float *gx);

typedef struct cvy_softmax {
    size_t classes, pitch;
    size_t width; /* of a vector */
    cvy_launcher forward, backward;
} cvy_softmax;
convoy_status cvy_softmax_prepare(convoy_device *device, size_t classes, size_t pitch, cvy_softmax *op);
convoy_status cvy_softmax_forward(const cvy_softmax *op, cvy_buffer *x, cvy_buffer *y);
convoy_status cvy_softmax_backward(const cvy_softmax *op, cvy_buffer *y, cvy_buffer *gy, cvy_buffer *gx);

#endif
