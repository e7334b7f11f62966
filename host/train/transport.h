/* What carries bytes between ranks: the table that a plugin of host/mpi/ fills. Nothing but the C library's
   headers, because a plugin is linked with an MPI and with nothing of Convoy. */
#ifndef CVY_TRAIN_TRANSPORT_H
#define CVY_TRAIN_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>

/* To or from one rank; a received one may turn out shorter. */
typedef struct cvy_parcel {
    void *data;
    size_t bytes;
} cvy_parcel;

enum { CVY_LAST_WORDS = 512 };

typedef struct cvy_transport {
    int rank, size;
    void *state;
    const char *library; /* name and version of the MPI */
    bool any_thread;     /* may call it, one at a time; else only the one that opened it */
    /* Begins an exchange with all others: to[size] and from[size], of which the own entry is not looked at
       and what is empty is not sent. Their memory is in use until `test` says so. 0, or -1: `complaint`. */
    int (*start)(void *state, const cvy_parcel *to, const cvy_parcel *from);
    /* 1: the exchange is over. 0: not yet, and answered[size] tells with whom it is. -1: `complaint`. */
    int (*test)(void *state, bool *answered);
    /* Says something to all others, once, without waiting for them; and what one of them said so, who is
     *rank. NULL: none did. At most CVY_LAST_WORDS bytes, which every rank sends as many of. */
    void (*tell)(void *state, const void *words, size_t bytes);
    const void *(*told)(void *state, int *rank);
    const char *(*complaint)(void *state);
    void (*close)(void *state);
    void (*abort)(void *state, int code); /* ends all ranks, this one too */
} cvy_transport;

/* The one symbol of a plugin: joins the other ranks. 0, or -1 with a message of at most `room` bytes. */
#define CVY_TRANSPORT_OPEN "cvy_transport_open"
typedef int cvy_transport_opener(cvy_transport *transport, char *message, size_t room);

#endif
