"""Records the .pth files of this folder: python3 record_pth.py, with PyTorch (they were written by 2.15)."""
import torch

a = {"w": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor([0.5], dtype=torch.float64), "n": torch.tensor(7)}
torch.save(a, "archive.pth")
torch.save({"epoch": 3, "lr": 0.1, "state_dict": torch.nn.ParameterDict({"w": a["w"]}).state_dict() | a}, "legacy.pth",
           _use_new_zipfile_serialization=False)
