/* Model files: what they describe, the names PyTorch would give, recipes and settings. Errors are in
 * test_model_errors. */
#include <math.h>

#include "model/graph.h"
#include "model/state_dicts.h"
#include "network/network.h"
#include "support/models.h"

static convoy_model *load(const char *name, const convoy_model_options *options) {
    char path[512];
    convoy_model *model = NULL;
    snprintf(path, sizeof path, "%s/models/%s.yaml", CONVOY_SOURCE_DIR, name);
    assert_ok(convoy_model_load(path, options, &model));
    assert_string_equal(convoy_model_name(model), name);
    return model;
}

static unsigned long long parameters_of(const convoy_model *model) {
    unsigned long long sum = 0;
    for (size_t i = 0; i < convoy_model_layer_count(model); i++)
        sum += convoy_model_layer(model, i)->parameters;
    return sum;
}

/* RECIPES.md, and the sums of torch.nn's parameters for the same layers. */
static void recipes_have_their_parameters(void **state) {
    (void)state;
    const struct {
        const char *name;
        unsigned long long parameters;
        int classes;
    } expected[] = {{"lenet", 61706, 10},
                    {"mnist_cnn", 9098, 10},
                    {"mnist_cnn_augmented", 9098, 10},
                    {"monkeypox_bn_augmented", 146318, 2},
                    {"digits_cnn", 121514, 10},
                    {"alexnet", 46764746, 10},
                    {"alexnet_imagenet", 50844008, 1000},
                    {"monkeypox_bn", 146318, 2},
                    {"monkeypox_bn_deep", 106046, 2},
                    {"lenet5", 60840, 10},
                    {"resnet_mini", 77754, 10}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        convoy_model *model = load(expected[i].name, NULL);
        assert_int_equal(parameters_of(model), expected[i].parameters);
        assert_int_equal(convoy_model_classes(model), expected[i].classes);
        convoy_model_free(model);
    }
}

static void lenet5_has_the_papers_counts(void **state) {
    (void)state;
    const struct {
        const char *name;
        int output[3];
        unsigned long long parameters, connections;
    } expected[] = {
        {"C1", {6, 28, 28}, 156, 122304},   {"S2", {6, 14, 14}, 12, 5880}, {"2", {6, 14, 14}, 0, 0},
        {"C3", {16, 10, 10}, 1516, 151600}, {"S4", {16, 5, 5}, 32, 2000},  {"5", {16, 5, 5}, 0, 0},
        {"C5", {120, 1, 1}, 48120, 48120},  {"7", {120, 1, 1}, 0, 0},      {"8", {120, 1, 1}, 0, 0},
        {"F6", {84, 1, 1}, 10164, 10164},   {"10", {84, 1, 1}, 0, 0},      {"output", {10, 1, 1}, 840, 840}};
    convoy_model *model = load("lenet5", NULL);
    assert_int_equal(convoy_model_layer_count(model), sizeof expected / sizeof *expected);
    for (size_t i = 0; i < convoy_model_layer_count(model); i++) {
        const convoy_layer_info layer = *convoy_model_layer(model, i);
        assert_string_equal(layer.name, expected[i].name);
        assert_memory_equal(layer.output, expected[i].output, sizeof layer.output);
        assert_int_equal(layer.parameters, expected[i].parameters);
        assert_int_equal(layer.connections, expected[i].connections);
    }
    convoy_model_free(model);
}

static void check_state(const char *name, const char *recorded) {
    convoy_model *model = load(name, NULL);
    cvy_named_tensor *tensors;
    size_t count;
    cvy_text text = {0};
    assert_ok(cvy_model_state(model, &tensors, &count));
    for (size_t i = 0; i < count; i++) {
        cvy_text_add(&text, "%s [", tensors[i].name);
        for (int d = 0; d < tensors[i].dimensions; d++)
            cvy_text_add(&text, "%s%zu", d ? ", " : "", tensors[i].shape[d]);
        cvy_text_add(&text, "]\n");
    }
    assert_string_equal(cvy_text_get(&text), recorded);
    cvy_text_free(&text);
    free(tensors);
    convoy_model_free(model);
}

static void state_dicts_are_pytorchs(void **state) {
    (void)state;
    check_state("lenet", lenet_state);
    check_state("monkeypox_bn", monkeypox_bn_state);
    check_state("resnet_mini", resnet_mini_state);
    check_state("densenet_mini", densenet_mini_state);
}

static void expect_names(const char *yaml, const char *const *names) {
    convoy_model *model = test_model(yaml);
    size_t count = 0;
    for (; names[count]; count++) {
        assert_true(count < convoy_model_layer_count(model));
        assert_string_equal(convoy_model_layer(model, count)->name, names[count]);
    }
    assert_int_equal(convoy_model_layer_count(model), count);
    convoy_model_free(model);
}

/* A named layer in a construct is the construct's; one without a name keeps body, shortcut or its branch; the
   name "" makes the block that a construct stands in its owner. */
static void named_layers_belong_to_their_block(void **state) {
    (void)state;
    static const char *const names[] = {"layer1.0.conv1",
                                        "layer1.0.body.1",
                                        "layer1.0.downsample.0",
                                        "layer1.0",
                                        "b.conv2",
                                        "b.shortcut.0",
                                        "b.0",
                                        "fire.e1",
                                        "fire.1.0",
                                        "fire",
                                        NULL};
    expect_names(
        "input: [2, 4, 4]\n"
        "blocks:\n"
        "  block:\n"
        "    layers:\n"
        "      - Residual:\n"
        "          name: ''\n"
        "          body: [{Conv2d: {name: conv2, out_channels: 2, kernel_size: 1}}]\n"
        "          shortcut: [{Conv2d: {out_channels: 2, kernel_size: 1}}]\n"
        "layers:\n"
        "  - Residual:\n"
        "      name: layer1.0\n"
        "      body: [{Conv2d: {name: conv1, out_channels: 2, kernel_size: 1}}, ReLU]\n"
        "      shortcut:\n"
        "        - Sequential: {name: downsample, layers: [{Conv2d: {out_channels: 2, kernel_size: 1}}]}\n"
        "  - block: {name: b}\n"
        "  - Concat: {name: fire, branches: [[{ReLU: {name: e1}}], [Sigmoid]]}\n",
        names);
}

/* A parameter of the block itself. */
static void layers_are_blocks(void **state) {
    (void)state;
    static const char yaml[] =
        "input: [2, 4, 4]\n"
        "blocks: {b: {layers: [{Residual: {name: '', body: [Tanh, {LayerScale: {name: ''}}]}}]}}\n"
        "layers: [{Sequential: {name: f, layers: [b, b]}}, LayerScale]\n";
    convoy_model *model = test_model(yaml);
    assert_int_equal(convoy_model_tensor_count(model), 3);
    assert_string_equal(convoy_model_tensor(model, 0)->name, "f.0.layer_scale");
    assert_string_equal(convoy_model_tensor(model, 1)->name, "f.1.layer_scale");
    assert_string_equal(convoy_model_tensor(model, 2)->name, "1.layer_scale");
    assert_true(convoy_model_tensor(model, 1)->values[1] == 1e-6f);
    convoy_model_free(model);
    assert_fails(
        test_model_load("own.yaml", "input: [2, 4, 4]\nlayers: [{Tanh: {name: ''}}]\n", NULL, &model),
        CONVOY_INVALID, "a layer's name is made of");
}

static void layers_repeat(void **state) {
    (void)state;
    static const char *const names[] = {"f.0", "f.1", "f.2", "f.3", "l1.conv", "l2.conv", NULL};
    static const char yaml[] =
        "input: [1, 8, 8]\n"
        "parameters: {depths: [2, 3]}\n"
        "blocks: {b: {parameters: {n: }, layers: [{Conv2d: {name: conv, out_channels: $n, kernel_size: "
        "1}}]}}\n"
        "layers:\n"
        "  - Sequential:\n"
        "      name: f\n"
        "      layers:\n"
        "        - repeat: {times: 2, layers: [{Conv2d: {out_channels: 4, kernel_size: 1}}, ReLU]}\n"
        "  - repeat: {name: l, values: {n: $depths}, layers: [b: {name: '', n: $n}]}\n";
    expect_names(yaml, names);
    convoy_model *model = test_model(yaml);
    assert_int_equal(convoy_model_layer(model, 4)->output[0], 2);
    assert_int_equal(convoy_model_layer(model, 5)->output[0], 3);
    convoy_model_free(model);
}

/* Sums of torchvision's (and efficientnet-lite-pytorch's) parameters (sum(p.numel() for p in
 * model.parameters())), and the state dict's size.
 */
static void torchvisions_networks(void **state) {
    (void)state;
    static const struct {
        const char *name;
        unsigned long long parameters;
        size_t tensors;
        const char *last_but_one;
    } expected[] = {{"resnet18", 11689512, 122, "fc.weight"},
                    {"densenet121", 7978856, 727, "classifier.weight"},
                    {"squeezenet1_1", 1235496, 52, "classifier.1.weight"},
                    {"mobilenet_v2", 3504872, 314, "classifier.1.weight"},
                    {"mnasnet1_0", 4383312, 314, "classifier.1.weight"},
                    {"mobilenet_v3_small", 2542856, 244, "classifier.3.weight"},
                    {"regnet_y_400mf", 4344144, 384, "fc.weight"},
                    {"shufflenet_v2_x1_0", 2278604, 338, "fc.weight"},
                    {"efficientnet_b0", 5288548, 360, "classifier.1.weight"},
                    {"googlenet", 13004888, 364, "fc.weight"},
                    {"inception_v3", 27161264, 580, "fc.weight"},
                    {"efficientnet_lite0", 4652008, 296, "_fc.weight"},
                    {"convnext_tiny", 28589128, 182, "classifier.2.weight"}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        convoy_model *model = load(expected[i].name, NULL);
        cvy_named_tensor *tensors;
        size_t count;
        assert_ok(cvy_model_state(model, &tensors, &count));
        assert_int_equal(parameters_of(model), expected[i].parameters);
        assert_int_equal(count, expected[i].tensors);
        assert_string_equal(tensors[count - 2].name, expected[i].last_but_one);
        free(tensors);
        convoy_model_free(model);
    }
}

/* A head reads what comes to it, and what is behind it does not notice. */
static void heads_stand_beside(void **state) {
    (void)state;
    static const char yaml[] =
        "input: [1, 4, 4]\n"
        "parameters: {classes: 3, share: 0.5}\n"
        "layers:\n"
        "  - Conv2d: {out_channels: 2, kernel_size: 1}\n"
        "  - Auxiliary: {name: aux, weight: $share, layers: [{Conv2d: {name: conv, "
        "out_channels: 4, kernel_size: 1}}, BatchNorm2d, Flatten, {Linear: {out_features: "
        "$classes}}]}\n"
        "  - Flatten\n"
        "  - Linear: {name: fc, out_features: $classes}\n";
    expect_names(yaml, (const char *[]){"0", "aux.conv", "aux.1", "aux.2", "aux.3", "2", "fc", NULL});
    convoy_model *model = test_model(yaml), *again = NULL;
    assert_int_equal(model->auxiliary_count, 1);
    assert_true(model->auxiliaries[0].weight == 0.5);
    for (size_t s = 0; s < model->step_count; s++)
        assert_true(model->steps[s].auxiliary == (s > 0 && s < 5));
    assert_int_equal(model->steps[6].input_dims[0].channels, 32);
    assert_null(model->steps[1].fold); /* there is no evaluation to fold it for */
    char *text = cvy_model_print(model);
    assert_ok(test_model_load("model-printed.yaml", text, NULL, &again));
    assert_true(again->auxiliary_count == 1 && again->auxiliaries[0].weight == 0.5);
    assert_int_equal(again->data_count, model->data_count);
    free(text);
    convoy_model_free(again);
    convoy_model_free(model);
}

/* What is frozen, and what is in the group that learns slowly, by what names begin with. */
static void recipes_that_finetune(void **state) {
    (void)state;
    static const struct {
        const char *name, *slow, *quick;
    } expected[] = {{"resnet18_finetune", "layer4.", "fc."},
                    {"mobilenet_v3_finetune", "features.1", "classifier."}};
    for (size_t i = 0; i < 2; i++) {
        convoy_model *model = load(expected[i].name, NULL);
        size_t groups[2] = {0}, frozen = 0;
        for (size_t t = 0; t < model->tensor_count; t++) {
            const cvy_model_tensor *tensor = &model->tensors[t];
            const bool slow = !strncmp(tensor->name, expected[i].slow, strlen(expected[i].slow)) &&
                              strncmp(tensor->name, "features.1.", 11) != 0;
            const bool quick = !strncmp(tensor->name, expected[i].quick, strlen(expected[i].quick));
            assert_true(tensor->frozen == !(slow || quick));
            if (tensor->about->role == CVY_TRAINABLE && !tensor->frozen)
                groups[tensor->group]++;
            frozen += tensor->frozen;
        }
        assert_true(frozen > 40 && groups[0] == (i ? 4 : 2) && groups[1] == (i ? 29 : 15));
        assert_true(model->groups[1].lr == 0.001 && model->groups[0].lr == 0.01);
        for (size_t s = 0; s < model->step_count; s++) /* batch-norms keep their statistics */
            if (model->steps[s].facts.counts_batches)
                assert_true(model->steps[s].frozen == model->tensors[model->steps[s].first_tensor].frozen);
        convoy_model_free(model);
    }
}

static void names_replace_indices(void **state) {
    (void)state;
    convoy_model *model =
        test_model("input: [1, 4, 4]\n"
                   "blocks:\n"
                   "  b: {layers: [{Conv2d: {out_channels: 2, kernel_size: 1, name: conv}}, ReLU]}\n"
                   "layers:\n"
                   "  - Conv2d: {name: features.0, out_channels: 2, kernel_size: 1}\n"
                   "  - Residual: {name: layer1, body: [b]}\n"
                   "  - b: {name: stem}\n"
                   "  - Concat: {name: cat, branches: [[], [b]]}\n"
                   "  - Sequential: {name: head, layers: [Flatten, {Linear: {out_features: 2}}]}\n");
    const char *const names[] = {"features.0", "layer1.body.0.conv", "layer1.body.0.1", "layer1", "stem.conv",
                                 "stem.1",     "cat.1.0.conv",       "cat.1.0.1",       "cat",    "head.0",
                                 "head.1"};
    assert_int_equal(convoy_model_layer_count(model), sizeof names / sizeof *names);
    for (size_t i = 0; i < convoy_model_layer_count(model); i++)
        assert_string_equal(convoy_model_layer(model, i)->name, names[i]);
    assert_string_equal(convoy_model_tensor(model, 0)->name, "features.0.weight");
    convoy_model_free(model);
}

static const char with_blocks[] =
    "parameters: {classes: 10, size: 3, optimizer_lr: 0.5}\n"
    "input: [1, 8, 8]\n"
    "blocks:\n"
    "  inner: {parameters: {channels: , kernel: $size}, layers: [{Conv2d: {out_channels: $channels,"
    " kernel_size: $kernel, padding: 1}}]}\n"
    "  outer:\n"
    "    parameters: {channels: 4}\n"
    "    layers:\n"
    "      - inner: {channels: $channels}\n"
    "      - inner: {channels: 3}\n"
    "layers:\n"
    "  - outer\n"
    "  - outer: {channels: 5}\n"
    "  - Flatten\n"
    "  - Linear: {out_features: $classes}\n"
    "recipe: {optimizer: {SGD: {lr: $optimizer_lr}}, batch_size: 7}\n";

static void blocks_take_parameters(void **state) {
    (void)state;
    convoy_model *model = NULL;
    const char *const settings[] = {"size=[3, 3]", "epochs=4"};
    convoy_model_options options = {.classes = 6, .settings = settings, .setting_count = 2};
    assert_ok(test_model_load("blocks.yaml", with_blocks, &options, &model));
    const int channels[] = {4, 3, 5, 3, 192, 6};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(convoy_model_layer(model, i)->output[0], channels[i]);
    assert_string_equal(convoy_model_layer(model, 2)->name, "1.0.0");
    assert_int_equal(convoy_model_classes(model), 6);
    assert_true(cvy_model_recipe(model)->optimizer.lr == 0.5);
    assert_int_equal(cvy_model_recipe(model)->epochs, 4);
    assert_string_equal(convoy_model_name(model), "blocks");
    convoy_model_free(model);
}

static void printed_models_are_the_same(void **state) {
    (void)state;
    const char *const names[] = {"lenet5", "monkeypox_bn", "resnet_mini", "densenet_mini"};
    for (size_t i = 0; i < 4; i++) {
        convoy_model *model = load(names[i], &(convoy_model_options){.classes = 7}), *again = NULL;
        char *text = cvy_model_print(model);
        assert_ok(test_model_load("model-printed.yaml", text, NULL, &again));
        char *second = cvy_model_print(again);
        assert_string_equal(text, second);
        assert_int_equal(again->step_count, model->step_count);
        assert_int_equal(again->data_count, model->data_count);
        assert_memory_equal(again->data, model->data, model->data_count * sizeof(float));
        for (size_t t = 0; t < model->tensor_count; t++)
            assert_string_equal(again->tensors[t].name, model->tensors[t].name);
        free(text);
        free(second);
        convoy_model_free(again);
        convoy_model_free(model);
    }
}

static convoy_status load_with(const char *recipe, const char *const *settings, size_t count,
                               convoy_model **model) {
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "input: [3, 4, 4]\nlayers: [Flatten, {Linear: {out_features: 2}}]\nrecipe: %s\n", recipe);
    return test_model_load("model-recipe.yaml", yaml,
                           &(convoy_model_options){.settings = settings, .setting_count = count}, model);
}

static void recipes_have_defaults(void **state) {
    (void)state;
    convoy_model *model = NULL;
    assert_ok(load_with("{}", NULL, 0, &model));
    const cvy_recipe *r = cvy_model_recipe(model);
    assert_null(r->data);
    assert_int_equal(r->loss, CVY_CROSS_ENTROPY);
    assert_string_equal(r->optimizer.type->name, "Adam");
    assert_true(r->optimizer.lr == 0.001 && r->optimizer.betas[0] == 0.9 && r->optimizer.betas[1] == 0.999 &&
                r->optimizer.eps == 1e-8 && r->optimizer.weight_decay == 0);
    assert_true(r->shuffle && r->border == 0 && r->mean[0] == 0 && r->std[2] == 1 && r->test_fraction == 0.2);
    convoy_model_free(model);
}

static void recipes_are_read(void **state) {
    (void)state;
    convoy_model *model = NULL;
    assert_ok(load_with(
        "{data: synthetic, loss: RBFLoss, optimizer: {SGD: {lr: 0.1, momentum: 0.9, nesterov: true, "
        "weight_decay: 5e-4}}, batch_size: 3, epochs: 2, init: lecun, shuffle: no, border: 1, mean: [0.1, "
        "0.2, 0.3],"
        " std: 0.5, reports_per_epoch: 5, eval_every: 100}",
        NULL, 0, &model));
    const cvy_recipe *r = cvy_model_recipe(model);
    assert_string_equal(r->data, "synthetic");
    assert_int_equal(r->loss, CVY_RBF_MAP);
    assert_string_equal(r->optimizer.type->name, "SGD");
    assert_true(r->optimizer.momentum == 0.9 && r->optimizer.nesterov && r->optimizer.weight_decay == 5e-4);
    assert_true(!r->shuffle && r->mean[1] == 0.2 && r->std[0] == 0.5 && r->std[2] == 0.5);
    assert_int_equal(r->eval_every, 100);
    int shape[3];
    convoy_model_image(model, shape);
    assert_true(shape[0] == 3 && shape[1] == 2 && shape[2] == 2);
    convoy_model_free(model);
}

/* With every default filled in, model.yaml gives them back. */
static void lists_of_transforms_are_read(void **state) {
    (void)state;
    convoy_model *model = NULL, *again = NULL;
    assert_ok(load_with("{augment: [{RandomCrop: {padding: 1, padding_mode: reflect}}, RandomHorizontalFlip, "
                        "{RandomAffine: {degrees: 5, scale: [0.5, 2], shear: [-3, 4]}}, "
                        "RandomGrayscale, {ColorJitter: {hue: [-0.5, 0.25]}}, {RandomCrop: {padding: 0}}, "
                        "ColorJitter, TrivialAugmentWide, {MixUp: {alpha: 0.2}}], border: 1}",
                        NULL, 0, &model));
    const cvy_transforms *list = &cvy_model_recipe(model)->augment;
    assert_int_equal(list->count, 9);
    assert_true(cvy_transforms_mix(list) && cvy_transforms_of_images(list) == 8);
    assert_string_equal(list->list[1].type->name, "RandomHorizontalFlip");
    assert_true(list->list[1].p == 0.5 && list->list[2].scale[1] == 2 && list->list[2].shear[0] == -3);
    assert_true(list->list[0].padding == 1 && list->list[0].size[0] == 2); /* the image, without the border */
    assert_true(list->list[0].padding_mode == CVY_PAD_REFLECT && list->list[4].hue[1] == 0.25);
    char *text = cvy_model_print(model);
    assert_non_null(strstr(text,
                           "\n  augment: [{RandomCrop: {size: 2, padding: 1, padding_mode: reflect, fill: "
                           "0}}, {RandomHorizontalFlip: "
                           "{p: 0.5}}, {RandomAffine: {degrees: 5, translate: [0, 0], scale: [0.5, 2], "
                           "shear: [-3, 4], interpolation: nearest, fill: 0}}, {RandomGrayscale: {p: 0.1}}, "
                           "{ColorJitter: {brightness: 0, "
                           "contrast: 0, saturation: 0, hue: [-0.5, 0.25]}}, "
                           "{RandomCrop: {size: 2, padding: 0, fill: 0}}, {ColorJitter: {brightness: 0, "
                           "contrast: 0, saturation: 0}}, {TrivialAugmentWide: {num_magnitude_bins: 31, "
                           "fill: 0}}, {MixUp: {alpha: 0.2}}]\n"));
    again = test_model(text);
    char *second = cvy_model_print(again);
    assert_string_equal(text, second);
    free(text);
    free(second);
    convoy_model_free(model);
    convoy_model_free(again);
    assert_ok(load_with("{augment: [RandomVerticalFlip]}", (const char *const[]){"augment=[]"}, 1, &model));
    text = cvy_model_print(model);
    assert_null(strstr(text, "augment"));
    free(text);
    convoy_model_free(model);
}

static void ways_to_resize_are_read(void **state) {
    (void)state;
    const char *const values[] = {"letterbox", "squash", "{short_side: 9}"};
    for (int i = 0; i < 3; i++) {
        convoy_model *model = NULL, *again = NULL;
        char setting[64], line[64];
        snprintf(setting, sizeof setting, "resize=%s", values[i]);
        snprintf(line, sizeof line, "\n  resize: %s\n", values[i]);
        assert_ok(load_with("{}", (const char *const[]){setting}, 1, &model));
        char *text = cvy_model_print(model);
        assert_non_null(strstr(text, line));
        again = test_model(text);
        const cvy_image_spec image = cvy_model_image(again);
        assert_int_equal(image.resize, i == 2 ? CVY_SHORT_SIDE : i == 1 ? CVY_SQUASH : CVY_LETTERBOX);
        assert_int_equal(image.short_side, i == 2 ? 9 : 0);
        free(text);
        convoy_model_free(model);
        convoy_model_free(again);
    }
}

/* What is text is not read as YAML, whatever characters it has; and model.yaml gives it back. */
static void settings_of_text_are_text(void **state) {
    (void)state;
    const char *const values[] = {"a [v2]", "{x: 1}",      "[",   "# no comment", "a: b", " spaces ",   "'",
                                  "\"",     "caf\303\251", "- x", "null",         "*a",   "line\nbreak"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        convoy_model *model = NULL, *again = NULL;
        char setting[64];
        snprintf(setting, sizeof setting, "data=%s", values[i]);
        assert_ok(load_with("{}", (const char *const[]){setting}, 1, &model));
        assert_string_equal(cvy_model_recipe(model)->data, values[i]);
        char *text = cvy_model_print(model);
        again = test_model(text);
        assert_string_equal(cvy_model_recipe(again)->data, values[i]);
        free(text);
        convoy_model_free(model);
        convoy_model_free(again);
    }
}

static void settings_override_the_recipe(void **state) {
    (void)state;
    convoy_model *model = NULL;
    const char *const sets[][3] = {
        {"lr=0.25", "batch_size=9", "momentum=0.5"},
        {"lr=0.25", "optimizer=AdamW", "eps=1e-6"}, /* the order does not matter */
        {"optimizer.lr=0.25", "optimizer={SGD: {lr: 3, momentum: 0.5}}", "mean=[1, 2, 3]"}};
    const char *const types[] = {"SGD", "AdamW", "SGD"};
    for (size_t i = 0; i < 3; i++) {
        assert_ok(load_with("{optimizer: {SGD: {lr: 0.9, dampening: 0.125}}}", sets[i], 3, &model));
        const cvy_recipe *r = cvy_model_recipe(model);
        assert_string_equal(r->optimizer.type->name, types[i]);
        assert_true(r->optimizer.lr == 0.25);
        assert_true(i == 1 ? r->optimizer.eps == 1e-6 && r->optimizer.weight_decay == 0.01
                           : r->optimizer.momentum == 0.5);
        assert_true(i != 0 || (r->batch_size == 9 && r->optimizer.dampening == 0.125));
        assert_true(i != 2 || (r->mean[2] == 3 && r->optimizer.dampening == 0));
        convoy_model_free(model);
    }
}

static double bound_of(const convoy_model *model, size_t t, double *deviation) {
    convoy_tensor tensor = *convoy_model_tensor(model, t);
    size_t count = tensor.shape[0] * tensor.shape[1] * tensor.shape[2] * tensor.shape[3];
    double largest = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)tensor.values[i]));
        squares += (double)tensor.values[i] * (double)tensor.values[i];
    }
    *deviation = sqrt(squares / (double)count);
    return largest;
}

/* 8 -> 64 maps, kernel 5: fan_in 200, fan_out 1600, and a Linear of 64 -> 1000. */
static void initialisations_have_pytorchs_bounds(void **state) {
    (void)state;
    const char *const inits[] = {"default", "xavier_uniform", "kaiming_uniform", "lecun"};
    const double weight[] = {1 / sqrt(200.0), sqrt(6.0 / 1800), sqrt(6.0 / 200), 2.4 / 200};
    const double bias[] = {1 / sqrt(200.0), 1 / sqrt(200.0), 1 / sqrt(200.0), 2.4 / 200};
    const double linear[] = {1 / sqrt(64.0), sqrt(6.0 / 1064), sqrt(6.0 / 64), 2.4 / 64};
    char yaml[512];
    for (size_t i = 0; i < 4; i++) {
        snprintf(
            yaml, sizeof yaml,
            "input: [8, 5, 5]\nlayers: [{Conv2d: {out_channels: 64, kernel_size: 5}}, BatchNorm2d, Flatten, "
            "{Linear: {out_features: 1000}}]\nrecipe: {init: %s}\n",
            inits[i]);
        convoy_model *model = test_model(yaml);
        double deviation, largest = bound_of(model, 0, &deviation);
        assert_true(largest <= weight[i] * 1.000001 && largest > 0.99 * weight[i]);
        assert_true(fabs(deviation - weight[i] / sqrt(3)) < 0.03 * weight[i]);
        largest = bound_of(model, 1, &deviation);
        assert_true(largest <= bias[i] * 1.000001 && largest > 0.8 * bias[i]);
        for (size_t c = 0; c < 64; c++)
            assert_true(convoy_model_tensor(model, 2)->values[c] == 1 &&
                        convoy_model_tensor(model, 3)->values[c] == 0 &&
                        convoy_model_tensor(model, 4)->values[c] == 0 &&
                        convoy_model_tensor(model, 5)->values[c] == 1);
        largest = bound_of(model, 6, &deviation);
        assert_true(largest <= linear[i] * 1.000001 && largest > 0.99 * linear[i]);
        convoy_model_free(model);
    }
    convoy_model *model =
        test_model("input: [8, 5, 5]\nlayers: [{Conv2d: {out_channels: 64, kernel_size: 5}}]\n"
                   "recipe: {init: kaiming_normal}\n");
    double deviation, largest = bound_of(model, 0, &deviation);
    assert_true(fabs(deviation - sqrt(2.0 / 200)) < 0.03 * sqrt(2.0 / 200) && largest > 3 * deviation);
    convoy_model_free(model);
}

static void seeds_give_other_values(void **state) {
    (void)state;
    convoy_model *model = load("lenet", NULL);
    float first = model->data[0], later = model->data[5000];
    assert_ok(convoy_model_initialise(model, 1));
    assert_true(model->data[0] != first && model->data[5000] != later);
    assert_ok(convoy_model_initialise(model, 0));
    assert_true(model->data[0] == first && model->data[5000] == later);
    convoy_model_free(model);
}

/* A map that sees three of six maps has half the fan. */
static void connection_tables_have_a_fan_per_map(void **state) {
    (void)state;
    convoy_model *model = load("lenet5", NULL);
    double largest[2] = {0, 0};
    for (size_t i = 0; i < 6 * 25; i++) {
        largest[0] = fmax(largest[0], fabs((double)convoy_model_tensor(model, 4)->values[i]));
        largest[1] = fmax(largest[1], fabs((double)convoy_model_tensor(model, 4)->values[15 * 6 * 25 + i]));
    }
    assert_string_equal(convoy_model_tensor(model, 4)->name, "C3.weight");
    assert_true(largest[0] <= 2.4 / 75 && largest[0] > 2.4 / 80);
    assert_true(largest[1] <= 2.4 / 150 && largest[1] > 2.4 / 160);
    convoy_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recipes_have_their_parameters),
        cmocka_unit_test(lenet5_has_the_papers_counts),
        cmocka_unit_test(state_dicts_are_pytorchs),
        cmocka_unit_test(names_replace_indices),
        cmocka_unit_test(named_layers_belong_to_their_block),
        cmocka_unit_test(layers_are_blocks),
        cmocka_unit_test(layers_repeat),
        cmocka_unit_test(torchvisions_networks),
        cmocka_unit_test(heads_stand_beside),
        cmocka_unit_test(recipes_that_finetune),
        cmocka_unit_test(blocks_take_parameters),
        cmocka_unit_test(printed_models_are_the_same),
        cmocka_unit_test(recipes_have_defaults),
        cmocka_unit_test(recipes_are_read),
        cmocka_unit_test(settings_override_the_recipe),
        cmocka_unit_test(lists_of_transforms_are_read),
        cmocka_unit_test(ways_to_resize_are_read),
        cmocka_unit_test(settings_of_text_are_text),
        cmocka_unit_test(initialisations_have_pytorchs_bounds),
        cmocka_unit_test(seeds_give_other_values),
        cmocka_unit_test(connection_tables_have_a_fan_per_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
