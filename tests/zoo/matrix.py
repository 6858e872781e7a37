"""The compatibility page, made by running it: ``python tests/zoo/matrix.py docs/compatibility.md``.

Every cell is measured on real classes with random weights; nothing is ticked by hand.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from families import FAMILIES, Family, built

from vae_edge_export import ExportConfig, export, export_for_generation
from vae_edge_export.adapters.recipe import AT_CODES, AT_NOISE, AT_ROUNDING, IN_WORDS, PASSED
from vae_edge_runtime import VAE, load, standard_normal
from vae_edge_runtime.errors import VaeEdgeError

ORT_1_23 = os.environ.get("VAE_EDGE_ORT_1_23", "")
"""A folder with onnxruntime 1.23.2 in it (``pip install --target``), the last for Python 3.10."""

_OTHER_ORT = """
import json, sys
import numpy as np, onnxruntime
from vae_edge_runtime import load
assert onnxruntime.__version__ == "1.23.2", onnxruntime.__version__
bundle, rows, conditions, expected = sys.argv[1:]
x, wanted = np.load(rows), np.load(expected)
condition = np.load(conditions) if conditions else None
with load(bundle, device="cpu", threads=1) as vae:
    score = vae.score(x, condition=condition).score
    to_decode = None if vae.manifest.beside_latents is None else condition
    vae.decode(vae.encode(x, condition=condition), condition=to_decode)
print(json.dumps(float(np.max(np.abs(score - wanted) / np.maximum(np.abs(wanted), 1e-6)))))
"""


@dataclass(frozen=True)
class Outcome:
    """One row: what happened, or at which stage it ended and why.

    Attributes:
        parity: largest relative difference from PyTorch of any output, at batch 1, 5 and 64.
        fresh_error: of scores of new rows, one by one and five at a time, from PyTorch.
        other_ort: the same between onnxruntime 1.23.2 and the installed one; None where not tried.
    """

    family: Family
    recognised: str = ""
    latent: str = ""
    exporter: str = ""
    parity: float = float("nan")
    fresh_error: float = float("nan")
    sample: str = ""
    other_ort: float | None = None
    problem: str = ""


def run(family: Family, folder: Path) -> Outcome:
    """Export one family and use the bundle."""
    rng = np.random.default_rng(0)
    x = family.rows(rng)
    options = dict(family.options)
    if family.condition is not None:
        options["condition"] = family.condition(rng)
    if family.target is not None:
        options["target"] = family.target(rng)
    path = folder / "model.vaeb"
    if family.latent_shape or family.forecast:
        return _for_generation(family, x, path)
    try:
        report = export(
            built(family),
            path,
            calibration=x,
            config=ExportConfig(allow_poor_fit=True, **family.config),
            force=True,
            **options,
        )
    except VaeEdgeError as error:
        return Outcome(family, problem=f"{type(error).__name__}: {error}")
    with load(path, device="cpu", threads=1) as vae:
        fresh = family.rows(np.random.default_rng(99))[:5]
        beside = family.condition or family.target
        condition = None if beside is None else beside(np.random.default_rng(98))[:5]
        scores = vae.score(fresh, condition=condition).score
        latent = vae.manifest.latent
        return Outcome(
            family,
            recognised=_how(report.evidence[0]),
            latent=f"{latent.kind} {'×'.join(map(str, latent.shape))}",
            exporter=vae.manifest.made_with["exporter"],
            parity=max(figure.max_relative for figure in report.parity.values()),
            fresh_error=_fresh_error(vae, fresh, condition, scores),
            sample=_sample(vae, condition if family.target is None else None),
            other_ort=_on_other_ort(folder, fresh, condition, scores) if ORT_1_23 else None,
        )


def _for_generation(family: Family, x: np.ndarray, path: Path) -> Outcome:
    """A family that is exported without scores; *alone* is of decoded rows then."""
    given: dict[str, Any] = {"latent_shape": family.latent_shape} if family.latent_shape else {"rows": x[:8]}
    report = export_for_generation(built(family), path, config=ExportConfig(**family.config), force=True, **given)
    with load(path, device="cpu", threads=1) as vae:
        latent = vae.manifest.latent
        z = standard_normal(5 * int(np.prod(latent.shape)), seed=1).reshape(5, *latent.shape)
        together, alone = vae.decode(z), np.concatenate([vae.decode(z[i : i + 1]) for i in range(5)])
        return Outcome(
            family,
            recognised="a decoder alone" if family.latent_shape else _how(report.evidence[0]),
            latent=f"{latent.kind} {'×'.join(map(str, latent.shape))}",
            exporter=vae.manifest.made_with["exporter"],
            parity=max(figure.max_relative for figure in report.parity.values()),
            fresh_error=float(np.max(np.abs(together - alone)) / np.max(np.abs(together))),
            sample=_sample(vae, None),
        )


def _fresh_error(vae: VAE, x: np.ndarray, condition: Any, scores: np.ndarray) -> float:
    """Scores of rows nobody traced or calibrated with: the same alone as five at a time."""
    alone = [vae.score(x[i : i + 1], condition=_part(condition, i)).score[0] for i in range(len(x))]
    return float(np.max(np.abs(np.array(alone) - scores) / np.maximum(np.abs(scores), 1e-6)))


def _part(condition: Any, i: int) -> Any:
    return None if condition is None else condition[i : i + 1]


def _sample(vae: VAE, condition: Any) -> str:
    """Where samples come from; or, of a model without a prior, that it decodes latents of one's own."""
    prior = vae.manifest.latent.prior
    if prior.kind == "none":
        z = standard_normal(2 * int(np.prod(vae.manifest.latent.shape)), seed=1)
        rows = vae.decode(z.reshape(2, *vae.manifest.latent.shape))
    else:
        rows = vae.sample(2, seed=1, condition=None if condition is None else condition[:2])
    if not np.isfinite(rows).all():
        return "not finite"
    return {"standard_normal": "N(0, I)", "gaussian_mixture": "mixture" if prior.components > 1 else "fitted Gaussian",
            "categorical": "counted codes", "none": "no prior"}[prior.kind]  # fmt: skip


def _how(evidence: str) -> str:
    """The first line of the evidence, so short that it fits a table."""
    return _NAMES.get(evidence) or evidence.removeprefix("recognised as ")


_NAMES = {sentence: name for name, sentence in IN_WORDS.items()}


def _on_other_ort(folder: Path, x: np.ndarray, condition: Any, scores: np.ndarray) -> float:
    np.save(folder / "x.npy", x)
    np.save(folder / "expected.npy", scores)
    beside = ""
    if condition is not None:
        np.save(folder / "condition.npy", condition)
        beside = str(folder / "condition.npy")
    command = [sys.executable, "-c", _OTHER_ORT, "model.vaeb", "x.npy", beside, "expected.npy"]
    environment = {**os.environ, "PYTHONPATH": ORT_1_23}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(done.stderr)
    return float(json.loads(done.stdout))


def page(outcomes: list[Outcome]) -> str:
    """The document."""
    names = ("torch", "onnxruntime", "diffusers", "pythae", "pyod")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    good = [o for o in outcomes if not o.problem]
    lines = [
        "# Compatibility",
        "",
        "Made by `make compatibility`, which exports every model below with random weights and a small configuration",
        f"and uses the bundle: {versions}.",
        f"Last run: {datetime.date.today():%Y-%m-%d}, x86-64 Linux, CPU; {len(good)} of {len(outcomes)} rows work.",
        "",
        "- *refused*: the row says with which reason; the models are built to be.",
        "- *trained*: the model above it, after 60 steps of training on its own rows.",
        "- *cut*: how the halves were found: by their names (or by a library's class), at the noise or the codes of",
        "  forward, or by lambdas.",
        "- *glue*: what you write beside `export(model, path, calibration=rows)`.",
        "- *parity*: largest relative difference from float64 PyTorch of any output of any graph, at batch 1, 5 and 64",
        "  (the graphs are traced with 3), on rows other than the traced ones; the gate is 1e-4.",
        "- *alone*: scores of rows never seen before, one by one against five at a time.",
        "- *samples from*: what `sample` draws; every model listed decodes.",
        "- *1.23.2*: largest relative difference between scores in onnxruntime 1.23.2, which also encodes and decodes,",
        "  and in the installed one.",
        "",
        "| model | glue | cut | encoder and decoder | latent | parity | alone | samples from | 1.23.2 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(row, outcomes), "", *_WHAT_IS_NOT, ""])


def row(o: Outcome) -> str:
    """One line of the table."""
    if o.problem:
        what = "refused" if o.family.refused and o.family.refused in o.problem else "**fails**"
        return f"| {o.family.name} | {o.family.glue} | - | {what}: {_short(o.problem)} | | | | | |"
    other = "not run" if o.other_ort is None else f"{o.other_ort:.0e}"
    mark = " (legacy exporter)" if "legacy" in o.exporter else ""
    cells = (
        o.family.name,
        o.family.glue,
        way_of(o.recognised),
        o.recognised + mark,
        o.latent,
        f"{o.parity:.0e}",
        f"{o.fresh_error:.0e}",
    )
    return f"| {' | '.join(cells)} | {o.sample} | {other} |"


def _short(problem: str) -> str:
    """The reason in one cell, without paths of this machine."""
    text = re.sub(r" at \S+:\d+ in \w+", "", " ".join(problem.split()))
    return text if len(text) <= 320 else f"{text[:320].rsplit(' ', 1)[0]} …"


def way_of(recognised: str) -> str:
    """How the halves of a model were found."""
    ways = {
        AT_NOISE: "noise",
        AT_CODES: "codes",
        AT_ROUNDING: "codes",
        PASSED: "lambdas",
    }
    return ways.get(recognised, "names")


_WHAT_IS_NOT = """
## What is exported, and what is not

- **KL.** A score has a KL where the posterior is a diagonal Gaussian and the prior N(0, I). Everything else
  (autoencoders, VQ, flows, hyperspheres, mixtures) is scored by its reconstruction, and `Scores.kl` is `None`.
- **Flows** (`VAE_IAF`, `VAE_LinNF`): the code is the image of the posterior mean; its density is not exported.
- **VAMP**: the mixture of its pseudo-inputs is stored and sampled from; there is no KL to it in closed form.
- **SVAE**: directions on its sphere; `decode` normalises, so N(0, I) becomes its uniform prior. **PoincareVAE**: no
  prior.
- **HVAE, RHVAE**: the encoder's Gaussian; the Hamiltonian steps need gradients, which no device has.
- **AE, RAE, WAE**: one code per row. `WAE_MMD` is sampled from its N(0, I), the others from a diagonal Gaussian fitted
  to the calibration codes (Ghosh et al. 2020 fit a full one or a mixture; pass your own with `prior=`).
- **VQ**: indices and `z_q` out, indices in. Samples come from code counts of the calibration rows, position by
  position, independently: enough to exercise a decoder, not a generative model. Pass `prior=` probabilities, or decode
  the indices of your own autoregressive prior.
- **diffusers**: latents carry `scaling_factor` and `shift_factor`, as its pipelines use them. Pixels are in [-1, 1].
- **PyOD**: the scaler is in the graphs, the score is the distance `decision_function` gives, the threshold is kept. Its
  VAE draws a latent per call; the bundle decodes the posterior mean.
- **compressai**: `g_a` and `g_s`; no rounding, no entropy model, no bit streams. The row is a model of ours in its
  style: importing the library takes torchvision, which does not go with the CPU build of torch. Its own
  `FactorizedPrior`, `ScaleHyperprior` and `MeanScaleHyperprior` (1.2.8) were exported by hand, once, past its imports:
  5e-7.
- **Residual VQ**: indices (codebooks, positions) of codebooks of one size; several sizes are refused. **FSQ**: the
  rounded values are the code; a prior that is fitted to them draws values that are not rounded.
- **Masks and forecasts**: [missing values](bring-your-own-vae.md#missing-values-and-forecasts) are left out of the
  score, and a forecast is scored against its target. With a mask passed as a plain condition the filled values are
  scored too.
- **A branch on the batch size** is refused: the graph takes any number of rows, and a branch would be taken once and
  for all.
- **Hierarchical models** whose lower prior depends on a higher latent: the KL is taken to N(0, I) for each latent, so
  leave it out (`kl_weight=0`) if that is not the model's.
- **Legacy exporter**: where `torch.export` cannot trace a model, PyTorch's older tracer may, with any warning of its
  own a refusal; the page and the manifest (`made_with.exporter`) say where.
- Not run: models on a GPU, Lightning Bolts and PyTorch-VAE as packages (their styles are rows above), NVAE and VDVAE.
""".strip().split("\n")


def main(target: str, only: str = "") -> None:
    """Run everything and write the page; or only the families whose name holds a word, and keep the other rows."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            if only and only not in family.name:
                continue
            outcomes.append(run(family, Path(folder)))
            print(f"{family.name}: {outcomes[-1].problem or 'ok'}", file=sys.stderr, flush=True)  # noqa: T201
    path = Path(target)
    text = page(outcomes) if not only else with_rows(path.read_text(encoding="utf-8"), outcomes)
    path.write_text(text, encoding="utf-8")


def with_rows(text: str, outcomes: list[Outcome]) -> str:
    """The page with the rows of some families in place; rows of families that were not run stay as they are."""
    before, *others = text.split("|---|---|---|---|---|---|---|---|\n")
    table, _, after = "".join(others).partition("\n\n")
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in table.split("\n")}
    rows |= {outcome.family.name: row(outcome) for outcome in outcomes}
    listed = [rows[family.name] for family in FAMILIES if family.name in rows]
    return f"{before}|---|---|---|---|---|---|---|---|\n" + "\n".join(listed) + f"\n\n{after}"


if __name__ == "__main__":
    main(*sys.argv[1:])
