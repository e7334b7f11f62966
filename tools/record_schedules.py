#!/usr/bin/env python3
"""Records the learning rate (and momentum) of every step of each torch.optim.lr_scheduler, for tests/model/test_schedule.c.

    python3 tools/record_schedules.py [--out tests/model/schedules.json]

A scheduler is written once, as Convoy's recipe has it: torch gets the same name and arguments. `by: epoch` calls
scheduler.step() after each epoch of STEPS steps, `by: step` after each step; ReduceLROnPlateau gets METRICS in turn.
Only torch and PyYAML are needed.
"""
import argparse
import json
import os
import warnings

import torch
import yaml
from torch.optim import lr_scheduler

EPOCHS, STEPS = 24, 5
METRICS = [3, 2.5, 2.4, 2.41, 2.42, 2.43, 2.4, 2.39999, 2.2, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3, 1, 1, 1, 1, 1, 1, 1, 1, 1]
SGD, MOMENTUM, ADAM = "{SGD: {lr: 0.3}}", "{SGD: {lr: 0.3, momentum: 0.9}}", "{Adam: {lr: 0.002}}"
CASES = [
    (SGD, "{StepLR: {step_size: 7}}"),
    (SGD, "{StepLR: {step_size: 30, gamma: 0.5, by: step}}"),
    (SGD, "{MultiStepLR: {milestones: [3, 4, 15], gamma: 0.2}}"),
    (ADAM, "{ExponentialLR: {gamma: 0.97}}"),
    (ADAM, "{ExponentialLR: {gamma: 0.97, by: step}}"),
    (SGD, "{ConstantLR: {factor: 0.5, total_iters: 4}}"),
    (SGD, "LinearLR"),
    (SGD, "{LinearLR: {start_factor: 0.01, end_factor: 0.8, total_iters: 33, by: step}}"),
    (SGD, "{PolynomialLR: {total_iters: 20, power: 2}}"),
    (SGD, "{CosineAnnealingLR: {T_max: 24}}"),
    (ADAM, "{CosineAnnealingLR: {T_max: 10, eta_min: 0.0001}}"),
    (SGD, "{CosineAnnealingLR: {T_max: 120, eta_min: 0.01, by: step}}"),
    (SGD, "{CosineAnnealingWarmRestarts: {T_0: 5}}"),
    (SGD, "{CosineAnnealingWarmRestarts: {T_0: 3, T_mult: 2, eta_min: 0.01}}"),
    (MOMENTUM, "{OneCycleLR: {max_lr: 0.5, total_steps: 120}}"),
    (ADAM, "{OneCycleLR: {max_lr: 0.01, total_steps: 120, pct_start: 0.4, anneal_strategy: linear, three_phase: true}}"),
    (SGD, "{OneCycleLR: {max_lr: 0.5, total_steps: 24, cycle_momentum: false, div_factor: 10, by: epoch}}"),
    (SGD, "{SequentialLR: {schedulers: [{LinearLR: {total_iters: 4}}, {CosineAnnealingLR: {T_max: 16}}, "
          "{ExponentialLR: {gamma: 0.5}}], milestones: [4, 20]}}"),
    (SGD, "{SequentialLR: {schedulers: [{LinearLR: {start_factor: 0.1, total_iters: 10}}, {StepLR: {step_size: 40}}], "
          "milestones: [10], by: step}}"),
    (SGD, "{SequentialLR: {schedulers: [{SequentialLR: {schedulers: [{ConstantLR: {factor: 0.5, total_iters: 100}}, "
          "{ExponentialLR: {gamma: 0.8}}, {StepLR: {step_size: 2}}], milestones: [3, 8]}}, {LinearLR: {total_iters: 4}}, "
          "{CosineAnnealingLR: {T_max: 8}}], milestones: [12, 16]}}"),
    (SGD, "{SequentialLR: {schedulers: [{SequentialLR: {schedulers: [{SequentialLR: {schedulers: [{LinearLR: "
          "{total_iters: 6}}, {ExponentialLR: {gamma: 0.9}}], milestones: [6]}}, {PolynomialLR: {total_iters: 10}}], "
          "milestones: [20]}}, {StepLR: {step_size: 10}}], milestones: [40], by: step}}"),
    (SGD, "{ReduceLROnPlateau: {patience: 2}}"),
    (SGD, "{ReduceLROnPlateau: {patience: 1, factor: 0.5, cooldown: 2, min_lr: 0.05, threshold: 0.05, "
          "threshold_mode: abs}}"),
    (SGD, "{ReduceLROnPlateau: {monitor: accuracy, mode: max, patience: 0, factor: 0.3}}"),
]
STEPWISE = {"OneCycleLR"}  # their default


def named(node):
    return (node, {}) if isinstance(node, str) else next(iter(node.items()))


def make(optimizer, node):
    """The scheduler, and whether it counts steps."""
    name, arguments = named(node)
    arguments = dict(arguments or {})
    by_step = arguments.pop("by", "step" if name in STEPWISE else "epoch") == "step"
    arguments.pop("monitor", None)
    if name == "SequentialLR":
        arguments["schedulers"] = [make(optimizer, part)[0] for part in arguments["schedulers"]]
    return getattr(lr_scheduler, name)(optimizer, **arguments), by_step


def record(optimizer_text, text):
    name, arguments = named(yaml.safe_load(optimizer_text))
    optimizer = getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(1))], **arguments)
    scheduler, by_step = make(optimizer, yaml.safe_load(text))
    rates, momenta = [], []
    for epoch in range(EPOCHS):
        for step in range(STEPS):
            group = optimizer.param_groups[0]
            rates.append(group["lr"])
            momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
            optimizer.step()
            if by_step and epoch * STEPS + step < EPOCHS * STEPS - 1:
                scheduler.step()
        if not by_step and epoch < EPOCHS - 1:
            scheduler.step(METRICS[epoch]) if "Plateau" in text else scheduler.step()
    return {"optimizer": optimizer_text, "scheduler": text, "rates": rates, "momenta": momenta}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "tests", "model", "schedules.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    result = {"torch": torch.__version__, "epochs": EPOCHS, "steps": STEPS, "metrics": METRICS,
              "cases": [record(*case) for case in CASES]}
    with open(arguments.out, "w") as file:
        file.write("{\n" + ",\n".join(f'"{key}": {json.dumps(value)}' for key, value in result.items() if key != "cases"))
        file.write(',\n"cases": [\n' + ",\n".join(json.dumps(case) for case in result["cases"]) + "\n]}\n")
    print(f"{len(CASES)} schedules of {EPOCHS} epochs of {STEPS} steps, by torch {torch.__version__}")


if __name__ == "__main__":
    main()
