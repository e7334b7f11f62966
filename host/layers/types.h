/* The rows of the layer table, one per type; each is defined in the file of its name. */
#ifndef CVY_LAYERS_TYPES_H
#define CVY_LAYERS_TYPES_H

#include "layers/layer.h"

extern const cvy_layer_type cvy_layer_conv2d;
extern const cvy_layer_type cvy_layer_linear;
extern const cvy_layer_type cvy_layer_max_pool2d;          /* pool2d.c */
extern const cvy_layer_type cvy_layer_avg_pool2d;          /* pool2d.c */
extern const cvy_layer_type cvy_layer_adaptive_avg_pool2d; /* pool2d.c */
extern const cvy_layer_type cvy_layer_adaptive_max_pool2d;
extern const cvy_layer_type cvy_layer_batch_norm2d;
extern const cvy_layer_type cvy_layer_softmax;
extern const cvy_layer_type cvy_layer_dropout;
extern const cvy_layer_type cvy_layer_stochastic_depth;
extern const cvy_layer_type cvy_layer_flatten;  /* reshape.c */
extern const cvy_layer_type cvy_layer_identity; /* reshape.c */
extern const cvy_layer_type cvy_layer_upsample;
extern const cvy_layer_type cvy_layer_subsample2d;
extern const cvy_layer_type cvy_layer_euclidean_rbf;
extern const cvy_layer_type cvy_layer_group_norm;
extern const cvy_layer_type cvy_layer_layer_norm; /* group_norm.c */
extern const cvy_layer_type cvy_layer_layer_scale;
extern const cvy_layer_type cvy_layer_local_response_norm;
extern const cvy_layer_type cvy_layer_prelu;
extern const cvy_layer_type cvy_layer_channel_linear;  /* conv2d.c */
extern const cvy_layer_type cvy_layer_channel_shuffle; /* channels.c */
extern const cvy_layer_type cvy_layer_channel_split;   /* channels.c */
/* The activations: activation.c. */
#define CVY_ROW(NAME, name, ...) extern const cvy_layer_type cvy_layer_##name;
CVY_ACTIVATIONS(CVY_ROW)
CVY_FURTHER_ACTIVATIONS(CVY_ROW) /* but that of gelu_tanh, a kind of gelu */
#undef CVY_ROW

#endif
