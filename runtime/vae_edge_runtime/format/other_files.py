"""What a file is that was named as a bundle and is none, by its content, and which command reads it."""

from __future__ import annotations

import os

from ..text import printable

_SCORES = "vae-edge score BUNDLE"
_KINDS = (
    (b"VAEZ", "a file of compressed rows", "vae-edge decompress BUNDLE {path} gives the rows, vae-edge info shows it"),
    (b"\x93NUMPY", "a NumPy array", _SCORES + " {path} reads rows"),
    (b"PAR1", "a Parquet table", _SCORES + " {path} reads rows"),
    (b"\x89PNG", "a picture", _SCORES + " {path} reads rows"),
    (b"\xff\xd8\xff", "a picture", _SCORES + " {path} reads rows"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
)
"""First bytes of a file, what it is, and what to do with it."""
_MEMBER_NAME = slice(30, 30 + 260)
"""Where the name of a ZIP's first member lies."""
HEAD_BYTES = 512


def other_file(path: str, head: bytes) -> str:
    """What a file is; empty where it may be a bundle that was damaged.

    Args:
        path: of the file, for the command.
        head: its first ``HEAD_BYTES``.
    """
    shown = printable(path, one_line=True)
    for magic, kind, command in _KINDS:
        if head.startswith(magic):
            return f"is no bundle but {kind}: {command.format(path=shown)}"
    if head.startswith(b"PK\x03\x04"):
        member = head[_MEMBER_NAME]
        if b".npy" in member:
            return f"is no bundle but NumPy arrays (.npz): {_SCORES} {shown} reads rows"
        return ""
    if path.endswith(".onnx"):
        return "is no bundle. Load the .vaeb file; 'vae-edge unpack' makes standalone .onnx files of it"
    return f"is no bundle but text, such as a table: {_SCORES} {shown} reads a .csv or .jsonl" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not a character that the head cuts in two
            return False
        text = head[: error.start].decode("utf-8")
    return all(c.isprintable() or c in "\r\n\t\ufeff" for c in text)


def no_file(path: str) -> str:
    """Where there is nothing of this name: a name in the same folder that is nearly the same."""
    import difflib  # not at the top: for a name that is wrong alone

    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208  pathlib costs 7 ms at start
    except (OSError, ValueError):
        names = []
    near = difflib.get_close_matches(name, names[:1000], n=1, cutoff=0.75)
    meant = f"; there is {printable(os.path.join(folder, near[0]), one_line=True)}" if near else ""  # noqa: PTH118
    return f"cannot be opened: there is no file of this name{meant}"


def folder(path: str) -> str:
    """What a folder is for, in the place of a bundle."""
    shown = printable(path, one_line=True)
    if os.path.exists(os.path.join(path, "config.json")):  # noqa: PTH110, PTH118
        return f"is no bundle but a folder, as of a run: vae-edge export {shown} makes a bundle of a run"
    return f"is no bundle but a folder: {_SCORES} {shown} reads pictures in one"
