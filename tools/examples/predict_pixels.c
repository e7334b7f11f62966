/* Asks a trained model about a picture in memory, here a gradient of 640x480 RGB pixels: resized, cropped,
   brought to the model's channels, normalised and with its border, as its weights want it.

   cc predict_pixels.c $(pkg-config --cflags --libs convoy) -o predict_pixels && \
       ./predict_pixels models/lenet.yaml weights.safetensors */
#include <convoy.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEIGHT = 480, WIDTH = 640 };

static void check(convoy_status status) {
    if (status == CONVOY_OK)
        return;
    fprintf(stderr, "%s\n", convoy_error_message());
    exit(convoy_status_exit_code(status));
}

int main(int argc, char **argv) {
    static uint8_t pixels[HEIGHT][WIDTH][3]; /* a camera's, say */
    convoy_device *device;
    convoy_model *model;
    convoy_predictor *predictor;

    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            pixels[y][x][0] = (uint8_t)(255 * y / HEIGHT);
            pixels[y][x][1] = (uint8_t)(255 * x / WIDTH);
            pixels[y][x][2] = (uint8_t)((x / 40 + y / 40) % 2 * 200);
        }
    check(convoy_device_open(NULL, &device));
    check(convoy_model_load(argc > 1 ? argv[1] : "models/lenet.yaml", NULL, &model));
    check(convoy_model_load_weights(model, argc > 2 ? argv[2] : "weights.safetensors"));
    check(convoy_predictor_open(model, device, 1, &predictor));

    convoy_picture picture = {
        .size = sizeof picture, .pixels = pixels[0][0], .channels = 3, .height = HEIGHT, .width = WIDTH};
    const convoy_picture *pictures[] = {&picture}; /* any number at a time */
    int classes = convoy_model_classes(model), best = 0;
    double *probabilities = malloc((size_t)classes * sizeof *probabilities);
    if (!probabilities)
        return 4;
    check(convoy_predictor_run(predictor, pictures, 1, NULL, probabilities));
    for (int c = 1; c < classes; c++)
        if (probabilities[c] > probabilities[best])
            best = c;
    printf("%s, with a probability of %.3f\n", convoy_model_class_name(model, best), probabilities[best]);

    free(probabilities);
    convoy_predictor_close(predictor);
    convoy_model_free(model);
    convoy_device_close(device);
    return 0;
}
