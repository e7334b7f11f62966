/* Trains a model by its recipe, evaluates it, saves its weights, loads them into a fresh model, and evaluates
   again.

   cc train.c $(pkg-config --cflags --libs convoy) -o train && ./train models/lenet.yaml fashion-mnist */
#include <convoy.h>
#include <stdio.h>
#include <stdlib.h>

static void check(convoy_status status) {
    if (status == CONVOY_OK)
        return;
    fprintf(stderr, "%s\n", convoy_error_message());
    exit(convoy_status_exit_code(status));
}

static int progress(void *context, const convoy_progress *p) {
    (void)context;
    if (p->kind == CONVOY_PROGRESS_EPOCH)
        printf("epoch %d: train loss %.3f, test accuracy %.3f\n", p->epoch, p->train_loss, p->test_accuracy);
    return 1; /* go on */
}

static void evaluate(convoy_model *model, convoy_device *device, convoy_dataset *test) {
    const convoy_evaluation *e;
    check(convoy_evaluate(model, device, test, 0, &e));
    printf("test loss %.3f, accuracy %.3f; class %s: recall %.3f\n", e->loss, e->accuracy,
           e->classes[0]->name, e->classes[0]->recall);
    convoy_evaluation_free(e);
}

int main(int argc, char **argv) {
    const char *file = argc > 1 ? argv[1] : "models/lenet.yaml";
    const char *data = argc > 2 ? argv[2] : "synthetic";
    convoy_device *device;
    convoy_model *model, *fresh;
    convoy_dataset *train, *test;
    int image[3];

    check(convoy_device_open(NULL, &device)); /* $CONVOY_DEVICE, or the best there is */
    check(convoy_model_load(file, NULL, &model));
    convoy_model_image(model, image);
    convoy_dataset_options wanted = {
        .size = sizeof wanted, .channels = image[0], .height = image[1], .width = image[2], .limit = 4096};
    check(convoy_dataset_open(data, "train", &wanted, &train));
    check(convoy_dataset_open(data, "test", &wanted, &test));

    convoy_train_options options = {.size = sizeof options, .epochs = 2, .progress = progress};
    convoy_train_result result = {.size = sizeof result};
    check(convoy_train(model, device, train, test, &options, &result));
    printf("%.0f images/s on %s\n", result.images_per_second, convoy_device_get_info(device)->name);
    evaluate(model, device, test);

    check(convoy_model_save_weights(model, "weights.safetensors"));
    check(convoy_model_load(file, NULL, &fresh));
    check(convoy_model_load_weights(fresh, "weights.safetensors"));
    evaluate(fresh, device, test);

    convoy_dataset_free(test);
    convoy_dataset_free(train);
    convoy_model_free(fresh);
    convoy_model_free(model);
    convoy_device_close(device);
    return 0;
}
