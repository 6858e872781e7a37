"""Bundles of other schema versions: older ones are read as they were, newer ones say what to install."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import TinyBundle

from vae_edge_runtime import Bundle, BundleInvalid, BundleTooNew, Manifest, __version__, load, recalibrate, verify
from vae_edge_runtime.errors import ProviderUnavailable
from vae_edge_runtime.format import manifest as manifest_module
from vae_edge_runtime.format.manifest import SCHEMA_VERSION
from vae_edge_runtime.format.specs import version_numbers
from vae_edge_runtime.format.upgrade import UPGRADES

NEWER = SCHEMA_VERSION + 1
UNKNOWN = [
    (("score", "heads"), ["elbo", "no_such_head"]),
    (("score", "likelihood"), "no_such_likelihood"),
    (("score", "transform"), "no_such_transform"),
    (("latent", "kind"), "no_such_kind"),
    (("latent", "prior", "kind"), "no_such_prior"),
    (("input", "layout"), "no_such_layout"),
    (("input", "dtype"), "no_such_dtype"),
    (("variants", "fp32", "precision"), "no_such_precision"),
    (("variants", "fp32", "calibration", "source"), "no_such_source"),
    (("output", "dtype"), "no_such_dtype"),
]


def put(plain: Any, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        plain = plain[key]
    plain[path[-1]] = value


def read(plain: Any) -> Manifest:
    return Manifest.from_json(json.dumps(plain).encode())


@pytest.mark.parametrize(("path", "value"), UNKNOWN)
def test_an_unknown_name_is_too_new_in_a_newer_version_and_invalid_in_this_one(
    tiny: TinyBundle, path: tuple[str, ...], value: Any
) -> None:
    plain = tiny.plain
    put(plain, path, value)
    with pytest.raises(BundleInvalid, match=r"; valid are "):
        read(plain)
    newer = plain | {"schema_version": NEWER, "made_with": {"vae_edge": "9.1.0"}}
    with pytest.raises(BundleTooNew) as caught:
        Bundle.open(tiny.write(newer))
    assert caught.value.problem == (
        f"schema version {NEWER}, this runtime reads up to {SCHEMA_VERSION}: update vae-edge {__version__} on this "
        "device to 9.1.0, which wrote this bundle, or newer"
    )
    assert (caught.value.path, caught.value.member) == (str(tiny.path), "manifest.json")
    put(plain, ("requires", "runtime_schema"), NEWER)
    with pytest.raises(BundleTooNew, match=f"needs runtime schema {NEWER}, this runtime has {SCHEMA_VERSION}: update"):
        read(plain)


@pytest.mark.parametrize(
    "writer", [None, 3, "", __version__, "0.0.9", "newest", "9.0\x1b[31m", "9.0\n", "9" * 400, ["9.0"], "9.0 OR ELSE"]
)
def test_a_writer_that_is_no_newer_release_is_not_named(writer: Any) -> None:
    with pytest.raises(BundleTooNew) as caught:
        read({"schema_version": NEWER, "made_with": {"vae_edge": writer}})
    assert str(caught.value).endswith(f": update vae-edge {__version__} on this device")


@pytest.mark.parametrize("made_with", [None, [], "9.0", {}])
def test_a_newer_manifest_without_its_writer_is_too_new_all_the_same(made_with: Any) -> None:
    with pytest.raises(BundleTooNew, match="update vae-edge"):
        read({"schema_version": NEWER, "made_with": made_with, "requires": made_with})


def test_a_manifest_names_its_writer(tiny: TinyBundle) -> None:
    with pytest.raises(BundleInvalid, match="made_with does not say which vae_edge wrote the bundle"):
        read(tiny.plain | {"made_with": {"onnx": "1"}})


def test_every_version_before_this_one_has_its_upgrade() -> None:
    assert sorted(UPGRADES) == list(range(1, SCHEMA_VERSION))


def with_note_and_british_licence(plain: dict[str, Any]) -> dict[str, Any]:
    """A pretended upgrade: one key is renamed, one is added."""
    plain["model"]["licence"] = plain["model"].pop("license")
    plain["stream"] = None
    return plain


def older(plain: dict[str, Any]) -> dict[str, Any]:
    """The manifest as the pretended older version has it."""
    plain["model"]["license"] = plain["model"].pop("licence")
    del plain["stream"]
    return plain


@pytest.fixture
def one_version_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema version ``NEWER`` is out, and reads ``SCHEMA_VERSION`` by an upgrade."""
    monkeypatch.setattr(manifest_module, "SCHEMA_VERSION", NEWER)
    monkeypatch.setitem(UPGRADES, SCHEMA_VERSION, with_note_and_british_licence)


@pytest.mark.usefixtures("one_version_later")
def test_an_older_bundle_with_a_renamed_and_an_added_key_runs_as_before(tiny: TinyBundle, tmp_path: Path) -> None:
    assert tiny.manifest
    plain = older(tiny.plain)
    assert plain["schema_version"] == SCHEMA_VERSION
    path = tiny.write(plain)
    rows = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    with load(path, device="cpu") as vae:
        assert (vae.manifest.schema_version, vae.manifest.model.licence) == (NEWER, "CC0-1.0")
        assert vae.manifest.stream is None
        scores = vae.score(rows).score
    assert verify(path, device="cpu").ok
    # A bundle made of it is of the newer version, with the name of who wrote that.
    recalibrate(path, tmp_path / "new.vaeb", rows=rows, false_positive_rate=0.1)
    with load(tmp_path / "new.vaeb", device="cpu") as vae:
        np.testing.assert_array_equal(vae.score(rows).score, scores)
    written = json.loads(Bundle.open(tmp_path / "new.vaeb").manifest.to_json())
    assert (written["schema_version"], written["made_with"]["vae_edge"]) == (NEWER, __version__)


@pytest.mark.usefixtures("one_version_later")
def test_upgrades_run_one_after_the_other(tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "SCHEMA_VERSION", NEWER + 1)
    seen = []

    def second(plain: dict[str, Any]) -> dict[str, Any]:
        seen.append((plain["schema_version"], plain["model"]["licence"]))
        return plain | {"release": plain["release"] + 1}

    monkeypatch.setitem(UPGRADES, NEWER, second)
    manifest = read(older(tiny.plain))
    assert (manifest.schema_version, manifest.release, seen) == (NEWER + 1, 2, [(NEWER, "CC0-1.0")])
    assert read(tiny.plain | {"schema_version": NEWER}).release == 2


@pytest.mark.usefixtures("one_version_later")
@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("model",), {}, rf"does not keep to its schema version, {SCHEMA_VERSION} \(KeyError: 'license'\)"),
        (("model",), [], rf"does not keep to its schema version, {SCHEMA_VERSION} \(TypeError"),
        (("model",), None, rf"does not keep to its schema version, {SCHEMA_VERSION} \(AttributeError"),
        (("release",), 0, "release is below 1"),
        (("surprise",), 1, "unknown key surprise"),
    ],
)
def test_a_spoilt_older_manifest_is_invalid(tiny: TinyBundle, path: tuple[str, ...], value: Any, problem: str) -> None:
    plain = older(tiny.plain)
    put(plain, path, value)
    with pytest.raises(BundleInvalid, match=problem) as caught:
        read(plain)
    assert caught.value.member == "manifest.json"


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("1.17", (1, 17)), ("1.17.0", (1, 17)), ("1.23.2+cu12", (1, 23, 2)), ("2", (2,)), ("dev", ()),
     ("1.18.dev3", (1, 18))],
)  # fmt: skip
def test_versions_compare_by_their_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(version) == numbers


def test_an_engine_older_than_the_bundle_asks_for_says_what_to_install(tiny: TinyBundle) -> None:
    plain = tiny.plain
    plain["requires"]["onnxruntime"] = "99.1"
    path = tiny.write(plain)
    problem = r'needs onnxruntime 99.1 or newer, this is .*"onnxruntime>=99.1"'
    with pytest.raises(ProviderUnavailable, match=problem) as caught:
        load(path, device="cpu")
    assert str(path) in str(caught.value)
    with Bundle.open(path) as bundle:  # what needs no engine works
        bundle.check_engine("onnxruntime", "99.1.0")
        bundle.check_engine("onnxruntime", "100.0")
        bundle.check_engine("openvino", "2024.4")
        for version in ("99", "99.0.9", "1.17.3"):
            with pytest.raises(ProviderUnavailable):
                bundle.check_engine("onnxruntime", version)


@pytest.mark.parametrize("version", ["", ">=1.17", "1", "1.x", "newest", "1.17\n", "٣.١"])
def test_a_required_version_that_is_none_is_refused(tiny: TinyBundle, version: str) -> None:
    plain = tiny.plain
    plain["requires"]["onnxruntime"] = version
    with pytest.raises(BundleInvalid, match="onnxruntime"):
        read(plain)
