"""The programs in the README of an unpacked folder are extracted and run, each by the tool that it is for."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import vae_edge

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus"
NAMES = ("v1-table", "v1-label", "v1-picture")
MODULES = Path(os.environ.get("VAE_EDGE_NODE_MODULES", ROOT / "runtime" / "js" / "node_modules"))


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    form = "float32-nchw" if request.param == "v1-picture" else "bundle"
    vae_edge.unpack(CORPUS / f"{request.param}.vaeb", tmp_path / "out", input_form=form)
    return tmp_path / "out"


def snippet(folder: Path, title: str) -> str:
    """The program under one heading."""
    text = (folder / "README.md").read_text("utf-8")
    section = text.split(f"\n## {title}")[1].split("\n## ")[0]
    match = re.search(r"```\w+\n(.*?)```", section, re.DOTALL)
    assert match
    return match[1]


def check(folder: Path, printed: str) -> None:
    """One line a golden row: score, decision, and perhaps a p-value."""
    said = json.loads((folder / "bundle.json").read_text("utf-8"))
    wanted = np.fromfile(folder / "golden" / "score.score.bin", np.float32)
    lines = [line.split() for line in printed.strip().splitlines()]
    np.testing.assert_allclose([float(line[0]) for line in lines], wanted, rtol=2e-5)
    head = said["heads"][0]
    assert [line[1] for line in lines] == ["anomaly" if score > head["threshold"] else "normal" for score in wanted]
    points = np.float32(head["points"]["score"])
    count = np.append(head["n"], head["points"]["above"])[np.searchsorted(points, wanted)]
    for line, p_value in zip(lines, (1 + count) / (head["n"] + 1), strict=True):
        if len(line) > 2:
            assert float(line[2]) == pytest.approx(p_value, abs=0.02)


def needed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def module(name: str) -> Path:
    if not (MODULES / name).is_dir():
        pytest.skip(f"{name} is not installed: set VAE_EDGE_NODE_MODULES to a node_modules that has it")
    return MODULES / name


@pytest.mark.parametrize("title", ["Python", "OpenCV"])
def test_the_python_programs_give_the_golden_scores(folder: Path, title: str) -> None:
    if title == "OpenCV" and int(pytest.importorskip("cv2").__version__.split(".")[0]) < 5:
        pytest.skip("OpenCV below 5 reads few graphs")
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONWARNDEFAULTENCODING": "", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-c", snippet(folder, title)]
    check(folder, subprocess.check_output(run, cwd=folder, text=True, env=environment))


@pytest.mark.slow
def test_the_cpp_program_gives_the_golden_scores(folder: Path) -> None:
    compiler = needed("g++")
    openvino = Path(pytest.importorskip("openvino").__file__).parent
    if not (openvino / "include").is_dir():
        pytest.skip("this wheel of openvino has no headers")
    (folder / "main.cpp").write_text(snippet(folder, "C++"), "utf-8")
    (library,) = openvino.glob("libs/libopenvino.so.*")
    flags = [
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-isystem{openvino / 'include'}",
        f"-Wl,-rpath,{library.parent}",
    ]
    subprocess.run([compiler, *flags, "main.cpp", "-o", "main", str(library)], cwd=folder, check=True)
    check(folder, subprocess.check_output(["./main"], cwd=folder, text=True))


def test_the_node_program_gives_the_golden_scores(folder: Path) -> None:
    node = needed("node")
    module("onnxruntime-node")
    (folder / "main.mjs").write_text(snippet(folder, "Node"), "utf-8")
    (folder / "node_modules").symlink_to(MODULES)
    check(folder, subprocess.check_output([node, "main.mjs"], cwd=folder, text=True))


@pytest.mark.slow
def test_the_browser_page_gives_the_golden_scores(folder: Path, tmp_path: Path) -> None:
    chromium = needed("chromium")
    (folder / "onnxruntime-web").symlink_to(module("onnxruntime-web"))
    (folder / "index.html").write_text(snippet(folder, "Browser"), "utf-8")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
                   "--virtual-time-budget=20000", "--dump-dom"]  # fmt: skip
        page = subprocess.check_output(
            [chromium, *options, f"http://127.0.0.1:{server.server_port}/index.html"], text=True,
            stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        server.shutdown()
    match = re.search(r'<pre id="out">(.*?)</pre>', page, re.DOTALL)
    assert match
    check(folder, match[1])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        pass
