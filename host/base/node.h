/* A YAML document as a tree that remembers where everything stood, for messages with file:line:column. */
#ifndef CVY_BASE_NODE_H
#define CVY_BASE_NODE_H

#include "base/arena.h"
#include "base/status.h"
#include "base/text.h"

typedef enum cvy_node_kind { CVY_SCALAR, CVY_SEQUENCE, CVY_MAPPING } cvy_node_kind;

typedef struct cvy_node cvy_node;
struct cvy_node {
    cvy_node_kind kind;
    const char *file; /* as given to the loader */
    int line, column; /* 1-based; 0 for nodes that the program made */
    const char *text; /* scalar: its value; "" where empty */
    cvy_node **items; /* sequence: elements; mapping: values */
    cvy_node **keys;  /* mapping: keys (scalars), same count as items */
    size_t count;
};

/* Parses one document with libyaml. Errors (syntax, duplicate key, alias, anchor, tag but !!binary, nesting
   over 64, over 1 MiB, a second document) are CONVOY_INVALID and name file:line:column. The nodes live in
   `arena`. */
convoy_status cvy_node_parse(cvy_arena *arena, const char *file, const char *text, size_t size,
                             cvy_node **root);
convoy_status cvy_node_load(cvy_arena *arena, const char *path, cvy_node **root);

/* The value of `key` in a mapping, or NULL. */
cvy_node *cvy_node_get(const cvy_node *mapping, const char *key);
/* A scalar node made by the program (`file` "command line", say), for values that came from no file. */
cvy_node *cvy_node_scalar(cvy_arena *arena, const char *file, const char *text);

/* The node as YAML in flow style, `{a: 1, b: [2, 3]}`: parsing it gives an equal tree. */
void cvy_node_print(const cvy_node *node, cvy_text *text);
/* A scalar as YAML: plain where it reads back as it stands, else in double quotes, or as !!binary where it is
 * no text. */
void cvy_node_print_text(const char *value, cvy_text *text);

/* CONVOY_INVALID with "file:line:column: <message>". */
convoy_status cvy_node_fail(const cvy_node *node, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
