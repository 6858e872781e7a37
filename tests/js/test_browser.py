"""The package and the demo page in a headless Chromium. ``make test-js`` installs what it needs.

``VAE_EDGE_JS`` names the folder of the installed packages. ``VAE_EDGE_SCREENSHOTS`` names a folder that keeps the
screenshots. ``VAE_EDGE_WEBGPU=1`` runs the golden vectors on WebGPU, too, on a software adapter: some minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = os.environ.get("VAE_EDGE_JS")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_LOCAL = "--bind 127.0.0.1"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PACKAGES, reason="make test-js installs the packages and Chromium that this test needs"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo as its README says: ``npm install`` in a copy of the folder, then ``python -m http.server``."""
    top = tmp_path_factory.mktemp("checkout")
    site = top / "examples" / "browser"
    shutil.copytree(ROOT / "examples" / "browser", site, ignore=shutil.ignore_patterns("node_modules"))
    (top / "runtime").symlink_to(ROOT / "runtime")
    said = (site / "README.md").read_text(encoding="utf-8").split("```sh\n")[1].split("```")[0].splitlines()
    assert said == ["cd examples/browser", "npm install --ignore-scripts", f"python3 -m http.server 8000 {_LOCAL}"]
    install = [*said[1].split(), "--prefer-offline", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=site, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in ("runtime", "tests"):
        (site / name).symlink_to(ROOT / name)
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", *_LOCAL.split(), "--directory", str(site)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        said = server.stdout.readline()  # Serving HTTP on 127.0.0.1 port 41234 (http://127.0.0.1:41234/) ...
        yield f"http://127.0.0.1:{said.split(' port ')[1].split(' ')[0]}"
    finally:
        server.terminate()
        server.wait(10)
        if server.stdout is not None:
            server.stdout.close()


def chromium(address: str, folder: Path, *engine: str) -> Any:
    assert CHROMIUM is not None, "chromium is not installed: apt-get install chromium"
    command = ["node", str(Path(__file__).parent / "chromium.js"), address, CHROMIUM, str(folder), *engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=os.environ)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("VAE_EDGE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


@pytest.fixture(scope="module")
def seen(address: str, folder: Path) -> Any:
    return chromium(address, folder)


def test_golden_vectors_of_every_bundle_are_right_in_chromium(seen: Any) -> None:
    assert len(seen["golden"]) == len(list((ROOT / "tests" / "corpus").glob("*.vaeb")))
    assert {name: worst for name, (ok, worst) in seen["golden"].items() if not ok} == {}
    assert seen["problems"] == []


def test_chromium_passes_the_conformance_cases(seen: Any) -> None:
    assert seen["conformance"]["failed"] == {}
    stored = json.loads((ROOT / "tests/conformance/results/javascript-chromium.json").read_text("utf-8"))
    assert seen["conformance"]["kinds"] == stored["kinds"]


@pytest.mark.parametrize("width", ["1280", "390"])
def test_the_page_shows_scores_maps_samples_and_refusals(seen: Any, width: str) -> None:
    page = seen["pages"][width]
    assert len(page["tiles"]) == page["maps"] == 3
    assert "resized from 30 × 12" in page["tiles"][2]
    assert all(any(word in tile for word in ("normal", "anomaly")) for tile in page["tiles"])
    assert page["again"], "the same seed draws other rows"
    assert "golden outputs" in page["verified"]
    assert page["verified"].startswith("✓")
    assert page["error"].startswith("BundleCorrupt")
    assert page["overflow"] <= 0, "the page is wider than the screen"
    assert page["windows"] == "1 of 5 windows is an anomaly"
    assert page["table"][0].split()[:3] == ["2", page["table"][0].split()[1], "anomaly"]
    assert page["table"][0].split()[4] == "x"  # by name: the column that was moved
    assert "input not finite" in page["table"][-1]
    assert seen["pageProblems"] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_screenshot_shows_a_page_that_is_drawn(seen: Any, folder: Path, width: int) -> None:
    for name in ("pictures", "windows"):
        raw = (folder / f"{name}-{width}.png").read_bytes()
        assert raw.startswith(b"\x89PNG")
        assert struct.unpack(">2I", raw[16:24]) > (width - 1, 900)
        assert len(raw) > 20_000


@pytest.mark.skipif(os.environ.get("VAE_EDGE_WEBGPU") != "1", reason="VAE_EDGE_WEBGPU=1 runs it: minutes in software")
def test_golden_vectors_are_right_on_webgpu(address: str, folder: Path) -> None:
    golden = chromium(address, folder, "webgpu")["golden"]
    failed = {name: worst for name, (ok, worst) in golden.items() if not ok}
    # The software adapter has no half precision, so that one bundle cannot run there.
    lacking = failed.pop("v1-half.vaeb", None)
    assert lacking is None or "requires f16 but the device does not support it" in lacking
    assert failed == {}
