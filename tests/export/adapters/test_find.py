"""The notebook VAE: its halves are found by their names, or listed."""

from __future__ import annotations

from typing import Any

import handmade
import handmade_codes
import pytest
import torch
from adapting import adapt
from torch import Tensor, nn

from vae_edge_export.halves.normalise import read_decoded, read_encoded
from vae_edge_runtime import AdaptError

PICTURES = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
T = torch.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (handmade.FlatTutorial, ("encode: its method 'encode'", "takes flat rows")),
        (handmade.KerasLike, ("encode returns 3 tensors", "value 0 is the mean, value 1 the scale")),
        (handmade.BoltsStyle, ("then the heads 'fc_mu' and 'fc_var'", "decode: its module 'decoder'")),
    ],
)
def test_three_tutorials_need_no_glue_and_say_what_was_found(kind: type[nn.Module], said: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    found = adapt(kind(), PICTURES)
    assert found.kind == "gaussian"
    assert found.scale_form == "logvar"
    for words in said:
        assert any(words in line for line in found.evidence), found.evidence


class Heads(nn.Module):
    def __init__(self, *names: str) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 8), nn.Linear(2, 6)
        for name in names:
            setattr(self, name, nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("mean", "scale"),
    [("fc_mu", "fc_var"), ("mu", "logvar"), ("z_mean", "z_log_var"), ("to_mean", "to_logvar"),
     ("mean_layer", "std_layer"), ("hidden2mu", "hidden2logsigma"), ("encoder_mu", "encoder_logvar"),
     ("loc", "log_scale")],
)  # fmt: skip
def test_common_names_of_heads_are_known(mean: str, scale: str) -> None:
    model = Heads(mean, scale)
    found = adapt(model, torch.randn(3, 6), scale_form="logvar")
    x = torch.randn(3, 6)
    torch.testing.assert_close(found.encode(found.module, x)[0], getattr(model, mean)(model.encoder(x)))
    assert f"then the heads '{mean}' and '{scale}'" in found.evidence[1]


def test_two_pairs_of_heads_are_listed_with_the_line_to_write() -> None:
    with pytest.raises(AdaptError, match=r"more than one pair of heads \(mu, z_mean; logvar\).*encode=lambda m, x:"):
        adapt(Heads("mu", "z_mean", "logvar"), torch.randn(3, 6), scale_form="logvar")


def test_two_encoders_are_listed_with_the_line_to_write() -> None:
    model = Heads()
    model.inference_net = nn.Linear(6, 8)
    with pytest.raises(AdaptError, match=r"'encoder' and 'inference_net'.*encode=lambda m, x: m\.encoder\(x\)"):
        adapt(model, torch.randn(3, 6))


def test_a_modules_own_encode_goes_before_its_parts() -> None:
    class Both(Heads):
        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.encoder(x)
            return self.mu(h) * 2, self.logvar(h)

    model, x = Both("mu", "logvar"), torch.randn(3, 6)
    found = adapt(model, x, scale_form="logvar")
    torch.testing.assert_close(found.encode(found.module, x)[0], model.encode(x)[0])


def test_a_compression_model_is_known_by_its_transforms() -> None:
    found = adapt(handmade_codes.Compression(), PICTURES)
    assert (found.recipe, found.kind, found.has_kl) == ("compressai Compression", "deterministic", False)
    assert found.prior is not None
    assert found.prior.kind == "none"


def test_a_single_tensor_with_noise_around_it_is_no_deterministic_code() -> None:
    class MeanOnly(handmade.Logvar):
        def encode(self, x: Tensor) -> Any:
            return self.to_mean(self.inner(x))

        def forward(self, x: Tensor) -> Tensor:
            mean = self.encode(x)
            return self.decode(mean + 0.3 * torch.randn_like(mean))

    with pytest.raises(AdaptError, match="return the scale too"):
        adapt(MeanOnly(), torch.randn(3, 6))


def test_heads_that_may_or_may_not_have_been_applied_are_asked_about() -> None:
    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.mu, self.logvar = nn.Linear(6, 2), nn.Linear(2, 2), nn.Linear(2, 2)

        def encode(self, x: Tensor) -> Tensor:
            return self.inner(x)

        def decode(self, z: Tensor) -> Tensor:
            return z.repeat(1, 3)

    with pytest.raises(AdaptError, match="say whether they come after it"):
        adapt(Square(), torch.randn(3, 6))


def test_indices_need_a_size_of_the_codebook() -> None:
    halves: dict[str, Any] = {"encode": lambda m, x: m.quantise(x), "decode": lambda m, i: m.paint(i)}
    model = handmade_codes.Quantised()
    found = adapt(model, PICTURES, **halves)
    assert (found.kind, found.codebook, found.latent_shape, found.embedding_shape) == ("codes", 12, (4, 4), (4, 4, 4))
    model.other = nn.Embedding(3, 3)
    with pytest.raises(AdaptError, match="codebook="):
        adapt(model, PICTURES, **halves)
    assert adapt(model, PICTURES, codebook=12, **halves).codebook == 12
    with pytest.raises(AdaptError, match=r"the index \d+, and the codebook has 3 codes"):
        adapt(model, PICTURES, codebook=3, **halves)


class Box:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


@pytest.mark.parametrize(
    ("value", "scale"),
    [
        ({"mu": T, "logvar": T + 1}, "logvar"),
        ({"mean": T, "std": T + 1}, "std"),
        ({"embedding": T, "log_covariance": T + 1}, "logvar"),
        (Box(loc=T, log_sigma=T + 1), "log_std"),
        (Box(latent_dist=Box(mean=T, logvar=T + 1, std=T)), "logvar"),
        (Box(posterior=torch.distributions.Normal(T, T + 1)), "std"),
    ],
)
def test_named_values_are_read_by_their_names(value: Any, scale: str) -> None:
    found = read_encoded(value)
    ((mean, parameter),) = found.pairs
    assert torch.equal(mean, T)
    assert torch.equal(parameter, T + 1)
    assert found.scale_form == scale


def test_other_returns_are_read_by_their_kind() -> None:
    assert read_encoded(T).code is T
    assert read_encoded([T]).code is T
    assert read_encoded(Box(latents=T)).code is T
    assert len(read_encoded((T, T)).unnamed) == 2
    assert len(read_encoded([(T, T), (T, T)]).pairs) == 2
    assert len(read_encoded(([T, T], [T, T])).pairs) == 2
    indices = T.long()
    assert read_encoded((indices, T)).indices is indices
    assert read_encoded((T, indices)).z_q is T
    with pytest.raises(AdaptError, match="a mapping with loss"):
        read_encoded({"loss": T})


def test_decoded_values_are_read_by_their_kind() -> None:
    for value in (T, (T,), Box(sample=T), {"reconstruction": T}, {"x_hat": T, "likelihoods": 3}):
        assert torch.equal(read_decoded(value, count=1)[0], T)
    pair = read_decoded(torch.distributions.Normal(T, T + 1), count=2)
    torch.testing.assert_close(pair[1], 2 * torch.log(T + 1))
    named = read_decoded({"mean": T, "std": T + 1}, count=2)
    torch.testing.assert_close(named[1], 2 * torch.log(T + 1))
    assert torch.equal(read_decoded({"x_hat": T, "log_var": T + 1}, count=2)[1], T + 1)
    with pytest.raises(AdaptError, match="one tensor x_hat"):
        read_decoded((T, T), count=1)
