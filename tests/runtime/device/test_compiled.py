"""Compiled forms of graphs, as an engine other than TensorRT would keep them."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from vae_edge_runtime import OptionError
from vae_edge_runtime.device.compiled import CompiledStore, StoredForm, graph_folder

LOG = logging.getLogger("test.compiled")


@dataclass(frozen=True)
class Chip:
    version: str = "1.0"
    cores: int = 4


@dataclass(frozen=True)
class Wishes:
    halves: bool = False


@pytest.fixture
def calls() -> list[Wishes]:
    return []


def ask(folder: Path, calls: list[Wishes], chip: Chip = Chip(), **options: object) -> StoredForm[Wishes]:
    """Ask a store that is new each time, as another process would."""

    def convert(wishes: Wishes) -> tuple[bytes, float]:
        calls.append(wishes)
        return b"form %d" % len(calls), 0.5

    store = CompiledStore("toy", chip, Wishes(), suffix="toy", what="a toy form", log=LOG, folder=folder)
    return store.get("score", b"onnx", convert, **options)  # type: ignore[arg-type]


def test_a_form_is_made_once_and_again_when_the_machine_or_the_wishes_changed(
    tmp_path: Path, calls: list[Wishes], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ask(tmp_path, calls), ask(tmp_path, calls)
    assert (first.form, first.built, first.reason) == (b"form 1", True, "none is stored")
    assert (second.form, second.built, second.reason, second.seconds) == (b"form 1", False, None, 0.5)
    changed = ask(tmp_path, calls, dataclasses.replace(Chip(), version="1.1", cores=8))
    assert (changed.form, changed.reason) == (b"form 2", "version was 1.0, is 1.1; cores was 4, is 8")
    assert ask(tmp_path, calls).built is False  # each machine keeps its own
    back = ask(tmp_path, calls, options=Wishes(halves=True), announce=False)
    assert back.reason == "the stored one was built for other options"
    assert ask(tmp_path, calls).options == Wishes(halves=True)  # without wishes whatever is stored will do
    assert ask(tmp_path, calls, options=Wishes()).reason == "the stored one was built for other options"
    assert calls == [Wishes(), Wishes(), Wishes(halves=True), Wishes()]
    assert caplog.records[0].getMessage() == "building a toy form for graph 'score' (none is stored)"


def test_a_sidecar_of_any_other_shape_is_not_trusted(tmp_path: Path, calls: list[Wishes]) -> None:
    path = ask(tmp_path, calls).path
    assert path is not None
    assert path.suffix == ".toy"
    sidecar = path.with_suffix(".json")
    good = json.loads(sidecar.read_bytes())
    assert good["identity"] == {"version": "1.0", "cores": 4}
    for change in ({"identity": None}, {"identity": {"version": "1.0"}}, {"options": {"halves": 1}}, {"options": []}):
        sidecar.write_text(json.dumps({**good, **change}))
        assert "its sidecar is damaged" in str(ask(tmp_path, calls).reason), change
    for raw in (b"[]", b"3", b"", b'{"identity": {}}'):
        sidecar.write_bytes(raw)
        assert "its sidecar is damaged" in str(ask(tmp_path, calls).reason), raw


def test_a_note_is_read_on_a_machine_of_the_same_identity_only(tmp_path: Path) -> None:
    def store(chip: Chip) -> CompiledStore[Chip, Wishes]:
        return CompiledStore("toy", chip, Wishes(), suffix="toy", what="a toy form", log=LOG, folder=tmp_path)

    store(Chip()).write_note("times", b"measured")
    assert store(Chip()).read_note("times") == b"measured"
    assert store(Chip(cores=8)).read_note("times") == b""
    (file,) = store(Chip()).folder.glob("times-*.cache")
    file.write_bytes(file.read_bytes()[:-1])
    assert store(Chip()).read_note("times") == b""


def test_each_graph_has_a_folder_of_its_own_that_is_private(tmp_path: Path) -> None:
    first, other = graph_folder("toy", b"weights 1", tmp_path), graph_folder("toy", b"weights 2", tmp_path)
    assert first != other
    assert graph_folder("toy", b"weights 1", tmp_path) == first
    for folder in (Path(first), tmp_path / "toy"):
        folder.chmod(0o777)
        with pytest.raises(OptionError, match="not yours alone"):
            graph_folder("toy", b"weights 1", tmp_path)
        folder.chmod(0o700)
