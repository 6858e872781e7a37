"""What holds for the whole tree: size of modules, no loose ends, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("vae_edge", "export/vae_edge_export", "runtime/vae_edge_runtime", "tests", "examples", "benchmarks", "docs")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PAGES = ("docs", "benchmarks", "examples", ".github")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in PAGES for path in (ROOT / folder).rglob("*.md"))])
LOOSE_ENDS = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")
VAGUE = re.compile(r"(utils?|helpers?|misc|common)\.py")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 40
    assert len(DOCUMENTS) > 5


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_no_loose_ends_and_no_vague_file_names() -> None:
    found = [_name(path) for path in SOURCES if LOOSE_ENDS.search(path.read_text(encoding="utf-8"))]
    assert found == []
    assert [_name(path) for path in SOURCES if VAGUE.fullmatch(path.name)] == []


def test_text_files_are_plain_utf8_with_one_final_newline() -> None:
    for path in [*SOURCES, *DOCUMENTS]:
        text = path.read_bytes().decode("utf-8")
        assert "\r" not in text, path
        assert not text or (text.endswith("\n") and not text.endswith("\n\n")), path


def test_one_writer_of_stdout_counts_its_bytes() -> None:
    """Through ``sys.stdout.write`` the rest of a short write is lost with exit code 0; ruff refuses ``print``."""
    shipped = [p for p in SOURCES if p.parts[len(ROOT.parts)] in ("vae_edge", "export", "runtime")]
    others = [_name(p) for p in shipped if re.search(r"stdout\.(write|buffer)", p.read_text(encoding="utf-8"))]
    assert others == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    relative = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in relative if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_links_to_headings_have_their_heading(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", path.read_text(encoding="utf-8")):
        text = ((path.parent / target) if target else path).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{_name(path)}: {target}#{anchor}"


def test_pictures_in_the_repository_are_small() -> None:
    sizes = {_name(path): path.stat().st_size for path in (ROOT / "docs").rglob("*.png")}
    assert {name: size for name, size in sizes.items() if size > 80_000} == {}


HABITS = (
    ".editorconfig",
    ".pre-commit-config.yaml",
    ".github/workflows/ci.yml",
    "Makefile",
    ".ci/run",
    "pyproject.toml",
)


def test_no_line_ends_with_blanks() -> None:
    for path in [*SOURCES, *DOCUMENTS, *(ROOT / name for name in HABITS)]:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [number for number, line in enumerate(lines, 1) if line != line.rstrip()] == [], _name(path)


def test_the_workflow_runs_what_a_change_must_pass_and_nothing_else() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    steps = re.findall(r"^ +- (?:uses|run): ([^#\n]+?)(?: #.*)?$", text, flags=re.MULTILINE)
    assert steps == ["actions/checkout@v4", "apt-get update", "bash .ci/run"]
    targets = re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    called = re.findall(r"^make (\S+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {"lint", "test", "slow"} <= set(called) <= set(targets)


def test_hooks_before_a_commit_are_tools_that_make_lint_runs_too() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (\S+)", text) == ["local"]  # nothing is fetched
    tools = re.findall(r"entry: \.venv/bin/(\S+)", text)
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert lint
    assert tools
    assert set(tools) <= set(re.findall(r"\$\(BIN\)/(\S+)", lint[1]))
    assert text.count("- id:") == text.count("language: system")


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml"], ids=_name
)
def test_yaml_files_can_be_read(path: Path) -> None:
    assert "\t" not in path.read_text(encoding="utf-8")
    yaml = pytest.importorskip("yaml", reason="pyyaml comes with the libraries of make zoo")
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_templates_of_issues_name_and_describe_themselves() -> None:
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert len(templates) >= 3
    for path in templates:
        assert re.match(r"---\nname: \S.*\nabout: \S.*\nlabels: \w+\n---\n", path.read_text(encoding="utf-8")), path
