"""The whole road: a module goes in, a bundle comes out that computes what the module computes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import LearnedVariance, Painter, Plain, TinyEpsilon

from vae_edge_export import ExportConfig, ExportReport, export
from vae_edge_runtime import (
    BackendError,
    CalibrationError,
    InputError,
    OptionError,
    ParityFailed,
    StorageError,
    VerdictFailed,
    load,
    verify,
)
from vae_edge_runtime.format.bundle import Bundle

TABLE = ExportConfig(layout="features", offset=(2.0,) * 6, scale=(3.0,) * 6, names=tuple("abcdef"))
IMAGE = ExportConfig(layout="nhwc", scale=(255.0,), likelihood="bernoulli", false_positive_rate=0.05)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, ExportReport]:
    torch.manual_seed(0)
    model = Plain()
    rows = np.random.default_rng(0).normal(2.0, 3.0, size=(300, 6)).astype(np.float32)
    path = tmp_path_factory.mktemp("plain") / "plain.vaeb"
    return path, model, export(model, path, calibration=rows, config=TABLE)


def torch_scores(model: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The formulas of docs/concepts.md, written once more, in float64, for the table model."""
    model = model.double().eval()
    with torch.no_grad():
        x = (torch.from_numpy(rows).double() - 2.0) / 3.0
        mean, logvar = model.encode(x)
        x_hat = model.decode(mean)
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)
    squares = (x - x_hat) ** 2
    found = {"mean": mean, "logvar": logvar, "x_hat": x_hat * 3.0 + 2.0, "kl": kl, "map": squares}
    found |= {"reconstruction": squares.sum(1), "score": squares.sum(1) + kl}
    model.float()
    return {name: value.numpy() for name, value in found.items()}


def test_bundle_computes_what_the_module_computes(plain: tuple[Path, Any, ExportReport], rows: np.ndarray) -> None:
    path, model, _ = plain
    expected = torch_scores(model, rows)
    with load(path, device="cpu") as vae:
        found = vae.score(rows, maps=True)
        for name in ("score", "reconstruction", "kl", "map"):
            np.testing.assert_allclose(getattr(found, name), expected[name], rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(vae.encode(rows).mean, expected["mean"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(vae.encode(rows).logvar, expected["logvar"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(vae.reconstruct(rows), expected["x_hat"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.map.sum(1), found.reconstruction, rtol=1e-5)


def test_report_and_manifest_hold_the_measured_figures(plain: tuple[Path, Any, ExportReport]) -> None:
    path, _, report = plain
    assert set(report.parity) == {
        "encode.mean", "encode.logvar", "decode.x_hat", "score.score", "score.reconstruction", "score.kl", "score.map",
    }  # fmt: skip
    assert max(p.max_relative for p in report.parity.values()) < 1e-5
    assert {p.reference for p in report.parity.values()} == {"float64"}
    assert (report.verdict.rows, report.verdict.flipped, report.verdict.auroc) == (60, 0, None)
    assert report.verdict.rank_correlation > 0.9999
    assert report.calibration.n == 240
    assert report.size_bytes == path.stat().st_size
    with Bundle.open(path) as bundle:
        variant = bundle.manifest.variants["fp32"]
        assert (variant.parity, variant.verdict, variant.calibration) == (
            report.parity,
            report.verdict,
            report.calibration,
        )
        assert (bundle.bundle_id, bundle.manifest.pair_id) == (report.bundle_id, report.pair_id)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_strangers_model_needs_two_callables_in_one_line(tmp_path: Path, images: np.ndarray, make: Any) -> None:
    model, path = make(Painter), tmp_path / "painter.vaeb"
    export(model, path, calibration=images, encode=lambda m, x: m.look(x), decode=lambda m, z: m.paint(z), scale_form="log_std", config=IMAGE)  # fmt: skip # noqa: E501
    with torch.no_grad():
        mean, log_std = model.eval().look(torch.from_numpy(images).permute(0, 3, 1, 2) / 255.0)
        x_hat = model.paint(mean).permute(0, 2, 3, 1) * 255.0
    with load(path, device="cpu") as vae:
        posterior = vae.encode(images)
        assert posterior.mean.shape == (150, 2, 4, 4)
        np.testing.assert_allclose(posterior.mean, mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(posterior.std, log_std.exp(), rtol=1e-4)
        np.testing.assert_allclose(vae.reconstruct(images), x_hat, rtol=1e-4, atol=1e-2)
        assert vae.sample(3, seed=0).shape == (3, 16, 16, 3)
        assert vae.score(images[:2], maps=True).map.shape == (2, 16, 16, 3)
    assert verify(path).ok


def test_uint8_output_rounds_and_saturates(tmp_path: Path, images: np.ndarray, make: Any) -> None:
    path = tmp_path / "u8.vaeb"
    lines: dict[str, Any] = {
        "encode": lambda m, x: m.look(x),
        "decode": lambda m, z: m.paint(z),
        "scale_form": "log_std",
    }
    export(make(Painter), path, calibration=images, **lines, config=dataclasses.replace(IMAGE, output_dtype="uint8"))
    with load(path, device="cpu") as vae:
        assert vae.reconstruct(images[:4]).dtype == np.uint8
        assert vae.sample(2, seed=1, temperature=30).max() <= 255
    assert verify(path).ok


def test_learned_variance_scores_by_its_own_likelihood(tmp_path: Path, rows: np.ndarray, make: Any) -> None:
    model, path = make(LearnedVariance), tmp_path / "lv.vaeb"
    export(model, path, calibration=rows, config=ExportConfig(likelihood="gaussian", kl_weight=0.0))
    with torch.no_grad():
        x = torch.from_numpy(rows)
        x_hat, logvar = model.eval().decode(model.encode(x)[0])
        expected = -torch.distributions.Normal(x_hat, (0.5 * logvar).exp()).log_prob(x).sum(1)
    with load(path, device="cpu") as vae:
        found = vae.score(rows)
        np.testing.assert_allclose(found.score, expected, rtol=1e-4)
        assert (found.kl > 0).all()  # reported, though its weight is 0


def test_a_bernoulli_decoder_of_logits_scores_exactly_where_probabilities_saturate(
    tmp_path: Path, rows: np.ndarray, make: Any
) -> None:
    model, path = make(Plain), tmp_path / "logits.vaeb"
    with torch.no_grad():
        model.outer[-1].weight *= 200  # logits of +-30: 1 - p has no digit left in float32
    x = (rows - rows.min()) / (rows.max() - rows.min())
    export(model, path, calibration=x, config=ExportConfig(likelihood="bernoulli", logits=True, kl_weight=0.0))
    with torch.no_grad():
        double = model.eval().double()
        logits = double.decode(double.encode(torch.from_numpy(x).double())[0])
        targets = torch.from_numpy(x).double()
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    assert float(logits.abs().max()) > 20
    with load(path, device="cpu") as vae:
        np.testing.assert_allclose(vae.score(x).score, expected, rtol=1e-5)
        np.testing.assert_allclose(vae.reconstruct(x), torch.sigmoid(logits), rtol=1e-4, atol=1e-6)


def test_an_addition_of_1e_minus_8_survives(tmp_path: Path, rows: np.ndarray, make: Any) -> None:
    path = tmp_path / "eps.vaeb"
    export(make(TinyEpsilon), path, calibration=rows)
    with load(path, device="cpu") as vae:
        found = vae.score(np.zeros((1, 6), np.float32))
        assert found.status.tolist() == [0]
        assert np.isfinite(found.score).all()


def test_same_model_and_rows_give_the_same_bytes(
    plain: tuple[Path, Any, ExportReport], rows: np.ndarray, tmp_path: Path
) -> None:
    path, model, _ = plain
    again = tmp_path / "again.vaeb"
    export(model, again, calibration=rows, config=TABLE)
    assert again.read_bytes() == path.read_bytes()


def test_no_weight_is_stored_twice_and_no_trace_of_the_machine_stays(plain: tuple[Path, Any, ExportReport]) -> None:
    path, model, report = plain
    raw = path.read_bytes()
    for parameter in model.parameters():
        if parameter.numel() >= 16:
            assert raw.count(parameter.detach().numpy().tobytes()) == 1
    biases = 4 * sum(p.numel() for p in model.parameters() if 4 * p.numel() < 64)
    assert report.stored_weight_bytes <= report.weight_bytes + 2 * biases + 200  # the least are in each skeleton
    for trace in (b"site-packages", b"/home", b"strangers", b"stack_trace", str(Path.cwd()).encode()):
        assert trace not in raw


def test_model_mode_device_grad_and_rng_are_left_alone(rows: np.ndarray, tmp_path: Path, make: Any) -> None:
    model = make(Plain).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    export(model, tmp_path / "m.vaeb", calibration=rows)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_labelled_rows_give_an_auroc_equal_to_torchs(tmp_path: Path, rows: np.ndarray, make: Any) -> None:
    odd = rows[:100] * 4
    evaluation = (np.concatenate([rows[200:], odd]), np.repeat([0, 1], 100))
    report = export(make(Plain), tmp_path / "e.vaeb", calibration=rows[:200], evaluation=evaluation, config=TABLE)
    assert report.verdict.auroc is not None
    assert report.verdict.auroc == pytest.approx(report.verdict.auroc_torch, abs=5e-4)
    assert report.verdict.auroc > 0.9
    assert (report.verdict.rows, report.calibration.n) == (200, 200)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"calibration": np.zeros((10, 6), np.float32)}, CalibrationError, "at least 99 .* pass at least 124"),
        ({"calibration": np.zeros((300, 6), np.int64)}, InputError, "int64"),
        ({"calibration": np.arange(1800.0).reshape(300, 6) / 1e3 + 1.7e9}, InputError, "column 0: float32 keeps 1 "),
        ({"calibration": np.full((300, 6), np.nan, np.float32)}, InputError, "row 0"),
        ({"calibration": [[0.0] * 6]}, InputError, "list"),
        ({"example": np.zeros((2, 5), np.float32)}, InputError, "example"),
        ({"evaluation": (np.zeros((4, 6), np.float32), [0, 1])}, InputError, "2 labels, 4 rows"),
        ({"config": ExportConfig(likelihood="bernoulli")}, InputError, r"\[0, 1\]"),
        ({"config": ExportConfig(layout="features", offset=(0.0,) * 5, scale=(1.0,) * 5)}, OptionError, "takes 1 or 6"),
        ({"scale_form": "sigma"}, OptionError, "logvar, log_std, std, var"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, rows: np.ndarray, make: Any, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        export(make(Plain), tmp_path / "no.vaeb", **{"calibration": rows, **change})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_forced(
    plain: tuple[Path, Any, ExportReport], rows: np.ndarray, tmp_path: Path
) -> None:
    target = tmp_path / "kept.vaeb"
    target.write_bytes(b"precious")
    with pytest.raises(OptionError, match="force"):
        export(plain[1], target, calibration=rows)
    assert target.read_bytes() == b"precious"


def test_a_parity_miss_leaves_no_file_and_carries_the_figures(tmp_path: Path, rows: np.ndarray, make: Any) -> None:
    with pytest.raises(ParityFailed, match="tolerance 1e-12") as caught:
        export(make(Plain), tmp_path / "p.vaeb", calibration=rows, config=ExportConfig(parity_rtol=1e-12))
    assert caught.value.report["score.score"].max_relative > 1e-12
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_verdict_miss_leaves_no_file_and_carries_the_figures(
    tmp_path: Path, rows: np.ndarray, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vae_edge_export.checks import decisions, parity

    real = parity.run_backend

    def shifted(backend: Any, graph: str, *rest: Any, rows: int) -> Any:  # an artefact whose tail is off
        found = real(backend, graph, *rest, rows=rows)
        if graph != "score":
            return found
        return found | {"score": np.where(np.arange(len(found["score"])) % 7 == 0, found["score"] * 9, found["score"])}

    monkeypatch.setattr(decisions, "run_backend", shifted)
    with pytest.raises(VerdictFailed, match="rank correlation") as caught:
        export(make(Plain), tmp_path / "v.vaeb", calibration=rows)
    assert caught.value.report.rank_correlation < 0.99
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_runs_at_one_batch_size_only_is_a_parity_miss(
    tmp_path: Path, rows: np.ndarray, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vae_edge_export.checks import parity

    real = parity.run_backend

    def frozen(backend: Any, graph: str, *rest: Any, rows: int) -> Any:
        if graph == "decode" and rows == 5:
            raise BackendError("got 5, expected 3")
        return real(backend, graph, *rest, rows=rows)

    monkeypatch.setattr(parity, "run_backend", frozen)
    with pytest.raises(ParityFailed, match=r"decode does not run at batch sizes .*got 5, expected 3"):
        export(make(Plain), tmp_path / "v.vaeb", calibration=rows)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_any_write_leaves_the_old_file(
    plain: tuple[Path, Any, ExportReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from vae_edge_runtime.storage.files import write_atomic

    target = tmp_path / "old.vaeb"
    target.write_bytes(b"old")
    for call in ("fsync", "fdopen"):

        def full(*_: Any, **__: Any) -> Any:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(StorageError, match="No space left"):
                write_atomic(target, [plain[0].read_bytes()])
        assert target.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["old.vaeb"]


def test_progress_names_every_stage_in_order(tmp_path: Path, rows: np.ndarray, make: Any) -> None:
    stages: list[str] = []
    report = export(make(Plain), tmp_path / "p.vaeb", calibration=rows, progress=stages.append)
    assert stages == list(report.seconds)
    assert stages[0] == "check data"
    assert stages[-1] == "pack"


def test_two_columns_of_one_name_are_refused_before_any_work() -> None:
    with pytest.raises(OptionError, match="names holds 'a' twice"):
        ExportConfig(layout="features", names=("a", "b", "a"))
