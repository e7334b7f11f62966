/* Trains two models at once, each on a device of its own, in two threads: different objects never get into
   each other's way. Each thread has its own error message.

   cc two_devices.c $(pkg-config --cflags --libs convoy) -pthread -o two_devices && \
       ./two_devices models/lenet.yaml host cpu */
#include <convoy.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct job {
    const char *file, *device;
    convoy_train_result result;
    convoy_status status;
    char message[512];
} job;

static void *run(void *argument) {
    job *j = argument;
    convoy_device *device = NULL;
    convoy_model *model = NULL;
    convoy_dataset *set = NULL;
    int image[3];
    j->result.size = sizeof j->result;
    j->status = convoy_device_open(j->device, &device);
    if (!j->status)
        j->status = convoy_model_load(j->file, NULL, &model);
    if (!j->status) {
        convoy_model_image(model, image);
        convoy_dataset_options wanted = {.size = sizeof wanted,
                                         .channels = image[0],
                                         .height = image[1],
                                         .width = image[2],
                                         .synthetic_images = 128};
        j->status = convoy_dataset_open("synthetic", "train", &wanted, &set);
    }
    convoy_train_options options = {.size = sizeof options, .epochs = 1, .batch_size = 32};
    if (!j->status)
        j->status = convoy_train(model, device, set, NULL, &options, &j->result);
    if (j->status)
        snprintf(j->message, sizeof j->message, "%s", convoy_error_message());
    convoy_dataset_free(set);
    convoy_model_free(model);
    convoy_device_close(device);
    return NULL;
}

int main(int argc, char **argv) {
    const char *file = argc > 1 ? argv[1] : "models/lenet.yaml";
    job jobs[2] = {{.file = file, .device = argc > 2 ? argv[2] : "host"},
                   {.file = file, .device = argc > 3 ? argv[3] : "auto"}};
    pthread_t threads[2];
    int code = 0;

    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, run, &jobs[i]) != 0)
            return 1;
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        if (jobs[i].status) {
            fprintf(stderr, "%s: %s\n", jobs[i].device, jobs[i].message);
            code = convoy_status_exit_code(jobs[i].status);
        } else {
            printf("%s: train loss %.4f after %llu steps\n", jobs[i].device, jobs[i].result.train_loss,
                   jobs[i].result.steps);
        }
    }
    return code;
}
