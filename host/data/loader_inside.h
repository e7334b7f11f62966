/* The inside of a loader, shared by loader.c and loader_verify.c. */
#ifndef CVY_DATA_LOADER_INSIDE_H
#define CVY_DATA_LOADER_INSIDE_H

#include "data/dataset.h"
#include "data/loader.h"
#include "data/looks.h"
#include "data/prefetch.h"
#include "ops/resample.h"

/* Images on the device as bytes, and their labels. */
typedef struct cvy_loader_store {
    cvy_buffer *images, *labels;
    cvy_buffer *means;      /* of each image's channels; NULL where nothing asks for them */
    float *host_means;      /* what is on its way there */
    cvy_transfer *transfer; /* NULL: the set is resident */
} cvy_loader_store;

enum {
    CVY_LOADER_STORES = 2
}; /* while one batch is gathered from, the next one is uploaded into the other */

struct cvy_loader {
    const convoy_dataset *dataset;
    cvy_loader_options options;
    size_t batches;
    uint32_t *order;     /* [count], the epoch's */
    uint32_t *own;       /* [count], of it what is asked for here, where that is not all; else NULL */
    size_t batch;        /* next */
    size_t begin, left;  /* of the batch in progress: the next piece's place in the order, images to come */
    size_t given;        /* place in the order of the piece that was given last */
    uint32_t *members;   /* [count], for balanced ones: the images by class */
    size_t *begins;      /* [classes + 1]: where each class that has images begins in them, and the end */
    size_t classes;      /* that have images */
    cvy_prefetch *ahead; /* NULL: the set is on the device */
    cvy_resample *resample; /* NULL: images have the size of the model's */
    cvy_gather *gather;     /* NULL where `looks` are looked at */
    cvy_looks *looks;
    bool means; /* they ask for the images' */
    bool mixes; /* images of a batch */
    cvy_mixer mixer;
    cvy_mix mix; /* of what was given last */
    uint32_t epoch;
    /* Resident: the whole set in the first, and the epoch's order. Otherwise batch b in stores[b %
       CVY_LOADER_STORES], and 0, 1, 2, ... */
    cvy_loader_store stores[CVY_LOADER_STORES];
    cvy_buffer *indices;
    size_t uploaded; /* streamed: batches below this one were fetched, or failed */
    cvy_verifier *verifier;
};

/* As the set has its images; as they are made a batch of. */
cvy_gather_shape cvy_loader_set_shape(const convoy_dataset *dataset, const cvy_image_spec *image, int pitch);
cvy_gather_shape cvy_loader_gather_shape(const convoy_dataset *dataset, const cvy_image_spec *image,
                                         int pitch);

/* `count` images of the batch in progress, whose indices begin at `offset`. */
convoy_status cvy_loader_sample(cvy_loader *loader, const cvy_loader_store *store, size_t count,
                                size_t offset, cvy_buffer *input, cvy_buffer *labels);
/* Is nothing done to a batch that is sampled? What is, otherwise. */
bool cvy_loader_finished(const cvy_loader *loader);
convoy_status cvy_loader_finish(cvy_loader *loader, size_t count, cvy_buffer *input);

/* Both, and beside them the same by the host. */
convoy_status cvy_loader_make_verified(cvy_loader *loader, const cvy_loader_store *store, size_t count,
                                       size_t offset, cvy_buffer *input, cvy_buffer *labels);

#endif
