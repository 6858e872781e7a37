"""Every error vae-edge raises on purpose.

The tree (each also subclasses the builtin a caller would expect)::

    VaeEdgeError
    ├── MissingDependency (ImportError)         an optional package is not installed
    ├── BundleError (ValueError)                the file
    │   ├── BundleCorrupt                       bytes differ from what was written
    │   ├── BundleInvalid                       well-formed bytes that break the format's rules
    │   └── BundleTooNew                        written for a newer runtime than this one
    ├── GraphRefused (ValueError)               an ONNX graph that the device will not run
    ├── PairMismatch (ValueError)               encode and decode of different models
    ├── CompressedError (ValueError)            compressed rows
    │   ├── CompressedCorrupt                   bytes differ from what was written, or were never written by vae-edge
    │   ├── CompressedCut                       the end is not there yet, or was lost
    │   └── CompressedTooNew                    written for a newer runtime than this one
    ├── DecoderMismatch (RuntimeError)          this engine decodes other values than the sender's
    ├── NotExported (ValueError)                the bundle was exported without what was asked for
    ├── InputError (ValueError)                 an array that does not fit the model
    ├── OptionError (ValueError)                an option's value is not one of the valid ones
    ├── CalibrationError (ValueError)           too few samples, or no calibration at all
    ├── DataError (ValueError)                  a data file that cannot be read as asked
    ├── StorageError (OSError)                  a file that could not be written; the old one is intact
    ├── ProviderUnavailable (RuntimeError)      the device asked for is not to be had
    ├── BackendError (RuntimeError)             the engine failed while loading or running
    │   └── DeadlineExceeded (TimeoutError)     a run took longer than it was allowed to, and was stopped
    ├── SessionClosed (RuntimeError)            use after close, or after fork
    ├── AdaptError (TypeError)                  a model that cannot be taken apart as it stands
    ├── ExportFailed (RuntimeError)             torch could not be turned into ONNX
    └── GateFailed (RuntimeError)               the artefact works, and does not match its model
        ├── FitFailed                           the model does not fit the rows it was given
        ├── ParityFailed                        outputs differ from PyTorch's
        └── VerdictFailed                       scores or decisions differ from PyTorch's

A message says what was wrong and what to do next. ``exit_code`` is what the command line
returns: 1 where the tool worked and the verdict is negative, 2 for bad usage or input,
3 where this machine lacks something, 4 where an engine failed.
"""

from __future__ import annotations

from typing import Any

from .text import printable

_LONGEST_LINE = 2000
"""A hostile file may hold megabytes of names."""


class VaeEdgeError(Exception):
    """Root of all deliberate errors.

    Messages quote files: as text they hold no character that a terminal would obey.
    """

    exit_code = 2
    _one_line = False

    def __str__(self) -> str:
        text = super().__str__()
        if self._one_line and len(text) > _LONGEST_LINE:
            text = text[:_LONGEST_LINE] + "..."
        return printable(text, one_line=self._one_line)


class MissingDependency(VaeEdgeError, ImportError):
    """An optional package is needed for what was asked.

    Attributes:
        package: the import name that is missing.
        extra: the extra of vae-edge that brings it, if one does.
    """

    exit_code = 3

    def __init__(self, package: str, *, extra: str | None, why: str) -> None:
        self.package, self.extra = package, extra
        remedy = f'pip install "vae-edge[{extra}]"' if extra else f"install {package}"
        super().__init__(f"{why} needs the package '{package}', which is not installed: {remedy}")


class BundleError(VaeEdgeError, ValueError):
    """A bundle file that is not accepted.

    Attributes:
        path: the file, as the caller named it.
        member: the entry inside it that is to blame, if one is.
    """

    _one_line = True

    def __init__(self, problem: str, *, path: str = "", member: str | None = None) -> None:
        self.path, self.member, self.problem = path, member, problem
        where = path + (f" [{member}]" if member else "")
        super().__init__(f"{where}: {problem}" if where else problem)


class BundleCorrupt(BundleError):
    """The bytes are not the ones the exporter wrote."""


class BundleInvalid(BundleError):
    """The bytes are intact and break a rule of the format."""


class BundleTooNew(BundleError):
    """The bundle asks for a newer runtime."""


class GraphRefused(VaeEdgeError, ValueError):
    """An ONNX graph with something in it that the device will not run."""

    _one_line = True


class PairMismatch(VaeEdgeError, ValueError):
    """An encoder and a decoder that were not exported together."""

    _one_line = True


class CompressedError(VaeEdgeError, ValueError):
    """Compressed rows that are not accepted."""

    _one_line = True


class CompressedCorrupt(CompressedError):
    """The bytes are not those that were written, or were not written by vae-edge."""


class CompressedCut(CompressedError):
    """The data ends before its end mark: it is still being written, or its end was lost.

    Attributes:
        rows: that can still be read whole.
    """

    def __init__(self, problem: str, *, rows: int = 0) -> None:
        self.rows = rows
        super().__init__(problem)


class CompressedTooNew(CompressedError):
    """The data was written for a newer runtime."""


class DecoderMismatch(VaeEdgeError, RuntimeError):
    """The engine here decodes other values than the sender's, so that rows would leave their bound."""

    exit_code = 3
    _one_line = True


class NotExported(VaeEdgeError, ValueError):
    """The bundle was exported for another purpose, and holds no graph for what was asked; the message says how to."""


class InputError(VaeEdgeError, ValueError):
    """An input array of the wrong type, dtype, layout or shape."""


class OptionError(VaeEdgeError, ValueError):
    """An option with a value that is not valid; the message lists the valid ones."""


class CalibrationError(VaeEdgeError, ValueError):
    """Calibration data cannot back what was asked, or the bundle carries none.

    Attributes:
        needed: the number of normal samples that would do, if that is the trouble.
    """

    def __init__(self, problem: str, *, needed: int | None = None) -> None:
        self.needed = needed
        super().__init__(problem)


class DataError(VaeEdgeError, ValueError):
    """A data file or folder that cannot be read as what it is said to be."""


class StorageError(VaeEdgeError, OSError):
    """A file could not be written; what was there before is unchanged, and nothing half-written is left."""

    exit_code = 3


class ProviderUnavailable(VaeEdgeError, RuntimeError):
    """The device asked for is not available, and nothing else was asked for.

    Attributes:
        problem: what is wrong, without what to do about it.
    """

    exit_code = 3

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem = problem
        super().__init__(f"{problem}: {remedy}" if remedy else problem)


class BackendError(VaeEdgeError, RuntimeError):
    """The inference engine refused a graph or failed in a run."""

    exit_code = 4


class DeadlineExceeded(BackendError, TimeoutError):
    """A run of the engine took longer than ``deadline_s``; it was stopped, and the session can be used again."""


class SessionClosed(VaeEdgeError, RuntimeError):
    """The session was closed, or belongs to the parent of a forked process."""


class AdaptError(VaeEdgeError, TypeError):
    """The model's encoder and decoder were not recognised, or do not fit together.

    Attributes:
        explained: the message says what to do; whatever another way to take the model apart met would hide it.
    """

    def __init__(self, problem: str = "", *, explained: bool = False) -> None:
        self.explained = explained
        super().__init__(problem)


class ExportFailed(VaeEdgeError, RuntimeError):
    """PyTorch's exporter failed, or left something in the graph that cannot ship."""


class GateFailed(VaeEdgeError, RuntimeError):
    """A gate was measured and missed; nothing was written.

    Attributes:
        report: the figures of the gate, the same object a passing export returns.
    """

    exit_code = 1

    def __init__(self, problem: str, *, report: Any = None) -> None:
        self.report = report
        super().__init__(problem)


class FitFailed(GateFailed):
    """The model rebuilds normal rows worse than their mean row does; ``report`` is a ``ModelFit``."""


class ParityFailed(GateFailed):
    """A graph's outputs differ from PyTorch's by more than the tolerance."""


class VerdictFailed(GateFailed):
    """Final scores or decisions differ from PyTorch's by more than the gate allows."""
