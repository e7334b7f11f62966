#!/usr/bin/env python3
"""Writes tests/ops/data/conv2d_reference.h: small convolutions and their gradients as PyTorch computes them in
float64. Images are recorded as Convoy keeps them, [channel][row][column][image], without padding columns.

    python3 tools/record_conv2d.py > tests/ops/data/conv2d_reference.h
"""
import torch
import torch.nn.functional as F

CASES = [
    # name, images, in, out, groups, size, kernel, stride, padding, dilation
    ("plain", 2, 2, 3, 1, (4, 5), (3, 3), (1, 1), (0, 0), (1, 1)),
    ("strided", 3, 1, 2, 1, (7, 6), (3, 2), (2, 3), (1, 1), (1, 1)),
    ("dilated", 1, 2, 2, 1, (7, 8), (3, 3), (1, 2), (2, 1), (2, 2)),
    ("grouped", 2, 4, 6, 2, (3, 4), (2, 2), (1, 1), (1, 0), (1, 1)),
]
KINDS = ("x", "weight", "bias", "gy", "y", "gx", "gweight", "gbias")


def array(name, values):
    print(f"static const float {name}[] = {{")
    line = "   "
    for value in values.detach().reshape(-1).tolist():
        text = f"{value:.9g}"
        text = (text if "." in text or "e" in text else text + ".0") + "f"
        if len(line) + len(text) > 106:
            print(line)
            line = "   "
        line += f" {text},"
    print(line.rstrip(",") + "};")


def pair(values):
    return "{%d, %d}" % values


def record(case):
    name, n, channels, out, groups, size, kernel, stride, padding, dilation = case
    # Values that a float holds exactly.
    x = torch.randn(n, channels, *size).double().requires_grad_()
    weight = torch.randn(out, channels // groups, *kernel).double().requires_grad_()
    bias = torch.randn(out).double().requires_grad_()
    y = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    gy = torch.randn(*y.shape).double()
    gx, gweight, gbias = torch.autograd.grad(y, (x, weight, bias), gy)
    tensors = dict(x=x, weight=weight, bias=bias, gy=gy, y=y, gx=gx, gweight=gweight, gbias=gbias)
    for kind in KINDS:
        values = tensors[kind]
        array(f"{name}_{kind}", values.permute(1, 2, 3, 0) if kind in ("x", "gy", "y", "gx") else values)
    return (f'    {{"{name}", {n}, {channels}, {out}, {groups}, {{{size[0]}, {size[1]}}}, {{{y.shape[2]}, {y.shape[3]}}}, '
            f"{pair(kernel)}, {pair(stride)}, {pair(padding)}, {pair(dilation)},\n     "
            + ", ".join(f"{name}_{kind}" for kind in KINDS) + "},")


torch.manual_seed(1)
print("/* Written by tools/record_conv2d.py: convolutions as PyTorch computes them. */")
print("/* clang-format off */")
rows = [record(case) for case in CASES]
print("""
static const struct recorded {
    const char *name;
    int n, in, out, groups, size[2], out_size[2], kernel[2], stride[2], padding[2], dilation[2];
    const float *x, *weight, *bias, *gy, *y, *gx, *gweight, *gbias;
} recorded[] = {""")
print("\n".join(rows))
print("};\n/* clang-format on */")
