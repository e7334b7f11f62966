/* Drivers before they are trusted: each one is loaded and listed by a child process (base/child.h) before
   this process makes its first OpenCL call, and each device is opened by one before it is opened here. A
   driver that ends or hangs its process is set aside, with the reason; the command then names the others to
   the ICD loader (OCL_ICD_VENDORS), while in a program that uses the library, whose environment is its own,
   no OpenCL call is made until that program does so itself.

   Answers are kept in <cache folder>/drivers.txt: good ones until the driver's file, its .icd file, the
   variables that drivers read or the machine's start change, bad ones for an hour or until `convoy devices`.
   CONVOY_DRIVER_CHECK=0 trusts all drivers; another number is the seconds that a driver has for each step.
   Where there is no helper to start, nothing is checked. */
#ifndef CVY_DEVICE_DRIVERS_H
#define CVY_DEVICE_DRIVERS_H

#include "base/child.h"
#include "convoy/device.h"

/* One that is not used, or not as far as Convoy decides that. */
typedef struct cvy_driver {
    char file[512];   /* "/etc/OpenCL/vendors/pocl.icd" */
    char reason[320]; /* "ends its process with signal 6 (Aborted) in clGetPlatformIDs" */
} cvy_driver;

/* The process belongs to the command: its environment may be changed. Before the first call for devices. */
void cvy_drivers_own_process(void);
/* Forgets all answers, so that the next check is a new one. */
void cvy_drivers_forget(void);
/* Checks them, once in a process. False: OpenCL must not be called. One thread at a time. */
bool cvy_drivers_check(void);
/* Those set aside by that check, and how many others there are. */
size_t cvy_drivers_aside(const cvy_driver **list);
size_t cvy_drivers_good(void);

/* Opens the device in a child first, unless that is known to work. CONVOY_DEVICE: why it is not to be opened.
 */
convoy_status cvy_driver_try_device(const convoy_device_info *info);
/* The child that opened a device just now, which can go on with another task: its driver is loaded and has
   compiled. {0}: there is none. */
cvy_child cvy_driver_take_child(void);
/* Why it is known not to open, "" where it is not; of the last hour. */
void cvy_driver_device_reason(const convoy_device_info *info, char *reason, size_t size);

/* The helper's tasks: to list the drivers of this process's environment, and to open a device. */
convoy_status cvy_driver_serve_list(cvy_child *parent, char *const *arguments); /* the .icd file or "" */
convoy_status cvy_driver_serve_open(cvy_child *parent, char *const *arguments); /* id and name */
/* The device that this process has opened as such a helper, which the caller closes. NULL: none, or taken. */
convoy_device *cvy_driver_take_device(void);

/* ---- drivers_known.c: the answers that are kept ---- */

typedef enum cvy_driver_verdict {
    CVY_DRIVER_GOOD,
    CVY_DRIVER_USELESS,  /* it does no harm, but shows nothing */
    CVY_DRIVER_DANGEROUS /* ends or hangs a process */
} cvy_driver_verdict;

typedef struct cvy_driver_answer {
    char key[33];
    char library[512]; /* whose date the answer depends on; "": on none */
    cvy_driver_verdict verdict;
    char reason[320];
} cvy_driver_answer;

/* A key of `words` (NULL-terminated) and of all that may change what drivers do. */
void cvy_driver_key(const char *const *words, char key[33]);
/* False: nothing is known, or not any more. */
bool cvy_driver_recall(const char *key, cvy_driver_answer *answer);
void cvy_driver_remember(const cvy_driver_answer *answer);
void cvy_driver_forget_all(void);

#endif
