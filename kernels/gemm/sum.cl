/* c (+)= the sum of `parts` matrices [m][n] (+ bias per row): the second stage of a product whose k was split, and,
   with no parts, what fills C with the bias before CLBlast adds to it. One work-item per element: (column, row). */
kernel void gemm_sum(global const float *part, uint parts, global float *c, ulong c_offset, ulong ldc,
                     global const float *bias, ulong m, ulong n, int accumulate) {
    const ulong j = get_global_id(0), i = get_global_id(1);
    if (i >= m || j >= n)
        return;
    const ulong at = c_offset + i * ldc + j;
    float sum = accumulate ? c[at] : 0.0f;
    if (bias)
        sum += bias[i];
    for (uint p = 0; p < parts; p++)
        sum += part[(p * m + i) * n + j];
    c[at] = sum;
}
