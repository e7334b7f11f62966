#!/usr/bin/env python3
"""Convoy on ranks against PyTorch's DistributedDataParallel (gloo) on as many processes: the same weights, the same
batches of Fashion-MNIST, a number of steps, then every parameter.

    tools/compare_ddp.py [--convoy PATH] [--ranks N] [--steps N] [--device D]

DDP in float64 is the truth, and how far DDP in float32 strays from it, tensor by tensor, is the yardstick: Convoy may
stray at most four times as far, with a floor of 1e-6. Batch-norm takes its statistics from each rank's images on both
sides; with sync_batch_norm, from the whole batch, and the other side is one process whose BatchNorm2d sees it, which is
what torch.nn.SyncBatchNorm is defined to be (its own forward wants a GPU). The bias of a convolution in front of one,
whose gradient is nothing but rounding, is left out, and so are running statistics, of which DDP keeps one rank's. Needs torch, numpy and safetensors, and an mpirun.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import needs

needs.packages(__doc__, "torch", "numpy", "safetensors")

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compare_pytorch import FASHION, ROOT, read_idx

BATCH = 64
NETWORKS = {
    "mnist_cnn": (lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 10)),
        lambda parameters: torch.optim.Adam(parameters, lr=0.001), [], """
  - Conv2d: {out_channels: 8, kernel_size: 3, padding: 1}
  - ReLU
  - MaxPool2d: {kernel_size: 2}
  - Conv2d: {out_channels: 16, kernel_size: 3, padding: 1}
  - ReLU
  - MaxPool2d: {kernel_size: 2}
  - Flatten
  - Linear: {out_features: 10}
recipe:
  optimizer: {Adam: {lr: 0.001}}
"""),
    "batch_norm": (lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 10)),
        lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9), ["0.bias", "4.bias"], """
  - Conv2d: {out_channels: 8, kernel_size: 3, padding: 1}
  - BatchNorm2d
  - ReLU
  - MaxPool2d: {kernel_size: 2}
  - Conv2d: {out_channels: 16, kernel_size: 3, padding: 1}
  - BatchNorm2d
  - ReLU
  - MaxPool2d: {kernel_size: 2}
  - Flatten
  - Linear: {out_features: 10}
recipe:
  optimizer: {SGD: {lr: 0.01, momentum: 0.9}}
"""),
}


# Without kinks, at which one unit's side decides about all digits from there on.
NETWORKS["sync_batch_norm"] = (lambda: nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
    nn.BatchNorm2d(16), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(784, 10)), *NETWORKS["batch_norm"][1:3],
    NETWORKS["batch_norm"][3].replace("ReLU", "Tanh").replace("MaxPool2d", "AvgPool2d") + "  sync_batch_norm: true\n")


def ddp(rank, ranks, name, steps, folder, precision):
    """One process; rank 0 leaves the parameters."""
    torch.set_num_threads(1)
    dtype = getattr(torch, precision)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/{name}.{precision}.meet", rank=rank,
                                         world_size=ranks)
    build, optimizer_of, _, _ = NETWORKS[name]
    network = build()
    network.load_state_dict(load_file(f"{folder}/{name}.init.safetensors"))
    network = nn.parallel.DistributedDataParallel(network.to(dtype))
    optimizer = optimizer_of(network.parameters())
    images = torch.from_numpy(read_idx("train-images-idx3-ubyte")[:steps * BATCH].copy()).unsqueeze(1)
    labels = torch.from_numpy(read_idx("train-labels-idx1-ubyte")[:steps * BATCH].copy()).long()
    share = BATCH // ranks
    for step in range(steps):
        own = slice(step * BATCH + rank * share, step * BATCH + (rank + 1) * share)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[own].to(dtype) / 255), labels[own]).backward()
        optimizer.step()
    if rank == 0:
        torch.save(network.module.state_dict(), f"{folder}/{name}.{precision}.pt")
    torch.distributed.destroy_process_group()


def train_convoy(options, name, folder):
    model = f"{folder}/{name}.yaml"
    with open(model, "w", encoding="utf-8") as file:
        file.write(f"name: {name}\ninput: [1, 28, 28]\nlayers:{NETWORKS[name][3]}"
                   f"  data: {FASHION}\n  batch_size: {BATCH}\n  epochs: 1\n  shuffle: false\n")
    out = f"{folder}/{name}.run"
    subprocess.run([options.convoy, "train", model, "--devices", ",".join([options.device] * options.ranks), "--pieces",
                    str(options.ranks), "--init", f"{folder}/{name}.init.safetensors", "--init-strict", "--limit-train",
                    str(options.steps * BATCH), "--limit-test", "100", "--no-pictures", "--out", out], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return load_file(out + "/last.safetensors")


def compare(options, name, folder):
    torch.manual_seed(1)
    network = NETWORKS[name][0]()
    save_file(network.state_dict(), f"{folder}/{name}.init.safetensors")
    found = {}
    for precision in ("float64", "float32"):
        ranks = 1 if name.startswith("sync") else options.ranks
        torch.multiprocessing.spawn(ddp, (ranks, name, options.steps, folder, precision), ranks)
        found[precision] = torch.load(f"{folder}/{name}.{precision}.pt")
    found["convoy"] = train_convoy(options, name, folder)
    good = True
    for tensor in dict(network.named_parameters()):
        if tensor in NETWORKS[name][2]:
            continue
        truth = found["float64"][tensor]
        strays = {side: float((found[side][tensor].double() - truth).norm() / truth.norm())
                  for side in ("float32", "convoy")}
        fits = strays["convoy"] <= max(1e-6, 4 * strays["float32"])
        good = good and fits
        print(f"| {name} | {tensor} | {strays['float32']:.1e} | {strays['convoy']:.1e} | {'' if fits else 'too far'} |")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--convoy", default=os.path.join(ROOT, "build", "convoy"))
    parser.add_argument("--ranks", type=int, default=2, choices=(1, 2, 4, 8))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    needs.command(options.convoy)
    print("| network | parameter | DDP, float32 | Convoy | |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        good = [compare(options, name, folder) for name in NETWORKS]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
