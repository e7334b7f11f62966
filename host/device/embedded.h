/* Files that were built into the library: the kernels, and what selftest/ and ops/known_bad.c read. */
#ifndef CVY_DEVICE_EMBEDDED_H
#define CVY_DEVICE_EMBEDDED_H

typedef struct cvy_embedded {
    const char *name; /* "conv2d/direct_cpu.cl", "models/lenet.yaml"; NULL ends the table */
    const char *source;
} cvy_embedded;

extern const cvy_embedded cvy_embedded_kernels[], cvy_embedded_files[];

#endif
