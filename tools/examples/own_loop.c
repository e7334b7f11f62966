/* A loop of the program's own: it takes the steps, lowers the learning rate after each epoch, evaluates when
   it likes, and saves into a run folder, from which `convoy train --resume` and convoy_train can go on.

   cc own_loop.c $(pkg-config --cflags --libs convoy) -o own_loop && \
       ./own_loop models/lenet.yaml fashion-mnist run */
#include <convoy.h>
#include <stdio.h>
#include <stdlib.h>

static void check(convoy_status status) {
    if (status == CONVOY_OK)
        return;
    fprintf(stderr, "%s\n", convoy_error_message());
    exit(convoy_status_exit_code(status));
}

int main(int argc, char **argv) {
    const char *data = argc > 2 ? argv[2] : "synthetic";
    convoy_device *device;
    convoy_model *model;
    convoy_dataset *train, *test;
    convoy_trainer *trainer;
    int image[3];

    check(convoy_device_open(NULL, &device));
    check(convoy_model_load(argc > 1 ? argv[1] : "models/lenet.yaml", NULL, &model));
    convoy_model_image(model, image);
    convoy_dataset_options wanted = {
        .size = sizeof wanted, .channels = image[0], .height = image[1], .width = image[2], .limit = 4096};
    check(convoy_dataset_open(data, "train", &wanted, &train));
    check(convoy_dataset_open(data, "test", &wanted, &test));

    convoy_train_options options = {.size = sizeof options, .seed = 1, .out = argc > 3 ? argv[3] : NULL};
    check(convoy_trainer_open(model, device, train, test, &options, &trainer));
    for (int epoch = 1; epoch <= 3; epoch++) {
        convoy_progress p = {.size = sizeof p};
        do
            check(convoy_trainer_step(trainer, &p));
        while (p.kind != CONVOY_PROGRESS_EPOCH);
        double loss, accuracy, rate = convoy_trainer_learning_rate(trainer);
        check(convoy_trainer_evaluate(trainer, &loss, &accuracy));
        printf("epoch %d, step %llu, learning rate %g: train loss %.3f, test loss %.3f, accuracy %.3f\n",
               p.epoch, p.step, rate, p.train_loss, loss, accuracy);
        check(convoy_trainer_set_learning_rate(trainer, 0.5 * rate));
        if (options.out)
            check(convoy_trainer_save(trainer));
    }
    check(convoy_trainer_fetch(trainer)); /* now the model has the weights */
    convoy_trainer_close(trainer);
    check(convoy_model_save_weights(model, "own_loop.safetensors"));

    convoy_dataset_free(test);
    convoy_dataset_free(train);
    convoy_model_free(model);
    convoy_device_close(device);
    return 0;
}
