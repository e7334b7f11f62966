/* A thread that says so where a driver does not come back. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "device/opencl.h"

struct cvy_watchdog {
    convoy_device *device;
    double seconds;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
};

static void tell(const convoy_device *device, const char *call, double since) {
    const cvy_kernel *latest = atomic_load_explicit(&device->latest, memory_order_relaxed);
    cvy_warning("%s has not come back from %s for %.0f s; the kernel launched last is %s%s%s. It may be "
                "busy, or hang: "
                "Ctrl-C twice ends this process, and CONVOY_SYNC=1 waits after each launch, so that the last "
                "one is the "
                "one that hangs",
                device->info.name, call, since, latest ? latest->file : "none", latest ? ":" : "",
                latest ? latest->function : "");
}

/* Waits up to so many seconds; true: it is over. */
static bool wait_a_while(cvy_watchdog *w, double seconds) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    const long long nanoseconds = end.tv_nsec + (long long)(1e9 * seconds);
    end.tv_sec += (time_t)(nanoseconds / 1000000000);
    end.tv_nsec = (long)(nanoseconds % 1000000000);
    pthread_mutex_lock(&w->lock);
    if (!w->over)
        pthread_cond_timedwait(&w->changed, &w->lock, &end);
    const bool over = w->over;
    pthread_mutex_unlock(&w->lock);
    return over;
}

static void *look_on(void *context) {
    cvy_watchdog *w = context;
    double told = 0; /* when the call began that was told of */
    while (!wait_a_while(w, w->seconds / 4)) {
        const double began = atomic_load_explicit(&w->device->called_at, memory_order_relaxed);
        const char *call = atomic_load_explicit(&w->device->calls, memory_order_relaxed);
        const double since = cvy_seconds() - began;
        if (!(began > 0) || !call || began == told || since < w->seconds)
            continue;
        tell(w->device, call, since);
        told = began;
    }
    return NULL;
}

convoy_status cvy_device_watch(convoy_device *device, double seconds) {
    if (!device->queue || device->watchdog || !(seconds > 0))
        return CONVOY_OK;
    cvy_watchdog *w = calloc(1, sizeof *w);
    if (!w)
        return cvy_fail_memory("a watchdog", sizeof *w);
    *w = (cvy_watchdog){.device = device, .seconds = seconds};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (pthread_create(&w->thread, NULL, look_on, w)) {
        free(w);
        return cvy_fail(CONVOY_FAILED, "no thread can be started for the watchdog");
    }
    device->watchdog = w;
    return CONVOY_OK;
}

void cvy_watchdog_end(convoy_device *device) {
    cvy_watchdog *w = device->watchdog;
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->over = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    free(w);
    device->watchdog = NULL;
}
