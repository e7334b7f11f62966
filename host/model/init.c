/* New parameters: what PyTorch would draw, by the recipe's `init`. Each tensor has its own random stream, so
   that its values do not depend on the tensors before it. */
#include <math.h>
#include <string.h>

#include "base/given.h"
#include "base/rng.h"
#include "model/graph.h"

enum { INIT_DEFAULT, INIT_XAVIER_UNIFORM, INIT_KAIMING_UNIFORM, INIT_KAIMING_NORMAL, INIT_LECUN };

static void fill(float *values, size_t count, float value) {
    for (size_t i = 0; i < count; i++)
        values[i] = value;
}

static void draw_uniform(cvy_rng *rng, float *values, size_t count, double bound) {
    for (size_t i = 0; i < count; i++)
        values[i] = (float)((2.0 * (double)cvy_rng_uniform(rng) - 1.0) * bound);
}

/* LeCun's bound follows the fan of each unit, which a connection table makes differ; so does PyTorch's
 * default here. */
static double bound_of(int init, const cvy_layer_tensor *about, double fan_in) {
    bool weight = about->init == CVY_INIT_WEIGHT;
    if (weight && init == INIT_XAVIER_UNIFORM) /* Glorot and Bengio, 2010 */
        return sqrt(6.0 / (fan_in + (double)about->fan_out));
    if (weight && init == INIT_KAIMING_UNIFORM) /* He et al., 2015, gain of ReLU */
        return sqrt(6.0 / fan_in);
    if (init == INIT_LECUN) /* LeCun et al., 1998, appendix A */
        return 2.4 / fan_in;
    return 1.0 / sqrt(fan_in);
}

static void draw(int init, const cvy_layer_tensor *about, cvy_rng *rng, float *values, size_t count) {
    size_t rows = about->row_fans ? about->shape[0] : 1, row_size = count / rows;
    for (size_t r = 0; r < rows; r++) {
        float *row = values + r * row_size;
        double fan_in = (double)(about->row_fans ? about->row_fans[r] : about->fan_in);
        if (about->init == CVY_INIT_WEIGHT && init == INIT_KAIMING_NORMAL) {
            double deviation = sqrt(2.0 / fan_in);
            for (size_t i = 0; i < row_size; i++)
                row[i] = (float)(deviation * (double)cvy_rng_normal(rng));
        } else {
            draw_uniform(rng, row, row_size, bound_of(init, about, fan_in));
        }
    }
}

convoy_status convoy_model_initialise(convoy_model *model, uint64_t seed) {
    convoy_status status = CVY_GIVEN(model);
    if (status)
        return status;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const cvy_model_tensor *tensor = &model->tensors[t];
        const cvy_layer_tensor *about = tensor->about;
        float *values = model->data + tensor->offset;
        cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_INIT + (uint32_t)t, 0);
        switch (about->init) {
        case CVY_INIT_ONES:
            fill(values, tensor->count, 1);
            break;
        case CVY_INIT_ZEROS:
            fill(values, tensor->count, 0);
            break;
        case CVY_INIT_VALUES:
            memcpy(values, about->values, tensor->count * sizeof *values);
            break;
        case CVY_INIT_WEIGHT:
        case CVY_INIT_BIAS:
            draw(model->recipe.init, about, &rng, values, tensor->count);
            break;
        }
        for (size_t i = 0; about->mask && i < tensor->count; i++)
            values[i] *= about->mask[i];
    }
    model->classes = (cvy_classes){0};
    memset(model->batches_tracked, 0, model->step_count * sizeof *model->batches_tracked);
    return CONVOY_OK;
}
