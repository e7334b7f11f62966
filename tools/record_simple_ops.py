#!/usr/bin/env python3
"""Writes tests/ops/data/ops_reference.h: small cases of every op but convolution and matrix products, as PyTorch
computes them in float64. Images are recorded as Convoy keeps them: [channel][row][column][image].

    python3 tools/record_simple_ops.py > tests/ops/data/ops_reference.h
"""
import torch
import torch.nn.functional as F

torch.manual_seed(1)


def array(name, values, kind="float"):
    flat = [float(v) if abs(float(v)) > 1.2e-38 or v != v else 0.0 for v in values.detach().reshape(-1)]
    print(f"static const {kind} {name}[{len(flat)}] = {{")
    line = "   "
    for v in flat:
        text = "NAN" if v != v else "INFINITY" if v == float("inf") else "-INFINITY" if v == -float("inf") else None
        if text is None:
            text = f"{v:.9g}"
            if kind == "float":
                text = (text if "." in text or "e" in text else text + ".0") + "f"
            else:
                text = str(int(v))
        if len(line) + len(text) > 106:
            print(line)
            line = "   "
        line += f" {text},"
    print(line.rstrip(",") + "};")


def images(name, values):
    """[image][channel]... -> [channel]...[image]"""
    array(name, values.permute(*range(1, values.dim()), 0))


def rounded(*size):
    """Random doubles that a float holds exactly."""
    return torch.randn(*size).double()


def gradient(y, gy, *inputs):
    return torch.autograd.grad(y, inputs, gy)


def pooling():
    x = rounded(3, 2, 7, 6)
    x[0, 0, 2, 2] = x[0, 0, 2, 3] = x[0, 0, 3, 2] = 9  # equal maxima
    x[1, 1, 4, 4] = float("nan")
    x[2] = -float("inf")
    x.requires_grad_()
    images("max_x", x)
    for name, options in (("max", dict(kernel_size=3, stride=2, padding=1)),
                          ("dilated", dict(kernel_size=2, stride=1, padding=1, dilation=2)),
                          ("gaps", dict(kernel_size=2, stride=3))):
        y, flat = F.max_pool2d(x, return_indices=True, **options)
        stride, padding, dilation = options["stride"], options.get("padding", 0), options.get("dilation", 1)
        rows = torch.arange(y.shape[2]).reshape(-1, 1) * stride - padding
        columns = torch.arange(y.shape[3]) * stride - padding
        window = (flat // 6 - rows) // dilation * options["kernel_size"] + (flat % 6 - columns) // dilation
        gy = rounded(*y.shape)
        images(name + "_y", y)
        array(name + "_indices", window.permute(1, 2, 3, 0), "uint8_t")
        images(name + "_gy", gy)
        images(name + "_gx", gradient(y, gy, x)[0])
    x = rounded(3, 2, 7, 6).requires_grad_()
    images("average_x", x)
    for name, call in (("average", lambda v: F.avg_pool2d(v, 3, 2, 1)), ("cells", lambda v: F.avg_pool2d(v, 2)),
                       ("adaptive", lambda v: F.adaptive_avg_pool2d(v, (3, 4)))):
        y = call(x)
        gy = rounded(*y.shape)
        images(name + "_y", y)
        images(name + "_gy", gy)
        images(name + "_gx", gradient(y, gy, x)[0])


def batchnorm():
    x = (rounded(3, 2, 4, 3) * 2 + 5).float().double().requires_grad_()
    weight, bias = rounded(2).requires_grad_(), rounded(2).requires_grad_()
    mean, var, gy = rounded(2), rounded(2).abs(), rounded(3, 2, 4, 3)
    images("bn_x", x)
    images("bn_gy", gy)
    for name, values in (("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", var)):
        array("bn_" + name, values)
    images("bn_eval_y", F.batch_norm(x, mean, var, weight, bias, False, 0.1, 1e-5))
    y = F.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5)
    gx, gweight, gbias = gradient(y, gy, x, weight, bias)
    images("bn_y", y)
    images("bn_gx", gx)
    for name, values in (("gweight", gweight), ("gbias", gbias), ("new_mean", mean), ("new_var", var)):
        array("bn_" + name, values)


def activations():
    x = torch.tensor([0.0, -0.0, 1e-8, -1e-8, 0.5, -0.5, 1, -1, 3, -3, 20, -20, 90, -90, 1000, -1000, float("inf"),
                      -float("inf"), float("nan")]).double().requires_grad_()
    gy = rounded(x.numel())
    array("activation_x", x)
    array("activation_gy", gy)
    for name, call in (("relu", torch.relu), ("sigmoid", torch.sigmoid), ("tanh", torch.tanh),
                       ("scaled_tanh", lambda v: 1.7159 * torch.tanh(v * 2 / 3))):
        y = call(x)
        array(name + "_y", y)
        array(name + "_gx", gradient(y, gy, x)[0])


def losses():
    x, labels, gy = (rounded(5, 7) * 4).float().double(), torch.tensor([3, 0, 6, 6, 2]), rounded(5, 7)
    x[1] += 500
    x[2, 0] = -float("inf")
    x.requires_grad_()
    images("loss_x", x)
    array("loss_labels", labels, "int32_t")
    images("softmax_gy", gy)
    loss = F.cross_entropy(x, labels, reduction="none")
    array("loss_y", loss)
    images("loss_gx", gradient(loss.mean(), None, x)[0])
    y = F.softmax(x, 1)
    images("softmax_y", y)
    images("softmax_gx", gradient(y, gy, x)[0])
    distance = (rounded(5, 7).abs() * 3).float().double()
    distance[0] += 200
    distance.requires_grad_()
    every = torch.cat([-distance, torch.full((5, 1), -1.0).double()], 1)
    loss = distance.gather(1, labels.reshape(-1, 1)).reshape(-1) + torch.logsumexp(every, 1)
    images("map_x", distance)
    array("map_y", loss)
    images("map_gx", gradient(loss.mean(), None, distance)[0])


def mixed():
    """Probabilities of two classes each, with class weights and smoothing: as MixUp's images have them."""
    x, labels, weights = rounded(5, 7) * 4, torch.tensor([3, 0, 6, 6, 2]), rounded(7).abs()
    x.requires_grad_()
    images("mixed_x", x)
    array("mixed_labels", labels, "int32_t")
    array("mixed_weights", weights)
    target = F.one_hot(labels, 7).double()
    target = target.roll(1, 0) * 0.7 + target * 0.3
    options = dict(weight=weights, label_smoothing=0.1)
    array("mixed_y", F.cross_entropy(x, target, reduction="none", **options))
    images("mixed_gx", gradient(F.cross_entropy(x, target, **options), None, x)[0])


def resize():
    x = rounded(2, 2, 5, 7).requires_grad_()
    y = F.interpolate(x, (11, 4), mode="bilinear", align_corners=False)
    gy = rounded(*y.shape)
    images("resize_x", x)
    images("resize_y", y)
    images("resize_gy", gy)
    images("resize_gx", gradient(y, gy, x)[0])


def optimizers():
    start, gradients = rounded(9), rounded(5, 9)
    array("optimizer_start", start)
    array("optimizer_gradients", gradients)
    for name, make in (
            ("sgd", lambda p: torch.optim.SGD(p, 0.1)),
            ("sgd_decay", lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.05)),
            ("sgd_momentum", lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.3, weight_decay=0.05)),
            ("sgd_nesterov", lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
            ("adam", lambda p: torch.optim.Adam(p, 0.01)),
            ("adam_decay", lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.99), 1e-6, 0.1)),
            ("adamw", lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1))):
        parameter = start.clone().requires_grad_()
        optimizer = make([parameter])
        for g in gradients:
            parameter.grad = g.clone()
            optimizer.step()
        array(name + "_end", parameter)


def further():
    """The activations that networks build for themselves; x = +-3 and 6 are kinks of some."""
    x = torch.tensor([0.0, 1e-8, -1e-8, 0.5, -0.5, 1, -1, 2.75, -2.75, 3, -3, 3.25, -3.25, 6, 5.75, 7, -7, 20, -20, 30,
                      -30, 90, -90, 1000, -1000, float("nan")]).double().requires_grad_()
    gy = rounded(x.numel())
    array("further_x", x)
    array("further_gy", gy)
    for name, call in (("relu6", F.relu6), ("hardsigmoid", F.hardsigmoid), ("hardswish", F.hardswish), ("silu", F.silu),
                       ("mish", F.mish), ("gelu", F.gelu), ("gelu_tanh", lambda v: F.gelu(v, approximate="tanh")),
                       ("leaky_relu", lambda v: F.leaky_relu(v, 0.2)), ("elu", lambda v: F.elu(v, 0.7)),
                       ("softplus", lambda v: F.softplus(v, 2, 5))):
        y = call(x)
        array(name + "_y", y)
        array(name + "_gx", gradient(y, gy, x)[0])


def ceil_pooling():
    """Windows that hang over the border, which is 7 x 6."""
    x = rounded(3, 2, 7, 6).requires_grad_()
    images("ceil_x", x)
    for name, call in (("ceil_max", lambda v: F.max_pool2d(v, 3, 2, ceil_mode=True)),
                       ("ceil_max2", lambda v: F.max_pool2d(v, 2, 2, ceil_mode=True)),
                       ("ceil_average", lambda v: F.avg_pool2d(v, 2, 2, ceil_mode=True)),
                       ("ceil_border", lambda v: F.avg_pool2d(v, 3, 3, 1, ceil_mode=True)),
                       ("ceil_real", lambda v: F.avg_pool2d(v, 3, 2, 1, ceil_mode=True, count_include_pad=False)),
                       ("real", lambda v: F.avg_pool2d(v, 3, 1, 1, count_include_pad=False))):
        y = call(x)
        gy = rounded(*y.shape)
        images(name + "_y", y)
        images(name + "_gy", gy)
        images(name + "_gx", gradient(y, gy, x)[0])


def groupnorm():
    x, gy = (rounded(3, 6, 2, 3) * 2 + 5).float().double().requires_grad_(), rounded(3, 6, 2, 3)
    weight, bias = rounded(6).requires_grad_(), rounded(6).requires_grad_()
    images("gn_x", x)
    images("gn_gy", gy)
    array("gn_weight", weight)
    array("gn_bias", bias)
    for name, call in (("gn", lambda v: F.group_norm(v, 2, weight, bias, 1e-3)),
                       ("ln", lambda v: F.layer_norm(v.permute(0, 2, 3, 1), (6,), weight, bias, 1e-3).permute(0, 3, 1, 2))):
        y = call(x)
        images(name + "_y", y)
        for suffix, values in zip(("gx", "gweight", "gbias"), gradient(y, gy, x, weight, bias)):
            (images if suffix == "gx" else array)(f"{name}_{suffix}", values)


def lrn():
    x, gy = (rounded(3, 7, 2, 2) * 2).float().double().requires_grad_(), rounded(3, 7, 2, 2)
    images("lrn_x", x)
    images("lrn_gy", gy)
    for size, k in ((3, 1), (4, 2)):
        y = F.local_response_norm(x, size, 0.5, 0.75, k)
        images(f"lrn{size}_y", y)
        images(f"lrn{size}_gx", gradient(y, gy, x)[0])


def adaptive_max():
    """Windows that overlap, equal maxima, and a NaN."""
    x = rounded(3, 2, 7, 6)
    x[0, 0, 2, 2] = x[0, 0, 2, 3] = x[0, 0, 3, 2] = 9
    x[1, 1, 4, 4] = float("nan")
    x[2, 1] = -float("inf")
    x.requires_grad_()
    y, indices = F.adaptive_max_pool2d(x, (3, 4), return_indices=True)
    gy = rounded(*y.shape)
    images("adaptive_max_x", x)
    images("adaptive_max_y", y)
    array("adaptive_max_indices", indices.permute(1, 2, 3, 0), "int32_t")
    images("adaptive_max_gy", gy)
    images("adaptive_max_gx", gradient(y, gy, x)[0])


def prelu():
    x, gy = rounded(3, 4, 2, 3), rounded(3, 4, 2, 3)
    x[0, 0, 0, 0] = 0
    x.requires_grad_()
    images("prelu_x", x)
    images("prelu_gy", gy)
    for name, count in (("prelu", 4), ("prelu1", 1)):
        weight = rounded(count).requires_grad_()
        y = F.prelu(x, weight)
        gx, gweight = gradient(y, gy, x, weight)
        array(name + "_weight", weight)
        images(name + "_y", y)
        images(name + "_gx", gx)
        array(name + "_gweight", gweight)


print("/* Generated by tools/record_simple_ops.py: what PyTorch computes in float64. */")
print("#ifndef CVY_TESTS_OPS_REFERENCE_H\n#define CVY_TESTS_OPS_REFERENCE_H\n\n#include <math.h>\n#include <stdint.h>\n")
sections = (("POOLING", pooling), ("BATCHNORM", batchnorm), ("ACTIVATIONS", activations), ("LOSSES", losses),
            ("RESIZE", resize), ("OPTIMIZERS", optimizers),
            ("FURTHER", further), ("CEIL_POOLING", ceil_pooling),
            ("GROUPNORM", groupnorm), ("LRN", lrn), ("ADAPTIVE_MAX", adaptive_max), ("PRELU", prelu),
            ("MIXED", mixed))
for macro, section in sections:
    print(f"#ifdef REFERENCE_{macro}")
    section()
    print("#endif\n")
print("#endif")
