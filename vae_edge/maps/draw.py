"""The picture of a map that one hands on: input, reconstruction and map side by side, with contours and a caption."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.statistics.regions import Region

from .colours import Pixels, over_picture
from .scale import MapScale

CONTOUR = (0, 229, 255)
"""Cyan: no colour of the heat scale, and apart from it for eyes that confuse red and green."""
_BOX, _PAPER, _INK = (255, 255, 255), (255, 255, 255), (34, 34, 34)
_PANEL_SIDE = 256
MOST_BOXES = 9
"""Regions of a picture that get a box."""
_MARGIN = 8
_SMALL_FONT = 14


def enlarged(pixels: NDArray[Any], factor: int) -> NDArray[Any]:
    """Pixel by pixel, by a whole factor."""
    return pixels.repeat(factor, 0).repeat(factor, 1)


def factor_for(height: int, width: int, side: int = _PANEL_SIDE) -> int:
    """By how much a picture is enlarged, so that its longer side has at least ``side`` pixels."""
    return max(1, -(-side // max(height, width)))


def marked(picture: Pixels, places: NDArray[Any], scale: MapScale, found: Sequence[Region], factor: int) -> Pixels:
    """The map over a picture (height, width, 3), enlarged, with contours at the threshold and a box per region."""
    shown = enlarged(over_picture(picture, places, scale.top), factor)
    if scale.threshold is None:
        return shown
    inside = enlarged(places > scale.threshold, factor)
    outer = _grown(inside, 2) & ~inside
    line = inside & ~_shrunk(inside, max(1, factor // 4))
    shown[outer], shown[line] = (0, 0, 0), CONTOUR
    for region in found[:MOST_BOXES]:
        _draw_box(shown, region.box, factor)
    return shown


def side_by_side(
    panels: Sequence[tuple[str, Pixels]], caption: Sequence[str], below: Sequence[tuple[str, Pixels]] = ()
) -> bytes:
    """PNG bytes of panels of one size with a title above each, and lines of caption below.

    Panels of ``below``, of one size that is smaller, come under the caption, as many in a line as there is room for.

    Raises:
        MissingDependency: Pillow is not installed.
    """
    require("PIL", extra="images", why="writing pictures")
    from PIL import Image, ImageDraw

    height, width = panels[0][1].shape[:2]
    size = max(14, width // 24)
    font, line = _font(size), round(size * 1.4)
    sheet_width = max(len(panels) * (width + _MARGIN) + _MARGIN, 480)
    end = height + line * (len(caption) + 1) + 3 * _MARGIN
    small = _font(_SMALL_FONT)
    high, wide = below[0][1].shape[:2] if below else (0, 1)
    high, wide = high + round(_SMALL_FONT * 1.4) + _MARGIN, wide + _MARGIN
    abreast = max(1, (sheet_width - _MARGIN) // wide)
    sheet_width = max(sheet_width, wide + _MARGIN)
    sheet = Image.new("RGB", (sheet_width, end + high * -(-len(below) // abreast)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (title, pixels) in enumerate(panels):
        left = _MARGIN + i * (width + _MARGIN)
        draw.text((left, _MARGIN // 2), title, fill=_INK, font=font)
        sheet.paste(Image.fromarray(pixels), (left, line + _MARGIN // 2))
    for i, text in enumerate(caption):
        top = height + line * (i + 1) + 2 * _MARGIN
        draw.text((_MARGIN, top), _fitting(draw, text, font, sheet_width - 2 * _MARGIN), fill=_INK, font=font)
    for i, (title, pixels) in enumerate(below):
        left, top = _MARGIN + i % abreast * wide, end + i // abreast * high
        draw.text((left, top), title, fill=_INK, font=small)
        sheet.paste(Image.fromarray(pixels), (left, top + round(_SMALL_FONT * 1.4)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _font(size: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except (ImportError, OSError, TypeError):  # a Pillow without FreeType, or older than 10.1
        return ImageFont.load_default()


def _fitting(draw: Any, text: str, font: Any, width: int) -> str:
    """The text, with its middle left out where it is wider than ``width`` pixels."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    try:
        if draw.textlength(text, font=font) <= width:
            return text
    except UnicodeEncodeError:  # the font of a Pillow without FreeType holds Latin-1 alone
        text = text.encode("latin-1", "replace").decode("latin-1")
    keep = len(text)
    while keep > 8 and draw.textlength(text[: keep // 2] + "..." + text[-(keep // 2) :], font=font) > width:
        keep -= 2
    return text if keep == len(text) else text[: keep // 2] + "..." + text[-(keep // 2) :]


def _draw_box(shown: Pixels, box: tuple[int, int, int, int], factor: int) -> None:
    """A line one pixel wide, two pixels outside of the region."""
    height, width = shown.shape[:2]
    top, left = max(0, box[0] * factor - 4), max(0, box[1] * factor - 4)
    bottom, right = min(height - 1, box[2] * factor + 3), min(width - 1, box[3] * factor + 3)
    for offset, colour in ((0, (0, 0, 0)), (1, _BOX)):
        rows, columns = slice(top + offset, bottom - offset + 1), slice(left + offset, right - offset + 1)
        for line in ((rows.start, columns), (rows.stop - 1, columns), (rows, columns.start), (rows, columns.stop - 1)):
            shown[line] = colour


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    padded = np.pad(mask, by)
    height, width = mask.shape
    grown = np.zeros_like(mask)
    for down, right in ((0, by), (by, 0), (by, by), (2 * by, by), (by, 2 * by)):
        grown |= padded[down : down + height, right : right + width]
    return grown


def _shrunk(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The edge of the picture is an edge of the mask, too."""
    return np.asarray(~_grown(np.pad(~mask, by, constant_values=True), by)[by:-by, by:-by])
