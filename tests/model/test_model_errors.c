/* What is wrong with a model file is said with its place: file:line:column. */
#include "base/text.h"
#include "support/models.h"

typedef struct bad_file {
    const char *yaml, *message; /* the message after "model-bad.yaml:" */
} bad_file;

static void check(const bad_file *files, size_t count) {
    for (size_t i = 0; i < count; i++) {
        convoy_model *model = NULL;
        char expected[512];
        snprintf(expected, sizeof expected, "model-bad.yaml:%s", files[i].message);
        assert_fails(test_model_load("model-bad.yaml", files[i].yaml, NULL, &model), CONVOY_INVALID,
                     expected);
        if (strncmp(convoy_error_message(), expected, strlen(expected)) != 0)
            fail_msg("the message does not begin with \"%s\": %s", expected, convoy_error_message());
        assert_null(model);
    }
}
#define CHECK(files) check(files, sizeof files / sizeof *files)

static void the_top_level(void **state) {
    (void)state;
    const bad_file files[] = {
        {"- 1\n", "1:1: a model file is a mapping"},
        {"layers: [ReLU]\n", "1:1: model: `input` is missing"},
        {"input: [1, 2, 2]\nlayer: [ReLU]\n", "2:1: model: unknown `layer`; did you mean `layers`?"},
        {"input: [1, 2]\nlayers: [ReLU]\n", "1:8: `input` must be [channels, height, width]"},
        {"input: [1, 0, 2]\nlayers: [ReLU]\n", "1:8: `input` must be"},
        {"input: [1, 2, 2]\nlayers: []\n", "2:9: `layers` needs a list of layers"},
        {"input: [1, 2, 2]\nlayers: ReLU\n", "2:9: `layers` needs a list of layers"},
        {"input: [1, 2, 2]\nlayers: [Flatten]\n", "2:9: the model computes nothing"},
        {"input: [1, 2, 2]\nblocks: [x]\nlayers: [ReLU]\n", "2:9: blocks: expected {name: value, ...}"},
        {"input: [$channels, 2, 2]\nlayers: [ReLU]\n", "1:9: unknown parameter `$channels`"},
    };
    CHECK(files);
}

#define LAYERS "input: [1, 8, 8]\nlayers:\n"

static void layers(void **state) {
    (void)state;
    const bad_file files[] = {
        {LAYERS "  - Conv2D: {out_channels: 1}\n", "3:5: unknown layer `Conv2D`; did you mean `Conv2d`?"},
        {LAYERS "  - Quux\n", "3:5: unknown layer `Quux`; known are: Residual, Concat, Product, Sequential, "
                              "Auxiliary, repeat, Conv2d, "},
        {LAYERS "  - Conv2d: {out_channels: 1, kernal_size: 3}\n",
         "3:31: Conv2d: unknown `kernal_size`; did you mean `kernel_size`?"},
        {LAYERS "  - Conv2d: {out_channels: 1}\n", "3:13: Conv2d: `kernel_size` is missing"},
        {LAYERS "  - Conv2d\n", "3:5: Conv2d: `out_channels`, `kernel_size` are missing"},
        {LAYERS "  - Conv2d: {out_channels: 0, kernel_size: 3}\n", "3:28: Conv2d: `out_channels` must be"},
        {LAYERS "  - Identity: {x: 1}\n", "3:16: Identity: unknown `x`; it takes no parameters"},
        {LAYERS "  - ReLU\n  - Conv2d: {out_channels: 2, kernel_size: 9}\n",
         "4:5: layer 1 (Conv2d), input 1x8x8: "},
        {LAYERS "  - Conv2d: {in_channels: 3, out_channels: 2, kernel_size: 3}\n",
         "3:5: layer 0 (Conv2d), input 1x8x8: in_channels is 3 but the input has 1 channels"},
        {LAYERS "  - Conv2d: {out_channels: 2, kernel_size: 3, groups: 2}\n",
         "3:5: layer 0 (Conv2d), input 1x8x8: "},
        {LAYERS "  - MaxPool2d: {kernel_size: 9, name: pool}\n",
         "3:5: layer pool (MaxPool2d), input 1x8x8: "},
        {LAYERS "  - Linear: {out_features: 2}\n",
         "3:5: layer 0 (Linear), input 1x8x8: Linear works on a vector, but the input has height 8 and width "
         "8; put a Flatten"},
        {LAYERS "  - Flatten\n  - Linear: {in_features: 65, out_features: 2}\n",
         "4:5: layer 1 (Linear), input 64: in_features is 65 but the input has 64 values"},
        {LAYERS "  - BatchNorm2d: {num_features: 2}\n",
         "3:5: layer 0 (BatchNorm2d), input 1x8x8: num_features is 2"},
        {LAYERS "  - Dropout: {p: 1.5}\n", "3:18: Dropout: `p` must be a number between 0 and 1"},
        {LAYERS "  - Subsample2d: {kernel_size: 9}\n",
         "3:5: layer 0 (Subsample2d), input 1x8x8: kernel_size 9 is larger"},
        {LAYERS "  - Flatten\n  - EuclideanRBF\n", "4:5: layer 1 (EuclideanRBF), input 64: "},
        {LAYERS "  - Softmax\n", "3:5: layer 0 (Softmax), input 1x8x8: Softmax works on a vector"},
        {LAYERS "  - Upsample: {size: 4, mode: cubic}\n", "3:31: Upsample: `mode` must be one of bilinear"},
        {LAYERS "  - ReLU: {name: a}\n  - Tanh: {name: a}\n", "4:5: two layers are called `a`"},
        {LAYERS "  - Residual: {name: r, body: [{ReLU: {name: a}}, {Tanh: {name: a}}]}\n",
         "3:52: two layers are called `r.a`"},
        {LAYERS "  - repeat\n", "3:5: repeat needs a list of layers"},
        {LAYERS "  - repeat: [ReLU]\n", "3:13: repeat needs {times: N"},
        {LAYERS "  - repeat: {layers: [ReLU]}\n", "3:13: repeat needs `times: N` or `values:"},
        {LAYERS "  - repeat: {times: 0, layers: [ReLU]}\n", "3:21: `times` must be a whole number from 1"},
        {LAYERS "  - repeat: {times: 2}\n", "3:13: repeat needs `layers`"},
        {LAYERS "  - repeat: {time: 2, layers: [ReLU]}\n",
         "3:14: repeat: unknown `time`; did you mean `times`?"},
        {LAYERS "  - repeat: {values: {a: 1}, layers: [ReLU]}\n", "3:26: repeat: `a` needs a list"},
        {LAYERS "  - repeat: {times: 2, values: {a: [1]}, layers: [ReLU]}\n",
         "3:36: repeat: `a` has 1 values for 2 repetitions"},
        {LAYERS "  - repeat: {times: 9999, layers: [repeat: {times: 9999, layers: [ReLU]}]}\n",
         "3:67: the model has more than"},
        {LAYERS "  - ReLU: {name: a b}\n", "3:18: a layer's name is made of"},
        {LAYERS "  - Linear: {out_features: 2}\n    ReLU:\n",
         "3:5: a layer is one name with its parameters, found 2 keys"},
        {LAYERS "  - [ReLU]\n", "3:5: expected a layer"},
    };
    CHECK(files);
}

#define TABLE(table)                                                                                         \
    LAYERS "  - Conv2d: {out_channels: 2, kernel_size: 1}\n  - Conv2d: {out_channels: 2, kernel_size: 1, "   \
           "connections: " table "}\n"

static void connection_tables(void **state) {
    (void)state;
    const bad_file files[] = {
        {TABLE("[[0]]"), "4:60: connections needs one list per output map, 2 in all, found 1"},
        {TABLE("7"), "4:60: connections needs one list per output map, 2 in all, found 0"},
        {TABLE("[[0], []]"), "4:66: an output map needs a list"},
        {TABLE("[[0], [2]]"), "4:67: an input map is a number from 0 to 1, found \"2\""},
        {TABLE("[[0], [1, 1]]"), "4:70: input map 1 is listed twice"},
        {TABLE("[[0], [1]], groups: 2"), "4:60: connections and groups exclude each other"},
    };
    CHECK(files);
}

static void branches(void **state) {
    (void)state;
    const bad_file files[] = {
        {LAYERS "  - Residual: {body: [{Conv2d: {out_channels: 2, kernel_size: 3}}]}\n",
         "3:5: layer 0 (Residual), input 1x8x8: the body ends with 2x6x6 and the shortcut with 1x8x8"},
        {LAYERS "  - Residual: {bdy: [ReLU]}\n", "3:16: Residual: unknown `bdy`; did you mean `body`?"},
        {LAYERS "  - Residual: {body: []}\n", "3:15: Residual needs {body: [layers], shortcut: [layers]}"},
        {LAYERS "  - Residual: [ReLU]\n", "3:15: Residual needs"},
        {LAYERS "  - Concat: [[ReLU], [{MaxPool2d: {kernel_size: 2}}]]\n",
         "3:5: layer 0 (Concat), input 1x8x8: branch 0 ends with 1x8x8 and branch 1 with 1x4x4"},
        {LAYERS "  - Concat: [ReLU]\n", "3:14: expected a list of layers"},
        {LAYERS "  - Product: [[], [{MaxPool2d: {kernel_size: 2}}]]\n",
         "3:5: layer 0 (Product), input 1x8x8: branch 0 ends with 1x8x8 and branch 1 with 1x4x4"},
        {LAYERS "  - Product: [[], [], []]\n", "3:14: Product needs two branches"},
        {LAYERS "  - Concat\n", "3:5: Concat needs a list of branches"},
        {LAYERS "  - Auxiliary: [ReLU]\n", "3:16: Auxiliary needs {weight: 0.3, layers: [layers]}"},
        {LAYERS "  - Auxiliary: {layers: [ReLU]}\n",
         "3:5: layer 0 (Auxiliary): `weight`, what its loss counts for, must be a number above 0"},
        {LAYERS "  - Auxiliary: {weight: -1, layers: [ReLU]}\n", "3:25: layer 0 (Auxiliary): `weight`"},
        {LAYERS "  - Auxiliary: {weight: 1, wieght: 1, layers: [ReLU]}\n",
         "3:28: Auxiliary: unknown `wieght`; did you mean `weight`?"},
        {LAYERS "  - Auxiliary: {weight: 1, layers: [Flatten]}\n",
         "3:5: layer 0 (Auxiliary): it computes nothing"},
        {LAYERS "  - Auxiliary: {weight: 1, layers: [Flatten, {Linear: {out_features: 3}}]}\n  - ReLU\n",
         "3:3: an Auxiliary ends with 3 and the network with 1x8x8; both must have an output for each class"},
        {LAYERS "  - Residual:\n      body:\n        - Tahn\n",
         "5:11: unknown layer `Tahn`; did you mean `Tanh`?"},
    };
    CHECK(files);
}

#define BLOCK                                                                                                \
    "blocks:\n  b:\n    parameters: {channels: , kernel: 1}\n    layers:\n      - Conv2d: {out_channels: "   \
    "$channels, kernel_size: $kernel}\n"

static void blocks(void **state) {
    (void)state;
    const bad_file files[] = {
        {BLOCK LAYERS "  - b\n", "8:5: block b: parameter `channels` has no default and is not given"},
        {BLOCK LAYERS "  - b: {chanels: 1}\n",
         "8:9: block b: unknown parameter `chanels`; did you mean `channels`?"},
        {BLOCK LAYERS "  - b: {channels: x}\n", "5:32: Conv2d: `out_channels` must be"},
        {BLOCK LAYERS "  - b: 3\n", "8:8: b: expected {name: value, ...}"},
        {"blocks: {b: {layers: [c]}, c: {layers: [b]}}\n" LAYERS "  - b\n",
         "1:41: blocks are nested more than 16 deep"},
        {"blocks: {ReLU: {layers: [Tanh]}}\n" LAYERS "  - ReLU\n",
         "1:10: a block must not have the name of a layer"},
        {"blocks: {b: {layers: []}}\n" LAYERS "  - b\n", "1:13: a block needs"},
        {"blocks: {b: {layer: [Tanh]}}\n" LAYERS "  - b\n", "1:13: a block needs"},
        {"blocks: {b: {layers: [{Linear: {out_features: $clases}}]}}\nparameters: {classes: 1}\n" LAYERS
         "  - b\n",
         "1:47: unknown parameter `$clases`; did you mean `$classes`?"},
        {"parameters: {classes: }\n" LAYERS "  - Flatten\n  - Linear: {out_features: $classes}\n",
         "5:28: `$classes` has no value"},
    };
    CHECK(files);
}

/* Blocks that double at each of 16 levels would be 65,536 layers. */
static void blocks_cannot_explode(void **state) {
    (void)state;
    cvy_text text = {0};
    convoy_model *model = NULL;
    cvy_text_add(&text, "blocks:\n");
    for (int i = 0; i < 15; i++)
        cvy_text_add(&text, "  b%d: {layers: [b%d, b%d]}\n", i, i + 1, i + 1);
    cvy_text_add(&text, "  b15: {layers: [ReLU]}\n" LAYERS "  - b0\n");
    assert_fails(test_model_load("model-bad.yaml", text.data, NULL, &model), CONVOY_INVALID,
                 "more than 10000 layers");
    cvy_text_free(&text);
}

#define RECIPE "input: [1, 8, 8]\nlayers: [ReLU]\nrecipe:\n"

/* Sizes whose sums or products no number says, or no machine has: refused before anything is allocated. */
static void sizes_are_checked(void **state) {
    (void)state;
    static const char wide[] = "      - Upsample: {size: 32768}\n      - Flatten\n";
    cvy_text many = {0};
    const bad_file files[] = {
        {"input: [1, 1, 1]\nlayers:\n  - Conv2d: {out_channels: 1048576, kernel_size: 1}\n"
         "  - Conv2d: {out_channels: 1048576, kernel_size: 32768, padding: 32768}\n",
         "4:5: layer 1 (Conv2d): its output"},
        {"input: [1, 1, 1]\nlayers:\n  - Conv2d: {out_channels: 1048576, kernel_size: 1}\n"
         "  - Conv2d: {out_channels: 1, kernel_size: 32768, padding: 16384}\n",
         "4:5: layer 1 (Conv2d): with it the model has more than 68719476736 parameters"},
        {"input: [1, 1, 1]\nlayers:\n  - Conv2d: {out_channels: 1048576, kernel_size: 1}\n"
         "  - Conv2d: {out_channels: 2, kernel_size: 32768, padding: 16384, connections: [[0], [1]]}\n",
         "4:80: a kernel of 2 x 1048576 x 1073741824 values is too large"},
        {"input: [32768, 1, 1]\nlayers:\n  - Upsample: {size: 32768}\n",
         "3:5: layer 0 (Upsample): its output"},
        {"input: [2, 32768, 32768]\nlayers:\n  - ReLU\n", "3:3: 2x32768x32768 outputs are too many"},
    };
    CHECK(files);
    cvy_text_add(&many, "input: [1, 1, 1]\nlayers:\n");
    for (int i = 0; i < 70; i++) /* each fits */
        cvy_text_add(&many, "  - Sequential:\n%s      - Linear: {out_features: 1}\n", wide);
    convoy_model *model = NULL;
    assert_fails(test_model_load("model-bad.yaml", many.data, NULL, &model), CONVOY_INVALID,
                 "an image has more than 68719476736 values in this model");
    cvy_text_free(&many);
}

/* What a small file stands for when it is written out has bounds that are said. */
static void expansions_are_bounded(void **state) {
    (void)state;
    const struct {
        const char *head, *item, *between, *tail, *message;
        int items, uses;
    } cases[] = {
        {"input: [1, 8, 8]\nparameters: {a: [", "1,", " - ReLU: {a: $a}\n", "1]}\nlayers:\n",
         "more than 1048576 values", 20000, 60},
        {"input: [1, 8, 8]\nblocks: {b: {parameters: {a: [", "1,", " - b\n",
         "1]}, layers: [ReLU]}}\nlayers:\n", "more than 1048576 values", 20000, 60},
        {"input: [1, 8, 8]\nlayers:\n - ReLU: {name: ", "a", "", "}\n", "at most 100 letters", 200, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_text text = {0};
        convoy_model *model = NULL;
        cvy_text_add(&text, "%s", cases[i].head);
        for (int k = 0; k < cases[i].items; k++)
            cvy_text_add(&text, "%s", cases[i].item);
        cvy_text_add(&text, "%s", cases[i].tail);
        for (int k = 0; k < cases[i].uses; k++)
            cvy_text_add(&text, "%s", cases[i].between);
        assert_fails(test_model_load("model-bad.yaml", text.data, NULL, &model), CONVOY_INVALID,
                     cases[i].message);
        cvy_text_free(&text);
    }
    cvy_text text = {0};
    convoy_model *model = NULL;
    cvy_text_add(&text, "input: [1, 8, 8]\nparameters:\n");
    for (int k = 0; k < 300; k++)
        cvy_text_add(&text, "  p%d: 1\n", k);
    cvy_text_add(&text, "layers: [ReLU]\n");
    assert_fails(test_model_load("model-bad.yaml", text.data, NULL, &model), CONVOY_INVALID,
                 "parameters: 300 are more than the 256 that are allowed");
    cvy_text_free(&text);
}

static void recipes(void **state) {
    (void)state;
    const bad_file files[] = {
        {RECIPE "  epoch: 3\n", "4:3: recipe: unknown `epoch`; did you mean `epochs`?"},
        {RECIPE "  batch_size: 0\n", "4:15: recipe: `batch_size` must be"},
        {RECIPE "  loss: MSELoss\n", "4:9: recipe: `loss` must be one of CrossEntropyLoss, RBFLoss"},
        {RECIPE "  init: xavier\n", "4:9: recipe: `init` must be one of"},
        {RECIPE "  optimizer: {Adm: {}}\n", "4:15: unknown optimizer `Adm`; did you mean `Adam`?"},
        {RECIPE "  optimizer: {SGD: {}}\n", "4:20: SGD: `lr` is missing"},
        {RECIPE "  optimizer: SGD\n", "4:14: SGD: `lr` is missing"},
        {RECIPE "  optimizer: {Adam: {momentum: 1}}\n", "4:22: Adam: unknown `momentum`"},
        {RECIPE "  optimizer: {Adam: {betas: [0.9]}}\n", "4:29: Adam: `betas` must be two numbers"},
        {RECIPE "  optimizer: {Adam: {betas: [0.9, 1]}}\n", "4:29: Adam: `betas` must be two numbers"},
        {RECIPE "  optimizer: {SGD: {lr: 1, nesterov: true}}\n", "4:14: SGD: `nesterov` needs a momentum"},
        {RECIPE "  optimizer: [SGD]\n", "4:14: an optimizer is one name"},
        {RECIPE "  mean: [1, 2]\n", "4:9: `mean` must be a number, or one for each of the 1 channels"},
        {RECIPE "  std: 0\n", "4:8: `std` must be a number above 0, found `0`"},
        {RECIPE "  std: 1e-60\n", "4:8: `std` must be a number that a float can hold"},
        {RECIPE "  mean: [1e300]\n", "4:10: `mean` must be a number that a float can hold"},
        {RECIPE "  border: 4\n", "4:3: recipe: a border of 4 leaves nothing of an input of 1x8x8"},
        {RECIPE "  resize: squish\n",
         "4:11: recipe: `resize` must be one of short_side, squash, letterbox (did you mean `squash`?)"},
        {RECIPE "  resize: {short: 9}\n", "4:12: resize: unknown `short`; did you mean `short_side`?"},
        {RECIPE "  resize: {short_side: 7}\n",
         "4:24: resize: a short side of 7 is less than the image, 8x8, has"},
        {RECIPE "  augment: RandomCrop\n", "4:12: `augment` is a list of transforms"},
        {RECIPE "  augment: [RandomCrp]\n",
         "4:13: augment: unknown transform `RandomCrp`; did you mean `RandomCrop`?"},
        {RECIPE "  augment: [Quux]\n",
         "4:13: augment: unknown transform `Quux`; known are: RandomHorizontalFlip, "},
        {RECIPE "  augment: [{RandomCrop: {}, x: 1}]\n", "4:13: augment: a transform is one name"},
        {RECIPE "  augment: [RandomVerticalFlip, {RandomCrop: {paddin: 2}}]\n",
         "4:47: RandomCrop: unknown `paddin`; did you mean `padding`?"},
        {RECIPE "  augment: [{RandomHorizontalFlip: {p: 2}}]\n",
         "4:40: RandomHorizontalFlip: `p` must be a number between 0 and 1"},
        {RECIPE "  augment: [RandomRotation]\n", "4:13: RandomRotation: `degrees` is missing"},
        {RECIPE "  augment: [{RandomRotation: {degrees: -3}}]\n",
         "4:13: RandomRotation: `degrees` of -3: one number must not be below 0"},
        {RECIPE "  augment: [{RandomCrop: {size: [8, 13], padding: 2}}]\n",
         "4:13: RandomCrop: a crop of 8x13 is larger than the picture, 12x12 with its padding: give a "
         "smaller "
         "`size` or more `padding`"},
        {RECIPE "  augment: [{RandomCrop: {size: 6}}, RandomHorizontalFlip]\n",
         "4:12: augment: the pictures become 6x6, but the model takes 8x8"},
        {RECIPE "  augment: [{RandomCrop: {padding: 2}}, {RandomRotation: {degrees: 3, fill: 9}}]\n",
         "4:41: RandomRotation: `fill` is 9, but a transform before it has 0"},
        {RECIPE "  augment: [{RandomCrop: {padding: 2, padding_mode: mirror}}]\n",
         "4:53: RandomCrop: `padding_mode` must be one of constant, edge, reflect, symmetric"},
        {RECIPE "  augment: [{RandomCrop: {padding: 8, padding_mode: reflect}}]\n",
         "4:13: RandomCrop: `padding` of 8 with `padding_mode: reflect`: a picture of 8x8 has at most 7 to "
         "mirror"},
        {RECIPE "  augment: [{RandomCrop: {padding: 9, padding_mode: symmetric}}]\n",
         "4:13: RandomCrop: `padding` of 9 with `padding_mode: symmetric`: a picture of 8x8 has at most 8"},
        {RECIPE
         "  augment: [{RandomRotation: {degrees: 3}}, {RandomCrop: {padding: 9, padding_mode: edge}}]\n",
         "4:45: RandomCrop: `padding_mode: edge` behind a transform that shows `fill` beside the picture: "
         "put it "
         "before that"},
        {RECIPE "  augment: [{RandomCrop: {padding: 1, padding_mode: edge}}, {RandomCrop: {padding: 1, "
                "padding_mode: reflect}}]\n",
         "4:61: RandomCrop: `padding_mode: reflect`, but a transform before it pads with the picture too"},
        {RECIPE "  augment: [{ColorJitter: {hue: 0.6}}]\n",
         "4:33: ColorJitter: `hue` must be a number, or two as [low, high], between -0.5 and 0.5"},
        {RECIPE "  augment: [{ColorJitter: {hue: -0.1}}]\n",
         "4:13: ColorJitter: `hue` of -0.1: one number must not be below 0"},
        {"input: [3, 8, 8]\nlayers:\n  - ReLU\nrecipe:\n  augment: [{ColorJitter: {hue: 0.1}}, {ColorJitter: "
         "{hue: "
         "0.1}}]\n",
         "5:40: ColorJitter: `hue`, but a transform before it changes hues too: one of a list can"},
        {RECIPE "  augment: [RandomErasing, RandomVerticalFlip]\n",
         "4:28: RandomVerticalFlip: RandomErasing comes last"},
        {RECIPE "  augment: [{RandAugment: {magnitude: 31}}]\n",
         "4:13: RandAugment: `magnitude` of 31: with `num_magnitude_bins` of 31 it is at most 30"},
        {RECIPE "  augment: [{RandAugment: {num_ops: 8}}, TrivialAugmentWide]\n",
         "4:42: TrivialAugmentWide: 9 operations on an image: 8 are the most"},
        {RECIPE "  augment: [TrivialAugmentWide, RandomHorizontalFlip]\n",
         "4:33: RandomHorizontalFlip: only RandomErasing, MixUp and CutMix come behind RandAugment"},
        {"input: [2, 8, 8]\nlayers:\n  - ReLU\nrecipe:\n  augment: [TrivialAugmentWide]\n",
         "5:13: TrivialAugmentWide: images of 2 channels have no colours"},
        {RECIPE "  augment: [MixUp, CutMix]\n",
         "4:20: CutMix: MixUp or CutMix comes last, and one of a list can"},
        {RECIPE "  augment: [RandomErasing, {MixUp: {alpha: 0}}]\n",
         "4:28: MixUp: `alpha` of 0: it must be above 0"},
        {RECIPE "  augment: [CutMix]\n  loss: RBFLoss\n",
         "4:13: augment: CutMix mixes classes, of which only CrossEntropyLoss learns"},
        {RECIPE "  augment: [{RandomResizedCrop: {scale: [0.5, 0.2]}}]\n",
         "4:13: RandomResizedCrop: `scale` [0.5, 0.2] and `ratio` [0.75, 1.33333"},
        {RECIPE "  augment: [{ColorJitter: {contrast: -1}}]\n", "4:38: ColorJitter: `contrast` must be"},
        {"input: [2, 8, 8]\nlayers:\n  - ReLU\nrecipe:\n  augment: [RandomGrayscale]\n",
         "5:13: RandomGrayscale: images of 2 channels have no colours"},
        {"input: [1, 8, 8]\nlayers: [ReLU]\nrecipe: 3\n", "3:9: recipe: expected {name: value, ...}"},
    };
    CHECK(files);
}

static void settings(void **state) {
    (void)state;
    const char *const bad[][2] = {
        {"epoch=3",
         "setting `epoch`: neither a key of the recipe nor a parameter of the model; did you mean `epochs`?"},
        {"epochs", "setting `epochs`: expected key=value"},
        {"=3", "setting `=3`: expected key=value"},
        {"epochs=many", "setting epochs: recipe: `epochs` must be"},
        {"lr=fast", "setting lr: SGD: `lr` must be a number"},
        {"optimizer.learning_rate=1", "setting optimizer.learning_rate: SGD: unknown `learning_rate`"},
        {"optimizer=Sgd", "setting optimizer: unknown optimizer `Sgd`; did you mean `SGD`?"},
        {"mean=[1, 2", "setting mean:"},
        {"optimizer=SGD", "setting optimizer: SGD: `lr` is missing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        convoy_model *model = NULL;
        assert_fails(test_model_load("model-good.yaml", RECIPE "  optimizer: {SGD: {lr: 1}}\n",
                                     &(convoy_model_options){.settings = &bad[i][0], .setting_count = 1},
                                     &model),
                     CONVOY_INVALID, bad[i][1]);
    }
    convoy_model *model = NULL;
    assert_fails(test_model_load("model-good.yaml", RECIPE, &(convoy_model_options){.classes = -1}, &model),
                 CONVOY_INVALID, "-1 classes");
    assert_fails(convoy_model_load("absent.yaml", NULL, &model), CONVOY_IO, "absent.yaml");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_top_level),
        cmocka_unit_test(layers),
        cmocka_unit_test(connection_tables),
        cmocka_unit_test(branches),
        cmocka_unit_test(blocks),
        cmocka_unit_test(blocks_cannot_explode),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(expansions_are_bounded),
        cmocka_unit_test(recipes),
        cmocka_unit_test(settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
