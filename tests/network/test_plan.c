/* The property that a plan must have: whoever reads a tensor finds what was written for it. A memory is
   simulated in which every action leaves its mark on all the bytes that it writes. */
#include "network/plan.h"
#include "support/models.h"

/* What was written into a range last: a number that stands for a tensor. */
typedef struct mark {
    int arena;
    size_t begin, end;
    double owner;
} mark;

typedef struct memory {
    mark marks[4096];
    size_t count;
    const cvy_plan *plan;
} memory;

static void absolute(const memory *m, cvy_place place, int *arena, size_t *begin) {
    const cvy_block *block = &m->plan->blocks[place.block];
    assert_true(place.offset + place.bytes <= block->bytes);
    assert_true(block->offset + block->bytes <= m->plan->arena_bytes[block->arena]);
    *arena = block->arena;
    *begin = block->offset + place.offset;
}

/* Cuts what lay there before, and writes `owner`. */
static void write_mark(memory *m, cvy_place place, double owner) {
    int arena;
    size_t begin, end, count = m->count;
    absolute(m, place, &arena, &begin);
    end = begin + place.bytes;
    for (size_t i = 0; i < count; i++) {
        mark old = m->marks[i];
        if (old.arena != arena || old.end <= begin || old.begin >= end)
            continue;
        m->marks[i].end = old.begin < begin ? begin : old.begin; /* the part before, maybe empty */
        if (old.end > end) {
            assert_true(m->count < 4096);
            m->marks[m->count++] = (mark){arena, end, old.end, old.owner};
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->marks[i].begin < m->marks[i].end)
            m->marks[kept++] = m->marks[i];
    m->count = kept;
    assert_true(m->count < 4096);
    m->marks[m->count++] = (mark){arena, begin, end, owner};
}

/* Is all of the range `owner`'s? */
static bool holds(const memory *m, cvy_place place, double owner) {
    int arena;
    size_t begin, covered = 0;
    absolute(m, place, &arena, &begin);
    for (size_t i = 0; i < m->count; i++) {
        const mark *k = &m->marks[i];
        if (k->arena != arena || k->owner != owner)
            continue;
        size_t from = k->begin > begin ? k->begin : begin,
               to = k->end < begin + place.bytes ? k->end : begin + place.bytes;
        covered += to > from ? to - from : 0;
    }
    return covered == place.bytes;
}

/* Marks: a value v is v; what a layer saved i of step s is -1 - 2 s - i. A concat's value is complete when
   each of its parts holds either the branch's value (computed in place) or a copy, so both are accepted for
   it. */
static bool holds_value(const memory *m, const convoy_model *model, cvy_place place, int value) {
    if (holds(m, place, value))
        return true;
    for (size_t s = 0; s < model->step_count; s++) {
        const cvy_step *step = &model->steps[s];
        if (step->kind != CVY_STEP_CONCAT || step->output != value)
            continue;
        size_t offset = place.offset;
        for (int i = 0; i < step->input_count; i++) {
            cvy_place part = {place.block, offset, cvy_value_bytes(step->input_dims[i], m->plan->pitch)};
            if (!holds_value(m, model, part, step->inputs[i]))
                return false;
            offset += part.bytes;
        }
        return true;
    }
    return false;
}

/* What an action leaves behind, in training or where evaluation needs it too. */
static void write_saved(memory *m, const convoy_model *model, size_t s, bool training) {
    for (int k = 0; k < CVY_LAYER_SAVED; k++)
        if (m->plan->saved[s][k].block > 0 && (training || model->steps[s].facts.saved[k].inference))
            write_mark(m, m->plan->saved[s][k], -1.0 - 2 * (double)s - k);
}

static void simulate_copy(memory *m, const convoy_model *model, const cvy_action *action) {
    const cvy_step *step = &model->steps[action->step];
    int from = -1;
    for (int k = 0; k < step->input_count; k++)
        if (cvy_value_bytes(step->input_dims[k], m->plan->pitch) == action->x.bytes &&
            holds_value(m, model, action->x, step->inputs[k]))
            from = step->inputs[k];
    assert_true(from >= 0);
    write_mark(m, action->out, from);
}

static bool same_place(cvy_place a, cvy_place b) {
    return a.block == b.block && a.offset == b.offset && a.bytes == b.bytes;
}

/* A convolution that pools writes all that the pooling would. */
static void simulate_pooled(memory *m, const convoy_model *model, const cvy_action *action) {
    const cvy_step *pool = model->steps[action->step].pool;
    const size_t p = (size_t)(pool - model->steps);
    assert_true(action->training || (action->out.block == 0 && action->pool_indices.block == 0));
    if (action->training)
        assert_true(same_place(action->pool_indices, m->plan->saved[p][0]));
    write_mark(m, action->pooled, pool->output);
    write_saved(m, model, p, action->training);
}

/* As training does it, or as evaluation. */
static void simulate_forward(memory *m, const convoy_model *model, const cvy_actions *actions) {
    const cvy_plan *plan = m->plan;
    write_mark(m, plan->input, 0);
    for (size_t i = 0; i < actions->count; i++) {
        const cvy_action *action = &actions->list[i];
        const cvy_step *step = &model->steps[action->step];
        const cvy_step *written = action->kind == CVY_DO_FOLDED ? step->fold : step;
        assert_true(action->training == (actions == &plan->train));
        assert_true(action->training || !step->auxiliary);
        if (action->kind == CVY_DO_COPY) {
            simulate_copy(m, model, action);
            continue;
        }
        if (action->kind == CVY_DO_FOLD) {
            write_saved(m, model, action->step, false);
            continue;
        }
        assert_true(holds_value(m, model, action->x, step->inputs[0]));
        if (action->kind == CVY_DO_ADD || action->kind == CVY_DO_PRODUCT)
            assert_true(holds_value(m, model, action->y, step->inputs[1]));
        if (action->kind == CVY_DO_FOLDED)
            for (int k = 0; k < 2; k++)
                assert_true(holds(m, plan->saved[action->step][k], -1.0 - 2 * (double)action->step - k));
        write_saved(m, model, action->step, action->training);
        if (action->kind == CVY_DO_POOLED)
            simulate_pooled(m, model, action);
        if (action->out.block > 0)
            write_mark(m, action->out, written->output);
        assert_true(holds_value(m, model, plan->input, 0));
    }
    assert_true(holds_value(m, model, plan->output, model->output));
    for (size_t i = 0; i < plan->auxiliary_count && actions == &plan->train; i++)
        assert_true(holds_value(m, model, plan->auxiliaries[i].output, model->auxiliaries[i].value));
}

/* The one number that stands in a range. */
static double read_mark(const memory *m, cvy_place place) {
    int arena;
    size_t begin;
    absolute(m, place, &arena, &begin);
    for (size_t i = 0; i < m->count; i++)
        if (m->marks[i].arena == arena && m->marks[i].begin <= begin && begin < m->marks[i].end) {
            assert_true(holds(m, place, m->marks[i].owner));
            return m->marks[i].owner;
        }
    fail_msg("nothing was written to what is read");
    return 0;
}

/* The derivative that step s stands for in the simulation. */
static double slope(size_t s) {
    return 1 + 1 / (double)(s + 3);
}

/* What each step must be given as the gradient of its output when every layer multiplies by its slope, from
   the graph alone. A fused activation changes the gradient of its one value, unless the layer before or
   behind it does. */
static double *expected_gradients(const convoy_model *model) {
    double *gradients = calloc((size_t)model->value_count, sizeof *gradients);
    double *of_step = calloc(model->step_count, sizeof *of_step);
    assert_non_null(gradients);
    assert_non_null(of_step);
    gradients[model->output] = 1e6;
    for (size_t i = 0; i < model->auxiliary_count; i++)
        gradients[model->auxiliaries[i].value] = 2e6;
    for (size_t s = model->step_count; s-- > 0;) {
        const cvy_step *step = &model->steps[s];
        of_step[s] = gradients[step->output];
        if (step->fused && !step->backward_elsewhere)
            gradients[step->output] *= slope(s);
        for (int i = 0; i < step->input_count && cvy_step_runs(step); i++)
            gradients[step->inputs[i]] += of_step[s] * (step->kind == CVY_STEP_LAYER ? slope(s) : 1);
    }
    free(gradients);
    return of_step;
}

static void simulate_layer_backward(memory *m, const convoy_model *model, const cvy_action *action,
                                    double expected) {
    const cvy_step *step = &model->steps[action->step];
    if (step->facts.backward_needs_x)
        assert_true(holds_value(m, model, action->x, step->inputs[0]));
    if (step->facts.backward_needs_y)
        assert_true(holds_value(m, model, action->y, step->output));
    for (int k = 0; k < CVY_LAYER_SAVED; k++)
        if (m->plan->saved[action->step][k].block > 0)
            assert_true(holds(m, m->plan->saved[action->step][k], -1.0 - 2 * (double)action->step - k));
    double gy = read_mark(m, action->gy);
    assert_true(fabs(gy - expected) < 1e-9 * expected);
    assert_true(action->input_gradient == (action->out.block > 0) || step->facts.backward_writes_gx);
    if (action->out.block > 0)
        write_mark(m, action->out, gy * slope(action->step));
}

/* What backward reads must still stand there, and every layer must be given its output's whole gradient. */
static void simulate_backward(memory *m, const convoy_model *model) {
    const cvy_plan *plan = m->plan;
    double *expected = expected_gradients(model);
    bool *done = calloc(model->step_count, sizeof *done);
    assert_non_null(done);
    write_mark(m, plan->output_gradient, 1e6);
    for (size_t i = 0; i < plan->auxiliary_count; i++)
        write_mark(m, plan->auxiliaries[i].gradient, 2e6);
    for (size_t i = 0; i < plan->backward.count; i++) {
        const cvy_action *action = &plan->backward.list[i];
        if (action->kind == CVY_DO_BACKWARD) {
            simulate_layer_backward(m, model, action, expected[action->step]);
            done[action->step] = true;
        } else {
            if (action->kind == CVY_DO_SUMS || action->kind == CVY_DO_PRODUCT) /* the other factor */
                assert_true(holds_value(m, model, action->y,
                                        model->steps[action->step].inputs[action->kind == CVY_DO_PRODUCT]));
            double sum = read_mark(m, action->x) + (action->kind == CVY_DO_ADD ? read_mark(m, action->y) : 0);
            write_mark(m, action->out, sum);
        }
        assert_true(holds_value(m, model, plan->output, model->output));
        assert_true(holds_value(m, model, plan->input, 0));
    }
    for (size_t s = 0; s < model->step_count; s++) /* every parameter has got its gradient */
        for (int t = 0; t < model->steps[s].facts.tensor_count; t++)
            assert_true(done[s] || model->steps[s].facts.tensors[t].role != CVY_TRAINABLE);
    free(done);
    free(expected);
}

/* Blocks that are alive together do not overlap, and lie aligned within their arenas. */
static void check_blocks(const cvy_plan *plan, size_t alignment, size_t limit) {
    for (size_t a = 0; a < plan->arena_count; a++)
        assert_true(plan->arena_bytes[a] <= limit);
    for (size_t i = 0; i < plan->block_count; i++) {
        const cvy_block *x = &plan->blocks[i];
        if (x->first > x->last)
            continue;
        assert_true(x->offset % alignment == 0);
        for (size_t j = 0; j < i; j++) {
            const cvy_block *y = &plan->blocks[j];
            bool together = y->first <= x->last && x->first <= y->last && y->arena == x->arena;
            if (together)
                assert_true(x->offset + x->bytes <= y->offset || y->offset + y->bytes <= x->offset);
        }
    }
}

static void check_places(const cvy_actions *actions, size_t alignment) {
    for (size_t i = 0; i < actions->count; i++) {
        const cvy_action *action = &actions->list[i];
        const cvy_place places[] = {action->x,   action->y,      action->gy,
                                    action->out, action->pooled, action->pool_indices};
        for (size_t k = 0; k < sizeof places / sizeof *places; k++)
            assert_true(places[k].block == 0 || action->kind == CVY_DO_COPY ||
                        places[k].offset % alignment == 0);
    }
}

static void simulate(memory *m, const convoy_model *model) {
    simulate_forward(m, model, &m->plan->evaluate);
    if (!m->plan->training) {
        assert_true(m->plan->train.count == 0 && m->plan->backward.count == 0);
        return;
    }
    simulate_forward(m, model, &m->plan->train);
    simulate_backward(m, model);
}

static void pool_all(cvy_plan *plan, const convoy_model *model) {
    for (size_t s = 0; s < model->step_count; s++) {
        if (!model->steps[s].pool)
            continue;
        const size_t evaluated = plan->evaluate.count, trained = plan->train.count;
        cvy_plan_pool(plan, model, s);
        assert_int_equal(plan->evaluate.count, evaluated - 1);
        assert_int_equal(plan->train.count, plan->training ? trained - 1 : 0);
    }
}

/* Bytes; `pools`: as if all convolutions that may pool did so. */
static size_t check_planned(const convoy_model *model, int pitch, bool training, size_t alignment,
                            size_t limit, bool pools) {
    cvy_plan *plan = NULL;
    assert_ok(cvy_plan_create(model, pitch, training, alignment, &plan));
    if (pools)
        pool_all(plan, model);
    assert_ok(cvy_plan_pack(plan, limit));
    memory *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->plan = plan;
    check_blocks(plan, alignment, limit);
    check_places(&plan->train, alignment);
    check_places(&plan->evaluate, alignment);
    check_places(&plan->backward, alignment);
    simulate(m, model);
    size_t bytes = cvy_plan_bytes(plan);
    free(m);
    cvy_plan_free(plan);
    return bytes;
}

static size_t check_plan(const convoy_model *model, int pitch, bool training, size_t alignment,
                         size_t limit) {
    const size_t bytes = check_planned(model, pitch, training, alignment, limit, false);
    check_planned(model, pitch, training, alignment, limit, true);
    return bytes;
}

static void plans_keep_what_is_needed(void **state) {
    (void)state;
    const char *const names[] = {"lenet",        "lenet5",       "mnist_cnn",         "digits_cnn",
                                 "alexnet",      "monkeypox_bn", "monkeypox_bn_deep", "resnet_mini",
                                 "densenet_mini"};
    const int pitches[] = {16, 48, 256};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char file[512];
        convoy_model *model = NULL;
        snprintf(file, sizeof file, "%s/models/%s.yaml", CONVOY_SOURCE_DIR, names[i]);
        assert_ok(convoy_model_load(file, NULL, &model));
        for (size_t p = 0; p < 3; p++)
            for (int training = 0; training < 2; training++)
                for (size_t alignment = 128; alignment <= 4096; alignment *= 32)
                    check_plan(model, pitches[p], training, alignment, (size_t)1 << 36);
        convoy_model_free(model);
    }
}

/* Random networks of residuals, concats, products, activations in place and aliases, nested up to three deep;
   every other one with a head for training on its way. All layers keep the shape, so that any can follow any.
 */
static void grow(cvy_text *text, cvy_rng *rng, int depth, int *channels) {
    static const char *const simple[] = {
        "ReLU",        "Tanh",       "Sigmoid",
        "BatchNorm2d", "Identity",   "Dropout",
        "Identity",    "ScaledTanh", "{MaxPool2d: {kernel_size: 3, stride: 1, padding: 1}}"};
    uint32_t layers = 1 + cvy_rng_below(rng, 4);
    for (uint32_t i = 0; i < layers; i++) {
        uint32_t kind = cvy_rng_below(rng, depth < 3 ? 8 : 4);
        cvy_text_add(text, "%s", i ? ", " : "");
        if (kind < 3) {
            cvy_text_add(text, "%s", simple[cvy_rng_below(rng, 9)]);
        } else if (kind == 3) {
            cvy_text_add(text, "{Conv2d: {out_channels: %d, kernel_size: 1}}", *channels);
        } else if (kind < 6) {
            int sides[2] = {*channels, *channels};
            cvy_text_add(text, "{Residual: {body: [");
            grow(text, rng, depth + 1, &sides[0]);
            cvy_text_add(text, ", {Conv2d: {out_channels: %d, kernel_size: 1}}], shortcut: [", *channels);
            if (cvy_rng_below(rng, 2)) {
                grow(text, rng, depth + 1, &sides[1]);
                cvy_text_add(text, ", {Conv2d: {out_channels: %d, kernel_size: 1}}", *channels);
            }
            cvy_text_add(text, "]}}");
        } else if (kind == 6) {
            int sides[2] = {*channels, *channels};
            for (int b = 0; b < 2; b++) {
                cvy_text_add(text, b ? "], [" : "{Product: [[");
                if (cvy_rng_below(rng, 3)) {
                    grow(text, rng, depth + 1, &sides[b]);
                    cvy_text_add(text, ", {Conv2d: {out_channels: %d, kernel_size: 1}}%s", *channels,
                                 b && cvy_rng_below(rng, 2) ? ", {AdaptiveAvgPool2d: {output_size: 1}}" : "");
                }
            }
            cvy_text_add(text, "]]}");
        } else {
            int sum = 0;
            cvy_text_add(text, "{Concat: [");
            for (uint32_t b = 0; b < 3; b++) {
                int branch = *channels;
                cvy_text_add(text, "%s[", b ? ", " : "");
                if (cvy_rng_below(rng, 3))
                    grow(text, rng, depth + 1, &branch);
                cvy_text_add(text, "]");
                sum += branch;
            }
            cvy_text_add(text, "]}, {Conv2d: {out_channels: %d, kernel_size: 1}}",
                         *channels = sum > 64 ? 1 : sum);
        }
    }
}

static void random_networks_keep_what_is_needed(void **state) {
    (void)state;
    for (uint32_t seed = 0; seed < 150; seed++) {
        cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_SYNTHETIC, 7);
        cvy_text text = {0};
        int channels = 2;
        cvy_text_add(&text, "input: [2, 3, 3]\nlayers: [");
        grow(&text, &rng, 0, &channels);
        if (seed % 2) {
            int head = channels;
            cvy_text_add(&text, ", {Auxiliary: {weight: 1, layers: [");
            grow(&text, &rng, 1, &head);
            cvy_text_add(&text, ", {Conv2d: {out_channels: 2, kernel_size: 1}}]}}, ");
            grow(&text, &rng, 1, &channels);
        }
        cvy_text_add(&text, ", {Conv2d: {out_channels: 2, kernel_size: 1}}]\n");
        convoy_model *model = test_model(text.data);
        for (int training = 0; training < 2; training++) {
            check_plan(model, 16, training, 64, (size_t)1 << 30);   /* parts of concats in place */
            check_plan(model, 16, training, 4096, (size_t)1 << 30); /* and copied */
        }
        cvy_text_free(&text);
        convoy_model_free(model);
    }
}

static size_t bytes_of_all_values(const convoy_model *model, int pitch) {
    size_t bytes = 0;
    for (int v = 0; v < model->value_count; v++)
        bytes += cvy_value_bytes(model->values[v], pitch);
    return bytes;
}

static void memory_is_shared(void **state) {
    (void)state;
    char file[512];
    convoy_model *model = NULL;
    snprintf(file, sizeof file, "%s/models/alexnet.yaml", CONVOY_SOURCE_DIR);
    assert_ok(convoy_model_load(file, NULL, &model));
    size_t values = bytes_of_all_values(model, 128), input = cvy_value_bytes(model->input, 128);
    size_t largest = cvy_value_bytes(model->values[1], 128), pooled = cvy_value_bytes(model->values[3], 128);
    size_t inference = check_plan(model, 128, false, 128, (size_t)1 << 36);
    assert_true(inference <=
                input + largest + pooled + (1 << 20)); /* conv1 with its ReLU in place, and pool1 */
    assert_true(check_plan(model, 128, true, 128, (size_t)1 << 36) < 2 * values);
    convoy_model_free(model);
}

/* Evaluation has no room for a map that is pooled at once. */
static void pooled_maps_need_no_room(void **state) {
    (void)state;
    convoy_model *model =
        test_model("input: [1, 12, 12]\nlayers: [{Conv2d: {out_channels: 8, kernel_size: 5}}, "
                   "ReLU, {MaxPool2d: {kernel_size: 2}}]\n");
    const size_t map = 8 * 8 * 8 * 16 * sizeof(float),
                 apart = check_planned(model, 16, false, 128, 1 << 30, false);
    assert_int_equal(check_planned(model, 16, false, 128, 1 << 30, true), apart - map);
    convoy_model_free(model);
}

static void arenas_respect_the_device(void **state) {
    (void)state;
    convoy_model *model =
        test_model("input: [1, 32, 32]\nlayers: [{Conv2d: {out_channels: 4, kernel_size: 1}}, Tanh, "
                   "{Conv2d: {out_channels: 4, kernel_size: 1}}, Tanh]\n");
    size_t tensor = 4 * 32 * 32 * 16 * 4;
    cvy_plan *plan = NULL;
    assert_ok(cvy_plan_create(model, 16, true, 128, &plan));
    assert_ok(cvy_plan_pack(plan, tensor));
    assert_true(plan->arena_count > 1);
    cvy_plan_free(plan);
    check_plan(model, 16, true, 128, tensor);
    assert_ok(cvy_plan_create(model, 16, true, 128, &plan));
    assert_fails(cvy_plan_pack(plan, tensor - 1), CONVOY_MEMORY, "one tensor needs 0.3 MB");
    cvy_plan_free(plan);
    convoy_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_keep_what_is_needed), cmocka_unit_test(random_networks_keep_what_is_needed),
        cmocka_unit_test(memory_is_shared),          cmocka_unit_test(pooled_maps_need_no_room),
        cmocka_unit_test(arenas_respect_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
