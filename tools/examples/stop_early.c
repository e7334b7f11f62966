/* Stops a run from a callback once the test accuracy has not risen for two epochs, and listens to what the
   library has to say. The run folder keeps the best weights, and convoy_train could go on from there.

   cc stop_early.c $(pkg-config --cflags --libs convoy) -o stop_early && ./stop_early models/lenet.yaml
   synthetic */
#include <convoy.h>
#include <stdio.h>
#include <stdlib.h>

static void check(convoy_status status) {
    if (status == CONVOY_OK)
        return;
    fprintf(stderr, "%s\n", convoy_error_message());
    exit(convoy_status_exit_code(status));
}

static void listen(void *context, convoy_log_level level, const char *message) {
    (void)context;
    fprintf(stderr, "%s%s\n", level == CONVOY_LOG_WARNING ? "warning: " : "", message);
}

typedef struct patience {
    double best;
    int epochs; /* since the best one */
} patience;

static int progress(void *context, const convoy_progress *p) {
    patience *wait = context;
    if (p->kind != CONVOY_PROGRESS_EPOCH)
        return 1;
    wait->epochs = p->test_accuracy > wait->best ? 0 : wait->epochs + 1;
    if (!wait->epochs)
        wait->best = p->test_accuracy;
    printf("epoch %d: test accuracy %.3f\n", p->epoch, p->test_accuracy);
    return wait->epochs < 2;
}

int main(int argc, char **argv) {
    const char *data = argc > 2 ? argv[2] : "synthetic";
    convoy_device *device;
    convoy_model *model;
    convoy_dataset *train, *test;
    patience wait = {-1, 0};
    int image[3];

    convoy_log_set_sink(listen, NULL); /* without it, the library is silent */
    check(convoy_device_open(NULL, &device));
    check(convoy_model_load(argc > 1 ? argv[1] : "models/lenet.yaml", NULL, &model));
    convoy_model_image(model, image);
    convoy_dataset_options wanted = {
        .size = sizeof wanted, .channels = image[0], .height = image[1], .width = image[2], .limit = 4096};
    check(convoy_dataset_open(data, "train", &wanted, &train));
    check(convoy_dataset_open(data, "test", &wanted, &test));

    convoy_train_options options = {
        .size = sizeof options, .epochs = 50, .out = "stop_early", .progress = progress, .context = &wait};
    convoy_train_result result = {.size = sizeof result};
    convoy_status status = convoy_train(model, device, train, test, &options, &result);
    if (status != CONVOY_INTERRUPTED) /* what the callback asks for */
        check(status);
    printf("best test accuracy %.3f, in epoch %d of %d\n", result.best_test_accuracy, result.best_epoch,
           result.epochs);

    convoy_dataset_free(test);
    convoy_dataset_free(train);
    convoy_model_free(model);
    convoy_device_close(device);
    return 0;
}
