/* The gemm variant "clblast": the CLBlast library, which knows the tile sizes that many GPUs like. Its
   temporaries come from the op's workspace; its programs live in a cache of its own, emptied when the device
   closes. */
#include <clblast_c.h>
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

/* What CLBlast was told, which holds for the process. */
static struct {
    cl_device_id device;
    const parameter_set *set; /* NULL: nothing */
    bool built;               /* the program with these parameters */
    bool fixed;               /* by a measurement: what the store says does not count */
} told;

const char *const *cvy_clblast_sets(void) {
    static const char *names[SETS + 1];
    for (size_t i = 0; i < SETS; i++)
        names[i] = sets[i].name;
    return names;
}

static CLBlastStatusCode override(cl_device_id id, const char *kernel, size_t count, const char *const *names,
                                  const size_t *values) {
    return CLBlastOverrideParameters(id, kernel, CLBlastPrecisionSingle, count, (const char **)names, values);
}

static convoy_status tell(cl_device_id id, const parameter_set *set) {
    if (told.device == id && told.set == set)
        return CONVOY_OK;
    if (set == &sets[0])
        return !told.set ? CONVOY_OK
                         : cvy_fail(CONVOY_INVALID,
                                    "CLBlast's own parameters are lost in a process that used \"%s\"",
                                    told.set->name);
    CLBlastStatusCode status = override(id, "Xgemm", XGEMM, xgemm_names, set->xgemm);
    if (status == CLBlastSuccess)
        status = override(id, "XgemmDirect", DIRECT, direct_names, set->direct);
    if (status == CLBlastSuccess)
        status = override(id, "GemmRoutine", 1, routine_names, set->routine);
    if (status != CLBlastSuccess)
        return cvy_fail(CONVOY_DEVICE, "CLBlast refuses the parameters \"%s\" (%d)", set->name, (int)status);
    told.device = id;
    told.set = set;
    told.built = false;
    return CONVOY_OK;
}

convoy_status cvy_clblast_use(convoy_device *device, const char *name) {
    for (size_t i = 0; i < SETS; i++)
        if (!strcmp(sets[i].name, name)) {
            told.fixed = true;
            return tell(device->id, &sets[i]);
        }
    return cvy_fail(CONVOY_INVALID, "CLBlast has no parameters \"%s\"", name);
}

const char *cvy_clblast_set(void) {
    return told.set ? told.set->name : sets[0].name;
}

cvy_task cvy_clblast_task(const cvy_gemm_shape *product) {
    cvy_task task = cvy_gemm_task(product);
    task.op = "clblast";
    task.pass = "parameters";
    return task;
}

static CLBlastTranspose transposed(bool yes) {
    return yes ? CLBlastTransposeYes : CLBlastTransposeNo;
}

static bool preferred(const cvy_device_traits *traits) {
    return !traits->host;
}

static size_t padded(size_t count) {
    return round_up(count, 128); /* the most that a set pads to */
}

/* CLBlast counts floats in 32 bits: those in front of each element of a matrix, and those of its copies. */
static bool counts(const cvy_gemm_shape *s, size_t a_offset, size_t b_offset, size_t c_offset) {
    const size_t m = padded(s->m), n = padded(s->n), k = padded(s->k), most = INT32_MAX;
    return m <= most && n <= most && k <= most && s->lda <= most && s->ldb <= most && s->ldc <= most &&
           a_offset + (s->transpose_a ? s->k : s->m) * s->lda <= most &&
           b_offset + (s->transpose_b ? s->n : s->k) * s->ldb <= most && c_offset + s->m * s->ldc <= most &&
           m * k + k * n + m * n <= most;
}

static bool supports(const cvy_device_traits *traits, const cvy_gemm_shape *shape) {
    /* The kernels that pad matrices want groups of 256 whatever the parameters are, "local_128" 32 KiB. */
    return !traits->host && traits->max_work_group >= 256 && traits->local_memory >= 32 << 10 &&
           counts(shape, 0, 0, 0);
}

/* A product of one value, which has CLBlast build the program of all its products. */
static convoy_status build(convoy_device *device) {
    const cvy_gemm_shape one = {.m = 1, .n = 1, .k = 1};
    cl_command_queue queue = cvy_device_queue(device);
    cvy_buffer *values = NULL;
    convoy_status status = cvy_buffer_create(device, 3 * sizeof(float), "a first product", &values);
    if (status)
        return status;
    cl_mem memory = cvy_buffer_memory(values);
    CLBlastStatusCode code =
        CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo, 1, 1, 1, 1.0f, memory, 0,
                     1, memory, 1, 1, 0.0f, memory, 2, 1, &queue, NULL);
    status = code == CLBlastSuccess ? cvy_device_finish(device) : fail(&one, code);
    cvy_buffer_free(values);
    return status;
}

/* The set of this rank: what measured best, CLBlast's own, the others. NULL: not now. Where CLBlast's own is
   to follow another set, that stays: both are right. */
static const parameter_set *ranked(convoy_device *device, size_t rank) {
    const char *best = cvy_choice_find(device, "clblast", "parameters", "*");
    const parameter_set *set = rank ? &sets[rank - 1] : NULL;
    for (size_t i = 0; !rank && best && i < SETS; i++)
        if (!strcmp(sets[i].name, best))
            set = &sets[i];
    if (set == &sets[0] && told.set)
        set = told.set;
    return set && !cvy_choice_aside(device, "clblast", "parameters", "*", set->name) ? set : NULL;
}

/* Tells CLBlast the best set that builds. */
static convoy_status choose_set(convoy_device *device) {
    const cvy_task task = {.op = "clblast", .pass = "parameters"};
    for (size_t rank = 0; rank <= SETS && !told.fixed; rank++) {
        const parameter_set *set = ranked(device, rank);
        if (set && told.built && told.device == device->id && set == (told.set ? told.set : &sets[0]))
            return CONVOY_OK;
        convoy_status status = set ? tell(device->id, set) : CONVOY_OK;
        if (set && !status)
            status = build(device);
        if (status && status != CONVOY_DEVICE)
            return status;
        if (status) {
            cvy_choice_set_aside(device, &task, "*", set->name, convoy_error_message());
        } else if (set) {
            told.device = device->id;
            told.built = true;
            return CONVOY_OK;
        }
    }
    return told.fixed ? CONVOY_OK
                      : cvy_fail(CONVOY_DEVICE, "CLBlast builds with none of its parameters on this device");
}

/* CLBlast uses a matrix in place or copies it to a padded temporary, depending on its offset too: the
   workspace holds the larger of both. */
static convoy_status prepare(cvy_gemm *op) {
    const cvy_gemm_shape *s = &op->shape;
    cl_command_queue queue = cvy_device_queue(op->device);
    cvy_device_on_close(op->device, clear_cache);
    convoy_status chosen = choose_set(op->device);
    if (chosen)
        return chosen;
    for (size_t offset = 0; offset < 2; offset++) {
        size_t bytes = 0;
        CLBlastStatusCode status = CLBlastSGemmTempBufferSize(
            CLBlastLayoutRowMajor, transposed(s->transpose_a), transposed(s->transpose_b), s->m, s->n, s->k,
            offset, s->lda, offset, s->ldb, offset, s->ldc, &queue, &bytes);
        if (status != CLBlastSuccess)
            return fail(s, status);
        if (bytes > op->workspace)
            op->workspace = bytes;
    }
    return CONVOY_OK;
}

/* CLBlast refuses before it writes C; the bias comes last, so that C is then as it was. */
static convoy_status run(cvy_gemm *op, const cvy_gemm_operands *operands) {
    const cvy_gemm_shape *s = &op->shape;
    if (!counts(s, operands->a_offset, operands->b_offset, operands->c_offset))
        return cvy_fail(CONVOY_DEVICE,
                        "CLBlast's gemm of %zux%zux%zu: offsets of %zu, %zu and %zu floats are "
                        "beyond its 32 bits",
                        s->m, s->n, s->k, operands->a_offset, operands->b_offset, operands->c_offset);
    cl_command_queue queue = cvy_device_queue(op->device);
    CLBlastStatusCode status = CLBlastSgemmWithTempBuffer(
        CLBlastLayoutRowMajor, transposed(s->transpose_a), transposed(s->transpose_b), s->m, s->n, s->k, 1.0f,
        cvy_buffer_memory(operands->a), operands->a_offset, s->lda, cvy_buffer_memory(operands->b),
        operands->b_offset, s->ldb, operands->accumulate ? 1.0f : 0.0f, cvy_buffer_memory(operands->c),
        operands->c_offset, s->ldc, &queue, NULL,
        operands->workspace ? cvy_buffer_memory(operands->workspace) : NULL);
    if (status != CLBlastSuccess)
        return fail(s, status);
    cvy_gemm_operands then = *operands;
    then.accumulate = true;
    return operands->bias ? cvy_gemm_add_parts(op, &then, NULL, 0) : CONVOY_OK;
}

const cvy_gemm_method cvy_gemm_clblast = {"clblast", preferred, supports, prepare, run};
