"""What a session compresses and decompresses: rows, single packets, and files block by block."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from . import arguments
from .format.bundle import reopened
from .graph_session import GraphSession, opened

if TYPE_CHECKING:
    from .codec.container import Frames, Reader
    from .codec.identity import Identity
    from .codec.parts import Decompressed
    from .codec.rows import RowCodec, Wish
    from .codec.writer import Writer


class CompressingSession(GraphSession):
    """What ``VAE`` has for it; nothing of the codec is imported before the first of these methods is called."""

    _row_codec: RowCodec | None = None
    _fp32: CompressingSession | None = None
    """The same bundle in fp32, beside a reduced variant, which encodes."""

    def compress(
        self,
        x: NDArray[Any],
        *,
        bound: str | float | None = None,
        exact: bool = False,
        latents: bool = False,
        triage: bool = False,
        scores: bool | None = None,
        condition: Any = None,
    ) -> bytes:
        """Rows as few bytes, in the format ``.vaez``.

        Args:
            x: (n, *input_shape), as in ``score``. A row that is not finite is stored as it is.
            bound: name of a bound of the bundle, such as ``0.1`` of each feature's spread, or ``2u`` in data units.
            exact: rows come back equal.
            latents: rows come back as the model rebuilds them. No single value is promised, and an anomaly is lost.
            triage: rows that are no anomaly go as latents, with their score; the others as ``bound`` or ``exact``.
            scores: send the score of each row along; None: with ``triage`` alone.
            condition: as in ``score``; it is stored beside the rows.

        Raises:
            OptionError: the bundle has no tables for that, or not exactly one of bound, exact and latents is given.
            InputError: ``x`` or ``condition`` does not fit the model.
            CalibrationError: ``triage``, and the bundle decides nothing.
            DecoderMismatch: this device does not compute in float32, which the bound needs.
            BackendError, SessionClosed: as ``score``.

        Example:
            >>> data = vae.compress(x, bound=0.1)              # doctest: +SKIP
            >>> vae.decompress(data).rows.shape                # doctest: +SKIP
            (8, 4)
        """
        from .codec.writer import in_memory

        codec = self._codec()
        return in_memory(codec, _wish(codec, bound, exact, latents, triage, scores), x, condition)

    def decompress(self, data: bytes, *, allow_torn: bool = False) -> Decompressed:
        """Rows of ``compress``.

        Args:
            data: the bytes of a whole ``.vaez`` file.
            allow_torn: take the rows before the last whole block where the end is not there.

        Raises:
            CompressedCorrupt: the bytes are not those that were written.
            CompressedCut: the end is not there, and ``allow_torn`` is False.
            CompressedTooNew: written by a newer vae-edge.
            PairMismatch: compressed with another bundle, or with other tables.
            DecoderMismatch: the decoder here gives other values than the sender's.
            OptionError: this bundle has no tables. BackendError, SessionClosed: as ``score``.

        Example:
            >>> vae.decompress(data).kind[0]                   # doctest: +SKIP
            'bounded'
        """
        from .codec.container import from_bytes

        arguments.instance("data", data, (bytes, bytearray, memoryview), "the bytes of a .vaez file")
        with self._reader(*from_bytes(bytes(data)), allow_torn) as reader:
            return reader.all_rows()

    def packet(
        self,
        row: NDArray[Any],
        *,
        bound: str | float | None = None,
        exact: bool = False,
        latents: bool = False,
        triage: bool = False,
        scores: bool | None = None,
    ) -> bytes:
        """One row as the fewest bytes, for a radio: 2 to 3 bytes of frame, of which 2 are a CRC-16.

        Args:
            row: (*input_shape).
            bound: as in ``compress``, here and below.
            exact: the row comes back equal.
            latents: the row comes back as the model rebuilds it.
            triage: latents where the row is no anomaly.
            scores: send the score along.

        Raises:
            OptionError, InputError, DecoderMismatch, BackendError, SessionClosed: as ``compress``.

        Example:
            >>> len(vae.packet(x[0], bound=0.1))               # doctest: +SKIP
            9
        """
        codec = self._codec()
        return codec.packet(row, _wish(codec, bound, exact, latents, triage, scores))

    def unpack(self, packet: bytes) -> Decompressed:
        """The one row of ``packet``.

        Args:
            packet: the bytes.

        Raises:
            CompressedCorrupt: the bytes are no packet of this bundle.
            DecoderMismatch, OptionError, BackendError, SessionClosed: as ``decompress``.

        Example:
            >>> vae.unpack(vae.packet(x[0], bound=0.1)).rows.shape      # doctest: +SKIP
            (1, 4)
        """
        arguments.instance("packet", packet, bytes, "the bytes that packet() gave")
        return self._codec().read_packet(packet)

    def compress_file(
        self,
        path: str | os.PathLike[str],
        *,
        bound: str | float | None = None,
        exact: bool = False,
        latents: bool = False,
        triage: bool = False,
        scores: bool | None = None,
        append: bool = False,
        block_rows: int | None = None,
    ) -> Writer:
        """A file that rows are appended to, in bounded memory; a reader may follow it.

        Args:
            path: the ``.vaez`` file to make.
            bound: as in ``compress``, here and below.
            exact: rows come back equal.
            latents: rows come back as the model rebuilds them.
            triage: latents for rows that are no anomaly.
            scores: send scores along.
            append: go on with a file that exists: a torn last block and the end mark are written over.
            block_rows: rows of a block, 1 to 65,536; None: some million values.

        Raises:
            OptionError: as ``compress``, or the file exists and ``append`` is False.
            PairMismatch: the file to go on with belongs to another bundle.
            StorageError: it could not be made.

        Example:
            >>> with vae.compress_file("day.vaez", bound=0.1) as writer:        # doctest: +SKIP
            ...     writer.write(x)
        """
        from .codec.container import MAX_BLOCK_ROWS
        from .codec.writer import Writer, to_append
        from .storage.files import new_file

        codec = self._codec()
        wish = _wish(codec, bound, exact, latents, triage, scores)
        if block_rows is not None:
            arguments.whole_number("block_rows", block_rows, low=1, high=MAX_BLOCK_ROWS)
        name = arguments.path_text("path", path)
        file, frames = to_append(name, codec) if arguments.flag("append", append) and os.path.exists(name) else (  # noqa: PTH110
            new_file(name), None,
        )  # fmt: skip
        try:
            return Writer(file, codec, wish, block_rows=block_rows, frames=frames)
        except BaseException:
            file.close()
            raise

    def decompress_file(self, path: str | os.PathLike[str], *, allow_torn: bool = False) -> Reader:
        """Rows of a file block by block, in bounded memory: an iterator of ``Decompressed``.

        Args:
            path: the ``.vaez`` file; it may still be written to.
            allow_torn: end quietly where the end mark is not there; ``Reader.frames`` says so.

        Raises:
            DataError: the file cannot be opened. CompressedCorrupt, CompressedCut, CompressedTooNew, PairMismatch:
                as ``decompress``, at once or from the iterator.

        Example:
            >>> with vae.decompress_file("day.vaez") as blocks:        # doctest: +SKIP
            ...     sum(len(block) for block in blocks)
            8
        """
        from .codec.container import open_frames

        return self._reader(*open_frames(path), allow_torn)

    def _reader(self, file: Any, frames: Frames, allow_torn: bool) -> Reader:
        from .codec.container import Reader

        try:
            codec = self._codec(frames.identity)
            return Reader(file, codec, frames, allow_torn=arguments.flag("allow_torn", allow_torn))
        except BaseException:
            file.close()
            raise

    def _codec(self, sent: Identity | None = None) -> RowCodec:
        from .codec.rows import RowCodec
        from .scoring.purpose import refuse_unscored

        refuse_unscored(self.manifest, "compress")
        if sent is not None:
            # Whoever reads needs no other decoder: a session of a reduced variant is refused by name.
            return RowCodec(self, self, sent)  # type: ignore[arg-type]
        if self._row_codec is None:
            self._row_codec = RowCodec(self, self._decoding())  # type: ignore[arg-type]
        return self._row_codec

    def _decoding(self) -> CompressingSession:
        """A session of the same bundle that decodes in fp32: this one, or another beside it."""
        if self._variant_name == "fp32" or "fp32" not in self.manifest.variants:
            return self
        if self._fp32 is None:
            bundle = reopened(self._bundle.absolute_path, self._bundle.bundle_id)
            self._fp32 = opened(type(self), bundle, **self._options | {"variant": "fp32"})
        return self._fp32

    def close(self) -> None:
        """Free the engine and the file, after the calls that run now; twice is no error."""
        if self._fp32 is not None:
            self._fp32.close()
        super().close()


def _wish(
    codec: RowCodec, bound: str | float | None, exact: bool, latents: bool, triage: bool, scores: bool | None
) -> Wish:
    for name, value in (("exact", exact), ("latents", latents), ("triage", triage)):
        arguments.flag(name, value)
    if scores is not None:
        arguments.flag("scores", scores)
    if bound is not None and not isinstance(bound, str):
        bound = f"{arguments.number('bound', bound):g}"
    return codec.wish(bound=bound, exact=exact, latents=latents, triage=triage, scores=scores)
