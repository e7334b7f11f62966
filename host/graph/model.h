/* The inside of convoy_model that train/ and cli/ need beside include/convoy/model.h. */
#ifndef CVY_GRAPH_MODEL_H
#define CVY_GRAPH_MODEL_H

#include "base/node.h"
#include "base/params.h"
#include "convoy/model.h"
#include "ops/loss.h"
#include "ops/optimizer.h"

/* The recipe of a model file, defaults filled in. */
typedef struct cvy_recipe {
    const char *data;        /* "fashion-mnist", a path, "synthetic" */
    int loss;                /* cvy_loss: CrossEntropyLoss | RBFLoss */
    cvy_optimizer optimizer; /* from `optimizer: {SGD: {lr: 0.9}}` */
    int batch_size, epochs;
    int micro_batch; /* images that are computed at a time, their gradients added up; 0: the whole batch */
    int init;        /* default | xavier_uniform | kaiming_uniform | kaiming_normal | lecun (LeNet-5's) */
    bool shuffle;
    int border;             /* zero-value pixels around the image: lenet5 pads 28 to 32 with 2 */
    double mean[4], std[4]; /* per channel, of pixels scaled to 0..1; default 0 and 1 */
    int reports_per_epoch;  /* running train loss and accuracy this many times an epoch (lenet: 5); 0: none */
    int eval_every; /* steps between evaluations of the whole test set (digits_cnn: 100); 0: per epoch */
    double test_fraction; /* of a folder without train/ and test/ */
} cvy_recipe;

const cvy_recipe *cvy_model_recipe(const convoy_model *model);
/* Rows of the recipe's keys, for help texts. */
extern const cvy_param cvy_recipe_params[];

/* The model file with blocks expanded, settings applied and defaults filled in, as YAML; malloc'ed. What a
   run folder keeps as model.yaml: loading it gives the same network and recipe. */
char *cvy_model_print(const convoy_model *model);

/* convoy_model_save_weights with metadata of the caller's beside its own: pairs key, value, ..., NULL; NULL:
 * none. */
convoy_status cvy_model_save_weights_with(const convoy_model *model, const char *path,
                                          const char *const *metadata);

/* safetensors, also for checkpoints: named float32 / int64 / uint8 tensors and string metadata. */
typedef struct cvy_named_tensor {
    const char *name;
    const char *dtype; /* "F32", "I64", "U8" */
    size_t shape[4];
    int dimensions;
    void *data; /* host memory, row-major, little-endian */
    size_t bytes;
} cvy_named_tensor;

typedef struct cvy_tensor_file cvy_tensor_file;
/* Writes atomically (base/file.h). metadata: pairs of strings, NULL-terminated list key, value, key, value,
 * NULL. */
convoy_status cvy_tensor_file_save(const char *path, const cvy_named_tensor *tensors, size_t count,
                                   const char *const *metadata);
/* Reads and checks the whole header (lengths, overlaps, dtypes, offsets within the file) before anything is
 * used. */
convoy_status cvy_tensor_file_load(const char *path, cvy_tensor_file **file);
void cvy_tensor_file_free(cvy_tensor_file *file);
size_t cvy_tensor_file_count(const cvy_tensor_file *file);
cvy_named_tensor cvy_tensor_file_get(const cvy_tensor_file *file, size_t index);
/* NULL data when the name is absent. */
cvy_named_tensor cvy_tensor_file_find(const cvy_tensor_file *file, const char *name);
const char *cvy_tensor_file_metadata(const cvy_tensor_file *file, const char *key); /* NULL: absent */

/* Everything that the model's state dict holds, running statistics and num_batches_tracked (I64) included, in
   PyTorch's order, for checkpoints. `data` points into the model; free(*tensors). */
convoy_status cvy_model_state(const convoy_model *model, cvy_named_tensor **tensors, size_t *count);
/* The way back, from the tensors of `file` whose names begin with `prefix` ("": all): strict as
   convoy_model_load_weights, except that num_batches_tracked may be missing. `path` is for messages. */
convoy_status cvy_model_set_state(convoy_model *model, const cvy_tensor_file *file, const char *path,
                                  const char *prefix);

#endif
