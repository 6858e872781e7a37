"""NVIDIA's cuda.h of CUDA 12 and 13 declares every function of the driver as we call it, and gives our numbers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from recorded_names import DRIVER

from vae_edge_runtime.backends.tensorrt import driver
from vae_edge_runtime.backends.tensorrt.driver import SIGNATURES

FOLDER = os.environ.get("VAE_EDGE_CUDA_H")
HEADERS = tuple(sorted(Path(FOLDER).rglob("cuda.h"))) if FOLDER else (Path("none"),)
pytestmark = [
    pytest.mark.gpu_stubs,
    pytest.mark.skipif(FOLDER is None, reason="make gpu-stubs installs cuda.h"),
]
NUMBERS = {
    "CU_MEMHOSTALLOC_PORTABLE": driver._PORTABLE,
    "CU_MEMHOSTALLOC_DEVICEMAP": driver._DEVICEMAP,
    "CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL": driver._POINTER_DEVICE,
    "CU_STREAM_NON_BLOCKING": driver._NON_BLOCKING,
    "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": driver._THREAD_LOCAL,
    "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": driver._MULTIPROCESSORS,
    "CU_DEVICE_ATTRIBUTE_INTEGRATED": driver._INTEGRATED,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": driver._MAJOR,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": driver._MINOR,
    "CUDA_ERROR_OUT_OF_MEMORY": driver._OUT_OF_MEMORY,
}
LOST = """
ECC_UNCORRECTABLE NVLINK_UNCORRECTABLE CONTAINED ILLEGAL_ADDRESS LAUNCH_TIMEOUT CONTEXT_IS_DESTROYED ASSERT
HARDWARE_STACK_ERROR ILLEGAL_INSTRUCTION MISALIGNED_ADDRESS INVALID_ADDRESS_SPACE INVALID_PC LAUNCH_FAILED
TENSOR_MEMORY_LEAK UNKNOWN
""".split()  # noqa: SIM905 (names to read, as in onnx_ops)


def compiles(source: str, header: Path, tmp_path: Path) -> str:
    """What the compiler says; empty where it is content."""
    (tmp_path / "check.c").write_text(source)
    command = ["gcc", "-c", "-Werror", f"-I{header.parent}", str(tmp_path / "check.c"), "-o", str(tmp_path / "check.o")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: "/".join(path.parts[-4:-2]))
def test_every_function_is_declared_as_recorded(header: Path, tmp_path: Path) -> None:
    lines = ["#include <cuda.h>"]
    for name, types in DRIVER.items():
        # cuda.h gives the plain name to its newest form: what we call _v2 is what the macro stands for.
        lines.append(f"CUresult (*check_{name})({types}) = {name.removesuffix('_v2')};")
    assert compiles("\n".join(lines), header, tmp_path) == ""
    wrong = "\n".join([*lines, "CUresult (*wrong)(int, int) = cuMemFree;"])
    assert "incompatible" in compiles(wrong, header, tmp_path)
    assert SIGNATURES.keys() == DRIVER.keys()


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: "/".join(path.parts[-4:-2]))
def test_our_numbers_are_those_of_the_header(header: Path, tmp_path: Path) -> None:
    checks = [f'_Static_assert({name} == {value}, "{name}");' for name, value in NUMBERS.items()]
    assert compiles("\n".join(["#include <cuda.h>", *checks]), header, tmp_path) == ""


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: "/".join(path.parts[-4:-2]))
def test_errors_that_lose_the_context_are_those_of_the_header(header: Path, tmp_path: Path) -> None:
    prints = "".join(f'printf("%d ", (int)CUDA_ERROR_{name});' for name in LOST)
    program = f"#include <cuda.h>\n#include <stdio.h>\nint main(void){{{prints}return 0;}}"
    (tmp_path / "numbers.c").write_text(program)
    binary = tmp_path / "numbers"
    subprocess.run(["gcc", f"-I{header.parent}", tmp_path / "numbers.c", "-o", binary], check=True)
    numbers = set(map(int, subprocess.run([binary], capture_output=True, text=True, check=True).stdout.split()))
    assert numbers == driver._CONTEXT_LOST
