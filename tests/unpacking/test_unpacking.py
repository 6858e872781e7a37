"""A bundle as plain files: the graphs stand alone, compute the same, and the folder is whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_bundle import TinyBundle

import vae_edge
from vae_edge.unpacking import folder as folder_module
from vae_edge_runtime import Bundle, load
from vae_edge_runtime.errors import BundleCorrupt, OptionError, ParityFailed, StorageError
from vae_edge_runtime.verification import max_errors

CORPUS = Path(__file__).parents[1] / "corpus"
NAMES = sorted(path.stem for path in CORPUS.glob("*.vaeb"))


def session_of(folder: Path, graph: str) -> Any:
    """Bare onnxruntime, as the README of the folder says."""
    options = onnxruntime.SessionOptions()
    if "session.disable_quant_qdq" in (folder / "README.md").read_text("utf-8"):
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(folder / f"{graph}.onnx", options, providers=["CPUExecutionProvider"])


def outputs(folder: Path, graph: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]:
    """What bare onnxruntime gives for the golden inputs of a graph, what is expected, and the tolerances."""
    said = json.loads((folder / "bundle.json").read_text("utf-8"))
    own = [g for g in said["golden"] if g["graph"] == graph]
    arrays = {(g["role"], g["name"]): np.fromfile(folder / g["file"], g["dtype"]).reshape(g["shape"]) for g in own}
    session = session_of(folder, graph)
    names = [g["name"] for g in own if g["role"] == "output"]
    got = session.run(names, {name: array for (role, name), array in arrays.items() if role == "input"})
    expected = {name: array for (role, name), array in arrays.items() if role == "output"}
    return dict(zip(names, got, strict=True)), expected, {g["name"]: g.get("tolerance_relative", 0) for g in own}


@pytest.mark.parametrize("name", NAMES)
def test_every_unpacked_graph_stands_alone_and_gives_the_golden_outputs(name: str, tmp_path: Path) -> None:
    unpacked = vae_edge.unpack(CORPUS / f"{name}.vaeb", tmp_path / "out")
    graphs = [file for file in unpacked.files if file.endswith(".onnx")]
    assert {"encode.onnx", "decode.onnx", "score.onnx"} <= set(graphs)
    for file in graphs:
        onnx.checker.check_model(str(tmp_path / "out" / file), full_check=True)
        got, expected, tolerances = outputs(tmp_path / "out", file[:-5])
        assert got.keys() == expected.keys()
        for output, array in got.items():
            assert max_errors(array, expected[output])[1] <= tolerances[output], (file, output)
    assert sorted(unpacked.files) == sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("name", ["v1-picture", "v1-convolutions", "v1-codes"])
def test_pictures_as_float32_nchw_score_as_in_the_bundle(name: str, tmp_path: Path) -> None:
    path = CORPUS / f"{name}.vaeb"
    vae_edge.unpack(path, tmp_path / "out", input_form="float32-nchw")
    model = onnx.load(tmp_path / "out" / "score.onnx")
    taken = model.graph.input[0].type.tensor_type
    with load(path, device="cpu", threads=1) as vae:
        spec = vae.manifest.input
        x = np.frombuffer(vae.read_member(vae.manifest.golden.input), spec.dtype).reshape(-1, *spec.shape)
        wanted = vae.score(x, maps=True)
    channels_first = x.transpose(0, 3, 1, 2) if spec.layout == "nhwc" else x
    assert taken.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_value for d in taken.shape.dim][1:] == list(channels_first.shape[1:])
    session = session_of(tmp_path / "out", "score")
    score, map_ = session.run(["score", "map"], {"x": channels_first.astype(np.float32)})
    np.testing.assert_allclose(score, wanted.score, rtol=1e-6)
    turned = wanted.map.transpose(0, 3, 1, 2) if spec.layout == "nhwc" else wanted.map
    np.testing.assert_allclose(map_, turned, rtol=1e-5, atol=1e-6)
    if spec.dtype == "uint8":  # a camera stack that interpolates gives fractions: they are rounded, and stay in range
        (same,) = session.run(["score"], {"x": np.clip(channels_first, 0, 255).astype(np.float32) + 0.25})
        np.testing.assert_allclose(same, wanted.score, rtol=1e-6)


def test_other_rows_than_pictures_have_no_channels_to_turn(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="for pictures"):
        vae_edge.unpack(CORPUS / "v1-table.vaeb", tmp_path / "out", input_form="float32-nchw")
    with pytest.raises(OptionError, match="valid are bundle, float32-nchw"):
        vae_edge.unpack(CORPUS / "v1-table.vaeb", tmp_path / "out", input_form="nchw")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "variant"), [("v1-half", "fp16"), ("v1-integers", "int8"), ("v1-half", "fp32")])
def test_a_reduced_variant_is_unpacked_by_name(name: str, variant: str, tmp_path: Path) -> None:
    unpacked = vae_edge.unpack(CORPUS / f"{name}.vaeb", tmp_path / "out", variant=variant)
    said = json.loads((tmp_path / "out" / "bundle.json").read_text("utf-8"))
    assert (unpacked.variant, said["variant"], said["precision"]) == (variant,) * 3
    page = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert ("The 8-bit weights of these graphs are signed" in page) == (variant == "int8")
    with pytest.raises(OptionError, match="int4"):
        vae_edge.unpack(CORPUS / f"{name}.vaeb", tmp_path / "other", variant="int4")


@pytest.mark.parametrize("name", ["v1-table", "v1-tail", "v1-picture"])
def test_the_points_in_bundle_json_give_the_sessions_p_values(name: str, tmp_path: Path) -> None:
    vae_edge.unpack(CORPUS / f"{name}.vaeb", tmp_path / "out")
    said = json.loads((tmp_path / "out" / "bundle.json").read_text("utf-8"))
    with load(CORPUS / f"{name}.vaeb", device="cpu") as vae:
        sketches, calibrations = vae._scorer.fitted.sketches, vae.calibrations
    assert {head["name"] for head in said["heads"]} == set(calibrations)
    for head in said["heads"]:
        points = np.float32(head["points"]["score"])
        scores = np.concatenate([points, np.nextafter(points, np.float32(np.inf)), [points[0] - 1]]).astype(np.float32)
        count = np.append(head["n"], head["points"]["above"])[np.searchsorted(points, scores)]
        np.testing.assert_array_equal((1 + count) / (head["n"] + 1), sketches[head["name"]].p_values(scores))
        assert head["threshold"] == calibrations[head["name"]].threshold


def test_metadata_and_meanings_are_inside_the_files(tmp_path: Path) -> None:
    vae_edge.unpack(CORPUS / "v1-label.vaeb", tmp_path / "out")
    with Bundle.open(CORPUS / "v1-label.vaeb") as bundle:
        wanted = {"vae_edge.bundle_id": bundle.bundle_id, "vae_edge.pair_id": bundle.manifest.pair_id}
    model = onnx.load(tmp_path / "out" / "score.onnx")
    assert wanted.items() <= {entry.key: entry.value for entry in model.metadata_props}.items()
    assert all(value.doc_string for value in [*model.graph.input, *model.graph.output])
    assert "raw rows in data units" in model.graph.input[0].doc_string


@pytest.mark.parametrize("compiler", ["gcc -std=c99", "g++ -std=c++17"])
@pytest.mark.parametrize("name", ["v1-table", "v1-unsampled"])
def test_the_header_compiles_without_a_warning_and_says_the_same(name: str, compiler: str, tmp_path: Path) -> None:
    program, standard = compiler.split()
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    vae_edge.unpack(CORPUS / f"{name}.vaeb", tmp_path / "out")
    said = json.loads((tmp_path / "out" / "bundle.json").read_text("utf-8"))
    head = next(h for h in said["heads"] if "points" in h)
    prefix = f"VAE_HEAD_{head['name'].upper()}"
    suffix = ".c" if program == "gcc" else ".cpp"
    source = tmp_path / f"main{suffix}"
    source.write_text(
        '#include <stdio.h>\n#include "bundle.h"\nint main(void) {\n'
        f'  printf("%s %.17g %d %.9g %u\\n", VAE_BUNDLE_ID, {prefix}_THRESHOLD, VAE_ENCODE_X_ELEMENTS,\n'
        f"         (double){prefix}_SCORES[{prefix}_POINTS - 1], (unsigned){prefix}_ABOVE[0]);\n  return 0;\n}}\n"
    )
    warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic", standard]
    build = [program, *warnings, f"-I{tmp_path / 'out'}", str(source), "-o", str(tmp_path / "main")]
    subprocess.run(build, check=True)
    bundle_id, threshold, elements, last, above = subprocess.check_output([tmp_path / "main"], text=True).split()
    assert (bundle_id, float(threshold)) == (said["bundle_id"], head["threshold"])
    assert int(elements) == np.prod(said["graphs"]["encode"]["inputs"][0]["shape"])
    assert np.float32(last) == np.float32(head["points"]["score"][-1])
    assert int(above) == head["points"]["above"][0]


def test_a_graph_that_differs_from_the_bundle_is_not_written(
    tiny: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = folder_module.standalone

    def spoilt(*arguments: Any) -> bytes:
        model = onnx.load_model_from_string(good(*arguments))
        for tensor in model.graph.initializer:
            if tensor.name == "b_out":
                tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) * np.float32(1.001)).tobytes()
        return model.SerializeToString()  # type: ignore[no-any-return]

    monkeypatch.setattr(folder_module, "standalone", spoilt)
    with pytest.raises(ParityFailed, match="nothing was written"):
        vae_edge.unpack(tiny.write(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(tiny: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.write()
    before = sorted(tmp_path.iterdir())
    opened = Path.open

    def full(self: Path, *mode: str) -> Any:
        if self.name == "bundle.h":
            raise OSError(28, "No space left on device")
        return opened(self, *mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match=r"out/bundle\.h could not be written \(No space left"):
        vae_edge.unpack(path, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_only_a_new_or_empty_folder_is_taken(tiny: TinyBundle, tmp_path: Path) -> None:
    path = tiny.write()
    (tmp_path / "empty").mkdir()
    vae_edge.unpack(path, tmp_path / "empty")
    with pytest.raises(OptionError, match="not empty"):
        vae_edge.unpack(path, tmp_path / "empty")
    with pytest.raises(OptionError, match="is a file"):
        vae_edge.unpack(path, path)
    with pytest.raises(OptionError, match="does not exist"):
        vae_edge.unpack(path, tmp_path / "no" / "where")
    mask = os.umask(0o077)
    os.umask(mask)
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o777 & ~mask


def test_of_two_that_unpack_at_once_the_second_is_refused_as_if_it_had_come_later(
    tiny: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tiny.write(), Path.replace

    def faster(self: Path, target: Path) -> Path:
        target.mkdir()
        (target / "decode.onnx").write_bytes(b"of another")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", faster)
    with pytest.raises(OptionError, match="is not empty; name a folder"):
        vae_edge.unpack(path, tmp_path / "plain")
    assert [found.name for found in tmp_path.rglob("*.onnx")] == ["decode.onnx"]
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "plain"])


def test_a_part_of_a_bundle_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    part = tmp_path / "score.onnx"
    with Bundle.open(CORPUS / "v1-table.vaeb") as bundle:
        part.write_bytes(bundle.read("fp32/score.onnx"))
    with pytest.raises(BundleCorrupt, match="vae-edge unpack"):
        load(part)


def test_the_command_prints_what_it_wrote(tiny: TinyBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vae_edge.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["unpack", str(tiny.write()), "-o", str(tmp_path / "out"), "--json"])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["variant"], said["input_form"], said["worst_relative"]) == ("fp32", "bundle", 0.0)
    assert all((tmp_path / "out" / file).stat().st_size == size for file, size in said["files"].items())
