"""What a bundle cannot do because of what it was exported for, and how to export one that can."""

from __future__ import annotations

from ..errors import NotExported
from ..format.manifest import Manifest

_ASKED = {
    "score": "scores, thresholds and streams need the graph 'score'",
    "encode": "encode, reconstruct and interpolate between rows need the graph 'encode'",
    "compress": "rows are compressed by tables that are fitted to calibration rows",
}
_REMEDY = {
    "score": "export the model with calibration rows, and without --for generation",
    "encode": "export the whole model, not its decoder alone",
    "compress": "export the model with calibration rows and --compress, and without --for generation",
}


def without(manifest: Manifest, graph: str) -> NotExported:
    """The error for what a bundle does not hold.

    Args:
        manifest: of the bundle. graph: that was asked for; or ``compress``.
    """
    purpose = {"generation": "generation", "decoder": "generation, and is a decoder alone"}.get(manifest.purpose)
    why = f"was exported for {purpose}" if purpose else "has no such graph"
    if manifest.purpose == "decoder" and graph == "score":
        remedy = "export the whole model with calibration rows, and without --for generation"
    else:
        remedy = _REMEDY.get(graph, "export the model again, for scoring")
    return NotExported(
        f"the bundle of {manifest.model.name} {why}: {_ASKED.get(graph, f'there is no graph {graph!r}')}. To have "
        f"that, {remedy}"
    )


def refuse_unscored(manifest: Manifest, what: str = "score") -> None:
    """For what needs a calibrated bundle: ``score`` or ``compress``.

    Raises:
        NotExported: the bundle was exported for a purpose without scores.
    """
    if manifest.purpose != "scoring":
        raise without(manifest, what)
