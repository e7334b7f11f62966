/* A folder for each test, or for each group of them: what tests take as their set-up and tear-down. */
#ifndef CVY_TESTS_FOLDER_H
#define CVY_TESTS_FOLDER_H

#include "support/images.h"

static char *folder;

static inline int make_folder(void **state) {
    (void)state;
    folder = test_folder_create();
    return 0;
}

static inline int remove_folder(void **state) {
    (void)state;
    test_folder_remove(folder);
    return 0;
}

#endif
