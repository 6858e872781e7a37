"""Frames between a session and the process of its engine: a JSON head, then the raw bytes of arrays.

No pickle: bytes from a process that a hostile graph may have taken over must not become code here. Heads and
arrays have limits, and the reader believes no size before it has checked it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError

MAX_HEAD_BYTES = 1 << 20
MAX_ARRAY_BYTES = 1 << 34
_DTYPES = ("float32", "uint8", "int64")
_COUNT_BYTES = 8

Read = Callable[[int], bytearray]
"""(number of bytes) -> exactly these bytes; raises where the other side is gone or late."""
Frame = tuple[dict[str, Any], dict[str, NDArray[Any]], bytes]
"""Head, arrays by name, and bytes that are no array (a graph)."""


def pack(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], blob: bytes = b"") -> list[bytes | memoryview]:
    """Pieces of one frame, in the order in which to write them.

    Args:
        head: what JSON can hold.
        arrays: by name, of dtype float32, uint8 or int64.
        blob: bytes after the arrays.
    """
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    listed = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({**head, "arrays": listed, "blob": len(blob)}).encode()
    sizes = len(text).to_bytes(_COUNT_BYTES, "little")
    return [sizes, text, *(array.reshape(-1).view(np.uint8).data for array in plain.values() if array.size), blob]


def unpack(read: Read) -> Frame:
    """The next frame.

    Raises:
        BackendError: the bytes are no frame.
    """
    size = int.from_bytes(read(_COUNT_BYTES), "little")
    if not 2 <= size <= MAX_HEAD_BYTES:
        raise BackendError(f"the engine's process sent a head of {size} bytes: it is not well")
    try:
        head = json.loads(bytes(read(size)))
        listed, blob = head.pop("arrays"), head.pop("blob")
        shapes = [(str(name), _DTYPES.index(dtype), _checked_shape(shape)) for name, dtype, shape in listed]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackendError(f"the engine's process sent a head that cannot be read ({error}): it is not well") from error
    arrays = {}
    for name, kind, shape in shapes:
        dtype = np.dtype(_DTYPES[kind])
        arrays[name] = np.frombuffer(read(_byte_count(shape, dtype)), dtype=dtype).reshape(shape)
    if not isinstance(blob, int) or not 0 <= blob <= MAX_ARRAY_BYTES:
        raise BackendError(f"the engine's process announced {blob!r} bytes: it is not well")
    return head, arrays, bytes(read(blob))


def _checked_shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape)
    if len(sizes) > 8 or not all(type(n) is int and 0 <= n < 1 << 40 for n in sizes):
        raise ValueError(f"the shape {sizes} is none")
    return sizes


def _byte_count(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    count = dtype.itemsize
    for n in shape:
        count *= n
    if count > MAX_ARRAY_BYTES:
        raise BackendError(f"the engine's process sent an array of {count} bytes, at most {MAX_ARRAY_BYTES}")
    return count
