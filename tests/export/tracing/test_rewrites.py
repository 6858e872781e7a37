"""What PyTorch has no export for, written otherwise: the same values in an engine as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_edge_export.passes import clean_up
from vae_edge_export.tracing.trace import Traced, refused_operators, trace
from vae_edge_runtime.errors import ExportFailed
from vae_edge_runtime.format.specs import Signature, TensorSpec

ROWS = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))


class Holder(nn.Module):
    """Functions of x, their results side by side."""

    def __init__(self, *functions: Callable[..., Tensor], **kept: Tensor) -> None:
        super().__init__()
        self.functions = functions
        for name, tensor in kept.items():
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> Tensor:
        results = [f(self, x) if self._buffers else f(x) for f in self.functions]
        return torch.cat([result.reshape(x.shape[0], -1).to(x.dtype) for result in results], 1)


def exported(module: nn.Module, rows: Tensor = ROWS) -> tuple[Any, Traced]:
    with torch.no_grad():
        wanted = module(rows)
    signature = Signature(
        (TensorSpec("x", "float32", tuple(rows.shape[1:])),), (TensorSpec("y", "float32", tuple(wanted.shape[1:])),)
    )
    traced = trace(module, [rows[:3]], graph="g", signature=signature)
    model = clean_up(traced.model, graph="g")
    assert not refused_operators(model, traced)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": rows.numpy()})[0], traced


def same(module: nn.Module, rows: Tensor = ROWS, *, atol: float = 1e-5) -> Traced:
    found, traced = exported(module, rows)
    with torch.no_grad():
        np.testing.assert_allclose(found, module(rows).numpy(), rtol=1e-5, atol=atol)
    return traced


def test_order_statistics_and_running_ones_are_pytorchs() -> None:
    same(
        Holder(
            lambda x: x.median(1).values,
            lambda x: torch.median(x, dim=-1, keepdim=True)[0],
            lambda x: x[:, :5].kthvalue(4, 1).values,
            lambda x: x.cumprod(1),
            lambda x: torch.cummax(x, 1).values,
            lambda x: torch.cummin(x, dim=1)[0],
            lambda x: torch.logcumsumexp(x, 1),
            lambda x: F.adaptive_max_pool1d(x.unsqueeze(1), 4),
            lambda x: F.adaptive_max_pool2d(x.reshape(-1, 1, 2, 3), 2),
        )
    )


@pytest.mark.slow
def test_special_functions_keep_their_digits() -> None:
    unit = torch.linspace(-0.999, 0.999, 42).reshape(7, 6)
    same(
        Holder(
            torch.erfinv,
            lambda x: torch.special.ndtri(0.5 + 0.499 * x),
            lambda x: torch.lgamma(6.0 * (x + 1.01)),
            lambda x: torch.lgamma(x - 0.5),
            lambda x: torch.digamma(6.0 * (x + 1.2)),
            lambda x: torch.hypot(1e3 * x, x),
            lambda x: torch.hypot(x * 0.0, x * 0.0),
        ),
        unit,
        atol=3e-5,
    )


def test_searches_in_fixed_boundaries_count_the_ones_before() -> None:
    edges = torch.tensor([-1.0, 0.0, 1.0])
    on_edge = torch.cat([ROWS, torch.tensor([[-1.0, 0.0, 1.0, 2.0, -2.0, 0.5]])])
    same(
        Holder(
            lambda m, x: torch.bucketize(x, m.edges),
            lambda m, x: torch.bucketize(x, m.edges, right=True),
            lambda m, x: torch.searchsorted(m.edges, x, side="right"),
            edges=edges,
        ),
        on_edge,
    )


def negative_to_zero(x: Tensor) -> Tensor:
    y = x.clone()
    y[y < 0] = 0.0
    return y


def copied_by_mask(x: Tensor) -> Tensor:
    y, mask = torch.zeros_like(x), x > 0
    y[mask] = x[mask]
    return y


def logarithm_of_some(x: Tensor) -> Tensor:
    y, mask = -torch.ones_like(x), x > 0.1
    y[mask] = 2.0 * torch.log(x[mask]) + 1
    return y


def whole_rows(x: Tensor) -> Tensor:
    y = x.clone()
    y[x[:, 0] > 0] = torch.arange(6.0)
    return y


def test_assignments_by_a_mask_are_choices() -> None:
    same(Holder(negative_to_zero, copied_by_mask, logarithm_of_some, whole_rows))


def one_column(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, m.keep] = -1.0
    return y


def test_masks_that_are_buffers_pick_columns() -> None:
    keep = torch.tensor([True, False, True, True, False, True])
    same(Holder(one_column, lambda m, x: x[:, m.keep], keep=keep))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ready", torch.tensor(True))
        self.register_buffer("steps", torch.tensor(3))
        self.weight = nn.Parameter(torch.eye(6) + 0.1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            x = x * 0
        for _ in range(int(self.steps)):
            x = x + self.steps.item()
        assert torch.isfinite(x).all(), "not finite"
        if x.abs().max() > 1e6:
            raise ValueError("too large")
        if torch.equal(self.ready, torch.tensor(True)):
            x = x @ torch.linalg.inv(self.weight)
        return x @ torch.matrix_exp(self.weight)


def test_branches_on_buffers_are_decided_and_matrix_functions_of_weights_computed() -> None:
    traced = same(Branches(), atol=1e-3)
    assert len(traced.left_out) == 2
    assert all("test_rewrites.py:" in line for line in traced.left_out)


def test_a_constant_that_the_batch_size_goes_into_is_not_frozen() -> None:
    same(Holder(lambda x: torch.zeros(x.shape[0], 3).cumprod(1), lambda x: x))


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        matrix = torch.eye(6) + x[:, :, None] * x[:, None]
        return torch.linalg.inv(matrix)[:, 0]


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean() > 0 else x


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Inverse(), r"linalg_inv_ex at .*test_rewrites\.py:\d+.* keep the inverse of a constant matrix in a buffer"),
        (Branch(), r"test_rewrites\.py:\d+.*use torch\.where"),
    ],
)
def test_what_stays_without_an_export_has_its_line_and_a_remedy(module: nn.Module, said: str) -> None:
    with pytest.raises(ExportFailed, match=said):
        exported(module)


def test_nothing_of_a_failed_export_lands_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportFailed):
        exported(Inverse())
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("size", [16, pytest.param(15, marks=pytest.mark.slow)])
def test_spectra_of_a_fixed_length_are_products(size: int) -> None:
    window = torch.hann_window(8)
    rows = torch.randn(5, size, generator=torch.Generator().manual_seed(1))
    same(
        Holder(
            lambda x: torch.fft.rfft(x).abs(),
            lambda x: torch.fft.rfft(x, norm="ortho").real,
            lambda x: torch.fft.rfft(x, n=12).imag,
            lambda x: torch.fft.irfft(torch.fft.rfft(x), n=size),
            lambda x: torch.fft.fft(x).abs(),
            lambda x: torch.fft.rfft2(x[:, :12].reshape(-1, 3, 4)).abs(),
        ),
        rows,
        atol=3e-5,
    )
    same(
        Holder(
            lambda x: torch.stft(x, 8, 2, window=window, return_complex=True).abs(),
            lambda x: torch.stft(x, 8, 4, return_complex=True, center=False, window=window).imag,
        ),
        rows,
        atol=3e-5,
    )


@pytest.mark.parametrize("unbiased", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_constants_of_a_variance_are_folded(unbiased: bool) -> None:
    same(
        Holder(
            lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, unbiased=unbiased) + 1e-5),
            lambda x: torch.var_mean(x, 1, correction=int(unbiased))[0] + 1,
            lambda x: x / (x.abs() + 1e-8),
        )
    )
