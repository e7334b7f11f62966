/* Tensors of other float types as F32, and names without what was put before them. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/machine.h"
#include "base/status.h"
#include "weights/format.h"

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_f64(const char *from) {
    double value;
    memcpy(&value, from, sizeof value);
    return (float)value;
}

static float from_bf16(const char *from) {
    uint16_t bits;
    memcpy(&bits, from, sizeof bits);
    return from_bits((uint32_t)bits << 16);
}

static float from_f16(const char *from) {
    uint16_t bits;
    memcpy(&bits, from, sizeof bits);
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 0)
        return from_bits(sign) + (sign ? -1 : 1) * ldexpf((float)fraction, -24);
    return from_bits(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
}

static const struct {
    const char *dtype;
    size_t bytes;
    float (*convert)(const char *from);
} types[] = {{"F16", 2, from_f16}, {"BF16", 2, from_bf16}, {"F64", 8, from_f64}};

/* The number of its row; the number of rows: no type that is converted. */
static size_t type_of(const cvy_named_tensor *tensor) {
    size_t type = 0;
    while (type < sizeof types / sizeof *types && strcmp(types[type].dtype, tensor->dtype) != 0)
        type++;
    return type;
}

convoy_status cvy_tensor_file_to_float(cvy_tensor_file *file) {
    const size_t none = sizeof types / sizeof *types;
    size_t total = 0;
    for (size_t i = 0; i < file->count; i++)
        if (type_of(&file->tensors[i]) < none)
            total += file->tensors[i].bytes / types[type_of(&file->tensors[i])].bytes;
    if (!total)
        return CONVOY_OK;
    float *to = cvy_machine_allocate(total, sizeof *to);
    if (!to)
        return cvy_fail_memory("weights as float32", total * sizeof *to);
    file->floats = (char *)to;
    for (size_t i = 0; i < file->count; i++) {
        cvy_named_tensor *tensor = &file->tensors[i];
        const size_t type = type_of(tensor);
        if (type == none)
            continue;
        const size_t count = tensor->bytes / types[type].bytes;
        for (size_t k = 0; k < count; k++)
            to[k] = types[type].convert((const char *)tensor->data + k * types[type].bytes);
        tensor->data = to;
        tensor->dtype = "F32";
        tensor->bytes = count * sizeof *to;
        to += count;
    }
    return CONVOY_OK;
}

const char *cvy_tensor_file_prefix(const cvy_tensor_file *file) {
    static const char *const prefixes[] = {"module.model.", "model.module.", "module.", "model."};
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
        size_t with = 0;
        while (with < file->count && strncmp(file->tensors[with].name, prefixes[p], strlen(prefixes[p])) == 0)
            with++;
        if (file->count && with == file->count)
            return prefixes[p];
    }
    return "";
}
