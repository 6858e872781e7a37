"""How a picture of another size is made one of a model's size: the same rule at training, export and on the device."""

from __future__ import annotations

from typing import NamedTuple, get_args

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import Fit, InputSpec

FITS = tuple(fit for fit in get_args(Fit) if fit != "exact")
"""What ``--fit`` takes; ``exact`` is a bundle that takes pictures of its own size alone."""
Size = tuple[int, int]


class Placed(NamedTuple):
    """Which part of a picture goes where; rows and columns from the upper left.

    Attributes:
        source: (top, left, bottom, right) of what is taken.
        target: (top, left, height, width) of where it lies in the new picture; the rest is black.
    """

    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]


def check_fit(fit: str | None, size: Size | None) -> str:
    """The rule to resize by: ``stretch`` where none was named.

    Raises:
        OptionError: there is no such rule, or no size to fit to.
    """
    if fit is None:
        return "stretch"
    if fit not in FITS:
        raise OptionError(f"fit is {fit!r}; valid are {', '.join(FITS)}")
    if size is None:
        raise OptionError("--fit says how a picture gets the size of --image-size: pass that too")
    return fit


def placed(have: Size, want: Size, fit: str) -> Placed:
    """Where a picture of size ``have`` (height, width) goes in one of size ``want``.

    ``stretch`` changes the aspect ratio. ``pad`` keeps the whole picture, and black bars fill the rest. ``crop``
    fills the whole size, and what is over on two sides is cut off. Both keep the picture in the middle.

    Example:
        >>> placed((100, 200), (64, 64), "pad").target
        (16, 0, 32, 64)
        >>> placed((100, 200), (64, 64), "crop").source
        (0, 50, 100, 150)
    """
    height, width = have
    if fit == "pad":
        scale = min(want[0] / height, want[1] / width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        target = ((want[0] - inner[0]) // 2, (want[1] - inner[1]) // 2, *inner)
        return Placed((0, 0, height, width), target)
    if fit == "crop":
        scale = max(want[0] / height, want[1] / width)
        tall, wide = min(height, max(1, round(want[0] / scale))), min(width, max(1, round(want[1] / scale)))
        top, left = (height - tall) // 2, (width - wide) // 2
        return Placed((top, left, top + tall, left + wide), (0, 0, *want))
    return Placed((0, 0, height, width), (0, 0, *want))


def changes_shape(have: Size, want: Size) -> bool:
    """Whether stretching changes the aspect ratio by more than rounding to whole pixels does."""
    return abs(have[0] * want[1] - have[1] * want[0]) > max(have) * 1.0


def size_for(spec: InputSpec, size: Size | None) -> tuple[Size | None, str]:
    """The size to bring pictures to and the rule: those of the bundle, where it has a rule and nothing else is said."""
    if size is not None:
        return size, "stretch" if spec.fit == "exact" else spec.fit
    if spec.fit == "exact" or spec.layout not in ("nchw", "nhwc"):
        return None, "stretch"
    height, width = spec.shape[1:] if spec.layout == "nchw" else spec.shape[:2]
    return (height, width), spec.fit
