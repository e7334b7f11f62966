/* Ops with variants: several ways to compute the same, of which one is chosen for each shape and device. An
   op is a `cvy_op`, a row of cvy_ops, and each of its variants a `cvy_variant`; the choice is the same for
   all of them: forced by the user, else measured (choice.h), else preferred. One that cannot be made ready is
   set aside, and the next one serves. tune/ and the command know ops by these tables only. */
#ifndef CVY_OPS_VARIANTS_H
#define CVY_OPS_VARIANTS_H

#include <stdalign.h>

#include "ops/choice.h"
#include "ops/op.h"

enum {
    CVY_SHAPE_BYTES = 96,
    CVY_VARIANTS_LIMIT = 32, /* of an op, and settings of an option */
    CVY_OPS_LIMIT = 8,
    CVY_OP_INPUTS = 3,
    CVY_OP_OUTPUTS = 2
};

/* One pass of one shape on one device: what variants are asked about. */
typedef struct cvy_job {
    convoy_device *device;           /* NULL where it only describes: then nothing is known but traits */
    const cvy_device_traits *traits; /* of the device */
    const void *shape;               /* of the op's own type */
    int pass;
    size_t room;    /* bytes that the workspace should not pass, if the variant has the choice */
    bool describes; /* only the needs are asked for: nothing is built */
} cvy_job;
cvy_job cvy_job_of(convoy_device *device, const void *shape, int pass);
cvy_job cvy_job_on(const cvy_device_traits *traits, convoy_device *device, const void *shape, int pass);

/* What is known of a variant before anything is built. */
typedef struct cvy_needs {
    size_t workspace; /* bytes */
    bool fuses;       /* run does what the shape has behind the op too: conv2d's pooling, gemm's activation */
} cvy_needs;

/* A setting of a variant that holds for a whole device. It is found by measuring, as variants are. */
typedef struct cvy_variant_option {
    const char *const *names; /* of its values, NULL-terminated; the first one is what it has of its own */
    /* Uses a value from now on, whatever was measured. CONVOY_INVALID where that takes a new process. */
    convoy_status (*use)(convoy_device *device, const char *name);
    const char *(*current)(convoy_device *device);
} cvy_variant_option;

typedef enum cvy_made_for { CVY_FOR_ALL, CVY_FOR_CPUS, CVY_FOR_GPUS } cvy_made_for;

typedef struct cvy_variant {
    const char *name;
    cvy_made_for made_for; /* it may run elsewhere, but is not preferred there */
    bool (*supports)(const cvy_job *job);
    /* Is it the best choice for a job that it supports? NULL: always, if those before it are not. */
    bool (*pays)(const cvy_job *job);
    size_t state_size;
    /* Fills in the needs, and unless the job only describes, makes a zeroed state ready to run. The needs are
       the same either way, but where a part of the variant was set aside meanwhile. */
    convoy_status (*prepare)(const cvy_job *job, void *state, cvy_needs *needs);
    convoy_status (*run)(void *state, const void *operands);
    void (*release)(void *state); /* what the state owns beside itself, built or not; NULL: nothing */
    const cvy_variant_option *option;
} cvy_variant;

/* Floats of the tensors that a pass reads and writes, 0 where there is none. */
typedef struct cvy_op_tensors {
    size_t inputs[CVY_OP_INPUTS], outputs[CVY_OP_OUTPUTS];
    bool accumulates; /* it can add to what is there */
} cvy_op_tensors;

typedef struct cvy_op_buffers {
    cvy_buffer *inputs[CVY_OP_INPUTS], *outputs[CVY_OP_OUTPUTS], *workspace; /* NULL where there is none */
    bool accumulate;
} cvy_op_buffers;

struct cvy_prepared;

typedef struct cvy_op {
    const char *name;                   /* of its folders in host/ops and kernels, too */
    const char *alias;                  /* another name to force its variants by, or NULL */
    const char *const *passes;          /* names, NULL-terminated */
    const cvy_variant *const *variants; /* the preferred one first; NULL-terminated */
    size_t shape_size;                  /* at most CVY_SHAPE_BYTES */
    bool replaces; /* a run that fails leaves its outputs as they were: another variant takes over */
    /* What the choice of a variant depends on, as a word for files and the command line. */
    void (*write)(const void *shape, char text[CVY_SHAPE_TEXT]);
    bool (*read)(const char *text, void *shape);
    cvy_cost (*cost)(const void *shape, int pass);
    /* For checking and timing variants. `shrink` makes small shapes that take the same paths, one for each
       `cut` from 0 on; false: there are no more. */
    bool (*shrink)(const void *shape, int cut, void *small);
    void (*tensors)(const void *shape, int pass, cvy_op_tensors *tensors);
    void (*reference)(const cvy_job *job, float *const *inputs, float *const *outputs, bool accumulate);
    convoy_status (*run)(struct cvy_prepared *prepared, const cvy_op_buffers *buffers);
} cvy_op;

/* Every op with variants; NULL-terminated. */
extern const cvy_op *const cvy_ops[];
const cvy_op *cvy_op_find(const char *name); /* by its alias too; NULL: none */
const cvy_variant *cvy_variant_find(const cvy_op *op, const char *name);

/* ---- What the user forces ---- */

/* For each row of cvy_ops the variant that is forced, or NULL. */
typedef struct cvy_forced {
    const cvy_variant *variants[CVY_OPS_LIMIT];
} cvy_forced;

/* Reads "conv2d=im2col_gemm,gemm=clblast"; NULL or "": nothing is forced. */
convoy_status cvy_forced_read(const char *text, cvy_forced *forced);
const cvy_variant **cvy_forced_of(cvy_forced *forced, const cvy_op *op);
const char *cvy_forced_name(const cvy_forced *forced, const cvy_op *op); /* NULL: none */
/* CONVOY_INVALID where the op has no variant of that name, CONVOY_DEVICE where it supports none of the jobs.
 */
convoy_status cvy_forced_check(const cvy_op *op, const char *forced, const cvy_job *jobs, size_t count);

/* ---- A pass with the variant that runs it ---- */

typedef struct cvy_prepared {
    const cvy_op *op;
    cvy_job job;
    const cvy_variant *variant; /* NULL: none was chosen */
    cvy_origin origin;
    cvy_needs needs;
    void *state; /* NULL until it is opened */
} cvy_prepared;

/* Chooses only. `forced`: a variant's name, which serves the jobs that it supports; or NULL. CONVOY_DEVICE:
   no variant is left. */
convoy_status cvy_prepared_choose(const cvy_op *op, const cvy_job *job, const char *forced,
                                  cvy_prepared *prepared);
/* Chooses, finds out the needs, and unless the job only describes, makes it ready to run; the shape must live
   on. The needs are those that were described, unless a variant turned out bad in between. */
convoy_status cvy_prepared_open(const cvy_op *op, const cvy_job *job, const char *forced,
                                cvy_prepared *prepared);
/* `operands`: of the op's own type. */
convoy_status cvy_prepared_run(cvy_prepared *prepared, const void *operands);
void cvy_prepared_close(cvy_prepared *prepared); /* zeroed is allowed */

/* What is run from here on by this thread is noted, but not what runs within it. */
enum { CVY_NOTED = 4 };
typedef struct cvy_noted {
    cvy_prepared *list[CVY_NOTED];
    size_t count;
} cvy_noted;
void cvy_prepared_note(cvy_noted *noted); /* NULL: no more */
/* In the place of a variant that computed wrong values, the next one that makes do with its workspace; the
   wrong one is set aside in this run, with a warning. CONVOY_DEVICE: there is none, or it is forced. */
convoy_status cvy_prepared_replace(cvy_prepared *prepared, const char *reason);

/* ---- Tasks ---- */

/* What there is to choose a variant for; or, with `option_of`, a device-wide setting of that variant. */
typedef struct cvy_task {
    const cvy_op *op;
    int pass;
    const cvy_variant *option_of; /* or NULL */
    alignas(max_align_t) unsigned char shape[CVY_SHAPE_BYTES];
    double flops; /* of one run */
    double work;  /* the same, or what it could do in the time of moving its bytes where that is longer */
    int uses;     /* runs in a step of the network */
} cvy_task;

cvy_task cvy_task_of(const cvy_op *op, const void *shape, int pass);
/* The task in words: those of the store. */
cvy_key cvy_task_key(const cvy_task *task);
bool cvy_task_read(const cvy_key *key, cvy_task *task); /* false: there is none */
/* Adds to the uses of an equal task in the list; false: there is none. */
bool cvy_task_merge(cvy_task *list, size_t count, const cvy_task *task);
cvy_job cvy_task_job(convoy_device *device, const cvy_task *task);

/* Is a variant worth measuring? */
typedef enum cvy_fit {
    CVY_FIT_LIKELY,   /* the heuristics would take it, at least where those before it fail */
    CVY_FIT_POSSIBLE, /* it runs here */
    CVY_FIT_FOREIGN   /* it runs here, but is made for another kind of device */
} cvy_fit;

typedef struct cvy_candidate_variant {
    const char *name;
    cvy_fit fit;
} cvy_candidate_variant;

/* Variants that could run the task (or values of its option), at most CVY_VARIANTS_LIMIT, the preferred one
   first. */
size_t cvy_task_candidates(convoy_device *device, const cvy_task *task, cvy_candidate_variant *candidates);

#endif
