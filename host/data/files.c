/* Listing the files of a prediction and reading them chunk by chunk. */
#include "data/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/threads.h"
#include "data/dataset.h"
#include "data/idx.h"
#include "data/image.h"

enum { DEPTH_LIMIT = 32, CHUNK_IMAGES = 1024, CHUNK_BYTES = 32 << 20 };

typedef struct entry {
    char *path;
    bool idx;
} entry;

struct cvy_files {
    cvy_files_options options;
    entry *entries;
    size_t count, at, images;
    cvy_idx_stream idx;  /* of entries[at] */
    convoy_dataset *set; /* the chunk's */
};

/* ---- Listing ---- */

/* Takes `path`, which is malloc'ed. An IDX file that is damaged counts as one image, and is refused later. */
static convoy_status add_file(cvy_files *files, char *path) {
    size_t count = files->count;
    if ((count & (count - 1)) == 0) {
        entry *larger = realloc(files->entries, (count ? 2 * count : 1) * sizeof *larger);
        if (!larger) {
            free(path);
            return cvy_fail_memory("a list of images", 2 * count * sizeof *larger);
        }
        files->entries = larger;
    }
    cvy_idx_stream stream = {.about = {.stored = 1}};
    bool idx = cvy_idx_is_images(path);
    files->images += idx && !cvy_idx_start(path, 3, &stream) ? stream.about.stored : 1;
    cvy_idx_end(&stream);
    files->entries[files->count++] = (entry){path, idx};
    return CONVOY_OK;
}

/* A folder and those that it lies in. */
typedef struct trail {
    const struct trail *outer;
    dev_t device;
    ino_t number;
} trail;

/* Does a link lead back to where it is? */
static bool is_loop(const trail *here, const trail *outer) {
    while (outer && (outer->device != here->device || outer->number != here->number))
        outer = outer->outer;
    return outer;
}

static convoy_status add_folder(cvy_files *files, const char *folder, const trail *outer, int depth) {
    char **names;
    size_t count;
    struct stat info;
    if (depth > DEPTH_LIMIT)
        return cvy_fail(CONVOY_INVALID, "%s: folders are nested more than %d deep", folder, DEPTH_LIMIT);
    if (stat(folder, &info) != 0)
        return cvy_fail(CONVOY_IO, "%s: %s", folder, strerror(errno));
    const trail here = {outer, info.st_dev, info.st_ino};
    if (is_loop(&here, outer))
        return CONVOY_OK;
    convoy_status status = cvy_folder_list(folder, &names, &count);
    if (status)
        return status;
    for (size_t i = 0; i < count && !status; i++) {
        if (names[i][0] == '.')
            continue;
        char *path = cvy_path_join(folder, names[i]);
        if (cvy_is_image_name(names[i]) && !cvy_folder_exists(path)) {
            status = add_file(files, path);
            continue;
        }
        if (cvy_folder_exists(path))
            status = add_folder(files, path, &here, depth + 1);
        free(path);
    }
    cvy_names_free(names, count);
    return status;
}

convoy_status cvy_files_open(const char *const *paths, size_t count, const cvy_files_options *options,
                             cvy_files **out) {
    *out = NULL;
    cvy_files *files = calloc(1, sizeof *files);
    if (!files)
        return cvy_fail_memory("a list of images", sizeof *files);
    files->options = *options;
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < count && !status; i++) {
        size_t before = files->count;
        bool folder = cvy_folder_exists(paths[i]);
        char *copy = folder ? NULL : strdup(paths[i]);
        if (folder)
            status = add_folder(files, paths[i], NULL, 0);
        else
            status = copy ? add_file(files, copy) : cvy_fail_memory("a path", strlen(paths[i]));
        if (!status && files->count == before)
            status = cvy_fail(CONVOY_INVALID, "%s: there are no images in this folder", paths[i]);
    }
    if (status)
        cvy_files_close(files);
    else
        *out = files;
    return status;
}

void cvy_files_close(cvy_files *files) {
    if (!files)
        return;
    cvy_idx_end(&files->idx);
    convoy_dataset_free(files->set);
    for (size_t i = 0; i < files->count; i++)
        free(files->entries[i].path);
    free(files->entries);
    free(files);
}

size_t cvy_files_count(const cvy_files *files) {
    return files->images;
}

/* ---- Chunks ---- */

/* Room for `left` images of this size, or as many of them as a chunk may have. */
static convoy_status begin_set(cvy_files *files, size_t left, int channels, int height, int width) {
    size_t fit = CHUNK_BYTES / ((size_t)channels * (size_t)height * (size_t)width);
    size_t most = fit < 1 ? 1 : fit < CHUNK_IMAGES ? fit : CHUNK_IMAGES;
    convoy_dataset *set = files->set = cvy_dataset_create();
    if (!set)
        return cvy_fail_memory("a chunk of images", sizeof *set);
    set->name = set->source = cvy_arena_strdup(set->arena, files->entries[files->at].path);
    set->channels = channels;
    set->height = height;
    set->width = width;
    convoy_status status = cvy_dataset_reserve_labels(set, left < most ? left : most);
    return status ? status : cvy_dataset_reserve_images(set);
}

static void end_set(cvy_files *files) {
    convoy_dataset_free(files->set);
    files->set = NULL;
}

/* A failure that is the file's own is told, and no failure any more. */
static convoy_status refuse(const cvy_files *files, size_t entry, convoy_status status, const char *message) {
    if (status && status != CONVOY_MEMORY) {
        files->options.refuse(files->options.context, files->entries[entry].path, status, message);
        return CONVOY_OK;
    }
    return status ? cvy_fail(status, "%s", message) : status;
}

static convoy_status next_of_idx(cvy_files *files, cvy_chunk *chunk) {
    cvy_idx_stream *idx = &files->idx;
    convoy_status status = idx->file ? CONVOY_OK : cvy_idx_start(files->entries[files->at].path, 3, idx);
    size_t first = idx->done;
    if (!status)
        status =
            begin_set(files, idx->about.stored - first, 1, (int)idx->about.height, (int)idx->about.width);
    if (!status) {
        files->set->unfitted = true;
        status = cvy_idx_next(idx, files->set->count, files->set->images);
    }
    if (!status)
        status = cvy_dataset_convert(files->set, files->options.channels);
    *chunk = (cvy_chunk){files->set, idx->about.stored > 1, first};
    if (!status && idx->done < idx->about.stored)
        return CONVOY_OK;
    cvy_idx_end(idx);
    if (status) {
        status = refuse(files, files->at, status, convoy_error_message());
        end_set(files);
        *chunk = (cvy_chunk){0};
    }
    files->at++;
    return status;
}

/* What became of each photograph of a chunk. */
typedef struct decoding {
    const cvy_files *files;
    convoy_status *status;
    char **messages;
} decoding;

static convoy_status decode(void *context, size_t i) {
    const decoding *d = context;
    const cvy_files_options *o = &d->files->options;
    const convoy_dataset *set = d->files->set;
    const cvy_fitting fitting = {o->channels,   o->height,      o->width,    o->resize,
                                 o->short_side, o->fast_decode, o->as_stored};
    d->status[i] = cvy_image_load(d->files->entries[d->files->at + i].path, &fitting,
                                  set->images + i * cvy_dataset_image_bytes(set));
    if (d->status[i])
        d->messages[i] = strdup(convoy_error_message());
    return CONVOY_OK;
}

/* Moves what was decoded together, and tells of what was not. */
static convoy_status keep_decoded(cvy_files *files, const decoding *d, size_t count) {
    convoy_dataset *set = files->set;
    size_t bytes = cvy_dataset_image_bytes(set);
    convoy_status status = CONVOY_OK;
    set->count = 0;
    for (size_t i = 0; i < count && !status; i++) {
        if (d->status[i]) {
            status = refuse(files, files->at + i, d->status[i], d->messages[i] ? d->messages[i] : "");
            continue;
        }
        memmove(set->images + set->count * bytes, set->images + i * bytes, bytes);
        set->paths[set->count] = strdup(files->entries[files->at + i].path);
        status = set->paths[set->count] ? CONVOY_OK : cvy_fail_memory("a path", bytes);
        set->count++;
    }
    return status;
}

static convoy_status next_photographs(cvy_files *files, cvy_chunk *chunk) {
    const cvy_files_options *o = &files->options;
    size_t left = 0;
    while (files->at + left < files->count && !files->entries[files->at + left].idx)
        left++;
    convoy_status status = begin_set(files, left, o->channels, o->height, o->width);
    if (status)
        return status;
    size_t count = files->set->count;
    decoding d = {files, calloc(count, sizeof *d.status), calloc(count, sizeof *d.messages)};
    files->set->paths = calloc(count, sizeof *files->set->paths);
    if (!d.status || !d.messages || !files->set->paths)
        status = cvy_fail_memory("a chunk of images", count * sizeof *d.messages);
    if (!status)
        status = cvy_parallel("decoding images", count, cvy_threads_wanted(o->threads), decode, &d);
    if (!status)
        status = keep_decoded(files, &d, count);
    for (size_t i = 0; d.messages && i < count; i++)
        free(d.messages[i]);
    free(d.messages);
    free(d.status);
    files->at += count;
    if (files->set->count)
        *chunk = (cvy_chunk){.set = files->set};
    else
        end_set(files);
    return status;
}

convoy_status cvy_files_next(cvy_files *files, cvy_chunk *chunk) {
    convoy_status status = CONVOY_OK;
    end_set(files);
    *chunk = (cvy_chunk){0};
    while (!status && !chunk->set && files->at < files->count)
        status = files->entries[files->at].idx ? next_of_idx(files, chunk) : next_photographs(files, chunk);
    return status;
}
