/* What strangers' bytes reach: one function per parser, for libFuzzer (fuzz.c) and for the replay of the
   corpora (test_corpora.c). */
#ifndef TESTS_FUZZ_TARGETS_H
#define TESTS_FUZZ_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_target {
    const char *name; /* also of its corpus's folder; NULL ends the table */
    void (*run)(const uint8_t *data, size_t size);
} fuzz_target;

extern const fuzz_target fuzz_targets[];
/* NULL: there is none. */
const fuzz_target *fuzz_find(const char *name);
/* Makes the folder in which targets put what they are given as files; false: it cannot be made. */
bool fuzz_begin(void);
void fuzz_end(void);

#endif
