"""Builds libvaeedge from its sources, with whatever compiler there is, and finds the ONNX Runtime of the pip wheel."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
CPP = ROOT / "runtime" / "cpp"
BUILD = ROOT / "build" / "cpp"
"""Kept between runs: a build takes half a minute."""
WARNINGS = ("-Wall", "-Wextra", "-Werror")
STANDARD = ("-std=c++17", "-ffp-contract=off", "-fvisibility=hidden", "-pthread")


def absent(what: str) -> NoReturn:
    """Skip by name where a tool is absent; fail where ``VAE_EDGE_ALL_TOOLS`` says that the lane has installed all."""
    if os.environ.get("VAE_EDGE_ALL_TOOLS"):
        pytest.fail(f"{what}, and VAE_EDGE_ALL_TOOLS is set")
    pytest.skip(what)


def compiler(name: str = "g++") -> str | None:
    """Its path, or None where it is not installed; ``VAE_EDGE_CXX`` names another than g++."""
    return shutil.which(os.environ.get("VAE_EDGE_CXX", name) if name == "g++" else name)


def sources() -> list[Path]:
    """Of the library."""
    return sorted((CPP / "src").glob("*.cpp"))


def objects(folder: Path, cxx: str, *flags: str) -> list[Path]:
    """The library's object files, two compilers at a time."""
    folder.mkdir(parents=True, exist_ok=True)

    def compiled(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        subprocess.run(
            [cxx, *STANDARD, "-fPIC", *flags, f"-I{CPP / 'include'}", "-c", str(source), "-o", str(target)], check=True
        )
        return target

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compiled, sources()))


def shared_library(folder: Path, cxx: str, *flags: str) -> Path:
    """``libvaeedge.so`` in a folder, made anew where a source, the compiler or the flags changed."""
    folder.mkdir(parents=True, exist_ok=True)
    library, stamp = folder / "libvaeedge.so", folder / "stamp.txt"
    digest = hashlib.sha256(" ".join([cxx, *STANDARD, *flags]).encode())
    for path in [*sources(), *sorted((CPP / "src").glob("*.h")), CPP / "include" / "vae_edge.h"]:
        digest.update(path.read_bytes())
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two workers of pytest make it once
        if not library.is_file() or not stamp.is_file() or stamp.read_text() != digest.hexdigest():
            made = objects(folder, cxx, *flags)
            link = [cxx, "-shared", "-pthread", *flags, *map(str, made), "-o", str(library), "-ldl"]
            subprocess.run(link, check=True)
            stamp.write_text(digest.hexdigest())
    return library


def onnxruntime_library() -> Path | None:
    """``libonnxruntime.so`` of the installed wheel; wheels from 1.20 on have one."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("capi/libonnxruntime.so.*"))), None)
