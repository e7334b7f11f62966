/* Every variant of conv2d and gemm, forced in a recipe against PyTorch: the gradients of the first training
   step, which show an error in any pass of any layer, whatever an optimizer makes of it; and the outputs of
   an evaluation, where that is more than the same forward pass again: with batch-norms to fold, and for
   variants that serve no training. tests/train/parity/ holds what tools/record_parity.py recorded.

   A GPU runs each variant in every recipe in which it can. CPUs, which take seconds to compile a kernel, run
   it in one small recipe, and neighbours in the ops' tables in different ones: tests/ops/ has the edges of
   shapes, and test_parity.c trains every recipe.

   How far a tensor may stray from PyTorch's float64 run, norm of the difference over norm:
   - float32: four times as far as PyTorch's float32, with a floor of 1e-6, as in test_parity.c
   - winograd*: ten times that; the tests of the op allow Winograd ten times the error of other variants
   - TF32 and BF16, with emulated tensor cores: four times as far as PyTorch's float64 when all factors are
     rounded so
   Where an activation is almost 0, or two maxima are almost equal, any of these can fall to the other side,
   and a gradient jumps: then a float32 variant must do on a second batch, and keep to TF32's limit on the
   first.

   The ops' tables say what there is to test, so that a new variant is tested without anyone's remembering it;
   one that no recipe can run fails. On CPUs kernels are built without optimization, in a
   quarter of the time: tests/ops/ checks those for CPUs as users run them. */
#include "ops/variants.h"
#include "support/parity.h"

typedef struct variant_case {
    const cvy_op *op;
    const char *name;
    convoy_precision precision;
    bool training; /* else an evaluation of a few images */
} variant_case;

enum { RECIPES_LIMIT = 16 };
static parity_run recipes[RECIPES_LIMIT];
static size_t recipe_count;
static convoy_device *host;

static int evaluated(const parity_run *run) {
    return (int)json_integer_value(json_object_get(run->record, "evaluated"));
}

/* ---- What can run ---- */

static convoy_device *device_of(const variant_case *c) {
    return strcmp(c->name, "reference") == 0 ? host : test_device();
}

/* Does it serve any layer? */
static bool serves(const parity_run *run, const variant_case *c) {
    const int batch = (int)json_integer_value(json_object_get(run->record, "batch_size"));
    cvy_network_options options = {.batch_size = c->training ? batch : evaluated(run),
                                   .training = c->training};
    cvy_task *tasks = NULL;
    size_t count = 0;
    bool found = false;
    assert_ok(cvy_network_tasks(run->model, device_of(c), &options, &tasks, &count));
    for (size_t i = 0; i < count && !found; i++) {
        const cvy_job job = cvy_task_job(device_of(c), &tasks[i]);
        found =
            tasks[i].op == c->op && !tasks[i].option_of && cvy_variant_find(c->op, c->name)->supports(&job);
    }
    free(tasks);
    return found;
}

/* ---- Comparing ---- */

typedef struct comparison {
    char title[128];
    const variant_case *variant;
    json_t *rows;
    double worst; /* of what is allowed */
    char where[64];
    bool close; /* to what is allowed, or within TF32's limit */
} comparison;

static double limit_of(json_t *row, convoy_precision precision) {
    static const char *const yardsticks[] = {"yardstick", "yardstick_tf32", "yardstick_bf16"};
    return cvy_record_allowed(json_number_value(json_object_get(row, yardsticks[precision])));
}

static void compare(comparison *to, json_t *row, const float *values, size_t count) {
    const variant_case *c = to->variant;
    const char *name = json_string_value(json_object_get(row, "name"));
    const double wider = strncmp(c->name, "winograd", 8) == 0 ? 10 : 1;
    const double limit = wider * limit_of(row, c->precision), strays = parity_distance(row, values, count);
    if (!(strays <= limit)) /* NaN, too */
        print_message("%s: %s strays from PyTorch's float64 by %.2e; allowed is %.2e\n", to->title, name,
                      strays, limit);
    to->close &= strays <= limit || (!c->precision && strays <= limit_of(row, CONVOY_TF32));
    if (!(strays / limit <= to->worst)) {
        to->worst = strays / limit;
        snprintf(to->where, sizeof to->where, "%s", name);
    }
}

static bool has_batch_norm(const parity_run *run) {
    for (size_t i = 0; i < convoy_model_tensor_count(run->model); i++)
        if (strstr(convoy_model_tensor(run->model, i)->name, "running_mean"))
            return true;
    return false;
}

static void compare_evaluation(const parity_run *run, comparison *to) {
    const int images = evaluated(run), pitch = cvy_network_pitch(run->network);
    assert_ok(cvy_network_forward(run->network, images, false, 0));
    float *output = test_read(cvy_network_output(run->network), (size_t)(run->classes * pitch));
    for (int row = 0; row < run->classes; row++) /* [classes][pitch] to [classes][images], in place */
        for (int i = 0; i < images; i++)
            output[row * images + i] = output[row * pitch + i];
    json_t *row = cvy_record_row(to->rows, "evaluation");
    compare(to, row, output, (size_t)(run->classes * images));
    free(output);
}

static void compare_gradients(const parity_run *run, comparison *to) {
    float *gradients =
        test_read(cvy_network_gradients(run->network), cvy_network_parameter_count(run->network));
    for (size_t i = 0; i < convoy_model_tensor_count(run->model); i++) {
        const convoy_tensor tensor = *convoy_model_tensor(run->model, i);
        json_t *row = cvy_record_row(to->rows, tensor.name);
        /* A bias in front of a batch-norm has none: its gradient is nothing but rounding. */
        if (row)
            compare(to, row, gradients + cvy_network_parameter_offset(run->network, i),
                    parity_count(&tensor));
    }
    free(gradients);
}

/* ---- Running ---- */

static comparison run_batch(parity_run *run, const char *title, const variant_case *c, uint32_t batch) {
    comparison found = {.variant = c,
                        .rows = json_array_get(json_object_get(run->record, "first_steps"), batch),
                        .close = true};
    snprintf(found.title, sizeof found.title, "%s", title);
    assert_ok(cvy_network_upload(run->network));
    parity_set_batch(run, batch);
    if (!c->training || has_batch_norm(run))
        compare_evaluation(run, &found);
    if (c->training) {
        parity_step(run, batch);
        compare_gradients(run, &found);
    }
    print_message("%s: the farthest, %s, is at %.2f of what is allowed\n", title, found.where, found.worst);
    return found;
}

static void run_variant(parity_run *run, const variant_case *c) {
    static const char *const precisions[] = {"", " in TF32", " in BF16"};
    char title[128], forced[96];
    snprintf(title, sizeof title, "%s %s=%s%s", convoy_model_name(run->model), c->op->name, c->name,
             precisions[c->precision]);
    /* Convolutions must not be Winograd's where another op is tested. */
    const bool others = c->training && c->op != cvy_ops[0] && device_of(c) != host;
    snprintf(forced, sizeof forced, "%s%s=%s", others ? "conv2d=im2col_gemm," : "", c->op->name, c->name);
    parity_start(run, device_of(c), c->training, forced, c->training ? 0 : evaluated(run));
    comparison found = run_batch(run, title, c, 0);
    if (found.worst > 1 && found.close)
        found = run_batch(run, title, c, 1);
    parity_stop(run);
    assert_true(found.worst <= 1);
}

/* Runs it in the recipes that it serves, from the given one on; the number of them. */
static int run_recipes(const variant_case *c, size_t first) {
    const bool one = cvy_device_get_traits(test_device())->cpu;
    int count = 0;
    assert_ok(convoy_device_set_precision(test_device(), c->precision));
    for (size_t i = 0; i < recipe_count && !(one && count); i++) {
        parity_run *run = &recipes[(first + i) % recipe_count];
        if (serves(run, c)) {
            run_variant(run, c);
            count++;
        }
    }
    assert_ok(convoy_device_set_precision(test_device(), CONVOY_FLOAT32));
    return count;
}

typedef struct tested {
    const cvy_op *op;
    size_t variant, first; /* its place in the op's table; the recipe to begin with */
} tested;

/* In training where that is possible, and in lower precisions only if it does not run in float32. */
static void test_variant(void **state) {
    const tested *t = *state;
    const cvy_variant *v = t->op->variants[t->variant];
    int count = 0;
    for (int precision = CONVOY_FLOAT32; precision <= CONVOY_BF16; precision++) {
        variant_case c = {t->op, v->name, (convoy_precision)precision, true};
        if (precision == CONVOY_TF32 && count)
            break;
        int trained = run_recipes(&c, t->first);
        c.training = false;
        count += trained ? trained : run_recipes(&c, t->first);
    }
    if (!count && !cvy_device_get_traits(test_device())->cpu && v->made_for == CVY_FOR_CPUS)
        skip();
    assert_true(count);
}

static bool is_used(const char *network) {
    if (!strcmp(network, "blocks") ||
        !strcmp(network, "heads")) /* of many small convolutions: a program each */
        return false;
    if (test_quick())
        return strcmp(network, "lenet") == 0 || strcmp(network, "mnist_cnn") == 0;
    return !cvy_device_get_traits(test_device())->cpu || !strstr(network, "alexnet");
}

static int open_all(void **state) {
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    if (traits->tensor_cores == CVY_TENSOR_NONE)
        traits->tensor_cores = CVY_TENSOR_EMULATED;
    test_build_plainly(state);
    for (size_t i = 0; i < parity_recipe_count; i++)
        if (is_used(parity_recipes[i].network))
            parity_load(parity_recipes[i].network, &recipes[recipe_count++]);
    return convoy_device_open("host", &host) != CONVOY_OK;
}

static int close_all(void **state) {
    (void)state;
    while (recipe_count)
        parity_close(&recipes[--recipe_count]);
    convoy_device_close(host);
    return 0;
}

int main(void) {
    enum { LIMIT = CVY_OPS_LIMIT * CVY_VARIANTS_LIMIT };
    struct CMUnitTest tests[LIMIT];
    tested variants[LIMIT];
    size_t count = 0;
    for (size_t op = 0; cvy_ops[op]; op++)
        for (size_t i = 0; cvy_ops[op]->variants[i]; i++, count++) {
            variants[count] = (tested){cvy_ops[op], i, count};
            tests[count] = (struct CMUnitTest){cvy_ops[op]->variants[i]->name, test_variant, NULL, NULL,
                                               &variants[count]};
        }
    int failed = _cmocka_run_group_tests("variants", tests, count, open_all, close_all);
    test_device_close();
    return failed;
}
