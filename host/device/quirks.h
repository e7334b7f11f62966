/* What is particular about a platform, a vendor or a driver. Code asks for a quirk; only the table in
   quirks.c knows names. */
#ifndef CVY_DEVICE_QUIRKS_H
#define CVY_DEVICE_QUIRKS_H

#include "convoy/device.h"

enum {
    CVY_QUIRK_ON_REQUEST = 1 << 0, /* `auto` never takes it */
    CVY_QUIRK_IS_CPU = 1 << 1,     /* computes on the host's processor, whatever it says of its type */
    CVY_QUIRK_INTERPRETS =
        1 << 2, /* no time that it takes tells anything, and no program of it is worth keeping */
    CVY_QUIRK_OWN_CACHE = 1 << 3, /* keeps built kernels itself: we keep none of its programs */
    CVY_QUIRK_LONG_HEADER =
        1 << 4, /* reads Clang's opencl-c.h before each program: most of a small one's time */
    CVY_QUIRK_MMA_NVIDIA = 1 << 5, /* takes PTX in OpenCL C; which tensor cores there are is asked for */
    /* In no row: found out when a device is opened. It ends all loops of a work-item, without a word, when
       they have made 65,535 passes together. */
    CVY_QUIRK_ENDS_LOOPS = 1 << 6
};

/* The quirks of a device, and why `auto` does not take it (NULL: it may). `note` may be NULL. */
unsigned cvy_quirks_of(const convoy_device_info *info, const char **note);

#endif
