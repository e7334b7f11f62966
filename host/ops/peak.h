/* What a device reaches at most, measured: the floor that layers are compared with. */
#ifndef CVY_OPS_PEAK_H
#define CVY_OPS_PEAK_H

#include "ops/op.h"

enum { CVY_PEAK_SETS = 3 };

/* All 0 on the host device. */
typedef struct cvy_peak {
    double flops; /* float multiply-adds a second, counted as two */
    /* Bytes a second of a stream through `bytes` of memory, smallest first: the first fit into caches. */
    struct {
        double bytes, bandwidth;
    } sets[CVY_PEAK_SETS];
    double launch, wait; /* seconds: of an empty launch in a row of them, and what a wait adds to one */
} cvy_peak;

/* Takes about 0.3 s. */
convoy_status cvy_peak_measure(convoy_device *device, cvy_peak *peak);
/* The seconds that `cost` takes at least: its operations at peak rate, or its bytes at the bandwidth of a set
   as large, whichever is more. 0 where nothing was measured. */
double cvy_peak_floor(const cvy_peak *peak, cvy_cost cost);

/* ---- The kernels, for tests ---- */

/* out [items] floats: each the sum over 12 chains and the lanes of a vector. */
convoy_status cvy_peak_flops(convoy_device *device, size_t items, float factor, float shift, uint32_t rounds,
                             cvy_buffer *out);
/* y += rounds * a * x over `count` floats, a multiple of cvy_vector_width. */
convoy_status cvy_peak_stream(convoy_device *device, size_t count, float a, uint32_t rounds, cvy_buffer *x,
                              cvy_buffer *y);

#endif
