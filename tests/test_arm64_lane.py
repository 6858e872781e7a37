"""What the lane under emulation decides by: pins and pytest's last line."""

from __future__ import annotations

import lane
import pytest


def test_every_wheel_of_the_lane_is_pinned() -> None:
    pins = lane.pinned((lane.REPOSITORY / "constraints.txt").read_text("utf-8"), lane.TESTING)
    assert [pin.split("==")[0] for pin in pins] == list(lane.TESTING)
    assert lane.pinned("Ml-Dtypes==0.6 ; python_version >= '3.11'\nb==2\n", ["ml_dtypes"]) == ["ml_dtypes==0.6"]
    with pytest.raises(SystemExit, match="pins no version of c"):
        lane.pinned("b==2", ["c"])


@pytest.mark.parametrize(
    ("last", "count"),
    [
        ("836 passed, 30 skipped in 164.2s", 836),
        ("1 failed, 835 passed in 3s", 0),
        ("835 passed, 1 error in 3s", 0),
        ("no tests ran in 0.1s", 0),
        ("", 0),
    ],
)
def test_only_a_run_without_failures_counts(last: str, count: int) -> None:
    assert lane.passed(f"....\n{last}\n") == count
