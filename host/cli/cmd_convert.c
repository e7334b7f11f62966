/* convoy convert FROM TO: weights in another format, which TO's ending says, and of another type of floats.
 */
#include <stdlib.h>

#include "base/status.h"
#include "cli/cli.h"
#include "weights/weights.h"

typedef struct options {
    cli_common common;
    int dtype;
} options;

enum { KEEP };
static const char *const dtypes[] = {NULL, "F32", "F16", "BF16"};

static const cvy_param params[] = {
    {"dtype", CVY_CHOICE, offsetof(options, dtype), "keep", 0, 0, "keep|f32|f16|bf16",
     "of all floating-point numbers; whole ones stay as they are"},
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

static convoy_status save(const cli_call *call, cvy_tensor_file *file, size_t *bytes) {
    const size_t count = cvy_tensor_file_count(file);
    const char **metadata = cvy_tensor_file_pairs(file);
    cvy_named_tensor *tensors = malloc((count + 1) * sizeof *tensors);
    convoy_status status =
        metadata && tensors ? CONVOY_OK : cvy_fail_memory("a list of tensors", count * sizeof *tensors);
    *bytes = 0;
    for (size_t i = 0; i < count && !status; i++) {
        tensors[i] = cvy_tensor_file_get(file, i);
        *bytes += tensors[i].bytes;
    }
    if (!status)
        status = cvy_tensor_file_save_as(call->operands[1], tensors, count, metadata);
    free(tensors);
    free(metadata);
    return status;
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    const char *from = call->operands[0], *to = call->operands[1];
    cvy_tensor_file *file = NULL;
    size_t bytes = 0;
    if (!cvy_tensor_file_ending(to))
        return cvy_fail(
            CONVOY_INVALID,
            "convoy convert: `%s` ends neither with .safetensors nor with .pth or .pt: which format is "
            "it to have?",
            to);
    convoy_status status = cli_check_file(call, "weights file", from);
    if (!status)
        status = cli_check_output(call, "TO", to);
    if (!status)
        status = cvy_tensor_file_load(from, &file);
    if (!status && o->dtype != KEEP)
        status = cvy_tensor_file_to_type(file, from, dtypes[o->dtype]);
    if (!status)
        status = cvy_tensor_file_check_finite(file, from);
    if (!status)
        status = save(call, file, &bytes);
    if (!status && o->common.json)
        call->result =
            json_pack("{s:o, s:o, s:I, s:I}", "from", cli_string(from), "to", cli_string(to), "tensors",
                      (json_int_t)cvy_tensor_file_count(file), "bytes", (json_int_t)bytes);
    else if (!status)
        cli_note("%s: %zu tensors, %.1f MB", to, cvy_tensor_file_count(file), (double)bytes / 1e6);
    cvy_tensor_file_free(file);
    return status;
}

const cli_command cli_convert = {"convert",
                                 "FROM TO",
                                 "Write weights in another format: .safetensors, or .pth for torch.load.",
                                 2,
                                 2,
                                 params,
                                 sizeof(options),
                                 false,
                                 run};
