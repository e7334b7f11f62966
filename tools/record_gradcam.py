#!/usr/bin/env python3
"""Writes tests/report/data/gradcam.*: a small network, its weights, an image, and what PyTorch, in float64 and as
evaluation computes it, finds by Grad-CAM at several layers for several classes.

    python3 tools/record_gradcam.py
"""
import json
import os

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

FOLDER = os.path.join(os.path.dirname(__file__), "..", "tests", "report", "data")

MODEL = """name: gradcam
input: [3, 12, 12]
layers:
  - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1}
  - BatchNorm2d
  - ReLU
  - MaxPool2d: {kernel_size: 2}
  - Residual:
      body:
        - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1, bias: false}
        - BatchNorm2d
        - ReLU
        - Conv2d: {out_channels: 4, kernel_size: 3, padding: 1}
  - ReLU
  - AvgPool2d: {kernel_size: 2}
  - Flatten
  - Dropout: {p: 0.5}
  - Linear: {out_features: 5}
recipe:
  mean: [0.4, 0.5, 0.6]
  std: [0.25, 0.2, 0.3]
"""


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return self.body(x) + x


def make_network():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        Residual(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                 nn.Conv2d(4, 4, 3, padding=1)),
        nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 5))
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.5)
        elif name.endswith("running_var"):
            tensor.uniform_(0.3, 2)
        elif tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def grad_cam(network, image, layer, index):
    kept = {}

    def keep(_module, _input, output):
        kept["activation"] = output
        output.retain_grad()

    handle = dict(network.named_modules())[layer].register_forward_hook(keep)
    outputs = network(image)
    handle.remove()
    network.zero_grad()
    outputs[0, index].backward()
    weights = kept["activation"].grad.mean(dim=(2, 3), keepdim=True)
    cam = torch.relu((weights * kept["activation"]).sum(dim=1))[0]
    return outputs[0].detach().tolist(), cam.detach().tolist()


def main():
    torch.manual_seed(109)  # no map of all cases is 0 everywhere
    torch.set_num_threads(1)
    network = make_network()
    save_file(dict(network.state_dict()), os.path.join(FOLDER, "gradcam.safetensors"))
    with open(os.path.join(FOLDER, "gradcam.yaml"), "w") as file:
        file.write(MODEL)
    pixels = torch.randint(0, 256, (12, 12, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(os.path.join(FOLDER, "gradcam.png"))
    mean, std = torch.tensor([0.4, 0.5, 0.6]).double(), torch.tensor([0.25, 0.2, 0.3]).double()
    image = ((pixels.double() / 255 - mean) / std).permute(2, 0, 1)[None]
    network = network.double()
    cases = []
    for layer in ("0", "1", "2", "3", "4.body.0", "4.body.1", "4.body.3", "5", "6"):
        for index in (0, 3):
            outputs, cam = grad_cam(network, image, layer, index)
            cases.append({"layer": layer, "class": index, "outputs": outputs, "map": cam})
    with open(os.path.join(FOLDER, "gradcam.json"), "w") as file:
        json.dump(cases, file)
        file.write("\n")


main()
