"""Every family of models the compatibility page has a row for: how to build one, and the glue it takes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import handmade
import handmade_codes
import numpy as np
import torch
from family_rows import (
    classes,
    colour,
    features,
    features_with_nan,
    forecast_targets,
    forecast_windows,
    frames,
    labels,
    masks,
    pictures,
    short_windows,
    small_pictures,
    sound,
    three_labels,
    unit_features,
    vectors,
    windows,
)
from safetensors.torch import save_file
from torch import nn
from training import trained

from vae_edge_export import load_weights, open_saved

sys.path.append(str(Path(__file__).parents[1] / "support"))
import hidden_halves
import quantisers


@dataclass(frozen=True)
class Family:
    """One row of the page.

    Attributes:
        make: () -> the model, random weights.
        rows: (generator) -> (150, *row_shape) float32.
        options: arguments of ``export``; ``config`` those of ``ExportConfig``.
        glue: what a user writes beside ``export(model, path, calibration=rows)``.
        condition: (generator) -> one per row.
        library: that must be installed, or "".
        samples: the model can be drawn from.
        trained: for some steps, on its own rows.
        latent_shape: of a decoder alone, exported for generation. forecast: exported for generation, with its rows.
        target: (generator) -> one per row, of a forecast.
        refused: words of the reason why it is refused; "" where it works.
    """

    name: str
    make: Callable[[], Any]
    rows: Callable[[np.random.Generator], np.ndarray]
    options: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    glue: str = "none"
    condition: Callable[[np.random.Generator], np.ndarray] | None = None
    library: str = ""
    samples: bool = True
    trained: bool = False
    latent_shape: tuple[int, ...] = ()
    forecast: bool = False
    refused: str = ""
    target: Callable[[np.random.Generator], np.ndarray] | None = None


def by_hand() -> list[Family]:
    """Models that need no library."""
    h = handmade
    vq: dict[str, Any] = {"encode": lambda m, x: m.quantise(x), "decode": lambda m, i: m.paint(i)}
    likelihood = {name: {"likelihood": name} for name in ("beta", "categorical", "bernoulli", "laplace", "gaussian")}
    return [
        Family("tutorial: flat MLP on pictures", h.FlatTutorial, pictures),
        Family("tutorial: encoder returns (mean, logvar, z)", h.KerasLike, pictures),
        Family("tutorial: encoder, fc_mu, fc_var, decoder", h.BoltsStyle, pictures),
        Family("tutorial: Lightning style, batch norm", h.LightningStyle, features),
        Family("returns a torch distribution", h.ReturnsDistribution, features),
        Family("returns a dataclass, log-std", h.ReturnsDataclass, features),
        Family("returns a dict", h.ReturnsDict, features),
        Family("std head, samples in training only", h.StdHead, features),
        Family("softplus outside the encoder", h.SoftplusOutside, features),
        Family("spatial latent, group norm, attention", h.Attention, pictures),
        Family("conditional: label", h.LabelConditional, features, condition=labels, glue="condition=labels"),
        Family("conditional: vector", h.VectorConditional, features, condition=vectors, glue="condition=vectors"),
        Family("sequence: LSTM", lambda: h.Recurrent(nn.LSTM), windows),
        Family("sequence: GRU", lambda: h.Recurrent(nn.GRU), windows),
        Family("sequence: temporal convolution", h.Temporal, windows),
        Family("hierarchical: two latents", h.Ladder, pictures),
        Family("VQ-VAE by hand", handmade_codes.Quantised, pictures, vq, glue="encode=…quantise, decode=…paint"),
        Family(
            "VQ-VAE by hand, torch.cdist",
            handmade_codes.Distances,
            pictures,
            vq,
            glue="encode=…quantise, decode=…paint",
        ),
        Family("plain autoencoder", h.PlainAutoencoder, features),
        Family("compression transforms g_a, g_s", handmade_codes.Compression, pictures, samples=False),
        Family("likelihood: bernoulli", h.Probabilities, unit_features, config=likelihood["bernoulli"]),
        Family("likelihood: laplace", h.Logvar, features, config=likelihood["laplace"]),
        Family("likelihood: beta", h.BetaLikelihood, unit_features, config=likelihood["beta"]),
        Family("likelihood: categorical", h.Discrete, classes, config=likelihood["categorical"]),
        Family("likelihood: gaussian, learned variance", h.LearnedVariance, features, config=likelihood["gaussian"]),
    ]


def _hidden() -> list[Family]:
    """Models whose halves have no name: everything in forward, or codes alone."""
    h = hidden_halves
    return [
        Family("no names: everything in forward", h.EverythingInForward, features),
        Family("no names: everything in forward; trained", h.EverythingInForward, features, trained=True),
        Family("no names: tutorial with decoder_input", h.WithDecoderInput, small_pictures),
        Family("no names: tutorial with decoder_input; trained", h.WithDecoderInput, small_pictures, trained=True),
        Family("no names: two noise inputs, the second posterior on the first draw", h.TwoNoiseInputs, features),
        Family("no names: rsample, softplus", h.Rsample, features),
        Family("no names: torch.normal", h.DrawsByNormal, features),
        Family("no names: in place, as PyTorch's first example", h.InPlace, features),
        Family("no names: draws in training only, returns a loss", h.InTrainingOnly, features),
        Family("no names: one spread for all rows", h.Scaled, features),
        Family("no names: GRU over a window", h.Sequence, short_windows),
        Family("no names: label beside the row", h.WithLabels, features, condition=three_labels,
               glue="condition=labels"),
        Family("no names: VQ in forward", h.Codes, small_pictures),
        Family("VQ: indices alone, an embedding", h.IndicesAlone, small_pictures),
        Family("VQ: indices alone, a parameter", h.IndicesOfAParameter, small_pictures, {"codebook": 8},
               glue="codebook="),
    ]  # fmt: skip


def _industrial() -> list[Family]:
    """Quantisers of several codebooks, masks, forecasts, decoders alone, and what is refused."""
    q = quantisers
    return [
        Family("no names: residual VQ, three codebooks", q.ResidualInForward, features),
        Family("residual VQ: indices and sum", q.ResidualIndices, features),
        Family("residual VQ: the sum alone", q.ResidualSum, features),
        Family("no names: FSQ", q.LevelsInForward, features),
        Family("FSQ: indices and codes", q.LevelsIndices, features, {"codebook": 200}, glue="codebook="),
        Family("mask beside the row, missing values scored as filled", q.Masked, features, condition=masks,
               glue="condition=masks"),
        Family("mask beside the row, from NaN", q.Masked, features_with_nan, {"missing": "mask"},
               glue="missing='mask'"),
        Family("takes NaN itself", q.TakesNan, features_with_nan, {"missing": "nan"}, glue="missing='nan'"),
        Family("forecast: for generation", q.Forecast, forecast_windows, config={"layout": "time_features"},
               glue="export_for_generation", forecast=True),
        Family("forecast: scored against its target", q.Forecast, forecast_windows, config={"layout": "time_features"},
               target=forecast_targets, glue="target="),
        Family("decoder alone: forward(z)", q.DecoderAlone, features, glue="export_for_generation, latent_shape=",
               latent_shape=(2,)),
        Family("branch on the batch size", q.BranchOnTheBatch, features, refused="branch on the number of rows"),
    ]  # fmt: skip


def _trained() -> list[Family]:
    """Every model by hand that has a forward again, after some steps of training on its own rows."""
    whole = [family for family in by_hand() if "encode" not in family.options]
    return [replace(family, name=f"{family.name}; trained", trained=True) for family in whole]


def _saved() -> list[Family]:
    """Models out of files, as a shell's SOURCE opens them."""
    trusting = "trust_pickle"
    return [
        Family("file: state dict, .safetensors", lambda: _with_weights(".safetensors"), features, glue="--weights"),
        Family("file: state dict, .pt", lambda: _with_weights(".pt"), features, glue=f"--weights, {trusting}"),
        Family("file: Lightning checkpoint", lambda: _with_weights(".ckpt"), features, glue=f"--weights, {trusting}"),
        Family("file: torch.export programs, .pt2", _programs, features, {"scale_form": "logvar"},
               glue=f"scale_form=, {trusting}"),
        Family("file: diffusers folder", _diffusers_folder, colour, config={"layout": "nchw"}, library="diffusers"),
        Family("file: pythae folder", _pythae_folder, small_pictures, config={"layout": "nchw"}, glue=trusting,
               library="pythae"),
    ]  # fmt: skip


def _with_weights(suffix: str) -> nn.Module:
    """A trained model's weights in a file, loaded into a fresh module."""
    trained, fresh = handmade.Logvar(), handmade.Logvar()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"weights{suffix}"
        if suffix == ".safetensors":
            save_file(trained.state_dict(), path)
        elif suffix == ".ckpt":  # as Lightning writes it: the module lies under an attribute of the LightningModule
            state = {f"model.{name}": tensor for name, tensor in trained.state_dict().items()}
            torch.save({"pytorch-lightning_version": "2.5.0", "epoch": 3, "state_dict": state}, path)
        else:
            torch.save(trained.state_dict(), path)
        load_weights(fresh, path, trust_pickle=suffix != ".safetensors")
    assert torch.equal(fresh.to_mean.weight, trained.to_mean.weight)
    return fresh


class _Half(nn.Module):
    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, value: torch.Tensor) -> Any:
        return getattr(self.model, self.method)(value)


def _programs() -> Any:
    model, batch = handmade.Logvar(), torch.export.Dim("batch")
    with tempfile.TemporaryDirectory() as folder:
        for name, width in (("encode", handmade.FEATURES), ("decode", handmade.LATENT)):
            rows = (torch.zeros(3, width),)
            program = torch.export.export(_Half(model, name), rows, dynamic_shapes=({0: batch},))
            torch.export.save(program, Path(folder) / f"{name}r.pt2")
        return open_saved("pt2", folder, trust_pickle=True)


def _diffusers_folder() -> Any:
    from diffusers import AutoencoderTiny

    sides = {f"{side}_block_out_channels": (8, 8) for side in ("encoder", "decoder")}
    sides |= {f"num_{side}_blocks": (1, 1) for side in ("encoder", "decoder")}
    with tempfile.TemporaryDirectory() as folder:
        AutoencoderTiny(**sides, latent_channels=2).save_pretrained(folder)
        return open_saved("diffusers", folder)


def _pythae_folder() -> Any:
    from pythae.models import BetaVAE, BetaVAEConfig

    with tempfile.TemporaryDirectory() as folder:
        BetaVAE(BetaVAEConfig(input_dim=(1, 8, 8), latent_dim=4)).save(folder)
        return open_saved("pythae", folder, trust_pickle=True)


def _diffusers() -> list[Family]:
    def make(name: str, **options: Any) -> Callable[[], Any]:
        def build() -> Any:
            import diffusers

            return getattr(diffusers, name)(**options)

        return build

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    kl = {**blocks, "block_out_channels": (8, 16), "latent_channels": 2, "norm_num_groups": 4, "sample_size": 16}
    sides = {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in {
            "block_types": ("ResBlock", "EfficientViTBlock"), "block_out_channels": (8, 16),
            "layers_per_block": (1, 1), "qkv_multiscales": ((), (5,)),
        }.items()
    }  # fmt: skip
    tiny = {f"{side}_block_out_channels": (8, 8) for side in ("encoder", "decoder")}
    tiny |= {f"num_{side}_blocks": (1, 1) for side in ("encoder", "decoder")}
    models = {
        "AutoencoderKL": kl,
        "AutoencoderKL, with shift": {**kl, "shift_factor": 0.0609, "scaling_factor": 0.3611},
        "AsymmetricAutoencoderKL": {
            "down_block_types": ("DownEncoderBlock2D",) * 2, "down_block_out_channels": (8, 16), "norm_num_groups": 4,
            "up_block_types": ("UpDecoderBlock2D",) * 2, "up_block_out_channels": (8, 16), "latent_channels": 2,
        },
        "AutoencoderTiny": {**tiny, "latent_channels": 2},
        "AutoencoderDC": {**sides, "latent_channels": 4, "attention_head_dim": 8},
        "VQModel": {"block_out_channels": (8,), "norm_num_groups": 4, "num_vq_embeddings": 16, "latent_channels": 3},
    }  # fmt: skip
    plain = [
        Family(f"diffusers {name}", make(name.partition(",")[0], **options), colour, config={"layout": "nchw"},
               library="diffusers")
        for name, options in models.items()
    ]  # fmt: skip
    flux = {**kl, "latent_channels": 2}
    levels = {"dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [False, True, True]}
    ltx = {
        "latent_channels": 4, "patch_size": 1, "patch_size_t": 1,
        **{f"{side}block_out_channels": (8, 8, 8, 8) for side in ("", "decoder_")},
        **{f"{side}layers_per_block": (1, 1, 1, 1, 1) for side in ("", "decoder_")},
        **{f"{side}spatio_temporal_scaling": (True, True, False, False) for side in ("", "decoder_")},
    }  # fmt: skip
    oobleck = {
        "encoder_hidden_size": 6, "downsampling_ratios": [2, 4], "decoder_channels": 3, "decoder_input_channels": 3,
        "audio_channels": 2, "channel_multiples": [2, 4],
    }  # fmt: skip
    wan = {"base_dim": 3, "z_dim": 2, **levels}
    newer = [
        ("AutoencoderKLFlux2", flux, colour, {"layout": "nchw"}),
        ("AutoencoderKLWan", wan, frames(5), {}),
        ("AutoencoderKLQwenImage", {**wan, "latents_mean": [0.0, 0.0], "latents_std": [1.0, 1.0]}, frames(1), {}),
        ("AutoencoderKLLTXVideo", ltx, frames(9), {}),
        ("AutoencoderOobleck", oobleck, sound, {}),
    ]
    return plain + [
        Family(f"diffusers {name}", make(name, **options), rows, config=config, library="diffusers")
        for name, options, rows, config in newer
    ]


PYTHAE = (
    *("AE", "VAE", "BetaVAE", "DisentangledBetaVAE", "BetaTCVAE", "FactorVAE", "IWAE", "MIWAE", "CIWAE", "PIWAE"),
    *("INFOVAE_MMD", "WAE_MMD", "VAMP", "SVAE", "PoincareVAE", "Adversarial_AE", "VAEGAN", "VQVAE", "MSSSIM_VAE"),
    *("HVAE", "RHVAE", "RAE_GP", "RAE_L2", "VAE_LinNF", "VAE_IAF"),
)


def _pythae() -> list[Family]:
    def make(name: str) -> Callable[[], Any]:
        def build() -> Any:
            import pythae.models

            config = getattr(pythae.models, f"{name}Config", None) or getattr(pythae.models, f"{name}_Config")
            more = {"num_embeddings": 8} if name == "VQVAE" else {}
            return getattr(pythae.models, name)(config(input_dim=(1, 8, 8), latent_dim=4, **more))

        return build

    return [
        Family(f"pythae {name}", make(name), small_pictures, config={"layout": "nchw"}, library="pythae",
               samples=name != "PoincareVAE")
        for name in PYTHAE
    ]  # fmt: skip


def _pyod() -> list[Family]:
    def make(module: str, name: str, **options: Any) -> Callable[[], Any]:
        def build() -> Any:
            import importlib

            detector = getattr(importlib.import_module(f"pyod.models.{module}"), name)
            rows = np.random.default_rng(3).normal(3, 2, (200, handmade.FEATURES))
            return detector(epoch_num=2, verbose=0, **options).fit(rows)

        return build

    vae = make("vae", "VAE", encoder_neuron_list=[16, 8], decoder_neuron_list=[8, 16])
    autoencoder = make("auto_encoder", "AutoEncoder", hidden_neuron_list=[16, 3])
    return [
        Family("PyOD VAE", vae, features, library="pyod"),
        Family("PyOD AutoEncoder", autoencoder, features, library="pyod"),
    ]


FAMILIES = [*by_hand(), *_hidden(), *_industrial(), *_trained(), *_saved(), *_diffusers(), *_pythae(), *_pyod()]


def built(family: Family) -> Any:
    """The model, with the same random or trained weights each time."""
    torch.manual_seed(0)
    model = family.make()
    if not family.trained:
        return model
    rng = np.random.default_rng(7)
    rows = torch.from_numpy(family.rows(rng))
    return trained(model, rows, None if family.condition is None else torch.from_numpy(family.condition(rng)))
