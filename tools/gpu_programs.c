/* Prints the programs that the convolutions of networks need on a GPU, so that compilers can be tried on them
   where there is none (tools/check_source.sh targets): one a line, kernel file, tab, options.

   usage: gpu_programs float32|tf32|bf16 MODEL...

   The ops prepare themselves as ever, for a GPU that is imagined: the linker puts the function below in the
   place of the one that builds kernels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/opencl.h"
#include "model/model.h"
#include "network/network.h"
#include "ops/conv2d/conv2d.h"

convoy_status __wrap_cvy_kernel_get(convoy_device *device, const char *file, const char *function,
                                    const char *options, cvy_kernel **kernel);

convoy_status __wrap_cvy_kernel_get(convoy_device *device, const char *file, const char *function,
                                    const char *options, cvy_kernel **kernel) {
    static cvy_kernel any = {.max_work_group = 256};
    (void)device, (void)function;
    printf("%s\t%s\n", file, options);
    *kernel = &any;
    return CONVOY_OK;
}

/* What every GPU of the last ten years can do, and as many compute units as a middling one has. */
static void imagine_gpu(convoy_device *device, const char *precision) {
    cvy_device_traits *traits = &device->traits;
    traits->host = false;
    traits->compute_units = 32;
    traits->max_work_group = 256;
    traits->local_memory = 32 << 10;
    traits->max_allocation = (size_t)2 << 30;
    traits->memory = (size_t)8 << 30;
    if (strcmp(precision, "float32") == 0)
        return;
    traits->tensor_cores = CVY_TENSOR_NVIDIA;
    traits->precision = strcmp(precision, "tf32") == 0 ? CONVOY_TF32 : CONVOY_BF16;
}

static convoy_status print_task(convoy_device *device, const cvy_task *task, const char *variant) {
    const cvy_job job = cvy_task_job(device, task);
    cvy_prepared prepared = {0};
    if (task->op != &cvy_conv2d_op)
        return CONVOY_OK;
    convoy_status status = cvy_forced_check(task->op, variant, &job, 1);
    if (!status)
        status = cvy_prepared_open(task->op, &job, variant, &prepared);
    cvy_prepared_close(&prepared);
    return status;
}

/* With tensor cores the variant for them; else what the heuristics choose, and tile_gpu, which runs every
 * shape. */
static convoy_status print_programs(convoy_device *device, const char *path) {
    convoy_model *model = NULL;
    cvy_task *tasks = NULL;
    size_t count = 0;
    convoy_status status = convoy_model_load(path, NULL, &model);
    if (!status)
        status = cvy_network_tasks(
            model, device,
            &(cvy_network_options){.batch_size = cvy_model_recipe(model)->batch_size, .training = true},
            &tasks, &count);
    for (size_t i = 0; i < count && !status; i++) {
        const bool mma = device->traits.tensor_cores != CVY_TENSOR_NONE;
        status = print_task(device, &tasks[i], mma ? "mma_nvidia" : NULL);
        if (!status && !mma)
            status = print_task(device, &tasks[i], "tile_gpu");
    }
    free(tasks);
    convoy_model_free(model);
    return status;
}

int main(int argc, char **argv) {
    convoy_device *device = NULL;
    setenv("CONVOY_TUNE", "0", 1); /* whatever was measured on this machine */
    convoy_status status = convoy_device_open("host", &device);
    if (!status && argc > 2)
        imagine_gpu(device, argv[1]);
    for (int i = 2; i < argc && !status; i++)
        status = print_programs(device, argv[i]);
    if (status)
        fprintf(stderr, "gpu_programs: %s\n", convoy_error_message());
    convoy_device_close(device);
    return status != CONVOY_OK;
}
