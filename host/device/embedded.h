/* The kernel sources that were built into the library. */
#ifndef CVY_DEVICE_EMBEDDED_H
#define CVY_DEVICE_EMBEDDED_H

typedef struct cvy_embedded {
    const char *name; /* "conv2d/direct_cpu.cl"; NULL ends the table */
    const char *source;
} cvy_embedded;

extern const cvy_embedded cvy_embedded_kernels[];

#endif
