/* curves.png while a run trains: drawn by a thread of its own, so that training waits for no picture. What
   goes wrong with one is said at the end, and takes nothing of the run. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/cli.h"
#include "report/curves.h"

static void draw(cli_pictures *p) {
    if (cvy_curves_save(p->metrics, p->path)) {
        free(p->failure);
        p->failure = strdup(convoy_error_message());
    } else {
        free(p->failure);
        p->failure = NULL;
    }
}

/* Epochs that end while one is drawn are one more picture. */
static void work(void *context) {
    cli_pictures *p = context;
    pthread_mutex_lock(&p->lock);
    while (!p->ending) {
        if (!p->wanted) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        p->wanted = false;
        pthread_mutex_unlock(&p->lock);
        draw(p);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

void cli_pictures_start(cli_pictures *p, const char *folder) {
    *p = (cli_pictures){.metrics = cvy_path_join(folder, "metrics.csv"),
                        .path = cvy_path_join(folder, "curves.png")};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    cvy_threads_start(&p->thread, 1, work, p);
}

void cli_pictures_want(cli_pictures *p) {
    pthread_mutex_lock(&p->lock);
    p->wanted = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void cli_pictures_end(cli_pictures *p) {
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    cvy_threads_join(&p->thread);
    if (p->wanted)
        draw(p);
    if (p->failure)
        cvy_warning("the run has no new curves.png: %s", p->failure);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->failure);
    free(p->metrics);
    free(p->path);
}
