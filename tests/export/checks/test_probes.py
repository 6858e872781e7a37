"""Made-up rows stay in the support of real ones, and say nothing where PyTorch itself has no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import handmade
import numpy as np
import pytest
import torch
from adapting import adapt
from torch import Tensor, nn

from vae_edge_export import export
from vae_edge_export.checks.probes import probes
from vae_edge_export.support import Support
from vae_edge_runtime import AdaptError, load
from vae_edge_runtime.format.specs import InputSpec

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(3.0, size=(150, 6)).astype(np.float32)
POWER = RNG.gamma(2.0, 1.0, size=(150, 6)).astype(np.float32)
MIXED = np.concatenate([RNG.normal(size=(150, 4)), RNG.integers(0, 5, (150, 2))], 1).astype(np.float32)


def spec(x: np.ndarray, layout: str = "any") -> InputSpec:
    return InputSpec(x.shape[1:], str(x.dtype), layout, float(x.min()), float(x.max()), ())  # type: ignore[arg-type]


def test_probes_of_a_table_keep_codes_whole_and_in_range_column_by_column() -> None:
    made = probes(spec(MIXED), Support.of(MIXED, "any"))
    assert set(made) == {"zero", "low", "high", "middle", "noise", "large"}
    for row in made.values():
        codes = row[4:]
        assert np.array_equal(codes, codes.round())
        assert codes.min() >= 0
        assert codes.max() <= 4
    assert np.abs(made["large"][:4]).max() > 10 * np.abs(MIXED).max()


@pytest.mark.parametrize("x", [COUNTS, POWER, -POWER], ids=["counts", "power", "negative"])
def test_probes_have_no_sign_that_was_never_seen(x: np.ndarray) -> None:
    for row in probes(spec(x), Support.of(x, "any")).values():
        assert (row * np.sign(x.sum()) >= 0).all()


def test_a_camera_sends_black_and_white_whatever_was_seen() -> None:
    x = RNG.integers(50, 200, (20, 8, 8, 3), dtype=np.uint8)
    made = probes(spec(x, "nhwc"), Support.of(x, "nhwc"))
    assert (made["zero"] == 0).all()
    assert (made["high"] == 255).all()


class Front(handmade.Logvar):
    def __init__(self, front: Callable[[Tensor], Tensor], width: int = 6) -> None:
        super().__init__()
        self.front = front
        self.inner = nn.Sequential(nn.Linear(width, 16), nn.SiLU(), nn.LayerNorm(16))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().encode(self.front(x))


def one_hot(x: Tensor) -> Tensor:
    hot = [nn.functional.one_hot(x[:, i].long(), 5).to(x.dtype) for i in (4, 5)]
    return torch.cat([x[:, :4], *hot], 1)


class Embeds(Front):
    def __init__(self) -> None:
        super().__init__(self.embedded, 10)
        self.table = nn.Embedding(5, 3)

    def embedded(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :4], self.table(x[:, 4].long()), self.table(x[:, 5].long())], 1)


def unbounded(x: Tensor) -> Tensor:
    if bool((x.detach().abs() > 50).any()):
        raise ValueError("rows like these were never seen")
    return x


DOMAINS: dict[str, tuple[Callable[[], nn.Module], np.ndarray]] = {
    "log of power": (lambda: Front(torch.log), POWER),
    "embedding": (Embeds, MIXED),
}
MORE: dict[str, tuple[Callable[[], nn.Module], np.ndarray]] = {
    "one-hot": (lambda: Front(one_hot, 14), MIXED),
    "log1p of counts": (lambda: Front(torch.log1p), COUNTS),
    "row by its norm": (lambda: Front(lambda x: x / x.norm(dim=1, keepdim=True)), POWER),
    "logit": (lambda: Front(lambda x: torch.log(x / (1 - x))), RNG.uniform(0.1, 0.9, (150, 6)).astype(np.float32)),
    "acos": (lambda: Front(torch.acos), RNG.uniform(-0.9, 0.9, (150, 6)).astype(np.float32)),
    "raises by itself": (lambda: Front(unbounded), POWER),
    "power of a power": (lambda: Front(lambda x: x**-1.5), POWER),
}


def _equal(name: str, cases: dict[str, tuple[Callable[[], nn.Module], np.ndarray]], folder: Path) -> tuple[str, ...]:
    make, rows = cases[name]
    torch.manual_seed(0)
    model = make()
    report = export(model, folder / "m.vaeb", calibration=rows)
    with load(folder / "m.vaeb", device="cpu", threads=1) as vae, torch.no_grad():
        wanted = model.double().encode(torch.from_numpy(rows[:9]).double())[0]
        np.testing.assert_allclose(vae.encode(rows[:9]).mean, wanted.numpy(), rtol=1e-4, atol=1e-5)
    return report.warnings


def test_a_row_without_an_answer_in_pytorch_is_dropped_with_a_note(tmp_path: Path) -> None:
    warnings = _equal("log of power", DOMAINS, tmp_path)
    assert any("PyTorch itself is not finite on made-up rows (zero)" in warning for warning in warnings)


def test_codes_inside_a_table_are_never_made_up(tmp_path: Path) -> None:
    assert not any("PyTorch itself" in warning for warning in _equal("embedding", DOMAINS, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_a_model_is_held_to_its_own_domain(name: str, tmp_path: Path) -> None:
    _equal(name, MORE, tmp_path)


class Steep(handmade.Logvar):
    """A trained encoder's logvar grows with its input: 30 times as large a row has one of 360 and an infinite std."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :2], 8.0 * x[:, 2:4]


def test_an_infinite_std_far_outside_is_no_clamp() -> None:
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    assert adapt(Steep(), x).evidence[-1] == "decode(encode(x)) is what its forward gives"


def test_a_clamp_beside_an_infinite_std_is_still_found() -> None:
    class Clamped(Steep):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.clamp(max=2.0))

    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    with pytest.raises(AdaptError, match="forward clamps something"):
        adapt(Clamped(), x)
