/* What tests of training and of the command need: tiny models, files to compare. */
#ifndef CVY_TESTS_RUN_H
#define CVY_TESTS_RUN_H

#include "support/images.h"
#include "support/test.h"

/* "<folder>/<name>", kept until the program ends. */
const char *test_path(const char *folder, const char *name);

/* Writes text to "<folder>/<name>" and returns the path. */
const char *test_write(const char *folder, const char *name, const char *text);

/* A model of 8x8 grey images and 10 classes with convolution, batch-norm, dropout and a linear layer, on
   synthetic data. `recipe`: more lines of the recipe, each "  key: value\n". */
const char *test_tiny_model(const char *folder, const char *name, const char *recipe);

/* A text file, malloc'ed and NUL-terminated; fails the test when it cannot be read. */
char *test_read_text(const char *path, size_t *size);
/* Both files hold the same bytes. */
void test_same_file(const char *a, const char *b);
/* Both metrics.csv hold the same rows but for the two columns that are times. */
void test_same_metrics(const char *a, const char *b);
/* Two run folders hold the same run: tensors and position of the checkpoints (their metadata hold seconds),
   weights, model.yaml and metrics. */
void test_same_run(const char *a, const char *b);

#endif
