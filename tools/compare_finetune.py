#!/usr/bin/env python3
"""Fine-tunes ResNet-18 with Convoy and with PyTorch from the same file, and compares what they reach.

    tools/compare_finetune.py [--convoy build/convoy] [--device D] [--size 32] [--images 480] [--few 160] [--test 200]
                              [--epochs 3] [--seeds 3]

Convoy trains models/resnet18.yaml on eight classes of Fashion-MNIST, as colour pictures of SIZE x SIZE; `convoy convert`
makes a .pth file of the weights, which torchvision's resnet18 takes with strict=True. From that file both are trained on
the remaining two, T-shirts and shirts, which are hard to tell apart, with another last layer: as
models/resnet18_finetune.yaml says (frozen layers with the statistics of their batch-norms, and a slower last stage), and
with nothing frozen (models/resnet18.yaml). Each runs with several seeds, of the new layer and of the order of images.

Prints a table, and exits with 1 where the means of the test accuracies differ by more than the wider of the two spreads
(largest less smallest) and by more than 0.02. Needs torch, torchvision, Pillow and PyYAML; the images are Debian's
(dataset-fashion-mnist) or in --data. At its defaults it takes two minutes of one core.
"""
import argparse
import copy
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import needs

needs.packages(__doc__, "numpy", "torch", "torchvision", "yaml", "PIL")

import numpy as np
import torch
import torchvision
import yaml
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
NAMES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
TWO = [0, 6]
EIGHT = [label for label in range(10) if label not in TWO]


def idx(path, start):
    with gzip.open(path) as file:
        return np.frombuffer(file.read()[start:], dtype=np.uint8)


def write_pictures(arguments, folder, labels, count, split):
    """The first `count` images of these classes as <folder>/<split>/<class>/<number>.png; they and their places in `labels`."""
    prefix = os.path.join(arguments.data, "train" if split == "train" else "t10k")
    every = idx(f"{prefix}-labels-idx1-ubyte.gz", 8)
    pixels = idx(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    chosen = np.flatnonzero(np.isin(every, labels))[:count]
    pictures = []
    for i in chosen:
        target = os.path.join(folder, split, NAMES[every[i]])
        os.makedirs(target, exist_ok=True)
        picture = Image.fromarray(pixels[i]).resize((arguments.size, arguments.size), Image.BILINEAR).convert("RGB")
        picture.save(os.path.join(target, f"{i}.png"))
        pictures.append(np.asarray(picture))
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return (x - MEAN) / STD, torch.tensor([labels.index(label) for label in every[chosen].tolist()])


def convoy(arguments, *words):
    done = subprocess.run([arguments.convoy, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return done.stdout


def train_convoy(arguments, folder, model, data, out, *words):
    """Its figures. The model file is that of models/, for images of this size."""
    path = os.path.join(folder, f"{model}-{arguments.size}.yaml")
    pathlib.Path(path).write_text(f"extends: {ROOT}/models/{model}.yaml\n"
                                  f"input: [3, {arguments.size}, {arguments.size}]\n", encoding="utf-8")
    return json.loads(convoy(arguments, "train", path, "--data", data, "--device", arguments.device, "--epochs",
                             str(arguments.epochs), "--json", "--out", os.path.join(folder, out), *words))


def recipe_of(model):
    """The recipe, with those of the files that it extends."""
    file = yaml.safe_load((ROOT / "models" / f"{model}.yaml").read_text(encoding="utf-8"))
    under = recipe_of(file["extends"].removesuffix(".yaml")) if "extends" in file else {}
    return {**under, **file["recipe"]}


def belongs(name, patterns):
    return any(name == pattern or name.startswith(pattern + ".") for pattern in patterns)


def prepare(network, recipe):
    """Freezes what the recipe freezes; the optimizer of the rest."""
    settings = recipe["optimizer"]["SGD"]
    frozen, groups = recipe.get("freeze", []), recipe.get("groups", [])
    left = {name: p for name, p in network.named_parameters() if not belongs(name, frozen)}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in left)
    network.train()
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and belongs(name, frozen):
            module.eval()
    parts = []
    for group in groups:
        own = [left.pop(name) for name in list(left) if belongs(name, [group["match"]])]
        parts.append({"params": own, **{key: value for key, value in group.items() if key != "match"}})
    return torch.optim.SGD([*parts, {"params": list(left.values())}], **settings)


def train_pytorch(arguments, start, model, train, test, seed):
    """The test accuracy."""
    torch.manual_seed(seed)
    recipe = recipe_of(model)
    network = copy.deepcopy(start)
    network.fc = torch.nn.Linear(network.fc.in_features, len(TWO))
    optimizer = prepare(network, recipe)
    for _ in range(arguments.epochs):
        for batch in torch.randperm(len(train[0])).split(recipe["batch_size"]):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(train[0][batch]), train[1][batch]).backward()
            optimizer.step()
    with torch.no_grad():
        return (network.eval()(test[0]).argmax(1) == test[1]).double().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--convoy", default=str(ROOT / "build" / "convoy"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    for name, value in (("size", 32), ("images", 480), ("few", 160), ("test", 200), ("epochs", 3), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    needs.command(arguments.convoy)
    torch.set_num_threads(1)
    bad = False
    with tempfile.TemporaryDirectory() as folder:
        eight, two = os.path.join(folder, "eight"), os.path.join(folder, "two")
        for split, count in (("train", arguments.images), ("test", arguments.test)):
            write_pictures(arguments, eight, EIGHT, count, split)
        train, test = (write_pictures(arguments, two, TWO, count, split)
                       for split, count in (("train", arguments.few), ("test", arguments.test)))
        first = train_convoy(arguments, folder, "resnet18", eight, "first")
        weights = os.path.join(folder, "eight.pth")
        convoy(arguments, "convert", os.path.join(folder, "first", "last.safetensors"), weights)
        start = torchvision.models.resnet18(num_classes=len(EIGHT))
        start.load_state_dict(torch.load(weights, weights_only=True), strict=True)
        print(f"eight classes: {first['test_accuracy']:.3f} of the test images after {arguments.epochs} epochs")
        print("| two others | Convoy | PyTorch |\n|---|---|---|")
        for title, model in (("as resnet18_finetune", "resnet18_finetune"), ("nothing frozen", "resnet18")):
            here, there = [], []
            for seed in range(arguments.seeds):
                here.append(train_convoy(arguments, folder, model, two, f"{model}-{seed}", "--init", weights, "--seed",
                                         str(seed))["test_accuracy"])
                there.append(train_pytorch(arguments, start, model, train, test, seed))
            spread = max(max(part) - min(part) for part in (here, there))
            bad |= abs(np.mean(here) - np.mean(there)) > max(spread, 0.02)
            print(f"| {title} | " + " | ".join(f"{np.mean(part):.3f} ({min(part):.3f} to {max(part):.3f})"
                                               for part in (here, there)) + " |", flush=True)
    sys.exit(int(bad))


if __name__ == "__main__":
    main()
