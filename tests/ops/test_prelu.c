/* host/ops/prelu.h: PyTorch's values, and kernels against the reference. */
#define REFERENCE_PRELU
#include "ops/data/ops_reference.h"
#include "ops/ops.h"
#include "ops/prelu.h"

typedef struct results {
    float *y, *gx, *gslopes;
} results;

static size_t slopes_of(const cvy_prelu_shape *s) {
    return s->shared ? 1 : s->channels;
}

static size_t floats_of(const cvy_prelu_shape *s) {
    return s->channels * s->pixels * (size_t)s->pitch;
}

/* In place, both ways; gradients of slopes are added to ones. */
static results run(const cvy_prelu_shape *s, const float *x, const float *slopes, const float *gy) {
    const size_t all = floats_of(s), count = slopes_of(s);
    const size_t scratch = cvy_prelu_workspace(cvy_device_get_traits(device), s) / sizeof(float);
    float *ones = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        ones[i] = 1;
    cvy_buffer *in = upload(x, all), *y = upload(x, all), *of = upload(slopes, count), *gx = upload(gy, all);
    cvy_buffer *gslopes = upload(ones, count), *workspace = garbage(scratch + 1);
    cvy_prelu op;
    assert_ok(cvy_prelu_prepare(device, s, true, &op));
    assert_ok(cvy_prelu_forward(&op, y, of, y));
    assert_ok(cvy_prelu_slopes(&op, in, gx, NULL, true, workspace));
    assert_ok(cvy_prelu_slopes(&op, in, gx, gslopes, true, workspace));
    assert_ok(cvy_prelu_backward(&op, in, of, gx, gx));
    results found = {download(y, all), download(gx, all), download(gslopes, count)};
    cvy_buffer_free(in), cvy_buffer_free(of), cvy_buffer_free(workspace);
    free(ones);
    return found;
}

static void free_results(results *r) {
    free(r->y), free(r->gx), free(r->gslopes);
}

static void test_recorded(void **state) {
    (void)state;
    enum { IMAGES = 3, PITCH = 16, ROWS = 4 * 6 };
    for (int shared = 0; shared < 2; shared++) {
        const cvy_prelu_shape shape = {PITCH, 4, 6, shared};
        float *x = spread_rows(prelu_x, ROWS, IMAGES, PITCH, -3),
              *gy = spread_rows(prelu_gy, ROWS, IMAGES, PITCH, 0);
        results r = run(&shape, x, shared ? prelu1_weight : prelu_weight, gy);
        check_recorded("y", r.y, shared ? prelu1_y : prelu_y, ROWS, IMAGES, PITCH, false, 3e-7);
        check_recorded("gx", r.gx, shared ? prelu1_gx : prelu_gx, ROWS, IMAGES, PITCH, true, 3e-7);
        for (size_t i = 0; i < slopes_of(&shape); i++)
            r.gslopes[i] -= 1;
        test_close("gslopes", r.gslopes, shared ? prelu1_gweight : prelu_gweight, slopes_of(&shape), 2e-6);
        free(x), free(gy);
        free_results(&r);
    }
}

static void test_kernels(void **state) {
    (void)state;
    static const cvy_prelu_shape shapes[] = {
        {48, 1, 1, true}, {48, 3, 70, false}, {16, 20, 5, false}, {48, 3, 9, true}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const cvy_prelu_shape *s = &shapes[i];
        const size_t all = floats_of(s), count = slopes_of(s);
        float *x = test_random(all, 1), *gy = test_random(all, 2), *slopes = test_random(count, 3);
        float *y = malloc(all * sizeof(float)), *gx = malloc(all * sizeof(float)),
              *gslopes = malloc(count * sizeof(float));
        for (size_t k = 0; k < count; k++)
            gslopes[k] = 1;
        results r = run(s, x, slopes, gy);
        cvy_prelu_forward_reference(s, x, slopes, y);
        cvy_prelu_backward_reference(s, x, slopes, gy, gx);
        cvy_prelu_slopes_reference(s, x, gy, gslopes, true);
        test_close("y", r.y, y, all, 1e-6);
        test_close("gx", r.gx, gx, all, 1e-6);
        test_close("gslopes", r.gslopes, gslopes, count, 2e-6);
        free(x), free(gy), free(slopes), free(y), free(gx), free(gslopes);
        free_results(&r);
    }
}

int main(void) {
    const struct CMUnitTest prelu[] = {cmocka_unit_test(test_recorded), cmocka_unit_test(test_kernels)};
    return RUN_ON_DEVICES(prelu);
}
