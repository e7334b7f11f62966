/* What the tests against PyTorch share: the records in tests/train/parity/, the weights, images and labels
   that both sides make by the formulas of tools/record_parity.py, and the distance of a tensor from what
   PyTorch computed in float64. */
#ifndef CVY_TESTS_SUPPORT_PARITY_H
#define CVY_TESTS_SUPPORT_PARITY_H

#include <jansson.h>

#include "convoy/model.h"
#include "support/test.h"
#include "train/step.h"

typedef struct parity_recipe {
    const char *network; /* names the record */
    const char *model;   /* its path in the source tree */
} parity_recipe;

/* Each that has a record. */
extern const parity_recipe parity_recipes[];
extern const size_t parity_recipe_count;

typedef struct parity_run {
    json_t *record;
    convoy_model *model;
    convoy_network *network;
    cvy_training training; /* of a training network */
    int n, classes;
    size_t pixels;
} parity_run;

/* The record of a recipe, by the network's name, and its model with the record's weights. */
void parity_load(const char *network, parity_run *run);
/* Makes a network of it, and frees it. `variant`: as of cvy_network_options. `n`: 0 for the record's batch.
 */
void parity_start(parity_run *run, convoy_device *device, bool training, const char *variant, int n);
void parity_stop(parity_run *run);
void parity_close(parity_run *run); /* the rest */

/* Fills the network's input, and a training's labels, with the images of batch `index`. */
void parity_set_batch(const parity_run *run, uint32_t index);
/* One training step on that batch; its loss. */
double parity_step(parity_run *run, uint32_t step);

/* The starting values of a tensor; images [n][pixels] and labels [n] of a batch. */
void parity_set_tensor(json_t *row, const convoy_tensor *tensor);
void parity_make_batch(uint32_t index, size_t n, int classes, size_t pixels, float *images, int32_t *labels);
/* The row of `rows` with this name; NULL: none. */
json_t *parity_row(json_t *rows, const char *name);
/* |values - the row's values|, over the norm of the row's. */
double parity_distance(json_t *row, const float *values, size_t count);
size_t parity_count(const convoy_tensor *tensor); /* its values */
/* How far float32 may stray where PyTorch's own float32 strays by `yardstick`. */
double parity_allowed(double yardstick);

#endif
