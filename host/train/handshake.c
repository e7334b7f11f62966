/* Digests of all that must be the same, compared name by name. */
#include "train/handshake.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/machine.h"
#include "convoy/version.h"

typedef char digest[33];

/* In the order in which a difference is told: what comes first explains what comes later. */
enum { BUILD, KERNELS, MODEL, SETTINGS, DATA, WEIGHTS, VARIANTS, DEVICE, FIELDS };

static const char *const names[FIELDS][2] = {
    [BUILD] = {"build of Convoy", "install the same one on every machine"},
    [KERNELS] = {"kernel sources", "CONVOY_KERNEL_DIR must hold the same everywhere, or be unset"},
    [MODEL] = {"model or recipe", "give every rank the same file and the same --set"},
    [SETTINGS] = {"settings (batch size, micro-batch, pieces, seed, epochs, steps, shuffling, resuming)",
                  "give every rank the same options, and the same CONVOY_BUCKET_MB"},
    [DATA] = {"data set", "give every rank the same files and limits"},
    [WEIGHTS] = {"weights to begin with", "--init and --resume must find the same files"},
    [VARIANTS] = {"choice of kernel variants",
                  "CONVOY_TUNE=0 leaves it to heuristics, --variant forces it, and `convoy tune` measures"},
    [DEVICE] = {"device", ""},
};

static const size_t code_limit = (size_t)1 << 30;

convoy_status cvy_handshake_build(cvy_hash *hash) {
    char *path = cvy_machine_code_path(), *code = NULL;
    size_t size = 0;
    convoy_status status = path ? cvy_file_read(path, code_limit, &code, &size) : CONVOY_OK;
    cvy_hash_add_text(hash, convoy_version());
    cvy_hash_add(hash, code ? code : "", size);
    free(code);
    free(path);
    return status;
}

static void hash_settings(const convoy_trainer *t, cvy_hash *hash) {
    const convoy_train_options *o = &t->options;
    size_t buckets = 0;
    const cvy_bucket *list = cvy_buckets_list(t->pieces.buckets, &buckets);
    const unsigned long long numbers[] = {(unsigned long long)o->batch_size,
                                          (unsigned long long)o->micro_batch,
                                          t->pieces.count,
                                          o->seed,
                                          (unsigned long long)o->epochs,
                                          o->max_steps,
                                          (unsigned long long)o->eval_every,
                                          t->identity.shuffle,
                                          o->resume,
                                          (unsigned long long)t->position.step};
    cvy_hash_add(hash, numbers, sizeof numbers);
    for (size_t k = 0; k < buckets; k++) /* they travel in this order */
        cvy_hash_add(hash, &list[k].range, sizeof list[k].range);
}

static void hash_set(const convoy_dataset *set, cvy_hash *hash) {
    if (!set) {
        cvy_hash_add_text(hash, "none");
        return;
    }
    const size_t numbers[] = {set->count,         (size_t)set->channels, (size_t)set->height,
                              (size_t)set->width, (size_t)set->resize,   (size_t)set->short_side,
                              set->seed};
    cvy_hash_add(hash, numbers, sizeof numbers);
    for (int c = 0; c < set->classes; c++)
        cvy_hash_add_text(hash, set->class_names[c]);
    if (set->labels)
        cvy_hash_add(hash, set->labels, set->count * sizeof *set->labels);
    if (set->images)
        cvy_hash_add(hash, set->images, set->count * cvy_dataset_image_bytes(set));
    for (size_t i = 0; set->paths && i < set->count; i++) { /* they lie elsewhere on each machine */
        const char *slash = strrchr(set->paths[i], '/');
        long long size, changed;
        cvy_file_stamp(set->paths[i], &size, &changed);
        cvy_hash_add_text(hash, slash ? slash + 1 : set->paths[i]);
        cvy_hash_add(hash, &size, sizeof size);
    }
}

static convoy_status hash_weights(const convoy_trainer *t, cvy_hash *hash) {
    cvy_named_tensor *tensors = NULL;
    size_t count = 0;
    convoy_status status = cvy_model_state(t->model, &tensors, &count);
    for (size_t i = 0; i < count && !status; i++)
        cvy_hash_add(hash, tensors[i].data, tensors[i].bytes);
    free(tensors);
    return status;
}

static void hash_device(const convoy_trainer *t, cvy_hash *hash) {
    const int units = cvy_device_get_traits(t->device)->compute_units;
    cvy_hash_add_text(hash, convoy_device_get_info(t->device)->name);
    cvy_hash_add(hash, &units, sizeof units);
}

static convoy_status fill(const convoy_trainer *t, int field, digest out) {
    cvy_hash *hash = cvy_hash_create();
    cvy_text text = {0};
    convoy_status status = CONVOY_OK;
    if (field == BUILD)
        status = cvy_handshake_build(hash);
    else if (field == KERNELS)
        status = cvy_kernel_sources(hash);
    else if (field == MODEL)
        cvy_hash_add_text(hash, t->model_text);
    else if (field == SETTINGS)
        hash_settings(t, hash);
    else if (field == WEIGHTS)
        status = hash_weights(t, hash);
    else if (field == DEVICE)
        hash_device(t, hash);
    else if (field == VARIANTS)
        cvy_network_print_variants(t->network, &text);
    for (int i = 0; field == DATA && i < 3; i++)
        hash_set(i == 0 ? t->set : i == 1 ? t->test : t->validation, hash);
    cvy_hash_add_text(hash, cvy_text_get(&text));
    cvy_hash_finish(hash, out);
    cvy_text_free(&text);
    return status;
}

static convoy_status compare(const cvy_collective *c, const digest (*all)[FIELDS], bool *unlike) {
    *unlike = false;
    for (int r = 1; r < cvy_ranks(c); r++)
        *unlike |= strcmp(all[r][DEVICE], all[0][DEVICE]) != 0;
    for (int field = 0; field < FIELDS; field++)
        for (int r = 1; r < cvy_ranks(c); r++) {
            if (field == DEVICE || (field == VARIANTS && *unlike) ||
                strcmp(all[r][field], all[0][field]) == 0)
                continue;
            char *first = strdup(cvy_collective_name(c, 0));
            convoy_status status =
                cvy_fail(CONVOY_INVALID, "%s has another %s than %s: %s", cvy_collective_name(c, r),
                         names[field][0], first ? first : "rank 0", names[field][1]);
            free(first);
            return status;
        }
    return CONVOY_OK;
}

convoy_status cvy_handshake(convoy_trainer *t, bool *unlike) {
    convoy_status own = CONVOY_OK;
    digest mine[FIELDS] = {{0}}, (*all)[FIELDS] = calloc((size_t)cvy_ranks(t->collective), sizeof *all);
    if (!all)
        return cvy_fail_memory("the handshake of ranks", sizeof mine);
    for (int field = 0; field < FIELDS && !own; field++)
        own = fill(t, field, mine[field]);
    convoy_status status =
        cvy_collective_gather_alike(t->collective, "handshake", own, mine, sizeof mine, all);
    if (!status)
        status = compare(t->collective, (const digest(*)[FIELDS])all, unlike);
    free(all);
    return status;
}

convoy_status cvy_handshake_devices(convoy_trainer *t, bool *unlike) {
    digest mine = {0}, *all = calloc((size_t)cvy_ranks(t->collective), sizeof *all);
    if (!all)
        return cvy_fail_memory("the handshake of ranks", sizeof mine);
    convoy_status status =
        cvy_collective_gather_alike(t->collective, "devices", fill(t, DEVICE, mine), mine, sizeof mine, all);
    *unlike = false;
    for (int r = 1; r < cvy_ranks(t->collective) && !status; r++)
        *unlike |= strcmp(all[r], all[0]) != 0;
    free(all);
    return status;
}

convoy_status cvy_handshake_of(cvy_collective *collective, convoy_network *network, convoy_device *device,
                               convoy_dataset *set) {
    convoy_trainer about = {.model = cvy_network_model(network),
                            .device = device,
                            .set = set,
                            .network = network,
                            .collective = collective,
                            .options.batch_size = cvy_network_batch_size(network),
                            .model_text = cvy_identity_model(cvy_network_model(network))};
    bool unlike;
    convoy_status status = cvy_handshake(&about, &unlike);
    free(about.model_text);
    return status;
}

convoy_status cvy_network_create_on_ranks(cvy_collective *c, convoy_model *model, convoy_device *device,
                                          const cvy_network_options *options, convoy_network **network) {
    const bool ranks = cvy_ranks(c) > 1, follows = cvy_rank(c) > 0;
    convoy_status status = ranks && follows ? cvy_collective_agree(c, "network", CONVOY_OK) : CONVOY_OK;
    if (!status)
        status = cvy_network_create(model, device, options, network);
    return ranks && !follows ? cvy_collective_agree(c, "network", status) : status;
}
