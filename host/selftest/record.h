/* What PyTorch recorded (tools/record_parity.py): weights, images and labels that both sides make by the same
   formulas, and the losses that follow from them. */
#ifndef CVY_SELFTEST_RECORD_H
#define CVY_SELFTEST_RECORD_H

#include <jansson.h>

#include "convoy/model.h"
#include "device/device.h"

/* The text of a file that was built in, as "models/lenet.yaml"; NULL: there is none. */
const char *cvy_selftest_file(const char *name);

/* Fills a tensor by its row of a record. CONVOY_INVALID: they do not fit. */
convoy_status cvy_record_set_tensor(const json_t *row, const convoy_tensor *tensor);
/* Each tensor of the model that has a row; each that is trained must have one. */
convoy_status cvy_record_set_tensors(const json_t *record, convoy_model *model);
json_t *cvy_record_row(const json_t *rows, const char *name); /* NULL: none */

/* Batch `index`: images [n][pixels], labels [n]. */
void cvy_record_make_batch(uint32_t index, size_t n, int classes, size_t pixels, float *images,
                           int32_t *labels);
/* The same on the device, as the loader would make it: images [pixels][pitch], and labels [pitch] unless that
 * is NULL.
 */
typedef struct cvy_record_batch {
    size_t pixels, pitch;
    int n, classes;
    cvy_buffer *images, *labels;
} cvy_record_batch;
convoy_status cvy_record_set_batch(const cvy_record_batch *batch, uint32_t index);

/* How far float32 may stray where PyTorch's own float32 strays by `yardstick`. */
double cvy_record_allowed(double yardstick);

/* A word of the formulas' random numbers. */
enum { CVY_RECORD_SEED = 7 };

#endif
