"""The record beside each output by which a later run knows that there is nothing left to do for it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vae_edge_runtime.errors import DataError, VaeEdgeError
from vae_edge_runtime.format import strict_json
from vae_edge_runtime.storage.files import read_regular, write_atomic

_VERSION = 1
_BYTES_AT_ONCE = 1 << 20
_LONGEST_NAME = 240
"""Bytes; file systems take 255, and the name of a record is 6 longer than that of its output."""


@dataclass(frozen=True)
class Content:
    """A file by what is in it: neither its name nor its time counts."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Counts:
    """What was scored."""

    rows: int
    anomalies: int
    not_scored: int


@dataclass(frozen=True)
class Done:
    """That an output was made from this input with these settings.

    Attributes:
        input, output: content of either file.
        settings: all that the scores depend on: the bundle, the variant, and the options that choose rows and columns.
        counts: for the summary of a run that has nothing left to do.
    """

    input: Content
    output: Content
    settings: Mapping[str, Any]
    counts: Counts

    def why_not(self, settings: Mapping[str, Any], source: Content, target: Path) -> str:
        """Why the file must be scored again; empty text where it is done."""
        if self.settings.get("bundle_id") != settings.get("bundle_id"):
            return "the bundle is another"
        if self.settings != settings:
            return "the options are others"
        if self.input != source:
            return "the input changed"
        try:
            return "" if content_of(target) == self.output else "the output changed"
        except DataError:
            return "the output is gone"


def content_of(path: Path) -> Content:
    """Size and SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BYTES_AT_ONCE):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return Content(size, digest.hexdigest())


def record_path(target: Path) -> Path:
    """Where the record of an output lies: hidden, so that a reader of the whole folder passes over it."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}.done")


def write_record(target: Path, done: Done) -> None:
    """Write the record; before the output gets its name, so that an output without one is never taken for done.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to.
    """
    text = json.dumps({"vae_edge_done": _VERSION, **asdict(done)}, indent=1, sort_keys=True)
    write_atomic(record_path(target), [text.encode()])


def read_record(target: Path) -> Done | None:
    """The record of an output; None where there is none, or none that this version wrote."""
    try:
        raw = read_regular(record_path(target))
        values = strict_json.parse(raw, member=record_path(target).name)
        if values.pop("vae_edge_done") != _VERSION:
            return None
        contents = {name: Content(**values[name]) for name in ("input", "output")}
        return Done(**contents, settings=values["settings"], counts=Counts(**values["counts"]))
    except (OSError, VaeEdgeError, KeyError, TypeError, AttributeError, ValueError):
        return None
