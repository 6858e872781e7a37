"""What lies in the cache is run or believed, so nobody else may put anything there."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from vae_edge_runtime import OptionError
from vae_edge_runtime.device.cache import check_private, private_folder
from vae_edge_runtime.device.tuned import find_choice

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes")


def test_every_folder_that_is_made_is_for_this_user_alone_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_folder(str(tmp_path / "a" / "b" / "tuned"))
    finally:
        os.umask(before)
    for name in ("a", "a/b", "a/b/tuned"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
    assert private_folder(str(tmp_path / "a" / "b" / "tuned")) == str(tmp_path / "a" / "b" / "tuned")


@pytest.mark.parametrize("name", ["a", "a/b", "a/b/tuned"])
def test_a_folder_above_it_that_anybody_may_write_in_is_refused(tmp_path: Path, name: str) -> None:
    folder = private_folder(str(tmp_path / "a" / "b" / "tuned"))
    (tmp_path / name).chmod(0o777)
    for call in (private_folder, check_private):
        with pytest.raises(OptionError, match="not yours alone"):
            call(folder)
    if name != "a/b/tuned":
        (tmp_path / name).chmod(0o1777)  # as /tmp
        check_private(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("name", ["a", "a/b", "a/b/tuned"])
def test_a_folder_of_another_user_is_refused(tmp_path: Path, name: str) -> None:
    folder = private_folder(str(tmp_path / "a" / "b" / "tuned"))
    os.chown(tmp_path / name, 12345, 12345)
    with pytest.raises(OptionError, match="not yours alone"):
        check_private(folder)


@pytest.mark.parametrize("private", [True, False])
def test_a_pipe_in_the_place_of_a_choice_is_never_waited_for(tmp_path: Path, private: bool) -> None:
    tuned = Path(private_folder(str(tmp_path / "tuned")))
    os.mkfifo(tuned / f"{'0' * 64}.json")
    if not private:
        tuned.chmod(0o777)
    choices: list[object] = []
    asked = threading.Thread(target=lambda: choices.append(find_choice("0" * 64, tmp_path)), daemon=True)
    asked.start()
    asked.join(timeout=20)
    assert choices == [None]


def test_who_asks_for_a_choice_makes_no_folder(tmp_path: Path) -> None:
    assert find_choice("0" * 64, tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()
