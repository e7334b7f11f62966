/* Batches of a data set as a network's input, epoch by epoch. The order of an epoch is a function of (seed,
   epoch), so that a resumed run sees the same batches. A set that fits is uploaded once as bytes, and a batch
   is one gather launch; a larger one is decoded ahead by threads and uploaded batch by batch,
   the next one while this one computes. Both give the same bits. */
#ifndef CVY_DATA_LOADER_H
#define CVY_DATA_LOADER_H

#include "convoy/data.h"
#include "device/device.h"
#include "ops/augment.h"
#include "ops/gather.h"
#include "ops/verify.h"

typedef struct cvy_loader_options {
    int batch_size, pitch; /* images per batch; columns of the input buffer */
    int first, share; /* of each batch, only these images will be asked for; share 0: all. The others must be
                         skipped; where the set is not on the device nobody makes them */
    int piece;        /* most images that come at once: a batch comes in pieces; 0: all */
    cvy_image_spec image; /* its channels are the set's */
    bool shuffle;
    bool balanced; /* each image is drawn anew, all classes equally often, as torch's WeightedRandomSampler
                      does with 1 / the images of the class; the labels are known */
    uint64_t seed; /* of the order, and of what `augment` draws */
    const cvy_transforms *augment; /* outlives the loader; NULL or empty: images as they are */
    size_t device_budget; /* most bytes of the set to keep on the device: 0 none, SIZE_MAX what its limits
                             allow */
    int threads;          /* that decode; 0: the machine's cores, at most 4. Never changes the result */
} cvy_loader_options;

typedef struct cvy_loader cvy_loader;

/* The device and the set must outlive the loader. */
convoy_status cvy_loader_create(convoy_device *device, const convoy_dataset *dataset,
                                const cvy_loader_options *options, cvy_loader **loader);
/* Adds the buffers that it will make where the set is not resident; batches are those of `growth`. Its
   labels' buffer is the caller's. `augment` may be NULL. */
void cvy_loader_sizes(convoy_device *device, const convoy_dataset *dataset, const cvy_image_spec *image,
                      const cvy_transforms *augment, cvy_growth growth, cvy_sizes *sizes);
extern const cvy_size cvy_loader_labels;
void cvy_loader_free(cvy_loader *loader); /* NULL is allowed; threads may be in the middle of their work */

/* Batches in an epoch. */
size_t cvy_loader_batches(const cvy_loader *loader);
/* Is the set on the device? */
bool cvy_loader_resident(const cvy_loader *loader);

/* Begins an epoch at batch `position` (0, or where a run continues). */
convoy_status cvy_loader_start(cvy_loader *loader, uint32_t epoch, size_t position);

/* Puts the next batch on the device: input [channels][height + 2 border][width + 2 border][pitch]
   float32, labels [pitch] int32, padding columns 0. *n images; 0 after the epoch's last batch. A damaged
   image is reported here, with its file's name; the call after it goes on with the next batch. With
   options.piece, each call gives the next piece of the batch; none reaches into the next batch. */
convoy_status cvy_loader_next(cvy_loader *loader, cvy_buffer *input, cvy_buffer *labels, int *n);
/* From now on the host makes a batch once more where the verifier says that it is its turn. NULL: none. */
void cvy_loader_verify(cvy_loader *loader, cvy_verifier *verifier);

/* The same of at most so many images; and images of that batch that nobody asks for here. */
convoy_status cvy_loader_next_of(cvy_loader *loader, int most, cvy_buffer *input, cvy_buffer *labels, int *n);
convoy_status cvy_loader_skip(cvy_loader *loader, int n);

/* The sum of weights[class] over the images of the batch that comes next; the set's labels are known. */
double cvy_loader_next_weight(const cvy_loader *loader, const float *weights);
/* How those that cvy_loader_next gave last are mixed; NULL: they are not. A part of a batch that comes by
   itself is mixed by itself. */
const cvy_mix *cvy_loader_mix(const cvy_loader *loader);
/* The images [n] that cvy_loader_next gave last, as indices into the set. */
const uint32_t *cvy_loader_indices(const cvy_loader *loader);

#endif
