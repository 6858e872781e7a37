"""TensorRT's Python package, or TensorRT RTX, which builds without a GPU and stands in for it in tests."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import ProviderUnavailable

_REMEDY = (
    "on a Jetson: sudo apt install python3-libnvinfer, in an environment made with --system-site-packages; "
    "vae-edge doctor says what is missing"
)


LOG = logging.getLogger("vae_edge_runtime.tensorrt")


class Log(Protocol):
    """What TensorRT said.

    Attributes:
        messages: the last errors. warnings: the last warnings, such as a tactic that found no memory.
    """

    messages: list[str]
    warnings: list[str]

    @property
    def last(self) -> str:
        """The newest error, and the warnings before it."""
        ...


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

    def logger(self) -> Log:
        """A logger that keeps what TensorRT says, the only reason it gives for a None or a False."""
        base: Any = self.module.ILogger

        class Logger(base):  # type: ignore[misc]
            def __init__(self) -> None:
                base.__init__(self)
                self.messages: list[str] = []
                self.warnings: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                # TensorRT calls from threads of its own, and an exception in here would be lost.
                number, text = int(severity), message.strip()
                LOG.debug("%s: %s", _SEVERITIES.get(number, number), text)
                if number <= int(base.ERROR):
                    self.messages.append(text)
                    del self.messages[:-_MESSAGES]
                elif number == int(base.WARNING):
                    self.warnings.append(text)
                    del self.warnings[:-_WARNINGS]

            @property
            def last(self) -> str:
                text = self.messages[-1] if self.messages else "no word"
                return f"{text} (warned before: {'; '.join(self.warnings)[-300:]})" if self.warnings else text

        made: Log = Logger()
        return made


_MESSAGES, _WARNINGS = 100, 5
_SEVERITIES = {0: "internal error", 1: "error", 2: "warning", 3: "info", 4: "verbose"}


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
