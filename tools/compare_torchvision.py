#!/usr/bin/env python3
"""Compares the networks of models/ that are torchvision's with torchvision itself.

    tools/compare_torchvision.py [--convoy build/convoy] [--device D] [--images N] [--step [--size S]] [NETWORK...]

Each network is made by torchvision with random weights, and its file, as torch.save and as safetensors write it, is read
unchanged by `convoy predict`, over random images; and what `convoy convert` makes of it, torch.load(weights_only=True) and
load_state_dict(strict=True) take back, the same in every bit. The logits may be at most four times as far from what PyTorch computes
in float64 as PyTorch's float32 is, with a floor of 1e-6 (relative to the norm of the logits). Statistics of batch-norms
are those of other images, stirred a little, so that none of them is trivial and activations keep their size; factors
that begin at nearly nothing (layer_scale) are drawn anew.

--step compares one step of SGD instead, from such weights and without dropout, over a batch of so many images of two classes
(of the network's own size, or S x S): what it adds to parameters and running statistics, all tensors together. The yardstick
is the worst of three runs of PyTorch in float32: as it is, without oneDNN, and with the batch reversed. What rounding decides
is left out: where a unit lies within rounding of a kink, the step in float64 takes the side that the other took (kinks.py),
which is watched in PyTorch, and found for Convoy by what explains its gradients best where it is farther off than allowed
without. Rounding is four times the largest deviation that PyTorch's runs show in that layer. The table's last column counts
these units, and those that were turned for Convoy.
kinks.py checks itself first.

Prints a table, and exits with 1 where anything is farther off. Needs torch, torchvision, safetensors and Pillow.
"""
import argparse
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import needs

needs.packages(__doc__, "numpy", "torch", "torchvision", "safetensors", "PIL")

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file

import kinks

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Files of models/ whose names are not torchvision's functions.
CALLED = {"alexnet_torchvision": "alexnet"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Networks with auxiliary heads: what else they are made with, and what a head's loss counts. With transform_input they
# take such images as the others do, and make of them what their files of models/ make of pixels.
WITH_HEADS = {"init_weights": False, "transform_input": True}
HEADS = {"googlenet": 0.3, "inception_v3": 0.4}
NORMS = (torch.nn.BatchNorm2d, torch.nn.LayerNorm, torch.nn.GroupNorm)


def networks():
    names = (path.stem for path in sorted((ROOT / "models").glob("*.yaml")))
    return [name for name in names if name in CALLED or hasattr(torchvision.models, name)
            and callable(getattr(torchvision.models, name)) and name != "alexnet"]


def normalised(images, dtype):
    """[image][channel][row][column] of bytes, as ToTensor and Normalize make of them."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype) / 255
    return (x - torch.tensor(MEAN, dtype=dtype).view(1, 3, 1, 1)) / torch.tensor(STD, dtype=dtype).view(1, 3, 1, 1)


def make(name, size, **options):
    """The network in evaluation mode, with weights that leave nothing trivial."""
    torch.manual_seed(1)
    options |= WITH_HEADS if name in HEADS else {}
    network = getattr(torchvision.models, CALLED.get(name, name))(weights=None, **options)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        for m in network.modules():
            if isinstance(m, NORMS) and m.weight is not None:
                m.weight.uniform_(0.7, 1.3)
                m.bias.normal_(0, 0.1)
        for key, parameter in network.named_parameters():
            if key.endswith("layer_scale"):
                parameter.uniform_(0.2, 0.6)
        if norms:
            noise = np.random.default_rng(7).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
            network.train()(normalised(noise, torch.float32))
        for m, momentum in zip(norms, momenta):
            m.momentum = momentum
            m.running_mean += 0.1 * m.running_var.sqrt() * torch.randn_like(m.running_mean)
            m.running_var *= torch.empty_like(m.running_var).uniform_(0.8, 1.25)
    return network.eval()


def size_of(name):
    for line in open(ROOT / "models" / f"{name}.yaml", encoding="utf-8"):
        if line.startswith("input:"):
            return json.loads(line.split(":", 1)[1])[1]
    raise SystemExit(f"models/{name}.yaml has no input")


def predict(arguments, name, weights, pictures):
    done = subprocess.run([arguments.convoy, "predict", str(ROOT / "models" / f"{name}.yaml"), "--weights", weights, "--logits",
                           "--json", "--device", arguments.device, *pictures], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    return np.array([answer["logits"] for answer in json.loads(done.stdout)["predictions"]])


def check_conversion(arguments, name, file, folder, network):
    """From safetensors to .pth, and into torchvision."""
    back = os.path.join(folder, "back.pth")
    done = subprocess.run([arguments.convoy, "convert", file, back], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    state, kept = torch.load(back, weights_only=True), network.state_dict()
    network.load_state_dict(state, strict=True)
    if not all(torch.equal(state[key], kept[key]) for key in kept):
        raise SystemExit(f"{name}: convoy convert changes values")


def compare(arguments, name):
    """Distances of Convoy's and of PyTorch's float32 from float64, relative."""
    size = size_of(name)
    network = make(name, size)
    images = np.random.default_rng(3).integers(0, 256, (arguments.images, size, size, 3), dtype=np.uint8)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        pictures = [os.path.join(folder, f"{i}.png") for i in range(len(images))]
        for picture, image in zip(pictures, images):
            Image.fromarray(image).save(picture)
        files = [os.path.join(folder, "w.pth"), os.path.join(folder, "w.safetensors")]
        torch.save(network.state_dict(), files[0])
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, files[1])
        check_conversion(arguments, name, files[1], folder, network)
        found = [predict(arguments, name, file, pictures) for file in files]
        single = network(normalised(images, torch.float32)).double().numpy()
        exact = network.double()(normalised(images, torch.float64)).numpy()
    if not np.array_equal(*found):
        raise SystemExit(f"{name}: the .pth file and the safetensors file give different logits")
    norm = np.linalg.norm(exact)
    return np.linalg.norm(found[0] - exact) / norm, np.linalg.norm(single - exact) / norm, ""


def allowed(there):
    return max(4 * there, 1e-6)


# ---- one step ----

CLASSES, RATE = 2, 0.5
# Rates of those that answer infinities after a step of RATE.
SLOWER = {"efficientnet_b0": 0.005, "efficientnet_v2_s": 0.005, "mnasnet1_0": 0.05, "resnext50_32x4d": 0.05}
REACH = 4  # how many times as far from a kink as PyTorch strays a unit may lie and still be within rounding of it
MANY = 1000  # elements of a tensor among which sides are looked for


def loss_of(name, outputs, labels):
    """The network's own, and those of its heads."""
    outputs = outputs if name in HEADS else [outputs]
    losses = [torch.nn.functional.cross_entropy(output, labels) for output in outputs]
    return losses[0] + HEADS.get(name, 0) * sum(losses[1:])


def rate_of(name):
    return SLOWER.get(name, RATE)


def gradients(name, network, images, labels, watched):
    """What one step of SGD leaves of the network, as a function of a tensor's name."""
    parameters = dict(network.named_parameters())
    buffers = {key: value.clone() for key, value in network.named_buffers()}
    with watched:
        loss = loss_of(name, torch.func.functional_call(network, buffers, (images,)), labels)
    network.zero_grad()
    loss.backward(retain_graph=watched.keeps)

    def after(key):
        p = parameters.get(key)
        return (buffers[key] if p is None else p.detach().add(p.grad, alpha=-rate_of(name))).double()

    return after


def train(arguments, name, network, images, labels, folder):
    """The same by `convoy train`."""
    text = (ROOT / "models" / f"{name}.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(Dropout|StochasticDepth): \{p: [^}]*\}", r"\1: {p: 0}", text)
    text = re.sub(r"(?m)^input:.*", f"input: [3, {images.shape[1]}, {images.shape[2]}]", text)
    model, weights, out = (os.path.join(folder, file) for file in ("model.yaml", "start.safetensors", "out"))
    pathlib.Path(model).write_text(text, encoding="utf-8")
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
    for i, (image, label) in enumerate(zip(images, labels)):
        for split in ("train", "test"):
            os.makedirs(os.path.join(folder, "data", split, f"c{label}"), exist_ok=True)
            Image.fromarray(image).save(os.path.join(folder, "data", split, f"c{label}", f"{i}.png"))
    done = subprocess.run([arguments.convoy, "train", model, "--data", os.path.join(folder, "data"), "--init", weights,
                           "--init-strict", "--batch-size", str(len(images)), "--epochs", "1", "--optimizer", "SGD", "--lr",
                           str(rate_of(name)), "--set", "momentum=0", "--set", "weight_decay=0", "--limit-test", "1", "--device",
                           arguments.device, "--out", out], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    return load_file(os.path.join(out, "last.safetensors"))


class Step:
    """One step in float64, and how far others are from it."""

    def __init__(self, name, network, images, labels):
        self.name, self.images, self.labels = name, images, labels
        self.start = {key: value for key, value in network.state_dict().items() if value.is_floating_point()}
        self.network = copy.deepcopy(network).double()
        self.kinks = kinks.Kinks()
        after = gradients(name, self.network, normalised(images, torch.float64), labels, self.kinks)
        self.after = {key: after(key) for key in self.start}
        self.norm = sum(((after(key) - self.start[key].double()) ** 2).sum() for key in self.start).sqrt()
        draw = torch.Generator().manual_seed(5)
        self.parameters = list(self.network.parameters())
        self.sample = [torch.arange(p.numel()) if p.dim() < 2 or p.numel() <= MANY
                       else torch.randint(p.numel(), (MANY,), generator=draw) for p in self.parameters]
        self.own = self.sampled(after)

    def sampled(self, after):
        names = [name for name, _ in self.network.named_parameters()]
        return [(after(name).flatten()[at] - self.start[name].flatten()[at].double()) / -rate_of(self.name)
                for name, at in zip(names, self.sample)]

    def far(self, after, exact=None):
        exact = exact or self.after.__getitem__
        return (sum(((after(key).double() - exact(key)) ** 2).sum() for key in self.start).sqrt() / self.norm).item()

    def distance(self, after, sides):
        """From the step that takes these sides; relative, and of each parameter's sample."""
        exact = gradients(self.name, self.network, normalised(self.images, torch.float64), self.labels,
                          kinks.Kinks(sides=sides))
        parts = [(a - b).square().mean().sqrt() for a, b in zip(self.sampled(after), self.sampled(exact))]
        return self.far(after, exact), torch.stack(parts)

    def sides_of(self, after, units, noise):
        """Those by which a step that could not be watched is explained best, and how many of the units that turns."""
        scale = torch.cat([torch.full((len(at),), 1 / max(part.item(), 1e-30)) for part, at in zip(noise, self.sample)])
        difference = torch.cat([a - b for a, b in zip(self.sampled(after), self.own)])
        rows = kinks.effects(self.kinks, units, self.parameters, self.sample) * scale.float()
        taken = kinks.choose(rows, difference * scale)
        return kinks.turned(self.kinks, [unit for unit, other in zip(units, taken) if other]), int(taken.sum())


def without_chance(network):
    for module in network.modules():
        if isinstance(module, (torch.nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    return network.train()


def compare_step(arguments, name):
    """Distances of Convoy's step and of PyTorch's worst in float32 from float64, over what the step adds."""
    size = arguments.size or size_of(name)
    network = without_chance(make(name, size, num_classes=CLASSES))
    images = np.random.default_rng(3).integers(0, 256, (arguments.images, size, size, 3), dtype=np.uint8)
    labels = torch.arange(len(images)) % CLASSES
    with tempfile.TemporaryDirectory() as folder:
        found = train(arguments, name, network, images, labels.tolist(), folder)
    exact = Step(name, network, images, labels)
    x = normalised(images, torch.float32)
    singles, distances, noise = [], [], 0
    for backwards, fast in ((False, True), (True, True), (False, False)):
        watched = kinks.Kinks(beside=exact.kinks, reversed_batch=backwards)
        with torch.backends.mkldnn.flags(enabled=fast):
            after = gradients(name, network, x.flip(0) if backwards else x,
                              labels.flip(0) if backwards else labels, watched)
        far, parts = exact.distance(after, watched.sides)
        singles.append(watched)
        distances.append(far)
        noise = noise + parts
    here, there, turned = exact.far(found.__getitem__), max(distances), 0
    units = kinks.near(exact.kinks, singles, REACH)
    if here > allowed(there) and units:
        sides, turned = exact.sides_of(found.__getitem__, units, noise)
        here, _ = exact.distance(found.__getitem__, sides)
    return here, there, f" {len(units)}, {turned} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--convoy", default=str(ROOT / "build" / "convoy"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--size", type=int, default=0, help="of the images of --step, where not the network's own")
    arguments = parser.parse_args()
    needs.command(arguments.convoy)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="TF32")
    if arguments.step:
        kinks.check()
    far = False
    more = " within rounding of a kink, turned |" if arguments.step else ""
    print(f"| network | Convoy | PyTorch float32 | of what is allowed |{more}\n|---|---|---|---|{'---|' * bool(more)}")
    for name in arguments.networks or networks():
        here, there, more = (compare_step if arguments.step else compare)(arguments, name)
        share = here / allowed(there)
        far |= not share <= 1
        print(f"| `{name}` | {here:.1e} | {there:.1e} | {share:.2f} |{more}", flush=True)
    sys.exit(far)


if __name__ == "__main__":
    main()
