"""An open bundle: the archive, its manifest, and bytes that match their hashes."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import FileIO
from types import TracebackType
from typing import TYPE_CHECKING

from .. import arguments
from ..errors import (
    BundleCorrupt,
    BundleError,
    BundleInvalid,
    BundleTooNew,
    GraphRefused,
    OptionError,
    PairMismatch,
    ProviderUnavailable,
)
from ..record import one_line
from . import manifest as manifest_module
from . import strict_json
from .archive import Archive
from .limits import IR_VERSION_MAX, OPSET_MAX
from .manifest import GraphSpec, Manifest
from .specs import TensorSpec, version_numbers

if TYPE_CHECKING:
    from .onnx_scan import GraphFacts, ValueFacts

_MOST_SIZES = 256
"""Heights and widths of which the memory is remembered; for a further one the graph is looked through again."""
PAIR_ID = "vae_edge.pair_id"
"""Metadata key under which each graph names the trained weights it belongs to."""


class Bundle:
    """A bundle whose structure was checked; its members are read and hashed when asked for.

    May be used from many threads at once.

    Attributes:
        path: as the caller named it.
        absolute_path: the same, whatever the working directory becomes.
        size_bytes: of the file.
        manifest: what the bundle says about itself.
        row_bytes: per (variant, graph) that was loaded, the most bytes that one row needs inside it.
        bundle_id: SHA-256 of the manifest's bytes, which name every other byte.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.path, self.size_bytes = archive.path, archive.size_bytes
        self.row_bytes: dict[tuple[str, str], int] = {}
        self._row_bytes_at: dict[tuple[str, str, tuple[int, ...]], int] = {}
        self.absolute_path = os.path.abspath(archive.path)  # noqa: PTH100  pathlib costs 7 ms at start
        entry = archive.entries[manifest_module.MEMBER]
        if entry.size_bytes > strict_json.MAX_BYTES:  # before it is read into memory
            raise BundleInvalid(
                f"holds {entry.size_bytes} bytes; the limit is {strict_json.MAX_BYTES}",
                path=self.path,
                member=entry.name,
            )
        raw = archive.read(entry.name)
        self.bundle_id = hashlib.sha256(raw).hexdigest()
        try:
            self.manifest = Manifest.from_json(raw)
            self._check_requirements()
            self._check_members()
        except BundleError as error:
            raise type(error)(error.problem, path=self.path, member=error.member) from None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open a bundle and check everything but the bytes of its members.

        Raises:
            BundleCorrupt: the file is not as it was written.
            BundleInvalid: it breaks a rule of the format.
            BundleTooNew: it needs a newer runtime.
            BundleError: the system does not open it.
            OptionError: ``path`` is no path.
        """
        archive = Archive.open(path)
        try:
            return cls(archive)
        except BaseException:
            archive.close()
            raise

    def read(self, member: str) -> bytes:
        """The bytes of one member; what is returned is what was hashed.

        Raises:
            BundleInvalid: there is no such member.
            BundleCorrupt: size or SHA-256 differs from the manifest's.
            SessionClosed: after ``close``.
        """
        data = self._archive.read(arguments.text("member", member))
        if member != manifest_module.MEMBER:
            self._check_hash(member, [data])
        return data

    def graph(self, variant: str, graph: str) -> bytes:
        """One ONNX file, ready for an engine: joined, hashed, and looked through.

        Raises:
            OptionError: the bundle has no such variant or graph.
            BundleCorrupt: a part, or the joined file, is not the one the manifest names.
            GraphRefused: it holds what this runtime does not run, or differs from the manifest.
            PairMismatch: it was exported from other weights than the bundle's other graphs.
        """
        joined = b"".join(self._checked_pieces(self._graph_spec(variant, graph)))
        self._look_through(joined, variant, graph)
        return joined

    @contextmanager
    def graph_file(self, variant: str, graph: str) -> Iterator[str | bytes]:
        """As ``graph``, as the path of a file in memory that only this process has, open until the context ends.

        An engine that loads it needs no copy in this process. Bytes where the system has no such files.
        """
        file = self._in_memory_file(self._graph_spec(variant, graph))
        if file is None:
            yield self.graph(variant, graph)
            return
        with file:
            self._look_through(memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)), variant, graph)
            yield _path_of(file)

    def row_bytes_at(self, variant: str, graph: str, size: tuple[int, ...]) -> int:
        """The most bytes that one row of another height and width needs inside a graph of free size.

        Raises:
            GraphRefused: the graph asks for more than the limits at this size.
            OptionError: the bundle has no such graph, it takes rows of one size, or that is no height and width.
        """
        if self.manifest.free_size is None:
            raise OptionError(f"{self.path} takes rows of one size: row_bytes has the bytes of each graph")
        spec, (height, width) = self._graph_spec(variant, graph), arguments.pair("size", size)
        key = variant, graph, (height, width)
        if key not in self._row_bytes_at:
            if len(self._row_bytes_at) >= _MOST_SIZES:
                self._row_bytes_at.clear()
            from .onnx_scan import scan
            from .sizes import dimensions_at

            joined = b"".join(self._checked_pieces(spec))
            dimensions = dimensions_at((height, width), self.manifest.input, self.manifest.latent.shape)
            self._row_bytes_at[key] = scan(joined, sizes=[dimensions]).row_bytes
        return self._row_bytes_at[key]

    def choose_variant(self, wish: str) -> str:
        """A variant's name: ``auto`` is fp32 where there is one.

        Raises:
            OptionError: the bundle has no such variant.
        """
        names = sorted(self.manifest.variants)
        arguments.text("variant", wish)
        if wish == "auto":
            return "fp32" if "fp32" in names else names[0]
        if wish not in names:
            raise OptionError(f"variant is {wish!r}; this bundle has {', '.join(names)}")
        return wish

    def check_engine(self, name: str, version: str) -> None:
        """Refuse an engine that is older than the graphs need.

        Args:
            name, version: of the engine, as it says itself. The manifest asks for a version of onnxruntime alone.

        Raises:
            ProviderUnavailable: the engine is too old; the message says what to install.
        """
        arguments.text("name", name)
        arguments.text("version", version)
        wanted = self.manifest.requires.onnxruntime
        if name == "onnxruntime" and version_numbers(version) < version_numbers(wanted):
            raise ProviderUnavailable(
                f"{self.path} needs onnxruntime {wanted} or newer, this is {version}: "
                f'pip install --upgrade "onnxruntime>={wanted}" (on a Jetson a newer JetPack wheel)'
            )

    def verify_members(self) -> None:
        """Hash every member, in constant memory.

        Raises:
            BundleCorrupt: a member differs; it is named.
        """
        for member in self.manifest.members:
            self._check_hash(member, self._archive.stream(member))

    def close(self) -> None:
        """Close the file; twice is no error."""
        self._archive.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[str, str], Bundle], tuple[str, str]]:
        return reopened, (self.absolute_path, self.bundle_id)

    def __repr__(self) -> str:
        return one_line(f"<Bundle {self.path} {self.bundle_id[:12]}>")

    def _graph_spec(self, variant: str, graph: str) -> GraphSpec:
        variants = self.manifest.variants
        arguments.text("variant", variant)
        arguments.text("graph", graph)
        if variant not in variants:
            raise OptionError(f"variant is {variant!r}; this bundle has {', '.join(sorted(variants))}")
        if graph not in variants[variant].graphs:
            raise OptionError(f"graph is {graph!r}; valid are {', '.join(variants[variant].graphs)}")
        return variants[variant].graphs[graph]

    def _in_memory_file(self, spec: GraphSpec) -> FileIO | None:
        """The joined parts, verified, or None where the system has no such files."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(FileIO(os.memfd_create(spec.parts[0]), "w+"))  # an exec closes it
                for piece in self._checked_pieces(spec):
                    left = memoryview(piece)
                    while left:
                        left = left[file.write(left) :]
            except (AttributeError, OSError):  # not Linux, or forbidden, or limited
                return None
            if not os.path.exists(_path_of(file)):  # noqa: PTH110  pathlib costs 7 ms at start
                return None
            stack.pop_all()
            return file

    def _checked_pieces(self, spec: GraphSpec) -> Iterator[bytes]:
        """A graph from its parts, in pieces; only after the last one is it known to be the one of the manifest."""
        digest = hashlib.sha256()
        for part in spec.parts:
            for piece in self._archive.unchecked(part):
                digest.update(piece)
                yield piece
        # The hash of the whole covers every part; the parts' own say which one is to blame.
        if digest.hexdigest() != spec.sha256:
            for part in spec.parts:
                self._check_hash(part, self._archive.stream(part))
            raise BundleCorrupt(
                "its joined parts are not the graph the manifest names", path=self.path, member=spec.parts[0]
            )

    def _look_through(self, joined: bytes | memoryview, variant: str, graph: str) -> None:
        """Refuse a graph that this runtime does not run, or that is not the one of the manifest."""
        from .onnx_scan import scan  # not at the top: whoever reads the manifest only pays for no scanner

        sizes: list[dict[str, int]] = [{}]
        free = self.manifest.free_size is not None
        if free:
            from .sizes import FREE_GRAPHS, dimensions_at, sizes_of

            free = graph in FREE_GRAPHS
            if free:
                latent = self.manifest.latent.shape
                sizes = [dimensions_at(size, self.manifest.input, latent) for size in sizes_of(self.manifest)]
        try:
            facts = scan(joined, partial(self._check_facts, spec=self._graph_spec(variant, graph), free=free), sizes)
        except GraphRefused as refused:
            raise GraphRefused(f"{self.path} [{variant} {graph}]: {refused}") from None
        self.row_bytes[variant, graph] = facts.row_bytes
        pair = facts.metadata.get(PAIR_ID)
        if pair != self.manifest.pair_id:
            raise PairMismatch(
                f"{self.path} [{variant} {graph}] belongs to model {pair}, the bundle to {self.manifest.pair_id}: "
                "its graphs were put together from two exports"
            )

    def _check_hash(self, member: str, data: Iterable[bytes]) -> None:
        digest = hashlib.sha256()
        for chunk in data:
            digest.update(chunk)
        if digest.hexdigest() != self.manifest.members[member].sha256:
            raise BundleCorrupt("its SHA-256 is not the manifest's: copy the file again", path=self.path, member=member)

    def _check_requirements(self) -> None:
        requires = self.manifest.requires
        for what, wanted, have in (
            ("opset", requires.opset, OPSET_MAX),
            ("IR version", requires.ir_version, IR_VERSION_MAX),
        ):
            if wanted > have:
                from .upgrade import remedy  # not at the top: a bundle that this runtime reads needs no remedy

                writer = self.manifest.made_with["vae_edge"]
                raise BundleTooNew(f"needs {what} {wanted}, this runtime has {have}: {remedy(writer)}")

    def _check_members(self) -> None:
        listed = self.manifest.members
        stored = self._archive.entries.keys() - {manifest_module.MEMBER}
        for problem, names in (
            ("is in the file and not in the manifest", stored - listed.keys()),
            ("is in the manifest and not in the file", listed.keys() - stored),
        ):
            if names:
                raise BundleInvalid(problem, member=min(names))
        for name, spec in listed.items():
            size = self._archive.entries[name].size_bytes
            if size != spec.size_bytes:
                raise BundleInvalid(f"holds {size} bytes; the manifest says {spec.size_bytes}", member=name)

    def _check_facts(self, facts: GraphFacts, spec: GraphSpec, *, free: bool = False) -> None:
        """What the graph is against what the manifest says it is."""
        requires = self.manifest.requires
        for what, have, said in (
            ("opset", facts.opset, requires.opset),
            ("IR version", facts.ir_version, requires.ir_version),
        ):
            if have > said:
                raise GraphRefused(f"{what} {have}; the manifest says {said}")
        for side, values, tensors in (("input", facts.inputs, spec.inputs), ("output", facts.outputs, spec.outputs)):
            if [v.name for v in values] != [t.name for t in tensors]:
                raise GraphRefused(
                    f"{side}s are {[v.name for v in values]}; the manifest says {[t.name for t in tensors]}"
                )
            for value, tensor in zip(values, tensors, strict=True):
                _check_value(value, tensor, side, self._dimensions(tensor) if free else tensor.shape)

    def _dimensions(self, tensor: TensorSpec) -> tuple[int | str, ...]:
        """The dimensions of a tensor of a graph of free size, its free ones by name."""
        from .sizes import axis_names

        names = axis_names(tensor.name, len(tensor.shape), self.manifest.input.layout)
        return tuple(names.get(axis, n) for axis, n in enumerate(tensor.shape))


def reopened(path: str, bundle_id: str) -> Bundle:
    """The bundle that lay at ``path`` before, in another process or as a copy.

    Raises:
        BundleError: another bundle lies there now, or ``Bundle.open`` refuses the file.
    """
    bundle = Bundle.open(path)
    if bundle.bundle_id == bundle_id:
        return bundle
    bundle.close()
    raise BundleError(
        f"is bundle {bundle.bundle_id[:12]} now, and was {bundle_id[:12]} when it was pickled: load the file again",
        path=path,
    )


def _path_of(file: FileIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


def _check_value(value: ValueFacts, tensor: TensorSpec, side: str, wanted: tuple[int | str, ...]) -> None:
    batch, row = value.dims[:1], value.dims[1:]
    if value.dtype != tensor.dtype or row != wanted or not batch or isinstance(batch[0], int) or batch[0] in row:
        raise GraphRefused(
            f"{side} {value.name!r} is {value.dtype} {list(value.dims)}; the manifest says "
            f"{tensor.dtype} {['batch', *wanted]} with a free batch axis"
        )
