"""What a session or a restart reads: bundles of right hashes and wrong members, compressed rows, the state of watch.

An attacker can write a right hash, so these targets mend hashes and checksums before the bytes are looked at.
"""

from __future__ import annotations

import binascii
import contextlib
import functools
import hashlib
import json
import os
import random
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from codec_bundles import window_bundle, windows
from fake_session import FakeSession
from mutate import mutated, mutated_json
from targets import Target, folder, written

from vae_edge_runtime import VAE, Bundle, BundleError, Manifest, load, recalibrate, verify
from vae_edge_runtime.codec.container import BLOCK_MAGIC
from vae_edge_runtime.format import archive
from vae_edge_runtime.stream import open_stream

CORPUS = Path(__file__).parents[1] / "corpus"
_SEEDS = ("v1-table", "v1-label", "v1-window", "v1-codes", "v1-half")
_PART = re.compile(rb"\n--member ([a-zA-Z0-9/._-]+)\n")


@functools.cache
def _members(name: str) -> dict[str, bytes]:
    with Bundle.open(CORPUS / f"{name}.vaeb") as bundle:
        return {member: bundle.read(member) for member in bundle.manifest.members} | {
            "manifest.json": json.dumps(json.loads(bundle.manifest.to_json()), indent=0).encode()
        }


def _is_graph(member: str) -> bool:
    return member.endswith((".onnx", ".weights"))


def _bundles() -> Sequence[bytes]:
    """Name of a bundle, its manifest, and its members that are no graphs."""
    return [
        name.encode() + b"".join(b"\n--member " + member.encode() + b"\n" + raw for member, raw in members.items())
        for name, members in (
            (name, {m: raw for m, raw in _members(name).items() if not _is_graph(m)}) for name in _SEEDS
        )
    ]


def _with_changes(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Values of the manifest changed, or bytes of another member."""
    pieces = _PART.split(rng.choice(seeds))
    at = rng.randrange(2, len(pieces), 2)
    if rng.random() < 0.5:
        at = pieces.index(b"manifest.json") + 1
    pieces[at] = (mutated_json if pieces[at - 1] == b"manifest.json" else mutated)([pieces[at]], rng)
    return pieces[0] + b"".join(
        b"\n--member " + name + b"\n" + raw for name, raw in zip(pieces[1::2], pieces[2::2], strict=True)
    )


def _made(raw: bytes) -> Path:
    """The bundle that the bytes describe, with right sizes and hashes of its members."""
    name, *parts = _PART.split(raw)
    members = dict(_members(name.decode() if name.decode("latin-1") in _SEEDS else _SEEDS[0]))
    members |= {part.decode(): raw for part, raw in zip(parts[::2], parts[1::2], strict=True)}
    text = members.pop("manifest.json")
    try:
        manifest = json.loads(text)
        for member, spec in manifest["members"].items():
            spec |= {"size_bytes": len(members[member]), "sha256": hashlib.sha256(members[member]).hexdigest()}
        text = json.dumps(manifest).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # then the reader has to refuse it
    return written("input.vaeb", archive.encode({**members, "manifest.json": text}))


def _rows(manifest: Manifest, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows that the manifest asks for, and their conditions."""
    spec, given = manifest.input, manifest.condition
    if np.prod([*map(float, (*spec.shape, *(given.shape if given else ())))]) > 10_000:
        raise BundleError("rows of that size are made nowhere here")
    rows = np.random.default_rng(n).normal(size=(n, *spec.shape)).astype(spec.dtype)
    return rows, None if given is None else np.zeros((n, *given.shape), given.dtype)


def _session(raw: bytes) -> None:
    """Everything that a session computes from the members."""
    path = _made(raw)
    with load(path, device="cpu", threads=1) as vae:
        rows, condition = _rows(vae.manifest, 12)
        first = None if condition is None else condition[:2]
        scores = vae.score(rows, condition=condition, heads="all", maps=True)
        if vae.calibrations:
            assert scores.p_value.shape == scores.is_anomaly.shape == (12,)
            vae.threshold_for(0.2)
        str(vae), str(vae.info), str(scores)
        vae.explain(rows[:2], condition=first)
        vae.reconstruct(rows[:2], condition=first)
        vae.sample(2, seed=1, condition=first)


def _verify(raw: bytes) -> None:
    str(verify(_made(raw), device="cpu"))


def _recalibrate(raw: bytes) -> None:
    path, new = _made(raw), folder() / "new.vaeb"
    with Bundle.open(path) as bundle:
        rows, condition = _rows(bundle.manifest, 60)
    recalibrate(path, new, rows=rows, condition=condition, false_positive_rate=0.1, force=True)
    with Bundle.open(new) as bundle:
        bundle.verify_members()


# ---------------------------------------------------------------- compressed rows


@functools.cache
def _codec() -> VAE:
    return load(window_bundle(), device="cpu", threads=1)


@functools.cache
def _compressed() -> Sequence[bytes]:
    vae, x = _codec(), windows(5, 3)
    x[1, 2, 3] = np.nan
    ways: tuple[dict[str, Any], ...] = (
        {"bound": "0.3"}, {"exact": True}, {"latents": True}, {"bound": "0.05", "triage": True},
    )  # fmt: skip
    return [vae.compress(x, **way) for way in ways]


def _with_checksums(raw: bytes) -> bytes:
    """The same file with right checksums, as far as its blocks can be followed."""
    data = bytearray(raw)
    if len(data) < 80:
        return raw
    at = int.from_bytes(data[6:8], "little")
    if 4 < at <= len(data):
        data[at - 4 : at] = struct.pack("<I", zlib.crc32(data[: at - 4]))
    while len(data) - at >= 20:
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        if data[at : at + 4] == BLOCK_MAGIC:
            struct.pack_into("<I", data, at + 12, zlib.crc32(data[at + 20 : at + 20 + size]))
        struct.pack_into("<I", data, at + 16, zlib.crc32(data[at : at + 16]))
        at += 20 + (size if data[at : at + 4] == BLOCK_MAGIC else len(data))
    return bytes(data)


def _decompress(raw: bytes) -> None:
    from vae_edge.cli.decompress import table_columns
    from vae_edge_runtime.codec.container import described

    data = _with_checksums(raw)
    rows = _codec().decompress(data, allow_torn=True)
    assert len(rows.rows) == len(rows.kind) == len(rows.score)
    table_columns(rows, _codec().manifest.input)
    described(written("input.vaez", data))


def _packets() -> Sequence[bytes]:
    vae, x = _codec(), windows(1, 3)[0]
    return [vae.packet(x, bound="0.3"), vae.packet(x, exact=True, scores=True), vae.packet(x, latents=True)]


def _unpack(raw: bytes) -> None:
    codec = _codec()._codec()
    _codec().unpack(raw[:-2] + struct.pack("<H", binascii.crc_hqx(raw[:-2], codec._packet_seed)))


# ---------------------------------------------------------------- the state of watch

_INODE = b'"inode": 7777777, '
_LENGTH = 10


@functools.cache
def _watched() -> Path:
    """A folder with a file that was rotated away and the one that goes on."""
    path = folder() / "watched" / "live.csv"
    path.parent.mkdir()
    rows = np.random.default_rng(2).normal(size=(60, 3)).round(3).tolist()
    lines = ["a,b,c", *(",".join(map(str, row)) for row in rows)]
    path.with_name("live.csv.1").write_text("\n".join(lines[:31]) + "\n")
    path.write_text("\n".join([lines[0], *lines[31:]]) + "\n")
    return path


def _watch(state: dict[str, Any] | None, length: int, file: Path) -> dict[str, Any]:
    """A run of ``watch --state`` without an engine; returns what the state file holds then."""
    from vae_edge.watch.events_file import events_file
    from vae_edge.watch.followed import Followed
    from vae_edge.watch.journal import Journal
    from vae_edge.watch.resuming import Watched
    from vae_edge.watch.state_file import StateFile
    from vae_edge.watch.text_files import CsvLines

    session, at = FakeSession(length), StateFile(folder() / "state")
    watched = Watched("id", 1, "live.csv", {"--stride": None})
    if state is not None:
        watched.check(state, at.path, take_over=False)
    parser = CsvLines("live.csv", names=("a", "b", "c"), count=3, time_column=None)
    source = Followed(file, parser, forever=False, position=None if state is None else state.get("position"))
    events = written("events.jsonl", b"")
    with contextlib.closing(source), open_stream(session, source) as stream, events_file(events) as sink:
        if state is not None:
            stream.restore(state.get("stream", {}), lost=source.lost)
        journal = Journal(sink, bundle_id="id", release=1, state_file=at, saved=state)

        def now() -> dict[str, Any]:
            return watched.to_dict() | {"position": source.position(), "stream": stream.state()}

        stream.on_settled = lambda last: journal.settled(stream.counters["rows"], last, now)
        for event in stream:
            journal.take(event)
        journal.close()
    written_now = at.read()
    assert written_now is not None
    return written_now


def _states() -> Sequence[bytes]:
    """Of windows and of rows, in the middle of a file that has been rotated since."""
    made = []
    for length in (0, _LENGTH):
        first = _watch(None, length, _watched().with_name("live.csv.1"))
        inode = json.dumps(first["position"]["place"]["inode"])
        text = json.dumps(first).replace(f'"inode": {inode}, ', _INODE.decode())
        made.append(text.encode())
    return made


def _resume(raw: bytes) -> None:
    """The bytes are what a state file holds behind its hash; a mark stands for the inode of the file it speaks of."""
    from vae_edge.watch.state_file import _BEGINS, StateFile

    inode = os.stat(_watched().with_name("live.csv.1")).st_ino  # noqa: PTH116 (beside the mark)
    body = raw.replace(_INODE, f'"inode": {inode}, '.encode())
    path = written("state", _BEGINS + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    state = StateFile(path).read()
    assert state is not None
    length = _LENGTH if b'"shape": [10, 3]' in raw else 0
    for line in json.dumps(_watch(state, length, _watched())["unsent"]):
        json.dumps(line, allow_nan=False)


SESSION_TARGETS: dict[str, Target] = {
    "members": Target(_bundles, _session, 40, _with_changes, needs="onnxruntime"),
    "verify": Target(_bundles, _verify, 30, _with_changes, needs="onnxruntime"),
    "recalibrate": Target(_bundles, _recalibrate, 20, _with_changes, needs="onnxruntime"),
    "vaez": Target(_compressed, _decompress, 200, needs="onnxruntime"),
    "packet": Target(_packets, _unpack, 300, needs="onnxruntime", least_refused=0),
    "state": Target(_states, _resume, 60, mutated_json),
    "state-bytes": Target(_states, _resume, 60),
}
