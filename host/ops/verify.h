/* A running watch on a device that may compute wrong values (convoy_device_verify): every so many batches one
   result is computed once more by the host's references before it is used. The results of a batch take turns,
   from its last to its first: what a kernel spoils for later launches shows in later turns.

   Here is what that takes whatever is computed: whose turn it is; copies of buffers in the memory of a host
   device, on which the same ops run again; and how far the device and the host part. */
#ifndef CVY_OPS_VERIFY_H
#define CVY_OPS_VERIFY_H

#include "device/device.h"

typedef struct cvy_verifier cvy_verifier;

/* *verifier is NULL where the device is not watched, or computes with the references itself. */
convoy_status cvy_verifier_create(convoy_device *device, cvy_verifier **verifier);
void cvy_verifier_free(cvy_verifier *verifier); /* tells what was found; NULL is allowed */

/* ---- Turns ---- */

/* A batch begins. NULL is allowed, here and below. */
void cvy_verifier_begin(cvy_verifier *verifier);
/* Asked for each result of a batch that can be verified, in the order in which they come: is it this one's
   turn? */
bool cvy_verifier_takes(cvy_verifier *verifier);

/* ---- One result ---- */

/* A part of a buffer: `count` pieces of `length` bytes, `stride` apart. */
typedef struct cvy_cut {
    size_t offset, stride, length, count;
} cvy_cut;
cvy_cut cvy_cut_whole(const cvy_buffer *buffer);
/* Columns [first, first + width) of rows of `pitch` values of `size` bytes. */
cvy_cut cvy_cut_columns(const cvy_buffer *buffer, size_t pitch, size_t size, size_t first, size_t width);

/* What the device and the host are to agree about. */
typedef struct cvy_expected {
    const char *name; /* "output": for the message */
    cvy_buffer *device, *host;
    cvy_cut cut; /* of the device's buffer; the host's holds it from host_offset on */
    size_t host_offset;
    bool exact;       /* bytes; else floats */
    size_t pitch, n;  /* of the host's rows only the first n values count; pitch 0: all */
    double tolerance; /* relative to the largest value that is right, or to `least` */
    double least;     /* a size of what is summed up, where the sums may cancel */
    bool changes;     /* the values are what was there and a change, to which the tolerance is relative */
} cvy_expected;

/* Of one result: buffers that are copied, and comparisons, of which an update has some for each group. */
enum { CVY_VERIFIED = 40, CVY_EXPECTED = 256 };

/* Where they part. */
typedef struct cvy_difference {
    const cvy_expected *at; /* NULL: an input was changed */
    char text[256]; /* "the output is wrong: value 3 of 400 is 0 where 0.53 is right (off by 1 of the largest
                       value; 0.0001 is allowed)" */
} cvy_difference;

convoy_device *cvy_verifier_host(cvy_verifier *verifier);
/* Forgets the result before. */
void cvy_verifier_start(cvy_verifier *verifier);
/* A copy of what the device's buffer holds before the launches; the same part of the same buffer has one
   copy. *host is NULL for NULL. */
convoy_status cvy_verifier_copy(cvy_verifier *verifier, cvy_buffer *buffer, cvy_cut cut, cvy_buffer **host);
/* The copy's bytes before the launches: all of the buffer. NULL: it was not copied. */
const void *cvy_verifier_before(const cvy_verifier *verifier, const cvy_buffer *buffer);
/* Memory on the host, zeroed, until the next start. */
convoy_status cvy_verifier_scratch(cvy_verifier *verifier, size_t bytes, cvy_buffer **host);
/* After the copies, before the launches or behind them. */
void cvy_verifier_expect(cvy_verifier *verifier, const cvy_expected *expected);
/* After the launches on both: reads what the device made. *found: does it part from the host's? Copied
   buffers of which nothing is expected must not have changed. `what` names the result for a note on the
   largest difference. */
convoy_status cvy_verifier_compare(cvy_verifier *verifier, const char *what, bool *found,
                                   cvy_difference *difference);
/* Puts back what the launches changed in the copied buffers, before they are repeated. */
convoy_status cvy_verifier_restore(cvy_verifier *verifier);

/* How far float32 and coarser precisions may be off, relative to the largest value: what tuning allows. */
double cvy_verifier_tolerance(const convoy_device *device);
/* CONVOY_DEVICE with all that a user needs to know. */
convoy_status cvy_verifier_fail(const cvy_verifier *verifier, const char *what,
                                const cvy_difference *difference);

#endif
