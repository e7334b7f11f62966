/* The same from C++17: handles that close themselves, failures as exceptions, a lambda that hears of the
   progress.

   c++ -std=c++17 train.cpp $(pkg-config --cflags --libs convoy) -o train_cpp && \
       ./train_cpp models/lenet.yaml fashion-mnist */
#include <convoy.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

static void check(convoy_status status) {
    if (status != CONVOY_OK)
        throw std::runtime_error(std::string(convoy_status_name(status)) + ": " + convoy_error_message());
}

template <auto Close> struct closer {
    template <typename T> void operator()(T *object) const {
        Close(object);
    }
};
using device_handle = std::unique_ptr<convoy_device, closer<convoy_device_close>>;
using model_handle = std::unique_ptr<convoy_model, closer<convoy_model_free>>;
using dataset_handle = std::unique_ptr<convoy_dataset, closer<convoy_dataset_free>>;

static dataset_handle open_set(const char *data, const char *split, const convoy_model *model) {
    int image[3];
    convoy_model_image(model, image);
    convoy_dataset_options options{};
    options.size = sizeof options;
    options.channels = image[0];
    options.height = image[1];
    options.width = image[2];
    options.limit = 4096;
    convoy_dataset *set = nullptr;
    check(convoy_dataset_open(data, split, &options, &set));
    return dataset_handle(set);
}

int main(int argc, char **argv) try {
    const char *file = argc > 1 ? argv[1] : "models/lenet.yaml", *data = argc > 2 ? argv[2] : "synthetic";
    convoy_device *opened = nullptr;
    check(convoy_device_open(nullptr, &opened));
    device_handle device(opened);
    convoy_model *loaded = nullptr;
    check(convoy_model_load(file, nullptr, &loaded));
    model_handle model(loaded);
    dataset_handle train = open_set(data, "train", model.get()), test = open_set(data, "test", model.get());

    convoy_train_options options{};
    options.size = sizeof options;
    options.epochs = 2;
    options.progress = [](void *, const convoy_progress *p) {
        if (p->kind == CONVOY_PROGRESS_EPOCH)
            std::cout << "epoch " << p->epoch << ": test accuracy " << p->test_accuracy << "\n";
        return 1;
    };
    convoy_train_result result{};
    result.size = sizeof result;
    check(convoy_train(model.get(), device.get(), train.get(), test.get(), &options, &result));
    std::cout << result.images_per_second << " images/s on " << convoy_device_get_info(device.get())->name
              << ", Convoy " << convoy_version() << "\n";
    return 0;
} catch (const std::exception &failure) {
    std::cerr << failure.what() << "\n";
    return 1;
}
