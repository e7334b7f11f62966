/* Models: a network and the recipe that trains it, read from a YAML file; its weights; and running it. */
#ifndef CONVOY_MODEL_H
#define CONVOY_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "convoy/device.h"
#include "convoy/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The description of a network, with the values of its parameters in host memory. Not tied to a device. */
typedef struct convoy_model convoy_model;

typedef struct convoy_model_options {
    size_t size;
    int classes; /* outputs of a model whose file leaves them to the data ($classes); 0: its default */
    const char *const
        *settings; /* "key=value": recipe keys and model parameters, as --set on the command line */
    size_t setting_count;
} convoy_model_options;

/* Reads a model file, infers every shape, and initialises the parameters from seed 0. CONVOY_INVALID names
   file:line:column. `options` may be NULL. Any
   thread. */
CONVOY_API convoy_status convoy_model_load(const char *path, const convoy_model_options *options,
                                           convoy_model **model);
CONVOY_API void convoy_model_free(convoy_model *model); /* NULL is allowed */

CONVOY_API const char *convoy_model_name(const convoy_model *model);
/* channels, height, width of the network's input */
CONVOY_API void convoy_model_input(const convoy_model *model, int shape[3]);
/* channels, height, width of the image that the model takes: its input without the recipe's border. Data of
   this size need no resizing. */
CONVOY_API void convoy_model_image(const convoy_model *model, int shape[3]);
/* Outputs of the last layer (C*H*W). */
CONVOY_API int convoy_model_classes(const convoy_model *model);
/* What output `index` means, by the weights that were loaded or the set that was trained on; its number where
   that is not known. Valid until weights are loaded or training begins. */
CONVOY_API const char *convoy_model_class_name(const convoy_model *model, int index);

/* One layer of the summary, in the order in which layers run. */
typedef struct convoy_layer_info {
    size_t size;
    const char *name; /* as in the state dict: "0", "features.3"; owned by the model */
    const char *type; /* "Conv2d" */
    int output[3];    /* channels, height, width */
    unsigned long long
        parameters; /* values learnt or fixed by design (a connection table's absent ones not counted) */
    unsigned long long multiply_adds; /* for one image */
    unsigned long long connections;   /* for one image, LeNet-5's way of counting: multiply-adds and biases */
} convoy_layer_info;
CONVOY_API size_t convoy_model_layer_count(const convoy_model *model);
/* NULL beyond the last; lives as long as the model. */
CONVOY_API const convoy_layer_info *convoy_model_layer(const convoy_model *model, size_t index);

/* One named tensor of the state dict. */
typedef struct convoy_tensor {
    size_t size;
    const char *name; /* PyTorch's: "0.weight", "1.running_mean"; owned by the model */
    size_t shape[4];
    int dimensions;
    float *values; /* the model's own copy, PyTorch's order; may be changed while no network of it is open */
    int trainable; /* 0 for running statistics and fixed weights */
} convoy_tensor;
CONVOY_API size_t convoy_model_tensor_count(const convoy_model *model);
/* NULL beyond the last; lives as long as the model. */
CONVOY_API const convoy_tensor *convoy_model_tensor(const convoy_model *model, size_t index);

/* Draws new parameters as the recipe's `init` says, from `seed`. */
CONVOY_API convoy_status convoy_model_initialise(convoy_model *model, uint64_t seed);

/* safetensors under PyTorch's names; saved as torch.save does where the path ends with .pth or .pt. Loading
   requires every tensor of the model with its exact shape, as float32; what is missing, unknown or of another
   shape is listed in the message (CONVOY_INVALID) and nothing is changed. Convoy's own files say too what the
   classes are called and what images the network saw: sets are brought into the order of these classes, and a
   model that makes other images is CONVOY_INVALID. */
CONVOY_API convoy_status convoy_model_load_weights(convoy_model *model, const char *path);
CONVOY_API convoy_status convoy_model_save_weights(const convoy_model *model, const char *path);

/* A model made ready to run on a device with batches of up to `batch_size` images, for inference. It holds a
   copy of the weights of that moment. The model and the device must outlive it. */
typedef struct convoy_network convoy_network;
CONVOY_API convoy_status convoy_network_open(convoy_model *model, convoy_device *device, int batch_size,
                                             convoy_network **network);
CONVOY_API void convoy_network_close(convoy_network *network); /* NULL is allowed */

/* Runs the network on `count` images, any number: images [count][channels][height][width] of the
   model's input size, normalised and with their border, as convoy_model_prepare makes them; outputs
   [count][classes], before any softmax of the loss. For photographs, see convoy/predict.h. */
CONVOY_API convoy_status convoy_network_predict(convoy_network *network, const float *images, size_t count,
                                                float *outputs);

#ifdef __cplusplus
}
#endif
#endif
