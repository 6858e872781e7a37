"""Options of ONNX Runtime's providers for GPUs, a row each: what is set, where, and why.

Nothing here was run on a GPU. Each row names what it was taken from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..errors import ProviderUnavailable
from ..record import record

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
"""Read by cuBLAS, cuDNN and TensorRT when they start: 0 forbids TF32 to the whole process."""


@record(frozen=True)
class Setting:
    """One option of one provider.

    Attributes:
        exact: on devices that compute in float32 only (True), on those that do not (False), or on both (None).
        integrated: on GPUs that share the memory of the CPU only (True), or on all (None).
        since: first onnxruntime that knows the option; an older one refuses its name.
        why: the reason, with its source.
    """

    provider: str
    name: str
    value: str
    why: str
    exact: bool | None = None
    integrated: bool | None = None
    since: tuple[int, ...] = (1, 17)


SETTINGS = (
    Setting(
        CUDA, "use_tf32", "0", exact=True, since=(1, 18),
        why="it is 1 by default, and 10 bits of each factor miss a bundle's tolerance of 1e-4: onnxruntime#19288 "
        "measures 8.8e-4 with it and 2.7e-6 without",
    ),
    Setting(CUDA, "use_tf32", "1", exact=False, since=(1, 18), why="what the device is for: onnxruntime#19357"),
    Setting(
        CUDA, "cudnn_conv_algo_search", "HEURISTIC", integrated=True,
        why="the default tries every algorithm at every new shape: 634 ms against 1.9 ms in PaddleX#5057, and 5.0 "
        "against 0.6 GB in onnxruntime#7612",
    ),
    Setting(
        CUDA, "cudnn_conv_use_max_workspace", "0", integrated=True,
        why="scratch memory of convolutions is memory of the whole board: onnxruntime's page on the CUDA provider",
    ),
    Setting(
        CUDA, "arena_extend_strategy", "kSameAsRequested", integrated=True,
        why="the default doubles what it takes from the board: onnxruntime's page on the CUDA provider",
    ),
)  # fmt: skip


def settings_for(provider: str, version: tuple[int, ...], *, exact: bool, integrated: bool) -> dict[str, str]:
    """The options of a provider.

    Args:
        version: of onnxruntime. exact: the device computes in float32.
        integrated: the GPU shares the memory of the CPU.
    """
    return {
        row.name: row.value
        for row in SETTINGS
        if row.provider == provider
        and row.since <= version
        and row.exact in (None, exact)
        and (row.integrated is None or integrated)
    }


def forbid_or_allow_tf32(
    provider: str, version: tuple[int, ...], *, exact: bool, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What the environment must hold before the first session of a provider that has no option for TF32.

    ONNX Runtime's TensorRT provider has none (onnxruntime#6427), and its CUDA provider has none before 1.18.

    Args:
        provider, version, exact: as for ``settings_for``. environment: of this process where None.

    Raises:
        ProviderUnavailable: TF32 is asked for and the environment forbids it, or it is forbidden and the
            environment asks for it.
    """
    held = (os.environ if environment is None else environment).get(TF32_VARIABLE)
    if not exact and held == "0":
        raise ProviderUnavailable(
            f"{TF32_VARIABLE}=0 forbids TF32 to this process",
            remedy="unset it, or take the device of the same name without -tf32",
        )
    has_option = any(row.provider == provider and row.name == "use_tf32" and row.since <= version for row in SETTINGS)
    if not exact or has_option:
        return {}
    if held not in (None, "0"):
        raise ProviderUnavailable(
            f"{TF32_VARIABLE}={held} is set, and this provider has no option that keeps float32",
            remedy=f"unset it, or set {TF32_VARIABLE}=0",
        )
    return {TF32_VARIABLE: "0"}


def padded_rows(rows: int, largest: int = 64) -> int:
    """The next power of two, at most ``largest`` where the rows fit: each new batch makes cuDNN search again."""
    if rows >= largest:
        return rows
    return min(1 << (rows - 1).bit_length(), largest)
