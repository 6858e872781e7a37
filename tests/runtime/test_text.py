"""What untrusted text may do on a screen: nothing."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from pathlib import Path

import pytest

from vae_edge_runtime.errors import BundleInvalid, GraphRefused, InputError, PairMismatch, StorageError
from vae_edge_runtime.text import json_value, printable

FORGED = "pump\nbundle id    0000\x1b[2J\u202egpj.exe"


def test_no_character_that_a_terminal_obeys_or_hides_is_left() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = printable(everything)
    left = {c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    assert left == {"\n", "\t"}
    assert not set(shown) & set("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\ufeff")
    assert not {"\n", "\t"} & set(printable(everything, one_line=True))


def test_plain_text_of_every_language_stays_as_it_is() -> None:
    text = "Pumpe 7 · größer · 泵 · насос · مضخة · 🛠️ · 1.5 µm\n\tnext"
    assert printable(text) == text


def test_escapes_can_be_read_back() -> None:
    assert printable("a\x1b\u202e\ud800") == r"a\x1b\u202e\ud800"


@pytest.mark.parametrize(
    "error", [BundleInvalid(FORGED, path=FORGED, member=FORGED), GraphRefused(FORGED), PairMismatch(FORGED)]
)
def test_an_error_about_a_bundle_is_one_line_of_plain_text(error: Exception) -> None:
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert "\u202e" not in str(error)
    assert r"\x1b[2J" in str(error)


@pytest.mark.parametrize("kind", [InputError, StorageError])
def test_every_error_is_plain_text_and_tables_keep_their_lines(kind: type[Exception]) -> None:
    assert str(kind("a\n\x1b[31mb")) == "a\n\\x1b[31mb"


def test_info_cannot_be_made_to_show_a_line_of_its_own(tmp_path: Path) -> None:
    import shell
    from tiny_bundle import TinyBundle

    tiny = TinyBundle(tmp_path / "tiny.vaeb")
    plain = tiny.plain
    plain["model"]["name"] = "pump\nbundle id    " + "0" * 64
    shown = shell.run("info", tiny.write(plain))
    assert shown.code == 0, shown.err
    assert [line[:9] for line in shown.out.splitlines()].count("bundle id") == 1
    assert r"pump\nbundle id" in shown.out


@pytest.mark.parametrize("place", ["key", "pair_id", "path"])
def test_escapes_in_keys_ids_and_paths_do_not_reach_the_terminal(tmp_path: Path, place: str) -> None:
    import shell
    from tiny_bundle import TinyBundle

    folder = tmp_path / ("a\x1b[31mb" if place == "path" else "plain")
    folder.mkdir()
    tiny = TinyBundle(folder / "tiny.vaeb")
    plain = tiny.plain
    if place == "pair_id":
        plain["pair_id"] = "\x1b[2J" * 8
    else:
        plain["\x1b[2Jnew"] = 1
    refused = shell.run("info", tiny.write(plain))
    assert refused.code == 2
    assert r"\x1b" in refused.err
    assert "\x1b" not in refused.err


def test_json_is_escaped_whatever_the_bundle_says(tmp_path: Path) -> None:
    import shell
    from tiny_bundle import TinyBundle

    tiny = TinyBundle(tmp_path / "tiny.vaeb")
    plain = tiny.plain
    plain["model"]["description"] = "a\nb\u00ad\u061c\u2028"
    shown = shell.run("info", tiny.write(plain), "--json")
    assert shown.out.isascii()
    assert len(shown.out.splitlines()) == 1
    assert shown.json()["manifest"]["model"]["description"] == "a\nb\u00ad\u061c\u2028"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", "NaN,", b"\xff"])
def test_a_text_that_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"nested|digits|Expecting|Extra|decode"):
        json_value(text)


def test_json_of_files_is_read_by_nothing_else() -> None:
    """Elsewhere ``json.loads`` reads what this project itself has just written."""
    root = Path(__file__).parents[2]
    own = {
        "runtime/vae_edge_runtime/text.py", "runtime/vae_edge_runtime/format/strict_json.py",
        "runtime/vae_edge_runtime/__main__.py", "runtime/vae_edge_runtime/backends/isolated/wire.py",
        "runtime/vae_edge_runtime/backends/tensorrt/layers.py", "runtime/vae_edge_runtime/device/doctor/readings.py",
        "vae_edge/bench/child.py", "vae_edge/bench/fresh.py", "vae_edge/cli/_folder.py", "vae_edge/unpacking/page.py",
    }  # fmt: skip
    sources = [path for folder in ("runtime", "export", "vae_edge") for path in (root / folder).rglob("*.py")]
    call = re.compile(r"^[^>\n]*json\.loads?\(", re.MULTILINE)
    callers = {path.relative_to(root).as_posix() for path in sources if call.search(path.read_text("utf-8"))}
    assert callers == own


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999", "-1e400"])
def test_what_no_finite_number_holds_is_refused_where_that_is_asked(number: str) -> None:
    assert not math.isfinite(json_value(f'{{"a": [{number}]}}')["a"][0])
    with pytest.raises(ValueError, match="is no finite number"):
        json_value(f'{{"a": [{number}]}}', finite=True)
    assert json_value('{"a": [1e308, -0.5, 3]}', finite=True) == {"a": [1e308, -0.5, 3]}
