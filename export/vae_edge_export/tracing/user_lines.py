"""Which line of the user's model an operation comes from."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_TORCH_FOLDER, _OWN_FOLDER = str(Path(torch.__file__).parent), str(Path(__file__).parents[1])
_PYTHON_FOLDER = sysconfig.get_paths()["stdlib"]
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


def is_users(file: str) -> bool:
    """Whether a source file is neither PyTorch's, nor Python's own, nor ours."""
    if file.startswith(_PYTHON_FOLDER) and not any(folder in file for folder in _PACKAGE_FOLDERS):
        return False
    return not file.startswith((_TORCH_FOLDER, _OWN_FOLDER, "<"))


def caller() -> str:
    """file:line (function) of the innermost frame of the stack that is the user's."""
    for frame in reversed(traceback.extract_stack()):
        if is_users(frame.filename):
            return f"{frame.filename}:{frame.lineno} ({frame.name})"
    return "an unknown place"


class Lines(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, notes the line that first runs each PyTorch operation.

    Attributes:
        of: bare name of an operation ("randn_like") to its line.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.of: dict[str, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        name = bare_name(func._schema.name)
        if name not in self.of:
            self.of[name] = caller()
        return func(*args, **(kwargs or {}))


def bare_name(operation: str) -> str:
    """``aten::_linalg_det`` and ``aten.linalg_det.default`` to ``linalg_det``, ``index_put_`` to ``index_put``."""
    name = operation.removeprefix("aten::").removeprefix("aten.").partition(".")[0]
    return name.strip("_")
