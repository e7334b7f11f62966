/* The gemm variant "clblast": the CLBlast library, which knows the tile sizes that many GPUs like. Its
   temporaries come from the op's workspace; its programs live in a cache of its own, emptied when the device
   closes. */
#include <clblast_c.h>
#include <pthread.h>
#include <string.h>

#include "base/integer.h"
#include "device/opencl.h"
#include "ops/gemm/variant.h"

/* Codes above OpenCL's own range; CLBlast passes OpenCL's through. */
static const struct {
    int code;
    const char *name;
} codes[] = {
    {CLBlastNotImplemented, "not implemented"},
    {CLBlastInvalidMatrixA, "matrix A is not a valid buffer"},
    {CLBlastInvalidMatrixB, "matrix B is not a valid buffer"},
    {CLBlastInvalidMatrixC, "matrix C is not a valid buffer"},
    {CLBlastInvalidDimension, "m, n and k must be larger than zero"},
    {CLBlastInvalidLeadDimA, "leading dimension of A is too small"},
    {CLBlastInvalidLeadDimB, "leading dimension of B is too small"},
    {CLBlastInvalidLeadDimC, "leading dimension of C is too small"},
    {CLBlastInsufficientMemoryA, "the buffer of A is too small"},
    {CLBlastInsufficientMemoryB, "the buffer of B is too small"},
    {CLBlastInsufficientMemoryC, "the buffer of C is too small"},
    {CLBlastInsufficientMemoryTemp, "the workspace is too small"},
    {CLBlastInvalidLocalMemUsage, "its kernels need more local memory than the device has"},
    {CLBlastDatabaseError, "no tuning entry for this device"},
    {CLBlastUnknownError, "unknown error"},
    {CLBlastUnexpectedError, "unexpected exception"},
};

static convoy_status fail(const cvy_gemm_shape *s, CLBlastStatusCode status) {
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].code == (int)status)
            return cvy_fail(CONVOY_DEVICE, "CLBlast's gemm of %zux%zux%zu: %s (%d)", s->m, s->n, s->k,
                            codes[i].name, (int)status);
    return cvy_fail_opencl((cl_int)status, "CLBlast's gemm of %zux%zux%zu", s->m, s->n, s->k);
}

/* As which its kernels count, whichever they are. */
static char file[] = "gemm/clblast", function[] = "Xgemm";
static const cvy_kernel product = {.file = file, .function = function};

static void clear_cache(void) {
    CLBlastClearCache();
}

/* ---- Parameters ---- */

/* CLBlast's database leaves out many devices, which then run with parameters that suit none. Each of these
   sets is good for some kind of device; measuring finds out which is best on the one at hand. The first is
   CLBlast's own choice. Programs are kept by their parameters' values, so that a new set counts at once. */
enum { XGEMM = 16, DIRECT = 10 };

static const char *const xgemm_names[XGEMM] = {"GEMMK", "KREG",  "KWG",   "KWI", "MDIMA", "MDIMC",
                                               "MWG",   "NDIMB", "NDIMC", "NWG", "SA",    "SB",
                                               "STRM",  "STRN",  "VWM",   "VWN"};
static const char *const direct_names[DIRECT] = {"KWID", "MDIMAD", "MDIMCD", "NDIMBD", "NDIMCD",
                                                 "PADA", "PADB",   "VWMD",   "VWND",   "WGD"};
static const char *const routine_names[1] = {"XGEMM_MIN_INDIRECT_SIZE"};

typedef struct parameter_set {
    const char *name;
    size_t xgemm[XGEMM], direct[DIRECT], routine[1];
} parameter_set;

static const parameter_set sets[] = {
    {.name = "default"},
    {"local_128",
     {0, 1, 32, 2, 16, 16, 128, 16, 16, 128, 1, 1, 1, 0, 4, 2},
     {2, 8, 8, 8, 8, 1, 1, 2, 2, 32},
     {192}},
    {"local_64",
     {0, 1, 16, 2, 16, 16, 64, 16, 16, 64, 1, 1, 0, 0, 4, 4},
     {2, 8, 8, 8, 8, 1, 1, 2, 2, 32},
     {192}},
    {"plain_64", {0, 1, 16, 2, 8, 8, 64, 8, 8, 64, 0, 0, 0, 0, 4, 4}, {2, 8, 8, 8, 8, 1, 1, 4, 4, 32}, {128}},
    {"plain_128",
     {0, 1, 32, 2, 16, 8, 128, 8, 8, 64, 0, 0, 0, 0, 4, 4},
     {2, 8, 8, 8, 8, 1, 1, 2, 2, 32},
     {128}},
    {"tiles_64", {1, 4, 1, 1, 8, 8, 64, 8, 8, 64, 0, 0, 0, 0, 4, 4}, {2, 8, 8, 8, 8, 1, 1, 4, 4, 32}, {128}},
};
enum { SETS = sizeof sets / sizeof *sets };

static const char *const set_names[] = {"default",   "local_128", "local_64", "plain_64",
                                        "plain_128", "tiles_64",  NULL};
_Static_assert(sizeof set_names / sizeof *set_names == SETS + 1, "a name for each set");

/* What CLBlast was told about a device, which holds for the process, as CLBlast's own memory of it does. */
typedef struct telling {
    cl_device_id device;
    const parameter_set *set; /* NULL: nothing */
    bool built;               /* the program with these parameters */
    bool fixed;               /* by a measurement: what the store says does not count */
} telling;

enum { DEVICES = 16 }; /* beyond them the last one is told anew each time */
static telling tellings[DEVICES];
static pthread_mutex_t tellings_lock = PTHREAD_MUTEX_INITIALIZER;

static telling *told_of(const convoy_device *device) {
    telling *t = tellings;
    while (t->device && t->device != device->id && t < tellings + DEVICES - 1)
        t++;
    if (t->device != device->id)
        *t = (telling){.device = device->id};
    return t;
}

static CLBlastStatusCode override(cl_device_id id, const char *kernel, size_t count, const char *const *names,
                                  const size_t *values) {
    return CLBlastOverrideParameters(id, kernel, CLBlastPrecisionSingle, count, (const char **)names, values);
}

static convoy_status tell(telling *told, const parameter_set *set) {
    if (told->set == set)
        return CONVOY_OK;
    if (set == &sets[0])
        return !told->set ? CONVOY_OK
                          : cvy_fail(CONVOY_INVALID,
                                     "CLBlast's own parameters are lost in a process that used \"%s\"",
                                     told->set->name);
    CLBlastStatusCode status = override(told->device, "Xgemm", XGEMM, xgemm_names, set->xgemm);
    if (status == CLBlastSuccess)
        status = override(told->device, "XgemmDirect", DIRECT, direct_names, set->direct);
    if (status == CLBlastSuccess)
        status = override(told->device, "GemmRoutine", 1, routine_names, set->routine);
    if (status != CLBlastSuccess)
        return cvy_fail(CONVOY_DEVICE, "CLBlast refuses the parameters \"%s\" (%d)", set->name, (int)status);
    told->set = set;
    told->built = false;
    return CONVOY_OK;
}

static convoy_status use_set(convoy_device *device, const char *name) {
    convoy_status status = cvy_fail(CONVOY_INVALID, "CLBlast has no parameters \"%s\"", name);
    pthread_mutex_lock(&tellings_lock);
    telling *told = told_of(device);
    for (size_t i = 0; i < SETS; i++)
        if (!strcmp(set_names[i], name)) {
            told->fixed = true;
            status = tell(told, &sets[i]);
        }
    pthread_mutex_unlock(&tellings_lock);
    return status;
}

static const char *current_set(convoy_device *device) {
    pthread_mutex_lock(&tellings_lock);
    const telling *told = told_of(device);
    const char *name = told->set ? told->set->name : set_names[0];
    pthread_mutex_unlock(&tellings_lock);
    return name;
}

static const cvy_variant_option parameters = {.names = set_names, .use = use_set, .current = current_set};

static CLBlastTranspose transposed(bool yes) {
    return yes ? CLBlastTransposeYes : CLBlastTransposeNo;
}

/* The most that a set pads to. */
static size_t padded(size_t count) {
    return round_up(count, 128);
}

/* CLBlast counts floats in 32 bits: those in front of each element of a matrix, and those of its copies. */
static bool counts(const cvy_gemm_shape *s, size_t a_offset, size_t b_offset, size_t c_offset) {
    const size_t m = padded(s->m), n = padded(s->n), k = padded(s->k), most = INT32_MAX;
    return m <= most && n <= most && k <= most && s->lda <= most && s->ldb <= most && s->ldc <= most &&
           a_offset + (s->transpose_a ? s->k : s->m) * s->lda <= most &&
           b_offset + (s->transpose_b ? s->n : s->k) * s->ldb <= most && c_offset + s->m * s->ldc <= most &&
           m * k + k * n + m * n <= most;
}

static bool supports(const cvy_job *job) {
    const cvy_device_traits *traits = job->traits;
    /* The kernels that pad matrices want groups of 256 whatever the parameters are, "local_128" 32 KiB. */
    return !traits->host && traits->max_work_group >= 256 && traits->local_memory >= 32 << 10 &&
           counts(job->shape, 0, 0, 0);
}

/* A product of one value, which has CLBlast build the program of all its products. */
static convoy_status build_program(convoy_device *device) {
    const cvy_gemm_shape one = {.m = 1, .n = 1, .k = 1};
    cl_command_queue queue = cvy_device_queue(device);
    cvy_buffer *values = NULL;
    convoy_status status = cvy_buffer_create(device, 3 * sizeof(float), "a first product", &values);
    if (status)
        return status;
    cl_mem memory = cvy_buffer_memory(values);
    cvy_call_begins(device, "CLBlastSgemm");
    CLBlastStatusCode code =
        CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo, 1, 1, 1, 1.0f, memory, 0,
                     1, memory, 1, 1, 0.0f, memory, 2, 1, &queue, NULL);
    cvy_call_is_over(device, code);
    status = code == CLBlastSuccess ? cvy_device_finish(device) : fail(&one, code);
    cvy_buffer_free(values);
    return status;
}

/* What measuring says about the parameters. */
static const cvy_key all_products = {.op = "gemm", .pass = "clblast", .shape = "*"};

/* The set of this rank: what measured best, CLBlast's own, the others. NULL: not now. Where CLBlast's own is
   to follow another set, that stays: both are right. */
static const parameter_set *ranked(convoy_device *device, const telling *told, size_t rank) {
    const char *best = cvy_choice_find(device, &all_products);
    const parameter_set *set = rank ? &sets[rank - 1] : NULL;
    for (size_t i = 0; !rank && best && i < SETS; i++)
        if (!strcmp(sets[i].name, best))
            set = &sets[i];
    if (set == &sets[0] && told->set)
        set = told->set;
    return set && !cvy_choice_aside(device, &all_products, set->name) ? set : NULL;
}

/* Tells CLBlast the best set that builds. */
static convoy_status choose_set(convoy_device *device, telling *told) {
    for (size_t rank = 0; rank <= SETS && !told->fixed; rank++) {
        const parameter_set *set = ranked(device, told, rank);
        if (set && told->built && set == (told->set ? told->set : &sets[0]))
            return CONVOY_OK;
        convoy_status status = set ? tell(told, set) : CONVOY_OK;
        if (set && !status)
            status = build_program(device);
        if (status && status != CONVOY_DEVICE)
            return status;
        if (status) {
            cvy_choice_set_aside(
                device, &all_products,
                &(cvy_aside){.variant = set->name, .reason = convoy_error_message(), .all_shapes = true});
        } else if (set) {
            told->built = true;
            return CONVOY_OK;
        }
    }
    return told->fixed ? CONVOY_OK
                       : cvy_fail(CONVOY_DEVICE, "CLBlast builds with none of its parameters on this device");
}

/* ---- The row of the table ---- */

typedef struct state {
    convoy_device *device;
    cvy_gemm_shape shape;
    cvy_kernel *sum;
} state;

/* What CLBlast asks for depends on its parameters, which this device may not have chosen yet: at most padded
   copies of all three matrices. Its steps along k are no longer than 32. */
static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    state *p = prepared;
    p->device = job->device;
    p->shape = *(const cvy_gemm_shape *)job->shape;
    const size_t m = padded(p->shape.m), n = padded(p->shape.n), k = round_up(p->shape.k, 32);
    needs->workspace = (m * k + k * n + m * n) * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    cvy_device_on_close(job->device, clear_cache);
    pthread_mutex_lock(&tellings_lock);
    convoy_status status = choose_set(job->device, told_of(job->device));
    pthread_mutex_unlock(&tellings_lock);
    return status ? status : cvy_kernel_get_simple(job->device, "gemm/sum", "gemm_sum", &p->sum);
}

/* CLBlast refuses before it writes C; the bias comes last, so that C is then as it was. */
static convoy_status run(void *prepared, const void *given) {
    const state *p = prepared;
    const cvy_gemm_operands *operands = given;
    const cvy_gemm_shape *s = &p->shape;
    if (!counts(s, operands->a_offset, operands->b_offset, operands->c_offset))
        return cvy_fail(CONVOY_DEVICE,
                        "CLBlast's gemm of %zux%zux%zu: offsets of %zu, %zu and %zu floats are "
                        "beyond its 32 bits",
                        s->m, s->n, s->k, operands->a_offset, operands->b_offset, operands->c_offset);
    cl_command_queue queue = cvy_device_queue(p->device);
    p->device->latest = &product;
    cvy_call_begins(p->device, "CLBlastSgemm");
    CLBlastStatusCode status = CLBlastSgemmWithTempBuffer(
        CLBlastLayoutRowMajor, transposed(s->transpose_a), transposed(s->transpose_b), s->m, s->n, s->k, 1.0f,
        cvy_buffer_memory(operands->a), operands->a_offset, s->lda, cvy_buffer_memory(operands->b),
        operands->b_offset, s->ldb, operands->accumulate ? 1.0f : 0.0f, cvy_buffer_memory(operands->c),
        operands->c_offset, s->ldc, &queue, NULL, cvy_buffer_memory(operands->workspace));
    cvy_call_is_over(p->device, status);
    if (status != CLBlastSuccess)
        return fail(s, status);
    cvy_gemm_operands then = *operands;
    then.accumulate = true;
    return operands->bias ? cvy_gemm_add_parts(p->sum, s, &then, NULL, 0) : CONVOY_OK;
}

const cvy_variant cvy_gemm_clblast = {.name = "clblast",
                                      .made_for = CVY_FOR_GPUS,
                                      .supports = supports,
                                      .state_size = sizeof(state),
                                      .prepare = prepare,
                                      .run = run,
                                      .option = &parameters};
