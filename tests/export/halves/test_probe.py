"""What an encoder's tensors are is measured in the model's own forward."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import handmade
import pytest
import torch
from adapting import adapt
from torch import Tensor, nn
from torch.nn.functional import dropout, softplus

from vae_edge_export.halves.probe import PinnedNoise, measure
from vae_edge_runtime import AdaptError

X = torch.randn(4, handmade.FEATURES, generator=torch.Generator().manual_seed(0))
FORMS = {
    "logvar": lambda s: torch.exp(0.5 * s),
    "log_std": torch.exp,
    "std": lambda s: s,
    "var": torch.sqrt,
    "softplus": softplus,
}


class Told(handmade.Mlp):
    """Encodes to tensors in any order; forward draws around the mean with a deviation of any form."""

    def __init__(self, form: str, order: tuple[str, ...] = ("mean", "scale")) -> None:
        super().__init__()
        self.form, self.order = form, order

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        h = self.inner(x)
        mean, scale = self.to_mean(h), self.to_scale(h)
        scale = softplus(scale) + 0.2 if self.form in ("std", "var") else scale
        z = mean + FORMS[self.form](scale) * torch.randn_like(mean) if "z" in self.order else mean
        parts = {"mean": mean, "scale": scale, "z": z}
        return tuple(parts[name] for name in self.order)

    def forward(self, x: Tensor) -> Any:
        parts = dict(zip(self.order, self.encode(x), strict=True))
        deviation = FORMS[self.form](parts["scale"])
        return self.decode(parts.get("z", parts["mean"] + deviation * torch.randn_like(deviation)))


def made(form: str, order: tuple[str, ...] = ("mean", "scale")) -> Told:
    torch.manual_seed(0)
    return Told(form, order)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_told_from_every_other(form: str) -> None:
    found = adapt(made(form), X)
    assert found.scale_form == form
    mean, logvar = found.encode(found.module, X)
    own_mean, own_scale = made(form).encode(X)
    torch.testing.assert_close(mean, own_mean)
    torch.testing.assert_close(torch.exp(0.5 * logvar), FORMS[form](own_scale), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("order", [*permutations(("mean", "scale", "z")), ("scale", "mean")])
def test_mean_and_scale_are_found_in_any_order_and_a_sample_is_left_out(order: tuple[str, ...]) -> None:
    found = adapt(made("logvar", order), X)
    assert found.role is not None
    assert (order[found.role.mean], order[found.role.parameter]) == ("mean", "scale")
    torch.testing.assert_close(found.encode(found.module, X)[0], made("logvar").encode(X)[0])


@pytest.mark.parametrize("order", [("mean", "scale"), ("scale", "mean")])
def test_mean_and_scale_side_by_side_in_one_tensor_are_cut_apart(order: tuple[str, str]) -> None:
    class Chunked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Conv1d(3, 4, 1), nn.Conv1d(2, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            parts = dict(zip(order, self.encoder(x).chunk(2, dim=1), strict=True))
            z = parts["mean"] + torch.exp(parts["scale"] / 2) * torch.randn_like(parts["mean"])
            return self.decoder(z)

    torch.manual_seed(0)
    model, x = Chunked(), torch.randn(3, 3, 5)
    found = adapt(model, x)
    assert (found.kind, found.scale_form, found.latent_shape) == ("gaussian", "logvar", (2, 5))
    assert "the tensor of encode holds mean and scale, cut in two along axis 1" in found.evidence
    wanted = dict(zip(order, model.encoder(x).chunk(2, dim=1), strict=True))
    mean, logvar = found.encode(found.module, x)
    torch.testing.assert_close(mean, wanted["mean"])
    torch.testing.assert_close(logvar, wanted["scale"])


def test_a_declaration_that_the_forward_contradicts_is_refused() -> None:
    with pytest.raises(AdaptError, match=r"declared as 'logvar'.*uses it as std: pass scale_form='std'"):
        adapt(made("std"), X, scale_form="logvar")


def test_a_declaration_that_the_forward_confirms_says_so() -> None:
    assert (
        "the spread of a latent is given as std (scale_form): measured in its forward"
        in adapt(made("std"), X, scale_form="std").evidence
    )


def test_without_a_draw_the_scale_must_be_declared() -> None:
    class Silent(handmade.Logvar):
        def forward(self, x: Tensor) -> Tensor:
            return self.decode(self.encode(x)[0])

    with pytest.raises(AdaptError, match=r"draws no noise around the mean.*pass scale_form=, one of logvar, log_std"):
        adapt(Silent(), X)
    found = adapt(Silent(), X, scale_form="logvar")
    assert found.scale_form == "logvar"
    said = "declared, not measured (its forward draws no noise around the mean)"
    assert f"the spread of a latent is given as logvar (scale_form): {said}" in found.evidence


def test_a_deviation_of_no_known_form_is_measured_and_named() -> None:
    class Halved(handmade.Logvar):
        def forward(self, x: Tensor) -> Tensor:
            mean, s = self.encode(x)
            return self.decode(mean + 0.5 * torch.sigmoid(s) * torch.randn_like(mean))

    with pytest.raises(AdaptError, match=r"a standard deviation of 0\.\d+ to 0\.\d+ was measured, which none"):
        adapt(Halved(), X)
    evidence = adapt(Halved(), X, scale_form="logvar").evidence
    assert any("declared, not measured (in its forward a standard deviation of 0." in line for line in evidence)


def test_scales_that_cannot_be_told_apart_on_these_rows_are_not_guessed() -> None:
    model = handmade.Logvar()
    with torch.no_grad():
        model.to_scale.weight.zero_()
        model.to_scale.bias.zero_()  # exp(0) = exp(0 / 2): logvar and log_std agree
    with pytest.raises(AdaptError, match=r"could be log_std or logvar on these rows: pass scale_form="):
        adapt(model, X)


def test_a_hidden_noise_source_is_named_with_its_line() -> None:
    class Dropped(handmade.Logvar):
        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mean, s = super().encode(x)
            return dropout(mean, 0.5, training=True), s

    with pytest.raises(AdaptError, match=r"it samples \(.* at .*test_probe\.py:\d+ \(encode\)\)"):
        adapt(Dropped(), X)


def test_an_input_changed_in_place_is_refused() -> None:
    class InPlace(handmade.Logvar):
        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return super().encode(x.mul_(2))

    kept = X.clone()
    with pytest.raises(AdaptError, match="changes its input in place"):
        adapt(InPlace(), X.clone())
    assert torch.equal(kept, X)


def test_every_way_to_draw_a_normal_is_pinned() -> None:
    def run(m: nn.Module) -> None:
        mean, std = torch.full((2, 3), 5.0), torch.full((2, 3), 2.0)
        for drawn in (
            mean + std * torch.randn(2, 3), mean + std * torch.randn_like(mean), torch.normal(mean, std),
            torch.normal(5.0, 2.0, (2, 3)), mean + std * torch.empty(2, 3).normal_(),
            torch.distributions.Normal(mean, std).rsample(), mean + std * torch.normal(torch.zeros(2, 3), 1.0),
        ):  # fmt: skip
            results.append(drawn.clone())

    results: list[Tensor] = []
    for value, wanted in ((0.0, 5.0), (1.0, 7.0)):
        with PinnedNoise(value) as pin:
            run(nn.Identity())
        assert {float(t.max()) for t in results} == {float(t.min()) for t in results} == {wanted}
        assert len(results) == 7
        assert len(pin.sources) >= 6
        results.clear()


def test_a_forward_that_fails_is_a_reason_and_no_error() -> None:
    def run(m: nn.Module) -> None:
        raise ValueError("needs labels")

    assert measure(nn.Identity(), run).problem == "ValueError: needs labels"


def test_modes_and_weights_are_left_alone() -> None:
    model = handmade.StdHead().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapt(model, X)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
