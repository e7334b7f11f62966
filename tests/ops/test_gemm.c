/* The matrix product: the reference against the formula, every variant against the reference. */
#include <clblast_c.h>

#include "base/integer.h"
#include "device/opencl.h"
#include "ops/gemm/variant.h"
#include "selftest/cases.h"
#include "support/test.h"

/* A product with rows `gap` longer than needed, and every matrix `offset` floats into its buffer. */
typedef struct product {
    cvy_gemm_shape shape;
    size_t offset;
    bool accumulate, with_bias;
} product;

static product make_product(int transposes, size_t m, size_t n, size_t k, size_t gap, size_t offset) {
    product p = {.offset = offset};
    p.shape = (cvy_gemm_shape){
        .transpose_a = transposes & 1, .transpose_b = transposes & 2, .m = m, .n = n, .k = k};
    p.shape.lda = (p.shape.transpose_a ? m : k) + gap;
    p.shape.ldb = (p.shape.transpose_b ? k : n) + gap;
    p.shape.ldc = n + gap;
    return p;
}

static size_t a_floats(const product *p) {
    return p->offset + (p->shape.transpose_a ? p->shape.k : p->shape.m) * p->shape.lda;
}
static size_t b_floats(const product *p) {
    return p->offset + (p->shape.transpose_b ? p->shape.n : p->shape.k) * p->shape.ldb;
}
static size_t c_floats(const product *p) {
    return p->offset + p->shape.m * p->shape.ldc;
}

/* What C holds before: random where it is added to and in the gaps between rows, NaN where it is to be
 * overwritten. */
static float *make_c(const product *p) {
    float *c = test_random(c_floats(p), 3);
    for (size_t i = 0; i < p->shape.m && !p->accumulate; i++)
        for (size_t j = 0; j < p->shape.n; j++)
            c[p->offset + i * p->shape.ldc + j] = NAN;
    return c;
}

/* The definition, element by element. */
static void formula(const product *p, const float *a, const float *b, const float *bias, float *c) {
    const cvy_gemm_shape *s = &p->shape;
    for (size_t i = 0; i < s->m; i++)
        for (size_t j = 0; j < s->n; j++) {
            float *to = c + p->offset + i * s->ldc + j;
            double sum = p->accumulate ? *to : 0;
            if (p->with_bias)
                sum += bias[i];
            for (size_t q = 0; q < s->k; q++)
                sum += (double)a[p->offset + (s->transpose_a ? q * s->lda + i : i * s->lda + q)] *
                       (double)b[p->offset + (s->transpose_b ? j * s->ldb + q : q * s->ldb + j)];
            *to = (float)sum;
        }
}

/* TF32 has 11 significant bits and BF16 8: rounded to nearest, a factor is off by 2^-11 or 2^-8 of itself, a
   product by twice that and a little more. The sums are float32. So each element of C has a bound of its own,
   relative to the sum of its products' magnitudes (and of the activation's argument: none here is steeper
   than 1). */
static void check_rounding(const char *what, const product *p, const float *a, const float *b,
                           const float *bias, const float *actual, const float *expected) {
    const double unit = cvy_device_get_traits(test_device())->precision == CONVOY_TF32 ? 0x1p-11 : 0x1p-8;
    const double bound = 2 * unit + unit * unit + (double)(p->shape.k + 3) * 0x1p-24;
    float *left = test_random(a_floats(p), 1), *right = test_random(b_floats(p), 2),
          *offset = test_random(p->shape.m, 4), *magnitude = make_c(p);
    for (size_t i = 0; i < a_floats(p); i++)
        left[i] = fabsf(a[i]);
    for (size_t i = 0; i < b_floats(p); i++)
        right[i] = fabsf(b[i]);
    for (size_t i = 0; i < p->shape.m; i++)
        offset[i] = fabsf(bias[i]);
    for (size_t i = 0; i < c_floats(p); i++)
        magnitude[i] = fabsf(magnitude[i]);
    formula(p, left, right, offset, magnitude);
    for (size_t i = 0; i < c_floats(p); i++)
        if (!(fabs((double)actual[i] - (double)expected[i]) <= bound * (double)magnitude[i]))
            fail_msg("%s: element %zu is %.9g, expected %.9g within %.3g", what, i, (double)actual[i],
                     (double)expected[i], bound * (double)magnitude[i]);
    float *arrays[] = {left, right, offset, magnitude};
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        free(arrays[i]);
}

/* Runs the product with a variant (NULL: the device's choice) and compares all of C's buffer, gaps included.
 */
static void check_product(convoy_device *device, const char *variant, const product *p) {
    float *a = test_random(a_floats(p), 1), *b = test_random(b_floats(p), 2),
          *bias = test_random(p->shape.m, 4);
    float *before = make_c(p), *expected = make_c(p);
    formula(p, a, b, bias, expected);
    if (p->shape.activation) /* then C is dense */
        cvy_activation_forward_reference(p->shape.activation, NULL, c_floats(p), expected, expected);
    cvy_gemm *op = NULL;
    assert_ok(cvy_gemm_create(device, &p->shape, variant, &op));
    if (variant)
        assert_string_equal(cvy_gemm_variant(op), variant);
    cvy_buffer *da = test_buffer(device, a, a_floats(p) * sizeof(float));
    cvy_buffer *db = test_buffer(device, b, b_floats(p) * sizeof(float));
    cvy_buffer *dc = test_buffer(device, before, c_floats(p) * sizeof(float));
    cvy_buffer *dbias = test_buffer(device, bias, p->shape.m * sizeof(float));
    cvy_needs needs;
    assert_ok(cvy_gemm_describe(cvy_device_get_traits(device), device, &p->shape, variant, &needs));
    assert_int_equal(needs.workspace, cvy_gemm_workspace(op));
    cvy_buffer *workspace = test_buffer(device, NULL, needs.workspace);
    assert_ok(cvy_gemm_run(op, &(cvy_gemm_operands){.a = da,
                                                    .b = db,
                                                    .c = dc,
                                                    .bias = p->with_bias ? dbias : NULL,
                                                    .workspace = workspace,
                                                    .a_offset = p->offset,
                                                    .b_offset = p->offset,
                                                    .c_offset = p->offset,
                                                    .accumulate = p->accumulate}));
    float *actual = test_read(dc, c_floats(p));
    char what[128];
    snprintf(what, sizeof(what), "%s, transposes %d%d, %zux%zux%zu, ldc %zu, accumulate %d, bias %d",
             cvy_gemm_variant(op), p->shape.transpose_a, p->shape.transpose_b, p->shape.m, p->shape.n,
             p->shape.k, p->shape.ldc, p->accumulate, p->with_bias);
    if (strcmp(cvy_gemm_variant(op), "mma_nvidia") == 0)
        check_rounding(what, p, a, b, bias, actual, expected);
    else
        test_close(what, actual, expected, c_floats(p), 3e-6);
    cvy_gemm_free(op);
    cvy_buffer *buffers[] = {da, db, dc, dbias, workspace};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        cvy_buffer_free(buffers[i]);
    float *arrays[] = {a, b, bias, before, expected, actual};
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        free(arrays[i]);
}

/* All transposes of a shape, with bias and accumulation in turn; each once in the short run. */
static void check_transposes(convoy_device *device, const char *variant, size_t m, size_t n, size_t k,
                             size_t gap, size_t offset) {
    for (int transposes = 0; transposes < 4; transposes++)
        for (int mode = 0; mode < 4; mode++) {
            if (test_quick() && mode != transposes)
                continue;
            product p = make_product(transposes, m, n, k, gap, offset);
            p.accumulate = mode & 1;
            p.with_bias = mode & 2;
            check_product(device, variant, &p);
        }
}

#define shapes cvy_gemm_cases
enum { SHAPES = 8 }; /* the others are for vector_cpu, and blocks of tile_cpu */

static void the_host_device_computes_the_formula(void **state) {
    (void)state;
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    for (int i = 0; i < SHAPES; i++)
        check_transposes(host, NULL, shapes[i][0], shapes[i][1], shapes[i][2], i % 3, i % 2 * 7);
    convoy_device_close(host);
}

static void only_on_cpus(void) {
    if (!cvy_device_get_traits(test_device())->cpu)
        skip();
}

static void tile_cpu_handles_every_edge(void **state) {
    (void)state;
    only_on_cpus();
    for (int i = 0; i < SHAPES; i += test_quick() ? 3 : 1)
        check_transposes(test_device(), "tile_cpu", shapes[i][0], shapes[i][1], shapes[i][2], i % 3,
                         i % 2 * 7);
}

/* More than one block of every kind: of k (256), of columns (256), of packed rows (48). */
static void tile_cpu_walks_several_blocks(void **state) {
    (void)state;
    only_on_cpus();
    for (int transposes = 0; transposes < (test_quick() ? 1 : 4); transposes++) {
        product p = make_product(transposes, shapes[16][0], shapes[16][1], shapes[16][2], 1, 3);
        p.accumulate = transposes == 1 || transposes == 2;
        p.with_bias = transposes >= 2;
        check_product(test_device(), "tile_cpu", &p);
    }
}

/* Rows 4 KB apart take the copying path. */
static void tile_cpu_copies_rows_that_share_cache_sets(void **state) {
    (void)state;
    only_on_cpus();
    product p = make_product(0, shapes[17][0], shapes[17][1], shapes[17][2], 0, 0);
    p.shape.lda = 1024;
    check_product(test_device(), "tile_cpu", &p);
    p.accumulate = true;
    p.offset = 5;
    check_product(test_device(), "tile_cpu", &p);
}

/* A small C and a long k: the parts are added in a second launch. */
static void tile_cpu_splits_a_long_k(void **state) {
    (void)state;
    only_on_cpus();
    for (int transposes = 0; transposes < (test_quick() ? 1 : 4); transposes++) {
        product p = make_product(transposes, shapes[18][0], shapes[18][1], shapes[18][2], 2, 1);
        p.accumulate = transposes == 1 || transposes == 2;
        p.with_bias = transposes >= 2;
        cvy_gemm *op = NULL;
        assert_ok(cvy_gemm_create(test_device(), &p.shape, "tile_cpu", &op));
        assert_true(cvy_gemm_workspace(op) >= 2 * 7 * 19 * sizeof(float));
        cvy_gemm_free(op);
        check_product(test_device(), "tile_cpu", &p);
    }
}

/* What CPUs with shorter vectors and drivers with 32 KiB of local memory get. */
static void tile_cpu_adapts_to_narrow_vectors(void **state) {
    (void)state;
    only_on_cpus();
    const int widths[] = {8, 4};
    convoy_device *device = test_device();
    cvy_device_traits real = device->traits;
    device->traits.local_memory = min_size(real.local_memory, 32 << 10);
    for (int i = 0; i < 2; i++) {
        device->traits.vector_width = widths[i];
        for (int transposes = i; transposes < 4; transposes += 3 - 2 * i) { /* 0 and 3; 1, 2 and 3 */
            product p = make_product(transposes, 59, 75, 150, 1, 1);
            check_product(device, "tile_cpu", &p);
        }
    }
    device->traits = real;
}

/* Every number of columns, rows and k that are no multiple of what a step takes, vectors of every width. */
static void vector_cpu_takes_a_few_columns(void **state) {
    (void)state;
    only_on_cpus();
    const size_t(*few)[3] = cvy_gemm_cases + SHAPES;
    enum { FEW = 8 };
    const int widths[] = {16, 8, 4};
    convoy_device *device = test_device();
    const cvy_device_traits real = device->traits;
    for (size_t i = 0; i < FEW; i++) {
        device->traits.vector_width = widths[i % 3];
        for (int mode = 0; mode < 4; mode++) {
            product p = make_product(0, few[i][0], few[i][1], few[i][2], few[i][1] > 1 ? i % 3 : 0, 3);
            p.accumulate = mode & 1;
            p.with_bias = mode & 2;
            check_product(device, "vector_cpu", &p);
        }
    }
    device->traits = real;
    product wide = make_product(0, 5, 9, 7, 0, 0), transposed = make_product(2, 5, 3, 7, 0, 0);
    cvy_gemm *op = NULL;
    assert_fails(cvy_gemm_create(device, &wide.shape, "vector_cpu", &op), CONVOY_DEVICE, "vector_cpu");
    assert_fails(cvy_gemm_create(device, &transposed.shape, "vector_cpu", &op), CONVOY_DEVICE, "vector_cpu");
}

/* The three products of Linear layers first: forward with 10 outputs and k in parts, forward over several
   tiles, backward-data of 10 outputs, backward-weights; then rows that are no multiple of four floats, and an
   odd offset alone. `items` allow each of the tiles, where the device does. The short run takes every
   `stride`-th from `first` on. */
static void check_on_gpu(const char *variant, size_t first, size_t stride) {
    static const struct {
        int transposes;
        size_t m, n, k, gap, offset, items;
        cvy_activation activation;
    } products[] = {{0, 10, 16, 300, 0, 0, 256, CVY_RELU},
                    {0, 130, 144, 40, 0, 0, 128, CVY_RELU},
                    {1, 144, 48, 10, 0, 0, 64, 0},
                    {2, 140, 132, 32, 0, 0, 256, 0},
                    {2, 10, 33, 16, 0, 0, 64, 0},
                    {3, 67, 35, 150, 1, 5, 128, 0},
                    {0, 9, 8, 12, 0, 3, 64, 0}};
    convoy_device *device = test_device();
    const size_t most = device->traits.max_work_group;
    if (!test_quick()) {
        first = 0;
        stride = 1;
    }
    for (size_t i = first; i < sizeof products / sizeof *products; i += stride) {
        device->traits.max_work_group = min_size(products[i].items, most);
        product p = make_product(products[i].transposes, products[i].m, products[i].n, products[i].k,
                                 products[i].gap, products[i].offset);
        p.shape.activation = products[i].activation;
        for (int mode = 0; mode < 4; mode += 3) {
            p.accumulate = mode & 1;
            p.with_bias = mode & 2;
            check_product(device, variant, &p);
        }
    }
    device->traits.max_work_group = most;
}

static void tile_gpu_handles_every_edge(void **state) {
    (void)state;
    const cvy_device_traits real = test_device()->traits;
    test_device()->traits.compute_units = 4;
    check_on_gpu("tile_gpu", 0, 3);
    test_device()->traits = real;
}

static void tile_gpu_leaves_what_it_cannot_count(void **state) {
    (void)state;
    cvy_gemm *op = NULL;
    cvy_gemm_shape shape = {.m = 2, .n = 4, .k = 4, .lda = 4, .ldb = 4, .ldc = 4};
    assert_ok(cvy_gemm_create(test_device(), &shape, "tile_gpu", &op));
    cvy_gemm_free(op);
    shape.k = shape.lda = 1 << 25; /* 128 such rows are 2^32 floats */
    assert_fails(cvy_gemm_create(test_device(), &shape, "tile_gpu", &op), CONVOY_DEVICE, "tile_gpu");
}

/* On a device that emulates tensor cores. */
static void mma_nvidia_errs_by_the_rounding_of_its_factors(void **state) {
    (void)state;
    const cvy_device_traits real = test_device()->traits;
    test_device()->traits.compute_units = 4;
    test_device()->traits.tensor_cores = CVY_TENSOR_EMULATED;
    for (int precision = CONVOY_TF32; precision <= CONVOY_BF16; precision++) {
        assert_ok(convoy_device_set_precision(test_device(), (convoy_precision)precision));
        /* Emulating them takes Oclgrind most of its time. */
        check_on_gpu("mma_nvidia", precision == CONVOY_TF32 ? 0 : 3, 7);
    }
    test_device()->traits = real;
}

/* Only where a precision of theirs was asked for, and then whatever was measured in float32. */
static void tensor_cores_are_chosen_by_precision(void **state) {
    (void)state;
    cvy_gemm *op = NULL;
    const cvy_gemm_shape shape = make_product(0, 12, 16, 8, 0, 0).shape;
    const cvy_device_traits real = test_device()->traits;
    assert_fails(cvy_gemm_create(test_device(), &shape, "mma_nvidia", &op), CONVOY_DEVICE, "mma_nvidia");
    test_device()->traits.tensor_cores = CVY_TENSOR_EMULATED;
    test_device()->traits.cpu = false;
    test_device()->traits.precision = CONVOY_TF32;
    assert_ok(cvy_gemm_create(test_device(), &shape, NULL, &op));
    assert_string_equal(cvy_gemm_variant(op), "mma_nvidia");
    cvy_gemm_free(op);
    test_device()->traits = real;
}

static bool runs(const char *variant) {
    const cvy_gemm_shape shape = make_product(0, 5, 16, 7, 0, 0).shape;
    const cvy_job job = cvy_job_of(test_device(), &shape, 0);
    return cvy_variant_find(&cvy_gemm_op, variant)->supports(&job);
}

/* A GPU whose work-groups are too small for CLBlast's kernels, or its local memory, has tile_gpu. */
static void clblast_leaves_small_devices(void **state) {
    (void)state;
    const cvy_device_traits real = test_device()->traits;
    test_device()->traits.cpu = false;
    test_device()->traits.max_work_group = 64;
    assert_false(runs("clblast"));
    assert_true(runs("tile_gpu"));
    test_device()->traits.max_work_group = 256;
    test_device()->traits.local_memory = 16 << 10;
    assert_false(runs("clblast"));
    assert_true(runs("tile_gpu"));
    test_device()->traits = real;
}

static void only_with_clblast(void) {
    if (!runs("clblast"))
        skip();
}

/* Few shapes: each new kind of product costs CLBlast seconds of building. */
static void clblast_agrees(void **state) {
    (void)state;
    only_with_clblast();
    check_transposes(test_device(), "clblast", 33, 60, 17, 3, 5);
    check_transposes(test_device(), "clblast", 1, 5, 1, 0, 0);
}

/* Large products go through padded copies in the workspace; here the limit from which they do is lowered to
 * 16^3. */
static void clblast_uses_the_workspace(void **state) {
    (void)state;
    only_with_clblast();
    const char *name = "XGEMM_MIN_INDIRECT_SIZE";
    const size_t limit = 16;
    assert_int_equal(
        CLBlastOverrideParameters(test_device()->id, "GemmRoutine", CLBlastPrecisionSingle, 1, &name, &limit),
        CLBlastSuccess);
    product p = make_product(1, 33, 60, 47, 3, 5);
    cvy_gemm *op = NULL;
    assert_ok(cvy_gemm_create(test_device(), &p.shape, "clblast", &op));
    cvy_gemm_free(op);
    check_transposes(test_device(), "clblast", 33, 60, 47, 3, 5);
    check_transposes(test_device(), "clblast", 64, 64, 64, 0, 0);
}

/* The workspace is described before CLBlast is asked: with no set of parameters, and no shape, is it less
   than what CLBlast wants then. */
static void clblast_wants_no_more_than_described(void **state) {
    (void)state;
    only_with_clblast();
    cl_command_queue queue = cvy_device_queue(test_device());
    const char *const *names = cvy_gemm_clblast.option->names;
    for (size_t set = 1; names[set]; set++) {
        assert_ok(cvy_gemm_clblast.option->use(test_device(), names[set]));
        for (int i = 0; i < 4 * SHAPES; i++) {
            const size_t *size = shapes[i / 4], large = i % 2 ? 301 : 1;
            const product p = make_product(i % 4, size[0] * large, size[1], size[2] * large, i % 3, 0);
            const cvy_gemm_shape *s = &p.shape;
            cvy_needs needs;
            assert_ok(
                cvy_gemm_describe(cvy_device_get_traits(test_device()), test_device(), s, "clblast", &needs));
            for (size_t offset = 0; offset < 2; offset++) {
                size_t bytes = 0;
                assert_int_equal(CLBlastSGemmTempBufferSize(
                                     CLBlastLayoutRowMajor,
                                     s->transpose_a ? CLBlastTransposeYes : CLBlastTransposeNo,
                                     s->transpose_b ? CLBlastTransposeYes : CLBlastTransposeNo, s->m, s->n,
                                     s->k, offset, s->lda, offset, s->ldb, offset, s->ldc, &queue, &bytes),
                                 CLBlastSuccess);
                assert_true(bytes <= needs.workspace);
            }
        }
    }
}

static void clblast_leaves_what_it_cannot_count(void **state) {
    (void)state;
    only_with_clblast();
    cvy_gemm *op = NULL;
    cvy_gemm_shape shape = {.m = 2, .n = 4, .k = 4, .lda = 4, .ldb = 4, .ldc = 4};
    assert_ok(cvy_gemm_create(test_device(), &shape, "clblast", &op));
    cvy_buffer *workspace = test_buffer(test_device(), NULL, cvy_gemm_workspace(op));
    assert_fails(cvy_gemm_run(op, &(cvy_gemm_operands){.a_offset = (size_t)1 << 31, .workspace = workspace}),
                 CONVOY_DEVICE, "32 bits");
    cvy_buffer_free(workspace);
    cvy_gemm_free(op);
    shape.lda = 1 << 30; /* two rows are 2^31 floats */
    assert_fails(cvy_gemm_create(test_device(), &shape, "clblast", &op), CONVOY_DEVICE, "clblast");
}

static void an_empty_k_leaves_the_bias(void **state) {
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        product p = make_product(0, 5, 6, 0, 1, 0);
        p.accumulate = mode & 1;
        p.with_bias = mode & 2;
        check_product(test_device(), NULL, &p);
    }
}

static void an_empty_c_does_nothing(void **state) {
    (void)state;
    cvy_gemm_shape shape = {.m = 0, .n = 4, .k = 3, .lda = 3, .ldb = 4, .ldc = 4};
    cvy_gemm *op = NULL;
    assert_ok(cvy_gemm_create(test_device(), &shape, NULL, &op));
    unsigned long long launches = cvy_device_get_counters(test_device()).launches;
    assert_ok(cvy_gemm_run(op, &(cvy_gemm_operands){0}));
    assert_int_equal(cvy_device_get_counters(test_device()).launches, launches);
    cvy_gemm_free(op);
}

static void wrong_requests_are_refused(void **state) {
    (void)state;
    cvy_gemm *op = NULL;
    cvy_gemm_shape shape = {.m = 4, .n = 4, .k = 30000, .lda = 30000, .ldb = 4, .ldc = 3};
    assert_fails(cvy_gemm_create(test_device(), &shape, NULL, &op), CONVOY_INVALID, "leading dimensions");
    shape.ldc = 4;
    assert_fails(cvy_gemm_create(test_device(), &shape, "clblas", &op), CONVOY_INVALID,
                 "did you mean \"clblast\"");
    assert_null(op);
    const bool cpu = cvy_device_get_traits(test_device())->cpu;
    assert_ok(cvy_gemm_create(test_device(), &shape, cpu ? "tile_cpu" : "tile_gpu", &op));
    if (cvy_gemm_workspace(op) > 0) /* a device of one compute unit has no use for a split k */
        assert_fails(cvy_gemm_run(op, &(cvy_gemm_operands){0}), CONVOY_INVALID, "workspace");
    cvy_gemm_free(op);
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    assert_fails(cvy_gemm_create(host, &shape, "tile_cpu", &op), CONVOY_DEVICE, "tile_cpu");
    convoy_device_close(host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_device_computes_the_formula),
        cmocka_unit_test(tile_cpu_handles_every_edge),
        cmocka_unit_test(tile_cpu_walks_several_blocks),
        cmocka_unit_test(tile_cpu_copies_rows_that_share_cache_sets),
        cmocka_unit_test(tile_cpu_splits_a_long_k),
        cmocka_unit_test(tile_cpu_adapts_to_narrow_vectors),
        cmocka_unit_test(vector_cpu_takes_a_few_columns),
        cmocka_unit_test(an_empty_k_leaves_the_bias),
        cmocka_unit_test(an_empty_c_does_nothing),
        cmocka_unit_test(wrong_requests_are_refused),
    };
    const struct CMUnitTest for_gpus[] = {
        cmocka_unit_test(tile_gpu_handles_every_edge),
        cmocka_unit_test(tile_gpu_leaves_what_it_cannot_count),
        cmocka_unit_test(mma_nvidia_errs_by_the_rounding_of_its_factors),
        cmocka_unit_test(tensor_cores_are_chosen_by_precision),
        cmocka_unit_test(clblast_leaves_small_devices),
        cmocka_unit_test(clblast_agrees),
        cmocka_unit_test(clblast_uses_the_workspace),
        cmocka_unit_test(clblast_leaves_what_it_cannot_count),
        cmocka_unit_test(clblast_wants_no_more_than_described),
    };
    int failed = cmocka_run_group_tests_name("ops/gemm", tests, NULL, NULL);
    failed += cmocka_run_group_tests_name("ops/gemm for GPUs", for_gpus, test_build_plainly, NULL);
    test_device_close();
    return failed;
}
