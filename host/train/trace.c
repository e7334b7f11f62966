/* Looking for the layer, and asking the references. */
#include "train/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"

/* Operations of a step that the host's references do in about half a minute. */
static const double most_flops = 2e10;

static convoy_status copy_over(cvy_buffer *from, cvy_buffer *to) {
    const size_t bytes = cvy_buffer_bytes(from);
    void *data = malloc(bytes ? bytes : 1);
    convoy_status status = data ? cvy_buffer_read(from, 0, data, bytes) : cvy_fail_memory("a trace", bytes);
    if (!status)
        status = cvy_buffer_write(to, 0, data, bytes);
    free(data);
    return status;
}

/* Outputs that are finite may have a loss that is not, and wrong labels have one. Of pieces it is not known.
 */
static convoy_status look_at_loss(cvy_training *t, int n, cvy_trace *trace) {
    cvy_buffer *output = cvy_network_output(t->network);
    const size_t count = cvy_buffer_bytes(output) / sizeof(float),
                 pitch = (size_t)cvy_network_pitch(t->network);
    const bool known = t->statistics.pending == 1;
    double losses[CVY_STATISTICS_SLOTS], low = INFINITY, high = -INFINITY;
    unsigned long long correct[CVY_STATISTICS_SLOTS];
    convoy_status status = cvy_statistics_take(&t->statistics, losses, correct);
    if (status || trace->found || !known || isfinite(losses[0]))
        return status;
    float *values = malloc(count * sizeof *values);
    status = values ? cvy_buffer_read(output, 0, values, count * sizeof *values)
                    : cvy_fail_memory("a trace", count * sizeof *values);
    for (size_t i = 0; i < count && !status; i++)
        if (i % pitch < (size_t)n) {
            low = fmin(low, values[i]);
            high = fmax(high, values[i]);
        }
    free(values);
    trace->found = !status;
    snprintf(trace->text, sizeof trace->text, "the loss makes the first %s, of outputs from %.4g to %.4g",
             isnan(losses[0]) ? "NaN" : "infinity", low, high);
    return status;
}

/* The batch that the device has just computed, on the host. *finite: is all of it? */
static convoy_status ask_host(const cvy_training *t, int n, unsigned long long step, cvy_trace *trace) {
    convoy_device *host = NULL;
    convoy_network *network = NULL;
    cvy_training training = {0};
    const cvy_network_options options = {.batch_size = cvy_network_batch_size(t->network), .training = true};
    convoy_status status = convoy_device_open("host", &host);
    if (!status)
        status = cvy_network_create(cvy_network_model(t->network), host, &options, &network);
    if (!status)
        status = cvy_training_create(network, host, options.batch_size, &training);
    if (!status)
        status = copy_over(cvy_network_input(t->network), cvy_network_input(network));
    if (!status)
        status = copy_over(t->labels, training.labels);
    if (!status) {
        cvy_network_watch(network, trace);
        status = cvy_training_step(&training, NULL, n, step);
        if (!status)
            status = look_at_loss(&training, n, trace);
    }
    cvy_training_free(&training);
    convoy_network_close(network);
    convoy_device_close(host);
    return status;
}

static bool is_small(const cvy_training *t, int n) {
    const convoy_model *model = cvy_network_model(t->network);
    double multiply_adds = 0;
    for (size_t i = 0; i < convoy_model_layer_count(model); i++)
        multiply_adds += (double)convoy_model_layer(model, i)->multiply_adds;
    return 6 * multiply_adds * n < most_flops && t->forwards == 1 && !t->pieces;
}

convoy_status cvy_training_trace(cvy_training *t, cvy_loader *loader, int n, unsigned long long step,
                                 cvy_text *found) {
    cvy_trace device = {0}, host = {0};
    convoy_status status = cvy_network_download(t->network);
    if (status)
        return status;
    cvy_network_watch(t->network, &device);
    status = cvy_training_step(t, loader, n, step);
    cvy_network_watch(t->network, NULL);
    if (!status)
        status = look_at_loss(t, n, &device);
    if (status || !device.found)
        return status;
    cvy_text_add(found, "%s", device.text);
    if (cvy_device_get_traits(t->device)->host || !is_small(t, n))
        return CONVOY_OK;
    status = ask_host(t, n, step, &host);
    if (!status && host.found)
        cvy_text_add(found, "; the host's reference makes one of the same batch, too");
    else if (!status)
        cvy_text_add(
            found,
            "; the same batch stays finite with the host's reference: this device or its driver computes "
            "wrong values (`convoy selftest` checks them)");
    return status;
}
