"""What compressed rows belong to: a model, its decoder, its tables, and the calibration of their scores."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError, PairMismatch
from ..format.figures import Compression
from ..format.manifest import Calibration, Manifest
from ..record import record
from ..scoring.results import Posterior, Scores, SessionInfo
from ..statistics.conformal import ScoreSketch

VERSION = 1
"""Of files and packets."""
_SCORE_STEPS = 16
"""Steps of a sent score in the distance between the quartiles of the calibration scores."""


class Running(Protocol):
    """What the codec needs of a session; ``VAE`` has it."""

    manifest: Manifest

    @property
    def info(self) -> SessionInfo:
        """What runs."""
        ...

    def encode(self, x: NDArray[Any], *, condition: Any = None) -> Posterior:
        """As ``VAE.encode``."""
        ...

    def decode(self, z: NDArray[Any], *, condition: Any = None) -> NDArray[Any]:
        """As ``VAE.decode``."""
        ...

    def score(self, x: NDArray[Any], *, condition: Any = None) -> Scores:
        """As ``VAE.score``."""
        ...

    def read_member(self, name: str) -> bytes:
        """As ``VAE.read_member``."""
        ...


@record(frozen=True)
class Identity:
    """What a file of compressed rows belongs to.

    Attributes:
        pair: pair id, 16 bytes. decode: of the fp32 decode graph's SHA-256 the first 8 bytes; tables: likewise of
            all tables; calibration: likewise of the scores' calibration, zeros without one.
        middle, step: the score that is sent as 0, and the step between two; step 0: scores go as float32.
        variant: that scored the rows.
    """

    pair: bytes
    decode: bytes
    tables: bytes
    calibration: bytes
    middle: float
    step: float
    variant: str

    def steps_of(self, score: NDArray[np.float32], threshold: float | None) -> NDArray[np.int64]:
        """Scores as whole numbers of steps: the nearest that is decided as the score itself is.

        Args:
            score: (n,), finite. threshold: of the head that decides; None: nothing is decided.
        """
        exact = (score.astype(np.float64) - self.middle) / self.step
        steps = np.clip(np.rint(exact), -(1 << 40), 1 << 40).astype(np.int64)
        if threshold is None:
            return steps
        limit = np.float64(threshold)
        decided: NDArray[np.int64] = steps + (score > limit) - (self.score_of(steps) > limit).astype(np.int64)
        return decided

    def score_of(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """What ``steps_of`` made steps of, as a reader sees it."""
        return (self.middle + steps.astype(np.float64) * self.step).astype(np.float32)


def section(manifest: Manifest) -> Compression:
    """The manifest's section.

    Raises:
        OptionError: the bundle has no tables to compress with.
    """
    if manifest.compression is None:
        way = "latents" if len(manifest.input.shape) > 2 else "0.1"  # of a picture latents alone
        raise OptionError(
            "this bundle has no tables to compress with: vae-edge recalibrate BUNDLE NORMAL_ROWS "
            f"--compress {way} -o NEW"
        )
    return manifest.compression


def identity(vae: Running, variant: str) -> Identity:
    """Of files that a session of this variant writes.

    Raises:
        PairMismatch: the bundle has no such variant. OptionError: it has no tables.
    """
    manifest, tables = vae.manifest, hashlib.sha256()
    if variant not in manifest.variants:
        raise PairMismatch(f"the rows were scored by variant {variant!r:.40}, and this bundle has none of that name")
    for mode in section(manifest).modes:
        tables.update(manifest.members[mode.member].sha256.encode())
    calibration, sketch = calibration_of(manifest, variant), sketch_of(vae, variant)
    member = _first8(manifest.members[calibration.member].sha256) if calibration else bytes(8)
    decode = _first8(manifest.variants["fp32"].graphs["decode"].sha256)
    middle = step = 0.0
    if sketch is not None:
        low, middle, high = (float(v) for v in np.quantile(sketch.values.astype(np.float64), (0.25, 0.5, 0.75)))
        step = max((high - low) / _SCORE_STEPS, 1e-6 * max(abs(middle), 1e-30))
    return Identity(bytes.fromhex(manifest.pair_id), decode, tables.digest()[:8], member, middle, step, variant)


def of_this_model(sent: Identity, manifest: Manifest) -> None:
    """Refuse what another bundle compressed, before anything is asked of this one that would not help.

    Raises:
        PairMismatch: the model is another, or this bundle has no tables at all.
    """
    own = bytes.fromhex(manifest.pair_id)
    if sent.pair != own:
        raise PairMismatch(
            f"another bundle compressed these rows: its model is {sent.pair.hex()} (pair id), that of this bundle is "
            f"{own.hex()}. Decompress them with the bundle that compressed them"
        )
    if manifest.compression is None:
        raise PairMismatch(
            f"another bundle of the same model compressed these rows, with the tables {sent.tables.hex()}; this bundle "
            "has no tables. Decompress them with the bundle that compressed them: new tables would be others"
        )


def matching(sent: Identity, own: Identity) -> Identity:
    """``sent``, if this bundle, which is of the same model, reads it."""
    for what, theirs, ours in (
        ("decode graph", sent.decode, own.decode),
        ("tables", sent.tables, own.tables),
    ):
        if theirs != ours:
            raise PairMismatch(
                f"these rows were compressed with the {what} {theirs.hex()}, and this bundle has {ours.hex()}: "
                "decompress them with the bundle that compressed them"
            )
    return sent


def _first8(sha256: str) -> bytes:
    return bytes.fromhex(sha256)[:8]


def sketch_of(vae: Running, variant: str) -> ScoreSketch | None:
    """Of the calibration scores of the head that decides."""
    calibration = calibration_of(vae.manifest, variant)
    return ScoreSketch.from_bytes(vae.read_member(calibration.member), n=calibration.n) if calibration else None


def calibration_of(manifest: Manifest, variant: str) -> Calibration | None:
    """Of the head that decides."""
    score, figures = manifest.score, manifest.variants[variant]
    return figures.calibration if score.default_head == score.heads[0] else figures.channels.get(score.default_head)
