/* How each image of an epoch is looked at: drawn here, some batches ahead, and sent to the device beside its
   launches; and the launch that makes a batch of them. */
#ifndef CVY_DATA_LOOKS_H
#define CVY_DATA_LOOKS_H

#include "convoy/data.h"
#include "ops/augment.h"
#include "ops/verify.h"

typedef struct cvy_looks cvy_looks;

/* Batches of batch_size images of the set. The set, the list and the device outlive it. */
convoy_status cvy_looks_create(convoy_device *device, const convoy_dataset *dataset,
                               const cvy_gather_shape *shape, const cvy_transforms *transforms, uint64_t seed,
                               int batch_size, cvy_looks **looks);
/* Adds the buffers that it will make, for batches of `growth`. */
void cvy_looks_sizes(convoy_device *device, const cvy_augment_shape *shape, cvy_growth growth,
                     cvy_sizes *sizes);
void cvy_looks_free(cvy_looks *looks); /* NULL is allowed */

/* Begins an epoch with batch `first` of the images order[0..count-1], kept by the caller until the next one.
 */
void cvy_looks_start(cvy_looks *looks, uint32_t epoch, const uint32_t *order, size_t count, size_t first);
/* Makes the images from place `begin` of the order on, which belong to one batch; `on` says all but the
   looks. Batches come in their order. */
convoy_status cvy_looks_run(cvy_looks *looks, size_t begin, cvy_augment_operands *on);

/* Does the list take steps on bytes (ops/tone.h)? They follow for images that cvy_looks_run made. */
bool cvy_looks_step(const cvy_looks *looks);
convoy_status cvy_looks_run_steps(const cvy_looks *looks, size_t begin, int n, cvy_buffer *y);
void cvy_looks_reference_steps(const cvy_looks *looks, size_t begin, int n, float *y);

/* What the images of cvy_looks_run are by the reference; `from` says all but the looks. */
void cvy_looks_reference(const cvy_looks *looks, size_t begin, int n, cvy_augment_source *from, float *y,
                         int32_t *labels);
/* CONVOY_DEVICE: the looks on the device are not those that were drawn. */
convoy_status cvy_looks_check(const cvy_looks *looks, const cvy_verifier *verifier);

#endif
