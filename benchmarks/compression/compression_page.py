"""The page, from the document of a run: every figure is computed."""

from __future__ import annotations

from typing import Any

# The figures that were asked for: set, mode, most bytes of a row sent alone, and whether its checksum is counted.
ASKED = (
    ("pump", "0.1", 142.0, True), ("pump", "0.01", 386.0, True), ("ecg", "exact", 111.0, True),
    ("ecg", "2u", 62.0, True), ("watch", "0.1", 125.0, True), ("cardio", "0.1", 10.0, False),
    ("pump", "latents", 6.5, False),
)  # fmt: skip
CHECKSUM = 2


def page(document: dict[str, Any]) -> str:
    """The document of ``run.main`` as Markdown."""
    parts = [
        "# Compression, measured\n\n"
        "`python benchmarks/compression/run.py` writes this page. Rows are held out, bytes are those that were\n"
        "really written, times are CPU seconds of one thread. *Alone*: each row is decodable by itself, mean of\n"
        "200. Ours has a head and a checksum of 2 bytes, the peers' sizes have neither. *Block*: all test rows in\n"
        "one file, 1,000 at most. Ours has 16 check values a block. Peers get the rows rounded to the widest grid\n"
        "that the bound allows, and a dictionary of zstd is trained on training rows. How to use it:\n"
        "[Compression](compression.md).\n\n"
        f"{document['date']}, {document['cpu']}, {document['cores']} cores, load {document['load_before']:.1f} before; "
        + ", ".join(f"{name} {number}" for name, number in document["packages"].items())
        + ".",
        "## The figures that were asked for",
        _table(("set and mode", "asked", "measured", ""), _asked(document)),
    ]
    if "triage" in document:
        t = document["triage"]
        parts += [
            "## Triage",
            f"{t['rows']:,} windows of the pump, {t['flagged']} of them flagged: **{t['bytes']:.1f} bytes a window** "
            f"instead of 2,400, with the score of every window. {t['not_latents']} windows went whole, and "
            f"{t['broken']} of their values left the bound of ±0.01 spreads. Latents alone would have lost "
            f"{t['lost_by_latents']:.0%} of the flagged windows: they look normal when they are scored again.",
        ]
    for name, figures in document["sets"].items():
        parts += [f"## {name}", f"{figures['what']}; {figures['rows']:,} test rows of {figures['raw']:,} bytes."]
        parts.append(_table(
            ("mode", "predictor", "alone, B", "block, B", "block over code length", "values out of bound",
             "rms error, spreads", "decisions flipped", "in, MB/s", "out, MB/s", "one row, ms"),
            [(m["mode"], m["predictor"], f"{m['packet']:.1f}", f"{m['block']:.1f}", f"{m['over_code_length']:.2%}",
              "-" if m["broken"] is None else m["broken"], f"{m['rms']:.3f}",
              "-" if m["flipped"] is None else m["flipped"], f"{m['in_mb_s']:.1f}", f"{m['out_mb_s']:.1f}",
              f"{m['packet_ms']:.2f}") for m in figures["modes"]],
        ))  # fmt: skip
        parts += _beside(figures)
    if document["missing"]:
        parts += ["## Not measured", "\n".join(f"- {name}" for name in document["missing"])]
    return "\n\n".join(parts) + "\n"


def _asked(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows = []
    for name, mode, most, framed in ASKED:
        figures = document["sets"].get(name)
        entry = next((m for m in figures["modes"] if m["mode"] == mode), None) if figures else None
        if entry is None:
            continue
        size = entry["packet"] - (0 if framed else CHECKSUM)
        note = "" if framed else ", without its checksum of 2 bytes"
        rows.append((f"{name} {mode}", f"≤ {most:g} B", f"{size:.1f} B{note}", "kept" if size <= most else "missed"))
    if "triage" in document:
        size = document["triage"]["bytes"]
        rows.append(("pump, triage at 0.01", "≤ 36 B", f"{size:.1f} B", "kept" if size <= 36 else "missed"))
    return rows


def _beside(figures: dict[str, Any]) -> list[str]:
    parts = []
    for mode, sizes in figures["peers"].items():
        ours = next(m for m in figures["modes"] if m["mode"] == mode)
        own = "vae-edge" if ours["psnr_db"] is None else f"vae-edge ({ours['psnr_db']:.1f} dB)"
        rows = [(f"**{own}**", f"**{ours['packet']:.1f}**", f"**{ours['block']:.1f}**")]
        rows += [
            (name, f"{alone:.1f}", "-" if block is None else f"{block:.1f}")
            for name, (block, alone) in sorted(sizes.items(), key=lambda item: item[1][1])
        ]
        parts.append(_table((f"{mode}", "alone, B", "block, B"), rows))
    return parts


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])
