#!/usr/bin/env python3
"""Compares two builds of Convoy, say of a change and of what it began from.

    tools/compare_builds.py bits OLD NEW [--keep FILE] [--chosen] [--device D] [NETWORK...]
    tools/compare_builds.py speed OLD NEW [--rounds N] [--seconds S] [--device D] [NETWORK...]

OLD and NEW are `convoy` commands. `bits` trains each network for 30 steps by both, with the variants that are chosen
and with each one forced that the network can run, and compares the weights byte for byte; networks of large images take
part as their small twins of tests/models/. --keep FILE keeps OLD's answers for the next call; --chosen forces nothing.
`speed` runs `convoy bench` of both in turn and prints the ratio NEW over OLD of each network, the median of the rounds
and the spread.

Nothing that was measured before counts (CONVOY_TUNE=0). Exits with 1 where bits differ.
"""

import argparse
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 30
# network: model file of `bits`, images a step there
SMALL = {
    "lenet": ("models/lenet.yaml", 32),
    "lenet5": ("models/lenet5.yaml", 16),
    "mnist_cnn": ("models/mnist_cnn.yaml", 60),
    "digits_cnn": ("models/digits_cnn.yaml", 20),
    "alexnet": ("tests/models/alexnet_67.yaml", 6),
    "alexnet_imagenet": ("tests/models/alexnet_imagenet_67.yaml", 6),
    "monkeypox_bn": ("tests/models/monkeypox_bn_48.yaml", 12),
    "monkeypox_bn_deep": ("tests/models/monkeypox_bn_deep_48.yaml", 12),
    "resnet_mini": ("models/resnet_mini.yaml", 20),
    "densenet_mini": ("models/densenet_mini.yaml", 20),
}
SPEED = [name for name in SMALL if not name.endswith("_mini")]
VARIANTS = {
    "conv2d": ["winograd8_cpu", "winograd6_cpu", "winograd1d_cpu", "direct_cpu", "winograd_gpu", "tile_gpu", "im2col_gemm"],
    "gemm": ["tile_cpu", "tile_gpu", "clblast"],
}
CHOICES = [None] + [f"{op}={name}" for op, names in VARIANTS.items() for name in names]


def environment():
    return {**os.environ, "CONVOY_TUNE": "0", "CONVOY_CACHE": "0"}


def train(command, network, variant, device):
    """The digest of the weights after the last step, or what the command said instead."""
    path, batch = SMALL[network]
    with tempfile.TemporaryDirectory() as folder:
        call = [command, "train", str(ROOT / path), "--data", "synthetic", "--device", device, "--seed", "1", "--out",
                folder, "--batch-size", str(batch), "--limit-train", str(STEPS * batch - 3), "--limit-test", "16",
                "--max-steps", str(STEPS), "--epochs", "1"]
        done = subprocess.run(call + (["--variant", variant] if variant else []), capture_output=True, text=True,
                              env=environment())
        if done.returncode:
            return f"exit {done.returncode}"
        weights = (pathlib.Path(folder) / "last.safetensors").read_bytes()
        header = int.from_bytes(weights[:8], "little")  # what a file says about itself is no answer
        return hashlib.sha256(weights[8 + header:]).hexdigest()


def compare_bits(options):
    kept = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    wrong = 0
    for network in options.networks or SMALL:
        for variant in CHOICES[:1] if options.chosen else CHOICES:
            key = f"tensors of {network} {variant or 'chosen'} {options.device}"
            if key not in kept:
                kept[key] = train(options.old, network, variant, options.device)
                if options.keep:
                    options.keep.write_text(json.dumps(kept, indent=1))
            new = train(options.new, network, variant, options.device)
            same = new == kept[key]
            wrong += not same
            said = new if new.startswith("exit") else ""
            print(f"{'same   ' if same else 'DIFFERS'} {key} {said}", flush=True)
            if not same:
                print(f"        before: {kept[key]}")
    print(f"{wrong} differ")
    return wrong


def bench(command, network, seconds, device):
    done = subprocess.run([command, "bench", str(ROOT / "models" / f"{network}.yaml"), "--no-layers", "--seconds",
                           str(seconds), "--device", device, "--json"], capture_output=True, text=True, check=True,
                          env=environment())
    figures = json.loads(done.stdout)
    return figures["train_images_per_second"], figures["eval_images_per_second"]


def compare_speed(options):
    print("| network | training, new / old | evaluation, new / old |\n|---|---|---|")
    for network in options.networks or SPEED:
        ratios = []
        for i in range(options.rounds):
            commands = [options.old, options.new] if i % 2 == 0 else [options.new, options.old]
            figures = {command: bench(command, network, options.seconds, options.device) for command in commands}
            ratios.append([new / old for new, old in zip(figures[options.new], figures[options.old])])
        print(f"| {network} | " + " | ".join(
            f"**{statistics.median(column):.3f}** ({min(column):.2f}-{max(column):.2f})" for column in zip(*ratios)) + " |",
              flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bits", "speed"])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--chosen", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1)
    options = parser.parse_intermixed_args()
    unknown = sorted(set(options.networks) - set(SMALL))
    if unknown:
        parser.error(f"what is {unknown[0]}? Networks are {', '.join(SMALL)}")
    sys.exit(1 if (compare_bits if options.what == "bits" else compare_speed)(options) else 0)


if __name__ == "__main__":
    main()
