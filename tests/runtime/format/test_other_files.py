"""What is named as a bundle and is none is said to be what it is, with the command that reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import TinyBundle

from vae_edge_runtime import Bundle, BundleError


def _refused(path: Path) -> str:
    with pytest.raises(BundleError) as error:
        Bundle.open(path)
    return error.value.problem


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("day.vaez", b"VAEZ\1" + bytes(90), "is no bundle but a file of compressed rows: vae-edge decompress BUNDLE"),
        ("rows.csv", "a,b\n1,2\nü,4\n".encode(), "is no bundle but text, such as a table: vae-edge score BUNDLE"),
        ("cut.csv", b"x" * 511 + "ü".encode(), "is no bundle but text"),
        ("rows.parquet", b"PAR1" + bytes(200), "is no bundle but a Parquet table"),
        ("a.png", b"\x89PNG\r\n" + bytes(200), "is no bundle but a picture"),
        ("m.onnx", b"\x08\x08\x12\x07", "is no bundle. Load the .vaeb file"),
        ("m.vaeb", b"", "is empty"),
        ("m.vaeb", bytes(range(256)), "does not end like a bundle: cut short"),
    ],
)
def test_a_file_is_known_by_its_content(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    problem = _refused(path)
    assert problem.startswith(said)
    assert ("copy" in problem) == (name == "m.vaeb")


def test_arrays_of_numpy_are_scored_and_not_copied_again(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", np.zeros((40, 4)))
    np.savez(tmp_path / "r.npz", x=np.zeros((40, 4)))
    assert _refused(tmp_path / "r.npy").startswith("is no bundle but a NumPy array: vae-edge score BUNDLE")
    assert _refused(tmp_path / "r.npz").startswith("is no bundle but NumPy arrays (.npz): vae-edge score BUNDLE")


def test_a_bundle_that_was_cut_is_still_to_be_copied_again(tmp_path: Path) -> None:
    path = TinyBundle(tmp_path / "tiny.vaeb").write()
    path.write_bytes(path.read_bytes()[:-1])
    assert "copy it again" in _refused(path)


def test_a_folder_is_told_what_takes_folders(tmp_path: Path) -> None:
    assert "is no bundle but a folder: vae-edge score BUNDLE" in _refused(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert f"vae-edge export {tmp_path} makes a bundle of a run" in _refused(tmp_path)


def test_a_name_that_is_not_there_is_told_the_nearest_one(tmp_path: Path) -> None:
    path = TinyBundle(tmp_path / "pump.vaeb").write()
    assert _refused(tmp_path / "pmup.vaeb") == f"cannot be opened: there is no file of this name; there is {path}"
    assert _refused(tmp_path / "gearbox.vaeb") == "cannot be opened: there is no file of this name"
    assert _refused(tmp_path / "absent" / "pump.vaeb") == "cannot be opened: there is no file of this name"
