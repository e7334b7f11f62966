/* Tensors of other float types as F32, and names without what was put before them. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/status.h"
#include "weights/format.h"

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* `bits` without the last `dropped`, rounded to nearest even. */
static uint32_t rounded(uint32_t bits, int dropped) {
    const uint32_t half = 1u << (dropped - 1), odd = bits >> dropped & 1;
    return (bits + half - 1 + odd) >> dropped;
}

static uint16_t to_bf16(float value) {
    const uint32_t bits = to_bits(value);
    return isnan(value) ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)rounded(bits, 16);
}

static uint16_t to_f16(float value) {
    const uint32_t bits = to_bits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (isnan(value))
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= to_bits(65520)) /* from here on the nearest is infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < to_bits(0x1p-14f)) /* steps of 2^-24 below the normal numbers: nearbyint rounds to even */
        return (uint16_t)(sign | (uint32_t)nearbyintf(ldexpf(fabsf(value), 24)));
    return (uint16_t)(sign | (rounded(magnitude, 13) - (112u << 10)));
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

/* What is NaN or infinite has all bits of the exponent, which are in the upper two bytes of each type. */
static const struct exponent {
    const char *dtype;
    size_t bytes;
    uint16_t bits;
} exponents[] = {{"F16", 2, 0x7c00}, {"BF16", 2, 0x7f80}, {"F32", 4, 0x7f80}, {"F64", 8, 0x7ff0}};

/* How many values there are in front of the first that is not finite. */
static size_t count_finite(const cvy_named_tensor *tensor, const struct exponent *of) {
    const size_t count = tensor->bytes / of->bytes;
    for (size_t k = 0; k < count; k++) {
        uint16_t top;
        memcpy(&top, (const char *)tensor->data + (k + 1) * of->bytes - sizeof top, sizeof top);
        if ((top & of->bits) == of->bits)
            return k;
    }
    return count;
}

convoy_status cvy_tensor_file_check_finite(const cvy_tensor_file *file, const char *path) {
    for (size_t i = 0; i < file->count; i++)
        for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++) {
            const cvy_named_tensor *tensor = &file->tensors[i];
            if (strcmp(exponents[e].dtype, tensor->dtype) != 0)
                continue;
            const size_t finite = count_finite(tensor, &exponents[e]);
            if (finite < tensor->bytes / exponents[e].bytes)
                return cvy_fail(CONVOY_INVALID, "%s: value %zu of %s is NaN or infinite as %s", path, finite,
                                tensor->name, tensor->dtype);
        }
    return CONVOY_OK;
}

/* F32 to 16 bits, in a buffer of its own. */
static convoy_status to_halves(cvy_tensor_file *file, const char *path, bool brain) {
    size_t total = 0;
    for (size_t i = 0; i < file->count; i++)
        total += strcmp(file->tensors[i].dtype, "F32") == 0 ? (file->tensors[i].bytes / 4 + 3) / 4 * 4 : 0;
    uint16_t *to = cvy_machine_allocate(total + 1, sizeof *to), *begin = to;
    if (!to)
        return cvy_fail_memory("weights of 16 bits", total * sizeof *to);
    for (size_t i = 0; i < file->count; i++) {
        cvy_named_tensor *tensor = &file->tensors[i];
        const float *from = tensor->data;
        const size_t count = tensor->bytes / sizeof *from;
        if (strcmp(tensor->dtype, "F32") != 0)
            continue;
        for (size_t k = 0; k < count; k++) {
            to[k] = brain ? to_bf16(from[k]) : to_f16(from[k]);
            if (!brain && (to[k] & 0x7fff) == 0x7c00 && !isinf(from[k])) {
                free(begin);
                return cvy_fail(CONVOY_INVALID,
                                "%s: %s has the value %g, which is more than F16 can hold (65504); BF16 can",
                                path, tensor->name, (double)from[k]);
            }
        }
        tensor->data = to;
        tensor->dtype = brain ? "BF16" : "F16";
        tensor->bytes = count * sizeof *to;
        to += (count + 3) / 4 * 4;
    }
    free(file->floats);
    file->floats = (char *)begin;
    return CONVOY_OK;
}

convoy_status cvy_tensor_file_to_type(cvy_tensor_file *file, const char *path, const char *dtype) {
    convoy_status status = cvy_tensor_file_to_float(file);
    return status || strcmp(dtype, "F32") == 0 ? status : to_halves(file, path, strcmp(dtype, "BF16") == 0);
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
