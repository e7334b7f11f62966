/* Convoy trains and evaluates convolutional image classifiers on any OpenCL device, or on the host CPU.

   A complete program: it trains a model, evaluates it, saves its weights, loads them into a fresh model, and
   predicts. Build it with `cc program.c $(pkg-config --cflags --libs convoy)`, and run it with a model file
   and a data set: `./a.out models/lenet.yaml fashion-mnist`.

   ---- program ----
   #include <convoy.h>
   #include <stdint.h>
   #include <stdio.h>
   #include <stdlib.h>

   static void check(convoy_status status) {
       if (status == CONVOY_OK)
           return;
       fprintf(stderr, "%s\n", convoy_error_message());
       exit(convoy_status_exit_code(status));
   }

   static void progress(void *context, const convoy_progress *p) {
       (void)context;
       if (p->kind == CONVOY_PROGRESS_EPOCH)
           printf("epoch %d: train loss %.3f, test accuracy %.3f\n", p->epoch, p->train_loss,
                  p->test_accuracy);
   }

   int main(int argc, char **argv) {
       const char *file = argc > 1 ? argv[1] : "models/lenet.yaml";
       const char *data = argc > 2 ? argv[2] : "synthetic";
       convoy_device *device;
       convoy_model *model, *fresh;
       convoy_dataset *train, *test;
       int wanted[3], input[3];

       check(convoy_device_open(NULL, &device));
       check(convoy_model_load(file, NULL, &model));
       convoy_model_image(model, wanted);
       convoy_dataset_options images = {
           .channels = wanted[0], .height = wanted[1], .width = wanted[2], .limit = 4096};
       check(convoy_dataset_open(data, "train", &images, &train));
       check(convoy_dataset_open(data, "test", &images, &test));

       convoy_train_options options = {.epochs = 2, .progress = progress};
       convoy_train_result result;
       check(convoy_train(model, device, train, test, &options, &result));
       printf("%.0f images/s on %s\n", result.images_per_second, convoy_device_get_info(device)->name);

       convoy_evaluation *evaluation;
       check(convoy_evaluate(model, device, test, 0, &evaluation));
       printf("test loss %.3f, accuracy %.3f\n", evaluation->loss, evaluation->accuracy);
       convoy_evaluation_free(evaluation);

       check(convoy_model_save_weights(model, "weights.safetensors"));
       check(convoy_model_load(file, NULL, &fresh));
       check(convoy_model_load_weights(fresh, "weights.safetensors"));

       int height = convoy_dataset_height(test), width = convoy_dataset_width(test); // the set's own
       convoy_model_input(fresh, input);
       uint8_t *bytes = malloc((size_t)convoy_dataset_channels(test) * (size_t)height * (size_t)width);
       float *image = malloc((size_t)input[0] * (size_t)input[1] * (size_t)input[2] * sizeof *image);
       float *outputs = malloc((size_t)convoy_model_classes(fresh) * sizeof *outputs);
       convoy_network *network;
       check(convoy_dataset_image(test, 0, bytes));
       check(convoy_model_prepare(fresh, bytes, height, width, image));
       check(convoy_network_open(fresh, device, 1, &network));
       check(convoy_network_predict(network, image, 1, outputs));
       int answer = 0;
       for (int i = 1; i < convoy_model_classes(fresh); i++)
           if (outputs[i] > outputs[answer])
               answer = i;
       printf("the first test image is of class %s; the answer is %s\n",
              convoy_dataset_class_name(test, convoy_dataset_label(test, 0)),
              convoy_dataset_class_name(test, answer));

       convoy_network_close(network);
       free(outputs);
       free(image);
       free(bytes);
       convoy_dataset_free(test);
       convoy_dataset_free(train);
       convoy_model_free(fresh);
       convoy_model_free(model);
       convoy_device_close(device);
       return 0;
   }
   ---- end of program ---- */
#ifndef CONVOY_H
#define CONVOY_H

#include "convoy/data.h"
#include "convoy/device.h"
#include "convoy/model.h"
#include "convoy/status.h"
#include "convoy/train.h"

#define CONVOY_VERSION "0.1.0"

#endif
