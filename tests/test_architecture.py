"""The page on architecture shows the code as it is, and every room says what it is for."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "drawing"))

import room_graph  # noqa: E402
import room_pages  # noqa: E402
import room_picture  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
ROOTS = pytest.mark.parametrize("root", list(room_pages.ROOTS.values()), ids=list(room_pages.ROOTS))


def _room(name: str, *imports: str, sentence: str = "A room.") -> room_graph.Room:
    return room_graph.Room(name, Path(f"{name}.py"), sentence, frozenset(imports))


def _boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """(left, top, right, bottom) of each box; the first rectangle is the background."""
    rects = ET.fromstring(svg).findall(f"{SVG}rect")[1:]
    values = [[float(rect.get(key, "")) for key in ("x", "y", "width", "height")] for rect in rects]
    return [(x, y, x + width, y + height) for x, y, width, height in values]


def _arrows(svg: str) -> list[list[float]]:
    """The numbers of each arrow's path: x and y in turn."""
    paths = ET.fromstring(svg).findall(f"{SVG}path")
    return [[float(number) for number in re.findall(r"-?[\d.]+", path.get("d", ""))] for path in paths]


def test_pictures_and_tables_are_those_of_the_code() -> None:
    for path, text in room_pages.pictures().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: run python docs/drawing/room_pages.py"
    page = room_pages.PAGE.read_text(encoding="utf-8")
    assert room_pages.page(page) == page, "the tables are old: run python docs/drawing/room_pages.py"
    assert page.count("| room | what it is for | imports |") == len(room_pages.ROOTS) == 3


@ROOTS
def test_every_room_says_in_one_sentence_what_it_is_for(root: Path) -> None:
    rooms = room_graph.rooms_of(root)
    assert len(rooms) >= 9
    for room in rooms.values():
        assert room.sentence.endswith("."), f"{room.path}: {room.sentence!r}"
        assert 2 <= len(room.sentence.split()) <= 30, f"{room.path}: {room.sentence!r}"


@ROOTS
def test_no_arrow_goes_upward_and_no_box_touches_another(root: Path) -> None:
    rooms = room_graph.rooms_of(root)
    svg = room_picture.svg(root.name, rooms)
    boxes = _boxes(svg)
    assert len(boxes) == len(rooms)
    # Four boxes side by side, and no more than two beyond them: a page shows a wider picture in letters too small.
    assert float(ET.fromstring(svg).get("width", "")) < 6 * room_picture.WIDTH
    for i, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:i]:
            assert right < other[0] or other[2] < left or bottom < other[1] or other[3] < top
    arrows = _arrows(svg)
    assert len(arrows) == len(room_graph.arrows_of(rooms))
    for numbers in arrows:
        heights = numbers[1::2]
        assert heights == sorted(heights)
        for x, y in zip(numbers[0::2], heights, strict=True):
            assert not any(left < x < right and top < y < bottom for left, top, right, bottom in boxes)


@ROOTS
def test_floors_hold_every_room_above_all_that_it_imports(root: Path) -> None:
    rooms = room_graph.rooms_of(root)
    floors = room_graph.floors_of(rooms)
    at = {name: i for i, floor in enumerate(floors) for name in floor}
    assert at.keys() == rooms.keys()
    assert max(map(len, floors)) <= room_graph.MOST_ON_A_FLOOR
    assert [(name, target) for name, room in rooms.items() for target in room.imports if at[target] >= at[name]] == []


def test_an_import_is_seen_however_it_is_written(tmp_path: Path) -> None:
    root = tmp_path / "house"
    (root / "attic").mkdir(parents=True)
    (root / "__init__.py").write_text("from .cellar import wine\n")
    (root / "attic" / "__init__.py").write_text('"""The attic."""\n')
    (root / "attic" / "box.py").write_text("from ..hall import door\nimport house.stairs\n")
    for name, text in {
        "hall": "def door():\n    from . import kitchen\n",
        "stairs": "from house import wine\n",
        "kitchen": "import numpy, os\n",
        "cellar": "wine = 1\n",
        "_version": "__version__ = '1'\n",
    }.items():
        (root / f"{name}.py").write_text(f'"""The {name}."""\n\n{text}')
    rooms = room_graph.rooms_of(root)
    assert {name: set(room.imports) for name, room in rooms.items()} == {
        "attic": {"hall", "stairs"}, "hall": {"kitchen"}, "stairs": {"cellar"}, "kitchen": set(), "cellar": set(),
    }  # fmt: skip
    assert rooms["attic"].sentence == "The attic."


def test_an_arrow_that_a_longer_way_shows_is_left_out() -> None:
    house = {r.name: r for r in (_room("top", "middle", "low"), _room("middle", "low"), _room("low"))}
    assert room_graph.arrows_of(house) == [("middle", "low"), ("top", "middle")]
    assert room_graph.floors_of(house) == [["low"], ["middle"], ["top"]]


def test_rooms_in_a_circle_are_refused_by_name() -> None:
    house = {r.name: r for r in (_room("a", "b"), _room("b", "c"), _room("c", "a"), _room("free"))}
    with pytest.raises(ValueError, match=r"circle: a, b, c$"):
        room_picture.svg("house", house)


def test_the_linter_has_a_floor_for_every_room_of_the_runtime() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c.get("containers") == ["vae_edge_runtime"])
    floors = [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
    at = {name: i for i, floor in enumerate(reversed(floors)) for name in floor}
    rooms = room_graph.rooms_of(room_pages.ROOTS["runtime"])
    assert at.keys() == {*rooms, "_version"}
    assert contract["exhaustive"] is True
    assert [(name, target) for name, room in rooms.items() for target in room.imports if at[target] >= at[name]] == []
