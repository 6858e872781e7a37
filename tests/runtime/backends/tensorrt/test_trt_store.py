"""Stored engines: taken only where every byte and every fact of the machine is what it was."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, two_inputs

from vae_edge_runtime import BackendError, OptionError, StorageError
from vae_edge_runtime.backends.tensorrt import BuildOptions, Device, EngineStore, StoredEngine
from vae_edge_runtime.backends.tensorrt import store as store_module
from vae_edge_runtime.device import compiled
from vae_edge_runtime.device.cache import cache_folder
from vae_edge_runtime.device.tuned import find_choice

ORIN = Device("Orin", "8.7", 16, 8 << 30, True, "12.6")


@pytest.fixture
def get(tmp_path: Path, rig: Rig) -> Callable[..., StoredEngine]:
    """Ask a store that is new each time, as another process would."""

    def ask(device: Device = ORIN, **options: Any) -> StoredEngine:
        return EngineStore(rig.binding, device, tmp_path).get("score", two_inputs(), **options)

    return ask


def test_an_engine_is_built_once(get: Callable[..., StoredEngine], rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    first, second = get(), get()
    assert (first.built, second.built, second.form, rig.trt.builds) == (True, False, first.form, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "building a TensorRT engine for graph 'score' (none is stored); vae-edge build does this ahead"
    ]
    assert first.path is not None
    assert first.path.read_bytes() == first.form
    assert first.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Thor"}, "gpu was Orin, is Thor"),
        ({"capability": "11.0"}, "capability was 8.7, is 11.0"),
        ({"multiprocessors": 8}, "multiprocessors was 16, is 8"),
        ({"memory_bytes": 16 << 30}, "memory_gib was 8, is 16"),
        ({"driver": "13.2"}, "driver was 12.6, is 13.2"),
    ],
)
def test_another_device_rebuilds_with_one_line(
    get: Callable[..., StoredEngine], caplog: pytest.LogCaptureFixture, change: dict[str, Any], said: str
) -> None:
    get()
    caplog.clear()
    assert get(dataclasses.replace(ORIN, **change)).reason == said
    assert [said in record.getMessage() for record in caplog.records] == [True]
    assert get(dataclasses.replace(ORIN, **change)).built is False


def test_another_tensorrt_or_l4t_rebuilds(
    get: Callable[..., StoredEngine], rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    get()
    monkeypatch.setattr(store_module, "l4t_release", lambda: "36.5")
    assert get().reason == "l4t was none, is 36.5"
    rig.binding = dataclasses.replace(rig.binding, version="10.7.0")
    assert get().reason == "tensorrt was 10.3.0, is 10.7.0"
    assert rig.trt.caches == [b"", b"", b""]  # times measured by another machine are not reused


def test_each_power_mode_keeps_its_engine_and_other_machines_are_pruned(rig: Rig, tmp_path: Path) -> None:
    def ask(device: Device) -> StoredEngine:
        return EngineStore(rig.binding, device, tmp_path).get("score", two_inputs())

    maxn, fifteen_watts = ORIN, dataclasses.replace(ORIN, multiprocessors=6)
    assert [ask(device).built for device in (maxn, fifteen_watts, maxn, fifteen_watts)] == [True, True, False, False]
    newer = dataclasses.replace(ORIN, driver="13.2")
    ask(newer)
    store = EngineStore(rig.binding, newer, tmp_path)
    (store.folder / "half.engine").write_bytes(b"a process was killed between two writes")
    removed = store.prune()
    assert len(removed) == 3
    assert [path.suffix for path in sorted(store.folder.glob("*-*.*")) if path.suffix != ".cache"] == [
        ".engine",
        ".json",
    ]
    assert (ask(newer).built, ask(maxn).reason) == (False, "driver was 13.2, is 12.6")
    assert EngineStore(rig.binding, fifteen_watts, tmp_path).prune() != ()  # of the newer driver, not of MAXN
    assert (ask(maxn).built, rig.trt.builds) == (False, 4)


def test_two_processes_that_want_one_engine_build_it_once(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        leave.wait(10)

    rig.trt.while_building = wait
    with ThreadPoolExecutor(2) as pool:  # the lock is of an open file, so threads stand for processes
        asks = [
            pool.submit(lambda: EngineStore(rig.binding, ORIN, tmp_path).get("score", two_inputs())) for _ in range(2)
        ]
        assert inside.wait(10)
        leave.set()
        assert sorted(ask.result(10).built for ask in asks) == [False, True]
    assert rig.trt.builds == 1


@pytest.mark.parametrize(("integrated", "available", "limit"), [(True, 4 << 30, 3006477107), (False, 4 << 30, None)])
def test_timing_kernels_leaves_a_board_that_shares_its_memory_alive(
    get: Callable[..., StoredEngine], rig: Rig, monkeypatch: pytest.MonkeyPatch, integrated: bool, available: int,
    limit: int | None, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(store_module, "available_memory", lambda: available)
    get(dataclasses.replace(ORIN, integrated=integrated))
    assert rig.trt.limits.get("TACTIC_DRAM") == limit
    assert "GB of memory are free" not in caplog.text
    monkeypatch.setattr(store_module, "available_memory", lambda: 1 << 30)
    get(dataclasses.replace(ORIN, integrated=integrated), options=BuildOptions(max_batch=2))
    assert ("1.1 GB of memory are free to build graph 'score'" in caplog.text) is integrated


def test_load_takes_whatever_build_chose_and_build_insists(get: Callable[..., StoredEngine], rig: Rig) -> None:
    assert get(options=BuildOptions(max_batch=8)).options.max_batch == 8
    assert get().options.max_batch == 8
    assert get(options=BuildOptions(max_batch=8)).built is False
    assert get(options=BuildOptions(max_batch=4)).reason == "the stored one was built for other options"
    assert rig.trt.builds == 2


def test_a_second_graph_reuses_what_the_first_build_measured(rig: Rig, tmp_path: Path) -> None:
    store = EngineStore(rig.binding, ORIN, tmp_path)
    store.get("score", two_inputs())
    store.get("score", two_inputs(), options=BuildOptions(max_batch=2))
    timing = next(store.folder.glob("timing-*.cache"))
    timing.write_bytes(timing.read_bytes()[:-1])
    store.get("score", two_inputs(), options=BuildOptions(max_batch=3))
    assert rig.trt.caches == [b"", b"+measured", b""]


@pytest.mark.parametrize("suffix", [".engine", ".json"])
def test_a_file_that_is_short_or_damaged_anywhere_is_built_again(
    get: Callable[..., StoredEngine], rig: Rig, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = get()
    assert whole.path is not None
    path = whole.path.with_suffix(suffix)
    good, other = path.read_bytes(), whole.path.with_suffix({".json": ".engine", ".engine": ".json"}[suffix])
    kept = other.read_bytes()
    every = max(1, len(good) // 150)
    damaged = [good[:at] for at in range(0, len(good), every)]
    damaged += [good[:at] + bytes([good[at] ^ 0x01]) + good[at + 1 :] for at in range(0, len(good), every)]
    for number, raw in enumerate(damaged):
        path.write_bytes(raw)
        other.write_bytes(kept)
        found = get()
        if suffix == ".engine":
            assert (found.built, found.reason) == (True, "the stored one is damaged")
        assert found.form == whole.form, number
        assert len(caplog.records) <= rig.trt.builds  # one line for each build, and no traceback
        caplog.clear()
    if suffix == ".engine":
        assert rig.trt.builds == 1 + len(damaged)


def test_a_sidecar_of_another_format_or_with_more_in_it_is_not_trusted(get: Callable[..., StoredEngine]) -> None:
    path = get().path
    assert path is not None
    sidecar = path.with_suffix(".json")
    fields = json.loads(sidecar.read_bytes())
    for change, said in [
        ({"format": 2}, "another graph or format"),
        ({"graph_sha256": "0" * 64}, "another graph or format"),
        ({"more": 1}, "unknown key more"),
        ({"options": {**fields["options"], "max_batch": 0}}, "pass 1 to 4096"),
    ]:
        sidecar.write_text(json.dumps({**fields, **change}))
        assert said in str(get().reason)


def test_a_folder_that_others_can_write_to_is_refused(
    get: Callable[..., StoredEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get()
    (tmp_path / "tensorrt").chmod(0o777)
    with pytest.raises(OptionError, match=r"run or believed: chmod go-w, or set VAE_EDGE_CACHE"):
        get()
    (tmp_path / "tensorrt").chmod(0o700)
    owner = os.geteuid()
    for other in (12345, 0 if owner else 1000):  # a container's root finds the volume of another user
        monkeypatch.setattr(os, "geteuid", lambda other=other: other)
        with pytest.raises(OptionError, match=f"not yours alone.*belongs to user {owner}.*Run chown -R {other} "):
            get()


def test_a_full_disk_is_an_error_of_build_and_a_warning_of_load(
    get: Callable[..., StoredEngine], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(compiled, "write_atomic", full)
    with pytest.raises(StorageError):
        get(must_store=True)
    found = get()
    assert (found.path, len(found.form) > 100) == (None, True)
    assert "the next start builds it again: no space left" in caplog.text


def test_times_that_cannot_be_kept_leave_the_engine_kept(
    get: Callable[..., StoredEngine], rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(compiled.CompiledStore, "write_note", full)
    assert get().path is not None
    assert "measured are not kept, so the next build takes longer: no space left" in caplog.text
    assert (get().built, rig.trt.builds) == (False, 1)


def test_a_build_that_fails_leaves_the_folder_as_it_was(get: Callable[..., StoredEngine], rig: Rig) -> None:
    path = get().path
    assert path is not None
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    rig.trt.messages = ["Internal Error: tactic"]
    with pytest.raises(BackendError, match="Internal Error"):
        get(options=BuildOptions(max_batch=2))
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_the_folder_is_the_one_given_then_the_environment_then_the_cache_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VAE_EDGE_CACHE", raising=False)
    assert cache_folder("x") == f"{tmp_path}/.cache/vae-edge/x"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder("x") == "/var/cache/vae-edge/x"
    monkeypatch.setenv("VAE_EDGE_CACHE", "/data/engines")
    assert cache_folder("x") == "/data/engines/x"
    assert cache_folder("x", Path("mine")) == "mine/x"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "VAE_EDGE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a number without an entry in passwd
    with pytest.raises(StorageError, match="no home folder to cache in: set VAE_EDGE_CACHE"):
        cache_folder("x")
    assert find_choice("0" * 64) is None  # a session starts all the same


def test_log_lines_reach_a_person_without_any_setup() -> None:
    assert logging.getLogger("vae_edge_runtime.tensorrt").getEffectiveLevel() <= logging.WARNING
