/* The frame of a page, and its order. */
#include "report/page.h"

#include <math.h>
#include <stdio.h>

#include "convoy/version.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1a1a1a;--faint:#595959;--paper:#fff;--card:#f5f6f7;--line:#dcdfe2;"
    "--mark:0,114,178}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--faint:#a8a8a8;--paper:#1b1e22;--card:#25292e;"
    "--line:#3d4247;--mark:86,180,233}}"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;max-width:1240px;padding:16px;font:16px/1.5 system-ui,\"DejaVu Sans\",sans-serif;"
    "color:var(--ink);background:var(--paper);overflow-wrap:anywhere}"
    "h1{font-size:1.7em;margin:.2em 0}h2{font-size:1.25em;margin:1.8em 0 .6em}h3{font-size:1.05em;margin:1em "
    "0 .4em}"
    "p{margin:.4em 0}.faint{color:var(--faint)}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:16px 0}"
    ".cards div{background:var(--card);border-radius:8px;padding:10px 14px}"
    ".cards b{display:block;font-size:1.45em;line-height:1.3}.cards span{color:var(--faint);font-size:.85em}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:20px}"
    ".charts img{width:100%;height:auto;display:block}"
    ".images{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:14px;margin:0;"
    "padding:0}"
    ".images figure{margin:0}.images img{width:100%;image-rendering:pixelated;border:1px solid var(--line);"
    "display:block}.images figcaption{font-size:.85em;line-height:1.35;margin-top:4px}"
    ".scroll{overflow-x:auto}"
    "table{border-collapse:collapse;overflow-wrap:normal;font-size:.92em;font-variant-numeric:tabular-nums}"
    "th,td{padding:3px 8px;text-align:right;border-bottom:1px solid var(--line)}"
    "th:first-child,td:first-child{text-align:left;min-width:5.5em}th{font-weight:600}"
    ".bar{background:linear-gradient(rgba(var(--mark),.35),rgba(var(--mark),.35)) no-repeat left/var(--v) "
    "100%;"
    "min-width:64px}"
    ".matrix td,.matrix th{padding:2px 5px;min-width:0;text-align:center;border:1px solid "
    "var(--line);font-size:.88em}"
    ".matrix th{font-weight:400}.matrix td{min-width:34px}.matrix tr th:first-child{text-align:left}"
    ".matrix thead th{vertical-align:bottom}"
    ".matrix thead th span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:9em}"
    "pre{background:var(--card);border-radius:8px;padding:12px;overflow-x:auto;font-size:.85em;line-height:1."
    "4;"
    "white-space:pre-wrap}"
    ".notes{border-left:4px solid #d55e00;background:var(--card);padding:6px 14px;margin:12px 0}"
    ".filters img{max-width:100%;height:auto;image-rendering:pixelated}"
    "details>summary{cursor:pointer;font-size:1.25em;font-weight:600;margin:1.4em 0 .4em}";

void cvy_page_add_figure(cvy_text *page, const char *format, double value) {
    char text[64];
    if (isfinite(value))
        snprintf(text, sizeof text, format, value);
    cvy_text_add(page, "%s", isfinite(value) ? text : "\xe2\x80\x93");
}

static void begin(cvy_text *page, const char *title) {
    cvy_text_add(page,
                 "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                 "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
                 "style-src 'unsafe-inline'\">\n<link rel=\"icon\" href=\"data:,\">\n<title>");
    cvy_html_add(page, title, false);
    cvy_text_add(page, "</title>\n<style>%s</style>\n</head>\n<body>\n", style);
}

convoy_status cvy_page_write(cvy_arena *arena, const cvy_trials *search, const cvy_run *runs, size_t count,
                             cvy_text *page) {
    convoy_status status = CONVOY_OK;
    begin(page, count == 1 ? runs[0].name : cvy_arena_printf(arena, "%zu runs compared", count));
    if (count > 1) {
        const cvy_run **all = cvy_arena_alloc(arena, count * sizeof *all);
        for (size_t i = 0; i < count; i++)
            all[i] = &runs[i];
        cvy_text_add(page, "<h1>%zu runs compared</h1>\n", count);
        cvy_page_add_comparison(arena, runs, count, page);
        status = cvy_page_add_curves(page, all, count);
    }
    for (size_t i = 0; i < count && !status; i++) {
        if (count > 1) {
            cvy_text_add(page, "<details><summary>");
            cvy_html_add(page, runs[i].name, false);
            cvy_text_add(page, "</summary>\n");
        } else {
            cvy_text_add(page, "<h1>");
            cvy_html_add(page, runs[i].model_name ? runs[i].model_name : runs[i].name, false);
            cvy_text_add(page, "</h1>\n");
        }
        if (search)
            status = cvy_page_add_search(arena, search, page);
        if (!status)
            status = cvy_page_add_run(arena, &runs[i], page);
        if (count > 1)
            cvy_text_add(page, "</details>\n");
    }
    cvy_text_add(page, "<p class=\"faint\">Made by convoy %s.</p>\n</body>\n</html>\n", convoy_version());
    return status;
}
