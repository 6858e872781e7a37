"""``load`` and the session it returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import arguments
from .compressing import CompressingSession
from .errors import InputError, OptionError
from .format.bundle import Bundle
from .format.manifest import Calibration
from .graph_session import opened
from .sampling.prior import draw
from .scoring.inputs import check_condition, check_latents, check_rows, finite_made
from .scoring.results import Posterior, Scores
from .scoring.scorer import blank_bad_rows

if TYPE_CHECKING:
    from .format.stream_rules import AlarmSpec, GuardSpec
    from .scoring.anatomy import Anatomy
    from .stream import Stream

Condition = NDArray[Any] | int | None
Size = tuple[int, int]  # height and width in pixels


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    variant: str = "auto",
    allow_fallback: bool = False,
    threads: int | None = None,
    spin: bool | None = None,
    isolate: bool = False,
    deadline_s: float | None = None,
    memory_bytes: int | None = None,
) -> VAE:
    """Open a bundle and get ready to run it.

    Args:
        path: the ``.vaeb`` file.
        device: a name in the table ``device.devices``, such as ``cpu`` or ``tensorrt``: that device or an error.
            ``auto`` tries the devices that the table ranks, first CUDA, then the CPU; ``VAE.info`` says which runs.
        variant: a precision in the bundle; ``auto`` takes fp32 where there is one.
            Where device, variant, threads and spin are all left alone, what ``vae-edge tune`` chose is taken.
        allow_fallback: run on the CPU, visibly degraded, where the device is not to be had.
        threads: within one run, 1 to 1024; None leaves it to the engine, within the CPU quota and the affinity of the
            process. A device that takes no threads refuses it.
        spin: whether threads of ONNX Runtime that wait keep their cores busy: faster on cores of its own, slow and
            unsteady where other work needs them. None leaves it to the engine, which spins.
        isolate: run the engine in a process of its own, for bundles of strangers: a crash there is a ``BackendError``.
        deadline_s: seconds that one run of 64 rows may take there; None: no limit. Needs ``isolate``.
        memory_bytes: that the process may use, from 256 MiB, on Linux; None: no limit. Needs ``isolate``.

    Raises:
        BundleError: the file is corrupt, breaks the format, or is too new.
        GraphRefused: a graph holds what this runtime does not run.
        ProviderUnavailable: the device is not to be had, or its engine is older than the bundle asks for.
        MissingDependency: no inference engine is installed.
        OptionError: an option is not a valid value, or needs ``isolate`` and has it not.

    Example:
        >>> with load("pump.vaeb", device="cpu") as vae:
        ...     vae.score(x).score.shape
        (8,)
    """
    return opened(
        VAE, Bundle.open(path), device=device, variant=variant, allow_fallback=allow_fallback, threads=threads,
        spin=spin, isolate=isolate, deadline_s=deadline_s, memory_bytes=memory_bytes,
    )  # fmt: skip


class VAE(CompressingSession):
    """A loaded bundle. ``score``, ``encode``, ``decode`` and the rest may be called from many
    threads at once; ``close`` waits for the calls that run. Use ``load`` to make one.

    A session can be pickled: the other process opens the same file with the same options, and refuses
    another bundle. After a fork the child calls ``load`` itself.

    Attributes:
        manifest: what the bundle says about itself.
    """

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
            x: (n, *input_shape), the dtype and layout of ``manifest.input``, data units; float64 where nothing is lost.
                TensorRT also takes rows of the GPU. Of a bundle of tiles (``manifest.input.overlap``) pictures of any
                larger size, also memory-mapped.
            condition: of a conditional model, here and below: (n, *shape) of ``manifest.condition``,
                or one for all rows.
            heads: of ``VAE.heads``, further ones to score by (``Scores.heads``); ``all`` for all.
            maps: also compute what each element contributes (``Scores.map``).
            threshold: of the default head, in its unit, instead of the calibrated one, for this call.

        Raises:
            InputError: ``x`` or ``condition`` does not fit the model. A row that is not finite, or holds a
                code that the model does not know, is no error: it gets a status.
            OptionError: a head the bundle does not have, or a threshold that is no finite number.
            BackendError: the engine failed. DeadlineExceeded: it took longer than ``deadline_s``.
            SessionClosed: after ``close``, or in a forked child.

        Example:
            >>> scores = vae.score(x, maps=True)
            >>> scores.score.shape, scores.is_anomaly.shape, scores.map.shape
            ((8,), (8,), (8, 4))
        """
        wanted = arguments.heads(heads, self.heads)
        arguments.flag("maps", maps)
        if threshold is not None:
            threshold = arguments.number("threshold", threshold, note=", in the unit of the score")
        if self.manifest.input.overlap is not None:
            from .scoring.tiling import picture_scores  # not at the top: few bundles are of tiles

            return picture_scores(self._scorer, self._run, x, condition, wanted, maps, threshold)
        feeds, status = self._rows(x, condition, to_score=True)
        return self._scorer.scores(self._run, feeds, status, heads=wanted, maps=maps, threshold=threshold)

    def explain(self, x: NDArray[Any], *, condition: Condition = None) -> Anatomy:
        """What the scores of raw rows are made of: terms, elements, latents, by every head of the bundle.

        Args:
            x: (n, *input_shape), as in ``score``.
            condition: as in ``score``.

        Raises:
            InputError, BackendError, SessionClosed: as ``score``.

        Example:
            >>> anatomy = vae.explain(x)
            >>> anatomy.features.shape, anatomy.latents.shape
            ((8, 4), (8, 2))
        """
        from .scoring.anatomy import anatomy  # not at the top: who only scores does not pay for it

        scores = self.score(x, condition=condition, heads="all", maps=True)
        without = self.manifest.score.kl_weight is None or self.manifest.input.overlap is not None
        posterior = None if without else self.encode(x, condition=condition)
        return anatomy(self.manifest, scores, posterior)

    @property
    def heads(self) -> tuple[str, ...]:
        """What this bundle can score by; the first is the default. Raises NotExported where it does not score."""
        self._graph("score")
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
            false_positive_rate: of normal rows, inside (0, 1).
            head: of ``VAE.heads``; None is the default head.
            method: ``conformal``: a quantile, rates from 1 / (n + 1). ``tail``: peaks over threshold.

        Returns:
            The threshold, in the unit of the head.

        Raises:
            CalibrationError: the bundle has no calibration, too few rows for that rate, or the rate is not in (0, 1).
            OptionError: the bundle does not have the head, the method is none, or the rate is no number.

        Example:
            >>> vae.threshold_for(0.1) < vae.threshold_for(0.05)
            True
        """
        self._graph("score")
        rate = arguments.number("false_positive_rate", false_positive_rate, note=", the share of normal rows to flag")
        if head is not None:
            arguments.instance("head", head, str, "the name of a head, or None for the default one")
        arguments.instance("method", method, str, "conformal or tail")
        return self._scorer.threshold_for(rate, head=head, method=method)

    def stream(
        self,
        source: Iterable[Any],
        *,
        stride: int | None = None,
        heads: Sequence[str] | str = (),
        live: bool = False,
        queue_rows: int = 1024,
        guard: GuardSpec | None = None,
        alarm: AlarmSpec | None = None,
        drift: bool = True,
        impute: Literal["off", "auto"] = "off",
        maps: Literal["off", "anomalies", "all"] = "off",
        top: int = 3,
        stale_s: float | None = None,
        clock: Callable[[], float] | None = None,
        batch: int = 256,
        together_s: float = 0.05,
        **unknown: NoReturn,
    ) -> Stream:
        """Decisions about the rows of a source as they come: an iterator of ``Event``.

        Args:
            source: an iterable of rows (one step of a window, one frame), of (time in seconds, row), or of
                blocks (``stream.Rows``); None says that nothing is new.
            stride: rows from one window to the next; None: a whole window, so that none overlap. 1 for other models.
            heads: of ``VAE.heads``, further ones to score by (``Event.heads``); ``all`` for all.
            live: read the source in a thread of its own and drop the oldest rows where scoring is slower.
            queue_rows: rows that may wait in the queue of a live source, from 1.
            guard: limits of sensor faults; None: those of the bundle (``manifest.stream.guard``).
            alarm: rules of alarms, counted in decisions; None: those of the bundle (``manifest.stream.alarm``).
            drift: test whether scores are still those of the calibration, and give events of kind ``drift``.
            impute: ``auto``: the model fills in missing cells of a window, up to a fifth of them.
            maps: which decisions carry ``Event.map`` and ``Event.row``: none, those that are anomalies, or all.
            top: features (pixels) to name per anomaly in ``Event.top``, from 0.
            stale_s: seconds without a row after which an event of kind ``stale`` is given; None: never.
            clock: seconds that never run backwards, for ``stale_s``; None: ``time.monotonic``.
            batch: most windows that are scored in one call, from 1.
            together_s: seconds that scoring rows which wait in the queue together may take; 0: each for itself.
            unknown: no other option is valid.

        Raises:
            InputError: ``source`` cannot be iterated over; later, from the iterator: a row does not fit the model.
            OptionError: an option out of range or unknown, a conditional model, or a bundle without rules for streams.

        Example:
            >>> with vae.stream(rows, stale_s=5.0) as events:
            ...     [event.status for event in events]
            ['ok', 'ok', 'ok']
        """
        self._graph("score")
        from .stream import open_stream

        return open_stream(
            self, source, stride=stride, heads=heads, live=live, queue_rows=queue_rows, guard=guard, alarm=alarm,
            drift=drift, impute=impute, maps=maps, top=top, stale_s=stale_s, clock=clock, batch=batch,
            together_s=together_s, **unknown,
        )  # fmt: skip

    def encode(self, x: NDArray[Any], *, condition: Condition = None) -> Posterior:
        """Posterior q(z|x) of raw rows.

        Args:
            x: (n, *input_shape), as in ``score``.
            condition: as in ``score``.

        Raises:
            InputError, BackendError, SessionClosed: as ``score``.

        Example:
            >>> posterior = vae.encode(x)
            >>> posterior.mean.shape, posterior.std.shape
            ((8, 2), (8, 2))
        """
        names = [t.name for t in self._graph("encode").outputs]
        feeds, status = self._rows(x, condition)
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

    def decode(
        self, z: NDArray[Any] | Posterior, *, condition: Condition = None, tile: int | None = None
    ) -> NDArray[Any]:
        """Rows for latents: (n, *output_shape) in data units.

        Args:
            z: (n, *latent_shape) float32; int64 indices for a VQ model; or a posterior, whose mean
                (whose indices) are decoded.
            condition: as in ``score``.
            tile: side in pixels of tiles that large rows are decoded in and blended, of a bundle of free size.

        Raises:
            PairMismatch: the posterior comes from the encoder of another model.
            InputError: ``z`` does not fit the model, is not finite, or is no index of the codebook.
            BackendError, SessionClosed: as ``score``.

        Example:
            >>> vae.decode(vae.encode(x)).shape
            (8, 4)
        """
        if isinstance(z, Posterior):
            z = z.codes_for(self.manifest.pair_id)
        latent = self._variant.graphs["decode"].inputs[0]
        z = check_rows(z, shape=self._shape_for("decode", latent, z), dtype=latent.dtype, what="z")
        check_latents(z, self.manifest.latent.codebook)
        beside = check_condition(condition, self.manifest.beside_latents, len(z))
        if tile is None:
            return self._run("decode", {latent.name: z, **beside}, ["x_hat"])[0]
        from .free_size.tiled_decode import decode_tiled  # not at the top: few rows are that large

        return decode_tiled(
            self.manifest, lambda part: self._run("decode", {latent.name: part, **beside}, ["x_hat"])[0], z, tile
        )

    def reconstruct(self, x: NDArray[Any], *, condition: Condition = None) -> NDArray[Any]:
        """Decode the posterior mean of each raw row: (n, *output_shape) in data units.

        Args:
            x: (n, *input_shape), as in ``score``; every row finite.
            condition: as in ``score``.

        Raises:
            InputError: ``x`` does not fit the model, or a row is not finite.
            BackendError, SessionClosed: as ``score``.

        Example:
            >>> vae.reconstruct(x).shape
            (8, 4)
        """
        posterior = self.encode(x, condition=condition)
        if bad := np.flatnonzero(posterior.status).tolist():
            raise InputError(f"row {bad[0]} of x is not finite or encodes to nothing finite, and no status can say so")
        return self.decode(posterior, condition=condition)

    def sample(
        self, n: int, *, seed: int, temperature: float = 1.0, condition: Condition = None, size: Size | None = None
    ) -> NDArray[Any]:
        """Draw ``n`` new rows from the prior of ``manifest.latent``: (n, *output_shape) in data units.

        The same seed gives the same latents in every language and on every device, and the
        first k rows of ``sample(n)`` are those of ``sample(k)``.

        Args:
            n: rows to draw, from 0.
            seed: a whole number from 0 to 2**64 - 1.
            temperature: scales the noise, from 0; 1 is the prior itself.
            condition: as in ``score``.
            size: (height, width) of the rows, of a bundle of free size; None: that of ``manifest.input``.

        Raises:
            OptionError: n, seed, temperature or size is not valid, or the model has no prior.
            BackendError, SessionClosed: as ``score``.

        Example:
            >>> vae.sample(3, seed=7).shape
            (3, 4)
        """
        n = arguments.row_count("n", n, low=0, bytes_per_row=self._bytes_per_row())
        temperature = arguments.number("temperature", temperature, low=0, note=" (1 is the prior itself)")
        latents = draw(self._latent_at(size), self._prior_numbers(), n, seed=seed, temperature=temperature)
        return finite_made(self.decode(latents, condition=condition))

    def interpolate(
        self, a: NDArray[Any], b: NDArray[Any], *, steps: int = 9, condition: Condition = None
    ) -> NDArray[Any]:
        """Rows on the straight line between the posterior means of two raw rows.

        Args:
            a: one raw row, (*input_shape), as in ``score``: where the line begins.
            b: one raw row, (*input_shape): where it ends.
            steps: rows to return, both ends included; at least 2.
            condition: one for all, as in ``score``.

        Returns:
            (steps, *output_shape) in data units.

        Raises:
            OptionError: too few steps, or a VQ model: there is no line between codes.
            InputError: a row does not fit the model, or is not finite.
            BackendError, SessionClosed: as ``score``.

        Example:
            >>> vae.interpolate(x[0], x[1], steps=5).shape
            (5, 4)
        """
        steps = arguments.row_count("steps", steps, low=2, bytes_per_row=self._bytes_per_row())
        if self.manifest.latent.kind == "codes":
            raise OptionError("there is no straight line between the codes of a VQ model")
        posterior = self.encode(self._both_ends(a, b), condition=condition)
        if posterior.status.any():
            raise InputError("a or b is not finite")
        t = np.linspace(0, 1, steps, dtype=np.float32).reshape(-1, *[1] * len(self.manifest.latent.shape))
        first, last = posterior.mean
        return finite_made(self.decode(((1 - t) * first + t * last).astype(np.float32), condition=condition))
