/* The order of an epoch, and its way to the device. */
#include <stdlib.h>
#include <string.h>

#include "base/integer.h"
#include "base/log.h"
#include "base/rng.h"
#include "data/loader_inside.h"

enum { BUFFERS = 1 + 3 * CVY_LOADER_STORES };

const cvy_size cvy_loader_labels = {"labels", sizeof(int32_t), CVY_PER_COLUMN};

/* ---- Creation ---- */

/* As the set has its images. */
cvy_gather_shape cvy_loader_set_shape(const convoy_dataset *dataset, const cvy_image_spec *image, int pitch) {
    return (cvy_gather_shape){.pitch = pitch,
                              .in_height = dataset->height,
                              .in_width = dataset->width,
                              .image = *image,
                              .floats = dataset->floats};
}

/* Are they brought to the model's size here? Those that the recipe's `resize` made have it. */
static bool is_resized(const convoy_dataset *dataset, const cvy_image_spec *image) {
    if (dataset->extents)
        return false;
    return dataset->height != image->height || dataset->width != image->width ||
           (dataset->unfitted && cvy_resampling_needed(image, dataset->height, dataset->width));
}

/* As they are made a batch of. */
cvy_gather_shape cvy_loader_gather_shape(const convoy_dataset *dataset, const cvy_image_spec *image,
                                         int pitch) {
    cvy_gather_shape shape = cvy_loader_set_shape(dataset, image, pitch);
    if (is_resized(dataset, image)) {
        shape.in_height = image->height;
        shape.in_width = image->width;
        shape.in_order = true;
    }
    return shape;
}

static convoy_status check(const convoy_dataset *dataset, const cvy_loader_options *options) {
    int piece = options->piece ? options->piece : options->batch_size;
    if (options->batch_size < 1 || piece < 1 || options->pitch < piece)
        return cvy_fail(CONVOY_INVALID, "a batch of %d images, %d at once in a pitch of %d, is not possible",
                        options->batch_size, piece, options->pitch);
    if (dataset->channels != options->image.channels)
        return cvy_fail(CONVOY_INVALID, "%s has %d channels, not %d", dataset->name, dataset->channels,
                        options->image.channels);
    const cvy_gather_shape shape = cvy_loader_set_shape(dataset, &options->image, options->pitch);
    return cvy_gather_check(&shape);
}

static void free_buffers(cvy_loader *loader) {
    for (int s = 0; s < CVY_LOADER_STORES; s++) {
        cvy_loader_store *store = &loader->stores[s];
        cvy_transfer_free(store->transfer); /* before what it reads and writes */
        cvy_buffer_free(store->images);
        cvy_buffer_free(store->labels);
        cvy_buffer_free(store->means);
        free(store->host_means); /* NOLINT(clang-analyzer-unix.Malloc): once, the line below forgets it */
        *store = (cvy_loader_store){0};
    }
    cvy_buffer_free(loader->indices);
    loader->indices = NULL;
}

/* Each image is looked at in a way of its own where something is drawn for it, or where it is cropped here.
 */
static bool has_looks(const convoy_dataset *dataset, const cvy_transforms *augment) {
    return dataset->extents || (augment && cvy_transforms_of_images(augment));
}

static const cvy_transforms nothing = {NULL, 0};

/* False where it cannot be, which is told when they are made. */
static bool describe_looks(const convoy_dataset *dataset, const cvy_gather_shape *shape,
                           const cvy_transforms *augment, cvy_augment_shape *about) {
    return has_looks(dataset, augment) &&
           !cvy_augment_describe(shape, augment ? augment : &nothing,
                                 dataset->extents ? dataset->covers : NULL, about);
}

/* What each image takes: its place in the order, and its pixels and its label in each store, and its means.
 */
static size_t list_buffers(const convoy_dataset *dataset, int stores, bool means, cvy_growth growth,
                           cvy_size list[BUFFERS]) {
    const size_t channels = (size_t)dataset->channels;
    size_t count = 0;
    list[count++] = (cvy_size){"the order of images", sizeof(uint32_t), growth};
    for (int s = 0; s < stores; s++) {
        list[count++] = (cvy_size){"the data set's images", cvy_dataset_image_bytes(dataset), growth};
        list[count++] = (cvy_size){"the data set's labels", sizeof(int32_t), growth};
    }
    for (int s = 0; s < stores && means; s++)
        list[count++] = (cvy_size){"the images' means", channels * sizeof(float), growth};
    return count;
}

static convoy_status create_buffers(cvy_loader *loader, convoy_device *device, size_t count, int stores) {
    cvy_buffer **buffers[BUFFERS] = {&loader->indices};
    for (int s = 0; s < stores; s++) {
        cvy_loader_store *store = &loader->stores[s];
        buffers[1 + 2 * s] = &store->images;
        buffers[2 + 2 * s] = &store->labels;
        buffers[1 + 2 * stores + s] = &store->means;
    }
    cvy_size list[BUFFERS];
    const size_t listed = list_buffers(loader->dataset, stores, loader->means, CVY_PER_BATCH, list);
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < listed && !status; i++)
        status = cvy_size_create(device, &list[i], count, buffers[i]);
    const size_t bytes = count * (size_t)loader->dataset->channels * sizeof(float);
    for (int s = 0; s < stores && loader->means && !status; s++) {
        loader->stores[s].host_means = malloc(bytes);
        if (!loader->stores[s].host_means)
            status = cvy_fail_memory("the images' means", bytes);
    }
    if (status)
        free_buffers(loader);
    return status;
}

static bool fits(const convoy_dataset *dataset, bool means, size_t budget, const cvy_device_traits *traits) {
    cvy_size list[BUFFERS];
    const size_t listed = list_buffers(dataset, 1, means, CVY_FIXED_SIZE, list);
    size_t all = 0;
    for (size_t i = 0; i < listed; i++)
        all += cvy_buffer_footprint(dataset->count * list[i].bytes);
    return dataset->images && all <= budget && all <= traits->memory / 2 &&
           dataset->count * cvy_dataset_image_bytes(dataset) <= traits->max_allocation;
}

void cvy_loader_sizes(convoy_device *device, const convoy_dataset *dataset, const cvy_image_spec *image,
                      const cvy_transforms *augment, cvy_growth growth, cvy_sizes *sizes) {
    const cvy_gather_shape shape = cvy_loader_gather_shape(dataset, image, 0),
                           stored = cvy_loader_set_shape(dataset, image, 0);
    if (is_resized(dataset, image))
        cvy_resample_sizes(cvy_device_get_traits(device), &stored, sizes);
    cvy_augment_shape about = {.frame = {.contrasts = false}};
    if (describe_looks(dataset, &shape, augment, &about))
        cvy_looks_sizes(device, &about, growth, sizes);
    else if (!has_looks(dataset, augment))
        cvy_gather_sizes(cvy_device_get_traits(device), &shape, sizes);
    cvy_size list[BUFFERS];
    const size_t listed = list_buffers(dataset, CVY_LOADER_STORES, about.frame.contrasts, growth, list);
    for (size_t i = 0; i < listed; i++)
        cvy_sizes_add(sizes, list[i]);
}

/* Of images order[0..count-1], or of the first ones. */
static void compute_means(const cvy_loader *loader, const cvy_loader_store *store, const uint8_t *images,
                          const uint32_t *order, size_t count) {
    const convoy_dataset *dataset = loader->dataset;
    const cvy_gather_shape shape =
        cvy_loader_set_shape(dataset, &loader->options.image, loader->options.pitch);
    const size_t bytes = cvy_dataset_image_bytes(dataset), channels = (size_t)dataset->channels;
    const int all[2] = {dataset->height, dataset->width};
    for (size_t i = 0; i < count; i++) {
        const uint8_t *image = images + i * bytes;
        float *means = store->host_means + i * channels;
        const int *extent = dataset->extents ? dataset->extents[order ? order[i] : i] : all;
        if (loader->resample)
            cvy_resample_means(loader->resample, image, means);
        else
            cvy_augment_means(&shape, image, extent[0], extent[1], means);
    }
}

/* Leaves the buffers NULL, without failing, where the set does not fit after all. */
static convoy_status upload_set(cvy_loader *loader, convoy_device *device) {
    const convoy_dataset *dataset = loader->dataset;
    if (!fits(dataset, loader->means, loader->options.device_budget, cvy_device_get_traits(device)))
        return CONVOY_OK;
    convoy_status status = create_buffers(loader, device, dataset->count, 1);
    if (!status)
        status = cvy_buffer_write(loader->stores[0].images, 0, dataset->images,
                                  dataset->count * cvy_dataset_image_bytes(dataset));
    if (!status)
        status = cvy_buffer_write(loader->stores[0].labels, 0, dataset->labels,
                                  dataset->count * sizeof *dataset->labels);
    if (!status && loader->means) {
        compute_means(loader, &loader->stores[0], dataset->images, NULL, dataset->count);
        status = cvy_buffer_write(loader->stores[0].means, 0, loader->stores[0].host_means,
                                  cvy_buffer_bytes(loader->stores[0].means));
    }
    if (status != CONVOY_MEMORY)
        return status;
    cvy_debug("%s does not fit on the device and is uploaded batch by batch: %s", dataset->name,
              convoy_error_message());
    free_buffers(loader);
    return CONVOY_OK;
}

/* For sets that are not on the device: threads, buffers for two batches, and the indices 0, 1, 2, ... */
static convoy_status prepare_stream(cvy_loader *loader, convoy_device *device) {
    const size_t batch_size = (size_t)loader->options.share;
    convoy_status status =
        cvy_prefetch_create(loader->dataset, loader->options.share, loader->options.threads, &loader->ahead);
    if (!status && loader->options.share < loader->options.batch_size &&
        !(loader->own = malloc(loader->dataset->count * sizeof *loader->own)))
        status = cvy_fail_memory("the order of images", loader->dataset->count * sizeof *loader->own);
    if (!status)
        status = create_buffers(loader, device, batch_size, CVY_LOADER_STORES);
    for (int s = 0; s < CVY_LOADER_STORES && !status; s++)
        status = cvy_transfer_create(device, &loader->stores[s].transfer);
    uint32_t *identity = malloc(batch_size * sizeof *identity);
    if (!status && !identity)
        status = cvy_fail_memory("the order of images", batch_size * sizeof *identity);
    for (size_t i = 0; !status && i < batch_size; i++)
        identity[i] = (uint32_t)i;
    if (!status)
        status = cvy_buffer_write(loader->indices, 0, identity, batch_size * sizeof *identity);
    free(identity);
    return status;
}

/* Lists the images by class; classes without images are left out. */
static convoy_status list_members(cvy_loader *loader) {
    const convoy_dataset *set = loader->dataset;
    if (!loader->options.balanced)
        return CONVOY_OK;
    loader->members = malloc(set->count * sizeof *loader->members);
    loader->begins = calloc((size_t)set->classes + 1, sizeof *loader->begins);
    if (!loader->members || !loader->begins)
        return cvy_fail_memory("the images by class", set->count * sizeof *loader->members);
    cvy_list_by_class(set->labels, set->count, set->classes, loader->begins, loader->members);
    for (int c = 0; c < set->classes; c++)
        if (loader->begins[c + 1] > loader->begins[c])
            loader->begins[++loader->classes] = loader->begins[c + 1];
    return CONVOY_OK;
}

static void draw_balanced(cvy_loader *loader, uint32_t epoch) {
    cvy_rng rng = cvy_rng_stream(loader->options.seed, CVY_RNG_SAMPLER, epoch);
    for (size_t i = 0; i < loader->dataset->count; i++) {
        const size_t *class = &loader->begins[cvy_rng_below(&rng, (uint32_t)loader->classes)];
        loader->order[i] = loader->members[class[0] + cvy_rng_below(&rng, (uint32_t)(class[1] - class[0]))];
    }
}

/* What draws for each image, and looks at it so. */
static convoy_status create_looks(cvy_loader *loader, convoy_device *device, const cvy_gather_shape *shape) {
    const cvy_loader_options *options = &loader->options;
    const convoy_dataset *dataset = loader->dataset;
    const cvy_transforms *augment = options->augment ? options->augment : &nothing;
    cvy_augment_shape about;
    loader->means = describe_looks(dataset, shape, augment, &about) && about.frame.contrasts;
    return cvy_looks_create(device, dataset, shape, augment, options->seed, options->batch_size,
                            &loader->looks);
}

/* What makes a batch. The set is kept on the device where half of what is left behind that is enough. */
static convoy_status create_launch(cvy_loader *loader, convoy_device *device) {
    const cvy_loader_options *options = &loader->options;
    const convoy_dataset *dataset = loader->dataset;
    const cvy_gather_shape shape = cvy_loader_gather_shape(dataset, &options->image, options->pitch),
                           stored = cvy_loader_set_shape(dataset, &options->image, options->pitch);
    convoy_status status = CONVOY_OK;
    loader->mixes = options->augment && cvy_transforms_mix(options->augment);
    if (loader->mixes)
        status = cvy_mixer_prepare(device, &options->image, options->pitch, &loader->mixer);
    const size_t before = cvy_device_get_counters(device).bytes;
    if (!status && is_resized(dataset, &options->image))
        status = cvy_resample_create(device, &stored, &loader->resample);
    if (!status && !has_looks(dataset, options->augment))
        status = cvy_gather_create(device, &shape, &loader->gather);
    else if (!status)
        status = create_looks(loader, device, &shape);
    const size_t half = (cvy_device_get_counters(device).bytes - before + 1) / 2;
    if (!loader->gather || loader->resample)
        loader->options.device_budget -= half < options->device_budget ? half : options->device_budget;
    return status;
}

convoy_status cvy_loader_create(convoy_device *device, const convoy_dataset *dataset,
                                const cvy_loader_options *options, cvy_loader **result) {
    *result = NULL;
    convoy_status status = check(dataset, options);
    if (status)
        return status;
    cvy_loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return cvy_fail_memory("a loader", sizeof *loader);
    loader->dataset = dataset;
    loader->options = *options;
    if (!options->piece)
        loader->options.piece = options->batch_size;
    if (!options->share)
        loader->options.share = options->batch_size;
    size_t batch_size = (size_t)options->batch_size;
    loader->batches = dataset->count / batch_size + (dataset->count % batch_size != 0);
    loader->batch = loader->batches; /* nothing before the first start */
    loader->order = malloc(dataset->count * sizeof *loader->order);
    if (!loader->order)
        status = cvy_fail_memory("the order of images", dataset->count * sizeof *loader->order);
    if (!status)
        status = create_launch(loader, device);
    if (!status)
        status = list_members(loader);
    if (!status)
        status = upload_set(loader, device);
    if (!status && !loader->stores[0].images)
        status = prepare_stream(loader, device);
    if (!status)
        *result = loader;
    else
        cvy_loader_free(loader);
    return status;
}

void cvy_loader_free(cvy_loader *loader) {
    if (!loader)
        return;
    free_buffers(loader); /* uploads read the memory of `ahead` */
    cvy_prefetch_free(loader->ahead);
    cvy_resample_free(loader->resample);
    cvy_gather_free(loader->gather);
    cvy_looks_free(loader->looks);
    free(loader->order);
    free(loader->own);
    free(loader->members);
    free(loader->begins);
    free(loader);
}

size_t cvy_loader_batches(const cvy_loader *loader) {
    return loader->batches;
}

bool cvy_loader_resident(const cvy_loader *loader) {
    return !loader->ahead;
}

/* ---- Batches ---- */

static size_t images_in(const cvy_loader *loader, size_t batch) {
    size_t batch_size = (size_t)loader->options.batch_size,
           left = loader->dataset->count - batch * batch_size;
    return left < batch_size ? left : batch_size;
}

/* How many of a batch are asked for here. */
static size_t own_in(const cvy_loader *loader, size_t batch) {
    const size_t n = images_in(loader, batch), first = (size_t)loader->options.first;
    return min_size(n, first + (size_t)loader->options.share) - min_size(n, first);
}

/* The part of the epoch's order that is asked for here, batch by batch. */
static const uint32_t *list_own(cvy_loader *loader, size_t *count) {
    *count = 0;
    for (size_t b = 0; b < loader->batches; b++) {
        const size_t n = own_in(loader, b);
        if (loader->own && n)
            memcpy(loader->own + *count,
                   loader->order + b * (size_t)loader->options.batch_size + (size_t)loader->options.first,
                   n * sizeof *loader->own);
        *count += n;
    }
    return loader->own ? loader->own : loader->order;
}

/* Ends what a former epoch left under way: its uploads before their memory is decoded into again, and its
   launches before a buffer that they read is uploaded into. */
static convoy_status end_stream(cvy_loader *loader) {
    convoy_status status = CONVOY_OK;
    for (int s = 0; s < CVY_LOADER_STORES && !status; s++) {
        status = cvy_transfer_finish(loader->stores[s].transfer);
        if (!status)
            status = cvy_transfer_after_launches(loader->stores[s].transfer);
    }
    if (!status) /* before `order` changes under its threads */
        cvy_prefetch_start(loader->ahead, NULL, 0, 0);
    return status;
}

convoy_status cvy_loader_start(cvy_loader *loader, uint32_t epoch, size_t position) {
    size_t count = loader->dataset->count;
    if (position > loader->batches)
        return cvy_fail(CONVOY_INVALID, "an epoch of %zu batches cannot begin at batch %zu", loader->batches,
                        position);
    convoy_status status = loader->ahead ? end_stream(loader) : CONVOY_OK;
    if (status)
        return status;
    if (loader->options.balanced) {
        draw_balanced(loader, epoch);
    } else if (loader->options.shuffle) {
        cvy_rng rng = cvy_rng_stream(loader->options.seed, CVY_RNG_SHUFFLE, epoch);
        cvy_rng_shuffle(&rng, loader->order, count);
    } else {
        for (size_t i = 0; i < count; i++)
            loader->order[i] = (uint32_t)i;
    }
    loader->batch = loader->uploaded = position;
    loader->epoch = epoch;
    loader->left = 0;
    if (loader->looks)
        cvy_looks_start(loader->looks, epoch, loader->order, count, position);
    if (!loader->ahead)
        return cvy_buffer_write(loader->indices, 0, loader->order, count * sizeof *loader->order);
    const uint32_t *own = list_own(loader, &count);
    cvy_prefetch_start(loader->ahead, own, count, position);
    return CONVOY_OK;
}

/* Sends the next batch of the threads on its way. Its store's former upload has ended before the threads may
   overwrite what that one read. */
static convoy_status upload_batch(cvy_loader *loader) {
    const uint8_t *images;
    const int32_t *labels;
    int n;
    cvy_loader_store *store = &loader->stores[loader->uploaded++ % CVY_LOADER_STORES];
    convoy_status status = cvy_transfer_finish(store->transfer);
    if (!status)
        status = cvy_prefetch_next(loader->ahead, &images, &labels, &n);
    if (!status)
        status = cvy_transfer_start(store->transfer, store->images, 0, images,
                                    (size_t)n * cvy_dataset_image_bytes(loader->dataset));
    if (!status)
        status = cvy_transfer_start(store->transfer, store->labels, 0, labels, (size_t)n * sizeof *labels);
    if (status || !loader->means)
        return status;
    const uint32_t *order = loader->own ? loader->own : loader->order;
    compute_means(loader, store, images, order + (loader->uploaded - 1) * (size_t)loader->options.share,
                  (size_t)n);
    return cvy_transfer_start(store->transfer, store->means, 0, store->host_means,
                              (size_t)n * (size_t)loader->dataset->channels * sizeof(float));
}

/* The batch in a store was gathered: what comes into it next waits for that. The batch after it is sent on
   its way now if it is decoded; if not, when it is asked for, so that the step before it does not wait here.
 */
static convoy_status leave_store(cvy_loader *loader, cvy_loader_store *store) {
    convoy_status status = cvy_transfer_after_launches(store->transfer);
    if (!status && cvy_prefetch_ready(loader->ahead))
        status = upload_batch(loader);
    return status;
}

static cvy_loader_store *store_of(cvy_loader *loader, size_t batch) {
    return &loader->stores[loader->ahead ? batch % CVY_LOADER_STORES : 0];
}

/* Makes the next batch the one in progress. */
static convoy_status begin_batch(cvy_loader *loader) {
    size_t batch = loader->batch++;
    convoy_status status = CONVOY_OK;
    const bool streams = loader->ahead && own_in(loader, batch);
    if (streams && loader->uploaded <= batch)
        status = upload_batch(loader);
    if (!status && streams)
        status = cvy_transfer_before_launches(store_of(loader, batch)->transfer);
    if (status)
        return status;
    loader->begin = batch * (size_t)loader->options.batch_size;
    loader->left = images_in(loader, batch);
    return CONVOY_OK;
}

/* `count` images of the batch in progress, whose indices begin at `offset`. */
convoy_status cvy_loader_sample(cvy_loader *loader, const cvy_loader_store *store, size_t count,
                                size_t offset, cvy_buffer *input, cvy_buffer *labels) {
    cvy_buffer *images = store->images;
    convoy_status status = CONVOY_OK;
    if (loader->resample)
        status =
            cvy_resample_run(loader->resample, (int)count, store->images, loader->indices, offset, &images);
    if (status)
        return status;
    if (!loader->looks)
        return cvy_gather_run(loader->gather, (int)count, images, store->labels, loader->indices, offset,
                              input, labels);
    cvy_augment_operands on = {.n = (int)count,
                               .images = images,
                               .all_labels = store->labels,
                               .indices = loader->indices,
                               .index_offset = offset,
                               .means = store->means,
                               .y = input,
                               .labels = labels};
    return cvy_looks_run(loader->looks, loader->begin, &on);
}

/* What is done to a batch that is sampled. */
bool cvy_loader_finished(const cvy_loader *loader) {
    return !loader->mixes && !(loader->looks && cvy_looks_step(loader->looks));
}

convoy_status cvy_loader_finish(cvy_loader *loader, size_t count, cvy_buffer *input) {
    convoy_status status = CONVOY_OK;
    if (loader->looks && cvy_looks_step(loader->looks))
        status = cvy_looks_run_steps(loader->looks, loader->begin, (int)count, input);
    if (status || !loader->mixes)
        return status;
    cvy_transforms_draw_mix(loader->options.augment, loader->options.seed, loader->epoch, loader->begin,
                            &loader->options.image, &loader->mix);
    return cvy_mixer_run(&loader->mixer, (int)count, &loader->mix, input);
}

static convoy_status make_images(cvy_loader *loader, const cvy_loader_store *store, size_t count,
                                 size_t offset, cvy_buffer *input, cvy_buffer *labels) {
    convoy_status status = cvy_loader_sample(loader, store, count, offset, input, labels);
    return status ? status : cvy_loader_finish(loader, count, input);
}

const cvy_mix *cvy_loader_mix(const cvy_loader *loader) {
    return loader->mixes ? &loader->mix : NULL;
}

convoy_status cvy_loader_skip(cvy_loader *loader, int n) {
    if (n < 1)
        return CONVOY_OK;
    convoy_status status = loader->left || loader->batch >= loader->batches ? CONVOY_OK : begin_batch(loader);
    if (status)
        return status;
    const size_t count = min_size((size_t)n, loader->left);
    if (count && count == loader->left && loader->ahead)
        status = leave_store(loader, store_of(loader, loader->batch - 1));
    loader->begin += count;
    loader->left -= count;
    return status;
}

/* ---- The next images ---- */

convoy_status cvy_loader_next(cvy_loader *loader, cvy_buffer *input, cvy_buffer *labels, int *n) {
    return cvy_loader_next_of(loader, loader->options.piece, input, labels, n);
}

convoy_status cvy_loader_next_of(cvy_loader *loader, int most, cvy_buffer *input, cvy_buffer *labels,
                                 int *n) {
    *n = 0;
    if (!loader->left && loader->batch >= loader->batches)
        return CONVOY_OK;
    convoy_status status = loader->left ? CONVOY_OK : begin_batch(loader);
    if (status)
        return status;
    size_t count = min_size(loader->left, (size_t)most);
    const size_t place = loader->begin % (size_t)loader->options.batch_size,
                 first = (size_t)loader->options.first;
    if (place < first || place + count > first + (size_t)loader->options.share)
        return cvy_fail(CONVOY_FAILED,
                        "internal error: images %zu to %zu of a batch were said not to be wanted", place,
                        place + count);
    size_t offset = loader->ahead ? place - first : loader->begin;
    cvy_loader_store *store = store_of(loader, loader->batch - 1);
    status = cvy_verifier_takes(loader->verifier)
                 ? cvy_loader_make_verified(loader, store, count, offset, input, labels)
                 : make_images(loader, store, count, offset, input, labels);
    if (!status && loader->ahead && count == loader->left)
        status = leave_store(loader, store);
    if (status)
        return status;
    loader->given = loader->begin;
    loader->begin += count;
    loader->left -= count;
    *n = (int)count;
    return CONVOY_OK;
}

double cvy_loader_next_weight(const cvy_loader *loader, const float *weights) {
    const uint32_t *order = loader->order + loader->batch * (size_t)loader->options.batch_size;
    double sum = 0;
    for (size_t i = 0; loader->batch < loader->batches && i < images_in(loader, loader->batch); i++)
        sum += (double)weights[loader->dataset->labels[order[i]]];
    return sum;
}

const uint32_t *cvy_loader_indices(const cvy_loader *loader) {
    return loader->order + loader->given;
}
