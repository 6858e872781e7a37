"""The halves together against the model's own forward: what no look at two halves can find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
import torch
from adapting import adapt
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_export.halves.probe import measure
from vae_edge_runtime import AdaptError, load

X = torch.randn(4, handmade.FEATURES, generator=torch.Generator().manual_seed(0))
ROWS = np.random.default_rng(0).normal(size=(150, handmade.FEATURES)).astype(np.float32)


class Parts(nn.Module):
    """Modules only; what lies between them is in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 16), nn.Linear(2, 6)
        self.fc_mu, self.fc_logvar = nn.Linear(16, 2), nn.Linear(16, 2)

    def between(self, h: Tensor) -> Tensor:
        return h

    def after(self, x_hat: Tensor) -> Tensor:
        return x_hat

    def forward(self, x: Tensor) -> Any:
        h = self.between(self.encoder(x))
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return x, self.after(self.decoder(z)), mu, logvar


def test_halves_that_make_up_the_forward_are_said_to() -> None:
    assert adapt(Parts(), X).evidence[-1] == "decode(encode(x)) is what its forward gives"


def test_an_activation_between_encoder_and_heads_is_found_even_if_the_scale_is_declared() -> None:
    class Hidden(Parts):
        def between(self, h: Tensor) -> Tensor:
            return torch.relu(h)

    with pytest.raises(AdaptError, match=r"draws no noise around the mean|none of them gives"):
        adapt(Hidden(), X)
    with pytest.raises(AdaptError, match="differs from what its own forward gives"):
        adapt(Hidden(), X, scale_form="logvar")


def test_an_activation_after_the_decoder_is_found() -> None:
    class Bounded(Parts):
        def after(self, x_hat: Tensor) -> Tensor:
            return torch.tanh(x_hat)

    with pytest.raises(AdaptError, match="differs from what its own forward gives, by 0"):
        adapt(Bounded(), X)


def test_a_sigmoid_after_the_decoder_is_named_unless_logits_were_announced() -> None:
    class Logits(Parts):
        def after(self, x_hat: Tensor) -> Tensor:
            return torch.sigmoid(x_hat)

    with pytest.raises(AdaptError, match=r"sigmoid\(decode\(z\)\): say likelihood='bernoulli' with logits=True"):
        adapt(Logits(), X)
    found = adapt(Logits(), X, likelihood="bernoulli", logits=True)
    assert found.evidence[-1] == "sigmoid(decode(encode(x))) is what its forward gives"


@pytest.mark.parametrize("squashed", [False, True])
def test_a_forward_that_returns_its_loss_is_looked_into(squashed: bool) -> None:
    class Loss(Parts):
        def forward(self, x: Tensor) -> Tensor:
            x_hat = super().forward(x)[1]
            return (torch.sigmoid(x_hat) if squashed else x_hat).sub(x).square().mean()

    if squashed:
        with pytest.raises(AdaptError, match=r"sigmoid\(decode\(z\)\)"):
            adapt(Loss(), X)
    else:
        assert adapt(Loss(), X).evidence[-1] == "decode(encode(x)) is a step of its forward, which returns no rows"


def test_a_missing_condition_is_asked_for() -> None:
    with pytest.raises(AdaptError, match=r"missing 1 required positional argument: 'y': if it is a conditional model"):
        adapt(handmade.LabelConditional(), X)


def test_a_categorical_latent_is_not_taken_for_an_autoencoders_code() -> None:
    class Gumbel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            logits = self.encoder(x).reshape(-1, 2, 4)
            return self.decoder(nn.functional.gumbel_softmax(logits, dim=-1).flatten(1))

    with pytest.raises(AdaptError, match="differs from what its own forward gives"):
        adapt(Gumbel(), X)


def test_halves_the_user_wrote_are_believed_and_the_difference_is_said() -> None:
    class Bounded(Parts):
        def after(self, x_hat: Tensor) -> Tensor:
            return torch.tanh(x_hat)

    found = adapt(
        Bounded(), X, encode=lambda m, x: (m.fc_mu(m.encoder(x)), m.fc_logvar(m.encoder(x))),
        decode=lambda m, z: m.decoder(z),
    )  # fmt: skip
    assert found.evidence[-1].startswith("decode(encode(x)) differs from what its forward gives, by 0.")


def test_rejection_sampling_ends() -> None:
    def run(m: nn.Module) -> None:
        while torch.rand(1) < 0.9:  # pinned to a half
            pass

    assert "draws until something random happens" in (measure(nn.Identity(), run).problem or "")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_type_are_exported_as_float32_and_said_to_be(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = handmade.Logvar().to(dtype)
    report = export(model, tmp_path / "m.vaeb", calibration=ROWS)
    assert f"weights of type {dtype} are exported as float32" in report.evidence
    assert next(model.parameters()).dtype == dtype
    with load(tmp_path / "m.vaeb", device="cpu") as vae:
        wanted = model.float().encode(torch.from_numpy(ROWS[:3]))[0].detach().numpy()
        np.testing.assert_allclose(vae.encode(ROWS[:3]).mean, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrappers_are_taken_off() -> None:
    torch.manual_seed(0)
    model = handmade.Logvar()
    wanted = model.encode(X)[0]
    for wrapped in (nn.DataParallel(model), torch.compile(model)):
        found = adapt(wrapped, X)
        assert f"taken out of its {type(wrapped).__name__}" in found.evidence
        torch.testing.assert_close(found.encode(found.module, X)[0], wanted)


@pytest.mark.parametrize(
    "model", [nn.Sequential(nn.LazyLinear(4)), nn.Linear(6, 4, device="meta")], ids=["lazy", "meta"]
)
def test_weights_without_values_are_named(model: nn.Module) -> None:
    with pytest.raises(AdaptError, match=r"weight \S+ has no values yet: load weights"):
        adapt(model, X, encode=lambda m, x: m(x), decode=lambda m, z: z)


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_normalised_weights_are_folded(norm: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = handmade.Logvar()
    norm(model.inner[0])
    model(X)  # as after training: the weight of the old kind of norm is a result with a history
    report = export(model, tmp_path / "n.vaeb", calibration=ROWS)
    assert max(figure.max_relative for figure in report.parity.values()) < 1e-5


def test_logits_are_not_taken_for_probabilities_and_the_reverse_is_said() -> None:
    class Probable(Parts):
        def after(self, x_hat: Tensor) -> Tensor:
            return torch.sigmoid(x_hat)

    with pytest.raises(AdaptError, match="no probabilities: if they are logits, say --logits"):
        adapt(Parts(), X, likelihood="bernoulli")
    found = adapt(
        Probable(), X, encode=lambda m, x: (m.fc_mu(m.encoder(x)), m.fc_logvar(m.encoder(x))),
        decode=lambda m, z: torch.sigmoid(m.decoder(z)), likelihood="bernoulli", logits=True,
    )  # fmt: skip
    assert "decode gave values in [0, 1] only: if they are probabilities, leave logits out" in found.evidence


def test_logits_beside_the_reconstruction_are_not_taken_for_it() -> None:
    class Both(Parts):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            logits = super().forward(x)[1]
            return {"recon": torch.sigmoid(logits), "logits": logits}

    with pytest.raises(AdaptError, match=r"sigmoid\(decode\(z\)\)"):
        adapt(Both(), X)
    adapt(Both(), X, likelihood="bernoulli", logits=True)


def test_a_clamp_that_only_extreme_rows_meet_is_found() -> None:
    class Clamped(Parts):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x.clamp(-5, 5))

    with pytest.raises(AdaptError, match="not on rows 30 times as large: forward clamps something"):
        adapt(Clamped(), X)


def test_a_prior_of_its_own_is_pointed_at() -> None:
    model = Parts()
    model.register_buffer("prior_mu", torch.ones(2))
    assert any("has 'prior_mu': if its loss uses another prior" in line for line in adapt(model, X).evidence)


def test_attention_with_a_mask_is_measured() -> None:
    class Masked(Parts):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
            self.mixer = nn.TransformerEncoder(layer, 1)
            self.encoder = nn.Linear(6, 16)

        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mask = x.abs().sum(-1) == 0
            h = self.encoder(self.mixer(x, src_key_padding_mask=mask).mean(1))
            return self.fc_mu(h), self.fc_logvar(h)

        def decode(self, z: Tensor) -> Tensor:
            return self.decoder(z)[:, None].repeat(1, 3, 1)

        def forward(self, x: Tensor) -> Any:
            mu, logvar = self.encode(x)
            return self.decode(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))

    torch.manual_seed(0)
    assert "logvar (scale_form): measured in its forward" in " ".join(adapt(Masked(), torch.randn(3, 3, 6)).evidence)


def test_bernoulli_logits_go_all_the_way(tmp_path: Path) -> None:
    class Logits(Parts):
        def after(self, x_hat: Tensor) -> Tensor:
            return torch.sigmoid(x_hat)

    rows = np.random.default_rng(0).random((150, 6)).astype(np.float32)
    config = ExportConfig(likelihood="bernoulli", logits=True)
    report = export(Logits(), tmp_path / "l.vaeb", calibration=rows, config=config)
    assert "sigmoid(decode(encode(x))) is what its forward gives" in report.evidence


def test_logits_are_said_where_cutting_the_model_fails_too(tmp_path: Path) -> None:
    class Uncut(Parts):
        def forward(self, x: Tensor) -> Any:
            if torch.compiler.is_compiling():
                raise RuntimeError("view size is not compatible")
            return super().forward(x)

    torch.manual_seed(0)
    rows, config = np.random.default_rng(0).random((150, 6), np.float32), ExportConfig(likelihood="bernoulli")
    with pytest.raises(AdaptError, match=r"no probabilities: if they are logits, say --logits .* likelihood$"):
        export(Uncut(), tmp_path / "u.vaeb", calibration=rows, config=config)
