"""Streams of a bundle of tiles: one score and one decision per picture, of whatever size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from plain_pictures import SIDE, large_pictures
from shell import Cli
from tiled_bundle import export_tiled, spoilt

from vae_edge_runtime import InputError, load
from vae_edge_runtime.stream import Rows
from vae_edge_runtime.stream.pump import Pump

pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiled(tmp_path_factory.mktemp("tiles") / "tiles.vaeb")


def _pictures() -> list[np.ndarray]:
    """Of three sizes, the last two with a defect."""
    sizes = ((61, 50), (61, 50), (80, 64), (SIDE, SIDE), (61, 50), (70, 90))
    pictures = [large_pictures(1, *size, seed=10 + i) for i, size in enumerate(sizes)]
    return [x[0] for x in pictures[:4]] + [spoilt(x)[0] for x in pictures[4:]]


def test_a_stream_scores_pictures_of_several_sizes_as_score_does(bundle: Path) -> None:
    pictures = _pictures()
    with load(bundle, device="cpu") as vae:
        events = [e for e in vae.stream(pictures, heads="all", maps="all") if e.kind == "decision"]
        alone = [vae.score(picture[None], heads="all") for picture in pictures]
    assert [e.score for e in events] == [float(scores.score[0]) for scores in alone]
    for head in ("top", "peak"):
        assert [e.heads[head][0] for e in events] == [float(s.heads[head].score[0]) for s in alone]
    assert [e.is_anomaly for e in events[4:]] == [True, True]
    assert [e.map.shape for e in events] == [picture.shape for picture in pictures]  # type: ignore[union-attr]


def test_pictures_that_wait_together_are_scored_as_they_are_one_by_one(bundle: Path) -> None:
    pictures = _pictures()
    with load(bundle, device="cpu") as vae:
        alone = [e.score for e in vae.stream(pictures, drift=False)]
        live = [e.score for e in vae.stream(pictures, live=True, together_s=60.0, drift=False)]
    assert live == alone


def test_a_stream_goes_on_from_its_state_which_holds_no_picture(bundle: Path) -> None:
    pictures = [*_pictures(), *_pictures()[:1]]
    with load(bundle, device="cpu") as vae:
        whole = [e.to_dict() for e in vae.stream(pictures)]
        stream = vae.stream(pictures[:3])
        first = [e.to_dict() for e in stream]
        saved = json.dumps(stream.state())
        assert len(saved) < 20_000
        again = vae.stream(pictures[3:])
        again.restore(json.loads(saved))
        assert first + [e.to_dict() for e in again] == whole


def test_equal_pictures_one_after_the_other_are_a_stuck_camera(tmp_path: Path) -> None:
    stuck = export_tiled(tmp_path / "stuck.vaeb", stuck_rows=3)
    picture, other = large_pictures(2, 61, 50, seed=20)
    with load(stuck, device="cpu") as vae:
        faults = [e.faults for e in vae.stream([picture, picture, picture, other[:, :49], other])]
    assert faults == [(), (), ("stuck",), (), ()]


def test_a_picture_that_is_smaller_than_a_tile_is_refused_by_its_row(bundle: Path) -> None:
    with load(bundle, device="cpu") as vae:
        events = iter(vae.stream([*_pictures()[:1], np.zeros((SIDE, SIDE - 1, 3), np.uint8)], drift=False))
        assert next(events).index == 0
        with pytest.raises(InputError, match=r"row 1 of the stream has pictures of \(24, 23, 3\).*no shorter"):
            next(events)


def test_a_live_queue_of_large_pictures_is_bounded_by_bytes() -> None:
    blocks = [Rows(np.zeros((1, 100, 100, 3), np.uint8)) for _ in range(10)]
    pump = Pump(iter(blocks), 1024, poll_s=0.01, most_bytes=100_000)
    pump._read()
    assert pump.dropped == 7  # three of 30,000 bytes fit
    assert pump.take(pump.first_waiting()) is False  # rows were lost before it


def test_watch_takes_a_folder_of_pictures_of_several_sizes(bundle: Path, cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "today"
    folder.mkdir()
    for i, picture in enumerate(_pictures()):
        Image.fromarray(picture).save(folder / f"{i}.png")
    Image.fromarray(_pictures()[0][:, :, 0]).save(folder / "grey.png")
    done = cli("watch", bundle, folder, "--maps", tmp_path / "maps")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [e["time"] for e in events if e["kind"] == "decision"] == [*(f"{i}.png" for i in range(6)), "grey.png"]
    with load(bundle, device="cpu") as vae:
        scores = [float(vae.score(picture[None]).score[0]) for picture in _pictures()]
    np.testing.assert_allclose([e["score"] for e in events if e["kind"] == "decision"][:6], scores, rtol=1e-6)
    assert {"000000000004-4.png", "000000000005-5.png"} <= {file.name for file in (tmp_path / "maps").iterdir()}
    Image.fromarray(np.zeros((SIDE - 1, SIDE, 3), np.uint8)).save(folder / "small.png")
    refused = cli("watch", bundle, folder)
    assert refused.code != 0
    assert f"small.png is {SIDE}x{SIDE - 1}, smaller than a tile of the model" in refused.err
