/* A batch in pieces. Piece p has the batch's images p * images ... in the order of the epoch, and gradients
   of its own, which are added up in one binary tree, whoever computes them: the bits of a run depend on the
   number of pieces and not on that of ranks. A rank computes pieces that lie side by side. At the end of an
   epoch pieces may be short or empty. Each piece moves the running statistics of batch-norms by itself; they
   are applied in the order of the pieces. */
#ifndef CVY_TRAIN_PIECES_H
#define CVY_TRAIN_PIECES_H

#include "data/loader.h"
#include "network/network.h"
#include "ops/elementwise.h"
#include "train/buckets.h"
#include "train/together.h"

enum { CVY_MOST_PIECES = 4096 };

typedef struct cvy_pieces {
    cvy_collective *collective; /* NULL: alone */
    unsigned count;
    int batch_size;    /* of a full batch */
    int images;        /* of a full piece */
    unsigned forwards; /* of a full piece: it may be computed in micro-batches */
    unsigned *first;   /* [ranks + 1]: the first piece of each; and those of the batch in progress */
    cvy_pile pile;
    cvy_elementwise add;
    cvy_moving moving;
    cvy_buckets *buckets;   /* NULL alone */
    cvy_together *together; /* NULL: pieces run one after the other */
    char *own, *all;        /* what the pieces of this rank, and of all, came to, beside gradients */
    double seconds;         /* that this rank computed since its pieces were dealt out, */
    unsigned done;          /* so many pieces, of full batches, */
    unsigned steps;         /* in so many steps, which are the same on all ranks */
} cvy_pieces;

struct cvy_training;

/* P that is wanted, or 0: 1 alone, else the ranks rounded up to a power of two. */
unsigned cvy_pieces_wanted(int wanted, int ranks);
/* The same of ranks that are not alike: eight times as many, to be dealt out, as far as there are images. */
unsigned cvy_pieces_wanted_unlike(int wanted, int ranks, int batch_size);
/* Images of a piece of a full batch. */
int cvy_pieces_images(int batch_size, unsigned count);
/* Images in the smallest forward of an epoch. */
int cvy_pieces_least(size_t images, int batch_size, int piece, int micro_batch);

/* Deals `count` pieces out to ranks that take seconds[rank] for each, so that the slowest is through as early
   as can be, and none has nothing: first[ranks + 1]. Seconds that it takes. */
double cvy_pieces_deal(const double *seconds, int ranks, unsigned count, unsigned *first);
/* All ranks deal theirs out anew by what they measured, where that saves a twentieth of a step. *changed:
   they did. */
convoy_status cvy_pieces_deal_again(cvy_pieces *pieces, bool *changed);

/* For a network that is there. `dealt`: pieces will be dealt out by speed, up to all but one for each of the
   others to one rank. What a failure leaves is freed by cvy_pieces_free. */
convoy_status cvy_pieces_create(convoy_network *network, convoy_device *device, cvy_collective *collective,
                                unsigned count, int batch_size, bool dealt, cvy_pieces *pieces);
/* Adds the buffers that it will make, of so many bytes of gradients. */
void cvy_pieces_sizes(unsigned count, int ranks, bool dealt, size_t gradients, cvy_sizes *sizes);
void cvy_pieces_free(cvy_pieces *pieces); /* a zeroed one is allowed */
/* From now on the pieces of this rank run side by side, and batch-norms take the statistics of the whole
   batch. The training's network was made with `options`, and computes a piece at a time. */
convoy_status cvy_pieces_join(cvy_pieces *pieces, struct cvy_training *training,
                              const cvy_network_options *options);
/* Pieces of a full batch that one rank may have. */
unsigned cvy_pieces_most_own(unsigned count, int ranks, bool dealt);

/* Which images of a full batch this rank computes; at least one. */
void cvy_pieces_share(const cvy_pieces *pieces, int batch_size, int *first, int *share);

/* The gradients of a batch of n images into the network's, and its figures into the statistics. After a
   failure the network has what it had before. */
convoy_status cvy_pieces_step(cvy_pieces *pieces, struct cvy_training *training, cvy_loader *loader, int n,
                              unsigned long long step);

/* ---- for `bench` ---- */

/* What this rank computes in such a step, and nothing else: another cut, of its own pieces, for one rank. */
convoy_status cvy_pieces_create_own(const cvy_pieces *pieces, convoy_network *network, convoy_device *device,
                                    cvy_pieces *own);
/* Of a step of n images, this rank only tells the others what it has. */
convoy_status cvy_pieces_exchange(cvy_pieces *pieces, int n);
/* What it sends of gradients, in bytes: 2 (R - 1) / R of all, where each of R ranks has one subtree. */
unsigned long long cvy_pieces_bytes(const cvy_pieces *pieces, int n);

#endif
