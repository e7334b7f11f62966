/* The data movements of convolution as matrix product: plain kernels for any device. Work-item x is four images of the
   contiguous batch axis (P4 = pitch / 4 of them), so that neighbours read and write side by side. A chunk is a range of
   output pixels q = row * out_width + column; its matrix is [channel][kernel row][kernel column][pixel of the
   chunk][P4]. All sizes are arguments: one program serves every layer. */

typedef struct window {
    int row, column;
} window;

static inline window window_of(int q, int out_w, int stride_h, int stride_w, int pad_h, int pad_w) {
    window w = {q / out_w * stride_h - pad_h, q % out_w * stride_w - pad_w};
    return w;
}

/* Items: P4, pixels of the chunk, channels * kernel_h. x points at the first channel wanted. */
kernel void conv2d_im2col(global const float4 *restrict x, global float4 *restrict matrix, ulong x_offset,
                          ulong matrix_offset, int p4, int in_h, int in_w, int out_w, int kernel_h, int kernel_w,
                          int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, int first,
                          int pixels, int planes) {
    const int n = get_global_id(0), pixel = get_global_id(1), plane = get_global_id(2);
    if (n >= p4 || pixel >= pixels || plane >= planes)
        return;
    const int channel = plane / kernel_h, kh = plane % kernel_h;
    const window at = window_of(first + pixel, out_w, stride_h, stride_w, pad_h, pad_w);
    const int row = at.row + kh * dilation_h;
    x += x_offset + ((ulong)channel * in_h + row) * in_w * p4 + n;
    matrix += matrix_offset + ((ulong)plane * kernel_w * pixels + pixel) * p4 + n;
    for (int kw = 0; kw < kernel_w; kw++, matrix += (ulong)pixels * p4) {
        const int column = at.column + kw * dilation_w;
        const int inside = row >= 0 && row < in_h && column >= 0 && column < in_w;
        *matrix = inside ? x[(long)column * p4] : (float4)(0.0f);
    }
}

/* Gathers: each input pixel sums the entries of the chunk that it was copied to, in the order of the taps.
   Items: P4, rows * in_w from input row `first_row` on, channels. Adds to gx where `accumulate`. */
kernel void conv2d_col2im(global const float4 *restrict matrix, global float4 *restrict gx, ulong matrix_offset,
                          ulong gx_offset, int p4, int in_h, int in_w, int out_h, int out_w, int kernel_h, int kernel_w,
                          int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, int first,
                          int pixels, int channels, int first_row, int rows, int accumulate) {
    const int n = get_global_id(0), pixel = get_global_id(1), channel = get_global_id(2);
    if (n >= p4 || pixel >= rows * in_w || channel >= channels)
        return;
    const int row = first_row + pixel / in_w, column = pixel % in_w;
    gx += gx_offset + (((ulong)channel * in_h + row) * in_w + column) * p4 + n;
    matrix += matrix_offset + (ulong)channel * kernel_h * kernel_w * pixels * p4 + n;
    float4 sum = accumulate ? *gx : (float4)(0.0f);
    for (int kh = 0; kh < kernel_h; kh++) {
        const int y = row + pad_h - kh * dilation_h, oh = y / stride_h;
        if (y < 0 || y % stride_h || oh >= out_h)
            continue;
        for (int kw = 0; kw < kernel_w; kw++) {
            const int x = column + pad_w - kw * dilation_w, ow = x / stride_w;
            const int at = oh * out_w + ow - first;
            if (x >= 0 && x % stride_w == 0 && ow < out_w && at >= 0 && at < pixels)
                sum += matrix[((ulong)(kh * kernel_w + kw) * pixels + at) * p4];
        }
    }
    *gx = sum;
}

/* y[channel][...] = bias[channel]: what the product is added to. Items: floats of a plane
   over four, channels. */
kernel void conv2d_fill_bias(global const float *restrict bias, global float4 *restrict y, ulong plane, int channels) {
    const ulong i = get_global_id(0);
    const int channel = get_global_id(1);
    if (i < plane && channel < channels)
        y[channel * plane + i] = (float4)(bias[channel]);
}
