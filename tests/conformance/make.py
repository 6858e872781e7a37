"""Write the cases of the conformance suite, from what the Python runtime gives for small bundles.

    python tests/conformance/make.py

Run it after a change of the format or of a result, and look at the difference before it is committed: every language
is held to these files. It needs the packages of ``vae-edge[export]``, and no network.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path += [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "corpus")]

from broken import broken, sound  # noqa: E402
from expected import Arrays, Case, calls, corpus_cases, noise_cases, stream_cases  # noqa: E402

SHORTEST_COPY = 24
"""Bytes of the sound bundle that are worth a copy: a shorter run is cheaper as hexadecimal digits."""


def pieces(base: bytes, wanted: bytes) -> list[Any]:
    """``wanted`` as a list of [offset, length] into ``base`` and of hexadecimal digits, in order."""
    places: dict[bytes, int] = {}
    for at in range(len(base) - SHORTEST_COPY, -1, -1):
        places[base[at : at + SHORTEST_COPY]] = at
    made: list[Any] = []
    literal, at = bytearray(), 0
    while at < len(wanted):
        start = places.get(wanted[at : at + SHORTEST_COPY])
        if start is None:
            literal.append(wanted[at])
            at += 1
            continue
        length = SHORTEST_COPY
        while base[start + length : start + length + 1] == wanted[at + length : at + length + 1] != b"":
            length += 1
        if literal:
            made.append(bytes(literal).hex())
            literal.clear()
        made.append([start, length])
        at += length
    return [*made, bytes(literal).hex()] if literal else made


def open_cases() -> Iterator[Case]:
    """The sound bundle, every broken one, and what a cut or a changed bit at any byte is called."""
    base = sound()
    yield {"id": "open/sound", "do": "open", "bundle": "bundles/sound.vaeb", "expect": {}}
    for name, error, raw in broken():
        patch = {"of": "bundles/sound.vaeb", "pieces": pieces(base, raw)}
        yield {"id": f"open/{name}", "do": "open", "bundle": patch, "error": error}
    for change in ("truncate", "flip"):
        yield {"id": f"sweep/{change}", "do": "sweep", "bundle": "bundles/sound.vaeb", "change": change}


def main() -> None:
    """Write ``cases.json``, ``bundles/`` and ``data/`` anew."""
    for folder in ("bundles", "data"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir()
    (HERE / "bundles" / "sound.vaeb").write_bytes(sound())
    arrays = Arrays(HERE)
    cases = [*open_cases(), *noise_cases(arrays), *corpus_cases(arrays), *calls(arrays), *stream_cases(arrays)]
    from runner import sweep_runs

    for case in cases:
        if case["do"] == "sweep":
            case["expect"] = {"runs": sweep_runs(case)}
    assert len({case["id"] for case in cases}) == len(cases)
    lines = ",\n".join(json.dumps(case, allow_nan=False) for case in cases)
    (HERE / "cases.json").write_text(f'{{"schema": 1, "cases": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
