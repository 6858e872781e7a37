"""TensorRT's Python package, or TensorRT RTX, which builds without a GPU and stands in for it in tests."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from ...errors import ProviderUnavailable

_REMEDY = (
    "on a Jetson: sudo apt install python3-libnvinfer, in an environment made with --system-site-packages; "
    "vae-edge doctor says what is missing"
)


@dataclass(frozen=True)
class Binding:
    """A TensorRT to build with.

    Attributes:
        module: the package. name: ``tensorrt`` or ``tensorrt_rtx``.
        engines_run_here: False for RTX, whose engines no runtime of ours loads.
    """

    module: Any
    name: str
    version: str
    engines_run_here: bool

    def logger(self) -> Any:
        """A logger whose ``messages`` are the errors so far, and ``last`` the newest in words.

        They are the only word TensorRT gives for a None or a False.
        """
        base: Any = self.module.ILogger

        class Log(base):  # type: ignore[misc]
            def __init__(self) -> None:
                base.__init__(self)
                self.messages: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if int(severity) <= int(base.ERROR):
                    self.messages.append(message.strip())
                    del self.messages[:-_MESSAGES]

            @property
            def last(self) -> str:
                return self.messages[-1] if self.messages else "no word"

        return Log()


_MESSAGES = 100


def find_binding(*, rtx: bool = False) -> Binding:
    """Import TensorRT, or with ``rtx`` TensorRT RTX.

    Raises:
        ProviderUnavailable: it is not installed, does not load, or is older than 10.3.
    """
    name = "tensorrt_rtx" if rtx else "tensorrt"
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        remedy = "pip install tensorrt-rtx (some 330 MB)" if rtx else _REMEDY
        raise ProviderUnavailable(f"{name} cannot be imported ({error}): {remedy}") from error
    version = str(getattr(module, "__version__", "unknown"))
    # 10.0 has strong typing; 8.6 (JetPack 6.0) would take fp16 and int8 graphs and run them as it likes.
    if not hasattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not hasattr(module, "IProgressMonitor"):
        raise ProviderUnavailable(
            f"TensorRT {version} has no strongly typed networks: 10.3 (JetPack 6.1) or newer is needed"
        )
    return Binding(module, name, version, engines_run_here=not rtx)
