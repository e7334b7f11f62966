/* What ranks do together. Every call but the questions is one that all ranks make, in the same order; a rank
   that fails on its own tells the others in the next one, so that all of them fail there and none waits for
   it. Alone (one rank, no transport) a call does nothing.

   Every exchange begins with a head that says what it is and how its sender fares. A rank that does not
   answer within the limit is lost: it is named, and nothing can be exchanged any more. One that fails between
   two heads tells the others beside the exchange that they are at, and is lost too. */
#ifndef CVY_TRAIN_COLLECTIVE_H
#define CVY_TRAIN_COLLECTIVE_H

#include <stdint.h>

#include "base/status.h"
#include "train/transport.h"

enum { CVY_RANK_NAME = 160 };

typedef struct cvy_collective {
    cvy_transport transport; /* size 0 or 1: alone */
    double limit;            /* seconds that a rank may take to answer */
    double step;             /* the longest one so far, in seconds: who was asked to stop waits so long */
    bool patient;            /* ten times as many: others may be building kernels */
    const volatile int *interrupt; /* non-zero: this rank was asked to stop; or NULL */
    char (*names)[CVY_RANK_NAME];  /* [size], "host, device"; NULL: not known yet */
    bool stop;                     /* some rank was asked to stop, as of the last cvy_collective_gather */
    bool failed;                   /* the last failure is known to all ranks */
    bool lost;
    float *scratch;                  /* of sums */
    size_t room;                     /* floats in it */
    bool *missing;                   /* [size], with `lost` */
    unsigned long long bytes, calls; /* sent by this rank */
} cvy_collective;

/* Takes over an open transport, or none (NULL). */
convoy_status cvy_collective_open(const cvy_transport *transport, cvy_collective *collective);
/* The transport is closed too, unless a rank was lost. */
void cvy_collective_close(cvy_collective *collective);

/* NULL is alone. */
static inline int cvy_rank(const cvy_collective *c) {
    return c ? c->transport.rank : 0;
}
static inline int cvy_ranks(const cvy_collective *c) {
    return c && c->transport.size > 1 ? c->transport.size : 1;
}
/* Rank 0 keeps what is kept; once it is lost, the first of those that are left. */
bool cvy_collective_keeps(const cvy_collective *collective);
/* "rank 1 (host, device)"; valid until the next call. */
const char *cvy_collective_name(const cvy_collective *collective, int rank);

/* Puts together what each rank has, bytes[size] of them, in the order of the ranks. `what` of at most 23
   letters is the same on all of them. `own`: how this rank fares; where one does not, all fail with its
   words. */
convoy_status cvy_collective_gather(cvy_collective *collective, const char *what, convoy_status own,
                                    const void *block, const size_t *bytes, void *all);
/* The same of as many bytes of each. */
convoy_status cvy_collective_gather_alike(cvy_collective *collective, const char *what, convoy_status own,
                                          const void *block, size_t bytes, void *all);
/* Only how they fare. */
convoy_status cvy_collective_agree(cvy_collective *collective, const char *what, convoy_status own);
/* Rank 0's. */
convoy_status cvy_collective_broadcast(cvy_collective *collective, const char *what, convoy_status own,
                                       void *data, size_t bytes);

/* ---- Sums in a fixed tree ---- */

/* Leaves first..first + count - 1 of a binary tree. A subtree of it where count is a power of two that
   divides `first`: those are what is added up, whoever has the leaves. Leaves at the end may be missing. */
typedef struct cvy_span {
    unsigned first, count;
} cvy_span;
enum { CVY_SPANS = 40 }; /* more than there are in a range of 2^20 leaves */

/* Are they the halves of a subtree? */
bool cvy_spans_join(cvy_span left, cvy_span right);
/* The fewest subtrees that leaves first..end - 1 are, in order; how many. */
int cvy_spans_of(unsigned first, unsigned end, cvy_span spans[CVY_SPANS]);

/* Adds up rows[count of spans][values], the sums of subtrees that together begin with leaf 0, into the first
 * row. */
void cvy_spans_sum(const cvy_span *spans, int count, float *rows, size_t values);

/* The whole tree's sum on all ranks. Rank r has the subtrees of leaves first[r]..first[r + 1] - 1: `rows`
   [spans][values] on this one. Each rank adds a slice of the values up, which all of them get. */
convoy_status cvy_collective_sum(cvy_collective *collective, const unsigned *first, const float *rows,
                                 size_t values, float *sum);

/* The values of a sum that a rank adds up. */
size_t cvy_collective_slice(size_t values, int rank, int size);

/* ---- The end ---- */

/* Waits until all ranks are here, so that none is ended while another still writes. Of the last call: how the
   run went; returns how it went for all. */
convoy_status cvy_collective_leave(cvy_collective *collective, convoy_status status);

#endif
