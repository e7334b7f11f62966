/* The page about one run, or about several: one HTML file that needs nothing beside it. */
#ifndef CVY_REPORT_PAGE_H
#define CVY_REPORT_PAGE_H

#include "report/html.h"
#include "report/run.h"
#include "report/trials.h"

/* Everything that is known of the runs. `search`: of which the one run is the best; NULL: of none. */
convoy_status cvy_page_write(cvy_arena *arena, const cvy_trials *search, const cvy_run *runs, size_t count,
                             cvy_text *page);

/* ---- parts of it, for page.c alone ---- */

/* sections.c: how a run went, and what it was to do. */
convoy_status cvy_page_add_run(cvy_arena *arena, const cvy_run *run, cvy_text *page);
convoy_status cvy_page_add_curves(cvy_text *page, const cvy_run *const *runs, size_t count);
/* search.c: what was tried, and what came of it. */
convoy_status cvy_page_add_search(cvy_arena *arena, const cvy_trials *search, cvy_text *page);
/* compare.c: what differs between runs. */
void cvy_page_add_comparison(cvy_arena *arena, const cvy_run *runs, size_t count, cvy_text *page);
/* classes.c: what the weights answer. */
convoy_status cvy_page_add_answers(const cvy_run *run, cvy_text *page);
/* "0.9123", or a dash where it is not known. */
void cvy_page_add_figure(cvy_text *page, const char *format, double value);

#endif
