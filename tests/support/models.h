/* Small models for tests, written as YAML in the test itself. */
#ifndef CVY_TESTS_MODELS_H
#define CVY_TESTS_MODELS_H

#include "convoy/model.h"
#include "support/test.h"

/* Writes `yaml` to a temporary file named `name` and loads it; the file is gone afterwards, and messages name
   it as `name`: a relative path. The caller's folder must be writable. */
convoy_status test_model_load(const char *name, const char *yaml, const convoy_model_options *options,
                              convoy_model **model);

/* Loads a model that must load. */
convoy_model *test_model(const char *yaml);

#endif
