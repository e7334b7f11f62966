/* The table of quirks. */
#include "device/quirks.h"

#include <stdbool.h>

#include "base/text.h"

/* Parts of names; NULL: any. All that are given must be found, and all rows that fit count. */
static const struct {
    const char *platform, *vendor, *device, *driver;
    unsigned quirks;
    const char *note;
} rows[] = {
    /* A simulator, a thousand times slower than what it stands for; it says that it is of every type. */
    {.platform = "Oclgrind",
     .quirks = CVY_QUIRK_ON_REQUEST | CVY_QUIRK_IS_CPU | CVY_QUIRK_INTERPRETS,
     .note = "a simulator that checks kernels: only on request"},
    /* Mesa's software rasteriser, behind Rusticl or Clover. */
    {.device = "llvmpipe",
     .quirks = CVY_QUIRK_ON_REQUEST | CVY_QUIRK_IS_CPU,
     .note = "a software rasteriser whose long loops end early: only on request"},
    /* PoCL compiles every kernel of a program once more, in a generic form, to give its binary out: longer
       than all that was built for a run, to save a third of a second at the next start. */
    {.platform = "Portable Computing Language", .quirks = CVY_QUIRK_OWN_CACHE | CVY_QUIRK_LONG_HEADER},
    {.vendor = "NVIDIA", .quirks = CVY_QUIRK_MMA_NVIDIA},
};

static bool fits(const char *name, const char *part) {
    return !part || cvy_text_contains(name, part);
}

unsigned cvy_quirks_of(const convoy_device_info *info, const char **note) {
    unsigned quirks = 0;
    if (note)
        *note = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!fits(info->platform, rows[i].platform) || !fits(info->vendor, rows[i].vendor) ||
            !fits(info->name, rows[i].device) || !fits(info->driver, rows[i].driver))
            continue;
        quirks |= rows[i].quirks;
        if (note && rows[i].note)
            *note = rows[i].note;
    }
    return quirks;
}
