"""A process that dies at any step of a write leaves the old file or the new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

OLD, NEW = b"old" * 100, b"new" * 5000

PROGRAM = """
import os, sys, tempfile, pathlib
from vae_edge_runtime.storage import files

target, step, nth = sys.argv[1], sys.argv[2], int(sys.argv[3])
calls = 0

def dying(real):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == nth:
            os._exit(9)
        return real(*args, **options)
    return call

owner = {"mkstemp": tempfile, "fdopen": os, "fsync": os, "open": os}.get(step, pathlib.Path)
setattr(owner, step, dying(getattr(owner, step)))
files.write_atomic(target, [b"new" * 2500, b"new" * 2500])
"""


@pytest.mark.parametrize(
    ("step", "nth", "left"),
    [
        ("mkstemp", 1, OLD),
        ("fdopen", 1, OLD),
        ("fsync", 1, OLD),
        ("chmod", 1, OLD),
        ("replace", 1, OLD),
        ("fsync", 2, NEW),
    ],
)
def test_the_target_is_whole_whenever_the_writer_dies(tmp_path: Path, step: str, nth: int, left: bytes) -> None:
    target = tmp_path / "m.vaeb"
    target.write_bytes(OLD)
    died = subprocess.run([sys.executable, "-c", PROGRAM, str(target), step, str(nth)], check=False)
    assert died.returncode == 9
    assert target.read_bytes() == left


def test_a_check_that_fails_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    from vae_edge_runtime.storage.files import write_atomic

    target = tmp_path / "m.vaeb"
    target.write_bytes(OLD)

    def refuse(path: str) -> None:
        assert Path(path).read_bytes() == NEW
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, [NEW], check=refuse)
    assert target.read_bytes() == OLD
    assert [p.name for p in tmp_path.iterdir()] == ["m.vaeb"]


def test_a_published_file_has_the_rights_open_would_have_given_it(tmp_path: Path) -> None:
    from vae_edge_runtime.storage.files import write_atomic

    write_atomic(tmp_path / "a", [NEW])
    (tmp_path / "b").write_bytes(NEW)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
