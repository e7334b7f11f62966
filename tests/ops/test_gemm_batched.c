/* Batched matrix products against the reference of gemm: both layouts, each tile, sizes that fill no tile. */
#include "ops/gemm/batched.h"

#include "ops/gemm/gemm.h"
#include "support/test.h"

typedef struct product_case {
    size_t batch, m, n, k, depth;
} product_case;
static const product_case cases[] = {
    {1, 1, 1, 4, 8}, {3, 5, 7, 12, 16}, {2, 40, 70, 32, 16}, {2, 150, 66, 20, 24}, {1, 253, 383, 36, 16}};
enum { CASES = sizeof cases / sizeof *cases };
/* Devices that between them take every tile: with few work-items in a group, with few groups at once and
 * many. */
static const struct {
    size_t max_work_group;
    int compute_units;
} devices[] = {{64, 1}, {64, 1000}, {128, 1}, {256, 1}, {256, 1000}};
enum { DEVICES = sizeof devices / sizeof *devices, TILES = 5 };

/* The tiles that ran. */
static struct { size_t m, items; } tiles[TILES + 1];
static size_t tile_count;

static void note_tile(const cvy_gemm_batched *op) {
    size_t i = 0;
    while (i < tile_count && (tiles[i].m != op->tile_m || tiles[i].items != op->items))
        i++;
    assert_true(i < TILES);
    tiles[i].m = op->tile_m;
    tiles[i].items = op->items;
    tile_count = i == tile_count ? i + 1 : tile_count;
}

static size_t round_up(size_t value) {
    return (value + 3) / 4 * 4;
}

/* Rows with a gap behind them, which holds garbage that must stay there. */
static void check(const product_case *c, bool depth_first, bool accumulate) {
    convoy_device *device = test_device();
    const size_t gap = 4, rows_a = depth_first ? c->k : c->m, rows_b = depth_first ? c->k : c->n;
    const size_t pitch_a = round_up(depth_first ? c->m : c->k) + gap,
                 pitch_b = round_up(depth_first ? c->n : c->k) + gap, pitch_c = round_up(c->n) + gap;
    const size_t step_a = rows_a * pitch_a, step_b = rows_b * pitch_b, step_c = c->m * pitch_c, offset = 8,
                 parts = (c->k + c->depth - 1) / c->depth, floats_c = offset + parts * c->batch * step_c;
    float *a = test_random(offset + c->batch * step_a, 1), *b = test_random(offset + c->batch * step_b, 2),
          *expected = test_random(floats_c, 3);
    for (size_t i = 0; i < offset + c->batch * step_a; i++)
        if (i >= offset && (i - offset) % pitch_a >= (depth_first ? c->m : c->k))
            a[i] = NAN;
    cvy_buffer *on_a = test_buffer(device, a, (offset + c->batch * step_a) * sizeof(float));
    cvy_buffer *on_b = test_buffer(device, b, (offset + c->batch * step_b) * sizeof(float));
    cvy_buffer *on_c = test_buffer(device, expected, floats_c * sizeof(float));
    const cvy_gemm_batched_shape shape = {.batch = c->batch,
                                          .m = c->m,
                                          .n = c->n,
                                          .k = c->k,
                                          .depth = c->depth,
                                          .transpose_a = depth_first,
                                          .transpose_b = !depth_first};
    cvy_gemm_batched op;
    assert_ok(cvy_gemm_batched_prepare(device, &shape, &op));
    note_tile(&op);
    assert_ok(cvy_gemm_batched_run(&op, &shape, parts, (cvy_matrices){on_a, offset, step_a, pitch_a},
                                   (cvy_matrices){on_b, offset, step_b, pitch_b},
                                   (cvy_matrices){on_c, offset, step_c, pitch_c}, NULL, accumulate));
    cvy_gemm_shape one = {.transpose_a = depth_first,
                          .transpose_b = !depth_first,
                          .m = c->m,
                          .n = c->n,
                          .lda = pitch_a,
                          .ldb = pitch_b,
                          .ldc = pitch_c};
    for (size_t part = 0; part < parts; part++)
        for (size_t i = 0; i < c->batch; i++) {
            const size_t first = part * c->depth;
            one.k = c->k - first < c->depth ? c->k - first : c->depth;
            cvy_gemm_reference(&one, a + offset + i * step_a + first * (depth_first ? pitch_a : 1),
                               b + offset + i * step_b + first * (depth_first ? pitch_b : 1),
                               expected + offset + (part * c->batch + i) * step_c, accumulate);
        }
    float *actual = test_read(on_c, floats_c);
    test_close_columns("C", actual + offset, expected + offset, parts * c->batch * c->m, (int)pitch_c,
                       (int)c->n, false, 2e-6);
    for (size_t i = 0; i < floats_c; i++)
        if (i < offset || (i - offset) % pitch_c >= round_up(c->n))
            assert_true(actual[i] == expected[i]);
    cvy_buffer_free(on_a);
    cvy_buffer_free(on_b);
    cvy_buffer_free(on_c);
    free(a);
    free(b);
    free(expected);
    free(actual);
}

static void test_products(void **state) {
    (void)state;
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    const cvy_device_traits kept = *traits;
    if (!cvy_gemm_batched_supports(traits))
        skip();
    for (size_t d = 0; d < DEVICES; d++) {
        traits->max_work_group = devices[d].max_work_group;
        if (traits->max_work_group > kept.max_work_group)
            continue;
        traits->compute_units = devices[d].compute_units;
        for (size_t i = 0; i < CASES; i += test_stride())
            for (int way = 0; way < 4; way++)
                check(&cases[i], way & 1, way & 2);
    }
    assert_true(tile_count == TILES || kept.max_work_group < 256 || test_quick());
    *traits = kept;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products)};
    const int failed = cmocka_run_group_tests_name("gemm_batched", tests, NULL, NULL);
    test_device_close();
    return failed;
}
