"""Rows of a session to blocks and packets, each row by the mode it is meant for, and back."""

from __future__ import annotations

import binascii
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..device.devices import find_device
from ..errors import CompressedCorrupt, DecoderMismatch, OptionError
from ..scoring.inputs import Status, check_condition, check_rows, finite_rows
from ..scoring.results import Scores
from . import floats
from .identity import VERSION, Identity, Running, identity, matching, of_this_model, section, sketch_of
from .modes import ModeCodec
from .parts import RAW, Decompressed, array, inflated, joined, little, read_runs, row_bytes, runs, split
from .rans import PRECISION, TOTAL, RowDecoder, encode_row, number_symbols, read_varints, varints, zigzag
from .tables import Tables

_RAW_PACKET = b"\xff"
_SCORE_BYTES = 6
"""Of one sent score at most."""
_RAW_SHARE = TOTAL // 256
"""Of the first symbol of a packet, at the end: no other packet begins with that byte."""


class Wish(NamedTuple):
    """How rows are to be compressed.

    Attributes:
        mode: index of the mode; of triage that of flagged rows. triage: the other rows go as latents.
        scores: send scores along.
    """

    mode: int
    triage: bool
    scores: bool


class RowCodec:
    """Compresses rows of a session and decompresses them.

    Args:
        vae: encodes and scores. decoder: the same bundle in fp32, which decodes; it may be ``vae`` itself.
        sent: what the rows to read belong to; None: what the session itself writes.

    Raises:
        OptionError: the bundle has no tables. PairMismatch: ``sent`` belongs to another bundle.
    """

    def __init__(self, vae: Running, decoder: Running, sent: Identity | None = None) -> None:
        self.manifest, self._vae, self._decoder = vae.manifest, vae, decoder
        if sent is not None:
            of_this_model(sent, vae.manifest)
        self.section = section(vae.manifest)
        own = identity(vae, vae.info.variant if sent is None else sent.variant)
        self.identity = own if sent is None else matching(sent, own)
        self._modes: dict[int, ModeCodec] = {}
        # Scores were sent with the calibration of that day; p-values are those of this bundle where it is the same.
        same = self.identity.calibration == own.calibration
        self._sketch = sketch_of(vae, own.variant) if same else None
        self._decodes = False
        belongs = bytes([VERSION]) + own.pair + own.decode + own.tables + own.calibration
        self._packet_seed = binascii.crc_hqx(belongs, 0xFFFF)

    def wish(self, *, bound: str | None, exact: bool, latents: bool, triage: bool, scores: bool | None) -> Wish:
        """The wish that these options of ``VAE.compress`` stand for.

        Raises:
            OptionError: they contradict each other, or the bundle has no such mode.
        """
        if (bound is not None) + exact + latents != 1:
            raise OptionError("say one of bound=, exact=True and latents=True: how near the rows must come back")
        name = "exact" if exact else "latents" if latents else str(bound)
        names = [mode.name for mode in self.section.modes]
        if exact and name not in names and len(self.manifest.input.shape) > 2:  # a picture, deflated
            return Wish(RAW, triage, triage if scores is None else scores)
        if name not in names:
            raise OptionError(
                f"this bundle has no tables for {name!r}; it has {', '.join(names)}: vae-edge recalibrate BUNDLE "
                f"NORMAL_ROWS --compress {name} -o NEW makes them"
            )
        if triage and latents:
            raise OptionError("triage sends normal rows as latents anyway; say how near flagged rows must come back")
        return Wish(names.index(name), triage, triage if scores is None else scores)

    # ---------------------------------------------------------------- rows to bytes

    def sorted_rows(
        self, x: NDArray[Any], condition: Any, wish: Wish
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Scores | None]:
        """The index of the mode of each row, its status, and scores where they are sent."""
        scores = self._vae.score(x, condition=condition) if wish.triage or wish.scores else None
        status = np.where(finite_rows(x), Status.OK, Status.NON_FINITE_INPUT).astype(np.uint8)
        modes = np.full(len(x), wish.mode, np.uint8)
        if scores is not None:
            status = scores.status.copy()
            if wish.triage:
                modes[~scores.is_anomaly] = 0
        modes[status != Status.OK] = RAW
        return modes, status, scores

    def block(self, x: Any, condition: Any, wish: Wish) -> bytes:
        """Rows (n, *row_shape) to the body of a block."""
        spec = self.manifest.input
        x = check_rows(x, shape=spec.shape, dtype=spec.dtype)
        conditions = check_condition(condition, self.manifest.condition, len(x)).get("condition")
        modes, status, scores = self.sorted_rows(x, conditions, wish)
        pieces: dict[int, bytes] = {}
        for index in sorted(set(modes.tolist()) - {RAW}):
            at = np.flatnonzero(modes == index)
            codec = self._mode(index)
            own = None if conditions is None else conditions[at]
            coded = codec.coded(x[at], self._latents(codec, x[at], own), own)
            if not coded.fits.all():
                modes[at[~coded.fits]] = RAW
                coded = coded.taken(coded.fits)
            if coded.fits.any():
                pieces[index] = codec.block(coded)
        if (modes == RAW).any():
            at = np.flatnonzero(modes == RAW)
            pieces[RAW] = zlib.compress(status[at].tobytes() + little(x[at]), 9)
        sent = b"" if conditions is None else zlib.compress(little(conditions), 9)
        return joined([runs(modes), sent, self._scores_bytes(scores, status), *(pieces[i] for i in sorted(pieces))])

    def packet(self, row: Any, wish: Wish) -> bytes:
        """One row (*row_shape) to a packet."""
        spec = self.manifest.input
        if self.manifest.condition is not None:
            raise OptionError("a packet holds no condition: use compress for rows of a conditional model")
        x = check_rows(row[None] if isinstance(row, np.ndarray) else row, shape=spec.shape, dtype=spec.dtype)
        modes, status, scores = self.sorted_rows(x, None, wish)
        score = np.full(1, np.nan, np.float32) if scores is None or status[0] != Status.OK else scores.score[:1]
        data = None
        if modes[0] != RAW:
            codec = self._mode(modes[0])
            coded = codec.coded(x, self._latents(codec, x, None), None)
            if coded.fits[0]:
                threshold = None if scores is None else scores.threshold
                data = encode_row([*self._head(int(modes[0]), score, threshold), *codec.packet(coded)])
        if data is None:
            data = _RAW_PACKET + zlib.compress(status.tobytes() + little(score) + little(x), 9)
        return data + struct.pack("<H", binascii.crc_hqx(data, self._packet_seed))

    def _head(self, mode: int, score: NDArray[np.float32], threshold: float | None) -> list[tuple[int, int, int]]:
        """The symbols before those of the row."""
        freq = (TOTAL - _RAW_SHARE) // len(self.section.modes)
        scored = bool(np.isfinite(score[0]))
        symbols = [(mode * freq, freq, PRECISION), (int(scored), 1, 1)]
        if scored and self.identity.step:
            symbols += number_symbols(zigzag(self.identity.steps_of(score, threshold))[0])
        elif scored:
            bits = int(score.view(np.uint32)[0])
            symbols += [(bits & 0xFFFF, 1, 16), (bits >> 16, 1, 16)]
        return symbols

    # ---------------------------------------------------------------- bytes to rows

    @np.errstate(all="ignore")  # numbers of a stranger may be anything; what is wrong is an error, and no warning
    def read_block(self, body: bytes, n: int) -> Decompressed:
        """Rows of a block's body.

        Raises:
            CompressedCorrupt: the body is no block of ``n`` rows. DecoderMismatch: the engine here decodes otherwise.
        """
        parts = split(body)
        if len(parts) < 3:
            raise CompressedCorrupt("a block lacks parts")
        modes = read_runs(parts[0], n, len(self.section.modes))
        spec, given = self.manifest.input, self.manifest.condition
        conditions = None
        if given is not None:
            conditions = array(inflated(parts[1], n, row_bytes(given)), given.dtype, given.shape, n)
        elif parts[1]:
            raise CompressedCorrupt("a block holds conditions, and this model takes none")
        rows, status = np.zeros((n, *spec.shape), spec.dtype), np.zeros(n, np.uint8)
        used = sorted(set(modes.tolist()))
        if len(used) != len(parts) - 3:
            raise CompressedCorrupt("a block holds other modes than its rows")
        for index, piece in zip(used, parts[3:], strict=True):
            at = np.flatnonzero(modes == index)
            if index == RAW:
                plain = inflated(piece, len(at), 1 + row_bytes(spec))
                status[at] = np.frombuffer(plain, np.uint8, len(at))
                rows[at] = array(plain[len(at) :], spec.dtype, spec.shape, len(at))
            else:
                own = None if conditions is None else conditions[at]
                rows[at] = self._reading(index).read_block(piece, len(at), own)
        return self._decompressed(rows, modes, status, self._read_scores(parts[2], status), conditions)

    @np.errstate(all="ignore")
    def read_packet(self, data: bytes) -> Decompressed:
        """The row of a packet.

        Raises:
            CompressedCorrupt: the bytes are no packet of this bundle. DecoderMismatch: as ``read_block``.
        """
        if len(data) < 2 or struct.pack("<H", binascii.crc_hqx(data[:-2], self._packet_seed)) != data[-2:]:
            raise CompressedCorrupt("these bytes are no packet of this bundle, or were damaged on their way")
        spec, status, score = self.manifest.input, np.zeros(1, np.uint8), np.full(1, np.nan, np.float32)
        if data[:1] == _RAW_PACKET:
            index, plain = RAW, inflated(data[1:-2], 1, 5 + row_bytes(spec))
            status[0], score = plain[0], array(plain[1:5], "float32", (), 1)
            rows = array(plain[5:], spec.dtype, spec.shape, 1)
        else:
            decoder = RowDecoder(data[:-2])
            freq = (TOTAL - _RAW_SHARE) // len(self.section.modes)
            index = decoder.slot(PRECISION) // freq
            if index >= len(self.section.modes):
                raise CompressedCorrupt("a packet of an unknown mode")
            decoder.advance(index * freq, freq, PRECISION)
            if decoder.whole(1):
                score = self._sent_score(decoder)
            rows = self._reading(index).read_packet(decoder)
        return self._decompressed(rows, np.array([index]), status, score, None)

    def _sent_score(self, decoder: RowDecoder) -> NDArray[np.float32]:
        if self.identity.step:
            return self.identity.score_of(np.array([decoder.number()]))
        return np.array([decoder.whole(32)], np.uint32).view(np.float32)

    def nothing(self) -> Decompressed:
        """No rows at all."""
        spec, given = self.manifest.input, self.manifest.condition
        condition = None if given is None else np.zeros((0, *given.shape), given.dtype)
        none = np.zeros(0, np.uint8)
        rows = np.zeros((0, *spec.shape), spec.dtype)
        return self._decompressed(rows, none, none, np.zeros(0, np.float32), condition)

    def _decompressed(self, rows: Any, modes: Any, status: Any, score: Any, condition: Any) -> Decompressed:
        known: list[tuple[str, str]] = [
            (mode.kind, mode.name if mode.kind == "bounded" else "") for mode in self.section.modes
        ]
        known += [("", "")] * (RAW - len(known)) + [("raw", "")]
        kinds, bounds = (np.array([entry[i] for entry in known])[modes] for i in (0, 1))
        p_value = np.full(len(rows), np.nan)
        if self._sketch is not None and len(rows):
            p_value = self._sketch.p_values(score)
        return Decompressed(rows, kinds, bounds, score, p_value, status, condition)

    # ---------------------------------------------------------------- parts

    def _mode(self, index: int) -> ModeCodec:
        if index not in self._modes:
            mode, manifest = self.section.modes[index], self.manifest
            tables = Tables.from_bytes(self._vae.read_member(mode.member), mode.member)
            decoder = self._decoder
            self._modes[index] = ModeCodec(
                mode, tables, self.section.margin, row=(manifest.input.shape, manifest.input.dtype),
                latent=manifest.latent.shape, decode=lambda z, condition: decoder.decode(z, condition=condition),
            )  # fmt: skip
        return self._modes[index]

    def _reading(self, index: int) -> ModeCodec:
        codec = self._mode(index)
        if codec.tables.latents is not None:
            self._check_decoder()
        return codec

    def _latents(self, codec: ModeCodec, x: NDArray[Any], condition: Any) -> NDArray[Any] | None:
        if codec.tables.latents is None:
            return None
        if codec.tables.residual is not None:
            self._check_decoder()
        posterior = self._vae.encode(x, condition=condition)
        return posterior.mean if posterior.indices is None else posterior.indices

    def _check_decoder(self) -> None:
        """Once: only fp32 decodes, on a device that computes in it, and the golden rows say whether it does."""
        if self._decodes:
            return
        info = self._decoder.info
        if info.variant != "fp32" or not find_device(info.device).exact:
            what = f"variant {info.variant}" if info.variant != "fp32" else f"device {info.device}"
            raise DecoderMismatch(
                f"{what} decodes other values than fp32: load(path, variant='fp32', device='cpu') decompresses; "
                "a reduced variant may compress"
            )
        manifest = self.manifest
        golden, spec = manifest.golden, manifest.variants["fp32"].graphs["decode"]
        expected = golden.expected["fp32"]
        latent = f"encode.{manifest.variants['fp32'].graphs['encode'].outputs[0].name}"
        if "decode.x_hat" in expected:
            z = array(self._vae.read_member(expected[latent]), spec.inputs[0].dtype, spec.inputs[0].shape, golden.rows)
            output, stored = manifest.output, self._vae.read_member(expected["decode.x_hat"])
            wanted = array(stored, output.dtype, output.shape, golden.rows)
            given = manifest.condition
            condition = None
            if given is not None and golden.condition is not None:
                condition = array(self._vae.read_member(golden.condition), given.dtype, given.shape, golden.rows)
            x_hat = self._decoder.decode(z, condition=condition)
            difference = np.abs(floats.as_windows(x_hat) - floats.as_windows(wanted)) - np.asarray(self.section.margin)
            difference -= manifest.output.dtype == "uint8"  # which may round otherwise
            if not bool((difference <= 0).all()):
                raise DecoderMismatch(
                    f"{info} misses the golden rows of the bundle by more than the margin of its tables: decompress on "
                    "another device, such as cpu"
                )
        self._decodes = True

    def _scores_bytes(self, scores: Scores | None, status: NDArray[np.uint8]) -> bytes:
        if scores is None:
            return b"\0"
        sent = scores.score[status == Status.OK]
        if not self.identity.step:
            return b"\2" + little(sent)
        return b"\1" + zlib.compress(varints(self.identity.steps_of(sent, scores.threshold)), 9)

    def _read_scores(self, data: bytes, status: NDArray[np.uint8]) -> NDArray[np.float32]:
        score, ok = np.full(len(status), np.nan, np.float32), status == Status.OK
        if data[:1] == b"\0" and len(data) == 1:
            return score
        if data[:1] == b"\1" and self.identity.step:
            plain = inflated(data[1:], len(status), _SCORE_BYTES, exactly=False)
            values: Any = self.identity.score_of(np.array(read_varints(plain)))
        elif data[:1] == b"\2" and len(data) % 4 == 1:
            values = np.frombuffer(data, "<f4", offset=1)
        else:
            raise CompressedCorrupt("a block holds scores of an unknown form")
        if len(values) != int(ok.sum()):
            raise CompressedCorrupt("a block holds more or fewer scores than rows")
        score[ok] = values
        return score
