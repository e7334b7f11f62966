/* Cross-entropy, LeNet-5's criterion and softmax: references, and kernels/loss.cl. LeNet-5's criterion over
   distances y is the cross-entropy of -y with one more class at -1 that is never the answer, so both share
   their code. */
#include "ops/loss.h"

#include <math.h>
#include <stdlib.h>

#include "ops/vector.h"

/* ---- Reference ---- */

static const struct {
    double sign;
    bool rejection;
} rows[CVY_LOSS_COUNT] = {
#define ROW(NAME, name, sign_of_output, rejects)                                                             \
    [CVY_##NAME] = {.sign = sign_of_output, .rejection = rejects},
    CVY_LOSSES(ROW)};

bool cvy_loss_answer_is_smallest(cvy_loss kind) {
    return rows[kind].sign < 0;
}

/* The largest z of image i and its first class; a NaN counts as largest, as in torch.argmax. */
static double largest_output(cvy_loss kind, int classes, size_t pitch, const float *output, size_t i,
                             int32_t *class) {
    double largest = rows[kind].sign * output[i];
    *class = 0;
    for (int c = 1; c < classes; c++) {
        double z = rows[kind].sign * output[(size_t)c * pitch + i];
        if (z > largest || (isnan(z) && !isnan(largest))) {
            largest = z;
            *class = c;
        }
    }
    return largest;
}

void cvy_loss_reference(cvy_loss kind, int classes, int pitch, int n, const float *output,
                        const int32_t *labels, float grad_scale, cvy_loss_results results) {
    size_t columns = (size_t)pitch;
    double sign = rows[kind].sign;
    for (size_t i = 0; i < columns; i++) {
        if (i >= (size_t)n) {
            for (int c = 0; results.gradient && c < classes; c++)
                results.gradient[(size_t)c * columns + i] = 0;
            continue;
        }
        int32_t label = labels[i];
        bool usable = label >= 0 && label < classes;
        double largest = largest_output(kind, classes, columns, output, i, &results.predictions[i]), sum = 0;
        if (rows[kind].rejection) {
            largest = largest < -1 ? -1 : largest;
            sum = exp(-1 - largest);
        }
        for (int c = 0; c < classes; c++)
            sum += exp(sign * output[(size_t)c * columns + i] - largest);
        results.losses[i] =
            usable ? (float)(log(sum) + largest - sign * output[(size_t)label * columns + i]) : NAN;
        for (int c = 0; results.gradient && c < classes; c++) {
            double share = exp(sign * output[(size_t)c * columns + i] - largest) / sum - (c == label);
            results.gradient[(size_t)c * columns + i] = usable ? (float)(share * sign * grad_scale) : 0;
        }
    }
}

void cvy_loss_soft_reference(const cvy_soft_targets *targets, int classes, int pitch, int n,
                             const float *output, const int32_t *labels, float grad_scale,
                             cvy_loss_results results) {
    const size_t columns = (size_t)pitch;
    const double shared = targets->smoothing / classes;
    double total = 0;
    for (int c = 0; c < classes; c++)
        total += targets->weights[c];
    for (size_t i = 0; i < columns; i++) {
        const bool real = i < (size_t)n;
        const int32_t label = real ? labels[i] : -1;
        const int32_t partner = real && targets->mixed ? labels[(i ? i : (size_t)n) - 1] : label;
        const bool usable = label >= 0 && label < classes && partner >= 0 && partner < classes;
        const double clear = 1 - targets->smoothing, mixed = targets->mixed ? 1 - targets->own : 0;
        double largest = 0, sum = 0, own = usable ? targets->weights[label] * clear * (1 - mixed) : 0,
               other = usable ? targets->weights[partner] * clear * mixed : 0;
        if (real)
            largest = largest_output(CVY_CROSS_ENTROPY, classes, columns, output, i, &results.predictions[i]);
        for (int c = 0; real && c < classes; c++)
            sum += exp(output[(size_t)c * columns + i] - largest);
        double loss = 0;
        for (int c = 0; c < classes; c++) {
            const size_t at = (size_t)c * columns + i;
            const double target =
                shared * targets->weights[c] + (c == label ? own : 0) + (c == partner ? other : 0);
            loss += target * (log(sum) + largest - output[at]);
            if (results.gradient)
                results.gradient[at] =
                    usable ? (float)((exp(output[at] - largest) / sum * (own + other + shared * total) -
                                      target) *
                                     grad_scale)
                           : 0;
        }
        if (real)
            results.losses[i] = usable ? (float)loss : NAN;
    }
}

void cvy_softmax_forward_reference(size_t classes, size_t pitch, const float *x, float *y) {
    for (size_t i = 0; i < pitch; i++) {
        double largest = -INFINITY, sum = 0;
        for (size_t c = 0; c < classes; c++)
            largest = fmax(largest, x[c * pitch + i]);
        for (size_t c = 0; c < classes; c++)
            sum += exp(x[c * pitch + i] - largest);
        for (size_t c = 0; c < classes; c++)
            y[c * pitch + i] = (float)(exp(x[c * pitch + i] - largest) / sum);
    }
}

void cvy_softmax_backward_reference(size_t classes, size_t pitch, const float *y, const float *gy,
                                    float *gx) {
    for (size_t i = 0; i < pitch; i++) {
        double sum = 0;
        for (size_t c = 0; c < classes; c++)
            sum += (double)y[c * pitch + i] * gy[c * pitch + i];
        for (size_t c = 0; c < classes; c++)
            gx[c * pitch + i] = (float)(y[c * pitch + i] * (gy[c * pitch + i] - sum));
    }
}

/* ---- Prepared loss ---- */

struct cvy_loss_op {
    convoy_device *device;
    cvy_loss kind;
    int classes, pitch;
    bool host;
    cvy_kernel *run;
    size_t run_size; /* items of a work-group */
    float *host_losses;
    int32_t *host_predictions;
    bool soft, mixed;
    float smoothing, total; /* of soft targets; the sum of the weights */
    cvy_buffer *weights;
};

/* Items that share one vector of images. The largest group uses 64 * VW * 8 bytes of local memory. */
static size_t items_for_classes(const convoy_device *device, const cvy_kernel *kernel, size_t classes) {
    size_t size = cvy_group_size(device, kernel, classes);
    size = size > 64 ? 64 : size;
    while (size > classes)
        size /= 2;
    return size;
}

static convoy_status prepare(cvy_loss_op *op) {
    size_t pitch = (size_t)op->pitch;
    if (op->host) {
        op->host_losses = malloc(pitch * sizeof(float));
        op->host_predictions = malloc(pitch * sizeof(int32_t));
        return op->host_losses && op->host_predictions ? CONVOY_OK : cvy_fail_memory("a loss", 8 * pitch);
    }
    const char *kernel = op->mixed ? "loss_mixed" : op->soft ? "loss_soft" : "loss";
    convoy_status status = cvy_kernel_get_pitch(op->device, kernel, kernel, pitch, &op->run);
    if (!status)
        op->run_size = items_for_classes(op->device, op->run, (size_t)op->classes);
    return status;
}

static convoy_status set_targets(cvy_loss_op *op, const cvy_soft_targets *targets) {
    const size_t bytes = (size_t)op->classes * sizeof(float);
    op->soft = true;
    op->mixed = targets->mixed;
    op->smoothing = (float)targets->smoothing;
    for (int c = 0; c < op->classes; c++)
        op->total += targets->weights[c];
    convoy_status status = cvy_buffer_create(op->device, bytes, "class weights", &op->weights);
    return status ? status : cvy_buffer_write(op->weights, 0, targets->weights, bytes);
}

/* `targets` NULL: the label alone. */
static convoy_status create(convoy_device *device, cvy_loss kind, const cvy_soft_targets *targets,
                            int classes, int pitch, cvy_loss_op **op) {
    if (classes < 1)
        return cvy_fail(CONVOY_INVALID, "a loss over %d classes: the network needs at least one output",
                        classes);
    cvy_loss_op *made = calloc(1, sizeof *made);
    if (!made)
        return cvy_fail_memory("a loss", sizeof *made);
    *made = (cvy_loss_op){.device = device, .kind = kind, .classes = classes, .pitch = pitch};
    made->host = cvy_device_get_traits(device)->host;
    convoy_status status = targets ? set_targets(made, targets) : CONVOY_OK;
    if (!status)
        status = prepare(made);
    if (!status)
        *op = made;
    else
        cvy_loss_free(made);
    return status;
}

convoy_status cvy_loss_create(convoy_device *device, cvy_loss kind, int classes, int pitch,
                              cvy_loss_op **op) {
    return create(device, kind, NULL, classes, pitch, op);
}

convoy_status cvy_loss_create_soft(convoy_device *device, const cvy_soft_targets *targets, int classes,
                                   int pitch, cvy_loss_op **op) {
    return create(device, CVY_CROSS_ENTROPY, targets, classes, pitch, op);
}

void cvy_loss_free(cvy_loss_op *op) {
    if (!op)
        return;
    free(op->host_losses);
    free(op->host_predictions);
    cvy_buffer_free(op->weights);
    free(op);
}

size_t cvy_loss_parts(const convoy_device *device, int pitch) {
    return cvy_device_get_traits(device)->host ? 1 : (size_t)(pitch / cvy_pitch_width(device, (size_t)pitch));
}

static void run_on_host(cvy_loss_op *op, const cvy_loss_operands *on) {
    const int32_t *classes = cvy_buffer_host(on->labels);
    const float *output = cvy_buffer_host(on->output);
    const cvy_loss_results results = {op->host_losses, op->host_predictions, cvy_buffer_host(on->gradient)};
    const cvy_soft_targets targets = {(double)op->smoothing, op->soft ? cvy_buffer_host(op->weights) : NULL,
                                      op->mixed, on->own};
    if (op->soft)
        cvy_loss_soft_reference(&targets, op->classes, op->pitch, on->n, output, classes, on->grad_scale,
                                results);
    else
        cvy_loss_reference(op->kind, op->classes, op->pitch, on->n, output, classes, on->grad_scale, results);
    double losses = 0;
    int right = 0;
    for (int i = 0; i < on->n; i++) {
        losses += op->host_losses[i];
        right += op->host_predictions[i] == classes[op->mixed && on->own < 0.5 ? (i ? i : on->n) - 1 : i];
        if (on->predictions)
            ((int32_t *)cvy_buffer_host(on->predictions))[on->prediction_offset + (size_t)i] =
                op->host_predictions[i];
    }
    if (on->statistics) {
        float *pair = (float *)cvy_buffer_host(on->statistics) + 2 * on->slot;
        pair[0] = (float)losses + (on->accumulate ? pair[0] : 0);
        pair[1] = (float)right + (on->accumulate ? pair[1] : 0);
    }
}

convoy_status cvy_loss_run(cvy_loss_op *op, const cvy_loss_operands *on) {
    if (op->host) {
        run_on_host(op, on);
        return CONVOY_OK;
    }
    int width = cvy_pitch_width(op->device, (size_t)op->pitch), vectors = op->pitch / width;
    size_t scratch = op->run_size * (size_t)width * sizeof(float);
    if (op->mixed)
        return CVY_LAUNCH(op->run, cvy_groups(op->run_size, (size_t)vectors, 1, 1), cvy_buf(on->output),
                          cvy_buf(on->labels), cvy_buf(op->weights), cvy_int(op->classes), cvy_int(vectors),
                          cvy_int(on->n), cvy_float(op->smoothing), cvy_float((float)on->own),
                          cvy_float(on->grad_scale), cvy_buf(on->gradient), cvy_buf(on->statistics),
                          cvy_ulong(on->slot), cvy_int(on->accumulate), cvy_local(scratch),
                          cvy_local(scratch));
    if (op->soft)
        return CVY_LAUNCH(op->run, cvy_groups(op->run_size, (size_t)vectors, 1, 1), cvy_buf(on->output),
                          cvy_buf(on->labels), cvy_buf(op->weights), cvy_int(op->classes), cvy_int(vectors),
                          cvy_int(on->n), cvy_float(op->smoothing), cvy_float(op->total),
                          cvy_float(on->grad_scale), cvy_buf(on->gradient), cvy_buf(on->statistics),
                          cvy_ulong(on->slot), cvy_int(on->accumulate), cvy_local(scratch),
                          cvy_local(scratch));
    return CVY_LAUNCH(op->run, cvy_groups(op->run_size, (size_t)vectors, 1, 1), cvy_buf(on->output),
                      cvy_buf(on->labels), cvy_int(op->classes), cvy_int(vectors), cvy_int(on->n),
                      cvy_float((float)rows[op->kind].sign), cvy_int(rows[op->kind].rejection),
                      cvy_float(on->grad_scale), cvy_buf(on->gradient), cvy_buf(on->statistics),
                      cvy_ulong(on->slot), cvy_int(on->accumulate), cvy_buf(on->predictions),
                      cvy_ulong(on->prediction_offset), cvy_local(scratch), cvy_local(scratch));
}

/* ---- Softmax ---- */

static convoy_status prepare_softmax(convoy_device *device, const char *function, const cvy_softmax *op,
                                     cvy_launcher *launch) {
    convoy_status status = cvy_kernel_get_pitch(device, "loss", function, op->pitch, &launch->kernel);
    if (!status)
        launch->grid =
            cvy_groups(items_for_classes(device, launch->kernel, op->classes), op->pitch / op->width, 1, 1);
    return status;
}

convoy_status cvy_softmax_prepare(convoy_device *device, size_t classes, size_t pitch, cvy_softmax *op) {
    *op = (cvy_softmax){.classes = classes, .pitch = pitch};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    op->width = (size_t)cvy_pitch_width(device, pitch);
    convoy_status status = prepare_softmax(device, "softmax_forward", op, &op->forward);
    return status ? status : prepare_softmax(device, "softmax_backward", op, &op->backward);
}

/* What the items of a work-group put side by side. */
static cvy_arg scratch_of(const cvy_softmax *op, const cvy_launcher *launch) {
    return cvy_local(launch->grid.local[0] * op->width * sizeof(float));
}

convoy_status cvy_softmax_forward(const cvy_softmax *op, cvy_buffer *x, cvy_buffer *y) {
    if (!op->forward.kernel) {
        cvy_softmax_forward_reference(op->classes, op->pitch, cvy_buffer_host(x), cvy_buffer_host(y));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->forward.kernel, op->forward.grid, cvy_buf(x), cvy_buf(y), cvy_ulong(op->classes),
                      cvy_ulong(op->pitch / op->width), scratch_of(op, &op->forward));
}

convoy_status cvy_softmax_backward(const cvy_softmax *op, cvy_buffer *y, cvy_buffer *gy, cvy_buffer *gx) {
    if (!op->backward.kernel) {
        cvy_softmax_backward_reference(op->classes, op->pitch, cvy_buffer_host(y), cvy_buffer_host(gy),
                                       cvy_buffer_host(gx));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->backward.kernel, op->backward.grid, cvy_buf(y), cvy_buf(gy), cvy_buf(gx),
                      cvy_ulong(op->classes), cvy_ulong(op->pitch / op->width),
                      scratch_of(op, &op->backward));
}
