/* What training shows while it runs: on a terminal one line that is rewritten, as tqdm's; plain lines for
   reports and epochs everywhere. */
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"

/* Between two bars, between two plain lines, and before the first word about building kernels. */
static const double bar_seconds = 0.1, line_seconds = 10, patience = 1;

void cli_progress_start(cli_progress *progress, bool terminal) {
    double now = cvy_seconds();
    *progress = (cli_progress){.terminal = terminal, .line_at = now, .epoch_start = now};
}

/* "01:05", "1:02:05", "?" */
static void add_time(cvy_text *text, double seconds) {
    if (!(seconds >= 0) || seconds > 1e7) {
        cvy_text_add(text, "?");
        return;
    }
    long whole = (long)(seconds + 0.5);
    if (whole >= 3600)
        cvy_text_add(text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        cvy_text_add(text, "%02ld:%02ld", whole / 60, whole % 60);
}

static double fraction(const convoy_progress *event) {
    return event->images_total ? (double)event->images_done / (double)event->images_total : 0;
}

void cli_progress_bar(cvy_text *text, const convoy_progress *event, double elapsed, double remaining,
                      int columns) {
    cvy_text head = {0}, tail = {0};
    cvy_text_add(&head, "epoch %d/%d %3.0f%%|", event->epoch, event->epochs, floor(100 * fraction(event)));
    cvy_text_add(&tail, "| %zu/%zu [", event->images_done, event->images_total);
    add_time(&tail, elapsed);
    cvy_text_add(&tail, "<");
    add_time(&tail, remaining);
    if (event->images_per_second > 0)
        cvy_text_add(&tail, ", %.1f images/s", event->images_per_second);
    if (isfinite(event->train_loss))
        cvy_text_add(&tail, ", loss %.3f, acc %.3f", event->train_loss, event->train_accuracy);
    cvy_text_add(&tail, "]");
    int width = columns - 1 - (int)head.length - (int)tail.length;
    width = width > 40 ? 40 : width < 0 ? 0 : width;
    int filled = (int)(fraction(event) * width);
    cvy_text_add(text, "%s", cvy_text_get(&head));
    for (int i = 0; i < width; i++)
        cvy_text_add(text, "%c", i < filled ? '#' : '-');
    cvy_text_add(text, "%s", cvy_text_get(&tail));
    if (columns > 1 && text->length > (size_t)columns - 1) {
        text->length = (size_t)columns - 1;
        text->data[text->length] = '\0';
    }
    cvy_text_free(&head);
    cvy_text_free(&tail);
}

static int terminal_columns(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void cli_progress_end(cli_progress *progress) {
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}

void cli_progress_log(void *context, convoy_log_level level, const char *message) {
    if (context)
        cli_progress_end(context);
    cli_note("%s%s",
             level == CONVOY_LOG_WARNING ? "warning: "
             : level == CONVOY_LOG_DEBUG ? "debug: "
                                         : "",
             message);
}

static void step(cli_progress *progress, const convoy_progress *event, double now) {
    double since = progress->terminal ? progress->drawn_at : progress->line_at;
    if (now - since < (progress->terminal ? bar_seconds : line_seconds))
        return;
    double elapsed = now - progress->epoch_start;
    size_t done = event->images_done - progress->epoch_from;
    double remaining =
        done ? elapsed / (double)done * (double)(event->images_total - event->images_done) : NAN;
    cvy_text text = {0};
    if (progress->terminal) {
        cli_progress_bar(&text, event, elapsed, remaining, terminal_columns());
        fprintf(stderr, "\r%s\033[K", cvy_text_get(&text));
        fflush(stderr);
        progress->drawn = true;
        progress->drawn_at = now;
    } else {
        cvy_text_add(&text, "epoch %d/%d  %zu/%zu (%.0f%%)  loss %.3f  train acc %.3f  %.1f images/s  ",
                     event->epoch, event->epochs, event->images_done, event->images_total,
                     floor(100 * fraction(event)), event->train_loss, event->train_accuracy,
                     event->images_per_second);
        add_time(&text, elapsed);
        cvy_text_add(&text, "<");
        add_time(&text, remaining);
        cli_note("%s", cvy_text_get(&text));
        progress->line_at = now;
    }
    cvy_text_free(&text);
}

void cli_progress_building(void *context, const cvy_building *b) {
    cli_progress *progress = context;
    const double after = progress->terminal ? bar_seconds : line_seconds;
    if (b->seconds < (progress->built_at > 0 ? progress->built_at + after : patience))
        return;
    progress->built_at = b->seconds;
    cli_progress_end(progress);
    fprintf(stderr, "building kernels: %zu of %zu, %s%s", b->done, b->all, b->file,
            progress->terminal ? "" : "\n");
    fflush(stderr);
    progress->drawn = progress->terminal;
}

static void line(cli_progress *progress, double now, const char *text) {
    cli_progress_end(progress);
    cli_note("%s", text);
    progress->line_at = now;
}

static void add_report(cvy_text *text, const convoy_progress *event) {
    cvy_text_add(text, "epoch %d/%d  %zu/%zu (%.0f%%)  ", event->epoch, event->epochs, event->images_done,
                 event->images_total, floor(100 * fraction(event)));
}

static void add_epoch(cvy_text *text, const convoy_progress *event) {
    int seconds = (int)event->seconds;
    cvy_text_add(text, "epoch %d/%d  train loss %.4f, acc %.4f", event->epoch, event->epochs,
                 event->train_loss, event->train_accuracy);
    if (isfinite(event->val_accuracy))
        cvy_text_add(text, "; val loss %.4f, acc %.4f", event->val_loss, event->val_accuracy);
    if (isfinite(event->test_accuracy))
        cvy_text_add(text, "; %s loss %.4f, acc %.4f", isfinite(event->val_accuracy) ? "test" : "val",
                     event->test_loss, event->test_accuracy);
    cvy_text_add(text, "; %.1f images/s; %d min %d sec", event->images_per_second, seconds / 60,
                 seconds % 60);
}

int cli_progress_event(void *context, const convoy_progress *event) {
    cli_progress *progress = context;
    double now = cvy_seconds();
    cvy_text text = {0};
    if (event->epoch != progress->epoch) {
        progress->epoch = event->epoch;
        progress->epoch_start = now;
        progress->epoch_from = event->kind == CONVOY_PROGRESS_START ? event->images_done : 0;
    }
    switch (event->kind) {
    case CONVOY_PROGRESS_START:
        if (event->step)
            cvy_text_add(&text, "resumed in epoch %d/%d after step %llu", event->epoch, event->epochs,
                         event->step);
        break;
    case CONVOY_PROGRESS_STEP:
        step(progress, event, now);
        break;
    case CONVOY_PROGRESS_REPORT:
        add_report(&text, event);
        cvy_text_add(&text, "train loss %.3f, acc %.3f", event->train_loss, event->train_accuracy);
        break;
    case CONVOY_PROGRESS_TEST:
        add_report(&text, event);
        cvy_text_add(&text, "loss %.6f  train accuracy %.3f%%  %s accuracy %.3f%%", event->batch_loss,
                     100 * event->train_accuracy, isfinite(event->val_accuracy) ? "validation" : "test",
                     100 * (isfinite(event->val_accuracy) ? event->val_accuracy : event->test_accuracy));
        break;
    case CONVOY_PROGRESS_EPOCH:
        add_epoch(&text, event);
        break;
    }
    if (text.length)
        line(progress, now, cvy_text_get(&text));
    cvy_text_free(&text);
    return 1;
}
