/* `extends: other.yaml`: a model file that says only what it has otherwise than another one. Its own keys
   stand; of `recipe`, `parameters` and `blocks`, which are mappings of many things, each entry by itself. The
   name is never another file's. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/graph.h"

enum { DEPTH = 8, BYTES = 1 << 20, ENTRIES = 1000 };

/* A file that is being read, and those that extend it. */
typedef struct chain {
    const char *path; /* the real one */
    const struct chain *outer;
    int depth;
} chain;

/* Relative to the folder of the file that says so. */
static const char *base_path(cvy_arena *arena, const char *file, const char *base) {
    const char *slash = strrchr(file, '/');
    if (*base == '/' || !slash)
        return base;
    return cvy_arena_printf(arena, "%.*s%s", (int)(slash + 1 - file), file, base);
}

static const char *real_path(cvy_arena *arena, const char *path) {
    char *real = realpath(path, NULL);
    const char *kept = cvy_arena_strdup(arena, real ? real : path);
    free(real);
    return kept;
}

static bool is_merged(const char *key) {
    return strcmp(key, "recipe") == 0 || strcmp(key, "parameters") == 0 || strcmp(key, "blocks") == 0;
}

static convoy_status check_entries(const cvy_node *node) {
    return node->kind == CVY_MAPPING && node->count > ENTRIES
               ? cvy_node_fail(
                     node, "%zu entries are more than the %d that are allowed where files are put together",
                     node->count, ENTRIES)
               : CONVOY_OK;
}

/* The entries of both; those of `over` stand. */
static convoy_status merge(cvy_arena *arena, const cvy_node *base, cvy_node *over, cvy_node **out) {
    *out = over;
    if (!base || base->kind != CVY_MAPPING || over->kind != CVY_MAPPING)
        return CONVOY_OK;
    convoy_status status = check_entries(base);
    if (!status)
        status = check_entries(over);
    cvy_node *merged = (cvy_node *)(uintptr_t)base;
    for (size_t i = 0; i < over->count && !status; i++)
        merged = cvy_mapping_with(arena, merged, over->keys[i], over->items[i]);
    *out = merged;
    return status;
}

/* A copy of `root` without this key. */
static cvy_node *without(cvy_arena *arena, const cvy_node *root, const char *key) {
    cvy_node *copy = cvy_arena_alloc(arena, sizeof *copy);
    *copy = *root;
    copy->keys = cvy_arena_alloc(arena, (root->count + 1) * sizeof *copy->keys);
    copy->items = cvy_arena_alloc(arena, (root->count + 1) * sizeof *copy->items);
    copy->count = 0;
    for (size_t i = 0; i < root->count; i++) {
        if (strcmp(root->keys[i]->text, key) == 0)
            continue;
        copy->keys[copy->count] = root->keys[i];
        copy->items[copy->count++] = root->items[i];
    }
    return copy;
}

static convoy_status load_base(cvy_arena *arena, const cvy_node *value, const char *path, cvy_node **root) {
    char *text = NULL;
    size_t size;
    if (!cvy_file_exists(path))
        return cvy_node_fail(value, "extends: there is no model file `%s`", path);
    convoy_status status = cvy_file_read_regular(path, BYTES, &text, &size);
    if (!status)
        status = cvy_node_parse(arena, path, text, size, root);
    free(text);
    if (!status && (*root)->kind != CVY_MAPPING)
        status =
            cvy_node_fail(*root, "extends: this is no model file: a mapping with `input:` and `layers:`");
    return status;
}

static convoy_status extend(cvy_arena *arena, const chain *files, cvy_node *root, const char *path,
                            cvy_node **out) {
    const cvy_node *value = cvy_node_get(root, "extends");
    *out = root;
    if (!value)
        return CONVOY_OK;
    if (value->kind != CVY_SCALAR || !*value->text)
        return cvy_node_fail(value, "extends: the path of another model file is expected");
    if (files->depth >= DEPTH)
        return cvy_node_fail(value, "extends: more than %d files extend one another", DEPTH);
    const char *other = base_path(arena, path, value->text);
    const chain inside = {real_path(arena, other), files, files->depth + 1};
    for (const chain *file = files; file; file = file->outer)
        if (strcmp(file->path, inside.path) == 0)
            return cvy_node_fail(value, "extends: `%s` is extended by itself", other);
    cvy_node *base = NULL;
    convoy_status status = load_base(arena, value, other, &base);
    if (!status)
        status = extend(arena, &inside, base, other, &base);
    if (!status)
        status = check_entries(base);
    if (!status)
        status = check_entries(root);
    if (status)
        return status;
    base = without(arena, base, "name");
    const cvy_node *own = without(arena, root, "extends");
    for (size_t i = 0; i < own->count && !status; i++) {
        cvy_node *entry = own->items[i];
        if (is_merged(own->keys[i]->text))
            status = merge(arena, cvy_node_get(base, own->keys[i]->text), entry, &entry);
        base = cvy_mapping_with(arena, base, own->keys[i], entry);
    }
    *out = base;
    return status;
}

convoy_status cvy_model_extend(cvy_arena *arena, const char *path, cvy_node **root) {
    if ((*root)->kind != CVY_MAPPING || !cvy_node_get(*root, "extends"))
        return CONVOY_OK;
    const chain file = {real_path(arena, path), NULL, 0};
    return extend(arena, &file, *root, path, root);
}
