/* What the operating system says about the machine and this process. Nothing else asks it. */
#ifndef CVY_BASE_MACHINE_H
#define CVY_BASE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "base/text.h"

/* Bytes of main memory; half of what a size_t can say where that is not known. */
size_t cvy_machine_memory(void);
/* Zeroed memory for `count` elements, whose number comes from outside; NULL where that is more than the
   machine has, whatever the operating system would promise. */
void *cvy_machine_allocate(size_t count, size_t size);
/* Cores that this process may run on, at least 1. */
int cvy_machine_cores(void);
/* The file that holds this code, without symbolic links: the shared library, or the program that it was
   linked into. malloc'ed; NULL where that is not known. */
char *cvy_machine_code_path(void);
/* A file that belongs to this code: beside it (in a build folder), else in ../libexec/convoy or
   ../../libexec/convoy from there (lib/ and lib/<machine>/ of an installation). malloc'ed; NULL: there is
   none, and `tried` tells where it was looked for. */
char *cvy_machine_find(const char *name, cvy_text *tried);
/* A symbol of a shared library, loaded with all that it needs where others find that too; it stays loaded.
   NULL: `failure` of `room` bytes. */
void *cvy_machine_load(const char *path, const char *symbol, char *failure, size_t room);
/* What the machine calls itself. */
void cvy_machine_name(char *name, size_t room);
/* Lets others run, for so many seconds; 0: only if there are any. */
void cvy_machine_pause(double seconds);
/* Hashes what drivers may find changed though their files are not: the machine's start, whether /sys is
   there, and the environment variables that begin with one of the prefixes (NULL-terminated). */
void cvy_machine_describe(cvy_hash *hash, const char *const *prefixes);

#endif
