"""Draws docs/images/architecture-*.svg and fills the tables of docs/architecture.md, both from the code.

python docs/drawing/room_pages.py
"""

from __future__ import annotations

import re
from pathlib import Path

from room_graph import Room, rooms_of
from room_picture import svg

ROOT = Path(__file__).parents[2]
ROOTS = {
    "runtime": ROOT / "runtime" / "vae_edge_runtime",
    "export": ROOT / "export" / "vae_edge_export",
    "front": ROOT / "vae_edge",
}
PAGE = ROOT / "docs" / "architecture.md"
TABLE = re.compile(
    r"(<!-- rooms of (\w+): written by docs/drawing/room_pages.py -->\n).*?(<!-- end -->)", flags=re.DOTALL
)


def pictures() -> dict[Path, str]:
    """The text of each picture, by its file."""
    return {
        ROOT / "docs" / "images" / f"architecture-{name}.svg": svg(
            f"{root.name}: an arrow goes from a room to a room it imports", rooms_of(root)
        )
        for name, root in ROOTS.items()
    }


def page(text: str) -> str:
    """The page with its tables of rooms as the code has them now."""
    return TABLE.sub(lambda match: match[1] + _table(rooms_of(ROOTS[match[2]])) + match[3], text)


def _table(rooms: dict[str, Room]) -> str:
    rows = [
        f"| [`{name}`](../{room.path.relative_to(ROOT).as_posix()}) | {room.sentence.replace('``', '`')} | "
        f"{', '.join(f'`{target}`' for target in sorted(room.imports)) or '-'} |"
        for name, room in sorted(rooms.items())
    ]
    return "\n".join(["| room | what it is for | imports |", "|---|---|---|", *rows, ""]).replace("``", "`")


def main() -> None:
    """Write all of it."""
    for path, picture in pictures().items():
        path.write_text(picture, encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
