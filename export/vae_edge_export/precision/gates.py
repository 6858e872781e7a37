"""What a variant must keep of the fp32 one, and whether it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.manifest import Fidelity


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Limits on ``Fidelity``; see there for what each figure is."""

    min_rank_correlation: float
    min_decision_agreement: float
    max_auroc_change: float
    min_psnr_db: float
    min_ssim: float
    max_latent_error: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not 0 <= getattr(self, field.name) < float("inf"):
                raise OptionError(f"gate {field.name} is {getattr(self, field.name)}; it is a number from 0")


_HALF = Gate(
    min_rank_correlation=0.999,
    min_decision_agreement=0.995,
    max_auroc_change=0.002,
    min_psnr_db=50.0,
    min_ssim=0.99,
    max_latent_error=0.01,
)
_INT8 = Gate(
    min_rank_correlation=0.995,
    min_decision_agreement=0.99,
    max_auroc_change=0.005,
    min_psnr_db=30.0,
    min_ssim=0.95,
    max_latent_error=0.1,
)
DEFAULT_GATES: Mapping[str, Gate] = {"fp16": _HALF, "int8": _INT8, "int8-cpu": _INT8}
"""By variant. int8's limits are those at which a user would not see the difference in decisions; a decoder whose
pictures matter more than its scores wants a higher PSNR."""


def parse_gates(texts: tuple[str, ...]) -> dict[str, Gate]:
    """``int8.min_psnr_db=25`` and more of the kind to whole gates.

    Raises:
        OptionError: no such variant or limit, or no number.
    """
    gates = dict(DEFAULT_GATES)
    names = [field.name for field in dataclasses.fields(Gate)]
    for text in texts:
        place, _, value = text.partition("=")
        variant, _, limit = place.partition(".")
        if variant not in gates or limit not in names:
            raise OptionError(
                f"gate {text!r} is not VARIANT.LIMIT=NUMBER with a variant of {', '.join(gates)} "
                f"and a limit of {', '.join(names)}"
            )
        try:
            number = float(value)
        except ValueError:
            raise OptionError(f"gate {text!r}: {value!r} is not a number") from None
        gates[variant] = dataclasses.replace(gates[variant], **{limit: number})
    return gates


def problems(found: Fidelity, gate: Gate) -> list[str]:
    """Every limit that is missed, in words; NaN misses all."""
    checks = [
        ("rank correlation of scores", found.rank_correlation, gate.min_rank_correlation, "at least"),
        ("equal decisions", found.decision_agreement, gate.min_decision_agreement, "at least"),
        (f"AUROC change on {found.auroc_on} anomalies", found.auroc_change, gate.max_auroc_change, "at most"),
        ("PSNR of reconstructions in dB", found.reconstruction_psnr_db, gate.min_psnr_db, "at least"),
        ("latent error", found.latent_error, gate.max_latent_error, "at most"),
    ]
    if found.reconstruction_ssim is not None:
        checks.append(("SSIM of reconstructions", found.reconstruction_ssim, gate.min_ssim, "at least"))
    return [
        f"{name} {value:.5g}, {word} {limit:g}"
        for name, value, limit, word in checks
        if not (value >= limit if word == "at least" else value <= limit)
    ]
