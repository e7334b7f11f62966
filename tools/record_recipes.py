#!/usr/bin/env python3
"""Records what PyTorch computes in 30 training steps with each way to train that a recipe can ask for beside loss and
optimizer, for tests/train/test_recipes.c.

    python3 tools/record_recipes.py [--out tests/train/recipes.json]

The formulas of weights, images and labels, the sketches of tensors and the yardstick (float32 against float64) are those
of tools/record_parity.py. The network is small, with a batch-norm. `recipe` is what Convoy's model file says; `train`
below is what a PyTorch user writes for it.
"""
import argparse
import json
import os

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import record_parity as parity

STEPS, BATCH, CLASSES, SHAPE = 30, 20, 10, (1, 8, 8)
WEIGHTS = [1, 2, 0.5, 3, 1, 0.25, 1, 1.5, 0.75, 1]
MOMENTUM = "optimizer: {SGD: {lr: 0.2, momentum: 0.9, weight_decay: 0.01}}"
ADAM = "optimizer: {Adam: {lr: 0.01}}"
CASES = {
    "label_smoothing": [MOMENTUM, "label_smoothing: 0.1"],
    "class_weights": [ADAM, f"class_weights: {WEIGHTS}"],
    "both": [MOMENTUM, "label_smoothing: 0.2", f"class_weights: {WEIGHTS}"],
    "both_in_pieces": [MOMENTUM, "label_smoothing: 0.2", f"class_weights: {WEIGHTS}", "micro_batch: 8"],
    "clip_grad_norm": ["optimizer: {SGD: {lr: 0.5}}", "clip_grad_norm: 0.3"],
    "groups": [MOMENTUM, 'groups: [{match: "*.bias", lr: 0.05, weight_decay: 0}, {match: "1", weight_decay: 0}]'],
    "groups_adam": [ADAM, 'groups: [{match: "5", lr: 0.002, weight_decay: 0.1}]'],
    "freeze_beginning": [MOMENTUM, 'freeze: ["0", "1"]'],
    "freeze_batchnorm": [ADAM, 'freeze: ["1.*"]'],
    "freeze_part": [MOMENTUM, 'freeze: ["0.b*"]', 'groups: [{match: "0", lr: 0.1}]'],
    "ema": [ADAM, "ema: 0.9"],
    "one_cycle": [MOMENTUM, f"scheduler: {{OneCycleLR: {{max_lr: 0.3, total_steps: {STEPS}}}}}"],
}
FROZEN = {"freeze_beginning": ["0.", "1."], "freeze_batchnorm": ["1."], "freeze_part": ["0.bias"]}


def layers():
    return [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, CLASSES)]


def make(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(*layers()).to(dtype)
    start, rows = parity.initial(net, None)
    net.load_state_dict({k: v.to(dtype) for k, v in start.items()}, strict=False)
    return net, rows


def make_optimizer(name, net):
    def named(pick):
        return [p for n, p in net.named_parameters() if p.requires_grad and pick(n)]

    if name == "groups":
        groups = [{"params": named(lambda n: n.endswith(".bias")), "lr": 0.05, "weight_decay": 0},
                  {"params": named(lambda n: n == "1.weight"), "weight_decay": 0},
                  {"params": named(lambda n: not n.endswith(".bias") and n != "1.weight")}]
    elif name == "groups_adam":
        groups = [{"params": named(lambda n: n.startswith("5.")), "lr": 0.002, "weight_decay": 0.1},
                  {"params": named(lambda n: not n.startswith("5."))}]
    elif name == "freeze_part":
        groups = [{"params": named(lambda n: n.startswith("0.")), "lr": 0.1},
                  {"params": named(lambda n: not n.startswith("0."))}]
    else:
        groups = [{"params": named(lambda n: True)}]
    if CASES[name][0] == ADAM:
        return torch.optim.Adam(groups, lr=0.01)
    if name == "clip_grad_norm":
        return torch.optim.SGD(groups, lr=0.5)
    return torch.optim.SGD(groups, lr=0.2, momentum=0.9, weight_decay=0.01)


def backward(name, net, images, labels, dtype):
    """The loss of a step; the gradients are in the parameters."""
    weights = torch.tensor(WEIGHTS, dtype=dtype) if name.startswith(("class", "both")) else None
    smoothing = {"label_smoothing": 0.1, "both": 0.2, "both_in_pieces": 0.2}.get(name, 0)
    piece = 8 if name == "both_in_pieces" else BATCH
    total = weights[labels].sum() if weights is not None else BATCH
    sum_of_losses = 0
    for first in range(0, BATCH, piece):
        part = slice(first, first + piece)
        loss = F.cross_entropy(net(images[part]), labels[part], weight=weights, label_smoothing=smoothing,
                               reduction="sum") / total
        loss.backward()
        sum_of_losses += loss.item()
    return sum_of_losses


def train(name, dtype):
    net, rows = make(dtype)
    net.train()
    for frozen in FROZEN.get(name, []):
        for n, p in net.named_parameters():
            p.requires_grad_(p.requires_grad and not n.startswith(frozen))
        if frozen == "1.":
            net[1].eval()
    optimizer, losses, average = make_optimizer(name, net), [], None
    if name == "one_cycle":
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=STEPS)
    if name == "ema":
        average = torch.optim.swa_utils.AveragedModel(
            net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    for step in range(STEPS):
        images, labels = parity.batch(step, BATCH, SHAPE, CLASSES)
        optimizer.zero_grad()
        losses.append(backward(name, net, images.to(dtype), labels, dtype))
        if name == "clip_grad_norm":
            nn.utils.clip_grad_norm_(net.parameters(), 0.3)
        optimizer.step()
        if name == "one_cycle" and step < STEPS - 1:
            scheduler.step()
        if average:
            average.update_parameters(net)
    state = (average.module if average else net).state_dict()
    for row in rows:
        row["value"] = state[row["name"]].double().numpy().reshape(-1)
    return losses, rows, net


def record(name):
    losses, rows, net = train(name, torch.float64)
    losses32, rows32, _ = train(name, torch.float32)
    skipped = parity.bias_before_batchnorm(net) if "freeze" not in name else set()
    out = []
    for row, row32 in zip(rows, rows32):
        value = row.pop("value")
        row["norm"] = float(np.linalg.norm(value)) or 1.0
        row["yardstick"] = float(f"{np.linalg.norm(row32['value'] - value) / row['norm']:.3g}")
        row["compare"] = row["name"] not in skipped
        kind, kept = ("values", value) if value.size <= parity.BUCKETS else ("sketch", parity.sketch(value, row["stream"]))
        row[kind] = [float(f"{v:.12g}") for v in kept]
        out.append(row)
    yardstick = max(abs(a - b) / abs(a) for a, b in zip(losses, losses32))
    worst = max(row["yardstick"] for row in out if row["compare"])
    print(f"{name}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, float32 strays by {yardstick:.1e}, tensors by {worst:.1e}")
    return {"name": name, "recipe": CASES[name], "losses": losses, "loss_yardstick": yardstick, "tensors": out}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "tests", "train", "recipes.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    head = {"torch": torch.__version__, "batch_size": BATCH, "classes": CLASSES}
    cases = [json.dumps(record(name)) for name in CASES]
    with open(arguments.out, "w") as file:
        file.write(json.dumps(head)[:-1] + ', "cases": [\n' + ",\n".join(cases) + "\n]}\n")


if __name__ == "__main__":
    main()
