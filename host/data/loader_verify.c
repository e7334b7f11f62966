/* A batch that the host makes once more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/loader_inside.h"

void cvy_loader_verify(cvy_loader *loader, cvy_verifier *verifier) {
    loader->verifier = verifier;
}

/* What the device's buffer holds at `offset` is what was uploaded. */
static convoy_status check_upload(const cvy_loader *loader, cvy_buffer *buffer, size_t offset,
                                  const void *data, size_t bytes, const char *what) {
    char *here = buffer ? malloc(bytes ? bytes : 1) : NULL;
    if (!buffer)
        return CONVOY_OK;
    convoy_status status =
        here ? cvy_buffer_read(buffer, offset, here, bytes) : cvy_fail_memory("a comparison", bytes);
    if (!status && memcmp(here, data, bytes) != 0) {
        cvy_difference difference;
        snprintf(difference.text, sizeof difference.text, "%s are not what was uploaded", what);
        status = cvy_verifier_fail(loader->verifier, "the making of a batch", &difference);
    }
    free(here);
    return status;
}

/* The pieces of memory that a batch is made of, as the loader has them. */
static convoy_status check_uploads(const cvy_loader *loader, const cvy_loader_store *store,
                                   const cvy_augment_source *from, size_t count, size_t offset) {
    const size_t bytes = cvy_dataset_image_bytes(loader->dataset), images = loader->dataset->count;
    convoy_status status = check_upload(loader, loader->indices, offset * sizeof(uint32_t), from->indices,
                                        count * sizeof(uint32_t), "the places of images");
    for (size_t i = 0; i < count && !loader->ahead && !status; i++)
        status = check_upload(loader, store->images, from->indices[i] * bytes,
                              (const char *)from->images + from->indices[i] * bytes, bytes, "the images");
    if (!status && !loader->ahead)
        status =
            check_upload(loader, store->labels, 0, from->all_labels, images * sizeof(int32_t), "the labels");
    if (!status && !loader->ahead)
        status = check_upload(loader, store->means, 0, store->host_means,
                              images * (size_t)loader->dataset->channels * sizeof(float), "the means");
    return status || !loader->looks ? status : cvy_looks_check(loader->looks, loader->verifier);
}

static convoy_status expect(const cvy_loader *loader, const char *name, cvy_buffer *buffer, bool exact,
                            cvy_buffer **host) {
    const cvy_cut cut = cvy_cut_whole(buffer);
    convoy_status status = cvy_verifier_copy(loader->verifier, buffer, cut, host);
    if (!status)
        cvy_verifier_expect(loader->verifier, &(cvy_expected){.name = name,
                                                              .device = buffer,
                                                              .host = *host,
                                                              .cut = cut,
                                                              .exact = exact,
                                                              .tolerance = 1e-4});
    return status;
}

/* Where the set is not on the device, the batch as it came there; identity, then, is what it is indexed by.
 */
static convoy_status source_of(const cvy_loader *loader, const cvy_loader_store *store, size_t count,
                               size_t offset, cvy_augment_source *from) {
    cvy_buffer *images, *labels, *indices;
    *from = (cvy_augment_source){.images = loader->dataset->images,
                                 .all_labels = loader->dataset->labels,
                                 .indices = loader->order + offset,
                                 .means = store->host_means};
    if (!loader->ahead)
        return CONVOY_OK;
    convoy_status status =
        cvy_verifier_copy(loader->verifier, store->images, cvy_cut_whole(store->images), &images);
    if (!status)
        status = cvy_verifier_copy(loader->verifier, store->labels, cvy_cut_whole(store->labels), &labels);
    if (!status)
        status = cvy_verifier_scratch(loader->verifier, count * sizeof(uint32_t), &indices);
    if (status)
        return status;
    from->images = cvy_buffer_host(images);
    from->all_labels = cvy_buffer_host(labels);
    from->indices = cvy_buffer_host(indices);
    for (size_t i = 0; i < count; i++)
        ((uint32_t *)cvy_buffer_host(indices))[i] = (uint32_t)(offset + i);
    return CONVOY_OK;
}

/* Images of another size than the model's, as the host makes them of those of the batch. */
static convoy_status resize_here(const cvy_loader *loader, size_t count, const cvy_augment_source *from,
                                 cvy_augment_source *made) {
    const cvy_image_spec *image = &loader->options.image;
    const cvy_gather_shape stored = cvy_loader_set_shape(loader->dataset, image, loader->options.pitch);
    cvy_buffer *images;
    *made = *from;
    if (!loader->resample)
        return CONVOY_OK;
    convoy_status status =
        cvy_verifier_scratch(loader->verifier,
                             count * (size_t)image->channels * (size_t)image->height * (size_t)image->width *
                                 (stored.floats ? sizeof(float) : 1),
                             &images);
    if (status)
        return status;
    made->images = cvy_buffer_host(images);
    return cvy_resample_reference(&stored, (int)count, from->images, from->indices, cvy_buffer_host(images));
}

/* From the batch as the device sampled it: steps on bytes begin with a rounding. */
static convoy_status finish_verified(cvy_loader *loader, size_t count, cvy_buffer *input) {
    cvy_buffer *images = NULL;
    cvy_difference difference;
    bool found = false;
    cvy_verifier_start(loader->verifier);
    convoy_status status = expect(loader, "batch", input, false, &images);
    if (!status)
        status = cvy_loader_finish(loader, count, input);
    if (status)
        return status;
    if (loader->looks && cvy_looks_step(loader->looks))
        cvy_looks_reference_steps(loader->looks, loader->begin, (int)count, cvy_buffer_host(images));
    if (loader->mixes)
        cvy_mix_reference(&loader->options.image, loader->options.pitch, (int)count, &loader->mix,
                          cvy_buffer_host(images));
    status = cvy_verifier_compare(loader->verifier, "the making of a batch", &found, &difference);
    return status || !found ? status
                            : cvy_verifier_fail(loader->verifier, "the making of a batch", &difference);
}

convoy_status cvy_loader_make_verified(cvy_loader *loader, const cvy_loader_store *store, size_t count,
                                       size_t offset, cvy_buffer *input, cvy_buffer *labels) {
    const cvy_gather_shape shape =
        cvy_loader_gather_shape(loader->dataset, &loader->options.image, loader->options.pitch);
    cvy_augment_source from, made;
    cvy_buffer *images = NULL, *classes = NULL;
    cvy_difference difference;
    bool found = false;
    cvy_verifier_start(loader->verifier);
    convoy_status status = source_of(loader, store, count, offset, &from);
    if (!status)
        status = expect(loader, "batch", input, false, &images);
    if (!status)
        status = expect(loader, "list of labels", labels, true, &classes);
    if (!status)
        status = cvy_loader_sample(loader, store, count, offset, input, labels);
    if (!status)
        status = resize_here(loader, count, &from, &made);
    if (status)
        return status;
    if (loader->looks)
        cvy_looks_reference(loader->looks, loader->begin, (int)count, &made, cvy_buffer_host(images),
                            cvy_buffer_host(classes));
    else
        cvy_gather_reference(&shape, (int)count, made.images, made.all_labels, made.indices,
                             cvy_buffer_host(images), cvy_buffer_host(classes));
    status = cvy_verifier_compare(loader->verifier, "the making of a batch", &found, &difference);
    if (!status && found)
        status = cvy_verifier_fail(loader->verifier, "the making of a batch", &difference);
    if (!status)
        status = check_uploads(loader, store, &from, count, offset);
    return status || cvy_loader_finished(loader) ? status : finish_verified(loader, count, input);
}
