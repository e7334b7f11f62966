/* The table of layer types: every row is complete, and describes shapes, tensors and counts as torch.nn does.
 */
#include "base/arena.h"
#include "layers/layer.h"
#include "support/test.h"

/* Describes a layer whose parameters are written as YAML; `facts` stay valid until the next call. */
static convoy_status describe(const char *type_name, const char *yaml, cvy_dims input,
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
    assert_ok(cvy_params_read(type->params, config, arena, type_name, node, NULL));
    memset(facts, 0, sizeof *facts);
    return type->describe(config, node, input, arena, facts);
}

static void check_output(const char *type, const char *yaml, cvy_dims input, int channels, int height,
                         int width) {
    cvy_layer_facts facts;
    assert_ok(describe(type, yaml, input, &facts));
    assert_int_equal(facts.output.channels, channels);
    assert_int_equal(facts.output.height, height);
    assert_int_equal(facts.output.width, width);
}

static const cvy_dims image = {3, 11, 14};

static void rows_are_complete(void **state) {
    (void)state;
    size_t count = 0;
    for (const cvy_layer_type *const *row = cvy_layer_types; *row; row++, count++) {
        const cvy_layer_type *type = *row;
        assert_ptr_equal(cvy_layer_type_find(type->name), type);
        assert_true(type->help && *type->help && type->params && type->describe);
        assert_true(!type->forward == !type->backward);
        assert_true(!type->state_size == !type->setup);
        assert_true(!type->release || type->setup);
        for (const cvy_param *p = type->params; p->name; p++)
            assert_true(p->help && *p->help && p->offset < type->config_size);
        for (size_t i = 0; i < count; i++)
            assert_string_not_equal(cvy_layer_types[i]->name, type->name);
    }
    assert_true(count >= 17);
    assert_null(cvy_layer_type_find("conv2d"));
}

/* Sizes from torch.nn on a 1x3x11x14 input. */
static void shapes_are_pytorchs(void **state) {
    (void)state;
    check_output("Conv2d", "{out_channels: 5, kernel_size: 3}", image, 5, 9, 12);
    check_output("Conv2d", "{out_channels: 5, kernel_size: [3, 5], stride: [2, 3], padding: [1, 2]}", image,
                 5, 6, 5);
    check_output("Conv2d", "{out_channels: 6, kernel_size: 3, dilation: 2, groups: 3}", image, 6, 7, 10);
    check_output("MaxPool2d", "{kernel_size: 2}", image, 3, 5, 7);
    check_output("MaxPool2d", "{kernel_size: 3, stride: 2, padding: 1}", image, 3, 6, 7);
    check_output("MaxPool2d", "{kernel_size: 3, stride: 1, dilation: 2}", image, 3, 7, 10);
    check_output("AvgPool2d", "{kernel_size: [2, 3], stride: 1}", image, 3, 10, 12);
    check_output("AdaptiveAvgPool2d", "{output_size: [2, 5]}", image, 3, 2, 5);
    check_output("AdaptiveAvgPool2d", "{output_size: 1}", image, 3, 1, 1);
    check_output("Flatten", "{}", image, 462, 1, 1);
    check_output("Linear", "{out_features: 7}", (cvy_dims){462, 1, 1}, 7, 1, 1);
    check_output("Upsample", "{size: [22, 9]}", image, 3, 22, 9);
    check_output("Subsample2d", "{}", image, 3, 5, 7);
    check_output("Subsample2d", "{kernel_size: 3}", image, 3, 3, 4);
    check_output("EuclideanRBF", "{}", (cvy_dims){84, 1, 1}, 10, 1, 1);
    check_output("Softmax", "{dim: 1}", (cvy_dims){4, 1, 1}, 4, 1, 1);
    const char *const same[] = {"ReLU",    "Sigmoid",  "Tanh",       "ScaledTanh",
                                "Dropout", "Identity", "BatchNorm2d"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        check_output(same[i], "{}", image, 3, 11, 14);
}

static void check_tensor(const cvy_layer_facts *facts, int index, const char *name, int dimensions,
                         const size_t *shape) {
    assert_true(index < facts->tensor_count);
    const cvy_layer_tensor *tensor = &facts->tensors[index];
    assert_string_equal(tensor->name, name);
    assert_int_equal(tensor->dimensions, dimensions);
    for (int d = 0; d < 4; d++)
        assert_int_equal(tensor->shape[d], d < dimensions ? shape[d] : 1);
}

static void tensors_are_pytorchs(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(describe("Conv2d", "{out_channels: 6, kernel_size: [3, 5], groups: 3}", image, &facts));
    check_tensor(&facts, 0, "weight", 4, (const size_t[]){6, 1, 3, 5});
    check_tensor(&facts, 1, "bias", 1, (const size_t[]){6});
    assert_int_equal(facts.tensors[0].fan_in, 15);
    assert_int_equal(facts.tensors[0].fan_out, 90);
    assert_ok(describe("Conv2d", "{out_channels: 6, kernel_size: 1, bias: false}", image, &facts));
    assert_int_equal(facts.tensor_count, 1);
    assert_ok(describe("Linear", "{in_features: 4, out_features: 3}", (cvy_dims){4, 1, 1}, &facts));
    check_tensor(&facts, 0, "weight", 2, (const size_t[]){3, 4});
    check_tensor(&facts, 1, "bias", 1, (const size_t[]){3});
    assert_ok(describe("BatchNorm2d", "{}", image, &facts));
    const char *const names[] = {"weight", "bias", "running_mean", "running_var"};
    assert_int_equal(facts.tensor_count, 4);
    for (int i = 0; i < 4; i++) {
        check_tensor(&facts, i, names[i], 1, (const size_t[]){3});
        assert_int_equal(facts.tensors[i].role, i < 2 ? CVY_TRAINABLE : CVY_STATISTIC);
    }
    assert_true(facts.counts_batches);
    assert_ok(describe("BatchNorm2d", "{affine: false, track_running_stats: false}", image, &facts));
    assert_true(facts.tensor_count == 0 && !facts.counts_batches);
    assert_ok(describe("EuclideanRBF", "{}", (cvy_dims){84, 1, 1}, &facts));
    check_tensor(&facts, 0, "weight", 2, (const size_t[]){10, 84});
    assert_int_equal(facts.tensors[0].role, CVY_FIXED);
}

/* Each digit's bitmap has ink and paper, and no two are alike: they must stay apart as codes. */
static void bitmaps_differ(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(describe("EuclideanRBF", "{}", (cvy_dims){84, 1, 1}, &facts));
    const float *bitmaps = facts.tensors[0].values;
    for (size_t i = 0; i < 10; i++) {
        size_t ink = 0;
        for (size_t j = 0; j < 84; j++) {
            assert_true(fabsf(bitmaps[i * 84 + j]) == 1);
            ink += bitmaps[i * 84 + j] > 0;
        }
        assert_true(ink >= 15 && ink <= 50);
        for (size_t k = 0; k < i; k++) {
            size_t different = 0;
            for (size_t j = 0; j < 84; j++)
                different += bitmaps[i * 84 + j] != bitmaps[k * 84 + j];
            assert_true(different >= 4);
        }
    }
}

static void connection_tables_mask_weights(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(
        describe("Conv2d", "{out_channels: 2, kernel_size: 2, connections: [[0, 2], [1]]}", image, &facts));
    const float expected[2][3] = {{1, 0, 1}, {0, 1, 0}};
    for (size_t o = 0; o < 2; o++)
        for (size_t i = 0; i < 3; i++)
            for (size_t k = 0; k < 4; k++)
                assert_true(facts.tensors[0].mask[(o * 3 + i) * 4 + k] == expected[o][i]);
    assert_int_equal(facts.tensors[0].row_fans[0], 8);
    assert_int_equal(facts.tensors[0].row_fans[1], 4);
    assert_int_equal(facts.absent, 12);
    assert_int_equal(facts.multiply_adds, 12 * 10 * 13);
    assert_int_equal(facts.connections, 14 * 10 * 13);
}

static void costs_are_counted(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(describe("Conv2d", "{out_channels: 4, kernel_size: 3, padding: 1}", image, &facts));
    assert_int_equal(facts.multiply_adds, 4 * 3 * 9 * 11 * 14);
    assert_int_equal(facts.connections, 4 * (3 * 9 + 1) * 11 * 14);
    assert_ok(describe("Linear", "{out_features: 5, bias: false}", (cvy_dims){7, 1, 1}, &facts));
    assert_int_equal(facts.multiply_adds, 35);
    assert_int_equal(facts.connections, 35);
    assert_ok(describe("Subsample2d", "{}", (cvy_dims){6, 28, 28}, &facts));
    assert_int_equal(facts.connections, 5880);
}

static void impossible_inputs_are_refused(void **state) {
    (void)state;
    const struct {
        const char *type, *yaml, *message;
    } bad[] = {
        {"Conv2d", "{out_channels: 2, kernel_size: 12}", "12"},
        {"Conv2d", "{out_channels: 4, kernel_size: 3, groups: 2}", "groups"},
        {"Conv2d", "{out_channels: 4, kernel_size: 3, in_channels: 1}",
         "in_channels is 1 but the input has 3 channels"},
        {"MaxPool2d", "{kernel_size: 2, padding: 2}", "padding"},
        {"MaxPool2d", "{kernel_size: 15}", "15"},
        {"BatchNorm2d", "{num_features: 4}", "num_features is 4 but the input has 3 channels"},
        {"Linear", "{out_features: 4}", "put a Flatten before it"},
        {"Subsample2d", "{kernel_size: 12}", "kernel_size 12 is larger"},
        {"EuclideanRBF", "{}", "put a Flatten before it"},
        {"Softmax", "{}", "put a Flatten before it"},
    };
    cvy_layer_facts facts;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(describe(bad[i].type, bad[i].yaml, image, &facts), CONVOY_INVALID, bad[i].message);
    assert_fails(describe("EuclideanRBF", "{}", (cvy_dims){85, 1, 1}, &facts), CONVOY_INVALID, "84 pixels");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_complete),
        cmocka_unit_test(shapes_are_pytorchs),
        cmocka_unit_test(tensors_are_pytorchs),
        cmocka_unit_test(bitmaps_differ),
        cmocka_unit_test(connection_tables_mask_weights),
        cmocka_unit_test(costs_are_counted),
        cmocka_unit_test(impossible_inputs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
