"""A package and a row that add an engine to the table of devices, as an app outside the project would.

The engine is ONNX Runtime under another name, so that its numbers are right.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = '''
"""An engine that nobody has."""
import numpy as np
import onnxruntime
from vae_edge_runtime.backends.base import Description
from vae_edge_runtime.errors import ProviderUnavailable

__version__ = "1.4"
LOG = []


def chips():
    return ["small", "large"]


class Backend:
    def __init__(self, load, options):
        self._load, self._options, self._sessions = load, options, {}
        if options.candidate.mode == "absent":
            raise ProviderUnavailable("there is no such chip", remedy="buy one")

    def prepare(self, graph):
        if self._options.candidate.mode == "shaky":
            raise ProviderUnavailable("the chip is hot", remedy="wait")
        if graph not in self._sessions:
            self._sessions[graph] = onnxruntime.InferenceSession(self._load(graph), providers=["CPUExecutionProvider"])
            LOG.append((graph, self._options.device.name, self._options.threads))

    def run(self, graph, feeds, outputs):
        self.prepare(graph)
        return self._sessions[graph].run(list(outputs), dict(feeds))

    def describe(self):
        options = self._options
        return Description("toy", __version__, options.candidate.mode, options.device.name, options.threads, None)

    def close(self):
        LOG.append("closed")
'''
ROWS = """
from vae_edge_runtime.device.devices import Candidate, Device, Engine, register

TOY = Engine(
    package="toy_chip",
    title="Toy",
    backend="toy_chip:Backend",
    extra="toy",
    distributions=("toy-chip",),
    oldest=(1, 2),
    providers_by="chips",
)


def row(name="toy", mode="small", **fields):
    return Device(name=name, help="Toy on its own chip", candidates=(Candidate(TOY, mode),),
                  **{"takes": ("threads",), "tuned": ("threads",), **fields})
"""


def write_toy_engine(folder: Path) -> None:
    """Put ``toy_chip``, an installed package, and ``toy_rows``, which describes it, into a folder."""
    (folder / "toy_chip.py").write_text(PACKAGE)
    (folder / "toy_rows.py").write_text(ROWS)
    installed = folder / "toy_chip-1.4.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-chip\nVersion: 1.4\n")
