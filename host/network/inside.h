/* The inside of a network, shared by network.c (making one), needs.c and memory.c (what it needs), bind.c
   (which gives its actions their buffers), walk.c (running it) and time_layers.c. */
#ifndef CVY_NETWORK_INSIDE_H
#define CVY_NETWORK_INSIDE_H

#include "network/network.h"
#include "network/plan.h"
#include "ops/elementwise.h"
#include "ops/product.h"
#include "ops/verify.h"

/* An action with all that it takes to run it. */
typedef struct cvy_bound_action {
    const cvy_action *action;
    convoy_status (*call)(void *state, const cvy_layer_run *run); /* of a layer */
    void *state;
    cvy_layer_run run;   /* everything but what one call says */
    cvy_buffer *out;     /* of a sum or a copy */
    cvy_elementwise add; /* CVY_DO_ADD */
    cvy_product product; /* CVY_DO_PRODUCT and CVY_DO_SUMS */
} cvy_bound_action;

/* A step made ready on the device. */
typedef struct cvy_bound_step {
    void *state;
    void *folded_state; /* of a convolution in evaluation with a batch-norm folded into it */
    cvy_layer_setup setup, folded;
    bool pooled;       /* a pooling whose forward a convolution does */
    cvy_layer_run run; /* tensors, gradients, masks, all that is saved, and the workspace */
    char *variant;     /* for bench, filled in when asked */
} cvy_bound_step;

/* Where a tensor lies in the parameter buffer, in floats; its mask too, or SIZE_MAX. */
typedef struct cvy_tensor_place {
    size_t offset, mask_offset;
} cvy_tensor_place;

/* How the parameter buffer is divided: what learns, group by group; frozen tensors that have a gradient all
   the same; the rest. In floats, gaps included, but for `bytes`, of all. */
typedef struct cvy_layout {
    cvy_range groups[CVY_GROUPS];
    size_t learnt, gradients, bytes;
} cvy_layout;

/* A view and where it looks, so that equal places share one buffer object. */
typedef struct cvy_view {
    cvy_buffer *parent, *buffer;
    size_t offset, bytes;
} cvy_view;

struct convoy_network {
    cvy_arena *memory;
    convoy_model *model;
    convoy_device *device; /* NULL where nothing but its plan is asked for */
    const cvy_device_traits *traits;
    cvy_network_options options;
    cvy_forced forced;
    int pitch;
    cvy_plan *plan;
    cvy_bound_step *steps;
    cvy_bound_action *train, *evaluate, *backward; /* of the plan's lists */
    cvy_tensor_place *tensors;
    cvy_layout layout;
    size_t workspace_bytes;
    cvy_sizes beside; /* of options.beside */
    cvy_buffer **arenas;
    cvy_buffer *parameters, *gradients, *workspace;
    cvy_view *views;
    size_t view_count;
    cvy_buffer *input, *output, *output_gradient;
    cvy_network_head *heads;  /* [plan->auxiliary_count] */
    int64_t *batches_tracked; /* [step] */
    int forward_n;            /* of the last training forward; 0: none */
    uint32_t forward_step;
    cvy_child ahead; /* which builds kernels from the other end */
    bool ahead_asked;
    cvy_trace *watch;       /* NULL: nobody looks */
    cvy_observer *observer; /* NULL: nobody sees what it makes */
    void *observer_context;
    cvy_backward_listener *listener; /* NULL: nobody hears of its backward pass */
    void *listener_context;
    cvy_verifier *verifier;    /* NULL: nothing is computed once more */
    unsigned long long slices; /* of those results of which a part is, so far */
};

/* What one call says. */
typedef struct cvy_walk {
    int n;
    bool accumulate;
    bool frozen; /* a training network does what evaluation does */
    uint32_t step;
} cvy_walk;

/* A network to plan or to make: of the caller are its closing and, while it lives, the options. */
convoy_status cvy_network_begin(convoy_model *model, const cvy_device_traits *traits, convoy_device *device,
                                const cvy_network_options *options, convoy_network **network);

/* Does the step run a layer? */
static inline bool cvy_step_has_layer(const cvy_step *step) {
    return step->kind == CVY_STEP_LAYER && !step->facts.alias;
}
/* And does the network? */
static inline bool cvy_network_has_layer(const convoy_network *network, const cvy_step *step) {
    return cvy_step_has_layer(step) && cvy_step_planned(network->model, step, network->options.training);
}
/* What the step's layer will choose variants for; how many. */
int cvy_network_step_tasks(const convoy_network *network, size_t s, cvy_task tasks[CVY_LAYER_TASKS]);

/* Says what each layer is to do, finds out what it needs, and plans with that: nothing is built or allocated.
   Whatever was planned before is forgotten. */
convoy_status cvy_network_describe(convoy_network *network);
/* Plans again, with the needs that the setups have now. */
convoy_status cvy_network_plan_again(convoy_network *network);
/* CONVOY_MEMORY where the device is too small for the plan; `planned`: what planning came to. */
convoy_status cvy_network_check_fit(const convoy_network *network, convoy_status planned);
/* `places` (or NULL) receives where the tensors lie. */
cvy_layout cvy_network_lay_out(const convoy_model *model, const cvy_device_traits *traits,
                               cvy_tensor_place *places);
/* Is there a gradient of this tensor? */
static inline bool cvy_tensor_has_gradient(const convoy_model *model, const cvy_model_tensor *tensor) {
    return tensor->about->role == CVY_TRAINABLE && (!tensor->frozen || model->steps[tensor->step].reached);
}

/* Gives steps and actions their buffers and prepares sums, once everything is allocated. */
convoy_status cvy_network_bind(convoy_network *network);
void cvy_network_unbind(convoy_network *network);

/* Has a child process build kernels beside this one (ahead.c), once, where the driver is seen to compile. */
void cvy_network_build_ahead(convoy_network *network);
/* What the layer of a step that was opened says of itself, `folded`: as the one that evaluation runs; nothing
   where it says nothing. report.variant is the caller's. */
cvy_layer_report cvy_network_report(const convoy_network *network, size_t s, bool folded);
/* walk.c: an action, with all who look at it. */
convoy_status cvy_network_do(convoy_network *network, const cvy_bound_action *bound, const cvy_walk *walk);
/* "layer 3 (Conv2d, direct_cpu)" */
void cvy_network_name(const convoy_network *network, const cvy_bound_action *bound, cvy_text *text);
/* verify.c: runs one action, a result of which the host may compute once more, where it is its turn. */
convoy_status cvy_network_run_verified(convoy_network *network, const cvy_bound_action *bound,
                                       const cvy_walk *walk);
/* observe.c: shows what an action has made. */
convoy_status cvy_network_show(convoy_network *network, const cvy_bound_action *bound, int n);
/* trace.c: for a network that is watched, before an action and after it. */
convoy_status cvy_network_look_before(convoy_network *network, const cvy_bound_action *bound);
convoy_status cvy_network_look(convoy_network *network, const cvy_bound_action *bound, int n);

/* Runs one action. */
convoy_status cvy_network_run(convoy_network *network, const cvy_bound_action *bound, const cvy_walk *walk);

#endif
