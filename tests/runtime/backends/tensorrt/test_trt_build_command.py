"""``vae-edge build`` as a device engineer types it, on a machine made of doubles, and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rig import Rig
from shell import run
from tiny_bundle import TinyBundle

from vae_edge_runtime import BackendError, load
from vae_edge_runtime import __main__ as light
from vae_edge_runtime.backends.tensorrt import prepare
from vae_edge_runtime.backends.tensorrt.layers import parse_layers


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
    assert again["options"] == {
        "max_batch": 8,
        "workspace_bytes": 256 << 20,
        "optimization_level": None,
        "aux_streams": None,
        "timing_iterations": None,
    }
    assert [one["graph"] for one in again["engines"]] == ["decode", "encode", "score"]
    assert all(Path(one["path"]).stat().st_size == one["engine_bytes"] for one in again["engines"])
    with load(path, device="tensorrt"):
        assert machine.trt.builds == 3


def test_other_limits_build_again(machine: Rig, path: Path) -> None:
    run("build", path)
    found = run("build", path, "--workspace-mib", 64, "--json").json()
    assert {one["reason"] for one in found["engines"]} == {"the stored one was built for other options"}
    assert machine.trt.limits["WORKSPACE"] == 64 << 20


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
    assert (
        "no kernel for a layer of graph 'decode': either no kernel fits the memory there is (workspace 256 MiB"
        in failed.err
    )
    for arguments, said in [
        (["--variant", "int4"], "this bundle has fp32"),
        (["--check", "--cache", "x"], "--cache has no use: leave one out"),
        (["--check", "--layers"], "--layers has no use: leave one out"),
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
    assert sorted(file.suffix for file in folder.iterdir()) == ["", ".cache", ".engine", ".json"]


def test_layers_are_told_as_the_engine_tells_them(machine: Rig, path: Path) -> None:
    shown = run("build", path, "--layers")
    assert shown.code == 0, shown.err
    assert "fp32/decode" in shown.out
    assert "sm87_MatMul" in shown.out
    engines = run("build", path, "--layers", "--json").json()["engines"]
    layers = {one["graph"]: one["layers"] for one in engines}
    assert {"name": "h", "kind": "MatMul", "precision": "fp32", "tactic": "sm87_MatMul"} in layers["decode"]
    assert run("build", path, "--json").json()["engines"][0]["layers"] == []
    assert machine.trt.builds == 3
    machine.trt.raises["EngineInspector.get_engine_information"] = RuntimeError("no inspector")
    failed = run("build", path, "--layers")
    assert failed.code == 4
    assert "asking the engine for its layers for graph 'decode' (RuntimeError: no inspector)" in failed.err


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("Row major linear FP16 format", "fp16"), ("Half", "fp16"), ("Int8", "int8"), ("BFloat16", "bf16"),
        ("Channel major FP32 format where channel % 32 == 0", "fp32"), ("Float", "fp32"), ("what", "unknown"),
    ],
)  # fmt: skip
def test_precisions_are_read_from_tensorrts_words(text: str, precision: str) -> None:
    layer = {"Name": "a", "LayerType": "CaskConvolution", "Outputs": [{"Format/Datatype": text}]}
    assert [one.precision for one in parse_layers(json.dumps({"Layers": [layer]}), "score")] == [precision]
    assert parse_layers('{"Layers": ["a"]}', "score")[0].kind == "unknown"
    for junk in ("", "[]", "{}", '{"Layers": 3}', '{"Layers": [{}]}', '{"Layers": [3]}'):
        with pytest.raises(BackendError, match="layers of graph 'score' in an unknown form"):
            parse_layers(junk, "score")


def test_tf32_engines_are_built_for_the_device_that_takes_them(machine: Rig, path: Path) -> None:
    assert run("build", path, "--tf32").code == 0
    assert (machine.trt.builds, len(machine.trt.flagged)) == (3, 3)
    with load(path, device="tensorrt-tf32") as vae:
        vae.sample(1, seed=1)
        assert machine.trt.builds == 3


def test_engines_of_another_driver_are_pruned(machine: Rig, path: Path, tmp_path: Path) -> None:
    assert run("build", path).code == 0
    machine.cuda.version = 13020
    machine.close()
    machine._process = None
    pruned = run("build", path, "--prune")
    assert "removed 3 engines that nothing on this machine loads" in pruned.out
    assert len(list((tmp_path / "cache" / "tensorrt").glob("*.engine"))) == 3


def test_without_a_gpu_it_says_what_is_missing(path: Path) -> None:
    found = run("build", path)
    assert (found.code, found.out) == (3, "")
    assert "vae-edge doctor" in found.err
