"""A bundle opened for running: its graphs, its engine, its lifetime; ``session.VAE`` is what a user sees of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import arguments
from .backends.opening import open_backend
from .device.devices import find_device
from .device.tuned import find_choice
from .errors import GraphRefused, InputError, OptionError, ProviderUnavailable, SessionClosed
from .format.bundle import Bundle, reopened
from .format.manifest import GraphSpec, Variant
from .format.specs import LatentSpec, TensorSpec, element_count
from .record import one_line
from .sampling.prior import check_prior
from .scoring.inputs import check_condition, check_rows, checked_rows, feeds_beside
from .scoring.results import SessionInfo
from .scoring.scorer import Scorer
from .text import counted

if TYPE_CHECKING:
    from .backends.base import Backend

Session = TypeVar("Session", bound="GraphSession")
Shapes = Mapping[str, tuple[int, ...]]

ROWS_PER_RUN = 64
"""Rows given to the engine at once, at most: memory does not grow with n."""
BYTES_PER_RUN = 256 << 20
"""Of the values inside a graph at once: rows of 512 x 512 pixels are given to the engine a few at a time."""
MAX_THREADS = 1024
"""Of one run: an engine makes that many at once, and a number such as 10**9 would end the process."""
FEWEST_MEMORY_BYTES = 256 << 20
"""Of a process of its own: the engine takes some 100 MB of it before it has seen a row."""


def session_options(
    *,
    device: str = "auto",
    variant: str = "auto",
    allow_fallback: bool = False,
    threads: int | None = None,
    spin: bool | None = None,
    isolate: bool = False,
    deadline_s: float | None = None,
    memory_bytes: int | None = None,
) -> dict[str, Any]:
    """The options of ``load``, checked; whatever opens a session takes these.

    Raises:
        OptionError: one is not a valid value, or needs ``isolate`` and has it not.
    """
    arguments.instance("device", device, str, "the name of a device, or auto")
    arguments.instance("variant", variant, str, "the name of a variant, or auto")
    arguments.flag("allow_fallback", allow_fallback)
    if threads is not None:
        arguments.whole_number("threads", threads, low=1, high=MAX_THREADS)
    arguments.flag("spin", False if spin is None else spin)
    arguments.flag("isolate", isolate)
    for name, value in (("deadline_s", deadline_s), ("memory_bytes", memory_bytes)):
        if value is not None and not isolate:
            raise OptionError(f"{name} needs isolate=True: an engine is stopped by ending the process it runs in")
    if deadline_s is not None and arguments.number("deadline_s", deadline_s) <= 0:
        raise OptionError(f"deadline_s is {deadline_s}; pass a positive number of seconds")
    if memory_bytes is not None:
        arguments.whole_number("memory_bytes", memory_bytes, low=FEWEST_MEMORY_BYTES, high=1 << 50)
    return {
        "device": device,
        "variant": variant,
        "allow_fallback": allow_fallback,
        "threads": threads,
        "spin": spin,
        "isolate": isolate,
        "deadline_s": deadline_s,
        "memory_bytes": memory_bytes,
    }


class GraphSession:
    """Runs the graphs of one variant: thread-safe, closed after the calls that run, refused after a fork.

    Pickled, it is the path of the bundle, its id and the options; who unpickles it opens the bundle again.
    """

    def __init__(self, bundle: Bundle, **options: Any) -> None:
        """``options``: of ``session_options``."""
        self._options = session_options(**options)
        self._bundle, self.manifest = bundle, bundle.manifest
        self._tuned: str | None = None
        wishes = device, variant, threads, spin = tuple(
            self._options[name] for name in ("device", "variant", "threads", "spin")
        )
        if wishes == ("auto", "auto", None, None) and (choice := find_choice(bundle.bundle_id)):
            device, variant, threads, spin = choice.device, choice.variant, choice.threads, choice.spin
            self._tuned = choice.why
        self._variant_name = bundle.choose_variant(variant)
        self._variant: Variant = bundle.manifest.variants[self._variant_name]
        self._shapes = {name: {t.name: t.shape for t in spec.outputs} for name, spec in self._variant.graphs.items()}
        self._scorer = Scorer(bundle.manifest, self._variant, bundle.read)
        self._prior: bytes | None = None
        load, file = partial(bundle.graph, self._variant_name), partial(bundle.graph_file, self._variant_name)
        how = {"allow_fallback": self._options["allow_fallback"], "threads": threads, "spin": spin}
        if self._options["isolate"]:
            from .backends.isolated.backend import IsolatedBackend  # not at the top: few sessions need it

            self._backend: Backend = IsolatedBackend(
                load,
                device=device,
                deadline_s=self._options["deadline_s"],
                memory_bytes=self._options["memory_bytes"],
                **how,
            )
        else:
            self._backend = open_backend(device, load, file=file, **how)
        from .backends.calls import Calls  # not at the top: whoever only opens bundles pays for no engine

        self._calls = Calls(self._backend)
        try:
            running = self._backend.describe()
            bundle.check_engine(running.backend, running.engine_version)
            if bundle.manifest.free_size is not None and not find_device(running.device).free_size:
                raise ProviderUnavailable(
                    f"device '{running.device}' builds a graph for one height and width, and those of this bundle are "
                    "free",
                    remedy='pass device="cpu" or "cuda", or export the model without --dynamic-size',
                )
            if find_device(running.device).prepare_at_start:
                self._backend.prepare("score" if "score" in self._variant.graphs else "decode")
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

    def run_graph(self, graph: str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run one graph of the bundle as it is: inputs are checked, rows get no status.

        Args:
            graph: ``encode``, ``decode``, ``score``, or ``sampled`` where the bundle has it.
            feeds: one array (n, *shape) per input of the graph, by name.
            outputs: names of the outputs to compute, in the order in which their arrays (n, *shape) come back.

        Raises:
            OptionError: the bundle has no such graph, or the graph no such output.
            InputError: an input is missing, unknown, or does not fit.
            BackendError: the engine failed.
            SessionClosed: after ``close``, or in a forked child.

        Example:
            >>> (mean,) = vae.run_graph("encode", {"x": x}, ["mean"])
            >>> mean.shape
            (8, 2)
        """
        arguments.choice("graph", graph, tuple(self._variant.graphs))
        spec, names = self._variant.graphs[graph], arguments.words("outputs", outputs)
        if unknown := set(names) - {t.name for t in spec.outputs}:
            raise OptionError(f"{graph} has no output {min(unknown)!r}")
        if not isinstance(feeds, Mapping) or feeds.keys() != {t.name for t in spec.inputs}:
            raise InputError(f"feeds are not one array each for {', '.join(t.name for t in spec.inputs)}, by name")
        checked = {
            t.name: check_rows(
                feeds[t.name], shape=self._shape_for(graph, t, feeds[t.name]), dtype=t.dtype, what=t.name
            )
            for t in spec.inputs
        }
        if len({len(x) for x in checked.values()}) != 1:
            raise InputError(f"{graph} takes {', '.join(checked)}, each with the same number of rows")
        return self._run(graph, checked, names) if names else []  # some engines take no name for all of them

    def read_member(self, name: str) -> bytes:
        """Verified bytes of one member of the bundle, such as a golden vector.

        Args:
            name: of the member, as ``manifest.members`` lists it.

        Raises:
            OptionError: ``name`` is no text.
            BundleInvalid: there is no such member.
            BundleCorrupt: its bytes are not those that the manifest names.
            SessionClosed: after ``close``, or in a forked child.

        Example:
            >>> len(vae.read_member("golden/input.bin"))
            32
        """
        arguments.instance("name", name, str, "the name of a member")
        with self._calls:
            return self._bundle.read(name)

    def check_prior(self) -> None:
        """Read the numbers of the prior.

        Raises:
            BundleInvalid: they cannot be drawn from.
        """
        self._prior_numbers()

    def check_calibration(self) -> None:
        """Read what every head was fitted to.

        Raises:
            BundleInvalid: it is damaged, or a threshold does not stand for the rate that is said of it.
        """
        _ = self._scorer.fitted

    def close(self) -> None:
        """Free the engine and the file, after the calls that run now; twice is no error."""
        self._calls.close(self._free)

    def _free(self) -> None:
        self._backend.close()
        self._bundle.close()

    def __enter__(self: Session) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., GraphSession], tuple[Any, ...]]:
        if self._calls.closed:
            raise SessionClosed("this session is closed and cannot be pickled: pickle the path, and call load() there")
        return _opened_again, (type(self), self._bundle.absolute_path, self._bundle.bundle_id, self._options)

    def __repr__(self) -> str:
        state = "closed" if self._calls.closed else str(self.info)
        return one_line(f"<{type(self).__name__} {self.manifest.model.name} {state}>")

    def _prior_numbers(self) -> bytes:
        member = self.manifest.latent.prior.member
        if self._prior is None:
            self._prior = b"" if member is None else self.read_member(member)
            if member is not None:
                check_prior(self.manifest.latent, self._prior)
        return self._prior

    def _rows(
        self, x: Any, condition: NDArray[Any] | int | None, *, to_score: bool = False
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
        """Feeds of raw rows and their condition, and the status of each row."""
        spec = self.manifest.input
        if self.manifest.free_size is not None:
            from .free_size.rows import input_for, refuse_to_score  # not at the top: few bundles are of free size

            if to_score:
                refuse_to_score(self.manifest, x)
            else:
                spec = input_for(self.manifest, x)
        if (beside := self.manifest.condition) is not None and beside.role != "condition":
            return feeds_beside(x, condition, spec, beside, to_score=to_score)
        rows = self._gpu_rows(x) if to_score and not isinstance(x, np.ndarray) else None
        x, status = rows or checked_rows(x, spec)
        return {"x": x, **check_condition(condition, beside, len(x))}, status

    def _gpu_rows(self, x: Any) -> tuple[Any, NDArray[np.uint8]] | None:
        """Rows of ``manifest.input`` that lie on a GPU, each with status 0; None where ``x`` says nothing of a GPU.

        What is not finite in them comes out in the reconstruction term, which each score computes.
        """
        from .backends.gpu_rows import gpu_rows, on_gpu  # not at the top: rows of numpy never need it

        if not on_gpu(x):
            return None
        if not getattr(self._backend, "takes_gpu_rows", False):
            name = self._backend.describe().device
            raise InputError(
                f'x lies on a GPU and device="{name}" takes rows of the host: pass x.cpu().numpy(), or load the bundle '
                'with device="tensorrt"'
            )
        if self.manifest.input.codes:
            raise InputError("this model takes codes, whose range only the host can check: pass rows of the host")
        rows = gpu_rows(x, shape=self.manifest.input.shape, dtype=self.manifest.input.dtype)
        return rows, np.zeros(len(rows), np.uint8)

    def _shape_for(self, graph: str, tensor: TensorSpec, x: Any) -> tuple[int, ...]:
        """The shape of one row of an input of a graph; at the height and width of ``x`` where they are free."""
        if self.manifest.free_size is None or graph not in ("encode", "decode"):
            return tensor.shape
        from .free_size.rows import shape_for

        return shape_for(self.manifest, tensor, x)

    def _latent_at(self, size: tuple[int, int] | None) -> LatentSpec:
        """What ``sample`` draws for rows of this height and width; None: those of ``manifest.input``."""
        if size is None:
            return self.manifest.latent
        from .free_size.rows import latent_at

        return latent_at(self.manifest, size)

    def _both_ends(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        """Two raw rows of one shape as rows."""
        spec = self._variant.graphs["encode"].inputs[0]
        for name, row in (("a", a), ("b", b)):
            rows = row[None] if isinstance(row, np.ndarray) else row
            check_rows(rows, shape=self._shape_for("encode", spec, rows), dtype=spec.dtype, what=name)
        if a.shape != b.shape:
            raise InputError(f"a has shape {a.shape} and b has {b.shape}: the ends of a line are of one size")
        return np.stack([a, b])

    def _bytes_per_row(self) -> int:
        """Of a latent and of the row decoded from it, whichever is larger; 8 bytes an element at most."""
        return 8 * max(map(element_count, (self.manifest.latent.shape, self.manifest.output.shape)))

    def _graph(self, graph: str) -> GraphSpec:
        """A graph of the variant that runs; raises NotExported where the bundle was exported without it."""
        if graph in self._variant.graphs:
            return self._variant.graphs[graph]
        from .scoring.purpose import without  # not at the top: few bundles lack a graph

        raise without(self.manifest, graph)

    def _run(self, graph: str, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> list[NDArray[Any]]:
        """Run in bounded pieces; 0 rows give empty arrays without the engine."""
        spec = self._graph(graph)
        n = len(next(iter(feeds.values())))
        with self._calls:
            if self.manifest.free_size is not None and graph in ("encode", "decode"):
                from .free_size.rows import shapes_and_bytes

                limit = self._options["memory_bytes"]
                shapes, row_bytes = shapes_and_bytes(self._bundle, self._variant_name, graph, feeds, limit)
                most = rows_within(BYTES_PER_RUN, row_bytes)
            else:
                shapes, most = self._shapes[graph], self._rows_per_run(graph) if n > 1 else 1
            if 0 < n <= most:
                return self._run_once(graph, feeds, n, names, shapes)
            wholes = [np.empty((n, *shapes[name]), dtype=spec.output(name).dtype) for name in names]
            for start in range(0, n, most):
                self._calls.pause()
                rows = slice(start, min(start + most, n))
                some = {name: x[rows] for name, x in feeds.items()}
                part = self._run_once(graph, some, rows.stop - start, names, shapes)
                for whole, piece in zip(wholes, part, strict=True):
                    whole[rows] = piece
            return wholes

    def _run_once(
        self, graph: str, feeds: Mapping[str, Any], rows: int, names: Sequence[str], shapes: Shapes
    ) -> list[NDArray[Any]]:
        """A run of the engine, whose outputs have a row for each row: nothing but a run shows what a graph does."""
        outputs = self._backend.run(graph, feeds, names)
        for name, array in zip(names, outputs, strict=True):
            if array.shape != (rows, *shapes[name]):
                raise GraphRefused(
                    f"graph '{graph}' gave {name} of shape {array.shape} for {counted(rows, 'row')}, and the manifest "
                    f"says {(rows, *shapes[name])}"
                )
        return outputs

    def _rows_per_run(self, graph: str) -> int:
        """Rows given to the engine at once, from what one needs inside the graph; known once the graph is loaded."""
        key = (self._variant_name, graph)
        if key not in self._bundle.row_bytes:
            self._backend.prepare(graph)
        return rows_within(BYTES_PER_RUN, self._bundle.row_bytes.get(key, 0))


def rows_within(budget: int, row_bytes: int, *, most: int = ROWS_PER_RUN) -> int:
    """How many rows of ``row_bytes`` each fit into ``budget`` bytes: at least 1, at most ``most``."""
    return most if row_bytes <= 0 else max(1, min(most, budget // row_bytes))


def opened(kind: type[Session], bundle: Bundle, **options: Any) -> Session:
    """A session on an open bundle; the bundle is closed where there can be none.

    Raises:
        OptionError, GraphRefused, ProviderUnavailable, MissingDependency, BackendError: as ``load``.
    """
    try:
        return kind(bundle, **options)
    except BaseException:
        bundle.close()
        raise


def _opened_again(kind: type[Session], path: str, bundle_id: str, options: Mapping[str, Any]) -> Session:
    return opened(kind, reopened(path, bundle_id), **options)
