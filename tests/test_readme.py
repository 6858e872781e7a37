"""What the README and the documents show is run, or checked against the real commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PLAIN = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "docs" / "architecture.md",
    *sorted(ROOT.glob("examples/*/README.md")),
]
"""Documents whose sentences are held to 30 words."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def _blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(path.read_text(encoding="utf-8")) if kind == language]


def _commands() -> list[tuple[str, list[str]]]:
    """(document, command) for each line of a bash block and each command of a step of the demo."""
    found = []
    for path in DOCUMENTS:
        for body in _blocks(path, "bash"):
            lines = [line.split(" #")[0].strip() for line in body.splitlines()]
            found += [(path.name, shlex.split(line)) for line in lines if line]
    return found


def _section(path: Path, heading: str) -> str:
    """The text below a heading of the second level, up to the next one."""
    return re.split(r"^## ", path.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]


def _cli() -> Any:
    typer = pytest.importorskip("typer")
    from vae_edge.cli._app import app

    return typer.main.get_command(app)


def test_there_are_commands_to_check() -> None:
    assert len(_commands()) >= 9


@pytest.mark.parametrize(("document", "command"), _commands(), ids=lambda value: str(value)[:60])
def test_every_command_shown_is_one_that_exists(document: str, command: list[str]) -> None:
    program, *arguments = command
    program = program.removeprefix(".venv/bin/")
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(arguments) <= set(targets)
    elif program == "vae-edge":
        name, *options = arguments
        with _cli().commands[name].make_context(name, options) as context:  # parses, and runs nothing
            assert context.params
    elif program == "pip":
        assert arguments[0] in {"install", "wheel"}
    elif program == "python" and arguments[0].endswith(".py"):
        assert (ROOT / arguments[0]).is_file()
    elif program == "python" and arguments[:2] == ["-m", "pytest"]:
        assert [part for part in arguments[2:] if "/" in part and not (ROOT / part.split("::")[0]).exists()] == []
    elif program == "python" and arguments[:2] == ["-m", "vae_edge_runtime"]:
        from vae_edge_runtime.__main__ import _parser

        assert _parser().parse_args(arguments[2:]).command == arguments[2]
    elif program == "bash":
        assert (ROOT / arguments[0]).is_file()
    else:
        pytest.fail(f"{document} shows {shlex.join(command)}: teach this test to check it")


def test_every_install_line_names_an_extra_that_exists() -> None:
    extras = set(metadata("vae-edge").get_all("Provides-Extra") or [])
    for path in DOCUMENTS:
        for listed in re.findall(r"""(?:vae-edge|["' ]\.|\.whl)\[([\w,]+)\]""", path.read_text(encoding="utf-8")):
            assert set(listed.split(",")) <= extras, path


def test_the_table_of_extras_is_complete() -> None:
    listed = re.findall(
        r"^\| `?(\w+)`? \| .* \| .*(?:MB|GB|not measured).* \|$", _section(README, "Install"), flags=re.M
    )
    assert listed[0] == "none"
    assert sorted(listed[1:]) == sorted(metadata("vae-edge").get_all("Provides-Extra") or [])


def _sentences(path: Path) -> list[str]:
    """The sentences of a document's prose: without code, tables and the targets of links."""
    text = FENCE.sub("\n\n", path.read_text(encoding="utf-8"))
    lines = ["" if re.match(r"\||!\[|#| {4}|<!--", line) else line for line in text.splitlines()]
    text = re.sub(r"^ *(?:[-*]|\d+\.) ", "\n\n", "\n".join(lines), flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", lambda match: "]" if match[0].startswith("]") else "code", text)
    return [
        " ".join(s.split()) for part in re.split(r"\n\n+", text) for s in re.split(r"(?<=[.!?])\s+", part) if s.strip()
    ]


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_has_more_than_30_words(path: Path) -> None:
    sentences = _sentences(path)
    assert len(sentences) > 5
    assert [sentence for sentence in sentences if len(sentence.split()) > 30] == []


def test_sentences_are_found_in_lists_and_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "# Head\n\nOne `a. b` here.\nTwo [x y](z w.md)!\n\n| a | b |\n\n- Three.\n- Four\n"
    )
    assert _sentences(tmp_path / "page.md") == ["One code here.", "Two [x y]!", "Three.", "Four"]


def test_the_table_of_commands_is_complete() -> None:
    listed = re.findall(r"^\| `vae-edge (\w+)` \|", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(_cli().commands)


def test_every_option_named_in_prose_exists() -> None:
    known = {
        option
        for command in _cli().commands.values()
        for p in command.params
        for option in (*p.opts, *p.secondary_opts)
    }
    known |= {"--help", "--strict"}
    for path in DOCUMENTS:
        prose = FENCE.sub("", path.read_text(encoding="utf-8"))
        assert set(re.findall(r"`(--[a-z0-9-]+)", prose)) <= known, path


def test_every_file_named_in_prose_exists() -> None:
    for path in DOCUMENTS:
        for name in re.findall(r"`([\w./]+/[\w.]+\.(?:py|md))`", path.read_text(encoding="utf-8")):
            places = [ROOT / name, ROOT / "runtime" / name, ROOT / "export" / name]
            if not name.startswith("build/"):
                assert any(place.exists() for place in places), f"{path.name}: {name}"


def test_noise_vectors_of_the_document_are_what_the_runtime_gives() -> None:
    from vae_edge_runtime import standard_normal

    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `([0-9a-f]{16})` \| `([0-9a-f ]+)` \|", text, flags=re.MULTILINE)
    assert len(rows) == 4
    for seed, stream, word, values in rows:
        key = np.array([int(seed), int(stream)], dtype=np.uint64)
        assert f"{int(np.random.Philox(key=key).random_raw(1)[0]):016x}" == word
        found = standard_normal(4, seed=int(seed), stream=int(stream)).view(np.uint32)
        assert " ".join(f"{int(bits):08x}" for bits in found) == values


def test_exit_codes_of_the_document_are_those_of_the_errors() -> None:
    from vae_edge import cli
    from vae_edge_runtime import errors

    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \| \w", text.split("## Exit codes")[1], flags=re.MULTILINE)}
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    raised = {value.exit_code for value in classes if issubclass(value, errors.VaeEdgeError)}
    assert listed == {0, *raised, cli.INTERNAL_ERROR, cli.INTERRUPTED}


@pytest.fixture
def demo_files(tmp_path: Path) -> Path:
    """A folder with small files of the names that the documents use."""
    pytest.importorskip("torch")
    from vae_edge.models import ModelConfig
    from vae_edge.training import TrainConfig, load_run, train
    from vae_edge_export import ExportConfig, export

    # Frames of one shape and many brightnesses: a model learns them in a second.
    rng = np.random.default_rng(0)
    shape = np.hanning(28)[:, None] * np.hanning(28)
    x = np.clip(rng.uniform(20, 230, (160, 1, 1, 1)) * shape[..., None] + rng.normal(0, 4, (160, 28, 28, 1)), 0, 255)
    x = x.astype(np.uint8)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "held_out.npz", x=x[:8])
    np.save(tmp_path / "data" / "calibration.npy", x)
    model = ModelConfig(kind="conv", input_shape=(1, 28, 28), latent_dim=4, width=4, likelihood="bernoulli")
    train(TrainConfig(model=model, layout="nhwc", scale=(255.0,), epochs=100), x, out=tmp_path / "run")
    run = load_run(tmp_path / "run")
    export(run.model, tmp_path / "digits.vaeb", calibration=x, config=ExportConfig(**run.export_options))
    return tmp_path


def _run_blocks(path: Path, folder: Path) -> str:
    program = "\n".join(_blocks(path, "python"))
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # it trains and exports the demo's model
def test_python_of_the_readme_runs(demo_files: Path) -> None:
    said = _run_blocks(README, demo_files)
    assert "(8, 28, 28, 1)" in said
    assert (demo_files / "model.vaeb").exists()


def _run_shell(script: str, folder: Path, programs: Path, **variables: str) -> str:
    """Run lines of a document as a shell does, with ``programs`` first on the path; stop at the first that fails."""
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euxc", script], cwd=folder, env={**os.environ, "PATH": path, **variables}, capture_output=True,
        text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every line of the quick start but the installation has run."""
    pytest.importorskip("mlxtend")
    folder = tmp_path_factory.mktemp("quick_start")
    (folder / "examples").symlink_to(ROOT / "examples")
    (block,) = FENCE.findall(_section(README, "Quick start"))
    install, *lines = block[1].splitlines()
    assert install == 'pip install ".[demo]"'  # this environment has it
    said = _run_shell("\n".join(lines), folder, Path(sysconfig.get_path("scripts")))
    (folder / "said").write_text(said, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_quick_start_leaves_what_the_readme_says(quick_start: Path) -> None:
    scores = (quick_start / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert len(scores) == 1 + 1000
    for picture in ("samples.png", "maps/0.png", "maps/999.png"):
        assert (quick_start / picture).read_bytes()[:4] == b"\x89PNG"
    said = (quick_start / "said").read_text(encoding="utf-8")
    assert "train 1200, calibration 400, held out 400 normal and 600 anomalous" in said
    (auroc,) = re.findall(r"^elbo +400 +600 +([\d.]+)", said, flags=re.MULTILINE)
    assert float(auroc) > 0.97


@pytest.mark.slow
def test_the_device_section_works_in_an_environment_of_its_own_lines(quick_start: Path, tmp_path: Path) -> None:
    source = tmp_path / "clone"
    skip = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "tests")
    shutil.copytree(ROOT, source, ignore=skip)
    shutil.copy(ROOT / ".gitignore", source)
    for name in ("digits.vaeb", "data"):
        (source / name).symlink_to(quick_start / name)
    venv.create(tmp_path / "device", with_pip=True)
    programs = tmp_path / "device" / ("Scripts" if os.name == "nt" else "bin")
    alone = {"PYTHONPATH": "", "PYTHONNOUSERSITE": "1", "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}

    blocks = dict(FENCE.findall(_section(README, "On the device")))
    said = _run_shell(blocks["bash"], source, programs, **alone)
    assert '"ok": true' in said
    assert len([line for line in said.splitlines() if re.match(r"\d+,", line)]) == 1000
    said = _run_shell(f"python -c {shlex.quote(blocks['python'])}", source, programs, **alone)
    assert "(1000, 28, 28, 1)" in said
    absent = "import importlib.util as u; print([m for m in ('torch', 'onnx', 'typer') if u.find_spec(m)])"
    assert _run_shell(f"python -c {shlex.quote(absent)}", source, programs, **alone).strip() == "[]"

    (line,) = (line for line in _section(README, "Install").splitlines() if line.startswith('pip install ".[cpu,cli]"'))
    said = _run_shell(f"{line}\nvae-edge verify digits.vaeb --json", source, programs, **alone)
    assert '"ok": true' in said


def test_python_of_bring_your_own_vae_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    said = _run_blocks(ROOT / "docs" / "bring-your-own-vae.md", tmp_path)
    assert "(4, 2, 4, 4)" in said


def _small_bundle(folder: Path, x: np.ndarray, layout: Any) -> None:
    """A model of such rows, as pump.vaeb, with heads of every kind."""
    pytest.importorskip("torch")
    from vae_edge.models import ModelConfig
    from vae_edge.training import TrainConfig, load_run, train
    from vae_edge_export import ExportConfig, export

    model = ModelConfig(kind="mlp", input_shape=x.shape[1:], latent_dim=2, width=8, depth=1)
    train(TrainConfig(model=model, layout=layout, epochs=1), x[:200], out=folder / "run")
    run = load_run(folder / "run")
    config = ExportConfig(heads=("elbo", "top", "mahalanobis", "harmonic"), **run.export_options)
    export(run.model, folder / "pump.vaeb", calibration=x[200:], config=config)


def test_python_of_anomaly_scores_runs(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows[:50])
    _small_bundle(tmp_path, rows, "features")
    assert "'draws': 0" in _run_blocks(ROOT / "docs" / "anomaly-scores.md", tmp_path)


def test_python_of_streams_runs(tmp_path: Path) -> None:
    windows = np.random.default_rng(0).normal(size=(400, 10, 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", windows[:5].reshape(50, 3))
    _small_bundle(tmp_path, windows, "time_features")
    said = _run_blocks(ROOT / "docs" / "streams.md", tmp_path)
    assert [line.split()[:2] for line in said.splitlines()] == [["decision", str(i)] for i in range(9, 50, 5)]
