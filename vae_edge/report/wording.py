"""The words of the page: one JSON file per language, complete or refused."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from vae_edge_runtime.errors import DataError

ENGLISH = Path(__file__).parent / "texts" / "en.json"


class Texts:
    """Sentences by key; ``{names}`` in them are filled in."""

    def __init__(self, texts: dict[str, str], language: str) -> None:
        self._texts, self.language = texts, language

    def __getattr__(self, key: str) -> str:
        try:
            return self._texts[key]
        except KeyError:
            raise AttributeError(key) from None

    def say(self, key: str, **values: Any) -> str:
        """One sentence with its values."""
        return self._texts[key].format(**values)


def read_texts(path: Path | None = None) -> Texts:
    """The words of one file; the name of the file, such as ``de.json``, is the language.

    Args:
        path: of the file; None: English.

    Raises:
        DataError: it is no JSON object of texts, lacks a key, has an unknown one, or a text that asks for other values.
    """
    english = json.loads(ENGLISH.read_text("utf-8"))
    if path is None:
        return Texts(english, "en")
    try:
        texts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DataError(f"{path} is no object of texts: copy {ENGLISH.name} and translate its values")
    for problem, keys in (("lacks", english.keys() - texts.keys()), ("has the unknown", texts.keys() - english.keys())):
        if keys:
            raise DataError(f"{path} {problem} key {min(keys)!r}: it needs the keys of {ENGLISH.name}")
    for key, text in english.items():
        if _names(texts[key], path, key) - _names(text, path, key):
            raise DataError(f"{path}: {key!r} asks for {sorted(_names(texts[key], path, key))}, "
                            f"there are {sorted(_names(text, path, key))}")  # fmt: skip
    return Texts(texts, path.stem)


def _names(text: str, path: Path, key: str) -> set[str]:
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise DataError(f"{path}: {key!r} has a brace that does not close: {error}") from error
