"""Folders of images, videos and cameras as sources of a stream."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from blocks import read

from vae_edge.watch import open_source
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.format.specs import InputSpec

IMAGE = InputSpec((4, 6, 1), "uint8", "nhwc", 0.0, 255.0, ())


def test_pictures_of_a_folder_come_by_name_and_must_fit(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, level in (("b.png", 20), ("a.png", 10)):
        image.fromarray(np.full((4, 6), level, np.uint8)).save(tmp_path / name)
    found = read(open_source(str(tmp_path), IMAGE).rows)
    assert found.labels == ("a.png", "b.png")
    np.testing.assert_array_equal(found.values[:, 0, 0, 0], [10, 20])
    channels_first = InputSpec((3, 4, 6), "uint8", "nchw", 0.0, 255.0, ())
    assert read(open_source(str(tmp_path), channels_first).rows).values.shape == (2, 3, 4, 6)
    image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c.png is 6x5, the model takes 6x4: resize with --image-size 4x6"):
        read(open_source(str(tmp_path), IMAGE).rows)
    image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c.png has 3 channels, the model takes 1"):
        read(open_source(str(tmp_path), IMAGE).rows)


@pytest.mark.parametrize("name", ["one.png", "day/*.png", "absent.JPG"])
def test_single_pictures_and_patterns_are_sent_to_score(tmp_path: Path, name: str) -> None:
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"watch takes their folder; vae-edge score takes single pictures"):
        open_source(str(tmp_path / name), IMAGE)


def test_a_picture_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    whole = io.BytesIO()
    image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)).save(whole, "PNG")
    source = iter(open_source(str(tmp_path), IMAGE, follow=True).rows)
    path = tmp_path / "slow.png"
    for size in range(10, len(whole.getvalue()), 30):
        path.write_bytes(whole.getvalue()[:size])
        assert next(source) is None
    path.write_bytes(whole.getvalue())
    found = [next(source) for _ in range(3)]
    assert [rows.labels for rows in found if rows is not None] == [("slow.png",)]


def test_a_picture_whose_writer_pauses_is_tried_again_and_a_removed_one_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    whole = io.BytesIO()
    image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)).save(whole, "PNG")
    source = iter(open_source(str(tmp_path), IMAGE, follow=True).rows)
    path = tmp_path / "slow.png"
    path.write_bytes(whole.getvalue()[:40])
    assert [next(source) for _ in range(3)] == [None] * 3  # it has stopped growing, and is no image yet
    path.unlink()
    assert next(source) is None
    path.write_bytes(whole.getvalue())
    found = [next(source) for _ in range(2)]
    assert [rows.labels for rows in found if rows is not None] == [("slow.png",)]
    monkeypatch.setattr("vae_edge.watch.pictures.PATIENCE_S", 0.0)
    (tmp_path / "never.png").write_bytes(whole.getvalue()[:40])
    with pytest.raises(DataError, match=r"never.png is not a readable image"):
        [next(source) for _ in range(4)]


def test_a_camera_that_is_unplugged_is_an_error_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [np.full((4, 6, 3), 9, np.uint8)] * 2

    class Capture:
        def __init__(self, number: int) -> None:
            self.released = False
            captures.append(self)

        def isOpened(self) -> bool:
            return True

        def read(self) -> tuple[bool, np.ndarray | None]:
            return (True, frames.pop()) if frames else (False, None)

        def release(self) -> None:
            self.released = True

    captures: list[Capture] = []
    camera = types.ModuleType("cv2")
    vars(camera).update(VideoCapture=Capture, COLOR_BGR2GRAY=0, cvtColor=lambda frame, _: frame[:, :, 0])
    monkeypatch.setitem(sys.modules, "cv2", camera)
    opened = open_source("camera:0", IMAGE)
    assert opened.live
    source = iter(opened.rows)
    assert next(source).values.shape == next(source).values.shape == (1, 4, 6, 1)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="camera 0 gave no frame after 2: is it still there"):
        next(source)
    assert captures[0].released


def test_frames_of_a_video_have_their_times(tmp_path: Path) -> None:
    cv = pytest.importorskip("cv2")
    path = tmp_path / "clip.avi"
    writer = cv.VideoWriter(str(path), cv.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for level in (0, 100, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    spec = InputSpec((48, 64, 1), "uint8", "nhwc", 0.0, 255.0, ())
    found = read(open_source(str(path), spec).rows)
    np.testing.assert_allclose(found.values.mean((1, 2, 3)), [0, 100, 200], atol=3)
    assert found.time is not None
    np.testing.assert_allclose(np.diff(found.time), 0.1, atol=1e-6)
    small = InputSpec((3, 24, 32), "uint8", "nchw", 0.0, 255.0, ())
    assert read(open_source(str(path), small, size=(24, 32)).rows).values.shape == (3, 3, 24, 32)
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be opened as a video"):
        open_source(str(tmp_path / "no.mp4"), spec)
