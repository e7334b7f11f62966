/* Trials on ranks: each has one process of its own for its device (search_workers.c), which was started
   before the rank joined the others, and only carries orders and outcomes. The ranks meet ten or twenty times
   a second: each says how its process fares, and rank 0 what it is to do next. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/ranks.h"
#include "cli/search.h"

/* What rank 0 says to each. */
typedef struct order {
    bool given, stop, over; /* a job; save and stop; the search is over */
    search_job job;
} order;

typedef struct round {
    search_workers *workers;
    search_report *mine;
    search_report *all; /* [ranks], of this round */
    order *orders;      /* [ranks] */
} round;

static convoy_status open_round(search_workers *workers, search_report *mine, round *r) {
    const size_t ranks = (size_t)cvy_ranks(cli_ranks());
    *r = (round){workers, mine, calloc(ranks, sizeof *r->all), calloc(ranks, sizeof *r->orders)};
    return r->all && r->orders ? CONVOY_OK : cvy_fail_memory("what ranks do", ranks * sizeof *r->orders);
}

static void close_round(round *r) {
    free(r->all);
    free(r->orders);
}

/* All say how they fare; `own`: of the one that keeps the table. */
static convoy_status report_all(round *r, convoy_status own) {
    search_workers_poll(r->workers);
    r->mine->busy = search_workers_busy(r->workers);
    r->mine->failed = search_workers_failed(r->workers);
    const convoy_status status =
        cvy_collective_gather_alike(cli_ranks(), "search", own, r->mine, sizeof *r->mine, r->all);
    r->mine->done = false;
    return status;
}

static convoy_status order_all(round *r) {
    const order *mine = &r->orders[cvy_rank(cli_ranks())];
    const size_t ranks = (size_t)cvy_ranks(cli_ranks());
    convoy_status status =
        cvy_collective_broadcast(cli_ranks(), "orders", CONVOY_OK, r->orders, ranks * sizeof *r->orders);
    if (!status && mine->given) {
        r->mine->job = mine->job;
        search_workers_give(r->workers, &r->mine->job);
    }
    if (!status && mine->stop)
        search_workers_stop(r->workers);
    return status;
}

/* Rows of what is done; whether a rank is at work, or one cannot go on. */
static convoy_status read_reports(const round *r, const search_work *work, bool *busy, bool *failed) {
    convoy_status status = CONVOY_OK;
    for (int k = 0; k < cvy_ranks(cli_ranks()); k++) {
        const search_report *report = &r->all[k];
        *busy |= report->busy;
        *failed |= report->failed;
        if (report->done && !status)
            status = work->done(work->context, &report->job, &report->outcome,
                                cvy_collective_name(cli_ranks(), k));
    }
    return status;
}

/* How it went for all, once none is at work. */
static convoy_status finish(const round *r, bool interrupted) {
    const convoy_status own = search_workers_status(r->workers),
                        status = cvy_collective_agree(cli_ranks(), "searched", own);
    return !status && interrupted ? search_workers_interrupted() : status;
}

convoy_status search_ranks_run(search_workers *workers, search_report *mine, const search_work *work,
                               const search_job *jobs, size_t count) {
    const int ranks = cvy_ranks(cli_ranks());
    round r;
    bool failed = false, interrupted = false, ends = false;
    convoy_status status = open_round(workers, mine, &r), own = CONVOY_OK;
    for (size_t next = 0; !status && !ends;) {
        bool busy = false;
        status = report_all(&r, own);
        if (status)
            break;
        own = read_reports(&r, work, &busy, &failed);
        interrupted |= cli_ranks()->stop;
        for (int k = 0; k < ranks; k++) {
            const bool gives = !failed && !interrupted && !own && !r.all[k].busy && next < count;
            r.orders[k] = (order){.given = gives, .stop = failed || interrupted};
            if (gives)
                r.orders[k].job = jobs[next++];
            busy |= gives;
        }
        ends = !busy && !own;
        for (int k = 0; k < ranks; k++)
            r.orders[k].over = ends && (failed || interrupted);
        status = order_all(&r);
    }
    if (!status && (failed || interrupted))
        status = finish(&r, interrupted);
    close_round(&r);
    return status;
}

convoy_status search_ranks_serve(search_workers *workers, search_report *mine) {
    round r;
    bool interrupted = false, over = false;
    convoy_status status = open_round(workers, mine, &r);
    while (!status && !over) {
        status = report_all(&r, CONVOY_OK);
        interrupted |= !status && cli_ranks()->stop;
        if (!status)
            status = order_all(&r);
        over = r.orders[cvy_rank(cli_ranks())].over;
    }
    if (!status)
        status = finish(&r, interrupted);
    close_round(&r);
    return status;
}

convoy_status search_ranks_end(search_workers *workers, search_report *mine) {
    round r;
    convoy_status status = open_round(workers, mine, &r);
    if (!status)
        status = report_all(&r, CONVOY_OK);
    for (int k = 0; k < cvy_ranks(cli_ranks()) && !status; k++)
        r.orders[k] = (order){.over = true};
    if (!status)
        status = order_all(&r);
    if (!status)
        status = finish(&r, false);
    close_round(&r);
    return status;
}
