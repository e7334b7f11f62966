#!/usr/bin/env python3
"""Convoy against PyTorch: images per second of a training step and of evaluation, both sides in turn.

    tools/compare_pytorch.py [--rounds N] [--seconds S] [--mode eager|compile|graph] [--device D] [--torch-device D]
                             [--json FILE] [NETWORK...]

Each round runs every network once with `convoy bench` and once with PyTorch, each in a process of its own, so that a
machine whose speed drifts treats both alike. Data is random and on the device on both sides: this times forward, loss,
backward and optimizer alone. The ratio is Convoy's rate over PyTorch's in the same round; the table shows the median and
the spread over rounds. Run it with a Python that has torch (`pip install torch`, or Debian's python3-torch).

Prints a Markdown table on stdout; --json writes the figures of every round as well.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NETWORKS = ["lenet", "mnist_cnn", "digits_cnn", "monkeypox_bn", "monkeypox_bn_deep", "alexnet", "alexnet_imagenet"]


def build(name):
    """The network of models/<name>.yaml: (batch size, input shape, classes, layers, optimizer of its recipe)."""
    from torch import nn, optim

    def conv_bn(i, o):
        return [nn.Conv2d(i, o, 5), nn.BatchNorm2d(o), nn.ReLU()]

    def photo_stem():
        return [*conv_bn(3, 12), *conv_bn(12, 12), nn.MaxPool2d(2), *conv_bn(12, 24), *conv_bn(24, 24), nn.MaxPool2d(2)]

    def alexnet(channels, classes):
        def conv(i, o, k, **options):
            return [nn.Conv2d(i, o, k, **options), nn.ReLU()]

        return [*conv(channels, 96, 11, stride=4, padding=1), nn.MaxPool2d(3, 2), *conv(96, 256, 5, padding=2),
                nn.MaxPool2d(3, 2), *conv(256, 384, 3, padding=1), *conv(384, 384, 3, padding=1),
                *conv(384, 256, 3, padding=1), nn.MaxPool2d(3, 2), nn.Flatten(),
                nn.Linear(6400, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5),
                nn.Linear(4096, classes)]

    def sgd(lr):
        return lambda parameters, **options: optim.SGD(parameters, lr=lr)

    def adam(parameters, **options):
        return optim.Adam(parameters, lr=0.001, **options)

    digits = [nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(),
              nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(),
              nn.Flatten(), nn.Linear(3136, 10)]
    lenet = [nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
             nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
             nn.Linear(84, 10)]
    mnist = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
             nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 10)]
    if name == "lenet":
        return 256, (1, 28, 28), 10, lenet, sgd(0.9)
    if name == "mnist_cnn":
        return 60, (1, 28, 28), 10, mnist, adam
    if name == "digits_cnn":
        return 64, (1, 28, 28), 10, digits, adam
    if name == "monkeypox_bn":
        return 32, (3, 224, 224), 2, [*photo_stem(), nn.Flatten(), nn.Linear(60000, 2)], sgd(1e-4)
    if name == "monkeypox_bn_deep":
        layers = [*photo_stem(), *conv_bn(24, 48), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(25392, 2)]
        return 32, (3, 224, 224), 2, layers, adam
    if name == "alexnet":
        return 128, (1, 224, 224), 10, alexnet(1, 10), sgd(0.01)
    assert name == "alexnet_imagenet"
    return 128, (3, 224, 224), 1000, alexnet(3, 1000), sgd(0.01)


def rate(run, wait, images, seconds):
    """Median images per second over windows of an eighth of the time, after three runs that are not counted."""
    for _ in range(3):
        run()
    wait()
    rates, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(rates) < 3:
        start, count = time.perf_counter(), 0
        while count < 1 or time.perf_counter() - start < seconds / 8:
            run()
            count += 1
        wait()
        rates.append(images * count / (time.perf_counter() - start))
    return statistics.median(rates)


def graph_of(step):
    """The step captured once as a CUDA graph."""
    import torch
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def pytorch_side(name, options):
    """What the child process prints: one JSON object."""
    import torch
    batch, shape, classes, layers, make_optimizer = build(name)
    device = torch.device(options.torch_device)
    torch.manual_seed(0)
    network = torch.nn.Sequential(*layers).to(device)
    images = torch.rand(batch, *shape, device=device)
    labels = torch.randint(0, classes, (batch,), device=device)
    capturable = {"capturable": True} if options.mode == "graph" else {}
    optimizer, loss_of = make_optimizer(network.parameters(), **capturable), torch.nn.CrossEntropyLoss()
    model = torch.compile(network, mode="reduce-overhead") if options.mode == "compile" else network
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)

    def step():
        optimizer.zero_grad(set_to_none=options.mode != "graph")
        loss_of(model(images), labels).backward()
        optimizer.step()

    def infer():
        with torch.no_grad():
            model(images)

    network.train()
    training = rate(graph_of(step) if options.mode == "graph" else step, wait, batch, options.seconds)
    network.eval()
    evaluation = rate(infer, wait, batch, options.seconds / 2)
    print(json.dumps({"batch_size": batch, "version": torch.__version__, "train": training, "eval": evaluation}))


def child(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def one_round(name, options):
    convoy = child([options.convoy, "bench", os.path.join(ROOT, "models", name + ".yaml"), "--json", "--no-layers",
                    "--seconds", str(options.seconds)] + (["--device", options.device] if options.device else []))
    torch = child([sys.executable, __file__, "--pytorch-side", "--seconds", str(options.seconds), "--mode", options.mode,
                   "--torch-device", options.torch_device, name])
    return {"batch_size": torch["batch_size"], "device": convoy["device"], "torch": torch["version"],
            "convoy_train": convoy["train_images_per_second"], "convoy_eval": convoy["eval_images_per_second"],
            "torch_train": torch["train"], "torch_eval": torch["eval"]}


def cells(rounds, what):
    ratios = [r[f"convoy_{what}"] / r[f"torch_{what}"] for r in rounds]
    mine, theirs = (statistics.median(r[f"{side}_{what}"] for r in rounds) for side in ("convoy", "torch"))
    return (f"{mine:,.0f} | {theirs:,.0f} | **{statistics.median(ratios):.2f}** "
            f"({min(ratios):.2f}–{max(ratios):.2f})")


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
        return f"{names[0]}, {len(names)} cores"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default: {' '.join(NETWORKS)}")
    parser.add_argument("--convoy", default=os.path.join(ROOT, "build", "convoy"), help="the command")
    parser.add_argument("--device", default="", help="Convoy's --device")
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--mode", default="eager", choices=["eager", "compile", "graph"], help="of PyTorch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="for training; evaluation takes half of it")
    parser.add_argument("--json", metavar="FILE", help="write every round's figures")
    parser.add_argument("--pytorch-side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pytorch_side:
        return pytorch_side(options.networks[0], options)
    networks, results = options.networks or NETWORKS, {}
    unknown = sorted(set(networks) - set(NETWORKS))
    if unknown:
        parser.error(f"there is no network {unknown[0]}; there are: {', '.join(NETWORKS)}")
    for number in range(options.rounds):
        for name in networks:
            print(f"round {number + 1}/{options.rounds}: {name}", file=sys.stderr)
            results.setdefault(name, []).append(one_round(name, options))
    first = results[networks[0]][0]
    print(f"Convoy on {first['device']}, PyTorch {first['torch']} ({options.mode}) on {options.torch_device}; "
          f"{processor()}; {options.rounds} rounds, {datetime.date.today()}.\n")
    print("| network (batch) | training: Convoy, images/s | PyTorch | ratio | evaluation: Convoy | PyTorch | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, rounds in results.items():
        print(f"| `{name}` ({rounds[0]['batch_size']}) | {cells(rounds, 'train')} | {cells(rounds, 'eval')} |")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"date": str(datetime.date.today()), "processor": processor(), "mode": options.mode,
                       "networks": results}, file, indent=1)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
