"""Files of data and sources of streams: every reader, by the bytes of one file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fake_session import FakeSession
from targets import Target, written

from vae_edge_runtime.stream import open_stream

_RNG = np.random.default_rng(0)
_ROWS = _RNG.normal(size=(6, 3)).astype(np.float32)
_CSV = [
    b"a,b\n1,2\n3,4\n", b'"a","b c"\r\n1.5e3,-0.1\r\n,\r\n', b"1;2\n3;4\n", b"\xef\xbb\xbft,a\n0,1\n",
    b"# made by hand\na\tb\tc\n1,5\t2\tNA\n-3\t4e-2\t#N/A\n", "a,b\n1,2\n".encode("utf-16"), b"a,b\n1.000,5;2\n",
    b"time,a,b\n" + b"".join(b"2026-11-28T10:00:%02d,%d,0.5\n" % (i, i) for i in range(12)),
]  # fmt: skip


def _saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _zipped(save: Callable[..., None], **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def _npy() -> Sequence[bytes]:
    pictures = _RNG.integers(0, 256, (2, 3, 3, 1)).astype(np.uint8)
    return [_saved(x) for x in (_ROWS, _ROWS.astype(">f8"), np.asfortranarray(_ROWS.astype(float)), pictures)]


def _npz() -> Sequence[bytes]:
    labels = np.array([0, 1, 0, 0, 1, 1])
    return [
        _zipped(np.savez, x=_ROWS),
        _zipped(np.savez_compressed, x=_ROWS, y=labels),
        _zipped(np.savez, X=_ROWS, condition=labels),
        _zipped(np.savez, rows=_ROWS.astype(float)),
    ]


_JSONL = [
    b'{"a": 1, "b": 2.5, "c": null}\n{"b": 1e3, "a": -1, "c": 0}\n', b"[1, 2, 3]\n[4, 5.5, null]\n",
    b'{"time": 3, "a": 1, "b": 2, "c": 3}\n\n{"time": "4", "a": 1, "b": 2, "c": 3, "d": "x"}\n',
]  # fmt: skip


def _parquet() -> Sequence[bytes]:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    tables: list[dict[str, Any]] = [
        {"a": [1.5, None, 3.0], "b": [1, 2, 3], "c": [True, False, True]},
        {"t": np.array(["2026-11-28T10:00:00", "2026-11-28T10:00:01"], "M8[us]"), "a": [0.0, 1.0], "b": [1, 2]},
        {"a": ["x", "y"], "b": [[1.0], [2.0, 3.0]], "c": [0.5, 0.25]},
    ]
    made = []
    for table in tables:
        for options in ({}, {"compression": "none", "use_dictionary": False}):
            buffer = io.BytesIO()
            parquet.write_table(arrow.table(table), buffer, **options)
            made.append(buffer.getvalue())
    return made


def _pictures() -> Sequence[bytes]:
    from PIL import Image

    colour = Image.fromarray(_RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8))
    grey, opaque = colour.convert("L"), colour.convert("RGBA")
    kinds: list[tuple[Any, str, dict[str, Any]]] = [
        (colour, "PNG", {}), (grey, "PNG", {}), (colour.convert("P"), "PNG", {}), (grey.convert("1"), "PNG", {}),
        (opaque, "PNG", {}), (colour, "JPEG", {}), (colour, "JPEG", {"progressive": True}), (grey, "BMP", {}),
        (colour, "TIFF", {}), (grey, "TIFF", {"compression": "tiff_lzw"}), (colour, "TIFF", {"compression": "jpeg"}),
        (colour, "WEBP", {}), (opaque, "WEBP", {"lossless": True}), (colour, "PPM", {}), (grey, "PPM", {}),
    ]  # fmt: skip
    made = []
    for image, kind, options in kinds:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made.append(buffer.getvalue())
    return [*made, b"P3\n2 1\n255\n1 2 3 4 5 6\n"]


def _read(suffix: str, **options: Any) -> Callable[[bytes], object]:
    def run(raw: bytes) -> object:
        from vae_edge.data import read

        return read(written(f"input{suffix}", raw), **options)

    return run


def _labels(raw: bytes) -> object:
    """Labels and classes of ``evaluate``, by what the bytes begin with."""
    from vae_edge.evaluation.labels import read_values, to_labels

    kinds = ((b"\x93NUMPY", ".npy"), (b"PK", ".npz"), (b"PAR1", ".parquet"), (b"{", ".jsonl"), (b"[", ".jsonl"))
    suffix = next((suffix for magic, suffix in kinds if raw.startswith(magic)), ".csv")
    return to_labels(read_values(written(f"labels{suffix}", raw), None), 3, "labels")


def _label_files() -> Sequence[bytes]:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    labels, buffer = np.array([0, 1, 0]), io.BytesIO()
    parquet.write_table(arrow.table({"y": labels}), buffer)
    return [
        buffer.getvalue(), _saved(labels), _saved(labels.astype(bool)), _zipped(np.savez, y=labels),
        b"y\n0\n1\n1\n", b"0\n1\n0\n", b'{"y": 0}\n{"y": 1}\n{"y": 1}\n',
    ]  # fmt: skip


def _picture(raw: bytes) -> object:
    from vae_edge.data.images import read_image

    path = written("input.png", raw)
    read_image(path, (5, 4), "pad")
    return read_image(path, None)


def _stream(suffix: str, time_column: str | None = None, window: int = 0) -> Callable[[bytes], object]:
    """What ``watch`` does with a file, up to the lines that it writes."""

    def run(raw: bytes) -> object:
        from vae_edge.watch import open_source

        session = FakeSession(window)
        path = written(f"stream{suffix}", raw)
        source = open_source(str(path), session.manifest.input, time_column=time_column)
        events = open_stream(session, source.rows, impute="auto" if window else "off", stale_s=None)
        return [json.dumps(event.to_dict(), allow_nan=False) for event in events]

    return run


_STREAM_CSV = [
    b"a,b,c\n1,2,3\n0.5,,NA\nnan,-1,1e9\n", b"c;b;a\n1,5;2;3\n", b"1,2,3\n" * 20, b"x,a,b,c\n0,1,2,3\n",
    b"".join(b"%d,0.1,-0.%d\n" % (i % 3, i % 7) for i in range(40)),
]  # fmt: skip
_TIMED_CSV = [
    b"t,a,b,c\n" + b"".join(b"%d.5,0.%d,-0.1,0.%d\n" % (i, i % 5, i % 3) for i in range(30)),
    b"t,a,b,c\n2026-11-28T10:00:00Z,1,2,3\n2026-11-28T10:00:01.5Z,1,2,\n",
    b"a;t;b;c\n1;1764324000;2;3\n1;1764323999;2;3\n",
]
DATA_TARGETS: dict[str, Target] = {
    "csv": Target(lambda: _CSV, _read(".csv"), 100),
    "csv-named": Target(lambda: _CSV, _read(".csv", features=("a", "b")), 100),
    "npy": Target(_npy, _read(".npy"), 200),
    "npz": Target(_npz, _read(".npz"), 200),
    "jsonl": Target(lambda: _JSONL, _read(".jsonl"), 100),
    "parquet": Target(_parquet, _read(".parquet"), 100, needs="pyarrow"),
    "picture": Target(_pictures, _picture, 200, needs="PIL"),
    "labels": Target(_label_files, _labels, 200, needs="pyarrow"),
    "stream-csv": Target(lambda: _STREAM_CSV, _stream(".csv"), 100),
    "stream-times": Target(lambda: _TIMED_CSV, _stream(".csv", "t", 10), 100),
    "stream-jsonl": Target(lambda: _JSONL, _stream(".jsonl"), 100),
    "stream-parquet": Target(_parquet, _stream(".parquet"), 50, needs="pyarrow"),
}
