"""The files of examples/jetson parse, and name only commands, options and variables that there are. Nothing runs."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from shell import run

FOLDER = Path(__file__).parents[2] / "examples" / "jetson"
INSTRUCTIONS = {"ARG", "FROM", "RUN", "USER", "ENV", "VOLUME", "WORKDIR", "CMD", "COPY", "ENTRYPOINT"}


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, text) of each, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (FOLDER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def scalar(text: str) -> Any:
    text = text.strip()
    return json.loads(text) if text[:1] in ('"', "[", "{") else text


def parse_yaml(lines: list[str], indent: int = 0) -> Any:
    """Mappings, lists and flow values by indentation: as much of YAML as the compose file has."""
    block: dict[str, Any] = {}
    items: list[Any] = []
    while lines:
        line = lines[0]
        depth = len(line) - len(line.lstrip())
        if depth < indent:
            break
        assert depth == indent, line
        lines.pop(0)
        if line.lstrip().startswith("- "):
            items.append(scalar(line.lstrip()[2:]))
            continue
        key, colon, rest = line.strip().partition(":")
        assert colon, line
        assert key not in block, line
        block[key] = scalar(rest) if rest.strip() else parse_yaml(lines, indent + 2)
    assert not (block and items)
    return items or block


def compose() -> dict[str, Any]:
    lines = (FOLDER / "compose.yaml").read_text().splitlines()
    parsed = parse_yaml([line for line in lines if line.strip() and not line.lstrip().startswith("#")])
    assert isinstance(parsed, dict)
    return parsed


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    sections: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text().splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            current.setdefault(key, []).append(value)
    return sections


def commands() -> list[list[str]]:
    """Every command of vae-edge in the files, as words after the program."""
    found = [service["command"] for service in compose()["services"].values()]
    found += [json.loads(text) for name, text in dockerfile() if name == "CMD"]
    service = unit("vae-edge.service")["Service"]
    found += [shlex.split(line) for line in (*service["ExecStartPre"], *service["ExecStart"])]
    readme = re.findall(r"`(vae-edge \w+[^`]*)`", (FOLDER / "README.md").read_text())
    found += [shlex.split(line) for line in readme if "." not in line]
    return [words[1:] for words in found if words[0].endswith("vae-edge")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_is_there(words: list[str]) -> None:
    shown = run(words[0], "--help").out
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown), option


def test_the_dockerfile_has_known_instructions_and_a_user_that_owns_the_cache() -> None:
    instructions = dockerfile()
    assert {name for name, _ in instructions} <= INSTRUCTIONS
    assert instructions[0][0] == "ARG"
    assert "l4t" in instructions[0][1]
    assert [text for name, text in instructions if name == "USER"] == ["vae-edge"]
    runs = " ".join(text for name, text in instructions if name == "RUN")
    assert "-o vae-edge -g vae-edge -m 700 /cache" in runs
    assert "--system-site-packages" in runs
    assert "python3-libnvinfer" in runs
    assert "pip install tensorrt" not in runs
    assert any("VAE_EDGE_CACHE=/cache" in text for name, text in instructions if name == "ENV")


def test_each_service_of_compose_gets_the_gpu_its_groups_the_cache_and_the_release() -> None:
    services = compose()["services"]
    assert set(services) == {"engines", "watch"}
    for service in services.values():
        assert service["runtime"] == "nvidia"
        assert [group.split(":")[0] for group in service["group_add"]] == ["${VIDEO_GID", "${RENDER_GID"]
        assert "engines:/cache" in service["volumes"]
        assert "/etc/nv_tegra_release:/etc/nv_tegra_release:ro" in service["volumes"]
    assert services["watch"]["depends_on"] == {"engines": {"condition": "service_completed_successfully"}}
    assert list(compose()["volumes"]) == ["engines"]


def test_the_service_has_its_groups_cache_and_engines_before_it_starts() -> None:
    service = unit("vae-edge.service")
    assert service["Service"]["SupplementaryGroups"] == ["video render"]
    assert service["Service"]["Environment"] == ["VAE_EDGE_CACHE=/var/cache/vae-edge"]
    assert service["Service"]["CacheDirectoryMode"] == ["0700"]
    assert " build " in service["Service"]["ExecStartPre"][0]
    assert service["Unit"]["After"] == service["Unit"]["Wants"] == ["vae-edge-power.service"]
    power = unit("vae-edge-power.service")
    assert power["Unit"]["Before"] == ["vae-edge.service"]
    variable = power["Service"]["ExecStart"][0].split("${")[1].rstrip("}")
    environment = configparser.ConfigParser()
    environment.read_string("[env]\n" + (FOLDER / "vae-edge.env").read_text())
    assert environment["env"][variable].isdigit()


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("there is no systemd-analyze here")
    for path in FOLDER.glob("*.service"):
        # The programs are on a board; what is checked is the units.
        text = re.sub(r"^(Exec\w+=)\S+", r"\g<1>/bin/true", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)
    units = sorted(tmp_path.glob("*.service"))
    done = subprocess.run([verify, "verify", *units], capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "vae-edge" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_the_folder_says_that_it_was_not_run() -> None:
    assert "**Nothing in this folder was run on a Jetson.**" in (FOLDER / "README.md").read_text()
    for name in ("compose.yaml", "vae-edge.service", "vae-edge-power.service"):
        assert "Not run on a Jetson" in (FOLDER / name).read_text()
    assert "not run by the authors" in (FOLDER / "Dockerfile").read_text()
