/* One layer at a time: what it says of itself, and what a small network around it computes. */
#ifndef CVY_TESTS_LAYER_H
#define CVY_TESTS_LAYER_H

#include "layers/layer.h"
#include "support/test.h"

/* Describes a layer whose parameters are written as YAML; `facts` stay valid until the next call. */
convoy_status test_layer_describe(const char *type, const char *yaml, cvy_dims input, cvy_layer_facts *facts);
void test_layer_output(const char *type, const char *yaml, cvy_dims input, cvy_dims output);
void test_layer_tensor(const cvy_layer_facts *facts, int index, const char *name, int dimensions,
                       const size_t *shape);

/* A network of `front`, a layer with parameters, and `layer`, both as in a model file, over [channels][4][6]
   images or, where `vector`, over vectors: its outputs and gradients on the device under test are those on
   the host, whose ops are the references. */
void test_layer_runs(const char *front, const char *layer, bool vector);
/* And the gradients of that network are the slopes of its outputs; for layers without kinks. */
void test_layer_slopes(const char *front, const char *layer, bool vector);

#endif
