/* kernels/common.clh on the device: Philox gives the host's words, reductions sum every lane. */
#include "support/test.h"

#include <unistd.h>

#include "base/file.h"

static const char kernel_source[] =
    "#include \"common.clh\"\n"
    "__kernel void random_words(__global const uint *input, __global uint *words, __global float *uniforms,\n"
    "                           ulong count) {\n"
    "    ulong i = get_global_id(0);\n"
    "    if (i >= count)\n"
    "        return;\n"
    "    uint4 block = philox(vload4(0, input + 6 * i), vload2(0, input + 6 * i + 4));\n"
    "    vstore4(block, i, words);\n"
    "    uniforms[i] = uniform01(block.x);\n"
    "}\n"
    "__kernel void sum_lanes(__global const float *values, __global float *sums, ulong count) {\n"
    "    ulong i = get_global_id(0);\n"
    "    if (i < count)\n"
    "        sums[i] = sumv(vloadv(i, values));\n"
    "}\n";

static char folder[] = "/tmp/convoy-kernels-XXXXXX";

/* A kernel folder that holds common.clh and the kernels above. The device is opened before, with its own
 * kernels. */
static int make_kernel_folder(void **state) {
    (void)state;
    char *data, *path;
    size_t size;
    test_device();
    assert_non_null(mkdtemp(folder));
    assert_ok(cvy_file_read(CONVOY_SOURCE_DIR "/kernels/common.clh", 1 << 20, &data, &size));
    path = cvy_path_join(folder, "common.clh");
    assert_ok(cvy_file_write(path, data, size));
    free(path);
    free(data);
    path = cvy_path_join(folder, "test_common.cl");
    assert_ok(cvy_file_write(path, kernel_source, sizeof kernel_source - 1));
    free(path);
    return setenv("CONVOY_KERNEL_DIR", folder, 1);
}

static int remove_kernel_folder(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    unsetenv("CONVOY_KERNEL_DIR");
    return system(command);
}

static cvy_kernel *kernel(const char *function, const char *options) {
    cvy_kernel *found = NULL;
    if (cvy_device_get_traits(test_device())->host)
        skip();
    assert_ok(cvy_kernel_get(test_device(), "test_common", function, options, &found));
    return found;
}

static void philox_agrees_with_the_host(void **state) {
    (void)state;
    enum { COUNT = 500 };
    cvy_kernel *random_words = kernel("random_words", "");
    uint32_t input[6 * COUNT], words[4 * COUNT], expected[4];
    float uniforms[COUNT];
    cvy_rng rng = cvy_rng_stream(3, CVY_RNG_SYNTHETIC, 0);
    for (int i = 0; i < 6 * COUNT; i++)
        input[i] = i < 6 ? 0 : i < 12 ? 0xffffffffu : cvy_rng_u32(&rng);
    cvy_buffer *from = test_buffer(test_device(), input, sizeof input);
    cvy_buffer *to = test_buffer(test_device(), NULL, sizeof words);
    cvy_buffer *floats = test_buffer(test_device(), NULL, sizeof uniforms);
    assert_ok(CVY_LAUNCH(random_words, cvy_items(COUNT), cvy_buf(from), cvy_buf(to), cvy_buf(floats),
                         cvy_ulong(COUNT)));
    assert_ok(cvy_buffer_read(to, 0, words, sizeof words));
    assert_ok(cvy_buffer_read(floats, 0, uniforms, sizeof uniforms));
    for (int i = 0; i < COUNT; i++) {
        cvy_philox(input + 6 * i, input + 6 * i + 4, expected);
        assert_memory_equal(words + 4 * i, expected, sizeof expected);
        assert_true(uniforms[i] == (float)(expected[0] >> 8) * 0x1p-24f);
    }
    cvy_buffer_free(from);
    cvy_buffer_free(to);
    cvy_buffer_free(floats);
}

static void reductions_sum_every_lane(void **state) {
    (void)state;
    float values[48], sums[12];
    for (int i = 0; i < 48; i++)
        values[i] = (float)(1 << (i % 16)); /* each lane a bit of its own: sums are exact */
    for (int width = 4; width <= 16; width *= 2) {
        char options[16];
        snprintf(options, sizeof options, "-DVW=%d", width);
        cvy_kernel *sum_lanes = kernel("sum_lanes", options);
        int count = 48 / width;
        cvy_buffer *from = test_buffer(test_device(), values, sizeof values);
        cvy_buffer *to = test_buffer(test_device(), NULL, sizeof sums);
        assert_ok(CVY_LAUNCH(sum_lanes, cvy_items((size_t)count), cvy_buf(from), cvy_buf(to),
                             cvy_ulong((uint64_t)count)));
        assert_ok(cvy_buffer_read(to, 0, sums, (size_t)count * sizeof *sums));
        for (int i = 0; i < count; i++) {
            float expected = 0;
            for (int lane = 0; lane < width; lane++)
                expected += values[i * width + lane];
            assert_true(sums[i] == expected);
        }
        cvy_buffer_free(from);
        cvy_buffer_free(to);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_agrees_with_the_host),
        cmocka_unit_test(reductions_sum_every_lane),
    };
    int failed = cmocka_run_group_tests(tests, make_kernel_folder, remove_kernel_folder);
    test_device_close();
    return failed;
}
