/* Sets of photographs, whatever named them: a list of files with their classes, which is divided, thinned out
   and read. */
#ifndef CVY_DATA_PHOTOGRAPHS_H
#define CVY_DATA_PHOTOGRAPHS_H

#include "data/dataset.h"

/* What images are for; CVY_NO_SPLIT: nothing says so. */
typedef enum cvy_split { CVY_TRAIN, CVY_TEST, CVY_VAL, CVY_NO_SPLIT } cvy_split;
enum { CVY_SPLIT_NAMES = 3 };
/* What each is called, in upper or lower case, NULL where there are fewer names; the first goes first. */
extern const char *const cvy_split_names[CVY_NO_SPLIT][CVY_SPLIT_NAMES];
/* The split that a word means. */
cvy_split cvy_split_of(const char *word);

/* {0} is an empty one. */
typedef struct cvy_listing {
    char **paths; /* malloc'ed, as is each */
    int32_t *labels;
    size_t count, capacity;
} cvy_listing;

/* The list owns `path` from now on, also where this fails. */
convoy_status cvy_listing_add(cvy_listing *list, char *path, int label);
void cvy_listing_free(cvy_listing *list);

/* Keeps the training images, or those that are held out of them for testing: a draw that depends on the seed,
   the class and how many images it has, whose order decides. As many are held out as scikit-learn's
   stratified train_test_split takes; with request->options.rounded_by_class each class rounds for itself. Of
   two images of a class each side has one. */
convoy_status cvy_listing_split(cvy_listing *list, int classes, const cvy_dataset_request *request);

/* Makes the set of a list, which becomes empty; its classes are known. */
convoy_status cvy_photographs_open(const cvy_dataset_request *request, cvy_listing *list,
                                   convoy_dataset *dataset);

#endif
