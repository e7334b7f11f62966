/* What a caller gives to a public function, looked at before it is used: objects that must be there, and
   structs that begin with their size and may be shorter or longer than ours. Failures name the function. */
#ifndef CVY_BASE_GIVEN_H
#define CVY_BASE_GIVEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* CONVOY_INVALID where it is NULL; with CVY_CHECK_OBJECTS, as in debug builds, also where it is closed.
   `what` is the parameter's name. */
convoy_status cvy_given_object(const char *function, const char *what, const void *object);
/* The same for memory and text, which nobody opens. */
convoy_status cvy_given_pointer(const char *function, const char *what, const void *pointer);
#define CVY_GIVEN(object) cvy_given_object(__func__, #object, object)
#define CVY_GIVEN_POINTER(pointer) cvy_given_pointer(__func__, #pointer, pointer)

/* Keeps book of the objects that are open, where that is looked at. */
void cvy_object_open(const void *object);
/* To be asked before an object is closed; false: it is not open, which is told as a failure of `function`. */
bool cvy_object_close(const char *function, const char *what, const void *object);

/* Copies a caller's struct into `own`, which has `size` bytes; NULL is a struct of zeros. CONVOY_INVALID: a
   size that cannot be, or fields that are set and unknown here. */
convoy_status cvy_take_struct(const char *function, const char *what, const void *given, void *own,
                              size_t size);
/* The other way, as far as the caller's has room; its size stays. */
convoy_status cvy_give_struct(const char *function, const char *what, void *given, const void *own,
                              size_t size);
/* Is it one that can be given back? For the beginning of long work. NULL is allowed. */
convoy_status cvy_check_struct(const char *function, const char *what, const void *given);

#endif
