/* Sums of rows against sums in double. */
#include "ops/sum_rows.h"

#include "device/opencl.h"
#include "ops/ops.h"

/* One row in many strips, in one, and many rows; lengths that end within a strip; work-groups of 64 and of
   1. */
static void in_one_step_and_in_two(void **state) {
    (void)state;
    static const struct {
        size_t rows, length;
        int compute_units;
        bool cpu;
    } cases[] = {{1, 17168, 4, false}, {3, 80, 1, false}, {70, 528, 40, false}, {1, 96480, 1, false},
                 {5, 4, 4, false},     {7, 1, 2, true},   {2, 17168, 8, true},  {21, 1008, 2, true}};
    convoy_device *device = test_device();
    const cvy_device_traits real = device->traits;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t rows = cases[i].rows, length = cases[i].length;
        cvy_sum_rows op;
        device->traits.compute_units = cases[i].compute_units;
        device->traits.cpu = cases[i].cpu;
        cvy_sum_rows_plan(cvy_device_get_traits(device), rows, length, &op);
        assert_ok(cvy_sum_rows_prepare(device, &op));
        float *gy = test_random(rows * length, 1), *expected = test_random(rows, 2);
        cvy_buffer *from = test_buffer(device, gy, rows * length * sizeof(float)),
                   *sums = test_buffer(device, expected, rows * sizeof(float)),
                   *workspace = test_buffer(device, NULL, (64 + op.scratch) * sizeof(float));
        assert_ok(cvy_sum_rows_run(&op, from, sums, i % 2, workspace, 64));
        for (size_t r = 0; r < rows; r++) {
            double sum = i % 2 ? (double)expected[r] : 0;
            for (size_t j = 0; j < length; j++)
                sum += (double)gy[r * length + j];
            expected[r] = (float)sum;
        }
        float *actual = test_read(sums, rows);
        test_close("sums of rows", actual, expected, rows, 5e-6);
        cvy_buffer_free(from);
        cvy_buffer_free(sums);
        cvy_buffer_free(workspace);
        free(gy);
        free(expected);
        free(actual);
    }
    device->traits = real;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_one_step_and_in_two)};
    const int failed = cmocka_run_group_tests_name("sums of rows", tests, NULL, NULL);
    test_device_close();
    return failed;
}
