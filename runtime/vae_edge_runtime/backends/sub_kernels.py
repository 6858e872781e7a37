"""A transposed convolution's weights as those of an ordinary convolution, one set of channels per phase."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sub_kernels(weight: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Weights of the convolution whose result, interleaved, is that of a transposed one before its cropping.

    Output position p of a transposed convolution reads the taps that equal p modulo the stride, its phase
    (sub-pixel convolution, Shi et al. 2016). The convolution is padded by its own size - 1 at every side.

    Args:
        weight: (in, out, height, width), as of ONNX's ConvTranspose with one group.
        stride: of both axes.

    Returns:
        (stride * stride * out, in, ceil(height / stride), ceil(width / stride)): phase of rows, phase of columns,
        channel, as DepthToSpace orders them in mode DCR.

    >>> sub_kernels(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2), 2).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    inputs, outputs, *size = weight.shape
    rows, columns = (-(-length // stride) for length in size)
    whole = np.zeros((inputs, outputs, rows * stride, columns * stride), np.float32)
    whole[:, :, : size[0], : size[1]] = weight
    by_phase = whole.reshape(inputs, outputs, rows, stride, columns, stride).transpose(3, 5, 1, 0, 2, 4)
    # A convolution correlates: the taps are reversed.
    return np.ascontiguousarray(by_phase[..., ::-1, ::-1]).reshape(-1, inputs, rows, columns)
