"""A session in another process: pickled as path, bundle id and options."""

from __future__ import annotations

import copy
import dataclasses
import gc
import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_session import ALARM, GUARD
from tiny_bundle import FEATURES, TinyBundle, open_descriptors

from vae_edge_runtime import VAE, Bundle, BundleError, SessionClosed, load
from vae_edge_runtime.format.archive import Archive
from vae_edge_runtime.stream import open_stream

ROWS = np.random.default_rng(0).normal(size=(20, FEATURES)).astype(np.float32)


@pytest.fixture
def vae(tiny_path: Path) -> Iterator[VAE]:
    with load(tiny_path, device="cpu", threads=1) as opened:
        yield opened


def test_a_pickled_session_is_the_same_bundle_with_the_same_options(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_path.parent)
    with load(tiny_path.name, device="cpu", threads=1, allow_fallback=True) as vae:
        raw = pickle.dumps(vae)
        expected = vae.score(ROWS).score
        monkeypatch.chdir("/")  # a worker may start anywhere
        for again in (pickle.loads(raw), copy.deepcopy(vae), copy.copy(vae)):
            with again:
                np.testing.assert_array_equal(again.score(ROWS).score, expected)
                assert dataclasses.replace(again.info, path=tiny_path.name) == vae.info
                assert again.info.path == str(tiny_path)
        assert np.isfinite(vae.score(ROWS).score).all()  # closing the others has not closed this one
    assert len(raw) < 1000  # a path, an id and options: no graph and no weights


def test_every_option_of_load_is_pickled(vae: VAE) -> None:
    options = vae.__reduce__()[1][-1]
    assert {"path", *options} == set(inspect.signature(load).parameters)


def test_a_spawned_worker_scores_with_the_session_it_was_sent(vae: VAE, tmp_path: Path) -> None:
    (tmp_path / "vae.pickle").write_bytes(pickle.dumps(vae))
    program = (
        "import pickle, sys, numpy as np; vae = pickle.load(open(sys.argv[1], 'rb'));"
        "print(vae.score(np.zeros((1, 4), np.float32)).score[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "vae.pickle")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(vae.score(ROWS[:1] * 0).score[0]), rel=1e-6)


def test_a_pickled_session_refuses_another_bundle_in_its_place(tiny: TinyBundle, vae: VAE) -> None:
    raw, before = pickle.dumps(vae), open_descriptors()
    plain = tiny.plain
    plain["release"] = 2
    tiny.write(plain)
    with pytest.raises(BundleError, match="when it was pickled: load the file again"):
        pickle.loads(raw)
    tiny.path.unlink()
    with pytest.raises(BundleError, match="cannot be opened"):
        pickle.loads(raw)
    assert open_descriptors() == before


def test_what_cannot_be_pickled_says_what_to_do(vae: VAE) -> None:
    events = open_stream(vae, [], guard=GUARD, alarm=ALARM)
    with pytest.raises(TypeError, match=r"pickle the session, and call its stream\(\) there"):
        pickle.dumps(events)
    vae.close()
    with pytest.raises(SessionClosed, match=r"pickle the path, and call load\(\) there"):
        pickle.dumps(vae)


def test_a_half_made_archive_is_collected_in_silence(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    half_made = Archive.__new__(Archive)
    del half_made
    gc.collect()
    with Bundle.open(tiny_path) as bundle, pickle.loads(pickle.dumps(bundle)) as again:
        assert again.bundle_id == bundle.bundle_id
    assert unraisable == []
