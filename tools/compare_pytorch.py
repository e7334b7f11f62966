#!/usr/bin/env python3
"""Convoy against PyTorch on the same machine, both sides in turn; and against what else evaluates networks.

    tools/compare_pytorch.py [--steps] [--epoch] [--single] [--mode eager,channels-last,compile,graph] [--no-others]
                             [--batch-size N] [--rounds N] [--seconds S] [--device D] [--precision P]
                             [--torch-device D] [--json FILE] [NETWORK...]

--steps   (the default) images per second of a training step and of evaluation, on random images that are on the
          device: forward, loss, backward and optimizer alone
--epoch   seconds for an epoch of training from the files of Fashion-MNIST, as users run it: `convoy train`, and a
          tutorial's loop with a DataLoader that transforms image by image and with loss.item() at each step
          (num_workers 0 and 2, the faster counts)
--single  images per second of evaluation with batches of one image, or of --batch-size

NETWORK is one of the tutorials', or any of models/ that torchvision has too (batches of 16; --batch-size sets another).
Evaluation is compared with ONNX Runtime and OpenVINO as well where they are installed, unless --no-others.

Each round runs every network once with Convoy and once with PyTorch, each in a process of its own, so that a machine
whose speed drifts treats both alike. A shared machine slows one round or another down, PyTorch a hundredfold at times:
tables show the best round of each side, name the mode of PyTorch that was the best, and give the ratio of the two; in
brackets stand the lowest and the highest ratio within a round. Run it with a Python that has torch (`pip install torch
torchvision`, or Debian's python3-torch; for evaluation also `pip install onnx onnxruntime openvino`).

Prints Markdown tables on stdout; --json writes the figures of every round as well.
"""
import argparse
import datetime
import gzip
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import needs

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EPOCHS = ["lenet", "mnist_cnn", "digits_cnn"]  # what learns from Fashion-MNIST without resizing
SINGLE = ["alexnet"]
WORKERS = [0, 2]
FASHION = "/usr/share/datasets/fashion-mnist"  # Debian's dataset-fashion-mnist
# Files of models/ whose names are not torchvision's functions.
CALLED = {"alexnet_torchvision": "alexnet"}
MODES = ["eager", "channels-last", "compile", "graph"]
OTHERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
NETWORKS = ["lenet", "mnist_cnn", "digits_cnn", "monkeypox_bn", "monkeypox_bn_deep", "alexnet", "alexnet_imagenet"]


def build(name):
    """The network of models/<name>.yaml: (batch size, input shape, classes, layers, optimizer)."""
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

    def sgd(parameters, **options):
        return optim.SGD(parameters, lr=0.01)

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
        return 256, (1, 28, 28), 10, lenet, sgd
    if name == "mnist_cnn":
        return 60, (1, 28, 28), 10, mnist, adam
    if name == "digits_cnn":
        return 64, (1, 28, 28), 10, digits, adam
    if name == "monkeypox_bn":
        return 32, (3, 224, 224), 2, [*photo_stem(), nn.Flatten(), nn.Linear(60000, 2)], sgd
    if name == "monkeypox_bn_deep":
        layers = [*photo_stem(), *conv_bn(24, 48), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(25392, 2)]
        return 32, (3, 224, 224), 2, layers, sgd
    if name == "alexnet":
        return 128, (1, 224, 224), 10, alexnet(1, 10), sgd
    if name == "alexnet_imagenet":
        return 128, (3, 224, 224), 1000, alexnet(3, 1000), sgd
    import torchvision

    def momentum(parameters, **options):
        return optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.0001)

    return 16, (3, 224, 224), 1000, [torchvision.models.get_model(CALLED.get(name, name), weights=None)], momentum


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


def time_steps(name, options):
    """Rates of training steps and evaluation; with --single of the latter alone."""
    import torch
    batch, shape, classes, layers, make_optimizer = build(name)
    device = torch.device(options.torch_device)
    torch.manual_seed(0)
    network = torch.nn.Sequential(*layers).to(device)
    batch = options.batch_size or (1 if options.single else batch)
    images = torch.rand(batch, *shape, device=device)
    labels = torch.randint(0, classes, (batch,), device=device)
    if options.mode == "channels-last":
        network, images = (of.to(memory_format=torch.channels_last) for of in (network, images))
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

    if options.mode in OTHERS:
        version, run = compiled_by(options.mode, network.eval(), images)
        return {"batch_size": batch, "version": version, "eval": rate(run, wait, batch, options.seconds / 2)}
    rates = {"batch_size": batch, "version": torch.__version__}
    if not options.single:
        network.train()
        rates["train"] = rate(graph_of(step) if options.mode == "graph" else step, wait, batch, options.seconds)
    network.eval()
    rates["eval"] = rate(infer, wait, batch, options.seconds / 2)
    return rates


def compiled_by(other, network, images):
    """(version, function that evaluates the images)."""
    import torch
    if other == "openvino":
        import openvino
        model = openvino.compile_model(openvino.convert_model(network, example_input=images), "CPU",
                                       {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
        return openvino.__version__, lambda: model(images.numpy())
    import onnxruntime
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "network.onnx")
        torch.onnx.export(network, (images,), file, input_names=["images"], dynamo=False)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return onnxruntime.__version__, lambda: session.run(None, {"images": images.numpy()})


def read_idx(name, folder=FASHION):
    import numpy
    path = os.path.join(folder, name)
    with (gzip.open(path + ".gz") if os.path.exists(path + ".gz") else open(path, "rb")) as file:
        data = file.read()
    dimensions = data[3]
    sizes = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(dimensions)]
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * dimensions).reshape(sizes)


def transform_of():
    """torchvision's ToTensor on a PIL image, as its FashionMNIST hands them out; the bare minimum without it."""
    import torch
    try:
        from PIL import Image
        from torchvision.transforms import ToTensor
    except ImportError:
        return lambda image: torch.from_numpy(image.copy()).unsqueeze(0).float() / 255
    to_tensor = ToTensor()
    return lambda image: to_tensor(Image.fromarray(image, mode="L"))


def time_epoch(name, options):
    """The loop of the tutorials: one epoch over the files."""
    import warnings

    import torch
    from torch.utils.data import DataLoader, Dataset
    warnings.simplefilter("ignore")

    class Images(Dataset):
        def __init__(self):
            self.images, self.labels = read_idx("train-images-idx3-ubyte"), read_idx("train-labels-idx1-ubyte")
            self.transform = transform_of()

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return self.transform(self.images[index]), int(self.labels[index])

    batch, _, _, layers, make_optimizer = build(name)
    torch.manual_seed(0)
    device = torch.device(options.torch_device)
    network = torch.nn.Sequential(*layers).to(device)
    optimizer, loss_of = make_optimizer(network.parameters()), torch.nn.CrossEntropyLoss()
    loader = DataLoader(Images(), batch_size=batch, shuffle=True, num_workers=options.workers)
    network.train()
    start, total, right, seen = time.perf_counter(), 0.0, 0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        outputs = network(images)
        loss = loss_of(outputs, labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        right += (outputs.argmax(1) == labels).sum().item()
        seen += len(labels)
    return {"batch_size": batch, "version": torch.__version__, "seconds": time.perf_counter() - start,
            "loss": total / seen, "accuracy": right / seen}


def pytorch_side(name, options):
    """What the child process prints: one JSON object."""
    print(json.dumps((time_epoch if options.epoch else time_steps)(name, options)))


# ---- one round ----

def child(command):
    """The JSON object that a command prints, and how long it ran as `process`."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return {**json.loads(done.stdout), "process": time.perf_counter() - start}


def convoy(options, command, name, *more):
    chosen = [word for option in ("device", "precision") if vars(options)[option]
              for word in (f"--{option}", vars(options)[option])]
    return child([options.convoy, command, os.path.join(ROOT, "models", name + ".yaml"), "--json", *chosen, *more])


def torch(options, name, *more, mode="eager"):
    return child([sys.executable, __file__, "--pytorch-side", "--seconds", str(options.seconds), "--mode", mode,
                  "--torch-device", options.torch_device, *more, name])


def bench_round(name, options, batch, *more):
    sizes = ["--batch-size", str(batch)] if batch else []
    mine = convoy(options, "bench", name, "--no-layers", "--seconds", str(options.seconds), *sizes)
    peers = options.modes + (options.others if options.torch_device == "cpu" else [])
    return {"convoy": {**mine, "train": mine["train_images_per_second"], "eval": mine["eval_images_per_second"]},
            **{mode: torch(options, name, *sizes, *more, mode=mode) for mode in peers}}


def steps_round(name, options):
    return bench_round(name, options, options.batch_size)


def single_round(name, options):
    return bench_round(name, options, options.batch_size or 1, "--single")


def epoch_round(name, options):
    """Convoy evaluates 64 test images after the epoch and saves its files; all of that counts. Kernels are in the cache:
    a run that is not counted puts them there."""
    def epoch(*more):
        with tempfile.TemporaryDirectory() as folder:
            return convoy(options, "train", name, "--data", FASHION, "--epochs", "1", "--limit-test", "64",
                          "--eval-every", "0", "--out", os.path.join(folder, "run"), *more)

    epoch("--max-steps", "2")
    mine = epoch()
    runs = [torch(options, name, "--epoch", "--workers", str(workers)) for workers in WORKERS]
    theirs = min(runs, key=lambda run: run["seconds"])
    mine["batch_size"] = theirs["batch_size"]
    sides = {"convoy": mine, "eager": {**theirs, "process": min(run["process"] for run in runs)}}
    for side in sides.values():
        side.update(epoch_rate=1 / side["seconds"], process_rate=1 / side["process"])
    return sides


# ---- tables ----

def ratios(rounds, mode, what):
    values = [r["convoy"][what] / r[mode][what] for r in rounds]
    return f"**{statistics.median(values):.2f}** ({min(values):.2f}–{max(values):.2f})"


def median(rounds, side, what):
    return statistics.median(r[side][what] for r in rounds)


def best(rounds, side, what):
    return max(r[side].get(what, 0) for r in rounds)


def best_cells(rounds, sides, what):
    """The rate of the fastest of some sides, its name, and Convoy's ratio to it; dashes where none has a rate."""
    side = max(sides, key=lambda one: best(rounds, one, what), default=None)
    if side is None or not best(rounds, side, what):
        return ["–", "–", "–"]
    within = [r["convoy"][what] / r[side][what] for r in rounds]
    ratio = best(rounds, "convoy", what) / best(rounds, side, what)
    return [f"{best(rounds, side, what):,.1f}", OTHERS.get(side, side),
            f"**{ratio:.2f}** ({min(within):.2f}–{max(within):.2f})"]


def rates_table(results, modes, others, columns):
    """One row a network; for each of `columns`, Convoy's rate, PyTorch's best and in evaluation the others' best."""
    head, rows = ["network (batch)"], []
    for title, what in columns:
        head += [f"{title}: Convoy, images/s", "PyTorch", "its best mode", "ratio"]
        if what == "eval" and others:
            head += ["best other", "which", "ratio"]
    for name, rounds in results.items():
        row = [f"`{name}` ({rounds[0]['convoy']['batch_size']})"]
        for _, what in columns:
            row += [f"{best(rounds, 'convoy', what):,.1f}", *best_cells(rounds, modes, what)]
            if what == "eval" and others:
                row += best_cells(rounds, others, what)
        rows.append(row)
    return [head, *rows]


def epoch_table(results):
    rows = [["network (batch)", "epoch: Convoy, s", "PyTorch", "ratio", "whole process: Convoy, s", "PyTorch", "ratio"]]
    for name, rounds in results.items():
        row = [f"`{name}` ({rounds[0]['convoy']['batch_size']})"]
        for seconds, what in (("seconds", "epoch_rate"), ("process", "process_rate")):
            row += [f"{median(rounds, side, seconds):.2f}" for side in ("convoy", "eager")]
            row.append(ratios(rounds, "eager", what))
        rows.append(row)
    return rows


def print_table(title, rows):
    print(f"{title}\n")
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows[1:]:
        print("| " + " | ".join(row) + " |")
    print()


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
        return f"{names[0]}, {len(names)} cores"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def run_rounds(what, names, run, options):
    results = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            print(f"{what}, round {number + 1}/{options.rounds}: {name}", file=sys.stderr)
            results[name].append(run(name, options))
    return results


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default: {' '.join(NETWORKS)}")
    parser.add_argument("--steps", action="store_true", help="training steps and evaluation")
    parser.add_argument("--epoch", action="store_true", help=f"an epoch from the files: {' '.join(EPOCHS)}")
    parser.add_argument("--single", action="store_true", help=f"one image at a time: {' '.join(SINGLE)}")
    parser.add_argument("--convoy", default=os.path.join(ROOT, "build", "convoy"), help="the command")
    parser.add_argument("--device", default="", help="Convoy's --device")
    parser.add_argument("--precision", default="", help="Convoy's --precision; PyTorch keeps its own default")
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--mode", default="eager,channels-last", help=f"of PyTorch: some of {','.join(MODES)}")
    parser.add_argument("--no-others", action="store_true", help="leave out ONNX Runtime and OpenVINO")
    parser.add_argument("--batch-size", type=int, default=0, help="images a batch; default: the network's, --single 1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="for training steps; evaluation takes half of it")
    parser.add_argument("--json", metavar="FILE", help="write every round's figures")
    parser.add_argument("--pytorch-side", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.modes = options.mode.split(",")
    options.others = [name for name in OTHERS if not options.no_others and importlib.util.find_spec(name)]
    if options.pytorch_side:
        return options
    needs.command(options.convoy)
    for name in options.networks:
        if not os.path.exists(os.path.join(ROOT, "models", name + ".yaml")):
            parser.error(f"what is {name}? There is no models/{name}.yaml")
    unknown = sorted(set(options.modes) - set(MODES))
    if unknown:
        parser.error(f"what is {unknown[0]}? Modes are {', '.join(MODES)}")
    return options


def main():
    options = arguments()
    if options.pytorch_side:
        return pytorch_side(options.networks[0], options)
    tables, record = [], {"date": str(datetime.date.today()), "processor": processor()}

    def measure(what, known, run, table, title):
        names = [name for name in options.networks or known if what != "epoch" or name in known]
        if not names:
            sys.exit(f"--{what} knows {', '.join(known)}")
        record[what] = run_rounds(what, names, run, options)
        tables.append((title, table(record[what])))

    if options.steps or not (options.epoch or options.single):
        measure("steps", NETWORKS, steps_round, lambda r: rates_table(r, options.modes, options.others,
                [("training", "train"), ("evaluation", "eval")]), "Training steps and evaluation, random images")
    if options.epoch:
        measure("epoch", EPOCHS, epoch_round, epoch_table,
                "An epoch of training on Fashion-MNIST's 60,000 images, from the files")
    if options.single:
        measure("single", SINGLE, single_round, lambda r: rates_table(r, options.modes, options.others,
                [("evaluation", "eval")]), f"{options.batch_size or 1} at a time")
    first = next(rounds[0] for what in ("steps", "epoch", "single") for rounds in record.get(what, {}).values())
    versions = [f"{OTHERS.get(side, 'PyTorch')} {figures['version']}" for side, figures in first.items()
                if side != "convoy"]
    print(f"Convoy on {first['convoy']['device']}, {', '.join(dict.fromkeys(versions))}, PyTorch on "
          f"{options.torch_device}; {processor()}; {options.rounds} rounds, {record['date']}.\n")
    for title, rows in tables:
        print_table(title, rows)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
