"""Where a traced forward draws its latents: the nodes z = mean + std * noise that separate rows from reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

from .affine import Follower, Line
from .dependence import ancestors, separates, way_around
from .forward_trace import ForwardTrace, elements, line_of
from .operations import NORMAL, OTHER_RANDOM, RESHAPES, name_of
from .reasons import NotCut


@dataclass(frozen=True, eq=False)
class Latents:
    """What a forward is cut at.

    Attributes:
        lines: per latent, z with its mean and standard deviation, in the order of the graph.
        left_out: noises that are no latent, and why, in words; their mean is exported.
        depend: later posteriors depend on draws of earlier ones.
    """

    lines: tuple[Line, ...]
    left_out: tuple[str, ...]
    depend: bool


def noises_of(traced: ForwardTrace) -> list[fx.Node]:
    """Nodes that draw normal noise."""
    return [node for node in traced.graph_module.graph.nodes if name_of(node) in NORMAL]


def find_latents(traced: ForwardTrace, x_hats: Sequence[fx.Node]) -> Latents:
    """The smallest set of drawn nodes through which alone rows reach their reconstruction.

    Raises:
        NotCut: there is none; the text says why, with the line.
    """
    relevant = ancestors(x_hats)
    order = {node: at for at, node in enumerate(traced.graph_module.graph.nodes)}
    for node in sorted(relevant, key=lambda n: order[n]):
        if name_of(node) in OTHER_RANDOM:
            raise NotCut(f"its forward draws {name_of(node)}{line_of(node)}, which is no normal noise")
    noises = [node for node in noises_of(traced) if node in relevant]
    drawn: list[Line] = []
    left_out: list[str] = []
    for noise in noises:
        lines = Follower(noise, relevant, traced.x).lines()
        taken = _last_absorbing(lines, traced.x)
        if taken is None:
            left_out.append(f"noise{line_of(noise)} does not enter a mean of its own, element by element")
        elif taken.mean is traced.x or (isinstance(taken.mean, fx.Node) and _is_rows(taken.mean, traced.x)):
            left_out.append(f"noise{line_of(noise)} is added to the rows and left out")
        else:
            drawn.append(taken)
    order = {node: at for at, node in enumerate(traced.graph_module.graph.nodes)}
    drawn.sort(key=lambda line: order[line.node])
    drawn, generated = _without_generated(drawn, traced.x)
    left_out += [f"noise{line_of(line.node)} is drawn inside the decoder; its mean is exported" for line in generated]
    if not drawn or not separates([line.node for line in drawn], traced.x, x_hats):
        raise NotCut(_why_not(traced, drawn, left_out, x_hats))
    drawn, spare = _smallest(drawn, traced.x, x_hats)
    left_out += [f"noise{line_of(line.node)} lies before the latent and is left out" for line in spare]
    kept = {line.node for line in drawn}
    depend = any(
        (kept - {line.node}) & ancestors([part for part in (line.std, line.mean) if isinstance(part, fx.Node)])
        for line in drawn
    )
    return Latents(tuple(drawn), tuple(left_out), depend)


def _last_absorbing(lines: Sequence[Line], x: fx.Node) -> Line | None:
    """The last node on a line at which something of the rows came in; what follows it is the decoder's work.

    So is what a condition adds to a draw: as part of the mean it would change the KL.
    """
    taken = None
    for at, (before, line) in enumerate(zip([None, *lines], lines, strict=False)):
        if line.absorbed and _takes_rows(before, line, x):
            taken = at
    if taken is None:
        return None
    return next((line for line in lines[taken:] if elements(line.node) is not None), None)


def _takes_rows(before: Line | None, line: Line, x: fx.Node) -> bool:
    """Whether this very step brought a new mean or std."""
    if before is None or not before.absorbed:
        return True
    others = [node for node in line.node.all_input_nodes if node is not before.node]
    return x in ancestors(others)


def _is_rows(mean: fx.Node, x: fx.Node) -> bool:
    """Whether a mean is the rows themselves, in another shape at most."""
    while mean is not x:
        if name_of(mean) not in RESHAPES or not isinstance(mean.args[0], fx.Node):
            return False
        mean = mean.args[0]
    return True


def _without_generated(drawn: Sequence[Line], x: fx.Node) -> tuple[list[Line], list[Line]]:
    """Draws around what other draws decide alone are the decoder's own."""
    kept: list[Line] = []
    generated: list[Line] = []
    for line in drawn:
        parts = [part for part in (line.std, line.mean) if isinstance(part, fx.Node)]
        (kept if x in ancestors(parts, cut=[other.node for other in kept]) else generated).append(line)
    return kept, generated


def _smallest(drawn: list[Line], x: fx.Node, x_hats: Sequence[fx.Node]) -> tuple[list[Line], list[Line]]:
    """Without draws that are not needed to separate; those of a constant spread go first, such as noise on a layer."""
    spare: list[Line] = []
    by_need = sorted(drawn, key=lambda line: isinstance(line.std, fx.Node) and x in ancestors([line.std]))
    for line in by_need:
        rest = [other.node for other in drawn if other is not line and other not in spare]
        if rest and separates(rest, x, x_hats):
            spare.append(line)
    return [line for line in drawn if line not in spare], spare


def _why_not(traced: ForwardTrace, drawn: list[Line], left_out: list[str], x_hats: Sequence[fx.Node]) -> str:
    if not drawn:
        return (
            "; ".join(left_out)
            + ": a latent is mean + std * noise, with a mean and a std per element, not a full covariance"
        )
    around = way_around([line.node for line in drawn], traced.x, x_hats)
    return (
        f"what follows its noise also takes what comes before it (in {name_of(around)}{line_of(around)}), as a skip "
        "connection does: such values must be part of the code, or left out of the decoder"
    )
