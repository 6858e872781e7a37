"""Height and width that are free in encode and decode: found, compared at several sizes, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from absurd import ABSURD
from strangers import Painter
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vae_edge_export import ExportConfig, ExportReport, export
from vae_edge_runtime import VAE, load, verify
from vae_edge_runtime.errors import (
    AdaptError,
    BundleInvalid,
    InputError,
    OptionError,
    ProviderUnavailable,
    VaeEdgeError,
)
from vae_edge_runtime.format.manifest import Manifest

Array = np.ndarray[Any, Any]
HALVES: dict[str, Any] = {
    "encode": lambda m, x: m.look(x), "decode": lambda m, z: m.paint(z), "scale_form": "log_std",
}  # fmt: skip


def frames(n: int = 30, height: int = 16, width: int = 24) -> Array:
    return np.random.default_rng(0).integers(0, 256, size=(n, height, width, 3), dtype=np.uint8)


def config(**more: Any) -> ExportConfig:
    return ExportConfig(
        layout="nhwc", scale=(255.0,), false_positive_rate=0.05, allow_poor_fit=True, dynamic_size=True, **more
    )


@pytest.fixture(scope="module")
def painter() -> Painter:
    torch.manual_seed(0)
    return Painter().eval()


@pytest.fixture(scope="module")
def exported(painter: Painter, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    path = tmp_path_factory.mktemp("free") / "painter.vaeb"
    return export(painter, path, calibration=frames(60), config=config(precisions=("fp32", "fp16")), **HALVES)


@pytest.fixture(scope="module")
def vae(exported: ExportReport) -> VAE:
    return load(exported.path, device="cpu", threads=1)


def test_the_multiple_and_the_sizes_that_were_compared_are_in_the_manifest(exported: ExportReport, vae: VAE) -> None:
    free = vae.manifest.free_size
    assert free is not None
    assert (free.multiple, free.smallest) == ((4, 4), (4, 4))
    assert [(each.height, each.width) for each in free.checks] == [(4, 4), (8, 20), (20, 32)]
    for each in free.checks:
        assert set(each.parity) == {"fp32", "fp16"}
        assert max(figure.max_relative for figure in each.parity["fp32"].values()) < 1e-5
        assert all(figure.reference == "float64" for figure in each.parity["fp32"].values())
    assert any("multiples of 4 from 4x4" in line for line in exported.evidence)
    again = Manifest.from_json(vae.manifest.to_json())
    assert again == vae.manifest


@pytest.mark.parametrize(("height", "width"), [(4, 4), (16, 24), (40, 12), (12, 68)])
def test_every_size_that_fits_gives_what_pytorch_gives(painter: Painter, vae: VAE, height: int, width: int) -> None:
    x = frames(3, height, width)
    fed = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        mean, log_std = painter.look(fed)
        rebuilt = painter.paint(mean).permute(0, 2, 3, 1) * 255
    posterior = vae.encode(x)
    assert posterior.mean.shape == (3, 2, height // 4, width // 4)
    np.testing.assert_allclose(posterior.mean, mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(posterior.logvar, 2 * log_std.numpy(), atol=1e-5)
    np.testing.assert_allclose(vae.reconstruct(x), rebuilt.numpy(), atol=1e-3)
    assert vae.interpolate(x[0], x[1], steps=3).shape == (3, height, width, 3)
    assert vae.encode(x[:0]).mean.shape == (0, 2, height // 4, width // 4)


def test_many_rows_of_a_large_size_are_cut_into_runs(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    x = frames(7, 32, 32)
    whole = vae.encode(x).mean
    needed = vae._bundle.row_bytes_at("fp32", "encode", (32, 32))
    monkeypatch.setattr("vae_edge_runtime.graph_session.BYTES_PER_RUN", 3 * needed)
    runs: list[int] = []
    run = vae._backend.run
    monkeypatch.setattr(vae._backend, "run", lambda graph, feeds, names: (runs.append(len(feeds["x"])),
                                                                         run(graph, feeds, names))[1])  # fmt: skip
    np.testing.assert_allclose(vae.encode(x).mean, whole, atol=1e-6)
    assert runs == [3, 3, 1]


@pytest.mark.parametrize("value", ABSURD)
def test_memory_at_an_absurd_size_or_of_an_absurd_graph_is_an_error_of_ours(vae: VAE, value: str) -> None:
    in_order: dict[str, Any] = {"variant": "fp32", "graph": "encode", "size": (32, 32)}
    for argument in in_order:
        with pytest.raises(VaeEdgeError):
            vae._bundle.row_bytes_at(**(in_order | {argument: ABSURD[value]}))
    with pytest.raises(VaeEdgeError):
        vae._bundle.row_bytes_at("fp32", "encode", (ABSURD[value], 32))


def test_samples_take_a_size_and_keep_their_seed(vae: VAE) -> None:
    rows = vae.sample(3, seed=5, size=(20, 36))
    assert rows.shape == (3, 20, 36, 3)
    np.testing.assert_array_equal(rows[:2], vae.sample(2, seed=5, size=(20, 36)))
    np.testing.assert_array_equal(vae.sample(2, seed=5, size=(16, 24)), vae.sample(2, seed=5))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda vae: vae.encode(frames(1, 18, 24)), InputError, "18x24: of this model .* are multiples of 4"),
        (lambda vae: vae.encode(frames(1, 16, 24)[..., :2]), InputError, r"takes \(n, 16, 24, 3\)"),
        (lambda vae: vae.score(frames(1, 20, 24)), InputError, "calibrated on: resize the rows"),
        (lambda vae: vae.decode(np.zeros((1, 2, 6000, 6000), np.float32)), InputError, "24000x24000 are too large"),
        (lambda vae: vae.sample(1, seed=0, size=(18, 24)), OptionError, "multiples of 4"),
        (lambda vae: vae.sample(1, seed=0, size=(16,)), OptionError, r"pass \(height, width\)"),
        (lambda vae: vae.interpolate(frames(1)[0], frames(1, 20, 24)[0]), InputError, "of one size"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(vae: VAE, call: Callable[[VAE], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(vae)


def test_a_row_that_needs_more_memory_than_there_is_is_refused(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_edge_runtime.free_size.rows.available_memory", lambda: 1 << 20)
    with pytest.raises(InputError, match=r"one row of 256x256 needs some 0\.0\d* GB .* in tiles"):
        vae.encode(frames(1, 256, 256))


def test_golden_vectors_of_every_size_are_run_and_a_wrong_one_fails(exported: ExportReport) -> None:
    outcome = verify(exported.path)
    assert outcome.ok
    sizes = [check.size for check in outcome.checks if check.variant == "fp32" and check.graph == "decode"]
    assert sizes == [None, "4x4", "8x20", "20x32"]


def test_tensorrt_is_refused_by_name(exported: ExportReport, monkeypatch: pytest.MonkeyPatch) -> None:
    from vae_edge_runtime.device.devices import find_device

    assert [name for name in ("cpu", "openvino", "cuda", "tensorrt") if find_device(name).free_size] == [
        "cpu", "openvino", "cuda",
    ]  # fmt: skip
    monkeypatch.setattr("vae_edge_runtime.graph_session.find_device", lambda name: find_device("tensorrt"))
    with pytest.raises(ProviderUnavailable, match="export the model without --dynamic-size"):
        load(exported.path, device="cpu")


class Flat(nn.Module):
    """The tutorial: a flat layer between the convolutions and the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 4, 2, 1), nn.ReLU(), nn.Flatten())
        self.fc_mu, self.fc_var = nn.Linear(4 * 8 * 12, 5), nn.Linear(4 * 8 * 12, 5)
        self.outer = nn.Sequential(nn.Linear(5, 4 * 8 * 12), nn.Unflatten(1, (4, 8, 12)))
        self.last = nn.ConvTranspose2d(4, 3, 4, 2, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.fc_mu(h), self.fc_var(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.last(self.outer(z))


class FixedDecoder(Painter):
    """Upsamples to a size that is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.enlarge = nn.Upsample(size=(16, 24))

    def paint(self, z: Tensor) -> Tensor:
        return self.enlarge(super().paint(z))


class Pooled(Painter):
    """Latents of one size, whatever the picture's."""

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = adaptive_avg_pool2d(self.body(x), (4, 6))
        return self.where(seen), self.how_sure(seen)


@pytest.mark.parametrize(
    ("model", "halves", "words"),
    [
        (Flat, {"scale_form": "logvar"}, r"the layer 'fc_mu' \(Linear, takes 384\) fails"),
        (FixedDecoder, HALVES, r"decode gives rows of \(3, 16, 24\).*'enlarge' \(Upsample\)"),
        (Pooled, HALVES, r"its latents are \(2, 4, 6\), which do not follow it"),
    ],
)
def test_a_model_of_one_size_is_refused_with_the_layer(
    model: type[nn.Module], halves: dict[str, Any], words: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    with pytest.raises(AdaptError, match=words):
        export(model().eval(), tmp_path / "no.vaeb", calibration=frames(), config=config(), **halves)
    assert not list(tmp_path.iterdir())


class Halving(Painter):
    """Looks at windows of 2 x 2 latents, so that it takes multiples of 8 though a latent is of 4 pixels."""

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.body(x)
        n, channels, height, width = seen.shape
        seen = seen.reshape(n, channels, height // 2, 2, width // 2, 2).flip(3).reshape(n, channels, height, width)
        return self.where(seen), self.how_sure(seen)


def test_a_multiple_above_the_ratio_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    report = export(Halving().eval(), tmp_path / "halving.vaeb", calibration=frames(), config=config(), **HALVES)
    with load(report.path, device="cpu", threads=1) as vae:
        assert vae.manifest.free_size is not None
        assert vae.manifest.free_size.multiple == (8, 8)
        assert vae.encode(frames(1, 24, 40)).mean.shape == (1, 2, 6, 10)
        with pytest.raises(InputError, match="multiples of 8"):
            vae.encode(frames(1, 20, 40))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size_multiple": 6}, "a latent of this model is of 4x4 pixels"),
        ({"precisions": ("fp32", "int8")}, "'int8' writes sizes into graphs"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=words):
        export(Painter(), tmp_path / "no.vaeb", calibration=frames(), config=config(**options), **HALVES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda free: free.update(multiple=[3, 4]), "does not follow|does not fit"),
        (lambda free: free.update(smallest=[12, 12]), "a size that was compared does not fit"),
        (lambda free: free.update(checks=[]), "sizes are missing"),
        (lambda free: free["checks"][0].update(rows=2), "holds"),
        (lambda free: free["checks"][1]["expected"].pop("fp16"), "is listed and not used|variants differ"),
        (lambda free: free["checks"][1]["expected"]["fp32"].update({"score.map": "golden/input.bin"}), "differ"),
    ],
)  # fmt: skip
def test_a_manifest_whose_sizes_disagree_is_refused(vae: VAE, change: Callable[[Any], None], words: str) -> None:
    plain = json.loads(vae.manifest.to_json())
    change(plain["free_size"])
    with pytest.raises(BundleInvalid, match=words):
        Manifest.from_json(json.dumps(plain).encode())
