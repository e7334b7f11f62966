/* A thread that says so where a driver does not come back. */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "device/opencl.h"

enum { CALLS = 8, LONGEST = 512 }; /* at once: a device is used by one thread at a time */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool looks_on;
static double limit; /* seconds */
static struct {
    const char *call; /* NULL: none */
    const convoy_device *device;
    double since;
    bool told;
} calls[CALLS];

void cvy_call_begins(const convoy_device *device, const char *call) {
    if (!atomic_load_explicit(&looks_on, memory_order_relaxed))
        return;
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < CALLS - 1 && calls[i].call)
        i++;
    calls[i].call = call;
    calls[i].device = device;
    calls[i].since = cvy_seconds();
    calls[i].told = false;
    pthread_mutex_unlock(&lock);
}

cl_int cvy_call_is_over(const convoy_device *device, cl_int code) {
    if (!atomic_load_explicit(&looks_on, memory_order_relaxed))
        return code;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < CALLS; i++)
        if (calls[i].device == device)
            calls[i].call = NULL;
    pthread_mutex_unlock(&lock);
    return code;
}

static void describe(int i, char text[LONGEST]) {
    const convoy_device *device = calls[i].device;
    const cvy_kernel *latest = device ? device->latest : NULL;
    snprintf(
        text, LONGEST,
        "%s has not come back from %s for %.0f s%s%s%s%s. It may be busy, or hang: Ctrl-C twice ends this "
        "process%s",
        device ? device->info.name : "OpenCL", calls[i].call, cvy_seconds() - calls[i].since,
        latest ? "; the kernel launched last is " : "", latest ? latest->file : "", latest ? ":" : "",
        latest ? latest->function : "",
        latest ? ", and CONVOY_SYNC=1 waits after each launch, so that the last one is the one that hangs"
               : "");
}

static void *look_on(void *unused) {
    const double pause = limit / 4;
    const struct timespec while_ = {(time_t)pause, (long)(1e9 * (pause - (double)(time_t)pause))};
    for (;;) {
        char text[LONGEST];
        nanosleep(&while_, NULL);
        for (int i = 0; i < CALLS; i++) {
            pthread_mutex_lock(&lock);
            const bool tells = calls[i].call && !calls[i].told && cvy_seconds() - calls[i].since >= limit;
            if (tells)
                describe(i, text);
            calls[i].told |= tells;
            pthread_mutex_unlock(&lock);
            if (tells)
                cvy_warning("%s", text);
        }
    }
    return unused;
}

/* A forked child has no such thread, and its lock in order. */
static void before_fork(void) {
    pthread_mutex_lock(&lock);
}
static void after_fork(void) {
    pthread_mutex_unlock(&lock);
}
static void in_child(void) {
    atomic_store(&looks_on, false);
    for (int i = 0; i < CALLS; i++)
        calls[i].call = NULL;
    pthread_mutex_unlock(&lock);
}

convoy_status cvy_calls_watch(double seconds) {
    static bool forks;
    pthread_t thread;
    if (atomic_load(&looks_on) || !(seconds > 0))
        return CONVOY_OK;
    if (!forks && pthread_atfork(before_fork, after_fork, in_child))
        return cvy_fail_memory("a watchdog", sizeof calls);
    forks = true;
    limit = seconds;
    if (pthread_create(&thread, NULL, look_on, NULL))
        return cvy_fail(CONVOY_FAILED, "no thread can be started for the watchdog");
    pthread_detach(thread);
    atomic_store(&looks_on, true);
    return CONVOY_OK;
}
