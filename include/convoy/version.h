/* Which Convoy this is: the one that was compiled against, and the one that is linked. */
#ifndef CONVOY_VERSION_H
#define CONVOY_VERSION_H

#include "convoy/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CONVOY_VERSION_MAJOR 0
#define CONVOY_VERSION_MINOR 2
#define CONVOY_VERSION_PATCH 0
#define CONVOY_VERSION "0.2.0"

/* CONVOY_VERSION of the library that runs. Any thread. Libraries of the same major and minor number
   (libconvoy.so.0.2) run programs that were compiled against any of them that is not newer. */
CONVOY_API const char *convoy_version(void);

#ifdef __cplusplus
}
#endif
#endif
