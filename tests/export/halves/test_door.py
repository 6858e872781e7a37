"""Foreign code behind one door: whatever a model raises, returns or prints, there is one typed error or a bundle."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapting import adapt
from torch import Tensor, nn
from torch.distributions import Normal

from vae_edge_export import export, inspect_model
from vae_edge_export.checks.reference import run_torch
from vae_edge_runtime.errors import AdaptError, VaeEdgeError
from vae_edge_runtime.format.specs import Signature, TensorSpec

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
ROWS = np.random.default_rng(0).normal(size=(150, 6)).astype(np.float32)


class Vae(nn.Module):
    """A sound model, in which one of three functions misbehaves at its n-th call."""

    def __init__(self, where: str = "", call: int = 0, fault: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(6, 4), nn.Linear(2, 6)
        self.where, self.call, self.fault = where, call, fault
        self.calls = itertools.count()

    def _maybe(self, where: str, value: Any) -> Any:
        if where == self.where and self.fault is not None and next(self.calls) >= self.call:
            return self.fault(value)
        return value

    def encode(self, x: Tensor) -> Any:
        return self._maybe("encode", self.inner(x).chunk(2, 1))

    def decode(self, z: Tensor) -> Any:
        return self._maybe("decode", self.out(z))

    def forward(self, x: Tensor) -> Any:
        mean, logvar = self.inner(x).chunk(2, 1)
        return self._maybe("forward", (self.out(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)), mean, logvar))


class Sly(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Trap:
    """An object whose every attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"do not touch {name}")


def raising(error: BaseException | type[BaseException]) -> Callable[[Any], Any]:
    def fault(value: Any) -> Any:
        raise error

    return fault


def first(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else value[0]


FAULTS: dict[str, Callable[[Any], Any]] = {
    "ValueError": raising(ValueError("bad")),
    "IndexError": raising(IndexError("index out of range in self")),
    "MemoryError": raising(MemoryError()),
    "allocation": raising(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")),
    "SystemExit": raising(SystemExit(0)),
    "StopIteration": raising(StopIteration()),
    "RecursionError": raising(RecursionError("maximum recursion depth exceeded")),
    "without words": raising(Sly()),
    "KeyError": raising(KeyError("x")),
    "None": lambda value: None,
    "text": lambda value: "text",
    "numpy": lambda value: first(value).detach().numpy(),
    "a trap": lambda value: Trap(),
    "empty tuple": lambda value: (),
    "a scalar": lambda value: first(value).sum(),
    "one row more": lambda value: torch.cat([first(value), first(value)[:1]]),
    "one row": lambda value: first(value)[:1],
    "sparse": lambda value: first(value).to_sparse(),
    "complex": lambda value: first(value).to(torch.complex64),
    "whole numbers": lambda value: first(value).long(),
    "half": lambda value: first(value).half(),
    "NaN": lambda value: first(value) * torch.nan,
    "infinity": lambda value: (first(value) / 0.0, first(value)),
    "a dict of nothing": lambda value: {},
    "nested": lambda value: [[value], {"a": value}],
    "a distribution": lambda value: torch.distributions.Laplace(first(value), 1.0),
    "random rows": lambda value: torch.randn_like(first(value)),
    "a generator": lambda value: (item for item in ()),
    "meta": lambda value: torch.empty_like(first(value), device="meta"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_model_does_there_is_a_typed_error_or_none(name: str) -> None:
    for where, call in itertools.product(("encode", "decode", "forward"), (0, 1, 3)):
        model = Vae(where, call, FAULTS[name])
        with suppress(VaeEdgeError):  # anything else is a failure
            adapt(model, X)
        for parameter in model.parameters():
            assert parameter.requires_grad  # the user's own module is as it was


@pytest.mark.parametrize("name", ["ValueError", "IndexError", "allocation", "SystemExit", "StopIteration", "KeyError"])
def test_an_exception_is_named_with_half_rows_line_and_remedy(name: str) -> None:
    for where in ("encode", "decode"):
        with pytest.raises(AdaptError) as caught:
            adapt(Vae(where, 0, FAULTS[name]), X)
        text = str(caught.value)
        assert f"{where} failed on rows of shape (4, " in text
        assert "test_door.py:" in text
        assert type(caught.value.__cause__).__name__ in text
        assert len(text.split(": ")) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ValueError", "SystemExit", "None", "one row more", "NaN", "complex", "random rows"])
@pytest.mark.parametrize("call", [8, 13, 30])
def test_a_model_that_turns_late_is_a_typed_error_or_a_bundle(name: str, call: int, tmp_path: Path) -> None:
    for where in ("encode", "decode"):
        with suppress(VaeEdgeError):
            export(Vae(where, call, FAULTS[name]), tmp_path / "m.vaeb", calibration=ROWS, force=True)


def test_another_shape_than_before_is_named() -> None:
    class Longer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, x])

    signature = Signature((TensorSpec("x", "float32", (6,)),), (TensorSpec("y", "float32", (6,)),))
    with pytest.raises(AdaptError, match=r"gives y of shape \(8, 6\) for 4 rows this time"):
        run_torch(Longer(), signature, {"x": X.numpy()}, dtype=torch.float32)


def test_what_a_model_prints_stays_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    class Talks(Vae):
        def encode(self, x: Tensor) -> Any:
            sys.stdout.write("shape of x\n")
            return super().encode(x)

    adapt(Talks(), X)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "shape of x" in captured.err


def test_ctrl_c_is_not_taken_for_an_error_of_the_model() -> None:
    with pytest.raises(KeyboardInterrupt):
        adapt(Vae("encode", 0, raising(KeyboardInterrupt())), X)


class Keeps(Vae):
    hidden: Tensor | None = None

    def encode(self, x: Tensor) -> Any:
        mean, logvar = super().encode(x)
        self.hidden = mean if self.hidden is None or len(self.hidden) != len(mean) else self.hidden * 0.5 + mean
        return self.hidden, logvar


class RandomStart(Vae):
    def encode(self, x: Tensor) -> Any:
        return self.inner(torch.tanh(x + torch.randn_like(x))).chunk(2, 1)


class BatchStatistics(Vae):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)

    def encode(self, x: Tensor) -> Any:
        return super().encode(self.norm(x))


class Autocast(Vae):
    def encode(self, x: Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mean, logvar = self.inner(x).chunk(2, 1)
        return mean.float(), logvar.float()


class HalfDecoder(Vae):
    def decode(self, z: Tensor) -> Any:
        return self.out(z).half().float()


class Skips(Vae):
    def decode(self, z: Tensor, skip: Tensor) -> Any:  # type: ignore[override]
        return self.out(z) + skip


class LaplacePosterior(Vae):
    def encode(self, x: Tensor) -> Any:
        mean, scale = self.inner(x).chunk(2, 1)
        return torch.distributions.Laplace(mean, scale.exp())


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Keeps(), r"keeps a state from call to call \(hidden\)\. Start every call from the same state"),
        (RandomStart(), r"draws noise before its layers \(randn_like at .*test_door\.py"),
        (BatchStatistics(), r"norm normalises by the statistics of the batch at hand.*track_running_stats=True"),
        (Autocast(), r"encode computes in bfloat16 at .*test_door\.py.*Switch autocast off"),
        (HalfDecoder(), r"decode computes in float16 at .*test_door\.py"),
        (Skips(), r"it takes more than the latent\. What the encoder kept \(skip connections"),
        (LaplacePosterior(), r"encode returns a Laplace; a posterior with a KL is a Normal.*m\.encode\(x\)\.mean"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_cause_is_found_before_a_remedy_is_named(model: nn.Module, said: str) -> None:
    with pytest.raises(AdaptError, match=said):
        adapt(model, X)


class JoinsBeforeDecode(Vae):
    """Its forward joins latent and condition; its decoder takes the two as one."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5, 6)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Any:
        return self.out(z)


def test_a_decoder_that_wants_the_condition_joined_is_told_so() -> None:
    remedy = r"If forward joins latent and condition before it, write that, decode=lambda m, z, c: …$"
    with pytest.raises(AdaptError, match=remedy):
        adapt(JoinsBeforeDecode(), X, condition=torch.zeros(len(X), 3), scale_form="logvar")


def test_a_posterior_beside_its_sample_is_read() -> None:
    class Both(Vae):
        def encode(self, x: Tensor) -> Any:
            mean, logvar = self.inner(x).chunk(2, 1)
            posterior = Normal(mean, torch.exp(0.5 * logvar))
            return posterior, posterior.mean

    assert adapt(Both(), X).scale_form == "std"


class Properties(nn.Module):
    """A model whose attribute raises when a tool looks at it."""

    def __init__(self, name: str, fault: BaseException) -> None:
        super().__init__()
        self.inner, self.fault, self.name = nn.Linear(6, 4), fault, name

    def __getattribute__(self, name: str) -> Any:
        if "name" in (own := object.__getattribute__(self, "__dict__")) and own["name"] == name:
            raise own["fault"]
        return super().__getattribute__(name)


@pytest.mark.parametrize("fault", [ValueError("not fitted yet"), SystemExit(0), Sly(), KeyError("x")])
@pytest.mark.parametrize("name", ["encode", "decode", "encoder", "decoder"])
def test_a_property_that_raises_when_it_is_looked_at_is_one_error(
    name: str, fault: BaseException, tmp_path: Path
) -> None:
    with pytest.raises(AdaptError, match=r"looking for the halves of the model failed|has no method"):
        export(Properties(name, fault), tmp_path / "m.vaeb", calibration=ROWS)
    said = inspect_model(Properties(name, fault), ROWS)
    assert not said.ok
    assert "AdaptError" in said.problems[0]
