/* The inside of convoy_model that train/ and cli/ need beside include/convoy/model.h. */
#ifndef CVY_MODEL_MODEL_H
#define CVY_MODEL_MODEL_H

#include "base/node.h"
#include "base/params.h"
#include "convoy/model.h"
#include "model/schedule.h"
#include "ops/augment.h"
#include "ops/gather.h"
#include "ops/loss.h"
#include "ops/optimizer.h"
#include "weights/classes.h"
#include "weights/weights.h"

/* Training ends after so many epochs in which the monitor did not become better by more than min_delta. */
typedef struct cvy_early_stopping {
    int patience; /* 0: never */
    double min_delta;
} cvy_early_stopping;

/* The recipe of a model file, defaults filled in. */
typedef struct cvy_recipe {
    const char *data;        /* "fashion-mnist", a path, "synthetic" */
    int loss;                /* cvy_loss: CrossEntropyLoss | RBFLoss */
    cvy_optimizer optimizer; /* from `optimizer: {SGD: {lr: 0.9}}` */
    int batch_size, epochs;
    int micro_batch; /* images that are computed at a time, their gradients added up; 0: the whole batch */
    int pieces; /* of a batch, whose gradients are added up in a tree: train/pieces.h; 0: the run chooses */
    bool sync_batch_norm; /* batch-norms take the statistics of all pieces: train/together.h */
    int init; /* default | xavier_uniform | kaiming_uniform | kaiming_normal | lecun (LeNet-5's) */
    bool shuffle;
    cvy_transforms augment;                           /* of training images */
    int resize, short_side;                           /* cvy_resize_mode; 0: as long as the image's */
    bool fast_decode, exif_orientation, skip_damaged; /* of photographs */
    int border;             /* zero-value pixels around the image: lenet5 pads 28 to 32 with 2 */
    double mean[4], std[4]; /* per channel, of pixels scaled to 0..1; default 0 and 1 */
    int reports_per_epoch;  /* running train loss and accuracy this many times an epoch (lenet: 5); 0: none */
    int eval_every; /* steps between evaluations of the whole test set (digits_cnn: 100); 0: per epoch */
    int test_split; /* stratified | per_class */
    double test_fraction; /* of a folder without train/ and test/ */
    double val_fraction;  /* of the training images; 0: none */
    cvy_schedule schedule;
    double label_smoothing;
    cvy_node *class_weights; /* NULL: all 1 */
    int sampler;             /* default | balanced */
    double clip_grad_norm;   /* 0: not clipped */
    double ema;              /* decay of averaged weights; 0: none */
    cvy_node *groups, *freeze;
    int monitor; /* cvy_monitor */
    cvy_early_stopping early_stopping;
} cvy_recipe;

/* convoy_model_load in two steps, so that a model whose outputs are left to the data ($classes) is built
   once. After the first it knows its name, recipe and image, with which the data are opened; its network and
   weights come with the second. `classes` 0: the file's own, or a setting's, which always stands. */
convoy_status cvy_model_read(const char *path, const convoy_model_options *options, convoy_model **model);
/* The same of a file's text. */
convoy_status cvy_model_read_text(const char *path, const char *text, convoy_model **model);
convoy_status cvy_model_complete(convoy_model *model, int classes);
/* Between the two: every layer is to run by itself, so that what it gives can be looked at. */
void cvy_model_keep_apart(convoy_model *model);

/* Is layer `index` of convoy_model_layer part of a head that is there for training only? */
bool cvy_model_layer_is_auxiliary(const convoy_model *model, size_t index);

/* What image the model wants, in the one place that says so. */
cvy_image_spec cvy_model_image(const convoy_model *model);
const cvy_recipe *cvy_model_recipe(const convoy_model *model);
/* What the run chose for a recipe that leaves it open. */
void cvy_model_set_pieces(convoy_model *model, int pieces);
/* Does training take statistics of a batch anywhere? */
bool cvy_model_takes_statistics(const convoy_model *model);
/* Does a batch-norm in training see but one value of a channel where there is one image? Its name, or NULL.
 */
const char *cvy_model_lonely_norm(const convoy_model *model);
/* The optimizers of the parameter groups, the recipe's own first; how many. */
enum { CVY_GROUPS = 64 };
size_t cvy_model_groups(const convoy_model *model, const cvy_optimizer **optimizers);
/* The recipe's class_weights [outputs] for classes that are called `names` and have so many training images.
   CONVOY_INVALID names the place in the file. */
convoy_status cvy_model_class_weights(const convoy_model *model, const char *const *names,
                                      const size_t *images, float *weights);
/* Rows of the recipe's keys, for help texts. */
extern const cvy_param cvy_recipe_params[];

/* The model file with blocks expanded, settings applied and defaults filled in, as YAML; malloc'ed. What a
   run folder keeps as model.yaml: loading it gives the same network and recipe. */
char *cvy_model_print(const convoy_model *model);

typedef enum cvy_weights_use {
    CVY_WEIGHTS_ALL,   /* to answer with: everything must fit, but auxiliary heads may be missing */
    CVY_WEIGHTS_BEGIN, /* to begin with: everything must, but for the images, of which a warning tells */
    CVY_WEIGHTS_KEEP,  /* to begin with what fits; a note says what does not, which stays as it is */
} cvy_weights_use;

/* The values of a weights file, what its classes are called, and whether its network saw the images that this
   model makes (a border, a normalisation). CONVOY_INVALID: it does not fit, and nothing is changed. Floats of
   other types in the file become float32. */
convoy_status cvy_model_take_weights(convoy_model *model, cvy_tensor_file *file, const char *path,
                                     cvy_weights_use use);
/* What the outputs are called, by the weights that were loaded or the set that was trained on; count 0: not
   known. Setting copies. */
cvy_classes cvy_model_classes(const convoy_model *model);
void cvy_model_set_classes(convoy_model *model, const cvy_classes *classes);

/* Everything that the model's state dict holds, running statistics and num_batches_tracked (I64) included, in
   PyTorch's order, for checkpoints. `data` points into the model; free(*tensors). */
convoy_status cvy_model_state(const convoy_model *model, cvy_named_tensor **tensors, size_t *count);
/* The way back, from the tensors of `file` whose names begin with `prefix` ("": all): strict as
   convoy_model_load_weights, except that num_batches_tracked may be missing. `path` is for messages. */
convoy_status cvy_model_set_state(convoy_model *model, const cvy_tensor_file *file, const char *path,
                                  const char *prefix);

#endif
