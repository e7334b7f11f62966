/* The store of what was measured: it keeps, it forgets, and whatever is wrong with its file only costs the
   measurements. */
#include "ops/choice.h"

#include <clblast_c.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "device/opencl.h"
#include "ops/conv2d/conv2d.h"
#include "ops/gemm/variant.h"
#include "ops/known_bad.h"
#include "support/images.h"
#include "support/run.h"
#include "support/test.h"

static char *folder, *path;

/* For CLBlast's kernels, of which there are many here: built without optimization, in half the time. */
static const char plain[] = "-cl-opt-disable ";

static int setup(void **state) {
    (void)state;
    setenv("CLBLAST_BUILD_OPTIONS", plain, 1);
    folder = test_folder_create();
    path = cvy_path_join(folder, "tuning.txt");
    setenv("CONVOY_CACHE_DIR", folder, 1);
    unsetenv("CONVOY_TUNE");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(path);
    test_folder_remove(folder);
    return 0;
}

static convoy_device *open_device(void) {
    convoy_device *device = NULL;
    const char *selector = getenv("CONVOY_TEST_DEVICE");
    assert_ok(convoy_device_open(selector ? selector : "cpu", &device));
    return device;
}

static cvy_key forward_of(const char *shape) {
    cvy_key key = {.op = "conv2d", .pass = "forward"};
    snprintf(key.shape, sizeof key.shape, "%s", shape);
    return key;
}

static const char *found_for(convoy_device *device, const char *shape) {
    const cvy_key key = forward_of(shape);
    return cvy_choice_find(device, &key);
}

static const char *aside_for(convoy_device *device, const char *shape, const char *variant) {
    const cvy_key key = forward_of(shape);
    return cvy_choice_aside(device, &key, variant);
}

static void set_aside(convoy_device *device, const cvy_key *task, bool all_shapes, const char *variant,
                      const char *reason) {
    cvy_choice_set_aside(device, task, &(cvy_aside){variant, reason, all_shapes, true});
}

static const cvy_key parameters = {.op = "gemm", .pass = "clblast", .shape = "*"};

static void keep_best(convoy_device *device, const char *shape, const char *variant) {
    cvy_choice_keep(device,
                    &(cvy_choice){.verdict = CVY_BEST,
                                  .op = "conv2d",
                                  .pass = "forward",
                                  .shape = shape,
                                  .variant = variant,
                                  .seconds = 0.00125,
                                  .reason = ""},
                    1);
}

/* What a device that is opened now knows about the shape. */
static void assert_found(const char *shape, const char *expected) {
    convoy_device *device = open_device();
    const char *found = found_for(device, shape);
    if (expected)
        assert_string_equal(found, expected);
    else
        assert_null(found);
    convoy_device_close(device);
}

static void fresh(void) {
    remove(path);
    convoy_device *device = open_device();
    keep_best(device, "1,2", "direct_cpu");
    keep_best(device, "3,4", "im2col_gemm");
    convoy_device_close(device);
}

static void test_round_trip(void **state) {
    (void)state;
    fresh();
    convoy_device *device = open_device();
    size_t count = 0;
    const cvy_choice *list = cvy_choice_list(device, &count);
    assert_int_equal(count, 2);
    assert_int_equal(list[0].verdict, CVY_BEST);
    assert_string_equal(list[0].op, "conv2d");
    assert_string_equal(list[0].pass, "forward");
    assert_string_equal(list[0].shape, "1,2");
    assert_string_equal(list[0].variant, "direct_cpu");
    assert_true(fabs(list[0].seconds - 0.00125) < 1e-9);
    assert_string_equal(list[0].device, convoy_device_get_info(device)->name);
    keep_best(device, "1,2", "winograd_cpu"); /* replaces */
    assert_string_equal(found_for(device, "1,2"), "winograd_cpu");
    assert_null(cvy_choice_find(device, &(cvy_key){"conv2d", "backward_data", "1,2"}));
    convoy_device_close(device);
    assert_found("1,2", "winograd_cpu");
    assert_found("3,4", "im2col_gemm");
    setenv("CONVOY_TUNE", "0", 1);
    assert_found("1,2", NULL);
    unsetenv("CONVOY_TUNE");
}

static void test_set_aside(void **state) {
    (void)state;
    fresh();
    convoy_device *device = open_device();
    const cvy_key task = forward_of("1,2");
    assert_string_equal(cvy_choice_measured(device, &task, NULL)->variant, "direct_cpu");
    set_aside(device, &task, false, "direct_cpu", "it\tended\nbadly");
    assert_null(found_for(device, "1,2"));
    convoy_device_close(device);
    device = open_device();
    assert_string_equal(aside_for(device, "1,2", "direct_cpu"), "it ended badly");
    assert_null(aside_for(device, "3,4", "direct_cpu"));
    assert_null(aside_for(device, "1,2", "im2col_gemm"));
    assert_null(found_for(device, "1,2"));
    set_aside(device, &task, true, "im2col_gemm", "wrong values");
    assert_string_equal(aside_for(device, "3,4", "im2col_gemm"), "wrong values");
    cvy_choice_forget(device);
    assert_null(aside_for(device, "3,4", "im2col_gemm"));
    convoy_device_close(device);
    assert_found("3,4", NULL);
}

/* What one run finds wrong is not chosen in that run, is told, and is forgotten with it, whatever is kept
   meanwhile; it takes nothing from what is known for good. */
static void test_set_aside_for_a_run(void **state) {
    (void)state;
    fresh();
    convoy_device *device = open_device();
    const cvy_key task = forward_of("1,2");
    char *before = test_read_text(path, NULL);
    const cvy_aside passing = {.variant = "direct_cpu", .reason = "out of memory", .all_shapes = true};
    cvy_choice_set_aside(device, &task, &passing);
    assert_string_equal(aside_for(device, "1,2", "direct_cpu"), "out of memory");
    assert_string_equal(aside_for(device, "7,8", "direct_cpu"), "out of memory");
    assert_null(cvy_choice_aside_for_good(device, &task, "direct_cpu"));
    assert_null(found_for(device, "1,2"));
    char *after = test_read_text(path, NULL);
    assert_string_equal(after, before);
    keep_best(device, "9,9", "im2col_gemm");
    assert_non_null(aside_for(device, "1,2", "direct_cpu"));
    set_aside(device, &task, false, "direct_cpu", "twice");
    assert_string_equal(cvy_choice_aside_for_good(device, &task, "direct_cpu"), "twice");
    cvy_choice_set_aside(device, &task, &passing);
    assert_string_equal(cvy_choice_aside_for_good(device, &task, "direct_cpu"), "twice");
    convoy_device_close(device);
    device = open_device();
    assert_null(aside_for(device, "7,8", "direct_cpu"));
    assert_string_equal(aside_for(device, "1,2", "direct_cpu"), "twice");
    assert_string_equal(found_for(device, "9,9"), "im2col_gemm");
    convoy_device_close(device);
    free(before);
    free(after);
}

static void keep_one(convoy_device *device, const cvy_key *task, cvy_verdict verdict, const char *variant,
                     double seconds) {
    cvy_choice_keep(device,
                    &(cvy_choice){verdict, task->op, task->pass, task->shape, variant, seconds, "", NULL}, 1);
}

/* A comparison that is not over: each variant has its latest answer, no answer is a choice yet, and the best
   one ends it. */
static void test_half_a_comparison(void **state) {
    (void)state;
    remove(path);
    convoy_device *device = open_device();
    const cvy_key task = forward_of("1,2");
    keep_one(device, &task, CVY_TIMED, "direct_cpu", 0.002);
    keep_one(device, &task, CVY_LEFT, "im2col_gemm", 1.5);
    keep_one(device, &task, CVY_LEFT, "im2col_gemm", 2.5);
    convoy_device_close(device);
    assert_found("1,2", NULL);
    device = open_device();
    const cvy_choice *timed = cvy_choice_measured(device, &task, "direct_cpu");
    assert_int_equal(timed->verdict, CVY_TIMED);
    assert_true(fabs(timed->seconds - 0.002) < 1e-9);
    const cvy_choice *left = cvy_choice_measured(device, &task, "im2col_gemm");
    assert_int_equal(left->verdict, CVY_LEFT);
    assert_true(fabs(left->seconds - 2.5) < 1e-9);
    assert_null(cvy_choice_measured(device, &task, "winograd_gpu"));
    assert_null(cvy_choice_measured(device, &task, NULL));
    keep_one(device, &task, CVY_TIMED, "im2col_gemm", 0.001);
    assert_int_equal(cvy_choice_measured(device, &task, "im2col_gemm")->verdict, CVY_TIMED);
    set_aside(device, &task, false, "im2col_gemm", "a test");
    keep_one(device, &task, CVY_BEST, "direct_cpu", 0.002);
    assert_null(cvy_choice_measured(device, &task, "direct_cpu"));
    assert_non_null(aside_for(device, "1,2", "im2col_gemm"));
    convoy_device_close(device);
    assert_found("1,2", "direct_cpu");
}

/* What was measured in one precision says nothing about another. */
static void test_precision(void **state) {
    (void)state;
    fresh();
    convoy_device *device = open_device();
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    assert_string_equal(found_for(device, "1,2"), "direct_cpu");
    traits->precision = CONVOY_TF32;
    assert_null(found_for(device, "1,2"));
    keep_best(device, "1,2", "mma_nvidia");
    assert_string_equal(found_for(device, "1,2"), "mma_nvidia");
    traits->precision = CONVOY_FLOAT32;
    assert_string_equal(found_for(device, "1,2"), "direct_cpu");
    convoy_device_close(device);
    assert_found("1,2", "direct_cpu");
}

/* A convolution takes what was measured, and never what is set aside. */
static void test_ops_ask(void **state) {
    (void)state;
    remove(path);
    convoy_device *device = open_device();
    cvy_conv2d_shape shape = {.pitch = 16,
                              .in_channels = 3,
                              .in_height = 6,
                              .in_width = 5,
                              .out_channels = 4,
                              .kernel = {3, 3},
                              .stride = {1, 1},
                              .padding = {1, 1},
                              .dilation = {1, 1},
                              .groups = 1},
                     again;
    assert_ok(cvy_conv2d_infer(&shape));
    const cvy_task asked = cvy_task_of(&cvy_conv2d_op, &shape, CVY_CONV2D_FORWARD);
    const cvy_key task = cvy_task_key(&asked);
    assert_true(cvy_conv2d_op.read(task.shape, &again));
    assert_memory_equal(&again, &shape, sizeof shape);
    assert_false(cvy_conv2d_op.read("16,3,6", &again));
    assert_true(cvy_conv2d_op.read("16,3,6,5,4,3,3,1,1,1,1,1,1,1", &again));
    assert_false(cvy_conv2d_op.read("16,3,6,5,4,3,3,1,1,1,1,1,1,4294967297", &again)); /* 1, in 32 bits */
    cvy_conv2d *op = NULL;
    assert_ok(cvy_conv2d_create(device, &shape, 1, NULL, &op));
    assert_int_equal(cvy_conv2d_origin(op, CVY_CONV2D_FORWARD), CVY_GUESSED);
    cvy_conv2d_free(op);
    keep_best(device, task.shape, "im2col_gemm");
    assert_ok(cvy_conv2d_create(device, &shape, 3, NULL, &op));
    assert_string_equal(cvy_conv2d_variant(op, CVY_CONV2D_FORWARD), "im2col_gemm");
    assert_int_equal(cvy_conv2d_origin(op, CVY_CONV2D_FORWARD), CVY_MEASURED);
    assert_int_equal(cvy_conv2d_origin(op, CVY_CONV2D_BACKWARD_DATA), CVY_GUESSED);
    cvy_conv2d_free(op);
    set_aside(device, &task, true, "im2col_gemm", "a test");
    assert_ok(cvy_conv2d_create(device, &shape, 1, NULL, &op));
    assert_string_not_equal(cvy_conv2d_variant(op, CVY_CONV2D_FORWARD), "im2col_gemm");
    cvy_conv2d_free(op);
    assert_ok(cvy_conv2d_create(device, &shape, 1, "im2col_gemm", &op)); /* with a warning */
    assert_int_equal(cvy_conv2d_origin(op, CVY_CONV2D_FORWARD), CVY_FORCED);
    cvy_conv2d_free(op);
    for (const cvy_variant *const *variant = cvy_conv2d_op.variants; *variant; variant++)
        set_aside(device, &task, false, (*variant)->name, "a test");
    assert_fails(cvy_conv2d_create(device, &shape, 1, NULL, &op), CONVOY_DEVICE, "set aside");
    convoy_device_close(device);
}

static void test_gemm_asks(void **state) {
    (void)state;
    remove(path);
    convoy_device *device = open_device();
    cvy_gemm_shape shape = {.transpose_b = true, .m = 5, .n = 17, .k = 3, .lda = 3, .ldb = 3, .ldc = 17},
                   again;
    const cvy_task asked = cvy_task_of(&cvy_gemm_op, &shape, 0);
    const cvy_key task = cvy_task_key(&asked);
    assert_true(cvy_gemm_op.read(task.shape, &again));
    const cvy_task read = cvy_task_of(&cvy_gemm_op, &again, 0);
    const cvy_key same = cvy_task_key(&read);
    assert_string_equal(same.shape, task.shape);
    assert_true(again.lda == shape.lda && again.ldb == shape.ldb && again.ldc == shape.ldc);
    assert_false(cvy_gemm_op.read("nt,5,17,18446744073709551619", &again)); /* 3, in 64 bits */
    assert_false(cvy_gemm_op.read("nx,5,17,3", &again));
    cvy_gemm *op = NULL;
    assert_ok(cvy_gemm_create(device, &shape, NULL, &op));
    const char *first = cvy_gemm_variant(op);
    assert_int_equal(cvy_gemm_origin(op), CVY_GUESSED);
    cvy_gemm_free(op);
    set_aside(device, &task, true, first, "a test");
    if (cvy_gemm_create(device, &shape, NULL, &op) == CONVOY_OK) { /* where there is another one */
        assert_string_not_equal(cvy_gemm_variant(op), first);
        cvy_gemm_free(op);
    } else
        assert_non_null(strstr(convoy_error_message(), "gemm: no variant"));
    convoy_device_close(device);
}

/* What was measured in the precision that the device is asked for counts, whichever it is, as for conv2d. */
static void test_gemm_asks_in_its_precision(void **state) {
    (void)state;
    remove(path);
    convoy_device *device = open_device();
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    const cvy_gemm_shape shape = {.m = 12, .n = 16, .k = 8, .lda = 8, .ldb = 16, .ldc = 16};
    const cvy_task task = cvy_task_of(&cvy_gemm_op, &shape, 0);
    const cvy_key key = cvy_task_key(&task);
    traits->cpu = false;
    traits->tensor_cores = CVY_TENSOR_EMULATED;
    for (int precision = CONVOY_FLOAT32; precision <= CONVOY_BF16; precision++) {
        cvy_gemm *op = NULL;
        traits->precision = (convoy_precision)precision;
        assert_ok(cvy_gemm_create(device, &shape, NULL, &op));
        assert_string_equal(cvy_gemm_variant(op), precision ? "mma_nvidia" : "tile_gpu");
        cvy_gemm_free(op);
        const char *measured = precision ? "tile_gpu" : "clblast";
        cvy_choice_keep(device, &(cvy_choice){CVY_BEST, key.op, key.pass, key.shape, measured, 1, "", NULL},
                        1);
        assert_ok(cvy_gemm_create(device, &shape, NULL, &op));
        assert_string_equal(cvy_gemm_variant(op), measured);
        assert_int_equal(cvy_gemm_origin(op), CVY_MEASURED);
        cvy_gemm_free(op);
    }
    convoy_device_close(device);
}

/* The rows and columns that CLBlast pads a matrix to, by what it asks for once a product is made ready. */
static size_t clblast_workspace(convoy_device *device) {
    const cvy_gemm_shape shape = {.m = 200, .n = 200, .k = 200, .lda = 200, .ldb = 200, .ldc = 200};
    cl_command_queue queue = cvy_device_queue(device);
    cvy_gemm *op = NULL;
    size_t bytes = 0;
    assert_ok(cvy_gemm_create(device, &shape, "clblast", &op));
    assert_int_equal(CLBlastSGemmTempBufferSize(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo,
                                                200, 200, 200, 0, 200, 0, 200, 0, 200, &queue, &bytes),
                     CLBlastSuccess);
    cvy_gemm_free(op);
    return bytes;
}

static void multiply(convoy_device *device) {
    enum { EDGE = 200 };
    const cvy_gemm_shape shape = {.m = EDGE, .n = EDGE, .k = EDGE, .lda = EDGE, .ldb = EDGE, .ldc = EDGE};
    float *a = test_random(EDGE * EDGE, 1), *b = test_random(EDGE * EDGE, 2), *actual,
          *expected = test_random(EDGE * EDGE, 3);
    cvy_buffer *buffers[] = {test_buffer(device, a, EDGE * EDGE * sizeof *a),
                             test_buffer(device, b, EDGE * EDGE * sizeof *b),
                             test_buffer(device, NULL, EDGE * EDGE * sizeof *b), NULL};
    cvy_gemm *op = NULL;
    assert_ok(cvy_gemm_create(device, &shape, "clblast", &op));
    buffers[3] = test_buffer(device, NULL, cvy_gemm_workspace(op));
    assert_ok(cvy_gemm_run(
        op,
        &(cvy_gemm_operands){.a = buffers[0], .b = buffers[1], .c = buffers[2], .workspace = buffers[3]}));
    actual = test_read(buffers[2], EDGE * EDGE);
    cvy_gemm_reference(&shape, a, b, expected, false);
    test_close("product", actual, expected, EDGE * EDGE, 1e-5);
    for (size_t i = 0; i < 4; i++)
        cvy_buffer_free(buffers[i]);
    cvy_gemm_free(op);
    free(a);
    free(b);
    free(actual);
    free(expected);
}

static void keep_set(convoy_device *device, const char *set) {
    cvy_choice_keep(device, &(cvy_choice){CVY_BEST, "gemm", "clblast", "*", set, 0.01, "", NULL}, 1);
}

/* The set that measured best serves; one that does not build is set aside, and the next one serves. */
static void test_clblast_falls_back(void **state) {
    (void)state;
    remove(path);
    convoy_device *device = open_device();
    clblast_workspace(device); /* builds with its own parameters */
    setenv("CLBLAST_BUILD_OPTIONS", "-cl-opt-disable -DGlobalToPrivateA2D=1 ",
           1); /* a function that tiles_64 alone has */
    keep_set(device, "tiles_64");
    clblast_workspace(device);
    assert_non_null(cvy_choice_aside(device, &parameters, "tiles_64"));
    setenv("CLBLAST_BUILD_OPTIONS", plain, 1);
    keep_set(device, "local_128");
    const size_t wide = clblast_workspace(device);
    keep_set(device, "plain_64");
    assert_true(clblast_workspace(device) < wide);
    convoy_device_close(device);
    device = open_device();
    setenv("CLBLAST_BUILD_OPTIONS", "-Dbarrier=1 ", 1);
    cvy_gemm *op = NULL;
    const cvy_gemm_shape shape = {.m = 5, .n = 17, .k = 3, .lda = 3, .ldb = 17, .ldc = 17};
    keep_set(device, "local_64");
    assert_fails(cvy_gemm_create(device, &shape, "clblast", &op), CONVOY_DEVICE, "none of its parameters");
    setenv("CLBLAST_BUILD_OPTIONS", plain, 1);
    convoy_device_close(device);
}

/* CLBlast takes every set of parameters, the one that measured best, and each change at once: its kernels say
   which work-groups they want, so that a program of other parameters than the launch's would fail. Its own
   are lost once another set was used. */
static void test_clblast_parameters(void **state) {
    (void)state;
    remove(path);
    convoy_device *device = open_device();
    const cvy_variant_option *option = cvy_gemm_clblast.option;
    const char *const *sets = option->names;
    for (size_t i = 1; sets[i]; i++)
        assert_ok(option->use(device, sets[i]));
    assert_ok(option->use(device, "local_128"));
    const size_t wide = clblast_workspace(device);
    assert_ok(option->use(device, "plain_64"));
    const size_t narrow = clblast_workspace(device);
    assert_true(wide > narrow); /* 200 is padded to 256, and to 256 x 208 */
    multiply(device);
    assert_ok(option->use(device, "tiles_64"));
    multiply(device);
    assert_ok(option->use(device, "plain_64"));
    assert_int_equal(clblast_workspace(device), narrow);
    multiply(device);
    assert_fails(option->use(device, sets[0]), CONVOY_INVALID, "plain_64");
    assert_fails(option->use(device, "fastest"), CONVOY_INVALID, "fastest");
    convoy_device_close(device);
}

/* What makes do with less room than it would take cuts k into fewer parts. */
static void test_room(void **state) {
    (void)state;
    const cvy_gemm_shape shape = {.m = 10, .n = 16, .k = 3000, .lda = 3000, .ldb = 16, .ldc = 16};
    convoy_device *device = open_device();
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    traits->compute_units = 4;
    cvy_job job = cvy_job_of(device, &shape, 0);
    job.describes = true;
    for (int i = 0; i < 2; i++) {
        const char *variant = traits->cpu && i ? "tile_cpu" : "tile_gpu";
        cvy_prepared prepared;
        job.room = SIZE_MAX;
        assert_ok(cvy_prepared_open(&cvy_gemm_op, &job, variant, &prepared));
        assert_true(prepared.needs.workspace > 0);
        job.room = 10 * 16 * sizeof(float);
        assert_ok(cvy_prepared_open(&cvy_gemm_op, &job, variant, &prepared));
        assert_int_equal(prepared.needs.workspace, 0);
    }
    convoy_device_close(device);
}

/* CLBlast's next product is of a program that does not build. */
static void spoil_clblast(convoy_device *device) {
    const char *names[] = {"KWID", "MDIMAD", "MDIMCD", "NDIMBD", "NDIMCD",
                           "PADA", "PADB",   "VWMD",   "VWND",   "WGD"};
    const size_t values[] = {2, 8, 8, 8, 8, 0, 0, 1, 1, 16};
    setenv("CLBLAST_BUILD_OPTIONS", "-Dbarrier=1 ", 1);
    assert_int_equal(
        CLBlastOverrideParameters(device->id, "XgemmDirect", CLBlastPrecisionSingle, 10, names, values),
        CLBlastSuccess);
}

static const char *spoilt_product(convoy_device *device, const cvy_gemm_shape *shape, const char *variant,
                                  bool accumulate, convoy_status expected) {
    static char served_by[32];
    const size_t as = shape->m * shape->k, bs = shape->k * shape->n, cs = shape->m * shape->n;
    float *a = test_random(as, 1), *b = test_random(bs, 2), *bias = test_random(shape->m, 3),
          *c = test_random(cs, 4), *actual;
    cvy_buffer *buffers[] = {test_buffer(device, a, as * sizeof *a), test_buffer(device, b, bs * sizeof *b),
                             test_buffer(device, bias, shape->m * sizeof *bias),
                             test_buffer(device, c, cs * sizeof *c), NULL};
    cvy_gemm *op = NULL;
    assert_ok(cvy_gemm_create(device, shape, variant, &op));
    assert_string_equal(cvy_gemm_variant(op), "clblast");
    buffers[4] = test_buffer(device, NULL, cvy_gemm_workspace(op));
    spoil_clblast(device);
    for (int run = 0; run < 2; run++) /* the second is the replacement's from the start */
        assert_int_equal(cvy_gemm_run(op, &(cvy_gemm_operands){.a = buffers[0],
                                                               .b = buffers[1],
                                                               .bias = buffers[2],
                                                               .c = buffers[3],
                                                               .workspace = buffers[4],
                                                               .accumulate = accumulate}),
                         expected);
    setenv("CLBLAST_BUILD_OPTIONS", plain, 1);
    for (int run = 0; run < 2 && !expected; run++) {
        for (size_t i = 0; i < cs; i++)
            c[i] = (accumulate ? c[i] : 0) + bias[i / shape->n];
        cvy_gemm_reference(shape, a, b, c, true);
    }
    actual = test_read(buffers[3], cs);
    test_close("product", actual, c, cs, 1e-4);
    snprintf(served_by, sizeof served_by, "%s", cvy_gemm_variant(op));
    cvy_gemm_free(op);
    for (size_t i = 0; i < 5; i++)
        cvy_buffer_free(buffers[i]);
    float *const arrays[] = {a, b, bias, c, actual};
    for (size_t i = 0; i < 5; i++)
        free(arrays[i]);
    return served_by;
}

/* A variant that fails in a run, after it was made ready, loses nothing: the next one makes do with the
   workspace that there is. One that was asked for by name fails. */
static void test_gemm_replaces_what_fails(void **state) {
    (void)state;
    const cvy_gemm_shape shapes[] = {{.m = 10, .n = 16, .k = 3000, .lda = 3000, .ldb = 16, .ldc = 16},
                                     {.m = 9, .n = 4, .k = 3000, .lda = 3000, .ldb = 4, .ldc = 4}};
    remove(path);
    convoy_device *device = open_device();
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    const bool cpu = traits->cpu;
    for (int kind = 0; kind < 4; kind++) {
        const cvy_gemm_shape *shape = &shapes[kind % 2];
        const cvy_task asked = cvy_task_of(&cvy_gemm_op, shape, 0);
        const cvy_key task = cvy_task_key(&asked);
        traits->cpu = cpu && kind < 2;
        traits->compute_units = 4; /* enough for a split k */
        cvy_choice_forget(device);
        spoilt_product(device, shape, "clblast", kind % 2, CONVOY_DEVICE);
        assert_null(cvy_choice_aside(device, &task, "clblast"));
        cvy_choice_keep(device,
                        &(cvy_choice){CVY_BEST, "gemm", "product", task.shape, "clblast", 1, "", NULL}, 1);
        assert_string_equal(spoilt_product(device, shape, NULL, kind % 2, CONVOY_OK),
                            !traits->cpu ? "tile_gpu"
                            : kind == 1  ? "vector_cpu"
                                         : "tile_cpu");
        assert_non_null(cvy_choice_aside(device, &task, "clblast"));
    }
    convoy_device_close(device);
}

/* ---- Damage ---- */

static void damage(const char *data, size_t size) {
    assert_ok(cvy_file_write(path, data, size));
}

static void test_truncated(void **state) {
    (void)state;
    char *good = NULL;
    size_t size = 0;
    fresh();
    assert_ok(cvy_file_read(path, 1 << 20, &good, &size));
    damage(good, size - 5);
    assert_found("1,2", "direct_cpu");
    assert_found("3,4", NULL);
    for (size_t keep = 0; keep < size; keep += test_quick() ? 101 : 7) {
        damage(good, keep);
        convoy_device *device = open_device();
        keep_best(device, "5,6", "direct_cpu"); /* heals the file */
        convoy_device_close(device);
        assert_found("5,6", "direct_cpu");
    }
    free(good);
}

static void test_flipped_bytes(void **state) {
    (void)state;
    char *good = NULL;
    size_t size = 0;
    fresh();
    assert_ok(cvy_file_read(path, 1 << 20, &good, &size));
    char *second = strrchr(good, '3');
    for (; second > good && second[1] != ','; second--)
        ;
    second[0] = '9'; /* "3,4" -> "9,4": the check no longer fits */
    damage(good, size);
    assert_found("9,4", NULL);
    assert_found("1,2", "direct_cpu");
    free(good);
}

static void test_garbage(void **state) {
    (void)state;
    char noise[3000];
    cvy_rng rng = cvy_rng_stream(1, CVY_RNG_SYNTHETIC, 0);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)cvy_rng_below(&rng, 256);
    damage(noise, sizeof noise);
    assert_found("1,2", NULL);
    memcpy(noise, "convoy-tuning 2\n", 16);
    damage(noise, sizeof noise);
    assert_found("1,2", NULL);
    damage("convoy-tuning 3\nwhat a later version wrote\n", 43);
    assert_found("1,2", NULL);
    convoy_device *device = open_device();
    keep_best(device, "1,2", "direct_cpu");
    convoy_device_close(device);
    assert_found("1,2", "direct_cpu");
}

static void test_a_folder_that_cannot_be_written(void **state) {
    (void)state;
    setenv("CONVOY_CACHE_DIR", "/proc/no-such-folder", 1);
    convoy_device *device = open_device();
    keep_best(device, "1,2", "direct_cpu");
    assert_string_equal(found_for(device, "1,2"), "direct_cpu");
    convoy_device_close(device);
    assert_found("1,2", NULL);
    setenv("CONVOY_CACHE_DIR", folder, 1);
}

/* ---- Several processes ---- */

enum { PROCESSES = 4, RECORDS = 25 };

/* One of the processes that write at once. */
static int write_many(const char *name) {
    convoy_device *device = open_device();
    for (int i = 0; i < RECORDS; i++) {
        char shape[32];
        snprintf(shape, sizeof shape, "%s,%d", name, i);
        keep_best(device, shape, "direct_cpu");
    }
    convoy_device_close(device);
    return 0;
}

static void test_processes_share_the_file(void **state) {
    (void)state;
    pid_t children[PROCESSES];
    fresh();
    for (int i = 0; i < PROCESSES; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", 100 + i);
        children[i] = fork();
        if (children[i] == 0) { /* drivers do not survive a fork: a fresh image of this program */
            execl("/proc/self/exe", "test_choice", name, (char *)NULL);
            _exit(127);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int code = -1;
        assert_int_equal(waitpid(children[i], &code, 0), children[i]);
        assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    }
    convoy_device *device = open_device();
    size_t count = 0;
    cvy_choice_list(device, &count);
    assert_int_equal(count, 2 + PROCESSES * RECORDS);
    convoy_device_close(device);
}

/* Variants of the list are for nobody but those who force them. */
static void test_known_bad(void **state) {
    (void)state;
    convoy_device *device = test_device();
    const convoy_device_info *info = convoy_device_get_info(device);
    const cvy_gemm_shape shape = {.m = 7, .n = 16, .k = 5, .lda = 5, .ldb = 16, .ldc = 16};
    const cvy_known_bad *list;
    char json[1024];
    const cvy_job job = cvy_job_of(device, &shape, 0);
    cvy_prepared chosen;
    assert_ok(cvy_prepared_choose(&cvy_gemm_op, &job, NULL, &chosen));
    const char *usual = chosen.variant->name;
    for (int here = 0; here < 2; here++) {
        snprintf(json, sizeof json,
                 "[{\"platform\": \"%s\", \"device\": \"%s\", \"op\": \"gemm\", \"variant\": \"%s\", "
                 "\"reason\": \"1 of 2\"}]",
                 info->platform, here ? "" : "another one", usual);
        cvy_known_bad_use(json);
        assert_int_equal(cvy_known_bad_of(info, &list), here);
        assert_ok(cvy_prepared_choose(&cvy_gemm_op, &job, NULL, &chosen));
        assert_int_equal(strcmp(chosen.variant->name, usual) != 0, here);
    }
    assert_string_equal(list[0].variant, usual);
    assert_string_equal(cvy_known_bad_reason(info, "gemm", usual), "1 of 2");
    assert_null(cvy_known_bad_reason(info, "conv2d", usual));
    assert_ok(cvy_prepared_choose(&cvy_gemm_op, &job, usual, &chosen));
    assert_string_equal(chosen.variant->name, usual);
    cvy_known_bad_use("no list");
    assert_int_equal(cvy_known_bad_of(info, &list), 0);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return write_many(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_known_bad),
        cmocka_unit_test(test_set_aside),
        cmocka_unit_test(test_set_aside_for_a_run),
        cmocka_unit_test(test_half_a_comparison),
        cmocka_unit_test(test_precision),
        cmocka_unit_test(test_ops_ask),
        cmocka_unit_test(test_gemm_asks),
        cmocka_unit_test(test_gemm_asks_in_its_precision),
        cmocka_unit_test(test_clblast_falls_back),
        cmocka_unit_test(test_clblast_parameters),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_gemm_replaces_what_fails),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_a_folder_that_cannot_be_written),
        cmocka_unit_test(test_processes_share_the_file),
    };
    return cmocka_run_group_tests_name("choice", tests, setup, teardown);
}
