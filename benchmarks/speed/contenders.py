"""What is compared: each a factory of a call that scores raw rows, and one that samples.

The others are written as their users write them, with the options their documentation advises; every one
returns the same score, and the report says how far each is from PyTorch's in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from speed_models import Rows, Subject, to_model

from vae_edge_runtime import load

Score = Callable[[Rows], NDArray[np.floating[Any]]]
Sample = Callable[[int, int], NDArray[Any]]
"""(rows, seed) to raw rows."""


@dataclass(frozen=True)
class Contender:
    """A way to run a model."""

    name: str
    score: Score
    sample: Sample


def pytorch(subject: Subject, model: Any, threads: int, *, compiled: bool) -> Contender:
    """PyTorch, eager or compiled."""
    torch.set_num_threads(threads)

    def score_of(x: torch.Tensor) -> torch.Tensor:
        return pytorch_score(subject, model, x)

    decode = model.decode
    if compiled:
        score_of, decode = torch.compile(score_of, dynamic=False), torch.compile(decode, dynamic=False)

    @torch.inference_mode()
    def score(rows: Rows) -> NDArray[Any]:
        return score_of(to_model(subject, rows)).numpy()

    @torch.inference_mode()
    def sample(n: int, seed: int) -> NDArray[Any]:
        torch.manual_seed(seed)
        return _raw(subject, decode(torch.randn(n, *subject.latent)).numpy())

    return Contender("torch.compile" if compiled else "PyTorch", score, sample)


def pytorch_score(subject: Subject, model: Any, x: torch.Tensor) -> torch.Tensor:
    """Negative ELBO at the posterior mean, (n,)."""
    mean, logvar = model.encode(x)
    rebuilt = model.decode(mean)
    if subject.logits:
        error = torch.nn.functional.binary_cross_entropy_with_logits(rebuilt, x, reduction="none")
    else:
        error = (rebuilt - x).square()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
    return error.flatten(1).sum(1) + kl.flatten(1).sum(1)


def split_graphs(subject: Subject, model: Any, folder: Path) -> tuple[Path, Path]:
    """encoder.onnx and decoder.onnx."""
    rows = to_model(subject, subject.rows(True, 2, np.random.default_rng(0)))
    return (
        _exported(_Part(model, model.encode), rows, folder / f"{subject.name}-encoder.onnx"),
        _exported(_Part(model, model.decode), _latents(subject), folder / f"{subject.name}-decoder.onnx"),
    )


def whole_graphs(subject: Subject, model: Any, folder: Path) -> tuple[Path, Path]:
    """Graphs from raw rows to scores and from latents to raw rows: for who writes both in PyTorch."""

    def score(rows: torch.Tensor) -> torch.Tensor:
        x = rows.float() / subject.divisor
        return pytorch_score(subject, model, x.permute(0, 3, 1, 2) if x.ndim == 4 else x)

    def sample(z: torch.Tensor) -> torch.Tensor:
        decoded = model.decode(z)
        if decoded.ndim != 4:
            return decoded
        unit = torch.sigmoid(decoded) if subject.logits else decoded
        return (unit.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8)

    rows = torch.from_numpy(subject.rows(True, 2, np.random.default_rng(0)))
    return (
        _exported(_Part(model, score), rows, folder / f"{subject.name}-whole-score.onnx"),
        _exported(_Part(model, sample), _latents(subject), folder / f"{subject.name}-whole-sample.onnx"),
    )


def _latents(subject: Subject) -> torch.Tensor:
    return torch.zeros(2, *subject.latent)


def _exported(part: torch.nn.Module, example: torch.Tensor, path: Path) -> Path:
    """By torch's exporter with its defaults and a free batch; once."""
    if not path.exists():
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            part, (example,), path, dynamo=True, dynamic_shapes=({0: batch},), external_data=False, verbose=False
        )
    return path


class _Part(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, call: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, x: Any) -> Any:
        return self.call(x)


def split_sessions(subject: Subject, graphs: tuple[Path, Path], threads: int, *, spinning: bool) -> Contender:
    """Two sessions of ONNX Runtime, numpy before, between and after: what most people write."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if not spinning:  # as if the two shared one pool: the one that waits takes no time from the other
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    encoder, decoder = (
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]) for path in graphs
    )
    given, latent = encoder.get_inputs()[0].name, decoder.get_inputs()[0].name

    def score(rows: Rows) -> NDArray[Any]:
        x = rows.astype(np.float32) / np.float32(subject.divisor)
        if x.ndim == 4:
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        mean, logvar = encoder.run(None, {given: x})
        rebuilt = decoder.run(None, {latent: mean})[0]
        error = np.logaddexp(0, rebuilt) - x * rebuilt if subject.logits else (rebuilt - x) ** 2
        kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar)
        return np.asarray(error.reshape(len(x), -1).sum(1) + kl.reshape(len(x), -1).sum(1))

    def sample(n: int, seed: int) -> NDArray[Any]:
        z = np.random.default_rng(seed).standard_normal((n, *subject.latent), np.float32)
        return _raw(subject, decoder.run(None, {latent: z})[0])

    return Contender("split sessions" if spinning else "split sessions, not spinning", score, sample)


def openvino(subject: Subject, graphs: tuple[Path, Path], threads: int) -> Contender:
    """OpenVINO called directly in float32, scoring and sampling in one graph each, without any numpy around them."""
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    scorer, decoder = (core.compile_model(path, "CPU", settings).create_infer_request() for path in graphs)

    def score(rows: Rows) -> NDArray[Any]:
        scorer.infer([rows], share_inputs=True)
        return np.array(scorer.get_output_tensor(0).data)

    def sample(n: int, seed: int) -> NDArray[Any]:
        decoder.infer(
            [np.random.default_rng(seed).standard_normal((n, *subject.latent), np.float32)], share_inputs=True
        )
        return np.array(decoder.get_output_tensor(0).data)

    return Contender("OpenVINO", score, sample)


def ours(bundle: Path, variant: str, device: str, threads: int, *, spin: bool | None = None) -> Contender:
    """vae-edge as its documentation has it: the public calls, checks included."""
    vae = load(bundle, variant=variant, device=device, threads=threads, spin=spin)
    vae.score(np.zeros((1, *vae.manifest.input.shape), vae.manifest.input.dtype))
    name = {"cpu": f"vae-edge {variant}", "openvino-bf16": "vae-edge bf16"}.get(device, f"vae-edge {variant}, {device}")
    name += ", not spinning" if spin is False else ""
    return Contender(name, lambda rows: vae.score(rows).score, lambda n, seed: vae.sample(n, seed=seed))


def has_bf16() -> bool:
    """Whether this CPU computes in bfloat16."""
    import openvino as ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _raw(subject: Subject, decoded: NDArray[Any]) -> NDArray[Any]:
    """What the decoder gives, as raw rows."""
    if decoded.ndim != 4:
        return decoded
    unit = 1 / (1 + np.exp(-decoded)) if subject.logits else decoded
    return np.clip(np.rint(unit.transpose(0, 2, 3, 1) * 255), 0, 255).astype(np.uint8)
