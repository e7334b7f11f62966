#!/usr/bin/env python3
"""Writes a photograph of 24x20 pixels to tests/support/photograph.h, and to tests/ops/data/augment_reference.h and
tests/data/resize_reference.h what torchvision.transforms.v2.functional makes of it with given parameters; and how what
RandomResizedCrop and RandomErasing draw is distributed. To tests/ops/data/mix_reference.h the same of MixUp and CutMix,
and to tests/ops/data/tone_reference.h that of RandAugment's operations.

    python3 tools/record_augment.py PHOTOGRAPH
"""
import contextlib
import sys

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomErasing, RandomResizedCrop
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

NEAREST, BILINEAR = InterpolationMode.NEAREST, InterpolationMode.BILINEAR


def array(name, values, kind="uint8_t"):
    flat = values.reshape(-1).tolist()
    print(f"static const {kind} {name}[{len(flat)}] = {{")
    line = "   "
    for value in flat:
        text = f" {value},"
        if len(line) + len(text) > 110:
            print(line)
            line = "   "
        line += text
    print(line.rstrip(",") + "};")


def distributions(name, draw):
    """How many of 20000 draws are at most 0, 1, 2, ...: of the first row, the first column, the height, the width."""
    torch.manual_seed(1)
    drawn = torch.tensor([draw() for _ in range(20000)])
    counts = torch.stack([(drawn <= value).sum(0) for value in range(25)], 1)
    array(name, counts, "int")


def augmented(picture):
    array("flipped", F.vertical_flip(F.horizontal_flip(picture)))
    array("cropped", F.crop(F.pad(picture, [4]), 1, 7, 19, 23))
    array("rotated_nearest", F.rotate(picture, 30.0, NEAREST, fill=[90.0]))
    array("rotated", F.rotate(picture, -17.0, BILINEAR))
    array("affine_nearest", F.affine(picture, 25.0, [3, -2], 0.8, [10.0, 0.0], NEAREST))
    array("affine", F.affine(picture, -40.0, [-2, 1], 1.3, [0.0, 15.0], BILINEAR))
    array("turned_crop", F.rotate(F.horizontal_flip(F.crop(F.pad(picture, [2]), 0, 3, 20, 24)), 12.0, NEAREST))
    array("cropped_turn", F.crop(F.pad(F.rotate(picture, 12.0, NEAREST), [3]), 0, 5, 20, 24))
    for mode in ("edge", "reflect", "symmetric"):
        padded = F.pad(F.horizontal_flip(picture), [9], padding_mode=mode)
        array(f"cropped_{mode}", F.crop(padded, 3, 16, 19, 23))
    padded = F.pad(picture, [9], padding_mode="reflect")
    array("turned_reflection", F.rotate(F.crop(padded, 3, 16, 20, 24), 12.0, NEAREST, fill=[90.0]))
    array("enlarged", F.resized_crop(picture, 3, 5, 9, 11, [20, 24], BILINEAR, antialias=True))

    array("shrunk", F.resized_crop(picture, 1, 2, 18, 21, [10, 8], BILINEAR, antialias=True))
    array("brightened", F.adjust_brightness(picture, 1.6))
    array("contrasted", F.adjust_contrast(picture, 0.4))
    array("saturated", F.adjust_saturation(picture, 1.7))
    array("hued", F.adjust_hue(picture, 0.3))
    array("hued_back", F.adjust_hue(picture, -0.45))
    array("jittered", F.adjust_brightness(F.adjust_hue(F.adjust_saturation(picture, 0.7), 0.1), 1.2))
    array("hue_contrast", F.adjust_contrast(F.adjust_hue(picture, 0.3), 0.4))
    array("grey", F.rgb_to_grayscale(picture, 3))
    blank = torch.zeros(1, 20, 24)
    distributions("resized_crops", lambda: RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]))
    distributions("erasings", lambda: RandomErasing.get_params(blank, [0.02, 0.33], [0.3, 3.3], [0.0])[:4])


def mixed(_picture):
    """Five images of 2x3x4 as [channel][row][column][image]; and how many of 20000 draws are at most 0, 1/20, ... 1: of
    images' shares, and of the first column of the box and the width, in parts of 24."""
    torch.manual_seed(2)
    x, labels = torch.randn(5, 2, 3, 4), torch.arange(5)
    given = {"labels": labels, "batch_size": 5, "lam": 0.3, "lam_adjusted": 0.5, "box": (1, 0, 4, 2)}

    def images(name, values):
        array(name, values.permute(1, 2, 3, 0), "float")

    images("unmixed", x)
    images("mixed_up", v2.MixUp(num_classes=5).transform(x, given))
    images("cut_and_mixed", v2.CutMix(num_classes=5).transform(x, given))

    def drawn(name, transform, values):
        rows = torch.tensor([values(transform.make_params([torch.zeros(3, 20, 24)])) for _ in range(20000)])
        array(name, torch.stack([(rows <= step / 20).sum(0) for step in range(21)], 1), "int")

    for alpha, name in ((0.2, "mixup_02"), (1.0, "mixup_1"), (4.0, "mixup_4")):
        drawn(name, v2.MixUp(alpha=alpha, num_classes=5), lambda given: [given["lam"]])
    drawn("cutmix", v2.CutMix(num_classes=5), lambda given: [given["lam_adjusted"], given["box"][0] / 24,
                                                             (given["box"][2] - given["box"][0]) / 24])


def operated(picture):
    """RandAugment's and TrivialAugmentWide's operations, alone and one after the other; Brightness is `brightened`."""
    chosen = v2.TrivialAugmentWide(fill=90)

    def take(*steps):
        made = picture
        for operation, magnitude in steps:
            made = chosen._apply_image_or_video_transform(made, operation, magnitude, "nearest", chosen._fill)
        return made

    for operation, magnitude in (("ShearX", 0.4), ("ShearY", -0.3), ("TranslateX", 5.6), ("TranslateY", -3.2),
                                 ("Rotate", 40.0), ("Color", -0.7), ("Contrast", 0.5),
                                 ("Sharpness", 0.9), ("Sharpness", -0.8), ("Posterize", 3), ("Solarize", 0.4),
                                 ("AutoContrast", 0), ("Equalize", 0)):
        array(f"{operation}_{'down' if magnitude < 0 else 'up'}".lower(), take((operation, magnitude)))
    array("chain", take(("Rotate", 40.0), ("Equalize", 0), ("ShearX", 0.4), ("Solarize", 0.4), ("AutoContrast", 0)))


def resized(picture):
    array("short_side", F.center_crop(F.resize(picture, [14], antialias=True), [11, 14]))
    array("squashed", F.resize(picture, [15, 11], antialias=True))
    array("boxed", F.pad(F.resize(picture, [13, 16], antialias=True), [0, 1, 0, 2]))


def main():
    photograph = Image.open(sys.argv[1]).convert("RGB")
    picture = F.pil_to_tensor(photograph.resize((24, 20), Image.LANCZOS))
    for path, record in (
        ("tests/support/photograph.h", lambda picture: array("picture", picture)),
        ("tests/ops/data/augment_reference.h", augmented),
        ("tests/data/resize_reference.h", resized),
        ("tests/ops/data/mix_reference.h", mixed),
        ("tests/ops/data/tone_reference.h", operated),
    ):
        with open(path, "w", encoding="ascii") as file, contextlib.redirect_stdout(file):
            print("/* Written by tools/record_augment.py. */")
            record(picture)


main()
