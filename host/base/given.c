/* Looking at what callers give. */
#include "base/given.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 4096 }; /* a larger struct is one whose size was never set */

convoy_status cvy_given_pointer(const char *function, const char *what, const void *pointer) {
    return pointer ? CONVOY_OK : cvy_fail(CONVOY_INVALID, "%s: %s is NULL", function, what);
}

/* ---- objects ---- */

#ifdef CVY_CHECK_OBJECTS

/* The addresses of what is open, in a table of open addressing that doubles when it is half full. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const void **table;
static size_t room, used;

static size_t place_of(const void *object) {
    size_t at = ((uintptr_t)object >> 4) * 0x9E3779B97F4A7C15u & (room - 1);
    while (table[at] && table[at] != object)
        at = (at + 1) & (room - 1);
    return at;
}

static void add(const void *object) {
    const size_t at = place_of(object);
    used += !table[at];
    table[at] = object;
}

static void grow(void) {
    const void **before = table;
    const size_t count = room;
    const void **larger = calloc(room ? 2 * room : 64, sizeof *larger);
    if (!larger)
        cvy_abort_memory();
    table = larger;
    room = room ? 2 * room : 64;
    used = 0;
    for (size_t i = 0; i < count; i++)
        if (before[i])
            add(before[i]);
    free(before);
}

static bool is_open(const void *object) {
    pthread_mutex_lock(&lock);
    const bool open = room && table[place_of(object)] == object;
    pthread_mutex_unlock(&lock);
    return open;
}

void cvy_object_open(const void *object) {
    pthread_mutex_lock(&lock);
    if (2 * used >= room)
        grow();
    add(object);
    pthread_mutex_unlock(&lock);
}

static void take_out(const void *object) {
    pthread_mutex_lock(&lock);
    size_t at = place_of(object);
    table[at] = NULL;
    used--;
    /* What stands behind it may have wanted its place. */
    for (at = (at + 1) & (room - 1); table[at]; at = (at + 1) & (room - 1)) {
        const void *moved = table[at];
        table[at] = NULL;
        used--;
        add(moved);
    }
    pthread_mutex_unlock(&lock);
}

#else

static bool is_open(const void *object) {
    (void)object;
    return true;
}

void cvy_object_open(const void *object) {
    (void)object;
}

static void take_out(const void *object) {
    (void)object;
}

#endif

convoy_status cvy_given_object(const char *function, const char *what, const void *object) {
    convoy_status status = cvy_given_pointer(function, what, object);
    if (!status && !is_open(object))
        status =
            cvy_fail(CONVOY_INVALID, "%s: %s is not open: it was closed, or never opened", function, what);
    return status;
}

bool cvy_object_close(const char *function, const char *what, const void *object) {
    if (cvy_given_object(function, what, object))
        return false;
    take_out(object);
    return true;
}

/* ---- structs ---- */

static size_t size_of(const void *given, size_t known) {
    size_t size;
    memcpy(&size, given, sizeof size);
    return size ? size : known;
}

convoy_status cvy_check_struct(const char *function, const char *what, const void *given) {
    const size_t size = given ? size_of(given, sizeof size) : sizeof size;
    if (size >= sizeof size && size <= MOST_BYTES)
        return CONVOY_OK;
    return cvy_fail(
        CONVOY_INVALID,
        "%s: the size of %s is %zu, which cannot be: set it to sizeof the struct, and the rest to 0",
        function, what, size);
}

convoy_status cvy_take_struct(const char *function, const char *what, const void *given, void *own,
                              size_t size) {
    memset(own, 0, size);
    convoy_status status = cvy_check_struct(function, what, given);
    if (status || !given)
        return status;
    const size_t theirs = size_of(given, size), common = theirs < size ? theirs : size;
    for (size_t i = size; i < theirs; i++)
        if (((const unsigned char *)given)[i])
            return cvy_fail(
                CONVOY_INVALID,
                "%s: %s asks for something that this version does not know: it has %zu bytes, of which "
                "%zu are known here. Link a newer libconvoy",
                function, what, theirs, size);
    memcpy(own, given, common);
    memcpy(own, &size, sizeof size);
    return CONVOY_OK;
}

convoy_status cvy_give_struct(const char *function, const char *what, void *given, const void *own,
                              size_t size) {
    convoy_status status = given ? cvy_check_struct(function, what, given) : CONVOY_OK;
    if (status || !given)
        return status;
    const size_t theirs = size_of(given, size), common = theirs < size ? theirs : size;
    memcpy((char *)given + sizeof size, (const char *)own + sizeof size, common - sizeof size);
    return CONVOY_OK;
}
