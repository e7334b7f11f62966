/* Trains on images of the program's own: an array in memory, and a function that makes a batch when it is
   wanted. The images are discs and squares, and the network is one of the program's own, too, which it writes
   to shapes.yaml.

   cc own_data.c $(pkg-config --cflags --libs convoy) -o own_data && ./own_data */
#include <convoy.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 28, IMAGES = 600, TEST_IMAGES = 200 };

static void check(convoy_status status) {
    if (status == CONVOY_OK)
        return;
    fprintf(stderr, "%s\n", convoy_error_message());
    exit(convoy_status_exit_code(status));
}

/* Even numbers are discs, odd ones squares, somewhere in the image. */
static void draw(unsigned number, uint8_t *pixels) {
    unsigned random = number * 2654435761u + 12345;
    int row = 8 + (int)(random >> 8 & 7), column = 8 + (int)(random >> 12 & 7),
        radius = 4 + (int)(random >> 16 & 3);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int dy = abs(y - row), dx = abs(x - column);
            int inside = number % 2 ? dy <= radius && dx <= radius : dy * dy + dx * dx <= radius * radius;
            *pixels++ = (uint8_t)(inside ? 220 : 30);
        }
}

/* Called on a thread of the library. */
static convoy_status fill(void *context, const uint32_t *indices, size_t count, void *pixels,
                          int32_t *labels) {
    const unsigned *first = context;
    for (size_t i = 0; i < count; i++) {
        draw(*first + indices[i], (uint8_t *)pixels + i * SIDE * SIDE);
        labels[i] = (int32_t)((*first + indices[i]) % 2);
    }
    return CONVOY_OK;
}

static const char network[] = "input: [1, 28, 28]\n"
                              "layers:\n"
                              "  - Conv2d: {out_channels: 8, kernel_size: 5}\n"
                              "  - ReLU\n"
                              "  - MaxPool2d: {kernel_size: 4}\n"
                              "  - Flatten\n"
                              "  - Linear: {out_features: 2}\n"
                              "recipe: {optimizer: {Adam: {lr: 0.003}}, batch_size: 50, epochs: 10}\n";

int main(void) {
    static uint8_t pixels[IMAGES][SIDE * SIDE];
    static int32_t labels[IMAGES];
    static const char *const names[] = {"disc", "square"};
    convoy_device *device;
    convoy_model *model;
    convoy_dataset *train, *test;
    unsigned first = IMAGES;

    for (unsigned i = 0; i < IMAGES; i++) {
        draw(i, pixels[i]);
        labels[i] = (int32_t)(i % 2);
    }
    convoy_images images = {.size = sizeof images, .name = "shapes", .count = IMAGES};
    images.channels = 1;
    images.height = images.width = SIDE;
    images.classes = 2;
    images.class_names = names;
    images.pixels = pixels;
    images.labels = labels;
    check(convoy_dataset_from_memory(&images, &train));
    images.count = TEST_IMAGES;
    images.pixels = NULL; /* the function makes them, */
    images.labels = NULL; /* and says what they are */
    check(convoy_dataset_from_function(&images, fill, &first, &test));

    FILE *file = fopen("shapes.yaml", "w");
    if (!file || fputs(network, file) < 0 || fclose(file) != 0)
        return 1;
    check(convoy_model_load("shapes.yaml", NULL, &model));
    check(convoy_device_open(NULL, &device));
    convoy_train_options options = {.size = sizeof options};
    convoy_train_result result = {.size = sizeof result};
    check(convoy_train(model, device, train, test, &options, &result));
    printf("test accuracy %.3f after %d epochs; output 1 means %s\n", result.test_accuracy, result.epochs,
           convoy_model_class_name(model, 1));

    convoy_model_free(model);
    convoy_dataset_free(test);
    convoy_dataset_free(train);
    convoy_device_close(device);
    return 0;
}
