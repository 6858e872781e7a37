"""libvaeedge builds without a warning, installs, is found by CMake, and its examples run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from broken import sound
from building import BUILD, CPP, ROOT, STANDARD, WARNINGS, absent, compiler, shared_library

from vae_edge_runtime import __version__, load

CORPUS = ROOT / "tests" / "corpus"


def needed(name: str) -> str:
    found = compiler(name)
    if found is None:
        absent(f"{name} is not installed")
    return found


def test_the_header_is_c99_and_cpp_without_a_warning(cxx: str, tmp_path: Path) -> None:
    for program, suffix, standard in (("gcc", ".c", "-std=c99"), (cxx, ".cpp", "-std=c++11")):
        source = tmp_path / f"only{suffix}"
        source.write_text('#include "vae_edge.h"\n')
        flags = [standard, "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", f"-I{CPP / 'include'}"]
        subprocess.run([needed(program), *flags, "-fsyntax-only", str(source)], check=True)


@pytest.mark.slow
def test_clang_builds_it_without_a_warning() -> None:
    assert shared_library(BUILD / "clang", needed("clang++"), "-O1", *WARNINGS).is_file()


def test_the_library_shows_its_own_functions_and_no_others(library: Path) -> None:
    listed = subprocess.check_output([needed("nm"), "-D", "--defined-only", str(library)], text=True)
    names = {line.split()[-1] for line in listed.splitlines()}
    declared = set(re.findall(r"\b(vaee_\w+)\(", (CPP / "include" / "vae_edge.h").read_text("utf-8")))
    assert {name for name in names if name.startswith("vaee_")} == declared
    assert not {name for name in names if "4vaee" in name and not name.startswith("_ZT")}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Rows of the bundle v1-gaussian in a file, one of them not finite."""
    rng = np.random.default_rng(1)
    with load(CORPUS / "v1-gaussian.vaeb", device="cpu", threads=1) as vae:
        shape = vae.manifest.input.shape
    x = rng.normal(size=(5, *shape)).astype(np.float32)
    x[3] = 100
    x[4, 0] = np.nan
    path = tmp_path_factory.mktemp("rows") / "rows.f32"
    path.write_bytes(x.tobytes())
    return path, x


def lines(program: Path, onnxruntime: Path, *arguments: str, stdin: Path | None = None) -> list[list[str]]:
    environment = {**os.environ, "VAE_EDGE_ONNXRUNTIME": str(onnxruntime)}
    with (stdin or Path(os.devnull)).open("rb") as file:
        text = subprocess.check_output([program, *arguments], env=environment, stdin=file, text=True)
    return [line.split(maxsplit=2) for line in text.splitlines()]


def check_example_c(program: Path, onnxruntime: Path, rows: tuple[Path, np.ndarray]) -> None:
    path, x = rows
    got = lines(program, onnxruntime, str(CORPUS / "v1-gaussian.vaeb"), stdin=path)
    with load(CORPUS / "v1-gaussian.vaeb", device="cpu", threads=1) as vae:
        scores = vae.score(x)
    assert [line[2] for line in got[:4]] == ["anomaly" if a else "normal" for a in scores.is_anomaly[:4]]
    assert got[4] == ["nan", "nan", "not scored"]
    np.testing.assert_allclose([float(line[0]) for line in got[:4]], scores.score[:4], rtol=1e-5)
    np.testing.assert_allclose([float(line[1]) for line in got[:4]], scores.p_value[:4], rtol=1e-3)


def check_example_cpp(program: Path, onnxruntime: Path) -> None:
    got = lines(program, onnxruntime, str(CORPUS / "v1-gaussian.vaeb"), "3", "7")
    with load(CORPUS / "v1-gaussian.vaeb", device="cpu", threads=1) as vae:
        scores = vae.score(vae.sample(3, seed=7))
    np.testing.assert_allclose(
        [[float(n) for n in line] for line in got], np.c_[scores.score, scores.p_value], rtol=1e-3
    )


def test_the_examples_give_what_python_gives(
    library: Path, onnxruntime: Path, cxx: str, rows: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    link = [f"-I{CPP / 'include'}", str(library), f"-Wl,-rpath,{library.parent}"]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    subprocess.run([needed("gcc"), "-std=c99", *warnings, str(CPP / "examples" / "score.c"), "-o", str(tmp_path / "c"),
                    *link], check=True)  # fmt: skip
    subprocess.run([cxx, *STANDARD, *warnings, str(CPP / "examples" / "score.cpp"), "-o", str(tmp_path / "cpp"), *link],
                   check=True)  # fmt: skip
    check_example_c(tmp_path / "c", onnxruntime, rows)
    check_example_cpp(tmp_path / "cpp", onnxruntime)


def test_the_program_of_the_page_compiles_and_runs(library: Path, onnxruntime: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "cpp.md").read_text("utf-8")
    (block,) = re.findall(r"```c\n(.*?)```", text, re.DOTALL)
    (tmp_path / "pump.vaeb").write_bytes(sound())
    lines_of_main = f'{block}\nprintf("%d %.3f %.3f %d\\n", (int)error, (double)score, p_value, is_anomaly);\nreturn 0;'
    (tmp_path / "page.c").write_text(
        f'#include <stdio.h>\n#include "vae_edge.h"\nint main(void) {{\n{lines_of_main}\n}}\n', "utf-8"
    )
    link = [f"-I{CPP / 'include'}", str(library), f"-Wl,-rpath,{library.parent}"]
    build = [needed("gcc"), "-std=c99", "-Wall", "-Wextra", "-Werror", str(tmp_path / "page.c"), "-o", "page", *link]
    subprocess.run(build, cwd=tmp_path, check=True)
    environment = {**os.environ, "VAE_EDGE_ONNXRUNTIME": str(onnxruntime)}
    printed = subprocess.check_output(["./page"], cwd=tmp_path, env=environment, text=True).split()
    with load(tmp_path / "pump.vaeb", device="cpu", threads=1) as vae:
        scores = vae.score(np.float32([[0.1, 0.2, 0.3, 0.4]]))
    assert printed == ["0", f"{scores.score[0]:.3f}", f"{scores.p_value[0]:.3f}", str(int(scores.is_anomaly[0]))]


def test_the_examples_are_short() -> None:
    for name in ("score.c", "score.cpp"):
        assert len((CPP / "examples" / name).read_text("utf-8").splitlines()) <= 40


@pytest.mark.slow
def test_cmake_installs_it_and_another_project_finds_it(
    onnxruntime: Path, rows: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    cmake = needed("cmake")
    build, prefix = BUILD / "cmake", tmp_path / "prefix"

    def run(*arguments: str) -> None:
        subprocess.run([cmake, *arguments], check=True, stdout=subprocess.DEVNULL)

    run("-S", str(CPP), "-B", str(build), "-DVAEEDGE_EXAMPLES=ON", f"-DCMAKE_INSTALL_PREFIX={prefix}")
    run("--build", str(build), "--parallel", "2")
    run("--install", str(build), "--prefix", str(prefix))
    check_example_cpp(build / "score_cpp", onnxruntime)
    app = tmp_path / "app"
    app.mkdir()
    shutil.copy(CPP / "examples" / "score.c", app / "main.c")
    (app / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(app C CXX)\n"
        f"find_package(vaeedge {__version__} REQUIRED)\nadd_executable(app main.c)\n"
        "target_link_libraries(app vaeedge::vaeedge)\n"
    )
    run("-S", str(app), "-B", str(app / "build"), f"-DCMAKE_PREFIX_PATH={prefix}")
    run("--build", str(app / "build"))
    check_example_c(app / "build" / "app", onnxruntime, rows)


def test_the_runtime_says_what_a_compiler_needs() -> None:
    run = [sys.executable, "-m", "vae_edge_runtime", "--cflags"]
    flags = shlex.split(subprocess.check_output(run, text=True))
    assert {"-std=c++17", "-ffp-contract=off", "-pthread", f"-I{CPP / 'include'}"} < set(flags)
    assert [flag for flag in flags if flag.endswith(".cpp")] == [str(p) for p in sorted((CPP / "src").glob("*.cpp"))]


@pytest.mark.slow
def test_the_flags_of_the_wheel_build_a_program(
    cxx: str, onnxruntime: Path, rows: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    """From the wheel alone: one line of a compiler makes the C++ example with the library inside."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    run = [sys.executable, "-m", "vae_edge_runtime", "--cflags"]
    flags = shlex.split(subprocess.check_output(run, text=True, env=environment, cwd=tmp_path))
    assert f"-I{tmp_path / 'site' / 'vae_edge_runtime' / 'cpp' / 'include'}" in flags
    example = tmp_path / "site" / "vae_edge_runtime" / "cpp" / "examples" / "score.cpp"
    subprocess.run([cxx, str(example), *flags, "-o", str(tmp_path / "score")], check=True)
    check_example_cpp(tmp_path / "score", onnxruntime)
