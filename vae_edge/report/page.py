"""Findings to one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.maps.colours import as_pixels
from vae_edge.maps.draw import enlarged, factor_for, marked
from vae_edge.maps.large import is_large, overview
from vae_edge.maps.places import is_picture, places_of
from vae_edge.maps.regions import picture_regions
from vae_edge.maps.scale import scale_of
from vae_edge_runtime import VAE
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.scoring.anatomy import element_shares, top_shares
from vae_edge_runtime.text import printable

from . import charts
from .gather import Findings, Rate, check_beside
from .wording import Texts, read_texts

MOST_BYTES = 5_000_000
_WHY = "vae-edge report"
_LONGEST_SIDE = 512
_CHANNELS, _ROWS_NAMED, _TOP_NAMES = 4, 12, 3


@checked
def render(
    vae: VAE,
    x: NDArray[Any],
    found: Findings,
    *,
    source: str,
    condition: NDArray[Any] | None = None,
    other: tuple[str, Findings] | None = None,
    texts: Texts | None = None,
    pictures: int = 6,
    now: datetime | None = None,
) -> str:
    """One page about rows that a bundle has judged.

    Args:
        vae: the session. x, condition: the rows. found: what ``find`` made of them.
        source: what to call the rows.
        other: name and findings of another bundle on the same rows.
        texts: the words; None: English.
        pictures: most of each kind: worst, borderline, best. now: the time on the page.

    Raises:
        InputError: ``found`` is about other rows than ``x``.
        MissingDependency: Jinja2 (or, for pictures, Pillow) is not installed.
    """
    check_beside(len(found.ok), x=x, condition=condition, other=None if other is None else other[1].ok)
    jinja = require("jinja2", extra="report", why=_WHY)
    t = texts or read_texts()
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True)
    template = environment.from_string((Path(__file__).parent / "page.html.j2").read_text("utf-8"))
    card, moment = vae.manifest.model, now or datetime.now(timezone.utc)
    values = {
        "t": t,
        "language": printable(t.language, one_line=True),
        "title": t.say("title", name=card.name),
        "made": t.say("made", date=moment.strftime("%Y-%m-%d %H:%M UTC"), version=vae.manifest.made_with["vae_edge"],
                      name=card.name, model_version=card.version, release=vae.manifest.release),
        "summary": _summary(vae, found, source, t),
        "histogram": _histogram(found, t),
        "histogram_help": "" if found.threshold_interval is None else t.say(
            "histogram_help", low=_number(found.threshold_interval[0]), high=_number(found.threshold_interval[1])),
        "labelled": _labelled(found, t),
        "drift": _drift(found, t),
        "p_value": _about_p_values(vae, found, t),
        "model": _model(vae, found, t),
        "speed": t.say("speed_text", one=_number(found.speed.one_ms), batch=found.speed.batch,
                       rate=f"{found.speed.rows_per_s:,.0f}", provider=found.speed.provider),
        "compare": None if other is None else _compare(found, *other, t),
        "series": [],
        "windows": [],
        "pictures": [],
    }  # fmt: skip
    if not is_picture(vae.manifest.input):
        values |= {"series": _series(vae, x, found, t), "windows": _windows(vae, x, condition, found, t)}
        return str(template.render(**values))
    while True:
        values["pictures"] = _pictures(vae, x, condition, found, t, pictures)
        page = str(template.render(**values))
        if len(page.encode()) <= MOST_BYTES or pictures <= 1:
            return page
        pictures //= 2


def _summary(vae: VAE, found: Findings, source: str, t: Texts) -> list[str]:
    scored, lines = int(found.ok.sum()), []
    lines.append(t.say("summary_rows", rows=f"{len(found.ok):,}", source=source, head=found.head))
    if scored < len(found.ok):
        lines.append(t.say("not_scored", count=len(found.ok) - scored))
    calibration = vae.calibrations.get(found.head)
    if found.threshold is None:
        return [*lines, t.summary_no_threshold]
    if found.warning is not None:
        lines.append(found.warning)
    lines.append(t.say("summary_flagged", scored=f"{scored:,}", **_rate(found.anomalies)))
    if found.labelled is not None:
        lines.append(t.say("summary_found", **_rate(found.labelled.found)))
        lines.append(t.say("summary_false", **_rate(found.labelled.false)))
    if calibration is not None and calibration.threshold == found.threshold:
        rate = calibration.false_positive_rate
        lines.append(t.say("summary_promise", rate=_percent(rate), n=f"{calibration.n:,}"))
        if found.labelled is None:
            lines.append(t.say("summary_within", expected=_number(rate * scored)))
    return lines


def _rate(rate: Rate) -> dict[str, str]:
    low, high = rate.interval
    return {"hits": f"{rate.hits:,}", "rows": f"{rate.rows:,}", "share": _percent(rate.share),
            "low": _percent(low), "high": _percent(high)}  # fmt: skip


def _histogram(found: Findings, t: Texts) -> str:
    parts = [(t.histogram_rows, found.score[found.ok], charts.NORMAL)]
    if found.labels is not None:
        parts = [
            (t.histogram_normal, found.score[found.ok & ~found.labels], charts.NORMAL),
            (t.histogram_anomalous, found.score[found.ok & found.labels], charts.ANOMALOUS),
        ]
    if not found.ok.any():
        return ""
    key = "histogram_alt_none" if found.threshold is None else "histogram_alt"
    at = {} if found.threshold is None else {"threshold": _number(found.threshold)}
    return charts.histogram(
        [part for part in parts if len(part[1])], threshold=found.threshold, interval=found.threshold_interval,
        labels=(t.axis_score, t.axis_rows), alt=t.say(key, rows=int(found.ok.sum()), **at),
    )  # fmt: skip


def _labelled(found: Findings, t: Texts) -> dict[str, Any] | None:
    known = found.labelled
    if known is None:
        return None
    auroc, precision = f"{known.auroc:.3f}", f"{known.average_precision:.3f}"
    low, high = known.auroc_interval
    mark = None if found.threshold is None else (known.false.share, known.found.share)
    kinds = [
        {"name": printable(kind.name, one_line=True), "found": f"{kind.found.hits} / {kind.found.rows}",
         "auroc": f"{kind.auroc:.3f}",
         "interval": f"{_percent(kind.found.interval[0])} - {_percent(kind.found.interval[1])}"}
        for kind in known.kinds
    ]  # fmt: skip
    return {
        "text": t.say("labels_auroc", auroc=auroc, low=f"{low:.3f}", high=f"{high:.3f}", precision=precision),
        "roc": charts.curve(
            known.roc, labels=(t.axis_false, t.axis_recall), alt=t.say("roc_alt", auroc=auroc), mark=mark
        ),
        "curve": charts.curve(
            known.curve, labels=(t.axis_recall, t.axis_precision), alt=t.say("curve_alt", precision=precision)
        ),
        "kinds": kinds,
    }


def _drift(found: Findings, t: Texts) -> list[str]:
    drift = found.drift
    if drift is None:
        return [t.drift_none]
    p = _number(drift.p_value)
    if drift.p_value >= 0.01:
        lines = [t.say("drift_same", rows=drift.rows, p=p)]
    else:
        way = t.drift_higher if drift.median < 0.45 else t.drift_lower if drift.median > 0.55 else t.drift_shape
        lines = [t.say("drift_changed", rows=drift.rows, p=p, direction=way)]
    return lines if found.labels is not None else [*lines, t.drift_unlabelled]


def _about_p_values(vae: VAE, found: Findings, t: Texts) -> list[str]:
    calibration = vae.calibrations.get(found.head)
    if calibration is None:
        return [t.p_value_many]
    return [t.say("p_value_text", smallest=_number(1 / (calibration.n + 1))), t.p_value_many]


def _model(vae: VAE, found: Findings, t: Texts) -> list[tuple[str, str]]:
    manifest, spec = vae.manifest, vae.manifest.input
    shape = spec.shape
    if is_picture(spec):
        channels, height, width = shape if spec.layout == "nchw" else (shape[2], *shape[:2])
        colours = t.model_grey if channels == 1 else t.model_colour
        key = "model_input_picture" if spec.overlap is None else "model_input_tiles"
        sees = t.say(key, width=width, height=height, colours=colours)
    elif spec.layout == "time_features":
        sees = t.say("model_input_window", steps=shape[0], features=shape[1])
    elif spec.layout == "features":
        sees = t.say("model_input_table", features=shape[0])
    else:
        sees = t.say("model_input_other", shape=list(shape))
    rows = [(t.model_description, manifest.model.description), (t.model_input, sees),
            (t.model_trained, t.model_trained_text), (t.model_score, found.head)]  # fmt: skip
    calibration = vae.calibrations.get(found.head)
    if calibration is not None:
        rows.append((t.model_calibration, t.say(
            "model_calibration_text", threshold=_number(calibration.threshold), n=f"{calibration.n:,}",
            rate=_percent(calibration.false_positive_rate),
        )))  # fmt: skip
    rows += [(t.model_fit, "" if manifest.fit is None else str(manifest.fit)), (t.model_source, manifest.model.source),
             (t.model_licence, manifest.model.licence)]  # fmt: skip
    return [(name, printable(value)) for name, value in rows if value]


def _compare(a: Findings, name: str, b: Findings, t: Texts) -> dict[str, Any]:
    both = a.ok & b.ok
    rows = [(t.compare_flagged, _percent(a.anomalies.share), _percent(b.anomalies.share))]
    if a.labelled is not None and b.labelled is not None:
        first, second = a.labelled, b.labelled
        rows += [
            (t.compare_found, _percent(first.found.share), _percent(second.found.share)),
            (t.compare_false, _percent(first.false.share), _percent(second.false.share)),
            (t.compare_auroc, f"{first.auroc:.3f}", f"{second.auroc:.3f}"),
        ]
    rows.append((t.compare_speed, f"{_number(a.speed.one_ms)} ms", f"{_number(b.speed.one_ms)} ms"))
    alike = float((a.flagged == b.flagged)[both].mean()) if both.any() else math.nan
    agree = t.say("compare_agree", share=_percent(alike), a=int((a.flagged & ~b.flagged)[both].sum()),
                  b=int((b.flagged & ~a.flagged)[both].sum()))  # fmt: skip
    return {"help": t.say("compare_help", other=name), "rows": rows, "agree": agree}


def _pictures(
    vae: VAE, x: NDArray[Any], condition: NDArray[Any] | None, found: Findings, t: Texts, count: int
) -> list[dict[str, Any]]:
    order = [int(i) for i in found.order()]
    worst = order[:count]
    near = [i for i in found.borderline(2 * count) if i not in worst][:count]
    best = [i for i in order[::-1] if i not in (*worst, *near)][:count]
    groups = ((t.pictures_worst, worst), (t.pictures_borderline, near), (t.pictures_best, best))
    return [
        {"title": title, "pictures": [_picture(vae, x, condition, found, t, i) for i in rows]}
        for title, rows in groups
        if rows
    ]


def _picture(
    vae: VAE, x: NDArray[Any], condition: NDArray[Any] | None, found: Findings, t: Texts, i: int
) -> dict[str, Any]:
    require("PIL", extra="images", why=_WHY)
    from PIL import Image

    spec, scale = vae.manifest.input, scale_of(vae)
    row = x[i : i + 1] if spec.overlap is not None else np.ascontiguousarray(x[i : i + 1])
    scores = vae.score(row, condition=None if condition is None else condition[i : i + 1], maps=True)
    if is_large(row[0], spec):
        seen = overview(row[0], scores.map[0], spec, scale.threshold)
        regions, shown, drawn = seen.regions, seen.picture, seen.marked(scale)
    else:
        places = places_of(scores.map, spec)[0]
        regions = () if scale.threshold is None else picture_regions(places, scale.threshold)
        pixels = as_pixels(row[0], spec)
        factor = factor_for(*pixels.shape[:2])
        shown, drawn = enlarged(pixels, factor), marked(pixels, places, scale, regions, factor)
    gap = np.full((shown.shape[0], 6, 3), 255, np.uint8)
    image = Image.fromarray(np.concatenate([shown, gap, drawn], axis=1))
    image.thumbnail((2 * _LONGEST_SIDE, 2 * _LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    decision, score = _decision(found, i, t), _number(found.score[i])
    return {
        "source": "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(),
        "width": image.size[0],
        "height": image.size[1],
        "alt": t.say("picture_alt", row=found.row_ids[i], decision=decision, score=score, regions=len(regions)),
        "row": found.row_ids[i],
        "anomaly": bool(found.flagged[i]),
        "decision": decision,
        "figures": t.say("picture_figures", score=score, p=_p(found, i)),
    }


def _series(vae: VAE, x: NDArray[Any], found: Findings, t: Texts) -> list[dict[str, str]]:
    """The score over the rows, and the channels that contribute most to the rows above the threshold."""
    if not found.ok.any():
        return []
    n = len(found.ok)
    made = [{
        "title": t.axis_score,
        "svg": charts.series(
            np.where(found.ok, found.score, np.nan), labels=(t.axis_row, t.axis_score), threshold=found.threshold,
            flagged=found.flagged, alt=t.say("series_alt", rows=n, alarms=int(found.flagged.sum())),
        ),
    }]  # fmt: skip
    spec = vae.manifest.input
    if spec.layout not in ("features", "time_features"):
        return made
    # A window is shown by its last step.
    values = x if spec.layout == "features" else x[:, -1]
    rows = found.order()[:64]
    shares = element_shares(vae.score(np.ascontiguousarray(x[rows]), maps=True).map, spec)[0].sum(0)
    for channel in np.argsort(-shares, kind="stable")[:_CHANNELS]:
        name = printable(spec.names[channel], one_line=True) if spec.names else str(channel)
        svg = charts.series(values[:, channel].astype(np.float64), labels=(t.axis_row, name), flagged=found.flagged,
                            alt=t.say("channel_alt", channel=name, rows=n))  # fmt: skip
        made.append({"title": name, "svg": svg})
    return made


def _windows(
    vae: VAE, x: NDArray[Any], condition: NDArray[Any] | None, found: Findings, t: Texts
) -> list[dict[str, Any]]:
    rows = found.order()[:_ROWS_NAMED]
    if not len(rows):
        return []
    given = None if condition is None else condition[rows]
    shares = element_shares(vae.score(np.ascontiguousarray(x[rows]), condition=given, maps=True).map,
                            vae.manifest.input)[0]  # fmt: skip
    return [
        {
            "row": found.row_ids[i],
            "anomaly": bool(found.flagged[i]),
            "decision": _decision(found, int(i), t),
            "score": _number(found.score[i]),
            "p": _p(found, int(i)),
            "channels": _named(top_shares(share, vae.manifest.input.names, _TOP_NAMES)),
        }
        for i, share in zip(rows, shares, strict=True)
    ]


def _named(shares: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{printable(name, one_line=True)} {share:.0%}" for name, share in shares)


def _decision(found: Findings, row: int, t: Texts) -> str:
    if found.threshold is None:
        return t.decision_none
    return t.decision_anomaly if found.flagged[row] else t.decision_normal


def _p(found: Findings, row: int) -> str:
    return "-" if found.p_value is None else _number(found.p_value[row])


def _number(value: float) -> str:
    return f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.01 or not share else f"{100 * share:.2g} %"
