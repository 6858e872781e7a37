"""The runtime on aarch64, under emulation: its own tests, and a bundle's scores against this machine's.

Debian's ``qemu-user-static`` runs an arm64 Python from Debian's own packages, unpacked into a folder
and never installed, with the aarch64 wheels a Jetson would take: onnxruntime 1.23.2 and numpy 2.2.6
are the last ones for Python 3.10 (the packages here are of Python 3.11; Debian has no 3.10).
Needs a Debian machine with its package lists and a package index; nothing is skipped without a word.

    python tests/arm64/lane.py [--folder build/arm64]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
FEWEST_TESTS = 800
"""Fewer that pass under emulation, and the lane has lost some on the way."""

CPU = "cortex-a76"  # the cores of an Orin are Cortex-A78AE, which qemu 7.2 does not know
DEBIAN = ("python3.11", "libstdc++6")
RUNTIME = ("numpy==2.2.6", "onnxruntime==1.23.2")
TESTING = (
    *("pytest", "pluggy", "iniconfig", "packaging", "pygments", "hypothesis", "sortedcontainers", "onnx", "protobuf"),
    *("ml_dtypes", "typing_extensions", "jsonschema", "jsonschema-specifications", "referencing", "rpds-py", "attrs"),
)
"""Of the tests, not of the runtime."""
NOT_HERE = (
    "--ignore=tests/runtime/backends/test_isolated.py",  # starts Pythons, and an emulated one starts none
    "--ignore=tests/runtime/backends/test_forking.py",  # forks beside threads, which the emulator does not stand
    "--ignore=tests/runtime/backends/test_calls.py",  # starts Pythons
    *(
        f"--deselect=tests/runtime/{test}"
        for test in (
            "test_absurd_arguments.py::test_a_result_or_an_error_of_ours[load]",  # the same
            "test_absurd_arguments.py::test_a_result_or_an_error_of_ours[verify]",  # the same
            # A library that the compiler of this machine built:
            "backends/test_ort_gpu.py::test_the_reason_of_a_provider_that_does_not_start_is_in_the_error",
            "backends/test_ort_gpu.py::test_a_provider_that_raises_has_its_reason_too",
            "test_pickling.py::test_a_spawned_worker_scores_with_the_session_it_was_sent",  # the same
            "test_table_scorer.py::test_a_spawned_worker_scores_with_the_scorer_it_was_sent",  # the same
            "test_table_scorer.py::test_a_forked_child_opens_a_session_of_its_own",  # the same
            "test_table_scorer.py::test_the_engine_of_a_scorer_may_run_in_a_process_of_its_own",  # the same
            "scoring/test_html.py::test_a_process_that_scores_pays_nothing_for_json_and_notebooks",  # the same
            "device/test_devices.py::test_a_row_of_ones_own_is_in_the_help",  # typer is not installed there
            "device/test_devices.py::test_every_row_is_in_the_help_of_both_commands_and_in_the_docs",
            "test_text.py::test_info_cannot_be_made_to_show_a_line_of_its_own",
            "test_text.py::test_escapes_in_keys_ids_and_paths_do_not_reach_the_terminal",
            "test_text.py::test_json_is_escaped_whatever_the_bundle_says",
            "test_dependencies.py::test_info_says_that_telemetry_is_off",
            "test_dependencies.py::test_openvino_does_not_find_its_reporter_unless_the_user_agreed",  # nor OpenVINO
        )
    ),
)
"""Tests of the runtime that run on this machine's own architecture only."""
TOO_LONG = tuple(
    f"--deselect=tests/runtime/stream/{test}"
    for test in (
        "test_stream_engine.py::test_decisions_do_not_depend_on_how_the_stream_is_cut",
        "test_stream_engine.py::test_memory_does_not_grow_with_the_stream",
        "test_stream_state.py::test_a_stream_cut_at_every_row_says_what_the_whole_one_says",
    )
)
"""Nine minutes of Python under emulation, about bookkeeping that no processor changes."""
IN_OTHER_SHARD = ("--ignore=tests/runtime/stream", "--ignore=tests/runtime/format")
SHARDS = (
    ["tests/runtime", "--ignore=tests/runtime/backends/tensorrt", *IN_OTHER_SHARD, *NOT_HERE],
    ["tests/runtime/stream", "tests/runtime/format", *TOO_LONG],
)
"""Run side by side: an emulated process starts no emulated child, so pytest cannot share them out itself."""


def pinned(text: str, names: tuple[str, ...]) -> list[str]:
    """``name==version`` of every name, from the text of constraints.txt."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9_.-]+)==([^ ;]+)", line)
        if match:
            found[_canonical(match[1])] = match[2]
    missing = [name for name in names if _canonical(name) not in found]
    if missing:
        raise SystemExit(f"constraints.txt pins no version of {', '.join(missing)}")
    return [f"{name}=={found[_canonical(name)]}" for name in names]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _tests(python: list[str], folder: Path) -> int:
    """Run the runtime's tests under emulation; how many passed."""
    command = [
        *python,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow and not zoo and not rtx",
        "-o",
        "addopts=-q",
    ]
    logs = [folder / f"tests-{i}.log" for i in range(len(SHARDS))]
    running = []
    for log, shard in zip(logs, SHARDS, strict=True):
        with log.open("w") as file:
            running.append(subprocess.Popen([*command, *shard], cwd=REPOSITORY, stdout=file, stderr=subprocess.STDOUT))
    for process in running:
        process.wait()
    counts = [passed(log.read_text("utf-8")) for log in logs]
    for log, count in zip(logs, counts, strict=True):
        if not count:
            raise SystemExit(f"the runtime's tests failed under emulation:\n{log.read_text('utf-8')[-4000:]}")
    return sum(counts)


def passed(output: str) -> int:
    """How many tests pytest says passed; 0 where any failed or it never came to its last line."""
    match = re.search(r"(\d+) passed", output)
    return int(match[1]) if match and not re.search(r"\d+ (failed|error)", output) else 0


def _exchange(python: list[str], folder: Path) -> dict[str, dict[str, float]]:
    """Rows compressed here and read under emulation, and the other way; what came of each way."""
    script = str(HERE / "codec.py")
    _run([sys.executable, script, "send", str(folder)], "compressed rows of this machine", cwd=REPOSITORY)
    there = json.loads(_run([*python, script, "answer", str(folder)], "compressed rows under emulation", cwd=folder))
    back = json.loads(_run([sys.executable, script, "receive", str(folder)], "the answer", cwd=REPOSITORY))
    return there | back


def prepare(folder: Path) -> None:
    """Emulator, sysroot and wheels, once per list of versions."""
    wheels = [*RUNTIME, *pinned((REPOSITORY / "constraints.txt").read_text("utf-8"), TESTING)]
    wanted = "\n".join([*DEBIAN, *wheels])
    stamp = folder / "prepared.txt"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    archives = folder / "apt" / "cache" / "archives"
    (archives / "partial").mkdir(parents=True)
    (folder / "apt" / "state" / "lists" / "partial").mkdir(parents=True)
    (folder / "apt" / "status").touch()
    apt = ["apt-get", "-qq", "-o", f"APT::Sandbox::User={os.environ.get('USER', 'root')}", "-o", "Debug::NoLocking=1"]
    # An apt of its own, of another architecture, that believes nothing is installed: it finds the whole closure.
    foreign = [
        *apt, "-o", "APT::Architecture=arm64", "-o", "APT::Architectures::=arm64",
        "-o", f"Dir::State={folder}/apt/state", "-o", f"Dir::State::status={folder}/apt/status",
        "-o", f"Dir::Cache={folder}/apt/cache",
    ]  # fmt: skip
    _run([*foreign, "update"], "Debian's list of arm64 packages")
    _run([*foreign, "-y", "--no-install-recommends", "--download-only", "install", *DEBIAN], "arm64 packages")
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(folder / "sysroot")], package.name)
    native = [option.replace("=arm64", f"={_architecture()}") for option in foreign]
    _run([*native, "update"], "Debian's list of packages")
    (folder / "emulator").mkdir()
    _run([*native, "download", "qemu-user-static"], "the emulator", cwd=folder / "emulator")
    for package in (folder / "emulator").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(folder / "emulator")], package.name)
    platforms = [f"--platform={tag}_aarch64" for tag in ("manylinux2014", "manylinux_2_27", "manylinux_2_28")]
    target = ["--implementation=cp", "--python-version=3.11", "--only-binary=:all:", "--no-deps"]
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    _run([*pip, *platforms, *target, f"--target={folder / 'site'}", *wheels], "aarch64 wheels")
    stamp.write_text(wanted, "utf-8")


def emulated(folder: Path) -> list[str]:
    """The command that starts the arm64 Python."""
    path = ":".join(map(str, (folder / "site", REPOSITORY / "runtime", REPOSITORY)))
    settings = [f"PYTHONPATH={path}", "OMP_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1"]
    qemu = folder / "emulator" / "usr" / "bin" / "qemu-aarch64-static"
    given = [part for setting in settings for part in ("-E", setting)]
    return [str(qemu), "-cpu", CPU, "-L", str(folder / "sysroot"), *given, str(folder / "sysroot/usr/bin/python3.11")]


def _architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def _run(command: list[str], what: str, cwd: Path | None = None) -> str:
    """Standard output of a command that must succeed."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SystemExit(f"{what}: {error}. The lane needs a Debian machine") from error
    if done.returncode:
        raise SystemExit(f"{what} failed with exit code {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "arm64")
    folder = parser.parse_args().folder.resolve()
    start = time.perf_counter()
    prepare(folder)
    prepared = time.perf_counter()
    _run([sys.executable, str(HERE / "expect.py"), str(folder)], "scores on this machine", cwd=REPOSITORY)
    python = emulated(folder)
    print("the runtime's tests, then a bundle, on aarch64 (emulated) ...", flush=True)
    count = _tests(python, folder)
    if count < FEWEST_TESTS:
        raise SystemExit(f"only {count} tests passed under emulation, at least {FEWEST_TESTS} should")
    found = json.loads(_run([*python, str(HERE / "compare.py"), str(folder)], "the bundle under emulation", cwd=folder))
    exchanged = _exchange(python, folder)
    rows = [
        ("machine", f"{found['machine']}, {CPU} under qemu"),
        ("Python, numpy, onnxruntime", ", ".join(found["versions"])),
        ("tests of the runtime", f"{count} passed"),
        *((f"largest relative difference, {name}", f"{value:.1e}") for name, value in found["differences"].items()),
        ("decisions that differ, fp32", str(found["decisions_differ"])),
        ("noise of the sampler", "bit-equal" if found["noise_equal"] else "DIFFERS"),
        *(
            (f"compressed rows, {way}", f"{f['outside']} of {f['values']:,} values out of bound")
            for way, f in exchanged.items()
        ),
        ("seconds", f"{time.perf_counter() - start:.0f}, of them preparation {prepared - start:.0f}"),
    ]
    for what, value in rows:
        print(f"  {what:<48} {value}")
    problems = found["problems"] + [
        f"compressed rows, {way}: {f['outside']} values out of bound, {f['stored as they are']} rows stored as they are"
        for way, f in exchanged.items()
        if f["outside"] or f["stored as they are"] or not f["values"]
    ]
    if problems:
        raise SystemExit("not the same as here: " + "; ".join(problems))


if __name__ == "__main__":
    main()
