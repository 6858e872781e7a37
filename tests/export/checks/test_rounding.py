"""Parity follows what float32 costs PyTorch itself, and a graph that is really wrong is refused all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_export.checks import decisions, parity
from vae_edge_export.checks.rounding import allowed_relative, last_bits_moved, own_loss
from vae_edge_runtime import ParityFailed, VerdictFailed, verify
from vae_edge_runtime.verification import max_errors

ROWS = np.random.default_rng(0).normal(size=(160, 6)).astype(np.float32)
CONFIG = ExportConfig(false_positive_rate=0.05, allow_poor_fit=True)


class Vae(nn.Module):
    """The posterior is within ``spread`` of N(0, I): its KL is about spread squared, of terms of size 1."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.mu, self.var, self.out = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(8, 2), nn.Linear(2, 6)
        self.spread = spread

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        h = torch.tanh(self.trunk(x))
        return {"mu": self.spread * self.mu(h), "var": 1.0 + self.spread * torch.tanh(self.var(h))}

    def decode(self, z: Tensor) -> Tensor:
        return self.out(z)


COLLAPSED, SPREAD = 2e-2, 0.5


def _exact_kl(model: Vae) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The KL of every row by PyTorch, in float32 and in float64."""

    def kl(dtype: torch.dtype) -> np.ndarray[Any, Any]:
        encoded = model.to(dtype).encode(torch.from_numpy(ROWS).to(dtype))
        logvar = torch.log(encoded["var"])
        found = 0.5 * (encoded["mu"] ** 2 + torch.exp(logvar) - 1 - logvar).sum(1)
        model.float()
        return found.detach().numpy()

    return kl(torch.float32), kl(torch.float64)


def _planted(monkeypatch: pytest.MonkeyPatch, output: str, change: Any) -> None:
    """An artefact whose ``output`` of the score graph is another number."""
    real = parity.run_backend

    def wrong(backend: Any, graph: str, *rest: Any, rows: int) -> Any:
        outputs = real(backend, graph, *rest, rows=rows)
        return outputs | ({output: change(outputs[output])} if graph == "score" else {})

    monkeypatch.setattr(parity, "run_backend", wrong)


def test_a_kl_that_float32_cannot_hold_is_no_fault_of_the_graph(tmp_path: Path) -> None:
    model = Vae(COLLAPSED)
    single, exact = _exact_kl(model)
    assert exact.max() < 1e-3
    assert max_errors(single, exact)[1] > 1e-4  # PyTorch's own: the old gate asked engines for more than it gives
    report = export(model, tmp_path / "m.vaeb", calibration=ROWS, config=CONFIG)
    figure = report.variants["fp32"].parity["score.kl"]
    assert figure.max_relative <= figure.tolerance_relative < 0.1
    assert figure.max_absolute < 1e-6
    assert report.variants["fp32"].parity["score.score"].tolerance_relative == 1e-4
    assert any("PyTorch's own float32" in warning and "score.kl" in warning for warning in report.warnings)
    assert verify(tmp_path / "m.vaeb").ok


def test_a_head_that_float32_cannot_hold_decides_as_far_as_its_digits_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a KL of 1e-9 nats nothing is left, and engines order rows as they like. A wrong head fails."""
    config = ExportConfig(false_positive_rate=0.05, allow_poor_fit=True, heads=("reconstruction", "kl"))
    report = export(Vae(1e-5), tmp_path / "m.vaeb", calibration=ROWS, config=config)
    assert report.variants["fp32"].channels["kl"].threshold < 1e-6
    real = decisions.score_outputs

    def wrong(*args: Any) -> Any:
        outputs = real(*args)
        return outputs | {"score": np.random.default_rng(0).permutation(outputs["score"])}

    monkeypatch.setattr(decisions, "score_outputs", wrong)
    with pytest.raises(VerdictFailed, match="decides differently"):
        export(Vae(1e-5), tmp_path / "n.vaeb", calibration=ROWS, config=config)


@pytest.mark.parametrize(
    ("spread", "output", "change"),
    [
        (COLLAPSED, "kl", lambda y: y + 2e-6),
        (COLLAPSED, "kl", lambda y: y * 1.2),
        (COLLAPSED, "score", lambda y: y * (1 + 2e-4)),
        (COLLAPSED, "reconstruction", lambda y: y * (1 + 2e-4)),
        (COLLAPSED, "map", lambda y: y * (1 + 2e-4)),
        (SPREAD, "kl", lambda y: y * (1 + 2e-4)),
        (SPREAD, "score", lambda y: np.where(np.arange(len(y)) == len(y) - 1, y * (1 + 2e-4), y)),
    ],
)
def test_a_small_real_error_is_refused_beside_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: float, output: str, change: Any
) -> None:
    _planted(monkeypatch, output, change)
    with pytest.raises(ParityFailed, match=rf"score\.{output} differs by .*PyTorch's own float32 differs by"):
        export(Vae(spread), tmp_path / "m.vaeb", calibration=ROWS, config=CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_only_an_ill_conditioned_output_is_given_room() -> None:
    assert allowed_relative(1e-4, 9e-6) == 1e-4
    assert allowed_relative(1e-12, 9e-6) == 1e-12  # who asks for more digits is not given fewer
    assert allowed_relative(1e-4, 2e-5) == pytest.approx(2e-4)
    assert allowed_relative(1e-4, float("inf")) == 1e-4
    assert allowed_relative(1e-4, float("nan")) == 1e-4


def test_another_index_is_never_rounding() -> None:
    assert own_loss(np.array([1, 2]), np.array([1, 3])) == 0.0
    assert own_loss(np.array([0, 9], np.uint8), np.array([0, 11], np.uint8)) == 0.0


def test_last_bits_show_how_far_rounding_carries_where_a_norm_stands_on_a_flat_row() -> None:
    rows = np.float32(0.7) + np.float32(1e-6) * np.arange(64, dtype=np.float32).reshape(1, 64)
    feeds = {"x": rows, "condition": np.ones((1, 2), np.float32)}
    moved = last_bits_moved(feeds)
    assert moved["condition"] is feeds["condition"]
    assert 0 < np.abs(moved["x"] / rows.astype(np.float64) - 1).max() <= 1.0001 * 2.0**-23
    codes = np.arange(-300, 300, dtype=np.float32)
    np.testing.assert_array_equal(np.trunc(last_bits_moved({"x": codes})["x"]), codes)

    def norm(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray((x - x.mean()) / np.sqrt(x.var() + 1e-12))

    exact, single = norm(rows.astype(np.float64)), norm(rows)
    engine = norm(rows[:, ::-1].copy())[:, ::-1]  # the same sums in another order
    carried = max_errors(norm(moved["x"]), exact)[1]
    assert max(max_errors(single, exact)[1], max_errors(engine, exact)[1]) < allowed_relative(1e-4, carried) < 0.1
    assert max_errors(1.1 * exact, exact)[1] > allowed_relative(1e-4, carried)
