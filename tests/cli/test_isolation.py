"""``--isolate``, ``--deadline`` and ``--max-memory`` on both command lines."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from shell import Cli, World

from vae_edge_runtime.__main__ import main

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process is isolated on Linux and macOS only")
LIMITS = ("--isolate", "--deadline", "60") + (("--max-memory", "2147483648") if sys.platform == "linux" else ())


def test_isolated_commands_say_so_and_give_the_same_results(world: World, cli: Cli, tmp_path: Path) -> None:
    here, there = (cli("score", world.bundle, world.data, "--device", "cpu", *more) for more in ((), LIMITS))
    assert there.code == 0, there.err
    assert here.out == there.out
    assert "in a process of its own" in there.err
    assert "in a process of its own" not in here.err
    verified = cli("verify", world.bundle, *LIMITS)
    assert verified.code == 0, verified.err
    drawn = cli("sample", world.bundle, "-o", tmp_path / "s.npy", "--device", "cpu", *LIMITS)
    assert drawn.code == 0, drawn.err
    assert "in a process of its own" in drawn.err


@pytest.mark.parametrize("limit", [("--deadline", "5"), ("--max-memory", "999999999")])
def test_a_limit_without_a_process_of_its_own_is_refused(
    world: World, cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path, limit: tuple[str, str]
) -> None:
    for command in (
        ("score", world.bundle, world.data), ("verify", world.bundle), ("watch", world.bundle, "-"),
        ("sample", world.bundle, "-o", tmp_path / "s.npy"),
    ):  # fmt: skip
        done = cli(*command, *limit)
        assert (done.code, done.out) == (2, "")
        assert "--isolate" in done.err
    assert main(["verify", str(world.bundle), *limit]) == 2
    assert "need --isolate" in capsys.readouterr().err
    for name in ("compress", "decompress"):
        assert main([name, str(world.bundle), str(world.data), "-o", str(tmp_path / "x.npz"), *limit]) == 2
        assert "need --isolate" in capsys.readouterr().err


def test_a_deadline_that_is_missed_and_memory_that_is_too_little_are_typed_errors(
    world: World, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    deadline = ("--isolate", "--deadline", "0.0000001")
    for _ in range(20):  # an answer that is there when it is first looked for came in time
        late = cli("score", world.bundle, world.data, "--device", "cpu", *deadline)
        if late.code:
            break
    assert (late.code, late.out) == (4, "")
    assert "DeadlineExceeded: the engine did not finish" in late.err
    assert any(main(["score", str(world.bundle), str(world.data), *deadline]) == 4 for _ in range(20))
    assert "DeadlineExceeded" in capsys.readouterr().err
    for option, value in (("--deadline", "-1"), ("--deadline", "nan"), ("--max-memory", "1")):
        refused = cli("verify", world.bundle, "--isolate", option, value)
        assert refused.code == 2, refused.err
