"""Rows that lie on a GPU already: torch, CuPy, Numba and JAX say where, and nothing of theirs is imported.

Formats: CUDA array interface (numba.readthedocs.io, versions 2 and 3) and DLPack (dmlc.github.io/dlpack).
"""

from __future__ import annotations

import ctypes
from math import prod
from typing import Any

import numpy as np

from ..errors import InputError
from ..record import record

_DLPACK_CUDA = 2  # kDLCUDA of dlpack.h
_LEGACY_STREAM = 1  # CU_STREAM_LEGACY of cuda.h, and the number that both protocols use for it
_DTYPES = {(0, 32): "int32", (0, 64): "int64", (1, 8): "uint8", (2, 16): "float16", (2, 32): "float32"}
"""Type code and bits of dlpack.h to numpy's names: those that inputs of a bundle have."""


@record(frozen=True, eq=False)
class GpuRows:
    """Rows (n, *shape) in the memory of a GPU, C-contiguous.

    Attributes:
        address: of the first row. owner: keeps the memory alive.
        stream: of CUDA, on which the rows are computed; None where nobody says, so that all work is waited for.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object
    stream: int | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> GpuRows:
        start, stop, _ = rows.indices(len(self))
        at = self.address + start * prod(self.shape[1:]) * self.dtype.itemsize
        return GpuRows(at, (max(stop - start, 0), *self.shape[1:]), self.dtype, self.owner, self.stream)

    @property
    def size_bytes(self) -> int:
        """Of all rows."""
        return prod(self.shape) * self.dtype.itemsize


def on_gpu(x: object) -> bool:
    """Whether an object says that its memory is a GPU's; an array of numpy is never asked."""
    if isinstance(x, np.ndarray):
        return False
    device = _asked(x, "__dlpack_device__")
    if callable(device):
        return int(device()[0]) == _DLPACK_CUDA
    return _asked(x, "__cuda_array_interface__") is not None


def gpu_rows(x: Any, *, shape: tuple[int, ...], dtype: str, what: str = "x") -> GpuRows:
    """Where the rows of an object lie; nothing is copied.

    Args:
        x: has ``__cuda_array_interface__`` (version 2 or 3) or DLPack, (n, *shape) of ``dtype``, C-contiguous.

    Raises:
        InputError: it does not fit the model, or its rows are not one block.

    Example:
        >>> vae.score(frames)  # doctest: +SKIP
    """
    rows = _by_interface(x, what) if _asked(x, "__cuda_array_interface__") is not None else _by_dlpack(x, what)
    if rows.dtype != np.dtype(dtype):
        raise InputError(f"{what} is {rows.dtype} on the GPU, the model takes {dtype}: convert it there first")
    if len(rows.shape) != len(shape) + 1 or rows.shape[1:] != shape:
        raise InputError(f"{what} has shape {rows.shape}, the model takes (n, {', '.join(map(str, shape))})")
    return rows


def _asked(x: object, name: str) -> Any:
    """An attribute; None where there is none, or the object refuses it, as torch does for tensors of the CPU."""
    try:
        return getattr(x, name, None)
    except Exception as error:
        raise InputError(
            f"{type(x).__name__} does not say where its memory is ({error}): pass it detached from training"
        ) from error


def _by_interface(x: Any, what: str) -> GpuRows:
    """Numba's CUDA array interface: a dict with shape, typestr, data, and since version 3 a stream."""
    says = x.__cuda_array_interface__
    shape, dtype = tuple(says["shape"]), np.dtype(says["typestr"])
    if says.get("mask") is not None:
        raise InputError(f"{what} has a mask; fill or drop the masked values first")
    _check_contiguous(shape, dtype.itemsize, says.get("strides"), what)
    return GpuRows(int(says["data"][0] or 0), shape, dtype, x, says.get("stream"))


def _by_dlpack(x: Any, what: str) -> GpuRows:
    """DLPack before its version 1, which every producer still gives: the capsule frees the tensor when it goes."""
    capsule = x.__dlpack__(stream=_LEGACY_STREAM)
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.argtypes, get.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    tensor = _Tensor.from_address(get(capsule, b"dltensor"))
    dtype = _DTYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if dtype is None:
        raise InputError(f"{what} has elements of {tensor.bits} bits of DLPack's type {tensor.code}; convert it first")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    size = np.dtype(dtype).itemsize
    strides = tuple(tensor.strides[i] * size for i in range(tensor.ndim)) if tensor.strides else None
    _check_contiguous(shape, size, strides, what)
    address = (tensor.data or 0) + tensor.byte_offset
    return GpuRows(address, shape, np.dtype(dtype), (x, capsule), _LEGACY_STREAM)


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h, with which a DLManagedTensor begins."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _check_contiguous(shape: tuple[int, ...], size: int, strides: Any, what: str) -> None:
    if strides is None:
        return
    expected = size
    for length, stride in zip(reversed(shape), reversed(tuple(strides)), strict=True):
        if length > 1 and stride != expected:
            raise InputError(f"the rows of {what} are not one block of memory: pass a contiguous copy of it")
        expected *= length
