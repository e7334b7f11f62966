#!/usr/bin/env python3
"""Records what scikit-learn says of made-up answers, for tests/train/test_metrics.c.

    python3 tools/record_metrics.py [--out tests/train/metrics.json]

Outputs are float32; probabilities are their softmax in float64. Some images are twice in a set, with other classes, so
that scores are equal; one set has classes that never occur or are never answered.
"""
import argparse
import json
import os
import warnings

import numpy as np
from sklearn import metrics

CASES = [("three", 3, 40, 3), ("two", 2, 31, 2), ("many", 12, 70, 12), ("absent", 8, 50, 6)]


def record(name, classes, images, used, seed):
    random = np.random.default_rng(seed)
    truth = random.integers(0, used, images)
    outputs = random.normal(size=(images, classes)).astype(np.float32)
    outputs[np.arange(images), truth] += np.float32(1.5)
    outputs[:, used + 1:] -= np.float32(50)  # never answered
    outputs[images // 2:images // 2 + 8] = outputs[:8]
    exact = outputs.astype(np.float64)
    odds = np.exp(exact - exact.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    answers = outputs.argmax(axis=1)
    result = {"name": name, "classes": classes, "truth": truth.tolist(),
              "outputs": [float(f"{v:.9g}") for v in outputs.reshape(-1)]}
    for average in ("macro", "weighted"):
        figures = metrics.precision_recall_fscore_support(truth, answers, average=average, zero_division=0)
        result.update({f"{average}_{key}": value for key, value in zip(("precision", "recall", "f1"), figures)})
    result["balanced_accuracy"] = metrics.balanced_accuracy_score(truth, answers)
    result["top5_accuracy"] = 1.0 if classes <= 5 else metrics.top_k_accuracy_score(truth, probabilities, k=5,
                                                                                     labels=range(classes))
    result["areas"] = [metrics.roc_auc_score(truth == c, probabilities[:, c]) if (truth == c).any() else None
                       for c in range(classes)]
    if used == classes and classes > 2:
        whole = metrics.roc_auc_score(truth, probabilities, multi_class="ovr")
        assert abs(whole - np.mean(result["areas"])) < 1e-12
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "tests", "train", "metrics.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with open(arguments.out, "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(record(*case, seed)) for seed, case in enumerate(CASES)) + "\n]\n")


if __name__ == "__main__":
    main()
