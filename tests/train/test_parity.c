/* Fifty training steps of every recipe against PyTorch. tests/train/parity/ holds what tools/record_parity.py
   recorded: the losses of a float64 run, and for each tensor how it ended and how far PyTorch's own float32
   run strayed from that. Convoy may stray at most four times as far, with a floor of 1e-6. Each recipe runs
   with one variant of conv2d; test_variants.c forces each in turn. */
#include "support/parity.h"

typedef struct parity_case {
    const char *network;
    const char
        *variant;       /* Winograd trades accuracy for speed, so convolutions are always forced to another */
    const char *device; /* NULL: the device under test */
    bool quick;         /* part of the short run, too */
} parity_case;

static void compare_tensors(const parity_run *run, const char *title) {
    double worst = 0;
    bool failed = false;
    const char *where = "";
    assert_ok(cvy_network_download(run->network));
    for (size_t i = 0; i < convoy_model_tensor_count(run->model); i++) {
        convoy_tensor tensor = *convoy_model_tensor(run->model, i);
        json_t *row = cvy_record_row(json_object_get(run->record, "tensors"), tensor.name);
        /* A bias in front of a batch-norm is left out: its gradient is nothing but rounding. */
        if (!row || !json_is_true(json_object_get(row, "compare")))
            continue;
        double limit = cvy_record_allowed(json_number_value(json_object_get(row, "yardstick")));
        double strays = parity_distance(row, tensor.values, parity_count(&tensor));
        if (strays / limit > worst) {
            worst = strays / limit;
            where = tensor.name;
        }
        if (!(strays <= limit)) { /* NaN, too */
            print_error("%s: %s strays from PyTorch's float64 run by %.2e; allowed is %.2e\n", title,
                        tensor.name, strays, limit);
            failed = true;
        }
    }
    print_message("%s: the farthest tensor, %s, is at %.2f of what is allowed\n", title, where, worst);
    assert_false(failed);
}

static void test_parity(void **state) {
    const parity_case *given = *state;
    char title[128];
    if (!given->device && given->variant && strstr(given->variant, "_cpu") &&
        !cvy_device_get_traits(test_device())->cpu)
        skip();
    snprintf(title, sizeof title, "%s %s %s", given->network, given->device ? given->device : "",
             given->variant ? given->variant : "");
    parity_run run;
    convoy_device *own = NULL;
    if (given->device)
        assert_ok(convoy_device_open(given->device, &own));
    parity_load(given->network, &run);
    parity_start(&run, own ? own : test_device(), true, given->variant, 0);
    json_t *losses = json_object_get(run.record, "losses");
    double limit = cvy_record_allowed(json_number_value(json_object_get(run.record, "loss_yardstick")));
    for (size_t step = 0; step < json_array_size(losses); step++) {
        double expected = json_number_value(json_array_get(losses, step));
        double loss = parity_step(&run, (uint32_t)step);
        if (!(fabs(loss - expected) <= limit * expected))
            fail_msg("%s: the loss of step %zu is %.9g, PyTorch's %.9g", title, step, loss, expected);
    }
    compare_tensors(&run, title);
    parity_stop(&run);
    parity_close(&run);
    convoy_device_close(own);
}

static const parity_case cases[] = {
    {"lenet", "conv2d=direct_cpu", NULL, true},
    {"lenet", NULL, "host", false},
    {"mnist_cnn", "conv2d=im2col_gemm", NULL, true},
    {"digits_cnn", "conv2d=direct_cpu", NULL, false},
    {"monkeypox_bn", "conv2d=direct_cpu", NULL, true},
    {"monkeypox_bn_deep", "conv2d=im2col_gemm", NULL, false},
    {"lenet5", "conv2d=im2col_gemm", NULL, true},
    {"lenet5", "conv2d=tile_gpu", NULL, false},
    {"lenet5", NULL, "host", false},
    {"blocks", "conv2d=im2col_gemm", NULL, false},
    {"blocks", NULL, "host", true},
    {"heads", "conv2d=im2col_gemm", NULL, false},
    {"heads", NULL, "host", true},
    {"alexnet", "conv2d=im2col_gemm", NULL, false},
    {"alexnet_imagenet", "conv2d=direct_cpu", NULL, false}, /* with im2col_gemm a unit turns at step 39 */
};

int main(void) {
    enum { COUNT = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[COUNT];
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++)
        if (cases[i].quick || !getenv("CONVOY_TEST_QUICK"))
            tests[count++] =
                (struct CMUnitTest){cases[i].network, test_parity, NULL, NULL, (void *)&cases[i]};
    int failed = _cmocka_run_group_tests("parity", tests, count, NULL, NULL);
    test_device_close();
    return failed;
}
