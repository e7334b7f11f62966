/* Spreading the simple kernels: see vector.h. */
#include "ops/vector.h"

int cvy_pitch_width_of(const cvy_device_traits *traits, size_t pitch) {
    const int width = cvy_vector_width_of(traits);
    return pitch < (size_t)width ? (int)pitch : width;
}

int cvy_pitch_width(const convoy_device *device, size_t pitch) {
    return cvy_pitch_width_of(cvy_device_get_traits(device), pitch);
}

convoy_status cvy_kernel_get_pitch(convoy_device *device, const char *file, const char *function,
                                   size_t pitch, cvy_kernel **kernel) {
    const int width = cvy_pitch_width(device, pitch);
    if (width == cvy_vector_width(device))
        return cvy_kernel_get_simple(device, file, function, kernel);
    return cvy_kernel_build(device, file, function, CVY_OPTIONS({"VW", width}), kernel);
}

size_t cvy_group_size(const convoy_device *device, const cvy_kernel *kernel, size_t pieces) {
    if (cvy_device_get_traits(device)->cpu)
        return 1;
    /* Few different sizes: some drivers build a kernel again for each. */
    size_t limit = cvy_kernel_max_work_group(kernel), size = 256;
    while (size > 1 && (size > limit || (size > 64 && size / 2 >= pieces)))
        size /= 2;
    return size;
}

convoy_status cvy_launcher_prepare(convoy_device *device, const char *file, const char *function, int pitch,
                                   int columns, int rows, int channels, cvy_launcher *launcher) {
    const int vectors = pitch / cvy_pitch_width(device, (size_t)pitch);
    convoy_status status = cvy_kernel_get_pitch(device, file, function, (size_t)pitch, &launcher->kernel);
    if (status)
        return status;
    const size_t size = cvy_group_size(device, launcher->kernel, (size_t)columns * (size_t)vectors);
    launcher->grid = cvy_groups(size, 1, (size_t)rows, (size_t)channels);
    return CONVOY_OK;
}

/* Blocks are short enough that every core or compute unit has several, and long enough to pay for their
   start: 2 KiB to 64 KiB on a CPU, one to eight vectors for each item on a GPU. */
cvy_blocks cvy_vector_blocks(const convoy_device *device, const cvy_kernel *kernel, size_t vectors,
                             size_t rows) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    size_t units = traits->compute_units > 0 ? (size_t)traits->compute_units : 1;
    size_t size = cvy_group_size(device, kernel, vectors), shortest = size, longest = 8 * size;
    if (traits->cpu) {
        size_t width = (size_t)cvy_vector_width(device);
        shortest = 512 / width;
        longest = 16384 / width;
    }
    size_t fair = vectors * rows / (8 * units);
    size_t block = fair < shortest ? shortest : fair > longest ? longest : fair / size * size;
    return (cvy_blocks){cvy_groups(size, (vectors + block - 1) / block, rows, 1), (uint32_t)block};
}
