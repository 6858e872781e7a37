"""``load`` and the session it returns."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .backends.opening import open_backend
from .device.devices import find_device
from .device.tuned import find_choice
from .errors import InputError, OptionError, PairMismatch, SessionClosed
from .format.bundle import Bundle
from .format.manifest import Calibration, Variant
from .sampling.prior import check_prior, draw
from .scoring.anatomy import Anatomy, anatomy
from .scoring.inputs import all_finite, check_condition, check_rows, replace_bad_rows
from .scoring.results import Posterior, Scores, SessionInfo
from .scoring.scorer import Scorer, blank_bad_rows

if TYPE_CHECKING:
    from .stream import Stream

Condition = NDArray[Any] | int | None

ROWS_PER_RUN = 64
"""Rows given to the engine at once; larger arrays are cut, so memory does not grow with n."""


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    variant: str = "auto",
    allow_fallback: bool = False,
    threads: int | None = None,
    spin: bool | None = None,
) -> VAE:
    """Open a bundle and get ready to run it.

    Args:
        path: the ``.vaeb`` file.
        device: a name in the table ``device.devices``, such as ``cpu`` or ``tensorrt``: that device or an error.
            ``auto`` tries the devices that the table ranks, first CUDA, then the CPU; ``VAE.info`` says which runs.
        variant: a precision in the bundle; ``auto`` takes fp32 where there is one.
            Where device, variant, threads and spin are all left alone, what ``vae-edge tune`` chose is taken.
        allow_fallback: run on the CPU, visibly degraded, where the device is not to be had.
        threads: within one run; None leaves it to the engine. A device that takes no threads, or no spin, refuses it.
        spin: whether threads of ONNX Runtime that wait keep their cores busy: faster on cores of its own, slow and
            unsteady where other work needs them. None leaves it to the engine, which spins.

    Raises:
        BundleError: the file is corrupt, breaks the format, or is too new.
        GraphRefused: a graph holds what this runtime does not run.
        ProviderUnavailable: the device is not to be had, or its engine is older than the bundle asks for.
        MissingDependency: no inference engine is installed.
        OptionError: device, variant, threads or spin is not a valid value.
    """
    bundle = Bundle.open(path)
    try:
        return VAE(bundle, device=device, variant=variant, allow_fallback=allow_fallback, threads=threads, spin=spin)
    except BaseException:
        bundle.close()
        raise


class VAE:
    """A loaded bundle. ``score``, ``encode``, ``decode`` and the rest may be called from many
    threads at once; ``close`` waits for the calls that run. Use ``load`` to make one.
    """

    def __init__(
        self, bundle: Bundle, *, device: str, variant: str, allow_fallback: bool, threads: int | None, spin: bool | None
    ) -> None:
        self._bundle, self.manifest = bundle, bundle.manifest
        self._tuned: str | None = None
        wishes = device, variant, threads, spin
        if wishes == ("auto", "auto", None, None) and (choice := find_choice(bundle.bundle_id)):
            device, variant, threads, spin = choice.device, choice.variant, choice.threads, choice.spin
            self._tuned = choice.why
        self._variant_name = bundle.choose_variant(variant)
        self._variant: Variant = bundle.manifest.variants[self._variant_name]
        self._scorer = Scorer(bundle.manifest, self._variant, bundle.read)
        self._prior: bytes | None = None
        load, file = partial(bundle.graph, self._variant_name), partial(bundle.graph_file, self._variant_name)
        self._backend = open_backend(device, load, allow_fallback=allow_fallback, threads=threads, file=file, spin=spin)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running, self._closed = 0, False
        try:
            running = self._backend.describe()
            bundle.check_engine(running.backend, running.engine_version)
            if find_device(running.device).prepare_at_start:
                self._backend.prepare("score")
        except BaseException:
            self._backend.close()
            raise

    @property
    def info(self) -> SessionInfo:
        """What really runs: backend, provider, variant, degraded or not."""
        running = self._backend.describe()
        return SessionInfo(
            path=str(self._bundle.path),
            bundle_id=self._bundle.bundle_id,
            variant=self._variant_name,
            degraded=running.degraded_reason is not None,
            tuned=self._tuned,
            **asdict(running),
        )

    def score(
        self,
        x: NDArray[Any],
        *,
        condition: Condition = None,
        heads: Sequence[str] | str = (),
        maps: bool = False,
        threshold: float | None = None,
    ) -> Scores:
        """Anomaly score of raw rows.

        Args:
            x: (n, *input_shape), the dtype and layout of ``manifest.input``, data units.
            condition: of a conditional model, here and below: (n, *shape) of ``manifest.condition``,
                or one for all rows.
            heads: of ``VAE.heads``, further ones to score by (``Scores.heads``); ``all`` for all.
            maps: also compute what each element contributes (``Scores.map``).
            threshold: of the default head, instead of the calibrated one, for this call.

        Raises:
            InputError: ``x`` does not fit the model. A non-finite row is no error: it gets a status.
            BackendError: the engine failed.
            SessionClosed: after ``close``, or in a forked child.
        """
        feeds, status = self._rows(x, condition)
        wanted = self.heads if heads == "all" else (heads,) if isinstance(heads, str) else tuple(heads)
        return self._scorer.scores(self._run, feeds, status, heads=wanted, maps=maps, threshold=threshold)

    def explain(self, x: NDArray[Any], *, condition: Condition = None) -> Anatomy:
        """What the scores of raw rows are made of: terms, elements, latents; arguments as in ``score``."""
        scores = self.score(x, condition=condition, heads="all", maps=True)
        posterior = None if self.manifest.score.kl_weight is None else self.encode(x, condition=condition)
        return anatomy(self.manifest, scores, posterior)

    @property
    def heads(self) -> tuple[str, ...]:
        """What this bundle can score by; the first is the default."""
        return self._scorer.heads

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """Of each head of the variant that runs; empty where the bundle carries none."""
        return dict(self._scorer.calibrations)

    def threshold_for(
        self, false_positive_rate: float, *, head: str | None = None, method: Literal["conformal", "tail"] = "conformal"
    ) -> float:
        """The threshold that stands for another false-positive rate, from the same calibration rows.

        Args:
            false_positive_rate: of normal rows.
            head: default: the default one.
            method: ``conformal``: a quantile, rates from 1 / (n + 1). ``tail``: peaks over threshold.

        Raises:
            CalibrationError: the bundle has no calibration, or too few rows for that rate.
            OptionError: the bundle does not have the head.
        """
        return self._scorer.threshold_for(false_positive_rate, head=head, method=method)

    def stream(self, source: Iterable[Any], **options: Any) -> Stream:
        """Decisions about the rows of a source as they come: an iterator of ``Event``.

        Args:
            source: an iterable of rows (one step of a window, one frame), of (time in seconds, row), or of
                blocks (``stream.Rows``); None says that nothing is new.
            options: those of ``stream.open_stream``.

        Raises:
            OptionError: an option out of range, a conditional model, or a bundle without rules for streams.
        """
        from .stream import open_stream

        return open_stream(self, source, **options)

    def encode(self, x: NDArray[Any], *, condition: Condition = None) -> Posterior:
        """Posterior q(z|x) of raw rows; arguments as in ``score``."""
        feeds, status = self._rows(x, condition)
        names = [t.name for t in self._variant.graphs["encode"].outputs]
        outputs = dict(zip(names, self._run("encode", feeds, names), strict=True))
        blank_bad_rows(list(outputs.values()), status)
        return Posterior(
            mean=outputs["z_q"] if "z_q" in outputs else outputs["mean"],
            logvar=outputs.get("logvar"),
            indices=outputs.get("indices"),
            status=status,
            pair_id=self.manifest.pair_id,
            groups=self.manifest.latent.groups,
        )

    def decode(self, z: NDArray[Any] | Posterior, *, condition: Condition = None) -> NDArray[Any]:
        """Rows for latents: (n, *output_shape) in data units.

        Args:
            z: (n, *latent_shape) float32; int64 indices for a VQ model; or a posterior, whose mean
                (whose indices) are decoded.
            condition: as in ``score``.

        Raises:
            PairMismatch: the posterior comes from the encoder of another model.
            InputError: ``z`` does not fit the model, is not finite, or is no index of the codebook.
        """
        if isinstance(z, Posterior):
            if z.pair_id != self.manifest.pair_id:
                raise PairMismatch(
                    f"this posterior was encoded by model {z.pair_id}, this decoder belongs to "
                    f"{self.manifest.pair_id}: decode it with the bundle that encoded it"
                )
            z = z.mean if z.indices is None else z.indices
        latent = self._variant.graphs["decode"].inputs[0]
        z = check_rows(z, shape=latent.shape, dtype=latent.dtype, what="z")
        if not all_finite(z):
            raise InputError("z holds NaN or infinity")
        codebook = self.manifest.latent.codebook
        if codebook and z.size and not 0 <= z.min() <= z.max() < codebook:
            raise InputError(f"z holds indices from {z.min()} to {z.max()}; the codebook has 0 to {codebook - 1}")
        beside = check_condition(condition, self.manifest.condition, len(z))
        (x_hat,) = self._run("decode", {latent.name: z, **beside}, ["x_hat"])
        return x_hat

    def reconstruct(self, x: NDArray[Any], *, condition: Condition = None) -> NDArray[Any]:
        """Decode the posterior mean of each raw row: (n, *output_shape) in data units.

        Raises:
            InputError: ``x`` does not fit the model, or a row is not finite.
        """
        posterior = self.encode(x, condition=condition)
        if bad := np.flatnonzero(posterior.status).tolist():
            raise InputError(
                f"row {bad[0]} of x is not finite or encodes to nothing finite; reconstruct has no status to say so"
            )
        return self.decode(posterior, condition=condition)

    def sample(self, n: int, *, seed: int, temperature: float = 1.0, condition: Condition = None) -> NDArray[Any]:
        """Draw ``n`` new rows from the prior of ``manifest.latent``: (n, *output_shape) in data units.

        The same seed gives the same latents in every language and on every device, and the
        first k rows of ``sample(n)`` are those of ``sample(k)``.

        Raises:
            OptionError: n, seed or temperature is not valid, or the model has no prior.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise OptionError(f"n is {n!r}; pass a whole number from 0")
        if not (math.isfinite(temperature) and temperature >= 0):
            raise OptionError(f"temperature is {temperature}; pass a finite number from 0 (1 is the prior itself)")
        latents = draw(self.manifest.latent, self._prior_numbers(), int(n), seed=seed, temperature=temperature)
        return self.decode(latents, condition=condition)

    def interpolate(
        self, a: NDArray[Any], b: NDArray[Any], *, steps: int = 9, condition: Condition = None
    ) -> NDArray[Any]:
        """Rows on the straight line between the posterior means of two raw rows.

        Args:
            a, b: one raw row each, *input_shape.
            steps: rows to return, both ends included; at least 2.
            condition: one for all.

        Returns:
            (steps, *output_shape) in data units.

        Raises:
            OptionError: too few steps, or a VQ model: there is no line between codes.
        """
        if steps < 2:
            raise OptionError(f"steps is {steps}; both ends count, so pass at least 2")
        if self.manifest.latent.kind == "codes":
            raise OptionError("there is no straight line between the codes of a VQ model")
        for name, row in (("a", a), ("b", b)):
            check_rows(row[None] if isinstance(row, np.ndarray) else row, shape=self.manifest.input.shape,
                       dtype=self.manifest.input.dtype, what=name)  # fmt: skip
        posterior = self.encode(np.stack([a, b]), condition=condition)
        if posterior.status.any():
            raise InputError("a or b is not finite")
        t = np.linspace(0, 1, steps, dtype=np.float32).reshape(-1, *[1] * len(self.manifest.latent.shape))
        first, last = posterior.mean
        return self.decode(((1 - t) * first + t * last).astype(np.float32), condition=condition)

    def run_graph(self, graph: str, feeds: dict[str, NDArray[Any]], outputs: list[str]) -> list[NDArray[Any]]:
        """Run one graph of the bundle as it is: inputs are checked, rows get no status.

        Args:
            graph: ``encode``, ``decode``, ``score``, or ``sampled`` where the bundle has it.
            feeds: one array (n, *shape) per input of the graph.
            outputs: names of the outputs to compute, in the order they come back.

        Raises:
            InputError, OptionError, BackendError, SessionClosed.
        """
        spec = self._variant.graphs.get(graph)
        if spec is None:
            raise OptionError(f"graph is {graph!r}; valid are {', '.join(self._variant.graphs)}")
        if unknown := set(outputs) - {t.name for t in spec.outputs}:
            raise OptionError(f"{graph} has no output {min(unknown)!r}")
        if feeds.keys() != {t.name for t in spec.inputs} or len({len(x) for x in feeds.values()}) != 1:
            raise InputError(
                f"{graph} takes {', '.join(t.name for t in spec.inputs)}, each with the same number of rows"
            )
        checked = {t.name: check_rows(feeds[t.name], shape=t.shape, dtype=t.dtype, what=t.name) for t in spec.inputs}
        return self._run(graph, checked, outputs)

    def read_member(self, name: str) -> bytes:
        """Verified bytes of one member of the bundle, such as a golden vector."""
        self._enter()
        try:
            return self._bundle.read(name)
        finally:
            self._leave()

    def close(self) -> None:
        """Free the engine and the file, after the calls that run now; twice is no error."""
        if os.getpid() != self._pid:
            return  # the engine's threads live in the parent; nothing of ours to free here
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: self._running == 0)
        self._backend.close()
        self._bundle.close()

    def __enter__(self) -> VAE:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<VAE {self.manifest.model.name} {self.info}>"

    def _rows(self, x: Any, condition: Condition) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
        spec = self.manifest.input
        x, status = replace_bad_rows(check_rows(x, shape=spec.shape, dtype=spec.dtype))
        return {"x": x, **check_condition(condition, self.manifest.condition, len(x))}, status

    def check_prior(self) -> None:
        """Raise BundleInvalid where the numbers of the prior cannot be drawn from."""
        self._prior_numbers()

    def _prior_numbers(self) -> bytes:
        member = self.manifest.latent.prior.member
        if self._prior is None:
            self._prior = b"" if member is None else self.read_member(member)
            if member is not None:
                check_prior(self.manifest.latent, self._prior)
        return self._prior

    def _enter(self) -> None:
        """Count a call that ``close`` waits for; every one is followed by ``_leave``."""
        if os.getpid() != self._pid:
            raise SessionClosed("this session belongs to the parent process: call load() again after a fork")
        with self._lock:
            if self._closed:
                raise SessionClosed("this session is closed: call load() again")
            self._running += 1

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            if self._closed:
                self._idle.notify_all()

    def _run(self, graph: str, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> list[NDArray[Any]]:
        """Run in bounded pieces; 0 rows give empty arrays without the engine."""
        spec = self._variant.graphs[graph]
        n = len(next(iter(feeds.values())))
        self._enter()
        try:
            if 0 < n <= ROWS_PER_RUN:
                return self._backend.run(graph, feeds, names)
            arrays = [np.empty((n, *spec.output(name).shape), dtype=spec.output(name).dtype) for name in names]
            for start in range(0, n, ROWS_PER_RUN):
                rows = slice(start, start + ROWS_PER_RUN)
                part = self._backend.run(graph, {name: x[rows] for name, x in feeds.items()}, names)
                for whole, piece in zip(arrays, part, strict=True):
                    whole[rows] = piece
            return arrays
        finally:
            self._leave()
