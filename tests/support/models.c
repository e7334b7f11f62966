/* The helpers of models.h. */
#include "support/models.h"

#include <unistd.h>

convoy_status test_model_load(const char *name, const char *yaml, const convoy_model_options *options,
                              convoy_model **model) {
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(yaml, 1, strlen(yaml), file), strlen(yaml));
    assert_int_equal(fclose(file), 0);
    convoy_status status = convoy_model_load(name, options, model);
    unlink(name);
    return status;
}

convoy_model *test_model(const char *yaml) {
    char name[64];
    snprintf(name, sizeof name, "model-%d.yaml", (int)getpid());
    convoy_model *model = NULL;
    assert_ok(test_model_load(name, yaml, NULL, &model));
    return model;
}
