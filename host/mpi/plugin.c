/* The transport over MPI: exchanges of messages that are tested, never waited for, so that whoever asks can
   set a limit. One file for every MPI, of which it needs what MPI 3 has; it is compiled once for each that is
   found, because their binaries do not agree. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/transport.h"

/* A message counts its bytes in an int. */
static const size_t most_bytes = (size_t)1 << 30;
enum { TAGS = 16384 }; /* MPI promises 32767; the one behind is that of last words */

typedef struct wire {
    int rank, size;
    int tag;
    MPI_Request *requests;
    int *partners; /* of each request */
    size_t count, room;
    char complaint[MPI_MAX_ERROR_STRING + 64];
    char library[MPI_MAX_LIBRARY_VERSION_STRING];
    char told[CVY_LAST_WORDS], tells[CVY_LAST_WORDS];
    MPI_Request hears; /* of what is told */
    int teller;        /* -1: nobody yet */
} wire;

static int complain(wire *l, const char *call, int code) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    snprintf(l->complaint, sizeof l->complaint, "%s: %s", call, text);
    return -1;
}

static int grow(wire *l) {
    const size_t room = l->room ? 2 * l->room : 64;
    MPI_Request *requests = realloc(l->requests, room * sizeof *requests);
    if (requests)
        l->requests = requests;
    int *partners = realloc(l->partners, room * sizeof *partners);
    if (partners)
        l->partners = partners;
    if (!requests || !partners) {
        snprintf(l->complaint, sizeof l->complaint, "no memory for %zu messages", room);
        return -1;
    }
    l->room = room;
    return 0;
}

/* A parcel to or from a rank, in messages that MPI can count. Those of one pair arrive in their order. */
static int begin(wire *l, const cvy_parcel *parcel, int partner, bool sends) {
    for (size_t done = 0; done < parcel->bytes;) {
        const size_t left = parcel->bytes - done, bytes = left < most_bytes ? left : most_bytes;
        char *data = (char *)parcel->data + done;
        if (l->count == l->room && grow(l))
            return -1;
        MPI_Request *request = &l->requests[l->count];
        const int code =
            sends ? MPI_Isend(data, (int)bytes, MPI_BYTE, partner, l->tag, MPI_COMM_WORLD, request)
                  : MPI_Irecv(data, (int)bytes, MPI_BYTE, partner, l->tag, MPI_COMM_WORLD, request);
        if (code != MPI_SUCCESS)
            return complain(l, sends ? "MPI_Isend" : "MPI_Irecv", code);
        l->partners[l->count++] = partner;
        done += bytes;
    }
    return 0;
}

static int start(void *state, const cvy_parcel *to, const cvy_parcel *from) {
    wire *l = state;
    int wrong = 0;
    l->tag = (l->tag + 1) % TAGS;
    l->count = 0;
    for (int i = 1; i < l->size && !wrong; i++) /* each begins with its neighbour */
        wrong = begin(l, &from[(l->rank + l->size - i) % l->size], (l->rank + l->size - i) % l->size, false);
    for (int i = 1; i < l->size && !wrong; i++)
        wrong = begin(l, &to[(l->rank + i) % l->size], (l->rank + i) % l->size, true);
    return wrong;
}

static int test(void *state, bool *answered) {
    wire *l = state;
    int all = 1;
    memset(answered, 1, (size_t)l->size * sizeof *answered);
    for (size_t i = 0; i < l->count; i++) {
        int done = 1;
        if (l->requests[i] == MPI_REQUEST_NULL)
            continue;
        const int code = MPI_Test(&l->requests[i], &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS)
            return complain(l, "MPI_Test", code);
        if (!done)
            answered[l->partners[i]] = false;
        all &= done != 0;
    }
    return all;
}

static void tell(void *state, const void *words, size_t bytes) {
    wire *l = state;
    memcpy(l->tells, words, bytes);
    for (int r = 0; r < l->size; r++) {
        MPI_Request request;
        if (r != l->rank &&
            MPI_Isend(l->tells, (int)bytes, MPI_BYTE, r, TAGS, MPI_COMM_WORLD, &request) == MPI_SUCCESS)
            MPI_Request_free(&request);
    }
}

static const void *told(void *state, int *rank) {
    wire *l = state;
    int done = 0;
    MPI_Status status;
    if (l->teller < 0 && l->hears != MPI_REQUEST_NULL && MPI_Test(&l->hears, &done, &status) == MPI_SUCCESS &&
        done)
        l->teller = status.MPI_SOURCE;
    *rank = l->teller;
    return l->teller < 0 ? NULL : l->told;
}

static const char *complaint(void *state) {
    return ((wire *)state)->complaint;
}

static void release(void *state) {
    wire *l = state;
    int more = l->size > 1;
    while (more &&
           MPI_Iprobe(MPI_ANY_SOURCE, TAGS, MPI_COMM_WORLD, &more, MPI_STATUS_IGNORE) == MPI_SUCCESS && more)
        MPI_Recv(l->told, sizeof l->told, MPI_BYTE, MPI_ANY_SOURCE, TAGS, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (l->hears != MPI_REQUEST_NULL) {
        MPI_Cancel(&l->hears);
        MPI_Wait(&l->hears, MPI_STATUS_IGNORE);
    }
    MPI_Finalize();
    free(l->requests);
    free(l->partners);
    free(l);
}

static void end_all(void *state, int code) {
    (void)state;
    MPI_Abort(MPI_COMM_WORLD, code);
}

__attribute__((visibility("default"))) cvy_transport_opener cvy_transport_open;

int cvy_transport_open(cvy_transport *transport, char *message, size_t room) {
    wire *l = calloc(1, sizeof *l);
    int length = 0, threads = MPI_THREAD_SINGLE;
    if (!l || MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &threads) != MPI_SUCCESS) {
        snprintf(message, room, l ? "MPI_Init_thread failed" : "no memory");
        free(l);
        return -1;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &l->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &l->size);
    MPI_Get_library_version(l->library, &length);
    l->library[strcspn(l->library, ",\n")] = '\0';
    for (char *tab = l->library; (tab = strchr(tab, '\t'));)
        *tab = ' ';
    l->teller = -1;
    l->hears = MPI_REQUEST_NULL;
    if (l->size > 1 && MPI_Irecv(l->told, sizeof l->told, MPI_BYTE, MPI_ANY_SOURCE, TAGS, MPI_COMM_WORLD,
                                 &l->hears) != MPI_SUCCESS)
        l->hears = MPI_REQUEST_NULL; /* others are lost by their silence then */
    *transport = (cvy_transport){.rank = l->rank,
                                 .size = l->size,
                                 .state = l,
                                 .library = l->library,
                                 .any_thread = threads >= MPI_THREAD_SERIALIZED,
                                 .start = start,
                                 .test = test,
                                 .tell = tell,
                                 .told = told,
                                 .complaint = complaint,
                                 .close = release,
                                 .abort = end_all};
    return 0;
}
