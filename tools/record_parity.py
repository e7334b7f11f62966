#!/usr/bin/env python3
"""Records what PyTorch computes in 50 training steps of each recipe, for tests/train/test_parity.c, and in a
first step and an evaluation, on each of two batches, for tests/train/test_variants.c.

    python3 tools/record_parity.py [--out tests/train/parity] [NETWORK...]

Every network is trained twice from the same weights over the same batches, in float64 and in float32. The first run
is the truth; how far the second one strays from it, tensor by tensor, is the yardstick: Convoy, which computes in
float32 too, may stray at most four times as far. Networks are those of models/ without their dropout. Where images
of 224x224 would make the test long, they are smaller here; layers and widths are the same.

The gradients of a first step and the outputs of an evaluation have two more yardsticks: how far the float64 run
strays when both factors of each product in a convolution or linear layer, forward and backward, are rounded to TF32
or BF16 first, as tensor cores do.

Nothing random is stored. Weights, images and labels come from Philox4x32-10 streams (host/base/rng.h), which this
file computes as the library does:

    u(purpose, step)[i]   the i-th uniform number of a stream: the top 24 bits of word i % 4 of block i / 4
    weight                (2 u(WEIGHT, tensor) - 1) * bound; `tensor` counts all tensors of the state dict from 0,
                          bound is 1/sqrt(fan_in), for alexnet's and lenet's weights sqrt(6/(fan_in + fan_out)),
                          for lenet5 2.4/fan_in
    LeNet-5               absent connections are 0, the units of the output are the signs of such weights
    batch-norm            weight 1 + (2u - 1)/4, bias (2u - 1)/4, mean 0, variance 1
    label                 raw word i of stream (LABEL, batch) modulo the number of classes
    image                 (u(IMAGE, batch) + u(TEMPLATE, label)) / 2: noise over a pattern that its class shares

All of it in float32, where each of these operations rounds alike everywhere.

A tensor of at most 128 values is stored whole. A larger one is stored as a count sketch of 128 buckets (Charikar,
Chen and Farach-Colton, 2002): element i is added to bucket w & 127 with the sign of bit 7 of w, w being raw word i of
stream (SKETCH, tensor). The sum of the squared differences of two sketches estimates the squared distance of the
tensors within about 12 %.

Any PyTorch from 1.13 on does; only torch and numpy are needed.
"""
import argparse
import contextlib
import json
import math
import os
import re
from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SEED = 7
WEIGHT, IMAGE, TEMPLATE, LABEL, SKETCH = 101, 102, 103, 104, 105
STEPS = 50
EVALUATED = 3  # first images of a batch
FIRST_STEPS = 2  # batches
BUCKETS = 128


def philox(block, step, purpose):
    """Four arrays of random words, one per element of `block`; the key is SEED."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    block = block.astype(np.uint64)
    c0, c1 = block & low, block >> shift
    c2, c3 = np.full_like(block, step), np.full_like(block, purpose)
    k0, k1 = SEED & 0xFFFFFFFF, SEED >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ np.uint64(k0), p1 & low, (p0 >> shift) ^ c3 ^ np.uint64(k1), p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def words(purpose, step, count):
    blocks = np.arange((count + 3) // 4)
    return np.stack(philox(blocks, step, purpose), axis=1).reshape(-1)[:count]


def uniform(purpose, step, count):
    return (words(purpose, step, count) >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)


def batch(index, size, shape, classes):
    """images [size][C][H][W] float32 and labels [size] of one batch."""
    pixels = math.prod(shape)
    labels = (words(LABEL, index, size) % np.uint64(classes)).astype(np.int64)
    images = uniform(IMAGE, index, size * pixels).reshape(size, pixels)
    for i, label in enumerate(labels):
        images[i] = (images[i] + uniform(TEMPLATE, int(label), pixels)) * np.float32(0.5)
    return torch.from_numpy(images.reshape(size, *shape)), torch.from_numpy(labels)


def round_factor(x, bits):
    """float64 -> float32 -> the nearest value with `bits` fewer bits of mantissa, ties to even -> float64."""
    word = x.detach().float().contiguous().view(torch.int32).long()
    word = word + (1 << (bits - 1)) - 1 + ((word >> bits) & 1)
    return (word >> bits << bits).int().view(torch.float32).double()


class RoundedProduct(torch.autograd.Function):
    """Whatever `product` of x and w is, and its gradients, with the factors of all three rounded."""

    @staticmethod
    def forward(context, x, w, bits, product):
        context.save_for_backward(x, w)
        context.bits, context.product = bits, product
        return product(round_factor(x, bits), round_factor(w, bits))

    @staticmethod
    def backward(context, gy):
        rounded = [round_factor(t, context.bits).requires_grad_() for t in context.saved_tensors]
        with torch.enable_grad():
            y = context.product(*rounded)
        return *torch.autograd.grad(y, rounded, round_factor(gy, context.bits)), None, None


@contextlib.contextmanager
def rounded_products(bits):
    """F.conv2d and F.linear as tensor cores compute them; 0 bits: as they are."""
    conv2d, linear = F.conv2d, F.linear

    def rounded_conv2d(x, w, bias=None, *how):
        y = RoundedProduct.apply(x, w, bits, lambda x, w: conv2d(x, w, None, *how))
        return y if bias is None else y + bias.view(-1, 1, 1)

    def rounded_linear(x, w, bias=None):
        y = RoundedProduct.apply(x, w, bits, linear)
        return y if bias is None else y + bias

    if bits:
        F.conv2d, F.linear = rounded_conv2d, rounded_linear
    try:
        yield
    finally:
        F.conv2d, F.linear = conv2d, linear


class Subsample(nn.Module):
    """LeNet-5's pooling: the sum over 2x2 times a coefficient per map, plus a bias."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return F.avg_pool2d(x, 2) * 4 * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class TableConv2d(nn.Conv2d):
    """A convolution whose output maps see some of the input maps only."""

    TABLE = ["012", "123", "234", "345", "045", "015", "0123", "1234", "2345", "0345", "0145", "0125", "0134", "1245",
             "0235", "012345"]

    def __init__(self):
        super().__init__(6, 16, 5)
        mask = torch.zeros_like(self.weight)
        for o, inputs in enumerate(self.TABLE):
            for i in inputs:
                mask[o, int(i)] = 1
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias)


class ScaledTanh(nn.Module):
    def forward(self, x):
        return 1.7159 * torch.tanh(x * 2 / 3)


class EuclideanRBF(nn.Module):
    """Squared distances from fixed vectors of +1 and -1."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.zeros(10, 84))

    def forward(self, x):
        return (x.unsqueeze(1) - self.weight).square().sum(-1)


class Residual(nn.Module):
    def __init__(self, *body):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x):
        return self.body(x) + x


class Branches(nn.Sequential):
    """The branches' results, multiplied or one after the other."""

    def __init__(self, product, *branches):
        super().__init__(*(nn.Sequential(*branch) for branch in branches))
        self.product = product

    def forward(self, x):
        results = [branch(x) for branch in self]
        return results[0] * results[1] if self.product else torch.cat(results, 1)


class ChannelSplit(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return x.chunk(2, 1)[self.part]


class LayerNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layer_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x):
        return x * self.layer_scale


class Auxiliary(nn.Sequential):
    """A head beside the network, which goes on with what came to it; its loss counts `weight` times."""

    def __init__(self, weight, *layers):
        super().__init__(*layers)
        self.weight = weight

    def forward(self, x):
        if self.training:
            self.output = super().forward(x)
        return x


def loss_of(name, net, images, labels):
    """The network's own loss, and what is minimised."""
    own = (rbf_loss if name == "lenet5" else F.cross_entropy)(net(images), labels)
    return own, sum((head.weight * F.cross_entropy(head.output, labels) for head in net.modules()
                     if isinstance(head, Auxiliary)), own)


def heads():
    same = {"padding": "same"}
    return [nn.Conv2d(3, 8, (1, 7), bias=False, **same), nn.BatchNorm2d(8, 1e-3), nn.ReLU(),
            nn.Conv2d(8, 8, (7, 1), (1, 2), (3, 0)), nn.PReLU(8),
            Auxiliary(0.3, nn.AvgPool2d(5, 3), nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                      nn.Flatten(), nn.Linear(12, 4)),
            Branches(False, [nn.Conv2d(8, 4, (1, 3), padding=(0, 1))],
                     [nn.Conv2d(8, 4, 1), nn.PReLU(),
                      Branches(False, [nn.Conv2d(4, 2, (1, 3), **same)], [nn.Conv2d(4, 2, (3, 1), **same)])],
                     [nn.MaxPool2d(3, 1, 1)]),
            nn.AdaptiveMaxPool2d((5, 4)), Auxiliary(0.5, nn.Flatten(), nn.Linear(320, 4)), nn.Flatten(),
            nn.Linear(320, 4)]


def blocks():
    def conv(i, o, size=1, groups=1, bias=False):
        return nn.Conv2d(i, o, size, padding=size // 2, groups=groups, bias=bias)

    return [conv(3, 8, 3), nn.BatchNorm2d(8), nn.Hardswish(),
            Branches(True, [], [nn.AdaptiveAvgPool2d(1), conv(8, 4, bias=True), nn.ReLU(), conv(4, 8, bias=True),
                                nn.Hardsigmoid()]),
            Residual(conv(8, 16), nn.BatchNorm2d(16), nn.ReLU6(), conv(16, 16, 3, 16), nn.BatchNorm2d(16), nn.SiLU(),
                     conv(16, 8), nn.BatchNorm2d(8)),
            Branches(False, [ChannelSplit(0)], [ChannelSplit(1), conv(4, 4, bias=True), nn.ReLU()]),
            nn.ChannelShuffle(2), nn.MaxPool2d(3, 2, ceil_mode=True),
            Residual(conv(8, 8, 3, 8, True), LayerNorm(8, 1e-6), ChannelLinear(8, 16), nn.GELU(), ChannelLinear(16, 8),
                     LayerScale(8)),
            nn.GroupNorm(2, 8), nn.LeakyReLU(0.1), nn.AvgPool2d(3, 2, 1, True, False), nn.Flatten(), nn.Linear(128, 4)]


def rbf_loss(distances, labels):
    """Equation 9 of LeCun et al., 1998, with j = 1."""
    right = distances.gather(1, labels.view(-1, 1)).view(-1)
    j = torch.full_like(distances[:, :1], 1)
    return (right + torch.logsumexp(-torch.cat([j, distances], 1), 1)).mean()


def network(name):
    """layers, input shape, classes, batch size, optimizer"""
    def conv_bn(i, o):
        return [nn.Conv2d(i, o, 5), nn.BatchNorm2d(o), nn.ReLU()]

    def bn_stem():
        return [*conv_bn(3, 12), *conv_bn(12, 12), nn.MaxPool2d(2), *conv_bn(12, 24), *conv_bn(24, 24),
                nn.MaxPool2d(2)]

    def alexnet(channels, classes):
        return [nn.Conv2d(channels, 96, 11, 4, 1), nn.ReLU(), nn.MaxPool2d(3, 2),
                nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
                nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
                nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(),
                nn.Linear(256, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes)]

    def adam(parameters):
        return torch.optim.Adam(parameters, lr=1e-3)

    def sgd(lr):
        return lambda parameters: torch.optim.SGD(parameters, lr=lr)

    return {
        "lenet": lambda: ([
            nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
            nn.Linear(84, 10)], (1, 28, 28), 10, 20, sgd(0.9)),
        "mnist_cnn": lambda: ([
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 10)], (1, 28, 28), 10, 33, adam),
        "digits_cnn": lambda: ([
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(),
            nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(3136, 10)], (1, 28, 28), 10, 12, adam),
        "monkeypox_bn": lambda: ([*bn_stem(), nn.Flatten(), nn.Linear(864, 2)], (3, 48, 48), 2, 5, sgd(1e-4)),
        "monkeypox_bn_deep": lambda: ([
            *bn_stem(), *conv_bn(24, 48), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 2)], (3, 48, 48), 2, 7, adam),
        "alexnet": lambda: (alexnet(1, 10), (1, 67, 67), 10, 6, sgd(0.01)),
        "alexnet_imagenet": lambda: (alexnet(3, 1000), (3, 67, 67), 1000, 6, sgd(0.01)),
        "blocks": lambda: (blocks(), (3, 12, 12), 4, 6, sgd(0.05)),
        "heads": lambda: (heads(), (3, 12, 12), 4, 6, sgd(0.05)),
        "lenet5": lambda: (OrderedDict([
            ("C1", nn.Conv2d(1, 6, 5)), ("S2", Subsample(6)), ("2", ScaledTanh()), ("C3", TableConv2d()),
            ("S4", Subsample(16)), ("5", ScaledTanh()), ("C5", nn.Conv2d(16, 120, 5)), ("7", ScaledTanh()),
            ("8", nn.Flatten()), ("F6", nn.Linear(120, 84)), ("10", ScaledTanh()), ("output", EuclideanRBF())]),
            (1, 32, 32), 10, 10, sgd(0.003)),
    }[name]()


NETWORKS = ["lenet", "mnist_cnn", "digits_cnn", "monkeypox_bn", "monkeypox_bn_deep", "alexnet", "alexnet_imagenet",
            "lenet5", "blocks", "heads"]
INIT = {"lenet": "xavier", "alexnet": "xavier", "alexnet_imagenet": "xavier", "lenet5": "lecun"}


def initial(net, init):
    """The starting values of every tensor by name, float32, and the bound of its uniform numbers."""
    values, rows = {}, []
    modules = dict(net.named_modules())
    tensors = [(n, t) for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")]
    for index, (name, tensor) in enumerate(tensors):
        module, kind = modules[name.rsplit(".", 1)[0]], name.rsplit(".", 1)[1]
        centre, bound = 0.0, 0.0
        if kind == "running_var":
            centre = 1.0
        elif kind == "layer_scale":
            centre, bound = 0.5, 0.25
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)) and kind in ("weight", "bias"):
            centre, bound = (1.0 if kind == "weight" else 0.0), 0.25
        elif isinstance(module, nn.PReLU):
            centre, bound = 0.25, 0.25
        elif kind != "running_mean":
            fan_in = 4 if isinstance(module, Subsample) else module.weight[0].numel()
            bound = 1 / math.sqrt(fan_in)
            if init == "lecun":
                bound = 2.4 / fan_in
            elif init == "xavier" and kind == "weight" and tensor.dim() > 1:
                bound = math.sqrt(6 / (fan_in + tensor.shape[0] * tensor[0, 0].numel()))
        u = uniform(WEIGHT, index, tensor.numel())
        start = np.float32(centre) + (np.float32(2) * u - np.float32(1)) * np.float32(bound)
        if isinstance(module, EuclideanRBF):
            start = np.sign(start)
        values[name] = torch.from_numpy(start.reshape(tuple(tensor.shape)))
        if isinstance(module, TableConv2d) and kind == "weight":
            values[name] *= module.mask.float()
        rows.append({"name": name, "shape": list(tensor.shape), "stream": index, "centre": centre, "bound": bound,
                     "signs": isinstance(module, EuclideanRBF)})
    return values, rows


def make(name, dtype):
    """The network with its starting values; those; and a row for each tensor."""
    torch.manual_seed(0)
    layers = network(name)[0]
    net = (nn.Sequential(layers) if isinstance(layers, OrderedDict) else nn.Sequential(*layers)).to(dtype)
    start, rows = initial(net, INIT.get(name))
    net.load_state_dict({k: v.to(dtype) for k, v in start.items()}, strict=False)
    return net, start, rows


def first_step(name, index, dtype, bits=0):
    """By name, in float64: the outputs of an evaluation, [class][image], and the gradients of a step on batch `index`."""
    _, shape, classes, size, _ = network(name)
    net, _, _ = make(name, dtype)
    images, labels = batch(index, size, shape, classes)
    with rounded_products(bits):
        net.eval()
        with torch.no_grad():
            found = {"evaluation": net(images[:EVALUATED].to(dtype)).T}
        net.train()
        loss_of(name, net, images.to(dtype), labels)[1].backward()
    found.update((n, p.grad) for n, p in net.named_parameters())
    return {n: t.detach().double().numpy().reshape(-1) for n, t in found.items()}


def train(name, dtype):
    """The 50 losses and the last state dict, in float64 whatever the run's type."""
    _, shape, classes, size, make_optimizer = network(name)
    net, start, rows = make(name, dtype)
    net.train()
    optimizer, losses = make_optimizer(net.parameters()), []
    for step in range(STEPS):
        images, labels = batch(step, size, shape, classes)
        optimizer.zero_grad()
        own, loss = loss_of(name, net, images.to(dtype), labels)
        loss.backward()
        optimizer.step()
        losses.append(own.item())
    state = net.state_dict()
    for row in rows:
        row["value"] = state[row["name"]].double().numpy().reshape(-1)
        row["moved"] = float(np.linalg.norm(row["value"] - start[row["name"]].double().numpy().reshape(-1)))
    return losses, rows, net, (shape, classes, size)


def sketch(value, stream):
    w = words(SKETCH, stream, value.size)
    signed = np.where((w >> np.uint64(7)) & np.uint64(1), -value, value)
    return np.bincount((w & np.uint64(BUCKETS - 1)).astype(np.int64), weights=signed, minlength=BUCKETS)


def bias_before_batchnorm(net):
    """Names of biases that batch-norm cancels: their gradient is nothing but rounding."""
    layers = list(net)
    return {f"{i}.bias" for i in range(len(layers) - 1)
            if isinstance(layers[i], nn.Conv2d) and isinstance(layers[i + 1], nn.BatchNorm2d)}


def record_first_step(name, index, streams, skipped):
    """A row each for the evaluation and the gradients that count."""
    exact, rows = first_step(name, index, torch.float64), []
    others = {"yardstick": first_step(name, index, torch.float32),
              "yardstick_tf32": first_step(name, index, torch.float64, 13),
              "yardstick_bf16": first_step(name, index, torch.float64, 16)}
    for tensor, value in exact.items():
        if tensor in skipped:
            continue
        norm = float(np.linalg.norm(value))
        row = {"name": tensor, "stream": streams.get(tensor, len(streams)), "norm": norm}
        row.update((key, float(f"{np.linalg.norm(other[tensor] - value) / norm:.3g}"))
                   for key, other in others.items())
        kind, kept = ("values", value) if value.size <= BUCKETS else ("sketch", sketch(value, row["stream"]))
        row[kind] = [float(f"{v:.12g}") for v in kept]
        rows.append(row)
    return rows


def record(name):
    losses, rows, net, (shape, classes, size) = train(name, torch.float64)
    losses32, rows32, _, _ = train(name, torch.float32)
    skipped, out = bias_before_batchnorm(net), []
    for row, row32 in zip(rows, rows32):
        value, value32 = row.pop("value"), row32["value"]
        norm = float(np.linalg.norm(value))
        row["norm"] = norm
        row["moved"] /= norm
        row["yardstick"] = float(np.linalg.norm(value32 - value)) / norm
        row["compare"] = row["name"] not in skipped
        if value.size <= BUCKETS:
            row["values"] = value.tolist()
        else:
            row["sketch"] = sketch(value, row["stream"]).tolist()
        out.append(row)
    yardstick = max(abs(a - b) / abs(a) for a, b in zip(losses, losses32))
    streams = {row["name"]: row["stream"] for row in out}
    return {"network": name, "torch": torch.__version__, "input": list(shape), "classes": classes, "batch_size": size,
            "losses": losses, "loss_yardstick": yardstick, "tensors": out, "evaluated": EVALUATED,
            "first_steps": [record_first_step(name, i, streams, skipped) for i in range(FIRST_STEPS)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=[])
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "tests", "train", "parity"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.makedirs(arguments.out, exist_ok=True)
    for name in arguments.networks or NETWORKS:
        result = record(name)
        with open(os.path.join(arguments.out, name + ".json"), "w") as file:
            # A list of numbers on one line.
            file.write(re.sub(r"\[\s+([^][{}\"]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]",
                              json.dumps(result, indent=1)) + "\n")
        worst = max(t["yardstick"] for t in result["tensors"] if t["compare"])
        still = min(t["moved"] for t in result["tensors"] if t["compare"] and not t["signs"])
        print(f"{name}: loss {result['losses'][0]:.4f} -> {result['losses'][-1]:.4f} (float32 strays by "
              f"{result['loss_yardstick']:.1e}), tensors by at most {worst:.1e}; each moved by "
              f"{still:.1e} or more", flush=True)


if __name__ == "__main__":
    main()
