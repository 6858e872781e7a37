"""What two bundles say about themselves, and whether they take the same rows."""

from __future__ import annotations

from dataclasses import dataclass

from vae_edge_runtime import VAE
from vae_edge_runtime.errors import InputError
from vae_edge_runtime.format.manifest import Calibration, Manifest


@dataclass(frozen=True)
class Fact:
    """One line of both, as text; a dash where one has no such thing."""

    what: str
    a: str
    b: str

    @property
    def differs(self) -> bool:
        """Whether the two say something else."""
        return self.a != self.b


def check_same_rows(a: Manifest, b: Manifest) -> None:
    """Refuse bundles that do not take the same rows.

    Raises:
        InputError: shape, dtype, layout, names of the features or the condition differ; it says which.
    """
    for what, one, other in (
        ("shape", list(a.input.shape), list(b.input.shape)),
        ("dtype", a.input.dtype, b.input.dtype),
        ("layout", a.input.layout, b.input.layout),
        ("condition", _condition(a), _condition(b)),
    ):
        if one != other:
            raise InputError(f"the bundles take other rows: {what} {one} and {other}; compare bundles of one input")
    if a.input.names and b.input.names and a.input.names != b.input.names:
        i = next(i for i, names in enumerate(zip(a.input.names, b.input.names, strict=True)) if len(set(names)) > 1)
        raise InputError(
            f"the bundles take other rows: feature {i} is {a.input.names[i]!r} and {b.input.names[i]!r}; "
            "compare bundles of one input"
        )


def facts(a: VAE, b: VAE) -> tuple[Fact, ...]:
    """Model card, make, score and thresholds of both sessions."""
    one, other = _facts(a), _facts(b)
    return tuple(Fact(what, one.get(what, "-"), other.get(what, "-")) for what in {**one, **other})


def _facts(vae: VAE) -> dict[str, str]:
    manifest, score = vae.manifest, vae.manifest.score
    model, row, latent = manifest.model, manifest.input, manifest.latent
    kl = "none" if score.kl_weight is None else f"{score.kl_weight:g}"
    return {
        "model": f"{model.name} {model.version}",
        "release": str(manifest.release),
        "licence": model.licence,
        "source": model.source or "-",
        "description": model.description or "-",
        **{f"metric {name}": f"{value:g}" for name, value in model.metrics.items()},
        "bundle id": vae.info.bundle_id[:16],
        "weights (pair id)": manifest.pair_id[:16],
        "variant": vae.info.variant,
        "provider": vae.info.provider,
        **{f"made with {name}": version for name, version in manifest.made_with.items()},
        "calibrated on": f"[{row.low:g}, {row.high:g}]",
        "latent": f"{latent.kind} {list(latent.shape)}",
        "prior": f"{latent.prior.kind}: {latent.prior.source}",
        "likelihood": score.likelihood,
        "score": f"{score.transform} of {score.reconstruction_weight:g} reconstruction, KL {kl}",
        "heads": ", ".join(score.heads),
        **{f"threshold {head}": _threshold(calibration) for head, calibration in vae.calibrations.items()},
    }


def _threshold(c: Calibration) -> str:
    return f"{c.threshold:.6g} ({c.source}, {c.false_positive_rate:.3g} of {c.n} rows)"


def _condition(manifest: Manifest) -> str:
    condition = manifest.condition
    return "none" if condition is None else f"{condition.dtype} {list(condition.shape)}"
