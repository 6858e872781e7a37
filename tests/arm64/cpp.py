"""libvaeedge on aarch64, under emulation: cross-built, on the wheel's ONNX Runtime, with every bundle of the corpus.

    python tests/arm64/cpp.py [--folder build/arm64] [--qemu PATH --root PATH --library PATH]

Without options it takes emulator, system libraries and wheel from the folder of ``lane.py``, which must have run. It
needs Debian's ``g++-aarch64-linux-gnu``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CPP = REPOSITORY / "runtime" / "cpp"
CPU = "cortex-a76"
COMPILER = "aarch64-linux-gnu-g++"


def build(folder: Path) -> Path:
    """The program ``prove`` of tests/cpp with the library inside, for aarch64."""
    if shutil.which(COMPILER) is None:
        raise SystemExit(f"{COMPILER} is not installed: apt-get install g++-aarch64-linux-gnu")
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-pthread", f"-I{CPP / 'include'}"]
    sources = [*sorted((CPP / "src").glob("*.cpp")), REPOSITORY / "tests" / "cpp" / "prove.cpp"]

    def compiled(source: Path) -> str:
        target = folder / f"{source.stem}.o"
        subprocess.run([COMPILER, *flags, "-c", str(source), "-o", str(target)], check=True)
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    program = folder / "prove"
    subprocess.run([COMPILER, "-pthread", *objects, "-o", str(program), "-ldl"], check=True)
    return program


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "arm64")
    parser.add_argument("--qemu", type=Path, help="qemu-aarch64-static; default: that of the folder")
    parser.add_argument("--root", type=Path, help="folder of the aarch64 system libraries; default: that of the folder")
    parser.add_argument("--library", type=Path, help="libonnxruntime.so for aarch64; default: that of the folder")
    options = parser.parse_args()
    folder, start = options.folder.resolve(), time.perf_counter()
    qemu = options.qemu or folder / "emulator" / "usr" / "bin" / "qemu-aarch64-static"
    root = options.root or folder / "sysroot"
    library = options.library or next(
        iter((folder / "site" / "onnxruntime" / "capi").glob("libonnxruntime.so.*")), None
    )
    if library is None or not qemu.is_file():
        raise SystemExit(f"{folder} lacks the emulator or the wheel: run tests/arm64/lane.py first")
    program = build(folder / "cpp")
    built = time.perf_counter()
    noise = REPOSITORY / "tests" / "conformance" / "data" / "noise.seed-7.bin"
    bundles = sorted((REPOSITORY / "tests" / "corpus").glob("*.vaeb"))
    run = [str(qemu), "-cpu", CPU, "-L", str(root), str(program), str(library), str(noise), *map(str, bundles)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    passed = sum(" ok, " in line for line in lines)
    if done.returncode or passed != len(bundles) or "noise ok" not in lines:
        raise SystemExit(f"libvaeedge under emulation failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    print(f"  libvaeedge on aarch64, {CPU} under qemu: {passed} bundles verified, noise bit-equal")
    print(f"  seconds: {time.perf_counter() - start:.0f}, of them {built - start:.0f} to build")


if __name__ == "__main__":
    main()
