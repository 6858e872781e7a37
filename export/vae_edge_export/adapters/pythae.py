"""pythae: every model whose encoder and decoder follow its ``ModelOutput`` contract."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from .origin import is_a, is_from
from .recipe import Prior, Recipe

_NOTES = {
    "FactorVAE": "its discriminator is used in training only and not exported",
    "VAEGAN": "its discriminator is used in training only and not exported",
    "HVAE": "the encoder's Gaussian is exported; the Hamiltonian steps that refine it need gradients and are not",
    "RHVAE": "the encoder's Gaussian is exported; metric and Hamiltonian steps need gradients and are not",
}
_DETERMINISTIC = ("AE", "RAE_GP", "RAE_L2", "WAE_MMD")


def recognise(model: Any) -> Recipe | None:
    """A recipe for a pythae model."""
    if not (isinstance(model, nn.Module) and is_from(model, "pythae") and hasattr(model, "model_config")):
        return None
    options = _likelihood(model)
    if is_a(model, "VQVAE"):
        return _vq(model, options)
    if is_a(model, "VAE_IAF", "VAE_LinNF"):
        return _flow(model, options)
    if is_a(model, "SVAE"):
        return _hypersphere(model, options)
    if is_a(model, "PoincareVAE"):
        why = "its posterior is a wrapped normal on the Poincaré ball, whose KL and prior are not exported"
        return _recipe(model, options, encode=_embedding, notes=(why,), prior=Prior("none", why))
    if is_a(model, "VAMP"):
        return _recipe(
            model,
            options,
            encode=_encoder,
            forward=_forward,
            has_kl=False,
            prior=_vamp_prior(model),
            notes=("its prior is the mixture of its pseudo-inputs' posteriors; there is no KL to it in closed form",),
        )
    if is_a(model, "Adversarial_AE") and getattr(model, "deterministic_posterior", False):
        prior = Prior("standard_normal", "N(0, I), as it was trained")
        return _recipe(model, options, encode=_embedding, forward=_forward, prior=prior)
    if is_a(model, *_DETERMINISTIC) and not hasattr(model.encoder, "log_var"):
        normal = Prior("standard_normal", "N(0, I), as its MMD term was trained") if is_a(model, "WAE_MMD") else None
        return _recipe(model, options, encode=_embedding, forward=_forward, prior=normal)
    note = next((text for name, text in _NOTES.items() if is_a(model, name)), None)
    scale_form = "softplus" if is_a(model, "HVAE") and not is_a(model, "RHVAE") else None
    forward = None if is_a(model, "HVAE", "RHVAE") else _forward
    notes = (note,) if note else ()
    return _recipe(model, options, encode=_encoder, forward=forward, scale_form=scale_form, notes=notes)


def _recipe(model: nn.Module, options: dict[str, Any], **rest: Any) -> Recipe:
    fixed: dict[str, Any] = {"decode": _decoder, **rest}
    return Recipe(name=f"pythae {type(model).__name__}", module=model, options=options, **fixed)


def _encoder(m: Any, x: Tensor) -> Any:
    return m.encoder(x)


def _embedding(m: Any, x: Tensor) -> Tensor:
    code: Tensor = m.encoder(x).embedding
    return code


def _decoder(m: Any, z: Tensor) -> Tensor:
    x_hat: Tensor = m.decoder(z).reconstruction
    return x_hat


def _forward(m: Any, x: Tensor) -> Any:
    return m({"data": x})


def _likelihood(model: Any) -> dict[str, Any]:
    """Its own loss: half the squared error is a Gaussian of variance 1; ``bce`` works on probabilities."""
    loss = getattr(model.model_config, "reconstruction_loss", None)
    if loss == "bce":
        return {"likelihood": "bernoulli"}
    return {"likelihood": "gaussian", "variance": 1.0} if loss == "mse" else {}


def _flow(model: nn.Module, options: dict[str, Any]) -> Recipe:
    """Z = flow(mean): the code is the mean's image, and N(0, I) is the prior on that side of the flow."""

    def encode(m: Any, x: Tensor) -> Tensor:
        z = m.encoder(x).embedding
        if is_a(m, "VAE_IAF"):
            z = m.iaf_flow.inverse(z).out
        for layer in () if is_a(m, "VAE_IAF") else m.net:
            z = layer(z).out
        return torch.as_tensor(z)

    note = "the code is the image of the posterior mean under its flow; the posterior's density is not exported"
    prior = Prior("standard_normal", "N(0, I) after the flow, as it was trained")
    return _recipe(model, options, encode=encode, forward=_forward, prior=prior, notes=(note,))


def _hypersphere(model: nn.Module, options: dict[str, Any]) -> Recipe:
    """Codes of length 1; ``decode`` normalises, so a standard normal becomes its uniform prior on the sphere."""

    def unit(z: Any) -> Tensor:
        return normalize(z, dim=-1)

    return _recipe(
        model,
        options,
        encode=lambda m, x: unit(m.encoder(x).embedding),
        decode=lambda m, z: m.decoder(unit(z)).reconstruction,
        prior=Prior("standard_normal", "N(0, I), normalised in decode: uniform on its sphere"),
        notes=("its von Mises-Fisher posterior is exported as its direction; the KL is not",),
    )


def _vamp_prior(model: Any) -> Prior:
    """A mixture with a component per pseudo-input (Tomczak & Welling 2018)."""
    m = _eval_copy(model)
    with torch.no_grad():
        x = m.pseudo_inputs(m.idle_input).reshape(-1, *m.model_config.input_dim)
        posteriors = m.encoder(x)
    means, stds = posteriors.embedding.numpy(), torch.exp(0.5 * posteriors.log_covariance).numpy()
    return Prior("gaussian_mixture", "its pseudo-inputs", torch.ones(len(means)).numpy(), means, stds)


def _vq(model: Any, options: dict[str, Any]) -> Recipe:
    m = _eval_copy(model)
    with torch.no_grad():
        flat = m.encoder(torch.zeros((2, *m.model_config.input_dim))).embedding.ndim == 2

    def encode(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        h = m.encoder(x).embedding
        h = h.reshape(-1, 1, 1, h.shape[1]) if flat else h  # each number of a flat code is quantised by itself
        indices = m.quantizer(h.permute(0, 2, 3, 1)).quantized_indices.squeeze(1)
        return indices, _codes_of(m, indices)

    def decode(m: Any, indices: Tensor) -> Tensor:
        z_q = _codes_of(m, indices)
        x_hat: Tensor = m.decoder(z_q.flatten(1) if flat else z_q).reconstruction
        return x_hat

    note = "indices and z_q out, indices in: the codebook lies in both graphs"
    codes = int(model.model_config.num_embeddings)
    halves: dict[str, Any] = {"encode": encode, "decode": decode, "forward": _forward}
    return _recipe(model, options, **halves, codebook=codes, has_kl=False, notes=(note,))


def _codes_of(m: Any, indices: Tensor) -> Tensor:
    """Indices (n, h, w) to their codes (n, c, h, w); the codebook is a module, or a buffer kept by averages."""
    table = m.quantizer.embeddings
    return embedding(indices, table if isinstance(table, Tensor) else table.weight).permute(0, 3, 1, 2)


def _eval_copy(model: nn.Module) -> Any:
    """A copy in eval mode on the CPU."""
    return copy.deepcopy(model).cpu().eval()
