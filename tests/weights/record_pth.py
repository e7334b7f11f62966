"""Records .pth files and pickles of tests/fuzz/corpus/: python3 record_pth.py FOLDER, with PyTorch (they were written by
2.15)."""
import io
import os
import pathlib
import pickle
import sys
import zipfile

import torch

folder = pathlib.Path(sys.argv[1])


class Call:
    def __reduce__(self):
        return os.system, ("true",)


def write_pickle(name, content):
    (folder / "pickle").mkdir(exist_ok=True)
    (folder / "pickle" / name).write_bytes(content)


def data_pkl(value, protocol=2):
    """What torch.save has as data.pkl."""
    file = io.BytesIO()
    torch.save(value, file, pickle_protocol=protocol)
    with zipfile.ZipFile(file) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


for name in ("weights", "legacy"):
    (folder / name).mkdir(exist_ok=True)
a = {"w": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor([0.5], dtype=torch.float64), "n": torch.tensor(7)}
torch.save(a, folder / "weights" / "archive.pth")
torch.save({"epoch": 3, "lr": 0.1, "state_dict": torch.nn.ParameterDict({"w": a["w"]}).state_dict() | a},
           folder / "weights" / "legacy.pth", _use_new_zipfile_serialization=False)

# A checkpoint as PyTorch's example for ImageNet writes it, with tensors outside the state dict.
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1))
optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
network(torch.ones(4, 2)).sum().backward()
optimizer.step()
torch.save({"epoch": 3, "arch": "resnet18", "best_acc1": torch.tensor(71.5), "optimizer": optimizer.state_dict(),
            "state_dict": network.state_dict()}, folder / "legacy" / "checkpoint.pth", _use_new_zipfile_serialization=False)

for protocol in (2, 4):
    write_pickle(f"state_{protocol}.pkl", data_pkl({"epoch": 3, "model": network.state_dict()}, protocol))
write_pickle("parameters.pkl", data_pkl({"size": network[0].weight.shape, **dict(network.named_parameters())}))
# Numbers of all lengths, None, floats, bytes, lists; and a call.
write_pickle("values.pkl", pickle.dumps([None, True, 1, 300, -5, 1 << 40, -(1 << 90), 0.5, b"bytes", "text", (), (1,), (1, 2),
                                         (1, 2, 3, 4), {"a": {"b": []}}, list(range(9)), "x" * 256, b"y" * 256], 4))
write_pickle("call.pkl", pickle.dumps({"w": Call()}, 2))
