"""Address and undefined-behaviour sanitizers over every cut and every changed byte, and a bounded run of libFuzzer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from broken import broken, sound
from building import BUILD, CPP, ROOT, absent, compiler, objects, sources
from operator_cases import CASES
from operator_graphs import build

HERE = Path(__file__).parent
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g1")
STRICT = {"ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1:max_allocation_size_mb=4096"}


@pytest.fixture(scope="module")
def program(cxx: str) -> Path:
    """``hostile.cpp`` and the library in one program, with sanitizers."""
    folder = BUILD / "sanitized"
    made = [str(path) for path in objects(folder, cxx, *SANITIZERS)]
    target = folder / "hostile"
    main = ["-DVAEE_MAIN", "-std=c++17", f"-I{CPP / 'include'}", str(HERE / "hostile.cpp")]
    subprocess.run([cxx, *SANITIZERS, *main, *made, "-o", str(target), "-ldl", "-pthread"], check=True)
    return target


def inputs(program: Path, most: int, files: list[Path]) -> int:
    run = [str(program), str(most), *map(str, files)]
    done = subprocess.run(run, env={**os.environ, **STRICT}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[0])


@pytest.mark.slow
def test_every_cut_and_every_flipped_byte_of_a_bundle_under_sanitizers(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "sound.vaeb"
    path.write_bytes(sound())
    assert inputs(program, 1 << 20, [path]) == 2 * len(sound())


@pytest.mark.slow
def test_the_fault_corpus_under_sanitizers(program: Path, tmp_path: Path) -> None:
    """Every broken bundle, every bundle of the corpus, every operator, and what a fuzzer kept; some bytes of each."""
    files = sorted((ROOT / "tests" / "corpus").glob("*.vaeb"))
    files += [path for path in sorted((ROOT / "tests" / "fuzz" / "corpus").rglob("*")) if path.is_file()]
    for name, _, raw in broken():
        (tmp_path / name).write_bytes(raw)
    for op, case in CASES.items():
        (tmp_path / f"{op}.onnx").write_bytes(build(op, case)[0])
    (tmp_path / "manifest.json").write_bytes(b'{"a": [1, 2.5, "x\\u00e9\\ud83d\\ude00", null, true, {"b": {}}]}')
    assert inputs(program, 40, [*files, *sorted(tmp_path.iterdir())]) > 5000


@pytest.mark.soak
def test_a_bounded_run_of_libfuzzer_finds_nothing(tmp_path: Path) -> None:
    """Opt-in: VAE_EDGE_FUZZ_SECONDS of libFuzzer, from the bundles and graphs of the tests."""
    clang = compiler("clang++")
    if clang is None:
        absent("clang++ is not installed: apt-get install clang")
    target, seeds = BUILD / "fuzz" / "hostile", tmp_path / "seeds"
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-O1", "-g1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    build_ = [clang, *flags, f"-I{CPP / 'include'}", str(HERE / "hostile.cpp"), *map(str, sources())]
    subprocess.run([*build_, "-o", str(target), "-ldl", "-pthread"], check=True)
    seeds.mkdir()
    (seeds / "sound.vaeb").write_bytes(sound())
    for op, case in CASES.items():
        (seeds / f"{op}.onnx").write_bytes(build(op, case)[0])
    seconds = os.environ.get("VAE_EDGE_FUZZ_SECONDS", "60")
    run = [str(target), f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=65536", str(seeds)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
