/* What the classes of a network's outputs are called, as weight files carry it: output c is class c. Two
   lists are compared by name, so that nothing is judged by the position of a folder. */
#ifndef CVY_WEIGHTS_CLASSES_H
#define CVY_WEIGHTS_CLASSES_H

#include "base/arena.h"
#include "weights/weights.h"

typedef struct cvy_classes {
    int count;                /* 0: nothing is known */
    const char *const *names; /* [count], of any bytes, each once; NULL: they have numbers only */
} cvy_classes;

/* The text of the metadata "class_names", ASCII whatever the names are: a JSON array of strings, a name that
   is no UTF-8 as the array of its bytes; a number where classes have no names. malloc'ed; NULL: no memory. */
char *cvy_classes_print(const cvy_classes *classes);
/* From a file's metadata; also as names line by line, which older files have. CONVOY_INVALID: damaged, or a
   name twice. */
convoy_status cvy_classes_read(cvy_arena *arena, const cvy_tensor_file *file, const char *path,
                               cvy_classes *classes);

/* place[i] [given->count] receives where `wanted` has class i of `given`. CONVOY_INVALID names what differs:
   `owner` has the wanted classes, `what` the given ones. Classes without names are those of the same number,
   if there are as many. */
convoy_status cvy_classes_match(const cvy_classes *wanted, const char *owner, const cvy_classes *given,
                                const char *what, int *place);
/* CONVOY_INVALID where a name stands twice; `what` has them. */
convoy_status cvy_classes_check(const cvy_classes *classes, const char *what);
/* "cat, dog and 8 more" */
void cvy_classes_list(const cvy_classes *classes, cvy_text *text);

#endif
