"""The rooms of a source root as the code has them: names, first sentences, and who imports whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MOST_ON_A_FLOOR = 4
"""Rooms side by side; more of them would make a picture too wide to read on a page."""


@dataclass(frozen=True)
class Room:
    """A package or a module directly inside a source root.

    Attributes:
        name: as it is imported, without the root.
        path: its folder or its file.
        sentence: the first line of its docstring.
        imports: names of the rooms of the same root that it imports anywhere, inside functions too.
    """

    name: str
    path: Path
    sentence: str
    imports: frozenset[str]


def rooms_of(root: Path) -> dict[str, Room]:
    """The rooms of the package at ``root``, by name; ``__init__`` and the version number are the door, no rooms."""
    places = {path.stem: path for path in sorted(root.iterdir()) if _is_room(path)}
    door = _exports(root / "__init__.py")
    rooms = {}
    for name, path in places.items():
        imported = {target for file in _files(path) for target in _targets(file, root)}
        # A name imported from the door itself is an import of the room that the door has it from.
        reached = {(door.get(target, "") if target not in places else target) for target in imported}
        rooms[name] = Room(name, path, _first_line(path), frozenset(reached & places.keys() - {name}))
    return rooms


def _is_room(path: Path) -> bool:
    if path.is_dir():
        return (path / "__init__.py").exists()
    return path.suffix == ".py" and path.stem not in {"__init__", "_version"}


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _first_line(path: Path) -> str:
    file = path if path.is_file() else path / "__init__.py"
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]


def _targets(file: Path, root: Path) -> Iterator[str]:
    """The first name below the root of everything that a file imports from its own root."""
    package = (root.name, *file.relative_to(root).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            modules = [(*module, alias.name) for alias in node.names]
        else:
            continue
        yield from (module[1] for module in modules if module[0] == root.name and len(module) > 1)


def _exports(door: Path) -> dict[str, str]:
    """The room that each name of a root's ``__init__`` comes from."""
    return {
        alias.asname or alias.name: node.module.split(".")[0]
        for node in ast.walk(ast.parse(door.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        for alias in node.names
    }


def reachable(rooms: Mapping[str, Room]) -> dict[str, frozenset[str]]:
    """What each room imports, directly or through others.

    Raises:
        ValueError: rooms import each other in a circle.
    """
    known: dict[str, frozenset[str]] = {}
    waiting = dict(rooms)
    while waiting:
        ready = sorted(name for name, room in waiting.items() if room.imports <= known.keys())
        if not ready:
            raise ValueError(f"these rooms import each other in a circle: {', '.join(sorted(waiting))}")
        for name in ready:
            imports = waiting.pop(name).imports
            known[name] = imports.union(*(known[target] for target in imports))
    return known


def arrows_of(rooms: Mapping[str, Room]) -> list[tuple[str, str]]:
    """Pairs (importer, imported), without those that a longer way of arrows already shows."""
    known = reachable(rooms)
    return sorted(
        (name, target)
        for name, room in rooms.items()
        for target in room.imports
        if not any(target in known[other] for other in room.imports)
    )


def floors_of(rooms: Mapping[str, Room]) -> list[list[str]]:
    """Rooms by floor, the lowest first: each is above all that it imports, at most four to a floor."""
    known = reachable(rooms)
    importers = {name: {other for other in rooms if name in rooms[other].imports} for name in rooms}
    height: dict[str, int] = {}  # floors that must come above a room
    for name in sorted(rooms, key=lambda name: len(known[name]), reverse=True):  # importers come first
        height[name] = max((height[other] + 1 for other in importers[name]), default=0)
    floors: list[list[str]] = []
    while left := [name for name in rooms if not any(name in floor for floor in floors)]:
        ready = [name for name in left if not rooms[name].imports & set(left)]
        floors.append(sorted(ready, key=lambda name: (-height[name], name))[:MOST_ON_A_FLOOR])
    _lift(floors, importers, arrows_of(rooms))
    return floors


def _lift(floors: list[list[str]], importers: Mapping[str, set[str]], arrows: list[tuple[str, str]]) -> None:
    """Move rooms up towards those that import them, where that makes the arrows shorter in sum."""
    for at in reversed(range(len(floors))):
        for name in list(floors[at]):
            shorter = sum(target == name for _, target in arrows) - sum(source == name for source, _ in arrows)
            above = [i for i, floor in enumerate(floors) if importers[name] & set(floor)]
            free = [i for i in range(at + 1, min(above, default=at)) if len(floors[i]) < MOST_ON_A_FLOOR]
            if shorter > 0 and free:
                floors[at].remove(name)
                floors[free[-1]].append(name)
