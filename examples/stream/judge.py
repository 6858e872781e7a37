"""What a stream has found of what was planted: judge.py events.jsonl planted.json."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SLACK_S = 2.0
"""A window that ends so long after an event still saw some of it."""


def judge(events: Iterator[dict[str, Any]], planted: list[dict[str, Any]]) -> dict[str, Any]:
    """Per planted event whether and when it was found; what was reported where nothing was planted."""
    for item in planted:
        item |= {"found": False, "delay_s": None, "flagged": 0}
    false, decisions, wrong_faults, drifts = 0, 0, 0, []
    for event in events:
        if event["kind"] == "drift":
            drifts.append(event)
        if event["kind"] != "decision":
            continue
        decisions += 1
        if not (event["is_anomaly"] or event.get("faults")):
            continue
        under_way = [p for p in planted if p["begin_s"] <= event["time"] <= p["end_s"] + SLACK_S]
        fault = bool(event.get("faults"))
        false += not under_way and not fault
        wrong_faults += fault and not under_way
        for p in under_way:
            fits = fault == p["fault"] and (not fault or p["kind"] in event["faults"] or p["kind"] == "stale")
            p["flagged"] += fits
            if fits and not p["found"]:
                p["found"], p["delay_s"] = True, round(event["time"] - p["begin_s"], 2)
    counts = {"decisions": decisions, "false_alarms": false, "wrong_faults": wrong_faults, "drifts": len(drifts)}
    return {"planted": planted, **counts}


def table(found: dict[str, Any]) -> str:
    """A line per planted event."""
    lines = ["| planted | what | at | lasts | found | after |", "|---|---|---|---|---|---|"]
    for p in found["planted"]:
        kind = f"{'fault' if p['fault'] else 'anomaly'}: {p['kind']}"
        after = "" if p["delay_s"] is None else f"{p['delay_s']:.1f} s"
        lines.append(
            f"| {kind} | {p['name']} | {p['begin_s']:,} s | {p['end_s'] - p['begin_s']} s | "
            f"{'yes' if p['found'] else 'NO'}, {p['flagged']} decisions | {after} |"
        )
    summary = (
        f"{found['decisions']:,} decisions; {found['false_alarms']} anomalies and {found['wrong_faults']} faults where "
        f"nothing was planted; {found['drifts']} drift events"
    )
    return "\n".join([*lines, "", summary])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path)
    parser.add_argument("planted", type=Path)
    options = parser.parse_args()
    with options.events.open(encoding="utf-8") as file:
        print(table(judge(map(json.loads, file), json.loads(options.planted.read_text()))))


if __name__ == "__main__":
    main()
