/* YAML to nodes, from libyaml's events. Only what model files need is taken: anchors, aliases, tags, and
   several documents are refused, so that what stands in a file is all that it means, and its size bounds the
   work. */
#include "base/node.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"

/* YAML's own limit of a key is 1024 characters as it stands in a file, where each byte may be an escape of
 * four. */
enum { SIZE_LIMIT = 1024 * 1024, DEPTH_LIMIT = 64, LONGEST_KEY = 240 };

static const char binary_tag[] = "tag:yaml.org,2002:binary";

typedef struct loader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; empty (type 0) before the first */
    cvy_arena *arena;
    const char *file;
    const char *text;
    size_t size;
} loader;

/* ---- errors ---- */

/* Lines and columns here count from 0, as libyaml's do. */
static convoy_status fail_at(const char *file, size_t line, size_t column, const char *message) {
    return cvy_fail(CONVOY_INVALID, "%s:%zu:%zu: %s", file, line + 1, column + 1, message);
}

static convoy_status fail_here(const loader *l, const char *message) {
    return fail_at(l->file, l->event.start_mark.line, l->event.start_mark.column, message);
}

/* Bytes that are no text (bad UTF-8, control characters): libyaml gives an offset, not a line. */
static convoy_status fail_reader(const loader *l) {
    size_t end = l->parser.problem_offset < l->size ? l->parser.problem_offset : l->size;
    size_t line = 0, column = 0;
    for (size_t i = 0; i < end; i++) {
        unsigned char c = (unsigned char)l->text[i];
        if (c == '\n') {
            line++;
            column = 0;
        } else if ((c & 0xC0) != 0x80) {
            column++;
        }
    }
    return cvy_fail(CONVOY_INVALID, "%s:%zu:%zu: not valid YAML text: %s", l->file, line + 1, column + 1,
                    l->parser.problem);
}

static convoy_status fail_parser(const loader *l) {
    const yaml_parser_t *p = &l->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return cvy_fail_memory(l->file, l->size);
    if (p->error == YAML_READER_ERROR)
        return fail_reader(l);
    const char *problem = p->problem ? p->problem : "syntax error";
    if (!p->context)
        return fail_at(l->file, p->problem_mark.line, p->problem_mark.column, problem);
    return cvy_fail(CONVOY_INVALID, "%s:%zu:%zu: %s, %s that begins in line %zu", l->file,
                    p->problem_mark.line + 1, p->problem_mark.column + 1, problem, p->context,
                    p->context_mark.line + 1);
}

/* ---- events to nodes ---- */

static convoy_status next_event(loader *l) {
    yaml_event_delete(&l->event);
    if (!yaml_parser_parse(&l->parser, &l->event)) {
        memset(&l->event, 0, sizeof l->event);
        return fail_parser(l);
    }
    return CONVOY_OK;
}

static cvy_node *create_node(loader *l, cvy_node_kind kind) {
    cvy_node *node = cvy_arena_alloc(l->arena, sizeof *node);
    node->kind = kind;
    node->file = l->file;
    node->line = (int)l->event.start_mark.line + 1;
    node->column = (int)l->event.start_mark.column + 1;
    node->text = "";
    return node;
}

/* Room for one more element: doubles the arrays when the count reaches a power of two. */
static void grow(cvy_arena *arena, cvy_node ***list, size_t count) {
    if ((count & (count - 1)) != 0)
        return;
    cvy_node **larger = cvy_arena_alloc(arena, (count ? 2 * count : 1) * sizeof *larger);
    if (count)
        memcpy(larger, *list, count * sizeof *larger);
    *list = larger;
}

static convoy_status refuse_extras(const loader *l, const yaml_char_t *anchor, const yaml_char_t *tag) {
    if (anchor)
        return fail_here(l, "anchors (&name) are not supported; use `blocks:` to repeat layers");
    if (tag)
        return fail_here(l, "tags (!name) are not supported; write the plain value");
    return CONVOY_OK;
}

/* The one tag: bytes that are no text, as a file's name may have. */
static bool is_binary(const yaml_char_t *tag) {
    return tag && strcmp((const char *)tag, binary_tag) == 0;
}

static convoy_status read_scalar(loader *l, cvy_node **out) {
    const yaml_char_t *tag = l->event.data.scalar.tag;
    convoy_status status = refuse_extras(l, l->event.data.scalar.anchor, is_binary(tag) ? NULL : tag);
    if (status)
        return status;
    const char *value = (const char *)l->event.data.scalar.value;
    size_t length = l->event.data.scalar.length;
    char *bytes = NULL;
    if (is_binary(tag)) {
        bytes = cvy_arena_alloc(l->arena, length + 1);
        if (!cvy_text_from_base64(value, bytes, &length))
            return fail_here(l, "what follows !!binary is no base64");
        value = bytes;
    }
    if (strnlen(value, length) != length)
        return fail_here(l, "a text must not contain the character NUL");
    *out = create_node(l, CVY_SCALAR);
    (*out)->text = cvy_arena_strndup(l->arena, value, length);
    return CONVOY_OK;
}

static convoy_status read_node(loader *l, int depth, cvy_node **out);

static convoy_status read_sequence(loader *l, int depth, cvy_node **out) {
    convoy_status status =
        refuse_extras(l, l->event.data.sequence_start.anchor, l->event.data.sequence_start.tag);
    if (status)
        return status;
    cvy_node *node = create_node(l, CVY_SEQUENCE);
    for (;;) {
        status = next_event(l);
        if (status)
            return status;
        if (l->event.type == YAML_SEQUENCE_END_EVENT) {
            *out = node;
            return CONVOY_OK;
        }
        grow(l->arena, &node->items, node->count);
        status = read_node(l, depth + 1, &node->items[node->count]);
        if (status)
            return status;
        node->count++;
    }
}

/* By text, then by place, so that of two equal keys the later one comes second. */
static int compare_keys(const void *a, const void *b) {
    const cvy_node *x = *(cvy_node *const *)a, *y = *(cvy_node *const *)b;
    int order = strcmp(x->text, y->text);
    if (order == 0)
        order = x->line != y->line ? x->line - y->line : x->column - y->column;
    return order;
}

/* Sorting keeps a file of nothing but keys from costing quadratic time. */
static convoy_status refuse_duplicates(const cvy_node *mapping) {
    if (mapping->count < 2)
        return CONVOY_OK;
    convoy_status status = CONVOY_OK;
    cvy_node **sorted = malloc(mapping->count * sizeof *sorted);
    if (!sorted)
        return cvy_fail_memory(mapping->file, mapping->count * sizeof *sorted);
    memcpy(sorted, mapping->keys, mapping->count * sizeof *sorted);
    qsort(sorted, mapping->count, sizeof *sorted, compare_keys);
    for (size_t i = 1; i < mapping->count && !status; i++) {
        if (strcmp(sorted[i - 1]->text, sorted[i]->text) == 0) {
            status = cvy_node_fail(sorted[i], "the key `%s` was already given in line %d, column %d",
                                   sorted[i]->text, sorted[i - 1]->line, sorted[i - 1]->column);
        }
    }
    free(sorted);
    return status;
}

static convoy_status read_entry(loader *l, int depth, cvy_node *mapping) {
    cvy_node *key, *value;
    if (l->event.type == YAML_SEQUENCE_START_EVENT || l->event.type == YAML_MAPPING_START_EVENT)
        return fail_here(l, "a key must be a plain word, not a list or a mapping");
    convoy_status status = read_node(l, depth + 1, &key);
    if (status)
        return status;
    if (strlen(key->text) > LONGEST_KEY)
        return cvy_node_fail(key, "a key of %zu bytes: no more than %d", strlen(key->text), LONGEST_KEY);
    status = next_event(l);
    if (status)
        return status;
    status = read_node(l, depth + 1, &value);
    if (status)
        return status;
    grow(l->arena, &mapping->keys, mapping->count);
    grow(l->arena, &mapping->items, mapping->count);
    mapping->keys[mapping->count] = key;
    mapping->items[mapping->count] = value;
    mapping->count++;
    return CONVOY_OK;
}

static convoy_status read_mapping(loader *l, int depth, cvy_node **out) {
    convoy_status status =
        refuse_extras(l, l->event.data.mapping_start.anchor, l->event.data.mapping_start.tag);
    if (status)
        return status;
    cvy_node *node = create_node(l, CVY_MAPPING);
    for (;;) {
        status = next_event(l);
        if (status)
            return status;
        if (l->event.type == YAML_MAPPING_END_EVENT) {
            *out = node;
            return refuse_duplicates(node);
        }
        status = read_entry(l, depth, node);
        if (status)
            return status;
    }
}

/* Reads the node that begins at the current event; leaves its last event current. */
static convoy_status read_node(loader *l, int depth, cvy_node **out) {
    if (depth > DEPTH_LIMIT)
        return fail_here(l, "nested more than 64 levels deep");
    switch (l->event.type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(l, out);
    case YAML_SEQUENCE_START_EVENT:
        return read_sequence(l, depth, out);
    case YAML_MAPPING_START_EVENT:
        return read_mapping(l, depth, out);
    case YAML_ALIAS_EVENT:
        return fail_here(l, "aliases (*name) are not supported; use `blocks:` to repeat layers");
    default:
        return fail_here(l, "a value was expected here");
    }
}

/* Stream start, document start, the root, document end, stream end. */
static convoy_status read_document(loader *l, cvy_node **root) {
    convoy_status status = next_event(l);
    if (!status)
        status = next_event(l);
    if (status)
        return status;
    if (l->event.type != YAML_DOCUMENT_START_EVENT)
        return cvy_fail(CONVOY_INVALID, "%s:1:1: the file holds no YAML document", l->file);
    if ((status = next_event(l)) || (status = read_node(l, 1, root)) || (status = next_event(l)) ||
        (status = next_event(l)))
        return status;
    if (l->event.type != YAML_STREAM_END_EVENT)
        return fail_here(l, "a second document begins here; one file holds one document");
    return CONVOY_OK;
}

convoy_status cvy_node_parse(cvy_arena *arena, const char *file, const char *text, size_t size,
                             cvy_node **root) {
    *root = NULL;
    if (size > SIZE_LIMIT) {
        return cvy_fail(CONVOY_INVALID, "%s:1:1: the text has %zu bytes, at most %d are allowed", file, size,
                        SIZE_LIMIT);
    }
    loader l = {.arena = arena, .file = cvy_arena_strdup(arena, file), .text = text, .size = size};
    if (!yaml_parser_initialize(&l.parser))
        return cvy_fail_memory(file, size);
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)text, size);
    cvy_node *read = NULL;
    convoy_status status = read_document(&l, &read);
    if (!status)
        *root = read;
    yaml_event_delete(&l.event);
    yaml_parser_delete(&l.parser);
    return status;
}

convoy_status cvy_node_load(cvy_arena *arena, const char *path, cvy_node **root) {
    char *text;
    size_t size;
    *root = NULL;
    convoy_status status = cvy_file_read(path, SIZE_LIMIT, &text, &size);
    if (status)
        return status;
    status = cvy_node_parse(arena, path, text, size, root);
    free(text);
    return status;
}

/* ---- nodes ---- */

cvy_node *cvy_node_get(const cvy_node *mapping, const char *key) {
    if (mapping->kind != CVY_MAPPING)
        return NULL;
    for (size_t i = 0; i < mapping->count; i++)
        if (strcmp(mapping->keys[i]->text, key) == 0)
            return mapping->items[i];
    return NULL;
}

cvy_node *cvy_node_scalar(cvy_arena *arena, const char *file, const char *text) {
    cvy_node *node = cvy_arena_alloc(arena, sizeof *node);
    node->kind = CVY_SCALAR;
    node->file = cvy_arena_strdup(arena, file);
    node->text = cvy_arena_strdup(arena, text);
    return node;
}

convoy_status cvy_node_fail(const cvy_node *node, const char *format, ...) {
    cvy_text message = {0};
    va_list arguments;
    va_start(arguments, format);
    cvy_text_add_list(&message, format, arguments);
    va_end(arguments);
    if (node->line > 0) {
        cvy_fail(CONVOY_INVALID, "%s:%d:%d: %s", node->file, node->line, node->column,
                 cvy_text_get(&message));
    } else { /* made by the program: it has a name, but no place in a file */
        cvy_fail(CONVOY_INVALID, "%s: %s", node->file, cvy_text_get(&message));
    }
    cvy_text_free(&message);
    return CONVOY_INVALID;
}

/* ---- nodes to text ---- */

/* Whether a YAML file may hold the text, be it with escapes. */
static bool is_text(const char *value) {
    unsigned code;
    for (size_t length; *value; value += length) {
        length = cvy_text_character((const unsigned char *)value, &code);
        if (!length || (code >= 0x80 && code < 0xA0 && code != 0x85) || code == 0xFEFF ||
            (code & ~1u) == 0xFFFE)
            return false;
    }
    return true;
}

void cvy_node_print_text(const char *value, cvy_text *text) {
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+$";
    static const char later[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+$-@%~=";
    long long integer;
    double number;
    bool plain = *value && strchr(first, *value) && !value[strspn(value, later)];
    if (plain || cvy_text_to_long(value, &integer) || cvy_text_to_double(value, &number)) {
        cvy_text_add(text, "%s", value);
        return;
    }
    if (!is_text(value)) {
        cvy_text_add(text, "!!binary ");
        cvy_text_add_base64(text, value, strlen(value));
        return;
    }
    cvy_text_add(text, "\"");
    for (const char *c = value; *c; c++)
        if (*c == '"' || *c == '\\')
            cvy_text_add(text, "\\%c", *c);
        else if (*c == '\n')
            cvy_text_add(text, "\\n");
        else if ((unsigned char)*c < ' ' || *c == 0x7F)
            cvy_text_add(text, "\\x%02X", (unsigned char)*c);
        else if (!strncmp(c, "\xC2\x85", 2)) /* more line ends of YAML's: U+0085, U+2028, U+2029 */
            cvy_text_add(text, "\\N"), c += 1;
        else if (!strncmp(c, "\xE2\x80\xA8", 3) || !strncmp(c, "\xE2\x80\xA9", 3))
            cvy_text_add(text, c[2] == '\xA8' ? "\\L" : "\\P"), c += 2;
        else
            cvy_text_add(text, "%c", *c);
    cvy_text_add(text, "\"");
}

void cvy_node_print(const cvy_node *node, cvy_text *text) {
    if (node->kind == CVY_SCALAR) {
        cvy_node_print_text(node->text, text);
        return;
    }
    bool mapping = node->kind == CVY_MAPPING;
    cvy_text_add(text, mapping ? "{" : "[");
    for (size_t i = 0; i < node->count; i++) {
        cvy_text_add(text, "%s", i ? ", " : "");
        if (mapping) {
            cvy_node_print_text(node->keys[i]->text, text);
            cvy_text_add(text, ": ");
        }
        cvy_node_print(node->items[i], text);
    }
    cvy_text_add(text, mapping ? "}" : "]");
}
