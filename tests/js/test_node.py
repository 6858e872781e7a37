"""The tests of ``runtime/js`` in Node. ``make test-js`` installs the engines and skips nothing.

Without Node everything here is skipped. Without ``VAE_EDGE_JS``, the folder of the installed packages, the tests
that need an engine are skipped, and those of the reader run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from tiny_bundle import TinyBundle

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "runtime" / "js"
NODE, NPM = shutil.which("node"), shutil.which("npm")
PACKAGES = os.environ.get("VAE_EDGE_JS")

needs_node = pytest.mark.skipif(NODE is None and not PACKAGES, reason="node is not installed")
needs_npm = pytest.mark.skipif(NPM is None and not PACKAGES, reason="npm is not installed")
needs_engines = pytest.mark.skipif(not PACKAGES, reason="make test-js installs the packages that this test needs")


def node(*arguments: str | Path) -> str:
    """What a run of Node writes to stdout; it must succeed."""
    assert NODE is not None, "node is not installed: apt-get install nodejs"
    done = subprocess.run([NODE, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@needs_node
@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.js")), ids=lambda path: path.stem)
def test_the_javascript_tests_pass(path: Path) -> None:
    said = node("--test", "--test-reporter=tap", path)
    counts = dict(line[2:].split(" ", 1) for line in said.splitlines() if line.startswith(("# pass ", "# skipped ")))
    assert int(counts["pass"]) + int(counts["skipped"]) > 2
    if PACKAGES:
        assert counts["skipped"] == "0"


@needs_node
@pytest.mark.parametrize(("key", "said"), [("purpose", "exported for generation"), ("role", "masks or targets")])
def test_what_this_package_does_not_run_is_refused_by_name(key: str, said: str, tmp_path: Path) -> None:
    tiny = TinyBundle(tmp_path / "t.vaeb")
    plain = tiny.plain
    if key == "purpose":
        plain["purpose"] = "generation"
    else:
        plain["condition"] = {"shape": [4], "dtype": "float32", "low": 0.0, "high": 1.0, "role": "mask"}
    script = (
        f'import {{ readFileSync }} from "node:fs"; import {{ Bundle }} from "{PACKAGE / "src" / "bundle.js"}";'
        f'const bytes = new Uint8Array(readFileSync("{tiny.write(plain)}")).buffer;'
        'try { await Bundle.open(bytes); console.log("opened") }'
        "catch (error) { console.log(error.name, error.message) }"
    )
    (tmp_path / "open.mjs").write_text(script)
    answer = node(tmp_path / "open.mjs")
    assert answer.startswith("OptionError")
    assert said in answer


@needs_engines
@pytest.mark.parametrize("kind", ["node", "wasm"])
def test_the_conformance_cases_pass(kind: str) -> None:
    outcome = json.loads(node(HERE / "run_conformance.js", kind))
    assert outcome["failed"] == {}
    stored = json.loads((ROOT / "tests" / "conformance" / "results" / f"javascript-{kind}.json").read_text("utf-8"))
    assert outcome["kinds"] == stored["kinds"]


@needs_npm
def test_the_package_holds_its_sources_and_types_and_nothing_else(tmp_path: Path) -> None:
    assert NPM is not None, "npm is not installed: apt-get install npm"
    environment = {**os.environ, "npm_config_cache": str(tmp_path / "cache"), "npm_config_update_notifier": "false"}
    subprocess.run([NPM, "pack", "--silent", "--pack-destination", str(tmp_path)], check=True, cwd=PACKAGE,
                   env=environment, capture_output=True, timeout=120)  # fmt: skip
    (packed,) = tmp_path.glob("vae-edge-*.tgz")
    with tarfile.open(packed) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
        size = sum(member.size for member in archive.getmembers())
    sources = {f"src/{path.name}" for path in (PACKAGE / "src").glob("*.js")}
    assert names == sources | {"package.json", "README.md", "LICENSE", "index.d.ts", "worker.d.ts"}
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    said = re.search(r"\*\*(\d+) kB\*\* to download, (\d+) kB unpacked", text)
    assert said
    assert int(said[1]) == pytest.approx(packed.stat().st_size / 1000, rel=0.1)
    assert int(said[2]) == pytest.approx(size / 1000, rel=0.1)


def test_version_and_licence_are_those_of_the_project() -> None:
    from vae_edge_runtime import __version__

    assert json.loads((PACKAGE / "package.json").read_text("utf-8"))["version"] == __version__
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_package_depends_on_nothing_and_takes_either_engine() -> None:
    said = json.loads((PACKAGE / "package.json").read_text("utf-8"))
    assert "dependencies" not in said
    assert "scripts" not in said
    assert (
        said["peerDependencies"].keys()
        == said["peerDependenciesMeta"].keys()
        == {"onnxruntime-node", "onnxruntime-web"}
    )
    assert all(meta == {"optional": True} for meta in said["peerDependenciesMeta"].values())


@needs_engines
def test_the_types_take_what_the_examples_do_and_refuse_what_they_must(tmp_path: Path) -> None:
    assert PACKAGES is not None
    compiler = Path(PACKAGES) / "node_modules" / "typescript" / "bin" / "tsc"
    node(compiler, "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom",
         HERE / "types.ts")  # fmt: skip


@needs_node
@pytest.mark.parametrize(("document", "most"), [(PACKAGE / "README.md", 5), (ROOT / "docs" / "javascript.md", 2)])
def test_lines_of_a_document_run_as_they_are_written(document: Path, most: int, tmp_path: Path) -> None:
    """Each snippet is a module; those without an engine's import run where no engine is installed, too."""
    text = document.read_text(encoding="utf-8")
    snippets = [part.split("```")[0] for part in text.split("```js\n")[1:]]
    assert len(snippets) == most
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (modules / "vae-edge").symlink_to(PACKAGE)
    for name in ("onnxruntime-node", "onnxruntime-web", "onnxruntime-common"):
        if PACKAGES:
            (modules / name).symlink_to(Path(PACKAGES) / "node_modules" / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(ROOT / "tests" / "corpus" / "v1-table.vaeb", tmp_path / "pump.vaeb")
    ran = 0
    for number, snippet in enumerate(snippets):
        path = tmp_path / f"snippet{number}.js"
        path.write_text(snippet, encoding="utf-8")
        assert NODE is not None
        if "onnxruntime" in snippet and not PACKAGES:
            continue
        page_only = "new Worker(" in snippet or "serve(ort)" in snippet
        command = [NODE, *(["--check"] if page_only else []), path.name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{snippet}\n{done.stderr}"
        ran += 1
    assert ran == len(snippets) or not PACKAGES
