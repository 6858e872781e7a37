"""What a variant must keep of the fp32 one, and whether it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from vae_edge_runtime.arguments.by_annotation import check_fields
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.figures import Fidelity


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
        check_fields(self)
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise OptionError(f"gate {field.name} is {getattr(self, field.name)}; it is a number from 0")

    def tightened(self) -> Gate:
        """With a quarter less room, for choosing between candidates: what just passes on the rows it was chosen by
        just fails on others.
        """
        return Gate(
            min_rank_correlation=1 - _ROOM * (1 - self.min_rank_correlation),
            min_decision_agreement=self.min_decision_agreement,
            max_auroc_change=_ROOM * self.max_auroc_change,
            min_psnr_db=self.min_psnr_db + 1,
            min_ssim=1 - _ROOM * (1 - self.min_ssim),
            max_latent_error=_ROOM * self.max_latent_error,
        )


_ROOM = 0.75

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


@dataclass(frozen=True)
class Figure:
    """One figure of a variant and its limit; NaN keeps none."""

    name: str
    value: float
    limit: float
    at_least: bool

    @property
    def kept(self) -> bool:
        """Whether the figure is on the right side of its limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.value:.5g}, at {'least' if self.at_least else 'most'} {self.limit:g}"


def figures(fidelity: Fidelity, gate: Gate) -> list[Figure]:
    """Every figure beside its limit. One row may always be decided differently: of so few rows a smaller share
    cannot be told from none.
    """
    agreement = min(gate.min_decision_agreement, 1 - 1 / fidelity.rows)
    rows = [
        Figure("rank correlation of scores", fidelity.rank_correlation, gate.min_rank_correlation, True),
        Figure("equal decisions", fidelity.decision_agreement, agreement, True),
        Figure(f"AUROC change on {fidelity.auroc_on} anomalies", fidelity.auroc_change, gate.max_auroc_change, False),
        Figure("PSNR of reconstructions in dB", fidelity.reconstruction_psnr_db, gate.min_psnr_db, True),
        Figure("latent error", fidelity.latent_error, gate.max_latent_error, False),
    ]
    if fidelity.reconstruction_ssim is not None:
        rows.append(Figure("SSIM of reconstructions", fidelity.reconstruction_ssim, gate.min_ssim, True))
    return rows


def problems(fidelity: Fidelity, gate: Gate) -> list[str]:
    """The figures that miss their limit, in words."""
    return [str(figure) for figure in figures(fidelity, gate) if not figure.kept]
