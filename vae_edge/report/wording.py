"""The words of the page: one JSON file per language, complete or refused."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.storage.files import read_regular
from vae_edge_runtime.text import json_value, printable

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
        """One sentence with its values; names in it can turn no line around, nor pretend to be another."""
        shown = {name: printable(v, one_line=True) if isinstance(v, str) else v for name, v in values.items()}
        return self._texts[key].format(**shown)


def read_texts(path: Path | None = None) -> Texts:
    """The words of one file; the name of the file, such as ``de.json``, is the language.

    Args:
        path: of the file; None: English.

    Raises:
        DataError: it is no JSON object of texts, lacks a key, has an unknown one, or a text that asks for other values.
    """
    english = json_value(ENGLISH.read_text("utf-8"))
    if path is None:
        return Texts(english, "en")
    try:
        texts = json_value(read_regular(path, most=1 << 20))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DataError(f"{path} is no object of texts: copy {ENGLISH.name} and translate its values")
    for problem, keys in (("lacks", english.keys() - texts.keys()), ("has the unknown", texts.keys() - english.keys())):
        if keys:
            raise DataError(f"{path} {problem} key {min(keys)!r}: it needs the keys of {ENGLISH.name}")
    for key, text in english.items():
        own, known = _fields(texts[key], path, key), _fields(text, path, key)
        if own - known:
            raise DataError(f"{path}: {key!r} asks for {sorted(own)}, there are {sorted(known)}")
    return Texts(texts, path.stem)


def _fields(text: str, path: Path, key: str) -> set[str]:
    """What is filled in, as it is written between braces: a width of a billion is another field than none."""
    try:
        parts = [part[1:] for part in string.Formatter().parse(text) if part[1] is not None]
        return {f"{name}{f'!{how}' if how else ''}{f':{form}' if form else ''}" for name, form, how in parts}
    except ValueError as error:
        raise DataError(f"{path}: {key!r} has a brace that does not close: {error}") from error
