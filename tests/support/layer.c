#include "support/layer.h"

#include "base/arena.h"
#include "network/network.h"
#include "support/models.h"

convoy_status test_layer_describe(const char *type_name, const char *yaml, cvy_dims input,
                                  cvy_layer_facts *facts) {
    static cvy_arena *arena;
    cvy_arena_free(arena);
    arena = cvy_arena_create();
    assert_non_null(arena);
    cvy_node *node = NULL;
    const cvy_layer_type *type = cvy_layer_type_find(type_name);
    assert_non_null(type);
    assert_ok(cvy_node_parse(arena, "layer", yaml, strlen(yaml), &node));
    void *config = cvy_arena_alloc(arena, type->config_size + 1);
    convoy_status status = cvy_params_read(type->params, config, arena, type_name, node, NULL);
    memset(facts, 0, sizeof *facts);
    return status ? status : type->describe(&(cvy_layer_site){type, config, input, arena}, facts);
}

void test_layer_output(const char *type, const char *yaml, cvy_dims input, cvy_dims output) {
    cvy_layer_facts facts;
    assert_ok(test_layer_describe(type, yaml, input, &facts));
    assert_int_equal(facts.output.channels, output.channels);
    assert_int_equal(facts.output.height, output.height);
    assert_int_equal(facts.output.width, output.width);
}

void test_layer_tensor(const cvy_layer_facts *facts, int index, const char *name, int dimensions,
                       const size_t *shape) {
    assert_true(index < facts->tensor_count);
    const cvy_layer_tensor *tensor = &facts->tensors[index];
    assert_string_equal(tensor->name, name);
    assert_int_equal(tensor->dimensions, dimensions);
    for (int d = 0; d < 4; d++)
        assert_int_equal(tensor->shape[d], d < dimensions ? shape[d] : 1);
}

/* ---- In a network ---- */

enum { IMAGES = 5 };

typedef struct bench {
    convoy_model *model;
    convoy_network *network;
    size_t outputs, parameters;
    float *weights; /* of the sum of outputs whose slope is asked for */
} bench;

static bench open_bench(convoy_device *device, const char *front, const char *layer, bool vector) {
    char yaml[512];
    snprintf(yaml, sizeof yaml, "input: %s\nlayers:\n  - %s\n  - %s\n  - Flatten\n",
             vector ? "[4, 1, 1]" : "[2, 4, 6]", front, layer);
    bench b = {.model = test_model(yaml)};
    assert_ok(cvy_network_create(b.model, device,
                                 &(cvy_network_options){.batch_size = IMAGES, .training = true, .seed = 7},
                                 &b.network));
    const size_t pitch = (size_t)cvy_network_pitch(b.network), inputs = vector ? 4 : 48;
    b.outputs = (size_t)convoy_model_classes(b.model) * pitch;
    b.parameters = cvy_network_parameter_count(b.network);
    float *x = test_random(inputs * pitch, 11);
    b.weights = test_random(b.outputs, 12);
    for (size_t i = 0; i < b.outputs; i++)
        if (i % pitch >= IMAGES)
            b.weights[i] = 0;
    assert_ok(cvy_buffer_write(cvy_network_input(b.network), 0, x, inputs * pitch * sizeof *x));
    free(x);
    return b;
}

static void close_bench(bench *b) {
    convoy_network_close(b->network);
    convoy_model_free(b->model);
    free(b->weights);
}

static float *forward(bench *b) {
    assert_ok(cvy_network_forward(b->network, IMAGES, true, 3));
    return test_read(cvy_network_output(b->network), b->outputs);
}

static float *backward(bench *b) {
    assert_ok(cvy_buffer_write(cvy_network_output_gradient(b->network), 0, b->weights,
                               b->outputs * sizeof *b->weights));
    assert_ok(cvy_network_backward(b->network, IMAGES, false));
    return test_read(cvy_network_gradients(b->network), b->parameters);
}

/* Of each trainable value, without the gaps between tensors: where it lies in the network's buffers. */
static size_t list_values(const bench *b, size_t *places, size_t limit) {
    size_t count = 0;
    for (size_t t = 0; t < convoy_model_tensor_count(b->model); t++) {
        const size_t at = cvy_network_parameter_offset(b->network, t);
        const convoy_tensor tensor = *convoy_model_tensor(b->model, t);
        size_t values = 1;
        for (int d = 0; d < tensor.dimensions; d++)
            values *= tensor.shape[d];
        for (size_t i = 0; at != SIZE_MAX && i < values && count < limit; i++)
            places[count++] = at + i;
    }
    return count;
}

enum { VALUES = 1000 };

void test_layer_runs(const char *front, const char *layer, bool vector) {
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    bench a = open_bench(test_device(), front, layer, vector), b = open_bench(host, front, layer, vector);
    float *y = forward(&a), *expected = forward(&b), *gradient = backward(&a),
          *expected_gradient = backward(&b);
    size_t here[VALUES], there[VALUES];
    const size_t count = list_values(&a, here, VALUES);
    assert_int_equal(list_values(&b, there, VALUES), count);
    for (size_t i = 0; i < count; i++) {
        gradient[i] = gradient[here[i]];
        expected_gradient[i] = expected_gradient[there[i]];
    }
    assert_int_equal(cvy_network_pitch(a.network), cvy_network_pitch(b.network));
    const int pitch = cvy_network_pitch(a.network);
    test_close_columns(layer, y, expected, a.outputs / (size_t)pitch, pitch, IMAGES, false, 1e-5);
    test_close(layer, gradient, expected_gradient, count, 1e-4);
    free(y), free(expected), free(gradient), free(expected_gradient);
    close_bench(&a);
    close_bench(&b);
    convoy_device_close(host);
}

static double objective(bench *b) {
    float *y = forward(b);
    double sum = 0;
    for (size_t i = 0; i < b->outputs; i++)
        sum += b->weights[i] != 0 ? (double)b->weights[i] * y[i] : 0;
    free(y);
    return sum;
}

void test_layer_slopes(const char *front, const char *layer, bool vector) {
    const float step = 1e-2f;
    bench b = open_bench(test_device(), front, layer, vector);
    size_t places[VALUES], count = list_values(&b, places, VALUES);
    free(forward(&b));
    float *all = backward(&b), *values = test_read(cvy_network_parameters(b.network), b.parameters);
    float *slopes = malloc(count * sizeof *slopes), *gradient = malloc(count * sizeof *gradient);
    assert_true(slopes && gradient && count);
    for (size_t i = 0; i < count; i++) {
        double sums[2];
        for (int side = 0; side < 2; side++) {
            const float moved = values[places[i]] + (side ? step : -step);
            assert_ok(cvy_buffer_write(cvy_network_parameters(b.network), places[i] * sizeof moved, &moved,
                                       sizeof moved));
            sums[side] = objective(&b);
        }
        assert_ok(cvy_buffer_write(cvy_network_parameters(b.network), places[i] * sizeof *values,
                                   &values[places[i]], sizeof *values));
        slopes[i] = (float)((sums[1] - sums[0]) / (2 * step));
        gradient[i] = all[places[i]];
    }
    test_close(layer, gradient, slopes, count, 5e-3);
    free(all), free(values), free(slopes), free(gradient);
    close_bench(&b);
}
