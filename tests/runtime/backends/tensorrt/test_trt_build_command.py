"""``vae-edge build`` as a device engineer types it, on a machine made of doubles, and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rig import Rig
from shell import run
from tiny_bundle import TinyBundle

from vae_edge_runtime import __main__ as light
from vae_edge_runtime import load
from vae_edge_runtime.backends.tensorrt import prepare


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return TinyBundle(tmp_path / "tiny.vaeb").write()


def test_every_graph_is_built_once_and_load_finds_what_build_made(machine: Rig, path: Path) -> None:
    first = run("build", path, "--max-batch", 8)
    assert first.code == 0, first.err
    assert first.out.count("built: none is stored") == 3
    assert "for Orin (compute capability 8.7), TensorRT 10.3.0, up to 8 rows a run" in first.out
    again = run("build", path, "--max-batch", 8, "--json").json()
    assert [one["built"] for one in again["engines"]] == [False] * 3
    assert again["options"] == {"max_batch": 8, "workspace_bytes": 256 << 20}
    assert [one["graph"] for one in again["engines"]] == ["decode", "encode", "score"]
    assert all(Path(one["path"]).stat().st_size == one["engine_bytes"] for one in again["engines"])
    with load(path, device="tensorrt"):
        assert machine.trt.builds == 3


def test_other_limits_build_again(machine: Rig, path: Path) -> None:
    run("build", path)
    found = run("build", path, "--workspace-mib", 64, "--json").json()
    assert {one["reason"] for one in found["engines"]} == {"the stored one was built for other options"}
    assert machine.trt.workspace == 64 << 20


def test_a_folder_of_ones_own(machine: Rig, path: Path, tmp_path: Path) -> None:
    found = run("build", path, "--cache", tmp_path / "mine", "--json").json()
    assert found["folder"] == str(tmp_path / "mine" / "tensorrt")
    assert len(list((tmp_path / "mine" / "tensorrt").glob("*.engine"))) == 3


def test_the_light_command_line_builds_too(
    machine: Rig, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert light.main(["build", str(path), "--max-batch", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["command"], found["machine"]["gpu"], len(found["engines"])) == ("build", "Orin", 3)


def test_what_fails_says_so_with_its_exit_code(machine: Rig, path: Path) -> None:
    machine.trt.messages = ["Could not find any implementation for node gemm"]
    failed = run("build", path)
    assert (failed.code, failed.out) == (4, "")
    assert "ran out of memory building graph 'decode' (workspace 256 MiB)" in failed.err
    for arguments, said in [
        (["--variant", "int4"], "this bundle has fp32"),
        (["--check", "--cache", "x"], "leave one out"),
        (["--max-batch", 5000], "pass 1 to 4096"),
    ]:
        wrong = run("build", path, *arguments)
        assert (wrong.code, wrong.out) == (2, "")
        assert said in wrong.err


def test_ctrl_c_keeps_what_is_finished_and_nothing_half(
    machine: Rig, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = prepare.EngineStore.get

    def stop_at_encode(self: prepare.EngineStore, graph: str, *arguments: object, **options: object) -> object:
        if graph == "encode":

            def stop(*step: object) -> None:
                raise KeyboardInterrupt

            options["progress"] = stop
        return real(self, graph, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare.EngineStore, "get", stop_at_encode)
    assert run("build", path).code == 130
    folder = tmp_path / "cache" / "tensorrt"
    assert sorted(file.suffix for file in folder.iterdir()) == [".cache", ".engine", ".json"]


def test_without_a_gpu_it_says_what_is_missing(path: Path) -> None:
    found = run("build", path)
    assert (found.code, found.out) == (3, "")
    assert "vae-edge doctor" in found.err
