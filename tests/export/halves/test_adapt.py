from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from adapting import adapt
from strangers import Branching, FixedBatch, Painter, Plain, Sampler
from torch import nn

from vae_edge_export import ExportConfig, export
from vae_edge_export.adapters.scale_form import TO_LOGVAR
from vae_edge_runtime import AdaptError, ExportFailed

X = torch.zeros(3, 6)


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        ("logvar", 2 * math.log(0.3)),
        ("log_std", math.log(0.3)),
        ("std", 0.3),
        ("var", 0.09),
        ("softplus", math.log(math.expm1(0.3))),
    ],
)
def test_every_scale_form_becomes_the_same_logvar(scale: str, value: float) -> None:
    found = TO_LOGVAR[scale](torch.tensor(value, dtype=torch.float64))
    assert found.item() == pytest.approx(2 * math.log(0.3), rel=1e-6)


def test_a_missing_half_names_what_is_there_and_the_line_to_write() -> None:
    with pytest.raises(AdaptError, match=r"no method 'encode'.*paint|no method 'encode'.*encode=lambda m, x"):
        adapt(Painter(), torch.zeros(1, 3, 16, 16))


def test_a_sampling_encoder_is_refused() -> None:
    with pytest.raises(AdaptError, match="it samples"):
        adapt(Sampler(), X)


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        (lambda m, x: (x, x, x), "3 tensors"),
        (lambda m, x: (x[:, :2], x), "one shape"),
        (lambda m, x: (x[:1], x[:1]), "batch first"),
        (lambda m, x: m.nothing(x), "encode failed on rows of shape"),
        (lambda m, x: {"mean": x}, "a mapping with mean"),
    ],
)
def test_what_encode_returns_must_be_two_tensors_of_one_shape(encode: Any, said: str) -> None:
    with pytest.raises(AdaptError, match=said):
        adapt(Plain(), X, encode=encode)


@pytest.mark.parametrize(
    ("decode", "said"),
    [
        (lambda m, z: z, r"shape \(3, 2\)"),
        (lambda m, z: (m.outer(z), m.outer(z)), "one tensor x_hat"),
        (lambda m, z: None, "a NoneType"),
    ],
)
def test_what_decode_returns_must_be_rows(decode: Any, said: str) -> None:
    with pytest.raises(AdaptError, match=said):
        adapt(Plain(), X, decode=decode)


def test_weights_that_are_not_finite_are_named() -> None:
    model = Plain()
    with torch.no_grad():
        model.fc_mu.weight[0, 0] = math.nan
    with pytest.raises(AdaptError, match=r"fc_mu\.weight"):
        adapt(model, X)


def test_rows_of_another_width_are_told_both_numbers_and_the_layer() -> None:
    said = r"shape \(3, 7\): the model takes 6 columns; the rows have 7\. Its layer inner\.0 \(Linear\) refused them"
    with pytest.raises(AdaptError, match=said):
        adapt(Plain(), torch.zeros(3, 7))


def test_noise_without_effect_is_still_a_random_operator(rows: np.ndarray, tmp_path: Any) -> None:
    class Useless(Plain):
        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mean, logvar = super().encode(x)
            return mean + 0.0 * torch.randn_like(mean), logvar

    with pytest.raises(ExportFailed, match=r"draws random numbers \(Random\w+ at .*test_adapt\.py:\d+ \(encode\)\)"):
        export(Useless(), tmp_path / "r.vaeb", calibration=rows)
    assert list(tmp_path.iterdir()) == []


def test_not_a_module() -> None:
    with pytest.raises(AdaptError, match=r"not a torch\.nn\.Module"):
        adapt(lambda x: x, X)  # type: ignore[arg-type]


def test_a_baked_batch_is_refused(rows: np.ndarray, tmp_path: Any) -> None:
    with pytest.raises(AdaptError, match="takes a batch of 3 and fails on a batch of 1"):
        export(FixedBatch(), tmp_path / "b.vaeb", calibration=rows)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_influence_each_other_are_refused() -> None:
    with pytest.raises(AdaptError, match="influence each other"):
        adapt(Plain(), torch.randn(4, 6), encode=lambda m, x: m.encode(x - x.mean(0)))


def test_a_branch_on_values_is_refused_with_the_usual_reasons(rows: np.ndarray, tmp_path: Any) -> None:
    with pytest.raises(
        ExportFailed, match=r"at .*strangers\.py:\d+ in encode: GuardOnDataDependent.*Python branch on tensor values"
    ):
        export(Branching(), tmp_path / "b.vaeb", calibration=rows)
    assert list(tmp_path.iterdir()) == []


def test_noise_in_the_decoder_is_refused(rows: np.ndarray, tmp_path: Any) -> None:
    class Noisy(Plain):
        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return super().decode(z) + torch.randn(1)

    with pytest.raises((AdaptError, ExportFailed), match=r"samples|random"):
        export(Noisy(), tmp_path / "n.vaeb", calibration=rows)


def test_dropout_is_off_in_the_bundle(rows: np.ndarray, tmp_path: Any) -> None:
    model = Plain()
    model.inner.append(nn.Dropout(0.5))
    report = export(model.train(), tmp_path / "d.vaeb", calibration=rows)
    assert report.parity["score.score"].max_relative < 1e-5


@pytest.mark.parametrize(
    "bad",
    [
        {"likelihood": "poisson"}, {"layout": "chw"}, {"variance": 1.0}, {"likelihood": "gaussian", "variance": -1.0},
        {"scale": (0.0,)}, {"offset": (0.0, 0.0)}, {"kl_weight": -1.0}, {"reconstruction_weight": 0.0}, {"release": 0},
        {"transform": "log"}, {"transform": "sqrt", "likelihood": "bernoulli"}, {"threshold": math.inf},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    from vae_edge_runtime import OptionError

    with pytest.raises(OptionError):
        ExportConfig(**bad)
