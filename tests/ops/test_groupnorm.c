/* host/ops/groupnorm.h: PyTorch's values, and kernels against the reference. */
#define REFERENCE_GROUPNORM
#include "ops/data/ops_reference.h"
#include "ops/groupnorm.h"
#include "ops/ops.h"

typedef struct outcome {
    float *y, *gx, *gweight, *gbias;
} outcome;

static void free_outcome(outcome *o) {
    free(o->y), free(o->gx), free(o->gweight), free(o->gbias);
}

/* Forward and backward on the device, gx in gy's place; twice, the second time added to the parameters'
 * gradients. */
static outcome run(const cvy_groupnorm_shape *shape, const float *x, const float *gy, const float *weight,
                   const float *bias) {
    const size_t all = shape->channels * shape->pixels * (size_t)shape->pitch, channels = shape->channels;
    const size_t sets = cvy_groupnorm_sets(shape) * (size_t)shape->pitch;
    const size_t workspace = cvy_groupnorm_workspace(cvy_device_get_traits(device), shape);
    cvy_groupnorm op;
    cvy_groupnorm_buffers b = {.x = upload(x, all),
                               .y = garbage(all),
                               .mean = garbage(sets),
                               .invstd = garbage(sets),
                               .gy = upload(gy, all),
                               .workspace = garbage(workspace / sizeof(float) + 1)};
    if (weight) {
        b.weight = upload(weight, channels), b.bias = upload(bias, channels);
        b.gweight = garbage(channels), b.gbias = garbage(channels);
    }
    assert_ok(cvy_groupnorm_prepare(device, shape, true, &op));
    assert_ok(cvy_groupnorm_forward(&op, &b));
    assert_ok(cvy_groupnorm_backward(&op, false, &b)); /* without gx */
    b.gx = b.gy;
    assert_ok(cvy_groupnorm_backward(&op, true, &b));
    outcome o = {.y = download(b.y, all), .gx = download(b.gy, all)};
    if (weight) {
        o.gweight = download(b.gweight, channels), o.gbias = download(b.gbias, channels);
        cvy_buffer_free(b.weight), cvy_buffer_free(b.bias);
    }
    cvy_buffer_free(b.x), cvy_buffer_free(b.mean), cvy_buffer_free(b.invstd), cvy_buffer_free(b.workspace);
    return o;
}

static void test_recorded(void **state) {
    (void)state;
    enum { IMAGES = 3, PITCH = 16, ROWS = 36 };
    for (int pixels = 0; pixels < 2; pixels++) {
        const cvy_groupnorm_shape shape = {PITCH, 6, 6, pixels ? 0 : 2, 1e-3f};
        float *x = spread_rows(gn_x, ROWS, IMAGES, PITCH, 3),
              *gy = spread_rows(gn_gy, ROWS, IMAGES, PITCH, 0);
        float gweight[6], gbias[6];
        outcome o = run(&shape, x, gy, gn_weight, gn_bias);
        for (int c = 0; c < 6; c++) {
            gweight[c] = 2 * (pixels ? ln_gweight : gn_gweight)[c];
            gbias[c] = 2 * (pixels ? ln_gbias : gn_gbias)[c];
        }
        check_recorded("y", o.y, pixels ? ln_y : gn_y, ROWS, IMAGES, PITCH, false, 2e-6);
        check_recorded("gx", o.gx, pixels ? ln_gx : gn_gx, ROWS, IMAGES, PITCH, true, 2e-6);
        test_close("gweight", o.gweight, gweight, 6, 2e-6);
        test_close("gbias", o.gbias, gbias, 6, 1e-6);
        free(x), free(gy);
        free_outcome(&o);
    }
}

static void test_kernels(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1}, {4, 1, 0}, {5, 9, 0}, {6, 70, 3}, {130, 2, 0}, {8, 4, 8}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const cvy_groupnorm_shape shape = {48, shapes[k][0], shapes[k][1], shapes[k][2], 1e-5f};
        const size_t all = shape.channels * shape.pixels * 48, sets = cvy_groupnorm_sets(&shape) * 48;
        const bool affine = k != 2;
        float *x = test_random(all, 1), *gy = random_gradient(shape.channels * shape.pixels, 33, 48, 2);
        float *weight = test_random(shape.channels, 3), *bias = test_random(shape.channels, 4);
        outcome o = run(&shape, x, gy, affine ? weight : NULL, bias);
        cvy_groupnorm_values v = {x,
                                  affine ? weight : NULL,
                                  affine ? bias : NULL,
                                  gy,
                                  malloc(all * sizeof(float)),
                                  malloc(sets * sizeof(float)),
                                  malloc(sets * sizeof(float)),
                                  malloc(all * sizeof(float)),
                                  calloc(shape.channels, sizeof(float)),
                                  calloc(shape.channels, sizeof(float))};
        cvy_groupnorm_forward_reference(&shape, &v);
        for (int twice = 0; twice < 2; twice++)
            cvy_groupnorm_backward_reference(&shape, twice, &v);
        test_close("y", o.y, v.y, all, 2e-6);
        test_close("gx", o.gx, v.gx, all, 2e-5);
        if (affine) {
            test_close("gweight", o.gweight, v.gweight, shape.channels, 2e-6);
            test_close("gbias", o.gbias, v.gbias, shape.channels, 2e-6);
        }
        free(x), free(gy), free(weight), free(bias);
        free(v.y), free(v.mean), free(v.invstd), free(v.gx), free(v.gweight), free(v.gbias);
        free_outcome(&o);
    }
}

int main(void) {
    const struct CMUnitTest groupnorm[] = {cmocka_unit_test(test_recorded), cmocka_unit_test(test_kernels)};
    return RUN_ON_DEVICES(groupnorm);
}
