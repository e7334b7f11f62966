/* The gemm variant "clblast": the CLBlast library, which knows the tile sizes that many GPUs like. Its
   temporaries come from the op's workspace; its programs live in a cache of its own, emptied when the device
   closes. */
#include <clblast_c.h>

#include "device/opencl.h"
#include "ops/gemm_methods.h"

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

static CLBlastTranspose transposed(bool yes) {
    return yes ? CLBlastTransposeYes : CLBlastTransposeNo;
}

static bool preferred(const cvy_device_traits *traits) {
    return !traits->host;
}

static bool supports(const cvy_device_traits *traits, const cvy_gemm_shape *shape) {
    (void)shape;
    /* Its kernels' work-groups have at least 64 items. */
    return !traits->host && traits->max_work_group >= 64;
}

/* CLBlast uses a matrix in place or copies it to a padded temporary, depending on its offset too: the
   workspace holds the larger of both. */
static convoy_status prepare(cvy_gemm *op) {
    const cvy_gemm_shape *s = &op->shape;
    cl_command_queue queue = cvy_device_queue(op->device);
    cvy_device_on_close(op->device, clear_cache);
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

static convoy_status run(cvy_gemm *op, const cvy_gemm_operands *operands) {
    const cvy_gemm_shape *s = &op->shape;
    bool add = operands->accumulate;
    if (operands->bias) {
        convoy_status status = cvy_gemm_add_parts(op, operands, NULL, 0);
        if (status)
            return status;
        add = true;
    }
    cl_command_queue queue = cvy_device_queue(op->device);
    CLBlastStatusCode status = CLBlastSgemmWithTempBuffer(
        CLBlastLayoutRowMajor, transposed(s->transpose_a), transposed(s->transpose_b), s->m, s->n, s->k, 1.0f,
        cvy_buffer_memory(operands->a), operands->a_offset, s->lda, cvy_buffer_memory(operands->b),
        operands->b_offset, s->ldb, add ? 1.0f : 0.0f, cvy_buffer_memory(operands->c), operands->c_offset,
        s->ldc, &queue, NULL, operands->workspace ? cvy_buffer_memory(operands->workspace) : NULL);
    return status == CLBlastSuccess ? CONVOY_OK : fail(s, status);
}

const cvy_gemm_method cvy_gemm_clblast = {"clblast", preferred, supports, prepare, run};
