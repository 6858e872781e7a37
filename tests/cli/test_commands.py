"""Each command on real files: exit codes, pure stdout, nothing overwritten."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import typer
from shell import Cli, World

from vae_edge.cli._app import app
from vae_edge_runtime import StorageError, load, verify
from vae_edge_runtime.device.devices import device_names
from vae_edge_runtime.stdio import DOCUMENT_VERSION

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_ends_with_an_example_of_it(cli: Cli, command: str) -> None:
    found = cli(command, "--help")
    assert found.code == 0
    example = found.out[found.out.rindex("Example:") :]
    assert f"vae-edge {command}" in " ".join(example.split())


def test_help_documents_the_exit_codes(cli: Cli) -> None:
    text = " ".join(cli("--help").out.split())
    for code in (
        "0 fine",
        "1 a gate",
        "2 bad usage",
        "3 something is missing",
        "4 the engine",
        "70 a bug",
        "130 Ctrl-C",
    ):
        assert code in text


def test_export_prints_parity_verdict_threshold_and_size(world: World) -> None:
    out = world.exported.out
    assert len(re.findall(r"^\w+\.\w+ .* ok$", out, re.M)) == 7
    assert re.search(r"on held-out rows: 0 of \d+ decisions differ, ", out)
    assert re.search(r"AUROC (0\.\d{4}) \(PyTorch \1\)", out)
    assert f"{world.bundle.stat().st_size:,} bytes" in out
    assert "next: vae-edge verify" in world.exported.err


def test_the_bundle_is_the_trained_model(world: World) -> None:
    import torch

    from vae_edge.training import load_run

    trained = load_run(world.folder / "run")
    x = (world.rows - np.float32(trained.config.offset)) / np.float32(trained.config.scale)
    with torch.no_grad():
        mean = trained.model.encode(torch.from_numpy(x))[0].numpy()  # type: ignore[operator]
    with load(world.bundle, device="cpu") as vae:
        np.testing.assert_allclose(vae.encode(world.rows).mean, mean, rtol=1e-4, atol=1e-5)
        assert vae.manifest.input.names == tuple("abcde")
        assert vae.manifest.model.licence == "CC0-1.0"


def test_info_prints_the_manifest_as_one_document(cli: Cli, world: World) -> None:
    found = cli("info", world.bundle, "--json")
    document = found.json()
    assert (found.code, document["schema_version"], document["command"]) == (0, DOCUMENT_VERSION, "info")
    assert document["manifest"]["model"]["name"] == "table"
    assert "float32 [5] features" in cli("info", world.bundle).out


def test_verify_passes_with_figures_and_fails_with_1(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cli("verify", world.bundle, "--json")
    assert (found.code, found.json()["ok"], len(found.json()["checks"])) == (0, True, 7)
    assert "verified" in cli("verify", world.bundle).out
    import vae_edge.cli.verify as command

    def off(*args: object, **options: object) -> object:
        real = verify(*args, **options)  # type: ignore[arg-type]
        worse = [type(c)(c.variant, c.graph, c.output, 9.0, 9.0, c.tolerance_relative) for c in real.checks[:1]]
        return type(real)(real.members, real.size_bytes, real.rows, real.info, (*worse, *real.checks[1:]))

    monkeypatch.setattr(command, "verify", off)
    found = cli("verify", world.bundle)
    assert found.code == 1
    assert found.out.count("FAILED") == 1


def test_a_damaged_bundle_exits_with_2_and_names_the_file(cli: Cli, world: World, tmp_path: Path) -> None:
    raw = world.bundle.read_bytes()
    (tmp_path / "cut.vaeb").write_bytes(raw[:-1])
    for command in (["info"], ["verify"], ["score", world.data]):
        found = cli(command[0], tmp_path / "cut.vaeb", *command[1:])
        assert (found.code, found.out) == (2, "")
        assert "BundleCorrupt" in found.err
        assert "cut.vaeb" in found.err


def test_score_gives_a_csv_line_per_row_on_stdout_and_notes_on_stderr(cli: Cli, world: World) -> None:
    found = cli("score", world.bundle, world.data)
    lines = list(csv.DictReader(io.StringIO(found.out)))
    assert list(lines[0]) == ["row_id", "score", "reconstruction", "kl", "p_value", "is_anomaly", "status"]
    with load(world.bundle, device="cpu") as vae:
        expected = vae.score(world.rows)
    assert [np.float32(line["score"]) for line in lines] == expected.score.tolist()
    assert [line["is_anomaly"] == "true" for line in lines] == expected.is_anomaly.tolist()
    assert "CPUExecutionProvider" in found.err
    assert f"300 rows, {int(expected.is_anomaly.sum())} anomalies" in found.err


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_output_format_holds_the_same_scores(cli: Cli, world: World, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scores.{suffix}"
    found = cli("score", world.bundle, world.data, "-o", path)
    assert (found.code, found.out) == (0, "")
    if suffix == "csv":
        scores = [float(line["score"]) for line in csv.DictReader(io.StringIO(path.read_text()))]
    elif suffix == "jsonl":
        scores = [json.loads(line)["score"] for line in path.read_text().splitlines()]
    else:
        scores = pytest.importorskip("pyarrow.parquet").read_table(path).column("score").to_pylist()
    with load(world.bundle, device="cpu") as vae:
        np.testing.assert_array_equal(np.float32(scores), vae.score(world.rows).score)


def test_a_row_that_cannot_be_scored_keeps_its_line(cli: Cli, world: World, tmp_path: Path) -> None:
    text = (world.folder / "normal.csv").read_text().splitlines()
    text[2] = ",1,2,3,4"  # an empty cell is no number
    (tmp_path / "gap.csv").write_text("\n".join(text[:4]))
    found = cli("score", world.bundle, tmp_path / "gap.csv", "--json")
    rows = found.json()["scores"]
    assert [row["status"] for row in rows] == ["ok", "non_finite_input", "ok"]
    assert (rows[1]["score"], rows[1]["is_anomaly"], found.json()["not_scored"]) == (None, None, 1)


def test_csv_columns_are_found_by_name_whatever_their_order(cli: Cli, world: World, tmp_path: Path) -> None:
    lines = [line.split(",") for line in (world.folder / "normal.csv").read_text().splitlines()]
    (tmp_path / "turned.csv").write_text("\n".join(",".join(["x", *line[::-1]]) for line in lines))
    straight = cli("score", world.bundle, world.folder / "normal.csv")
    assert cli("score", world.bundle, tmp_path / "turned.csv").out == straight.out


def test_threshold_option_moves_decisions_only(cli: Cli, world: World) -> None:
    document = cli("score", world.bundle, world.data, "--threshold", -1e9, "--json").json()
    assert document["anomalies"] == 300
    assert document["threshold"] == -1e9


def test_maps_are_written_one_per_row(cli: Cli, world: World, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    found = cli("score", world.bundle, world.data, "--maps", tmp_path / "maps", "-o", tmp_path / "s.csv")
    assert found.code == 0
    files = sorted((tmp_path / "maps").iterdir())
    assert len(files) == 300
    pixels = np.asarray(image.open(tmp_path / "maps" / "299.png"))
    assert pixels.shape[2] == 3
    assert pixels.max() > 100
    again = cli("score", world.bundle, world.data, "--maps", tmp_path / "maps")
    assert (again.code, again.out) == (2, "")


@pytest.mark.parametrize("old", [None, [], ["0.png", "mine.txt"]], ids=["absent", "empty", "old maps"])
def test_maps_are_all_there_or_none(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: list[str] | None
) -> None:
    maps = tmp_path / "maps"
    if old is not None:
        maps.mkdir()
        for name in old:
            (maps / name).write_text("old")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    words = ("score", world.bundle, world.data, "--maps", maps, "-o", tmp_path / "s.csv", "--force")
    with monkeypatch.context() as patch:
        patch.setattr(
            "vae_edge.cli._maps.strip", Mock(side_effect=[*[np.zeros((2, 2, 3), np.uint8)] * 9, KeyboardInterrupt])
        )
        assert cli(*words).code == 130
        patch.undo()
        patch.setattr("vae_edge.cli._tables.write_table", Mock(side_effect=StorageError("the disk is full")))
        assert cli(*words).code == 3
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert maps.exists() == (old is not None)
    assert cli(*words).code == 0
    assert {path.name for path in maps.iterdir()} == {f"{i}.png" for i in range(300)} | set(old or [])
    assert (maps / "0.png").read_bytes().startswith(b"\x89PNG")


def test_sample_and_reconstruct_and_encode_equal_the_python_calls(cli: Cli, world: World, tmp_path: Path) -> None:
    assert cli("sample", world.bundle, "-n", 5, "--seed", 7, "-o", tmp_path / "s.npy").code == 0
    assert cli("reconstruct", world.bundle, world.data, "-o", tmp_path / "r.npy").code == 0
    assert cli("encode", world.bundle, world.data, "-o", tmp_path / "z.npz").code == 0
    assert cli("encode", world.bundle, world.data, "-o", tmp_path / "z.csv").code == 0
    with load(world.bundle, device="cpu") as vae:
        np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), vae.sample(5, seed=7))
        np.testing.assert_array_equal(np.load(tmp_path / "r.npy"), vae.reconstruct(world.rows))
        with np.load(tmp_path / "z.npz") as latents:
            mean = latents["mean"]
        np.testing.assert_array_equal(mean, vae.encode(world.rows).mean)
        first = next(csv.DictReader(io.StringIO((tmp_path / "z.csv").read_text())))
        assert np.float32(first["mean_1"]) == mean[0, 1]


def test_a_table_is_no_picture(cli: Cli, world: World, tmp_path: Path) -> None:
    found = cli("sample", world.bundle, "-o", tmp_path / "s.png")
    assert found.code == 2
    assert "no pictures" in found.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "{bundle}", "{data}", "-o", "{kept}.csv"],
        ["sample", "{bundle}", "-o", "{kept}.npy"],
        ["reconstruct", "{bundle}", "{data}", "-o", "{kept}.npy"],
        ["encode", "{bundle}", "{data}", "-o", "{kept}.npz"],
        ["export", "{run}", "--calibration", "{data}", "-o", "{kept}.vaeb"],
    ],
    ids=lambda a: a[0],
)
def test_nothing_is_overwritten_without_force(cli: Cli, world: World, tmp_path: Path, arguments: list[str]) -> None:
    kept = tmp_path / "kept"
    filled = [a.format(bundle=world.bundle, data=world.data, run=world.folder / "run", kept=kept) for a in arguments]
    Path(filled[-1]).write_bytes(b"precious")
    found = cli(*filled)
    assert (found.code, found.out) == (2, "")
    assert "--force" in found.err
    assert Path(filled[-1]).read_bytes() == b"precious"
    if arguments[0] != "export":
        assert cli(*filled, "--force").code == 0
        assert Path(filled[-1]).read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["score", "{bundle}", "none.npy"], 2, "does not exist"),
        (["score", "{bundle}", "{data}", "--device", "cuda"], 3, "'cuda' is not in this onnxruntime"),
        (["score", "{bundle}", "{data}", "--device", "gpu"], 2, f"valid are {', '.join(device_names())}"),
        (["score", "{bundle}", "{data}", "-o", "x.txt"], 2, ".csv, .jsonl, .parquet"),
        (["score", "{bundle}"], 2, "Missing argument"),
        (["sample", "{bundle}", "-o", "/nowhere/x.npy"], 2, "does not exist"),
        (["train", "conv", "--data", "{data}", "-o", "{run}"], 2, "--layout"),
        (["train", "mlp", "--data", "{data}", "--loss", "l1", "-o", "{run}"], 2, "mse, bce"),
        (["train", "mlp", "--data", "{data}", "-o", "{run}"], 2, "--resume"),
        (
            ["export", "nothing", "--calibration", "{data}", "-o", "x.vaeb"],
            2,
            "a run folder, a factory 'pkg.module:name'",
        ),
        (["export", "no.such:thing", "--calibration", "{data}", "-o", "x.vaeb"], 2, "no module"),
        (["export", "os:sep", "--calibration", "{data}", "-o", "x.vaeb"], 2, "cannot be called"),
        (["export", "builtins:dict", "--calibration", "{data}", "-o", "x.vaeb"], 2, "not a torch.nn.Module"),
        (["fly"], 2, "No such command"),
    ],
)
def test_bad_usage_says_what_to_do(
    cli: Cli, world: World, arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cli(*[a.format(bundle=world.bundle, data=world.data, run=world.folder / "run") for a in arguments])
    assert (found.code, found.out) == (code, "")
    assert said in found.err
    assert "Traceback" not in found.err
    assert list(tmp_path.iterdir()) == []


def test_a_factory_with_weights_and_callables_is_exported(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    (tmp_path / "my_vae.py").write_text(
        "from torch import nn\n"
        "class Mine(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b, self.c = nn.Linear(5, 2), nn.Linear(5, 2), nn.Linear(2, 5)\n"
        "def build(): return Mine()\n"
        "def look(m, x): return m.a(x), m.b(x)\n"
        "def draw(m, z): return m.c(z)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_vae  # type: ignore[import-not-found]

    model = my_vae.build()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    arguments = ["export", "my_vae:build", "--calibration", world.data, "--encode", "my_vae:look"]
    arguments += ["--decode", "my_vae:draw", "--scale-form", "log_std", "-o", "mine.vaeb"]
    found = cli(*arguments, "--weights", "w.safetensors", "--json")
    assert found.code == 0, found.err
    assert found.json()["report"]["verdict"]["flipped"] == 0
    with load(tmp_path / "mine.vaeb", device="cpu") as vae:
        expected = model.c.bias.detach().numpy()
        np.testing.assert_allclose(vae.decode(np.zeros((1, 2), np.float32))[0], expected, rtol=1e-5)
    save_file({"a.weight": model.a.weight.detach(), "z": model.a.bias.detach()}, tmp_path / "bad.safetensors")
    found = cli(*arguments[:-1], "other.vaeb", "--weights", "bad.safetensors")
    assert found.code == 2
    assert "missing a.bias" in found.err
    assert "unexpected z" in found.err


def test_a_missed_gate_exits_with_1_prints_the_table_and_writes_nothing(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vae_edge_export.config as config

    monkeypatch.setattr(config.ExportConfig.__init__, "__kwdefaults__", dict(config.ExportConfig.__init__.__kwdefaults__) | {"parity_rtol": 1e-12})  # fmt: skip # noqa: E501
    found = cli("export", world.folder / "run", "--calibration", world.data, "-o", tmp_path / "no.vaeb")
    assert (found.code, found.out) == (1, "")
    assert "FAILED" in found.err
    assert "ParityFailed" in found.err
    assert list(tmp_path.iterdir()) == []


def test_a_bug_exits_with_70_and_asks_for_a_report(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import vae_edge.cli.info as command

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(command, "_show", broken)
    found = cli("info", world.bundle)
    assert found.code == 70
    assert "ZeroDivisionError" in found.err
    assert "please report" in found.err


def test_ctrl_c_exits_with_130_and_leaves_nothing(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vae_edge.cli._generated as command

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "write_rows", interrupted)
    found = cli("sample", world.bundle, "-o", tmp_path / "s.npy")
    assert (found.code, found.out) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_no_command_of_a_device_imports_torch_or_onnx(world: World, tmp_path: Path) -> None:
    commands = [
        ["info", str(world.bundle)],
        ["verify", str(world.bundle)],
        ["score", str(world.bundle), str(world.data)],
        ["sample", str(world.bundle), "-o", str(tmp_path / "s.npy")],
        ["encode", str(world.bundle), str(world.data), "-o", str(tmp_path / "z.npz")],
    ]
    program = (
        "import sys\nfrom vae_edge.cli import main\n"
        f"for command in {commands!r}:\n"
        "    try: main(command)\n"
        "    except SystemExit as stop: assert stop.code == 0, (command, stop.code)\n"
        "heavy = {'torch', 'onnx', 'onnxscript', 'PIL', 'pyarrow', 'vae_edge_export'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_error(world: World) -> None:
    command = f"{sys.executable} -m vae_edge score {world.bundle} {world.data} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("row_id,score")
    assert "Traceback" not in done.stderr


def test_the_device_side_command_line_agrees(world: World, tmp_path: Path) -> None:
    def device(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vae_edge_runtime", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    scored = device("score", world.bundle, world.data)
    with load(world.bundle, device="cpu") as vae:
        expected = vae.score(world.rows).score
    assert [np.float32(json.loads(line)["score"]) for line in scored.stdout.splitlines()] == expected.tolist()
    assert json.loads(device("verify", world.bundle).stdout)["ok"] is True
    assert json.loads(device("info", world.bundle).stdout)["manifest"]["model"]["name"] == "table"
    (tmp_path / "no.vaeb").write_bytes(b"no")
    refused = device("info", tmp_path / "no.vaeb")
    assert (refused.returncode, refused.stdout) == (2, "")
