"""Outputs of PyTorch that one gate computed and another one asks for: kept by graph and content of each row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rows import Feeds, rows_of

Outputs = dict[str, NDArray[Any]]

_MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class KeptRows:
    """Outputs of single rows, up to ``most_bytes``: those that come first stay."""

    most_bytes: int = _MOST_BYTES
    _rows: dict[bytes, Outputs] = field(default_factory=dict, repr=False)

    def run(self, graph: str, feeds: Feeds, compute: Callable[[Feeds], Outputs]) -> Outputs:
        """Outputs by name, of which ``compute`` is asked those of rows that are not known.

        Args:
            compute: of some of the rows, at least one, to their outputs.
        """
        count = len(next(iter(feeds.values())))
        keys = [_key(graph, rows_of(feeds, slice(i, i + 1))) for i in range(count)]
        new = [i for i, key in enumerate(keys) if key not in self._rows]
        if not new and count:
            return {name: np.concatenate([self._rows[key][name] for key in keys]) for name in self._rows[keys[0]]}
        made = compute(feeds if len(new) == count else {name: x[new] for name, x in feeds.items()})
        outputs = made
        if len(new) < count:
            outputs = {name: _merged(x, new, [self._rows.get(key, {}).get(name) for key in keys])
                       for name, x in made.items()}  # fmt: skip
        held = sum(y.nbytes for row in self._rows.values() for y in row.values())
        if held + sum(x.nbytes for x in made.values()) <= self.most_bytes:
            for at, i in enumerate(new):
                self._rows[keys[i]] = {name: x[at : at + 1].copy() for name, x in made.items()}
        return outputs


def _merged(made: NDArray[Any], new: list[int], known: list[NDArray[Any] | None]) -> NDArray[Any]:
    """Rows that were computed now, at the places of ``new``, and rows that are known, in their order."""
    whole = np.empty((len(known), *made.shape[1:]), made.dtype)
    whole[new] = made
    for i, row in enumerate(known):
        if row is not None:
            whole[i] = row[0]
    return whole


def _key(graph: str, feeds: Mapping[str, NDArray[Any]]) -> bytes:
    digest = hashlib.blake2b(graph.encode())
    for name, rows in sorted(feeds.items()):
        digest.update(f"{name} {rows.dtype} {rows.shape}".encode())
        digest.update(np.ascontiguousarray(rows).data)
    return digest.digest()
