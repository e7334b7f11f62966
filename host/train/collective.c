/* Exchanges with a head and a limit, and the sum of a tree of which each rank has some leaves. */
#include "train/collective.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"

static const double default_limit = 60, patience = 10;
/* A launcher that lost a rank asks the others to stop before it ends them, and gives them about a second. */
static const double grace = 0.3; /* beyond a step */

/* What every exchange of blocks begins with. */
typedef struct head {
    char what[24];
    uint64_t number;
    int32_t status, stop;
    char message[480];
} head;

/* Of a rank that fails while the others are at something else. */
typedef struct last_words {
    int32_t status;
    char message[480];
} last_words;

convoy_status cvy_collective_open(const cvy_transport *transport, cvy_collective *c) {
    const char *wish = getenv("CONVOY_RANK_LIMIT");
    *c = (cvy_collective){.limit = default_limit, .transport.size = 1};
    if (wish && *wish && (!cvy_text_to_double(wish, &c->limit) || !(c->limit > 0)))
        return cvy_fail(CONVOY_INVALID, "CONVOY_RANK_LIMIT must be seconds, more than 0; found `%s`", wish);
    if (!transport)
        return CONVOY_OK;
    const size_t size = (size_t)transport->size;
    c->transport = *transport;
    c->missing = calloc(size, sizeof *c->missing);
    return c->missing ? CONVOY_OK : cvy_fail_memory("the list of ranks", size);
}

void cvy_collective_close(cvy_collective *c) {
    if (c->transport.close && !c->lost)
        c->transport.close(c->transport.state);
    free(c->missing);
    free(c->names);
    free(c->scratch);
    *c = (cvy_collective){.transport.size = 1};
}

bool cvy_collective_keeps(const cvy_collective *c) {
    int first = 0;
    while (c && c->lost && first + 1 < c->transport.size && c->missing[first])
        first++;
    return cvy_rank(c) == first;
}

const char *cvy_collective_name(const cvy_collective *c, int rank) {
    static _Thread_local char text[CVY_RANK_NAME + 32];
    if (c->names)
        snprintf(text, sizeof text, "rank %d (%s)", rank, c->names[rank]);
    else
        snprintf(text, sizeof text, "rank %d", rank);
    return text;
}

/* ---- one exchange ---- */

static convoy_status fail_lost(cvy_collective *c, const bool *answered, bool asked) {
    cvy_text names = {0};
    int count = 0;
    for (int r = 0; r < c->transport.size; r++) {
        c->missing[r] = r != c->transport.rank && !answered[r];
        if (c->missing[r])
            cvy_text_add(&names, "%s%s", count++ ? ", " : "", cvy_collective_name(c, r));
    }
    c->lost = true;
    convoy_status status =
        asked ? cvy_fail(CONVOY_INTERRUPTED, "interrupted while waiting for %s", cvy_text_get(&names))
              : cvy_fail(CONVOY_FAILED, "no answer from %s within %g s (CONVOY_RANK_LIMIT)",
                         cvy_text_get(&names), c->limit);
    cvy_text_free(&names);
    return status;
}

static convoy_status fail_transport(cvy_collective *c) {
    c->lost = true;
    return cvy_fail(CONVOY_FAILED, "%s: %s", c->transport.library,
                    c->transport.complaint(c->transport.state));
}

/* A rank has ended, and said why; it takes part in nothing any more. */
static convoy_status hear_last_words(cvy_collective *c) {
    int rank;
    last_words words;
    const void *told = c->transport.told(c->transport.state, &rank);
    if (!told)
        return CONVOY_OK;
    memcpy(&words, told, sizeof words);
    c->lost = true;
    c->missing[rank] = true;
    return cvy_fail((convoy_status)words.status, "%s: %s", cvy_collective_name(c, rank), words.message);
}

/* `heads`: of how all fare, those who end included. */
static convoy_status exchange(cvy_collective *c, bool heads, const cvy_parcel *to, const cvy_parcel *from) {
    const cvy_transport *t = &c->transport;
    const double begin = cvy_seconds(), limit = c->limit * (c->patient ? patience : 1);
    bool *answered = calloc((size_t)t->size, sizeof *answered);
    double asked = 0;
    int done = 0;
    if (!answered)
        return cvy_fail_memory("an exchange", (size_t)t->size);
    convoy_status status = t->start(t->state, to, from) ? fail_transport(c) : CONVOY_OK;
    for (unsigned turn = 0; !status && !done; turn++) {
        if (!heads && (status = hear_last_words(c)))
            break;
        done = t->test(t->state, answered);
        const double now = cvy_seconds();
        if (c->interrupt && *c->interrupt && !(asked > 0))
            asked = now;
        if (done < 0)
            status = fail_transport(c);
        else if (!done && ((asked > 0 && now - asked > grace + c->step) || now - begin > limit))
            status = fail_lost(c, answered, asked > 0);
        else if (!done)
            cvy_machine_pause(turn < 100 ? 0 : 1e-4);
    }
    for (int r = 0; r < t->size; r++)
        c->bytes += r == t->rank ? 0 : to[r].bytes;
    c->calls++;
    free(answered);
    return status;
}

/* ---- blocks ---- */

static head make_head(const cvy_collective *c, const char *what, convoy_status own) {
    head h = {.number = c->calls, .status = (int32_t)own, .stop = c->interrupt && *c->interrupt};
    snprintf(h.what, sizeof h.what, "%s", what);
    if (own)
        snprintf(h.message, sizeof h.message, "%s", convoy_error_message());
    return h;
}

/* By what all of them said. */
static convoy_status judge(cvy_collective *c, convoy_status own, const head *heads) {
    const head *mine = &heads[c->transport.rank];
    int bad = -1;
    c->stop = false;
    for (int r = c->transport.size - 1; r >= 0; r--) {
        c->stop |= heads[r].stop != 0;
        bad = heads[r].status ? r : bad;
    }
    c->failed = bad >= 0;
    if (own)
        return own;
    if (bad >= 0)
        return cvy_fail((convoy_status)heads[bad].status, "%s: %s", cvy_collective_name(c, bad),
                        heads[bad].message);
    for (int r = 0; r < c->transport.size; r++)
        if (heads[r].number != mine->number || strcmp(heads[r].what, mine->what) != 0)
            return cvy_fail(CONVOY_FAILED, "internal error: %s is at \"%s\" while this rank is at \"%s\"",
                            cvy_collective_name(c, r), heads[r].what, mine->what);
    return CONVOY_OK;
}

/* Each rank's head to all others, before anything of which one that fails does not know the size. */
static convoy_status exchange_heads(cvy_collective *c, const char *what, convoy_status own, cvy_parcel *to) {
    const int size = c->transport.size;
    head *heads = calloc((size_t)size, sizeof *heads), mine = make_head(c, what, own);
    if (!heads)
        return cvy_fail_memory("what the ranks tell each other", (size_t)size * sizeof *heads);
    for (int r = 0; r < size; r++) {
        to[r] = (cvy_parcel){&mine, sizeof mine};
        to[size + r] = (cvy_parcel){&heads[r], sizeof mine};
    }
    heads[c->transport.rank] = mine;
    convoy_status status = exchange(c, true, to, to + size);
    if (!status)
        status = judge(c, own, heads);
    free(heads);
    return status;
}

static convoy_status exchange_blocks(cvy_collective *c, const void *block, const size_t *bytes, char *all,
                                     cvy_parcel *to) {
    const int size = c->transport.size, rank = c->transport.rank;
    size_t total = 0;
    for (int r = 0; r < size; total += bytes[r++])
        to[size + r] = (cvy_parcel){bytes[r] ? all + total : NULL, bytes[r]};
    if (total == 0)
        return CONVOY_OK;
    if (bytes[rank])
        memmove(to[size + rank].data, block, bytes[rank]);
    for (int r = 0; r < size; r++)
        to[r] = to[size + rank];
    return exchange(c, false, to, to + size);
}

convoy_status cvy_collective_gather(cvy_collective *c, const char *what, convoy_status own, const void *block,
                                    const size_t *bytes, void *all) {
    if (cvy_ranks(c) == 1) {
        if (c)
            c->stop = c->interrupt && *c->interrupt;
        if (!own && bytes[0] && all != block)
            memcpy(all, block, bytes[0]);
        return own;
    }
    if (c->lost)
        return own ? own : cvy_fail(CONVOY_FAILED, "the other ranks are lost");
    cvy_parcel *parcels = calloc(2 * (size_t)c->transport.size, sizeof *parcels);
    if (!parcels)
        return cvy_fail_memory("what the ranks tell each other", (size_t)c->transport.size * sizeof *parcels);
    convoy_status status = exchange_heads(c, what, own, parcels);
    if (!status)
        status = exchange_blocks(c, block, bytes, all, parcels);
    free(parcels);
    return status;
}

convoy_status cvy_collective_gather_alike(cvy_collective *c, const char *what, convoy_status own,
                                          const void *block, size_t bytes, void *all) {
    const size_t size = (size_t)cvy_ranks(c);
    size_t *each = malloc(size * sizeof *each);
    if (!each)
        return cvy_fail_memory("what the ranks tell each other", size * sizeof *each);
    for (size_t r = 0; r < size; r++)
        each[r] = bytes;
    convoy_status status = cvy_collective_gather(c, what, own, block, each, all);
    free(each);
    return status;
}

convoy_status cvy_collective_agree(cvy_collective *c, const char *what, convoy_status own) {
    return cvy_collective_gather_alike(c, what, own, NULL, 0, NULL);
}

convoy_status cvy_collective_broadcast(cvy_collective *c, const char *what, convoy_status own, void *data,
                                       size_t bytes) {
    const size_t size = (size_t)cvy_ranks(c);
    size_t *each = calloc(size, sizeof *each);
    if (!each)
        return cvy_fail_memory("what the ranks tell each other", size * sizeof *each);
    each[0] = bytes;
    convoy_status status = cvy_collective_gather(c, what, own, data, each, data);
    free(each);
    return status;
}

/* ---- sums ---- */

bool cvy_spans_join(cvy_span left, cvy_span right) {
    return left.count == right.count && left.first % (2 * left.count) == 0 &&
           right.first == left.first + left.count;
}

int cvy_spans_of(unsigned first, unsigned end, cvy_span spans[CVY_SPANS]) {
    int count = 0;
    for (; first < end; first++) {
        spans[count++] = (cvy_span){first, 1};
        for (; count > 1 && cvy_spans_join(spans[count - 2], spans[count - 1]); count--)
            spans[count - 2].count *= 2;
    }
    return count;
}

static void add_row(float *to, const float *row, size_t values) {
    for (size_t i = 0; i < values; i++)
        to[i] += row[i];
}

/* Where a leaf is missing, its half of a subtree adds nothing: what is left at the end goes from right to
 * left. */
void cvy_spans_sum(const cvy_span *spans, int count, float *rows, size_t values) {
    cvy_span stack[CVY_SPANS];
    int at[CVY_SPANS], depth = 0; /* the row of each */
    for (int i = 0; i < count; i++) {
        stack[depth] = spans[i];
        at[depth++] = i;
        for (; depth > 1 && cvy_spans_join(stack[depth - 2], stack[depth - 1]); depth--) {
            add_row(rows + (size_t)at[depth - 2] * values, rows + (size_t)at[depth - 1] * values, values);
            stack[depth - 2].count *= 2;
        }
    }
    for (; depth > 1; depth--)
        add_row(rows + (size_t)at[depth - 2] * values, rows + (size_t)at[depth - 1] * values, values);
}

/* Where rank r's slice of the values begins. */
static size_t slice_of(size_t values, int r, int size) {
    return values / (size_t)size * (size_t)r + values % (size_t)size * (size_t)r / (size_t)size;
}

size_t cvy_collective_slice(size_t values, int rank, int size) {
    return slice_of(values, rank + 1, size) - slice_of(values, rank, size);
}

/* Everyone's subtrees. */
typedef struct forest {
    cvy_span *spans;
    int *counts; /* [size] */
    int all;
} forest;

static convoy_status list_forest(int size, const unsigned *first, forest *f) {
    cvy_span own[CVY_SPANS];
    *f = (forest){malloc((size_t)size * CVY_SPANS * sizeof *f->spans),
                  malloc((size_t)size * sizeof *f->counts), 0};
    if (!f->spans || !f->counts)
        return cvy_fail_memory("the tree of a sum", (size_t)size * sizeof own);
    for (int r = 0; r < size; r++) {
        f->counts[r] = cvy_spans_of(first[r], first[r + 1], own);
        memcpy(f->spans + f->all, own, (size_t)f->counts[r] * sizeof *own);
        f->all += f->counts[r];
    }
    return CONVOY_OK;
}

/* Each slice goes where it is added up, as `slices` [spans of all][own slice]. */
static convoy_status scatter(cvy_collective *c, const forest *f, const float *rows, size_t values,
                             float *packed, float *slices, cvy_parcel *to) {
    const int size = c->transport.size, rank = c->transport.rank, spans = f->counts[rank];
    const size_t own = cvy_collective_slice(values, rank, size);
    cvy_parcel *from = to + size;
    for (int r = 0; r < size; r++) {
        const size_t begin = slice_of(values, r, size), n = slice_of(values, r + 1, size) - begin;
        float *part = r == rank ? slices : packed + begin * (size_t)spans;
        for (int s = 0; s < spans; s++)
            memcpy(part + (size_t)s * n, rows + (size_t)s * values + begin, n * sizeof *rows);
        to[r] = (cvy_parcel){part, (size_t)spans * n * sizeof *rows};
        from[r] = (cvy_parcel){slices, (size_t)f->counts[r] * own * sizeof *rows};
        slices += (size_t)f->counts[r] * own;
    }
    return exchange(c, false, to, from);
}

static convoy_status collect(cvy_collective *c, float *sum, size_t values, cvy_parcel *to) {
    const int size = c->transport.size;
    cvy_parcel *from = to + size;
    for (int r = 0; r < size; r++) {
        const size_t begin = slice_of(values, r, size), end = slice_of(values, r + 1, size);
        from[r] = (cvy_parcel){sum + begin, (end - begin) * sizeof *sum};
    }
    for (int r = 0; r < size; r++)
        to[r] = from[c->transport.rank];
    return exchange(c, false, to, from);
}

/* Large memory that is asked for anew in each step would have to be mapped anew. */
static convoy_status make_room(cvy_collective *c, size_t floats) {
    if (floats <= c->room)
        return CONVOY_OK;
    free(c->scratch);
    c->scratch = malloc(floats * sizeof *c->scratch);
    c->room = c->scratch ? floats : 0;
    return c->scratch ? CONVOY_OK : cvy_fail_memory("the sum of gradients", floats * sizeof *c->scratch);
}

convoy_status cvy_collective_sum(cvy_collective *c, const unsigned *first, const float *rows, size_t values,
                                 float *sum) {
    const int size = cvy_ranks(c), rank = cvy_rank(c);
    const size_t begin = slice_of(values, rank, size), own = slice_of(values, rank + 1, size) - begin;
    forest f = {0};
    convoy_status status = list_forest(size, first, &f);
    const size_t packed = status ? 0 : (size_t)f.counts[rank] * values, slices = (size_t)f.all * own;
    cvy_parcel *parcels = calloc(2 * (size_t)size, sizeof *parcels);
    if (!status && !parcels)
        status = cvy_fail_memory("the sum of gradients", (size_t)size * sizeof *parcels);
    if (!status)
        status = make_room(c, packed + slices);
    if (!status)
        status = scatter(c, &f, rows, values, c->scratch, c->scratch + packed, parcels);
    if (!status) {
        cvy_spans_sum(f.spans, f.all, c->scratch + packed, own);
        memcpy(sum + begin, c->scratch + packed, own * sizeof *sum);
        status = collect(c, sum, values, parcels);
    }
    free(parcels);
    free(f.spans);
    free(f.counts);
    return status;
}

/* ---- the end ---- */

/* The others may be at a sum, which asks nobody how he fares; those at anything else hear of it by the head.
 */
static void say_last_words(cvy_collective *c, convoy_status status) {
    last_words words = {.status = (int32_t)status};
    snprintf(words.message, sizeof words.message, "%s", convoy_error_message());
    c->transport.tell(c->transport.state, &words, sizeof words);
}

convoy_status cvy_collective_leave(cvy_collective *c, convoy_status status) {
    if (cvy_ranks(c) == 1 || c->lost)
        return status;
    if (!c->failed) { /* a failure of one rank is news for the others, wherever they are */
        if (status)
            say_last_words(c, status);
        const convoy_status all = cvy_collective_agree(c, "end", status);
        c->missing[c->transport.rank] = status && c->lost; /* another one keeps what there is */
        status = status ? status : all;
    }
    if (c->failed && !c->lost)
        (void)cvy_collective_agree(c, "leave", CONVOY_OK);
    return status;
}
