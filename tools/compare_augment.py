#!/usr/bin/env python3
"""What augmentation is good for and what it costs, beside PyTorch and torchvision.transforms.v2 with the same lists.

    tools/compare_augment.py helps [--convoy build/convoy] [--device D] [--images 2000] [--epochs 40] [--seeds 3]
                                   [--keep FOLDER]
    tools/compare_augment.py steps [--convoy build/convoy] [--device D] [--rounds 5] [--cpu-time] [NETWORK...]
    tools/compare_augment.py photographs [--convoy build/convoy] [--device D] [--rounds 2] [--photographs 1000]

helps        models/resnet_mini.yaml on the first images of Fashion-MNIST, with crop and flip and with none, by Convoy and by
             PyTorch: the recipe's SGD with a rate that falls along a cosine. Prints the accuracies on all test images;
             exits with 1 where Convoy gains less than PyTorch by more than two standard errors of the difference.
             --keep writes what each run came to into a folder, from which an interrupted comparison goes on
steps        training images per second of lenet, mnist_cnn and monkeypox_bn with crop, flip and rotation and without, in
             turn; exits with 1 where a best round has less than 0.9 of the other's. --cpu-time counts seconds of the
             processor instead, for machines that others use too
photographs  seconds for an epoch of monkeypox_bn over JPEG files of 640x480 that are made for it, with RandomResizedCrop,
             flip and ColorJitter, beside PyTorch with a DataLoader of two workers; exits with 1 where PyTorch's best epoch
             is not at least four times as long as Convoy's best one. The first epoch, which decodes, is printed too

Needs torch, torchvision and Pillow; Fashion-MNIST is Debian's (dataset-fashion-mnist) or in --data.
"""
import argparse
import csv
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import needs

needs.packages(__doc__, "numpy", "torch", "torchvision", "PIL")

import numpy as np
import torch
from compare_pytorch import build, read_idx
from PIL import Image
from torch import nn
from torchvision.transforms import v2

ROOT = pathlib.Path(__file__).resolve().parent.parent
LISTS = {"none": "[]", "crop and flip": "[{RandomCrop: {padding: 4}}, RandomHorizontalFlip]"}
TURNED = "[{RandomCrop: {padding: %d}}, RandomHorizontalFlip, {RandomRotation: {degrees: 15}}]"
PHOTOGRAPHS = ("[RandomResizedCrop, RandomHorizontalFlip, "
               "{ColorJitter: {brightness: 0.2, contrast: 0.2, saturation: 0.2}}]")


def convoy(options, *words):
    """The figures of a training, and the seconds of the processor that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([options.convoy, "train", *words, "--device", options.device, "--no-pictures", "--json"],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---- helps ----

class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
                                  nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential() if stride == 1 else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet_mini():
    network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                            Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2), nn.AdaptiveAvgPool2d(1),
                            nn.Flatten(), nn.Linear(64, 10))
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


def accuracy_of_pytorch(options, augmented, seed):
    torch.manual_seed(seed)
    images, labels, test, answers = (torch.from_numpy(read_idx(name, options.data).copy()) for name in (
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"))
    images, labels, test = images[:options.images, None], labels[:options.images].long(), test[:, None]
    change = v2.Compose([v2.RandomCrop(28, padding=4), v2.RandomHorizontalFlip()]) if augmented else lambda image: image
    network = resnet_mini()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.0005)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)
    for _ in range(options.epochs):
        for batch in torch.randperm(options.images).split(128):
            x = torch.stack([change(image) for image in images[batch]]).float() / 255
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), labels[batch]).backward()
            optimizer.step()
        scheduler.step()
    network.eval()
    with torch.no_grad():
        right = sum((network(x.float() / 255).argmax(1) == y).sum().item()
                    for x, y in zip(test.split(1000), answers.split(1000)))
    return right / len(answers)


def accuracy_of_convoy(options, augment, seed, folder):
    """Of the last weights, on all test images, which an epoch would look at each time."""
    model, out = str(ROOT / "models" / "resnet_mini.yaml"), os.path.join(folder, f"{len(os.listdir(folder))}")
    convoy(options, model, "--data", options.data, "--limit-train", str(options.images), "--limit-test", "1", "--epochs",
           str(options.epochs), "--seed", str(seed), "--out", out, "--set", f"augment={augment}", "--set",
           f"scheduler={{CosineAnnealingLR: {{T_max: {options.epochs}}}}}")
    done = subprocess.run([options.convoy, "eval", model, "--weights", os.path.join(out, "last.safetensors"), "--data",
                           options.data, "--device", options.device, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return json.loads(done.stdout)["accuracy"]


def kept(options, side, name, seed, run):
    """What a run comes to, or came to before."""
    if not options.keep:
        return run()
    place = pathlib.Path(options.keep) / f"{side} {name} {seed} {options.images} {options.epochs}.txt"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{run()}\n", encoding="utf-8")
    return float(place.read_text(encoding="utf-8"))


def helps(options):
    results = {side: {name: [] for name in LISTS} for side in ("Convoy", "PyTorch")}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for name, augment in LISTS.items():
                results["Convoy"][name].append(
                    kept(options, "Convoy", name, seed, lambda: accuracy_of_convoy(options, augment, seed, folder)))
                results["PyTorch"][name].append(
                    kept(options, "PyTorch", name, seed, lambda: accuracy_of_pytorch(options, name != "none", seed)))
                print(f"seed {seed}, {name}: {results['Convoy'][name][-1]:.4f}, {results['PyTorch'][name][-1]:.4f}",
                      file=sys.stderr, flush=True)
    gains, variance = {}, 0
    print("| test accuracy | none | crop and flip | gain |\n|---|---|---|---|")
    for side, runs in results.items():
        gains[side] = statistics.mean(runs["crop and flip"]) - statistics.mean(runs["none"])
        variance += sum(statistics.variance(run) / len(run) for run in runs.values() if len(run) > 1)
        print(f"| {side} | " + " | ".join(f"{statistics.mean(run):.4f} ({min(run):.4f} to {max(run):.4f})"
                                          for run in runs.values()) + f" | {gains[side]:+.4f} |")
    error = math.sqrt(variance)
    print(f"\nstandard error of the difference of the gains: {error:.4f}")
    return gains["Convoy"] >= gains["PyTorch"] - 2 * error


# ---- steps ----

STEPS = {"lenet": (256, 200, 3), "mnist_cnn": (60, 600, 3), "monkeypox_bn": (32, 8, 20)}  # batch, steps, padding


def rate_of(options, network, augment, steps, folder):
    """Training images per second, without what a process begins with."""
    batch = STEPS[network][0]
    data = "synthetic" if network == "monkeypox_bn" else options.data
    words = [str(ROOT / "models" / f"{network}.yaml"), "--data", data, "--limit-train", str(batch * steps), "--limit-test",
             "1", "--epochs", "1", "--eval-every", str(1 << 29), "--set", f"augment={augment}"]
    long, seconds = convoy(options, *words, "--out", os.path.join(folder, f"{len(os.listdir(folder))}"))
    if not options.cpu_time:
        return long["images_per_second"]
    _, beginning = convoy(options, *words, "--max-steps", "1", "--out", os.path.join(folder, f"{len(os.listdir(folder))}"))
    return batch * (steps - 1) / (seconds - beginning)


def steps(options):
    good = True
    print("| network | without, images/s | crop, flip, rotation | ratio |\n|---|---|---|---|")
    for network in options.networks or STEPS:
        _, count, padding = STEPS[network]
        rates = ([], [])
        with tempfile.TemporaryDirectory() as folder:
            for augment in ("[]", TURNED % padding):  # kernels are built
                rate_of(options, network, augment, 2, folder)
            for _ in range(options.rounds):
                for which, augment in enumerate(("[]", TURNED % padding)):
                    rates[which].append(rate_of(options, network, augment, count, folder))
        ratio = max(rates[1]) / max(rates[0])
        good &= ratio >= 0.9
        print(f"| {network} | {max(rates[0]):.0f} | {max(rates[1]):.0f} | {ratio:.2f} |", flush=True)
    return good


# ---- photographs ----

def make_photographs(folder, count):
    """JPEG files of two classes, as detailed as photographs are: smooth shapes and some noise."""
    random = np.random.default_rng(1)
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480), Image.BICUBIC)
        pixels = np.asarray(coarse).astype(np.int16) + random.integers(-12, 13, (480, 640, 3), dtype=np.int16)
        path = os.path.join(folder, "ab"[i % 2], f"{i}.jpg")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def epochs_of_convoy(options, data, out, words):
    """The seconds of each epoch, the first with decoding, as the metrics have them."""
    start = time.perf_counter()
    convoy(options, str(ROOT / "models" / "monkeypox_bn.yaml"), "--data", data, "--epochs", str(options.rounds + 1), "--set",
           f"augment={PHOTOGRAPHS}", "--set", "test_fraction=0.002", "--eval-every", str(1 << 29), "--out", out, *words)
    whole = time.perf_counter() - start
    with open(os.path.join(out, "metrics.csv"), encoding="utf-8") as file:
        ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    later = [b - a for a, b in zip(ends, ends[1:])]
    return whole - sum(later), later


def epochs_of_pytorch(options, data):
    from torchvision.datasets import ImageFolder
    _, _, _, layers, make_optimizer = build("monkeypox_bn")
    change = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2, 0.2),
                         v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    loader = torch.utils.data.DataLoader(ImageFolder(data, change), batch_size=32, shuffle=True, num_workers=2)
    network, loss_of = nn.Sequential(*layers), nn.CrossEntropyLoss()
    optimizer, seconds = make_optimizer(network.parameters()), []
    for _ in range(options.rounds):
        start = time.perf_counter()
        for images, labels in loader:
            optimizer.zero_grad()
            loss_of(network(images), labels).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


def photographs(options):
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        make_photographs(data, options.photographs)
        theirs = epochs_of_pytorch(options, data)
        print("| Convoy's photographs | first epoch and all before it, s | least of later epochs, s | PyTorch, least, s | ratio |"
              "\n|---|---|---|---|---|")
        ratios = []
        for name, words in (("whole, 640x480", ("--set", "resize={short_side: 480}")),
                            ("of 256 pixels", ("--set", "resize={short_side: 256}"))):
            first, later = epochs_of_convoy(options, data, os.path.join(folder, name), words)
            ratios.append(min(theirs) / min(later))
            print(f"| {name} | {first:.1f} | {min(later):.1f} | {min(theirs):.1f} | {ratios[-1]:.2f} |", flush=True)
    return min(ratios) >= 4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("helps", "steps", "photographs"))
    parser.add_argument("networks", nargs="*", choices=[*STEPS, []], metavar="NETWORK")
    parser.add_argument("--convoy", default=str(ROOT / "build" / "convoy"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    for name, value in (("images", 2000), ("epochs", 40), ("seeds", 3), ("rounds", 3), ("photographs", 1000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--keep", metavar="FOLDER", help="of helps: what runs came to, which are not run again")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; default: as many as it likes")
    options = parser.parse_intermixed_args()
    needs.command(options.convoy)
    if options.threads:
        torch.set_num_threads(options.threads)
    sys.exit(0 if {"helps": helps, "steps": steps, "photographs": photographs}[options.what](options) else 1)


if __name__ == "__main__":
    main()
