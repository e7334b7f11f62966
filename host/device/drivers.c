/* Trying drivers in child processes, and what follows for this process. */
#include "device/drivers.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define VENDORS "/etc/OpenCL/vendors"
enum { UNITS = 32 };
/* Of children: they do not check in turn, whatever program the helper may be. */
static const char unchecked[] = "CONVOY_DRIVER_CHECK=0";
/* Seconds for each step; a cold driver compiles its first program while a device is opened. */
static const double list_limit = 20, open_limit = 120;

/* What a child tries: the driver of one .icd file, or all that the loader finds. */
typedef struct unit {
    char file[512]; /* "": all */
    cvy_driver_answer answer;
    cvy_child child;
    char step[256]; /* what it does at the moment */
    bool asked;     /* the child runs */
} unit;

static unit units[UNITS];
static size_t unit_count, aside_count, good_count;
static cvy_driver aside[UNITS];
static bool own_process, checked, usable;
static cvy_child opener; /* under its lock */
static pthread_mutex_t opener_lock = PTHREAD_MUTEX_INITIALIZER;

void cvy_drivers_own_process(void) {
    own_process = true;
}

/* 0: no check. */
static double limit_of(double usual) {
    const char *wish = getenv("CONVOY_DRIVER_CHECK");
    double seconds = usual;
    return wish && *wish && cvy_text_to_double(wish, &seconds) && seconds >= 0 ? seconds : usual;
}

/* ---- Which drivers there are ---- */

static void add_unit(const char *file) {
    if (unit_count == UNITS)
        return;
    unit *u = &units[unit_count++];
    *u = (unit){0};
    snprintf(u->file, sizeof u->file, "%s", file);
}

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), more = strlen(end);
    return length >= more && strcmp(text + length - more, end) == 0;
}

static void add_folder(const char *folder) {
    char **names = NULL;
    size_t count = 0;
    if (cvy_folder_list(folder, &names, &count))
        return; /* nothing is installed */
    for (size_t i = 0; i < count; i++)
        if (ends_with(names[i], ".icd")) {
            char *path = cvy_path_join(folder, names[i]);
            add_unit(path);
            free(path);
        }
    cvy_names_free(names, count);
}

/* Has somebody put himself in the loader's place, as Oclgrind does? Then .icd files mean nothing. */
static bool is_interposed(void) {
    Dl_info info;
    void *call = dlsym(RTLD_DEFAULT, "clGetPlatformIDs");
    return call && dladdr(call, &info) && info.dli_fname && !strstr(info.dli_fname, "libOpenCL");
}

/* As both loaders read their variables; what only one of them understands is tried as a whole. */
static void find_units(void) {
    const char *vendors = getenv("OCL_ICD_VENDORS"), *others = getenv("OCL_ICD_FILENAMES"),
               *moved = getenv("OPENCL_VENDOR_PATH");
    unit_count = 0;
    if (is_interposed() || (others && *others) || (moved && *moved))
        add_unit("");
    else if (!vendors || !*vendors)
        add_folder(VENDORS);
    else if (cvy_folder_exists(vendors))
        add_folder(vendors);
    else if (cvy_file_exists(vendors) && ends_with(vendors, ".icd"))
        add_unit(vendors);
    else if (cvy_file_exists(vendors) || !strchr(vendors, '/')) /* a library, or for the loader to find */
        add_unit("");
}

/* ---- Asking children ---- */

/* A folder with links to these .icd files; malloc'ed, NULL: none can be made. Not every loader takes a single
   file. It is named by what is in it, so that it never changes. */
static char *make_vendor_folder(const char *const *files, size_t count) {
    char key[33], name[48];
    cvy_driver_key(files, key);
    snprintf(name, sizeof name, "drivers-%.16s", key);
    char *cache = cvy_cache_folder(), *folder = cache ? cvy_path_join(cache, name) : NULL;
    bool made = folder && !cvy_folder_create(folder);
    for (size_t i = 0; made && i < count; i++) {
        snprintf(name, sizeof name, "%02zu.icd", i);
        char *link = cvy_path_join(folder, name), *target = realpath(files[i], NULL);
        made = target && (cvy_file_exists(link) || symlink(target, link) == 0);
        free(target);
        free(link);
    }
    free(cache);
    if (made)
        return folder;
    free(folder);
    return NULL;
}

/* Its lines: "step\t<what it begins>", "library\t<path>", "good"; or a failure. False: it goes on. */
static bool take_line(cvy_driver_answer *answer, char step[256], const char *line) {
    const char *rest = strchr(line, '\t');
    rest = rest ? rest + 1 : "";
    if (strncmp(line, "step\t", 5) == 0)
        snprintf(step, 256, "%s", rest);
    else if (strncmp(line, "library\t", 8) == 0)
        snprintf(answer->library, sizeof answer->library, "%s", rest);
    else if (strcmp(line, "good") == 0) {
        answer->verdict = CVY_DRIVER_GOOD;
        return true;
    }
    return false;
}

/* Waits for the last word of a child. False: it has ended. */
static bool hear_answer(cvy_child *child, double limit, cvy_driver_answer *answer, char step[256]) {
    const cvy_child_patience patience = {.limit = limit};
    cvy_child_answer heard;
    cvy_child_event event;
    bool over = false;
    do {
        event = cvy_child_hear(child, &patience, &heard);
        if (event == CVY_CHILD_ANSWERED)
            over = take_line(answer, step, heard.line);
    } while (event == CVY_CHILD_ANSWERED && !over);
    if (!over) {
        answer->verdict = event == CVY_CHILD_FAILED ? CVY_DRIVER_USELESS : CVY_DRIVER_DANGEROUS;
        if (event == CVY_CHILD_FAILED)
            snprintf(answer->reason, sizeof answer->reason, "%s", convoy_error_message());
        else if (event == CVY_CHILD_LATE)
            snprintf(answer->reason, sizeof answer->reason, "does not come back from %s within %.3g s", step,
                     limit);
        else
            snprintf(answer->reason, sizeof answer->reason, "ends its process in %s: %s", step,
                     cvy_child_ending(child));
    }
    return over;
}

static void name_answer(const unit *u, char key[33]) {
    char stamp[64];
    long long size = 0, changed = 0;
    cvy_file_stamp(u->file, &size, &changed);
    snprintf(stamp, sizeof stamp, "%lld %lld", size, changed);
    cvy_driver_key((const char *const[]){"list", u->file, stamp, NULL}, key);
}

/* All at once: a slow one delays nobody else. */
static void ask_units(double limit) {
    for (size_t i = 0; i < unit_count; i++) {
        unit *u = &units[i];
        char vendors[1024];
        const char *const arguments[] = {u->file, NULL},
                          *environment[] = {unchecked, *u->file ? vendors : NULL, NULL};
        snprintf(u->step, sizeof u->step, "starting");
        name_answer(u, u->answer.key);
        if (*u->file && cvy_driver_recall(u->answer.key, &u->answer))
            continue;
        u->answer.library[0] = '\0';
        char *folder = *u->file ? make_vendor_folder(arguments, 1) : NULL;
        snprintf(vendors, sizeof vendors, "OCL_ICD_VENDORS=%.1000s", folder ? folder : u->file);
        free(folder);
        const cvy_child_options options = {.environment = environment};
        u->asked = cvy_child_start(&u->child, "list-driver", arguments, &options) == CONVOY_OK;
        if (!u->asked)
            u->answer.verdict = CVY_DRIVER_GOOD; /* for all that is known */
    }
    for (size_t i = 0; i < unit_count; i++) {
        unit *u = &units[i];
        if (!u->asked)
            continue;
        hear_answer(&u->child, limit, &u->answer, u->step);
        cvy_child_end(&u->child);
        if (*u->file)
            cvy_driver_remember(&u->answer);
    }
}

/* ---- What follows ---- */

/* The loader of this process, which has not started yet, meets the good ones alone. */
static bool leave_out_dangerous(void) {
    const char *files[UNITS + 1] = {NULL};
    size_t count = 0;
    for (size_t i = 0; i < unit_count; i++)
        if (units[i].answer.verdict != CVY_DRIVER_DANGEROUS)
            files[count++] = units[i].file;
    char *folder = make_vendor_folder(files, count);
    const char *vendors = folder ? folder : count == 1 ? files[0] : NULL;
    const bool left = vendors && setenv("OCL_ICD_VENDORS", vendors, 1) == 0;
    if (!left)
        cvy_warning("no folder for the .icd files of the other drivers can be made in the cache folder: none "
                    "is used");
    free(folder);
    return left;
}

static void set_aside(const unit *u) {
    cvy_driver *a = &aside[aside_count++];
    const bool dangerous = u->answer.verdict == CVY_DRIVER_DANGEROUS;
    snprintf(a->file, sizeof a->file, "%.511s", *u->file ? u->file : "the OpenCL library");
    memcpy(a->reason, u->answer.reason, sizeof a->reason);
    if (dangerous)
        cvy_warning("the OpenCL driver of %s is set aside: it %s", a->file, a->reason);
    else
        cvy_debug("the OpenCL driver of %s shows no device: %s", a->file, a->reason);
}

static bool settle(void) {
    size_t dangerous = 0;
    aside_count = good_count = 0;
    for (size_t i = 0; i < unit_count; i++) {
        dangerous += units[i].answer.verdict == CVY_DRIVER_DANGEROUS;
        good_count += units[i].answer.verdict != CVY_DRIVER_DANGEROUS;
    }
    for (int verdict = CVY_DRIVER_DANGEROUS; verdict > CVY_DRIVER_GOOD; verdict--)
        for (size_t i = 0; i < unit_count; i++)
            if (units[i].answer.verdict == (cvy_driver_verdict)verdict)
                set_aside(&units[i]);
    if (!dangerous)
        return true;
    if (!good_count || !*units[0].file)
        return false;
    if (own_process)
        return leave_out_dangerous();
    cvy_warning("OpenCL is not used in this process, which loads all drivers at once: let OCL_ICD_VENDORS "
                "name a folder "
                "with the .icd files of the others");
    return false;
}

bool cvy_drivers_check(void) {
    const double limit = limit_of(list_limit);
    if (checked)
        return usable;
    checked = usable = true;
    find_units();
    good_count = unit_count;
    if (!(limit > 0) || !cvy_child_possible())
        return true;
    ask_units(limit);
    usable = settle();
    return usable;
}

void cvy_drivers_forget(void) {
    cvy_driver_forget_all();
}

size_t cvy_drivers_aside(const cvy_driver **list) {
    *list = aside;
    return aside_count;
}

size_t cvy_drivers_good(void) {
    return good_count;
}

/* ---- Devices ---- */

static void name_device(const convoy_device_info *info, char key[33]) {
    cvy_driver_key((const char *const[]){"open", info->id, info->name, info->platform, info->vendor,
                                         info->driver, info->opencl_version, NULL},
                   key);
}

void cvy_driver_device_reason(const convoy_device_info *info, char *reason, size_t size) {
    cvy_driver_answer known;
    char key[33];
    *reason = '\0';
    if (!(limit_of(open_limit) > 0))
        return;
    name_device(info, key);
    if (cvy_driver_recall(key, &known) && known.verdict == CVY_DRIVER_DANGEROUS)
        snprintf(reason, size, "%s", known.reason);
}

cvy_child cvy_driver_take_child(void) {
    pthread_mutex_lock(&opener_lock);
    const cvy_child taken = opener;
    opener = (cvy_child){0};
    pthread_mutex_unlock(&opener_lock);
    return taken;
}

/* Compiling is slow where a device is a CPU. Of several children the latest is kept. */
static void keep_child(const convoy_device_info *info, cvy_child *child) {
    if (strcmp(info->type, "cpu") == 0) {
        pthread_mutex_lock(&opener_lock);
        const cvy_child before = opener;
        opener = *child;
        *child = before;
        pthread_mutex_unlock(&opener_lock);
    }
    cvy_child_end(child);
}

convoy_status cvy_driver_try_device(const convoy_device_info *info) {
    const double limit = limit_of(open_limit);
    cvy_driver_answer answer = {0};
    cvy_child child;
    char step[256] = "starting";
    if (!(limit > 0) || !cvy_child_possible())
        return CONVOY_OK;
    name_device(info, answer.key);
    const bool known = cvy_driver_recall(answer.key, &answer);
    if (!known) {
        const char *const arguments[] = {info->id, info->name, NULL};
        const char *const environment[] = {unchecked, NULL};
        const cvy_child_options options = {.environment = environment};
        if (cvy_child_start(&child, "open-device", arguments, &options))
            return CONVOY_OK;
        if (hear_answer(&child, limit, &answer, step) && answer.verdict == CVY_DRIVER_GOOD)
            keep_child(info, &child);
        else
            cvy_child_end(&child);
        /* One that fails in good order does so here, too, and says more. */
        if (answer.verdict == CVY_DRIVER_USELESS)
            return CONVOY_OK;
        cvy_driver_remember(&answer);
    }
    if (answer.verdict == CVY_DRIVER_GOOD)
        return CONVOY_OK;
    return cvy_fail(CONVOY_DEVICE, "its driver %s%s", answer.reason,
                    known ? " (found within the last hour; `convoy devices` tries it again)" : "");
}
