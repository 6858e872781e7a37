"""Absurd arguments of everything that users call: a result, or one of our own errors, and never a bare TypeError."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absurd import ABSURD
from fake_session import ALARM
from tiny_bundle import FEATURES, LATENT, TinyBundle

import vae_edge_runtime
from vae_edge_runtime import (
    VAE,
    Bundle,
    InputError,
    OptionError,
    VaeEdgeError,
    load,
    recalibrate,
    samples_needed,
    standard_normal,
    verify,
)
from vae_edge_runtime.format.stream_rules import GuardSpec, StreamSpec
from vae_edge_runtime.stream import Rows

ROWS = np.random.default_rng(0).normal(size=(60, FEATURES)).astype(np.float32)
GUARD = GuardSpec((-9.0,) * FEATURES, (9.0,) * FEATURES, 0.5, 0, 0, None, (False,) * FEATURES)


@pytest.fixture
def vae(tiny: TinyBundle) -> Iterator[VAE]:
    assert tiny.manifest is not None
    tiny.manifest = dataclasses.replace(tiny.manifest, stream=StreamSpec(GUARD, ALARM))
    with load(tiny.write(), device="cpu", threads=1) as opened:
        yield opened


@pytest.fixture
def compressing(vae: VAE, tmp_path: Path) -> Iterator[VAE]:
    """The same with tables to compress with."""
    path = tmp_path / "compressing.vaeb"
    recalibrate(vae.info.path, path, rows=ROWS, compress="0.3", false_positive_rate=0.1)
    with load(path, device="cpu", threads=1) as opened:
        yield opened


CODEC = ("compress", "decompress", "packet", "unpack", "compress_file", "decompress_file")


def _stream(vae: VAE, source: Any, **options: Any) -> list[Any]:
    with vae.stream(source, **options) as events:
        return list(events)


WISH = {"bound": None, "exact": False, "latents": True, "triage": False, "scores": None}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "score": (VAE.score, {"x": ROWS, "condition": None, "heads": (), "maps": False, "threshold": None}),
    "explain": (VAE.explain, {"x": ROWS, "condition": None}),
    "encode": (VAE.encode, {"x": ROWS, "condition": None}),
    "decode": (VAE.decode, {"z": np.zeros((2, LATENT), np.float32), "condition": None, "tile": None}),
    "reconstruct": (VAE.reconstruct, {"x": ROWS, "condition": None}),
    "sample": (VAE.sample, {"n": 2, "seed": 1, "temperature": 1.0, "condition": None, "size": None}),
    "interpolate": (VAE.interpolate, {"a": ROWS[0], "b": ROWS[1], "steps": 3, "condition": None}),
    "threshold_for": (VAE.threshold_for, {"false_positive_rate": 0.1, "head": None, "method": "conformal"}),
    "run_graph": (VAE.run_graph, {"graph": "encode", "feeds": {"x": ROWS}, "outputs": ["mean"]}),
    "compress": (VAE.compress, {"x": ROWS, "condition": None} | WISH),
    "decompress": (VAE.decompress, {"data": None, "allow_torn": False}),
    "packet": (VAE.packet, {"row": ROWS[0]} | WISH),
    "unpack": (VAE.unpack, {"packet": None}),
    "compress_file": (
        lambda vae, **o: vae.compress_file(**o).close(),
        {"path": None, "append": False, "block_rows": None} | WISH,
    ),
    "decompress_file": (lambda vae, **o: vae.decompress_file(**o).close(), {"path": None, "allow_torn": False}),
    "read_member": (VAE.read_member, {"name": "golden/input.bin"}),
    "stream": (
        _stream,
        {"source": ROWS}
        | {
            name: parameter.default
            for name, parameter in inspect.signature(VAE.stream).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        },
    ),
    "load": (
        lambda vae, **o: load(**o).close(),
        {"path": None, "device": "cpu", "variant": "auto", "allow_fallback": False, "threads": 1, "spin": None}
        | {"isolate": False, "deadline_s": None, "memory_bytes": None},
    ),
    "verify": (
        lambda vae, **o: verify(**o),
        {"path": None, "device": "cpu", "allow_fallback": False, "threads": 1}
        | {"isolate": False, "deadline_s": None, "memory_bytes": None},
    ),
    "recalibrate": (
        lambda vae, **o: recalibrate(**o),
        {"path": None, "out": None, "rows": ROWS, "condition": None, "false_positive_rate": None}
        | {"method": "conformal", "release": None, "device": "cpu", "force": True, "progress": None}
        | {"default_head": None, "compress": None, "compress_rows": None}
        | {"isolate": False, "deadline_s": None, "memory_bytes": None},
    ),
    "samples_needed": (lambda vae, **o: samples_needed(**o), {"false_positive_rate": 0.1}),
    "standard_normal": (lambda vae, **o: standard_normal(**o), {"count": 3, "seed": 1, "stream": 0}),
}
"""What is called with the session, and arguments that are in order; a path of None stands for one of the test."""


def test_the_table_holds_every_call_and_every_argument() -> None:
    methods = {name for name, _ in inspect.getmembers(VAE, inspect.isfunction) if name[0] != "_"}
    functions = {name for name in vae_edge_runtime.__all__ if inspect.isfunction(getattr(vae_edge_runtime, name))}
    assert methods - {"close", "check_prior", "check_calibration"} | functions == set(CALLS)
    for name, (_, arguments) in CALLS.items():
        function = getattr(VAE, name, None) or getattr(vae_edge_runtime, name)
        parameters = set(inspect.signature(function).parameters) - {"self", "unknown"}
        assert parameters == set(arguments), name


def _in_order(vae: VAE, call: str, arguments: dict[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = {"path": vae.info.path, "out": str(Path(vae.info.path).with_name("out.vaeb"))}
    if call in CODEC:
        day = Path(vae.info.path).with_name("day.vaez")
        paths = {"path": str(day), "data": vae.compress(ROWS[:2], latents=True)}
        paths["packet"] = vae.packet(ROWS[0], latents=True)
        day.unlink(missing_ok=True)
        if call == "decompress_file":
            day.write_bytes(paths["data"])
    return {name: paths.get(name, value) for name, value in arguments.items()}


@pytest.mark.parametrize("name", CALLS)
def test_a_result_or_an_error_of_ours(
    vae: VAE, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name in CODEC:
        vae = request.getfixturevalue("compressing")
    monkeypatch.chdir(Path(vae.info.path).parent)  # what is written for an absurd path lands there
    call, arguments = CALLS[name]
    call(vae, **_in_order(vae, name, arguments))
    other = []
    for argument in arguments:
        for title, value in ABSURD.items():
            if callable(value) and argument in ("clock", "progress"):
                continue  # a function is what they take; what it raises is its own affair
            try:
                call(vae, **(_in_order(vae, name, arguments) | {argument: value}))
            except VaeEdgeError:
                continue
            except Exception as error:
                other.append(f"{argument}={title}: {type(error).__name__}: {error}")
    assert other == []


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("sample", "temperature", "warm"),
        ("sample", "temperature", None),
        ("sample", "n", 2.0),
        ("sample", "n", 10**30),
        ("sample", "seed", 1.5),
        ("interpolate", "steps", "9"),
        ("score", "threshold", "high"),
        ("score", "threshold", 10**400),
        ("score", "heads", None),
        ("score", "maps", "no"),
        ("threshold_for", "false_positive_rate", "1 %"),
        ("threshold_for", "head", ["elbo"]),
        ("run_graph", "graph", []),
        ("run_graph", "outputs", None),
        ("read_member", "name", None),
        ("load", "path", None),
        ("load", "threads", 10**9),
        ("load", "allow_fallback", "no"),
        ("verify", "path", 3),
        ("recalibrate", "out", None),
        ("recalibrate", "out", "a\0b"),
        ("recalibrate", "false_positive_rate", "1 %"),
        ("recalibrate", "release", "2"),
        ("recalibrate", "progress", "bar"),
        ("stream", "stride", 0),
        ("stream", "queue_rows", 1.5),
        ("stream", "top", True),
        ("stream", "stale_s", 0),
        ("stream", "stale_s", float("inf")),
        ("stream", "clock", "utc"),
        ("stream", "guard", {}),
        ("stream", "heads", "depth"),
        ("stream", "drift", None),
    ],
)
def test_an_option_that_is_none_is_an_option_error_that_names_it(
    vae: VAE, name: str, argument: str, value: object
) -> None:
    call, arguments = CALLS[name]
    with pytest.raises(OptionError) as caught:
        call(vae, **(_in_order(vae, name, arguments) | {argument: value}))
    assert ("the file to write" if argument == "out" else argument) in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("argument", "value"), [("x", None), ("x", "x"), ("condition", 10**30), ("condition", "x")])
def test_an_array_that_is_none_is_an_input_error(vae: VAE, argument: str, value: object) -> None:
    with pytest.raises(InputError):
        vae.score(**({"x": ROWS} | {argument: value}))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="source is a int; pass an iterable of rows"):
        vae.stream(3)  # type: ignore[arg-type]


def test_an_unknown_option_of_a_stream_lists_the_valid_ones(vae: VAE) -> None:
    with pytest.raises(OptionError, match="no option 'strid'; valid are stride, heads, live, queue_rows, guard"):
        vae.stream(ROWS, strid=3)  # type: ignore[arg-type]


def test_a_rate_of_zero_is_refused_and_not_taken_for_none(vae: VAE, tmp_path: Path) -> None:
    with pytest.raises(vae_edge_runtime.CalibrationError, match="not inside"):
        recalibrate(vae.info.path, tmp_path / "never.vaeb", rows=ROWS, false_positive_rate=0)
    assert not (tmp_path / "never.vaeb").exists()


@pytest.mark.parametrize("value", ABSURD)
def test_absurd_rows_of_a_stream_are_refused(vae: VAE, value: str) -> None:
    row = ABSURD[value]
    for item, live in (([row], False), ([Rows(row)], False), ([Rows(row)], True), ([(row, ROWS[0])], False)):
        with contextlib.suppress(VaeEdgeError):
            assert len(_stream(vae, item, live=live)) <= 1


@pytest.mark.parametrize("value", ABSURD)
def test_no_absurd_path_opens_a_bundle(value: str) -> None:
    with pytest.raises(VaeEdgeError):
        Bundle.open(ABSURD[value])
