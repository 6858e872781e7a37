"""What every command owes a shell: streams, loudness, exit codes; on a bundle made without torch."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shell import Cli, World

from vae_edge_runtime.stdio import DOCUMENT_VERSION

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from tiny_bundle import TinyBundle

    return TinyBundle(tmp_path / "tiny.vaeb").write()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """50 rows of 4 features; number 3 holds NaN."""
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    x[3, 1] = np.nan
    np.save(tmp_path / "rows.npy", x)
    return tmp_path / "rows.npy"


def _python(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_quiet_leaves_stderr_to_errors(cli: Cli, tiny: Path, rows: Path, tmp_path: Path) -> None:
    loud, quiet = cli("score", tiny, rows), cli("score", tiny, rows, "-q")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out == loud.out
    refused = cli("info", "-q", tmp_path / "none.vaeb")
    assert refused.code == 2
    assert refused.err.startswith("BundleError")
    assert cli("info", tiny, "-q", "-v").code == 2


def test_verbose_says_versions_and_shows_where_an_error_comes_from(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    assert f"numpy {np.__version__}" in cli("info", tiny, "-v").err
    refused = cli("info", "-v", tmp_path / "none.vaeb")
    assert refused.code == 2
    assert "Traceback" in refused.err
    assert "Traceback" not in cli("info", tmp_path / "none.vaeb").err  # the next command is not verbose any more


@pytest.mark.parametrize("module", ["vae_edge", "vae_edge_runtime"])
@pytest.mark.parametrize("command", [["info"], ["verify"], ["score", "rows.npy"]], ids=lambda c: c[0])
def test_a_reader_that_is_gone_before_the_first_line_is_no_error(
    tiny: Path, rows: Path, module: str, command: list[str]
) -> None:
    arguments = [sys.executable, "-m", module, command[0], tiny.name, *command[1:]]
    with subprocess.Popen(arguments, cwd=tiny.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        said = running.stderr.read().decode()
        assert running.wait() == 0
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("module", ["vae_edge", "vae_edge_runtime"])
def test_a_full_disk_behind_stdout_exits_with_3(tiny: Path, module: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = _python("-m", module, "verify", tiny, stdout=full)
    assert done.returncode == 3
    assert "StorageError" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_typer_the_command_says_what_to_install() -> None:
    done = _python("-c", "import sys; sys.modules['typer'] = None; from vae_edge.cli import main; main(['info'])")
    assert done.returncode == 3
    assert 'pip install "vae-edge[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["numpy", "vae_edge.cli", "typer", "vae_edge.cli._app", "vae_edge.watch"])
def test_ctrl_c_while_the_program_is_imported_shows_no_traceback(module: str) -> None:
    program = f"""if True:
        import os, signal, sys

        class Interrupting:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), signal.SIGINT)

        signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent had
        sys.meta_path.insert(0, Interrupting())
        sys.argv = ["vae-edge", "info", "absent.vaeb"]
        from vae_edge.__main__ import main
        main()"""
    done = _python("-c", program)
    in_command = module not in ("numpy", "vae_edge.cli")
    assert done.returncode == (130 if in_command else -signal.SIGINT)
    assert done.stderr == ("interrupted; nothing half-written is left\n" if in_command else "")


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("PIL", ["score", "{bundle}", "{rows}", "--maps", "maps"]),
        ("PIL", ["reconstruct", "{bundle}", "{rows}", "-o", "r.png"]),
        ("pyarrow", ["score", "{bundle}", "{rows}", "-o", "s.parquet"]),
    ],
)
def test_a_missing_package_is_said_before_any_work(
    cli: Cli, tiny: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, package: str, arguments: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tiny.parent)
    found = cli(*[a.format(bundle=tiny, rows=rows) for a in arguments])
    assert (found.code, found.out) == (3, "")
    assert "pip install" in found.err
    assert "onnxruntime" not in found.err  # the header of a loaded model
    assert sorted(p.name for p in tiny.parent.iterdir()) == ["rows.npy", "tiny.vaeb"]


def test_infinity_and_nan_are_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    from vae_edge.cli import _console

    _console.print_json("x", {"a": [float("inf"), {"b": float("nan")}], "c": 1.5})
    assert json.loads(capsys.readouterr().out) == {
        "schema_version": DOCUMENT_VERSION,
        "command": "x",
        "a": [None, {"b": None}],
        "c": 1.5,
    }


def test_maps_of_rows_with_like_names_do_not_replace_each_other(
    cli: Cli, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("PIL")
    monkeypatch.chdir(tiny.parent)
    for folder in ("a b", "a_b", "A_b"):
        Path(folder).mkdir()
        np.save(Path(folder) / "x.npy", np.ones((1, 4), np.float32))
    found = cli("score", tiny, "a b/x.npy", "a_b/x.npy", "A_b/x.npy", "--maps", "maps")
    assert found.code == 0, found.err
    assert len({p.name.lower() for p in Path("maps").iterdir()}) == 3
    found = cli("score", tiny, "a_b/x.npy", "--maps", "A_b/x.npy", "--force")
    assert (found.code, found.out) == (2, "")
    assert "takes a folder" in found.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def build(): raise KeyError('no checkpoint')", "failed: KeyError: 'no checkpoint'"),
        ("def build(:", "the import failed: SyntaxError"),
        ("raise RuntimeError('no driver')", "the import failed: RuntimeError: no driver"),
    ],
)
def test_a_failing_factory_is_not_called_a_bug_of_ours(
    cli: Cli, rows: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    pytest.importorskip("torch")
    (rows.parent / "failing_factory.py").write_text(text)
    monkeypatch.chdir(rows.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "failing_factory", raising=False)
    found = cli("export", "failing_factory:build", "--calibration", rows, "-o", "x.vaeb")
    assert (found.code, found.out) == (2, "")
    assert said in found.err
    assert "please report" not in found.err


def test_a_factory_may_import_its_neighbours_when_it_is_called(
    cli: Cli, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    (rows.parent / "late_factory.py").write_text(
        "def build():\n    import late_neighbour\n    return late_neighbour.kind()"
    )
    (rows.parent / "late_neighbour.py").write_text("kind = dict")
    monkeypatch.chdir(rows.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = cli("export", "late_factory:build", "--calibration", rows, "-o", "x.vaeb")
    assert "gave a dict, not a torch.nn.Module" in found.err


def test_variance_without_its_loss_is_refused(cli: Cli, rows: Path, tmp_path: Path) -> None:
    found = cli("train", "mlp", "--data", rows, "--variance", 2, "-o", tmp_path / "run")
    assert found.code == 2
    assert "--loss gaussian" in found.err


def test_ctrl_c_in_training_keeps_whole_epochs_and_exits_with_130(world: World, tmp_path: Path) -> None:
    arguments = ["train", "mlp", "--data", str(world.folder / "normal.csv"), "--epochs", "1000000"]
    arguments += ["--latent", "1", "--width", "4", "--depth", "1", "-o", str(tmp_path / "run")]
    # A test runner in the background has SIGINT ignored, and its children inherit that.
    program = (
        "import signal, vae_edge.cli as c; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"c.main({arguments!r})"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        said = ""
        while "epoch   2" not in said:
            line = running.stderr.readline()
            assert line, said
            said += line
        running.send_signal(signal.SIGINT)
        said += running.stderr.read()
        assert running.wait() == 130
    assert said.endswith("nothing half-written is left\n")
    assert "Traceback" not in said
    from vae_edge.training import load_run

    assert load_run(tmp_path / "run").config.epochs == 1_000_000
    assert [p.name for p in (tmp_path / "run").iterdir() if p.suffix == ".part"] == []


def test_the_device_side_prints_the_very_lines_of_the_other_command(cli: Cli, tiny: Path, rows: Path) -> None:
    done = _python("-m", "vae_edge_runtime", "score", tiny, rows, "--format", "csv", stdout=subprocess.PIPE)
    assert done.stdout == cli("score", tiny, rows).out
    assert list(csv.DictReader(done.stdout.splitlines()))[3]["status"] == "non_finite_input"
    np.savez(rows.with_suffix(".npz"), x=np.load(rows), y=np.zeros(50))
    again = _python("-m", "vae_edge_runtime", "score", tiny, rows.with_suffix(".npz"), stdout=subprocess.PIPE)
    listed = cli("score", tiny, rows, "--json").json()["scores"]
    assert [json.loads(line) for line in again.stdout.splitlines()] == listed


def test_the_device_side_prints_the_published_schema() -> None:
    done = _python("-m", "vae_edge_runtime", "schema", stdout=subprocess.PIPE)
    assert done.stdout == (ROOT / "docs" / "manifest.schema.json").read_text("utf-8")


def test_the_device_side_needs_neither_typer_nor_torch(tiny: Path, rows: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('typer', 'click', 'rich', 'torch', 'onnx', 'PIL', 'pyarrow'): sys.modules[name] = None\n"
        "from vae_edge_runtime.__main__ import main\n"
        f"assert [main([c, {str(tiny)!r}]) for c in ('info', 'verify')] == [0, 0]\n"
        f"assert main(['score', {str(tiny)!r}, {str(rows)!r}]) == 0\n"
    )
    done = _python("-c", program, stdout=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("content", [b"", b"no numbers", b"PK\x03\x04"])
def test_the_device_side_refuses_damaged_rows_with_2(tiny: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npy").write_bytes(content)
    done = _python("-m", "vae_edge_runtime", "score", tiny, tmp_path / "bad.npy", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "")
    assert "DataError" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["bench", "{bundle}", "--batches", "9" * 5000], ["score", "{bundle}", "{rows}", "--image-size", "9" * 5000 + "x1"],
     ["watch", "{bundle}", "{rows}", "--alarm", "1/" + "9" * 5000],
     ["score", "{bundle}", "{rows}", "--image-size", "²x²"]],
)  # fmt: skip
def test_a_number_that_python_would_not_read_is_a_usage_error(
    cli: Cli, tiny: Path, rows: Path, arguments: list[str]
) -> None:
    refused = cli(*[argument.format(bundle=tiny, rows=rows) for argument in arguments])
    assert refused.code == 2, refused.err
    assert "Traceback" not in refused.err
