#!/usr/bin/env python3
"""A set as KMNIST's authors publish theirs: tests/fuzz/corpus/idx/kmnist-*.npz, which tests/data/test_idx.c reads.
Needs NumPy.

    python3 tools/record_npz.py"""
import os

import numpy as np

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests/fuzz/corpus/idx")
IMAGES = (np.arange(7 * 3 * 5) * 37 + 11).astype(np.uint8).reshape(7, 3, 5)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
for split, save in (("train", np.savez_compressed), ("test", np.savez)):
    save(os.path.join(CORPUS, f"kmnist-{split}-imgs.npz"), IMAGES)
    save(os.path.join(CORPUS, f"kmnist-{split}-labels.npz"), LABELS)
