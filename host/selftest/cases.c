/* The tables of cases.h. */
#include "selftest/cases.h"

#include <string.h>

const int cvy_batch_cases[CVY_BATCH_CASES][2] = {{1, 16}, {5, 16}, {16, 16}, {33, 48}, {60, 64},
                                                 {1, 1},  {2, 2},  {3, 4},   {8, 8}};

const cvy_conv2d_case cvy_conv2d_cases[] = {
    {"one channel, one image", 1, 1, 3, 1, 9, 7, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_SIGMOID},
    {"5 images, 13 channels", 5, 3, 13, 1, 5, 8, {3, 3}, {1, 1}, {0, 0}, {1, 1}, CVY_RELU},
    {"16 images, kernel larger than the input",
     16,
     2,
     4,
     1,
     3,
     2,
     {5, 5},
     {1, 1},
     {2, 2},
     {1, 1},
     CVY_IDENTITY},
    {"33 images, stride over kernel", 33, 3, 5, 1, 11, 13, {2, 2}, {3, 4}, {1, 1}, {1, 1}, CVY_IDENTITY},
    {"20 images, stride 2", 20, 4, 8, 1, 6, 7, {3, 3}, {2, 2}, {1, 1}, {1, 1}, CVY_SIGMOID},
    {"dilation 2", 16, 2, 16, 1, 5, 6, {3, 3}, {1, 1}, {2, 2}, {2, 2}, CVY_IDENTITY},
    {"dilation 2, stride 2", 33, 2, 3, 1, 10, 9, {3, 2}, {2, 2}, {2, 1}, {2, 2}, CVY_SCALED_TANH},
    {"dilation 3, stride 2", 16, 2, 3, 1, 12, 13, {3, 3}, {2, 2}, {2, 3}, {3, 3}, CVY_IDENTITY},
    {"groups", 20, 6, 10, 2, 3, 4, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
    {"3x3, tiles cut off at two edges", 60, 5, 14, 1, 13, 15, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
    {"5x5, tiles cut off at two edges", 33, 5, 25, 1, 13, 15, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_SIGMOID},
    {"5x5, padding by axis", 16, 35, 25, 1, 9, 7, {5, 5}, {1, 1}, {0, 4}, {1, 1}, CVY_IDENTITY},
    {"depthwise", 5, 7, 7, 7, 6, 5, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_IDENTITY},
    {"1x1 kernel", 20, 9, 14, 1, 4, 5, {1, 1}, {1, 1}, {0, 0}, {1, 1}, CVY_HARDSIGMOID},
    {"1x1 kernel, stride 2", 16, 8, 8, 1, 7, 7, {1, 1}, {2, 2}, {0, 0}, {1, 1}, CVY_IDENTITY},
    {"kernel and stride differ by axis", 16, 3, 12, 1, 7, 12, {1, 4}, {1, 3}, {0, 2}, {1, 1}, CVY_IDENTITY},
    {"output of one pixel", 33, 5, 9, 1, 5, 5, {5, 5}, {1, 1}, {0, 0}, {1, 1}, CVY_IDENTITY},
    {"wide kernel, stride 4", 16, 1, 4, 1, 21, 17, {11, 11}, {4, 4}, {1, 1}, {1, 1}, CVY_IDENTITY},
    {"many channels", 20, 32, 40, 1, 3, 20, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_RELU},
    {"many channels, stride 2", 5, 100, 52, 1, 4, 9, {3, 3}, {2, 2}, {1, 1}, {1, 1}, CVY_RELU},
    {"too many channels for sums in a core's cache",
     16,
     50,
     50,
     1,
     3,
     3,
     {3, 3},
     {1, 1},
     {0, 0},
     {1, 1},
     CVY_IDENTITY},
    {"the same, several tiles", 33, 70, 60, 1, 9, 8, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
    {"padding wider than the kernel", 16, 2, 3, 1, 4, 4, {2, 2}, {1, 1}, {3, 3}, {1, 1}, CVY_TANH},
    {"1x1 kernel, groups", 16, 6, 9, 3, 3, 4, {1, 1}, {1, 1}, {0, 0}, {1, 1}, CVY_RELU},
};
const size_t cvy_conv2d_case_count = sizeof cvy_conv2d_cases / sizeof *cvy_conv2d_cases;

cvy_conv2d_shape cvy_conv2d_case_shape(const cvy_conv2d_case *c) {
    cvy_conv2d_shape shape = {.pitch = (c->n + 15) / 16 * 16,
                              .in_channels = c->in,
                              .in_height = c->height,
                              .in_width = c->width,
                              .out_channels = c->out,
                              .kernel = {c->kernel[0], c->kernel[1]},
                              .stride = {c->stride[0], c->stride[1]},
                              .padding = {c->padding[0], c->padding[1]},
                              .dilation = {c->dilation[0], c->dilation[1]},
                              .groups = c->groups,
                              .activation = c->activation};
    cvy_conv2d_infer(&shape); /* each of them is possible */
    return shape;
}

/* Both factors of each product are off by at most 2^-11 (TF32) or 2^-8 (BF16), by half of that on average;
   rounding errors are independent, so that those of a sum grow as the sum itself does. */
static double rounded(convoy_precision precision) {
    return precision == CONVOY_TF32 ? 0x2p-11 : 0x2p-9;
}

/* Winograd's transforms multiply by up to 16 and take the differences again; they are allowed 1e-4. */
double cvy_conv2d_tolerance(const char *variant, int pass, convoy_precision precision) {
    if (!strcmp(variant, "mma_nvidia"))
        return rounded(precision);
    if (!strncmp(variant, "winograd", 8))
        return 2e-5;
    return pass == CVY_CONV2D_BACKWARD_WEIGHTS ? 5e-6 : 2e-6;
}

double cvy_gemm_tolerance(const char *variant, convoy_precision precision) {
    return !strcmp(variant, "mma_nvidia") ? rounded(precision) : 3e-6;
}

/* Edges of tiles; few columns; blocks of k and of columns, rows 4 KB apart, a long k that is split. */
const size_t cvy_gemm_cases[][3] = {{1, 1, 1},    {5, 16, 33},    {16, 5, 60},   {33, 60, 1},  {60, 33, 16},
                                    {12, 32, 48}, {25, 129, 65},  {9, 1, 130},   {1, 1, 1},    {9, 1, 130},
                                    {37, 2, 33},  {5, 3, 70},     {10, 4, 16},   {7, 5, 9},    {600, 1, 411},
                                    {33, 8, 47},  {50, 260, 261}, {59, 40, 700}, {7, 19, 8001}};
const size_t cvy_gemm_case_count = sizeof cvy_gemm_cases / sizeof *cvy_gemm_cases;

const cvy_pool2d_shape cvy_pool2d_cases[] = {
    {.kind = CVY_POOL_MAX,
     .channels = 1,
     .in_height = 1,
     .in_width = 1,
     .kernel = {1, 1},
     .stride = {1, 1},
     .dilation = {1, 1}},
    {.kind = CVY_POOL_MAX,
     .channels = 3,
     .in_height = 5,
     .in_width = 7,
     .kernel = {2, 2},
     .stride = {2, 2},
     .dilation = {1, 1}},
    {.kind = CVY_POOL_MAX,
     .channels = 2,
     .in_height = 9,
     .in_width = 8,
     .kernel = {2, 3},
     .stride = {4, 3},
     .padding = {1, 1},
     .dilation = {1, 1}},
    {.kind = CVY_POOL_MAX,
     .channels = 2,
     .in_height = 11,
     .in_width = 6,
     .kernel = {3, 3},
     .stride = {2, 1},
     .padding = {1, 0},
     .dilation = {1, 2}},
    /* the first window lies wholly in the padding */
    {.kind = CVY_POOL_MAX,
     .channels = 2,
     .in_height = 2,
     .in_width = 3,
     .kernel = {2, 2},
     .stride = {1, 1},
     .padding = {1, 1},
     .dilation = {3, 3}},
    {.kind = CVY_POOL_MAX,
     .channels = 1,
     .in_height = 16,
     .in_width = 16,
     .kernel = {16, 16},
     .stride = {1, 1},
     .dilation = {1, 1}},
    {.kind = CVY_POOL_AVERAGE,
     .channels = 2,
     .in_height = 5,
     .in_width = 6,
     .kernel = {3, 2},
     .stride = {2, 1},
     .padding = {1, 1}},
    {.kind = CVY_POOL_AVERAGE,
     .channels = 3,
     .in_height = 7,
     .in_width = 9,
     .kernel = {2, 2},
     .stride = {3, 2},
     .padding = {1, 0}},
    {.kind = CVY_POOL_AVERAGE,
     .channels = 2,
     .in_height = 8,
     .in_width = 5,
     .kernel = {3, 2},
     .stride = {3, 2},
     .padding = {0, 1},
     .ceil_mode = true},
    {.kind = CVY_POOL_AVERAGE,
     .channels = 2,
     .in_height = 6,
     .in_width = 7,
     .kernel = {3, 4},
     .stride = {2, 3},
     .padding = {1, 2},
     .ceil_mode = true,
     .exclude_padding = true},
    {.kind = CVY_POOL_ADAPTIVE_AVERAGE,
     .channels = 3,
     .in_height = 7,
     .in_width = 5,
     .out_height = 1,
     .out_width = 1},
    {.kind = CVY_POOL_ADAPTIVE_AVERAGE,
     .channels = 2,
     .in_height = 4,
     .in_width = 3,
     .out_height = 6,
     .out_width = 2},
};
const size_t cvy_pool2d_case_count = sizeof cvy_pool2d_cases / sizeof *cvy_pool2d_cases;

const int cvy_batchnorm_cases[][3] = {{1, 1, 2}, {3, 5, 7}, {2, 17, 9}, {1, 40, 41}, {5, 1, 1}};
const size_t cvy_batchnorm_case_count = sizeof cvy_batchnorm_cases / sizeof *cvy_batchnorm_cases;

const int cvy_resize_cases[][4] = {{1, 1, 3, 2},   {4, 5, 4, 5}, {3, 3, 1, 1},
                                   {7, 5, 15, 11}, {2, 9, 9, 2}, {13, 10, 5, 10}};
const size_t cvy_resize_case_count = sizeof cvy_resize_cases / sizeof *cvy_resize_cases;

const cvy_gather_shape cvy_gather_cases[] = {
    {.in_height = 28,
     .in_width = 28,
     .image = {.channels = 1, .height = 28, .width = 28, .border = 0, .mean = {0}, .std = {1}}},
    {.in_height = 28,
     .in_width = 28,
     .image = {.channels = 1, .height = 28, .width = 28, .border = 2, .mean = {0.1307f}, .std = {0.3081f}}},
    {.in_height = 5,
     .in_width = 7,
     .image = {.channels = 1, .height = 24, .width = 19, .border = 1, .mean = {0.5f}, .std = {0.25f}}},
    {.in_height = 32,
     .in_width = 32,
     .image = {.channels = 3,
               .height = 32,
               .width = 32,
               .border = 0,
               .mean = {0.485f, 0.456f, 0.406f},
               .std = {0.229f, 0.224f, 0.225f}}},
    {.in_height = 11,
     .in_width = 9,
     .image = {.channels = 3,
               .height = 4,
               .width = 6,
               .border = 0,
               .mean = {0.5f, 0.25f, 0},
               .std = {1, 2, 0.5f}}},
    {.in_height = 1,
     .in_width = 1,
     .image =
         {.channels = 4, .height = 3, .width = 2, .border = 3, .mean = {0, 0, 0, 0.5f}, .std = {1, 1, 1, 1}}},
    {.in_height = 17,
     .in_width = 23,
     .image = {.channels = 1, .height = 17, .width = 46, .border = 0, .mean = {0}, .std = {1}}},
};
const size_t cvy_gather_case_count = sizeof cvy_gather_cases / sizeof *cvy_gather_cases;

const int cvy_loss_cases[] = {1, 2, 10, 77, 1000};
const size_t cvy_loss_case_count = sizeof cvy_loss_cases / sizeof *cvy_loss_cases;

const size_t cvy_length_cases[] = {1, 3, 4, 15, 16, 17, 63, 1000, 50000};
const size_t cvy_length_case_count = sizeof cvy_length_cases / sizeof *cvy_length_cases;

const size_t cvy_update_cases[] = {1, 5, 16, 31, 1000, 40003};
const size_t cvy_update_case_count = sizeof cvy_update_cases / sizeof *cvy_update_cases;

const float cvy_dropout_cases[] = {0, 0.1f, 0.5f, 0.9f, 1};
const size_t cvy_dropout_case_count = sizeof cvy_dropout_cases / sizeof *cvy_dropout_cases;
